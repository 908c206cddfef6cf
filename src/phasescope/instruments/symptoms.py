"""What people do wrong most often, each named with the line to change: cheap, and asked of every model."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument, Kind, Severity, importance
from phasescope.instruments.rows import Column, Row, listed
from phasescope.recording.batch import Batch, all_floats, as_batch, first_float
from phasescope.recording.circumstances import circumstances
from phasescope.recording.forward import fitting, run
from phasescope.recording.memory import default_limit, in_bytes, samples_that_fit
from phasescope.recording.modules import as_module
from phasescope.recording.outputs import loss_cotangents
from phasescope.recording.untouched import alone, has_running_statistics, quiet, untouched
from phasescope.signal.table import terminal_width, wrapped

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)
_SQUASHING = {nn.Tanh: 3.0, nn.Sigmoid: 6.0, nn.Hardtanh: 1.0, nn.Hardsigmoid: 3.0, nn.Softsign: 30.0}
_GATES = (nn.ReLU, nn.ReLU6, nn.Hardshrink, nn.Softshrink, nn.Threshold)  # whose output may be exactly 0
_PIXELS = 255.0
_KIND = "modules"  # what is counted where there are many
_LARGE = 30.0  # a root mean square beyond this, or below 1 over it, is no usual scale
_UNLIKE = 1e3  # between features of one table
_SATURATED = 0.25  # share of units whose bias alone saturates them
_MOST_NAMED = 3
_BACK = 8  # memory of a pass there and back, in units of that of a pass without a graph
_STRONG = 1e4  # a gradient over its weight, beside the median parameter


class Symptoms(Instrument):
    """Names what people do wrong most often: in the weights, the input, the wiring and the loss.

    Looked for are, with a loss and its targets where it says so: weights with NaN or infinity, and the module
    whose output is the first not to be finite; a weight matrix of zeros, and activations that are zero for
    all inputs; layers that are copies of each other, as ``nn.TransformerEncoder`` makes them; layers frozen
    between others that are trained; inputs that are all alike, pixels from 0 to 255 and features of unlike
    scales; token ids beyond the vocabulary, or all the same; two affine layers with nothing between them;
    biases that saturate tanh or sigmoid units; BatchNorm in training mode on a single input; a softmax before
    a loss that has its own, or none before one that needs it (loss); an output of another scale than the
    targets (loss); parameters without a gradient, or with one unlike all others (loss).

    Parameters
    ----------
    loss : callable, optional
        As for :func:`phasescope.signal.profile`.
    targets : tensors, optional
        What `loss` compares the output with, beside the batch.

    Notes
    -----
    It applies to every module or other callable. Cost: one forward pass, with a loss one backward pass, and
    a look at each weight. What the model's own code does with ``torch.nn.functional`` is seen by its results
    alone: a functional tanh that saturates is not, a functional ReLU between two layers is.
    """

    name = "symptoms"
    title = "Symptoms"

    def __init__(self, loss: Callable[..., Any] | None = None, targets: Any = None) -> None:
        self._loss, self._targets = loss, targets

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        return "" if callable(model) else f"a {type(model).__name__} cannot be called, so it is no model"

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
        module = as_module(model)
        given = as_batch(module, batch, self._targets)
        trained = frozenset(
            name for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad
        )
        with untouched(module):
            notes = quiet(module)
            limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
            seen = _look(_Seen(module, given, self._loss, trained), limit)
        attrs = {
            "instrument": self.name,
            **circumstances(module, given, seed=seed),
            "citations": "phasescope",
            "notes": json.dumps([*given.notes, *notes]),
            "found": json.dumps([finding.to_dict() for finding in seen.findings]),
            "looked_for": json.dumps(seen.looked_for),
        }
        return _dataset(module, seen, attrs)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        found = [Finding(**entry) for entry in json.loads(dataset.attrs["found"])]
        if found:
            return sorted(found, key=importance)
        looked = json.loads(dataset.attrs["looked_for"])
        return [Finding("No usual mistake was found.", f"{len(looked)} were looked for", "", "ok")]

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        rows = [row for row in Row.measured(dataset) if row["weight"] > 0]
        with plotting.style():
            drawn, (axes,) = plotting.figure(1, panel_size=(5.6, 0.9 + 0.16 * min(len(rows), 40)))
            shown = rows[:40]
            places = np.arange(len(shown))
            axes.plot(
                [row["weight"] for row in shown], places, "o", ms=4, color=plotting.MEASURED, label="weights"
            )
            gradients = [row["gradient"] for row in shown]
            if np.isfinite(gradients).any():
                axes.plot(gradients, places, "s", ms=4, color=plotting.THEORY, label="gradient")
                axes.legend(loc="best")
            axes.set_yticks(places, [row.short_name(30) for row in shown], fontsize=7)
            axes.set(
                xscale="log",
                xlabel="root mean square",
                ylabel="module",
                ylim=(max(len(shown), 1) - 0.5, -0.5),
            )
        return {"scales": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        lines = [self.title, ""]
        for finding in self.findings(dataset):
            mark = {"problem": "!", "warning": "!", "note": "-", "ok": " "}[finding.severity]
            lines += wrapped(f"{mark} {finding.sentence}", width=min(100, terminal_width()))
        return "\n".join(lines)


CAPTIONS = {
    "scales": "Root mean square of the weights of each module, and of their gradient where a loss is given."
}

COLUMNS = (
    Column("weight", "weight", "root mean square of the weights"),
    Column("gradient", "gradient", "root mean square of the gradient of the loss by them"),
    Column("zero", "zero", "share of outputs that are exactly 0", fraction=True),
)
"""What a page shows of each row."""


@dataclass
class _Seen:
    """What one look at a model found, by module and as findings."""

    module: nn.Module
    batch: Batch
    loss: Callable[..., Any] | None
    trained: frozenset[str]  # parameters that ask for a gradient
    lost: bool = False  # whether weights hold NaN or infinity
    cannot_run: bool = False  # token ids lie beyond the vocabulary: forward would raise
    alike: bool = False  # all inputs, or all token ids, are the same
    empty: list[str] = field(default_factory=list)  # weights of which all are zero
    findings: list[Finding] = field(default_factory=list)
    looked_for: list[str] = field(default_factory=list)
    zero: dict[str, float] = field(default_factory=dict)  # share of outputs that are 0, by module
    gradients: dict[str, float] = field(default_factory=dict)  # root mean square, by parameter
    first_broken: str = ""  # module whose output is the first not to be finite
    output: Any = None
    constant: bool = False  # whether the output is the same for all inputs
    straight: list[tuple[str, str]] = field(default_factory=list)  # affine layers with nothing between
    saturated: dict[str, tuple[int, int, str]] = field(default_factory=dict)  # units stuck, units, activation

    def say(
        self,
        sentence: str,
        evidence: str,
        action: str,
        severity: Severity = "warning",
        kind: Kind = "broken",
    ) -> None:
        self.findings.append(Finding(sentence, evidence, action, severity, kind))


def _look(seen: _Seen, limit: float) -> _Seen:
    """Return all that is found; a check that needs what an earlier one lost is left out."""
    weights = [_not_finite, _copies, _frozen]
    inputs = [_inputs, _tokens, _batch_of_one]
    for check in [*weights, *inputs]:
        check(seen)
        seen.looked_for.append(check.__name__.strip("_"))
    if seen.cannot_run:
        return seen
    seen.batch = _part(seen, limit)
    _pass(seen)
    passed = [_first_not_finite, _zeros, _dead, _no_nonlinearity, _saturating]
    for check in passed if seen.loss is None else [*passed, _softmax, _scale, _gradients]:
        check(seen)
        seen.looked_for.append(check.__name__.strip("_"))
    return seen


def _part(seen: _Seen, limit: float) -> Batch:
    """Return as many samples as a pass there and back may take at once."""
    batch = fitting(seen.module, seen.batch)
    if not batch.cuttable:
        return batch

    def there(count: int) -> None:
        with torch.no_grad():
            run(seen.module, batch.take(0, count))

    room = limit / (_BACK if seen.loss is not None else 1)
    return batch.take(0, samples_that_fit(seen.module, there, batch.size, room))


def _code(path: str) -> str:
    """Return how Python writes a module's path: numbers in brackets."""
    return "model" + "".join(
        f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".") if part
    )


