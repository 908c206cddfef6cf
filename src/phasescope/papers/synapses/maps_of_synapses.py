"""Maps of synapses beside maps of neurons: what there is to see, how sharp it is, and where in the cascade.

The activation map of a neuron is its value at every pixel, less its median. The perturbation map of a synapse
is the change of the picture to first order, J[s]; that of a neuron is the same for its bias. How much of a
map moves borders, and how much changes colours, is read in small tiles: the share of its energy there that
one displacement explains, J = u . grad f with two numbers u a tile, and the share that one change of colour
explains, three numbers a tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import spearmanr
from torch import Tensor

from phasescope import plotting
from phasescope.papers.synapses import shared
from phasescope.papers.synapses.shared import ARTICLE, KINDS, STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Part, Table, Variable
from phasescope.sweep.task import Task
from phasescope.synapses import (
    Perturbation,
    PictureNet,
    PictureSensitivity,
    activation_maps,
    perturb,
    sensitivity,
    thinned_cascade,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

PICTURES = ("original", *KINDS)  # of which elements are counted
PROMINENCES = (0.05, 0.1, 0.2, 0.4)  # of an extremum, of colours that span 2
_ASKED = 0.1  # the prominence of the claim
_TOGETHER = 2  # pixels between extrema of different colours that are one element
_LEVELS, _FEWEST = 4, 4  # levels of each colour, and pixels, of a region of even colour
_HELD = (0.9, 0.99, 0.999)  # shares of the energy of all maps that directions hold
_TILES = 16  # along the longer side
_EARLY = 11  # hidden units that count as early, and as late those of the last third

VARIABLES = {
    "target": Variable(("row", "column", "channel"), "the picture to be learned"),
    "weights": Variable(("weight",), "of the trained network"),
    "rmse": Variable((), "of the trained network's picture"),
    "extent": Variable(("kind", "weight"), "share of the picture that the map of a weight covers"),
    "unit_extent": Variable(("kind", "unit"), "the same of the activation map of a unit, less its median"),
    "displacing": Variable(("kind", "weight"), "share of a map that displacements of tiles explain"),
    "colouring": Variable(("kind", "weight"), "share of a map that changes of the tiles' colours explain"),
    "balance": Variable(("kind", "weight"), "share of a map that changes the balance of colours"),
    "rms": Variable(("kind", "weight"), "rms of a map, for a change of the weight by 1"),
    "extrema": Variable(("picture_kind", "prominence"), "extrema of the three colours"),
    "regions": Variable(("picture_kind",), "connected regions of even colour"),
    "handles": Variable(("kind", "held"), "directions that hold 90, 99 and 99.9 % of the energy of all maps"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network."""
    return [
        Task(STUDY, "maps-of-synapses", known, seconds=2 + shared.training_seconds(known), memory=10**9)
        for known in shared.networks(config)
    ]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return extents and kinds of all maps of a network and of its two controls, and counts of elements."""
    found = shared.trained(task.parameters)
    views = found.kinds(task.seed)
    seen = [_maps_of(view, max(3, max(found.size) // _TILES)) for view in views]
    pictures = [found.target, *(view.picture for view in views)]
    elements = [prominences(picture.numpy()) for picture in pictures]
    return {
        "target": found.target.numpy().astype(np.float32),
        "weights": found.net.weights.detach().numpy(),
        "rmse": found.rmse,
        **{name: np.array([each[name] for each in seen]) for name in seen[0]},
        "extrema": np.array([[(each >= h).sum() for h in PROMINENCES] for each in elements]),
        "regions": np.array([even_regions(p.numpy()) for p in pictures]),
    }


def _maps_of(view: PictureSensitivity, side: int) -> dict[str, NDArray[Any]]:
    """Return what the maps of one network are like."""
    maps = view.maps()
    total = maps.square().sum((1, 2, 3)).clamp(min=1e-300)
    activations = view.sweeps.activations
    activations = activations - activations.median(1, keepdim=True).values
    tiled = _tiled(maps, side)
    fields = torch.stack([_tiled(field, side) for field in _displacements(view)], dim=-1)
    even = torch.eye(3, dtype=maps.dtype).repeat(side * side, 1).expand(len(fields), -1, -1)
    spectrum = torch.linalg.eigvalsh(view.gram()).flip(0).clamp(min=0).cumsum(0)
    return {
        "extent": shared.extent(maps).numpy(),
        "unit_extent": shared.extent(activations.reshape(-1, *view.shape, 1)).numpy(),
        "displacing": _explained(tiled, fields).numpy(),
        "colouring": _explained(tiled, even).numpy(),
        "balance": ((maps - maps.mean(-1, keepdim=True)).square().sum((1, 2, 3)) / total).numpy(),
        "rms": view.rms.numpy(),
        "handles": np.array([int((spectrum < held * spectrum[-1]).sum()) + 1 for held in _HELD]),
    }


def _displacements(view: PictureSensitivity) -> list[Tensor]:
    """Return how the picture changes when it is moved along x, and along y."""
    points = view.points.clone().requires_grad_()
    outputs = view.net(points)
    slopes = [torch.autograd.grad(colour.sum(), points, retain_graph=True)[0] for colour in outputs.unbind(1)]
    return [torch.stack([s[:, axis] for s in slopes], dim=-1).reshape(view.output.shape) for axis in (0, 1)]


def _tiled(fields: Tensor, side: int) -> Tensor:
    """Return (..., height, width, channels) as (..., tiles, numbers of a tile); what is left over is cut."""
    down, across = fields.shape[-3] // side, fields.shape[-2] // side
    cut = fields[..., : down * side, : across * side, :]
    cut = cut.reshape(*fields.shape[:-3], down, side, across, side, fields.shape[-1]).movedim(-4, -3)
    return cut.reshape(*fields.shape[:-3], down * across, -1)


def _explained(tiled: Tensor, bases: Tensor) -> Tensor:
    """Return the share of each map's energy in the span of each tile's own basis (tiles, numbers, k)."""
    basis, scales, _ = torch.linalg.svd(bases, full_matrices=False)
    basis = basis * (scales > 1e-9 * scales.amax())[:, None, :]
    inside = torch.einsum("wtn,tnk->wtk", tiled, basis).square().sum((1, 2))
    return inside / tiled.square().sum((1, 2)).clamp(min=1e-300)


def prominences(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the prominence of each maximum and minimum of the three colours, largest first.

    It is how much the colour must fall on the way to any higher maximum (likewise for minima). Extrema of one
    sign in different colours, at most two pixels apart, are one element: that of the largest prominence.
    Those below the least of PROMINENCES are left out.
    """
    width, found = picture.shape[1], []
    for sign in (1, -1):
        spots = [
            (height, divmod(place, width), channel)
            for channel in range(picture.shape[2])
            for place, height in _peaks(sign * picture[..., channel])
            if height >= PROMINENCES[0]
        ]
        taken: list[tuple[tuple[int, int], set[int]]] = []
        for height, (row, column), channel in sorted(spots, key=lambda spot: -spot[0]):
            near = (
                seen
                for (y, x), seen in taken
                if max(abs(y - row), abs(x - column)) <= _TOGETHER and channel not in seen
            )
            same = next(near, None)
            if same is None:
                taken.append(((row, column), {channel}))
                found.append(height)
            else:
                same.add(channel)
    return np.sort(found)[::-1]


