"""Which branches, heads and modules can go, with the loss and the accuracy afterwards."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope.errors import InputError, NothingToMeasureError
from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.rows import Column, Layout, Row
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.circumstances import circumstances
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.synapses import EdgeGates

_MOST_NAMED, _MOST_LABELLED = 4, 12
_LAYOUT = Layout(
    {"removed": 20, "2nd order": 11, "1st order": 11, "verdict": 16},
    ("1st order", "2nd order"),
    names=30,
    gap=1,
)
_NO_GATE = "no gate of its own: it is no residual branch, no head and was not named"


class RemovableEdges(Instrument):
    r"""Measures what a loss loses without each residual branch, attention head or named module.

    Each edge is removed once, with the change of the loss and its error; beside it stand the first and the
    second order in a gate on the edge. Then edges are removed one after the other, and the loss and the
    accuracy on the way stand beside the loss of 20 random orders. The work is done by ``synapses.edges``.

    Parameters
    ----------
    loss : callable
        ``loss(output, targets)``, a mean over the samples.
    targets : tensor, optional
        One for each sample of the batch; by default those that the batch holds behind the inputs.
    edges : str or sequence of str
        "auto" for residual branches and attention heads, "branches", "heads", or names of modules.
    exact_up_to : int
        Number of edges up to which each is removed exactly.
    path : bool
        Whether to compute the path integral of each gate, too.

    Notes
    -----
    It applies once the loss is given and targets are known. The dataset has a row for each edge and one for
    each layer without; ``long_name`` says what its variables are. Cost: see ``synapses.edges``.

    References: Yuan, Li, Shao and Yan 2020, arXiv:2008.08261.
    """

    name = "edges"
    title = "Edges that can go"

    def __init__(
        self,
        loss: Callable[..., Any] | None = None,
        targets: Any = None,
        edges: str | Sequence[str] = "auto",
        *,
        exact_up_to: int = 64,
        path: bool = False,
    ) -> None:
        if loss is not None and not callable(loss):
            raise InputError(f"The loss is {loss!r}, which cannot be called.", "Pass a function or a module.")
        self.loss, self.targets, self.edges = loss, targets, edges
        self.exact_up_to, self.path = exact_up_to, path

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        try:
            module = as_module(model)
            fitted = as_batch(module, batch, targets=self.targets)
        except InputError as refused:
            return str(refused)
        targets = fitted.targets
        without = targets is None or (isinstance(targets, (tuple, dict)) and not targets)
        missing = ["the loss"] if self.loss is None else []
        missing += ["the targets"] if without else []
        if missing:
            verb = "is" if missing == ["the loss"] else "are"
            return f"{' and '.join(missing)} {verb} missing: pass RemovableEdges(loss, targets)"
        from phasescope.synapses.edges import with_targets

        try:
            with_targets(module, fitted)
        except InputError as refused:
            return str(refused)
        return ""

    @alone()
    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        from phasescope.synapses import edges

        module = as_module(model)
        fitted = as_batch(module, batch, targets=self.targets)
        assert self.loss is not None
        found: EdgeGates | None = None
        notes: list[str] = []
        try:
            found = edges(
                module,
                self.loss,
                fitted,
                edges=self.edges,
                exact_up_to=self.exact_up_to,
                path=self.path,
                seed=seed,
                max_memory=max_memory,
            )
            notes += found.notes
        except NothingToMeasureError as nothing:
            notes.append(str(nothing))
        return _dataset(module, fitted, found, notes, seed)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        with plotting.style():
            drawn, (single, together) = plotting.figure(2, panel_size=(4.4, 3.4))
            _draw_changes(single, dataset)
            _draw_curve(together, dataset)
        return {"edges": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        return "\n".join(
            [f"{self.title}: change of the loss without each", "", *_LAYOUT.lines(dataset, _cells, "edge")]
        )


def _cells(row: Row) -> dict[str, str]:
    """Return the texts of a line of the table by column."""
    return {
        "removed": "-" if math.isnan(row["change"]) else str(row.estimate("change")),
        "2nd order": f"{row['second']:.2g}",
        "1st order": f"{row['first']:.2g}",
        "verdict": row.text("verdict"),
    }


CAPTIONS = {
    "edges": (
        "Left: change of the loss when each edge is removed alone, with its standard error over the samples; "
        "circles, to second order. Right: edges removed one after the other, the cheapest next; band, "
        "20 random orders, mean and standard deviation. Dotted: the sampling error of the loss itself."
    ),
}

COLUMNS = (
    Column("change", "change", "loss without the edge minus the loss with it"),
    Column("second", "second order", "the same to second order in the gate"),
    Column("first", "first order", "the same to first order in the gate"),
    Column("position", "removed as", "place in the order of removal, from 1"),
)
"""What a page shows of each row."""

_VARIABLES = {  # name: what it is
    "change": "loss without the edge minus the loss with all edges, one forward pass",
    "first": "change of the loss to first order in the gate",
    "second": "change of the loss to second order in the gate",
    "path": "change of the loss by a path integral of five points",
}


def _dataset(
    module: nn.Module, batch: Batch, found: EdgeGates | None, notes: Sequence[str], seed: int
) -> xr.Dataset:
    """Return the dataset: a row for each edge, then one for each layer without."""
    import xarray as xr

    names = [] if found is None else list(found.names)
    skipped = {} if found is None else dict(found.skipped)
    for path, part in module.named_modules():
        if not list(part.children()) and path not in names:
            skipped.setdefault(path or "model", _NO_GATE)
    rows = [*names, *skipped]
    count, extra = len(names), len(skipped)

    def column(values: Any = ()) -> np.ndarray:
        return np.concatenate(
            [np.asarray(values, dtype=np.float64), np.full(len(rows) - len(values), np.nan)]
        )

    data: dict[str, Any] = {}
    for name, what in _VARIABLES.items():
        for suffix, prefix in (("", ""), ("_error", "one standard error of: ")):
            if f"{name}{suffix}" == "path_error":
                continue
            values = () if found is None else getattr(found, f"{name}{suffix}")
            data[f"{name}{suffix}"] = ("layer", column(values), _said(f"{prefix}{what}", "unit of the loss"))
    position = np.full(count, np.nan)
    length, sampled = 1, np.zeros(1, dtype=np.int64)
    if found is not None:
        position[found.order] = np.arange(1, len(found.order) + 1)
        length, sampled = len(found.curve), found.sizes
    data["position"] = ("layer", column(position), _said("place in the order of removal, from 1", "1"))
    null, null_sd = np.full((2, length), np.nan)
    if found is not None:
        null[sampled], null_sd[sampled] = found.random.mean(axis=0), found.random.std(axis=0, ddof=1)
    empty = np.full(1, np.nan)
    change = "change of the loss after so many edges are removed"
    curves = {
        "curve": (empty if found is None else found.curve, change),
        "curve_error": (empty if found is None else found.curve_error, f"one standard error of: {change}"),
        "curve_null": (null, f"{change} in random orders, mean"),
        "curve_null_sd": (null_sd, f"{change} in random orders, standard deviation"),
    }
    for name, (values, what) in curves.items():
        data[name] = ("removed", values, _said(what, "unit of the loss"))
    accuracies = empty if found is None else found.accuracies
    data["accuracy"] = ("removed", accuracies, _said("accuracy after so many edges are removed", "1"))
    level = Estimate.not_determined("no edge") if found is None else found.loss
    data["loss"] = ((), level.value, _said("loss with all edges", "unit of the loss"))
    data["loss_error"] = ((), level.error, _said("one standard error of the loss", "unit of the loss"))
    order = [] if found is None else [found.names[place] for place in found.order]
    coordinates = {
        "layer": rows,
        "removed": ("removed", np.arange(length), _said("number of removed edges", "1")),
        "removed_edge": ("removed", ["", *order]),
        "kind": ("layer", [*(() if found is None else found.kinds), *[""] * extra]),
        "verdict": ("layer", [*(() if found is None else found.verdicts), *[""] * extra]),
        "skipped": ("layer", [""] * count + list(skipped.values())),
    }
    attrs = {
        "instrument": "edges",
        **circumstances(module, batch, seed=seed),
        "removable": 0 if found is None else found.removable,
        "missing": "" if found is None else found.missing,
        "citations": "lecun1990 yuan2020" if found is None else " ".join(found.citations),
        "notes": json.dumps([*dict.fromkeys([*batch.notes, *notes])]),
    }
    return xr.Dataset(data, coordinates, attrs)


def _said(what: str, unit: str) -> dict[str, str]:
    return {"units": unit, "long_name": what}


def _findings(dataset: xr.Dataset) -> list[Finding]:
    rows = Row.measured(dataset)
    if not rows:
        return [
            Finding(
                "No residual branch and no attention head was found, so nothing was removed.",
                f"{dataset.sizes['layer']} layers",
                "Name the modules whose output is to get a gate: RemovableEdges(loss, targets, edges=[...]).",
                "note",
            )
        ]
    missing = str(dataset.attrs["missing"])
    if missing:
        more = "Pass more samples, " + (
            "or a loss that is a mean over them."
            if "add up" in missing
            else "or data that the model has not fitted."
        )
        return [
            Finding(f"Which edges can go is not determined: {missing}.", _level(dataset), more, "note"),
        ]
    return [_together(dataset, rows), *_gains(rows)]


def _together(dataset: xr.Dataset, rows: Sequence[Row]) -> Finding:
    """Return how many edges can go together, and what that costs."""
    count, removable = len(rows), int(dataset.attrs["removable"])
    evidence = f"{_level(dataset)}, sampling error {float(dataset['loss_error']):.2g}"
    if not removable:
        curve = Estimate(float(dataset["curve"][1]), float(dataset["curve_error"][1]), "change", 0)
        name = str(dataset["removed_edge"].values[1])
        return Finding(
            f"None of the {count} edges can be removed within the sampling error of the loss.",
            f"{evidence}; without {name}, the least costly, it changes by {curve}",
            "",
            "ok",
        )
    names = [str(name) for name in dataset["removed_edge"].values[1 : removable + 1]]
    after = Estimate(
        float(dataset["curve"][removable]), float(dataset["curve_error"][removable]), "change", 0
    )
    parts = [evidence, f"it changes by {after}"]
    accuracy = dataset["accuracy"].values
    if math.isfinite(accuracy[removable]):
        parts.append(f"accuracy {100 * accuracy[0]:.1f} % before, {100 * accuracy[removable]:.1f} % after")
    null, sd = dataset["curve_null"].values, dataset["curve_null_sd"].values
    known = np.flatnonzero(
        np.isfinite(null) & (np.arange(len(null)) <= removable) & (np.arange(len(null)) > 0)
    )
    if known.size:
        at = int(known[-1])
        parts.append(f"in random order {at} of them cost {null[at]:.2g}, sd {sd[at]:.2g} over 20 orders")
    shown = ", ".join(names[:_MOST_NAMED]) + (
        f" and {removable - _MOST_NAMED} more" if names[_MOST_NAMED:] else ""
    )
    return Finding(
        f"Of {count} edges, {removable} can be removed together within the sampling error of the loss.",
        "; ".join(parts),
        f"Remove {shown}, and check on data that was not used here: the choice was made on this batch.",
        "note",
    )


def _gains(rows: Sequence[Row]) -> list[Finding]:
    """Return what the loss gains without single edges, beyond three errors and the number of tries."""
    beyond = 3.0 + 0.5 * math.log(len(rows))
    worse = [row for row in rows if row["change"] < -beyond * row["change_error"]]
    if not worse:
        return []
    best = min(worse, key=lambda row: row["change"])
    name = best.text("layer")
    which = "edge lowers" if len(worse) == 1 else "edges, each alone, lowers"
    return [
        Finding(
            f"Removing {len(worse)} {which} the loss on this batch, {name} the most.",
            f"without {name} it changes by {best.estimate('change')}",
            f"Remove {name}, or train it further, if data that was not used here agree.",
            "note",
        )
    ]


def _level(dataset: xr.Dataset) -> str:
    return f"loss {float(dataset['loss']):.4g} on {int(dataset.attrs['inputs'])} samples"


def _draw_changes(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    rows = Row.measured(dataset)
    places = np.arange(1, len(rows) + 1)
    change, error = (np.array([row[name] for row in rows]) for name in ("change", "change_error"))
    second = np.array([row["second"] for row in rows])
    axes.axhline(0, color=plotting.INK, lw=0.8)
    if rows:
        axes.errorbar(
            places, change, np.nan_to_num(error), fmt="s", ms=4, color=plotting.MEASURED, label="removed"
        )
        axes.plot(places, second, "o", mfc="none", color=plotting.THEORY, label="second order")
        axes.legend(loc="best")
    tolerance = float(dataset["loss_error"])
    if math.isfinite(tolerance):
        axes.axhline(tolerance, color=plotting.INK, lw=0.8, ls=":", alpha=0.7)
    if 0 < len(rows) <= _MOST_LABELLED:
        axes.set_xticks(places, [row.short_name(16) for row in rows], rotation=40, ha="right")
    axes.set(title="One edge removed", xlabel="edge", ylabel="change of the loss")


def _draw_curve(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    removed, curve = dataset["removed"].values, dataset["curve"].values
    null, sd = dataset["curve_null"].values, dataset["curve_null_sd"].values
    axes.axhline(0, color=plotting.INK, lw=0.8)
    if np.isfinite(curve).any():
        known = np.isfinite(null)
        low, high = (null + sign * sd for sign in (-1, 1))
        axes.fill_between(removed[known], low[known], high[known], color=plotting.THEORY, alpha=0.25, lw=0)
        axes.plot(removed[known], null[known], color=plotting.THEORY, label="random order")
        error = np.nan_to_num(dataset["curve_error"].values)
        axes.errorbar(removed, curve, error, fmt="s-", ms=3, color=plotting.MEASURED, label="least cost next")
        axes.legend(loc="best")
    tolerance = float(dataset["loss_error"])
    if math.isfinite(tolerance):
        axes.axhline(tolerance, color=plotting.INK, lw=0.8, ls=":", alpha=0.7)
    axes.set(title="Removed together", xlabel="edges removed", ylabel="change of the loss")
