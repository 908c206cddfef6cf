"""How much a layer uses its units: temporal deviations, idle units, and the number of directions in use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

_GROUPS = 10  # sequences are left out in at most so many groups for the errors


@dataclass(frozen=True)
class Utilisation(Result):
    """What ``utilisation`` found.

    Parameters
    ----------
    deviation : ndarray of shape (unit,)
        Temporal standard deviation within a sequence; NaN for a unit with values that are not finite.
    deviation_error : ndarray of shape (unit,)
        One standard error over sequences.
    idle_relative : ndarray of bool, shape (unit,)
        Deviation below a fraction of the largest one in the layer.
    idle_absolute : ndarray of bool, shape (unit,)
        Deviation below a fixed value.
    quantised : ndarray of bool, shape (unit,)
        Deviation within the rounding of the number format: what is left of the series is no activity.
    not_finite : ndarray of bool, shape (unit,)
        Units with NaN or infinite values within a sequence; left out of all other numbers.
    participation_ratio : Estimate
        Number of units that share the variance.
    dimension : Estimate
        Number of principal components that share the variance.
    effective_rank : Estimate
        Exponential of the entropy of the principal components' shares.
    """

    deviation: np.ndarray
    deviation_error: np.ndarray
    idle_relative: np.ndarray
    idle_absolute: np.ndarray
    quantised: np.ndarray
    not_finite: np.ndarray
    participation_ratio: Estimate
    dimension: Estimate
    effective_rank: Estimate

    def counts(self) -> dict[str, int]:
        """Return the number of units, of idle ones by each criterion, of quantised and of not finite ones."""
        names = ("idle_relative", "idle_absolute", "quantised", "not_finite")
        return {"units": len(self.deviation), **{name: int(getattr(self, name).sum()) for name in names}}

    def to_dict(self) -> dict[str, Any]:
        """Return counts and estimates as JSON-ready values."""
        names = ("participation_ratio", "dimension", "effective_rank")
        return {**self.counts(), **{name: getattr(self, name).to_dict() for name in names}}

    def __str__(self) -> str:
        counts = self.counts()
        return "\n".join(
            [
                f"{counts['units']} units: {counts['idle_relative']} idle beside the most active one, "
                f"{counts['idle_absolute']} idle in absolute terms, {counts['quantised']} at the rounding of "
                f"the number format, {counts['not_finite']} not finite",
                f"participation ratio {self.participation_ratio}",
                f"dimension {self.dimension}",
                f"effective rank {self.effective_rank}",
            ]
        )


def utilisation(
    x: np.ndarray | Tensor,
    *,
    relative: float = 0.05,
    absolute: float = 1e-3,
    floor: float | None = None,
    covariance: bool = True,
) -> Utilisation:
    r"""Return how much each unit of a layer moves in time, and how many units and directions share it.

    With :math:`\bar x_{rj}` the mean of unit j over sequence r, and sums over time steps and sequences,

    .. math::

        s_j^2 = \frac{\sum_{r,t} (x_{rj}(t) - \bar x_{rj})^2}{\sum_r T_r}, \qquad
        \mathrm{PR} = \frac{(\sum_j s_j^2)^2}{\sum_j s_j^4}, \qquad
        D = \frac{(\sum_k \lambda_k)^2}{\sum_k \lambda_k^2}, \qquad
        R = \exp\Big(-\sum_k p_k \ln p_k\Big)

    with :math:`\lambda_k` the eigenvalues of the covariance within sequences and
    :math:`p_k = \lambda_k / \sum \lambda`. A level that differs between sequences and rests within each is no
    movement.

    Parameters
    ----------
    x : ndarray or Tensor of shape (sequence, unit, time) or (unit, time)
        A quantity of ``record``; all units are NaN after the end of a sequence.
    relative : float
        A unit is idle in relative terms if its deviation is below this fraction of the largest.
    absolute : float
        A unit is idle in absolute terms if its deviation is below this, in the unit of x.
    floor : float, optional
        A unit is quantised if its deviation is at most this fraction of its largest magnitude; by default 8
        times the spacing of the number format, 1e-6 for float32.
    covariance : bool
        Whether to compute `dimension` and `effective_rank`.

    Returns
    -------
    Utilisation
        Deviations and idle units, participation ratio, dimension and effective rank.

    Raises
    ------
    InputError
        If x is no array of series, or a threshold is not positive.

    Notes
    -----
    Errors: jackknife over at most 10 groups of sequences, so that at least two sequences are needed. D of n
    white units comes out too small by the factor :math:`1 + n / \sum_r T_r`, R alike: both are not
    determined where there are fewer time steps than units. Cost: one pass over x, a product of n x n x time
    and 11 eigenvalue problems of size n; memory 10 n^2 numbers.

    References
    ----------
    Roy and Vetterli 2007, EUSIPCO (effective rank); Gao et al. 2017, doi:10.1101/214262 (dimension).

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(100) * 2 * np.pi / 100
    >>> wave = np.array([np.sin(t), np.cos(t), np.zeros(100)])
    >>> used = utilisation(np.array([wave, wave + 3.0]))
    >>> used.deviation.round(3)
    array([0.707, 0.707, 0.   ])
    >>> used.counts()["idle_absolute"], used.participation_ratio.value
    (1, 2.0)
    """
    values = _series(x)
    for name, threshold in (("relative", relative), ("absolute", absolute), ("floor", floor)):
        if threshold is not None and not threshold > 0:
            raise InputError(f"{name}={threshold}.", "Give a positive number.")
    sums = _Sums(values, covariance)
    spacing = float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0
    resolution = (8 * spacing if floor is None else floor) * sums.largest
    good = sums.finite
    variances = [sums.variance(keep) for keep in sums.kept]
    deviation, error = jackknife(np.sqrt(variances))
    deviation[~good] = error[~good] = np.nan
    most = np.nanmax(deviation, initial=0.0)
    with np.errstate(invalid="ignore"):
        quantised = deviation <= resolution
        idle_relative, idle_absolute = deviation < relative * most, deviation < absolute
    active = good & ~quantised
    steps, units = int(sums.steps.sum()), int(active.sum())
    why = "" if steps - sums.sequences >= units else f"{steps} time steps are too few for {units} units"
    why = why if covariance else "covariance=False"
    spectra = [] if why else [sums.eigenvalues(keep, active) for keep in sums.kept]
    dimension, rank = (
        Estimate.not_determined(why, method=what, n=sums.sequences)
        if why
        else _estimate(spectra, number, what, sums.sequences)
        for what, number in (("dimension", _participation), ("effective rank", _effective_rank))
    )
    return Utilisation(
        deviation,
        error,
        # Where no unit moves, none stands out; all are idle.
        idle_relative | (good & (most == 0)),
        idle_absolute,
        quantised,
        ~good,
        _estimate([one[active] for one in variances], _participation, "participation ratio", sums.sequences),
        dimension,
        rank,
    )


def _series(x: np.ndarray | Tensor) -> np.ndarray:
    values = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asanyarray(x)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise InputError(
            f"x has shape {values.shape} and type {values.dtype}.",
            "Pass real numbers of shape (sequence, unit, time) or (unit, time).",
        )
    return values


class _Sums:
    """Sums over time, group of sequences by group of sequences."""

    def __init__(self, values: np.ndarray, covariance: bool) -> None:
        sequences, units, _ = values.shape
        groups = min(sequences, _GROUPS)
        self.sequences = sequences
        self.kept = kept_groups(groups)
        self.steps = np.zeros(groups)
        self.squares = np.zeros((groups, units))
        self.products = np.zeros((groups, units, units) if covariance else 0)
        self.largest = np.zeros(units)
        self.finite = np.ones(units, dtype=bool)
        for row in range(sequences):
            self._add(row * groups // sequences, np.asarray(values[row], dtype=np.float64))

    def _add(self, group: int, part: np.ndarray) -> None:
        part = part[:, ~np.isnan(part).all(axis=0)]
        if part.shape[1] == 0:
            return
        bad = ~np.isfinite(part).all(axis=1)
        self.finite &= ~bad
        part[bad] = 0.0
        self.largest = np.maximum(self.largest, np.abs(part).max(axis=1))
        part -= part.mean(axis=1, keepdims=True)
        self.steps[group] += part.shape[1]
        self.squares[group] += np.einsum("jt,jt->j", part, part)
        if self.products.size:
            self.products[group] += part @ part.T

    def variance(self, keep: np.ndarray) -> np.ndarray:
        """Return the variance of each unit over the groups that are kept."""
        variance: np.ndarray = self.squares[keep].sum(axis=0) / max(self.steps[keep].sum(), 1.0)
        return variance

    def eigenvalues(self, keep: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Return the eigenvalues of the summed products of active units over the groups that are kept."""
        products = self.products[keep].sum(axis=0)[np.ix_(active, active)]
        return np.linalg.eigvalsh(products).clip(min=0.0)


