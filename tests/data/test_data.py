"""The loaders read what is there, and say what is wrong where it is not."""

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

import hostile_files
from phasescope import data
from phasescope.data import idx
from phasescope.errors import InputError

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def encode(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def small(tmp_path: Path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        STEMS[0]: rng.integers(0, 256, (12, 28, 28), dtype=np.uint8),
        STEMS[1]: np.arange(12, dtype=np.uint8) % 10,
        STEMS[2]: rng.integers(0, 256, (10, 28, 28), dtype=np.uint8),
        STEMS[3]: np.arange(10, dtype=np.uint8),
    }
    for number, (stem, array) in enumerate(arrays.items()):
        if number % 2:
            (tmp_path / stem).write_bytes(encode(array))
        else:
            (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(encode(array)))
    return arrays


def test_idx_files_are_read_compressed_or_not(tmp_path, small):
    images = data.mnist(tmp_path, verify=False)
    assert images.x_train.shape == (12, 1, 28, 28)
    assert images.x_train.dtype == torch.float32
    assert images.y_test.dtype == torch.int64
    np.testing.assert_allclose(images.x_train[:, 0].numpy() * 255, small[STEMS[0]], atol=1e-4)
    assert images.y_test.tolist() == list(range(10))
    assert images.classes == 10
    assert "12 train + 10 test, 1 x 28 x 28, 10 classes" in repr(images)


def test_md5_is_that_of_the_decompressed_contents(tmp_path, small, monkeypatch):
    digests = tuple(hashlib.md5(encode(array)).hexdigest() for array in small.values())
    monkeypatch.setattr(idx, "_FILES", {stem: array.shape for stem, array in small.items()})
    monkeypatch.setattr(idx, "_MNIST_MD5", digests)
    assert len(data.mnist(tmp_path).y_train) == 12
    altered = bytearray(encode(small[STEMS[3]]))
    altered[-1] ^= 1
    (tmp_path / STEMS[3]).write_bytes(bytes(altered))
    with pytest.raises(InputError, match=rf"{STEMS[3]} has md5 {hashlib.md5(altered).hexdigest()}"):
        data.mnist(tmp_path)


def test_another_set_of_the_same_format_is_refused(tmp_path, small):
    with pytest.raises(InputError, match=r"has shape \(12, 28, 28\), Fashion-MNIST has \(60000, 28, 28\)"):
        data.fashion_mnist(tmp_path)


def test_missing_folder_and_missing_file_name_what_is_missing(tmp_path, small):
    with pytest.raises(InputError, match=r"No folder .*nowhere"):
        data.mnist(tmp_path / "nowhere")
    (tmp_path / STEMS[1]).unlink()
    with pytest.raises(InputError, match=f"neither {STEMS[1]} nor {STEMS[1]}.gz"):
        data.mnist(tmp_path, verify=False)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", r"begins with bytes \(none\)"),
        (b"PK\x03\x04rest", "begins with bytes 50 4b 03 04"),
        (b"\0\0\x0d\x01" + struct.pack(">I", 1) + b"\0\0\0\0", "not with those of an idx file of bytes"),
        (b"\0\0\x08\x03\0\0", "ends inside its header"),
        (b"\0\0\x08\x01" + struct.pack(">I", 5) + b"abc", r"cut short: 3 of 5 bytes for shape \(5,\)"),
        (b"\0\0\x08\x01" + struct.pack(">I", 2) + b"abc", "holds more than the 2 bytes"),
    ],
    ids=["empty", "wrong magic", "floats", "short header", "cut short", "too long"],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_refused_with_the_reason(tmp_path, contents, message, compressed):
    path = tmp_path / ("file.gz" if compressed else "file")
    path.write_bytes(gzip.compress(contents) if compressed else contents)
    with pytest.raises(InputError, match=message) as caught:
        data.read_idx(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flipped", "no gzip"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    whole = gzip.compress(encode(np.arange(200, dtype=np.uint8)))
    path = tmp_path / "labels.gz"
    if damage == "cut":
        path.write_bytes(whole[:-20])
    elif damage == "flipped":
        path.write_bytes(whole[:40] + bytes([whole[40] ^ 255]) + whole[41:])
    else:
        path.write_bytes(b"plain text")
    with pytest.raises(InputError, match=r"labels\.gz cannot be read"):
        data.read_idx(path)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path, small):
    (tmp_path / STEMS[1]).write_bytes(encode(np.zeros(11, dtype=np.uint8)))
    with pytest.raises(InputError, match=r"training images of shape \(12, 28, 28\) do not fit"):
        data.mnist(tmp_path, verify=False)


