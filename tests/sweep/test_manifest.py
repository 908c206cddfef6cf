"""A folder belongs to one study, one configuration and one version."""

import json
import math
import os

import pytest

import hostile_files
import phasescope
from phasescope.errors import InputError
from phasescope.sweep import run
from phasescope.sweep.manifest import _text, agree, only_run
from sweep_tasks import measure, tasks

IDENTITY = {"study": "trial", "configuration": {"sigma_b": 0.3, "widths": [10, 20], "limit": math.nan}}


def other(**changes):
    return {**IDENTITY, "configuration": {**IDENTITY["configuration"], **changes}}


def test_the_same_identity_agrees_and_remembers_all_tasks(tmp_path):
    assert agree(tmp_path, IDENTITY, ["b", "a"]) == ({"a", "b"}, "")
    assert agree(tmp_path, IDENTITY, ["c"]) == ({"a", "b", "c"}, "")
    assert agree(tmp_path, other(widths=(10, 20)), []) == ({"a", "b", "c"}, "")


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ({**IDENTITY, "study": "another"}, 'study is "trial" there and "another" here'),
        (other(sigma_b=0.5), r"configuration\.sigma_b is 0\.3 there and 0\.5 here"),
        (other(widths=[10]), r"configuration\.widths is \[10, 20\] there and \[10\] here"),
        (other(depth=3), r"configuration\.depth is absent there and 3 here"),
    ],
)
def test_another_identity_is_refused_with_what_differs(tmp_path, identity, said):
    agree(tmp_path, IDENTITY, ["a"])
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(InputError, match=said) as raised:
        agree(tmp_path, identity, ["a"])
    assert "--out" in raised.value.fix
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_another_version_is_refused(tmp_path, monkeypatch):
    agree(tmp_path, IDENTITY, [])
    monkeypatch.setattr(phasescope, "__version__", "99.0")
    with pytest.raises(InputError, match=r'phasescope is "[\d.]+" there and "99.0" here'):
        agree(tmp_path, IDENTITY, [])


def test_many_differences_are_counted(tmp_path):
    agree(tmp_path, {f"setting{number}": 0 for number in range(9)}, [])
    with pytest.raises(InputError, match="; and 5 more"):
        agree(tmp_path, {f"setting{number}": 1 for number in range(9)}, [])


@pytest.mark.slow
def test_every_flipped_bit_of_the_manifest_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    agree(tmp_path, {"study": "trial"}, ["a"])
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        assert agree(tmp_path, {"study": "trial"}, ["a"]) == (
            {"a"},
            "manifest.json is damaged: its checksum does not fit",
        )
        assert path.read_bytes() == whole


def test_a_damaged_manifest_is_told_and_loses_nothing(tmp_path):
    run(tasks(3), measure, tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    events = []
    outcome = run(tasks(3), measure, tmp_path, listener=events.append)
    assert (outcome.reused, outcome.computed) == (3, 0)
    assert list(outcome.damaged) == ["manifest.json"]
    assert [(event.kind, event.task) for event in events] == [("damaged", None), ("survey", None)]


def link_to_a_file(path):
    path.with_name("precious").write_text("precious")
    path.symlink_to(path.with_name("precious"))


def hard_link(path):
    path.with_name("precious").write_text("precious")
    path.hardlink_to(path.with_name("precious"))


PLANTED = [
    link_to_a_file,
    hard_link,
    *(make for make in hostile_files.ALL if make is not hostile_files.sparse),
]


@pytest.mark.parametrize("make", PLANTED)
def test_a_lock_is_taken_on_nothing_but_a_file_of_its_own(tmp_path, make):
    make(tmp_path / ".lock")
    with pytest.raises(InputError, match=r"\.lock is a link or no regular file"), only_run(tmp_path):
        pass
    for precious in tmp_path.glob("precious"):
        assert precious.read_text() == "precious"


def test_who_holds_the_lock_is_written_over_no_link(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".lock.holder").symlink_to(tmp_path / "precious")
    with only_run(tmp_path):
        assert (tmp_path / ".lock.holder").read_text().startswith(f"process {os.getpid()} on ")
        with pytest.raises(InputError, match=f"Another run is at work in .*: process {os.getpid()} on "):
            run(tasks(1), measure, tmp_path)
    assert (tmp_path / "precious").read_text() == "precious"
    assert run(tasks(1), measure, tmp_path).computed == 1


@pytest.mark.parametrize("make", [make for make in hostile_files.ALL if make is not hostile_files.folder])
def test_a_manifest_that_is_no_regular_file_is_told_and_replaced(tmp_path, make):
    make(tmp_path / "manifest.json")
    known, damage = agree(tmp_path, IDENTITY, ["a"])
    assert known == {"a"}
    assert "manifest.json" in damage
    assert agree(tmp_path, IDENTITY, []) == ({"a"}, "")


@pytest.mark.parametrize(
    "content",
    [
        {"identity": 3, "tasks": []},
        {"identity": {}, "tasks": 3},
        {"identity": {}, "tasks": [["a"]]},
        {"identity": {}, "tasks": [1]},
        {"identity": [1], "tasks": []},
        {"tasks": []},
        [],
        None,
        "[" * 100_000,
    ],
    ids=lambda content: str(content)[:30],
)
def test_a_forged_manifest_is_damaged(tmp_path, content):
    written = content.encode() if isinstance(content, str) else _text(content)
    (tmp_path / "manifest.json").write_bytes(written)
    assert agree(tmp_path, IDENTITY, ["a"]) == ({"a"}, "manifest.json is damaged: its checksum does not fit")
    assert json.loads((tmp_path / "manifest.json").read_text())["content"]["tasks"] == ["a"]
