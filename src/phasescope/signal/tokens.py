"""Tokens and attention of a user's own module: how alike tokens become, and where the heads look."""

from __future__ import annotations

import inspect
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from phasescope.recording.batch import Batch, as_batch, first_float, leaves
from phasescope.recording.circumstances import circumstances
from phasescope.recording.forward import fitting, run
from phasescope.recording.layers import Layer, discover, observed, watched
from phasescope.recording.memory import default_limit, in_bytes, samples_that_fit
from phasescope.recording.modules import as_module
from phasescope.recording.sequences import as_sequences
from phasescope.recording.untouched import alone, quiet, untouched

if TYPE_CHECKING:
    import xarray as xr

_PIECE = 2**20  # logits that are looked at at once, 8 MB
_MOST_KEYS = 2048  # for which the participation of attention is computed
_MOST_PRODUCTS = 1e9  # multiplications that it may take at one call, beyond the first two sequences
_NEVER = -1e30  # a logit below this is hidden by a mask of the least number of its type
_GAP = 60.0  # or by a finite mask: below minus so much, and so much apart from the rest of its row
_WIDE, _WIDER = 2048, 8  # features of a read-out, which are no stream: so many, and times the median


@alone()
def tokens(
    model: nn.Module | Callable[..., Any], batch: Any, *, max_memory: int | float | str | None = None
) -> xr.Dataset:
    r"""Return how alike the tokens of a sequence are along a model, and what each head of attention does.

    At each point of the stream, with :math:`x_t` the d features of token t, over the sequences:

    - ``cosine``, the mean of :math:`x_s \cdot x_t / (|x_s| |x_t|)` over pairs of different tokens of one
      sequence;
    - ``rank``, the effective rank of the matrix of tokens, from its singular values s, none subtracted: the
      participation ratio :math:`(\sum s^2)^2 / \sum s^4`, from 1 (all tokens parallel) to
      :math:`\min(T, d)`. For tokens of equal length it is :math:`T / (1 + (T - 1) \overline{c^2})`, c being
      their cosines.

    At each call of attention, with :math:`p_{ts}` the probability with which query t looks at key s, and
    :math:`n_t` keys that the query may see:

    - ``entropy``, relative to uniform attention on the visible keys:
      :math:`\sum_t H_t / \sum_t \ln n_t` with :math:`H_t = -\sum_s p_{ts} \ln p_{ts}`; 1 is uniform, 0 one
      key a query. That is the mean entropy over :math:`\ln T` where all keys are visible, and over the mean
      of :math:`\ln t` where attention is causal;
    - ``sink``, the largest share of attention that one key gets beyond uniform attention:
      :math:`\max_s \overline{(p_{ts} - u_{ts})}`, mean over all queries, :math:`u_{ts} = 1/n_t` on visible
      keys; and its place ``head_sink_position``, counted from the first visible key;
    - ``passed``, the number of token directions that the head passes on: the participation ratio of the
      squared singular values of the matrix p, from 1 (all queries take the same mean) to T (each token is
      passed on). With orthogonal maps of values and outputs the layer without its shortcut passes on d times
      as many directions;
    - ``spread``, the standard deviation of the logits over the keys that a query sees, a root mean square
      over queries. Gaussian logits of spread :math:`\sigma` give the entropy
      :math:`1 - \sigma^2 / (2 \ln n)`, and condense on few keys beyond :math:`\sigma = \sqrt{2 \ln n}`, as in
      the random energy model.

    Parameters
    ----------
    model : nn.Module or callable
        The model; at initialisation or trained.
    batch : tensor, tuple, list or mapping of tensors
        Inputs as the model takes them, sequences along the first axis; along the second one for torch's own
        modules with ``batch_first=False``. Where it holds a tensor of shape
        (sequences, tokens) named ``attention_mask`` (0 is padding) or ``..padding_mask`` (True is padding),
        padding is left out.
    max_memory : int or str, optional
        Memory that the measurement may take beyond model and batch, in bytes or as "512MB"; by default twice
        the weights, or 1 GB if that is more.

    Returns
    -------
    xarray.Dataset
        Over ``layer``, in the order of the calls: points of the stream (coordinate ``quantity`` is "tokens"),
        calls of attention ("attention", named after the module that makes them), and what was skipped, with
        the reason. Means over heads have the names above; ``head_entropy`` and so on have a dimension
        ``head`` besides. ``X_error`` is one standard error over sequences.

    Raises
    ------
    InputError
        If the model or the batch cannot be used.
    MemoryLimitError
        If `max_memory` is too small for two sequences.

    Notes
    -----
    The model is left as it was, bit for bit. Dropout is off while measuring. Seen are
    ``scaled_dot_product_attention``, ``multi_head_attention_forward`` and a softmax between two matrix
    products, with masks, biases, grouped queries, windows and keys from elsewhere; probabilities are computed
    again in float64. Attention by other kernels (flex, flash-attn, linear attention) is skipped.

    ``passed`` is computed for at most 2048 keys, and in long sequences for the first two or more of them.

    Cost: that of 5 to 12 forward passes, most of it in float64 over all queries and keys.

    References
    ----------
    Rank collapse: Dong et al. 2021, arXiv:2103.03404; Noci et al. 2022, arXiv:2206.03126. Entropy: Zhai et
    al. 2023, arXiv:2303.06296; the random energy model: Giorlandino and Goldt 2025, arXiv:2505.24333. Sinks:
    Xiao et al. 2023, arXiv:2309.17453.

    Examples
    --------
    >>> import torch
    >>> def uniform(x):  # every token takes the mean of all
    ...     return torch.nn.functional.scaled_dot_product_attention(0 * x, x, x)
    >>> found = tokens(uniform, torch.randn(4, 6, 8))
    >>> print(found.layer.values)
    ['output (attention)' 'output']
    >>> found.entropy.values.round(6), found["rank"].values.round(6)
    (array([ 1., nan]), array([nan,  1.]))
    """
    module = as_module(model)
    bare = type(module).__module__.startswith("torch.nn")  # with its sequences along axis 1, as may be
    inputs = as_sequences(module, batch) if bare else as_batch(module, batch)
    limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
    with untouched(module, derivatives=False), torch.no_grad():
        quiet(module)
        inputs = fitting(module, inputs)
        found = discover(module, inputs)
        watch = _Watch(module, found.layers, limit)
        room = inputs.size
        # A pass takes no more than the results of all its operations, and a few pieces.
        if inputs.cuttable and found.held * room + 16 * 8 * _PIECE > limit / 2:
            room = samples_that_fit(module, lambda n: watch.trial(inputs.take(0, n), inputs), room, limit)
        for start in range(0, inputs.size, room):
            watch.see(inputs.take(start, start + room), inputs)
    return _assemble(module, inputs, watch)


