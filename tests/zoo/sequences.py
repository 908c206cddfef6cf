"""Networks with a state or a filter along time, rebuilt small."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.attention import LENGTH, WORDS, RMSNorm, words
from zoo.inputs import INPUTS
from zoo.known import Known, with_batch


class SelectiveStateSpace(nn.Module):
    """Mamba: a linear recurrence whose step, input and output maps depend on the token."""

    def __init__(self, width: int, states: int = 4, rank: int = 2) -> None:
        super().__init__()
        inner = 2 * width
        self.rank, self.states = rank, states
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, states + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        h, gate = self.in_proj(x).chunk(2, dim=-1)
        h = F.silu(self.conv1d(h.transpose(1, 2))[..., :length].transpose(1, 2))
        dt, B, C = self.x_proj(h).split([self.rank, self.states, self.states], dim=-1)
        dt = F.softplus(self.dt_proj(dt))
        decay = torch.exp(dt.unsqueeze(-1) * -torch.exp(self.A_log))
        drive = (dt * h).unsqueeze(-1) * B.unsqueeze(2)
        state, seen = torch.zeros_like(drive[:, 0]), []
        for t in range(length):
            state = decay[:, t] * state + drive[:, t]
            seen.append((state * C[:, t].unsqueeze(1)).sum(dim=-1))
        y = torch.stack(seen, dim=1) + h * self.D
        return self.out_proj(y * F.silu(gate))


class MambaBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.mixer = RMSNorm(width), SelectiveStateSpace(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mixer(self.norm(x))


class Mamba(nn.Module):
    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width)
        self.layers = nn.ModuleList(MambaBlock(width) for _ in range(depth))
        self.norm_f = RMSNorm(width)
        self.lm_head = nn.Linear(width, WORDS, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm_f(x))


class LSTMClassifier(nn.Module):
    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, 16, 2, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(32 if bidirectional else 16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        output, _ = self.lstm(self.words(ids))
        return self.head(output.mean(dim=1) if self.lstm.bidirectional else output[:, -1])


class Seq2Seq(nn.Module):
    """One recurrent network reads, another begins where it ended and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 12)
        self.encoder = nn.GRU(12, 16, batch_first=True)
        self.decoder = nn.GRU(12, 16, batch_first=True)
        self.head = nn.Linear(16, WORDS)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        _, state = self.encoder(self.words(source))
        return self.head(self.decoder(self.words(target), state)[0])


class CellLoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(6, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = c = torch.zeros(len(x), 16, dtype=x.dtype, device=x.device)
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
        return self.head(h)


class TCN(nn.Module):
    """Causal convolutions, each looking twice as far back."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.enter = nn.Conv1d(4, width, 1)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=2**i) for i in range(3))
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for i, conv in enumerate(self.convs):
            h = h + F.relu(conv(F.pad(h, (2 * 2**i, 0))))
        return self.head(h[:, :, -1])


class WaveNet(nn.Module):
    """Gated convolutions; what each block says goes straight to the end."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, width, 1)
        self.filters = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.gates = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))
        self.residuals = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(2))
        self.out1, self.out2 = nn.Conv1d(width, width, 1), nn.Conv1d(width, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        h, total = self.enter(x), None
        for i in range(3):
            padded = F.pad(h, (2**i, 0))
            z = torch.tanh(self.filters[i](padded)) * torch.sigmoid(self.gates[i](padded))
            skip = self.skips[i](z)
            total = skip if total is None else total + skip
            if i < 2:
                h = h + self.residuals[i](z)
        return self.out2(F.relu(self.out1(F.relu(total))))


MODELS = {
    "mamba": Known(with_batch(Mamba, words), "Embedding sum sum sum RMSNorm Linear", "critical"),
    # Too few steps for a phase along depth. What matters for an LSTM is time.
    "lstm_classifier": Known(
        with_batch(LSTMClassifier, words), "Embedding LSTM getitem Linear", "not determined"
    ),
    "bidirectional_lstm": Known(
        with_batch(lambda: LSTMClassifier(bidirectional=True), words),
        "Embedding LSTM mean Linear",
    ),
    # The way of the source; the target's has a step less.
    "seq2seq": Known(
        with_batch(Seq2Seq, lambda: {"source": words(8), "target": words(6)}),
        "Embedding GRU GRU Linear",
    ),
    # State and cell state are two ways from one step to the next, and each step has an input of its own.
    "cell_loop": Known(
        with_batch(CellLoop, lambda: torch.randn(INPUTS, 7, 6)), "LSTMCell Linear", "not determined"
    ),
    "tcn": Known(
        with_batch(TCN, lambda: torch.randn(INPUTS, 4, LENGTH)),
        "Conv1d sum sum sum getitem Linear",
        "critical",
    ),
    # All three blocks feed the sum of the skips.
    "wavenet": Known(
        with_batch(WaveNet, lambda: torch.randn(INPUTS, 1, LENGTH)), "Conv1d sum relu Conv1d relu Conv1d"
    ),
}
