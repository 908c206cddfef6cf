"""Switches with and without a change of the saturated units, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.intermittency import INTERMITTENCY, WINDOW, regime_numbers
from phasescope.training import regimes

SMALL = ("intermittency.starts=10", "intermittency.steps=400")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(INTERMITTENCY, settings, tmp_path_factory.mktemp("intermittency"))


def following(*, cause=True, at_return=False, always=False, seed=0):
    """Forty runs on period 3 with six irregular stretches each, that begin with a change of units."""
    random = np.random.default_rng(seed)
    regime = np.full((40, 155), 3.0)
    changed = np.zeros((40, 155))
    for row in range(40):
        for begin in 15 + 22 * np.arange(6) + random.integers(0, 8, 6):
            length = random.integers(4, 9)
            regime[row, begin : begin + length] = 0
            place = begin if cause else begin + length + 4
            changed[row, place] = 1
            if at_return:
                changed[row, begin + length] = 1
    if always:
        changed[:] = random.random(changed.shape) < 0.4
    arrays = {"regime": regime, "changed": changed, "stuck": 2 + 0 * regime, "moving": 0 * regime}
    arrays["loss"] = np.where(regime == 0, 2.0, 4.0)
    dims = ("task", "start", "window")
    return xr.Dataset({name: (dims, values[None]) for name, values in arrays.items()})


def verdicts(data, settings):
    found = checks(analysed(INTERMITTENCY, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_breaks_that_come_with_a_change_of_units(small):
    found = verdicts(following(), small[0])
    assert found.pop("with-switch") == "disagrees"  # half of the switches are returns, without one
    assert found == dict.fromkeys(found, "agrees")


def test_returns_that_come_with_one_too(small):
    found = verdicts(following(at_return=True), small[0])
    assert found["with-switch"] == "agrees"
    assert found["returning"] != "agrees"


def test_changes_after_the_fact_are_no_cause(small):
    found = verdicts(following(cause=False), small[0])
    assert found["leaving"] == "disagrees"
    assert found["null"] != "agrees"


def test_changes_at_random_explain_nothing(small):
    found = verdicts(following(always=True), small[0])
    assert found["null"] != "agrees"
    assert found["elsewhere"] == "disagrees"


def test_the_regimes_of_a_loss():
    t = np.arange(WINDOW)
    cycle, rest = np.array([4.0, 5.0, 7.0])[t % 3], np.full(WINDOW, 1.1)
    noise = np.random.default_rng(0).random(WINDOW)
    settling = 1.1 + 0.9**t
    found = regimes(np.concatenate([cycle, rest, noise, settling]), window=WINDOW)
    assert regime_numbers(found).tolist() == [3, 1, 0, 1]


def test_a_small_run(small):
    settings, data, analysis, _ = small
    stuck, moving = data["stuck"].values, data["moving"].values
    assert ((stuck >= 0) & (stuck + moving <= 10)).all()
    assert data["regime"].shape == (1, 10, 10)
    assert analysis.tables[0].columns == ("regime", "share of windows")
    assert min(draw(INTERMITTENCY, data, settings)) > 10_000
