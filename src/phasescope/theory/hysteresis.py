"""Transitions in a jump, in closed form: curved memories, one recurrent unit, decay of linear nets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import quad

from phasescope.errors import InputError
from phasescope.theory._root import bracketed_root

_TRICRITICAL = -2 / 3  # gamma below which the memory appears in a jump
_INSIDE = 1 - 1e-15  # the largest state that is looked at


@dataclass(frozen=True)
class CurvedMemory:
    r"""The memory of a curved network, :math:`m = \tanh(\beta m / (1 + \gamma m^2/2))`, and its loop.

    The overlap m with one stored pattern; :math:`\beta` is the inverse temperature and the curvature
    :math:`\gamma` makes it depend on m itself. Without memory, m = 0 is stable up to :math:`\beta = 1`. Below
    the tricritical :math:`\gamma = -2/3` the memory appears there in a jump, and on the way down it lasts to
    a smaller :math:`\beta`.

    Parameters
    ----------
    gamma : float
        Curvature, above -2.

    Raises
    ------
    InputError
        If `gamma` is at most -2: the denominator is 0 at some m below 1.

    Notes
    -----
    States are found from :math:`\beta(m) = \operatorname{artanh}(m) (1 + \gamma m^2/2) / m`, which has at
    most one minimum. Source: arXiv:2408.02326 (explosive networks); the values follow from the equation.

    Examples
    --------
    >>> memory = CurvedMemory(-1.0)
    >>> round(memory.down_jump, 6), round(memory.area, 6)
    (0.932234, 0.059814)
    """

    gamma: float

    def __post_init__(self) -> None:
        if not self.gamma > -2:
            raise InputError(
                f"gamma is {self.gamma}.",
                "Give a curvature above -2: at -2 the denominator vanishes at m = 1.",
            )

    def beta(self, m: float) -> float:
        """Return the inverse temperature at which a state is at rest.

        Parameters
        ----------
        m : float
            State between 0 and 1; 0 gives the limit, 1.
        """
        return 1.0 if m == 0 else math.atanh(m) * (1 + self.gamma * m * m / 2) / m

    def _slope(self, m: float) -> float:
        curved = 1 + self.gamma * m * m / 2
        return curved / (m * (1 - m * m)) + math.atanh(m) * (self.gamma / 2 - 1 / (m * m))

    @cached_property
    def _turn(self) -> float:
        """The state at which the memory ends on the way down; 0 where it ends without a jump."""
        return 0.0 if self.gamma >= _TRICRITICAL else bracketed_root(self._slope, 1e-2, _INSIDE)

    @property
    def up_jump(self) -> float:
        """Inverse temperature at which the state without memory becomes unstable: 1."""
        return 1.0

    @cached_property
    def down_jump(self) -> float:
        """Inverse temperature at which the memory ends on the way down; 1 where nothing jumps."""
        return self.beta(self._turn)

    @cached_property
    def after_up_jump(self) -> float:
        """The memory right after the jump at 1; 0 where nothing jumps."""
        return self.branches(1.0)[0]

    @cached_property
    def area(self) -> float:
        """Area between the two branches, m times beta; 0 where nothing jumps."""
        low, high = self._turn, self.after_up_jump
        if not low:
            return 0.0
        return high - low * self.down_jump - float(quad(self.beta, low, high, epsabs=1e-13, limit=200)[0])

    def branches(self, beta: float) -> tuple[float, float]:
        """Return the memory that is stable at an inverse temperature, and the unstable state below it.

        Parameters
        ----------
        beta : float
            Inverse temperature. Without a memory there both are 0; above 1 the unstable state is 0.
        """
        turn = self._turn

        def excess(m: float) -> float:
            return self.beta(m) - beta

        if beta <= self.down_jump or excess(_INSIDE) <= 0:
            return (turn, turn) if beta == self.down_jump else (0.0, 0.0) if beta < 1 else (1.0, 0.0)
        low = turn or 1e-9
        stable = bracketed_root(excess, low, _INSIDE) if excess(low) < 0 else 0.0
        return stable, bracketed_root(excess, 0.0, turn) if turn and beta < 1 else 0.0


@dataclass(frozen=True)
class BistableUnit:
    r"""One recurrent unit, :math:`h = \tanh(g h + b)`, and its loop as the bias b goes up and down.

    Parameters
    ----------
    gain : float
        The weight g from the unit to itself; above 1 it has two stable states for small b.

    Raises
    ------
    InputError
        If `gain` is not positive.

    Notes
    -----
    With :math:`s = \sqrt{1 - 1/g}` the unit jumps up at :math:`b_c = g s - \operatorname{artanh} s` and down
    at :math:`-b_c`. Derived from the equation.

    Examples
    --------
    >>> round(BistableUnit(2.0).jump, 6), round(BistableUnit(2.0).area, 6)
    (0.53284, 1.999149)
    """

    gain: float

    def __post_init__(self) -> None:
        if not 0 < self.gain < math.inf:
            raise InputError(f"The gain is {self.gain}.", "Give a positive number.")

    @cached_property
    def jump(self) -> float:
        """Bias at which the unit jumps up; it jumps down at minus that. 0 where nothing jumps."""
        if self.gain <= 1:
            return 0.0
        s = math.sqrt(1 - 1 / self.gain)
        return self.gain * s - math.atanh(s)

    @cached_property
    def area(self) -> float:
        """Area between the two branches, h times b; 0 where nothing jumps."""
        if self.gain <= 1:
            return 0.0
        s, high = math.sqrt(1 - 1 / self.gain), self.upper(self.jump)

        def integral(h: float) -> float:  # of the bias over the state
            return h * math.atanh(h) + 0.5 * math.log1p(-h * h) - self.gain * h * h / 2

        return 2 * ((high + s) * self.jump - integral(high) + integral(s))

    def upper(self, bias: float) -> float:
        """Return the stable state of larger h at a bias; with a gain of at most 1, the only state.

        Parameters
        ----------
        bias : float
            NaN is returned below minus the jump.
        """
        if self.gain > 1 and bias < -self.jump:
            return math.nan
        low = math.sqrt(max(1 - 1 / self.gain, 0.0))

        def excess(h: float) -> float:
            return math.atanh(h) - self.gain * h - bias

        # From the smallest state of this branch; of all states where there is no loop.
        return bracketed_root(excess, low if self.gain > 1 else -_INSIDE, _INSIDE)


def weight_decay_collapse(modes: ArrayLike, depth: int) -> NDArray[np.float64]:
    r"""Return the weight decay at which each mode of a deep linear net vanishes.

    For the loss :math:`\frac12 \|Y - W_L \cdots W_1\|_F^2 + \frac{\lambda}{2} \sum_l \|W_l\|_F^2` a mode of
    strength y in the data is learned as :math:`u^L` with :math:`\lambda = (y - u^L) u^{L-2}`. From three
    layers on it vanishes in a jump, at :math:`\lambda = u^{L-2} y L/(2L - 2)` with
    :math:`u^L = y (L-2)/(2L-2)`, and never comes back while there is decay: u = 0 stays stable. With two
    layers it fades out at :math:`\lambda = y`.

    Parameters
    ----------
    modes : array
        Singular values y of the correlation of targets with whitened inputs, not negative.
    depth : int
        Number of layers L, at least 2.

    Returns
    -------
    array
        In the unit of `modes` to the power :math:`2 - 2/L`.

    Raises
    ------
    InputError
        If `depth` is below 2 or a mode is negative.

    Notes
    -----
    `λ` is what an optimiser such as ``torch.optim.SGD`` calls ``weight_decay``, where the loss is half a sum
    of squares over outputs, averaged over samples. Derived here.

    Examples
    --------
    >>> [round(float(weight_decay_collapse(1.0, depth)), 6) for depth in (2, 3, 4)]
    [1.0, 0.47247, 0.3849]
    """
    y = _modes(modes, depth)
    u = (y * (depth - 2) / (2 * depth - 2)) ** (1 / depth)
    return np.asarray(u ** (depth - 2) * y * depth / (2 * depth - 2))


def decayed_modes(modes: ArrayLike, depth: int, decay: float) -> NDArray[np.float64]:
    r"""Return how strongly a deep linear net holds each mode under weight decay, once learned.

    The larger root :math:`u^L` of :math:`\lambda = (y - u^L) u^{L-2}`, of a net that starts with every mode
    learned; 0 for modes that weight decay has removed.

    Parameters
    ----------
    modes : array
        Singular values y, as for :func:`weight_decay_collapse`.
    depth : int
        Number of layers L, at least 2.
    decay : float
        Weight decay, not negative.

    Returns
    -------
    array
        Of the shape of `modes`; the number that survive is ``(decayed_modes(...) > 0).sum()``.

    Raises
    ------
    InputError
        If `depth` is below 2, or a mode or `decay` is negative.

    Notes
    -----
    Derived here; see :func:`weight_decay_collapse` for the loss.

    Examples
    --------
    >>> decayed_modes([1.0, 0.2], 3, 0.1).round(4)
    array([0.8963, 0.    ])
    """
    y = _modes(modes, depth)
    if not decay >= 0:
        raise InputError(f"The weight decay is {decay}.", "Give a number from 0.")

    def held(mode: float, limit: float) -> float:
        if mode == 0 or decay >= limit:
            return 0.0
        low = (mode * (depth - 2) / (2 * depth - 2)) ** (1 / depth)
        high = mode ** (1 / depth)
        if decay == 0:
            return mode
        return bracketed_root(lambda u: (mode - u**depth) * u ** (depth - 2) - decay, low, high) ** depth

    limits = weight_decay_collapse(y, depth)
    kept = [held(float(mode), float(limit)) for mode, limit in zip(y.ravel(), limits.ravel(), strict=True)]
    return np.array(kept).reshape(y.shape)


def _modes(modes: ArrayLike, depth: int) -> NDArray[np.float64]:
    y = np.asarray(modes, dtype=np.float64)
    if depth < 2:
        raise InputError(f"depth is {depth}.", "Give the number of layers, at least 2.")
    if not (y >= 0).all():
        raise InputError(f"The modes hold {y.min()}.", "Give singular values, which are not negative.")
    return y
