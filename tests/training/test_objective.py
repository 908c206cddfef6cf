"""A loss as a pure function of a flat vector, for models and data as users bring them."""

import copy
import random
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.batch import all_floats, as_batch
from phasescope.recording.modules import as_module
from phasescope.training import objective
from zoo import ZOO, every

INPUTS, CLASSES = torch.randn(12, 4, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3


def net():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def autograd_loss_and_gradient(model, loss_of):
    """The obvious way: backward() on a copy of the model itself."""
    twin = copy.deepcopy(model).double()
    loss = loss_of(twin)
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in twin.parameters() if p.grad is not None])


def test_loss_and_gradient_are_those_of_backward():
    model = net()
    made = objective(model, F.cross_entropy, (INPUTS, CLASSES))
    loss, gradient = made.gradient(made.initial)
    expected, by_hand = autograd_loss_and_gradient(
        model, lambda twin: F.cross_entropy(twin(INPUTS.double()), CLASSES)
    )
    assert made.size == 4 * 5 + 5 + 5 * 3 + 3
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(gradient, by_hand, rtol=0, atol=1e-15)
    torch.testing.assert_close(made.loss(made.initial), expected, rtol=0, atol=1e-15)


def test_names_and_weights_are_found_in_the_vector():
    made = objective(net(), F.cross_entropy, (INPUTS, CLASSES))
    assert list(made.slices) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert made.slices["2.weight"] == slice(25, 40)
    assert made.is_weight.tolist() == [True] * 20 + [False] * 5 + [True] * 15 + [False] * 3
    assert made.named(made.initial)["2.weight"].shape == (3, 5)


def hessian(made, w):
    return torch.autograd.functional.hessian(made._loss, w)


@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(label_smoothing=0.1)])
def test_products_are_those_of_the_dense_hessian(loss):
    made = objective(net(), loss, (INPUTS, CLASSES))
    w = made.initial
    v = torch.randn(3, made.size, dtype=torch.float64)
    _, gradient, product = made.linearised(w)
    expected = v @ hessian(made, w)
    torch.testing.assert_close(product(v), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(product(v[1]), expected[1], rtol=0, atol=1e-13)
    torch.testing.assert_close(gradient, made.gradient(w)[1], rtol=0, atol=1e-14)


def test_many_copies_are_advanced_as_one_by_one():
    made = objective(net(), F.cross_entropy, [(INPUTS[:6], CLASSES[:6]), (INPUTS[6:], CLASSES[6:])])
    copies = made.initial * (1 + torch.rand(4, 1, dtype=torch.float64))
    v = torch.randn(4, 2, made.size, dtype=torch.float64)
    for t in (0, 1, 2):
        loss, gradient = made.gradient(copies, t)
        losses, gradients, products = made.products(copies, v, t)
        for m in range(4):
            one_loss, one = made.gradient(copies[m], t)
            torch.testing.assert_close(loss[m], one_loss, rtol=1e-13, atol=0)
            torch.testing.assert_close(gradient[m], one, rtol=0, atol=1e-14)
            torch.testing.assert_close(products[m], made.products(copies[m], v[m], t)[2], rtol=0, atol=1e-13)
        torch.testing.assert_close(losses, loss, rtol=1e-13, atol=0)
        torch.testing.assert_close(gradients, gradient, rtol=0, atol=1e-14)
    assert made.loss(copies, 0).tolist() == made.loss(copies, 2).tolist() != made.loss(copies, 1).tolist()


def test_equal_copies_stay_equal_to_the_last_bit():
    made = objective(
        nn.Sequential(nn.Conv1d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 3)),
        F.cross_entropy,
        (INPUTS[:, None], CLASSES),
    )
    gradient = made.gradient(made.initial.expand(7, -1))[1]
    assert (gradient == gradient[0]).all()


def test_weights_that_forward_rescales_are_refused_with_the_reason():
    model, batch = ZOO["max_norm"]()
    with pytest.raises(InputError, match="changes weights in place while it runs"):
        objective(model, lambda model, words: model(words).square().mean(), batch, dtype=None)


@pytest.mark.parametrize("name", every(without={"max_norm"}))
def test_every_model_of_the_zoo_becomes_an_objective(name):
    model, batch = ZOO[name]()
    module = as_module(model)
    if not any(p.requires_grad for p in module.parameters()):
        with pytest.raises(InputError, match="no parameter that is trained"):
            objective(model, lambda model, given: None, batch)
        return
    fitted = as_batch(module, batch)

    def loss(model, given):
        return sum((each.tanh() ** 2).mean() for each in all_floats(model(*fitted.args, **fitted.kwargs)))

    before = copy.deepcopy(module.state_dict())
    if name == "vae":  # draws its noise in forward
        with pytest.raises(InputError, match="not deterministic"):
            objective(model, loss, batch, dtype=None)
        return
    if name == "nan_masking":  # the gradient of what it masks is 0 times infinity
        with pytest.raises(InputError, match="gradient is not finite"):
            objective(model, loss, batch, dtype=None)
        return
    made = objective(model, loss, batch, dtype=None)
    value, gradient, product = made.linearised(made.initial)
    assert value.isfinite()
    assert product(gradient).shape == (made.size,)
    assert all(torch.equal(before[key], each) for key, each in module.state_dict().items())


