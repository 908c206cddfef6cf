"""Distances of two inputs in many narrow networks, and how deep the flow of infinite width reaches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing.exponent_zero import in_inverse_width
from phasescope.papers.absorbing.iterates import distances, recorded, sampled
from phasescope.papers.absorbing.shared import STUDY, activation_of
from phasescope.studies.part import chosen
from phasescope.sweep.task import Task
from phasescope.theory import FiniteWidthScaling

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.theory import CriticalLinePoint

GROUPS = 32  # distances are kept as means over so many groups of networks
PAIR = 7e-8  # seconds for one neuron of one layer of a pair of inputs, where networks are narrow


def batches(
    part: str, parameters: dict[str, Any], layers: int, effort: float, task_effort: float, seconds: float
) -> list[Task]:
    """Return tasks that take an effort together, each of a multiple of `GROUPS` networks.

    An effort is neurons times layers times networks, and `seconds` the time for one of it on one core.
    """
    neurons = parameters["width"] * layers
    networks = GROUPS * max(2, round(min(effort, task_effort) / (neurons * GROUPS)))
    each, known = networks * neurons, parameters | {"networks": networks}
    return [
        Task(STUDY, part, known, replica, seconds=each * seconds + 0.1, memory=200_000_000)
        for replica in range(max(1, round(effort / each)))
    ]


def depths(width: int, reach: float, count: int, exact: Sequence[float] = ()) -> np.ndarray:
    """Return numbers of layers to record, evenly spaced in the logarithm, with some depths hit exactly.

    `reach` and `exact` are in units of the width.
    """
    wanted = np.concatenate([np.geomspace(0.02, reach, count - len(exact)), np.asarray(exact)])
    return np.unique(np.maximum(1, np.round(wanted * width))).astype(int)


def grouped(task: Task, point: CriticalLinePoint, layers: np.ndarray, device: str) -> dict[str, np.ndarray]:
    """Return distances at the critical point of infinite width, from two unrelated inputs."""
    function = activation_of(task.parameters)
    logs = sampled(task, function, point.C_W, point.C_b, layers, device, point.K)
    groups = logs.reshape(GROUPS, -1, len(layers))
    return {
        "layer": layers,
        "mean": np.exp(groups).mean(axis=1),
        "mean_log": groups.mean(axis=1),
        "infinite": distances(function, point.sigma_w, point.sigma_b, layers),
    }


@dataclass(frozen=True)
class Width:
    """All networks of one width."""

    n: int  # neurons in each layer
    layers: np.ndarray  # (records,): layers applied
    infinite: np.ndarray  # (records,): 1 - c there at infinite width
    mean: np.ndarray  # (groups, records): of 1 - c over each group of networks
    mean_log: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # of ln(1 - c), where it was kept


def by_width(data: xr.Dataset) -> list[Width]:
    """Return the networks by width, ascending; nothing where none were sampled."""
    found = []
    for n in np.unique(data["width"].values):
        if n == 0:
            continue
        mine = chosen(data, width=n)
        layers, mean = recorded(mine, "mean")
        infinite = mine["infinite"].values[0, : layers.size]
        logs = recorded(mine, "mean_log")[1] if "mean_log" in mine else np.empty((0, 0))
        found.append(Width(int(n), layers, infinite, mean, logs))
    return found


def half_depth(width: Width, fraction: float) -> Estimate:
    """Return the depth over width at which the mean distance has fallen by a fraction below infinite width's.

    A parabola in depth through the logarithm of the ratio, from a third of the crossing to twice as deep, is
    solved for the crossing; the error is a jackknife over groups of networks.
    """
    if not np.isfinite(width.infinite).all():
        return Estimate.not_determined("the map of infinite width is too slow to iterate")
    goal, t, groups = math.log(1 - fraction), width.layers / width.n, width.mean
    # The relative error of a mean grows like the square root of the depth.
    fallen, weight = np.log(groups.mean(axis=0) / width.infinite), 1 / np.sqrt(t)
    deep = t >= t[-1] / 4
    x, y = (weight * t)[deep], (weight * fallen)[deep]
    rough = goal * x @ x / (x @ y)  # where a straight line from 0 through the deeper layers crosses
    near = (t > rough / 3) & (t < 2 * rough)
    too_little = Estimate.not_determined("the distance does not fall so far below that of infinite width")
    if near.sum() < 5 or not 0 < rough < t[-1]:
        return too_little

    def crossing(mean: np.ndarray) -> float:
        curve = np.polyfit(t[near], np.log(mean / width.infinite)[near], 2, w=weight[near])
        roots = np.roots(curve - [0, 0, goal])
        real = roots[np.isreal(roots)].real
        inside = real[(real > t[near][0]) & (real < t[near][-1])]
        return float(inside.min()) if inside.size else math.nan

    count, total = len(groups), groups.sum(axis=0)
    left_out = np.array([crossing((total - row) / (count - 1)) for row in groups])
    best = crossing(total / count)
    if not (math.isfinite(best) and np.isfinite(left_out).all()):
        return too_little
    return Estimate(best, jackknife(left_out), "crossing, jackknife over groups of networks", count)


def jackknife(left_out: np.ndarray) -> float:
    """Return the error of a number from its values without one group of networks each."""
    count = len(left_out)
    return math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))


def width_per_layer(widths: Sequence[Width], fraction: float) -> Estimate:
    """Return mu: neurons a layer with which the flow of infinite width loses a fraction only at the end.

    The depth over width is extrapolated by a series cut after 1/n; its error includes what the term in 1/n^2
    would change.
    """
    sizes, values = [width.n for width in widths], [half_depth(width, fraction) for width in widths]
    depth, next_order = (in_inverse_width(sizes, values, degree).limit for degree in (1, 2))
    if depth.determined and next_order.determined:
        depth = replace(depth, error=math.hypot(depth.error, next_order.value - depth.value))
    if depth.determined and depth.value <= 3 * depth.error:
        return Estimate.not_determined(f"the depth {depth} over width is not told from 0")
    return 1 / depth


def law_of(point: Mapping[str, float]) -> FiniteWidthScaling:
    """Return the exact scaling functions of a critical point."""
    return FiniteWidthScaling(point["kappa"], point["v"], point["d0"] + point["v"] / 2)


def falls(law: FiniteWidthScaling) -> bool:
    """Return whether the mean distance departs downwards from that of infinite width."""
    return law.a < law.v / 3
