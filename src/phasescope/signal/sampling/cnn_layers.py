"""Layers of random convolutional networks: the weights, and how two replicas and a tangent go through them.

The difference of the replicas is carried instead of the second one, scaled by a power of two where it is
small, so that nothing is lost to cancellation.

Fields have the shape (networks, channels, kinds, *sites). The kinds are what goes through one network
together: activations of the first replica, differences of activations, tangents. The bias enters the first
kind only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from phasescope.signal.sampling.differences import Differences

# Differences below this power of two are carried as tangents: the curvature then left out is 1e-60 of them.
LINEAR_BELOW = -200
# Normals are drawn for several layers at once where a layer needs few: a call costs as much as 300 numbers.
_BLOCK = 4096
_GENERATOR = 6000  # bytes of a generator with its state

Layers = Callable[[Tensor], Tensor]
"""Returns pre-activations from activations, same shape, by fresh weights at each call: the next layer's."""


@dataclass(frozen=True)
class Vectors:
    """Small vectors, one a network, as ``values * 2**shift``."""

    values: Tensor  # shape (networks, channels, *sites)
    shift: Tensor  # shape (networks,), whole numbers as float64

    def true(self) -> Tensor:
        """Return the vectors themselves; what lies below the smallest number becomes zero."""
        if not self.shift.any():
            return self.values
        return self.values * _over_sites(torch.exp2(self.shift), self.values)

    def rescaled(self, above: int | None = None) -> Vectors:
        """Return the same vectors with a largest entry between 1/2 and 1.

        Those whose largest entry is above the power of two `above` are given a shift of 0 instead.
        """
        rows = self.values.flatten(2)
        largest = torch.maximum(rows.amax(dim=(1, 2)), -rows.amin(dim=(1, 2)))
        exponent = torch.frexp(largest).exponent.to(torch.float64)
        if above is not None:
            exponent = torch.where(exponent + self.shift > above, -self.shift, exponent)
        # A larger power would overflow as a factor; the next layer takes the rest. Zero has no size.
        exponent = torch.where(largest > 0, exponent.clamp(-1000, 1000), -self.shift)
        if not exponent.any():
            return self
        return Vectors(self.values * _over_sites(torch.exp2(-exponent), self.values), self.shift + exponent)

    def log_square(self) -> Tensor:
        """Return ``ln sum |v|^2`` over channels and sites, of shape (networks,)."""
        return self.values.flatten(1).square().sum(dim=1).log() + 2 * math.log(2) * self.shift


@dataclass(frozen=True)
class State:
    """Pre-activations of one layer."""

    h: Tensor  # first replica, shape (networks, channels, *sites)
    difference: Vectors | None  # second replica minus the first
    tangent: Vectors | None  # an infinitesimal difference


