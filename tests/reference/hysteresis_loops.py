"""Loops by the book: one python loop over dwells, rows and values, one row at a time."""

import numpy as np
import torch


def readings(step, state, values, dwells, *, settle=8):
    """Readings on the way up and down, each (dwell, value, row, reading), without kicks."""
    up, down = [], []
    for dwell in dwells:
        rows = [
            _row(step, state[row : row + 1], values, dwell, settle * max(dwells)) for row in range(len(state))
        ]
        up.append(np.stack([row[0] for row in rows], axis=1))
        down.append(np.stack([row[1] for row in rows], axis=1))
    return np.array(up), np.array(down)


def _row(step, state, values, dwell, settle):
    for _ in range(settle):
        state = step(state, torch.full((1, 1), float(values[0]), dtype=state.dtype))
    seen = []
    for value in [*values, *values[::-1]]:
        for _ in range(dwell):
            state = step(state, torch.full((1, 1), float(value), dtype=state.dtype))
        seen.append(state[0].double().numpy().copy())
    return np.array(seen[: len(values)]), np.array(seen[len(values) :])[::-1]
