"""Networks of scalar units that paint a picture, and how each weight changes it.

Unit i has the value a_i = tanh(b_i + sum of w_s a_source(s)) over its synapses s; the outputs are values of
units, so colours lie in (-1, 1). With the pixels of a grid as the batch, the exact map of a synapse is

    J[s, c, p] = d f_c(p) / d w_s = delta_i^c(p) a_j(p),   s: j -> i,   delta_i^c = d f_c / d z_i

(the tanh is taken of z_i; the map of a bias is delta itself): one backward sweep for each colour gives all
maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.synapses.wiring import Wiring, thinned_cascade

Seed = int | torch.Generator


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
        Scale of the synapses that are drawn.
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
        drawn = _draw(self.wiring, gain, seed) if weights is None else torch.as_tensor(weights)
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
        values: list[Tensor | None] = [*inputs.unbind(1), *([None] * self.wiring.units)]
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
            raise InputError(f"The network is damaged: {error}.", "Export it again.") from error
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
    units are computed (``row_of`` gives a unit's row).
    """

    def __init__(self, net: PictureNet, points: Tensor, weights: Tensor | None = None) -> None:
        wiring = net.wiring
        self.wiring = wiring
        self.weights = (net.weights if weights is None else weights).detach()
        self._position = np.empty(wiring.units, dtype=np.int64)
        self._position[list(wiring.order)] = np.arange(wiring.units)
        # Where the synapses stand in the matrix of rows by rows, in the order of computation.
        rows = self._position[wiring.targets[: wiring.synapses]]
        hidden = wiring.reads >= wiring.inputs
        columns = wiring.reads.copy()
        columns[hidden] = wiring.inputs + self._position[wiring.reads[hidden] - wiring.inputs]
        device = self.weights.device
        self._rows, self._columns = torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)
        self._order = torch.tensor(wiring.order, device=device)
        self.matrix = self.weights.new_zeros(wiring.units, wiring.inputs + wiring.units)
        self.matrix[self._rows, self._columns] = self.weights[: wiring.synapses]
        self.biases = self.weights[wiring.synapses :][self._order]
        self._blocks = _blocks(wiring)
        self.values = self._forward(points.to(self.weights))

    def _forward(self, points: Tensor) -> Tensor:
        first = self.wiring.inputs
        values = points.new_empty(first + self.wiring.units, len(points))
        values[:first] = points.T
        for start, stop in self._blocks:
            block = values[first + start : first + stop]
            torch.addmm(
                self.biases[start:stop, None],
                self.matrix[start:stop, : first + start],
                values[: first + start],
                out=block,
            )
            block.tanh_()
        return values

    @property
    def row_of(self) -> np.ndarray:
        """The row of each unit in ``values``, shape (units,)."""
        rows: np.ndarray = self.wiring.inputs + self._position
        return rows

    @cached_property
    def activations(self) -> Tensor:
        """Values of the units in their own numbering, shape (units, points)."""
        return self.values[torch.from_numpy(self.row_of).to(self.values.device)]

    @cached_property
    def outputs(self) -> Tensor:
        """The output, shape (outputs, points)."""
        return self.activations[list(self.wiring.outputs)]

    @cached_property
    def slopes(self) -> Tensor:
        """Derivative 1 - a^2 of each unit's tanh, in the order of computation, shape (units, points)."""
        units = self.values[self.wiring.inputs :]
        return torch.addcmul(torch.ones((), dtype=units.dtype, device=units.device), units, units, value=-1)

    def back(self, seeds: Tensor) -> Tensor:
        """Return the derivative in z of sum(seeds * outputs) for each unit, in the order of computation.

        `seeds` has shape (outputs, points) or (outputs, k, points), the result one row a unit.
        """
        flat = seeds.reshape(len(seeds), -1)
        copies = flat.shape[1] // self.slopes.shape[1]
        deltas = flat.new_zeros(self.wiring.units, flat.shape[1])
        # Two outputs are two units, so plain assignment adds nothing up.
        deltas[torch.from_numpy(self._position[list(self.wiring.outputs)]).to(deltas.device)] = flat
        slopes = self.slopes.unsqueeze(1)
        first = self.wiring.inputs
        for start, stop in reversed(self._blocks):
            block = deltas[start:stop]
            if stop < self.wiring.units:
                block.addmm_(self.matrix[stop:, first + start : first + stop].T, deltas[stop:])
            block.view(stop - start, copies, -1).mul_(slopes[start:stop])
        return deltas.reshape(self.wiring.units, *seeds.shape[1:])

    @cached_property
    def deltas(self) -> Tensor:
        """Derivative of each output c in z_i, in the order of computation, shape (units, outputs, points)."""
        count, points = len(self.wiring.outputs), self.values.shape[1]
        seeds = torch.eye(count, dtype=self.values.dtype, device=self.values.device)
        return self.back(seeds[:, :, None].expand(count, count, points).contiguous())

    def maps(self, out: Tensor | None = None) -> Tensor:
        """Return all maps J, shape (size, outputs, points), into `out` where it is given."""
        shape = (self.wiring.size, *self.deltas.shape[1:])
        maps = self.values.new_empty(shape) if out is None else out
        ends = np.cumsum([0, *(len(row) for row in self.wiring.sources)])
        for i in range(self.wiring.units):
            delta = self.deltas[self._position[i]]
            rows = slice(int(ends[i]), int(ends[i + 1]))
            read = self.values[self._columns[rows]]
            torch.mul(read.unsqueeze(1), delta, out=maps[rows])
        torch.index_select(
            self.deltas, 0, torch.from_numpy(self._position).to(maps.device), out=maps[self.wiring.synapses :]
        )
        return maps

    def pulled_back(self, seeds: Tensor) -> Tensor:
        """Return J^T seeds: the gradient of sum(seeds * outputs) in all weights.

        `seeds` has shape (outputs, points) or (outputs, k, points); the result (size,) or (k, size).
        """
        deltas = self.back(seeds)
        if seeds.ndim == 2:
            return self._gather(deltas @ self.values.T, deltas.sum(-1))
        products = deltas.transpose(0, 1) @ self.values.T
        return self._gather(products, deltas.sum(-1).T)

    def _gather(self, products: Tensor, sums: Tensor) -> Tensor:
        """Return entries of the matrix units by values and of the units, in the order of the weights."""
        position = torch.from_numpy(self._position).to(products.device)
        return torch.cat([products[..., self._rows, self._columns], sums[..., position]], dim=-1)

    def pushed(self, change: Tensor) -> Tensor:
        """Return J change, the change of the outputs to first order, shape (outputs, points).

        `change` has shape (size,), or (k, size) for a result of shape (k, outputs, points).
        """
        if change.ndim == 2:
            return torch.stack([self.pushed(row) for row in change])
        first = self.wiring.inputs
        matrix = torch.zeros_like(self.matrix)
        matrix[self._rows, self._columns] = change[: self.wiring.synapses].to(matrix)
        biases = change[self.wiring.synapses :].to(matrix)[self._order]
        tangents = torch.zeros_like(self.values)
        for start, stop in self._blocks:
            block = tangents[first + start : first + stop]
            torch.addmm(biases[start:stop, None], matrix[start:stop], self.values, out=block)
            block.addmm_(self.matrix[start:stop, : first + start], tangents[: first + start])
            block.mul_(self.slopes[start:stop])
        return tangents[self.row_of[list(self.wiring.outputs)]]

    def energies(self, masks: Tensor) -> Tensor:
        """Return the sum of J^2 over the pixels of each mask and all outputs, shape (masks, size).

        `masks` has shape (masks, points): weights of the pixels, such as 0 and 1. No map is built.
        """
        squares = self.deltas.square().sum(1)
        weighted = masks.to(squares)[:, None, :] * squares
        return self._gather(weighted @ self.values.square().T, weighted.sum(-1))


def _blocks(wiring: Wiring) -> list[tuple[int, int]]:
    """Return runs of units, in the order of computation, that do not read each other."""
    position = {unit: place for place, unit in enumerate(wiring.order)}
    blocks, start = [], 0
    for place, unit in enumerate(wiring.order):
        read = (position[v - wiring.inputs] for v in wiring.sources[unit] if v >= wiring.inputs)
        if place > start and max(read, default=-1) >= start:
            blocks.append((start, place))
            start = place
    return [*blocks, (start, wiring.units)]


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
