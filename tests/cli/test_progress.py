"""A progress bar for people who wait, and nothing for programs."""

import io
import sys
import time

import pytest

from phasescope.cli import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes stderr a terminal; pytest puts its own back between set-up and test."""

    def attach():
        stream = Terminal()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        return stream

    return attach


def test_nothing_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with progress.progress(1) as step:
        step("working")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_quick_work_shows_nothing(terminal):
    stream = terminal()
    with progress.progress(1) as step:
        step("working")
    assert stream.getvalue() == ""


def test_long_work_shows_what_is_done_on_stderr_only(terminal, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    stream = terminal()
    with progress.progress(2) as step:
        step("inspecting net")
        deadline = time.monotonic() + 20
        while "inspecting net" not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "inspecting net" in stream.getvalue()
    assert capsys.readouterr().out == ""
