"""Beyond the paper: learned power and shift, the scaled form, Adam's first step, and what to use when.

MRePU may learn its power and shift. ``s(k z)/k`` moves the smallness that MRePU needs from the first layer
into the activation. Adam's first step moves every weight by the rate; the rate at which it takes the kernel
out of the range where networks last is predicted and measured. Last, one table by depth and task.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.activations import LearnedMRePU, MRePU, Scaled
from phasescope.data import digits
from phasescope.estimate import Estimate
from phasescope.papers import perceptrons
from phasescope.papers.perceptrons import Function, Networks, Start, best_start, squared_error, train
from phasescope.papers.rectified_power.protocol import losses
from phasescope.papers.rectified_power.shared import STUDY, over_seeds, share, xyz
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.theory import first_adam_rate, first_layer_kernel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

DEPTHS, STEP_DEPTHS = (5, 10, 20, 50), (5, 10, 20)  # of the table; of Adam's first step
LEARNED_DEPTHS = (5, 10)  # of the claims on learned powers, the last of the figure
CONSTANT = {"xyz": 1.0, "digits": 0.9}  # by task, the test error of a constant answer
METHODS = {  # activation and form
    "ReLU": ("relu", "plain"),
    "GELU": ("gelu", "plain"),
    "tanh": ("tanh", "plain"),
    "MRePU 2, small K_1": ("mrepu2", "plain"),
    "MRePU 2, learned": ("mrepu2", "learned"),
    "MRePU 2, scaled": ("mrepu2", "scaled"),
    "RePU 2, residual 0.1": ("repu2", "residual"),
    "RePU 2, LayerNorm": ("repu2", "norm"),
}
FIXED, LEARNED, SCALED = "MRePU 2, small K_1", "MRePU 2, learned", "MRePU 2, scaled"
LADDER = tuple(float(rate) for rate in np.geomspace(2e-4, 2e-1, 13))
_WIDTH, _WIDE, _BATCH = 64, 256, 64  # neurons in trained networks and for the first step; inputs of a step
_FASTER = 10  # the rate of learned powers and shifts over that of weights
_GROWN = 10.0  # growth of a kernel that has left
_LEARNS = 0.9  # a network above so much of the error of a constant answer has not learned
_ALLOWED = 5 / math.sqrt(_WIDE)  # of the logarithm of the predicted rate


class BeyondSettings(Settings):
    """Sizes of the runs."""

    seeds: int = 8  # of Adam's first step and of the ladder of rates
    ladder: int = 60  # steps for which a rate has to last
    table_seeds: int = 10  # half of them choose, half confirm
    table_steps: int = 180
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)  # of Adam, of which each method has its best


QUICK = BeyondSettings(seeds=5, ladder=20, table_seeds=6, table_steps=35, rates=(1e-3,))
PAPER_PRESET = BeyondSettings()

VARIABLES = {
    "error": Variable(("network",), "test error: mean square, or share of digits read wrong", optional=True),
    "valid": Variable(("network",), "the same on other data, by which rates are chosen", optional=True),
    "best_rate": Variable((), "rate chosen by the first half of the networks", optional=True),
    "power": Variable(("network", "layer"), "learned power", optional=True),
    "shift": Variable(("network", "layer"), "learned shift", optional=True),
    "seen": Variable(("network",), "rate at which Adam's first step makes a kernel grow", optional=True),
    "predicted": Variable(("network",), "the same at infinite width", optional=True),
    "lasting": Variable(("network",), "highest rate of a ladder that lasts", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return the tasks of the three questions, the longest first."""
    s: BeyondSettings = config.beyond
    blank = {"steps": 0, "seeds": s.seeds, "seed": config.seed, "rates": "", "target": "xyz", "method": ""}
    table = {"steps": s.table_steps, "seeds": s.table_seeds, "rates": " ".join(map(str, s.rates))}
    layer = 8e-5  # seconds of one layer of one network in one step

    def task(kind: str, seconds: float, **known: Any) -> Task:
        return Task(STUDY, "beyond", {"kind": kind} | blank | known, seconds=seconds, memory=500_000_000)

    made = []
    for depth, method in ((depth, method) for depth in STEP_DEPTHS for method in (FIXED, SCALED)):
        seconds = layer * s.seeds * s.ladder * depth * len(LADDER)
        made.append(task("ladder", seconds, method=method, depth=depth, steps=s.ladder))
        made += [
            task("step", 0.02 * s.seeds * depth, method=method, target=on, depth=depth) for on in CONSTANT
        ]
    for depth, method in ((depth, method) for depth in DEPTHS for method in METHODS):
        seconds = layer * s.table_seeds / 2 * (1 + len(s.rates)) * s.table_steps * depth
        made += [task("table", seconds, method=method, target=on, depth=depth, **table) for on in CONSTANT]
    return sorted(made, key=lambda each: -each.seconds)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what one task of its kind asks for."""
    kinds = {"ladder": _ladder, "step": _step, "table": _entry}
    return kinds[task.parameters["kind"]](dict(task.parameters), device)


class Formed(Networks):
    """Perceptrons of some form: LayerNorm, residual branches of weight 0.1, or MRePU with learned powers."""

    def __init__(self, form: str, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.form = form
        learned = [LearnedMRePU() for _ in self.weights[1:]] if form == "learned" else []
        for each in learned:  # a power and a shift for each network of each layer
            each.raw_p = nn.Parameter(each.raw_p.detach().repeat(len(self), 1, 1))
            each.raw_shift = nn.Parameter(each.raw_shift.detach().repeat(len(self), 1, 1))
        self.learned = nn.ModuleList(learned)

    def preactivations(self, x: Tensor) -> list[Tensor]:
        """Return those of each layer, shape (networks, inputs, units); the last are the outputs."""
        h = x.expand(len(self), *x.shape)
        made: list[Tensor] = []
        for number, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            made.append(z := torch.baddbmm(b, h, w))
            if number + 1 == len(self.weights):
                break
            if self.form == "learned":
                h = self.learned[number](z)
            elif self.form == "norm":
                h = self.activation(nn.functional.layer_norm(z, z.shape[-1:]))
            elif self.form == "residual":
                h = z if number == 0 else h + 0.1 * self.activation(z)
            else:
                h = self.activation(z)
        return made


def _begun(method: str, depth: int) -> tuple[Function, Start]:
    """Return the activation and the start of a method."""
    activation, form = METHODS[method]
    if form == "scaled":
        return Scaled(MRePU(2), math.sqrt(first_layer_kernel(activation, depth))), Start(1.0, 0.0, 1.0)
    plain = form in ("plain", "learned")
    return perceptrons.module_of(activation), best_start(activation, depth)[0] if plain else Start(
        1.0, 0.0, 1.0
    )


def _sizes(known: dict[str, Any], width: int) -> list[int]:
    inputs, outputs = (3, 1) if known["target"] == "xyz" else (64, 10)
    return [inputs, *[width] * (known["depth"] - 1), outputs]


@lru_cache(maxsize=2)
def _data(name: str) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return training, validation and test data."""
    if name == "xyz":
        return tuple((x.float(), y.float()) for x, y in (xyz(1024, seed) for seed in range(3)))
    found = digits().standardised().flattened()
    x, y = found.x_train, found.y_train
    return (x[300:], y[300:]), (x[:300], y[:300]), (found.x_test, found.y_test)


