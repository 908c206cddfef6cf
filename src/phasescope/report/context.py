"""What the page template is filled with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phasescope.report import comparison
from phasescope.report.comparison import Row, Subject
from phasescope.report.comparison_figure import colours, comparison_panels
from phasescope.report.fate import Fate, fate_panels
from phasescope.report.layer_table import LayerTable, layer_table
from phasescope.report.numbers import measured, percent
from phasescope.report.recipe import recipe
from phasescope.report.sections import further, leading, notes_of, said_once, sections
from phasescope.report.svg import inline

if TYPE_CHECKING:
    from phasescope.instruments import Inspection

_MOST_NAMES = 12
_CAPTIONS = {
    "propagation": (
        "Mean square K of the units, difference 1 − c between two inputs, and squared gradient relative to "
        "the output, against depth. Dots: weight layers, measured, with one standard error; small dots: "
        "other layers; lines: theory of infinitely wide layers with the same weight variances, where it is "
        "known; shaded: layers that a difference, or a gradient on its way back, does not reach unchanged."
    ),
    "units": "Fraction of units that are dead, saturated or not finite, against depth.",
}
_COMPARED = (
    "Mean square of the units, one minus the correlation of two inputs, and squared gradient relative to the "
    "output, at each weight layer. Dots: measured, with one standard error; lines: theory of infinitely wide "
    "layers with the same weight variances, where it is known."
)
_DEPTH_RULE = (
    "A difference between inputs that grows or shrinks by χ⊥ a layer survives about 1/|ln χ⊥| layers; "
    "a network much deeper than that trains badly."
)


def page_context(inspections: Sequence[Inspection], *, most_rows: int) -> dict[str, Any]:
    """Return everything the template shows of the inspections."""
    compared = comparison.subjects(inspections)
    several = len(inspections) > 1
    rows = comparison.rows(compared) if compared else []
    tables = [_tables(inspection, max(1, most_rows // len(inspections))) for inspection in inspections]
    networks = [_network(inspection, blocks) for inspection, blocks in zip(inspections, tables, strict=True)]
    columns = {c.heading: c for blocks in tables for b in blocks for c in b["table"].columns if c.meaning}
    return {
        "title": f"{_title(inspections)}: phasescope",
        "kicker": _title(inspections),
        "several": several,
        "legend": _legend(compared),
        "differing": [row for row in rows if row.differs or not several] if several else rows[:7],
        "common": [row for row in rows if not row.differs] if several else [],
        "pictures": _pictures(inspections, compared),
        "networks": networks,
        "sections": sections(inspections, most_rows=max(1, most_rows // len(inspections))),
        "skipped": _skipped(inspections, tables),
        "recipe": recipe(compared),
        "circumstances": _circumstances(inspections),
        "definitions": list(columns.values()),
        "depth_rule": _DEPTH_RULE if compared else "",
    }


def training_context(
    inspections: Sequence[Inspection], fates: Sequence[Fate], budget: str, chance: float
) -> dict[str, Any]:
    """Return what the template shows of training."""
    compared = comparison.subjects(inspections)
    panels = fate_panels(fates, colours(compared), chance)
    seeds = len(fates[0].loss)
    shares = [percent(fate.final.value) for fate in fates]
    return {
        "budget": budget,
        "svgs": [inline(panel.figure, f"training{i}", panel.caption)[0] for i, panel in enumerate(panels)],
        "caption": f"Thin lines: {seeds} seeds; thick: their mean. Dotted: guessing.",
        "standfirst": f"Trained alike, they classify {_listed(shares)} of the test set correctly.",
        "accuracies": [f"{measured(100 * fate.final.value, 100 * fate.final.error)} %" for fate in fates],
    }


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _title(inspections: Sequence[Inspection]) -> str:
    if len(inspections) == 1:
        return inspections[0].label
    return f"{len(inspections)} networks side by side"


def _legend(compared: Sequence[Subject]) -> list[dict[str, str]]:
    return [
        {"label": subject.label, "phase": subject.verdict.phase, "colour": colour}
        for subject, colour in zip(compared, colours(compared), strict=True)
    ]


def _pictures(inspections: Sequence[Inspection], compared: Sequence[Subject]) -> list[dict[str, Any]]:
    groups = []
    if len(compared) > 1:
        panels = comparison_panels(compared)
        svgs = [inline(panel.figure, f"compared{i}", panel.caption)[0] for i, panel in enumerate(panels)]
        groups.append({"svgs": svgs, "caption": _COMPARED})
    for position, inspection in enumerate(inspections):
        instrument = leading(inspection)
        if instrument not in inspection.instruments or (
            len(compared) > 1 and instrument == comparison.PROPAGATION
        ):
            continue
        for name, figure in inspection.figures_of(instrument).items():
            caption = _CAPTIONS.get(name, f"{name.replace('_', ' ').capitalize()}.")
            if len(inspections) > 1:
                caption = f"{inspection.label}: {caption[0].lower()}{caption[1:]}"
            svgs = inline(figure, f"n{position}-{instrument}-{name}", caption)
            groups.append({"svgs": svgs, "caption": caption})
    return groups


def _tables(inspection: Inspection, most_rows: int) -> list[dict[str, Any]]:
    table = layer_table(inspection.datasets[leading(inspection)], most_rows=most_rows)
    return [{"table": table, "counts": _counts(table)}]


def _counts(table: LayerTable) -> str:
    parts = [f"{table.total} layers: {table.measured} measured, {table.total - table.measured} skipped."]
    if table.cut:
        parts.append(f"The first {len(table.rows)} are shown; all are in report.json.")
    if table.absent:
        parts.append(f"No unit of any layer is {' or '.join(table.absent)}.")
    return " ".join(parts)


def _network(inspection: Inspection, blocks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    elsewhere = [finding for name in further(inspection) for finding in inspection.findings_of(name)]
    return {
        "label": inspection.label,
        "findings": said_once([finding for finding in inspection.findings if finding not in elsewhere]),
        "tables": blocks,
        "notes": notes_of(inspection.datasets[leading(inspection)]),
    }


def _skipped(
    inspections: Sequence[Inspection], tables: Sequence[Sequence[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return what was skipped and why, networks with the same list together."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for inspection, blocks in zip(inspections, tables, strict=True):
        found = [(name.replace("_", " "), why) for name, why in inspection.skipped.items()]
        theory = json.loads(inspection.datasets[leading(inspection)].attrs.get("theory", "{}"))
        if not theory.get("recognised", True):
            found.append(("theory beside the measurement", theory["reason"]))
        for block in blocks:
            for reason, layers in block["table"].skipped.items():
                more = f" and {len(layers) - _MOST_NAMES} more" if len(layers) > _MOST_NAMES else ""
                found.append((", ".join(layers[:_MOST_NAMES]) + more, reason))
        if found:
            groups.setdefault(tuple(found), []).append(inspection.label)
    return [
        {"labels": ", ".join(labels), "items": [{"what": what, "why": why} for what, why in found]}
        for found, labels in groups.items()
    ]


def _circumstances(inspections: Sequence[Inspection]) -> list[Row]:
    keys = comparison.FACTS | {"Versions": "versions"}
    first = [inspection.datasets[leading(inspection)].attrs for inspection in inspections]
    rows = [Row(name, tuple(_plain(attrs.get(key, "–")) for attrs in first)) for name, key in keys.items()]
    rows.append(Row("Time", tuple(f"{inspection.seconds:.2g} s" for inspection in inspections)))
    return rows


def _plain(value: Any) -> str:
    text = str(value)
    if text.startswith("{"):
        return ", ".join(f"{name} {version}" for name, version in json.loads(text).items())
    return text
