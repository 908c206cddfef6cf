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
from phasescope.papers.rectified_power import shared
from phasescope.papers.rectified_power.shared import PAPER, STUDY, Networks, Start, over_seeds, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SUMMARY = f"a published summary of {PAPER}"
WIDTH, BATCH, POINTS, TESTED = 64, 256, 1024, 2048
_WORST = 100.0  # a mean square error that is larger, or none, counts as this; targets have variance 1
_LEARNS = 0.5  # below it a network has learnt something of the target
_LINE = np.linspace(-1, 1, 201)
_EPS = 2.0**-52
POWERS = (1, 2, 3, 4, 5)
SPREADS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of the biases
_GOOD = SPREADS.index(3.0)  # near the best conditioned for all powers


@dataclass(frozen=True)
class Target:
    """A function on ``[-1, 1]^dims``, shifted and scaled to mean 0 and variance 1."""

    dims: int
    formula: shared.Function  # of points (points, dims)
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
        2,
        lambda x: (math.pi * x[:, 0]).sin() * (-(x[:, 1] ** 2)).exp(),
        0.0,
        _WAVE / 2,
        "sin(pi x) exp(-y^2)",
    ),
    "runge": Target(
        1, lambda x: 1 / (1 + 25 * x[:, 0] ** 2), _RUNGE, 1 / 52 + _RUNGE / 2 - _RUNGE**2, "1/(1 + 25 x^2)"
    ),
    "cube": Target(1, lambda x: x[:, 0].abs() ** 3, 1 / 4, 1 / 7 - 1 / 16, "|x|^3"),
}
SMOOTH = ("wave", "runge", "cube")

# Activation and start, `best_start` where there is none. Xavier's and torch's are normal of their variances.
NETS: dict[str, tuple[str, Start | None]] = {
    **{net: (net.lower(), None) for net in ("GELU", "ReLU", "tanh", "MRePU1", "MRePU2", "MRePU3")},
    **{f"MRePU2, C1 = {C1}": ("mrepu2", Start(1.0, 0.0, C1)) for C1 in (0.001, 0.01, 0.3)},
    "MRePU2, Xavier": ("mrepu2", Start(1.0, 0.0, 2 * 3 / (3 + WIDTH))),
    "MRePU2, default": ("mrepu2", Start(1 / 3, 1 / (3 * WIDTH), 1 / 3 + 1 / 9)),
    "RePU2, K_dag": ("repu2", None),
    "RePU3, K_dag": ("repu3", None),
    "RePU2, He": ("repu2", Start(2.0)),
}
PLAIN = ("GELU", "ReLU", "tanh", "MRePU1", "MRePU2", "MRePU3")
COMPARED = ("GELU", "ReLU", "tanh", "MRePU2")
LARGE = ("MRePU2, C1 = 0.3", "MRePU2, Xavier", "MRePU2, default")
REPU = ("RePU2, K_dag", "RePU3, K_dag", "RePU2, He")


class FunctionsSettings(Settings):
    """Sizes of the networks and of their training."""

    seeds: int = 3
    steps: int = 800
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)  # of Adam, the same list for all, ascending
    depths: tuple[int, ...] = (3, 5, 10, 20)  # hidden layers on x y z, ascending
    starts_at: int = 10  # that of them at which all starts are compared
    others_at: int = 5  # hidden layers on all other targets


QUICK = FunctionsSettings(steps=250, rates=(3e-4, 3e-3), depths=(3, 10))
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
    kinds += [(target, net, settings.others_at) for target in ("cubic", "quartic") for net in PLAIN]
    kinds += [(target, net, settings.others_at) for target in SMOOTH for net in COMPARED]
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
    """Return the errors of trained networks, or those of the networks whose weights are written down."""
    known = dict(task.parameters)
    return _exact(known["p"]) if known["kind"] == "exact" else _fit(known)


