"""The largest eigenvalues of a Hessian beside scipy and three libraries, in forward-backward passes."""

from __future__ import annotations

import copy
import importlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.harness import Comparison, interleaved
from phasescope.training import Objective, objective, sharpness

TOLERANCE, TOP, RATE = 1e-3, 5, 0.1
PASS = "one forward-backward pass"
CLOSED, GRAPH = "phasescope, closed form", "phasescope, any module"
Values = Callable[[], np.ndarray]


def _trained(steps: int) -> tuple[nn.Sequential, tuple[Tensor, Tensor]]:
    """Return a 64-256-256-10 network, 85 002 weights, after some steps on 1400 digits."""
    digits, chosen = load_digits(), np.random.default_rng(0).permutation(1797)[:1400]
    data = torch.from_numpy(digits.data[chosen] / 16), torch.from_numpy(digits.target[chosen])
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)
    ).double()
    optimizer, loss = torch.optim.SGD(model.parameters(), lr=RATE), nn.CrossEntropyLoss()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model(data[0]), data[1]).backward()
        optimizer.step()
    return model, data


def _pass(model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    model.zero_grad()
    nn.functional.cross_entropy(model(data[0]), data[1]).backward()


def _objectives(model: nn.Module, data: Any) -> tuple[Objective, Objective]:
    closed, graph = (objective(model, nn.CrossEntropyLoss(), data) for _ in range(2))
    graph.closed = None
    return closed, graph


def _values(found: Any) -> np.ndarray:
    return np.array([each.value for each in found.eigenvalues])


def _scipy(product: Callable[[np.ndarray], np.ndarray], n: int, k: int) -> np.ndarray:
    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(n)
    return np.sort(eigsh(operator, k, which="LA", tol=TOLERANCE, v0=start, return_eigenvectors=False))[::-1]


def _eigsh(made: Objective, k: int) -> Values:
    def found() -> np.ndarray:
        _, _, product = made.linearised(made.initial)
        return _scipy(lambda v: product(torch.from_numpy(v.ravel())).numpy(), made.size, k)

    return found


def _pyhessian(module: Any, model: nn.Module, data: Any, k: int, most: int) -> Values:
    def found() -> np.ndarray:
        one = module.hessian(model, nn.CrossEntropyLoss(), data=data, cuda=False)
        return np.array(one.eigenvalues(maxIter=100, tol=TOLERANCE, top_n=k)[0])

    return found


def _eigenthings(module: Any, model: nn.Module, data: Any, k: int, most: int) -> Values:
    losses = importlib.import_module("hessian_eigenthings.loss_fns")

    def found() -> np.ndarray:
        operator = module.HessianOperator(model, [data], losses.supervised_loss(nn.functional.cross_entropy))
        one = module.lanczos(operator, k=k, max_iter=most, tol=TOLERANCE, which="LA", seed=0)
        return np.sort(np.asarray(one.eigenvalues, dtype=np.float64))[::-1]

    return found


def _curvlinops(module: Any, model: nn.Module, data: Any, k: int, most: int) -> Values:
    def found() -> np.ndarray:
        parameters = [p for p in model.parameters() if p.requires_grad]
        operator = module.HessianLinearOperator(
            model, nn.CrossEntropyLoss(), parameters, [data], check_deterministic=False
        ).to_scipy(dtype=np.float64)
        return _scipy(operator.matvec, operator.shape[0], k)

    return found


PEERS = {
    "PyHessian, power iteration": ("pyhessian", _pyhessian),
    "hessian-eigenthings, Lanczos": ("hessian_eigenthings", _eigenthings),
    "curvlinops and scipy eigsh": ("curvlinops", _curvlinops),
}


def _case(steps: int, k: int, repeats: int, comparison: Comparison) -> list[dict[str, Any]]:
    """Return one row for each contender: passes, products and the largest relative error."""
    model, data = _trained(steps)
    before, _ = _trained(steps - 1)
    closed, graph = _objectives(model, data)
    exact = _values(sharpness(closed, k=k, tolerance=1e-8, block=2))
    calls: dict[str, Callable[[], Any]] = {PASS: lambda: _pass(model, data)}
    products: dict[str, int] = {}
    found: dict[str, np.ndarray] = {}
    earlier = sharpness(objective(before, nn.CrossEntropyLoss(), data), k=k)
    for name, made in ((CLOSED, closed), (GRAPH, graph)):
        for suffix, start in (("", None), (", warm start", earlier)):
            key = name + suffix
            calls[key] = lambda made=made, start=start: sharpness(made, k=k, start=start, tolerance=TOLERANCE)
            one = calls[key]()
            products[key], found[key] = one.products, _values(one)
    calls["scipy eigsh on one graph"] = _eigsh(graph, k)
    found["scipy eigsh on one graph"] = calls["scipy eigsh on one graph"]()
    for name, (module, prepare) in PEERS.items():
        try:
            call = prepare(importlib.import_module(module), copy.deepcopy(model), data, k, products[GRAPH])
            found[name] = call()
        except Exception as reason:  # a library of others may fail in any way
            comparison.remarks.append(f"{name} is left out: {type(reason).__name__}: {reason}")
            continue
        calls[name] = call
    seconds, ratios = interleaved(calls, repeats=repeats, clock=time.process_time)
    label = f"top {k}, step {steps}"
    comparison.seconds |= {f"{label}: {name}": value for name, value in seconds.items()}
    comparison.ratios |= {f"{label}: {name}": value for name, value in ratios.items()}
    return [
        {
            "case": label,
            "contender": name,
            "passes": ratios[name],
            "products": products.get(name),
            "largest relative error": float(np.abs(values / exact - 1).max()),
        }
        for name, values in found.items()
    ]


def run(steps: tuple[int, ...] = (60,), repeats: int = 3) -> Comparison:
    """Return CPU seconds of one thread, and their ratio to one forward-backward pass of the model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    comparison = Comparison("Largest eigenvalues of a Hessian, 85 002 weights, to 1e-3", "one search")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for each in steps:
                for k in (1, TOP):
                    comparison.rows += _case(each, k, repeats, comparison)
    finally:
        torch.set_num_threads(threads)
    comparison.remarks += [
        "A pass is what a training loop does: zero_grad, forward, backward, in CPU seconds of one thread.",
        "Warm start: from the same search one step of gradient descent (rate 0.1) earlier.",
        "hessian-eigenthings takes a fixed number of products: here as many as phasescope (2 k by default).",
        "Goals: 30 passes for the top five, 10 for a warm call of the top one.",
    ]
    return comparison
