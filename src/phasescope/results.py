"""What every result of a measurement can do: print short, go into a table, be drawn, be kept in a file.

A file is an uncompressed zip archive: ``result.json`` holds the tree of values, one ``.npy`` file each array.
The archive's comment is the checksum of the tree, and the tree holds the checksum of every array. Reading it
makes objects of phasescope's own result classes from plain values and arrays of numbers or letters; nothing
in a file is ever executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.regular_files import read_regular
from phasescope.whole_files import os_errors_told, write_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMAT = 1
_TREE = "result.json"
_ROOMS = (
    *("theory", "signal", "scaling", "noise", "training", "recurrent", "structure", "synapses"),
    "instruments",
)
_KEPT: dict[str, type] = {"Estimate": Estimate}
_LONGEST = 160  # letters of a sentence in a repr
_DEEPEST = 60  # values inside each other

Kept = TypeVar("Kept", bound=type)


def kept(cls: Kept) -> Kept:
    """Let a dataclass stand inside a result that is kept in a file; `Result` does so by itself."""
    _KEPT[_name(cls)] = cls
    return cls


def _name(cls: type) -> str:
    return "Estimate" if cls is Estimate else f"{cls.__module__.split('.')[1]}.{cls.__qualname__}"


class Result:
    """Base of what a measurement returns.

    A result prints as its table or sentences, and its ``repr`` is one line. In a notebook it shows itself.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in vars(cls):  # else a dataclass writes its own, with every field
            cls.__repr__ = Result.__repr__  # type: ignore[method-assign]
        kept(cls)

    @property
    def sentence(self) -> str:
        """The result in one line."""
        return next((line.strip() for line in str(self).splitlines() if line.strip()), "")

    def plot(self) -> Figure:
        """Return a figure of the result, made without pyplot: ``result.plot().savefig("result.png")``.

        Raises
        ------
        InputError
            If the result holds no curve.
        """
        report = importlib.import_module("phasescope.report")
        return cast("Figure", report.picture(self))

    def to_dataframe(self) -> pd.DataFrame:
        """Return the numbers as a table of pandas.

        A result over layers, curves or rates has one row for each of them; a result with arrays has one row
        for each of their places; any other has one row. What is an :class:`phasescope.Estimate` has two
        columns, ``X`` and ``X_error``, both NaN where it is not determined.
        """
        import pandas as pd

        return pd.DataFrame(_columns(self))

    def save(self, path: Path | str) -> Path:
        """Write the result into one file, whole or not at all, and return its path.

        Parameters
        ----------
        path : Path or str
            A file there is replaced. :func:`phasescope.load` reads it back, bit by bit the same.

        Raises
        ------
        InputError
            If the file cannot be written, or the result holds what no file can keep, such as a function.
        """
        path = Path(path)
        with os_errors_told(path.parent):
            write_whole(path, _packed(self))
        return path

    def _repr_html_(self) -> str:
        report = importlib.import_module("phasescope.report")
        return cast(str, report.in_notebook(self))

    def _values(self) -> dict[str, Any]:
        """Return what is written of the result; `_of_values` makes the result from it."""
        return {f.name: getattr(self, f.name) for f in _fields(self) if f.init}

    @classmethod
    def _of_values(cls, values: dict[str, Any]) -> Result:
        return cls(**values)

    def __repr__(self) -> str:
        name, sentence = type(self).__name__, self.sentence
        sentence = sentence if len(sentence) <= _LONGEST else sentence[: _LONGEST - 1] + "…"
        return sentence if sentence.startswith(name) else f"<{name}: {sentence}>"

    def __str__(self) -> str:
        return ", ".join(f"{f.name} = {_short(getattr(self, f.name))}" for f in _fields(self) if f.repr)


def _fields(result: Any) -> tuple[dataclasses.Field[Any], ...]:
    found: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(result)
    return found


def _short(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if isinstance(value, list | tuple | Mapping) and len(value) > 4:
        return f"{len(value)} values"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, Estimate):
        return str(value)
    return type(value).__name__ if dataclasses.is_dataclass(value) else str(value)


