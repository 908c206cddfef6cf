"""The same network untrained: a copy whose parameters are drawn again."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from phasescope.errors import InputError
from phasescope.recording.untouched import alone

_FACTORY = "or build an untrained model with its own class and use that"


@alone()
def reinitialised(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Return a copy of a model with all parameters drawn as when its modules were made.

    Parameters
    ----------
    model : nn.Module
        The model, trained or not; left as it is.
    seed : int
        Of the draw. The process's random generators stay where they are.

    Returns
    -------
    nn.Module
        On the same device, of the same types and in the same mode, without gradients. Running statistics of
        normalisation start again; other buffers are those of the model.

    Raises
    ------
    InputError
        If the model cannot be copied, or nothing resets the parameters of one of its modules.

    Notes
    -----
    Calls ``reset_parameters()`` (``_reset_parameters()`` where torch calls it so) of every module that has
    it, children before their parents, and then ``_init_weights(module)`` of the nearest module above that has
    that, as models of ``transformers`` and many others do. So a constructor that changes the parameters of
    its modules afterwards, as by ``nn.init``, is not repeated unless it does so in such a method. Frozen and
    pretrained parameters are drawn like all others, tied ones stay tied, and the layers of a transformer,
    which torch makes as copies of one, are drawn one by one. ``weight_norm`` is followed; parametrisations
    with buffers, such as ``spectral_norm``, are refused. Cost: a copy of the model.

    Examples
    --------
    >>> import torch
    >>> trained = torch.nn.LSTM(2, 8)
    >>> first, again = reinitialised(trained, seed=1), reinitialised(trained, seed=1)
    >>> bool((first.weight_hh_l0 == again.weight_hh_l0).all())
    True
    >>> bool((first.weight_hh_l0 == trained.weight_hh_l0).any())
    False
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"The model is a {type(model).__name__}.", "Give a torch.nn.Module.")
    fresh = _copied(model)
    started = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if started else ()
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        # NaN shows in the end what nothing has reset.
        for parameter in fresh.parameters():
            if parameter.is_floating_point() or parameter.is_complex():
                parameter.fill_(math.nan)
        modules = dict(fresh.named_modules())
        for name, module in sorted(modules.items(), key=_depth, reverse=True):
            methods = [getattr(module, own, None) for own in ("reset_parameters", "_reset_parameters")]
            reset = next(filter(callable, methods), None)
            initialise = _initialiser(modules, name)
            try:
                if reset is not None:
                    _reset(module, reset)
                if initialise is not None and not parametrize.is_parametrized(module):
                    initialise(module)
            except Exception as reason:
                called = "_init_weights" if reset is None else reset.__name__
                raise InputError(
                    f"{_named(name, module)}: {called}() fails ({reason}).",
                    f"Make it work without arguments, {_FACTORY}.",
                ) from reason
    for name, module in fresh.named_modules():
        left = [key for key, p in module.named_parameters(recurse=False) if bool(torch.isnan(p).any())]
        if left:
            raise InputError(
                f"{_named(name, module)}: nothing resets its parameter {left[0]}.",
                f"Give the class a method reset_parameters() that draws it, {_FACTORY}.",
            )
    return fresh


def _initialiser(modules: dict[str, nn.Module], name: str) -> Callable[[nn.Module], Any] | None:
    """Return ``_init_weights`` of the module itself, or of the nearest one that holds it and has it."""
    places = name.split(".")
    for last in range(len(places), -1, -1):
        found = getattr(modules.get(".".join(places[:last])), "_init_weights", None)
        if callable(found):
            return found  # type: ignore[no-any-return]
    return None


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy without gradients of a model that can be drawn again."""
    for name, module in model.named_modules():
        if any(is_lazy(p) for p in module.parameters(recurse=False)):
            raise InputError(
                f"{_named(name, module)} has no shape yet.", "Run the model once before, on a batch."
            )
        for parametrisation in _parametrised(module).values():
            if next(parametrisation.buffers(), None) is not None:
                raise InputError(
                    f"{_named(name, module)} is parametrised by "
                    f"{type(parametrisation[0]).__name__.lstrip('_')}, which keeps a state of its own.",
                    f"Remove it by torch.nn.utils.parametrize.remove_parametrizations, {_FACTORY}.",
                )
    try:
        fresh = copy.deepcopy(model)
    except Exception as reason:
        raise InputError(
            f"{type(model).__name__} cannot be copied ({reason}).",
            "Keep no results of a forward pass as attributes; replace torch.nn.utils.weight_norm by that of "
            "torch.nn.utils.parametrizations.",
        ) from reason
    fresh.zero_grad(set_to_none=True)
    return fresh


def _reset(module: nn.Module, reset: Callable[[], Any]) -> None:
    """Draw the parameters of a module again, through its parametrisations where it has some."""
    if not parametrize.is_parametrized(module):
        reset()
        return
    # Cached, a parametrised tensor is one object that can be drawn in place, and then taken apart again.
    with parametrize.cached():
        reset()
        drawn = {name: getattr(module, name).clone() for name in _parametrised(module)}
    for name, value in drawn.items():
        setattr(module, name, value)


def _parametrised(module: nn.Module) -> dict[str, Any]:
    """Return the parametrisations of a module by the names of its parameters."""
    lists: Any = module.parametrizations if parametrize.is_parametrized(module) else {}
    return dict(lists.items())


def _depth(entry: tuple[str, nn.Module]) -> int:
    """Return how many modules hold a named module."""
    return entry[0].count(".") + bool(entry[0])


def _named(name: str, module: nn.Module) -> str:
    return f"{name or 'The model'} ({type(module).__name__})"
