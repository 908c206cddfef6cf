"""A study of a few milliseconds whose numbers are known: means of normal draws, and squares."""

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.studies import Claim, Panels, Part, Settings, Study, StudySettings, Table, Variable
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


class Common(StudySettings):
    activation: str = "tanh"


def mean_tasks(config):
    sizes = {"samples": config.mean.samples, "seed": config.seed}
    return [
        Task("toy", "mean", {"centre": centre, **sizes}, replica, seconds=0.002, memory=1000)
        for centre in config.mean.centres
        for replica in range(config.mean.networks)
    ]


def mean_measure(task, device):
    random = np.random.default_rng(task.seed)
    return {"draw": random.normal(task.parameters["centre"], 1.0, task.parameters["samples"])}


def mean_numbers(data, config):
    return data, {
        centre: data["draw"][data["centre"].values == centre].mean("sample").values
        for centre in config.mean.centres
    }


def mean_claims(numbers):
    _, means = numbers
    return [
        Claim(f"centre-{centre:g}", f"Draws around {centre} average to {centre}.").equals(
            centre, Estimate.from_samples(found, method="mean over networks"), sigmas=5.0
        )
        for centre, found in means.items()
    ]


def mean_notes(numbers):
    return ["The number of samples is chosen here."]


def draw_draws(axes, numbers):
    data, _ = numbers
    axes.hist(data["draw"].values.ravel(), bins=20, color=plotting.MEASURED)
    axes.set_title("draws")


def draw_means(axes, numbers):
    data, _ = numbers
    axes.plot(data["centre"], data["draw"].mean("sample"), "o", color=plotting.MEASURED)
    axes.plot([0, 2], [0, 2], color=plotting.THEORY)
    axes.set_title("means")


def mean_figures(numbers):
    caption = "All draws, and the mean of each network against its centre."
    return [Panels("means", caption, [draw_draws, draw_means])]


MEAN = Part(
    name="mean",
    title="Means of normal draws",
    presets={"quick": MeanSettings(), "paper": MeanSettings(networks=30)},
    variables={"draw": Variable(("sample",), "normal draws around the centre")},
    tasks=mean_tasks,
    measure=mean_measure,
    numbers=mean_numbers,
    claims=mean_claims,
    notes=mean_notes,
    figures=mean_figures,
    citations=("poole2016",),
)


def square_tasks(config):
    named = {"label": EVIL, "shape": [1, 2], "odd": True}
    options = {"fails": config.square.fails, "uneven": config.square.uneven}
    return [Task("toy", "square", {"x": x, **named, **options}) for x in range(config.square.largest + 1)]


def square_measure(task, device):
    x = task.parameters["x"]
    if x == task.parameters["fails"]:
        raise ArithmeticError(f"no square of {x} today")
    length = 3 + x if task.parameters["uneven"] else 3
    return {"square": np.array(x**2), "powers": np.array([x**k for k in range(length)])}


def square_numbers(data, config):
    if config.square.analysis:
        raise ValueError(config.square.analysis)
    total = Estimate(float(data["square"].sum()), 0.0, "exact", data.sizes["task"])
    return data, config.square, total


def square_claims(numbers):
    _, settings, total = numbers
    sentence = f"The squares up to {settings.largest} add up to {settings.claimed:g} {EVIL}."
    return [
        Claim("sum", sentence).equals(settings.claimed, total, note=EVIL),
        Claim("undone", "The limit exists.").equals(1.0, Estimate.not_determined("too few squares")),
        Claim("free", "The sum is a number.").equals(None, total),
    ]


def square_tables(numbers):
    data, _, _ = numbers
    rows = [[str(int(x)), str(int(y))] for x, y in zip(data["x"], data["square"], strict=True)]
    return [Table(f"Squares {EVIL}", ["x", "square"], rows)]


def square_notes(numbers):
    return [f"Chosen here: {EVIL}"]


def square_figures(numbers):
    _, settings, _ = numbers
    if settings.figure:
        raise RuntimeError(settings.figure)
    return []


SQUARE = Part(
    name="square",
    title="Squares & <roots>",
    presets={"quick": SquareSettings(), "paper": SquareSettings()},
    variables={
        "square": Variable((), "the square", "m^2"),
        "powers": Variable(("power",), "first powers"),
    },
    tasks=square_tasks,
    measure=square_measure,
    numbers=square_numbers,
    claims=square_claims,
    tables=square_tables,
    notes=square_notes,
    figures=square_figures,
)

STUDY = Study(
    name="toy",
    title="What a toy study shows",
    summary="Means of normal draws, and squares.",
    source="derived here",
    common={"quick": Common(), "paper": Common()},
    parts=(MEAN, SQUARE),
    citations=("tamai2023",),
)
NUMBER = 3
