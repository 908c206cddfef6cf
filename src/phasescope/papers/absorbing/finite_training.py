"""Gradient descent at finite width, inside and outside the window and off the critical line.

arXiv:2307.02284 says that criticality alone is not enough: kappa L counts. Deep networks in the NTK
parametrisation are trained along the critical line, and in both phases beside it, and held against infinite
width, the gradient flow of the tangent kernel for the same time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import folders, subset
from phasescope.papers.absorbing.kernel_regression import infinitely_wide
from phasescope.papers.absorbing.optimum import mean_place, minimum
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.trained_networks import LARGEST_LOSS, seconds, trained
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, shades, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from phasescope.theory import CriticalLinePoint

_PAPER = "arXiv:2307.02284"
_OFF_LINE = ("ordered", "chaotic")


class FiniteTrainingSettings(Settings):
    """Sizes of the trainings at finite width."""

    data_set: str = "digits"  # or mnist, fashion-mnist, which need their folder
    # sigma_b along the critical line, ascending
    biases: tuple[float, ...] = (0.005, 0.02, 0.06, 0.2, 0.6, 1.5)
    beside: float = 0.2  # the sigma_b of them at which networks off the line are trained too
    growth: float = 4.0  # how far off: chi_1^L = exp(-growth) and exp(growth)
    depths: tuple[int, ...] = (10,)  # weight layers, ascending
    widths: tuple[int, ...] = (32, 128)  # neurons of a hidden layer, ascending
    networks: int = 4  # independent initialisations of each
    train: int = 150  # training images
    test: int = 300  # test images
    steps: int = 100  # of full-batch gradient descent


QUICK = FiniteTrainingSettings()
PAPER = FiniteTrainingSettings(depths=(10, 20), widths=(32, 128, 384))

VARIABLES = {
    "reference": shared.LINE,
    "test_loss": Variable(("network",), "test loss over that of outputs 0, after training"),
    "train_loss": Variable(("network",), "training loss over that of outputs 0, after training"),
    "accuracy": Variable(("network",), "share of test images classified right"),
    "kernel_loss": Variable((), "test loss of infinite width after the same time"),
    "kernel_accuracy": Variable((), "its accuracy"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a depth, width and point: along the critical line, and beside it."""
    s: FiniteTrainingSettings = config.finite_training
    folder = folders(config).get(s.data_set)
    if folder is None:
        raise InputError(
            f"finite_training.data_set is {s.data_set!r}, which is not at hand.",
            f"Name its folder with --set {s.data_set.replace('-', '_')}=DIR, or use digits.",
        )
    sizes = s.model_dump(mode="json", include={"growth", "networks", "train", "test", "steps"})
    points = [("critical", sigma_b) for sigma_b in s.biases] + [(kind, s.beside) for kind in _OFF_LINE]
    made = []
    for depth, width, (kind, sigma_b) in itertools.product(s.depths, s.widths, points):
        weights = width**2 * (depth - 2) + 784 * width
        cost = 0.3 + s.networks * seconds(weights, depth, s.train, s.steps)
        known = {"kind": kind, **identified(config.activation), "sigma_b": sigma_b}
        known |= {"depth": depth, "width": width, "data_set": s.data_set}
        known |= {"folder": folder, "seed": config.seed, **sizes}
        made.append(Task(STUDY, "finite-training", known, seconds=cost, memory=500_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return losses and accuracies of trained networks, and what infinite width leads to.

    All are NaN where the activation has no critical line.
    """
    known = task.parameters
    point = shared.point_of(known)
    found = {"reference": shared.values(point), "kernel_loss": math.nan, "kernel_accuracy": math.nan}
    nothing = np.full(known["networks"], math.nan)
    found |= dict.fromkeys(("test_loss", "train_loss", "accuracy"), nothing)
    return found if point is None else found | _trainings(task, point, device)


def _trainings(task: Task, point: CriticalLinePoint, device: str) -> dict[str, Any]:
    known = task.parameters
    function, depth, steps = activation_of(known), known["depth"], known["steps"]
    images = subset(known, train=known["train"], test=known["test"], replica=0, replicas=2)
    place = (point.C_W, point.C_b, point.K)
    if known["kind"] != "critical":
        growth = known["growth"] * (1 if known["kind"] == "chaotic" else -1)
        field = shared.off_line(function, point, depth, growth)
        if field is None:
            return {}
        place = (field.C_W, field.C_b, field.fixed_point(point.K).K)
    sizes = {name: known[name] for name in ("width", "depth", "networks")}
    found = trained(function, place, images, **sizes, steps=[steps], seed=task.seed, device=device)
    loss, accuracy = infinitely_wide(function, place, depth, [images], [steps])
    after = {name: each[:, 0] for name, each in found.items()}
    return {**after, "kernel_loss": loss[0, 0], "kernel_accuracy": accuracy[0, 0]}


@dataclass(frozen=True)
class Numbers:
    """All that claims, table and figure are made of."""

    activation: str
    settings: FiniteTrainingSettings
    # by kind, depth and width: tasks by growing sigma_b, with kappa_L, v, log_loss, log_kernel_loss
    trainings: Mapping[tuple[str, int, int], xr.Dataset]
    missing: str  # why nothing can be said, if so

    @property
    def depth(self) -> int:
        """The greatest, which claims look at."""
        return self.settings.depths[-1]

    @property
    def width(self) -> int:
        """The largest, likewise."""
        return self.settings.widths[-1]

    def deepest(self, kind: str, width: int | None = None) -> xr.Dataset:
        """Return the deepest networks, the widest of them by default."""
        return self.trainings[kind, self.depth, width or self.width]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    s: FiniteTrainingSettings = config.finite_training
    cases = itertools.product(("critical", *_OFF_LINE), s.depths, s.widths)
    trainings = {case: _trained(data, *case) for case in cases}
    made = Numbers(config.activation, s, trainings, "")
    if np.isfinite(made.deepest("critical")["kappa_L"]).all():
        return made
    reason = f"{short(config.activation)} has no critical line, or no kappa, at some of the biases"
    return replace(made, missing=reason)


def _trained(data: xr.Dataset, kind: str, depth: int, width: int) -> xr.Dataset:
    found = chosen(data, kind=kind, depth=depth, width=width).sortby("sigma_b")
    kappa, v = (found["reference"][:, shared.QUANTITIES.index(name)] for name in ("kappa", "v"))
    return found.assign(
        kappa_L=kappa * depth,
        v=v,
        log_loss=np.log(np.minimum(found["test_loss"], LARGEST_LOSS)),
        log_kernel_loss=np.log(np.minimum(found["kernel_loss"], LARGEST_LOSS)),
    )


def claims(n: Numbers) -> list[Check]:
    """Return the checks, on the deepest networks."""
    narrow, wide = n.settings.widths[-2:]
    found = n.deepest("critical")
    log_loss = found["log_loss"].values
    best = int(np.argmin(log_loss.mean(axis=1)))
    inside = Estimate.from_samples(log_loss[best], method="mean over networks")
    departures = {}
    for width in (narrow, wide):
        at_best = n.deepest("critical", width).isel(task=best)
        method = f"ln of loss over that of infinite width, n = {width}"
        beside = (at_best["log_loss"] - at_best["log_kernel_loss"]).values
        departures[width] = Estimate.from_samples(beside, method=method)
    fall = _difference(
        departures[narrow], departures[wide], "departure at the lesser less at the larger width"
    )
    wanted_width = math.nan if n.missing else float(found["v"][best]) * n.depth
    made = []
    for side, end in (("below", 0), ("above", -1)):
        outside = Estimate.not_determined("the loss is lowest at an end of the range")
        if 0 < best < len(log_loss) - 1:
            outside = _rise(log_loss[end], inside)
        made.append(
            _larger(
                f"{side}-window",
                f"On the critical line, but {side} the window in kappa L, the test loss is larger: "
                "criticality alone is not enough.",
                outside,
                "Measured: ln(loss) at that end of the range less that of the best point.",
            )
        )
    made += [
        _larger(
            kind,
            f"Off the critical line, in the {kind} phase, the test loss is larger than at the best point of "
            "it.",
            _rise(n.deepest(kind)["log_loss"].values[0], inside),
            f"chi_1^L = exp({'-' if kind == 'ordered' else ''}{n.settings.growth:g}).",
        )
        for kind in _OFF_LINE
    ]
    made += [
        Claim(
            "wide-enough",
            "At widths n > v L trained networks reach the test loss of infinite width.",
            f"asked here; {_PAPER} has n of at least mu L for signals",
        ).equals(
            0.0,
            departures[wide],
            allowance=0.1,
            note=f"n = {wide}, v L = {wanted_width:.0f}. Measured at the best point: ln(loss) less that of "
            "infinite width. Allowance 0.1, chosen here. The kernel's fluctuations, of relative size "
            "sqrt(v L/n), act in as many directions as there are training images, so that more width than "
            "n = v L is needed.",
        ),
        _larger(
            "approach",
            "With more neurons a layer the test loss comes nearer to that of infinite width.",
            fall,
            f"Measured at the best point: departure at n = {narrow} less that at n = {wide}.",
            "asked here",
        ),
        Claim(
            "window-place",
            "At finite width the window lies at the kappa L of infinite width.",
            f"asked here; control by kappa L as in {_PAPER}",
        ).equals(
            0.0,
            _window_shift(found),
            allowance=0.5,
            resolution=0.3,
            note=f"Measured: shift of ln(kappa L) of the lowest loss at n = {wide}. Allowance 0.5, chosen "
            "here. Larger kappa means larger v, hence wider networks for the same quality.",
        ),
    ]
    return undetermined(made, n.missing)


def _larger(id: str, sentence: str, measured: Estimate, note: str, source: str = _PAPER) -> Check:
    """Return the check that a number is above zero."""
    check = Claim(id, sentence, source).positive(measured)
    return replace(check, note=f"{note} Three errors above 0 agrees.")


def _rise(log_loss: np.ndarray, inside: Estimate) -> Estimate:
    outside = Estimate.from_samples(log_loss, method="mean over networks")
    return _difference(outside, inside, "difference of ln(loss)")


def _difference(first: Estimate, second: Estimate, method: str) -> Estimate:
    found = first - second
    return replace(found, method=method) if found.determined else found


def _window_shift(found: xr.Dataset) -> Estimate:
    x = np.log(found["kappa_L"].values)
    infinite = minimum(x, found["log_kernel_loss"].values)
    each = [minimum(x, losses) for losses in found["log_loss"].values.T]
    mean, error = mean_place(each)
    if not math.isfinite(infinite.place + mean + error):
        return Estimate.not_determined("the loss has no minimum inside the range")
    total = math.hypot(error, infinite.error)
    return Estimate(mean - infinite.place, total, "minima of splines, mean over networks", len(each))


def tables(n: Numbers) -> list[Table]:
    """Return losses and accuracies of all points, depths and widths."""
    rows = []
    for depth, width in itertools.product(n.settings.depths, n.settings.widths):
        for kind in ("critical", *_OFF_LINE):
            found = n.trainings[kind, depth, width]
            for i in range(found.sizes["task"]):
                point = found.isel(task=i)
                loss, place = point["test_loss"].values, ["-", kind]
                if kind == "critical":
                    loss = np.minimum(loss, LARGEST_LOSS)
                    place = [f"{point['v'] * depth / width:.2g}", f"critical, {point['kappa_L']:.3g}"]
                means = [str(Estimate.from_samples(values)) for values in (loss, point["accuracy"].values)]
                kernel = [f"{point[name]:.3f}" for name in ("kernel_loss", "kernel_accuracy")]
                rows.append([f"{depth}", f"{width}", *place, *means, *kernel])
    columns = ["L", "n", "v L/n", "phase, kappa L", "test loss", "accuracy"]
    columns += ["test loss, infinite width", "accuracy, infinite width"]
    return [Table(f"{short(n.activation)} networks after training", columns, rows)]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.train} training images of {s.data_set}, square loss on one-hot targets less 1/10, "
        f"{s.steps} steps of full-batch gradient descent in float32 at the rate 1/largest eigenvalue of the "
        "network's own tangent kernel, NTK parametrisation, outputs less those at initialisation. Infinite "
        "width: gradient flow of the kernel for the same time. Other optimisers need not show the same.",
        f"Off the line sigma_w is such that chi_1^L = exp(-{s.growth:g}) (ordered) and exp({s.growth:g}) "
        f"(chaotic), at sigma_b = {s.beside:g}.",
        "v is the variance, times width, of the growth of small differences per layer: below n = v L signals "
        "of single networks differ by factors.",
    ]


def draw_loss(axes: Axes, n: Numbers) -> None:
    """Draw the test loss of the deepest networks against kappa L, by width."""
    for width, shade in zip(n.settings.widths, shades(len(n.settings.widths)), strict=True):
        found = n.deepest("critical", width)
        values = np.minimum(found["test_loss"].values, LARGEST_LOSS)
        error = values.std(axis=1) / max(1, values.shape[1] - 1) ** 0.5
        mean, label = values.mean(axis=1), f"n = {width}"
        axes.errorbar(found["kappa_L"], mean, error, fmt="o-", ms=3, lw=1.2, color=shade, label=label)
    widest = n.deepest("critical")
    axes.plot(widest["kappa_L"], widest["kernel_loss"], color=plotting.THEORY, label="infinite width")
    axes.set(title=f"Test loss, L = {n.depth}", xlabel=r"$\kappa L$", xscale="log", ylim=(0, 1.1))
    legend(axes)


def draw_accuracy(axes: Axes, n: Numbers) -> None:
    """Draw the accuracy of every depth and width along the critical line."""
    rows = list(itertools.product(n.settings.depths, n.settings.widths))
    values = np.stack([n.trainings["critical", *row]["accuracy"].values.mean(axis=1) for row in rows])
    mesh = axes.pcolormesh(values, vmin=0.1, vmax=1.0, cmap="viridis")
    axes.figure.colorbar(mesh, ax=axes)
    biases = [f"{sigma_b:g}" for sigma_b in n.settings.biases]
    axes.set_xticks(np.arange(len(biases)) + 0.5, biases)
    axes.set_yticks(np.arange(len(rows)) + 0.5, [f"L {depth}, n {width}" for depth, width in rows])
    axes.grid(visible=False)
    axes.set(title="Accuracy", xlabel=r"$\sigma_b$ along the critical line")


def draw_phases(axes: Axes, n: Numbers) -> None:
    """Draw the losses of the widest networks on and off the line, at the same bias."""
    biases, beside = n.settings.biases, n.settings.beside
    kinds = ("ordered", "critical", "chaotic")
    for place, kind in enumerate(kinds):
        found = n.deepest(kind)
        point = biases.index(beside) if kind == "critical" and beside in biases else 0
        losses = np.minimum(found["test_loss"].values[point], 2.0)
        kernel = found["kernel_loss"].values[point]
        colour = plotting.PHASE_COLOURS[kind]
        axes.plot(np.full(losses.size, place), losses, "o", ms=5, color=colour, alpha=0.8)
        label = "infinite width" if place == 0 else None
        axes.plot([place - 0.25, place + 0.25], [kernel, kernel], color=plotting.THEORY, label=label)
    axes.set_xticks(range(3), kinds)
    axes.set(
        title=f"On and off the line, n = {n.width}", ylabel="test loss", xlim=(-0.6, 2.6), ylim=(0, None)
    )
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "finite-training",
            "Left: test loss of trained networks against kappa L along the critical line, by width, for the "
            "deepest networks; the line is infinite width. Middle: accuracy for every depth and width "
            "(bright is good). Right: the widest networks on and off the critical line at the same bias. "
            "Errors: spread over initialisations over the root of their number.",
            [draw_loss, draw_accuracy, draw_phases],
            (3.7, 3.2),
        )
    ]


FINITE_TRAINING = Part(
    name="finite-training",
    title="Training at finite width",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("jacot2018", "xiao2020", "tamai2023"),
)
