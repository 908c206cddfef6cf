"""MNIST and Fashion-MNIST from their idx files, in a folder that the user names."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from phasescope.data.images import Images
from phasescope.errors import InputError
from phasescope.regular_files import open_regular

_LARGEST = 2_000_000_000  # bytes of an array
# The four files in the order of the Images fields, with the shape of their contents.
_FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}
# md5 of the decompressed contents: the gzip wrapper differs between mirrors, the contents do not.
_MNIST_MD5 = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)
_FASHION_MD5 = (
    "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "9018921c3c673c538a1fc5bad174d6f9",
    "8181f5470baa50b63fa0f6fddb340f0a",
    "15d484375f8d13e6eb1aabb0c3f46965",
)
_UNSIGNED_BYTE = 0x08
# Bytes read at a time: a damaged header may announce more than the memory holds.
_CHUNK = 1 << 24


def mnist(folder: str | PathLike[str], *, verify: bool = True) -> Images:
    """Return MNIST, 60 000 training and 10 000 test images of 28 x 28 pixels.

    Parameters
    ----------
    folder : path
        Where the four idx files lie, each as it is or with ``.gz``.
    verify : bool
        Whether the decompressed contents must have the published md5 and shape.

    Returns
    -------
    Images
        Intensities from 0 to 1, shape (images, 1, 28, 28), 10 classes.

    Notes
    -----
    Fails with `InputError` if a file is missing, damaged, cut short, no idx file, or not MNIST.

    Source: LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86, 2278 (1998).
    """
    return _load("MNIST", folder, _MNIST_MD5, verify)


def fashion_mnist(folder: str | PathLike[str], *, verify: bool = True) -> Images:
    """Return Fashion-MNIST, 60 000 training and 10 000 test images of 28 x 28 pixels.

    Parameters
    ----------
    folder : path
        Where the four idx files lie, each as it is or with ``.gz``.
    verify : bool
        Whether the decompressed contents must have the published md5 and shape.

    Returns
    -------
    Images
        Intensities from 0 to 1, shape (images, 1, 28, 28), 10 classes.

    Notes
    -----
    Fails with `InputError` if a file is missing, damaged, cut short, no idx file, or not Fashion-MNIST.

    Source: Xiao, Rasul and Vollgraf, arXiv:1708.07747 (2017).
    """
    return _load("Fashion-MNIST", folder, _FASHION_MD5, verify)


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """Return the array in one idx file of unsigned bytes, compressed with gzip or not.

    Parameters
    ----------
    path : path
        The file; ``.gz`` files are decompressed while they are read.

    Returns
    -------
    ndarray of uint8
        Its shape is the one that the file's header declares.

    Raises
    ------
    InputError
        If the file is missing, damaged, cut short, longer than its header says, or no idx file of
        unsigned bytes.

    Notes
    -----
    Never reads more than the header announces, and executes nothing that it reads.
    """
    path = Path(path)
    try:
        with open_regular(path) as raw:
            return _parse(gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw, path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Download it again.") from error


def _parse(file: IO[bytes] | gzip.GzipFile, path: Path) -> np.ndarray:
    again = "Download it again."
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UNSIGNED_BYTE or not 1 <= magic[3] <= 4:
        raise InputError(
            f"{path} begins with bytes {magic.hex(' ') or '(none)'}, not with those of an idx file of bytes.",
            "Name one of the official idx-ubyte files, or download it again.",
        )
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise InputError(f"{path} ends inside its header.", again)
    shape = struct.unpack(f">{magic[3]}I", header)
    expected = math.prod(shape)
    if expected > _LARGEST:
        raise InputError(
            f"{path} declares {expected:,} bytes, and at most {_LARGEST:,} are read.", "See what it is."
        )
    contents = bytearray()
    while len(contents) < expected and (chunk := file.read(min(_CHUNK, expected - len(contents)))):
        contents += chunk
    if len(contents) < expected:
        raise InputError(
            f"{path} is cut short: {len(contents)} of {expected} bytes for shape {shape}.", again
        )
    if file.read(1):
        raise InputError(f"{path} holds more than the {expected} bytes of shape {shape}.", again)
    return np.frombuffer(contents, dtype=np.uint8).reshape(shape)


def _load(name: str, folder: str | PathLike[str], md5: Sequence[str], verify: bool) -> Images:
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"No folder {folder}.", f"Name the folder that holds the {name} idx files.")
    arrays = [
        _checked(_find(folder, stem, name), name, shape, digest, verify)
        for (stem, shape), digest in zip(_FILES.items(), md5, strict=True)
    ]
    x_train, y_train, x_test, y_test = arrays
    for x, y, part in ((x_train, y_train, "training"), (x_test, y_test, "test")):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or len(y) == 0:
            raise InputError(
                f"{folder}: {part} images of shape {x.shape} do not fit labels of shape {y.shape}.",
                f"Put the four files of {name} there, unmixed.",
            )
    return Images(_intensities(x_train), _labels(y_train), _intensities(x_test), _labels(y_test), name)


def _find(folder: Path, stem: str, name: str) -> Path:
    for candidate in (folder / stem, folder / f"{stem}.gz"):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{folder} holds neither {stem} nor {stem}.gz.", f"Name the folder with the four {name} idx files."
    )


def _checked(path: Path, name: str, shape: tuple[int, ...], md5: str, verify: bool) -> np.ndarray:
    array = read_idx(path)
    if not verify:
        return array
    if array.shape != shape:
        raise InputError(
            f"{path} has shape {array.shape}, {name} has {shape}.",
            "Download it again, or pass verify=False to read it all the same.",
        )
    header = struct.pack(f">4B{array.ndim}I", 0, 0, _UNSIGNED_BYTE, array.ndim, *array.shape)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(array.data)
    if digest.hexdigest() != md5:
        raise InputError(
            f"{path} has md5 {digest.hexdigest()} once decompressed, {name} has {md5}.",
            "Download it again, or pass verify=False to read it all the same.",
        )
    return array


def _intensities(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))[:, None] / 255


def _labels(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.astype(np.int64))
