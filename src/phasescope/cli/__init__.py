"""The commands ``phasescope critical``, ``inspect`` and ``demo``; torch is imported only when one runs."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from typing import Any, TextIO

import tyro
from tyro.extras import subcommand_cli_from_dict

from phasescope.cli.commands import Critical, Demo, Inspect
from phasescope.errors import PhasescopeError

_DESCRIPTION = """See which phase your network is in.

Exit codes: 0 done, 1 measured but failed its checks, 2 unusable input, 130 stopped with Ctrl-C."""

_COMMANDS: dict[str, Callable[..., Any]] = {"critical": Critical, "inspect": Inspect, "demo": Demo}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``phasescope``; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command: Critical | Inspect | Demo = subcommand_cli_from_dict(
            _COMMANDS,
            args=words or ["--help"],
            prog="phasescope",
            description=_DESCRIPTION,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except SystemExit as stop:  # after --help, or after the parser has said what it did not understand
        return stop.code if isinstance(stop.code, int) else 2
    return _run(command, sys.stdout)


def _run(command: Critical | Inspect | Demo, stdout: TextIO) -> int:
    try:
        # What the user's own code prints must not mix with the answer.
        with redirect_stdout(sys.stderr):
            answer, code = command.run()
        print(answer, file=stdout, flush=True)
    except KeyboardInterrupt:
        return _refuse("stopped with Ctrl-C; nothing was written.", 130)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if command.debug:
            traceback.print_exc()
            return 2
        if isinstance(error, PhasescopeError):
            return _refuse(str(error), 2)
        return _refuse(f"unexpected {type(error).__name__}: {error} (--debug shows where).", 2)
    return code


def _refuse(message: str, code: int) -> int:
    print(f"phasescope: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
