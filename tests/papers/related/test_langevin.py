"""Directions that the data fix: a tiny run, and claims on made data."""

import math
from dataclasses import replace

import numpy as np
import pytest

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.langevin import LANGEVIN, _images
from phasescope.theory import semi_implicit_variance

SETTINGS = config("langevin.seeds=3", "langevin.draws=1", study=related.STUDY)
STEP = semi_implicit_variance(0.01, 50, 0.1, 2, 10)


def made(task, device, *, bend=0.0, untrained=math.nan, step=STEP, ratio=2.0):
    """What quadratic basins give, apart from `bend`; those of longer training never are."""
    known, random = task.parameters, np.random.default_rng(task.seed)
    if known["kind"] == "step":
        return {"value": step, "error": 1e-5}
    half = 5.0 * (1 + (ratio - 1) * known["noise"]) + 0.01 * random.standard_normal()
    excess = half * (0.5 if known["kind"] == "long" else bend + 0.001 * random.standard_normal())
    value = untrained if known["kind"] == "untrained" else half + excess
    numbers = {"error": 0.05, "half": half, "excess": excess, "uncorrected_error": 0.2, "loss": 0.1}
    return {"value": value, **numbers}


def judged(directory, **changes):
    part = replace(LANGEVIN, measure=lambda task, device: made(task, device, **changes))
    finished = studies.run(alone(part), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_quadratic_basins_are_told_as_such(tmp_path):
    finished, found = judged(tmp_path)
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "agrees")
    assert len(found) == 8
    assert found["ratio"].measured.value == pytest.approx(2.0, abs=0.02)
    assert found["vanishing-loss"].measured.value == pytest.approx(0.5)
    assert len(finished.analyses["langevin"].tables[0].rows) == 3
    assert min(draw(LANGEVIN, finished.data["langevin"].to_dataset(), SETTINGS)) > 10_000


def test_other_basins_break_the_claims(tmp_path):
    _, found = judged(tmp_path, bend=-0.3, untrained=4.0, step=1.1 * STEP, ratio=6.0)
    broken = {name for name, check in found.items() if check.verdict == "disagrees"}
    assert broken == set(found) - {"vanishing-loss"}


def test_a_share_of_the_labels_is_drawn_anew():
    (x, true), (_, half) = (_images(0, 500, noise) for noise in (0.0, 0.5))
    assert x.shape == (500, 16)
    assert float(x.std()) == pytest.approx(1)
    assert float((true != half).double().mean()) == pytest.approx(0.45, abs=0.08)


def test_a_tiny_run_gives_every_check(tmp_path):
    sizes = ("seeds=2", "samples=100", "steps=30", "long=30", "chain=100", "draws=1")
    data, _, found = run(
        LANGEVIN, config(*(f"langevin.{size}" for size in sizes), study=related.STUDY), tmp_path
    )
    assert len(found) == 8
    assert data.sizes["task"] == 1 + 2 * 4
    assert found["semi-implicit"].verdict == "agrees"
