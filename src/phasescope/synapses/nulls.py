"""Is it more than chance: a property's best weights against other places, sets, weights and networks.

The statistic is a share: of all that a weight changes, the part that is the property (``ensembles``). Large
shares alone mean little. Networks with large weights have sharp transitions, and any transition is moved by
some weight that moves nothing else; permuted weights give shares near 1, often with almost no energy. So a
weight counts at a place only if what it does there, sqrt(along), is at least 0.001 of the largest such number
over all weights and places of the given network, and the share is ranked among other places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.synapses.ensembles import FLOOR, Effects, effects, selectivities
from phasescope.synapses.modules import ModuleSensitivity
from phasescope.synapses.picture_net import PictureNet
from phasescope.synapses.properties import Property, Region
from phasescope.synapses.sensitivity import PictureSensitivity, Sensitivity

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Kind = Literal["shift", "contrast", "random", "permuted", "untrained", "seed"]

KINDS: tuple[Kind, ...] = ("shift", "contrast", "random", "permuted", "untrained", "seed")
_ONE = "largest share"
_DECIDE = ("shift", "contrast", "random")
_FEWEST_APART = 19  # places that overlap the region by less than half; with fewer a rank is not even 5 %
_MATCHED = 0.1  # share of all places among which those of equal contrast are drawn
_FEWEST_MATCHED = 40
_DRAWS_PER_COUNT = 5  # networks are drawn once for so many places
_FEWEST_NETS = 20


@dataclass(frozen=True)
class Null(Result):
    """One number of the region against the same number under a null.

    Parameters
    ----------
    kind : str
        The null: ``shift``, ``contrast``, ``random``, ``permuted``, ``untrained`` or ``seed``.
    statistic : str
        What is compared.
    observed : float
        Its value for the region and the network that were given.
    values : array, shape (n,)
        Its values under the null.
    p : Estimate
        ``(1 + values that reach the observed one) / (1 + n)``, or why it is not determined.
    corrected : float
        The same after the correction for the number of regions tried.
    """

    kind: str
    statistic: str
    observed: float
    values: Array = field(repr=False)
    p: Estimate
    corrected: float

    @property
    def reached(self) -> int:
        """How many values reach the observed one."""
        return int((self.values >= self.observed).sum())

    @property
    def band(self) -> tuple[float, float, float]:
        """The 5 %, 50 % and 95 % quantiles of the values; NaN where there are none."""
        if not len(self.values):
            return (np.nan, np.nan, np.nan)
        low, middle, high = np.quantile(self.values, [0.05, 0.5, 0.95])
        return float(low), float(middle), float(high)

    def __str__(self) -> str:
        head = f"{self.kind:<10}{self.statistic:<36}{self.observed:>9.3g}"
        if not self.p.determined:
            return f"{head}  {self.p}"
        low, middle, high = self.band
        return f"{head}{low:>9.3g}{middle:>9.3g}{high:>9.3g}{self.p.value:>9.3g}{self.corrected:>11.3g}"


@dataclass(frozen=True)
class Nulls(Result):
    """A property's best weights against every null; :func:`nulls` makes it.

    Parameters
    ----------
    name : str
        Of the property.
    certified : bool or None
        Whether the region has weights of its own; None where that is not determined.
    verdict : str
        The same in words, with the numbers behind it.
    weights : array of int, shape (k,)
        The weights with the largest shares, of those that count.
    share : float
        The largest share.
    carried : float
        Which share of the sum of along over all weights, of all that they do to the property, this weight
        carries.
    level : float
        Chance at which a region like any other may be certified.
    regions_tried : int
        Number of regions that the correction is for.
    nulls : tuple of Null
        One for each comparison.
    """

    name: str
    certified: bool | None
    verdict: str
    weights: Whole = field(repr=False)
    share: float
    carried: float
    level: float
    regions_tried: int
    nulls: tuple[Null, ...] = field(repr=False)

    def of(self, kind: Kind, statistic: str = "") -> Null:
        """Return the first comparison of a kind.

        Parameters
        ----------
        kind : str
            As in :func:`nulls`.
        statistic : str
            How its statistic begins.
        """
        found = [null for null in self.nulls if null.kind == kind and null.statistic.startswith(statistic)]
        if not found:
            raise InputError(
                f"No comparison is of the kind {kind!r} {statistic}.", "Name it in kinds=, or see .nulls."
            )
        return found[0]

    def __str__(self) -> str:
        columns = "".join(f"{title:>9}" for title in ("here", "5 %", "50 %", "95 %", "p"))
        head = f"  {'null':<10}{'number':<36}{columns}{'corrected':>11}"
        return "\n".join([self.verdict, head, *(f"  {null}" for null in self.nulls)])


def nulls(
    sensitivity: Sensitivity,
    prop: Property,
    *,
    kinds: Sequence[Kind] = KINDS,
    count: int = 200,
    k: int = 10,
    level: float = 0.05,
    regions_tried: int = 1,
    others: Sequence[PictureNet | Sensitivity] = (),
    seed: int | np.random.Generator = 0,
) -> Nulls:
    """Return whether a property has weights of its own, against other places, sets, weights and networks.

    The number compared is the largest share of a single weight, and the share of the k best together,
    ``sum of along / sum of (along + beside)``, which weighs them by energy.

    - ``shift``: the same property with its region put at `count` other places, each wholly inside the
      picture, drawn without replacement among all. **This null decides.** Places that overlap the region
      belong to it: without them, p-values of a region chosen at random would be too small. On a module:
      the same property of as many other cases, drawn at random among all. Cases of one class are alike,
      which random sets are not: look at the shares of other classes, too.
    - ``contrast``: places with the same local contrast (standard deviation of the picture's colours inside);
      drawn from the tenth of all places (at least 40) nearest in rank. Contrast explains much of the share.
      Places that overlap the region by more than half show the same element and are left out; since ``shift``
      must be beaten as well, that certifies no region too many.
    - ``random``: the share of the k best against random sets of k weights, and of k weights that enter as
      many units with as many weights each. The k best are chosen for their share, so this null is beaten
      easily: needed, not enough. With it, for the same sets, selectivity, and the share of the sum of (g u)^2
      with u = 1 / rms(J) that the k strongest cover. Selectivity does not decide: one weight of the region
      in a random set makes the whole set selective, so the more weights a region has, the less it shows.
    - ``permuted``: the same region with the weights into each unit permuted (synapses among synapses; in a
      module the weights of one parameter into one unit), `count` / 5 draws.
    - ``untrained``: the same wiring with fresh weights of :class:`PictureNet`, as many draws.
    - ``seed``: `others`, networks trained in the same way from other seeds. A high p says that they have it,
      too.

    A region is certified if ``shift``, corrected for the number of regions tried by
    ``1 - (1 - p)^regions_tried``, and ``contrast`` and ``random``, uncorrected, are at most `level`; of those
    among them that were asked for. The other kinds tell whether learning made it, and are part of the verdict
    in words only: locality by itself is not learning.

    Parameters
    ----------
    sensitivity : Sensitivity
        Of a picture network or of any module; a module has no ``contrast``, and ``untrained`` networks only
        among `others`.
    prop : Property
        With a region, to be put elsewhere.
    kinds : sequence of str
        Which nulls.
    count : int
        Number of places and of random sets. The smallest p is 1 / (1 + count).
    k : int
        Size of the sets.
    level : float
        In (0, 1).
    regions_tried : int
        How many regions were looked at before this one was chosen, itself included.
    others : sequence of PictureNet or Sensitivity
        For the kind ``seed``.
    seed : int or numpy.random.Generator
        Of all draws.

    Raises
    ------
    InputError
        If a kind is unknown, a number is out of range, or no weight changes the property.

    Notes
    -----
    Cost on a picture of 64 x 96 and 497 weights, for 200 places: 0.1 s for a region and up to 0.4 s for other
    properties; 0.5 s for random sets and 20 ms for each network that is drawn. A module takes, for each set
    of other cases and for each network, two passes over the batch.

    Fails: the chance that some region of a picture is certified is that of its rank, so among all regions of
    any network the share `level` has a p below it; only a region chosen for another reason than its share,
    or a correction for all that were tried, makes p mean something. With too few places p is not determined.
    """
    _check(kinds, count, k, level, regions_tried)
    if not isinstance(sensitivity, PictureSensitivity):
        kinds = [kind for kind in kinds if kind != "contrast"]  # samples have none
    rng = np.random.default_rng(seed)
    here = effects(sensitivity, prop)
    if not bool((here.along > 0).any()):
        raise InputError(f"No weight changes the {prop.name} to first order.", "Choose another property.")

    placed, reason = _placed(sensitivity, prop, set(kinds), count, rng)
    at = {}
    if isinstance(sensitivity, PictureSensitivity):
        at = {kind: at_places(sensitivity, prop.elsewhere, masks)[:2] for kind, masks in placed.items()}
    largest = max([float(here.along.max()), *(float(along.max()) for along, _ in at.values() if len(along))])
    floor = FLOOR**2 * largest
    single, together, chosen = best_shares(here.along[None], here.beside[None], floor, k)
    best, few, weights = float(single[0]), float(together[0]), chosen[0][chosen[0] >= 0]

    def compared(
        kind: Kind, statistic: str, observed: float, values: Sequence[float] | Array, why: str
    ) -> Null:
        return _null(kind, statistic, observed, np.asarray(values, dtype=np.float64), why, regions_tried)

    rows: list[Null] = []
    for kind in kinds:
        if kind in ("shift", "contrast"):
            if kind in at:
                there = best_shares(*at[kind], floor, k)[:2]
            else:
                there = _at_cases(sensitivity, prop, placed.get(kind, []), floor, k)
            why = reason or ("" if len(there[0]) else "the property exists at no other place")
            rows.append(compared(kind, _ONE, best, there[0], why))
            rows.append(compared(kind, f"share of the {k} best", few, there[1], why))
        elif kind == "random":
            rows += [compared(kind, *row) for row in _random(sensitivity, prop, here, weights, count, rng)]
        else:
            nets, why = networks(kind, sensitivity, max(_FEWEST_NETS, count // _DRAWS_PER_COUNT), others, rng)
            values = []
            for net in nets:
                try:
                    other = effects(net, prop)
                except InputError:  # it has no such property
                    continue
                values.append(float(best_shares(other.along[None], other.beside[None], floor, 1)[0][0]))
            rows.append(compared(kind, _ONE, best, values, why))
    carried = float(here.along[weights[0]] / here.along.sum()) if len(weights) else 0.0
    certified, verdict = _verdict(sensitivity, rows, weights, best, carried, level, regions_tried)
    return Nulls(prop.name, certified, verdict, weights, best, carried, level, regions_tried, tuple(rows))


def best_shares(along: Tensor, beside: Tensor, floor: float, k: int) -> tuple[Array, Array, Whole]:
    """Return for each row the largest share, that of the k best together, and the k best (-1: none left).

    A weight counts if its `along` is above 0 and not below `floor`.
    """
    total = along + beside
    counts = (along >= floor) & (along > 0)
    shares = torch.where(counts, along / total.where(counts, torch.ones_like(total)), 0.0)
    values, order = shares.topk(min(k, shares.shape[1]), dim=1)
    found = values > 0
    part = (along.gather(1, order) * found).sum(1)
    whole = (total.gather(1, order) * found).sum(1)
    few = torch.where(whole > 0, part / whole.where(whole > 0, torch.ones_like(whole)), 0.0)
    chosen = order.where(found, torch.full_like(order, -1))
    return _array(values[:, 0]), _array(few), chosen.cpu().numpy()


def at_places(
    sensitivity: PictureSensitivity, make: Callable[[Tensor], Property | None], masks: Tensor
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Return along and beside of a property at the places that have it, a row each, and which have it."""
    output, sweeps = sensitivity.output, sensitivity.sweeps
    inside = sensitivity.energy(masks)
    beside = (sensitivity.rms.square() * output.numel() - inside).clamp(min=0)
    along, exists = inside.clone(), np.ones(len(masks), dtype=bool)
    for i, mask in enumerate(masks):
        try:
            prop = make(mask)
            if isinstance(prop, Region):
                continue
            gradient = None if prop is None else prop.gradient(output)
        except InputError:
            gradient = None
        exists[i] = gradient is not None
        if gradient is None:
            continue
        rows = gradient.reshape(-1, gradient.shape[-1])
        points = torch.nonzero(rows.any(1)).reshape(-1)
        seeds = rows[points].T.to(sensitivity.weights)
        norm = seeds.square().sum().clamp(min=torch.finfo(seeds.dtype).tiny)
        along[i] = sweeps.pulled_back_at(points, seeds).square() / norm
    kept = torch.from_numpy(exists)
    return along[kept], beside[kept], exists


def _placed(
    sensitivity: Sensitivity, prop: Property, kinds: set[Kind], count: int, rng: np.random.Generator
) -> tuple[dict[Kind, Tensor], str]:
    """Return the masks of the places for shift and contrast, or why there are none."""
    support = prop.support(sensitivity.output)
    if not kinds & {"shift", "contrast"}:
        return {}, ""
    if isinstance(sensitivity, PictureSensitivity) and sensitivity.output.ndim != 3:
        return {}, "the output is no picture, so nothing can be put elsewhere in it"
    if support is None or bool(support.all()):
        return {}, f"the {prop.name} is about the whole output and cannot be put elsewhere"
    if prop.elsewhere(support) is None:
        return {}, f"the {prop.name} has a region and no way to put it elsewhere"
    if not isinstance(sensitivity, PictureSensitivity):
        return _cases(support, count, rng)
    places = Places(support)
    apart = np.flatnonzero(places.overlap <= 0.5)
    if len(apart) < _FEWEST_APART:
        return {}, (
            f"{len(apart)} of {len(places.overlap)} places overlap the region by less than half, "
            f"{_FEWEST_APART} are needed"
        )
    placed: dict[Kind, Tensor] = {}
    if "shift" in kinds:
        others = np.delete(np.arange(len(places.overlap)), places.own)
        placed["shift"] = places.masks(rng.choice(others, min(count, len(others)), replace=False))
    if "contrast" in kinds:
        contrast = places.contrast(sensitivity.output)
        ranked = apart[np.argsort(contrast[apart], kind="stable")]
        pool = min(max(_FEWEST_MATCHED, int(_MATCHED * len(ranked))), len(ranked))
        middle = np.searchsorted(contrast[ranked], contrast[places.own])
        start = int(np.clip(middle - pool // 2, 0, len(ranked) - pool))
        near = ranked[start : start + pool]
        placed["contrast"] = places.masks(rng.choice(near, min(count, pool), replace=False))
    return placed, ""


def _cases(support: Tensor, count: int, rng: np.random.Generator) -> tuple[dict[Kind, Tensor], str]:
    """Return masks of as many cases as a support has, drawn at random among all."""
    size, chosen = support.numel(), int(support.sum())
    if size - chosen < _FEWEST_APART:
        return {}, f"{size - chosen} of {size} cases are others, {_FEWEST_APART} are needed"
    masks = torch.zeros(count, size, dtype=torch.bool, device=support.device)
    for mask in masks:
        mask[torch.from_numpy(rng.choice(size, chosen, replace=False))] = True
    return {"shift": masks.reshape(count, *support.shape)}, ""


def _at_cases(
    sensitivity: Sensitivity,
    prop: Property,
    masks: Tensor | Sequence[Tensor],
    floor: float,
    k: int,
) -> tuple[Array, Array]:
    """Return the largest share and that of the k best together at each set of cases, one at a time."""
    found = []
    for mask in masks:
        there = prop.elsewhere(mask)
        assert there is not None  # as asked before the cases were drawn
        try:
            gradient = there.gradient(sensitivity.output)
        except InputError:  # it does not exist for these cases
            continue
        along = sensitivity.pulled_back(gradient).square()
        along /= max(float(gradient.double().square().sum()), 1e-300)
        # Not all energy minus that inside: both are estimates, and their difference can vanish.
        beside = sensitivity.energy(~mask)
        single, together, _ = best_shares(along[None], beside[None], floor, k)
        found.append((single[0], together[0]))
    values = np.array(found, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


class Places:
    """All places of a region's shape that lie wholly inside the picture, row by row."""

    def __init__(self, support: Tensor) -> None:
        rows, columns = (torch.nonzero(support.any(axis)).reshape(-1) for axis in (1, 0))
        top, left = int(rows[0]), int(columns[0])
        self.support = support
        self.shape = support[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
        self.across = support.shape[1] - self.shape.shape[1] + 1
        self.own = top * self.across + left

    def masks(self, places: Whole) -> Tensor:
        """Return the region at each place, bool of shape (places, height, width)."""
        height, width = self.shape.shape
        masks = torch.zeros(len(places), *self.support.shape, dtype=torch.bool, device=self.support.device)
        for mask, place in zip(masks, places.tolist(), strict=True):
            top, left = divmod(place, self.across)
            mask[top : top + height, left : left + width] = self.shape
        return masks

    def _sums(self, values: Tensor) -> Tensor:
        """Return the sum over the region at every place, of each channel: (channels, places)."""
        kernel = self.shape[None, None].to(values)
        return torch.nn.functional.conv2d(values[:, None], kernel).flatten(1)

    @property
    def overlap(self) -> Array:
        """Which share of the region each place covers, shape (places,)."""
        sums = self._sums(self.support[None].double())[0]
        return (sums / self.shape.sum()).cpu().numpy()

    def contrast(self, picture: Tensor) -> Array:
        """Return the standard deviation of the colours inside, over pixels, rms over channels."""
        channels, pixels = picture.double().movedim(-1, 0), int(self.shape.sum())
        channels = channels - channels.mean((1, 2), keepdim=True)
        mean = self._sums(channels) / pixels
        variance = (self._sums(channels.square()) / pixels - mean.square()).clamp(min=0)
        return variance.mean(0).sqrt().cpu().numpy()


def _random(
    sensitivity: Sensitivity,
    prop: Property,
    here: Effects,
    weights: Whole,
    count: int,
    rng: np.random.Generator,
) -> list[tuple[str, float, Array, str]]:
    """Return share, selectivity and coverage of the best weights against random sets, of two kinds."""
    size, k = sensitivity.size, len(weights)
    if not k:
        return [("share", 0.0, np.empty(0), "no weight counts")]
    groups = sensitivity.groups.cpu().numpy()
    free = np.stack([rng.choice(size, k, replace=False) for _ in range(count)])
    alike = np.stack([_same_units(groups, weights, rng) for _ in range(count)])
    strength, energy = np.abs(_array(here.strength)), _array(here.total)
    counts = (strength >= FLOOR * strength.max()) & (energy > 0)
    squares = np.divide(strength**2, energy, out=np.zeros_like(energy), where=counts)
    squares /= squares.sum()
    strongest = np.argsort(-squares, kind="stable")[:k]
    covered = np.array([squares[_same_units(groups, strongest, rng)].sum() for _ in range(count)])
    top = float(squares[strongest].sum())
    along, total = (_array(energy) for energy in (here.along, here.along + here.beside))

    def together(sets: Whole) -> Array:
        whole = total[sets].sum(-1)
        shares: Array = np.divide(along[sets].sum(-1), whole, out=np.zeros_like(whole), where=whole > 0)
        return shares

    best = float(together(weights[None])[0])
    values, why = np.full(1 + 2 * count, np.nan), "each map of a module costs a pass, see selectivity"
    if isinstance(sensitivity, PictureSensitivity):
        sets = np.concatenate([weights[None], free, alike])
        values, why = np.array(selectivities(sensitivity, prop, sets)), ""
    return [
        (f"share, {k} any weights", best, together(free), ""),
        (f"share, {k} in as many units", best, together(alike), ""),
        (f"selectivity, {k} any weights", float(values[0]), values[1 : 1 + count], why),
        (f"selectivity, {k} in as many units", float(values[0]), values[1 + count :], why),
        (f"coverage, {k} any weights", top, squares[free].sum(1), ""),
        (f"coverage, {k} in as many units", top, covered, ""),
    ]


def _same_units(groups: Whole, weights: Whole, rng: np.random.Generator) -> Whole:
    """Return random weights that enter as many units as these, with as many weights each."""
    sizes = np.bincount(groups)
    free = np.ones(len(sizes), dtype=bool)
    chosen = []
    # The units with most weights first, since fewest others are large enough for them.
    for needed in np.sort(np.unique(groups[weights], return_counts=True)[1])[::-1]:
        unit = rng.choice(np.flatnonzero(free & (sizes >= needed)))
        free[unit] = False
        chosen.append(rng.choice(np.flatnonzero(groups == unit), needed, replace=False))
    return np.concatenate(chosen)


def networks(
    kind: Kind,
    sensitivity: Sensitivity,
    draws: int,
    others: Sequence[PictureNet | Sensitivity],
    rng: np.random.Generator,
) -> tuple[list[Sensitivity] | Iterator[Sensitivity], str]:
    """Return the networks of a null, made one at a time, or why there are none."""
    picture = sensitivity if isinstance(sensitivity, PictureSensitivity) else None
    if kind == "seed":
        given = []
        for other in others:
            if isinstance(other, PictureNet):
                if picture is None:
                    raise InputError(
                        "Another network is a PictureNet, this one is not.", "Give its sensitivity."
                    )
                other = PictureSensitivity(other, picture.points, picture.shape)
            if other.output.shape != sensitivity.output.shape:
                raise InputError(
                    f"The output of another network has shape {tuple(other.output.shape)}, "
                    f"here it is {tuple(sensitivity.output.shape)}.",
                    "Compare networks on the same inputs.",
                )
            given.append(other)
        return given, "" if given else "no other networks were given (others=)"
    if kind == "permuted":
        groups = sensitivity.groups.cpu().numpy().astype(np.int64)
        if isinstance(sensitivity, ModuleSensitivity):
            units = int(groups.max()) + 1
            for number, piece in enumerate(sensitivity.pieces):
                groups[piece.start : piece.stop] += number * units  # a weight stays in its parameter
        elif picture is not None:
            groups[picture.net.wiring.synapses :] += picture.net.wiring.units  # biases stay where they are
        return (sensitivity.at(sensitivity.weights[_permuted(groups, rng)]) for _ in range(draws)), ""
    if picture is None:
        return [], "fresh weights of this module are not known: give untrained ones as others="
    wiring = picture.net.wiring
    seeds = rng.integers(0, 2**31, draws).tolist()
    return (picture.at(PictureNet(wiring, seed=number).weights.detach()) for number in seeds), ""


def _permuted(groups: Whole, rng: np.random.Generator) -> Tensor:
    """Return a permutation that keeps each weight in its group."""
    order = np.argsort(groups, kind="stable")
    shuffled = np.argsort(groups + rng.random(len(groups)))
    permutation = np.empty_like(order)
    permutation[order] = shuffled
    return torch.from_numpy(permutation)


def _array(tensor: Tensor) -> Array:
    return np.asarray(tensor.detach().cpu(), dtype=np.float64)


def _null(kind: Kind, statistic: str, observed: float, values: Array, why: str, tried: int) -> Null:
    count = len(values)
    if why or not count:
        p = Estimate.not_determined(why or "no network has the property", method="rank", n=count)
        return Null(kind, statistic, observed, values, p, np.nan)
    rank = (1 + int((values >= observed).sum())) / (1 + count)
    error = float(np.sqrt(rank * (1 - rank) / count))
    corrected = _corrected(rank, tried) if kind == "shift" else rank
    return Null(kind, statistic, observed, values, Estimate(rank, error, "rank", count), corrected)


def _corrected(p: float, tried: int) -> float:
    """Return the chance that the smallest of so many independent p-values is at most p."""
    return float(-np.expm1(tried * np.log1p(-p))) if p < 1 else 1.0


def _verdict(
    sensitivity: Sensitivity,
    rows: list[Null],
    weights: Whole,
    share: float,
    carried: float,
    level: float,
    tried: int,
) -> tuple[bool | None, str]:
    """Return whether the region is certified, and why, in words."""
    if not len(weights):
        return False, "Not certified: no weight that counts changes the property here."
    deciding = [row for row in rows if row.kind in _DECIDE and row.statistic.startswith((_ONE, "share, "))]
    shift = next((row for row in deciding if row.kind == "shift"), None)
    best = f"The best weight ({sensitivity.name(int(weights[0]))}) has the share {share:.2f} and carries "
    best += f"{100 * carried:.2g} % of what all weights do to it"
    lost = [row for row in deciding if row.p.determined and row.p.value > level]
    told = "; ".join(_told(row, sensitivity) for row in rows if row.statistic == _ONE and row.p.determined)
    told = f" {best}. {told}." if told else f" {best}."
    if lost:
        return False, f"Not certified against {_named(lost)}.{told}"
    if shift is None:
        return None, f"Not determined: other places were not asked for.{told}"
    unknown = next((row for row in deciding if not row.p.determined), None)
    if unknown is not None:
        return None, f"Not determined against {_named([unknown])}: {unknown.p.reason}.{told}"
    smallest = _corrected(1 / (1 + shift.p.n), tried)
    regions = "1 region" if tried == 1 else f"{tried} regions"
    if shift.corrected <= level:
        return True, f"Certified, p = {shift.corrected:.2g} after {regions} tried.{told}"
    if smallest > level:
        needed = int(np.ceil(-1 / np.expm1(np.log1p(-level) / tried) - 1))
        return None, (
            f"Not determined: only {shift.p.n} places, whose smallest p after {regions} tried is "
            f"{smallest:.2g}; at least {needed} are needed.{told}"
        )
    return False, f"Not certified after {regions} tried, p = {shift.corrected:.2g}.{told}"


def _told(row: Null, sensitivity: Sensitivity) -> str:
    """Return one comparison of the largest share as a clause."""
    picture = isinstance(sensitivity, PictureSensitivity)
    where = {
        "shift": "other places" if picture else "sets of other cases",
        "contrast": "places of equal contrast",
        "permuted": "draws with permuted weights",
        "untrained": "untrained networks",
        "seed": "other networks",
    }[row.kind]
    return f"{row.reached} of {row.p.n} {where} reach that"


def _named(rows: list[Null]) -> str:
    names = {"shift": "other places", "contrast": "places of equal contrast", "random": "random sets"}
    return " and ".join(dict.fromkeys(names[row.kind] for row in rows))


def _check(kinds: Sequence[Kind], count: int, k: int, level: float, tried: int) -> None:
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise InputError(f"kinds={list(kinds)} are no nulls.", f"Choose among {', '.join(KINDS)}.")
    for name, value in (("count", count), ("k", k), ("regions_tried", tried)):
        if value < 1:
            raise InputError(f"{name}={value}.", "Use at least 1.")
    if not 0 < level < 1:
        raise InputError(f"level={level} is no chance.", "Use a number between 0 and 1, such as 0.05.")
