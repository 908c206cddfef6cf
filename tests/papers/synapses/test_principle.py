from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import synapses
from phasescope.papers.synapses import principle, shared
from phasescope.papers.synapses.principle import GROUPS, PRINCIPLE, strengths
from phasescope.synapses import PictureNet, layers, sensitivity

SETTINGS = config("pictures=flower,china", "seeds=3", study=synapses.STUDY)
SMALL = ("pictures=flower", "seeds=2", "longest=16", "steps=6", "principle.regions=2")
IDS = ["median-best", "weak-median", "median-strongest", "elsewhere", "learned", "best-learned"]
IDS += ["best-placed", "converse", "converse-chance", "range", "range-chosen"]
DAMAGE = {"trained": (0.02, 0.04, 0.4, 0.3, 0.6), "untrained": (0.06, 0.06, 0.1, 0.1, 0.2)}
DAMAGE["permuted"] = (0.05, 0.1, 0.3, 0.3, 0.5)


def law(task, device):
    """Weak synapses spoil more, best ones less than without learning, converse ones leave little."""
    random = np.random.default_rng(task.seed)

    def scattered(values):
        return np.asarray(values) * np.exp(0.05 * random.standard_normal(np.shape(values)))

    damage = np.repeat(np.array(list(DAMAGE.values()))[:, None], 5, axis=1)
    beyond = np.ones((3, 5, 2, len(principle._MULTIPLES)))
    beyond[:, :, 0] = np.array(principle._MULTIPLES).clip(1)
    converse = np.repeat([[0.02], [0.1], [0.3]], 5, axis=1)
    return {
        "linear": scattered(damage),
        "damage": scattered(damage),
        "reached": np.ones((3, 5, len(GROUPS))),
        "by_strength": scattered(np.full((3, 5), 0.8)),
        "beyond": scattered(beyond),
        "converse": scattered(converse),
        "broad": scattered([0.1, 0.8, 0.05]),
    }


def analysed(measure, directory):
    finished = studies.run(alone(replace(PRINCIPLE, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_networks_that_follow_the_principle_agree(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {name: found[name].verdict for name in IDS} == dict.fromkeys(IDS, "agrees")
    assert found["median-best"].measured.value == pytest.approx(np.log10(15), abs=0.1)
    assert found["range"].measured.value == pytest.approx(np.log10(8), abs=0.1)
    assert min(draw(PRINCIPLE, finished.data["principle"].to_dataset(), SETTINGS)) > 20_000


def test_networks_in_which_the_weak_spoil_least_disagree(tmp_path):
    def turned(task, device):
        found = law(task, device)
        damage = found["damage"][:, :, ::-1].copy()
        damage[1:] = 0.01
        beyond = found["beyond"][:, :, ::-1] ** -1.0
        beyond[:, :, 1] = 1
        beyond[:, :, 0, -1] = 0.2
        return {**found, "damage": damage, "beyond": beyond, "converse": found["converse"][::-1] * 10}

    _, found = analysed(turned, tmp_path)
    broken = ["median-best", "weak-median", "median-strongest", "learned", "best-learned", "best-placed"]
    broken += ["converse", "converse-chance", "range", "range-chosen"]
    assert {name: found[name].verdict for name in broken} == dict.fromkeys(broken, "disagrees")


@pytest.mark.slow
def test_a_small_run_gives_all_checks_and_pictures(tmp_path):
    settings = config(*SMALL, study=synapses.STUDY)
    data, _, found = run(PRINCIPLE, settings, tmp_path)
    assert list(found) == IDS
    # The best by control is the best to first order, by construction.
    linear = data["linear"].values
    assert (linear[..., :1] <= linear[..., 1:]).all()
    assert ((data["reached"].values == 0) | (data["reached"].values == 1)).all()
    # Below the linear range the damage for an effect is the linear one.
    assert data["beyond"].values[:, :, :, 0, 0] == pytest.approx(1, abs=0.3)
    assert len(draw(PRINCIPLE, data, settings)) in (1, 3)


def flat(b):
    """A net of one unit whose value is tanh(b) everywhere: its maps are known."""
    net = PictureNet(layers(2, 1), [0.0, 0.0, b])
    return sensitivity(net, 8, 12)


def test_strengths_and_damage_are_those_of_the_maps():
    net = PictureNet(layers(2, 5, 3), seed=1)
    seen = sensitivity(net, 6, 9)
    masks = shared.windows((6, 9), 4, 2)
    g, damage, inside = strengths(seen, masks)
    maps = seen.maps()[: net.wiring.synapses]
    for r, mask in enumerate(masks):
        assert torch.allclose(g[r], maps[:, mask].mean((1, 2)))
        assert torch.allclose(damage[r], maps[:, ~mask].square().mean((1, 2)).sqrt())
        assert torch.allclose(inside[r], maps[:, mask].square().mean((1, 2)).sqrt())


def test_damage_is_taken_where_the_property_has_really_moved():
    seen = flat(0.8)
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[2:4, 9:11] = True
    x = seen.points[:, 0].numpy()
    inside = mask.reshape(-1).numpy()

    def change(step):
        return np.tanh(0.8 + step * x) - np.tanh(0.8)

    step = brentq(lambda d: change(d)[inside].mean() + 0.05, -3, 0)
    spoilt = float(np.sqrt((change(step)[~inside] ** 2).mean()))
    g = float(strengths(seen, mask[None])[0][0, 0])
    damage, reached = principle._moved(seen, 0, g, mask)
    assert reached
    assert damage == pytest.approx(spoilt, rel=0.03)


def test_what_a_synapse_cannot_do_is_said():
    seen = flat(0.0)
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[:, 5:7] = True  # odd about its middle: the mean never moves
    damage, reached = principle._moved(seen, 0, 1e-3, mask)
    assert not reached
    assert damage > 0.5


def test_a_map_that_covers_all_but_a_window_is_broad_and_a_narrow_one_is_not():
    seen = flat(0.0)  # maps are x and y themselves
    masks = torch.zeros(1, 8, 12, dtype=torch.bool)
    masks[0, :, 5:7] = True
    damage = strengths(seen, masks)[1]
    assert principle._broad(seen, masks, damage).all()
    assert not principle._broad(seen, masks, 100 * damage).any()
