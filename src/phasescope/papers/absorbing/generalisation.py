"""Kernel regression along the critical line: one window of test loss in ``kappa L``.

An infinitely wide network trained by gradient flow on images is a regression with its tangent kernel
(arXiv:1806.07572). Where kappa L is small the kernel is that of a nearly linear network, where it is large
all pairs look alike; between them lies a window. arXiv:2307.02284 says that kappa L is in control, and that
the window depends on the data. Asked here: whether the best kappa falls as 1/L, whether against kappa L the
losses of all depths are one curve, and what raw or standardised inputs change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.interpolate import CubicSpline

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import DATA_SETS, INPUTS, USUAL, folders, subset, why_not
from phasescope.papers.absorbing.kernel_regression import learned_outputs, scores
from phasescope.papers.absorbing.optimum import Optimum, mean_place, minimum
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.drawing import colours, legend, shades, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task
from phasescope.theory import TangentGram

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2307.02284"
_ASKED = f"asked here; control by kappa L as in {_PAPER}"
# What else is done to the digits than taking off the mean of all intensities.
_OTHERS = tuple(inputs for inputs in INPUTS if inputs != USUAL)
# kappa L at which the two sides of the window are looked at.
_SIDES = (0.1, 30.0)
_DONE = {"raw": "as they are", "by pixel": "standardised pixel by pixel"}
# Points at which the curves of all depths are held against each other.
_GRID = 40


class GeneralisationSettings(Settings):
    """Sizes of the sweep of kernel regressions along the critical line."""

    biases: tuple[float, float] = (3e-4, 1.0)  # smallest and largest sigma_b
    points: int = 14  # how many, evenly spaced in the logarithm
    depths: tuple[int, ...] = (30, 100, 300)  # weight layers, ascending
    reach: tuple[float, float] = (0.05, 100.0)  # kappa L between which losses are computed
    train: int = 400  # training images of one repetition
    test: int = 400  # its test images
    replicas: int = 3  # repetitions; no two share an image
    # Training times in steps of the learning rate 1/largest eigenvalue; kernel regression without ridge is
    # added to them. The checks look at the last.
    steps: tuple[float, ...] = (100.0, 1000.0)
    # The same images are looked at with all distances multiplied by this, as a feature common to all images
    # makes them.
    shrinkage: float = 0.25


QUICK = GeneralisationSettings()
PAPER = GeneralisationSettings(points=18, depths=(30, 100, 300, 1000), train=800, test=1000, replicas=4)

_LOSSES = ("depth", "subset", "time")
VARIABLES = {
    "reference": shared.LINE,
    "loss": Variable(_LOSSES, "test loss over that of a constant guess"),
    "accuracy": Variable(_LOSSES, "share of test images classified right"),
    "median_distance": Variable(("subset",), "median of 1 - c of training images, first layer"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a point of the critical line, for each data set, shrinkage and activation."""
    s: GeneralisationSettings = config.generalisation
    sizes = s.model_dump(mode="json", include={"depths", "reach", "train", "test", "replicas", "steps"})
    cases = [
        (config.activation, name, folder, shrinkage, USUAL)
        for name, folder in folders(config).items()
        for shrinkage in (1.0, s.shrinkage)
    ]
    cases += [(spec, "digits", "", 1.0, USUAL) for spec in config.activations if spec != config.activation]
    cases += [(config.activation, "digits", "", 1.0, inputs) for inputs in _OTHERS]
    solve = 3e-10 * s.train**3 + 1e-7 * s.train * (s.train + s.test)
    seconds = 0.2 + 4e-4 * max(s.depths) + 0.7 * len(s.depths) * s.replicas * solve
    made = []
    for spec, name, folder, shrinkage, inputs in cases:
        for sigma_b in np.geomspace(*s.biases, s.points):
            known = {**identified(spec), "sigma_b": float(sigma_b), "data_set": name, "folder": folder}
            known |= {"shrinkage": shrinkage, "inputs": inputs, "seed": config.seed, **sizes}
            memory = 1_000_000_000 if folder else 300_000_000
            made.append(Task(STUDY, "generalisation", known, seconds=seconds, memory=memory))
    return made


