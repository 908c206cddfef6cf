from dataclasses import replace

import numpy as np
import pytest
import torch

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import synapses
from phasescope.papers.synapses import compensation, shared
from phasescope.papers.synapses.compensation import COMPENSATION
from phasescope.synapses import PictureNet, sensitivity

SETTINGS = config("pictures=flower,china", "seeds=3", study=synapses.STUDY)
SMALL = ("pictures=flower", "seeds=2", "longest=16", "steps=6", "compensation.regions=2")
IDS = ["pair-exists", "pair-left", "pair-one-neuron", "pair-learned", "hint", "hint-pair", "near-far"]
IDS += ["near-far-focus", "near-single", "near-far-learned"]


def law(task, device):
    """Pairs in half of the windows, no hints, near mixtures as compact as single maps."""
    random = np.random.default_rng(task.seed)

    def around(values, width=0.005):
        return np.asarray(values, dtype=float) + width * random.standard_normal(np.shape(values))

    works = np.zeros((3, 20, 2))
    works[0, : 10 + random.integers(0, 3), :] = 1 / 3
    extent = np.log10([[0.08, 0.08, 0.2], [0.3, 0.3, 0.4], [0.05, 0.05, 0.06]])
    return {
        "opposed": around(np.full((3, 20, 2), 0.03), 0.001),
        "counted": np.full((3, 20, 2), 100.0),
        "works": works,
        "left": around(np.full((3, 20, 2), 0.05)),
        "hint": around(np.zeros((3, 20)), 0.1),
        "hint_pair": around(np.zeros((3, 20)), 0.1),
        "extent": around(extent),
        "focus": around(-extent),
    }


def analysed(measure, directory):
    finished = studies.run(alone(replace(COMPENSATION, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_networks_with_compensating_pairs_and_blended_mixtures_agree(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {name: found[name].verdict for name in IDS} == dict.fromkeys(IDS, "agrees")
    assert found["pair-exists"].measured.value == pytest.approx(0.55, abs=0.05)
    assert found["near-far"].measured.value == pytest.approx(np.log10(2.5), abs=0.02)
    assert min(draw(COMPENSATION, finished.data["compensation"].to_dataset(), SETTINGS)) > 20_000


def test_networks_that_are_the_other_way_round_disagree(tmp_path):
    def turned(task, device):
        found = law(task, device)
        return {
            **found,
            "opposed": found["opposed"] + [0.2, 0.0],
            "works": found["works"][[1, 0, 2]],
            "left": found["left"] + 0.5,
            "hint": found["hint"] + 0.5,
            "hint_pair": found["hint_pair"] + 0.5,
            "extent": found["extent"][:, [0, 2, 1]],
            "focus": found["focus"][:, [0, 2, 1]],
        }

    _, found = analysed(turned, tmp_path)
    broken = [name for name in IDS if name != "pair-exists"]
    assert {name: found[name].verdict for name in broken} == dict.fromkeys(broken, "disagrees")
    # Nothing works in any window: no pair.
    assert found["pair-exists"].verdict == "not determined"


@pytest.mark.slow
def test_a_small_run_gives_all_checks(tmp_path):
    settings = config(*SMALL, study=synapses.STUDY)
    data, _, found = run(COMPENSATION, settings, tmp_path)
    assert list(found) == IDS
    # All pairs of an ensemble are in one neuron or in two.
    members = compensation.MEMBERS
    assert data["counted"].values.sum(-1) == pytest.approx(members * (members - 1) / 2)
    assert (np.abs(data["hint"].values) <= 1).all()
    assert len(draw(COMPENSATION, data, settings)) == 2


@pytest.fixture(scope="module")
def seen():
    return sensitivity(PictureNet(seed=3), 12, 16)


def test_a_neighbour_touches_its_window_and_does_not_overlap_it():
    masks = shared.windows((12, 16), 6, 3)
    beside = compensation._beside(masks)
    assert (beside.sum((1, 2)) == 9).all()
    assert not (masks & beside).any()
    for mask, other in zip(masks, beside, strict=True):
        columns = torch.nonzero(mask.any(0) | other.any(0))[:, 0]
        assert len(columns) == 6
        assert columns[-1] - columns[0] == 5


def test_opposed_pairs_act_oppositely_and_noticeably():
    one, other = np.array([0.5, 0.5, 0.05, -0.2]), np.array([-0.5, 0.5, -0.5, 0.3])
    assert compensation._opposed(one, other).tolist() == [True, False, False, True]


def test_two_weights_move_a_window_and_hold_the_one_beside_it(seen):
    mask = shared.windows((12, 16), 6, 3)[0]
    beside = compensation._beside(mask[None])[0]
    found = compensation._candidates(seen, mask[None])
    pair = found.control[0].argsort(descending=True)[[0, 9]].tolist()
    moved, aside = compensation._together(seen, pair, mask, beside, 0.01)
    # By linear algebra on the maps alone, to first order.
    maps = seen.maps(pair)
    slopes = np.array([[float(m[where].mean()) for m in maps] for where in (mask, beside)])
    assert np.linalg.cond(slopes) < 100
    assert moved == pytest.approx(0.01, rel=1e-2)
    assert aside == pytest.approx(0, abs=1e-4)


def test_focus_is_the_lift_of_the_best_window():
    fields = torch.zeros(2, 12, 12, 3)
    fields[0] = 1
    fields[1, 3:6, 3:6] = 1
    assert compensation._focus(fields, 3).tolist() == pytest.approx([1, 144 / 9])
