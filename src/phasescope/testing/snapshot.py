"""Everything that an instrument could disturb, and what changed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.testing.cases import tensors_of

_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)


class Snapshot:
    """The state of a model, its batch and the process at one moment."""

    def __init__(self, model: nn.Module | Callable[..., Any], batch: Any) -> None:
        self._model, self._batch = model, batch
        self._state = self._take()

    def changes(self) -> list[str]:
        """Return what differs from the moment of the snapshot, one line each; empty if nothing does."""
        now = self._take()
        keys = dict.fromkeys([*self._state, *now])
        return [key for key in keys if not _same(self._state.get(key), now.get(key))]

    def _take(self) -> dict[str, Any]:
        state = _process_state()
        for position, tensor in enumerate(tensors_of(self._batch)):
            state[f"batch tensor {position}"] = _tensor_state(tensor)
        if isinstance(self._model, nn.Module):
            state |= _module_state(self._model)
        return state


def _process_state() -> dict[str, Any]:
    kind, key, *rest = np.random.get_state()  # noqa: NPY002 - the global state is what is watched
    return {
        "torch's random state": torch.get_rng_state(),
        "numpy's random state": (kind, np.asarray(key).tobytes(), tuple(rest)),
        "Python's random state": random.getstate(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic flags": (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
        ),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradient mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch's anomaly mode": torch.is_anomaly_enabled(),
        "running threads": {thread.ident for thread in threading.enumerate()},
        "torch's global module hooks": [
            len(getattr(torch.nn.modules.module, f"_global{name}"))
            for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        ],
    }


def _module_state(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        where = name or type(module).__name__
        state[f"train/eval flag of {where}"] = module.training
        state[f"hooks of {where}"] = [list(getattr(module, hooks)) for hooks in _HOOKS]
        state[f"attributes of {where}"] = sorted(vars(module))
        state[f"forward of {where}"] = vars(module).get("forward"), type(module)
    for name, parameter in model.named_parameters():
        state[f"parameter {name}"] = _tensor_state(parameter)
    for name, buffer in model.named_buffers():
        state[f"buffer {name}"] = _tensor_state(buffer)
    return state


def _tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    values = tensor.detach().clone()
    grad = None if not tensor.is_leaf or tensor.grad is None else tensor.grad.detach().clone()
    return (
        values,
        grad,
        tensor.requires_grad,
        id(tensor),
        tensor.data_ptr(),
        len(tensor._backward_hooks or ()),
    )


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        if left.dtype != right.dtype or left.shape != right.shape:
            return False
        return (
            left.contiguous().view(-1).view(torch.uint8).equal(right.contiguous().view(-1).view(torch.uint8))
        )
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
