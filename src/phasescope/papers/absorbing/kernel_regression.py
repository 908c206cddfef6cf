"""Gradient flow of infinitely wide networks on data, solved in the eigenbasis of the tangent kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh

from phasescope.activations import Activation
from phasescope.papers.absorbing.image_subsets import Subset
from phasescope.theory import TangentGram

# Eigenvalues below this share of the largest are rounding errors; directions along them are not learned.
_ROUNDING = 1e-14


def learned_outputs(
    kernel: np.ndarray, cross: np.ndarray, targets: np.ndarray, steps: Sequence[float]
) -> np.ndarray:
    r"""Return test outputs after gradient flow on the square loss, for several training times at once.

    With ``Theta = V diag(w) V^T`` and outputs 0 at initialisation,
    ``f(t) = Theta_* V diag((1 - exp(-t w/w_max))/w) V^T y``: time is counted in steps of the learning rate
    ``1/w_max``, half of the largest stable one. ``t = inf`` is kernel regression without ridge.

    Shapes: `kernel` (N, N) of the training inputs and `cross` (M, N) of test and training inputs, in the same
    unit, `targets` (N, outputs), returned (times, M, outputs). Cost: one eigendecomposition, some 10 N^3
    operations. Source: arXiv:1806.07572, section 5.
    """
    values, vectors = eigh(kernel, driver="evd")
    share = np.maximum(values / values[-1], 0.0)
    known = share > _ROUNDING * values.size
    inverse = np.where(known, 1 / np.where(known, share, 1.0), 0.0)
    projected, across = vectors.T @ targets, cross @ vectors / values[-1]
    outputs = []
    for time in steps:
        learned = inverse if math.isinf(time) else -np.expm1(-time * share) * inverse
        outputs.append(across @ (learned[:, None] * projected))
    return np.stack(outputs)


def scores(outputs: np.ndarray, wanted: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the test loss over that of outputs 0, and the share of inputs classified right, of each time."""
    loss = ((outputs - wanted) ** 2).mean(axis=(1, 2)) / (wanted**2).mean()
    return loss, (outputs.argmax(axis=2) == classes).mean(axis=1)


def infinitely_wide(
    activation: Activation,
    place: tuple[float, float, float],
    depth: int,
    images: Sequence[Subset],
    steps: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return :func:`scores` of infinitely wide networks on sets of images, each of shape (sets, steps).

    `place` is C_W, C_b and the kernel K of all layers.
    """
    C_W, C_b, K = place
    gram = TangentGram(activation, C_W, C_b, depth, K=K)
    found = []
    for each in images:
        kernel, cross = (1 - gram.gap(depth, gram.first_layer(rho)) for rho in each.distances())
        targets, wanted = each.targets()
        found.append(scores(learned_outputs(kernel, cross, targets, steps), wanted, each.y_test))
    loss, accuracy = (np.stack(each) for each in zip(*found, strict=True))
    return loss, accuracy
