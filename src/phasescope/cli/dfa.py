"""The steps of ``phasescope dfa``."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phasescope import noise, report
from phasescope.cli.progress import progress
from phasescope.cli.study_progress import duration
from phasescope.cli.terminal import say
from phasescope.data import read_series
from phasescope.errors import InputError
from phasescope.estimate import Estimate

if TYPE_CHECKING:
    from phasescope.cli.commands import Dfa

_WIDTH = 80
_OUT = Path("phasescope-dfa")
_LONG = 100_000  # values from which on the time is told beforehand
_SECONDS_A_VALUE = 1.5e-4
_LEFT_OUT = (
    "--quick leaves out the search for periods, the simulated series of short memory and of scaling noise, "
    "the copies of the series and the spectrum: alpha alone does not tell what kind of noise it is."
)


def run(asked: Dfa, *, command: str) -> tuple[str, int]:
    """Measure a series, write its page (with --json only on request); return what to print and the code."""
    if asked.order not in (1, 2, 3):
        raise InputError(f"--order {asked.order} is not offered.", "Use 1, 2 or 3.")
    if not 0 <= asked.seed < 2**32:
        raise InputError(f"--seed {asked.seed} is out of range.", "Use a whole number from 0 to 4294967295.")
    out = asked.out or (None if asked.json else _OUT)
    series = read_series(
        asked.file,
        column=asked.column,
        separator=asked.separator,
        decimal=asked.decimal,
        header=asked.header,
        missing=asked.missing,
        gaps=asked.gaps,
        axis=asked.axis,
    )
    if out is not None:
        report.check_writable(out)
    values, notes = series.values, list(series.notes)
    if asked.integrate:
        values = np.cumsum(values - values.mean())
        notes.append("The series was summed (--integrate): the alpha of the file itself is lower by 1.")
    if len(values) > _LONG and not asked.quick:
        seconds = len(values) * _SECONDS_A_VALUE
        say(f"{len(values)} values and their nulls: about {duration(seconds)}; --quick takes seconds.")
    with progress(1) as step:
        step(f"{asked.file.name}: {len(values)} values{'' if asked.quick else ' and their nulls'}")
        found = _quick(values, asked) if asked.quick else _whole(values, asked)
    name = asked.file.name + (f", {series.name}" if series.name else "")
    page = None
    if out is not None:
        said = (series.taken, *notes)
        page = report.save_noise(found, out, name=name, command=command, said=said)
    if asked.json:
        answer = {**found.to_dict(), "taken": series.taken, "gaps": series.gaps, "notes": notes}
        answer |= {"integrated": asked.integrate, "quick": asked.quick}
        answer |= {} if page is None else {"page": str(page)}
        return json.dumps(answer, indent=1, allow_nan=False), 0
    head = [f"{name}: {len(values)} values", series.taken, *(f"Note: {note}" for note in notes)]
    return f"{_wrapped(head)}\n{_as_text(found)}\n\npage: {page}", 0


def _whole(values: NDArray[np.float64], asked: Dfa) -> noise.Verdict:
    return noise.verdict(values, order=asked.order, seed=asked.seed)


def _quick(values: NDArray[np.float64], asked: Dfa) -> noise.Verdict:
    """Return the exponents without a verdict."""
    found = noise.dfa(values, order=asked.order)
    if found.reason[()]:
        return _whole(values, asked)
    left_out = Estimate.not_determined("left out by --quick")
    nothing = np.empty(0)
    not_searched = noise.Lines(nothing, nothing, nothing, 0.0, values, None)
    return noise.Verdict(
        kind="not determined",
        reason=_LEFT_OUT,
        fluctuations=found,
        test=None,
        lines=not_searched,
        shuffled=left_out,
        phase_randomised=left_out,
        spectral=left_out,
        difference=left_out,
    )


def _wrapped(lines: list[str]) -> str:
    return "\n".join(
        part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent="  ") or [""]
    )


def _as_text(found: noise.Verdict) -> str:
    """Return the verdict with its nulls, then F(n) as a table, within 80 columns."""
    lines = [_wrapped(str(found).splitlines())]
    test = found.test
    if test is None:
        return "\n".join(lines)
    lines += ["", f"{'window n':>10}{'F(n)':>14}{'short memory':>16}{'scaling':>14}"]
    lines += [
        f"{n:>10}{measured:>14.5g}{short:>16.5g}{scaling:>14.5g}"
        for n, measured, short, scaling in zip(
            test.windows, test.measured, test.short_memory, test.scaling, strict=True
        )
    ]
    return "\n".join(lines)
