import numpy as np
import pytest
import torch

from one_part import analysed, checks, config, draw, run
from phasescope.papers import related
from phasescope.papers.related.channel import CHANNEL, SNR, network
from phasescope.papers.related.shared import digits

SETTINGS = config(
    "channel.depth=2",
    "channel.width=12",
    "channel.scales=[0.8,1.0,2.0]",
    "channel.seeds=3",
    "channel.steps=3",
    "channel.inputs=2",
    study=related.STUDY,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(CHANNEL, SETTINGS, tmp_path_factory.mktemp("channel"))


def with_accuracies(finished, of):
    """The data with accuracies made from one of its variables."""
    return finished[0].assign(accuracy=finished[0][of].copy())


def test_a_tiny_run_gives_every_number(finished):
    data, analysis, found = finished
    assert set(found) == {"isometry", "equal-power", "equal-power-from-critical", "fixed-noise"}
    assert all(np.isfinite(data[name]).all() for name in ("bits", "raw", "participation", "accuracy"))
    assert (data["bits"] <= 0.5 * np.log2(1 + SNR)).all()
    assert len(analysis.tables[0].rows) == 6
    assert min(draw(CHANNEL, data, SETTINGS)) > 10_000


def test_accuracies_that_follow_the_bits_agree(finished):
    found = checks(analysed(CHANNEL, with_accuracies(finished, "bits"), SETTINGS).checks)
    assert found["equal-power"].verdict == "agrees"
    assert found["equal-power"].measured.value == pytest.approx(0.4)
    assert found["equal-power-from-critical"].verdict == "agrees"


def test_accuracies_that_follow_the_raw_bits_disagree(finished):
    data = with_accuracies(finished, "raw")
    found = checks(analysed(CHANNEL, data.assign(bits=-data["raw"]), SETTINGS).checks)
    assert found["fixed-noise"].verdict == "disagrees"
    assert found["equal-power"].verdict == "disagrees"


def test_orthogonal_networks_are_orthogonal_layer_by_layer():
    model = network(digits(), 3, 16, 1.5, "orthogonal", 4)
    weight = model[2].weight
    torch.testing.assert_close(weight @ weight.T, 2.25 * torch.eye(16, dtype=torch.float64))
    assert not torch.equal(model[2].weight, model[4].weight)
    assert torch.equal(model[-1].weight, network(digits(), 3, 16, 1.5, "Gaussian", 4)[-1].weight)
