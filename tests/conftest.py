"""One thread a process: two workers share two cores, and small matrices gain nothing from more."""

import gc
import os
import sys

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Keep what is imported from the garbage collector: walking it took up to a tenth of all time."""
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


@pytest.fixture(autouse=True)
def global_generators():
    """Seed what layers of torch draw their weights from, so that no test depends on those before it."""
    np.random.seed(0)  # noqa: NPY002 - models under test may use the global generator
    torch.default_generator.manual_seed(0)


@pytest.fixture(scope="module")
def coarse_errors():
    """Let errors of fluctuations come from 256 simulated series instead of 2048, and nulls from 60 of 200."""
    import phasescope.noise

    module = sys.modules["phasescope.noise.dfa"]
    assert module.dfa is phasescope.noise.dfa

    def forget():
        module.log_moments.cache_clear()
        module.line.cache_clear()

    forget()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_SERIES", 256)
        patch.setattr("phasescope.noise.nulls._COPIES", (60, 60))
        yield
    forget()
