"""Twelve networks with a mistake, each named first, and twelve without, for which nothing is said."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope.instruments import SignalPropagation, Symptoms, inspect
from phasescope.testing import check_instrument


def mlp(*sizes, activation=nn.ReLU):
    layers = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def labels(count, classes):
    return torch.arange(count) % classes


class Flat(nn.Module):
    """A network whose forward is a function of itself."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.own = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.own(self, x)


def cloned():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3)
    return encoder, normal(4, 5, 8)


def frozen():
    model = mlp(8, 16, 16, 16, 2)
    model[4].requires_grad_(False)
    return model, normal(16, 8)


def not_a_number():
    model = mlp(8, 16, 16, 2)
    model[2].weight.data[3, 4] = math.nan
    return model, normal(16, 8)


def pixels():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    x = torch.randint(0, 256, (16, 3, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    return model, x


def unlike_features():
    return mlp(4, 16, 2), normal(16, 4) * torch.tensor([1.0, 1e5, 10.0, 1.0])


def beyond_the_vocabulary():
    model = nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(40, 2))
    return model, torch.full((6, 5), 3).index_put_((torch.tensor(2), torch.tensor(1)), torch.tensor(57))


def zeroed():
    model = mlp(8, 16, 16, 2)
    model[2].weight.data.zero_()
    return model, normal(16, 8)


def dead():
    model = mlp(8, 16, 16, 2)
    model[2].bias.data.fill_(-100.0)
    return model, normal(16, 8)


def softmax_twice():
    model = nn.Sequential(mlp(8, 16, 3), nn.Softmax(-1))
    return model, normal(16, 8), nn.CrossEntropyLoss(), labels(16, 3)


def no_nonlinearity():
    return nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.1), nn.Linear(16, 16), nn.Tanh()), normal(16, 8)


def saturated():
    model = mlp(8, 16, 16, 2, activation=nn.Tanh)
    model[2].bias.data.fill_(8.0)
    return model, normal(16, 8)


def one_input():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return model, normal(1, 3, 8, 8)


def large_output():
    model = mlp(8, 64, 1)
    return model, normal(16, 8), nn.MSELoss(), 1e4 * normal(16, 1)


BROKEN = {
    cloned: "layers.0 and layers.1 and layers.2 have equal weights",
    frozen: "4 is frozen",
    not_a_number: "The weights 2.weight hold NaN",
    pixels: "holds pixels from 0 to 255",
    unlike_features: "features of the input differ in scale",
    beyond_the_vocabulary: "Token id 57 is beyond the vocabulary, 0",
    zeroed: "The weights 2.weight are all zero, and the output is the same for every input",
    dead: "All units of 3 are zero for every input",
    softmax_twice: "The output has passed a softmax already",
    no_nonlinearity: "Nothing lies between 0 and 2",
    saturated: "The biases of 2 alone saturate 16 of 16 units of the Tanh",
    one_input: "1 takes statistics over a batch of one input",
    large_output: "times as large as the targets",
}


def attention():
    layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(3)]
    return nn.Sequential(*layers), normal(4, 5, 8)


def residual():
    branches = nn.ModuleList(mlp(8, 16, 8) for _ in range(4))
    nn.init.zeros_(branches[0][2].weight)  # a branch that begins at zero

    def forward(self, x):
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)

    return Flat(forward, branches=branches, head=nn.Linear(8, 2)), normal(16, 8)


def bottleneck():
    return nn.Sequential(nn.Linear(32, 4), nn.Linear(4, 32)), normal(16, 32)


def separable():
    layers = [nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3)]
    return nn.Sequential(*layers), normal(16, 4, 8, 8), nn.CrossEntropyLoss(), labels(16, 3)


def transfer():
    model = mlp(8, 16, 16, 2)
    model[0].requires_grad_(False)
    model[2].requires_grad_(False)
    return model, normal(16, 8)


def functional():
    def forward(self, x):
        return self.c(F.relu(self.b(F.relu_(self.a(x)))))

    parts = {"a": nn.Linear(8, 16), "b": nn.Linear(16, 16), "c": nn.Linear(16, 3)}
    return Flat(forward, **parts), normal(16, 8), lambda out, y: F.cross_entropy(out, y), labels(16, 3)


