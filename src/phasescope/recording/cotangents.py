"""Cotangents of the output pulled back through any module, seen at every row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.recording.batch import Batch, all_floats, first_float, replace_first_float
from phasescope.recording.layers import Layer, run, watched
from phasescope.recording.tangents import Gate

Cotangent = Callable[[Tensor, int, int], Tensor]
"""Gives the cotangent of an output tensor, from the tensor, its number and the number of the probe."""


def pull_back(
    model: nn.Module,
    layers: list[Layer],
    batch: Batch,
    cotangent: Cotangent,
    probes: int,
    see: Callable[[Layer, int, Tensor], None],
) -> list[tuple[Tensor, list[Tensor]]]:
    """Pull random cotangents of the output back to every row by reverse-mode differentiation.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``.
    layers : list of Layer
        The rows of ``discover``.
    batch : Batch
        The inputs; may be written to.
    cotangent : callable
        See ``Cotangent``.
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
    forward pass and `probes` backward passes.
    """
    entering: list[Tensor] = []
    current = [0]

    def admit(tensor: Tensor, number: int) -> Tensor:
        entering.append(tensor.detach().requires_grad_(True))
        # A first layer that works in place may not write to a leaf.
        return entering[-1].clone()

    gate = Gate(admit)

    def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        tensor = first_float(output)
        if tensor is None:
            return None
        entered = None if tensor.requires_grad else gate.row(layer, tensor)
        tensor = tensor if entered is None else entered
        if tensor.requires_grad:
            tensor.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: None if gradient is None else see(layer, current[0], gradient)
            )
        return None if entered is None else replace_first_float(output, entered)

    with torch.enable_grad():
        inside = gate.batch(batch)
        with watched(layers, observe):
            output = run(model, inside)
        targets = [tensor for tensor in all_floats(output) if tensor.requires_grad]
        pulled = [(t, [cotangent(t, i, p) for p in range(probes)]) for i, t in enumerate(targets)]
        for probe in range(probes if targets else 0):
            current[0] = probe
            torch.autograd.grad(
                targets,
                entering,
                [cotangents[probe] for _, cotangents in pulled],
                retain_graph=probe + 1 < probes,
                allow_unused=True,
            )
    return [(tensor.detach(), cotangents) for tensor, cotangents in pulled]
