"""What the weights of a network hold beyond their distribution: wiring, and the rank that its inputs need."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.rows import Column, Layout, Row
from phasescope.recording.batch import as_batch
from phasescope.recording.circumstances import circumstances
from phasescope.recording.layers import Layer, discover
from phasescope.recording.memory import default_limit, in_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone, quiet, untouched

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.structure.network import Chain, Ranks, Weighted
    from phasescope.structure.persistence import Persistence

Balance = Literal["auto", "never"]

_UNTRAINED = 20010507  # added to the seed: that of the user's own network is often the same small number
_RANK_SHUFFLES, _FEW = 5, 2  # shuffled weights whose ranks are measured; in large networks
_WIDE, _FEWEST = 1024, 9  # units beyond which, and shuffles to which persistence is cut
_DEEP = 2e10  # steps of all collapsed chains: about 20 s
_SECONDS = 8.0  # for the layers one by one
_COPIED = 2e7  # parameters up to which the untrained network is measured beside
_STRUCTURE = 3.0  # standard deviations of the null, and two errors of z beyond
_SMALLER = 0.5  # share of a layer's parameters that two factors take at most, to be worth saying
_MOST_NAMED = 3
_LAYOUT = Layout(
    {"shape": 12, "wiring z": 15, "rank": 7, "shuffled": 12, "alone": 7, "of": 6}, ("shape", "alone")
)


class WeightStructure(Instrument):
    r"""Measures whether the weights are wired better than chance, and the rank that real inputs need.

    Of each linear layer and convolution: the persistence of its bipartite graph on the ranks of the weights,
    as z against shuffled weights; the smallest rank that keeps its own output on the batch within
    `tolerance`, beside that of shuffled weights on the same inputs, of the untrained network's weights, and
    on the weights alone; the exponent of the spectrum's tail, only where the spectrum is not that of
    shuffled weights. Of the network: persistence of the chain from input to output in three variants, and
    how much its output changes with all layers truncated at once. The work is done by
    ``phasescope.structure``.

    Parameters
    ----------
    shuffles : int
        Permutations of the weights for the null, at least 9; 9 are taken beyond 1,024 units.
    tolerance : float
        Relative change, in root mean square, of a layer's output that its rank allows.
    balance : {"auto", "never"}
        ``auto`` gives each unit of a chain of ReLU and the like incoming and outgoing weights of equal norm
        first, so that copies of one network with rescaled units give one number.

    Raises
    ------
    InputError
        If a number is out of range or `balance` is neither.

    Notes
    -----
    In a balanced chain neighbouring layers share what sets a unit's scale: ``balance="never"`` tells which
    layer it is in. Embeddings and recurrent weights are left out, tied weights measured once; of attention
    the chain holds values and output alone. Cost: persistence, about 0.1 us a weight and shuffle; ranks, some
    ten eigenvalue problems of each layer's smaller side and three forward passes. Beyond about 25 s every
    second, third, ... layer is measured, and the rows say so.

    References
    ----------
    Girrbach et al. 2023, arXiv:2307.10865; Li et al. 2020, arXiv:2001.05070.
    """

    name = "weights"
    title = "Structure of the weights"

    def __init__(self, shuffles: int = 99, tolerance: float = 0.1, balance: Balance = "auto") -> None:
        if shuffles < _FEWEST:
            raise InputError(f"shuffles is {shuffles}.", f"Give a whole number from {_FEWEST}.")
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance is {tolerance!r}.", "Give a number between 0 and 1.")
        if balance not in ("auto", "never"):
            raise InputError(f"balance is {balance!r}.", 'Give "auto" or "never".')
        self.shuffles, self.tolerance, self.balance = shuffles, tolerance, balance

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        try:
            module = as_module(model)
            kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)
            if not any(isinstance(m, kinds) or type(m).__name__ == "Conv1D" for m in module.modules()):
                return "no linear layer and no convolution"
            as_batch(module, batch)
        except InputError as refused:
            return str(refused)
        return ""

    @alone()
    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        from phasescope.structure.network import find_chain, ranks, weighted_rows

        module = as_module(model)
        inputs = as_batch(module, batch)
        limit = default_limit(module) if max_memory is None else float(in_bytes(max_memory))
        with untouched(module):
            notes = [*inputs.notes, *quiet(module)]
            layers = discover(module, inputs).layers
            rows, reasons = weighted_rows(layers)
            _refuse_beyond(rows, limit)
            chain = find_chain(layers, rows)
            rows, left = _sample(rows, self.shuffles)
            reasons |= left
            notes += sorted(set(left.values()))[:1]
            large = any(min(one.linear.inputs, one.linear.outputs) >= _WIDE // 2 for one in rows.values())
            found = ranks(
                module,
                inputs,
                rows,
                tolerance=self.tolerance,
                shuffles=_FEW if large else _RANK_SHUFFLES,
                seed=seed,
                limit=limit,
                untrained=_untrained(module, rows, seed, notes),
            )
            wiring = _Wiring(self, chain, layers, rows, seed)
        notes += [*found.notes, *wiring.notes]
        attrs = {
            "instrument": self.name,
            **circumstances(module, inputs, seed=seed),
            "tolerance": self.tolerance,
            "shuffles": self.shuffles,
            "balanced": str(wiring.balanced),
            "chain": chain.reason or "followed",
            "deep_reason": wiring.reason,
            "change_reason": found.change.reason,
            "citations": "girrbach2023 li2020tensor",
            "notes": json.dumps(notes),
        }
        return _dataset(layers, rows, reasons, found, wiring, attrs)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        from phasescope import plotting

        with plotting.style():
            drawn, (wiring, rank) = plotting.figure(2, panel_size=(4.4, 3.4))
            _draw_wiring(wiring, dataset)
            _draw_ranks(rank, dataset)
        return {"weights": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        return "\n".join([f"{self.title}, beside shuffled weights", "", *_LAYOUT.lines(dataset, _cells)])


def _cells(row: Row) -> dict[str, str]:
    """Return the texts of a line of the table by column."""
    return {
        "shape": row.text("shape"),
        "wiring z": str(row.estimate("z")) if math.isfinite(row["z"]) else "-",
        "rank": _whole(row["rank"]),
        "shuffled": _beside(row, "rank"),
        "alone": _whole(row["rank_weights"]),
        "of": _whole(row["full"]),
    }


CAPTIONS = {
    "weights": (
        "Left: persistence of each layer's graph, in standard deviations from shuffled weights; grey, within "
        "2. Right: the rank that each layer needs on this batch, as a share of the full one; bars, shuffled "
        "weights on the same inputs; crosses, the weights alone."
    ),
}

COLUMNS = (
    Column("z", "wiring z", "persistence of the layer's graph, standard deviations from shuffled weights"),
    Column("rank", "rank", "smallest rank that keeps the layer's output within the tolerance on the batch"),
    Column("rank_null", "shuffled", "the same of shuffled weights on the same inputs"),
    Column("rank_untrained", "untrained", "the same of the untrained network's weights"),
    Column("rank_weights", "alone", "the same on the weights alone"),
    Column("full", "of", "the largest rank that the shape allows"),
    Column(
        "saved", "saved", "share of the layer's weights that two factors of this rank save", fraction=True
    ),
    Column("tail", "tail", "exponent of the spectrum's tail, where it is not that of shuffled weights"),
)
"""What a page shows of each row."""

_VARIABLES = {  # of a row: (unit, what it is)
    "persistence": ("1", "persistence of the layer's bipartite graph on the ranks of its weights"),
    "z": ("1", "standard deviations between that persistence and the mean of shuffled weights"),
    "rank": ("1", "smallest rank that keeps the layer's output within the tolerance on the batch"),
    "rank_weights": ("1", "smallest rank within the tolerance on the weights alone"),
    "rank_untrained": ("1", "smallest rank within the tolerance of the untrained network's weights"),
    "full": ("1", "largest rank that the layer's shape allows"),
    "saved": ("1", "share of the layer's weights that two factors of this rank save"),
    "tail": ("1", "exponent of the tail of the squared singular values"),
    "tail_p": ("1", "p of the Kolmogorov test of the spectrum against that of shuffled weights"),
    "deep": ("1", "persistence of the chain from input to output"),
    "deep_z": ("1", "standard deviations between the chain's persistence and shuffled weights"),
    "output_change": ("1", "relative change of the model's output with all layers truncated to their ranks"),
}
_SUFFIXES = {
    "": "{}",
    "_error": "one standard error of: {}",
    "_null": "mean over shuffled weights of: {}",
    "_null_sd": "standard deviation over shuffled weights of: {}",
}


class _Wiring:
    """Persistence of each layer and of the chain, each beside shuffled weights."""

    def __init__(
        self,
        asked: WeightStructure,
        chain: Chain,
        layers: Sequence[Layer],
        rows: Mapping[str, Weighted],
        seed: int,
    ) -> None:
        from phasescope.structure.network import weighted_rows
        from phasescope.structure.persistence import VARIANTS, Wiring, persistence

        self.of: dict[str, Persistence] = {}
        self.deep: dict[str, Persistence] = {}
        self.reason = chain.reason
        self.notes = list(chain.notes)
        self.balanced = asked.balance == "auto" and chain.homogeneous and not chain.reason
        every = rows if chain.reason else weighted_rows(layers)[0]
        wirings = [] if chain.reason else chain.wirings(every)
        if wirings:
            shuffles = _shuffles_that_fit(wirings, asked.shuffles)
            if shuffles < _FEWEST:
                self.reason, self.balanced = "the network is too large", False
                wirings = []
            elif shuffles < asked.shuffles:
                self.notes.append(f"persistence of the chain: {shuffles} of {asked.shuffles} shuffles")
        for variant in VARIANTS if wirings else ():
            try:
                self.deep[variant] = persistence(
                    wirings, variant, balance=self.balanced, shuffles=shuffles, seed=seed
                )
            except InputError as refused:  # weights that are all equal, say
                self.reason = refused.what
        if self.balanced and "rank" in self.deep:
            names = [block for block in chain.blocks if isinstance(block, str)]
            self.of = {n: p for n, p in zip(names, self.deep["rank"].layers, strict=True) if n in rows}
        elif not chain.homogeneous:
            self.notes.append("persistence depends on how the weights are parametrised: it is not balanced")
        nulls: dict[Any, np.ndarray] = {}
        rng = np.random.default_rng(seed)
        for name in rows:
            if name in self.of:
                continue
            each = rows[name].wirings()
            count = _FEWEST if max(max(one.shape) for one in each) > _WIDE else asked.shuffles
            # The null of ranks depends on the shapes alone, but where many weights are equal, as when pruned.
            if any(len(np.unique(np.abs(one.weight))) < 0.5 * one.weight.size for one in each):
                self.of[name] = persistence(each, shuffles=count, seed=seed)
                continue
            key = tuple((one.weight.shape, one.groups) for one in each)
            if key not in nulls:
                drawn = [Wiring(rng.random(one.weight.shape), one.groups) for one in each]
                nulls[key] = persistence(drawn, shuffles=count, seed=seed).null
            self.of[name] = replace(persistence(each, shuffles=0), null=nulls[key])


def _shuffles_that_fit(wirings: Sequence[Any], asked: int) -> int:
    """Return how many shuffles of a chain the work allows, at most as many as asked for."""
    flat = [one for block in wirings for one in (block if isinstance(block, list) else [block])]
    inputs = flat[0].shape[0]
    step = sum(20.0 * one.weight.size for one in flat)
    step += sum(float(inputs) * one.shape[0] * one.shape[1] for one in flat[1:])
    return min(asked, int(_DEEP / (6 * step)) - 1)


def _refuse_beyond(rows: Mapping[str, Weighted], limit: float) -> None:
    """Refuse a limit that three copies of the largest weight do not fit into."""
    need = 24 * max((one.linear.weight.numel() for one in rows.values()), default=0)
    if need > limit:
        raise MemoryLimitError(
            f"The largest weight takes {need / 1e6:.3g} MB, more than max_memory = {limit / 1e6:.3g} MB. "
            "Raise max_memory."
        )


def _sample(rows: Mapping[str, Weighted], shuffles: int) -> tuple[dict[str, Weighted], dict[str, str]]:
    """Return the layers that the time allows, every n-th, and the reason of the others."""

    def seconds(one: Weighted) -> float:
        inputs, outputs = one.linear.inputs, one.linear.outputs
        small, large = min(inputs, outputs), max(inputs, outputs)
        side = inputs if one.linear.matrix and inputs < outputs else outputs
        return 5e-7 * inputs * outputs + 6e-9 * side**3 + 4e-9 * small**3 + 4e-10 * small**2 * large

    costs = {name: seconds(one) for name, one in rows.items()}
    every = max(1, math.ceil(sum(costs.values()) / _SECONDS))
    while every > 1 and math.gcd(every, 12) > 1:  # blocks of 2, 3, 4 or 6 layers: each kind has its turn
        every += 1
    kept = {name: one for number, (name, one) in enumerate(rows.items()) if number % every == 0}
    ordinal = {2: "second", 3: "third"}.get(every, f"{every}th")
    reason = f"one layer in {every} was measured: every {ordinal}"
    return kept, {name: reason for name in rows if name not in kept}


def _untrained(
    module: nn.Module, rows: Mapping[str, Weighted], seed: int, notes: list[str]
) -> dict[str, Any]:
    """Return the weights of the untrained network by row."""
    from phasescope.noise import reinitialised
    from phasescope.structure.tolerated_rank import linear_layer

    if sum(p.numel() for p in module.parameters()) > _COPIED:
        notes.append("the untrained network was not measured: it is too large")
        return {}
    try:
        fresh = dict(reinitialised(module, seed=seed + _UNTRAINED).named_modules())
    except InputError as refused:
        notes.append(f"the untrained network was not measured: {refused}")
        return {}
    layers = {n: linear_layer(fresh[one.row.path]) for n, one in rows.items() if one.then is None}
    return {name: layer.weight for name, layer in layers.items() if layer is not None}


def _dataset(
    layers: Sequence[Layer],
    rows: Mapping[str, Weighted],
    reasons: Mapping[str, str],
    found: Ranks,
    wiring: _Wiring,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Return the dataset: a row for each layer, and numbers of the whole network."""
    import xarray as xr

    from phasescope.structure.persistence import VARIANTS

    values = {name: _values(name, one, found, wiring) for name, one in rows.items()}
    names = list(dict.fromkeys(key for each in values.values() for key in each))
    data: dict[str, Any] = {}
    for key in names:
        column = [values.get(layer.name, {}).get(key, math.nan) for layer in layers]
        data[key] = ("layer", np.array(column, dtype=np.float64), _described(key))
    deep = [_of_persistence(wiring.deep.get(variant)) for variant in VARIANTS]
    for key in deep[0]:
        name = key.replace("persistence", "deep") if "persistence" in key else f"deep_{key}"
        data[name] = ("variant", np.array([each[key] for each in deep]), _described(name))
    change = found.change
    data["output_change"] = ((), change.value, _described("output_change"))
    data["output_change_error"] = ((), change.error, _described("output_change_error"))
    shapes = {name: f"{one.linear.inputs} x {(one.then or one.linear).outputs}" for name, one in rows.items()}
    ranks = {name: each.rank.reason for name, each in found.of.items()}
    coordinates = {
        "layer": [layer.name for layer in layers],
        "variant": list(VARIANTS),
        "kind": ("layer", [layer.kind for layer in layers]),
        "module": ("layer", [layer.path for layer in layers]),
        "shape": ("layer", [shapes.get(layer.name, "") for layer in layers]),
        "rank_reason": ("layer", [ranks.get(layer.name, "") for layer in layers]),
        "skipped": ("layer", [reasons.get(layer.name, "") for layer in layers]),
    }
    return xr.Dataset(data, coordinates, attrs)


