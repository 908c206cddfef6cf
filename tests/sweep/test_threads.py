"""One numerical thread everywhere, and the user's own number afterwards."""

import os

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from phasescope.sweep import Store, run
from phasescope.sweep.threads import one_thread
from sweep_tasks import sees_threads, tasks


def counts():
    return [library["num_threads"] for library in threadpool_info()]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    with threadpool_limits(2):
        torch.set_num_threads(2)
        yield
    torch.set_num_threads(before)


def test_limits_hold_inside_and_end_with_it(two_threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = counts()
    assert max(before) == 2

    def inside():
        with one_thread():
            assert torch.get_num_threads() == 1
            assert set(counts()) == {1}
            assert os.environ["MKL_NUM_THREADS"] == "1"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inside()
    assert torch.get_num_threads() == 2
    assert counts() == before
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_see_one_thread(tmp_path, two_threads, monkeypatch, workers):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    work = tasks(1)
    run(work, sees_threads, tmp_path, workers=workers)
    seen = Store(tmp_path).read(work[0])
    assert seen["torch"] == 1
    assert len(seen["libraries"]) > 0
    assert np.all(seen["libraries"] == 1)
    assert torch.get_num_threads() == 2
