"""Detrended fluctuation analysis of a batch of series, with an exponent whose error is calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtrc, fdtri, gammaln

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.noise.fluctuation import (
    LANES,
    SHORTEST,
    WATCHED,
    as_numpy,
    checked_order,
    checked_windows,
    default_windows,
    expected_fluctuation,
    in_chunks,
    scaled_fluctuations,
    shortest_length,
    squares_by_window,
    tiled_fluctuations,
    tilings,
    white_noise_correction,
    worthwhile,
)
from phasescope.noise.generators import (
    arfima,
    arfima_autocovariance,
    fractional_autocovariance,
    fractional_gaussian_noise,
)
from phasescope.recording.memory import in_bytes
from phasescope.results import Result

Array = NDArray[np.float64]

_ROUNDING_STEPS = 4.0
_DOUBLE = float(np.finfo(np.float64).eps)
_PROFILE_ROUNDING = 64 * _DOUBLE
_PEEK = 64

_MOST_FITTED = 24
_FEWEST_FITTED = 3
_BENT = 2.58  # one straight curve in a hundred
_WHITE = 0.5

# What one window may bring of F^2: Gaussian noise brings more once in a thousand series, or in twenty.
_RARE, _SELDOM = 1e-3, 0.05
_ROUGH = 0.01  # of the curves of Gaussian noise are as rough
_SMOOTH_DEGREE = 3  # of the polynomial in ln n that a smooth curve is
_APART = 3.0  # a single value is at fault if it is so many times as far out as those beside it
_MOST_LEFT_OUT = 0.1  # of the values
_FEWEST_LEFT = 0.5  # of the windows of one length

_REAL = "biuf"
_NOT_REAL = {
    "c": "Give its real part, its imaginary part or abs(x).",
    "M": "Give the values, not their times.",
    "m": "Divide by a unit of time, as by numpy.timedelta64(1, 's').",
    "U": "Convert it, as by numpy.asarray(x, dtype=float); `phasescope dfa` reads files.",
    "O": "Convert it, as by numpy.asarray(x, dtype=float).",
}

# Memory beside x and the result: that of the simulations, and of copies of a chunk a thread.
_FIXED_BYTES = 12_000_000
_CHUNK_BYTES, _SMALL = 64, 2**16

# The simulations behind the covariance of ln F.
_SEED = 20230120
_VALUES = 2**22
_FEWEST_SERIES, _MOST_SERIES = 192, 2048
_BLOCK = 2**17  # values at a time: some ten megabytes with their spectra
_SPACING = 0.25  # between the exponents that are simulated
_STEP = 0.02  # between those that the covariance is interpolated to
# Fractional Gaussian noise with H = 1 is a constant, and its sum with H = 0 is white noise.
_MARGIN = 0.02
_EXACT_UP_TO = 512
# Longer series than the first are not simulated; those of the second length stand for them.
_DIRECT, _REFERENCE = 2**14, 2**13
_SMALL_PART = _REFERENCE // 32
_CLOSE = 1.2


@dataclass(frozen=True)
class DFA(Result):
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
    misfit : array of shape (...,)
        Share of Gaussian noise whose curve of ``ln F`` is rougher than this one: what a cubic in ``ln n``
        leaves over, against the covariance. A smooth bend is no misfit; NaN where nothing was fitted.
    robust, robust_error : array of shape (...,)
        alpha and its standard error from the windows that hold no carrier; `alpha` where there is none.
    carrier : array of int of shape (..., 2)
        First and last index of the place that carries the curve; -1 where none does.
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
    misfit: Array
    robust: Array
    robust_error: Array
    carrier: NDArray[np.int64] = field(repr=False)
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
        names += ["curvature", "curvature_error", "crossover", "misfit", "robust", "robust_error", "carrier"]
        names += ["reason"]
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
    max_memory: int | float | str | None = None,
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

    max_memory : int, float or str, optional
        Bytes that may be taken beside x and the result, or text such as "200MB". None: no limit.

    Notes
    -----
    ``y = cumsum(x - mean)``; ``F^2(n)`` is the mean over windows of squared residuals about polynomials,
    divided by n; alpha is the slope of ``ln F`` against ``ln n``, beta = 2 alpha - 1 that of the spectrum.
    White noise has alpha = 1/2, 1/f noise 1, a random walk 3/2; fractional Gaussian noise has alpha = H.

    The line is fitted by generalised least squares with the covariance of ``ln F``: of white noise first,
    then once more at the exponent found, from simulated fractional Gaussian noise (alpha below 1) or sums
    of ARFIMA(0, d, 0) (above 1). What short windows add to the slope of such noise (0.01 for white noise)
    is taken off. Between 1/2 and 1 the mean of fractional Gaussian noise and ARFIMA is taken off, and half
    of their difference counts as an error, since the series may be either. So `alpha_error` is the scatter
    of Gaussian noise with that exponent and this length, and a 95 % interval is alpha +- 1.96 errors. At
    most 24 of the windows enter the fit. `crossover` marks a curve bent beyond what one straight one in a
    hundred shows: then there is no one exponent, and alpha describes these windows only.

    One value can make a curve of its own. In Gaussian noise the largest window of the two shortest lengths
    brings more of F^2 than an F distribution allows in fewer than one series of 1000 (of 20 where `misfit`
    is below 0.01). Where one does, the windows that hold its values are left out, and so on. If alpha then
    moves by half an error, or `misfit` is below 0.01, it is withheld: `carrier` names the place, `robust` is
    what alpha is without. Bends, short memory and values that saturate are no such thing.

    A series without an exponent gets alpha = NaN and a `reason`: values that are not finite, a constant, two
    values only, fluctuations within rounding (idle units, polynomials of degree below the order), too short,
    fewer than 3 windows, a place that carries the curve, or an exponent at a limit: order + 1, or 0, where
    the sum of the series shows it. An `InputError` tells input that is of no use as a whole: empty, complex,
    dates, text, arrays of other libraries, time on another axis than the last, an unknown order, windows out
    of range. A `MemoryLimitError` tells that one series does not fit into `max_memory`.

    Fails: short memory can look like 1/f noise in windows shorter than about 30 times the memory, without a
    significant bend in a short series; compare with an autoregressive null. The error knows nothing of steps
    of the level or trends of degree above order - 1, and for alpha below 1/2 is that of fractional Gaussian
    noise only: ARFIMA with d = -0.3 reads 0.26.

    Cost: some 0.1 ms for 4096 values and 16 windows, on as many threads as torch has; less than half of that
    for large batches on the CPU where numba is installed (the extra ``fast``), which compiles once for good,
    in some 2 s; 3 to 20 ms more for a series in which a place is looked for. Memory beside x and the result:
    some 10 MB, and 256 bytes a time step of long series and thread, 512 where x is not in double precision;
    within `max_memory` fewer threads, or no compiled code. The first call for a length simulates two or three
    exponents, together a second; remembered afterwards. Beyond 16384 values they follow from shorter series,
    as noise with one exponent looks the same at all scales, unless windows lie closer than a factor of 1.2.
    Source: Peng et al., Phys. Rev. E 49, 1685 (1994); Kantelhardt et al., Physica A 295, 441 (2001); the fit
    and the search for places are derived here.

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
    compiled, threads = _within(max_memory, series, compiled)
    tiling = {"both_ends": both_ends, "overlap": overlap}
    parts = in_chunks(
        series,
        lambda chunk: _measured(chunk, lengths, order, **tiling, compiled=compiled),
        most_threads=threads,
        multiple=LANES if compiled else 1,
    )
    fluctuation, reason, share = (np.concatenate(some) for some in zip(*parts, strict=True))
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
    alpha, error, bend, bend_error, misfit = _fitted(logarithms[:, chosen], reason, grid, divided_by)
    carried, carrier = reason.tolist(), np.full((len(reason), 2), -1)
    robust, robust_error = alpha.copy(), error.copy()
    for place in _suspects(share, misfit, reason, grid):
        found = _carriers(_as_float64(series[place]), misfit[place], grid, divided_by)
        if found is not None and found.matters(alpha[place], error[place], misfit[place]):
            carried[place], carrier[place] = found.reason, found.place
            robust[place], robust_error[place] = found.alpha, found.error
    reason = np.asarray(carried)
    limits = _at_a_limit(alpha, error, order)
    beyond = (reason == "") & (limits != "")
    robust[beyond] = robust_error[beyond] = np.nan
    reason = np.where(reason == "", limits, reason)
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
        misfit=misfit.reshape(shape),
        robust=robust.reshape(shape),
        robust_error=robust_error.reshape(shape),
        carrier=carrier.reshape(*shape, 2),
        reason=reason.reshape(shape),
    )


def _as_float64(series: Any) -> Array:
    return np.asarray(series if isinstance(series, np.ndarray) else series.double().cpu(), dtype=np.float64)


def _within(max_memory: float | str | None, series: Any, compiled: bool) -> tuple[bool, int]:
    """Return whether compiled code fits into the memory allowed, and how many threads do."""
    threads, length = torch.get_num_threads(), series.shape[1]
    if max_memory is None:
        return compiled, threads
    # Lanes of profiles, and of the values where they come in another format; chunks and their windows.
    lanes = 8 * LANES * length * (1 if series.dtype == np.float64 else 2)
    chunk = _CHUNK_BYTES * max(length, _SMALL)
    limit = in_bytes(max_memory)
    spare = limit - _FIXED_BYTES
    compiled = compiled and lanes <= spare
    each = lanes if compiled else chunk
    if each > spare:
        raise MemoryLimitError(
            f"One series of {length} values takes {(each + _FIXED_BYTES) / 1e6:.1f} MB beside itself, more "
            f"than max_memory = {limit / 1e6:.1f} MB. Raise max_memory, or measure a part of the series."
        )
    return compiled, min(threads, spare // each)


def _checked_series(x: ArrayLike | torch.Tensor, order: int) -> Any:
    """Return real numbers of at least one axis: an array on the CPU, a tensor elsewhere."""
    given: Any
    if isinstance(x, torch.Tensor):
        if x.is_nested or x.is_meta:
            raise InputError(
                "x is a nested tensor, or one without values.", "Give one tensor, or its series one by one."
            )
        if x.layout != torch.strided or x.is_quantized:
            raise InputError(f"x is a {x.layout} of {x.dtype}.", "Give x.to_dense() or x.dequantize().")
        given = x.detach()
        if given.device.type == "cpu" and given.dtype not in (torch.bfloat16, torch.float16):
            given = given.resolve_conj().resolve_neg().numpy()
    else:
        given = _as_array(x)
    kind = given.dtype.kind if isinstance(given, np.ndarray) else "c" if given.is_complex() else "f"
    if kind not in _REAL:
        what = str(getattr(x, "dtype", given.dtype))
        if what == "object" and given.size:
            what = f"objects ({type(given.flat[0]).__name__})"
        raise InputError(f"x holds {what}, no real numbers.", _NOT_REAL.get(kind, _NOT_REAL["O"]))
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


def _as_array(x: Any) -> NDArray[Any]:
    """Return lists, arrays, pandas and xarray objects as an array; masked and missing values are NaN."""
    kind = type(x)
    root = kind.__module__.partition(".")[0]
    if isinstance(x, np.ma.MaskedArray) and x.dtype.kind in _REAL:
        return np.ma.filled(x.astype(np.float64), np.nan)
    if not isinstance(x, np.ndarray | np.generic) and root not in ("builtins", "array", "pandas", "xarray"):
        raise InputError(
            f"x is a {root} {kind.__name__}.",
            "Give a numpy array, a torch tensor or a pandas Series, as x.to_numpy() or numpy.asarray(x).",
        )
    if root == "pandas" and getattr(getattr(x, "dtype", None), "kind", "") in _REAL:
        return np.asarray(x.to_numpy(dtype=np.float64, na_value=np.nan))
    try:
        return np.asarray(x)
    except ValueError as reason:
        raise InputError("x holds series of different lengths.", "Measure them one by one.") from reason
    except TypeError as reason:
        raise InputError(f"x is a {root} {kind.__name__}.", "Give one of its variables.") from reason


def _measured(
    chunk: Any, windows: NDArray[np.int64], order: int, *, both_ends: bool, overlap: bool, compiled: bool
) -> tuple[Array, NDArray[np.str_], Array]:
    """Return F(n) in the unit of x, NaN for series that are not finite, and a reason for each unusable one.

    The last are the shares of F^2 that one window brings, at each of the first lengths.

    Every series is divided by its own range first, so its unit plays no part. Shapes: `chunk` (series, time).
    """
    xp: Any = np if isinstance(chunk, np.ndarray) else torch
    with np.errstate(over="ignore", invalid="ignore"):
        x = chunk.astype(np.float64, copy=False) if xp is np else chunk.to(torch.float64)
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
    found, highest, share = scaled_fluctuations(
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
    return found, reason, share


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
) -> tuple[Array, Array, Array, Array, Array]:
    """Return exponents and bends with their errors, and the misfit, where there is no reason against them."""
    alpha, error, bend, bend_error, misfit = np.full((5, len(reason)), np.nan)
    usable = np.flatnonzero(reason == "")
    if usable.size:
        white = line(grid, _WHITE, divided_by)
        first = logarithms[usable] @ white.slope.weights - white.slope.bias
        rounded = np.rint(np.clip(first, 0.0, grid.largest) / _STEP).astype(np.int64)
        for value in np.unique(rounded):
            here = usable[rounded == value]
            fit = line(grid, float(value) * _STEP, divided_by)
            alpha[here] = logarithms[here] @ fit.slope.weights - fit.slope.bias
            bend[here] = logarithms[here] @ fit.curvature.weights - fit.curvature.bias
            error[here], bend_error[here] = fit.slope.error, fit.curvature.error
            misfit[here] = fit.misfit(logarithms[here])
    return alpha, error, bend, bend_error, misfit


def _suspects(share: Array, misfit: Array, reason: NDArray[np.str_], grid: Grid) -> NDArray[np.intp]:
    """Return the series in which one of the shortest windows brings more than those of Gaussian noise do."""
    rows = (2 if grid.both_ends else 1) * (2 if grid.overlap else 1)
    suspect = np.zeros(len(reason), dtype=bool)
    for place, window in enumerate(grid.windows[: share.shape[1]]):
        count = grid.length // window
        # The share of one window over the mean of those that do not hold its values.
        ratio = share[:, place] * rows * count / np.maximum(1 - rows * share[:, place], 1e-9)
        suspect |= ratio > _largest_ratio(_RARE, rows * count, count)
        suspect |= (ratio > _largest_ratio(_SELDOM, rows * count, count)) & (misfit < _ROUGH)
    return np.flatnonzero(suspect & (reason == ""))


def _largest_ratio(chance: float, windows: int, independent: int) -> float:
    """Return what the largest of the windows' squares over the mean of the others exceeds by chance.

    A window's sum of squares is that of some Gaussian numbers; a single one has the longest tail.
    """
    return float(fdtri(1, max(independent - 1, 1), 1 - chance / windows)) if windows else math.inf


@dataclass(frozen=True)
class _Carried:
    """The places that carry a curve, and the exponent of the windows that hold none of them."""

    place: tuple[int, int]  # first and last value of the strongest
    what: str
    alpha: float
    error: float

    def matters(self, alpha: float, error: float, misfit: float) -> bool:
        """Whether the exponent differs without them, or the curve is rougher than that of Gaussian noise."""
        unknown = not math.isfinite(self.alpha)
        return bool(unknown or abs(alpha - self.alpha) > error / 2 or misfit < _ROUGH)

    @property
    def reason(self) -> str:
        known = (
            f"alpha = {Estimate(self.alpha, self.error, '', 1)}"
            if math.isfinite(self.alpha)
            else "no exponent"
        )
        return f"{self.what}; without, {known}"


def _carriers(x: Array, misfit: float, grid: Grid, divided_by: tuple[float, ...] | None) -> _Carried | None:
    """Return the values whose windows bring more of F^2 than Gaussian noise lets one, or None.

    The shortest windows name them, one after the other; the curve without them is that of all windows that
    hold none.
    """
    half = np.ptp(x / 2)
    centred = x / half - (x / half).mean()
    profile = centred.cumsum()
    chance = _SELDOM if misfit < _ROUGH else _RARE
    out = np.zeros(grid.length, dtype=bool)
    places: list[tuple[float, int, int, int]] = []
    for window in grid.windows[:WATCHED]:
        starts, squares = squares_by_window(
            profile, window, grid.order, both_ends=grid.both_ends, overlap=grid.overlap
        )
        bound = _largest_ratio(chance, len(starts), grid.length // window)
        free = ~_touched(out, starts, window)
        whole = squares.sum()
        while out.mean() < _MOST_LEFT_OUT:
            top = int(np.where(free, squares, -1.0).argmax())
            others = free & (np.abs(starts - starts[top]) >= window)
            if not others.any() or squares[top] <= bound * squares[others].mean():
                break
            first, last = _within_window(centred, int(starts[top]), window)
            out[first : last + 1] = True
            here = _touched(out, starts, window) & free
            places.append((float(squares[here].sum() / whole), window, first, last))
            free &= ~here
    if not places:
        return None
    alpha, error = _without(profile, out, grid, divided_by)
    share, window, first, last = max(places)
    far = first + int(np.abs(x[first : last + 1] - np.median(x)).argmax())
    where = f"the value {x[far]:.5g} at index {far}"
    if first < last:
        where = f"the values from index {first} to {last} (one is {x[far]:.5g})"
    what = f"{where} carries the curve" if first == last else f"{where} carry the curve"
    if len(places) > 1:
        what = f"{len(places)} places carry the curve, most of all {where}"
    what += f": {100 * share:.0f} % of F^2 in windows of {window}"
    return _Carried((first, last), what, alpha, error)


def _touched(out: NDArray[np.bool_], starts: NDArray[np.int64], window: int) -> NDArray[np.bool_]:
    """Return which windows hold a value that is `out`."""
    before = np.concatenate([[0], np.cumsum(out)])
    return np.asarray(before[starts + window] > before[starts])


def _within_window(x: Array, start: int, window: int) -> tuple[int, int]:
    """Return first and last index of what is at fault: one value far out among the others, or all."""
    inside = x[start : start + window]
    away = np.abs(inside - np.median(inside))
    second, first = np.argsort(away)[-2:]
    if away[first] > _APART * away[second]:
        return start + int(first), start + int(first)
    return start, start + window - 1


def _without(
    profile: Array, out: NDArray[np.bool_], grid: Grid, divided_by: tuple[float, ...] | None
) -> tuple[float, float]:
    """Return alpha and its error from the windows without a value that is `out`; NaN if too few are left."""
    logarithms, kept = np.full((2, len(grid.windows)), np.nan)
    for place, window in enumerate(grid.windows):
        starts, squares = squares_by_window(
            profile, window, grid.order, both_ends=grid.both_ends, overlap=grid.overlap
        )
        clean = ~_touched(out, starts, window)
        kept[place] = clean.mean()
        if kept[place] >= _FEWEST_LEFT:
            logarithms[place] = np.log(squares[clean].mean() / window) / 2
    if divided_by is not None:
        logarithms -= np.log(divided_by)
    some = np.isfinite(logarithms)
    if some.sum() < _FEWEST_FITTED:
        return math.nan, math.nan
    alpha, error = _WHITE, math.nan
    for _ in range(3):
        moments = _moments(grid, round(min(max(alpha, 0.0), grid.largest) / _STEP) * _STEP, divided_by)
        # Fewer windows scatter more.
        fit = moments.restricted(some, 1 / np.sqrt(kept[some])).slope()
        alpha, error = float(logarithms[some] @ fit.weights) - fit.bias, fit.error
    beyond = _at_a_limit(np.array([alpha]), np.array([error]), grid.order)[0] != ""
    return (math.nan, math.nan) if beyond else (alpha, error)


def _at_a_limit(alpha: Array, error: Array, order: int) -> NDArray[np.str_]:
    """Return the reason where an exponent cannot be told from larger or from smaller ones."""
    low = "alpha is at 0, the smallest that DFA can show: sum the series first, and take 1 off its alpha"
    limit = order + 1
    high = f"alpha is at {limit}, the largest that order {order} can show"
    high += ": take a higher order" if order < 3 else ": the series is smooth"
    known, margin = np.where(np.isfinite(alpha), alpha, 0.5), np.fmax(0.05, 2 * error)
    return np.where(known > limit - margin, high, np.where(known < margin, low, ""))


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


@dataclass(frozen=True)
class _Line:
    """What is read from the curves of series whose exponents are about the same."""

    slope: _Coefficient  # of a straight line
    curvature: _Coefficient  # of a parabola
    mean: Array  # (windows,), of ``ln F``
    roughness: Array  # (windows, degrees of freedom), of unit variance each for noise
    series: int  # that the variances come from

    def misfit(self, logarithms: Array) -> Array:
        """Return the share of Gaussian noise whose curves are rougher, by Hotelling's T^2."""
        if not self.roughness.shape[1]:
            return np.full(len(logarithms), np.nan)
        squared = (((logarithms - self.mean) @ self.roughness) ** 2).sum(axis=1)
        count, left = self.roughness.shape[1], self.series - self.roughness.shape[1]
        squared *= left / ((self.series - 1) * count) * self.series / (self.series + 1)
        return np.asarray(fdtrc(count, left, squared))


