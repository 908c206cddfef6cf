"""An activation as the theory sees it: a function of one number, its derivatives, its kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from phasescope.errors import InputError


@dataclass(frozen=True)
class Activation:
    """An elementwise activation with its derivatives and what is known of it.

    Build one with :func:`phasescope.activations.as_activation`, which checks the function first.

    Parameters
    ----------
    name : str
        How messages and tables call it.
    function : callable
        Elementwise map of a float64 tensor of any shape to one of the same shape.
    kinks : tuple of float
        Points where the function or one of its derivatives jumps; known, declared, or found (then up to the
        second derivative).
    jumps : tuple of float
        Those kinks where the function itself jumps; there ``<s'^2>`` is infinite.
    closed_form : tuple of (str, tuple of float), or None
        Family and parameters for which Gaussian means are known in closed form, such as
        ``("leaky_relu", (0.01,))``; see :mod:`phasescope.theory.closed_forms`.
    """

    name: str
    function: Callable[[Tensor], Tensor] = field(repr=False)
    kinks: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    closed_form: tuple[str, tuple[float, ...]] | None = None

    def __call__(self, z: Tensor) -> Tensor:
        """Return the activation at `z`, same shape, float64, detached from the graph."""
        with torch.no_grad():
            # A copy, because an in-place function would change the caller's tensor.
            return self.function(z.detach().to(torch.float64).clone())

    def derivative(self, z: Tensor, order: int = 1) -> Tensor:
        """Return the `order`-th derivative at `z`, same shape, float64, by automatic differentiation.

        InputError where torch cannot differentiate the function so often.

        Parameters
        ----------
        z : Tensor
            Where; any shape.
        order : int
            0 (the function itself) to 3 or more. At a kink the result is the one that torch defines there;
            delta functions at kinks are not part of it.

        Returns
        -------
        Tensor
            The derivative, detached from the graph.
        """
        return self.derivatives(z, order)[-1]

    def derivatives(self, z: Tensor, order: int = 1) -> list[Tensor]:
        """Return the function and its derivatives up to `order` at `z`, as a list of ``order + 1`` tensors.

        Costs one evaluation of the graph, against ``order + 1`` for as many calls of :meth:`derivative`.
        InputError where torch cannot differentiate the function so often.

        Parameters
        ----------
        z : Tensor
            Where; any shape.
        order : int
            The highest derivative.

        Returns
        -------
        list of Tensor
            Shape of `z` each, float64, detached.
        """
        if order == 0:
            return [self(z)]
        # Inference mode would give tensors without derivatives, and so a flat activation.
        with torch.inference_mode(False), torch.enable_grad():
            point = z.detach().to(torch.float64).clone().requires_grad_(True)
            with _PlainAbs():
                # The clone lets in-place functions run: a leaf may not be changed in place.
                current = self.function(point.clone())
            values = [current.detach()]
            for n in range(1, order + 1):
                current = self._differentiate(current, point, n, create_graph=n < order)
                # The clone gives torch's storage-free zeros (second derivative of abs) a storage.
                values.append(current.detach().clone())
        return values

    def _differentiate(self, value: Tensor, point: Tensor, order: int, *, create_graph: bool) -> Tensor:
        if not value.requires_grad:
            return torch.zeros_like(point)
        try:
            (slope,) = torch.autograd.grad(
                value.sum(), point, create_graph=create_graph, allow_unused=True, materialize_grads=True
            )
        except RuntimeError as error:
            raise InputError(
                f"Activation {self.name!r}: torch cannot take derivative number {order} ({error}).",
                "Write it with differentiable torch functions.",
            ) from error
        return slope


class _PlainAbs(TorchFunctionMode):
    """Take ``abs`` as ``z sign(z)``, because torch's own second derivative loads its compiler (2 s, once)."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _ABS and not kwargs and not args[0].is_complex():
            return args[0] * torch.sign(args[0])
        return func(*args, **(kwargs or {}))


_ABS = (torch.abs, torch.absolute, Tensor.abs, Tensor.absolute, Tensor.__abs__)
