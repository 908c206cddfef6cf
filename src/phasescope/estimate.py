"""One measured number with its error, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A number, its standard error and how it was obtained; or "not determined" with the reason.

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
