"""An ensemble of random convolutional networks: its checked description, and running it in chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.memory import in_bytes
from phasescope.signal.differences import differences
from phasescope.signal.sampling.cnn_dynamics import Block, State, Vectors
from phasescope.signal.sampling.cnn_order import (
    averages,
    kernels,
    log_site_variance,
    site_log_distances,
    spreading,
)
from phasescope.signal.sampling.cnn_weights import Layers, LocalWeights, Normals, SharedWeights
from phasescope.theory import MeanField

Start = Literal["homogeneous", "uniform", "seed"]
Weights = Literal["shared", "local"]
# What fits into a processor's cache is fastest.
_DEFAULT_MEMORY = 8_000_000
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Ensemble:
    """A checked request; what every chunk of networks needs to know."""

    block: Block
    channels: int
    size: tuple[int, ...]
    kernel_size: int
    C_W: float
    C_b: float
    kernel: float
    distance: float
    start: Start
    weights: Weights
    replicas: int
    tangent: bool
    threshold: float
    seed: int
    device: torch.device

    @classmethod
    def checked(
        cls,
        activation: Spec,
        channels: int,
        size: int | tuple[int, int],
        C_W: float,
        C_b: float,
        *,
        kernel_size: int,
        seed: int,
        start: Start,
        weights: Weights,
        replicas: int,
        kernel: float | None,
        distance: float,
        residual: float,
        layer_norm: bool,
        tangent: bool,
        threshold: float,
        device: str | torch.device,
    ) -> Ensemble:
        """Return the ensemble of a user's arguments; those of :func:`phasescope.signal.sample_cnn`."""
        if kernel_size % 2 == 0:
            raise InputError(f"kernel_size = {kernel_size}.", "Use an odd one, which has a middle.")
        if replicas == 1 and not tangent:
            raise InputError("replicas = 1 without a tangent.", "Use replicas=2, or tangent=True.")
        if not 0 <= residual < 1:
            raise InputError(f"residual = {residual}.", "Give the share of the identity, from 0 to below 1.")
        if not 0 < threshold < 1:
            raise InputError(f"threshold = {threshold}.", "Give a distance between 0 and 1.")
        if not 0 < distance <= 2:
            raise InputError(f"distance = {distance}.", "Give 1 - c of the first layer, in (0, 2].")
        block = Block(differences(as_activation(activation)), float(residual), bool(layer_norm))
        variances = _variance("C_W", C_W, positive=True), _variance("C_b", C_b)
        return cls(
            block=block,
            channels=whole("channels", channels, 2),
            size=_sites(size),
            kernel_size=whole("kernel_size", kernel_size, 1),
            C_W=variances[0],
            C_b=variances[1],
            kernel=_first_kernel(block, *variances, kernel),
            distance=float(distance),
            start=_one_of("start", start, get_args(Start)),
            weights=_one_of("weights", weights, get_args(Weights)),
            replicas=_one_of("replicas", replicas, (1, 2)),
            tangent=bool(tangent),
            threshold=float(threshold),
            seed=whole("seed", seed, 0),
            device=torch.device(device),
        )

    def describe(self) -> dict[str, Any]:
        """Return the description as attributes of a dataset."""
        return {
            "activation": self.block.rule.activation.name,
            "channels": self.channels,
            "size": list(self.size),
            "kernel_size": self.kernel_size,
            "padding": "cyclic",
            "C_W": self.C_W,
            "C_b": self.C_b,
            "first_kernel": self.kernel,
            "first_distance": self.distance,
            "start": self.start,
            "weights": self.weights,
            "residual": self.block.residual,
            "layer_norm": int(self.block.layer_norm),
            "threshold": self.threshold,
            "seed": self.seed,
        }

    def bytes_each(self) -> int:
        """Return the memory that one network takes at its peak."""
        kinds, window = self.replicas + self.tangent, int(self.kernel_size ** len(self.size))
        fields = (2 * (window if self.weights == "shared" else 3) + 8) * kinds
        return 8 * (fields * self.channels * math.prod(self.size) + 2 * self.channels**2 * window + 8192)

    def layers(self, networks: range) -> Layers:
        """Return the layers of these networks, from the second on."""
        normals = Normals(self.seed, networks, 1, self.device)
        if self.weights == "shared":
            return SharedWeights(normals, self.kernel_size, self.C_W, self.C_b)
        extra = Normals(self.seed, networks, 3, self.device)
        return LocalWeights(normals, extra, self.kernel_size, self.C_W, self.C_b, tangent=self.tangent)

    def first(self, networks: range) -> State:
        """Return the pre-activations of the first layer."""
        shape = (len(networks), self.channels, *self.size)
        normals = Normals(self.seed, networks, 0, self.device)
        z = normals.draw(math.prod(shape[1:])).reshape(shape)
        if self.start == "uniform":
            z = z[(...,) + (slice(0, 1),) * len(self.size)].expand(shape)
        scale, d = math.sqrt(self.kernel), self.distance
        shift = torch.zeros(shape[0], dtype=torch.float64, device=self.device)
        difference = tangent = None
        if self.replicas == 2:
            other = normals.draw(math.prod(shape[1:])).reshape(shape)
            step = self._placed(scale * (math.sqrt(d * (2 - d)) * other - d * z))
            difference = Vectors(step, shift).rescaled(above=-200)
        if self.tangent:
            u = Normals(self.seed, networks, 2, self.device).draw(math.prod(shape[1:])).reshape(shape)
            tangent = Vectors(self._placed(u), shift).rescaled()
        return State(scale * z, difference, tangent)

    def _placed(self, values: Tensor) -> Tensor:
        if self.start != "seed":
            return values
        middle = torch.zeros(self.size, dtype=torch.bool, device=self.device)
        middle[tuple(length // 2 for length in self.size)] = True
        return torch.where(middle, values, 0.0)

    def measure(self, state: State) -> dict[str, Tensor]:
        """Return the numbers of one recorded layer, networks first."""
        found = {"kernel": kernels(state), "log_site_variance": log_site_variance(state.h)}
        if state.difference is not None:
            logs = site_log_distances(state.h, state.difference)
            found |= averages(logs)
            if self.start == "seed":
                found |= spreading(logs, self.threshold)
        if state.tangent is not None:
            found["log_growth"] = state.tangent.log_square()
        return found


def run(
    ensemble: Ensemble,
    networks: int,
    depth: int,
    layers: Sequence[int] | None,
    max_memory: int | float | str | None,
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Return the recorded numbers, networks first and layers last, and the layers.

    Parameters
    ----------
    ensemble : Ensemble
        What to sample.
    networks, depth, layers, max_memory
        As for :func:`phasescope.signal.sample_cnn`.
    """
    whole("networks", networks, 1)
    recorded = _recorded(layers, whole("depth", depth, 1))
    chunk = _chunk(ensemble, networks, max_memory)
    parts = [
        _run(ensemble, range(begin, min(begin + chunk, networks)), recorded)
        for begin in range(0, networks, chunk)
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return found, recorded


@torch.no_grad()
def _run(ensemble: Ensemble, networks: range, recorded: list[int]) -> dict[str, np.ndarray]:
    step = ensemble.layers(networks)
    state = ensemble.first(networks)
    origin = None if state.tangent is None else state.tangent.log_square()
    wanted = set(recorded)
    rows: list[dict[str, Tensor]] = []
    for layer in range(1, recorded[-1] + 1):
        if layer > 1:
            state = ensemble.block.advance(state, step)
        if layer in wanted:
            row = ensemble.measure(state)
            if origin is not None:
                row["log_growth"] = row["log_growth"] - origin
            rows.append(row)
    return {name: torch.stack([row[name] for row in rows], dim=-1).cpu().numpy() for name in rows[0]}


def whole(name: str, value: int, least: int) -> int:
    """Return `value` if it is a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} = {value!r}.", f"Give a whole number from {least}.")
    return int(value)


def _recorded(layers: Sequence[int] | None, depth: int) -> list[int]:
    if layers is None:
        return list(range(1, depth + 1))
    recorded = sorted({int(layer) for layer in layers})
    if not recorded or recorded[0] < 1 or recorded[-1] > depth:
        raise InputError(f"layers = {list(layers)!r}.", f"Name layers from 1 to depth = {depth}.")
    return recorded


def _chunk(ensemble: Ensemble, networks: int, max_memory: int | float | str | None) -> int:
    each = ensemble.bytes_each()
    if max_memory is None:
        return min(networks, max(1, _DEFAULT_MEMORY // each))
    limit = in_bytes(max_memory)
    if each > limit:
        raise MemoryLimitError(
            f"One network of {ensemble.channels} channels on {ensemble.size} sites is {each / 1e6:.4g} MB, "
            f"max_memory is {limit / 1e6:.4g} MB."
        )
    return min(networks, limit // each)


def _variance(name: str, value: float, *, positive: bool = False) -> float:
    if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
        raise InputError(f"{name} = {value} is no variance.", f"Use {name} {'>' if positive else '>='} 0.")
    return float(value)


def _one_of(name: str, value: _Value, allowed: tuple[_Value, ...]) -> _Value:
    if value not in allowed:
        raise InputError(f"{name} = {value!r}.", f"Use one of {', '.join(map(repr, allowed))}.")
    return value


def _sites(size: int | tuple[int, int]) -> tuple[int, ...]:
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if len(sizes) not in (1, 2):
        raise InputError(f"size = {size!r}.", "Give the sites of a lattice: L, or (L, L).")
    return tuple(whole("size", length, 1) for length in sizes)


def _first_kernel(block: Block, C_W: float, C_b: float, kernel: float | None) -> float:
    if kernel is not None:
        return _variance("kernel", kernel, positive=True)
    field = MeanField(block.rule.activation, C_W, C_b)
    fixed = field.kernel_map(1.0) if block.layer_norm else field.fixed_point().K
    if not 0 < fixed < math.inf:
        raise InputError(
            f"{field!r} drives the kernel to {fixed:g}, from where no network can start.",
            "Name the kernel of the first layer, as in kernel=1.0.",
        )
    return fixed