Logits = Callable[[slice, slice, slice], Tensor]


@dataclass(frozen=True)
class _Attention:
    """One call of attention: of how many matrices, heads, queries and keys, and the logits of a part.

    Logits are fresh, in float64, of shape (matrices, heads, queries, keys), and -inf on hidden keys.
    """

    shape: tuple[int, int, int, int]
    logits: Logits

    def turned(self) -> _Attention:
        """Return it with queries before heads, as attention in sliding windows has them."""
        matrices, queries, heads, keys = self.shape
        return _Attention(
            (matrices, heads, queries, keys),
            lambda some, of, rows: self.logits(some, rows, of).transpose(1, 2),
        )


@dataclass
class _Row:
    """What was found at one point of the stream, or at one call of attention."""

    name: str
    kind: str
    quantity: str
    layer: Layer | None = None  # of a point of the stream
    path: str = ""  # of the module that attends
    skipped: str = ""
    numbers: dict[str, list[np.ndarray]] = field(default_factory=dict)  # (sequences,) or (sequences, heads)
    sizes: dict[str, int] = field(default_factory=dict)

    def add(self, numbers: dict[str, np.ndarray]) -> None:
        for name, values in numbers.items():
            self.numbers.setdefault(name, []).append(values)


class _Scores:
    """Marks what follows from a product of matrices, with the keys that masks have hidden since."""

    def __init__(self) -> None:
        self.hidden: list[Tensor] = []

    def follow(self, name: str, args: Any, others: list[Tensor], result: Tensor) -> None:
        """Take notice of keys that an operation hides: by a mask that it adds, a value that it fills in."""
        hidden: Tensor | None = None
        if name in _ADDITIONS and len(others) == 1 and others[0].ndim and others[0].is_floating_point():
            hidden = _blocked(others[0])
        elif name in _FILLS and len(args) == 3:
            value = args[2].item() if isinstance(args[2], Tensor) and args[2].numel() == 1 else args[2]
            if isinstance(value, int | float) and value <= -_GAP:
                hidden = ~args[0] if name == "where" else args[1]
        if hidden is not None and bool(hidden.any()):
            self.hidden.append(hidden.expand(result.shape))


