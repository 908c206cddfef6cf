"""Edits the slow way: maps by differences, one dense system for step and multipliers, loops over subsets."""

import itertools

import torch


def jacobian(sensitivity, change=1e-5):
    """Rows are d output / d w, by central differences of real outputs; shape (size, outputs)."""
    rows = []
    for s in range(sensitivity.size):
        step = torch.zeros(sensitivity.size, dtype=torch.float64)
        step[s] = change
        high, low = (sensitivity.at(sensitivity.weights + sign * step).output for sign in (1, -1))
        rows.append((high - low).reshape(-1) / (2 * change))
    return torch.stack(rows)


def programme(jacobian, outside, gradients, wanted, ridge, columns=None):
    """The dw of least ||J dw outside||^2 / N + ridge ||dw||^2 with gradients . dw = wanted, and that cost.

    `outside` is a matrix over the flat output, `ridge` relative to the mean square of the maps.
    """
    count = len(jacobian)
    columns = list(range(count)) if columns is None else list(columns)
    scale = ridge * jacobian[columns].square().mean(1).mean() if ridge is not None else 1.0
    seen = jacobian[columns] @ outside
    numbers = round(float(outside.trace())) if outside.diagonal().min() == 0 else len(outside)
    hessian = seen @ seen.T / numbers + scale * torch.eye(len(columns), dtype=torch.float64)
    rows = gradients[:, columns]
    empty = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    system = torch.cat([torch.cat([hessian, rows.T], 1), torch.cat([rows, empty], 1)])
    solution = torch.linalg.solve(system, torch.cat([torch.zeros(len(columns)).double(), wanted]))
    step = torch.zeros(count, dtype=torch.float64)
    step[columns] = solution[: len(columns)]
    cost = float(step[columns] @ hessian @ step[columns])
    return step, cost


def best_subset(jacobian, outside, gradients, wanted, ridge, number):
    """The weights, so many of them, on which the programme costs least; by trying all."""
    found = []
    for columns in itertools.combinations(range(len(jacobian)), number):
        rows = gradients[:, list(columns)]
        if torch.linalg.matrix_rank(rows) < len(rows):
            continue
        # The ridge is that of all weights, whatever the subset.
        absolute = ridge * jacobian.square().mean(1).mean() / jacobian[list(columns)].square().mean(1).mean()
        step, cost = programme(jacobian, outside, gradients, wanted, float(absolute), columns)
        found.append((cost, columns, step))
    return min(found, key=lambda each: each[0])
