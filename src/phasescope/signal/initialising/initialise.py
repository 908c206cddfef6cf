"""Set a user's network to criticality, in place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.layers import run
from phasescope.recording.untouched import quiet, untouched
from phasescope.signal.initialising.dataflow import Flow
from phasescope.signal.initialising.initialisation import Initialisation
from phasescope.signal.initialising.plan import make_plan
from phasescope.signal.initialising.rescale import Setter
from phasescope.signal.profile import profile

Distribution = Literal["orthogonal", "normal"]


def critical_(
    model: nn.Module,
    batch: Any,
    *,
    seed: int = 0,
    activation: str | nn.Module | Callable[[Tensor], Tensor] | None = None,
    distribution: Distribution = "orthogonal",
    first_kernel: float | None = None,
    verify: bool = True,
    max_memory: int | float | str | None = None,
) -> Initialisation:
    """Return what was set, layer by layer, after giving `model` new critical weights in place.

    Each weight layer that is fed by an activation gets weights of second moment ``C_W / fan_in`` and biases
    of variance ``C_b``, the activation's critical point. Then the batch is run once, and on the way each
    layer's scale is corrected for finite width, padding and real data:

    * weights by the factor that makes ``chi_perp = sum_j W_ij^2 s'(z_j)^2 v_j``, averaged over units i and
      inputs, equal to 1, where v is the mean square of a small difference at unit j, carried along from the
      first layer and set to 1 on average: differences between inputs, and gradients, keep their size;
    * biases, where ``C_b > 0``, to the second moment that brings the kernel to ``K*``.

    The weights are never rescaled to hold the kernel. That is what unit-variance schemes do (LSUV), and where
    ``chi_par != chi_perp`` or K* = 0 it buys a constant kernel with gradients that vanish or explode.

    The first layer sets the kernel ``K_1``: ``K*`` for the half-stable class, 1 for the scale-invariant and
    the stable K* = 0 class, and ``1/(2 a1 L)`` for the input of largest norm where K* = 0 repels (depth L,
    MRePU). The read-out, no step of the recursion over depth, gets kernel 1 and no bias: the loss sees
    outputs of order one, and the layers below need not move far. After pooling the measured factor holds the
    kernel, whose theory is plain there. The last layer of each of B residual branches is scaled down until
    the branch adds at most 1/B of the stream's kernel.

    Parameters
    ----------
    model : nn.Module
        Plain, residual, dense or convolutional stack; changed in place, weights and biases of the listed
        layers only. Frozen layers are left alone.
    batch : tensor, tuple, list or mapping of tensors
        Real input, as the model takes it; 64 to 256 samples are enough.
    seed : int
        Seed of the new weights.
    activation : str, module or callable, optional
        Taken for every activation in the model, where it cannot be recognised.
    distribution : {"orthogonal", "normal"}
        Rows or columns of the weight matrix orthogonal, or entries independent. Orthogonal weights fluctuate
        less from layer to layer. In short runs of 50 layers on the digits, one seed each, they mostly read
        as many or more digits; one tanh setting was better with normal weights.
    first_kernel : float, optional
        ``K_1`` in place of the class's own.
    verify : bool
        Whether to profile the model before and after.
    max_memory : int, float or str, optional
        Memory that the verification may take; see :func:`phasescope.signal.profile`.

    Returns
    -------
    Initialisation
        The rows that were set and skipped, with the verdicts before and after.

    Raises
    ------
    InputError
        If an argument is unusable or the model has no layer that can be set.

    Notes
    -----
    Fails with `NoCriticalPointError` where an activation has no critical point (RePU, softplus) and neither a
    normalisation nor a residual branch holds its kernel. On any failure, Ctrl-C included, the model is
    bit-identical to what it was. Random states, gradients, modes and buffers stay as they are.
    Cost: two forward passes that keep every intermediate value, and two profiles.
    Source: arXiv:2106.10165, ch. 5; arXiv:2408.02697 for MRePU; arXiv:1511.06422 (LSUV) for the contrast.
    """
    if distribution not in ("orthogonal", "normal"):
        raise InputError(f"distribution={distribution!r}.", 'Use "orthogonal" or "normal".')
    if first_kernel is not None and not (math.isfinite(first_kernel) and first_kernel > 0):
        raise InputError(f"first_kernel={first_kernel!r}.", "Give a positive kernel.")
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{model!r} is not a torch module.", "Pass the nn.Module whose weights are to be set."
        )
    fitted = as_batch(model, batch)
    generator = torch.Generator().manual_seed(seed)
    frozen = {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    saved = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    try:
        with untouched(model), torch.no_grad():
            quiet(model)
            plan = make_plan(model, _run(model, fitted), activation, first_kernel, frozen)
            setter = Setter(plan, generator, distribution)
            after = _run(model, fitted, setter)
            rows = setter.rows(after)
        before_verdict = after_verdict = None
        if verify:
            after_verdict = profile(model, batch, seed=seed, max_memory=max_memory, theory=False).verdict
            new = _swap(saved)
            before_verdict = profile(model, batch, seed=seed, max_memory=max_memory, theory=False).verdict
            _swap(new)
    except BaseException:
        _swap(saved)
        raise
    return Initialisation(
        type(model).__name__,
        (*rows, *plan.skipped),
        plan.depth,
        distribution,
        seed,
        before_verdict,
        after_verdict,
        (*plan.notes, *setter.notes()),
        plan.citations,
    )


def _run(model: nn.Module, batch: Batch, setter: Setter | None = None) -> Flow:
    inputs = batch.take(0, batch.size)
    flow = Flow(model, (inputs.args, inputs.kwargs), setter)
    with flow:
        run(model, inputs)
    return flow


def _swap(values: dict[nn.Parameter, Tensor]) -> dict[nn.Parameter, Tensor]:
    # Write the values, and return those that were there.
    old = {parameter: parameter.detach().clone() for parameter in values}
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(value)
    return old
