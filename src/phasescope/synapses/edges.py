"""Which residual branches, attention heads and modules can go: the loss as a function of gates on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from phasescope.errors import InputError, NothingToMeasureError
from phasescope.estimate import Estimate
from phasescope.recording.batch import Batch, as_batch, first_float, leaves, map_leaves, replace_first_float
from phasescope.recording.forward import fitting, in_users_words, lacks_memory, run
from phasescope.recording.layers import Layer, discover, watched
from phasescope.recording.memory import default_limit, in_bytes, samples_that_fit
from phasescope.recording.modules import as_module
from phasescope.recording.outputs import primary_output
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result

Array = NDArray[np.float64]
Loss = Callable[..., Any]

FEWEST = 32  # samples, and groups of samples that errors are taken over
_RANDOM_ORDERS, _SIZES = 20, 10  # random orders, and numbers of removed edges at which their loss is taken
_TRIED = 3  # edges that each greedy step tries
_PROBES, _SHARED_PROBES = 4, 32  # random signs of each sample; of all samples where these are coupled
_POINTS = 5  # of the path integral
_ROUGH = 32.0  # below so many times the values of a pass the default limit is not checked further
_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads", "nhead")
_PROJECTIONS = ("out_proj", "o_proj", "c_proj", "out_lin", "to_out", "proj", "dense", "wo", "o")
_TOGETHER = 1e-3  # relative distance of the mean loss of the parts from that of the whole


@dataclass(frozen=True)
class EdgeGates(Result):
    """What happens to a loss when edges of a network are removed; :func:`edges` makes it.

    An array over the E edges is in the order of the forward pass. A change is the loss without the edge minus
    the loss with all of them, in the unit of the loss; one standard error over the samples stands beside it.

    Parameters
    ----------
    names : tuple of str
        Of the edges: the row of the sum, such as ``"blocks.2 (sum)"``, the attention and the head, such as
        ``"attention (head 3)"``, or the module that was named.
    kinds : tuple of str
        "branch", "head" or "module".
    loss : Estimate
        With all edges; its error is over the samples. It is the tolerance of :attr:`verdicts`.
    accuracy : float
        Share of the targets that the output names right; NaN where the targets are no classes.
    change, change_error : array of shape (E,)
        Exact ablation; NaN for edges that it was not made for.
    first, first_error : array of shape (E,)
        To first order, ``-g``, g the derivative of the loss by the gate. At a minimum it says little.
    second, second_error : array of shape (E,)
        To second order, ``-g + h/2``, h the second derivative, by random signs (Hutchinson).
    path : array of shape (E,)
        Integral of the derivative along the gate from 1 to 0, five points; NaN where it was not asked for.
    order : array of int, shape (K,)
        Edges in the order in which they were removed, each on top of those before it.
    curve, curve_error : array of shape (K + 1,)
        Change of the loss after the first 0, 1, ..., K of them.
    accuracies : array of shape (K + 1,)
        Accuracy at these points.
    sizes : array of int, shape (S,)
        Numbers of removed edges at which random orders were evaluated.
    random : array of shape (20, S)
        Change of the loss in each of 20 random orders.
    removable : int
        Length of the longest start of the order along which the change stays below the error of the loss.
    skipped : dict of str to str
        What has no gate although it was looked for, with the reason.
    samples : int
        Number of samples.
    notes : tuple of str
        What was changed or assumed.
    citations : tuple of str
        Keys of ``phasescope.citations.BIBTEX``.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    loss: Estimate
    accuracy: float
    change: Array = field(repr=False)
    change_error: Array = field(repr=False)
    first: Array = field(repr=False)
    first_error: Array = field(repr=False)
    second: Array = field(repr=False)
    second_error: Array = field(repr=False)
    path: Array = field(repr=False)
    order: NDArray[np.int64] = field(repr=False)
    curve: Array = field(repr=False)
    curve_error: Array = field(repr=False)
    accuracies: Array = field(repr=False)
    sizes: NDArray[np.int64] = field(repr=False)
    random: Array = field(repr=False)
    removable: int
    skipped: dict[str, str]
    samples: int
    notes: tuple[str, ...]
    citations: tuple[str, ...] = ("lecun1990", "yuan2020")

    @property
    def missing(self) -> str:
        """Why nothing can be concluded about which edges can go; empty where something can."""
        if self.samples < FEWEST:
            return f"{self.samples} samples are too few: {FEWEST} are needed"
        if not math.isfinite(self.loss.error):
            return "the loss of parts of the batch does not add up to that of the whole, so it has no error"
        known = np.isfinite(self.change)
        if np.all(np.abs(self.change[known]) <= 2 * self.change_error[known]):
            return "the loss is flat below its sampling error: no single edge changes it by two errors"
        return ""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Of each edge alone: "can go", "needed" or "not determined".

        An edge can go if the change is below the error of the loss by two of its own errors, and is needed if
        it is above it by two.
        """
        if self.samples < FEWEST or not math.isfinite(self.loss.error):
            return ("not determined",) * len(self.names)
        tolerance = self.loss.error
        with np.errstate(invalid="ignore"):
            goes = self.change + 2 * self.change_error < tolerance
            needed = self.change - 2 * self.change_error > tolerance
        return tuple(
            "can go" if go else "needed" if need else "not determined"
            for go, need in zip(goes, needed, strict=True)
        )

    def __str__(self) -> str:
        lines = [
            f"loss {self.loss} with {len(self.names)} edges, {self.removable} of them removable together"
        ]
        for place in np.argsort(np.where(np.isfinite(self.change), self.change, self.second)):
            exact = math.isfinite(self.change[place])
            value, error = (
                (self.change[place], self.change_error[place])
                if exact
                else (self.second[place], self.second_error[place])
            )
            shown = Estimate(float(value), float(error), "change of the loss", self.samples)
            how = self.verdicts[place] if exact else "second order"
            lines.append(f"  {self.names[place]:<32} {shown!s:>22}  {how}")
        return "\n".join(lines)


@alone()
def edges(
    model: nn.Module | Callable[..., Any],
    loss: Loss,
    data: Any,
    *,
    edges: str | Sequence[str] = "auto",
    exact_up_to: int = 64,
    path: bool = False,
    seed: int = 0,
    max_memory: float | str | None = None,
) -> EdgeGates:
    r"""Return how a loss changes when each residual branch, attention head or named module is removed.

    An edge e carries a gate :math:`a_e`, which is 1 in the given network. A branch of a residual sum becomes
    :math:`x + a_e f(x)`; the output of an attention head and of a named module is multiplied by
    :math:`a_e`. With L the mean loss on the data, four numbers tell what the edge is worth:

    - exact ablation, :math:`L(a_e = 0) - L(1)`, one forward pass an edge;
    - first order, :math:`-g_e` with :math:`g_e = \partial L/\partial a_e`, one backward pass for all edges;
    - second order, :math:`-g_e + h_e/2` with :math:`h_e = \partial^2 L/\partial a_e^2`, four backward passes
      of the gradient for all edges;
    - if asked for, the path integral :math:`-\int_0^1 (\partial L/\partial a_e)\,\mathrm{d}a_e`.

    Gates interact, so edges are then removed one after the other, each time the best of the three that last
    changed the loss least, and the loss on the way stands beside that of 20 random orders.

    Parameters
    ----------
    model : nn.Module or callable
        The trained model. Its mode is kept: pass it in evaluation mode, unless the statistics of the batch
        are meant.
    loss : callable
        ``loss(output, targets)``, one number: a mean over the samples.
    data : tuple
        One batch, ``(inputs, targets)``; the last element is the target. The samples lie along the first
        axis. Fewer than 32 samples leave the verdicts undetermined.
    edges : str or sequence of str
        "auto" for residual branches and heads, "branches", "heads", or names: of modules, whose output gets
        a gate, or of edges that "auto" finds.
    exact_up_to : int
        Number of edges up to which each is removed exactly. Of more edges those with the smallest second
        order are, as many; and only so many are removed one after the other.
    path : bool
        Whether to compute the path integral: five gradients for each edge, more than exact ablation costs.
    seed : int
        Seed of the random signs and the random orders.
    max_memory : int or str, optional
        Memory that the measurement may take beyond model and batch, in bytes or as "512MB"; by default twice
        the weights, or 1 GB if that is more. Samples are run in parts where that is needed.

    Returns
    -------
    EdgeGates
        The changes with their errors, the order of removal, and the curves.

    Raises
    ------
    InputError
        If the model does not accept the data, the targets do not fit, the loss is no single finite number,
        or a name is none of a module's.
    NothingToMeasureError
        If no residual branch and no head was found.
    MemoryLimitError
        If not even two samples fit into `max_memory`.

    Notes
    -----
    Samples have gates of their own in one pass, so each draws its own signs, and one pass with N samples
    averages N of them. Where samples influence each other, as with batch statistics in training mode, the
    signs are shared, 32 of them, and the error is theirs alone.

    Near a minimum, second order ranks edges better than it measures them: on digits it stayed far below the
    change itself. Use it to choose, and exact ablation for numbers.

    Errors are standard errors over 32 or more groups of samples, paired: of a change, not of two losses.
    They need a loss that is a mean over the samples; a weighted mean has none.

    Found are sums of which one term comes straight from the stream of the network; ``nn.MultiheadAttention``;
    and modules that count heads and have an output projection, as those of the package transformers do. A
    shortcut with weights of its own is no edge: name the module of its branch. Dropout is off, and the model
    is left as it was, bit for bit. Cost: for E <= 64 edges about E + 3 E + 160 forward passes, and 12
    gradients.

    References
    ----------
    Yuan, Li, Shao and Yan 2020, arXiv:2008.08261 (connectivity as numbers on edges that are learned). Second
    order: LeCun, Denker and Solla 1990, Optimal Brain Damage. The rule of the verdicts and the random orders
    are chosen here.
    """
    if not callable(loss):
        raise InputError(f"The loss is {loss!r}, which cannot be called.", "Pass a function or a module.")
    if exact_up_to < 1 or seed < 0:
        raise InputError(
            f"exact_up_to = {exact_up_to} and seed = {seed}.", "Pass exact_up_to from 1 and seed from 0."
        )
    module = as_module(model)
    fitted = with_targets(module, data)
    limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
    with untouched(module):
        notes = [*quiet(module), *fitted.notes]
        fitted = fitting(module, fitted)
        if max_memory is not None:  # two samples pass the network before anything is measured
            with torch.no_grad():
                samples_that_fit(module, lambda few: run(module, fitted.take(0, few)), fitted.size, limit)
        rows = discover(module, fitted)
        found, skipped = _found(module, rows.layers, edges)
        with _open_attention(module, found):
            fits = max_memory is None and _ROUGH * (rows.held * fitted.size + fitted.nbytes()) < limit
            gated = _Gated(module, fitted, loss, found, math.inf if fits else limit, seed)
            return _measured(gated, skipped, exact_up_to, path, [*notes, *gated.notes])


def with_targets(module: nn.Module, data: Any) -> Batch:
    """Return the batch with its targets as tensors of the model's device, as many as the samples."""
    if isinstance(data, Batch):
        batch = data
    elif isinstance(data, (tuple, list)) and len(data) > 1:
        batch = as_batch(module, data[0] if len(data) == 2 else tuple(data[:-1]), targets=data[-1])
    else:
        raise InputError(
            f"The data are of type {type(data).__name__}, without targets.", "Pass a tuple (inputs, targets)."
        )
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    arrays = map_leaves(lambda array: torch.from_numpy(array.copy()), batch.targets, np.ndarray)
    targets = map_leaves(lambda tensor: tensor.detach().to(device), arrays)
    lengths = {len(t) if t.ndim else 0 for t in leaves(targets, Tensor)}
    if not lengths or any(length == 0 or length % batch.size for length in lengths):
        shown = ", ".join(map(str, sorted(lengths))) or "none"
        raise InputError(
            f"The lengths of the targets are {shown} where the batch has {batch.size} samples.",
            "Pass one target for each sample.",
        )
    return replace(batch, targets=targets)


