"""A user's own module, layer by layer: kernel, correlation, susceptibilities and gradient."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.circumstances import circumstances
from phasescope.recording.layers import Layer
from phasescope.recording.memory import default_limit, in_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result
from phasescope.signal.measurement import Measurement, Passes
from phasescope.signal.prediction import predict
from phasescope.signal.table import table
from phasescope.signal.verdict import Verdict, verdict

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Profile(Result):
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

    @property
    def sentence(self) -> str:
        """The phase, and the numbers behind it."""
        return str(self.verdict)

    def __str__(self) -> str:
        return table(self.dataset, self.verdict)


@alone()
def profile(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    loss: Callable[..., Any] | None = None,
    seed: int = 0,
    max_memory: int | float | str | None = None,
    probes: int = 2,
    theory: bool = True,
) -> Profile:
    r"""Return kernel, correlation, susceptibilities and gradient of every layer of a model on real inputs.

    One pass is traced. The *stream* is the values through which every path from input to output goes:
    the layers of a chain, the sums of a residual network, whether or not a module gives them. Calls beside it
    of modules that call no other are *branches*, each with the row of the stream in which it ends. Of
    several inputs each has a stream of its own (a `chain`; the longest is 0) unless they meet at once. A
    *step* is a weight layer, a sum of two signals or a concatenation on the stream. For each row, over the
    inputs:

    - the kernel :math:`K = |z|^2 / n`, n units;
    - the correlation :math:`c` and the distance :math:`\rho = 1 - c` of the pairs (0, 1), (2, 3), ...;
    - the gradient, the squared norm of random cotangents of the output pulled back to the row, relative to
      the output: a sum over the units of the row;
    - at a sum the share :math:`|b|^2 / (|b|^2 + |s|^2)` of its branch b beside the stream s;
    - at a step :math:`\chi_\perp`, the growth since the step before of :math:`|u_\perp|^2 / n`, u being
      random tangents pushed forward from the input and :math:`u_\perp = u - (z \cdot u / z \cdot z) z`; a
      ratio of means over the inputs, so that the product over the steps is the growth through them all;
    - at a step :math:`\chi_\parallel`, the growth of :math:`z \cdot u / n`, u being the tangent along the
      input.

    Parameters
    ----------
    model : nn.Module or callable
        The model; at initialisation or trained. Of a plain callable the operations are the rows.
    batch : tensor, tuple, list or mapping of tensors
        Inputs as the model takes them, samples along the first axis; of an (inputs, labels) pair the first.
    loss : callable, optional
        ``loss(output)``, or ``loss(output, targets)`` with what the batch holds beside the arguments of the
        model, as the labels of (inputs, labels), or else with the batch itself. Its gradient by the output
        takes the place of the random cotangents.
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
    the model. The model is left as it was, bit for bit. Dropout is off while measuring; everything
    else works in the mode that it is in. Errors are one standard error over inputs, the weights being
    fixed. What no operation of torch computes is taken for a function of what its module took. Cost: about
    ``3 (1 + probes)`` forward passes and `probes` backward passes.

    References
    ----------
    Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232; Roberts, Yaida and Hanin
    2022, arXiv:2106.10165, chapter 5.
    """
    if seed < 0:
        raise InputError(f"seed is {seed}.", "Give a whole number from 0.")
    if probes < 1:
        raise InputError(f"probes is {probes}.", "Give a whole number from 1.")
    module = as_module(model)
    inputs = as_batch(module, batch)
    limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
    with untouched(module):
        notes = [*inputs.notes, *quiet(module)]
        passes = Passes(module, inputs, seed=seed, probes=probes, loss=loss)
        notes += passes.choose_chunk(limit)
        measurement = passes.run()
        drift = passes.eval_drift()
    notes += [*passes.notes, *_measured_notes(measurement, passes.pushes)]
    with untouched(module):  # to read a weight may run code of the user's
        dataset = _assemble(module, measurement, notes=notes, drift=drift, batch=passes.batch)
        quiet(module)
        if theory:
            predict(dataset, measurement)
    decisions = [verdict(dataset, chain) for chain in range(max(1, len(measurement.chains)))]
    decision = decisions[0]
    chains = [
        {"input": ", ".join(chain.inputs), "steps": len(steps), "verdict": made.to_dict()}
        for chain, steps, made in zip(measurement.chains, _steps(measurement), decisions, strict=False)
    ]
    dataset.attrs |= {"phase": decision.phase, "verdict": json.dumps(decision.to_dict())}
    dataset.attrs["chains"] = json.dumps(chains)
    return Profile(dataset, decision)


def _measured_notes(m: Measurement, pushes: bool) -> list[str]:
    notes = []
    alike, pairs = int(m.identical.sum()), len(m.identical)
    if m.samples < 2:
        notes.append("correlation not determined: the batch holds one input, and a pair is needed")
    elif alike == pairs:
        notes.append("correlation not determined: the two inputs of every pair are identical")
    elif alike:
        notes.append(f"{alike} of {pairs} pairs of inputs are identical and were left out")
    reached = np.isfinite(m.across).any(axis=(0, 2))
    stream = np.array([layer.place == "stream" for layer in m.layers], dtype=bool)
    cut = np.flatnonzero(stream & np.isfinite(m.kernel).any(axis=1) & ~reached)
    if pushes and len(cut):
        name = m.layers[cut[0]].name
        notes.append(
            f"no tangent reaches {len(cut)} row{'s' * (len(cut) > 1)}, first {name}: cut off from the input"
        )
    if m.masked:
        name, count = next(iter(m.masked.items()))
        notes.append(
            f"masked: {name} is finite where an earlier row is NaN or infinite "
            f"(in {count} of {m.samples} inputs); it counts as non-finite"
        )
    return notes


_LONG_NAMES = {
    "kernel": "kernel K, mean square per unit",
    "correlation": "correlation c between pairs of inputs",
    "distance": "distance 1 - c between pairs of inputs",
    "chi_parallel": "parallel susceptibility, from one step of the stream to the next",
    "chi_perpendicular": "perpendicular susceptibility, from one step of the stream to the next",
    "tangent": "perpendicular part of random tangents per unit, relative to the input",
    "gradient": "squared norm of the gradient at the row's output, relative to the output layer",
    "share": "part of the mean square of a sum that its branch brings",
    "parameters": "parameters that belong to the row",
    "dead": "fraction of units that respond to no input",
    "saturated": "fraction of outputs within 1 % of a limit of the activation",
    "nonfinite": "fraction of units that are NaN or infinite, or computed from such after masking",
    "kernel_theory": "kernel K, infinite width",
    "correlation_theory": "correlation c, infinite width",
    "gradient_theory": "squared norm of the gradient, infinite width",
    "kernel_eval_drift": "kernel in evaluation mode over kernel in training mode, minus 1",
}


def _assemble(
    model: nn.Module,
    measurement: Measurement,
    *,
    notes: list[str],
    drift: dict[str, float] | None,
    batch: Batch,
) -> xr.Dataset:
    """Return the dataset of a profile: one entry per row, measured or skipped, and how it was measured."""
    import xarray as xr

    layers = measurement.layers
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        columns = _columns(measurement)
    if drift is not None:
        columns["kernel_eval_drift"] = np.array([drift.get(layer.name, np.nan) for layer in layers])
    data = {
        name: ("layer", values, {"units": "1", "long_name": _long_name(name)})
        for name, values in columns.items()
    }
    coordinates = {
        "layer": [layer.name for layer in layers],
        "kind": ("layer", [layer.kind for layer in layers]),
        "role": ("layer", [layer.role for layer in layers]),
        "place": ("layer", [layer.place for layer in layers]),
        "chain": ("layer", [layer.chain for layer in layers]),
        "depth": ("layer", _depths(layers)),
        "block": ("layer", [layer.block for layer in layers]),
        "skipped": ("layer", [layer.skipped for layer in layers]),
    }
    attrs = {
        "instrument": "propagation",
        **circumstances(model, batch, seed=measurement.seed),
        "notes": json.dumps(notes),
        "theory": json.dumps({"recognised": False, "reason": "not computed"}),
        "coverage": json.dumps(_coverage(layers)),
        "citations": "poole2016 schoenholz2017 roberts2022",
    }
    return xr.Dataset(data, coordinates, attrs)


def _depths(layers: list[Layer]) -> np.ndarray:
    """Return how many steps of its chain there are down to each row; of a branch, down to where it ends."""
    depths, steps = {}, Counter[int]()
    for layer in layers:
        if layer.place == "stream":
            steps[layer.chain] += layer.step
            depths[layer.name] = steps[layer.chain]
    last, found = 0, []
    for layer in layers:
        last = depths.get(layer.block or layer.name, last)
        found.append(last)
    return np.array(found, dtype=np.int64)


def _coverage(layers: list[Layer]) -> dict[str, int]:
    """Return how many rows, and parameters, were measured of how many."""
    measured = [layer for layer in layers if not layer.skipped]
    return {
        "rows": len(measured),
        "of": len(layers),
        "parameters": sum(layer.parameters for layer in measured),
        "of_parameters": sum(layer.parameters for layer in layers),
    }


def _long_name(name: str) -> str:
    base = name.removesuffix("_error")
    return _LONG_NAMES[base] if base == name else f"one standard error over inputs of: {_LONG_NAMES[base]}"


def _columns(m: Measurement) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}

    def put(name: str, per_sample: np.ndarray) -> None:
        columns[name], columns[f"{name}_error"] = _mean(per_sample)

    put("kernel", m.kernel)
    put("correlation", 1.0 - m.distance)
    put("distance", m.distance)
    columns["chi_parallel"], columns["chi_parallel_error"] = _chi_parallel(m)
    put("share", m.share)
    columns["parameters"] = np.array([float(layer.parameters) for layer in m.layers])
    tangent = m.across.mean(axis=0) / m.tangent_scale()
    columns["chi_perpendicular"], columns["chi_perpendicular_error"] = _chi_perpendicular(m, tangent)
    put("tangent", tangent)
    put("gradient", (m.gradient / m.cotangent[:, None, :]).mean(axis=0))
    columns["dead"] = np.array([np.nan if a is None else 1.0 - a.mean() for a in m.alive])
    columns["saturated"] = np.nanmean(m.saturated, axis=1)
    columns["nonfinite"] = np.nanmean(m.nonfinite, axis=1)
    for name in ("kernel_theory", "correlation_theory", "gradient_theory"):
        columns[name] = np.full(len(m.layers), np.nan)
    return columns


def _mean(per_sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Mean over the inputs with its standard error; inf where one input overflowed, nan where none was seen.
    n = (~np.isnan(per_sample)).sum(axis=1)
    spread = np.nanstd(per_sample, axis=1, ddof=1)
    return np.nanmean(per_sample, axis=1), np.where(n > 1, spread / np.sqrt(np.maximum(n, 1)), np.nan)


def _steps(m: Measurement) -> list[list[int]]:
    """Return the rows at which depth is counted, chain by chain."""
    chains = range(max(1, len(m.chains)))
    return [[i for i, row in enumerate(m.layers) if row.step and row.chain == chain] for chain in chains]


def _enters(m: Measurement, row: int) -> bool:
    """Return whether a first sum adds to the input itself, so that its ratio is that to the input."""
    chain = m.layers[row].chain
    before = [layer for layer in m.layers[:row] if layer.place == "stream" and layer.chain == chain]
    return not before and not np.isnan(m.entering[chain]).all()


def _chi_perpendicular(m: Measurement, tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of the mean tangents of successive steps of a chain, and its standard error.

    A ratio of means and not a mean of ratios: the product of these ratios over the layers is the total growth
    exactly, so that noise from layer to layer does not add up to a growth that is not there.
    """
    ratio, error = np.full(len(m.layers), np.nan), np.full(len(m.layers), np.nan)
    for rows in _steps(m):
        previous: int | None = None
        for row in rows:
            if np.isnan(tangent[row]).all():
                continue
            if previous is None and m.layers[row].branch is not None and _enters(m, row):
                ratio[row], error[row] = (float(x[0]) for x in _mean(tangent[row][None]))
            elif previous is not None:
                usable = np.isfinite(tangent[row]) & np.isfinite(tangent[previous])
                above, below = tangent[row][usable], tangent[previous][usable]
                if below.size and below.mean() > 0:
                    ratio[row] = above.mean() / below.mean()
                    error[row] = _standard_error(above - ratio[row] * below) / below.mean()
            previous = row
    return ratio, error


_VANISHED = 1e-3  # a radial response that falls by more than this in one layer is rounding, not a response


def _chi_parallel(m: Measurement) -> tuple[np.ndarray, np.ndarray]:
    """Return the ratio of the mean radial responses of successive steps, and its standard error.

    Not determined where the response of the row below is within two standard errors of 0, or has vanished,
    as it does behind a normalisation.
    """
    ratio, error = np.full(len(m.layers), np.nan), np.full(len(m.layers), np.nan)
    relative = np.nanmean(np.abs(m.along) / np.where(m.kernel > 0, m.kernel, np.nan), axis=1)
    for rows in _steps(m):
        healthy, below = np.nan, None
        for row in rows:
            along = m.along[row]
            lost = not np.isfinite(along).all() or not np.isfinite(relative[row])
            if lost or relative[row] < _VANISHED * healthy:
                below = None
                continue
            if below is not None and abs(below.mean()) > 2 * _standard_error(below):
                ratio[row] = along.mean() / below.mean()
                error[row] = _standard_error(along - ratio[row] * below) / abs(below.mean())
            healthy, below = relative[row], along
    return ratio, error


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
