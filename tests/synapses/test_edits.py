import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference.edits import best_subset, jacobian, programme
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.tangents import load_forward_mode
from phasescope.synapses import (
    Custom,
    MeanColour,
    PictureNet,
    Region,
    Sensitivity,
    edit,
    grid,
    layers,
    module_sensitivity,
    sensitivity,
    thinned_cascade,
)

HEIGHT, WIDTH = 9, 12


def box(top, left, height, width):
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[top : top + height, left : left + width] = True
    return mask


INSIDE, BESIDE = box(2, 3, 3, 3), box(5, 8, 3, 3)
MOVED = MeanColour(INSIDE, name="moved")
KEPT = MeanColour(BESIDE, name="kept")
GREEN = MeanColour(None, 1, name="green")


@pytest.fixture(scope="module")
def at():
    net = PictureNet(thinned_cascade(hidden=6, window=3, reach=4), gain=2.0, seed=3)
    return sensitivity(net, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def maps(at):
    return jacobian(at)


@pytest.fixture(scope="module")
def small():
    return sensitivity(PictureNet(layers(2, 3, 3), gain=2.0, seed=1), HEIGHT, WIDTH)


def outside_of(mask):
    return torch.diag((~mask)[..., None].expand(HEIGHT, WIDTH, 3).reshape(-1).double())


def gradients(maps, output, *properties):
    return torch.stack([maps @ prop.gradient(output).reshape(-1) for prop in properties])


def drifts(found):
    return [after - before for before, after in found.kept.values()]


class Plain(Sensitivity):
    """The contract on a plain module, by torch.func: no pictures, no fast paths."""

    def __init__(self, model, batch, weights=None):
        self.model, self.batch = model, batch
        parameters = dict(model.named_parameters())
        self.shapes = {name: each.shape for name, each in parameters.items()}
        flat = torch.cat([each.detach().reshape(-1) for each in parameters.values()])
        self.weights = flat if weights is None else weights.detach()
        self.output = self.forward(self.weights).detach()

    def forward(self, weights):
        pieces = weights.split([math.prod(shape) for shape in self.shapes.values()])
        named = {n: w.reshape(s) for (n, s), w in zip(self.shapes.items(), pieces, strict=True)}
        return torch.func.functional_call(self.model, named, (self.batch,))

    def pulled_back(self, seeds):
        _, pull = torch.func.vjp(self.forward, self.weights)
        if seeds.ndim == self.output.ndim:
            return pull(seeds)[0]
        return torch.stack([pull(seed)[0] for seed in seeds])

    def change(self, difference):
        def push(row):
            return torch.func.jvp(self.forward, (self.weights,), (row,))[1]

        return push(difference) if difference.ndim == 1 else torch.stack([push(row) for row in difference])

    def at(self, weights):
        return Plain(self.model, self.batch, weights)

    def name(self, weight):
        return f"weight {weight}"

    def energy(self, masks):
        squares = torch.func.jacrev(self.forward)(self.weights).square().sum(1)
        return masks.to(squares) @ squares

    @property
    def rms(self):
        return (self.energy(torch.ones(len(self.output))) / self.output.numel()).sqrt()

    @property
    def groups(self):
        return torch.zeros(self.size, dtype=torch.int64)


@pytest.fixture(scope="module")
def plain():
    load_forward_mode()
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3)).double()
    for parameter in model.parameters():
        parameter.data = 0.7 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return Plain(model, torch.randn(30, 4, generator=generator, dtype=torch.float64))


def test_one_linear_step_solves_the_dense_system_of_step_and_multipliers(at, maps):
    wanted = torch.tensor([0.05, 0.0], dtype=torch.float64)
    expected, _ = programme(maps, outside_of(INSIDE), gradients(maps, at.output, MOVED, KEPT), wanted, 1e-5)
    found = edit(at, {MOVED: 0.05}, [KEPT], steps=1)
    torch.testing.assert_close(found.difference, expected, rtol=1e-5, atol=1e-7)