@dataclass(frozen=True)
class _Edge:
    """One gate: of a row, of the output of a module, or of one head of an attention."""

    name: str
    kind: str
    row: Layer | None = None
    path: str = ""
    head: int = 0
    heads: int = 0


def _found(
    module: nn.Module, rows: Sequence[Layer], wanted: str | Sequence[str]
) -> tuple[list[_Edge], dict[str, str]]:
    """Return the edges in the order of the pass, and what looks like one and has no gate."""
    branches, skipped = [], {}
    for row in rows:
        if row.role != "sum" or row.place != "stream" or row.skipped:
            continue
        if row.branch is not None and row.at is not None:
            branches.append(_Edge(row.name, "branch", row))
        elif row.branch is not None and row.ends_with:
            branches.append(_Edge(row.name, "branch", path=row.ends_with))
        else:
            skipped[row.name] = "no single branch: neither or both terms come straight from the stream"
    heads = [
        _Edge(f"{path or 'attention'} (head {head})", "head", path=path, head=head, heads=count)
        for path, count in _attentions(module).items()
        for head in range(count)
    ]
    place = {row.name: number for number, row in reversed(list(enumerate(rows)))}
    within = [
        (min((n for name, n in place.items() if f"{name}.".startswith(f"{edge.path}.")), default=0), edge)
        for edge in heads
    ]
    every = sorted([(place[edge.name], edge) for edge in branches] + within, key=lambda item: item[0])
    known = [edge for _, edge in every]
    if isinstance(wanted, str) and wanted in ("auto", "branches", "heads"):
        kind = {"branches": "branch", "heads": "head"}.get(wanted)
        chosen = [edge for edge in known if kind is None or edge.kind == kind]
        if not chosen:
            what = {None: "residual branch and no attention head", "branch": "residual branch"}
            raise NothingToMeasureError(
                f"No {what.get(kind, 'attention head')} was found in {type(module).__name__}.",
                "Name the modules whose output is to get a gate: edges=['layer1.0.conv2', ...].",
            )
        return chosen, skipped
    by_name, paths = {edge.name: edge for edge in known}, dict(module.named_modules())
    names = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
    unknown = [name for name in names if name not in by_name and (name not in paths or not name)]
    if unknown or not names:
        some = ", ".join([*by_name, *(path for path in paths if path)][:6])
        raise InputError(
            f"{type(module).__name__} has no edge or module {unknown[0]!r}."
            if unknown
            else "No edge is named.",
            f"Name some of {some}, ... or pass edges='auto'.",
        )
    return [by_name.get(name) or _Edge(name, "module", path=name) for name in names], skipped


