"""``phasescope critical --plot``: a figure by the ending of its name, whole or not at all."""

import os
import subprocess
import sys

import pytest
from matplotlib.figure import Figure

from phasescope.cli import critical as command

BEGINNINGS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.fixture
def empty(monkeypatch):
    """An empty figure in place of the drawing, which takes most of the time."""
    monkeypatch.setattr("phasescope.report.activation_figure", lambda activation: Figure((1, 1)))


@pytest.mark.parametrize("kind", ["svg", "PNG", "pdf"])
def test_the_ending_chooses_the_format(phasescope, tmp_path, empty, kind):
    answer = phasescope("critical", "repu2", "--plot", f"made.{kind}")
    assert answer.code == 0
    assert answer.out.endswith(f"\n\nplot: made.{kind}\n")
    assert (tmp_path / f"made.{kind}").read_bytes().startswith(BEGINNINGS[kind.lower()])
    assert os.listdir(tmp_path) == [f"made.{kind}"]


def test_json_names_the_figure_and_a_users_function_is_drawn(phasescope, models):
    answer = phasescope("critical", f"{models}:squash", "--plot", "own.svg", "--json").json
    assert answer["plot"] == "own.svg"
    assert "Squash: class K*=0" in (models.parent / "own.svg").read_text()


@pytest.mark.parametrize(
    ("plot", "words"),
    [
        ("figure.jpg", ["figure.jpg", "'.jpg'", ".png, .svg, .pdf"]),
        ("figure", ["figure", "no ending", ".png"]),
        ("missing/figure.png", ["no folder missing", "Make it"]),
        ("models.py/figure.png", ["models.py"]),
        ("folder.svg", ["folder.svg is a folder", "Name another file"]),
    ],
)
def test_a_figure_that_cannot_be_written_is_told_before_anything_is_computed(
    phasescope, models, monkeypatch, plot, words
):
    (models.parent / "folder.svg").mkdir()
    monkeypatch.setattr(command, "critical_point", lambda activation: pytest.fail("it was computed"))
    answer = phasescope("critical", "gelu", "--plot", plot)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert "--out" not in answer.err
    assert [word for word in words if word not in answer.err] == []


def test_a_figure_that_fails_leaves_the_old_one(phasescope, tmp_path, empty, monkeypatch):
    (tmp_path / "kept.svg").write_text("old")

    def full(path, content):
        raise command.InputError("The disk of . is full.", "Name another folder with --out DIR.")

    monkeypatch.setattr(command, "write_whole", full)
    answer = phasescope("critical", "repu2", "--plot", "kept.svg")
    assert answer.code == 2
    assert answer.err == "phasescope: --plot: The disk of . is full. Name another file.\n"
    assert (tmp_path / "kept.svg").read_text() == "old"


def test_without_a_plot_nothing_that_draws_is_imported():
    code = (
        "import sys; from phasescope.cli import main; main(['critical', 'repu2']); "
        "print({'matplotlib', 'xarray', 'sklearn', 'phasescope.report'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
