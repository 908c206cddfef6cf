"""Detrended fluctuation analysis of a batch of series, with an exponent whose error is calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.noise.fluctuation import (
    LANES,
    as_numpy,
    checked_order,
    checked_windows,
    default_windows,
    fluctuations,
    in_chunks,
    scaled_fluctuations,
    shortest_length,
    white_noise_correction,
    worthwhile,
)
from phasescope.noise.generators import arfima, fractional_gaussian_noise

Array = NDArray[np.float64]

_ROUNDING_STEPS = 4.0
_DOUBLE = float(np.finfo(np.float64).eps)
_PROFILE_ROUNDING = 64 * _DOUBLE
_PEEK = 64

_MOST_FITTED = 24
_FEWEST_FITTED = 3
_BENT = 2.58  # one straight curve in a hundred
_WHITE = 0.5

# The simulations behind the covariance of ln F.
_SEED = 20230120
_VALUES = 2**22
_FEWEST_SERIES, _MOST_SERIES = 192, 2048
_BLOCK = 2**17  # values at a time: some ten megabytes with their spectra
_SPACING = 0.25  # between the exponents that are simulated
_STEP = 0.02  # between those that the covariance is interpolated to
# Fractional Gaussian noise with H = 1 is a constant, and its sum with H = 0 is white noise.
_MARGIN = 0.02


@dataclass(frozen=True)
class DFA:
    """Fluctuation functions and exponents of a batch of series; :func:`dfa` makes it.

    Parameters
    ----------
    order : int
        Degree of the polynomials taken out.
    length : int
        Values of a series.
    windows : array of int of shape (windows,)
        Lengths n.
    fluctuation : array of shape (..., windows)
        F(n) in the unit of x; NaN for a series that is not finite.
    alpha, alpha_error : array of shape (...,)
        Slope of ``ln F`` against ``ln n`` and one standard error; NaN where there is a `reason`.
    local_slopes : array of shape (..., windows - 1)
        Slopes between neighbouring windows.
    curvature, curvature_error : array of shape (...,)
        Coefficient of ``(ln n)^2`` in a parabola beyond that of fractional Gaussian noise, and its standard
        error; over many series the mean shows a bend that no single one resolves.
    crossover : array of bool of shape (...,)
        Whether `curvature` is further from zero than 2.58 errors, as one straight curve in a hundred is.
    reason : array of str of shape (...,)
        Why a series has no exponent; empty where it has one.
    """

    order: int
    length: int
    windows: NDArray[np.int64]
    fluctuation: Array = field(repr=False)
    alpha: Array
    alpha_error: Array
    local_slopes: Array = field(repr=False)
    curvature: Array = field(repr=False)
    curvature_error: Array = field(repr=False)
    crossover: NDArray[np.bool_]
    reason: NDArray[np.str_]

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "peng1994 kantelhardt2001"

    @property
    def beta(self) -> Array:
        """Exponent of the spectrum, ``S ~ f^-beta`` with ``beta = 2 alpha - 1``."""
        return np.asarray(2 * self.alpha - 1)

    @property
    def beta_error(self) -> Array:
        """One standard error of `beta`."""
        return np.asarray(2 * self.alpha_error)

    def estimate(self, index: int | tuple[int, ...] = ()) -> Estimate:
        """Return alpha of one series as an estimate.

        Parameters
        ----------
        index : int or tuple of int
            Which series of the batch; ``()`` where there is only one, without a batch axis.
        """
        method = f"DFA{self.order}, generalised least squares"
        reason = str(self.reason[index])
        if reason:
            return Estimate.not_determined(reason, method=method, n=1)
        span = (float(self.windows[0]), float(self.windows[-1]))
        return Estimate(float(self.alpha[index]), float(self.alpha_error[index]), method, 1, span)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; ``None`` in place of ``nan``."""
        names = ["windows", "fluctuation", "alpha", "alpha_error", "beta", "beta_error", "local_slopes"]
        names += ["curvature", "curvature_error", "crossover", "reason"]
        return {name: plain(getattr(self, name)) for name in ["order", "length", *names]}

    def __str__(self) -> str:
        head = f"DFA{self.order} of {self.length} values"
        if len(self.windows):
            head += f", {len(self.windows)} windows from {self.windows[0]} to {self.windows[-1]}"
        if self.alpha.ndim == 0:
            estimate = self.estimate()
            if not estimate.determined:
                return f"{head}: {estimate}"
            bent = "; crossover: no one exponent" if self.crossover else ""
            return f"{head}: alpha = {estimate}, beta = {2 * estimate - 1}{bent}"
        here = self.alpha[self.reason == ""]
        head += f": {here.size} of {self.alpha.size} series determined"
        if here.size:
            low, middle, high = np.quantile(here, [0.16, 0.5, 0.84])
            head += f", alpha = {middle:.3f} (68 % of the series in {low:.3f} to {high:.3f}), "
            head += f"crossover in {int(self.crossover.sum())}"
        return head


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
    in some 2 s. Memory beside x and the result: some 10 MB, and 256 bytes a time step of long series and
    thread, 512 where x is not in double precision. The first call for a length simulates two or three
    exponents, together about a second up to 16384 values and 4 s for 65536, in proportion above; remembered
    afterwards. Source: Peng et al., Phys. Rev. E 49, 1685
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
        lambda chunk: _measured(
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
    chosen = _fitted_subset(lengths, _MOST_FITTED)
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


def _measured(
    chunk: Any, windows: NDArray[np.int64], order: int, *, both_ends: bool, overlap: bool, compiled: bool
) -> tuple[Array, NDArray[np.str_]]:
    """Return F(n) in the unit of x, NaN for series that are not finite, and a reason for each unusable one.

    Every series is divided by its own range first, so its unit plays no part. Shapes: `chunk` (series, time).
    """
    xp: Any = np if isinstance(chunk, np.ndarray) else torch
    x = chunk.astype(np.float64, copy=False) if xp is np else chunk.to(torch.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(1)
    bad = np.zeros(len(x), dtype=np.int64)
    # A mean is not finite where a value is not, or where the sum overflows.
    if not bool(xp.isfinite(mean).all()):
        finite = xp.isfinite(x)
        bad = as_numpy((~finite).sum(1))
        x = xp.where(finite.all(1)[:, None], x, 0.0)
    low, high = xp.amin(x, 1), xp.amax(x, 1)
    # Halved, as the range of the largest floats overflows.
    half = high / 2 - low / 2
    centre = xp.where(xp.isfinite(mean), mean, low / 2 + high / 2)
    scale = xp.where(half > 0, half, 1.0)
    found, highest = scaled_fluctuations(
        x, centre, scale, windows, order, both_ends=both_ends, overlap=overlap, compiled=compiled
    )
    half_range, largest = as_numpy(half), as_numpy(xp.maximum(abs(low), abs(high)))
    reason = np.full(len(found), "", dtype="<U200")
    if len(windows):
        rounded = _rounded(found, chunk, largest / as_numpy(scale), highest, windows, order)
        rounded &= (half_range > 0)[:, None]
        for place in np.flatnonzero(rounded.any(1)):
            window = windows[rounded[place].argmax()]
            reason[place] = (
                f"fluctuations in windows of {window} are within rounding: idle, or a polynomial of degree "
                f"below {order}"
            )
    reason[_two_valued(x, low, high)] = "only two values"
    reason[half_range == 0] = "constant"
    for place in np.flatnonzero(bad):
        reason[place] = f"{bad[place]} of {chunk.shape[1]} values are not finite"
    found *= half_range[:, None]
    found[bad > 0] = np.nan
    return found, reason


def _two_valued(x: Any, low: Any, high: Any) -> NDArray[np.intp]:
    """Return the series that only take their smallest and their largest value, constant ones included."""

    def extreme(some: Any, places: Any) -> NDArray[np.bool_]:
        return as_numpy(((some == low[places][:, None]) | (some == high[places][:, None])).all(1))

    suspects = np.flatnonzero(extreme(x[:, :_PEEK], slice(None)))
    return np.asarray(suspects[extreme(x[suspects], suspects)])


def _rounded(
    found: Array, chunk: Any, magnitude: Array, highest: Array, windows: NDArray[np.int64], order: int
) -> NDArray[np.bool_]:
    """Return for each series and window whether what is left after detrending is rounding.

    It is where F(n) is below that of white noise as large as 4 steps of the number format at the largest
    value, or below what rounding leaves of the profile. A series in double precision that fits single
    precision exactly is judged by the latter. `magnitude` (series,) is the largest value over half the range.
    """
    p = order
    white = np.sqrt((p + 1) * windows / (2 * (2 * p + 1) * (2 * p + 3))) * white_noise_correction(windows, p)
    step = _ROUNDING_STEPS * magnitude[:, None] * white
    below = _PROFILE_ROUNDING * highest[:, None]
    resolution = _resolution(chunk)
    within = found <= np.maximum(step * (resolution or _DOUBLE), below)
    if resolution == _DOUBLE:
        single = step * np.finfo(np.float32).eps
        suspects = (found <= np.maximum(single, below)).any(1) & ~within.any(1)
        for place in np.flatnonzero(suspects):
            values = as_numpy(chunk[place])
            with np.errstate(over="ignore"):
                if (values.astype(np.float32) == values).all():
                    within[place] = found[place] <= single[place]
    return within


def _resolution(chunk: Any) -> float:
    """Return the relative step of the number format that the values came in; 0 for integers, being exact."""
    if isinstance(chunk, np.ndarray):
        return float(np.finfo(chunk.dtype).eps) if chunk.dtype.kind == "f" else 0.0
    return float(torch.finfo(chunk.dtype).eps) if chunk.dtype.is_floating_point else 0.0


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


def _fitted_subset(windows: NDArray[np.int64], most: int) -> NDArray[np.intp]:
    """Return the places of at most `most` of the windows, evenly spaced in logarithm."""
    if len(windows) <= most:
        return np.arange(len(windows))
    wanted = np.geomspace(windows[0], windows[-1], most)
    places = np.searchsorted(windows[:-1] * np.sqrt(windows[1:] / windows[:-1]), wanted)
    return np.unique(places)


def _fitted(
    logarithms: Array, reason: NDArray[np.str_], grid: Grid, divided_by: tuple[float, ...] | None
) -> tuple[Array, Array, Array, Array]:
    """Return exponents and bends with their errors, where there is no reason against them."""
    alpha, error, bend, bend_error = np.full((4, len(reason)), np.nan)
    usable = np.flatnonzero(reason == "")
    if usable.size:
        white, _ = line(grid, _WHITE, divided_by)
        first = logarithms[usable] @ white.weights - white.bias
        rounded = np.rint(np.clip(first, 0.0, grid.largest) / _STEP).astype(np.int64)
        for value in np.unique(rounded):
            here = usable[rounded == value]
            slope, curvature = line(grid, float(value) * _STEP, divided_by)
            alpha[here] = logarithms[here] @ slope.weights - slope.bias
            bend[here] = logarithms[here] @ curvature.weights - curvature.bias
            error[here], bend_error[here] = slope.error, curvature.error
    return alpha, error, bend, bend_error


def _saturated(alpha: Array, error: Array, order: int) -> NDArray[np.str_]:
    """Return the reason where the order of detrending cannot tell an exponent from larger ones."""
    limit = order + 1
    text = f"alpha is at {limit}, the largest that order {order} can show"
    text += ": take a higher order" if order < 3 else ": the series is smooth"
    known = np.where(np.isfinite(alpha), alpha, 0.0)
    return np.where(known > limit - np.fmax(0.05, 2 * error), text, "")


@dataclass(frozen=True)
class Grid:
    """The windows of a measurement; what the scatter of ``ln F`` depends on, beside the exponent."""

    length: int  # values of a series
    windows: tuple[int, ...]  # the lengths that enter the fit
    order: int
    both_ends: bool
    overlap: bool

    @property
    def largest(self) -> float:
        """Largest exponent that is simulated."""
        return self.order + 1 - _MARGIN


@dataclass(frozen=True)
class _Coefficient:
    """A coefficient of the fit of ``ln F`` against ``ln n``, as one product per series."""

    weights: Array  # (windows,), of ``ln F``
    error: float  # one standard error
    bias: float  # what the bend of short windows adds


@lru_cache(maxsize=512)
def line(
    grid: Grid, alpha: float, divided_by: tuple[float, ...] | None = None
) -> tuple[_Coefficient, _Coefficient]:
    """Return slope of a straight line and curvature of a parabola where the exponent is about `alpha`.

    Notes
    -----
    Generalised least squares with C the covariance of ``ln F``, linearly interpolated between exponents 0.25
    apart. Before the fit, F is divided by `divided_by`.
    """
    alpha = min(max(alpha, _MARGIN), grid.largest)
    below = min(math.floor(alpha / _SPACING), round((grid.order + 1) / _SPACING) - 1)
    low, high = _simulated(below), _simulated(below + 1)
    share = min(max((alpha - low) / (high - low), 0.0), 1.0)
    start, start_covariance, series = log_moments(grid, low)
    end, end_covariance, _ = log_moments(grid, high)
    mean = (1 - share) * start + share * end
    covariance = (1 - share) * start_covariance + share * end_covariance
    if divided_by is not None:
        mean = mean - np.log(divided_by)
    u = np.log(grid.windows) - np.mean(np.log(grid.windows))
    slope, slope_error = _least_squares(np.vander(u, 2, increasing=True), covariance, series)
    # The slope of noise with exponent alpha grows not quite as alpha does.
    response = float(slope @ ((end - start) / (high - low)))
    slope, slope_error = slope / response, slope_error / response
    curvature, curvature_error = _least_squares(np.vander(u, 3, increasing=True), covariance, series)
    return (
        _Coefficient(slope, slope_error, float(slope @ mean) - alpha),
        _Coefficient(curvature, curvature_error, float(curvature @ mean)),
    )


def _least_squares(columns: Array, covariance: Array, series: int) -> tuple[Array, float]:
    """Return the weights ``(X^T C^-1 X)^-1 X^T C^-1`` of the last column's coefficient, and its error.

    By hand, as numpy.polyfit and numpy.linalg.lstsq know no correlated errors. As C comes from a finite
    number of series, variances grow by the factor that keeps them unbiased (Rao 1967).
    """
    solved = np.linalg.solve(covariance, columns)
    inverse = np.linalg.inv(columns.T @ solved)
    extra = columns.shape[0] - columns.shape[1]
    growth = (series - 1) / (series - 1 - extra) * (series - 2) / (series - 2 - extra)
    return (solved @ inverse)[:, -1], math.sqrt(float(inverse[-1, -1]) * growth)


def _simulated(step: int) -> float:
    """Return the exponent of a simulation: a multiple of a quarter, kept off degenerate whole numbers."""
    alpha = step * _SPACING
    return alpha if alpha % 1 else max(alpha - _MARGIN, _MARGIN)


@lru_cache(maxsize=128)
def log_moments(grid: Grid, alpha: float) -> tuple[Array, Array, int]:
    """Return mean and covariance of ``ln F`` over simulated series, and how many series they come from.

    Notes
    -----
    Below 1 the series are fractional Gaussian noise with H = alpha. Above, they are ARFIMA(0, d, 0) summed
    once for alpha in (1, 2) and twice in (2, 3), with d the rest less a half. Sampled fractional Brownian
    motion would be no straight line: with alpha just above 1 it is nearly white between neighbours. Sums of
    ARFIMA have the spectrum ``(2 sin(pi f))^-(2 alpha - 1)`` at every frequency.

    The same seeded white noise for every exponent, so the moments change smoothly with it. Four million
    values, in no fewer than 192 and no more than 2048 series. Cost: some 0.4 s up to N = 16384, 2 s for
    N = 65536 and in proportion above; remembered while the process lives.
    """
    series = min(max(_VALUES // grid.length, _FEWEST_SERIES), _MOST_SERIES)
    random = np.random.default_rng(_SEED)
    sums = math.ceil(alpha) - 1
    windows = np.array(grid.windows)

    def measured(chunk: Array) -> Array:
        for _ in range(sums):
            chunk = chunk.cumsum(axis=1)
        profile = (chunk - chunk.mean(axis=1)[:, None]).cumsum(axis=1)
        return fluctuations(profile, windows, grid.order, both_ends=grid.both_ends, overlap=grid.overlap)

    found: list[Array] = []
    block = max(1, _BLOCK // grid.length)
    for start in range(0, series, block):
        size = min(block, series - start)
        found += in_chunks(_noise(alpha, grid.length, size, random), measured, most_threads=1)
    logarithms = np.log(np.concatenate(found))
    return logarithms.mean(axis=0), np.atleast_2d(np.cov(logarithms, rowvar=False)), series


def _noise(alpha: float, length: int, size: int, random: np.random.Generator) -> Array:
    """Return what summed ``ceil(alpha) - 1`` times has the exponent."""
    if alpha < 1:
        return fractional_gaussian_noise(alpha, length, size=size, seed=random)
    return arfima(alpha - math.ceil(alpha) + 0.5, length, size=size, seed=random)


def plain(value: Any) -> Any:
    """Return an array, an estimate, a number or nested lists as JSON has them: None for NaN and infinity."""
    if isinstance(value, Estimate):
        return value.to_dict()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
