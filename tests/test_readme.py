"""What the README prints is what the program prints."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_printed_output_is_current():
    words = [sys.executable, str(ROOT / "docs" / "make_readme.py"), "--check"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_two_commands_and_the_picture_exist():
    text = (ROOT / "README.md").read_text()
    targets = (ROOT / "Makefile").read_text()
    for command in ("demo", "test"):
        assert f"make {command} " in text
        assert f"\n{command}:" in targets
    assert text.index("![") < text.index("make demo")
    assert (ROOT / "docs" / "_static" / "phases.png").stat().st_size > 10_000
