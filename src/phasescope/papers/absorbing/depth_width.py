"""Depth against width in training: test loss over L and n with a fixed number of parameters or operations.

arXiv:2307.02284 says that the flow of infinite width needs ``n >~ mu L``. Networks of P weights and biases
are trained on the critical line, at one kappa L or at one kappa, for several depths: the deeper, the
narrower. An operation is the use of a weight in one step on one image, so that with a fixed number of
operations a smaller network is trained for longer. What the width costs is told from what the depth does by
infinite width, the gradient flow of the tangent kernel for the same time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.interpolate import PchipInterpolator

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import folders, subset
from phasescope.papers.absorbing.kernel_regression import infinitely_wide
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.trained_networks import LARGEST_LOSS, seconds, trained
from phasescope.papers.absorbing.width_groups import falls, law_of
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, logarithmic, shades, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2307.02284"
_ASKED = f"asked here; n of at least mu L as in {_PAPER}"
# The finite width is said to be felt where it raises ln(loss) by this.
_FELT = 0.1
# What mu stands for: half of the mean distance of two inputs is lost at depth n/mu.
_LOST = 0.5
_OUTPUTS = 10
# Points at which curves of departure are held against each other.
_GRID = 30

Line = Literal["one kappa L", "one kappa"]
LINES: tuple[Line, Line] = ("one kappa L", "one kappa")


class DepthWidthSettings(Settings):
    """Sizes of the trainings at a fixed number of parameters."""

    data_set: str = "digits"  # or mnist, fashion-mnist, which need their folder
    parameters: tuple[int, ...] = (5000, 20000)  # weights and biases of a network, each 4 times the last
    depths: tuple[int, ...] = (2, 3, 5, 8, 16)  # weight layers, ascending
    kappa_L: float = 3.0  # of networks of all depths, or
    kappa: float = 0.2  # of networks of all depths
    steps: tuple[int, ...] = (15, 60)  # of full-batch gradient descent, each 4 times the last
    networks: int = 2  # independent initialisations of each
    train: int = 150  # training images
    test: int = 300


QUICK = DepthWidthSettings()
PAPER = DepthWidthSettings(
    parameters=(5000, 20000, 80000, 320000),
    depths=(2, 3, 4, 6, 8, 12, 16, 24, 32),
    steps=(15, 60, 240),
    networks=3,
)

VARIABLES = {
    "reference": shared.LINE,
    "width": Variable((), "neurons of a hidden layer"),
    "test_loss": Variable(("network", "time"), "test loss over that of outputs 0, after training"),
    "accuracy": Variable(("network", "time"), "share of test images classified right"),
    "kernel_loss": Variable(("time",), "test loss of infinite width after the same time"),
}


def width_of(parameters: int, depth: int, features: int) -> int:
    """Return the width with which a network has the number of weights and biases, at least 1."""
    # n^2 (L - 2) + n (features + outputs + L - 1) + outputs = P
    square, linear = depth - 2, features + _OUTPUTS + depth - 1
    rest = parameters - _OUTPUTS
    if square == 0:
        return max(1, round(rest / linear))
    return max(1, round((math.sqrt(linear**2 + 4 * square * rest) - linear) / (2 * square)))


def tasks(config: Any) -> list[Task]:
    """Return one task a line, number of parameters and depth."""
    s: DepthWidthSettings = config.depth_width
    folder = folders(config).get(s.data_set)
    if folder is None:
        raise InputError(
            f"depth_width.data_set is {s.data_set!r}, which is not at hand.",
            f"Name its folder with --set {s.data_set.replace('-', '_')}=DIR, or use digits.",
        )
    sizes = s.model_dump(mode="json", include={"networks", "train", "test", "steps"})
    made = []
    for line, count, depth in itertools.product(LINES, s.parameters, s.depths):
        known = {"line": line, **identified(config.activation), "parameters": count, "depth": depth}
        known |= {"kappa": s.kappa_L / depth if line == "one kappa L" else s.kappa, "data_set": s.data_set}
        known |= {"folder": folder, "seed": config.seed, **sizes}
        cost = 0.1 + s.networks * seconds(count, depth, s.train, s.steps[-1])
        made.append(Task(STUDY, "depth-width", known, seconds=cost, memory=500_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return losses of trained networks and of infinite width; NaN without a point of that kappa."""
    known = task.parameters
    function, depth, steps = activation_of(known), known["depth"], known["steps"]
    point = shared.at_kappa(known["activation"], known["kappa"])
    nothing = np.full((known["networks"], len(known["steps"])), math.nan)
    found = {"reference": shared.values(point), "width": math.nan, "kernel_loss": nothing[0]}
    found |= {"test_loss": nothing, "accuracy": nothing}
    if point is None:
        return found
    images = subset(known, train=known["train"], test=known["test"], replica=0, replicas=2)
    width = width_of(known["parameters"], depth, images.x_train.shape[1])
    place = (point.C_W, point.C_b, point.K)
    sizes = {"width": width, "depth": depth, "networks": known["networks"]}
    after = trained(function, place, images, **sizes, steps=steps, seed=task.seed, device=device)
    loss, _ = infinitely_wide(function, place, depth, [images], steps)
    found |= {"width": float(width), "kernel_loss": loss[0]}
    return found | {"test_loss": after["test_loss"], "accuracy": after["accuracy"]}


