"""Distances of two inputs in many narrow networks, kept as means over groups of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from phasescope.activations import Activation
from phasescope.estimate import Estimate
from phasescope.papers.absorbing.iterates import distances
from phasescope.signal import sample_mlp
from phasescope.theory import CriticalLinePoint

GROUPS = 32
# Seconds for one neuron of one layer of a pair of inputs, on one core.
PAIR = 7e-8


def networks_for(effort: float, width: int, layers: int) -> int:
    """Return how many networks an effort pays for, a multiple of the number of groups."""
    return GROUPS * max(2, round(effort / (width * layers * GROUPS)))


def depths(width: int, reach: float, count: int, exact: Sequence[float]) -> np.ndarray:
    """Return numbers of layers to record, evenly spaced in the logarithm, with some depths hit exactly."""
    wanted = np.concatenate([np.geomspace(0.02, reach, count - len(exact)), np.asarray(exact)])
    return np.unique(np.maximum(1, np.round(wanted * width))).astype(int)


def grouped(
    function: Activation, point: CriticalLinePoint, width: int, layers: np.ndarray, networks: int, seed: int,
    device: str,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return distances at the critical point of infinite width, from two unrelated inputs."""
    sample = sample_mlp(
        function,
        width,
        int(layers[-1]) + 1,
        point.C_W,
        point.C_b,
        networks=networks,
        seed=seed,
        kernel=point.K,
        layers=[int(layer) + 1 for layer in layers],
        device=device,
    )
    logs = sample["log_distance"].values.reshape(GROUPS, -1, len(layers))
    exact = distances(function, point.sigma_w, point.sigma_b, layers).rho
    return {
        "layer": layers,
        "mean": np.exp(logs).mean(axis=1),
        "mean_log": logs.mean(axis=1),
        "infinite": exact,
    }


def half_depth(
    layers: np.ndarray, groups: np.ndarray, infinite: np.ndarray, width: int, fraction: float
) -> Estimate:
    """Return the depth over width at which the mean distance has fallen by a fraction below infinite width's.

    A parabola in depth through the logarithm of the ratio, from a third of the crossing to twice as deep, is
    solved for the crossing; the error is a jackknife over groups of networks.

    Shapes: `layers` and `infinite` (records,), `groups` (groups, records).
    """
    goal = math.log(1 - fraction)
    if not np.isfinite(infinite).all():
        return Estimate.not_determined("the map of infinite width is too slow to iterate")

    t = layers / width
    # The relative error of a mean grows like the square root of the depth.
    fallen, weight = np.log(groups.mean(axis=0) / infinite), 1 / np.sqrt(t)
    deep = t >= t[-1] / 4
    rough = goal * (weight * t)[deep] @ (weight * t)[deep] / ((weight * t)[deep] @ (weight * fallen)[deep])
    near = (t > rough / 3) & (t < 2 * rough)
    if near.sum() < 5 or not 0 < rough < t[-1]:
        return Estimate.not_determined("the distance does not fall so far below that of infinite width")

    def crossing(mean: np.ndarray) -> float:
        curve = np.polyfit(t[near], np.log(mean / infinite)[near], 2, w=weight[near])
        roots = np.roots(curve - [0, 0, goal])
        real = roots[np.isreal(roots)].real
        inside = real[(real > t[near][0]) & (real < t[near][-1])]
        return float(inside.min()) if inside.size else math.nan

    count = len(groups)
    total = groups.sum(axis=0)
    left_out = np.array([crossing((total - row) / (count - 1)) for row in groups])
    best = crossing(total / count)
    if not (math.isfinite(best) and np.isfinite(left_out).all()):
        return Estimate.not_determined("the distance does not fall so far below that of infinite width")
    spread = (count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum())
    return Estimate(best, math.sqrt(spread), "crossing, jackknife over groups of networks", count)
