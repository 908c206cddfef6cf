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


@dataclass(frozen=True)
class Critical:
    """Say whether an activation can be critical, and how to initialise with it.

    Prints the universality class and the critical initialisation (weight variance C_W / fan_in, bias
    variance C_b), or the reason why there is none.
    """

    activation: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME|FILE.py:function")]
    """A name of torch.nn or torch.nn.functional (gelu), or erf, sin, repu2, repu3, mrepu1, mrepu2; or your
    own function, nn.Module or Module class in a file. Naming a file runs its code."""
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
    """Measure which phase your own networks are in; writes report.html and report.json.

    Several targets, or several checkpoints of one, are shown side by side. Naming a FILE.py runs its code.
    """

    targets: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILE.py:factory[@CHECKPOINT]")
    ]
    """A function without arguments that returns a module, or a module and a batch; @CHECKPOINT loads a state
    dict (.pt or .safetensors) into it."""
    data: Annotated[str | None, tyro.conf.arg(metavar="FILE|FILE.py:factory")] = None
    """The batch, where the factory returns none: a tensor file (.pt, .npy, .npz or .npz:NAME, .csv) or a
    function that returns it."""
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
class Demo:
    """Show one deep network ordered, chaotic and critical on handwritten digits, and what becomes of it.

    Inspects the three side by side, trains each briefly and writes one page; under a minute on two cores.
    """

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
