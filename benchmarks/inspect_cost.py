"""What `inspect` costs, in units of one forward-backward pass of the same model on the same batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

import phasescope
from benchmarks.harness import Comparison, interleaved
from phasescope import signal

INPUTS = 64
ALWAYS = ("propagation", "symptoms", "spectra", "weights")


def _mlp(depth: int, width: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _cnn(depth: int, channels: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 16 * 16, 10))


class _Decoder(nn.Module):
    """A stack of pre-normalised causal blocks: 85 million parameters at 12 blocks of width 768."""

    def __init__(self, blocks: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, width // 64, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(blocks)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        for block in self.blocks:
            x = block(x, src_mask=mask, is_causal=True)
        return x


class _Recurrent(nn.Module):
    def __init__(self, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, units, num_layers=2, batch_first=True)
        self.head = nn.Linear(units, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def run() -> Comparison:
    """Return what each instrument that always runs costs on an MLP and a CNN, and a profile on two others."""
    torch.manual_seed(0)
    models = {
        "MLP, 20 layers, width 1024": (_mlp(20, 1024), torch.randn(INPUTS, 1024)),
        "CNN, 20 layers, 64 channels, 16x16": (_cnn(20, 64), torch.randn(INPUTS, 3, 16, 16)),
    }
    along = {
        "transformer, 12 blocks, width 768, 2 x 256": (_Decoder(12, 768), torch.randn(2, 256, 768), 1),
        "LSTM, 2 layers, 64 units, 32 x 400": (_Recurrent(64), torch.randn(32, 400, 16), 3),
    }
    comparison = Comparison(f"Cost of inspect, {INPUTS} inputs", "forward-backward passes")
    for name, (model, batch) in models.items():
        asked = {each: partial(_inspect, names=[each]) for each in ALWAYS}
        _compare(comparison, name, model, batch, asked, 3)
    for name, (model, batch, repeats) in along.items():
        _compare(comparison, name, model, batch, {"propagation": signal.profile}, repeats)
    comparison.remarks = [
        "The goal for propagation is under 20 for a network of 20 layers, and for the transformer; for the "
        "LSTM under 3 s.",
        "Spectra push random directions through the network and through shuffled copies of it; the time of "
        "weights goes into trees of shuffled weights, whatever a pass costs.",
    ]
    return comparison


def _inspect(model: nn.Module, batch: torch.Tensor, *, names: list[str]) -> object:
    return phasescope.inspect(model, batch, instruments=names)


def _compare(
    comparison: Comparison,
    name: str,
    model: nn.Module,
    batch: torch.Tensor,
    measures: dict[str, Callable[[nn.Module, torch.Tensor], object]],
    repeats: int,
) -> None:
    contenders = {what: partial(measure, model, batch) for what, measure in measures.items()}
    seconds, ratios = interleaved(
        {"forward-backward": lambda: model(batch).square().sum().backward()} | contenders, repeats=repeats
    )
    for what in measures:
        row = {"model": name, "instrument": what, "/ forward-backward": ratios[what], "s": seconds[what]}
        comparison.rows.append(row)
    comparison.seconds |= {f"{name}: {key}": value for key, value in seconds.items()}
    comparison.ratios |= {f"{name}: {key}": value for key, value in ratios.items()}
