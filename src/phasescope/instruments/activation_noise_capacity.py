"""Whether a layer uses its units, from how they move on the user's input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from phasescope.instruments.activation_noise_names import estimate, named
from phasescope.instruments.contract import Finding

if TYPE_CHECKING:
    import xarray as xr

_MANY_IDLE = 0.25
_FEW_IDLE = 0.05
_SMALL_SHARE, _LARGE_SHARE = 0.25, 0.5
_SURE = 2.0
_ROOM = 1.5  # a width is suggested with so much more than what carries the movement
_MOST_SINGLE = 2
_CLAIM = (
    "arXiv:2301.08530 claims that activations are closest to 1/f noise where units are highly used, and "
    "white in networks that are too large"
)


def capacity(dataset: xr.Dataset, states: list[int]) -> list[Finding]:
    """Return whether the units are used: layer by layer, or of the least used one where there are many."""
    quantities, measured = dataset["quantity"].values, dataset["skipped"].values == ""
    mlp = np.flatnonzero(measured & (quantities == "mlp")).tolist()
    rows = [row for row in states if quantities[row] != "cell"] + mlp
    groups = [[row] for row in rows]
    if len(rows) > _MOST_SINGLE:
        kinds = dict.fromkeys(str(quantities[row]) for row in rows)
        groups = [[row for row in rows if quantities[row] == quantity] for quantity in kinds]
    found = [_use(dataset, _least_used(dataset, group), len(group)) for group in groups]
    if found:
        found[0] = _with_claim(dataset, _least_used(dataset, groups[0]), found[0])
    return found


def _least_used(dataset: xr.Dataset, rows: list[int]) -> int:
    share = [_participation(dataset, row) for row in rows]
    return rows[int(np.nanargmin(share))] if np.isfinite(share).any() else rows[0]


def _participation(dataset: xr.Dataset, row: int) -> float:
    return float(dataset["participation"].values[row] / dataset["units"].values[row])


def _use(dataset: xr.Dataset, row: int, group: int) -> Finding:
    units = int(dataset["units"].values[row])
    idle = round(float(dataset["idle"].values[row]) * units)
    sharing, directions = (estimate(dataset, name, row) for name in ("participation", "dimension"))
    where = _where(dataset, row)
    evidence = _evidence(dataset, row, idle, units, group)
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
        return Finding(
            f"About {_count(sharing.value)} of {units} units of {where} carry the movement; {_are(idle)} "
            "idle: the layer is larger than this input needs.",
            evidence,
            _smaller(sharing.value, units),
            "note",
        )
    # MLP units read a narrower stream and so lie in few directions anyway; of a state it means more.
    state = dataset["quantity"].values[row] == "hidden"
    few = directions.determined and directions.value + _SURE * directions.error < _SMALL_SHARE * units
    if state and few:
        return Finding(
            f"{_moving(idle, units)} units of {where} move, but in about {_count(directions.value)} "
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


def _where(dataset: xr.Dataset, row: int) -> str:
    name = named(dataset, row)
    for article in ("The hidden state of ", "The output of "):
        name = name.removeprefix(article)
    return name[:1].lower() + name[1:] if name.startswith("The ") else name


def _evidence(dataset: xr.Dataset, row: int, idle: int, units: int, group: int) -> str:
    sharing, directions, rank = (
        estimate(dataset, name, row) for name in ("participation", "dimension", "effective_rank")
    )
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


def _with_claim(dataset: xr.Dataset, row: int, finding: Finding) -> Finding:
    """Return the finding with what the paper claims beside what was measured here."""
    used, beta, rank = (estimate(dataset, name, row) for name in ("beta_used", "beta", "rank_correlation"))
    if not (used.determined and beta.determined):
        return finding
    here = f"here beta = {used} for the more used half of the units, {beta} for all"
    if rank.determined:
        here += f", and the rank correlation of beta with use is {rank}"
    return Finding(
        finding.sentence, f"{finding.evidence}. {_CLAIM}; {here}", finding.action, finding.severity
    )


def _smaller(used: float, units: int) -> str:
    low = 2 ** max(1, math.ceil(math.log2(_ROOM * max(used, 1.0))))
    widths = f"{low} to {2 * low}" if 2 * low < units else f"{min(low, units - 1)}"
    return (
        f"Retrain with {widths} units and compare the validation loss, or prune: "
        "phasescope.noise.ablation tells which units matter."
    )


def _count(value: float) -> str:
    return f"{max(1, round(value))}"


def _are(idle: int) -> str:
    return f"{idle} {'is' if idle == 1 else 'are'}"


def _moving(idle: int, units: int) -> str:
    return f"All {units}" if not idle else f"{units - idle} of {units}"
