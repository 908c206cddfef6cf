"""The official files of CIFAR-10 are read, both kinds alike, and nothing in them is run."""

import pickle
import struct

import numpy as np
import pytest
import torch

import hostile_files
from phasescope import data
from phasescope.errors import InputError

PARTS = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
ROWS = 3


def made(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (ROWS, 3072), dtype=np.uint8), rng.integers(0, 10, ROWS).tolist()


def text(value):
    return b"U" + bytes([len(value)]) + value


def number(value):
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def array(images, kind=b"u1"):
    """Return the operations by which Python 2 wrote an array."""
    begun = b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
    type_ = b"cnumpy\ndtype\nq\n" + text(kind) + b"K\x00K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    type_ += b"J\xff\xff\xff\xffK\x00tb"
    shape = b"".join(number(size) for size in images.shape) + b"\x86"
    values = images.tobytes()
    return begun + b"(K\x01" + shape + type_ + b"\x89T" + struct.pack("<i", len(values)) + values + b"tb"


def python_version(images, labels, *, data=None, more=b""):
    """Return a file as cPickle of Python 2 wrote the official ones, in protocol 2."""
    listed = b"]q\x05(" + b"".join(number(label) for label in labels) + b"e"
    names = b"]q\x0c(" + b"".join(
        text(b"name %d.png" % k) + b"r" + struct.pack("<I", 300 + k) for k in range(3)
    )
    entries = [
        (text(b"batch_label") + b"q\x02", text(b"training batch 1 of 5") + b"q\x03"),
        (text(b"labels") + b"q\x04", listed),
        (text(b"data") + b"q\x06", array(images) if data is None else data),
        (text(b"filenames"), names + b"e"),
    ]
    return b"\x80\x02}q\x01(" + b"".join(key + value for key, value in entries) + more + b"u."


def binary(images, labels):
    return np.column_stack([np.array(labels, np.uint8), images]).tobytes()


def write(folder, ending, encode):
    folder.mkdir(exist_ok=True)
    for seed, part in enumerate(PARTS):
        (folder / f"{part}{ending}").write_bytes(encode(*made(seed)))


def test_the_made_file_is_what_python_reads_as_the_official_one():
    images, labels = made(0)
    known = pickle.loads(python_version(images, labels), encoding="bytes")
    assert known[b"labels"] == labels
    assert np.array_equal(known[b"data"], images)
    assert known[b"data"].dtype == np.uint8
    assert known[b"filenames"][2] == b"name 2.png"


def test_an_array_stored_by_columns_is_read_as_it_was(tmp_path):
    write(tmp_path, "", python_version)
    images, labels = made(7)
    turned = python_version(np.ascontiguousarray(images.T), labels)
    turned = turned.replace(b"(K\x01M\x00\x0cK\x03\x86", b"(K\x01K\x03M\x00\x0c\x86").replace(
        b"\x89T", b"\x88T"
    )
    assert np.array_equal(pickle.loads(turned, encoding="bytes")[b"data"], images)
    (tmp_path / "test_batch").write_bytes(turned)
    read = data.cifar10(tmp_path).x_test.flatten(1) * 255
    np.testing.assert_allclose(read, images, atol=1e-4)


@pytest.mark.parametrize("below", ["", "archive"])
@pytest.mark.parametrize(
    ("archive", "ending", "encode"),
    [("cifar-10-batches-bin", ".bin", binary), ("cifar-10-batches-py", "", python_version)],
)
def test_both_versions_give_the_images_of_their_files(tmp_path, archive, ending, encode, below):
    write(tmp_path / archive if below else tmp_path, ending, encode)
    images = data.cifar10(tmp_path)
    assert (len(images.y_train), len(images.y_test), images.name, images.note) == (15, 3, "CIFAR-10", "")
    assert images.x_train.shape == (15, 3, 32, 32)
    assert images.x_train.dtype == torch.float32
    for seed in range(5):
        rows, labels = made(seed)
        place = slice(ROWS * seed, ROWS * (seed + 1))
        assert images.y_train[place].tolist() == labels
        # Byte 1024 c + 32 row + column of an image is channel c, as its authors say.
        assert int(images.x_train[place][1, 2, 5, 7] * 255 + 0.5) == rows[1, 2 * 1024 + 5 * 32 + 7]
        np.testing.assert_allclose(images.x_train[place].flatten(1) * 255, rows, atol=1e-4)
    assert images.y_test.tolist() == made(5)[1]


