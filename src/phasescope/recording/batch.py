"""A batch in any structure: its samples, subsets of them, and the tensors that carry a tangent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from torch import Tensor, nn

from phasescope.errors import InputError

_Leaf = TypeVar("_Leaf")

_CHECKED = 2**18  # values at a time


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
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    size: int
    notes: tuple[str, ...] = ()

    def take(self, start: int, stop: int) -> Self:
        """Return samples `start` to `stop` as copies: a model may work on them in place."""
        return self._cut(slice(start, stop), min(stop, self.size) - start)

    def pick(self, samples: Tensor) -> Self:
        """Return the samples of these numbers as copies, in this order."""
        return self._cut(samples, len(samples))

    def _cut(self, place: slice | Tensor, size: int) -> Self:
        def cut(tensor: Tensor) -> Tensor:
            if not self._has_samples(tensor):
                return tensor.detach().clone()
            rows = place if isinstance(place, slice) else place.to(tensor.device)
            return tensor[rows].detach().clone()

        return self.mapped(cut, size=size)

    def mapped(self, function: Callable[[Tensor], Any], **changes: Any) -> Self:
        """Return the batch with `function` of every tensor in its place, and other fields changed."""
        args, kwargs = map_leaves(function, (self.args, self.kwargs))
        return replace(self, args=args, kwargs=kwargs, **changes)

    def tensors(self) -> list[tuple[str, Tensor]]:
        """Return every tensor in the order of :meth:`mapped`, with its key or the number of its argument."""
        return list(_named_leaves((self.args, self.kwargs), Tensor))

    def floats(self) -> list[Tensor]:
        """Return the floating-point tensors that hold one row per sample, masks left out."""
        return [
            tensor
            for path, tensor in self.tensors()
            if tensor.is_floating_point() and self._has_samples(tensor) and "mask" not in path.lower()
        ]

    def with_floats(self, tensors: list[Tensor]) -> Self:
        """Return the batch with the tensors of `floats()` replaced, in the same order."""
        changed = {id(old): new for old, new in zip(self.floats(), tensors, strict=True)}

        def swap(tensor: Tensor) -> Tensor:
            return changed.get(id(tensor), tensor)

        return self.mapped(swap)

    def identical_pairs(self) -> list[bool]:
        """Return, for the pairs (0, 1), (2, 3), ..., whether the two are the same in every tensor."""
        same = [True] * (self.size // 2)
        for _, tensor in self.tensors():
            if same and self._has_samples(tensor):
                pairs = tensor[: 2 * len(same)].reshape(len(same), 2, -1)
                alike = (pairs[:, 0] == pairs[:, 1]).all(dim=1).tolist()
                same = [a and b for a, b in zip(same, alike, strict=True)]
        return same

    def nbytes(self) -> int:
        """Return the memory that the tensors take, in bytes."""
        return sum(tensor.numel() * tensor.element_size() for _, tensor in self.tensors())

    def shapes(self) -> str:
        """Return the shapes of the tensors, in the order of the arguments."""
        shapes = [f"{name}: {tuple(t.shape)} {t.dtype}" for name, t in self.tensors()]
        return ", ".join(shape.replace("torch.", "").removeprefix("0: ") for shape in shapes)

    def _has_samples(self, tensor: Tensor) -> bool:
        return tensor.ndim >= 1 and tensor.shape[0] == self.size


def as_batch(model: nn.Module, batch: Any) -> Batch:
    """Return `batch` as the arguments of ``model(...)``.

    A tensor is the one argument. A mapping gives keyword arguments if ``forward`` has such names, otherwise
    it is the one argument. A tuple or list gives positional ones if the signature of ``forward`` takes that
    many, otherwise its first element is the input and the rest (the labels that a data loader yields) is
    left out, with a note.

    Parameters
    ----------
    model : nn.Module
        The model; tells the device and the floating-point type.
    batch : tensor, tuple, list or mapping of tensors
        The samples lie along the first axis.

    Raises
    ------
    InputError
        If there is no tensor, no sample, or a value that is not finite.
    """
    args, kwargs, notes = _arguments(model, batch)
    tensors = list(_named_leaves((args, kwargs), Tensor))
    if not tensors:
        raise InputError(
            f"The batch is {_describe(batch)}, which holds no tensor.",
            "Pass a tensor, a tuple or list of tensors, or a dict of them.",
        )
    sized = [tensor for _, tensor in tensors if tensor.ndim]
    if not sized:
        raise InputError(
            "The batch holds only tensors without dimensions.", "Give it a first dimension of samples."
        )
    if sized[0].shape[0] == 0:
        raise InputError(
            f"The batch is empty: its shape is {tuple(sized[0].shape)}.", "Pass at least one sample."
        )
    for path, tensor in tensors:
        if tensor.is_floating_point() and "mask" not in path.lower() and not _all_finite(tensor):
            bad = int((~tensor.isfinite()).sum())
            raise InputError(
                f"The batch holds {bad} value(s) that are NaN or infinite "
                f"(tensor {path!r}, shape {tuple(tensor.shape)}).",
                "Remove or replace them before the measurement.",
            )
    fitted = Batch(args, kwargs, sized[0].shape[0], tuple(notes))
    return _to_model(model, fitted)


def _all_finite(tensor: Tensor) -> bool:
    # A part at a time: the check takes as much memory as what it checks.
    if not tensor.ndim:
        return bool(tensor.isfinite())
    rows = max(1, _CHECKED * len(tensor) // max(tensor.numel(), 1))
    starts = range(0, len(tensor), rows)
    return all(bool(tensor[start : start + rows].isfinite().all()) for start in starts)


def _arguments(model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], list[str]]:
    if isinstance(batch, Tensor):
        return (batch,), {}, []
    if isinstance(batch, Mapping):
        named = {str(key): value for key, value in batch.items()}
        return ((), named, []) if _binds(model, **named) else ((batch,), {}, [])
    if not isinstance(batch, (tuple, list)):
        raise InputError(
            f"The batch is {_describe(batch)}.",
            "Pass a tensor, a tuple or list of tensors, or a dict of them.",
        )
    if not batch:
        raise InputError("The batch is empty.", "Pass at least one sample.")
    if len(batch) == 1 or (_binds(model, *batch) and not _looks_like_labels(model, batch)):
        return tuple(batch), {}, []
    first = batch[0]
    note = (
        f"the batch has {len(batch)} elements and the model takes the first alone; "
        "the rest was taken as labels"
    )
    args, kwargs, _ = _arguments(model, first if isinstance(first, (Tensor, Mapping)) else (first,))
    return args, kwargs, [note]


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

    return batch.mapped(fit, notes=tuple(notes))


def map_leaves(function: Callable[[Any], Any], tree: Any, kind: Any = Tensor) -> Any:
    """Return `tree` with each tensor (or leaf of another `kind`) replaced by what `function` makes of it.

    By hand, since torch's own trees know no ``Mapping``, such as the batches of a tokeniser.
    """
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_leaves(function, item, kind) for item in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_leaves(function, item, kind) for item in tree)
    if isinstance(tree, Mapping):
        return {key: map_leaves(function, item, kind) for key, item in tree.items()}
    return tree


def leaves(tree: Any, kind: type[_Leaf]) -> Iterator[_Leaf]:
    """Yield every leaf of a `kind` in the order of :func:`map_leaves`."""
    return (leaf for _, leaf in _named_leaves(tree, kind))


def _named_leaves(tree: Any, kind: type[_Leaf], path: str = "") -> Iterator[tuple[str, _Leaf]]:
    """Yield every leaf with the key or the number of the argument that it stands under."""
    if isinstance(tree, kind):
        yield path, tree
    elif isinstance(tree, (tuple, list)):
        for index, item in enumerate(tree):
            yield from _named_leaves(item, kind, f"{index}" if path == "" else path)
    elif isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from _named_leaves(item, kind, str(key))


def _describe(thing: Any) -> str:
    text = " ".join(repr(thing).split())
    return f"a {type(thing).__name__} ({text if len(text) <= 60 else text[:57] + '...'})"


def first_float(output: Any) -> Tensor | None:
    """Return the first floating-point tensor in an output of any structure, or None."""
    return next((tensor for tensor in leaves(output, Tensor) if tensor.is_floating_point()), None)


def all_floats(output: Any) -> list[Tensor]:
    """Return every floating-point tensor in an output of any structure."""
    return [tensor for tensor in leaves(output, Tensor) if tensor.is_floating_point()]


def replace_first_float(output: Any, new: Tensor) -> Any:
    """Return `output` with its first floating-point tensor replaced by `new`."""
    old = first_float(output)
    return map_leaves(lambda tensor: new if tensor is old else tensor, output)
