"""Which weights carry a property: against whole Jacobians, every subset, and maps written down by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.errors import InputError
from phasescope.synapses import (
    BorderSensitivity,
    Custom,
    Logit,
    MeanColour,
    PictureNet,
    Region,
    Wiring,
    ensemble,
    full_cascade,
    grid,
    layers,
    module_sensitivity,
    selectivity,
    sensitivity,
)
from reference.ensembles import LinearOutput, fewest, jacobian, mean_runs

HEIGHT, WIDTH = 6, 8


def patch(rows=slice(1, 4), columns=slice(2, 5)):
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture(scope="module")
def net():
    return PictureNet(full_cascade(7), seed=3)


@pytest.fixture(scope="module")
def maps(net):
    return jacobian(net, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def looked_at(net):
    return sensitivity(net, HEIGHT, WIDTH)


def test_a_region_has_the_norms_of_the_maps_inside_and_the_rms_outside_as_damage(looked_at, maps):
    found = ensemble(looked_at, Region(patch()))
    inside, outside = maps[:, patch().numpy()], maps[:, ~patch().numpy()]
    assert np.allclose(found.strength, np.sqrt((inside**2).sum((1, 2))), rtol=1e-10)
    assert np.allclose(found.damage, np.sqrt((outside**2).mean((1, 2))), rtol=1e-10)
    assert np.allclose(found.control, found.strength / found.damage, rtol=1e-10)
    share = (inside**2).sum((1, 2)) / (maps**2).sum((1, 2, 3))
    assert np.allclose(found.share, share, rtol=1e-10)
    assert np.allclose(found.lift, share / (9 / 48), rtol=1e-10)
    assert math.isnan(found.value)


def test_a_number_of_a_region_has_signed_strengths_and_pays_for_what_lies_outside(looked_at, maps):
    found = ensemble(looked_at, MeanColour(patch(), 1))
    inside, outside = maps[:, patch().numpy()], maps[:, ~patch().numpy()]
    strength = inside[..., 1].mean(1)
    assert np.allclose(found.strength, strength, rtol=1e-9, atol=1e-12)
    # Nine pixels changed by the strength are the least energy that changes their mean by it.
    along, beside = 9 * strength**2, (outside**2).sum((1, 2))
    assert np.allclose(found.share, along / (along + beside), rtol=1e-9, atol=1e-15)
    assert found.value == pytest.approx(float(looked_at.picture[patch()][:, 1].mean()))


def test_a_number_of_the_whole_picture_pays_for_what_is_not_along_its_gradient(looked_at, maps):
    found = ensemble(looked_at, MeanColour())
    mean = maps.mean((1, 2, 3))
    assert np.allclose(found.strength, mean, rtol=1e-9, atol=1e-12)
    assert np.allclose(found.damage, maps.std((1, 2, 3)), rtol=1e-9)
    assert found.lift is None
    assert np.allclose(found.share, mean**2 / (maps**2).mean((1, 2, 3)), rtol=1e-8, atol=1e-12)


def test_a_region_that_is_the_whole_picture_has_no_damage(looked_at):
    found = ensemble(looked_at, Region(torch.ones(HEIGHT, WIDTH)))
    assert not found.damage.any()
    assert np.isinf(found.control).all()
    assert np.allclose(found.share, 1)


@given(
    st.lists(st.floats(-5, 5).filter(lambda g: abs(g) > 1e-2), min_size=1, max_size=8),
    st.floats(0.05, 1.0),
)
@settings(max_examples=30, deadline=None)
def test_no_smaller_set_covers_as_much(strengths, cover):
    maps = np.diag(strengths)
    whole = Custom(torch.sum, "sum")
    chosen = ensemble(LinearOutput(maps), whole, cover=cover, units=["one"]).sets["one"]
    assert len(chosen) == fewest(strengths, cover)
    assert np.square(np.take(strengths, chosen)).sum() >= cover * np.square(strengths).sum() * (1 - 1e-9)
    assert (np.diff(np.abs(np.take(strengths, chosen))) <= 0).all()


@given(st.lists(st.integers(0, 2), min_size=2, max_size=9), st.data())
@settings(max_examples=30, deadline=None)
def test_expected_runs_are_the_mean_over_all_choices_with_the_same_numbers(groups, data):
    chosen = data.draw(st.sets(st.integers(0, len(groups) - 1), min_size=1))
    maps = np.diag([1.0 if s in chosen else 0.0 for s in range(len(groups))])
    found = ensemble(LinearOutput(maps, groups=groups), Custom(torch.sum), cover=1.0, units=["one"])
    runs = found.runs("one")
    stretch = np.cumsum(np.diff(groups, prepend=groups[0]) != 0)
    counts = [sum(stretch[s] == block for s in chosen) for block in range(stretch[-1] + 1)]
    assert runs.expected == pytest.approx(mean_runs(groups, counts))
    assert runs.anywhere == pytest.approx(mean_runs([0] * len(groups), [len(chosen)]))
    assert {s for first, last in runs.found for s in range(first, last + 1)} == chosen
    assert len(runs.found) == sum(s - 1 not in chosen for s in chosen)


def test_the_three_units_of_change_count_differently():
    # Strengths 3, 2, 1, 0.5 with weights 0.1, 1, 1, 10 and maps that are larger elsewhere.
    maps = np.array([[3, 30, 0], [2, 0, 0], [1, 0, 0.5], [0.5, 0, 5.0]])
    found = ensemble(
        LinearOutput(maps, torch.tensor([0.1, 1, 1, 10], dtype=torch.float64)),
        Custom(lambda output: output[0], "first"),
        cover=0.7,
    )
    assert found.sets["one"].tolist() == [0, 1]  # 9 + 4 of 14.25
    assert found.sets["weight"].tolist() == [3]  # 5, 2, 1, 0.3
    assert found.sets["rms"].tolist() == [1, 2]  # 1, 0.89, 0.1, 0.1 per unit rms
    assert found.carried["rms"] == pytest.approx(5 / 14.25)
    assert found.control[1] == math.inf
    assert found.units("one") == {0: 1, 1: 1}


def test_a_map_that_is_nearly_zero_does_not_count_though_it_does_nothing_else():
    maps = np.array([[1.0, 1.0], [1e-9, 0.0], [0.0, 1.0]])
    first = Custom(lambda output: output[0], "first")
    found = ensemble(LinearOutput(maps), first)
    assert found.share[1] == pytest.approx(1)
    assert found.sets["rms"].tolist() == [0]


def test_scaling_weights_changes_neither_control_nor_the_scale_free_set(net, looked_at):
    rows = looked_at.maps().reshape(looked_at.size, -1)
    scales = torch.logspace(-0.5, 0.5, looked_at.size, dtype=torch.float64)[:, None]
    prop = Custom(lambda output: output[:9].mean(), "corner")
    plain, scaled = (ensemble(LinearOutput(maps), prop) for maps in (rows, rows * scales))
    assert np.allclose(plain.control, scaled.control, rtol=1e-9)
    assert np.array_equal(plain.sets["rms"], scaled.sets["rms"])
    assert not np.array_equal(plain.sets["one"], scaled.sets["one"])


def test_the_selectivity_of_one_weight_is_its_share(looked_at):
    for prop in (Region(patch()), MeanColour(patch(), 1), MeanColour()):
        share = ensemble(looked_at, prop).share
        for weight in (0, 5, looked_at.size - 1):
            assert selectivity(looked_at, prop, [weight]) == pytest.approx(share[weight], rel=1e-5)


def test_all_weights_are_selective_for_the_whole_picture(looked_at):
    whole = Region(torch.ones(HEIGHT, WIDTH))
    assert selectivity(looked_at, whole, range(looked_at.size)) == pytest.approx(1, abs=1e-6)


def test_selectivity_is_the_best_of_all_changes(looked_at, maps):
    chosen = [2, 3, 11]
    inside = patch().numpy()
    generator = np.random.default_rng(0)
    for prop, needed in (
        (Region(patch()), lambda change: (change[:, inside] ** 2).sum((1, 2))),
        (MeanColour(patch()), lambda change: 27 * change[:, inside].mean((1, 2)) ** 2),
    ):
        # Search that closes in on the best of the changes tried so far.
        best, centre = 0.0, np.zeros(3)
        scale = 1 / np.sqrt((maps[chosen] ** 2).sum((1, 2, 3)))
        for width in np.logspace(0, -4, 12):
            tried = (centre + width * generator.standard_normal((400, 3))) * scale
            change = np.einsum("ks,shwc->khwc", tried, maps[chosen])
            outside = (change[:, ~inside] ** 2).sum((1, 2))
            share = needed(change) / (needed(change) + outside)
            if share.max() > best:
                best, centre = share.max(), tried[share.argmax()] / scale
        found = selectivity(looked_at, prop, chosen, ridge=1e-12)
        assert best <= found * (1 + 1e-9)
        assert best == pytest.approx(found, rel=1e-3)


def test_two_weights_that_cancel_outside_are_selective_together():
    # Each alone puts half of its energy inside; their difference nothing outside.
    maps = np.array([[1.0, 1.0], [-1.0, 1.0]])
    prop = Custom(lambda output: output[0], "first")
    assert selectivity(LinearOutput(maps), prop, [0]) == pytest.approx(0.5, rel=1e-5)
    assert selectivity(LinearOutput(maps), prop, [0, 1]) == pytest.approx(1, rel=1e-5)


def test_selectivity_never_falls_with_more_weights_nor_depends_on_scale(looked_at):
    region = Region(patch())
    order = torch.randperm(looked_at.size, generator=torch.Generator().manual_seed(0)).tolist()
    values = [selectivity(looked_at, region, order[:count]) for count in (1, 3, 9, 27, len(order))]
    assert values == sorted(values)
    rows = looked_at.maps().reshape(looked_at.size, -1)
    prop = Custom(lambda output: output[:9].mean(), "corner")
    scaled = LinearOutput(rows * torch.logspace(-6, 6, len(rows), dtype=torch.float64)[:, None])
    assert selectivity(scaled, prop, order[:9]) == pytest.approx(
        selectivity(LinearOutput(rows), prop, order[:9]), rel=1e-6
    )


def test_many_weights_are_a_sort():
    groups = np.repeat(np.arange(1000), 300)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(300_000, 2, generator=generator, dtype=torch.float64)
    found = ensemble(LinearOutput(maps, groups=groups), Custom(torch.sum))
    assert found.sets["one"][0] == int(maps.sum(1).abs().argmax())
    assert 0 < len(found.sets["rms"]) < 300_000
    assert "300000 weights" in str(found)


def test_a_module_has_the_same_ensemble_with_an_error_of_the_damage(net, looked_at):
    class Painted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, points):
            return self.net(points)

    cases = patch().reshape(-1)
    module = module_sensitivity(Painted(), grid(HEIGHT, WIDTH))
    found = ensemble(module, Custom(lambda output: output[cases].mean(), support=None))
    exact = ensemble(looked_at, MeanColour(patch()))
    assert np.allclose(found.strength, exact.strength)
    assert found.sets["one"].tolist() == exact.sets["one"].tolist()
    assert found.damage_error == 0 or "damage within" in str(found)


def test_a_support_of_cases_splits_any_output():
    rows = np.array([[3.0, 4, 0, 0], [0, 0, 1, 2]])
    first = Logit(0, cases=[0])
    found = ensemble(LinearOutput(rows, shape=(2, 2)), first)
    assert found.strength.tolist() == [3, 0]
    assert np.allclose(found.damage, [0, np.sqrt(5 / 2)])
    assert found.lift.tolist() == [2, 0]
    assert found.share.tolist() == [1, 0]


def test_energies_of_borders_add_up_to_their_rms():
    view = BorderSensitivity(PictureNet(layers(1, 3, 1), [3.0, 2, 1, 1, -1, 1, 0.3, 0.2, -0.1, 0.05]))
    whole = view.energy(torch.ones(view.output.shape))
    assert torch.allclose(whole, view.rms.square() * len(view.output))


def test_the_table_names_the_first_weights(looked_at):
    text = str(ensemble(looked_at, MeanColour(patch())))
    first = ensemble(looked_at, MeanColour(patch())).sets["rms"][0]
    assert looked_at.name(int(first)) in text
    assert "1/rms(J)" in text


def test_input_without_an_answer_is_refused(looked_at):
    with pytest.raises(InputError, match="cover=0"):
        ensemble(looked_at, MeanColour(), cover=0)
    with pytest.raises(InputError, match="no unit of change"):
        ensemble(looked_at, MeanColour(), units=["metre"])
    with pytest.raises(InputError, match="No weight changes"):
        ensemble(LinearOutput(np.zeros((3, 2))), Custom(torch.sum))
    with pytest.raises(InputError, match="no finite derivative in weight 1"):
        ensemble(
            LinearOutput([[1.0], [math.nan]], torch.zeros(2).double()),
            Custom(lambda o: (o - o.detach()).nan_to_num().sum() + 0 * o.nan_to_num().sum()),
        )
    with pytest.raises(InputError, match="twice or none"):
        selectivity(looked_at, MeanColour(), [1, 1])
    with pytest.raises(InputError, match="Weight 900"):
        selectivity(looked_at, MeanColour(), [900])
    with pytest.raises(InputError, match="ridge=0"):
        selectivity(looked_at, MeanColour(), [1], ridge=0)


def test_a_wiring_that_is_one_unit_is_one_block_of_runs():
    net = PictureNet(Wiring(2, ((0, 1),), (0,)), seed=1)
    runs = ensemble(sensitivity(net, 4, 4), MeanColour(), cover=1.0).runs("one")
    assert runs.found.tolist() == [[0, 2]]
    assert runs.expected == runs.anywhere == 1
    assert str(runs).startswith("1 runs; 1.0 expected")