def kept_groups(groups: int) -> np.ndarray:
    """Return which groups a jackknife keeps, one row for each of its turns: all of them, then all but one."""
    everything = np.ones((1, groups), dtype=bool)
    return np.concatenate([everything, ~np.eye(groups, dtype=bool)]) if groups > 1 else everything


def jackknife(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a statistic of all groups and its error, NaN for one group, from those of `kept_groups`."""
    value, without = values[0], values[1:]
    groups = len(without)
    if groups < 2:
        return value, np.full_like(value, np.nan)
    spread = ((without - without.mean(axis=0)) ** 2).sum(axis=0)
    return value, np.sqrt((groups - 1) / groups * spread)


def _estimate(
    shares: list[np.ndarray], number: Callable[[np.ndarray], float], what: str, sequences: int
) -> Estimate:
    """Return how many share the variance, from their shares of it over `_Sums.kept`."""
    method = f"{what}, jackknife over sequences"
    why = "" if len(shares) > 1 else "one sequence gives no error: cut it into pieces"
    why = why if shares[0].size else "no unit moves beyond the rounding"
    if why:
        return Estimate.not_determined(why, method=method, n=sequences)
    value, error = jackknife(np.array([number(one) for one in shares]))
    return Estimate(float(value), float(error), method, sequences)


def _participation(shares: np.ndarray) -> float:
    shares = shares / shares.max()
    return float(shares.sum() ** 2 / (shares**2).sum())


def _effective_rank(shares: np.ndarray) -> float:
    p = shares[shares > 0] / shares.sum()
    return float(np.exp(-(p * np.log(p)).sum()))
