"""What ``explosive`` measures: states by iteration, loops, modes that weight decay leaves, a flip-flop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.data import cifar10
from phasescope.estimate import Estimate
from phasescope.papers.related.shared import digits
from phasescope.recurrent import hysteresis_loop
from phasescope.recurrent.held_inputs import KNOBS, HeldNetwork, InputLine
from phasescope.theory.hysteresis import CurvedMemory

DECAYS = (0.04, 0.05, 0.055, 0.06, 0.065, 0.07, 0.08)
DEPTH, COMPONENTS = 3, 20  # layers of the linear net, whitened components of the digits
UNITS, PULSES = 24, 0.1  # of the flip-flop, and how often its input is not 0
KICK = 0.01  # of a memory at each new inverse temperature
IMAGES, OVERLAP = 5, 0.05  # pictures that are stored for a scan, and what any two of them share at most
RECALL_BETA, CURVED = 2.0, -1.2  # inverse temperature of recall; curvature of images and of recall
RECALL_OVERLAP = 0.15  # that any two pictures share at most where many are stored
SCANNED, _SCAN_DWELLS, _RANGE = 121, (32, 64, 128), (0.65, 1.25)  # of the scan with pictures
_SPINS, _SWEEPS, _CUED = 1024, 200, 20  # units, steps of recall, patterns that recall starts from
_FLOOR = 0.05  # of what the curvature divides by
_BACK = 0.02  # weight decay after the largest of DECAYS
_ITERATIONS, _HALVINGS, _NODES = 20_000, 30, 40
_LENGTH, _BATCH = 40, 64  # steps and sequences that the flip-flop is trained on
_LEFT = 1e-3  # singular value above which a mode counts


def states(gamma: np.ndarray) -> np.ndarray:
    """Return jumps, states and areas by nothing but iteration of the equation, from m = 1."""

    def settled(beta: np.ndarray) -> np.ndarray:
        m = np.ones_like(beta)
        for _ in range(_ITERATIONS):
            m = np.tanh(beta * m / (1 + curved * m * m / 2))
        return m

    curved = gamma
    low, high = np.full(gamma.shape, 0.3), np.ones_like(gamma)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        alive = settled(middle) > 0.1
        low, high = np.where(alive, low, middle), np.where(alive, middle, high)
    after = settled(np.ones_like(gamma))
    # The branch starts with the square root of the distance from its end.
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    s, curved = (nodes + 1) / 2, gamma[:, None]
    branch = settled(high[:, None] + (1 - high[:, None]) * s**2)
    area = (1 - high) * (branch * s * weights).sum(axis=1)
    return np.stack([high, after, area], axis=1)


def loop(gamma: float, values: int, dwells: Sequence[int], seed: int) -> dict[str, Any]:
    down = CurvedMemory(gamma).down_jump
    margin = 0.3 * (1 - down) + 0.02
    start = 0.1 * torch.rand(3, 1, generator=torch.Generator().manual_seed(seed % 2**63), dtype=torch.float64)

    def step(m: Tensor, beta: Tensor) -> Tensor:
        return torch.tanh(beta * m / (1 + gamma * m * m / 2))

    beta = np.linspace(down - margin, 1 + margin, values)
    found = hysteresis_loop(step, start, beta, dwells=dwells, kick=KICK, seed=seed % 2**63)
    ways = np.abs(np.stack([found.up[-1, :, 0, 0], found.down[-1, :, 0, 0]]))
    return {
        "loop": _result(found.area, found.verdict),
        "areas": found.areas.mean(axis=1),
        "branches": np.concatenate([beta[None], ways]),
    }


def _result(area: Estimate, verdict: str) -> list[float]:
    return [area.value, area.error, float(verdict == "bistable")]


def _whitened() -> Tensor:
    """Return the correlation of the classes with whitened components of the digits, (class, component)."""
    data = digits()
    x = torch.cat([data.x, data.x_test])
    y = nn.functional.one_hot(torch.cat([data.y, data.y_test])).double()
    x = x - x.mean(dim=0)
    white = torch.linalg.svd(x, full_matrices=False)[0][:, :COMPONENTS] * math.sqrt(len(x))
    correlation: Tensor = (y - y.mean(dim=0)).T @ white / len(x)
    return correlation


def decayed(steps: int, seed: int) -> dict[str, Any]:
    """Train a linear net without decay, then copies of it with each, and the last with less again."""
    target = _whitened()
    generator = torch.Generator().manual_seed(seed % 2**63)
    sizes = [COMPONENTS] * DEPTH + [len(target)]
    # Of norm about 1 each: products of larger ones diverge at this rate.
    weights = [
        torch.randn(1, out, into, generator=generator, dtype=torch.float64) / math.sqrt(4 * into)
        for into, out in pairwise(sizes)
    ]
    weights = _descend(weights, target, torch.zeros(1, 1, 1, dtype=torch.float64), steps // 2)
    decays = torch.tensor(DECAYS, dtype=torch.float64)[:, None, None]
    weights = _descend([w.repeat(len(DECAYS), 1, 1) for w in weights], target, decays, steps)
    back = _descend([w[-1:] for w in weights], target, torch.full((1, 1, 1), _BACK), steps)
    left = [(torch.linalg.svdvals(_product(each)) > _LEFT).sum(dim=1) for each in (weights, back)]
    modes = torch.linalg.svdvals(target)[: len(target) - 1]
    return {"modes": modes.numpy(), "left": torch.cat(left).double().numpy()}


def _product(weights: list[Tensor]) -> Tensor:
    first, second, third = weights
    return third @ second @ first


def _descend(weights: list[Tensor], target: Tensor, decay: Tensor, steps: int) -> list[Tensor]:
    rate = 0.3
    for _ in range(steps):
        first, second, third = weights
        upper, lower = third @ second, second @ first
        residual = third @ lower - target
        slopes = (
            (upper.mT @ residual),
            third.mT @ residual @ first.mT,
            residual @ lower.mT,
        )
        weights = [w - rate * (slope + decay * w) for w, slope in zip(weights, slopes, strict=True)]
    return weights


def flip_flop(steps: int, seed: int) -> dict[str, Any]:
    """Train a network to hold the sign of the last pulse, and take its input up and down."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        rnn, readout = nn.RNN(1, UNITS).double(), nn.Linear(UNITS, 1).double()

    def pulses() -> tuple[Tensor, Tensor]:
        size = (_LENGTH, _BATCH, 1)
        sign = torch.randint(2, size, generator=generator).double() * 2 - 1
        x = torch.where(torch.rand(size, generator=generator) < PULSES, sign, 0.0)
        x[0] = sign[0]
        held = [x[0]]
        for now in x[1:]:
            held.append(torch.where(now == 0, held[-1], now))
        return x, torch.stack(held)

    line = InputLine([pulses()[0].reshape(-1, 1)])
    rows = []
    for number in range(2):
        if number:
            optimiser = torch.optim.Adam([*rnn.parameters(), *readout.parameters()], lr=5e-3)
            for _ in range(steps):
                x, y = pulses()
                optimiser.zero_grad()
                torch.autograd.backward((readout(rnn(x)[0]) - y).square().mean())
                optimiser.step()
        with torch.no_grad():
            network = HeldNetwork(rnn, line, KNOBS[0])
            # Closest around 0, where the sign turns.
            start, knob = network.start(8, seed % 2**63), np.linspace(-1, 1, 81)
            knob = np.sign(knob) * knob**2
            found = hysteresis_loop(network.step, start, knob, dwells=(4, 8, 16, 32), read=network.read)
        rows.append(_result(found.area, found.verdict))
    x, y = pulses()
    with torch.no_grad():
        right = (readout(rnn(x)[0]).sign() == y).double().mean()
    return {"flip_flop": rows, "accuracy": float(right)}


