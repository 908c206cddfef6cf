"""One HTML page, and the same content as JSON, from inspections.

The page is about the instrument that leads, signal propagation where it was measured; each further one has a
section of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope import __version__
from phasescope.citations import BIBTEX, citation_keys
from phasescope.errors import InputError
from phasescope.instruments import (
    Inspection,
    edges,
    hysteresis,
    langevin,
    lazy,
    spectra,
    symptoms,
    tokens,
    weights,
)
from phasescope.instruments.activation_noise import figure as activation_noise
from phasescope.instruments.propagation import figure as propagation
from phasescope.instruments.propagation.weight_scale import code_to_copy
from phasescope.instruments.rows import Column
from phasescope.instruments.synapses import figure as synapses
from phasescope.instruments.through_time import CAPTIONS as _TIME
from phasescope.instruments.training import figure as stability
from phasescope.report import comparison
from phasescope.report.comparison import PROPAGATION, Line, Subject, colours, opening
from phasescope.report.fate import Training, training_context
from phasescope.report.layer_table import LayerTable, layer_table
from phasescope.report.svg import inline
from phasescope.report.templating import render_template
from phasescope.signal.table import coverage, folded_names
from phasescope.whole_files import write_together

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.instruments import Finding

VERSION = 1
_LARGEST = 950_000  # bytes: a page stays under 1 MB
_ROWS = (1000, 300, 100, 20)
_MOST_OPEN = 12  # rows of a table that is shown at once
_COMPARED = (
    "Mean square of the units, one minus the correlation of two inputs, and squared gradient relative to the "
    "output, at each step of the stream: weight layers and sums that everything passes. Dots: measured, with "
    "one standard error; lines: theory of infinitely wide layers with the same weight variances, where it is "
    "known."
)
_CAPTIONS = (
    propagation.CAPTIONS
    | activation_noise.CAPTIONS
    | stability.CAPTIONS
    | synapses.CAPTIONS
    | tokens.CAPTIONS
    | symptoms.CAPTIONS
    | spectra.CAPTIONS
    | weights.CAPTIONS
    | lazy.CAPTIONS
    | langevin.CAPTIONS
    | edges.CAPTIONS
    | hysteresis.CAPTIONS
    | _TIME
)
_DEPTH_RULE = (
    "A step of the stream is a weight layer, a residual sum or a concatenation that everything passes on its "
    "way from input to output. A squared difference between inputs that grows or shrinks by χ⊥ a step "
    "survives about 1/|ln χ⊥| steps; a network much deeper than that trains badly."
)


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
    return found if training is None else {**found, "training": training.to_dict()}


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
    trained = None if training is None else training_context(training, inspections)
    for most_rows in _ROWS:
        page = render_template(
            "report.html.j2",
            **_context(inspections, max(1, most_rows // len(inspections))),
            training=trained,
            command=command,
        )
        if len(page.encode("utf-8", errors="backslashreplace")) <= _LARGEST:
            break
    return page


def _context(inspections: Sequence[Inspection], most_rows: int) -> dict[str, Any]:
    """Return everything that the template shows of the inspections, with so many rows a table."""
    several = len(inspections) > 1
    title = f"{len(inspections)} networks side by side" if several else inspections[0].label
    compared = comparison.subjects(inspections)
    lines = comparison.lines(compared) if compared else []
    tables = [layer_table(each.datasets[_leading(each)], most_rows=most_rows) for each in inspections]
    ill = [each.dataset for each in compared if each.verdict.phase not in ("critical", "not determined")]
    return {
        "title": f"{title}: phasescope",
        "kicker": title,
        "sentence": opening(inspections),
        "several": several,
        "legend": _legend(compared),
        "differing": [line for line in lines if line.differs] if several else lines[:8],
        "common": [line for line in lines if not line.differs] if several else [],
        "pictures": _pictures(inspections, compared),
        "networks": [_network(each, table) for each, table in zip(inspections, tables, strict=True)],
        "sections": _sections(inspections, most_rows),
        "skipped": _skipped(inspections, tables),
        "recipe": code_to_copy(ill) if ill else [],
        "circumstances": _circumstances(inspections),
        "definitions": _definitions(tables),
        "depth_rule": _DEPTH_RULE if compared else "",
        "bibtex": _bibtex(inspections),
    }


def _leading(inspection: Inspection) -> str:
    """Return the instrument that the page is about: signal propagation, or else the first one."""
    return PROPAGATION if PROPAGATION in inspection.datasets else next(iter(inspection.datasets))


def _further(inspection: Inspection) -> list[str]:
    """Return the other instruments that measured."""
    lead = _leading(inspection)
    return [name for name in inspection.datasets if name != lead and name in inspection.instruments]


def _legend(compared: Sequence[Subject]) -> list[dict[str, str]]:
    return [
        {"label": subject.label, "phase": subject.verdict.phase, "colour": colour}
        for subject, colour in zip(compared, colours(compared), strict=True)
    ]


def _pictures(inspections: Sequence[Inspection], compared: Sequence[Subject]) -> list[dict[str, Any]]:
    """Return the pictures of the leading instruments; several profiles share theirs."""
    groups: list[dict[str, Any]] = []
    if len(compared) > 1:
        panels = comparison.panels(compared)
        svgs = [inline(panel.figure, f"compared{i}", panel.caption)[0] for i, panel in enumerate(panels)]
        groups.append({"svgs": svgs, "caption": _COMPARED})
    for position, inspection in enumerate(inspections):
        name = _leading(inspection)
        shared = len(compared) > 1 and name == PROPAGATION
        if name in inspection.instruments and not shared:
            label = inspection.label if len(inspections) > 1 else ""
            groups += _pictures_of(inspection, name, f"n{position}", _CAPTIONS, label)
    return groups


def _pictures_of(
    inspection: Inspection, name: str, prefix: str, captions: Mapping[str, str], label: str = ""
) -> list[dict[str, Any]]:
    """Return the pictures of one instrument, with the label of the network before each caption."""
    groups = []
    for key, figure in inspection.figures_of(name).items():
        caption = captions.get(key, f"{key.replace('_', ' ').capitalize()}.")
        if label:
            caption = f"{label}: {caption[0].lower()}{caption[1:]}"
        groups.append({"svgs": inline(figure, f"{prefix}-{name}-{key}", caption), "caption": caption})
    return groups


def _network(inspection: Inspection, table: LayerTable) -> dict[str, Any]:
    """Return what the page shows of a network and its leading instrument."""
    elsewhere = [finding for name in _further(inspection) for finding in inspection.findings_of(name)]
    dataset = inspection.datasets[_leading(inspection)]
    counts = [f"{table.total} layers: {table.measured} measured, {table.total - table.measured} skipped."]
    if "coverage" in dataset.attrs:
        counts = [coverage(dataset)]
    if any(row.branch for row in table.rows):
        counts.append("Indented rows are branches, below the sum where they end.")
    if table.cut:
        counts.append(f"The first {len(table.rows)} are shown; all are in report.json.")
    if table.absent:
        counts.append(f"No unit of any layer is {' or '.join(table.absent)}.")
    return {
        "label": inspection.label,
        "findings": _said_once([finding for finding in inspection.findings if finding not in elsewhere]),
        "table": table,
        "counts": " ".join(counts),
        "notes": _notes(dataset),
    }


def _sections(inspections: Sequence[Inspection], most_rows: int) -> list[dict[str, Any]]:
    """Return what the page shows of each further instrument, with all networks that it measured."""
    names = dict.fromkeys(name for inspection in inspections for name in _further(inspection))
    found = []
    for name in names:
        networks = [
            _network_of(inspection, name, f"n{position}", most_rows)
            for position, inspection in enumerate(inspections)
            if name in _further(inspection)
        ]
        found.append(
            {
                "name": name,
                "title": next(
                    each.instruments[name].title for each in inspections if name in each.instruments
                ),
                "networks": networks,
                "definitions": _definitions([each["table"] for each in networks]),
            }
        )
    return found


def _network_of(inspection: Inspection, name: str, prefix: str, most_rows: int) -> dict[str, Any]:
    """Return what the page shows of a network and one further instrument."""
    table = layer_table(inspection.datasets[name], most_rows=most_rows)
    cut = f", of which the first {len(table.rows)} are shown" if table.cut else ""
    reasons = list(table.skipped.items())
    skipped = [f"{folded_names(layers, most=3)}: {reason}." for reason, layers in reasons[:3]]
    rest = sum(len(layers) for _, layers in reasons[3:])
    return {
        "label": inspection.label,
        "findings": _said_once(inspection.findings_of(name)),
        "pictures": _pictures_of(inspection, name, prefix, _CAPTIONS),
        "table": table,
        "counts": f"{table.measured} rows{cut}",
        "open": len(table.rows) <= _MOST_OPEN,
        "notes": _notes(inspection.datasets[name]),
        "skipped": [*skipped, f"{rest} more: see report.json."] if rest else skipped,
    }


def _said_once(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Return the findings, an action that was already given not said again."""
    shown: list[dict[str, str]] = []
    for finding in findings:
        said = finding.to_dict()
        if any(finding.action == earlier.action for earlier in findings[: len(shown)]):
            said["action"] = "As above." if finding.action else ""
        shown.append(said)
    return shown


