import numpy as np
import pytest
import torch

from one_part import analysed, checks, config, draw, run
from phasescope.papers import related
from phasescope.papers.related.deficit import DEFICIT, Residual, made_classes

SETTINGS = config(
    "deficit.width=12",
    "deficit.blocks=2",
    "deficit.seeds=3",
    "deficit.steps=20",
    "deficit.classes=12",
    "deficit.features=3",
    study=related.STUDY,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(DEFICIT, SETTINGS, tmp_path_factory.mktemp("deficit"))


def test_a_tiny_run_has_its_control(finished):
    data, analysis, found = finished
    assert found["counting"].verdict == "agrees"
    assert found["counting"].measured.value == pytest.approx(1, abs=1e-9)
    assert found["handful"].verdict in ("agrees", "disagrees", "not determined")
    assert np.isfinite(data["shares"]).all()
    assert len(analysis.tables[0].rows) == 2
    assert min(draw(DEFICIT, data, SETTINGS)) > 8_000


def test_logits_that_follow_from_three_agree_with_the_paper(finished):
    data = finished[0].copy(deep=True)
    data["follows"][:] = 0.9
    data["shares"][:] = 0.999
    data["first"], data["last"] = data["follows"] * 10, data["follows"] * 0 + 3
    found = checks(analysed(DEFICIT, data, SETTINGS).checks)
    assert found["handful"].verdict == "agrees"
    assert found["three-are-too-few"].verdict == "disagrees"
    assert found["counting"].verdict == "disagrees"
    assert found["dimension-falls"].verdict == "agrees"


def test_logits_of_their_own_disagree_with_the_paper(finished):
    data = finished[0].copy(deep=True)
    data["follows"][:] = 0.1
    data["shares"][:] = 0.8
    data["first"], data["last"] = data["follows"] * 10, data["follows"] * 0 + 3
    found = checks(analysed(DEFICIT, data, SETTINGS).checks)
    assert found["handful"].verdict == "disagrees"
    assert found["three-are-too-few"].verdict == "agrees"
    assert found["dimension-falls"].verdict == "disagrees"


def test_made_classes_share_their_centres_and_no_sample():
    (x, y), (other, same) = (made_classes(5, 50, 3, sample=sample) for sample in (0, 1))
    assert torch.equal(y, same)
    assert not torch.equal(x, other)
    centres = [torch.stack([each[y == c].mean(0) for c in range(5)]) for each in (x, other)]
    assert float((centres[0] - centres[1]).abs().max()) < 0.5
    assert float(centres[0].std(0).mean()) > 0.5


def test_a_head_of_few_features_has_as_many():
    model = Residual(6, 8, 2, 3, 10).double()
    logits = model(torch.randn(40, 6, dtype=torch.float64)).detach()
    assert int(torch.linalg.matrix_rank(logits - logits.mean(0))) == 3
