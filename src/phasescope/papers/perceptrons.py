"""Perceptrons of one shape trained side by side: what the studies of many small networks share.

A network is ``z_1 = b + W x``, ``z_(l+1) = b + W s(z_l)`` with normal weights of variance ``C_W/fan-in`` and
normal biases of variance ``C_b``. The first layer may have a variance of its own, by which the kernel ``K_1``
is set: the variance of its pre-activations for the input of largest norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.activations import Activation, MRePU, RePU, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory import critical_point, first_layer_kernel, repu_unstable_kernel
from phasescope.theory.moments import mean_square_slope, second_moment

Function = Callable[[Tensor], Tensor]
Carried = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Start:
    """How weights and biases begin."""

    C_W: float
    C_b: float = 0.0
    K1: float | None = None  # kernel of the first layer for the largest input; None: C_W, C_b act there too
    rule: str = (
        ""  # "Xavier", or torch's "default" where weights and biases are uniform, in place of all these
    )


def best_start(spec: Spec, depth: int) -> tuple[Start, str]:
    """Return the critical start of an activation for so many layers, or the nearest thing, and its rule.

    Where the critical kernel repels, ``K_1 = 1/(2 a_1 L)``; where it has one value, that one; else 1.
    Without a critical point: for RePU the kernel K_dag that an infinitely wide network keeps, though it
    repels; for others the weights at which ``chi_perp = 1`` for ``K = 1``, and biases that hold ``K = 1``
    where they can.
    """
    activation = as_activation(spec)
    point = critical_point(activation)
    if point.C_W is not None and point.C_b is not None:
        if point.universality_class == "K*=0" and point.stable is False and point.a1:
            return Start(point.C_W, 0.0, first_layer_kernel(activation, depth)), "critical, K_1 = 1/(2 a_1 L)"
        K1 = point.K if point.universality_class == "half-stable" and point.K else 1.0
        return Start(point.C_W, point.C_b, K1), f"critical, K_1 = {K1:.4g}"
    family, p = activation.closed_form or ("", ())
    if family == "repu":
        return Start(1.0, 0.0, repu_unstable_kernel(int(p[0]), 1.0)), "none is critical; C_W = 1, K_1 = K_dag"
    slope = mean_square_slope(activation, 1.0)
    if slope == 0:
        raise InputError(f"{activation.name} has the slope 0 everywhere.", "Name an activation that varies.")
    C_W = 1 / slope
    C_b = max(0.0, 1 - C_W * second_moment(activation, 1.0))
    return Start(C_W, C_b, 1.0), "none is critical; chi_perp = 1 at K = 1"


def module_of(spec: str | Activation) -> nn.Module:
    """Return an activation, or what a name stands for, as a module for training in single precision."""
    activation = as_activation(spec)
    if isinstance(activation.function, (RePU, MRePU)):
        return activation.function
    return _Elementwise(activation)


class _Elementwise(nn.Module):
    """The function of an activation in the precision of its argument, which it may change in place."""

    def __init__(self, activation: Activation) -> None:
        super().__init__()
        self.function = activation.function
        self.float()

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z.clone()).to(z.dtype)


class Networks(nn.Module):
    """Perceptrons of one shape, each with its own seed, run side by side; no number passes between them.

    Weights have the shape (networks, inputs, outputs), so that one batched product serves all. A network that
    diverges leaves the others as they are.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Function,
        start: Start,
        seeds: Iterable[int],
        *,
        largest: float = 1.0,  # of the inputs, the largest |x|^2 / inputs
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.sizes, self.activation = tuple(sizes), activation
        drawn = parameters(list(pairwise(sizes)), start, seeds, largest)
        self.weights, self.biases = (each.to(dtype) for each in drawn)

    def __len__(self) -> int:
        return len(self.weights[0])

    def preactivations(self, x: Tensor) -> list[Tensor]:
        """Return those of each layer, shape (networks, inputs, units); the last are the outputs."""
        h = x if x.dim() == 3 else x.expand(len(self), *x.shape)
        made = []
        for number, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            made.append(torch.baddbmm(b, h, w))
            if number + 1 < len(self.weights):
                h = self.activation(made[-1])
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (networks, inputs, outputs) for inputs (inputs, n0), or one set for each network."""
        return self.preactivations(x)[-1]


def parameters(
    shapes: Sequence[tuple[int, int]], start: Start, seeds: Iterable[int], largest: float
) -> tuple[nn.ParameterList, nn.ParameterList]:
    """Return weights (networks, inputs, outputs) and biases (networks, 1, outputs) by layer, in float64."""
    weights, biases = nn.ParameterList(), nn.ParameterList()
    for layer in zip(*(_drawn(shapes, start, largest, seed) for seed in seeds), strict=True):
        weights.append(nn.Parameter(torch.stack([w for w, _ in layer])))
        biases.append(nn.Parameter(torch.stack([b for _, b in layer])))
    return weights, biases


def _drawn(
    shapes: Sequence[tuple[int, int]], start: Start, largest: float, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return weights (inputs, outputs) and biases (1, outputs) of each layer of one network."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    layers = []
    for number, (inputs, outputs) in enumerate(shapes):
        if start.rule == "default":
            w, b = (2 * torch.rand(n, outputs, generator=generator).double() - 1 for n in (inputs, 1))
            layers.append((w / math.sqrt(inputs), b / math.sqrt(inputs)))
            continue
        C_W, C_b = start.C_W, start.C_b
        if number == 0 and start.K1 is not None:
            C_b = min(C_b, start.K1)
            C_W = (start.K1 - C_b) / largest
        variance = 2 / (inputs + outputs) if start.rule == "Xavier" else C_W / inputs
        w = torch.randn(inputs, outputs, generator=generator, dtype=torch.float64)
        b = torch.randn(1, outputs, generator=generator, dtype=torch.float64)
        layers.append((w * math.sqrt(variance), b * math.sqrt(C_b)))
    return layers


def carried(networks: Networks, x: Tensor, power: int = 0, gain: float = 1.0) -> Carried:
    """Yield pre-activations (networks, inputs, units) of each layer, and ln of the unit that they are in.

    For RePU, whose power is to be given, the unit is such that nothing overflows; else it is 1. `gain`
    multiplies all weights after the first layer.
    """
    h = x.expand(len(networks), *x.shape)
    scale = torch.zeros_like(h[..., :1])
    for number, (w, b) in enumerate(zip(networks.weights, networks.biases, strict=True)):
        z = h @ w * (gain if number else 1.0)
        if bool(b.any()):
            top = scale.clamp(min=0.0)  # of the signal and the biases, the larger unit
            z, scale = z * (scale - top).exp() + b * (-top).exp(), top
        if power:
            size = z.square().mean(-1, keepdim=True).sqrt()
            z, scale = z / size, scale + size.log()
        yield z, scale
        h, scale = networks.activation(z), max(power, 1) * scale


def log_kernels(layers: Carried) -> Iterator[Tensor]:
    """Yield ln of the kernel of each layer (networks, inputs); inf for good once something overflowed."""
    lost = torch.tensor(False)
    for z, scale in layers:
        found = z.square().mean(-1).log() + 2 * scale[..., 0]
        # The pre-activations are asked themselves: an activation may turn NaN into 0.
        lost = lost.to(z.device) | ~z.isfinite().all(-1) | found.isnan() | (found == torch.inf)
        yield torch.where(lost, torch.inf, found)


def scaled(after: Function, stream: Tensor, square: Tensor, small: float) -> Tensor:
    """Return chi_par of each network: how much the square of what follows grows with that of the stream."""
    above, below = (after(stream * (1 + e)).square().sum((-2, -1)) for e in (small, -small))
    return (above - below) / (4 * small * square)


def turned(after: Function, stream: Tensor, lengths: Tensor, generator: torch.Generator) -> Tensor:
    """Return chi_perp of each network: how much random differences, so long, beside the stream grow."""
    beside = torch.randn(stream.shape, generator=generator, dtype=stream.dtype)
    beside -= stream * (beside * stream).sum(-1, keepdim=True) / stream.square().sum(-1, keepdim=True)
    beside *= lengths / beside.norm(dim=-1, keepdim=True)
    apart = (after(stream + beside) - after(stream - beside)).square().sum(-1) / 4
    return (apart / beside.square().sum(-1)).mean(-1)


def largest_of(x: Tensor) -> float:
    """Return the largest ``|x|^2 / inputs`` of inputs of shape (inputs, n0)."""
    return float(x.double().square().mean(-1).max())


@dataclass(frozen=True)
class Course:
    """What training was: losses at the recorded steps, and the first step at which one was not finite."""

    steps: np.ndarray  # after which
    loss: np.ndarray  # (networks, steps), of the batch
    failed: np.ndarray  # (networks,); -1 where none


def train(
    networks: nn.Module,
    batches: Callable[[int], tuple[Tensor, Tensor]],
    loss: Callable[[Tensor, Tensor], Tensor],
    optimiser: torch.optim.Optimizer,
    steps: int,
    *,
    every: int = 10,
    before: Callable[[int], None] | None = None,
    clip: float | None = None,
) -> Course:
    """Train networks that run side by side; each stops to count when its loss is not finite.

    ``batches(step)`` gives inputs and targets, ``loss(outputs, targets)`` one number a network, and
    ``before(step)`` may look on. `clip` bounds the gradient norm of each network.
    """
    kept: list[int] = []
    losses: list[Tensor] = []
    failed: Tensor | None = None
    parameters = [p for p in networks.parameters() if p.requires_grad]
    for step in range(steps):
        if before is not None:
            before(step)
        x, y = batches(step)
        value = loss(networks(x), y)
        bad = ~torch.isfinite(value.detach())
        failed = torch.full(value.shape, -1) if failed is None else failed
        failed = torch.where((failed < 0) & bad, step, failed)
        if step % every == 0 or step + 1 == steps:
            kept.append(step)
            losses.append(value.detach())
        if bool((failed >= 0).all()):
            break
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(value.sum())
        if clip is not None:
            _clip(parameters, clip)
        optimiser.step()
    assert failed is not None
    # All runs of so many steps have the same axis: nothing is known after the last network has failed.
    axis = sorted({*range(0, steps, every), steps - 1})
    seen = np.full((len(failed), len(axis)), math.nan)
    seen[:, : len(kept)] = torch.stack(losses, 1).double().numpy()
    return Course(np.array(axis), seen, failed.numpy())


def _clip(parameters: Sequence[Tensor], most: float) -> None:
    """Scale the gradients of each network, the first dimension, to a norm of at most so much."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0)
    factor = (most / squares.sqrt()).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean square error of each network."""
    return (outputs - targets).square().mean((-2, -1))


def minibatches(x: Tensor, y: Tensor, size: int, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Return a function of the step: the same random batch for all networks, drawn with replacement."""

    def batch(step: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)
        rows = torch.randint(len(x), (size,), generator=generator)
        return x[rows], y[rows]

    return batch
