"""Signal propagation the slow way: one explicit Jacobian per layer and input, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


def outputs(model: nn.Sequential, x: Tensor) -> list[Tensor]:
    """The outputs of every layer, each flattened to (samples, units)."""
    found = []
    for layer in model:
        x = layer(x)
        found.append(x.reshape(len(x), -1).detach().clone())
    return found


def jacobians(model: nn.Sequential, x: Tensor, first: int, last: int) -> list[Tensor]:
    """For each sample, the matrix d(output of layer `last`)/d(input of layer `first`)."""
    for layer in model[:first]:
        x = layer(x)
    part = model[first : last + 1]

    def one(z: Tensor) -> Tensor:
        return part(z.unsqueeze(0).clone()).reshape(-1)

    return [
        torch.autograd.functional.jacobian(one, sample.detach()).reshape(-1, sample.numel()) for sample in x
    ]


def kernels(model: nn.Sequential, x: Tensor) -> np.ndarray:
    """K of every layer and sample."""
    return np.array([[float((s**2).mean()) for s in z] for z in outputs(model, x)])


def correlations(model: nn.Sequential, x: Tensor) -> np.ndarray:
    """c of every layer and of the pairs (0, 1), (2, 3), ..."""
    return np.array(
        [
            [float(z[i] @ z[i + 1] / z[i].norm() / z[i + 1].norm()) for i in range(0, len(x) - 1, 2)]
            for z in outputs(model, x)
        ]
    )


def perpendicular_tangents(x: Tensor, seed: int, probe: int, number: int = 0) -> Tensor:
    """The random tangents of the profile: normal, perpendicular to each input and of its length."""
    tangents = []
    for i, sample in enumerate(x):
        u = np.random.default_rng((seed, 1, probe, number, i)).standard_normal(
            sample.numel(), dtype=np.float32
        )
        z = sample.reshape(-1).double()
        u = torch.from_numpy(u).double()
        u = u - (u @ z) / (z @ z) * z
        tangents.append((u * z.norm() / u.norm()).reshape(sample.shape))
    return torch.stack(tangents)


def squared_perpendicular(model: nn.Sequential, x: Tensor, u: Tensor) -> np.ndarray:
    """|u_perp|^2 / n of every layer and sample for tangents u of the input."""
    found = []
    for layer, z in enumerate(outputs(model, x)):
        row = []
        for i, jacobian in enumerate(jacobians(model, x, 0, layer)):
            pushed = jacobian @ u[i].reshape(-1)
            rest = pushed - (pushed @ z[i]) / (z[i] @ z[i]) * z[i]
            row.append(float((rest**2).mean()))
        found.append(row)
    return np.array(found)


def radial(model: nn.Sequential, x: Tensor) -> np.ndarray:
    """z . (J x) / n of every layer and sample."""
    return np.array(
        [
            [
                float((j @ x[i].reshape(-1)) @ z[i]) / len(z[i])
                for i, j in enumerate(jacobians(model, x, 0, k))
            ]
            for k, z in enumerate(outputs(model, x))
        ]
    )


def cotangents(shape: torch.Size, seed: int, probe: int) -> Tensor:
    """The random cotangents of the profile."""
    rows = [
        np.random.default_rng((seed, 2, probe, 0, i)).standard_normal(shape[1:].numel(), dtype=np.float32)
        for i in range(shape[0])
    ]
    return torch.from_numpy(np.stack(rows)).double()


def squared_gradients(model: nn.Sequential, x: Tensor, v: Tensor) -> np.ndarray:
    """|J^T v|^2 / |v|^2 of every layer and sample for cotangents v of the output."""
    last = len(model) - 1
    found = []
    for layer in range(last):
        pulled = [v[i] @ jacobian for i, jacobian in enumerate(jacobians(model, x, layer + 1, last))]
        found.append([float((g @ g) / (v[i] @ v[i])) for i, g in enumerate(pulled)])
    return np.array([*found, [1.0] * len(x)])
