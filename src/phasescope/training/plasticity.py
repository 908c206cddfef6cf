"""Rules of biological plasticity as maps: Oja's rule, and back-propagation through fixed random matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.training.maps import StepMap, checked_rate, step_map
from phasescope.training.objective import Loss

_ELEMENTWISE = (
    nn.ReLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.GELU,
    nn.SiLU,
    nn.Softplus,
    nn.ELU,
    nn.LeakyReLU,
    nn.Identity,
)


def oja(
    inputs: Tensor,
    rate: float,
    *,
    units: int = 1,
    online: bool = False,
    start: Tensor | None = None,
    seed: int = 0,
) -> StepMap:
    """Return Oja's rule for a layer of linear units as a map of its weights.

    With outputs ``y = W x``, a step is ``W' = W + rate <y x^T - y y^T W>``, the mean over the inputs, or over
    one of them. One unit turns towards the leading principal component of the inputs; several towards the
    space that the leading ones span.

    Parameters
    ----------
    inputs : Tensor of shape (samples, features)
        What the units see; not centred here.
    rate : float
        Learning rate.
    units : int
        Number of units.
    online : bool
        Whether step `t` sees the input ``t % samples`` alone.
    start : Tensor of shape (units, features), optional
        Weights at step 0; by default normal ones of variance ``1 / features``.
    seed : int
        Of the weights at step 0.

    Returns
    -------
    StepMap
        The map; its state is the matrix of weights.

    Raises
    ------
    InputError
        If the inputs are no finite matrix, or the rate is not above 0.

    Notes
    -----
    At the fixed point ``w = e_1`` of one unit, the multipliers are ``1 - 2 rate c_1`` along it and
    ``1 - rate (c_1 - c_j)`` across, with `c` the eigenvalues of ``<x x^T>``.

    References
    ----------
    E. Oja, J. Math. Biol. 15, 267 (1982); E. Oja, Int. J. Neural Syst. 1, 61 (1989) for several units.
    """
    if inputs.ndim != 2 or not inputs.isfinite().all():
        raise InputError(
            f"The inputs have shape {tuple(inputs.shape)}"
            + ("." if inputs.ndim != 2 else " and hold values that are not finite."),
            "Pass a finite matrix, one input a row.",
        )
    checked_rate(rate)
    samples, features = inputs.shape
    second_moment = inputs.T @ inputs / samples
    if start is None:
        start = torch.randn(
            units, features, generator=torch.Generator().manual_seed(seed), dtype=inputs.dtype
        )
        start = start.to(inputs.device) / math.sqrt(features)

    def step(w: Tensor, t: int) -> Tensor:
        if online:
            x = inputs[t % samples]
            y = w @ x
            return w + rate * (torch.outer(y, x) - torch.outer(y, y) @ w)
        seen = w @ second_moment
        return w + rate * (seen - seen @ w.T @ w)

    return step_map(step, start)


def feedback_alignment(
    model: nn.Sequential,
    loss: Loss,
    data: tuple[Tensor, Tensor],
    rate: float,
    *,
    direct: bool = False,
    feedback: Sequence[Tensor] | None = None,
    seed: int = 0,
) -> StepMap:
    """Return gradient descent whose errors travel back through fixed matrices, as a map of the weights.

    Back-propagation sends the error of layer `l + 1` back as ``W^T delta``. Here a fixed random matrix takes
    the place of ``W^T``; with `direct`, the error of the output goes to each layer through one of its own.

    Parameters
    ----------
    model : nn.Sequential
        Linear layers with elementwise activations between them.
    loss : callable
        ``loss(output, target)`` returns one number.
    data : pair of Tensor
        Inputs and targets, the whole of them at each step.
    rate : float
        Learning rate.
    direct : bool
        Whether the output's error goes to each layer directly.
    feedback : sequence of Tensor, optional
        One matrix for each linear layer after the first: of the shape of its weights, (outputs, inputs), or,
        with `direct`, (outputs of the network, inputs of the layer). By default normal ones of variance
        ``1 / inputs``.
    seed : int
        Of the matrices.

    Returns
    -------
    StepMap
        The map; its state holds weights and biases under the names that the model has for them, and its loss
        is that of the data.

    Raises
    ------
    InputError
        If the model holds other layers, a matrix has another shape, or the rate is not above 0.

    Notes
    -----
    With ``W`` itself as feedback, one step is one of gradient descent.

    References
    ----------
    T. P. Lillicrap, D. Cownden, D. B. Tweed, C. J. Akerman, Nat. Commun. 7, 13276 (2016), arXiv:1411.0247;
    A. Nøkland, arXiv:1609.01596, for the direct form.
    """
    checked_rate(rate)
    layers = _layers_of(model)
    linear = [(name, part) for name, part in layers if isinstance(part, nn.Linear)]
    inputs, target = data
    first = next(linear[0][1].parameters())
    dtype, device = first.dtype, first.device
    inputs = inputs.to(device, dtype)
    target = target.to(device, dtype) if target.is_floating_point() else target.to(device)
    outputs = linear[-1][1].out_features
    wanted = [(outputs if direct else part.out_features, part.in_features) for _, part in linear[1:]]
    generator = torch.Generator().manual_seed(seed)
    if feedback is None:
        matrices = [
            (torch.randn(*shape, generator=generator, dtype=dtype) / math.sqrt(shape[1])).to(device)
            for shape in wanted
        ]
    else:
        matrices = [each.detach().clone().to(device, dtype) for each in feedback]
    if [tuple(each.shape) for each in matrices] != wanted:
        raise InputError(
            f"The feedback has shapes {[tuple(each.shape) for each in matrices]}, the layers need {wanted}.",
            "Pass one matrix for each linear layer after the first.",
        )
    back = dict(zip([name for name, _ in linear[1:]], matrices, strict=True))

    def forward(state: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        seen, x = [], inputs
        for name, part in layers:
            seen.append(x)
            if isinstance(part, nn.Linear):
                x = nn.functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))
            else:
                x = part(x)
        return x, seen

    def step(state: dict[str, Tensor], t: int) -> dict[str, Tensor]:
        output, seen = forward(state)
        error: Tensor = torch.func.grad(lambda y: loss(y, target))(output)
        new, delta = dict(state), error
        for (name, part), x in zip(reversed(layers), reversed(seen), strict=True):
            if not isinstance(part, nn.Linear):
                delta = torch.func.vjp(part, x)[1](delta)[0]
                continue
            new[f"{name}.weight"] = state[f"{name}.weight"] - rate * delta.T @ x
            if f"{name}.bias" in state:
                new[f"{name}.bias"] = state[f"{name}.bias"] - rate * delta.sum(0)
            if name in back:
                delta = (error if direct else delta) @ back[name]
        return new

    def value(state: dict[str, Tensor], t: int) -> Any:
        return loss(forward(state)[0], target)

    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return step_map(step, start, loss=value)


def _layers_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    layers = [(name, part) for name, part in model.named_modules() if not list(part.children())]
    for name, part in layers:
        if not isinstance(part, (nn.Linear, *_ELEMENTWISE)) or getattr(part, "inplace", False):
            raise InputError(
                f"Layer {name} of {type(model).__name__} is {part}.",
                "Feedback alignment takes an nn.Sequential of linear layers and elementwise activations, "
                "none of them in place.",
            )
    if not isinstance(model, nn.Sequential) or not any(isinstance(part, nn.Linear) for _, part in layers):
        raise InputError(
            f"The model is {type(model).__name__}.", "Pass an nn.Sequential that holds linear layers."
        )
    return layers