# Weights


def _not_finite(seen: _Seen) -> None:
    bad = {name: int((~p.isfinite()).sum()) for name, p in seen.module.named_parameters() if not _finite(p)}
    bad |= {
        name: int((~b.isfinite()).sum())
        for name, b in seen.module.named_buffers()
        if not _finite(b) and "mask" not in name and "bias" not in name.rpartition(".")[2]
    }
    seen.lost = bool(bad)
    if bad:
        first = next(iter(bad))
        seen.say(
            f"{len(bad)} weight tensors hold NaN or infinity, first {first}."
            if len(bad) > 1
            else f"The weights {first} hold NaN or infinity.",
            f"{sum(bad.values())} entries",
            "Load an earlier checkpoint, or draw these weights again; then lower the learning rate or clip "
            "gradients.",
            "problem",
        )


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _copies(seen: _Seen) -> None:
    """Find modules of one kind whose weights are equal, entry by entry, though not the same tensors."""
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for path, module in seen.module.named_modules():
        own = [p for p in module.parameters() if p.ndim > 1 and p.numel() > 1]
        varied = [p for p in own if float(p.detach().float().std()) > 0]
        if varied:
            key = (
                type(module).__name__,
                *(tuple(p.shape) for p in own),
                *(float(p.detach().double().sum()) for p in varied[:4]),
            )
            groups[key].append(path)
    told: list[str] = []
    for paths in sorted(groups.values(), key=lambda paths: paths[0].count(".")):
        modules = [seen.module.get_submodule(path) for path in paths]
        first = list(modules[0].parameters())
        same = [
            path
            for path, module in zip(paths[1:], modules[1:], strict=True)
            if all(a is not b and torch.equal(a, b) for a, b in zip(first, module.parameters(), strict=True))
        ]
        inside = any(paths[0] == above or paths[0].startswith(f"{above}.") for above in told)
        if not same or inside or paths[0] == "":
            continue
        told += [paths[0], *same]
        seen.say(
            f"{paths[0]} and {listed(same, _KIND)} have equal weights: they were copied, not drawn.",
            f"{sum(p.numel() for p in first):,} numbers each",
            f"Draw them again: for p in {_code(same[0].rpartition('.')[0])}.parameters(): "
            "if p.dim() > 1: torch.nn.init.xavier_uniform_(p).",
        )


