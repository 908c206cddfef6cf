"""What the parts of the study share: networks, controls, windows, contrast, extent."""

import numpy as np
import pytest
import torch

from one_part import config
from phasescope.papers import synapses
from phasescope.papers.synapses import shared

SMALL = {"picture": "flower", "start": 1, "longest": 16, "steps": 2, "seed": 0}


def test_every_picture_has_every_seed():
    settings = config("seeds=3", 'pictures=["flower","china"]', study=synapses.STUDY)
    found = [(each["picture"], each["start"]) for each in shared.networks(settings)]
    assert found == [(p, s) for p in ("flower", "china") for s in range(3)]


def test_a_network_is_trained_once_and_always_to_the_same_weights():
    first = shared.trained(SMALL)
    assert shared.trained(dict(SMALL)) is first
    shared._trained.cache_clear()
    assert torch.equal(shared.trained(SMALL).net.weights, first.net.weights)
    assert first.size == (11, 16)
    assert first.rmse == pytest.approx(
        float((first.sensitivity.picture - first.target).square().mean().sqrt())
    )
    assert not torch.equal(shared.trained(SMALL | {"start": 0}).net.weights, first.net.weights)


def test_controls_keep_the_wiring_and_permuted_weights_their_sizes():
    net = shared.trained(SMALL).net
    weights, moved = net.weights.detach(), shared.permuted(net, 3).weights.detach()
    assert torch.equal(moved[460:], weights[460:])
    for unit in range(37):
        into = torch.from_numpy(net.wiring.targets == unit)
        assert torch.equal(moved[into].sort().values, weights[into].sort().values)
    assert float((moved[:460] == weights[:460]).double().mean()) < 0.2
    fresh = shared.untrained(net, 3)
    assert fresh.wiring == net.wiring
    assert float(fresh.weights.detach().abs().max()) < 4
    kinds = shared.trained(SMALL).kinds(3)
    assert len(kinds) == len(shared.KINDS)
    assert torch.equal(kinds[2].weights, moved)


def test_windows_have_one_shape_and_reach_all_borders():
    masks = shared.windows((12, 16), 20, 3)
    assert masks.shape == (20, 12, 16)
    assert (masks.sum((1, 2)) == 9).all()
    covered = masks.any(0)
    assert covered[0, 0]
    assert covered[-1, -1]


def test_contrast_is_the_rms_deviation_inside():
    picture = torch.zeros(4, 8, 3, dtype=torch.float64)
    picture[:, :2] = 0.5
    masks = torch.zeros(2, 4, 8, dtype=torch.bool)
    masks[0, :, :4] = True  # half of it at 0.5, half at 0
    masks[1, :, 4:] = True
    assert shared.contrast(picture, masks).tolist() == pytest.approx([0.25, 0.0])


def test_the_extent_of_known_fields():
    fields = torch.zeros(3, 5, 8, 3, dtype=torch.float64)
    fields[0] = 0.3
    fields[1, 2, 2] = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    fields[2, 1, 1:5] = 1.0
    assert shared.extent(fields).tolist() == pytest.approx([1.0, 1 / 40, 4 / 40])


def test_errors_are_widened_for_few_networks():
    found = shared.over_networks(np.array([1.0, 3.0, np.nan]))
    # The standard error of two numbers 2 apart is 1; Student's 97.5 % point with one degree is 12.706.
    assert found.value == 2
    assert found.error == pytest.approx(12.706 / 1.96, rel=1e-3)
    assert shared.share(np.array([True] * 4)).error == pytest.approx(0.25)
    assert not shared.share(np.array([])).determined


def test_a_montage_keeps_every_picture():
    fields = np.arange(5)[:, None, None, None] * np.ones((1, 2, 3, 1))
    sheet = shared.montage(fields, 2)
    assert sheet.shape == (9, 8, 1)
    assert (sheet[3:5, 4:7] == 3).all()
    assert (sheet[6:8, 0:3] == 4).all()
    assert (sheet[2] == 1).all()


def test_changes_are_scaled_one_by_one():
    changes = torch.zeros(2, 5, 40, 1)
    changes[0, :, 20:] = -3.0
    scaled = shared.scaled(changes)
    assert scaled.min() == pytest.approx(-1)
    assert not scaled[1].any()