def test_where_nothing_is_outside_all_but_the_propertys_own_direction_is_damage(at, maps):
    direction = GREEN.gradient(at.output).reshape(-1)
    direction = direction / direction.norm()
    outside = torch.eye(len(direction), dtype=torch.float64) - torch.outer(direction, direction)
    wanted = torch.tensor([0.05], dtype=torch.float64)
    expected, _ = programme(maps, outside, gradients(maps, at.output, GREEN), wanted, 1e-5)
    found = edit(at, {GREEN: 0.05}, steps=1)
    torch.testing.assert_close(found.difference, expected, rtol=1e-5, atol=1e-7)
    change = (at.at(found.weights).output - at.output).reshape(-1)
    assert found.damage == pytest.approx(float((outside @ change).norm()) / math.sqrt(len(change)), rel=1e-9)


def test_conjugate_gradients_on_any_module_agree_with_the_dense_system(plain):
    rows = torch.zeros(30, dtype=torch.bool)
    rows[:5] = True
    moved = Custom(lambda output: output[:5, 0].mean(), "first", rows[:, None].expand(30, 3))
    kept = Custom(lambda output: output[20:, 1].mean(), "last")
    assert plain.size > 64
    maps = torch.func.jacrev(plain.forward)(plain.weights).reshape(-1, plain.size).T
    outside = torch.diag((~rows)[:, None].expand(30, 3).reshape(-1).double())
    wanted = torch.tensor([0.1, 0.0], dtype=torch.float64)
    expected, _ = programme(maps, outside, gradients(maps, plain.output, moved, kept), wanted, 2.0)
    found = edit(plain, {moved: 0.1}, [kept], steps=1, ridge=2.0, iterations=200)
    torch.testing.assert_close(found.difference, expected, rtol=1e-6, atol=1e-9)
    # Few iterations give a worse direction, but the properties still move as asked.
    rough = edit(plain, {moved: 0.1}, [kept], ridge=1e-2, iterations=2)
    assert rough.complete
    assert rough.reached["first"] == pytest.approx(0.1, rel=1e-3)


