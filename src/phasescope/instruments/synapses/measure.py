"""The measurement: ensembles of each property, layer by layer, and the networks and samples beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import MemoryLimitError
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.circumstances import circumstances
from phasescope.recording.memory import default_limit, samples_that_fit
from phasescope.synapses import (
    Custom,
    Ensemble,
    ModuleSensitivity,
    Nulls,
    Property,
    ensemble,
    module_sensitivity,
    nulls,
)

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

COVER = 0.9
UNITS: tuple[Literal["one", "weight", "rms"], ...] = ("one", "weight", "rms")
_VECTORS = 8  # vectors of weights that are held at the same time
_CASES = 2**27  # bytes that the energies of all cases take at most
_SHUFFLED = 19  # networks: the smallest share of them that can be said is 5 %
_ELSEWHERE = 39  # sets of other samples
_TOGETHER = 10  # weights of a set that is compared
_RANKS = 64  # places of the curve
_NEARLY = 0.8


@dataclass(frozen=True)
class _Found:
    """What was found of one property."""

    name: str
    value: float
    ensemble: Ensemble
    nulls: Nulls
    energy: Tensor  # (g w)^2 of each weight
    curve: Array  # (ranks,) share of the strongest weights
    shuffled: Array  # (networks, ranks) the same with shuffled weights
    fewest: Array  # (networks,) weights that carry as much there


def measured(
    module: nn.Module, batch: Any, properties: Mapping[str, Any], seed: int, max_memory: int | None
) -> xr.Dataset:
    """Return the dataset of the instrument; the user's model is not touched."""
    with torch.inference_mode(False):
        fitted = as_batch(module, batch)
        frozen = not any(p.requires_grad for p in module.parameters())
        names = [name for name, p in module.named_parameters() if p.is_floating_point()] if frozen else None
        chunk = _chunk(module, fitted, names, max_memory)
        seen = module_sensitivity(module, batch, parameters=names, chunk=chunk, seed=seed)
        notes = [*seen.notes, *(["no parameter asks for a gradient: all were looked at"] if frozen else [])]
        ranks = np.unique(np.geomspace(1, seen.size, _RANKS).round().astype(np.int64))
        found = [
            _found(seen, _property(name, prop), ranks, np.random.default_rng((seed, number)))
            for number, (name, prop) in enumerate(properties.items())
        ]
        return _dataset(module, fitted, seen, found, ranks, seed, notes)


def _chunk(module: nn.Module, batch: Batch, names: list[str] | None, max_memory: int | None) -> int | None:
    """Return the samples that a part may have, None where memory does not limit them."""
    limit = default_limit(module) if max_memory is None else float(max_memory)
    vectors = _VECTORS * sum(p.numel() * p.element_size() for p in module.parameters())
    if max_memory is None:
        limit = max(limit, 2 * vectors)
    if vectors > limit:
        raise MemoryLimitError(
            f"{_VECTORS} copies of the weights take {vectors / 1e6:.1f} MB, more than max_memory = "
            f"{limit / 1e6:.1f} MB. Raise max_memory, or pass parameters to phasescope.synapses instead."
        )

    def work(samples: int) -> None:
        part = batch.take(0, samples)
        seen = module_sensitivity(module, part.args or part.kwargs, parameters=names, chunk=samples)
        seen.pulled_back(torch.ones_like(seen.output))

    fit = samples_that_fit(module, work, batch.size, limit - vectors)
    cases = vectors // _VECTORS * batch.size  # the energies of each, where they are known exactly
    return None if fit >= batch.size and 2 * (vectors + min(cases, _CASES)) <= limit else max(1, fit)


def _property(name: str, asked: Any) -> Property:
    if isinstance(asked, Property):
        return asked
    return Custom(asked, name or getattr(asked, "__name__", "property").replace("<lambda>", "property"))


def _found(seen: ModuleSensitivity, prop: Property, ranks: Whole, rng: np.random.Generator) -> _Found:
    carried = ensemble(seen, prop, cover=COVER)
    beside = nulls(seen, prop, kinds=("shift", "random"), count=_ELSEWHERE, k=_TOGETHER, seed=rng)
    energy = _energy(seen, torch.from_numpy(carried.strength))
    curves, fewest = [], []
    for _ in range(_SHUFFLED):
        other = seen.at(_shuffled(seen, rng))
        there = _energy(other, other.gradient(prop))
        curve, count = _curve(there, ranks)
        curves.append(curve)
        fewest.append(count)
    curve, _ = _curve(energy, ranks)
    return _Found(
        prop.name,
        seen.value(prop),
        carried,
        beside,
        energy,
        curve,
        np.array(curves),
        np.array(fewest, dtype=np.float64),
    )


def _energy(seen: ModuleSensitivity, strength: Tensor) -> Tensor:
    return (strength * seen.weights).square()


