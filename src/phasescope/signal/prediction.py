"""The infinite-width prediction beside a measured profile, where the layers are recognised."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope.activations import Activation, as_activation
from phasescope.errors import InputError
from phasescope.recording.layers import Layer
from phasescope.signal.measurement import Measurement
from phasescope.theory.kernel import MeanField

if TYPE_CHECKING:
    import xarray as xr

_PASSING = (nn.Identity, nn.Flatten, nn.Unflatten, nn.modules.dropout._DropoutNd)
_Conv = nn.modules.conv._ConvNd
_REPRESENTATIVES = 3
_LARGEST = 1e8


@dataclass(frozen=True)
class _Signal:
    """What the theory knows of a row's output: kernels of a few representative inputs, and their distance."""

    kernels: np.ndarray
    rho: float
    gaussian: bool

    @property
    def kernel(self) -> float:
        return float(self.kernels.mean())


class _UnrecognisedError(Exception):
    """A row that the theory does not cover; the message says why."""


def predict(dataset: xr.Dataset, measurement: Measurement) -> None:
    """Fill ``kernel_theory``, ``correlation_theory`` and ``gradient_theory`` of a profile's dataset.

    For a chain of ``Linear`` and ``Conv`` layers, elementwise activations, dropout and flattening,
    mean-field theory for random weights of the same variances: ``C_W = fan_in Var[W]`` and ``C_b = Var[b]``
    of each layer (for zero padding times the share of taps inside the image). It starts from the measured
    kernel and distance of what the first row takes. For trained weights it says what random weights of the
    same variances would do.

    References
    ----------
    Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232.
    """
    called = [layer for layer in measurement.layers if layer.place == "stream" and layer.chain == 0]
    signals, gains, reason = _walk(called, measurement) if called else ([], [], "no row was measured")
    index = {layer.name: i for i, layer in enumerate(measurement.layers)}
    for layer, signal in zip(called, signals, strict=False):
        dataset["kernel_theory"].values[index[layer.name]] = signal.kernel
        dataset["correlation_theory"].values[index[layer.name]] = 1.0 - signal.rho
    if called and len(signals) == len(called) and called[-1].final:
        ahead = np.cumprod([1.0, *gains[:0:-1]])[::-1]
        for layer, value in zip(called, ahead, strict=True):
            dataset["gradient_theory"].values[index[layer.name]] = value
    elif not reason:
        reason = "the model returns something else than its last row, so the gradient has no start"
    dataset.attrs["theory"] = json.dumps(
        {"recognised": not reason, "rows": len(signals), "of": len(called), "reason": reason}
    )


def _walk(layers: list[Layer], measurement: Measurement) -> tuple[list[_Signal], list[float], str]:
    """Return the signal after each recognised row, the gain of each, and why the walk ended early."""
    signals: list[_Signal] = []
    gains: list[float] = []
    try:
        signal, fields = _start(measurement), _Fields()
        for layer in layers:
            if not layer.chained:
                break
            signal, gain = _step(layer, signal, fields)
            signals.append(signal)
            gains.append(gain)
    except (_UnrecognisedError, InputError) as stop:
        return signals, gains, " ".join(str(stop).split())
    if len(signals) == len(layers):
        return signals, gains, ""
    before, name = layers[len(signals) - 1].name, layers[len(signals)].name
    reason = f"{name} does not take what {before} gives: a step that is no module, or a branch, lies between"
    return signals, gains, reason


def _start(measurement: Measurement) -> _Signal:
    kernels = measurement.start_kernel[np.isfinite(measurement.start_kernel)]
    rho = measurement.start_distance[np.isfinite(measurement.start_distance)]
    if not len(kernels) or not (kernels > 0).any():
        raise _UnrecognisedError("the first row takes no floating-point input other than 0")
    thirds = np.array_split(np.sort(kernels), min(_REPRESENTATIVES, len(kernels)))
    return _Signal(
        np.array([part.mean() for part in thirds]), float(rho.mean()) if len(rho) else np.nan, False
    )


def _step(layer: Layer, signal: _Signal, fields: _Fields) -> tuple[_Signal, float]:
    module = layer.module
    if isinstance(module, (nn.Linear, _Conv)) and not getattr(module, "transposed", False):
        return _weights(layer, signal)
    if isinstance(module, _PASSING):
        return signal, 1.0
    if layer.role != "activation":
        raise _UnrecognisedError(f"{layer.name} ({layer.kind}) is not a layer that the theory covers")
    if not signal.gaussian:
        raise _UnrecognisedError(f"{layer.name} ({layer.kind}) does not act on the output of a weight layer")
    return _activate(fields.of(module), signal)