class _Softmax:
    """Marks what follows from a softmax, until it meets a matrix product."""

    def __init__(self, logits: Tensor, hidden: list[Tensor]) -> None:
        self.logits: Tensor | None = logits
        self.hidden = hidden


class _Headed:
    """Marks what attention gives, head by head."""


_PRODUCTS = ("matmul", "__matmul__", "__rmatmul__", "bmm", "baddbmm", "einsum")
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
_SOFTMAX = ("softmax", "special_softmax")
_ADDITIONS = ("add", "add_", "__add__", "__iadd__", "__radd__")
_FILLS = ("masked_fill", "masked_fill_", "where")
# What ends a way from products to a softmax, or from there to the next product.
_ENDS = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "layer_norm",
    "rms_norm",
    "group_norm",
    "batch_norm",
    "embedding",
)


class _Watch(TorchFunctionMode):
    """Sees the tokens at each point of the stream and each attention of a forward pass, and keeps numbers."""

    def __init__(self, model: nn.Module, layers: list[Layer], limit: float) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], _Row] = {}
        self.layers = layers
        self._model, self._limit = model, limit
        self.modules = {name: module for name, module in model.named_modules() if name}
        self._points = _points(layers)
        self._inside: list[str] = []  # paths of the modules that are running
        self._run: set[str] = set()  # and of those that have run
        self._calls: Counter[str] = Counter()  # of attention, in this pass
        self._marks: Any = WeakTensorKeyDictionary()
        self._samples = 0
        self._padding = _Padding()

    def unseen(self) -> list[str]:
        """Return the paths of modules named after attention that ran without any that was seen."""
        seen = [row.path for row in self.rows.values() if row.quantity == "attention"]
        named = [path for path in self._run if "attention" in type(self.modules[path]).__name__.lower()]
        paths = sorted(path for path in named if not any(f"{one}.".startswith(f"{path}.") for one in seen))
        return [path for path in paths if not any(one.startswith(f"{path}.") for one in named)]

    def trial(self, part: Batch, whole: Batch) -> None:
        """Run on a part of the batch, and forget what was found."""
        self.see(part, whole)
        self.rows = {}

    def see(self, part: Batch, whole: Batch) -> None:
        """Run on a part of the batch, and add what is found."""
        self._samples, self._padding = part.size, _Padding(part)
        self._calls.clear()
        self._inside = [""]
        seen = observed(self.modules, self._leave, self._enter)
        with seen, self, watched(self._model, self._points, self._tokens):
            run(self._model, part, whole)
        self._marks.clear()

    def _enter(self, path: str, args: tuple[Any, ...]) -> None:
        self._inside.append(path)
        self._run.add(path)

    def _leave(self, path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._inside.pop()

    def _tokens(self, layer: Layer, args: tuple[Any, ...], output: Any) -> None:
        tensor = first_float(output)
        if tensor is None or tensor.ndim != len(layer.shape):
            return
        with torch._C.DisableTorchFunction():
            if isinstance(self._marks.get(tensor), _Headed) and tensor.ndim == 4:
                tensor = tensor.transpose(1, 2).flatten(2)  # what the heads bring to a token
            unit = layer.unit_axis % tensor.ndim if tensor.ndim == len(layer.shape) else -1
            values = tensor.movedim((layer.batch_axis, unit), (0, -1)).flatten(1, -2)
            row = self.rows.setdefault(("tokens", layer.name), _Row(layer.name, layer.kind, "tokens", layer))
            row.sizes["tokens"] = values.shape[1]
            row.add(_alike(values, self._padding.real(layer.path, values.shape[1])))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation, and look whether it is a part of attention."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        result = func(*args, **kwargs)
        # What follows is no part of the model's pass, which others may be watching.
        with torch._C.DisableTorchFunction():
            self._look(name, args, kwargs, result)
        return result

    def _look(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        if name == "scaled_dot_product_attention":
            self._found(partial(_fused, self._samples, *args, **kwargs))
            self._marks[result] = _Headed()
        elif name == "multi_head_attention_forward":
            self._found(partial(_projected, *args, **kwargs))
        elif name in _PRODUCTS:
            marks = (self._marks.get(operand) for operand in leaves((args, kwargs), Tensor))
            softmax = next((mark for mark in marks if isinstance(mark, _Softmax)), None)
            if softmax is not None and softmax.logits is not None:
                logits, softmax.logits = softmax.logits, None
                self._found(partial(_eager, self._samples, logits, softmax.hidden))
            self._mark(result, _Scores() if softmax is None else _Headed())
        elif name in _SOFTMAX:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            logits = args[0] if args else kwargs["input"]
            mark = self._marks.get(logits)
            if isinstance(mark, _Scores) and dim in (-1, logits.ndim - 1):
                self._mark(result, _Softmax(logits, mark.hidden))
        elif name not in _ENDS and len(self._marks):
            tensors = list(leaves((args, kwargs), Tensor))
            known = [mark for mark in map(self._marks.get, tensors) if isinstance(mark, (_Scores, _Softmax))]
            if known:
                self._mark(result, known[0])
                if isinstance(known[0], _Scores) and isinstance(result, Tensor):
                    others = [tensor for tensor in tensors if self._marks.get(tensor) is None]
                    known[0].follow(name, args, others, result)

    def _mark(self, result: Any, mark: Any) -> None:
        if mark is not None and isinstance(result, Tensor) and result.ndim >= 3:
            self._marks[result] = mark

    def _found(self, attention: Callable[[], _Attention | str]) -> None:
        """Keep the numbers of one call of attention, or why it has none."""
        path = self._inside[-1]
        self._calls[path] += 1
        module = self.modules.get(path, self._model)
        kind = str(getattr(module, "kind", type(module).__name__))
        name = path or "output"
        name += f" (call {self._calls[path]})" if self._calls[path] > 1 else ""
        row = self.rows.setdefault(("attention", name), _Row(name, kind, "attention", path=path))
        looked = attention()
        heads = next((n for n in (getattr(module, key, None) for key in _HEADS) if isinstance(n, int)), None)
        if not isinstance(looked, str) and heads == looked.shape[2] != looked.shape[1]:
            looked = looked.turned()
        if isinstance(looked, str):
            row.skipped = looked
            return
        matrices, _, queries, keys = looked.shape
        if not matrices or matrices % self._samples:
            row.skipped = f"it attends in {matrices} groups, no multiple of the {self._samples} sequences"
            return
        row.sizes |= {"tokens": queries, "keys": keys}
        real = self._padding.real(path, queries) if matrices == self._samples else None
        row.add(_numbers(looked, real, self._samples, self._limit))


class _Padding:
    """Which tokens of a batch are no padding, as its masks tell it."""

    def __init__(self, batch: Batch | None = None) -> None:
        self._real: dict[str, Tensor] = {}
        tensors = [] if batch is None else batch.tensors()
        self._sides = {name.split("_")[0] for name, _ in tensors} & {"decoder", "tgt", "src"}
        for name, mask in tensors:
            padding = name.endswith("padding_mask") and not name.startswith("memory")
            if mask.ndim == 2 and (padding or name.endswith("attention_mask")):
                hidden = mask if mask.dtype == torch.bool else mask != 0
                self._real[name] = ~hidden if padding else hidden

    def real(self, path: str, count: int) -> Tensor | None:
        """Return which of so many tokens in a module are real, (sequences, tokens), or None for all."""
        decoder = "decoder" in path and bool(self._sides)
        for name, real in self._real.items():
            if name.startswith(("decoder", "tgt")) == decoder and real.shape[1] == count:
                return real
        return None


def _points(layers: list[Layer]) -> list[Layer]:
    """Return the points of the stream whose values are tokens with features."""
    points = [layer for layer in layers if not _no_tokens(layer)]
    if not points:
        return []
    usual = float(np.median([layer.shape[layer.unit_axis] for layer in points]))
    return [layer for layer in points if layer.shape[layer.unit_axis] <= max(_WIDE, _WIDER * usual)]


def _no_tokens(layer: Layer) -> str:
    """Return why the values of a row are no tokens of the stream, or "" where they are."""
    if layer.skipped:
        return layer.skipped
    if layer.place != "stream":
        return _BRANCH
    others = math.prod(layer.shape) / (layer.shape[layer.batch_axis] * layer.shape[layer.unit_axis])
    if len(layer.shape) < 3 or layer.unit_axis % len(layer.shape) == layer.batch_axis or others < 2:
        return f"its output {layer.shape} holds no tokens beside sequences and features"
    return ""


def _alike(values: Tensor, real: Tensor | None) -> dict[str, np.ndarray]:
    """Return the mean cosine of tokens and their effective rank, of values (sequence, token, feature)."""
    sequences, count, features = values.shape
    cosine, rank = np.full(sequences, np.nan), np.full(sequences, np.nan)
    step = max(1, _PIECE // (count * features))
    for start in range(0, sequences, step):
        x = values[start : start + step].double()
        if real is not None:
            x = x * real[start : start + step, :, None]
        length = x.norm(dim=-1)
        total = (x / length.clamp_min(torch.finfo(x.dtype).tiny)[..., None]).sum(dim=1).square().sum(dim=-1)
        n = (length > 0).sum(dim=-1)
        gram = x @ x.mT if count <= features else x.mT @ x
        squares = gram.square().sum(dim=(-2, -1))
        cosine[start : start + step] = ((total - n) / (n * (n - 1))).cpu().numpy()
        rank[start : start + step] = (length.square().sum(dim=-1).square() / squares).cpu().numpy()
    return {"cosine": cosine, "rank": rank}


def _fused(
    samples: int,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> _Attention | str:
    """Return the attention of a call of ``scaled_dot_product_attention``."""
    if query.is_nested:
        return "attention on nested tensors"
    if query.ndim < 3:
        return "attention on one sequence without an axis of sequences"
    full = (*query.shape[:-1], key.shape[-2])
    mask = None if attn_mask is None else _four(attn_mask.expand(full), samples)
    return _products(_four(query, samples), _four(key, samples), mask, causal=is_causal, scale=scale)


def _projected(*args: Any, **kwargs: Any) -> _Attention | str:
    """Return the attention of a call of ``multi_head_attention_forward``."""
    bound = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs)
    bound.apply_defaults()
    given = bound.arguments
    query, key, heads = given["query"], given["key"], given["num_heads"]
    if query.ndim != 3:
        return "attention on one sequence without an axis of sequences"
    bias = given["in_proj_bias"]
    biases = (None, None) if bias is None else bias.chunk(3)[:2]
    weights = (given["q_proj_weight"], given["k_proj_weight"])
    if not given["use_separate_proj_weight"]:
        weights = given["in_proj_weight"].chunk(3)[:2]
    q, k = (F.linear(x, w, b) for x, w, b in zip((query, key), weights, biases, strict=True))
    mask, hidden = given["attn_mask"], given["key_padding_mask"]
    queries, batch, width = q.shape
    if given["bias_k"] is not None:
        k = torch.cat([k, given["bias_k"].expand(1, batch, width)])
    q, k = (x.reshape(len(x), batch, heads, width // heads).permute(1, 2, 0, 3) for x in (q, k))
    if given["static_k"] is not None:
        k = given["static_k"].reshape(batch, heads, *given["static_k"].shape[1:])
    if given["add_zero_attn"]:
        k = torch.cat([k, k.new_zeros(batch, heads, 1, k.shape[-1])], dim=2)
    keys = k.shape[2]
    bias_of = [None if m is None else _additive(m, q.dtype) for m in (mask, hidden)]
    if bias_of[0] is not None:
        own = mask.ndim == 3  # a mask of its own for each head of each sequence
        given_mask = bias_of[0].reshape(batch, heads, *mask.shape[1:]) if own else bias_of[0]
        bias_of[0] = F.pad(given_mask, (0, keys - mask.shape[-1]))
    if bias_of[1] is not None:
        bias_of[1] = F.pad(bias_of[1], (0, keys - hidden.shape[-1]))[:, None, None, :]
    masks = [m.expand(batch, heads, queries, keys) for m in bias_of if m is not None]
    return _products(q, k, *masks)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    # Here True hides a key, other than in ``scaled_dot_product_attention``.
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, -math.inf)


def _products(
    query: Tensor, key: Tensor, *masks: Tensor | None, causal: bool = False, scale: float | None = None
) -> _Attention:
    """Return the attention whose logits are scaled products of queries and keys, plus masks."""
    matrices, heads, queries, width = query.shape
    keys = key.shape[2]
    factor = width**-0.5 if scale is None else scale
    shared = torch.arange(heads, device=query.device) // (heads // key.shape[1])  # groups of queries
    key = key.expand(matrices, *key.shape[1:])

    def logits(some: slice, of: slice, rows: slice) -> Tensor:
        z = (factor * query[some, of, rows].double()) @ key[some, shared[of]].double().mT
        for mask in masks:
            if mask is not None:
                part = mask[some, of, rows]
                hidden = ~part if part.dtype == torch.bool else _blocked(part)
                z = (z if part.dtype == torch.bool else z + part).masked_fill(hidden, -math.inf)
        if causal:
            later = torch.arange(keys, device=z.device) > torch.arange(queries, device=z.device)[rows, None]
            z = z.masked_fill(later, -math.inf)
        return z

    return _Attention((matrices, heads, queries, keys), logits)


def _eager(samples: int, scores: Tensor, masks: list[Tensor]) -> _Attention:
    """Return the attention of a softmax of scores, with the keys that masks hide."""
    z = _four(scores, samples)
    hidden = [_four(mask.reshape(scores.shape), samples) for mask in masks if mask.numel() == scores.numel()]
    matrices, heads, queries, keys = z.shape

    def logits(some: slice, of: slice, rows: slice) -> Tensor:
        part = z[some, of, rows].to(torch.float64, copy=True)
        for mask in hidden:
            part = part.masked_fill(mask[some, of, rows], -math.inf)
        return part

    return _Attention((matrices, heads, queries, keys), logits)


def _four(tensor: Tensor, samples: int) -> Tensor:
    """Return a tensor as (matrices, heads, rows, columns); of three axes the first holds the heads, too."""
    if tensor.ndim == 3:
        heads = max(1, tensor.shape[0] // samples) if tensor.shape[0] % samples == 0 else 1
        return tensor.reshape(-1, heads, *tensor.shape[1:])
    return tensor.flatten(0, -4) if tensor.ndim > 4 else tensor


def _numbers(attention: _Attention, real: Tensor | None, samples: int, limit: float) -> dict[str, np.ndarray]:
    """Return entropy, sink, its position, passed and spread, each (sequences, heads): means over windows."""
    matrices, heads, queries, keys = attention.shape
    room = int(min(_PIECE, max(limit // 512, keys)))
    some, of = max(1, room // (heads * queries * keys)), max(1, room // (queries * keys))
    rows = max(1, min(queries, room // keys))
    most = max(2 * matrices // samples, int(_MOST_PRODUCTS // (heads * queries * keys * min(queries, keys))))
    small = keys <= _MOST_KEYS and (rows == queries or 8 * keys**2 <= limit / 8)
    names = ("entropy", "uniform", "sink", "position", "passed", "spread")
    found = {name: np.full((matrices, heads), np.nan) for name in names}
    for first in _slices(matrices, some):
        for which in _slices(heads, min(of, heads)):
            passed = small and first.start < most
            real_rows = None if real is None else real[first]
            part = _part(attention, first, which, rows, real_rows, passed=passed)
            for name, values in part.items():
                found[name][first, which] = values.cpu().numpy()
    windows = {name: values.reshape(samples, -1, heads) for name, values in found.items()}
    count = windows["entropy"].shape[1]
    if count == 1:
        return {name: values[:, 0] for name, values in windows.items()}
    windows["position"] = np.full_like(windows["position"], np.nan)
    return {name: _nanmean(values, 1) for name, values in windows.items()}


def _part(
    attention: _Attention, some: slice, of: slice, rows: int, real: Tensor | None, *, passed: bool
) -> dict[str, Tensor]:
    """Return the numbers of some matrices and heads, a few queries at a time."""
    _, _, queries, keys = attention.shape
    sums: dict[str, Any] = dict.fromkeys(("entropy", "uniform", "rows", "above", "varied", "several"), 0.0)
    squares: Any = 0.0
    gram: Any = 0.0
    seen: Any = False
    for part in _slices(queries, rows):
        z = attention.logits(some, of, part)  # worked on in place from here
        hidden = z < _NEVER
        visible = keys - hidden.sum(dim=-1)
        used = visible > 0
        if real is not None:
            used = used & real[:, None, part]
        n = visible.clamp_min(1)
        z -= z.masked_fill_(hidden, 0.0).sum(dim=-1, keepdim=True) / n[..., None]
        variance = z.masked_fill_(hidden, 0.0).square().sum(dim=-1) / n
        top = z.amax(dim=-1, keepdim=True)
        p = (z - top).exp_().masked_fill_(hidden, 0.0)
        total = p.sum(dim=-1, keepdim=True)
        p.div_(total).masked_fill_(~used[..., None], 0.0)
        entropy = (total.log() + top)[..., 0] - torch.linalg.vecdot(p, z)
        even = (used.double() / n)[..., None]  # what each visible key gets of uniform attention
        shown = hidden.logical_not_() & used[..., None]
        seen = shown.any(dim=-2) | seen
        several = used & (n > 1)
        sums["entropy"] += entropy.masked_fill(~used, 0.0).sum(dim=-1)
        sums["uniform"] += (n.double().log() * used).sum(dim=-1)
        sums["rows"] += used.sum(dim=-1)
        sums["above"] += p.sum(dim=-2) - (shown.double().mT @ even)[..., 0]
        sums["varied"] += variance.masked_fill(~several, 0.0).sum(dim=-1)
        sums["several"] += several.sum(dim=-1)
        if passed:
            squares += p.square().sum(dim=(-2, -1))
            gram += p @ p.mT if rows == queries <= keys else p.mT @ p
    sink, position = (sums["above"] / sums["rows"][..., None]).max(dim=-1)
    numbers = {
        "entropy": sums["entropy"] / sums["uniform"],
        "uniform": sums["uniform"] / sums["rows"],
        "sink": sink,
        "position": position - seen.double().argmax(dim=-1),
        "spread": (sums["varied"] / sums["several"]).sqrt(),
    }
    if passed:
        numbers["passed"] = squares.square() / gram.square().sum(dim=(-2, -1))
    return numbers


def _blocked(mask: Tensor) -> Tensor:
    """Return which keys a mask that is added hides, whether by infinity or, as -100 does, by much."""
    low = mask <= -_GAP
    highest_low = mask.where(low, -math.inf).amax(dim=-1, keepdim=True)
    lowest_high = mask.masked_fill(low, math.inf).amin(dim=-1, keepdim=True)
    apart = lowest_high.isfinite() & (lowest_high - highest_low >= _GAP)
    return (mask < _NEVER) | (low & apart)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


_LONG_NAMES = {
    "tokens": "number of tokens of a sequence, or of queries",
    "keys": "number of keys",
    "heads": "number of heads",
    "cosine": "mean cosine between the tokens of a sequence",
    "rank": "effective rank of the tokens of a sequence, (sum s^2)^2 / sum s^4 of their singular values",
    "entropy": "entropy of attention relative to uniform attention on the visible keys",
    "uniform": "entropy of uniform attention, mean over queries, in nats",
    "sink": "largest share of attention that one key gets beyond uniform attention",
    "passed": "number of token directions that attention passes on, (sum s^2)^2 / sum s^4",
    "spread": "standard deviation of the attention logits over the visible keys of a query",
    "sink_position": "place of that key, counted from the first visible one",
}
_BY_SEQUENCE = ("cosine", "rank")
_BY_HEAD = ("entropy", "sink", "passed", "spread")
_UNKNOWN_KERNEL = (
    "its attention runs in a kernel that cannot be looked into (flex, fused or linear attention)"
)
_BRANCH = "in a branch: tokens are compared along the stream"
_READ_OUT = "a read-out with many more features than the stream"


def _assemble(module: nn.Module, inputs: Batch, watch: _Watch) -> xr.Dataset:
    """Return the dataset: points of the stream, attention, and what was skipped, in the order of calls."""
    import xarray as xr

    rows = _in_order(watch)
    numbers = [_row_numbers(row) for row in rows]
    for row, found in zip(rows, numbers, strict=True):
        if not row.skipped and not any(
            np.isfinite(found.get(name, np.nan)) for name in (*_BY_SEQUENCE, *_BY_HEAD)
        ):
            row.skipped = "its values are NaN or infinite"
            found.clear()
    heads = max((int(found.get("heads", 0)) for found in numbers), default=0)
    data: dict[str, Any] = {}
    for name, long_name in _LONG_NAMES.items():
        for key in (name, f"head_{name}"):
            if key == "head_heads" or not any(key in found for found in numbers):
                continue
            what = f"{long_name}, of each head" if key != name else long_name
            for variable, words in (
                (key, what),
                (f"{key}_error", f"one standard error over sequences of: {what}"),
            ):
                if any(variable in found for found in numbers):
                    described = {"units": "1", "long_name": words}
                    data[variable] = (*_column(variable, numbers, heads, headed=key != name), described)
    coordinates = {
        "layer": [row.name for row in rows],
        "kind": ("layer", [row.kind for row in rows]),
        "quantity": ("layer", ["" if row.skipped else row.quantity for row in rows]),
        "role": ("layer", ["" if row.layer is None else row.layer.role for row in rows]),
        "chain": ("layer", [-1 if row.layer is None else row.layer.chain for row in rows]),
        "depth": ("layer", _depths(rows)),
        "skipped": ("layer", [row.skipped for row in rows]),
    }
    attrs = {
        "instrument": "tokens",
        **circumstances(module, inputs, seed=0),
        "notes": json.dumps(list(inputs.notes)),
        "citations": "dong2021 noci2022 zhai2023 xiao2023 giorlandino2025",
    }
    return xr.Dataset(data, coordinates, attrs)


def _in_order(watch: _Watch) -> list[_Row]:
    unseen = watch.unseen()
    attending = {row.path for row in watch.rows.values() if row.quantity == "attention"}
    measured = {row.name for row in watch.rows.values() if row.layer is not None}
    # A module that attends stands for itself, not beside a row that says why it was skipped.
    waiting = [layer for layer in watch.layers if layer.path not in attending or layer.name in measured]
    rows: list[_Row] = []

    def skip(layer: Layer) -> _Row:
        reason = _no_tokens(layer) or _READ_OUT
        if layer.path in unseen:
            unseen.remove(layer.path)
            reason = _UNKNOWN_KERNEL
        return _Row(layer.name, layer.kind, "tokens", layer, skipped=reason)

    for row in watch.rows.values():
        place = next((number for number, layer in enumerate(waiting) if layer.name == row.name), None)
        if row.layer is not None and place is not None:
            rows += map(skip, waiting[:place])
            del waiting[: place + 1]
        rows.append(row)
    rows += map(skip, waiting)
    kinds = {path: type(watch.modules[path]).__name__ for path in unseen}
    rows += [
        _Row(path, kind, "attention", path=path, skipped=_UNKNOWN_KERNEL) for path, kind in kinds.items()
    ]
    taken = {row.name for row in rows if row.layer is not None}
    for row in rows:
        if row.layer is None and row.name in taken:
            row.name += " (attention)"
    return rows


def _depths(rows: list[_Row]) -> list[int]:
    """Return how many steps of its chain there are down to each row, or to the point before it."""
    steps: Counter[int] = Counter()
    depths, last = [], 0
    for row in rows:
        if row.layer is not None and row.layer.chain >= 0:
            steps[row.layer.chain] += row.layer.step
            last = steps[row.layer.chain]
        depths.append(last)
    return depths


def _row_numbers(row: _Row) -> dict[str, Any]:
    """Return every variable of a row, by name: numbers, and arrays over heads."""
    whole = {name: np.concatenate(parts) for name, parts in row.numbers.items()}
    found: dict[str, Any] = dict(row.sizes) if whole else {}
    for name, values in whole.items():
        if values.ndim == 1:
            found[name], found[f"{name}_error"] = _mean(values)
        elif name == "position":
            found["head_sink_position"] = np.array([_most_common(column) for column in values.T])
        elif name == "uniform":
            found[name], found[f"{name}_error"] = _mean(_nanmean(values, 1))
        else:
            found["heads"] = values.shape[1]
            found[name], found[f"{name}_error"] = _mean(_nanmean(values, 1))
            found[f"head_{name}"], found[f"head_{name}_error"] = _mean(values)
    return found


def _column(name: str, numbers: list[dict[str, Any]], heads: int, *, headed: bool) -> tuple[Any, np.ndarray]:
    if not headed:
        return "layer", np.array([found.get(name, np.nan) for found in numbers], dtype=np.float64)
    table = np.full((len(numbers), heads), np.nan)
    for line, found in zip(table, numbers, strict=True):
        values = found.get(name, np.zeros(0))
        line[: len(values)] = values
    return ("layer", "head"), table


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over sequences, the first axis, and its standard error; NaN where there is none."""
    mean = _nanmean(values, 0)
    n = np.isfinite(values).sum(axis=0)
    squares = np.where(np.isfinite(values), values - mean, 0.0) ** 2
    error = np.sqrt(squares.sum(axis=0) / np.maximum(n - 1, 1) / np.maximum(n, 1))
    return mean, np.where(n > 1, error, np.nan)


def _most_common(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(Counter(known.tolist()).most_common(1)[0][0]) if known.size else np.nan
