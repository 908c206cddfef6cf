"""Controls with known answers: what shows an exponent without 1/f noise, and what has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_args

import numpy as np

from phasescope.noise import fractional_autocovariance, fractional_gaussian_noise, population
from phasescope.noise.nulls import Kind
from phasescope.papers.noise import controls_figure
from phasescope.papers.noise.config import STUDY
from phasescope.papers.noise.controls_checks import checks, tables
from phasescope.papers.noise.ensemble import WINDOWS, against_exact
from phasescope.papers.noise.known_texts import STATES, network_on_texts
from phasescope.papers.noise.leaky_integrator import integrated_noise
from phasescope.papers.noise.pointwise import FUNCTIONS, autocovariance_after
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

FORGET = (0.5, 0.8, 0.95)
HURST = 0.9
_SHORT, _LONG = WINDOWS
_VERDICT_SERIES = 60


class ControlsSettings(Settings):
    """Sizes of the controls."""

    # short_series, long_series: series of 500 and of 4096 steps behind each curve, more than 12; of gates
    # twice as many
    short_series: int = 2000
    long_series: int = 400
    tests: int = 24  # single series of 500 steps of each integrator that are held against short memory
    networks: int = 5  # LSTMs trained on each kind of artificial texts, each on texts of its own
    units: int = 8  # of these LSTMs
    train: int = 2500  # texts that each is trained with; a tenth of them chooses the epoch
    texts: int = 200  # test texts behind its accuracy, and as many that its exponents come from
    epochs: int = 4  # passes through the training texts
    rate: float = 1e-2  # learning rate of Adam


QUICK = ControlsSettings()
PAPER = ControlsSettings(
    short_series=4000, long_series=1000, tests=100, networks=10, train=5000, texts=400, epochs=5
)


class Controls(Part):
    """Leaky integrators, fixed gates, and networks trained on texts with known statistics."""

    name = "controls"
    title = "Controls with known answers"
    variables: ClassVar = {
        "fluctuation": Variable(("window",), "root of the mean of F(n)^2 over series"),
        "exact": Variable(("window",), "root of its expectation"),
        "beta": Variable((), "exponent of that curve, least squares"),
        "beta_error": Variable((), "its standard error"),
        "exact_beta": Variable((), "exponent of the expectation, least squares"),
        "distance": Variable((), "Hotelling's distance between both curves, with the law of F"),
        "plain_beta": Variable((), "mean exponent of single series, least squares"),
        "plain_beta_error": Variable((), "its standard error"),
        "verdict": Variable((), f"kind of the population: {', '.join(get_args(Kind))}, by number from 0"),
        "tested": Variable((), "single series held against short memory"),
        "beat_short": Variable((), "of these, how many exclude short memory"),
        "beat_scaling": Variable((), "of these, how many exclude scaling noise"),
        "judged": Variable((), "series of the population"),
        "bent": Variable((), "share of single curves flagged as bent"),
        "state_beta": Variable(("state",), f"mean exponent of the units of h: {', '.join(STATES)}"),
        "input_beta": Variable((), "mean exponent of the components of the embedded words"),
        "accuracy": Variable((), "share of test texts classified right"),
    }
    citations = ("chong2023", "peng1994", "kantelhardt2001")

    def tasks(self, config: Any) -> list[Task]:
        """Return the networks first, as they take longest, then the integrators and the gates."""
        known: ControlsSettings = config.controls
        names = {"units", "train", "texts", "epochs", "rate"}
        trained: dict[str, Any] = known.model_dump(mode="json", include=names)
        trained |= {"embedding": config.embedding, "batch": config.batch}
        seconds = 1 + known.texts * 4e-3 + known.epochs * known.train * 1.5e-4
        made = [
            self._task(config, texts, _SHORT, replica, seconds=seconds, **trained)
            for texts in ("independent", "persistent")
            for replica in range(known.networks)
        ]
        for forget in FORGET:
            short = {"series": known.short_series, "tests": known.tests}
            seconds = known.short_series * 4e-4 + known.tests * 0.07
            made.append(self._task(config, "integrator", _SHORT, seconds=seconds, forget=forget, **short))
            long = {"series": known.long_series, "tests": 0}
            seconds = known.long_series * 4e-3
            made.append(self._task(config, "integrator", _LONG, seconds=seconds, forget=forget, **long))
        for function in FUNCTIONS:
            many = 2 * known.long_series
            seconds = many * 4e-4
            made.append(self._task(config, "gate", _LONG, seconds=seconds, series=many, function=function))
        return made

    def _task(
        self, config: Any, kind: str, length: int, replica: int = 0, *, seconds: float, **known: Any
    ) -> Task:
        parameters = {"kind": kind, "length": length, "forget": 0.0, "function": "", "seed": config.seed}
        parameters |= known
        return Task(STUDY, self.name, parameters, replica, seconds=seconds, memory=600_000_000)

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return the curve of one process beside the exact one, or what a network shows; on the CPU."""
        known = dict(task.parameters)
        windows = WINDOWS[known["length"]]
        if known["kind"] == "integrator":
            found = _integrator(known, windows, task.seed)
        elif known["kind"] == "gate":
            found = _gate(known, windows, task.seed)
        else:
            found = network_on_texts(known, windows, task.seed)
        return filled(self.variables, {"window": len(windows), "state": len(STATES)}, **found)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return what the known processes and the trained networks show."""
        return Analysis(
            checks(data),
            tables(data),
            [
                "Nothing here is from the source, and no data are needed: the answers are known, or exact "
                "by construction. Series have 500 steps and windows of 10 to 125, or 4096 and 16 to 512.",
                "Exact expectations are of the mean of F(n)^2 over series. The mean exponent of single "
                "series is smaller, as the logarithm of few windows is below that of their mean.",
                "Each trained LSTM has its own weights, texts and order; errors are over LSTMs, widened by "
                "Student's law.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the curves of the known processes, and the exponents of the trained networks."""
        return controls_figure.pictures(data)


def _integrator(known: dict[str, Any], windows: np.ndarray, seed: int) -> dict[str, Any]:
    length, forget = known["length"], known["forget"]
    series = integrated_noise(forget, length, known["series"], np.random.default_rng(seed))
    found: dict[str, Any] = against_exact(series, windows, forget ** np.arange(windows[-1] + 1.0))
    if known["tests"]:
        some = series[: max(_VERDICT_SERIES, known["tests"]), None]
        seen = population(some, windows=windows, tests=known["tests"], seed=seed % 2**31)
        found |= {name: float(getattr(seen, name)) for name in ("tested", "beat_short", "beat_scaling")}
        found |= {
            "judged": float(len(some)),
            "bent": seen.crossover_share,
            "verdict": float(get_args(Kind).index(seen.kind)),
        }
    return found


def _gate(known: dict[str, Any], windows: np.ndarray, seed: int) -> dict[str, Any]:
    function = FUNCTIONS[known["function"]]
    correlations = fractional_autocovariance(HURST, np.arange(windows[-1] + 1))
    noise = fractional_gaussian_noise(HURST, known["length"], size=known["series"], seed=seed)
    return against_exact(function(noise), windows, autocovariance_after(function, correlations))
