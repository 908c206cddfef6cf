"""The files of the page on continuous integration, run as the page says."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from phasescope.cli import main
from phasescope.testing import assert_trainable

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "continuous_integration"


def words(text):
    """A text without its numbers, whose last digits depend on the version of torch."""
    return re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "#", text).split()


@pytest.fixture
def model(monkeypatch):
    """The module of the example, importable as its test imports it."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    spec = importlib.util.spec_from_file_location("model", FOLDER / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "model", module)
    return module


@pytest.mark.usefixtures("model")
def test_the_test_of_the_page_passes():
    spec = importlib.util.spec_from_file_location("of_the_page", FOLDER / "test_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (found,) = [thing for name, thing in vars(module).items() if name.startswith("test_")]
    found()


def test_the_message_of_the_page_is_that_of_smaller_weights(model):
    network, batch = model.make()
    for layer in network[::2]:
        layer.weight.data /= 3
    with pytest.raises(AssertionError) as failed:
        assert_trainable(network, batch)
    assert words(str(failed.value)) == words((FOLDER / "message.txt").read_text(encoding="utf-8"))


def test_the_command_of_the_page_keeps_every_limit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("phasescope.report.page.inline", lambda figure, prefix, label: [""])
    target = f"{FOLDER / 'model.py'}:make"
    code = main(["inspect", target, "--out", str(tmp_path), "--check", str(FOLDER / "limits.toml")])
    said = capsys.readouterr().out.rstrip().splitlines()
    checks = [line for line in said if line.startswith(("passed", "FAILED"))]
    assert (code, said[-1]) == (0, f"page: {tmp_path / 'report.html'}")
    assert words("\n".join(checks)) == words((FOLDER / "checks.txt").read_text(encoding="utf-8"))


def test_the_page_shows_these_files_and_the_workflow_runs_them():
    page = (FOLDER.parent / "continuous_integration.rst").read_text(encoding="utf-8")
    shown = re.findall(r"literalinclude:: continuous_integration/(\S+)", page)
    assert sorted(shown) == sorted(path.name for path in FOLDER.iterdir() if path.is_file())
    workflow = (FOLDER / "workflow.yml").read_text(encoding="utf-8")
    command = "phasescope inspect model.py:make --check limits.toml"
    assert command in page
    assert f"- run: {command}" in workflow
    assert "- run: pytest" in workflow
