"""What the README prints is what the program prints."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_printed_output_is_current(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["make_readme.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "docs" / "make_readme.py"), run_name="__main__")
    assert ended.value.code == 0


def test_the_two_commands_and_the_picture_exist():
    text = (ROOT / "README.md").read_text()
    targets = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command} " in text
        assert f"\n{command}:" in targets
    assert text.index("![") < text.index("make demo")
    assert (ROOT / "docs" / "_static" / "phases.png").stat().st_size > 10_000
