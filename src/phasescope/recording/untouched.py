"""A context in which a model may be run at will and after which nothing has changed."""

from __future__ import annotations

import operator
import os
import random
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.multiprocessing.reductions import StorageWeakRef


@contextmanager
def untouched(model: nn.Module, *, derivatives: bool = True, parameters: bool = True) -> Iterator[None]:
    """Restore the model and the process's random and numerical state on leaving, however it is left.

    Restored, of every module and of modules in its lists, dicts and functions: parameters and buffers (which
    they are, values, memory, version, ``requires_grad``, ``grad``); hooks, training flags and plain
    attributes, with their tensors, lists, dicts, sets and random generators. Restored of the process: the
    random generators of torch (CPU and CUDA), numpy and Python; the number of threads, the deterministic and
    anomaly flags, the default dtype and the switches of attention, oneDNN and cuDNN.

    Parameters
    ----------
    model : nn.Module
        The model.
    derivatives : bool
        Whether tangents or cotangents will be taken: fused attention and fused recurrent cells are then off.
    parameters : bool
        Whether values written to parameters inside are undone, too; False for what is meant to set weights.

    Yields
    ------
    None
        Inside, parameters ask for no gradient, and each submodule is called rather than skipped by a fused
        whole.

    Raises
    ------
    RuntimeError
        If something could not be restored; the message names it. All the rest is restored.

    Notes
    -----
    Inside, the tensors of the model stand on other memory, which is shared with the user's until it is
    written to. So the user's memory is never written to, and nothing is copied but what ``forward`` changes,
    memory that torch does not own (numpy arrays, mapped files, memory shared between processes), and buffers
    below 1 MB. A parameter or a larger buffer cannot be resized in place inside. An interrupt that arrives
    while restoring is raised afterwards. Cost: 15 ms for GPT-2 (124 million parameters, 148 tensors).

    One thread at a time is inside; others wait. The same thread may enter again.

    Not restored: objects of the user's own classes, numpy arrays, what lies in lists and dicts of more than
    10 000 entries, and tensors of classes with a dispatch of their own that cannot be taken apart.
    """
    with _lock:
        undo = _Undo()
        cause: BaseException | None = None
        try:
            with _uninterrupted():
                _keep_process(undo)
                _keep_model(model, undo, parameters=parameters)
                torch.backends.mha.set_fastpath_enabled(False)
                if derivatives:
                    _set_plain_kernels(recurrent=any(isinstance(m, nn.RNNBase) for m in model.modules()))
            # Tensors made in inference mode have no derivatives.
            with torch.inference_mode(False):
                yield
        except BaseException as error:
            cause = error
            raise
        finally:
            with _uninterrupted():
                undo.run(cause)


@contextmanager
def plain_kernels(*, recurrent: bool) -> Iterator[None]:
    """Turn off, inside, fused attention and recurrent cells: they have no second or batched derivatives."""
    with _lock:
        before = [(write, read()) for read, write in _SWITCHES.values()]
        try:
            _set_plain_kernels(recurrent=recurrent)
            yield
        finally:
            for write, value in before:
                write(value)


_DROPS = re.compile("Dropout|DropPath|DropBlock|DropConnect|StochasticDepth")  # classes of modules


def quiet(model: nn.Module) -> list[str]:
    """Switch dropout off and hold the buffers, so that each pass computes the same; return what to say of it.

    Modules that drop are put in evaluation mode, rates of dropout that other modules hold are set to 0, and
    everything else keeps its mode. Inside ``untouched``, which puts it all back.
    """
    off = []
    for name, module in model.named_modules():
        drops = isinstance(module, nn.modules.dropout._DropoutNd) or bool(
            _DROPS.search(type(module).__name__)
        )
        drops = drops and not any(True for _ in module.children())
        rates = [
            key
            for key, value in vars(module).items()
            if isinstance(value, float)
            and 0.0 < value <= 1.0
            and ("drop" in key.lower() or (drops and key == "p"))
        ]
        off += [name] if rates and module.training else []
        for key in rates if module.training else ():
            setattr(module, key, 0.0)  # another module may read the rate, too
        module.training = module.training and not drops
        if has_running_statistics(module) and hasattr(module, "momentum"):
            # The running statistics stay those of the user's model, however often it is run.
            module.momentum = 0.0
    _hold_buffers(model)
    if not off:
        return []
    count = f"{len(off)} module{'s' if off[1:] else ''}, first {off[0] or 'the model'}"
    return [f"dropout was switched off while measuring ({count})"]


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


_lock = threading.RLock()


