"""Spare capacity: the simple picture, data that follow the claim, others, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import synapses
from phasescope.papers.synapses.capacity import CAPACITY, disc

SMALL = (
    "longest=16",
    "steps=2",
    "capacity.units=[6,10]",
    "capacity.seeds=2",
    "capacity.longest=16",
    "capacity.regions=12",
    "capacity.side=4",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=synapses.STUDY)
    return settings, *run(CAPACITY, settings, tmp_path_factory.mktemp("capacity"))


def test_the_simple_picture_is_a_disc_on_a_slope():
    picture = disc(48)
    assert picture.shape == (32, 48, 3)
    assert float(picture.abs().max()) < 1
    assert picture[16, 24].tolist() == pytest.approx([0.7, 0.5, -0.4], abs=1e-6)
    bright = picture[..., 1] > 0.1
    # A circle of radius 0.5 in units of half the height: 16^2 pi / 4 pixels.
    assert int(bright.sum()) == pytest.approx(np.pi * 64, rel=0.05)


def following(*, blur=0.5, rich=0.5, permuted=0.1):
    """Two pictures, two sizes, four seeds; shares fall, and ensembles grow, with size."""
    random = np.random.default_rng(0)
    rows = [(p, u, s) for p in ("disc", "flower") for u in (6, 10) for s in range(4)]
    power = np.array([blur, 0.1, permuted])
    more = np.array([rich, 0.1, 0.1])
    size = {6: 24, 10: 66}

    def noise():
        return 0.01 * random.standard_normal((3, 12))

    share = [
        0.1 * np.exp(-power * np.log(u / 6) + more * (p != "disc"))[:, None] * np.exp(noise())
        for p, u, _ in rows
    ]
    members = [
        np.repeat(
            (size[u] * np.exp(power * np.log(u / 6) - more * (p != "disc"))[:, None] * np.exp(noise()))[
                :, None
            ],
            3,
            axis=1,
        )
        for p, u, _ in rows
    ]
    made = {
        "rmse": (("task",), np.full(len(rows), 0.1)),
        "painted": (("task", "row", "column", "channel"), np.zeros((len(rows), 4, 6, 3))),
        "share": (("task", "kind", "region"), np.array(share)),
        "members": (("task", "kind", "unit", "region"), np.array(members)),
    }
    known = dict(zip(("picture", "units", "start"), map(list, zip(*rows, strict=True)), strict=True))
    return xr.Dataset(made, {name: ("task", values) for name, values in known.items()})


def verdicts(data):
    settings = config(*SMALL, "capacity.seeds=4", study=synapses.STUDY)
    found = checks(analysed(CAPACITY, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_spare_capacity_that_blurs_agrees():
    found = verdicts(following())
    assert found == dict.fromkeys(found, "agrees")


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"blur": -0.5}, {"large-blurs-share", "large-blurs-part", "large-blurs-share-untrained"}),
        ({"rich": -0.5}, {"simple-blurs-share", "simple-blurs-part", "simple-blurs-part-permuted"}),
        ({"permuted": 1.0}, {"large-blurs-share-permuted", "large-blurs-part-permuted"}),
    ],
)
def test_other_data_disagree(wrong, broken):
    found = verdicts(following(**wrong))
    assert {found[name] for name in broken} == {"disagrees"}


def test_a_small_run(small):
    _, data, analysis, _ = small
    assert data.sizes["task"] == 2 * 2 * 2
    assert [row[:3] for row in analysis.tables[0].rows] == [
        ["disc", "6", "24"],
        ["disc", "10", "66"],
        ["flower", "6", "24"],
        ["flower", "10", "66"],
    ]


@pytest.mark.slow
def test_every_figure_is_drawn(small):
    settings, data, _, _ = small
    assert min(draw(CAPACITY, data, settings)) > 10_000
