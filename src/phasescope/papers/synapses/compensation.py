"""Two synapses of one neuron that compensate each other, and mixtures of near and of far synapses.

The property is the mean colour of a window, the neighbour that of the window beside it. The ensemble is the
46 synapses of the best control, as many as the article's largest. A pair is opposed when both synapses,
moved so that the property rises, move the neighbour in opposite directions.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from phasescope import plotting
from phasescope.papers.synapses import shared
from phasescope.papers.synapses.principle import cropped, draw_view, medians, strengths
from phasescope.papers.synapses.shared import ARTICLE, KINDS, STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.synapses import PictureSensitivity

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

MEMBERS = 46  # of an ensemble
PAIRS = ("one neuron", "two neurons")
_SIDE = 3 / 16  # of a window, in units of the shorter side
_NOTICED = 0.1  # of the property's change: what of the neighbour is noticed
_EFFECT, _HARDLY = (
    0.05,
    0.2,
)  # asked of the property; the share of a single synapse's side effect that is left
_TRIED = 3  # pairs of each kind and window that are really moved
_STEPS = 4  # of Newton's method for two weights
_MIXED = 4  # maps in a mixture
_DRAWS = 3  # of coefficients for each mixture
_SHOWN = 0.3  # effect in the pictures
SHOWN = ("one synapse", "the other", "both")


class CompensationSettings(Settings):
    """Sizes of the measurement."""

    regions: int = 24  # windows on a grid, about


QUICK = CompensationSettings(regions=12)
PAPER = CompensationSettings()

VARIABLES = {
    "opposed": Variable(("kind", "region", "pairs"), "share of pairs of the ensemble that are opposed"),
    "counted": Variable(("kind", "region", "pairs"), "number of pairs of the ensemble"),
    "works": Variable(("kind", "region", "pairs"), "share of tried pairs that move the property alone"),
    "left": Variable(
        ("kind", "region", "pairs"), "side effect of one linear step of a pair over that of its synapses"
    ),
    "hint": Variable(("kind", "region"), "rank correlation of contrast in activation maps with handles"),
    "hint_pair": Variable(("kind", "region"), "the same with opposed pairs"),
    "extent": Variable(("kind", "mixture"), "extent of single maps, of near and of far mixtures, log10"),
    "focus": Variable(("kind", "mixture"), "energy in the best window over its share of area, log10"),
    "view": Variable(("which", "state", "y", "x", "channel"), "pictures of a pair", optional=True),
    "pair": Variable(("end",), "numbers of its synapses", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a trained network, which brings its controls."""
    settings: CompensationSettings = config.compensation
    made = []
    for number, known in enumerate(shared.networks(config)):
        parameters = {**known, "regions": settings.regions, "pictured": number == 0}
        forward = 4e-4 + 5e-7 * known["longest"] ** 2
        seconds = shared.training_seconds(known) + len(KINDS) * (settings.regions * 60 + 2000) * forward
        made.append(Task(STUDY, "compensation", parameters, seconds=seconds, memory=800_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return how often pairs compensate in one network and its controls, and what mixtures look like."""
    known = task.parameters
    made = shared.trained(known)
    masks = shared.windows(made.size, known["regions"], round(_SIDE * min(made.size)))
    random = np.random.default_rng(task.seed)
    rows = []
    for seen in made.kinds(task.seed):
        rows.append({**_pairs(seen, masks, random), **_mixtures(seen, masks, random)})
    found: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return found | (_shown(made.sensitivity, masks) if known["pictured"] else {})


def _beside(masks: Tensor) -> Tensor:
    """Return for each window the one that touches it on the right, or on the left at the border."""
    side = int(masks[0].any(0).sum())
    fits = ~masks[:, :, -side:].any(2).any(1)
    return torch.stack(
        [mask.roll(side if right else -side, 1) for mask, right in zip(masks, fits.tolist(), strict=True)]
    )


@dataclass(frozen=True)
class _Candidates:
    """What moves each window and its neighbour, all of shape (regions, synapses)."""

    p: Tensor
    q: Tensor
    control: Tensor

    @property
    def ratio(self) -> Tensor:
        """Change of the neighbour for one of the property."""
        return self.q / torch.where(self.p == 0, torch.full_like(self.p, 1e-300), self.p)


def _candidates(seen: PictureSensitivity, masks: Tensor) -> _Candidates:
    p, damage, _ = strengths(seen, masks)
    return _Candidates(p, strengths(seen, _beside(masks))[0], p.abs() / damage)


def _pairs(seen: PictureSensitivity, masks: Tensor, random: np.random.Generator) -> dict[str, Any]:
    found = _candidates(seen, masks)
    beside, targets = _beside(masks), seen.net.wiring.targets
    rows: dict[str, list[Any]] = {name: [] for name in ("opposed", "counted", "works", "left")}
    rows |= {"hint": [], "hint_pair": []}
    for r in range(len(masks)):
        ensemble = found.control[r].argsort(descending=True)[:MEMBERS].numpy()
        first, second = (ensemble[each] for each in np.triu_indices(len(ensemble), 1))
        ratio = found.ratio[r].numpy()
        opposed = _opposed(ratio[first], ratio[second])
        same = targets[first] == targets[second]
        both = [same, ~same]
        rows["opposed"].append([opposed[k].mean() if k.any() else math.nan for k in both])
        rows["counted"].append([k.sum() for k in both])
        tried = [_tried(seen, masks[r], beside[r], first, second, opposed & k, ratio, random) for k in both]
        rows["works"].append([each[0] for each in tried])
        rows["left"].append([each[1] for each in tried])
        hints = _hints(seen, masks[r], beside[r], found.control[r].numpy(), ratio)
        rows["hint"].append(hints[0])
        rows["hint_pair"].append(hints[1])
    return rows


def _opposed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.asarray((np.minimum(one, other) < -_NOTICED) & (np.maximum(one, other) > _NOTICED))


def _tried(
    seen: PictureSensitivity,
    mask: Tensor,
    beside: Tensor,
    first: np.ndarray,
    second: np.ndarray,
    usable: np.ndarray,
    ratio: np.ndarray,
    random: np.random.Generator,
) -> tuple[float, float]:
    """Return the share of some opposed pairs that move the property alone, and the side effect left.

    Where a window has no opposed pair, nothing works: 0, and NaN for the side effect.
    """
    places = np.flatnonzero(usable)
    if not places.size:
        return 0.0, math.nan
    chosen = random.choice(places, min(_TRIED, places.size), replace=False)
    works, left = [], []
    for place in chosen:
        pair = [int(first[place]), int(second[place])]
        towards = -1.0 if float(seen.output[mask].mean()) > 0 else 1.0
        moved, aside = _together(seen, pair, mask, beside, towards * _EFFECT)
        single = _EFFECT * float(np.abs(ratio[pair]).mean())
        works.append(abs(moved / (towards * _EFFECT) - 1) < _HARDLY and abs(aside) < _HARDLY * single)
        once = _together(seen, pair, mask, beside, towards * _EFFECT, steps=1)
        left.append(abs(once[1]) / single)
    return float(np.mean(works)), float(np.median(left))


def _together(
    seen: PictureSensitivity,
    pair: list[int],
    mask: Tensor,
    beside: Tensor,
    effect: float,
    steps: int = _STEPS,
) -> tuple[float, float]:
    """Return how far a pair moves the property and its neighbour, when asked to move the property alone."""
    channels = seen.output.shape[-1]
    seeds = torch.stack([(m / (channels * m.sum())).double() for m in (mask, beside)])
    seeds = seeds[..., None].expand(*seeds.shape, channels).contiguous()
    wanted = torch.tensor([effect, 0.0], dtype=torch.float64)
    at, now = seen, torch.zeros(2, dtype=torch.float64)
    best, closest = now, math.inf
    for _ in range(steps):
        slopes = at.pulled_back(seeds)[:, pair]
        step = torch.linalg.lstsq(slopes, wanted - now).solution.clamp(-1, 1)
        weights = at.weights.clone()
        weights[pair] += step
        at = at.at(weights)
        change = at.output - seen.output
        now = torch.stack([change[mask].mean(), change[beside].mean()])
        rest = float((now - wanted).norm())
        if rest < closest:
            best, closest = now, rest
    return float(best[0]), float(best[1])


def _hints(
    seen: PictureSensitivity, mask: Tensor, beside: Tensor, control: np.ndarray, ratio: np.ndarray
) -> tuple[float, float]:
    """Return rank correlations over hidden units of what activation maps and what synapses say of a window.

    An activation map says how far its mean in the window lies from that outside, or from that in the
    neighbour, in units of its deviation; synapses say the best control among them, or of the worse one in the
    best opposed pair.
    """
    wiring = seen.net.wiring
    units = [i for i in range(wiring.units) if i not in wiring.outputs]
    values = seen.sweeps.activations[units].reshape(len(units), *mask.shape)
    inside, deviation = values[:, mask].mean(1), values.flatten(1).std(1).clamp(min=1e-12)
    outside, next_to = values[:, ~mask].mean(1), values[:, beside].mean(1)
    handles, pairs = [], []
    for i in units:
        own = np.flatnonzero(wiring.targets[: wiring.synapses] == i)
        handles.append(control[own].max())
        first, second = np.array(list(itertools.combinations(own, 2))).T
        worse = np.minimum(control[first], control[second])
        pairs.append(np.where(_opposed(ratio[first], ratio[second]), worse, 0).max())
    by_place = ((inside - outside).abs() / deviation).numpy()
    by_neighbour = ((inside - next_to).abs() / deviation).numpy()
    return tuple(  # type: ignore[return-value]
        float(spearmanr(said, seen_by).statistic) if np.ptp(seen_by) > 0 else math.nan
        for said, seen_by in ((by_place, handles), (by_neighbour, pairs))
    )


def _mixtures(seen: PictureSensitivity, masks: Tensor, random: np.random.Generator) -> dict[str, Any]:
    """Return the mean extent and focus of single maps, and of mixtures of near and of far ones.

    Near: consecutive synapses of one unit. Far: the same synapses, dealt out a quarter of them all apart.
    """
    wiring = seen.net.wiring
    groups = []
    for unit in range(wiring.units):
        own = np.flatnonzero(wiring.targets[: wiring.synapses] == unit)
        groups += [own[i : i + _MIXED] for i in range(0, len(own) - _MIXED + 1, _MIXED)]
    near = np.array(groups)
    far = near.ravel().reshape(_MIXED, -1).T
    maps = seen.sweeps.maps()[: wiring.synapses]
    maps = maps / maps.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-12)
    maps = maps.transpose(1, 2).reshape(wiring.synapses, *seen.shape, -1)
    fields = [maps[near.ravel()]]
    for dealt in (near, far):
        drawn = random.standard_normal((_DRAWS, *dealt.shape))
        fields.append(
            torch.cat([torch.einsum("gk,gkhwc->ghwc", torch.from_numpy(c), maps[dealt]) for c in drawn])
        )
    side = int(masks[0].any(0).sum())
    return {
        "extent": [float(shared.extent(field).log10().mean()) for field in fields],
        "focus": [float(_focus(field, side).log10().mean()) for field in fields],
    }


def _focus(fields: Tensor, side: int) -> Tensor:
    """Return the largest share of energy in any window over the share of area, shape (fields,)."""
    energy = fields.square().sum(-1)
    best = torch.nn.functional.avg_pool2d(energy[:, None], side, stride=max(1, side // 3)).flatten(1).amax(1)
    return best / energy.mean((1, 2)).clamp(min=1e-300)


def _shown(seen: PictureSensitivity, masks: Tensor) -> dict[str, Any]:
    """Return pictures of the opposed pair of one neuron whose worse synapse has the best control."""
    found, targets = _candidates(seen, masks), seen.net.wiring.targets
    first, second = np.triu_indices(found.p.shape[1], 1)
    same = targets[first] == targets[second]
    first, second = first[same], second[same]
    control, ratio = found.control.numpy(), found.ratio.numpy()
    worse = np.minimum(control[:, first], control[:, second])
    worse = np.where(_opposed(ratio[:, first], ratio[:, second]), worse, -1)
    r, place = np.unravel_index(int(worse.argmax()), worse.shape)
    s, t = int(first[place]), int(second[place])
    share = ratio[r, t] / (ratio[r, t] - ratio[r, s])
    p = found.p[r].numpy()
    steps = np.zeros((3, seen.size))
    steps[0, s], steps[1, t] = 1 / p[s], 1 / p[t]
    steps[2, s], steps[2, t] = share / p[s], (1 - share) / p[t]
    pictures = [
        [seen.at(seen.weights + sign * _SHOWN / 2 * torch.from_numpy(step)).output for sign in (-1, 1)]
        for step in steps
    ]
    return {
        "view": np.array([[each.numpy() for each in pair] for pair in pictures]),
        "pair": np.array([s, t]),
    }


@dataclass(frozen=True)
class Numbers:
    """Means over windows, one row a network."""

    opposed: np.ndarray  # (networks, kinds, pairs)
    works: np.ndarray  # (networks, kinds, pairs), share of windows with a pair that works
    left: np.ndarray  # (networks, kinds, pairs), medians
    counted: np.ndarray  # (networks, kinds, pairs)
    hint: np.ndarray  # (networks, kinds)
    hint_pair: np.ndarray
    extent: np.ndarray  # (networks, kinds, mixtures)
    focus: np.ndarray
    view: np.ndarray  # (shown, state, y, x, channel)
    pair: tuple[int, ...]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    mean = {
        name: np.nanmean(data[name].values, axis=2) for name in ("opposed", "counted", "hint", "hint_pair")
    }
    works = data["works"].values
    found = np.where(np.isnan(works), np.nan, works > 0)
    return Numbers(
        mean["opposed"],
        np.asarray(np.nanmean(found, axis=2)),
        medians(data["left"].values, 2),
        mean["counted"],
        mean["hint"],
        mean["hint_pair"],
        data["extent"].values,
        data["focus"].values,
        cropped(data["view"].values[0], 2),
        tuple(int(number) for number in data["pair"].values[0]),
    )


def claims(n: Numbers) -> list[Check]:
    """Return what pairs do, then what activation maps hint at, then what mixtures look like."""
    return [*_pair_claims(n), *_hint_claims(n), *_mixture_claims(n)]


def _pair_claims(n: Numbers) -> list[Check]:
    asked = (
        f"Asked: {_EFFECT} for the window and 0 for the one beside it, by forward passes and Newton's method "
        f"for two weights. A pair works within {100 * _HARDLY:g} % of the effect, and of the side effect of "
        "its single synapses."
    )
    where = "synapses 23 and 24"
    return [
        Claim(
            "pair-exists",
            "Two synapses of one neuron may both move a property and act oppositely on another: changed "
            "together, the property moves and the other hardly.",
            f"{ARTICLE}, {where}",
        ).positive(
            over_networks(n.works[:, 0, 0]),
            note=f"{asked} Measured: share of windows in which one of up to {_TRIED} opposed pairs of the "
            f"{MEMBERS} best synapses works.",
        ),
        Claim(
            "pair-left",
            "Changed once in the ratio that the maps give, an opposed pair leaves less than a fifth of the "
            "side effect of a single synapse.",
            f"{ARTICLE}, {where}",
        ).below(
            _HARDLY,
            over_networks(n.left[:, 0, 0]),
            note=f"One linear step that asks for {_EFFECT}, without Newton's method; median over windows. "
            "Agrees 3 errors below a fifth, disagrees 3 above: then the effect is beyond the linear range.",
        ),
        Claim(
            "pair-one-neuron",
            "Within one neuron opposed pairs are as common as between two.",
            "asked here: the article has no control",
        ).equals(
            0.0,
            over_networks(n.opposed[:, 0, 0] - n.opposed[:, 0, 1]),
            allowance=0.02,
            note=f"Shares of pairs of an ensemble: {over_networks(n.opposed[:, 0, 0])} of those in one "
            "neuron, "
            f"{over_networks(n.opposed[:, 0, 1])} of the others. Below zero: synapses of one neuron share "
            "what stands behind it, so their maps are too alike to oppose each other.",
        ),
        Claim(
            "pair-learned",
            "Such pairs are learned: a network that has learned nothing has them in fewer windows.",
            "asked here: the article has no control",
        ).positive(
            over_networks(n.works[:, 0, 0] - n.works[:, 1, 0]),
            note=f"Share of windows: {over_networks(n.works[:, 0, 0])} trained, "
            f"{over_networks(n.works[:, 1, 0])} untrained, {over_networks(n.works[:, 2, 0])} permuted; with "
            f"pairs of two neurons {over_networks(n.works[:, 0, 1])}, trained.",
        ),
    ]


def _hint_claims(n: Numbers) -> list[Check]:
    rule = (
        "Measured: rank correlation over the hidden units, mean over windows. Allowance 0.1: a hint that "
        "explains a hundredth of the ranks is none."
    )
    return [
        Claim(
            "hint",
            "A neuron's activation map gives no hint of which properties its synapses move.",
            f"{ARTICLE}, neuron 6",
        ).equals(
            0.0,
            over_networks(n.hint[:, 0]),
            allowance=0.1,
            note=f"{rule} Of contrast in the activation map between window and rest, and the best control of "
            f"the unit's synapses. Untrained: {over_networks(n.hint[:, 1])}.",
        ),
        Claim(
            "hint-pair",
            "It gives no hint of compensation either.",
            f"{ARTICLE}, neuron 6",
        ).equals(
            0.0,
            over_networks(n.hint_pair[:, 0]),
            allowance=0.1,
            note=f"{rule} Of contrast between window and neighbour, and the worse control in the best "
            f"opposed pair of the unit. Untrained: {over_networks(n.hint_pair[:, 1])}.",
        ),
    ]


def _mixture_claims(n: Numbers) -> list[Check]:
    gap = n.extent[:, :, 2] - n.extent[:, :, 1]
    focus = n.focus[:, :, 1] - n.focus[:, :, 2]
    decades = "Measured in decades, means of logarithms"
    return [
        Claim(
            "near-far",
            "A mixture of near synapses looks like a property, one of far synapses does not.",
            ARTICLE,
        ).positive(
            over_networks(gap[:, 0]),
            note=f"{decades}: extent of mixtures of {_MIXED} far maps over that of near ones. Near: "
            "consecutive synapses of one unit; far: the same synapses dealt out a quarter of the network "
            "apart; rms of each map 1, random coefficients.",
        ),
        Claim("near-far-focus", "The energy of near mixtures lies more in one window.", ARTICLE).positive(
            over_networks(focus[:, 0]),
            note=f"{decades}: share of energy in the best window, near over far.",
        ),
        Claim(
            "near-single",
            "A mixture of near synapses is as compact as a single one.",
            ARTICLE,
        ).equals(
            0.0,
            over_networks(n.extent[:, 0, 1] - n.extent[:, 0, 0]),
            allowance=0.1,
            note=f"{decades}: extent of near mixtures over that of single maps. Allowance 0.1, a quarter "
            "more.",
        ),
        Claim(
            "near-far-learned",
            "That difference is learned: it is larger than in a network that has learned nothing.",
            "asked here: the article has no control",
        ).positive(
            over_networks(gap[:, 0] - gap[:, 1]),
            note=f"{decades}. Untrained: {over_networks(gap[:, 1])}; permuted: {over_networks(gap[:, 2])}. "
            "Synapses of one unit share a factor of their maps, in any network.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for k, kind in enumerate(KINDS):
        for j, pairs in enumerate(PAIRS):
            columns = [n.counted, n.opposed, n.works, n.left]
            rows.append([kind, pairs, *(str(over_networks(each[:, k, j])) for each in columns)])
    mixtures = [
        [kind]
        + [f"{10 ** n.extent[:, k, j].mean():.3f}" for j in range(3)]
        + [f"{10 ** n.focus[:, k, j].mean():.2f}" for j in range(3)]
        for k, kind in enumerate(KINDS)
    ]
    extents = [f"extent, {name}" for name in ("single", "near", "far")]
    lifts = [f"lift of the best window, {name}" for name in ("single", "near", "far")]
    return [
        Table(
            f"Pairs among the {MEMBERS} synapses of the best control",
            ["network", "pairs of", "number", "opposed", "windows where one works", "side effect left"],
            rows,
        ),
        Table(f"Single maps and mixtures of {_MIXED}", ["network", *extents, *lifts], mixtures),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "The article judges by eye. Chosen here: the window beside a window as its neighbour, as the wing is "
        f"beside the gap; {_NOTICED:g} of the property's change as what of the neighbour is noticed; extent, "
        "the participation ratio of a map's energy, and the lift of the best window as what makes it look "
        "like a property.",
    ]


def draw_pairs(axes: Axes, n: Numbers) -> None:
    for j, (pairs, colour) in enumerate(zip(PAIRS, (plotting.MEASURED, colours(2)[1]), strict=True)):
        for k in range(len(KINDS)):
            place = k + 0.24 * (j - 0.5)
            axes.plot(np.full(len(n.works), place), n.works[:, k, j], "o", ms=3, color=colour, alpha=0.5)
            axes.plot(place, n.works[:, k, j].mean(), "_", ms=13, mew=2, color=colour)
        axes.plot([], [], "o", color=colour, label=f"pair of {pairs}")
    axes.set_xticks(range(len(KINDS)), KINDS)
    axes.set(title="Compensating pairs", ylabel="share of windows", ylim=(-0.03, 1.03))
    legend(axes)


def draw_hint(axes: Axes, n: Numbers) -> None:
    names = ("handles", "pairs")
    for j, (rows, colour) in enumerate(
        zip((n.hint, n.hint_pair), (plotting.MEASURED, colours(2)[1]), strict=True)
    ):
        for k in range(len(KINDS)):
            place = k + 0.24 * (j - 0.5)
            axes.plot(np.full(len(rows), place), rows[:, k], "o", ms=3, color=colour, alpha=0.6)
        axes.plot([], [], "o", color=colour, label=f"of {names[j]}")
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set_xticks(range(len(KINDS)), KINDS)
    axes.set(title="Hints in activation maps", ylabel="rank correlation", ylim=(-1, 1))
    legend(axes)


def draw_mixtures(axes: Axes, n: Numbers) -> None:
    for k, (kind, colour) in enumerate(zip(KINDS, (plotting.MEASURED, *colours(3)[1:]), strict=True)):
        for row in n.extent[:, k]:
            axes.plot(range(3), 10**row, "-", color=colour, lw=0.6, alpha=0.5)
        axes.plot(range(3), 10 ** n.extent[:, k].mean(0), "o-", ms=4.5, color=colour, label=kind)
    axes.set_xticks(range(3), ["single", f"{_MIXED} near", f"{_MIXED} far"])
    axes.set(yscale="log", title="Maps and their mixtures", ylabel="extent, share of the picture")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    made = [
        Panels(
            "compensation",
            "Left: windows in which a pair of synapses of the ensemble moves the window and leaves the one "
            "beside it; a dot is a network. Middle: whether activation maps tell which units hold handles, "
            "or compensating pairs. Right: extent of single maps, and of mixtures of near and of far ones.",
            [draw_pairs, draw_hint, draw_mixtures],
        )
    ]
    if n.view.size:
        s, t = n.pair
        made.append(
            Panels(
                "pair",
                f"Compensation, found in the first network: synapse {s}, synapse {t} of the same neuron, and "
                "both together. From above: the picture with the weights lower, higher, and the difference.",
                [
                    partial(draw_view, pictures=pair, title=title)
                    for pair, title in zip(n.view, SHOWN, strict=True)
                ],
                size=(2.9, 4.6),
            )
        )
    return made


COMPENSATION = Part(
    name="compensation",
    title="Compensation of two synapses, and mixtures",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("region", "y", "x"),
    citations=("ensembles2015",),
)
