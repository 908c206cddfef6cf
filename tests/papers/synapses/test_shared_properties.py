"""Ensembles of many regions: what is known of sets, data that follow the claims, others, a small run."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import synapses
from phasescope.papers.synapses import shared, shared_properties
from phasescope.papers.synapses.shared_properties import PROPERTIES, SHARED_PROPERTIES, UNITS, ensembles_of
from phasescope.synapses import PictureNet, Region, atlas, ensemble, layers, sensitivity, thinned_cascade

SMALL = (
    'pictures=["flower"]',
    "seeds=2",
    "longest=16",
    "steps=3",
    "shared_properties.regions=8",
    "shared_properties.controls=1",
)
WIRING = thinned_cascade()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=synapses.STUDY)
    return settings, *run(SHARED_PROPERTIES, settings, tmp_path_factory.mktemp("shared"))


def test_ensembles_are_those_of_the_room():
    net = PictureNet(layers(2, 5, 4, 3), seed=2)
    view = sensitivity(net, 8, 12)
    masks = shared.windows((8, 12), 6, 4)
    found = ensembles_of(view, masks)
    for r, mask in enumerate(masks):
        one = ensemble(view, Region(mask))
        for u, unit in enumerate(UNITS):
            assert found["members"][u, r] == len(one.sets[unit])
            assert found["neurons"][u, r] == len(one.units(unit))


def test_a_share_is_the_mean_of_shares_weighted_by_energy():
    view = sensitivity(PictureNet(layers(2, 4, 3), seed=1), 6, 9)
    masks = shared.windows((6, 9), 4, 3)
    found = ensembles_of(view, masks)
    maps = view.maps()
    for r, mask in enumerate(masks):
        inside = [float(m[mask].square().sum()) for m in maps]
        shares = [e / float(m.square().sum()) for e, m in zip(inside, maps, strict=True)]
        expected = sum(e * s for e, s in zip(inside, shares, strict=True)) / sum(inside)
        assert found["share"][r] == pytest.approx(expected)


def test_properties_are_those_of_an_atlas():
    view = sensitivity(PictureNet(layers(2, 4, 3), seed=1), 6, 9)
    assert atlas(view, regions=1, controls=()).properties == PROPERTIES


def test_neurons_that_random_sets_enter():
    wiring = layers(2, 2, 3)  # 6 synapses into 2, 3 x 2 into 3, and biases
    sets = itertools.combinations(range(wiring.size), 3)
    expected = np.mean([len(set(wiring.targets[list(s)])) for s in sets])
    found = shared_properties._neurons_by_chance(wiring, np.array([3, wiring.size]))
    assert found == pytest.approx([expected, 5])


def test_overlaps_of_known_sets():
    sets = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=bool)
    assert shared_properties._jaccard(sets).tolist() == pytest.approx([1 / 3, 0, 0])


def test_a_place_is_held_against_those_that_it_does_not_touch():
    masks = torch.zeros(4, 1, 5, dtype=torch.bool)
    for k in range(4):
        masks[k, 0, k : k + 2] = True
    found = shared_properties._reached(np.array([4.0, 5.0, 3.0, 1.0]), masks)
    # Number 0 touches 1 alone; 2 and 3 are smaller. Number 3 is beaten by 0 and by 1.
    assert found.tolist() == pytest.approx([1 / 3, 1 / 2, 1, 1])
    assert shared_properties._apart(masks) == [0, 2]


def following(
    *,
    weights=30,
    neurons=12,
    permuted=60,
    serves=4.0,
    gather=1.0,
    apart=0.3,
    curve=1.0,
    smooth=0.0,
    again=1.0,
    own=0.6,
):
    """Six networks of two pictures: small ensembles, sharp regions with dedicated weights."""
    random = np.random.default_rng(1)
    nets, regions = 6, 100

    def three(*values, shape):
        levels = np.array(values, dtype=float).reshape(1, 3, *[1] * len(shape))
        return levels * (1 + 0.05 * random.standard_normal((nets, 3, *shape)))

    rank = np.tile(np.arange(regions) / regions, (nets, 3, 1))
    steepness = np.array([curve, 0.1, 0.1])[:, None]
    element = np.repeat(random.standard_normal((2, 1, regions)), 3, axis=0)  # the same for seeds of a picture
    rest = 0.2 * random.standard_normal((nets, 3, regions))
    share = np.exp(steepness * 2 * rank + again * 0.2 * element + rest)
    reached = np.where(rank >= np.array([0.85, 0.95, 0.95])[:, None], 0.01, 0.5)
    reached[:, 0, : int(smooth * regions)] = 0.01
    chance = np.stack([own * rank[:, :1]] * 3, axis=1)
    beats = random.random((nets, 3, 13, regions)) < chance
    steps = WIRING.steps_to_output
    slope = np.array([gather, 0.0, 0.0])[:, None, None]
    part = serves * (np.array([1.0, 3.0, 3.0])[:, None, None] + slope * np.array([2, 1, 0, -0.5])[steps])
    part = np.maximum(part, 0) + 0.3 * random.standard_normal((nets, 3, 3, 37))
    made = {
        "size": (("task", "side"), np.full((nets, 2), 10)),
        "weights": (("task", "weight"), random.standard_normal((nets, WIRING.size))),
        "contrast": (("task", "kind", "region"), rank + 0.01),
        "share": (("task", "kind", "region"), share),
        "reached": (("task", "kind", "region"), reached),
        "members": (("task", "kind", "unit", "region"), three(weights, 200, permuted, shape=(3, regions))),
        "neurons": (("task", "kind", "unit", "region"), three(neurons, 20, 20, shape=(3, regions))),
        "by_chance": (("task", "kind", "unit", "region"), three(25, 25, 25, shape=(3, regions))),
        "serves": (("task", "kind", "unit", "neuron"), part),
        "overlap": (("task", "kind", "unit"), three(0.2, 0.2, 0.2, shape=(3,))),
        "overlap_by_chance": (("task", "kind", "unit"), three(0.1, 0.1, 0.1, shape=(3,))),
        "apart": (("task", "kind", "relation"), three(apart, 0.1, 0.1, shape=(3,))),
        "cosine": (
            ("task", "kind", "relation"),
            three(1, 1, 1, shape=(3,)) * np.array([0.8, 0.3, 0.2]),
        ),
        "places": (("task",), np.full(nets, 20)),
        "exists": (("task", "property", "region"), np.ones((nets, 13, regions))),
        "beats": (("task", "control", "property", "region"), beats),
        "carriers": (("task", "property", "region"), three(weights, 0, 0, shape=(13, regions))[:, 0]),
        "carrying": (("task", "property", "region"), three(neurons, 0, 0, shape=(13, regions))[:, 0]),
    }
    known = {"picture": ["flower"] * 3 + ["china"] * 3, "regions": [regions] * 6, "fraction": [5] * 6}
    return xr.Dataset(made, {name: ("task", values) for name, values in known.items()})


def verdicts(data, settings):
    found = checks(analysed(SHARED_PROPERTIES, data, settings).checks)
    return {name: check.verdict for name, check in found.items()}


def test_data_that_follow_the_article_agree(small):
    found = verdicts(following(), small[0])
    assert found == dict.fromkeys(found, "agrees")


@pytest.mark.parametrize(
    ("wrong", "broken"),
    [
        ({"weights": 100}, {"few-one", "few-weight", "few-rms", "few-permuted", "few-properties"}),
        ({"neurons": 3}, {"several-neurons"}),
        ({"neurons": 30}, {"fewer-than-random", "fewer-than-random-untrained"}),
        ({"serves": 0.1}, {"many-ensembles"}),
        ({"gather": -0.2}, {"gather-more", "gather-more-untrained"}),
        ({"apart": 0.02}, {"distinct-pairs-untrained", "distinct-pairs-permuted"}),
        ({"curve": -1.0}, {"sharp-dedicated", "sharp-dedicated-untrained", "sharp-dedicated-permuted"}),
        ({"smooth": 0.2}, {"smooth-none", "sharp-certified"}),
        ({"own": 0.0}, {"own-weights-untrained", "own-weights-permuted"}),
    ],
)
def test_other_data_disagree(small, wrong, broken):
    found = verdicts(following(**wrong), small[0])
    assert {found[name] for name in broken} == {"disagrees"}


def test_seeds_that_differ_have_nothing_in_common_beyond_contrast(small):
    found = checks(analysed(SHARED_PROPERTIES, following(again=0.0), small[0]).checks)
    assert abs(found["again"].measured.value) < 0.15
    assert found["again"].verdict != "agrees"


def test_a_small_run(small):
    _, data, analysis, _ = small
    assert 0 < float(data["share"].min()) <= float(data["share"].max()) < 1
    assert (data["neurons"].values <= data["members"].values).all()
    assert float(data["members"].max()) <= WIRING.size
    assert (data["serves"].values <= data["places"].values[:, None, None, None]).all()
    assert [row[0] for row in analysis.tables[0].rows] == list(PROPERTIES)
    assert (data["beats"].values[:, 2] == data["beats"].values[:, :2].min(1)).all()


@pytest.mark.slow
def test_every_figure_is_drawn(small):
    settings, data, _, _ = small
    assert min(draw(SHARED_PROPERTIES, data, settings)) > 10_000
