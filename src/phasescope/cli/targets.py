"""What a user names for a command: models with their checkpoints, batches of data, and the seed.

Models come from ``FILE.py:factory`` and ``FILE.py:factory@CHECKPOINT``; files of tensors are read without
running any code in them.
"""

from __future__ import annotations

import importlib
import inspect
import pickle
import random
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.batch import leaves, map_leaves
from phasescope.userfiles import call_factory, describe, is_file_spec, labels_of, split

# Keys of a training checkpoint that hold the weights, and what wrappers of a model write before its names.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_MOST_BEYOND = 2**30  # bytes that a file may unpack to beyond its own size
_KINDS = ".pt, .pth, .safetensors, .npy, .npz or .csv"


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, so that a user's factory gives the same network again."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range.", "Use a whole number from 0 to 4294967295.")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a user's file may well use the global generator
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Target:
    """A user's model under the name it is shown with."""

    label: str  # unique among the targets of one command
    model: Any  # what the factory returned
    batch: Any = None  # what the factory returned beside the model, if anything
    loss: Any = None  # these three for what looks at training
    data: Any = None
    optimizer: Any = None
    property: Any = None  # a property of the output, or several by name
    notes: tuple[str, ...] = ()  # how the checkpoint was made to fit
    restored: str = ""  # FILE.py:factory where a checkpoint of it was loaded


_KEYS = ("model", "batch", "loss", "data", "optimizer", "property")
_OTHERS = ("properties", "validation", "target", "scheduler", "accumulate")  # keys that other commands read


def load_targets(specs: Sequence[str], *, seed: int = 0) -> Iterator[Target]:
    """Yield the model, and what comes with it, of every ``FILE.py:factory[@CHECKPOINT]``.

    A factory returns a module; or a pair (module, batch); or (module, loss, data); or a dictionary with model
    and any of batch, loss, data, optimizer, property, properties. One that takes a seed is given it.
    """
    for spec, label in zip(specs, labels_of(specs), strict=True):
        path, name, checkpoint = split(spec)
        made = call_factory(f"{path}:{name}", seed=seed)
        parts = _parts(made, spec)
        model = parts["model"]
        if not isinstance(model, nn.Module) and not inspect.isroutine(model):
            raise InputError(
                f"{spec} gives {describe(made)}, not a torch.nn.Module.",
                "Return a module, a pair (module, batch), or a dictionary with model, loss and data.",
            )
        notes = _load_checkpoint(model, Path(checkpoint), spec) if checkpoint else ()
        yield Target(label, **parts, notes=notes, restored=f"{path}:{name}" if checkpoint else "")


def _parts(made: Any, spec: str) -> dict[str, Any]:
    if isinstance(made, dict):
        unknown = [str(key) for key in made if key not in (*_KEYS, *_OTHERS)]
        if unknown or "model" not in made:
            what = f"an unknown key {unknown[0]!r}" if unknown else "no key 'model'"
            raise InputError(
                f"The dictionary of {spec} has {what}.",
                f"Use {', '.join((*_KEYS, *_OTHERS))}; model is needed.",
            )
        parts = {key: made[key] for key in _KEYS if key in made}
        return parts | ({"property": made["properties"]} if "properties" in made else {})
    if isinstance(made, tuple) and len(made) == 2:
        return {"model": made[0], "batch": made[1]}
    if isinstance(made, tuple) and len(made) == 3 and callable(made[1]):
        return dict(zip(("model", "loss", "data"), made, strict=True))
    return {"model": made}


