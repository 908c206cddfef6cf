"""Spare capacity: whether ensembles are more blurred in large networks, and on simple pictures.

Cascades of 16, 37 and 64 units learn a simple picture, a disc on an even slope, and rich ones. How dedicated
the weights of a region are is read, as in the part of the many regions, from the share of its maps inside,
weighted by energy, and from the part of all weights that its ensemble takes. Both are held against those of
the same network with permuted weights, and of an untrained one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.papers.synapses import shared
from phasescope.papers.synapses.shared import ARTICLE, KINDS, STUDY, over_networks
from phasescope.papers.synapses.shared_properties import UNITS, ensembles_of
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.synapses import PictureNet, fit, grid, thinned_cascade

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SIMPLE = "disc"
OUTPUTS = 3
_RADIUS, _EDGE = 0.5, 0.06  # of the disc and of its border, where pictures reach from -1 to 1
_ARTICLE = UNITS.index("rms")


class CapacitySettings(Settings):
    """Sizes of the comparison."""

    units: tuple[int, ...] = (16, 37, 64)  # of the networks, outputs among them
    rich: int = 3  # of the study's pictures, the first so many
    seeds: int = 5  # networks of each size for each picture
    longest: int = 64  # pixels of the longer side
    regions: int = 200  # windows for each picture, about
    side: int = 8  # of a window, as a fraction of the longer side


QUICK = CapacitySettings(rich=1, seeds=4, longest=40, regions=100)
PAPER = CapacitySettings()

VARIABLES = {
    "rmse": Variable((), "of the trained network's picture"),
    "painted": Variable(("row", "column", "channel"), "what the trained network paints"),
    "share": Variable(("kind", "region"), "share of a map inside, mean over weights by their energy inside"),
    "members": Variable(("kind", "unit", "region"), "weights in the ensemble"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a picture, a size and a seed."""
    settings: CapacitySettings = config.capacity
    made = []
    for picture in (SIMPLE, *config.pictures[: settings.rich]):
        for units in settings.units:
            for start in range(settings.seeds):
                known = {"picture": picture, "units": units, "start": start, "seed": config.seed}
                known |= {"longest": settings.longest, "steps": config.steps}
                known |= {"regions": settings.regions, "fraction": settings.side}
                seconds = 0.5 + shared.training_seconds(known, units - OUTPUTS)
                made.append(Task(STUDY, "capacity", known, seconds=seconds, memory=10**9))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return shares and sizes of ensembles in a network and in its two controls."""
    known = task.parameters
    simple = known["picture"] == SIMPLE
    target = disc(known["longest"]) if simple else shared.pictured(known["picture"], known["longest"])
    first = PictureNet(thinned_cascade(known["units"] - OUTPUTS), seed=known["start"] + 1000 * known["seed"])
    found = fit(first, target, method="lm", steps=known["steps"])
    trained = shared.Trained(found.net, target, found.rmse)
    masks = shared.windows(trained.size, known["regions"], max(trained.size) // known["fraction"])
    seen = [ensembles_of(view, masks) for view in trained.kinds(task.seed)]
    return {
        "rmse": found.rmse,
        "painted": trained.sensitivity.picture.numpy().astype(np.float32),
        **{name: np.array([each[name] for each in seen]) for name in ("share", "members")},
    }


def disc(longest: int) -> Tensor:
    """Return the simple picture, two thirds as high as wide: a disc on an even slope of colour."""
    height = round(longest * 2 / 3)
    x, y = grid(height, longest).unbind(1)
    radius = ((1.5 * x) ** 2 + y**2).sqrt()
    inside = torch.sigmoid((_RADIUS - radius) / _EDGE * 4)
    slope = torch.stack([-0.5 + 0.2 * x, -0.3 + 0.2 * y, 0.1 - 0.2 * x], dim=-1)
    colour = torch.tensor([0.7, 0.5, -0.4], dtype=x.dtype)
    return (slope + inside[:, None] * (colour - slope)).reshape(height, longest, 3)


@dataclass(frozen=True)
class Numbers:
    """Shares by picture, seed and number of units."""

    data: xr.Dataset
    units: tuple[int, ...]
    pictures: tuple[str, ...]  # the simple one first
    shares: NDArray[Any]  # ln of the mean share; (picture, seed, units, kind)
    parts: NDArray[Any]  # ln of the part of all weights in an ensemble, median over regions; likewise
    rmse: NDArray[Any]  # (picture, seed, units)

    def slopes(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return slopes in ln units, (picture, seed, kind)."""
        x = np.log(self.units) - np.log(self.units).mean()
        return np.asarray(np.einsum("psuk,u->psk", values, x) / (x @ x))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    settings: CapacitySettings = config.capacity
    pictures = (SIMPLE, *config.pictures[: settings.rich])
    shape = (len(pictures), settings.seeds, len(settings.units))
    found = {name: np.empty((*shape, len(KINDS))) for name in ("shares", "parts")}
    rmse = np.empty(shape)
    for p, picture in enumerate(pictures):
        for u, units in enumerate(settings.units):
            alike = chosen(data, picture=picture, units=units).sortby("start")
            rmse[p, :, u] = alike["rmse"].values
            found["shares"][p, :, u] = np.log(np.nanmean(alike["share"].values, -1))
            members = np.nanmedian(alike["members"].values[:, :, _ARTICLE], -1)
            found["parts"][p, :, u] = np.log(members / thinned_cascade(units - OUTPUTS).size)
    return Numbers(data, settings.units, pictures, rmse=rmse, **found)


