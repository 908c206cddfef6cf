"""Properties of a picture: numbers that one can see, with their gradients and the pixels they are about."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from phasescope.errors import InputError


class Property(ABC):
    """One number read off a picture of shape (height, width, outputs), in (-1, 1).

    A subclass gives :meth:`value` in torch operations; the gradient follows.

    Attributes
    ----------
    name : str
        For people and tables.
    """

    name: str

    @abstractmethod
    def value(self, picture: Tensor) -> Tensor:
        """Return the property, a scalar that is differentiable in the picture.

        Parameters
        ----------
        picture : tensor, shape (height, width, outputs)
        """

    def support(self, picture: Tensor) -> Tensor | None:
        """Return the pixels that the property is about, bool of shape (height, width), or None for all.

        What changes elsewhere is damage.

        Parameters
        ----------
        picture : tensor, shape (height, width, outputs)
        """
        return None

    def gradient(self, picture: Tensor) -> Tensor:
        """Return d value / d picture, shape (height, width, outputs).

        Parameters
        ----------
        picture : tensor, shape (height, width, outputs)

        Raises
        ------
        InputError
            If the value is no finite scalar, or does not depend on the picture.
        """
        leaf = picture.detach().clone().requires_grad_()
        with torch.enable_grad():
            value = self.value(leaf)
        if not isinstance(value, Tensor) or value.numel() != 1:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"The property {self.name} gives {shape}.", "Return one number, as a tensor.")
        if not torch.isfinite(value).all():
            raise InputError(f"The property {self.name} is {value.item()}.", "It must be finite.")
        if not value.requires_grad:
            raise InputError(
                f"The property {self.name} has no gradient.",
                "Compute it from the picture by torch operations.",
            )
        (gradient,) = torch.autograd.grad(value.reshape(()), leaf, allow_unused=True)
        if gradient is None or not torch.isfinite(gradient).all():
            raise InputError(f"The property {self.name} has no finite gradient.", "Choose a smooth function.")
        return gradient
