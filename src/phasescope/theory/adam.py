"""The first step of Adam in an infinitely wide perceptron, and the rate at which it makes the kernel grow."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.gaussian import expectation

_LARGEST = 1e2  # kernel up to which the map is known; far beyond any basin
_LIMITS = (1e-6, 1.0)  # rates between which the answer is looked for


def first_adam_rate(
    spec: Spec,
    depth: int,
    width: int,
    K1: float,
    x: np.ndarray,
    errors: np.ndarray,
    *,
    scale: float = 1.0,
    growth: float = 10.0,
) -> float:
    r"""Return the learning rate at which Adam's first step makes the last hidden kernel grow by a factor.

    Adam's first step moves every parameter by the rate against the sign of its gradient, which of a weight is
    ``sum_x h_i(x) e(x) v_j``: h what comes in, e the derivatives of the loss by the outputs, v_j those of the
    outputs by unit j, a normal vector. While h is nearly linear in x, unit j moves by ``-rate S(x, v_j)``,
    ``S = n sqrt(2 K/pi) <s'> cos(x, M v_j) + sign(m v_j)``, ``M = sum_x x e`` and ``m = sum_x e`` (bias); in
    the first layer ``S = sum_i x_i sign(M v_j)_i + sign(m v_j)``. Of S, a part ``b v_j`` lies along v_j,
    with ``b = <S v>``. The next layer passes that part on, as its weights made v_j, and adds noise of equal
    size: ``a -> <s'> a + rate b``, and the kernel follows
    ``K -> <s^2>_K + |<s'> a|^2 + 2 rate <s'> a b + rate^2 <S^2>``.

    Parameters
    ----------
    spec : str, module or callable
        Activation, nearly linear at the kernels of the network, such as MRePU of small ``K1``; C_W is 1.
    depth : int
        Layers, the output's among them; at least 2.
    width : int
        Neurons in each hidden layer, n.
    K1 : float
        Kernel of the first layer for the largest input.
    x : array, shape (inputs, n0)
        The batch.
    errors : array, shape (inputs, outputs)
        Derivatives of its loss by the outputs before the step.
    scale : float
        In a network of ``s(k z)/k`` the k; z is then 1/k of that here, and so are first moves.
    growth : float
        By which factor.

    Raises
    ------
    InputError
        If a size is too small, or x and errors do not belong together.

    Notes
    -----
    Holds to about ``5/sqrt(n)`` in ln of the rate, for depths of 5 to 20 at widths 64 to 1024. Rates are
    looked for between 1e-6 and 1; an end of this range means that the answer is beyond it. Cost: some 50
    passes of 2000 random vectors. Derived here.
    """
    if depth < 2 or width < 1 or not K1 > 0 or x.ndim != 2 or len(x) != len(errors):
        raise InputError(
            f"depth = {depth}, width = {width}, K1 = {K1}, x {x.shape}, errors {errors.shape}.",
            "Use depth of at least 2, K1 above 0, and one row of errors for each row of x.",
        )
    grid, squares, slopes = _kernel_map(spec)
    v = np.random.default_rng(0).standard_normal((2000, errors.shape[1]))
    along, sign = v @ errors.T @ x, scale * np.sign(v @ errors.sum(0))[:, None]
    cosine = along @ x.T / np.linalg.norm(along, axis=1)[:, None] / np.linalg.norm(x, axis=1)
    first = scale * np.sign(along) @ x.T + sign
    parts = [v.T @ each / len(v) for each in (first, cosine, sign)]
    kernels = K1 * (x**2).mean(1) / (x**2).mean(1).max()

    def slope(K: np.ndarray) -> np.ndarray:
        return np.asarray(np.interp(np.log(K), grid, slopes))

    def last(rate: float) -> float:
        plain, K, a = kernels, kernels + rate**2 * (first**2).mean(0), rate * parts[0]
        for _ in range(depth - 2):
            reach = width * np.sqrt(2 * plain / math.pi) * slope(K)
            a, b = slope(K) * a, reach * parts[1] + parts[2]
            square = reach**2 * (cosine**2).mean(0) + 2 * reach * (cosine * sign).mean(0) + scale**2
            K = np.exp(np.interp(np.log(K), grid, squares)) + (a * a + 2 * rate * a * b).sum(0)
            K = np.minimum(K + rate**2 * square, _LARGEST)
            plain, a = np.exp(np.interp(np.log(plain), grid, squares)), a + rate * b
        return float(K.max())

    limit = growth * last(0.0)
    low, high = (math.log(end) for end in _LIMITS)
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (low, middle) if last(math.exp(middle)) > limit else (middle, high)
    return math.exp((low + high) / 2)


@lru_cache(maxsize=4)
def _kernel_map(spec: Spec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ln K, ``ln <s^2>`` and ``<s'>`` of an activation."""
    s, kernels = as_activation(spec), np.geomspace(1e-9, _LARGEST, 140)
    squares = [float(expectation(lambda z: s(z) ** 2, K, kinks=s.kinks)) for K in kernels]
    slopes = [float(expectation(s.derivative, K, kinks=s.kinks)) for K in kernels]
    return np.log(kernels), np.log(squares), np.array(slopes)
