"""The model, the untrained model and shuffled input, recorded one after the other and measured alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from torch import nn

from phasescope import noise
from phasescope.errors import InputError
from phasescope.instruments.activation_noise_data import assemble
from phasescope.instruments.activation_noise_input import Chosen
from phasescope.instruments.activation_noise_rows import (
    MOST_UNITS,
    Cut,
    Row,
    add_null,
    cut_of,
    measured_rows,
)
from phasescope.recording.sequences import as_given, shuffled_in_time

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.noise import Recording

_UNTRAINED = 20230120  # added to the seed: that of the user's own network is often the same small number
_PASSES_ON = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


def measured(module: nn.Module, chosen: Chosen, seed: int, max_memory: int | None) -> xr.Dataset:
    """Return the dataset of the model, beside its nulls."""
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
