import numpy as np
import pytest
import torch

from one_part import analysed, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.channel import CHANNEL, SNR, convolutional, network, pictures, planes
from phasescope.papers.related.shared import digits
from phasescope.signal import spectra

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
    asked = {"isometry", "equal-power", "equal-power-from-critical", "fixed-noise"}
    assert set(found) == asked | {f"convolutional-{each}" for each in asked}
    assert {found[f"convolutional-{each}"].verdict for each in asked} == {"not determined"}
    assert "no convolutional" in found["convolutional-isometry"].measured.reason
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


WITH_CONVOLUTIONS = studies.changed(SETTINGS, ["channel.convolutional=3", "channel.channels=2"])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return run(CHANNEL, WITH_CONVOLUTIONS, tmp_path_factory.mktemp("both"))


def test_convolutional_networks_are_asked_by_themselves(both, finished):
    data, analysis, found = both
    assert data.sizes["task"] == 6
    assert [len(table.rows) for table in analysis.tables] == [6, 6]
    assert np.isfinite(data["bits"]).all()
    assert len(draw(CHANNEL, data, WITH_CONVOLUTIONS)) == 2
    # The perceptrons are those of a run without convolutional networks.
    np.testing.assert_array_equal(data["bits"][:3], finished[0]["bits"])
    assert found["equal-power"].measured.value == finished[2]["equal-power"].measured.value


@pytest.mark.parametrize(("of", "verdicts"), [("bits", ("agrees", "agrees")), ("raw", ("disagrees",) * 2)])
def test_convolutional_accuracies_decide_their_claims_alone(both, of, verdicts):
    data, _, before = both
    accuracy = data["accuracy"].copy()
    accuracy[3:] = data[of][3:].values
    made = data.assign(accuracy=accuracy)
    if of == "raw":
        made = made.assign(bits=-made["raw"])
    found = checks(analysed(CHANNEL, made, WITH_CONVOLUTIONS).checks)
    assert found["convolutional-equal-power"].verdict == verdicts[0]
    assert found["convolutional-equal-power-from-critical"].verdict == verdicts[1]
    if of == "raw":
        assert found["convolutional-fixed-noise"].verdict == "disagrees"
    else:
        assert found["fixed-noise"].measured.value == before["fixed-noise"].measured.value


def test_orthogonal_convolutions_without_activations_are_isometries_of_the_whole_picture():
    model = convolutional(planes(pictures("")), 3, 4, 1.5, "orthogonal", 4)
    linear = torch.nn.Sequential(*[layer for layer in model if isinstance(layer, torch.nn.Conv2d)])
    last = spectra(linear, planes(pictures("")).x[:4], snr=SNR, samples=2).dataset.isel(layer=-1)
    assert float(last["participation"]) == pytest.approx(64, rel=1e-5)
    assert float(last["bits"]) == pytest.approx(0.5 * np.log2(1 + SNR), rel=1e-5)


def test_gaussian_convolutions_have_the_variance_that_was_asked_for():
    model = convolutional(planes(pictures("")), 2, 32, 1.5, "Gaussian", 4)
    assert float(model[2].weight.detach().var()) == pytest.approx(2.25 / (9 * 32), rel=0.05)
