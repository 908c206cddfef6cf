"""Networks whose drift is known in the limit of large width, and how they are trained alike."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.papers.related.shared import digits

_RATE = 0.5  # times what the largest eigenvalue of the initial kernel allows
_LIMIT = 20_000  # steps


class Family(nn.Module):
    """A two-layer network of the family: the exponent scales the output, units come in opposite pairs."""

    def __init__(self, inputs: int, width: int, s: float, activation: nn.Module, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng((seed, width))
        w = np.repeat(random.standard_normal((width // 2, inputs)), 2, 0)
        a = np.repeat(random.standard_normal(width // 2), 2) * np.tile([1.0, -1.0], width // 2)
        self.w, self.a = nn.Parameter(torch.from_numpy(w)), nn.Parameter(torch.from_numpy(a))
        self.activation, self.scale = activation, width ** (-(1 + s) / 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.activation(x @ self.w.T / math.sqrt(x.shape[1]))
        output: Tensor = self.scale * (hidden @ self.a[:, None])
        return output


class DeepLinear(nn.Module):
    """A linear network of some hidden layers in the tangent-kernel scaling."""

    def __init__(self, inputs: int, width: int, depth: int, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng((seed, width, depth))
        sizes = [inputs, *[width] * depth, 1]
        drawn = (random.standard_normal(shape) for shape in pairwise(sizes))
        self.layers = nn.ParameterList(nn.Parameter(torch.from_numpy(w)) for w in drawn)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x @ layer / math.sqrt(layer.shape[0])
        return x


def problem(inputs: int) -> tuple[Tensor, Tensor]:
    """Return digits and whether each is odd, as -1 and 1."""
    data = digits()
    return data.x[:inputs], (2.0 * (data.y[:inputs] % 2) - 1.0).double()[:, None]


def stable_rate(model: nn.Module, x: Tensor) -> float:
    """Return half of the rate at which gradient descent on half the mean squared error becomes unstable."""
    rows = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(one, list(model.parameters()), retain_graph=True)]
        )
        for one in model(x).flatten()
    ]
    jacobian = torch.stack(rows)
    return _RATE * 2 * len(x) / float(torch.linalg.eigvalsh(jacobian @ jacobian.T)[-1])


def descend(model: nn.Module, x: Tensor, way: Tensor, share: float, steps: int = _LIMIT) -> float:
    """Lead the output along a way by gradient descent, to a share of the first error; return the rate."""
    parameters, rate = list(model.parameters()), stable_rate(model, x)
    target = model(x).detach() + way
    first = float(way.pow(2).mean() / 2)
    for _ in range(steps):
        loss = (model(x) - target).pow(2).mean() / 2
        if float(loss.detach()) <= share * first:
            break
        with torch.no_grad():
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p.sub_(rate * g)
    return rate
