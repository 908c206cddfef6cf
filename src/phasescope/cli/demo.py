"""The tour: one deep network ordered, chaotic and critical on handwritten digits, and what becomes of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from phasescope import report
from phasescope.cli.progress import progress
from phasescope.data import Images, digits
from phasescope.estimate import Estimate
from phasescope.instruments import Inspection, inspect
from phasescope.signal import critical_, verdict
from phasescope.sweep.threads import one_thread

_RATE, _MOMENTUM, _BATCH = 0.003, 0.9, 64
_INSPECTED = 64  # inputs
_CLEARLY = 4.0  # standard errors


@dataclass(frozen=True)
class _Size:
    depth: int
    width: int
    steps: int
    seeds: int
    every: int


_FULL = _Size(depth=30, width=128, steps=200, seeds=3, every=20)
_QUICK = _Size(depth=20, width=64, steps=150, seeds=3, every=25)


def run(out: Path, *, quick: bool, as_json: bool, seed: int, command: str) -> tuple[str, int]:
    """Inspect and train the three networks, write the page, and return what to print and the exit code."""
    report.check_writable(out)
    size = _QUICK if quick else _FULL
    images = digits().standardised().flattened()
    batch = images.x_train[:_INSPECTED]
    makers: dict[str, tuple[str, Callable[[torch.Generator], nn.Module]]] = {
        "PyTorch default": ("ordered", lambda random: _network(images, size, random)),
        "large weights": ("chaotic", lambda random: _network(images, size, random, sigma_w=2.5)),
        "after critical_": ("critical", lambda random: _critical(images, size, random)),
    }
    inspections, fates = [], []
    # Small matrices gain nothing from threads, and lose much where other programs use the cores.
    with one_thread(), progress(len(makers) * (1 + size.seeds)) as step:
        for label, (_, make) in makers.items():
            step(f"inspecting {label}")
            inspections.append(inspect(make(_random(seed)), batch, seed=seed, label=label))
        for label, (_, make) in makers.items():
            runs = []
            for replica in range(size.seeds):
                step(f"training {label}, seed {replica + 1} of {size.seeds}")
                random = _random(seed + replica)
                runs.append(_train(make(random), images, size, random))
            fates.append(_fate(label, runs, size))
    training = report.Training(fates, _budget(images, size), chance=1 / images.classes)
    page = report.save(inspections, out, training=training, command=command)
    expected = [phase for phase, _ in makers.values()]
    return _answer(inspections, training, page, as_json=as_json), int(
        not _as_promised(inspections, fates, expected)
    )


def _network(
    images: Images, size: _Size, random: torch.Generator, *, sigma_w: float | None = None
) -> nn.Sequential:
    """Return a tanh network as PyTorch draws it, or with weights of deviation sigma_w / sqrt(fan_in)."""
    widths = [images.x_train.shape[1], *[size.width] * (size.depth - 1), images.classes]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.Linear(fan_in, fan_out)
        bound = 1 / math.sqrt(fan_in)
        nn.init.uniform_(linear.bias, -bound, bound, generator=random)
        nn.init.uniform_(linear.weight, -bound, bound, generator=random)
        if sigma_w is not None:
            nn.init.normal_(linear.weight, std=sigma_w * bound, generator=random)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _critical(images: Images, size: _Size, random: torch.Generator) -> nn.Module:
    network = _network(images, size, random)
    seed = int(torch.randint(2**31, (), generator=random))
    critical_(network, images.x_train[:_INSPECTED], seed=seed)
    return network


def _train(
    network: nn.Module, images: Images, size: _Size, random: torch.Generator
) -> tuple[list[float], list[float]]:
    """Return the mean loss since the last record and the test accuracy, one a record."""
    optimiser = torch.optim.SGD(network.parameters(), lr=_RATE, momentum=_MOMENTUM)
    losses: list[float] = []
    loss_curve, accuracy_curve = [], []
    for step in range(size.steps + 1):
        chosen = torch.randint(len(images.x_train), (_BATCH,), generator=random)
        loss = nn.functional.cross_entropy(network(images.x_train[chosen]), images.y_train[chosen])
        losses.append(loss.item())
        if step % size.every == 0:
            loss_curve.append(float(np.mean(losses)))
            accuracy_curve.append(_accuracy(network, images))
            losses = []
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return loss_curve, accuracy_curve


@torch.no_grad()
def _accuracy(network: nn.Module, images: Images) -> float:
    return float((network(images.x_test).argmax(1) == images.y_test).double().mean())


def _fate(label: str, runs: list[tuple[list[float], list[float]]], size: _Size) -> report.Fate:
    accuracy = np.array([curve for _, curve in runs])
    return report.Fate(
        label=label,
        steps=np.arange(0, size.steps + 1, size.every),
        loss=np.array([curve for curve, _ in runs]),
        accuracy=accuracy,
        final=Estimate.from_samples(accuracy[:, -1], method="mean over seeds"),
    )


def _budget(images: Images, size: _Size) -> str:
    return (
        f"Each network, {size.depth} layers of width {size.width} with tanh, was trained on "
        f"{len(images.y_train)} digits for {size.steps} steps of stochastic gradient descent: batches of "
        f"{_BATCH}, learning rate {_RATE}, momentum {_MOMENTUM}, {size.seeds} seeds. The same rate for all; "
        "none was tuned."
    )


def _as_promised(inspections: list[Inspection], fates: list[report.Fate], expected: list[str]) -> bool:
    """Return whether each phase is the one it was built for, and only the critical network learns clearly."""
    phases = [verdict(inspection.datasets["propagation"]).phase for inspection in inspections]
    critical = fates[expected.index("critical")].final
    others = [fate.final for fate, phase in zip(fates, expected, strict=True) if phase != "critical"]
    learns = all(
        critical.value - other.value > _CLEARLY * math.hypot(critical.error, other.error) for other in others
    )
    return phases == expected and learns


def _answer(inspections: list[Inspection], training: report.Training, page: Path, *, as_json: bool) -> str:
    content = report.document(inspections, training)
    if as_json:
        return json.dumps({**content, "page": str(page)}, indent=1, allow_nan=False)
    width = max(len(fate.label) for fate in training.fates)
    lines = [f"{'network':{width}}  {'phase':8}  test accuracy after training"]
    for inspection, fate in zip(inspections, training.fates, strict=True):
        phase = verdict(inspection.datasets["propagation"]).phase
        lines.append(f"{fate.label:{width}}  {phase:8}  {fate.final}")
    return "\n".join([*lines, "", content["sentence"], "", f"page: {page}"])


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
