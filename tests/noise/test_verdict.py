import json
import math
from collections import Counter

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.noise.dfa import dfa
from phasescope.noise.generators import autoregressive, coloured_noise, fractional_gaussian_noise
from phasescope.noise.spectrum import multitaper, welch
from phasescope.noise.verdict import consistency, verdict

pytestmark = pytest.mark.usefixtures("coarse_errors")


def walk(length, seed):
    return np.cumsum(np.random.default_rng(seed).standard_normal(length))


CLEAR = {
    "white": (autoregressive([], 4096, seed=1), 0.0),
    "1/f": (fractional_gaussian_noise(0.9, 4096, seed=2), 0.8),
    "brown": (walk(4096, 3), 2.0),
    "power law": (fractional_gaussian_noise(0.65, 4096, seed=4), 0.3),
}


@pytest.mark.parametrize("kind", CLEAR)
def test_noises_that_scale_are_told_apart(kind):
    x, beta = CLEAR[kind]
    found = verdict(x, copies=80)
    assert found.kind == kind
    assert abs(found.beta.value - beta) < 4 * found.beta.error
    assert abs(found.difference.value) < 4 * found.difference.error
    assert found.shuffled.value == pytest.approx(0.5, abs=4 * found.shuffled.error / math.sqrt(50) + 0.01)


def test_a_sum_of_walks_scales_at_a_higher_order():
    found = verdict(np.cumsum(walk(2000, 20)), order=3, copies=80)
    assert found.test.p_scaling > 0.025
    assert abs(found.beta.value - 4) < 4 * found.beta.error


def test_short_memory_that_looks_like_1_f_is_told_from_it():
    # A leaky integrator with 4.5 steps of memory reads beta = 0.75 in windows of 10 to 125 at N = 500.
    series = autoregressive([0.8], 500, size=30, seed=5)
    windows = np.unique(np.geomspace(10, 125, 16).round().astype(int))
    found = [verdict(x, windows=windows, copies=80) for x in series]
    curves = np.log([each.fluctuations.fluctuation for each in found])
    slopes = np.polyfit(np.log(windows), curves.T, 1)[0]
    assert np.mean(2 * slopes - 1) == pytest.approx(0.75, abs=4 * 0.18 / math.sqrt(30))
    kinds = Counter(each.kind for each in found)
    assert kinds["1/f"] + kinds["power law"] <= 1
    assert kinds["short memory"] >= 15
    assert "AR(1) with a memory of" in next(each for each in found if each.kind == "short memory").reason


def test_a_bend_that_no_short_memory_explains_is_a_crossover():
    # Anti-persistent at short times, nearly 1/f at long ones.
    fast = fractional_gaussian_noise(0.2, 4096, seed=3)
    x = fast + 0.2 * fractional_gaussian_noise(0.98, 4096, seed=53)
    found = verdict(x, copies=80)
    assert found.kind == "crossover"
    assert "no one exponent" in found.reason


@pytest.mark.parametrize(
    ("x", "word"),
    [
        (np.ones(500), "constant"),
        (np.arange(60.0), "short"),
        (np.array([0.1] * 300 + [math.nan] + [0.2] * 300), "finite"),
        (np.tile([0.0, 1.0], 300), "two"),
    ],
)
def test_no_exponent_no_verdict(x, word):
    found = verdict(x)
    assert found.kind == "not determined"
    assert word in found.reason.lower()
    assert not found.alpha.determined
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["alpha"] is None
    assert str(found).startswith("verdict: not determined\n")


def test_json_and_text():
    found = verdict(1e-9 * fractional_gaussian_noise(0.9, 2000, seed=8), copies=80)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["verdict"] == found.kind == "1/f"
    assert data["beta"] == pytest.approx(2 * data["alpha"] - 1)
    assert data["beta_error"] == pytest.approx(2 * data["alpha_error"])
    assert len(data["windows"]) == len(data["fluctuation"])
    assert data["nulls"]["autoregressive"]["p_short_memory"] <= 0.025
    assert len(data["nulls"]["autoregressive"]["expected_fluctuation"]) == len(data["windows"])
    text = str(found)
    assert text.startswith("verdict: 1/f\n")
    assert "excluded" in text
    assert max(map(len, text.splitlines())) <= 110


def test_consistency_is_the_difference_with_both_errors():
    x = coloured_noise(0.6, 4096, size=(2, 3), seed=9)
    measured, spectrum = dfa(x), multitaper(x)
    found = consistency(measured, spectrum, (1, 2))
    assert found.value == pytest.approx(spectrum.beta[1, 2] - 2 * measured.alpha[1, 2] + 1)
    assert found.error == pytest.approx(math.hypot(spectrum.beta_error[1, 2], 2 * measured.alpha_error[1, 2]))
    x[0, 0] = 1.0
    assert not consistency(dfa(x), welch(x), (0, 0)).determined


def test_one_series_at_a_time():
    with pytest.raises(InputError, match="has shape"):
        verdict(np.zeros((2, 500)))
    with pytest.raises(InputError, match="5 copies"):
        verdict(np.arange(500.0), copies=5)
