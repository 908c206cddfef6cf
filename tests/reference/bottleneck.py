"""Persistence of weights, slowly: Kruskal's algorithm edge by edge, and the max-min product as one cube."""

import numpy as np


def spanning_tree(strengths: np.ndarray) -> list[float]:
    """The edges of the maximum spanning tree, the strongest first."""
    inputs, outputs = strengths.shape
    parent = list(range(inputs + outputs))

    def root(unit: int) -> int:
        while parent[unit] != unit:
            unit = parent[unit]
        return unit

    tree = []
    for edge in np.argsort(-strengths, axis=None, kind="stable"):
        i, j = divmod(int(edge), outputs)
        a, b = root(i), root(inputs + j)
        if a != b:
            parent[a] = b
            tree.append(float(strengths[i, j]))
    return tree


def collapse(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The max-min product."""
    return np.minimum(left[:, :, None], right[None]).max(axis=1)
