"""Recurrence measures as their definitions read: every pair, every line, one at a time."""

import math

import numpy as np


def distances(x, dimension=1, delay=1):
    n = len(x) - (dimension - 1) * delay
    return np.array(
        [
            [max(abs(x[i + k * delay] - x[j + k * delay]) for k in range(dimension)) for j in range(n)]
            for i in range(n)
        ]
    )


def lines(cells):
    """Lengths of the runs of True in a list."""
    found, run = [], 0
    for cell in [*cells, False]:
        if cell:
            run += 1
        elif run:
            found.append(run)
            run = 0
    return found


def measures(apart, threshold, theiler, shortest):
    n = len(apart)
    hit = [[apart[i][j] <= threshold and abs(i - j) >= theiler for j in range(n)] for i in range(n)]
    pairs = sum(abs(i - j) >= theiler for i in range(n) for j in range(n))
    diagonal = [
        one
        for lag in range(1 - n, n)
        for one in lines([hit[i][i + lag] for i in range(n) if 0 <= i + lag < n])
    ]
    vertical = [one for i in range(n) for one in lines([hit[j][i] for j in range(n)])]
    points = sum(diagonal)
    assert points == sum(vertical)
    along = [one for one in diagonal if one >= shortest]
    upright = [one for one in vertical if one >= shortest]
    shares = [along.count(one) / len(along) for one in set(along)]
    return {
        "rate": points / pairs,
        "determinism": sum(along) / points,
        "laminarity": sum(upright) / points,
        "trapping_time": sum(upright) / len(upright),
        "mean_diagonal": sum(along) / len(along),
        "longest_diagonal": max(along),
        "entropy": -sum(p * math.log(p) for p in shares),
    }
