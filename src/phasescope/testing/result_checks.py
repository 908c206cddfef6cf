"""Checks of what people see: names, findings, figures, tables, citations."""

from __future__ import annotations

import re
import sys

from matplotlib.figure import Figure

from phasescope.citations import citation, citation_keys
from phasescope.instruments.contract import SEVERITIES, Finding
from phasescope.instruments.inspection import inspect
from phasescope.testing.cases import Trial, require, require_same

_WIDTH = 100


def has_name_and_title(trial: Trial) -> None:
    """Check that `name` is a key of lower case letters and `title` reads like a heading."""
    name, title = trial.instrument.name, trial.instrument.title
    require(bool(re.fullmatch(r"[a-z][a-z0-9_]*", name)), f"name {name!r} is no key")
    require(bool(title.strip()) and title[0].isupper(), f"title {title!r} is no heading")


def prints_itself(trial: Trial) -> None:
    """Check that `repr` of the instrument names it in one line; its table is at most 100 columns wide."""
    shown = repr(trial.instrument)
    require(trial.instrument.name in shown, f"repr {shown!r} does not say the name")
    require("\n" not in shown, "repr takes more than one line")
    table = trial.instrument.table(trial.dataset)
    widest = max((len(line) for line in table.splitlines()), default=0)
    require(widest <= _WIDTH, f"the table is {widest} columns wide")
    require(bool(repr(trial.dataset)), "the dataset has no repr")


def cites_its_sources(trial: Trial) -> None:
    """Check that the dataset names its papers, and their BibTeX is well formed."""
    keys = citation_keys(trial.dataset)
    text = citation(trial.dataset)
    require(text.count("{") == text.count("}"), "BibTeX has unbalanced braces")
    for key in keys:
        require(bool(re.search(r"@\w+\{" + re.escape(key) + ",", text)), f"no BibTeX entry for {key!r}")
    for field in ("title", "author"):
        entries, given = text.count("\n@") + 1, len(re.findall(rf"\n\s*{field} = \{{\S", text))
        require(given >= entries, f"an entry has no {field}")


def finds_something_to_say(trial: Trial) -> None:
    """Check that each finding is a sentence with evidence and, unless all is well, an action."""
    found = trial.instrument.findings(trial.dataset)
    require(isinstance(found, list) and len(found) > 0, "no findings")
    for finding in found:
        require(isinstance(finding, Finding), f"findings hold {type(finding).__name__}, not Finding")
        require(finding.severity in SEVERITIES, f"unknown severity {finding.severity!r}")
        text = finding.sentence
        require(bool(text) and text[0].isupper() and text.endswith("."), f"no sentence: {text!r}")
        require(len(text) <= 300, f"a sentence of {len(text)} characters: {text!r}")
        require(bool(finding.evidence.strip()), f"no evidence for {text!r}")
        require(finding.severity == "ok" or bool(finding.action.strip()), f"nothing to do about {text!r}")
        for word in ("nan", "NaN ±", "inf ±", "None"):
            require(word not in text.split(), f"{word!r} in the sentence {text!r}")


def finds_the_same_in_a_stored_dataset(trial: Trial) -> None:
    """Check that findings and table come from the dataset alone: a reloaded one gives the same."""
    stored = trial.stored
    fresh = trial.instrument.findings(trial.dataset)
    require(trial.instrument.findings(stored) == fresh, "a reloaded dataset gives other findings")
    same = trial.instrument.table(stored) == trial.instrument.table(trial.dataset)
    require(same, "a reloaded dataset gives another table")


def reads_without_writing(trial: Trial) -> None:
    """Check that findings, table and figures leave the dataset as it is."""
    before = trial.dataset.copy(deep=True)
    trial.instrument.findings(trial.dataset)
    trial.instrument.table(trial.dataset)
    trial.instrument.figures(trial.dataset)
    require_same(before, trial.dataset, "the dataset after reading it")


def draws_figures(trial: Trial) -> None:
    """Check that figures have labelled axes, are drawn without pyplot and can be laid out."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    open_before = list(pyplot.get_fignums()) if pyplot else []
    figures = trial.instrument.figures(trial.dataset)
    require(isinstance(figures, dict) and len(figures) > 0, "no figures")
    for name, drawn in figures.items():
        require(isinstance(drawn, Figure), f"figure {name!r} is a {type(drawn).__name__}")
        require(len(drawn.axes) > 0, f"figure {name!r} has no axes")
        for axes in drawn.axes:
            labelled = bool(axes.get_xlabel()) and bool(axes.get_ylabel())
            require(labelled, f"an axis of figure {name!r} has no label")
        drawn.draw_without_rendering()
    pyplot = sys.modules.get("matplotlib.pyplot")
    open_after = list(pyplot.get_fignums()) if pyplot else []
    require(open_after == open_before, "figures were left open in pyplot")


def joins_an_inspection(trial: Trial) -> None:
    """Check that `inspect` runs it, and the result prints and turns into a dictionary without NaN."""
    model, batch = trial.build()
    inspection = inspect(model, batch, instruments=[trial.instrument])
    require(
        trial.instrument.name in inspection.datasets,
        f"not measured: {inspection.skipped | inspection.failed}",
    )
    require_same(trial.dataset, inspection.datasets[trial.instrument.name], "the dataset of an inspection")
    require(inspection.sentence in str(inspection), "the printed inspection lacks its sentence")
    require(isinstance(inspection.to_dict()["version"], int), "the dictionary has no version")
