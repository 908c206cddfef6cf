"""Singular values of products of random matrices: what independent weights make of a network's Jacobian.

J is the derivative of a layer by the input, s its singular values. Weights have mean square 1/fan-in and
slopes of the activation mean square 1, so that the mean of s^2 stays 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from scipy.integrate import quad
from scipy.special import digamma
from torch import Tensor

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.gaussian import expectation


def product_moments(
    widths: Sequence[int], r: float | Sequence[float] = 1.0, *, orthogonal: bool = False
) -> tuple[float, float]:
    r"""Return the means of :math:`(\mathrm{tr} A)^2` and :math:`\mathrm{tr} A^2`, with :math:`A = J J^T`.

    J is the product of :math:`D_l W_l`. For Gaussian weights of m rows and n columns, of variance 1/n,

    .. math::

        t_1' = (m^2 t_1 + 2 m t_2)/n^2, \quad t_2' = (m (m + 1) t_2 + m t_1)/n^2,

    and the slopes :math:`D_l`, independent of them, add :math:`(r - 1) m (t_1 + 2 t_2)/n^2` to both. For
    orthogonal weights the first two stay and the slopes add :math:`(r - 1)(t_1 + 2 t_2)/(n + 2)`.

    Parameters
    ----------
    widths : sequence of int
        Number of inputs, then of units of each layer.
    r : float or sequence of float
        Mean of the fourth power of the slopes over that of their squares, squared: 1 for linear layers, 2 for
        ReLU; :func:`slope_ratio` gives it. One number, or one for each layer.
    orthogonal : bool
        Whether the weights are orthogonal matrices; all widths are then the same.

    Returns
    -------
    tuple of float
        :math:`t_1` and :math:`t_2`, at the start :math:`n^2` and n. Exact at any width where slopes do not
        depend on the weights.

    Raises
    ------
    InputError
        If there are fewer than two widths, one is below 1, `r` is below 1, or orthogonal weights are not
        square.

    Notes
    -----
    Derived here with Wick's rule; at infinite width the results of Pennington, Schoenholz and Ganguli 2017,
    arXiv:1711.04735. Cost: a few additions a layer.

    Examples
    --------
    >>> t1, t2 = product_moments([64] * 6)
    >>> round(64 * t2 / 64**2, 6), round(t1 / t2, 6)
    (6.249313, 10.317751)
    """
    if len(widths) < 2 or min(widths) < 1:
        raise InputError(f"The widths are {tuple(widths)}.", "Give the inputs and a layer, each from 1.")
    ratios = [float(r)] * (len(widths) - 1) if isinstance(r, int | float) else [float(each) for each in r]
    if len(ratios) != len(widths) - 1 or not all(each >= 1 for each in ratios):
        raise InputError(f"r is {r}.", "Give one number from 1, or one for each layer.")
    if orthogonal and len(set(widths)) > 1:
        raise InputError(f"Orthogonal weights with the widths {tuple(widths)}.", "Give one width throughout.")
    t1, t2 = float(widths[0]) ** 2, float(widths[0])
    for (n, m), ratio in zip(pairwise(widths), ratios, strict=True):
        # Mean of the sum of squared diagonal entries of W A W^T, which the slopes multiply by r.
        diagonal = (t1 + 2 * t2) / (n + 2) if orthogonal else m * (t1 + 2 * t2) / n**2
        if not orthogonal:
            t1, t2 = (m * m * t1 + 2 * m * t2) / n**2, (m * (m + 1) * t2 + m * t1) / n**2
        t1, t2 = t1 + (ratio - 1) * diagonal, t2 + (ratio - 1) * diagonal
    return t1, t2


def product_participation(
    widths: Sequence[int], r: float | Sequence[float] = 1.0, *, orthogonal: bool = False
) -> float:
    r"""Return the number of directions that independent weights keep, :math:`t_1/t_2`.

    This is the participation ratio :math:`(\sum s^2)^2 / \sum s^4`, mean over mean. It tends to
    :math:`n/(L + 1)` for L linear layers of n units, :math:`n/(2 L + 1)` with ReLU and :math:`n/(r L + 1)` in
    general; with orthogonal weights to :math:`n/((r - 1) L + 1)`.

    Parameters
    ----------
    widths : sequence of int
        Number of inputs, then of units of each layer.
    r : float or sequence of float
        As in :func:`product_moments`.
    orthogonal : bool
        Whether the weights are orthogonal matrices.

    Raises
    ------
    InputError
        As :func:`product_moments`.

    Notes
    -----
    Slopes of a network depend on its weights a little: the answer is off by order 1/n, and behind many layers
    of a narrow network by more. Cost: a few additions a layer.

    Examples
    --------
    >>> round(product_participation([10000] * 4, 2.0) / 10000, 3)
    0.143
    """
    t1, t2 = product_moments(widths, r, orthogonal=orthogonal)
    return t1 / t2


def slope_ratio(activation: Spec, K: float) -> float:
    r"""Return :math:`r = \langle \phi'^4 \rangle_K / \langle \phi'^2 \rangle_K^2` for ``z ~ N(0, K)``.

    Parameters
    ----------
    activation : Activation, str, nn.Module or callable
        The activation, as ``phasescope.activations.as_activation`` takes it.
    K : float
        Variance of the preactivations.

    Raises
    ------
    InputError
        If K is negative, or the slope is zero everywhere.

    Notes
    -----
    1 for a linear function, 2 for ReLU at any K. Cost: one Gaussian mean, below a millisecond.

    Examples
    --------
    >>> round(slope_ratio("relu", 1.0), 12)
    2.0
    """
    made: Activation = as_activation(activation)

    def powers(z: Tensor) -> Tensor:
        square = made.derivative(z).square()
        return torch.stack([square, square.square()])

    second, fourth = expectation(powers, K, kinks=made.kinks).tolist()
    if not second > 0:
        raise InputError(f"{made.name} has no slope at K = {K}.", "Give an activation that passes a signal.")
    return float(fourth / second**2)


def residual_spread(depth: int, variance: float) -> float:
    r"""Return the spread of :math:`s^2` of residual layers ``x + a G x``, G Gaussian of variance 1/n.

    .. math:: \langle s^4 \rangle / \langle s^2 \rangle^2 - 1 = L (1 - (1 + a^2)^{-2})

    at infinite width, for L layers. With :math:`a^2 = 1/L` it stays below 2 at any depth.

    Parameters
    ----------
    depth : int
        Number L of layers.
    variance : float
        The square of a, the scale of the branches.

    Raises
    ------
    InputError
        If `depth` is below 0 or `variance` is negative.

    Notes
    -----
    Derived here. Valid while the depth is far below the width. Cost: none.

    Examples
    --------
    >>> round(residual_spread(4, 0.5), 4)
    2.2222
    """
    if depth < 0 or not variance >= 0:
        raise InputError(f"depth {depth} and variance {variance}.", "Give numbers from 0.")
    return depth * (1 - (1 + variance) ** -2)


def product_rank_fraction(depth: int, threshold: float) -> float:
    r"""Return the share of singular values above `threshold` times the largest, for wide Gaussian products.

    Squared singular values of L square Gaussian matrices follow the Fuss-Catalan law. With an angle
    :math:`0 < \varphi < \pi/(L + 1)`,

    .. math::

        s^2 = \frac{\sin^{L+1} (L+1)\varphi}{\sin\varphi \, \sin^L L\varphi}, \quad
        \rho(s^2) = \frac{\sin^2\varphi \, \sin^{L-1} L\varphi}{\pi \sin^L (L+1)\varphi},

    and the largest is :math:`(L+1)^{L+1}/L^L`.

    Parameters
    ----------
    depth : int
        Number L of layers, from 1.
    threshold : float
        Share of the largest singular value, between 0 and 1.

    Raises
    ------
    InputError
        If `depth` is below 1 or `threshold` is not between 0 and 1.

    Notes
    -----
    Infinite width; beyond a depth of about n/4 use :func:`product_rank_deep`. Source: Penson and Zyczkowski
    2011, arXiv:1103.3453. Cost: one integral, about a millisecond.

    Examples
    --------
    >>> round(product_rank_fraction(10, 1e-2), 6)
    0.458477
    """
    if depth < 1 or not 0 < threshold < 1:
        raise InputError(f"depth {depth} and threshold {threshold}.", "Give a depth from 1, a share below 1.")
    L, end = depth, math.pi / (depth + 1)
    target = 2 * math.log(threshold)  # of s^2, relative to the largest

    def relative(angle: float) -> float:
        logs = (L + 1) * math.log(math.sin((L + 1) * angle)) - L * math.log(math.sin(L * angle))
        return logs - math.log(math.sin(angle)) - (L + 1) * math.log(L + 1) + L * math.log(L)

    low, high = 1e-9 * end, end * (1 - 1e-12)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if relative(middle) > target else (low, middle)

    def density(angle: float) -> float:
        # rho |ds^2| = rho s^2 |d ln s^2|, by angle
        a, b, c = math.sin(angle), math.sin(L * angle), math.sin((L + 1) * angle)
        slope = (L + 1) ** 2 / math.tan((L + 1) * angle) - L**2 / math.tan(L * angle) - 1 / math.tan(angle)
        return -slope * a * c / (math.pi * b)

    return float(quad(density, 1e-9 * end, low, epsabs=1e-12, limit=200)[0])


def product_rank_deep(width: int, depth: int, threshold: float) -> int:
    r"""Return an upper estimate of the number of singular values above a share of the largest, when deep.

    In a product of L square Gaussian matrices of n units the k-th singular value grows as
    :math:`\exp(L l_k)`, :math:`l_k = (\psi((n - k + 1)/2) + \ln(2/n))/2` with the digamma function
    :math:`\psi`; counted are those with :math:`L (l_1 - l_k) < \ln(1/t)`.

    Parameters
    ----------
    width : int
        Number n of units.
    depth : int
        Number L of layers.
    threshold : float
        Share t of the largest singular value, between 0 and 1.

    Raises
    ------
    InputError
        If `width` or `depth` is below 1 or `threshold` is not between 0 and 1.

    Notes
    -----
    The exponents are Newman's 1986 (Commun. Math. Phys. 103, 121), exact as L grows; at a finite depth the
    largest lies above its exponent, so the count is too large: 38 where 29.9 are found at n = 64, L = 10,
    t = 0.01. Cost: none.

    Examples
    --------
    >>> product_rank_deep(64, 10, 1e-2)
    38
    """
    if width < 1 or depth < 1 or not 0 < threshold < 1:
        raise InputError(
            f"width {width}, depth {depth} and threshold {threshold}.",
            "Give a width and a depth from 1 and a share below 1.",
        )
    exponents = digamma((width - np.arange(width)) / 2) / 2
    return int((depth * (exponents[0] - exponents) < -math.log(threshold)).sum())


def layer_bits(snr: float) -> float:
    r"""Return the bits a unit of one wide square Gaussian layer at a signal to noise ratio `snr`.

    .. math::

        \tfrac12 \langle \log_2(1 + \mathrm{snr}\, s^2) \rangle = \log_2 \frac{1 + q}{2}
        - \frac{(q - 1)^2}{8\, \mathrm{snr} \ln 2}, \quad q = \sqrt{1 + 4\, \mathrm{snr}}

    Parameters
    ----------
    snr : float
        Power of the signal over that of the noise, at the mean :math:`s^2 = 1`.

    Raises
    ------
    InputError
        If `snr` is not positive.

    Notes
    -----
    The mean over the Marchenko-Pastur law of aspect ratio 1; isometric layers have
    :math:`\frac12 \log_2(1 + \mathrm{snr})`. Cost: none.

    Examples
    --------
    >>> round(layer_bits(100), 6)
    2.741303
    """
    if not snr > 0:
        raise InputError(f"snr is {snr}.", "Give a number above 0.")
    q = math.sqrt(1 + 4 * snr)
    return math.log2((1 + q) / 2) - (q - 1) ** 2 / (8 * snr * math.log(2))
