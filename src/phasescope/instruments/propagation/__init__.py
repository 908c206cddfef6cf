"""Signal propagation: which phase a network is in, and how deep a signal and a gradient reach.

``signal.profile`` measures; ``weight_scale`` adds what would be critical, ``findings`` says what it means,
``figure`` draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from phasescope import signal
from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.propagation import findings as said
from phasescope.instruments.propagation.weight_scale import weight_scale
from phasescope.recording.batch import as_batch
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import nn


class SignalPropagation(Instrument):
    """Measures kernel, correlation, susceptibilities and gradients layer by layer.

    It applies to every module or other callable. The findings are the verdict on the phase and what else
    stands out, each with what to do; the figure "propagation" has three panels against depth, and "units"
    shows those that carry nothing, where there are some.

    Poole et al. 2016 (arXiv:1606.05340), Schoenholz et al. 2017 (arXiv:1611.01232), Roberts, Yaida and Hanin
    2022 (arXiv:2106.10165); the work is done by ``phasescope.signal.profile``.

    Parameters
    ----------
    loss : callable, optional
        As for ``profile``: the gradient is then the real one.
    targets : tensors, optional
        What `loss` compares the output with, beside the batch.
    """

    name = "propagation"
    title = "Signal propagation"

    def __init__(self, loss: Callable[..., Any] | None = None, targets: Any = None) -> None:
        self._loss, self._targets = loss, targets

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        return "" if callable(model) else f"a {type(model).__name__} cannot be called, so it is no model"

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
        given = batch
        if self._targets is not None:
            given = as_batch(as_module(model), batch, self._targets)
        profile = signal.profile(model, given, loss=self._loss, seed=seed, max_memory=max_memory)
        if profile.verdict.phase in ("critical", "not determined"):
            return profile.dataset
        return profile.dataset.assign_attrs(weight_scale=json.dumps(weight_scale(model, batch)))

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return said.findings(dataset, signal.verdict(dataset))

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope.instruments.propagation import figure

        figures = {"propagation": figure.propagation(dataset, signal.verdict(dataset))}
        if any((dataset[name].values > 0).any() for name in ("dead", "saturated", "nonfinite")):
            figures["units"] = figure.units(dataset)
        return figures

    def table(self, dataset: xr.Dataset) -> str:
        return str(signal.Profile(dataset, signal.verdict(dataset)))
