"""Tangents and cotangents at every row, against explicit Jacobians."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope.recording import (
    as_batch,
    discover,
    pull_back,
    push_difference,
    push_double_backward,
    push_forward,
    untouched,
)
from phasescope.recording.tangents import gaussian
from reference import propagation as slow


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.ReLU(inplace=True), nn.Linear(6, 2)]
    model = nn.Sequential(*layers).double()
    x = torch.randn(3, 5, dtype=torch.float64)
    return model, x, as_batch(model, x)


@pytest.mark.parametrize(
    ("push", "rtol"), [(push_forward, 1e-12), (push_double_backward, 1e-12), (push_difference, 1e-7)]
)
def test_three_ways_to_push_a_tangent(network, push, rtol):
    model, x, batch = network
    u = torch.randn_like(x)
    seen = {}

    def see(layer, argument, z, tangent, second):
        seen[layer.name] = (z.clone(), tangent.clone())

    with untouched(model):
        rows = discover(model, batch)
        push(model, rows.layers, batch.take(0, 3), rows.chains[0], lambda tensor, number: u.clone(), see)
    assert not rows.coupled
    values = slow.outputs(model, x)
    for row in range(5):
        z, tangent = seen[str(row)]
        expected = torch.stack([j @ u[i] for i, j in enumerate(slow.jacobians(model, x, 0, row))])
        # The in-place ReLU writes over its argument only after the row before was seen.
        torch.testing.assert_close(z, values[row], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(tangent, expected, rtol=rtol, atol=rtol)


def test_pulling_back_a_cotangent(network):
    model, x, batch = network
    v = torch.randn(2, 3, 2, dtype=torch.float64)
    seen = {}
    with untouched(model):
        rows = discover(model, batch)
        pull_back(
            model,
            rows.layers,
            batch.take(0, 3),
            rows.chains,
            rows.output,
            lambda tensor, number, probe: v[probe],
            2,
            lambda layer, probe, gradient: seen.__setitem__((layer.name, probe), gradient.clone()),
        )
    for row in range(4):
        jacobians = slow.jacobians(model, x, row + 1, 4)
        for probe in range(2):
            expected = torch.stack([v[probe, i] @ j for i, j in enumerate(jacobians)])
            torch.testing.assert_close(seen[str(row), probe], expected)
    assert all(p.grad is None for p in model.parameters())


class Lookup(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, ids):
        return self.head(self.table(ids).mean(dim=1))


@pytest.mark.parametrize("push", [push_forward, push_double_backward, push_difference])
def test_tangents_of_token_ids_enter_behind_the_embedding(push):
    torch.manual_seed(0)
    model, ids = Lookup(), torch.randint(0, 9, (3, 5))
    batch, seen = as_batch(model, ids), {}
    u = torch.randn(3, 5, 4)
    with untouched(model):
        rows = discover(model, batch)
        push(
            model,
            rows.layers,
            batch,
            rows.chains[0],
            lambda tensor, number: u,
            lambda layer, argument, z, tangent, second: seen.__setitem__(layer.name, tangent),
        )
    torch.testing.assert_close(seen["table"], u, rtol=1e-3, atol=1e-4)
    expected = u.mean(dim=1) @ model.head.weight.detach().T
    torch.testing.assert_close(seen["head"], expected, rtol=1e-3, atol=1e-4)


def test_random_numbers_belong_to_the_sample_and_not_to_the_chunk():
    like = torch.zeros(1)
    whole = gaussian(torch.Size((6, 4, 3)), like, seed=(1, 2), first=0)
    part = gaussian(torch.Size((2, 4, 3)), like, seed=(1, 2), first=3)
    assert torch.equal(whole[3:5], part)
    assert not torch.equal(whole, gaussian(torch.Size((6, 4, 3)), like, seed=(1, 3), first=0))
    many = gaussian(torch.Size((100, 1000)), like, seed=(0,), first=0)
    assert float(many.mean()) == pytest.approx(0, abs=4 / 1e5**0.5)
    assert float(many.var()) == pytest.approx(1, abs=4 * (2e-5) ** 0.5)


class Products(nn.Module):
    """Linear maps in every spelling, with the input on either side, on both, and in the weights."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6))
        self.conv, self.up = nn.Conv1d(1, 2, 3, padding=1), nn.ConvTranspose1d(2, 1, 1)
        self.head = nn.Linear(6, 6)

    def forward(self, x):
        x = torch.addmm(self.b, x, self.a) + x @ self.a + torch.mm(x, self.a) + x.matmul(self.a)
        x = x + (self.a @ x.T).T + torch.bmm(x[None], self.a[None])[0] + torch.addmm(x, x, self.a)
        x = x + self.up(self.conv(x[:, None]))[:, 0] + (x @ x.T) @ x
        x = x + F.linear(x, self.a * x.mean(), bias=self.b) + F.linear(x, self.a, bias=self.b)
        return self.head(x)


def test_products_have_the_tangents_that_torch_gives_them():
    torch.manual_seed(0)
    model = Products().double()
    x, u = torch.randn(2, 4, 6, dtype=torch.float64)
    batch, seen = as_batch(model, x), {}
    with untouched(model):
        rows = discover(model, batch)
        push_forward(
            model,
            rows.layers,
            batch.take(0, 4),
            rows.chains[0],
            lambda tensor, number: u.clone(),
            lambda layer, argument, z, tangent, second: seen.__setitem__(layer.name, tangent.clone()),
        )
    expected = torch.func.jvp(model, (x,), (u,))[1]
    torch.testing.assert_close(seen["head"], expected.detach(), rtol=1e-12, atol=1e-12)
