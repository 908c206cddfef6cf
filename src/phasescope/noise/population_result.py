"""What is known of the exponents of a whole layer."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phasescope.estimate import Estimate
from phasescope.noise.dfa import plain
from phasescope.noise.verdict import Kind

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Exponents of all units in all sequences, and a verdict; :func:`population` makes it.

    Parameters
    ----------
    windows : array of int of shape (windows,)
        Lengths n.
    length : int
        Values of a series.
    order : int
        Degree of the polynomials taken out.
    beta : array of shape (sequence, unit)
        ``2 alpha - 1`` of each series; NaN where there is none.
    reasons : dict of str to int
        Why series have no exponent, and how many.
    unit_beta, unit_beta_error : array of shape (unit,)
        Mean over sequences and its standard error; NaN with no exponent, or with fewer than two.
    deviation : array of shape (unit,)
        Temporal standard deviation within sequences, in the unit of x; over the sequences that are finite.
    mean : Estimate
        Mean over units of `unit_beta`.
    spread : Estimate
        Standard deviation of `beta` over all pairs of sequence and unit.
    estimator : float
        What estimator noise alone scatters: root mean square of the error of one exponent.
    between_units : Estimate
        Standard deviation of the units' own exponents, free of the scatter over sequences.
    between_sequences : Estimate
        Standard deviation over the sequences of a unit beyond estimator noise.
    curvature : Estimate
        Mean coefficient of ``(ln n)^2`` in ``ln F(n)`` beyond that of fractional Gaussian noise.
    crossover_share : float
        Share of the exponents flagged as a crossover; of straight curves 1 % are.
    fluctuation, fluctuation_error : array of shape (windows,)
        Geometric mean of F(n) over F of the first window, and the error of its logarithm.
    local_slopes, local_slopes_error : array of shape (windows - 1,)
        Slopes of `fluctuation` between neighbouring windows, and their errors.
    tested, beat_short, beat_scaling, beat_fit : int
        Number of series that :func:`memory_test` saw, and of those that excluded short memory, scaling noise,
        and the curve of their own autoregressive process; 2.5 % do by chance.
    memory : float
        Median of the memory of the autoregressive processes, in steps; NaN without tests.
    tested_fluctuation, short_fluctuation : array of shape (windows,)
        Geometric means of F(n) of the tested series and of their autoregressive processes, each over its
        first value.
    kind : str
        "white", "1/f" (mean beta from 0.5 to 1.5), "brown", "power law" (any other), "short memory",
        "crossover" or "not determined".
    reason : str
        Why, in a sentence.
    """

    windows: NDArray[np.int64]
    length: int
    order: int
    beta: Array = field(repr=False)
    reasons: dict[str, int]
    unit_beta: Array = field(repr=False)
    unit_beta_error: Array = field(repr=False)
    deviation: Array = field(repr=False)
    mean: Estimate
    spread: Estimate
    estimator: float
    between_units: Estimate
    between_sequences: Estimate
    curvature: Estimate
    crossover_share: float
    fluctuation: Array = field(repr=False)
    fluctuation_error: Array = field(repr=False)
    local_slopes: Array = field(repr=False)
    local_slopes_error: Array = field(repr=False)
    tested: int
    beat_short: int
    beat_scaling: int
    beat_fit: int
    memory: float
    tested_fluctuation: Array = field(repr=False)
    short_fluctuation: Array = field(repr=False)
    kind: Kind
    reason: str

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "peng1994 kantelhardt2001"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; None in place of NaN."""
        return {entry.name: _ready(getattr(self, entry.name)) for entry in fields(self)}

    def __str__(self) -> str:
        sequences, units = self.beta.shape
        lines = [
            f"{self.kind}: {units} units in {sequences} sequences of {self.length} values",
            f"  {self.reason}",
            f"  beta, mean over units        {self.mean}",
            f"  sd over units and sequences  {self.spread}",
            f"    of estimator noise alone   {self.estimator:.3f}",
            f"    between units              {self.between_units}",
            f"    between sequences          {self.between_sequences}",
            f"  curvature of ln F            {self.curvature} "
            f"({100 * self.crossover_share:.0f} % of the curves flagged, 1 % by chance)",
        ]
        if self.tested:
            lines.append(
                f"  of {self.tested} series tested {self.beat_short} exclude short memory, "
                f"{self.beat_scaling} exclude scaling noise, {self.beat_fit} their own autoregressive curve"
            )
        if self.reasons:
            without = ", ".join(f"{count} {why}" for why, count in self.reasons.items())
            lines.append(f"  no exponent: {without}")
        return "\n".join(lines)


def _ready(value: Any) -> Any:
    if isinstance(value, Estimate):
        return value.to_dict()
    return plain(value.tolist() if isinstance(value, np.ndarray) else value)
