"""The networks of the study: an embedding, a sequence model, and a linear read-out."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phasescope.papers.noise.sequence_set import SequenceSet

Architecture = Literal["lstm", "gru", "rnn", "transformer"]
RECURRENT = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_HEADS = 2  # of 16 components or more: attention is slow on the CPU with fewer


class Transformer(nn.Module):
    """Causal blocks of attention over vectors with sinusoidal positions added (Vaswani et al. 2017)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        made = [
            nn.TransformerEncoderLayer(width, _HEADS, 4 * width, dropout=0.0, batch_first=True)
            for _ in range(blocks)
        ]
        self.blocks = nn.ModuleList(made)

    def forward(self, x: Tensor) -> Tensor:
        """Return the residual stream, shape (sequence, time, width).

        Shapes: `x` (sequence, time, width).
        """
        stream = x + positions(x.shape[1], x.shape[2])
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
        # torch's fast path for inference holds all weights of attention: four times slower here.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            for block in self.blocks:
                stream = block(stream, src_mask=mask, is_causal=True)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        return stream


def positions(steps: int, width: int) -> Tensor:
    """Return the sinusoidal positions, shape (steps, width), about as large as embedded words are."""
    rates = torch.exp(-math.log(1e4) * torch.arange(0, width, 2) / width)
    angles = torch.arange(steps)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Classifier(nn.Module):
    """A sequence model that answers from its last state, a transformer from the mean of its states."""

    def __init__(
        self, architecture: Architecture, units: int, embedding: int, task: SequenceSet, blocks: int = 1
    ) -> None:
        super().__init__()
        attends = architecture == "transformer"
        width = units if attends else embedding if task.tokens else task.features
        self.embedding: nn.Module = nn.Identity()
        if task.tokens:
            self.embedding = nn.Embedding(task.tokens, width)
        elif attends:
            self.embedding = nn.Linear(task.features, width)
        self.body: Any = Transformer(units, blocks) if attends else _recurrent(architecture, width, units)
        self.readout = nn.Linear(units, task.classes)
        self.averages = attends

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits, shape (sequence, classes).

        Shapes: `x` (sequence, time) or (sequence, time, features), `lengths` (sequence,).
        """
        states = self.body(self.embedding(x))
        states = states[0] if isinstance(states, tuple) else states
        if self.averages:
            inside = (torch.arange(x.shape[1]) < lengths[:, None]).to(states.dtype)
            last = (states * inside[:, :, None]).sum(1) / lengths[:, None]
        else:
            last = states[torch.arange(len(x)), lengths - 1]
        logits: Tensor = self.readout(last)
        return logits


def _recurrent(architecture: Architecture, features: int, units: int) -> nn.RNNBase:
    made: nn.RNNBase = RECURRENT[architecture](features, units, batch_first=True)
    return made


def built(seed: int, *arguments: Any) -> Classifier:
    """Return a network with torch's own initialisation, and the same one for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(*arguments)
