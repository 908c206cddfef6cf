"""What recording a training run costs at a budget of 5 %, in processor seconds of the same run without it."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.harness import Comparison
from phasescope.instruments import TrainingRecorder, read_record

BATCH, SUB_BATCH = 128, 32
BUDGET = 0.05
NETWORKS = {"118 k weights": (128, 5000), "670 k weights": (512, 2000)}  # width, steps
KINDS: dict[str, dict[str, object]] = {
    "path, displacement, gradient": {"measure": ("path", "displacement", "gradient")},
    "everything": {},
}


def _network(width: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(*layers)


def _trained(
    start: nn.Module, steps: int, make: Callable[..., TrainingRecorder] | None
) -> tuple[float, float, str]:
    """Return the processor seconds of the steps and of the recorder's calls, and the recorder's own words."""
    model = copy.deepcopy(start)
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(8, BATCH, 784, generator=generator)
    targets = torch.randint(0, 10, (8, BATCH), generator=generator)
    recorder = None if make is None else make(model, optimizer, inputs[0], targets[0])
    own = spent = 0.0
    for step in range(steps):
        began = time.process_time()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[step % 8]), targets[step % 8])
        loss.backward()
        optimizer.step()
        done = time.process_time()
        own += done - began
        if recorder is not None:
            recorder(loss)
            spent += time.process_time() - done
    if recorder is None:
        return own, spent, ""
    recorder.close()
    return own, spent, recorder.summary


def run() -> Comparison:
    """Return the cost of recording, and how often each quantity was measured for it."""
    comparison = Comparison(f"Recorder, budget {BUDGET:.0%}, batch {BATCH}", "processor seconds")
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, steps) in NETWORKS.items():
            start = _network(width)
            for kind, options in KINDS.items():
                made, summary, points = [], "", 0
                for repeat in range(1):
                    path = Path(folder) / f"{width}-{len(options)}-{repeat}.jsonl"

                    def make(model, optimizer, inputs, targets, path=path, options=options):
                        return TrainingRecorder(
                            path,
                            model,
                            loss=nn.functional.cross_entropy,
                            batch=(inputs[:SUB_BATCH], targets[:SUB_BATCH]),
                            optimizer=optimizer,
                            budget=BUDGET,
                            say=None,
                            **options,
                        )

                    plain, _, _ = _trained(start, steps, None)
                    own, spent, summary = _trained(start, steps, make)
                    made.append((plain, own, spent))
                    points = int(read_record(path).sizes["step"])
                plain, own, spent = (statistics.median(values) for values in zip(*made, strict=True))
                comparison.rows.append(
                    {
                        "network": name,
                        "measured": kind,
                        "steps": steps,
                        "calls / steps, %": 100 * spent / own,
                        "run / plain run": (own + spent) / plain,
                        "lines": points,
                    }
                )
                key = f"{name}, {kind}"
                comparison.seconds |= {f"{key}: plain": plain, f"{key}: recorded": own + spent}
                comparison.ratios |= {f"{key}: plain": 1.0, f"{key}: recorded": (own + spent) / plain}
                comparison.remarks.append(f"{name}: {summary}")
    return comparison