def _seeds(known: dict[str, Any]) -> list[int]:
    return [7919 * number + known["seed"] for number in range(known["seeds"])]


def _trained(known: dict[str, Any], seeds: Sequence[int], rate: float, device: str) -> dict[str, Any]:
    """Train by Adam; return errors, infinite where anything was not finite, and what was learned."""
    data = [(x.to(device), y.to(device)) for x, y in _data(known["target"])]
    begun, form = _begun(known["method"], known["depth"]), METHODS[known["method"]][1]
    networks = Formed(
        form, _sizes(known, _WIDTH), *begun, seeds, largest=perceptrons.largest_of(data[0][0])
    ).to(device)
    groups: list[dict[str, Any]] = [{"params": [*networks.weights, *networks.biases]}]
    if form == "learned":
        groups.append({"params": networks.learned.parameters(), "lr": _FASTER * rate})
    optimiser, steps = torch.optim.Adam(groups, rate), known["steps"]
    batches = perceptrons.minibatches(*data[0], _BATCH, known["seed"])
    course = train(networks, batches, losses, optimiser, steps, every=steps)
    made: dict[str, Any] = {}
    for name, (x, y) in zip(("valid", "error"), data[1:], strict=True):
        with torch.no_grad():
            outputs = networks(x)
        if y.is_floating_point():
            wrong = squared_error(outputs, y)
        else:
            wrong = (outputs.argmax(-1) != y).double().mean(1)
        lost = (course.failed >= 0) | ~outputs.isfinite().flatten(1).all(1).cpu().numpy()
        made[name] = np.where(lost, math.inf, wrong.double().cpu().numpy())
    for name, key in (("power", "p"), ("shift", "shift")) if form == "learned" else ():
        values = [getattr(each, key).detach().flatten() for each in networks.learned]
        made[name] = torch.stack(values, 1).cpu().numpy()
    return made


