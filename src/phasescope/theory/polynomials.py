"""Polynomials that units of MRePU represent exactly, and the product of three numbers by a network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from phasescope.activations import MRePU
from phasescope.errors import InputError

_SPREAD = 3.0  # of the biases: near the best conditioned for powers 1 to 5


class PolynomialUnits(NamedTuple):
    """Units of MRePU_p in a sum that fits a power.

    Parameters
    ----------
    coefficients : array, shape (p + 2,)
        Of the units ``MRePU_p(u + b_k)``, ``b_k`` even from 0 to the spread.
    condition : float
        Condition number of the units, each scaled to mean square 1.
    rest : float
        Root of the mean square that the fit leaves on [-1, 1]: rounding up to degree p + 1.
    """

    coefficients: np.ndarray
    condition: float
    rest: float


def mrepu_polynomial(p: int, degree: int, *, spread: float = _SPREAD) -> PolynomialUnits:
    r"""Return the sum of p + 2 units of ``MRePU_p`` that fits ``u^degree`` best on [-1, 1].

    Where no argument is below -1, ``MRePU_p(z) = (1 + z)^p z`` is a polynomial of degree p + 1, and p + 2
    units with different biases span them all: the fit is exact up to degree p + 1. Of degree k = p + 2 it
    misses by the monic Legendre polynomial, ``rest = 2^k k!^2/((2k)! sqrt(2k + 1))``.

    Parameters
    ----------
    p : int
        Power, at least 1.
    degree : int
        Of the power of u, at least 0.
    spread : float
        Largest bias, above 0; the smallest is 0. Little spread makes the units alike: the coefficients of
        p = 2 are some 10 for a spread of 3, and some 1e6 for 0.01.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    Least squares with Legendre's weights at 40 nodes; rounding is magnified by the condition number.
    Source: the theorem behind it is that of arXiv:2408.02697, theorem 8; the construction is derived here.
    """
    if p < 1 or degree < 0 or not spread > 0:
        raise InputError(
            f"p = {p}, degree = {degree}, spread = {spread}.", "Use p from 1, degree from 0, spread above 0."
        )
    nodes, weights = np.polynomial.legendre.leggauss(40)
    root = np.sqrt(weights / 2)
    units, wanted = root[:, None] * mrepu_units(p, spread, nodes), root * nodes**degree
    norms = np.linalg.norm(units, axis=0)
    scaled = np.linalg.lstsq(units / norms, wanted, rcond=None)[0]
    rest = float(np.linalg.norm(units / norms @ scaled - wanted))
    return PolynomialUnits(scaled / norms, float(np.linalg.cond(units / norms)), rest)


def mrepu_units(p: int, spread: float, u: np.ndarray) -> np.ndarray:
    """Return the p + 2 units at points u, (points, p + 2): no argument is below -1 where u is not."""
    return np.asarray(MRePU(p)(torch.from_numpy(u[:, None] + np.linspace(0, spread, p + 2))).numpy())


def mrepu_product(p: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights (units, inputs) and biases of the three layers that multiply three numbers in [-1, 1].

    Layer 1 has units for ``(x + y)/2``, ``(x - y)/2`` and ``z``, layer 2 for ``(x y + z)/2`` and
    ``(x y - z)/2``; each product is a difference of two squares, ``x y = ((x + y)/2)^2 - ((x - y)/2)^2``.
    After layers 1 and 2 comes MRePU_p; the third is linear.

    Parameters
    ----------
    p : int
        Power, at least 1.

    Raises
    ------
    InputError
        If p is below 1.

    Notes
    -----
    ``3 (p + 2) + 2 (p + 2)`` units. Source: arXiv:2408.02697, corollary 10; the weights are derived here.
    """
    count, biases = p + 2, np.linspace(0, _SPREAD, p + 2)
    square, itself = (mrepu_polynomial(p, degree).coefficients for degree in (2, 1))
    difference, half = np.concatenate([square, -square]), np.array([[0.5, 0.5], [0.5, -0.5]])
    sums = np.block([[half, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]])
    product_and_z = np.block([[difference, 0 * itself], [0 * difference, itself]])
    return [
        (sums.repeat(count, 0), np.tile(biases, 3)),
        ((half @ product_and_z).repeat(count, 0), np.tile(biases, 2)),
        (difference[None], np.zeros(1)),
    ]
