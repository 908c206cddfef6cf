"""Learning rate 5: plateaus of period 3, irregular bands, laminar gaps, no learning (figures 9 to 12)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import rankdata

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.intermittency import FIRST, RATE, WINDOW, regime_numbers
from phasescope.papers.chaos.shared import PAPER as SOURCE
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import TrainingMap, local_exponents, regimes, tangent_exponents

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from torch import Tensor

CHUNK = 5  # initialisations of one task
LAGS = 50
STRETCH = 300  # steps of an irregular stretch that is long enough for correlations and exponents
STARTS = 1000  # of the exponents of a series
# Neighbours within 5e-5 in a band of 1.3 that 42,300 steps fill: the paper's density for other lengths.
_RADIUS, _BAND, _PAPER_STEPS = 5e-5, 1.3, 42_300
_SCALAR = 0.3  # most frequent exponent of the series in figure 11
_DRIFT = -5.0  # log10 of the largest drift inside a region that is little
_ACTIVE = 0.01  # of the largest activity of a weight
_BURSTS = 10.0  # an intermittent weight's largest activity over its median


class LargeRateSettings(Settings):
    """How many runs are followed, and for how long."""

    starts: int = 20
    steps: int = 4000  # the paper has 10,000
    long_start: int = 11  # the run whose loss gives exponents of a series; irregular at this split and seed
    long_steps: int = 8000  # the paper has 45,000


QUICK = LargeRateSettings()
PAPER = LargeRateSettings(starts=100, steps=10_000, long_steps=45_000)

VARIABLES = {
    "loss": Variable(("start", "step"), "loss", "nat", optional=True),
    "growth": Variable(
        ("start", "window"), "growth of infinitely small differences", "1/step", optional=True
    ),
    "late": Variable(("start",), "their growth over the second half", "1/step", optional=True),
    "late_error": Variable(("start",), "its standard error over blocks of steps", "1/step", optional=True),
    "regime": Variable(("start", "window"), "period, 1 without one, 0 where irregular", optional=True),
    "drift": Variable(("start", "window"), "drift inside a region of a cycle", "nat/step", optional=True),
    "activity": Variable(("start", "window", "weight"), "standard deviation of a weight", optional=True),
    "outside": Variable(("start",), "share of lags outside the band of shuffles", optional=True),
    "stretch": Variable(("start",), "steps of the longest irregular stretch", "step", optional=True),
    "correlation": Variable(("lag",), "autocorrelation of the long run's loss", optional=True),
    "low": Variable(("lag",), "lower end of the band of its shuffles", optional=True),
    "high": Variable(("lag",), "upper end of the band of its shuffles", optional=True),
    "slopes": Variable(("neighbourhood",), "exponents of its loss, one a start", "1/step", optional=True),
    "significant": Variable(("neighbourhood",), "whether they differ from zero", optional=True),
    "long_loss": Variable(("long_step",), "its loss", "nat", optional=True),
    "exponent": Variable((), "its tangent exponent over the same steps", "1/step", optional=True),
    "exponent_error": Variable((), "the standard error of that", "1/step", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for some initialisations each, and one for the long run."""
    settings: LargeRateSettings = config.large_rate
    common = {"split": config.split, "seed": config.seed}
    steps = settings.steps // WINDOW * WINDOW
    made = []
    for numbers in shared.chunks(settings.starts, CHUNK):
        known = {"kind": "runs", "first_start": numbers.start, "starts": CHUNK, "steps": steps, **common}
        seconds = CHUNK * steps * (shared.TANGENT + shared.STEP)
        made.append(Task(STUDY, "large-rate", known, seconds=seconds))
    known = {"kind": "long", "first_start": settings.long_start, "starts": 1, "steps": settings.long_steps}
    made.append(Task(STUDY, "large-rate", {**known, **common}, seconds=settings.long_steps * 4e-4))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return losses, growth, regimes and the activity of weights; or the exponents of one long loss."""
    known = task.parameters
    step = shared.iris_map(known["split"], RATE, device)
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    x = shared.starts(known["seed"], numbers, device)
    found = tangent_exponents(step, steps=known["steps"], x=x, weights_only=True, seed=task.seed)
    if known["kind"] == "long":
        return _long(found.loss[0], found, known["steps"], task.seed)
    late = [each[0] for each in found.over(known["steps"] // 2)]
    regime, outside, stretch, drift = [], [], [], []
    for loss in found.loss:
        seen = regimes(loss, window=WINDOW, lags=LAGS, seed=task.seed)
        regime.append(regime_numbers(seen))
        own = seen.autocorrelation
        length = 0 if own is None else own.last - own.first
        long_enough = own is not None and length >= STRETCH
        outside.append(len(own.outside) / LAGS if own is not None and long_enough else math.nan)
        stretch.append(length)
        drift.append(np.where(seen.periods == 3, seen.drift, math.nan))
    return {
        "loss": found.loss,
        "growth": found.local[..., 0].reshape(len(x), -1, WINDOW).mean(axis=-1),
        "late": np.array([each.value for each in late]),
        "late_error": np.array([each.error for each in late]),
        "regime": np.array(regime),
        "drift": np.array(drift),
        "activity": _activity(step, x, known["steps"]),
        "outside": np.array(outside),
        "stretch": np.array(stretch, dtype=np.float64),
    }


def _activity(step: TrainingMap, x: Tensor, steps: int) -> np.ndarray:
    """Return the standard deviation of each weight within each window, (starts, windows, weights)."""
    found, rows = [], []
    for t in range(steps):
        rows.append(x[:, step.is_weight])
        x = step.step(x, t)
        if len(rows) == WINDOW:
            found.append(torch.stack(rows).std(dim=0))
            rows = []
    return torch.stack(found, dim=1).cpu().numpy()


def _long(loss: np.ndarray, found: Any, steps: int, seed: int) -> dict[str, np.ndarray]:
    """Return what the longest irregular stretch of a loss gives."""
    own = regimes(loss, window=WINDOW, lags=LAGS, seed=seed).autocorrelation
    made = {name: np.full(LAGS + 1, math.nan) for name in ("correlation", "low", "high")}
    made |= {name: np.full(STARTS, math.nan) for name in ("slopes", "significant")}
    made |= {"long_loss": loss, "exponent": np.array(math.nan), "exponent_error": np.array(math.nan)}
    if own is None or own.last - own.first < STRETCH:
        return made
    part = loss[own.first : own.last]
    radius = _RADIUS * _PAPER_STEPS / len(part) * np.ptp(part) / _BAND
    local = local_exponents(part, radius=radius, starts=STARTS, seed=seed)
    made["slopes"][: len(local.slopes)] = local.slopes
    made["significant"][: len(local.slopes)] = local.significant
    exponent = found.over(own.first, own.last)[0][0]
    return made | {
        "correlation": own.correlation,
        "low": own.low,
        "high": own.high,
        "exponent": np.array(exponent.value),
        "exponent_error": np.array(exponent.error),
    }


@dataclass(frozen=True)
class Numbers:
    """All runs, one a row, and the long one."""

    long: xr.Dataset
    entropy: float  # of the shares of the classes
    loss: np.ndarray
    growth: np.ndarray
    late: np.ndarray
    late_error: np.ndarray
    regime: np.ndarray
    drift: np.ndarray
    activity: np.ndarray
    outside: np.ndarray
    stretch: np.ndarray

    @property
    def late_regime(self) -> np.ndarray:
        """The regimes of the second half."""
        return self.regime[:, self.regime.shape[1] // 2 :]

    @property
    def slopes(self) -> np.ndarray:
        """The significant exponents of the long run's loss."""
        return np.asarray(self.long["slopes"].values[self.long["significant"].values > 0.5])

    @property
    def exponent(self) -> Estimate:
        """The tangent exponent over the same steps."""
        value, error = float(self.long["exponent"]), float(self.long["exponent_error"])
        if not math.isfinite(value):
            return Estimate.not_determined("the long run has no irregular stretch")
        return Estimate(value, error, "tangent, error over blocks of steps", len(self.long["long_loss"]))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    runs, long = chosen(data, kind="runs"), chosen(data, kind="long").isel(task=0)
    names = ("loss", "growth", "late", "late_error", "regime", "drift", "activity", "outside", "stretch")
    shares = shared.iris(config.split).shares
    entropy = float(-(shares * np.log(shares)).sum())
    return Numbers(long, entropy, *(np.concatenate(runs[name].values) for name in names))


