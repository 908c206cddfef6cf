"""Rate 5: runs as the paper shows them, others, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.large_rate import LAGS, LARGE_RATE, STARTS

SMALL = ("large_rate.starts=5", "large_rate.steps=400", "large_rate.long_steps=1200")
ENTROPY = 1.0975  # of 42, 38 and 40 of 120, nearly ln 3


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(LARGE_RATE, settings, tmp_path_factory.mktemp("large"))


def following(
    *, cycle=3.0, floor=1.1, drift=1e-7, outside=0.8, slope=0.3, tangent=0.29, unison=True, few=6, seed=0
):
    """Thirty runs on a cycle with irregular bands, in which a few weights move by more."""
    random = np.random.default_rng(seed)
    windows = 100
    regime = np.full((30, windows), cycle)
    regime[:, 60:70] = 0
    regime[:10, 40:] = 1
    loss = floor + random.random((30, 4000)) * 3
    moves = np.where(regime == 0, 1.0, 1e-2)[..., None] * np.exp(
        0.1 * random.standard_normal((30, windows, 70))
    )
    if not unison:
        moves = np.exp(random.standard_normal((30, windows, 70)))
    moves[..., few:] *= 1e-5
    runs = {
        "loss": loss,
        "growth": 0 * regime,
        "late": np.zeros(30),
        "late_error": np.full(30, 0.01),
        "regime": regime,
        "drift": np.where(regime == 3, drift, np.nan),
        "activity": moves,
        "outside": outside + 0.02 * random.standard_normal(30),
        "stretch": np.full(30, 400.0),
    }
    dims = {"loss": ("start", "step"), "growth": ("start", "window"), "regime": ("start", "window")}
    dims |= {"drift": ("start", "window"), "activity": ("start", "window", "weight")}
    lags = np.arange(LAGS + 1)
    long = {
        "correlation": (("lag",), np.cos(lags)),
        "low": (("lag",), np.full(LAGS + 1, -0.05)),
        "high": (("lag",), np.full(LAGS + 1, 0.05)),
        "slopes": (("neighbourhood",), slope + 0.1 * random.standard_normal(STARTS)),
        "significant": (("neighbourhood",), np.ones(STARTS)),
        "long_loss": (("long_step",), np.ones(8000)),
        "exponent": ((), np.array(tangent)),
        "exponent_error": ((), np.array(0.01)),
    }
    made = {}
    for name, values in runs.items():
        both = np.stack([values, np.full_like(values, np.nan)])
        made[name] = (("task", *dims.get(name, ("start",))), both)
    for name, (axes, values) in long.items():
        made[name] = (("task", *axes), np.stack([np.full_like(values, np.nan, dtype=float), values]))
    return xr.Dataset(made, {"kind": ("task", ["runs", "long"])})


def verdicts(data, settings):
    found = checks(analysed(LARGE_RATE, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_what_the_paper_shows_agrees(small):
    found = verdicts(following(), small[0])
    assert found == dict.fromkeys(found, "agrees")


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"cycle": 2.0}, {"period-3"}),
        ({"floor": 0.2}, {"edge"}),
        ({"drift": 1e-3}, {"drift"}),
        ({"outside": 0.0}, {"correlation"}),
        ({"slope": 0.9}, {"series-peak", "series-tangent"}),
        ({"tangent": -0.2}, {"tangent", "series-tangent"}),
        ({"few": 60}, {"few-weights"}),
    ],
)
def test_other_runs_disagree(small, wrong, broken):
    found = verdicts(following(**wrong), small[0])
    assert {found[name] for name in broken} == {"disagrees"}


def test_weights_that_move_one_by_one_are_not_in_unison(small):
    assert verdicts(following(unison=False), small[0])["unison"] != "agrees"


def test_a_small_run(small):
    settings, data, analysis, _ = small
    runs = data.isel(task=np.flatnonzero(data["kind"].values == "runs"))
    assert (runs["loss"].values > 0).all()
    assert (runs["activity"].values >= 0).all()
    # The long run is irregular at this split and seed; its embedding-free exponents exist.
    long = data.isel(task=np.flatnonzero(data["kind"].values == "long"))
    assert long["long_loss"].shape == (1, 1200)
    assert len(analysis.tables[1].rows) == 5
    assert min(draw(LARGE_RATE, data, settings)) > 10_000