def test_a_header_that_promises_gigabytes_is_refused_without_reading_them(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 2**31, 2**10, 2**10) + b"abc")
    with pytest.raises(
        InputError, match="file declares 2,251,799,813,685,248 bytes, and at most 2,000,000,000"
    ):
        data.read_idx(path)


@pytest.mark.parametrize("make", hostile_files.ALL)
def test_an_idx_file_is_a_regular_file(tmp_path, make):
    make(tmp_path / "labels.gz")
    with pytest.raises(InputError, match=r"labels\.gz"):
        data.read_idx(tmp_path / "labels.gz")


def test_an_archive_that_declares_gigabytes_is_refused_without_reading_them(tmp_path, monkeypatch):
    monkeypatch.setattr("phasescope.data.images.LARGEST", 100_000)
    np.savez_compressed(
        tmp_path / "cifar10_train4000_exact.npz", x=np.zeros(100_000, np.uint8), y=np.arange(9)
    )
    with pytest.raises(InputError, match=r"it declares 100,\d+ bytes, and at most 100,000 are read"):
        data.cifar10(tmp_path, exact=True)


def test_digits_are_the_1797_of_scikit_learn():
    images = data.digits()
    assert images.x_train.shape == (1437, 1, 8, 8)
    assert images.x_test.shape == (360, 1, 8, 8)
    # Class counts of the whole set as scikit-learn documents it ("about 180 per class", 1797 in all).
    counts = torch.bincount(torch.cat([images.y_train, images.y_test]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert float(images.x_train.min()) == 0.0
    assert float(images.x_train.max()) == 1.0


def test_digits_split_depends_on_the_seed_alone():
    state = torch.random.get_rng_state()
    one, again, other = data.digits(seed=1), data.digits(seed=1), data.digits(seed=2)
    assert torch.equal(one.y_test, again.y_test)
    assert not torch.equal(one.y_test, other.y_test)
    assert torch.equal(state, torch.random.get_rng_state())
    with pytest.raises(InputError, match="test=1797 of 1797"):
        data.digits(test=1797)


def test_standardised_has_mean_0_and_variance_1_over_the_training_part():
    images = data.digits().standardised().flattened()
    assert images.x_train.shape == (1437, 64)
    assert abs(float(images.x_train.mean())) < 1e-5
    assert float(images.x_train.square().mean()) == pytest.approx(1.0, abs=1e-5)


def test_cifar10_npz_is_read_and_its_loss_is_said(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8), np.arange(6)
    np.savez(
        tmp_path / "cifar10_jpeg_10k_train_5k_test.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2]
    )
    images = data.cifar10(tmp_path)
    assert images.x_train.shape == (6, 3, 32, 32)
    np.testing.assert_allclose(images.x_train[1, 2].numpy() * 255, x[1, :, :, 2], atol=1e-4)
    assert "lossy" in images.note
    np.savez(tmp_path / "cifar10_train4000_exact.npz", x=x, y=y)
    assert len(data.cifar10(tmp_path, exact=True, test=2).y_train) == 4
    with pytest.raises(InputError, match="test=6 of 6"):
        data.cifar10(tmp_path, exact=True, test=6)


def test_cifar10_executes_nothing_and_refuses_damage(tmp_path):
    path = tmp_path / "cifar10_jpeg_10k_train_5k_test.npz"
    with pytest.raises(InputError, match="No file"):
        data.cifar10(tmp_path)
    np.savez(path, x_train=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        data.cifar10(tmp_path)
    path.write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match="cannot be read"):
        data.cifar10(tmp_path)


@pytest.mark.parametrize(
    ("loader", "folder", "counts", "nearest_mean"),
    [
        (data.mnist, "mnist", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.8203),
        (data.fashion_mnist, "fashion_mnist", [6000] * 10, 0.6768),
    ],
)
def test_real_files_give_the_known_counts_and_accuracy(loader, folder, counts, nearest_mean):
    root = os.environ.get("PHASESCOPE_DATA")
    if not root or not (Path(root) / folder).is_dir():
        pytest.skip(f"PHASESCOPE_DATA names no folder that holds {folder}/")
    images = loader(Path(root) / folder).flattened()
    assert torch.bincount(images.y_train).tolist() == counts
    means = torch.stack([images.x_train[images.y_train == c].mean(0) for c in range(10)])
    accuracy = (torch.cdist(images.x_test, means).argmin(1) == images.y_test).float().mean()
    assert float(accuracy) == pytest.approx(nearest_mean, abs=2e-4)
