"""Exponents at rate 1: the paper's numbers as data, what is none of them, and a small run."""

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.exponential_growth import (
    EXPONENTIAL_GROWTH,
    EXPONENTS,
    best_window,
)

pytestmark = pytest.mark.whole

SMALL = (
    "exponential_growth.starts=20",
    "exponential_growth.long_steps=60",
    "exponential_growth.sizes=[1e-14,1e-8]",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(EXPONENTIAL_GROWTH, settings, tmp_path_factory.mktemp("growth"))


def following(*, means=EXPONENTS, tangent=0.33, whole=0.21, deviation=0.1, peaks=1, loss=0.05, seed=0):
    """Five hundred initialisations with exponents around the paper's numbers, nine in ten of them kept."""
    random = np.random.default_rng(seed)
    common = random.standard_normal(500)  # an initialisation is fast or slow at every size
    if peaks == 2:
        common = 3 * np.sign(common) + 0.5 * random.standard_normal(500)
    exponents = np.array([mean * (1 + 0.35 * common) for mean in means.values()])
    exponents[random.random(exponents.shape) > 0.9] = np.nan
    late = np.full((16, 301), 30.0) + np.arange(16)[:, None]
    late[:, 0] = 3.5e-7
    kinds = ["copies"] * len(means) + ["tangent", "long"]
    rows = len(kinds)
    nothing = np.full((rows, 500), np.nan)
    found = {name: nothing.copy() for name in ("exponent", "whole", "first", "last")}
    found["exponent"][: len(means)] = exponents
    found["exponent"][-2] = tangent + deviation * common
    found["whole"][-2] = whole + 0.5 * deviation * common
    long = {name: np.full((rows, 16, 301), np.nan) for name in ("long_distance", "long_loss")}
    long["long_distance"][-1] = late
    long["long_loss"][-1] = loss + 0.01 * (np.arange(301) % 2) + 0.002 * np.arange(16)[:, None]
    distance = np.array([3.5e-7, 1e-3, 3.0]) * np.exp(0.3 * common)[:, None] * np.ones((rows, 1, 1))
    arrays = {name: (("task", "start"), values) for name, values in found.items()}
    arrays |= {name: (("task", "run", "long_step"), values) for name, values in long.items()}
    arrays["distance"] = (("task", "start", "step"), distance)
    coordinates = {"kind": ("task", kinds), "size": ("task", [*means, 0.0, 1e-8])}
    return xr.Dataset(arrays, coordinates)


def settings_with(settings, means=EXPONENTS):
    part = settings.exponential_growth.model_copy(update={"sizes": tuple(means)})
    return settings.model_copy(update={"exponential_growth": part})


def test_the_numbers_of_the_paper_agree(small):
    settings, _, _, _ = small
    found = checks(analysed(EXPONENTIAL_GROWTH, following(), settings_with(settings)).checks)
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "agrees")
    assert found["limit"].measured.value == pytest.approx(0.33, abs=0.015)
    assert found["kept"].measured.value == pytest.approx(0.9, abs=0.04)


def test_other_numbers_disagree(small):
    settings, _, _, _ = small
    means = dict.fromkeys(EXPONENTS, 0.3)
    wrong = following(means=means, tangent=0.2, whole=0.25, loss=1.1)
    found = checks(analysed(EXPONENTIAL_GROWTH, wrong, settings_with(settings, means)).checks)
    broken = {"size-1e-04", "size-1e-02", "limit", "limit-reached", "window", "learns"}
    assert {found[name].verdict for name in broken} == {"disagrees"}


def test_two_peaks_are_seen(small):
    settings, _, _, _ = small
    wrong = following(peaks=2)
    found = checks(analysed(EXPONENTIAL_GROWTH, wrong, settings_with(settings)).checks)
    assert found["one-peak"].verdict == "disagrees"


def test_the_best_window_is_where_growth_is_exponential():
    t = np.arange(200.0)
    logs = np.where(t < 50, 0.0, np.where(t < 100, 0.3 * (t - 50), 15.0))
    slope, r_squared, first, last = best_window(logs)
    assert slope == pytest.approx(0.3)
    assert r_squared == pytest.approx(1.0)
    assert first >= 50
    assert last <= 100
    assert np.isnan(best_window(0.01 * t)[0])  # too slow to be kept
    assert np.isnan(best_window(np.sin(t))[0])  # no line


def test_a_small_run_contradicts_nothing(small):
    settings, data, analysis, found = small
    growing = data.isel(task=np.flatnonzero(data["kind"].values == "copies"))
    # 70 weights, each moved by half of the size on average, within 3 of 10 copies' deviation.
    start = 35 * growing["size"].values[:, None] * np.ones(20)
    assert growing["distance"].values[..., 0] == pytest.approx(start, rel=0.15)
    assert found["size-1e-08"].measured.value == pytest.approx(0.28, abs=0.1)
    assert found["window"].verdict != "disagrees"
    assert [row[0] for row in analysis.tables[0].rows] == ["infinitely small", "1e-14", "1e-08"]
    assert min(draw(EXPONENTIAL_GROWTH, data, settings)) > 10_000
