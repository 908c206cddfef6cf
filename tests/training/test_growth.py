"""Growth of small differences: known maps, and training on Iris written out in reference/iris_training.py."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.training import (
    GradientDescent,
    TrainingMap,
    objective,
    perturbation_growth,
    step_map,
    tangent_exponents,
    training_map,
)
from reference import iris_training

X, Y = (torch.as_tensor(each) for each in iris_training.iris())
NET = nn.Sequential(nn.Linear(4, 10), nn.Sigmoid(), nn.Linear(10, 3)).double()
TWO = torch.tensor([[1.0, 2.0]], dtype=torch.float64)


def iris(rate, **options):
    return training_map(NET, F.cross_entropy, (X, Y), rate, **options)


def starts(*numbers):
    return torch.as_tensor(np.array([iris_training.start(i) for i in numbers]))


def times(factor):
    return step_map(lambda x, t: factor * x, TWO)


class Recorded(TrainingMap):
    """A map that keeps all states that it is asked to advance."""

    def __init__(self, made):
        super().__init__(made, GradientDescent(0.5))
        self.seen = {}

    def advance(self, x, t):
        self.seen[t] = x.clone()
        return super().advance(x, t)


def recorded(model=NET, data=(X, Y)):
    made = Recorded(objective(model, F.cross_entropy, data))
    made.seen = {}
    return made


def test_distances_are_those_of_copies_trained_one_by_one():
    made = recorded()
    growth = perturbation_growth(made, steps=50, copies=3, size=1e-6, x=starts(1)[0])
    kicks = (made.seen[0][1:] - made.seen[0][:1]).numpy()
    by_hand = iris_training.distances(iris_training.start(1), kicks, 0.5, 50)
    np.testing.assert_allclose(growth.copies, by_hand, rtol=1e-6)
    np.testing.assert_allclose(growth.l1, by_hand.mean(axis=0), rtol=1e-6)
    x, y = iris_training.iris()
    assert growth.loss[0] == pytest.approx(iris_training.gradient(iris_training.start(1), x, y)[0], rel=1e-12)


def test_weights_are_kicked_by_uniform_numbers_and_biases_are_not():
    growth = perturbation_growth(iris(0.01), steps=1, copies=400, size=1e-4, x=starts(0)[0])
    assert growth.l1[0] == pytest.approx(70 * 1e-4 / 2, rel=4 * 3**-0.5 / math.sqrt(400 * 70))
    assert growth.layers["0.weight"][0] == pytest.approx(40 * 1e-4 / 2, rel=0.02)
    assert growth.layers["0.bias"][0] == growth.layers["2.bias"][0] == 0


def test_the_first_distance_is_the_sum_of_absolute_kicks():
    made = recorded()
    growth = perturbation_growth(made, steps=1, copies=5, size=1e-3, x=torch.zeros(83))
    kicks = made.seen[0][1:]
    assert growth.copies[:, 0].tolist() == kicks.abs().sum(1).tolist()
    assert kicks.abs().max() < 1e-3


def test_the_optimisers_memory_is_not_kicked():
    made = training_map(NET, F.cross_entropy, (X, Y), lambda p: torch.optim.Adam(p, lr=0.01))
    growth = perturbation_growth(made, steps=1, copies=2, size=1e-3)
    assert growth.layers.keys() == made.slices.keys()
    assert growth.l1[0] < 70 * 1e-3


LSTM = nn.LSTM(4, 3, batch_first=True)


@pytest.mark.parametrize(
    "made",
    [
        iris(1.0),
        training_map(NET, F.cross_entropy, (X, Y), lambda p: torch.optim.Adam(p, lr=0.1)),
        training_map(LSTM, lambda out, y: F.cross_entropy(out[0][:, -1], y), (X[:, None], Y), 0.5),
        step_map(lambda x, t: 4 * x * (1 - x), torch.rand(3, 2, dtype=torch.float64)),
    ],
    ids=["gradient descent", "adam", "lstm", "any step"],
)
def test_a_kick_of_zero_stays_zero_in_every_copy(made):
    x = torch.stack([made.initial, 0.9 * made.initial])
    growth = perturbation_growth(made, steps=40, copies=13, size=0, x=x)
    assert growth.copies.max() == 0
    assert growth.verdict == ("not determined", "not determined")
    assert growth.fitted[0].reason == "all differences are 0"


@pytest.mark.parametrize("seed", [0, 1])
def test_copies_of_a_convolution_differ_by_rounding_alone(seed):
    torch.manual_seed(seed)  # with 1 the batched convolution rounds copies differently, with 0 it does not
    net = nn.Sequential(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 5, 2), nn.Flatten(), nn.Linear(5, 3))
    made = training_map(net.double(), F.cross_entropy, (X, Y), 0.05)
    x = torch.stack([made.initial, 0.9 * made.initial])
    growth = perturbation_growth(made, steps=40, copies=13, size=0, x=x)
    assert growth.copies.max() < 1e-13
    assert growth.verdict == ("not determined", "not determined")


def test_chunks_change_rounding_and_nothing_else():
    x = starts(1, 2, 3)
    whole = perturbation_growth(iris(0.5), steps=10, copies=9, x=x)
    parts = perturbation_growth(iris(0.5), steps=10, copies=9, x=x, max_memory="300kB")
    np.testing.assert_allclose(parts.copies, whole.copies, rtol=1e-5)
    one = perturbation_growth(iris(0.5), steps=10, copies=9, x=x[0])
    np.testing.assert_allclose(one.copies, whole.copies[0], rtol=1e-5)
    zero = perturbation_growth(iris(0.5), steps=10, copies=9, x=x, size=0, max_memory="300kB")
    assert zero.copies.max() == 0


def test_progress_reaches_its_total():
    seen = []
    perturbation_growth(
        iris(0.5),
        steps=65,
        copies=3,
        max_memory="300kB",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_a_limit_below_one_pair_is_refused():
    with pytest.raises(MemoryLimitError, match="max_memory"):
        perturbation_growth(iris(0.5), steps=3, max_memory="1kB")


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, "unstable"), (0.9, "strong"), (-1.0, "weak")])
def test_a_linear_map_has_its_exponent_and_verdict(factor, verdict):
    growth = perturbation_growth(times(factor), steps=100, copies=4, size=1e-3)
    rate = math.log(abs(factor))
    np.testing.assert_allclose(growth.l1, growth.l1[0] * abs(factor) ** np.arange(101), rtol=1e-6)
    assert growth.whole_run.value == pytest.approx(rate, abs=1e-8)
    assert growth.exponent.value == pytest.approx(rate, abs=1e-8)
    assert growth.verdict == verdict
    assert growth.fitted.determined == (factor > 1)
    assert growth.kind == "orbital"
    assert np.isnan(growth.loss).all()


def test_the_fitted_window_lies_where_the_growth_is():
    def grow(x, t):
        return x * math.exp(0.21 if 20 <= t < 80 else 0.0)

    growth = perturbation_growth(step_map(grow, TWO), steps=200, copies=3, size=1e-9)
    first, last = growth.fitted.window
    assert 20 <= first < last <= 80
    assert growth.fitted.value == pytest.approx(0.21, rel=1e-6)
    assert growth.r_squared == pytest.approx(1, abs=1e-9)
    assert growth.whole_run.value == pytest.approx(0.21 * 60 / 200, rel=1e-6)
    assert growth.whole_run.window == (0, 200)
    _, tau = growth.exponent.window  # within a factor e of the plateau: 80 - 1 / 0.21
    assert tau == 76
    assert growth.exponent.value == pytest.approx(0.21 * 56 / 76, rel=1e-6)


def test_a_distance_that_reached_rounding_ends_the_whole_run():
    growth = perturbation_growth(times(0.5), steps=200, copies=3, size=1e-6)
    shrinking = step_map(
        lambda x, t: TWO + 0.5 * (x - TWO), TWO
    )  # differences end at rounding, weights do not
    floored = perturbation_growth(shrinking, steps=200, copies=3, size=1e-6)
    assert growth.whole_run.value == pytest.approx(math.log(0.5), rel=1e-6)
    assert floored.whole_run.value == pytest.approx(math.log(0.5), rel=0.01)
    assert floored.whole_run.window[1] < 40
    assert floored.verdict == "strong"


def test_the_mean_over_copies_comes_before_the_logarithm():
    stretch = torch.tensor([[1.2, 0.8]], dtype=torch.float64)
    growth = perturbation_growth(step_map(lambda x, t: stretch * x, TWO), steps=40, copies=6, size=1e-3)
    expected = np.log(growth.copies[:, 40].mean() / growth.copies[:, 0].mean()) / 40
    assert growth.whole_run.value == pytest.approx(expected, rel=1e-12)
    one_by_one = np.log(growth.copies[:, 40] / growth.copies[:, 0]).mean() / 40
    assert abs(growth.whole_run.value - one_by_one) > 0.001


def test_the_error_is_the_scatter_of_repeated_ensembles():
    stretch = torch.tensor([[1.2, 0.8]], dtype=torch.float64)
    made = step_map(lambda x, t: stretch * x, TWO)
    runs = [perturbation_growth(made, steps=40, copies=20, size=1e-3, seed=s).whole_run for s in range(60)]
    scatter = np.std([run.value for run in runs], ddof=1)
    assert np.mean([run.error for run in runs]) == pytest.approx(scatter, rel=0.25)


def test_a_growth_within_its_error_of_the_limit_is_not_determined():
    factor = 20 ** (1 / 35)  # half of the difference grows by 20 in the middle of the last quarter
    made = step_map(lambda x, t: torch.tensor([[factor, 0.9]], dtype=torch.float64) * x, TWO)
    growth = perturbation_growth(made, steps=40, copies=3, size=1e-3, seed=2)
    assert abs(growth.growth.value - math.log(10)) < 2 * growth.growth.error
    assert growth.verdict == "not determined"


@pytest.mark.parametrize("order", [1, 2])
def test_distances_of_parts_and_norms_are_those_of_the_states(order):
    made = recorded()
    growth = perturbation_growth(made, steps=6, copies=3, size=0.5, x=starts(0)[0])
    difference = made.seen[4][1:] - made.seen[4][:1]
    expected = torch.linalg.vector_norm(difference, ord=order, dim=1).mean()
    assert (growth.l1 if order == 1 else growth.l2)[4] == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(sum(growth.layers.values()), growth.l1, rtol=1e-12)


def test_the_distance_of_functions_is_that_of_outputs_on_the_given_inputs():
    made = recorded()
    held = X[:7] + 1
    growth = perturbation_growth(made, steps=6, copies=3, size=0.5, x=starts(0)[0], inputs=held)
    outputs = []
    for w in made.seen[4]:
        first, second = w[:40].view(10, 4), w[50:80].view(3, 10)
        outputs.append(torch.sigmoid(held @ first.T + w[40:50]) @ second.T + w[80:])
    expected = torch.stack([(y - outputs[0]).square().mean().sqrt() for y in outputs[1:]]).mean()
    assert growth.outputs[4] == pytest.approx(float(expected), rel=1e-12)


def small_net():
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def test_matched_units_are_the_best_of_all_orders():
    made = recorded(small_net())
    growth = perturbation_growth(made, steps=3, copies=8, size=3.0, match=True)
    for t in (0, 2):
        best = []
        reference, *copies = made.seen[t]
        for w in copies:
            first, shift, second, last = w[:16].view(4, 4), w[16:20], w[20:32].view(3, 4), w[32:]
            best.append(
                min(
                    float(
                        (torch.cat([first[o].flatten(), shift[o], second[:, o].flatten(), last]) - reference)
                        .abs()
                        .sum()
                    )
                    for o in map(list, itertools.permutations(range(4)))
                )
            )
        assert growth.matched[t] == pytest.approx(np.mean(best), rel=1e-12)
        assert growth.matched[t] < growth.l1[t]


def test_matching_two_hidden_layers_undoes_what_it_can():
    deep = nn.Sequential(
        nn.Linear(4, 5), nn.Tanh(), nn.Sequential(nn.Linear(5, 6), nn.ReLU()), nn.Linear(6, 3)
    )
    made = training_map(deep, F.cross_entropy, (X, Y), 0.1)
    growth = perturbation_growth(made, steps=3, copies=4, size=2.0, match=True)
    near = perturbation_growth(made, steps=3, copies=4, size=1e-6, match=True)
    assert (growth.matched < growth.l1).all()
    assert near.matched.tolist() == near.l1.tolist()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Linear(5, 3)), r"Layer 1 \(LayerNorm\)"),
        (nn.Sequential(nn.Linear(4, 3)), "no hidden layer"),
        (nn.Linear(4, 3), "Linear cannot be matched"),
    ],
)
def test_matching_names_the_layer_that_it_does_not_know(model, message):
    made = training_map(model, F.cross_entropy, (X, Y), 0.1)
    with pytest.raises(InputError, match=message):
        perturbation_growth(made, steps=3, match=True)


def test_matching_names_a_frozen_parameter():
    model = small_net()
    model[0].bias.requires_grad_(False)
    made = training_map(model, F.cross_entropy, (X, Y), 0.1)
    with pytest.raises(InputError, match=r"Parameter 0.bias is not trained"):
        perturbation_growth(made, steps=3, match=True)


@pytest.mark.parametrize("options", [{"match": True}, {"inputs": X}])
def test_a_map_without_a_network_has_no_outputs_and_no_units(options):
    with pytest.raises(InputError, match="This map has no network"):
        perturbation_growth(times(2.0), steps=3, **options)


def test_a_kick_below_rounding_is_refused_with_type_size_and_weights():
    made = iris(0.1, dtype=torch.float32)
    x = starts(0)[0].float()
    typical = f"{float(x[made.is_weight].abs().mean()):.2g}"
    with pytest.raises(InputError, match=rf"size 1e-08 .* {typical} in float32.*tangent_exponents"):
        perturbation_growth(made, steps=3, size=1e-8, x=x)
    assert perturbation_growth(made, steps=3, size=1e-5, x=x).l1[0] == pytest.approx(3.5e-4, rel=0.1)
    with pytest.raises(InputError, match="float64"):
        perturbation_growth(iris(0.1), steps=3, size=1e-17)


@pytest.mark.parametrize("size", [-1e-8, math.nan, math.inf])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InputError, match="size ="):
        perturbation_growth(iris(0.1), steps=3, size=size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps = 0"),
        ({"copies": 0}, "copies = 0"),
        ({"start": -1}, "start = -1"),
        ({"x": torch.zeros(82)}, r"\(82,\)"),
        ({"x": torch.zeros(0, 83)}, r"\(0, 83\)"),
        ({"x": torch.full((83,), math.nan)}, "NaN"),
    ],
)
def test_input_that_does_not_fit_is_named(options, message):
    with pytest.raises(InputError, match=message):
        perturbation_growth(iris(0.1), **{"steps": 3, **options})


def test_too_few_steps_have_no_window():
    growth = perturbation_growth(times(2.0), steps=20, size=1e-3)
    assert "20 steps are too few" in growth.fitted.reason
    assert growth.exponent.value == pytest.approx(math.log(2), rel=1e-6)


def test_one_copy_has_no_error():
    growth = perturbation_growth(times(2.0), steps=40, copies=1, size=1e-3)
    assert math.isnan(growth.exponent.error)
    assert "one copy" in growth.exponent.method
    assert growth.verdict == "unstable"


def test_a_run_that_diverges_names_its_step_and_leaves_the_others():
    square = step_map(lambda x, t: x * x, torch.full((1, 2), 0.5, dtype=torch.float64))
    x = torch.tensor([[0.5, 0.5], [2.0, 0.5]], dtype=torch.float64)
    growth = perturbation_growth(square, steps=40, copies=3, size=1e-6, x=x)
    assert growth.diverged == (None, 10)  # 2^(2^10) exceeds the largest double
    assert growth.verdict == ("strong", "diverged")
    assert np.isnan(growth.l1[1, 10:]).all()
    assert np.isfinite(growth.l1[1, :10]).all()
    assert np.isfinite(growth.l1[0]).all()
    assert any("the first at step 10" in note for note in growth.notes)


def test_a_loss_that_is_not_finite_ends_a_run():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 2.0)
    inputs = torch.ones(1, 1, dtype=torch.float64)
    made = training_map(model, lambda out: torch.log(out).sum(), inputs, 1.0)  # w - 1/w falls below 0
    growth = perturbation_growth(made, steps=30, copies=2, size=1e-6)
    path = [2.0]
    while path[-1] > 0:
        path.append(path[-1] - 1 / path[-1])
    assert growth.diverged == len(path) - 1
    assert growth.verdict == "diverged"
    bad = torch.tensor([-1.0], dtype=torch.float64)
    with pytest.raises(InputError, match="loss"):
        perturbation_growth(made, steps=30, copies=2, size=1e-6, x=bad)


def test_a_start_after_learning_runs_there_first():
    made = iris(0.1)
    learnt = made.initial
    for t in range(25):
        learnt = made.step(learnt, t)
    run = perturbation_growth(made, steps=10, copies=2, start=25)
    given = perturbation_growth(made, steps=10, copies=2, start=25, x=learnt)
    assert run.kind == "dynamical"
    assert run.l1.tolist() == given.l1.tolist()
    torch.testing.assert_close(run.reference, given.reference, rtol=0, atol=0)


def test_at_a_low_rate_the_growth_does_not_depend_on_the_size_of_the_kick():
    ratios = []
    for size in (1e-10, 1e-8, 1e-4):
        growth = perturbation_growth(iris(0.01), steps=150, copies=2, size=size, x=starts(0)[0])
        assert growth.verdict == "weak"
        assert (np.diff(growth.loss) < 0).all()
        ratios.append(growth.l1 / growth.l1[0])
    np.testing.assert_allclose(ratios[0], ratios[1], rtol=1e-3)
    np.testing.assert_allclose(ratios[2], ratios[1], rtol=1e-3)
    assert 0.95 < ratios[1][-1] < 2


def test_a_small_difference_grows_as_its_tangent_does():
    made = recorded()
    growth = perturbation_growth(made, steps=60, copies=2, size=1e-9, x=starts(4)[0])
    x = made.seen[0][0]
    v = (made.seen[0][1:] - x) / 1e-9
    for t in range(60):
        x, v, _ = made.tangent(x, v, t)
        d = growth.copies[:, t + 1]
        np.testing.assert_allclose(d, 1e-9 * v.abs().sum(1).numpy(), rtol=1e-3)
    assert d.max() < 1e-3


def test_iris_at_rate_one_is_chaotic_in_chosen_windows_and_slower_over_the_whole_run():
    """With 150 and 500 starts an independent replication gave 0.28 and 0.29 for this protocol, 90 % kept."""
    growth = perturbation_growth(iris(1.0), steps=200, copies=5, x=starts(*range(24)))
    assert growth.mean().value == pytest.approx(0.28, abs=0.05)
    assert growth.kept() == pytest.approx(0.9, abs=0.1)
    assert growth.mean("whole_run").value < 0.1  # saturated long before the end
    assert growth.mean("exponent").value < growth.mean().value
    assert set(growth.verdict) == {"unstable"}


@pytest.mark.slow
def test_iris_at_rate_one_has_the_exponents_of_the_replication():
    growth = perturbation_growth(iris(1.0), steps=200, copies=5, x=starts(*range(150)))
    assert growth.mean().value == pytest.approx(0.28, abs=0.03)
    assert growth.kept() == pytest.approx(0.9, abs=0.05)
    tiny = perturbation_growth(iris(1.0), steps=200, copies=5, size=1e-12, x=starts(*range(150)))
    assert tiny.mean().value == pytest.approx(0.309, abs=0.03)
    whole = tangent_exponents(iris(1.0), steps=200, x=starts(*range(150)), weights_only=True)
    mean = np.mean([each[0].value for each in whole.exponents])
    assert mean == pytest.approx(0.208, abs=0.016 * 3)  # 24 other starts gave 0.208 with an error of 0.016
    assert mean < growth.mean().value


@pytest.mark.slow
def test_learnt_iris_at_a_low_rate_is_weakly_stable():
    """Kicked at step 4000, distances after 1000 more steps were 0.940 to 0.977 of the first ones."""
    growth = perturbation_growth(iris(0.01), steps=1000, copies=20, x=starts(1)[0], start=0)
    assert growth.verdict == "weak"
    made = iris(0.01)
    learnt = starts(1)[0]
    for t in range(4000):
        learnt = made.step(learnt, t)
    after = perturbation_growth(made, steps=1000, copies=20, x=learnt, start=4000)
    assert after.kind == "dynamical"
    assert after.verdict == "weak"
    assert 0.93 < after.l1[-1] / after.l1[0] < 0.99


@pytest.mark.parametrize(("size", "how"), [(1e-8, "far below the size"), (1e-13, "one by one")])
def test_a_model_whose_equal_copies_differ_in_a_batch_says_what_was_done(monkeypatch, size, how):
    made = iris(0.1)
    plain = made.advance

    def uneven(x, t):  # the arithmetic of a batch depends on the place of a copy
        moved, loss = plain(x, t)
        if x.ndim == 2:
            moved[1::2] = moved[1::2] * (1 + 2**-52)
        return moved, loss

    even = perturbation_growth(made, steps=5, copies=3, size=size)
    assert len(even.notes) == 1
    monkeypatch.setattr(made, "advance", uneven)
    growth = perturbation_growth(made, steps=5, copies=3, size=size)
    assert how in growth.notes[1]
    np.testing.assert_allclose(growth.l1, even.l1, rtol=1e-4 if size > 1e-9 else 0.05)
    assert perturbation_growth(made, steps=5, copies=3, size=0).copies.max() == 0
