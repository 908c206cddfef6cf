"""A context in which a model may be run at will and after which nothing has changed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module, *, derivatives: bool = True) -> Iterator[None]:
    """Restore the model and the process's random and numerical state on leaving, however it is left.

    Restored: parameters' ``requires_grad`` and ``grad``, buffers (values and identity), training flags, hooks
    and plain attributes of every module; the random generators of torch (CPU and CUDA), numpy and Python; the
    number of threads, the deterministic flags, the default dtype and the switches of attention. Parameters
    are never copied: a forward pass does not change them.

    Parameters
    ----------
    model : nn.Module
        The model.
    derivatives : bool
        Whether tangents or cotangents will be taken: fused attention and fused recurrent cells are then off.

    Yields
    ------
    None
        Inside, parameters ask for no gradient, and each submodule is called rather than skipped by a fused
        whole.

    Notes
    -----
    Cost: one copy of the buffers. A list or dict that ``forward`` itself appends to is not restored.
    """
    with ExitStack() as stack:
        stack.callback(_restore_process, _process_state())
        stack.callback(_restore_modules, _module_state(model))
        stack.callback(_restore_tensors, _tensor_state(model))
        # Tensors made in inference mode have no derivatives.
        stack.enter_context(torch.inference_mode(False))
        for parameter in model.parameters():
            if parameter.is_leaf and parameter.requires_grad:
                parameter.requires_grad_(False)
        torch.backends.mha.set_fastpath_enabled(False)
        if derivatives:
            # Fused attention has no forward-mode derivative.
            _set_attention(_PLAIN_ATTENTION)
        if derivatives and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # The fused cells of oneDNN and cuDNN lack derivatives in evaluation mode.
            torch._C._set_mkldnn_enabled(False)
            torch.backends.cudnn.enabled = False
        yield


@contextmanager
def plain_kernels(*, recurrent: bool) -> Iterator[None]:
    """Turn off, inside, fused attention and recurrent cells: they have no second or batched derivatives."""
    attention = _attention()
    mkldnn, cudnn = torch._C._get_mkldnn_enabled(), torch.backends.cudnn.enabled
    try:
        _set_attention(_PLAIN_ATTENTION)
        if recurrent:
            torch._C._set_mkldnn_enabled(False)
            torch.backends.cudnn.enabled = False
        yield
    finally:
        _set_attention(attention)
        if recurrent:
            torch._C._set_mkldnn_enabled(mkldnn)
            torch.backends.cudnn.enabled = cudnn


_DROPS = re.compile("Dropout|DropPath|DropBlock|DropConnect|StochasticDepth")  # classes of modules


def quiet(model: nn.Module) -> list[str]:
    """Switch dropout off and hold the buffers, so that each pass computes the same; return what to say of it.

    Modules that drop are put in evaluation mode, rates of dropout that other modules hold are set to 0, and
    everything else keeps its mode. Inside ``untouched``, which puts it all back.
    """
    off = []
    for name, module in model.named_modules():
        rates = [key for key, value in vars(module).items() if "drop" in key.lower() and _is_rate(value)]
        drops = isinstance(module, nn.modules.dropout._DropoutNd) or bool(
            _DROPS.search(type(module).__name__)
        )
        if drops and not any(True for _ in module.children()):
            rates += ["p"] if _is_rate(getattr(module, "p", None)) else []
            off += [name] if module.training and rates else []
            module.training = False
        elif rates and module.training:
            off.append(name)
            for key in rates:
                setattr(module, key, 0.0)
        if has_running_statistics(module) and hasattr(module, "momentum"):
            # The running statistics stay those of the user's model, however often it is run.
            module.momentum = 0.0
    _hold_buffers(model)
    if not off:
        return []
    count = f"{len(off)} module{'s' if off[1:] else ''}, first {off[0] or 'the model'}"
    return [f"dropout was switched off while measuring ({count})"]


def _is_rate(value: Any) -> bool:
    return isinstance(value, float) and 0.0 < value <= 1.0


def _hold_buffers(model: nn.Module) -> None:
    """Let each pass start from the buffers as they are now, whatever training mode makes of them."""
    held = [
        (module, name, buffer, buffer.detach().clone(), [buffer._version])
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()
    ]

    def start(*_: Any) -> None:
        # Not seen by what traces the operations of the model.
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for module, name, buffer, value, version in held:
                module._buffers[name] = buffer
                if buffer._version != version[0]:
                    buffer.copy_(value)
                    version[0] = buffer._version

    if held:
        model.register_forward_pre_hook(start)


def has_running_statistics(module: nn.Module) -> bool:
    """Return whether the module normalises by running statistics in evaluation."""
    return isinstance(getattr(module, "running_mean", None), Tensor)


_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")
_PLAIN_ATTENTION = {name: name == "math" for name in _ATTENTION}


def _attention() -> dict[str, bool]:
    return {name: bool(getattr(torch.backends.cuda, f"{name}_sdp_enabled")()) for name in _ATTENTION}


def _set_attention(switches: dict[str, bool]) -> None:
    for name, value in switches.items():
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)


def _cuda_generators() -> list[Tensor]:
    started = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    return torch.cuda.get_rng_state_all() if started else []


def _deterministic() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _set_deterministic(flags: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.deterministic, cudnn.benchmark


def _set_cudnn(flags: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.deterministic, cudnn.benchmark = flags


# How the random generators are read and written, and then the settings of the process.
_Access = tuple[Callable[[], Any], Callable[[Any], object]]
_GENERATORS: tuple[_Access, ...] = (
    (torch.get_rng_state, torch.set_rng_state),
    (_cuda_generators, torch.cuda.set_rng_state_all),
    (np.random.get_state, np.random.set_state),
    (random.getstate, random.setstate),
)
_SETTINGS: tuple[_Access, ...] = (
    (torch.get_num_threads, torch.set_num_threads),
    (_deterministic, _set_deterministic),
    (_cudnn, _set_cudnn),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
    (_attention, _set_attention),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
)


def _process_state() -> tuple[list[Any], list[Any]]:
    return [read() for read, _ in _GENERATORS], [read() for read, _ in _SETTINGS]


def _restore_process(state: tuple[list[Any], list[Any]]) -> None:
    generators, settings = state
    for (_, write), saved in zip(_GENERATORS, generators, strict=True):
        write(saved)
    for (read, write), saved in zip(_SETTINGS, settings, strict=True):
        if read() != saved:
            write(saved)


def _module_state(model: nn.Module) -> list[tuple[nn.Module, dict[str, Any], dict[str, dict[Any, Any]]]]:
    # Plain attributes by reference; tensors, children and hooks live in dicts, copied one level deep.
    state = []
    for module in model.modules():
        attributes = dict(vars(module))
        registries = {key: value.copy() for key, value in attributes.items() if isinstance(value, dict)}
        state.append((module, attributes, registries))
    return state


def _restore_modules(state: list[tuple[nn.Module, dict[str, Any], dict[str, dict[Any, Any]]]]) -> None:
    for module, attributes, registries in state:
        for key, saved in registries.items():
            registry = attributes[key]
            if not _same(registry, saved):
                registry.clear()
                registry.update(saved)
        vars(module).clear()
        vars(module).update(attributes)


def _same(registry: dict[Any, Any], saved: dict[Any, Any]) -> bool:
    return list(registry) == list(saved) and all(registry[key] is value for key, value in saved.items())


def _tensor_state(model: nn.Module) -> list[tuple[Tensor, Any]]:
    state: list[tuple[Tensor, Any]] = [(b, b.detach().clone()) for b in model.buffers()]
    state += [(p, (p.requires_grad, p.grad)) for p in model.parameters()]
    return state


def _alike(one: Tensor, other: Tensor) -> bool:
    same = torch.equal(one, other)
    return same and (not one.is_floating_point() or torch.equal(one.signbit(), other.signbit()))


def _restore_tensors(state: list[tuple[Tensor, Any]]) -> None:
    for tensor, saved in state:
        if isinstance(saved, Tensor):
            # A buffer that is as it was is not written to: a graph that is still in use may hold it.
            with torch.no_grad():
                if not _alike(tensor, saved):
                    tensor.copy_(saved)
        else:
            requires_grad, grad = saved
            if tensor.is_leaf and tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            tensor.grad = grad
