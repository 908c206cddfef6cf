"""Gates and states of torch's recurrent modules, and the linear response of a step to the one before."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from phasescope.errors import InputError

_SHORT = 2**25  # products of numbers in a time step, below which one thread is faster
_BLOCK = 2**19  # hidden values worked on at a time: two megabytes of each gate
_CACHED = 2**18  # hidden values of a stretch of time, so that what is made of them stays in the cache
_STRETCH = 1024  # time steps of such a block


@dataclass(frozen=True)
class Track:
    """What one layer and direction of a recurrent module did: some of the sequences, in a stretch of time."""

    name: str  # ``l0``, ``l0_reverse``, ``l1``, ... as torch names the weights
    # Each of shape (sequence, unit, time); the next track is written to the same memory.
    quantities: dict[str, Tensor]
    lengths: Tensor | None  # time steps of each of the sequences, where they came packed
    mismatch: float  # largest difference of the hidden state made from the quantities to the module's own
    row: int  # first sequence of the track
    rows: int  # sequences of the whole call
    start: int  # first time step of the stretch
    steps: int  # time steps of the whole call


def tracks(
    module: nn.RNNBase, args: tuple[Any, ...], output: Any, preactivations: bool = False
) -> Iterator[Track]:
    r"""Yield gates, candidate, cell and hidden state of each layer and direction of one call of a module.

    Dropout is off, between its layers too, and so are gradients.

    Given :math:`h_{t-1}`, the gates of all time steps are one matrix product. The cell state of an LSTM,
    :math:`c_t = f_t c_{t-1} + i_t g_t`, is then a linear recursion without products of matrices, which is
    followed step by step: nothing is divided or inverted, so that it is exact to rounding where gates
    saturate.

    Notes
    -----
    Hidden states of the last layer are the module's own; those of the layers below are run once more, layer
    by layer, since torch does not return them. Each layer and direction comes in blocks of sequences small
    enough for the cache, a block in stretches of time. A reversed direction goes backwards through these; its
    quantities stand in the order of the words.
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
        last = layer == module.num_layers - 1
        for direction in range(directions):
            suffix = f"l{layer}" + ("_reverse" if direction else "")
            start = [state[layer * directions + direction] for state in states]
            weights = _weights(module, suffix)
            if last:
                hidden = own.chunk(directions, dim=-1)[direction]
            else:
                inputs = _turned(x, lengths) if direction else x
                hidden = _hidden(module, inputs, start, weights)
                hidden = _turned(hidden, lengths) if direction else hidden
                outputs.append(hidden)
            cell = _Cell(module, weights, backwards=bool(direction))
            for rows, stretches in _pieces(hidden, backwards=bool(direction)):
                cell.begin([state[rows] for state in start], None if lengths is None else lengths[rows])
                for stretch in stretches:
                    quantities, error = cell.run(
                        x[stretch, rows], hidden[stretch, rows], stretch.start, preactivations
                    )
                    if layer or direction:
                        del quantities["input"]
                    yield Track(
                        suffix, quantities, cell.lengths, error, rows.start, x.shape[1], stretch.start, len(x)
                    )
        x = x if last else torch.cat(outputs, dim=-1)


def _padded(value: Tensor | PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor | None]:
    """Return sequences as (time, sequence, unit), and their lengths where they were packed."""
    if isinstance(value, PackedSequence):
        return pad_packed_sequence(value)
    return (value.transpose(0, 1) if batch_first else value), None


def _beyond(lengths: Tensor, steps: int) -> Tensor:
    """Return a mask of shape (sequence, time) that is true after the end of each sequence."""
    return torch.arange(steps, device=lengths.device) >= lengths[:, None]