def test_the_gradient_method_changes_the_weights_least(at, maps):
    rows = gradients(maps, at.output, MOVED, KEPT)
    found = edit(at, {MOVED: 0.05}, [KEPT], method="gradient", steps=1)
    expected = torch.linalg.pinv(rows) @ torch.tensor([0.05, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found.difference, expected, rtol=1e-5, atol=1e-9)


def test_the_pair_is_the_best_of_all_pairs_and_compensates(small):
    maps = jacobian(small)
    rows = gradients(maps, small.output, MOVED, KEPT)
    wanted = torch.tensor([0.05, 0.0], dtype=torch.float64)
    _, columns, step = best_subset(maps, outside_of(INSIDE), rows, wanted, 1e-5, 2)
    found = edit(small, {MOVED: 0.05}, [KEPT], method="pair", steps=1, tries=1)
    assert found.chosen == columns
    torch.testing.assert_close(found.difference, step, rtol=1e-4, atol=1e-7)
    s, t = columns
    ratio = float(found.difference[s] / found.difference[t])
    assert ratio == pytest.approx(float(-rows[1, t] / rows[1, s]), rel=1e-5)


def test_without_kept_properties_pair_and_single_are_the_best_of_all(small):
    maps = jacobian(small)
    rows, wanted = gradients(maps, small.output, MOVED), torch.tensor([0.05], dtype=torch.float64)
    for number, method in ((1, "single"), (2, "pair")):
        _, columns, step = best_subset(maps, outside_of(INSIDE), rows, wanted, 1e-5, number)
        found = edit(small, {MOVED: 0.05}, method=method, steps=1, tries=1)
        assert found.chosen == columns
        torch.testing.assert_close(found.difference, step, rtol=1e-4, atol=1e-7)


def test_candidates_are_judged_by_what_they_really_do(small):
    first = edit(small, {MOVED: 0.15}, [KEPT], method="pair", tries=1)
    best = edit(small, {MOVED: 0.15}, [KEPT], method="pair", tries=12)
    assert best.complete
    assert best.damage < first.damage or best.chosen == first.chosen
    assert best.reached["moved"] == pytest.approx(0.15, rel=1e-3)


def test_no_exchange_of_one_weight_betters_a_sparse_edit(small):
    maps = jacobian(small)
    rows = gradients(maps, small.output, MOVED, KEPT)
    wanted = torch.tensor([0.05, 0.0], dtype=torch.float64)
    found = edit(small, {MOVED: 0.05}, [KEPT], method="sparse", count=4, steps=1)
    assert len(found.chosen) == 4
    assert set(np.flatnonzero(found.difference)) == set(found.chosen)
    whole = maps.square().mean(1).mean()

    def cost(columns):
        ridge = 1e-5 * whole / maps[list(columns)].square().mean(1).mean()
        return programme(maps, outside_of(INSIDE), rows, wanted, float(ridge), columns)[1]

    reached = cost(found.chosen)
    for given_up in found.chosen:
        for other in set(range(small.size)) - set(found.chosen):
            columns = sorted({*found.chosen, other} - {given_up})
            if torch.linalg.matrix_rank(rows[:, columns]) == 2:
                assert cost(columns) > 0.999 * reached


def test_a_sparse_edit_of_all_weights_is_the_programme(small):
    sparse = edit(small, {MOVED: 0.05}, [KEPT], method="sparse", count=small.size)
    full = edit(small, {MOVED: 0.05}, [KEPT])
    torch.testing.assert_close(sparse.difference, full.difference)


@pytest.mark.parametrize("method", ["programme", "gradient", "pair", "sparse"])
def test_kept_properties_stay_to_first_order_and_the_rest_falls_as_the_square(at, method):
    amounts = np.array([0.008, 0.004, 0.002, 0.001])
    found = [edit(at, {MOVED: a}, [KEPT], method=method, steps=1, tries=1) for a in amounts]
    assert len({each.chosen for each in found}) == 1
    left = np.array(
        [[abs(drifts(each)[0]), abs(each.reached["moved"] - each.asked["moved"])] for each in found]
    )
    slopes = np.diff(np.log(left), axis=0) / np.diff(np.log(amounts))[:, None]
    np.testing.assert_allclose(slopes[-1], 2, atol=0.15)


def test_what_one_linear_step_misses_is_reached_in_several(trained):
    once = edit(trained, {MOVED: 0.1}, [KEPT], steps=1)
    assert abs(once.reached["moved"] - 0.1) > 0.01 * 0.1
    found = edit(trained, {MOVED: 0.1}, [KEPT])
    assert found.complete
    assert found.notes == ()
    assert found.reached["moved"] == pytest.approx(0.1, rel=1e-3)
    # Numbers of the result are those of the network itself.
    output = trained.net.with_weights(found.weights).paint(HEIGHT, WIDTH)
    change = output - trained.output
    assert float(change[INSIDE].mean()) == pytest.approx(found.reached["moved"], rel=1e-9)
    assert float(output[BESIDE].mean()) == pytest.approx(found.kept["kept"][1], rel=1e-9)
    assert abs(drifts(found)[0]) <= 1e-4
    assert found.damage == pytest.approx(float(change[~INSIDE].square().mean().sqrt()), rel=1e-9)


@pytest.fixture(scope="module")
def trained():
    """Thirty steps of Adam towards a disc."""
    net = PictureNet(thinned_cascade(hidden=8, window=4, reach=4), gain=3.0, seed=0)
    x, y = grid(HEIGHT, WIDTH).T
    target = torch.where(((x + 0.3) ** 2 + y**2 < 0.2)[:, None], 0.8, -0.5).expand(-1, 3)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        (net(grid(HEIGHT, WIDTH)) - target).square().mean().backward()
        optimiser.step()
    return sensitivity(net, HEIGHT, WIDTH)


def test_methods_rank_as_their_freedom_does(trained):
    damage = {
        m: edit(trained, {MOVED: 0.1}, [KEPT], method=m).damage for m in ("programme", "sparse", "gradient")
    }
    assert damage["programme"] < damage["sparse"] < damage["gradient"]


def test_damage_of_a_sequence_is_measured_against_the_untouched_original(trained):
    first = edit(trained, {MOVED: 0.05})
    after = trained.at(first.weights)
    second = edit(after, {KEPT: -0.05}, original=trained)
    change = trained.at(second.weights).output - trained.output
    assert second.damage == pytest.approx(float(change[~BESIDE].square().mean().sqrt()), rel=1e-9)
    assert second.damage > edit(after, {KEPT: -0.05}).damage
    # The first edit is not undone on the way.
    assert float(change[INSIDE].mean()) > 0.04


def test_elsewhere_says_where_a_change_is_damage(trained):
    everywhere = edit(trained, {MOVED: 0.1})
    found = edit(trained, {MOVED: 0.1}, elsewhere=BESIDE)
    change = trained.at(found.weights).output - trained.output
    assert found.damage == pytest.approx(float(change[BESIDE].square().mean().sqrt()), rel=1e-9)
    assert found.damage < float((trained.at(everywhere.weights).output - trained.output)[BESIDE].norm())
    reds = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.bool)
    reds[..., 0] = True
    found = edit(trained, {MOVED: 0.1}, elsewhere=reds)
    change = trained.at(found.weights).output - trained.output
    assert found.damage == pytest.approx(float(change[..., 0].square().mean().sqrt()), rel=1e-9)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.2, 5), st.floats(-1, 1))
