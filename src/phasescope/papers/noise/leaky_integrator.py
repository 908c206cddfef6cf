"""An LSTM that is nothing but a leaky integrator: short memory by construction."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from phasescope.noise import record

_OPEN = 40.0  # sigmoid is 1 to the last digit
_DRIVE = 1e-5  # tanh is linear to 1e-9 for inputs of order 1
_SETTLED = 400  # 0.95^400 is 1e-9


def leaky_integrator(forget: float) -> nn.LSTM:
    r"""Return an LSTM of one unit with :math:`c_t = \varphi c_{t-1} + 10^{-5} x_t`, double precision.

    Notes
    -----
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
    """The cell of a leaky integrator of white Gaussian noise, shape (series, length), unit variance."""
    x = torch.from_numpy(random.standard_normal((series, _SETTLED + length, 1)))
    recording = record(leaky_integrator(forget), x, batch_axis=0)
    cell = recording.series(recording.layers[-1], "cell", discard=_SETTLED)[:, 0]
    return np.asarray(cell * math.sqrt(1 - forget**2) / _DRIVE)