def _entry(known: dict[str, Any], device: str) -> dict[str, Any]:
    """Train half of the networks at all rates, and the others at the rate that serves those best."""
    seeds, rates = _seeds(known), [float(rate) for rate in known["rates"].split()]
    half = len(seeds) // 2
    first = [_trained(known, seeds[:half], rate, device) for rate in rates]
    best = int(np.argmin([np.median(each["valid"]) for each in first]))
    other = _trained(known, seeds[half:], rates[best], device)
    both = {name: np.concatenate([first[best][name], other[name]]) for name in other}
    return both | {"best_rate": rates[best]}


def _ladder(known: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the highest rate that lasts, below which all last; half of the lowest where none does."""
    lasting = np.full(known["seeds"], LADDER[0] / 2)
    alive = np.ones(len(lasting), dtype=bool)
    for rate in LADDER:
        alive &= _trained(known, _seeds(known), rate, device)["error"] < 10 * CONSTANT["xyz"]
        lasting[alive] = rate
        if not alive.any():
            break
    return {"lasting": lasting}


def _step(known: dict[str, Any], device: str) -> dict[str, Any]:
    """Find, by bisection, the rate from which one step of Adam makes the last hidden kernel grow tenfold."""
    depth = known["depth"]
    x, y = (each[: 2 * _BATCH].to(device) for each in _data(known["target"])[0])
    x, y = x.double(), y.double() if y.is_floating_point() else y
    begun, largest = _begun(known["method"], depth), perceptrons.largest_of(x)
    sizes, seeds = _sizes(known, _WIDE), _seeds(known)
    networks = Networks(sizes, *begun, seeds, largest=largest, dtype=torch.float64).to(device)
    outputs = networks(x)
    parameters = list(networks.parameters())
    errors, *slopes = torch.autograd.grad(losses(outputs, y).sum(), [outputs, *parameters])
    before = [p.detach().clone() for p in parameters]
    # Adam's first averages are those of one gradient g: the step is -rate g/(|g| + 1e-8).
    moves = [-g / (g.abs() + 1e-8) for g in slopes]

    def kernel() -> Tensor:
        with torch.no_grad():
            kernels = networks.preactivations(x)[-2].square().mean(-1)
        return torch.nan_to_num(kernels, nan=math.inf).amax(-1)

    limit = _GROWN * kernel()
    low, high = torch.full_like(limit, math.log(1e-5)), torch.zeros_like(limit)
    for _ in range(12):
        middle = (low + high) / 2
        with torch.no_grad():
            for p, old, move in zip(parameters, before, moves, strict=True):
                p.copy_(old + middle.exp()[:, None, None] * move)
        grown = kernel() > limit
        low, high = torch.where(grown, low, middle), torch.where(grown, middle, high)
    K1 = first_layer_kernel("mrepu2", depth)
    scale = math.sqrt(K1) if known["method"] == SCALED else 1.0
    predicted = [
        first_adam_rate("mrepu2", depth, _WIDE, K1, x.cpu().numpy(), each, scale=scale, growth=_GROWN)
        for each in errors.cpu().numpy()
    ]
    return {"seen": ((low + high) / 2).exp().cpu().numpy(), "predicted": np.array(predicted)}


@dataclass(frozen=True)
class Numbers:
    """The data by question."""

    data: xr.Dataset

    def of(self, name: str, kind: str, **known: Any) -> np.ndarray:
        """Return an array of the one task of that kind, without networks that it does not have."""
        alike = [self.data[key].values == value for key, value in {"kind": kind, **known}.items()]
        row = int(np.flatnonzero(np.all(alike, axis=0))[0])
        values = np.asarray(self.data[name].values[row], dtype=np.float64)
        return values[~np.isnan(values).reshape(len(values), -1).all(1)] if values.ndim else values

    def errors(self, on: str, depth: int, name: str = "error") -> dict[str, np.ndarray]:
        """Return errors by method."""
        return {method: self.of(name, "table", method=method, target=on, depth=depth) for method in METHODS}

    def steps(self) -> Iterator[tuple[str, str, int, np.ndarray, np.ndarray]]:
        """Yield method, task, depth, and the rates of Adam's first step, seen and predicted."""
        for method in (FIXED, SCALED):
            for on in CONSTANT:
                for depth in STEP_DEPTHS:
                    known = {"method": method, "target": on, "depth": depth}
                    seen, predicted = (self.of(name, "step", **known) for name in ("seen", "predicted"))
                    yield method, on, depth, seen, predicted

    def learned(self, on: str) -> tuple[np.ndarray, np.ndarray]:
        """Return learned powers and shifts, (networks, layers)."""
        known = {"method": LEARNED, "target": on, "depth": LEARNED_DEPTHS[-1]}
        power, shift = (self.of(name, "table", **known) for name in ("power", "shift"))
        return power[:, : LEARNED_DEPTHS[-1] - 1], shift[:, : LEARNED_DEPTHS[-1] - 1]

    def recommended(self, on: str, depth: int) -> list[str]:
        """Return what has the least validation error, where all networks that choose learn; then its ties.

        Ties learn in all networks and are less than 3 errors behind on test data.
        """
        errors, valid = self.errors(on, depth), self.errors(on, depth, "valid")
        learn = {method: each < _LEARNS * CONSTANT[on] for method, each in errors.items()}
        half = len(errors[FIXED]) // 2
        able = [method for method in METHODS if learn[method][:half].all()]
        if not able:
            return []
        best = min(able, key=lambda method: float(np.median(valid[method][:half])))
        gaps = {method: over_seeds(_log(errors[method]) - _log(errors[best])) for method in METHODS}
        ties = [method for method, gap in gaps.items() if learn[method].all() and gap.value <= 3 * gap.error]
        return [best, *(method for method in ties if method != best)]


def _log(errors: np.ndarray) -> np.ndarray:
    """Return ln of errors; what is above the error of a constant answer, or diverged, counts as 1."""
    return np.asarray(np.log(np.clip(errors, 1e-3, 1.0)))


def _geometric(values: np.ndarray) -> float:
    return float(np.exp(np.log(values).mean()))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    return Numbers(data)


def claims(n: Numbers) -> list[Check]:
    """Return what learning and scaling bring, Adam's first step, then what is recommended."""
    made = []
    for on, depth in ((on, depth) for on in CONSTANT for depth in LEARNED_DEPTHS):
        errors, known = n.errors(on, depth), {"target": on, "depth": depth}
        rates = [n.of("best_rate", "table", method=method, **known) for method in (FIXED, LEARNED)]
        made.append(
            Claim(
                f"learned-helps-{on}-{depth}",
                f"On {on}, {depth} layers, a learned power and shift lower MRePU's test error.",
            ).positive(
                over_seeds(_log(errors[FIXED]) - _log(errors[LEARNED])),
                note=f"ln of the ratio of errors, paired; rates {rates[0]:g} and {rates[1]:g}, "
                f"{_FASTER} times that for power and shift.",
            )
        )
    for depth in STEP_DEPTHS:
        last = [n.of("lasting", "ladder", method=method, depth=depth) for method in (SCALED, FIXED)]
        lasts = over_seeds(np.log(last[0] / last[1]))
        rung = math.log(LADDER[1] / LADDER[0])
        lasts = replace(lasts, error=math.hypot(lasts.error, rung / math.sqrt(6 * len(last[0]))))
        made.append(
            Claim(
                f"scaled-lasts-{depth}", f"At depth {depth} the scaled form lasts at higher rates of Adam."
            ).positive(
                lasts, note="ln of the ratio of the highest rates that last; the error has the ladder's own."
            )
        )
    for method, on, depth, seen, predicted in n.steps():
        made.append(
            Claim(
                f"first-step-{METHODS[method][1]}-{on}-{depth}",
                f"Adam's first step leaves at the rate of infinite width ({method}, {on}, depth {depth}).",
            ).equals(
                0.0,
                over_seeds(np.log(seen / predicted)),
                allowance=_ALLOWED,
                note=f"ln of the rate seen over that predicted, {_geometric(predicted):.2g}. For finite "
                f"width 5/sqrt(n) is allowed, n = {_WIDE}; the 5 was set after a look at widths 64 to 1024.",
            )
        )
    return made + [_recommended(n, on, depth) for on in CONSTANT for depth in DEPTHS]


def _recommended(n: Numbers, on: str, depth: int) -> Check:
    claim = Claim(f"recommended-{on}-{depth}", f"On {on}, {depth} layers, what is recommended always trains.")
    best = n.recommended(on, depth)
    if not best:
        nothing = Estimate.not_determined("no method learned in all networks that choose")
        return claim.found(1.0, nothing, "not determined")
    errors = n.errors(on, depth)[best[0]]
    learn = errors[len(errors) // 2 :] < _LEARNS * CONSTANT[on]
    rule = f"Agrees if all {len(learn)} networks that had no say end below {_LEARNS} of a constant's error."
    return claim.found(1.0, share(learn), "agrees" if learn.all() else "disagrees", f"{best[0]}. {rule}")


def tables(n: Numbers) -> list[Table]:
    rows = []
    for on, depth in ((on, depth) for on in CONSTANT for depth in DEPTHS):
        best = n.recommended(on, depth)
        for method, errors in n.errors(on, depth).items():
            rate = n.of("best_rate", "table", method=method, target=on, depth=depth)
            median = f"{np.median(errors):.3g}"
            median += f" ± {over_seeds(errors).error:.1g}" if np.isfinite(errors).all() else ""
            mark = "" if method not in best else "recommended" if method == best[0] else "tie"
            rows.append([on, f"{depth}", method, f"{rate:g}", median, f"{np.isinf(errors).mean():.2f}", mark])
    columns = ["task", "depth", "method", "rate", "median test error", "share diverged", "recommendation"]
    steps = []
    for method, on, depth, seen, predicted in n.steps():
        rates = [seen, predicted]
        rates += [n.of("lasting", "ladder", method=method, depth=depth)] if on == "xyz" else []
        steps.append([method, on, f"{depth}", *(f"{_geometric(each):.2e}" for each in rates)])
        steps[-1] += [""] * (on != "xyz")
    title = f"Rates at which Adam's first step leaves (width {_WIDE}), and up to which it lasts ({_WIDTH})"
    named = ["method", "task", "depth", "seen", "predicted", "lasting"]
    return [Table("What to use, by task and depth", columns, rows), Table(title, named, steps)]


def notes(n: Numbers) -> list[str]:
    power, shift = (values.mean(0) for values in n.learned("xyz"))
    seen = {(method, depth): _geometric(rates) for method, on, depth, rates, _ in n.steps() if on == "digits"}
    off = {
        method: _geometric(
            np.concatenate([r / p for m, _, depth, r, p in n.steps() if (m, depth) == (method, 20)])
        )
        for method in (FIXED, SCALED)
    }
    ratios = ", ".join(f"{seen[SCALED, depth] / seen[FIXED, depth]:.1f}" for depth in STEP_DEPTHS)
    return [
        f"Nothing of this part is in the paper. Widths ({_WIDTH}; {_WIDE} for the first step), inputs of a "
        f"step ({_BATCH}; {2 * _BATCH}), rates, steps and seeds were chosen here.",
        f"On x y z, depth {LEARNED_DEPTHS[-1]}, powers start at 2 and end between {power.min():.3f} and "
        f"{power.max():.3f}; shifts start at 1 and end between {shift.min():.3f} and {shift.max():.3f} ("
        "means of layers).",
        "The scaled form and a small kernel are one network; only Adam tells them apart, whose step is small "
        f"against the scaled form's first layer. On digits its first step leaves at rates {ratios} times as "
        "high at depth 5, 10, 20. The other layers are alike in both. Leaving: of the last hidden layer, the "
        "kernel of the largest input grows tenfold.",
        "The prediction leaves out how networks differ. At 20 layers, means over both tasks, plain networks "
        f"leave at {off[FIXED]:.2f} and scaled ones at {off[SCALED]:.2f} times the predicted rate.",
        "Each method has its best rate, by validation data of half of the networks. Recommended is the least "
        "validation error where all of those learn; ties learn in all networks and are less than 3 errors "
        "behind (ln of test errors, paired). Errors beside medians are those of means. "
        "LayerNorm has no gain and bias. What is recommended holds for this width and these few steps.",
    ]


def draw_learned(axes: Axes, n: Numbers) -> None:
    layers = np.arange(1, LEARNED_DEPTHS[-1])
    named = zip(n.learned("xyz"), colours(2), (2, 1), ("power", "shift"), strict=True)
    for values, colour, start, name in named:
        axes.plot(layers, values.T - start, color=colour, lw=0.7, alpha=0.5)
        axes.plot(layers, values.mean(0) - start, "o-", ms=4, color=colour, label=f"{name} - {start}")
    axes.axhline(0, color=plotting.INK, lw=0.8, zorder=0)
    axes.set(
        title=f"Learned on x y z, depth {LEARNED_DEPTHS[-1]}", xlabel="layer", ylabel="change by learning"
    )
    legend(axes)


def draw_steps(on: str, axes: Axes, n: Numbers) -> None:
    """Draw predicted rates against those seen, one mark a network, open for the scaled form."""
    ends: list[float] = []
    for method, task, depth, seen, predicted in n.steps():
        if task == on:
            colour = shades(len(STEP_DEPTHS))[STEP_DEPTHS.index(depth)]
            label = f"depth {depth}" if method == FIXED else None
            fill = colour if method == FIXED else "none"
            axes.plot(predicted, seen, "o", ms=4, color=colour, mfc=fill, label=label)
            ends += [*seen, *predicted]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=plotting.THEORY, lw=1, label="equal")
    title = f"Adam's first step, {on}"
    axes.set(xscale="log", yscale="log", title=title, xlabel="predicted rate", ylabel="rate seen")
    legend(axes)


def draw_dots(on: str, axes: Axes, n: Numbers) -> None:
    """Draw a dot for each method and depth, ringed where it is recommended, a cross where some diverged."""
    for place, (depth, colour) in enumerate(zip(DEPTHS, shades(len(DEPTHS)), strict=True)):
        best = n.recommended(on, depth)
        for height, (method, errors) in enumerate(n.errors(on, depth).items()):
            x, y = min(float(np.median(errors)), 2 * CONSTANT[on]), height + 0.18 * (place - 1.5)
            axes.plot(x, y, "x" if np.isinf(errors).any() else "o", ms=4, color=colour)
            if method in best:
                ring = plotting.THEORY if method == best[0] else plotting.INK
                axes.plot(x, y, "o", ms=8, mfc="none", mew=1, color=ring)
        axes.plot([], [], "o", ms=4, color=colour, label=f"depth {depth}")
    axes.axvline(CONSTANT[on], color=plotting.INK, lw=0.8, zorder=0)
    axes.set(xscale="log", ylim=(len(METHODS) - 0.5, -0.5))
    axes.set_yticks(range(len(METHODS)), list(METHODS))
    axes.set(title=on, xlabel="test error, mean square" if on == "xyz" else "test error, share wrong")
    if on == "digits":
        above = {"loc": "lower right", "bbox_to_anchor": (1.02, 0.99), "handletextpad": 0.0}
        legend(axes, fontsize=7, ncols=4, columnspacing=0.5, **above)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "adam",
            "Left: what MRePU's power and shift change by learning, one line a network. Then the rate from "
            "which Adam's first step makes the last kernel grow tenfold; one mark a network, open: scaled.",
            [draw_learned, *(partial(draw_steps, on) for on in CONSTANT)],
        ),
        Panels(
            "what-to-use",
            "Median test error by method and depth. Ringed: recommended (orange), or as good (black). "
            "Crosses: some networks diverged, at the right where most did. The line is a constant answer.",
            [partial(draw_dots, on) for on in CONSTANT],
            size=(4.8, 4.2),
        ),
    ]


BEYOND = Part(
    name="beyond",
    title="Beyond the paper",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("network", "layer"),
    citations=("kim2024repu",),
)
