"""The steps of ``phasescope dfa``."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from phasescope import noise, report
from phasescope.cli.progress import progress
from phasescope.cli.series import read_series
from phasescope.errors import InputError

_WIDTH = 80


def run(
    path: Path, *, column: str | None, order: int, out: Path, as_json: bool, seed: int, command: str
) -> tuple[str, int]:
    """Measure a series, write its page, and return what to print and the exit code."""
    if order not in (1, 2, 3):
        raise InputError(f"--order {order} is not offered.", "Use 1, 2 or 3.")
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range.", "Use a whole number from 0 to 4294967295.")
    series = read_series(path, column)
    report.check_writable(out)
    with progress(1) as step:
        step(f"{path.name}: {len(series)} values and their nulls")
        found = noise.verdict(series, order=order, seed=seed)
    name = path.name if column is None else f"{path.name}, column {column}"
    page = report.save_noise(found, out, name=name, command=command)
    if as_json:
        return json.dumps({**found.to_dict(), "page": str(page)}, indent=1, allow_nan=False), 0
    return f"{name}: {len(series)} values\n{_as_text(found)}\n\npage: {page}", 0


def _as_text(found: noise.Verdict) -> str:
    """Return the verdict with its nulls, then F(n) as a table, within 80 columns."""
    lines = [
        wrapped
        for line in str(found).splitlines()
        for wrapped in textwrap.wrap(line, _WIDTH, subsequent_indent="  ") or [""]
    ]
    if found.test is None:
        return "\n".join(lines)
    lines += ["", f"{'window n':>10}{'F(n)':>14}{'short memory':>16}{'scaling':>14}"]
    test = found.test
    lines += [
        f"{n:>10}{measured:>14.5g}{short:>16.5g}{scaling:>14.5g}"
        for n, measured, short, scaling in zip(
            test.windows, test.measured, test.short_memory, test.scaling, strict=True
        )
    ]
    return "\n".join(lines)
