"""One thread a process: two workers share two cores, and small matrices gain nothing from more."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def global_generators():
    """Seed what layers of torch draw their weights from, so that no test depends on those before it."""
    import torch

    np.random.seed(0)  # noqa: NPY002 - models under test may use the global generator
    torch.manual_seed(0)
