"""What the parts about convolutional networks share: settings, tasks and measurement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.cnn.claims import analyse
from phasescope.papers.absorbing.cnn.figures import pictures
from phasescope.papers.absorbing.shared import STUDY, identified, resolved
from phasescope.signal import sample_cnn
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

# Seconds for one channel of one site and layer on one core, replicas and tangent together.
_SHARED, _LOCAL = (1.1e-7, 1.6e-7), 2.4e-7
_BYTES = 400
_RECORDED = (
    "log_distance", "typical_log_distance", "log_growth", "log_site_variance", "log_mass", "alive",
)  # fmt: skip


class CnnSettings(Settings):
    """Sizes of a part about convolutional networks; the source names none of them."""

    # channels, kernel_size: of every layer
    channels: int = 10
    kernel_size: int = 3
    # ``sigma_w`` of networks with shared weights: the critical one of infinite width plus these multiples of
    # the shift that a fully connected network of as many neurons as channels has
    shifts: tuple[float, ...]
    # sites along each dimension, ascending; the last is what decay and collapse are taken from
    sizes: tuple[int, ...]
    # depth, first, discard: layers; those from which on decays are fitted, and from which on growth counts
    depth: int
    first: int = 10
    discard: int = 50
    points: int = 30  # recorded layers, evenly spaced in the logarithm
    # batch, batches: networks in a task, and tasks for each ``sigma_w`` and size
    batch: int = 8
    batches: int
    # uniform_size, uniform_batches: for the exponent about a uniform row
    uniform_size: int = 6
    uniform_batches: int
    # local_shifts, local_size, local_depth, local_batch, local_batches: of the locally connected control
    local_shifts: tuple[float, ...]
    local_size: int
    local_depth: int
    local_batch: int = 1
    local_batches: int
    # fluctuation_shift, fluctuation_sizes, fluctuation_depth, fluctuation_batches: for the fluctuations of
    # growth against size, ascending sizes
    fluctuation_shift: float
    fluctuation_sizes: tuple[int, ...]
    fluctuation_depth: int
    fluctuation_batches: int
    # seed_shifts, seed_size, seed_depth, seed_batches: for starts from a single site
    seed_shifts: tuple[float, ...]
    seed_size: int
    seed_depth: int
    seed_batches: int


class CnnPart(Part):
    """Decay, growth, spreading and collapse in networks on a lattice.

    Class attributes beside those of a part: `dimensions` of the lattice.
    """

    dimensions: ClassVar[int]
    citations: ClassVar[tuple[str, ...]] = ("tamai2023",)
    variables: ClassVar = {
        "recorded_layer": Variable(("point",), "layer"),
        "log_distance": Variable(("network", "point"), "ln of the site mean of 1 - c"),
        "typical_log_distance": Variable(("network", "point"), "site mean of ln(1 - c)"),
        "log_growth": Variable(("network", "point"), "ln |u|^2 of a tangent, relative to layer 1"),
        "log_site_variance": Variable(("network", "point"), "ln of the share of |h|^2 that varies in space"),
        "log_mass": Variable(("network", "point"), "ln of the sum of 1 - c over the sites"),
        "alive": Variable(("network", "point"), "1 where the largest 1 - c is above 0.01"),
    }  # fmt: skip

    def settings(self, config: Any) -> CnnSettings:
        """Return the settings of this part."""
        found: CnnSettings = getattr(config, self.name.replace("-", "_"))
        return found

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a batch of networks; one empty task where the activation has no critical line."""
        s = self.settings(config)
        point = shared.point_or_none(config.activation, config.sigma_b)
        if point is None or not math.isfinite(point.d0 / point.gamma):
            return [self._task(config, "none", math.nan, s.sizes[-1], 1, 1, 0, "shared", "homogeneous")]

        def sigma_w(shift: float) -> float:
            return point.sigma_w - shift * point.d0 / (point.gamma * s.channels)

        wanted: list[tuple[str, Sequence[float], Sequence[int], int, int, int, str, str]] = [
            ("decay", s.shifts, s.sizes, s.depth, s.batch, s.batches, "shared", "homogeneous"),
            ("uniform", s.shifts, [s.uniform_size], s.depth, s.batch, s.uniform_batches, "shared", "uniform"),
            ("local", s.local_shifts, [s.local_size], s.local_depth, s.local_batch, s.local_batches, "local",
             "homogeneous"),
            ("seed", s.seed_shifts, [s.seed_size], s.seed_depth, s.batch, s.seed_batches, "shared", "seed"),
        ]  # fmt: skip
        for weights, shift in (("shared", s.fluctuation_shift), ("local", float(np.mean(s.local_shifts)))):
            kind = f"fluctuation-{weights}"
            wanted.append(
                (kind, [shift], s.fluctuation_sizes, s.fluctuation_depth, s.batch, s.fluctuation_batches,
                 weights, "homogeneous")
            )  # fmt: skip
        return [
            self._task(config, kind, sigma_w(shift), size, depth, batch, replica, weights, start)
            for kind, shifts, sizes, depth, batch, batches, weights, start in wanted
            for shift in shifts
            for size in sizes
            for replica in range(batches)
        ]

    def _task(
        self,
        config: Any,
        kind: str,
        sigma_w: float,
        size: int,
        depth: int,
        networks: int,
        replica: int,
        weights: str,
        start: str,
    ) -> Task:
        s = self.settings(config)
        parameters = {
            "kind": kind,
            **identified(config.activation),
            "sigma_b": config.sigma_b,
            "sigma_w": sigma_w if math.isfinite(sigma_w) else 0.0,
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
        values = networks * s.channels * size**self.dimensions
        each = _LOCAL if weights == "local" else _SHARED[self.dimensions - 1]
        # A chunk of networks takes 0.2 ms a layer however small they are.
        seconds = depth * (values * each + 2e-4)
        return Task(STUDY, self.name, parameters, replica, seconds, 200_000_000 + _BYTES * values)

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return distances, growth and mass of one batch of networks at the recorded layers."""
        known = task.parameters
        lengths = {"network": known["batch"], "point": known["points"]}
        if known["kind"] == "none":
            return filled(self.variables, lengths)
        layers = recorded_layers(known["depth"], known["points"])
        sample = sample_cnn(
            resolved(known["activation"]),
            known["channels"],
            known["size"] if self.dimensions == 1 else (known["size"],) * 2,
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
        arrays = {name: sample[name].to_numpy() for name in _RECORDED if name in sample}
        return filled(self.variables, lengths, recorded_layer=layers, **arrays)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return every check about the lattice of this dimension, with the tables behind them."""
        return analyse(data, self.settings(config), self.name, self.dimensions)

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return decay, exponent, collapse and fluctuations."""
        return pictures(data, self.settings(config), self.dimensions)


def recorded_layers(depth: int, points: int) -> np.ndarray:
    """Return at most `points` layers from 1 to `depth`, evenly spaced in the logarithm."""
    return np.unique(np.geomspace(1, depth, points).round().astype(int))
