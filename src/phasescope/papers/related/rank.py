"""Rank and participation of the derivative over depth, before and after training.

Feng et al. 2022, arXiv:2206.06072: the rank of the derivative cannot rise with the depth. That holds for the
exact rank. What their scripts count is the rank in float32 of J^T J, singular values above a threshold.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.related.channel import pictures
from phasescope.papers.related.shared import STUDY, colours
from phasescope.papers.small_networks import VisionTransformer, convnet, perceptron, train
from phasescope.signal import spectra
from phasescope.studies import drawing
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import legend, plain_ticks
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
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
STATES = ("untrained", "trained")
CHANNELS, LAYERS = (8, 8, 16, 16, 32, 32, 32), 3  # seven rows of either network for colour images
NETWORKS = {
    "mnist": "a perceptron on MNIST",
    "cnn": "a convolutional network on CIFAR-10",
    "vit": "a vision transformer on CIFAR-10",
}


class RankSettings(Settings):
    """Sizes of the networks."""

    width: int = 64
    linear_width: int = 128  # of the networks without activations
    seeds: int = 5
    inputs: int = 16  # at which the derivative is taken
    steps: int = 300  # of Adam
    rate: float = 1e-3
    batch: int = 64
    colour_seeds: int = 0  # of the networks for colour images
    colour_inputs: int = 4


QUICK = RankSettings()
PAPER = RankSettings(linear_width=256, seeds=12, inputs=32, colour_seeds=4)

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
    for n in range(settings.colour_seeds if config.cifar10 else 0):
        for kind, steps in itertools.product(("cnn", "vit"), (0, settings.steps)):
            own = {"kind": kind, "steps": steps, "rate": settings.rate, "batch": settings.batch, "number": n}
            own |= {"inputs": settings.colour_inputs, "cifar10": config.cifar10, "seed": config.seed}
            seconds = settings.colour_inputs * 2.5 + steps * 0.03
            made.append(Task(STUDY, "rank", own, seconds=seconds, memory=900_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return participation, counts, and how often counts rise from one layer to the next."""
    known = task.parameters
    model: nn.Module
    if known["kind"] == "linear":
        generator = torch.Generator().manual_seed(task.seed % 2**63)
        x = torch.randn(1, known["width"], dtype=torch.float64, generator=generator)
        model = perceptron([known["width"]] * (DEPTH + 2), nn.Identity, task.seed, C_W=1.0)
    else:
        images = colours(known["cifar10"]) if known["kind"] in NETWORKS else pictures(known["mnist"])
        x = images.x[: known["inputs"]]
        if known["kind"] == "cnn":
            model = convnet(CHANNELS, lambda channels: nn.ReLU(), task.seed)
        elif known["kind"] == "vit":
            model = VisionTransformer(LAYERS, task.seed)
        else:
            sizes = [images.x.shape[1], *[known["width"]] * DEPTH, images.classes]
            model = perceptron(sizes, nn.ReLU, task.seed, C_W=2.0)
        if known["steps"]:
            adam = torch.optim.Adam(model.parameters(), lr=known["rate"])
            train(model, images.x, images.y, adam, known["steps"], batch=known["batch"], seed=task.seed)
    if known["kind"] == "vit":
        ends = ("self_attn (sum)", "linear2 (sum)")
        names = ["enter", *[f"layers.{n}.{end}" for n in range(LAYERS) for end in ends]]
    else:
        model = nn.Sequential(*list(model.children())[:-1])  # without the read-out
        end = nn.Linear if known["kind"] == "linear" else nn.ReLU
        names = [str(index) for index, layer in enumerate(model) if type(layer) is end]
    each = [spectra(model, one[None], samples=1).dataset.sel(layer=names) for one in x]
    counts = np.array([np.column_stack([one["rank"].values, one["rank_gram32"].values]) for one in each])
    return {
        "participation": np.mean([one["participation"].values for one in each], axis=0),
        "rank": counts.mean(axis=0),
        "rises": (np.diff(counts, axis=1) > 0).mean(axis=(0, 1)),
        "entering": x.shape[1],
    }


@dataclass(frozen=True)
class Network:
    """One network, untrained and trained."""

    participation: np.ndarray  # (seed, state, layer)
    rank: np.ndarray  # (seed, state, layer, threshold)
    rises: np.ndarray  # (seed, state, threshold)

    def fallen(self, values: np.ndarray) -> Estimate:
        """Return the first layer less the last, of the state in which it falls less."""
        each = [mean(values[:, s, 0] - values[:, s, -1], f"{STATES[s]}, over seeds") for s in range(2)]
        return min(each, key=lambda found: found.value)

    def share(self, threshold: int) -> list[Estimate]:
        """Return the share of steps in depth at which a count rises, by state."""
        return [mean(self.rises[:, s, threshold], "mean over seeds") for s in range(2)]


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
    networks: dict[str, Network]  # by the names of NETWORKS, where its images are at hand
    missing: dict[str, str]  # why the others are not

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
        *_networks(data, config),
    )


