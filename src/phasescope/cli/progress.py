"""A progress bar on stderr that appears only when the work takes long and a person is watching."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from phasescope.errors import printable

_PATIENCE = 2.0  # seconds of silence that nobody minds


class Step(Protocol):
    """Announces the next piece of work."""

    def __call__(self, description: str) -> None:
        """Say what is done from now on; one step of the total is over."""


@contextmanager
def progress(total: int) -> Iterator[Step]:
    """Yield a function to call before each of `total` pieces of work."""
    if not sys.stderr.isatty():
        yield lambda description: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    task = bar.add_task("starting", total=total)
    done = -1

    def step(description: str) -> None:
        nonlocal done
        done += 1
        bar.update(task, description=printable(description), completed=done)

    delayed = threading.Timer(_PATIENCE, bar.start)
    delayed.daemon = True
    delayed.start()
    try:
        yield step
    finally:
        delayed.cancel()
        delayed.join()
        bar.stop()
