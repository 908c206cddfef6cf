"""What the weights behind a property say, in sentences to act on; and as a plain text table."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding
from phasescope.instruments.rows import Column, Row

if TYPE_CHECKING:
    import xarray as xr

COLUMNS = (
    Column("weights", "weights", "number of weights looked at"),
    Column("share", "share", "share of the property's (g w)² in this layer", fraction=True),
    Column("members", "ensemble", "how many of the fewest weights with 90 % of it lie in this layer"),
    Column("units", "units", "how many units these enter"),
    Column("control", "control", "median of |g| over the rms change of the rest of the output, of these"),
)
"""What a page shows of each layer."""

_NAME = 38  # columns of the table that the name of a layer takes
_UNITS = {
    "one": "same change for all",
    "weight": "change in proportion to |w|",
    "rms": "change that moves the output alike",
}
_EDIT = (
    "phasescope.synapses.edit(sensitivity, {property: amount}, keep=[...]) finds the change of weights with "
    "the least damage elsewhere"
)


class _Of:
    """The numbers of one property."""

    def __init__(self, dataset: xr.Dataset, index: int) -> None:
        self.dataset, self.index = dataset, index
        self.name = str(dataset["property"].values[index])
        self.size, self.units = int(dataset.attrs["looked_at"]), int(dataset.attrs["all_units"])
        self.certified = json.loads(dataset.attrs["certified"])[self.name]
        self.verdict = json.loads(dataset.attrs["verdicts"])[self.name]
        self.first = ", ".join(json.loads(dataset.attrs["selective"])[self.name])
        own = dataset["of"].values == self.name
        self.rows = [row for row in Row.measured(dataset) if own[row.index]]

    def __getitem__(self, name: str) -> float:
        return float(self.dataset[name].values[self.index])

    def array(self, name: str) -> np.ndarray:
        """Return the numbers that exist of a null."""
        values = np.asarray(self.dataset[name].values[self.index])
        return np.asarray(values[np.isfinite(values)])

    def estimate(self, name: str) -> Estimate:
        """Return a number with its error."""
        if not math.isfinite(self[name]):
            return Estimate.not_determined("not measured")
        return Estimate(self[name], self[f"{name}_error"], name, int(self.dataset.attrs["inputs"]))


def findings(dataset: xr.Dataset) -> list[Finding]:
    """Return for each property where it sits, then whether weights act on its samples alone."""
    found = []
    for index in range(dataset.sizes["property"]):
        prop = _Of(dataset, index)
        found += [_where(prop), _alone(prop)]
    return found


def _where(prop: _Of) -> Finding:
    fewest, units = int(prop["fewest_weight"]), int(prop["units_weight"])
    top = max(prop.rows, key=lambda row: row["share"])
    layer = top.text("layer").removesuffix(f" ({prop.name})")
    sentence = (
        f"The {prop.name} rests on {fewest:,} of {prop.size:,} weights ({_percent(fewest / prop.size)}) in "
        f"{units:,} of {prop.units:,} units: they carry 90 % of it; {_percent(top['share'])} of it lies in "
        f"layer {layer}."
    )
    counts = ", ".join(f"{int(prop[f'fewest_{unit}']):,} ({words})" for unit, words in _UNITS.items())
    shuffled = prop.array("fewest_shuffled")
    if not len(shuffled):
        return Finding(sentence, counts, f"To change it: {_EDIT}.", "note")
    low, middle, high = np.quantile(shuffled, [0, 0.5, 1])
    beside = f"with the weights of each layer shuffled {middle:,.0f} ({low:,.0f} to {high:,.0f})"
    reached = int((shuffled <= fewest).sum())
    meaning = (
        "Fewer than in any shuffled network: the place of these weights was learned. "
        if not reached
        else f"{reached} of {len(shuffled)} shuffled networks need no more: the number alone does not show "
        "that the place of these weights was learned. "
    )
    return Finding(sentence, f"{counts}; {beside}", f"{meaning}To change it: {_EDIT}.", "note")


def _alone(prop: _Of) -> Finding:
    share = prop.estimate("selective")
    evidence = f"largest share {share}; {prop.verdict.rstrip('.')}"
    if not math.isfinite(prop["p_elsewhere"]):
        sentence = f"Whether weights act on the samples of the {prop.name} alone is not determined."
        action = (
            "Say which samples it is about, and have at least 19 others in the batch: "
            "ClassMargin(k, cases=...), or Custom(function, support=mask, masked=True)."
        )
        return Finding(sentence, evidence, action, "note")
    if prop.certified == "yes":
        sentence = f"Some weights act on the samples of the {prop.name} and hardly on others: {prop.first}."
        action = (
            "They can change it with little damage on the other samples. But samples of one class are alike "
            "and random sets are not: ask the same of other classes before you call these weights its own."
        )
        return Finding(sentence, evidence, action, "note")
    sentence = f"No weight acts on the samples of the {prop.name} alone, not more than on any others."
    action = (
        "Do not call these weights the part of the network for it. A change will reach other samples, "
        "too: measure it there, and hold what matters with keep=."
    )
    return Finding(sentence, evidence, action, "note")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def table(dataset: xr.Dataset) -> str:
    """Return for each property the counts in three units and the layers, at most 100 columns wide."""
    lines = []
    for index in range(dataset.sizes["property"]):
        prop = _Of(dataset, index)
        name = prop.name if len(prop.name) <= 60 else f"{prop.name[:59]}…"
        lines.append(f"Which weights carry a property: {name} = {prop['value']:.4g}")
        lines.append(f"{'fewest weights with 90 % of it':<{_NAME}}{'weights':>12}{'units':>10}{'of all':>10}")
        for unit, words in _UNITS.items():
            fewest, units = prop[f"fewest_{unit}"], prop[f"units_{unit}"]
            share = _percent(fewest / prop.size)
            lines.append(f"  {words:<{_NAME - 2}}{fewest:>12,.0f}{units:>10,.0f}{share:>10}")
        shuffled = prop.array("fewest_shuffled")
        if len(shuffled):
            words = "in proportion to |w|, shuffled"
            lines.append(f"  {words:<{_NAME - 2}}{np.median(shuffled):>12,.0f}")
        headings = "".join(f"{column.heading:>12}" for column in COLUMNS)
        lines.append(f"{'':<{_NAME}}{headings}")
        lines += [_line(prop, row) for row in prop.rows]
    return "\n".join(lines)


def _line(prop: _Of, row: Row) -> str:
    name = row.text("layer").removesuffix(f" ({prop.name})")
    name = name if len(name) < _NAME else f"…{name[2 - _NAME :]}"
    cells = ""
    for column in COLUMNS:
        value = row[column.variable]
        text = "-"
        if math.isfinite(value):
            text = _percent(value) if column.fraction else f"{value:,.0f}"
            text = f"{value:.3g}" if column.variable == "control" else text
        cells += f"{text:>12}"
    return f"{name:<{_NAME}}{cells}"
