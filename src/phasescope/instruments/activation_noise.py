"""Noise of activations: white, 1/f, or a short memory that looks like it; and how many units make it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from phasescope import noise
from phasescope.errors import InputError
from phasescope.instruments.activation_noise_findings import activation_noise_findings
from phasescope.instruments.activation_noise_input import Chosen, chosen_sequences, no_series
from phasescope.instruments.activation_noise_rows import (
    MOST_UNITS,
    Cut,
    Row,
    add_null,
    cut_of,
    measured_rows,
)
from phasescope.instruments.activation_noise_table import activation_noise_table
from phasescope.instruments.contract import Finding, Instrument
from phasescope.recording.modules import as_module
from phasescope.recording.series import as_given, shuffled_in_time

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from phasescope.noise import Recording

_UNTRAINED = 20230120  # added to the seed: that of the user's own network is often the same small number
_PASSES_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


class ActivationNoise(Instrument):
    r"""Measures how activations fluctuate in time, quantity by quantity, and how much units are used.

    Of each gate, state, residual stream and layer output along time: the exponent beta of the spectrum
    :math:`f^{-\beta}` from detrended fluctuation analysis, its spread over units apart from estimator noise,
    whether a short memory explains the curve, the share of idle units, and the number of units and of
    directions that carry the movement. The same for the untrained network and for sequences with their time
    shuffled. The work is done by ``noise.record``, ``noise.population`` and ``noise.utilisation``.

    Cost: three recordings and some 50 tests for short memory; 10 s for an LSTM of 64 units on 64 sequences of
    300 steps, 20 s for a transformer of 4 blocks, on one core.

    References: Peng et al. 1994, doi:10.1103/PhysRevE.49.1685; the question is that of Chong and Feng,
    arXiv:2301.08530.
    """

    name = "noise"
    title = "Noise of activations"

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        """Return "" for a sequence model with sequences of at least 160 time steps, else the reason.

        Parameters
        ----------
        model : nn.Module or callable
            The user's model, with a recurrent, attention or 1-d convolution layer.
        batch : Any
            What it is called with.
        """
        return no_series(model, batch)

    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        """Return a row for each layer and quantity; ``long_name`` says what the variables are.

        Parameters
        ----------
        model : nn.Module or callable
            The user's model.
        batch : tensor, packed sequence, sequence or mapping of tensors
            What it is called with; at most 64 of its sequences are used.
        seed : int
            Of the untrained network, of the shuffled time and of the tests.
        max_memory : int or None
            Bytes that the measurement may take beside the model and the batch.

        Raises
        ------
        InputError
            If the model has no series in time, or they are too short.
        """
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        module = as_module(model)
        with torch.inference_mode(False), torch.no_grad():
            return _measured(module, chosen_sequences(module, batch), seed, max_memory)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        """Return what kind of noise the states show and whether the units are used, each with what to do.

        Parameters
        ----------
        dataset : xr.Dataset
            What `measure` returned.
        """
        return activation_noise_findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        """Return "noise": fluctuation functions, beta of each unit, and beta of each quantity.

        Parameters
        ----------
        dataset : xr.Dataset
            What `measure` returned.
        """
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope.instruments.activation_noise_figure import activation_noise_figure

        return {"noise": activation_noise_figure(dataset)}

    def table(self, dataset: xr.Dataset) -> str:
        """Return the dataset as a plain text table.

        Parameters
        ----------
        dataset : xr.Dataset
            What `measure` returned.
        """
        return activation_noise_table(dataset)


def _measured(module: nn.Module, chosen: Chosen, seed: int, max_memory: int | None) -> xr.Dataset:
    from phasescope.instruments.activation_noise_data import assemble

    recording = _recorded(module, chosen, max_memory)
    cut = cut_of(recording, chosen.lengths, chosen.inputs.steps, max_memory)
    rows = measured_rows(recording, cut, _passing_on(module, recording), seed)
    notes = [*chosen.notes, *recording.notes, *_notes(rows, cut, chosen)]
    skipped = recording.skipped
    del recording
    shuffled = shuffled_in_time(chosen.inputs, cut.ends, seed=seed, time_axis=chosen.time_axis)
    add_null(
        rows,
        _recorded(module, Chosen(shuffled, chosen.lengths, chosen.time_axis, ()), max_memory),
        cut,
        "shuffled",
    )
    try:
        untrained = noise.reinitialised(module, seed=seed + _UNTRAINED)
        add_null(rows, _recorded(untrained, chosen, max_memory), cut, "untrained")
    except InputError as refused:
        notes.append(f"the untrained network was not measured: {refused}")
    flags = {part.training for part in module.modules()}
    tensors = [*module.parameters(), *chosen.inputs.floats()]
    attrs = {
        "model": str(getattr(module, "kind", type(module).__name__)),
        "parameters": sum(p.numel() for p in module.parameters()),
        "inputs": int(cut.rows.size),
        "seed": seed,
        "dtype": str(tensors[0].dtype if tensors else torch.get_default_dtype()).removeprefix("torch."),
        "device": str(tensors[0].device if tensors else "cpu"),
        "mode": "mixed" if len(flags) > 1 else ("train" if flags.pop() else "eval"),
        "notes": json.dumps(notes),
        "length": cut.length,
        "discarded": cut.discard,
    }
    return assemble(rows, skipped, attrs)


def _recorded(module: nn.Module, chosen: Chosen, max_memory: int | None) -> Recording:
    return noise.record(module, as_given(chosen.inputs), time_axis=chosen.time_axis, max_memory=max_memory)


def _passing_on(module: nn.Module, recording: Recording) -> list[str]:
    modules = dict(module.named_modules())
    return [name for name in recording.layers if isinstance(modules.get(name.split(" (")[0]), _PASSES_ON)]


def _notes(rows: list[Row], cut: Cut, chosen: Chosen) -> list[str]:
    sequences = f"{cut.rows.size} sequence{'s' if cut.rows.size > 1 else ''}"
    left = f", the first {cut.discard} steps of each left out" if cut.discard else ""
    notes = [f"measured on {sequences} of {cut.stop - cut.discard} time steps{left}"]
    if cut.pieces > 1:
        notes.append(f"each cut into {cut.pieces} pieces of {cut.length} steps, for the errors")
    if cut.rows.size < chosen.inputs.size:
        notes.append(f"{chosen.inputs.size - cut.rows.size} more are shorter than that and were left out")
    several = {row.layer for row in rows if row.use is not None and row.units.size < len(row.use.deviation)}
    if several:
        notes.append(
            f"exponents of at most {MOST_UNITS} units of a quantity, evenly chosen ({len(several)} layers)"
        )
    return notes