def _weights(layer: Layer, signal: _Signal) -> tuple[_Signal, float]:
    module: Any = layer.module
    weight = module.weight.detach()
    fan_in = weight[0].numel()
    C_W = fan_in * float(weight.double().var(correction=0)) * _coverage(layer)
    C_b = float(module.bias.detach().double().var(correction=0)) if module.bias is not None else 0.0
    kernels = C_b + C_W * signal.kernels
    if not (kernels > 0).all():
        raise _UnrecognisedError(f"{layer.name}: its weights do not vary, which no random weights do")
    share = float((C_W * signal.kernels).mean() / kernels.mean())
    return _Signal(kernels, share * signal.rho, True), C_W


def _coverage(layer: Layer) -> float:
    """Return the share of a convolution's taps that lie inside the image; the rest meet zero padding."""
    module: Any = layer.module
    if not isinstance(module, _Conv) or module.padding_mode != "zeros" or module.padding == "valid":
        return 1.0
    share = 1.0
    sizes = layer.argument_shape[-len(module.kernel_size) :]
    for axis, (size, kernel) in enumerate(zip(sizes, module.kernel_size, strict=True)):
        dilation, stride = module.dilation[axis], module.stride[axis]
        same = module.padding == "same"
        padding = dilation * (kernel - 1) // 2 if same else int(module.padding[axis])
        outputs = layer.shape[-len(sizes) + axis]
        taps = np.arange(outputs)[:, None] * stride - padding + np.arange(kernel) * dilation
        share *= float(((taps >= 0) & (taps < size)).mean())
    return share


class _Fields:
    """Mean-field theory of the activations met so far; modules that compute the same share it."""

    def __init__(self) -> None:
        self._points = torch.linspace(-5.0, 5.0, 41)
        self._known: list[tuple[torch.Tensor, MeanField]] = []

    def of(self, module: nn.Module) -> MeanField:
        try:
            parameter = next(module.parameters(), self._points)
            with torch.no_grad():
                values = module(self._points.to(parameter)).double().cpu()
        except Exception as error:
            raise _UnrecognisedError(f"{type(module).__name__} is not elementwise ({error})") from error
        for known, field in self._known:
            if torch.equal(known, values):
                return field
        self._known.append((values, MeanField(as_activation(module), 1.0)))
        return self._known[-1][1]


def _activate(field: MeanField, signal: _Signal) -> tuple[_Signal, float]:
    if signal.kernels.max() > _LARGEST:
        raise _UnrecognisedError(f"the kernel exceeds {_LARGEST:.0e}")
    kernels = _each(field.kernel_map, signal.kernels)
    gain = float(_each(field.chi_perpendicular, signal.kernels).mean())
    rho = _distance(field.activation, signal.kernel, signal.rho)
    return replace(signal, kernels=kernels, rho=rho, gaussian=False), gain


def _distance(activation: Activation, kernel: float, rho: float) -> float:
    """Return the distance after an activation, to about a part in 1e3, by a product rule.

    The pair is ``sqrt(1 - rho/2) s + sqrt(rho/2) d`` and the same with -d, with s and d independent.
    """
    if not np.isfinite(rho):
        return math.nan
    s, d = torch.linspace(-8, 8, 161, dtype=torch.float64), torch.linspace(-8, 8, 97, dtype=torch.float64)
    weights = torch.exp(-(s**2)[:, None] / 2 - d**2 / 2)
    middle = math.sqrt(kernel * max(1 - rho / 2, 0.0)) * s[:, None]
    half = math.sqrt(kernel * rho / 2) * d
    one, other = activation(middle + half), activation(middle - half)
    norm = float((weights * (one**2 + other**2)).sum())
    return float((weights * (one - other) ** 2).sum()) / norm if norm > 0 else math.nan


def _each(function: Callable[[float], float], kernels: np.ndarray) -> np.ndarray:
    # Kernels within a percent of each other are one.
    if kernels.max() < 1.01 * kernels.min():
        return np.full(len(kernels), function(float(kernels.mean())))
    return np.array([function(float(K)) for K in kernels])
