"""What each command takes, as its help says it; the steps of a command are imported when it runs.

``run`` returns what to print and the exit code.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

_DEBUG = "Show the whole traceback of an error."
_JSON = "Print the result as JSON on stdout and nothing else there."
_ACTIVATION = (
    "A name of torch.nn or torch.nn.functional, such as gelu, or erf, sin, repu2, repu3, mrepu1, mrepu2; or "
    "your own function, nn.Module or Module class in a file. Naming a file runs its code."
)
_PLOT = (
    "Draw kernel map, susceptibility ratio, phase diagram and survival depth into this file: .png, .svg or "
    ".pdf."
)
_COMPARE = (
    "Print one table of these activations, and of the one named first if there is one; names and "
    "FILE.py:function, separated by commas."
)
_TARGETS = (
    "A function without arguments, or of a seed, that returns a module, or a module and a batch, or a "
    "dictionary with model, loss, data and optimizer, which adds the stability of training; @CHECKPOINT "
    "loads a state dict (.pt or .safetensors) into it. Several targets are shown side by side. Naming a file "
    "runs its code."
)
_DATA = (
    "The batch, in place of the factory's: a tensor file (.pt, .safetensors, .npy, .npz, .npz:NAME, .csv) or "
    "a function without arguments that returns it."
)
_INSTRUMENT = (
    "Run only this instrument, by its name; may be repeated. One that an installed package brings runs only "
    "where it is named, and the package is then imported."
)
_SERIES = (
    "A time series: a text with one row a step (.csv, .tsv, .txt, .dat, .rr, also as .gz), .npy, .npz, .mat "
    "or .wav."
)
_COLUMN = (
    "Which column, by its name or counted from 1, where there are several; in .npz and .mat the variable."
)
_DECIMAL = "The decimal mark; the other one may group thousands."
_MISSING = "Values or words that stand for missing values, beside empty cells, NA, ?, nan and the like."
_GAPS = (
    "What to do about missing values: refuse, interpolate (straight lines) or longest (stretch without one)."
)
_TRAINING = (
    "A function of a seed that returns model, loss, data, or a dictionary with these keys and any of "
    "optimizer, validation, target, scheduler, accumulate. Naming a file runs its code."
)
_RATES = "Learning rates to scan. Without it, powers of two around what the sharpness at the start allows."
_BUDGET = "Most seconds to take; a later call with the same options goes on from there."
_GOAL = "Score to reach, an accuracy or a loss, in place of the factory's."
_SOURCE = (
    "A picture file (PNG, JPEG, WebP, GIF, BMP, TIFF, PPM), or flower, china or portrait, to train networks "
    "on; or the folder of an earlier call, or a network that the page exported (.json), to show again."
)
_TRAINER = "How they are trained: Levenberg-Marquardt, L-BFGS, Adam or Rprop."
_TIME = "CPU seconds for each network, in place of steps; the same call then gives other weights."
_CHECK = "Exit with code 1 where a claim disagrees, for use in scripts."
_LIMITS = (
    "Exit with code 1 where a limit is not kept: those of a file (.toml or .json), or without one, that no "
    "finding is a problem. Targets go before it."
)
_NAME = (
    "A study that `phasescope study list` shows, or FILE.py:NAME with one of your own, whose code then runs."
)
_SET = "Change settings: seed=1, finite_width.networks=100, compared=tanh,sin. May be repeated."
_PARTS = "Measure only these; what other calls have completed in the same folder is shown with them."
_WORKERS = "Processes. Without it, as many as cores and memory allow and the time that is left is worth."
_SCHEDULER = "A Dask scheduler, whose workers then compute."


@dataclass(frozen=True)
class Critical:
    """Say whether, and how, an activation can be made critical."""

    activation: Annotated[
        tyro.conf.Positional[str | None], tyro.conf.arg(metavar="NAME|FILE.py:function", help=_ACTIVATION)
    ] = None
    plot: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help=_PLOT)] = None
    compare: Annotated[str | None, tyro.conf.arg(metavar="NAME,NAME,...", help=_COMPARE)] = None
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for random numbers that your own file draws; the theory itself draws none."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import critical

        return critical.run(self)


@dataclass(frozen=True)
class Inspect:
    """Measure which phase your networks are in, and write a report."""

    targets: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="FILE.py:factory[@CHECKPOINT]", help=_TARGETS),
    ]
    data: Annotated[str | None, tyro.conf.arg(metavar="FILE|FILE.py:factory", help=_DATA)] = None
    instruments: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]],
        tyro.conf.arg(name="instrument", metavar="NAME", help=_INSTRUMENT),
    ] = ()
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = field(default=Path("phasescope-inspect"))
    """Folder for report.html and report.json."""
    max_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Most memory that measuring may take, such as 2GB or 500MB."""
    check: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="[LIMITS]", help=_LIMITS)] = None
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for the weights that your factory draws and for the probes of the measurement."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import inspection

        return inspection.run(
            self.targets,
            data=self.data,
            instruments=self.instruments,
            out=self.out,
            max_memory=self.max_memory,
            check=self.check,
            as_json=self.json,
            seed=self.seed,
            command=_command_line(),
        )


