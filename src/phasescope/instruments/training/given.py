"""What the user gave, as model, loss and data of a map of training; or what is missing."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import untouched
from phasescope.training.maps import Optimizer
from phasescope.training.objective import Loss, is_batch

MOST_BATCHES = 8
HOW = (
    "give loss and data: inspect(model, batch, loss=..., data=..., optimizer=...), or a factory that returns "
    "a dictionary with model, loss and data"
)


@dataclass(frozen=True)
class Given:
    """What training is made of."""

    module: nn.Module
    loss: Loss | None
    data: Any  # batches as the objective takes them
    optimizer: Optimizer | None
    batch: Batch  # inputs of the first batch, for what is said of them
    notes: tuple[str, ...]


def refusal(model: nn.Module | Callable[..., Any], loss: Loss | None, data: Any) -> str:
    """Return why nothing can be measured, or ""."""
    if loss is None and data is None:
        return HOW
    try:
        module = as_module(model)
    except InputError as refused:
        return str(refused)
    if not any(p.is_floating_point() for p in module.parameters()):
        return f"{getattr(module, 'kind', type(module).__name__)} has no parameters to train"
    return ""


def given(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    loss: Loss | None,
    data: Any,
    optimizer: Optimizer | None,
) -> Given:
    """Return model, loss and data in the form in which they make a map of training."""
    module = as_module(model)
    optimizer, notes = _of_parameters(optimizer)
    if not any(p.requires_grad for p in module.parameters()):
        if isinstance(optimizer, torch.optim.Optimizer):
            raise InputError(
                f"The optimiser moves parameters of {type(module).__name__}, and none asks for a gradient.",
                "Set requires_grad to True for those that are trained.",
            )
        module = copy.deepcopy(module)
        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        notes.append("no parameter asks for a gradient: all were taken as trained")
    if data is None:
        inputs = as_batch(module, batch)
        arguments = {"args": inputs.args, "kwargs": inputs.kwargs}
        return Given(module, _alone(loss, batch), [arguments], optimizer, inputs, (*notes, *inputs.notes))
    batches, cut = _first_batches(data)
    if cut:
        notes.append(f"the first {len(batches)} batches of the data were used, over and over")
    first = as_batch(module, inputs_of(batches[0]))
    return Given(module, loss, batches, optimizer, first, tuple(notes))


def _of_parameters(optimizer: Optimizer | None) -> tuple[Optimizer | None, list[str]]:
    """Leave out a function that needs a rate beside the parameters, with a note."""
    if optimizer is None or isinstance(optimizer, (int, float, torch.optim.Optimizer)):
        return optimizer, []
    try:
        inspect.signature(optimizer).bind(None)
    except TypeError:
        return None, ["the optimizer needs a rate beside the parameters: give its rate a default"]
    except ValueError:  # a builtin has no signature
        pass
    return optimizer, []


def inputs_of(batch: Any) -> Any:
    """Return what the model is called with: the batch without its last element, the targets."""
    if isinstance(batch, (tuple, list)) and len(batch) > 1:
        return batch[0] if len(batch) == 2 else tuple(batch[:-1])
    return batch


def first_of(data: Any) -> tuple[Any, Any]:
    """Return the inputs of the first batch of the data, and the targets; None without any."""
    first = _first_batches(data)[0][0]
    paired = isinstance(first, (tuple, list)) and len(first) > 1
    return inputs_of(first), first[-1] if paired else None


def _first_batches(data: Any) -> tuple[list[Any], bool]:
    """Return at most so many batches, and whether there are more."""
    if isinstance(data, (Tensor, Mapping)) or is_batch(data):
        return [data], False
    if not isinstance(data, Iterable):
        raise InputError(
            f"The data are of type {type(data).__name__}.",
            "Pass one batch (inputs, targets), a list of batches, or a data loader.",
        )
    with _same_order_later(data), untouched(nn.Identity()):  # the random state of the process
        batches = list(itertools.islice(data, MOST_BATCHES + 1))
    if not batches:
        raise InputError("The data hold no batch.", "Pass at least one batch (inputs, targets).")
    return batches[:MOST_BATCHES], len(batches) > MOST_BATCHES


@contextmanager
def _same_order_later(data: Any) -> Iterator[None]:
    """Restore the generator that a loader shuffles with."""
    generator = getattr(data, "generator", None)
    state = generator.get_state() if isinstance(generator, torch.Generator) else None
    try:
        yield
    finally:
        if isinstance(generator, torch.Generator) and state is not None:
            generator.set_state(state)


def _alone(loss: Loss | None, batch: Any) -> Loss:
    """Return a loss of the output alone, or of the output and the batch that the user passed."""
    assert loss is not None

    def of_the_output(model: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
        output = model(*arguments["args"], **arguments["kwargs"])
        return loss(output, batch) if takes_two else loss(output)

    try:
        inspect.signature(loss).bind(None, None)
        takes_two = True
    except (TypeError, ValueError):
        takes_two = False
    return of_the_output