def _described(name: str) -> dict[str, str]:
    suffix = next((end for end in ("_null_sd", "_null", "_error") if name.endswith(end)), "")
    unit, what = _VARIABLES[name.removesuffix(suffix)]
    return {"units": unit, "long_name": _SUFFIXES[suffix].format(what)}


def _values(name: str, one: Weighted, found: Ranks, wiring: _Wiring) -> dict[str, float]:
    from phasescope.structure.tail import tail_of

    values = _of_persistence(wiring.of.get(name))
    rank = found.of.get(name)
    if rank is None:
        return values
    shuffled, alone = rank.shuffled, rank.shuffled_weights
    values |= {"rank": rank.rank.value, "rank_error": rank.rank.error, **_null("rank", shuffled)}
    values |= {"rank_weights": float(rank.weights), "rank_weights_error": 0.0, **_null("rank_weights", alone)}
    values["rank_untrained"] = found.untrained.get(name, math.nan)
    values["full"] = float(rank.full)
    values["saved"] = rank.saved / one.linear.weight.numel() if rank.rank.determined else math.nan
    tail = tail_of(*found.spectra[name])
    return values | {"tail": tail.exponent.value, "tail_error": tail.exponent.error, "tail_p": tail.p}


def _of_persistence(found: Persistence | None) -> dict[str, float]:
    none = found is None
    z = None if found is None else found.z
    value = math.nan if found is None else found.value
    null = np.empty(0) if found is None else found.null
    return {
        "persistence": value,
        "persistence_error": math.nan if none else 0.0,
        **_null("persistence", null),
        "z": math.nan if z is None else z.value,
        "z_error": math.nan if z is None else z.error,
    }