@dataclass(frozen=True)
class _Moments:
    """Mean and covariance of ``ln F`` of noise with one exponent, at some windows."""

    alpha: float
    u: Array  # ``ln n``
    mean: Array
    covariance: Array
    response: Array  # by how much the mean grows with alpha
    series: int  # that the covariance comes from

    def restricted(self, some: NDArray[np.bool_], wider: Array) -> _Moments:
        """Return those of some of the windows, with standard deviations `wider` times as large."""
        covariance = self.covariance[np.ix_(some, some)] * np.outer(wider, wider)
        return _Moments(
            self.alpha, self.u[some], self.mean[some], covariance, self.response[some], self.series
        )

    def slope(self) -> _Coefficient:
        """Return the slope of a straight line."""
        weights, error = _least_squares(self._columns(1), self.covariance, self.series)
        # The slope of noise with exponent alpha grows not quite as alpha does.
        response = float(weights @ self.response)
        weights = weights / response
        return _Coefficient(weights, error / response, float(weights @ self.mean) - self.alpha)

    def curvature(self) -> _Coefficient:
        """Return the curvature of a parabola."""
        weights, error = _least_squares(self._columns(2), self.covariance, self.series)
        return _Coefficient(weights, error, float(weights @ self.mean))

    def roughness(self) -> Array:
        """Return what a smooth curve leaves over, in units of its scatter, shape (windows, degrees)."""
        smooth = self._columns(min(_SMOOTH_DEGREE, len(self.u) - 2))
        beyond = np.linalg.qr(smooth, mode="complete")[0][:, smooth.shape[1] :]
        scatter = np.linalg.cholesky(beyond.T @ self.covariance @ beyond)
        return np.asarray(np.linalg.solve(scatter, beyond.T).T)

    def _columns(self, degree: int) -> Array:
        return np.vander(self.u - self.u.mean(), degree + 1, increasing=True)


