"""The distance between two inputs after many layers: at infinite width, and what finite width changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from phasescope.activations import Activation
from phasescope.signal import sample_mlp
from phasescope.sweep.task import Task
from phasescope.theory import MeanField
from phasescope.theory.closed_forms import pair_form
from phasescope.theory.correlation import hermite_squares

if TYPE_CHECKING:
    import xarray as xr


# Seconds for one neuron of one layer of a pair of replicas, and for one iterate of the exact map.
PAIR, ITERATE = 1e-7, 1.5e-5


def iterable(activation: Activation, K: float) -> bool:
    """Return whether a layer costs microseconds: the map has a closed form or a short Hermite series.

    Otherwise each value is a quadrature of some 10 ms, too slow for 1e5 layers.
    """
    if pair_form(activation) is not None:
        return True
    return not activation.kinks and hermite_squares(activation, K) is not None


def growth_rate(activation: Activation, sigma_w: float, sigma_b: float) -> float:
    """Return ``ln chi_1`` at the kernel's fixed point."""
    return math.log(MeanField(activation, sigma_w**2, sigma_b**2).fixed_point(1.0).chi_perpendicular)


def distances(activation: Activation, sigma_w: float, sigma_b: float, layers: np.ndarray) -> np.ndarray:
    """Return ``1 - c`` after the given numbers of layers, from ``1 - c = 1`` at the kernel's fixed point."""
    field = MeanField(activation, sigma_w**2, sigma_b**2)
    K = field.fixed_point(1.0).K
    if not iterable(activation, K):
        return np.full(layers.size, math.nan)
    recorded = np.empty(layers.size)
    rho, done = 1.0, 0
    for index, layer in enumerate(layers):
        for _ in range(int(layer) - done):
            rho = field.distance_map(rho, K)
        done = int(layer)
        recorded[index] = rho
    return recorded


def sampled(
    task: Task,
    activation: Activation,
    C_W: float,
    C_b: float,
    layers: Sequence[int] | np.ndarray,
    device: str,
    kernel: float | None = None,
) -> np.ndarray:
    """Return ``ln(1 - c)`` of two inputs after numbers of layers, of shape (networks, layers)."""
    sample = sample_mlp(
        activation,
        task.parameters["width"],
        int(layers[-1]) + 1,
        C_W,
        C_b,
        networks=task.parameters["networks"],
        seed=task.seed,
        kernel=kernel,
        # Layer 1 of a sample is the start, to which no layer has been applied yet.
        layers=[int(layer) + 1 for layer in layers],
        device=device,
    )
    return np.asarray(sample["log_distance"].values)


def recorded(alike: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the layers that tasks of one kind recorded, and an array of theirs, (networks, layers)."""
    if alike.sizes["task"] == 0:
        return np.empty(0), np.empty((0, 0))
    layers = alike["layer"].values[0]
    here = np.isfinite(layers)
    return layers[here], alike[name].values[:, :, here].reshape(-1, int(here.sum()))


def mean_distance_factor(
    layers: np.ndarray, rate: float, point: Mapping[str, float], width: float
) -> np.ndarray:
    """Return ``E[rho]`` at finite width over its value at infinite width, to first order in 1/n.

    With ``x = n rho`` and ``t = l/n`` the distance obeys
    ``dx = ((n e + d0 + v/2) x - kappa x^2) dt + sqrt(v) x dW``, where ``e = ln chi_1``, so that
    ``1/rho = kappa int exp(-(e + d0/n) s - sqrt(v/n) B_s) ds`` over ``0 < s < l`` for unrelated inputs. Hence
    the factor ``1 + ((d0 - v/2) J/I + v M/I^2)/n`` with ``I = int exp(-e s)``, ``J = int s exp(-e s)`` and
    ``M = int int min(s, t) exp(-e (s + t))``. At ``e = 0`` it is ``1 + (d0/2 + v/12) l/n``, and far above the
    transition ``1 + d0/(e n)``.
    """
    depth = np.asarray(layers, dtype=np.float64)
    if abs(rate) * depth.max(initial=0.0) < 1e-4:
        return 1 + (point["d0"] / 2 + point["v"] / 12) * depth / width
    nodes, weights = np.polynomial.legendre.leggauss(48)
    s = (nodes + 1) / 2 * depth[:, None]
    w = weights / 2 * depth[:, None]
    decay = np.exp(-rate * s)
    whole = -np.expm1(-rate * depth) / rate
    first = (w * s * decay).sum(axis=1)
    # Of the double integral, twice the half with s < t, whose inner integral is elementary.
    rest = (decay - np.exp(-rate * depth)[:, None]) / rate
    double = 2 * (w * s * decay * rest).sum(axis=1)
    shift = (point["d0"] - point["v"] / 2) * first / whole + point["v"] * double / whole**2
    return np.asarray(1 + shift / width)
