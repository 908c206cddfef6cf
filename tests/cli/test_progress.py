"""A progress bar for people who wait, and nothing for programs."""

import sys
import time

from phasescope.cli import progress


def test_nothing_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    with progress.progress(1) as step:
        step("working")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_quick_work_shows_nothing(screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.progress(1) as step:
        step("working")
    assert screen.getvalue() == ""


def test_long_work_shows_what_is_done_on_stderr_only(screen, capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress.progress(2) as step:
        step("inspecting net")
        deadline = time.monotonic() + 20
        while "inspecting net" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "inspecting net" in screen.getvalue()
    assert capsys.readouterr().out == ""
