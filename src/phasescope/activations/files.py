"""An activation by what a user types: a name, or ``FILE.py:function`` of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from phasescope.activations.activation import Activation
from phasescope.activations.resolve import as_activation
from phasescope.errors import InputError
from phasescope.userfiles import call_factory, describe, is_file_spec, load_object


def load_activation(spec: str) -> Activation:
    """Return the activation that a user typed, checked and with its kinks known or found.

    Parameters
    ----------
    spec : str
        A name as in :func:`as_activation`, or ``FILE.py:function`` with the user's own function, module,
        module class or factory without arguments; a relative path starts at the working folder. Naming a
        file runs its code.

    Raises
    ------
    InputError
        If it is unknown, cannot be loaded, or is not an elementwise function without NaN.
    """
    if not is_file_spec(spec):
        return as_activation(spec)
    loaded = _load(spec)
    try:
        return as_activation(loaded)
    except InputError as error:
        raise InputError(f"{spec}: {error.what}", error.fix) from error


def _load(spec: str) -> Any:
    """Return the activation in a user's file: a function, a module, or what a class or factory makes."""
    found = load_object(spec)
    if isinstance(found, nn.Module) or not (callable(found) and _is_factory(found)):
        return found
    made = call_factory(spec)
    if not callable(made):
        raise InputError(
            f"{spec} gives {describe(made)}, not an activation.",
            "Name a function of one tensor, or a module.",
        )
    return made


def _is_factory(function: Callable[..., Any]) -> bool:
    """Return whether it can be called without arguments; a builtin without a signature takes a tensor."""
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True
