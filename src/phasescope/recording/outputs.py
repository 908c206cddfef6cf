"""What a model returns: the output of its samples, or the loss where there is nothing else; a loss on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.errors import InputError, PhasescopeError
from phasescope.recording.batch import Batch, all_floats, is_plain, map_leaves, unpacked
from phasescope.recording.forward import in_users_words


def sampled_outputs(returned: Any, size: int) -> list[Tensor]:
    """Return the floating-point tensors of what a model returned that have an axis of `size` samples."""
    return [tensor for tensor in all_floats(unpacked(returned)) if _has_samples(tensor, size)]


def primary_output(returned: Any, size: int) -> tuple[Tensor | None, str]:
    """Return the tensor that stands for the output of a model, and a note where it is not one of samples.

    The first floating-point tensor with an axis of `size` samples; else the first single number, a loss; else
    the first floating-point tensor; else None, with the reason.
    """
    tensors = all_floats(unpacked(returned))
    sampled = next((tensor for tensor in tensors if _has_samples(tensor, size)), None)
    if sampled is not None:
        return sampled, ""
    loss = next((tensor for tensor in tensors if tensor.numel() == 1), None)
    if loss is not None:
        return loss, "the model returns a single number: gradients are those of this loss"
    if tensors:
        return tensors[0], (
            f"the output {tuple(tensors[0].shape)} has no axis of the {size} samples: "
            "gradients are those of the output of all samples together"
        )
    return None, f"no gradients: {without_floats(returned)}"


def without_floats(returned: Any) -> str:
    """Return why an output without a floating-point tensor cannot be measured."""
    if returned is None:
        return "its output is None"
    if isinstance(returned, Tensor) and not is_plain(returned):
        return f"its output is a {'nested' if returned.is_nested else 'sparse'} tensor"
    if isinstance(returned, Tensor):
        return f"its output is {str(returned.dtype).removeprefix('torch.')}, not floating point"
    return f"its output, a {type(returned).__name__}, holds no floating-point tensor"


def _has_samples(tensor: Tensor, size: int) -> bool:
    shape = tuple(tensor.shape)
    if not shape or 0 in shape:
        return False
    return size in shape or (len(shape) > 1 and shape[0] % size == 0)  # the latter as (sample x time, class)


def loss_cotangents(loss: Callable[..., Any], returned: Any, batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Return the floating-point outputs that a loss depends on, each with the derivative of the loss by it.

    The loss takes the output alone, or the output and the targets: what the user's batch held beside the
    arguments of the model, or else the batch itself. One whose first argument is called ``model`` is given
    the output when it calls that.
    """
    leaves: list[tuple[Tensor, Tensor]] = []  # an output, and what stands for it in the loss

    def leaf(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        leaves.append((tensor, tensor.detach().requires_grad_(True)))
        return leaves[-1][1]

    with torch.enable_grad():
        try:
            value = _scalar(_applied(loss, map_leaves(leaf, returned), batch))
        except PhasescopeError:
            raise
        except Exception as error:
            raise InputError(
                f"The loss fails on the output: {in_users_words(error)}.",
                "Pass loss(output) or loss(output, targets), and the targets beside the inputs in the batch.",
            ) from error
        if not value.requires_grad:
            raise InputError(
                "The loss does not depend on the output of the model.",
                "Compute it from the output, without detach() or no_grad().",
            )
        slopes = torch.autograd.grad(value, [inside for _, inside in leaves], allow_unused=True)
    return [(tensor, slope) for (tensor, _), slope in zip(leaves, slopes, strict=True) if slope is not None]


def _applied(loss: Callable[..., Any], returned: Any, batch: Batch) -> Any:
    given = batch.args[0] if len(batch.args) == 1 else batch.args
    whole = batch.targets if batch.targets is not None else batch.kwargs or given
    if not isinstance(loss, nn.Module):
        try:
            names = list(inspect.signature(loss).parameters)
        except ValueError:  # a builtin has no signature
            names = []
        if names[:1] == ["model"]:
            return loss(lambda *args, **kwargs: returned, whole)
    try:
        inspect.signature(loss).bind(returned, whole)
    except TypeError:
        return loss(returned)
    except ValueError:
        pass
    return loss(returned, whole)


def _scalar(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is {value!r}"
        raise InputError(f"The loss {what}, not one number.", "Reduce it, for example with .mean().")
    return value.reshape(())