def _networks(data: xr.Dataset, config: Any) -> tuple[dict[str, Network], dict[str, str]]:
    found, missing, names = {}, {}, ("participation", "rank", "rises")
    for network in NETWORKS:
        folder = config.mnist if network == "mnist" else config.cifar10
        if not folder:
            missing[network] = f"no folder of {'MNIST' if network == 'mnist' else 'CIFAR-10'} was named"
        elif network != "mnist" and not config.rank.colour_seeds:
            missing[network] = "measured at the preset paper"
        else:
            kinds = STATES if network == "mnist" else (network, network)
            steps = (0, config.rank.steps)
            parts = [chosen(data, kind=k, steps=s) for k, s in zip(kinds, steps, strict=True)]
            states = [part.dropna("layer", how="all") for part in parts]
            found[network] = Network(*(np.stack([s[name].values for s in states], axis=1) for name in names))
    return found, missing


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
        rises = [n.rises[kind][threshold] for kind in STATES]
        made.append(_never_rises("", "T", threshold, rises))
    for network, words in NETWORKS.items():
        made += undetermined(_of_network(network, words, n), n.missing.get(network, ""))
    return made


def _never_rises(network: str, words: str, threshold: int, rises: list[Estimate]) -> Check:
    most = max(rises, key=lambda found: found.value)
    name = "-".join(filter(None, ("never-rises", network, ("0.1", "", "", "float32")[threshold])))
    return Claim(
        name,
        f"{words}he count of singular values ({THRESHOLDS[threshold]}) never rises from layer to layer.",
        "arXiv:2206.06072, where it is proved of the exact rank",
    ).found(
        0.0,
        most,
        "agrees" if most.value == 0 else "disagrees",
        "Share of layers and inputs at which it rises, the larger of untrained and trained networks; "
        "disagrees where it rises once. The exact rank cannot; a count relative to the largest can.",
    )


def _of_network(network: str, words: str, n: Numbers) -> list[Check]:
    nothing = Estimate.not_determined(n.missing.get(network, ""))
    one = n.networks.get(network)
    rule = "First layer less last, of untrained and trained networks those in which it falls less."
    return [
        Claim(
            f"falls-{network}",
            f"In {words} the rank in float32 falls from first to last.",
            "arXiv:2206.06072",
        ).positive(one.fallen(one.rank[..., 3]) if one else nothing, note=rule),
        Claim(
            f"participation-{network}", f"In {words} the last layer keeps fewer directions than the first."
        ).positive(one.fallen(one.participation) if one else nothing, note=rule),
        *(
            _never_rises(network, f"In {words} t", t, one.share(t) if one else [nothing, nothing])
            for t in (0, 3)
        ),
    ]


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
    for network in ("cnn", "vit"):
        for place, state in enumerate(STATES) if network in n.networks else ():
            one, name = n.networks[network], f"{NETWORKS[network][2:]}, {state}"
            for layer in (0, one.rank.shape[2] - 1):
                kept = str(mean(one.participation[:, place, layer], "mean over seeds"))
                counts = one.rank[:, place, layer].mean(axis=0)
                rows.append([name, f"{layer + 1}", kept, *[f"{value:.1f}" for value in counts]])
            rises.append([name, *[str(one.share(t)[place]) for t in range(4)]])
    return [
        Table("Directions behind each layer", columns, rows),
        Table(title, ["network", *THRESHOLDS], rises),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        f"ReLU networks of ten layers of {n.width} units on {n.inputs} pixels, C_W = 2 and no bias, behind "
        f"each activation; linear ones of {n.linear_width} units. Chosen here: depth, widths, the thresholds "
        "0.1, 0.01 and 0.001, and 300 steps of Adam. The last column of counts is the convention of the "
        "paper's scripts, a threshold of sqrt(1.19e-7 n) for n inputs, evaluated in float64.",
        "MNIST is taken at 14 by 14 pixels, CIFAR-10 (a subset stored with loss) at 16 by 16: by seven "
        "convolutions of 8 to 32 channels, C_W = 2, two with stride 2, seen behind each ReLU, and by three "
        "layers of a transformer of width 32 on 16 patches, seen behind the first map and each sum.",
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
    for counts, name, colour in zip(n.ranks["untrained"].T, THRESHOLDS, drawing.colours(4), strict=True):
        axes.plot(depth, counts, "o-", ms=3.5, color=colour, label=name)
    axes.set(title="Counts, untrained", xlabel="layer", ylabel="singular values above it", ylim=0)
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "First: directions kept apart behind each ReLU layer, and the law of independent weights. "
        "Second: singular values above a share of the largest. Each threshold has a rank of its own. "
        "Where images were named, a third: shares of the first layer, filled untrained, hollow trained."
    )
    more = [draw_networks] if n.networks else []
    return [Panels("rank", caption, [draw_participation, draw_rank, *more])]


def draw_networks(axes: Axes, n: Numbers) -> None:
    for (name, one), colour in zip(n.networks.items(), drawing.colours(len(n.networks)), strict=True):
        share = (one.participation / one.participation[..., :1]).mean(axis=0)
        for line, fill, label in zip(share, (colour, "none"), (NETWORKS[name][2:], None), strict=True):
            axes.plot(range(1, len(line) + 1), line, "o-", ms=4, mfc=fill, color=colour, label=label)
    axes.set(title="Directions kept", xlabel="layer", ylabel="participation, share of the first", ylim=0)
    legend(axes)


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
    ragged=("layer",),
    citations=("feng2022",),
)
