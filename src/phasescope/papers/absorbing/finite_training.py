"""Gradient descent at finite width, inside and outside the window and off the critical line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from scipy.optimize import brentq

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.deep_training import DeepNetwork, train
from phasescope.papers.absorbing.finite_training_checks import checks, tables
from phasescope.papers.absorbing.finite_training_figure import training_figure
from phasescope.papers.absorbing.image_subsets import Subset, folders, subset
from phasescope.papers.absorbing.kernel_regression import learned_outputs
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task
from phasescope.theory import MeanField, TangentGram

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.theory import CriticalLinePoint

# Seconds for one weight, one input and one step: forward and backward.
_WORK = 1.3e-10
# How far off the critical line is looked for a growth, in ln(C_W).
_REACH = 6.0


class FiniteTrainingSettings(Settings):
    """Sizes of the trainings at finite width."""

    data_set: str = "digits"  # ``digits``, ``mnist`` or ``fashion-mnist``; the latter need their folder
    # values of ``sigma_b`` along the critical line, ascending
    biases: tuple[float, ...] = (0.005, 0.02, 0.06, 0.2, 0.6, 1.5)
    beside: float = 0.2  # the ``sigma_b`` of them at which networks off the line are trained too
    growth: float = 4.0  # how far off: ``chi_1^L = exp(-growth)`` and ``exp(growth)``
    # depths, widths: weight layers, and neurons of a hidden layer, ascending
    depths: tuple[int, ...] = (10,)
    widths: tuple[int, ...] = (32, 128)
    networks: int = 4  # independent initialisations of each
    # train, test: images
    train: int = 150
    test: int = 300
    steps: int = 100  # of full-batch gradient descent


QUICK = FiniteTrainingSettings()
PAPER = FiniteTrainingSettings(depths=(10, 20), widths=(32, 128, 384))


class FiniteTraining(Part):
    """Whether criticality alone is enough: trained networks of finite width against kappa L."""

    name = "finite-training"
    title = "Training at finite width"
    citations = ("jacot2018", "xiao2020", "tamai2023")
    variables: ClassVar = {
        "reference": shared.LINE,
        "test_loss": Variable(("network",), "test loss over that of outputs 0, after training"),
        "train_loss": Variable(("network",), "training loss over that of outputs 0, after training"),
        "accuracy": Variable(("network",), "share of test images classified right"),
        "kernel_loss": Variable((), "test loss of infinite width after the same time"),
        "kernel_accuracy": Variable((), "its accuracy"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a depth, width and point: along the critical line, and beside it."""
        settings: FiniteTrainingSettings = config.finite_training
        folder = folders(config).get(settings.data_set)
        if folder is None:
            raise InputError(
                f"finite_training.data_set is {settings.data_set!r}, which is not at hand.",
                f"Name its folder with --set {settings.data_set.replace('-', '_')}=DIR, or use digits.",
            )
        sizes = settings.model_dump(mode="json", include={"growth", "networks", "train", "test", "steps"})
        points = [("critical", sigma_b) for sigma_b in settings.biases]
        points += [("ordered", settings.beside), ("chaotic", settings.beside)]
        made = []
        for depth in settings.depths:
            for width in settings.widths:
                work = settings.train * (width**2 * (depth - 2) + 784 * width) * (settings.steps + 20)
                seconds = 0.3 + settings.networks * (_WORK * work + 1e-4 * depth * settings.steps)
                for kind, sigma_b in points:
                    known = {"kind": kind, **identified(config.activation), "sigma_b": sigma_b}
                    known |= {"depth": depth, "width": width, "data_set": settings.data_set}
                    known |= {"folder": folder, "seed": config.seed, **sizes}
                    made.append(Task(STUDY, self.name, known, seconds=seconds, memory=500_000_000))
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return losses and accuracies of trained networks, and what infinite width leads to."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {"quantity": len(shared.QUANTITIES), "network": known["networks"]}
        measured: dict[str, Any] = {"reference": shared.values(point)}
        if point is not None:
            measured |= _trainings(task, point, device)
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return what the position in the window, the phase and the width do to the test loss."""
        settings: FiniteTrainingSettings = config.finite_training
        return Analysis(
            checks(data, config),
            tables(data, config),
            [
                f"Chosen here: {settings.train} training images of {settings.data_set}, square loss on "
                f"one-hot targets less 1/10, {settings.steps} steps of full-batch gradient descent in "
                "float32 at the rate 1/largest eigenvalue of the network's own tangent kernel, NTK "
                "parametrisation, outputs less those at initialisation. Infinite width: gradient flow of "
                "the kernel for the same time. Other optimisers need not show the same.",
                f"Off the line sigma_w is such that chi_1^L = exp(-{settings.growth:g}) (ordered) and "
                f"exp({settings.growth:g}) (chaotic), at sigma_b = {settings.beside:g}.",
                "v is the variance, times width, of the growth of small differences per layer: below n = v L "
                "signals of single networks differ by factors.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return test loss and accuracy against kappa L by width, and those off the line."""
        caption = (
            "Left: test loss of trained networks against kappa L along the critical line, by width, for the "
            "deepest networks; the line is infinite width. Middle: accuracy for every depth and width "
            "(bright is good). Right: the widest networks on and off the critical line at the same bias. "
            "Errors: spread over initialisations over the root of their number."
        )
        return [Picture("finite-training", training_figure(data, config), caption)]


