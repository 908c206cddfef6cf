"""The rate at which Adam's first step makes a kernel grow."""

import math

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.theory import first_adam_rate


def test_two_layers_leave_at_the_rate_of_a_closed_form():
    # One input (1, 1, 1): the first step moves a unit by 3 + 1 times the rate, from K_1 = 1/72 tenfold.
    x, errors = np.ones((1, 3)), np.ones((1, 1))
    plain = first_adam_rate("mrepu2", 2, 256, 1 / 72, x, errors)
    assert plain == pytest.approx(3 * math.sqrt(1 / 72) / 4, rel=1e-5)
    scaled = first_adam_rate("mrepu2", 2, 256, 1 / 72, x, errors, scale=72**-0.5)
    assert scaled == pytest.approx(3 / 4, rel=1e-5)
    # K_1 + (4 rate)^2 = (growth) K_1
    twice = first_adam_rate("mrepu2", 2, 256, 1 / 72, x, errors, growth=2)
    assert twice == pytest.approx(math.sqrt(1 / 72) / 4, rel=1e-5)


@pytest.mark.parametrize(("depth", "K1", "rows"), [(1, 0.1, 1), (3, 0.0, 1), (3, 0.1, 2)])
def test_sizes_that_do_not_fit_are_refused(depth, K1, rows):
    with pytest.raises(InputError, match=rf"depth = {depth}.*K1 = {K1}.*errors \({rows}, 1\)"):
        first_adam_rate("mrepu2", depth, 10, K1, np.ones((1, 3)), np.ones((rows, 1)))
