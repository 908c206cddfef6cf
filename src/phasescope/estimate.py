"""One measured number with its error, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error and how it was obtained; or "not determined" with the reason.

    Arithmetic carries the error: ``-a``, ``a + 1``, ``a - 1``, ``1 - a``, ``2 * a``, ``a / 2``, ``1 / a`` (to
    first order), and ``a + b`` and ``a - b`` of two estimates that are independent. What is not determined
    stays so.

    Parameters
    ----------
    value : float
        The estimate; ``nan`` where it is not determined.
    error : float
        One standard error, in the unit of `value`, unless `method` says otherwise.
    method : str
        How it was obtained, in a few words.
    n : int
        Number of independent samples behind it.
    window : tuple of float or None
        The range over which a fit was made, in the unit of its abscissa.
    reason : str
        Why there is no value; empty where there is one.

    Examples
    --------
    >>> print(Estimate(0.28213, 0.01134, method="fit", n=12))
    0.282 ± 0.011
    >>> print(Estimate.not_determined("3 layers are too few for a fit"))
    not determined: 3 layers are too few for a fit
    >>> a, b = Estimate(2.0, 0.03, "fit", 9), Estimate(1.5, 0.04, "fit", 8)
    >>> print(a - b, "|", 1 / a, "|", 2 * a)
    0.500 ± 0.050 | 0.5000 ± 0.0075 | 4.000 ± 0.060
    >>> print(f"{a:.1f}", float(a), a.agrees(1.95), a.above(b))
    2.0 ± 0.0 2.0 True True
    """

    value: float
    error: float
    method: str
    n: int
    window: tuple[float, float] | None = None
    reason: str = ""

    @classmethod
    def not_determined(cls, reason: str, *, method: str = "", n: int = 0) -> Estimate:
        """Return an estimate without a value, and why it has none."""
        return cls(math.nan, math.nan, method, n, None, reason)

    @classmethod
    def from_samples(cls, samples: Sequence[float] | np.ndarray, *, method: str = "mean") -> Estimate:
        """Return the mean of independent samples with its standard error ``std / sqrt(n)``.

        Parameters
        ----------
        samples : array of shape (n,)
            Independent values; at least two, all finite, otherwise the estimate is not determined.
        method : str
            What the samples are.
        """
        values = np.asarray(samples, dtype=np.float64).ravel()
        if values.size < 2:
            return cls.not_determined(
                f"{values.size} sample(s), at least 2 needed", method=method, n=values.size
            )
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            return cls.not_determined(
                f"{bad} of {values.size} samples are not finite", method=method, n=values.size
            )
        return cls(
            float(values.mean()), float(values.std(ddof=1) / math.sqrt(values.size)), method, int(values.size)
        )

    @property
    def determined(self) -> bool:
        """Whether there is a value."""
        return not self.reason

    def __neg__(self) -> Estimate:
        return replace(self, value=-self.value)

    def __add__(self, other: float | Estimate) -> Estimate:
        if not isinstance(other, Estimate):
            return replace(self, value=self.value + other)
        return self._with_independent(other, self.value + other.value, "sum")

    __radd__ = __add__

    def __sub__(self, other: float | Estimate) -> Estimate:
        if not isinstance(other, Estimate):
            return replace(self, value=self.value - other)
        return self._with_independent(other, self.value - other.value, "difference")

    def __rsub__(self, known: float) -> Estimate:
        return replace(self, value=known - self.value)

    def __mul__(self, known: float) -> Estimate:
        factor = _number(known)
        return replace(self, value=self.value * factor, error=self.error * abs(factor))

    __rmul__ = __mul__

    def __truediv__(self, known: float) -> Estimate:
        divisor = _number(known)
        return replace(self, value=self.value / divisor, error=self.error / abs(divisor))

    def __rtruediv__(self, known: float) -> Estimate:
        if self.value == 0:
            return replace(self, value=math.nan, error=math.nan, reason="division by an estimate of zero")
        return replace(self, value=known / self.value, error=abs(known) * self.error / self.value**2)

    def _with_independent(self, other: Estimate, value: float, method: str) -> Estimate:
        for one in (self, other):
            if not one.determined:
                return one
        return Estimate(value, math.hypot(self.error, other.error), method, min(self.n, other.n))

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, spec: str) -> str:
        if not spec or not self.determined:
            return format(str(self), spec if spec.strip("<>^0123456789") == "" else "")
        return f"{self.value:{spec}} ± {self.error:{spec}}"

    def deviation(self, expected: float | Estimate) -> float:
        """Return how many standard errors the value lies above what is expected; NaN where undetermined.

        Parameters
        ----------
        expected : float or Estimate
            A known number, or an independent estimate, whose error then counts as well.
        """
        error = math.hypot(self.error, expected.error) if isinstance(expected, Estimate) else self.error
        distance = self.value - float(expected)
        if error == 0 and distance:
            return math.copysign(math.inf, distance)
        return distance / error if error else distance

    def agrees(self, expected: float | Estimate, *, within: float = 2.0) -> bool:
        """Return whether value and expectation are no further apart than their errors allow.

        Parameters
        ----------
        expected : float or Estimate
            As in :meth:`deviation`.
        within : float
            Number of standard errors that are allowed; 2 admit 95 of 100 right expectations.
        """
        return abs(self.deviation(expected)) <= within

    def below(self, limit: float | Estimate, *, within: float = 2.0) -> bool:
        """Return whether the value lies below a limit by more than its error.

        Parameters
        ----------
        limit : float or Estimate
            As in :meth:`deviation`.
        within : float
            Number of standard errors by which it has to.
        """
        return self.deviation(limit) < -within

    def above(self, limit: float | Estimate, *, within: float = 2.0) -> bool:
        """Return whether the value lies above a limit by more than its error.

        Parameters
        ----------
        limit : float or Estimate
            As in :meth:`deviation`.
        within : float
            Number of standard errors by which it has to.
        """
        return self.deviation(limit) > within

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; ``None`` in place of ``nan``."""
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "error": self.error if math.isfinite(self.error) else None,
            "method": self.method,
            "n": self.n,
            "window": list(self.window) if self.window else None,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        if not self.determined:
            return f"not determined: {self.reason}"
        if not (math.isfinite(self.error) and self.error > 0 and math.isfinite(self.value)):
            return f"{self.value:.4g}"
        decimals = 1 - math.floor(math.log10(self.error))
        magnitude = max(abs(self.value), self.error)
        if decimals < 0 or decimals > 6 or magnitude >= 1e6:
            digits = max(0, math.floor(math.log10(magnitude)) + decimals)
            return f"{self.value:.{digits}e} ± {self.error:.1e}"
        return f"{self.value:.{decimals}f} ± {self.error:.{decimals}f}"


def _number(known: Any) -> float:
    if isinstance(known, Estimate):
        raise TypeError("Two estimates are not multiplied or divided: their errors may depend on each other.")
    return float(known)