@dataclass(frozen=True)
class Dfa:
    """Tell 1/f noise from short memory in a time series."""

    file: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="FILE", help=_SERIES)]
    column: Annotated[str | None, tyro.conf.arg(metavar="NAME|NUMBER", help=_COLUMN)] = None
    separator: Annotated[str | None, tyro.conf.arg(metavar="CHARACTER|tab|space|none")] = None
    """Between columns; none for a text of one column. Decided from the file without it, like the next two."""
    decimal: Annotated[str | None, tyro.conf.arg(metavar=".|,", help=_DECIMAL)] = None
    header: Annotated[int | None, tyro.conf.arg(metavar="LINES")] = None
    """How many lines stand before the first row of values."""
    missing: Annotated[tuple[str, ...], tyro.conf.arg(metavar="VALUE [VALUE ...]", help=_MISSING)] = ()
    gaps: Annotated[str, tyro.conf.arg(metavar="refuse|interpolate|longest", help=_GAPS)] = "refuse"
    axis: Annotated[int | None, tyro.conf.arg(metavar="0|1")] = None
    """The axis of time in a stored array of two axes."""
    integrate: bool = False
    """Sum the series first, for one whose alpha is near 0 or below; its alpha is then larger by 1."""
    quick: bool = False
    """Only alpha and beta: no simulated series beside, so no verdict."""
    order: int = 1
    """Degree of the trend taken out in each window: 1, 2 or 3."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for report.html and report.json; phasescope-dfa without it, none with --json."""
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for the simulated series that the measured one is held against."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import dfa

        return dfa.run(self, command=_command_line())


@dataclass(frozen=True)
class LearningRates:
    """Find how far a learning rate can go, and which serve best."""

    factory: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE.py:factory", help=_TRAINING)]
    rates: Annotated[tuple[float, ...], tyro.conf.arg(metavar="RATE [RATE ...]", help=_RATES)] = ()
    low: Annotated[float | None, tyro.conf.arg(metavar="RATE")] = None
    """With --high, in place of --rates: from here in steps of a factor of two."""
    high: Annotated[float | None, tyro.conf.arg(metavar="RATE")] = None
    """With --low: up to here."""
    steps: int = 200
    """Steps of each training."""
    seeds: int = 3
    """How many initialisations, from --seed on."""
    budget: Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help=_BUDGET)] = None
    target: Annotated[float | None, tyro.conf.arg(metavar="SCORE", help=_GOAL)] = None
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = field(default=Path("phasescope-lr-scan"))
    """Folder for report.html, report.json and the finished runs, from which a later call goes on."""
    device: Annotated[str | None, tyro.conf.arg(metavar="DEVICE")] = None
    """Where torch computes: cpu, cuda, cuda:1; the model's own without it."""
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """First seed that the factory is called with."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import lr_scan

        return lr_scan.run(self, command=_command_line())


@dataclass(frozen=True)
class Explore:
    """Train networks on a picture; play with their weights."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PICTURE|RUN", help=_SOURCE)]
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for explorer.html, network.json, original.png and the training, from which a later call goes on;
    phasescope-explore, or the run itself, without it."""
    seeds: int = 3
    """How many networks to train, from --seed on; the best is shown and all are reported."""
    steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Steps of each training; 100 of lm, 500 of lbfgs, 10000 of adam, 3000 of rprop without it."""
    seconds: Annotated[float | None, tyro.conf.arg(metavar="SECONDS", help=_TIME)] = None
    size: int = 96
    """Longest side in pixels; a larger picture is resized."""
    method: Annotated[str, tyro.conf.arg(metavar="lm|lbfgs|adam|rprop", help=_TRAINER)] = "lm"
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """First seed of the initial weights."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import explore

        return explore.run(self, command=_command_line())


@dataclass(frozen=True)
class Demo:
    """Inspect and train one network ordered, chaotic and critical."""

    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = field(default=Path("phasescope-demo"))
    """Folder for report.html and report.json."""
    quick: bool = False
    """A smaller network and shorter training, for a first look in seconds."""
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for weights, batches and probes."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import demo

        return demo.run(
            self.out, quick=self.quick, as_json=self.json, seed=self.seed, command=_command_line()
        )


@dataclass(frozen=True)
class StudyList:
    """Show which studies there are."""

    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import study

        return study.listing(as_json=self.json), 0


@dataclass(frozen=True)
class StudyRun:
    """Measure a study, or go on where the same command was stopped, and check its claims."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME|FILE.py:NAME", help=_NAME)]
    preset: Annotated[str, tyro.conf.arg(metavar="quick|paper")] = "quick"
    """Sizes to start from: quick for minutes, paper to resolve every claim."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of results and report; phasescope-NAME-PRESET without it."""
    changes: Annotated[
        tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]],
        tyro.conf.arg(name="set", metavar="KEY=VALUE [KEY=VALUE ...]", help=_SET),
    ] = ()
    parts: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PART [PART ...]", help=_PARTS)] = ()
    workers: Annotated[int | None, tyro.conf.arg(metavar="N", help=_WORKERS)] = None
    scheduler: Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help=_SCHEDULER)] = None
    device: Annotated[str, tyro.conf.arg(metavar="DEVICE")] = "cpu"
    """Where torch computes: cpu, cuda, cuda:1."""
    seed: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """The same as --set seed=INT."""
    plan: bool = False
    """Print what would be done, and stop."""
    check: Annotated[bool, tyro.conf.arg(help=_CHECK)] = False
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import study

        return study.run(self, command=_command_line())


@dataclass(frozen=True)
class StudyReport:
    """Write report.html and checks.json again, from results.nc alone."""

    directory: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The folder that `phasescope study run` wrote into."""
    study: Annotated[str | None, tyro.conf.arg(metavar="NAME|FILE.py:NAME")] = None
    """The study, where it is not one of phasescope's own: results never choose which file is imported."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the page and the checks; DIR itself without it."""
    max_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Most that the results may declare, such as 20GB; 4GB without it."""
    check: Annotated[bool, tyro.conf.arg(help=_CHECK)] = False
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        from phasescope.cli import study

        return study.report(self)


@dataclass(frozen=True)
class StudyCommands:
    """Reproduce a paper's study: list, run, report."""


def _command_line() -> str:
    return shlex.join(["phasescope", *sys.argv[1:]])
