"""Whether test losses along the critical line have one window in ``kappa L``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing.image_subsets import DATA_SETS, why_not
from phasescope.papers.absorbing.loss_curves import LossCurves, loss_curves
from phasescope.studies.check import Check, Outcome, compare
from phasescope.studies.contract import Table
from phasescope.studies.drawing import short

if TYPE_CHECKING:
    import xarray as xr

_PAPER = "arXiv:2307.02284"
# Where the two sides of the window are looked at.
SIDES = (0.1, 30.0)


def curves_of(data: xr.Dataset, config: Any, name: str, shrinkage: float = 1.0) -> LossCurves | None:
    """Return the losses of the activation followed, or None where they were not measured."""
    return loss_curves(data, config.generalisation.depths, config.activation, name, shrinkage)


def headline(config: Any) -> int:
    """Return the number of the training time that the checks look at: the last but kernel regression."""
    return len(config.generalisation.steps) - 1


def checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks; "not determined" for data sets that are not at hand."""
    made = []
    for name in DATA_SETS:
        found = curves_of(data, config, name)
        shrunk = curves_of(data, config, name, config.generalisation.shrinkage)
        present = bool((data["data_set"].values.astype(str) == name).any())
        absent = f"{short(config.activation)} has no kappa" if present else why_not(name)
        made += _of_data_set(name, found, shrunk, absent, config)
    made.append(_no_universal_constant(data, config))
    made += [_universality(data, config, spec) for spec in config.activations if spec != config.activation]
    return made


def _of_data_set(
    name: str, found: LossCurves | None, shrunk: LossCurves | None, absent: str, config: Any
) -> list[Check]:
    time = headline(config)
    nothing = Estimate.not_determined(absent)
    window = nothing if found is None else rise(found, time)
    ridgeless = nothing if found is None else rise(found, time + 1)
    left = nothing if found is None else found.left_over(time)
    by_bias = "" if found is None else f" Against sigma_b it is {found.left_over(time, by_bias=True)}."
    shift = nothing if found is None or shrunk is None else _shift(found, shrunk, time, config)
    sides = (
        f"Measured: the smaller rise of ln(loss) from its minimum to kappa L = {SIDES[0]:g} and {SIDES[1]:g}"
    )
    return [
        _order(
            f"generalisation/window-{name}",
            f"On {name} the test loss rises on both sides of a window in kappa L.",
            window,
            f"{sides}; above 0 by three errors agrees, surely below 0.01 disagrees.",
        ),
        _order(
            f"generalisation/window-ridgeless-{name}",
            f"On {name} kernel regression without ridge, given all time, has such a window too.",
            ridgeless,
            f"{sides}. The source speaks of training, which has an end.",
        ),
        compare(
            f"generalisation/exponent-{name}",
            f"The best kappa on {name} falls as 1/L: the window stays at one kappa L.",
            _PAPER,
            1.0,
            nothing if found is None else depth_exponent(found, time),
            allowance=0.05,
            resolution=0.1,
            note="Allowance 0.05: the law that makes kappa L the variable holds for deep networks.",
        ),
        compare(
            f"generalisation/collapse-{name}",
            f"Against kappa L the test losses of all depths on {name} are one curve.",
            _PAPER,
            0.0,
            left,
            allowance=0.05,
            note="Measured: share of the variance of ln(loss) that remains between depths at one kappa L. "
            f"Allowance 0.05, chosen here.{by_bias}",
        ),
        compare(
            f"generalisation/distances-{name}",
            f"With all distances of {name} shrunk, the window moves to kappa L larger by the same factor.",
            "derived here, from R(kappa rho_0 L)",
            1.0,
            shift,
            allowance=0.25,
            resolution=0.25,
            note="Measured: shift of ln(kappa L) over -ln(factor). Allowance 0.25: R(u) holds for small "
            "distances, those of images are of order 1.",
        ),
    ]


def rise(found: LossCurves, time: int) -> Estimate:
    """Return the smaller of the two rises of ln(loss) from its lowest value to the sides of the window."""
    sides = []
    for kappa_L in SIDES:
        each = []
        for row in range(found.depths.size):
            beside = found.at(row, time, kappa_L)
            lowest = np.nanmin(np.log(found.loss[:, row, :, time]), axis=0)
            if np.isfinite(beside).all():
                each.append(beside - lowest)
        if not each:
            return Estimate.not_determined(f"kappa L = {kappa_L:g} is out of reach at every depth")
        sides.append(np.mean(each, axis=0))
    lower = min(sides, key=lambda side: float(side.mean()))
    return Estimate.from_samples(lower, method="mean over repetitions and depths")


def depth_exponent(found: LossCurves, time: int) -> Estimate:
    """Return a in "best kappa ~ L^-a", with the scatter around the power law in its error."""
    rows = range(found.depths.size)
    best = [found.best(row, time) for row in rows]
    if len(best) < 3 or any(optimum is None for row in best for optimum in row):
        return Estimate.not_determined(
            "the loss has no minimum inside the range at some depth, or depths are few"
        )
    log_depth = np.log(found.depths)
    centred = log_depth - log_depth.mean()
    places = np.array([[optimum.place for optimum in row if optimum is not None] for row in best])
    errors = np.array([[optimum.error for optimum in row if optimum is not None] for row in best]).mean(
        axis=1
    )
    # Best kappa is exp(place)/L.
    slopes = -(centred @ (places - log_depth[:, None])) / (centred @ centred)
    fitted = places.mean(axis=1) - log_depth + slopes.mean() * centred
    rest = (fitted - fitted.mean()).std(ddof=2)
    common = math.hypot(rest, errors.mean()) / math.sqrt(centred @ centred)
    scatter = slopes.std(ddof=1) / math.sqrt(slopes.size) if slopes.size > 1 else math.nan
    if not math.isfinite(scatter):
        return Estimate.not_determined("there is one repetition")
    window = (float(found.depths[0]), float(found.depths[-1]))
    method = "power law through the minima of all depths"
    return Estimate(float(slopes.mean()), math.hypot(scatter, common), method, found.subsets, window)


