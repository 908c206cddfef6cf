"""Structure of weights: collapse of a chain beside the n^3 broadcast, and spectra with nulls beside SVDs."""

from __future__ import annotations

import importlib.util
import time
from itertools import pairwise

import numpy as np
import torch

from benchmarks.harness import Comparison, interleaved
from phasescope.structure import collapse, persistence, spanning_tree, tolerated_rank

SIZES = (784, 100, 100, 10)
SIDE, MATRICES = 512, 4


def _broadcast(chain: list[np.ndarray]) -> np.ndarray:
    """The max-min product as one cube, in rows so that it fits, as public code has it."""
    collapsed = chain[0]
    for edges in chain[1:]:
        rows = [np.minimum(row[:, None], edges).max(axis=0) for row in collapsed]
        collapsed = np.stack(rows)
    return collapsed


def _whole_cube(chain: list[np.ndarray]) -> np.ndarray:
    collapsed = chain[0]
    for edges in chain[1:]:
        collapsed = np.minimum(collapsed[:, :, None], edges[None]).max(axis=1)
    return collapsed


def _svds(matrices: list[np.ndarray]) -> list[np.ndarray]:
    return [np.linalg.svd(matrix, compute_uv=False) for matrix in matrices]


def _with_nulls(matrices: list[np.ndarray]) -> list[object]:
    return [(tolerated_rank(matrix), persistence(matrix, shuffles=9)) for matrix in matrices]


def run() -> Comparison:
    """Return the time of a collapse three ways, and that of spectra with their nulls."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    chain = [rng.random(shape) for shape in pairwise(SIZES)]
    ours, theirs = collapse(chain), _whole_cube(chain)
    comparison = Comparison("Collapse of a 784-100-100-10 network", "one chain")
    comparison.seconds, comparison.ratios = interleaved(
        {
            "phasescope": lambda: collapse(chain),
            "cube in one": lambda: _whole_cube(chain),
            "cube row by row": lambda: _broadcast(chain),
        },
        clock=time.process_time,
    )
    unpaired = np.sum((1 - spanning_tree(ours)) ** 2) + 1.0
    comparison.rows = [
        {
            "what": "largest difference of the collapsed strengths",
            "value": float(np.abs(ours - theirs).max()),
        },
        {"what": "sum of squared persistences with the class that is never paired", "value": float(unpaired)},
    ]
    matrices = [rng.standard_normal((SIDE, SIDE)) for _ in range(MATRICES)]
    contenders = {
        "phasescope: ranks, persistence, nulls": lambda: _with_nulls(matrices),
        "SVDs alone": lambda: _svds(matrices),
    }
    comparison.remarks = ["WeightWatcher is not installed here."]
    if importlib.util.find_spec("weightwatcher") is not None:
        watcher = _watcher(matrices)
        contenders |= {
            "WeightWatcher with its null": lambda: watcher.analyze(randomize=True),
            "WeightWatcher without": watcher.analyze,
        }
        comparison.remarks = [
            "WeightWatcher's default compares with nothing; with randomize=True it draws one shuffled matrix "
            "for each. Ours draw nine, and measure rank and persistence where it fits a tail."
        ]
    seconds, ratios = interleaved(contenders, repeats=3, clock=time.process_time)
    for name in contenders:
        what = f"{MATRICES} matrices of {SIDE}, {name}: CPU s, and beside phasescope"
        comparison.rows.append({"what": what, "value": seconds[name], "ratio": ratios[name]})
    return comparison


def _watcher(matrices: list[np.ndarray]) -> object:
    import weightwatcher

    layers = [torch.nn.Linear(SIDE, SIDE, bias=False) for _ in matrices]
    for layer, matrix in zip(layers, matrices, strict=True):
        layer.weight.data.copy_(torch.from_numpy(matrix))
    return weightwatcher.WeightWatcher(model=torch.nn.Sequential(*layers))
