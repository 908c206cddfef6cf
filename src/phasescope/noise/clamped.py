"""A recurrent module in which the state of one unit is a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from phasescope.errors import InputError


class Clamped:
    """A stand-in for a recurrent module, whose ``forward`` keeps one unit of one layer at a value.

    Notes
    -----
    A state h_j that is constant enters the gates of its own layer as ``U[:, j] h_j`` and those of the next
    layer as ``W[:, j] h_j``: both columns go into the biases, exactly. What leaves the module, outputs and
    last states, holds the value as well. The cell state of the unit, which then acts on nothing, is left.
    """

    def __init__(self, module: nn.RNNBase, track: str) -> None:
        kind: Any = {"LSTM": nn.LSTM, "GRU": nn.GRU}.get(module.mode, nn.RNN)
        if type(module).forward is not kind.forward:
            raise InputError(
                f"{type(module).__name__} has a forward pass of its own.",
                f"Use nn.{kind.__name__} itself, or a module around it.",
            )
        options: dict[str, Any] = {"proj_size": module.proj_size} if module.mode == "LSTM" else {}
        if kind is nn.RNN:
            options["nonlinearity"] = module.mode.removeprefix("RNN_").lower()
        self.module = module
        self.stand_in: nn.RNNBase = kind(
            module.input_size,
            module.hidden_size,
            num_layers=module.num_layers,
            batch_first=module.batch_first,
            bidirectional=module.bidirectional,
            device=module.weight_ih_l0.device,
            dtype=module.weight_ih_l0.dtype,
            **options,
        ).eval()
        self.layer = int(track.removesuffix("_reverse").removeprefix("l"))
        self.reverse = track.endswith("_reverse")
        self.track = track
        self.width = module.proj_size or module.hidden_size

    def forward(self, unit: int, value: float) -> Callable[..., Any]:
        """Return the forward pass with a unit at a value, until the next call."""
        for name, parameter in self.stand_in.named_parameters():
            own = getattr(self.module, name, None)
            parameter.data.copy_(own.data) if own is not None else parameter.data.zero_()
        self._hold(self.track, "hh", unit, value)
        place = unit + self.reverse * self.width
        last = self.layer == self.module.num_layers - 1
        if not last:
            for direction in ("", "_reverse")[: 1 + self.module.bidirectional]:
                self._hold(f"l{self.layer + 1}{direction}", "ih", place, value)
        row = self.layer * (1 + self.module.bidirectional) + self.reverse

        def run(*args: Any, **kwargs: Any) -> Any:
            output, state = self.stand_in(*args, **kwargs)
            states = tuple(part.clone() for part in (state if isinstance(state, tuple) else (state,)))
            states[0][row, ..., unit] = value
            if last:
                values = output.data if isinstance(output, PackedSequence) else output
                values[..., place] = value
            return output, states if isinstance(state, tuple) else states[0]

        return run

    def _hold(self, suffix: str, which: str, column: int, value: float) -> None:
        weight: Tensor = getattr(self.stand_in, f"weight_{which}_{suffix}").data
        bias: Tensor = getattr(self.stand_in, f"bias_{which}_{suffix}").data
        torch.add(bias, weight[:, column], alpha=value, out=bias)
        weight[:, column] = 0.0
