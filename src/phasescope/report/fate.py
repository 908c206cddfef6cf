"""What became of the networks when they were trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.report.comparison import colours, listed, subjects
from phasescope.report.numbers import measured, percent
from phasescope.report.svg import inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.estimate import Estimate
    from phasescope.instruments import Inspection


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


@dataclass(frozen=True)
class Training:
    """What became of the inspected networks when they were trained under one budget.

    Parameters
    ----------
    fates : sequence of Fate
        One an inspection, in the same order.
    budget : str
        What every network was given, in a sentence.
    chance : float
        Accuracy of guessing.
    """

    fates: Sequence[Fate]
    budget: str
    chance: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {
            "budget": self.budget,
            "chance": self.chance,
            "fates": [fate.to_dict() for fate in self.fates],
        }


def training_context(training: Training, inspections: Sequence[Inspection]) -> dict[str, Any]:
    """Return what the page shows of training: two pictures, and the accuracy that each network reached."""
    fates = training.fates
    names = ", ".join(fate.label for fate in fates)
    inks = colours(subjects(inspections))
    loss = _panel(fates, inks, "loss", "Training loss", "cross-entropy")
    loss.axes[0].set_ylim(bottom=0.0)
    accuracy = _panel(fates, inks, "accuracy", "Test accuracy", "fraction correct")
    accuracy.axes[0].axhline(training.chance, color=plotting.INK, lw=0.8, ls=":")
    accuracy.axes[0].set_ylim(0.0, 1.02)
    svgs = [
        *inline(loss, "training0", f"Training loss against steps, for {names}."),
        *inline(accuracy, "training1", f"Test accuracy against steps, for {names}; dotted: guessing."),
    ]
    shares = [percent(fate.final.value) for fate in fates]
    return {
        "budget": training.budget,
        "svgs": svgs,
        "caption": f"Thin lines: {len(fates[0].loss)} seeds; thick: their mean. Dotted: guessing.",
        "standfirst": f"Trained alike, they classify {listed(shares)} of the test set correctly.",
        "accuracies": [f"{measured(100 * fate.final.value, 100 * fate.final.error)} %" for fate in fates],
    }


def _panel(fates: Sequence[Fate], inks: Sequence[str], what: str, title: str, label: str) -> Figure:
    with plotting.style():
        drawn, (axes,) = plotting.figure(1, panel_size=(4.6, 2.9))
        for fate, ink in zip(fates, inks, strict=True):
            _curves(axes, fate.steps, getattr(fate, what), ink)
        axes.set(title=title, xlabel="training step", ylabel=label)
    return drawn


def _curves(axes: Axes, steps: np.ndarray, values: np.ndarray, ink: str) -> None:
    """Draw a thin line a seed, and a thick one for their mean."""
    for curve in values:
        axes.plot(steps, curve, "-", color=ink, lw=0.8, alpha=0.45)
    axes.plot(steps, values.mean(axis=0), "-", color=ink, lw=1.8)
