"""The closed form of multilayer perceptrons, against automatic differentiation of the modules themselves."""

from copy import deepcopy
from functools import partial
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from phasescope.activations import MRePU, RePU
from phasescope.training import objective, perceptron, training_map
from phasescope.training.perceptron import recognise

SMOOTH = [
    nn.Sigmoid(), nn.Tanh(), nn.Tanhshrink(), nn.ELU(), nn.ELU(0.7), nn.CELU(2.0), nn.SELU(), nn.GELU(),
    nn.GELU(approximate="tanh"), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Softplus(2.0, 3.0), nn.LogSigmoid(),
    nn.Softsign(), RePU(3), MRePU(2), MRePU(3, 0.5), nn.Identity(),
]  # fmt: skip
KINKED = [nn.ReLU(), nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 2.0), nn.ReLU6(), RePU(2), MRePU(1), MRePU(1, 0.5)]
CLASSED = [
    nn.CrossEntropyLoss(),
    nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1),
    nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64), label_smoothing=0.2),
    nn.CrossEntropyLoss(ignore_index=1),
    F.cross_entropy,
    partial(F.cross_entropy, label_smoothing=0.3, reduction="sum"),
]
VALUED = [
    nn.MSELoss(),
    nn.MSELoss(reduction="sum"),
    F.mse_loss,
    nn.BCEWithLogitsLoss(),
    nn.BCEWithLogitsLoss(pos_weight=torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)),
    partial(F.binary_cross_entropy_with_logits, reduction="sum"),
    nn.CrossEntropyLoss(),
    nn.CrossEntropyLoss(label_smoothing=0.1, weight=torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)),
]
IRIS = [4, 10, 3]


def network(widths, activation, *, bias=True, seed=0, last=()):
    """A chain of linear layers with normal weights; biases are normal too, so that none is zero."""
    layers = []
    for i, (n, m) in enumerate(pairwise(widths)):
        layers += [nn.Linear(n, m, bias=bias, dtype=torch.float64)]
        if i + 2 < len(widths):
            layers += [deepcopy(activation)]
    model = nn.Sequential(*layers, *last)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)
    return model


def data(samples, inputs, seed=0, kind="classes", classes=3):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, inputs, generator=generator, dtype=torch.float64)
    if kind == "classes":
        return x, torch.randint(classes, (samples,), generator=generator)
    return x, torch.rand(samples, classes, generator=generator, dtype=torch.float64).softmax(1)


def names(model):
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def vector(model):
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


def reference(model, loss, batch):
    """The loss as a function of a flat vector, for torch.func."""
    shapes = {name: p.shape for name, p in model.named_parameters() if p.requires_grad}

    def value(w):
        parts = w.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
        return loss(torch.func.functional_call(model, named, (batch[0],)), batch[1])

    return value


def copies(model, count, seed=1, scale=0.1):
    generator = torch.Generator().manual_seed(seed)
    w = vector(model)
    return w + scale * torch.randn(count, len(w), generator=generator, dtype=w.dtype)


def agrees(found, expected, rtol=1e-12):
    scale = max(expected.abs().max().item(), 1e-3)
    torch.testing.assert_close(found, expected, rtol=0, atol=rtol * scale)


def holds(model, loss, batch, count=3, k=2):
    """Loss, gradient and products of the closed form are those of automatic differentiation."""
    made = recognise(model, names(model), loss, [batch])
    assert made is not None
    value = reference(model, loss, batch)
    w = copies(model, count)
    v = torch.randn(count, k, w.shape[1], generator=torch.Generator().manual_seed(2), dtype=w.dtype)
    losses, gradient, products = made.products(w, v)
    agrees(losses, torch.stack([value(one) for one in w]).detach())
    slope = torch.func.grad(value)
    agrees(gradient, torch.stack([slope(one) for one in w]))
    expected = torch.stack(
        [torch.stack([torch.func.vjp(slope, a)[1](b)[0] for b in rows]) for a, rows in zip(w, v, strict=True)]
    )
    agrees(products, expected)
    assert torch.equal(made.gradient(w)[1], gradient)
    agrees(made.loss(w), losses, 1e-14)


