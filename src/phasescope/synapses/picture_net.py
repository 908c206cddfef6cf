"""Networks of scalar units that paint a picture, and how each weight changes it.

Unit i has the value a_i = tanh(b_i + sum of w_s a_source(s)) over its synapses s; the outputs are values of
units, so colours lie in (-1, 1). With the pixels of a grid as the batch, the exact map of a synapse is

    J[s, c, p] = d f_c(p) / d w_s = delta_i^c(p) a_j(p),   s: j -> i,   delta_i^c = d f_c / d z_i

(the tanh is taken of z_i; the map of a bias is delta itself): one backward sweep for each colour gives all
maps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from scipy.linalg import get_blas_funcs
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.synapses.wiring import Wiring, thinned_cascade

Seed = int | torch.Generator

_CHUNK = 2048  # points whose maps are in memory at a time


class PictureNet(nn.Module):
    """A network of tanh units on any acyclic wiring; by default inputs x, y and outputs R, G, B.

    Parameters
    ----------
    wiring : Wiring, optional
        Which unit reads which; by default the thinned cascade of 37 units and 460 synapses.
    weights : tensor or array, shape (wiring.size,), optional
        The synapses in their order, by target and then by source, then the biases. By default drawn:
        normal, of variance ``gain**2 / fan_in`` for synapses and 0.25 for biases.
    gain : float
        Scale of the synapses that are drawn. Measured on scikit-learn's flower and china at 32 x 48 pixels,
        median RMSE of five seeds after 60 steps of Levenberg-Marquardt: 0.076 and 0.087 with a gain of 0.7;
        0.072 and 0.090 with 1; 0.066 and 0.079 with 1.5; 0.070 and 0.080 with 2; 0.067 and 0.081 with 3,
        where one start in five got no further than 0.32.
    seed : int or torch.Generator
        Of the weights that are drawn.
    dtype : torch.dtype
        Of the weights.
    device : str or torch.device
        Where they live.

    Attributes
    ----------
    weights : nn.Parameter, shape (wiring.size,)
        All weights in one vector.
    wiring : Wiring
        The wiring.

    Raises
    ------
    InputError
        If the number of weights is not that of the wiring, or one of them is not finite.
    """

    def __init__(
        self,
        wiring: Wiring | None = None,
        weights: Tensor | np.ndarray | Sequence[float] | None = None,
        *,
        gain: float = 1.5,
        seed: Seed = 0,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__()
        self.wiring = thinned_cascade() if wiring is None else wiring
        drawn = _draw(self.wiring, gain, seed) if weights is None else torch.as_tensor(weights, dtype=dtype)
        if drawn.shape != (self.wiring.size,):
            raise InputError(
                f"There are {tuple(drawn.shape)} weights.",
                f"The wiring has {self.wiring.synapses} synapses and {self.wiring.units} biases: "
                f"give {self.wiring.size} numbers.",
            )
        if not torch.isfinite(drawn).all():
            first = int(torch.nonzero(~torch.isfinite(drawn))[0])
            raise InputError(f"Weight {first} is {drawn[first].item()}.", "All weights must be finite.")
        self.weights = nn.Parameter(drawn.detach().to(device=device, dtype=dtype).clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs; differentiable in the weights and in the inputs.

        Parameters
        ----------
        inputs : tensor, shape (points, inputs)
            In (-1, 1) by habit, any number is allowed.

        Returns
        -------
        tensor, shape (points, outputs)
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.wiring.inputs:
            raise InputError(
                f"The inputs have shape {tuple(inputs.shape)}.", f"Use (points, {self.wiring.inputs})."
            )
        synapses, biases = self.weights[: self.wiring.synapses], self.weights[self.wiring.synapses :]
        values: list[Tensor | None] = [*inputs.to(self.weights).unbind(1), *([None] * self.wiring.units)]
        ends = np.cumsum([0, *(len(row) for row in self.wiring.sources)])
        for i in self.wiring.order:
            read = torch.stack([value for v in self.wiring.sources[i] if (value := values[v]) is not None])
            values[self.wiring.inputs + i] = torch.tanh(synapses[ends[i] : ends[i + 1]] @ read + biases[i])
        outputs = [values[self.wiring.inputs + i] for i in self.wiring.outputs]
        return torch.stack([value for value in outputs if value is not None], dim=1)

    def paint(self, height: int, width: int) -> Tensor:
        """Return the picture without a gradient, shape (height, width, outputs).

        Parameters
        ----------
        height, width : int
            Size of the grid, see :func:`grid`.
        """
        points = grid(height, width, dtype=self.weights.dtype, device=self.weights.device)
        return Sweeps(self, points).outputs.T.reshape(height, width, -1)

    def with_weights(self, weights: Tensor | np.ndarray) -> PictureNet:
        """Return a new network with the same wiring and other weights; this one stays as it is.

        Parameters
        ----------
        weights : tensor or array, shape (wiring.size,)
            All weights.
        """
        return PictureNet(self.wiring, weights, dtype=self.weights.dtype, device=self.weights.device)

    def to_dict(self) -> dict[str, Any]:
        """Return wiring and weights as JSON-ready values, which :meth:`from_dict` reads."""
        return {
            "kind": "picture-net",
            "version": 1,
            "inputs": self.wiring.inputs,
            "sources": [list(row) for row in self.wiring.sources],
            "outputs": list(self.wiring.outputs),
            "weights": self.weights.detach().cpu().double().tolist(),
        }

    @classmethod
    def from_dict(cls, data: Any, *, dtype: torch.dtype = torch.float64) -> PictureNet:
        """Return the network of what :meth:`to_dict`, or the page, wrote.

        Parameters
        ----------
        data : dict
            Keys ``kind``, ``version``, ``inputs``, ``sources``, ``outputs``, ``weights``; others are ignored.
        dtype : torch.dtype
            Of the weights.

        Raises
        ------
        InputError
            If a key is missing or holds something else than numbers in their place.
        """
        if not isinstance(data, dict) or data.get("kind") != "picture-net":
            raise InputError("This is no network of phasescope.", "It needs the key kind with picture-net.")
        try:
            sources = tuple(tuple(_whole(v) for v in row) for row in data["sources"])
            outputs = tuple(_whole(v) for v in data["outputs"])
            wiring = Wiring(_whole(data["inputs"]), sources, outputs)
            weights = torch.tensor([_number(w) for w in data["weights"]], dtype=torch.float64)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"The network is damaged: {error}.", "It needs inputs, sources, outputs and weights."
            ) from error
        return cls(wiring, weights, dtype=dtype)


def grid(
    height: int,
    width: int,
    *,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> Tensor:
    """Return the centres of the pixels as inputs x, y, row by row from the top: (height * width, 2).

    ``x = (2 j + 1) / width - 1`` grows to the right with the column j, ``y = 1 - (2 i + 1) / height``
    upwards: both lie in (-1, 1).

    Parameters
    ----------
    height, width : int
        Number of rows and of columns.
    dtype : torch.dtype
        Of the result.
    device : str or torch.device
        Of the result.

    Raises
    ------
    InputError
        If one of them is below 1.
    """
    if height < 1 or width < 1:
        raise InputError(f"A grid of {height} x {width} has no pixel.", "Use at least 1 x 1.")
    x = (2 * torch.arange(width, dtype=torch.float64) + 1) / width - 1
    y = 1 - (2 * torch.arange(height, dtype=torch.float64) + 1) / height
    points = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
    return points.reshape(-1, 2).to(device=device, dtype=dtype)


class Sweeps:
    """One forward pass on all points, and the backward sweeps on it, each done once and on demand.

    Rows are values, columns are points: one row for each input, then one for each unit in the order in which
    units are computed (``row_of`` gives a unit's row), and at last a row of ones, which the biases read.
    """

    def __init__(self, net: PictureNet, points: Tensor, weights: Tensor | None = None) -> None:
        self.wiring = net.wiring
        self.weights = (net.weights if weights is None else weights).detach()
        self._plan = _plan(net.wiring, self.weights.device)
        units, first = net.wiring.units, net.wiring.inputs
        self.matrix = self.weights.new_zeros(units, first + units + 1)
        self.matrix[self._plan.targets, self._plan.reads] = self.weights
        self.values = self._forward(points.to(self.weights))

    def _forward(self, points: Tensor) -> Tensor:
        first = self.wiring.inputs
        values = points.new_empty(self.matrix.shape[1], len(points))
        values[:first] = points.T
        values[-1] = 1
        torch.addmm(self.matrix[:, -1:], self.matrix[:, :first], values[:first], out=values[first:-1])
        for block in self._plan.blocks:
            own = values[first + block.start : first + block.stop]
            if block.reads:
                read = slice(first + block.reads.start, first + block.reads.stop)
                own.addmm_(self.matrix[block.start : block.stop, read], values[read])
            own.tanh_()
        return values

    @property
    def row_of(self) -> np.ndarray:
        """The row of each unit in ``values``, shape (units,)."""
        rows: np.ndarray = self.wiring.inputs + self._plan.position
        return rows

    @cached_property
    def activations(self) -> Tensor:
        """Values of the units in their own numbering, shape (units, points)."""
        return self.values[torch.from_numpy(self.row_of).to(self.values.device)]

    @cached_property
    def outputs(self) -> Tensor:
        """The output, shape (outputs, points)."""
        return self.values[self.wiring.inputs + self._plan.outputs]

    @cached_property
    def slopes(self) -> Tensor:
        """Derivative 1 - a^2 of each unit's tanh, in the order of computation, shape (units, points)."""
        units = self.values[self.wiring.inputs : -1]
        return torch.addcmul(self.values[-1], units, units, value=-1)

    def back(self, seeds: Tensor) -> Tensor:
        """Return the derivative in z of sum(seeds * outputs) for each unit, in the order of computation.

        `seeds` has shape (outputs, points) or (outputs, k, points), the result one row a unit.
        """
        flat = seeds.reshape(len(seeds), -1)
        points = self.slopes.shape[1]
        deltas = flat.new_empty(self.wiring.units, flat.shape[1])
        for block in self._plan.blocks:
            if block.has_output:
                deltas[block.start : block.stop] = 0
        deltas[self._plan.outputs] = flat
        # A copy, since products with a column of a matrix are slow.
        readers_of = self.matrix[:, self.wiring.inputs : -1].T.contiguous()
        for block in reversed(self._plan.blocks):
            own = deltas[block.start : block.stop]
            readers = slice(block.read_by.start, block.read_by.stop)
            if block.read_by:
                weights = readers_of[block.start : block.stop, readers]
                if block.has_output:
                    own.addmm_(weights, deltas[readers])
                else:
                    torch.mm(weights, deltas[readers], out=own)
            own.view(len(own), -1, points).mul_(self.slopes[block.start : block.stop, None])
        return deltas.reshape(self.wiring.units, *seeds.shape[1:])

    @cached_property
    def deltas(self) -> Tensor:
        """Derivative of each output c in z_i, in the order of computation, shape (units, outputs, points)."""
        count, points = len(self.wiring.outputs), self.values.shape[1]
        seeds = torch.eye(count, dtype=self.values.dtype, device=self.values.device)
        return self.back(seeds[:, :, None].expand(count, count, points))

    def maps(self, weights: Sequence[int] | None = None, *, out: Tensor | None = None) -> Tensor:
        """Return maps J of some weights, or of all, shape (weights, outputs, points), into `out` if given."""
        if weights is not None:
            chosen = torch.as_tensor(weights, device=self.values.device)
            read = self.values[self._plan.reads[chosen]]
            return self.deltas[self._plan.targets[chosen]] * read.unsqueeze(1)
        if out is None:
            out = self.values.new_empty(self.wiring.size, *self.deltas.shape[1:])
        for run in self._plan.runs:  # views, so that nothing but the result is written
            torch.mul(self.values[run.reads].unsqueeze(1), self.deltas[run.target], out=out[run.weights])
        return out

    def pulled_back(self, seeds: Tensor) -> Tensor:
        """Return J^T seeds: the gradient of sum(seeds * outputs) in all weights.

        `seeds` has shape (outputs, points) or (outputs, k, points); the result (size,) or (k, size).
        """
        deltas = self.back(seeds)
        if deltas.ndim == 3:
            deltas = deltas.transpose(0, 1)
        return (deltas @ self.values.T)[..., self._plan.targets, self._plan.reads]

    def pulled_back_at(self, points: Tensor, seeds: Tensor) -> Tensor:
        """Return J^T seeds, shape (size,), for seeds on some points alone, shape (outputs, len(points))."""
        deltas = (self.deltas[:, :, points] * seeds).sum(1)
        return (deltas @ self.values[:, points].T)[self._plan.targets, self._plan.reads]

    def pushed(self, change: Tensor) -> Tensor:
        """Return J change, the change of the outputs to first order, shape (outputs, points).

        `change` has shape (size,), or (k, size) for a result of shape (k, outputs, points).
        """
        rows = change.to(self.matrix).reshape(-1, self.wiring.size)
        count, first = len(rows), self.wiring.inputs
        direct = self.matrix.new_zeros(self.wiring.units, count, self.matrix.shape[1])
        direct[self._plan.targets, :, self._plan.reads] = rows.T
        tangents = (direct.reshape(-1, direct.shape[2]) @ self.values).reshape(self.wiring.units, -1)
        points = self.values.shape[1]
        for block in self._plan.blocks:
            own = tangents[block.start : block.stop]
            if block.reads:
                read = slice(first + block.reads.start, first + block.reads.stop)
                weights = self.matrix[block.start : block.stop, read]
                own.addmm_(weights, tangents[block.reads.start : block.reads.stop])
            own.view(len(own), count, points).mul_(self.slopes[block.start : block.stop, None])
        found = tangents[self._plan.outputs].reshape(-1, count, points).transpose(0, 1)
        return found if change.ndim == 2 else found[0]

    def energies(self, masks: Tensor) -> Tensor:
        """Return the sum of J^2 over the points of each mask and all outputs, shape (masks, size).

        `masks` has shape (masks, points): weights of the pixels, such as 0 and 1.
        """
        deltas, values = self.deltas.square().sum(1), self.values.square()
        energies = values.new_zeros(len(masks), self.wiring.size)
        for start in range(0, values.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            squares = values.new_empty(self.wiring.size, values[0, part].numel())
            for run in self._plan.runs:
                torch.mul(values[run.reads, part], deltas[run.target, part], out=squares[run.weights])
            energies.addmm_(masks[:, part].to(squares), squares.T)
        return energies

    def gram(self) -> Tensor:
        """Return J^T J over all points and outputs, shape (size, size), summed up in float64."""
        size = self.wiring.size
        total = torch.zeros(size, size, dtype=torch.float64, device=self.values.device)
        for start in range(0, self.values.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            maps = self.values.new_empty(size, len(self.wiring.outputs), self.values[0, part].numel())
            for run in self._plan.runs:
                read = self.values[run.reads, None, part]
                torch.mul(read, self.deltas[run.target, :, part], out=maps[run.weights])
            flat = maps.reshape(size, -1)
            if flat.is_cuda:
                total += flat @ flat.T
            else:  # the upper triangle, in half the time of a product
                (syrk,) = get_blas_funcs(("syrk",), (flat.numpy(),))
                total += torch.from_numpy(syrk(1.0, flat.numpy().T, trans=1))
        return torch.triu(total) + torch.triu(total, 1).T


@dataclass(frozen=True)
class _Block:
    """Units from start to stop, in the order of computation, that do not read each other."""

    start: int
    stop: int
    # The smallest runs of units that hold all that the block reads, and all that read the block.
    reads: range
    read_by: range
    has_output: bool


@dataclass(frozen=True)
class _Run:
    """Weights into one unit that read neighbouring rows."""

    weights: slice
    target: int
    reads: slice


@dataclass(frozen=True)
class _Plan:
    """What the sweeps of a wiring need to know: places in the order of computation, and runs of weights."""

    position: np.ndarray
    blocks: tuple[_Block, ...]
    # Rows and columns of the weights in the matrix of units by values, and rows of the outputs.
    targets: Tensor
    reads: Tensor
    outputs: Tensor
    runs: tuple[_Run, ...]


@lru_cache(maxsize=64)
def _plan(wiring: Wiring, device: torch.device) -> _Plan:
    units, first = wiring.units, wiring.inputs
    position = np.empty(units, dtype=np.int64)
    position[list(wiring.order)] = np.arange(units)
    row_of = np.concatenate([np.arange(first), first + position])
    targets = position[wiring.targets]
    reads = np.concatenate([row_of[wiring.reads], np.full(units, first + units)])
    connected = np.zeros((units, units), dtype=bool)
    hidden = wiring.reads >= first
    connected[targets[: wiring.synapses][hidden], reads[: wiring.synapses][hidden] - first] = True
    outputs = position[list(wiring.outputs)]
    starts = [0]
    for place in range(units):
        if connected[place, starts[-1] : place].any():
            starts.append(place)
    blocks = tuple(
        _Block(
            start,
            stop,
            _hull(connected[start:stop]),
            _hull(connected[:, start:stop].T),
            bool(((outputs >= start) & (outputs < stop)).any()),
        )
        for start, stop in itertools.pairwise([*starts, units])
    )
    breaks = np.flatnonzero((np.diff(targets) != 0) | (np.diff(reads) != 1)) + 1
    runs = tuple(
        _Run(slice(a, b), int(targets[a]), slice(int(reads[a]), int(reads[a]) + b - a))
        for a, b in itertools.pairwise([0, *breaks.tolist(), wiring.size])
    )
    rows, columns, last = (torch.from_numpy(array).to(device) for array in (targets, reads, outputs))
    return _Plan(position, blocks, rows, columns, last, runs)


def _hull(connected: np.ndarray) -> range:
    """Return the smallest run of columns that holds all True."""
    places = np.flatnonzero(connected.any(0))
    return range(int(places[0]), int(places[-1]) + 1) if len(places) else range(0)


def _draw(wiring: Wiring, gain: float, seed: Seed) -> Tensor:
    """Return weights of the variance that the class states."""
    if not math.isfinite(gain) or gain <= 0:
        raise InputError(f"gain={gain} is no scale.", "Use a positive number, 1.5 by default.")
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    normal = torch.randn(wiring.size, generator=generator, dtype=torch.float64, device=generator.device)
    counts = torch.tensor([len(row) for row in wiring.sources], dtype=torch.float64)
    scales = gain / counts.sqrt()[torch.from_numpy(wiring.targets[: wiring.synapses])]
    return normal.cpu() * torch.cat([scales, torch.full((wiring.units,), 0.5, dtype=torch.float64)])


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value)
