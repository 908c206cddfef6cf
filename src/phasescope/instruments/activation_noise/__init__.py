"""Noise of activations: white, 1/f, or a short memory that looks like it; and how many units make it.

``sequences`` chooses the series, ``measure`` computes, ``findings`` says what it means, ``figure`` draws.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.activation_noise import findings as said
from phasescope.instruments.activation_noise.sequences import chosen_sequences, no_series
from phasescope.instruments.contract import Finding, Instrument
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


class ActivationNoise(Instrument):
    r"""Measures how activations fluctuate in time, quantity by quantity, and how much units are used.

    Of each gate, state, residual stream and layer output along time: the exponent beta of the spectrum
    :math:`f^{-\beta}` from detrended fluctuation analysis, its spread over units apart from estimator noise,
    whether a short memory explains the curve, the share of idle units, and the number of units and of
    directions that carry the movement. The same for the untrained network and for sequences with their time
    shuffled. The work is done by ``noise.record``, ``noise.population`` and ``noise.utilisation``.

    It applies to models with a recurrent, attention or 1-d convolution layer, and sequences of at least 160
    time steps, packed or not, of which it uses at most 64. The dataset has a row for each layer and quantity;
    ``long_name`` says what its variables are. The findings say what kind of noise the states show and whether
    the units are used, each with what to do; the figure "noise" has fluctuation functions, beta of each unit,
    and beta of each quantity.

    Cost: three recordings and some 50 tests for short memory; on one core 6 s for an LSTM of 64 units on 64
    sequences of 300 steps, 20 s for 256 units and 1000 steps, 10 s for a transformer of 4 blocks of width 64
    and 40 s for one of 6 blocks of width 256 and 500 steps.

    References: Peng et al. 1994, doi:10.1103/PhysRevE.49.1685; the question is that of Chong and Feng,
    arXiv:2301.08530.
    """

    name = "noise"
    title = "Noise of activations"

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        return no_series(model, batch)

    @alone()
    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        # What it stands on takes half a second to import, which a model without sequences need not wait for.
        from phasescope.instruments.activation_noise.measure import measured

        module = as_module(model)
        with torch.inference_mode(False), torch.no_grad():
            return measured(module, chosen_sequences(module, batch), seed, max_memory)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return said.findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope.instruments.activation_noise.figure import figure

        return {"noise": figure(dataset)}

    def table(self, dataset: xr.Dataset) -> str:
        return said.table(dataset)
