"""Slow, obvious ensembles: the whole Jacobian, loops over weights and subsets, random search."""

import itertools

import numpy as np
import torch

from phasescope.synapses import Sensitivity, grid


class LinearOutput(Sensitivity):
    """A network whose output is a matrix times its weights: every map is a row that one can write down."""

    def __init__(self, maps, weights=None, groups=None, shape=None):
        self.rows = torch.as_tensor(maps, dtype=torch.float64)
        self.weights = torch.ones(len(self.rows), dtype=torch.float64) if weights is None else weights
        self.output = (self.rows.T @ self.weights).reshape(shape or (self.rows.shape[1],))
        self._groups = torch.arange(len(self.rows)) if groups is None else torch.as_tensor(groups)

    def pulled_back(self, seeds):
        return seeds.reshape(-1, self.rows.shape[1]).squeeze(0) @ self.rows.T

    def change(self, difference):
        return (difference @ self.rows).reshape(*difference.shape[:-1], *self.output.shape)

    def at(self, weights):
        return LinearOutput(self.rows, weights, self._groups, self.output.shape)

    def name(self, weight):
        return f"weight {weight}"

    def energy(self, masks):
        maps = self.rows.square().reshape(len(self.rows), *self.output.shape)
        if self.output.ndim > 1:
            maps = maps.sum(-1)
        return masks.double().reshape(-1, maps[0].numel()) @ maps.reshape(len(self.rows), -1).T

    @property
    def rms(self):
        return self.rows.square().mean(1).sqrt()

    @property
    def groups(self):
        return self._groups


def jacobian(net, height, width):
    """Return d picture / d weights by automatic differentiation, shape (weights, height, width, outputs)."""

    def paint(weights):
        points = grid(height, width)
        return torch.func.functional_call(net, {"weights": weights}, (points,)).reshape(height, width, -1)

    return torch.autograd.functional.jacobian(paint, net.weights.detach()).movedim(-1, 0).numpy()


def fewest(values, cover):
    """Return the size of the smallest set whose squares reach the covered share, by trying every set."""
    squares = np.square(values)
    for size in range(len(values) + 1):
        for chosen in itertools.combinations(range(len(values)), size):
            if squares[list(chosen)].sum() >= cover * squares.sum() * (1 - 1e-9):
                return size
    raise AssertionError


def mean_runs(groups, counts):
    """Return the mean number of runs over all ways to choose so many of each stretch of equal groups."""
    stretches = [list(g) for _, g in itertools.groupby(range(len(groups)), key=lambda i: groups[i])]
    ways = itertools.product(*(itertools.combinations(s, c) for s, c in zip(stretches, counts, strict=True)))
    runs = []
    for way in ways:
        chosen = {weight for part in way for weight in part}
        runs.append(sum(weight - 1 not in chosen for weight in chosen))
    return float(np.mean(runs))
