"""What became of a network when it was trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.report.comparison_figure import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from phasescope.estimate import Estimate


@dataclass(frozen=True)
class Fate:
    """Training of one network, repeated over seeds.

    Parameters
    ----------
    label : str
        The label of the network's inspection.
    steps : array of shape (T,)
        Updates made when a loss or accuracy was taken.
    loss : array of shape (seeds, T)
        Mean training loss since the preceding one.
    accuracy : array of shape (seeds, T)
        Fraction of the test set that is classified correctly.
    final : Estimate
        Mean of the last accuracies, with its standard error over seeds.
    """

    label: str
    steps: np.ndarray
    loss: np.ndarray
    accuracy: np.ndarray
    final: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; ``None`` in place of a loss that is not finite."""
        loss = [[value if math.isfinite(value) else None for value in curve] for curve in self.loss.tolist()]
        return {
            "label": self.label,
            "steps": self.steps.tolist(),
            "loss": loss,
            "accuracy": self.accuracy.tolist(),
            "final_accuracy": self.final.to_dict(),
        }


def fate_panels(fates: Sequence[Fate], colours: Sequence[str], chance: float) -> list[Panel]:
    """Return two figures against training steps: loss and test accuracy, a thin line a seed."""
    names = ", ".join(fate.label for fate in fates)
    loss = _panel(fates, colours, "loss", "Training loss", "cross-entropy")
    accuracy = _panel(fates, colours, "accuracy", "Test accuracy", "fraction correct")
    axes = accuracy.axes[0]
    axes.axhline(chance, color=plotting.INK, lw=0.8, ls=":")
    axes.set_ylim(0.0, 1.02)
    loss.axes[0].set_ylim(bottom=0.0)
    return [
        Panel(loss, f"Training loss against steps, for {names}."),
        Panel(accuracy, f"Test accuracy against steps, for {names}; dotted: guessing."),
    ]


def _panel(fates: Sequence[Fate], colours: Sequence[str], what: str, title: str, label: str) -> Any:
    with plotting.style():
        drawn, (axes,) = plotting.figure(1, panel_size=(4.6, 2.9))
        for fate, colour in zip(fates, colours, strict=True):
            _curves(axes, fate.steps, getattr(fate, what), colour)
        axes.set_title(title)
        axes.set_xlabel("training step")
        axes.set_ylabel(label)
    return drawn


def _curves(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    for curve in values:
        axes.plot(steps, curve, "-", color=colour, lw=0.8, alpha=0.45)
    axes.plot(steps, values.mean(axis=0), "-", color=colour, lw=1.8)