def points(target: str, count: int, seed: int) -> Tensor:
    """Return points uniform on the cube of a target, drawn as `shared.xyz` draws them."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return 2 * torch.rand(count, TARGETS[target].dims, generator=generator, dtype=torch.float64) - 1


def _fit(known: dict[str, Any]) -> dict[str, Any]:
    """Train; points, batches and the normal numbers behind the weights are the same for all activations."""
    name, seed = known["target"], 1000 * known["seed"]
    target, x = TARGETS[name], points(name, POINTS, seed)
    networks = begun(known["net"], known["depth"], x, range(seed, seed + known["seeds"]))
    inputs, wanted = x.float(), target(x).float()
    torch.autograd.backward(shared.squared_error(networks(inputs), wanted).sum())
    gradients = [p.grad.isfinite().flatten(1).all(1) for p in networks.parameters() if p.grad is not None]
    optimiser = torch.optim.Adam(networks.parameters(), known["rate"], fused=True)
    batches = shared.minibatches(inputs, wanted, BATCH, seed)
    course = shared.train(networks, batches, shared.squared_error, optimiser, known["steps"])
    found: dict[str, Any] = {"begins": torch.stack(gradients).all(0).numpy(), "failed": course.failed}
    found["validation"], _ = _errors(networks, target, points(name, TESTED, seed + 1))
    found["test"], found["slope"] = _errors(networks, target, points(name, TESTED, seed + 2))
    for errors in ("validation", "test", "slope"):
        found[errors][course.failed >= 0] = np.inf
    if target.dims == 1:
        line = torch.from_numpy(_LINE[:, None])
        found["along"] = _gradients(networks, line.float())[1][0, :, 0].numpy()
    return found


def begun(net: str, depth: int, x: Tensor, seeds: range) -> Networks:
    """Return networks at their start; a first-layer kernel of their own is that of an input of norm 1."""
    activation, start = NETS[net]
    largest = shared.largest_of(x) if start is None else 1.0
    start = start or shared.best_start(activation, depth)[0]
    sizes = (x.shape[1], *[WIDTH] * depth, 1)
    return Networks(sizes, shared.module_of(activation), start, seeds, largest=largest)


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
    value = shared.squared_error(outputs, exact)
    relative = shared.squared_error(gradients, slope) / slope.square().mean()
    return np.nan_to_num(value.detach().numpy(), nan=np.inf), np.nan_to_num(relative.numpy(), nan=np.inf)


def _exact(p: int) -> dict[str, Any]:
    """Fit each degree up to p + 1 by p + 2 units, and the next; multiply three numbers by a network."""
    spanned = np.array([_spanned(p, spread) for spread in SPREADS]).T
    network, x, errors = product_network(p), points("xyz", TESTED, 0), []
    weight = max(float(w.detach().abs().max()) for w in network.parameters())
    for dtype in (torch.float64, torch.float32):
        rounded = x.to(dtype)
        outputs = network.to(dtype)(rounded)[:, 0].detach()
        errors.append(float((outputs.double() - rounded.double().prod(1)).abs().max()))
    found = dict(zip(("condition", "largest", "error", "beyond"), spanned, strict=True))
    return found | {"product": np.array(errors), "weight": weight}


def _spanned(p: int, spread: float) -> tuple[float, ...]:
    """Return condition, largest coefficient and error for degrees up to p + 1; the rest of degree p + 2."""
    line = np.linspace(-1, 1, 401)
    solved = [solve(p, spread, degree) for degree in range(p + 3)]
    units = _units(p, spread, line)
    errors = [np.abs(units @ c - line**degree).max() for degree, (c, _, _) in enumerate(solved[:-1])]
    largest = max(np.abs(c).max() for c, _, _ in solved[:-1])
    return solved[0][1], float(largest), float(max(errors)), solved[-1][2]


def _biases(p: int, spread: float) -> np.ndarray:
    """Return p + 2 biases from 0 on, so that no argument is below -1 on [-1, 1]."""
    return np.linspace(0, spread, p + 2)


def _units(p: int, spread: float, u: np.ndarray) -> np.ndarray:
    return np.asarray(MRePU(p)(torch.from_numpy(u[:, None] + _biases(p, spread))).numpy())


def solve(p: int, spread: float, degree: int) -> tuple[np.ndarray, float, float]:
    """Return coefficients of the best fit of ``u^degree``, condition of units of norm 1, rms of the rest."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    root = np.sqrt(weights / 2)
    units, wanted = root[:, None] * _units(p, spread, nodes), root * nodes**degree
    norms = np.linalg.norm(units, axis=0)
    scaled = np.linalg.lstsq(units / norms, wanted, rcond=None)[0]
    rest = float(np.linalg.norm(units / norms @ scaled - wanted))
    return scaled / norms, float(np.linalg.cond(units / norms)), rest


