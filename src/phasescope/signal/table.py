"""A profile as plain text, for terminals of 50 to 100 columns."""

from __future__ import annotations

import json
import math
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.signal.verdict import Verdict

if TYPE_CHECKING:
    import xarray as xr

_NARROWEST, _WIDEST = 50, 100
_TALL = 24  # rows beyond which repeated blocks are folded
_PERIOD = 32  # most rows of the stream in a block that repeats
_LONG = 40  # lines beyond which branches, then the middle, are left out
_KIND = 7  # columns of the kind below which it is left out
_INDENT = 2


@dataclass(frozen=True)
class _Column:
    variable: str
    title: str
    width: int

    def text(self, dataset: xr.Dataset, row: int) -> str:
        value = float(dataset.variables[self.variable].values[row])
        errors = dataset.variables.get(f"{self.variable}_error")
        if errors is not None and abs(value) < float(errors.values[row]):
            return "-"
        return _number(100 * value if self.variable == "share" else value, self.width)


# In the order of the table; the importance decides which stay where the terminal is narrow.
_COLUMNS = (
    _Column("kernel", "K", 8),
    _Column("distance", "1-c", 8),
    _Column("chi_perpendicular", "chi_perp", 8),
    _Column("chi_parallel", "chi_par", 7),
    _Column("share", "share %", 7),
    _Column("gradient", "sum grad²", 9),
)
_IMPORTANCE = ("kernel", "distance", "chi_perpendicular", "share", "gradient", "chi_parallel")


def table(dataset: xr.Dataset, decision: Verdict, *, width: int | None = None) -> str:
    """The profile as plain text, `width` columns wide: that of the terminal, within 50 and 100."""
    width = terminal_width() if width is None else min(max(width, _NARROWEST), _WIDEST)
    attrs = dataset.attrs
    inputs = f"{attrs['inputs']} input{'' if attrs['inputs'] == 1 else 's'}"
    about = (
        f"{attrs['model']}: {attrs['parameters']:,} parameters, {inputs}, {attrs['dtype']}, "
        f"{attrs['mode']} mode"
    )
    lines = [*wrapped(about, width), *wrapped(coverage(dataset), width), ""]
    lines += _body(dataset, width)
    lines += _skipped(dataset, width)
    closing = [
        f"phase: {decision.phase} ({decision.reason})",
        f"margin (mean ln chi_perp per step): {decision.margin}",
        f"total growth (ln of it): {decision.total}{growth_law(decision)}",
        f"signal depth (steps): {decision.signal_depth}",
        f"gradient depth (steps): {decision.gradient_depth}",
        *_other_chains(dataset),
        *(f"note: {note}" for note in json.loads(attrs["notes"])),
    ]
    return "\n".join([*lines, "", *(line for text in closing for line in wrapped(text, width))])


def coverage(dataset: xr.Dataset) -> str:
    """Return in one sentence how much of the network was measured."""
    found = json.loads(dataset.attrs["coverage"])
    rows, of, parameters, of_parameters = (
        int(found[key]) for key in ("rows", "of", "parameters", "of_parameters")
    )
    layers = f"{rows} of {of} rows" if rows < of else "the one row" if of == 1 else f"all {of} rows"
    if of_parameters == 0:
        return f"Measured: {layers}; there are no parameters."
    if parameters == of_parameters:
        return f"Measured: {layers}, with all parameters."
    share = 100.0 * parameters / of_parameters
    shown = min(share, 99.9) if share >= 99.95 else share  # what is not all is never printed as 100 %
    return f"Measured: {layers}, with {shown:.1f} % of the parameters."


def growth_law(decision: Verdict) -> str:
    """Return how squared differences grow, where the phase is about that, to follow a number; or ""."""
    if decision.phase not in ("ordered", "critical", "chaotic"):
        return ""
    laws = {"power": ", as a power of the depth", "exponential": ", exponential in the depth"}
    return laws.get(decision.growth, "")


def _other_chains(dataset: xr.Dataset) -> list[str]:
    """Return one line a chain beyond the main one."""
    return [
        f"chain from {chain['input']} ({chain['steps']} steps): {chain['verdict']['phase']} "
        f"({chain['verdict']['reason']})"
        for chain in json.loads(dataset.attrs["chains"])[1:]
    ]


def terminal_width() -> int:
    """Return the columns to print on: those of the terminal, within 50 and 100."""
    return min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)


