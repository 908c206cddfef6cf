"""What every measurement says of itself: on which model and inputs, how, and with which versions."""

from __future__ import annotations

import json
import platform
from typing import Any

import torch
from torch import nn

import phasescope
from phasescope.recording.batch import Batch


def circumstances(module: nn.Module, batch: Batch, *, seed: int) -> dict[str, Any]:
    """Return the attributes that the datasets of all instruments have alike."""
    parameters = list(module.parameters())
    tensors = [*parameters, *batch.floats()]
    modes = {part.training for part in module.modules()}
    versions = {
        "phasescope": phasescope.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    return {
        "model": str(getattr(module, "kind", type(module).__name__)),
        "parameters": sum(p.numel() for p in parameters),
        "inputs": batch.size,
        "seed": seed,
        "dtype": str(tensors[0].dtype if tensors else torch.get_default_dtype()).removeprefix("torch."),
        "device": str(tensors[0].device if tensors else "cpu"),
        "versions": json.dumps(versions),
        "mode": "mixed" if len(modes) > 1 else ("train" if modes.pop() else "eval"),
    }
