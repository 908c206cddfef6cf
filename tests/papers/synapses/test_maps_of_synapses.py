"""Maps of synapses: counts and shares that are known, data that follow the claims, others, a small run."""

import numpy as np
import pytest
import torch
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import synapses
from phasescope.papers.synapses import maps_of_synapses
from phasescope.papers.synapses.maps_of_synapses import (
    MAPS_OF_SYNAPSES,
    PROMINENCES,
    even_regions,
    prominences,
)
from phasescope.synapses import PictureNet, Wiring, sensitivity, thinned_cascade

SMALL = ('pictures=["flower"]', "seeds=2", "longest=16", "steps=3")
WIRING = thinned_cascade()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=synapses.STUDY)
    return settings, *run(MAPS_OF_SYNAPSES, settings, tmp_path_factory.mktemp("maps"))


def bumps(*heights):
    """A picture of the three colours with a bump of each height, far from each other."""
    y, x = np.mgrid[:12, : 10 * len(heights)]
    field = sum(h * np.exp(-((x - 5 - 10 * k) ** 2 + (y - 6) ** 2) / 4) for k, h in enumerate(heights))
    return np.repeat(np.asarray(field)[..., None], 3, axis=2)


@pytest.mark.parametrize("prominence", PROMINENCES)
def test_extrema_count_bumps_that_are_high_enough_once_for_all_colours(prominence):
    heights = (0.9, 0.3, 0.15, 0.07, -0.6)
    # The hollow is a minimum; so is no other place, as the ground between the bumps is even.
    peaks = sum(h >= prominence for h in heights)
    assert (prominences(bumps(*heights)) >= prominence).sum() == peaks + 1


def test_a_spot_that_is_a_pixel_off_in_one_colour_is_one_element():
    picture = bumps(0.8, 0.5)
    moved = picture.copy()
    moved[..., 1] = np.roll(picture[..., 1], 1, axis=1)
    far = picture.copy()
    far[..., 1] = np.roll(picture[..., 1], 4, axis=1)
    same, beside, apart = ((prominences(each) >= 0.2).sum() for each in (picture, moved, far))
    assert same == beside == 3  # two bumps, and the ground
    assert apart >= 5


def test_regions_of_even_colour():
    picture = np.full((9, 12, 3), -0.9)
    picture[1:4, 1:4] = 0.9
    picture[6:8, 6:8, 1] = 0.1
    picture[0, 11] = 0.9  # too small
    assert even_regions(picture) == 3


def test_a_shift_of_a_hidden_unit_is_a_displacement_and_an_output_bias_a_colour():
    # h = tanh(2 x + b): d/db moves the picture along x by 1/2, whatever the outputs make of h.
    net = PictureNet(
        Wiring(2, ((0, 1), (2,), (2,), (2,)), (1, 2, 3)), [2.0, 0.0, 0.2, -0.1, 0.3, 0.1, 0.0, 0.1, 0.0]
    )
    view = sensitivity(net, 6, 12)
    found = maps_of_synapses._maps_of(view, 3)
    hidden_bias, output_bias = 5, 7
    assert found["displacing"][hidden_bias] == pytest.approx(1)
    assert found["displacing"][output_bias] < 0.3
    assert found["colouring"][output_bias] > 0.99
    assert found["balance"][output_bias] == pytest.approx(2 / 3)
    points = view.points
    moved = [net(points + torch.tensor([[dx, 0.0]], dtype=torch.float64)) for dx in (1e-5, -1e-5)]
    slope = ((moved[0] - moved[1]) / 2e-5).detach().reshape(6, 12, 3)
    assert torch.allclose(maps_of_synapses._displacements(view)[0], slope, atol=1e-8)


