"""Means and shares of repetitions: their values, and errors that cover as often as they say."""

import numpy as np
import pytest

from phasescope.studies import samples


def test_the_mean_leaves_out_what_has_no_number_and_widens_its_error():
    found = samples.mean([1.0, np.nan, 2.0, np.inf, 3.0], "mean of things")
    assert (found.value, found.n, found.method) == (2.0, 3, "mean of things")
    # Student's 97.5 % point for 2 degrees of freedom is 4.303, that of the normal law 1.960.
    assert found.error == pytest.approx(4.303 / 1.960 / 3**0.5, rel=1e-3)
    assert not samples.mean([1.0], "one").determined


def test_two_errors_of_three_samples_cover_the_truth_in_95_of_100_cases():
    random = np.random.default_rng(0)
    found = [samples.mean(random.standard_normal(3), "mean") for _ in range(2000)]
    covered = np.mean([abs(each.value) < 1.96 * each.error for each in found])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_a_share_of_none_or_all_has_the_error_of_one_trial():
    assert samples.share([True] * 20 + [False] * 80, "share").error == pytest.approx(0.04)
    for outcome in (True, False):
        assert samples.share([outcome] * 50, "share").error == pytest.approx(1 / 50)
    assert not samples.share([], "share").determined
