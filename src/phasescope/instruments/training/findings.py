"""What the stability of training says, in sentences that a person can act on; and as a plain text table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding
from phasescope.instruments.rows import Column, Row

if TYPE_CHECKING:
    import xarray as xr

COLUMNS = (
    Column("weights", "weights", "number of trained parameters"),
    Column("curvature", "curvature", "share of the sharpest direction in this layer", fraction=True),
    Column("growth", "growth", "share of the fastest growing small difference in this layer", fraction=True),
    Column("update", "update", "size of a step over the size of the weights, mean over the run"),
    Column(
        "straightness", "straightness", "displacement over path length of the weights; 1 for a straight way"
    ),
)
"""What a page shows of each layer."""

_NEAR, _BEYOND = 0.8, 1.25  # sharpness over threshold: what is between lies at the edge
_CHAOTIC = math.log(1e3)  # growth of a small difference within the run
_CALM = math.log(10.0)  # its growth within the last quarter of the run
_RISEN = 3.0  # times the loss at the start
_SAFE = 0.5  # of the largest stable rate, where one has to be suggested
_CONCENTRATED = 0.8
_DIGITS = 1e-3  # relative error below which four digits are printed
_NAME = 34  # columns of the table that the name of a layer takes
_SCAN = "To find the rate that reaches a target first: phasescope lr-scan FILE.py:factory."


class _Run:
    """The numbers of a dataset that the sentences are made of."""

    def __init__(self, dataset: xr.Dataset) -> None:
        attrs = dataset.attrs
        self.optimizer, self.rate = str(attrs["optimizer"]), attrs.get("rate")
        self.steps, self.diverged = int(dataset.sizes["step"]), int(attrs["diverged"])
        self.loss = dataset["loss"].values
        self.grown = np.cumsum(np.nan_to_num(dataset["local_exponent"].values))
        known = np.flatnonzero(np.isfinite(dataset["ratio"].values))
        self.points = [(int(dataset["point"].values[at]), _at(dataset, "ratio", int(at))) for at in known]
        value, error = float(dataset["exponent"]), float(dataset["exponent_error"])
        self.exponent = (
            Estimate(value, error, "tangent", self.steps)
            if math.isfinite(value)
            else Estimate.not_determined(str(attrs["exponent_reason"]) or "not finite")
        )

    @property
    def who(self) -> str:
        """The optimiser and its rate."""
        return f"{self.optimizer} at rate {self.rate:.4g}" if self.rate is not None else self.optimizer

    @property
    def highest(self) -> tuple[int, Estimate]:
        """The point with the largest ratio of sharpness and threshold."""
        return max(self.points, key=lambda point: point[1].value)

    @property
    def growth(self) -> float:
        """Logarithm of the largest growth of a small difference up to any step."""
        return float(self.grown.max(initial=0.0))

    @property
    def late_growth(self) -> float:
        """The same within the last quarter of the run."""
        late = self.grown[3 * len(self.grown) // 4 :]
        return float(np.max(late - late[0])) if late.size else 0.0

    @property
    def settled(self) -> int:
        """The step by which nearly all of the growth has taken place."""
        return int(np.argmax(self.grown >= 0.95 * self.growth)) + 1

    def lower(self) -> str:
        """What to do against instability."""
        over = max([1.0, *(ratio.value for _, ratio in self.points)])
        if self.rate is None:
            return f"Multiply the learning rates by {_SAFE / over:.2g}. {_SCAN}"
        return f"Lower the learning rate from {self.rate:.3g} to {_SAFE * self.rate / over:.2g}. {_SCAN}"


def findings(dataset: xr.Dataset) -> list[Finding]:
    """Return the verdict first, then where the curvature sits."""
    if not dataset.attrs["optimizer"]:
        return [_sharpness_alone(dataset)]
    run = _Run(dataset)
    found = [_verdict(run), _concentration(dataset, run)]
    return [finding for finding in found if finding is not None]


def _verdict(run: _Run) -> Finding:
    evidence = f"{_ratios(run)}; {_growth(run)}; loss {_losses(run)}"
    if run.diverged >= 0:
        after = "in the first step" if run.diverged == 0 else f"after {run.diverged} steps"
        what = f"Training diverges: with {run.who}, loss or weights are no longer finite {after}."
        return Finding(what, evidence, run.lower(), "problem", "broken")
    if run.loss[-1] > _RISEN * run.loss[0] > 0:
        what = f"the loss rises from {run.loss[0]:.3g} to {run.loss[-1]:.3g} within {run.steps} steps"
        return Finding(f"Training is unstable: {what} ({run.who}).", evidence, run.lower(), "problem")
    if run.growth > _CHAOTIC and run.late_growth > _CALM:
        every = f"a factor e every {1 / run.exponent.value:.2g} steps"
        what = f"Chaotic: a small difference between two runs grows by {every} ({run.who})."
        return Finding(what, evidence, run.lower(), "warning")
    if run.growth > _CHAOTIC:
        what = f"a small difference grows by a factor {_factor(run.growth)} in {run.settled} steps"
        return Finding(
            f"Chaotic at first: {what}, then no more ({run.who}).", evidence, run.lower(), "warning"
        )
    if not run.points:
        what = f"The sharpness over the threshold of {run.who} is not determined."
        return Finding(what, evidence, "Measure again after some steps of training.", "note")
    step, highest = run.highest
    last = run.points[-1][1]
    if highest.value <= 0:
        return Finding(f"Stable: no direction is curved upwards ({run.who}).", evidence, "", "ok")
    if last.value > _BEYOND:
        what = (
            f"the sharpness is {_shown(last)} of the threshold of {run.who}, so the loss cannot fall smoothly"
        )
        return Finding(f"Beyond the edge of stability: {what}.", evidence, run.lower(), "warning")
    if last.value > _NEAR:
        keep = "Keep the rate if the loss falls over tens of steps; a higher one can make training chaotic."
        what = f"At the edge of stability: the sharpness is {_shown(last)} of the threshold of {run.who}."
        return Finding(what, evidence, f"{keep} {_SCAN}", "note")
    if highest.value > _NEAR:
        what = f"the sharpness is {_shown(highest)} of the threshold of {run.who} at step {step}"
        action = f"A higher rate can make the start chaotic: warm it up. {_SCAN}"
        return Finding(
            f"Stable after a passage at the edge: {what}, and {_shown(last)} at the end.",
            evidence,
            action,
            "note",
        )
    what = f"Stable: the sharpness is at most {_shown(highest)} of the threshold of {run.who}."
    limit = ""
    if run.rate is not None:
        limit = f"At these weights rates are stable up to {_shown(run.rate * (1 / highest))}. "
    return Finding(what, evidence, f"{limit}{_SCAN}", "ok")


def _sharpness_alone(dataset: xr.Dataset) -> Finding:
    sharpness = _at(dataset, "sharpness", 0)
    if not sharpness.value > 0:
        evidence = f"largest eigenvalue of the Hessian {_shown(sharpness)}"
        action = "Pass optimizer= to see a short run of training."
        return Finding("No direction of the loss is curved upwards.", evidence, action, "note")
    return Finding(
        f"Gradient descent is stable up to a rate of {_shown(2.0 / sharpness)}.",
        f"2 / sharpness, with the sharpness {_shown(sharpness)}",
        "Pass optimizer= to see the threshold of your own optimiser and a short run of training.",
        "note",
    )


def _concentration(dataset: xr.Dataset, run: _Run) -> Finding | None:
    rows = [row for row in Row.measured(dataset) if math.isfinite(row["curvature"])]
    if len(rows) < 3 or not run.points or run.highest[1].value < _NEAR:
        return None
    top = max(rows, key=lambda row: row["curvature"])
    if top["curvature"] < _CONCENTRATED:
        return None
    name, share = top.text("layer"), f"{100 * top['curvature']:.0f} %"
    return Finding(
        f"One layer limits the rate: {share} of the sharpest direction lies in {name}.",
        f"it holds {int(top['weights'])} of {dataset.attrs['trained']} trained parameters",
        f"Give {name} a parameter group with a lower rate, or normalise its input.",
        "note",
    )


def _ratios(run: _Run) -> str:
    if not run.points:
        return "sharpness over threshold not determined"
    return "sharpness over threshold " + ", ".join(
        f"{_shown(ratio)} at step {step}" for step, ratio in run.points
    )


def _growth(run: _Run) -> str:
    grown = f"a small difference grew by at most a factor {_factor(run.growth)}"
    return f"Lyapunov exponent {run.exponent} per step over {run.steps} steps; {grown}"


def _shown(estimate: Estimate) -> str:
    """Return it as it prints, or four digits where its error is below the last of them."""
    if estimate.determined and estimate.error < _DIGITS * abs(estimate.value):
        return f"{estimate.value:.4g}"
    return str(estimate)


def _factor(logarithm: float) -> str:
    exponent = logarithm / math.log(10.0)
    return f"{math.exp(logarithm):.2g}" if exponent < 4 else f"10^{exponent:.0f}"


def _losses(run: _Run) -> str:
    if not run.loss.size:
        return "not finite after the first step"
    rises = 100 * float(np.mean(np.diff(run.loss) > 0)) if run.loss.size > 1 else 0.0
    return f"{run.loss[0]:.4g} to {run.loss[-1]:.4g}, rising in {rises:.0f} % of the steps"


def _at(dataset: xr.Dataset, name: str, point: int) -> Estimate:
    value, error = float(dataset[name].values[point]), float(dataset[f"{name}_error"].values[point])
    return Estimate(value, error, "Lanczos", 1)


def table(dataset: xr.Dataset) -> str:
    """Return the run point by point and the layers, at most 100 columns wide."""
    attrs = dataset.attrs
    who = (
        f"{attrs['optimizer']}, {dataset.sizes.get('step', 0)} steps"
        if attrs["optimizer"]
        else "no optimiser"
    )
    lines = [f"Stability of training: {who}; {attrs['trained']} trained parameters"]
    lines.append(f"{'step':>8} {'sharpness':>16} {'over threshold':>16}")
    for place, step in enumerate(dataset["point"].values):
        found = [_at(dataset, name, place) for name in ("sharpness", "ratio")]
        texts = [_shown(each) if math.isfinite(each.value) else "-" for each in found]
        lines.append(f"{int(step):>8} {texts[0]:>16} {texts[1]:>16}")
    shown = [column for column in COLUMNS if column.variable in dataset]
    lines.append(f"{'':<{_NAME}}" + "".join(f"{column.heading:>13}" for column in shown))
    for row in Row.measured(dataset):
        cells = "".join(f"{_cell(row, column):>13}" for column in shown)
        lines.append(f"{row.short_name(_NAME):<{_NAME}}{cells}")
    return "\n".join(lines)


def _cell(row: Row, column: Column) -> str:
    value = row[column.variable]
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.0f}%" if column.fraction else f"{value:.4g}"
