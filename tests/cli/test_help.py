"""Help is quick: it imports no torch, and says what each command takes."""

import subprocess
import sys

import pytest

from phasescope import __version__
from phasescope.cli import main

_PROBE = """
import sys
from phasescope.cli import main
code = main(sys.argv[1:])
heavy = {"torch", "numpy", "scipy", "xarray", "matplotlib", "sklearn", "pandas", "jinja2"} & set(sys.modules)
print("HEAVY", sorted(heavy), code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["--tyro-print-completion", "bash"],
        ["critical", "-h"],
        ["inspect", "--help"],
        ["dfa", "--help"],
        ["lr-scan", "--help"],
        ["demo", "--help"],
        ["study"],
        ["study", "run", "-h"],
        [],
    ],
)
def test_help_imports_nothing_heavy(words):
    done = subprocess.run([sys.executable, "-c", _PROBE, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY [] 0"
    assert done.stderr == ""


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"phasescope {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_completion_names_every_command(shell, capsys):
    assert main(["--tyro-print-completion", shell]) == 0
    out = capsys.readouterr().out
    assert [name for name in ("critical", "inspect", "lr-scan", "study", "demo") if name not in out] == []
    assert "--max-memory" in out


def test_the_usage_has_one_line_for_each_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    lines = [line.strip("│ ") for line in out.splitlines()]
    listed = [line.split()[1] for line in lines if line.startswith("•")]
    assert listed == ["critical", "inspect", "dfa", "lr-scan", "explore", "study", "demo"]
    first = next(number for number, line in enumerate(lines) if line.startswith("•"))
    assert all(line.startswith("•") for line in lines[first : first + 6])
    assert "130 stopped" in out


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (
            "critical",
            ["--plot", "--compare", "--json", "--seed", "--debug", "FILE.py:function", "runs its code"],
        ),
        (
            "inspect",
            [
                "--data",
                "--instrument",
                "--out",
                "--max-memory",
                "--check",
                "--json",
                "--seed",
                "--debug",
                "runs its code",
            ],
        ),
        (
            "dfa",
            [
                *(
                    "FILE",
                    "--column",
                    "--separator",
                    "--decimal",
                    "--header",
                    "--missing",
                    "--gaps",
                    "--axis",
                ),
                *("--integrate", "--quick", "--order", "--out", "--json", "--seed", "--debug", ".npy"),
            ],
        ),
        (
            "lr-scan",
            [
                *("--rates", "--low", "--high", "--steps", "--seeds", "--budget", "--target", "--out"),
                *("--device", "--json", "--seed", "--debug", "FILE.py:factory", "runs its code"),
            ],
        ),
        (
            "explore",
            [
                *("PICTURE|RUN", "--out", "--seeds", "--steps", "--seconds", "--size", "--method", "--json"),
                *("--seed", "--debug", "flower, china or portrait"),
            ],
        ),
        ("demo", ["--out", "--quick", "--json", "--seed", "--debug"]),
        ("study", ["list", "run", "report"]),
        ("study list", ["--json", "--debug"]),
        (
            "study run",
            [
                *("--preset", "--out", "--set", "--parts", "--workers", "--scheduler", "--device"),
                *("--seed", "--plan", "--check", "--json", "--debug", "FILE.py:NAME"),
            ],
        ),
        ("study report", ["DIR", "--study", "--out", "--max-memory", "--check", "--json", "--debug"]),
    ],
)
def test_help_names_every_option(command, options, capsys):
    assert main([*command.split(), "--help"]) == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert [option for option in options if option not in out] == []


@pytest.mark.parametrize(
    "words", [["criticl", "gelu"], ["critical"], ["critical", "gelu", "--jsn"], ["demo", "x"]]
)
def test_what_the_parser_does_not_understand_is_exit_code_2(words, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err != ""
