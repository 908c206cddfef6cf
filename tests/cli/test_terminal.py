"""What reaches the terminal: no text of a file steers it, and Ctrl-C is one line and exit code 130."""

import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phasescope.cli.terminal import say
from phasescope.errors import InputError, printable

CLEAR = "\x1b[2J\x1b]0;owned\x07"
STEERING = ["\x1b[31m", "\r", "\x08", "\x00", "\x9b2J", "\u202e", "\u2066", "\u2028", "\x7f", "\udc80"]


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_a_terminal_stands_as_an_escape(text):
    shown = printable(f"a{text}b")
    assert shown.startswith("a\\")
    assert shown.isprintable()


@pytest.mark.parametrize("text", ["plain", "α = 0.5 ± 0.1", "a\n\tb", "naïve 漢字 🙂", "e\u200dx"])
def test_other_text_is_left_alone(text):
    assert printable(text) == text


@given(st.text(st.characters()))
def test_nothing_that_steers_is_ever_left(text):
    left = printable(text)
    assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in left)
    assert not any(letter in left for letter in "\x7f\x9b\u202e\u2069\u2028")
    left.encode("utf-8")


def test_errors_repeat_input_without_its_controls():
    error = InputError(f"{CLEAR} is no name.", f"Use {CLEAR}.")
    assert "\x1b" not in str(error) + error.what + error.fix
    assert "\\x1b[2J" in error.what


def test_a_stream_that_knows_few_characters_gets_escapes():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    say("alpha = α\x1b", stream)
    assert raw.getvalue() == b"alpha = \\u03b1\\x1b\n"


@pytest.fixture
def hostile(models, tmp_path):
    """Files whose names, members and tensors steer a terminal."""
    torch.save({CLEAR: torch.randn(2, 2)}, tmp_path / "names.pt")
    np.savez(tmp_path / "members.npz", **{CLEAR: np.zeros(3), "b": np.zeros(3)})
    (tmp_path / "prints.py").write_text(f"def net():\n    raise ValueError({CLEAR!r})\n")
    (tmp_path / "kinds.py").write_text(
        "import torch\n"
        f"class Odd(torch.nn.Linear): pass\nOdd.__name__ = {CLEAR!r}\n"
        f"def net():\n    return torch.nn.Sequential(Odd(16, 16), Odd(16, 16)), torch.randn(8, 16)\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "models.py:with_batch@names.pt"],
        ["inspect", "models.py:net", "--data", "members.npz"],
        ["inspect", "models.py:net", "--data", "members.npz:" + CLEAR + "x"],
        ["inspect", "prints.py:net"],
        ["inspect", "prints.py:net", "--debug"],
        ["inspect", "kinds.py:net"],
        ["inspect", CLEAR + ".py:net"],
        ["critical", CLEAR],
        ["study", "run", "absorbing", "--parts", CLEAR],
    ],
    ids=lambda words: " ".join(words).replace(CLEAR, "ESC"),
)
def test_no_command_passes_controls_on(phasescope, hostile, no_pictures, words):
    found = phasescope(*words)
    assert "\\x1b" in found.out + found.err
    assert "\x1b" not in found.out + found.err
    assert "unexpected" not in found.err


def test_a_label_in_brackets_is_no_markup_of_the_progress_bar(screen, monkeypatch):
    from phasescope.cli import progress as module

    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    with module.progress(1) as step:
        step("[/not a tag] \x1b]0;owned\x07")
    assert "\x1b]0;" not in screen.getvalue()


def test_five_times_ctrl_c_is_one_line_and_130(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import sys, time\n"
        "def net():\n"
        "    try:\n"
        "        print('ready', file=sys.stderr, flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaning', file=sys.stderr, flush=True)\n"
        "        time.sleep(0.2)\n"
    )
    program = "import sys; from phasescope.cli import main; sys.argv[0] = 'phasescope'; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "inspect", "slow.py:net"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.stderr.readline() == "cleaning\n"
        for _ in range(4):
            os.kill(process.pid, signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert errors.splitlines() == ["phasescope: stopped with Ctrl-C; nothing was written."]