def _frozen(seen: _Seen) -> None:
    """Find layers without a gradient between layers with one; a frozen beginning is transfer learning."""
    layers = [
        (path, [f"{path}.{n}".lstrip(".") in seen.trained for n, p in module.named_parameters(recurse=False)])
        for path, module in seen.module.named_modules()
        if any(p.ndim > 1 for p in module.parameters(recurse=False))
    ]
    if not any(any(asked) for _, asked in layers):
        return
    trained = [number for number, (_, asked) in enumerate(layers) if any(asked)]
    adapted = any("lora" in path.lower() or "adapter" in path.lower() for path, _ in layers)
    frozen = [path for number, (path, asked) in enumerate(layers) if not any(asked) and number > trained[0]]
    if frozen and not adapted and len(frozen) < len(layers) / 2:
        seen.say(
            f"{listed(frozen, _KIND)} {'is' if len(frozen) == 1 else 'are'} frozen, after layers that are "
            "trained.",
            "requires_grad is False",
            f"If nobody meant to: {_code(frozen[0])}.requires_grad_(True), and give its parameters to the "
            "optimiser.",
            kind="note",
        )


# Inputs


def _inputs(seen: _Seen) -> None:
    first = next((m for m in seen.module.modules() if list(m.parameters(recurse=False))), None)
    normed = has_running_statistics(first) if first is not None else False
    several = len(seen.batch.signals()) > 1
    for name, tensor in seen.batch.signals():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        x, what = tensor.detach().double(), f"the input {name!r}" if several else "the input"
        head = what[0].upper() + what[1:]
        if len(x) > 1 and bool((x == x[:1]).all()):
            seen.alike = True
            seen.say(
                f"All {len(x)} samples of {what} are the same.", "", "Pass samples that differ.", "problem"
            )
            continue
        top, size = float(x.abs().max()), float(x.square().mean().sqrt())
        whole = bool((x == x.round()).all()) and float(x.min()) >= 0 and 16 < top <= _PIXELS
        if normed or size == 0:
            continue
        if x.ndim > 2 and whole:
            seen.say(
                f"{head} holds pixels from 0 to {top:.0f}, as they are in the file.",
                f"root mean square {size:.3g}",
                "Scale them before they enter: x = (x / 255 - mean) / std.",
            )
        elif x.ndim == 2 and len(x) > 2 and _spread(x) > _UNLIKE:
            seen.say(
                f"The features of {what} differ in scale by a factor of {_spread(x):.1g}.",
                "standard deviations over the batch",
                "Standardise them: x = (x - x_train.mean(0)) / x_train.std(0).",
            )
        elif size > _LARGE or size < 1 / _LARGE:
            seen.say(
                f"{head} has a root mean square of {size:.2g}, where the usual initialisations expect 1.",
                f"largest value {top:.3g}",
                "Standardise it: x = (x - x_train.mean()) / x_train.std().",
            )


