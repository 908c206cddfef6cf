"""The commands of ``phasescope``; each imports torch only when it runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from types import FrameType
from typing import Any, Protocol, TextIO

import tyro
from tyro.extras import subcommand_cli_from_dict

from phasescope import __version__
from phasescope.cli import commands
from phasescope.cli.terminal import say
from phasescope.errors import PhasescopeError

_DESCRIPTION = """See which phase your network is in. `phasescope --version` prints the version.

Exit codes: 0 done, 1 measured, but a check or an instrument failed, 2 unusable input, 130 stopped with
Ctrl-C."""
_STOPPED = 130
_CLEAN_UP = 10.0  # seconds after Ctrl-C in which more of them change nothing

_COMMANDS: dict[str, Callable[..., Any]] = {
    "critical": commands.Critical,
    "inspect": commands.Inspect,
    "dfa": commands.Dfa,
    "lr-scan": commands.LearningRates,
    "explore": commands.Explore,
    "study": commands.StudyCommands,
    "demo": commands.Demo,
}
_GROUPS: dict[str, tuple[dict[str, Callable[..., Any]], str]] = {
    "study": (
        {"list": commands.StudyList, "run": commands.StudyRun, "report": commands.StudyReport},
        "Reproduce a paper's study: a measurement, a figure and a check for each claim.",
    )
}


class Command(Protocol):
    """What every command is."""

    debug: bool

    def run(self) -> tuple[str, int]:
        """Return what to print and the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    if arguments is None:
        _stop_once()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        say(f"phasescope {__version__}", sys.stdout)
        return 0
    offered, description, name = _COMMANDS, _DESCRIPTION, "phasescope"
    if words and words[0] in _GROUPS:
        offered, description = _GROUPS[words[0]]
        name = f"{name} {words.pop(0)}"
    try:
        command: Command = subcommand_cli_from_dict(
            offered,
            args=words or ["--help"],
            prog=name,
            description=description,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except SystemExit as stop:  # after --help, or after the parser has said what it did not understand
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
    except KeyboardInterrupt:
        code = _refuse("stopped with Ctrl-C; nothing was written.", _STOPPED)
    else:
        code = _run(command, sys.stdout)
    if arguments is None and code == _STOPPED and threading.current_thread() is threading.main_thread():
        # Python puts the default back at its end, by which one more Ctrl-C would kill it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _stop_once() -> None:
    """Let the first Ctrl-C stop the command; more of them wait for its clean-up, then end the process."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    first: float | None = None

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - first > _CLEAN_UP:
            os._exit(_STOPPED)

    signal.signal(signal.SIGINT, stop)


def _run(command: Command, stdout: TextIO) -> int:
    try:
        # What the user's own code prints must not mix with the answer.
        with redirect_stdout(sys.stderr):
            answer, code = command.run()
        say(answer, stdout)
    except KeyboardInterrupt as stop:
        return _refuse(str(stop) or "stopped with Ctrl-C; nothing was written.", _STOPPED)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if command.debug:
            say(traceback.format_exc().rstrip())
            return 2
        if isinstance(error, PhasescopeError):
            return _refuse(str(error), 2)
        return _refuse(f"unexpected {type(error).__name__}: {error} (--debug shows where).", 2)
    return code


def _refuse(message: str, code: int) -> int:
    say(f"phasescope: {' '.join(message.split())}")
    return code
