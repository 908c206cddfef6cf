"""Deviations, idle units and numbers of directions, against closed forms."""

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.noise.utilisation import utilisation


def waves(amplitudes, steps: int = 240) -> np.ndarray:
    """Return sines of different whole frequencies, orthogonal to each other and to constants."""
    t = np.arange(steps) * 2 * np.pi / steps
    return np.array([a * np.sin((k + 1) * t) for k, a in enumerate(amplitudes)])


def test_sines_have_the_deviation_and_the_ranks_of_their_amplitudes():
    amplitudes = np.array([1.0, 0.5, 0.25, 2.0])
    x = waves(amplitudes)
    found = utilisation(np.array([x, x + 5.0, x - np.arange(4)[:, None]]))  # levels do not count
    np.testing.assert_allclose(found.deviation, amplitudes / np.sqrt(2), rtol=1e-12)
    square = amplitudes**2
    ratio = square.sum() ** 2 / (square**2).sum()
    p = square / square.sum()
    assert found.participation_ratio.value == pytest.approx(ratio, rel=1e-12)
    assert found.dimension.value == pytest.approx(ratio, rel=1e-10)
    assert found.effective_rank.value == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-10)
    assert found.participation_ratio.error == pytest.approx(0.0, abs=1e-12)  # all sequences are alike


def test_equal_units_count_each_and_copies_count_once():
    equal = utilisation(np.array([waves(np.ones(7))] * 2))
    for name in ("participation_ratio", "dimension", "effective_rank"):
        assert getattr(equal, name).value == pytest.approx(7, rel=1e-10)
    copies = utilisation(np.array([np.tile(waves([1.0]), (7, 1))] * 2))
    assert copies.participation_ratio.value == pytest.approx(7, rel=1e-12)
    assert copies.dimension.value == pytest.approx(1, rel=1e-10)
    assert copies.effective_rank.value == pytest.approx(1, rel=1e-8)


def test_idle_units_are_counted_by_each_criterion():
    # Deviations: 0.5, 0.03, 5e-4, 0.
    x = np.array([waves(np.sqrt(2) * np.array([0.5, 0.03, 5e-4, 0.0]))] * 2)
    assert utilisation(x).idle_relative.tolist() == [False, False, True, True]
    assert utilisation(x, relative=0.1).idle_relative.tolist() == [False, True, True, True]
    assert utilisation(x).idle_absolute.tolist() == [False, False, True, True]
    assert utilisation(x, absolute=1e-4).idle_absolute.tolist() == [False, False, False, True]
    assert utilisation(x).counts() == {
        "units": 4,
        "idle_relative": 2,
        "idle_absolute": 2,
        "quantised": 1,
        "not_finite": 0,
    }


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_relative_measures_do_not_depend_on_the_unit(scale):
    x = np.array([waves([1.0, 0.5, 0.01])] * 2)
    found, reference = utilisation(scale * x), utilisation(x)
    assert found.idle_relative.tolist() == reference.idle_relative.tolist()
    assert found.quantised.tolist() == [False, False, False]
    assert found.dimension.value == pytest.approx(reference.dimension.value, rel=1e-10)


def test_rounding_of_a_resting_unit_is_not_taken_for_activity():
    rng = np.random.default_rng(0)
    rest = 0.7 + 3e-8 * rng.standard_normal((2, 1, 500))  # below half the spacing of float32 near 0.7
    x = np.concatenate([rest, 0.7 + 1e-4 * rng.standard_normal((2, 1, 500))], axis=1)
    single = utilisation(x.astype(np.float32))
    assert 0 < single.deviation[0] < 1e-6
    assert single.quantised.tolist() == [True, False]
    assert utilisation(x).quantised.tolist() == [False, False]  # float64 resolves it
    assert utilisation(x, floor=1e-3).quantised.tolist() == [True, True]


def test_what_follows_the_end_of_a_sequence_does_not_count():
    rng = np.random.default_rng(1)
    parts = [rng.standard_normal((3, n)) for n in (50, 20, 35)]
    padded = np.full((3, 3, 50), np.nan)
    for row, part in enumerate(parts):
        padded[row, :, : part.shape[1]] = part
    centred = np.concatenate([p - p.mean(axis=1, keepdims=True) for p in parts], axis=1)
    found = utilisation(padded)
    np.testing.assert_allclose(found.deviation, np.sqrt((centred**2).mean(axis=1)), rtol=1e-12)
    eigenvalues = np.linalg.eigvalsh(centred @ centred.T)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert found.dimension.value == pytest.approx(expected, rel=1e-10)
    again = utilisation(torch.from_numpy(padded))
    np.testing.assert_array_equal(again.deviation, found.deviation)


def test_dimension_of_white_units_and_its_error():
    # E[D] = n / (1 + n / T) to leading order for n white units over T steps.
    rng = np.random.default_rng(2)
    found = [utilisation(rng.standard_normal((20, 8, 100))).dimension for _ in range(60)]
    values = np.array([f.value for f in found])
    assert values.mean() == pytest.approx(8 / (1 + 8 / 2000), abs=4 * values.std() / np.sqrt(60) + 0.005)
    errors = np.array([f.error for f in found])
    assert 0.6 < errors.mean() / values.std(ddof=1) < 1.7


def test_error_of_the_deviation_is_the_spread_over_repetitions():
    rng = np.random.default_rng(3)
    scales = rng.lognormal(0.0, 0.5, (200, 10, 1, 1))  # sequences differ in how much they move
    found = [utilisation(s * rng.standard_normal((10, 1, 50))) for s in scales]
    spread = np.std([f.deviation[0] for f in found], ddof=1)
    error = np.sqrt(np.mean([f.deviation_error[0] ** 2 for f in found]))
    assert error == pytest.approx(spread, rel=0.25)


def test_what_cannot_be_determined_says_why():
    still = utilisation(np.full((3, 4, 30), 0.5))
    assert "no unit moves" in still.participation_ratio.reason
    assert still.idle_relative.all()
    assert still.quantised.all()
    assert "cut it into pieces" in utilisation(waves([1.0, 2.0])).dimension.reason
    few = utilisation(np.random.default_rng(0).standard_normal((2, 30, 10)))
    assert "20 time steps are too few for 30 units" in few.effective_rank.reason
    assert few.participation_ratio.determined
    assert "covariance=False" in utilisation(waves([1.0, 2.0]), covariance=False).dimension.reason
    assert "not determined" in str(still)
    assert still.to_dict()["dimension"]["value"] is None


def test_a_unit_that_is_not_finite_is_left_out():
    x = np.array([waves([1.0, 1.0, 1.0])] * 3)
    x[1, 2, 7] = np.inf
    found = utilisation(x)
    assert found.not_finite.tolist() == [False, False, True]
    assert np.isnan(found.deviation[2])
    assert not found.idle_relative[2]
    assert found.participation_ratio.value == pytest.approx(2.0)
    assert found.dimension.value == pytest.approx(2.0)


@pytest.mark.parametrize(
    "x", [np.zeros(5), np.zeros((2, 0, 5)), np.zeros((2, 3), dtype=complex), np.array([["a", "b"]])]
)
def test_bad_input_is_refused(x):
    with pytest.raises(InputError, match="x has shape"):
        utilisation(x)


def test_thresholds_are_positive():
    with pytest.raises(InputError, match="relative=0"):
        utilisation(waves([1.0]), relative=0)
