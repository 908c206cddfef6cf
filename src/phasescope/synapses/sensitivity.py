"""How each weight of a network changes its output: the contract, and the exact case of a picture network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from phasescope.errors import InputError
from phasescope.synapses.picture_net import PictureNet, Sweeps, grid
from phasescope.synapses.properties import Property


class Sensitivity(ABC):
    """The output of a network at given weights, and how each weight changes it to first order.

    J[s] = d output / d w_s is the map of weight s, of the output's own shape. Ensembles, nulls and edits need
    no more than what is named here, so they work on a picture network and on any module.

    Attributes
    ----------
    weights : tensor, shape (size,)
        Where everything is taken.
    output : tensor
        Of the network at these weights; for a picture (height, width, outputs).
    """

    weights: Tensor
    output: Tensor

    @property
    def size(self) -> int:
        """Number of weights."""
        return len(self.weights)

    @abstractmethod
    def pulled_back(self, seeds: Tensor) -> Tensor:
        """Return <seeds, J[s]> for all weights, the sum over the output, by one backward pass.

        Parameters
        ----------
        seeds : tensor, of the shape of the output, or with one more dimension in front for k of them

        Returns
        -------
        tensor, shape (size,) or (k, size)
        """

    @abstractmethod
    def change(self, difference: Tensor) -> Tensor:
        """Return the change of the output to first order, sum of J[s] difference[s].

        Parameters
        ----------
        difference : tensor, shape (size,) or (k, size)
            Of the weights; k of them give k changes.
        """

    @abstractmethod
    def at(self, weights: Tensor) -> Self:
        """Return the same for other weights; this one stays as it is.

        Parameters
        ----------
        weights : tensor, shape (size,)
        """

    @abstractmethod
    def name(self, weight: int) -> str:
        """Return what a weight is, in words.

        Parameters
        ----------
        weight : int
            Its number.
        """

    @abstractmethod
    def energy(self, masks: Tensor) -> Tensor:
        """Return for all weights the sum of J[s]^2 over the points of each mask and all outputs.

        Parameters
        ----------
        masks : tensor, of the output's shape without its last dimension (if it has two or more), or (k, ...)
            True where a point counts; numbers weigh it.

        Returns
        -------
        tensor, shape (size,) or (k, size)
        """

    @property
    @abstractmethod
    def rms(self) -> Tensor:
        """The rms of each map over the whole output, shape (size,)."""

    @property
    @abstractmethod
    def groups(self) -> Tensor:
        """The unit that each weight enters, whole numbers of shape (size,)."""

    def value(self, prop: Property) -> float:
        """Return the property at these weights.

        Parameters
        ----------
        prop : Property
            Of the output.
        """
        return float(prop.value(self.output))

    def gradient(self, prop: Property) -> Tensor:
        """Return g_s = d property / d w_s for all weights, shape (size,), by one backward pass.

        Parameters
        ----------
        prop : Property
            Of the output.
        """
        return self.pulled_back(prop.gradient(self.output))


class PictureSensitivity(Sensitivity):
    """The sensitivity of a :class:`PictureNet`: exact maps, built only where they are asked for.

    Made by :func:`sensitivity`. Weights are numbered as in :class:`Wiring`: synapses by target and then
    source, then biases.

    Parameters
    ----------
    net : PictureNet
        The network; it is not changed, and later changes of it are not seen.
    points : tensor, shape (points, inputs)
        Where it is looked at.
    shape : tuple of int
        In which the points are laid out: (height, width) for a picture.
    """

    def __init__(self, net: PictureNet, points: Tensor, shape: tuple[int, ...]) -> None:
        self.net, self.points, self.shape = net.with_weights(net.weights), points, shape
        self.weights = self.net.weights.detach()
        self.sweeps = Sweeps(self.net, points)
        self.output = self._laid_out(self.sweeps.outputs)

    @property
    def picture(self) -> Tensor:
        """What the network paints: the output, in (-1, 1)."""
        return self.output

    def maps(self, weights: Sequence[int] | None = None) -> Tensor:
        """Return maps d picture / d w, of shape ``(weights, *shape, outputs)``.

        Parameters
        ----------
        weights : sequence of int, optional
            Numbers of the weights; by default all, in one array of size x outputs x points numbers.
        """
        return self._laid_out(self.sweeps.maps(weights))

    def pulled_back(self, seeds: Tensor) -> Tensor:
        """Return <seeds, J[s]> for all weights by one backward sweep.

        Parameters
        ----------
        seeds : tensor, shape ``(*shape, outputs)`` or ``(k, *shape, outputs)``
        """
        rows = seeds.to(self.weights)
        if rows.ndim == len(self.shape) + 1:
            return self.sweeps.pulled_back(rows.reshape(-1, rows.shape[-1]).T.contiguous())
        flat = rows.reshape(len(rows), -1, rows.shape[-1])
        return self.sweeps.pulled_back(flat.permute(2, 0, 1).contiguous())

    def change(self, difference: Tensor) -> Tensor:
        """Return the change of the picture to first order, of shape ``(*shape, outputs)``.

        Parameters
        ----------
        difference : tensor, shape (size,) or (k, size)
            Of the weights; k of them give k pictures.
        """
        return self._laid_out(self.sweeps.pushed(difference))

    def at(self, weights: Tensor) -> PictureSensitivity:
        """Return the same for other weights; this one stays as it is.

        Parameters
        ----------
        weights : tensor, shape (size,)
        """
        return PictureSensitivity(self.net.with_weights(weights), self.points, self.shape)

    def name(self, weight: int) -> str:
        """Return what a weight is, in words: ``synapse 21: unit 0 -> unit 6``.

        Parameters
        ----------
        weight : int
            Its number.
        """
        return self.net.wiring.name(weight)

    def energy(self, masks: Tensor) -> Tensor:
        """Return for all weights the sum of J[s]^2 over the points of each mask and all outputs.

        The cost is one backward sweep for each output, and one product of the masks with all squared maps, of
        which 2048 points are in memory at a time.

        Parameters
        ----------
        masks : tensor, shape shape or (k, *shape)
            True where a point counts; numbers weigh it.

        Returns
        -------
        tensor, shape (size,) or (k, size)
        """
        energies = self.sweeps.energies(masks.reshape(-1, len(self.points)))
        return energies[0] if masks.ndim == len(self.shape) else energies

    @cached_property
    def rms(self) -> Tensor:
        """The rms of each map over all points and outputs, shape (size,)."""
        return (self.energy(torch.ones(self.shape)) / self.output.numel()).sqrt()

    @property
    def groups(self) -> Tensor:
        """The unit that each weight enters, shape (size,)."""
        return torch.from_numpy(self.net.wiring.targets)

    def gram(self, mask: Tensor | None = None) -> Tensor:
        """Return sum of J[s] J[t] over the points of a mask and all outputs, shape (size, size).

        Parameters
        ----------
        mask : tensor of bool, shape shape, optional
            By default all points.
        """
        if mask is None:
            return self.sweeps.gram()
        chosen = mask.reshape(-1).to(self.points.device)
        return Sweeps(self.net, self.points[chosen]).gram()

    def _laid_out(self, rows: Tensor) -> Tensor:
        """Return (..., outputs, points) as (..., *shape, outputs)."""
        return rows.movedim(-2, -1).reshape(*rows.shape[:-2], *self.shape, rows.shape[-2])


def sensitivity(
    net: PictureNet,
    height: int | None = None,
    width: int | None = None,
    *,
    points: Tensor | None = None,
) -> PictureSensitivity:
    """Return how each weight of a network changes its picture, exactly.

    The cost is one forward pass; a property costs one backward sweep, all maps cost one sweep for each output
    and one write of the result.

    Parameters
    ----------
    net : PictureNet
        With two inputs, unless points are given.
    height, width : int
        Size of the picture.
    points : tensor, shape (points, inputs), optional
        Inputs of any kind, in place of a picture; the output then has shape (points, outputs).

    Raises
    ------
    InputError
        If neither a size nor points are given, or they do not fit the network.
    """
    if points is not None:
        if points.ndim != 2 or points.shape[1] != net.wiring.inputs:
            raise InputError(
                f"The points have shape {tuple(points.shape)}.", f"Use (n, {net.wiring.inputs})."
            )
        return PictureSensitivity(net, points, (len(points),))
    if height is None or width is None:
        raise InputError("Neither a size nor points are given.", "Give height and width, or points.")
    if net.wiring.inputs != 2:
        raise InputError(
            f"The network has {net.wiring.inputs} inputs.", "A picture needs two, x and y; or give points."
        )
    points = grid(height, width, dtype=net.weights.dtype, device=net.weights.device)
    return PictureSensitivity(net, points, (height, width))
