import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers import related
from phasescope.papers.related.rank import DEPTH, RANK, SHOWN
from phasescope.theory import product_participation, product_rank_fraction

SETTINGS = config(
    "rank.width=12",
    "rank.linear_width=24",
    "rank.seeds=3",
    "rank.inputs=2",
    "rank.steps=2",
    study=related.STUDY,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(RANK, SETTINGS, tmp_path_factory.mktemp("rank"))


def made(data):
    """The data with numbers that follow the laws, and counts that never rise."""
    data = data.copy(deep=True)
    law = [product_participation([64, *[12] * depth], 2.0) for depth in range(1, DEPTH + 1)]
    data["participation"][:] = law
    shares = [product_rank_fraction(DEPTH, t) for t in (0.1, 0.01, 0.001)]
    data["rank"][:] = np.linspace(12, 1, DEPTH)[None, :, None]
    data["rank"][:, -1, :3] = 24 * np.array(shares)
    data["rises"][:] = 0
    return data


def test_a_tiny_run_gives_every_number(finished):
    data, analysis, found = finished
    assert {f"participation-{depth}" for depth in SHOWN} <= set(found)
    assert np.isfinite(data["participation"]).all()
    assert (data["rank"].values[..., 0] <= data["rank"].values[..., 2]).all()
    assert (data["participation"] <= 24).all()
    assert [len(table.rows) for table in analysis.tables] == [15, 3]
    assert min(draw(RANK, data, SETTINGS)) > 10_000


def test_numbers_that_follow_the_laws_agree(finished):
    found = checks(analysed(RANK, made(finished[0]), SETTINGS).checks)
    assert {check.verdict for check in found.values()} == {"agrees"}


def test_other_numbers_disagree(finished):
    data = made(finished[0])
    data["participation"] *= 1.3
    data["rank"][:] = np.linspace(1, 24, DEPTH)[None, :, None]
    data["rises"][0] = 0.1
    found = checks(analysed(RANK, data, SETTINGS).checks)
    assert {check.verdict for check in found.values()} == {"disagrees"}
