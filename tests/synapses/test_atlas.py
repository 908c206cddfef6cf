"""All regions and properties at once: the same numbers as one at a time, and controls that hold the level."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from phasescope.errors import InputError
from phasescope.synapses import (
    BorderShift,
    MeanColour,
    PictureNet,
    Region,
    Tilt,
    atlas,
    ensemble,
    full_cascade,
    layers,
    nulls,
    sensitivity,
)
from phasescope.synapses.atlas import _kept
from reference.ensembles import LinearOutput

HEIGHT, WIDTH = 9, 12
TWO = {"region": Region, "mean": MeanColour}


@pytest.fixture(scope="module")
def looked_at():
    return sensitivity(PictureNet(full_cascade(8), seed=1), HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def found(looked_at):
    return atlas(looked_at, TWO, regions=20, window=(3, 3), networks_each=2)


def test_windows_of_one_size_cover_the_picture_evenly(found):
    assert 16 <= len(found.regions) <= 24
    assert set(found.regions.flatten(1).sum(1).tolist()) == {9}
    assert found.regions.any(0).float().mean() > 0.9
    assert len({tuple(torch.nonzero(mask)[0].tolist()) for mask in found.regions}) == len(found.regions)


@pytest.mark.parametrize("unit", ["one", "weight", "rms"])
def test_each_entry_is_what_one_region_alone_gives(looked_at, unit):
    whole = atlas(looked_at, TWO, regions=6, window=(3, 3), controls=(), unit=unit, cover=0.8)
    for row, make in enumerate(TWO.values()):
        for column, mask in enumerate(whole.regions):
            alone = ensemble(looked_at, make(mask), cover=0.8, units=[unit])
            assert set(np.flatnonzero(whole.members[row, column])) == set(alone.sets[unit])
            assert whole.neurons[row, column] == len(alone.units(unit))
            assert whole.share[row, column] == pytest.approx(alone.share.max(), rel=1e-9)
            assert whole.best[row, column] == alone.share.argmax()
            energy = alone.strength**2
            carried = energy[alone.share.argmax()] / energy.sum()
            assert whole.carried[row, column] == pytest.approx(carried, rel=1e-9)
    assert not whole.certified.any()


def test_contrast_and_shares_are_those_of_the_nulls(looked_at, found):
    mask = found.regions[7]
    one = nulls(looked_at, Region(mask), kinds=("shift",))
    assert found.share[0, 7] == pytest.approx(one.share, rel=1e-9)
    assert found.contrast[7] == pytest.approx(
        float(looked_at.picture[mask].std(0, correction=0).norm() / 3**0.5)
    )
    larger = (np.delete(found.share[0], 7) >= found.share[0, 7]).sum()
    assert found.rank[0, 7] == pytest.approx((1 + larger) / len(found.regions))


def test_ranks_of_one_network_are_even_whatever_it_has_learnt(found):
    count = len(found.regions)
    for row in found.rank:
        assert np.allclose(np.sort(row), np.arange(1, count + 1) / count)


def test_p_values_count_the_regions_of_all_control_networks(looked_at, found):
    count = len(found.regions)
    for control in ("untrained", "permuted"):
        steps = found.p[control] * (1 + 2 * count)
        assert np.allclose(steps, steps.round())
        order = np.argsort(-found.share[0])
        assert (np.diff(found.p[control][0, order]) >= 0).all()
    assert np.array_equal(found.certified, found.beaten["untrained"] & found.beaten["permuted"])
    share = found.certified_share("untrained")["region"]
    assert share.value == pytest.approx(found.beaten["untrained"][0].mean())


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=40), st.sampled_from([0.05, 0.2]))
@settings(max_examples=40, deadline=None)
def test_the_correction_is_that_of_benjamini_and_hochberg(p, level):
    adjusted = false_discovery_control(p)
    kept = _kept(np.array(p), level)
    clear = np.abs(adjusted - level) > 1e-12
    assert np.array_equal(kept[clear], (adjusted <= level)[clear])


def test_who_serves_whom_adds_up(looked_at, found):
    groups = looked_at.groups.numpy()
    entered = [
        {int(groups[s]) for s in np.flatnonzero(members)}
        for members in found.members.reshape(-1, looked_at.size)
    ]
    serves = [sum(unit in units for units in entered) for unit in range(8)]
    assert found.serves().tolist() == serves
    assert found.idle.tolist() == [unit for unit in range(8) if not serves[unit]]
    assert found.serves(certified=True).sum() <= found.serves().sum()
    # In a cascade the outputs read everything: three of distance 0, five of distance 1.
    assert [row[:2] for row in found.by_distance()] == [(0, 3), (1, 5)]
    assert found.by_distance()[0][2] == pytest.approx(np.mean(serves[5:]))


def test_overlaps_are_those_of_sets(found):
    overlaps = found.overlaps("mean")
    sets = [set(np.flatnonzero(members)) for members in found.members[1]]
    for a, b in itertools.product(range(4), range(4)):
        assert overlaps[a, b] == pytest.approx(len(sets[a] & sets[b]) / len(sets[a] | sets[b]))
    apart = [
        overlaps[a, b]
        for a, b in itertools.combinations(range(len(sets)), 2)
        if not (found.regions[a] & found.regions[b]).any()
    ]
    assert found.overlap(1) == pytest.approx(np.mean(apart))


def test_units_that_do_nothing_are_idle():
    net = PictureNet(layers(2, 4, 3), seed=0)
    weights = net.weights.detach().clone()
    reads_last = np.flatnonzero(net.wiring.reads == 2 + 3)
    weights[torch.from_numpy(reads_last)] = 0  # nobody listens to unit 3
    silent = atlas(sensitivity(net.with_weights(weights), 6, 6), TWO, regions=4, window=(2, 2), controls=())
    assert silent.idle.tolist() == [3]


def test_a_property_that_a_region_does_not_have_is_left_out(looked_at):
    border = {
        "border": lambda mask: BorderShift(looked_at.picture, mask, threshold=0.1),
        "tilt": lambda m: Tilt(mask=m),
    }
    some = atlas(looked_at, border, regions=20, window=(2, 2), networks_each=1)
    bright = (looked_at.picture.mean(-1) >= 0.1).float()
    flat = [bool(((bright[mask].mean() * 4) % 4) == 0) for mask in some.regions]
    missing = ~some.exists[0]
    assert missing.any()
    assert set(np.flatnonzero(missing)) <= set(np.flatnonzero(flat))
    assert not some.members[0, missing].any()
    assert np.isnan(some.rank[0, missing]).all()
    assert np.isnan(some.overlaps(0)[missing]).all()
    assert some.exists[1].all()
    assert not some.certified[0, missing].any()


def test_all_properties_have_a_row_and_tell_how_far_they_are(looked_at):
    told = []
    every = atlas(
        looked_at, regions=3, networks_each=1, progress=lambda done, steps: told.append((done, steps))
    )
    assert len(every.properties) == 13
    assert told == [(i + 1, 39) for i in range(39)]
    rows = every.table()
    assert [row["property"] for row in rows] == list(every.properties)
    assert all(f"\n  {name}" in str(every) for name in every.properties)


def test_regions_can_be_given_and_draws_follow_the_seed(looked_at, found):
    again = atlas(looked_at, TWO, regions=found.regions, networks_each=2)
    other = atlas(looked_at, TWO, regions=found.regions, networks_each=2, seed=1)
    assert np.array_equal(again.p["untrained"], found.p["untrained"])
    assert not np.array_equal(other.p["untrained"], found.p["untrained"])
    assert np.array_equal(other.members, found.members)


@pytest.mark.slow
def test_an_untrained_network_is_hardly_certified_against_untrained_ones():
    shares = []
    for seed in range(20):
        view = sensitivity(PictureNet(seed=100 + seed), 24, 32)
        one = atlas(view, {"region": Region}, regions=60, controls=("untrained",), networks_each=6, seed=seed)
        shares.append(one.certified.mean())
    assert np.mean(shares) <= 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regions": 0}, "regions=0"),
        ({"regions": []}, "shape none"),
        ({"regions": [torch.ones(2, 2)]}, r"shape \(2, 2\)"),
        ({"regions": [torch.zeros(HEIGHT, WIDTH)]}, "empty"),
        ({"regions": [torch.ones(HEIGHT, WIDTH)], "window": (2, 2)}, "Both regions and a window"),
        ({"window": (10, 3)}, "window of 10 x 3"),
        ({"controls": ("pruned",)}, "pruned"),
        ({"networks_each": 0}, "networks_each=0"),
        ({"level": 0.0}, r"level=0\.0"),
        ({"cover": 1.5}, r"cover=1\.5"),
        ({"unit": "metre"}, "no unit of change"),
    ],
)
def test_settings_out_of_range_are_refused(looked_at, settings, message):
    with pytest.raises(InputError, match=message):
        atlas(looked_at, TWO, **settings)


def test_what_is_no_picture_is_refused(looked_at, found):
    with pytest.raises(InputError, match="none of a picture"):
        atlas(LinearOutput(np.eye(3)))
    with pytest.raises(InputError, match="no properties"):
        atlas(looked_at, {})
    with pytest.raises(InputError, match="no property 'size'"):
        found.overlaps("size")
