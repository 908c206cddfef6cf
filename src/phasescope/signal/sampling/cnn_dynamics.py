"""Two replicas and a tangent going through convolutional layers, with nothing lost to cancellation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from phasescope.signal.differences import Differences
from phasescope.signal.sampling.cnn_weights import Layers

# Differences below this power of two are carried as tangents: the curvature then left out is 1e-60 of them.
_LINEAR_BELOW = -200


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
        """Return the same vectors with a largest entry between 1/2 and 1."""
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
        z, dz, dt = self._normalised(state)
        fields = [self.rule.value(z)]
        moved = [vectors for vectors in (state.difference, state.tangent) if vectors is not None]
        slope = None
        if dt is not None or (state.difference is not None and bool(state.difference.shift.any())):
            slope = self.rule.slope(z)
        if dz is not None and state.difference is not None:
            fields.append(self._image(z, dz, state.difference.shift, slope))
        if dt is not None and slope is not None:
            fields.append(slope * dt)
        after = layers(torch.stack(fields, dim=2)).unbind(dim=2)
        mixed = self._mixed([state.h, *(vectors.values for vectors in moved)], list(after))
        following = iter(mixed[1:])
        result = State(mixed[0], None, None)
        if state.difference is not None:
            difference = replace(state.difference, values=next(following))
            result = replace(result, difference=difference.rescaled(above=_LINEAR_BELOW))
        if state.tangent is not None:
            result = replace(result, tangent=replace(state.tangent, values=next(following)).rescaled())
        return result

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
