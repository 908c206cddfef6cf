"""Gates, candidate and cell state of torch's recurrent modules, from inputs and hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from phasescope.errors import InputError

_CACHED = 2**18  # hidden values of a stretch of time, so that what is made of them stays in the cache


@dataclass(frozen=True)
class Track:
    """What one layer and direction of a recurrent module did in a stretch of time."""

    name: str  # ``l0``, ``l0_reverse``, ``l1``, ... as torch names the weights
    # Each of shape (time, sequence, unit), in the order of the words even where the direction is reversed.
    quantities: dict[str, Tensor]
    lengths: Tensor | None  # time steps of each sequence, where they came packed
    mismatch: float  # largest difference of the hidden state made from the quantities to the module's own
    start: int  # first time step of the stretch
    steps: int  # time steps of the whole call


def tracks(
    module: nn.RNNBase, args: tuple[Any, ...], output: Any, preactivations: bool = False
) -> Iterator[Track]:
    r"""Yield gates, candidate, cell and hidden state of each layer and direction of one call of a module.

    The module is in evaluation mode, so that there is no dropout between its layers.

    Given :math:`h_{t-1}`, the gates of all time steps are one matrix product. The cell state of an LSTM,
    :math:`c_t = f_t c_{t-1} + i_t g_t`, is then a linear recursion without products of matrices, which is
    followed step by step: nothing is divided or inverted, so that it is exact to rounding where gates
    saturate.

    Notes
    -----
    Hidden states of the last layer are the module's own; those of the layers below are run once more, layer
    by layer, since torch does not return them. Time and memory grow with (time x sequence x unit). Each layer
    and direction comes in stretches of time small enough for the cache; a reversed direction of packed
    sequences, each turned within its own length, as a whole.
    """
    x, lengths = _padded(args[0], module.batch_first)
    if x.ndim != 3:
        raise InputError(
            f"{type(module).__name__} was called with one sequence of shape {tuple(args[0].shape)}.",
            "Add an axis of sequences: x[None] with batch_first=True, x[:, None] without.",
        )
    own, _ = _padded(output[0], module.batch_first)
    states = _initial(module, args, x)
    directions = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(directions):
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            start = [state[layer * directions + direction] for state in states]
            weights = _weights(module, suffix)
            inputs = _turned(x, lengths) if direction else x
            if layer == module.num_layers - 1:
                hidden = own.chunk(directions, dim=-1)[direction]
                hidden = _turned(hidden, lengths) if direction else hidden
            else:
                hidden = _hidden(module, inputs, start, weights)
            outputs.append(_turned(hidden, lengths) if direction else hidden)
            cell = _Cell(module, weights, start)
            for first, stop in _stretches(hidden, whole=bool(direction) and lengths is not None):
                quantities, error = cell.run(inputs[first:stop], hidden[first:stop], preactivations)
                if lengths is not None:
                    error.masked_fill_(_beyond(lengths, stop)[:, first:].T.to(error.device), 0.0)
                if direction:
                    quantities = {name: _turned(q, lengths) for name, q in quantities.items()}
                    first = len(x) - stop
                elif layer == 0:
                    quantities = {"input": x[first:stop], **quantities}
                yield Track(suffix, quantities, lengths, float(error.amax()), first, len(x))
        x = torch.cat(outputs, dim=-1)


def _padded(value: Tensor | PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor | None]:
    """Return sequences as (time, sequence, unit), and their lengths where they were packed."""
    if isinstance(value, PackedSequence):
        return pad_packed_sequence(value)
    return (value.transpose(0, 1) if batch_first else value), None


def _beyond(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask of shape (sequence, time) that is true after the end of each sequence."""
    return torch.arange(steps, device=lengths.device) >= lengths[:, None]


def _stretches(hidden: Tensor, *, whole: bool) -> Iterator[tuple[int, int]]:
    steps = len(hidden) if whole else max(1, _CACHED // hidden[0].numel())
    for first in range(0, len(hidden), steps):
        yield first, min(first + steps, len(hidden))


def _initial(module: nn.RNNBase, args: tuple[Any, ...], x: Tensor) -> list[Tensor]:
    given = args[1] if len(args) > 1 else None
    if given is not None:
        return list(given) if isinstance(given, tuple) else [given]
    rows = module.num_layers * (2 if module.bidirectional else 1)
    widths = [getattr(module, "proj_size", 0) or module.hidden_size]
    widths += [module.hidden_size] if isinstance(module, nn.LSTM) else []
    return [x.new_zeros(rows, x.shape[1], width) for width in widths]


def _weights(module: nn.RNNBase, suffix: str) -> list[Tensor]:
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if module.bias else [])]
    names += ["weight_hr"] if getattr(module, "proj_size", 0) else []
    return [getattr(module, f"{name}_{suffix}") for name in names]


