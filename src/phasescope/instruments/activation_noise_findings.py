"""What the noise of activations says, in sentences that a person can act on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from phasescope.estimate import Estimate
from phasescope.instruments.activation_noise_capacity import capacity
from phasescope.instruments.activation_noise_names import estimate, named, state_rows
from phasescope.instruments.contract import Finding, Severity

if TYPE_CHECKING:
    import xarray as xr

_MOST_SINGLE = 2
# A short memory looks like 1/f noise in windows up to about 30 times as long, and windows go to an eighth.
_STEPS_A_MEMORY = 8 * 30
_MOST_NAMED = 3
_UNLIKE, _SURE = 0.2, 3.0  # units whose own exponents differ by so much, and by so many errors
_LEAST_MEMORY = 0.1  # steps that are worth naming


_SENTENCES: dict[str, tuple[str, str, Severity]] = {
    "white": (
        "{who} fluctuates like white noise, beta = {beta}: windows of {first} to {last} steps show no "
        "memory.",
        "",
        "ok",
    ),
    "1/f": (
        "{who} shows 1/f noise, beta = {beta} in windows of {first} to {last} steps, which a short memory "
        "does not explain.",
        "to see how far it goes",
        "ok",
    ),
    "brown": ("{who} wanders like a random walk, beta = {beta}.", "to see an end of it", "ok"),
    "power law": (
        "{who} has beta = {beta} in windows of {first} to {last} steps, which a short memory does not "
        "explain; it is not 1/f noise.",
        "to see how far it goes",
        "ok",
    ),
    "short memory": (
        "{who} has beta = {beta}, but a short memory{memory} explains it: no evidence of 1/f noise.",
        "to see a longer memory, if there is one",
        "note",
    ),
    "crossover": (
        "{who} has no one exponent: beta = {beta} holds for windows of {first} to {last} steps only, and one "
        "short memory does not explain the curve.",
        "to see what follows",
        "note",
    ),
    "not determined": (
        "{who} has beta = {beta}, which a short memory{memory} explains as well as scaling noise does: not "
        "determined.",
        "to tell them apart",
        "note",
    ),
}
_PLURAL = {
    "white": "fluctuate like white noise",
    "1/f": "show 1/f noise that a short memory does not explain",
    "brown": "wander like a random walk",
    "power law": "show a power law that is not 1/f noise, and that a short memory does not explain",
    "short memory": "have a short memory that explains their curves: no evidence of 1/f noise",
    "crossover": "have no one exponent, and a short memory does not explain their curves",
    "not determined": "are not determined: a short memory explains them as well as scaling noise does",
}


def activation_noise_findings(dataset: xr.Dataset) -> list[Finding]:
    """Return the kind of noise of each state, then whether its units are used."""
    states = state_rows(dataset)
    bad = [row for row in _measured(dataset) if _value(dataset, "nonfinite", row) > 0]
    found = [_not_finite(dataset, bad)] if bad else []
    if not states:
        return found or [_nothing(dataset)]
    if len(states) <= _MOST_SINGLE:
        found += [_kind(dataset, row) for row in states]
    else:
        kinds = dict.fromkeys(str(dataset["kind"].values[row]) for row in states)
        groups = [[row for row in states if dataset["kind"].values[row] == kind] for kind in kinds]
        found += [_kinds(dataset, rows) if len(rows) > 1 else _kind(dataset, rows[0]) for rows in groups]
    return found + capacity(dataset, states)


def _measured(dataset: xr.Dataset) -> list[int]:
    return [int(row) for row in np.flatnonzero(dataset["skipped"].values == "")]


def _nothing(dataset: xr.Dataset) -> Finding:
    reasons = [str(reason) for reason in dataset["skipped"].values if str(reason)]
    return Finding(
        "No state of the network was measured in time.",
        reasons[0] if reasons else "no row",
        "Inspect the part of the model that works along the sequence.",
        "note",
    )


def _not_finite(dataset: xr.Dataset, rows: list[int]) -> Finding:
    share = max(_value(dataset, "nonfinite", row) for row in rows)
    return Finding(
        f"Activations are NaN or infinite in {len(rows)} of {len(_measured(dataset))} quantities, "
        f"first in {dataset['layer'].values[rows[0]]}.",
        f"up to {100 * share:.3g} % of the units of a quantity",
        "Look for the first layer that overflows, and for zeros that are divided by.",
        "problem",
    )


def _kind(dataset: xr.Dataset, row: int) -> Finding:
    who, beta = named(dataset, row), estimate(dataset, "beta", row)
    kind = str(dataset["kind"].values[row])
    sentence, action, severity = _said(dataset, row, kind, who, beta)
    return Finding(sentence, _evidence(dataset, row), action, severity)


def _said(dataset: xr.Dataset, row: int, kind: str, who: str, beta: Estimate) -> tuple[str, str, Severity]:
    """Return sentence, action and severity."""
    if not beta.determined:
        why = str(dataset["reason"].values[row])
        return (
            f"{who} has no exponent. {why}",
            "Give at least 3 sequences of real input in which it moves.",
            "note",
        )
    first, last = _windows(dataset, row)
    sentence, why, severity = _SENTENCES.get(kind, _SENTENCES["not determined"])
    said = sentence.format(who=who, beta=beta, first=first, last=last, memory=_memory(dataset, row))
    return said, _longer(dataset, row, why) if why else "", severity


def _kinds(dataset: xr.Dataset, rows: list[int]) -> Finding:
    """Return one finding for states of one kind."""
    kind = str(dataset["kind"].values[rows[0]])
    names = [str(dataset["module"].values[row]) for row in rows]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    what = "outputs" if dataset["quantity"].values[rows[0]] == "output" else "states"
    who = f"{len(rows)} {what} ({', '.join(names[:_MOST_NAMED])}{more})"
    known = sorted(beta for row in rows if math.isfinite(beta := _value(dataset, "beta", row)))
    ends = [f"{beta:.2f}" for beta in (known[0], known[-1])] if known else []
    span = "" if not ends else f"; beta = {ends[0]}" + (f" to {ends[1]}" if ends[1] != ends[0] else "")
    memory = [_value(dataset, "memory", row) for row in rows]
    longest = rows[int(np.argmax(np.nan_to_num(memory, posinf=0.0)))]
    _, why, severity = _SENTENCES.get(kind, _SENTENCES["not determined"])
    action = _longer(dataset, longest, why) if why else ""
    said = f"{who} {_PLURAL.get(kind, _PLURAL['not determined'])}{span}."
    evidence = f"{dataset['layer'].values[rows[0]]}: {_evidence(dataset, rows[0])}"
    return Finding(said, evidence, action, severity)


def _evidence(dataset: xr.Dataset, row: int) -> str:
    parts = []
    spread, noise = estimate(dataset, "spread", row), _value(dataset, "estimator", row)
    if spread.determined:
        parts.append(
            f"beta scatters by {spread} over units and sequences, by {noise:.2f} from estimator noise alone"
        )
    units = estimate(dataset, "between_units", row)
    if units.determined:
        unlike = units.value > max(_UNLIKE, _SURE * units.error)
        parts.append(f"between units {units}{', so that the verdict is on a mixture' if unlike else ''}")
    tested = int(np.nan_to_num(_value(dataset, "tested", row)))
    if tested:
        parts.append(
            f"{int(_value(dataset, 'beat_short', row))} of {tested} series tested exclude short memory, "
            f"{int(_value(dataset, 'beat_scaling', row))} exclude scaling noise"
        )
    parts += _beside(dataset, row)
    return "; ".join(parts) or str(dataset["reason"].values[row])


def _beside(dataset: xr.Dataset, row: int) -> list[str]:
    """Return the beta of the nulls and of the layer's own input."""
    parts = []
    for name, what in (("beta_untrained", "untrained"), ("beta_shuffled", "for shuffled input")):
        beta = estimate(dataset, name, row)
        if beta.determined:
            parts.append(f"{what} beta = {beta}")
    same = (dataset["module"].values == dataset["module"].values[row]) & (
        dataset["quantity"].values == "input"
    )
    for other in np.flatnonzero(same):
        beta = estimate(dataset, "beta", int(other))
        if beta.determined:
            parts.append(f"of its input beta = {beta}")
    return parts


def _longer(dataset: xr.Dataset, row: int, why: str) -> str:
    now = int(dataset.attrs["length"])
    memory = _value(dataset, "memory", row)
    wanted = _STEPS_A_MEMORY * memory if math.isfinite(memory) else 4.0 * now
    wanted = max(wanted, 2.0 * now)
    digits = 10 ** math.floor(math.log10(wanted))
    steps = f"{math.ceil(wanted / digits) * digits:,}".replace(",", "\u2009")
    return (
        f"Measure sequences of about {steps} steps {why}: join them, or carry the state from one to the next."
    )


def _memory(dataset: xr.Dataset, row: int) -> str:
    memory = _value(dataset, "memory", row)
    if math.isnan(memory) or memory < _LEAST_MEMORY:
        return ""
    return f" of about {memory:.2g} steps" if math.isfinite(memory) else " longer than the sequences"


def _windows(dataset: xr.Dataset, row: int) -> tuple[int, int]:
    windows = dataset["window"].values[row]
    known = windows[np.isfinite(windows)]
    return (int(known[0]), int(known[-1])) if known.size else (0, 0)


def _value(dataset: xr.Dataset, name: str, row: int) -> float:
    return float(dataset[name].values[row])
