import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasescope.errors import InputError
from phasescope.noise.dfa import dfa
from phasescope.noise.generators import autoregressive, coloured_noise, fractional_gaussian_noise
from phasescope.noise.spectrum import multitaper, welch
from phasescope.noise.verdict import consistency, verdict

pytestmark = pytest.mark.usefixtures("coarse_errors")


def walk(length, seed):
    return np.cumsum(np.random.default_rng(seed).standard_normal(length))


# That 1/f noise of 4096 values is no sum of two to four relaxation times, no test can tell: "straight".
CLEAR = [
    ("white", autoregressive([], 4096, seed=1), 0.0),
    ("straight", fractional_gaussian_noise(0.9, 4096, seed=2), 0.8),
    ("brown", walk(4096, 3), 2.0),
    ("straight", fractional_gaussian_noise(0.65, 4096, seed=4), 0.3),
]


@pytest.mark.parametrize(("kind", "x", "beta"), CLEAR, ids=["white", "fGn 0.9", "brown", "fGn 0.65"])
def test_noises_that_scale_are_told_apart(kind, x, beta):
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
    assert kinds["1/f"] + kinds["power law"] + kinds["straight"] <= 1
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
    assert data["verdict"] == found.kind == "straight"
    assert data["beta"] == pytest.approx(2 * data["alpha"] - 1)
    assert data["beta_error"] == pytest.approx(2 * data["alpha_error"])
    assert len(data["windows"]) == len(data["fluctuation"])
    assert data["nulls"]["autoregressive"]["p_short_memory"] <= 0.025
    assert len(data["nulls"]["autoregressive"]["expected_fluctuation"]) == len(data["windows"])
    relaxations = data["nulls"]["relaxations"]
    assert not relaxations["excluded"]
    assert relaxations["p"][-1] > 0.025
    assert sum(relaxations["shares"]) == pytest.approx(1)
    text = str(found)
    assert text.startswith("verdict: straight\n")
    assert "excluded" in text
    assert "two relaxation times" in text
    assert max(map(len, text.splitlines()[2:])) <= 110


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


T = np.arange(2000)
WHITE = np.random.default_rng(6).standard_normal(2000)


@pytest.mark.parametrize(
    ("x", "periods"),
    [
        (np.sin(2 * np.pi * T / 24), ["24"]),
        (1e-9 * np.sin(2 * np.pi * T / 17.3 + 1) + 1e-3, ["17.3"]),
        (np.sin(2 * np.pi * T / 24) + 0.7 * np.sin(2 * np.pi * T / 37.3), ["37.3", "24"]),
        (T % 24, ["24"]),
        (np.sign(np.sin(2 * np.pi * (T + 0.5) / 24)), ["24"]),
    ],
    ids=["sine", "sine on an offset", "two tones", "sawtooth", "square"],
)
def test_a_periodic_series_is_called_so_with_its_period(x, periods):
    found = verdict(x)
    assert found.kind == "periodic"
    assert found.reason.endswith(": 100 % of the variance.")
    assert found.reason.removeprefix("Periods ").removeprefix("Period ").split(":")[0] == " and ".join(
        periods
    )
    assert found.test is None
    assert not found.alpha.determined
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [line["period"] for line in data["lines"]] == pytest.approx([float(one) for one in periods])


def test_a_period_above_noise_is_stated_and_the_noise_is_judged_without_it():
    noise = fractional_gaussian_noise(0.9, 2000, seed=1)
    alone = verdict(noise, copies=60)
    for amplitude, kind in ((0.7, "straight"), (3.0, "periodic")):  # the line carries 20 and 82 %
        x = noise + amplitude * np.sin(2 * np.pi * T / 24)
        found = verdict(x, copies=60)
        assert found.kind == kind
        assert found.lines.total == pytest.approx(1 - noise.var() / x.var(), abs=0.02)
        period = found.lines.periods()[0]
        assert abs(period.value - 24) < 4 * period.error < 0.1
        assert float(found.fluctuations.alpha) == pytest.approx(float(alone.fluctuations.alpha), abs=0.01)
        assert ("Without it: straight" in found.reason) == (kind == "periodic")
        assert "two relaxation times" in found.reason
        assert "without its lines" in str(found)


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize(
    "wave",
    [np.sin(2 * np.pi * (0.01 * T + 1e-5 * T**2)), np.exp(-T / 300) * np.sin(2 * np.pi * T / 20)],
    ids=["chirp", "damped sine"],
)
def test_an_oscillation_that_drifts_or_dies_out_is_not_determined(wave, noise):
    found = verdict(wave + noise * wave.std() * WHITE)
    assert found.kind == "not determined"
    assert "most of the variance lies at periods of" in found.reason.lower()
    assert found.test is None
    assert not found.alpha.determined


AWKWARD = {
    "steps": st.lists(st.sampled_from([-1e150, -1.0, 0.0, 1e-150, 1.0, 2.0]), min_size=1, max_size=8),
    "levels": st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30),
}


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    pattern=st.one_of(*AWKWARD.values()),
    stretch=st.integers(1, 40),
    slope=st.sampled_from([0.0, 1.0, 1e-8]),
    noise=st.sampled_from([0.0, 1e-12, 0.1]),
)
def test_no_finite_series_ends_in_an_error(pattern, stretch, slope, noise):
    t = np.arange(170)
    scale = np.abs(pattern).max() or 1.0
    x = np.resize(np.repeat(pattern, stretch), 170) + scale * (slope * t + noise * WHITE[:170])
    found = verdict(x, copies=40)
    assert found.kind
    json.dumps(found.to_dict(), allow_nan=False)
