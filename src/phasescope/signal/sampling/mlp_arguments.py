"""The arguments of samples of random networks, checked."""

from __future__ import annotations

import math
import numbers

from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.signal.differences import differences, two_slopes
from phasescope.signal.sampling.replicas import Ensemble
from phasescope.theory import MeanField
from phasescope.theory.moments import second_moment


def ensemble_of(
    function: Activation,
    width: int,
    C_W: float,
    C_b: float,
    *,
    replicas: int,
    tangent: bool,
    residual: float,
    layer_norm: bool,
) -> Ensemble:
    """Return the ensemble that these arguments describe, after checking them."""
    check_counts(width=width, replicas=replicas)
    for name, value, least in (("C_W", C_W, "above 0"), ("C_b", C_b, "of at least 0")):
        if not is_number(value) or value < 0 or (value == 0 and name == "C_W"):
            raise InputError(f"{name} = {value!r}.", f"Give a finite number {least}.")
    if not is_number(residual) or not 0 <= residual < 1:
        raise InputError(f"residual = {residual!r}.", "The residual weight lies in [0, 1).")
    if replicas > 1 and width < 2:
        raise InputError(
            f"width = {width} with {replicas} replicas: two vectors of one entry are always parallel.",
            "Take a width of at least 2.",
        )
    if layer_norm and width < 3:
        raise InputError(
            f"layer_norm with width = {width}: what is left of so few neurons is a sign.",
            "Take a width of at least 3.",
        )
    if tangent and function.jumps:
        raise InputError(
            f"Activation {function.name!r} jumps at z = {min(function.jumps, key=abs):g}: it has no tangent.",
            "Follow two replicas at a small distance instead.",
        )
    return Ensemble(
        differences(function),
        width,
        float(C_W),
        float(C_b),
        replicas,
        tangent,
        float(residual),
        layer_norm,
        scale_free=C_b == 0 and not layer_norm and two_slopes(function) is not None,
    )


def first_kernel(function: Activation, kernel: float | None, ensemble: Ensemble) -> float:
    """Return the kernel of the first layer: the user's, or the fixed point at infinite width."""
    if kernel is not None:
        if not is_number(kernel) or kernel <= 0:
            raise InputError(f"kernel = {kernel!r}.", "Give a finite number above 0.")
        return float(kernel)
    if ensemble.layer_norm:
        return ensemble.C_b + ensemble.C_W * second_moment(function, 1.0)
    K = MeanField(function, ensemble.C_W, ensemble.C_b).fixed_point().K
    if not 0 < K < math.inf:
        fate = "vanishes" if K == 0 else "diverges"
        raise InputError(
            f"{function.name} at C_W = {ensemble.C_W:g}, C_b = {ensemble.C_b:g}: the kernel {fate} with "
            "depth, so no fixed point can be the kernel of the first layer.",
            "Give kernel=, the variance of the pre-activations of layer 1.",
        )
    return K


def check_counts(**counts: object) -> None:
    """Refuse numbers that are not whole or below 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise InputError(f"{name} = {value!r}.", "Give a whole number of at least 1.")


def check_seed(seed: object) -> None:
    """Refuse a seed that is not a whole number from 0."""
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise InputError(f"seed = {seed!r}.", "Give a whole number from 0.")


def is_number(value: object) -> bool:
    """Return whether `value` is a finite real number."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real) and math.isfinite(value)
