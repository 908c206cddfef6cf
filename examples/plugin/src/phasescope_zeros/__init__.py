"""The share of zeros in the output of each layer, as an instrument of phasescope."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import nn

import phasescope
from phasescope import citations
from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments import Finding, Instrument
from phasescope.recording import Batch, as_batch, discover, first_float, run, untouched, watched

__all__ = ["Zeros"]

_MANY = 0.9  # of the outputs of a layer
# Keys begin with the name of the package, so that those of two packages differ.
_SOURCE = "zeros-glorot2011"
citations.register(
    _SOURCE,
    """@inproceedings{zeros-glorot2011,
  title = {Deep Sparse Rectifier Neural Networks},
  author = {Glorot, Xavier and Bordes, Antoine and Bengio, Yoshua},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year = {2011},
}""",
)


class Zeros(Instrument):
    """Measures which share of the output of each layer is exactly zero, as a mean over the inputs."""

    name = "zeros"
    title = "Zeros in the output of each layer"

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        """Return "" for a module, else why not."""
        return "" if isinstance(model, nn.Module) else "a plain function has no layers to look at"

    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        """Return the share of zeros of each layer and its standard error over the inputs."""
        if reason := self.applies(model, batch):
            raise InputError(f"{model!r}: {reason}.", "Pass an nn.Module.")
        seen: dict[str, tuple[float, float]] = {}

        def observe(layer: Any, arguments: Any, output: Any) -> None:
            zero = (layer.samples(first_float(output), inputs.size) == 0).double().mean(1)
            error = float(zero.std()) / inputs.size**0.5 if inputs.size > 1 else np.nan
            seen[layer.name] = float(zero.mean()), error

        with untouched(model), torch.no_grad():
            # Dropout would be noise; batch statistics would make each input depend on the others.
            model.eval()
            inputs = as_batch(model, batch)
            layers = discover(model, inputs).layers
            # One forward pass, and its widest layer once more as booleans and in double precision.
            need = 32 * inputs.size * max(layer.units for layer in layers)
            if max_memory is not None and need > max_memory:
                raise MemoryLimitError(f"{need} bytes are needed, {max_memory} are allowed.")
            with watched(model, layers, observe):
                run(model, inputs.take(0, inputs.size))
        shares, errors = zip(*(seen.get(layer.name, (np.nan, np.nan)) for layer in layers), strict=True)
        return xr.Dataset(
            {
                "zeros": ("layer", list(shares), {"units": "1", "long_name": "share of zeros"}),
                "zeros_error": ("layer", list(errors), {"units": "1", "long_name": "its standard error"}),
            },
            coords={
                "layer": [layer.name for layer in layers],
                "kind": ("layer", [layer.kind for layer in layers]),
                "skipped": ("layer", [layer.skipped for layer in layers]),
            },
            attrs=self._attributes(model, inputs, seed),
        )

    def _attributes(self, model: nn.Module, inputs: Batch, seed: int) -> dict[str, str | int]:
        weight = next(model.parameters(), torch.zeros(1))
        return {
            "instrument": self.name,
            "model": type(model).__name__,
            "inputs": inputs.size,
            "seed": seed,
            "dtype": str(weight.dtype).removeprefix("torch."),
            "device": str(weight.device),
            "versions": json.dumps({"phasescope": phasescope.__version__, "torch": torch.__version__}),
            "mode": "eval",
            "notes": json.dumps(list(inputs.notes)),
            "citations": _SOURCE,
        }

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        """Return which layer has the most zeros."""
        shares = dataset["zeros"].dropna("layer")
        if not shares.size:
            return [Finding("No layer was measured.", "0 rows", "Pass real numbers.", "note")]
        name = str(shares.layer.values[np.argmax(shares.values)])
        share, error = (float(dataset[what].sel(layer=name)) for what in ("zeros", "zeros_error"))
        evidence = f"{share:.3f} ± {error:.3f} over {dataset.attrs['inputs']} inputs"
        if share <= _MANY:
            return [Finding("No layer gives mostly zeros.", f"at most {evidence}", "", "ok")]
        sentence = f"Of the output of {name or 'the model'}, {share:.0%} is zero."
        return [
            Finding(sentence, evidence, "Lower its bias, or use GELU in place of ReLU.", "warning", "units")
        ]

    def table(self, dataset: xr.Dataset) -> str:
        """Return the share of zeros of each layer that was measured, one a line."""
        rows = zip(dataset["layer"].values, dataset["zeros"].values, dataset["skipped"].values, strict=True)
        return "\n".join(f"{str(name)[-40:]:<40} {share:6.1%}" for name, share, reason in rows if not reason)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        """Return the share of zeros against the rows."""
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        shares, errors = dataset["zeros"].values, dataset["zeros_error"].values
        axes.errorbar(range(1, len(shares) + 1), shares, errors, fmt="o")
        axes.set(xlabel="row", ylabel="share of zeros", ylim=(-0.05, 1.05))
        return {"share_of_zeros": figure}
