"""The steps of ``phasescope lr-scan``."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from phasescope import __version__, report
from phasescope.cli.progress import progress
from phasescope.cli.study_progress import duration
from phasescope.cli.terminal import say
from phasescope.errors import InputError
from phasescope.regular_files import read_regular
from phasescope.sweep import write_whole
from phasescope.training import LearningRateScan, RateRow, ScanCost, estimate_cost, scan_learning_rate
from phasescope.userfiles import contents_hash, load_factory, split

if TYPE_CHECKING:
    from phasescope.cli.commands import LearningRates
    from phasescope.estimate import Estimate

_WIDTH = 80
_HEADINGS = ("rate", "exponent", "sharpness", "loss", "rises", "to target", "failed", "verdict")
_LARGEST = 100_000_000  # bytes of a kept run
_MOST = 40  # rates between --low and --high


def run(words: LearningRates, command: str) -> tuple[str, int]:
    """Say what the scan costs, make it, write its page, and return what to print and the exit code."""
    if not 0 <= words.seed < 2**32:
        raise InputError(f"--seed {words.seed} is out of range.", "Use a whole number from 0 to 4294967295.")
    if words.seeds < 1:
        raise InputError(f"--seeds {words.seeds} initialises nothing.", "Use 1 or more.")
    rates = _rates(words)
    _check_device(words.device)
    factory = load_factory(words.factory)
    report.check_writable(words.out)
    known = KeptRuns(words.out / "runs", _identity(words))
    options: dict[str, Any] = {
        "seeds": range(words.seed, words.seed + words.seeds),
        "steps": words.steps,
        "budget": words.budget,
        "known": known,
        "device": words.device,
    }
    try:
        cost = estimate_cost(factory, rates, **options)
        say(_cost_text(cost, words, len(known)))
        with progress(cost.runs + 1) as step:
            found = scan_learning_rate(
                factory, rates, target=words.target, seed=words.seed, progress=step, **options
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped with Ctrl-C; the {len(known)} finished runs are in {known.directory}, and the same "
            "command goes on from there."
        ) from None
    page = report.save_rates(found, words.out, name=words.factory, command=command)
    if words.json:
        return json.dumps({**found.to_dict(), "page": str(page)}, indent=1, allow_nan=False), 0
    return f"{as_text(found, words.factory)}\n\npage: {page}", 0


def _rates(words: LearningRates) -> list[float] | None:
    low, high = words.low, words.high
    if low is None and high is None:
        return list(words.rates) or None
    if words.rates:
        raise InputError("--rates and --low, --high were given.", "Use one of them.")
    if low is None or high is None:
        given = f"--low {low:g}" if high is None else f"--high {high:g}"
        raise InputError(f"{given} stands alone.", "Give both --low and --high.")
    if not (0 < low < high < math.inf):
        raise InputError(f"--low {low:g} --high {high:g} spans nothing.", "Use 0 < low < high.")
    count = math.ceil(math.log2(high / low) - 1e-9)
    if count >= _MOST:
        raise InputError(
            f"From --low {low:g} to --high {high:g} there are {count + 1} factors of two.",
            "Move them closer together, or name the rates with --rates.",
        )
    return [float(f"{low * (high / low) ** (k / count):.3g}") for k in range(count + 1)]


def _check_device(device: str | None) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--device {device} cannot be used: {reason}.", "Use cpu, cuda or cuda:1."
        ) from error


def _identity(words: LearningRates) -> dict[str, Any]:
    """Return what a finished run depends on, beside its rate and seed."""
    return {
        "phasescope": __version__,
        "torch": torch.__version__,
        "file": contents_hash(words.factory),
        "factory": split(words.factory)[1],
        "steps": words.steps,
        "seed": words.seed,
        "device": words.device,
    }


class KeptRuns(MutableMapping[str, dict[str, Any]]):
    """Finished runs, each in a checked file of a folder that is named after what they depend on."""

    def __init__(self, directory: Path, identity: dict[str, Any]) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.directory = directory / digest[:16]
        self._runs: dict[str, dict[str, Any]] = {}
        for path in sorted(self.directory.glob("*.json")):
            try:
                kept = json.loads(read_regular(path, _LARGEST))
                name, record = kept["content"]["run"], kept["content"]["record"]
                whole = kept["sha256"] == _checksum(kept["content"]) and path.name == _file_name(name)
            except (ValueError, KeyError, TypeError, RecursionError):
                whole = False
            if whole:
                self._runs[name] = record
            else:
                say(f"{path} is damaged; that run is made again.")

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._runs[name]

    def __setitem__(self, name: str, record: dict[str, Any]) -> None:
        content = {"run": name, "record": record}
        text = json.dumps({"sha256": _checksum(content), "content": content}, allow_nan=False)
        write_whole(self.directory / _file_name(name), text + "\n")
        self._runs[name] = record

    def __delitem__(self, name: str) -> None:
        (self.directory / _file_name(name)).unlink(missing_ok=True)
        del self._runs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def _file_name(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20] + ".json"


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _cost_text(cost: ScanCost, words: LearningRates, there: int) -> str:
    low, high = min(cost.rates), max(cost.rates)
    rates = f"{len(cost.rates)} rates from {low:g} to {high:g}" if low < high else f"rate {low:g}"
    seeds = "1 initialisation" if words.seeds == 1 else f"{words.seeds} initialisations"
    lines = [f"{rates}, {seeds} of {words.steps} steps."]
    if not cost.runs:
        return f"{lines[0]} All runs are there."
    limit = "" if words.budget is None else f"; the budget is {duration(words.budget)}"
    before = f", {there - 1} are there" if there > 1 else ""
    lines.append(f"At most {cost.runs} runs{before}, about {duration(cost.seconds)}{limit}.")
    if cost.inputs is not None:
        lines.append(f"To keep within it, tangents and sharpness take {cost.inputs} fixed inputs.")
    return "\n".join(lines)


def as_text(found: LearningRateScan, name: str) -> str:
    """Return the recommendation, one line a rate, and the findings, within 80 columns."""
    rows = [list(_HEADINGS), *(_cells(row) for row in found.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    gap = " " * (2 if sum(widths) + 2 * len(widths) <= _WIDTH + 2 else 1)
    lines = [gap.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    texts = [found.reason, *found.findings, *(f"Note: {note}." for note in found.notes)]
    return "\n".join(
        [
            f"{name}: {found.headline}",
            *_wrapped(texts[0]),
            "",
            *(line.rstrip() for line in lines),
            "",
            *(line for text in texts[1:] for line in _wrapped(text)),
        ]
    )


def _cells(row: RateRow) -> list[str]:
    return [
        f"{row.rate:g}",
        _short(row.exponent, 4),
        f"{_times(row.sharpness_start)} > {_times(row.sharpness_ratio)}",
        f"{row.final_loss.value:.2g}" if row.final_loss.determined else "-",
        f"{100 * row.rises.value:.0f} %" if row.rises.determined else "-",
        _short(row.time_to_target, 0),
        "-" if math.isnan(row.failed_share) else f"{row.failed_share:.0%}",
        row.verdict,
    ]


def _short(found: Estimate, decimals: int) -> str:
    if not found.determined:
        return "-"
    error = f"±{found.error:.{decimals}f}" if math.isfinite(found.error) else ""
    return f"{round(found.value, decimals) + 0.0:.{decimals}f}{error}"


def _times(found: Estimate) -> str:
    if not found.determined:
        return "-"
    return f"{found.value:.{2 if abs(found.value) < 10 else 0}f}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
