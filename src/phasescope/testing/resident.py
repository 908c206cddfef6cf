"""Resident memory: how much of the machine's memory a piece of work takes, in this process or a fresh one."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_peak(work: Callable[[], Any]) -> int:
    """Return by how many bytes the resident memory of this process rose at most while `work` ran.

    Libraries that `work` loads count, so let it run once before, with little. Free memory that the allocator
    still holds is given back first: work that fills it again would seem to take nothing.
    """
    import psutil  # type: ignore[import-untyped]

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    before = int(psutil.Process().memory_info().rss)
    try:
        _RESET.write_text("5", encoding="ascii")  # the highest value so far begins anew
    except OSError:
        return _sampled(work) - before
    work()
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
    assert found is not None
    return 1024 * int(found[1]) - before


def _sampled(work: Callable[[], Any]) -> int:
    import psutil

    highest, done, process = 0, threading.Event(), psutil.Process()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, int(process.memory_info().rss))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return highest


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)`` of a new process, or of this one where they cannot be sent there.

    That is where one of them is made inside a function or at the top of a script.
    """
    try:
        task = bytes(ForkingPickler.dumps((function, arguments)))
    except Exception:  # what cannot be sent says so in many ways
        return function(*arguments)
    if b"__main__" in task:
        return function(*arguments)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
