"""``FILE.py:factory`` and ``FILE.py:factory@CHECKPOINT``: models from a user's own files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from phasescope.cli.checkpoints import load_checkpoint
from phasescope.errors import InputError
from phasescope.userfiles import call_factory, describe, labels_of, split


@dataclass(frozen=True)
class Target:
    """A user's model under the name it is shown with.

    Parameters
    ----------
    label : str
        Unique among the targets of one command.
    model : nn.Module or callable
        What the factory returned.
    batch : object or None
        What the factory returned beside the model, if anything.
    """

    label: str
    model: Any
    batch: Any


def load_targets(specs: Sequence[str]) -> Iterator[Target]:
    """Yield the model, and the batch if there is one, of every ``FILE.py:factory[@CHECKPOINT]``.

    Parameters
    ----------
    specs : sequence of str
        What the user typed.

    Yields
    ------
    Target
        In the order of `specs`; nothing is loaded before it is asked for.

    Raises
    ------
    InputError
        If one of them cannot be loaded or is not a model; the message names it.
    """
    for spec, label in zip(specs, labels_of(specs), strict=True):
        path, name, checkpoint = split(spec)
        made = call_factory(f"{path}:{name}")
        model, batch = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(model, nn.Module) and not inspect.isroutine(model):
            raise InputError(
                f"{spec} gives {describe(made)}, not a torch.nn.Module.",
                "Return a module, or a pair (module, batch).",
            )
        if checkpoint:
            load_checkpoint(model, Path(checkpoint), spec)
        yield Target(label, model, batch)
