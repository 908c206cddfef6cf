"""Learning rate 1: differences grow exponentially within the first 200 steps (figures 7 and 8).

The paper fits a line to the logarithm of the mean distance in many windows and keeps the slope of the one
with the largest R^2. Infinitely small differences, which the derivative of the map carries, are the limit of
small perturbations, and show what the choice of the window does to the number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import gaussian_kde, linregress

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import PAPER as SOURCE
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import perturbation_growth, tangent_exponents

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATE = 1.0
STEPS = 199  # the paper records 200 networks
COPIES = 5
LONG_STARTS = 16  # the paper shows 4
CHUNK = 20  # initialisations of one task
# Read off figure 8, right.
EXPONENTS = {1e-14: 0.335, 1e-10: 0.31, 1e-8: 0.28, 1e-6: 0.25, 1e-4: 0.17, 1e-2: 0.075}
LIMIT = 0.33  # stated
KEPT = 0.9
PEAK = (0.2, 0.3)  # of figure 8, left
# What reading a figure to 0.01 and another split of the flowers may change.
_ALLOWANCE = 0.03
_DRAWN = 5  # long runs in the figure
_MODES, _BOOTSTRAP = 512, 200  # points of a density; samples of the test for one peak


class GrowthSettings(Settings):
    """Sizes of the ensembles at rate 1."""

    starts: int = 100  # initialisations; the paper has 500
    sizes: tuple[float, ...] = tuple(EXPONENTS)  # of the perturbations of each weight
    long_steps: int = 1500  # of the few runs that are followed for long; the paper has 5000


QUICK = GrowthSettings()
PAPER = GrowthSettings(starts=500, sizes=tuple(10.0**e for e in range(-14, -1)), long_steps=5000)

VARIABLES = {
    "distance": Variable(("start", "step"), "mean L1 distance to the unperturbed network", optional=True),
    "exponent": Variable(("start",), "slope of ln of the distance in the window of best fit", "1/step"),
    "r_squared": Variable(("start",), "of that fit"),
    "first": Variable(("start",), "first step of that window", optional=True),
    "last": Variable(("start",), "last step of that window", optional=True),
    "whole": Variable(
        ("start",), "growth of infinitely small differences over all steps", "1/step", optional=True
    ),
    "long_distance": Variable(("run", "long_step"), "mean L1 distance in the long runs", optional=True),
    "long_loss": Variable(
        ("run", "long_step"), "loss of the unperturbed network there", "nat", optional=True
    ),
}


def tasks(config: Any) -> list[Task]:
    """Return the ensembles of each size and the tangents, some initialisations each, and the long runs."""
    settings: GrowthSettings = config.exponential_growth
    common = {"split": config.split, "seed": config.seed}
    made = []
    for numbers in shared.chunks(settings.starts, CHUNK):
        place = {"first_start": numbers.start, "starts": len(numbers), "steps": STEPS, **common}
        seconds = len(numbers) * STEPS
        for size in settings.sizes:
            known = {"kind": "copies", "size": size, **place}
            made.append(Task(STUDY, "exponential-growth", known, seconds=6 * seconds * shared.STEP))
        known = {"kind": "tangent", "size": 0.0, **place}
        made.append(Task(STUDY, "exponential-growth", known, seconds=seconds * shared.TANGENT))
    known = {"kind": "long", "size": shared.SIZE, "first_start": 0, "starts": LONG_STARTS}
    known |= {"steps": settings.long_steps, **common}
    time = 6 * LONG_STARTS * settings.long_steps * shared.STEP
    made.append(Task(STUDY, "exponential-growth", known, seconds=time))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return distances and exponents of some initialisations."""
    known = task.parameters
    step = shared.iris_map(known["split"], RATE, device)
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    x = shared.starts(known["seed"], numbers, device)
    if known["kind"] == "tangent":
        found = tangent_exponents(step, steps=known["steps"], x=x, weights_only=True, seed=task.seed)
        logs = np.cumsum(found.local[..., 0], axis=1)
        best = np.array([best_window(np.concatenate([[0.0], each])) for each in logs])
        return {
            "exponent": best[:, 0],
            "r_squared": best[:, 1],
            "first": best[:, 2],
            "last": best[:, 3],
            "whole": logs[:, -1] / known["steps"],
        }
    grown = perturbation_growth(
        step, steps=known["steps"], copies=COPIES, size=known["size"], x=x, seed=task.seed
    )
    if known["kind"] == "long":
        nothing = np.full(CHUNK, math.nan)
        return {
            "exponent": nothing,
            "r_squared": nothing,
            "long_distance": grown.l1,
            "long_loss": grown.loss,
        }
    windows = np.array([each.window or (math.nan, math.nan) for each in grown.fitted])
    return {
        "distance": grown.l1,
        "exponent": np.array([each.value for each in grown.fitted]),
        "r_squared": grown.r_squared,
        "first": windows[:, 0],
        "last": windows[:, 1],
    }


