"""What every check works with: a case, an instrument on it, and how a promise is demanded."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from phasescope.instruments.contract import Instrument


@dataclass(frozen=True)
class Case:
    """A model and a batch that an instrument is checked on.

    Parameters
    ----------
    name : str
        Names the case in messages.
    factory : callable
        Returns ``(model, batch)``; every call builds the same model and batch again, bit for bit.
    """

    name: str
    factory: Callable[[], tuple[Any, Any]]


class Trial:
    """One instrument on one case; the case's model is built anew for every use."""

    def __init__(self, instrument: Instrument, case: Case) -> None:
        self.instrument = instrument
        self.case = case

    def build(self) -> tuple[Any, Any]:
        """Return a fresh model and batch."""
        return self.case.factory()

    def measure(self, **options: Any) -> xr.Dataset:
        """Return a measurement of a fresh model and batch."""
        model, batch = self.build()
        return self.instrument.measure(model, batch, **options)

    @cached_property
    def refusal(self) -> str:
        """Why the instrument does not measure this case; "" where it does."""
        model, batch = self.build()
        return self.instrument.applies(model, batch)

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The measurement with default options, made once."""
        return self.measure()

    @cached_property
    def stored(self) -> xr.Dataset:
        """That measurement after a round trip through a NetCDF-4 file."""
        objects = [name for name, variable in self.dataset.variables.items() if variable.dtype.kind == "O"]
        require(not objects, f"variables of object dtype: {objects}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "measurement.nc"
            self.dataset.to_netcdf(path, engine="h5netcdf")
            return xr.load_dataset(path, engine="h5netcdf")


def require(holds: bool, message: str) -> None:
    """Raise ``AssertionError`` with the message unless the promise holds; works under ``python -O`` too."""
    if not holds:
        raise AssertionError(message)


def require_same(left: xr.Dataset, right: xr.Dataset, what: str) -> None:
    """Raise ``AssertionError`` unless both datasets hold the same bits; wall times may differ."""
    require(set(left.variables) == set(right.variables), f"{what} has other variables")
    for name in left.variables:
        one, other = left[name].values, right[name].values
        kind = one.dtype.kind
        same = one.shape == other.shape and np.array_equal(one, other, equal_nan=kind == "f")
        if not same and kind == "f" and one.shape == other.shape:
            with np.errstate(invalid="ignore"):
                gap = float(np.nanmax(np.abs(one - other)))
            require(False, f"{what} differs in {name!r} by up to {gap:.3g}")
        require(same, f"{what} differs in {name!r}")
    for key, value in left.attrs.items():
        if not key.endswith("seconds"):
            require(_equal(right.attrs.get(key), value), f"{what} differs in attribute {key!r}")


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return bool(np.all(left == right))


def map_tensors(function: Callable[[Tensor], Tensor], batch: Any) -> Any:
    """Return the batch with `function` applied to each tensor; tuples, lists and mappings keep their type."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return type(batch)({key: map_tensors(function, value) for key, value in batch.items()})  # type: ignore[call-arg]
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(map_tensors(function, value) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(function, value) for value in batch)
    return batch


def linear_network() -> tuple[nn.Module, Tensor]:
    """Return a deep linear network at its critical point, and 16 inputs: the simplest known answer."""
    return _stack([nn.Linear(24, 24, bias=False) for _ in range(6)], 1.0), _normal(16, 24)


def default_cases() -> list[Case]:
    """Return small models of several kinds, enough to hold an instrument against every check."""
    return [
        Case("linear", linear_network),
        Case("tanh", _tanh_network),
        Case("convolutional", _convolutional),
        Case("batch normalisation, dictionary input", _dictionary_input),
        Case("recurrent", _recurrent),
        Case("recurrent, long sequences", _long_sequences),
        Case("plain callable", _plain_callable),
    ]


def _normal(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _stack(layers: list[nn.Module], C_W: float) -> nn.Sequential:
    """Return the layers in a row, weights drawn with variance ``C_W / fan_in``, biases zero."""
    model = nn.Sequential(*layers)
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, (C_W / fan_in) ** 0.5, generator=generator)
            else:
                parameter.zero_()
    return model


def _tanh_network() -> tuple[nn.Module, Tensor]:
    layers: list[nn.Module] = []
    for _ in range(5):
        layers += [nn.Linear(24, 24), nn.Tanh()]
    return _stack([*layers, nn.Linear(24, 3)], 2.0), _normal(16, 24)


def _convolutional() -> tuple[nn.Module, Tensor]:
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True), nn.Flatten()]
    return _stack([*layers, nn.Linear(128, 4)], 2.0), _normal(16, 3, 8, 8)


class _Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = _stack([nn.Linear(6, 12)], 1.0), _stack([nn.Linear(4, 12)], 1.0)
        self.body = _stack([nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3)], 1.0)
        self.norm, self.dropout = nn.BatchNorm1d(12), nn.Dropout(0.1)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mixed = self.norm(self.left(batch["left"]) + self.right(batch["right"]))
        return {"logits": self.body(self.dropout(torch.tanh(mixed)))}


def _dictionary_input() -> tuple[nn.Module, dict[str, Tensor]]:
    return _Mixer(), {"left": _normal(16, 6), "right": _normal(16, 4, seed=8)}


def _recurrent() -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.LSTM(5, 9, batch_first=True), _normal(16, 6, 5)


def _long_sequences() -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.RNN(3, 4, batch_first=True), _normal(16, 160, 3)


def _plain_callable() -> tuple[Callable[[Tensor], Tensor], Tensor]:
    weight = _normal(10, 10, seed=5) / 10**0.5

    def network(x: Tensor) -> Tensor:
        return torch.tanh(x @ weight) @ weight

    return network, _normal(16, 10)
