"""What the recorder sees of a model on its fixed batch: signal, symptoms and noise, a few numbers each."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from phasescope import signal
from phasescope.errors import InputError
from phasescope.instruments.activation_noise.findings import STATES
from phasescope.instruments.activation_noise.sequences import (
    DISCARD,
    SHORTEST,
    chosen_sequences,
    common_length,
)
from phasescope.instruments.symptoms import Symptoms
from phasescope.recording.batch import as_batch
from phasescope.recording.sequences import as_given
from phasescope.signal.verdict import hidden_steps

LOOKS = ("signal", "symptoms", "noise")
_MOST_UNITS = 128  # of a quantity, that have an exponent
_NUMBER = re.compile(r"(?<![\w.])\d[\d.,]*(?:e[-+]?\d+)?(?=[\s%:,]|\.?$)")


class Looks:
    """Looks at the model as the user runs it, which each instrument leaves bit-identical."""

    def __init__(self, module: nn.Module, batch: Any, loss: Callable[..., Any] | None, seed: int) -> None:
        self._module, self._given, self._loss, self._seed = module, batch, loss, seed
        self._batch = as_batch(module, batch)
        self._known: set[str] = set()  # symptoms that have been told, and looks that saw nothing

    def take(self, look: str) -> tuple[dict[str, float], str]:
        """Return the numbers of a look, and what is to be told."""
        numbers, text = {"signal": self._signal, "symptoms": self._symptoms, "noise": self._noise}[look]()
        known = {name: value for name, value in numbers.items() if not math.isnan(value)}
        if not known and look not in self._known:
            self._known.add(look)
            return {}, f"{look}: {text}"
        return known, text if look == "symptoms" else ""

    def _signal(self) -> tuple[dict[str, float], str]:
        found = signal.profile(self._module, self._batch, loss=self._loss, seed=self._seed, theory=False)
        with np.errstate(divide="ignore"):
            rates = np.log(hidden_steps(found.dataset)["chi_perpendicular"].values)
        rates = rates[~np.isnan(rates)]
        margin = found.verdict.margin
        return {
            "signal_margin": margin.value,
            "signal_margin_error": margin.error,
            "signal_growth": float(rates[np.abs(rates).argmax()]) if rates.size else math.nan,
        }, found.verdict.reason

    def _symptoms(self) -> tuple[dict[str, float], str]:
        dataset = Symptoms(self._loss).measure(self._module, self._batch, seed=self._seed)
        sentences = [finding["sentence"] for finding in json.loads(dataset.attrs["found"])]
        modules = dict(self._module.named_modules())
        # A symptom stays the same one while its numbers change; the name of a module may be a number, too.
        names = [_NUMBER.sub(lambda n: n[0] if n[0] in modules else "#", text) for text in sentences]
        new = [text for name, text in zip(names, sentences, strict=True) if name not in self._known]
        self._known.update(names)
        return {"symptoms": float(len(names)), "symptoms_new": float(len(new))}, " ".join(new)

    def _noise(self) -> tuple[dict[str, float], str]:
        # What it stands on takes half a second to import, which a model without sequences need not wait for.
        from phasescope import noise

        chosen = chosen_sequences(self._module, self._given)
        recording = noise.record(self._module, as_given(chosen.inputs), time_axis=chosen.time_axis)
        ends = np.minimum(recording.lengths, chosen.lengths)  # a model may pack fewer than the batch tells
        stop = common_length(ends)
        states = [key for key in recording if key[1] in STATES] or [k for k in recording if k[1] == "output"]
        series = []
        for values in (recording[key] for key in states):
            units = np.linspace(0, values.shape[1] - 1, min(values.shape[1], _MOST_UNITS)).round().astype(int)
            if stop and values.shape[-1] == chosen.inputs.steps:  # else it has time steps of its own
                begin = DISCARD if stop - DISCARD >= SHORTEST else 0
                series.append(values[ends >= stop][:, units, begin:stop])
        if not series:
            raise InputError("no state has a series that is long enough.")
        mean = noise.population(np.concatenate(series, axis=1), tests=0).mean
        return {"noise_beta": mean.value, "noise_beta_error": mean.error}, mean.reason
