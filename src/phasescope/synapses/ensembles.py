"""Ensembles: the fewest weights that carry a property, and how much of what they do it is.

The strength of weight s is g_s = d property / d w_s; for a :class:`Region`, which is no number, it is the
norm of the map J_s inside. Of the energy ||J_s||^2 of a map,

    along_s  = g_s^2 / ||d property / d output||^2     (for a Region: the energy inside)

is what the change of the property needs at least, and beside_s is damage: the energy outside the support of
the property, or, where nothing is outside, all that is not along its gradient. The share

    along_s / (along_s + beside_s),   in [0, 1],

is 1 for a weight that does nothing else, and grows with the control ratio alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.synapses.properties import Property, Region
from phasescope.synapses.sensitivity import PictureSensitivity, Sensitivity

Array = NDArray[Any]  # float64, or float32 for a module in single precision
Whole = NDArray[np.int64]
Unit = Literal["one", "weight", "rms"]

FLOOR = 1e-3  # a weight counts where scale is divided out if its strength is this share of the largest
_BLOCK = 2**17  # weights that are worked on at a time
_CHUNK = 64  # maps that are pushed forward at a time
_SHOWN = 8


@dataclass(frozen=True)
class Effects(Result):
    """What each weight does to a property and beside it; energies are sums over the output."""

    strength: Tensor
    scale: float  # along / strength^2
    inside: Tensor | None  # energy of each map in the support; None where nothing is outside
    rest: Tensor  # energy of each map outside the support, or all of it
    counted: int  # numbers of the output over which beside is a sum
    error: float = 0.0  # relative, of the energies

    @property
    def along(self) -> Tensor:
        """The least energy that the change of the property needs."""
        return self.strength.square() * self.scale

    @property
    def beside(self) -> Tensor:
        """The energy that is damage; where nothing is outside, at least the error of the whole energy."""
        if self.inside is not None:
            return self.rest
        return torch.maximum(self.rest - self.along, self.rest * self.error)

    @property
    def total(self) -> Tensor:
        """The energy of each map."""
        return self.rest if self.inside is None else self.inside + self.rest

    @cached_property
    def share(self) -> Tensor:
        """The share of each weight; 0 for one that does nothing."""
        along = self.along
        whole = along + self.beside
        return torch.where(whole > 0, along / whole.clamp(min=torch.finfo(whole.dtype).tiny), 0.0)


def effects(sensitivity: Sensitivity, prop: Property) -> Effects:
    """Return what each weight does to a property and beside it."""
    output = sensitivity.output
    support = prop.support(output)
    outside = None if support is None or bool(support.all()) else ~support
    gradient = None if isinstance(prop, Region) else prop.gradient(output)
    if outside is None:
        inside, counted = None, output.numel()
        rest = sensitivity.rms.square() * counted
    else:
        counted = int(outside.sum()) * (output.numel() // outside.numel())
        inside, rest = sensitivity.energy(torch.stack([~outside, outside]))
    if gradient is None and inside is None:
        return Effects(rest.sqrt(), 1.0, rest, torch.zeros_like(rest), 0)
    if gradient is None:
        assert inside is not None
        return Effects(inside.sqrt(), 1.0, inside, rest, counted)
    strength = sensitivity.pulled_back(gradient)
    if not math.isfinite(torch.linalg.vector_norm(strength, torch.inf)):
        first = int(torch.nonzero(~torch.isfinite(strength))[0])
        raise InputError(
            f"The {prop.name} has no finite derivative in {sensitivity.name(first)}.", "Check the weights."
        )
    scale = 1 / max(float(gradient.double().square().sum()), 1e-300)
    return Effects(strength, scale, inside, rest, counted, 2 * float(getattr(sensitivity, "rms_error", 0.0)))


@dataclass(frozen=True)
class Runs(Result):
    """Runs of consecutive weights in an ensemble, against what the wiring alone makes of it.

    Parameters
    ----------
    found : array of int, shape (runs, 2)
        First and last weight of each run.
    expected : float
        Mean number of runs if as many weights were drawn at random among those that enter the same unit.
    anywhere : float
        The same if they were drawn among all weights.
    """

    found: Whole
    expected: float
    anywhere: float

    def __str__(self) -> str:
        return (
            f"{len(self.found)} runs; {self.expected:.1f} expected from the number into each unit, "
            f"{self.anywhere:.1f} if drawn among all weights"
        )


@dataclass(frozen=True)
class Ensemble(Result):
    """The weights that carry a property; :func:`ensemble` makes it.

    Parameters
    ----------
    name : str
        Of the property.
    value : float
        The property at these weights; NaN for a region.
    cover : float
        Share of the sum of (g u)^2 that each set covers at least.
    strength : array, shape (weights,)
        g = d property / d w, signed; for a region the norm of the map inside, in units of the output.
    damage_error : float
        One relative standard error of damage and control; 0 on a picture network, where they are exact.
    sets : dict
        For each unit of change, ``one``, ``weight``, ``rms``: the weights in falling order of ``|g u|``.
    carried : dict
        For each unit the share of the sum of g^2 that its set carries.
    """

    name: str
    value: float
    cover: float
    strength: Array = field(repr=False)
    damage_error: float
    sets: dict[Unit, Whole] = field(repr=False)
    carried: dict[Unit, float]
    _effects: Effects = field(repr=False)
    _sensitivity: Sensitivity = field(repr=False)

    @cached_property
    def groups(self) -> Whole:
        """The unit that each weight enters, whole numbers of shape (weights,)."""
        return np.asarray(self._sensitivity.groups.cpu())

    @cached_property
    def damage(self) -> Array:
        """D of each weight: rms change of the output outside the support for a unit change of the weight.

        Where nothing is outside: of the part of its change that is not along the gradient of the property.
        """
        return np.sqrt(_array(self._effects.beside) / max(self._effects.counted, 1))

    @cached_property
    def control(self) -> Array:
        """``|g| / D`` of each weight; infinite for one without damage, 0 for one without effect."""
        size = np.abs(self.strength)
        return np.divide(size, self.damage, out=np.where(size > 0, np.inf, 0.0), where=self.damage > 0)

    @cached_property
    def lift(self) -> Array | None:
        """Share of each map's energy inside the support over the support's share of the output.

        None where nothing is outside.
        """
        if self._effects.inside is None:
            return None
        inside, total = _array(self._effects.inside), _array(self._effects.total)
        part = 1 - self._effects.counted / self._sensitivity.output.numel()
        return np.divide(inside, total * part, out=np.zeros_like(inside), where=total > 0)

    @cached_property
    def share(self) -> Array:
        """The share of each weight, along / (along + beside), in [0, 1]."""
        return _array(self._effects.share)

    def units(self, unit: Unit = "rms") -> dict[int, int]:
        """Return how many weights of a set enter each unit of the network, most first.

        Parameters
        ----------
        unit : {"one", "weight", "rms"}
            Unit of change of the set.
        """
        entered, counts = np.unique(self.groups[self.sets[unit]], return_counts=True)
        return {int(entered[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable")}

    def runs(self, unit: Unit = "rms") -> Runs:
        """Return the runs of consecutive weights in a set, and how many the wiring alone would make.

        Synapses into one unit stand side by side and share what their target passes on, so that ensembles
        come in runs by structure.

        Parameters
        ----------
        unit : {"one", "weight", "rms"}
            Unit of change of the set.
        """
        chosen = np.sort(self.sets[unit])
        starts = np.flatnonzero(np.diff(chosen, prepend=-2) > 1)
        ends = np.append(starts[1:], len(chosen)) - 1
        found = np.stack([chosen[starts], chosen[ends]], axis=1)
        # A block is a stretch of weights into one unit: m of its n, drawn at random, make
        # m (n - m + 1) / n runs, and those of neighbouring blocks meet with chance (m / n) (m' / n').
        block = np.cumsum(np.diff(self.groups, prepend=self.groups[0]) != 0)
        sizes = np.bincount(block)
        counts = np.bincount(block[chosen], minlength=len(sizes))
        density = counts / sizes
        expected = (density * (sizes - counts + 1)).sum() - (density[1:] * density[:-1]).sum()
        whole = len(self.strength)
        return Runs(found, float(expected), len(chosen) * (whole - len(chosen) + 1) / whole)

    def __str__(self) -> str:
        at = "" if math.isnan(self.value) else f" = {self.value:.4g}"
        lines = [
            f"{self.name}{at}, {len(self.strength)} weights",
            f"fewest weights with {100 * self.cover:.4g} % of the sum of (g u)^2:",
            f"  {'unit u':<9}{'weights':>9}{'into units':>12}{'runs':>6}{'expected':>10}{'carried':>9}",
        ]
        titles = {"one": "1", "weight": "|w|", "rms": "1/rms(J)"}
        for unit, chosen in self.sets.items():
            runs = self.runs(unit)
            lines.append(
                f"  {titles[unit]:<9}{len(chosen):>9}{len(self.units(unit)):>12}{len(runs.found):>6}"
                f"{runs.expected:>10.1f}{100 * self.carried[unit]:>7.1f} %"
            )
        best = list(self.sets)[-1]
        lines.append(f"  {'first in u = ' + titles[best]:<34}{'g':>11}{'damage':>11}{'|g|/D':>9}{'share':>8}")
        for s in self.sets[best][:_SHOWN]:
            columns = f"{self.strength[s]:>11.3g}{self.damage[s]:>11.3g}{self.control[s]:>9.3g}"
            lines.append(f"  {self._sensitivity.name(int(s)):<34}{columns}{self.share[s]:>8.3f}")
        if self.damage_error:
            lines.append(f"damage within {100 * self.damage_error:.2g} %")
        return "\n".join(lines)


def ensemble(
    sensitivity: Sensitivity,
    prop: Property,
    *,
    cover: float = 0.9,
    units: Sequence[Unit] = ("one", "weight", "rms"),
) -> Ensemble:
    """Return the weights that carry a property: strengths, damage, and the fewest that cover it.

    A set holds the fewest weights with at least `cover` of the sum of (g_s u_s)^2, for three units of change
    u: 1, the weight's own size ``|w_s|``, and 1 / rms(J_s), the change that moves the whole output by one.
    They differ several times in size, so all three are given. In the unit 1 / rms a map that is nearly zero
    would count like any other; there a weight counts if its ``|g|`` is at least 0.001 of the largest.

    Parameters
    ----------
    sensitivity : Sensitivity
        Of a picture network (:func:`sensitivity`) or of any module.
    prop : Property
        What is carried.
    cover : float
        In (0, 1].
    units : sequence of {"one", "weight", "rms"}
        Which sets to make.

    Raises
    ------
    InputError
        If `cover` is out of range, the property has no gradient, or no weight changes it.

    Notes
    -----
    Cost: one backward pass for the strengths and one for the energies (on a picture network one for each
    output); sorting. No array is larger than the number of weights. Energies of a module are estimated with
    the relative error `damage_error`.

    Fails: strengths are first-order; see :func:`linear_range` for how far they hold.
    """
    if not 0 < cover <= 1:
        raise InputError(f"cover={cover} is no share.", "Use a number in (0, 1], 0.9 by default.")
    found = effects(sensitivity, prop)
    strength = _array(found.strength)
    if not strength.any():
        raise InputError(
            f"No weight changes the {prop.name} to first order.", "Choose another property or other weights."
        )
    sets: dict[Unit, Whole] = {}
    carried: dict[Unit, float] = {}
    for unit in units:
        sets[unit] = _fewest(_moved(sensitivity, unit, found), cover)
        carried[unit] = _sum(strength[sets[unit]]) / _sum(strength)
    return Ensemble(
        prop.name,
        math.nan if isinstance(prop, Region) else sensitivity.value(prop),
        cover,
        strength,
        float(getattr(sensitivity, "rms_error", 0.0)),
        sets,
        carried,
        found,
        sensitivity,
    )


def selectivity(
    sensitivity: Sensitivity, prop: Property, weights: Sequence[int] | Whole, *, ridge: float = 1e-6
) -> float:
    """Return how much of what some weights do together can be the property alone, in [0, 1].

    For a :class:`Region` R it is

        sigma(S) = max over dw on S of ||J_R dw||^2 / ||J dw||^2,

    the best change of these weights, by its share inside. For a number it is the same with ``||J_R dw||^2``
    replaced by ``(g dw)^2 / ||d property / d output||^2``, the least energy that such a change of the
    property needs, and ``||J dw||^2`` by the sum of that and the damage. For one weight it is its share. The
    ridge keeps changes out that move nothing: maps are scaled to norm 1, and ``ridge ||dw||^2`` is added to
    the denominator.

    Parameters
    ----------
    sensitivity : Sensitivity
        Of a picture network or of any module.
    prop : Property
        What should change.
    weights : sequence of int
        Numbers of the weights S that may change.
    ridge : float
        Above 0.

    Raises
    ------
    InputError
        If there is no weight, one that does not exist or is named twice, or `ridge` is not above 0.

    Notes
    -----
    Cost: one map for each weight, and a matrix of their number squared. Many weights reach a high value for
    any region (all of a network, nearly 1): compare with random sets of the same size, :func:`nulls`.
    """
    chosen = np.asarray(weights, dtype=np.int64).reshape(-1)
    if not len(chosen) or len(set(chosen.tolist())) < len(chosen):
        raise InputError(f"{len(chosen)} weights, some of them twice or none.", "Name each weight once.")
    if chosen.min() < 0 or chosen.max() >= sensitivity.size:
        raise InputError(
            f"Weight {chosen.min() if chosen.min() < 0 else chosen.max()} of {sensitivity.size}.",
            "Numbers run from 0.",
        )
    if not ridge > 0:
        raise InputError(f"ridge={ridge} is not above 0.", "Use a small number, 1e-6 by default.")
    return selectivities(sensitivity, prop, chosen[None], ridge)[0]


def selectivities(sensitivity: Sensitivity, prop: Property, sets: Whole, ridge: float = 1e-6) -> list[float]:
    """Return the selectivity of sets of one size, a row each; each map is built once."""
    chosen, where = np.unique(sets, return_inverse=True)
    where = where.reshape(sets.shape)
    output = sensitivity.output
    support = prop.support(output)
    gradient = None if isinstance(prop, Region) else prop.gradient(output)
    maps = _maps(sensitivity, chosen)
    whole = support is None or bool(support.all())
    flat = maps.reshape(len(chosen), -1)
    if gradient is None:
        inside = flat if whole else maps[:, support].reshape(len(chosen), -1)
        above = _array(inside @ inside.T)
    else:
        along = flat @ (gradient.reshape(-1) / gradient.norm().clamp(min=torch.finfo(flat.dtype).tiny))
        above = _array(torch.outer(along, along))
    if whole and gradient is not None:
        below = _array(flat @ flat.T) - above
    elif whole:
        below = np.zeros_like(above)
    else:
        assert support is not None
        outside = maps[:, ~support].reshape(len(chosen), -1)
        below = _array(outside @ outside.T)
    return [_largest(above[np.ix_(rows, rows)], below[np.ix_(rows, rows)], ridge) for rows in where]


def _largest(above: Array, below: Array, ridge: float) -> float:
    """Return the largest x' above x / x' (above + below) x, each weight scaled to 1 in the denominator."""
    scale = np.sqrt(np.clip(np.diag(above) + np.diag(below), 0, None))
    alive = scale > 0
    if not alive.any():
        return 0.0
    scaled = np.outer(scale[alive], scale[alive])
    above, below = above[np.ix_(alive, alive)] / scaled, below[np.ix_(alive, alive)] / scaled
    count = len(above)
    largest = scipy.linalg.eigh(
        above,
        above + below + ridge * np.eye(count),
        eigvals_only=True,
        subset_by_index=[count - 1, count - 1],
    )
    return float(np.clip(largest[0], 0, 1))


def _maps(sensitivity: Sensitivity, weights: Whole) -> Tensor:
    """Return the maps of some weights, shape (weights, *output)."""
    if isinstance(sensitivity, PictureSensitivity):
        return sensitivity.maps()[weights] if len(weights) > _CHUNK else sensitivity.maps(weights.tolist())
    parts = []
    for start in range(0, len(weights), _CHUNK):
        numbers = torch.from_numpy(weights[start : start + _CHUNK])
        ones = torch.zeros(
            len(numbers), sensitivity.size, dtype=sensitivity.weights.dtype, device=sensitivity.weights.device
        )
        ones[torch.arange(len(numbers)), numbers] = 1
        parts.append(sensitivity.change(ones))
    return torch.cat(parts)


def _moved(sensitivity: Sensitivity, unit: Unit, found: Effects) -> Array:
    """Return (g u)^2 of each weight up to a common factor; 0 where a weight does not count."""
    if unit not in ("one", "weight", "rms"):
        raise InputError(f"{unit!r} is no unit of change.", "Use one, weight or rms.")
    largest = float(torch.linalg.vector_norm(found.strength, torch.inf))
    squares = torch.empty_like(found.strength)
    for start in range(0, len(squares), _BLOCK):
        block = slice(start, start + _BLOCK)
        part = (found.strength[block] / largest).square_()
        if unit == "weight":
            part *= sensitivity.weights[block].square()
        if unit == "rms":
            energy = found.rest[block] if found.inside is None else found.inside[block] + found.rest[block]
            counts = (energy > 0) & (part >= FLOOR**2)
            part = torch.where(counts, part / energy, 0.0)
        squares[block] = part
    return _array(squares)


def _fewest(squares: Array, cover: float) -> Whole:
    """Return the fewest weights with the covered share of the sum of squares, strongest first."""
    total = squares.sum(dtype=np.float64)
    if not total > 0:
        return np.zeros(0, dtype=np.int64)
    # Those above a bound are sorted; all below this one add up to less than what need not be covered.
    bound = (1 - cover) * total / len(squares)
    while bound and squares.sum(where=squares >= 4 * bound, dtype=np.float64) >= cover * total:
        bound *= 4
    large = np.flatnonzero(squares >= bound)
    order = large[np.argsort(-squares[large], kind="stable")]
    sums = np.cumsum(squares[order], dtype=np.float64)
    # Rounding of the sum must not ask for one weight more.
    count = int(np.searchsorted(sums, cover * total * (1 - 1e-12))) + 1
    return order[:count]


def _sum(strength: Array) -> float:
    """Return the sum of squares."""
    return float(np.dot(strength, strength))


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu())