def _peaks(field: NDArray[Any]) -> list[tuple[int, float]]:
    """Return the pixel and the prominence of each maximum, by flooding from the top."""
    height, width = field.shape
    values = field.ravel()
    order = np.argsort(-values, kind="stable").tolist()
    parent = [-1] * len(order)
    peaks = []

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i in order:
        parent[i] = i
        row, column = divmod(i, width)
        for y in range(max(0, row - 1), min(height, row + 2)):
            for x in range(max(0, column - 1), min(width, column + 2)):
                if parent[y * width + x] < 0:
                    continue
                one, other = top(i), top(y * width + x)
                if one != other:
                    low, high = sorted((one, other), key=lambda k: values[k])
                    if low != i:
                        peaks.append((low, float(values[low] - values[i])))
                    parent[low] = high
    return [*peaks, (order[0], float(values[order[0]] - values.min()))]


def even_regions(picture: NDArray[Any]) -> int:
    """Return the number of connected regions of even colour: four levels a colour, four pixels or more."""
    levels = np.floor((picture + 1) / 2 * _LEVELS).clip(0, _LEVELS - 1).astype(int)
    codes = levels @ _LEVELS ** np.arange(picture.shape[2])
    found = 0
    for code in np.unique(codes):
        labels, _ = ndimage.label(codes == code)
        found += int((np.bincount(labels.ravel())[1:] >= _FEWEST).sum())
    return found


