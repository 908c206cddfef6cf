import numpy as np
import pytest

from phasescope.citations import BIBTEX
from phasescope.errors import InputError
from phasescope.theory import FiniteWidthScaling, critical_line, finite_width_scaling

TANH = finite_width_scaling(critical_line("tanh", 0.3))
CASES = [TANH, FiniteWidthScaling(0.5, 1.0, 0.8), FiniteWidthScaling(0.5, 1.0, -1.0)]

# t: (f, its error), 20000 simulated paths of an independent program for tanh at sigma_b = 0.3.
PATHS = {
    0.1: (40.49, 0.11),
    0.2: (19.13, 0.07),
    0.3: (12.01, 0.06),
    0.75: (3.73, 0.03),
    1.0: (2.495, 0.026),
    2.0: (0.759, 0.013),
    3.0: (0.310, 0.008),
}


@pytest.mark.parametrize("t", PATHS)
def test_published_paths(t):
    value, error = PATHS[t]
    assert float(TANH.mean(t)) == pytest.approx(value, abs=4 * error)


@pytest.mark.parametrize("law", CASES)
def test_simulated_paths(law):
    random = np.random.default_rng(1)
    paths, steps, T = 40000, 500, 1.5
    dt = T / steps
    log, integral = np.zeros(paths), np.zeros(paths)
    for _ in range(steps):
        moved = log + (law.a - law.v / 2) * dt + np.sqrt(law.v * dt) * random.standard_normal(paths)
        integral += dt * (np.exp(log) + np.exp(moved)) / 2
        log = moved
    x = np.exp(log) / (law.kappa * integral)
    for samples, value in (
        (x, law.mean(T)),
        (np.log(x), np.log(law.typical(T))),
        (x * x / np.exp(log), law.onset(T)),
        (x / np.exp(log), law.typical_onset(T)),
    ):
        assert samples.mean() == pytest.approx(float(value), abs=4 * samples.std() / paths**0.5)


@pytest.mark.parametrize("law", CASES)
def test_shallow_networks(law):
    t = np.array([1e-6, 1e-5, 1e-4]) / law.v
    assert law.kappa * law.mean(t) - 1 / t == pytest.approx(law.a / 2 - law.v / 6, abs=2e-4 * law.v)
    assert (law.kappa * t * law.typical(t) - 1) / t == pytest.approx(law.a / 2 - law.v / 3, abs=2e-4 * law.v)
    assert law.onset(t) * (law.kappa * t) ** 2 == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("law", CASES)
def test_mean_and_typical_obey_the_equation_of_motion(law):
    t, step = np.array([0.03, 0.3, 3.0]), 1e-4
    rate = (np.log(law.typical(t + step)) - np.log(law.typical(t - step))) / (2 * step)
    # The third derivative of -ln t is what a difference quotient leaves.
    assert rate == pytest.approx(
        law.a - law.v / 2 - law.kappa * law.mean(t), abs=1e-6, rel=2 * float((step / t[0]) ** 2)
    )


def test_a_growing_difference_settles():
    law = FiniteWidthScaling(0.5, 1.0, 0.8)
    assert float(law.mean(200.0)) == pytest.approx((0.8 - 0.5) / 0.5, rel=1e-6)


def test_units():
    doubled = FiniteWidthScaling(2 * TANH.kappa, 3 * TANH.v, 3 * TANH.a)
    for name in ("mean", "typical"):
        here, there = getattr(TANH, name)(1.2), getattr(doubled, name)(0.4)
        assert float(there) == pytest.approx(1.5 * float(here), rel=1e-9)


def test_deep_networks_keep_relative_accuracy():
    # Beyond exp(-nu^2 v t/8) only the factor t^(-3/2) of the branch point is left.
    t = np.array([800.0, 1600.0])
    rest = np.log(TANH.mean(t)) + TANH.order**2 * TANH.v * t / 8
    assert rest[1] - rest[0] == pytest.approx(-1.5 * np.log(2), abs=0.01)


def test_departure_from_infinite_width():
    t = TANH.departure(0.1)
    assert TANH.kappa * t * float(TANH.mean(t)) == pytest.approx(0.9, abs=1e-8)
    assert TANH.departure(1e-3) == pytest.approx(1e-3 / (TANH.v / 6 - TANH.a / 2), rel=1e-2)


def test_unusable_input():
    with pytest.raises(InputError, match="t = 0"):
        TANH.mean(0.0)
    with pytest.raises(InputError, match="fraction"):
        TANH.departure(1.0)
    with pytest.raises(InputError, match="a < v/3"):
        FiniteWidthScaling(0.5, 1.0, 0.8).departure(0.1)
    with pytest.raises(InputError, match="kappa"):
        finite_width_scaling(critical_line(lambda z: z.clamp(min=-1.0, max=1.0), 0.3))


def test_citations():
    assert set(TANH.citations) <= set(BIBTEX)