@pytest.mark.parametrize("activation", SMOOTH + KINKED, ids=repr)
def test_every_activation_has_the_derivatives_of_its_module(activation):
    holds(network([4, 5, 4, 3], activation, seed=3), nn.CrossEntropyLoss(), data(11, 4))


@pytest.mark.parametrize("loss", CLASSED)
def test_every_loss_of_classes_has_the_derivatives_of_its_module(loss):
    holds(network(IRIS, nn.Sigmoid()), loss, data(13, 4))


@pytest.mark.parametrize("loss", VALUED)
def test_every_loss_of_values_has_the_derivatives_of_its_module(loss):
    holds(network(IRIS, nn.Tanh()), loss, data(13, 4, kind="values"))


@pytest.mark.parametrize("loss", [nn.NLLLoss(), F.nll_loss, nn.NLLLoss(ignore_index=2)])
def test_log_softmax_with_the_likelihood_is_cross_entropy(loss):
    model = network(IRIS, nn.Tanh(), last=[nn.LogSoftmax(dim=1)])
    x, y = data(13, 4)
    holds(model, loss, (x, y))
    made = recognise(model, names(model), loss, [(x, y)])
    agrees(made.outputs(vector(model), x), model(x).detach())


@st.composite
def networks(draw):
    """A chain of one to four layers, some without bias, some frozen, with an activation that has no kinks."""
    widths = draw(st.lists(st.integers(1, 7), min_size=2, max_size=5))
    widths[-1] = 3
    model = network(
        widths, draw(st.sampled_from(SMOOTH)), bias=draw(st.booleans()), seed=draw(st.integers(0, 99))
    )
    parameters = list(model.parameters())
    trained = draw(st.lists(st.booleans(), min_size=len(parameters), max_size=len(parameters)).filter(any))
    for parameter, free in zip(parameters, trained, strict=True):
        parameter.requires_grad_(free)
    return model, widths[0]


@settings(max_examples=40, deadline=None)
@given(networks(), st.integers(1, 9), st.sampled_from(VALUED), st.integers(0, 99), st.integers(1, 3))
def test_any_chain_has_the_derivatives_of_its_module(built, samples, loss, seed, k):
    model, inputs = built
    holds(model, loss, data(samples, inputs, seed, kind="values"), k=k)


def test_nested_chains_and_layers_that_change_nothing_are_seen_through():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(9, 2, 2, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (9,), generator=generator)
    inner = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Identity(), nn.Dropout(0.5).eval())
    model = nn.Sequential(nn.Flatten(), inner, nn.Sequential(nn.Flatten(), nn.Linear(5, 3))).double()
    holds(model, nn.CrossEntropyLoss(), (x, y))
    made = recognise(model, names(model), nn.CrossEntropyLoss(), [(x, y)])
    agrees(made.outputs(vector(model), x), model(x).detach())


def test_what_comes_before_the_first_trained_layer_leaves_the_inputs_as_they_were():
    model = nn.Sequential(nn.Sigmoid(), nn.Linear(4, 6), nn.ReLU(inplace=True), nn.Linear(6, 3)).double()
    model[1].requires_grad_(False)
    x, y = data(9, 4)
    before = x.clone()
    holds(model, nn.CrossEntropyLoss(), (x, y))
    assert torch.equal(x, before)


