"""What a detrended fluctuation analysis returns."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasescope.estimate import Estimate

Array = NDArray[np.float64]


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
        arrays = {
            "windows": self.windows,
            "fluctuation": self.fluctuation,
            "alpha": self.alpha,
            "alpha_error": self.alpha_error,
            "beta": self.beta,
            "beta_error": self.beta_error,
            "local_slopes": self.local_slopes,
            "curvature": self.curvature,
            "curvature_error": self.curvature_error,
            "crossover": self.crossover,
            "reason": self.reason,
        }
        values = {name: plain(array.tolist()) for name, array in arrays.items()}
        return {"order": self.order, "length": self.length, **values}

    def __str__(self) -> str:
        head = f"DFA{self.order} of {self.length} values"
        if len(self.windows):
            head += f", {len(self.windows)} windows from {self.windows[0]} to {self.windows[-1]}"
        if self.alpha.ndim == 0:
            estimate = self.estimate()
            if not estimate.determined:
                return f"{head}: {estimate}"
            bent = "; crossover: no one exponent" if self.crossover else ""
            beta = Estimate(float(self.beta), float(self.beta_error), estimate.method, 1)
            return f"{head}: alpha = {estimate}, beta = {beta}{bent}"
        here = self.alpha[self.reason == ""]
        head += f": {here.size} of {self.alpha.size} series determined"
        if here.size:
            low, middle, high = np.quantile(here, [0.16, 0.5, 0.84])
            head += f", alpha = {middle:.3f} (68 % of the series in {low:.3f} to {high:.3f}), "
            head += f"crossover in {int(self.crossover.sum())}"
        return head


def plain(value: Any) -> Any:
    """Return a number or nested lists of them with None in place of NaN and infinity."""
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
