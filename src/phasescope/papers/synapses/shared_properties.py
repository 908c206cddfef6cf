"""Ensembles of many regions: how large, over how many neurons, how shared; sharp against smooth elements.

The property of a region is everything inside. With E[s, R] the sum of J[s]^2 over a region, its ensemble are
the fewest weights with 90 % of the sum of (u_s)^2 E[s, R], in three units of change u: 1 for all weights,
|w_s|, and 1 / rms(J_s), which moves the picture by the same amount, as the article does by eye. The share of
a weight is E[s, R] / E[s, everywhere]; a region has dedicated weights as far as the mean of shares, weighted
by E[s, R], is large: a weight without energy counts for nothing. Windows of one shape on a grid are each
other's shifted places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.synapses import shared
from phasescope.papers.synapses.shared import ARTICLE, KINDS, STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.synapses import (
    PictureNet,
    PictureSensitivity,
    Region,
    Wiring,
    atlas,
    ensemble,
    sensitivity,
    thinned_cascade,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

UNITS = ("one", "weight", "rms")  # of change
_ARTICLE = UNITS.index("rms")
COVER = 0.9
FLOOR = 1e-3  # in the unit 1 / rms a weight counts if its strength is this share of the largest
RELATIONS = ("same target", "same source", "other")
PROPERTIES = (  # of an atlas
    "region",
    "mean colour",
    "red balance",
    "green balance",
    "blue balance",
    "region energy",
    "area",
    "x centroid",
    "y centroid",
    "tilt",
    "x width",
    "y width",
    "border shift",
)
_CERTAIN = 0.05  # of shifted places that may do as well
_BINS = 5  # of regions by contrast
_APART = 0.2  # overlap of the lists of regions below which two synapses do distinct things
_OWN = 0.05  # share of regions that may beat a control by chance
_TENTH, _FIFTH = 0.1, 7  # of the synapses, and neurons, in the article's largest ensemble


class SharedPropertiesSettings(Settings):
    """Sizes of the atlas."""

    regions: int = 200  # windows for each picture, about
    side: int = 8  # of a window, as a fraction of the longer side of the picture
    controls: int = 3  # untrained networks, and as many with permuted weights, that an atlas is held against


QUICK = SharedPropertiesSettings(regions=100, controls=2)
PAPER = SharedPropertiesSettings()

VARIABLES = {
    "size": Variable(("side",), "height and width of the picture", "pixel"),
    "weights": Variable(("weight",), "of the trained network"),
    "contrast": Variable(("kind", "region"), "rms deviation of the colours inside from their mean"),
    "share": Variable(("kind", "region"), "share of a map inside, mean over weights by their energy inside"),
    "reached": Variable(("kind", "region"), "share of places apart from this one whose share is as large"),
    "members": Variable(("kind", "unit", "region"), "weights in the ensemble"),
    "neurons": Variable(("kind", "unit", "region"), "neurons that they enter"),
    "by_chance": Variable(("kind", "unit", "region"), "neurons that as many random weights enter"),
    "serves": Variable(("kind", "unit", "neuron"), "ensembles of places apart that a neuron has a part in"),
    "overlap": Variable(("kind", "unit"), "Jaccard index of ensembles of places apart, mean"),
    "overlap_by_chance": Variable(("kind", "unit"), "the same of random sets of as many weights"),
    "apart": Variable(("kind", "relation"), f"share of pairs of synapses with an overlap below {_APART}"),
    "cosine": Variable(("kind", "relation"), "cosine of two maps, absolute, mean over pairs of synapses"),
    "places": Variable((), "places apart"),
    "exists": Variable(("property", "region"), "1 where the property exists"),
    "beats": Variable(("control", "property", "region"), "1 where the atlas keeps it against a control"),
    "carriers": Variable(("property", "region"), "weights in the ensemble of the property"),
    "carrying": Variable(("property", "region"), "neurons that they enter"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network."""
    settings: SharedPropertiesSettings = config.shared_properties
    sizes = {"regions": settings.regions, "fraction": settings.side, "controls": settings.controls}
    views = settings.regions * (1 + 2 * settings.controls)
    made = []
    for known in shared.networks(config):
        seconds = 2 + shared.training_seconds(known) + views * (4e-3 + 1e-6 * known["longest"] ** 2)
        made.append(Task(STUDY, "shared-properties", {**known, **sizes}, seconds=seconds, memory=10**9))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return ensembles in a network and in its two controls, and the atlas of all properties."""
    known = task.parameters
    found = shared.trained(known)
    masks = shared.windows(found.size, known["regions"], max(found.size) // known["fraction"])
    seen = [ensembles_of(view, masks) for view in found.kinds(task.seed)]
    book = atlas(
        found.sensitivity, regions=masks, networks_each=known["controls"], cover=COVER, seed=task.seed
    )
    return {
        "size": np.array(found.size),
        "weights": found.net.weights.detach().numpy(),
        **{name: np.array([each[name] for each in seen]) for name in seen[0]},
        "places": len(_apart(masks)),
        "exists": book.exists.astype(float),
        "beats": np.array([book.beaten["untrained"], book.beaten["permuted"], book.certified]).astype(float),
        "carriers": np.where(book.exists, book.sizes, np.nan),
        "carrying": np.where(book.exists, book.neurons, np.nan),
    }


def ensembles_of(view: PictureSensitivity, masks: Tensor) -> dict[str, NDArray[Any]]:
    """Return shares, ensembles and overlaps of all regions in one network, everything inside each."""
    inside = view.energy(masks).numpy()
    total = view.energy(torch.ones(view.shape)).numpy()
    share = inside / np.maximum(total, 1e-300)
    dedicated = (inside * share).sum(1) / inside.sum(1)
    weights = view.weights.numpy()
    counts = inside >= FLOOR**2 * inside.max(1, keepdims=True)
    sets = np.array([_fewest(changed) for changed in (inside, inside * weights**2, share * counts)])
    wiring, places = view.net.wiring, _apart(masks)
    enters = wiring.targets == np.arange(wiring.units)[:, None]
    touched = np.einsum("urs,is->uri", sets, enters) > 0
    members = sets.sum(-1)
    chosen = sets[:, places]
    relations = _relations(wiring)
    lists = chosen[_ARTICLE][:, : wiring.synapses]
    return {
        "contrast": shared.contrast(view.picture, masks).numpy(),
        "share": dedicated,
        "reached": _reached(dedicated, masks),
        "members": members,
        "neurons": touched.sum(-1),
        "by_chance": _neurons_by_chance(wiring, members),
        "serves": touched[:, places].sum(1),
        "overlap": np.array([_jaccard(one).mean() for one in chosen]),
        "overlap_by_chance": np.array([_overlap_by_chance(one) for one in chosen]),
        "apart": _apart_by_relation(lists, relations),
        "cosine": _cosines(view, relations),
    }


def _fewest(strengths: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each row the fewest entries that hold COVER of its sum, as a mask."""
    order = np.argsort(-strengths, axis=1, kind="stable")
    sums = np.cumsum(np.take_along_axis(strengths, order, 1), 1)
    before = np.concatenate([np.zeros((len(sums), 1)), sums[:, :-1]], 1)
    taken = before < COVER * sums[:, -1:]
    mask: NDArray[np.bool_] = np.zeros_like(taken)
    np.put_along_axis(mask, order, taken, 1)
    return mask


