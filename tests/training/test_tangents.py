"""Lyapunov exponents of maps and optimisers whose exponents are known, and identities on Iris."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.memory import peak_bytes
from phasescope.training import (
    HeavyBall,
    TrainingMap,
    objective,
    oja,
    perturbation_growth,
    step_map,
    tangent_exponents,
    training_map,
)
from reference import iris_training

X, Y = (torch.as_tensor(each) for each in iris_training.iris())
NET = nn.Sequential(nn.Linear(4, 10), nn.Sigmoid(), nn.Linear(10, 3)).double()
CURVATURES = torch.tensor([3.0, 1.7, 0.6, 0.2, 0.0], dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def values(found):
    return np.array([each.value for each in found])


def iris(optimizer, **options):
    return training_map(NET, F.cross_entropy, (X, Y), optimizer, **options)


def start(number):
    return torch.as_tensor(iris_training.start(number))


class Quadratic(nn.Module):
    def __init__(self, curvatures=CURVATURES):
        super().__init__()
        self.weight = nn.Parameter(torch.ones_like(curvatures))
        self.curvatures = curvatures

    def forward(self, scale):
        return 0.5 * (scale * self.curvatures * self.weight**2).sum()


def quadratic(optimizer, curvatures=CURVATURES):
    return training_map(Quadratic(curvatures), lambda out: out, tensor(1.0), optimizer)


def sgd(rate, **options):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **options)


def hessian(made, w, inputs=X, targets=Y, loss_function=F.cross_entropy):
    """Second derivatives by reverse mode, twice."""
    made = made.objective

    def loss(w):
        output = torch.func.functional_call(made.module, made.named(w), inputs)
        return loss_function(output, targets)

    return torch.autograd.functional.hessian(loss, w, vectorize=True)


def test_gradient_descent_on_a_quadratic_has_the_logarithms_of_its_multipliers():
    found = tangent_exponents(quadratic(0.5), steps=120, k=5)
    expected = np.sort(np.log(np.abs(1 - 0.5 * CURVATURES.numpy())))[::-1]
    np.testing.assert_allclose(values(found.over(70)), expected, atol=1e-5)
    assert found.local.sum(axis=1) == pytest.approx(expected.sum(), abs=1e-12)
    assert found.loss[0] == pytest.approx(CURVATURES.sum() / 2)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_on_a_quadratic_has_the_exponents_of_its_two_by_two_matrices(nesterov):
    rate, beta = 0.3, 0.8
    found = tangent_exponents(quadratic(sgd(rate, momentum=beta, nesterov=nesterov)), steps=700, k=10)
    expected = []
    for h in CURVATURES.tolist():
        velocity = np.array([h, beta])  # of the change (w, v)
        look = np.array([h, 0.0]) + beta * velocity if nesterov else velocity
        multipliers = np.linalg.eigvals(np.array([[1, 0] - rate * look, velocity]))
        expected += np.log(np.abs(multipliers)).tolist()
    np.testing.assert_allclose(values(found.over(200)), np.sort(expected)[::-1], atol=8e-3)


def test_the_leading_exponents_alone_are_those_of_the_whole_spectrum():
    found = tangent_exponents(quadratic(0.5), steps=120, k=2)
    expected = np.sort(np.log(np.abs(1 - 0.5 * CURVATURES.numpy())))[::-1]
    np.testing.assert_allclose(values(found.over(70)), expected[:2], atol=1e-6)


def test_a_linear_network_at_its_minimum_has_the_exponents_of_its_hessian():
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    inputs = torch.randn(30, 3, dtype=torch.float64)
    targets = inputs @ torch.randn(3, 2, dtype=torch.float64)
    made = training_map(model, F.mse_loss, (inputs, targets), 0.2)
    x = made.initial
    for t in range(3000):
        x = made.step(x, t)
    curvatures = np.linalg.eigvalsh(hessian(made, x, inputs, targets, F.mse_loss).numpy())
    assert made.loss(x) < 1e-25
    found = tangent_exponents(made, steps=400, k=10, x=x)
    expected = np.sort(np.log(np.abs(1 - 0.2 * curvatures)))[::-1]
    np.testing.assert_allclose(values(found.over(200)), expected, atol=2e-3)
    assert (np.abs(expected) < 1e-9).sum() == 4  # rank: 10 weights, a product of 6 entries


def test_exponents_on_iris_are_those_of_explicit_jacobians():
    made = iris(0.8)
    eye = torch.eye(83, dtype=torch.float64)

    def jacobian(w, t):
        return (eye - 0.8 * hessian(made, torch.as_tensor(w))).numpy()

    def step(w, t):
        return w - 0.8 * iris_training.gradient(w, *iris_training.iris())[1]

    reference = iris_training.exponents(jacobian, step, iris_training.start(3), 60, 83)
    found = tangent_exponents(made, steps=60, k=83, x=start(3))
    assert values(found.exponents).sum() == pytest.approx(reference.sum(), rel=1e-9)
    # from another random start, the exponents over few steps agree up to ln(size) / steps
    np.testing.assert_allclose(values(found.exponents)[:3], reference[:3], atol=0.06)


def test_oja_learns_at_the_rates_of_its_eigenvalues():
    scales = tensor(3, 2, 1, 0.5).sqrt()
    inputs = 2 * torch.diag(scales)  # four samples whose mean of x x^T is diag(3, 2, 1, 0.5)
    made = oja(inputs, 0.1, start=tensor(0.9, 0.2, 0.1, 0.1)[None])
    found = tangent_exponents(made, steps=300, k=4)
    expected = [-0.105361, -0.223144, -0.287682, -0.916291]
    np.testing.assert_allclose(values(found.over(200)), expected, atol=1e-6)


def test_the_logistic_map_has_ln_2():
    made = step_map(lambda x, t: 4 * x * (1 - x), tensor(0.3))
    found = tangent_exponents(made, steps=400, x=torch.rand(50, 1, dtype=torch.float64))
    each = np.array([one[0].value for one in found.over(50)])
    assert each.mean() == pytest.approx(math.log(2), abs=4 * each.std() / 50**0.5)
    assert each.std() < 0.01


def henon(x, t):
    return torch.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])


def test_henon_has_its_known_exponents():
    x = 0.1 + 0.02 * torch.rand(50, 2, dtype=torch.float64)
    found = tangent_exponents(step_map(henon, tensor(0.1, 0.1)), steps=400, k=2, x=x)
    np.testing.assert_allclose(found.local.sum(axis=-1), math.log(0.3), atol=1e-12)
    each = np.array([one[0].value for one in found.over(50)])
    error = each.std() / 50**0.5
    assert error < 0.004
    assert each.mean() == pytest.approx(0.41922, abs=4 * error)


def lorenz(x, t, h=0.01):
    def flow(x):
        return torch.stack([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])

    a = flow(x)
    b = flow(x + h / 2 * a)
    c = flow(x + h / 2 * b)
    return x + h / 6 * (a + 2 * b + 2 * c + flow(x + h * c))


def test_lorenz_contracts_volumes_at_its_known_rate():
    found = tangent_exponents(step_map(lorenz, tensor(1, 1, 20)), steps=50, k=3)
    assert values(found.exponents).sum() / 0.01 == pytest.approx(-13.667, abs=2e-3)


@pytest.mark.slow
def test_lorenz_has_its_known_exponents():
    x = tensor(1, 1, 20) + torch.rand(40, 3, dtype=torch.float64)
    found = tangent_exponents(step_map(lorenz, tensor(1, 1, 20)), steps=4500, k=3, x=x)
    each = np.array([values(one) for one in found.over(500)]) / 0.01
    error = each.std(axis=0) / 40**0.5
    assert each.mean(axis=0)[0] == pytest.approx(0.906, abs=max(3 * error[0], 0.01))
    assert each.mean(axis=0)[1] == pytest.approx(0, abs=0.02)
    assert each.mean(axis=0).sum() == pytest.approx(-13.667, abs=2e-3)


def softmax_map(shares, rate):
    """Training with saturated units: ``z <- z - E (softmax(z) - pi)``, across the direction it conserves."""
    pi = tensor(*shares) / sum(shares)
    plane = torch.linalg.svd(torch.ones(1, 3, dtype=torch.float64)).Vh[1:]
    made = step_map(lambda u, t: u - rate * plane @ (torch.softmax(u @ plane, 0) - pi), tensor(0, 0))
    return made, torch.as_tensor(np.random.default_rng(1).normal(0, 3, (200, 3))) @ plane.T


@pytest.mark.parametrize(
    ("shares", "rate", "expected", "within", "steps"),
    [
        ((35, 42, 43), 20, 0.314, 0.006, 500),
        ((35, 42, 43), 15, -0.019, 0.002, 450),
        pytest.param((35, 42, 43), 20, 0.314, 0.003, 3000, marks=pytest.mark.slow),
        pytest.param((35, 42, 43), 15, -0.019, 0.0005, 2000, marks=pytest.mark.slow),
        pytest.param((42, 36, 42), 20, 0.175, 0.003, 2000, marks=pytest.mark.slow),
    ],
)
def test_the_reduced_softmax_map_has_its_known_exponent(shares, rate, expected, within, steps):
    made, x = softmax_map(shares, rate)
    found = tangent_exponents(made, steps=steps, x=x)
    median = np.median([one[0].value for one in found.over(250 if rate == 15 else 100)])
    assert median == pytest.approx(expected, abs=within)


def test_all_exponents_of_the_heavy_ball_sum_to_ln_beta_for_each_weight():
    found = tangent_exponents(iris(sgd(1.0, momentum=0.9)), steps=12, k=166)
    np.testing.assert_allclose(found.local.sum(axis=1), 83 * math.log(0.9), atol=1e-10)


def test_stretchings_of_the_heavy_ball_pair_at_ln_beta():
    made = iris(sgd(0.3, momentum=0.9))
    x, v, steps = made.state(start(1)), torch.eye(166, dtype=torch.float64), 10
    for t in range(steps):
        x, v, _ = made.tangent(x, v, t)
    logarithms = torch.linalg.svdvals(v).log() / steps
    pairs = logarithms + logarithms.flip(0)
    np.testing.assert_allclose(pairs.numpy(), -0.1053605156578263, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (lambda p: torch.optim.Adam(p, lr=0.01), -8.8279643),
        (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), -8.91100585),
    ],
)
def test_all_exponents_of_adam_sum_to_the_known_number(optimizer, expected):
    found = tangent_exponents(iris(optimizer), steps=4, k=249, start=200)
    np.testing.assert_allclose(found.local.sum(axis=1), expected, atol=2e-7)


def test_all_exponents_of_nesterov_follow_from_the_hessian():
    made = iris(sgd(0.2, momentum=0.9, nesterov=True))
    x = made.state(start(1))
    found = tangent_exponents(made, steps=5, k=166, x=x)
    eye = torch.eye(83, dtype=torch.float64)
    for t in range(5):
        _, size = torch.linalg.slogdet(eye - 0.2 * hessian(made, made.weights_of(x)))
        assert found.local[t].sum() == pytest.approx(83 * math.log(0.9) + float(size), abs=1e-10)
        x = made.step(x, t)


def test_momentum_of_zero_loses_half_of_the_directions_and_says_so():
    made = TrainingMap(objective(Quadratic(), lambda out: out, tensor(1.0)), HeavyBall(0.5, momentum=0.0))
    found = tangent_exponents(made, steps=200, k=10)
    assert [each.value for each in found.exponents[5:]] == [-math.inf] * 5
    assert "below rounding" in found.exponents[5].method
    assert str(found.exponents[5]) == "-inf"
    expected = np.sort(np.log(np.abs(1 - 0.5 * CURVATURES.numpy())))[::-1]
    np.testing.assert_allclose(values(found.over(100))[:5], expected, atol=1e-6)


def test_a_rate_of_one_over_a_curvature_loses_one_direction():
    made = quadratic(0.5, tensor(2.0, 1.0, 0.5))
    found = tangent_exponents(made, steps=60, k=3)
    assert found.exponents[2].value == -math.inf
    np.testing.assert_allclose(values(found.over(30))[:2], np.log([0.75, 0.5]), atol=1e-6)
    gram = found.vectors @ found.vectors.T
    torch.testing.assert_close(gram, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)


def test_kicked_copies_grow_as_the_exponent_over_the_same_steps_says():
    for number in range(4):
        x = start(number)
        copies = perturbation_growth(iris(1.0), steps=40, copies=20, size=1e-12, x=x)
        tangent = tangent_exponents(iris(1.0), steps=40, x=x, weights_only=True)
        (exponent,) = tangent.exponents
        assert copies.l1.max() < 1e-3
        difference = copies.whole_run - exponent
        assert abs(difference.value) < 2 * difference.error
        assert difference.error < 0.1


def test_directions_that_start_among_weights_have_no_other_part():
    made = iris(sgd(1.0, momentum=0.9))
    kept = step_map(lambda x, t: {"w": x["w"], "b": x["b"]}, {"w": torch.ones(2, 3), "b": torch.ones(3)})
    found = tangent_exponents(kept, steps=3, k=2, weights_only=True)
    assert found.vectors[:, kept.slices["b"]].abs().max() == 0
    one = tangent_exponents(made, steps=1, k=1, weights_only=True)
    assert np.isfinite(one.local).all()
    with pytest.raises(InputError, match=r"k = 71 .* 70 weights"):
        tangent_exponents(made, steps=1, k=71, weights_only=True)


def test_initialisations_in_a_batch_are_as_alone():
    x = torch.stack([start(i) for i in range(5)])
    together = tangent_exponents(iris(0.5), steps=20, k=3, x=x)
    parts = tangent_exponents(iris(0.5), steps=20, k=3, x=x, max_memory="2MB")
    alone = tangent_exponents(iris(0.5), steps=20, k=3, x=x[0])
    assert together.local.shape == (5, 20, 3)
    np.testing.assert_allclose(parts.local, together.local, atol=1e-8)
    np.testing.assert_allclose(alone.local, together.local[0], atol=1e-8)
    torch.testing.assert_close(alone.vectors.abs(), together.vectors[0].abs(), rtol=0, atol=1e-6)
    assert len(together.over(10)) == 5
    assert "over 5 initialisations" in str(together)


def test_float32_gives_the_same_exponents():
    made = training_map(Quadratic(), lambda out: out, tensor(1.0), 0.5, dtype=torch.float32)
    found = tangent_exponents(made, steps=120, k=5)
    expected = np.sort(np.log(np.abs(1 - 0.5 * CURVATURES.numpy())))[::-1]
    assert found.vectors.dtype == torch.float32
    np.testing.assert_allclose(values(found.over(70)), expected, atol=1e-5)


def test_fewer_orthogonalisations_change_no_exponent():
    often = tangent_exponents(step_map(henon, tensor(0.1, 0.1)), steps=41, k=2)
    seldom = tangent_exponents(step_map(henon, tensor(0.1, 0.1)), steps=41, k=2, every=4)
    np.testing.assert_allclose(values(seldom.exponents), values(often.exponents), atol=1e-9)
    np.testing.assert_allclose(seldom.local[:4], often.local[:4].mean(axis=0)[None].repeat(4, 0), atol=1e-9)


def test_many_weights_are_made_orthogonal_in_place_with_the_same_result(monkeypatch):
    small = tangent_exponents(iris(0.5), steps=10, k=5)
    monkeypatch.setattr("phasescope.training.tangents._IN_PLACE", 1)
    large = tangent_exponents(iris(0.5), steps=10, k=5)
    np.testing.assert_allclose(large.local, small.local, atol=1e-10)


@pytest.mark.parametrize(("norm", "optimizer"), [(False, 0.1), (True, 0.1), (True, sgd(0.1, momentum=0.9))])
def test_memory_is_that_of_the_directions_and_few_more_states(norm, optimizer):
    blocks = [
        (nn.Linear(150, 150), nn.LayerNorm(150) if norm else nn.Identity(), nn.Tanh()) for _ in range(5)
    ]
    model = nn.Sequential(nn.Linear(4, 150), *(part for block in blocks for part in block), nn.Linear(150, 3))
    made = training_map(model, F.cross_entropy, (X[:2], Y[:2]), optimizer)
    peak = peak_bytes(nn.Module(), lambda: tangent_exponents(made, steps=2, k=12))
    state = made.size * 8
    assert 12 * made.size > 2**20  # large enough to be worth it
    assert peak - state < (12 + 5.5) * state  # the map's own start is counted too


def test_running_exponents_end_at_the_exponents():
    found = tangent_exponents(iris(0.5), steps=30, k=2)
    np.testing.assert_allclose(found.running[-1], values(found.exponents), rtol=1e-12)
    assert found.running[0].tolist() == found.local[0].tolist()
    (last, _) = found.over(-10)
    assert last.value == pytest.approx(found.local[20:, 0].mean())
    assert last.window == (20, 30)
    with pytest.raises(InputError, match="No step"):
        found.over(30)


def test_errors_cover_the_scatter_of_correlated_growth():
    """Growth of one direction is an autoregressive series of known mean and known error of its mean."""
    steps, runs, memory = 512, 60, 0.8
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(runs, steps, generator=generator, dtype=torch.float64)
    growth = torch.zeros(runs, steps, dtype=torch.float64)
    growth[:, 0] = noise[:, 0] / (1 - memory**2) ** 0.5
    for t in range(1, steps):
        growth[:, t] = memory * growth[:, t - 1] + noise[:, t]
    factors = (0.1 * growth).exp()
    known = 0.1 / (1 - memory) / steps**0.5
    pick = torch.eye(runs, dtype=torch.float64)  # which run a state belongs to

    def step(state, t):
        return {"x": state["x"] * (state["pick"] @ factors[:, t]), "pick": state["pick"]}

    made = step_map(step, {"x": tensor(1.0)[None], "pick": pick[0]})
    x = made.initial.repeat(runs, 1)
    x[:, made.slices["pick"]] = pick
    found = [one[0] for one in tangent_exponents(made, steps=steps, x=x, weights_only=True).exponents]
    np.testing.assert_allclose(values(found), 0.1 * growth.mean(1), atol=1e-12)
    errors = [each.error for each in found]
    scores = values(found) / errors
    assert np.mean(errors) == pytest.approx(known, rel=0.2)
    assert 0.7 < np.std(scores) < 1.35


def test_few_steps_have_no_error():
    found = tangent_exponents(iris(0.5), steps=10)
    assert math.isnan(found.exponents[0].error)
    assert "too few" in found.exponents[0].method


def test_a_run_that_diverges_names_its_step_and_leaves_the_others():
    square = step_map(lambda x, t: x * x, tensor(0.5, 0.5))
    x = torch.stack([tensor(0.5, 0.5), tensor(2.0, 2.0)])
    found = tangent_exponents(square, steps=30, k=2, x=x)
    assert found.diverged[0] is None
    assert 8 <= found.diverged[1] <= 10  # 2^(2^10) exceeds the largest double, its square root a length
    assert np.isfinite(found.local[1, : found.diverged[1]]).all()
    assert np.isnan(found.local[1, found.diverged[1] :]).all()
    assert "diverged at step" in found.over(20)[1][0].reason
    assert found.exponents[1][0].window[1] == found.diverged[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k = 0"),
        ({"k": 84}, "k = 84"),
        ({"every": 0}, "every = 0"),
        ({"steps": 0}, "steps = 0"),
        ({"x": torch.zeros(3)}, r"\(3,\)"),
    ],
)
def test_input_that_does_not_fit_is_named(options, message):
    with pytest.raises(InputError, match=message):
        tangent_exponents(iris(0.1), **{"steps": 3, **options})


def test_a_step_that_is_not_finite_at_once_is_refused():
    with pytest.raises(InputError, match="step 0"):
        tangent_exponents(step_map(lambda x, t: x / 0, tensor(1.0)), steps=3)


def test_progress_reaches_its_total():
    seen = []
    tangent_exponents(
        iris(0.1),
        steps=65,
        x=torch.stack([start(0)] * 2),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1][0] == seen[-1][1]
    assert len(seen) == 2
