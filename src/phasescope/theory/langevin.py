"""Local learning coefficients that are known exactly, as means of Langevin chains around a minimum.

The chain around w* has the density ``exp(-nb (L(w) - L(w*)) - g |w - w*|^2 / 2)``, with nb the number of
samples times the inverse temperature and g the localisation. Its learning coefficient is
``nb <L(w) - L(w*)>``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad

from phasescope.errors import InputError

_FAR = 40.0  # exponent beyond which a density is zero


def quadratic_learning_coefficient(
    curvatures: ArrayLike,
    nb: float,
    localisation: float,
    *,
    step: float = 0.0,
    draws: tuple[int, int] | None = None,
) -> float:
    """Return what a chain on a quadratic loss measures, ``1/2 sum nb h / (k (1 - step k/4))``, k = nb h + g.

    Parameters
    ----------
    curvatures : array of shape (n,)
        Eigenvalues h of the Hessian, in the unit of the loss over that of the weights squared.
    nb : float
        Samples times inverse temperature, in one over the unit of the loss.
    localisation : float
        Strength g of the spring to w*, in one over the unit of the weights squared.
    step : float
        Step size of the chain, in the unit of the weights squared; 0 for the exact mean in equilibrium.
    draws : tuple of int, optional
        First step whose loss is kept, and the one after the last, where the chain starts at w* at step 0.
        Each mode then has the factor ``1 - (1 - step k/2)^(2 t)`` less, averaged over the steps t. By default
        the chain is in equilibrium.

    Returns
    -------
    float
        Half the effective dimension at step 0 and in equilibrium; infinite where ``step k >= 4``.

    Raises
    ------
    InputError
        If some ``nb h + g`` is not above 0, so that there is no equilibrium; or `draws` are given without a
        step or hold none.

    Notes
    -----
    Cost: one pass over the eigenvalues. Derived here: the step ``x' = (1 - step k/2) x + sqrt(step) xi``
    has the variance ``1/(k (1 - step k/4))``.

    Examples
    --------
    >>> round(quadratic_learning_coefficient([10, 1, 0.1, 0.01, 0], 100, 1), 6)
    1.699095
    """
    return float(np.sum(quadratic_shares(curvatures, nb, localisation, step=step, draws=draws)))


def quadratic_shares(
    curvatures: ArrayLike,
    nb: float,
    localisation: float,
    *,
    step: float = 0.0,
    draws: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """Return what each mode adds to :func:`quadratic_learning_coefficient`."""
    h = np.asarray(curvatures, dtype=np.float64)
    k = nb * h + localisation
    if not np.all(k > 0):
        raise InputError(
            f"The smallest nb h + g is {k.min():.4g}, so the chain has no equilibrium.",
            "Pass a minimum, or a localisation above -nb h.",
        )
    if np.any(step * k >= 4):
        return np.full(h.shape, np.inf)
    shares = nb * h / (2 * k * (1 - step * k / 4))
    if draws is None:
        return np.asarray(shares)
    first, stop = draws
    if not (step > 0 and 0 <= first < stop):
        raise InputError(
            f"Draws from step {first} to {stop} at step size {step:g} are none.",
            "Pass a step above 0 and draws (first, stop) with first < stop.",
        )
    square = (1 - step * k / 2) ** 2
    left = (square**first - square**stop) / ((1 - square) * (stop - first))
    return np.asarray(shares * (1 - left))


def power_learning_coefficient(k: int, nb: float = 1.0, localisation: float = 0.0) -> float:
    """Return the learning coefficient of the loss ``w^(2k)`` of one weight; 1/(2k) without localisation.

    Parameters
    ----------
    k : int
        Half the power, at least 1.
    nb : float
        Samples times inverse temperature, in one over the unit of the loss.
    localisation : float
        Strength g of the spring to w = 0.

    Raises
    ------
    InputError
        If `k` is below 1, `nb` is not above 0, or `localisation` is negative.

    Notes
    -----
    Without localisation ``nb <w^(2k)> = 1/(2k)`` at any nb, by partial integration; with it the ratio of two
    integrals over one axis, to 1e-10. Source: Watanabe 2009, Algebraic Geometry and Statistical Learning
    Theory, for the value without localisation.

    Examples
    --------
    >>> power_learning_coefficient(2)
    0.25
    """
    if k < 1 or not nb > 0 or localisation < 0:
        raise InputError(
            f"k = {k}, nb = {nb:g}, localisation = {localisation:g}.",
            "Pass k of at least 1, nb above 0 and a localisation that is not negative.",
        )
    if localisation == 0:
        return 1 / (2 * k)
    scale = min(nb ** (-1 / (2 * k)), localisation**-0.5)

    def part(power: int) -> float:
        def inside(x: float) -> float:
            cost = nb * (x * scale) ** (2 * k)
            return float(cost**power * math.exp(-cost - localisation * (x * scale) ** 2 / 2))

        return float(quad(inside, 0, math.sqrt(2 * _FAR), epsabs=0, epsrel=1e-11, limit=200)[0])

    return part(1) / part(0)


def crossing_learning_coefficient(nb: float, localisation: float = 1.0) -> float:
    """Return the learning coefficient of ``(w1 w2)^2`` at the origin, where two lines of minima cross.

    Parameters
    ----------
    nb : float
        Samples times inverse temperature, in one over the unit of the loss.
    localisation : float
        Strength g of the spring to the origin, above 0.

    Raises
    ------
    InputError
        If one of the two is not above 0.

    Notes
    -----
    The second weight is integrated in closed form: ``<nb w1^2 / (2 nb w1^2 + g)>`` under
    ``exp(-g w1^2/2) / sqrt(2 nb w1^2 + g)``, a function of ``nb/g^2`` alone. It tends to 1/2 as slowly as a
    logarithm, so the limit says little at any number of samples. Cost: two integrals, to 1e-10. Derived here.

    Examples
    --------
    >>> round(crossing_learning_coefficient(1e4), 6)
    0.412337
    """
    if not (nb > 0 and localisation > 0):
        raise InputError(f"nb = {nb:g}, localisation = {localisation:g}.", "Pass numbers above 0.")
    ratio = 2 * nb / localisation**2  # with w1 in units of 1/sqrt(g)
    # In the logarithm of w1 the knee at 1/sqrt(ratio) and the end at 1 lie on one smooth curve.
    low, high = -0.5 * math.log(max(ratio, 1.0)) - _FAR, math.log(math.sqrt(2 * _FAR))

    def part(power: int) -> float:
        def inside(u: float) -> float:
            x = ratio * math.exp(2 * u)
            density = math.exp(u - math.exp(2 * u) / 2) / math.sqrt(1 + x)
            return float(density * (x / (2 * (1 + x))) ** power)

        knee = -0.5 * math.log(ratio)
        points = [knee] if low < knee < high else None
        return float(quad(inside, low, high, points=points, epsabs=0, epsrel=1e-11, limit=400)[0])

    return part(1) / part(0)


def reduced_rank_learning_coefficient(inputs: int, outputs: int, hidden: int, rank: int) -> float:
    """Return the learning coefficient of a linear network with one hidden layer, for many samples.

    Parameters
    ----------
    inputs, outputs, hidden : int
        Sizes of the layers.
    rank : int
        Rank of the true map, at most `hidden`.

    Raises
    ------
    InputError
        If `rank` is negative or larger than one of the sizes.

    Notes
    -----
    The limit of many samples over the whole set of minima, without localisation: chains around one minimum
    approach it as slowly as a logarithm. Cost: none. Source: Aoyagi and Watanabe 2005, Neural Networks 18,
    924.

    Examples
    --------
    >>> reduced_rank_learning_coefficient(4, 4, 4, 2)
    7.5
    """
    M, N, H, r = inputs, outputs, hidden, rank
    if not 0 <= r <= min(M, N, H):
        raise InputError(
            f"Rank {r} of a map from {M} to {N} through {H}.", "Pass a rank from 0 to the smallest size."
        )
    if N + r > M + H:
        return (H * M - H * r + N * r) / 2
    if M + r > N + H:
        return (H * N - H * r + M * r) / 2
    if H + r > M + N:
        return M * N / 2
    odd = (M + H + N + r) % 2
    return (-((H + r) ** 2) - M**2 - N**2 + 2 * (H + r) * (M + N) + 2 * M * N + odd) / 8


def semi_implicit_variance(eta: float, beta: float, decay: float, curvature: float, weight: float) -> float:
    """Return the variance of a mode under Langevin steps that treat the weight decay implicitly.

    Parameters
    ----------
    eta : float
        Step size.
    beta : float
        Inverse temperature.
    decay : float
        Weight decay.
    curvature : float
        Second derivative h of the loss along the mode.
    weight : float
        Weight a of the mode in the decay term.

    Returns
    -------
    float
        ``c^2 (2 eta/beta) / (1 - c^2 (1 - eta h)^2)`` with ``c = 1/(1 + eta decay a)``; infinite where the
        step is unstable. The flow has ``1/(beta (h + decay a))``.

    Notes
    -----
    The step is ``x' = c (x - eta h x + sqrt(2 eta/beta) xi)``. Cost: none. The scheme is that of Suzuki,
    arXiv:2007.05824; the variance is derived here.

    Examples
    --------
    >>> f"{semi_implicit_variance(0.01, 50, 0.1, 2, 10):.10f}"
    '0.0067001675'
    """
    c = 1 / (1 + eta * decay * weight)
    kept = (c * (1 - eta * curvature)) ** 2
    return c**2 * (2 * eta / beta) / (1 - kept) if kept < 1 else math.inf