def _shuffled(seen: ModuleSensitivity, rng: np.random.Generator) -> Tensor:
    """Return the weights with those of each parameter in another order."""
    moved = seen.weights.clone()
    for piece in seen.pieces:
        order = torch.from_numpy(rng.permutation(piece.stop - piece.start)).to(moved.device)
        moved[piece.start : piece.stop] = moved[piece.start : piece.stop][order]
    return moved


def _curve(energy: Tensor, ranks: Whole) -> tuple[Array, float]:
    """Return the share of so many strongest weights, and how many carry COVER; NaN where nothing does."""
    sums = energy.sort(descending=True).values.double().cumsum(0)
    if not float(sums[-1]) > 0:
        return np.full(len(ranks), np.nan), np.nan
    shares = (sums / sums[-1]).cpu().numpy()
    return shares[ranks - 1], float(np.searchsorted(shares, COVER * (1 - 1e-12)) + 1)


def _dataset(
    module: nn.Module,
    batch: Batch,
    seen: ModuleSensitivity,
    found: list[_Found],
    ranks: Whole,
    seed: int,
    notes: list[str],
) -> xr.Dataset:
    """Return the dataset: a row for each layer and property, then what is known of a property as a whole."""
    import xarray as xr

    rows = _rows(module, seen)
    layers = _layers(seen)
    kept: list[tuple[str, str, str, dict[str, float]]] = []  # row, property, why skipped, numbers
    for each in found:
        numbers = _of_layers(seen, each, layers)
        for layer, reason in rows.items():
            if layer in layers:
                row = layer if len(found) == 1 else f"{layer} ({each.name})"
                kept.append((row, each.name, "", numbers[layer]))
            elif each is found[0]:
                kept.append((layer, "", reason, {}))
    columns: dict[str, Any] = {
        name: ("layer", np.array([numbers.get(name, np.nan) for *_, numbers in kept]))
        for name in ("weights", "share", "members", "units", "control", "control_error")
    }
    columns["value"] = ("property", np.array([each.value for each in found]))
    for unit in UNITS:
        sets = [each.ensemble.sets[unit] for each in found]
        columns[f"fewest_{unit}"] = ("property", np.array([float(len(one)) for one in sets]))
        entered = [float(len(each.ensemble.units(unit))) for each in found]
        columns[f"units_{unit}"] = ("property", np.array(entered))
    columns["fewest_shuffled"] = (("property", "network"), np.stack([each.fewest for each in found]))
    columns["covered"] = (("property", "rank"), np.stack([each.curve for each in found]))
    quantiles = [0.05, 0.5, 0.95]
    bands = [
        np.quantile(each.shuffled[~np.isnan(each.shuffled[:, 0])], quantiles, axis=0)
        if np.isfinite(each.shuffled).any()
        else np.full((3, len(ranks)), np.nan)
        for each in found
    ]
    columns["covered_shuffled"] = (("property", "quantile", "rank"), np.stack(bands))
    columns |= _selective(found, seen.rms_error)
    described = {name: (dims, values, _described(name)) for name, (dims, values) in columns.items()}
    coordinates: dict[str, Any] = {
        "layer": [row for row, *_ in kept],
        "skipped": ("layer", [reason for _, _, reason, _ in kept]),
        "of": ("layer", [name for _, name, *_ in kept]),
        "property": [each.name for each in found],
        "rank": ranks,
        "quantile": quantiles,
    }
    first = {each.name: _first(seen, each) for each in found}
    certified = {each.name: _said(each.nulls.certified) for each in found}
    attributes = {
        **circumstances(module, batch, seed=seed),
        "instrument": "synapses",
        "mode": "eval",
        "looked_at": seen.size,
        "all_units": int(seen.groups.max()) + 1,
        "certified": json.dumps(certified),
        "verdicts": json.dumps({each.name: each.nulls.verdict for each in found}),
        "selective": json.dumps(first),
        "notes": json.dumps(notes),
        "citations": "ensembles2015",
    }
    return xr.Dataset(described, coordinates, attributes)


def _said(certified: bool | None) -> str:
    return {True: "yes", False: "no", None: "not determined"}[certified]


def _first(seen: ModuleSensitivity, found: _Found) -> list[str]:
    """Return the most selective weights by name, those nearly as selective as the first."""
    share = found.ensemble.share
    chosen = [int(s) for s in found.nulls.weights[:3] if share[s] > _NEARLY * found.nulls.share]
    return [seen.name(s) for s in sorted(chosen)]


def _layers(seen: ModuleSensitivity) -> dict[str, list[slice]]:
    """Return the places of the weights of each layer."""
    places: dict[str, list[slice]] = {}
    for piece in seen.pieces:
        places.setdefault(piece.layer, []).append(slice(piece.start, piece.stop))
    return places