def _columns(result: Any) -> dict[str, Any]:
    fields = {f.name: getattr(result, f.name) for f in _fields(result)}
    for value in fields.values():
        if type(value).__name__ == "Dataset":
            return columns_of_dataset(value)
    for name, value in fields.items():
        if isinstance(value, tuple | list) and value and all(dataclasses.is_dataclass(one) for one in value):
            rows = [_columns(one) for one in value]
            if any(np.ndim(column) for row in rows for column in row.values()):
                return _joined(rows, name)
            if any(rows):
                return {key: [row.get(key) for row in rows] for key in rows[0]}
    arrays = {name: value for name, value in fields.items() if _is_series(value)}
    if arrays:
        lengths = [len(array) for array in arrays.values()]
        most = max(lengths, key=lengths.count)
        return {name: array for name, array in arrays.items() if len(array) == most}
    return _scalars(fields)


def _is_series(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biufcUS"


def _joined(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return curves below each other, with a column that counts them."""
    lengths = [max((len(column) for column in row.values() if np.ndim(column)), default=0) for row in rows]
    columns: dict[str, Any] = {name.removesuffix("s"): np.repeat(np.arange(len(rows)), lengths)}
    for key in rows[0]:
        parts = [np.broadcast_to(row[key], n) for row, n in zip(rows, lengths, strict=True) if key in row]
        columns[key] = np.concatenate(parts)
    return columns


def _scalars(fields: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Estimate):
            columns |= {name: [value.value], f"{name}_error": [value.error]}
        elif isinstance(value, Mapping):
            columns |= _scalars({f"{name}_{key}": one for key, one in value.items()})
        elif value is None or isinstance(value, bool | int | float | str | np.generic):
            columns[name] = [value]
    return columns


def columns_of_dataset(dataset: Any) -> dict[str, Any]:
    """Return the numbers along the dimension that most of them have."""
    dims = [variable.dims[0] for variable in dataset.variables.values() if variable.ndim == 1]
    main = max(dims, key=dims.count, default=None)
    return {str(key): one.values for key, one in dataset.variables.items() if one.dims == (main,)}


def load(path: Path | str) -> Result:
    """Return the result that ``save`` wrote, bit by bit the same.

    Nothing in the file is executed: it gives values and arrays to phasescope's own result classes.

    Parameters
    ----------
    path : Path or str
        The file; only regular files are read.

    Raises
    ------
    InputError
        If it is missing, damaged, no result of phasescope, or of a later version.
    """
    content = read_regular(path)
    refused = f"{path} is no result that phasescope saved"
    fix = "Give a file that result.save(path) wrote."
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise InputError(f"{refused}: it is compressed.", fix)
            files = {item.filename: archive.read(item) for item in archive.infolist()}
            mark = archive.comment.decode("ascii", "replace")
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{refused}: {error}.", fix) from error
    tree = files.pop(_TREE, None)
    if tree is None:
        raise InputError(f"{refused}: it holds no {_TREE}.", fix)
    if hashlib.sha256(tree).hexdigest() != mark:
        raise InputError(f"{path} is damaged: its checksum does not fit.", "Save the result again.")
    try:
        head = json.loads(tree)
        if head["format"] != FORMAT:
            raise InputError(
                f"{path} has format {head['format']!r}, not {FORMAT}.", "Use a newer phasescope."
            )
        for name, told in head["arrays"].items():
            if hashlib.sha256(files[name]).hexdigest() != told:
                raise InputError(f"{path} is damaged: {name} does not fit its checksum.", "Save it again.")
        found = _Reader(files).value(head["result"])
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(f"{refused}: {type(error).__name__}: {error}.", fix) from error
    if not isinstance(found, Result):
        raise InputError(f"{refused}: it holds a {type(found).__name__}.", fix)
    return found


def _packed(result: Result) -> bytes:
    writer = _Writer()
    described = writer.value(result, 0)
    marks = {name: hashlib.sha256(data).hexdigest() for name, data in writer.files.items()}
    tree = json.dumps({"format": FORMAT, "arrays": marks, "result": described}).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {_TREE: tree, **writer.files}.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # without the time: equal results, equal files
        archive.comment = hashlib.sha256(tree).hexdigest().encode()
    return target.getvalue()


class _Writer:
    """Values as a tree of JSON: all but text, numbers, truth and None is a list that begins with its kind."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def value(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise InputError("The result holds itself, or too many values inside each other.", _UNKEPT)
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else ["float", repr(value)]
        if kind in (tuple, list, set, frozenset):
            return [kind.__name__, [self.value(one, depth + 1) for one in value]]
        if isinstance(value, Result):
            return ["object", _name(kind), self._pairs(value._values(), depth)]
        if dataclasses.is_dataclass(value) and _KEPT.get(_name(kind)) is kind:
            values = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
            return ["object", _name(kind), self._pairs(values, depth)]
        if isinstance(value, np.ndarray | np.generic):
            return self._array(value, depth)
        if kind.__name__ == "Tensor" and kind.__module__ == "torch":
            return self._tensor(value, depth)
        if kind.__name__ == "Dataset" and kind.__module__.startswith("xarray"):
            return self._dataset(value, depth)
        if isinstance(value, Mapping):
            return ["dict", self._pairs(value, depth)]
        raise InputError(f"The result holds a {kind.__name__}, which no file can keep.", _UNKEPT)

    def _pairs(self, values: Mapping[Any, Any], depth: int) -> list[Any]:
        return [
            [self.value(key, depth + 1), self.value(one, depth + 1)]
            for key, one in values.items()  # in order
        ]

    def _array(self, value: Any, depth: int) -> Any:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            return ["objects", list(array.shape), [self.value(one, depth + 1) for one in array.ravel()]]
        if array.dtype.kind not in "biufcUSmM":
            raise InputError(f"The result holds an array of {array.dtype}, which no file can keep.", _UNKEPT)
        name = f"{len(self.files)}.npy"
        target = io.BytesIO()
        np.save(target, array, allow_pickle=False)
        self.files[name] = target.getvalue()
        return ["scalar" if isinstance(value, np.generic) else "array", name]

    def _tensor(self, value: Any, depth: int) -> Any:
        import torch

        plain = value.detach().cpu()
        half = plain.dtype == torch.bfloat16
        return ["tensor", half, self._array((plain.view(torch.int16) if half else plain).numpy(), depth)]

    def _dataset(self, value: Any, depth: int) -> Any:
        variables = [
            [str(name), name in value.coords, list(one.dims), self._array(one.values, depth), one.attrs]
            for name, one in value.variables.items()
        ]
        described = [[*four, self._pairs(attrs, depth)] for *four, attrs in variables]
        return ["dataset", described, self._pairs(value.attrs, depth)]


_UNKEPT = "Keep its numbers instead: result.to_dataframe(), or str(result)."


class _Reader:
    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def value(self, described: Any) -> Any:
        if not isinstance(described, list):
            return described
        kind, *rest = described
        if kind in ("tuple", "list", "set", "frozenset"):
            made = [self.value(one) for one in rest[0]]
            return {"tuple": tuple, "list": list, "set": set, "frozenset": frozenset}[kind](made)
        if kind == "float":
            return float(rest[0])
        if kind == "dict":
            return self._pairs(rest[0])
        if kind == "object":
            return self._object(*rest)
        if kind in ("array", "scalar"):
            array = np.load(io.BytesIO(self.files[rest[0]]), allow_pickle=False)
            return array[()] if kind == "scalar" else array
        if kind == "objects":
            objects = np.empty(math.prod(rest[0]), dtype=object)
            objects[:] = [self.value(one) for one in rest[1]]
            return objects.reshape(rest[0])
        if kind == "tensor":
            import torch

            tensor = torch.from_numpy(self.value(rest[1]))
            return tensor.view(torch.bfloat16) if rest[0] else tensor
        if kind == "dataset":
            return self._dataset(*rest)
        raise ValueError(f"{kind!r} is no kind of value")

    def _pairs(self, described: list[Any]) -> dict[Any, Any]:
        return {self.value(key): self.value(one) for key, one in described}

    def _object(self, name: str, described: list[Any]) -> Any:
        room = name.split(".")[0]
        if room in _ROOMS:  # nothing but phasescope's own rooms is ever imported
            importlib.import_module(f"phasescope.{room}")
        if name not in _KEPT:
            raise ValueError(f"{name} is no result of this version of phasescope")
        cls, values = _KEPT[name], self._pairs(described)
        return cls._of_values(values) if issubclass(cls, Result) else cls(**values)

    def _dataset(self, described: list[Any], attrs: list[Any]) -> Any:
        import xarray as xr

        made = {
            name: (coord, xr.Variable(dims, self.value(array), self._pairs(own)))
            for name, coord, dims, array, own in described
        }
        return xr.Dataset(
            {name: one for name, (coord, one) in made.items() if not coord},
            {name: one for name, (coord, one) in made.items() if coord},
            self._pairs(attrs),
        )