def _pieces(hidden: Tensor, *, backwards: bool) -> Iterator[tuple[slice, list[slice]]]:
    """Yield slices of sequences, and for each the slices of time in the order in which they are run."""
    steps, sequences, units = hidden.shape
    length = max(1, min(steps, _STRETCH, _BLOCK // units))
    stretches = [slice(first, min(first + length, steps)) for first in range(0, steps, length)]
    size = max(1, _BLOCK // (length * units))
    for first in range(0, sequences, size):
        yield slice(first, min(first + size, sequences)), stretches[::-1] if backwards else stretches


def _stretches(hidden: Tensor) -> Iterator[tuple[int, int]]:
    """Yield the first step of a stretch of time, short enough for the cache, and the step after it."""
    steps = max(1, _CACHED // hidden[0].numel())
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

    def __init__(self, module: nn.RNNBase, weights: list[Tensor], *, backwards: bool) -> None:
        self.mode, self.backwards = module.mode, backwards
        self.projection = weights[-1] if getattr(module, "proj_size", 0) else None
        from_input, from_hidden = weights[:2]
        biases = weights[2:4] if module.bias else [from_input.new_zeros(len(from_input))] * 2
        # For (input, hidden state before, 1), so that one product gives all that enters the gates.
        self.joined = torch.cat([from_input, from_hidden, (biases[0] + biases[1])[:, None]], dim=1)
        if self.mode == "GRU":
            # Of the candidate, what comes from the hidden state stands apart: the reset gate acts on it.
            units = module.hidden_size
            candidate, again = self.joined[2 * units :], self.joined[2 * units :].clone()
            features = from_input.shape[1]
            candidate[:, features:-1] = 0.0
            again[:, :features] = 0.0
            candidate[:, -1], again[:, -1] = (bias[2 * units :] for bias in biases)
            self.joined = torch.cat([self.joined, again])
        self._kept: dict[str, Tensor] = {}

    def begin(self, start: list[Tensor], lengths: Tensor | None) -> None:
        """Begin with some of the sequences at their initial states."""
        self.start, self.lengths = start, lengths
        self.before, self.cell = start[0], start[-1]

    def run(
        self, x: Tensor, hidden: Tensor, first: int, preactivations: bool
    ) -> tuple[dict[str, Tensor], float]:
        """Return the quantities of a stretch from step `first` on, and the difference to the hidden states.

        `x` and `hidden` have the shape (time, sequence, unit).
        """
        steps, rows, features = x.shape
        beyond = after = None  # whether a step, and the one after it, lie beyond the end of a sequence
        if self.lengths is not None:
            ends = _beyond(self.lengths, first + steps + 1)[:, first:].to(x.device)
            beyond, after = ends[:, :-1], ends[:, 1:]
        fields = self._space("fields", rows, self.joined.shape[1], steps)
        given, before = fields[:, :features], fields[:, features:-1]
        given.copy_(x.permute(1, 2, 0))
        fields[:, -1] = 1.0
        states = self._space("hidden", rows, hidden.shape[2], steps).copy_(hidden.permute(1, 2, 0))
        if self.backwards:
            before[:, :, :-1], before[:, :, -1] = states[:, :, 1:], self.before
            if after is not None:  # each sequence begins at its own end
                before.copy_(torch.where(after[:, None], self.start[0][:, :, None], before))
            self.before = states[:, :, 0].clone()
        else:
            before[:, :, 1:], before[:, :, 0] = states[:, :, :-1], self.before
            self.before = states[:, :, -1].clone()
        sums = self._space("sums", rows, len(self.joined), steps)
        torch.bmm(self.joined.expand(rows, -1, -1), fields, out=sums)
        if self.mode == "LSTM":
            found, again = self._lstm(sums, beyond, preactivations)
        elif self.mode == "GRU":
            found, again = _gru(sums, before, preactivations)
        else:
            found = {"hidden_preactivation": sums.clone()} if preactivations else {}
            again = sums.tanh_() if self.mode == "RNN_TANH" else sums.relu_()
        if self.projection is not None:
            again = self.projection @ again
        error = again.sub_(states).abs_().amax(dim=1)
        if beyond is not None:
            error.masked_fill_(beyond, 0.0)
        return {"input": given, **found, "hidden": states}, float(error.amax())

    def _lstm(
        self, sums: Tensor, beyond: Tensor | None, preactivations: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        parts = sums.chunk(4, dim=1)
        found = dict(zip(("input_gate", "forget_gate", "candidate", "output_gate"), parts, strict=True))
        entering = _entering(found) if preactivations else {}
        enter, forget, candidate, leave = parts
        sums[:, : 2 * forget.shape[1]].sigmoid_()
        candidate.tanh_()
        leave.sigmoid_()
        cells = torch.mul(enter, candidate, out=self._space("cells", *forget.shape))
        rows, units, steps = forget.shape
        # The recursion runs through memory that is contiguous at each step.
        keep = self._space("keep", rows, steps, units).copy_(forget.transpose(1, 2))
        states = self._space("states", rows, steps, units).copy_(cells.transpose(1, 2))
        if beyond is not None and self.backwards:
            keep.masked_fill_(beyond[:, :, None], 1.0)
            states.masked_fill_(beyond[:, :, None], 0.0)
        _follow(keep.transpose(0, 1), states.transpose(0, 1), self.cell, self.backwards)
        self.cell = states[:, 0 if self.backwards else -1].clone()
        cells.copy_(states.transpose(1, 2))
        # tanh(c) = 2 / (1 + exp(-2 c)) - 1 is wrong by rounding alone, and five times as fast.
        again = torch.mul(cells, 2.0, out=self._space("again", *cells.shape))
        return {**found, "cell": cells, **entering}, again.sigmoid_().mul_(2.0).sub_(1.0).mul_(leave)

    def _space(self, name: str, *shape: int) -> Tensor:
        # The same memory for all blocks: fresh pages would take as long as the work.
        size = math.prod(shape)
        if name not in self._kept or self._kept[name].numel() < size:
            self._kept[name] = self.joined.new_empty(size)
        return self._kept[name][:size].view(shape)


def _entering(sums: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}_preactivation": z.clone() for name, z in sums.items()}


# One operator for whoever watches operators: its steps allocate nothing.
@torch.library.custom_op("phasescope::follow", mutates_args=("states",))
def _follow(forget: Tensor, states: Tensor, cell: Tensor, backwards: bool) -> None:
    """Add ``forget`` times the state before to each of `states`, of shape (time, sequence, unit)."""
    steps = list(zip(forget.unbind(), states.unbind(), strict=True))
    for keep, state in reversed(steps) if backwards else steps:
        cell = torch.addcmul(state, keep, cell, out=state)


def _gru(sums: Tensor, before: Tensor, preactivations: bool) -> tuple[dict[str, Tensor], Tensor]:
    reset, update, candidate, again = sums.chunk(4, dim=1)
    found = {"reset_gate": reset, "update_gate": update}
    entering = _entering(found) if preactivations else {}
    sums[:, : 2 * reset.shape[1]].sigmoid_()
    candidate.addcmul_(reset, again)
    entering |= _entering({"candidate": candidate}) if preactivations else {}
    candidate.tanh_()
    return {**found, "candidate": candidate, **entering}, torch.lerp(candidate, before, update)


OPERATORS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
"""The operators of torch behind ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``, by their names."""

State = tuple[Tensor, ...]
"""The hidden state, and behind it the cell state of an LSTM."""


@torch.no_grad()
def push_recurrent(
    operator: str, args: tuple[Any, ...], tangents: Sequence[Tensor | None]
) -> tuple[State, State]:
    """Return what a recurrent operator of torch returns, and the tangents of each of these tensors.

    `operator` is one of ``OPERATORS``, `args` are those of ``torch.lstm`` and its like without tangents, in
    the padded form or in the packed one (data, batch sizes, ...). `tangents` are those of the input and of
    each initial state; None stands for zero, also of a tangent that comes out. Weights have none.
    """
    call = RecurrentCall.of(operator, args)
    with one_thread(call.weights[0][1].numel() * call.x.shape[1]):
        return _pushed(call, tangents)


def _pushed(call: RecurrentCall, tangents: Sequence[Tensor | None]) -> tuple[State, State]:
    x, dx = call.x, call.padded(tangents[0])
    ends: list[State] = []
    pushed_ends: list[State] = []
    for layer in range(call.layers):
        outputs, pushed = [], []
        for direction in range(call.directions):
            row = layer * call.directions + direction
            linear = call.linearised(row, x)
            start = tuple(
                torch.zeros_like(state[row]) if tangent is None else tangent[row]
                for state, tangent in zip(call.states, tangents[1:], strict=True)
            )
            along = linear.followed(start, None if dx is None else linear.drive(dx))
            outputs.append(linear.in_order(linear.hidden))
            pushed.append(linear.in_order(along[0]))
            ends.append(tuple(map(linear.at_end, linear.states)))
            pushed_ends.append(tuple(map(linear.at_end, along)))
        x, dx = torch.cat(outputs, dim=-1), torch.cat(pushed, dim=-1)
    assert dx is not None
    last = (torch.stack(states) for states in zip(*ends, strict=True))
    pushed_last = (torch.stack(states) for states in zip(*pushed_ends, strict=True))
    return (call.as_given(x), *last), (call.as_given(dx), *pushed_last)


@contextmanager
def one_thread(products: int) -> Iterator[None]:
    """Work with one thread where a time step is so short that threads would only wait for each other."""
    threads = torch.get_num_threads()
    try:
        if products < _SHORT:
            torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class RecurrentCall:
    """The arguments of a recurrent operator."""

    operator: str
    x: Tensor  # (time, sequence, feature), padded
    lengths: Tensor | None  # time steps of each sequence, where they came packed
    states: State  # each of shape (layer and direction, sequence, unit)
    weights: list[list[Tensor]]  # of each layer and direction, as torch orders them
    biased: bool
    layers: int
    directions: int
    batch_first: bool

    @classmethod
    def of(cls, operator: str, args: tuple[Any, ...]) -> RecurrentCall:
        """Read the arguments of ``torch.lstm`` and its like."""
        packed = isinstance(args[3], (list, tuple))  # elsewhere it says whether there are biases
        data, sizes, rest = (args[0], args[1], args[2:]) if packed else (args[0], None, args[1:])
        given, flat, biased, layers, dropout, training, bidirectional = rest[:7]
        if dropout and training and layers > 1:
            raise NotImplementedError("dropout between the layers of a recurrent module in training mode")
        rows = layers * (2 if bidirectional else 1)
        each = len(flat) // rows
        batch_first = False if packed else bool(rest[7])
        x, lengths = _padded(PackedSequence(data, sizes) if packed else data, batch_first)
        return cls(
            operator,
            x,
            lengths,
            tuple(given) if isinstance(given, (list, tuple)) else (given,),
            [list(flat[row * each : (row + 1) * each]) for row in range(rows)],
            bool(biased),
            layers,
            2 if bidirectional else 1,
            batch_first,
        )

    def padded(self, tangent: Tensor | None) -> Tensor | None:
        """Return a tangent of the input as (time, sequence, feature)."""
        if tangent is None or self.lengths is None:
            return tangent.transpose(0, 1) if tangent is not None and self.batch_first else tangent
        return pad_packed_sequence(PackedSequence(tangent, self._sizes()))[0]

    def as_given(self, x: Tensor) -> Tensor:
        """Return (time, sequence, unit) in the layout of the input."""
        if self.lengths is None:
            return x.transpose(0, 1) if self.batch_first else x
        return pack_padded_sequence(x, self.lengths).data

    def linearised(self, row: int, x: Tensor) -> Linearised:
        """Run a layer and direction on its input (time, sequence, feature), in the order of the words."""
        start = tuple(state[row] for state in self.states)
        reversed_ = row % self.directions == 1
        return Linearised(self.operator, self.weights[row], self.biased, x, start, self.lengths, reversed_)

    def _sizes(self) -> Tensor:
        assert self.lengths is not None
        return (self.lengths[:, None] > torch.arange(len(self.x))).sum(dim=0)


class Linearised:
    r"""One layer and direction of a call, and the linear response of each step to the step before.

    With :math:`g = U\,dh_{t-1} + W\,dx_t` in the blocks of the gates and coefficients k, f, q of each step,

    - RNN: :math:`dh_t = k g`;
    - GRU: :math:`dh_t = f\,dh_{t-1} + k_r g_r + k_u g_u + k_n g_n`, f being the update gate;
    - LSTM: :math:`dc_t = f\,dc_{t-1} + k_i g_i + k_f g_f + k_g g_g`,
      :math:`dh_t = P\,(k_o g_o + q\,dc_t)`, f being the forget gate and P the projection, if any.

    A reversed direction runs here in its own order of time, each sequence turned within its own length.
    """

    def __init__(
        self,
        operator: str,
        weights: list[Tensor],
        biased: bool,
        x: Tensor,
        start: State,
        lengths: Tensor | None,
        reversed_: bool,
    ) -> None:
        self.operator, self.start, self.lengths, self.reversed = operator, start, lengths, reversed_
        self.from_input, self.from_hidden = weights[:2]
        self.projection = weights[-1] if len(weights) % 2 else None
        self.x = _turned(x, lengths) if reversed_ else x
        first = tuple(state[None].contiguous() for state in start)
        one_layer = (biased, 1, 0.0, False, False, False)  # biases, layers, dropout, training, ways, batch
        given = first if operator == "lstm" else first[0]
        self.hidden: Tensor = getattr(torch, operator)(self.x, given, weights, *one_layer)[0]
        self.keep: Tensor | None = None  # f
        self.through: Tensor | None = None  # q
        self.states: State = (self.hidden,)
        if operator == "rnn_tanh":
            self.response = self.driven = 1.0 - self.hidden.square()
            return
        if operator == "rnn_relu":
            self.response = self.driven = (self.hidden > 0).to(self.hidden.dtype)
            return
        bias = weights[2:4] if biased else [None, None]
        before = torch.cat([first[0], self.hidden[:-1]])
        stretches = []
        cell = start[-1]
        for one, stop in _stretches(self.hidden):
            from_input = F.linear(self.x[one:stop], self.from_input, bias[0])
            from_hidden = F.linear(before[one:stop], self.from_hidden, bias[1])
            if operator == "lstm":
                stretches.append(_lstm_slopes(from_input.add_(from_hidden), cell))
                cell = stretches[-1][-1][-1]
            else:
                stretches.append(_gru_slopes(from_input, from_hidden, before[one:stop]))
        joined = [parts[0] if len(parts) == 1 else torch.cat(parts) for parts in zip(*stretches, strict=True)]
        self.response, self.keep = joined[:2]
        if operator == "lstm":
            self.driven, self.through = self.response, joined[2]
            self.states = (self.hidden, joined[3])
        else:
            self.driven = joined[2]

    def drive(self, dx: Tensor) -> Tensor:
        """Return what a tangent of the input, in the order of the words, brings to each step."""
        own = _turned(dx, self.lengths) if self.reversed else dx
        return F.linear(own, self.from_input).mul_(self.driven)

    def push(self, step: int, state: State, drive: Tensor | None = None) -> State:
        """Return the tangent of the state after a step, from that before it: (..., sequence, unit)."""
        entering = F.linear(state[0], self.from_hidden)
        change = entering.mul_(self.response[step])
        if drive is not None:
            change.add_(drive)
        if self.keep is None:
            return (change,)
        if self.through is None:
            return (_blocks(change, 3).sum(dim=-2).addcmul_(self.keep[step], state[0]),)
        blocks = _blocks(change, 4)
        cell = blocks[..., :3, :].sum(dim=-2).addcmul_(self.keep[step], state[1])
        hidden = torch.addcmul(blocks[..., 3, :], self.through[step], cell)
        return (hidden if self.projection is None else F.linear(hidden, self.projection)), cell

    def pull(self, step: int, state: State) -> State:
        """Return the cotangent of the state before a step, from that after it: the adjoint of `push`."""
        hidden = state[0] if self.projection is None else state[0] @ self.projection
        if self.keep is None:
            return ((hidden * self.response[step]) @ self.from_hidden,)
        if self.through is None:
            spread = hidden.repeat(*(1,) * (hidden.ndim - 1), 3).mul_(self.response[step])
            return (torch.addcmul(spread @ self.from_hidden, self.keep[step], hidden),)
        cell = torch.addcmul(state[1], self.through[step], hidden)
        spread = torch.cat([cell, cell, cell, hidden], dim=-1).mul_(self.response[step])
        return spread @ self.from_hidden, cell * self.keep[step]

    def followed(self, start: State, drive: Tensor | None) -> State:
        """Return the tangents (time, sequence, unit) of all states, in the layer's own order of time."""
        state, along = start, []
        for step in range(len(self.hidden)):
            state = self.push(step, state, None if drive is None else drive[step])
            along.append(state)
        return tuple(torch.stack(states) for states in zip(*along, strict=True))

    def in_order(self, values: Tensor) -> Tensor:
        """Return values of all steps in the order of the words."""
        return _turned(values, self.lengths) if self.reversed else values

    def at_end(self, values: Tensor) -> Tensor:
        """Return the values at the last step of each sequence."""
        if self.lengths is None:
            return values[-1]
        return values[(self.lengths - 1).to(values.device), torch.arange(values.shape[1])]


def _lstm_slopes(sums: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
    """Return k, f, q and the cell states of a stretch of time."""
    gates = sums.chunk(4, dim=-1)
    i, f, o = (gates[place].sigmoid() for place in (0, 1, 3))
    g = gates[2].tanh()
    cells = i * g
    _follow(f, cells, cell, backwards=False)
    before = torch.cat([cell[None], cells[:-1]])
    squashed = cells.tanh()
    slopes = (g * i * (1 - i), before * f * (1 - f), i * (1 - g.square()), squashed * o * (1 - o))
    return torch.cat(slopes, dim=-1), f, o * (1 - squashed.square()), cells


def _gru_slopes(from_input: Tensor, from_hidden: Tensor, before: Tensor) -> tuple[Tensor, ...]:
    """Return k, f and k of the input of a stretch of time; the two k differ behind the reset gate."""
    reset_x, update_x, new_x = from_input.chunk(3, dim=-1)
    reset_h, update_h, new_h = from_hidden.chunk(3, dim=-1)
    r, u = (reset_x + reset_h).sigmoid(), (update_x + update_h).sigmoid()
    n = torch.addcmul(new_x, r, new_h).tanh()
    slope = (1 - u) * (1 - n.square())
    of_gates = (slope * new_h * r * (1 - r), (before - n) * u * (1 - u))
    return torch.cat([*of_gates, slope * r], dim=-1), u, torch.cat([*of_gates, slope], dim=-1)


def _blocks(values: Tensor, count: int) -> Tensor:
    return values.reshape(*values.shape[:-1], count, values.shape[-1] // count)
