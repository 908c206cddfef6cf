"""``phasescope demo``: phase and fate on one page."""

import json
from dataclasses import replace
from importlib import resources

import pytest

from json_schema import violations
from phasescope.cli import demo
from phasescope.cli.demo import _as_promised, run
from phasescope.estimate import Estimate
from phasescope.report import Fate

SCHEMA = json.loads(resources.files("phasescope.report").joinpath("schema.json").read_text())


@pytest.mark.whole
def test_quick_shows_three_phases_and_three_fates(phasescope, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "_QUICK", replace(demo._QUICK, steps=75, seeds=2))
    answer = phasescope("demo", "--quick", "--json", "--out", "tour")
    assert answer.code == 0
    assert violations(answer.json, SCHEMA) == []
    labels = ["PyTorch default", "large weights", "after critical_"]
    assert [each["label"] for each in answer.json["inspections"]] == labels
    assert "“after critical_” is critical" in answer.json["sentence"]
    accuracies = [fate["final_accuracy"]["value"] for fate in answer.json["training"]["fates"]]
    assert accuracies[0] < 0.3
    assert accuracies[2] > 0.85
    page = (tmp_path / "tour" / "report.html").read_text(encoding="utf-8")
    assert 'id="training"' in page
    assert len(page.encode()) < 1_000_000


@pytest.mark.slow
def test_the_whole_tour(tmp_path):
    text, code = run(tmp_path, quick=False, as_json=False, seed=1, command="phasescope demo")
    assert code == 0
    assert str(tmp_path / "report.html") in text


def test_an_unexpected_outcome_is_exit_code_1(monkeypatch):
    def fate(value):
        return Fate("x", None, None, None, Estimate(value, 0.01, "mean", 3))

    class Phase:
        def __init__(self, phase):
            self.phase = phase

    class One:
        def __init__(self, phase):
            self.datasets = {"propagation": Phase(phase)}

    monkeypatch.setattr("phasescope.cli.demo.verdict", lambda dataset: dataset)
    expected = ["ordered", "chaotic", "critical"]
    networks = [One(phase) for phase in expected]
    assert _as_promised(networks, [fate(0.1), fate(0.2), fate(0.9)], expected)
    assert not _as_promised(networks, [fate(0.1), fate(0.9), fate(0.9)], expected)
    assert not _as_promised(networks[::-1], [fate(0.1), fate(0.2), fate(0.9)], expected)