def _renew_lock() -> None:
    # The thread that held the lock does not exist in a forked process.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def alone() -> Iterator[None]:
    """Let one thread at a time through; also a decorator, ``@alone()``, of a function that looks at a model.

    A model belongs to all threads, random generators and switches to the process. While one thread is inside
    or in ``untouched``, others wait; the same thread may enter again, and Ctrl-C ends the waiting.
    """
    with _lock:
        yield


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is done; it arrives in the main thread only."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    arrived: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda *interrupt: arrived.append(interrupt))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if arrived:
            handler(*arrived[0])


class _Undo:
    """Steps that restore something each, taken in the reverse order; one that fails stops no other."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[..., object], tuple[Any, ...]]] = []

    def add(self, name: str, step: Callable[..., object], *args: Any) -> None:
        """Add a step, and what to call the thing that it restores."""
        self._steps.append((name, step, args))

    def run(self, cause: BaseException | None) -> None:
        """Take all the steps; say which things could not be restored."""
        failed: dict[str, Exception] = {}
        with torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
            for name, step, args in reversed(self._steps):
                try:
                    step(*args)
                except Exception as error:  # whatever a user's own classes refuse
                    failed.setdefault(name, error)
            self._steps.clear()  # here, since an interrupt while they are deleted would be lost
        if not failed:
            return
        words = [f"{name} ({type(error).__name__}: {error})" for name, error in failed.items()]
        message = f"Not restored as it was: {'; '.join(words)}."
        if cause is not None and not isinstance(cause, Exception):
            cause.add_note(message)  # an interrupt stays one
            return
        raise RuntimeError(message) from (cause or next(iter(failed.values())))


_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")


def _attention() -> dict[str, bool]:
    return {name: bool(getattr(torch.backends.cuda, f"{name}_sdp_enabled")()) for name in _ATTENTION}


def _set_attention(switches: dict[str, bool]) -> None:
    for name, value in switches.items():
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(value)


def _cudnn() -> tuple[bool, bool, bool]:
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.deterministic, cudnn.benchmark


def _set_cudnn(flags: tuple[bool, bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    cudnn.enabled, cudnn.deterministic, cudnn.benchmark = flags


def _set_plain_kernels(*, recurrent: bool) -> None:
    # Fused attention has no forward-mode derivative; the fused cells of oneDNN and cuDNN lack derivatives in
    # evaluation mode.
    _set_attention({name: name == "math" for name in _ATTENTION})
    if recurrent:
        torch._C._set_mkldnn_enabled(False)
        torch.backends.cudnn.enabled = False


def _cuda_generators() -> list[Tensor]:
    started = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
    return torch.cuda.get_rng_state_all() if started else []


def _deterministic() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _set_deterministic(flags: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _set_anomaly(flags: tuple[bool, bool]) -> None:
    torch.set_anomaly_enabled(*flags)


# How the random generators are read and written, and then the settings of the process.
_Access = tuple[Callable[[], Any], Callable[[Any], object]]
_GENERATORS: dict[str, _Access] = {
    "torch's random state": (torch.get_rng_state, torch.set_rng_state),
    "CUDA's random state": (_cuda_generators, torch.cuda.set_rng_state_all),
    "numpy's random state": (np.random.get_state, np.random.set_state),
    "Python's random state": (random.getstate, random.setstate),
}
_SWITCHES: dict[str, _Access] = {
    "cuDNN": (_cudnn, _set_cudnn),
    "oneDNN": (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    "fused attention": (_attention, _set_attention),
}
_SETTINGS: dict[str, _Access] = _SWITCHES | {
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "the deterministic flags": (_deterministic, _set_deterministic),
    "the anomaly mode": (_anomaly, _set_anomaly),
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the fast path": (torch.backends.mha.get_fastpath_enabled, torch.backends.mha.set_fastpath_enabled),
}


def _keep_process(undo: _Undo) -> None:
    for name, (read, write) in _GENERATORS.items():
        undo.add(name, write, read())
    for name, (read, write) in _SETTINGS.items():
        undo.add(name, _reset, read, write, read())


def _reset(read: Callable[[], Any], write: Callable[[Any], object], value: Any) -> None:
    if read() != value:
        write(value)


_Container = list[Any] | dict[Any, Any] | set[Any] | deque[Any]
_CONTAINERS = (list, dict, set, deque)
_LONG = 10_000  # entries
_SMALL = 1 << 20  # bytes; copied rather than shared, since torch cannot resize what is shared
_REGISTRIES = ("_modules", "_parameters", "_buffers")
_RANDOM = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)


def _keep_model(model: nn.Module, undo: _Undo, *, parameters: bool) -> None:
    found = _Contents(model)
    for name, generator in found.generators:
        undo.add(name, _set_state, generator, _state(generator))
    with torch.inference_mode(False), torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
        shadows = _Shadows(undo)
        # Parameters first: memory that they share with others is not copied.
        ordered = sorted(found.tensors, key=lambda entry: not isinstance(entry[1], nn.Parameter))
        for name, tensor in ordered:
            if not tensor.is_inference():
                _keep_tensor(name, tensor, undo, shadows, parameters)
        stand_ins = {id(t): _stand_in(t, shadows) for _, t in ordered if t.is_inference()}
    for name, container in found.containers:
        undo.add(name, _refill, container, _entries(container))
    for name, module in found.modules:
        undo.add(name, _restore_module, module, type(module), dict(vars(module)), module.training)
    if stand_ins:
        for container in [*(vars(module) for _, module in found.modules), *(c for _, c in found.containers)]:
            _replace(container, stand_ins)


class _Contents:
    """What belongs to a model and can change: modules, containers, generators and tensors, each once.

    Functions are followed to modules alone: the lists that a function writes to are its own affair.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules: list[tuple[str, nn.Module]] = []
        self.containers: list[tuple[str, _Container]] = []
        self.generators: list[tuple[str, Any]] = []
        self.tensors: list[tuple[str, Tensor]] = []
        seen: dict[tuple[int, bool], Any] = {}
        todo: list[tuple[str, Any, bool]] = [("", model, True)]
        while todo:
            name, value, own = todo.pop()
            if (id(value), own) not in seen:
                seen[id(value), own] = value
                for key, part, belongs in self._parts(name or type(model).__name__, value, own):
                    path = f"{name}.{key}".strip(".")
                    todo.append((path, part, belongs or isinstance(part, nn.Module)))

    def _parts(self, name: str, value: Any, own: bool) -> Iterable[tuple[str, Any, bool]]:
        # What a value holds: each with its name in it, and whether it belongs to the model, too.
        if isinstance(value, nn.Module):
            self.modules.append((name, value))
            return [("" if key in _REGISTRIES else key, part, True) for key, part in vars(value).items()]
        if isinstance(value, Tensor):
            if own:
                self.tensors.append((name, value))
                return _parts_of_tensor(value)
        elif isinstance(value, _CONTAINERS):
            if own:
                self.containers.append((name, value))
            if len(value) <= _LONG:
                entries = value.items() if isinstance(value, dict) else enumerate(value)
                return [(str(key), part, own) for key, part in entries]
        elif isinstance(value, tuple):
            return [(str(key), part, own) for key, part in enumerate(value)]
        elif isinstance(value, _RANDOM):
            self.generators.append((name, value))
        elif callable(value) and not isinstance(value, type):
            return [(key, part, False) for key, part in _parts_of_function(value)]
        return ()


