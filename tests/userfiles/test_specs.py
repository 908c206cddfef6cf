"""What a user types for an object in a file."""

import pytest

from phasescope.userfiles import functions_in, labels_of, split


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "b.py", "odd:name.py"):
        (tmp_path / name).write_text("def f(): ...\nclass C: ...\ndef _hidden(): ...\nx = 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("a.py:f", ("a.py", "f", "")),
        ("./a.py:f@run/best.pt", ("a.py", "f", "run/best.pt")),
        ("odd:name.py:f", ("odd:name.py", "f", "")),
    ],
)
def test_split(files, spec, parts):
    path, name, checkpoint = split(spec)
    assert (str(path), name, checkpoint) == parts


@pytest.mark.parametrize(
    ("specs", "labels"),
    [
        (["a.py:f", "a.py:g"], ["f", "g"]),
        (["a.py:f@one.pt", "a.py:f@two.pt"], ["one", "two"]),
        (["a.py:f", "a.py:f@two.pt"], ["f", "two"]),
        (["a.py:f", "b.py:f"], ["a:f", "b:f"]),
        (["a.py:f", "./a.py:f"], ["a.py:f", "./a.py:f"]),
        (["a.py:f", "a.py:f"], ["a.py:f (1)", "a.py:f (2)"]),
    ],
)
def test_labels_tell_targets_apart(files, specs, labels):
    assert labels_of(specs) == labels


def test_public_functions_are_listed_without_running_the_file(files):
    assert functions_in(files / "a.py") == ["f", "C"]
    (files / "a.py").write_text("def f(:")
    assert functions_in(files / "a.py") == []
