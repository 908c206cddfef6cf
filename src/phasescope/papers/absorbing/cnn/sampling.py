"""Convolutional networks on a ring or a torus: settings, tasks, and one task's measurement."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from phasescope.papers.absorbing.shared import STUDY, activation_of, identified, point_or_none
from phasescope.signal import sample_cnn
from phasescope.studies.part import Settings, Variable
from phasescope.sweep.task import Task

# Seconds for one channel of one site and layer on one core, replicas and tangent together: shared weights in
# one and two dimensions, and local ones.
_SHARED, _LOCAL = (1.1e-7, 1.6e-7), 2.4e-7
_BYTES = 400


class CnnSettings(Settings):
    """Sizes of a part about convolutional networks; the source names none of them."""

    channels: int = 10  # of every layer
    kernel_size: int = 3
    # sigma_w of networks with shared weights: the critical one of infinite width plus these multiples of the
    # shift that a fully connected network of as many neurons as channels has
    shifts: tuple[float, ...]
    sizes: tuple[int, ...]  # sites along each dimension, ascending; decay and collapse are of the last
    depth: int
    first: int = 10  # layer from which on decays are fitted
    discard: int = 50  # layers before growth counts
    points: int = 30  # recorded layers, evenly spaced in the logarithm
    batch: int = 8  # networks in a task
    batches: int  # tasks for each sigma_w and size
    # about a uniform row: all sites alike
    uniform_size: int = 6
    uniform_batches: int
    # the control with independent weights at every site
    local_shifts: tuple[float, ...]
    local_size: int
    local_depth: int
    local_batch: int = 1
    local_batches: int
    # fluctuations of growth against size, ascending
    fluctuation_shift: float
    fluctuation_sizes: tuple[int, ...]
    fluctuation_depth: int
    fluctuation_batches: int
    # starts from a single site
    seed_shifts: tuple[float, ...]
    seed_size: int
    seed_depth: int
    seed_batches: int

    @property
    def local_discard(self) -> float:
        """Layers of the control before growth counts."""
        return min(self.discard, self.local_depth / 4)


_RECORDED = ("network", "point")
VARIABLES = {
    "recorded_layer": Variable(("point",), "layer", optional=True),
    "log_distance": Variable(_RECORDED, "ln of the site mean of 1 - c", optional=True),
    "typical_log_distance": Variable(_RECORDED, "site mean of ln(1 - c)", optional=True),
    "log_growth": Variable(_RECORDED, "ln |u|^2 of a tangent, relative to layer 1", optional=True),
    "log_site_variance": Variable(_RECORDED, "ln of the share of |h|^2 that varies in space", optional=True),
    "log_mass": Variable(_RECORDED, "ln of the sum of 1 - c over the sites", optional=True),
    "alive": Variable(_RECORDED, "1 where the largest 1 - c is above 0.01", optional=True),
}


def settings_of(config: Any, dimensions: int) -> CnnSettings:
    found: CnnSettings = getattr(config, f"cnn_{dimensions}d")
    return found


def tasks(config: Any, *, dimensions: int) -> list[Task]:
    """Return one task a batch of networks; one empty task where the activation has no critical line."""
    s = settings_of(config, dimensions)
    point = point_or_none(config.activation, config.sigma_b)

    def batches(
        kind: str,
        sigma_ws: Sequence[float],
        sizes: Sequence[int],
        depth: int,
        count: int,
        networks: int = s.batch,
        weights: str = "shared",
        start: str = "homogeneous",
    ) -> Iterator[Task]:
        each = _LOCAL if weights == "local" else _SHARED[dimensions - 1]
        for sigma_w, size in itertools.product(sigma_ws, sizes):
            parameters = {
                "kind": kind,
                **identified(config.activation),
                "sigma_b": config.sigma_b,
                "sigma_w": sigma_w,
                "channels": s.channels,
                "kernel_size": s.kernel_size,
                "size": size,
                "depth": depth,
                "networks": networks,
                "weights": weights,
                "start": start,
                "points": s.points,
                "batch": max(s.batch, s.local_batch),
                "seed": config.seed,
            }
            values = networks * s.channels * size**dimensions
            # A chunk of networks takes 0.2 ms a layer however small they are.
            seconds = depth * (values * each + 2e-4)
            memory = 200_000_000 + _BYTES * values
            for replica in range(count):
                yield Task(STUDY, f"cnn-{dimensions}d", parameters, replica, seconds, memory)

    if point is None or not math.isfinite(point.d0 / point.gamma):
        return list(batches("none", [0.0], s.sizes[-1:], 1, 1, networks=1))
    unit = point.d0 / (point.gamma * s.channels)

    def at(*shifts: float) -> list[float]:
        return [point.sigma_w - shift * unit for shift in shifts]

    spread = s.fluctuation_sizes, s.fluctuation_depth, s.fluctuation_batches
    local = at(*s.local_shifts), [s.local_size], s.local_depth, s.local_batches, s.local_batch
    return [
        *batches("decay", at(*s.shifts), s.sizes, s.depth, s.batches),
        *batches("uniform", at(*s.shifts), [s.uniform_size], s.depth, s.uniform_batches, start="uniform"),
        *batches("local", *local, weights="local"),
        *batches("seed", at(*s.seed_shifts), [s.seed_size], s.seed_depth, s.seed_batches, start="seed"),
        *batches("fluctuation-shared", at(s.fluctuation_shift), *spread),
        *batches("fluctuation-local", at(float(np.mean(s.local_shifts))), *spread, weights="local"),
    ]


def measure(task: Task, device: str, *, dimensions: int) -> dict[str, np.ndarray]:
    """Return distances, growth and mass of one batch of networks at the recorded layers."""
    known = task.parameters
    if known["kind"] == "none":
        return {}
    layers = recorded_layers(known["depth"], known["points"])
    sample = sample_cnn(
        activation_of(known),
        known["channels"],
        known["size"] if dimensions == 1 else (known["size"],) * 2,
        known["depth"],
        known["sigma_w"] ** 2,
        known["sigma_b"] ** 2,
        kernel_size=known["kernel_size"],
        networks=known["networks"],
        seed=task.seed,
        start=known["start"],
        weights=known["weights"],
        replicas=1 if known["kind"].startswith(("uniform", "fluctuation")) else 2,
        layers=layers.tolist(),
        tangent=known["kind"] != "seed",
        device=device,
    )
    return {
        "recorded_layer": layers.astype(np.float64),
        **{name: sample[name].to_numpy() for name in VARIABLES if name in sample},
    }


def recorded_layers(depth: int, points: int) -> np.ndarray:
    """Return at most `points` layers from 1 to `depth`, evenly spaced in the logarithm."""
    return np.unique(np.geomspace(1, depth, points).round().astype(int))