def measure(task: Task, device: str) -> dict[str, np.ndarray]:
    """Return test loss and accuracy at one point of the critical line, NaN at depths out of reach."""
    known = task.parameters
    point = shared.point_of(known)
    times = [*known["steps"], math.inf]
    loss, accuracy = np.full((2, len(known["depths"]), known["replicas"], len(times)), np.nan)
    median = np.full(known["replicas"], np.nan)
    found = {
        "reference": shared.values(point),
        "loss": loss,
        "accuracy": accuracy,
        "median_distance": median,
    }
    low, high = known["reach"]
    rows = [(i, L) for i, L in enumerate(known["depths"]) if point and low <= point.kappa * L <= high]
    if point is None or not rows:
        return found
    gram = TangentGram(activation_of(known), point.C_W, point.C_b, [L for _, L in rows], K=point.K)
    for replica in range(known["replicas"]):
        images = subset(
            known, train=known["train"], test=known["test"], replica=replica, replicas=known["replicas"]
        )
        within, across = (gram.first_layer(known["shrinkage"] * rho) for rho in images.distances())
        median[replica] = np.median(within[np.triu_indices(len(within), 1)])
        targets, wanted = images.targets()
        for row, depth in rows:
            kernel, cross = (1 - gram.gap(depth, rho) for rho in (within, across))
            outputs = learned_outputs(kernel, cross, targets, times)
            loss[row, replica], accuracy[row, replica] = scores(outputs, wanted, images.y_test)
    return found


