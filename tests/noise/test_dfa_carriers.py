"""Series whose curve one place carries, and those whose curve none does."""

import numpy as np
import pytest
from scipy.stats import levy_stable

from phasescope.noise import dfa, population
from phasescope.noise.generators import arfima, autoregressive, fractional_gaussian_noise

pytestmark = pytest.mark.usefixtures("coarse_errors")

WHITE = 800 + 30 * np.random.default_rng(3).standard_normal(2000)
BEATS = WHITE.copy()
BEATS[1000] *= 2
SPIKE = WHITE.copy()
SPIKE[1000] += 100 * 30
HUGE = WHITE.copy()
HUGE[1000] += 1e4 * 30


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (BEATS, {}),
        (SPIKE, {}),
        (SPIKE, {"windows": [10, 30, 100], "correct_bias": True}),
        (HUGE, {"order": 2}),
        pytest.param(SPIKE, {"both_ends": False}, marks=pytest.mark.slow),
        pytest.param(SPIKE, {"overlap": True}, marks=pytest.mark.slow),
        pytest.param(HUGE, {"order": 3}, marks=pytest.mark.slow),
    ],
)
def test_one_value_does_not_make_the_exponent(x, options):
    found, clean = dfa(x, **options), dfa(WHITE, **options)
    assert np.isnan(found.alpha)
    assert np.isnan(found.beta)
    assert found.carrier.tolist() == [1000, 1000]
    assert f"the value {x[1000]:.5g} at index 1000 carries the curve" in str(found.reason)
    assert f"without, alpha = {found.robust:.3f}" in str(found.reason)
    assert abs(found.robust - 0.5) < 2.58 * found.robust_error
    # It is the exponent of the values that are left, which are those of the white series.
    assert abs(found.robust - clean.alpha) < clean.alpha_error / 2
    assert found.robust_error == pytest.approx(clean.alpha_error, rel=0.15)


@pytest.mark.parametrize("x", [WHITE, WHITE.astype(np.float32), WHITE - 800])
def test_where_nothing_carries_the_curve_both_exponents_are_one(x):
    found = dfa(x)
    assert found.reason == ""
    assert found.carrier.tolist() == [-1, -1]
    assert (found.robust, found.robust_error) == (found.alpha, found.alpha_error)


def test_a_jump_of_a_random_walk_is_a_place_and_not_a_value():
    walk = np.random.default_rng(3).standard_normal(2000).cumsum()
    walk[1000:] += 100
    found = dfa(walk)
    first, last = found.carrier
    assert first <= 1000 <= last < first + 20
    assert f"the values from index {first} to {last}" in str(found.reason)
    assert abs(found.robust - 1.5) < 2.58 * found.robust_error


def test_several_places_are_counted_and_the_strongest_is_named():
    x = np.random.default_rng(5).standard_normal(2000)
    x[[500, 1500, 1700]] += [60, -90, 40]
    found = dfa(x)
    assert found.carrier.tolist() == [1500, 1500]
    assert "3 places carry the curve" in str(found.reason)
    assert abs(found.robust - 0.5) < 2.58 * found.robust_error


@pytest.mark.slow
def test_an_outlier_that_moves_nothing_is_no_reason():
    # 15 deviations among 65536 values are 0.3 % of the power.
    x = np.random.default_rng(4).standard_normal(65536)
    clean = dfa(x)
    x[30_000] += 15
    found = dfa(x)
    assert found.reason == ""
    assert abs(found.alpha - clean.alpha) < clean.alpha_error / 2


def test_a_batch_names_the_place_of_each_series():
    x = np.stack([WHITE, SPIKE, np.roll(SPIKE, 300)]).reshape(3, 1, 2000)
    found = dfa(x)
    assert found.carrier[:, 0].tolist() == [[-1, -1], [1000, 1000], [1300, 1300]]
    assert (found.reason[:, 0] == "").tolist() == [True, False, False]
    np.testing.assert_allclose(found.robust[1, 0], dfa(SPIKE).robust, rtol=1e-9)


@pytest.mark.parametrize(
    "x",
    [
        autoregressive([0.8], 500, size=200, seed=1),
        autoregressive([0.9], 2000, size=50, seed=1),
        np.tanh(3 * fractional_gaussian_noise(0.8, 500, size=200, seed=2)),
        arfima(0.2, 500, size=200, seed=3).cumsum(axis=-1),
    ],
    ids=["short memory", "long series of short memory", "saturated", "summed"],
)
def test_bends_and_saturation_are_no_places(x):
    found = dfa(x)
    # At most one in a hundred.
    assert (found.carrier[:, 0] >= 0).sum() <= 2
    assert np.isfinite(found.alpha).mean() > 0.97


def test_misfit_is_a_share_of_gaussian_noise():
    found = dfa(fractional_gaussian_noise(0.7, 500, size=1000, seed=6))
    # Within 4 binomial errors, and what 256 simulated series leave open.
    for share in (0.05, 0.5):
        assert np.mean(found.misfit < share) == pytest.approx(share, abs=0.02 + 4 * np.sqrt(share / 1000))
    assert dfa(SPIKE).misfit < 1e-6
    assert np.isnan(dfa(np.zeros(500)).misfit)


def test_a_population_counts_places_under_one_reason():
    x = np.random.default_rng(2).standard_normal((4, 3, 500))
    x[0, 0, 100] = x[1, 0, 200] = x[2, 1, 300] = 60
    assert population(x, tests=0).reasons == {"carried by single places": 3}


def levy(length, size, seed):
    return levy_stable.rvs(1.5, 0, size=(size, length), random_state=np.random.default_rng(seed))


def test_heavy_tails_are_withheld():
    found = dfa(levy(2000, 40, 1))
    assert np.isnan(found.alpha).mean() > 0.75
    inside = np.abs(found.robust - 0.5) < 1.96 * found.robust_error
    assert inside.mean() > 0.7


@pytest.mark.slow
def test_intervals_of_heavy_tails_cover_or_are_withheld():
    kept, covered, robust = 0, 0, []
    for length, size in ((500, 1500), (1000, 800), (2000, 800)):
        white = levy(length + 1, size, length)
        averaged = white[:, 1:] + 0.5 * white[:, :-1]
        gauss = np.random.default_rng(0).standard_normal((500, length + 1))
        known = dfa(gauss[:, 1:] + 0.5 * gauss[:, :-1]).alpha.mean()
        for x, truth in ((white[:, 1:], 0.5), (averaged, known)):
            found = dfa(x)
            inside = np.abs(found.alpha - truth) < 1.96 * found.alpha_error
            kept += np.isfinite(found.alpha).sum()
            covered += inside.sum()
            robust.append(np.abs(found.robust - truth) < 1.96 * found.robust_error)
    assert kept > 500
    assert 0.90 < covered / kept < 0.97
    assert np.concatenate(robust).mean() > 0.87


@pytest.mark.slow
@pytest.mark.parametrize("order", [1, 2, 3])
def test_false_alarms_of_gaussian_noise(order):
    count = alarms = rough = 0
    for alpha in (0.1, 0.5, 0.9, 1.1, 1.5, 1.9):
        if alpha < 1:
            x = fractional_gaussian_noise(alpha, 1000, size=1000, seed=31)
        else:
            x = arfima(alpha - 1.5, 1000, size=1000, seed=32).cumsum(axis=-1)
        found = dfa(x, order=order)
        count += len(x)
        alarms += (found.carrier[:, 0] >= 0).sum()
        rough += (found.misfit < 0.01).sum()
    assert alarms < 0.005 * count
    assert rough < 0.025 * count