def _shift(found: LossCurves, shrunk: LossCurves, time: int, config: Any) -> Estimate:
    row = found.depths.size - 1
    near, far = found.best(row, time), shrunk.best(row, time)
    moved = [b.place - a.place for a, b in zip(near, far, strict=True) if a is not None and b is not None]
    if len(moved) < max(2, found.subsets):
        return Estimate.not_determined("the loss has no minimum inside the range")
    common = float(np.mean([math.hypot(a.error, b.error) for a, b in zip(near, far, strict=True) if a and b]))
    unit = -math.log(config.generalisation.shrinkage)
    scatter = float(np.std(moved, ddof=1)) / math.sqrt(len(moved))
    method = f"shift of the minimum at depth {found.depths[row]:g}, by repetition"
    return Estimate(float(np.mean(moved)) / unit, math.hypot(scatter, common) / unit, method, len(moved))


def _order(id: str, claim: str, measured: Estimate, note: str) -> Check:
    verdict: Outcome = "not determined"
    if measured.determined:
        above, below = measured.value - 3 * measured.error, measured.value + 3 * measured.error
        verdict = "agrees" if above > 0 else "disagrees" if below < 0.01 else "not determined"
    return Check(id, claim, _PAPER, None, measured, verdict, note)


def _no_universal_constant(data: xr.Dataset, config: Any) -> Check:
    time = headline(config)
    places = {}
    for name in DATA_SETS:
        found = curves_of(data, config, name)
        if found is not None:
            place = found.place(found.depths.size - 1, time)
            if place.determined:
                places[name] = place
    measured = Estimate.not_determined("windows of two data sets are needed: name the folders of MNIST")
    if len(places) > 1:
        low, high = (pick(places.values(), key=lambda place: place.value) for pick in (min, max))
        error = math.hypot(low.error, high.error)
        measured = Estimate(high.value - low.value, error, "largest less smallest ln(kappa L)", len(places))
    return _order(
        "generalisation/no-universal-constant",
        "The best kappa L differs between data sets: there is no universal constant.",
        measured,
        ", ".join(f"{name}: ln(kappa L) = {place}" for name, place in places.items()),
    )


def _universality(data: xr.Dataset, config: Any, spec: str) -> Check:
    time, depths = headline(config), config.generalisation.depths
    own = curves_of(data, config, "digits")
    other = loss_curves(data, depths, spec, "digits", 1.0)
    measured = Estimate.not_determined("one of the two has no kappa")
    if own is not None and other is not None:
        row = len(depths) - 1
        pairs = list(zip(own.best(row, time), other.best(row, time), strict=True))
        moved = [b.place - a.place for a, b in pairs if a is not None and b is not None]
        measured = Estimate.not_determined("the loss has no minimum inside the range")
        if len(moved) == own.subsets and len(moved) > 1:
            common = float(np.mean([math.hypot(a.error, b.error) for a, b in pairs if a and b]))
            error = math.hypot(float(np.std(moved, ddof=1)) / math.sqrt(len(moved)), common)
            measured = Estimate(float(np.mean(moved)), error, "same images, by repetition", len(moved))
    return compare(
        f"generalisation/universality-{short(spec)}",
        f"The window of {short(spec)} lies at the same kappa L as that of {short(config.activation)}.",
        _PAPER,
        0.0,
        measured,
        allowance=0.1,
        resolution=0.2,
        note="Measured: difference of ln(kappa L) on the digits, deepest networks. Allowance 0.1: finite "
        "depth.",
    )


def tables(data: xr.Dataset, config: Any) -> list[Table]:
    """Return the window of each data set, distance scale and training time."""
    settings = config.generalisation
    times = [f"{steps:g} steps" for steps in settings.steps] + ["no limit"]
    rows = []
    for name in DATA_SETS:
        for shrinkage in (1.0, settings.shrinkage):
            found = curves_of(data, config, name, shrinkage)
            if found is None:
                continue
            for time, label in enumerate(times):
                rows.append([name, f"{shrinkage:g}", label, *_row(found, time)])
    columns = ["data", "distances times", "training", "best ln(kappa L), deepest", "kappa rho_0 L there"]
    columns += ["lowest loss", "highest accuracy", "left over by kappa L", "by sigma_b"]
    return [Table(f"Windows of {short(config.activation)}", columns, rows)]


def _row(found: LossCurves, time: int) -> list[str]:
    row = found.depths.size - 1
    place = found.place(row, time)
    scaled = "-"
    if place.determined:
        x = found.log_kappa_L(row)
        known = np.isfinite(found.log_distance)
        scaled = f"{math.exp(place.value + np.interp(place.value, x[known], found.log_distance[known])):.3g}"
    loss, accuracy = (values[:, row, :, time].mean(axis=1) for values in (found.loss, found.accuracy))
    return [
        str(place),
        scaled,
        f"{np.nanmin(loss):.4f}",
        f"{np.nanmax(accuracy):.4f}",
        str(found.left_over(time)),
        str(found.left_over(time, by_bias=True)),
    ]
