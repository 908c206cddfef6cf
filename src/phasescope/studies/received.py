"""What may stand in a results file, made sure of before anything of it is read.

HDF5 lets a file point to other files (external storage, external links, virtual datasets) and to itself
(cycles of groups), and declare arrays, chunks and attributes of any size. What a study writes needs none of
that: groups in the root, arrays of numbers or single letters in the groups, text and numbers as attributes.
"""

from __future__ import annotations

import math
import zlib
from io import BytesIO
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5o, h5t, h5z

from phasescope.errors import InputError

_MOST_OBJECTS = 100_000
_MOST_ATTRIBUTES = 200  # of one object
_MOST_CHUNKS = 1_000_000  # of one array, there or not
_UNNOTICED = 64_000_000  # bytes that unpacking one chunk may take, whatever it was declared as
_MOST_INFLATED = 1032  # times; the format allows no more
_CHECKSUM = 4  # bytes behind a packed chunk

_NUMBERS = (h5t.INTEGER, h5t.FLOAT, h5t.ENUM)
_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
_LAYOUTS = (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED)
_MOST_DIMENSIONS = 32


def check(content: bytes, most: int) -> None:
    """Raise ``InputError`` where a file holds what no study writes, or declares more than `most` bytes."""
    with BytesIO(content) as file, h5py.File(file, "r") as opened:
        seen = _Seen(most)
        seen.attributes(opened.id, "the root")
        for part in seen.members(opened.id, "the root", h5o.TYPE_GROUP):
            group = h5o.open(opened.id, part)
            where = repr(part.decode(errors="replace"))
            seen.attributes(group, where)
            for name in seen.members(group, where, h5o.TYPE_DATASET):
                seen.array(h5d.open(group, name), f"{where}, {name.decode(errors='replace')!r}")


class _Seen:
    def __init__(self, most: int) -> None:
        self.most, self.bytes, self.places = most, 0, set[int]()

    def members(self, group: Any, where: str, kind: int) -> list[bytes]:
        """Return the names in a group, once each is known to be that kind of object under its only name."""
        if len(self.places) + group.get_num_objs() > _MOST_OBJECTS:
            raise _refused(where, f"holds more than {_MOST_OBJECTS:,} objects")
        names = list(group)
        for name in names:
            inside = f"{where}, {name.decode(errors='replace')!r},"
            if group.links.get_info(name).type != h5l.TYPE_HARD:
                raise _refused(inside, "is a link to another place or file")
            found = h5o.get_info(group, name)
            if found.type != kind:
                raise _refused(inside, "is a group within a group, or stands where none may")
            if found.addr in self.places:
                raise _refused(inside, "is there under two names")
            self.places.add(found.addr)
        return names

    def array(self, array: Any, where: str) -> None:
        how = array.get_create_plist()
        if how.get_layout() not in _LAYOUTS or how.get_external_count():
            raise _refused(where, "has its values in another place or file")
        if {how.get_filter(index)[0] for index in range(how.get_nfilters())} - set(_FILTERS):
            raise _refused(where, "is packed in a way that no study packs")
        kind = array.get_type()
        if not (kind.get_class() in _NUMBERS or _is_plain_text(kind)):
            raise _refused(where, "holds something else than numbers or text of fixed length")
        self._declared(where, math.prod(array.shape or ()) * kind.get_size())
        if how.get_layout() == h5d.CHUNKED:
            self._chunks(array, how.get_chunk(), kind.get_size(), where)
        self.attributes(array, where)

    def _chunks(self, array: Any, shape: tuple[int, ...], size: int, where: str) -> None:
        count = math.prod(math.ceil(length / step) for length, step in zip(array.shape, shape, strict=True))
        whole = math.prod(shape) * size
        if count > _MOST_CHUNKS or whole > self.most:
            raise _refused(where, f"is divided into {count:,} chunks of {whole:,} bytes")
        stored: list[Any] = []
        array.chunk_iter(stored.append)
        for chunk in stored:
            if _MOST_INFLATED * chunk.size <= max(whole, _UNNOTICED):
                continue
            skipped, packed = array.read_direct_chunk(chunk.chunk_offset)
            if _inflates_beyond(array.get_create_plist(), skipped, packed, whole):
                raise _refused(where, "has a chunk that unpacks to more than was declared")

    def attributes(self, thing: Any, where: str) -> None:
        if h5a.get_num_attrs(thing) > _MOST_ATTRIBUTES:
            raise _refused(where, f"has more than {_MOST_ATTRIBUTES} attributes")
        for index in range(h5a.get_num_attrs(thing)):
            attribute = h5a.open(thing, index=index)
            kind, name = attribute.get_type(), attribute.name.decode(errors="replace")
            count = attribute.get_space().get_simple_extent_npoints()
            self._declared(where, attribute.get_storage_size())
            if isinstance(kind, h5t.TypeStringID) and kind.is_variable_str() and count == 1:
                text = np.empty(attribute.shape, dtype=attribute.dtype)
                attribute.read(text)
                self._declared(where, len(text.item()))  # many attributes may share one text in the file
            elif not (kind.get_class() in _NUMBERS or _is_plain_text(kind) or _points(name, kind, count)):
                raise _refused(where, f"has the attribute {name!r}, which is neither text nor numbers")

    def _declared(self, where: str, count: int) -> None:
        self.bytes += count
        if self.bytes > self.most:
            raise InputError(
                f"With {where}, it declares {self.bytes:,} bytes, and at most {self.most:,} are read.",
                "If you trust it, allow more: --max-memory SIZE, or max_memory= in Python.",
            )


def _is_plain_text(kind: Any) -> bool:
    return isinstance(kind, h5t.TypeStringID) and not kind.is_variable_str()


def _points(name: str, kind: Any, count: int) -> bool:
    """Return whether an attribute says which dimensions belong to which arrays, as netCDF-4 has it."""
    if name == "DIMENSION_LIST":
        return isinstance(kind, h5t.TypeVlenID) and count <= _MOST_DIMENSIONS
    return (
        name == "REFERENCE_LIST" and isinstance(kind, h5t.TypeCompoundID) and not kind.detect_class(h5t.VLEN)
    )


def _inflates_beyond(how: Any, skipped: int, packed: bytes, whole: int) -> bool:
    """Return whether a chunk unpacks to more than `whole` bytes; `skipped` has a bit for each idle filter."""
    used = [how.get_filter(index)[0] for index in range(how.get_nfilters()) if not skipped >> index & 1]
    for each in reversed(used):
        if each == h5z.FILTER_FLETCHER32:
            packed = packed[:-_CHECKSUM]
        elif each == h5z.FILTER_DEFLATE:
            packed = zlib.decompressobj().decompress(packed, whole + _CHECKSUM + 1)
    return len(packed) > whole + _CHECKSUM


def _refused(where: str, why: str) -> InputError:
    return InputError(
        f"{where[0].upper()}{where[1:]} {why}.", "No study writes such a file: trust it in nothing."
    )
