"""Polynomials as sums of MRePU units."""

import numpy as np
import pytest
import torch

from phasescope.activations import MRePU
from phasescope.errors import InputError
from phasescope.theory import mrepu_polynomial, mrepu_product


@pytest.mark.parametrize("p", [1, 2, 3])
def test_solved_coefficients_are_those_of_the_polynomials_powers(p):
    coefficients, condition, rest = mrepu_polynomial(p, p + 1)
    biases = np.linspace(0, 3, p + 2)
    powers = np.zeros((p + 2, p + 2))
    for unit, bias in enumerate(biases):
        polynomial = np.polynomial.Polynomial([bias, 1]) * np.polynomial.Polynomial([bias + 1, 1]) ** p
        powers[:, unit] = polynomial.coef
    wanted = np.zeros(p + 2)
    wanted[p + 1] = 1
    assert coefficients == pytest.approx(np.linalg.solve(powers, wanted), rel=1e-9, abs=1e-9)
    assert rest < 1e-15 * condition


def test_four_units_of_MRePU2_fit_a_cubic_and_four_fit_no_quartic():
    x = np.linspace(-1, 1, 300)
    cubic = sum(a * mrepu_polynomial(2, k)[0] for a, k in ((1, 3), (-2, 1), (0.3, 0)))
    z = torch.from_numpy(x[:, None] + np.linspace(0, 3, 4))
    assert MRePU(2)(z).numpy() @ cubic == pytest.approx(x**3 - 2 * x + 0.3, abs=1e-12)
    assert mrepu_polynomial(2, 4)[2] == pytest.approx(8 / 35 / 3, rel=1e-9)  # P4 = 35/8 x^4 .., rms 1/3


@pytest.mark.parametrize("p", [1, 2, 3])
def test_three_layers_multiply_three_numbers(p):
    h = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    product = h.prod(1)
    for number, (w, b) in enumerate(mrepu_product(p)):
        z = h @ w.T + b
        h = z if number == 2 else np.maximum(1 + z, 0) ** p * z
    assert h[:, 0] == pytest.approx(product, abs=1e-9)


@pytest.mark.parametrize(("p", "degree", "spread"), [(0, 1, 3.0), (2, -1, 3.0), (2, 1, 0.0)])
def test_what_has_no_meaning_is_refused(p, degree, spread):
    with pytest.raises(InputError, match=f"p = {p}, degree = {degree}, spread = {spread}"):
        mrepu_polynomial(p, degree, spread=spread)
