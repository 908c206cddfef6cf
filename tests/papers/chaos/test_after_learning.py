"""Perturbed after learning: known spectra, others, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos import after_learning
from phasescope.papers.chaos.after_learning import AFTER_LEARNING


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config("after_learning.starts=4", study=chaos.STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(after_learning, "LEARNT", 300)
        patch.setattr(after_learning, "STEPS", 40)
        return settings, *run(AFTER_LEARNING, settings, tmp_path_factory.mktemp("after"))


def following(*, flat=60, shift=0.0, bumps=False, top=8.0, seed=0):
    """Twenty networks of so many flat directions, with the decay that their curvatures give."""
    random = np.random.default_rng(seed)
    t = np.arange(1001.0)
    curvatures = np.zeros((20, 83))
    curvatures[:, flat:] = np.sort(np.exp(random.uniform(-2, np.log(top), (20, 83 - flat))), axis=1)
    curvatures[:, -1] = top
    kept = np.abs(1 - 0.01 * curvatures[:, :, None]) ** t
    predicted = 3.5e-7 * kept.mean(axis=1)
    distance = predicted * (1 + 0.002 * random.standard_normal((20, 1)) * (t > 0)) - shift * 3.5e-7 * (t > 0)
    if bumps:
        distance = distance * (1 + 0.01 * np.sin(t / 50))
    arrays = {
        "distance": (("task", "start", "step"), distance[None]),
        "predicted": (("task", "start", "step"), predicted[None]),
        "copies": (("task", "start", "copy"), np.full((1, 20, 20), 0.95)),
        "curvatures": (("task", "start", "direction"), curvatures[None]),
    }
    return xr.Dataset(arrays)


def verdicts(data, settings):
    found = checks(analysed(AFTER_LEARNING, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_a_spectrum_with_flat_directions_explains_the_decay(small):
    found = verdicts(following(flat=75, bumps=False), small[0])
    assert found.pop("bumps") != "agrees"  # such a sum of decays has none
    assert found == dict.fromkeys(found, "agrees")


def test_bumps_are_seen(small):
    assert verdicts(following(flat=75, bumps=True), small[0])["bumps"] == "agrees"


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"flat": 5}, {"level", "not-strong", "flat"}),
        ({"shift": 0.05}, {"spectrum-10", "spectrum-100", "spectrum-1000"}),
        ({"top": 150.0}, {"no-oscillation"}),
    ],
)
def test_another_decay_disagrees(small, wrong, broken):
    found = verdicts(following(**wrong), small[0])
    assert {found[name] for name in broken} == {"disagrees"}


def test_a_small_run_follows_its_spectrum(small):
    settings, data, _, found = small
    measured, predicted = (data[name].values[0] for name in ("distance", "predicted"))
    ratio = (measured / measured[:, :1]) / (predicted / predicted[:, :1])
    assert ratio == pytest.approx(np.ones_like(ratio), abs=0.02)
    assert found["spectrum-10"].verdict == "agrees"
    assert min(draw(AFTER_LEARNING, data, settings)) > 10_000
