"""Files appear whole or not at all."""

import os
from pathlib import Path

import pytest

from phasescope.errors import InputError
from phasescope.sweep.files import check_writable, write_together


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
        assert "No space left" in str(raised.value)
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