def following(
    *,
    elements=60,
    permuted=0.05,
    biases=2.0,
    rise=1.0,
    turn=1.0,
    controls=0.1,
    early=-0.3,
    outputs=0.5,
    seed=0,
):
    """Six networks: sharp maps that widen towards the outputs and turn from borders to colours."""
    random = np.random.default_rng(seed)
    nets, size = 6, WIRING.size
    place = WIRING.targets / 36
    noise = 1 + 0.02 * random.standard_normal((nets, 3, size))
    extent = np.array([0.02, 0.4, permuted])[:, None] * np.exp(
        np.array([rise, controls, controls])[:, None] * place + 0.3 * random.standard_normal((nets, 3, size))
    )
    extent[..., WIRING.synapses :] = biases * extent[..., WIRING.synapses :]
    line = np.where(place > 33.5 / 36, outputs, early + 0.6 * turn * place)
    kind = np.stack([line, controls * place, controls * place])
    kind = kind + 0.1 * random.standard_normal((nets, 3, size))
    count = np.full((nets, 4, 4), elements) + random.integers(-2, 3, (nets, 4, 4))
    made = {
        "target": (("task", "row", "column", "channel"), np.zeros((nets, 6, 8, 3))),
        "weights": (("task", "weight"), random.standard_normal((nets, size))),
        "rmse": (("task",), np.full(nets, 0.1)),
        "extent": (("task", "kind", "weight"), extent),
        "unit_extent": (("task", "kind", "unit"), 0.4 * noise[..., :37]),
        "displacing": (("task", "kind", "weight"), 0.5 - kind / 2),
        "colouring": (("task", "kind", "weight"), 0.5 + kind / 2),
        "balance": (("task", "kind", "weight"), 0.3 * noise),
        "rms": (("task", "kind", "weight"), noise),
        "extrema": (("task", "picture_kind", "prominence"), count),
        "regions": (("task", "picture_kind"), count[..., 0]),
        "handles": (("task", "kind", "held"), np.ones((nets, 3, 3))),
    }
    return xr.Dataset(made, {"picture": ("task", ["flower"] * 3 + ["china"] * 3)})


def verdicts(data, settings):
    found = checks(analysed(MAPS_OF_SYNAPSES, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_data_that_follow_the_article_agree(small):
    found = verdicts(following(), small[0])
    assert found == dict.fromkeys(found, "agrees")


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        (
            {"elements": 20},
            {f"elements-{k}-{p}" for k in ("extrema", "regions") for p in ("picture", "painted")},
        ),
        ({"permuted": 0.003}, {"sharper-than-permuted"}),
        ({"biases": 0.5}, {"sharper-than-neurons-perturbed"}),
        ({"rise": -1.0}, {"extent-rises", "extent-rises-untrained", "extent-rises-permuted"}),
        ({"turn": -1.0}, {"geometry-to-colour-hidden"}),
        ({"controls": 3.0}, {"extent-rises-untrained", "extent-rises-permuted"}),
        ({"early": 0.4}, {"early-move-borders"}),
        ({"outputs": -0.5}, {"outputs-colour"}),
    ],
)
def test_other_data_disagree(small, wrong, broken):
    found = verdicts(following(**wrong), small[0])
    assert {found[name] for name in broken} == {"disagrees"}


def test_a_small_run(small):
    _, data, analysis, _ = small
    assert data["extent"].shape == (2, 3, WIRING.size)
    assert float(data["extent"].min()) >= 1 / (11 * 16) - 1e-12
    for name in ("displacing", "colouring", "balance"):
        assert 0 <= float(data[name].min()) <= float(data[name].max()) <= 1 + 1e-12
    # An output synapse changes one colour of three: two thirds of its energy are balance.
    into_outputs = WIRING.targets[: WIRING.synapses] >= 34
    assert data["balance"].values[..., : WIRING.synapses][..., into_outputs] == pytest.approx(2 / 3)
    assert (np.diff(data["handles"].values, axis=-1) >= 0).all()
    assert len(analysis.tables[0].rows) == 3


@pytest.mark.slow
def test_every_figure_is_drawn(small):
    settings, data, _, _ = small
    assert min(draw(MAPS_OF_SYNAPSES, data, settings)) > 10_000
