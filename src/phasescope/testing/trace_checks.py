"""Checks that an instrument leaves the user's model, batch and process as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from phasescope.testing.cases import tensors_of
from phasescope.testing.snapshot import Snapshot
from phasescope.testing.trial import Trial, require

# The failure comes at the first call of a layer, then later, when the measurement itself is under way.
_FAILING_CALLS = (1, 2, 4)


class _ModelFailure(RuntimeError):
    pass


def leaves_no_trace(trial: Trial) -> None:
    """Check that model, batch and process are bit-identical after `applies` and `measure`."""
    model, batch = trial.build()
    _give_gradients(model)
    before = Snapshot(model, batch)
    trial.instrument.applies(model, batch)
    trial.instrument.measure(model, batch)
    _require_untouched(before)


def leaves_no_trace_after_an_error(trial: Trial) -> None:
    """Check that the same holds when the model raises, at its first call or later."""
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
        leaves = [module for module in model.modules() if not list(module.children())]
        leaves[0].train(not training)
        before = Snapshot(model, batch)
        trial.instrument.measure(model, batch)
        _require_untouched(before)


def measures_frozen_parameters(trial: Trial) -> None:
    """Check that a model whose parameters are frozen gives the same numbers, and stays frozen."""
    model, batch = trial.build()
    if not isinstance(model, nn.Module) or not list(model.parameters()):
        return
    model.requires_grad_(False)
    before = Snapshot(model, batch)
    dataset = trial.instrument.measure(model, batch)
    _require_untouched(before)
    for name in trial.dataset.data_vars:
        same = dataset[name].equals(trial.dataset[name])
        require(same, f"{name!r} differs when the parameters are frozen")


def keeps_no_state(trial: Trial) -> None:
    """Check that the instrument itself is the same before and after a measurement."""
    before = dict(vars(trial.instrument))
    trial.measure()
    require(vars(trial.instrument) == before, "measuring changed the instrument's own attributes")


def _give_gradients(model: nn.Module | Callable[..., Any]) -> None:
    """Put a gradient on every second parameter, as after a step of training."""
    if isinstance(model, nn.Module):
        for position, parameter in enumerate(model.parameters()):
            if position % 2 == 0 and parameter.requires_grad:
                parameter.grad = torch.full_like(parameter, 0.5)


def _fail_at_each_call(trial: Trial, failure: type[BaseException], *, must_propagate: bool) -> None:
    for call in _FAILING_CALLS:
        model, batch = trial.build()
        _give_gradients(model)
        failing, raised = _fail_at(model, call, failure)
        before = Snapshot(failing, batch)
        try:
            trial.instrument.measure(failing, batch)
        except failure:
            pass
        except Exception:
            require(not must_propagate, f"{failure.__name__} reached the caller as another error")
        else:
            swallowed = must_propagate and bool(raised)
            require(not swallowed, f"{failure.__name__} was swallowed")
        _require_untouched(before, f" after {failure.__name__} at call {call}")


def _fail_at(
    model: nn.Module | Callable[..., Any], call: int, failure: type[BaseException]
) -> tuple[nn.Module | Callable[..., Any], list[int]]:
    """Return the model made to raise at the given call, and a list that is filled once it did."""
    calls, raised = [0], []

    def count() -> None:
        calls[0] += 1
        if calls[0] >= call:
            raised.append(calls[0])
            raise failure("planted by the contract suite")

    if isinstance(model, nn.Module):
        leaves = [module for module in model.modules() if not list(module.children())]
        leaves[-1].register_forward_hook(lambda *_: count())
        return model, raised

    def failing(*args: Any, **kwargs: Any) -> Any:
        result = model(*args, **kwargs)
        count()
        return result

    return failing, raised


def _require_untouched(before: Snapshot, when: str = "") -> None:
    changes = before.changes()
    require(not changes, f"changed{when}: {', '.join(changes[:6])}")


def leaves_the_batch_alone(trial: Trial) -> None:
    """Check that a batch that asks for gradients is accepted, is not written to and gets no gradient."""
    model, batch = trial.build()
    for tensor in tensors_of(batch):
        if tensor.is_floating_point():
            tensor.requires_grad_(True)
    before = Snapshot(model, batch)
    trial.instrument.measure(model, batch)
    _require_untouched(before)


CHECKS = (
    leaves_no_trace,
    leaves_no_trace_after_an_error,
    leaves_no_trace_after_an_interrupt,
    keeps_train_and_eval,
    measures_frozen_parameters,
    leaves_the_batch_alone,
    keeps_no_state,
)
