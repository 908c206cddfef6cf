"""Accuracies that follow the paper, others, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.accuracies import ACCURACIES, LOSS, READ


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config("accuracies.starts=10", "accuracies.steps=150", study=chaos.STUDY)
    return settings, *run(ACCURACIES, settings, tmp_path_factory.mktemp("accuracies"))


def following(*, read=READ, loss=LOSS, late=0.05, seed=0):
    random = np.random.default_rng(seed)
    noise = 0.01 * random.standard_normal((3, 20, 1)) + np.zeros((3, 20, 101))
    train, test = (np.array([each[i] for each in read.values()])[:, None, None] + noise for i in (0, 1))
    losses = np.array([loss, late, 3.0])[:, None, None] * (1 + noise)
    names = {"train": train, "test": test, "loss": losses}
    arrays = {name: (("task", "start", "step"), values) for name, values in names.items()}
    return xr.Dataset(arrays, {"rate": ("task", list(READ))})


def verdicts(data, settings):
    found = checks(analysed(ACCURACIES, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_the_numbers_of_the_paper_agree(small):
    found = verdicts(following(), small[0])
    assert found == dict.fromkeys(found, "agrees")


def test_other_numbers_disagree(small):
    wrong = following(read={0.01: (0.8, 0.7), 1.0: (0.33, 0.33), 5.0: (0.9, 0.9)}, loss=0.6, late=0.9)
    assert set(verdicts(wrong, small[0]).values()) == {"disagrees"}


def test_a_small_run(small):
    settings, data, analysis, _ = small
    # No network has learnt at the start: chance is one third, far from it are none of the means.
    assert data["train"].values[..., 0].mean() == pytest.approx(1 / 3, abs=0.1)
    # The mean cross-entropy of a softmax over three classes of nothing is ln 3; random outputs are above it.
    assert (data["loss"].values[..., 0] > np.log(3) - 0.1).all()
    assert [row[0] for row in analysis.tables[0].rows] == ["0.01", "1", "5"]
    assert min(draw(ACCURACIES, data, settings)) > 10_000
