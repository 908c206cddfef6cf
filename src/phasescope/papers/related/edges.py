"""To come: which connections can go."""

from __future__ import annotations

from typing import Any

from phasescope.studies.claim import Check
from phasescope.studies.part import Part
from phasescope.sweep.task import Task


def tasks(config: Any) -> list[Task]:
    return []


def measure(task: Task, device: str) -> dict[str, Any]:
    return {}


def numbers(data: Any, config: Any) -> Any:
    return None


def claims(n: Any) -> list[Check]:
    return []


EDGES = Part(
    name="edges",
    title="Which connections can go",
    variables={},
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
)