def wrapped(text: str, width: int | None = None) -> list[str]:
    """Return the text as lines of at most that many columns."""
    columns = terminal_width() if width is None else width
    return textwrap.wrap(text, columns, subsequent_indent="  ", break_on_hyphens=False)


@dataclass(frozen=True)
class _Block:
    """A row and the rows of the branches that end there; rows are positions in the dataset."""

    row: int
    branch: tuple[int, ...] = ()

    def __len__(self) -> int:
        return 1 + len(self.branch)


_Line = tuple[int, int] | str  # a row and its indentation, or text


def _body(dataset: xr.Dataset, width: int) -> list[str]:
    """Return the measured rows: the stream chain by chain, each branch below the row where it ends."""
    chains = _chains(dataset)
    folded = sum(len(block) for _, blocks in chains for block in blocks) > _TALL
    columns = _fitting(dataset, width)
    planned: list[_Line] = []
    for heading, blocks in chains:
        planned += [heading] if heading else []
        planned += _folded(dataset, blocks, columns) if folded else _lines(blocks)
    planned = _shortened(dataset, planned)
    rows = [line for line in planned if not isinstance(line, str)]
    room = width - sum(1 + column.width for column in columns)
    names = dict(zip(rows, _shown_names(dataset, rows, room), strict=True))
    longest = max([5, *(len(name) + indent for (_, indent), name in names.items())])
    wanted = max([4, *(len(str(dataset["kind"].values[row])) for row, _ in rows)])
    kind_width = min(wanted, room - longest - 1)
    kind_width = 0 if kind_width < min(wanted, _KIND) else kind_width
    kinds = [_short(str(kind), kind_width) for kind in dataset["kind"].values] if kind_width else []
    left_out = [column.title for column in _COLUMNS if _is_present(dataset, column) and column not in columns]
    left_out = left_out if kind_width else ["kind", *left_out]
    head = f"{'layer':<{longest}}" + (f" {'kind':<{kind_width}}" if kind_width else "")
    head += "".join(f" {column.title:>{column.width}}" for column in columns)
    lines = [head, "-" * len(head)]
    for line in planned:
        if isinstance(line, str):
            lines += wrapped(line, width)
            continue
        row, indent = line
        text = f"{' ' * indent + names[line]:<{longest}}" + (f" {kinds[row]:<{kind_width}}" if kinds else "")
        text += "".join(f" {column.text(dataset, row):>{column.width}}" for column in columns)
        lines.append(text)
    if left_out:
        lines += ["", *wrapped(f"left out at {width} columns: {', '.join(left_out)}", width)]
    return lines


def ordered_rows(dataset: xr.Dataset) -> list[tuple[int, bool]]:
    """Return the measured rows in the order of the table, and whether each belongs to a branch."""
    lines = [line for _, blocks in _chains(dataset) for line in _lines(blocks)]
    return [(line[0], line[1] > 0) for line in lines if not isinstance(line, str)]


def _chains(dataset: xr.Dataset) -> list[tuple[str, list[_Block]]]:
    """Return the blocks of each chain, the main one first, each with a heading where there are several."""
    names = [str(name) for name in dataset["layer"].values]
    measured = [row for row, reason in enumerate(dataset["skipped"].values) if not reason]
    place, block, chain = (dataset[name].values for name in ("place", "block", "chain"))
    stream = [row for row in measured if place[row] == "stream"]
    branches: dict[str, list[int]] = {names[row]: [] for row in stream}
    loose: list[int] = []
    for row in measured:
        if place[row] != "stream":
            branches.get(str(block[row]), loose).append(row)
    inputs = [str(each["input"]) for each in json.loads(dataset.attrs["chains"])]
    found = []
    for number in sorted({int(chain[row]) for row in stream}):
        blocks = [_Block(row, tuple(branches[names[row]])) for row in stream if chain[row] == number]
        found.append((f"chain from {inputs[number]}:" if len(inputs) > 1 else "", blocks))
    if loose:
        found.append(("beside the stream:" if stream else "", [_Block(row) for row in loose]))
    return found


def _lines(blocks: Sequence[_Block]) -> list[_Line]:
    return [line for block in blocks for line in ((block.row, 0), *((row, _INDENT) for row in block.branch))]


