"""One step of training as a map: held against torch.optim, and its derivative against explicit Jacobians."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from phasescope.errors import InputError
from phasescope.training import GradientDescent, StepMap, objective, step_map, training_map

INPUTS = torch.randn(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
CLASSES = torch.arange(20) % 3
BATCHES = [(INPUTS[i : i + 5], CLASSES[i : i + 5]) for i in range(0, 20, 5)]

SGD, RMSprop, Adam, AdamW = torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam, torch.optim.AdamW


def groups(parameters):
    return AdamW(
        [
            {"params": parameters[:1], "lr": 0.05, "weight_decay": 0.3},
            {"params": parameters[1:], "betas": (0.8, 0.99)},
        ],
        lr=0.01,
    )


OPTIMISERS = {
    "gradient descent": lambda p: SGD(p, lr=0.1),
    "weight decay": lambda p: SGD(p, lr=0.1, weight_decay=0.1),
    "heavy ball": lambda p: SGD(p, lr=0.05, momentum=0.9),
    "dampened": lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.4, weight_decay=0.1),
    "nesterov": lambda p: SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda p: RMSprop(p, lr=0.01, weight_decay=0.1),
    "rmsprop, momentum": lambda p: RMSprop(p, lr=0.01, alpha=0.9, momentum=0.5),
    "adam": lambda p: Adam(p, lr=0.01),
    "adam, decay": lambda p: Adam(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.1),
    "adamw": lambda p: AdamW(p, lr=0.01, weight_decay=0.1),
    "adam, decoupled": lambda p: Adam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "groups": groups,
}


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def train(model, optimizer, steps, first=0):
    for t in range(first, first + steps):
        inputs, classes = BATCHES[t % len(BATCHES)]
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), classes).backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_hundred_steps_are_those_of_torch_optim(name):
    model = net()
    optimizer = OPTIMISERS[name](list(model.parameters()))
    made = training_map(model, F.cross_entropy, BATCHES, optimizer)
    state = made.initial
    for t in range(100):
        state = made.step(state, t)
    train(model, optimizer, 100)
    torch.testing.assert_close(made.weights_of(state), flat(model), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_map_goes_on_where_the_optimiser_stands(name):
    model = net()
    optimizer = OPTIMISERS[name](list(model.parameters()))
    train(model, optimizer, 40)
    stored = copy.deepcopy(optimizer.state_dict())
    made = training_map(model, F.cross_entropy, BATCHES, optimizer)
    state = made.initial
    for t in range(40):
        state = made.step(state, t)
    assert repr(optimizer.state_dict()) == repr(stored)
    train(model, optimizer, 40)
    torch.testing.assert_close(made.weights_of(state), flat(model), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_derivative_of_a_step_is_the_explicit_jacobian(name):
    made = training_map(net(), F.cross_entropy, BATCHES, OPTIMISERS[name])
    state = made.initial
    for t in range(3):
        state = made.step(state, t)

    def explicit(x):
        parts = x.split(made.weights)
        gradient = torch.func.grad(made.objective._loss)(parts[0], 3)
        return torch.cat(made.rule.step(parts, gradient, 3))

    jacobian = torch.func.jacrev(explicit)(state)
    new, moved, loss = made.tangent(state, torch.eye(made.size, dtype=torch.float64), 3)
    torch.testing.assert_close(moved, jacobian.T, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(new, explicit(state), rtol=0, atol=1e-14)
    torch.testing.assert_close(loss, made.loss(state, 3), rtol=1e-14, atol=0)


def test_changes_moved_one_by_one_are_the_same(monkeypatch):
    made = training_map(net(), F.cross_entropy, BATCHES, OPTIMISERS["adamw"])
    state, v = made.step(made.initial, 0), torch.randn(3, made.size, dtype=torch.float64)
    new, moved, loss = made.tangent(state, v, 1)
    monkeypatch.setattr("phasescope.training.maps._ROWWISE", 1)
    for overwrite in (False, True):
        place = v.clone()
        again = made.tangent(state, place, 1, overwrite=overwrite)
        torch.testing.assert_close(again, (new, moved, loss), rtol=1e-12, atol=1e-14)
        assert (again[1] is place) == overwrite


def test_copies_advance_as_one_by_one():
    made = training_map(net(), F.cross_entropy, BATCHES, OPTIMISERS["adam"])
    states = torch.stack([made.initial, made.step(made.initial, 0)])
    v = torch.randn(2, 3, made.size, dtype=torch.float64)
    new, moved, loss = made.tangent(states, v, 1)
    for m in range(2):
        one = made.tangent(states[m], v[m], 1)
        torch.testing.assert_close((new[m], moved[m], loss[m]), one, rtol=1e-9, atol=1e-12)


def test_a_kink_of_adam_has_a_finite_derivative():
    dead = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3)).double()
    with torch.no_grad():
        dead[0].bias.fill_(-1e3)
    made = training_map(dead, F.cross_entropy, BATCHES, lambda p: Adam(p, lr=0.01))
    assert made.tangent(made.initial, torch.eye(made.size, dtype=torch.float64), 0)[1].isfinite().all()


def test_a_schedule_is_that_of_the_users_scheduler():
    model = net()
    optimizer = SGD(model.parameters(), lr=0.2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    made = training_map(
        model, F.cross_entropy, BATCHES, 0.2, schedule=lambda t: (1 + math.cos(math.pi * t / 20)) / 2
    )
    state = made.initial
    for t in range(20):
        state = made.step(state, t)
        train(model, optimizer, 1, first=t)
        scheduler.step()
    torch.testing.assert_close(made.weights_of(state), flat(model), rtol=0, atol=1e-12)


def test_parameters_outside_the_optimiser_are_fixed():
    model = net()
    made = training_map(model, F.cross_entropy, BATCHES, SGD(model[2].parameters(), lr=0.1))
    assert list(made.slices) == ["2.weight", "2.bias"]


def test_the_rate_can_be_changed():
    made = training_map(net(), F.cross_entropy, BATCHES, 0.1).with_rate(0.3)
    expected = made.initial - 0.3 * made.objective.gradient(made.initial)[1]
    torch.testing.assert_close(made.step(made.initial, 0), expected, rtol=0, atol=1e-15)
    assert isinstance(made.rule, GradientDescent)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda p: Adam(p, amsgrad=True), "Adam with amsgrad=True has no map"),
        (lambda p: SGD(p, lr=0.1, maximize=True), "SGD with maximize=True"),
        (lambda p: RMSprop(p, centered=True), "RMSprop with centered=True"),
        (lambda p: torch.optim.LBFGS(p), "LBFGS has no map here"),
        (lambda p: torch.optim.Adagrad(p), "Adagrad has no map here"),
        (lambda p: SGD([{"params": p[:1], "momentum": 0.9}, {"params": p[1:]}], lr=0.1), "differ in whether"),
        (lambda p: SGD(p, lr=0.0), "learning rate is 0.0"),
        (
            lambda p: SGD([nn.Parameter(torch.zeros(7))], lr=0.1),
            r"shape \(7,\) that Sequential does not have",
        ),
        (lambda p: "sgd", "optimizer function returned str"),
        ("sgd", "optimizer is 'sgd'"),
        (0.0, "learning rate is 0.0"),
        (-1.0, "learning rate is -1.0"),
        (math.nan, "learning rate is nan"),
    ],
)
def test_what_has_no_map_is_named(optimizer, message):
    with pytest.raises(InputError, match=message):
        training_map(net(), F.cross_entropy, BATCHES, optimizer)


def test_an_optimiser_of_another_model_is_refused():
    with pytest.raises(InputError, match="does not have"):
        training_map(net(), F.cross_entropy, BATCHES, SGD(net().parameters(), lr=0.1))


# Where the linear map of one curvature turns unstable, by the spectral radius of its explicit matrix.


def radius(made, t):
    jacobian = made.tangent(made.initial, torch.eye(made.size, dtype=torch.float64), t)[1].T
    return torch.linalg.eigvals(jacobian).abs().max().item()


def one_curvature(h, optimizer):
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(0.0)
    data = (torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    return training_map(model, lambda out, y: 0.5 * h * ((out - y) ** 2).sum(), data, optimizer)


@pytest.mark.parametrize(
    ("optimizer", "threshold"),
    [
        (lambda p: SGD(p, lr=0.5), 2.0),
        (lambda p: SGD(p, lr=0.5, momentum=0.9), 3.8),
        (lambda p: SGD(p, lr=0.5, momentum=0.9, nesterov=True), 1.3571428571),
    ],
)
def test_thresholds_of_momentum(optimizer, threshold):
    assert one_curvature(1.0, optimizer).rule.threshold(1) == pytest.approx(threshold, rel=1e-9)
    for factor, stable in ((0.999, True), (1.001, False)):
        made = one_curvature(factor * threshold / 0.5, optimizer)
        assert (radius(made, 1) < 1) == stable


@pytest.mark.parametrize(
    ("optimizer", "threshold"),
    [
        (lambda p: SGD(p, lr=0.5, weight_decay=0.3), 2.0),
        (lambda p: SGD(p, lr=0.5, momentum=0.8, weight_decay=0.3), 3.6),
    ],
)
def test_decay_in_the_gradient_adds_to_the_curvature(optimizer, threshold):
    for factor, stable in ((0.999, True), (1.001, False)):
        made = one_curvature(factor * threshold / 0.5 - 0.3, optimizer)
        assert made.rule.threshold(1) == pytest.approx(threshold)
        assert (radius(made, 1) < 1) == stable


@pytest.mark.parametrize("decoupled", [0.0, 0.7])
@pytest.mark.parametrize("beta1", [0.9, 0.5])
def test_threshold_of_adam_with_its_preconditioner_held_fixed(decoupled, beta1):
    rate, p = 0.1, 0.02
    made = one_curvature(1.0, lambda q: AdamW(q, lr=rate, betas=(beta1, 0.999), weight_decay=decoupled))
    kept = 1 - rate * decoupled
    assert made.rule.threshold(5) == pytest.approx((1 + kept) * (1 + beta1) / (1 - beta1))
    for factor, stable in ((0.999, True), (1.001, False)):
        h = factor * made.rule.threshold(5) * p / rate
        # weights and mean one step later, each from weights and mean
        mean = [(1 - beta1) * h, beta1]
        linear = torch.tensor([[kept - rate / p * mean[0], -rate / p * mean[1]], mean], dtype=torch.float64)
        assert (torch.linalg.eigvals(linear).abs().max().item() < 1) == stable


def test_the_preconditioner_is_what_the_next_step_divides_by():
    made = training_map(net(), F.cross_entropy, BATCHES[0], lambda p: Adam(p, lr=0.01))
    state = made.initial
    assert made.rule.preconditioner(made.parts(state), 0).isnan().all()
    for t in range(1000):
        state = made.step(state, t)
    w, mean, square = made.parts(state)
    # with the gradient that keeps the mean and the square as they are, the step is rate mean / preconditioner
    new = made.rule.step((w, mean, square), mean, 1000)[0]
    p = made.rule.preconditioner((w, mean, square), 1000)
    busy = square > 1e-3 * square.max()
    torch.testing.assert_close((0.01 * mean / p)[busy], (w - new)[busy], rtol=2e-3, atol=1e-15)


def logistic(x, t):
    return {"x": 4 * x["x"] * (1 - x["x"])}


def test_any_pure_function_is_a_map():
    made = step_map(logistic, {"x": torch.tensor([0.3, 0.6], dtype=torch.float64)})
    assert isinstance(made, StepMap)
    assert made.slices == {"x": slice(0, 2)}
    new, moved, loss = made.tangent(made.initial, torch.eye(2, dtype=torch.float64), 0)
    torch.testing.assert_close(new, torch.tensor([0.84, 0.96], dtype=torch.float64))
    torch.testing.assert_close(moved, torch.diag(torch.tensor([1.6, -0.8], dtype=torch.float64)))
    assert loss.isnan()
    batch = made.tangent(
        torch.stack([made.initial] * 3), torch.eye(2, dtype=torch.float64).expand(3, 2, 2), 0
    )
    assert torch.equal(batch[1][2], moved)
    assert torch.equal(made.step(torch.stack([made.initial] * 3), 0)[1], new)


def test_a_step_may_know_its_loss():
    made = step_map(lambda x, t: 0.5 * x, torch.ones(3, dtype=torch.float64), loss=lambda x, t: (x**2).sum())
    assert made.advance(made.initial, 0)[1] == 3
    assert made.loss(torch.stack([made.initial, 2 * made.initial])).tolist() == [3, 12]


def test_gradient_descent_written_as_a_step_is_the_same():
    made = objective(net(), F.cross_entropy, BATCHES[0])
    by_hand = step_map(lambda w, t: w - 0.1 * torch.func.grad(made._loss)(w), made.initial)
    known = training_map(net(), F.cross_entropy, BATCHES[0], 0.1)
    v = torch.randn(2, made.size, dtype=torch.float64)
    torch.testing.assert_close(
        by_hand.tangent(made.initial, v, 0)[:2], known.tangent(made.initial, v, 0)[:2], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("step", "state", "message"),
    [
        (lambda x, t: x, 3.0, "The state holds float"),
        (lambda x, t: x, torch.tensor([1, 2]), "The state holds Tensor"),
        (lambda x, t: x, {}, "The state holds nothing"),
        (lambda x, t: x[:1], torch.zeros(2), r"returns \[\(1,\)\], the state has \[\(2,\)\]"),
        (lambda x, t: {"a": x}, torch.zeros(2), "same structure"),
        (lambda x, t: x + torch.randn(2), torch.zeros(2), "Two calls of the step from the same state differ"),
    ],
)
def test_a_step_that_is_no_map_is_refused(step, state, message):
    with pytest.raises(InputError, match=message):
        step_map(step, state)