@dataclass(frozen=True)
class Numbers:
    """All maps, and one number a network and kind for each claim."""

    data: xr.Dataset
    net: PictureNet  # that the figures show: of the first picture, the best
    view: PictureSensitivity
    target: NDArray[Any]
    rmse: float
    sharper: NDArray[Any]  # ln of the extent of activation maps over that of synapses' maps, medians
    than_neuron: NDArray[Any]  # the same with the perturbation maps of neurons above
    rising: NDArray[Any]  # rank correlation of extent and the place of the target among all units
    turning: NDArray[Any]  # the same of colouring less displacing
    turning_hidden: NDArray[Any]  # the same of hidden units alone
    difference: NDArray[Any]  # colouring less displacing of (early, late, output) synapses, medians

    @property
    def units(self) -> int:
        """Number of neurons."""
        return self.net.wiring.units

    def thirds(self) -> dict[str, NDArray[Any]]:
        """Which synapses enter early, middle and late hidden units, and outputs."""
        return _thirds(self.net)


def _thirds(net: PictureNet) -> dict[str, NDArray[Any]]:
    targets = net.wiring.targets[: net.wiring.synapses]
    hidden = net.wiring.units - len(net.wiring.outputs)
    return {
        "early": targets < _EARLY,
        "middle": (targets >= _EARLY) & (targets < hidden - _EARLY),
        "late": (targets >= hidden - _EARLY) & (targets < hidden),
        "outputs": targets >= hidden,
    }


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    rmse = data["rmse"].values
    best = int(np.argmin(np.where(data["picture"].values == config.pictures[0], rmse, np.inf)))
    one = data.isel(task=best)
    target = one["target"].dropna("row", how="all").dropna("column", how="all").values
    net = PictureNet(thinned_cascade(shared.HIDDEN), one["weights"].values)
    synapses, thirds = net.wiring.synapses, _thirds(net)
    targets = net.wiring.targets[:synapses]
    hidden = ~thirds["outputs"]
    extent = data["extent"].values
    kind = (data["colouring"] - data["displacing"]).values[..., :synapses]
    middle = np.median(extent[..., :synapses], -1)
    return Numbers(
        data,
        net,
        sensitivity(net, *target.shape[:2]),
        target,
        float(rmse[best]),
        np.log(np.median(data["unit_extent"].values, -1) / middle),
        np.log(np.median(extent[..., synapses:], -1) / middle),
        _ranks(extent[..., :synapses], targets),
        _ranks(kind, targets),
        _ranks(kind[..., hidden], targets[hidden]),
        np.stack([np.median(kind[..., chosen], -1) for chosen in thirds.values()], axis=-1),
    )


def _ranks(values: NDArray[Any], places: NDArray[Any]) -> NDArray[Any]:
    """Return rank correlations along the last axis with the places."""
    flat = values.reshape(-1, values.shape[-1])
    return np.array([spearmanr(row, places).statistic for row in flat]).reshape(values.shape[:-1])


def claims(n: Numbers) -> list[Check]:
    """Return the claims of elements, of sharpness, and of places in the cascade."""
    return [*_elements(n), *_sharpness(n), *_places(n)]