def _attentions(module: nn.Module) -> dict[str, int]:
    """Return the number of heads of each attention whose heads lie side by side in front of a projection."""
    counted: dict[str, int] = {}
    for path, part in module.named_modules():
        if isinstance(part, nn.MultiheadAttention):
            counted[path] = part.num_heads
            continue
        given = [getattr(part, name, None) for name in _COUNTS]
        if hasattr(part, "head_dim"):
            given.append(getattr(getattr(part, "config", None), "num_attention_heads", None))
        count = next((n for n in given if isinstance(n, int) and not isinstance(n, bool) and n > 0), 0)
        if count and (_projection(part) is not None or hasattr(part, "all_head_size")):
            counted[path] = count
    inner = [path for path in counted for other in counted if path != other and other.startswith(f"{path}.")]
    outer = {*inner} | ({""} if "" in counted and len(counted) > 1 else set())
    return {path: count for path, count in counted.items() if path not in outer}


def _projection(attention: nn.Module) -> nn.Module | None:
    children = dict(attention.named_children())
    return next((children[name] for name in _PROJECTIONS if name in children), None)


@contextmanager
def _open_attention(module: nn.Module, found: Sequence[_Edge]) -> Iterator[None]:
    """Let each nn.MultiheadAttention return its heads side by side, and a hook project them."""
    with ExitStack() as stack:
        for path in dict.fromkeys(edge.path for edge in found if edge.kind == "head"):
            attention = module.get_submodule(path)
            if isinstance(attention, nn.MultiheadAttention):
                projection = attention.out_proj
                weight, bias = projection.weight, projection.bias
                same = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
                projection.weight = nn.Parameter(same, requires_grad=False)
                projection.register_parameter("bias", None)

                def project(
                    _: nn.Module, args: Any, output: Any, weight: Tensor = weight, bias: Tensor | None = bias
                ) -> Any:
                    return replace_first_float(output, F.linear(_float(output), weight, bias))

                stack.callback(attention.register_forward_hook(project).remove)
        yield


