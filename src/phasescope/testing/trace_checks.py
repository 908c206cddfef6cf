"""Checks that an instrument leaves the user's model, batch and process as they were."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import all_floats, as_batch, first_float, leaves
from phasescope.testing.cases import Trial, require, require_same

# The failure comes at the first call of a layer, then later, when the measurement itself is under way, and at
# last in a backward pass.
_FAILING_CALLS = (1, 2, 4)
_BACKWARD = 0
_ATTENTION = ("flash", "mem_efficient", "math", "cudnn")
_GLOBAL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOKS = (*_GLOBAL_HOOKS, "_state_dict_hooks", "_load_state_dict_pre_hooks")


def leaves_no_trace(trial: Trial) -> None:
    """Check that model, batch and process are bit-identical after `applies` and `measure`.

    A backward pass that was pending still gives the same gradients, and the user's own hooks fire as before.
    """
    model, batch = trial.build()
    _give_gradients(model)
    with _user_at_work(model, batch), _untouched(model, batch):
        trial.instrument.applies(model, batch)
        trial.instrument.measure(model, batch)


def restores_what_forward_changes(trial: Trial) -> None:
    """Check that weights and buffers that the model itself changes at each call are put back, bit for bit."""
    model, batch = trial.build()
    if not isinstance(model, nn.Module):
        return
    _change_at_each_call(model)
    # A model that gives other numbers at each call may be refused.
    with _untouched(model, batch, " by the model itself"), suppress(InputError):
        trial.instrument.measure(model, batch)


def works_in_threads(trial: Trial) -> None:
    """Check that two threads that measure one model at once get the right numbers, and leave no trace."""
    model, batch = trial.build()
    found: list[xr.Dataset | BaseException] = []

    def work() -> None:
        try:
            found.append(trial.instrument.measure(model, batch))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    with _untouched(model, batch, " by two threads"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for result in found:
        words = f"{type(result).__name__} in a thread: {result}" if isinstance(result, BaseException) else ""
        require(not words, words)
        require_same(trial.dataset, result, "a measurement in a thread")  # type: ignore[arg-type]


def leaves_no_trace_after_an_error(trial: Trial) -> None:
    """Check that the same holds when the model raises, at its first call, later or in a backward pass."""
    _fail_at_each_call(trial, _ModelFailure, must_propagate=False)


def leaves_no_trace_after_an_interrupt(trial: Trial) -> None:
    """Check that the same holds after Ctrl-C, which reaches the caller as ``KeyboardInterrupt``."""
    _fail_at_each_call(trial, KeyboardInterrupt, must_propagate=True)


def keeps_train_and_eval(trial: Trial) -> None:
    """Check that it measures a model in train and in eval mode, and each module stays in its own mode."""
    for training in (True, False):
        model, batch = trial.build()
        if not isinstance(model, nn.Module):
            return
        model.train(training)
        _leaves_of(model)[0].train(not training)
        with _untouched(model, batch):
            trial.instrument.measure(model, batch)


def measures_frozen_parameters(trial: Trial) -> None:
    """Check that a model whose parameters are frozen gives the same numbers, and stays frozen."""
    model, batch = trial.build()
    if not isinstance(model, nn.Module) or not list(model.parameters()):
        return
    model.requires_grad_(False)
    with _untouched(model, batch):
        dataset = trial.instrument.measure(model, batch)
    for name in trial.dataset.data_vars:
        same = dataset[name].equals(trial.dataset[name])
        require(same, f"{name!r} differs when the parameters are frozen")


def leaves_the_batch_alone(trial: Trial) -> None:
    """Check that a batch that asks for gradients is accepted, is not written to and gets no gradient."""
    model, batch = trial.build()
    for tensor in leaves(batch, Tensor):
        if tensor.is_floating_point():
            tensor.requires_grad_(True)
    with _untouched(model, batch):
        trial.instrument.measure(model, batch)


def keeps_no_state(trial: Trial) -> None:
    """Check that the instrument itself is the same before and after a measurement."""
    before = dict(vars(trial.instrument))
    trial.measure()
    require(vars(trial.instrument) == before, "measuring changed the instrument's own attributes")


class _ModelFailure(RuntimeError):
    pass


def _fail_at_each_call(trial: Trial, failure: type[BaseException], *, must_propagate: bool) -> None:
    for call in (*_FAILING_CALLS, _BACKWARD):
        model, batch = trial.build()
        _give_gradients(model)
        failing, raised = _fail_at(model, call, failure)
        where = f"at call {call}" if call else "in a backward pass"
        with _untouched(failing, batch, f" after {failure.__name__} {where}"):
            try:
                trial.instrument.measure(failing, batch)
            except failure:
                pass
            except Exception:
                require(not must_propagate, f"{failure.__name__} reached the caller as another error")
            else:
                swallowed = must_propagate and bool(raised)
                require(not swallowed, f"{failure.__name__} was swallowed")


def _give_gradients(model: nn.Module | Callable[..., Any]) -> None:
    """Put a gradient on every second parameter, as after a step of training."""
    if isinstance(model, nn.Module):
        for position, parameter in enumerate(model.parameters()):
            if position % 2 == 0 and parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, 0.5)


def _fail_at(
    model: nn.Module | Callable[..., Any], call: int, failure: type[BaseException]
) -> tuple[nn.Module | Callable[..., Any], list[int]]:
    """Return the model made to raise at the given call, and a list that is filled once it did."""
    calls, raised = [0], []

    def fail(*_: Any) -> None:
        raised.append(calls[0])
        raise failure("planted by the contract suite")

    def count(output: Any) -> None:
        calls[0] += 1
        if call == _BACKWARD:
            _hook_gradient(output, fail)
        elif calls[0] >= call:
            fail()

    if isinstance(model, nn.Module):
        _leaves_of(model)[-1].register_forward_hook(lambda module, args, output: count(output))
        return model, raised

    def failing(*args: Any, **kwargs: Any) -> Any:
        result = model(*args, **kwargs)
        count(result)
        return result

    return failing, raised


def _leaves_of(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if not list(module.children())]


def _hook_gradient(output: Any, hook: Callable[[Tensor], None]) -> None:
    tensor = first_float(output)
    if tensor is not None and tensor.requires_grad:
        tensor.register_hook(hook)  # type: ignore[no-untyped-call]


def _change_at_each_call(model: nn.Module) -> None:
    """Have every leaf change its parameters and buffers before it works, each time in another way."""
    calls = [0]

    def change(module: nn.Module, args: Any) -> None:
        calls[0] += 1
        own = [(name, p) for name, p in module.named_parameters(recurse=False) if p.is_floating_point()]
        for name, parameter in own:
            new = parameter.detach() * 1.01
            if calls[0] % 3 == 0:
                parameter.data = new
            elif calls[0] % 3 == 1:
                parameter.data.copy_(new)
            else:
                vars(module)["_parameters"][name] = nn.Parameter(new, requires_grad=False)
        for buffer in module.buffers(recurse=False):
            buffer.add_(1)

    for leaf in _leaves_of(model):
        leaf.register_forward_pre_hook(change)


@contextmanager
def _user_at_work(model: nn.Module | Callable[..., Any], batch: Any) -> Iterator[None]:
    """Demand that a pending backward pass and hooks on every leaf do the same before and after the block."""
    if not isinstance(model, nn.Module):
        yield
        return
    fired: list[str] = []

    def hook(name: str) -> Callable[..., None]:
        def forward(module: nn.Module, args: Any, output: Any) -> None:
            fired.append(f"forward {name}")
            _hook_gradient(output, lambda gradient: fired.append(f"backward {name}"))

        return forward

    def what_fires(work: Callable[[], Any]) -> tuple[list[str], Any]:
        fired.clear()
        result = work()
        return list(fired), result

    def forward() -> Tensor | None:
        inputs = as_batch(model, batch)
        inputs = inputs.take(0, inputs.size)
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            outputs = [t for t in all_floats(model(*inputs.args, **inputs.kwargs)) if t.requires_grad]
            return torch.stack([t.square().mean() for t in outputs]).sum() if outputs else None

    def backward() -> list[Tensor | None]:
        if loss is None:
            return []
        return list(torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True))

    handles = [m.register_forward_hook(hook(name)) for name, m in model.named_modules() if m is not model]
    parameters = [p for p in model.parameters() if p.requires_grad]
    first, loss = what_fires(forward)
    pending, gradients = what_fires(backward)
    yield
    try:
        still_pending, same_gradients = what_fires(backward)
    except RuntimeError as error:
        raise AssertionError(f"a pending backward pass fails afterwards: {error}") from error
    require(_same(tuple(gradients), tuple(same_gradients)), "a pending backward pass gives other gradients")
    require(still_pending == pending, "the user's hooks fire otherwise in a pending backward pass")
    require(what_fires(forward)[0] == first, "the user's hooks fire otherwise afterwards")
    for handle in handles:
        handle.remove()


@contextmanager
def _untouched(model: nn.Module | Callable[..., Any], batch: Any, when: str = "") -> Iterator[None]:
    """Demand that model, batch and process are bit-identical before and after the ``with`` block."""
    before = _state(model, batch)
    yield
    now = _state(model, batch)
    changes = [key for key in dict.fromkeys([*before, *now]) if not _same(before.get(key), now.get(key))]
    require(not changes, f"changed{when}: {', '.join(changes[:6])}")


def _state(model: nn.Module | Callable[..., Any], batch: Any) -> dict[str, Any]:
    """Return everything that an instrument could disturb, by what it is called."""
    state = _process_state()
    for position, tensor in enumerate(leaves(batch, Tensor)):
        state[f"batch tensor {position}"] = _tensor_state(tensor)
    return state | _module_state(model) if isinstance(model, nn.Module) else state


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
        "torch's switches of kernels": (
            torch.backends.cudnn.enabled,
            torch._C._get_mkldnn_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            [bool(getattr(torch.backends.cuda, f"{name}_sdp_enabled")()) for name in _ATTENTION],
        ),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradient mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch's anomaly mode": torch.is_anomaly_enabled(),
        "running threads": {thread.ident for thread in threading.enumerate()},
        "torch's global module hooks": [
            len(getattr(torch.nn.modules.module, f"_global{name}")) for name in _GLOBAL_HOOKS
        ],
    }


def _module_state(model: nn.Module) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        where = name or type(module).__name__
        state[f"train/eval flag of {where}"] = module.training
        state[f"hooks of {where}"] = [list(getattr(module, hooks)) for hooks in _HOOKS]
        state[f"attributes of {where}"] = {key: id(value) for key, value in vars(module).items()}
        state[f"class of {where}"] = type(module)
    for name, parameter in model.named_parameters():
        state[f"parameter {name}"] = _tensor_state(parameter)
    for name, buffer in model.named_buffers():
        state[f"buffer {name}"] = _tensor_state(buffer)
    return state


def _tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    values = tensor.detach().clone()
    grad = None if not tensor.is_leaf or tensor.grad is None else tensor.grad.detach().clone()
    hooks = len(tensor._backward_hooks or ())
    version = None if tensor.is_inference() else tensor._version
    return values, grad, tensor.requires_grad, id(tensor), tensor.data_ptr(), version, hooks


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        alike = left.dtype == right.dtype and left.shape == right.shape
        return alike and _bits(left).equal(_bits(right))
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)