def _elements(n: Numbers) -> list[Check]:
    asked = PROMINENCES.index(_ASKED)
    made = []
    for name, what, values in (
        ("extrema", f"extrema of a colour by {_ASKED} of 2", n.data["extrema"].values[..., asked]),
        ("regions", "connected regions of even colour", n.data["regions"].values),
    ):
        for index, kind in ((0, "the picture"), (1, "what the network paints")):
            found = over_networks(values[:, index])
            made.append(
                Claim(
                    f"elements-{name}-{'picture' if index == 0 else 'painted'}",
                    f"A picture has more elements than the network has neurons: {what}, in {kind}.",
                    ARTICLE,
                ).positive(
                    found - n.units,
                    note=f"Counted: {found}, less {n.units} neurons; an untrained network paints "
                    f"{over_networks(values[:, 2])}. What an element is, was chosen here; the figure has "
                    "other thresholds.",
                )
            )
    return made


def _sharpness(n: Numbers) -> list[Check]:
    how = "ln of the median extent of activation maps over that of synapses' maps"
    trained, without, moved = (over_networks(n.sharper[:, k], how) for k in range(3))
    return [
        Claim(
            "sharper-than-activations",
            "Maps of synapses are sharper than activation maps of neurons.",
            ARTICLE,
        ).positive(
            trained,
            note=f"Untrained: {without}, permuted weights: {moved}.",
        ),
        Claim(
            "sharper-by-learning",
            "Maps of synapses are sharper than activation maps by more than in an untrained network.",
            "the claim above against its control",
        ).positive(over_networks(n.sharper[:, 0] - n.sharper[:, 1], f"{how}, less the untrained one's")),
        Claim(
            "sharper-than-permuted",
            "Maps of synapses are sharper than activation maps by more than with permuted weights.",
            "the claim above against its control",
        ).positive(
            over_networks(n.sharper[:, 0] - n.sharper[:, 2], f"{how}, less that of permuted weights"),
            note="Large weights alone saturate units and so confine maps: sharpness is no sign of learning "
            "where this does not agree.",
        ),
        Claim(
            "sharper-than-neurons-perturbed",
            "A map of a synapse is sharper than the map of the same kind of a neuron, made by its bias.",
            "control: a perturbation of neurons instead of synapses",
        ).positive(
            over_networks(n.than_neuron[:, 0], "ln of the median extent of biases' maps over synapses'"),
            note="Where this does not agree, it is perturbing that sharpens, of a neuron as of a synapse.",
        ),
    ]


def _places(n: Numbers) -> list[Check]:
    made = []
    for name, sentence, values in (
        (
            "extent-rises",
            "The nearer a synapse is to the outputs, the more of the picture it moves.",
            n.rising,
        ),
        (
            "geometry-to-colour",
            "Early synapses move borders, late ones change colours.",
            n.turning,
        ),
        (
            "geometry-to-colour-hidden",
            "Early synapses move borders, late ones change colours, among hidden units alone.",
            n.turning_hidden,
        ),
    ):
        how = "rank correlation with the place of the target unit"
        rest = over_networks(values[:, 1], how), over_networks(values[:, 2], how)
        made.append(
            Claim(name, sentence, ARTICLE).positive(
                over_networks(values[:, 0], how),
                note=f"Untrained: {rest[0]}, permuted weights: {rest[1]}.",
            )
        )
        for index, control in ((1, "in an untrained network"), (2, "with permuted weights")):
            made.append(
                Claim(
                    f"{name}-{KINDS[index]}",
                    f"The same rises more steeply than {control}.",
                    "the claim above against its control",
                ).positive(over_networks(values[:, 0] - values[:, index], f"{how}, less the control's"))
            )
    early, outputs = (over_networks(n.difference[:, 0, k]) for k in (0, 3))
    made.append(
        Claim(
            "early-move-borders", "The maps of early synapses are displacements of borders.", ARTICLE
        ).positive(
            -early, note="Measured: share that displacements explain, less the share that colours explain."
        )
    )
    made.append(
        Claim(
            "outputs-colour", "The maps of synapses into the outputs are changes of colour.", ARTICLE
        ).positive(
            outputs,
            note="Measured: share that colours explain, less the share that displacements explain. Partly a "
            "fact of structure: such a synapse changes one colour alone.",
        )
    )
    return made


