"""Whether a region has weights of its own: exact calibration, a net made by hand, and what has no answer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phasescope.errors import InputError
from phasescope.synapses import (
    BorderShift,
    ClassMargin,
    ColourBalance,
    Custom,
    MeanColour,
    PictureNet,
    Region,
    Wiring,
    full_cascade,
    module_sensitivity,
    nulls,
    selectivity,
    sensitivity,
)
from phasescope.synapses.nulls import Places, networks
from reference.ensembles import LinearOutput

HEIGHT, WIDTH = 9, 11


def box(top, left, height=3, width=3, shape=(HEIGHT, WIDTH)):
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


def everywhere(height=3, width=3, shape=(HEIGHT, WIDTH)):
    return [
        box(top, left, height, width, shape)
        for top in range(shape[0] - height + 1)
        for left in range(shape[1] - width + 1)
    ]


@pytest.fixture(scope="module")
def looked_at():
    return sensitivity(PictureNet(full_cascade(8), seed=1), HEIGHT, WIDTH)


def shares_by_hand(looked_at, mask, prop=None):
    maps = looked_at.maps()
    inside, outside = (maps[:, m].square().sum((1, 2)) for m in (mask, ~mask))
    if prop is not None:
        gradient = prop.gradient(looked_at.picture)
        inside = (maps * gradient).sum((1, 2, 3)).square() / gradient.square().sum()
    return (inside / (inside + outside)).numpy()


@pytest.mark.parametrize("make", [Region, MeanColour, lambda mask: ColourBalance(1, mask)])
def test_shares_elsewhere_are_those_of_the_whole_maps(looked_at, make):
    own = box(2, 4)
    found = nulls(looked_at, make(own), kinds=("shift",), count=10**6).of("shift")
    expected = [
        shares_by_hand(looked_at, mask, None if make is Region else make(mask)).max()
        for mask in everywhere()
        if not torch.equal(mask, own)
    ]
    here = shares_by_hand(looked_at, own, None if make is Region else make(own)).max()
    assert np.allclose(np.sort(found.values), np.sort(expected), rtol=1e-9)
    assert found.observed == pytest.approx(here, rel=1e-9)
    assert found.p.value == pytest.approx((1 + sum(np.array(expected) >= here)) / (1 + len(expected)))


def test_the_share_of_several_weighs_them_by_energy(looked_at):
    found = nulls(looked_at, Region(box(2, 4)), kinds=("shift",), k=4)
    maps = looked_at.maps()
    inside, total = (m.square().flatten(1).sum(1) for m in (maps[:, box(2, 4)], maps))
    best = (inside / total).argsort(descending=True)[:4]
    assert found.weights.tolist() == best.tolist()
    expected = float(inside[best].sum() / total[best].sum())
    assert found.of("shift", "share of the 4").observed == pytest.approx(expected, rel=1e-9)
    assert found.carried == pytest.approx(float(inside[best[0]] / inside.sum()), rel=1e-9)


@pytest.mark.parametrize("gain", [1.0, 6.0])
@pytest.mark.parametrize("make", [Region, pytest.param(MeanColour, marks=pytest.mark.slow)])
def test_among_all_regions_no_more_are_certified_than_the_level_says(gain, make):
    shape = (7, 9)
    untrained = sensitivity(PictureNet(full_cascade(6), seed=2, gain=gain), *shape)
    masks = everywhere(2, 2, shape)
    found = [nulls(untrained, make(mask), kinds=("shift",), level=0.1, count=10**4) for mask in masks]
    certified = sum(one.certified is True for one in found)
    # Ranks without ties are 1 to 48: exactly the first tenth.
    assert certified == int(0.1 * len(masks)) == 4


SPOT = box(10, 18, 9, 9, (24, 32))


@pytest.fixture(scope="module")
def spotted():
    """A net whose units 0 to 4 paint one rectangle, and nothing else, over the waves of ten other units.

    Units 0 to 3 are its borders, unit 4 is on inside; x in (0.2, 0.6) and y in (-0.5, 0.1) are the columns 19
    to 25 and the rows 11 to 17.
    """
    waves = 10
    outputs = tuple(range(5 + waves, 8 + waves))
    read = tuple(range(6, 7 + waves))
    wiring = Wiring(2, ((0,), (0,), (1,), (1,), (2, 3, 4, 5), *[(0, 1)] * waves, *[read] * 3), outputs)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(wiring.size, generator=generator, dtype=torch.float64) / 2
    weights[:8] = torch.tensor([30, 30, 30, 30, 3, -3, 3, -3])
    weights[wiring.synapses : wiring.synapses + 5] = torch.tensor([-6, -18, 15, -3, -9])
    return sensitivity(PictureNet(wiring, weights), 24, 32)


def test_a_spot_of_one_unit_is_certified_and_its_weights_are_the_spots(spotted):
    deciding = ("shift", "contrast", "random")
    found = nulls(spotted, Region(SPOT), k=4, kinds=deciding)
    assert found.certified is True
    assert found.verdict.startswith("Certified")
    assert found.share > 0.99
    assert (spotted.groups[found.weights] <= 4).all()
    assert f"({spotted.name(int(found.weights[0]))}) has the share 1.00" in found.verdict
    smooth = nulls(spotted, Region(box(1, 2, 9, 9, (24, 32))), k=4, kinds=deciding, count=50)
    assert smooth.certified is False
    assert smooth.verdict.startswith("Not certified against other places")


def test_shares_without_energy_do_not_count():
    # Saturated units: at most places nothing moves anything, and what little there is can be local.
    shape = (12, 16)
    trap = sensitivity(PictureNet(full_cascade(12), seed=0, gain=25.0), *shape)
    masks = torch.stack(everywhere(3, 3, shape))
    inside = trap.energy(masks)
    shares = (inside / trap.energy(torch.ones(shape)).clamp(min=1e-300)).max(1).values
    weak = inside.max(1).values < 1e-7 * inside.max()
    assert weak.any()
    worst = int(torch.where(weak, shares, 0.0).argmax())
    assert shares[worst] > 0.3
    found = nulls(trap, Region(masks[worst]), kinds=("shift", "contrast", "random"))
    assert found.certified is False
    assert found.share == 0
    assert "no weight that counts" in found.verdict


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_places_know_their_overlap_and_contrast(number):
    generator = torch.Generator().manual_seed(number)
    shape = torch.rand(3, 4, generator=generator) < 0.6
    shape[0, 0] = shape[2, 3] = True
    support = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    support[4:7, 2:6] = shape
    picture = torch.randn(HEIGHT, WIDTH, 3, generator=generator, dtype=torch.float64)
    places = Places(support)
    masks = places.masks(np.arange(len(places.overlap)))
    assert len(masks) == (HEIGHT - 2) * (WIDTH - 3)
    assert torch.equal(masks[places.own], support)
    overlap = [(mask & support).sum() / support.sum() for mask in masks]
    assert np.allclose(places.overlap, overlap)
    contrast = [picture[mask].var(0, correction=0).mean().sqrt() for mask in masks]
    assert np.allclose(places.contrast(picture), contrast)


def test_equal_contrast_means_the_nearest_places_that_lie_apart(looked_at):
    # Forty of the 63 places: the share of each is one of those that lie apart, nearest in contrast.
    own = box(0, 0)
    places = Places(own)
    contrast = places.contrast(looked_at.picture)
    apart = np.flatnonzero(places.overlap <= 0.5)
    ranked = apart[np.argsort(contrast[apart])]
    best = [shares_by_hand(looked_at, mask).max() for mask in everywhere()]
    found = nulls(looked_at, Region(own), kinds=("contrast",)).of("contrast")
    windows = [np.sort(np.take(best, ranked[i : i + 40])) for i in range(len(ranked) - 39)]
    matches = [np.allclose(np.sort(found.values), window) for window in windows]
    assert sum(matches) == 1
    window = contrast[ranked[matches.index(True) :][:40]]
    inside = window.min() <= contrast[0] <= window.max()
    assert inside or matches.index(True) in (0, len(windows) - 1)


def test_random_sets_keep_the_size_and_if_asked_the_units():
    # Three units of two weights each; the first does mostly what the property is.
    maps = np.repeat(np.array([[1.0, 0.2, 0, 0], [0.1, 0, 1, 0], [0.1, 0, 0, 1]]), 2, axis=0)
    output = LinearOutput(maps * np.array([1, 2, 1, 3, 1, 4])[:, None], groups=[0, 0, 1, 1, 2, 2])
    prop = Custom(lambda picture: picture[0], "first")
    found = nulls(output, prop, kinds=("random",), k=2)
    assert set(found.weights) == {0, 1}

    def share(first, second):
        along, total = (np.square(output.rows.numpy()[[first, second]][:, c]).sum() for c in (0, slice(None)))
        return round(along / total, 9)

    pairs = {share(0, 1), share(2, 3), share(4, 5)}
    assert found.of("random", "share, 2 any").observed == pytest.approx(1 / 1.04)
    assert {round(value, 9) for value in found.of("random", "share, 2 in").values} == pairs
    free = {round(value, 9) for value in found.of("random", "share, 2 any").values}
    assert free <= {share(a, b) for a in range(6) for b in range(a)}
    assert free - pairs
    per_rms = np.repeat([1 / 1.04, 0.01 / 1.01, 0.01 / 1.01], 2)
    assert found.of("random", "coverage").observed == pytest.approx(per_rms[:2].sum() / per_rms.sum())


def test_selectivity_is_told_for_the_best_weights_and_for_random_ones(looked_at):
    found = nulls(looked_at, Region(box(2, 4)), kinds=("random",), k=3, count=40)
    row = found.of("random", "selectivity, 3 any")
    assert row.observed == pytest.approx(selectivity(looked_at, Region(box(2, 4)), found.weights))
    assert len(set(row.values)) > 30
    assert ((row.values > 0) & (row.values <= 1)).all()


def test_permuting_single_weights_changes_nothing():
    chain = Wiring(2, ((0,), (1,), (2,), (3,), (4,), (5,)), (4, 5))
    looked_at = sensitivity(PictureNet(chain, seed=0), HEIGHT, WIDTH)
    found = nulls(looked_at, Region(box(1, 1)), kinds=("permuted",)).of("permuted")
    assert np.allclose(found.values, found.observed)
    assert found.p.value == 1


def test_permuted_and_fresh_weights_are_other_networks_of_the_same_wiring(looked_at):
    found = nulls(looked_at, Region(box(2, 4)), kinds=("permuted", "untrained"), count=100)
    for kind in ("permuted", "untrained"):
        values = found.of(kind).values
        assert len(values) == 20
        assert len(set(values)) == 20
    assert found.certified is None
    assert "other places were not asked for" in found.verdict


def test_another_network_is_compared_at_the_same_region(looked_at):
    other = PictureNet(full_cascade(8), seed=7)
    found = nulls(looked_at, Region(box(2, 4)), kinds=("seed",), others=[other, looked_at]).of("seed")
    expected = shares_by_hand(sensitivity(other, HEIGHT, WIDTH), box(2, 4)).max()
    assert found.values[0] == pytest.approx(expected, rel=1e-9)
    assert found.values[1] == found.observed
    lone = nulls(looked_at, Region(box(2, 4)), kinds=("seed",)).of("seed")
    assert "no other networks were given" in str(lone)
    with pytest.raises(InputError, match="output of another network has shape"):
        nulls(looked_at, Region(box(2, 4)), kinds=("seed",), others=[sensitivity(other, 4, 4)])


def test_draws_follow_the_seed_alone_and_nothing_else_changes(looked_at):
    before = looked_at.weights.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    region = Region(box(2, 4))
    first, again = (nulls(looked_at, region, count=20, k=3, seed=5) for _ in range(2))
    other = nulls(looked_at, region, kinds=("shift",), count=20, seed=6)
    for one, two in zip(first.nulls, again.nulls, strict=True):
        assert np.array_equal(one.values, two.values)
    assert not np.array_equal(first.of("shift").values, other.of("shift").values)
    assert torch.equal(looked_at.weights, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], before[2])  # noqa: NPY002


def test_the_correction_is_the_chance_that_one_of_many_regions_is_as_good(spotted):
    # The 9 of 384 places that hold the whole spot reach its share.
    found = nulls(spotted, Region(SPOT), kinds=("shift",), count=10**4, regions_tried=2)
    shift = found.of("shift")
    assert shift.p.value <= 9 / 384
    assert shift.corrected == pytest.approx(1 - (1 - shift.p.value) ** 2)
    assert found.certified is True
    several = nulls(spotted, Region(SPOT), kinds=("shift",), count=10**4, regions_tried=19)
    assert several.certified is False
    assert "Not certified after 19 regions tried" in several.verdict
    many = nulls(spotted, Region(SPOT), kinds=("shift",), count=99, regions_tried=50)
    assert many.certified is None
    # The smallest whole n with 1 - (1 - 1 / (1 + n))^50 <= 0.05 is 975.
    assert 1 - (1 - 1 / 976) ** 50 <= 0.05 < 1 - (1 - 1 / 975) ** 50
    assert "only 99 places" in many.verdict
    assert "at least 975 are needed" in many.verdict


def test_a_border_is_compared_with_places_that_have_one():
    looked_at = sensitivity(PictureNet(full_cascade(8), seed=4), HEIGHT, WIDTH)
    picture = looked_at.picture
    dark = [mask for mask in everywhere() if (picture[mask].mean(-1) >= 0).float().mean() in (0, 1)]
    assert dark
    own = next(m for m in everywhere() if 0.3 < (picture[m].mean(-1) >= 0).float().mean() < 0.7)
    found = nulls(looked_at, BorderShift(picture, own), kinds=("shift",), count=10**4).of("shift")
    places = [m for m in everywhere() if BorderShift(picture, own).elsewhere(m) is not None]
    assert len(found.values) == len(places) - 1 < len(everywhere()) - 1


@pytest.mark.parametrize(
    ("prop", "reason"),
    [
        (MeanColour(), "about the whole output"),
        (Custom(lambda picture: picture[2:4, 2:4].sum(), support=box(2, 2)), "no way to put it elsewhere"),
        (Region(box(0, 0, 8, 9)), "overlap the region by less than half"),
    ],
)
def test_where_there_are_no_other_places_nothing_is_certified(looked_at, prop, reason):
    found = nulls(looked_at, prop, kinds=("shift", "contrast"))
    assert found.certified is None
    assert found.verdict.startswith("Not determined")
    assert reason in found.verdict
    assert not found.of("shift").p.determined
    assert reason in str(found)


def test_a_module_has_random_sets_and_permutations_but_no_places():
    generator = torch.Generator().manual_seed(0)
    output = LinearOutput(torch.randn(12, 5, generator=generator), groups=[0] * 6 + [1] * 6)
    found = nulls(output, Custom(torch.sum, "sum"), k=3)
    assert found.certified in (None, False)
    assert len(found.of("random").values) == 200
    assert "costs a pass" in found.of("random", "selectivity").p.reason
    assert np.allclose(found.of("permuted").values, found.of("permuted").observed)
    assert "about the whole output" in found.of("shift").p.reason
    assert not [null for null in found.nulls if null.kind == "contrast"]
    assert "untrained ones" in found.of("untrained").p.reason


def private(samples=60, cases=6):
    """A linear classifier whose last input is on in some cases alone, and the numbers of these cases."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(samples, 6, generator=generator, dtype=torch.float64)
    inputs[:, 5] = torch.arange(samples) < cases
    torch.manual_seed(0)
    return module_sensitivity(nn.Linear(6, 3).double(), inputs), list(range(cases))


