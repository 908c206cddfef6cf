import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from phasescope.errors import InputError
from phasescope.synapses import (
    Border,
    BorderSensitivity,
    PictureNet,
    band,
    comparison,
    edit,
    ensemble,
    layers,
    line,
    two_bands,
)

V1, V3, C = 0.6, 0.649321861, -0.487727706


def u(x, v3=V3, c=C):
    steep = V1 * np.tanh(200 * (x + 0.6)) + v3 * np.tanh(200 * (x - 0.2))
    return steep - np.tanh(2 * (x - 0.1)) + c


def borders_of_u(**changed):
    brackets = [(-0.7, -0.5), (-0.4, -0.1), (0.15, 0.25), (0.4, 0.8)]
    return np.array([brentq(lambda x: u(x, **changed), *each, xtol=1e-15) for each in brackets])


@pytest.mark.parametrize(
    "task", [line(), line(slope=-1.2), comparison(), comparison(units=2), comparison(3), band(), two_bands()]
)
def test_exact_weights_solve_each_task_at_every_point(task):
    assert task.right().all()
    other = PictureNet(task.net.wiring, torch.zeros(task.net.wiring.size))
    assert task.right(other).sum() == (task.targets == 0).sum()


def test_a_line_needs_two_weights_whose_ratio_is_its_slope():
    task = line(slope=0.7)
    w1, w2, bias = task.net.weights.tolist()
    assert bias == 0
    slope, height = task.properties
    assert task.sensitivity.value(slope) == pytest.approx(-w1 / w2, abs=1e-12)
    assert task.sensitivity.value(height) == pytest.approx(0, abs=1e-12)
    # d slope / d w_1 = -1 / w_2, d slope / d w_2 = w_1 / w_2^2; the bias moves the line alone.
    expected = torch.tensor([-1 / w2, w1 / w2**2, 0.0], dtype=torch.float64)
    torch.testing.assert_close(task.sensitivity.gradient(slope), expected)
    found = edit(task.sensitivity, {slope: 0.3}, [height])
    assert found.complete
    assert -found.weights[0] / found.weights[1] == pytest.approx(1.0, abs=1e-3)


def test_two_numbers_are_compared_by_eight_four_two_one_and_their_negatives():
    task = comparison()
    assert task.net.weights.tolist() == [8, 4, 2, 1, -8, -4, -2, -1, 0]
    bits = (task.points.numpy() > 0).astype(int)
    a, b = (half @ [8, 4, 2, 1] for half in (bits[:, :4], bits[:, 4:]))
    assert (a == b).sum() == 16
    output = task.net(task.points).detach()[:, 0].numpy()
    np.testing.assert_array_equal(np.sign(output), np.sign(a - b))
    np.testing.assert_allclose(np.arctanh(output[np.abs(a - b) < 5]), (a - b)[np.abs(a - b) < 5])


@pytest.mark.parametrize("cover", [0.9, 1.0])
def test_the_ensemble_of_each_number_is_exactly_its_four_synapses(cover):
    task = comparison()
    for prop, synapses in zip(task.properties, [{0, 1, 2, 3}, {4, 5, 6, 7}], strict=True):
        found = ensemble(task.sensitivity, prop, cover=cover)
        assert set(found.sets["one"]) == synapses
        assert set(found.sets["rms"]) == synapses
        assert set(np.flatnonzero(found.strength)) == synapses


def test_on_two_units_the_ensembles_share_the_synapses_of_the_output():
    task = comparison(units=2)
    moved = [set(np.flatnonzero(task.sensitivity.gradient(prop).abs() > 1e-12)) for prop in task.properties]
    assert moved[0] == {0, 1, 4, 5, 8, 9}
    assert moved[1] == {2, 3, 6, 7, 8, 9}


def test_a_band_takes_three_units():
    task = band(left=-0.5, right=0.25)
    assert task.net.wiring.units == 3
    np.testing.assert_allclose(task.sensitivity.output, [-0.5, 0.25], atol=1e-10)
    left, right = task.properties
    found = edit(task.sensitivity, {left: 0.1}, [right])
    assert found.complete
    np.testing.assert_allclose(task.sensitivity.at(found.weights).output, [-0.4, 0.25], atol=2e-4)