def test_the_unit_of_a_property_does_not_matter(small, scale, shift):
    rescaled = Custom(lambda output: scale * output[INSIDE].mean() + shift, "rescaled", INSIDE)
    expected = edit(small, {MOVED: 0.05}, [KEPT], steps=1).difference
    found = edit(small, {rescaled: scale * 0.05}, [KEPT], steps=1).difference
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-10)


def test_several_properties_move_at_once(trained):
    found = edit(trained, {MOVED: 0.04, KEPT: -0.02})
    assert found.complete
    assert found.reached == pytest.approx({"moved": 0.04, "kept": -0.02}, abs=4e-5)
    assert edit(trained, {MOVED: 0.02, KEPT: -0.01}, method="pair").complete


def test_a_pair_holds_more_properties_as_nearly_as_it_can_and_says_so(trained):
    kept = [KEPT, *(MeanColour(box(0, 0, 3, 3), c, name=f"corner {c}") for c in range(3))]
    found = edit(trained, {MOVED: 0.05}, kept, method="pair", tries=2)
    assert found.reached["moved"] == pytest.approx(0.05, rel=1e-3)
    assert not found.complete
    assert any("2 weights cannot hold it" in note for note in found.notes)
    loose = edit(trained, {MOVED: 0.05}, dict.fromkeys(kept, 1.0), method="pair", tries=1)
    assert loose.complete


def test_an_amount_out_of_reach_is_said_to_be_and_how_far_it_got(trained):
    found = edit(trained, {MOVED: 3.0})
    assert not found.complete
    assert 0 < found.reached["moved"] < 2
    assert "asked +3, reached" in found.notes[0]
    assert "asked +3" in str(found)


def test_a_saturated_output_that_cannot_move_leaves_the_net_as_it_is():
    at = sensitivity(PictureNet(layers(2, 1), [0.0, 0.0, 0.3]), HEIGHT, WIDTH)
    top = Custom(lambda output: output[INSIDE].mean(), "top", INSIDE)
    found = edit(at, {top: 2.0}, weights=[2])
    assert not found.complete
    assert found.reached["top"] < 1 - math.tanh(0.3) + 1e-6


def test_only_the_weights_allowed_are_changed(trained):
    found = edit(trained, {MOVED: 0.05}, [KEPT], weights=range(10, 30))
    assert set(np.flatnonzero(found.difference)) <= set(range(10, 30))
    assert found.complete


def test_nothing_given_is_changed_and_undo_restores_every_bit(trained):
    before = trained.weights.clone()
    net = PictureNet(trained.net.wiring, before, dtype=torch.float32)
    at = sensitivity(net, HEIGHT, WIDTH)
    found = edit(at, {MeanColour(INSIDE, name="moved"): 0.05}, tolerance=1e-2)
    given = net.weights.detach().clone()
    changed = found.applied(net)
    assert torch.equal(net.weights, given)
    assert torch.equal(changed.weights, found.weights)
    assert torch.equal(trained.weights, before)
    found.apply_(net)
    assert not torch.equal(net.weights, given)
    with pytest.raises(InputError, match="not those that this edit starts from"):
        found.apply_(net)
    found.undo_(net)
    assert torch.equal(net.weights, given)
    with pytest.raises(InputError, match="not those"):
        found.undo_(net)
    with pytest.raises(InputError, match="The model has 13 weights"):
        found.apply_(PictureNet(layers(2, 1, 2, 2)))