@dataclass(frozen=True)
class Block:
    """What one layer does, weights apart."""

    rule: Differences  # the nonlinearity s
    residual: float  # share of the identity: ``h' = residual h + sqrt(1 - residual^2) (W * s(h) + b)``
    layer_norm: bool  # whether the channels of each site are standardised before the activation

    def advance(self, state: State, layers: Layers) -> State:
        """Return the next layer's pre-activations."""
        difference, tangent = state.difference, state.tangent
        z, dz, dt = self._normalised(state)
        fields = [self.rule.value(z)]
        slope = None
        if dt is not None or (difference is not None and bool(difference.shift.any())):
            slope = self.rule.slope(z)
        if dz is not None and difference is not None:
            fields.append(self._image(z, dz, difference.shift, slope))
        if dt is not None and slope is not None:
            fields.append(slope * dt)
        moved = [vectors.values for vectors in (difference, tangent) if vectors is not None]
        h, *rest = self._mixed([state.h, *moved], list(layers(torch.stack(fields, dim=2)).unbind(dim=2)))
        if difference is not None:
            difference = replace(difference, values=rest.pop(0)).rescaled(above=LINEAR_BELOW)
        if tangent is not None:
            tangent = replace(tangent, values=rest.pop(0)).rescaled()
        return State(h, difference, tangent)

    def _mixed(self, before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
        if self.residual == 0:
            return after
        branch = math.sqrt(1 - self.residual**2)
        return [self.residual * old + branch * new for old, new in zip(before, after, strict=True)]

    def _image(self, z: Tensor, dz: Tensor, shift: Tensor, slope: Tensor | None) -> Tensor:
        """Return the difference of activations, in units of ``2**shift`` as `dz`."""
        if slope is None:
            return self.rule.difference(z, dz)
        linear = _over_sites(shift < 0, z)
        if bool(linear.all()):
            return slope * dz
        finite = self.rule.difference(z, torch.where(linear, 0.0, dz))
        return torch.where(linear, slope * dz, finite)

    def _normalised(self, state: State) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return what the activation is applied to, and how difference and tangent enter there."""
        dz = None if state.difference is None else state.difference.values
        dt = None if state.tangent is None else state.tangent.values
        if not self.layer_norm:
            return state.h, dz, dt
        centred = state.h - state.h.mean(dim=1, keepdim=True)
        scale = centred.square().mean(dim=1, keepdim=True).sqrt()
        z = centred / scale
        if dz is not None and state.difference is not None:
            factor = _over_sites(torch.exp2(state.difference.shift), z)
            step = (dz - dz.mean(dim=1, keepdim=True)) / scale
            # Of the scale's change the square drops out where the difference is a tangent.
            change = (step * (2 * z + factor * step)).mean(dim=1, keepdim=True)
            root = (1 + factor * change).sqrt()
            dz = (step - z * change / (1 + root)) / root
        if dt is not None:
            step = (dt - dt.mean(dim=1, keepdim=True)) / scale
            dt = step - z * (z * step).mean(dim=1, keepdim=True)
        return z, dz, dt


def _over_sites(numbers: Tensor, values: Tensor) -> Tensor:
    return numbers.reshape(-1, *[1] * (values.ndim - 1))


class Normals:
    """Standard normals, a stream for each network, so that none depends on which others run beside it."""

    def __init__(self, seed: int, networks: Sequence[int], stream: int, device: str | torch.device) -> None:
        self.device = device
        self.generators = [
            torch.Generator(device).manual_seed(
                int(np.random.SeedSequence([seed, network, stream]).generate_state(1, np.uint64)[0])
            )
            for network in networks
        ]
        self._block = torch.empty(len(networks), 0, 0, dtype=torch.float64, device=device)
        self._used = 0

    def draw(self, count: int) -> Tensor:
        """Return normals of shape (networks, count), for the caller to change.

        `count` stays the same from call to call.
        """
        if self._used == self._block.shape[1]:
            shape = (len(self.generators), max(1, _BLOCK // count), count)
            self._block = self._block[:0].clone()  # no longer needed when the next ones are drawn
            self._block = torch.empty(shape, dtype=torch.float64, device=self.device)
            for row, generator in zip(self._block, self.generators, strict=True):
                row.normal_(generator=generator)
            self._used = 0
        self._used += 1
        return self._block[:, self._used - 1]


def _widened(fields: Tensor, reach: int, axes: int) -> Tensor:
    """Return `fields` with `reach` cyclic neighbours added on both sides of the last `axes` dimensions.

    By hand, because torch's circular padding refuses a reach beyond the lattice.
    """
    if reach == 0:
        return fields
    for axis in range(-axes, 0):
        length = fields.shape[axis]
        if reach <= length:
            before, after = fields.narrow(axis, length - reach, reach), fields.narrow(axis, 0, reach)
            fields = torch.cat([before, fields, after], dim=axis)
        else:
            sites = torch.arange(-reach, length + reach, device=fields.device) % length
            fields = fields.index_select(axis, sites)
    return fields


def normals_bytes(count: int) -> int:
    """Return the memory of the normals of one network in one stream, where a layer needs `count` of them."""
    return 8 * max(_BLOCK, count) + _GENERATOR


class SharedWeights:
    """Explicit weights ``N(0, C_W/(channels * kernel sites))``, the same at every site; a bias a channel."""

    def __init__(self, normals: Normals, kernel_size: int, C_W: float, C_b: float) -> None:
        self.normals, self.kernel_size, self.C_W, self.C_b = normals, kernel_size, C_W, C_b
        self._space: Tensor | None = None

    def __call__(self, fields: Tensor) -> Tensor:
        """Return the cyclic convolution of `fields` with the next layer's weights."""
        networks, channels = fields.shape[:2]
        axes = fields.ndim - 3
        fan_in = channels * self.kernel_size**axes
        numbers = self.normals.draw(channels * (fan_in + 1))
        weights = numbers[:, : channels * fan_in].view(networks, channels, fan_in)
        weights *= math.sqrt(self.C_W / fan_in)
        wide = _widened(fields, self.kernel_size // 2, axes)
        # Kernel sites beside the channels: one matrix product a network, faster than a grouped convolution.
        columns = self._columns(wide).reshape(networks, fan_in, -1)
        product = torch.bmm(weights, columns)
        # At the rims of the widened lattice the product is of no use.
        strides = (product.stride(0), product.stride(1), *wide.stride()[2:])
        result = product.as_strided(fields.shape, strides).contiguous()
        if self.C_b > 0:
            bias = numbers[:, channels * fan_in :] * math.sqrt(self.C_b)
            result[:, :, 0] += bias.reshape(networks, channels, *[1] * axes)
        return result

    def _columns(self, wide: Tensor) -> Tensor:
        """Return the widened fields as seen from every kernel site.

        A step in space is a step in memory, so that sites and kinds are copied as one piece. Shape (networks,
        channels, kernel sites, rest).
        """
        networks, channels = wide.shape[:2]
        steps = [
            sum(offset * stride for offset, stride in zip(offsets, wide.stride()[3:], strict=True))
            for offsets in itertools.product(range(self.kernel_size), repeat=wide.ndim - 3)
        ]
        flat = wide.flatten(2)
        length = flat.shape[2] - steps[-1]
        # The same memory for all layers: fresh pages would cost as much as the copies.
        if self._space is None:
            self._space = wide.new_empty(networks, channels, len(steps), length)
        for index, step in enumerate(steps):
            self._space[:, :, index] = flat[:, :, step : step + length]
        return self._space


@dataclass(frozen=True)
class LocalWeights:
    """Independent weights and biases at every site: the locally connected control.

    Given the fields of one layer, those of the next are independent between sites and channels, and normal
    over the kinds with the covariance ``C_W`` times the mean product over channels and kernel sites (plus
    ``C_b`` for the first kind), so that no weight has to be drawn. Tangents have normals of their own, which
    leave those of replica and difference as they are.
    """

    normals: Normals
    tangent_normals: Normals | None  # None where no tangent is followed
    kernel_size: int
    C_W: float
    C_b: float

    def __call__(self, fields: Tensor) -> Tensor:
        """Return pre-activations of exactly the law of a locally connected layer."""
        networks, channels, kinds, *sites = fields.shape
        own = kinds if self.tangent_normals is None else kinds - 1
        numbers = self.normals.draw(channels * own * math.prod(sites)).reshape(
            networks, channels, own, *sites
        )
        if self.tangent_normals is not None:
            more = self.tangent_normals.draw(channels * math.prod(sites))
            numbers = torch.cat([numbers, more.reshape(networks, channels, 1, *sites)], dim=2)
        factor = self._factor(fields)
        rows = []
        for a in range(kinds):
            row = factor[a][0].unsqueeze(1) * numbers[:, :, 0]
            for b in range(1, a + 1):
                row += factor[a][b].unsqueeze(1) * numbers[:, :, b]
            rows.append(row)
        return torch.stack(rows, dim=2)

    def _factor(self, fields: Tensor) -> list[list[Tensor]]:
        """Return the lower Cholesky factor, each entry of shape (networks, *sites).

        By hand, because torch's Cholesky refuses the singular covariances of equal replicas.
        """
        kinds, axes = fields.shape[2], fields.ndim - 3
        factor: list[list[Tensor]] = []
        for a in range(kinds):
            row: list[Tensor] = []
            for b in range(a + 1):
                entry = self._window_mean((fields[:, :, a] * fields[:, :, b]).mean(dim=1), axes) * self.C_W
                if a == 0:
                    entry = entry + self.C_b
                for k in range(b):
                    entry = entry - row[k] * (row[k] if a == b else factor[b][k])
                # Rounding leaves some 1e-16 of a variance that vanishes; without variance, nothing is drawn.
                pivot = entry.clamp(min=0).sqrt() if a == b else factor[b][b]
                row.append(pivot if a == b else torch.where(pivot > 0, entry / pivot, 0.0))
            factor.append(row)
        return factor

    def _window_mean(self, products: Tensor, axes: int) -> Tensor:
        wide = _widened(products, self.kernel_size // 2, axes)
        for axis in range(-axes, 0):
            length = products.shape[axis]
            shifted = [wide.narrow(axis, start, length) for start in range(self.kernel_size)]
            wide = torch.stack(shifted).sum(dim=0)
        return wide / float(self.kernel_size**axes)