def _apart(masks: Tensor) -> list[int]:
    """Return regions that do not overlap, taken in their order."""
    flat = masks.reshape(len(masks), -1)
    covered, found = torch.zeros_like(flat[0]), []
    for i, mask in enumerate(flat):
        if not (covered & mask).any():
            covered |= mask
            found.append(i)
    return found


def _reached(values: NDArray[Any], masks: Tensor) -> NDArray[Any]:
    """Return for each region the share of the regions that it does not touch with a value as large."""
    flat = masks.reshape(len(masks), -1).double()
    elsewhere = (flat @ flat.T == 0).numpy()
    larger = (values[None, :] >= values[:, None]) & elsewhere
    return np.asarray((larger.sum(1) + 1) / (elsewhere.sum(1) + 1))


def _neurons_by_chance(wiring: Wiring, members: NDArray[Any]) -> NDArray[Any]:
    """Return the mean number of neurons that as many random weights enter, without replacement."""
    counts = np.bincount(wiring.targets)
    kept = wiring.size - members[..., None]  # a neuron is missed if all of its weights are among the others
    with np.errstate(invalid="ignore"):
        missed = gammaln(kept + 1) - gammaln(np.maximum(kept - counts, 0) + 1)
        missed = missed - gammaln(wiring.size + 1) + gammaln(wiring.size - counts + 1)
    return np.asarray((1 - np.where(kept < counts, 0, np.exp(missed))).sum(-1))