@pytest.mark.parametrize("layer", [nn.LSTM(4, 6, batch_first=True), nn.GRU(4, 6, batch_first=True)])
def test_recurrent_cells_have_second_derivatives(layer):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.out = layer, nn.Linear(6, 1)

        def forward(self, x):
            return self.out(self.cell(x)[0][:, -1])

    made = objective(Reader(), F.mse_loss, (torch.randn(3, 5, 4), torch.randn(3, 1)))
    _, gradient, product = made.linearised(made.initial)
    step = 1e-5
    slope = (
        made.gradient(made.initial + step * gradient)[1] - made.gradient(made.initial - step * gradient)[1]
    )
    torch.testing.assert_close(product(gradient), slope / (2 * step), rtol=1e-6, atol=1e-8)
    copies = torch.stack([made.initial, 1.1 * made.initial])
    torch.testing.assert_close(made.loss(copies), torch.stack([made.loss(one) for one in copies]))


class Everything(nn.Module):
    """Dropout, batch statistics and an own buffer that changes with each call."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.layers(x)


def trace(model):
    state = {key: value.clone() for key, value in model.state_dict().items()}
    generators = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    modes = [each.training for each in model.modules()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return state, generators, modes, grads


def same(a, b):
    return (
        all(torch.equal(a[0][key], b[0][key]) for key in a[0])
        and torch.equal(a[1][0], b[1][0])
        and a[1][1:] == b[1][1:]
        and a[2] == b[2]
        and all((x is None and y is None) or torch.equal(x, y) for x, y in zip(a[3], b[3], strict=True))
    )


def test_the_users_model_and_every_generator_stay_as_they_are():
    model = Everything().train()
    F.cross_entropy(model(INPUTS), CLASSES).backward()
    before = trace(model)
    made = objective(model, F.cross_entropy, (INPUTS, CLASSES))
    made.gradient(made.initial)
    made.linearised(made.initial)[2](made.initial)
    assert same(before, trace(model))
    assert made.notes == (
        "dropout is off in layers.2",
        "batch statistics, without running averages, in layers.1",
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_no_trace_either(stop):
    model = Everything().train()
    before = trace(model)

    def loss(output, target):
        raise stop("in the middle")

    with pytest.raises(stop):
        objective(model, loss, (INPUTS, CLASSES))
    assert same(before, trace(model))


def test_batch_statistics_are_used_while_the_layer_trains_and_running_ones_after():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    model(INPUTS)
    for training in (True, False):
        model.train(training)
        made = objective(model, F.cross_entropy, (INPUTS, CLASSES))
        expected = F.cross_entropy(copy.deepcopy(model).double()(INPUTS.double()), CLASSES)
        torch.testing.assert_close(made.loss(made.initial), expected, rtol=1e-12, atol=0)


class Jitter(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("model", "place"),
    [
        (nn.Sequential(nn.Linear(4, 4), Jitter(), nn.Linear(4, 3)), r"layer 1 \(Jitter\)"),
        (nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Tanh(), Jitter()), nn.Linear(4, 3)), r"layer 1\.1"),
    ],
)
def test_what_stays_random_is_refused_with_the_name_of_the_layer(model, place):
    with pytest.raises(InputError, match=place):
        objective(model, F.cross_entropy, (INPUTS, CLASSES))


def test_a_random_loss_is_refused():
    with pytest.raises(InputError, match="after its last layer, or the loss"):
        objective(net(), lambda out, y: F.cross_entropy(out + torch.randn_like(out), y), (INPUTS, CLASSES))


class Augmented(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return INPUTS[index] + torch.randn(4), CLASSES[index]


def test_a_shuffling_augmenting_loader_is_read_once():
    made = objective(net(), F.cross_entropy, DataLoader(Augmented(), batch_size=4, shuffle=True))
    assert made.batches == 2
    assert made.loss(made.initial, 0) == made.loss(made.initial, 2)
    assert made.notes == ("the loader was read once: its 2 batches repeat in that order",)


def test_a_loader_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(sys.modules["phasescope.training.objective"], "_LOADER_LIMIT", 300.0)
    loader = DataLoader(TensorDataset(INPUTS, CLASSES), batch_size=4)
    with pytest.raises(MemoryLimitError, match="first 4 batches"):
        objective(net(), F.cross_entropy, [*loader, *loader])


def test_accumulated_batches_make_one_step():
    halves = [(INPUTS[:6], CLASSES[:6]), (INPUTS[6:], CLASSES[6:])]
    made = objective(net(), F.cross_entropy, halves, accumulate=2)
    whole = objective(net(), F.cross_entropy, (INPUTS, CLASSES))
    assert made.batches == 1
    torch.testing.assert_close(
        made.gradient(whole.initial)[1], whole.gradient(whole.initial)[1], rtol=0, atol=1e-15
    )
    with pytest.raises(InputError, match="accumulate = 3 does not divide the 2 batches"):
        objective(net(), F.cross_entropy, halves, accumulate=3)


@pytest.mark.parametrize(
    ("loss", "data"),
    [
        (lambda out, y: F.cross_entropy(out, y), (INPUTS, CLASSES)),
        (lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), (INPUTS, CLASSES)),
        (lambda out, batch: F.cross_entropy(out, batch["y"]), {"input": INPUTS, "y": CLASSES}),
        (lambda model, batch: F.cross_entropy(model(batch["x"]), batch["y"]), {"x": INPUTS, "y": CLASSES}),
        (nn.CrossEntropyLoss(), [[INPUTS, CLASSES]]),
    ],
    ids=["output, target", "model, batch", "output, mapping", "model, mapping", "module, list"],
)
def test_losses_of_every_form_mean_the_same(loss, data):
    class Keywords(nn.Sequential):
        def forward(self, input, y=None):
            return super().forward(input)

    model = Keywords(*net())
    made = objective(model, loss, data)
    expected = F.cross_entropy(copy.deepcopy(model).double()(INPUTS.double()), CLASSES)
    torch.testing.assert_close(made.loss(made.initial), expected, rtol=1e-14, atol=0)


def test_the_loss_of_the_output_is_taken_where_none_is_given():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x, y):
            return {"logits": self.layer(x), "loss": F.cross_entropy(self.layer(x), y)}

    model = Own()
    made = objective(model, None, {"x": INPUTS, "y": CLASSES})
    expected = F.cross_entropy(copy.deepcopy(model).double().layer(INPUTS.double()), CLASSES)
    torch.testing.assert_close(made.loss(made.initial), expected, rtol=1e-14, atol=0)
    with pytest.raises(InputError, match="No loss was given, and the output, Tensor, has none"):
        objective(net(), None, (INPUTS, CLASSES))


def test_outputs_are_those_of_the_model():
    model = net()
    made = objective(model, F.cross_entropy, (INPUTS, CLASSES))
    expected = copy.deepcopy(model).double()(INPUTS.double())
    torch.testing.assert_close(made.outputs(made.initial), expected.detach(), rtol=0, atol=1e-14)
    both = made.outputs(torch.stack([made.initial, 2 * made.initial]), INPUTS[:5])
    torch.testing.assert_close(both[0], expected[:5].detach(), rtol=0, atol=1e-14)
    assert both.shape == (2, 5, 3)


def test_fixed_parameters_stay_out_of_the_vector():
    model = net()
    model[0].weight.requires_grad_(False)
    made = objective(model, F.cross_entropy, (INPUTS, CLASSES))
    assert list(made.slices) == ["0.bias", "2.weight", "2.bias"]
    assert list(objective(net(), F.cross_entropy, (INPUTS, CLASSES), trained=["2.bias"]).slices) == ["2.bias"]


@pytest.mark.parametrize(
    ("model", "loss", "data", "message"),
    [
        (net(), nn.CrossEntropyLoss(reduction="none"), (INPUTS, CLASSES), r"shape \(12,\), not one number"),
        (net(), lambda out, y: 1.0, (INPUTS, CLASSES), "The loss is float, not a tensor"),
        (net(), F.cross_entropy, (INPUTS * torch.nan, CLASSES), "loss at the start is nan"),
        (net(), lambda out, y: out.sub(out.detach()).sum().abs().sqrt(), (INPUTS, CLASSES), "not finite"),
        (net(), lambda out, y: out.detach().sum(), (INPUTS, CLASSES), "depends on no trained parameter"),
        (net(), F.cross_entropy, 3, "data are of type int"),
        (net(), F.cross_entropy, [], "hold no batch"),
        (net(), F.cross_entropy, [None], "holds no tensor"),
        (net(), "cross_entropy", (INPUTS, CLASSES), "'cross_entropy', which cannot be called"),
        (nn.LazyLinear(3), F.cross_entropy, (INPUTS, CLASSES), "LazyLinear has lazy layers"),
        (nn.Flatten(), F.cross_entropy, (INPUTS, CLASSES), "Flatten has no parameter that is trained"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(model, loss, data, message):
    with pytest.raises(InputError, match=message):
        objective(model, loss, data)


def test_a_model_that_cannot_be_copied_is_named():
    class Closed(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("it holds a lock")

    with pytest.raises(InputError, match="Closed cannot be copied: it holds a lock"):
        objective(Closed(4, 3), F.cross_entropy, (INPUTS, CLASSES))


def test_the_type_can_be_kept_or_chosen():
    assert objective(net(), F.cross_entropy, (INPUTS, CLASSES)).dtype == torch.float64
    assert objective(net(), F.cross_entropy, (INPUTS, CLASSES), dtype=None).dtype == torch.float32