def image_scan(gamma: float, folder: str, seed: int) -> dict[str, Any]:
    """Scan the inverse temperature of a network that holds a few pictures."""
    patterns = _pictures(folder, IMAGES, OVERLAP, seed)

    def step(x: Tensor, beta: Tensor) -> Tensor:
        return torch.tanh(_pull(x, patterns, gamma, beta))

    def memory(x: Tensor) -> Tensor:
        return (x @ patterns.T / patterns.shape[1]).square().sum(dim=1).sqrt()

    beta = np.linspace(*_RANGE, SCANNED)
    found = hysteresis_loop(
        step, 0.1 * patterns[:3], beta, dwells=_SCAN_DWELLS, read=memory, kick=KICK, seed=seed % 2**63
    )
    largest = torch.linalg.eigvalsh(patterns @ patterns.T)[-1] - len(patterns)
    jump = found.jump_up
    return {
        "loop": _result(found.area, found.verdict),
        "jump": [jump.value, jump.error, patterns.shape[1] / float(largest), found.jump_down.value],
        "scan": np.stack([beta, found.up[-1, :, 0, 0], found.down[-1, :, 0, 0]]),
    }


def recall(counts: Sequence[int], folder: str, seed: int) -> dict[str, Any]:
    """Return how well noisy binary units keep each of several numbers of patterns, plain and curved."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    if folder:
        stored = _pictures(folder, max(counts), RECALL_OVERLAP, seed)
    else:
        stored = torch.randint(2, (max(counts), _SPINS), generator=generator).double() * 2 - 1
    kept = np.zeros((2, len(counts)))
    for row, gamma in enumerate((0.0, CURVED)):
        for column, count in enumerate(counts):
            patterns = stored[:count]
            cue = patterns[:_CUED]
            x, late = cue, []
            for number in range(_SWEEPS):
                up = (1 + torch.tanh(_pull(x, patterns, gamma, RECALL_BETA))) / 2
                x = torch.where(torch.rand(x.shape, generator=generator) < up, 1.0, -1.0).double()
                if number >= _SWEEPS // 2:
                    late.append(float((x * cue).mean()))
            kept[row, column] = np.mean(late)
    return {"recall": kept, "stored": [min(count, len(stored)) for count in counts]}


def _pull(x: Tensor, patterns: Tensor, gamma: float, beta: Tensor | float) -> Tensor:
    """Return inverse temperature times field of each unit; the curvature acts through the energy."""
    count, units = patterns.shape
    field = (x @ patterns.T @ patterns - count * x) / units
    curved = 1 + gamma / 2 * (x * field).mean(dim=1, keepdim=True)
    pull: Tensor = beta * field / curved.clamp(min=_FLOOR)
    return pull


def _pictures(folder: str, count: int, overlap: float, seed: int) -> Tensor:
    """Return pictures as signs about their median, any two of small overlap, at most `count` of them."""
    grey = cifar10(folder).x_train.mean(dim=1).flatten(1).double()
    signs = torch.where(grey > grey.median(dim=1, keepdim=True).values, 1.0, -1.0).double()
    order = torch.randperm(len(signs), generator=torch.Generator().manual_seed(seed % 2**63))
    left = signs[order]
    kept: list[Tensor] = []
    while len(left) and len(kept) < count:
        kept.append(left[0])
        left = left[(left @ left[0]).abs() < overlap * left.shape[1]]
    return torch.stack(kept)
