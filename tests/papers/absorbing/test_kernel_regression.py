import math

import numpy as np
import pytest

from phasescope.papers.absorbing.kernel_regression import learned_outputs


def problem(seed=0, train=12, test=5, outputs=3):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((train + test, 30))
    kernel = (1 + x @ x.T / 30) ** 2
    return kernel[:train, :train], kernel[train:, :train], generator.standard_normal((train, outputs))


def test_without_a_time_limit_it_is_kernel_regression():
    kernel, cross, targets = problem()
    (outputs,) = learned_outputs(kernel, cross, targets, [math.inf])
    np.testing.assert_allclose(outputs, cross @ np.linalg.solve(kernel, targets), rtol=1e-9)


def test_time_steps_are_those_of_gradient_descent():
    # Gradient flow by many small steps of the outputs on training and test inputs.
    kernel, cross, targets = problem(1)
    rate = 1 / np.linalg.eigvalsh(kernel)[-1]
    known, unknown = np.zeros_like(targets), np.zeros((5, 3))
    for _ in range(20_000):
        rest = targets - known
        known = known + rate / 1000 * kernel @ rest
        unknown = unknown + rate / 1000 * cross @ rest
    early, late = learned_outputs(kernel, cross, targets, [0.0, 20.0])
    np.testing.assert_allclose(early, 0, atol=1e-15)
    np.testing.assert_allclose(late, unknown, rtol=2e-3, atol=1e-4)


def test_units_of_the_kernel_do_not_matter():
    kernel, cross, targets = problem(2)
    one = learned_outputs(kernel, cross, targets, [7.0, math.inf])
    other = learned_outputs(1e-6 * kernel, 1e-6 * cross, targets, [7.0, math.inf])
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_the_same_input_twice_is_no_obstacle():
    kernel, cross, targets = problem(3)
    index = [0, *range(12)]
    kernel, cross = kernel[np.ix_(index, index)], cross[:, index]
    (outputs,) = learned_outputs(kernel, cross, targets[index], [math.inf])
    expected = cross @ np.linalg.pinv(kernel) @ targets[index]
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-9)
    assert outputs == pytest.approx(expected)
