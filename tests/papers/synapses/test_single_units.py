import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import synapses
from phasescope.papers.synapses import single_units
from phasescope.papers.synapses.single_units import SINGLE_UNITS, auc
from phasescope.sweep.task import Task

SETTINGS = config("pictures=flower,china", "seeds=3", study=synapses.STUDY)
SMALL = ("pictures=flower", "seeds=2", "longest=16", "steps=6", "single_units.epochs=2")
IDS = ["units-alike", "synapses-differ", "synapses-differ-learned", "unit-blends"]
IDS += [f"top-images-{which}{name}" for name in ("tanh", "relu") for which in ("", "learned-")]
IDS += ["never-full", "range-unused", "maximal-outside"]
IDS += ["silent-picture", "silent-learned", "silent-classifier", "silent-relu"]


def law(task, device):
    """Units look like combinations, synapses do not; silent halves tell as much; maxima lie outside."""
    random = np.random.default_rng(task.seed)

    def around(values, width=0.01):
        return np.asarray(values, dtype=float) + width * random.standard_normal(np.shape(values))

    if task.parameters["of"] == "picture":
        bits = np.repeat([[[0.4, 0.4]], [[0.1, 0.1]], [[0.2, 0.2]]], 34, axis=1)
        return {
            "unit_extent": around(np.full((3, 34), 0.4)),
            "units_alike": around([0.5, 0.5, 0.5]),
            "synapses_alike": around([0.9, 0.7, 0.9]),
            "many_in_unit": around([0.7, 0.6, 0.6]),
            "reached": np.linspace(0.5, 1, 34) * np.ones((3, 1)),
            "used": around(np.full((3, 34), 0.3)),
            "information": around(bits),
        }
    active = [0.3, 0.3] if task.parameters["activation"] == "tanh" else [0.1, 0.3]
    units = (2, single_units._UNITS)
    return {
        "purity": np.full((2, 3, 10), 0.1),
        "mean_purity": around([[0.7, 0.7, 0.3], [0.4, 0.4, 0.3]]),
        "purer": around([0.5, 0.5]),
        "spread_purer": around([0.95, 0.8]),
        "away": around(np.full(units, 4.0)),
        "excess": around(np.full(units, 2.0)),
        "information": around(np.array([active, [0.1, 0.1]])[:, None] * np.ones((2, units[1], 1))),
        "accuracy": 0.95,
    }


def analysed(measure, directory):
    finished = studies.run(alone(replace(SINGLE_UNITS, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_units_that_look_like_combinations_agree(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {name: found[name].verdict for name in IDS} == dict.fromkeys(IDS, "agrees")
    # 17 of 34 numbers from 0.5 to 1 lie below 0.75, 31 below 0.95.
    assert found["never-full"].measured.value == pytest.approx(30 / 34, abs=1 / 34)
    assert found["maximal-outside"].measured.value == pytest.approx(math.log10(2), abs=0.02)
    assert min(draw(SINGLE_UNITS, finished.data["single-units"].to_dataset(), SETTINGS)) > 20_000


def test_units_that_look_special_disagree(tmp_path):
    def special(task, device):
        found = law(task, device)
        if task.parameters["of"] == "picture":
            bits = found["information"][[1, 0, 2]]
            return {
                **found,
                "units_alike": found["units_alike"] + 0.4,
                "synapses_alike": found["synapses_alike"] * [0.5, 1, 1],
                "many_in_unit": found["many_in_unit"] - 0.4,
                "used": found["used"] + 0.5,
                "information": bits,
            }
        bits = found["information"] * [0.1, 1]
        return {
            **found,
            "purer": found["purer"] + 0.4,
            "mean_purity": found["mean_purity"][::-1],
            "away": np.ones_like(found["away"]),
            "information": bits if task.parameters["activation"] == "tanh" else bits[..., ::-1],
        }

    _, found = analysed(special, tmp_path)
    broken = [name for name in IDS if name not in ("never-full", "silent-picture")]
    assert {name: found[name].verdict for name in broken} == dict.fromkeys(broken, "disagrees")


@pytest.mark.slow
def test_a_small_run_gives_all_checks(tmp_path):
    settings = config(*SMALL, study=synapses.STUDY)
    data, _, found = run(SINGLE_UNITS, settings, tmp_path)
    assert list(found) == IDS
    own = data.isel(task=np.flatnonzero(data["of"].values == "picture"))
    used = own["used"].values[:, :3, :34]
    assert ((used > 0) & (used <= 1 + 1e-12)).all()
    assert min(draw(SINGLE_UNITS, data, settings)) > 20_000


def test_a_small_classifier_learns_and_its_purities_are_counted():
    known = {"of": "classifier", "activation": "relu", "start": 0, "data_set": "digits", "folder": ""}
    known |= {"epochs": 3, "seed": 0, "images": 800, "test": 300}
    found = single_units.measure(Task("synapses", "single-units", known), "cpu")
    assert found["accuracy"] > 0.8
    assert found["purity"].sum(-1) == pytest.approx(1)
    centres = np.arange(1, 11) / 10
    assert (found["purity"] * centres).sum(-1) == pytest.approx(found["mean_purity"])
    # Ten classes, ten images: at least two of one class.
    assert (found["mean_purity"] >= 0.2).all()
    # No image of the data excites a unit more than the one made for it.
    assert (found["excess"][0] > 1).all()


def test_the_chance_to_be_larger():
    assert auc(np.array([1.0, 2.0]), np.array([0.0])) == 1
    assert auc(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5
    assert auc(np.array([0.0, 3.0]), np.array([1.0, 2.0, 4.0])) == pytest.approx(2 / 6)


def test_information_of_a_half_is_what_the_construction_put_there():
    random = np.random.default_rng(0)
    values = random.permutation(np.linspace(-1, 1, 8000))
    # Below zero the class is one of four intervals, above it is drawn.
    labels = np.where(values < 0, np.floor(-4 * values.clip(-0.999)), random.integers(0, 4, 8000)).astype(int)
    silent, active = single_units._by_half(values[None], labels, random)[0]
    assert silent == pytest.approx(2, abs=0.03)
    assert active == pytest.approx(0, abs=0.01)
    constant = single_units._information(np.ones(100), labels[:100])
    assert constant == pytest.approx(0, abs=1e-12)


def test_the_maximising_image_is_the_best_of_its_norm():
    x = torch.rand(50, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 2
    weights = torch.randn(3, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    inputs = single_units._maximising(weights, x)
    assert ((inputs >= 0) & (inputs <= 1)).all()
    norm = inputs.norm(dim=1)
    assert (norm <= x.norm(dim=1).median() + 1e-12).all()
    others = torch.rand(5000, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for k in range(3):
        scaled = others / others.norm(dim=1, keepdim=True) * norm[k]
        allowed = scaled[scaled.amax(1) <= 1]
        assert float(inputs[k] @ weights[k]) > float((allowed @ weights[k]).max())
