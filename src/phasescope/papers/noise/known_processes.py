"""Processes whose fluctuations are known exactly: a leaky integrator, and fractional noise after a gate."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from phasescope.noise import expected_fluctuation, record
from phasescope.noise.fluctuation import fluctuations
from phasescope.papers.noise.shared import slopes

Array = NDArray[np.float64]

# What a gate does to what enters it, by name; from the mildest to the hardest.
FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "none": lambda x: x,
    "sigmoid(4x - 6)": lambda x: np.asarray(expit(4 * x - 6)),
    "tanh(3x)": lambda x: np.tanh(3 * x),
    "sign": np.sign,
}

_OPEN = 40.0  # sigmoid is 1 to the last digit
_DRIVE = 1e-5  # tanh is linear to 1e-9 for inputs of order 1
_SETTLED = 400  # 0.95^400 is 1e-9
_TERMS = 300
_REACH, _POINTS = 12.0, 24_000  # an even number: no point at 0, where functions jump
_BLOCK = 100  # series at a time


def leaky_integrator(forget: float) -> nn.LSTM:
    r"""Return an LSTM of one unit with :math:`c_t = \varphi c_{t-1} + 10^{-5} x_t`, double precision.

    Input gate 1, candidate :math:`\tanh(10^{-5} x_t)`, output gate 1/2, no recurrent weights. With white
    input the cell is the autoregressive process of first order, whose autocovariance is :math:`\varphi^k`.
    """
    lstm = nn.LSTM(1, 1, batch_first=True, dtype=torch.float64)
    at_rest = [_OPEN, math.log(forget / (1 - forget)), 0.0, 0.0]  # input, forget, candidate, output
    with torch.no_grad():
        for weights in lstm.parameters():
            weights.zero_()
        weight, _, bias, _ = lstm.parameters()
        weight[2] = _DRIVE
        bias.copy_(torch.tensor(at_rest, dtype=torch.float64))
    return lstm


def integrated_noise(forget: float, length: int, series: int, random: np.random.Generator) -> np.ndarray:
    """Return the cell of a leaky integrator of white noise, shape (series, length), unit variance.

    `forget` is at most 0.95: the start is forgotten in 400 steps.
    """
    x = torch.from_numpy(random.standard_normal((series, _SETTLED + length, 1)))
    recording = record(leaky_integrator(forget), x, batch_axis=0)
    cell = recording.series(recording.layers[-1], "cell", discard=_SETTLED)[:, 0]
    return np.asarray(cell * math.sqrt(1 - forget**2) / _DRIVE)


def autocovariance_after(function: Callable[[Array], Array], correlations: Array) -> Array:
    r"""Return the autocovariance of f(x_t) for Gaussian x of unit variance and known correlations below 0.95.

    :math:`\sum_{m \ge 1} c_m^2 \rho^m` with :math:`c_m = E[f(z)\,\mathrm{He}_m(z)]/\sqrt{m!}` (Mehler's
    formula), the variance of f(z) at lag 0. A jump of f has to be at 0. Source: derived here; compare Price,
    IRE Trans. Inf. Theory 4, 69 (1958). Precise to 1e-6 of the variance.
    """
    z = np.linspace(-_REACH, _REACH, _POINTS)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    values = function(z)
    before, now = np.zeros_like(z), np.ones_like(z)
    coefficients = np.empty(_TERMS)
    for m in range(_TERMS):
        coefficients[m] = (values * now) @ weight
        before, now = now, (z * now - np.sqrt(m) * before) / np.sqrt(m + 1)
    mean, square = coefficients[0], values**2 @ weight
    found = np.polynomial.polynomial.polyval(correlations, coefficients**2) - mean**2
    found[correlations == 1] = square - mean**2
    return np.asarray(found)


def against_exact(
    series: Array, windows: NDArray[np.int64], autocovariance: Array
) -> dict[str, Array | float]:
    r"""Return the fluctuations of many series of one process beside the exact ones, and exponents of both.

    `fluctuation` and `exact` are roots of the mean of :math:`F^2(n)` over series and of its expectation;
    `beta`, `beta_error` and `exact_beta` come from a line of least squares through them; `distance` between
    both, in all windows at once, is Hotelling's statistic, which has the law of F with (windows, series -
    windows) degrees of freedom if the expectation is true; `plain_beta` and `plain_beta_error` are of single
    series, smaller since the logarithm is taken before the mean.
    """
    parts = [series[start : start + _BLOCK] for start in range(0, len(series), _BLOCK)]
    profiles = ((part - part.mean(axis=1, keepdims=True)).cumsum(axis=1) for part in parts)
    squares = np.concatenate(
        [fluctuations(profile, windows, 1, both_ends=True, overlap=False) ** 2 for profile in profiles]
    )
    exact = expected_fluctuation(autocovariance, windows)
    mean = squares.mean(axis=0)
    n, root = np.log(windows), math.sqrt(len(series))
    plain = 2 * slopes(np.log(squares) / 2, n) - 1
    return {
        "fluctuation": np.sqrt(mean),
        "exact": exact,
        "beta": float(slopes(np.log(mean), n) - 1),
        "beta_error": float(slopes(squares / mean, n).std(ddof=1) / root),
        "exact_beta": float(2 * slopes(np.log(exact), n) - 1),
        "distance": _hotelling(squares / exact**2 - 1),
        "plain_beta": float(plain.mean()),
        "plain_beta_error": float(plain.std(ddof=1) / root),
    }


def _hotelling(differences: Array) -> float:
    """Return the distance of the mean of many series, shape (series, windows), from zero."""
    n, p = differences.shape
    mean, covariance = differences.mean(axis=0), np.cov(differences, rowvar=False) / n
    squared = mean @ np.linalg.solve(covariance, mean)
    return float(squared * (n - p) / (p * (n - 1)))
