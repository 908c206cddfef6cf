"""The rows of a network: one for every call of a module without children, in the order of the calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch
from phasescope.recording.untouched import has_running_statistics

_NOISE = 0  # seed of what a stochastic forward draws while it is observed

Observe = Callable[["Layer", tuple[Any, ...], Any], Any]


@dataclass(frozen=True)
class Layer:
    """One row: a call of a module.

    Parameters
    ----------
    name : str
        Path of the module in the model; a repeated call adds ``" (call 2)"``.
    module : nn.Module
        The module.
    path : str
        Path of the module in the model; empty for the model itself.
    call : int
        Which call of the module it is, from 1.
    role : str
        One of "weight", "norm", "activation", "other".
    skipped : str
        Why the row cannot be measured; empty where it can.
    batch_axis : int
        The axis of the output along which the samples lie.
    entry : bool
        Whether the row turns integers into the first floating-point signal, as an embedding does.
    unit_axis : int
        The axis of the output that counts units (channels or features).
    chained : bool
        Whether the row takes, up to its shape, exactly what the row before returned (the first row:
        anything).
    final : bool
        Whether the model returns, up to its shape, exactly what the row returned.
    shape : tuple of int
        Shape of the output for the two samples (or the one) that the row was found with.
    argument_shape : tuple of int
        Shape of the first floating-point argument then; empty where there is none.
    units : int
        Number of elements of the output for one sample.
    reached : bool
        Whether the forward pass calls the module.
    """

    name: str
    module: nn.Module = field(repr=False)
    path: str
    call: int = 1
    role: str = "other"
    skipped: str = ""
    batch_axis: int = 0
    entry: bool = False
    unit_axis: int = -1
    chained: bool = False
    final: bool = False
    shape: tuple[int, ...] = ()
    argument_shape: tuple[int, ...] = ()
    units: int = 0
    reached: bool = True

    @property
    def kind(self) -> str:
        """Class name of the module."""
        return str(getattr(self.module, "kind", type(self.module).__name__))

    def samples(self, output: Tensor, size: int) -> Tensor:
        """Return the output as (samples, units)."""
        return output.movedim(self.batch_axis, 0).reshape(size, -1)


def role(module: nn.Module) -> str:
    """Return what a module does to the signal: "weight", "norm", "activation" or "other"."""
    if "Norm" in type(module).__name__ or has_running_statistics(module):
        return "norm"
    if any(p.ndim >= 2 for p in module.parameters()):
        return "weight"
    if isinstance(module, (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)):
        return "other"
    if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)):
        return "other"
    if type(module).__module__ == "torch.nn.modules.activation":
        return "activation"
    return "activation" if _elementwise(module) else "other"


def _elementwise(module: nn.Module) -> bool:
    # A module of the user's own counts as an activation if each output depends on its own input alone.
    if type(module).__module__.startswith("torch.nn") or list(module.children()):
        return False
    parameters = list(module.parameters())
    device = parameters[0].device if parameters else None
    dtype = parameters[0].dtype if parameters else torch.float32
    z = torch.linspace(-2.0, 2.0, 12, device=device, dtype=dtype).reshape(3, 4)
    try:
        with torch.no_grad():
            whole = module(z.clone())
            turned = module(z.flip(0, 1).contiguous())
            moved = z.clone()
            moved[1, 1] += 1.0
            changed = module(moved) != whole
    except Exception:
        return False
    if not isinstance(whole, Tensor) or whole.shape != z.shape or not torch.equal(turned.flip(0, 1), whole):
        return False
    others = int(changed.sum()) - int(changed[1, 1])
    return others == 0 and not torch.equal(whole, z)


def leaves(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that rows are made of, by path: those without children of their own."""
    found = {}
    for path, module in model.named_modules():
        if inside_parametrization(path):
            continue
        if not any(name != "parametrizations" for name, _ in module.named_children()):
            found[path] = module
    return found


def inside_parametrization(path: str) -> bool:
    """Return whether a path lies inside the machinery of a parametrised weight, which is no layer."""
    return "parametrizations" in path.split(".")


@contextmanager
def observed(
    modules: dict[str, nn.Module],
    after: Callable[[str, nn.Module, tuple[Any, ...], Any], Any],
    before: Callable[[str, tuple[Any, ...]], None] | None = None,
) -> Iterator[None]:
    """Call `after` with path, module, arguments and output at each call of `modules`, through hooks.

    A value other than None that `after` returns takes the place of the output. Every hook is gone on leaving.
    """
    handles = []
    try:
        for path, module in modules.items():
            if before is not None:
                handles.append(
                    module.register_forward_pre_hook(
                        lambda _, args, kwargs, path=path: before(path, (*args, *kwargs.values())),
                        with_kwargs=True,
                    )
                )
            handles.append(
                module.register_forward_hook(
                    lambda module, args, kwargs, output, path=path: after(
                        path, module, (*args, *kwargs.values()), output
                    ),
                    with_kwargs=True,
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watched(layers: list[Layer], observe: Observe) -> Iterator[None]:
    """Call ``observe(layer, arguments, output)`` at every measured row of one forward pass.

    Parameters
    ----------
    layers : list of Layer
        Rows, as :func:`discover` returns them; skipped ones are left out.
    observe : callable
        What it returns, if not None, takes the place of the layer's output.

    Yields
    ------
    None
    """
    by_call = {(layer.path, layer.call): layer for layer in layers if not layer.skipped}
    modules = {layer.path: layer.module for layer in by_call.values()}
    calls: Counter[str] = Counter()

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        calls[path] += 1
        layer = by_call.get((path, calls[path]))
        return None if layer is None else observe(layer, args, output)

    with observed(modules, after):
        yield


def drew_noise() -> bool:
    """Return whether the model drew numbers from torch's generator in the last ``run``, on the CPU."""
    return not torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(_NOISE).get_state())


def run(model: nn.Module, batch: Batch, whole: Batch | None = None) -> Any:
    """Return ``model(*args, **kwargs)``, with the same noise at every call where ``forward`` draws some.

    Parameters
    ----------
    model : nn.Module
        The model, inside ``untouched``, which restores the random generators.
    batch : Batch
        The arguments.
    whole : Batch, optional
        The user's batch, for the message, where `batch` is a part of it.

    Raises
    ------
    InputError
        If the model refuses the batch; the message repeats the shapes and the model's own words.
    """
    refused: Exception
    # torch.manual_seed also notes down a traceback at each call, for devices that are not there.
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(_NOISE)
    np.random.seed(_NOISE)  # noqa: NPY002  (the generator that the user's own code draws from)
    random.seed(_NOISE)
    try:
        return model(*batch.args, **batch.kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        refused = error
    words = " ".join(str(refused).split())[:300]
    raise InputError(
        f"{getattr(model, 'kind', type(model).__name__)} does not accept the batch "
        f"({(whole or batch).shapes()}): "
        f"{type(refused).__name__}: {words.rstrip('.')}.",
        "Pass the batch as the model's forward takes it.",
    ) from refused
