"""What recording costs, in units of the bare forward pass, beside a cell run step by step for its gates."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.noise import record

SEQUENCES, STEPS, FEATURES, UNITS = 64, 500, 32, 64


def _cell_by_cell(lstm: nn.LSTM, x: Tensor) -> np.ndarray:
    # The usual way to see the gates: the textbook's formulas in a loop over time.
    hidden, cell, seen = x.new_zeros(len(x), UNITS), x.new_zeros(len(x), UNITS), []
    with torch.no_grad():
        for step in x.unbind(1):
            z = step @ lstm.weight_ih_l0.T + hidden @ lstm.weight_hh_l0.T + lstm.bias_ih_l0 + lstm.bias_hh_l0
            i, f, g, o = z.chunk(4, dim=-1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            cell = f * cell + i * g
            hidden = o * cell.tanh()
            seen.append(torch.stack([i, f, g, o, cell, hidden]))
    return torch.stack(seen, dim=-1).numpy()


def _bare(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def run() -> Comparison:
    """Return the cost of recording an LSTM and a transformer encoder."""
    torch.manual_seed(0)
    lstm = nn.LSTM(FEATURES, UNITS, batch_first=True).eval()
    layer = nn.TransformerEncoderLayer(UNITS, 4, 4 * UNITS, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x, y = torch.randn(SEQUENCES, STEPS, FEATURES), torch.randn(8, STEPS, UNITS)
    recorded, looped = record(lstm, x), _cell_by_cell(lstm, x)
    comparison = Comparison(f"Recording {SEQUENCES} sequences of {STEPS} steps", "bare forward passes")
    for name, contenders in {
        f"LSTM, {UNITS} units": {
            "bare forward pass": lambda: _bare(lstm, x),
            "record, all gates and states": lambda: record(lstm, x),
            "cell by cell in Python": lambda: _cell_by_cell(lstm, x),
        },
        f"transformer, 2 blocks of width {UNITS}, 8 sequences": {
            "bare forward pass": lambda: _bare(encoder, y),
            "record, streams and MLP units": lambda: record(encoder, y, layers=["layers.0", "layers.1"]),
        },
    }.items():
        seconds, ratios = interleaved(contenders, repeats=5)
        comparison.seconds |= {f"{name}: {key}": value for key, value in seconds.items()}
        comparison.ratios |= {f"{name}: {key}": value for key, value in ratios.items()}
    names = ("input_gate", "forget_gate", "candidate", "output_gate", "cell", "hidden")
    comparison.rows = [
        {"quantity": name, "largest difference to cell by cell": float(abs(recorded["l0", name] - a).max())}
        for name, a in zip(names, looped, strict=True)
    ]
    comparison.remarks = ["The goal is less time than cell by cell, and a difference of rounding alone."]
    return comparison
