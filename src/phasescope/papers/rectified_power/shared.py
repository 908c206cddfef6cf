"""What all parts of ``rectified_power`` share: starts, kernels carried over depth, the target x y z."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from phasescope.activations import Activation, MRePU, RePU, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.perceptrons import Function, Networks, Start
from phasescope.studies import samples
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.part import StudySettings
from phasescope.theory import critical_point, first_layer_kernel, repu_unstable_kernel
from phasescope.theory.moments import mean_square_slope, second_moment

STUDY = "rectified_power"
PAPER = "arXiv:2408.02697"
BOOK = "arXiv:2106.10165"

Carried = Iterator[tuple[Tensor, Tensor]]


class Common(StudySettings):
    """Settings that every part reads."""

    # One's own list: names or FILE.py:function. Then the part `comparison` alone is run, with these.
    activations: tuple[str, ...] = ()
    task: str = ""  # the one task of `comparison`; all of them where empty
    # Folders of the user's own copies, and a text file or an IMDb folder; empty to do without.
    mnist: str = ""
    fashion_mnist: str = ""
    cifar10: str = ""
    text: str = ""

    @property
    def subtitle(self) -> str:
        """What the title of the page adds."""
        if self.activations:
            return f"{len(self.activations)} activations of one's own"
        return "" if self.mnist else "bundled data, as no MNIST folder was named"

    @property
    def asked(self) -> tuple[str, ...]:
        """The part that compares, where activations or a task are named."""
        return ("comparison",) if self.activations or self.task else ()


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


def cube(count: int, dims: int, seed: int) -> Tensor:
    """Return points uniform on [-1, 1]^dims, shape (count, dims)."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    return 2 * torch.rand(count, dims, generator=generator, dtype=torch.float64) - 1


def xyz(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return points uniform on [-1, 1]^3, and their product times the root of 27, of variance 1."""
    x = cube(count, 3, seed)
    return x, math.sqrt(27) * x.prod(1, keepdim=True)


def over_seeds(values: ArrayLike, method: str = "mean over seeds") -> Estimate:
    """Return the mean of networks, those without a number left out; its error is widened."""
    return samples.mean(values, method)


def share(successes: ArrayLike, method: str = "share of networks") -> Estimate:
    """Return the share of networks for which something is true."""
    return samples.share(successes, method)


def all_do(claim: Claim, does: np.ndarray, note: str) -> Check:
    """Return the check of something that all networks do; fewer than three of them determine nothing."""
    found = share(does)
    verdict: Outcome = "not determined"
    if len(does) >= 3 and (does.all() or found.value <= 0.5):
        verdict = "agrees" if does.all() else "disagrees"
    rule = (
        "Agrees where all networks do, disagrees where at most half do; fewer than three determine nothing."
    )
    return claim.found(1.0, found, verdict, f"{note} {rule}".strip())
