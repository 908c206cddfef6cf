"""What a user's factory gives for one seed, as training maps at any rate and a score on validation data."""

from __future__ import annotations

import inspect
import math
import random
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from phasescope.errors import InputError
from phasescope.recording import untouched
from phasescope.recording.modules import as_module
from phasescope.training.maps import TrainingMap, training_map
from phasescope.training.objective import Loss, Objective, objective

Factory = Callable[[int], Any]

_KEYS = ("model", "loss", "data", "optimizer", "validation", "target", "scheduler", "accumulate")
_NEEDED = _KEYS[:3]
_OF_INSPECT = ("batch", "property", "properties")  # what the same factory may tell an inspection
_FIX = "Return model, loss, data, or a dictionary with these keys and any of " + ", ".join(_KEYS[3:]) + "."


@dataclass(frozen=True)
class Score:
    """What tells whether training has succeeded."""

    name: str  # "accuracy on validation data", ...
    higher: bool  # whether more is better
    of: Callable[[Tensor], float]  # of a vector of weights
    held: bool = True  # whether it is taken from other data than those trained on


@dataclass(frozen=True)
class Trial:
    """One initialisation of the user's training, ready to be run at any rate."""

    seed: int
    model: Any
    objective: Objective
    optimizer: Callable[[Any, float], Any]
    scheduler: Callable[[Any], Any] | None
    score: Score
    target: float | None
    steps: int

    def map(self, rate: float, schedule: Callable[[int], float] | None = None) -> TrainingMap:
        """Return the user's training at a rate, with the user's own schedule if none is given."""
        made = self.objective
        return training_map(
            self.model,
            made.loss_function,
            iter(made.data),
            lambda parameters: self._optimizer(parameters, rate),
            dtype=made.dtype,
            device=made.device,
            accumulate=len(made.data) // made.batches,
            schedule=schedule or self._schedule(rate),
        )

    def _optimizer(self, parameters: Any, rate: float) -> torch.optim.Optimizer:
        made = self.optimizer(parameters, rate)
        if not isinstance(made, torch.optim.Optimizer):
            raise InputError(
                f"The factory's optimizer returned {type(made).__name__}.",
                "Give a function of parameters and rate that returns a torch.optim optimiser.",
            )
        return made

    def _schedule(self, rate: float) -> Callable[[int], float] | None:
        """Return the share of the rate that the user's scheduler leaves at each step, read from a dry run."""
        if self.scheduler is None:
            return None
        fix = "Give a function of the optimiser that returns one of torch.optim.lr_scheduler."
        parameters = [p for p in as_module(self.model).parameters() if p.requires_grad]
        optimizer = self._optimizer(parameters, rate)
        groups = optimizer.param_groups
        rates = [float(group["lr"]) for group in groups]
        momenta = [(group.get("momentum"), group.get("betas")) for group in groups]
        table: list[float] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no optimiser steps between the scheduler's
            scheduler = self.scheduler(optimizer)
            if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
                raise InputError(f"The factory's scheduler returned {type(scheduler).__name__}.", fix)
            for step in range(self.steps):
                shares = [float(group["lr"]) / own for group, own in zip(groups, rates, strict=True)]
                if max(shares) - min(shares) > 1e-9 * max(shares):
                    raise InputError(
                        f"At step {step} the scheduler multiplies the groups' rates by "
                        f"{min(shares):.4g} to {max(shares):.4g}.",
                        "Schedule all groups alike.",
                    )
                if [(group.get("momentum"), group.get("betas")) for group in groups] != momenta:
                    raise InputError(
                        f"{type(scheduler).__name__} changes the momentum at step {step}.",
                        "Pass cycle_momentum=False to it.",
                    )
                table.append(shares[0])
                try:
                    scheduler.step()
                except ValueError as error:
                    if step + 1 < self.steps:
                        raise InputError(
                            f"{type(scheduler).__name__} ends after {step + 1} of {self.steps} steps.",
                            "Make it for as many steps as the scan takes.",
                        ) from error
        return lambda t: table[min(t, len(table) - 1)]


def trial(
    factory: Factory,
    seed: int,
    *,
    steps: int,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
) -> Trial:
    """Call the factory with the global generators seeded, read its data once, and check all it returned."""
    _check_signature(factory)
    with untouched(nn.Identity()):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's factory may well use the global generator
        torch.manual_seed(seed)
        given = _given(factory(seed))
        accumulate = given.get("accumulate", 1)
        if not isinstance(accumulate, int) or accumulate < 1:
            raise InputError(f"The factory's accumulate is {accumulate!r}.", "Give a whole number above 0.")
        made = objective(
            given["model"],
            given["loss"],
            _needed(given["data"], steps * accumulate, accumulate),
            dtype=dtype,
            device=device,
            accumulate=accumulate,
        )
        target = given.get("target")
        if target is not None and not (isinstance(target, int | float) and math.isfinite(target)):
            raise InputError(f"The factory's target is {target!r}.", "Give a finite number.")
        return Trial(
            seed=seed,
            model=given["model"],
            objective=made,
            optimizer=given.get("optimizer")
            or (lambda parameters, rate: torch.optim.SGD(parameters, lr=rate)),
            scheduler=given.get("scheduler"),
            score=_score(given, made),
            target=target,
            steps=steps,
        )


