"""A section of the page for each instrument after the first, with everything that it found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phasescope.report.comparison import PROPAGATION
from phasescope.report.layer_table import LayerTable, layer_table
from phasescope.report.svg import inline

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.instruments import Finding, Inspection

_MOST_OPEN = 12
_MOST_NAMES, _MOST_REASONS = 3, 3
_CAPTIONS = {
    "noise": (
        "Left: fluctuation function of the states, mean over the tested series (dots), and what short "
        "memories that imitate each of them give (lines); dotted, the slopes of white and of 1/f noise. "
        "Middle: β of each unit with its standard error against how much it moves. Right: mean β of each "
        "quantity; thin line, spread over units and sequences; band, what estimator noise alone makes of it."
    ),
}


def leading(inspection: Inspection) -> str:
    """Return the instrument that the page is about: signal propagation, or else the first one."""
    return PROPAGATION if PROPAGATION in inspection.datasets else next(iter(inspection.datasets))


def further(inspection: Inspection) -> list[str]:
    """Return the other instruments that measured."""
    lead = leading(inspection)
    return [name for name in inspection.datasets if name != lead and name in inspection.instruments]


def sections(inspections: Sequence[Inspection], *, most_rows: int) -> list[dict[str, Any]]:
    """Return what the template shows of the other instruments, each with all networks that it measured."""
    names = dict.fromkeys(name for inspection in inspections for name in further(inspection))
    found = []
    for name in names:
        networks = [
            _network(inspection, f"n{position}", name, most_rows)
            for position, inspection in enumerate(inspections)
            if name in further(inspection)
        ]
        title = next(each.instruments[name].title for each in inspections if name in each.instruments)
        columns = {column.heading: column for each in networks for column in each["table"].columns}
        found.append(
            {
                "name": name,
                "title": title,
                "networks": networks,
                "definitions": [column for column in columns.values() if column.meaning],
            }
        )
    return found


def said_once(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the findings, an action that was already given not said again."""
    shown: list[dict[str, str]] = []
    for finding in findings:
        said = finding.to_dict()
        if any(finding.action == earlier.action for earlier in findings[: len(shown)]):
            said["action"] = "As above." if finding.action else ""
        shown.append(said)
    return shown


def notes_of(dataset: xr.Dataset) -> list[str]:
    """Return the notes of a dataset as sentences."""
    notes = json.loads(dataset.attrs.get("notes", "[]"))
    return [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in notes]


def _network(inspection: Inspection, prefix: str, name: str, most_rows: int) -> dict[str, Any]:
    dataset = inspection.datasets[name]
    table = layer_table(dataset, most_rows=most_rows)
    pictures = []
    for key, figure in inspection.figures_of(name).items():
        caption = _CAPTIONS.get(key, f"{key.replace('_', ' ').capitalize()}.")
        pictures.append({"svgs": inline(figure, f"{prefix}-{name}-{key}", caption), "caption": caption})
    return {
        "label": inspection.label,
        "findings": said_once(inspection.findings_of(name)),
        "pictures": pictures,
        "table": table,
        "counts": _counts(table),
        "open": len(table.rows) <= _MOST_OPEN,
        "notes": notes_of(dataset),
        "skipped": _skipped(table),
    }


def _counts(table: LayerTable) -> str:
    rows = f"{table.measured} rows"
    return f"{rows}, of which the first {len(table.rows)} are shown" if table.cut else rows


def _skipped(table: LayerTable) -> list[str]:
    """Return which layers were not measured, by reason, the first reasons in full."""
    said = [f"{_listed(layers)}: {reason}." for reason, layers in list(table.skipped.items())[:_MOST_REASONS]]
    rest = sum(len(layers) for layers in list(table.skipped.values())[_MOST_REASONS:])
    return [*said, f"{rest} more: see report.json."] if rest else said


def _listed(layers: Sequence[str]) -> str:
    more = f" and {len(layers) - _MOST_NAMES} more" if len(layers) > _MOST_NAMES else ""
    return ", ".join(layers[:_MOST_NAMES]) + more