def _turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    # Each sequence reversed within its own length; what lies behind its end stays there.
    if lengths is None:
        return x.flip(0)
    time = torch.arange(x.shape[0])[:, None]
    index = torch.where(time < lengths, lengths - 1 - time, time).to(x.device)
    return x.gather(0, index[:, :, None].expand_as(x))


def _hidden(module: nn.RNNBase, x: Tensor, start: list[Tensor], weights: list[Tensor]) -> Tensor:
    first = [state[None].contiguous() for state in start]
    state = tuple(first) if module.mode == "LSTM" else first[0]
    one_layer = (1, 0.0, False, False, False)  # layers, dropout, training, both directions, batch first
    function = getattr(torch, module.mode.lower())  # lstm, gru, rnn_tanh or rnn_relu
    output: Tensor = function(x, state, weights, module.bias, *one_layer)[0]
    return output


class _Cell:
    """One layer and direction, followed from stretch to stretch."""

    def __init__(self, module: nn.RNNBase, weights: list[Tensor], start: list[Tensor]) -> None:
        self.mode, self.weights = module.mode, weights[:2]
        self.biases: list[Tensor | None] = [*weights[2:4]] if module.bias else [None, None]
        self.projection = weights[-1] if getattr(module, "proj_size", 0) else None
        self.joined = torch.cat(self.weights, dim=1)
        self.bias = weights[2] + weights[3] if module.bias else None
        self.before, self.cell = start[0], start[-1]

    def run(self, x: Tensor, hidden: Tensor, preactivations: bool) -> tuple[dict[str, Tensor], Tensor]:
        """Return the quantities, and the difference to the hidden state at each step of each sequence."""
        before = torch.cat([self.before[None], hidden[:-1]])
        self.before = hidden[-1]
        if self.mode == "GRU":
            from_input, from_hidden = map(F.linear, (x, before), self.weights, self.biases)
            gates, entering, again = _gru(from_input, from_hidden, before)
        else:
            sums = F.linear(torch.cat([x, before], dim=-1), self.joined, self.bias)
            if self.mode == "LSTM":
                gates, entering, again = _lstm(sums, self.cell)
                self.cell = gates["cell"][-1]
            else:
                gates, entering = {}, {"hidden": sums}
                again = sums.tanh() if self.mode == "RNN_TANH" else sums.relu()
        if self.projection is not None:
            again = F.linear(again, self.projection)
        named = {f"{name}_preactivation": z for name, z in entering.items()} if preactivations else {}
        return {**gates, "hidden": hidden, **named}, (again - hidden).abs_().amax(dim=-1)


def _lstm(sums: Tensor, cell: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    names = ("input_gate", "forget_gate", "candidate", "output_gate")
    entering = dict(zip(names, sums.chunk(4, dim=-1), strict=True))
    gates = {name: z.tanh() if name == "candidate" else z.sigmoid() for name, z in entering.items()}
    cells = _followed(gates["forget_gate"], gates["input_gate"] * gates["candidate"], cell)
    return {**gates, "cell": cells}, entering, gates["output_gate"] * cells.tanh()


# One operator for whoever watches operators: its steps allocate nothing.
@torch.library.custom_op("phasescope::followed", mutates_args=())
def _followed(forget: Tensor, written: Tensor, cell: Tensor) -> Tensor:
    cells = torch.empty_like(written)
    for keep, new, out in zip(forget.unbind(), written.unbind(), cells.unbind(), strict=True):
        cell = torch.addcmul(new, keep, cell, out=out)
    return cells


def _gru(
    from_input: Tensor, from_hidden: Tensor, before: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    reset_x, update_x, new_x = from_input.chunk(3, dim=-1)
    reset_h, update_h, new_h = from_hidden.chunk(3, dim=-1)
    entering = {"reset_gate": reset_x + reset_h, "update_gate": update_x + update_h}
    gates = {name: z.sigmoid() for name, z in entering.items()}
    entering["candidate"] = torch.addcmul(new_x, gates["reset_gate"], new_h)
    gates["candidate"] = entering["candidate"].tanh()
    return gates, entering, torch.lerp(gates["candidate"], before, gates["update_gate"])
