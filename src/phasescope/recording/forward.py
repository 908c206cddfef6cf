"""One forward pass of a user's model: the same noise each time, and errors that show the user's own line."""

from __future__ import annotations

import linecache
import os
import random
import sys
import sysconfig
import traceback
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from phasescope.errors import InputError, PhasescopeError
from phasescope.recording.batch import Batch

_NOISE = 0  # seed of what a stochastic forward draws while it is observed
_NOT_THE_MODEL = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
_INSTALLED = (*(sysconfig.get_path(name) for name in ("stdlib", "purelib")), "site-packages", "dist-packages")


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
        If the model raises an exception, of any class; the message repeats the shapes, the model's own words
        and the line of the user's code, and says where the model takes `whole`. What was raised is its cause.
        An exception for lack of memory is passed on as it is.
    """
    refused: Exception
    # torch.manual_seed also notes down a traceback at each call, for devices that are not there.
    (torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed)(_NOISE)
    np.random.seed(_NOISE)  # noqa: NPY002  (the generator that the user's own code draws from)
    random.seed(_NOISE)
    try:
        args, kwargs = batch.arguments()
        with _as_written():
            return model(*args, **kwargs)
    except PhasescopeError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        refused = error
    name = getattr(model, "kind", type(model).__name__)
    if whole is not None and batch.size < whole.size:
        with torch.no_grad():
            run(model, whole.take(0, whole.size))  # where the whole fails, too, that is the reason
        what = f"{name} takes the {whole.size} inputs of the batch together but not {batch.size} of them"
        fix = "Write forward so that it takes any number of inputs."
    else:
        what, fix = f"{name} does not accept the batch", "Pass the batch as the model's forward takes it."
    shapes = (whole or batch).shapes()
    raise InputError(f"{what} ({shapes}): {in_users_words(refused)}.", fix) from refused


def _as_written() -> AbstractContextManager[object]:
    """Let parts that torch.compile or flex attention would fuse run operation by operation, to be watched."""
    # Importing the compiler takes seconds; where it was never imported, nothing is compiled.
    compiler = "torch._dynamo" in sys.modules
    return torch.compiler.set_stance("force_eager") if compiler else nullcontext()


def fitting(model: nn.Module, batch: Batch) -> Batch:
    """Return the batch so that the model takes parts of it, or marked as one that cannot be cut.

    Costs one pass of two samples. Only where that fails is the whole batch run, whose InputError tells the
    reason; and where it succeeds, two samples once for each tensor that is the same for all samples although
    it is as long as they are many.
    """
    if not batch.cuttable or batch.fewest(2) == batch.size:
        return batch
    small = batch.fewest(2)
    with torch.no_grad():
        try:
            run(model, batch.take(0, small))
            return batch
        except InputError:
            run(model, batch.take(0, batch.size))
        alike = [n for n, (_, t) in enumerate(batch.tensors()) if n and t.ndim and len(t) == batch.size]
        for shared in [{number} for number in alike] + ([set(alike)] if alike[1:] else []):
            held = replace(batch, shared=frozenset(shared))
            try:
                run(model, held.take(0, small))
            except InputError:
                continue
            names = ", ".join(batch.tensors()[number][0] for number in sorted(shared))
            note = f"tensor {names} of the batch was taken as the same for all {batch.size} inputs"
            return replace(held, notes=(*batch.notes, note))
    note = (
        f"the model takes the batch whole but no part of it: its {batch.size} inputs were measured together"
    )
    return replace(batch, cuttable=False, notes=(*batch.notes, note))


def lacks_memory(error: BaseException) -> bool:
    """Return whether an exception says that the memory of the machine or of a device is exhausted."""
    words = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)
    )


def in_users_words(error: BaseException) -> str:
    """Return class and message of an exception, and the line of the user's own code where it was raised.

    That is the innermost line outside of torch, of installed packages and of phasescope; or else outside of
    torch and phasescope.
    """
    words = " ".join(str(error).split())[:300].rstrip(".")
    said = type(error).__name__ + (f": {words}" if words else "")
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _lies_in(frame.filename, _NOT_THE_MODEL)]
    own = [frame for frame in theirs if not _lies_in(frame.filename, _INSTALLED)]
    if not theirs:
        return said
    frame = (own or theirs)[-1]
    linecache.checkcache(frame.filename)
    source = linecache.getline(frame.filename, frame.lineno or 0).strip()
    path = Path(frame.filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{said}, at {shown}:{frame.lineno}" + (f": {source}" if source else "")


def _lies_in(file: str, folders: tuple[str, ...]) -> bool:
    generated = file.startswith(("<frozen", "<eval_with_key>"))
    return generated or any(f"{os.sep}{folder.strip(os.sep)}{os.sep}" in file for folder in folders)


def drew_noise() -> bool:
    """Return whether the model drew numbers from torch's generator in the last ``run``, on the CPU."""
    return not torch.equal(torch.get_rng_state(), torch.Generator().manual_seed(_NOISE).get_state())
