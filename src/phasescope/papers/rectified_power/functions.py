"""Polynomials and smooth functions: trained networks, and networks whose weights are written down.

Trained: each activation from its best start, at its own best rate of one short list. Written down: where all
arguments of MRePU_p stay above -1, a unit is a polynomial of degree ``p + 1``, ``p + 2`` units with different
biases span them all, and ``x y = ((x + y)/2)^2 - ((x - y)/2)^2`` gives products in the next layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.activations import MRePU
from phasescope.estimate import Estimate
from phasescope.papers import perceptrons
from phasescope.papers.perceptrons import Networks, Start
from phasescope.papers.rectified_power import shared
from phasescope.papers.rectified_power.shared import PAPER, STUDY, over_seeds, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.theory import mrepu_polynomial, mrepu_product
from phasescope.theory.polynomials import mrepu_units

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SUMMARY = f"a published summary of {PAPER}"
WIDTH, BATCH, POINTS, TESTED = 64, 256, 1024, 2048
_WORST = 100.0  # a mean square error that is larger, or none, counts as this; targets have variance 1
_LEARNS = 0.5  # below it a network has learnt something of the target
LINE = np.linspace(-1, 1, 201)
_EPS = 2.0**-52
POWERS = (1, 2, 3, 4, 5)
SPREADS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of the biases
_GOOD = SPREADS.index(3.0)  # near the best conditioned for all powers


@dataclass(frozen=True)
class Target:
    """A function on ``[-1, 1]^dims``, shifted and scaled to mean 0 and variance 1."""

    dims: int
    formula: perceptrons.Function  # of points (points, dims)
    mean: float
    variance: float
    label: str

    def __call__(self, x: Tensor) -> Tensor:
        return ((self.formula(x) - self.mean) / math.sqrt(self.variance))[:, None]


_RUNGE = math.atan(5.0) / 5
_WAVE = math.sqrt(math.pi / 32) * math.erf(math.sqrt(2))
TARGETS = {
    "xyz": Target(3, lambda x: x.prod(-1), 0.0, 1 / 27, "x y z"),
    "cubic": Target(1, lambda x: (5 * x[:, 0] ** 3 - 3 * x[:, 0]) / 2, 0.0, 1 / 7, "P3(x)"),
    "quartic": Target(2, lambda x: ((3 * x**2 - 1) / 2).prod(-1), 0.0, 1 / 25, "P2(x) P2(y)"),
    "wave": Target(
        2, lambda x: (math.pi * x[:, 0]).sin() / (x[:, 1] ** 2).exp(), 0.0, _WAVE, "sin(pi x) exp(-y^2)"
    ),
    "runge": Target(
        1, lambda x: 1 / (1 + 25 * x[:, 0] ** 2), _RUNGE, 1 / 52 + _RUNGE / 2 - _RUNGE**2, "1/(1 + 25 x^2)"
    ),
    "cube": Target(1, lambda x: x[:, 0].abs() ** 3, 1 / 4, 1 / 7 - 1 / 16, "|x|^3"),
}
SMOOTH = ("wave", "runge", "cube")

# Activation and start, `best_start` where there is none; torch's own is normal here, of its variances.
NETS: dict[str, tuple[str, Start | None]] = {
    **{net: (net.lower(), None) for net in ("GELU", "ReLU", "tanh", "MRePU1", "MRePU2", "MRePU3")},
    **{f"MRePU2, C1 = {C1}": ("mrepu2", Start(1.0, 0.0, C1)) for C1 in (0.001, 0.01, 0.3)},
    "MRePU2, Xavier": ("mrepu2", Start(1.0, 0.0, 2 * 3 / (3 + WIDTH))),
    "MRePU2, default": ("mrepu2", Start(1 / 3, 1 / (3 * WIDTH))),
    "RePU2, K_dag": ("repu2", None),
    "RePU3, K_dag": ("repu3", None),
    "RePU2, He": ("repu2", Start(2.0)),
}
PLAIN = ("GELU", "ReLU", "tanh", "MRePU1", "MRePU2", "MRePU3")
FEW = ("GELU", "ReLU", "MRePU1", "MRePU2")  # on all other targets
COLOURS = dict(zip(PLAIN, colours(len(PLAIN)), strict=True))
LARGE = ("MRePU2, C1 = 0.3", "MRePU2, Xavier", "MRePU2, default")
REPU = ("RePU2, K_dag", "RePU3, K_dag", "RePU2, He")


class FunctionsSettings(Settings):
    """Sizes of the networks and of their training."""

    seeds: int = 3
    steps: int = 800
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)  # of Adam, the same list for all, ascending
    depths: tuple[int, ...] = (3, 5, 10, 20)  # hidden layers on x y z, ascending
    starts_at: int = 10  # that of them at which all starts are compared
    others_at: int = 3  # hidden layers on all other targets


QUICK = FunctionsSettings(steps=300, rates=(3e-4, 3e-3), depths=(3, 10))
PAPER_PRESET = FunctionsSettings()

VARIABLES = {
    "begins": Variable(("network",), "whether loss and gradient are finite before training", optional=True),
    "failed": Variable(("network",), "first step without a finite loss, -1 for none", optional=True),
    "validation": Variable(("network",), "mean square error on the validation set", optional=True),
    "test": Variable(("network",), "mean square error on the test set", optional=True),
    "slope": Variable(("network",), "squared error of the gradient over its mean square", optional=True),
    "along": Variable(("place",), "derivative of the first network along a line", optional=True),
    "condition": Variable(("spread",), "condition number of p + 2 units", optional=True),
    "largest": Variable(("spread",), "largest coefficient for degrees up to p + 1", optional=True),
    "error": Variable(("spread",), "largest error for degrees up to p + 1", optional=True),
    "beyond": Variable(("spread",), "rms error of the best fit of degree p + 2", optional=True),
    "product": Variable(("precision",), "largest error of the network for x y z", optional=True),
    "weight": Variable((), "largest weight of the network for x y z", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a target, network, depth and rate, and one a power for what is written down."""
    settings: FunctionsSettings = config.functions
    kinds = [("xyz", net, settings.starts_at) for net in NETS]
    kinds += [("xyz", net, d) for d in settings.depths if d != settings.starts_at for net in PLAIN]
    kinds += [(target, net, settings.others_at) for target in TARGETS if target != "xyz" for net in FEW]
    common = {"seed": config.seed, "seeds": settings.seeds, "steps": settings.steps}
    made = []
    for target, net, depth in kinds:
        step = 0.0 if net in (*LARGE, *REPU) else 2.6e-4 if "MRePU" in net else 1.8e-4
        seconds = 0.2 + step * settings.seeds * settings.steps * depth
        for rate in settings.rates:
            known = {"kind": "fit", "target": target, "net": net, "depth": depth, "rate": rate, "p": 0}
            made.append(Task(STUDY, "functions", {**known, **common}, seconds=seconds, memory=300_000_000))
    for p in POWERS:
        known = {"kind": "exact", "target": "", "net": "", "depth": 0, "rate": 0.0, "p": p}
        made.append(Task(STUDY, "functions", {**known, **common}, seconds=0.1, memory=200_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the errors of trained networks, or of what is written down.

    Points, batches and the normal numbers behind the weights are the same for all activations.
    """
    known = task.parameters
    if known["kind"] == "exact":
        return _exact(known["p"])
    name, seed = known["target"], 1000 * known["seed"]
    target, x = TARGETS[name], points(name, POINTS, seed)
    networks = begun(known["net"], known["depth"], x, range(seed, seed + known["seeds"]))
    inputs, wanted = x.float(), target(x).float()
    torch.autograd.backward(perceptrons.squared_error(networks(inputs), wanted).sum())
    gradients = [p.grad.isfinite().flatten(1).all(1) for p in networks.parameters() if p.grad is not None]
    optimiser = torch.optim.Adam(networks.parameters(), known["rate"], fused=True)
    batches = perceptrons.minibatches(inputs, wanted, BATCH, seed)
    course = perceptrons.train(networks, batches, perceptrons.squared_error, optimiser, known["steps"])
    found: dict[str, Any] = {"begins": torch.stack(gradients).all(0).numpy(), "failed": course.failed}
    found["validation"], _ = _errors(networks, target, points(name, TESTED, seed + 1))
    found["test"], found["slope"] = _errors(networks, target, points(name, TESTED, seed + 2))
    for errors in ("validation", "test", "slope"):
        found[errors][course.failed >= 0] = np.inf
    if target.dims == 1:
        found["along"] = _gradients(networks, torch.from_numpy(LINE[:, None]).float())[1][0, :, 0].numpy()
    return found


def points(target: str, count: int, seed: int) -> Tensor:
    """Return points uniform on the cube of a target; those of x y z are `shared.xyz`'s."""
    return shared.cube(count, TARGETS[target].dims, seed)


def begun(net: str, depth: int, x: Tensor, seeds: range) -> Networks:
    """Return networks at their start; a first-layer kernel of their own is that of an input of norm 1."""
    activation, start = NETS[net]
    largest = perceptrons.largest_of(x) if start is None else 1.0
    start = start or perceptrons.best_start(activation, depth)[0]
    sizes = (x.shape[1], *[WIDTH] * depth, 1)
    networks = Networks(sizes, perceptrons.module_of(activation), start, seeds, largest=largest)
    if net.endswith("default"):  # the first layer has fewer inputs, and so larger biases
        networks.biases[0].data *= math.sqrt(WIDTH / x.shape[1])
    return networks


def _gradients(networks: Networks, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs (networks, points, 1), and gradients (networks, points, dims)."""
    each = x.expand(len(networks), *x.shape).clone().requires_grad_()
    outputs = networks(each)
    (gradients,) = torch.autograd.grad(outputs.sum(), each)
    return outputs.detach().double(), gradients.double()


def _errors(networks: Networks, target: Target, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean square errors of values and, relative, of gradients; infinite where there is none."""
    outputs, gradients = _gradients(networks, x.float())
    exact = target(x.requires_grad_())
    (slope,) = torch.autograd.grad(exact.sum(), x)
    value = perceptrons.squared_error(outputs, exact)
    relative = perceptrons.squared_error(gradients, slope) / slope.square().mean()
    return np.nan_to_num(value.detach().numpy(), nan=np.inf), np.nan_to_num(relative.numpy(), nan=np.inf)


def _exact(p: int) -> dict[str, Any]:
    """Fit each degree up to p + 1 by p + 2 units, and the next; multiply three numbers by a network."""
    spans = []
    for spread in SPREADS:
        solved = [mrepu_polynomial(p, degree, spread=spread) for degree in range(p + 3)]
        fits = mrepu_units(p, spread, LINE) @ np.stack([c for c, _, _ in solved[:-1]], 1)
        error = np.abs(fits - LINE[:, None] ** np.arange(p + 2)).max()
        spans.append((solved[0][1], max(np.abs(c).max() for c, _, _ in solved[:-1]), error, solved[-1][2]))
    network, x, errors = product_network(p), points("xyz", TESTED, 0), []
    weight = max(float(w.detach().abs().max()) for w in network.parameters())
    for dtype in (torch.float64, torch.float32):
        rounded = x.to(dtype)
        outputs = network.to(dtype)(rounded)[:, 0].detach()
        errors.append(float((outputs.double() - rounded.double().prod(1)).abs().max()))
    found = dict(zip(("condition", "largest", "error", "beyond"), np.array(spans).T, strict=True))
    return found | {"product": np.array(errors), "weight": weight}


def product_network(p: int) -> nn.Sequential:
    """Return the network of two hidden layers of MRePU_p that multiplies three numbers from [-1, 1]."""
    made: list[nn.Module] = []
    for w, bias in mrepu_product(p):
        linear = nn.Linear(w.shape[1], w.shape[0], dtype=torch.float64)
        linear.weight.data, linear.bias.data = torch.from_numpy(w), torch.from_numpy(bias)
        made += [linear, MRePU(p)]
    return nn.Sequential(*made[:-1])


@dataclass(frozen=True)
class Fit:
    """One network on one target: arrays (rates, networks)."""

    rates: np.ndarray
    begins: np.ndarray
    failed: np.ndarray
    validation: np.ndarray
    tests: np.ndarray
    slopes: np.ndarray
    along: np.ndarray  # (rates, places)

    @property
    def best(self) -> int:
        """The rate with the lowest median on the validation set; a network without a number is worst."""
        return int(np.argmin(np.median(self.validation, axis=1)))

    @property
    def later(self) -> np.ndarray:
        """Which networks began well and diverged."""
        return np.asarray((self.failed >= 0) & (self.begins > 0))

    def errors(self, of: str = "tests") -> np.ndarray:
        """Return those of values or slopes at the best rate; what is infinite or larger is `_WORST`."""
        return np.asarray(np.minimum(getattr(self, of)[self.best], _WORST))


@dataclass(frozen=True)
class Numbers:
    """All fits by target, network and depth; what is written down by power."""

    fits: dict[tuple[str, str, int], Fit]
    exact: dict[str, np.ndarray]  # (powers, spreads), or less
    settings: FunctionsSettings


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    trained, exact = chosen(data, kind="fit"), chosen(data, kind="exact").sortby("p")
    keys = zip(*(trained[name].values.tolist() for name in ("target", "net", "depth")), strict=True)
    fits = {}
    for target, net, depth in dict.fromkeys(keys):
        one = chosen(trained, target=target, net=net, depth=depth).sortby("rate")
        names = ("rate", "begins", "failed", "validation", "test", "slope", "along")
        fits[target, net, depth] = Fit(*(one[name].values.astype(float) for name in names))
    written = ("condition", "largest", "error", "beyond", "product", "weight")
    return Numbers(fits, {name: exact[name].values.astype(float) for name in written}, config.functions)


def claims(n: Numbers) -> list[Check]:
    """Return what the summaries say, then what starts and steps do, then what is exact."""
    depth, shallow, others = n.settings.starts_at, n.settings.depths[0], n.settings.others_at
    made = [
        Claim(f"xyz-{net.lower()}-fails", f"{net} fails to learn x y z.", SUMMARY).positive(
            over_seeds(np.log10(n.fits["xyz", net, depth].errors() / _LEARNS)),
            note=f"Measured: log10 of the test error over half the variance of the target, depth {depth}.",
        )
        for net in ("ReLU", "GELU")
    ]
    where = {"xyz": depth, "xyz-shallow": shallow, "cubic": others, "quartic": others}
    for name, at in where.items():
        target = name.partition("-")[0]
        there = [net for net in NETS if "MRePU" in net and (target, net, at) in n.fits]
        validation = [np.median(n.fits[target, net, at].validation, 1).min() for net in there]
        best = there[int(np.argmin(validation))]
        made += [_compared(n, f"{name}-{net.lower()}", target, at, best, net) for net in ("ReLU", "GELU")]
    for target in SMOOTH:
        made.append(_compared(n, f"{target}-value", target, others, "ReLU", "MRePU2"))
        made.append(_compared(n, f"{target}-slope", target, others, "MRePU2", "ReLU", "slopes"))
    return [*made, *_start_claims(n), *_exact_claims(n)]


def _compared(
    n: Numbers, name: str, target: str, depth: int, better: str, worse: str, of: str = "tests"
) -> Check:
    fits = {net: n.fits[target, net, depth] for net in dict.fromkeys([better, worse, *FEW])}
    told = [f"{net} {np.median(f.errors(of)):.2g} (rate {f.rates[f.best]:g})" for net, f in fits.items()]
    who = better if target in SMOOTH else "MRePU, of its best power and start,"
    what = f"error{' of the gradient' if of == 'slopes' else ''} than {worse} on {TARGETS[target].label}"
    decades = np.log10(fits[worse].errors(of) / fits[better].errors(of))
    return Claim(name, f"{who} has a lower {what}.", SUMMARY).positive(
        over_seeds(decades, "mean over pairs of networks of one seed"),
        note=f"Measured: log10 of the ratio of mean square errors, depth {depth}; {', '.join(told)}.",
    )


def _start_claims(n: Numbers) -> list[Check]:
    depth, depths = n.settings.starts_at, n.settings.depths
    xyz = {(net, at): fit for (target, net, at), fit in n.fits.items() if target == "xyz"}
    small = np.concatenate([xyz[net, at].begins[0] for net in PLAIN[3:] for at in depths])
    deep = [fit for (net, at), fit in xyz.items() if "MRePU" in net and net not in LARGE and at >= depth]
    slow, fast = (np.concatenate([fit.later[end] for fit in deep]) for end in (0, -1))
    calm = np.concatenate([fit.failed.ravel() for (_, net, _), fit in n.fits.items() if net in PLAIN[:3]])
    behind = [np.log10(xyz["MRePU2", at].errors() / xyz["GELU", at].errors()) for at in depths]

    def nothing(name: str, sentence: str, nets: tuple[str, ...]) -> Check:
        fits = [xyz[net, depth] for net in nets]
        began = ", ".join(f"{net}: {fit.begins[0].sum():g}" for net, fit in zip(nets, fits, strict=True))
        return Claim(name, sentence).equals(
            1.0,
            share(np.concatenate([fit.errors() > _LEARNS for fit in fits])),
            note=f"Measured: share with a test error above half the variance, depth {depth}. With finite "
            f"loss and gradient before training, of {n.settings.seeds}: {began}.",
        )

    return [
        nothing("large-start", "MRePU2 learns nothing from C1 = 0.3, Xavier or torch's variances.", LARGE),
        nothing("repu", "RePU2 and 3 learn nothing from K_dag, nor RePU2 from He.", REPU),
        Claim(
            "small-start", "K_1 = 1/(2 a_1 L) keeps MRePU1 to 3 of every depth finite at the start."
        ).equals(
            1.0, share(small), note=f"Depths {', '.join(map(str, depths))}; the rule is for infinite width."
        ),
        Claim("small-steps", "Adam drives deep MRePU out of its safe region at large rates only.").positive(
            share(fast) - share(slow),
            note=f"Measured: of networks of depth {depth} and more with small K_1, the share that later "
            f"diverges at rate {deep[0].rates[-1]:g}, {fast.sum()} of {fast.size}, less that at "
            f"{deep[0].rates[0]:g}, {slow.sum()}.",
        ),
        Claim("others-steady", "GELU, ReLU and tanh diverge on no target, at no depth and no rate.").equals(
            0.0, share(calm >= 0)
        ),
        Claim("depth", "On x y z MRePU2 loses more by depth than GELU does.").positive(
            over_seeds(behind[-1] - behind[0]),
            note=f"Measured: log10 of the ratio of their test errors at depth {depths[-1]} less that at "
            f"{depths[0]}, K_1 = 1/(2 a_1 L), each at its best rate.",
        ),
    ]


def _exact_claims(n: Numbers) -> list[Check]:
    condition, error, product = (n.exact[name] for name in ("condition", "error", "product"))
    some = condition < 0.01 / _EPS
    norms = [2.0**k / math.comb(2 * k, k) / math.sqrt(2 * k + 1) for k in (p + 2 for p in POWERS)]
    beyond = n.exact["beyond"][:, _GOOD] / norms
    spanned = np.log10((error / (_EPS * condition))[some].max())
    multiplied = np.log10((product[:, 0] / (_EPS * condition[:, _GOOD] ** 2)).max())
    theorem, how = f"{PAPER}, theorem 8 and corollary 10", "the largest; no chance in it"
    return [
        Claim("span", "p + 2 units of MRePU_p fit every polynomial of degree up to p + 1.", theorem).below(
            1.0,
            Estimate(float(spanned), 0.0, how, 1),
            note="Measured: log10 of the error on [-1, 1] over 2^-52 times the condition number, p = 1 to 5, "
            f"biases from 0 to {SPREADS[0]:g} .. {SPREADS[-1]:g}; agrees below 1. Conditions go from "
            f"{condition.min():.2g} to {condition.max():.2g}; above {0.01 / _EPS:.0g} none is counted.",
        ),
        Claim("next-degree", "None has degree p + 2: the best fit misses by Legendre's norm.").equals(
            1.0,
            Estimate(float(beyond[np.abs(beyond - 1).argmax()]), 0.0, how, 1),
            allowance=1e-6,
            note="Measured: rms error of the best fit of x^k over that of the monic Legendre polynomial, "
            "2^k k!^2/((2k)! sqrt(2k + 1)), k = p + 2, p = 1 to 5. Allowance: rounding.",
        ),
        Claim("product", "Two hidden layers of MRePU_p multiply three numbers exactly.", theorem).below(
            1.0,
            Estimate(float(multiplied), 0.0, how, 1),
            note="Measured: log10 of the error over 2^-52 times the squared condition of a layer, p = 1 to "
            f"5; agrees below 1. p = 2, 20 units, weights up to {n.exact['weight'][1]:.3g}: error "
            f"{product[1, 0]:.1g}, in single precision {product[1, 1]:.1g}.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (target, net, depth), fit in n.fits.items():
        test, later = np.sort(fit.tests[fit.best]), fit.failed[fit.later]
        row = [TARGETS[target].label, f"{depth}", net]
        row += [f"{fit.rates[fit.best]:g}" if np.isfinite(test).any() else "none"]
        row += [f"{np.median(test):.2g} [{test[0]:.2g}, {test[-1]:.2g}]"]
        row += [f"{np.median(fit.slopes[fit.best]):.2g}", f"{(fit.begins[0] == 0).sum()} of {test.size}"]
        steps = f", steps {later.min():g} to {later.max():g}" if later.size else ""
        rows.append([*row, f"{later.size} of {fit.failed.size}{steps}"])
    columns = ["target", "depth", "network", "best rate", "test error [range]", "error of the gradient"]
    columns += ["not finite at the start", "diverged later, all rates"]
    spans = [n.exact[name][:, at] for at in (_GOOD, 0) for name in ("condition", "largest", "error")]
    written = np.stack([*spans, n.exact["weight"], *n.exact["product"].T], 1)
    exact = [[f"{p}", *(f"{value:.2g}" for value in row)] for p, row in zip(POWERS, written, strict=True)]
    heads = ["condition", "largest coefficient", "error", "condition", "coefficient", "error"]
    heads = ["p", *heads, "x y z: largest weight", "error, double", "error, single"]
    title = f"p + 2 units for degrees up to p + 1, biases to {SPREADS[_GOOD]:g}, to {SPREADS[0]:g}; x y z"
    return [
        Table("Mean square errors at each network's best rate", columns, rows),
        Table(title, heads, exact),
    ]


def notes(n: Numbers) -> list[str]:
    rates = ", ".join(f"{rate:g}" for rate in n.settings.rates)
    return [
        f"Chosen here: width {WIDTH}, {POINTS} points uniform on the cube, {n.settings.steps} steps of Adam "
        f"with batches of {BATCH}, single precision, rates {rates}. Each network has its own best rate, by "
        "the median over seeds on a validation set; errors are those on a third set. Networks of one seed "
        "have the same points, batches and normal numbers. C1 is the first layer's weight variance times its "
        f"inputs. A network that diverges has an infinite error; in ratios it counts as {_WORST:g}.",
        "The summaries of the paper give no depths, rates or steps. What they say and what we measure both "
        "stand in the checks.",
    ]


def draw_polynomials(axes: Axes, n: Numbers) -> None:
    targets = ("xyz", "cubic", "quartic")
    for shift, target, colour in zip((-0.2, 0.0, 0.2), targets, colours(3), strict=True):
        depth = n.settings.starts_at if target == "xyz" else n.settings.others_at
        axes.plot([], [], "o", ms=4, color=colour, label=f"{TARGETS[target].label}, depth {depth}")
        for row, net in enumerate(NETS):
            if (target, net, depth) in n.fits:
                for error in n.fits[target, net, depth].errors():
                    axes.plot(error, row + shift, "x" if error == _WORST else "o", ms=4, color=colour)
    axes.axvline(1, color=plotting.THEORY, lw=1, label="guessing the mean")
    axes.set_yticks(range(len(NETS)), list(NETS))
    axes.set(xscale="log", ylim=(len(NETS) - 0.4, -0.6), xlabel="test error", title="Polynomials")
    legend(axes, fontsize=7.5)


def draw_depth(axes: Axes, n: Numbers) -> None:
    for number, (net, colour) in enumerate(COLOURS.items()):
        fits = {depth: n.fits["xyz", net, depth] for depth in n.settings.depths}
        axes.plot(list(fits), [np.median(fit.errors()) for fit in fits.values()], color=colour, label=net)
        for depth, fit in fits.items():
            axes.plot(np.full(fit.tests.shape[1], depth), fit.errors(), "o", ms=3, color=colour)
            if fit.later.any():
                axes.plot(depth, 3 * 1.6**number, "x", color=colour)
    axes.set(xscale="log", yscale="log", title="x y z", xlabel="depth", ylabel="test error, best rate")
    axes.set_xticks(n.settings.depths, [f"{depth}" for depth in n.settings.depths])
    axes.minorticks_off()
    legend(axes, fontsize=7.5, ncols=2)


def draw_derivative(axes: Axes, n: Numbers) -> None:
    for net in FEW:
        fit = n.fits["runge", net, n.settings.others_at]
        axes.plot(LINE, fit.along[fit.best], color=COLOURS[net], lw=1, label=net)
    x = torch.from_numpy(LINE[:, None]).requires_grad_()
    (exact,) = torch.autograd.grad(TARGETS["runge"](x).sum(), x)
    axes.plot(LINE, exact[:, 0].numpy(), color=plotting.THEORY, lw=1, ls="--", label="exact")
    axes.set(title=TARGETS["runge"].label, xlabel="x", ylabel="derivative")
    legend(axes, fontsize=7.5)


def draw_exact(axes: Axes, n: Numbers) -> None:
    condition = n.exact["condition"]
    for row, colour in enumerate(shades(len(POWERS))):
        axes.plot(condition[row], n.exact["error"][row], "o", ms=4, color=colour, label=f"p = {POWERS[row]}")
    ends = np.array([condition.min(), condition.max()])
    axes.plot(ends, _EPS * ends, color=plotting.THEORY, label="rounding x condition")
    axes.set(xscale="log", yscale="log", xlabel="condition number of MRePU_p", ylabel="largest error")
    legend(axes, fontsize=7.5)


def figures(n: Numbers) -> list[Panels]:
    polynomials = (
        "Test errors at the best rates, one dot a network; crosses at 100 diverged or have larger errors. "
        "Right: lines through medians; a cross on top where one that began finite diverged at some rate."
    )
    smooth = (
        "Left: derivative of the first network of each. Right: the largest error of p + 2 units solved for "
        "degrees up to p + 1."
    )
    return [
        Panels("polynomials", polynomials, [draw_polynomials, draw_depth], (4.8, 3.8)),
        Panels("smooth", smooth, [draw_derivative, draw_exact]),
    ]


FUNCTIONS = Part(
    name="functions",
    title="Polynomials and smooth functions",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("kim2024repu",),
)
