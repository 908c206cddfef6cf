"""Levenberg-Marquardt beside L-BFGS, Adam and Rprop on scikit-learn's flower: RMSE against CPU seconds."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from benchmarks.harness import Comparison
from phasescope.data import picture
from phasescope.synapses import Fit, PictureNet, fit

LM = "phasescope, Levenberg-Marquardt: until the best peer's RMSE"
PEERS = {"lbfgs": "L-BFGS, float64", "adam": "Adam, float32", "rprop": "Rprop, float32"}


def _reached(found: Fit, error: float) -> float | None:
    """Return the CPU seconds after which a fit was at least as good."""
    good = found.curve[found.curve[:, 1] <= error]
    return float(good[0, 2]) if len(good) else None


def _horizon(net: PictureNet, target: Any, seconds: float) -> int:
    """Return the steps of Adam in the budget, over which its rate is to fall."""
    trial = fit(net, target, method="adam", seconds=min(1.0, seconds / 10))
    steps, _, spent = trial.curve[-1]
    return int(seconds * steps / spent)


def run(*, seeds: tuple[int, ...] = (0, 1, 2, 3, 4), seconds: float = 40.0, longest: int = 96) -> Comparison:
    """Return the CPU seconds that Levenberg-Marquardt needs for what the best peer has after its budget."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    target = picture("flower", longest=longest)
    height, width = target.values.shape[:2]
    comparison = Comparison(f"Training on the flower, {height} x {width} pixels, 497 weights", "CPU s")
    times: list[float] = []
    try:
        for seed in seeds:
            half, full = (PictureNet(seed=seed, dtype=t) for t in (torch.float32, torch.float64))
            horizon = _horizon(half, target, seconds)
            peers = {
                method: fit(
                    full if method == "lbfgs" else half,
                    target,
                    method=method,
                    seconds=seconds,
                    seed=seed,
                    horizon=horizon,
                ).rmse
                for method in PEERS
            }
            ours = fit(full, target, seconds=seconds)
            reached = _reached(ours, min(peers.values()))
            times.append(float("inf") if reached is None else reached)
            row: dict[str, Any] = {"seed": seed}
            row |= {f"RMSE, {name}": peers[method] for method, name in PEERS.items()}
            quarter = ours.curve[ours.curve[:, 2] <= seconds / 4]
            row |= {"RMSE, LM, a quarter of the time": float(quarter[-1, 1]), "RMSE, LM": ours.rmse}
            row["CPU s of LM until the best peer"] = reached
            comparison.rows.append(row)
    finally:
        torch.set_num_threads(threads)
    median = statistics.median(times)
    comparison.seconds = {LM: median} | dict.fromkeys(PEERS.values(), seconds)
    comparison.ratios = {LM: 1.0} | dict.fromkeys(PEERS.values(), seconds / median)
    comparison.remarks += [
        f"CPU seconds of one thread; {seconds:.0f} for each method and seed, the same initial weights.",
        "Adam: batches of 1024, rate 0.01 that falls as a cosine over the steps of its budget; "
        "L-BFGS: 50 pairs, strong Wolfe conditions; Rprop: full batch. The best weights of each count.",
        "Goal: the best peer's RMSE in a quarter of its time, median of the seeds; here in "
        f"1/{seconds / median:.1f}.",
    ]
    return comparison
