"""What trained networks of finite width say about the window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.optimum import mean_place, minimum
from phasescope.studies.check import Check, Outcome, compare
from phasescope.studies.contract import Table
from phasescope.studies.drawing import short

if TYPE_CHECKING:
    import xarray as xr

_PAPER = "arXiv:2307.02284"


class Trainings(NamedTuple):
    """Trained networks along the critical line at one depth and width, in ascending order of kappa L."""

    kappa_L: np.ndarray
    v: np.ndarray
    log_loss: np.ndarray
    accuracy: np.ndarray
    kernel: np.ndarray
    kernel_accuracy: np.ndarray


def along_line(data: xr.Dataset, depth: int, width: int) -> Trainings:
    """Return the networks at one depth and width; `log_loss` and `accuracy` of shape (points, networks)."""
    chosen = shared.of_kind(data, "critical", depth=depth, width=width)
    chosen = chosen.isel(task=np.argsort(chosen["sigma_b"].values.astype(float)))
    kappa, v = (chosen["reference"].values[:, shared.QUANTITIES.index(name)] for name in ("kappa", "v"))
    return Trainings(
        kappa * depth,
        v,
        _log(chosen["test_loss"].values),
        chosen["accuracy"].values,
        _log(chosen["kernel_loss"].values),
        chosen["kernel_accuracy"].values,
    )


def off_line(data: xr.Dataset, kind: str, depth: int, width: int) -> xr.Dataset:
    """Return the networks off the critical line at one depth and width."""
    return shared.of_kind(data, kind, depth=depth, width=width).isel(task=0)


def _log(loss: np.ndarray) -> np.ndarray:
    # Training that diverged is no better than outputs far off.
    return np.asarray(np.log(np.minimum(loss, 1e3)))


def checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks, on the deepest networks."""
    settings = config.finite_training
    depth, narrow, wide = settings.depths[-1], settings.widths[-2], settings.widths[-1]
    found = along_line(data, depth, wide)
    reason = ""
    if not np.isfinite(found.kappa_L).all():
        reason = f"{short(config.activation)} has no critical line, or no kappa, at some of the biases"
    nothing = Estimate.not_determined(reason)
    best = int(np.argmin(found.log_loss.mean(axis=1)))
    departures = {
        width: _mean(
            line_.log_loss[best] - line_.kernel[best], f"ln of loss over that of infinite width, n = {width}"
        )
        for width in (narrow, wide)
        for line_ in [along_line(data, depth, width)]
    }
    fall = _difference(
        departures[narrow], departures[wide], "departure at the lesser less at the larger width"
    )
    inside = found.log_loss[best]
    wanted_width = float(found.v[best] * depth) if not reason else math.nan
    made = [
        _order(
            f"finite-training/{side}-window",
            f"On the critical line, but {side} the window in kappa L, the test loss is larger: criticality "
            "alone is not enough.",
            nothing if reason else _outside(found, best, end),
            "Measured: ln(loss) at that end of the range less that of the best point.",
        )
        for side, end in (("below", 0), ("above", -1))
    ]
    for kind in ("ordered", "chaotic"):
        beside = _log(off_line(data, kind, depth, wide)["test_loss"].values)
        made.append(
            _order(
                f"finite-training/{kind}",
                f"Off the critical line, in the {kind} phase, the test loss is larger than at the best "
                "point of it.",
                nothing if reason else _difference(_mean(beside), _mean(inside), "difference of ln(loss)"),
                f"chi_1^L = exp({'-' if kind == 'ordered' else ''}{settings.growth:g}).",
            )
        )
    made += [
        compare(
            "finite-training/wide-enough",
            "At widths n > v L trained networks reach the test loss of infinite width.",
            _PAPER,
            0.0,
            nothing if reason else departures[wide],
            allowance=0.1,
            note=f"n = {wide}, v L = {wanted_width:.0f}. Measured at the best point: ln(loss) less that of "
            "infinite width. Allowance 0.1, chosen here. The kernel's fluctuations, of relative size "
            "sqrt(v L/n), act in as many directions as there are training images, so that more width than "
            "n = v L is needed.",
        ),
        _order(
            "finite-training/approach",
            "With more neurons a layer the test loss comes nearer to that of infinite width.",
            nothing if reason else fall,
            f"Measured at the best point: departure at n = {narrow} less that at n = {wide}.",
        ),
        compare(
            "finite-training/window-place",
            "At finite width the window lies at the kappa L of infinite width.",
            _PAPER,
            0.0,
            nothing if reason else _window_shift(found),
            allowance=0.5,
            resolution=0.3,
            note=f"Measured: shift of ln(kappa L) of the lowest loss at n = {wide}. Allowance 0.5, chosen "
            "here. Larger kappa means larger v, hence wider networks for the same quality.",
        ),
    ]
    return made


