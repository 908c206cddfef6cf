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
    """A user's model under the name it is shown with."""

    label: str  # unique among the targets of one command
    model: Any  # what the factory returned
    batch: Any  # what the factory returned beside the model, if anything


def load_targets(specs: Sequence[str]) -> Iterator[Target]:
    """Yield the model, and the batch if there is one, of every ``FILE.py:factory[@CHECKPOINT]``."""
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
