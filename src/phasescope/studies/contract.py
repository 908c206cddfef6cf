"""Until the last part is data with functions: parts that are classes, and how they become such data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from phasescope.studies.part import Analysis, Picture, Settings, Study, StudySettings, Table, Variable
from phasescope.studies.part import Part as DataPart
from phasescope.sweep.task import Task

__all__ = ["Analysis", "Part", "Picture", "Settings", "Study", "StudySettings", "Table", "Variable"]


class Part(ABC):
    """One group of claims, as a class."""

    name: ClassVar[str]
    title: ClassVar[str]
    variables: ClassVar[Mapping[str, Variable]]
    citations: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def tasks(self, config: Any) -> list[Task]: ...

    @abstractmethod
    def measure(self, task: Task, device: str) -> dict[str, Any]: ...

    @abstractmethod
    def analyse(self, data: Any, config: Any) -> Analysis: ...

    def figures(self, data: Any, config: Any) -> list[Picture]:
        """Return the figures; none by default."""
        return []


class _Adapted(DataPart):
    def analysis(self, numbers: Any) -> Analysis:
        """Return what the class makes of the data."""
        part, data, config = numbers
        found: Analysis = part.analyse(data, config)
        return found

    def pictures(self, numbers: Any) -> list[Picture]:
        """Return what the class draws."""
        part, data, config = numbers
        found: list[Picture] = part.figures(data, config)
        return found


def from_class(part: Part, quick: Settings | None = None, paper: Settings | None = None) -> DataPart:
    """Return a part that is a class as data with functions."""
    return _Adapted(
        name=part.name,
        title=part.title,
        variables={name: replace(each, optional=False) for name, each in part.variables.items()},
        tasks=part.tasks,
        measure=part.measure,
        numbers=lambda data, config: (part, data, config),
        claims=lambda numbers: [],
        presets={"quick": quick, "paper": paper} if quick and paper else {},
        citations=part.citations,
    )
