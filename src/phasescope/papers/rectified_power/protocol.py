"""One activation on one task: data, networks, the scan of learning rates, and training at the best.

Used by the part ``comparison``. Data are bundled, or lie where the user says; networks start as the task
tells, and the rate comes from ``training.scan_learning_rate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phasescope.activations import load_activation
from phasescope.data import Images, characters, cifar10, digits, fashion_mnist, mnist
from phasescope.errors import InputError
from phasescope.papers import perceptrons
from phasescope.papers.perceptrons import Course, Networks, Start, squared_error, train
from phasescope.papers.rectified_power.shared import xyz
from phasescope.sweep.task import Task
from phasescope.training import LearningRateScan, RateRow, scan_learning_rate
from phasescope.userfiles import contents_hash

LESS_IS_BETTER = ("text", "xyz")  # of the scores of these tasks
_HELD = 256  # training samples on which the scan scores
_TRIAL, _FRESH = 90, 100  # first seeds of networks: that try rates for the whole training, that are scored
_LOWER = 2  # rates below the best of the scan that are tried too
_MORE = 5  # times more samples of a text, which overlap
_RECORDS = 25  # of the loss in training
_TRIES = 4  # initialisations for each one that the scan wants, as some have no finite loss


@dataclass(frozen=True)
class Data:
    """Inputs and targets in float32 or classes: for training, held out for the scan, and for the test."""

    x: Tensor
    y: Tensor
    held: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def outputs(self) -> int:
        """Number of outputs: classes, or one number."""
        return 1 if self.y.is_floating_point() else int(torch.cat([self.y, self.test[1]]).max()) + 1

    @property
    def guess(self) -> Tensor:
        """Outputs that do not depend on the input: logarithms of the frequencies in training, or the mean."""
        if self.outputs == 1:
            return self.y.mean(0)
        return ((torch.bincount(self.y, minlength=self.outputs) + 1.0) / (len(self.y) + self.outputs)).log()


@lru_cache(maxsize=3)
def load(name: str, place: str, train_samples: int, test_samples: int) -> Data:
    """Return the data of a task, inputs with |x|^2 / n0 = 1 on average."""
    if name == "xyz":
        x, y, x_test, y_test = (z.float() for n in (train_samples, test_samples) for z in xyz(n, n))
        x, x_test = math.sqrt(3) * x, math.sqrt(3) * x_test
    elif name == "text":
        text = characters(place, train=_MORE * train_samples, test=test_samples)
        x, y, x_test, y_test = text.x_train, text.y_train, text.x_test, text.y_test
    else:
        images = digits() if name == "digits" else _LOADERS[name](place)
        x, y = images.x_train[:train_samples], images.y_train[:train_samples]
        x_test, y_test = images.x_test[:test_samples], images.y_test[:test_samples]
        if name == "cifar10":
            x, x_test = F.avg_pool2d(x, 2), F.avg_pool2d(x_test, 2)
        made = replace(images, x_train=x, x_test=x_test).standardised()
        x, x_test = (each if name == "cifar10" else each.flatten(1) for each in (made.x_train, made.x_test))
    return Data(x[:-_HELD], y[:-_HELD], (x[-_HELD:], y[-_HELD:]), (x_test, y_test))


_LOADERS: dict[str, Callable[[str], Images]] = {
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}


# Networks


def function_of(known: Mapping[str, Any]) -> nn.Module:
    """Return the activation of a task, made sure to be the one that the task was planned with."""
    spec = str(known["activation"])
    if known["file_sha256"] and contents_hash(spec) != known["file_sha256"]:
        raise InputError(f"{spec} has changed while the study was running.", "Run the same command again.")
    return perceptrons.module_of(load_activation(spec))


class Residual(nn.Module):
    """A convolution of stride 2, blocks ``h + r s(conv(h))``, the mean over sites, and a linear layer."""

    def __init__(self, known: Mapping[str, Any], function: nn.Module, start: Start, largest: float) -> None:
        super().__init__()
        width, self.function, self.residual = known["channels"], function, known["residual"]
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(known["depth"] - 2))
        self.head = nn.Linear(width, 10)
        C_b = min(known["C_b"], known["K1"])
        self.first, self.start = Start((known["K1"] - C_b) / largest, C_b), start

    def draw(self, seed: int) -> Residual:
        """Draw weights and biases."""
        generator = torch.Generator().manual_seed(seed)
        for name, p in self.named_parameters():
            start = self.first if name.startswith("stem") else self.start
            variance = start.C_W / p[0].numel() if p.dim() > 1 else start.C_b
            p.data = math.sqrt(variance) * torch.randn(p.shape, generator=generator)
        return self

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for block in self.blocks:
            h = h + self.residual * self.function(block(h))
        out: Tensor = self.head(h.mean((2, 3)))
        return out


def network(known: Mapping[str, Any], function: nn.Module, data: Data, seed: int) -> nn.Module:
    """Return the network of a task with the weights of a seed."""
    start = Start(known["C_W"], known["C_b"], known["K1"])
    largest = perceptrons.largest_of(data.x.flatten(1))
    if known["data_set"] == "cifar10":
        return Residual(known, function, start, largest).draw(seed)
    sizes = (data.x.shape[1], *[known["width"]] * (known["depth"] - 1), data.outputs)
    drawn = Networks(sizes, function, start, [seed], largest=largest)
    layers: list[nn.Module] = []
    for w, b in zip(drawn.weights, drawn.biases, strict=True):
        linear = nn.Linear(w.shape[1], w.shape[2])
        linear.weight.data, linear.bias.data = w[0].T.detach().contiguous(), b[0, 0].detach().clone()
        layers += [linear, function]
    return nn.Sequential(*layers[:-1])


class _Together(nn.Module):
    """Networks that are trained side by side."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([each(x) for each in self.networks])


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each network: cross-entropy of classes, mean square error of numbers."""
    if targets.is_floating_point():
        return squared_error(outputs, targets)
    many = F.cross_entropy(outputs.flatten(0, 1), targets.repeat(len(outputs)), reduction="none")
    return many.view(len(outputs), -1).mean(1)


def scores(outputs: Tensor, targets: Tensor, name: str) -> Tensor:
    """Return the score of each network from its outputs, NaN where one is not finite."""
    if name in LESS_IS_BETTER:
        found = losses(outputs, targets)
        found = found.log10() if name == "xyz" else found
    else:
        found = (outputs.argmax(-1) == targets).double().mean(-1)
    return torch.where(outputs.flatten(1).isfinite().all(1), found, math.nan)


# One task: scan, choose, train


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what the scan says of one activation, and how fresh networks do at the rate that it leads to."""
    known = task.parameters
    name, batch, rates = known["data_set"], known["batch"], sorted(set(known["rates"]))
    data = load(name, known["folder"], known["train"], known["test"])
    make, first = partial(network, known, function_of(known), data), 1000 * known["seed"]
    begun: list[int] = []
    tried = 0
    while len(begun) < known["scan_seeds"] and tried < _TRIES * known["scan_seeds"]:
        begun += [first + tried] if _begins(make(first + tried), data, batch) else []
        tried += 1
    failed = np.full(len(rates), tried - len(begun))
    found: dict[str, Any] = dict.fromkeys(("onset", "onset_error"), math.nan)
    found |= {"scan_loss": np.full(len(rates), math.nan), "recommended": 0.0, "chosen_rate": rates[0]}
    if begun:
        with np.errstate(all="ignore"):  # losses overflow where networks diverge, which is counted
            scan = scan_learning_rate(
                lambda seed: _training(make(seed), data, batch, seed),
                rates,
                seeds=begun,
                steps=known["scan_steps"],
                compare=False,
                dtype=torch.float32,
            )
        failed = failed + [row.verdicts.get("diverged", 0) for row in scan.rows]
        found["scan_loss"] = np.array([row.final_loss.value for row in scan.rows])
        found |= {"onset": scan.onset.value, "onset_error": scan.onset.error}
        found |= {"recommended": float(scan.recommended_low.determined)}
        fastest = rates.index(best_rate(scan))
        near = rates[max(0, fastest - _LOWER) : fastest + 1]
        # What is fastest at first may not hold for long: the whole training decides, on samples held out.
        found["chosen_rate"] = max(
            near, key=lambda rate: _held(_trained(make, data, known, rate, 1), data, name)
        )
    networks, course = _trained(make, data, known, found["chosen_rate"], known["seeds"])
    found["score"] = np.where(course.failed < 0, _scored(networks, data.test, name), math.nan)
    guess = data.guess.double().expand(1, len(data.test[0]), -1)
    found["guess"] = float(scores(guess, data.test[1], name))
    return found | {"failed": course.failed, "loss": course.loss, "scan_failed": failed}