def _load_checkpoint(model: Any, path: Path, spec: str) -> tuple[str, ...]:
    """Load the state dict at `path` into `model`, every key matched; return how it was made to fit."""
    if not isinstance(model, nn.Module):
        raise InputError(f"{spec} gives a function, which no checkpoint fits.", "Return a torch.nn.Module.")
    state = _read_tensors(path)
    while isinstance(state, dict) and (inner := [k for k in _WRAPPERS if isinstance(state.get(k), dict)]):
        state = state[inner[0]]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(
            f"{path} holds no state dict.", "Save one with torch.save(model.state_dict(), FILE)."
        )
    expected = model.state_dict(keep_vars=True)
    state, notes = _without_prefixes(state, set(expected))
    # A file of shared weights may hold them once.
    tied: dict[str, str] = {}
    for key in set(expected) - set(state):
        others = [k for k, value in expected.items() if value is expected[key] and k in state]
        tied |= {key: others[0]} if others else {}
    state |= {key: state[other] for key, other in tied.items()}
    if tied:
        named = ", ".join(f"{key} (from {other})" for key, other in sorted(tied.items())[:3])
        more = f" and {len(tied) - 3} more" if len(tied) > 3 else ""
        notes.append(f"the checkpoint holds tied weights once: filled in {named}{more}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        details = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise InputError(f"{path} does not fit {type(model).__name__}: {details}") from error
    return tuple(notes)


def _without_prefixes(state: dict[str, Any], expected: set[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the state dict without what wrappers write before the names, if the names then match."""
    if set(state) <= expected:
        return dict(state), []
    names = {key: key for key in state}
    removed = []
    while not set(names.values()) <= expected:
        found = [p for p in _PREFIXES if all(name.startswith(p) for name in names.values())]
        if found:
            removed.append(found[0])
            names = {key: name.removeprefix(found[0]) for key, name in names.items()}
        elif any("._orig_mod." in name for name in names.values()):
            removed.append("_orig_mod.")
            names = {key: name.replace("._orig_mod.", ".") for key, name in names.items()}
        else:
            return dict(state), []
    removed = list(dict.fromkeys(removed))
    what = f"prefixes {' and '.join(removed)} were" if removed[1:] else f"prefix {removed[0]} was"
    note = f"the {what} removed from the names in the checkpoint"
    return {names[key]: value for key, value in state.items()}, [note]


def load_batch(spec: str) -> Any:
    """Return the batch in a file of tensors (``FILE.npz:NAME`` picks one), or from ``FILE.py:factory``."""
    if is_file_spec(spec):
        return call_factory(spec)
    name, _, member = spec.partition(".npz:")
    path = Path(f"{name}.npz" if member else spec)
    if not path.is_file():
        raise InputError(
            f"--data {spec}: there is no file {path}.", f"Name a {_KINDS} file, or FILE.py:factory."
        )
    if path.suffix in (".pt", ".pth", ".safetensors"):
        return _read_tensors(path)
    if path.suffix in (".npy", ".npz"):
        return _read_numpy(path, member)
    if path.suffix == ".csv":
        return _read_csv(path)
    raise InputError(f"--data {spec}: files ending in {path.suffix!r} are not read.", f"Use {_KINDS}.")


def fit_to(batch: Any, model: Any) -> Any:
    """Return the batch on the model's device, its floating-point tensors in the model's dtype.

    Integers keep theirs, since they may be tokens.
    """
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    first = next((p for p in parameters if p.is_floating_point()), None)
    if first is None:
        return batch

    def fit(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(first.device, first.dtype if tensor.is_floating_point() else None)

    return map_leaves(fit, batch)


def _read_numpy(path: Path, member: str) -> torch.Tensor:
    try:
        if path.suffix == ".npy":
            # Mapped, a file shorter than its header says is refused before anything is allocated.
            return _as_tensor(np.array(np.load(path, mmap_mode="r", allow_pickle=False)), path)
        _check_archive(path)
        stored = np.load(path, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # whatever is wrong with a file of numbers
        raise InputError(f"{path} cannot be read as {path.suffix[1:]}: {error}.") from error
    with stored:
        names = list(stored.files)
        choice = member or (names[0] if len(names) == 1 else "")
        if choice not in names:
            raise InputError(
                f"{path} holds {len(names)} arrays: {', '.join(names)}.", f"Choose one: --data {path}:NAME."
            )
        try:
            values = stored[choice]
        except Exception as error:
            raise InputError(f"{path}:{choice} cannot be read: {error}.") from error
        return _as_tensor(values, path)


def _check_archive(path: Path) -> None:
    """Raise where the members of a zip archive would unpack to far more than the file holds."""
    with zipfile.ZipFile(path) as archive:
        _check_declared(path, sum(member.file_size for member in archive.infolist()))


def _check_declared(path: Path, declared: int, what: str = "its arrays") -> None:
    if declared > path.stat().st_size + _MOST_BEYOND:
        raise InputError(
            f"{path} has {path.stat().st_size:.3g} bytes, and {what} would take {declared:.3g}.",
            "At most 1 GiB beyond the file itself is unpacked; store the numbers uncompressed.",
        )


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


def _read_tensors(path: Path) -> Any:
    """Return what a .pt, .pth or .safetensors file holds, on the CPU."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Check the path.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the pickle protocol, before it is refused
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        # A tensor may repeat one stored value without end, and a list may hold itself.
        for tensor in leaves(loaded, torch.Tensor):
            _check_declared(
                path, tensor.numel() * tensor.element_size(), f"a tensor of {tuple(tensor.shape)}"
            )
        return loaded
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, and reading it could run code.",
            "Save tensors only: torch.save(model.state_dict(), FILE).",
        ) from error
    except Exception as error:  # whatever is wrong with a file of tensors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a torch file: {reason}.") from error


def _read_safetensors(path: Path) -> Any:
    try:
        load_file = importlib.import_module("safetensors.torch").load_file
    except ImportError as error:
        raise InputError(
            f"{path} needs the package safetensors.", "pip install 'phasescope[safetensors]'"
        ) from error
    try:
        return load_file(path)
    except Exception as error:  # the package's own SafetensorError is not importable without it
        raise InputError(f"{path} cannot be read as safetensors: {error}.") from error