def _null(name: str, values: np.ndarray) -> dict[str, float]:
    return {
        f"{name}_null": float(values.mean()) if len(values) else math.nan,
        f"{name}_null_sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
    }


def _findings(dataset: xr.Dataset) -> list[Finding]:
    """Return what the wiring holds, what could be cut, and what the null explains."""
    rows = Row.measured(dataset)
    if not rows:
        reasons = sorted({str(reason) for reason in dataset["skipped"].values if reason})
        return [
            Finding(
                "No weights could be measured.",
                "; ".join(reasons[:2]),
                "Pass a model with linear layers or convolutions whose weights are finite.",
                "note",
            )
        ]
    return [*_wired(dataset, rows), *_ranked(dataset, rows), *_whole_network(dataset)]


def _wired(dataset: xr.Dataset, rows: Sequence[Row]) -> list[Finding]:
    known = [row for row in rows if math.isfinite(row["z"])]
    if not known:
        return []
    beyond = [row for row in known if row["z"] > _STRUCTURE + 2 * row["z_error"]]
    best = max(known, key=lambda row: row["z"])
    evidence = (
        f"{best.text('layer')}: persistence {best['persistence']:.3g}, shuffled "
        f"{best['persistence_null']:.3g} ± {best['persistence_null_sd']:.1g}, z {best.estimate('z')}"
    )
    deep, error = (float(dataset[name].sel(variant="rank")) for name in ("deep_z", "deep_z_error"))
    if not beyond and deep > _STRUCTURE + 2 * error:
        return [
            Finding(
                "Each layer by itself looks like weights in shuffled places; the chain of them does not.",
                f"z of the chain {deep:.2g}; {evidence}",
                "",
                "ok",
            )
        ]
    if not beyond:
        return [
            Finding(
                f"{'The layer looks' if len(known) == 1 else f'All {len(known)} layers look'} like weights "
                "in shuffled places: no structure that training left was found.",
                evidence,
                "Nothing can be concluded from these weights beyond their variances; compare with a "
                "trained checkpoint.",
                "note",
            )
        ]
    weakest = min(known, key=lambda row: row["z"])
    evidence += f"; least in {weakest.text('layer')}, z {weakest.estimate('z')}"
    return [
        Finding(
            f"{len(beyond)} of {len(known)} layers hold more structure than their own weights in shuffled "
            f"places, {best.text('layer')} most.",
            evidence,
            "",
            "ok",
        )
    ]