def _jaccard(sets: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the Jaccard index of all pairs of rows; of two that are empty none."""
    numbers = sets.astype(np.float64)
    both = numbers @ numbers.T
    sizes = numbers.sum(1)
    first, second = np.triu_indices(len(sets), 1)
    union = sizes[first] + sizes[second] - both[first, second]
    return np.asarray(both[first, second][union > 0] / union[union > 0])


def _overlap_by_chance(sets: NDArray[np.bool_]) -> float:
    sizes = sets.sum(1).astype(np.float64)
    first, second = np.triu_indices(len(sets), 1)
    both = sizes[first] * sizes[second] / sets.shape[1]
    return float((both / (sizes[first] + sizes[second] - both)).mean())


def _relations(wiring: Wiring) -> list[NDArray[np.bool_]]:
    """Return which pairs of synapses enter one neuron, leave one, or neither; each pair once."""
    targets, reads = wiring.targets[: wiring.synapses], wiring.reads
    first, second = np.triu_indices(wiring.synapses, 1)
    target, source = targets[first] == targets[second], reads[first] == reads[second]
    return [target, source, ~target & ~source]


def _apart_by_relation(lists: NDArray[np.bool_], relations: list[NDArray[np.bool_]]) -> NDArray[Any]:
    """Return the share of pairs of synapses, each in some ensemble, whose lists of regions hardly overlap."""
    numbers = lists.T.astype(np.float64)
    both, sizes = numbers @ numbers.T, numbers.sum(1)
    first, second = np.triu_indices(len(numbers), 1)
    used = (sizes[first] > 0) & (sizes[second] > 0)
    overlap = both[first, second] / np.maximum(sizes[first] + sizes[second] - both[first, second], 1)
    return np.array([(overlap[used & pairs] < _APART).mean() for pairs in relations])


def _cosines(view: PictureSensitivity, relations: list[NDArray[np.bool_]]) -> NDArray[Any]:
    synapses = view.net.wiring.synapses
    gram = view.gram()[:synapses, :synapses]
    scale = gram.diagonal().clamp(min=1e-300).sqrt()
    cosines = (gram / scale / scale[:, None]).abs().numpy()[np.triu_indices(synapses, 1)]
    return np.array([cosines[pairs].mean() for pairs in relations])


@dataclass(frozen=True)
class Numbers:
    """The atlas, and one number a network and kind for each claim."""

    data: xr.Dataset
    view: PictureSensitivity  # that the figure shows: of the first picture and seed
    region: Tensor  # the sharpest of its regions that beats its shifted places
    members: NDArray[Any]  # share of the weights in an ensemble, median; (network, kind, unit)
    neurons: NDArray[Any]  # that it enters, median; likewise
    fewer: NDArray[Any]  # neurons by chance less those, mean; likewise
    serves: NDArray[Any]  # ensembles that a neuron has a part in, median; likewise
    along: NDArray[Any]  # rank correlation of those with the distance from the outputs, turned round
    before: NDArray[Any]  # those of hidden units that outputs read; (network, kind)
    curve: NDArray[Any]  # rank correlation of share and contrast; (network, kind)
    certified: NDArray[Any]  # share of regions that beat shifted places, by fifth of contrast
    dedicated: NDArray[Any]  # mean share by fifth of contrast
    again: NDArray[Any]  # correlation of shares with those of other seeds, beyond contrast; (network,)
    kept: NDArray[Any]  # share of the regions kept against each control and both; (network, 3, property)
    kept_by: NDArray[Any]  # the same of all properties by fifth of contrast; (network, 3, fifth)
    carriers: NDArray[Any]  # share of the weights in an ensemble, median over regions; (network, property)
    carrying: NDArray[Any]  # neurons that it enters; likewise

    @property
    def weights(self) -> int:
        """Number of weights."""
        return self.view.size


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    wiring = thinned_cascade(shared.HIDDEN)
    steps = wiring.steps_to_output
    hidden = steps > 0
    serves = data["serves"].values
    shares, contrasts = data["share"].values, data["contrast"].values
    fifths = np.array([[_by_contrast(c) for c in row] for row in contrasts])
    passed = np.where(np.isfinite(shares), data["reached"].values <= _CERTAIN, np.nan)
    first = int(np.flatnonzero(data["picture"].values == config.pictures[0])[0])
    one = data.isel(task=first)
    height, width = (int(side) for side in one["size"].values)
    known = {name: one[name].values.item() for name in ("regions", "fraction")}
    masks = shared.windows((height, width), known["regions"], max(height, width) // known["fraction"])
    sharp = np.nan_to_num(one["contrast"].values[0]) * (passed[first, 0] == 1)
    return Numbers(
        data,
        sensitivity(PictureNet(wiring, one["weights"].values), height, width),
        masks[int(np.argmax(sharp))],
        _middle(data["members"].values) / wiring.size,
        _middle(data["neurons"].values),
        np.nanmean((data["by_chance"] - data["neurons"]).values, -1),
        np.median(serves, -1),
        _ranks(serves[..., hidden], -steps[hidden]),
        serves[:, :, _ARTICLE, steps == 1].mean(-1),
        np.array(
            [
                [_rank(c, s) for c, s in zip(*rows, strict=True)]
                for rows in zip(contrasts, shares, strict=True)
            ]
        ),
        _means_by(passed, fifths),
        _means_by(shares, fifths),
        _again(data),
        _kept(data),
        np.stack([_mean(_kept(data, fifths[:, :1] == k), -1) for k in range(_BINS)], axis=-1),
        _middle(data["carriers"].values) / wiring.size,
        _middle(data["carrying"].values),
    )


def _kept(data: xr.Dataset, chosen: NDArray[np.bool_] | bool = True) -> NDArray[Any]:
    """Return which share of the chosen regions that have a property is kept, (network, control, property)."""
    exists = np.nan_to_num(data["exists"].values) * chosen
    found = np.nan_to_num(data["beats"].values) * exists[:, None]
    count = exists.sum(-1)[:, None]
    return np.where(count > 0, found.sum(-1) / np.maximum(count, 1), np.nan)


def _middle(values: NDArray[Any]) -> NDArray[Any]:
    """Return medians over regions; NaN where no region has the property."""
    known = np.isfinite(values).any(-1)
    return np.where(known, np.nanmedian(np.where(known[..., None], values, 0), -1), np.nan)


def _mean(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return means of what there is; NaN where there is nothing."""
    return np.asarray(np.ma.masked_invalid(values).mean(axis).filled(np.nan))


def _by_contrast(contrast: NDArray[Any]) -> NDArray[Any]:
    """Return the fifth of each region by contrast, 0 for the smoothest; -1 where there is no region."""
    known = np.isfinite(contrast)
    ranks = rankdata(contrast[known], method="ordinal") - 1
    fifths = np.full(len(contrast), -1)
    fifths[known] = ranks * _BINS // max(1, known.sum())
    return fifths


def _means_by(values: NDArray[Any], fifths: NDArray[Any]) -> NDArray[Any]:
    """Return means in each fifth, shape (network, kind, fifth)."""
    return np.stack([np.nanmean(np.where(fifths == k, values, np.nan), -1) for k in range(_BINS)], axis=-1)


def _rank(x: NDArray[Any], y: NDArray[Any]) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    return float(spearmanr(x[known], y[known]).statistic)


def _ranks(values: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    flat = values.reshape(-1, values.shape[-1])
    return np.array([_rank(row, places) for row in flat]).reshape(values.shape[:-1])


def _again(data: xr.Dataset) -> NDArray[Any]:
    """Return for each network the mean correlation of its shares with those of other seeds, beyond contrast.

    Ranks of the shares, less their straight line in the ranks of the contrast, correlate between networks
    where the same elements have dedicated weights for another reason than contrast.
    """
    pictures = data["picture"].values
    left = []
    for share, contrast in zip(data["share"].values[:, 0], data["contrast"].values[:, 0], strict=True):
        known = np.isfinite(share)
        y, x = rankdata(share[known]), rankdata(contrast[known])
        slope = np.polyfit(x, y, 1)
        left.append(y - np.polyval(slope, x))
    found = []
    for i, picture in enumerate(pictures):
        others = [j for j in np.flatnonzero(pictures == picture) if j != i]
        found.append(np.mean([np.corrcoef(left[i], left[j])[0, 1] for j in others]))
    return np.array(found)


def claims(n: Numbers) -> list[Check]:
    """Return the claims of the article with their controls, then the curve against contrast."""
    return [*_sizes(n), *_neurons(n), *_pairs(n), *_curve(n), *_atlas(n)]


def _controls(id: str, sentence: str, values: NDArray[Any], sign: int = 1) -> list[Check]:
    """Return that a trained network has more (or less, by the sign) of something than each control."""
    made = []
    for index, control in ((1, "an untrained network"), (2, "permuted weights")):
        made.append(
            Claim(
                f"{id}-{KINDS[index]}", f"{sentence} than with {control}.", "the claim above and its control"
            ).positive(
                over_networks(sign * (values[:, 0] - values[:, index]), "difference, mean over networks"),
                note=f"Trained {over_networks(values[:, 0])}, {KINDS[index]} "
                f"{over_networks(values[:, index])}.",
            )
        )
    return made


def _sizes(n: Numbers) -> list[Check]:
    made = []
    for unit, name in enumerate(UNITS):
        what = {"one": "1", "weight": "the weight's own size", "rms": "1 / rms of its map"}[name]
        found = over_networks(n.members[:, 0, unit], "share of the weights, median over regions")
        made.append(
            Claim(
                f"few-{name}",
                f"A property is held by few weights: at most a tenth (unit of change: {what}).",
                f"{ARTICLE}: at most 46 of 460 synapses",
            ).below(
                _TENTH,
                found,
                note=f"{100 * COVER:g} % of all that is inside a region. Agrees 3 errors below {_TENTH:g}.",
            )
        )
    members = n.members[:, :, _ARTICLE]
    made += _controls("few", "Ensembles are smaller", members, -1)
    return made


def _neurons(n: Numbers) -> list[Check]:
    neurons, serves = n.neurons[:, :, _ARTICLE], n.serves[:, :, _ARTICLE]
    made = [
        Claim(
            "several-neurons",
            "An ensemble spreads over several neurons: at least 7 of 37.",
            f"{ARTICLE}: at least 7 neurons, a fifth of the net",
        ).positive(
            over_networks(neurons[:, 0] - (_FIFTH - 1), "neurons less 6, median over regions"),
            note=f"Untrained: {over_networks(neurons[:, 1])}, permuted: {over_networks(neurons[:, 2])}.",
        ),
        Claim(
            "fewer-than-random",
            "An ensemble enters fewer neurons than as many random weights.",
            "control: random sets of the same size",
        ).positive(over_networks(n.fewer[:, 0, _ARTICLE], "neurons by chance less those found")),
        *_controls(
            "fewer-than-random",
            "An ensemble falls short of random sets by more neurons",
            n.fewer[:, :, _ARTICLE],
        ),
        Claim("many-ensembles", "One neuron is part of many ensembles.", ARTICLE).positive(
            over_networks(serves[:, 0] - 1, "ensembles of a neuron less 1, median over neurons"),
            note=f"Of regions that do not overlap, {n.data['places'].values.mean():.0f} in a picture.",
        ),
        *_controls("fewer-ensembles", "A neuron is part of fewer ensembles", serves, -1),
        Claim(
            "gather",
            "Units just before the outputs gather several ensembles, since outputs see few neurons.",
            ARTICLE,
        ).positive(over_networks(n.before[:, 0] - 1, "ensembles of units that outputs read, less 1, mean")),
        Claim(
            "gather-more",
            "The nearer a hidden unit is to the outputs, the more ensembles it has a part in.",
            ARTICLE,
        ).positive(
            over_networks(n.along[:, 0, _ARTICLE], "rank correlation over hidden units"),
            note="Distance: synapses to the nearest output.",
        ),
        *_controls("gather-more", "This rises more steeply", n.along[:, :, _ARTICLE]),
    ]
    return made


def _pairs(n: Numbers) -> list[Check]:
    apart, cosine = n.data["apart"].values, n.data["cosine"].values
    same, other = RELATIONS.index("same target"), RELATIONS.index("other")
    return [
        Claim(
            "distinct-pairs",
            "Two synapses of one neuron can do distinct things, in ensembles of other places.",
            ARTICLE,
        ).positive(
            over_networks(apart[:, 0, same], f"share of pairs with an overlap below {_APART}"),
            note=f"Pairs of different neurons: {over_networks(apart[:, 0, other])}.",
        ),
        Claim(
            "alike-pairs",
            "Synapses of one neuron are more alike than others: they share what their target passes on.",
            "structure: J[s] = delta of the target times the activation of the source",
        ).positive(
            over_networks(cosine[:, 0, same] - cosine[:, 0, other], "difference of mean cosines of maps"),
            note="A fact of structure: "
            + ", ".join(
                f"{kind} {over_networks(cosine[:, k, same] - cosine[:, k, other])}"
                for k, kind in enumerate(KINDS[1:], 1)
            )
            + ".",
        ),
        *_controls("distinct-pairs", "More pairs of one neuron do distinct things", apart[:, :, same]),
    ]


def _curve(n: Numbers) -> list[Check]:
    sharp, smooth = n.certified[:, 0, -1], n.certified[:, 0, 0]
    few = _at_least(over_networks(smooth), np.isfinite(n.data["share"].values[:, 0]).sum() / _BINS)
    return [
        Claim(
            "sharp-dedicated",
            "A sharp element has dedicated weights, a smooth one has none.",
            "derived here, from two regions of one picture",
        ).positive(
            over_networks(n.curve[:, 0], "rank correlation of share and contrast"),
            note="The share of maps inside a region, weighted by the energy inside.",
        ),
        *_controls("sharp-dedicated", "The correlation of share and contrast is higher", n.curve),
        Claim(
            "sharp-certified",
            "More of the sharpest than of the smoothest regions beat their shifted places.",
            "derived here",
        ).positive(
            over_networks(sharp - smooth, "share of the sharpest fifth less that of the smoothest"),
            note=f"A region passes if at most {100 * _CERTAIN:g} % of the places that it does not touch do "
            f"as well. Sharpest fifth {over_networks(sharp)}, smoothest {over_networks(smooth)}.",
        ),
        Claim(
            "smooth-none",
            "A smooth element has no dedicated weights: few beat their shifted places.",
            "derived here",
        ).below(
            _CERTAIN,
            few,
            note=f"Agrees 3 errors below {_CERTAIN:g}, the share by chance if contrast did not matter.",
        ),
        *_controls("sharp-certified", "Sharp regions pass more often", n.certified[:, :, -1]),
        Claim(
            "again",
            "The same elements have dedicated weights in other seeds, beyond their contrast.",
            "control: other seeds",
        ).positive(
            over_networks(n.again, "correlation of shares between seeds, contrast taken out"),
            note="Networks of one picture enter several pairs, so the error is somewhat too small.",
        ),
    ]


def _at_least(found: Estimate, count: float) -> Estimate:
    """Return a share with the error of one in so many, where all networks have the same."""
    return replace(found, error=max(found.error, 1 / max(count, 1))) if found.determined else found


def _atlas(n: Numbers) -> list[Check]:
    count = float(np.nan_to_num(n.data["exists"].values).sum())
    kept = [_at_least(over_networks(_mean(n.kept[:, k], -1)), count) for k in range(3)]
    rule = (
        f"Share of {len(PROPERTIES)} properties of all regions whose largest share of a single weight is "
        "beyond that of the same regions in the control, at a false discovery rate of 5 %; less 0.05."
    )
    curve = n.kept_by[:, 0, -1] - n.kept_by[:, 0, 0]
    return [
        Claim(
            "own-weights-untrained",
            "Properties of regions have weights of their own, more so than in untrained networks.",
            ARTICLE,
        ).positive(kept[0] - _OWN, note=rule),
        Claim(
            "own-weights-permuted",
            "Properties of regions have weights of their own, more so than with permuted weights.",
            ARTICLE,
        ).positive(kept[1] - _OWN, note=rule),
        Claim(
            "own-weights-sharp",
            "More sharp than smooth regions have weights of their own, against untrained networks.",
            "derived here",
        ).positive(over_networks(curve, "share in the sharpest fifth less that in the smoothest")),
        Claim(
            "few-properties",
            "Other properties of a region are held by few weights, too: at most a tenth.",
            f"{ARTICLE}: at most 46 of 460 synapses",
        ).below(
            _TENTH,
            over_networks(_mean(n.carriers, 1), "share of the weights, mean over properties"),
            note=f"Unit of change: 1 / rms of a map. Agrees 3 errors below {_TENTH:g}; see the table.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    pictures = n.data["picture"].values
    rows = []
    for name in dict.fromkeys(pictures.tolist()):
        for k, kind in enumerate(KINDS):
            chosen = np.flatnonzero(pictures == name)
            sizes = [" / ".join(f"{n.weights * v:.0f}" for v in n.members[chosen, k].mean(0))]
            sizes += [" / ".join(f"{v:.0f}" for v in n.neurons[chosen, k].mean(0))]
            sizes += [" / ".join(f"{v:.0f}" for v in n.serves[chosen, k].mean(0))]
            overlap, chance = (
                n.data[key].values[chosen, k, _ARTICLE].mean() for key in ("overlap", "overlap_by_chance")
            )
            cells = [f"{overlap:.2f} ({chance:.2f})", f"{n.curve[chosen, k].mean():.2f}"]
            cells += [f"{v:.2f}" for v in n.data["cosine"].values[chosen, k].mean(0)]
            rows.append([name, kind, *sizes, *cells])
    columns = ["picture", "weights", "in an ensemble, u = 1 / |w| / 1/rms", "neurons", "ensembles a neuron"]
    columns += ["Jaccard (chance)", "share with contrast", *(f"cosine, {r}" for r in RELATIONS)]
    curve = []
    for k, kind in enumerate(KINDS):
        for what, values in (("share", n.dedicated), ("passed", n.certified)):
            curve.append([kind, what, *(str(over_networks(values[:, k, b])) for b in range(_BINS))])
    carriers, carrying = _mean(n.carriers, 0), _mean(n.carrying, 0)
    properties = [
        [
            name,
            *(
                str(_at_least(over_networks(n.kept[:, k, i]), np.nansum(n.data["exists"].values[:, i])))
                for k in range(3)
            ),
            f"{n.weights * carriers[i]:.0f}",
            f"{carrying[i]:.0f}",
        ]
        for i, name in enumerate(PROPERTIES)
    ]
    return [
        Table(
            "Properties with weights of their own, share of regions",
            ["property", "against untrained", "against permuted", "both", "weights", "neurons"],
            properties,
        ),
        Table("Ensembles by picture, means over networks of medians over regions", columns, rows),
        Table(
            "Dedicated weights by contrast",
            ["weights", "", "smoothest fifth", *([""] * (_BINS - 2)), "sharpest fifth"],
            curve,
        ),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        "Against shifted places exactly one region in twenty passes if regions do not differ, so the share "
        "that passes says nothing by itself; that it is the sharp ones does.",
        "Permuted weights keep their sizes and so saturate units, which confines maps, too. Where they do as "
        "well, a statement is one of large weights and sharp borders, not of learning.",
        "The article judges by eye how strongly a synapse moves a property; here an ensemble holds 90 % of "
        "all that is inside a region, and claims are in the unit 1 / rms of a map unless they say "
        "otherwise.",
    ]


def draw_region(axes: Axes, n: Numbers) -> None:
    picture = n.view.picture.numpy().copy()
    edge = n.region.numpy() & ~_inner(n.region.numpy())
    picture[edge] = 1.0
    shared.show(axes, picture, "A sharp region")


def _inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis)
    return inner


def _shown(n: Numbers) -> list[int]:
    """Return the twelve weights whose own size moves the region most."""
    return [int(s) for s in ensemble(n.view, Region(n.region), units=("weight",)).sets["weight"][:12]]


def draw_ensemble(axes: Axes, n: Numbers) -> None:
    maps = shared.scaled(n.view.maps(_shown(n)))
    shared.show(axes, shared.montage(maps, 4), "Maps of its twelve strongest weights")


def draw_curve(axes: Axes, n: Numbers) -> None:
    for k, (kind, colour) in enumerate(zip(KINDS, colours(len(KINDS)), strict=True)):
        x, y = n.data["contrast"].values[:, k].ravel(), n.data["share"].values[:, k].ravel()
        axes.plot(x, y, ".", ms=1.5, color=colour, alpha=0.25)
        known = np.isfinite(x) & np.isfinite(y)
        parts = np.array_split(np.flatnonzero(known)[np.argsort(x[known])], 12)
        middle = [[np.median(values[part]) for part in parts] for values in (x, y)]
        axes.plot(*middle, "o-", ms=3.5, lw=1.2, color=colour, label=kind)
    axes.set(title="Dedicated weights", xlabel="local contrast", ylabel="share of maps inside")
    axes.set(xscale="log", yscale="log")
    legend(axes)


def draw_certified(axes: Axes, n: Numbers) -> None:
    for k, (kind, colour) in enumerate(zip(KINDS, colours(len(KINDS)), strict=True)):
        found = [over_networks(n.certified[:, k, b]) for b in range(_BINS)]
        y, error = [e.value for e in found], [e.error for e in found]
        axes.errorbar(np.arange(_BINS) + 0.08 * k, y, error, fmt="o-", ms=3, color=colour, label=kind)
    axes.axhline(_CERTAIN, color=plotting.THEORY, lw=0.8, ls="--")
    axes.set(title="Beat their shifted places", xlabel="fifth by contrast", ylabel="share of regions")
    legend(axes)


def draw_kept(axes: Axes, n: Numbers) -> None:
    names = ("against untrained", "against permuted")
    for k, (name, colour) in enumerate(zip(names, colours(3)[1:], strict=True)):
        found = [over_networks(n.kept_by[:, k, b]) for b in range(_BINS)]
        y, error = [e.value for e in found], [e.error for e in found]
        axes.errorbar(range(_BINS), y, error, fmt="o-", ms=3, color=colour, label=name)
    axes.set(
        title="Weights of their own",
        xlabel="fifth by contrast",
        ylabel="share of properties",
        ylim=(-0.02, 1),
    )
    legend(axes)


def draw_sizes(axes: Axes, n: Numbers) -> None:
    for u, (name, colour) in enumerate(zip(UNITS, colours(len(UNITS)), strict=True)):
        for k, style in enumerate(("-", "--", ":")):
            x = np.sort(n.data["members"].values[:, k, u].ravel())
            x = x[np.isfinite(x)]
            label = {"one": "1", "weight": "|w|", "rms": "1/rms"}[name] if not k else None
            axes.plot(x, np.linspace(0, 1, len(x)), style, lw=1.2, color=colour, label=label)
    axes.axvline(46, color=plotting.THEORY, lw=0.8)
    axes.set(title="Sizes of ensembles", xlabel="weights", ylabel="share of regions below")
    legend(axes, title="unit of change")


def draw_serves(axes: Axes, n: Numbers) -> None:
    share = n.data["serves"].values[:, :, _ARTICLE] / n.data["places"].values[:, None, None]
    for k, (kind, colour) in enumerate(zip(KINDS, colours(len(KINDS)), strict=True)):
        axes.plot(share[:, k].mean(0), "o-", ms=2.5, lw=0.8, color=colour, label=kind)
    steps = n.view.net.wiring.steps_to_output
    for place in np.flatnonzero(np.diff(steps)):
        axes.axvline(place + 0.5, color=plotting.INK, lw=0.6, ls="--")
    axes.set(title="Ensembles of a neuron", xlabel="neuron", ylabel="share of places", ylim=(0, 1.02))
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    names = ", ".join(n.view.name(s).partition(":")[0] for s in _shown(n)[:6])
    return [
        Panels(
            "ensemble",
            "The sharpest region of the first picture that beats its shifted places, and the maps of the "
            f"twelve weights whose own size moves it most ({names}, ...), each on its own scale.",
            [draw_region, draw_ensemble],
            size=(4.2, 2.9),
        ),
        Panels(
            "contrast",
            "Left: the share of maps inside a region against its contrast, a dot a region, and medians. "
            "Middle: the share of regions that beat 95 % of their shifted places, from the smoothest fifth "
            "to the sharpest; dashed: what chance gives. Right: the share of all properties kept against "
            "controls in the atlas.",
            [draw_curve, draw_certified, draw_kept],
        ),
        Panels(
            "shared",
            "Left: sizes of ensembles over regions in three units of change, trained (full), untrained "
            "(dashed), permuted (dotted); the line is at the article's 46. Right: the share of places "
            "apart whose ensemble a neuron has a part in; dashed lines where the distance from the outputs "
            "changes.",
            [draw_sizes, draw_serves],
        ),
    ]


SHARED_PROPERTIES = Part(
    name="shared-properties",
    title="Ensembles of many regions",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("region",),
    citations=("ensembles2015", "kumar2025"),
)
