"""Tangents pushed forward and cotangents pulled back through any module, seen at every row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn

from phasescope.recording.batch import Batch, all_floats, first_float, replace_first_float
from phasescope.recording.layers import Layer, run, watched

Tangent = Callable[[Tensor, int], Tensor]
"""Tangent of an entering tensor, given the tensor and its number among those that enter."""

See = Callable[[Layer, Tensor, Tensor | None], None]
"""What is done at a row with its output and the output's tangent."""


def push_forward(model: nn.Module, layers: list[Layer], batch: Batch, tangent: Tangent, see: See) -> None:
    """Push a tangent of the input through the model by forward-mode differentiation.

    The tangent enters at the floating-point tensors of the batch; where there is none (token ids), at the
    output of every row that turns integers into floating-point numbers, or else of the first row.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``.
    layers : list of Layer
        The rows of ``discover``.
    batch : Batch
        The inputs.
    tangent : callable
        Gives the tangent of each entering tensor, of the same shape.
    see : callable
        Called at each row with the layer, its output and the tangent (None where the output does not depend
        on the input); what it needs must be reduced at once, since the next layer may work in place.

    Notes
    -----
    Cost: two to three forward passes; memory of one forward pass without a graph, twice.
    """
    entries = [0]

    def enter(tensor: Tensor) -> Tensor:
        entries[0] += 1
        return _dual(tensor, tangent(tensor, entries[0] - 1))

    with torch.no_grad(), forward_ad.dual_level():
        inside = batch.with_floats([enter(tensor) for tensor in batch.floats()])
        outside = not entries[0]

        def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
            tensor = first_float(output)
            if tensor is None:
                return None
            primal, pushed = _parts(tensor)
            if pushed is None and outside and (layer.entry or not entries[0]):
                dual = enter(primal)
                see(layer, *_parts(dual))
                return replace_first_float(output, dual)
            see(layer, primal, pushed)
            return None

        with watched(layers, observe):
            run(model, inside)


def _dual(tensor: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(tensor, tangent)  # type: ignore[no-untyped-call]
    return dual


def _parts(dual: Tensor) -> tuple[Tensor, Tensor | None]:
    primal, tangent = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
    return primal, tangent


def push_difference(
    model: nn.Module, layers: list[Layer], batch: Batch, tangent: Tangent, see: See, step: float
) -> None:
    """Push a tangent through the model by central differences, for models without a forward-mode derivative.

    ``(z(x + step u) - z(x - step u)) / (2 step)``, at the cost of three forward passes and the memory of all
    the outputs of one; the error is of order ``step**2`` and the rounding error divided by `step`.

    Parameters
    ----------
    model, layers, batch, tangent, see
        As for ``push_forward``.
    step : float
        Length of the step, in units of the tangent.
    """
    forward: dict[str, Tensor] = {}
    pushed: dict[str, Tensor] = {}

    def shifted(sign: float, keep: Callable[[Layer, Tensor], None]) -> None:
        entries = [0]

        def enter(tensor: Tensor) -> Tensor:
            entries[0] += 1
            return tensor + sign * step * tangent(tensor, entries[0] - 1) if sign else tensor

        moved = batch.with_floats([enter(tensor) for tensor in batch.floats()])
        outside = not entries[0]

        def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
            tensor = first_float(output)
            if tensor is None:
                return None
            if outside and (layer.entry or not entries[0]):
                tensor = enter(tensor)
                keep(layer, tensor)
                return replace_first_float(output, tensor)
            keep(layer, tensor)
            return None

        with torch.no_grad(), watched(layers, observe):
            run(model, moved.take(0, moved.size))

    shifted(1.0, lambda layer, tensor: forward.__setitem__(layer.name, tensor.clone()))
    shifted(
        -1.0,
        lambda layer, tensor: pushed.__setitem__(
            layer.name, (forward.pop(layer.name) - tensor) / (2.0 * step)
        ),
    )
    shifted(0.0, lambda layer, tensor: see(layer, tensor, pushed.pop(layer.name, None)))


def pull_back(
    model: nn.Module,
    layers: list[Layer],
    batch: Batch,
    cotangent: Callable[[Tensor, int, int], Tensor],
    probes: int,
    see: Callable[[Layer, int, Tensor], None],
) -> list[tuple[Tensor, list[Tensor]]]:
    """Pull random cotangents of the output back to every row by reverse-mode differentiation.

    Parameters
    ----------
    model, layers, batch
        As for ``push_forward``.
    cotangent : callable
        Gives the cotangent of an output tensor, from the tensor, its number and the number of the probe.
    probes : int
        How many cotangents.
    see : callable
        Called with the layer, the probe and the gradient with respect to the row's output.

    Returns
    -------
    list of (Tensor, list of Tensor)
        The floating-point outputs of the model that depend on the input, each with its cotangents.

    Notes
    -----
    Gradients are with respect to activations: parameters may be frozen and gather no gradient. Cost: one
    forward pass and `probes` backward passes with respect to activations.
    """
    entering: list[Tensor] = []
    probe = [-1]
    recording = [True]

    def enter(tensor: Tensor) -> Tensor:
        entering.append(tensor.detach().requires_grad_(True))
        return entering[-1]

    # An in-place first layer may not write to a leaf: it gets a view-free copy with the same gradient.
    inside = batch.with_floats([enter(tensor).clone() for tensor in batch.floats()])
    outside = not entering

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        tensor = first_float(output)
        if tensor is None or not recording[0]:
            return None
        replaced = None
        if outside and not tensor.requires_grad and (layer.entry or not entering):
            tensor = enter(tensor).clone()
            replaced = replace_first_float(output, tensor)
        if tensor.requires_grad:
            tensor.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: see(layer, probe[0], gradient)
            )
        return replaced

    with torch.enable_grad():
        with watched(layers, observe):
            output = run(model, inside)
        recording[0] = False
        targets = [t for t in all_floats(output) if t.requires_grad]
        pulled = [(t, [cotangent(t, i, p) for p in range(probes)]) for i, t in enumerate(targets)]
        for p in range(probes if targets else 0):
            probe[0] = p
            torch.autograd.grad(
                targets,
                entering,
                [cotangents[p] for _, cotangents in pulled],
                retain_graph=p + 1 < probes,
                allow_unused=True,
            )
    return [(t.detach(), cotangents) for t, cotangents in pulled]


def gaussian(shape: torch.Size, like: Tensor, *, seed: tuple[int, ...], first: int) -> Tensor:
    """Return standard normal numbers, those of a sample fixed by the seed and its number alone.

    Parameters
    ----------
    shape : torch.Size
        (samples, ...).
    like : Tensor
        Gives the device and the dtype.
    seed : tuple of int
        Names the stream.
    first : int
        Number of the first sample, so that chunks of any size draw the same numbers.
    """
    rows = [
        np.random.default_rng((*seed, first + i)).standard_normal(shape[1:].numel(), dtype=np.float32)
        for i in range(shape[0])
    ]
    return torch.from_numpy(np.stack(rows)).reshape(shape).to(device=like.device, dtype=like.dtype)