@dataclass(frozen=True)
class LossCurves:
    """Losses of one activation on one data set along the critical line.

    `time` is the number of a training time, `row` that of a depth, by default the deepest; estimates are
    means over repetitions.
    """

    depths: np.ndarray  # (depths,): weight layers
    # (points,): logarithms of sigma_b, ascending, of kappa, and of the median distance in the first layer
    log_bias: np.ndarray
    log_kappa: np.ndarray
    log_distance: np.ndarray
    # (points, depths, subsets, times): NaN where kappa L is out of reach
    loss: np.ndarray
    accuracy: np.ndarray

    @property
    def subsets(self) -> int:
        return int(self.loss.shape[2])

    @property
    def measured(self) -> bool:
        """Whether there is anything: the case was measured, and the activation has a kappa."""
        return self.log_bias.size > 0

    def log_kappa_L(self, row: int = -1) -> np.ndarray:
        return np.asarray(self.log_kappa + math.log(self.depths[row]))

    def best(self, time: int, row: int = -1) -> list[Optimum]:
        """Return the lowest point of ln(loss) against ln(kappa L)."""
        x = self.log_kappa_L(row)
        return [minimum(x, np.log(self.loss[:, row, s, time])) for s in range(self.subsets)]

    def place(self, time: int) -> Estimate:
        """Return the position of the minimum in ln(kappa L)."""
        value, error = mean_place(self.best(time))
        if not math.isfinite(value + error):
            return Estimate.not_determined(
                "the loss has no minimum inside the range, or there is one repetition"
            )
        return Estimate(value, error, "minimum of a spline, mean over repetitions", self.subsets)

    def spline(self, row: int, time: int, x: np.ndarray) -> CubicSpline | None:
        """Return ln(loss) of all subsets against x, over the points within reach; None below four of them."""
        known = np.isfinite(self.loss[:, row, 0, time])
        if known.sum() < 4:
            return None
        return CubicSpline(x[known], np.log(self.loss[known, row, :, time]))

    def at(self, row: int, time: int, kappa_L: float) -> np.ndarray:
        """Return ln(loss) at one kappa L; NaN out of reach."""
        curve, place = self.spline(row, time, self.log_kappa_L(row)), math.log(kappa_L)
        if curve is None or not curve.x[0] <= place <= curve.x[-1]:
            return np.full(self.subsets, np.nan)
        return np.asarray(curve(place))

    def rise(self, time: int) -> Estimate:
        """Return the smaller of the two rises of ln(loss) from its minimum to the sides of the window."""
        sides = [self.side(time, kappa_L) for kappa_L in _SIDES]
        for side in sides:
            if not side.determined:
                return side
        return min(sides, key=lambda side: side.value)

    def side(self, time: int, kappa_L: float) -> Estimate:
        """Return the rise of ln(loss) from its minimum to one kappa L."""
        beside = np.array([self.at(row, time, kappa_L) for row in range(self.depths.size)])
        reached = np.isfinite(beside).all(axis=1)
        if not reached.any():
            return Estimate.not_determined(f"kappa L = {kappa_L:g} is out of reach at every depth")
        lowest = np.nanmin(np.log(self.loss[..., time][:, reached]), axis=0)
        rise = (beside[reached] - lowest).mean(axis=0)
        return Estimate.from_samples(rise, method="mean over repetitions and depths")

    def depth_exponent(self, time: int) -> Estimate:
        """Return a in "best kappa ~ L^-a", with the scatter around the power law in its error."""
        best = np.array([self.best(time, row) for row in range(self.depths.size)])
        if len(best) < 3 or not np.isfinite(best).all():
            return Estimate.not_determined(
                "the loss has no minimum inside the range at some depth, or depths are few"
            )
        if self.subsets < 2:
            return Estimate.not_determined("there is one repetition")
        places, errors = best[:, :, 0], best[:, :, 1].mean(axis=1)
        log_depth = np.log(self.depths)
        centred = log_depth - log_depth.mean()
        # Best kappa is exp(place)/L.
        slopes = -(centred @ (places - log_depth[:, None])) / (centred @ centred)
        fitted = places.mean(axis=1) - log_depth + slopes.mean() * centred
        rest = (fitted - fitted.mean()).std(ddof=2)
        common = math.hypot(rest, errors.mean()) / math.sqrt(centred @ centred)
        scatter = slopes.std(ddof=1) / math.sqrt(slopes.size)
        window = (float(self.depths[0]), float(self.depths[-1]))
        method = "power law through the minima of all depths"
        return Estimate(float(slopes.mean()), math.hypot(scatter, common), method, self.subsets, window)

    def left_over(self, time: int, *, by_bias: bool = False) -> Estimate:
        """Return the share of the variance of ln(loss) that kappa L leaves to depth, or that sigma_b leaves.

        The losses of all depths are interpolated over the range that they have in common; of their variance
        over that range and over depth, the share within the same abscissa is returned: 0 is one curve.
        """
        rows = range(self.depths.size)
        found = [self.spline(i, time, self.log_bias if by_bias else self.log_kappa_L(i)) for i in rows]
        curves = [curve for curve in found if curve is not None]
        low = max((curve.x[0] for curve in curves), default=math.nan)
        high = min((curve.x[-1] for curve in curves), default=math.nan)
        if len(curves) < max(2, len(rows)) or low >= high:
            return Estimate.not_determined("the depths have too small a range in common")
        # (subsets, depths, grid)
        values = np.stack([curve(np.linspace(low, high, _GRID)).T for curve in curves], axis=1)
        shares = [each.var(axis=0, ddof=1).mean() / each.var(ddof=1) for each in values]
        return Estimate.from_samples(shares, method="variance over depth over all variance, by repetition")

    def moved(self, other: LossCurves, time: int, method: str) -> Estimate:
        """Return ln(kappa L) of another case's minimum less that of this one's, in the deepest networks."""
        shifts = [
            Optimum(there.place - here.place, math.hypot(here.error, there.error))
            for here, there in zip(self.best(time), other.best(time), strict=True)
        ]
        value, error = mean_place(shifts)
        if not math.isfinite(value + error):
            return Estimate.not_determined("the loss has no minimum inside the range")
        return Estimate(value, error, method, self.subsets)


