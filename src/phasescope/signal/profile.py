"""A user's own module, layer by layer: kernel, correlation, susceptibilities and gradient."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.batch import as_batch
from phasescope.recording.memory import default_limit, in_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import quiet, untouched
from phasescope.signal.dataset import assemble
from phasescope.signal.measurement import Measurement
from phasescope.signal.passes import Passes
from phasescope.signal.prediction import predict
from phasescope.signal.table import table
from phasescope.signal.verdict import Verdict, verdict

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Profile:
    """What ``profile`` measured.

    Parameters
    ----------
    dataset : xarray.Dataset
        Every number, along the dimension ``layer``: measured rows and skipped ones.
    verdict : Verdict
        Phase, margin and depth scales.
    """

    dataset: xr.Dataset
    verdict: Verdict

    @property
    def notes(self) -> list[str]:
        """What was changed or noticed during the measurement."""
        notes: list[str] = json.loads(self.dataset.attrs["notes"])
        return notes

    def __str__(self) -> str:
        return table(self.dataset, self.verdict)


def profile(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    seed: int = 0,
    max_memory: int | float | str | None = None,
    probes: int = 2,
    theory: bool = True,
) -> Profile:
    r"""Return kernel, correlation, susceptibilities and gradient of every layer of a model on real inputs.

    Rows are the calls of modules without children. For each row, over the inputs:

    - the kernel :math:`K = |z|^2 / n`, n units;
    - the correlation :math:`c` and the distance :math:`\rho = 1 - c` of the pairs (0, 1), (2, 3), ...;
    - :math:`\chi_\perp`, the growth from one weight layer to the next of :math:`|u_\perp|^2 / n`, u being
      random tangents pushed forward from the input and :math:`u_\perp = u - (z \cdot u / z \cdot z) z`; a
      ratio of means over the inputs, so that the product over the layers is the growth through them all;
    - :math:`\chi_\parallel`, the growth of :math:`z \cdot u / n`, u being the tangent along the input;
    - the gradient, the squared norm of random cotangents of the output pulled back to the row, relative to
      the output: it is multiplied by :math:`\chi_\perp` per layer whatever the widths.

    Parameters
    ----------
    model : nn.Module or callable
        The model; at initialisation or trained. A plain callable is one row, "output".
    batch : tensor, tuple, list or mapping of tensors
        Inputs as the model takes them, samples along the first axis; of an (inputs, labels) pair the first.
    seed : int
        Seed of the random tangents and cotangents.
    max_memory : int or str, optional
        Memory that the measurement may take beyond model and batch, in bytes or as "512MB"; by default twice
        the weights, or 1 GB if that is more.
    probes : int
        Number of random tangents and of random cotangents.
    theory : bool
        Whether to add the infinite-width prediction where the layers are recognised.

    Returns
    -------
    Profile
        Dataset, verdict, and a table as ``str``.

    Notes
    -----
    An InputError is raised if the model is not callable, or the batch is empty, not finite or not accepted by
    the model. The model is left as it was, bit for bit. Dropout is off while measuring; batch normalisation
    works in the mode that the model is in. Errors are one standard error over inputs, the weights being
    fixed. Cost: about ``3 (1 + probes)`` forward passes and `probes` backward passes.

    References
    ----------
    Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232; Roberts, Yaida and Hanin
    2022, arXiv:2106.10165, chapter 5.
    """
    _check_numbers(seed, probes)
    module = as_module(model)
    inputs = as_batch(module, batch)
    limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
    mode = _mode(module)
    with untouched(module):
        notes = [*inputs.notes, *_dropout_note(module)]
        quiet(module)
        passes = Passes(module, inputs, seed=seed, probes=probes)
        notes += passes.choose_chunk(limit)
        measurement = passes.run()
        drift = passes.eval_drift()
    notes += [*passes.notes, *_input_notes(measurement), *_cut_note(measurement)]
    dataset = assemble(module, measurement, mode=mode, notes=notes, drift=drift, batch=passes.batch)
    if theory:
        predict(dataset, measurement)
    decision = verdict(dataset)
    dataset.attrs |= {"phase": decision.phase, "verdict": json.dumps(decision.to_dict())}
    return Profile(dataset, decision)


def _check_numbers(seed: int, probes: int) -> None:
    if seed < 0:
        raise InputError(f"seed is {seed}.", "Give a whole number from 0.")
    if probes < 1:
        raise InputError(f"probes is {probes}.", "Give a whole number from 1.")


def _mode(module: nn.Module) -> str:
    flags = {m.training for m in module.modules()}
    return "mixed" if len(flags) > 1 else ("train" if flags.pop() else "eval")


def _dropout_note(module: nn.Module) -> list[str]:
    active = [name for name, m in module.named_modules() if m.training and _drops(m)]
    if not active:
        return []
    return [
        f"dropout was switched off while measuring ({len(active)} module(s), "
        f"first {active[0] or 'the model'})"
    ]


def _drops(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    return isinstance(module, (nn.RNNBase, nn.MultiheadAttention)) and module.dropout > 0


def _input_notes(measurement: Measurement) -> list[str]:
    if measurement.samples < 2:
        return ["correlation not determined: the batch holds one input, and a pair is needed"]
    alike, pairs = int(measurement.identical.sum()), len(measurement.identical)
    if alike == pairs:
        return ["correlation not determined: the two inputs of every pair are identical"]
    return [f"{alike} of {pairs} pairs of inputs are identical and were left out"] if alike else []


def _cut_note(measurement: Measurement) -> list[str]:
    reached = np.isfinite(measurement.across).any(axis=(0, 2))
    healthy = np.isfinite(measurement.kernel).any(axis=1)
    cut = [
        layer.name for layer, t, k in zip(measurement.layers, reached, healthy, strict=True) if k and not t
    ]
    if not cut or not reached.any():
        return []
    return [f"no tangent reaches {len(cut)} row(s), first {cut[0]}: cut off from the input"]