def test_one_vector_gives_the_row_of_many():
    model, batch = network(IRIS, nn.GELU()), data(20, 4)
    made = recognise(model, names(model), nn.CrossEntropyLoss(), [batch])
    w, v = copies(model, 2), torch.randn(2, 5, 83, dtype=torch.float64)
    many = made.products(w, v)
    for i in range(2):
        one = made.products(w[i], v[i])
        assert [each.shape for each in one] == [(), (83,), (5, 83)]
        for a, b in zip(one, many, strict=True):
            agrees(a, b[i], 1e-14)
        loss, gradient, product = made.linearised(w[i])
        assert torch.equal(loss, one[0])
        assert torch.equal(gradient, one[1])
        agrees(product(v[i][0]), one[2][0], 1e-14)
        agrees(made.gradient(w[i])[1], one[1], 1e-14)
        assert made.loss(w[i]).shape == ()
    assert made.outputs(w, batch[0]).shape == (2, 20, 3)
    assert made.outputs(w[0], batch[0][:7]).shape == (7, 3)


def test_the_step_chooses_the_batch():
    model, batches = network(IRIS, nn.Tanh()), [data(8, 4, 1), data(5, 4, 2), data(13, 4, 3)]
    made = recognise(model, names(model), nn.CrossEntropyLoss(), batches)
    w = vector(model)
    for t in range(7):
        agrees(made.loss(w, t), nn.CrossEntropyLoss()(model(batches[t % 3][0]), batches[t % 3][1]).detach())


