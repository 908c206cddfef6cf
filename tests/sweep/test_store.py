"""A task's file gives back exactly what was written, or says what is wrong with it."""

import hashlib
import json
import random

import numpy as np
import pytest

import hostile_files
import phasescope
from phasescope.sweep import DamagedTaskError, Store, Task
from phasescope.sweep.store import decode, encode
from sweep_tasks import tasks

TASK = Task("trial", "part", {"sigma": 0.1, "names": ["a", "é"], "flag": True}, replica=3)
ARRAYS = {
    "floats": np.array([[1.5, np.nan, -0.0], [np.inf, 5e-324, 1e300]]),
    "single": np.float32([1, 2]),
    "number": np.array(7),
    "flags": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "names": np.array(["one", "δύο"]),
    "bytes": np.array([b"ab", b"c"]),
    "empty": np.zeros((0, 3)),
    "times": np.array(["2024-01-01"], dtype="datetime64[D]"),
}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write(TASK, ARRAYS)
    return store


def test_gives_back_every_kind_of_array(store):
    found = store.read(TASK)
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable


def test_memory_layout_and_byte_order_leave_no_trace(tmp_path):
    array = np.arange(12.0).reshape(3, 4)
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    one.write(TASK, {"a": array})
    other.write(TASK, {"a": np.asfortranarray(array).astype(">f8")})
    assert one.path(TASK).read_bytes() == other.path(TASK).read_bytes()
    np.testing.assert_array_equal(other.read(TASK)["a"], array)


@pytest.mark.parametrize("array", [np.array([object()]), np.array([{}, 1]), np.zeros(2, dtype="i4,f8")])
def test_refuses_what_would_need_pickle(tmp_path, array):
    with pytest.raises(TypeError, match="'a' of dtype"):
        Store(tmp_path).write(TASK, {"a": array})
    assert list(tmp_path.iterdir()) == []


def flipped(data, bit):
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_every_single_flipped_bit_is_noticed(tmp_path):
    store = Store(tmp_path)
    store.write(TASK, {"a": np.array([1.0, 2.0])})
    data = store.path(TASK).read_bytes()
    for bit in range(8 * len(data)):
        with pytest.raises(DamagedTaskError, match=TASK.id):
            decode(TASK, flipped(data, bit))


def test_every_truncation_and_addition_is_noticed(store):
    data = store.path(TASK).read_bytes()
    for damaged in [*(data[:length] for length in range(len(data))), data + b"\0", b"\0" + data]:
        with pytest.raises(DamagedTaskError, match=TASK.id):
            decode(TASK, damaged)


@pytest.mark.parametrize("content", [b"", b"\n", b"hello", b"PK\x03\x04", bytes(1000), b"\xff" * 100])
def test_foreign_contents_are_noticed(store, content):
    store.path(TASK).write_bytes(content)
    with pytest.raises(DamagedTaskError, match="is no task file"):
        store.read(TASK)


def test_a_file_under_another_tasks_name_is_noticed(store):
    other = Task("trial", "part", dict(TASK.parameters), replica=4)
    store.path(TASK).rename(store.path(other))
    with pytest.raises(DamagedTaskError, match="holds another task"):
        store.read(other)
    with pytest.raises(DamagedTaskError, match="is missing"):
        store.read(TASK)


def test_a_file_of_another_release_is_noticed(store, monkeypatch):
    monkeypatch.setattr(phasescope, "__version__", "99.0")
    with pytest.raises(DamagedTaskError, match=r"written by phasescope \d"):
        store.read(TASK)


@pytest.mark.parametrize("make", hostile_files.ALL)
def test_what_is_no_regular_file_is_damaged_and_not_read(store, make):
    store.path(TASK).unlink()
    make(store.path(TASK))
    with pytest.raises(DamagedTaskError, match=r"not a regular file|cannot be read|at most"):
        store.read(TASK)
    survey = store.survey([TASK])
    assert list(survey.damaged) == [TASK.id]


def test_a_link_to_a_task_file_is_read(store, tmp_path):
    store.path(TASK).rename(tmp_path / "elsewhere")
    store.path(TASK).symlink_to(tmp_path / "elsewhere")
    assert store.survey([TASK]).done == [TASK]


def forged(**changes):
    """The bytes of a task file with a checksum that fits, whatever its header says."""
    header, _, payload = encode(TASK, {"a": np.zeros(2)}).partition(b"\n")[2].partition(b"\n")
    text = json.dumps({**json.loads(header), **changes}) if changes else "[" * 100_000
    body = text.encode() + b"\n" + payload
    return b"phasescope task, sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def array(dtype="<f8", shape=(2,), name="a"):
    return {"arrays": [{"name": name, "dtype": dtype, "shape": shape}]}


FORGED = {
    "nested": {},
    "no list": {"arrays": 3},
    "no entry": {"arrays": [3]},
    "no name": {"arrays": [{"dtype": "<f8", "shape": [2]}]},
    "huge": array(shape=[10**30]),
    "huge and empty": array("<U0", [10**12]),
    "negative": array(shape=[-2]),
    "too long": array(shape=[3]),
    "too short": array(shape=[1]),
    "no shape": array(shape="ab"),
    "no dtype": array("((((("),
    "pointers": array("|O8"),
    "fields": array("f4,f4"),
    "other": {"task": []},
    "unnamed": {"format": None, "phasescope": None},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_a_forged_header_under_a_valid_checksum_is_one_sentence(store, changes):
    store.path(TASK).write_bytes(forged(**changes))
    with pytest.raises(DamagedTaskError, match=TASK.id):
        store.read(TASK)
    assert list(store.survey([TASK]).damaged) == [TASK.id]


def test_survey_sorts_what_it_finds(tmp_path):
    store = Store(tmp_path)
    done, missing, damaged, earlier = tasks(4)
    for task in (done, damaged, earlier):
        store.write(task, {"a": np.zeros(3)})
    store.path(damaged).write_bytes(store.path(damaged).read_bytes()[:-1])
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".hidden").write_text("the system's")
    survey = store.survey([done, missing, damaged], known=[earlier.id])
    assert survey.done == [done]
    assert survey.missing == [missing]
    assert list(survey.damaged) == [damaged.id]
    assert survey.foreign == [tmp_path / "notes.txt"]
    assert store.survey([done]).foreign == sorted(
        [store.path(damaged), store.path(earlier), tmp_path / "notes.txt"]
    )


def test_a_folder_that_is_not_there_has_nothing(tmp_path):
    survey = Store(tmp_path / "absent").survey(tasks(2))
    assert survey.missing == tasks(2)
    assert survey.foreign == []


def test_nothing_runs_on_loading_a_planted_file():
    """An array of objects, which are pointers to numpy, is refused even under a valid checksum."""
    whole = encode(TASK, {"a": np.array([1 << 40])})
    body = whole.partition(b"\n")[2].replace(b'"<i8"', b'"|O8"')
    assert b'"|O8"' in body
    planted = b"phasescope task, sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    with pytest.raises(DamagedTaskError, match="not written by phasescope"):
        decode(TASK, planted)


def test_flips_in_a_large_file_are_noticed(tmp_path):
    store, draw = Store(tmp_path), random.Random(0)
    store.write(TASK, {"a": np.random.default_rng(0).standard_normal(20_000)})
    data = store.path(TASK).read_bytes()
    for _ in range(50):
        with pytest.raises(DamagedTaskError):
            decode(TASK, flipped(data, draw.randrange(8 * len(data))))
