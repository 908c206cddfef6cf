"""Only regular files are read, and no more of them than was said."""

import os
import socket

import pytest

import hostile_files
from phasescope.errors import InputError
from phasescope.regular_files import open_regular, read_regular


def link_to_nothing(path):
    path.symlink_to(path.with_name("absent"))


def listening(path):
    # The path of a socket must be short, so it is bound from within its folder.
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(before)


HOSTILE = {
    hostile_files.fifo: "is a FIFO, not a regular file",
    hostile_files.loop: "cannot be read: Too many levels of symbolic links",
    hostile_files.never_ending: "is a device, not a regular file",
    link_to_nothing: "There is no",
    hostile_files.folder: "is a folder, not a regular file",
    listening: "is a socket, not a regular file",
    hostile_files.sparse: r"has 10,000,000,000,000 bytes, and at most 4,000,000,000 are read",
}


@pytest.mark.filterwarnings("ignore:unclosed <socket")
@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_what_is_no_regular_file_of_a_fair_size_is_refused_at_once(tmp_path, make):
    make(tmp_path / "it")
    for read in (open_regular, read_regular):
        with pytest.raises(InputError, match=f"it.* {HOSTILE[make]}|{HOSTILE[make]} .*it"):
            read(tmp_path / "it")


def test_a_file_and_a_link_to_one_are_read_whole(tmp_path):
    (tmp_path / "file").write_bytes(b"\0\xff")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_regular(tmp_path / "file") == read_regular(tmp_path / "link") == b"\0\xff"
    assert read_regular(tmp_path / "file", most=2) == b"\0\xff"
    with pytest.raises(InputError, match="file has 2 bytes, and at most 1 are read"):
        read_regular(tmp_path / "file", most=1)


def test_a_file_that_says_it_is_empty_and_is_not_is_read_up_to_the_limit():
    assert os.stat("/proc/self/status").st_size == 0
    assert b"Name:" in read_regular("/proc/self/status")
    with pytest.raises(InputError, match="at most 10 are read"):
        read_regular("/proc/self/status", most=10)


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_an_impossible_name_is_refused(path):
    with pytest.raises(InputError):
        read_regular(path)
