"""Editing a picture: the programme beside general optimisers on the very same problem, one thread."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from benchmarks.harness import Comparison
from phasescope.data import picture
from phasescope.synapses import MeanColour, PictureNet, edit, fit, sensitivity
from phasescope.synapses.sensitivity import PictureSensitivity

Array = np.ndarray
OURS = "phasescope, programme"
ONE = "one linear step by a dense KKT system"
MANY = "dense KKT systems with step halving"
SLSQP = "scipy SLSQP"
TRUST = "scipy trust-constr"

AMOUNT, RIDGE = 0.1, 1e-5


class Problem:
    """Least damage outside a region whose colour moves by 0.1 while two other regions stay."""

    def __init__(self, at: PictureSensitivity) -> None:
        height, width = at.shape
        self.at = at
        masks = torch.zeros(3, height, width, dtype=torch.bool)
        for mask, (top, left) in zip(masks, ((0.45, 0.4), (0.1, 0.1), (0.7, 0.75)), strict=True):
            mask[int(top * height) :, int(left * width) :][: height // 8, : width // 8] = True
        names = ("moved", "kept, upper left", "kept, lower right")
        self.properties = [MeanColour(mask, name=name) for mask, name in zip(masks, names, strict=True)]
        self.outside = ~masks[0]
        self.numbers = int(self.outside.sum()) * 3
        self.ridge = RIDGE * float(at.rms.square().mean())
        self.start = torch.tensor([at.value(prop) for prop in self.properties], dtype=torch.float64)
        self.targets = self.start + torch.tensor([AMOUNT, 0, 0], dtype=torch.float64)
        self._last: PictureSensitivity = at

    def look(self, difference: Array) -> PictureSensitivity:
        """Return the network there; asked again at the same place, it is not run again."""
        weights = self.at.weights + torch.from_numpy(np.asarray(difference, dtype=np.float64))
        if not torch.equal(weights, self._last.weights):
            self._last = self.at.at(weights)
        return self._last

    def change(self, at: PictureSensitivity) -> torch.Tensor:
        return (at.output - self.at.output) * self.outside[..., None]

    def cost(self, difference: Array, scale: float = 1e4) -> tuple[float, Array]:
        """Return half of the mean square damage and of the ridge, with the gradient, times a scale."""
        at = self.look(difference)
        change = self.change(at)
        value = float(change.square().sum()) / self.numbers + self.ridge * float(difference @ difference)
        slope = at.pulled_back(change).numpy() / self.numbers + self.ridge * difference
        return scale * value / 2, scale * slope

    def misses(self, difference: Array) -> Array:
        at = self.look(difference)
        values = [at.value(prop) for prop in self.properties]
        return np.array(values) - self.targets.numpy()

    def gradients(self, difference: Array) -> Array:
        at = self.look(difference)
        return at.pulled_back(torch.stack([p.gradient(at.output) for p in self.properties])).numpy()


def _kkt_step(problem: Problem, difference: Array) -> Array:
    """Return one linear step from the explicit maps and one dense system of step and multipliers."""
    at = problem.look(difference)
    maps = at.maps()[:, problem.outside].reshape(at.size, -1).numpy()
    hessian = maps @ maps.T / problem.numbers + problem.ridge * np.eye(at.size)
    rows = problem.gradients(difference)
    system = np.block([[hessian, rows.T], [rows, np.zeros((len(rows), len(rows)))]])
    _, slope = problem.cost(difference, 1.0)
    return np.linalg.solve(system, np.concatenate([-slope, -problem.misses(difference)]))[: at.size]


def _kkt(problem: Problem, steps: int) -> Array:
    """Linearise again; halve a step until the misses shrink."""
    difference = np.zeros(problem.at.size)
    for _ in range(steps):
        step, length = _kkt_step(problem, difference), 1.0
        if steps > 1:
            left = np.abs(problem.misses(difference)).sum()
            while length > 1e-3 and np.abs(problem.misses(difference + length * step)).sum() > left:
                length /= 2
        difference = difference + length * step
        if np.abs(problem.misses(difference)).max() < 1e-3 * AMOUNT:
            break
    return difference


def _scipy(problem: Problem, method: str, iterations: int) -> Array:
    constraint = {"type": "eq", "fun": problem.misses, "jac": problem.gradients}
    options: dict[str, Any] = {"maxiter": iterations}
    if method == "SLSQP":
        options["ftol"] = 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = minimize(
            problem.cost,
            np.zeros(problem.at.size),
            jac=True,
            method=method,
            constraints=[constraint],
            options=options,
        )
    return np.asarray(found.x)


def _ours(problem: Problem, **options: Any) -> Array:
    moved, *kept = problem.properties
    return edit(problem.at, {moved: AMOUNT}, kept, ridge=RIDGE, **options).difference.numpy()


def run(height: int = 64, width: int = 96, seconds: float = 10.0) -> Comparison:
    """Return CPU seconds of each way to the same edit, with what it reached and what it spoilt."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    comparison = Comparison(f"Editing one property of 497 weights, {height} x {width} pixels", "one edit")
    for name in ("flower", "china"):
        shown = picture(name, height=height, width=width)
        net = fit(PictureNet(seed=0), shown, seconds=seconds).net
        problem = Problem(sensitivity(net, height, width))
        calls: dict[str, Callable[[], Array]] = {
            OURS: lambda problem=problem: _ours(problem),
            ONE: lambda problem=problem: _kkt(problem, 1),
            MANY: lambda problem=problem: _kkt(problem, 20),
            SLSQP: lambda problem=problem: _scipy(problem, "SLSQP", 500),
            TRUST: lambda problem=problem: _scipy(problem, "trust-constr", 1000),
        }
        for contender, call in calls.items():
            start = time.process_time()
            difference = call()
            spent = time.process_time() - start
            at = problem.look(difference)
            misses = problem.misses(difference)
            comparison.rows.append(
                {
                    "picture": name,
                    "contender": contender,
                    "CPU seconds": spent,
                    "reached of 0.1": AMOUNT + float(misses[0]),
                    "largest drift of the kept": float(np.abs(misses[1:]).max()),
                    "damage, rms": float((problem.change(at).square().sum() / problem.numbers).sqrt()),
                    "||dw||": float(np.linalg.norm(difference)),
                }
            )
            key = f"{contender}, {name}"
            comparison.seconds[key] = spent
            comparison.ratios[key] = spent / comparison.seconds[f"{OURS}, {name}"]
    torch.set_num_threads(threads)
    comparison.remarks += [
        "One thread, CPU seconds of one call each. All minimise the same: mean square damage outside the "
        "region, and a ridge on the change; the general optimisers get exact gradients.",
        "SLSQP was given 500 iterations, trust-constr 1000 with its quasi-Newton Hessian.",
    ]
    return comparison
