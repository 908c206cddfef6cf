"""One HTML page, and the same content as JSON, from inspections."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phasescope import __version__
from phasescope.citations import BIBTEX, citation_keys
from phasescope.errors import InputError
from phasescope.instruments import Inspection
from phasescope.report import context
from phasescope.report.comparison import opening
from phasescope.report.fate import Fate
from phasescope.report.templating import render_template
from phasescope.sweep.files import write_together

VERSION = 1
_LARGEST = 950_000  # bytes: a page stays under 1 MB
_ROWS = (1000, 300, 100, 20)


@dataclass(frozen=True)
class Training:
    """What became of the inspected networks when they were trained under one budget.

    Parameters
    ----------
    fates : sequence of Fate
        One an inspection, in the same order.
    budget : str
        What every network was given, in a sentence.
    chance : float
        Accuracy of guessing.
    """

    fates: Sequence[Fate]
    budget: str
    chance: float


def save(
    inspections: Sequence[Inspection],
    directory: Path | str,
    *,
    training: Training | None = None,
    command: str = "",
) -> Path:
    """Write ``report.html`` and ``report.json`` into `directory`, both or none; return the path of the page.

    Parameters
    ----------
    inspections : sequence of Inspection
        One network, or several to be shown side by side.
    directory : Path or str
        Made where it does not exist; earlier reports in it are replaced.
    training : Training, optional
        What became of the networks.
    command : str
        The command line that made the report, printed on it.

    Raises
    ------
    InputError
        If there is no inspection, or if the folder cannot be written.
    """
    if not inspections:
        raise InputError("There is nothing to report: no inspection was given.", "Inspect a network first.")
    content = json.dumps(document(inspections, training), indent=1, allow_nan=False, ensure_ascii=False)
    page = render(inspections, training=training, command=command)
    write_together(Path(directory), {"report.json": content + "\n", "report.html": page})
    return Path(directory) / "report.html"


def document(inspections: Sequence[Inspection], training: Training | None = None) -> dict[str, Any]:
    """Return the content of ``report.json``; ``schema.json`` beside this file describes it.

    Parameters
    ----------
    inspections : sequence of Inspection
        At least one.
    training : Training, optional
        What became of the networks.
    """
    found: dict[str, Any] = {
        "version": VERSION,
        "phasescope": __version__,
        "sentence": opening(inspections),
        "inspections": [inspection.to_dict() for inspection in inspections],
    }
    if training is not None:
        found["training"] = {
            "budget": training.budget,
            "chance": training.chance,
            "fates": [fate.to_dict() for fate in training.fates],
        }
    return found


def render(inspections: Sequence[Inspection], *, training: Training | None = None, command: str = "") -> str:
    """Return the page as HTML under 1 MB; long layer tables are cut as far as that needs.

    Parameters
    ----------
    inspections : sequence of Inspection
        At least one.
    training : Training, optional
        What became of the networks.
    command : str
        The command line, printed on the page.
    """
    for most_rows in _ROWS:
        page = _render(inspections, training, command, most_rows)
        if len(page.encode("utf-8", errors="backslashreplace")) <= _LARGEST:
            break
    return page


def _render(
    inspections: Sequence[Inspection], training: Training | None, command: str, most_rows: int
) -> str:
    values = context.page_context(inspections, most_rows=most_rows)
    if training is not None:
        values["training"] = context.training_context(
            inspections, training.fates, training.budget, training.chance
        )
    return render_template(
        "report.html.j2",
        **{"training": None, **values},
        sentence=opening(inspections),
        command=command,
        bibtex=_bibtex(inspections),
    )


def _bibtex(inspections: Sequence[Inspection]) -> str:
    keys: list[str] = []
    for inspection in inspections:
        keys += citation_keys(inspection)
    return "\n\n".join(BIBTEX[key] for key in dict.fromkeys([*keys, "phasescope"]))