def test_official_files_come_before_a_subset_and_one_that_is_missing_is_named(tmp_path):
    write(tmp_path, ".bin", binary)
    (tmp_path / "cifar10_train4000_exact.npz").write_bytes(b"")
    assert data.cifar10(tmp_path, exact=True).name == "CIFAR-10"
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(InputError, match=r"lacks data_batch_4\.bin"):
        data.cifar10(tmp_path)


class Runs:
    """Pickled, writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


GOOD = made(0)
HOSTILE = {
    "a call": lambda path: pickle.dumps({b"data": Runs(path)}, 2),
    "a call in a new protocol": lambda path: pickle.dumps({b"data": Runs(path)}, 4),
    "system": lambda path: python_version(*GOOD, more=text(b"x") + b"cos\nsystem\n" + text(b"id") + b"\x85R"),
    "a name alone": lambda path: python_version(*GOOD, more=text(b"x") + b"cbuiltins\neval\n"),
    "an admitted name called with others": lambda path: python_version(
        *GOOD, more=text(b"x") + b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R"
    ),
    "objects": lambda path: python_version(*GOOD, data=array(GOOD[0], kind=b"O8")),
    "an instance": lambda path: python_version(*GOOD, more=text(b"x") + b"(ios\nsystem\n"),
    "a persistent name": lambda path: python_version(*GOOD, more=text(b"x") + b"Pname\n"),
    "an extension": lambda path: python_version(*GOOD, more=text(b"x") + b"\x82\x01"),
    # Its hash would take 2^60 steps.
    "a key of keys": lambda path: b"\x80\x02}(K\x01\x85q\x00" + b"h\x00\x86q\x00h\x00" * 60 + b"u.",
    "a state of a list": lambda path: python_version(*GOOD, more=text(b"x") + b"]}b"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pickle_that_asks_for_more_is_refused_and_not_run(tmp_path, kind):
    write(tmp_path, "", python_version)
    touched = tmp_path / "touched"
    (tmp_path / "data_batch_2").write_bytes(HOSTILE[kind](touched))
    with pytest.raises(InputError, match=r"data_batch_2 is not CIFAR-10 and was not run: it holds "):
        data.cifar10(tmp_path)
    assert not touched.exists()


SHORT = python_version(*GOOD)
DAMAGED = {
    "empty": b"",
    "no pickle": b"plain text",
    "cut": SHORT[:-200],
    "no end": SHORT[:-1],
    "no dictionary under a mark": b"\x80\x02(u.",
    "nothing on the stack": b"\x80\x02u.",
    "an index of two billions": b"\x80\x02}r\xff\xff\xff\x7fj\xff\xff\xff\x6f.",
    "a length of two billions": b"\x80\x02}T\xff\xff\xff\x7fabc.",
    "no data": b"\x80\x02}.",
    "labels of another number": python_version(GOOD[0], GOOD[1][:2]),
    "a label beyond 9": python_version(GOOD[0], [0, 1, 10]),
    "images of another size": python_version(GOOD[0][:, :3000], GOOD[1]),
    "a shape beyond the bytes": python_version(*GOOD).replace(b"(K\x01K\x03", b"(K\x01K\x07"),
    "a list as key": b"\x80\x02}(]K\x01u.",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_pickle_is_refused(tmp_path, kind):
    write(tmp_path, "", python_version)
    (tmp_path / "test_batch").write_bytes(DAMAGED[kind])
    with pytest.raises(InputError, match=r"test_batch (cannot be read|is not CIFAR-10)"):
        data.cifar10(tmp_path)


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes([10]) + bytes(3072)])
def test_a_damaged_binary_file_is_refused(tmp_path, content):
    write(tmp_path, ".bin", binary)
    (tmp_path / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"data_batch_3\.bin cannot be read"):
        data.cifar10(tmp_path)


@pytest.mark.parametrize("ending", ["", ".bin"])
@pytest.mark.parametrize("make", [make for make in hostile_files.ALL if make is not hostile_files.loop])
def test_an_official_file_is_a_regular_file(tmp_path, make, ending):
    write(tmp_path, ending, python_version if ending == "" else binary)
    (tmp_path / f"test_batch{ending}").unlink()
    make(tmp_path / f"test_batch{ending}")
    with pytest.raises(InputError, match="test_batch"):
        data.cifar10(tmp_path)


def test_every_cut_of_a_pickle_is_refused_in_one_sentence(tmp_path):
    write(tmp_path, "", python_version)
    start = SHORT.index(b"\x89T") + 6  # where the numbers begin
    for length in [*range(0, start, 7), len(SHORT) - 3]:
        (tmp_path / "data_batch_1").write_bytes(SHORT[:length])
        with pytest.raises(InputError):
            data.cifar10(tmp_path)
