"""Tokens and attention: whether the tokens of a sequence stay apart, and where the heads look."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument, Severity, importance
from phasescope.instruments.rows import Column, Row
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone
from phasescope.signal.table import short_names

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNTRAINED = 20230120  # added to the seed: that of the user's own network is often the same small number
_BESIDE = ("cosine", "rank", "entropy", "sink", "passed", "spread", "head_entropy", "head_sink")
_CLASSES = re.compile(r"attention|attn|transformer(en|de)coder", re.IGNORECASE)
_MAPS = re.compile(r"(to_|w_?|c_)?(qkv|q|query|query_key_value|attn)(_?proj|_?lin(ear)?)?", re.IGNORECASE)
_NO_ATTENTION = "no module is named after attention or its queries"

_ALIKE, _SAME = 0.05, 1e-3  # 1 - mean cosine, from which tokens are said to be alike, or the same
_LOW = 0.2  # entropy, relative to uniform, of a head that looks at few keys
_EVEN = 0.99  # and of one that looks at all alike
_SINK = 0.3  # share of attention beyond uniform that makes a key a sink
_SURE = 3  # standard errors
_HEALTHY_SPREAD = 1.0  # standard deviation of logits to aim at

COLUMNS = (
    Column("cosine", "cosine", "mean cosine between the tokens of a sequence"),
    Column("cosine_untrained", "untrained", "the same of the network with its parameters drawn again"),
    Column("rank", "rank", "effective rank of the tokens of a sequence, from 1 to their number"),
    Column("rank_untrained", "untrained", "the same of the network with its parameters drawn again"),
    Column("entropy", "entropy", "entropy of attention over that of uniform attention, mean over heads"),
    Column("entropy_untrained", "untrained", "the same of the network with its parameters drawn again"),
    Column("sink", "sink", "largest share of attention that one key gets beyond uniform attention"),
    Column("sink_untrained", "untrained", "the same of the network with its parameters drawn again"),
    Column("passed", "passed", "token directions that a head passes on, from 1 to the number of tokens"),
    Column("spread", "spread", "standard deviation of the attention logits of a query"),
)
"""What a page shows of each row."""

CAPTIONS = {
    "tokens": (
        "Left: mean cosine between tokens of one sequence along the stream; 1 means that all tokens are "
        "parallel. Second: effective rank of the tokens. Third: entropy of each head over that of uniform "
        "attention; dark heads look at few keys. Right: largest share of attention that one key gets beyond "
        "uniform attention, heads as dots. Orange: the same network with its parameters drawn again."
    )
}


class TokensAndAttention(Instrument):
    r"""Measures whether the tokens of a sequence stay apart along a transformer, and what its heads look at.

    At each point of the stream the mean cosine between tokens of one sequence and the effective rank of the
    matrix of tokens; for each attention layer and head the entropy relative to uniform attention, the share
    of attention that the most watched key gets beyond uniform (a sink), the number of token directions that
    the head passes on, and the spread of the logits. The same for the network with its parameters drawn
    again. The work is done by :func:`phasescope.signal.tokens`, which defines each number.

    It applies to models with a module that is named after attention, or after its queries. The findings say
    whether tokens become alike, whether heads look at few keys only, and which heads have sinks, each with
    what to do; the figure "tokens" has cosine, rank, entropy and sinks.

    Cost: that of 10 to 25 forward passes.

    References: Dong et al. 2021, arXiv:2103.03404; Noci et al. 2022, arXiv:2206.03126; Zhai et al. 2023,
    arXiv:2303.06296; Xiao et al. 2023, arXiv:2309.17453; Giorlandino and Goldt 2025, arXiv:2505.24333.
    """

    name = "tokens"
    title = "Tokens and attention"

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        try:
            module = as_module(model)
        except InputError as refused:
            return str(refused)
        return "" if any(map(_attends, module.modules())) else _NO_ATTENTION

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
        # What it stands on takes half a second to import, which a model without attention need not wait for.
        from phasescope.noise import reinitialised
        from phasescope.signal import tokens

        module = as_module(model)
        dataset = tokens(module, batch, max_memory=max_memory)
        dataset.attrs["seed"] = seed
        notes: list[str] = json.loads(dataset.attrs["notes"])
        try:
            with torch.inference_mode(False), torch.no_grad():
                untrained = reinitialised(module, seed=seed + _UNTRAINED)
            beside = tokens(untrained, batch, max_memory=max_memory).reindex(layer=dataset["layer"])
        except InputError as refused:
            notes.append(f"the untrained network was not measured: {refused}")
        else:
            dataset = _with_untrained(dataset, beside)
        dataset.attrs["notes"] = json.dumps(notes)
        return dataset

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        with plotting.style():
            drawn, (cosine, rank, entropy, sinks) = plotting.figure(4, panel_size=(3.2, 3.1))
            _draw_stream(cosine, dataset, "cosine", "Tokens alike", "mean cosine between tokens")
            _draw_stream(rank, dataset, "rank", "Effective rank", "effective rank of the tokens")
            _draw_entropy(entropy, dataset)
            _draw_sinks(sinks, dataset)
        return {"tokens": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        return _table(dataset)


def _attends(module: nn.Module) -> bool:
    if _CLASSES.search(type(module).__name__):
        return True
    weighted = (name for name, child in module.named_children() if next(child.parameters(), None) is not None)
    return any(_MAPS.fullmatch(name) for name in weighted)


def _with_untrained(dataset: xr.Dataset, beside: xr.Dataset) -> xr.Dataset:
    """Return the dataset with what was measured of the untrained network in the measured rows."""
    added = {}
    for name in _BESIDE:
        for variable in (name, f"{name}_error"):
            if variable in dataset and variable in beside:
                key = f"{name}_untrained{variable.removeprefix(name)}"
                words = f"{dataset[variable].attrs['long_name']}, of the network with parameters drawn again"
                known = beside[variable].where(dataset[name].notnull().values)
                added[key] = (known.dims, known.values, {"units": "1", "long_name": words})
    return dataset.assign(added)


class _Point(Row):
    """One point of the stream, or one call of attention."""

    def heads(self, name: str) -> np.ndarray:
        """Return a number of each head that there is."""
        return self.array(f"head_{name}")[: int(self["heads"])]

    def beside(self, name: str) -> str:
        """Return what the untrained network has, for the evidence; empty where it was not measured."""
        known = f"{name}_untrained" in self.dataset and math.isfinite(self[f"{name}_untrained"])
        return f"; {name} with parameters drawn again {self.said(f'{name}_untrained')}" if known else ""

    def said(self, name: str) -> str:
        """Return a number with its error, for people."""
        value, error = self[name], self[f"{name}_error"]
        digits = 3 if abs(value) < 10 else 1
        return f"{value:.{digits}f}{f' ± {error:.{digits}f}' if error > 0 else ''}"


def _rows(dataset: xr.Dataset, quantity: str) -> list[_Point]:
    return [row for row in _Point.measured(dataset) if row.text("quantity") == quantity]


def _findings(dataset: xr.Dataset) -> list[Finding]:
    """Return what tokens and heads do, the most severe first."""
    attention = [row for row in _rows(dataset, "attention") if math.isfinite(row["entropy"])]
    found = [
        _of_tokens(dataset),
        *([_of_entropy(attention), _of_sinks(attention)] if attention else []),
        _of_unseen(dataset),
    ]
    said = [finding for finding in found if finding is not None]
    return sorted(said, key=importance) or [
        Finding(
            "Neither tokens nor attention were measured.",
            f"0 of {dataset.sizes['layer']} rows hold (sequences, tokens, features)",
            "Pass sequences of at least two tokens.",
            "note",
        )
    ]


def _end(points: list[_Point]) -> _Point:
    """Return the last sum or normalisation of a chain; a read-out is no end."""
    ends = [row for row in points if row.text("role") in ("sum", "norm")]
    return (ends or [row for row in points if row.text("role") != "weight"] or points)[-1]


def _of_tokens(dataset: xr.Dataset) -> Finding | None:
    """Return whether the tokens of a sequence become alike, in the chain where they are most alike."""
    chains: dict[int, list[_Point]] = {}
    for row in _rows(dataset, "tokens"):
        if math.isfinite(row["cosine"]):
            chains.setdefault(int(row["chain"]), []).append(row)
    if not chains:
        return None
    points = max(chains.values(), key=lambda rows: _end(rows)["cosine"])
    first, last = points[0], _end(points)
    apart = 1 - last.estimate("cosine")
    evidence = (
        f"1 - cosine = {apart}, effective rank {last.said('rank')} of {int(last['tokens'])} tokens at "
        f"{last.text('layer')}{last.beside('cosine')}"
    )
    ends = f"{first['cosine']:.3g} at {first.text('layer')}, {last['cosine']:.3g} at {last.text('layer')}"
    if apart.value >= _ALIKE:
        return Finding(
            f"The tokens of a sequence stay apart: mean cosine {ends}.", evidence, "", "ok", "phase"
        )
    severity: Severity = "problem" if apart.value < _SAME else "warning"
    if 1 - first["cosine"] < _ALIKE:
        return Finding(
            f"The tokens of a sequence are alike from the start: mean cosine {ends}.",
            evidence,
            "Look at what all tokens get alike before: a position or type embedding that is larger than the "
            "tokens' own, or a batch of repeated tokens.",
            severity,
            "phase",
        )
    untrained = last["cosine_untrained"] if "cosine_untrained" in dataset else math.nan
    if 1 - untrained > 4 * _ALIKE:
        return Finding(
            f"Training has made the tokens of a sequence alike: mean cosine {ends}.",
            evidence,
            "Subtract the mean over tokens before comparing them: often a few large features, the same in "
            "all tokens, make the cosine.",
            "note",
            "phase",
        )
    sentence = f"The tokens of a sequence become alike: mean cosine {ends}."
    return Finding(sentence, evidence, _keep_apart(points), severity, "phase")


def _keep_apart(points: list[_Point]) -> str:
    """Return what keeps tokens apart, in a network of this kind."""
    branches = sum(row.text("role") == "sum" for row in points)
    norms = sum(row.text("role") == "norm" for row in points)
    if not branches:
        return (
            "Add a shortcut around each attention and MLP, x + f(x): without it tokens become equal doubly "
            "exponentially with depth."
        )
    scale = (
        "Keep the weight of each shortcut at 1 and multiply each branch by "
        f"1/sqrt(L) = {branches**-0.5:.2g}, L = {branches} branches"
    )
    before = ", or normalise inside the branches instead of after the sums (pre-norm)"
    return f"{scale}{before if 2 * norms > branches + 1 else ''}."


def _of_entropy(attention: list[_Point]) -> Finding:
    """Return whether heads look at few keys only, those with one sink apart."""
    entropy = [row.heads("entropy") for row in attention]
    low = [
        (values < _LOW) & (row.heads("sink") < 0.5) for row, values in zip(attention, entropy, strict=True)
    ]
    total, few = sum(len(values) for values in entropy), sum(int(each.sum()) for each in low)
    least, most = min(map(np.nanmin, entropy)), max(map(np.nanmax, entropy))
    span = f"{least:.2f} to {most:.2f}" if most - least >= 0.005 else f"{most:.2f}"
    if few:
        return _low_entropy(attention, entropy, low, total)
    middle = min(attention, key=lambda row: row["entropy"])
    evidence = f"mean over heads {middle.said('entropy')} at {middle.text('layer')}{middle.beside('entropy')}"
    if least > _EVEN:
        sentence = (
            f"Attention is nearly uniform in all {total} heads, as is usual before training: each token "
            "takes the mean of what it sees."
        )
        before = [row["entropy_untrained"] for row in attention if "entropy_untrained" in row.dataset]
        if before and min(before) < _EVEN - 0.04:
            sentence = f"Training has made attention nearly uniform in all {total} heads."
            return Finding(sentence, evidence, "Look whether the task needs attention at all.", "note")
        return Finding(sentence, evidence, "", "ok")
    return Finding(
        f"All {total} heads look at many keys or at one sink: entropy {span} of that of uniform attention.",
        evidence,
        "",
        "ok",
    )


def _low_entropy(
    attention: list[_Point], entropy: list[np.ndarray], low: list[np.ndarray], total: int
) -> Finding:
    """Return how many heads look at few keys, the least one, and the factor that widens their sight."""
    few = sum(int(each.sum()) for each in low)
    least = [
        float(np.min(values, where=each, initial=np.inf)) for values, each in zip(entropy, low, strict=True)
    ]
    row, values = attention[int(np.argmin(least))], entropy[int(np.argmin(least))]
    spreads = np.concatenate([row.heads("spread")[each] for row, each in zip(attention, low, strict=True)])
    layers = [row.text("layer") for row, each in zip(attention, low, strict=True) if each.any()]
    sentence = (
        f"{few} of {total} heads look at few keys: least {row.text('layer')}, head {int(np.argmin(values))}, "
        f"with an entropy of {min(least):.2g} of that of uniform attention."
    )
    evidence = (
        f"logits of these heads spread by {np.median(spreads):.3g}, and attention condenses on few keys "
        f"beyond sqrt(2 ln n) = {math.sqrt(2 * row['uniform']):.2g}; mean entropy over the heads of that "
        f"layer {row.said('entropy')}{row.beside('entropy')}"
    )
    factor = math.sqrt(_HEALTHY_SPREAD / float(np.median(spreads)))
    where = layers[0] if len(layers) == 1 else f"{len(layers)} layers, {layers[0]} to {layers[-1]}"
    cure = (
        f"ultiply weights and biases of query and key of these heads ({where}) by {factor:.2g} each, so that "
        "their logits spread by about 1, or normalise queries and keys (QK norm)."
    )
    untrained = row["entropy_untrained"] if "entropy_untrained" in row.dataset else math.nan
    if few > total / 2:
        learned = untrained > 1 - _LOW
        return Finding(sentence, evidence, f"M{cure}", "warning" if learned else "problem")
    if untrained > 1 - _LOW:
        return Finding(sentence, evidence, f"Nothing while training is stable; else m{cure}", "note")
    return Finding(sentence, evidence, f"M{cure}", "warning")


def _of_sinks(attention: list[_Point]) -> Finding | None:
    """Return which heads give much of their attention to one key, beyond the untrained network."""
    found: list[tuple[float, _Point, int]] = []
    total = 0
    for row in attention:
        sink, error = row.heads("sink"), np.nan_to_num(row.heads("sink_error"))
        before = row.heads("sink_untrained") if "head_sink_untrained" in row.dataset else np.zeros(len(sink))
        total += len(sink)
        sure = (sink - _SURE * error > _SINK) & (sink - np.nan_to_num(before) > _SINK / 2)
        found += [(float(sink[head]), row, int(head)) for head in np.flatnonzero(sure)]
    if not found:
        return None
    share, row, head = max(found, key=lambda each: each[0])
    position = row.heads("sink_position")[head]
    place = f"token {position:.0f}" if math.isfinite(position) else "one token"
    return Finding(
        f"{len(found)} of {total} heads give one token {100 * _SINK:.0f} % or more of their attention beyond "
        f"its even share: most {row.text('layer')}, head {head}, {100 * share:.0f} % to {place}.",
        f"mean over the heads of this layer {row.said('sink')}{row.beside('sink')}",
        "Keep that token when the cache of keys is cut, and its large activations when they are quantised: "
        "it takes attention that has nowhere else to go.",
        "note",
    )


def _of_unseen(dataset: xr.Dataset) -> Finding | None:
    skipped = zip(dataset["layer"].values, dataset["skipped"].values, strict=True)
    unseen = [str(name) for name, reason in skipped if "cannot be looked into" in str(reason)]
    if not unseen:
        return None
    return Finding(
        f"The attention of {len(unseen)} modules cannot be looked into, first {unseen[0]}.",
        "it runs in one kernel that returns no probabilities (flex, fused or linear attention)",
        "Build the model with scaled_dot_product_attention for this measurement, such as by "
        'attn_implementation="sdpa".',
        "note",
    )


_NARROWEST, _WIDEST, _MOST_LINES, _LEAST_NAME = 50, 100, 24, 22
_STREAM = (
    ("tokens", "tokens", 6),
    ("cosine", "cosine", 7),
    ("rank", "rank", 7),
    ("cosine_untrained", "cosine*", 8),
    ("rank_untrained", "rank*", 7),
)
_HEADS = (
    ("heads", "heads", 6),
    ("entropy", "entropy", 7),
    ("sink", "sink", 7),
    ("entropy_untrained", "entropy*", 8),
    ("spread", "spread", 7),
)


def _table(dataset: xr.Dataset) -> str:
    """Return one line for each point of the stream and each attention, as wide as the terminal."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    sequences = dataset.attrs["inputs"]
    lines = [f"Tokens and attention: {sequences} sequence{'' if sequences == 1 else 's'}"]
    for quantity, columns in (("tokens", _STREAM), ("attention", _HEADS)):
        rows = _rows(dataset, quantity)
        lines += _section(rows, [column for column in columns if column[0] in dataset], width) if rows else []
    starred = any("*" in line for line in lines)
    return "\n".join([*lines, *(["*: with parameters drawn again"] if starred else [])])


