"""One numerical thread: sums depend on how many threads share them, and results must not."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
_settled = threading.local()


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold numpy, scipy and torch to one thread in this process, and in those it starts; restore afterwards.

    A library that is first imported inside keeps to one thread until the process ends.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    try:
        os.environ.update(dict.fromkeys(_VARIABLES, "1"))
        with threadpool_limits(1):
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        if torch:
            torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def settle_on_one_thread() -> None:
    """Hold this thread of a worker process to one numerical thread for good; cheap when repeated."""
    if not getattr(_settled, "done", False):
        os.environ.update(dict.fromkeys(_VARIABLES, "1"))
        threadpool_limits(1)
        _settled.done = True
    torch = sys.modules.get("torch")
    if torch and torch.get_num_threads() != 1:
        torch.set_num_threads(1)
