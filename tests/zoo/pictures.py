"""Convolutional networks, rebuilt small."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.inputs import INPUTS
from zoo.known import Known, with_batch


def _pictures() -> Tensor:
    return torch.randn(INPUTS, 3, 8, 8)


def _conv(inputs: int, outputs: int, size: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(_conv(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs))
            if stride > 1 or inputs != outputs
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y += short
        return F.relu(y)


class ResNetV1(nn.Module):
    """Two stages; the second halves the picture, with a 1x1 convolution in the shortcut; sums in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(3, 8), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8, 1), BasicBlock(8, 8, 1))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2), BasicBlock(16, 16, 1))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(x.mean(dim=(2, 3)))


class PreActBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), _conv(channels, channels)
        self.bn2, self.conv2 = nn.BatchNorm2d(channels), _conv(channels, channels)
        for conv in (self.conv1, self.conv2):
            nn.init.normal_(conv.weight, std=math.sqrt(2 / (9 * channels)))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class PreActResNet(nn.Module):
    def __init__(self, depth: int = 7) -> None:
        super().__init__()
        self.stem = _conv(3, 16)
        nn.init.normal_(self.stem.weight, std=math.sqrt(1 / 27))
        self.blocks = nn.Sequential(*(PreActBlock(16) for _ in range(depth)))
        self.norm, self.head = nn.BatchNorm2d(16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.norm(self.blocks(self.stem(x)))).mean(dim=(2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, inputs: int, growth: int = 6) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), _conv(inputs, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], dim=1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 8)
        self.first = nn.Sequential(DenseLayer(8), DenseLayer(14), DenseLayer(20))
        self.transition = nn.Sequential(nn.BatchNorm2d(26), nn.ReLU(), _conv(26, 12, 1), nn.AvgPool2d(2))
        self.second = nn.Sequential(DenseLayer(12), DenseLayer(18))
        self.norm, self.head = nn.BatchNorm2d(24), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.transition(self.first(self.stem(x))))
        return self.head(F.relu(self.norm(x)).mean(dim=(2, 3)))


class InceptionBlock(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(inputs, 6, 1)
        self.three = nn.Sequential(nn.Conv2d(inputs, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(inputs, 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([self.one(x), self.three(x), self.pool(x)], dim=1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.middle = nn.Conv2d(16, 16, 3, padding=1)
        self.up2, self.up1 = nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = F.relu(self.down1(x))
        second = F.relu(self.down2(F.max_pool2d(first, 2)))
        lowest = F.relu(self.middle(F.max_pool2d(second, 2)))
        y = F.relu(self.up2(torch.cat([F.interpolate(lowest, scale_factor=2), second], dim=1)))
        y = F.relu(self.up1(torch.cat([F.interpolate(y, scale_factor=2), first], dim=1)))
        return self.out(y)


class TimedBlock(nn.Module):
    def __init__(self, channels: int, timed: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(2, channels), nn.Conv2d(channels, channels, 3, padding=1)
        self.time = nn.Linear(timed, channels)
        self.norm2, self.conv2 = nn.GroupNorm(2, channels), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(h)))


class DiffusionUNet(nn.Module):
    """Predicts the noise in a picture at a time: two inputs."""

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.arange(4))
        self.time = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 16))
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        self.first = TimedBlock(channels, 16)
        self.down = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.middle = TimedBlock(channels, 16)
        self.join = nn.Conv2d(2 * channels, channels, 1)
        self.last = TimedBlock(channels, 16)
        self.norm, self.out = nn.GroupNorm(2, channels), nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        angles = time[:, None] * self.frequencies
        t = self.time(torch.cat([angles.sin(), angles.cos()], dim=-1))
        first = self.first(self.enter(x), t)
        middle = self.middle(self.down(first), t)
        joined = self.join(torch.cat([F.interpolate(middle, scale_factor=2), first], dim=1))
        return self.out(F.silu(self.norm(self.last(joined, t))))


class InvertedResidual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.conv = nn.Sequential(
            _conv(channels, wide, 1),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            _conv(wide, wide, groups=wide),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            _conv(wide, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class MobileNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 8), nn.BatchNorm2d(8), nn.ReLU6())
        self.blocks = nn.Sequential(*(InvertedResidual(8) for _ in range(3)))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class SqueezeBlock(nn.Module):
    """A residual block whose branch is scaled channel by channel with what its own mean says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv(channels, channels), nn.BatchNorm2d(channels)
        self.fc1, self.fc2 = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        scale = torch.sigmoid(self.fc2(F.relu(self.fc1(y.mean(dim=(2, 3))))))
        return F.relu(x + y * scale[:, :, None, None])


class SqueezeExcitation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 12)
        self.blocks = nn.Sequential(*(SqueezeBlock(12) for _ in range(3)))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, stride=2)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width) for _ in range(3)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.stem(x)).mean(dim=(2, 3))))


def _inception() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        InceptionBlock(8),
        InceptionBlock(16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def _timed() -> tuple[Tensor, Tensor]:
    return _pictures(), torch.rand(INPUTS)


MODELS = {
    # In place: ``y += short`` writes a sum where the output of a normalisation was.
    "resnet_v1": Known(
        with_batch(ResNetV1, _pictures), "Conv2d BatchNorm2d relu " + 4 * "sum relu " + "mean Linear"
    ),
    # Padding leaves p = (22/24)^2 of a convolution. Behind a ReLU 1/pi of the square is the mean, which the
    # normalisation takes off: r = 0.68 is left. The stream has variance p (1 + r l), and a branch passes on a
    # tangent times p / r over that: 2.47, 1.88, 1.62, 1.49, 1.40, 1.33, 1.29 a block, 26.7 in all: a power of
    # the depth.
    "preact_resnet": Known(
        with_batch(PreActResNet, _pictures),
        "Conv2d " + 7 * "sum " + "BatchNorm2d relu mean Linear",
        "critical",
        26.7,
        0.35,
    ),
    "densenet": Known(
        with_batch(DenseNet, _pictures),
        "Conv2d cat cat cat BatchNorm2d ReLU Conv2d AvgPool2d cat cat BatchNorm2d relu mean Linear",
    ),
    "inception": Known(
        with_batch(_inception, _pictures), "Conv2d ReLU cat relu cat relu AdaptiveAvgPool2d Linear"
    ),
    # The first map reaches the last concatenation past everything between.
    "unet": Known(with_batch(UNet, _pictures), "Conv2d relu cat Conv2d relu Conv2d"),
    # The picture's chain; the time enters every block, so its own has only the last block and the read-out.
    "diffusion_unet": Known(
        with_batch(DiffusionUNet, _timed), "Conv2d sum cat Conv2d sum GroupNorm silu Conv2d"
    ),
    # No activation behind the sums; each normalised branch adds 1.
    "mobilenet": Known(
        with_batch(MobileNet, _pictures),
        "Conv2d BatchNorm2d ReLU6 sum sum sum mean Linear",
    ),
    "squeeze_excitation": Known(
        with_batch(SqueezeExcitation, _pictures), "Conv2d " + 3 * "sum relu " + "mean Linear"
    ),
    # Layer scale 1e-6: blocks do nothing yet.
    "convnext": Known(
        with_batch(ConvNeXt, _pictures), "Conv2d sum sum sum mean LayerNorm Linear", "critical", 1.0, 1e-3
    ),
}
