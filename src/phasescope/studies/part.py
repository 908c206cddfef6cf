"""What every study promises: a list of parts, each of them data with functions.

A part is one group of claims, in the order of the paper: its settings, the tasks that it needs, a pure
function that measures one task, the numbers that all data together give, and what follows from them: claims,
tables, notes, figures. A third party adds a study with one file of parts, and the engine plans, runs,
resumes, stores and reports it like the studies of phasescope.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, create_model

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.studies.claim import Check
from phasescope.studies.naming import STUDY, VARIABLE, check_name
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NEW_FORM = (
    "A part is data with functions: PART = Part(name=..., title=..., presets={'quick': ..., 'paper': ...}, "
    "variables=..., tasks=tasks, measure=measure, numbers=numbers, claims=claims, figures=figures). There "
    "claims(n) returns [Claim(id, sentence, source).equals(expected, measured), ...] and figures(n) returns "
    "[Panels(name, caption, [draw_left, draw_right])]. The page 'Studies' of the documentation shows one."
)


class Settings(BaseModel):
    """Base of every group of settings: frozen, unknown keys refused, JSON-ready."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class StudySettings(Settings):
    """What all parts of a study read; a study adds its own fields.

    Parameters
    ----------
    seed : int
        Enters every task's parameters, and so every task's seed.
    """

    seed: int = 0

    @property
    def subtitle(self) -> str:
        """What the title of the page adds, such as which data stand in for others; nothing by default."""
        return ""

    @property
    def asked(self) -> tuple[str, ...]:
        """The parts that these settings ask for where a run names none; all of them by default."""
        return ()


@dataclass(frozen=True)
class Variable:
    """One array that a measurement returns.

    Parameters
    ----------
    dims : tuple of str
        Names of its dimensions; the same length of a dimension in all tasks of a part, unless it is ragged.
    long_name : str
        What it is, in a few words.
    units : str
        "1" for a pure number.
    optional : bool
        Whether tasks may leave it out; it is NaN there.

    Raises
    ------
    InputError
        If the name of a dimension has something else in it than letters, digits and underscores.
    """

    dims: tuple[str, ...]
    long_name: str
    units: str = "1"
    optional: bool = False

    def __post_init__(self) -> None:
        for dim in self.dims:
            check_name("dimension", dim, VARIABLE)


@dataclass(frozen=True)
class Panels:
    """A figure to be drawn: axes in one row, made and styled by the engine.

    Parameters
    ----------
    name : str
        Unique within the part, letters, digits and dashes.
    caption : str
        What is drawn and what to see, in two or three sentences.
    draw : sequence of callable
        One for each axes: ``draw(axes, numbers)``.
    size : tuple of float
        Width and height of one panel in inches.
    share_y : bool
        Whether all panels have the vertical axis of the first.

    Raises
    ------
    InputError
        If `name` has something else in it than letters, digits and dashes.
    """

    name: str
    caption: str
    draw: Sequence[Callable[[Axes, Any], None]]
    size: tuple[float, float] = (3.6, 3.1)
    share_y: bool = False

    def __post_init__(self) -> None:
        check_name("figure", self.name)