@lru_cache(maxsize=512)
def line(grid: Grid, alpha: float, divided_by: tuple[float, ...] | None = None) -> _Line:
    """Return what is fitted where the exponent is about `alpha`; F is divided by `divided_by` before."""
    moments = _moments(grid, alpha, divided_by)
    return _Line(moments.slope(), moments.curvature(), moments.mean, moments.roughness(), moments.series)


def _moments(grid: Grid, alpha: float, divided_by: tuple[float, ...] | None) -> _Moments:
    """Return the moments of ``ln F``, linearly interpolated between exponents 0.25 apart.

    Noises with one exponent differ at short windows. The mean lies between fractional Gaussian noise and
    ARFIMA(0, d, 0), and half their difference is one more standard deviation.
    """
    alpha = min(max(alpha, _MARGIN), grid.largest)
    below = min(math.floor(alpha / _SPACING), round((grid.order + 1) / _SPACING) - 1)
    low, high = _simulated(below), _simulated(below + 1)
    share = min(max((alpha - low) / (high - low), 0.0), 1.0)
    start, start_covariance, series = log_moments(grid, low)
    end, end_covariance, _ = log_moments(grid, high)
    half = _arfima_excess(grid.windows, grid.order, alpha) / 2
    mean = (1 - share) * start + share * end + half
    covariance = (1 - share) * start_covariance + share * end_covariance + np.outer(half, half)
    if divided_by is not None:
        mean = mean - np.log(divided_by)
    return _Moments(alpha, np.log(grid.windows), mean, covariance, (end - start) / (high - low), series)


