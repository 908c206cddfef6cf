"""The part on memories that appear in a jump, small, and its claims on made data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related import jumps
from phasescope.papers.related.explosive import EXPLOSIVE, TABLED, _capacity
from phasescope.theory.hysteresis import CurvedMemory, decayed_modes

pytestmark = pytest.mark.whole

MODES = [0.293932, 0.280805, 0.273754, 0.261218, 0.250885, 0.233998, 0.207927, 0.172526, 0.169789]
SETTINGS = config(
    "explosive.values=21",
    "explosive.dwells=[8,16]",
    "explosive.steps=2",
    "explosive.training=2",
    study=related.STUDY,
)
STORED = config("explosive.memories=3", "cifar10=somewhere", study=related.STUDY)
OLD = {"states", "area-1.2", "area-1.5", "area-0", "decay-modes", "decay-return", "untrained", "trained"}
MEMORIES = {"images", "images-plain", "images-jump", "capacity-random", "capacity-images"}


def law(task, device):
    """What the closed forms say, with a little scatter over seeds."""
    known = task.parameters
    if known["kind"] in ("images", "recall", "recall-images"):
        return stored(task)
    if known["kind"] == "states":
        memories = [CurvedMemory(gamma) for gamma in TABLED]
        return {"states": [[m.down_jump, m.after_up_jump, m.area] for m in memories]}
    if known["kind"] == "loop":
        area = CurvedMemory(known["gamma"]).area
        beta = np.linspace(0.5, 1.2, known["values"])
        return {
            "loop": [1.01 * area, 0.004, float(area > 0)],
            "areas": [area + 0.1, area + 0.05],
            "branches": np.stack([beta, beta > 1, beta > 0.7]).astype(float),
        }
    if known["kind"] == "decay":
        left = [(decayed_modes(MODES, jumps.DEPTH, decay) > 0).sum() for decay in jumps.DECAYS]
        return {"modes": MODES, "left": np.array([*left, left[-1]], dtype=float)}
    shift = 1e-3 * np.random.default_rng(task.seed).standard_normal()
    return {"flip_flop": [[shift * 1e-2, 1e-3, 0.0], [0.08 + shift, 1e-3, 1.0]], "accuracy": 0.99}


def stored(task, *, turned=False):
    """A loop of the curved network alone, which keeps twice as many patterns; or all the other way round."""
    known, random = task.parameters, np.random.default_rng(task.seed)
    if known["kind"] == "images":
        loop = (known["gamma"] == 0) == turned
        area = (0.1 if loop else -0.1 if turned else 0.0) + 1e-3 * random.standard_normal()
        jump = [1.1 if turned else 0.95, 0.005, 0.95, 0.85]
        return {"loop": [area, 0.001, float(loop)], "jump": jump, "scan": np.zeros((3, 121))}
    counts = np.array([10, 20, 40, 80, 120, 160])
    plain = counts < 30 + random.integers(3)
    kept = np.stack([plain, counts < 100]).astype(float)
    return {"recall": kept[::-1] if turned else kept, "stored": counts}


def analysed(measure, directory, settings=SETTINGS):
    part = replace(EXPLOSIVE, measure=measure)
    finished = studies.run(alone(part), settings, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_data_that_follow_the_closed_forms_agree(tmp_path):
    finished, found = analysed(law, tmp_path)
    expected = dict.fromkeys(OLD, "agrees") | dict.fromkeys(MEMORIES, "not determined")
    assert {name: check.verdict for name, check in found.items()} == expected
    assert "preset paper" in found["images"].measured.reason
    tables = finished.analyses["explosive"].tables
    assert [row[1] for row in tables[1].rows] == ["9", "7", "7", "6", "6", "5", "3"]
    data = finished.data["explosive"].to_dataset()
    assert min(draw(EXPLOSIVE, data, SETTINGS)) > 10_000


def test_data_that_do_not_disagree(tmp_path):
    def otherwise(task, device):
        found = law(task, device)
        if task.parameters["kind"] == "states":
            found["states"] = np.array(found["states"]) + 1e-5
        if task.parameters["kind"] == "loop":
            found["loop"][0] += 0.05
        if task.parameters["kind"] == "decay":
            found["left"] = found["left"] + 1
        if task.parameters["kind"] == "flip-flop":
            _, trained = found["flip_flop"]
            found["flip_flop"] = [trained, [-area for area in trained]]
        return found

    _, found = analysed(otherwise, tmp_path)
    assert {name for name, check in found.items() if check.verdict == "disagrees"} == OLD


@pytest.mark.parametrize(("turned", "verdict"), [(False, "agrees"), (True, "disagrees")])
def test_stored_pictures_and_patterns_are_judged(tmp_path, turned, verdict):
    def measure(task, device):
        known = task.parameters["kind"] in ("images", "recall", "recall-images")
        return stored(task, turned=turned) if known else law(task, device)

    finished, found = analysed(measure, tmp_path, STORED)
    assert {name: found[name].verdict for name in MEMORIES} == dict.fromkeys(MEMORIES, verdict)
    data = finished.data["explosive"].to_dataset()
    assert min(draw(EXPLOSIVE, data, STORED)) > 10_000


def test_without_a_folder_only_random_patterns_are_stored(tmp_path):
    settings = config("explosive.memories=3", study=related.STUDY)
    _, found = analysed(law, tmp_path, settings)
    assert found["capacity-random"].verdict == "agrees"
    assert {found[name].verdict for name in MEMORIES - {"capacity-random"}} == {"not determined"}
    assert "--set cifar10=DIR" in found["images"].measured.reason


def test_the_capacity_is_where_the_overlap_falls_below_the_limit():
    stored = np.array([10.0, 20.0, 40.0])
    assert _capacity(stored, np.array([1.0, 0.8, 0.4])) == pytest.approx(30)
    assert _capacity(stored, np.array([1.0, 0.8, 0.7])) == 40
    assert _capacity(stored, np.array([0.1, 0.8, 0.7])) == 10


def test_random_patterns_are_kept_up_to_the_known_numbers():
    """Mean-field theory at temperature 1/2: m = tanh(2 m) = 0.958 for few patterns, none left for many."""
    found = jumps.recall((4, 160), "", 3)
    assert found["recall"][0, 0] == pytest.approx(0.9575, abs=0.01)
    assert found["recall"][1, 0] > 0.999
    assert (found["recall"][:, 1] < 0.4).all()


def test_the_pull_of_one_pattern_is_that_of_the_curved_memory():
    pattern = torch.ones(1, 1000, dtype=torch.float64)
    pull = jumps._pull(0.5 * pattern, pattern, -1.2, 0.9)
    expected = 0.9 * 0.5 / (1 - 0.6 * 0.25)
    assert torch.allclose(pull, torch.full_like(pull, expected), rtol=2e-3)


def test_pictures_are_signs_that_overlap_little(tmp_path):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    x[15:] = x[:15]  # each twice
    y = np.zeros(30, dtype=np.int64)
    np.savez(tmp_path / "cifar10_jpeg_10k_train_5k_test.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    found = jumps._pictures(str(tmp_path), 30, 0.3, 1)
    assert found.shape == (15, 1024)
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    assert found.sum(dim=1).abs().max() < 50


def test_an_area_away_from_theory_by_less_than_its_errors_is_not_determined(tmp_path):
    def coarse(task, device):
        found = law(task, device)
        if task.parameters["kind"] == "loop":
            found["loop"][:2] = [1.1 * found["loop"][0], 0.02]
        return found

    _, found = analysed(coarse, tmp_path)
    assert [found[name].verdict for name in ("area-1.2", "area-1.5")] == ["not determined"] * 2


@pytest.mark.slow
def test_a_tiny_run_gives_every_check(tmp_path):
    data, analysis, found = run(EXPLOSIVE, SETTINGS, tmp_path)
    assert set(found) == OLD | MEMORIES
    assert len(analysis.notes) == 4
    assert found["states"].verdict == "agrees"
    modes = data["modes"].values
    modes = modes[np.isfinite(modes).all(axis=1)]
    assert len(modes) > 0
    assert modes == pytest.approx(np.tile(MODES, (len(modes), 1)), abs=1e-6)


def test_the_modes_of_the_digits_are_the_known_ones():
    values = torch.linalg.svdvals(jumps._whitened()).numpy()
    assert values[:9] == pytest.approx(MODES, abs=1e-6)
    assert values[9] < 1e-12


def test_a_descent_step_is_that_of_autograd_with_weight_decay():
    generator = torch.Generator().manual_seed(4)
    sizes = ((5, 5), (5, 5), (3, 5))
    weights = [torch.randn(1, *size, generator=generator, dtype=torch.float64) for size in sizes]
    target = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    own = [w.clone().requires_grad_() for w in weights]
    optimiser = torch.optim.SGD(own, lr=0.3, weight_decay=0.2)
    (0.5 * (own[2] @ own[1] @ own[0] - target).square().sum()).backward()
    optimiser.step()
    stepped = jumps._descend(weights, target, torch.full((1, 1, 1), 0.2), 1)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(stepped, own, strict=True))
