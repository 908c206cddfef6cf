"""To come: tolerated rank and the test error."""

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


TOLERATED_RANK = Part(
    name="tolerated-rank",
    title="Tolerated rank and the test error",
    variables={},
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
)