def test_a_module_is_edited_through_its_own_parameters(plain):
    prop = Custom(lambda output: output[:, 2].mean(), "third")
    for at in (plain, module_sensitivity(plain.model, plain.batch)):
        found = edit(at, {prop: 0.1}, iterations=5)
        model = found.applied(plain.model)
        assert found.complete
        reached = float((model(plain.batch) - plain.model(plain.batch)).detach()[:, 2].mean())
        assert reached == pytest.approx(found.reached["third"], rel=1e-9)
    frozen = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    frozen[0].requires_grad_(False)
    found = edit(module_sensitivity(frozen, plain.batch), {prop: 0.1}, method="sparse", count=3)
    model = found.applied(frozen)
    assert found.complete
    assert torch.equal(model[0].weight, frozen[0].weight)
    assert len(found.chosen) == 3


NAN = Custom(lambda output: output.mean() * float("nan"), "undefined")
FIXED = Custom(lambda output: 0 * output.sum(), "fixed")
TWICE = Custom(lambda output: 2 * output[INSIDE].mean(), "twice")


@pytest.mark.parametrize(
    ("move", "keep", "options", "message"),
    [
        ({}, [], {}, "Nothing is to be moved"),
        ({MOVED: math.inf}, [], {}, "moved is to move by inf"),
        ({MOVED: 0.0}, [], {}, "moved is to move by 0"),
        ({MOVED: 0.1}, [TWICE], {}, "Kept twice: parallel to moved"),
        ({MOVED: 0.1, TWICE: 0.3}, [], {}, "Moved twice: parallel to moved"),
        ({MOVED: 0.1}, [KEPT], {"weights": [4]}, "1 weight cannot hold 1 moved and 1 kept"),
        ({MOVED: 0.1}, [KEPT], {"method": "sparse", "count": 1}, "1 weight cannot hold"),
        ({MOVED: 0.1, KEPT: 0.1}, [], {"method": "single"}, "1 weight cannot hold 2 moved"),
        ({MOVED: 0.1}, [MOVED], {}, "moved is moved and kept"),
        ({Region(INSIDE): 0.1}, [], {}, "has no value"),
        ({NAN: 0.1}, [], {}, "undefined"),
        ({FIXED: 0.1}, [], {}, "No weight changes fixed"),
        ({"moved": 0.1}, [], {}, "'moved' is no property"),
        ({MOVED: 0.1}, {KEPT: -1.0}, {}, "allowed drifts"),
        ({MOVED: 0.1}, [], {"method": "magic"}, "method='magic' is unknown"),
        ({MOVED: 0.1}, [], {"weights": [0, 1000]}, "Weight 1000 does not exist"),
        ({MOVED: 0.1}, [], {"weights": [0.5]}, "are no weights"),
        ({MOVED: 0.1}, [], {"elsewhere": ~box(0, 0, HEIGHT, WIDTH)}, "elsewhere is empty"),
        ({MOVED: 0.1}, [], {"elsewhere": torch.ones(2, 2, dtype=torch.bool)}, "elsewhere: the mask"),
        ({MOVED: 0.1}, [], {"method": "sparse", "count": 0}, "count=0"),
        ({MOVED: 0.1}, [], {"steps": 0}, "steps=0"),
        ({MOVED: 0.1}, [], {"ridge": 0.0}, "ridge=0"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(small, move, keep, options, message):
    with pytest.raises(InputError, match=message):
        edit(small, move, keep, **options)


def test_properties_of_one_name_are_told_apart_by_a_number(small):
    again = MeanColour(BESIDE, name=MOVED.name)
    found = edit(small, {MOVED: 0.01}, [again])
    assert list(found.asked) == ["moved"]
    assert list(found.kept) == ["moved (2)"]


def test_an_original_seen_at_other_points_is_refused(small):
    with pytest.raises(InputError, match="The original has an output"):
        edit(small, {MOVED: 0.1}, original=sensitivity(small.net, 4, 4))