def _folded(dataset: xr.Dataset, blocks: Sequence[_Block], columns: Sequence[_Column]) -> list[_Line]:
    """Return the lines of a chain; of four or more repetitions the first and the last, and a summary."""
    kinds = [_signature(dataset, block) for block in blocks]
    found: list[_Line] = []
    start = 0
    while start < len(blocks):
        period, times = _repetition(kinds, start)
        stop = start + period * times
        if times < 4:
            found += _lines(blocks[start : start + 1])
            start += 1
            continue
        inner = blocks[start + period : stop - period]
        found += _lines(blocks[start : start + period])
        found.append(_summary(dataset, inner, times - 2, columns))
        found += _lines(blocks[stop - period : stop])
        start = stop
    return found


def _repetition(kinds: Sequence[object], start: int) -> tuple[int, int]:
    """Return the period and the number of the repetitions from `start` on that cover most."""
    best, covered = (1, 1), 0
    for period in range(1, min((len(kinds) - start) // 4, _PERIOD) + 1):
        times = 1
        while kinds[start : start + period] == kinds[start + times * period : start + (times + 1) * period]:
            times += 1
        if times >= 4 and period * times > covered:
            best, covered = (period, times), period * times
    return best


def _signature(dataset: xr.Dataset, block: _Block) -> tuple[object, ...]:
    """Return what blocks that are alike share; a row that is not finite, or dead, is like no healthy one."""
    rows = (block.row, *block.branch)
    names, kinds = dataset.variables["layer"].values, dataset.variables["kind"].values
    return tuple((pattern(str(names[row])), str(kinds[row]), _ill(dataset, row)) for row in rows)


def _ill(dataset: xr.Dataset, row: int) -> bool:
    values = dataset.variables
    return bool(values["nonfinite"].values[row] > 0 or values["dead"].values[row] == 1)


def pattern(name: str) -> str:
    """Return the name with ``*`` in place of the numbers that count blocks, and without that of the call."""
    path = re.sub(r" \(call \d+\)", "", name)
    return re.sub(r"(?<![^.])\d+(?![^. ])", "*", path)


def _summary(dataset: xr.Dataset, blocks: Sequence[_Block], times: int, columns: Sequence[_Column]) -> str:
    ranges = []
    for column in columns:
        known = [b.row for b in blocks if column.text(dataset, b.row) != "-"]
        if known:
            values = dataset[column.variable].values
            low, high = min(known, key=lambda r: values[r]), max(known, key=lambda r: values[r])
            texts = list(dict.fromkeys(column.text(dataset, row) for row in (low, high)))
            ranges.append(f"{column.title} {' to '.join(texts)}")
    return f"... {times} blocks alike: {', '.join(ranges)} ..."


def _shortened(dataset: xr.Dataset, lines: list[_Line]) -> list[_Line]:
    """Return at most about 40 lines: without the branches, but for ill rows, then without the middle."""
    if len(lines) <= _LONG + 2:
        return lines
    kept = [line for line in lines if isinstance(line, str) or line[1] == 0 or _ill(dataset, line[0])]
    gone = len(lines) - len(kept)
    note: list[_Line] = [f"({gone} rows of branches are not shown)"] if gone else []
    if len(kept) > _LONG + 2:
        hidden = len(kept) - _LONG
        kept = [*kept[: _LONG // 2], f"... {hidden} rows ...", *kept[-_LONG // 2 :]]
    return [*kept, *note]


def _fitting(dataset: xr.Dataset, width: int) -> list[_Column]:
    """Return the columns of numbers that fit beside the names, the least important left out first."""
    present = [column for column in _COLUMNS if _is_present(dataset, column)]
    measured = [str(name) for name in dataset["layer"].values[dataset["skipped"].values == ""]]
    # A fifth of the width is kept for the names before the numbers share the rest.
    room = width - min(1 + width // 5, max([5, *map(len, measured)]))
    chosen = []
    for column in sorted(present, key=lambda each: _IMPORTANCE.index(each.variable)):
        if room >= 1 + column.width:
            chosen.append(column)
            room -= 1 + column.width
    return [column for column in present if column in chosen]


def _is_present(dataset: xr.Dataset, column: _Column) -> bool:
    return column.variable != "share" or bool((dataset["share"].values >= 0).any())


def _shown_names(dataset: xr.Dataset, rows: Sequence[tuple[int, int]], room: int) -> list[str]:
    names = dataset["layer"].values
    return short_names([str(names[row]) for row, _ in rows], [room - indent for _, indent in rows])


def short_names(names: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Return each name within its width, so that different names stay different.

    First goes the beginning of the path that most names share, then the parts of the path that tell least:
    those with the fewest alternatives at their place, numbers last. ``…`` stands for one part or more.
    """
    if all(len(name) <= width for name, width in zip(names, widths, strict=True)):
        return list(names)
    short = _without_common_start(names, widths)
    alternatives = _alternatives(short)
    taken = {name for name, width in zip(short, widths, strict=True) if len(name) <= width}
    found = []
    for name, width in zip(short, widths, strict=True):
        if len(name) > width:
            name = _cut(name, width, taken, alternatives)
            taken.add(name)
        found.append(name)
    return found


def _without_common_start(names: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Drop the first part of the path while names are too long, nearly all have it and all stay different."""
    short = list(names)
    while any(len(name) > width for name, width in zip(short, widths, strict=True)):
        starts = [name.split(".")[0] for name in short if "." in name]
        if not starts:
            return short
        common = max(dict.fromkeys(starts), key=starts.count)
        dropped = [name.removeprefix(f"{common}.") for name in short]
        if starts.count(common) < 0.8 * len(short) or len(set(dropped)) < len(set(names)):
            return short
        pairs = list(zip(dropped, short, strict=True))
        if any(name != before and name[0].isdigit() for name, before in pairs):  # what it counts is not said
            return short if len(common) == 1 else [n if n == before else f"…{n}" for n, before in pairs]
        short = dropped
    return short


def _alternatives(names: Sequence[str]) -> dict[tuple[str, ...], int]:
    """Return how many different parts follow each beginning of a path."""
    following: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        parts = tuple(name.split("."))
        for place, part in enumerate(parts):
            following.setdefault(parts[:place], set()).add(part)
    return {start: len(parts) for start, parts in following.items()}


def _cut(name: str, width: int, taken: set[str], alternatives: dict[tuple[str, ...], int]) -> str:
    parts = name.split(".")

    def tells(place: int) -> tuple[bool, int, int]:
        return parts[place].lstrip("…").isdigit(), alternatives[tuple(parts[:place])], place

    order = sorted(range(len(parts) - 1), key=tells)

    def fits(gone: set[int]) -> bool:
        short = _joined(parts, gone)
        return len(short) <= width and short not in taken

    for count in range(1, len(parts)):
        gone = set(order[:count])
        if fits(gone):
            for place in reversed(order[:count]):  # the last made it fit; some of those before may come back
                gone -= {place} if fits(gone - {place}) else set()
            return _joined(parts, gone)
    # One part alone is too long: keep both its ends, shifted until the name is its own.
    for end in [width // 2, *range(1, width - 1)]:
        short = f"{name[: width - 1 - end]}…{name[-end:]}"
        if short not in taken:
            return short
    return name  # more names than the width can tell apart


def _joined(parts: Sequence[str], gone: set[int]) -> str:
    text = ""
    for place, part in enumerate(parts):
        if place in gone:
            text += "" if text.endswith("…") else "…"
        else:
            text += part if text == "" or text.endswith("…") else f".{part}"
    return text


def _skipped(dataset: xr.Dataset, width: int) -> list[str]:
    """Return the rows that were not measured, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, reason in zip(dataset["layer"].values, dataset["skipped"].values, strict=True):
        if reason:
            reasons.setdefault(str(reason), []).append(str(name))
    if not reasons:
        return []
    count = sum(map(len, reasons.values()))
    lines = ["", f"skipped ({count} of {dataset.sizes['layer']} rows):"]
    for reason, names in reasons.items():
        lines += textwrap.wrap(
            f"{folded_names(names)}: {reason}",
            width,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return lines


def folded_names(names: Sequence[str], *, most: int = 4) -> str:
    """Return the names in a few words, those that differ by the number of their block as one."""
    if len(names) == 1:
        return names[0]
    patterns = list(dict.fromkeys(map(pattern, names)))
    more = f" and {len(patterns) - most} more" if len(patterns) > most else ""
    count = f" ({len(names)} rows)" if len(names) > len(patterns) or more else ""
    return ", ".join(patterns[:most]) + more + count


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _number(value: float, width: int) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    plain = f"{value:.4g}"
    fits = len(plain) <= width and (value == 0 or 1e-3 <= abs(value) < 1e4)
    return plain if fits else f"{value:.{width - 6 - (value < 0)}e}"
