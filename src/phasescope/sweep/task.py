"""One piece of work, known by what it computes and never by when or where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """One piece of work of a sweep; its name and its seed follow from what it computes.

    Parameters
    ----------
    study : str
        Name of the sweep that the task belongs to.
    part : str
        Which measurement of it.
    parameters : mapping of str to JSON value
        Everything that the measurement needs to know: strings, numbers, booleans, and lists of them.
    replica : int
        Number of the repetition with the same parameters.
    seconds : float
        Estimated time on one core; it steers grouping and the plan and is no part of the name.
    memory : int
        Estimated peak memory in bytes; likewise.
    """

    study: str
    part: str
    parameters: Mapping[str, Any]
    replica: int = 0
    seconds: float = field(default=0.1, compare=False)
    memory: int = field(default=0, compare=False)

    def describe(self) -> dict[str, Any]:
        """Return what the task computes, as JSON-ready values."""
        return {
            "study": self.study,
            "part": self.part,
            "parameters": dict(self.parameters),
            "replica": self.replica,
        }

    @property
    def id(self) -> str:
        """Twenty hexadecimal digits of the sha256 of :meth:`describe`: the name of the task's file."""
        return self._digest().hex()[:20]

    @property
    def seed(self) -> int:
        """A seed below 2**63 of its own, from other digits of the same hash."""
        return int.from_bytes(self._digest()[-8:], "big") >> 1

    def _digest(self) -> bytes:
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).digest()
