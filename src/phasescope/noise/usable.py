"""Fluctuation functions of one chunk of series, and why some of them carry no exponent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from phasescope.noise.compiled import compiled_fluctuations
from phasescope.noise.expected import white_noise_correction
from phasescope.noise.fluctuation import scaled_fluctuations

Array = NDArray[np.float64]
_ROUNDING_STEPS = 4.0
_PROFILE_ROUNDING = 64 * np.finfo(np.float64).eps
_PEEK = 64


def measured_chunk(
    chunk: Any,
    windows: NDArray[np.int64],
    order: int,
    *,
    both_ends: bool,
    overlap: bool,
    compiled: bool = False,
) -> tuple[Array, NDArray[np.str_]]:
    """Return F(n) in the unit of x, NaN for series that are not finite, and a reason for each unusable one.

    Notes
    -----
    Every series is divided by its own range first, so its unit plays no part. Fluctuations are within
    rounding where F(n) is below that of white noise as large as 4 steps of the number format at the largest
    value, or below what rounding leaves of the profile; a series in double precision that fits single
    precision exactly is judged by the latter.

    Shapes: `chunk` (series, time).
    """
    xp: Any = np if isinstance(chunk, np.ndarray) else torch
    x = chunk.astype(np.float64, copy=False) if xp is np else chunk.to(torch.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(1)
    bad = np.zeros(len(x), dtype=np.int64)
    # A mean is not finite where a value is not, or where the sum overflows.
    if not bool(xp.isfinite(mean).all()):
        finite = xp.isfinite(x)
        bad = _numpy((~finite).sum(1))
        x = xp.where(finite.all(1)[:, None], x, 0.0)
    low, high = xp.amin(x, 1), xp.amax(x, 1)
    # Halved, as the range of the largest floats overflows.
    half = high / 2 - low / 2
    centre = xp.where(xp.isfinite(mean), mean, low / 2 + high / 2)
    scale = xp.where(half > 0, half, 1.0)
    kernel = compiled_fluctuations if compiled else scaled_fluctuations
    found, highest = kernel(x, centre, scale, windows, order, both_ends=both_ends, overlap=overlap)
    half_range = _numpy(half)
    largest = _numpy(xp.maximum(abs(low), abs(high)))
    reason = np.full(len(found), "", dtype="<U200")
    for place in np.flatnonzero(half_range == 0):
        reason[place] = "constant"
    for place in _two_valued(x, low, high, half_range > 0):
        reason[place] = "only two values"
    for row, window in _rounded(found, chunk, half_range, largest, highest, windows, order):
        if not reason[row]:
            reason[row] = (
                f"fluctuations in windows of {window} are within rounding: idle, or a polynomial of degree "
                f"below {order}"
            )
    for place in np.flatnonzero(bad):
        reason[place] = f"{bad[place]} of {chunk.shape[1]} values are not finite"
    found *= half_range[:, None]
    found[bad > 0] = np.nan
    return found, reason


def _two_valued(x: Any, low: Any, high: Any, varied: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the series that only take their smallest and their largest value."""
    first = x[:, :_PEEK]
    suspects = _numpy(((first == low[:, None]) | (first == high[:, None])).all(1)) & varied
    places = np.flatnonzero(suspects)
    if not places.size:
        return places
    some = x[places]
    return np.asarray(
        places[_numpy(((some == low[places][:, None]) | (some == high[places][:, None])).all(1))]
    )


def _rounded(
    found: Array,
    chunk: Any,
    half_range: Array,
    largest: Array,
    highest: Array,
    windows: NDArray[np.int64],
    order: int,
) -> list[tuple[int, int]]:
    """Return series and window where what is left after detrending is rounding."""
    if not len(windows):
        return []
    p = order
    white = np.sqrt((p + 1) * windows / (2 * (2 * p + 1) * (2 * p + 3))) * white_noise_correction(windows, p)
    step = _ROUNDING_STEPS * (largest / np.where(half_range > 0, half_range, 1.0))[:, None] * white
    below = _PROFILE_ROUNDING * highest[:, None]
    limit = np.maximum(step * _resolution(chunk), below)
    within = (found <= limit) & (half_range > 0)[:, None]
    if _resolution(chunk) == np.finfo(np.float64).eps and _is_float(chunk):
        single = np.finfo(np.float32).eps
        suspects = np.flatnonzero((found <= np.maximum(step * single, below)).any(1) & ~within.any(1))
        for place in suspects:
            values = np.asarray(_numpy(chunk[place]))
            with np.errstate(over="ignore"):
                if (values.astype(np.float32) == values).all():
                    within[place] = found[place] <= step[place] * single
    return [(int(place), int(windows[within[place].argmax()])) for place in np.flatnonzero(within.any(1))]


def _resolution(chunk: Any) -> float:
    """Return the relative step of the number format that the values came in; integers are exact."""
    if not _is_float(chunk):
        return float(np.finfo(np.float64).eps)
    return float(np.finfo(chunk.dtype).eps if isinstance(chunk, np.ndarray) else torch.finfo(chunk.dtype).eps)


def _is_float(chunk: Any) -> bool:
    return bool(chunk.dtype.kind == "f" if isinstance(chunk, np.ndarray) else chunk.dtype.is_floating_point)


def _numpy(values: Any) -> NDArray[Any]:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
