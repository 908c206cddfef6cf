"""The linear response of recurrent operators, against torch's own derivatives in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.overrides import TorchFunctionMode

from phasescope.recording.recurrent import OPERATORS, RecurrentCall, push_recurrent

BUILDS = {
    "lstm": lambda **k: nn.LSTM(3, 4, **k),
    "lstm projected": lambda **k: nn.LSTM(3, 4, proj_size=2, **k),
    "gru": lambda **k: nn.GRU(3, 4, **k),
    "rnn tanh": lambda **k: nn.RNN(3, 4, **k),
    "rnn relu": lambda **k: nn.RNN(3, 4, nonlinearity="relu", **k),
}
SHAPES = {
    "one layer": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True},
    "no bias, batch first": {"bias": False, "batch_first": True, "num_layers": 2},
}


class _Seen(TorchFunctionMode):
    """Keeps the recurrent operator that was called, and what it was called with."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in OPERATORS:
            self.operator, self.function, self.args = func.__name__, func, args
        return func(*args, **(kwargs or {}))


def _double(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.double().parameters():
        parameter.requires_grad_(False)
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.7)
    return module.eval()


def _call(module: nn.RNNBase, *, packed: bool, state: bool) -> tuple[str, object, tuple]:
    """The operator of a call with an input of five steps and three sequences, and its arguments."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn((3, 5, 3) if module.batch_first else (5, 3, 3), generator=generator).double()
    if packed:
        x = pack_padded_sequence(x, torch.tensor([2, 5, 4]), module.batch_first, enforce_sorted=False)
    rows = module.num_layers * (2 if module.bidirectional else 1)
    widths = [getattr(module, "proj_size", 0) or 4, *([4] if isinstance(module, nn.LSTM) else [])]
    given = tuple(torch.randn(rows, 3, width, generator=generator).double() for width in widths)
    with _Seen() as seen:
        module(x, (given if len(given) > 1 else given[0]) if state else None)
    return seen.operator, seen.function, seen.args


def _by_double_backward(function, args, packed: bool, inputs, tangents):
    """What the operator returns, and its tangents: the derivative of the backward pass along them."""
    inputs = [one.clone().requires_grad_(True) for one in inputs]
    given = inputs[1] if len(inputs) == 2 else tuple(inputs[1:])
    output, *states = function(inputs[0], *args[1 : 1 + packed], given, *args[2 + packed :])
    returned = [output, *states]
    cotangents = [torch.zeros_like(one, requires_grad=True) for one in returned]
    pulled = torch.autograd.grad(returned, inputs, cotangents, create_graph=True)
    return returned, torch.autograd.grad(pulled, cotangents, tangents)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("build", BUILDS)
def test_the_pushed_tangent_is_torchs_own(build, shape, packed):
    module = _double(BUILDS[build](**SHAPES[shape]))
    operator, function, args = _call(module, packed=packed, state=True)
    inputs = [args[0], *(args[1 + packed] if operator == "lstm" else args[1 + packed : 2 + packed])]
    generator = torch.Generator().manual_seed(2)
    tangents = [torch.randn(one.shape, generator=generator).double() for one in inputs]
    expected = _by_double_backward(function, args, packed, inputs, tangents)
    got = push_recurrent(operator, args, tangents)
    for ours, torchs in zip(got, expected, strict=True):
        for a, b in zip(ours, torchs, strict=True):
            assert a.shape == b.shape
            assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("build", BUILDS)
def test_a_tangent_that_is_none_counts_as_zero(build):
    operator, _, args = _call(_double(BUILDS[build]()), packed=False, state=True)
    states = len(args[1]) if operator == "lstm" else 1
    u = torch.randn(args[0].shape, generator=torch.Generator().manual_seed(3)).double()
    zeros = [torch.zeros_like(s) for s in (args[1] if operator == "lstm" else args[1:2])]
    left_out = push_recurrent(operator, args, [u, *[None] * states])[1]
    written = push_recurrent(operator, args, [u, *zeros])[1]
    assert all(torch.equal(a, b) for a, b in zip(left_out, written, strict=True))
    assert not push_recurrent(operator, args, [None] * (1 + states))[1][0].any()


@pytest.mark.parametrize("build", BUILDS)
def test_pulling_back_is_the_adjoint_of_pushing(build):
    operator, _, args = _call(_double(BUILDS[build]()), packed=False, state=True)
    call = RecurrentCall.of(operator, args)
    linear = call.linearised(0, call.x)
    generator = torch.Generator().manual_seed(4)
    u = tuple(torch.randn(2, *s[0].shape, generator=generator).double() for s in call.states)
    v = tuple(torch.randn(2, *s[0].shape, generator=generator).double() for s in call.states)
    pushed, pulled = u, v
    for step in range(5):
        pushed = linear.push(step, pushed)
        pulled = linear.pull(4 - step, pulled)
    left = sum((a * b).sum(dim=(-2, -1)) for a, b in zip(v, pushed, strict=True))
    right = sum((a * b).sum(dim=(-2, -1)) for a, b in zip(pulled, u, strict=True))
    assert torch.allclose(left, right, rtol=1e-12)
    assert left.abs().min() > 0


def test_dropout_between_layers_is_refused():
    module = _double(nn.LSTM(3, 4, 2, dropout=0.5)).train()
    with _Seen() as seen:
        module(torch.zeros(5, 3, 3).double())
    with pytest.raises(NotImplementedError, match="dropout"):
        push_recurrent(seen.operator, seen.args, [seen.args[0], None, None])
