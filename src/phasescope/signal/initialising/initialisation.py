"""What ``critical_`` returns: what was set, layer by layer, and whether it worked."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from phasescope.signal.verdict import Verdict


@dataclass(frozen=True)
class LayerInitialisation:
    """What was done to one layer."""

    # layer, kind: module path and class name
    layer: str
    kind: str
    activation: str = ""  # what is applied to the layer's input before its weights act; empty for nothing
    universality_class: str = ""  # class of that activation; empty where it does not matter
    # C_W_before, C_b_before: second moment of the weights times fan-in, and of the biases, as they were
    C_W_before: float = math.nan
    C_b_before: float = math.nan
    # C_W, C_b: the variances that theory asks for
    C_W: float = math.nan
    C_b: float = math.nan
    # factor, measured on the batch, by which the weights' standard deviation differs from ``sqrt(C_W /
    # fan_in)``
    gain: float = math.nan
    bias_variance: float = math.nan  # second moment of the biases as set
    # K_before, K_after: mean square of the layer's output over the batch
    K_before: float = math.nan
    K_after: float = math.nan
    rule: str = ""  # what the measured factor holds
    skipped: str = ""  # why the layer was left alone; empty where it was set


@dataclass(frozen=True)
class Initialisation:
    """What ``critical_`` set, layer by layer, with the network's verdict before and after.

    Parameters
    ----------
    model : str
        Class of the model.
    rows : tuple of LayerInitialisation
        Every layer that owns parameters, set or skipped.
    depth : int
        Weight layers on the longest way through the model.
    distribution : str
        "orthogonal" or "normal".
    seed : int
        Seed of the weights.
    before, after : Verdict or None
        What :func:`phasescope.signal.profile` says; None without verification.
    notes : tuple of str
        What one has to know about this network.
    citations : tuple of str
        Keys of the papers behind it.
    """

    model: str
    rows: tuple[LayerInitialisation, ...]
    depth: int
    distribution: str
    seed: int
    before: Verdict | None
    after: Verdict | None
    notes: tuple[str, ...]
    citations: tuple[str, ...]

    @property
    def set(self) -> tuple[LayerInitialisation, ...]:
        """The layers that were set."""
        return tuple(row for row in self.rows if not row.skipped)

    @property
    def skipped(self) -> tuple[LayerInitialisation, ...]:
        """The layers that were left alone."""
        return tuple(row for row in self.rows if row.skipped)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; ``None`` in place of NaN and infinity."""
        plain: dict[str, Any] = _json_ready(dataclasses.asdict(self))
        for key, verdict in (("before", self.before), ("after", self.after)):
            plain[key] = None if verdict is None else verdict.to_dict()
        return plain

    def __str__(self) -> str:
        lines = [
            f"{self.model}: {len(self.set)} of {len(self.rows)} layers set, depth {self.depth}, "
            f"{self.distribution} weights, seed {self.seed}"
        ]
        lines += [_HEADER, *_shortened([_line(row) for row in self.set])]
        lines += [f"  {row.layer} ({row.kind}) left alone: {row.skipped}" for row in self.skipped]
        for name, verdict in (("before", self.before), ("after", self.after)):
            if verdict is not None:
                lines.append(f"{name + ':':8}{verdict.phase}, ln chi_perp per layer {verdict.margin}")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


_HEADER = f"{'layer':<18} {'fed by':<10} {'C_W':>14} {'C_b':>14} {'gain':>6} {'K before':>9} {'K after':>9}"


def _line(row: LayerInitialisation) -> str:
    weights = f"{row.C_W_before:.3g} > {row.C_W:.4g}"
    biases = f"{row.C_b_before:.3g} > {row.C_b:.3g}"
    numbers = f"{row.gain:>6.3f} {row.K_before:>9.3g} {row.K_after:>9.3g}"
    return f"{row.layer[-18:]:<18} {(row.activation or '-')[:10]:<10} {weights:>14} {biases:>14} {numbers}"


def _shortened(lines: list[str]) -> list[str]:
    # The middle of a deep stack repeats itself; to_dict() has every row.
    if len(lines) <= 16:
        return lines
    return [*lines[:7], f"... {len(lines) - 13} more rows in .rows ...", *lines[-6:]]


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
