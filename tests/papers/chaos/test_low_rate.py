"""Rate 0.01: distances that follow the paper, others, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.low_rate import LOW_RATE

SMALL = ("low_rate.starts=2", "low_rate.steps=200", "low_rate.sizes=[1e-14,1e-2]")
SIZES = (1e-14, 1e-10, 1e-6, 1e-2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(LOW_RATE, settings, tmp_path_factory.mktemp("low"))


def following(*, rate=0.0, power=1.0, few=10, large=1.0, gap=-2.0, dip=0.15, seed=0):
    """Twelve initialisations whose distance dips and then grows to 1.6 times its start, or exponentially."""
    random = np.random.default_rng(seed)
    t = np.arange(301.0)
    scale = 1 + 0.1 * random.standard_normal((12, 1))
    growth = 1 - dip * np.exp(-((t - 30) ** 2) / 200) + 0.6 * scale * t / 300
    growth = growth * np.exp(10 * rate * t)
    growth[:, 0] = 1.0
    starts = 3.5e-7 * (1 + 0.01 * random.standard_normal((12, 1)))
    zeroed = np.where(np.arange(70) < few, 0.5, 0.001) * (1 + 0.1 * random.random((12, 70)))
    path = np.exp(random.standard_normal((12, 70)))
    nothing = np.full((4, 301), np.nan)
    by_size = growth[0] * np.array([1, 1, 1, large])[:, None] ** (t / 300) * 35 * np.array(SIZES)[:, None]
    arrays = {
        "distance": np.concatenate([starts * growth, by_size]),
        "loss": np.concatenate([np.ones((12, 301)), nothing]),
        "loss_gap": np.concatenate([np.exp(gap * t / 300) * scale, nothing]),
    }
    some = {"zeroed": zeroed, "path": path, "displacement": path**power}
    made = {name: (("task", "step"), values) for name, values in arrays.items()}
    made |= {
        name: (("task", "weight"), np.concatenate([values, np.full((4, 70), np.nan)]))
        for name, values in some.items()
    }
    kinds = ["start"] * 12 + ["size"] * 4
    sizes = [1e-8] * 12 + list(SIZES)
    return xr.Dataset(made, {"kind": ("task", kinds), "size": ("task", sizes)})


def verdicts(data, settings):
    found = checks(analysed(LOW_RATE, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_what_the_paper_shows_agrees(small):
    found = verdicts(following(), small[0])
    assert found == dict.fromkeys(found, "agrees")


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"rate": 0.01, "dip": 0.0}, {"bounded", "no-exponent", "non-monotone"}),
        ({"power": 0.5}, {"straight"}),
        ({"few": 60}, {"few-weights"}),
        ({"large": 1.2}, {"every-size"}),
        ({"gap": 1.5}, {"loss-coincides"}),
    ],
)
def test_other_curves_disagree(small, wrong, broken):
    found = verdicts(following(**wrong), small[0])
    assert {found[name] for name in broken} == {"disagrees"}


def test_a_small_run(small):
    settings, data, analysis, found = small
    # Uniform kicks of 70 weights: 3.5e-7 on average, 1.5 % for 20 copies.
    assert data["distance"].values[:2, 0] == pytest.approx(np.full(2, 3.5e-7), rel=0.07)
    assert found["no-exponent"].measured.value < 1e-3
    # Without a step a weight has no path, and displacement never exceeds path.
    assert (data["displacement"].values[:2] <= data["path"].values[:2] * (1 + 1e-12)).all()
    assert analysis.tables[0].columns == ("run", "100")
    assert min(draw(LOW_RATE, data, settings)) > 10_000


def test_every_size_moves_in_the_same_directions(small):
    _, data, _, _ = small
    relative = data["distance"].values / data["size"].values[:, None]
    assert relative[2] == pytest.approx(relative[0], rel=0.02)  # 1e-14 and 1e-8, initialisation 0
    assert relative[3] == pytest.approx(relative[0], rel=0.02)
    assert relative[3, 0] == pytest.approx(relative[0, 0], rel=1e-6)
