"""Small models of all kinds of layers, inputs and outputs, and of what real code does to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.known import Known, with_batch

INPUTS = 16


def _images(channels: int = 3, size: int = 8) -> Tensor:
    return torch.randn(INPUTS, channels, size, size)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.blocks = nn.Sequential(*(ResidualBlock(12) for _ in range(3)))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(y.mean(dim=(2, 3)))


class TinyGPT(nn.Module):
    """Token ids in, logits out; the embedding is tied to the output layer."""

    def __init__(self, vocabulary: int = 40, width: int = 24, context: int = 10) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(context, width))
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm2 = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions[: ids.shape[1]]
        hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=hidden, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x)


class PackedGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 12, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(
            batch["x"], batch["lengths"], batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return self.head(last[-1])


class SharedWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            x = torch.tanh(self.layer(x))
        return self.head(x)


class DictInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(7, 16)
        self.right = nn.Linear(5, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.head(torch.tanh(self.left(batch["left"]) + self.right(batch["right"])))}


class TupleOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(9, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh())
        self.mean = nn.Linear(16, 2)
        self.scale = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.trunk(x)
        return self.mean(y), F.softplus(self.scale(y))


class FunctionalActivations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(20, 20) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return x


class ParameterFree(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.pool(x)).flatten(1)


class NanMasking(nn.Module):
    """Squares until it overflows, then hides the NaN: its output looks like a healthy zero."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(12, 12) for _ in range(9))
        with torch.no_grad():
            for parameter in self.layers.parameters():
                parameter.mul_(8)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            z = layer(x)
            x = torch.where(z > -1, z * (z + 1) ** 2, torch.zeros_like(z))
        return x


def mlp() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = []
    for _ in range(5):
        layers += [nn.Linear(32, 32), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(32, 10)), torch.randn(INPUTS, 32)


def _cnn() -> tuple[nn.Module, Any]:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )
    return model, _images()


def _transformer() -> tuple[nn.Module, Any]:
    layer = nn.TransformerEncoderLayer(24, 4, 48, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(INPUTS, 6, 24)


def _tiny_gpt() -> tuple[nn.Module, Any]:
    return TinyGPT(), torch.randint(0, 40, (INPUTS, 10))


def _lstm() -> tuple[nn.Module, Any]:
    return nn.LSTM(6, 12, num_layers=2, batch_first=True), torch.randn(INPUTS, 7, 6)


def _packed_gru() -> tuple[nn.Module, Any]:
    return PackedGRU(), {"x": torch.randn(INPUTS, 7, 6), "lengths": torch.randint(2, 8, (INPUTS,))}


def _dropout() -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 20), nn.ReLU())
    return model, torch.randn(INPUTS, 20)


def _batchnorm() -> tuple[nn.Module, Any]:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(20, 20), nn.BatchNorm1d(20), nn.Tanh()]
    return nn.Sequential(*layers).train(), 3 + 2 * torch.randn(INPUTS, 20)


def _frozen() -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Linear(20, 20), nn.GELU(), nn.Linear(20, 20), nn.GELU(), nn.Linear(20, 4))
    model[0].requires_grad_(False)
    model[2].bias.requires_grad_(False)
    return model, torch.randn(INPUTS, 20)


def _bf16() -> tuple[nn.Module, Any]:
    model = nn.Sequential(nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 4))
    return model.to(torch.bfloat16), torch.randn(INPUTS, 24).to(torch.bfloat16)


def _in_place() -> tuple[nn.Module, Any]:
    model = nn.Sequential(
        nn.ReLU(inplace=True),
        nn.Linear(18, 18),
        nn.ReLU(inplace=True),
        nn.Linear(18, 18),
        nn.LeakyReLU(0.2, inplace=True),
    )
    return model, torch.randn(INPUTS, 18)


def _plain_callable() -> tuple[Callable[[Tensor], Tensor], Any]:
    first = torch.randn(15, 15) / 15**0.5
    second = torch.randn(15, 15) / 15**0.5

    def network(x: Tensor) -> Tensor:
        return torch.tanh(torch.tanh(x @ first) @ second)

    return network, torch.randn(INPUTS, 15)


def _mixed_arguments() -> tuple[nn.Module, Any]:
    return nn.Bilinear(6, 8, 5), (torch.randn(INPUTS, 6), torch.randn(INPUTS, 8))


MODELS = {
    "mlp": Known(mlp, "Linear Tanh " * 5 + "Linear", "ordered"),
    "one_layer": Known(
        with_batch(lambda: nn.Linear(12, 6), lambda: torch.randn(INPUTS, 12)), "Linear", "not determined"
    ),
    "cnn": Known(_cnn, "Conv2d ReLU MaxPool2d Conv2d ReLU AdaptiveAvgPool2d Linear"),
    "resnet": Known(
        with_batch(ResNet, _images), "Conv2d BatchNorm2d relu " + 3 * "sum relu " + "mean Linear"
    ),
    "transformer": Known(_transformer, "sum LayerNorm sum LayerNorm " * 2, "critical"),
    "tiny_gpt": Known(_tiny_gpt, "Embedding add sum sum Linear"),
    "lstm": Known(_lstm, "LSTM", "not determined"),
    "packed_gru": Known(_packed_gru, "GRU Linear", "not determined"),
    "shared_weights": Known(
        with_batch(SharedWeights, lambda: torch.randn(INPUTS, 16)), "Linear tanh " * 4 + "Linear", "ordered"
    ),
    "dict_input": Known(
        with_batch(DictInput, lambda: {"left": torch.randn(INPUTS, 7), "right": torch.randn(INPUTS, 5)}),
        "sum tanh Linear",
        sources=(0, 1),
    ),
    "tuple_output": Known(
        with_batch(TupleOutput, lambda: torch.randn(INPUTS, 9)), "Linear Tanh Linear Tanh Linear"
    ),
    "two_arguments": Known(_mixed_arguments, "Bilinear", "not determined"),
    "dropout": Known(_dropout, "Linear ReLU Linear ReLU", "not determined"),
    "batchnorm": Known(_batchnorm, "Linear BatchNorm1d Tanh " * 3),
    "frozen": Known(_frozen, "Linear GELU Linear GELU Linear"),
    "bf16": Known(_bf16, "Linear SiLU Linear SiLU Linear"),
    "parameter_free": Known(with_batch(ParameterFree, _images), "AvgPool2d Tanh", "not determined"),
    "in_place": Known(_in_place, "ReLU Linear ReLU Linear LeakyReLU", "not determined"),
    "plain_callable": Known(_plain_callable, "matmul tanh matmul tanh", "not determined"),
    "functional": Known(
        with_batch(FunctionalActivations, lambda: torch.randn(INPUTS, 20)), "Linear relu " * 4
    ),
    "nan_masking": Known(
        with_batch(NanMasking, lambda: torch.randn(INPUTS, 12)), "Linear where " * 9, "exploding"
    ),
}
