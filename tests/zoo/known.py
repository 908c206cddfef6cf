"""What is known of a model by hand, beside the factory that builds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Build = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Known:
    """A model and its answers, worked out from its formula.

    Parameters
    ----------
    build : callable
        Returns ``(model, batch)``.
    stream : str
        The cut points between an input and the first output for each sample, in order: class names of
        modules, names of operations; "sum" and "cat" join two signals, "add" and "extend" a signal and a
        constant. Changes of shape are no points of their own.
    phase : str
        Of the verdict; "" where no computation by hand decides.
    growth : float, optional
        Growth of the squared perpendicular tangents per unit, from the first to the last cut point that is a
        layer with weights, a sum or a concatenation, the read-out left out; by a formula of wide layers.
    within : float
        How far its logarithm may be off at these widths.
    sources : tuple of int
        Which of the tensors of the batch the stream starts at; the others are held.
    """

    build: Build
    stream: str
    phase: str = ""
    growth: float | None = None
    within: float = 0.0
    sources: tuple[int, ...] = (0,)


def with_batch(build: Callable[[], Any], batch: Callable[[], Any]) -> Build:
    """Return a factory of both."""
    return lambda: (build(), batch())