def tied():
    def forward(self, x):
        return self.table(x).mean(1) @ self.table.weight.T

    return (
        Flat(forward, table=nn.Embedding(50, 8)),
        labels(30, 50).view(6, 5),
        nn.CrossEntropyLoss(),
        labels(6, 50),
    )


def log_probabilities():
    model = nn.Sequential(mlp(8, 16, 3), nn.LogSoftmax(-1))
    return model, normal(16, 8), F.nll_loss, labels(16, 3)


def probabilities():
    model = nn.Sequential(mlp(8, 16, 1), nn.Sigmoid())
    return model, normal(16, 8), nn.BCELoss(), (labels(16, 2) > 0).float()[:, None]


def recurrent():
    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])

    return Flat(forward, lstm=nn.LSTM(4, 16, 2, batch_first=True), head=nn.Linear(16, 1)), normal(16, 9, 4)


def normalised():
    layers = [nn.BatchNorm1d(4), nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)]
    return nn.Sequential(*layers), 300 + 1e4 * normal(16, 4)


def regression():
    return mlp(8, 64, 64, 1, activation=nn.GELU), normal(16, 8), nn.MSELoss(), normal(16, 1)


HEALTHY = (
    attention,
    residual,
    bottleneck,
    separable,
    transfer,
    functional,
    tied,
    log_probabilities,
    probabilities,
    recurrent,
    normalised,
    regression,
)


def looked_at(made):
    torch.manual_seed(0)
    model, batch, *rest = made()
    instrument = Symptoms(*rest)
    before = copy.deepcopy(model.state_dict())
    dataset = instrument.measure(model, batch)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) or before[key].isnan().any() for key in before)
    return instrument, dataset


@pytest.mark.parametrize("made", BROKEN)
def test_a_mistake_is_named_first_and_the_line_to_change(made):
    instrument, dataset = looked_at(made)
    first = instrument.findings(dataset)[0]
    assert BROKEN[made] in first.sentence
    assert first.severity in ("warning", "problem")
    assert first.action
    assert BROKEN[made] in instrument.table(dataset).replace("\n  ", " ")


@pytest.mark.parametrize("made", HEALTHY)
def test_nothing_is_said_of_a_healthy_network(made):
    instrument, dataset = looked_at(made)
    assert [f.sentence for f in instrument.findings(dataset) if f.severity in ("warning", "problem")] == []


def test_the_contract_of_an_instrument_is_kept():
    assert check_instrument(Symptoms())


def test_weights_and_gradients_stand_beside_each_other():
    model = nn.Sequential(nn.Linear(1, 1, bias=False)).double()
    model[0].weight.data.fill_(3.0)
    x, y = torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64)
    dataset = Symptoms(nn.MSELoss(), y).measure(model, x)
    assert float(dataset["weight"][0]) == 3.0
    assert float(dataset["gradient"][0]) == 6.0  # of w^2 at 3


def test_a_module_that_the_loss_does_not_reach_is_named():
    def forward(self, x):
        return self.used(x)

    model = Flat(forward, used=nn.Linear(4, 1), unused=nn.Linear(4, 1))
    instrument = Symptoms(nn.MSELoss(), normal(8, 1))
    first = instrument.findings(instrument.measure(model, normal(8, 4)))[0]
    assert "The loss does not depend on unused.weight and 1 other parameters" in first.sentence


def test_where_a_pass_breaks_is_named():
    model = mlp(8, 16, 16, 2)
    for layer in (0, 2, 4):
        model[layer].weight.data *= 1e15
    found = Symptoms().findings(Symptoms().measure(model, normal(16, 8)))
    assert "The output of 4 is the first in the pass that is not finite" in found[0].sentence


def test_a_network_that_is_broken_is_not_called_critical():
    torch.manual_seed(0)
    layers = [layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=1 / 8)
        nn.init.zeros_(layer.bias)
    asked = [Symptoms(), SignalPropagation()]
    healthy = inspect(model, normal(64, 64), instruments=asked)
    assert any("Critical" in finding.sentence for finding in healthy.findings)
    model[24].weight.data.zero_()  # the read-out
    found = inspect(model, normal(64, 64), instruments=asked)
    assert "24.weight are all zero" in found.sentence
    assert not any("Critical" in finding.sentence for finding in found.findings)