@dataclass(frozen=True)
class Budget:
    """Networks of one number of parameters on one line, by depth, ascending."""

    depths: np.ndarray
    width: np.ndarray
    mu: np.ndarray  # neurons a layer that signals need, at each depth
    log_loss: np.ndarray  # (depths, networks, times)
    log_kernel_loss: np.ndarray  # (depths, times)

    @property
    def departure(self) -> np.ndarray:
        """What the finite width adds to ln(loss), (depths, networks, times)."""
        return np.asarray(self.log_loss - self.log_kernel_loss[:, None])

    @property
    def log_ratio(self) -> np.ndarray:
        """``ln(n/L)``, falling with depth."""
        return np.asarray(np.log(self.width / self.depths))

    def best(self, time: int) -> np.ndarray:
        """Return the number of the depth at which the loss is lowest, for each network."""
        return np.asarray(self.log_loss[..., time].argmin(axis=0))


@dataclass(frozen=True)
class Numbers:
    """All that claims, tables and figures are made of."""

    settings: DepthWidthSettings
    activation: str
    budgets: Mapping[tuple[Line, int], Budget]  # by line and number of parameters
    missing: str  # why nothing can be said, if so

    def of(self, line: Line) -> list[tuple[int, Budget]]:
        return [(count, self.budgets[line, count]) for count in self.settings.parameters]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    s: DepthWidthSettings = config.depth_width
    budgets = {}
    for line, count in itertools.product(LINES, s.parameters):
        found = chosen(data, line=line, parameters=count).sortby("depth")
        budgets[line, count] = Budget(
            found["depth"].values.astype(float),
            found["width"].values,
            np.array([_mu(shared.named(row)) for row in found["reference"].values]),
            np.log(np.minimum(found["test_loss"].values, LARGEST_LOSS)),
            np.log(np.minimum(found["kernel_loss"].values, LARGEST_LOSS)),
        )
    made = Numbers(s, config.activation, budgets, "")
    if all(np.isfinite(each.width).all() for each in budgets.values()):
        return made
    return replace(made, missing=f"{short(config.activation)} has no critical point of some of these kappa")


def _mu(point: Mapping[str, float]) -> float:
    law = law_of(point) if math.isfinite(point["kappa"]) else None
    return 1 / law.departure(_LOST) if law and falls(law) else math.nan


def claims(n: Numbers) -> list[Check]:
    """Return the checks on both lines."""
    made = [check for line in LINES for check in _claims_on(n, line)]
    return undetermined(made, n.missing)