def _of_layers(
    seen: ModuleSensitivity, found: _Found, layers: dict[str, list[slice]]
) -> dict[str, dict[str, float]]:
    total = float(found.energy.double().sum())
    chosen = np.zeros(seen.size, dtype=bool)
    chosen[found.ensemble.sets["weight"]] = True
    groups, control = found.ensemble.groups, found.ensemble.control
    numbers = {}
    for layer, places in layers.items():
        sizes = [place.stop - place.start for place in places]
        inside = sum(float(found.energy[place].double().sum()) for place in places)
        ratios = np.concatenate([control[place][chosen[place]] for place in places])
        ratios = ratios[np.isfinite(ratios)]
        middle = float(np.median(ratios)) if len(ratios) else np.nan
        entered = np.unique(np.concatenate([groups[place][chosen[place]] for place in places]))
        numbers[layer] = {
            "weights": float(sum(sizes)),
            "share": inside / total if total > 0 else np.nan,
            "members": float(sum(int(chosen[place].sum()) for place in places)),
            "units": float(len(entered)),
            "control": middle,
            "control_error": middle * found.ensemble.damage_error,
        }
    return numbers


def _selective(found: list[_Found], error: float) -> dict[str, Any]:
    """Return the largest share of a weight, and that in sets of other samples and of random weights."""
    shares = np.array([each.nulls.share for each in found])
    elsewhere = np.full((len(found), _ELSEWHERE), np.nan)
    columns: dict[str, Any] = {}
    for row, each in zip(elsewhere, found, strict=True):
        values = each.nulls.of("shift").values
        row[: len(values)] = values
    # share = a / (a + b), where b alone is estimated, with twice the relative error of an rms.
    columns["selective"] = ("property", shares)
    columns["selective_error"] = ("property", 2 * error * shares * (1 - shares))
    columns["selective_elsewhere"] = (("property", "set"), elsewhere)
    for name, kind, statistic in (("elsewhere", "shift", ""), ("random", "random", "share")):
        found_p = [each.nulls.of(kind, statistic).p for each in found]  # type: ignore[arg-type]
        columns[f"p_{name}"] = ("property", np.array([p.value for p in found_p]))
        columns[f"p_{name}_error"] = ("property", np.array([p.error for p in found_p]))
    return columns


def _rows(module: nn.Module, seen: ModuleSensitivity) -> dict[str, str]:
    """Return the name of each layer in the order of the modules, and why one has no numbers."""
    by_name = {name: piece for piece in seen.pieces for name in piece.names}
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    layers = dict.fromkeys(piece.layer for piece in seen.pieces)
    rows = {layer: "" for layer in layers if layer in by_name}
    for name, part in module.named_modules():
        if name in layers:
            rows[name] = ""
        elif name and not list(part.children()):
            parameters = [names[id(p)] for p in part.parameters(recurse=False)]
            elsewhere = [by_name[one] for one in parameters if one in by_name]
            if not parameters:
                rows[name] = "no parameters"
            elif elsewhere:
                rows[name] = f"shares its parameters with {elsewhere[0].layer}"
            else:
                rows[name] = "frozen: its parameters ask for no gradient"
    return rows


_NAMES = {  # unit and name; an error is called NAME_error
    "weights": ("1", "number of weights looked at"),
    "share": ("1", "share of the layer in the sum of (g w)^2 over all weights, g the derivative by weight w"),
    "members": ("1", "how many of the fewest weights with 90 % of that sum lie in the layer"),
    "units": ("1", "how many units these enter"),
    "control": ("1", "median control ratio of these: |g| over the rms change of the rest of the output"),
    "value": ("1", "the property"),
    "fewest_one": ("1", "fewest weights with 90 % of the sum of g^2"),
    "fewest_weight": ("1", "fewest weights with 90 % of the sum of (g w)^2"),
    "fewest_rms": ("1", "fewest weights with 90 % of the sum of (g / rms(J))^2, J the change of the output"),
    "units_one": ("1", "units that the fewest weights with 90 % of the sum of g^2 enter"),
    "units_weight": ("1", "units that the fewest weights with 90 % of the sum of (g w)^2 enter"),
    "units_rms": ("1", "units that the fewest weights with 90 % of the sum of (g / rms(J))^2 enter"),
    "fewest_shuffled": ("1", "fewest weights with 90 % of the sum of (g w)^2, each parameter shuffled"),
    "covered": ("1", "share of the strongest weights in the sum of (g w)^2"),
    "covered_shuffled": ("1", "the same with each parameter shuffled, quantiles over networks"),
    "selective": ("1", "largest share of a weight: of all that it changes, the part that is the property"),
    "selective_elsewhere": ("1", "the same for the property of as many other samples"),
    "p_elsewhere": ("1", "share of sets of other samples that reach the largest share, itself included"),
    "p_random": ("1", "share of random sets that reach the joint share of the 10 best, itself included"),
}
_ERROR = "one standard error of: "


def _described(name: str) -> dict[str, str]:
    unit, title = _NAMES[name.removesuffix("_error")]
    return {"units": unit, "long_name": f"{_ERROR}{title}" if name.endswith("_error") else title}
