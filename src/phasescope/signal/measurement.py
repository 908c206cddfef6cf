"""What one profile collects: numbers per row and sample, filled chunk by chunk."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from phasescope.recording.batch import Batch
from phasescope.recording.layers import Layer
from phasescope.recording.tangents import gaussian
from phasescope.signal.reductions import distances, mean_square, not_finite, responds, split_tangent
from phasescope.signal.saturation import limits, saturated

ACROSS, BACK = 1, 2  # streams of random numbers


@dataclass
class Measurement:
    """Per-sample numbers of every row, ``nan`` where nothing was seen."""

    layers: list[Layer]  # rows, in the order of the dataset
    # samples, probes, seed: number of samples, of random tangents, and the seed of both
    samples: int
    probes: int
    seed: int
    kernel: np.ndarray = field(init=False)
    distance: np.ndarray = field(init=False)
    nonfinite: np.ndarray = field(init=False)
    saturated: np.ndarray = field(init=False)
    across: np.ndarray = field(init=False)
    along: np.ndarray = field(init=False)
    gradient: np.ndarray = field(init=False)
    cotangent: np.ndarray = field(init=False)
    alive: list[np.ndarray | None] = field(init=False)
    units: list[int] = field(init=False)
    masked: dict[str, int] = field(default_factory=dict)
    broken: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        rows, n = len(self.layers), self.samples
        self.kernel, self.nonfinite, self.saturated, self.along = (
            np.full((rows, n), np.nan) for _ in range(4)
        )
        self.across, self.gradient = (np.full((self.probes, rows, n), np.nan) for _ in range(2))
        self.distance = np.full((rows, n // 2), np.nan)
        self.identical = np.zeros(n // 2, dtype=bool)
        self.input_kernel = np.full(n, np.nan)
        self.start_kernel, self.start_distance = np.full(n, np.nan), np.full(n // 2, np.nan)
        self.cotangent = np.full((self.probes, n), np.nan)
        self.alive, self.units = [None] * rows, [0] * rows
        self.broken = np.zeros(n, dtype=bool)
        self._row = {layer.name: index for index, layer in enumerate(self.layers)}
        self._limits = {
            layer.name: limits(layer.module)
            for layer in self.layers
            if layer.role == "activation" and not layer.skipped
        }

    # Tangents -----------------------------------------------------------------------------------------------

    def perpendicular(self, tensor: Tensor, number: int, first: int, probe: int) -> Tensor:
        """Return a random tangent of the length of the input and perpendicular to it, sample by sample."""
        u = gaussian(tensor.shape, tensor, seed=(self.seed, ACROSS, probe, number), first=first).flatten(1)
        z = tensor.flatten(1)
        if z.shape[1] > 1:
            wide, flat = u.double(), z.double()
            square = flat.square().sum(dim=1, keepdim=True)
            share = (wide * flat).sum(dim=1, keepdim=True) / torch.where(square > 0, square, 1.0)
            u = (wide - share * flat).to(tensor.dtype)
        scale = torch.linalg.vector_norm(z, dim=1, dtype=torch.float64)
        length = torch.linalg.vector_norm(u, dim=1, dtype=torch.float64)
        scale = torch.where(scale > 0, scale, z.shape[1] ** 0.5) / torch.where(length > 0, length, 1.0)
        return (u * scale.to(u.dtype).unsqueeze(1)).reshape(tensor.shape)

    def back(self, tensor: Tensor, number: int, probe: int, first: int) -> Tensor:
        """Return a random cotangent of an output of the model."""
        return gaussian(tensor.shape, tensor, seed=(self.seed, BACK, probe, number), first=first)

    # What is kept at a row ----------------------------------------------------------------------------------

    def see_input(self, batch: Batch, first: int) -> None:
        """Keep the kernel of the floating-point input itself, and which pairs of inputs are no pairs."""
        pairs = slice(first // 2, first // 2 + batch.size // 2)
        self.identical[pairs] = batch.identical_pairs()
        tensors = batch.floats()
        if not tensors:
            return
        flat = (
            torch.cat([t.flatten(1) for t in tensors], dim=1) if len(tensors) > 1 else tensors[0].flatten(1)
        )
        self.input_kernel[first : first + batch.size] = mean_square(flat)

    def see_primal(
        self,
        layer: Layer,
        argument: Tensor | None,
        output: Tensor,
        tangent: Tensor | None,
        first: int,
        size: int,
    ) -> None:
        """Keep kernel, distances, non-finite and saturated units, and the radial response."""
        row = self._row[layer.name]
        here = slice(first, first + size)
        self._see_argument(layer, argument, first, size)
        pairs = slice(first // 2, (first + size) // 2)
        if row == 0 and argument is not None and argument.shape[:1] == (size,):
            self.start_kernel[here] = mean_square(argument.flatten(1))
            self.start_distance[pairs] = np.where(
                self.identical[pairs], np.nan, distances(argument.flatten(1))
            )
        z = layer.samples(output, size)
        self.units[row] = z.shape[1]
        fraction, broken = not_finite(z)
        # A sample that was NaN or infinite at an earlier row carries no signal here, however finite it looks.
        lost = self.broken[here]
        if bool((lost & (fraction == 0)).any()):
            self.masked.setdefault(layer.name, int((lost & (fraction == 0)).sum()))
        self.broken[here] |= broken
        self.nonfinite[row, here] = np.where(lost, 1.0, fraction)
        self.kernel[row, here] = np.where(lost, np.inf, mean_square(z))
        rho = distances(z)
        usable = np.isfinite(rho) & ~lost[0 : 2 * len(rho) : 2] & ~lost[1 : 2 * len(rho) : 2]
        self.distance[row, pairs] = np.where(usable & ~self.identical[pairs], rho, np.nan)
        if layer.name in self._limits:
            self.saturated[row, here] = saturated(z, self._limits[layer.name])
        if tangent is not None:
            along = split_tangent(z, layer.samples(tangent, size))[1]
            self.along[row, here] = np.where(np.isfinite(self.kernel[row, here]), along, np.nan)
        self._see_alive(row, layer, output, tangent)

    def see_across(
        self, layer: Layer, output: Tensor, tangent: Tensor | None, first: int, size: int, probe: int
    ) -> None:
        """Keep the perpendicular part of a random tangent."""
        if tangent is None:
            return
        row = self._row[layer.name]
        z, u = layer.samples(output, size), layer.samples(tangent, size)
        here = slice(first, first + size)
        across = split_tangent(z, u)[0]
        self.across[probe, row, here] = np.where(np.isfinite(self.kernel[row, here]), across, np.nan)
        self._see_alive(row, layer, output, tangent)

    def see_back(self, layer: Layer, probe: int, gradient: Tensor, first: int, size: int) -> None:
        """Keep the squared norm of the gradient."""
        row = self._row[layer.name]
        squares = mean_square(layer.samples(gradient, size)) * self.units[row]
        self.gradient[probe, row, first : first + size] = squares

    def _see_alive(self, row: int, layer: Layer, output: Tensor, tangent: Tensor | None) -> None:
        alive = responds(output if tangent is None else tangent, layer.unit_axis)
        seen = self.alive[row]
        self.alive[row] = alive if seen is None or len(seen) != len(alive) else seen | alive

    def _see_argument(self, layer: Layer, argument: Tensor | None, first: int, size: int) -> None:
        # What a functional step made NaN or infinite is noticed before a row without weights can hide it.
        if argument is None or layer.role in ("weight", "norm") or argument.shape[:1] != (size,):
            return
        bad = argument.isnan() | (argument == torch.inf)
        if bool(bad.any()):
            self.broken[first : first + size] |= np.asarray(bad.flatten(1).any(dim=1).cpu())

    def see_outputs(self, outputs: list[tuple[Tensor, list[Tensor]]], first: int, size: int) -> None:
        """Keep the squared norm of the cotangents, the unit of the gradient."""
        for probe in range(self.probes if outputs else 0):
            total = np.zeros(size)
            for tensor, cotangents in outputs:
                if tensor.ndim and tensor.shape[0] % size == 0:
                    flat = cotangents[probe].reshape(size, -1)
                    total += mean_square(flat) * flat.shape[1]
            self.cotangent[probe, first : first + size] = np.where(total > 0, total, np.nan)

    def tangent_scale(self) -> np.ndarray:
        """Return the mean square of the entering tangents for each sample, that of the input or first row."""
        across = self.across.mean(axis=0)
        seen = [row for row in across if not np.isnan(row).all()]
        start = np.where(self.input_kernel > 0, self.input_kernel, 1.0)
        if np.isnan(self.input_kernel).all() and seen:
            start = seen[0]
        return np.asarray(start)