@dataclass(frozen=True)
class Numbers:
    """All that claims, tables and figures are made of."""

    activation: str  # the one that is followed
    settings: GeneralisationSettings
    shown: list[str]  # data sets at hand
    curves: Mapping[tuple[str, float], LossCurves]  # of it, by data set and factor of distances
    others: Mapping[str, LossCurves]  # of the activations that it is compared with, on the digits
    inputs: Mapping[str, LossCurves]  # of it on the digits, by what else is done to them
    missing: Mapping[str, str]  # why nothing can be said of a data set, if so

    @property
    def time(self) -> int:
        """The training time that the checks look at: the last but kernel regression."""
        return len(self.settings.steps) - 1

    @property
    def times(self) -> list[str]:
        return [*(f"{steps:g} steps" for steps in self.settings.steps), "no limit"]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    s: GeneralisationSettings = config.generalisation
    usual = chosen(data, inputs=USUAL)
    curves = {
        (name, factor): _loss_curves(usual, s, activation=config.activation, data_set=name, shrinkage=factor)
        for name in DATA_SETS
        for factor in (1.0, s.shrinkage)
    }
    others = {
        spec: _loss_curves(usual, s, activation=spec, data_set="digits", shrinkage=1.0)
        for spec in config.activations
        if spec != config.activation
    }
    inputs = {name: _loss_curves(data, s, activation=config.activation, inputs=name) for name in _OTHERS}
    shown, missing = list(folders(config)), dict.fromkeys(DATA_SETS, "")
    for name in DATA_SETS:
        if not curves[name, 1.0].measured:
            missing[name] = f"{short(config.activation)} has no kappa" if name in shown else why_not(name)
    return Numbers(config.activation, s, shown, curves, others, inputs, missing)


def _loss_curves(data: xr.Dataset, settings: GeneralisationSettings, **case: Any) -> LossCurves:
    """Return the losses of one case at the points of the critical line where the activation has a kappa."""
    found = chosen(data, **case).sortby("sigma_b")
    kappa = found["reference"].values[:, shared.QUANTITIES.index("kappa")]
    found = found.isel(task=np.isfinite(kappa))
    return LossCurves(
        np.array(settings.depths, dtype=np.float64),
        np.log(found["sigma_b"].values),
        np.log(kappa[np.isfinite(kappa)]),
        np.log(found["median_distance"].values.mean(axis=1)),
        found["loss"].values,
        found["accuracy"].values,
    )


def claims(n: Numbers) -> list[Check]:
    """Return the checks; "not determined" for data sets that are not at hand."""
    made = [check for name in DATA_SETS for check in _claims_on(name, n)]
    windows = {name: n.curves[name, 1.0].place(n.time) for name in DATA_SETS}
    known = {name: place for name, place in windows.items() if place.determined}
    made.append(
        _larger(
            "no-universal-constant",
            "The best kappa L differs between data sets: there is no universal constant.",
            _range(list(known.values())),
            ", ".join(f"{name}: ln(kappa L) = {place}" for name, place in known.items()),
        )
    )
    own = n.curves["digits", 1.0]
    for spec, other in n.others.items():
        moved = own.moved(other, n.time, "same images, by repetition")
        check = Claim(
            f"universality-{short(spec)}",
            f"The window of {short(spec)} lies at the same kappa L as that of {short(n.activation)}.",
            _ASKED,
        ).equals(
            0.0,
            moved,
            allowance=0.1,
            resolution=0.2,
            note="Measured: difference of ln(kappa L) on the digits, deepest networks. Allowance 0.1: finite "
            "depth.",
        )
        both = own.measured and other.measured
        made += undetermined([check], "" if both else "one of the two has no kappa")
    return made + [_inputs_claim(n, inputs) for inputs in _OTHERS]


