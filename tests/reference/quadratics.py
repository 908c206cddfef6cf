"""Losses whose second derivative is known: ``w A w / 2``."""

import numpy as np
import torch
from torch import nn


class Weights(nn.Module):
    """Puts out its parameters, which makes any function of them a loss."""

    def __init__(self, *sizes):
        super().__init__()
        self.parts = nn.ParameterList([nn.Parameter(torch.ones(size, dtype=torch.float64)) for size in sizes])

    def forward(self, x):
        return torch.cat(list(self.parts))


ONE = torch.ones(1, dtype=torch.float64)


def quadratic(matrix):
    """The loss with this second derivative: a matrix, or its diagonal."""
    A = torch.as_tensor(np.asarray(matrix, dtype=float))
    return lambda w, _batch: 0.5 * ((A * w * w).sum() if A.ndim == 1 else w @ A @ w)


def rotated(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return (turn * np.asarray(eigenvalues, dtype=float)) @ turn.T
