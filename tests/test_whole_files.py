"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from phasescope.errors import InputError
from phasescope.whole_files import check_writable, clear_leftovers, write_together, write_whole


def test_writes_every_file_and_leaves_nothing_else(tmp_path):
    write_together(tmp_path / "a" / "b", {"one": "é\n", "two": "2"})
    assert {p.name: p.read_bytes() for p in (tmp_path / "a" / "b").iterdir()} == {
        "one": "é\n".encode(),
        "two": b"2",
    }


def test_text_that_is_no_unicode_is_written_escaped(tmp_path):
    write_together(tmp_path, {"one": "caf\udce9"})
    assert (tmp_path / "one").read_text() == "caf\\udce9"


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_earlier_files(tmp_path, monkeypatch, failing, error):
    write_together(tmp_path, {"one": "old", "two": "old"})

    def fail(*arguments, **keywords):
        raise error

    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        write_together(tmp_path, {"one": "new", "two": "new"})
    if isinstance(error, OSError):
        assert f"The disk of {tmp_path} is full: No space left" in str(raised.value)
        assert "--out" in str(raised.value)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"one": "old", "two": "old"}


def test_a_folder_in_the_way_is_named_before_anything_is_written(tmp_path):
    (tmp_path / "two").mkdir()
    with pytest.raises(InputError, match="two is a folder"):
        write_together(tmp_path, {"one": "new", "two": "new"})
    assert [p.name for p in tmp_path.iterdir()] == ["two"]


def test_check_writable_creates_nothing(tmp_path):
    check_writable(tmp_path / "new" / "newer")
    assert list(tmp_path.iterdir()) == []


def test_check_writable_refuses_a_path_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file is a file\. .*--out"):
        check_writable(tmp_path / "file" / "below")


def test_check_writable_refuses_a_folder_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    with pytest.raises(InputError, match="no permission"):
        check_writable(tmp_path / "new")


def test_bytes_are_written_as_they_are(tmp_path):
    write_whole(tmp_path / "new" / "one", b"\xff\r\n\0")
    assert (tmp_path / "new" / "one").read_bytes() == b"\xff\r\n\0"


@pytest.mark.parametrize(("durable", "synced"), [(True, 2), (False, 0)])
def test_what_need_not_be_durable_waits_for_no_disk(tmp_path, monkeypatch, durable, synced):
    calls = []
    monkeypatch.setattr(os, "fsync", calls.append)
    write_whole(tmp_path / "one", "1", durable=durable)
    assert len(calls) == synced
    assert (tmp_path / "one").read_text() == "1"


def test_leftovers_of_a_killed_writer_are_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "unlink", lambda *arguments, **keywords: None)
    monkeypatch.setattr(Path, "replace", lambda *arguments: None)
    write_together(tmp_path, {"one": "1", "two": "2"})
    monkeypatch.undo()
    (tmp_path / ".own.part").write_text("")
    assert clear_leftovers(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == [".own.part"]


def test_another_refusal_names_its_reason(tmp_path, monkeypatch):
    def fail(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        write_whole(tmp_path / "one", "1")
    assert list(tmp_path.iterdir()) == []


def test_a_clean_up_that_fails_does_not_hide_why_writing_failed(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    def refused(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(InputError, match="is full: No space left"):
        write_whole(tmp_path / "one", "1")


def test_leftovers_that_cannot_be_removed_are_left(tmp_path):
    (tmp_path / ".one.0123456789ab.part").mkdir()
    assert clear_leftovers(tmp_path) == 0
    assert clear_leftovers(tmp_path / "absent") == 0