def tables(n: Numbers) -> list[Table]:
    picture = n.data["picture"].values
    rows = []
    for name in dict.fromkeys(picture.tolist()):
        chosen = picture == name
        for index, kind in enumerate(KINDS):
            extent = n.data["extent"].values[chosen, index]
            synapses = n.net.wiring.synapses
            cells = [extent[:, :synapses], n.data["unit_extent"].values[chosen, index]]
            cells += [extent[:, :synapses][:, mask] for mask in n.thirds().values()]
            rows.append(
                [name, kind, *(f"{_middle(cell):.3f}" for cell in cells)]
                + [f"{_middle(n.data['balance'].values[chosen, index][:, :synapses]):.2f}"]
                + [f"{over_networks(n.data['rms'].values[chosen, index].mean(-1)).value:.2f}"]
                + [f"{value:.0f}" for value in n.data["handles"].values[chosen, index].mean(0)]
            )
    columns = [
        "picture",
        "weights",
        "extent, synapses",
        "extent, neurons",
        *(f"into {k}" for k in n.thirds()),
    ]
    columns += ["colour balance", "mean rms", "directions 90 %", "99 %", "99.9 %"]
    return [Table("Maps by picture: medians over synapses, and means over networks", columns, rows)]


def _middle(values: NDArray[Any]) -> float:
    """Return the mean over networks of the median over the rest."""
    return float(np.median(values, -1).mean())


def notes(n: Numbers) -> list[str]:
    return [
        "The article's wiring, picture and training are not known. Here: a cascade in which each of 34 "
        "hidden units reads x, y and up to 14 units before it, outputs read the last 7; 460 synapses and "
        "37 biases; trained by a fixed number of steps of Levenberg-Marquardt.",
        "Extent is the participation ratio of a map's energy, as a share of the picture. Activation maps are "
        "taken less their median, the choice that makes them look sharpest.",
        f"Early and late hidden units are the first and the last {_EARLY}. Errors are over networks of all "
        "pictures, widened for their small number.",
    ]


def draw_original(axes: Axes, n: Numbers) -> None:
    shared.show(axes, n.target, "Original")


def draw_painted(axes: Axes, n: Numbers) -> None:
    shared.show(axes, n.view.picture, "Painted by 37 neurons", f"{n.rmse:.3f}")


def draw_neurons(axes: Axes, n: Numbers) -> None:
    maps = activation_maps(n.net, *n.target.shape[:2])[..., None].expand(-1, -1, -1, 3)
    shared.show(axes, shared.montage(maps, 7), "Neurons 0 to 36")


def draw_synapses(axes: Axes, n: Numbers) -> None:
    """Draw the strongest synapse of each neuron, each map on its own scale."""
    shared.show(axes, shared.montage(shared.scaled(n.view.maps(_strongest(n))), 7), "Synapses into them")


def _strongest(n: Numbers) -> list[int]:
    """Return for each neuron the synapse into it that moves the picture most, for its size."""
    strength = (n.view.rms * n.view.weights.abs()).numpy()[: n.net.wiring.synapses]
    targets = n.net.wiring.targets[: n.net.wiring.synapses]
    return [int(np.flatnonzero(targets == i)[np.argmax(strength[targets == i])]) for i in range(n.units)]


def _perturbed(n: Numbers) -> tuple[int, float]:
    """Return an early synapse of middling extent, and a change that moves the picture by an rms of 0.1."""
    early = np.flatnonzero(n.thirds()["early"])
    strength = (n.view.rms * n.view.weights.abs()).numpy()[early]
    synapse = int(early[np.argmax(strength)])
    return synapse, 0.1 / float(n.view.rms[synapse])


def _moved(n: Numbers) -> Perturbation:
    return perturb(n.net, *_perturbed(n), *n.target.shape[:2])


def draw_lower(axes: Axes, n: Numbers) -> None:
    synapse, size = _perturbed(n)
    title = f"Synapse {synapse} at {float(n.view.weights[synapse]) - size:.2f}"
    shared.show(axes, _moved(n).lower, title)


def draw_higher(axes: Axes, n: Numbers) -> None:
    synapse, size = _perturbed(n)
    shared.show(axes, _moved(n).higher, f"at {float(n.view.weights[synapse]) + size:.2f}")


def draw_difference(axes: Axes, n: Numbers) -> None:
    shared.show_change(axes, _moved(n).difference, "Difference")