def _claims_on(n: Numbers, line: Line) -> list[Check]:
    id, last = line.replace(" ", "-"), len(n.settings.steps) - 1
    budgets = n.of(line)
    optima = [_ratio_at(budget, budget.best(last)) for _, budget in budgets]
    lowest = min(optima, key=lambda each: each.value if each.determined else math.inf)
    listed = ", ".join(_optimum_text(count, budget, last) for count, budget in budgets)
    needed = [_needed(budget, last) for _, budget in budgets]
    known = [(count, each) for (count, _), each in zip(budgets, needed, strict=True) if each.determined]
    steps, operations = n.settings.steps[last], _operations(n, line)
    return [
        Claim(
            f"parameters-{id}",
            f"At {line} the best of all networks with one number of parameters has n > mu L.",
            _ASKED,
        ).positive(
            lowest,
            note=f"Measured: ln(n/(mu L)) at the optimum, where it is smallest. Optima after {steps} steps: "
            f"{listed}. mu is that of signals: half of the mean distance is lost at L = n/mu.",
        ),
        Claim(
            f"optimum-{id}",
            f"At {line} the best depth grows with the number P of parameters as P^(1/3), as n = mu L would.",
            "asked here",
        ).equals(
            1 / 3,
            _growth(budgets, last),
            allowance=0.05,
            resolution=0.1,
            note="Sizes at which the best depth is not the least or greatest of the grid. Allowance 0.05: "
            "the grid. P is about n^2 L where networks are deep.",
        ),
        Claim(
            f"enough-{id}",
            f"At {line} n = mu L neurons, mu as for signals, are enough for the test loss of infinite width.",
            _ASKED,
        ).below(
            1.0,
            _mean([each for _, each in known]),
            note=f"Measured: n/(mu L) where the finite width raises ln(loss) by {_FELT:g}; by number of "
            f"parameters: {', '.join(f'{each} ({count})' for count, each in known) or 'nowhere'}. "
            "Agrees three errors below 1, disagrees three above.",
        ),
        Claim(
            f"ratio-{id}",
            f"At {line} n/L alone says what the finite width adds to the test loss, whatever the number of "
            "parameters.",
            f"asked here; control by l/n as in {_PAPER}",
        ).equals(
            0.0,
            _left_over([budget for _, budget in budgets], last),
            allowance=0.1,
            note="Measured: share of the variance of that rise of ln(loss) which n/L leaves between numbers "
            "of parameters. Allowance 0.1, chosen here.",
        ),
        Claim(
            f"operations-{id}",
            f"At {line} the best of all networks with one number of operations has n > mu L.",
            _ASKED,
        ).positive(
            min(
                (ratio for _, ratio, _ in operations),
                key=lambda each: each.value if each.determined else math.inf,
                default=Estimate.not_determined("two sizes and two times of training are needed"),
            ),
            note="Measured: as above, over depths, numbers of parameters and times. Optima: "
            + ", ".join(text for *_, text in operations)
            + ".",
        ),
    ]


def _ratio_at(budget: Budget, rows: np.ndarray) -> Estimate:
    """Return ``ln(n/(mu L))`` at the depths that networks are best at."""
    return _at_best((budget.log_ratio - np.log(budget.mu))[rows], budget)


def _at_best(values: np.ndarray, budget: Budget) -> Estimate:
    """Return the mean over networks; the grid is as coarse as the depths beside the best."""
    found = Estimate.from_samples(values, method="mean over networks")
    spacing = float(np.abs(np.diff(budget.log_ratio)).mean()) / math.sqrt(12)
    return replace(found, error=math.hypot(found.error, spacing)) if found.determined else found


def _optimum_text(count: int, budget: Budget, time: int) -> str:
    row = int(budget.log_loss[..., time].mean(axis=1).argmin())
    end = {0: ", the least depth", len(budget.depths) - 1: ", the greatest"}.get(row, "")
    return f"L = {budget.depths[row]:g}, n = {budget.width[row]:g} at P = {count}{end}"


def _growth(budgets: Sequence[tuple[int, Budget]], time: int) -> Estimate:
    """Return the power of P with which the best depth grows, by network."""
    depths, inside = budgets[0][1].depths, []
    for count, budget in budgets:
        best = int(budget.log_loss[..., time].mean(axis=1).argmin())
        if 0 < best < len(depths) - 1:
            inside.append((math.log(count), np.log(depths)[budget.best(time)]))
    if len(inside) < 3:
        return Estimate.not_determined("fewer than three sizes have their best depth inside the range")
    x, best_depths = np.array([count for count, _ in inside]), np.array([each for _, each in inside])
    centred = x - x.mean()
    slopes = centred @ best_depths / (centred @ centred)
    return Estimate.from_samples(slopes, method="power law through the optima, by network")