def best_window(logs: np.ndarray) -> tuple[float, float, float, float]:
    """Return slope, R^2, first and last step of the window that the paper's rule chooses for ln d(t).

    NaN for slope and window where the rule keeps none: R^2 of 0.9 or less, or a slope of 0.05 or less.
    """
    fits = []
    for first in range(0, 101, 5):
        for length in range(30, 101, 5):
            if first + length <= len(logs):
                line = linregress(np.arange(length), logs[first : first + length])
                # A constant has no correlation.
                fits.append((np.nan_to_num(line.rvalue) ** 2, line.slope, first, first + length - 1))
    r_squared, slope, first, last = max(fits)
    if r_squared <= 0.9 or slope <= 0.05:
        return math.nan, r_squared, math.nan, math.nan
    return slope, r_squared, first, last


@dataclass(frozen=True)
class Numbers:
    """Exponents of all initialisations: by size, of tangents, and the long runs."""

    exponents: dict[float, np.ndarray]  # by size, in the order of initialisations; NaN where none was kept
    tangent: np.ndarray
    whole: np.ndarray
    windows: dict[float, tuple[float, float]]  # mean first and last step, by size; 0 for tangents
    distances: np.ndarray  # (starts, steps) at the paper's size
    long_distance: np.ndarray
    long_loss: np.ndarray
    one_peak: Estimate  # probability of so many peaks from a density with one
    peak: Estimate

    @property
    def usual(self) -> np.ndarray:
        """Those at the paper's own size."""
        return self.exponents[shared.SIZE]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    exponents, windows = {}, {}
    for size in config.exponential_growth.sizes:
        some = chosen(data, kind="copies", size=size)
        exponents[size] = some["exponent"].values.ravel()
        windows[size] = _window(some)
    tangent, long = chosen(data, kind="tangent"), chosen(data, kind="long")
    windows[0.0] = _window(tangent)
    usual = exponents[shared.SIZE]
    kept = usual[np.isfinite(usual)]
    return Numbers(
        exponents,
        tangent["exponent"].values.ravel(),
        tangent["whole"].values.ravel(),
        windows,
        np.concatenate(chosen(data, kind="copies", size=shared.SIZE)["distance"].values),
        long["long_distance"].values[0],
        long["long_loss"].values[0],
        _one_peak(kept),
        _peak(kept),
    )


def _window(some: xr.Dataset) -> tuple[float, float]:
    return float(some["first"].mean()), float(some["last"].mean())


def _peaks(samples: np.ndarray, width: float) -> int:
    """Return how many maxima a density of normal bumps of that width has."""
    places = np.linspace(samples.min() - 3 * width, samples.max() + 3 * width, _MODES)
    density = np.exp(-0.5 * ((places[:, None] - samples) / width) ** 2).sum(axis=1)
    return int(((density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:])).sum())


def _one_peak(samples: np.ndarray) -> Estimate:
    """Return the p value of Silverman's test for one peak (J. R. Stat. Soc. B 43, 97 (1981))."""
    if len(samples) < 20:
        return Estimate.not_determined(f"{len(samples)} exponents are too few for the shape of their law")
    low, high = 1e-3 * samples.std(), 2 * np.ptp(samples)
    for _ in range(40):  # the smallest width with one peak
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _peaks(samples, middle) == 1 else (middle, high)
    random = np.random.default_rng(0)
    shrink = 1 / math.sqrt(1 + high**2 / samples.var())
    more = 0
    for _ in range(_BOOTSTRAP):
        drawn = random.choice(samples, len(samples)) + high * random.standard_normal(len(samples))
        more += _peaks(samples.mean() + shrink * (drawn - samples.mean()), high) > 1
    p = more / _BOOTSTRAP
    return Estimate(
        p, math.sqrt(max(p * (1 - p), 1 / _BOOTSTRAP) / _BOOTSTRAP), "Silverman's test", len(samples)
    )


def _peak(samples: np.ndarray) -> Estimate:
    """Return where the density is largest, with the spread over draws of the samples with replacement."""
    if len(samples) < 20:
        return Estimate.not_determined(f"{len(samples)} exponents are too few for the shape of their law")
    random = np.random.default_rng(0)
    places = np.linspace(samples.min(), samples.max(), _MODES)
    draws = [samples] + [random.choice(samples, len(samples)) for _ in range(_BOOTSTRAP)]
    tops = [places[gaussian_kde(drawn)(places).argmax()] for drawn in draws]
    return Estimate(float(tops[0]), float(np.std(tops[1:])), "largest density", len(samples))