def off_line(activation: Activation, point: CriticalLinePoint, depth: int, growth: float) -> MeanField | None:
    """The network with ``chi_1^depth = exp(growth)`` at the bias of a critical point, if there is one."""

    def excess(log_factor: float) -> float:
        field = MeanField(activation, point.C_W * math.exp(log_factor), point.C_b)
        chi = field.fixed_point(point.K).chi_perpendicular
        return math.log(max(chi, 1e-12)) * depth - growth

    reach = math.copysign(_REACH, growth)
    if excess(reach) * growth <= 0:
        return None
    return MeanField(activation, point.C_W * math.exp(brentq(excess, 0.0, reach, xtol=1e-6)), point.C_b)


def _trainings(task: Task, point: CriticalLinePoint, device: str) -> dict[str, Any]:
    known = task.parameters
    function, depth = activation_of(known), known["depth"]
    images = subset(
        known["data_set"],
        known["folder"],
        train=known["train"],
        test=known["test"],
        replica=0,
        replicas=2,
        seed=known["seed"],
    )
    C_W, K = point.C_W, point.K
    if known["kind"] != "critical":
        growth = known["growth"] * (1 if known["kind"] == "chaotic" else -1)
        field = off_line(function, point, depth, growth)
        if field is None:
            return {}
        C_W, K = field.C_W, field.fixed_point(point.K).K
    inputs = [
        torch.tensor(_of_kernel(x, C_W, point.C_b, K), dtype=torch.float32, device=device)
        for x in (images.x_train, images.x_test)
    ]
    targets = [torch.tensor(y, dtype=torch.float32, device=device) for y in images.targets()]
    found = []
    for number in range(known["networks"]):
        network = DeepNetwork(
            function,
            (images.x_train.shape[1], known["width"], 10),
            depth,
            C_W,
            point.C_b,
            seed=task.seed + number,
            device=device,
        )
        found.append(
            train(network, inputs[0], targets[0], inputs[1], targets[1], steps=known["steps"], seed=task.seed)
        )
    names = ("test_loss", "train_loss", "accuracy")
    measured: dict[str, Any] = {name: [getattr(one, name) for one in found] for name in names}
    loss, accuracy = _infinite_width(images, TangentGram(function, C_W, point.C_b, depth, K=K), task)
    return measured | {"kernel_loss": loss, "kernel_accuracy": accuracy}


def _infinite_width(images: Subset, gram: TangentGram, task: Task) -> tuple[float, float]:
    depth = task.parameters["depth"]
    within, across = (1 - gram.gap(depth, gram.first_layer(rho)) for rho in images.distances())
    targets, wanted = images.targets()
    (outputs,) = learned_outputs(within, across, targets, [task.parameters["steps"]])
    loss = float(((outputs - wanted) ** 2).mean() / (wanted**2).mean())
    return loss, float((outputs.argmax(axis=1) == images.y_test).mean())


def _of_kernel(x: np.ndarray, C_W: float, C_b: float, K: float) -> np.ndarray:
    """Return the inputs with the norm that gives the first layer the kernel K."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(unit * math.sqrt(x.shape[1] * (K - C_b) / C_W))
