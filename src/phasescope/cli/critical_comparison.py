"""The table of ``phasescope critical --compare``: one column an activation, one row a number."""

from __future__ import annotations

import json
import math
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

from phasescope.activations import Activation
from phasescope.theory import CriticalPoint
from phasescope.theory.flow import EXPLODES, VANISHES, KernelFlow
from phasescope.theory.moments import mean_square_slope, second_moment_slope

_NARROWEST, _WIDEST = 40, 160
_LONGEST = 24  # letters of a name
_STARTS = (0.01, 1.0)
_MOST_LAYERS = 10_000
_FATES = {VANISHES: "vanishes", EXPLODES: "explodes"}
_ATTRACTS = {True: "yes", False: "no, repels", None: "from one side"}


class Compared(NamedTuple):
    """One activation of the table: what it is called, and what a single answer says of it."""

    label: str
    activation: Activation
    point: CriticalPoint
    answer: dict[str, Any]


def compared(found: Sequence[Compared], *, as_json: bool) -> str:
    """Return the table, or the list of answers as JSON."""
    answers = [{**each.answer, **_more(each.activation, each.point)} for each in found]
    if as_json:
        return json.dumps(answers, indent=2, allow_nan=False)
    labels = [each.label for each in found]
    labels = [label if len(label) <= _LONGEST else f"...{label[3 - _LONGEST :]}" for label in labels]
    return _table(labels, answers)


def _more(activation: Activation, point: CriticalPoint) -> dict[str, Any]:
    """Return what a single answer does not hold: ratio, susceptibilities, layers survived, vertex rate."""
    flow = KernelFlow(activation)
    # Without a critical point, the weights that keep K = 1.
    C_W, C_b = (1 / flow.square(1.0), 0.0) if point.C_W is None else (point.C_W, point.C_b or 0.0)
    layers = {}
    for start in _STARTS:
        grown, shrunk = flow.layers(start, C_W, C_b, most=_MOST_LAYERS)
        number = next((int(each[0]) for each in (grown, shrunk) if not math.isnan(each[0])), None)
        fate = _FATES.get(flow.fate(start, C_W, C_b), "settles")
        # It stays there in theory only.
        repelled = number is None and C_W * second_moment_slope(activation, start) > 1 + 1e-6
        layers[f"{start:g}"] = {"layers": number, "fate": "repelled" if repelled else fate}
    return {
        "ratio_range": None if point.ratio_range is None else list(point.ratio_range),
        "used": {"C_W": C_W, "C_b": C_b},
        "chi_parallel": C_W * second_moment_slope(activation, 1.0),
        "chi_perpendicular": None if activation.jumps else C_W * mean_square_slope(activation, 1.0),
        "tenfold": layers,
        "nu": point.nu,
    }


def _rows(answer: dict[str, Any]) -> dict[str, str]:
    none = answer["universality_class"] == "none"
    low, high = answer["ratio_range"] or (None, None)
    attracts = "-" if none else "every K stays" if answer["K"] is None else _ATTRACTS[answer["stable"]]
    made = {
        "class": answer["universality_class"],
        "K* attracts": attracts,
        "C_W": f"({answer['used']['C_W']:.5g})" if none else f"{answer['C_W']:.7g}",
        "C_b": _number(answer["C_b"], 7),
        "K*": "any" if not none and answer["K"] is None else _number(answer["K"], 7),
        "a1": _number(answer["a1"]),
        "b1": _number(answer["b1"]),
        "ratio, lowest": _number(low, 6),
        "ratio, highest": _number(high, 6),
        "chi_par": _number(answer["chi_parallel"]),
        "chi_perp": _number(answer["chi_perpendicular"]),
    }
    for start, found in answer["tenfold"].items():
        number = "never" if found["layers"] is None else str(found["layers"])
        made[f"K_1 = {start}"] = f"{number}, {found['fate']}"
    return {**made, "nu": _number(answer["nu"])}


def _number(value: float | None, digits: int = 5) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def _table(labels: Sequence[str], answers: Sequence[dict[str, Any]]) -> str:
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    columns = [[label, *_rows(answer).values()] for label, answer in zip(labels, answers, strict=True)]
    heads = ["", *_rows(answers[0])]
    margin = max(map(len, heads))
    lines: list[str] = []
    while columns:
        # As many columns as fit; the others stand below.
        taken, used = 0, margin
        while taken < len(columns) and (not taken or used + 2 + _widest(columns[taken]) <= width):
            used += 2 + _widest(columns[taken])
            taken += 1
        block, columns = columns[:taken], columns[taken:]
        lines += [""] if lines else []
        for row, head in enumerate(heads):
            cells = "".join(f"  {column[row]:>{_widest(column)}}" for column in block)
            lines.append(f"{head:<{margin}}{cells}")
    notes = [
        "Ratio: chi_par/chi_perp over all K; chi_par and chi_perp: at K = 1; K_1: after how many layers the "
        "kernel has changed tenfold from there, and where it goes in the end (repelled: it stays only there, "
        "exactly); nu: Var(K) = nu K^2 L/n."
    ]
    none = [label for label, answer in zip(labels, answers, strict=True) if answer["instead"]]
    if none:
        notes.append(
            f"No critical point: {', '.join(none)}. C_W in brackets keeps K = 1 without bias, and chi_par, "
            "chi_perp and K_1 are for it. `phasescope critical NAME` says what to use instead."
        )
    return "\n".join([*lines, "", *(line for note in notes for line in unbroken(note, width))])


def unbroken(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Return the text in lines that break no equation and no interval."""
    tied = text
    for part in (" = ", "e-06, ", "C_W g"):
        tied = tied.replace(part, part.replace(" ", "\xa0"))
    wrapped = textwrap.wrap(tied, width, initial_indent=first, subsequent_indent=rest)
    return [line.replace("\xa0", " ") for line in wrapped]


def _widest(column: Sequence[str]) -> int:
    return max(map(len, column))