def claims(n: Numbers) -> list[Check]:
    """Return what figures 7 and 8 show, and what the choice of the window does."""
    made = [
        Claim(
            "kept",
            "In about 90 % of initialisations the distance has a window of exponential growth.",
            f"{SOURCE}, figure 8",
        ).equals(
            KEPT,
            shared.share(np.isfinite(n.usual)),
            allowance=0.05,
            resolution=0.05,
            note="R^2 above 0.9 and slope above 0.05. Allowance 0.05 for another split of the flowers.",
        ),
        Claim(
            "one-peak", "The exponents of initialisations have a law with one peak.", f"{SOURCE}, figure 8"
        ).found(
            None,
            n.one_peak,
            "not determined"
            if not n.one_peak.determined
            else "agrees"
            if n.one_peak.value > 0.05
            else "disagrees",
            "Measured: p of Silverman's test for one peak. Agrees above 0.05.",
        ),
        Claim("peak", "That law is largest between 0.2 and 0.3.", f"{SOURCE}, figure 8").equals(
            sum(PEAK) / 2, n.peak, allowance=(PEAK[1] - PEAK[0]) / 2, resolution=0.05
        ),
    ]
    made += [_size_claim(n, size, expected) for size, expected in EXPONENTS.items() if size in n.exponents]
    smallest = min(n.exponents)
    return [
        *made,
        Claim("limit", "The exponent tends to 0.33 for small perturbations.", f"{SOURCE}, figure 8").equals(
            LIMIT,
            over_starts(n.tangent),
            allowance=_ALLOWANCE,
            resolution=0.02,
            note="Measured: the paper's window, for infinitely small differences. Allowance 0.03 as for "
            "sizes.",
        ),
        Claim(
            "limit-reached",
            "Perturbations of 1e-14 are small enough to show that limit.",
            f"{SOURCE}, figure 8",
        ).equals(
            0.0,
            over_starts(n.exponents[smallest] - n.tangent, "pairs of one initialisation"),
            allowance=0.02,
            resolution=0.02,
            note="Measured: exponent at the smallest size less that of tangents. Allowance 0.02: other "
            "directions.",
        ),
        Claim(
            "window",
            "The choice of the best window raises the exponent above the growth over all 200 steps.",
        ).positive(
            over_starts(n.tangent - n.whole, "pairs of one initialisation"),
            note=f"Best window {over_starts(n.tangent)}, all steps {over_starts(n.whole)} a step, both of "
            "infinitely small differences.",
        ),
        *_long_claims(n),
    ]


def _size_claim(n: Numbers, size: float, expected: float) -> Check:
    return Claim(
        f"size-{size:.0e}",
        f"The mean exponent of perturbations of {size:.0e} is {expected:g} a step.",
        f"{SOURCE}, figure 8",
    ).equals(
        expected,
        over_starts(n.exponents[size]),
        allowance=_ALLOWANCE,
        resolution=0.02,
        note="Read off the figure. Allowance 0.03: reading, and another split of the flowers.",
    )


