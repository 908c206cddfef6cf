"""What a study was run with: what its results depend on, and what differs from run to run."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import phasescope
from phasescope.errors import InputError
from phasescope.studies.part import Settings, Study

_NUMERICAL = ("torch", "numpy", "scipy", "xarray")
_OPTIONAL = "numba"  # with and without it, sums are taken in another order


def versions() -> dict[str, str]:
    """Return the versions of Python, phasescope and what it computes with."""
    numerical = {name: metadata.version(name) for name in _NUMERICAL}
    installed = importlib.util.find_spec(_OPTIONAL) is not None
    numerical[_OPTIONAL] = metadata.version(_OPTIONAL) if installed else "not installed"
    return {"phasescope": phasescope.__version__, "python": platform.python_version(), **numerical}


def digest(config: Settings) -> str:
    """Return the sha256 of a configuration's JSON."""
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()


def citation_keys(study: Study, parts: Sequence[str]) -> list[str]:
    """Return the keys of the papers behind the named parts, each once."""
    keys = [key for part in study.parts if part.name in parts for key in part.citations]
    return list(dict.fromkeys([*study.citations, *keys]))


def check_device(device: str) -> None:
    """Raise where torch cannot compute on a device of this machine."""
    try:
        torch.zeros(1, device=device)
    except Exception as error:
        first = str(error).strip().splitlines()[0].rstrip(".")
        raise InputError(f"--device {device} cannot be used here: {first}.", "Use --device cpu.") from error


def host() -> dict[str, Any]:
    """Return what differs between machines: processor, cores, threads, git state of the working folder."""
    return {
        "platform": platform.platform(),
        "cores": cores(),
        "host_threads": torch.get_num_threads(),
        "git": _git(),
    }


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _git() -> dict[str, Any] | None:
    """Return commit and cleanness of the clone that phasescope runs from; None where it is installed."""
    here = Path(phasescope.__file__)

    def ask(*words: str) -> str:
        asked = subprocess.run(
            ["git", *words], cwd=here.parent, capture_output=True, text=True, timeout=10, check=True
        )
        return asked.stdout.strip()

    try:
        if not ask("ls-files", here.name):
            return None
        return {"commit": ask("rev-parse", "HEAD"), "clean": not ask("status", "--porcelain", "-uno")}
    except (OSError, subprocess.SubprocessError):
        return None
