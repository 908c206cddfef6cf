"""What to use in place of an activation without a critical point, and what each way costs in ten layers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory.critical import CriticalPoint, critical_point
from phasescope.theory.finite_width import LINEAR_RATE
from phasescope.theory.gaussian import expectation
from phasescope.theory.marginal import first_layer_kernel
from phasescope.theory.moments import mean_square_slope, second_moment, second_moment_slope

_DEPTH = 10
_DEEP = 50
# Where an activation is looked at as well, in this order: a constant bias moves it there.
_SHIFTS = (0, 1, -1, 2, -2)
_RESIDUAL = 0.1
_DENSE = 0.3


def alternatives(activation: Spec) -> tuple[str, ...]:
    """Return what to use in place of an activation without a critical point, the best first; else nothing.

    Where the theory finds them: a relative with a critical point (``MRePU_p`` for ``RePU_p``; for others the
    same function with a constant bias, less its value there, ``s(z + c) - s(c)``); weights and biases with
    which K = 1 attracts and ``chi_perp = 1``; LayerNorm, whose ``chi_perp`` is ``<s'^2>/<s^2>`` before the
    activation and ``<s'^2>/Var(s)`` after it, at K = 1. Where that leaves kernels that explode, also
    residual branches times 0.1, ``z' = z + 0.1 W s(z)``, and dense connections, where each layer reads all
    earlier ones. The last sentence says what the activation costs as it is, with the weights that keep K = 1
    without bias, ``C_W = 1/<s^2>``.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.

    Raises
    ------
    InputError
        If the activation cannot be used, as for :func:`critical_point`.

    Notes
    -----
    All numbers are means of the kernel's theory, at infinite width and at initialisation. A factor in
    differences of norm is ``chi_par^10``, one in gradients ``chi_perp^10`` (of their square). Cost: 0.1 to
    0.3 s. Sources: arXiv:2106.10165 for the susceptibilities, arXiv:2408.02697 for MRePU; the slopes with
    normalisation follow from the kernel 1 that it sets.
    """
    function = as_activation(activation)
    if critical_point(function).universality_class != "none":
        return ()
    if function.jumps:
        return (
            f"A continuous activation. Neither variances nor normalisation mend the jump of {function.name} "
            f"at z = {function.jumps[0]:.4g}: close inputs separate in one layer, which no gradient sees.",
        )
    try:
        at_one = _AtOne.of(function)
    except InputError:
        return (
            f"An activation that grows more slowly: the mean square of {function.name} is infinite at K = 1.",
        )
    if at_one.steepness == 0:
        return (f"An activation with a slope: {function.name} is flat, and no gradient passes it.",)
    relative = _relative(function)
    found = [relative.text, _line(function, at_one), at_one.normalised(function.name)]
    if at_one.ratio > 1 and relative.repels:
        found += [_residual(function), _dense(function)]
    return (*filter(None, found), at_one.cost())


class _AtOne(NamedTuple):
    """The Gaussian means at K = 1."""

    square: float
    slope: float
    steepness: float  # <s'^2>
    mean: float

    @classmethod
    def of(cls, function: Activation) -> _AtOne:
        mean = float(expectation(function, 1.0, kinks=function.kinks))
        square = second_moment(function, 1.0)
        return cls(square, second_moment_slope(function, 1.0), mean_square_slope(function, 1.0), mean)

    @property
    def ratio(self) -> float:
        return self.slope / self.steepness

    def cost(self) -> str:
        parallel, perpendicular = self.slope / self.square, self.steepness / self.square
        return (
            f"As it is: C_W = {1 / self.square:.4g} without bias keeps K = 1, with chi_par = {parallel:.4g} "
            f"and chi_perp = {perpendicular:.4g}: in {_DEPTH} layers differences in norm change by a factor "
            f"{abs(parallel) ** _DEPTH:.3g} and squared gradients by {perpendicular**_DEPTH:.3g}."
        )

    def normalised(self, name: str) -> str:
        before, after = self.steepness / self.square, self.steepness / (self.square - self.mean**2)
        if abs(math.log(after)) < abs(math.log(before)):
            place, growth = f"after {name}, which takes out its mean,", after
        else:
            place, growth = f"before {name}", before
        return (
            f"LayerNorm {place} holds the norm; squared gradients change by a factor {growth:.4g} a layer, "
            f"{growth**_DEPTH:.3g} in {_DEPTH}."
        )


class _Relative(NamedTuple):
    """A neighbour of an activation that has a critical point, in words."""

    text: str
    repels: bool  # or there is none


def _relative(function: Activation) -> _Relative:
    family, powers = function.closed_form or ("", ())
    if family == "repu":
        return _modified(function.name, int(powers[0]))
    unstable = None
    for shift in _SHIFTS:
        point = critical_point(_moved(function, shift))
        # A rate of 2 beside 0 is that of a straight line: nothing would be left of the activation.
        if point.universality_class == "none" or (shift and point.nu == LINEAR_RATE):
            continue
        if point.stable is not False:
            return _Relative(_described(point), repels=False)
        unstable = unstable or point
    return _Relative("" if unstable is None else _described(unstable), repels=True)


def _described(point: CriticalPoint) -> str:
    fate = {True: "attracts", False: "repels", None: "attracts from one side"}[point.stable]
    coefficient = "" if point.a1 is None else f" (a1 = {point.a1:.4g})"
    start = ""
    if point.stable is False and point.a1:
        start = f" and K_1 = {1 / (2 * point.a1 * _DEPTH):.3g} for {_DEPTH} layers"
    return (
        f"{point.activation}: its K* = {point.K or 0:.4g} is critical and {fate}{coefficient}, with "
        f"C_W = {point.C_W:.6g}, C_b = {point.C_b:.6g}{start}."
    )


def _moved(function: Activation, shift: int) -> Activation:
    """Return ``s(z + shift) - s(shift)``, named as one would write it."""
    offset = float(function(torch.tensor([shift], dtype=torch.float64)))
    argument = f"z {'+' if shift > 0 else '-'} {abs(shift)}" if shift else "z"
    name = f"{function.name}({argument})" + (
        f" {'-' if offset > 0 else '+'} {abs(offset):.6g}" if offset else ""
    )
    kinks = tuple(kink - shift for kink in function.kinks)
    moved = partial(_shifted, function, shift, offset)
    return replace(function, name=name, function=moved, kinks=kinks, closed_form=None)


def _shifted(function: Activation, shift: int, offset: float, z: Tensor) -> Tensor:
    return function.function(z + shift) - offset


def _modified(name: str, p: int) -> _Relative:
    start, deep = (first_layer_kernel(f"mrepu{p}", depth) for depth in (_DEPTH, _DEEP))
    a1 = 3 * p * (2 * p - 1)
    text = (
        f"mrepu{p}: its K* = 0 is critical but repels (a1 = {a1}), with C_W = 1, C_b = 0 and "
        f"K_1 = {start:.3g} for {_DEPTH} layers, {deep:.3g} for {_DEEP}."
    )
    if p > 1:
        lower = first_layer_kernel(f"mrepu{p - 1}", _DEPTH)
        text += f" mrepu{p - 1}, of the degree of {name}, allows K_1 = {lower:.3g} for {_DEPTH}."
    return _Relative(text, repels=True)


def _line(function: Activation, at_one: _AtOne) -> str:
    """Return the variances with which K = 1 attracts and small differences in direction keep their size."""
    C_W = 1 / at_one.steepness
    C_b = 1 - C_W * at_one.square
    if C_b < 0 or abs(at_one.ratio) >= 1:
        return ""
    return (
        f"{function.name} with C_W = {C_W:.6g}, C_b = {C_b:.6g}: K = 1 attracts and chi_perp = 1, so "
        f"gradients keep their size; chi_par = {at_one.ratio:.4g}, so differences in norm are forgotten."
    )


def _residual(function: Activation) -> str:
    K = growth = 1.0
    for layer in range(_DEPTH):
        try:
            growth *= 1 + _RESIDUAL**2 * mean_square_slope(function, K)
            K += _RESIDUAL**2 * second_moment(function, K)
        except InputError:
            K = math.inf
        if K > 10:
            return (
                f"Not residual branches times {_RESIDUAL}: from K = 1 the kernel grows tenfold in "
                f"{layer + 1} layers; they need a smaller factor."
            )
    return (
        f"Residual branches times {_RESIDUAL}, C_W = 1: from K = 1 the kernel grows by a factor {K:.3g} in "
        f"{_DEPTH} layers, squared gradients by {growth:.3g}; larger inputs can still explode."
    )


def _dense(function: Activation) -> str:
    squares, kernels = [1.0], []
    for _ in range(_DEPTH):
        kernels.append(_DENSE * sum(squares) / len(squares))
        if kernels[-1] > 10:
            return ""
        squares.append(second_moment(function, kernels[-1]))
    return (
        f"Dense connections (each layer reads all earlier ones), C_W = {_DENSE}: for inputs of mean square 1 "
        f"the kernel stays between {min(kernels):.3g} and {max(kernels):.3g} over {_DEPTH} layers."
    )