def _spread(x: Tensor) -> float:
    """Return the largest over the smallest standard deviation of the features that vary."""
    deviations = x.std(0)
    varying = deviations[deviations > 0]
    return float(varying.max() / varying.min()) if len(varying) > 1 else 1.0


def _tokens(seen: _Seen) -> None:
    tables = [(path, m) for path, m in seen.module.named_modules() if isinstance(m, nn.Embedding)]
    if not tables:
        return
    path, table = max(tables, key=lambda each: each[1].num_embeddings)
    for name, tensor in seen.batch.tensors():
        if tensor.is_floating_point() or tensor.dtype == torch.bool or "mask" in name or "type" in name:
            continue
        if tensor.ndim < 2 or not tensor.numel() or "position" in name:
            continue
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or high >= table.num_embeddings:
            seen.cannot_run = True
            seen.say(
                f"Token id {high if high >= table.num_embeddings else low} is beyond the vocabulary, {path}.",
                f"{table.num_embeddings} rows, ids from {low} to {high}",
                "Use the tokeniser that the model was built for, or give the embedding more rows.",
                "problem",
            )
        elif len(tensor) > 1 and low == high:
            seen.alike = True
            seen.say(
                f"All token ids are {low}: the model reads the same token everywhere.",
                f"{tensor.numel()} ids",
                "Check the tokeniser and the padding.",
                "problem",
            )
        elif table.padding_idx is not None:
            share = float((tensor == table.padding_idx).double().mean())
            if share > 0.9:
                seen.say(
                    f"{100 * share:.0f} % of the token ids are padding.",
                    f"id {table.padding_idx} of {path}",
                    "Sort sequences by length, or cut them.",
                    kind="note",
                )


def _batch_of_one(seen: _Seen) -> None:
    norms = [
        path
        for path, module in seen.module.named_modules()
        if has_running_statistics(module) and module.training and "Instance" not in type(module).__name__
    ]
    if norms and seen.batch.size == 1:
        seen.say(
            f"{listed(norms, _KIND)} {'takes' if len(norms) == 1 else 'take'} statistics over a batch of one "
            "input.",
            "training mode",
            "Pass 16 inputs or more, or call model.eval().",
        )


# One pass forwards and one back


