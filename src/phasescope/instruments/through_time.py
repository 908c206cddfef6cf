"""Memory and gradient through time of recurrent layers, beside the untrained network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument, Severity
from phasescope.instruments.rows import Column, Layout, Row, listed, number, plain
from phasescope.recording.circumstances import circumstances
from phasescope.recording.modules import as_module
from phasescope.recording.sequences import as_sequences
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.recurrent import LayerInTime, ThroughTime

_UNTRAINED = 20230120  # added to the seed: that of the user's own network is often the same small number
_POINTS = 256  # of a curve
_MOST_CURVES = 6
_LAYOUT = Layout(
    {"steps": 7, "exponent": 21, "memory": 9, "reach": 9, "untrained": 11}, ("untrained", "steps")
)
_GATED = {"lstm": "forget gate", "gru": "update gate"}  # torch puts its bias behind that of one other


class GradientThroughTime(Instrument):
    r"""Measures how long recurrent states remember, and how far back in time the gradient reaches.

    Of each recurrent layer and direction: the state exponent :math:`\langle\ln |u_t|/|u_{t-1}|\rangle` of
    perturbations of its state, the steps after which a perturbation has fallen by a factor e, the steps after
    which the gradient of the last step has fallen by a factor 100, and both curves; the exponent of the
    untrained network beside it. The work is done by ``recurrent.through_time``.

    It applies to models with ``nn.RNN``, ``nn.GRU``, ``nn.LSTM`` or their cells. The dataset has a row for
    each layer and direction; ``long_name`` says what its variables are. Cost: two measurements of a forward
    pass and two small matrix products a time step and layer.

    References: Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063; Engelken, Wolf and Abbott 2023,
    arXiv:2006.02427.
    """

    name = "time"
    title = "Memory and gradient through time"

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        try:
            module = as_module(model)
            if not any(isinstance(part, (nn.RNNBase, nn.RNNCellBase)) for part in module.modules()):
                return "no recurrent layer, so no state in time"
            steps = as_sequences(module, batch).steps
        except InputError as refused:
            return str(refused)
        return "" if steps > 1 else "one time step is too short"

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
        from phasescope.noise import reinitialised
        from phasescope.recurrent import through_time

        module = as_module(model)
        found = through_time(module, batch, seed=seed, max_memory=max_memory)
        notes = list(found.notes)
        untrained: ThroughTime | None = None
        try:
            fresh = reinitialised(module, seed=seed + _UNTRAINED)
            untrained = through_time(fresh, batch, seed=seed, max_memory=max_memory)
        except InputError as refused:
            notes.append(f"the untrained network was not measured: {refused}")
        attrs = {
            "instrument": self.name,
            **circumstances(module, as_sequences(module, batch), seed=seed),
            "citations": " ".join((*found.citations, "tallec2018")),
            "notes": json.dumps(notes),
        }
        return _dataset(module, found, untrained, attrs)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        with plotting.style():
            drawn, (back, forward) = plotting.figure(2, panel_size=(4.4, 3.4))
            _draw(back, dataset, "gradient", "Gradient, backwards", "steps before the last")
            _draw(forward, dataset, "perturbation", "Perturbation, forwards", "steps since the perturbation")
        return {"time": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        return "\n".join([f"{self.title}, in time steps", "", *_LAYOUT.lines(dataset, _cells)])


def _cells(row: Row) -> dict[str, str]:
    """Return the texts of a line of the table by column."""
    return {
        "steps": f"{row['steps']:.0f}",
        "exponent": number(row, "exponent"),
        "memory": _steps(row, "memory"),
        "reach": _steps(row, "reach"),
        "untrained": plain(row["exponent_untrained"]),
    }


CAPTIONS = {
    "time": (
        "Left: norm of the gradient of the last step with respect to the state, going back in time, relative "
        "to the last step. Right: norm of a small perturbation of the state, going forward. Mean of the "
        "logarithm over sequences; bands, one standard error; dotted, 1 %."
    ),
}

COLUMNS = (
    Column("steps", "steps", "time steps of a sequence"),
    Column("exponent", "exponent", "mean growth of ln |u| a step, u a small perturbation of the state"),
    Column("memory", "memory", "steps after which a perturbation has fallen by a factor e"),
    Column("reach", "reach", "steps after which the gradient of the last step has fallen by a factor 100"),
    Column("keep", "gate", "mean forget gate of an LSTM, update gate of a GRU"),
    Column("exponent_untrained", "untrained", "exponent of the same network untrained"),
)
"""What a page shows of each row."""

_ERROR = "one standard error of"
_VARIABLES = {  # name: (unit, what it is)
    "steps": ("time steps", "time steps of a sequence, median"),
    "exponent": ("1/time step", "state exponent: mean growth of ln |u| in a step"),
    "memory": ("time steps", "steps after which a perturbation has fallen by a factor e"),
    "reach": ("time steps", "steps after which the gradient of the last step has fallen by a factor 100"),
    "keep": ("1", "mean forget gate of an LSTM or update gate of a GRU"),
    "exponent_untrained": ("1/time step", "state exponent of the same network untrained"),
    "perturbation": ("1", "mean ln of the norm of a perturbation, against the steps since"),
    "gradient": ("1", "mean ln of the norm of the gradient of the last step, against the steps before it"),
}


def _dataset(
    module: nn.Module, found: ThroughTime, untrained: ThroughTime | None, attrs: dict[str, Any]
) -> xr.Dataset:
    """Return the dataset: a row for each layer and direction, and one for each module without a state."""
    import xarray as xr

    fresh = {layer.name: layer for layer in untrained.layers} if untrained else {}
    rows: list[tuple[str, str, str, LayerInTime | None]] = []  # name, kind, skipped, layer
    for path, part in module.named_modules():
        own = [layer for layer in found.layers if layer.module == path]
        rows += [(layer.name, layer.kind, "", layer) for layer in own]
        if own or (list(part.children()) and path not in found.skipped):
            continue
        recurrent = isinstance(part, (nn.RNNBase, nn.RNNCellBase))
        reason = found.skipped.get(path, "not measured" if recurrent else "it keeps no state in time")
        rows.append((path, type(part).__name__, reason, None))
    measured = {name for name, _, _, _ in rows}
    rows += [(name, "", reason, None) for name, reason in found.skipped.items() if name not in measured]
    longest = max((layer.steps for layer in found.layers), default=1)
    lags = np.unique(np.linspace(0, longest, min(longest + 1, _POINTS)).round().astype(np.int64))
    values = [None if layer is None else _values(layer, fresh.get(name), lags) for name, _, _, layer in rows]
    example = next((each for each in values if each is not None), None)
    data: dict[str, Any] = {}
    for name in example or {}:
        base = name.removesuffix("_error")
        unit, what = _VARIABLES[base]
        described = {"units": unit, "long_name": what if base == name else f"{_ERROR}: {what}"}
        empty = np.full(lags.size if base in ("perturbation", "gradient") else (), np.nan)
        column = np.array([empty if each is None else each[name] for each in values])
        data[name] = (("layer", "lag") if column.ndim == 2 else ("layer",), column, described)
    coordinates = {
        "layer": [name for name, _, _, _ in rows],
        "lag": ("lag", lags, {"units": "time steps", "long_name": "number of time steps"}),
        "kind": ("layer", [kind for _, kind, _, _ in rows]),
        "module": ("layer", [layer.module if layer else name for name, _, _, layer in rows]),
        "operator": ("layer", [layer.operator if layer else "" for _, _, _, layer in rows]),
        "units": ("layer", [layer.units if layer else 0 for _, _, _, layer in rows]),
        "phase": ("layer", [layer.phase if layer else "" for _, _, _, layer in rows]),
        "reason": ("layer", [layer.reason if layer else "" for _, _, _, layer in rows]),
        "skipped": ("layer", [reason for _, _, reason, _ in rows]),
    }
    return xr.Dataset(data, coordinates, attrs)


def _values(layer: LayerInTime, fresh: LayerInTime | None, lags: np.ndarray) -> dict[str, Any]:
    values: dict[str, Any] = {"steps": float(layer.steps), "keep": layer.keep}
    estimates = {"exponent": layer.exponent, "memory": layer.memory, "reach": layer.reach}
    for name, estimate in estimates.items():
        values |= {name: estimate.value, f"{name}_error": estimate.error}
    known = fresh is not None and fresh.exponent.determined
    values["exponent_untrained"] = fresh.exponent.value if fresh and known else math.nan
    values["exponent_untrained_error"] = fresh.exponent.error if fresh and known else math.nan
    for name in ("perturbation", "perturbation_error", "gradient", "gradient_error"):
        curve = getattr(layer, name)
        inside = lags < len(curve)
        values[name] = np.where(inside, curve[np.where(inside, lags, 0)], np.nan)
    return values


def _findings(dataset: xr.Dataset) -> list[Finding]:
    """Return how far states and gradients reach, one finding for the layers of each phase."""
    rows = Row.measured(dataset)
    if not rows:
        reasons = sorted({str(reason) for reason in dataset["skipped"].values if reason})
        return [
            Finding(
                "No recurrent state could be followed through time.",
                "; ".join(reasons[:2]),
                "Call an nn.RNN, nn.GRU or nn.LSTM, or a cell with the state that it returned.",
                "note",
            )
        ]
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.text("phase"), []).append(row)
    order = ("chaotic", "vanishing", "not determined", "critical")
    return [_finding(phase, groups[phase]) for phase in sorted(groups, key=order.index)]


def _finding(phase: str, rows: Sequence[Row]) -> Finding:
    """Return what rows of one phase say: the numbers are those of the row in which the phase is strongest."""
    exponents = np.nan_to_num([row["exponent"] for row in rows], nan=0.0)
    row = rows[int(np.argmax(np.abs(exponents)))]
    steps = int(row["steps"])
    who = listed([row.text("layer") for row in rows])
    evidence = _evidence(row) if len(rows) == 1 else f"{row.text('layer')}: {_evidence(row)}"
    rate = abs(row["exponent"])
    if phase == "vanishing":
        reach = row["reach"]
        far = f"{reach:.0f} of {steps} steps" if math.isfinite(reach) else f"all {steps} steps"
        every = f": it falls by a factor e every {1 / rate:.2g} steps" if rate > 0 else ""
        severity: Severity = "warning" if reach < steps / 2 else "note"
        where = who if len(rows) == 1 else f"{row.text('layer')}, the shortest of {len(rows)} layers"
        sentence = f"The gradient of the last step reaches back {far} in {where}{every}."
        return Finding(sentence, evidence, _longer(row), severity, "phase")
    if phase == "chaotic":
        sentence = (
            f"The state of {who} is chaotic: a small change grows by a factor e every {1 / rate:.2g} steps, "
            "and so does the gradient, backwards."
        )
        action = (
            f"Multiply the recurrent weights ({_weight(row, 'weight_hh')}) by exp(-{rate:.3g}) = "
            f"{math.exp(-rate):.3g} and measure again; clip gradients by their norm."
        )
        return Finding(sentence, evidence, action, "warning", "phase")
    if phase == "critical":
        sentence = (
            f"States and gradients stay of order one through all {steps} steps in {who}: critical in time."
        )
        return Finding(sentence, evidence, "", "ok", "phase")
    return Finding(
        f"Whether the state of {who} remembers or forgets over {steps} steps is not determined.",
        evidence,
        "Pass longer sequences, or more of them.",
        "note",
        "phase",
    )


def _evidence(row: Row) -> str:
    parts = [row.text("reason")]
    if math.isfinite(row["exponent_untrained"]):
        parts.append(f"untrained {row.estimate('exponent_untrained')}")
    gate = _GATED.get(row.text("operator"))
    if gate and math.isfinite(row["keep"]):
        parts.append(f"{gate} {row['keep']:.3g} on average")
    return "; ".join(parts)


def _longer(row: Row) -> str:
    """Return what makes the memory of a layer longer."""
    steps, units = int(row["steps"]), int(row["units"])
    gate = _GATED.get(row.text("operator"))
    if gate:
        return (
            f"Raise the bias of the {gate} by 1 if the task needs a longer memory (entries {units} to "
            f"{2 * units - 1} of {_weight(row, 'bias_ih')}). Biases ln(u), with u drawn evenly from 1 to "
            f"{max(steps - 1, 2)}, spread the memories of the units over the sequence."
        )
    rate = -row["exponent"] if math.isfinite(row["exponent"]) else 0.0
    scale = f", or multiply them by exp({rate:.3g}) = {math.exp(min(rate, 50.0)):.3g} and measure again"
    return (
        f"Draw the recurrent weights ({_weight(row, 'weight_hh')}) orthogonal{scale if rate else ''}, if the "
        "task needs a longer memory. An LSTM or GRU keeps a state more easily."
    )


def _weight(row: Row, name: str) -> str:
    """Return the name of a parameter of the layer, as the model knows it."""
    module, layer = row.text("module"), row.text("layer").split(" (")[0]
    suffix = layer.removeprefix(module).lstrip(".")
    suffix = f"_{suffix}" if suffix.startswith("l") and "Cell" not in row.text("kind") else ""
    return f"{module}.{name}{suffix}".lstrip(".")


def _steps(row: Row, name: str) -> str:
    return f"> {row['steps']:.0f}" if math.isnan(row[name]) else f"{row[name]:.3g}"


def _draw(axes: Axes, dataset: xr.Dataset, name: str, title: str, along: str) -> None:
    """Draw one curve of each layer."""
    from phasescope import plotting

    rows = Row.measured(dataset)
    places = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_CURVES)).round().astype(int)
    chosen = [rows[place] for place in places]
    lag = dataset["lag"].values
    colours = [plotting.MEASURED, plotting.THEORY, *plotting.PHASE_COLOURS.values()]
    for row, colour in zip(chosen, colours, strict=False):
        curve, error = row.array(name), np.nan_to_num(row.array(f"{name}_error"))
        axes.plot(lag, _exp(curve), color=colour, label=row.short_name(20))
        axes.fill_between(lag, _exp(curve - error), _exp(curve + error), color=colour, alpha=0.25, lw=0)
    axes.axhline(0.01, color=plotting.INK, lw=0.8, ls=":", alpha=0.7)
    axes.set(title=title, xlabel=along, ylabel="norm, relative", yscale="log")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-12), min(high, 1e12))
    if chosen:
        axes.legend(loc="best")


def _exp(logs: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(np.clip(logs, -600.0, 600.0)))
