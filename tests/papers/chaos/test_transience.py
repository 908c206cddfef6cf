"""Late exponents at rate 1: mostly transients, mostly lasting, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.transience import TRANSIENCE

SMALL = ("transience.starts=20", "transience.steps=400")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(TRANSIENCE, settings, tmp_path_factory.mktemp("transience"))


def following(*, chaotic, early=0.2, fading=False, loss=0.08, seed=0):
    """A hundred runs with growth early on, of which so many keep an exponent of 0.3."""
    random = np.random.default_rng(seed)
    growth = np.zeros((100, 40))
    growth[:, :2] = early + 0.1 * random.standard_normal((100, 2))
    growth[:chaotic] = 0.3
    if fading:
        growth[:chaotic, 30:] = 0.0
    late = growth[:, 20:].mean(axis=1)
    losses = np.where(np.arange(100) < chaotic, loss, 0.06)[:, None] * np.ones(40)
    arrays = {
        "growth": (("task", "start", "block"), growth[None]),
        "late": (("task", "start"), late[None]),
        "late_error": (("task", "start"), np.full((1, 100), 0.01)),
        "loss": (("task", "start", "block"), losses[None]),
        "rises": (("task", "start"), 0.5 + 0.01 * random.standard_normal((1, 100))),
    }
    return xr.Dataset(arrays)


def verdicts(data, settings):
    found = checks(analysed(TRANSIENCE, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_a_tenth_of_networks_that_stay_chaotic(small):
    found = verdicts(following(chaotic=15), small[0])
    assert found == dict.fromkeys(found, "agrees")


def test_chaos_that_lasts_in_most_networks_is_no_transient(small):
    found = verdicts(following(chaotic=80, early=0.4, loss=1.1), small[0])
    assert {found[name] for name in ("early", "transient", "chaotic-learn")} == {"disagrees"}


def test_chaos_that_dies_out_does_not_last(small):
    found = verdicts(following(chaotic=40, fading=True), small[0])
    assert found["lasting"] == "disagrees"


def test_without_any_chaotic_network_the_share_is_open(small):
    found = verdicts(following(chaotic=0), small[0])
    assert found["sustained"] == "not determined"
    assert found["chaotic-learn"] == "not determined"


def test_a_small_run(small):
    settings, data, analysis, found = small
    # Sixteen initialisations of an independent program: 0.204 ± 0.019 over the first 200 steps.
    assert found["early"].measured.value == pytest.approx(0.204, abs=0.06)
    assert data["growth"].shape == (1, 20, 4)
    assert analysis.tables[0].rows[0][0] == "0 to 100"
    assert min(draw(TRANSIENCE, data, settings)) > 10_000