def _check_signature(factory: Factory) -> None:
    if not callable(factory):
        raise InputError(f"The factory is {factory!r}.", "Pass a function of a seed.")
    try:
        inspect.signature(factory).bind(0)
    except TypeError:
        raise InputError(
            f"The factory {getattr(factory, '__name__', factory)} does not take one argument, the seed.",
            "Write def factory(seed): ..., and draw the weights with it.",
        ) from None
    except ValueError:
        pass  # a builtin has no signature


def _given(returned: Any) -> dict[str, Any]:
    """Return what the factory returned, by name."""
    if isinstance(returned, tuple | list) and len(returned) == 3:
        returned = dict(zip(_NEEDED, returned, strict=True))
    if not isinstance(returned, Mapping):
        what = (
            f"a {type(returned).__name__} of {len(returned)}"
            if isinstance(returned, tuple | list)
            else f"{type(returned).__name__}"
        )
        raise InputError(f"The factory returned {what}.", _FIX)
    missing = [key for key in _NEEDED if key not in returned]
    unknown = [str(key) for key in returned if key not in (*_KEYS, *_OF_INSPECT)]
    if missing or unknown:
        raise InputError(
            "The factory's dictionary "
            + " and ".join(
                [f"lacks {', '.join(missing)}"] * bool(missing)
                + [f"has {', '.join(unknown)}"] * bool(unknown)
            )
            + ".",
            _FIX,
        )
    if not isinstance(returned["model"], nn.Module):
        raise InputError(
            f"The factory's model is {type(returned['model']).__name__}, not a torch.nn.Module.", _FIX
        )
    for key in ("optimizer", "scheduler"):
        value = returned.get(key)
        if value is not None and (isinstance(value, torch.optim.Optimizer) or not callable(value)):
            needs = "parameters and rate" if key == "optimizer" else "the optimiser"
            raise InputError(
                f"The factory's {key} is {type(value).__name__}.",
                f"Give a function of {needs} that makes one.",
            )
    return dict(returned)


def _needed(data: Any, batches: int, accumulate: int) -> Any:
    """Return no more batches of a loader than the steps take, and only whole steps of them."""
    if isinstance(data, Tensor | Mapping | tuple | list) or not isinstance(data, Iterable):
        return data
    kept = islice(data, batches)
    return kept if accumulate == 1 else _whole_steps(kept, accumulate)


def _whole_steps(data: Iterable[Any], accumulate: int) -> Any:
    waiting: list[Any] = []
    for batch in data:
        waiting.append(batch)
        if len(waiting) == accumulate:
            yield from waiting
            waiting = []


def _hits(output: Any, target: Any) -> Tensor:
    """Return the accuracy, as a loss whose gradient is zero."""
    classes = (
        isinstance(output, Tensor)
        and isinstance(target, Tensor)
        and output.is_floating_point()
        and not target.is_floating_point()
        and output.ndim == target.ndim + 1
    )
    if not classes:
        raise InputError("The output holds no scores of classes.")
    # scores of classes stand on axis 1, as torch's cross-entropy has it, or else on the last
    axis = 1 if output.shape[2:] == target.shape[1:] and output.shape[0] == target.shape[0] else -1
    hits = (output.argmax(axis) == target).to(output.dtype).mean()
    return torch.add(hits, output.sum(), alpha=0.0)


def _score(given: Mapping[str, Any], made: Objective) -> Score:
    """Return accuracy or loss on the validation data, or the user's own score; else the training loss."""
    validation = given.get("validation")
    if validation is None:
        name = "training loss" if made.batches == 1 else "loss of the first training batch"
        return Score(name, False, lambda w: float(made.loss(w)), held=False)
    if callable(validation) and not isinstance(validation, Iterable):

        def own(w: Tensor) -> float:
            parameters = made.named(w)
            with torch.no_grad():
                return float(
                    validation(lambda *a, **k: torch.func.functional_call(made.module, parameters, a, k))
                )

        return Score("the factory's own score", True, own)
    batches = validation if isinstance(validation, Tensor | Mapping | tuple | list) else list(validation)

    def held(loss: Loss | None) -> Objective:
        return objective(
            given["model"], loss, batches, dtype=made.dtype, device=made.device, trained=list(made.slices)
        )

    def mean_of(on: Objective) -> Callable[[Tensor], float]:
        return lambda w: sum(float(on.loss(w, t)) for t in range(on.batches)) / on.batches

    try:
        return Score("accuracy on validation data", True, mean_of(held(_hits)))
    except Exception:  # whatever a batch of the user's own kind makes of a plain accuracy
        return Score("loss on validation data", False, mean_of(held(given["loss"])))