def _long_claims(n: Numbers) -> list[Check]:
    end = n.long_distance.shape[1] - 1
    late = np.log10(np.median(n.long_distance[:, end // 2 :], axis=1))
    kept = np.isfinite(n.usual)
    early = np.log10(n.distances[kept, -1])
    rises = np.diff(n.long_loss[:, : min(200, end)], axis=1) > 0
    return [
        Claim(
            "explodes", "Within 200 steps a distance of 1e-7 becomes one of 1 to 10.", f"{SOURCE}, figure 7"
        ).equals(
            0.5,
            over_starts(early, "log10 of the distance, over initialisations with a window"),
            allowance=0.5,
            resolution=0.25,
            note="Measured: log10 of the distance at step 199, size 1e-8. Allowance 0.5: the range.",
        ),
        Claim("saturates", "The distance stays between 10 and 100 afterwards.", f"{SOURCE}, figure 7").equals(
            1.5,
            over_starts(late, "log10 of the median distance, over initialisations"),
            allowance=0.5,
            resolution=0.3,
            note="Measured: log10 in the second half of the run. Allowance 0.5: the range.",
        ),
        Claim(
            "loss-rises",
            "The loss does not fall monotonically: it rises in many steps.",
            f"{SOURCE}, figure 7",
        ).positive(
            over_starts(rises.mean(axis=1), "share of the first 200 steps") - 0.1,
            note="Measured: share of the first 200 steps in which it rises, less 0.1.",
        ),
        Claim("learns", "The loss is near 0 in the end.", f"{SOURCE}, figure 7").below(
            0.2,
            over_starts(np.median(n.long_loss[:, -200:], axis=1), "median of the last 200 steps"),
            note="Agrees 3 errors below 0.2; at chance it is 1.1.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    named: Mapping[float, np.ndarray] = {0.0: n.tangent, **n.exponents}
    for size, found in named.items():
        first, last = n.windows[size]
        rows.append(
            [
                f"{size:.0e}" if size else "infinitely small",
                f"{EXPONENTS[size]:g}" if size in EXPONENTS else "",
                str(over_starts(found)),
                f"{np.nanstd(found):.3f}",
                str(shared.share(np.isfinite(found))),
                f"{first:.0f} to {last:.0f}",
            ]
        )
    columns = ("perturbation", "paper", "mean exponent", "deviation", "share kept", "mean window")
    return [Table("Exponents in the window of best fit, by size of the perturbation", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "An exponent is the slope of ln(mean distance of 5 copies) in the window of best R^2; windows "
        "start at steps 0, 5 ... 100 and have 30, 35 ... 100 steps, as in the code of the paper's "
        f"authors. Growth over all 200 steps is {over_starts(n.whole)} a step. Both are rates of a "
        "transient: see the part 'transience'.",
        "The exponent falls with the size of the perturbation as larger ones saturate earlier, which "
        "leaves earlier and shorter windows.",
    ]


def draw_distances(axes: Axes, n: Numbers) -> None:
    for each in n.distances[:CHUNK]:
        axes.plot(each, lw=0.6, color=plotting.MEASURED)
    axes.set(
        yscale="log",
        xlabel="step",
        ylabel="L1 distance",
        title=f"{min(CHUNK, len(n.distances))} starts, rate 1",
    )


def draw_law(axes: Axes, n: Numbers) -> None:
    kept = n.usual[np.isfinite(n.usual)]
    axes.hist(kept, bins=np.linspace(0, 0.8, 25).tolist(), color=plotting.MEASURED, density=True)
    axes.axvspan(*PEAK, color=plotting.THEORY, alpha=0.25, lw=0, label="peak in the paper")
    axes.set(xlabel="exponent, 1/step", ylabel="density", title="Exponents at size 1e-8")
    legend(axes)


def draw_sizes(axes: Axes, n: Numbers) -> None:
    means = [over_starts(found) for found in n.exponents.values()]
    axes.errorbar(
        list(n.exponents),
        [each.value for each in means],
        [each.error for each in means],
        fmt="o",
        ms=4.5,
        color=plotting.MEASURED,
        label="measured",
    )
    axes.plot(list(EXPONENTS), list(EXPONENTS.values()), "x", color=plotting.THEORY, label="paper")
    limit, (green, purple) = over_starts(n.tangent), colours(3)[1:]
    axes.axhline(limit.value, lw=1, ls="--", color=green, label="infinitely small")
    axes.axhline(over_starts(n.whole).value, lw=1, ls=":", color=purple, label="the same, all 200 steps")
    axes.set(xscale="log", xlabel="size of the perturbation", ylabel="mean exponent, 1/step", ylim=(0, None))
    axes.set_title("By size")
    legend(axes, loc="lower left")


def draw_long_distance(axes: Axes, n: Numbers) -> None:
    for each, colour in zip(n.long_distance, colours(_DRAWN), strict=False):
        axes.plot(each, lw=0.8, color=colour)
    axes.set(yscale="log", xlabel="step", ylabel="L1 distance", title="Saturation")


def draw_long_loss(axes: Axes, n: Numbers) -> None:
    for each, colour in zip(n.long_loss, colours(_DRAWN), strict=False):
        axes.plot(each, lw=0.6, color=colour)
    axes.set(yscale="log", xlabel="step", ylabel="loss", title="Loss of the same runs")


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "growth",
            "Left: distance between networks that start 1e-8 apart, mean over 5 copies. Middle: law of "
            "the exponent over initialisations. Right: mean exponent by size of the perturbation; dashed, "
            "the same window for infinitely small differences; dotted, their growth over all 200 steps.",
            [draw_distances, draw_law, draw_sizes],
        ),
        Panels(
            "long",
            "The same for longer, five initialisations: the distance saturates, and the loss rises and "
            "falls before it comes near 0.",
            [draw_long_distance, draw_long_loss],
        ),
    ]


EXPONENTIAL_GROWTH = Part(
    name="exponential-growth",
    title="Exponential growth of differences at rate 1",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("danovski2024",),
)
