"""Convolutional networks the obvious way: torch's own convolution, one network and one layer at a time."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One cyclic convolution of a field of shape (channels, *sites)."""
    axes = x.ndim - 1
    reach = weight.shape[-1] // 2
    padded = F.pad(x[None], [reach] * (2 * axes), mode="circular")
    return (F.conv1d, F.conv2d)[axes - 1](padded, weight, bias)[0]


def normalise(h: Tensor) -> Tensor:
    """Standardise the channels of every site."""
    return (h - h.mean(dim=0)) / h.var(dim=0, correction=0).sqrt()


def forward(h: Tensor, network: list[tuple[Tensor, Tensor]], phi, *, residual=0.0, layer_norm=False):
    """Pre-activations of all layers, the given first one included."""
    found = [h]
    for weight, bias in network:
        x = phi(normalise(h) if layer_norm else h)
        h = residual * h + math.sqrt(1 - residual**2) * convolve(x, weight, bias)
        found.append(h)
    return found


def distances(h: Tensor, other: Tensor) -> Tensor:
    """1 - correlation of the channel vectors, site by site."""
    return 1 - F.cosine_similarity(h, other, dim=0, eps=0.0)


def locally_connected(h: Tensor, other: Tensor, C_W: float, C_b: float, kernel_size: int, phi, generator):
    """The next layer of two fields of shape (channels, L): weights drawn anew for every site, in a loop."""
    channels, size = h.shape
    following, following_other = torch.empty_like(h), torch.empty_like(h)
    for x in range(size):
        weight = torch.randn(channels, channels, kernel_size, generator=generator, dtype=torch.float64)
        weight *= math.sqrt(C_W / (channels * kernel_size))
        bias = torch.randn(channels, generator=generator, dtype=torch.float64) * math.sqrt(C_b)
        sites = [(x + offset - kernel_size // 2) % size for offset in range(kernel_size)]
        following[:, x] = torch.einsum("abk,bk->a", weight, phi(h[:, sites])) + bias
        following_other[:, x] = torch.einsum("abk,bk->a", weight, phi(other[:, sites])) + bias
    return following, following_other
