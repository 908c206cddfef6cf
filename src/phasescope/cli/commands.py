"""What each command takes, as its help says it, and the steps that it runs."""

from __future__ import annotations

import json as json_format
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
_TARGETS = (
    "A function without arguments that returns a module, or a module and a batch; @CHECKPOINT loads a state "
    "dict (.pt or .safetensors) into it. Several targets are shown side by side. Naming a file runs its code."
)
_DATA = (
    "The batch, in place of the factory's: a tensor file (.pt, .safetensors, .npy, .npz, .npz:NAME, .csv) or "
    "a function without arguments that returns it."
)
_SERIES = (
    "A time series, one row a step: .csv, .txt (with or without a row of names) or .npy of shape (time,) or "
    "(time, columns)."
)


@dataclass(frozen=True)
class Critical:
    """Say whether, and how, an activation can be made critical."""

    activation: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME|FILE.py:function", help=_ACTIVATION)
    ]
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for random numbers that your own file draws; the theory itself draws none."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""
        from phasescope.cli import activation, randomness

        randomness.seed_everything(self.seed)
        point = activation.critical_point_of(self.activation)
        if self.json:
            return json_format.dumps(activation.as_dict(point), indent=2, allow_nan=False), 0
        return activation.as_text(point), 0


@dataclass(frozen=True)
class Inspect:
    """Measure which phase your networks are in, and write a report."""

    targets: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="FILE.py:factory[@CHECKPOINT]", help=_TARGETS),
    ]
    data: Annotated[str | None, tyro.conf.arg(metavar="FILE|FILE.py:factory", help=_DATA)] = None
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = field(default=Path("phasescope-inspect"))
    """Folder for report.html and report.json."""
    max_memory: Annotated[str | None, tyro.conf.arg(metavar="SIZE")] = None
    """Most memory that measuring may take, such as 2GB or 500MB."""
    check: bool = False
    """Exit with code 1 where a finding is a problem, for use in scripts."""
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for the weights that your factory draws and for the probes of the measurement."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""
        from phasescope.cli import inspection

        return inspection.run(
            self.targets,
            data=self.data,
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
    column: Annotated[str | None, tyro.conf.arg(metavar="NAME|NUMBER")] = None
    """Which column, by its name or counted from 1, where the file has several."""
    order: int = 1
    """Degree of the trend taken out in each window: 1, 2 or 3."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = field(default=Path("phasescope-dfa"))
    """Folder for report.html and report.json."""
    json: Annotated[bool, tyro.conf.arg(help=_JSON)] = False
    seed: int = 0
    """Seed for the simulated series that the measured one is held against."""
    debug: Annotated[bool, tyro.conf.arg(help=_DEBUG)] = False

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""
        from phasescope.cli import dfa

        return dfa.run(
            self.file,
            column=self.column,
            order=self.order,
            out=self.out,
            as_json=self.json,
            seed=self.seed,
            command=_command_line(),
        )


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
        """Return what to print and the exit code."""
        from phasescope.cli import demo

        return demo.run(
            self.out, quick=self.quick, as_json=self.json, seed=self.seed, command=_command_line()
        )


def _command_line() -> str:
    return shlex.join(["phasescope", *sys.argv[1:]])
