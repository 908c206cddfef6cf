"""All regions of a picture and all properties at once: which have weights of their own, who serves whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.synapses.ensembles import FLOOR, Unit
from phasescope.synapses.nulls import Places, at_places, best_shares, networks
from phasescope.synapses.properties import (
    Area,
    BorderShift,
    Centroid,
    ColourBalance,
    MeanColour,
    Property,
    Region,
    RegionEnergy,
    Tilt,
    Width,
    as_mask,
)
from phasescope.synapses.sensitivity import PictureSensitivity

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Make = Callable[[Tensor], Property]
Control = Literal["untrained", "permuted"]

_WINDOW = 8  # a window is this fraction of the longer side of the picture


@dataclass(frozen=True)
class Atlas(Result):
    """Ensembles of all regions and properties of a picture; :func:`atlas` makes it.

    Arrays have a row for each property and a column for each region.

    Parameters
    ----------
    properties : tuple of str
        Names.
    regions : tensor of bool, shape (regions, height, width)
        The regions.
    exists : array of bool, shape (properties, regions)
        Whether the property exists there; a border shift needs a border. What follows is 0 where it does not.
    share : array, shape (properties, regions)
        Largest share of a single weight.
    best : array of int, shape (properties, regions)
        That weight; -1 where none counts.
    carried : array, shape (properties, regions)
        Which share of the sum of along over all weights it carries.
    members : array of bool, shape (properties, regions, weights)
        The fewest weights that cover the property, in the unit of change `unit`.
    contrast : array, shape (regions,)
        Standard deviation of the picture's colours inside, over pixels, rms over channels.
    rank : array, shape (properties, regions)
        ``(1 + other regions with a share as large) / (1 + other regions)``; NaN where there is no property.
    p : dict of array, shape (properties, regions)
        For each control the same against the regions of its networks.
    beaten : dict of array of bool, shape (properties, regions)
        For each control whether the share is larger than there, corrected for all that were tried.
    certified : array of bool, shape (properties, regions)
        Whether every control is beaten.
    level : float
        Which share of the certified may be false.
    cover : float
        Share of the sum of (g u)^2 that a set of members covers.
    unit : {"one", "weight", "rms"}
        Unit of change of the members.
    groups : array of int, shape (weights,)
        The unit of the network that each weight enters.
    steps : array of int, shape (units,)
        Synapses on the shortest way from each unit to an output.
    """

    properties: tuple[str, ...]
    regions: Tensor = field(repr=False)
    exists: Bool = field(repr=False)
    share: Array = field(repr=False)
    best: NDArray[np.int64] = field(repr=False)
    carried: Array = field(repr=False)
    members: Bool = field(repr=False)
    contrast: Array = field(repr=False)
    rank: Array = field(repr=False)
    p: dict[Control, Array] = field(repr=False)
    beaten: dict[Control, Bool] = field(repr=False)
    certified: Bool = field(repr=False)
    level: float
    cover: float
    unit: Unit
    groups: NDArray[np.int64] = field(repr=False)
    steps: NDArray[np.int64] = field(repr=False)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Weights of each ensemble, shape (properties, regions)."""
        return np.asarray(self.members.sum(-1), dtype=np.int64)

    @property
    def entered(self) -> Bool:
        """Which units each ensemble enters, shape (properties, regions, units)."""
        into = self.groups[:, None] == np.arange(len(self.steps))
        entered: Bool = self.members @ into
        return entered

    @property
    def neurons(self) -> NDArray[np.int64]:
        """Number of units that each ensemble enters, shape (properties, regions)."""
        return np.asarray(self.entered.sum(-1), dtype=np.int64)

    def certified_share(self, control: Control | None = None) -> dict[str, Estimate]:
        """Return for each property which share of the regions that have it is certified, with its error.

        Parameters
        ----------
        control : {"untrained", "permuted"}, optional
            Certified against one control; by default against all.
        """
        kept = self.certified if control is None else self.beaten[control]
        shares = {}
        for name, has, passed in zip(self.properties, self.exists, kept, strict=True):
            count = int(has.sum())
            if not count:
                shares[name] = Estimate.not_determined("no region has it", method="certified regions")
                continue
            share = passed.sum() / count
            error = float(np.sqrt(share * (1 - share) / count))
            shares[name] = Estimate(float(share), error, "certified regions, as if independent", count)
        return shares

    def serves(self, *, certified: bool = False) -> NDArray[np.int64]:
        """Return how many ensembles each unit has a part in, shape (units,).

        Parameters
        ----------
        certified : bool
            Count certified ensembles alone.
        """
        kept = self.exists & self.certified if certified else self.exists
        return np.asarray(self.entered[kept].sum(0), dtype=np.int64)

    def by_distance(self, *, certified: bool = False) -> list[tuple[int, int, float]]:
        """Return for each distance to the output: steps, number of units, mean ensembles of a unit.

        Parameters
        ----------
        certified : bool
            Count certified ensembles alone.
        """
        counts = self.serves(certified=certified)
        return [
            (int(step), int((self.steps == step).sum()), float(counts[self.steps == step].mean()))
            for step in np.unique(self.steps)
        ]

    @property
    def idle(self) -> NDArray[np.int64]:
        """Units that have a part in no ensemble."""
        return np.flatnonzero(self.serves() == 0)

    def overlaps(self, prop: int | str = 0) -> Array:
        """Return the Jaccard index of each pair of regions' ensembles, shape (regions, regions).

        The weights in both over those in one of them; NaN where the property does not exist.

        Parameters
        ----------
        prop : int or str
            Which property.
        """
        row = self._row(prop)
        sets = self.members[row].astype(np.float64)
        both = sets @ sets.T
        sizes = sets.sum(1)
        union = sizes[:, None] + sizes - both
        overlaps = np.divide(both, union, out=np.full_like(both, np.nan), where=union > 0)
        missing = ~self.exists[row]
        overlaps[missing] = np.nan
        overlaps[:, missing] = np.nan
        return np.asarray(overlaps)

    def overlap(self, prop: int | str = 0) -> float:
        """Return the mean Jaccard index of ensembles of regions that have no pixel in common; NaN for none.

        Parameters
        ----------
        prop : int or str
            Which property.
        """
        flat = self.regions.flatten(1).double()
        apart = (flat @ flat.T == 0).cpu().numpy()
        values: Array = self.overlaps(prop)[np.triu(apart)]
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def table(self) -> list[dict[str, float | str]]:
        """Return a row for each property, ready for a table: medians over the regions that have it."""
        rows: list[dict[str, float | str]] = []
        shares = self.certified_share()
        for row, name in enumerate(self.properties):
            has = self.exists[row]
            middle = {
                key: float(np.median(values[row][has])) if has.any() else float("nan")
                for key, values in (("share", self.share), ("weights", self.sizes), ("units", self.neurons))
            }
            rows.append(
                {
                    "property": name,
                    "regions": int(has.sum()),
                    "certified": shares[name].value,
                    "certified_error": shares[name].error,
                    **{f"against {control}": self._against(control)[row] for control in self.p},
                    **middle,
                    "overlap": self.overlap(row),
                }
            )
        return rows

    def __str__(self) -> str:
        against = [f"against {control}" for control in self.p]
        titles = ["regions", *against, "certified", "share", "weights", "units", "overlap"]
        lines = [
            f"{len(self.regions)} regions, {len(self.properties)} properties; of what is certified, or beats "
            f"one control, {100 * self.level:.3g} % may be false",
            f"  {'property':<16}" + "".join(f"{title:>{max(9, len(title) + 2)}}" for title in titles),
        ]
        for row in self.table():
            cells = [f"{row[title]:>{max(9, len(title) + 2)}.3g}" for title in titles]
            lines.append(f"  {row['property']:<16}" + "".join(cells))
        lines.append("  steps to the output: ensembles of a unit, mean")
        lines += [f"  {step:>5} ({count} units): {mean:.1f}" for step, count, mean in self.by_distance()]
        lines.append(f"  units in no ensemble: {', '.join(map(str, self.idle)) or 'none'}")
        return "\n".join(lines)

    def _against(self, control: Control) -> list[float]:
        return [share.value for share in self.certified_share(control).values()]

    def _row(self, prop: int | str) -> int:
        if isinstance(prop, int):
            return prop
        if prop not in self.properties:
            raise InputError(f"There is no property {prop!r}.", f"Choose among {', '.join(self.properties)}.")
        return self.properties.index(prop)