def _pass(seen: _Seen) -> None:
    """Run the model once and keep, of each module without children, what the checks ask for."""
    loss = seen.loss
    made: dict[int, tuple[StorageWeakRef, int, str]] = {}  # storage, version and maker of affine outputs
    names = {id(module): path for path, module in seen.module.named_modules()}
    handles = []

    def maker(tensor: Tensor) -> str:
        entry = made.get(tensor.untyped_storage().data_ptr())
        lost = entry is None or entry[0].expired()  # type: ignore[no-untyped-call]
        return "" if entry is None or lost or entry[1] != tensor._version else entry[2]

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        x = first_float(args)
        if x is None or not x.numel():
            return
        if isinstance(module, _AFFINE) and (giver := maker(x)):
            seen.straight.append((giver, names[id(module)]))
        limit = next((z for kind, z in _SQUASHING.items() if isinstance(module, kind)), None)
        if limit is not None and (giver := maker(x)):
            source = seen.module.get_submodule(giver)
            bias = getattr(source, "bias", None)
            if bias is None:
                return
            units = x.transpose(1, -1) if isinstance(source, nn.Conv2d) else x
            rest = (units.reshape(-1, len(bias)) - bias).square().mean(0).sqrt()
            stuck = (bias.abs() - 2 * rest) > limit
            if float(stuck.double().mean()) > _SATURATED:
                seen.saturated[giver] = (int(stuck.sum()), len(bias), type(module).__name__)

    def after(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        path = names[id(module)]
        floats = all_floats(output)
        if floats and not seen.first_broken and not all(_finite(each) for each in floats):
            seen.first_broken = path or "the model"
        if list(module.children()) or not floats or not floats[0].numel():
            return
        seen.zero[path] = float((floats[0] == 0).double().mean())
        if isinstance(module, _AFFINE):
            storage = floats[0].untyped_storage()
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            made[storage.data_ptr()] = (reference, floats[0]._version, path)

    for module in seen.module.modules():
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    for name, p in seen.module.named_parameters():
        p.requires_grad_(name in seen.trained and loss is not None)
    try:
        with torch.set_grad_enabled(loss is not None):
            seen.output = run(seen.module, seen.batch)
    finally:
        for handle in handles:
            handle.remove()
    floats = all_floats(seen.output)
    size = seen.batch.size
    seen.constant = (
        size > 1
        and bool(floats)
        and all(bool((each == each[:1]).all()) for each in floats if each.ndim and len(each) == size)
        and any(each.ndim and len(each) == size for each in floats)
    )
    if loss is not None and not seen.first_broken:
        pairs = [pair for pair in loss_cotangents(loss, seen.output, seen.batch) if pair[0].requires_grad]
        named = [(name, p) for name, p in seen.module.named_parameters() if p.requires_grad]
        if pairs and named:
            slopes = torch.autograd.grad(
                [o for o, _ in pairs], [p for _, p in named], [s for _, s in pairs], allow_unused=True
            )
            for (name, _), slope in zip(named, slopes, strict=True):
                seen.gradients[name] = -1.0 if slope is None else _size(slope)


def _size(tensor: Tensor) -> float:
    return float(tensor.detach().double().square().mean().sqrt()) if tensor.numel() else 0.0


def _first_not_finite(seen: _Seen) -> None:
    if not seen.first_broken:
        return
    seen.say(
        f"The output of {seen.first_broken} is the first in the pass that is not finite.",
        "inputs are finite; its weights are the reason" if seen.lost else "weights are finite",
        "Mend these weights first."
        if seen.lost
        else f"Measure in float32 or float64, and lower the scale of the weights before {seen.first_broken}.",
        "problem",
    )


def _zeros(seen: _Seen) -> None:
    seen.empty = [
        name
        for name, p in seen.module.named_parameters()
        if p.ndim > 1 and p.numel() > 1 and not bool(p.detach().any())
    ]
    for name in seen.empty[:_MOST_NAMED]:
        cut = seen.constant
        path = name.rpartition(".")[0]
        seen.say(
            f"The weights {name} are all zero"
            + (", and the output is the same for every input." if cut else "."),
            "every entry",
            f"Draw them: torch.nn.init.kaiming_normal_({_code(path)}.{name.rpartition('.')[2]})."
            if cut
            else "Nothing, if a branch is meant to begin at zero.",
            "problem" if cut else "note",
        )


def _dead(seen: _Seen) -> None:
    dead = [
        path
        for path, module in seen.module.named_modules()
        if isinstance(module, _GATES) and seen.zero.get(path) == 1.0
    ]
    if dead and not (seen.empty and seen.constant):
        seen.say(
            f"All units of {listed(dead, _KIND)} are zero for every input: nothing passes.",
            f"{seen.batch.size} inputs",
            "Look at the biases and the scale of the input before it; draw the layer before it again.",
            "problem" if seen.constant else "warning",
        )
    elif seen.constant and not seen.empty and not seen.alike:
        seen.say(
            "The output is exactly the same for every input.",
            f"{seen.batch.size} inputs",
            "Find the layer that drops the signal: zero weights, a detached branch, an unused input.",
            "problem",
        )


def _no_nonlinearity(seen: _Seen) -> None:
    pairs = []
    for first, second in dict.fromkeys(seen.straight):
        a, b = (seen.module.get_submodule(path) for path in (first, second))
        inner, ends = _width(a, out=True), (_width(a, out=False), _width(b, out=True))
        grouped = max(getattr(a, "groups", 1), getattr(b, "groups", 1)) > 1
        low_rank = inner < min(ends)  # a factorised layer
        if not grouped and not low_rank:
            pairs.append((first, second))
    if pairs:
        first, second = pairs[0]
        more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
        seen.say(
            f"Nothing lies between {first} and {second}: together they are one linear layer{more}.",
            f"the output of {first} enters {second} unchanged",
            "Put an activation between them, such as torch.nn.GELU(), or keep one of the two.",
            kind="note",
        )


def _width(module: nn.Module, *, out: bool) -> int:
    names = ("out_features", "out_channels") if out else ("in_features", "in_channels")
    return int(next(getattr(module, name) for name in names if hasattr(module, name)))


def _saturating(seen: _Seen) -> None:
    for path, (stuck, units, activation) in seen.saturated.items():
        seen.say(
            f"The biases of {path} alone saturate {stuck} of {units} units of the {activation} after it.",
            "more than twice what the weights add",
            f"Begin with zero biases: torch.nn.init.zeros_({_code(path)}.bias).",
            kind="units",
        )


# With a loss


def _called(loss: Callable[..., Any] | None) -> str:
    """Return the names that a loss goes by: its class, its own name, and those that its code uses."""
    names = [type(loss).__name__, getattr(loss, "__name__", "")]
    function = getattr(loss, "func", loss)
    names += [getattr(function, "__name__", "")]
    code = getattr(function, "__code__", None)
    names += list(code.co_names) if code is not None else []
    return " ".join(names).lower()


def _softmax(seen: _Seen) -> None:
    said, output = _called(seen.loss), first_float(seen.output)
    if output is None or not output.numel() or output.ndim < 2 or not _finite(output):
        return
    y = output.detach().double()
    axis = 1 if y.ndim > 2 and y.shape[1] < y.shape[-1] else -1
    crossed = "cross_entropy" in said or "crossentropyloss" in said
    binary = "with_logits" in said or "withlogits" in said
    if crossed and not binary and "binary" not in said and y.shape[axis] > 1:
        ones = any(bool((y.sum(k) - 1).abs().max() < 1e-3) for k in {axis, 1, -1})
        if bool((y >= 0).all()) and ones:
            seen.say(
                "The output has passed a softmax already, and the cross-entropy has its own.",
                "outputs are positive and sum to 1",
                "Return the values before the softmax; the loss then learns many times faster.",
                "problem",
            )
    elif binary and bool(((y >= 0) & (y <= 1)).all()):
        seen.say(
            "The output has passed a sigmoid already, and this loss has its own.",
            "all outputs lie between 0 and 1",
            "Return the values before the sigmoid, or use torch.nn.BCELoss.",
            "problem",
        )
    elif "nll" in said and y.shape[axis] > 1 and "poisson" not in said and "gaussian" not in said:
        away = float(y.logsumexp(axis).abs().max())
        if away > 1e-3:
            seen.say(
                "This loss expects logarithms of probabilities, and the output has none.",
                f"ln of the sum of exp(output) is up to {away:.2g}, not 0",
                "Return torch.log_softmax(output, dim=-1), or use torch.nn.CrossEntropyLoss.",
                "problem",
            )


def _scale(seen: _Seen) -> None:
    output, targets = first_float(seen.output), seen.batch.targets
    if output is None or not output.numel() or not _finite(output):
        return
    size = _size(output)
    if isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape == output.shape:
        wanted = _size(targets)
        if wanted > 0 and size > 0 and not 1 / _LARGE < size / wanted < _LARGE:
            seen.say(
                f"The output is {size / wanted:.1g} times as large as the targets.",
                f"root mean squares {size:.3g} and {wanted:.3g}",
                "Standardise the targets, or scale the last layer to them.",
                kind="note",
            )
    elif isinstance(targets, Tensor) and not targets.is_floating_point() and size > _LARGE:
        seen.say(
            f"The outputs are as large as {size:.2g}: the softmax of them is 0 or 1 from the start.",
            "root mean square",
            "Scale the last layer down; outputs of order 1 are usual.",
            kind="note",
        )


def _gradients(seen: _Seen) -> None:
    parameters = dict(seen.module.named_parameters())
    unused = [name for name, size in seen.gradients.items() if size < 0]
    if unused and len(unused) < len(seen.gradients):
        seen.say(
            f"The loss does not depend on {unused[0]}"
            + (f" and {len(unused) - 1} other parameters." if len(unused) > 1 else "."),
            "no path from them to the loss",
            "Use them in forward, or remove them; an unused layer is often a typing mistake.",
            kind="note",
        )
    ratios = {
        name: size / _size(parameters[name])
        for name, size in seen.gradients.items()
        if size > 0 and parameters[name].ndim > 1 and _size(parameters[name]) > 0
    }
    if len(ratios) > 2:
        middle = float(np.median(list(ratios.values())))
        worst = max(ratios, key=lambda name: ratios[name])
        if ratios[worst] > _STRONG * middle:
            seen.say(
                f"Beside its weights the gradient of {worst} is {ratios[worst] / middle:.0e} times "
                "as large as that of the median layer.",
                f"gradient over weight {ratios[worst]:.2g}, median {middle:.2g}",
                "Raise its weights or lower its rate; Adam hides it, SGD does not.",
                kind="note",
            )


def _dataset(module: nn.Module, seen: _Seen, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Return the dataset: a row for each module that has weights of its own or was called."""
    import xarray as xr

    rows = list(_rows(module, seen))
    described = {
        "weight": ("1", "root mean square of the weights"),
        "weight_error": ("1", "one standard error of the root mean square of independent weights"),
        "gradient": ("1", "root mean square of the gradient of the loss by the weights"),
        "zero": ("1", "share of outputs that are exactly 0"),
        "zero_error": ("1", "one standard error of that share over inputs that are independent"),
    }
    data = {
        name: ("layer", np.array([row[name] for row in rows]), {"units": unit, "long_name": what})
        for name, (unit, what) in described.items()
    }
    coordinates = {
        "layer": [row["layer"] for row in rows],
        "kind": ("layer", [row["kind"] for row in rows]),
        "skipped": ("layer", [row["skipped"] for row in rows]),
    }
    return xr.Dataset(data, coordinates, dict(attrs))


def _size_and_error(weights: Iterable[Tensor]) -> tuple[float, float]:
    """Return the root mean square of numbers, and its error as if they were independent."""
    count, second, fourth = 0, 0.0, 0.0
    for weight in weights:
        squares = weight.detach().double().square()
        count, second = count + squares.numel(), second + float(squares.sum())
        fourth += float(squares.square_().sum())
    if not count:
        return math.nan, math.nan
    mean = second / count
    spread = math.sqrt(max(fourth / count - mean**2, 0.0) / count)
    return math.sqrt(mean), spread / (2 * math.sqrt(mean)) if mean > 0 else 0.0


def _rows(module: nn.Module, seen: _Seen) -> Iterator[dict[str, Any]]:
    for path, part in module.named_modules():
        own = dict(part.named_parameters(recurse=False))
        if list(part.children()) and not own:
            continue
        weight, error = _size_and_error(own.values())
        slopes = [
            (seen.gradients.get(f"{path}.{name}".lstrip("."), -1.0), p.numel()) for name, p in own.items()
        ]
        known = [(size, n) for size, n in slopes if size >= 0]
        squares = sum(size**2 * n for size, n in known)
        yield {
            "layer": path or type(part).__name__,
            "kind": type(part).__name__,
            "weight": weight,
            "weight_error": error,
            "gradient": math.sqrt(squares / sum(n for _, n in known)) if known else math.nan,
            "zero": (zero := seen.zero.get(path, math.nan)),
            "zero_error": math.sqrt(zero * (1 - zero) / seen.batch.size),
            "skipped": "" if own or path in seen.zero else "not called, and without weights",
        }