def _whole_network(dataset: xr.Dataset) -> list[Finding]:
    deep = dataset.sel(variant="paper")
    value, null = float(deep["deep"]), float(deep["deep_null"])
    if not math.isfinite(value):
        return [
            Finding(
                "The persistence of the whole network is not determined.",
                str(dataset.attrs["deep_reason"]),
                "Read the layers one by one.",
                "note",
            )
        ]
    ranked = dataset.sel(variant="rank")
    evidence = (
        f"as published {value:.3g}, shuffled {null:.3g} ± {float(deep['deep_null_sd']):.1g}, z "
        f"{float(deep['deep_z']):.2g}; on ranks z {float(ranked['deep_z']):.2g}"
    )
    return [
        Finding(
            f"Shuffled weights account for {100 * null / value:.0f} % of the published persistence of the "
            "network.",
            evidence,
            "Compare networks by the z on ranks, not by the published number.",
            "note",
        )
    ]


def _ranked(dataset: xr.Dataset, rows: Sequence[Row]) -> list[Finding]:
    known = [row for row in rows if math.isfinite(row["rank"])]
    if not known:
        reasons = sorted({row.text("rank_reason") for row in rows} - {""})
        return [
            Finding(
                "The rank that the layers need on their inputs is not determined.",
                "; ".join(reasons[:2]) or "no layer gave one",
                "Pass a larger batch: at least 32 inputs, and twice as many as the rank.",
                "note",
            )
        ]
    percent = 100 * float(dataset.attrs["tolerance"])
    small = [row for row in known if row["saved"] >= _SMALLER]
    change = float(dataset["output_change"])
    whole = f"; all layers cut at once change the output by {100 * change:.2g} %" if change >= 0 else ""
    if not small:
        row = min(known, key=lambda row: row["rank"] / row["full"])
        evidence = f"least in {row.text('layer')}: {_evidence(row)}{whole}"
        sentence = f"No layer can be halved by two factors that keep its output within {percent:.2g} %."
        return [Finding(sentence, evidence, "", "ok")]
    best = max(small, key=lambda row: row["saved"])
    names = ", ".join(row.text("layer") for row in small[:_MOST_NAMED])
    more = f" and {len(small) - _MOST_NAMED} more" if len(small) > _MOST_NAMED else ""
    by_inputs = best["rank_null"] - best["rank"] < 2 * max(best["rank_null_sd"], 0.5)
    why = (
        "Shuffled weights need no more: the low rank is that of the inputs."
        if by_inputs
        else "Shuffled weights need more: the low rank is in the weights."
    )
    return [
        Finding(
            f"{names}{more} can be cut to less than half by two factors that keep the output of each within "
            f"{percent:.2g} %.",
            f"{best.text('layer')}: {_evidence(best)}{whole}",
            f"{why} phasescope.structure.factorised(layer, its inputs, rank={best['rank']:.0f}) saves "
            f"{100 * best['saved']:.0f} % of the weights of {best.text('layer')}; measure the accuracy "
            "afterwards.",
            "note",
        )
    ]