@dataclass(frozen=True)
class Picture:
    """One figure of a part, drawn.

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


def _none(numbers: Any) -> list[Any]:
    return []


@dataclass(frozen=True)
class Part:
    """One group of claims: settings, tasks, the measurement of one, the numbers, and what follows from them.

    All functions stand at the top level of a module, so that a part travels to worker processes.

    Parameters
    ----------
    name : str
        Letters, digits and dashes; its settings have the same name with underscores.
    title : str
        The heading on the page.
    variables : mapping of str to Variable
        The arrays that `measure` returns, by name.
    tasks : callable
        ``tasks(config)`` returns the tasks; everything that `measure` needs is in their parameters. `config`
        is that of the whole study, with the settings of this part as ``config.NAME``.
    measure : callable
        ``measure(task, device)`` returns one array for each of `variables`. It depends on nothing but the
        task, its seed and where torch computes, such as ``cpu`` or ``cuda``.
    numbers : callable
        ``numbers(data, config)`` returns all that claims, tables, notes and figures are made of. The engine
        calls it once. `data` is a Dataset, dimension ``task`` first, in the order of `tasks`, with every
        parameter and the replica as a coordinate on it.
    claims : callable
        ``claims(numbers)`` returns the checks, with the same ids at every preset.
    tables, notes, figures : callable
        Likewise, of :class:`Table`, text and :class:`Panels`; none by default. A figure that cannot be drawn
        leaves the rest as it is.
    presets : mapping of str to Settings
        The part's own settings for each preset of the study; a part without any has none.
    ragged : tuple of str
        Dimensions that are shorter in some tasks than in others; what is missing is NaN. Another length in
        another task is refused for all other dimensions.
    citations : tuple of str
        Keys of ``phasescope.citations.BIBTEX``.

    Raises
    ------
    InputError
        If a name has something else in it than letters, digits and dashes (underscores for variables), or a
        variable has that of a dimension.
    """

    name: str
    title: str
    variables: Mapping[str, Variable]
    tasks: Callable[[Any], list[Task]]
    measure: Callable[[Task, str], Mapping[str, Any]]
    numbers: Callable[[xr.Dataset, Any], Any]
    claims: Callable[[Any], list[Check]]
    tables: Callable[[Any], list[Table]] = _none
    notes: Callable[[Any], list[str]] = _none
    figures: Callable[[Any], list[Panels]] = _none
    presets: Mapping[str, Settings] = field(default_factory=dict)
    ragged: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("part", self.name)
        dims = {"task", *(dim for variable in self.variables.values() for dim in variable.dims)}
        for name in self.variables:
            check_name(f"part {self.name}: variable", name, VARIABLE)
            if name in dims:
                raise InputError(
                    f"part {self.name}: {name} is an array as well as a dimension.", "Rename one of the two."
                )

    def __init_subclass__(cls) -> None:
        if cls.__module__ == "phasescope.studies.part":
            return
        raise InputError(f"{cls.__name__} writes a part as a class.", NEW_FORM)

    @property
    def key(self) -> str:
        """What its settings are called in the configuration."""
        return self.name.replace("-", "_")

    def analysis(self, numbers: Any) -> Analysis:
        """Return checks, with the name of the part before their ids, tables and notes.

        Parameters
        ----------
        numbers : Any
            What the part's ``numbers(data, config)`` returned.
        """
        checks = [replace(check, id=f"{self.name}/{check.id}") for check in self.claims(numbers)]
        return Analysis(checks, self.tables(numbers), self.notes(numbers))

    def pictures(self, numbers: Any) -> list[Picture]:
        """Return the figures, drawn in the style of the house.

        Parameters
        ----------
        numbers : Any
            What the part's ``numbers(data, config)`` returned.
        """
        return [Picture(each.name, _drawn(each, numbers), each.caption) for each in self.figures(numbers)]


def _drawn(panels: Panels, numbers: Any) -> Figure:
    with plotting.style():
        figure, row = plotting.figure(len(panels.draw), panel_size=panels.size)
        for draw, axes in zip(panels.draw, row, strict=True):
            draw(axes, numbers)
        if panels.share_y:
            for axes in row[1:]:
                axes.sharey(row[0])
    return figure


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
    parts : tuple of Part
        In the order of the page.
    common : mapping of str to StudySettings
        What all parts read, by preset: at least ``quick`` and ``paper``, and all of one class. By default the
        seed alone.
    citations : tuple of str
        Keys of the papers.

    Raises
    ------
    InputError
        If something else than a :class:`Part` is among the parts, two have one name, or a part has other
        presets than the study or the name of one of its settings; or if the name of the study or of a preset
        has something else in it than letters, digits and dashes (for the study, underscores as well).
    """

    name: str
    title: str
    summary: str
    source: str
    parts: tuple[Part, ...]
    common: Mapping[str, StudySettings] = field(
        default_factory=lambda: {"quick": StudySettings(), "paper": StudySettings()}
    )
    citations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("study", self.name, STUDY)
        for preset in self.common:
            check_name(f"study {self.name}: preset", preset)
        seen: set[str] = set()
        for part in self.parts:
            if not isinstance(part, Part):
                raise InputError(f"Study {self.name}: {part!r} is not a Part.", NEW_FORM)
            if part.name in seen:
                raise InputError(
                    f"Study {self.name}: two parts are called {part.name}.", "Give each its own name."
                )
            seen.add(part.name)
            if any(hasattr(type(common), part.key) for common in self.common.values()) or part.key in {
                field for common in self.common.values() for field in type(common).model_fields
            }:
                raise InputError(
                    f"Study {self.name}: part {part.name} has the name of a setting of the study.",
                    "Rename the part.",
                )
            if part.presets and set(part.presets) != set(self.common):
                raise InputError(
                    f"Study {self.name}: part {part.name} has the presets {', '.join(part.presets)}, "
                    f"the study {', '.join(self.common)}.",
                    "Give the part settings for each preset of the study.",
                )

    @cached_property
    def presets(self) -> dict[str, StudySettings]:
        """Whole configurations by preset: what all parts read, then the settings of each part by its name."""
        made: dict[str, StudySettings] = {}
        kind: type[StudySettings] | None = None
        for preset, common in self.common.items():
            own: dict[str, Any] = {part.key: part.presets[preset] for part in self.parts if part.presets}
            if kind is None:
                fields: dict[str, Any] = {key: (type(value), ...) for key, value in own.items()}
                kind = create_model(f"{self.name}_settings", __base__=type(common), **fields)
            made[preset] = kind(**{name: getattr(common, name) for name in type(common).model_fields}, **own)
        return made

    def tasks(self, config: StudySettings) -> list[Task]:
        """Return the tasks of all parts, part by part.

        Parameters
        ----------
        config : StudySettings
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


def chosen(data: xr.Dataset, **parameters: Any) -> xr.Dataset:
    """Return the tasks whose parameters have the given values."""
    mask = np.ones(data.sizes["task"], dtype=bool)
    for name, value in parameters.items():
        mask &= data[name].values == value
    return data.isel(task=np.flatnonzero(mask))


def undetermined(checks: list[Check], reason: str) -> list[Check]:
    """Return the checks as they are, or without a number where there is a reason why none can be had."""
    if not reason:
        return checks
    nothing = Estimate.not_determined(reason)
    return [replace(check, measured=nothing, verdict="not determined") for check in checks]