def _outside(found: Trainings, best: int, end: int) -> Estimate:
    if best in (0, len(found.kappa_L) - 1):
        return Estimate.not_determined("the loss is lowest at an end of the range")
    return _difference(_mean(found.log_loss[end]), _mean(found.log_loss[best]), "difference of ln(loss)")


def _window_shift(found: Trainings) -> Estimate:
    x = np.log(found.kappa_L)
    infinite = minimum(x, found.kernel)
    each = [minimum(x, found.log_loss[:, i]) for i in range(found.log_loss.shape[1])]
    mean, error = mean_place(each)
    if infinite is None or not math.isfinite(mean + error):
        return Estimate.not_determined("the loss has no minimum inside the range")
    total = math.hypot(error, infinite.error)
    return Estimate(mean - infinite.place, total, "minima of splines, mean over networks", len(each))


def _mean(samples: np.ndarray, method: str = "mean over networks") -> Estimate:
    return Estimate.from_samples(samples, method=method)


def _difference(first: Estimate, second: Estimate, method: str) -> Estimate:
    if not (first.determined and second.determined):
        return first if not first.determined else second
    error = math.hypot(first.error, second.error)
    return Estimate(first.value - second.value, error, method, min(first.n, second.n))


def _order(id: str, claim: str, measured: Estimate, note: str) -> Check:
    verdict: Outcome = "not determined"
    if measured.determined:
        low, high = measured.value - 3 * measured.error, measured.value + 3 * measured.error
        verdict = "agrees" if low > 0 else "disagrees" if high < 0 else "not determined"
    return Check(id, claim, _PAPER, None, measured, verdict, f"{note} Three errors above 0 agrees.")


def tables(data: xr.Dataset, config: Any) -> list[Table]:
    """Return losses and accuracies of all points, depths and widths."""
    settings = config.finite_training
    rows = []
    for depth in settings.depths:
        for width in settings.widths:
            found = along_line(data, depth, width)
            for i, kappa_L in enumerate(found.kappa_L):
                place = [
                    f"{depth}",
                    f"{width}",
                    f"{found.v[i] * depth / width:.2g}",
                    f"critical, {kappa_L:.3g}",
                ]
                loss, accuracy = np.exp(found.log_loss[i]), found.accuracy[i]
                kernel = math.exp(found.kernel[i]), found.kernel_accuracy[i]
                rows.append([*place, *_cells(loss, accuracy, *kernel)])
            for kind in ("ordered", "chaotic"):
                beside = off_line(data, kind, depth, width)
                names = ("test_loss", "accuracy", "kernel_loss", "kernel_accuracy")
                values = (beside[name].values for name in names)
                rows.append([f"{depth}", f"{width}", "-", kind, *_cells(*values)])
    columns = ["L", "n", "v L/n", "phase, kappa L", "test loss", "accuracy"]
    columns += ["test loss, infinite width", "accuracy, infinite width"]
    return [Table(f"{short(config.activation)} networks after training", columns, rows)]


def _cells(loss: np.ndarray, accuracy: np.ndarray, kernel: Any, kernel_accuracy: Any) -> list[str]:
    means = [str(Estimate.from_samples(values)) for values in (loss, accuracy)]
    return [*means, f"{float(kernel):.3f}", f"{float(kernel_accuracy):.3f}"]
