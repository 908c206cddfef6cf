"""Eigenvalues of Hessians, thresholds of optimisers, and what may lead a search astray."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.training import TrainingMap, objective, step_map, training_map
from phasescope.training.sharpness import sharpness
from reference.hessians import hessian, spectral_radius, step_matrix
from reference.quadratics import ONE, Weights, quadratic, rotated


def loss_with(matrix):
    return objective(Weights(len(matrix)), quadratic(matrix), ONE)


def values(found):
    return np.array([each.value for each in found.eigenvalues])


def errors(found):
    return np.array([each.error for each in found.eigenvalues])


NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), (4,)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.GELU(), nn.Flatten(), nn.Linear(18, 3, bias=False), nn.LayerNorm(3)
        ),
        (1, 5, 5),
    ),
}


def network(kind, examples=20):
    make, shape = NETWORKS[kind]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(examples, *shape, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 3, (examples,), generator=generator)
    return make().double(), nn.CrossEntropyLoss(), (x, y)


# Known eigenvalues


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_spectrum_is_that_of_the_dense_hessian(kind):
    model, loss, data = network(kind)
    exact = np.linalg.eigvalsh(hessian(model, loss, data))[::-1]
    found = sharpness(
        objective(model, loss, data), k=4, tolerance=1e-6, smallest=True, trace=True, density=True
    )
    np.testing.assert_allclose(values(found), exact[:4], rtol=1e-6)
    assert found.smallest.value == pytest.approx(exact[-1], abs=1e-6 * exact[0])
    assert found.trace.value == pytest.approx(exact.sum(), abs=4 * found.trace.error + 1e-12)
    assert found.density.exact
    np.testing.assert_allclose(found.density.nodes[0], exact[::-1], atol=1e-12)
    assert found.loss == pytest.approx(loss(model(data[0]), data[1]).item(), rel=1e-12)
    assert found.converged
    assert found.size == len(exact)


def test_errors_hold_the_eigenvalues_of_a_wide_spectrum():
    spectrum = np.concatenate(
        [[9.0, 7.0, 4.0], 2 * np.random.default_rng(0).standard_normal(300).clip(-1, 1)]
    )
    made = loss_with(rotated(spectrum))
    for seed in range(10):
        found = sharpness(made, k=3, seed=seed, tolerance=1e-2)
        assert found.converged
        assert np.all(errors(found) <= 1e-2 * values(found))
        assert np.all(np.abs(values(found) - [9, 7, 4]) <= errors(found))
        assert found.products < 40


def test_vectors_are_eigenvectors_in_rows():
    matrix = rotated([5, 3, 1, 0.5, 0.2, -1])
    found = sharpness(loss_with(matrix), k=2, tolerance=1e-8)
    v = found.vectors[:2].numpy()
    np.testing.assert_allclose(v @ v.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(v @ matrix, [[5], [3]] * v, atol=1e-6)


def test_a_mini_batch_has_its_own_hessian():
    model, loss, (x, y) = network("mlp")
    made = objective(model, loss, [(x[:8], y[:8]), (x[8:], y[8:])])
    for t, part in ((0, slice(8)), (1, slice(8, None)), (2, slice(8))):
        exact = np.linalg.eigvalsh(hessian(model, loss, (x[part], y[part])))[-1]
        assert sharpness(made, t=t, tolerance=1e-6).top.value == pytest.approx(exact, rel=1e-6)


def test_single_precision_gives_the_same_to_its_rounding():
    model, loss, data = network("mlp")
    double = sharpness(objective(model, loss, data), k=3)
    single = sharpness(objective(model, loss, data, dtype=torch.float32), k=3, tolerance=1e-9)
    assert single.converged
    np.testing.assert_allclose(values(single), values(double), rtol=2e-3)
    assert single.vectors.dtype == torch.float32


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_a_loss_in_another_unit_has_eigenvalues_in_that_unit(unit):
    spectrum = np.array([5, 3, 1, 0.5, 0.2, -1])
    one, other = sharpness(loss_with(spectrum), k=2), sharpness(loss_with(unit * spectrum), k=2)
    np.testing.assert_allclose(values(other), unit * values(one), rtol=1e-9)
    assert other.products == one.products


# Thresholds


def sgd(**options):
    return lambda groups: torch.optim.SGD(groups, **options)


def adam(kind, **options):
    return lambda groups: kind(groups, **options)


H = rotated([3.0, 2.5, 1.0, 0.3, 0.1, 0.05], seed=3)
SQUARE = torch.tensor([1e-2, 4e-2, 9e-2, 1.6e-3, 2.5e-3, 1e-2], dtype=torch.float64)
AGE = 50


def divided_by(beta1, beta2, eps):
    """What Adam divides its running mean by after `AGE` steps, the squares being what they are."""
    corrected = np.sqrt(SQUARE.numpy() / (1 - beta2**AGE)) + eps
    return corrected * (1 - beta1 ** (AGE + 1))


SQRT = np.sqrt(SQUARE.numpy()) + 1e-8
THRESHOLDS = {
    "gradient descent": (sgd(lr=0.3), ("descent", {"rate": 0.3})),
    "weight decay": (sgd(lr=0.3, weight_decay=0.4), ("descent", {"rate": 0.3, "decay": 0.4})),
    "heavy ball": (
        sgd(lr=0.3, momentum=0.9, weight_decay=0.4),
        ("heavy ball", {"rate": 0.3, "momentum": 0.9, "decay": 0.4}),
    ),
    "dampening": (
        sgd(lr=0.3, momentum=0.7, dampening=0.5),
        ("heavy ball", {"rate": 0.3, "momentum": 0.7, "dampening": 0.5}),
    ),
    "Nesterov": (
        sgd(lr=0.3, momentum=0.9, nesterov=True, weight_decay=0.1),
        ("nesterov", {"rate": 0.3, "momentum": 0.9, "decay": 0.1}),
    ),
    "RMSprop": (
        adam(torch.optim.RMSprop, lr=0.01, weight_decay=0.1),
        ("descent", {"rate": 0.01, "decay": 0.1, "p": SQRT}),
    ),
    "RMSprop with momentum": (
        adam(torch.optim.RMSprop, lr=0.01, momentum=0.8),
        ("heavy ball", {"rate": 0.01, "momentum": 0.8, "p": SQRT}),
    ),
    "Adam": (
        adam(torch.optim.Adam, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1),
        ("adam", {"rate": 0.01, "momentum": 0.8, "decay": 0.1, "p": divided_by(0.8, 0.99, 1e-8)}),
    ),
    "AdamW": (
        adam(torch.optim.AdamW, lr=0.05, weight_decay=4.0),
        ("adam", {"rate": 0.05, "momentum": 0.9, "decoupled": 4.0, "p": divided_by(0.9, 0.999, 1e-8)}),
    ),
}


def map_at_age(scale, optimizer, parts=(6,)):
    """The map of an optimiser on ``scale H``, after `AGE` steps that left those squares of gradients."""
    model = Weights(*parts)
    made = training_map(model, quadratic(scale * H), ONE, optimizer)
    state = made.initial.clone()
    for name, part in zip(made.rule.slots, made.parts(state), strict=True):
        if name == "square":
            part.copy_(SQUARE)
    return TrainingMap(made.objective, made.rule, state)


def edge_of(optimizer, **options):
    """The scale of the Hessian at which sharpness reaches the threshold."""

    def excess(logarithm):
        made = map_at_age(np.exp(logarithm), optimizer, **options)
        return sharpness(made, t=AGE, tolerance=1e-9).ratio.value - 1

    return np.exp(brentq(excess, -8, 8, xtol=1e-7))


@pytest.mark.parametrize("name", THRESHOLDS)
def test_a_step_is_stable_just_below_the_threshold_and_not_just_above(name):
    optimizer, (kind, options) = THRESHOLDS[name]
    edge = edge_of(optimizer)
    below, above = (spectral_radius(step_matrix(kind, s * edge * H, **options)) for s in (0.999, 1.001))
    assert below < 1 < above


def test_groups_with_rates_momenta_and_decays_of_their_own_share_one_threshold():
    def optimizer(parameters):
        first, second, third = parameters
        return torch.optim.SGD(
            [
                {"params": [first], "lr": 0.02, "momentum": 0.9, "weight_decay": 1.0},
                {"params": [second], "lr": 0.3, "momentum": 0.5},
                {"params": [third], "lr": 0.1, "momentum": 0.1, "weight_decay": 0.2},
            ],
            lr=0.1,
        )

    rates, momenta, decays = (
        [a, a, b, b, b, c] for a, b, c in ((0.02, 0.3, 0.1), (0.9, 0.5, 0.1), (1, 0, 0.2))
    )
    edge = edge_of(optimizer, parts=(2, 3, 1))
    below, above = (
        spectral_radius(step_matrix("heavy ball", s * edge * H, rate=rates, momentum=momenta, decay=decays))
        for s in (0.999, 1.001)
    )
    assert below < 1 < above


@pytest.mark.parametrize(
    ("optimizer", "threshold"),
    [
        (sgd(lr=0.1), 20),
        (sgd(lr=0.1, momentum=0.9), 38),
        (sgd(lr=0.1, momentum=0.9, nesterov=True), 13.57142857),
        (adam(torch.optim.Adam, lr=0.1), 380),
        (adam(torch.optim.AdamW, lr=0.1, weight_decay=1.0), 361),
        (adam(torch.optim.RMSprop, lr=0.1), 20),
    ],
)
def test_thresholds_are_those_of_the_literature(optimizer, threshold):
    assert sharpness(map_at_age(1.0, optimizer), t=AGE).threshold == pytest.approx(threshold)


def test_the_ratio_is_sharpness_over_threshold_with_its_error():
    found = sharpness(training_map(Weights(3), quadratic([4, 2, 1]), ONE, 0.25))
    assert found.ratio.value == pytest.approx(0.5)
    assert found.ratio.error == pytest.approx(found.top.error / 8)
    assert "0.5 of the threshold 8 " in str(found)


def test_a_schedule_changes_the_threshold():
    made = training_map(Weights(2), quadratic([1, 2]), ONE, 0.1, schedule=lambda t: 0.5**t)
    assert [sharpness(made, t=t).threshold for t in (0, 1, 2)] == pytest.approx([20, 40, 80])


def test_an_objective_has_no_threshold():
    found = sharpness(loss_with([1, 2]))
    assert found.threshold is None
    assert not found.ratio.determined


# What may lead the search astray


def test_largest_means_algebraically_largest():
    found = sharpness(loss_with(rotated([-100, -50, -20, 0.5, 0.1, -3])), k=2, smallest=True)
    np.testing.assert_allclose(values(found), [0.5, 0.1], rtol=1e-3)
    assert found.smallest.value == pytest.approx(-100)


def test_a_largest_eigenvalue_of_zero_is_found():
    found = sharpness(loss_with(-np.linspace(0, 1, 200)), k=1)
    assert found.converged
    assert abs(found.top.value) <= found.top.error <= 1e-6


@pytest.mark.parametrize("k", [1, 3])
def test_a_loss_without_curvature_has_eigenvalues_of_exactly_zero(k):
    made = objective(Weights(50), lambda w, _: w.sum(), ONE)
    found = sharpness(made, k=k, smallest=True, trace=True)
    assert [(each.value, each.error) for each in found.eigenvalues] == [(0.0, 0.0)] * k
    assert (found.smallest.value, found.trace.value) == (0.0, 0.0)
    assert found.products < 20


@pytest.mark.parametrize(
    "spectrum", [[3, 3, 1, 1, 1, 0], [2] * 40, [4, 4, 4] + [-1] * 30, [5, 1, 1, 1, 0, 0, 0, -2, -2]]
)
def test_eigenvalues_that_occur_several_times_are_listed_as_often(spectrum):
    found = sharpness(loss_with(rotated(spectrum)), k=4)
    np.testing.assert_allclose(values(found), sorted(spectrum)[::-1][:4], atol=1e-9)


def test_a_block_finds_copies_in_a_spectrum_that_is_never_exhausted():
    spectrum = np.concatenate([[5, 5, 3], np.linspace(-1, 1, 300)])
    made = loss_with(spectrum)
    np.testing.assert_allclose(values(sharpness(made, k=3, block=2)), [5, 5, 3], rtol=1e-3)
    # One start sees one copy: what the documentation warns of.
    np.testing.assert_allclose(values(sharpness(made, k=2)), [5, 3], rtol=1e-3)


def test_a_start_along_another_eigenvector_does_not_hide_the_largest():
    spectrum = np.concatenate([[5.0, 8.0], np.linspace(-1, 1, 300)])
    found = sharpness(loss_with(spectrum), start=torch.eye(302, dtype=torch.float64)[0])
    assert found.top.value == pytest.approx(8, rel=1e-3)


def test_a_start_of_nothing_is_a_cold_one():
    made = loss_with(rotated(np.linspace(0, 1, 30) ** 4))
    assert sharpness(made, start=torch.zeros(30)).top.value == pytest.approx(
        sharpness(made).top.value, rel=1e-9
    )


@pytest.mark.parametrize("k", [1, 3])
def test_a_warm_start_takes_fewer_products_and_finds_the_same(k):
    rng = np.random.default_rng(0)
    spectrum = np.concatenate([[3, 2.5, 2, 1.6, 1.2], rng.uniform(-0.5, 0.9, 400)])
    matrix = rotated(spectrum)
    noise = rng.standard_normal(matrix.shape) * 2e-4
    moved = matrix + noise + noise.T
    exact = np.linalg.eigvalsh(moved)[::-1][:k]
    made, then = loss_with(matrix), loss_with(moved)
    cold, before = sharpness(then, k=k), sharpness(made, k=k)
    for start in (before, before.vectors):
        warm = sharpness(then, k=k, start=start)
        assert warm.products < cold.products
        np.testing.assert_allclose(values(warm), exact, rtol=1e-3)


def test_one_parameter_has_one_eigenvalue():
    found = sharpness(loss_with([7.0]), smallest=True, trace=True, density=True)
    assert found.top.value == found.smallest.value == found.trace.value == pytest.approx(7)
    assert found.density.nodes[0].tolist() == pytest.approx([7])


def test_all_eigenvalues_of_a_small_model_are_found():
    spectrum = np.linspace(-2, 3, 9)
    found = sharpness(loss_with(rotated(spectrum)), k=9)
    np.testing.assert_allclose(values(found), spectrum[::-1], atol=1e-12)


# Limits


def test_a_small_memory_restarts_and_finds_the_same():
    spectrum = np.concatenate([[3, 2.9, 2.8], np.linspace(-2.9, 2.7, 400)])
    made = loss_with(spectrum)
    short = sharpness(made, k=3, smallest=True, max_memory=20 * 403 * 8, tolerance=1e-4, max_products=400)
    full = sharpness(made, k=3, smallest=True, tolerance=1e-4)
    assert short.converged
    np.testing.assert_allclose(values(short), [3, 2.9, 2.8], rtol=1e-4)
    assert short.smallest.value == pytest.approx(-2.9, abs=3e-4)
    assert full.products < short.products
    assert np.all(np.abs(values(short) - [3, 2.9, 2.8]) <= 1.1 * errors(short))


def test_a_memory_that_holds_too_few_vectors_is_refused():
    with pytest.raises(MemoryLimitError, match="13 vectors of 100 numbers"):
        sharpness(loss_with(np.arange(100.0)), max_memory=1000)


def test_what_has_not_converged_says_so_and_its_error_holds_an_eigenvalue():
    spectrum = np.linspace(0, 1, 500)
    found = sharpness(loss_with(spectrum), max_products=4)
    assert not found.converged
    assert found.products == 4
    assert "not converged" in str(found)
    assert "not converged" in found.top.method
    assert np.abs(spectrum - found.top.value).min() <= found.top.error


def test_the_same_seed_gives_the_same_bits_and_the_global_generator_is_left_alone():
    model, loss, data = network("mlp")
    made = objective(model, loss, data)
    before, weights = torch.get_rng_state(), [p.detach().clone() for p in model.parameters()]
    options = {"k": 2, "smallest": True, "trace": True, "density": True, "steps": 4}
    one, two = sharpness(made, seed=3, **options), sharpness(made, seed=3, **options)
    assert one.eigenvalues == two.eigenvalues
    assert (one.smallest, one.trace, one.products) == (two.smallest, two.trace, two.products)
    np.testing.assert_array_equal(one.density.nodes, two.density.nodes)
    assert torch.equal(one.vectors, two.vectors)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), weights, strict=True))


# The trace


def test_the_error_of_the_trace_covers_it():
    rng = np.random.default_rng(1)
    spectrum = np.concatenate([[30, 20, 10], rng.standard_normal(117)])
    made = loss_with(rotated(spectrum))
    scores = []
    for seed in range(120):
        found = sharpness(made, trace=True, seed=seed, probes=10).trace
        scores.append((found.value - spectrum.sum()) / found.error)
    scores = np.array(scores)
    # Student's t with 9 degrees of freedom: 65.7 % within one error, 92.3 % within two.
    assert abs(np.mean(np.abs(scores) < 1) - 0.657) < 3 * np.sqrt(0.657 * 0.343 / 120)
    assert abs(np.mean(np.abs(scores) < 2) - 0.923) < 3 * np.sqrt(0.923 * 0.077 / 120)


def test_the_subspace_that_was_searched_makes_the_trace_precise():
    spectrum = np.concatenate([[100, 50, 20], 0.01 * np.random.default_rng(0).standard_normal(297)])
    found = sharpness(loss_with(rotated(spectrum)), k=3, trace=True, probes=5).trace
    # Probes of the whole matrix have an error of about sqrt(2 sum of squares / 5) = 72.
    assert found.error < 0.3
    assert found.value == pytest.approx(spectrum.sum(), abs=4 * found.error)


# Input


class Root(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.w


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sharpness(loss_with([1, 2]), k=3), "k is 3 and the model has 2"),
        (lambda: sharpness(loss_with([1, 2]), k=0), "k is 0"),
        (lambda: sharpness(loss_with([1, 2]), tolerance=0.0), "tolerance is 0.0"),
        (lambda: sharpness(loss_with([1, 2]), probes=1, trace=True), "probes is 1"),
        (lambda: sharpness(loss_with([1, 2]), k=2, max_products=1), "max_products is 1"),
        (lambda: sharpness(loss_with([1, 2]), torch.ones(3)), r"state has shape \(3,\)"),
        (lambda: sharpness(loss_with([1, 2]), start=torch.ones(3)), r"start has shape \(1, 3\)"),
        (lambda: sharpness(loss_with([1, 2]), torch.tensor([1, torch.nan]), t=4), "loss of step 4 is nan"),
        (lambda: sharpness(step_map(lambda s, t: s, torch.ones(2))), "StepMap has no loss"),
        (
            lambda: sharpness(training_map(Weights(2), quadratic([1, 2]), ONE, torch.optim.Adam)),
            "Adam has seen no gradient",
        ),
        (
            lambda: sharpness(training_map(Weights(2), quadratic([1, 2]), ONE, torch.optim.RMSprop)),
            "RMSprop has seen no gradient",
        ),
        (
            lambda: sharpness(training_map(Weights(2), quadratic([1, 2]), ONE, 0.1, schedule=float)),
            "learning rate of step 0 is 0.0",
        ),
        (
            lambda: sharpness(objective(Root(), lambda w, _: (w.abs() ** 1.5).sum(), ONE)),
            "second derivative is not finite",
        ),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_adam_is_measured_after_its_first_step():
    made = training_map(Weights(2), quadratic([1, 2]), ONE, torch.optim.Adam)
    found = sharpness(made, made.step(made.initial, 0), t=1)
    assert found.ratio.determined
