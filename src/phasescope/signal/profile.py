"""A user's own module, layer by layer: kernel, correlation, susceptibilities and gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch, first_float
from phasescope.recording.layers import Layer, discover, run, watched
from phasescope.recording.tangents import pull_back, push_difference, push_forward
from phasescope.recording.untouched import has_running_statistics, quiet, untouched
from phasescope.signal.dataset import assemble
from phasescope.signal.measurement import Measurement
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
        import json

        notes: list[str] = json.loads(self.dataset.attrs["notes"])
        return notes

    def __str__(self) -> str:
        return table(self.dataset, self.verdict)


class _Function(nn.Module):
    """A plain callable as a module without children."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.kind = getattr(function, "__name__", type(function).__name__)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


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
      random tangents pushed forward from the input and :math:`u_\perp = u - (z \cdot u / z \cdot z) z`;
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
    module = as_module(model)
    inputs = as_batch(module, batch)
    notes = list(inputs.notes)
    mode = _mode(module)
    with untouched(module):
        notes += _dropout_note(module)
        quiet(module)
        layers = discover(module, inputs)
        measured = [layer for layer in layers if not layer.skipped]
        push, note = _push(module, measured, inputs)
        notes += note
        measurement = Measurement(layers, inputs.size, probes, seed)
        chunk = inputs.size
        for start in range(0, inputs.size, chunk):
            _measure(module, measured, inputs.take(start, start + chunk), start, measurement, push)
        drift = _eval_drift(module, measured, inputs)
    dataset = assemble(module, measurement, mode=mode, notes=notes, drift=drift, inputs=inputs)
    return Profile(dataset, verdict(dataset))


def as_module(model: nn.Module | Callable[..., Any]) -> nn.Module:
    """Return the model itself, or a plain callable as a module of one row.

    Parameters
    ----------
    model : nn.Module or callable
        What the user passed.

    Raises
    ------
    InputError
        If it is neither.
    """
    if isinstance(model, nn.Module):
        return model
    if callable(model) and not isinstance(model, type):
        return _Function(model)
    text = repr(model)
    raise InputError(
        f"The model is {text if len(text) <= 60 else text[:57] + '...'} ({type(model).__name__}), "
        "not a torch.nn.Module and not callable.",
        "Pass an instance of torch.nn.Module, or a function from tensors to tensors.",
    )


def _mode(module: nn.Module) -> str:
    flags = {m.training for m in module.modules()}
    return "mixed" if len(flags) > 1 else ("train" if flags.pop() else "eval")


def _dropout_note(module: nn.Module) -> list[str]:
    active = [
        name
        for name, m in module.named_modules()
        if m.training and isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
    ]
    if not active:
        return []
    return [
        f"dropout was switched off while measuring ({len(active)} module(s), "
        f"first {active[0] or 'the model'})"
    ]


Push = Callable[..., None]


def _push(module: nn.Module, layers: list[Layer], inputs: Batch) -> tuple[Push, list[str]]:
    small = inputs.take(0, min(2, inputs.size))
    probe = Measurement(layers, small.size, 1, 0)

    def tangent(tensor: Tensor, number: int) -> Tensor:
        return probe.perpendicular(tensor, number, 0, 0)

    def ignore(*seen: object) -> None:
        return None

    try:
        push_forward(module, layers, small, tangent, ignore)
    except (NotImplementedError, RuntimeError) as error:
        words = " ".join(str(error).split())[:120]
        step = 1e-5 if any(t.dtype == torch.float64 for t in small.floats()) else 3e-3

        note = f"forward-mode differentiation is not available ({words}); central differences instead"
        return partial(push_difference, step=step), [note]
    return push_forward, []


def _measure(
    module: nn.Module,
    layers: list[Layer],
    chunk: Batch,
    first: int,
    into: Measurement,
    push: Push,
) -> None:
    size = chunk.size
    into.see_input(chunk, first)

    def see_primal(layer: Layer, z: Tensor, u: Tensor | None) -> None:
        into.see_primal(layer, z, u, first, size)

    push(module, layers, chunk, lambda tensor, number: into.radial(tensor, number, first), see_primal)
    for probe in range(into.probes):
        push(
            module,
            layers,
            chunk.take(0, size),
            lambda tensor, number, probe=probe: into.perpendicular(tensor, number, first, probe),
            lambda layer, z, u, probe=probe: into.see_across(layer, z, u, first, size, probe),
        )
    outputs = pull_back(
        module,
        layers,
        chunk.take(0, size),
        lambda tensor, number, probe: into.back(tensor, number, probe, first),
        into.probes,
        lambda layer, probe, gradient: into.see_back(layer, probe, gradient, first, size),
    )
    into.see_outputs(outputs, first, size)


def _eval_drift(module: nn.Module, layers: list[Layer], inputs: Batch) -> dict[str, float] | None:
    norms = [m for m in module.modules() if has_running_statistics(m)]
    if not norms or inputs.size < 2:
        return None
    kernels: list[dict[str, float]] = []
    for training in (True, False):
        for norm in norms:
            norm.training = training
        seen: dict[str, float] = {}

        def observe(layer: Layer, args: tuple[Any, ...], output: Any, seen: dict[str, float] = seen) -> None:
            tensor = first_float(output)
            if tensor is not None:
                seen[layer.name] = float(tensor.double().square().mean())

        with torch.no_grad(), watched(layers, observe):
            run(module, inputs.take(0, inputs.size))
        kernels.append(seen)
    return {name: kernels[1][name] / k - 1.0 for name, k in kernels[0].items() if k and name in kernels[1]}