def _trained(
    make: Callable[[int], nn.Module], data: Data, known: Mapping[str, Any], rate: float, count: int
) -> tuple[nn.Module, Course]:
    """Return so many networks after training at a rate: fresh ones, or the one that tries rates."""
    first = 1000 * known["seed"] + (_TRIAL if count == 1 else _FRESH)
    networks = _Together([make(first + number) for number in range(count)])
    course = train(
        networks,
        perceptrons.minibatches(data.x, data.y, known["batch"], first),
        losses,
        torch.optim.Adam(networks.parameters(), rate),
        known["steps"],
        every=max(1, known["steps"] // _RECORDS),
    )
    return networks, course


def _scored(networks: nn.Module, samples: tuple[Tensor, Tensor], name: str) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(scores(networks(samples[0]).double(), samples[1], name).numpy())


def _held(trained: tuple[nn.Module, Course], data: Data, name: str) -> float:
    """Return how well one network does on the samples held out; more is better."""
    networks, course = trained
    score = float(_scored(networks, data.held, name)[0])
    if course.failed[0] >= 0 or math.isnan(score):
        return -math.inf
    return -score if name in LESS_IS_BETTER else score


def _begins(model: nn.Module, data: Data, batch: int) -> bool:
    """Return whether losses, outputs and gradient are finite before the first step."""
    loss = losses(model(data.x[:batch])[None], data.y[:batch]).sum()
    torch.autograd.backward(loss)
    with torch.no_grad():
        held = model(data.held[0])[None]
    seen = [loss, losses(held, data.held[1]), held.sum(), *(p.grad for p in model.parameters())]
    return all(bool(each.isfinite().all()) for each in seen if each is not None)


def _training(model: nn.Module, data: Data, batch: int, seed: int) -> dict[str, Any]:
    """Return the training of one network as the scan takes it: batches in an order of its own, repeated."""
    order = torch.randperm(len(data.x) - batch, generator=torch.Generator().manual_seed(seed)) + batch
    rows = torch.cat([torch.arange(batch), order])  # the first batch is the one that _begins has seen
    return {
        "model": model,
        "loss": F.mse_loss if data.y.is_floating_point() else F.cross_entropy,
        "data": [(data.x[some], data.y[some]) for some in torch.split(rows, batch) if len(some) == batch],
        "validation": [data.held],
        "optimizer": lambda parameters, rate: torch.optim.Adam(parameters, rate),
    }


def best_rate(scan: LearningRateScan) -> float:
    """Return the fastest rate of the recommended range; else the one of lowest loss among those that hold."""
    low, high = scan.recommended_low, scan.recommended_high
    if low.determined:
        inside = [row for row in scan.rows if low.value <= row.rate <= high.value]
        return min(inside, key=lambda row: row.time_to_target.value).rate

    def badness(row: RateRow) -> tuple[int, float]:
        loss = row.final_loss.value
        return row.verdicts.get("diverged", 0), loss if math.isfinite(loss) else math.inf

    return min(scan.rows, key=badness).rate
