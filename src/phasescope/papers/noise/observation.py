"""What is recorded of one network under one condition, as arrays over quantities."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from phasescope.noise import Population, Recording, dfa, population, record, utilisation
from phasescope.papers.noise.training import Classifier

QUANTITIES = (
    "input",
    "input_gate",
    "forget_gate",
    "output_gate",
    "candidate",
    "reset_gate",
    "update_gate",
    "cell",
    "hidden",
    "residual",
    "mlp",
    "input_gate_preactivation",
    "forget_gate_preactivation",
    "output_gate_preactivation",
    "candidate_preactivation",
    "residual_beside_position",
)
TESTED = ("hidden", "residual", "residual_beside_position")
"""Quantities held against short memory."""

CONDITIONS = ("words", "shuffled", "untrained", "noise", "silence")
SCALARS = (
    "beta",
    "beta_error",
    "plain_beta",
    "spread",
    "estimator",
    "between_units",
    "between_units_error",
    "between_sequences",
    "curvature",
    "curvature_error",
    "crossover_share",
    "determined_share",
    "tested",
    "beat_short",
    "beat_scaling",
    "beat_fit",
    "memory",
)
"""One number for each condition and quantity."""

USAGE = ("participation", "effective_rank", "idle_relative", "idle_absolute", "quantised")
_USED = 0.5  # of the largest deviation in the layer


def state_of(architecture: str) -> str:
    """Return the quantity that leaves the sequence model."""
    return "residual" if architecture == "transformer" else "hidden"


def observed(
    network: Classifier,
    inputs: Tensor,
    *,
    windows: np.ndarray,
    tests: int,
    seed: int,
    preactivations: bool = False,
) -> dict[str, np.ndarray]:
    """Return exponents, curves and utilisation of everything inside a network, NaN for what it has not.

    Shapes: `inputs` (sequence, time, features).
    """
    with torch.no_grad():
        recording = record(network.body, inputs, batch_axis=0, preactivations=preactivations)
    seen_of = _series(recording, inputs)
    units = max(x.shape[1] for x in seen_of.values())
    found = {name: np.full(len(QUANTITIES), np.nan) for name in (*SCALARS, *USAGE)}
    for name in ("unit_beta", "unit_beta_error", "unit_deviation"):
        found[name] = np.full((len(QUANTITIES), units), np.nan)
    for name in ("fluctuation", "fluctuation_error", "short_fluctuation"):
        found[name] = np.full((len(QUANTITIES), len(windows)), np.nan)
    for place, quantity in enumerate(QUANTITIES):
        if quantity not in seen_of:
            continue
        x = seen_of[quantity]
        seen = population(x, windows=windows, tests=tests if quantity in TESTED else 0, seed=seed)
        for name, value in {**_scalars(seen, x), **_usage(x)}.items():
            found[name][place] = value
        for name, value in _curves(seen).items():
            found[name][place] = value
        for name in ("beta", "beta_error"):
            found[f"unit_{name}"][place, : x.shape[1]] = getattr(seen, f"unit_{name}")
        found["unit_deviation"][place, : x.shape[1]] = seen.deviation
    return found


def mean_beta(series: np.ndarray, windows: np.ndarray) -> tuple[float, float]:
    """Return the mean exponent of all units, and that of the units in use.

    Shapes: `series` (sequence, unit, time).
    """
    seen = population(series, windows=windows, tests=0)
    return seen.mean.value, used_mean(seen.unit_beta, seen.deviation)


def used_mean(unit_beta: np.ndarray, deviation: np.ndarray) -> float:
    """Return the mean exponent of the units that move at least half as much as the one that moves most.

    Only units with an exponent count.

    Shapes: `unit_beta` and `deviation` (unit,).
    """
    known = np.isfinite(unit_beta) & np.isfinite(deviation)
    if not known.any():
        return float("nan")
    beta, moves = unit_beta[known], deviation[known]
    return float(beta[moves >= _USED * moves.max()].mean())


def plain_beta(series: np.ndarray, windows: np.ndarray) -> float:
    """Return the mean of ``2 alpha - 1`` with alpha by ordinary least squares, as in most of the literature.

    Shapes: `series` (sequence, unit, time).
    """
    seen = dfa(series, windows=windows)
    u = np.log(windows) - np.log(windows).mean()
    known = seen.reason == ""
    if not known.any():
        return float("nan")
    return float((2 * np.log(seen.fluctuation[known]) @ u / (u @ u) - 1).mean())


def _series(recording: Recording, inputs: Tensor) -> dict[str, np.ndarray]:
    """Return each quantity of the last layer that has it, shape (sequence, unit, time)."""
    found = {"input": inputs.transpose(1, 2).numpy()}
    for layer in recording.layers:
        found |= {name: recording[layer, name] for name in recording.quantities(layer) if name in QUANTITIES}
    if "residual" in found:
        # What all sequences have in common at a position comes from the position, not from the input.
        found["residual_beside_position"] = found["residual"] - found["residual"].mean(axis=0)
    return found


def _scalars(seen: Population, x: np.ndarray) -> dict[str, float]:
    return {
        "beta": seen.mean.value,
        "beta_error": seen.mean.error,
        "plain_beta": plain_beta(x, seen.windows),
        "spread": seen.spread.value,
        "estimator": seen.estimator,
        "between_units": seen.between_units.value,
        "between_units_error": seen.between_units.error,
        "between_sequences": seen.between_sequences.value,
        "curvature": seen.curvature.value,
        "curvature_error": seen.curvature.error,
        "crossover_share": seen.crossover_share,
        "determined_share": float(np.isfinite(seen.beta).mean()),
        **{name: float(getattr(seen, name)) for name in ("tested", "beat_short", "beat_scaling", "beat_fit")},
        "memory": seen.memory,
    }


def _curves(seen: Population) -> dict[str, Any]:
    return {
        "fluctuation": seen.fluctuation,
        "fluctuation_error": seen.fluctuation_error,
        "short_fluctuation": seen.short_fluctuation,
    }


def _usage(x: np.ndarray) -> dict[str, float]:
    used = utilisation(x)
    counts = used.counts()
    return {
        "participation": used.participation_ratio.value,
        "effective_rank": used.effective_rank.value,
        **{name: float(counts[name]) for name in ("idle_relative", "idle_absolute", "quantised")},
    }
