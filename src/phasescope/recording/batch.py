"""A batch in any structure: its samples, subsets of them, and the tensors that carry a tangent."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset

from phasescope.errors import InputError
from phasescope.recording.untouched import untouched

_Leaf = TypeVar("_Leaf")

_CHECKED = 2**18  # values at a time
_EDGES = re.compile(r"(^|_)edges?(_|$)|^adj")  # names of tensors that hold the edges of a graph
_DEEPEST = 8  # levels of objects in objects that are searched for tensors


@dataclass(frozen=True)
class Batch:
    """The arguments of one forward pass, with the samples along the first axis of every tensor that has them.

    Parameters
    ----------
    args : tuple
        Positional arguments.
    kwargs : dict
        Keyword arguments.
    size : int
        Number of samples.
    notes : tuple of str
        What was changed so that the batch fits the model.
    targets : tensors in any structure
        What was passed beside the arguments of the model, as the labels of (inputs, labels); None if nothing.
    cuttable : bool
        Whether the model takes a part of the samples; a graph, for example, is only taken whole.
    shared : frozenset of int
        Tensors, by their number, that are the same for all samples although their first axis has their
        length.
    names : tuple of str
        Names of the positional arguments, as far as ``forward`` gives them.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int
    notes: tuple[str, ...] = ()
    targets: Any = None
    cuttable: bool = True
    shared: frozenset[int] = frozenset()
    names: tuple[str, ...] = ()

    def fewest(self, samples: int) -> int:
        """Return the size of the smallest part with at least so many samples, or of the whole."""
        return min(samples, self.size) if self.cuttable else self.size

    def take(self, start: int, stop: int) -> Self:
        """Return samples `start` to `stop` as copies: a model may work on them in place.

        A batch that cannot be cut is returned whole.
        """
        return self._cut(slice(start, stop), min(stop, self.size) - start)

    def pick(self, samples: Tensor) -> Self:
        """Return the samples of these numbers as copies, in this order."""
        return self._cut(samples, len(samples))

    def _cut(self, place: slice | Tensor, size: int) -> Self:
        if not self.cuttable:
            whole = map_leaves(_copied, self.targets)
            return self.mapped(_copied, targets=whole)
        numbers = count()

        def cut(tensor: Tensor, number: int = -1) -> Tensor:
            if not self._has_samples(tensor, number):
                return _copied(tensor)
            rows = place if isinstance(place, slice) else place.to(tensor.device)
            return tensor[rows].detach().clone()

        targets = map_leaves(cut, self.targets)
        return self.mapped(lambda tensor: cut(tensor, next(numbers)), size=size, targets=targets)

    def mapped(self, function: Callable[[Tensor], Any], **changes: Any) -> Self:
        """Return the batch with `function` of every tensor in its place, and other fields changed."""
        args, kwargs = map_leaves(function, (self.args, self.kwargs))
        return replace(self, args=args, kwargs=kwargs, **changes)

    def tensors(self) -> list[tuple[str, Tensor]]:
        """Return every tensor in the order of :meth:`mapped`, with its key or the name of its argument."""
        unnamed = map(str, range(len(self.names), len(self.args)))
        positional = dict(zip((*self.names, *unnamed), self.args, strict=True))
        return list(_named_leaves((positional, self.kwargs), Tensor))

    def floats(self) -> list[Tensor]:
        """Return the floating-point tensors that hold one row per sample, masks left out."""
        return [
            tensor
            for number, (path, tensor) in enumerate(self.tensors())
            if tensor.is_floating_point() and self._has_samples(tensor, number) and "mask" not in path.lower()
        ]

    def with_floats(self, tensors: list[Tensor]) -> Self:
        """Return the batch with the tensors of `floats()` replaced, in the same order."""
        changed = {id(old): new for old, new in zip(self.floats(), tensors, strict=True)}

        def swap(tensor: Tensor) -> Tensor:
            return changed.get(id(tensor), tensor)

        return self.mapped(swap)

    def identical_pairs(self) -> list[bool]:
        """Return, for the pairs (0, 1), (2, 3), ..., whether the two are the same in every tensor."""
        tensors = [t for number, (_, t) in enumerate(self.tensors()) if self._has_samples(t, number)]
        same = [bool(tensors)] * (self.size // 2)
        for tensor in tensors:
            if same:
                pairs = tensor[: 2 * len(same)].reshape(len(same), 2, -1)
                alike = (pairs[:, 0] == pairs[:, 1]).all(dim=1).tolist()
                same = [a and b for a, b in zip(same, alike, strict=True)]
        return same

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments as the model takes them, packed again where they came packed."""
        args, kwargs = repacked((self.args, self.kwargs))
        return args, kwargs

    def nbytes(self) -> int:
        """Return the memory that the tensors take, in bytes."""
        return sum(_values(tensor).numel() * tensor.element_size() for _, tensor in self.tensors())

    def shapes(self) -> str:
        """Return the shapes of the tensors, in the order of the arguments."""
        shapes = [(name, f"{_shape(t)} {t.dtype}".replace("torch.", "")) for name, t in self.tensors()]
        if len(shapes) == 1 and self.args and isinstance(self.args[0], Tensor):
            return shapes[0][1]
        return ", ".join(f"{name}: {shape}" for name, shape in shapes)

    def signals(self) -> list[tuple[str, Tensor]]:
        """Return the named tensors that a signal can come in by: not what is the same for all samples."""
        return [
            (name, tensor)
            for number, (name, tensor) in enumerate(self.tensors())
            if self._has_samples(tensor, number)
            or tensor.is_nested
            or (self.cuttable and not tensor.is_floating_point() and number not in self.shared)
        ]

    def _has_samples(self, tensor: Tensor, number: int) -> bool:
        return is_plain(tensor) and tensor.shape[:1] == (self.size,) and number not in self.shared


class Packed(NamedTuple):
    """A packed sequence as tensors that can be cut: sequences, padded with zeros, and their lengths."""

    padded: Tensor  # (sequence, time, ...)
    lengths: Tensor  # (sequence,)
    in_order: bool  # whether it was packed from the longest to the shortest, without an order of its own


def unpacked(tree: Any) -> Any:
    """Return `tree` with each packed sequence as padded sequences with their lengths, differentiably."""
    return map_leaves(_unpack, tree, PackedSequence)


def repacked(tree: Any) -> Any:
    """Return `tree` with what :func:`unpacked` made packed again."""
    return map_leaves(_pack, tree, Packed)


def _unpack(packed: PackedSequence) -> Packed:
    sizes = packed.batch_sizes
    steps, sequences = len(sizes), int(sizes[0])
    inside = torch.arange(sequences) < sizes[:, None]  # (time, sequence), the longest first
    time, row = (index.to(packed.data.device) for index in inside.nonzero(as_tuple=True))
    lengths = inside.sum(dim=0).to(packed.data.device)
    if packed.sorted_indices is not None and packed.unsorted_indices is not None:
        row, lengths = packed.sorted_indices[row], lengths[packed.unsorted_indices]
    empty = packed.data.new_zeros(sequences, steps, *packed.data.shape[1:])
    return Packed(empty.index_put((row, time), packed.data), lengths, packed.sorted_indices is None)


def _pack(packed: Packed) -> PackedSequence:
    lengths, order = packed.lengths.sort(descending=True, stable=True)
    inside = torch.arange(int(lengths[0]), device=lengths.device)[:, None] < lengths
    time, rank = inside.nonzero(as_tuple=True)
    data = packed.padded[order[rank], time]
    in_order = packed.in_order and bool((order.diff() == 1).all())
    orders = (None, None) if in_order else (order, order.argsort())
    return PackedSequence(data, inside.sum(dim=1).cpu(), *orders)


def is_plain(tensor: Tensor) -> bool:
    """Return whether a tensor is neither sparse nor nested."""
    return tensor.layout == torch.strided and not tensor.is_nested


def _values(tensor: Tensor) -> Tensor:
    """Return the numbers that a tensor stores, those of a sparse or nested one as a plain one."""
    if is_plain(tensor):
        return tensor
    return tensor._values() if tensor.layout == torch.sparse_coo else tensor.values()


def _shape(tensor: Tensor) -> str:
    if tensor.is_nested:
        return f"nested ({tensor.size(0)}, ...)"
    return f"{'' if is_plain(tensor) else 'sparse '}{tuple(tensor.shape)}"


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def as_batch(model: nn.Module, batch: Any, targets: Any = None) -> Batch:
    """Return `batch` as the arguments of ``model(...)``.

    A tensor is the one argument. A mapping gives keyword arguments if ``forward`` has such names, otherwise
    it is the one argument; names that ``forward`` does not have are left out where it needs no others. A
    tuple or list gives positional ones if the signature of ``forward`` takes that many, otherwise its first
    element is the input and the rest (the labels that a data loader yields) is left out, with a note. Any
    other object with tensors in it is the one argument. Of a data loader the first batch is taken.

    Parameters
    ----------
    model : nn.Module
        The model; tells the device and the floating-point type.
    batch : tensor, tuple, list, mapping or object of tensors or numpy arrays, or DataLoader
        The samples lie along the first axis. A packed sequence counts its sequences, a graph its nodes. What
        this function has returned is returned as it is.
    targets : tensors in any structure, optional
        What a loss compares the output with, where that is not in `batch`.

    Raises
    ------
    InputError
        If there is no tensor, no sample, or a value that is not finite; if the batch is an iterator, or a
        list of tensors of different lengths.
    """
    if isinstance(batch, Batch):
        return batch
    notes: list[str] = []
    if isinstance(batch, DataLoader):
        batch = _first_of(batch)
        notes.append("the first batch of the data loader was taken")
    if isinstance(batch, Iterator):
        raise InputError(
            f"The batch is {_describe(batch)}, an iterator, which would have moved on afterwards.",
            "Pass one batch: next(iter(...)).",
        )
    arrays = list(leaves(batch, np.ndarray))
    if arrays:
        batch = map_leaves(_from_numpy, batch, np.ndarray)
        notes.append("numpy arrays were copied to tensors")
    args, kwargs, rest, said = _arguments(model, unpacked(batch))
    targets = rest if targets is None else targets
    names = tuple(_parameters(model)[: len(args)])
    fitted = Batch(args, kwargs, 0, (*notes, *said), targets, names=names)
    tensors = fitted.tensors()
    _refuse_unusable(batch, tensors)
    edges = _edges(tensors)
    fitted = replace(fitted, size=_size(tensors, edges))
    if edges or not all(is_plain(tensor) for _, tensor in tensors):
        what = f"a graph, by {edges}" if edges else "a sparse or nested tensor"
        why = f"the batch ({what}) cannot be cut: its {fitted.size} rows were measured together"
        fitted = replace(fitted, cuttable=False, notes=(*fitted.notes, why))
    return _to_model(model, fitted)


def _first_of(loader: DataLoader[Any]) -> Any:
    """Return the first batch of a loader, whose own order and the random state of the process are kept."""
    generator = loader.generator
    state = generator.get_state() if isinstance(generator, torch.Generator) else None
    try:
        with untouched(nn.Identity()):
            for batch in loader:
                return batch
    finally:
        if isinstance(generator, torch.Generator) and state is not None:
            generator.set_state(state)
    raise InputError("The data loader holds no batch.", "Pass one with at least one sample.")


def _from_numpy(array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "biufc":
        raise InputError(f"The batch holds a numpy array of type {array.dtype}.", "Pass numbers.")
    return torch.from_numpy(np.array(array))


def _refuse_unusable(batch: Any, tensors: list[tuple[str, Tensor]]) -> None:
    if not tensors:
        raise InputError(
            f"The batch is {_describe(batch)}, which holds no tensor.",
            'Pass tensors; a tokeniser gives them with return_tensors="pt".'
            if isinstance(batch, Mapping)
            else "Pass a tensor, a tuple or list of tensors, or a dict of them.",
        )
    sized = [tensor for _, tensor in tensors if tensor.ndim]
    if not sized:
        raise InputError(
            "The batch holds only tensors without dimensions.", "Give it a first dimension of samples."
        )
    if sized[0].size(0) == 0:
        raise InputError(f"The batch is empty: its shape is {_shape(sized[0])}.", "Pass at least one sample.")
    for path, tensor in tensors:
        if tensor.is_meta:
            raise InputError(
                f"The batch holds a tensor on the meta device ({path!r}), which has no values.",
                "Pass real values.",
            )
        values = _values(tensor)
        if values.is_floating_point() and "mask" not in path.lower() and not _all_finite(values):
            bad = int((~values.isfinite()).sum())
            raise InputError(
                f"The batch holds {bad} value(s) that are NaN or infinite "
                f"(tensor {path!r}, shape {_shape(tensor)}).",
                "Remove or replace them before the measurement.",
            )


def _edges(tensors: list[tuple[str, Tensor]]) -> str:
    """Return the name of the tensor that holds the edges of a graph, or "".

    Such a tensor is called so, or has two rows of whole numbers that count the rows of the first one.
    """
    for name, _ in tensors:
        if _EDGES.search(name.lower()):
            return name
    nodes = next((t.shape[0] for _, t in tensors if is_plain(t) and t.is_floating_point() and t.ndim), 0)
    for name, tensor in tensors[1:]:
        pairs = (
            is_plain(tensor) and tensor.dtype == torch.int64 and tensor.shape[:1] == (2,) and tensor.ndim == 2
        )
        if pairs and nodes > 2 and tensor.numel() and int(tensor.min()) >= 0 and int(tensor.max()) < nodes:
            return name
    return ""


def _size(tensors: list[tuple[str, Tensor]], graph: str) -> int:
    plain = [(name, tensor) for name, tensor in tensors if is_plain(tensor) and tensor.ndim]
    if graph:
        # The rows of a graph are its nodes, which the first floating-point tensor that is no edge describes.
        nodes = [t for name, t in plain if name != graph and not _EDGES.search(name.lower())]
        plain = [("", t) for t in nodes if t.is_floating_point()] or [("", t) for t in nodes] or plain
    first = plain[0][1] if plain else next(tensor for _, tensor in tensors if tensor.ndim)
    return first.size(0)


def _all_finite(tensor: Tensor) -> bool:
    # A part at a time: the check takes as much memory as what it checks.
    if not tensor.ndim:
        return bool(tensor.isfinite())
    rows = max(1, _CHECKED * len(tensor) // max(tensor.numel(), 1))
    starts = range(0, len(tensor), rows)
    return all(bool(tensor[start : start + rows].isfinite().all()) for start in starts)


def _arguments(model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any, list[str]]:
    """Return positional and keyword arguments, what is left of the batch, and notes."""
    if isinstance(batch, (Tensor, Packed)):
        return (batch,), {}, None, []
    if isinstance(batch, Mapping):
        return _named_arguments(model, batch)
    if not isinstance(batch, (tuple, list)):
        if next(leaves(batch, Tensor), None) is not None:
            return (batch,), {}, None, []
        raise InputError(
            f"The batch is {_describe(batch)}.",
            "Pass a tensor, a tuple or list of tensors, or a dict of them.",
        )
    if not batch:
        raise InputError("The batch is empty.", "Pass at least one sample.")
    if len(batch) == 1 or (_binds(model, *batch) and not _looks_like_labels(model, batch)):
        return tuple(batch), {}, None, []
    _refuse_ragged(batch)
    first, rest = batch[0], tuple(batch[1:])
    note = (
        f"the batch has {len(batch)} elements and the model takes the first alone; "
        "the rest was taken as labels"
    )
    args, kwargs, _, said = _arguments(model, first if not isinstance(first, (tuple, list)) else (first,))
    return args, kwargs, rest[0] if len(rest) == 1 else rest, [note, *said]


def _named_arguments(
    model: nn.Module, batch: Mapping[Any, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], Any, list[str]]:
    named = {str(key): value for key, value in batch.items()}
    if _binds(model, **named):
        return (), named, None, []
    known = {name: named[name] for name in _parameters(model) if name in named}
    if not known or not _binds(model, **known):
        return (batch,), {}, None, []
    rest = {name: value for name, value in named.items() if name not in known}
    note = f"{', '.join(rest)} of the batch were left out: forward has no such argument"
    targets = next(iter(rest.values())) if len(rest) == 1 else rest
    return (), known, targets, [note if len(rest) > 1 else note.replace(" were ", " was ")]


def _refuse_ragged(batch: tuple[Any, ...] | list[Any]) -> None:
    """Refuse a list of samples of different lengths, which is no pair of inputs and labels."""
    if not isinstance(batch, list) or not all(isinstance(item, Tensor) and item.ndim for item in batch):
        return
    kinds = {(item.dtype, item.ndim, *item.shape[1:]) for item in batch}
    lengths = [len(item) for item in batch]
    if len(kinds) == 1 and len(set(lengths)) > 1:
        few = ", ".join(map(str, lengths[:4])) + (", ..." if len(lengths) > 4 else "")
        raise InputError(
            f"The batch is a list of {len(batch)} tensors of different lengths ({few}), and the model takes "
            "no list of samples.",
            "Pad them to one tensor with torch.nn.utils.rnn.pad_sequence, or pack them.",
        )


def _parameters(model: nn.Module) -> list[str]:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _binds(model: nn.Module, *args: Any, **kwargs: Any) -> bool:
    try:
        inspect.signature(model.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return False
    return True


def _looks_like_labels(model: nn.Module, batch: tuple[Any, ...] | list[Any]) -> bool:
    # (inputs, class numbers) for a forward whose second argument is optional, such as a mask or a state.
    if len(batch) != 2 or not isinstance(batch[1], Tensor) or batch[1].is_floating_point():
        return False
    parameters = list(inspect.signature(model.forward).parameters.values())
    optional = len(parameters) > 1 and parameters[1].default is not inspect.Parameter.empty
    return optional and batch[1].ndim <= 1


def _to_model(model: nn.Module, batch: Batch) -> Batch:
    weights = [p for p in model.parameters() if p.is_floating_point()]
    dtypes = {p.dtype for p in weights}
    devices = {p.device for p in model.parameters()}
    notes = list(batch.notes)
    tensors = [tensor for _, tensor in batch.tensors()]
    device = next(iter(devices)) if len(devices) == 1 else None
    dtype = next(iter(dtypes)) if len(dtypes) == 1 else None
    if device is not None and any(t.device != device for t in tensors):
        notes.append(f"the batch was copied to the model's device, {device}")
    given = {t.dtype for t in tensors if t.is_floating_point()}
    if dtype is not None and given - {dtype}:
        names = ", ".join(sorted(str(d).removeprefix("torch.") for d in given - {dtype}))
        notes.append(f"the batch ({names}) was cast to the model's {str(dtype).removeprefix('torch.')}")

    def fit(tensor: Tensor) -> Tensor:
        moved = tensor.detach() if device is None else tensor.detach().to(device)
        return moved.to(dtype) if dtype is not None and tensor.is_floating_point() else moved

    return batch.mapped(fit, notes=tuple(notes), targets=map_leaves(fit, batch.targets))


def map_leaves(function: Callable[[Any], Any], tree: Any, kind: Any = Tensor) -> Any:
    """Return `tree` with each tensor (or leaf of another `kind`) replaced by what `function` makes of it.

    By hand, since torch's own trees know no ``Mapping``, such as the batches of a tokeniser, and no objects.
    A mapping or an object of a type of its own is copied where something in it is replaced. A packed sequence
    is one leaf.
    """
    return _mapped(function, tree, kind, _DEEPEST)


def _mapped(function: Callable[[Any], Any], tree: Any, kind: Any, depth: int) -> Any:
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (Tensor, PackedSequence)):
        return tree
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_mapped(function, item, kind, depth) for item in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)([_mapped(function, item, kind, depth) for item in tree])
    if type(tree) is dict:
        return {key: _mapped(function, item, kind, depth) for key, item in tree.items()}
    if isinstance(tree, Mapping):
        new = {key: _mapped(function, item, kind, depth) for key, item in tree.items()}
        if not isinstance(tree, MutableMapping):
            return new
        return _with_items(tree, {key: item for key, item in new.items() if item is not tree[key]})
    inside = _inside(tree) if depth else {}
    new = {key: _mapped(function, item, kind, depth - 1) for key, item in inside.items()}
    changed = {key: item for key, item in new.items() if _differs(item, inside[key])}
    if not changed:
        return tree
    twin = copy.copy(tree)
    vars(twin).update(changed)
    return twin


def _with_items(tree: MutableMapping[Any, Any], changed: dict[Any, Any]) -> MutableMapping[Any, Any]:
    twin = copy.copy(tree)
    for key, item in changed.items():
        twin[key] = item
    return twin


def _differs(new: Any, old: Any) -> bool:
    """Return whether a part was replaced, rather than a list or dict rebuilt from the same things."""
    if type(new) is type(old) and isinstance(new, (tuple, list)):
        return any(_differs(a, b) for a, b in zip(new, old, strict=True))
    if type(new) is dict and type(old) is dict:
        return any(_differs(new[key], old[key]) for key in old)
    return new is not old


def _inside(thing: Any) -> dict[str, Any]:
    """Return the attributes of an object that may hold tensors, such as a dataclass, a cache or a graph."""
    if (
        isinstance(thing, (nn.Module, DataLoader, Dataset, type))
        or callable(thing)
        or not hasattr(thing, "__dict__")
    ):
        return {}
    return dict(vars(thing))


def leaves(tree: Any, kind: type[_Leaf]) -> Iterator[_Leaf]:
    """Yield every leaf of a `kind` in the order of :func:`map_leaves`."""
    return (leaf for _, leaf in _named_leaves(tree, kind))


def _named_leaves(
    tree: Any, kind: type[_Leaf], path: str = "", depth: int = _DEEPEST
) -> Iterator[tuple[str, _Leaf]]:
    """Yield every leaf with the key or the number of the argument that it stands under."""
    if isinstance(tree, kind):
        yield path, tree
    elif isinstance(tree, (Tensor, PackedSequence)):
        return
    elif isinstance(tree, Packed):
        yield from _named_leaves(tree.padded, kind, path, depth)
        yield from _named_leaves(tree.lengths, kind, f"{path} lengths", depth)
    elif isinstance(tree, (tuple, list)):
        for index, item in enumerate(tree):
            yield from _named_leaves(item, kind, f"{index}" if path == "" else path, depth)
    elif isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from _named_leaves(item, kind, str(key), depth)
    elif depth:
        for key, item in _inside(tree).items():
            yield from _named_leaves(item, kind, key, depth - 1)


def _describe(thing: Any) -> str:
    text = " ".join(repr(thing).split())
    return f"a {type(thing).__name__} ({text if len(text) <= 60 else text[:57] + '...'})"


def first_float(output: Any) -> Tensor | None:
    """Return the first floating-point tensor in an output of any structure, or None."""
    return next(_floats(output), None)


def all_floats(output: Any) -> list[Tensor]:
    """Return every floating-point tensor in an output of any structure."""
    return list(_floats(output))


def _floats(output: Any) -> Iterator[Tensor]:
    return (tensor for tensor in leaves(output, Tensor) if tensor.is_floating_point() and is_plain(tensor))


def replace_first_float(output: Any, new: Tensor) -> Any:
    """Return `output` with its first floating-point tensor replaced by `new`."""
    old = first_float(output)
    return map_leaves(lambda tensor: new if tensor is old else tensor, output)