def product_network(p: int) -> nn.Sequential:
    """Return a network of two hidden layers of MRePU_p that multiplies three numbers from [-1, 1].

    Layer 1 has units for ``(x + y)/2``, ``(x - y)/2`` and ``z``, layer 2 for ``(x y + z)/2`` and
    ``(x y - z)/2``; each product is a difference of two squares.
    """
    count, biases = p + 2, torch.from_numpy(_biases(p, SPREADS[_GOOD]))
    square, itself = (torch.from_numpy(solve(p, SPREADS[_GOOD], degree)[0])[None] for degree in (2, 1))
    half = torch.tensor([[0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
    difference = torch.cat([square, -square], 1)
    made: list[nn.Module] = []
    for w, bias in (
        (torch.block_diag(half, torch.ones(1, 1)).repeat_interleave(count, 0), biases.repeat(3)),
        ((half @ torch.block_diag(difference, itself)).repeat_interleave(count, 0), biases.repeat(2)),
        (difference, torch.zeros(1, dtype=torch.float64)),
    ):
        linear = nn.Linear(w.shape[1], w.shape[0], dtype=torch.float64)
        linear.weight.data, linear.bias.data = w, bias
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

    def ahead(self, other: Fit, of: str = "tests") -> Estimate:
        """Return by how many decades the error is lower than another's, over pairs of one seed."""
        decades = np.log10(other.errors(of) / self.errors(of))
        return over_seeds(decades, "mean over pairs of networks of log10 of the ratio of errors")


@dataclass(frozen=True)
class Numbers:
    """All fits by target, network and depth; what is written down by power."""

    fits: dict[tuple[str, str, int], Fit]
    exact: dict[str, np.ndarray]  # (powers, spreads), or less
    settings: FunctionsSettings

    def best_start(self, target: str, depth: int) -> str:
        """Return the start of MRePU2 with the lowest median on the validation set."""
        there = [net for net in NETS if "MRePU2" in net and (target, net, depth) in self.fits]
        return min(there, key=lambda net: float(np.median(self.fits[target, net, depth].validation, 1).min()))


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
            note=f"Measured: log10 of the test error over half the variance of the target, depth {depth}. "
            "The paper's depth, rate and number of steps are not known to us.",
        )
        for net in ("ReLU", "GELU")
    ]
    where = {"xyz": ("xyz", depth), "xyz-shallow": ("xyz", shallow)}
    where |= {target: (target, others) for target in ("cubic", "quartic")}
    for name, (target, at) in where.items():
        best = n.best_start(target, at)
        made += [_compared(n, f"{name}-{net.lower()}", target, at, best, net) for net in ("ReLU", "GELU")]
    for target in SMOOTH:
        made += [
            _compared(n, f"{target}-value", target, others, "ReLU", "MRePU2"),
            _compared(n, f"{target}-slope", target, others, "MRePU2", "ReLU", "slopes"),
        ]
    return [*made, *_start_claims(n), *_exact_claims(n)]


def _compared(
    n: Numbers, name: str, target: str, depth: int, better: str, worse: str, of: str = "tests"
) -> Check:
    fits = {net: n.fits[target, net, depth] for net in dict.fromkeys([better, worse, "GELU"])}
    told = [f"{net} {np.median(f.errors(of)):.2g} (rate {f.rates[f.best]:g})" for net, f in fits.items()]
    what = f"error{' of the gradient' if of == 'slopes' else ''}"
    sentence = f"{better.partition(',')[0]} has a lower {what} than {worse} on {TARGETS[target].label}."
    return Claim(name, sentence, SUMMARY).positive(
        fits[better].ahead(fits[worse], of),
        note=f"Measured: log10 of the ratio of mean square errors, depth {depth}. Medians: {', '.join(told)}.",
    )


def _start_claims(n: Numbers) -> list[Check]:
    depth, depths = n.settings.starts_at, n.settings.depths
    xyz = {(net, at): fit for (target, net, at), fit in n.fits.items() if target == "xyz"}
    small = np.concatenate([xyz[net, at].begins[0] for net in PLAIN[3:] for at in depths])
    deep = [fit for (net, at), fit in xyz.items() if "MRePU" in net and net not in LARGE and at >= depth]
    slow, fast = (np.concatenate([fit.later[end][fit.begins[end] > 0] for fit in deep]) for end in (0, -1))
    calm = np.concatenate([fit.failed.ravel() for (_, net, _), fit in n.fits.items() if net in PLAIN[:3]])
    behind = [np.log10(xyz["MRePU2", at].errors() / xyz["GELU", at].errors()) for at in depths]

    def nothing(name: str, sentence: str, nets: tuple[str, ...]) -> Check:
        fits = [xyz[net, depth] for net in nets]
        began = ", ".join(f"{net}: {fit.begins[0].sum():g}" for net, fit in zip(nets, fits, strict=True))
        return Claim(name, sentence).equals(
            1.0,
            share(np.concatenate([fit.errors() > _LEARNS for fit in fits])),
            note=f"Measured: share with a test error above half the variance, depth {depth}. With finite loss "
            f"and gradient before training, of {n.settings.seeds}: {began}.",
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
            note=f"Measured: of networks of depth {depth} and more with small K_1, the share that diverges at "
            f"rate {deep[0].rates[-1]:g}, {int(fast.sum())} of {fast.size}, less that at rate "
            f"{deep[0].rates[0]:g}, {int(slow.sum())}.",
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
    theorem = f"{PAPER}, theorem 8 and corollary 10"

    def worst(ratios: np.ndarray) -> Estimate:
        return Estimate(float(np.log10(ratios.max())), 0.0, "the largest; no chance in it", 1)

    return [
        Claim("span", "p + 2 units of MRePU_p fit every polynomial of degree up to p + 1.", theorem).below(
            1.0,
            worst((error / (_EPS * condition))[some]),
            note="Measured: log10 of the error on [-1, 1] over 2^-52 times the condition number, p = 1 to 5, "
            f"biases from 0 to {SPREADS[0]:g} .. {SPREADS[-1]:g}; agrees below 1. Conditions go from "
            f"{condition.min():.2g} to {condition.max():.2g}; above {0.01 / _EPS:.0g} none is counted.",
        ),
        Claim("next-degree", "None has degree p + 2: the best fit misses by Legendre's norm.").equals(
            1.0,
            Estimate(float(beyond[np.abs(beyond - 1).argmax()]), 0.0, "the worst; no chance in it", 1),
            allowance=1e-6,
            note="Measured: rms error of the best fit of x^k over that of the monic Legendre polynomial, "
            "2^k k!^2/((2k)! sqrt(2k + 1)), k = p + 2, p = 1 to 5. Allowance: rounding.",
        ),
        Claim("product", "Two hidden layers of MRePU_p multiply three numbers exactly.", theorem).below(
            1.0,
            worst(product[:, 0] / (_EPS * condition[:, _GOOD] ** 2)),
            note="Measured: log10 of the error over 2^-52 times the squared condition of a layer, p = 1 to 5; "
            f"agrees below 1. p = 2, 20 units, weights up to {n.exact['weight'][1]:.3g}: error "
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
    exact = []
    for p, *one in zip(POWERS, *(n.exact[name] for name in ("condition", "largest", "error")), strict=True):
        spans = [f"{values[at]:.2g}" for at in (_GOOD, 0) for values in one]
        product = [f"{error:.1g}" for error in n.exact["product"][p - 1]]
        exact.append([f"{p}", *spans, f"{n.exact['weight'][p - 1]:.3g}", *product])
    names = [
        f"{w}, biases to {SPREADS[at]:g}" for at in (_GOOD, 0) for w in ("condition", "coefficient", "error")
    ]
    heads = ["p", *names, "x y z: weight", "error, double", "error, single"]
    return [
        Table("Mean square errors, each network at its best rate", columns, rows),
        Table("p + 2 units of MRePU_p for degrees up to p + 1, and x y z: the largest of each", heads, exact),
    ]


def notes(n: Numbers) -> list[str]:
    rates = ", ".join(f"{rate:g}" for rate in n.settings.rates)
    return [
        f"Chosen here: width {WIDTH}, {POINTS} points uniform on the cube, {n.settings.steps} steps of Adam with "
        f"batches of {BATCH}, single precision, rates {rates}. Each network has its own best rate, by the median "
        "over seeds on a validation set; errors are those on a third set. The networks of one seed have the "
        "same points, batches and normal numbers. C1 is the first layer's weight variance times inputs.",
        f"A network that diverges has an infinite error; in ratios it counts as {_WORST:g}. Summaries of the paper "
        "say that MRePU is far best on polynomials, that ReLU and GELU fail on x y z, and that ReLU has the "
        "lower L2 error and MRePU the smoother derivative; depths and rates are not given.",
    ]


def _rows(axes: Axes, n: Numbers, nets: tuple[str, ...], keys: tuple[tuple[str, int], ...]) -> None:
    """Draw a dot for each network, one row an activation; a cross where it diverged or is worse than that."""
    for number, ((target, depth), colour) in enumerate(zip(keys, colours(len(keys)), strict=True)):
        label: str | None = f"{TARGETS[target].label}, depth {depth}"
        for row, net in enumerate(nets):
            errors = n.fits[target, net, depth].errors()
            place = np.full(len(errors), row + 0.22 * (number - (len(keys) - 1) / 2))
            axes.plot(errors, place, "o", ms=4, color=colour, label=label, alpha=0.8)
            axes.plot(errors[errors == _WORST], place[errors == _WORST], "x", ms=8, color=plotting.INK)
            label = None
    axes.axvline(1, color=plotting.THEORY, lw=1, label="the mean as a guess")
    axes.set_yticks(range(len(nets)), nets)
    axes.set(xscale="log", ylim=(len(nets) - 0.4, -0.6), xlabel="test error")
    legend(axes, fontsize=7.5)


def draw_xyz(axes: Axes, n: Numbers) -> None:
    _rows(axes, n, tuple(NETS), (("xyz", n.settings.starts_at),))
    axes.set(title="x y z")


def draw_others(axes: Axes, n: Numbers) -> None:
    _rows(axes, n, PLAIN, (("cubic", n.settings.others_at), ("quartic", n.settings.others_at)))
    axes.set(title="Other polynomials")


def draw_depth(axes: Axes, n: Numbers) -> None:
    depths = np.array(n.settings.depths)
    for number, (net, colour) in enumerate(zip(PLAIN, colours(len(PLAIN)), strict=True)):
        errors = np.array([n.fits["xyz", net, depth].errors() for depth in depths])
        axes.plot(depths, np.median(errors, 1), "-", color=colour, label=net)
        axes.plot(np.repeat(depths, errors.shape[1]), errors.ravel(), "o", ms=3, color=colour)
        lost = [at for at in depths for _ in range(int(n.fits["xyz", net, at].later.sum()))]
        axes.plot(np.array(lost) * 1.03**number, np.full(len(lost), 3.0 * 1.5**number), "x", color=colour)
    axes.set(xscale="log", yscale="log", title="x y z, best rate", xlabel="depth", ylabel="test error")
    axes.set_xticks(depths, [f"{depth}" for depth in depths])
    axes.minorticks_off()
    legend(axes, fontsize=7.5, ncols=2)


def draw_plane(axes: Axes, n: Numbers) -> None:
    for target, marker in zip(SMOOTH, "os^", strict=True):
        for net, colour in zip(COMPARED, colours(len(COMPARED)), strict=True):
            fit = n.fits[target, net, n.settings.others_at]
            axes.plot(fit.errors(), fit.errors("slopes"), marker, ms=4, color=colour, alpha=0.8)
    for net, colour in zip(COMPARED, colours(len(COMPARED)), strict=True):
        axes.plot([], [], "s", ms=5, color=colour, label=net)
    for target, marker in zip(SMOOTH, "os^", strict=True):
        axes.plot([], [], marker, ms=5, color=plotting.INK, mfc="none", label=TARGETS[target].label)
    axes.set(xscale="log", yscale="log", title="Smooth functions")
    axes.set(xlabel="error of values", ylabel="error of the gradient")
    legend(axes, fontsize=7.5)


def draw_derivative(axes: Axes, n: Numbers) -> None:
    x = torch.from_numpy(_LINE[:, None]).requires_grad_()
    (exact,) = torch.autograd.grad(TARGETS["runge"](x).sum(), x)
    for net, colour in zip(COMPARED, colours(len(COMPARED)), strict=True):
        if net != "tanh":
            fit = n.fits["runge", net, n.settings.others_at]
            axes.plot(_LINE, fit.along[fit.best], color=colour, lw=1, label=net)
    axes.plot(_LINE, exact[:, 0].numpy(), color=plotting.THEORY, lw=1, ls="--", label="exact")
    axes.set(title=f"Derivative of {TARGETS['runge'].label}", xlabel="x", ylabel="derivative")
    legend(axes, fontsize=7.5)


def draw_conditions(axes: Axes, n: Numbers) -> None:
    for p, row, colour in zip(POWERS, n.exact["condition"], shades(len(POWERS)), strict=True):
        axes.plot(SPREADS, row, "o-", ms=3, color=colour, label=f"p = {p}")
    axes.set(xscale="log", yscale="log", title="Condition of p + 2 units")
    axes.set(xlabel="biases from 0 to", ylabel="condition number")
    legend(axes, fontsize=7.5)


def draw_errors(axes: Axes, n: Numbers) -> None:
    for p, x, y, colour in zip(
        POWERS, n.exact["condition"], n.exact["error"], shades(len(POWERS)), strict=True
    ):
        axes.plot(x, y, "o", ms=4, color=colour, label=f"p = {p}")
    ends = np.array([n.exact["condition"].min(), n.exact["condition"].max()])
    axes.plot(ends, _EPS * ends, color=plotting.THEORY, label="rounding x condition")
    axes.set(xscale="log", yscale="log", title="Degrees up to p + 1")
    axes.set(xlabel="condition number", ylabel="largest error")
    legend(axes, fontsize=7.5)


def figures(n: Numbers) -> list[Panels]:
    wide = (4.6, 3.6)
    return [
        Panels(
            "polynomials",
            "Test errors at each network's best rate, one dot a network; targets have variance 1. Crosses "
            f"diverged, or have an error above {_WORST:g}.",
            [draw_xyz, draw_others],
            wide,
        ),
        Panels(
            "depth",
            "Test errors against depth, each at its best rate; lines through medians. Crosses on top: one a "
            "network that began finite and diverged at a rate of the list.",
            [draw_depth],
            wide,
        ),
        Panels(
            "smooth",
            "Left: errors of values and of gradients, one dot a network. Right: the derivative of the first "
            "network of each.",
            [draw_plane, draw_derivative],
        ),
        Panels(
            "exact",
            "Left: condition number of p + 2 units against the spread of their biases. Right: the largest "
            "error for degrees up to p + 1 is rounding times the condition.",
            [draw_conditions, draw_errors],
        ),
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
