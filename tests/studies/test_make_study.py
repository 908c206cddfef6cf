"""What the documentation shows of a study, renewed from folders that hold some of its parts."""

import json
import sys
from pathlib import Path

import pytest

from phasescope import studies

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def write(monkeypatch, toy):
    monkeypatch.syspath_prepend(str(DOCS))
    import make_study

    monkeypatch.setattr(make_study.studies, "load", lambda folder: LOAD(folder, study=toy))
    yield make_study.write
    del sys.modules["make_study"]


LOAD = studies.load


def test_a_folder_with_one_part_renews_it_and_keeps_the_other(write, finished, tmp_path, toy, quick):
    whole, _ = finished
    shown = tmp_path / "shown" / "toy"
    write(whole, tmp_path / "shown")
    before = {path.name: path.read_bytes() for path in shown.iterdir()}
    studies.run(toy, quick().model_copy(update={"seed": 5}), tmp_path / "run", parts=["mean"])
    write(tmp_path / "run", tmp_path / "shown")
    after = {path.name: path.read_bytes() for path in shown.iterdir()}
    assert set(after) == set(before)
    assert {name for name in after if after[name] != before[name]} <= {
        name for name in after if "mean" in name
    } | {"checks.json"}
    entries = json.loads(after["checks.json"])
    renewed = json.loads((tmp_path / "run" / "checks.json").read_text())
    old = json.loads((whole / "checks.json").read_text())
    assert entries == renewed + [entry for entry in old if entry["id"].startswith("square/")]
    assert entries[0]["measured"] != old[0]["measured"]
    text = after["claims.rst"].decode()
    assert text.startswith("Of 5 claims, ")
    assert text.index("part-mean.rst") < text.index("part-square.rst")
    assert "*Run of 20" in after["part-mean.rst"].decode()


def test_parts_that_the_study_has_no_longer_are_removed(write, finished, tmp_path):
    shown = tmp_path / "toy"
    shown.mkdir()
    (shown / "part-old.rst").write_text("old")
    (shown / "old-picture.png").write_bytes(b"")
    write(finished[0], tmp_path)
    assert not {"part-old.rst", "old-picture.png"} & {path.name for path in shown.iterdir()}
