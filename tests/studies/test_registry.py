"""Studies by name and from a user's own file."""

import shutil
from pathlib import Path

import pytest

import toy_study
from phasescope import studies
from phasescope.errors import InputError
from phasescope.studies.runner import measurement


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(toy_study.__file__, tmp_path / "own.py")
    return tmp_path / "own.py"


def test_the_names_that_phasescope_brings():
    assert studies.names() == ["absorbing", "noise", "chaos", "synapses", "rectified_power", "related"]


def test_a_study_in_a_file(file):
    assert studies.study("own.py:STUDY").title == "What a toy study shows"
    assert studies.study(f"{file}:STUDY").presets.keys() == {"quick", "paper"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absorbin", "no study 'absorbin'.*absorbing"),
        ("x", "no study 'x'"),
        ("own.py:NUMBER", r"own\.py:NUMBER is an int, not a phasescope\.studies\.Study"),
        ("own.py:STUDI", "defines no 'STUDI'"),
        ("owm.py:STUDY", r"no file owm\.py.*own\.py"),
    ],
)
def test_what_is_no_study_is_refused(file, name, said):
    with pytest.raises(InputError, match=said):
        studies.study(name)


def test_a_worker_refuses_a_study_that_was_edited_meanwhile(file):
    study = studies.study("own.py:STUDY")
    task = study.tasks(study.presets["quick"])[-1]
    measure = measurement("own.py:STUDY", "cpu")
    assert int(measure(task)["square"]) == 16
    file.write_text(Path(file).read_text() + "\n# edited\n")
    with pytest.raises(InputError, match=r"own\.py:STUDY has changed"):
        measure(task)
