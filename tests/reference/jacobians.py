"""Singular values of derivatives, the plain way: one Jacobian at a time by reverse mode, in float64."""

import numpy as np
import torch


def numbers(function, x, snr=100.0):
    """Gain, spread, participation, bits and ranks of a function at one input."""
    J = torch.autograd.functional.jacobian(lambda one: function(one[None])[0].reshape(-1), x)
    J = J.reshape(len(J), -1)
    s = torch.linalg.svdvals(J).numpy()
    squares = s**2
    return {
        "gain": squares.sum() / len(J),
        "spread": (squares**2).mean() / squares.mean() ** 2 - 1,
        "participation": squares.sum() ** 2 / (squares**2).sum(),
        "bits": (0.5 * np.log2(1 + snr * squares / squares.mean())).mean(),
        "rank": [(s > t * s.max()).sum() for t in (1e-1, 1e-2, 1e-3)],
        "rank_gram32": (s > (1.19e-7 * x.numel()) ** 0.5 * s.max()).sum(),
    }


def feature_participation(features):
    """The participation ratio of the covariance of differences of pairs, pair by pair."""
    y = (features[0::2] - features[1::2]) / 2**0.5
    above = below = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            if i != j:
                above += (y[i] @ y[i]) * (y[j] @ y[j])
                below += (y[i] @ y[j]) ** 2
    return float(above / below)
