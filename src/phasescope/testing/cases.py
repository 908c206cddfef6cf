"""The models that checks run on, and helpers for batches of any structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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


def tensors_of(batch: Any) -> Iterator[Tensor]:
    """Return an iterator over the tensors of a batch."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_of(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors_of(value)


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