def test_weights_of_an_input_that_only_these_cases_have_are_their_own():
    output, cases = private()
    found = nulls(output, ClassMargin(0, against=1, cases=cases), kinds=("shift", "random"), count=99, k=2)
    assert found.certified
    assert {output.name(s) for s in found.weights} == {"weight[0, 5]", "weight[1, 5]"}
    # Nothing outside the cases moves with them.
    assert found.share == pytest.approx(1)
    assert "sets of other cases" in found.verdict


@pytest.mark.slow
def test_cases_like_any_others_are_not_certified():
    output, _ = private()
    certified = [
        nulls(output, ClassMargin(0, against=1, cases=list(range(a, a + 6))), kinds=("shift",), count=39)
        for a in range(6, 60, 6)
    ]
    # Of nine sets that have nothing of their own, each with a chance of 5 %.
    assert sum(bool(each.certified) for each in certified) <= 3


def test_permuted_weights_of_a_module_stay_in_their_parameter_and_unit():
    output, _ = private()
    (other,), _ = networks("permuted", output, 1, [], np.random.default_rng(0))
    before, after = (each.weights[:18].reshape(3, 6).sort(1).values for each in (output, other))
    assert torch.equal(before, after)
    assert torch.equal(output.weights[18:], other.weights[18:])
    assert not torch.equal(output.weights, other.weights)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kinds": ("shift", "drift")}, "drift"),
        ({"kinds": ()}, "no nulls"),
        ({"count": 0}, "count=0"),
        ({"k": 0}, "k=0"),
        ({"level": 1.0}, r"level=1\.0"),
        ({"regions_tried": 0}, "regions_tried=0"),
    ],
)
def test_settings_out_of_range_are_refused(looked_at, settings, message):
    with pytest.raises(InputError, match=message):
        nulls(looked_at, Region(box(2, 4)), **settings)


def test_input_without_an_answer_is_refused(looked_at):
    with pytest.raises(InputError, match="No weight changes the custom"):
        nulls(looked_at, Custom(lambda picture: picture.sum() * 0))
    with pytest.raises(InputError, match="No comparison"):
        nulls(looked_at, Region(box(2, 4)), kinds=("shift",)).of("random")