def _section(rows: list[_Point], columns: list[tuple[str, str, int]], width: int) -> list[str]:
    while sum(size + 1 for _, _, size in columns) > width - _LEAST_NAME:
        columns = columns[:-1]
    room = width - sum(size + 1 for _, _, size in columns)
    half = _MOST_LINES // 2
    shown = rows if len(rows) <= _MOST_LINES + 1 else [*rows[:half], *rows[-half:]]
    names = short_names([row.text("layer") for row in shown], [room] * len(shown))
    longest = max(map(len, names))
    lines = [" " * longest + "".join(f" {title:>{size}}" for _, title, size in columns)]
    for number, (row, name) in enumerate(zip(shown, names, strict=True)):
        if len(shown) < len(rows) and number == half:
            lines.append(f"... {len(rows) - len(shown)} rows ...")
        lines.append(
            f"{name:<{longest}}" + "".join(f" {_cell(row[key]):>{size}}" for key, _, size in columns)
        )
    return lines


def _cell(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if value == round(value) and value > 1 else f"{value:.3f}"


def _draw_stream(axes: Axes, dataset: xr.Dataset, name: str, title: str, words: str) -> None:
    """Draw a number along the stream of each chain, beside the untrained network."""
    from phasescope import plotting

    rows = [row for row in _rows(dataset, "tokens") if math.isfinite(row[name])]
    for number, chain in enumerate(dict.fromkeys(int(row["chain"]) for row in rows)):
        along = [row for row in rows if int(row["chain"]) == chain]
        depth = np.arange(len(along))
        style = ("-", "--", ":")[number % 3]
        if f"{name}_untrained" in dataset:
            before = [row[f"{name}_untrained"] for row in along]
            label = "parameters drawn again" if not number else None
            axes.plot(depth, before, style, color=plotting.THEORY, lw=1.2, label=label)
        values, errors = ([row[key] for row in along] for key in (name, f"{name}_error"))
        label = "this network" if not number else f"other input {number}"
        axes.errorbar(
            depth,
            values,
            yerr=np.nan_to_num(errors),
            fmt=f"o{style}",
            ms=3.5,
            color=plotting.MEASURED,
            label=label,
        )
    axes.set(title=title, xlabel="point of the stream", ylabel=words)
    if name == "rank":
        axes.set_ylim(bottom=0)
    if rows:
        axes.legend(loc="best")


def _draw_entropy(axes: Axes, dataset: xr.Dataset) -> None:
    from matplotlib.ticker import MaxNLocator

    rows = [row for row in _rows(dataset, "attention") if math.isfinite(row["entropy"])]
    axes.set(title="Entropy of heads", xlabel="head", ylabel="attention layer")
    if not rows:
        return
    table = np.array([row.array("head_entropy") for row in rows])
    image = axes.imshow(table, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axes.grid(False)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.9)
    bar.ax.set(xlabel=" ", ylabel="of uniform")


def _draw_sinks(axes: Axes, dataset: xr.Dataset) -> None:
    from matplotlib.ticker import MaxNLocator

    from phasescope import plotting

    rows = [row for row in _rows(dataset, "attention") if math.isfinite(row["sink"])]
    axes.set(title="Sinks", xlabel="attention layer", ylabel="attention on one key")
    for number, row in enumerate(rows):
        heads = row.heads("sink")
        axes.plot(np.full(len(heads), number), heads, "o", color=plotting.MEASURED, ms=3, alpha=0.6)
    if rows and "sink_untrained" in dataset:
        before = [row["sink_untrained"] for row in rows]
        axes.plot(range(len(rows)), before, "_", color=plotting.THEORY, ms=9, mew=1.6)
    axes.set_ylim(0, 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
