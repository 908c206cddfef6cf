"""What a user passes as a model, as a module that can be observed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from phasescope.errors import InputError


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
        return module
    if callable(model) and not isinstance(model, type):
        return _Function(model)
    text = repr(model)
    raise InputError(
        f"The model is {text if len(text) <= 60 else text[:57] + '...'} ({type(model).__name__}), "
        "not a torch.nn.Module and not callable.",
        "Pass an instance of torch.nn.Module, or a function from tensors to tensors.",
    )
