"""What one weight does when it really moves, how far that is linear, and what each unit gets to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.synapses.picture_net import PictureNet, Sweeps, grid
from phasescope.synapses.properties import Property
from phasescope.synapses.sensitivity import PictureSensitivity, Sensitivity, sensitivity

Side = Literal["both", "up", "down"]
Array = NDArray[np.float64]

QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
"""Quantiles that :func:`working_range` gives."""

_CHUNK = 2**14  # numbers of one unit that are computed at a time
_FIRST = 0.05  # change of a weight that is tried first
_CLOSE = 1.01  # ratio of the ends of a bracket at which it is narrow enough
_SMALLEST = 1e-6
_ROUNDS = 60


@dataclass(frozen=True)
class Perturbation:
    """Pictures at a lower and at a higher weight.

    Parameters
    ----------
    lower : tensor, shape (height, width, outputs), or (k, height, width, outputs) for k weights
        The picture at the lower weight.
    higher : tensor, of the same shape
        The picture at the higher weight.
    """

    lower: Tensor
    higher: Tensor

    @property
    def difference(self) -> Tensor:
        """Higher minus lower."""
        return self.higher - self.lower


def perturb(
    net: PictureNet,
    weight: int | Sequence[int],
    size: float | tuple[float, float],
    height: int,
    width: int,
    *,
    together: bool = False,
) -> Perturbation:
    """Return the pictures at a lower and at a higher value of a weight; the network is not changed.

    Parameters
    ----------
    net : PictureNet
        With inputs x and y.
    weight : int or sequence of int
        Number of the weight; a sequence gives one pair of pictures for each.
    size : float or tuple of float
        The weight is changed by -size and by +size; a tuple gives both changes, the lower one first.
    height, width : int
        Size of the pictures.
    together : bool
        Change all weights of the sequence at once, for one pair of pictures.

    Raises
    ------
    InputError
        If a weight does not exist, or the changes are not finite and ascending.
    """
    at = sensitivity(net, height, width)
    columns = _numbers(at, [weight] if isinstance(weight, int) else weight)
    low, high = size if isinstance(size, tuple) else (-size, size)
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"The changes are {low} and {high}.", "Use finite ones, the lower first.")
    if together:
        ends = []
        for change in (low, high):
            weights = at.weights.clone()
            weights[torch.from_numpy(columns)] += change
            ends.append(at.at(weights).output)
        return Perturbation(*ends)
    lower, higher = (at.output.new_empty(len(columns), *at.output.shape) for _ in range(2))
    for side, change in ((lower, low), (higher, high)):
        for rows, part in _outputs(at, columns, np.full(len(columns), change)):
            side[torch.from_numpy(rows)] = part
    return Perturbation(lower[0], higher[0]) if isinstance(weight, int) else Perturbation(lower, higher)


def activation_maps(net: PictureNet, height: int, width: int) -> Tensor:
    """Return the value of each unit at each pixel, shape (units, height, width).

    Parameters
    ----------
    net : PictureNet
        With inputs x and y.
    height, width : int
        Size of the maps.
    """
    sweeps = Sweeps(net, grid(height, width, dtype=net.weights.dtype, device=net.weights.device))
    return sweeps.activations.reshape(-1, height, width)


@dataclass(frozen=True)
class LinearRange(Result):
    """How far each weight can move before what it does is no longer in proportion.

    Parameters
    ----------
    weights : array of int, shape (n,)
        Numbers of the weights.
    size : array of float, shape (n,)
        The largest change, `cap` where none was found; not a number where the weight has no effect.
    unlimited : array of bool, shape (n,)
        The effect is in proportion up to `cap`.
    of : str
        "map", or the name of the property.
    cap : float
        The largest change that was tried.
    tolerance : float
        Relative deviation that ends the range.
    """

    weights: NDArray[np.int64]
    size: Array
    unlimited: NDArray[np.bool_]
    of: str
    cap: float
    tolerance: float


def linear_range(
    sensitivity: Sensitivity,
    weights: Sequence[int] | None = None,
    prop: Property | None = None,
    tolerance: float = 0.2,
    *,
    side: Side = "both",
    cap: float = 100.0,
) -> LinearRange:
    """Return for each weight the largest change at which its effect is what first order says.

    With f the output and J the map of the weight, this is the first d at which
    ``||(f(w + d) - f(w - d)) / 2d - J|| > tolerance ||J||``. For a property, its value stands in the place of
    f and its sensitivity g in that of J. For one side it is ``(f(w + d) - f(w)) / d``, or the same with -d.

    The change grows by at most a factor of 2 from one real forward pass to the next; between the last good
    and the first bad one the end is found to 1 %. An excess between two changes that are both good is missed.

    Parameters
    ----------
    sensitivity : Sensitivity
        Of the network.
    weights : sequence of int, optional
        Their numbers, by default all. For a network other than a picture network each costs about 20 passes
        forward.
    prop : Property, optional
        By default the whole output counts.
    tolerance : float
        Relative deviation that ends the range.
    side : {"both", "up", "down"}
        Changes of both signs at once, or of one.
    cap : float
        The largest change tried.

    Raises
    ------
    InputError
        If a number is out of range.

    Notes
    -----
    The whole default network at 64 x 96 pixels takes some 10 s on one core: only units downstream of a weight
    are computed.
    """
    at = sensitivity
    if side not in get_args(Side):
        raise InputError(f"side={side!r} is unknown.", 'Use "both", "up" or "down".')
    if not (tolerance > 0 and _FIRST < cap < np.inf):
        raise InputError(
            f"tolerance={tolerance}, cap={cap}.", f"Use a positive number and one above {_FIRST}."
        )
    columns = _numbers(at, range(at.size) if weights is None else weights)
    effect = _Effect(at, columns, prop, side)
    moves = _firsts_beyond(effect, tolerance, cap, 2 if side == "both" else 1)
    return LinearRange(
        weights=columns,
        size=moves,
        unlimited=moves == cap,
        of="map" if prop is None else prop.name,
        cap=cap,
        tolerance=tolerance,
    )


class _Effect:
    """How far what a weight really does is from first order, relative to that."""

    def __init__(
        self, at: Sensitivity, columns: NDArray[np.int64], prop: Property | None, side: Side
    ) -> None:
        self.at, self.columns, self.prop, self.side = at, columns, prop, side
        if prop is not None:
            self.first = at.gradient(prop).cpu().double().numpy()[columns]
            self.size: Array = np.abs(self.first)
            return
        if isinstance(at, PictureSensitivity):
            self.maps = at.maps() if len(columns) == at.size else at.maps(columns.tolist())
        else:
            self.maps = torch.stack([at.change(_unit(at, int(column))) for column in columns])
        self.size = self.maps.flatten(1).norm(dim=1).cpu().double().numpy()

    def deviation(self, places: NDArray[np.int64], moves: Array) -> Array:
        """Return the relative deviation at a change of some of the weights."""
        result = np.empty(len(places))
        columns = self.columns[places]
        if self.side == "both":
            pairs = zip(_outputs(self.at, columns, moves), _outputs(self.at, columns, -moves), strict=True)
            found = ((rows, high, low, 2 * moves[rows]) for (rows, high), (_, low) in pairs)
        else:
            signed = moves if self.side == "up" else -moves
            base = self.at.output
            found = ((rows, high, base, signed[rows]) for rows, high in _outputs(self.at, columns, signed))
        for rows, high, low, width in found:
            result[rows] = self._off(places[rows], high, low, width)
        return result / self.size[places]

    def _off(self, places: NDArray[np.int64], high: Tensor, low: Tensor, width: Array) -> Array:
        if self.prop is not None:
            values = [self._value(each) for each in high]
            base = [self._value(each) for each in low] if low.ndim == high.ndim else self._value(low)
            off: Array = np.abs((np.array(values) - np.array(base)) / width - self.first[places])
            return off
        scale = torch.from_numpy(width).to(high).reshape(-1, *[1] * (high.ndim - 1))
        apart = (high - low) / scale - self.maps[torch.from_numpy(places)]
        distances: Array = apart.flatten(1).norm(dim=1).cpu().double().numpy()
        return distances

    def _value(self, output: Tensor) -> float:
        assert self.prop is not None
        with torch.no_grad():
            return float(self.prop.value(output))


def _firsts_beyond(effect: _Effect, tolerance: float, cap: float, power: int) -> Array:
    """Return the first change at which the deviation exceeds the tolerance, which grows as its power."""
    count = len(effect.columns)
    good, bad = np.zeros(count), np.full(count, np.inf)
    good_log, bad_log = np.full(count, -np.inf), np.full(count, np.inf)
    move = np.full(count, _FIRST)
    active = effect.size > 0
    for turn in range(_ROUNDS):
        places = np.flatnonzero(active)
        if not len(places):
            break
        with np.errstate(divide="ignore"):
            excess = np.log(effect.deviation(places, move[places]) / tolerance)
        inside = excess <= 0
        good[places[inside]], good_log[places[inside]] = move[places[inside]], excess[inside]
        outside = places[~inside]
        bad[outside], bad_log[outside] = move[outside], np.nan_to_num(excess[~inside], nan=np.inf)
        active = (effect.size > 0) & (good < cap) & (bad > _CLOSE * good) & (bad > _SMALLEST)
        ratio = np.exp(np.clip(-np.where(inside, excess, bad_log[places]) / power, -5, 5))
        free, low = np.isinf(bad[places]), good[places] == 0
        step = np.where(low, np.clip(0.9 * ratio, 0.02, 0.5), np.clip(ratio, 1.2, 2.0))
        with np.errstate(invalid="ignore", divide="ignore"):
            share = good_log[places] / (good_log[places] - bad_log[places])
            share = (
                np.clip(np.nan_to_num(share, nan=0.5), 0.05, 0.95) if turn % 3 else np.full(len(places), 0.5)
            )
            between = np.exp((1 - share) * np.log(good[places]) + share * np.log(bad[places]))
        move[places] = np.where(free | low, np.minimum(move[places] * step, cap), between)
    return np.where(effect.size > 0, good, np.nan)


@dataclass(frozen=True)
class WorkingRange(Result):
    """What each unit gets to see from valid inputs, against what free inputs could make of it.

    A unit is a = tanh(z), z = b + sum of w v. Each v that is the value of a unit is free in (-1, 1), each
    that is an input is free in `box`, independently: z then fills the interval from `lowest` to `highest`.

    Parameters
    ----------
    z : array of float, shape (units, 5)
        Quantiles 0, 5, 50, 95 and 100 % of z over the valid inputs.
    a : array of float, shape (units, 5)
        The same of the value of the unit.
    lowest, highest : array of float, shape (units,)
        Ends of z for free inputs.
    silent : array of float, shape (units,)
        Share of the valid inputs at which the value lies in the lower half of what free inputs reach.
    box : array of float, shape (inputs, 2)
        Ends of each input.
    """

    z: Array
    a: Array
    lowest: Array
    highest: Array
    silent: Array
    box: Array

    @property
    def used(self) -> Array:
        """Share of the free interval of z that valid inputs span, shape (units,)."""
        used: Array = (self.z[:, -1] - self.z[:, 0]) / (self.highest - self.lowest)
        return used

    @property
    def excitation(self) -> Array:
        """Largest value from valid inputs, from 0 to 1 of what free ones span, shape (units,)."""
        low, high = np.tanh(self.lowest), np.tanh(self.highest)
        excitation: Array = (self.a[:, -1] - low) / (high - low)
        return excitation


def working_range(net: PictureNet, points: Tensor, *, box: ArrayLike | None = None) -> WorkingRange:
    """Return for each unit the interval that valid inputs reach, and that which free inputs could.

    Parameters
    ----------
    net : PictureNet
        The network.
    points : tensor, shape (points, inputs)
        The valid inputs; for a picture, :func:`grid`.
    box : array_like, shape (inputs, 2), optional
        Ends of each input when it is free; by default those of the points.

    Raises
    ------
    InputError
        If there is no point, or the box has another shape.
    """
    if points.ndim != 2 or points.shape[1] != net.wiring.inputs or not len(points):
        raise InputError(f"The points have shape {tuple(points.shape)}.", f"Use (n, {net.wiring.inputs}).")
    sweeps = Sweeps(net, points)
    ends = torch.stack([points.amin(0), points.amax(0)], dim=1).cpu().double().numpy()
    box = ends if box is None else np.asarray(box, dtype=np.float64)
    if box.shape != (net.wiring.inputs, 2):
        raise InputError(f"The box has shape {box.shape}.", f"Use ({net.wiring.inputs}, 2).")
    # Rows of values: inputs, units, and the 1 that biases multiply; so are the columns of the matrix.
    low = np.concatenate([box[:, 0], -np.ones(net.wiring.units), [1.0]])
    high = np.concatenate([box[:, 1], np.ones(net.wiring.units), [1.0]])
    place = torch.from_numpy(sweeps.row_of - net.wiring.inputs)
    matrix = sweeps.matrix[place].cpu().double().numpy()
    up, down = np.maximum(matrix, 0), np.minimum(matrix, 0)
    lowest, highest = up @ low + down @ high, up @ high + down @ low
    z = (sweeps.matrix[place] @ sweeps.values).cpu().double().numpy()
    a = sweeps.activations.cpu().double().numpy()
    middle = (np.tanh(lowest) + np.tanh(highest)) / 2
    return WorkingRange(
        z=np.quantile(z, QUANTILES, axis=1).T,
        a=np.quantile(a, QUANTILES, axis=1).T,
        lowest=lowest,
        highest=highest,
        silent=(a < middle[:, None]).mean(1),
        box=box,
    )


def _numbers(at: Sensitivity, weights: Sequence[int]) -> NDArray[np.int64]:
    columns = np.asarray(weights)
    if columns.ndim != 1 or not len(columns) or not np.issubdtype(columns.dtype, np.integer):
        raise InputError(f"{weights!r} are no weights.", "Give their numbers.")
    outside = columns[(columns < 0) | (columns >= at.size)]
    if len(outside):
        raise InputError(f"Weight {outside[0]} does not exist.", f"Weights run from 0 to {at.size - 1}.")
    return columns.astype(np.int64)


def _unit(at: Sensitivity, column: int) -> Tensor:
    one = torch.zeros_like(at.weights)
    one[column] = 1
    return one


def _outputs(
    at: Sensitivity, columns: NDArray[np.int64], changes: Array
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Give the outputs after a change of one weight each, part by part: rows, (len(rows), *output)."""
    if not isinstance(at, PictureSensitivity):
        for row, (column, change) in enumerate(zip(columns, changes, strict=True)):
            weights = at.weights.clone()
            weights[column] += change
            yield np.array([row]), at.at(weights).output[None]
        return
    targets = at.net.wiring.targets[columns]
    sums = at.sweeps.matrix @ at.sweeps.values
    length = max(1, _CHUNK // len(at.points))
    for target in np.unique(targets):
        rows = np.flatnonzero(targets == target)
        for start in range(0, len(rows), length):
            part = rows[start : start + length]
            outputs = _downstream(at.sweeps, sums, int(target), columns[part], changes[part])
            yield part, outputs.movedim(1, -1).reshape(len(part), *at.output.shape)


def _downstream(
    sweeps: Sweeps, sums: Tensor, target: int, columns: NDArray[np.int64], changes: Array
) -> Tensor:
    """Return the outputs, (k, outputs, points), after k changes of weights that enter one unit.

    Only units that read it, directly or through others, are computed.
    """
    wiring, first = sweeps.wiring, sweeps.wiring.inputs
    position = sweeps.row_of - first
    start = int(position[target])
    one = sweeps.values.new_ones(1, sweeps.values.shape[1])
    sources = [
        sweeps.values[sweeps.row_of[v - first] if v >= first else v] if s < wiring.synapses else one[0]
        for s in columns
        for v in [int(wiring.reads[s]) if s < wiring.synapses else 0]
    ]
    moved = torch.from_numpy(changes).to(one)[:, None] * torch.stack(sources)
    # Changes of the units from the target on, in the order of computation.
    differences = one.new_zeros(wiring.units - start, *moved.shape)
    differences[0] = torch.tanh(sums[start] + moved) - sweeps.values[first + start]
    reached = np.zeros(wiring.units - start, dtype=bool)
    reached[0] = True
    links = sweeps.matrix[start:, first + start : -1]
    linked = (links != 0).cpu().numpy()
    for unit in range(1, wiring.units - start):
        read = np.flatnonzero(linked[unit] & reached)
        if not len(read):
            continue
        reached[unit] = True
        if len(read) == unit:  # all of them: no copy
            change = torch.tensordot(links[unit, :unit], differences[:unit], dims=1)
        else:
            change = torch.tensordot(links[unit, read], differences[read], dims=1)
        place = start + unit
        differences[unit] = torch.tanh(sums[place] + change) - sweeps.values[first + place]
    outputs = sweeps.outputs.unsqueeze(0).repeat(len(columns), 1, 1)
    for number, unit in enumerate(wiring.outputs):
        if position[unit] >= start:
            outputs[:, number] += differences[position[unit] - start]
    return outputs