def _arfima_excess(windows: tuple[int, ...], order: int, alpha: float) -> Array:
    """Return ``ln F`` of ARFIMA less that of fractional Gaussian noise, where both agree at long windows.

    It is exact up to windows of 512 and falls as n^-2 alpha beyond. Above alpha = 1, where the reference is
    summed ARFIMA, it fades out. Below 1/2 it is nothing: there it would leave the exponent open.
    """
    if alpha <= _WHITE:
        return np.zeros(len(windows))
    last = 1 - _MARGIN
    h = min(alpha, last)
    d = h - 0.5
    near = np.minimum(windows, _EXACT_UP_TO)
    lengths, places = np.unique(near, return_inverse=True)
    lags = np.arange(lengths[-1])
    gaussian = np.log(expected_fluctuation(fractional_autocovariance(h, lags), lengths, order))
    excess = np.log(expected_fluctuation(arfima_autocovariance(d, lags), lengths, order)) - gaussian
    # The ratio of both autocovariances at long lags.
    excess -= (gammaln(1 - d) - gammaln(1 + d) - math.log(2 * h)) / 2
    fading = min(1.0, max(0.0, 1 - (alpha - last) / _SPACING))
    return np.asarray(fading * excess[places] * (near / np.array(windows)) ** (2 * h))


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
    values, in no fewer than 192 and no more than 2048 series. Cost: some 0.4 s; remembered while the process
    lives. Series longer than 16384 values follow from shorter ones, unless their windows lie closer than a
    factor of 1.2.
    """
    if grid.length > _DIRECT and min(np.divide(grid.windows[1:], grid.windows[:-1])) > _CLOSE:
        return _rescaled(grid, alpha)
    return simulated_moments(grid, alpha)


def _rescaled(grid: Grid, alpha: float) -> tuple[Array, Array, int]:
    """Return the moments of ``ln F`` of a long series from those of one of 8192 values.

    Noise with one exponent looks the same at all scales: the covariance of ``ln F`` at windows n and m of N
    values is that at cn and cm of cN. Where cN is more than 8192 although m is a small part of it, the
    covariance goes with the number of windows, as 1/N; for alpha beyond p + 3/4 as N^-4(p + 1 - alpha),
    with p the order, as there the lowest frequencies count. Where cn is too short for a window, the
    correlation is that of the shortest times a power of n: the spectra of both residuals overlap as
    ``(n/m)^(1/2 + 2 alpha)`` or ``(n/m)^(2 p + 3/2 - 2 alpha)``, whichever is larger.
    """
    p, windows = grid.order, np.array(grid.windows)
    full = _REFERENCE / grid.length
    steps = np.ceil(np.log(np.maximum(windows / _SMALL_PART, 1.0)) / math.log(4))
    shrink = np.maximum(4.0**-steps, full)  # c of the pairs in which a window is the longer one
    # A window, and where its rows begin as shares of it: rows side by side scatter less than one.
    shrunk: dict[float, list[tuple[int, tuple[int, ...]]]] = {}
    for c in np.unique(shrink):
        shrunk[c] = []
        for window in grid.windows:
            n = window if c == 1 else max(round(window * c), SHORTEST[p])
            rows = tilings(grid.length, window, both_ends=grid.both_ends, overlap=grid.overlap)
            firsts = {round(first % window / window * n) % n for first, _ in rows}
            shrunk[c].append((n, tuple(sorted(firsts))))
    needed = tuple(sorted({key for place, c in enumerate(shrink) for key in shrunk[c][: place + 1]}))
    means, covariances, series = _simulation(_REFERENCE, needed, p, alpha)
    spread = np.sqrt(np.diag(covariances))
    correlation, deviation, mean = np.eye(len(windows)), np.empty(len(windows)), np.empty(len(windows))
    power = max(0.0, min(0.5 + 2 * alpha, 2 * p + 1.5 - 2 * alpha))
    shared = min(1.0, 4 * (p + 1 - alpha))
    for place, c in enumerate(shrink):
        places = [needed.index(key) for key in shrunk[c][: place + 1]]
        row = places[-1]
        faded = 1.0 if c == 1 else np.minimum(windows[: place + 1] * c / SHORTEST[p], 1.0) ** power
        correlation[place, : place + 1] = faded * covariances[places, row] / (spread[places] * spread[row])
        deviation[place] = spread[row] * (full / c) ** (shared / 2)
        # The logarithm of a mean that scatters is too small by its variance.
        mean[place] = means[row] + spread[row] ** 2 if c == 1 else mean[place - 1] if place else 0.0
        if c < 1 and place:
            mean[place] += alpha * math.log(windows[place] / windows[place - 1])
    correlation = np.maximum(correlation, correlation.T)
    return mean - deviation**2, correlation * np.outer(deviation, deviation), series


def simulated_moments(grid: Grid, alpha: float) -> tuple[Array, Array, int]:
    """Return the moments of ``ln F`` over simulated series of the whole length."""
    tiling = {"both_ends": grid.both_ends, "overlap": grid.overlap}
    wanted = []
    for window in grid.windows:
        rows = tilings(grid.length, window, **tiling)
        wanted.append((window, tuple(first for first, _ in rows)))
    return _simulation(grid.length, tuple(wanted), grid.order, alpha)


def _simulation(
    length: int, wanted: tuple[tuple[int, tuple[int, ...]], ...], order: int, alpha: float
) -> tuple[Array, Array, int]:
    """Return the moments of ``ln F`` at windows, each with the first values of its rows."""
    series = min(max(_VALUES // length, _FEWEST_SERIES), _MOST_SERIES)
    random = np.random.default_rng(_SEED)
    sums = math.ceil(alpha) - 1
    windows = np.array([window for window, _ in wanted])
    tiled = [[(first, (length - first) // n) for first in firsts] for n, firsts in wanted]

    def measured(chunk: Array) -> Array:
        for _ in range(sums):
            chunk = chunk.cumsum(axis=1)
        profile = (chunk - chunk.mean(axis=1)[:, None]).cumsum(axis=1)
        return tiled_fluctuations(profile, windows, order, tiled)[0]

    found: list[Array] = []
    block = max(1, _BLOCK // length)
    for start in range(0, series, block):
        size = min(block, series - start)
        found += in_chunks(_noise(alpha, length, size, random), measured, most_threads=1)
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