def _inputs_claim(n: Numbers, inputs: str) -> Check:
    """Return the check that what is done to the digits moves the window as their distances say."""
    own, other = n.curves["digits", 1.0], n.inputs[inputs]
    claim = Claim(
        f"inputs-{inputs.replace(' ', '-')}",
        f"With the digits {_DONE[inputs]} the window lies where the median distance says, at one "
        "kappa rho_0 L.",
        "derived here, from R(kappa rho_0 L)",
    )
    shift, ratio, note = Estimate.not_determined(n.missing["digits"]), math.nan, ""
    if not n.missing["digits"]:
        shift = own.moved(other, n.time, f"shift of the minimum at depth {own.depths[-1]:g}, by repetition")
        ratio = float(np.nanmean(own.log_distance) - np.nanmean(other.log_distance))
        rises = ", ".join(
            f"{found.side(n.time, _SIDES[0])} ({name})" for name, found in ((USUAL, own), (inputs, other))
        )
        note = f" Rise of ln(loss) from the minimum to kappa L = {_SIDES[0]:g}: {rises}."
    return claim.equals(
        ratio,
        shift,
        allowance=0.25,
        resolution=0.25,
        note="Measured: shift of ln(kappa L) of the lowest loss; expected: ln of the ratio of median "
        f"distances. Allowance 0.25: R(u) holds for small distances.{note}",
    )


def _claims_on(name: str, n: Numbers) -> list[Check]:
    own, shrunk, factor = n.curves[name, 1.0], n.curves[name, n.settings.shrinkage], n.settings.shrinkage
    shift = f"shift of the minimum at depth {own.depths[-1]:g}, by repetition"
    by_bias = f" Against sigma_b it is {own.left_over(n.time, by_bias=True)}." if own.measured else ""
    sides = (
        f"Measured: the smaller rise of ln(loss) from its minimum to kappa L = {_SIDES[0]:g} and "
        f"{_SIDES[1]:g}"
    )
    checks = [
        _larger(
            f"window-{name}",
            f"On {name} the test loss rises on both sides of a window in kappa L.",
            own.rise(n.time),
            f"{sides}; above 0 by three errors agrees, surely below 0.01 disagrees.",
        ),
        _larger(
            f"window-ridgeless-{name}",
            f"On {name} kernel regression without ridge, given all time, has such a window too.",
            own.rise(n.time + 1),
            f"{sides}. The paper speaks of training, which has an end.",
            "asked here",
        ),
        Claim(
            f"exponent-{name}",
            f"The best kappa on {name} falls as 1/L: the window stays at one kappa L.",
            _ASKED,
        ).equals(
            1.0,
            own.depth_exponent(n.time),
            allowance=0.05,
            resolution=0.1,
            note="Allowance 0.05: the law that makes kappa L the variable holds for deep networks.",
        ),
        Claim(
            f"collapse-{name}",
            f"Against kappa L the test losses of all depths on {name} are one curve.",
            _ASKED,
        ).equals(
            0.0,
            own.left_over(n.time),
            allowance=0.05,
            note="Measured: share of the variance of ln(loss) that remains between depths at one kappa L. "
            f"Allowance 0.05, chosen here.{by_bias}",
        ),
        Claim(
            f"distances-{name}",
            f"With all distances of {name} shrunk, the window moves to kappa L larger by the same factor.",
            "derived here, from R(kappa rho_0 L)",
        ).equals(
            1.0,
            own.moved(shrunk, n.time, shift) / -math.log(factor),
            allowance=0.25,
            resolution=0.25,
            note="Measured: shift of ln(kappa L) over -ln(factor). Allowance 0.25: R(u) holds for small "
            "distances, those of images are of order 1.",
        ),
    ]
    return undetermined(checks, n.missing[name])