def atlas(
    sensitivity: PictureSensitivity,
    properties: Mapping[str, Make] | None = None,
    *,
    regions: int | Tensor | Sequence[Tensor] = 200,
    window: tuple[int, int] | None = None,
    controls: Sequence[Control] = ("untrained", "permuted"),
    networks_each: int = 3,
    level: float = 0.05,
    cover: float = 0.9,
    unit: Unit = "rms",
    seed: int | np.random.Generator = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Atlas:
    """Return the ensembles of all regions and all properties of a picture, and which are more than chance.

    Shares, sets and the floor below which a weight does not count are those of :func:`ensemble` and
    :func:`nulls`. Among all regions of one network the ranks of shares are evenly spread whatever it has
    learnt: exactly `level` of them are among the best. So other places certify one region chosen beforehand,
    not an atlas. Here each share is ranked among those of the same regions in control networks: `untrained`
    ones, and the given one with the weights into each unit permuted. Of the p-values against a control, over
    all properties and regions, those are kept which the rule of Benjamini and Hochberg (1995) keeps, so that
    of the certified at most the share `level` is false on average. Certified is what is kept against every
    control.

    Parameters
    ----------
    sensitivity : PictureSensitivity
        Of the network, on a grid of pixels.
    properties : dict of callable, optional
        Names, and functions that take a mask and return the property of that region. By default the region
        itself, mean colour, the three balances, region energy, area, centroids, tilt, widths, border shift.
    regions : int or tensor of bool, shape (regions, height, width)
        About how many windows on an even grid, overlapping where they must; or the regions themselves.
    window : (int, int), optional
        Height and width of a window, by default an eighth of the longer side.
    controls : sequence of {"untrained", "permuted"}
        Which networks to compare with; with none nothing is certified.
    networks_each : int
        Networks of each control; each gives as many shares as there are regions.
    level : float
        In (0, 1).
    cover : float
        In (0, 1].
    unit : {"one", "weight", "rms"}
        Unit of change of the sets.
    seed : int or numpy.random.Generator
        Of the controls.
    progress : callable, optional
        Called with the number of steps done and of all; a step is one property in one network.

    Raises
    ------
    InputError
        If the sensitivity is none of a picture, a window does not fit, or a setting is out of range.

    Notes
    -----
    Cost: for each network, property and region one gradient of the property and one sum over the region's
    pixels: 1 ms at 64 x 96 with 497 weights, so some 20 s for 200 regions, 13 properties and 7 networks; no
    more than 1 s for the first property, the region itself. Memory: one number for each region and weight.

    Fails: windows that overlap, and shares of one network, are not independent; the correction takes them as
    if they were. Three networks of each control show their spread badly: use more for a claim.
    """
    if not isinstance(sensitivity, PictureSensitivity) or len(sensitivity.shape) != 2:
        raise InputError("The sensitivity is none of a picture.", "Use sensitivity(net, height, width).")
    _check(controls, networks_each, level, cover, unit)
    rng = np.random.default_rng(seed)
    masks = _regions(sensitivity, regions, window)
    makes = _every(sensitivity) if properties is None else dict(properties)
    if not makes:
        raise InputError("There are no properties.", "Name at least one.")
    names, size = tuple(makes), sensitivity.size
    steps = len(names) * (1 + len(controls) * networks_each)
    done = 0

    def shares_of(
        view: PictureSensitivity, make: Make, floor: float | None
    ) -> tuple[Tensor, Tensor, Bool, float]:
        nonlocal done
        along, beside, exists = at_places(view, make, masks)
        done += 1
        if progress is not None:
            progress(done, steps)
        own = FLOOR**2 * float(along.max()) if len(along) else 0.0
        return along, beside, exists, own if floor is None else floor

    shape = (len(names), len(masks))
    exists, share, carried = np.zeros(shape, dtype=bool), np.zeros(shape), np.zeros(shape)
    best = np.full(shape, -1)
    members = np.zeros((*shape, size), dtype=bool)
    floors = []
    scale = _scale(sensitivity, unit)
    for row, make in enumerate(makes.values()):
        along, beside, has, floor = shares_of(sensitivity, make, None)
        floors.append(floor)
        exists[row] = has
        if not len(along):
            continue
        share[row, has], _, chosen = best_shares(along, beside, floor, 1)
        best[row, has] = chosen[:, 0]
        part = along / along.sum(1, keepdim=True).clamp(min=torch.finfo(along.dtype).tiny)
        carried[row, has] = np.where(
            chosen[:, 0] >= 0, np.take_along_axis(part.cpu().numpy(), chosen.clip(0), 1)[:, 0], 0
        )
        members[row, has] = _fewest(along, scale, unit, cover)
    p: dict[Control, Array] = {}
    beaten: dict[Control, Bool] = {}
    counts = exists & (best >= 0)
    for control in controls:
        found: list[list[Array]] = [[] for _ in names]
        for view in networks(control, sensitivity, networks_each, (), rng)[0]:
            assert isinstance(view, PictureSensitivity)
            for row, make in enumerate(makes.values()):
                along, beside, _, floor = shares_of(view, make, floors[row])
                found[row].append(best_shares(along, beside, floor, 1)[0] if len(along) else np.empty(0))
        p[control] = np.full(shape, np.nan)
        for row, values in enumerate(found):
            p[control][row, exists[row]] = _ranks(share[row, exists[row]], np.concatenate(values))
        beaten[control] = counts.copy()
        beaten[control][exists] &= _kept(p[control][exists], level)
    rank = np.full(shape, np.nan)
    for row, has in enumerate(exists):
        rank[row, has] = _ranks(share[row, has], share[row, has], own=True)
    return Atlas(
        names,
        masks,
        exists,
        share,
        best,
        carried,
        members,
        _contrast(sensitivity.output, masks),
        rank,
        p,
        beaten,
        np.logical_and.reduce([counts, *beaten.values()]) if beaten else np.zeros(shape, dtype=bool),
        level,
        cover,
        unit,
        sensitivity.groups.cpu().numpy(),
        sensitivity.net.wiring.steps_to_output,
    )


def _every(sensitivity: PictureSensitivity) -> dict[str, Make]:
    """Return the properties that an atlas has by default."""
    makes: dict[str, Make] = {"region": Region, "mean colour": MeanColour}
    channels = sensitivity.output.shape[-1]
    if channels == 3:
        colours = ("red", "green", "blue")
        makes |= {f"{colours[c]} balance": partial(ColourBalance, c) for c in range(3)}
    makes["region energy"] = RegionEnergy
    makes["area"] = lambda mask: Area(mask=mask)
    for axis in ("x", "y"):
        makes[f"{axis} centroid"] = partial(_along, Centroid, axis)
    makes["tilt"] = lambda mask: Tilt(mask=mask)
    for axis in ("x", "y"):
        makes[f"{axis} width"] = partial(_along, Width, axis)
    makes["border shift"] = partial(BorderShift, sensitivity.output)
    return makes


def _along(kind: Callable[..., Property], axis: str, mask: Tensor) -> Property:
    return kind(axis, mask=mask)


def _regions(
    sensitivity: PictureSensitivity, regions: int | Tensor | Sequence[Tensor], window: tuple[int, int] | None
) -> Tensor:
    """Return the regions as a tensor of masks."""
    height, width = sensitivity.shape
    if not isinstance(regions, int):
        if window is not None:
            raise InputError(
                "Both regions and a window are given.", "Give a number of regions, or no window."
            )
        masks = [as_mask(mask) for mask in regions]
        wrong = next((mask for mask in masks if tuple(mask.shape) != sensitivity.shape), None)
        if wrong is not None or not masks:
            shape = "none" if wrong is None else tuple(wrong.shape)
            raise InputError(f"A region has shape {shape}.", f"The picture has {sensitivity.shape}.")
        return torch.stack(masks).to(sensitivity.output.device)
    if regions < 1:
        raise InputError(f"regions={regions}.", "Use at least 1.")
    side = max(1, max(height, width) // _WINDOW)
    tall, broad = (min(side, height), min(side, width)) if window is None else window
    if not (1 <= tall <= height and 1 <= broad <= width):
        raise InputError(f"A window of {tall} x {broad}.", f"It must fit into {height} x {width}.")
    first = torch.zeros(height, width, dtype=torch.bool, device=sensitivity.output.device)
    first[:tall, :broad] = True
    places = Places(first)
    down, across = height - tall + 1, width - broad + 1
    rows = min(down, max(1, round(np.sqrt(regions * down / across))))
    columns = min(across, max(1, round(regions / rows)))
    tops, lefts = (
        np.unique(np.linspace(0, last, number).round().astype(int)) if number > 1 else np.array([last // 2])
        for last, number in ((down - 1, rows), (across - 1, columns))
    )
    return places.masks((tops[:, None] * across + lefts).reshape(-1))


def _scale(sensitivity: PictureSensitivity, unit: Unit) -> Tensor:
    """Return the square of the unit of change of each weight, 0 for a map that is zero."""
    if unit == "one":
        return torch.ones_like(sensitivity.weights)
    if unit == "weight":
        return sensitivity.weights.square()
    square = sensitivity.rms.square()
    return torch.where(square > 0, 1 / square.clamp(min=torch.finfo(square.dtype).tiny), 0.0)


def _fewest(along: Tensor, scale: Tensor, unit: Unit, cover: float) -> Bool:
    """Return for each row the fewest weights with the covered share of the sum, as ensemble chooses them."""
    squares = along * scale
    if unit == "rms":
        squares = squares * (along >= FLOOR**2 * along.amax(1, keepdim=True))
    values, order = squares.sort(dim=1, descending=True, stable=True)
    sums = values.cumsum(1)
    before = torch.cat([torch.zeros_like(sums[:, :1]), sums[:, :-1]], 1)
    taken = before < cover * sums[:, -1:] * (1 - 1e-12)
    return np.asarray(torch.zeros_like(taken).scatter(1, order, taken).cpu())


def _ranks(values: Array, among: Array, *, own: bool = False) -> Array:
    """Return (1 + those that reach a value) / (1 + all); `own` if each value is one of them itself."""
    ordered = np.sort(among)
    reach = len(ordered) - np.searchsorted(ordered, values, side="left") - own
    return np.asarray((1 + reach) / (1 + len(ordered) - own))


def _kept(p: Array, level: float) -> Bool:
    """Return which p-values the rule of Benjamini and Hochberg keeps."""
    ordered = np.sort(p)
    passed = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / max(len(p), 1))
    return np.asarray(p <= ordered[passed[-1]]) if len(passed) else np.zeros(len(p), dtype=bool)


def _contrast(picture: Tensor, masks: Tensor) -> Array:
    return np.array([float(picture[mask].var(0, correction=0).mean().sqrt()) for mask in masks])


def _check(controls: Sequence[Control], each: int, level: float, cover: float, unit: Unit) -> None:
    unknown = [control for control in controls if control not in ("untrained", "permuted")]
    if unknown:
        raise InputError(f"controls={list(controls)} are no networks.", "Choose untrained, permuted or both.")
    if each < 1:
        raise InputError(f"networks_each={each}.", "Use at least 1.")
    if not 0 < level < 1:
        raise InputError(f"level={level} is no chance.", "Use a number between 0 and 1, such as 0.05.")
    if not 0 < cover <= 1:
        raise InputError(f"cover={cover} is no share.", "Use a number in (0, 1], 0.9 by default.")
    if unit not in ("one", "weight", "rms"):
        raise InputError(f"{unit!r} is no unit of change.", "Use one, weight or rms.")
