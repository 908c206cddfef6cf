"""A recurrent module whose input is held, as a state under a knob: its input, or its recurrent weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from phasescope.errors import InputError

KNOBS = ("input bias", "recurrent gain")
_MOST = 2**22  # numbers of the inputs from which their main direction is found

_State = tuple[Tensor, ...]
_Layer = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


class InputLine:
    """The line along which the real inputs of a module vary most, and how far they reach on it."""

    def __init__(self, calls: list[Tensor]) -> None:
        inputs = torch.cat(calls).double().cpu()
        if not bool(torch.isfinite(inputs).all()):
            raise InputError("Its inputs are NaN or infinite.", "Pass a batch that the model can take.")
        every = math.ceil(inputs.numel() / _MOST)
        self.mean = inputs.mean(dim=0)
        some = inputs[::every] - self.mean
        if len(some) < some.shape[1]:
            axis = some.T @ torch.linalg.eigh(some @ some.T)[1][:, -1]
        else:
            axis = torch.linalg.eigh(some.T @ some)[1][:, -1]
        norm = float(axis.norm())
        self.axis = axis / norm if norm > 0 else axis
        self.axis = self.axis * torch.sign(self.axis[self.axis.abs().argmax()])
        along = inputs @ self.axis
        self.low, self.high = float(along.min()), float(along.max())

    @property
    def varies(self) -> bool:
        """Whether the inputs differ."""
        return self.high - self.low > 1e-9 * max(abs(self.high), abs(self.low))

    @classmethod
    def rows(cls, given: Any) -> Tensor:
        """Return what a module was called with as (row, feature)."""
        data = given.data if isinstance(given, PackedSequence) else given
        return data.detach().reshape(-1, data.shape[-1])


class HeldNetwork:
    r"""The state of ``nn.RNN``, ``nn.GRU``, ``nn.LSTM`` or a cell, all layers and directions as one.

    With the line :math:`x(v) = \bar x + (v - \bar x \cdot u) u` the knob "input bias" is v; with the input
    held at the mean, the knob "recurrent gain" multiplies the recurrent weights, biases left as they are.
    """

    def __init__(self, module: nn.Module, line: InputLine, knob: str) -> None:
        self.knob = knob
        self.layers = _layers(module)
        self.directions = 2 if getattr(module, "bidirectional", False) else 1
        self.kind = "lstm" if "LSTM" in _family(module) else "gru" if "GRU" in _family(module) else "rnn"
        self.relu = getattr(module, "nonlinearity", "tanh") == "relu"
        self.hidden = [w_hh.shape[1] for _, w_hh, _, _, _ in self.layers]
        like = self.layers[0][0]
        mean, axis = line.mean.to(like), line.axis.to(like)
        first = [(w_ih, b_ih) for w_ih, _, b_ih, _, _ in self.layers[: self.directions]]
        at_zero = mean - (mean @ axis) * axis
        held = at_zero if knob == KNOBS[0] else mean
        self.drives = [F.linear(held, w, b) for w, b in first]
        self.along = [w @ axis for w, _ in first]

    @property
    def finite(self) -> bool:
        """Whether all weights are."""
        return all(bool(torch.isfinite(w).all()) for layer in self.layers for w in layer if w is not None)

    @property
    def state_size(self) -> int:
        """Numbers in the state of one row."""
        cells = sum(layer[0].shape[0] // 4 for layer in self.layers) if self.kind == "lstm" else 0
        return sum(self.hidden) + cells

    def start(self, rows: int, seed: int) -> _State:
        """Return random states: hidden values even in (-1, 1), with ReLU in (0, 1), and normal cells."""
        random, like = torch.Generator().manual_seed(seed), self.layers[0][0]
        made = []
        for size, layer in zip(self.hidden, self.layers, strict=True):
            hidden = torch.rand(rows, size, generator=random, dtype=torch.float64)
            made.append((hidden if self.relu else 2 * hidden - 1).to(like))
            if self.kind == "lstm":
                cell = torch.randn(rows, layer[0].shape[0] // 4, generator=random, dtype=torch.float64)
                made.append(cell.to(like))
        return tuple(made)

    def read(self, state: _State) -> Tensor:
        """Return the hidden values of all layers."""
        return torch.cat(state[::2] if self.kind == "lstm" else state, dim=1)

    def step(self, state: _State, value: Tensor) -> _State:
        """Return the state one step later."""
        gain = value if self.knob == KNOBS[1] else 1.0
        after: list[Tensor] = []
        below: list[Tensor] = []
        for number, layer in enumerate(self.layers):
            level, direction = divmod(number, self.directions)
            if level and not direction:
                x, below = torch.cat(below, dim=1), []
            if level:
                drive = F.linear(x, layer[0], layer[2])
            elif self.knob == KNOBS[0]:
                drive = torch.addcmul(self.drives[direction], value, self.along[direction])
            else:
                drive = self.drives[direction]
            own = state[2 * number : 2 * number + 2] if self.kind == "lstm" else state[number : number + 1]
            made = self._cell(layer, own, drive, gain)
            below.append(made[0])
            after += made
        return tuple(after)

    def _cell(self, layer: _Layer, state: _State, drive: Tensor, gain: Tensor | float) -> _State:
        _, w_hh, _, b_hh, w_hr = layer
        fed = F.linear(state[0] * gain, w_hh, b_hh)
        if self.kind == "rnn":
            return ((drive + fed).relu() if self.relu else (drive + fed).tanh(),)
        if self.kind == "gru":
            (r_x, u_x, n_x), (r_h, u_h, n_h) = drive.chunk(3, dim=-1), fed.chunk(3, dim=-1)
            u, n = (u_x + u_h).sigmoid(), (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
            return (n + u * (state[0] - n),)
        i, f, g, o = (drive + fed).chunk(4, dim=-1)
        cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        return (hidden if w_hr is None else F.linear(hidden, w_hr)), cell


def _family(module: nn.Module) -> str:
    return next(base.__name__ for base in type(module).__mro__ if base.__module__ == "torch.nn.modules.rnn")


def _layers(module: nn.Module) -> list[_Layer]:
    """Return the weights of each layer and direction, in single precision at least."""
    suffixes = [""]
    if isinstance(module, nn.RNNBase):
        ways = ["", "_reverse"] if module.bidirectional else [""]
        suffixes = [f"_l{layer}{way}" for layer in range(module.num_layers) for way in ways]

    def weight(name: str) -> Any:
        found = getattr(module, name, None)
        return None if found is None else found.detach().to(torch.promote_types(found.dtype, torch.float32))

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    return [tuple(weight(f"{name}{suffix}") for name in names) for suffix in suffixes]
