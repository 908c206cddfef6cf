"""Kernel regression along the critical line: one window of test loss in ``kappa L``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.generalisation_checks import checks, tables
from phasescope.papers.absorbing.generalisation_figure import distance_figure, window_figure
from phasescope.papers.absorbing.image_subsets import folders, subset
from phasescope.papers.absorbing.kernel_regression import learned_outputs
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task
from phasescope.theory import TangentGram

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.theory import CriticalLinePoint


class GeneralisationSettings(Settings):
    """Sizes of the sweep of kernel regressions along the critical line."""

    biases: tuple[float, float] = (3e-4, 1.0)  # smallest and largest ``sigma_b``
    points: int = 14  # how many, evenly spaced in the logarithm
    depths: tuple[int, ...] = (30, 100, 300)  # weight layers, ascending
    reach: tuple[float, float] = (0.05, 100.0)  # values of ``kappa L`` between which losses are computed
    # train, test: images of one repetition
    train: int = 400
    test: int = 400
    replicas: int = 3  # repetitions; no two share an image
    # training times in steps of the learning rate ``1/largest eigenvalue``; kernel regression without ridge
    # is added to them. The checks look at the last
    steps: tuple[float, ...] = (100.0, 1000.0)
    # the same images are looked at with all distances multiplied by this, as a feature common to all images
    # makes them
    shrinkage: float = 0.25


QUICK = GeneralisationSettings()
PAPER = GeneralisationSettings(points=18, depths=(30, 100, 300, 1000), train=800, test=1000, replicas=4)


class Generalisation(Part):
    """Test loss of infinitely wide networks against ``sigma_b``, depth and data."""

    name = "generalisation"
    title = "Generalisation of infinitely wide networks"
    citations = ("jacot2018", "xiao2020", "tamai2023")
    variables: ClassVar = {
        "reference": shared.LINE,
        "loss": Variable(("depth", "subset", "time"), "test loss over that of a constant guess"),
        "accuracy": Variable(("depth", "subset", "time"), "share of test images classified right"),
        "median_distance": Variable(("subset",), "median of 1 - c of training images, first layer"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a point of the critical line, for each data set, shrinkage and activation."""
        settings: GeneralisationSettings = config.generalisation
        sizes = settings.model_dump(
            mode="json", include={"depths", "reach", "train", "test", "replicas", "steps"}
        )
        cases = [
            (config.activation, name, folder, shrinkage)
            for name, folder in folders(config).items()
            for shrinkage in (1.0, settings.shrinkage)
        ]
        cases += [(spec, "digits", "", 1.0) for spec in config.activations if spec != config.activation]
        solve = 3e-10 * settings.train**3 + 1e-7 * settings.train * (settings.train + settings.test)
        seconds = 0.2 + 4e-4 * max(settings.depths) + 0.7 * len(settings.depths) * settings.replicas * solve
        made = []
        for spec, name, folder, shrinkage in cases:
            for sigma_b in np.geomspace(*settings.biases, settings.points):
                known = {**identified(spec), "sigma_b": float(sigma_b), "data_set": name, "folder": folder}
                known |= {"shrinkage": shrinkage, "seed": config.seed, **sizes}
                memory = 1_000_000_000 if folder else 300_000_000
                made.append(Task(STUDY, self.name, known, seconds=seconds, memory=memory))
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return test loss and accuracy at one point of the critical line, for every depth within reach."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {
            "quantity": len(shared.QUANTITIES),
            "depth": len(known["depths"]),
            "subset": known["replicas"],
            "time": len(known["steps"]) + 1,
        }
        measured: dict[str, Any] = {"reference": shared.values(point)}
        if point is not None and math.isfinite(point.kappa):
            measured |= _regressions(task, point)
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return the position of the window by depth, data, distances and activation."""
        settings: GeneralisationSettings = config.generalisation
        return Analysis(
            checks(data, config),
            tables(data, config),
            [
                "Chosen here, as the source does not say: square loss on one-hot targets less 1/10, "
                f"gradient flow from outputs 0 for {settings.steps[-1]:g} steps of the learning rate "
                f"1/largest eigenvalue, {settings.train} training images less the mean intensity and scaled "
                "to one norm, all weights and biases trained in the NTK parametrisation. Loss 1 is that of "
                "guessing 0.",
                "A window needs two ends. Small kappa L: the network is nearly linear and the kernel badly "
                "conditioned, so that little beyond a linear fit is learned in the time given. Large kappa "
                "L: all pairs look alike, what is learned of one image says nothing of another, and the "
                "outputs on new images shrink, even where their largest is still the right one. Kernel "
                "regression without ridge, given all time, is in the tables.",
                "Repetitions use disjoint training images; the spread over them is the error.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the loss against sigma_b and against kappa L, and what distances and time do to it."""
        settings: GeneralisationSettings = config.generalisation
        window = (
            "Test loss on {name} after {steps:g} steps, one colour a depth. Left: against sigma_b along the "
            "critical line, where each depth has its own optimum. Right: against kappa L."
        )
        distances = (
            "Left: the same images with all distances shrunk need a larger kappa L; against kappa rho_0 L "
            "with rho_0 the median distance, the two agree better. Middle: test loss for several training "
            "times. Right: accuracy. Deepest network of the sweep, digits."
        )
        windows = [
            Picture(
                f"generalisation-window-{name}",
                window_figure(data, config, name),
                window.format(name=name, steps=settings.steps[-1]),
            )
            for name in folders(config)
        ]
        return [
            *windows,
            Picture("generalisation-distances", distance_figure(data, config), distances),
        ]


def _regressions(task: Task, point: CriticalLinePoint) -> dict[str, np.ndarray]:
    known = task.parameters
    low, high = known["reach"]
    rows = [(i, L) for i, L in enumerate(known["depths"]) if low <= point.kappa * L <= high]
    times = [*known["steps"], math.inf]
    shape = (len(known["depths"]), known["replicas"], len(times))
    loss, accuracy = np.full(shape, np.nan), np.full(shape, np.nan)
    median = np.full(known["replicas"], np.nan)
    if not rows:
        return {"loss": loss, "accuracy": accuracy, "median_distance": median}
    gram = TangentGram(activation_of(known), point.C_W, point.C_b, [L for _, L in rows], K=point.K)
    for replica in range(known["replicas"]):
        images = subset(
            known["data_set"],
            known["folder"],
            train=known["train"],
            test=known["test"],
            replica=replica,
            replicas=known["replicas"],
            seed=known["seed"],
        )
        within, across = (gram.first_layer(known["shrinkage"] * rho) for rho in images.distances())
        median[replica] = np.median(within[np.triu_indices(len(within), 1)])
        targets, wanted = images.targets()
        for row, depth in rows:
            outputs = learned_outputs(
                1 - gram.gap(depth, within), 1 - gram.gap(depth, across), targets, times
            )
            loss[row, replica] = ((outputs - wanted) ** 2).mean(axis=(1, 2)) / (wanted**2).mean()
            accuracy[row, replica] = (outputs.argmax(axis=2) == images.y_test).mean(axis=1)
    return {"loss": loss, "accuracy": accuracy, "median_distance": median}
