"""A study of a few milliseconds whose numbers are known: means of normal draws, and squares."""

from typing import ClassVar

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.studies import Analysis, Part, Picture, Settings, Study, Table, Variable, compare
from phasescope.sweep import Task

EVIL = "<script>document.title='owned'</script>"


class MeanSettings(Settings):
    networks: int = 6
    samples: int = 40
    centres: tuple[float, ...] = (0.5, 2.0)


class SquareSettings(Settings):
    largest: int = 4
    fails: int = -1
    uneven: bool = False
    analysis: str = ""
    figure: str = ""
    claimed: float = 30.0


class ToyConfig(Settings):
    seed: int = 0
    activation: str = "tanh"
    mean: MeanSettings = MeanSettings()
    square: SquareSettings = SquareSettings()


class Mean(Part):
    name = "mean"
    title = "Means of normal draws"
    variables: ClassVar = {"draw": Variable(("sample",), "normal draws around the centre")}
    citations = ("poole2016",)

    def tasks(self, config):
        sizes = {"samples": config.mean.samples, "seed": config.seed}
        return [
            Task("toy", self.name, {"centre": centre, **sizes}, replica, seconds=0.002, memory=1000)
            for centre in config.mean.centres
            for replica in range(config.mean.networks)
        ]

    def measure(self, task, device):
        random = np.random.default_rng(task.seed)
        return {"draw": random.normal(task.parameters["centre"], 1.0, task.parameters["samples"])}

    def analyse(self, data, config):
        checks = []
        for centre in config.mean.centres:
            means = data["draw"][data["centre"].values == centre].mean("sample").values
            estimate = Estimate.from_samples(means, method="mean over networks")
            claim = f"Draws around {centre} average to {centre}."
            checks.append(
                compare(f"mean/centre-{centre:g}", claim, "derived here", centre, estimate, sigmas=5.0)
            )
        return Analysis(checks, notes=["The number of samples is chosen here."])

    def figures(self, data, config):
        with plotting.style():
            figure, (left, right) = plotting.figure(2)
            left.hist(data["draw"].values.ravel(), bins=20, color=plotting.MEASURED)
            left.set_title("draws")
            right.plot(data["centre"], data["draw"].mean("sample"), "o", color=plotting.MEASURED)
            right.plot([0, 2], [0, 2], color=plotting.THEORY)
            right.set_title("means")
        return [Picture("means", figure, "All draws, and the mean of each network against its centre.")]


class Square(Part):
    name = "square"
    title = "Squares & <roots>"
    variables: ClassVar = {
        "square": Variable((), "the square", "m^2"),
        "powers": Variable(("power",), "first powers"),
    }

    def tasks(self, config):
        named = {"label": EVIL, "shape": [1, 2], "odd": True}
        options = {"fails": config.square.fails, "uneven": config.square.uneven}
        return [
            Task("toy", self.name, {"x": x, **named, **options}) for x in range(config.square.largest + 1)
        ]

    def measure(self, task, device):
        x = task.parameters["x"]
        if x == task.parameters["fails"]:
            raise ArithmeticError(f"no square of {x} today")
        length = 3 + x if task.parameters["uneven"] else 3
        return {"square": np.array(x**2), "powers": np.array([x**k for k in range(length)])}

    def analyse(self, data, config):
        if config.square.analysis:
            raise ValueError(config.square.analysis)
        total = Estimate(float(data["square"].sum()), 0.0, "exact", data.sizes["task"])
        sentence = f"The squares up to {config.square.largest} add up to {config.square.claimed:g} {EVIL}."
        checks = [
            compare("square/sum", sentence, "derived here", config.square.claimed, total, note=EVIL),
            compare(
                "square/undone",
                "The limit exists.",
                "derived here",
                1.0,
                Estimate.not_determined("too few squares"),
            ),
            compare("square/free", "The sum is a number.", "derived here", None, total),
        ]
        rows = [[str(int(x)), str(int(y))] for x, y in zip(data["x"], data["square"], strict=True)]
        return Analysis(checks, [Table(f"Squares {EVIL}", ["x", "square"], rows)], [f"Chosen here: {EVIL}"])

    def figures(self, data, config):
        if config.square.figure:
            raise RuntimeError(config.square.figure)
        return []


STUDY = Study(
    name="toy",
    title="What a toy study shows",
    summary="Means of normal draws, and squares.",
    source="derived here",
    presets={
        "quick": ToyConfig(),
        "paper": ToyConfig(mean=MeanSettings(networks=30)),
    },
    parts=(Mean(), Square()),
    citations=("tamai2023",),
)
NUMBER = 3
