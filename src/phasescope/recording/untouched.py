"""A context in which a model may be run at will and after which nothing has changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
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
    number of threads, the deterministic flags, the default dtype and the
    switches of attention. Parameters are never copied: a forward pass does not change them.

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
            _use_math_attention()
        if derivatives and any(isinstance(module, nn.RNNBase) for module in model.modules()):
            # The fused cells of oneDNN and cuDNN lack derivatives in evaluation mode.
            torch._C._set_mkldnn_enabled(False)
            torch.backends.cudnn.enabled = False
        yield


def quiet(model: nn.Module) -> None:
    """Put every module in evaluation mode, except those with running statistics, which are frozen."""
    for module in model.modules():
        if not has_running_statistics(module):
            module.training = False
        elif hasattr(module, "momentum"):
            # The running statistics stay those of the user's model, however often it is run.
            module.momentum = 0.0  # type: ignore[assignment]


def has_running_statistics(module: nn.Module) -> bool:
    """Return whether the module normalises by running statistics in evaluation."""
    return isinstance(getattr(module, "running_mean", None), Tensor)


_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")


def _attention_switches() -> dict[str, bool]:
    return {name: bool(getattr(torch.backends.cuda, f"{name}_sdp_enabled")()) for name in _ATTENTION}


def _set_attention(switches: dict[str, bool]) -> None:
    for name, value in switches.items():
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)


def _use_math_attention() -> None:
    # Fused attention has no forward-mode derivative.
    _set_attention({name: name == "math" for name in _ATTENTION})


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _process_state() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if _uses_cuda() else None,
        "numpy": np.random.get_state(),  # noqa: NPY002  (the state that the user's own code draws from)
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "deterministic": _deterministic(),
        "cudnn": _cudnn(),
        "dtype": torch.get_default_dtype(),
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
        "attention": _attention_switches(),
        "mkldnn": torch._C._get_mkldnn_enabled(),
    }


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.deterministic, cudnn.benchmark


def _deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _restore_process(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
    if torch.get_num_threads() != state["threads"]:
        torch.set_num_threads(state["threads"])
    enabled, warn_only = state["deterministic"]
    if state["deterministic"] != _deterministic():
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    if state["cudnn"] != _cudnn():
        torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = (
            state["cudnn"]
        )
    torch.set_default_dtype(state["dtype"])
    torch.backends.mha.set_fastpath_enabled(state["fastpath"])
    _set_attention(state["attention"])
    torch._C._set_mkldnn_enabled(state["mkldnn"])


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


def _restore_tensors(state: list[tuple[Tensor, Any]]) -> None:
    for tensor, saved in state:
        if isinstance(saved, Tensor):
            with torch.no_grad():
                tensor.copy_(saved)
        else:
            requires_grad, grad = saved
            if tensor.is_leaf and tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            tensor.grad = grad
