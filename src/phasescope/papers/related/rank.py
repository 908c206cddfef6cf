"""Rank and participation of the derivative over depth, before and after training.

Feng et al. 2022, arXiv:2206.06072: the rank of the derivative cannot rise with the depth. That holds for the
exact rank. What their scripts count is the rank in float32 of J^T J, singular values above a threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.channel import pictures
from phasescope.papers.related.shared import STUDY, perceptron, train
from phasescope.signal import spectra
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.studies.samples import mean
from phasescope.sweep.task import Task
from phasescope.theory import product_participation, product_rank_fraction

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SHOWN = (1, 2, 3, 5, 10)  # depths of the checks
DEPTH = 10
THRESHOLDS = ("0.1", "0.01", "0.001", "float32 J^T J")
KINDS = ("untrained", "trained", "linear")


class RankSettings(Settings):
    """Sizes of the networks."""

    width: int = 64
    linear_width: int = 128  # of the networks without activations
    seeds: int = 5
    inputs: int = 16  # at which the derivative is taken
    steps: int = 300  # of Adam
    rate: float = 1e-3
    batch: int = 64


QUICK = RankSettings()
PAPER = RankSettings(linear_width=256, seeds=12, inputs=32)

VARIABLES = {
    "participation": Variable(("layer",), "directions kept apart behind each weight layer", "directions"),
    "rank": Variable(("layer", "threshold"), "singular values above each threshold", "directions"),
    "rises": Variable(("threshold",), "share of layers and inputs at which the count rises"),
    "entering": Variable((), "numbers of one input"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each kind of network and seed."""
    settings: RankSettings = config.rank
    made = []
    for kind in KINDS:
        width = settings.linear_width if kind == "linear" else settings.width
        inputs = 1 if kind == "linear" else settings.inputs
        known: dict[str, Any] = {"kind": kind, "width": width, "inputs": inputs}
        known |= {"steps": settings.steps if kind == "trained" else 0, "rate": settings.rate}
        known |= {"batch": settings.batch, "mnist": config.mnist, "seed": config.seed}
        seconds = 0.3 + known["steps"] * 3e-3 + known["inputs"] * DEPTH * 5e-3 * (width / 64) ** 2
        made += [
            Task(STUDY, "rank", {**known, "number": n}, seconds=seconds, memory=500_000_000)
            for n in range(settings.seeds)
        ]
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return participation, counts, and how often counts rise from one layer to the next."""
    known = task.parameters
    width, linear = known["width"], known["kind"] == "linear"
    if linear:
        generator = torch.Generator().manual_seed(task.seed % 2**63)
        x = torch.randn(1, width, dtype=torch.float64, generator=generator)
        activation: type[nn.Module] = nn.Identity
        sizes, C_W = [width] * (DEPTH + 1), 1.0
    else:
        images = pictures(known["mnist"])
        x = images.x[: known["inputs"]]
        activation = nn.ReLU
        sizes, C_W = [images.x.shape[1], *[width] * DEPTH, images.classes], 2.0
    model = perceptron(sizes, activation, task.seed, C_W=C_W)
    if known["steps"]:
        adam = torch.optim.Adam(model.parameters(), lr=known["rate"])
        train(model, images.x, images.y, adam, known["steps"], batch=known["batch"], seed=task.seed)
    body = nn.Sequential(*list(model)[: 2 * DEPTH])  # each weight layer with its activation
    end = nn.Linear if linear else activation
    names = [str(index) for index, layer in enumerate(body) if type(layer) is end]
    each = [spectra(body, one[None], samples=1).dataset.sel(layer=names) for one in x]
    counts = np.array([np.column_stack([one["rank"].values, one["rank_gram32"].values]) for one in each])
    return {
        "participation": np.mean([one["participation"].values for one in each], axis=0),
        "rank": counts.mean(axis=0),
        "rises": (np.diff(counts, axis=1) > 0).mean(axis=(0, 1)),
        "entering": x.shape[1],
    }


@dataclass(frozen=True)
class Numbers:
    """Means over seeds, by kind of network."""

    width: int
    inputs: int
    linear_width: int
    participation: dict[str, list[Estimate]]  # by kind, layer by layer
    shares: list[Estimate]  # of singular values of ten linear layers, by threshold
    rises: dict[str, list[Estimate]]  # by kind and threshold
    fallen: Estimate  # count by the paper's convention: first layer less last, untrained
    ranks: dict[str, np.ndarray]  # by kind: (layer, threshold)

    def law(self, depth: int) -> float:
        """Return the participation of independent weights with ReLU behind `depth` layers."""
        return product_participation([self.inputs, *[self.width] * depth], 2.0)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    settings: RankSettings = config.rank
    kinds = {kind: chosen(data, kind=kind) for kind in KINDS}
    how = "mean over seeds"
    counts = {kind: part["rank"].values for kind, part in kinds.items()}
    return Numbers(
        settings.width,
        int(kinds["untrained"]["entering"].values[0]),
        settings.linear_width,
        {k: [mean(column, how) for column in part["participation"].values.T] for k, part in kinds.items()},
        [mean(counts["linear"][:, -1, t] / settings.linear_width, how) for t in range(3)],
        {k: [mean(part["rises"].values[:, t], how) for t in range(4)] for k, part in kinds.items()},
        mean(counts["untrained"][:, 0, 3] - counts["untrained"][:, -1, 3], how),
        {kind: count.mean(axis=0) for kind, count in counts.items()},
    )


def claims(n: Numbers) -> list[Check]:
    made = [
        Claim(
            f"participation-{depth}",
            f"Behind {depth} ReLU layer{'s' * (depth > 1)} of random weights the derivative keeps the "
            "directions that independent weights and gates keep, n/(2L + 1) for wide ones.",
        ).equals(
            n.law(depth),
            n.participation["untrained"][depth - 1],
            allowance=0.15 * n.law(depth),
            note="15 % are allowed, as gates depend on the weights.",
        )
        for depth in SHOWN
    ]
    made += [
        Claim(
            f"fuss-catalan-{threshold}",
            f"Of ten random linear layers, the share of singular values above {threshold} of the largest is "
            "that of the Fuss-Catalan law.",
        ).equals(
            product_rank_fraction(DEPTH, float(threshold)),
            share,
            allowance=2 / n.linear_width,
            note="Two directions are allowed: the law is that of infinite width.",
        )
        for threshold, share in zip(THRESHOLDS[:3], n.shares, strict=True)
    ]
    falls = "The rank of J^T J in float32 falls from the first to the tenth layer."
    made.append(Claim("falls", falls, "arXiv:2206.06072").positive(n.fallen))
    for threshold in (0, 3):
        rises = [n.rises[kind][threshold] for kind in ("untrained", "trained")]
        most = max(rises, key=lambda found: found.value)
        made.append(
            Claim(
                f"never-rises-{('0.1', '', '', 'float32')[threshold]}",
                f"The count of singular values ({THRESHOLDS[threshold]}) never rises from layer to layer.",
                "arXiv:2206.06072, where it is proved of the exact rank",
            ).found(
                0.0,
                most,
                "agrees" if most.value == 0 else "disagrees",
                "Share of layers and inputs at which it rises, the larger of untrained and trained networks; "
                "disagrees where it rises once. The exact rank cannot; a count relative to the largest can.",
            )
        )
    return made


def tables(n: Numbers) -> list[Table]:
    rows = [
        [kind, f"{depth}", str(n.participation[kind][depth - 1])]
        + [f"{value:.1f}" for value in n.ranks[kind][depth - 1]]
        for kind in KINDS
        for depth in SHOWN
    ]
    columns = ["network", "layer", "participation", *[f"rank, {each}" for each in THRESHOLDS]]
    rises = [[kind, *map(str, n.rises[kind])] for kind in KINDS]
    title = "Share of layers and inputs at which a count rises"
    return [
        Table("Directions behind each layer", columns, rows),
        Table(title, ["network", *THRESHOLDS], rises),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        f"ReLU networks of ten layers of {n.width} units on {n.inputs} pixels, C_W = 2 and no bias, behind "
        f"each activation; linear ones of {n.linear_width} units. Chosen here: depth, widths, the thresholds "
        "0.1, 0.01 and 0.001, and 300 steps of Adam. The last column of counts is the convention of the "
        "paper's scripts, a threshold of sqrt(1.19e-7 n) for n inputs, evaluated in float64."
    ]


def draw_participation(axes: Axes, n: Numbers) -> None:
    depth = np.arange(1, DEPTH + 1)
    for kind, fill in (("untrained", plotting.MEASURED), ("trained", "none")):
        value = [each.value for each in n.participation[kind]]
        error = [each.error for each in n.participation[kind]]
        axes.errorbar(depth, value, error, fmt="o", mfc=fill, color=plotting.MEASURED, label=kind)
    axes.plot(depth, [n.law(int(each)) for each in depth], color=plotting.THEORY, label="independent weights")
    axes.set(title="Directions kept", xlabel="layer", ylabel="participation", xscale="log", yscale="log")
    plain_ticks(axes)
    legend(axes)


def draw_rank(axes: Axes, n: Numbers) -> None:
    depth = np.arange(1, DEPTH + 1)
    for counts, name, colour in zip(n.ranks["untrained"].T, THRESHOLDS, colours(4), strict=True):
        axes.plot(depth, counts, "o-", ms=3.5, color=colour, label=name)
    axes.set(title="Counts, untrained", xlabel="layer", ylabel="singular values above it", ylim=0)
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: directions kept apart behind each ReLU layer, and the law of independent weights. "
        "Right: singular values above a share of the largest. Each threshold has a rank of its own."
    )
    return [Panels("rank", caption, [draw_participation, draw_rank])]


RANK = Part(
    name="rank",
    title="Rank and participation over depth",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("feng2022",),
)
