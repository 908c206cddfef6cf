"""A profile as plain text."""

from __future__ import annotations

import json
import math
import textwrap
from typing import TYPE_CHECKING

from phasescope.signal.verdict import Verdict

if TYPE_CHECKING:
    import xarray as xr

_WIDTH = 80
_LONG = 40  # rows beyond which the middle is left out
_COLUMNS = (
    ("kernel", "K"),
    ("correlation", "c"),
    ("chi_perpendicular", "chi_perp"),
    ("chi_parallel", "chi_par"),
    ("gradient", "gradient"),
)


def table(dataset: xr.Dataset, decision: Verdict) -> str:
    """The profile as plain text, at most 80 columns wide as long as the names of the layers allow it."""
    attrs = dataset.attrs
    lines = [
        f"{attrs['model']}: {attrs['parameters']:,} parameters, {attrs['inputs']} input(s), "
        f"{attrs['dtype']}, {attrs['mode']} mode",
        "",
    ]
    skipped = [str(s) for s in dataset["skipped"].values]
    measured = [i for i, reason in enumerate(skipped) if not reason]
    lines += _table_rows(dataset, measured)
    left_out = [(str(dataset["layer"].values[i]), reason) for i, reason in enumerate(skipped) if reason]
    if left_out:
        lines += ["", f"skipped ({len(left_out)} of {len(skipped)} rows):"]
        for name, reason in left_out[:_LONG]:
            lines += _wrapped(f"  {name}: {reason}")
        if len(left_out) > _LONG:
            lines.append(f"  ... and {len(left_out) - _LONG} more")
    lines.append("")
    closing = [
        f"phase: {decision.phase} ({decision.reason})",
        f"margin (mean ln chi_perp a layer): {decision.margin}",
        f"signal depth (layers): {decision.signal_depth}",
        f"gradient depth (layers): {decision.gradient_depth}",
        *(f"note: {note}" for note in json.loads(attrs["notes"])),
    ]
    return "\n".join([*lines, *(line for text in closing for line in _wrapped(text))])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _table_rows(dataset: xr.Dataset, measured: list[int]) -> list[str]:
    names = [_short(str(n), 22) for n in dataset["layer"].values]
    kinds = [_short(str(k), 11) for k in dataset["kind"].values]
    width = max([5, *(len(names[i]) for i in measured)])
    kind_width = max([4, *(len(kinds[i]) for i in measured)])
    head = f"{'layer':<{width}} {'kind':<{kind_width}}" + "".join(f" {title:>8}" for _, title in _COLUMNS)
    lines = [head, "-" * len(head)]
    shown = measured
    gap = None
    if len(measured) > _LONG + 2:
        shown = measured[: _LONG // 2] + measured[-_LONG // 2 :]
        gap = measured[-_LONG // 2]
    for i in shown:
        if i == gap:
            lines.append(f"... {len(measured) - len(shown)} rows ...")
        cells = "".join(f" {_number(float(dataset[name].values[i])):>8}" for name, _ in _COLUMNS)
        lines.append(f"{names[i]:<{width}} {kinds[i]:<{kind_width}}{cells}")
    return lines


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width // 2 - 1] + "..." + text[-(width - width // 2 - 2) :]


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    plain = f"{value:.4g}"
    fits = len(plain) <= 8 and (value == 0 or 1e-3 <= abs(value) < 1e4)
    return plain if fits else f"{value:.1e}"
