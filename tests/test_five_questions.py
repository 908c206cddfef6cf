"""The walk of a first visit: its links lead somewhere, its commands print what it says."""

import re
import runpy
from pathlib import Path

import pytest

import phasescope
from phasescope.cli import main

DOCS = Path(phasescope.__file__).parents[2] / "docs"
PAGE = DOCS / "how_to" / "five_questions.rst"
PAGES = ["index", *(f"how_to/{path.stem}" for path in (DOCS / "how_to").glob("*.rst")), "guide", "reference"]
LINK = re.compile(r":doc:`(?:[^`<]*<)?([^`>]+)>?`|:link: (\S+)")
GALLERY = re.compile(r":ref:`sphx_glr_gallery_(\w+)\.py`")


def blocks(kind: str) -> list[str]:
    """Return the code blocks of one kind, without their indent and options."""
    found = []
    for match in re.finditer(
        rf"^( *)\.\. code-block:: {kind}\n((?:\1 +\S.*\n|\n)+)", PAGE.read_text("utf-8"), re.M
    ):
        lines = [line[len(match[1]) + 3 :] for line in match[2].splitlines()]
        found.append("\n".join(line for line in lines if not line.startswith(":caption:")).strip("\n"))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_the_way_in_leads_to_a_page(page):
    path = DOCS / f"{page}.rst"
    text = path.read_text("utf-8")
    targets = [one or other for one, other in LINK.findall(text)]
    assert targets or page in ("guide", "reference")
    for target in targets:
        home = DOCS if target.startswith("/") else path.parent
        assert (home / f"{target.lstrip('/')}.rst").is_file(), target
    for name in GALLERY.findall(text):
        assert (DOCS.parent / "examples" / f"{name}.py").is_file(), name


def test_the_landing_page_opens_the_four_doors():
    doors = re.findall(r":link: (\S+)", (DOCS / "index.rst").read_text("utf-8"))
    assert doors == [f"how_to/{name}" for name in ("not_training", "designing", "sequences", "criticality")]


def test_the_walk_has_five_questions_with_an_answer_each():
    assert len(blocks("console")) == 5


@pytest.mark.parametrize("number", range(5))
def test_a_command_of_the_walk_prints_what_the_page_says(number, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (source,) = blocks("python")
    Path("mymodel.py").write_text(source + "\n", encoding="utf-8")
    runpy.run_path("mymodel.py", run_name="__main__")
    command, *expected = blocks("console")[number].splitlines()
    words = command.removeprefix("$ phasescope ").split()
    code = main(words)
    told = " ".join(capsys.readouterr().out.split())  # where lines break is for the terminal to say
    assert code == 0
    pieces = [" ".join(piece.split()) for piece in " ".join(expected).split("...") if piece.strip()]
    place = 0
    for piece in pieces:
        assert piece in told[place:], piece
        place += told[place:].index(piece) + len(piece)
