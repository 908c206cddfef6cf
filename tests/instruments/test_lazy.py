import copy
import io
import math

import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.lazy import LazyTraining
from phasescope.testing import check_instrument
from phasescope.testing.cases import Case


def network(act=nn.ReLU, width=16):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(5, width), act(), nn.BatchNorm1d(width), nn.Linear(width, 2))


def trained(act=nn.ReLU, steps=40, rate=0.1):
    """The network after gradient descent on 24 inputs, the inputs and the targets."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 5, generator=generator)
    y = (x[:, :2] * x[:, 1:3]).sign()
    model = network(act).eval()
    for _ in range(steps):
        loss = nn.functional.mse_loss(model(x), y)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), gradients, strict=True):
                p -= rate * g
    return model.train(), x, y


INSTRUMENT = LazyTraining(network())


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.drop, self.leave = nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 2)

    def forward(self, batch):
        return {"logits": self.leave(self.drop(torch.tanh(self.left(batch["left"]))))}


def mixer(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mixer()


def test_it_keeps_the_promises_of_instruments():
    def case():
        model, x, _ = trained()
        return model, x

    assert len(check_instrument(INSTRUMENT, [Case("relu", case)])) > 30


@pytest.mark.slow
def test_it_keeps_the_promises_on_dictionaries_recurrent_nets_and_with_a_loss():
    def inputs(*shape):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(0))

    check_instrument(LazyTraining(mixer(0)), [Case("mixer", lambda: (mixer(1), {"left": inputs(8, 4)}))])

    def lstm(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.LSTM(4, 5, batch_first=True)

    check_instrument(LazyTraining(lstm(0)), [Case("lstm", lambda: (lstm(1), inputs(8, 6, 4)))])
    asked = LazyTraining(network(), loss=torch.mean, rate=0.1, steps=5)
    check_instrument(asked, [Case("with a loss", lambda: trained()[:2])])


@pytest.mark.slow
def test_its_memory_stays_under_the_limit():
    check_instrument(
        INSTRUMENT, [Case("relu", _relu)], fast=False, only=["peak_memory_stays_under_the_limit"]
    )


def _relu():
    return trained()[:2]


@pytest.mark.parametrize(
    ("instrument", "reason"),
    [
        (LazyTraining(), "No initial checkpoint was given"),
        (LazyTraining(network(width=8)), "has the shape"),
        (LazyTraining({}), "two architectures"),
        (LazyTraining(network(), targets=torch.zeros(24, 2)), "targets were given without a loss"),
    ],
)
def test_it_says_why_it_does_not_apply(instrument, reason):
    model, x, _ = trained(steps=1)
    assert reason in instrument.applies(model, x)
    with pytest.raises(InputError, match=reason):
        instrument.measure(model, x)


def test_a_loss_without_targets_is_refused_by_name():
    model, x, _ = trained(steps=1)
    with pytest.raises(InputError, match="takes targets, and none were given"):
        LazyTraining(network(), loss=nn.MSELoss()).measure(model, x)


def test_nan_weights_are_a_reason():
    model, x, _ = trained(steps=1)
    with torch.no_grad():
        model[0].bias[0] = math.nan
    assert "holds NaN or infinity in 0.bias" in INSTRUMENT.applies(model, x)


def test_a_long_training_is_not_lazy_and_its_gates_move_more_than_at_random():
    model, x, y = trained(steps=400)
    data = LazyTraining(network(), y, nn.MSELoss(), rate=0.1, steps=400).measure(model, x)
    assert data.attrs["verdict"] in ("mixed", "rich")
    assert float(data["gap"]) > 0.05
    assert float(data["gap_error"]) > 0
    sentences = [str(finding) for finding in INSTRUMENT.findings(data)]
    assert "random directions" in sentences[1]
    assert "initial tangent kernel predicts" in sentences[2]
    table = INSTRUMENT.table(data)
    assert "gap" in table
    assert len(table.splitlines()) == 5 + 4


def test_a_linear_model_is_lazy_whatever_the_step_and_is_told_how_to_be_richer():
    def linear(seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Linear(3, 2).double()

    data = LazyTraining(linear(0)).measure(linear(1), torch.randn(9, 3))
    (finding,) = INSTRUMENT.findings(data)
    assert data.attrs["verdict"] == "lazy"
    assert "multiply the output by 1/sqrt(n)" in finding.action
    assert float(data["drift"]) == pytest.approx(0, abs=1e-12)


def test_equal_checkpoints_are_not_determined_and_the_action_says_how_to_keep_a_copy():
    model, x, _ = trained()
    data = LazyTraining(model).measure(model, x)
    (finding,) = INSTRUMENT.findings(data)
    assert "not determined" in finding.sentence
    assert "copy.deepcopy(model)" in finding.action
    assert math.isnan(float(data["gap"]))


def test_the_figure_shows_the_predicted_loss_where_there_is_one():
    model, x, y = trained(nn.Tanh)
    plain = LazyTraining(network(nn.Tanh)).measure(model, x)
    asked = LazyTraining(copy.deepcopy(network(nn.Tanh).state_dict()), y, nn.MSELoss(), 0.1, 40)
    figures = [INSTRUMENT.figures(data)["lazy_or_rich"] for data in (plain, asked.measure(model, x))]
    assert [len(figure.axes) for figure in figures] == [2, 3]
    for figure in figures:
        with io.BytesIO() as file:
            figure.savefig(file, format="svg")
            assert len(file.getvalue()) > 15_000
