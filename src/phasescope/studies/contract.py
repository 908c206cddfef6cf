"""What every study promises.

A study is a configuration and a list of parts; a part is one group of claims: the tasks that it needs, a pure
function that measures one task, the analysis of all of them, and the figures. A third party adds a study with
one file of parts, and the engine runs, resumes, stores and reports it like the studies of phasescope.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from phasescope.studies.check import Check
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class Settings(BaseModel):
    """Base of every configuration: frozen, unknown keys refused, JSON-ready."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @property
    def subtitle(self) -> str:
        """What the title of the page adds, such as which data stand in for others; nothing by default."""
        return ""


@dataclass(frozen=True)
class Variable:
    """One array that a measurement returns.

    Parameters
    ----------
    dims : tuple of str
        Names of its dimensions; the same length of a dimension in all tasks of a part.
    long_name : str
        What it is, in a few words.
    units : str
        "1" for a pure number.
    """

    dims: tuple[str, ...]
    long_name: str
    units: str = "1"


@dataclass(frozen=True)
class Picture:
    """One figure of a part.

    Parameters
    ----------
    name : str
        Unique within the part, letters, digits and dashes.
    figure : Figure
        Made with ``phasescope.plotting``; axes in one row.
    caption : str
        What is drawn and what to see, in two or three sentences.
    """

    name: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of a part, shown on the page below its figures.

    Parameters
    ----------
    title : str
        What it lists.
    columns : sequence of str
        Headings.
    rows : sequence of sequences of str
        Cells, as text.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Analysis:
    """What the data of a part say.

    Parameters
    ----------
    checks : sequence of Check
        The same ids at every preset.
    tables : sequence of Table
        Numbers worth reading one by one.
    notes : sequence of str
        Choices that the source leaves open and what this part chose; what one has to know.
    """

    checks: Sequence[Check]
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()


class Part(ABC):
    """One group of claims: tasks, the measurement of one, the analysis of all, the figures.

    Class attributes: `name` (letters, digits, dashes), `title` (the heading on the page), `variables` (the
    arrays that :meth:`measure` returns, by name), `citations` (keys of ``phasescope.citations.BIBTEX``).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    variables: ClassVar[Mapping[str, Variable]]
    citations: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def tasks(self, config: Any) -> list[Task]:
        """Return the tasks; everything that :meth:`measure` needs is in their parameters.

        Parameters
        ----------
        config : Settings
            The configuration of the whole study.
        """

    @abstractmethod
    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return one array for each of `variables`; depends on nothing but the task, its seed and the device.

        Parameters
        ----------
        task : Task
            One of :meth:`tasks`.
        device : str
            Where torch computes, such as ``cpu`` or ``cuda``.
        """

    @abstractmethod
    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return checks, tables and notes.

        Parameters
        ----------
        data : Dataset
            Dimension ``task`` first, in the order of :meth:`tasks`, with every parameter and the replica as
            a coordinate on it, and each of `variables` with dimensions ``("task", *dims)``.
        config : Settings
            The configuration of the whole study.
        """

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the figures; none by default.

        Parameters
        ----------
        data : Dataset
            As in :meth:`analyse`.
        config : Settings
            The configuration of the whole study.
        """
        return []


@dataclass(frozen=True)
class Study:
    """A paper's claims, as the parts that measure them.

    Parameters
    ----------
    name : str
        What the user types.
    title : str
        Heading of the page.
    summary : str
        One sentence for ``phasescope study list``.
    source : str
        The paper.
    presets : mapping of str to Settings
        At least ``quick`` and ``paper``; all of one class.
    parts : tuple of Part
        In the order of the page.
    citations : tuple of str
        Keys of the papers.
    """

    name: str
    title: str
    summary: str
    source: str
    presets: Mapping[str, Settings]
    parts: tuple[Part, ...]
    citations: tuple[str, ...] = field(default=())

    def tasks(self, config: Settings) -> list[Task]:
        """Return the tasks of all parts, part by part.

        Parameters
        ----------
        config : Settings
            One of the presets, or a changed copy of one.
        """
        return [task for part in self.parts for task in part.tasks(config)]

    def part(self, name: str) -> Part:
        """Return the part of that name.

        Parameters
        ----------
        name : str
            One of the parts'.
        """
        return next(part for part in self.parts if part.name == name)