def _needed(budget: Budget, time: int) -> Estimate:
    """Return ``n/(mu L)`` at the depth from which on the finite width is felt, a mean over networks."""
    x = budget.log_ratio - np.log(budget.mu)
    mean = budget.departure[..., time].mean(axis=1)
    if not mean[0] < _FELT <= mean.max():
        return Estimate.not_determined("it is felt at all depths, or at none")
    places = [_first_crossing(x, curve) for curve in _left_out(budget.departure[..., time])]
    if not np.isfinite(places).all():
        return Estimate.not_determined("it is felt at all depths, or at none")
    values = np.exp(places)
    count = len(values)
    error = math.sqrt((count - 1) / count * float(((values - values.mean()) ** 2).sum()))
    value = math.exp(_first_crossing(x, mean))
    return Estimate(value, error, "interpolated in ln(n/L), jackknife over networks", count)


def _left_out(departure: np.ndarray) -> np.ndarray:
    """Return means without one network each, (networks, depths)."""
    count = departure.shape[1]
    return np.asarray((departure.sum(axis=1)[:, None] - departure) / (count - 1)).T


def _first_crossing(x: np.ndarray, curve: np.ndarray) -> float:
    """Return the abscissa, which falls with depth, at which a curve first passes what is felt."""
    above = np.flatnonzero(curve >= _FELT)
    if not above.size or above[0] == 0:
        return math.nan
    here, before = above[0], above[0] - 1
    share = (_FELT - curve[before]) / (curve[here] - curve[before])
    return float(x[before] + share * (x[here] - x[before]))


def _mean(found: Sequence[Estimate]) -> Estimate:
    if not found:
        return Estimate.not_determined("it is felt at all depths, or at none, of every size")
    values, errors = [each.value for each in found], [each.error for each in found]
    scatter = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    error = max(scatter, math.hypot(*errors) / len(errors) ** 0.5) / len(values) ** 0.5
    return Estimate(float(np.mean(values)), error, "mean over numbers of parameters", len(values))


def _left_over(budgets: Sequence[Budget], time: int) -> Estimate:
    """Return the share of the variance of departures that remains between budgets at one n/L."""
    low = max(each.log_ratio.min() for each in budgets)
    high = min(each.log_ratio.max() for each in budgets)
    if len(budgets) < 2 or not high - low >= math.log(2):
        return Estimate.not_determined("the numbers of parameters have too small a range of n/L in common")
    grid = np.linspace(low, high, _GRID)
    networks = range(budgets[0].log_loss.shape[1])
    shares = []
    for number in networks:
        curves = np.array(
            [
                PchipInterpolator(each.log_ratio[::-1], each.departure[::-1, number, time])(grid)
                for each in budgets
            ]
        )
        shares.append(float(curves.var(axis=0, ddof=1).mean() / curves.var(ddof=1)))
    return Estimate.from_samples(shares, method="variance between sizes over all variance, by network")


def _operations(n: Numbers, line: Line) -> list[tuple[int, Estimate, str]]:
    """Return each number of operations that two sizes reach, ``ln(n/(mu L))`` of its optimum and a text."""
    times = n.settings.steps
    reached: dict[int, list[tuple[int, int]]] = {}
    for count, (time, steps) in itertools.product(n.settings.parameters, enumerate(times)):
        reached.setdefault(count * steps, []).append((count, time))
    found = []
    for operations, ways in sorted(reached.items()):
        if len(ways) < 2:
            continue
        options = [(n.budgets[line, count], time) for count, time in ways]
        losses = np.concatenate([budget.log_loss[..., time] for budget, time in options])
        ratios = np.concatenate([budget.log_ratio - np.log(budget.mu) for budget, _ in options])
        best = losses.argmin(axis=0)
        ratio = _at_best(ratios[best], options[0][0])
        way, row = divmod(int(losses.mean(axis=1).argmin()), len(n.settings.depths))
        budget, time = options[way]
        text = (
            f"P = {ways[way][0]}, L = {budget.depths[row]:g}, n = {budget.width[row]:g}, {times[time]} steps "
            f"({operations:.1e} an image)"
        )
        found.append((operations, ratio, text))
    return found