def _larger(id: str, sentence: str, measured: Estimate, note: str, source: str = _PAPER) -> Check:
    """Return the check that a number is above zero; it disagrees only where it is surely below 0.01."""
    verdict: Outcome = "not determined"
    if measured.determined:
        above, below = measured.value - 3 * measured.error, measured.value + 3 * measured.error
        verdict = "agrees" if above > 0 else "disagrees" if below < 0.01 else "not determined"
    return Claim(id, sentence, source).found(None, measured, verdict, note)


def _range(places: list[Estimate]) -> Estimate:
    if len(places) < 2:
        return Estimate.not_determined("windows of two data sets are needed: name the folders of MNIST")
    low, high = (pick(places, key=lambda place: place.value) for pick in (min, max))
    error = math.hypot(low.error, high.error)
    return Estimate(high.value - low.value, error, "largest less smallest ln(kappa L)", len(places))


def tables(n: Numbers) -> list[Table]:
    """Return the window of each data set, distance scale and training time."""
    rows = [
        [name, f"{factor:g}", label, *_cells(found, time)]
        for (name, factor), found in n.curves.items()
        if found.measured
        for time, label in enumerate(n.times)
    ]
    rows += [
        [f"digits, {inputs}", "1", label, *_cells(found, time)]
        for inputs, found in n.inputs.items()
        if found.measured
        for time, label in enumerate(n.times)
    ]
    columns = ["data", "distances times", "training", "best ln(kappa L), deepest", "kappa rho_0 L there"]
    columns += ["lowest loss", "highest accuracy", "left over by kappa L", "by sigma_b"]
    return [Table(f"Windows of {short(n.activation)}", columns, rows)]


def _cells(found: LossCurves, time: int) -> list[str]:
    place = found.place(time)
    scaled = "-"
    if place.determined:
        known = np.isfinite(found.log_distance)
        distance = np.interp(place.value, found.log_kappa_L()[known], found.log_distance[known])
        scaled = f"{math.exp(place.value + distance):.3g}"
    loss, accuracy = (values[:, -1, :, time].mean(axis=1) for values in (found.loss, found.accuracy))
    return [
        str(place),
        scaled,
        f"{np.nanmin(loss):.4f}",
        f"{np.nanmax(accuracy):.4f}",
        str(found.left_over(time)),
        str(found.left_over(time, by_bias=True)),
    ]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        "Chosen here, as the source does not say: square loss on one-hot targets less 1/10, gradient flow "
        f"from outputs 0 for {s.steps[-1]:g} steps of the learning rate 1/largest eigenvalue, {s.train} "
        "training images less the mean intensity and scaled to one norm, all weights and biases trained in "
        "the NTK parametrisation. Loss 1 is that of guessing 0.",
        "A window needs two ends. Small kappa L: the network is nearly linear and the kernel badly "
        "conditioned, so that little beyond a linear fit is learned in the time given. Large kappa L: all "
        "pairs look alike, what is learned of one image says nothing of another, and the outputs on new "
        "images shrink, even where their largest is still the right one. Kernel regression without ridge, "
        "given all time, is in the tables.",
        "Repetitions use disjoint training images; the spread over them is the error.",
    ]


def draw_window(axes: Axes, n: Numbers, *, name: str, by_bias: bool) -> None:
    """Draw the loss on one data set against sigma_b, or against kappa L, one colour a depth."""
    found = n.curves[name, 1.0]
    for row, (depth, shade) in enumerate(zip(found.depths, shades(found.depths.size), strict=True)):
        x = np.exp(found.log_bias if by_bias else found.log_kappa_L(row))
        _draw_loss(axes, x, found, n.time, row, color=shade, label=f"L = {depth:g}")
    title, place = ("Each depth its own curve", r"$\sigma_b$") if by_bias else ("One curve", r"$\kappa L$")
    axes.set(title=title, xlabel=place, ylabel=f"test loss, {name}")
    legend(axes)