def claims(n: Numbers) -> list[Check]:
    """Return what figures 9 to 12 show."""
    regime = n.late_regime
    shares = {period: (regime == period).mean(axis=1) for period in np.unique(regime) if period > 1}
    others = [each for period, each in shares.items() if period != 3]
    three = shares.get(3.0, np.zeros(len(regime)))
    most = np.max(np.mean(others, axis=1)) if others else 0.0
    drifts = np.log10(3 * n.drift[np.isfinite(n.drift) & (n.drift > 0)])
    irregular = (n.regime == 0).mean(axis=1)
    nine, twelve = f"{SOURCE}, figure 9", f"{SOURCE}, figure 12"
    return [
        Claim("period-3", "Period 3 is the commonest cycle of the loss.", nine).positive(
            over_starts(three, "share of windows of the second half") - float(most),
            note=f"Less the share of the next commonest cycle, {most:.3f}.",
        ),
        Claim(
            "drift", "Within a region of the cycle the loss drifts, and by little: 1e-6 in the figure.", nine
        ).below(
            _DRIFT,
            _typical(drifts),
            note="Measured: median of log10 of the drift in nats a cycle, over windows of period 3 that "
            f"drift. Agrees 3 errors below {_DRIFT:g}: the paper does not say over how many steps.",
        ),
        Claim("jumps", "Plateaus end in jumps: most runs change their regime after step 200.", nine).positive(
            shared.share((np.diff(n.regime[:, FIRST // WINDOW :], axis=1) != 0).any(axis=1)) - 0.5,
            note="Measured: share of runs, less one half.",
        ),
        Claim("irregular", "Some runs have irregular bands with laminar gaps.", nine).positive(
            shared.share((irregular > 0.05) & (irregular < 0.95)),
            note="Measured: share of runs with 5 to 95 % irregular windows.",
        ),
        Claim(
            "edge",
            f"The band ends at the entropy of the class shares, {n.entropy:.4f}: nothing is learnt.",
            nine,
        ).positive(
            shared.share(n.loss[:, n.loss.shape[1] // 2 :].min(axis=1) > n.entropy - 1e-3) - 0.5,
            note="Measured: share of runs whose loss never falls below it in the second half, less one "
            "half. The figure's band begins at 1.1.",
        ),
        Claim(
            "correlation",
            "Irregular stretches are correlated beyond the band of their shuffles.",
            f"{SOURCE}, figure 10",
        ).positive(
            over_starts(n.outside, "share of 50 lags, over stretches") - 0.05,
            note=f"Stretches of {STRETCH} steps or more; 5 % of lags are outside by chance, which is taken "
            "off.",
        ),
        *_series_claims(n),
        Claim("few-weights", "Few weights move; the rest is constant.", twelve).below(
            0.5,
            over_starts(_active(n).mean(axis=1), "share of weights, over runs"),
            note=f"Measured: share of weights whose largest deviation in a late window exceeds {_ACTIVE:g} "
            "of that of the weight that moves most. Agrees 3 errors below one half.",
        ),
        Claim("unison", "Weights that are intermittent are so in unison.", twelve).positive(
            over_starts(_unison(n), "mean rank correlation, over runs"),
            note="Measured: rank correlation over windows after step 200 between the deviations of two "
            f"weights, of those that move and whose largest deviation is {_BURSTS:g} times the median; "
            "mean over pairs.",
        ),
    ]


def _series_claims(n: Numbers) -> list[Check]:
    source = f"{SOURCE}, figure 11"
    slopes = n.slopes
    enough = len(slopes) >= 30
    typical = _typical(slopes) if enough else Estimate.not_determined("few significant exponents")
    return [
        Claim(
            "series-peak", "Exponents of the loss as a scalar series are most often about 0.3.", source
        ).equals(
            _SCALAR,
            typical,
            allowance=0.05,
            resolution=0.05,
            note="Measured: median of the significant ones, of one run. Allowance 0.05: read off a figure. "
            "Exponents at rate 5 are from 0.1 to 0.33, by the shares of the classes and the units stuck at 1 "
            "(part reduced-map), so another run may have the paper's.",
        ),
        Claim(
            "tangent", "The long irregular run is chaotic: its tangent exponent is positive.", source
        ).positive(n.exponent, note="Over the same steps as the exponents of the series."),
        Claim(
            "series-tangent", "Exponents of the series have the size of the tangent exponent.", source
        ).equals(
            0.0,
            typical - n.exponent,
            allowance=0.02,
            resolution=0.03,
            note="Measured: median of the significant ones less the tangent exponent. Allowance 0.02: "
            "starts share neighbours, so the error is too small.",
        ),
    ]


def _typical(samples: np.ndarray) -> Estimate:
    """Return the median of samples and its error, as for normal ones."""
    if len(samples) < 5:
        return Estimate.not_determined(f"{len(samples)} windows are too few")
    middle = float(np.median(samples))
    error = 1.2533 * 1.4826 * float(np.median(np.abs(samples - middle))) / math.sqrt(len(samples))
    return Estimate(middle, error, "median", len(samples))


def _active(n: Numbers) -> np.ndarray:
    """Return which weights move in the second half, (starts, weights)."""
    largest = n.activity[:, n.activity.shape[1] // 2 :].max(axis=1)
    return np.asarray(largest > _ACTIVE * largest.max(axis=1, keepdims=True))


def _unison(n: Numbers) -> np.ndarray:
    """Return the mean rank correlation of intermittent weights by run; NaN without a change of regime."""
    found = np.full(len(n.activity), math.nan)
    first = FIRST // WINDOW
    for i, (every, active, regime) in enumerate(zip(n.activity, _active(n), n.regime, strict=True)):
        activity = every[first:]
        some = active & (activity.max(axis=0) > _BURSTS * np.median(activity, axis=0))
        if some.sum() > 1 and len(np.unique(regime[first:])) > 1:
            ranks = np.corrcoef(rankdata(activity[:, some], axis=0), rowvar=False)
            found[i] = np.nanmean(ranks[np.triu_indices(len(ranks), 1)])
    return found


def tables(n: Numbers) -> list[Table]:
    periods, counts = np.unique(n.late_regime, return_counts=True)
    names = {0.0: "irregular", 1.0: "at rest, or settling"}
    shares = [
        [names.get(float(p), f"period {p:.0f}"), f"{c / counts.sum():.3f}"]
        for p, c in sorted(zip(periods, counts, strict=True), key=lambda pair: -pair[1])
    ]
    half = n.loss.shape[1] // 2
    rows = [
        [
            str(i),
            f"{(n.regime[i] == 0).mean():.2f}",
            f"{n.stretch[i]:.0f}",
            f"{n.loss[i, half:].min():.3f} to {n.loss[i, half:].max():.3f}",
            str(Estimate(float(n.late[i]), float(n.late_error[i]), "", 1)),
        ]
        for i in range(min(20, len(n.loss)))
    ]
    columns = ("start", "irregular windows", "longest stretch", "late loss", "late exponent")
    return [
        Table("Regimes in the second half of the runs", ("regime", "share of windows"), shares),
        Table("Runs at rate 5", columns, rows),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "Exponents of the series follow the paper: slopes of ln(mean distance) over all neighbours of a "
        f"start, without embedding; the radius keeps the paper's number of neighbours. Of {len(n.slopes)} "
        f"significant ones, {(n.slopes > 0).mean() if len(n.slopes) else math.nan:.2f} are positive.",
        "The long run is an initialisation that is irregular at this split and seed; the paper's is one "
        "of 20.",
    ]


def draw_runs(axes: Axes, n: Numbers) -> None:
    _draw_loss(axes, n, int((n.late_regime == 3).mean(axis=1).argmax()), "A run with period 3")


def draw_irregular(axes: Axes, n: Numbers) -> None:
    _draw_loss(axes, n, _intermittent_run(n), "An intermittent run")


def _intermittent_run(n: Numbers) -> int:
    irregular = (n.regime == 0).mean(axis=1)
    return int(np.where(irregular < 0.95, irregular, 0).argmax())


def _draw_loss(axes: Axes, n: Numbers, row: int, title: str) -> None:
    axes.plot(n.loss[row], ".", ms=1, color=plotting.MEASURED)
    axes.axhline(n.entropy, lw=0.8, color=plotting.THEORY, label="entropy of the classes")
    axes.set(xlabel="step", ylabel="loss", title=f"{title} ({row})", ylim=(0, None))
    legend(axes, loc="upper right")


def draw_weights(axes: Axes, n: Numbers) -> None:
    row = _intermittent_run(n)
    steps = WINDOW * (np.arange(n.activity.shape[1]) + 0.5)
    some = np.argsort(-n.activity[row].max(axis=0))
    for place in some[[0, 1, 2, 3, 5, 8, 20, 40]]:
        axes.plot(steps, n.activity[row, :, place] + 1e-12, lw=0.8, color=plotting.MEASURED)
    axes.set(yscale="log", xlabel="step", ylabel="deviation in a window", title=f"Weights of run {row}")
    axes.set_ylim(1e-9, None)


def draw_correlation(axes: Axes, n: Numbers) -> None:
    lags = np.arange(LAGS + 1)
    low, high = n.long["low"], n.long["high"]
    axes.fill_between(lags, low, high, color=plotting.INK, alpha=0.15, lw=0, label="shuffles")
    axes.plot(lags, n.long["correlation"], "o-", ms=3, lw=0.8, color=plotting.MEASURED)
    axes.set(xlabel="lag", ylabel="autocorrelation", title="Loss of the long run")
    legend(axes)


def draw_slopes(axes: Axes, n: Numbers) -> None:
    bins = np.linspace(-1, 2.2, 65).tolist()
    every = n.long["slopes"].values
    axes.hist(every[np.isfinite(every)], bins=bins, color=plotting.INK, alpha=0.25, label="all starts")
    axes.hist(n.slopes, bins=bins, color=plotting.MEASURED, label="significant")
    if n.exponent.determined:
        axes.axvline(n.exponent.value, color=plotting.THEORY, label="tangent exponent")
    axes.set(xlabel="exponent of the series, 1/step", ylabel="starts", title="Exponents of the loss")
    legend(axes)


def draw_late(axes: Axes, n: Numbers) -> None:
    irregular = (n.late_regime == 0).mean(axis=1)
    axes.errorbar(irregular, n.late, n.late_error, fmt="o", ms=4, color=plotting.MEASURED)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(xlabel="share of irregular windows", ylabel="tangent exponent, 1/step", title="Second half")


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "runs",
            "Loss at rate 5 of a run on plateaus of period 3 and of an intermittent one, and the "
            "deviation of some weights within windows of 40 steps.",
            [draw_runs, draw_irregular, draw_weights],
        ),
        Panels(
            "series",
            "Left: autocorrelation of an irregular loss and the band of its shuffles. Middle: exponents "
            "of that loss as a scalar series, and the tangent exponent. Right: tangent exponent of each "
            "run against the share of irregular windows.",
            [draw_correlation, draw_slopes, draw_late],
        ),
    ]


LARGE_RATE = Part(
    name="large-rate",
    title="Very high learning rate",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("danovski2024", "kantz1994"),
)