def tables(n: Numbers) -> list[Table]:
    """Return losses of all networks after the longest training."""
    rows = []
    for line in LINES:
        for count, budget in n.of(line):
            for row, depth in enumerate(budget.depths):
                losses = np.exp(budget.log_loss[row, :, -1])
                place = [line, f"{count}", f"{depth:g}", f"{budget.width[row]:g}"]
                place.append(f"{budget.width[row] / (budget.mu[row] * depth):.3g}")
                kernel = f"{math.exp(budget.log_kernel_loss[row, -1]):.3f}"
                rows.append([*place, str(Estimate.from_samples(losses)), kernel])
    columns = ["line", "parameters", "L", "n", "n/(mu L)", "test loss", "test loss, infinite width"]
    return [Table(f"{short(n.activation)} networks after {n.settings.steps[-1]} steps", columns, rows)]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.train} training images of {s.data_set}, square loss, full-batch descent "
        "at the rate 1/largest eigenvalue of the network's own tangent kernel, NTK parametrisation. "
        "Parameters: all weights and biases. Operations: parameters times steps, without constant factors.",
        f"At one kappa L ({s.kappa_L:g}) the loss of infinite width hardly depends on depth, so that depth "
        f"costs width and buys nothing; at one kappa ({s.kappa:g}) the window in kappa L asks for a depth.",
    ]


def draw_window(axes: Axes, n: Numbers) -> None:
    _draw_losses(axes, n, "one kappa L", rf"$\kappa L$ = {n.settings.kappa_L:g}")


def draw_bias(axes: Axes, n: Numbers) -> None:
    _draw_losses(axes, n, "one kappa", rf"$\kappa$ = {n.settings.kappa:g}")


def _draw_losses(axes: Axes, n: Numbers, line: Line, title: str) -> None:
    budgets = n.of(line)
    for (_, budget), shade in zip(budgets, shades(len(budgets)), strict=True):
        _errorbars(axes, budget.depths, np.exp(budget.log_loss[..., -1]), shade, "")
    last = budgets[-1][1]
    axes.plot(last.depths, np.exp(last.log_kernel_loss[:, -1]), color=plotting.THEORY)
    axes.set(title=f"Test loss, {title}", xlabel="depth L", xscale="log", ylim=(0, 1.1))
    shown = n.settings.depths[::2]
    axes.set_xticks(shown, [f"{depth}" for depth in shown])
    axes.minorticks_off()


def draw_departure(axes: Axes, n: Numbers) -> None:
    """Draw what the finite width adds, against n/L."""
    axes.set(title="What finite width adds to ln(loss)", xlabel="n/L")
    if n.missing:
        return
    for line, filled in zip(LINES, (True, False), strict=True):
        budgets = n.of(line)
        for (count, budget), shade in zip(budgets, shades(len(budgets)), strict=True):
            x = budget.width / budget.depths
            label = f"{count} parameters" if filled else ""
            _errorbars(axes, x, budget.departure[..., -1], shade, label, filled=filled)
    axes.axhline(_FELT, color=plotting.INK, lw=0.8, ls=":")
    legend(axes)
    mu = n.of("one kappa")[0][1].mu[0]
    if math.isfinite(mu):
        axes.axvline(mu, color=plotting.THEORY, lw=1.0)
    logarithmic(axes, up=False)
    axes.set_ylim(-0.2, 2.0)


def _errorbars(
    axes: Axes, x: np.ndarray, values: np.ndarray, colour: Any, label: str, *, filled: bool = True
) -> None:
    error = values.std(axis=1) / max(1, values.shape[1] - 1) ** 0.5
    face = colour if filled else "none"
    axes.errorbar(
        x,
        values.mean(axis=1),
        error,
        fmt="o-" if filled else "o--",
        ms=3.5,
        lw=1.1,
        color=colour,
        markerfacecolor=face,
        label=label or None,
    )


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "depth-width",
            "Test loss against depth, one colour a number of parameters: the deeper, the narrower. Left: at "
            "one kappa L; middle: at one kappa, where infinite width (line) has a best depth. Right: what "
            "the finite width adds to ln(loss) against n/L, at one kappa L (filled) and one kappa (open); "
            "vertical line: mu of signals, dotted: the rise that counts as felt.",
            [draw_window, draw_bias, draw_departure],
            (3.7, 3.2),
        )
    ]


DEPTH_WIDTH = Part(
    name="depth-width",
    title="Depth against width in training",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("jacot2018", "tamai2023"),
)
