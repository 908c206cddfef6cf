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

pytestmark = pytest.mark.whole

SETTINGS = config("langevin.seeds=3", "langevin.draws=1", study=related.STUDY)
SERIES = config(
    *("langevin.seeds=3", "langevin.draws=1", "langevin.sizes=[100,200,400]", "langevin.cold=[0.25,1,4]"),
    study=related.STUDY,
)
STEP = semi_implicit_variance(0.01, 50, 0.1, 2, 10)
SERIES_IDS = {
    *("samples-close-true", "samples-close-random", "samples-more-true", "samples-more-random"),
    *("temperature", "cold-limit"),
}


def made(task, device, *, bend=0.0, untrained=math.nan, step=STEP, ratio=2.0):
    """What quadratic basins give, apart from `bend`; those of longer training never are."""
    known, random = task.parameters, np.random.default_rng(task.seed)
    if known["kind"] == "step":
        return {"value": step, "error": 1e-5}
    if known["kind"] == "series":
        return series(known, random)
    half = 5.0 * (1 + (ratio - 1) * known["noise"]) + 0.01 * random.standard_normal()
    excess = half * (0.5 if known["kind"] == "long" else bend + 0.001 * random.standard_normal())
    value = untrained if known["kind"] == "untrained" else half + excess
    numbers = {"error": 0.05, "half": half, "excess": excess, "uncorrected_error": 0.2, "loss": 0.1}
    return {"value": value, **numbers}


def series(known, random, *, sign=-1, rest=0.0):
    """More directions with more samples, and a difference from quadratic in proportion to temperature."""
    half = 5.0 + 0.01 * known["samples"] * -sign
    excess = half * (rest + sign * 0.02 / known["cold"] + 0.0005 * random.standard_normal())
    numbers = {"error": 0.05, "half": half, "excess": excess, "uncorrected_error": 0.2, "loss": 0.1}
    return {"value": half + excess, **numbers}


def judged(directory, settings=SETTINGS, measure=made, **changes):
    part = replace(LANGEVIN, measure=lambda task, device: measure(task, device, **changes))
    finished = studies.run(alone(part), settings, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_quadratic_basins_are_told_as_such(tmp_path):
    finished, found = judged(tmp_path)
    later = {name for name, check in found.items() if check.verdict == "not determined"}
    assert later == SERIES_IDS
    assert {found[name].verdict for name in set(found) - later} == {"agrees"}
    assert len(found) == 14
    assert "preset paper" in found["cold-limit"].measured.reason
    assert found["ratio"].measured.value == pytest.approx(2.0, abs=0.02)
    assert found["vanishing-loss"].measured.value == pytest.approx(0.5)
    assert len(finished.analyses["langevin"].tables[0].rows) == 3
    assert min(draw(LANGEVIN, finished.data["langevin"].to_dataset(), SETTINGS)) > 10_000


def test_other_basins_break_the_claims(tmp_path):
    _, found = judged(tmp_path, bend=-0.3, untrained=4.0, step=1.1 * STEP, ratio=6.0)
    broken = {name for name, check in found.items() if check.verdict == "disagrees"}
    assert broken == set(found) - {"vanishing-loss"} - SERIES_IDS


def test_a_difference_that_goes_with_the_temperature_is_told_as_such(tmp_path):
    finished, found = judged(tmp_path, SERIES)
    assert {found[name].verdict for name in SERIES_IDS} == {"agrees"}
    assert found["temperature"].measured.value == pytest.approx(0.075, abs=0.002)
    assert len(finished.analyses["langevin"].tables[1].rows) == 2 * 5
    sizes = draw(LANGEVIN, finished.data["langevin"].to_dataset(), SERIES)
    assert len(sizes) == 2
    assert min(sizes) > 10_000


def test_another_difference_breaks_the_claims_on_series(tmp_path):
    def otherwise(task, device):
        if task.parameters["kind"] != "series":
            return made(task, device)
        return series(task.parameters, np.random.default_rng(task.seed), sign=1, rest=0.3)

    _, found = judged(tmp_path, SERIES, otherwise)
    assert {found[name].verdict for name in SERIES_IDS} == {"disagrees"}


def test_a_share_of_the_labels_is_drawn_anew():
    (x, true), (_, half) = (_images(0, 500, noise) for noise in (0.0, 0.5))
    assert x.shape == (500, 16)
    assert float(x.std()) == pytest.approx(1)
    assert float((true != half).double().mean()) == pytest.approx(0.45, abs=0.08)


def test_a_tiny_run_gives_every_check(tmp_path):
    sizes = ("seeds=2", "samples=100", "steps=30", "long=30", "chain=100", "draws=1")
    sizes += ("sizes=[60,80]", "cold=[1.0,4.0]")
    data, _, found = run(
        LANGEVIN, config(*(f"langevin.{size}" for size in sizes), study=related.STUDY), tmp_path
    )
    assert len(found) == 14
    assert data.sizes["task"] == 1 + 2 * (4 + 2 * 3)
    warm, cold = (data.isel(task=(data.kind == "series") & (data.cold == each)) for each in ("1.0", "4.0"))
    half = [part["half"].where(part.samples == 80, drop=True).values for part in (warm, cold)]
    assert half[0] == pytest.approx(half[1])  # the quadratic part stays
    assert found["semi-implicit"].verdict == "agrees"
