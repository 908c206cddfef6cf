"""Detrended fluctuation analysis of a batch of series, with an exponent whose error is calibrated."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.noise.compiled import LANES, worthwhile
from phasescope.noise.covariance import STEP, Grid, line
from phasescope.noise.dfa_result import DFA
from phasescope.noise.expected import white_noise_correction
from phasescope.noise.fluctuation import in_chunks
from phasescope.noise.usable import measured_chunk
from phasescope.noise.windows import (
    checked_order,
    checked_windows,
    default_windows,
    fitted_subset,
    shortest_length,
)

Array = NDArray[np.float64]
_MOST_FITTED = 24
_FEWEST_FITTED = 3
_BENT = 2.58  # one straight curve in a hundred
_WHITE = 0.5


def dfa(
    x: ArrayLike | torch.Tensor,
    *,
    order: int = 1,
    windows: ArrayLike | None = None,
    both_ends: bool = True,
    overlap: bool = False,
    correct_bias: bool = False,
) -> DFA:
    """Return fluctuation functions of series and their exponents alpha, each with a standard error.

    Parameters
    ----------
    x : array or tensor of shape (..., time)
        Series along the last axis, in any unit; real, integers included. A tensor is worked on where it lies.
    order : {1, 2, 3}
        Degree of the polynomials taken out of the profile; removes trends of x of one degree less.
    windows : array of int or None
        Window lengths n. None: up to 16, evenly spaced in logarithm, from 10, 16 or 20 (order 1, 2, 3) to an
        eighth of the series.
    both_ends : bool
        Windows from the first value onwards and from the last one backwards; False: only the former.
    overlap : bool
        Also windows shifted by half their length.
    correct_bias : bool
        Divide F(n) by its exact value for white noise over its asymptote,
        ``sqrt(1 - (order + 1)^2/n^2)``, which straightens it at short windows.

    Notes
    -----
    ``y = cumsum(x - mean)``; ``F^2(n)`` is the mean over windows of squared residuals about polynomials,
    divided by n; alpha is the slope of ``ln F`` against ``ln n``, beta = 2 alpha - 1 that of the spectrum.
    White noise has alpha = 1/2, 1/f noise 1, a random walk 3/2; fractional Gaussian noise has alpha = H.

    The line is fitted by generalised least squares with the covariance of ``ln F``: of white noise first,
    then once more at the exponent found, from simulated fractional Gaussian noise (alpha below 1) or sums
    of ARFIMA(0, d, 0) (above 1). What short windows add to the slope of such noise (0.01 for white noise)
    is taken off. So `alpha_error` is the scatter of Gaussian noise with that exponent and this length, and
    a 95 % interval is alpha +- 1.96 errors. At most 24 of the windows enter the fit. `crossover` marks a
    curve bent beyond what one straight one in a hundred shows: then there is no one exponent, and alpha
    describes these windows only.

    A series without an exponent gets alpha = NaN and a `reason`: values that are not finite, a constant, two
    values only, fluctuations within rounding (idle units, polynomials of degree below the order), too short,
    fewer than 3 windows, or an exponent at the limit order + 1. An `InputError` tells input that is of no use
    as a whole: empty, complex, time on another axis than the last, an unknown order, windows out of range.

    Fails: short memory can look like 1/f noise in windows shorter than about 30 times the memory, without a
    significant bend in a short series; compare with an autoregressive null. The error knows nothing of jumps,
    heavy tails or trends of degree above order - 1.

    Cost: some 0.1 ms for 4096 values and 16 windows, on as many threads as torch has; less than half of that
    for large batches on the CPU where numba is installed (the extra ``fast``), which compiles once for good,
    in some 2 s. Memory beside x of about a megabyte a thread, and 256 bytes a time step of long series. The
    first call for a length simulates two or three exponents, together about a second up to 16384 values and
    4 s for 65536, in proportion above; remembered afterwards. Source: Peng et al., Phys. Rev. E 49, 1685
    (1994); Kantelhardt et al., Physica A 295, 441 (2001); the fit is derived here.

    Examples
    --------
    >>> import numpy as np
    >>> white = np.random.default_rng(0).standard_normal((3, 1000))
    >>> result = dfa(white)
    >>> result.alpha.shape, bool(np.all(np.abs(result.alpha - 0.5) < 4 * result.alpha_error))
    ((3,), True)
    """
    order = checked_order(order)
    series = _checked_series(x, order)
    shape, length = tuple(series.shape[:-1]), int(series.shape[-1])
    default = windows is None
    lengths = default_windows(length, order) if windows is None else checked_windows(windows, length, order)
    series = series.reshape(-1, length)
    compiled = isinstance(series, np.ndarray) and worthwhile(len(series), length, len(lengths))
    parts = in_chunks(
        series,
        lambda chunk: measured_chunk(
            chunk, lengths, order, both_ends=both_ends, overlap=overlap, compiled=compiled
        ),
        most_threads=torch.get_num_threads(),
        multiple=LANES if compiled else 1,
    )
    fluctuation = np.concatenate([part[0] for part in parts])
    reason = np.concatenate([part[1] for part in parts])
    correction = white_noise_correction(lengths, order) if correct_bias else None
    if correction is not None:
        fluctuation = fluctuation / correction
    reason = np.where(reason == "", _too_few(lengths, length, order, default), reason)
    chosen = fitted_subset(lengths, _MOST_FITTED)
    grid = Grid(length, tuple(lengths[chosen].tolist()), order, both_ends, overlap)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(fluctuation)
        slopes = np.diff(logarithms) / np.diff(np.log(lengths)) if len(lengths) else logarithms
    slopes = np.where(np.isfinite(slopes), slopes, np.nan)
    divided_by = None if correction is None else tuple(correction[chosen].tolist())
    alpha, error, bend, bend_error = _fitted(logarithms[:, chosen], reason, grid, divided_by)
    reason = np.where(reason == "", _saturated(alpha, error, order), reason)
    none = reason != ""
    alpha[none] = error[none] = np.nan
    return DFA(
        order=order,
        length=length,
        windows=lengths,
        fluctuation=fluctuation.reshape(*shape, -1),
        alpha=alpha.reshape(shape),
        alpha_error=error.reshape(shape),
        local_slopes=slopes.reshape(*shape, slopes.shape[-1]),
        curvature=bend.reshape(shape),
        curvature_error=bend_error.reshape(shape),
        crossover=(~none & (np.abs(bend) > _BENT * bend_error)).reshape(shape),
        reason=reason.reshape(shape),
    )


def _checked_series(x: ArrayLike | torch.Tensor, order: int) -> Any:
    """Return real numbers of at least one axis: an array on the CPU, a tensor elsewhere."""
    if isinstance(x, torch.Tensor):
        given: Any = x.detach()
        if given.device.type == "cpu" and given.dtype not in (torch.bfloat16, torch.float16):
            given = given.resolve_conj().resolve_neg().numpy()
        real = not (isinstance(given, torch.Tensor) and given.is_complex())
    elif isinstance(x, np.ma.MaskedArray):
        given, real = np.ma.filled(x.astype(np.float64), np.nan), True
    else:
        try:
            given, real = np.asarray(x), True
        except ValueError as reason:
            raise InputError("x holds series of different lengths.", "Measure them one by one.") from reason
    if isinstance(given, np.ndarray):
        real = given.dtype.kind in "biuf"
    if not real:
        raise InputError(f"x holds {given.dtype}, no real numbers.", "Give floats or integers.")
    shape = tuple(given.shape)
    if not shape or 0 in shape:
        raise InputError(f"x of shape {shape} holds no series.", "Give time as the last axis.")
    shortest = order + 2
    if shape[-1] <= 2 * shortest < max(shape):
        raise InputError(
            f"x of shape {shape} has {shape[-1]} values along its last axis.",
            "Time is the last axis; move it there, as by np.moveaxis(x, 0, -1).",
        )
    return given


def _too_few(windows: NDArray[np.int64], length: int, order: int, default: bool) -> str:
    """Return why there cannot be an exponent with these windows, or nothing."""
    if len(windows) >= _FEWEST_FITTED:
        return ""
    if default:
        return (
            f"{length} values along the last axis are too short: windows of order {order} need at least "
            f"{shortest_length(order)}"
        )
    return f"{len(windows)} window length(s), at least {_FEWEST_FITTED} needed for an exponent"


def _fitted(
    logarithms: Array, reason: NDArray[np.str_], grid: Grid, divided_by: tuple[float, ...] | None
) -> tuple[Array, Array, Array, Array]:
    """Return exponents and bends with their errors, where there is no reason against them."""
    alpha, error, bend, bend_error = np.full((4, len(reason)), np.nan)
    usable = np.flatnonzero(reason == "")
    if usable.size:
        white = line(grid, _WHITE, divided_by)
        first = logarithms[usable] @ white.slope - white.slope_bias
        rounded = np.rint(np.clip(first, 0.0, grid.largest) / STEP).astype(np.int64)
        for value in np.unique(rounded):
            here = usable[rounded == value]
            fit = line(grid, float(value) * STEP, divided_by)
            alpha[here] = logarithms[here] @ fit.slope - fit.slope_bias
            error[here] = fit.slope_error
            bend[here] = logarithms[here] @ fit.curvature - fit.curvature_bias
            bend_error[here] = fit.curvature_error
    return alpha, error, bend, bend_error


def _saturated(alpha: Array, error: Array, order: int) -> NDArray[np.str_]:
    """Return the reason where the order of detrending cannot tell an exponent from larger ones."""
    limit = order + 1
    text = f"alpha is at {limit}, the largest that order {order} can show"
    text += ": take a higher order" if order < 3 else ": the series is smooth"
    known = np.where(np.isfinite(alpha), alpha, 0.0)
    return np.where(known > limit - np.fmax(0.05, 2 * error), text, "")