def draw_distances(axes: Axes, n: Numbers) -> None:
    """Draw the loss on the digits and with their distances shrunk, against kappa L and kappa rho_0 L."""
    cases = ((1.0, "as they are"), (n.settings.shrinkage, "shrunk"))
    for (factor, label), colour in zip(cases, colours(2), strict=True):
        found = n.curves["digits", factor]
        place = found.log_kappa_L()
        marks: dict[str, Any] = {"color": colour, "label": rf"{label}: $\kappa L$"}
        _draw_loss(axes, np.exp(place), found, n.time, **marks)
        marks |= {"ls": "--", "markerfacecolor": "none", "label": rf"{label}: $\kappa \rho_0 L$"}
        _draw_loss(axes, np.exp(place + found.log_distance), found, n.time, **marks)
    axes.set(title="Distances", xlabel=r"$\kappa L$ or $\kappa \rho_0 L$", ylabel="test loss")
    legend(axes)


def draw_times(axes: Axes, n: Numbers) -> None:
    found = n.curves["digits", 1.0]
    for time, (label, shade) in enumerate(zip(n.times, shades(len(n.times)), strict=True)):
        _draw_loss(axes, np.exp(found.log_kappa_L()), found, time, color=shade, label=label)
    axes.set(title="Training time", xlabel=r"$\kappa L$", ylabel="test loss")
    legend(axes)


def draw_accuracy(axes: Axes, n: Numbers) -> None:
    found = n.curves["digits", 1.0]
    for time, (label, shade) in enumerate(zip(n.times, shades(len(n.times)), strict=True)):
        accuracy = found.accuracy[:, -1, :, time].mean(axis=1)
        known = np.isfinite(accuracy)
        if found.measured:
            x = np.exp(found.log_kappa_L()[known])
            axes.plot(x, accuracy[known], "o-", ms=3, lw=1.2, color=shade, label=label)
    axes.set(title="Accuracy", xlabel=r"$\kappa L$", xscale="log")
    legend(axes)


def _draw_loss(axes: Axes, x: np.ndarray, found: LossCurves, time: int, row: int = -1, **marks: Any) -> None:
    """Draw the mean over repetitions with its error; nothing where the case was not measured."""
    if not found.measured:
        return
    loss = found.loss[:, row, :, time]
    known = np.isfinite(loss[:, 0]) & np.isfinite(x)
    error = loss.std(axis=1) / max(1, found.subsets - 1) ** 0.5
    axes.errorbar(
        x[known], loss[known].mean(axis=1), error[known], fmt="o", ms=3, lw=1.2, **{"ls": "-"} | marks
    )
    axes.set_xscale("log")


def figures(n: Numbers) -> list[Panels]:
    windows = [
        Panels(
            f"generalisation-window-{name}",
            f"Test loss on {name} after {n.settings.steps[-1]:g} steps, one colour a depth. Left: against "
            "sigma_b along the critical line, where each depth has its own optimum. Right: against kappa L.",
            [partial(draw_window, name=name, by_bias=by_bias) for by_bias in (True, False)],
            (4.0, 3.1),
            share_y=True,
        )
        for name in n.shown
    ]
    distances = Panels(
        "generalisation-distances",
        "Left: the same images with all distances shrunk need a larger kappa L; against kappa rho_0 L with "
        "rho_0 the median distance, the two agree better. Middle: test loss for several training times. "
        "Right: accuracy. Deepest network of the sweep, digits.",
        [draw_distances, draw_times, draw_accuracy],
        (3.5, 3.0),
    )
    return [*windows, distances]


GENERALISATION = Part(
    name="generalisation",
    title="Generalisation of infinitely wide networks",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("jacot2018", "xiao2020", "tamai2023"),
)
