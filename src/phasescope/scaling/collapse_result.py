"""What a collapse returns: exponents, quality, and the curves before and after, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from phasescope.estimate import Estimate
from phasescope.scaling.log_data import Array


@dataclass(frozen=True)
class CollapsedCurve:
    """One curve, as measured and rescaled.

    Parameters
    ----------
    x, size, y, error : arrays of shape (points,)
        As measured: mean or typical value with its standard error.
    scaled_x, scaled_y, scaled_error : arrays of shape (points,)
        ``(x - critical) size^b`` and ``y size^a``.
    corrected_y : array of shape (points,)
        `scaled_y` without the correction term.
    """

    x: Array
    size: Array
    y: Array
    error: Array
    scaled_x: Array
    scaled_y: Array
    scaled_error: Array
    corrected_y: Array


@dataclass(frozen=True)
class Collapse:
    """Curves on one master curve; :func:`phasescope.scaling.collapse` makes it.

    Parameters
    ----------
    exponents : mapping of str to Estimate
        "a", "b" and "critical"; "c" and "omega" with a correction. Held ones have error 0.
    quality : float
        Squared distance from the common curve over what chance and interpolation lead one to expect, the
        correlations of points included: about 1 for a good collapse.
    p_value : float
        Chance of a larger `quality` if the curves do collapse.
    overlap : float
        Share of the points within the reach of another curve.
    interpolation : float
        Standard error of ``ln y`` from interpolation, already among the errors.
    curves : tuple of CollapsedCurve
        The data before and after.
    master_x, master_y : arrays of shape (200,)
        The common curve, without correction.
    reason : str
        Why the free exponents are not determined; empty where they are.
    notes : tuple of str
        What one has to know.
    """

    exponents: Mapping[str, Estimate]
    quality: float
    p_value: float
    overlap: float
    interpolation: float
    curves: tuple[CollapsedCurve, ...] = field(repr=False)
    master_x: Array = field(repr=False)
    master_y: Array = field(repr=False)
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def determined(self) -> bool:
        """Whether the exponents are."""
        return not self.reason

    def __str__(self) -> str:
        lines = ["y size^a = f((x - critical) size^b)"]
        for name, value in self.exponents.items():
            held = " (held)" if value.determined and value.error == 0 else ""
            lines.append(f"  {name} = {value}{held}")
        if math.isfinite(self.quality):
            lines.append(
                f"  quality {self.quality:.2f} (1 is chance), p = {self.p_value:.2g}, "
                f"{self.overlap:.0%} of {sum(len(curve.x) for curve in self.curves)} points overlap"
            )
        return "\n".join(lines + [f"  {note}" for note in self.notes])