def _evidence(row: Row) -> str:
    return (
        f"rank {row.estimate('rank')} of {row['full']:.0f}, shuffled weights on the same inputs "
        f"{_beside(row, 'rank')}, weights alone {row['rank_weights']:.0f}"
    )


def _beside(row: Row, name: str) -> str:
    null, spread = row[f"{name}_null"], row[f"{name}_null_sd"]
    if math.isnan(null):
        return "-"
    return f"{null:.1f}" if math.isnan(spread) else f"{null:.1f} ± {spread:.1f}"


def _whole(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _draw_wiring(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    rows = Row.measured(dataset)
    places = np.arange(1, len(rows) + 1)
    axes.axhspan(-2, 2, color=plotting.INK, alpha=0.1, lw=0)
    z, error = ([row[name] for row in rows] for name in ("z", "z_error"))
    axes.errorbar(places, z, np.nan_to_num(error), fmt="o", ms=4, color=plotting.MEASURED)
    axes.set(title="Wiring beyond shuffled weights", xlabel="layer", ylabel="z of persistence")
    _named(axes, rows)


def _draw_ranks(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    rows = Row.measured(dataset)
    places = np.arange(1, len(rows) + 1)
    shares = {
        name: np.array([row[name] / row["full"] for row in rows])
        for name in ("rank", "rank_error", "rank_null", "rank_null_sd", "rank_weights")
        if name in dataset
    }
    if shares:
        null, spread = shares["rank_null"], np.nan_to_num(shares["rank_null_sd"])
        axes.errorbar(places, null, spread, fmt="_", ms=12, color=plotting.THEORY, label="shuffled weights")
        axes.plot(places, shares["rank_weights"], "x", color=plotting.INK, label="weights alone")
        error = np.nan_to_num(shares["rank_error"])
        axes.errorbar(
            places, shares["rank"], error, fmt="o", ms=4, color=plotting.MEASURED, label="on inputs"
        )
        axes.legend(loc="best")
    axes.set(
        title="Rank that the inputs need", xlabel="layer", ylabel="share of the full rank", ylim=(0, 1.05)
    )
    _named(axes, rows)


def _named(axes: Axes, rows: Sequence[Row]) -> None:
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), 8)).round().astype(int)).tolist()
    axes.set_xticks([place + 1 for place in places])
    axes.set_xticklabels([rows[place].short_name(12) for place in places], rotation=45, ha="right")
