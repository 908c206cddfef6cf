"""Training many copies of a network at once, and tangents of training, beside loops and torch.func."""

from __future__ import annotations

import copy
import importlib
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits, load_iris
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.training import Objective, objective

STEPS, RATE, KICK = 50, 1.0, 1e-8
LOOPED = 10  # copies of the loop that are timed
LOOP, GRAPH, CLOSED = "loop over modules and SGD", "any module (vmap of the gradient)", "perceptron"
PEER = "deep-lyapunov"


def _iris() -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """Return the 4-10-3 network of arXiv:2404.05782 and 120 flowers."""
    iris, chosen = load_iris(), np.random.default_rng(0).permutation(150)[:120]
    data = torch.from_numpy(iris.data[chosen]), torch.from_numpy(iris.target[chosen])
    return _network(4, 10, 3, nn.Sigmoid()), data


def _digits() -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """Return a 64-64-10 network, as in work on the onset of chaos (arXiv:2506.08523), and 1400 digits."""
    digits, chosen = load_digits(), np.random.default_rng(0).permutation(1797)[:1400]
    data = torch.from_numpy(digits.data[chosen] / 16), torch.from_numpy(digits.target[chosen])
    return _network(64, 64, 10, nn.Tanh()), data


def _network(inputs: int, hidden: int, classes: int, activation: nn.Module) -> nn.Sequential:
    """Return a network with normal weights of variance 1 and zero biases."""
    model = nn.Sequential(nn.Linear(inputs, hidden), activation, nn.Linear(hidden, classes)).double()
    rng = np.random.default_rng(1000)
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(torch.from_numpy(rng.standard_normal(layer.weight.shape)))
            layer.bias.zero_()
    return model


def _objectives(model: nn.Module, data: Any) -> tuple[Objective, Objective]:
    """Return the loss in closed form, and through the graph as any other module has it."""
    closed, graph = (objective(model, nn.CrossEntropyLoss(), data) for _ in range(2))
    assert closed.closed is not None
    graph.closed = None
    return closed, graph


def _loop(model: nn.Module, data: tuple[Tensor, Tensor], starts: Tensor) -> Tensor:
    """Return the last weights of each copy, one module and one optimiser after the other."""
    ends = []
    for start in starts:
        one = copy.deepcopy(model)
        nn.utils.vector_to_parameters(start.clone(), one.parameters())
        optimizer, loss = torch.optim.SGD(one.parameters(), lr=RATE), nn.CrossEntropyLoss()
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss(one(data[0]), data[1]).backward()
            optimizer.step()
        ends.append(nn.utils.parameters_to_vector(one.parameters()).detach())
    return torch.stack(ends)


def _peer(model: nn.Module, data: tuple[Tensor, Tensor]) -> Callable[[], Any]:
    """Return deep-lyapunov's training of the same number of copies, which it takes one after the other."""
    analyser = importlib.import_module("deep_lyapunov").StabilityAnalyzer
    batches = [data]

    def train(one: nn.Module, loader: Any, epochs: int) -> dict[str, list[float]]:
        optimizer, loss = torch.optim.SGD(one.parameters(), lr=RATE), nn.CrossEntropyLoss()
        losses = []
        for _ in range(epochs):
            for inputs, targets in loader:
                optimizer.zero_grad()
                value = loss(one(inputs), targets)
                value.backward()
                optimizer.step()
                losses.append(float(value.detach()))
        return {"loss": losses}

    return lambda: analyser(model, n_trajectories=LOOPED, device="cpu", verbose=False).analyze(
        train, batches, STEPS
    )


def _together(made: Objective, starts: Tensor) -> Tensor:
    w = starts.clone()
    for t in range(STEPS):
        w -= RATE * made.gradient(w, t)[1]
    return w


