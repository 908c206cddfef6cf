import math

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.noise.generators import coloured_noise, fractional_gaussian_noise
from phasescope.noise.spectrum import lines, local_whittle, multitaper, welch

METHODS = [welch, multitaper, local_whittle]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("beta", [0.0, 0.8, 1.2])
def test_exponent_and_error_of_an_exact_power_law(method, beta):
    found = method(coloured_noise(beta, 2048, size=400, seed=1))
    spread = found.beta.std(ddof=1)
    assert found.beta.mean() == pytest.approx(beta, abs=4 * spread / 20 + 0.01)
    # The spread of 400 values is known to 3.5 % (one standard error).
    assert found.beta_error == pytest.approx(np.full(400, spread), rel=0.16)
    inside = np.abs(found.beta - beta) < 1.96 * found.beta_error
    assert 0.9 < inside.mean() < 0.985


@pytest.mark.parametrize("method", METHODS)
def test_a_random_walk_reads_two(method):
    walk = np.cumsum(np.random.default_rng(2).standard_normal((100, 4096)), axis=-1)
    assert method(walk, frequencies=(0.005, 0.05)).beta.mean() == pytest.approx(2, abs=0.06)


def test_the_density_integrates_to_the_variance():
    x = fractional_gaussian_noise(0.7, 4096, seed=3)
    for method in METHODS:
        found = method(x)
        assert found.power.sum() * found.frequency[0] == pytest.approx(1, abs=0.12)


def test_slope_and_error_of_local_whittle_by_a_grid_of_the_likelihood():
    x = fractional_gaussian_noise(0.8, 512, seed=4)
    found = local_whittle(x)
    count = int(512**0.65)
    frequency = np.arange(1, count + 1) / 512
    power = np.abs(np.fft.rfft(x - x.mean())[1 : count + 1]) ** 2
    grid = np.linspace(-1, 2, 30_001)
    weighted = np.log((frequency ** grid[:, None] * power).mean(axis=1)) - grid * np.log(frequency).mean()
    assert found.beta == pytest.approx(grid[weighted.argmin()], abs=1e-4)
    assert found.window == (1 / 512, count / 512)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-200, 1e-12, 1e12, 1e200])
def test_scale_and_offset_do_not_matter(method, scale):
    x = fractional_gaussian_noise(0.8, 600, size=3, seed=5)
    np.testing.assert_allclose(method(scale * x).beta, method(x).beta, rtol=1e-9)
    np.testing.assert_allclose(method(x + 7).beta, method(x).beta, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_series_and_says_which_are_of_no_use(method):
    x = fractional_gaussian_noise(0.8, 600, size=(2, 2), seed=6)
    x[0, 1] = 3.0
    x[1, 0, 5] = math.nan
    found = method(x)
    assert found.beta.shape == found.beta_error.shape == found.reason.shape == (2, 2)
    assert found.estimate((1, 1)).value == pytest.approx(float(method(x[1, 1]).beta), rel=1e-12)
    assert found.estimate((0, 1)).reason == "the series is constant"
    assert found.estimate((1, 0)).reason == "NaN or Inf in the series"
    assert np.isnan(found.beta_error[0, 1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("length", [0, 1, 3, 10])
def test_too_short(method, length):
    found = method(np.arange(length) % 3)
    assert "fewer than 5 frequencies" in found.estimate().reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: welch(x, frequencies=(0.2, 0.1)), "is no window"),
        (lambda x: multitaper(x, frequencies=(0.0, 0.1)), "is no window"),
        (lambda x: local_whittle(x, frequencies=(0.1, 0.6)), "is no window"),
        (lambda x: welch(x, segment=101), "segment = 101"),
        (lambda x: multitaper(x, bandwidth=0.5), "bandwidth = 0.5"),
        (lambda x: welch(x + 1j), "complex128"),
        (lambda x: welch(3.0), "of shape"),
        (lambda x: welch(["a", "b"]), "<U1"),
    ],
)
def test_unusable_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call(fractional_gaussian_noise(0.7, 100, seed=7))


@pytest.mark.parametrize(("period", "noise"), [(2.7, 1.0), (24.0, 0.1), (101.3, 1.0)])
def test_the_error_of_a_period_is_that_of_many_series(period, noise):
    t = np.arange(1000)
    random = np.random.default_rng(1)
    found = []
    for _ in range(40):
        wave = np.sqrt(2) * np.sin(2 * np.pi * (t / period + random.random()))
        found.append(lines(wave + noise * random.standard_normal(1000)))
    assert all(len(one.share) == 1 for one in found)
    apart = [(one.period[0] - period) / one.period_error[0] for one in found]
    assert np.std(apart) == pytest.approx(1, abs=0.45)
    assert np.mean([one.total for one in found]) == pytest.approx(1 / (1 + noise**2), abs=0.02)
    assert np.mean([one.rest.var() for one in found]) == pytest.approx(noise**2, rel=0.05)


def test_harmonics_are_one_period_and_unrelated_tones_are_two():
    t = np.arange(2400)
    (one,) = lines(t % 24).periods()
    assert one.value == pytest.approx(24, rel=1e-6)
    # Only the second and the third harmonic of 24.
    (one,) = lines(np.sin(2 * np.pi * t / 12) + np.sin(2 * np.pi * t / 8 + 1)).periods()
    assert one.value == pytest.approx(24, rel=1e-6)
    two = lines(np.sin(2 * np.pi * t / 10) + np.sin(2 * np.pi * t / 10.7)).periods()
    assert [one.value for one in two] == pytest.approx([10.7, 10], rel=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_noise_has_no_lines(seed):
    random = np.random.default_rng(seed)
    for x in (
        fractional_gaussian_noise(0.9, 1000, seed=random),
        random.standard_normal(1000).cumsum(),
        random.standard_cauchy(1000),
        np.diff(random.standard_normal(1001)),
    ):
        found = lines(x)
        assert not len(found.share)
        assert found.band is None
        np.testing.assert_allclose(found.rest, x - x.mean(), atol=1e-9 * np.abs(x).max())


def test_what_drifts_is_a_band_and_no_line():
    t = np.arange(2000)
    found = lines(np.sin(2 * np.pi * (0.01 * t + 1e-5 * t**2)))
    assert not len(found.share)
    shortest, longest = found.band
    # From 0.01 to 0.05 cycles a step.
    assert shortest == pytest.approx(20, rel=0.1)
    assert longest == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("x", [np.ones(100), np.arange(30) % 7, np.full(100, math.nan)])
def test_no_lines_where_there_is_nothing_to_see(x):
    found = lines(x)
    assert found.total == 0
    assert found.periods() == []
    assert str(found) == "no lines"


@pytest.mark.parametrize("length", [480, 500, 2000])
def test_a_period_is_exact_where_one_of_its_harmonics_lies_at_half_a_cycle_a_step(length):
    found = lines(np.arange(length) % 24).periods()
    assert len(found) == 1
    assert abs(found[0].value - 24) < 2 * found[0].error < 1e-5


def test_the_error_of_a_period_is_its_scatter():
    random = np.random.default_rng(1)
    pulse = (np.arange(600) % 23.7 < 5).astype(float)
    found = [lines(pulse + 0.3 * random.standard_normal(600)).periods()[0] for _ in range(12)]
    off = np.array([(each.value - 23.7) / each.error for each in found])
    assert 0.4 < np.sqrt((off**2).mean()) < 1.7
