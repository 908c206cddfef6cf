import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers import synapses
from phasescope.papers.synapses.classifier_edits import CLASSIFIER_EDITS, METHODS, SELECTORS

SMALL = (
    "classifier_edits.seeds=3",
    "classifier_edits.images=640",
    "classifier_edits.epochs=12",
    "classifier_edits.edited=20",
    "classifier_edits.kept=40",
    "classifier_edits.steps=3",
    "classifier_edits.iterations=2",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=synapses.STUDY)
    return settings, *run(CLASSIFIER_EDITS, settings, tmp_path_factory.mktemp("edits"))


def straight(data, slopes):
    """The data as if each method brought success evenly to 1, at so much accuracy lost for all of it."""
    changed = data.copy(deep=True)
    points = np.linspace(0, 1, changed.sizes["step"])
    for number, method in enumerate(METHODS):
        changed["success"].values[:, number] = points
        for start in range(changed.sizes["task"]):
            lost = points * (slopes.get(method, 0.1) + 0.001 * start)
            changed["accuracy"].values[start, number] = changed["trained"].values[start] - lost
    return changed


def test_each_way_raises_the_margin_that_it_is_asked_for(small):
    _, data, *_ = small
    margin = data["margin"].values
    assert (np.ptp(margin[:, :, 0], axis=1) == 0).all()  # all start from the same network
    for method in ("programme", "gradient", "rank one", "null space"):
        last = margin[:, METHODS.index(method), -1]
        assert last == pytest.approx(12, abs=0.7), method
    rises = np.diff(margin, axis=2)
    assert (rises > -1e-3).all()
    assert (data["logits"].values[:, :, 0] == 0).all()
    assert (data["logits"].values[:, METHODS.index("rank one"), -1] > 0).all()


def test_what_loses_less_at_equal_success_is_ahead(small):
    settings, data, *_ = small
    slopes = {"programme": 0.02, "control": 0.01, "gradient": 0.08}
    found = checks(analysed(CLASSIFIER_EDITS, straight(data, slopes), settings).checks)
    assert {check.verdict for check in found.values()} == {"agrees"}
    # Mean over successes 0.2 to 0.94 of the difference of two straight lines.
    assert found["programme-gradient"].measured.value == pytest.approx(0.57 * 0.06)


def test_a_peer_that_loses_less_disagrees(small):
    settings, data, *_ = small
    slopes = {"programme": 0.02, "rank one": 0.005, "control": 0.05, "|g w|": 0.01}
    found = checks(analysed(CLASSIFIER_EDITS, straight(data, slopes), settings).checks)
    assert found["programme-rank-one"].verdict == "disagrees"
    assert found["ensemble-strength"].verdict == "disagrees"
    assert found["programme-gradient"].verdict == "agrees"


def test_a_way_that_never_succeeds_is_not_compared(small):
    settings, data, *_ = small
    changed = straight(data, {})
    changed["success"].values[:, METHODS.index("random")] *= 0.1
    analysis = analysed(CLASSIFIER_EDITS, changed, settings)
    found = checks(analysis.checks)
    assert found["ensemble-random"].verdict == "not determined"
    assert "0 of 3 networks" in found["ensemble-random"].measured.reason
    row = next(row for row in analysis.tables[0].rows if row[0] == "random")
    assert row[1:4] == ["not reached"] * 3


def test_figures_and_table(small):
    settings, data, analysis, _ = small
    assert [row[0] for row in analysis.tables[0].rows] == list(METHODS)
    assert set(SELECTORS) < set(METHODS)
    assert any("scikit-learn" in note for note in analysis.notes)
    assert min(draw(CLASSIFIER_EDITS, data, settings)) > 20_000
