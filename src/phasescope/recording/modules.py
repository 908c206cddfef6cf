"""What a user passes as a model, as a module that can be observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from phasescope.errors import InputError

_EXPORTED = "an exported program, whose layers are gone."
_ORIGINAL = "Pass the module that it was exported from."


class _Function(nn.Module):
    """A plain callable as a module without children."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.kind = getattr(function, "__name__", type(function).__name__)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def as_module(model: nn.Module | Callable[..., Any]) -> nn.Module:
    """Return the model itself, or a plain callable as a module of one row."""
    if isinstance(model, nn.Module):
        # torch.compile fuses the layers away; what it wraps computes the same.
        original = getattr(model, "_orig_mod", model)
        module = original if isinstance(original, nn.Module) else model
        if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
            raise InputError(
                f"{type(module).__name__} holds TorchScript, whose layers cannot be observed.",
                "Pass the module that it was scripted or traced from.",
            )
        if any(_is_exported(part) for part in module.modules()):
            raise InputError(f"{type(module).__name__} holds {_EXPORTED}", _ORIGINAL)
        _refuse_without_values(module)
        return module
    if isinstance(model, torch.export.ExportedProgram):
        raise InputError(f"The model is {_EXPORTED}", _ORIGINAL)
    if callable(model) and not isinstance(model, type):
        return _Function(model)
    name = getattr(model, "__name__", "")
    if name:
        raise InputError(
            f"The model is the class {name} ({type(model).__name__}), not an instance of torch.nn.Module.",
            f"Make one first: {name}(...).",
        )
    text = repr(model)
    raise InputError(
        f"The model is {text if len(text) <= 60 else text[:57] + '...'} ({type(model).__name__}), "
        "not a torch.nn.Module and not callable.",
        "Pass an instance of torch.nn.Module, or a function from tensors to tensors.",
    )


def _is_exported(module: nn.Module) -> bool:
    # Its graph calls no layer, only operations on their weights.
    return isinstance(module, torch.fx.GraphModule) and hasattr(module, "_in_spec")


def _refuse_without_values(module: nn.Module) -> None:
    """Refuse parameters of lazy modules and on the meta device, which hold no numbers."""
    named = [*module.named_parameters(), *module.named_buffers()]
    name, kinds = (
        type(module).__name__,
        (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer),
    )
    lazy = [path for path, tensor in named if isinstance(tensor, kinds)]
    if lazy:
        raise InputError(
            f"{name} has lazy layers: {lazy[0]} has no shape before the first forward pass, which would "
            "change the model.",
            "Call the model once on the batch, then measure.",
        )
    meta = [path for path, tensor in named if tensor.is_meta]
    if meta:
        raise InputError(
            f"{len(meta)} tensor(s) of {name}, first {meta[0]}, are on the meta device and have no values.",
            "Load or initialise the weights first: model.to_empty(device=...), then load_state_dict.",
        )
