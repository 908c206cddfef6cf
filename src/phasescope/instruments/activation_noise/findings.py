"""What the noise of activations says, in sentences that a person can act on; and as a plain text table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from phasescope.instruments.contract import Finding, Severity
from phasescope.instruments.rows import Column, Row

if TYPE_CHECKING:
    import xarray as xr

STATES = ("hidden", "cell", "residual")
"""Quantities that carry a memory from step to step, or from block to block."""

_NAME = 34  # columns of the table that a row's name takes
_MOST_SINGLE = 2
_MOST_NAMED = 3
# A short memory looks like 1/f noise in windows up to about 30 times as long, and windows go to an eighth.
_STEPS_A_MEMORY = 8 * 30
_UNLIKE, _SURE_UNLIKE = 0.2, 3.0  # units whose own exponents differ by so much, and by so many errors
_LEAST_MEMORY = 0.1  # steps that are worth naming
_MANY_IDLE, _FEW_IDLE = 0.25, 0.05
_SMALL_SHARE, _LARGE_SHARE = 0.25, 0.5
_SURE = 2.0
_ROOM = 1.5  # a width is suggested with so much more than what carries the movement
_CLAIM = (
    "arXiv:2301.08530 claims that activations are closest to 1/f noise where units are highly used, and "
    "white in networks that are too large"
)
_WHO = {
    "hidden": "The hidden state of {}",
    "cell": "The cell state of {}",
    "residual": "The residual stream after {}",
    "mlp": "The MLP of {}",
}
# Of each kind: the sentence, the same of several states, why longer sequences are worth it, how bad it is.
_KINDS: dict[str, tuple[str, str, str, Severity]] = {
    "white": (
        "fluctuates like white noise, beta = {beta}: windows of {first} to {last} steps show no memory.",
        "fluctuate like white noise",
        "",
        "ok",
    ),
    "1/f": (
        "shows 1/f noise, beta = {beta} in windows of {first} to {last} steps, which neither a short memory "
        "nor a few relaxation times explain.",
        "show 1/f noise that neither a short memory nor a few relaxation times explain",
        "to see how far it goes",
        "ok",
    ),
    "straight": (
        "has a straight curve, beta = {beta} in windows of {first} to {last} steps, which a short memory "
        "does not explain: 1/f noise or a few relaxation times would look so.",
        "have straight curves that a short memory does not explain: 1/f noise or a few relaxation times "
        "would look so",
        "to tell 1/f noise from a few relaxation times",
        "ok",
    ),
    "periodic": (
        "is periodic: lines carry most of the variance, and beta = {beta} means nothing.",
        "are periodic: lines carry most of the variance",
        "",
        "note",
    ),
    "brown": (
        "wanders like a random walk, beta = {beta}.",
        "wander like a random walk",
        "to see an end of it",
        "ok",
    ),
    "power law": (
        "has beta = {beta} in windows of {first} to {last} steps, which a short memory does not explain; it "
        "is not 1/f noise.",
        "show a power law that is not 1/f noise, and that a short memory does not explain",
        "to see how far it goes",
        "ok",
    ),
    "short memory": (
        "has beta = {beta}, but a short memory{memory} explains it: no evidence of 1/f noise.",
        "have a short memory that explains their curves: no evidence of 1/f noise",
        "to see a longer memory, if there is one",
        "note",
    ),
    "crossover": (
        "has no one exponent: beta = {beta} holds for windows of {first} to {last} steps only, and one short "
        "memory does not explain the curve.",
        "have no one exponent, and a short memory does not explain their curves",
        "to see what follows",
        "note",
    ),
    "not determined": (
        "has beta = {beta}, which a short memory{memory} explains as well as scaling noise does: not "
        "determined.",
        "are not determined: a short memory explains them as well as scaling noise does",
        "to tell them apart",
        "note",
    ),
}


class Quantity(Row):
    """One recorded quantity of a layer."""

    @property
    def who(self) -> str:
        """What it is called at the beginning of a sentence."""
        quantity, module = self.text("quantity"), self.text("module")
        module = module if module and module != "output" else "the model"
        return _WHO.get(quantity, "The {} of {}".format(quantity.replace("_", " "), "{}")).format(module)


def state_rows(dataset: xr.Dataset) -> list[Quantity]:
    """Return the rows of states that are finite; where there are none, those of layer outputs."""
    finite = [row for row in Quantity.measured(dataset) if row["nonfinite"] != 1]
    states = [row for row in finite if row.text("quantity") in STATES]
    return states or [row for row in finite if row.text("quantity") == "output"]


def forward_states(dataset: xr.Dataset) -> list[Quantity]:
    """Return the rows of states, without the reverse direction where there is another."""
    rows = state_rows(dataset)
    return [row for row in rows if "_reverse" not in row.text("module")] or rows


def main_row(dataset: xr.Dataset) -> Quantity | None:
    """Return the last state that leaves a layer, forwards; None where there is no state."""
    rows = [row for row in forward_states(dataset) if row.text("quantity") != "cell"]
    known = [row for row in rows if math.isfinite(row["beta"])]
    return (known or rows)[-1] if rows else None


def findings(dataset: xr.Dataset) -> list[Finding]:
    """Return the kind of noise of each state, then whether its units are used."""
    measured = Quantity.measured(dataset)
    bad = [row for row in measured if row["nonfinite"] > 0]
    found = [_not_finite(bad, len(measured))] if bad else []
    states = state_rows(dataset)
    if not states:
        return found or [_nothing(dataset)]
    groups = [[row] for row in states] if len(states) <= _MOST_SINGLE else _grouped(states, "kind")
    found += [_kinds(rows) if len(rows) > 1 else _kind(rows[0]) for rows in groups]
    return found + _capacity(measured, states)


def _grouped(rows: Sequence[Quantity], name: str) -> list[list[Quantity]]:
    values = dict.fromkeys(row.text(name) for row in rows)
    return [[row for row in rows if row.text(name) == value] for value in values]


def _nothing(dataset: xr.Dataset) -> Finding:
    reasons = [str(reason) for reason in dataset["skipped"].values if str(reason)]
    return Finding(
        "No state of the network was measured in time.",
        reasons[0] if reasons else "no row",
        "Inspect the part of the model that works along the sequence.",
        "note",
    )


def _not_finite(rows: list[Quantity], measured: int) -> Finding:
    return Finding(
        f"Activations are NaN or infinite in {len(rows)} of {measured} quantities, "
        f"first in {rows[0].text('layer')}.",
        f"up to {100 * max(row['nonfinite'] for row in rows):.3g} % of the units of a quantity",
        "Look for the first layer that overflows, and for zeros that are divided by.",
        "problem",
        "broken",
    )


def _kind(row: Quantity) -> Finding:
    """Return what one state shows."""
    beta = row.estimate("beta")
    if not beta.determined:
        return Finding(
            f"{row.who} has no exponent. {row.text('reason')}",
            _evidence(row),
            "Give at least 3 sequences of real input in which it moves.",
            "note",
        )
    windows = row.array("window")
    windows = windows[np.isfinite(windows)]
    first, last = (int(windows[0]), int(windows[-1])) if windows.size else (0, 0)
    sentence, _, why, severity = _KINDS.get(row.text("kind"), _KINDS["not determined"])
    said = sentence.format(beta=beta, first=first, last=last, memory=_memory(row))
    return Finding(f"{row.who} {said}", _evidence(row), _longer(row, why), severity)


def _kinds(rows: list[Quantity]) -> Finding:
    """Return what several states of one kind show."""
    names = [row.text("module") for row in rows]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    what = "outputs" if rows[0].text("quantity") == "output" else "states"
    who = f"{len(rows)} {what} ({', '.join(names[:_MOST_NAMED])}{more})"
    known = sorted(row["beta"] for row in rows if math.isfinite(row["beta"]))
    ends = dict.fromkeys(f"{beta:.2f}" for beta in known[:1] + known[-1:])
    span = f"; beta = {' to '.join(ends)}" if ends else ""
    longest = rows[int(np.argmax(np.nan_to_num([row["memory"] for row in rows], posinf=0.0)))]
    _, plural, why, severity = _KINDS.get(rows[0].text("kind"), _KINDS["not determined"])
    evidence = f"{rows[0].text('layer')}: {_evidence(rows[0])}"
    return Finding(f"{who} {plural}{span}.", evidence, _longer(longest, why), severity)


def _evidence(row: Quantity) -> str:
    parts = []
    spread, units = row.estimate("spread"), row.estimate("between_units")
    if spread.determined:
        parts.append(
            f"beta scatters by {spread} over units and sequences, by {row['estimator']:.2f} from estimator "
            "noise alone"
        )
    if units.determined:
        unlike = units.value > max(_UNLIKE, _SURE_UNLIKE * units.error)
        parts.append(f"between units {units}{', so that the verdict is on a mixture' if unlike else ''}")
    tested = int(np.nan_to_num(row["tested"]))
    if tested:
        parts.append(
            f"{int(row['beat_short'])} of {tested} series tested exclude short memory, "
            f"{int(row['beat_scaling'])} exclude scaling noise"
        )
    beside = [("untrained", row.estimate("beta_untrained"))]
    beside += [("for shuffled input", row.estimate("beta_shuffled"))]
    beside += [("of its input", own.estimate("beta")) for own in _inputs_of(row)]
    parts += [f"{what} beta = {beta}" for what, beta in beside if beta.determined]
    return "; ".join(parts) or row.text("reason")


def _inputs_of(row: Quantity) -> list[Quantity]:
    """Return the inputs of the layer that a row belongs to."""
    inputs = [other for other in Quantity.measured(row.dataset) if other.text("quantity") == "input"]
    return [other for other in inputs if other.text("module") == row.text("module")]


def _longer(row: Quantity, why: str) -> str:
    """Return how long sequences would have to be, or nothing where there is no reason for longer ones."""
    if not why:
        return ""
    now, memory = int(row.dataset.attrs["length"]), row["memory"]
    wanted = max(_STEPS_A_MEMORY * memory if math.isfinite(memory) else 4.0 * now, 2.0 * now)
    digits = 10 ** math.floor(math.log10(wanted))
    steps = f"{math.ceil(wanted / digits) * digits:,}".replace(",", "\u2009")
    return (
        f"Measure sequences of about {steps} steps {why}: join them, or carry the state from one to the next."
    )


def _memory(row: Quantity) -> str:
    if math.isnan(row["memory"]) or row["memory"] < _LEAST_MEMORY:
        return ""
    known = math.isfinite(row["memory"])
    return f" of about {row['memory']:.2g} steps" if known else " longer than the sequences"


def _capacity(measured: list[Quantity], states: list[Quantity]) -> list[Finding]:
    """Return whether the units are used: layer by layer, or of the least used one where there are many."""
    rows = [row for row in states if row.text("quantity") != "cell"]
    rows += [row for row in measured if row.text("quantity") == "mlp"]
    groups = [[row] for row in rows] if len(rows) <= _MOST_SINGLE else _grouped(rows, "quantity")
    least = [_least_used(group) for group in groups]
    found = [_use(row, len(group)) for row, group in zip(least, groups, strict=True)]
    return [_with_claim(least[0], found[0]), *found[1:]] if found else []


def _least_used(rows: list[Quantity]) -> Quantity:
    share = [row["participation"] / row["units"] for row in rows]
    return rows[int(np.nanargmin(share))] if np.isfinite(share).any() else rows[0]


def _use(row: Quantity, group: int) -> Finding:
    units = int(row["units"])
    idle = round(row["idle"] * units)
    sharing, directions = row.estimate("participation"), row.estimate("dimension")
    where, evidence = _where(row), _evidence_of_use(row, idle, units, group)
    if idle == units:
        return Finding(
            f"No unit of {where} moves in time.",
            evidence,
            "Give input that changes in time, or look for a layer before it that is dead or saturated.",
            "warning",
        )
    if not sharing.determined:
        return Finding(
            f"Whether {where} needs its {units} units is not determined: {idle} are idle.",
            evidence,
            "Give several sequences, so that there is an error.",
            "note",
        )
    if idle >= _MANY_IDLE * units or sharing.value + _SURE * sharing.error < _SMALL_SHARE * units:
        are = "is" if idle == 1 else "are"
        return Finding(
            f"About {_count(sharing.value)} of {units} units of {where} carry the movement; {idle} {are} "
            "idle: the layer is larger than this input needs.",
            evidence,
            _smaller(sharing.value, units),
            "note",
        )
    # MLP units read a narrower stream and so lie in few directions anyway; of a state it means more.
    few = directions.determined and directions.value + _SURE * directions.error < _SMALL_SHARE * units
    if few and row.text("quantity") == "hidden":
        moving = f"All {units}" if not idle else f"{units - idle} of {units}"
        return Finding(
            f"{moving} units of {where} move, but in about {_count(directions.value)} "
            "directions: fewer units may do.",
            evidence,
            _smaller(directions.value, units),
            "note",
        )
    if idle <= _FEW_IDLE * units and sharing.value > _LARGE_SHARE * units:
        return Finding(
            f"The units of {where} are used: {idle} of {units} are idle, and about {_count(sharing.value)} "
            "share the movement.",
            evidence,
            f"If the training loss stays too high, try {2 * units} units.",
            "ok",
        )
    return Finding(
        f"{idle} of {units} units of {where} are idle, and about {_count(sharing.value)} share the movement.",
        evidence,
        "",
        "ok",
    )


def _where(row: Quantity) -> str:
    """Return what the units belong to, within a sentence."""
    name = row.who.removeprefix("The hidden state of ").removeprefix("The output of ")
    return name[:1].lower() + name[1:] if name.startswith("The ") else name


def _evidence_of_use(row: Quantity, idle: int, units: int, group: int) -> str:
    sharing, directions, rank = map(row.estimate, ("participation", "dimension", "effective_rank"))
    parts = [f"the least used of {group} layers"] if group > 1 else []
    parts.append(f"idle: {idle} of {units} move less than 5 % of the most active one")
    if sharing.determined:
        parts.append(f"participation ratio {sharing} units")
    parts.append(
        f"{directions} principal components, effective rank {rank}"
        if directions.determined and rank.determined
        else "the number of directions is not determined"
    )
    return "; ".join(parts)


def _with_claim(row: Quantity, finding: Finding) -> Finding:
    """Return the finding with what the paper claims beside what was measured here."""
    used, beta, rank = map(row.estimate, ("beta_used", "beta", "rank_correlation"))
    if not (used.determined and beta.determined):
        return finding
    here = f"here beta = {used} for the more used half of the units, {beta} for all"
    if rank.determined:
        here += f", and the rank correlation of beta with use is {rank}"
    return replace(finding, evidence=f"{finding.evidence}. {_CLAIM}; {here}")


def _smaller(used: float, units: int) -> str:
    low = 2 ** max(1, math.ceil(math.log2(_ROOM * max(used, 1.0))))
    widths = f"{low} to {2 * low}" if 2 * low < units else f"{min(low, units - 1)}"
    return (
        f"Retrain with {widths} units and compare the validation loss, or prune: "
        "phasescope.noise.ablation tells which units matter."
    )


def _count(value: float) -> str:
    return f"{max(1, round(value))}"


def table(dataset: xr.Dataset) -> str:
    """Return one line for each measured quantity, at most 100 columns wide."""
    inputs, length = dataset.attrs["inputs"], dataset.attrs["length"]
    columns = (
        f"{'':<{_NAME}} {'units':>5} {'idle':>5}  {'beta':<15} {'spread':>6} {'noise':>6} {'AR':>6}  kind"
    )
    return "\n".join(
        [
            f"Noise of activations: {inputs} sequence(s), series of {length} steps; beta of f^-beta",
            columns,
            *map(_line, Quantity.measured(dataset)),
            "spread: of beta over units and sequences; noise: by the estimator alone; AR: series tested that",
            "short memory does not explain",
        ]
    )


def _line(row: Quantity) -> str:
    beta = row.estimate("beta")
    exponent = str(beta) if beta.determined else "-"
    spread, noise = (
        f"{value:.2f}" if np.isfinite(value) else "-" for value in (row["spread"], row["estimator"])
    )
    tested = f"{int(row['beat_short'])}/{int(row['tested'])}" if row["tested"] > 0 else "-"
    return (
        f"{row.short_name(_NAME):<{_NAME}} {int(row['units']):>5} {100 * row['idle']:>4.0f}%  {exponent:<15} "
        f"{spread:>6} {noise:>6} {tested:>6}  {row.text('kind')}"
    )


COLUMNS = (
    Column("units", "units", "number of units"),
    Column("idle", "idle", "units that move less than 5 % of the most active one", fraction=True),
    Column("beta", "β", "exponent of the spectrum f to the power −β in time, mean over units"),
    Column("spread", "spread", "standard deviation of β over all units and sequences"),
    Column("estimator", "noise", "the part of it that estimator noise alone makes"),
    Column("between_units", "of units", "standard deviation of the units’ own β"),
    Column("memory", "memory", "steps over which the short memories that imitate the tested series forget"),
    Column("tested", "tested", "series tested for short memory"),
    Column("beat_short", "beat it", "tested series that exclude short memory; 1 in 40 does by chance"),
    Column("beta_untrained", "untrained", "β of the same network untrained"),
    Column("beta_shuffled", "shuffled", "β for the same sequences with their time steps shuffled"),
    Column("participation", "sharing", "units that share the movement: participation ratio"),
    Column("dimension", "directions", "principal components that share the movement"),
    Column("curvature", "bend", "mean coefficient of (ln n)² in ln F(n); 0 for a power law"),
)
"""What a page shows of each row."""
