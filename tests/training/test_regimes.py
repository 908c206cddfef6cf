"""Regimes of series whose regime is known, and the type of intermittency whose laminar lengths are."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from phasescope.citations import citation
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.training.recurrence import recurrence
from phasescope.training.regimes import autocorrelation, regimes
from phasescope.training.series_exponents import kantz, local_exponents, rosenstein
from reference.series_maps import logistic, softmax_loss

T = np.arange(400.0)
ALTERNATE = (-1.0) ** T
CYCLE_OF_THREE = np.tile([3.5, 4.2, 5.5], 134)[:400]
TANGENT = 1 + math.sqrt(8)  # where the period 3 of the logistic map is born


def noise(length, seed):
    return np.random.default_rng(seed).standard_normal(length)


KNOWN = {
    "constant": (np.full(400, 0.7), "steady"),
    "exponential": (np.exp(-0.01 * T), "converging"),
    "rising to a limit": (-np.exp(-0.01 * T), "converging"),
    "power law": ((T + 1) ** -0.5, "converging"),
    "line": (-0.1 * T, "drifting"),
    "escape": (np.exp(0.05 * T), "growing"),
    "alternating decay": (2 + np.exp(-0.01 * T) * ALTERNATE, "decaying oscillation"),
    "ringing": (np.exp(-0.01 * T) * np.cos(0.7 * T), "decaying oscillation"),
    "alternating decay on a falling loss": (
        -0.003 * T + np.exp(-0.01 * T) * ALTERNATE,
        "decaying oscillation",
    ),
    "alternating growth": (np.exp(0.01 * T) * ALTERNATE, "growing oscillation"),
    "period 2": (logistic(400, 3.2), "period 2"),
    "period 4": (logistic(400, 3.5), "period 4"),
    "period 3": (logistic(400, 3.83), "period 3"),
    "period 5": (np.tile([1.0, 4, 2, 8, 5], 80), "period 5"),
    "slow drift in three regions": (CYCLE_OF_THREE + 1e-6 * T, "drifting cycle of period 3"),
    "fast drift in two regions": (0.01 * T + ALTERNATE, "drifting cycle of period 2"),
    "chaos": (logistic(400), "irregular"),
    "noise": (noise(400, 1), "irregular"),
    "a long oscillation": (np.sin(2 * np.pi * T / 90), "slow"),
    "smooth noise": (gaussian_filter1d(noise(400, 2), 12), "slow"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_each_regime_is_told(name):
    series, kind = KNOWN[name]
    found = regimes(series, shuffles=40)
    assert found.kind == kind
    assert not found.intermittent
    if name not in {"a long oscillation", "smooth noise"}:
        assert set(found.labels) == {kind}
        assert len(found.switches) == 0
    assert found.verdict.startswith(kind[0].upper() + kind[1:])


def test_rates_and_drifts_are_those_of_the_formulas():
    assert regimes(np.exp(-0.02 * T)).growth == pytest.approx(-0.02, rel=1e-6)
    assert regimes(np.exp(-0.02 * T) * ALTERNATE).growth == pytest.approx(-0.02, rel=1e-6)
    assert regimes(CYCLE_OF_THREE + 1e-6 * T).drift == pytest.approx(1e-6, rel=1e-6)
    found = regimes(-0.1 * T)
    assert found.drift == pytest.approx(0.1)
    assert np.isnan(found.growth).all()


def test_convergence_onto_a_cycle_is_no_drift():
    # Near the end the returns of the period 3 shrink by a constant factor and keep their sign.
    found = regimes(CYCLE_OF_THREE * (1 + 1e-5 * np.exp(-0.1 * T)))
    assert set(found.labels) == {"period 3"}


@pytest.mark.parametrize(
    ("strength", "kind"), [(3, "steady"), (6.5, "period 2"), (15, "period 3"), (20, "irregular")]
)
def test_the_reduced_softmax_map_has_its_attractors(strength, kind):
    found = regimes(softmax_loss(800, strength), shuffles=40)
    assert set(found.labels) == {kind}
    assert found.irregular_share.value == (kind == "irregular")


def test_irregular_is_called_chaos_only_with_a_positive_tangent_exponent():
    x = softmax_loss(800, 20)
    alone = regimes(x, shuffles=40)
    assert alone.chaotic is None
    assert "Irregular is not chaos" in alone.verdict
    given_one = regimes(x, shuffles=40, exponent=Estimate(0.314, 0.001, "tangent", 200))
    assert given_one.chaotic
    assert "Chaotic: the tangent exponent is 0.3140 ± 0.0010 per step" in given_one.verdict
    unclear = regimes(noise(800, 3), shuffles=40, exponent=Estimate(0.01, 0.02, "tangent", 200))
    assert unclear.chaotic is False
    assert "Not shown to be chaotic" in unclear.verdict
    none = regimes(x, shuffles=40, exponent=Estimate.not_determined("the run is too short"))
    assert none.chaotic is None
    cycle = regimes(softmax_loss(800, 15), exponent=Estimate(0.3, 0.01, "tangent", 200))
    assert cycle.chaotic is False


@pytest.fixture(scope="module")
def type_one():
    """Series at two distances below the tangent bifurcation."""
    return {
        distance: regimes(logistic(steps, TANGENT - distance), shuffles=40)
        for distance, steps in ((1e-4, 30000), (1e-6, 100000))
    }


def test_type_one_intermittency_is_seen_with_its_period(type_one):
    found = type_one[1e-4]
    assert found.kind == "intermittent"
    assert found.laminar_period == 3
    assert 0.05 < found.irregular_share.value < 0.95
    assert len(found.switches) > 100
    assert set(found.labels) >= {"irregular", "drifting cycle of period 3"}
    assert "laminar stretches of period 3 last" in found.verdict
    assert found.autocorrelation.last - found.autocorrelation.first >= 40


def test_laminar_lengths_grow_as_one_over_the_root_of_the_distance(type_one):
    near, far = type_one[1e-6].mean_laminar_length, type_one[1e-4].mean_laminar_length
    ratio = near.value / far.value
    error = ratio * math.hypot(near.error / near.value, far.error / far.value)
    assert abs(ratio - 10) < 3 * error
    assert error < 2


@pytest.mark.parametrize("distance", [1e-4, 1e-6])
def test_no_laminar_stretch_outlasts_the_channel(type_one, distance):
    # Near the tangency f^3(x) - x is about a (x - c)^2 + b distance: a passage takes pi / sqrt(a b distance).
    def thrice(x, rate):
        for _ in range(3):
            x = rate * x * (1 - x)
        return x

    at = np.linspace(0.5, 0.53, 300001)
    gap = thrice(at, TANGENT) - at
    centre = at[np.abs(gap).argmin()]
    h = 1e-4
    a = (thrice(centre + h, TANGENT) - 2 * thrice(centre, TANGENT) + thrice(centre - h, TANGENT)) / (
        2 * h * h
    )
    b = (thrice(centre, TANGENT - h) - thrice(centre, TANGENT + h)) / (2 * h)
    passage = 3 * math.pi / math.sqrt(abs(a * b) * distance)
    longest = type_one[distance].laminar_lengths.max()
    assert 0.85 * passage < longest < 1.15 * passage


def test_the_distribution_of_laminar_lengths_counts_what_is_at_least_as_long():
    blocks = [np.tile([0.0, 1.0], size) for size in (10, 10, 20, 40)]
    bursts = [3 + 5 * np.random.default_rng(k).random(30) for k in range(5)]
    x = np.concatenate([part for pair in zip(bursts, [*blocks, []], strict=True) for part in pair])
    found = regimes(x, window=12, laminar_period=2, shuffles=40)
    lengths, share = found.laminar_distribution()
    np.testing.assert_array_equal(lengths, [20, 40, 80])
    np.testing.assert_allclose(share, [1, 0.5, 0.25])
    assert found.mean_laminar_length.value == 40


def test_stretches_at_the_ends_have_no_known_length():
    x = np.concatenate(
        [np.tile([0.0, 1.0], 40), 3 + np.random.default_rng(1).random(80), np.tile([0.0, 1.0], 40)]
    )
    found = regimes(x, shuffles=40)
    assert found.labels == ["period 2"] * 2 + ["irregular"] * 2 + ["period 2"] * 2
    np.testing.assert_array_equal(found.switches, [80, 160])
    assert found.intermittent
    assert len(found.laminar_lengths) == 0
    assert not found.mean_laminar_length.determined


def test_a_chaotic_transient_is_not_intermittent():
    x = np.concatenate([logistic(200), np.exp(-0.01 * T)])
    found = regimes(x, shuffles=40)
    assert not found.intermittent
    assert found.kind == "converging"
    np.testing.assert_array_equal(found.switches, [200])


def test_windows_end_with_the_series_and_leave_its_first_steps_out():
    found = regimes(logistic(415), shuffles=40)
    np.testing.assert_array_equal(found.starts, 15 + 40 * np.arange(10))


def test_float32_is_judged_by_its_own_rounding():
    x = np.full(400, 0.7, dtype=np.float32)
    x[::3] = np.nextafter(np.float32(0.7), np.float32(1))
    assert regimes(x).kind == "steady"
    assert regimes(x.astype(np.float64), shuffles=40).kind != "steady"


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        ["alternating decay", "period 4", "fast drift in two regions", "chaos", "line", "power law"]
    ),
    st.floats(1e-3, 1e3),
    st.floats(-10, 10),
)
def test_scale_and_offset_change_no_regime(name, scale, offset):
    series, _ = KNOWN[name]
    plain, moved = (regimes(x, shuffles=40).labels for x in (series, scale * (series + offset)))
    assert Counter(moved) == Counter(plain)


def test_autocorrelation_is_its_formula():
    x = noise(60, 5)
    centred = x - x.mean()
    expected = [sum(centred[t] * centred[t + k] for t in range(60 - k)) / sum(centred**2) for k in range(11)]
    np.testing.assert_allclose(autocorrelation(x, lags=10, shuffles=40).correlation, expected, atol=1e-12)


def test_the_band_of_shuffles_is_that_of_white_noise():
    # About -1/N +- 1.96/sqrt(N).
    found = autocorrelation(noise(2000, 6), lags=20)
    assert found.shuffles == 1000
    np.testing.assert_allclose(found.high[1:], 1.96 / math.sqrt(2000), rtol=0.2)
    np.testing.assert_allclose(found.low[1:], -1.96 / math.sqrt(2000), rtol=0.2)
    assert len(found.outside) <= 4


def test_a_period_lies_outside_the_band_at_every_lag():
    found = autocorrelation(np.tile([1.0, 2.0, 4.0], 100), lags=12, shuffles=100)
    np.testing.assert_array_equal(found.outside, np.arange(1, 13))
    assert found.correlation[3] == pytest.approx(0.99, abs=1e-3)


def test_the_seed_decides_the_band():
    x = noise(100, 7)
    one, same, other = (autocorrelation(x, shuffles=50, seed=seed).low for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_regular_series_has_no_irregular_stretch_to_correlate():
    assert regimes(logistic(400, 3.5)).autocorrelation is None


def test_results_name_their_papers():
    x = logistic(200)
    found = regimes(x, shuffles=40)
    for result, key in (
        (found, "danovski2024"),
        (found.autocorrelation, "danovski2024"),
        (kantz(x), "kantz1994"),
        (rosenstein(x), "schreiber1996"),
        (local_exponents(x), "danovski2024"),
        (recurrence(x, surrogates=0), "marwan2007"),
    ):
        assert f"{{{key}," in citation(result)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"window": 5}, "window = 5 is too short"),
        ({"window": 300}, "400 steps. Give at least 600"),
        ({"max_period": 1}, "max_period = 1"),
        ({"tolerance": 0.0}, "tolerance = 0.0"),
        ({"tolerance": 0.5}, "tolerance = 0.5"),
        ({"laminar_period": 0}, "laminar_period = 0"),
        ({"lags": 0}, "lags = 0"),
        ({"shuffles": 10}, "10 shuffles have no band"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        regimes(logistic(400), **arguments)


def test_series_that_cannot_be_read_are_refused():
    x = logistic(400)
    x[77] = np.inf
    with pytest.raises(InputError, match=r"inf at step 77: it diverged\. Pass the part before step 77"):
        regimes(x)
    with pytest.raises(InputError, match=r"shape \(20, 20\)"):
        regimes(np.zeros((20, 20)))
    with pytest.raises(InputError, match="constant"):
        autocorrelation(np.ones(50))