def _parts_of_tensor(tensor: Tensor) -> list[tuple[str, Tensor, bool]]:
    parts = [("grad", tensor.grad)] if tensor.is_leaf and tensor.grad is not None else []
    flatten = getattr(tensor, "__tensor_flatten__", None)  # of a class that wraps other tensors
    if flatten is not None:
        parts += [(key, getattr(tensor, key)) for key in flatten()[0]]
    return [(key, part, True) for key, part in parts]


def _parts_of_function(function: Any) -> list[tuple[str, Any]]:
    if isinstance(function, partial):
        return [("", part) for part in (function.func, *function.args, *function.keywords.values())]
    if isinstance(function, MethodType):
        owner = function.__self__
        return [("", function.__func__), ("", owner), *_attributes(owner)]
    if not isinstance(function, FunctionType):
        return _attributes(function)
    code, known, file = function.__code__, function.__globals__, function.__module__
    parts = [(key, known[key]) for key in code.co_names if key in known]
    # Into other functions of the same file, not into libraries.
    parts = [(k, v) for k, v in parts if not isinstance(v, FunctionType | type) or v.__module__ == file]
    parts += [("", v) for v in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())]
    for key, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # nothing is in it yet
            parts.append((key, cell.cell_contents))
    return parts


def _attributes(thing: Any) -> list[tuple[str, Any]]:
    inside = () if isinstance(thing, nn.Module | type) else getattr(thing, "__dict__", {}).items()
    return list(inside)


