"""Gram matrices of the tangent kernel over a data set, from one recursion on a few hundred distances."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline
from torch import Tensor

from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.kernel import MeanField
from phasescope.theory.tangent_kernel import TangentKernel, first_kernel, tangent_kernel

# Below it, 1 - c of data is a rounding error.
_ROUNDING = 1e-14
_SPACING = 0.1
_MOST_HALVINGS = 6
_ACCURACY = 1e-9
_ORDER = 5


class TangentGram:
    """The kernels of a wide network for all pairs of a data set, at several depths.

    Inputs of one norm make both kernels functions of their distance alone: they are followed on a grid of
    distances and interpolated by quintic splines in ``ln(exp(2 theta) - 1)``, ``theta = arccos(1 - rho)``:
    logarithmic at small angles and linear at large ones. The grid is refined until
    halving it changes neither ``Theta_ab/Theta_aa`` nor the distances by more than 1e-9.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    C_W, C_b : float
        Weight variance times fan-in, and bias variance.
    depth : int or sequence of int
        Numbers of weight layers.
    K : float, optional
        Kernel of the first layer, above 0; default the fixed point's.

    Notes
    -----
    Conventions, source and refusals as for :func:`tangent_kernel`. Distances below 1e-14 count as 0. Cost:
    the recursion on some 200 distances, 0.3 s at depth 1000; then 0.3 us a pair.

    Examples
    --------
    >>> from phasescope.theory import TangentGram, input_distances
    >>> gram = TangentGram("relu", 2.0, 0.0, 3)
    >>> gram.tangent(3, input_distances(np.eye(2))).round(3)
    array([[3.   , 0.686],
           [0.686, 3.   ]])
    """

    def __init__(
        self,
        activation: Spec,
        C_W: float,
        C_b: float,
        depth: int | Sequence[int],
        *,
        K: float | None = None,
    ) -> None:
        field = MeanField(activation, C_W, C_b)
        self.first_kernel, self.C_b = first_kernel(field, K), field.C_b

        def follow(places: np.ndarray) -> TangentKernel:
            rho = np.minimum(2 * np.sin(np.log1p(np.exp(places)) / 4) ** 2, 2.0)
            return tangent_kernel(field.activation, C_W, C_b, depth, rho, K=K)

        places, self._kernels = _resolved(follow)
        self._gaps = [_spline(places, gap) for gap in self._kernels.gap]
        self._distances = [_spline(places, rho) for rho in self._kernels.distances]
        self._depths = [int(d) for d in self._kernels.depths]

    def gap(self, depth: int, distances: np.ndarray) -> np.ndarray:
        """Return ``1 - Theta_ab/Theta_aa``.

        Parameters
        ----------
        depth : int
            One of those named before.
        distances : ndarray
            ``1 - c`` of the first layer's pre-activations, any shape; see :meth:`first_layer`.
        """
        return self._interpolated(self._gaps[self._row(depth)], distances)

    def tangent(self, depth: int, distances: np.ndarray) -> np.ndarray:
        """Return the tangent kernel ``Theta_ab``.

        Parameters
        ----------
        depth, distances
            As for :meth:`gap`.
        """
        row = self._row(depth)
        ratio = 1 - self._interpolated(self._gaps[row], distances)
        return np.asarray(float(self._kernels.diagonal[row]) * ratio)

    def nngp(self, depth: int, distances: np.ndarray) -> np.ndarray:
        """Return the covariance ``K_ab`` of the outputs at initialisation.

        Parameters
        ----------
        depth, distances
            As for :meth:`gap`.
        """
        row = self._row(depth)
        correlation = 1 - self._interpolated(self._distances[row], distances)
        return np.asarray(float(self._kernels.kernel[row]) * correlation)

    def first_layer(self, distances: np.ndarray) -> np.ndarray:
        """Return ``(1 - C_b/K) rho``, the distances behind a first layer that gives its inputs the kernel K.

        Parameters
        ----------
        distances : ndarray
            ``1 - c`` of the inputs themselves.

        Raises
        ------
        InputError
            If K is below the variance of the biases.
        """
        if self.first_kernel < self.C_b:
            raise InputError(
                f"K = {self.first_kernel:g} is below C_b = {self.C_b:g}: no input gives that kernel.",
                "Use K >= C_b.",
            )
        return (1 - self.C_b / self.first_kernel) * np.asarray(distances)

    def _row(self, depth: int) -> int:
        if depth not in self._depths:
            raise InputError(f"depth = {depth} is none of {self._depths}.", "Name it in the constructor.")
        return self._depths.index(depth)

    def _interpolated(self, spline: BSpline, distances: np.ndarray) -> np.ndarray:
        rho = np.asarray(distances, dtype=np.float64)
        if not ((rho >= 0) & (rho <= 2)).all():
            raise InputError("A distance 1 - c lies outside [0, 2].", "Make them by input_distances.")
        # A distance of 0 is given a value below.
        values = np.asarray(spline(_place(np.maximum(rho, _ROUNDING))))
        values[rho < _ROUNDING] = 0.0
        return values


def input_distances(inputs: np.ndarray | Tensor, others: np.ndarray | Tensor | None = None) -> np.ndarray:
    """Return ``1 - cos`` of the angle between every input and every other, whatever their norms.

    Parameters
    ----------
    inputs : array of shape (N, features)
        One input a row, none of them zero.
    others : array of shape (M, features), optional
        Default: the inputs themselves.

    Returns
    -------
    ndarray of shape (N, M)
        In [0, 2]; below 1e-14, which is rounding, exactly 0.

    Raises
    ------
    InputError
        If an input is zero or not finite, or the shapes do not fit.
    """
    rows = _unit_rows(inputs)
    columns = rows if others is None else _unit_rows(others)
    if rows.shape[1] != columns.shape[1]:
        raise InputError(
            f"Inputs of {rows.shape[1]} and {columns.shape[1]} features.", "Give both the same features."
        )
    rho = np.clip(1 - rows @ columns.T, 0.0, 2.0)
    rho[rho < _ROUNDING] = 0.0
    if others is None:
        np.fill_diagonal(rho, 0.0)
    return np.asarray(rho)


def _unit_rows(inputs: np.ndarray | Tensor) -> np.ndarray:
    rows = np.asarray(inputs.detach().cpu() if isinstance(inputs, Tensor) else inputs, dtype=np.float64)
    if rows.ndim != 2:
        raise InputError(f"Inputs of shape {rows.shape}.", "Give one input a row: shape (N, features).")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        bad = int(np.argmin(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
        raise InputError(f"Input {bad} has norm {norms[bad, 0]:g}.", "Leave it out: it has no direction.")
    return np.asarray(rows / norms)


def _place(rho: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.expm1(4 * np.arcsin(np.sqrt(rho / 2)))))


def _spline(places: np.ndarray, values: np.ndarray) -> BSpline:
    return make_interp_spline(places, values, k=_ORDER)


def _resolved(follow: Callable[[np.ndarray], TangentKernel]) -> tuple[np.ndarray, TangentKernel]:
    """Return the grid and the kernels on it, refined until every second node says the same."""
    low, high = _place(np.array([_ROUNDING, 2.0]))
    count = 2 * math.ceil((high - low) / _SPACING / 2) + 1
    for _ in range(_MOST_HALVINGS):
        places = np.linspace(low, high, count)
        kernels = follow(places)
        worst = max(
            float(np.abs(_spline(places[::2], row[::2])(places[1::2]) - row[1::2]).max())
            for row in [*kernels.gap, *kernels.distances]
        )
        # Halving the spacing divides the error of a quintic spline by 64.
        if worst <= 32 * _ACCURACY:
            break
        count = 2 * count - 1
    return places, kernels
