"""State dicts from files, read without running any code in them."""

from __future__ import annotations

import importlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from phasescope.errors import InputError

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_checkpoint(model: Any, path: Path, spec: str) -> None:
    """Load the state dict at `path` into `model`, every key matched."""
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} gives a function, which no checkpoint fits.", "Return a torch.nn.Module.")
    state = read_tensors(path)
    for key in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            f"{path} holds no state dict.", "Save one with torch.save(model.state_dict(), FILE)."
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        details = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(f"{path} does not fit {type(model).__name__}: {details}") from error


def read_tensors(path: Path) -> Any:
    """Return what a .pt, .pth or .safetensors file holds, on the CPU."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Check the path.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol, before it is refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, and reading it could run code.",
            "Save tensors only: torch.save(model.state_dict(), FILE).",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a torch file: {reason}.") from error


def _read_safetensors(path: Path) -> Any:
    try:
        load_file = importlib.import_module("safetensors.torch").load_file
    except ImportError as error:
        raise InputError(f"{path} needs the package safetensors.", "pip install safetensors") from error
    try:
        return load_file(path)
    except Exception as error:  # the package's own SafetensorError is not importable without it
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from error