def claims(n: Numbers) -> list[Check]:
    """Return what size does, then what the picture does, each against both controls."""
    made = []
    for name, size, picture, values in (
        ("share", "the share of maps inside a region falls", "that share is larger", n.shares),
        ("part", "the part of all weights in an ensemble rises", "that part is smaller", -n.parts),
    ):
        made += _held(
            f"large-blurs-{name}",
            f"Spare capacity blurs ensembles: {size} with the number of units.",
            -n.slopes(values).reshape(-1, len(KINDS)),
            "change of its logarithm with ln units, the sign so that blur is above zero",
        )
        by_picture = values.mean(2)
        made += _held(
            f"simple-blurs-{name}",
            f"A simple picture leaves ensembles blurred: {picture} on rich pictures.",
            (by_picture[1:] - by_picture[:1]).reshape(-1, len(KINDS)),
            "difference of logarithms, mean over sizes, the sign so that blur is above zero",
        )
    return made


def _held(id: str, sentence: str, values: NDArray[Any], how: str) -> list[Check]:
    """Return the claim, and the same less each control; `values` has shape (trials, kind)."""
    controls = ", ".join(f"{kind}: {over_networks(values[:, k])}" for k, kind in enumerate(KINDS) if k)
    made = [
        Claim(id, sentence, ARTICLE).positive(over_networks(values[:, 0], how), note=f"Controls: {controls}.")
    ]
    for k, control in ((1, "an untrained network"), (2, "permuted weights")):
        made.append(
            Claim(
                f"{id}-{KINDS[k]}",
                f"{sentence.partition(':')[0]}, by more than with {control}.",
                "the claim above and its control",
            ).positive(over_networks(values[:, 0] - values[:, k], f"{how}, less the control's"))
        )
    return made


def tables(n: Numbers) -> list[Table]:
    rows = []
    for p, picture in enumerate(n.pictures):
        for u, units in enumerate(n.units):
            cells = [f"{n.rmse[p, :, u].mean():.3f}"]
            for k in range(len(KINDS)):
                cells.append(f"{np.exp(n.shares[p, :, u, k]).mean():.3f}")
                cells.append(f"{np.exp(n.parts[p, :, u, k]).mean():.2f}")
            rows.append([picture, f"{units}", f"{thinned_cascade(units - OUTPUTS).size}", *cells])
    columns = ["picture", "units", "weights", "RMSE"]
    for kind in KINDS:
        columns += [f"share, {kind}", "part of weights"]
    return [Table("Ensembles by size of the network, means over seeds", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        "The article says it in words: a billion weights on a simple task have no need to set any apart, a "
        "small network that must draw a hundred elements has. Sizes, pictures and the measure were chosen "
        "here.",
        "All networks take the same number of steps of Levenberg-Marquardt, so large ones end at a lower "
        "error and paint sharper pictures, which raises shares whatever draws them.",
    ]


def _draw(axes: Axes, n: Numbers, values: NDArray[Any]) -> None:
    for p, (picture, colour) in enumerate(zip(n.pictures, colours(len(n.pictures)), strict=True)):
        for k, style in enumerate(("-", "--", ":")):
            y = np.exp(values[p, :, :, k])
            axes.plot(
                n.units, np.exp(np.log(y).mean(0)), style, color=colour, label=None if k else picture, lw=1.2
            )
            if not k:
                axes.plot(np.tile(n.units, len(y)), y.ravel(), ".", ms=4, color=colour)
    axes.set(xscale="log", yscale="log", xlabel="units of the network")
    plain_ticks(axes)
    axes.set_xticks(n.units, [str(u) for u in n.units])


def draw_shares(axes: Axes, n: Numbers) -> None:
    _draw(axes, n, n.shares)
    axes.set(title="Dedicated weights", ylabel="share of maps inside a region")
    legend(axes)


def draw_parts(axes: Axes, n: Numbers) -> None:
    _draw(axes, n, n.parts)
    axes.set(title="Ensembles", ylabel="part of all weights")


def draw_painted(axes: Axes, n: Numbers) -> None:
    """Draw what networks of each size paint, a row a picture that has the shape of the simple one."""
    rows = []
    for picture in n.pictures[:2]:
        for units in n.units:
            one = chosen(n.data, picture=picture, units=units).isel(task=0)["painted"]
            rows.append(one.dropna("row", how="all").dropna("column", how="all").values)
    height = min(row.shape[0] for row in rows)
    width = min(row.shape[1] for row in rows)
    sheet = shared.montage(np.stack([row[:height, :width] for row in rows]), len(n.units))
    shared.show(axes, sheet, f"{' and '.join(n.pictures[:2])}, {', '.join(map(str, n.units))} units")


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "capacity",
            "Left: what networks of each size paint. Middle: the mean share of maps inside a region, by "
            "size and picture, a dot a network; trained (full), untrained (dashed), permuted weights "
            "(dotted). Right: the part of all weights in an ensemble, likewise. Blur would fall in the "
            "middle and rise on the right.",
            [draw_painted, draw_shares, draw_parts],
        )
    ]


CAPACITY = Part(
    name="capacity",
    title="Spare capacity",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("region", "row", "column"),
    citations=("ensembles2015",),
)