class _Shadows:
    """Other memory for a model's tensors: one for each of the user's, the same until it is written to."""

    def __init__(self, undo: _Undo) -> None:
        self._undo = undo
        self._made: dict[int, torch.UntypedStorage] = {}

    def of(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the same values and place in memory that may be written to."""
        plain = tensor.detach()
        odd = plain.is_conj() or plain.is_neg() or plain.is_quantized or plain.is_nested
        if odd or plain.layout != torch.strided:
            return plain.clone()
        storage = plain.untyped_storage()
        if storage._cdata not in self._made:
            self._made[storage._cdata] = self._new(plain, lazy=isinstance(tensor, nn.Parameter))
        place = self._made[storage._cdata], plain.storage_offset(), plain.size(), plain.stride()
        return torch.empty(0, dtype=plain.dtype, device=plain.device).set_(*place)

    def _new(self, plain: Tensor, *, lazy: bool) -> torch.UntypedStorage:
        storage = plain.untyped_storage()
        if lazy or storage.nbytes() > _SMALL:
            shared = torch._C._is_cow_tensor(plain)  # type: ignore[attr-defined]
            with suppress(RuntimeError):  # memory that torch does not own
                shadow = torch._lazy_clone(plain).untyped_storage()
                if not shared:
                    self._undo.add("memory", _settle, storage, StorageWeakRef(shadow))  # type: ignore[no-untyped-call]
                return shadow
        copy: torch.UntypedStorage = storage.clone()  # type: ignore[no-untyped-call]
        return copy


def _settle(storage: torch.UntypedStorage, shadow: StorageWeakRef) -> None:
    """Give the user's memory back to the user alone: it is no longer shared when it is written to."""
    left = torch.UntypedStorage._new_with_weak_ptr(shadow.cdata)
    if left is not None:
        left.data_ptr()  # somebody keeps a view of it, which gets memory of its own
        del left
    storage.data_ptr()


def _keep_tensor(name: str, tensor: Tensor, undo: _Undo, shadows: _Shadows, parameters: bool) -> None:
    undo.add(name, _restore_object, tensor, type(tensor), dict(vars(tensor)))
    if tensor.is_leaf:
        undo.add(f"gradient of {name}", setattr, tensor, "grad", tensor.grad)
        undo.add(f"requires_grad of {name}", _restore_leaf, tensor, tensor.requires_grad)
    trained = isinstance(tensor, nn.Parameter)
    own_dispatch = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    if not own_dispatch and (parameters or not trained):
        shadow = shadows.of(tensor)
        version = _unsafe_preserve_version_counter(tensor)
        undo.add(f"version of {name}", version.__exit__)
        undo.add(name, setattr, tensor, "data", tensor.detach())
        tensor.data = shadow
    if trained and tensor.is_leaf and tensor.requires_grad:
        tensor.requires_grad_(False)


def _restore_leaf(tensor: Tensor, requires_grad: bool) -> None:
    if not tensor.is_leaf:
        tensor.detach_()
    if tensor.requires_grad != requires_grad:
        tensor.requires_grad_(requires_grad)


def _stand_in(tensor: Tensor, shadows: _Shadows) -> Tensor:
    # A tensor made in inference mode has no version, and no derivatives.
    shadow = shadows.of(tensor)
    return nn.Parameter(shadow, requires_grad=False) if isinstance(tensor, nn.Parameter) else shadow


def _replace(container: _Container, stand_ins: dict[int, Tensor]) -> None:
    if isinstance(container, dict | list) and len(container) <= _LONG:
        for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
            if id(value) in stand_ins:
                container[key] = stand_ins[id(value)]


def _entries(container: _Container) -> list[Any]:
    # The keys of a dict, then its values.
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


def _refill(container: _Container, saved: list[Any]) -> None:
    now = _entries(container)
    if len(now) == len(saved) and all(map(operator.is_, now, saved)):
        return
    container.clear()
    if isinstance(container, dict):
        half = len(saved) // 2
        for key, value in zip(saved[:half], saved[half:], strict=True):
            container[key] = value
    elif isinstance(container, set):
        container.update(saved)
    else:
        container.extend(saved)


def _restore_module(module: nn.Module, kind: type, attributes: dict[str, Any], training: bool) -> None:
    _restore_object(module, kind, attributes)
    if module.training != training:  # TorchScript keeps it elsewhere
        module.training = training


def _restore_object(thing: Any, kind: type, attributes: dict[str, Any]) -> None:
    # Past the class's own __setattr__, and one attribute at a time: another thread may read them.
    if type(thing) is not kind:
        object.__setattr__(thing, "__class__", kind)
    own = vars(thing)
    for key in own.keys() - attributes.keys():
        del own[key]
    for key, value in attributes.items():
        if key not in own or own[key] is not value:
            own[key] = value
    if list(own) != list(attributes):
        for key in attributes:
            own[key] = own.pop(key)


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.getstate() if isinstance(generator, random.Random) else generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    else:
        generator.set_state(state)
