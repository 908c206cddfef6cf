"""One forward pass of a user's model: the same noise each time, and errors that repeat what was passed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch

_NOISE = 0  # seed of what a stochastic forward draws while it is observed


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
        args, kwargs = batch.arguments()
        return model(*args, **kwargs)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        refused = error
    words = " ".join(str(refused).split())[:300]
    raise InputError(
        f"{getattr(model, 'kind', type(model).__name__)} does not accept the batch "
        f"({(whole or batch).shapes()}): "
        f"{type(refused).__name__}: {words.rstrip('.')}.",
        "Pass the batch as the model's forward takes it.",
    ) from refused


def drew_noise() -> bool:
    """Return whether the model drew numbers from torch's generator in the last ``run``, on the CPU."""
    return not torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(_NOISE).get_state())
