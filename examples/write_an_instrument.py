"""
Write an instrument of your own
===============================

A complete instrument in one file: the participation ratio of each layer, that is, how many directions the
inputs still span there. The public contract suite then holds it to the same promises as the built-in ones.
"""

import json

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import nn

import phasescope
from phasescope.instruments import Finding, Instrument
from phasescope.recording import as_batch, discover, first_float, run, untouched, watched
from phasescope.testing import check_instrument


def participation(z: torch.Tensor) -> float:
    """Return (sum s^2)^2 / sum s^4 over the singular values s of the centred outputs."""
    variances = torch.linalg.svdvals(z - z.mean(0)).square()
    return float(variances.sum() ** 2 / variances.square().sum()) if variances.any() else 0.0


def with_error(z: torch.Tensor) -> tuple[float, float]:
    """Return the participation ratio and its jackknife error over up to 8 groups of inputs."""
    parts = min(8, len(z))
    groups = torch.arange(len(z)) % parts
    without = [participation(z[groups != part]) for part in range(parts)]
    return participation(z), float((parts - 1) ** 0.5 * np.std(without))


class Participation(Instrument):
    """The number of directions that the inputs span after each layer."""

    name = "participation"
    title = "Directions spanned by the inputs"

    def applies(self, model, batch):
        return "" if isinstance(model, nn.Module) else "a plain function has no layers to compare"

    def measure(self, model, batch, *, seed=0, max_memory=None):
        if reason := self.applies(model, batch):
            raise phasescope.errors.InputError(f"{model!r}: {reason}.", "Pass an nn.Module.")
        seen = {}

        def observe(layer, arguments, output):
            seen[layer.name] = with_error(layer.samples(first_float(output), inputs.size).double())

        with untouched(model), torch.no_grad():
            # Dropout would be noise; batch statistics would make each input depend on the others.
            model.eval()
            inputs = as_batch(model, batch)
            layers = discover(model, inputs).layers
            # A forward pass, and the widest layer in double precision with what its SVD needs.
            need = 32 * inputs.size * max(layer.units for layer in layers)
            if max_memory is not None and need > max_memory:
                raise phasescope.errors.MemoryLimitError(f"{need} bytes needed, {max_memory} allowed.")
            with watched(model, layers, observe):
                run(model, inputs.take(0, inputs.size))
        values, errors = zip(*(seen.get(layer.name, (np.nan, np.nan)) for layer in layers), strict=True)
        name, unit = "participation ratio", {"units": "directions"}
        return xr.Dataset(
            {
                "participation": ("layer", list(values), unit | {"long_name": name}),
                "participation_error": ("layer", list(errors), unit | {"long_name": f"error of {name}"}),
            },
            coords={
                "layer": [layer.name for layer in layers],
                "kind": ("layer", [layer.kind for layer in layers]),
                "skipped": ("layer", [layer.skipped for layer in layers]),
            },
            attrs=self.attributes(model, inputs, seed=seed, citations="phasescope"),
        )

    def attributes(self, model, inputs, *, seed, citations):
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
            "citations": citations,
        }

    def findings(self, dataset):
        ratios = dataset["participation"].dropna("layer")
        if not ratios.size:
            return [Finding("No layer was measured.", "0 rows", "Pass real numbers.", "note")]
        first, last = float(ratios[0]), float(ratios[-1])
        sentence = f"The inputs span {last:.1f} directions after the last layer."
        error = float(dataset["participation_error"].sel(layer=ratios.layer[-1]))
        evidence = f"{first:.1f} after {ratios.layer.values[0]}, {last:.1f} ± {error:.1f} at the end"
        if last > first / 4:
            return [Finding(sentence, evidence, "", "ok")]
        return [Finding(sentence, evidence, "Check the phase: ordered networks lose directions.", "warning")]

    def figures(self, dataset):
        figure = Figure(figsize=(6, 3), layout="constrained")
        axes = figure.subplots()
        ratio, error = dataset["participation"].values, dataset["participation_error"].values
        axes.errorbar(range(len(ratio)), ratio, error, fmt="o-")
        axes.set(xlabel="row", ylabel="participation ratio")
        return {"participation": figure}


# %%
# The contract, over small models of many kinds. It raises with the name of the promise that is broken.

passed = check_instrument(Participation())
print(f"{len(passed)} checks passed, among them:", ", ".join(passed[:6]))

# %%
# ``inspect`` runs it beside the others.

torch.manual_seed(0)
layers = []
for _ in range(12):
    layers += [nn.Linear(100, 100), nn.Tanh()]
inspection = phasescope.inspect(nn.Sequential(*layers), torch.randn(64, 100), instruments=[Participation()])
print(inspection.findings[0])
figure = Participation().figures(inspection.datasets["participation"])["participation"]
figure
