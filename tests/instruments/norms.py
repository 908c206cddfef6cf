"""An instrument as a third party would write it, in one file: the size of every layer's output."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from phasescope import plotting
from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments import Finding, Instrument
from phasescope.recording import alone


class OutputNorms(Instrument):
    name = "output_norms"
    title = "Size of every layer's output"

    def applies(self, model: Any, batch: Any) -> str:
        return "" if callable(model) else "it cannot be called"

    @alone()
    def measure(self, model: Any, batch: Any, *, seed: int = 0, max_memory: int | None = None) -> xr.Dataset:
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        inputs = self.check(batch)
        needed = 20 * sum(tensor.numel() * tensor.element_size() for tensor in tensors(batch))
        if max_memory is not None and max_memory < needed:
            raise MemoryLimitError(f"max_memory={max_memory} is too little")
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad():
            torch.manual_seed(seed)
            sizes = self.record(model, clone(batch))
        rows = self.rows(model, sizes)
        return self.dataset(model, rows, inputs, seed)

    def check(self, batch: Any) -> int:
        for tensor in tensors(batch):
            if tensor.shape[0] == 0:
                raise InputError("The batch is empty.", "Pass at least one input.")
            if not bool(torch.isfinite(tensor).all()):
                raise InputError("The batch holds NaN.", "Remove it.")
        return int(tensors(batch)[0].shape[0])

    def record(self, model: Any, batch: Any) -> dict[str, np.ndarray]:
        sizes: dict[str, np.ndarray] = {}
        if not isinstance(model, nn.Module):
            sizes["output"] = per_input(model(batch))
            return sizes
        twin = copy.deepcopy(model).eval()
        handles = []
        for name, module in twin.named_modules():
            if not list(module.children()):
                handles.append(
                    module.register_forward_hook(
                        lambda module, args, output, name=name: sizes.update({name: per_input(output)})
                    )
                )
        twin(*batch) if isinstance(batch, tuple) else twin(batch)
        for handle in handles:
            handle.remove()
        return sizes

    def rows(self, model: Any, sizes: dict[str, np.ndarray]) -> list[tuple[str, str, float, float]]:
        names = list(sizes)
        if isinstance(model, nn.Module):
            names = [name for name, module in model.named_modules() if not list(module.children())]
        rows = []
        for name in names:
            if name not in sizes:
                rows.append((name, "not called in forward", np.nan, np.nan))
                continue
            values = sizes[name]
            rows.append((name, "", values.mean(), values.std(ddof=1) / len(values) ** 0.5))
        return rows

    def dataset(
        self, model: Any, rows: list[tuple[str, str, float, float]], inputs: int, seed: int
    ) -> xr.Dataset:
        name, skipped, size, error = zip(*rows, strict=True)
        described = {"units": "1", "long_name": "mean square of the output"}
        return xr.Dataset(
            {
                "size": ("layer", np.array(size), described),
                "size_error": ("layer", np.array(error), described),
            },
            {"layer": list(name), "skipped": ("layer", list(skipped))},
            {
                "instrument": self.name,
                "model": type(model).__name__,
                "inputs": inputs,
                "seed": seed,
                "dtype": "float32",
                "device": "cpu",
                "versions": json.dumps({"torch": torch.__version__, "phasescope": "0"}),
                "mode": "eval",
                "notes": "[]",
                "citations": "poole2016",
            },
        )

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        largest = float(dataset["size"].max())
        return [Finding("All layers have an output.", f"largest mean square {largest:.3g}", "", "ok")]

    def figures(self, dataset: xr.Dataset) -> dict[str, Any]:
        with plotting.style():
            drawn, (axes,) = plotting.figure(1)
            axes.plot(dataset["size"].values, "o", color=plotting.MEASURED)
            axes.set_xlabel("row")
            axes.set_ylabel("mean square")
        return {"size": drawn}


def tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    values = batch.values() if isinstance(batch, dict) else batch
    return [tensor for value in values for tensor in tensors(value)]


def clone(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.detach().clone()
    if isinstance(batch, dict):
        return {key: clone(value) for key, value in batch.items()}
    return type(batch)(clone(value) for value in batch)


def per_input(output: Any) -> np.ndarray:
    first = output if isinstance(output, Tensor) else next(iter(output))
    return first.double().flatten(1).square().mean(dim=1).numpy()