def _kicked(made: Objective, copies: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    kicks = KICK * (2 * torch.rand(copies, made.size, generator=generator, dtype=made.dtype) - 1)
    return made.initial + kicks * made.is_weight


def _tangents(name: str, k: int, model: nn.Module, data: Any, repeats: int) -> dict[str, Any]:
    """Return the CPU time of loss, gradient and k Hessian products, in gradients of the same form."""
    closed, graph = _objectives(model, data)
    v = torch.randn(k, closed.size, generator=torch.Generator().manual_seed(2), dtype=closed.dtype)
    w, calls = closed.initial, 10

    def forward_mode() -> Tensor:
        slope = torch.func.grad(graph._loss)
        return torch.func.vmap(lambda one: torch.func.jvp(slope, (w,), (one,))[1])(v)

    contenders: dict[str, Callable[[], Any]] = {
        "gradient": lambda: graph.gradient(w),
        "closed gradient": lambda: closed.gradient(w),
        "closed": lambda: closed.products(w, v),
        "graph": lambda: graph.products(w, v),
        "vmap of jvp": forward_mode,
    }
    difference = (closed.products(w, v)[2] - forward_mode()).abs().max() / forward_mode().abs().max()
    repeated = {key: partial(_repeated, call, calls) for key, call in contenders.items()}
    seconds, _ = interleaved(repeated, repeats=repeats, clock=time.process_time)
    return {
        "tangents": f"{name}, {closed.size} weights, k = {k}",
        "perceptron, ms": 1e3 * seconds["closed"] / calls,
        "one graph, ms": 1e3 * seconds["graph"] / calls,
        "vmap(jvp(grad)), ms": 1e3 * seconds["vmap of jvp"] / calls,
        "perceptron, gradients": seconds["closed"] / seconds["closed gradient"],
        "one graph, gradients": seconds["graph"] / seconds["gradient"],
        "vmap(jvp(grad)), gradients": seconds["vmap of jvp"] / seconds["gradient"],
        "goal, gradients": 2 + 1.5 * k,
        "largest relative difference": float(difference),
    }


def _repeated(call: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        call()


def run(repeats: int = 7) -> Comparison:
    """Return CPU seconds of one thread for 50 steps of 100 copies."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(repeats)
    finally:
        torch.set_num_threads(threads)


def _run(repeats: int) -> Comparison:
    model, data = _iris()
    closed, graph = _objectives(model, data)
    few, many = _kicked(closed, 100), _kicked(closed, 1000)
    calls: dict[str, Callable[[], Any]] = {
        LOOP: lambda: _loop(model, data, few[:LOOPED]),
        GRAPH: lambda: _together(graph, few),
        CLOSED: lambda: _together(closed, few),
        f"{GRAPH}, 1000 copies": lambda: _together(graph, many),
        f"{CLOSED}, 1000 copies": lambda: _together(closed, many),
    }
    missing = ""
    try:
        calls[PEER] = _peer(copy.deepcopy(model), data)
    except ImportError:
        missing = "deep-lyapunov is not installed."
    shares = {name: 10.0 if name in (LOOP, PEER) else 0.1 if "1000" in name else 1.0 for name in calls}
    seconds, ratios = interleaved(calls, repeats=repeats, clock=time.process_time)
    comparison = Comparison("50 steps of 100 copies of the Iris network", "100 copies")
    comparison.seconds = {name: value * shares[name] for name, value in seconds.items()}
    comparison.ratios = {name: value * shares[name] / shares[LOOP] for name, value in ratios.items()}
    ends = _loop(model, data, few[:LOOPED])
    comparison.rows = [
        {
            "ensemble": name,
            "times faster than the loop": 1 / comparison.ratios[name],
            "largest relative difference": float(
                (calls[name]()[:LOOPED] - ends).abs().max() / ends.abs().max()
            ),
            "goal": 25.0 if name.startswith(CLOSED) else 12.0,
        }
        for name in list(calls)[1:]
        if name != PEER
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, on its first use of forward mode
        comparison.rows += [_tangents("Iris", k, model, data, repeats) for k in (1, 4, 83)]
        comparison.rows += [_tangents("digits", k, *_digits(), repeats) for k in (4, 16)]
    per_copy = comparison.seconds[f"{CLOSED}, 1000 copies"] / comparison.seconds[CLOSED]
    comparison.remarks = [
        f"CPU seconds of one thread; the loop is timed on {LOOPED} copies, those of 1000 copies are a tenth.",
        f"A copy among 1000 costs {per_copy:.2f} times one among 100 (goal 1.15).",
        "Tangents: loss, gradient and k Hessian products, in units of one gradient of the same form.",
        missing
        or f"{PEER} takes {comparison.ratios[PEER]:.2f} times the loop's time for the same copies and steps; "
        "its copies start 1 % apart, and its exponent has no window and no error.",
    ]
    return comparison
