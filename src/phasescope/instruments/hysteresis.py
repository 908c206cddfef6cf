"""Whether a recurrent state remembers where its input came from, beside the untrained network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments.contract import Finding, Instrument, Severity
from phasescope.instruments.rows import Column, Layout, Row
from phasescope.recording.circumstances import circumstances
from phasescope.recording.forward import run
from phasescope.recording.layers import observed
from phasescope.recording.memory import default_limit, in_bytes, samples_that_fit
from phasescope.recording.modules import as_module
from phasescope.recording.sequences import Sequences, as_sequences
from phasescope.recording.untouched import alone, quiet, untouched

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.recurrent import HysteresisLoop
    from phasescope.recurrent.held_inputs import InputLine

_KNOBS = ("input bias", "recurrent gain")
_POINTS = 41
_STARTS = 8  # random states that the scan starts from
_FEWEST = 3
_FRESH, _FRESH_STARTS = 3, 3  # untrained networks, and random states of each
_UNTRAINED = 20240806  # added to the seed: that of the user's own network is often the same small number
_TIMES = (1, 2, 4, 8)  # dwells, in units of the first
_COPIES = 5.0  # of the readings, while areas are taken
_LAYOUT = Layout(
    {"verdict": 17, "area": 20, "untrained": 12, "jumps up": 20, "jumps down": 20},
    ("untrained", "jumps down", "jumps up"),
    gap=1,
)
_ORDER = ("bistable", "not determined", "slow relaxation", "smooth")


class Hysteresis(Instrument):
    r"""Finds out whether a recurrent state is a memory of where its input, or its gain, came from.

    Of each ``nn.RNN``, ``nn.GRU``, ``nn.LSTM`` or cell, all its layers and directions as one state, the input
    is held constant and a knob goes up and down in small steps, the state carried on: at four dwells, each
    twice as slow as the one before. The area between the two ways is extrapolated to slow change, and in
    mid-loop both branches are held to see whether they last. Beside it stand three untrained networks under
    the same knob. The work is done by ``recurrent.hysteresis_loop``.

    Parameters
    ----------
    knob : {"input bias", "recurrent gain"}
        What goes up and down: the input along the direction in which the real inputs of the layer vary most,
        everything else at their mean; or a factor of the recurrent weights, with the input at its mean.
    values : array of shape (value,), optional
        Knob values, rising; by default 41 over the range of the real inputs, or from 0 to 2.
    dwell : int
        Steps at each value in the fastest scan; the slowest takes 8 times as many.

    Raises
    ------
    InputError
        If `knob` is neither, the values do not rise, or `dwell` is below 1.

    Notes
    -----
    It refuses feed-forward networks, which carry no state. The verdict of each row is "bistable", "slow
    relaxation", "smooth" or "not determined", as ``recurrent.hysteresis_loop`` says, from 8 random initial
    states. A memory that needs another direction of the input, or a change in time, is not seen. The error of
    a jump is at least half a step of the knob.

    Cost: two passes over `values` of 8 dwells each, and 16 dwells more, for a batch of 32 states and three
    times 12. For an LSTM of 64 units 3 s on one core, most of it independent of the number of units.

    References: Aguilera et al. 2024, arXiv:2408.02326 (hysteresis of curved networks).
    """

    name = "hysteresis"
    title = "Memory of where the input came from"

    def __init__(self, knob: str = "input bias", values: Any = None, dwell: int = 4) -> None:
        if knob not in _KNOBS:
            raise InputError(f"knob is {knob!r}.", f"Give one of {', '.join(map(repr, _KNOBS))}.")
        self.knob = knob
        self.values: tuple[float, ...] | None = None
        if values is not None:
            rising = np.asarray(values, dtype=np.float64)
            if rising.ndim != 1 or rising.size < 3 or not (np.diff(rising) > 0).all():
                raise InputError(f"values hold {rising.size} numbers that do not rise.", "Give at least 3.")
            if not np.isfinite(rising).all():
                raise InputError("values are not finite.", "Give finite numbers, rising.")
            self.values = tuple(rising.tolist())
        if int(dwell) < 1:
            raise InputError(f"dwell is {dwell}.", "Give the steps at each value, at least 1.")
        self.dwell = int(dwell)

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        try:
            module = as_module(model)
            if not _recurrent(module):
                return "a feed-forward network has no state to carry from one input to the next"
            as_sequences(module, batch)
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
        from phasescope.noise import reinitialised

        module = as_module(model)
        inputs = as_sequences(module, batch)
        limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
        notes = list(inputs.notes)
        with untouched(module, derivatives=False), torch.no_grad():
            quiet(module)
            lines, skipped = _lines(module, inputs, limit, notes)
            fresh: list[nn.Module] = []
            try:
                for number in range(_FRESH):
                    fresh.append(reinitialised(module, seed=seed + _UNTRAINED + number))
            except InputError as refused:
                notes.append(f"untrained networks were not measured: {refused}")
            rows: dict[str, _Measured] = {}
            for path, line in lines.items():
                found = self._row(module, fresh, path, line, seed, limit)
                if isinstance(found, str):
                    skipped[path] = found
                else:
                    rows[path] = found
        attrs = {
            "instrument": self.name,
            "knob": self.knob,
            **circumstances(module, inputs, seed=seed),
            "citations": "aguilera2025",
            "notes": json.dumps(notes),
        }
        return _dataset(module, rows, skipped, self.dwell, attrs)

    def _row(
        self, module: nn.Module, fresh: list[nn.Module], path: str, line: InputLine, seed: int, limit: float
    ) -> _Measured | str:
        """Return the loop of one recurrent module and the areas of untrained ones, or why there is none."""
        from phasescope.recurrent.held_inputs import HeldNetwork
        from phasescope.recurrent.hysteresis import hysteresis_loop

        values = self.values
        if values is None and self.knob == _KNOBS[1]:
            values = tuple(np.linspace(0.0, 2.0, _POINTS).tolist())
        if values is None:
            if not line.varies:
                return "its inputs are all the same, so that their range gives no values of the knob"
            values = tuple(np.linspace(line.low, line.high, _POINTS).tolist())
        network = HeldNetwork(module.get_submodule(path), line, self.knob)
        if not network.finite:
            return "its weights are NaN or infinite"
        dwells = tuple(self.dwell * times for times in _TIMES)
        each = 8.0 * 2 * len(values) * (len(dwells) * _COPIES * sum(network.hidden) + network.state_size)
        starts = min(_STARTS, int(limit // each))
        if starts < _FEWEST:
            raise MemoryLimitError(
                f"The states of {path or 'the model'} take {_FEWEST * each / 1e6:.1f} MB, more than "
                f"max_memory = {limit / 1e6:.1f} MB. Raise max_memory, or give fewer values."
            )

        def loop(one: HeldNetwork, rows: int) -> HysteresisLoop:
            start = one.start(rows, seed)
            return hysteresis_loop(one.step, start, values, dwells=dwells, read=one.read, seed=seed)

        found = loop(network, starts)
        if not found.area.determined:
            return found.area.reason
        areas = []
        for one in fresh:
            untrained = HeldNetwork(one.get_submodule(path), line, self.knob)
            areas.append(loop(untrained, _FRESH_STARTS).area.value)
        return _Measured(found, np.array([area for area in areas if math.isfinite(area)]), network.kind)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        with plotting.style():
            drawn, (left, right) = plotting.figure(2, panel_size=(4.4, 3.4))
            row = _main(dataset)
            _draw_loop(left, dataset, row)
            _draw_areas(right, dataset, row)
        return {"hysteresis": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        return "\n".join([f"{self.title}: {dataset.attrs['knob']}", "", *_LAYOUT.lines(dataset, _cells)])


def _cells(row: Row) -> dict[str, str]:
    """Return the texts of a line of the table by column."""
    return {
        "verdict": row.text("verdict"),
        "area": str(row.estimate("area")),
        "untrained": f"{row['area_null']:.3g}" if math.isfinite(row["area_null"]) else "-",
        "jumps up": _jump(row, "jump_up"),
        "jumps down": _jump(row, "jump_down"),
    }


CAPTIONS = {
    "hysteresis": (
        "Left: the state of the layer with the largest loop, along the direction in which its ends differ, "
        "as the knob goes up and down; pale, the fastest scan. Right: area between the two ways against the "
        "number of steps at each value, with its extrapolation; dotted, untrained networks."
    ),
}

COLUMNS = (
    Column("verdict", "verdict", "bistable, slow relaxation, smooth or not determined"),
    Column("area", "area", "area between the two ways in the limit of slow change, state times knob"),
    Column("area_null", "untrained", "area of untrained networks under the same knob"),
    Column("jump_up", "jumps up", "value of the knob at which the state jumps on the way up"),
    Column("jump_down", "jumps down", "value of the knob at which the state jumps on the way down"),
    Column("kept", "kept", "share of the gap that is left after 8 of the slowest dwells in mid-loop"),
)
"""What a page shows of each row."""

_VARIABLES = {  # name: (unit, what it is)
    "area": ("knob", "area between the two ways in the limit of slow change, root mean square over units"),
    "area_null": ("knob", "mean area of untrained networks under the same knob"),
    "area_null_sd": ("knob", "standard deviation of the area over untrained networks"),
    "jump_up": ("knob", "value of the knob at which the state jumps on the way up"),
    "jump_down": ("knob", "value of the knob at which the state jumps on the way down"),
    "width": ("knob", "distance between the two jumps"),
    "kept": ("1", "share of the gap that is left after 8 of the slowest dwells in mid-loop"),
    "middle": ("knob", "value of the knob in mid-loop"),
    "area_by_dwell": ("knob", "area between the two ways at each dwell"),
    "value": ("knob", "values of the knob"),
    "up": ("1", "state on the way up, along the direction in which its ends differ, mean over starts"),
    "down": ("1", "state on the way down, likewise"),
}


class _Measured:
    """The loop of one recurrent module, and what a row of the dataset holds of it."""

    def __init__(self, loop: HysteresisLoop, fresh: np.ndarray, kind: str) -> None:
        self.loop, self.kind = loop, kind
        starts = loop.areas.shape[1]
        kept = loop.kept[-1] / loop.kept[0] if loop.kept[0] > 0 else 0.0
        self.values: dict[str, Any] = {
            "area_null": fresh.mean() if fresh.size else math.nan,
            "area_null_sd": fresh.std(ddof=1) if fresh.size > 1 else math.nan,
            "kept": kept,
            "middle": loop.middle,
            "area_by_dwell": loop.areas.mean(axis=1),
            "area_by_dwell_error": loop.areas.std(axis=1, ddof=1) / math.sqrt(starts),
            "value": loop.values,
        }
        estimates = {
            "area": loop.area,
            "jump_up": loop.jump_up,
            "jump_down": loop.jump_down,
            "width": loop.width,
        }
        for name, estimate in estimates.items():
            self.values |= {name: estimate.value, f"{name}_error": estimate.error}
        up, down = loop.up.mean(axis=2), loop.down.mean(axis=2)
        ends = up[-1, -1] - up[-1, 0]
        apart = up[-1] - down[-1]
        axis = ends if np.linalg.norm(ends) > 1e-9 else apart[np.argmax(np.square(apart).sum(axis=-1))]
        norm = np.linalg.norm(axis)
        axis = axis / norm if norm > 0 else np.full_like(axis, 1 / math.sqrt(axis.size))
        self.values |= {"up": up @ axis / math.sqrt(axis.size), "down": down @ axis / math.sqrt(axis.size)}


def _recurrent(module: nn.Module) -> dict[str, nn.Module]:
    return {
        path: part
        for path, part in module.named_modules()
        if isinstance(part, (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell))
    }


def _lines(
    module: nn.Module, inputs: Sequences, limit: float, notes: list[str]
) -> tuple[dict[str, InputLine], dict[str, str]]:
    """Return along which line the real inputs of each recurrent module vary, and why some have none."""
    from phasescope.recurrent.held_inputs import InputLine

    parts = _recurrent(module)
    calls: dict[str, list[Tensor]] = {}

    def keep(path: str, part: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls.setdefault(path, []).append(InputLine.rows(args[0]).clone())

    def work(number: int) -> None:
        calls.clear()
        with observed(parts, keep):
            run(module, inputs.take(0, number), inputs)

    number = samples_that_fit(module, work, inputs.size, limit)
    if number < inputs.size:
        notes.append(f"the inputs of {number} of {inputs.size} sequences gave the range of the knob")
    work(number)
    lines: dict[str, InputLine] = {}
    skipped = {path: "not called in forward" for path in parts if path not in calls}
    for path, seen in calls.items():
        try:
            lines[path] = InputLine(seen)
        except InputError as refused:
            skipped[path] = refused.what
    return lines, skipped


def _dataset(
    module: nn.Module, rows: dict[str, _Measured], skipped: dict[str, str], dwell: int, attrs: dict[str, Any]
) -> xr.Dataset:
    """Return the dataset: a row for each recurrent module, and one for each module without a state."""
    import xarray as xr

    parts = {
        path: part
        for path, part in module.named_modules()
        if path in rows or path in skipped or not list(part.children())
    }
    places = max((len(one.loop.values) for one in rows.values()), default=1)
    curve: tuple[int, ...] = (len(_TIMES), places)
    shapes = {"area_by_dwell": curve[:1], "value": curve[1:], "up": curve, "down": curve}
    dims = {0: ("layer",), 2: ("layer", "dwell", "place")}
    data: dict[str, Any] = {}
    for name in (*_VARIABLES, *(f"{base}_error" for base in _WITH_ERRORS)):
        base = name.removesuffix("_error")
        unit, what = _VARIABLES[base]
        shape = shapes.get(base, ())
        empty = np.full(shape, np.nan)
        column = np.array([rows[path].values[name] if path in rows else empty for path in parts])
        along = ("layer", "place" if base == "value" else "dwell") if len(shape) == 1 else dims[len(shape)]
        described = {"units": unit, "long_name": what if base == name else f"one standard error of: {what}"}
        data[name] = (along, column, described)

    def text(value: Callable[[_Measured], str]) -> tuple[str, list[str]]:
        return "layer", [value(rows[path]) if path in rows else "" for path in parts]

    coordinates = {
        "layer": [path or type(part).__name__ for path, part in parts.items()],
        "dwell": ("dwell", [dwell * times for times in _TIMES], {"units": "time steps"}),
        "place": np.arange(places),
        "kind": ("layer", [type(part).__name__ for part in parts.values()]),
        "verdict": text(lambda row: row.loop.verdict),
        "reason": text(lambda row: row.loop.reason),
        "closed": text(lambda row: "yes" if row.loop.closed else "no"),
        "skipped": ("layer", [_why_not(path, rows, skipped) for path in parts]),
    }
    return xr.Dataset(data, coordinates, attrs)


_WITH_ERRORS = ("area", "jump_up", "jump_down", "width", "area_by_dwell")


def _why_not(path: str, rows: dict[str, _Measured], skipped: dict[str, str]) -> str:
    return "" if path in rows else skipped.get(path, "it keeps no state in time")


def _main(dataset: xr.Dataset) -> Row | None:
    """Return the row with the largest loop, bistable ones first."""
    rows = Row.measured(dataset)
    return min(rows, key=lambda row: (_ORDER.index(row.text("verdict")), -row["area"]), default=None)


def _findings(dataset: xr.Dataset) -> list[Finding]:
    """Return one finding for the layers of each verdict, with the numbers of the largest loop."""
    rows = Row.measured(dataset)
    if not rows:
        reasons = sorted({str(reason) for reason in dataset["skipped"].values if reason})
        return [
            Finding(
                "No recurrent state could be taken along the knob.",
                "; ".join(reasons[:2]),
                "Call nn.RNN, nn.GRU, nn.LSTM or their cells on inputs that differ.",
                "note",
            )
        ]
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: -row["area"]):
        groups.setdefault(row.text("verdict"), []).append(row)
    return [_finding(verdict, groups[verdict], dataset) for verdict in _ORDER if verdict in groups]


def _finding(verdict: str, rows: Sequence[Row], dataset: xr.Dataset) -> Finding:
    row, knob = rows[0], str(dataset.attrs["knob"])
    what = "input" if knob == _KNOBS[0] else "factor of the recurrent weights"
    who = f"The state of {row.text('layer')}" + (f" (and {len(rows) - 1} more)" if len(rows) > 1 else "")
    slowest = int(dataset["dwell"].values[-1])
    evidence = row.text("reason")
    if math.isfinite(row["area_null"]):
        spread = f" ± {row['area_null_sd']:.2g}" if math.isfinite(row["area_null_sd"]) else ""
        evidence += f"; untrained {row['area_null']:.2g}{spread} (standard deviation)"
    severity: Severity = "note"
    if verdict == "bistable":
        up, down = row.estimate("jump_up"), row.estimate("jump_down")
        if row.text("closed") == "no":
            sentence = f"{who} is bistable: it depends on whether the {what} came from below or above."
            action = (
                "The loop does not close within the values: what was written stays. Give values that reach "
                "further down, to see whether the memory can be erased and how large the loop is."
            )
            return Finding(sentence, evidence, action, severity, "phase")
        sentence = (
            f"{who} is bistable: between {down.value:.3g} and {up.value:.3g} it depends on whether "
            f"the {what} came from below or above."
        )
        evidence = f"jumps up at {up}, down at {down}; {evidence}"
        one = "an input" if knob == _KNOBS[0] else "a factor"
        action = (
            f"This is a memory: {one} above {up.value:.3g} writes "
            f"it, one below {down.value:.3g} erases it. If nothing is to be remembered, reset the state "
            "between sequences, or lower the recurrent weights."
        )
        return Finding(sentence, evidence, action, severity, "phase")
    if verdict == "slow relaxation":
        sentence = (
            f"{who} lags behind its {what} and keeps no memory: the loop closes when the change is slow."
        )
        action = (
            f"Nothing needs to be done unless a memory of more than {slowest} steps is wanted; then raise "
            "the recurrent weights, or the bias of the forget gate."
        )
        return Finding(sentence, evidence, action, severity, "phase")
    if verdict == "smooth":
        sentence = f"{who} follows its {what}: where it came from leaves no trace."
        return Finding(sentence, evidence, "", "ok", "phase")
    sentence = f"Whether t{who[1:]} remembers where its {what} came from is not determined."
    action = f"Measure again with dwell={2 * slowest}, or with more values around {row['middle']:.3g}."
    return Finding(sentence, evidence, action, severity, "phase")


def _jump(row: Row, name: str) -> str:
    return str(row.estimate(name)) if math.isfinite(row[name]) else "-"


def _draw_loop(axes: Axes, dataset: xr.Dataset, row: Row | None) -> None:
    """Draw the fastest and the slowest loop of one row."""
    from phasescope import plotting

    if row is not None:
        value, up, down = row.array("value"), row.array("up"), row.array("down")
        for place, alpha in ((0, 0.35), (-1, 1.0)):
            label = ("up", "down") if place else (None, None)
            axes.plot(value, up[place], color=plotting.MEASURED, alpha=alpha, label=label[0])
            axes.plot(value, down[place], color=plotting.THEORY, alpha=alpha, label=label[1])
        axes.legend(loc="best")
    title = "Loop" if row is None else f"{row.short_name(24)}: {row.text('verdict')}"
    axes.set(title=title, xlabel=str(dataset.attrs["knob"]), ylabel="state")


def _draw_areas(axes: Axes, dataset: xr.Dataset, row: Row | None) -> None:
    """Draw the areas of one row against the dwell, with their limit and the null."""
    from phasescope import plotting

    if row is not None:
        dwell = dataset["dwell"].values
        areas, errors = row.array("area_by_dwell"), row.array("area_by_dwell_error")
        axes.errorbar(dwell, areas, errors, color=plotting.MEASURED, marker="o", label="measured")
        limit = row.estimate("area")
        axes.axhline(limit.value, color=plotting.THEORY, label="limit")
        low, high = limit.value - limit.error, limit.value + limit.error
        axes.axhspan(low, high, color=plotting.THEORY, alpha=0.2, lw=0)
        if math.isfinite(row["area_null"]):
            axes.axhline(row["area_null"], color=plotting.INK, ls=":", lw=1.0, label="untrained")
        axes.set_xscale("log", base=2)
        axes.set_xticks(dwell, [str(d) for d in dwell])
        axes.legend(loc="best")
    axes.set(title="Area", xlabel="steps at each value", ylabel="area of the loop")