@pytest.mark.parametrize("activation", SMOOTH + KINKED, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_equal_copies_give_equal_bits(activation, dtype, monkeypatch):
    """Odd numbers everywhere, so that neither blocks nor the ends of tensors fall on round addresses."""
    model, (x, y) = network([3, 7, 5, 3], activation).to(dtype), data(23, 3)
    made = recognise(model, names(model), nn.CrossEntropyLoss(), [(x.to(dtype), y)])
    w = vector(model)
    v = torch.randn(1, 3, len(w), generator=torch.Generator().manual_seed(2), dtype=dtype)
    for room, count in (
        (2**21, 41),
        (2**15, 41),
        (2**10, 5),
    ):  # one part, several with an overlap, single copies
        monkeypatch.setattr(perceptron, "_CACHE", room)
        found = [
            *made.products(w.repeat(count, 1), v.repeat(count, 1, 1)),
            made.outputs(w.repeat(count, 1), x.to(dtype)),
        ]
        found += [*made.gradient(w.repeat(count, 1))]
        for each in found:
            assert len(each) == count
            assert torch.equal(each, each[:1].expand_as(each))


@pytest.mark.parametrize("samples", [1, 30, 121])
@pytest.mark.parametrize("widths", [IRIS, [5, 33, 3], [17, 9, 11, 3]], ids=str)
def test_a_copy_does_not_depend_on_the_others(widths, samples, monkeypatch):
    model, batch = network(widths, nn.Sigmoid()), data(samples, widths[0])
    made = recognise(model, names(model), nn.CrossEntropyLoss(), [batch])
    w = copies(model, 37)
    v = torch.randn(37, 2, w.shape[1], generator=torch.Generator().manual_seed(2), dtype=w.dtype)
    whole = made.products(w, v)
    monkeypatch.setattr(perceptron, "_CACHE", 8 * samples * 60 * 5)
    for start, end in ((0, 37), (3, 9), (20, 37)):
        some = made.products(w[start:end], v[start:end])
        assert torch.equal(some[0], whole[0][start:end])
        assert torch.equal(some[1], whole[1][start:end])


def test_saturated_networks_give_numbers():
    """Raw pixels and weights of order one: outputs of thousands, a softmax of zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    x = 255 * torch.rand(20, 50, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (20,), generator=generator)
    for activation in SMOOTH + KINKED:
        if isinstance(activation, RePU | MRePU):
            continue
        model = network([50, 8, 3], activation)
        holds(model, nn.CrossEntropyLoss(), (x, y))
        made = recognise(model, names(model), nn.CrossEntropyLoss(), [(x, y)])
        w = 30 * vector(model)
        for each in made.products(w, torch.ones(2, len(w), dtype=w.dtype)):
            assert each.isfinite().all()


def untied(change):
    model = network([4, 4, 4, 3], nn.Tanh())
    change(model)
    return model


def hooked(model):
    model[0].register_forward_hook(lambda module, args, output: 2 * output)


def tied(model):
    model[2].weight = model[0].weight


def patched(model):
    model[1].forward = torch.sin


def noisy(model):
    model.insert(1, nn.Dropout(0.5))


def normed(model):
    model.insert(1, nn.LayerNorm(4, dtype=torch.float64))


def slid(model):
    model[1] = nn.PReLU(dtype=torch.float64)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def subclassed(model):
    model[0] = Doubled(4, 4, dtype=torch.float64)


def normalised(model):
    model.append(nn.LogSoftmax(dim=1))


@pytest.mark.parametrize(
    "change", [hooked, tied, patched, noisy, normed, slid, subclassed, normalised], ids=lambda f: f.__name__
)
def test_a_module_that_does_something_else_is_not_recognised(change):
    x, y = data(9, 4)
    assert recognise(untied(lambda model: None), names(untied(lambda model: None)), F.cross_entropy, [(x, y)])
    model = untied(change)
    assert recognise(model, names(model), F.cross_entropy, [(x, y)]) is None


def test_a_loss_or_a_target_that_is_another_is_not_recognised():
    model, (x, y) = network(IRIS, nn.Tanh()), data(9, 4)
    values = torch.zeros(9, 3, dtype=torch.float64)

    class Twice(nn.CrossEntropyLoss):
        def forward(self, output, target):
            return 2 * super().forward(output, target)

    for loss, target in (
        (lambda output, target: F.cross_entropy(output, target), y),
        (Twice(), y),
        (nn.CrossEntropyLoss(reduction="none"), y),
        (nn.NLLLoss(), y),
        (nn.L1Loss(), values),
        (nn.MSELoss(), values[:1]),
        (nn.MSELoss(), values.float()),
        (nn.CrossEntropyLoss(), y + 1),
        (nn.CrossEntropyLoss(), y.int()),
        (partial(F.cross_entropy, size_average=True), y),
    ):
        assert recognise(model, names(model), loss, [(x, target)]) is None
    assert recognise(model, names(model), nn.MSELoss(), [(x[:, None], values)]) is None


@pytest.mark.parametrize(
    "optimizer", [lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), lambda p: torch.optim.Adam(p, 0.01)]
)
def test_a_map_of_a_perceptron_takes_the_steps_of_torch(optimizer):
    model, (x, y) = network(IRIS, nn.Sigmoid()), data(30, 4)
    moving = training_map(model, nn.CrossEntropyLoss(), (x, y), optimizer)
    assert moving.objective.closed is not None
    state, steps = moving.initial, optimizer(model.parameters())
    for t in range(100):
        state = moving.step(state, t)
        steps.zero_grad()
        nn.CrossEntropyLoss()(model(x), y).backward()
        steps.step()
    agrees(moving.weights_of(state), vector(model), 1e-12)


def test_the_closed_form_of_an_objective_is_its_graph():
    model, (x, y) = network(IRIS, nn.Tanh()), data(30, 4)
    closed, graph = (objective(model, nn.CrossEntropyLoss(), (x, y)) for _ in range(2))
    graph.closed = None
    assert closed.closed is not None
    w = copies(model, 3)
    v = torch.randn(3, 4, 83, generator=torch.Generator().manual_seed(2), dtype=w.dtype)
    for a, b in zip(closed.products(w, v), graph.products(w, v), strict=True):
        agrees(a, b)
    for inputs in (None, x[:5], x[3], x[:4, None]):
        agrees(closed.outputs(w, inputs), graph.outputs(w, inputs))
    agrees(closed.loss(w), graph.loss(w))


def test_summed_batches_and_batches_of_names_use_the_graph():
    model, (x, y) = network(IRIS, nn.Tanh()), data(30, 4)
    assert objective(model, F.cross_entropy, [(x, y), (x, y)], accumulate=2).closed is None
    assert objective(model, F.cross_entropy, ({"input": x}, y)).closed is None
