"""Lazy and rich training where it can be solved: a two-layer linear model, random movement, a ReLU kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phasescope.errors import InputError


@dataclass(frozen=True)
class TwoLayerLinear:
    """How far training moves a two-layer linear network; :func:`two_layer_linear` makes it.

    Parameters
    ----------
    width : int
        Number n of hidden units.
    s : float
        Exponent of the family: 0 is the tangent-kernel scaling, 1 the maximal update.
    output : float
        Output f at which training ends, from 0.
    tau : float
        Time of the gradient flow in which the weights rotate, without a unit: ``sinh(2 tau) = f
        n^((s-1)/2)``.
    drift : float
        ``|Theta_T - Theta_0|/Theta_0`` of the tangent kernel, ``cosh(2 tau) - 1``.
    gap : float
        ``|f_T - f_0 - J_0 (theta_T - theta_0)|/|f_T - f_0|``, ``1 - 1/cosh(tau)``.
    """

    width: int
    s: float
    output: float
    tau: float
    drift: float
    gap: float

    def weights(self, a: NDArray[np.float64], w: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Return both layers after training, from initial ones with ``a.w = 0`` and ``|a|^2 = |w|^2 = n``.

        Parameters
        ----------
        a, w : array of shape (n,)
            The initial read-out and input weights, such as ones and alternating signs.

        Returns
        -------
        a, w : array of shape (n,)
            ``a cosh(tau) + w sinh(tau)`` and ``w cosh(tau) + a sinh(tau)``.
        """
        c, d = math.cosh(self.tau), math.sinh(self.tau)
        return c * a + d * w, c * w + d * a


def two_layer_linear(width: int, s: float, output: float = 1.0) -> TwoLayerLinear:
    """Return how far training moves the network ``f = n^(-(1+s)/2) a.w`` on one input.

    Parameters
    ----------
    width : int
        Number n of hidden units, at least 2.
    s : float
        Exponent: the output is scaled by ``n^(-(1+s)/2)`` and the learning rate by ``n^s``.
    output : float
        Output at which training ends; it starts at 0, with ``|a|^2 = |w|^2 = n``.

    Returns
    -------
    TwoLayerLinear
        Drift of the tangent kernel ``Theta = (|a|^2 + |w|^2)/n``, and gap to the linearised network.

    Raises
    ------
    InputError
        If `width` is below 2.

    Notes
    -----
    Under gradient flow a + w grows as exp(tau) and a - w falls as exp(-tau), whatever the loss, so ``Theta^2
    = Theta_0^2 + 4 n^(s-1) (f^2 - f_0^2)``: drift and gap fall with the width as ``n^(s-1)`` and are the same
    at all widths for s = 1. A finite learning rate adds terms of its first order. Cost: none.

    Source: derived here; the family of scalings: Yaida, arXiv:2210.04909.

    Examples
    --------
    >>> print(f"{two_layer_linear(64, 0).drift:.6f} {two_layer_linear(64, 1).drift:.6f}")
    0.007782 0.414214
    """
    if width < 2:
        raise InputError(f"width is {width}.", "Pass at least 2.")
    tau = math.asinh(output * width ** ((s - 1) / 2)) / 2
    # cosh x - 1 = 2 sinh^2(x/2) keeps its digits where little has moved
    rise = 2 * math.sinh(tau / 2) ** 2
    return TwoLayerLinear(width, s, output, tau, 2 * math.sinh(tau) ** 2, rise / (1 + rise))


def random_flips(ratio: float) -> float:
    """Return the share of gates that a random movement of a layer's weights switches, ``arctan(ratio)/pi``.

    Parameters
    ----------
    ratio : float
        ``|dW|/|W|``, the norm of the movement over that of the initial weights; at least 0.

    Raises
    ------
    InputError
        If `ratio` is negative.

    Notes
    -----
    For Gaussian weights without biases, a movement in independent random directions and unchanged inputs: a
    pre-activation and its change are independent Gaussian numbers with that ratio of standard deviations.
    What moves in the layers before adds to it. Cost: none. Source: derived here.

    Examples
    --------
    >>> print(f"{random_flips(0.1):.6f} {random_flips(1.0):.6f}")
    0.031726 0.250000
    """
    if not ratio >= 0:
        raise InputError(f"ratio is {ratio!r}.", "Pass a number that is not negative.")
    return math.atan(ratio) / math.pi


def orthonormal_tangent_kernel(inputs: int) -> tuple[float, float]:
    """Return both eigenvalues of the tangent kernel of a two-layer ReLU network for orthonormal inputs.

    Parameters
    ----------
    inputs : int
        Number N of inputs, at least 1.

    Returns
    -------
    small, large : float
        ``1 - 1/(2 pi)``, N - 1 times, and ``1 + (N - 1)/(2 pi)``, once.

    Raises
    ------
    InputError
        If `inputs` is below 1.

    Notes
    -----
    The network is ``f(x) = n^(-1/2) sum_i a_i relu(w_i.x)`` with standard normal weights, at infinite width:
    the kernel is 1 on the diagonal and ``1/(2 pi)`` elsewhere. Cost: none. Source: derived here.

    Examples
    --------
    >>> print("{:.6f} {:.6f}".format(*orthonormal_tangent_kernel(5)))
    0.840845 1.636620
    """
    if inputs < 1:
        raise InputError(f"inputs is {inputs}.", "Pass at least 1.")
    return 1 - 1 / (2 * math.pi), 1 + (inputs - 1) / (2 * math.pi)
