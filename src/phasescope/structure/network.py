"""The layers of a user's network that are maps with weights: their chain, and the ranks that they need."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.batch import Batch, first_float
from phasescope.recording.forward import run
from phasescope.recording.layers import Layer, observed
from phasescope.recording.memory import samples_that_fit
from phasescope.recording.outputs import primary_output
from phasescope.structure.persistence import Wiring
from phasescope.structure.tolerated_rank import LinearLayer, Moments, ToleratedRank, linear_layer

_LARGEST = 2e7  # weights of a layer
_WORK = 3e11  # multiplications of all passes: about 15 s of one core
_PASSES = 3.0  # forward passes beside the layers' own work
# Last parts of the names of maps to queries and keys, which are on no way from input to output.
_ASIDE = re.compile(r"q|k|query|key|[qk]_(proj|lin)|to_[qk]|w[qk]|(query|key)_proj")


@dataclass(frozen=True)
class Weighted:
    """A row that is measured, and what is linear in it; of torch's attention the values, then the output."""

    row: Layer
    linear: LinearLayer
    then: LinearLayer | None = None

    @property
    def positions(self) -> int:
        """Number of output vectors of one sample."""
        return max(1, self.row.units // self.linear.outputs)

    def wirings(self, part: slice = slice(None)) -> list[Wiring]:
        """Return its connections, those to some of the outputs if asked for."""
        layers = [self.linear] if self.then is None else [self.linear, self.then]
        return [Wiring(one.weight[part].double().cpu().numpy(), one.groups) for one in layers]


def weighted_rows(layers: Sequence[Layer]) -> tuple[dict[str, Weighted], dict[str, str]]:
    """Return the rows that hold a map with weights, by name, and why each other row holds none."""
    found: dict[str, Weighted] = {}
    reasons: dict[str, str] = {}
    seen: dict[int, str] = {}
    for row in layers:
        module = None if row.skipped or row.stands_alone else row.module
        then = None
        if isinstance(module, nn.MultiheadAttention):
            linear, then = _values_and_output(module)
        else:
            linear = None if module is None else linear_layer(module)
        if linear is None:
            reasons[row.name] = row.skipped or _reason(row)
            continue
        key = id(row.module._parameters.get("weight", row.module))
        if key in seen:
            reasons[row.name] = f"the weights of {seen[key]}, measured there"
        elif linear.weight.numel() > _LARGEST:
            reasons[row.name] = f"too large: {linear.weight.numel():,} weights"
        elif not bool(linear.weight.isfinite().all()):
            reasons[row.name] = "its weights are NaN or infinite"
        elif not bool((linear.weight != 0).any()):
            reasons[row.name] = "its weights are 0"
        else:
            found[row.name] = Weighted(row, linear, then)
        seen.setdefault(key, row.name)
    return found, reasons


def _values_and_output(module: nn.MultiheadAttention) -> tuple[LinearLayer | None, LinearLayer | None]:
    whole = module.in_proj_weight
    values = module.v_proj_weight if whole is None else whole[2 * module.embed_dim :]
    return linear_layer(values), linear_layer(module.out_proj.weight)


def _reason(row: Layer) -> str:
    if isinstance(row.module, (nn.Embedding, nn.EmbeddingBag)):
        return "a table that is looked up, no map"
    if isinstance(row.module, (nn.RNNBase, nn.RNNCellBase)):
        return "recurrent weights are not measured here"
    if row.role == "weight":
        return f"{row.kind} is not measured: no linear layer or convolution"
    return "it holds no connections"


@dataclass(frozen=True)
class Chain:
    """The maps on the way from input to output, names of rows; a list is a residual branch."""

    blocks: tuple[str | list[str], ...]
    parts: Mapping[str, slice]  # outputs of a row that are on the way, where not all are
    reason: str  # why there is no chain; empty where there is one
    homogeneous: bool  # whether units can be rescaled without changing the function
    notes: tuple[str, ...] = ()

    def wirings(self, rows: Mapping[str, Weighted]) -> list[Wiring | list[Wiring]]:
        """Return the connections."""
        made: list[Wiring | list[Wiring]] = []
        for block in self.blocks:
            names = [block] if isinstance(block, str) else block
            each = [one for name in names for one in rows[name].wirings(self.parts.get(name, slice(None)))]
            made += each if isinstance(block, str) else [each]
        return made


def find_chain(layers: Sequence[Layer], rows: Mapping[str, Weighted]) -> Chain:
    """Return the chain along the longest stream, or why it cannot be followed."""
    blocks: list[str | list[str]] = []
    parts: dict[str, slice] = {}
    notes: list[str] = []
    homogeneous = True
    width: int | None = None  # outputs of the last map

    def none(reason: str) -> Chain:
        return Chain((), {}, reason, homogeneous=False)

    for row in layers:
        if row.place != "stream" or row.chain != 0:
            continue
        if row.role == "sum":
            inside = [rows[each.name] for each in layers if each.block == row.name and each.name in rows]
            lost = [
                each.name
                for each in layers
                if each.block == row.name and _holds(each) and each.name not in rows
            ]
            if lost or (inside and row.branch is None):
                return none(f"{lost[0] if lost else row.name} cannot be followed")
            homogeneous = False
            if not inside:
                continue
            names, aside = _branch(inside, parts)
            notes += [f"{row.name}: only {' and '.join(names)}, no queries and keys"] if aside else []
            if width is not None and not _fits(names, rows, parts, width):
                return none(f"the layers of the branch at {row.name} do not follow each other")
            blocks.append(names)
        elif row.name in rows:
            linear = rows[row.name].linear
            if width is not None and linear.groups * linear.weight.shape[1] % width:
                return none(f"{row.name} does not follow the layer before")
            blocks.append(row.name)
            width = linear.outputs
        elif _holds(row) and not row.entry:
            return none(f"{row.name} is not measured")
        elif blocks and not _homogeneous(row):
            homogeneous = False
    if sum(1 if isinstance(block, str) else len(block) for block in blocks) < 2:
        return none("fewer than two layers follow each other")
    return Chain(tuple(blocks), parts, "", homogeneous, tuple(notes[:1]))


def _holds(row: Layer) -> bool:
    return row.role == "weight"


def _branch(inside: Sequence[Weighted], parts: dict[str, slice]) -> tuple[list[str], bool]:
    """Return the maps of a branch on the way through it: of attention, values and output alone."""
    kept = [one for one in inside if not _ASIDE.fullmatch(one.row.path.rpartition(".")[2])]
    aside = len(kept) < len(inside)
    for one, after in pairwise(kept):
        third, rest = divmod(one.linear.outputs, 3)
        if not rest and third == after.linear.inputs and after.linear.matrix:  # queries, keys, values
            parts[one.row.name] = slice(2 * third, None)
            aside = True
    return [one.row.name for one in kept], aside


def _fits(names: Sequence[str], rows: Mapping[str, Weighted], parts: Mapping[str, slice], width: int) -> bool:
    units = width
    for name in names:
        linear = rows[name].linear
        if linear.groups * linear.weight.shape[1] % units:
            return False
        units = len(range(*parts.get(name, slice(None)).indices(linear.outputs)))
    return units == width


def _homogeneous(row: Layer) -> bool:
    """Return whether a row turns an input twice as large into an output twice as large."""
    if row.role == "activation":
        z = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
        try:
            with torch.no_grad():
                once, twice = row.module(z.clone()), row.module(2 * z)
        except Exception:
            return False
        return bool(torch.allclose(2 * once, twice, rtol=1e-6, atol=1e-9))
    kind = row.kind.lower()
    return any(word in kind for word in ("pool", "flatten", "reshape", "view", "dropout", "identity", "mean"))


@dataclass
class Ranks:
    """Ranks of the layers of a network, and what cutting all of them to these does to its output."""

    of: dict[str, ToleratedRank] = field(default_factory=dict)
    untrained: dict[str, float] = field(default_factory=dict)
    spectra: dict[str, tuple[np.ndarray, list[np.ndarray]]] = field(default_factory=dict)
    change: Estimate = field(default_factory=lambda: Estimate.not_determined("no layer was truncated"))
    notes: list[str] = field(default_factory=list)


def ranks(
    model: nn.Module,
    batch: Batch,
    rows: Mapping[str, Weighted],
    *,
    tolerance: float,
    shuffles: int,
    seed: int,
    limit: float,
    untrained: Mapping[str, Tensor],
) -> Ranks:
    """Return the ranks that the layers need on this batch, in as many passes as the memory asks for."""
    found = Ranks()
    rows = {name: one for name, one in rows.items() if one.then is None}
    if not rows:
        return found
    batch = _some(batch, rows, shuffles, found.notes)
    kept: dict[str, Tensor] = {}
    for number, group in enumerate(_groups(rows, shuffles, untrained, limit)):
        moments = {
            name: Moments(
                rows[name].linear,
                shuffles=shuffles,
                seed=seed + 1009 * (number + 1) + place,
                others=[untrained[name]] if name in untrained else [],
            )
            for place, name in enumerate(group)
        }
        watch = {rows[name].row.path: (moments[name], rows[name].row) for name in group}
        held = sum(Moments.nbytes(rows[name].linear, shuffles, 1) for name in group)
        add = partial(_add, model, batch, watch, 0)
        size = samples_that_fit(model, add, batch.size, limit - held)
        for each in moments.values():
            each.clear()
        for start in range(0, batch.size, size):
            _add(model, batch, watch, start, start + size)
        for name, each in moments.items():
            result = found.of[name] = each.result(tolerance)
            found.spectra[name] = each.spectra
            if result.rank.determined:
                if name in untrained:
                    found.untrained[name] = float(each.of_others(tolerance)[0])
                if result.rank.value < result.full:
                    kept[name] = each.projection(int(result.rank.value))
    if kept:
        found.change = _change(model, batch, {rows[n].row.path: u for n, u in kept.items()}, limit)
    return found


def _some(batch: Batch, rows: Mapping[str, Weighted], shuffles: int, notes: list[str]) -> Batch:
    """Return as many samples as the work allows, evenly spaced."""
    each = sum(
        one.positions * one.linear.weight.numel() * (_PASSES + shuffles)
        + one.positions * one.linear.outputs**2
        for one in rows.values()
    )
    most = max(2, int(_WORK / max(each, 1.0)))
    if batch.size <= most or not batch.cuttable:
        return batch
    notes.append(f"ranks on inputs: {most} of {batch.size} samples, evenly spaced")
    return batch.pick(torch.linspace(0, batch.size - 1, most).round().long())


def _groups(
    rows: Mapping[str, Weighted], shuffles: int, untrained: Mapping[str, Tensor], limit: float
) -> Iterator[list[str]]:
    """Yield names of rows whose moments fit into half of the limit together."""
    group: list[str] = []
    taken = 0.0
    for name, one in rows.items():
        own = Moments.nbytes(one.linear, shuffles, name in untrained)
        if own > 0.8 * limit:
            raise MemoryLimitError(
                f"{name} takes {own / 1e6:.1f} MB, too much for max_memory = {limit / 1e6:.1f} MB. "
                "Raise max_memory."
            )
        if group and taken + own > 0.5 * limit:
            yield group
            group, taken = [], 0.0
        group.append(name)
        taken += own
    if group:
        yield group


def _add(
    model: nn.Module, batch: Batch, watch: Mapping[str, tuple[Moments, Layer]], start: int, stop: int
) -> None:
    modules = {path: row.module for path, (_, row) in watch.items()}

    def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        moments, row = watch[path]
        x = first_float(args)
        if x is not None:
            moments.add(x, row.batch_axis if row.batch_axis < x.ndim else 0)

    with torch.no_grad(), observed(modules, after):
        run(model, batch.take(start, min(stop, batch.size)), batch)


def _change(model: nn.Module, batch: Batch, kept: Mapping[str, Tensor], limit: float) -> Estimate:
    """Return the relative change of the output with all layers truncated, with its error over samples."""
    method = "all layers truncated at once"
    modules = {path: module for path, module in model.named_modules() if path in kept}
    squares: list[Tensor] = []

    def truncated(path: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        axis = -1 if not isinstance(module, nn.modules.conv._ConvNd) else 1 - module.weight.ndim
        y = output.movedim(axis, -1)
        bias = module.bias if isinstance(module.bias, Tensor) else torch.zeros((), dtype=y.dtype)
        u = kept[path].to(y)
        made = ((y - bias.to(y)) @ u) @ u.T + bias.to(y)
        return made.movedim(-1, axis)

    def both(start: int, stop: int) -> list[Tensor]:
        part = batch.take(start, min(stop, batch.size))
        with torch.no_grad():
            plain, note = primary_output(run(model, part, batch), part.size)
            if plain is None or note:
                return []
            plain = plain.clone()
            with observed(modules, truncated):
                cut, _ = primary_output(run(model, part, batch), part.size)
        assert cut is not None
        axis = next((axis for axis, length in enumerate(plain.shape) if length == part.size), 0)
        pair = [each.movedim(axis, 0).reshape(part.size, -1).double() for each in (cut - plain, plain)]
        return [each.square().sum(1) for each in pair]

    size = samples_that_fit(model, lambda n: both(0, n), batch.size, limit)
    for start in range(0, batch.size, size):
        found = both(start, start + size)
        if not found:
            return Estimate.not_determined("the model returns no output of samples", method=method)
        squares.append(torch.stack(found))
    changed, whole = torch.cat(squares, dim=1).cpu().numpy()
    total = float(whole.sum())
    if not (total > 0 and math.isfinite(float(changed.sum()))):
        return Estimate.not_determined("the output is 0, NaN or infinite", method=method)
    value = math.sqrt(float(changed.sum()) / total)
    n = len(changed)
    scatter = float((changed - value**2 * whole).std(ddof=1)) * math.sqrt(n) / total if n > 1 else 0.0
    return Estimate(value, scatter / (2 * value) if value > 0 else 0.0, method, n)