def _float(output: Any) -> Tensor:
    tensor = first_float(output)
    if tensor is None:
        raise InputError(
            f"A module with a gate puts out {type(output).__name__}, without a float tensor.",
            "Name other modules in edges.",
        )
    return tensor


class _Gated:
    """The loss of each group of samples as a function of gates, one for each sample and edge."""

    def __init__(
        self, module: nn.Module, batch: Batch, loss: Loss, found: Sequence[_Edge], limit: float, seed: int
    ) -> None:
        self.module, self.batch, self._loss, self.edges = module, batch, loss, list(found)
        self.seed, self.notes = seed, list[str]()
        self._known: dict[frozenset[int], tuple[Array, float]] = {}
        self._rows = [edge.row for edge in found if edge.row is not None]
        self._columns = {edge.row.name: n for n, edge in enumerate(found) if edge.row is not None}
        first = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
        self._like = first if first.dtype in (torch.float32, torch.float64) else first.float()
        if any(part.training and hasattr(part, "running_mean") for part in module.modules()):
            self.batch = replace(self.batch, cuttable=False)
            self.notes.append("batch statistics are those of this batch: the model is in training mode")
        size, groups = batch.size, min(batch.size, FEWEST)
        self.independent, most = True, size
        if self.batch.cuttable and limit < math.inf:
            most = samples_that_fit(module, self._piece, size, limit)
            groups = groups if most == size else max(groups, math.ceil(size / max(1, most - 1)))
        self.cuts = [size * g // groups for g in range(groups + 1)]
        self.parts = list(self._packed(most))
        self._check(self.cuts[self.parts[0][1]])
        self.weights = np.diff(self.cuts) / size

    def _packed(self, most: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of groups that hold at most so many samples."""
        first = 0
        for group in range(1, len(self.cuts)):
            last = group + 1 == len(self.cuts)
            if last or self.cuts[group + 1] - self.cuts[first] > most:
                yield first, group
                first = group

    def _piece(self, samples: int) -> None:
        """Take the products that most memory goes into, for the first samples alone."""
        self._products(0, samples, [0, samples], 0)

    def _check(self, size: int) -> None:
        """Find out, from the first samples, if the loss is a mean over groups and these are independent."""
        cuts = [cut for cut in self.cuts if cut <= size]
        batch, gates = self.batch.take(0, size), self.gates(samples=size).requires_grad_()
        with torch.enable_grad():
            output = self._forward(gates, batch)
            level = float(self._value(output, batch.targets).detach())
            if not math.isfinite(level):
                raise InputError(f"The loss is {level}.", "Check the weights and the batch for NaN.")
            try:
                parts = self._group_losses(output, batch.targets, cuts, size)
                weights = torch.tensor(np.diff(cuts) / size).to(parts)
                mean = float((parts.detach() * weights).sum())
            except InputError:
                mean = math.nan
        if not abs(mean - level) <= _TOGETHER * abs(level) + 1e-12:
            self.cuts, self.batch = [0, self.batch.size], replace(self.batch, cuttable=False)
            self.parts, self.independent = [(0, 1)], False
            self.notes.append("the loss is no mean over the samples: its numbers have no error")
            return
        (pulled,) = self._gradient(parts[0], gates)
        self.independent = not bool(pulled[cuts[1] :].any())
        if not self.independent:
            self.notes.append("samples influence each other: random signs are shared by all of them")

    def gates(self, removed: Sequence[int] = (), samples: int | None = None) -> Tensor:
        """Return gates of shape (samples, edges): 0 for those that are removed, else 1."""
        size = self.batch.size if samples is None else samples
        made = torch.ones(size, len(self.edges), dtype=self._like.dtype, device=self._like.device)
        made[:, list(removed)] = 0.0
        return made

    def losses(self, gates: Tensor) -> tuple[Array, float]:
        """Return the loss of each group, and the accuracy over all of them, of gates that samples share."""
        found, right, counted = [], 0.0, 0
        with torch.no_grad():
            for first, last in self.parts:
                start, stop = self.cuts[first], self.cuts[last]
                batch = self.batch.take(start, stop)
                output = self._forward(gates[start:stop], batch)
                cuts = [cut - start for cut in self.cuts[first : last + 1]]
                found.append(self._group_losses(output, batch.targets, cuts, stop - start))
                hits, asked = _hits(output, batch.targets, stop - start)
                right, counted = right + hits, counted + asked
        values = torch.cat(found).double().cpu().numpy()
        return values, right / counted if counted else math.nan

    def without(self, removed: Sequence[int]) -> tuple[Array, float]:
        """Return the same with some edges removed; each set of them is run once."""
        key = frozenset(removed)
        if key not in self._known:
            self._known[key] = self.losses(self.gates(removed))
        return self._known[key]

    def gradients(self, gates: Tensor) -> Array:
        """Return the derivative of the loss of each group by each gate that its samples share."""
        found = []
        for first, last in self.parts:
            start, stop = self.cuts[first], self.cuts[last]
            batch = self.batch.take(start, stop)
            leaf = gates[start:stop].clone().requires_grad_()
            cuts = [cut - start for cut in self.cuts[first : last + 1]]
            with torch.enable_grad():
                output = self._forward(leaf, batch)
                parts = self._group_losses(output, batch.targets, cuts, stop - start)
                (pulled,) = self._gradient(parts.sum(), leaf)
            found.append(_by_group(pulled, cuts))
        return np.concatenate(found)

    def taylor(self) -> tuple[Array, Array]:
        """Return, of each group, the first derivative, and the second by one set of signs after the other."""
        pairs = [
            self._products(
                self.cuts[first],
                self.cuts[last],
                [c - self.cuts[first] for c in self.cuts[first : last + 1]],
                n,
            )
            for n, (first, last) in enumerate(self.parts)
        ]
        return np.concatenate([g for g, _ in pairs]), np.concatenate([h for _, h in pairs], axis=1)

    def _products(self, start: int, stop: int, cuts: Sequence[int], part: int) -> tuple[Array, Array]:
        batch = self.batch.take(start, stop)
        random = np.random.default_rng((self.seed, part))
        count = _PROBES if self.independent else _SHARED_PROBES
        leaf = self.gates(samples=stop - start).requires_grad_()
        products = []
        with torch.enable_grad():
            output = self._forward(leaf, batch)
            parts = self._group_losses(output, batch.targets, cuts, stop - start)
            (gradient,) = self._gradient(parts.sum(), leaf, graph=True)
            for _ in range(count):
                rows = stop - start if self.independent else 1
                drawn = random.integers(0, 2, (rows, len(self.edges))) * 2.0 - 1.0
                signs = torch.from_numpy(drawn).to(leaf).expand_as(leaf)
                pulled = torch.zeros_like(leaf)
                if gradient.requires_grad:
                    (pulled,) = self._gradient((gradient * signs).sum(), leaf, keep=True)
                # Of shared gates the second derivative is the sum over the gates of all samples of a group.
                products.append(_by_group(pulled * signs, cuts))
        return _by_group(gradient.detach(), cuts), np.stack(products)

    def _gradient(
        self, value: Tensor, leaf: Tensor, *, graph: bool = False, keep: bool = False
    ) -> tuple[Tensor]:
        if not value.requires_grad:
            return (torch.zeros_like(leaf),)
        (found,) = torch.autograd.grad(
            value, leaf, create_graph=graph, retain_graph=graph or keep, allow_unused=True
        )
        return (torch.zeros_like(leaf) if found is None else found,)

    def _forward(self, gates: Tensor, batch: Batch) -> Any:
        with watched(self.module, self._rows, self._observe(gates)), self._hooked(gates):
            return run(self.module, batch)

    def _observe(self, gates: Tensor) -> Callable[[Layer, tuple[Any, ...], Any], Any]:
        def observe(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
            total = first_float(output)
            terms = [arg for arg in args if isinstance(arg, Tensor)]
            if total is None or layer.branch is None or layer.at is None or len(terms) != 2:
                return None
            stream, branch = terms[1 - layer.branch], terms[layer.branch]
            name = layer.at.operation
            signs = (1, -1) if name in ("sub", "sub_", "__sub__", "__isub__") else (1, 1)
            signs = (-1, 1) if name in ("rsub", "__rsub__") else signs
            # Where the sum was written into its own first term, the other term is what is left.
            rest = (
                total - signs[layer.branch] * branch if stream is total else signs[1 - layer.branch] * stream
            )
            gate = _along(gates[:, self._columns[layer.name]], total, layer.batch_axis)
            return torch.lerp(rest.expand_as(total), total, gate.to(total.dtype))

        return observe

    @contextmanager
    def _hooked(self, gates: Tensor) -> Iterator[None]:
        """Gate the outputs of modules and the heads of attentions, inside."""
        with ExitStack() as stack:
            for number, edge in enumerate(self.edges):
                if edge.row is None and edge.kind != "head":
                    part = self.module.get_submodule(edge.path)

                    def after(_: Any, args: Any, output: Any, column: Tensor = gates[:, number]) -> Any:
                        tensor = _float(output)
                        gate = _along(column, tensor, _axis(tensor, len(column)))
                        return replace_first_float(output, tensor * gate.to(tensor.dtype))

                    stack.callback(part.register_forward_hook(after).remove)
            for path in dict.fromkeys(edge.path for edge in self.edges if edge.kind == "head"):
                stack.callback(self._gate_heads(path, gates).remove)
            yield

    def _gate_heads(self, path: str, gates: Tensor) -> torch.utils.hooks.RemovableHandle:
        attention = self.module.get_submodule(path)
        own = [
            (edge.head, n) for n, edge in enumerate(self.edges) if edge.kind == "head" and edge.path == path
        ]
        count = next(edge.heads for edge in self.edges if edge.kind == "head" and edge.path == path)
        columns = gates.new_ones(len(gates), count).clone()
        columns[:, [head for head, _ in own]] = gates[:, [n for _, n in own]]

        def gated(side_by_side: Tensor, axis: int | None = None) -> Tensor:
            width = side_by_side.shape[-1]
            if width % count:
                raise InputError(
                    f"{path} puts out {width} numbers, which {count} heads do not share evenly.",
                    "Name other edges than its heads.",
                )
            at = _axis(side_by_side, len(columns)) if axis is None else axis
            wide = columns.repeat_interleave(width // count, dim=1).to(side_by_side.dtype)
            shape = [1] * side_by_side.ndim
            shape[at], shape[-1] = side_by_side.shape[at], width
            return side_by_side * wide.repeat_interleave(shape[at] // len(wide), dim=0).reshape(shape)

        projection = _projection(attention)
        if isinstance(attention, nn.MultiheadAttention):
            axis = 0 if attention.batch_first else 1

            def after(_: Any, args: Any, output: Any) -> Any:
                tensor = _float(output)
                return replace_first_float(output, gated(tensor, axis if tensor.ndim == 3 else None))

            return attention.register_forward_hook(after, prepend=True)  # before the one that projects
        if projection is None:
            return attention.register_forward_hook(
                lambda _, args, output: replace_first_float(output, gated(_float(output)))
            )
        return projection.register_forward_pre_hook(lambda _, args: (gated(args[0]), *args[1:]))

    def _group_losses(self, output: Any, targets: Any, cuts: Sequence[int], size: int) -> Tensor:
        if len(cuts) == 2:
            return self._value(output, targets).reshape(1)

        def piece(tree: Any, start: int, stop: int) -> Any:
            def cut(tensor: Tensor) -> Tensor:
                each = len(tensor) // size if tensor.ndim and len(tensor) % size == 0 else 0
                return tensor[start * each : stop * each] if each else tensor

            return map_leaves(cut, tree)

        pairs = pairwise(cuts)
        return torch.stack([self._value(piece(output, a, b), piece(targets, a, b)) for a, b in pairs])

    def _value(self, output: Any, targets: Any) -> Tensor:
        try:
            value = self._loss(output, targets)
        except Exception as error:
            if lacks_memory(error):
                raise
            raise InputError(
                f"The loss does not accept the output and the targets: {in_users_words(error)}.",
                "Pass loss(output, targets) as the model gives its output.",
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            shown = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"The loss is {shown}, not one number.", "Reduce it, for example with .mean().")
        return value.reshape(())


def _along(column: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return a number for each sample in the shape that multiplies a tensor with samples along `axis`."""
    length = like.shape[axis] if like.ndim else 1
    if length % len(column):
        raise InputError(
            f"A value with a gate has shape {tuple(like.shape)} for {len(column)} samples.",
            "Name modules whose output has the samples along its first axis.",
        )
    shape = [1] * like.ndim
    if shape:
        shape[axis] = length
    return column.repeat_interleave(length // len(column)).reshape(shape)


def _axis(tensor: Tensor, samples: int) -> int:
    """Return the axis of the samples: the first that has their number, or else a multiple of it."""
    exact = next((axis for axis, length in enumerate(tensor.shape[:2]) if length == samples), None)
    return 0 if exact is None else exact


def _by_group(rows: Tensor, cuts: Sequence[int]) -> Array:
    values = rows.double().cpu().numpy()
    return np.stack([values[a:b].sum(axis=0) for a, b in pairwise(cuts)])


def _hits(output: Any, targets: Any, size: int) -> tuple[float, int]:
    """Return how many targets an output names right, and how many there are; 0 where they are no classes."""
    scores, _ = primary_output(output, size)
    if not isinstance(targets, Tensor) or targets.is_floating_point() or scores is None:
        return 0.0, 0
    if scores.ndim != targets.ndim + 1 or targets.dtype == torch.bool:
        return 0.0, 0
    shape = tuple(scores.shape)
    axis = next((a for a in (1, -1) if shape[:a] + (shape[a + 1 :] if a > 0 else ()) == targets.shape), None)
    if axis is None:
        return 0.0, 0
    asked = targets >= 0
    return float((scores.argmax(axis) == targets)[asked].sum()), int(asked.sum())


def _measured(
    gated: _Gated, skipped: dict[str, str], exact_up_to: int, path: bool, notes: list[str]
) -> EdgeGates:
    count, weights = len(gated.edges), gated.weights

    def weighted(rows: Array) -> tuple[Array, Array]:
        """Return the mean over groups, the first axis, and its standard error."""
        mean = np.tensordot(weights, rows, axes=1)
        if len(rows) < 2:
            return mean, np.full_like(mean, np.nan)
        spread = np.tensordot(weights, (rows - mean) ** 2, axes=1)
        return mean, np.sqrt(spread / (len(rows) - 1))

    base, accuracy = gated.without(())
    level, level_error = weighted(base)
    gradient, products = gated.taylor()
    first, first_error = weighted(-gradient)
    if gated.independent:
        second, second_error = weighted(-gradient + 0.5 * products.mean(axis=0))
    else:
        draws = np.tensordot(products, weights, axes=(1, 0))  # (signs, edges)
        second = first + 0.5 * draws.mean(axis=0)
        second_error = 0.5 * draws.std(axis=0, ddof=1) / math.sqrt(len(draws))
    change, change_error = np.full((2, count), np.nan)
    exact = np.argsort(second, kind="stable")[:exact_up_to] if count > exact_up_to else np.arange(count)
    for place in exact:
        change[place], change_error[place] = weighted(gated.without([place])[0] - base)
    if count > exact_up_to:
        notes.append(
            f"of {count} edges, the {exact_up_to} with the smallest second order were removed exactly"
        )
    integral = np.full(count, np.nan)
    if path:
        nodes, shares = np.polynomial.legendre.leggauss(_POINTS)
        for place in range(count):
            gradients = []
            for node in (nodes + 1) / 2:
                gates = gated.gates()
                gates[:, place] = float(node)
                gradients.append(weighted(gated.gradients(gates)[:, place])[0])
            integral[place] = -float(np.dot(shares / 2, gradients))
    order: list[int] = []
    curve, curve_error, accuracies = [0.0], [0.0], [accuracy]
    last = np.where(np.isfinite(change), change, np.inf)
    left = [int(place) for place in np.argsort(last, kind="stable")[: min(count, exact_up_to)]]
    now = 0.0
    while left:
        tried = []
        for place in sorted(left, key=lambda place: last[place])[:_TRIED]:
            losses, share = gated.without([*order, place])
            mean, error = map(float, weighted(losses - base))
            last[place] = mean - now if math.isfinite(mean) else math.inf
            tried.append((mean if math.isfinite(mean) else math.inf, place, error, share))
        now, best, error, share = min(tried)
        order.append(best)
        left.remove(best)
        for values, value in ((curve, now), (curve_error, error), (accuracies, share)):
            values.append(float(value))
    sizes = np.unique(np.linspace(0, len(order), min(len(order), _SIZES) + 1).round().astype(np.int64))
    draw = np.random.default_rng((gated.seed, len(gated.parts)))
    random = np.zeros((_RANDOM_ORDERS, len(sizes)))
    for row in random:
        chosen = draw.permutation(count)
        for n, size in enumerate(sizes):
            if size:
                row[n] = weighted(gated.without(chosen[:size].tolist())[0] - base)[0]
    curved = np.array(curve)
    beyond = np.flatnonzero(~(curved <= level_error))
    removable = int(beyond[0]) - 1 if beyond.size else len(order)
    return EdgeGates(
        tuple(edge.name for edge in gated.edges),
        tuple(edge.kind for edge in gated.edges),
        Estimate(float(level), float(level_error), "mean loss with all edges", gated.batch.size),
        accuracy,
        change,
        change_error,
        first,
        first_error,
        second,
        second_error,
        integral,
        np.array(order, dtype=np.int64),
        curved,
        np.array(curve_error),
        np.array(accuracies),
        sizes,
        random,
        max(removable, 0) if math.isfinite(level_error) else 0,
        skipped,
        gated.batch.size,
        tuple(notes),
    )