def _notes(dataset: xr.Dataset) -> list[str]:
    """Return the notes of a dataset as sentences."""
    notes = json.loads(dataset.attrs.get("notes", "[]"))
    return [f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in notes]


def _skipped(inspections: Sequence[Inspection], tables: Sequence[LayerTable]) -> list[dict[str, Any]]:
    """Return what was skipped and why, networks with the same list together."""
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for inspection, table in zip(inspections, tables, strict=True):
        found = [(name.replace("_", " "), why) for name, why in inspection.skipped.items()]
        found += [(f"{name.replace('_', ' ')} (failed)", why) for name, why in inspection.failed.items()]
        theory = json.loads(inspection.datasets[_leading(inspection)].attrs.get("theory", "{}"))
        if not theory.get("recognised", True):
            found.append(("theory beside the measurement", theory["reason"]))
        found += [(folded_names(layers, most=12), reason) for reason, layers in table.skipped.items()]
        if found:
            groups.setdefault(tuple(found), []).append(inspection.label)
    return [
        {"labels": ", ".join(labels), "items": [{"what": what, "why": why} for what, why in found]}
        for found, labels in groups.items()
    ]


def _circumstances(inspections: Sequence[Inspection]) -> list[Line]:
    facts = comparison.FACTS | {"Versions": "versions"}
    first = [inspection.datasets[_leading(inspection)].attrs for inspection in inspections]
    lines = [Line(name, tuple(_plain(attrs.get(key, "–")) for attrs in first)) for name, key in facts.items()]
    return [*lines, Line("Time", tuple(f"{inspection.seconds:.2g} s" for inspection in inspections))]


def _plain(value: Any) -> str:
    text = str(value)
    if text.startswith("{"):
        return ", ".join(f"{name} {version}" for name, version in json.loads(text).items())
    return text


def _definitions(tables: Sequence[LayerTable]) -> list[Column]:
    """Return the columns that need to be explained."""
    columns = {column.heading: column for table in tables for column in table.columns if column.meaning}
    return list(columns.values())


def _bibtex(inspections: Sequence[Inspection]) -> str:
    keys = [key for inspection in inspections for key in citation_keys(inspection)]
    return "\n\n".join(BIBTEX[key] for key in dict.fromkeys([*keys, "phasescope"]))