def test_the_borders_of_two_bands_are_those_of_the_formula():
    found = two_bands().sensitivity.output.numpy()
    np.testing.assert_allclose(found, borders_of_u(), atol=1e-13)
    np.testing.assert_allclose(found, [-0.597755, -0.2, 0.200669, 0.6], atol=5e-7)


def test_derivatives_of_borders_are_those_of_differences():
    task = two_bands()
    at = task.sensitivity
    for s in range(at.size):
        step = torch.zeros(at.size, dtype=torch.float64)
        step[s] = 1e-6
        difference = (at.at(at.weights + step).output - at.at(at.weights - step).output) / 2e-6
        torch.testing.assert_close(at.change(step) / 1e-6, difference, rtol=1e-6, atol=1e-9)
        pulled = torch.stack([at.gradient(prop)[s] for prop in task.properties])
        torch.testing.assert_close(pulled, difference, rtol=1e-6, atol=1e-9)


def test_border_two_moves_alone_by_the_compensation_of_two_weights():
    task = two_bands()
    border = task.properties
    found = edit(
        task.sensitivity, {border[1]: 0.02}, [border[3]], method="pair", weights=[5, 9], tolerance=1e-9
    )
    assert found.difference[5] == pytest.approx(-0.0145360671, abs=1e-8)
    assert found.difference[9] == pytest.approx(0.0145360671, abs=1e-8)
    # Checked with the formula, not with the network.
    before, after = borders_of_u(), borders_of_u(v3=V3 - 0.0145360671, c=C + 0.0145360671)
    moved = after - before
    assert moved[1] == pytest.approx(0.02, abs=1e-7)
    assert np.abs(moved[[0, 2, 3]]).max() < 3e-4
    for alone in ({"v3": V3 - 0.0145360671}, {"c": C + 0.0145360671}):
        assert abs(borders_of_u(**alone) - before)[3] == pytest.approx(0.017, abs=1e-3)


def test_other_pairs_move_border_two_alone_as_well_and_the_best_is_found():
    # v_3 and c are one pair of many: v_1 and v_3 by opposite amounts leave the rest as it is, too, and the
    # slope of the graded unit with v_1 disturbs the steep borders even less.
    task = two_bands()
    border = task.properties
    known = edit(task.sensitivity, {border[1]: 0.02}, [border[3]], method="pair", weights=[5, 9])
    keep = {border[0]: 3e-4, border[2]: 3e-4, border[3]: 3e-4}
    best = edit(task.sensitivity, {border[1]: 0.02}, keep, method="pair")
    assert best.complete
    assert best.damage < known.damage
    after = task.sensitivity.at(best.weights).output - task.sensitivity.output
    assert float(after[1]) == pytest.approx(0.02, rel=1e-3)
    assert float(after[[0, 2, 3]].abs().max()) < 3e-4


def test_the_programme_moves_border_two_and_nothing_else():
    task = two_bands()
    border = task.properties
    found = edit(task.sensitivity, {border[1]: 0.02}, [border[0], border[2], border[3]])
    after = task.sensitivity.at(found.weights).output - task.sensitivity.output
    torch.testing.assert_close(after, torch.tensor([0, 0.02, 0, 0]).double(), atol=2e-5, rtol=0)


def test_a_border_that_is_lost_makes_the_places_unknown_and_edits_stop_short_of_it():
    at = band().sensitivity
    weights = at.weights.clone()
    weights[-1] -= 5
    assert torch.isnan(at.at(weights).output).all()
    found = edit(at, {Border(1): 5.0}, steps=4)
    assert not found.complete
    assert torch.isfinite(at.at(found.weights).output).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: line(slope=3.0), "slope=3.0"),
        (lambda: comparison(0), "bits=0"),
        (lambda: comparison(1, units=2), "units=2"),
        (lambda: band(0.3, -0.3), "left=0.3"),
        (lambda: BorderSensitivity(band().net, [[[0.0], [0.0]]]), "starts where it ends"),
        (lambda: BorderSensitivity(band().net, [[0.0, 1.0]]), "The paths have shape"),
        (lambda: BorderSensitivity(PictureNet(layers(1, 1), [0.0, 1.0])), "has no zero"),
        (lambda: band().sensitivity.value(Border(3)), "There is no border 3"),
    ],
)
def test_what_has_no_meaning_is_refused_in_words(call, message):
    with pytest.raises(InputError, match=message):
        call()
