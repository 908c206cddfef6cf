"""The passes through a model that a profile is made of: tangents forward, cotangents back, chunk by chunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, first_float
from phasescope.recording.cotangents import pull_back
from phasescope.recording.discover import discover
from phasescope.recording.layers import Layer, drew_noise, run, watched
from phasescope.recording.memory import samples_that_fit
from phasescope.recording.tangents import (
    Push,
    push_difference,
    push_double_backward,
    push_forward,
    push_nothing,
)
from phasescope.recording.untouched import has_running_statistics
from phasescope.signal.measurement import Measurement

_WAYS: tuple[tuple[str, Push], ...] = (
    ("forward-mode differentiation", push_forward),
    ("double backward", push_double_backward),
    ("central differences", push_difference),
)
_NOT_AGAIN = "called for some inputs only: what forward calls depends on the data"
_ROUGH = 12  # live copies of all the rows' outputs that a pass certainly stays below


class Passes:
    """All the passes of one profile."""

    def __init__(self, model: nn.Module, batch: Batch, *, seed: int, probes: int) -> None:
        self.model = model
        self.batch = batch
        self.notes: list[str] = []
        self._seed, self._probes = seed, probes
        self.layers, coupled = discover(model, batch)
        if drew_noise():
            self.notes.append("forward draws random numbers, which were held fixed while measuring")
        elif coupled and not self._coupled():
            self.notes.append("the inputs influence each other: is their first axis that of the samples?")
        self._measured = [layer for layer in self.layers if not layer.skipped]
        self._chunk = batch.size
        self._push = self._choose_push()
        self._differentiable = True

    def choose_chunk(self, limit: float) -> list[str]:
        """Choose how many inputs are processed at once, so that `limit` bytes hold; return what to note.

        Where batch normalisation couples the inputs they cannot be split, and fewer are measured.
        """
        size = self.batch.size
        units = sum(layer.units for layer in self._measured) + self.batch.nbytes() // (4 * size)
        if _ROUGH * units * 8 * size <= limit:
            return []
        copies = 4 * self.batch.nbytes() // size

        def trial(samples: int) -> None:
            held = torch.empty(copies * samples, dtype=torch.uint8)
            self._measure(0, samples, Measurement(self.layers, samples, 1, self._seed))
            del held

        self._chunk = samples_that_fit(self.model, trial, size, limit)
        if self._chunk == size or not self._coupled():
            return []
        self.batch = self.batch.take(0, self._chunk)
        return [
            f"batch normalisation in training mode couples the inputs: the first {self._chunk} of {size} "
            "were measured, to stay within max_memory"
        ]

    def run(self) -> Measurement:
        """Return what all the passes give, chunk by chunk."""
        size = self.batch.size
        into = Measurement(self.layers, size, self._probes, self._seed)
        for start in range(0, size, self._chunk):
            self._measure(start, min(start + self._chunk, size), into)
        into.layers = [
            replace(layer, skipped=_NOT_AGAIN) if not layer.skipped and np.isnan(kernel).all() else layer
            for layer, kernel in zip(into.layers, into.kernel, strict=True)
        ]
        return into

    def eval_drift(self) -> dict[str, float] | None:
        """Return the kernel with running statistics over that with batch statistics, minus 1, by row."""
        norms = [m for m in self.model.modules() if has_running_statistics(m)]
        if not norms:
            return None
        kernels: list[dict[str, float]] = []
        for training in (True, False):
            for norm in norms:
                norm.training = training
            seen: dict[str, float] = {}

            def observe(
                layer: Layer, args: tuple[Any, ...], output: Any, seen: dict[str, float] = seen
            ) -> None:
                tensor = first_float(output)
                if tensor is not None:
                    seen[layer.name] = float(tensor.square().mean(dtype=torch.float64))

            try:
                with torch.no_grad(), watched(self._measured, observe):
                    run(self.model, self.batch.take(0, self._chunk))
            except InputError:  # one sample has no batch statistics
                return {}
            kernels.append(seen)
        return {
            name: kernels[1][name] / k - 1.0 for name, k in kernels[0].items() if k and name in kernels[1]
        }

    def _coupled(self) -> bool:
        return any(has_running_statistics(m) and m.training for m in self.model.modules())

    def _choose_push(self) -> Push:
        batch = self.batch.take(0, min(2, self.batch.size))
        probe = Measurement(self.layers, batch.size, 1, self._seed)
        words = ""
        for name, push in _WAYS:
            try:
                push(
                    self.model,
                    self._measured,
                    batch.take(0, batch.size),
                    lambda tensor, number: probe.perpendicular(tensor, number, 0, 0),
                    lambda layer, argument, z, u: None,
                )
            except (InputError, RuntimeError) as error:
                words = words or _first_words(error)
                continue
            if words:
                self.notes.append(f"tangents by {name}, without forward-mode differentiation: {words}")
            return push
        self.notes.append(f"no tangents, so no susceptibilities: {words}")
        return push_nothing

    def _measure(self, start: int, stop: int, into: Measurement) -> None:
        size = stop - start
        into.see_input(self.batch.take(start, stop), start)

        def see_primal(layer: Layer, argument: Tensor | None, z: Tensor, u: Tensor | None) -> None:
            into.see_primal(layer, argument, z, u, start, size)

        self._push(
            self.model,
            self._measured,
            self.batch.take(start, stop),
            lambda tensor, number: tensor.clone(),
            see_primal,
        )
        for probe in range(into.probes if self._push is not push_nothing else 0):
            self._push_across(start, stop, probe, into)
        if self._differentiable:
            self._pull(start, stop, into)

    def _push_across(self, start: int, stop: int, probe: int, into: Measurement) -> None:
        def tangent(tensor: Tensor, number: int) -> Tensor:
            return into.perpendicular(tensor, number, start, probe)

        def see(layer: Layer, argument: Tensor | None, z: Tensor, u: Tensor | None) -> None:
            into.see_across(layer, z, u, start, stop - start, probe)

        self._push(self.model, self._measured, self.batch.take(start, stop), tangent, see)

    def _pull(self, start: int, stop: int, into: Measurement) -> None:
        try:
            outputs = pull_back(
                self.model,
                self._measured,
                self.batch.take(start, stop),
                lambda tensor, number, probe: into.back(tensor, number, probe, start),
                into.probes,
                lambda layer, probe, gradient: into.see_back(layer, probe, gradient, start, stop - start),
            )
        except (InputError, RuntimeError) as error:
            self._differentiable = False
            self.notes.append(f"no gradients: {_first_words(error)}")
            return
        into.see_outputs(outputs, start, stop - start)


def _first_words(error: Exception) -> str:
    words = " ".join(str(error.__cause__ or error).split())
    return words if len(words) <= 120 else words[:117] + "..."
