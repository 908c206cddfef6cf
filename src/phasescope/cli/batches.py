"""The batch that ``--data`` names: a tensor file, or a factory in a Python file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from phasescope.cli.checkpoints import read_tensors
from phasescope.errors import InputError
from phasescope.userfiles import call_factory, is_file_spec

_KINDS = ".pt, .pth, .safetensors, .npy, .npz or .csv"


def load_batch(spec: str) -> Any:
    """Return the batch that `spec` names."""
    if is_file_spec(spec):
        return call_factory(spec)
    name, _, member = spec.partition(".npz:")
    path = Path(f"{name}.npz" if member else spec)
    if not path.is_file():
        raise InputError(
            f"--data {spec}: there is no file {path}.", f"Name a {_KINDS} file, or FILE.py:factory."
        )
    if path.suffix in (".pt", ".pth", ".safetensors"):
        return read_tensors(path)
    if path.suffix in (".npy", ".npz"):
        return _read_numpy(path, member)
    if path.suffix == ".csv":
        return _read_csv(path)
    raise InputError(f"--data {spec}: files ending in {path.suffix!r} are not read.", f"Use {_KINDS}.")


def fit_to(batch: Any, model: Any) -> Any:
    """The batch on the device and, where it holds floating-point numbers, in the dtype of the model."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    first = next((p for p in parameters if p.is_floating_point()), None)
    if first is None:
        return batch
    if isinstance(batch, torch.Tensor):
        return batch.to(first.device, first.dtype if batch.is_floating_point() else None)
    if isinstance(batch, dict):
        return {key: fit_to(value, model) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return type(batch)(fit_to(value, model) for value in batch)
    return batch


def _read_numpy(path: Path, member: str) -> torch.Tensor:
    try:
        stored = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {error}.") from error
    if isinstance(stored, np.ndarray):
        return _as_tensor(stored, path)
    with stored:
        names = list(stored.files)
        choice = member or (names[0] if len(names) == 1 else "")
        if choice not in names:
            raise InputError(
                f"{path} holds {len(names)} arrays: {', '.join(names)}.", f"Choose one: --data {path}:NAME."
            )
        try:
            return _as_tensor(stored[choice], path)
        except ValueError as error:
            raise InputError(f"{path}:{choice} cannot be read: {error}.") from error


def _read_csv(path: Path) -> torch.Tensor:
    def read(skip: int) -> np.ndarray:
        return np.loadtxt(path, delimiter=",", skiprows=skip, ndmin=2, dtype=np.float64)

    if not path.read_text(encoding="utf-8", errors="replace").strip():
        raise InputError(
            f"{path} is empty.", "A .csv file holds one input a row, numbers separated by commas."
        )
    try:
        try:
            values = read(0)
        except ValueError:
            values = read(1)  # the first row may name the columns
    except ValueError as error:
        raise InputError(f"{path} is not all numbers: {error}.", "Leave only numeric columns.") from error
    return _as_tensor(values, path)


def _as_tensor(values: np.ndarray, path: Path) -> torch.Tensor:
    if values.dtype.kind not in "biuf":
        raise InputError(f"{path} holds values of type {values.dtype}.", "Store numbers.")
    return torch.from_numpy(np.ascontiguousarray(values))