def draw_elements(axes: Axes, n: Numbers) -> None:
    # The controls keep their colours from panel to panel.
    for index, (kind, colour) in enumerate(zip(PICTURES, [plotting.INK, *colours(3)], strict=True)):
        counts = n.data["extrema"].values[:, index].mean(0)
        axes.plot(PROMINENCES, counts, "o-", ms=3, color=colour, label=kind)
    axes.axhline(n.units, color=plotting.THEORY, lw=0.9, label=f"{n.units} neurons")
    axes.set(xscale="log", yscale="log", title="Elements", xlabel="prominence, of 2", ylabel="extrema")
    plain_ticks(axes)
    legend(axes)


def draw_extents(axes: Axes, n: Numbers) -> None:
    synapses = n.net.wiring.synapses
    for index, (kind, colour) in enumerate(zip(KINDS, colours(len(KINDS)), strict=True)):
        for values, style in (
            (n.data["extent"].values[:, index, :synapses], "-"),
            (n.data["unit_extent"].values[:, index], ":"),
        ):
            x = np.sort(values.ravel())
            axes.plot(x, np.linspace(0, 1, len(x)), style, color=colour, label=kind if style == "-" else None)
    axes.set(xscale="log", title="Synapses —, neurons ···", xlabel="extent", ylabel="share of maps below")
    legend(axes)


def _along(axes: Axes, n: Numbers, values: NDArray[Any]) -> None:
    """Draw medians by target unit over the networks, a line a kind."""
    targets = n.net.wiring.targets[: n.net.wiring.synapses]
    for index, (kind, colour) in enumerate(zip(KINDS, colours(len(KINDS)), strict=True)):
        middle = [np.median(values[:, index][:, targets == i]) for i in range(n.units)]
        axes.plot(range(n.units), middle, "o-", ms=2.5, lw=0.8, color=colour, label=kind)
    axes.axvline(n.units - len(n.net.wiring.outputs) - 0.5, color=plotting.INK, lw=0.6, ls="--")
    axes.set(xlabel="target neuron")


def draw_extent_along(axes: Axes, n: Numbers) -> None:
    _along(axes, n, n.data["extent"].values[..., : n.net.wiring.synapses])
    axes.set(yscale="log", title="Extent along the cascade", ylabel="extent")
    legend(axes)


def draw_kind_along(axes: Axes, n: Numbers) -> None:
    _along(axes, n, (n.data["colouring"] - n.data["displacing"]).values[..., : n.net.wiring.synapses])
    axes.axhline(0, color=plotting.INK, lw=0.6)
    axes.set(title="From geometry to colour", ylabel="colouring - displacing")


def figures(n: Numbers) -> list[Panels]:
    synapse, _ = _perturbed(n)
    return [
        Panels(
            "perturbation",
            "The first picture, what the best of its networks paints, with the RMSE, and the perturbation "
            f"map of {n.net.wiring.name(synapse)}: the picture at a lower and at a higher weight, and their "
            "difference.",
            [draw_original, draw_painted, draw_lower, draw_higher, draw_difference],
            size=(2.9, 2.3),
        ),
        Panels(
            "neurons",
            f"Left: the activation maps of its {n.units} neurons, outputs last. Right: the change of the "
            "picture by the strongest synapse into each, on its own scale, grey where there is none. Maps "
            "of neurons show half planes and bands, maps of synapses borders and spots.",
            [draw_neurons, draw_synapses],
            size=(5.6, 3.6),
        ),
        Panels(
            "extents",
            "Left: elements of the pictures by the prominence that one asks for, means over networks. "
            "Second: the extent of all maps of synapses (full) and of neurons (dotted). Third: the extent "
            "by the neuron that a synapse enters, outputs right of the dashed line. Right: the share of a "
            "map that changes colours less the share that displaces borders, likewise.",
            [draw_elements, draw_extents, draw_extent_along, draw_kind_along],
        ),
    ]


MAPS_OF_SYNAPSES = Part(
    name="maps-of-synapses",
    title="Maps of synapses and of neurons",
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("row", "column"),
    citations=("ensembles2015", "szegedy2014"),
)
