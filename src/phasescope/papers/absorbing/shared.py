"""What all parts of the study ``absorbing`` share: activation, bias, and the point of the critical line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import brentq

from phasescope.activations import Activation, load_activation
from phasescope.errors import InputError, NoCriticalPointError
from phasescope.estimate import Estimate
from phasescope.studies.drawing import short
from phasescope.studies.part import StudySettings, Variable
from phasescope.theory import CriticalLinePoint, MeanField, critical_line
from phasescope.userfiles import contents_hash, is_file_spec

STUDY = "absorbing"
# Between these biases the point of a given kappa is looked for; so far off the line, in ln(C_W), that of a
# given growth.
_BIASES = (1e-4, 3.0)
_REACH = 6.0


class Common(StudySettings):
    """Settings that every part reads."""

    # the one that single-activation parts follow: a name, or ``FILE.py:function`` of the user's own
    activation: str = "tanh"
    # those it is compared with where universality is the question
    compared: tuple[str, ...] = ("tanh", "erf", "sin")
    sigma_b: float = 0.3  # standard deviation of the biases
    # mnist, fashion_mnist: folders of the user's own copies; empty to do without
    mnist: str = ""
    fashion_mnist: str = ""

    @property
    def activations(self) -> tuple[str, ...]:
        """The activation followed, then those it is compared with, each once."""
        return tuple(dict.fromkeys([self.activation, *self.compared]))


def identified(spec: str) -> dict[str, Any]:
    """Return the parameters by which a task knows an activation: its name and, of a file, its contents."""
    if not is_file_spec(spec):
        return {"activation": spec}
    return {"activation": spec, "file_sha256": contents_hash(spec)}


def activation_of(parameters: Mapping[str, Any]) -> Activation:
    """Return the activation of a task, made sure to be the one that the task was planned with."""
    spec = str(parameters["activation"])
    known = {key: parameters[key] for key in ("activation", "file_sha256") if key in parameters}
    if identified(spec) != known:
        raise InputError(f"{spec} has changed while the study was running.", "Run the same command again.")
    return _loaded(**known)


@lru_cache(maxsize=64)
def _loaded(activation: str, file_sha256: str = "") -> Activation:
    """Return the activation; the hash is what tells one version of a file from the next."""
    return load_activation(activation)


def line_point(spec: str, sigma_b: float) -> CriticalLinePoint:
    """Return the critical line's point of an activation."""
    return _on_the_line(sigma_b, **identified(spec))


@lru_cache(maxsize=256)
def _on_the_line(sigma_b: float, activation: str, file_sha256: str = "") -> CriticalLinePoint:
    """Return the point; every task of a part asks for it again."""
    return critical_line(_loaded(activation, file_sha256), sigma_b)


QUANTITIES = ("sigma_w", "K", "chi_q", "kappa", "gamma", "k3", "v", "d0")
LINE = Variable(("quantity",), "point of the critical line: " + ", ".join(QUANTITIES))


def point_or_none(spec: str, sigma_b: float) -> CriticalLinePoint | None:
    """Return the critical line's point of an activation, or None where it has none at this bias."""
    try:
        return line_point(spec, sigma_b)
    except NoCriticalPointError:
        return None


def point_of(parameters: Mapping[str, Any]) -> CriticalLinePoint | None:
    """Return the point of a task's activation, made sure to be the one that the task was planned with."""
    activation_of(parameters)
    return point_or_none(parameters["activation"], parameters["sigma_b"])


def at_kappa(spec: str, kappa: float) -> CriticalLinePoint | None:
    """Return the point of the critical line with that kappa, or None where there is none."""
    return _at_kappa(kappa, **identified(spec))


@lru_cache(maxsize=256)
def _at_kappa(kappa: float, activation: str, file_sha256: str = "") -> CriticalLinePoint | None:
    """Return the point; kappa rises with the bias where activations are odd."""

    def excess(log_bias: float) -> float:
        point = point_or_none(activation, math.exp(log_bias))
        return math.log(point.kappa / kappa) if point else math.nan

    ends = [math.log(bias) for bias in _BIASES]
    low, high = map(excess, ends)
    if not low < 0 < high:
        return None
    return line_point(activation, math.exp(brentq(excess, *ends, xtol=1e-9)))


def off_line(activation: Activation, point: CriticalLinePoint, depth: int, growth: float) -> MeanField | None:
    """Return the network with ``chi_1^depth = exp(growth)`` at a critical point's bias, or None.

    It is the nearest to the critical line: sigma_w is moved in growing steps until it is passed.
    """

    def field(log_factor: float) -> MeanField:
        return MeanField(activation, point.C_W * math.exp(log_factor), point.C_b)

    def excess(log_factor: float) -> float:
        chi = field(log_factor).fixed_point(point.K).chi_perpendicular
        return math.log(max(chi, 1e-12)) * depth - growth

    if growth == 0:
        return field(0.0)
    inner, outer = 0.0, math.copysign(0.01, growth)
    while not excess(outer) * growth > 0:
        inner, outer = outer, 2 * outer
        if abs(outer) > _REACH:
            return None
    return field(brentq(excess, inner, outer, xtol=1e-9))


def values(point: CriticalLinePoint | None) -> np.ndarray:
    """Return the numbers named in `QUANTITIES`; NaN where they do not exist."""
    if point is None:
        return np.full(len(QUANTITIES), math.nan)
    return np.array([getattr(point, name) for name in QUANTITIES], dtype=np.float64)


def named(row: np.ndarray) -> dict[str, float]:
    """Return the numbers of :func:`values`, a row of the data, by name."""
    return dict(zip(QUANTITIES, map(float, row), strict=True))


def missing(line: Mapping[str, float], spec: str, sigma_b: float, *, curved: bool = False) -> str:
    """Return why an activation cannot be followed, or an empty string."""
    name = short(spec)
    if not math.isfinite(line["sigma_w"]):
        return f"{name} has no critical line at sigma_b = {sigma_b:g} (theory.critical_line says why)"
    if curved and not math.isfinite(line["kappa"]):
        return f"{name} has no kappa: its slope jumps, so 1 - c enters as (1 - c)^(3/2)"
    if curved and not math.isfinite(line["k3"]):
        return f"{name} has no k3: its second derivative jumps, so the logarithmic correction is another"
    return ""


def is_odd(spec: str) -> bool:
    """Return whether the activation is an odd function."""
    function = _loaded(**identified(spec))
    z = torch.linspace(0, 8, 401, dtype=torch.float64)
    return bool((function(z) + function(-z)).abs().max() < 1e-12)


def weighted_mean(values: Sequence[float], weights: Sequence[float], method: str) -> Estimate:
    """Return the mean of numbers whose weights are one over their variances."""
    mean, total = np.average(values, weights=weights, returned=True)
    return Estimate(float(mean), float(total**-0.5), method, len(weights))


def mean_ratio(pairs: Sequence[tuple[Estimate, float]], method: str) -> Estimate:
    """Return the weighted mean of measured over expected numbers."""
    ratios = [found.value / expected for found, expected in pairs]
    # Weights must not know the measured value, or small ones would count more.
    weights = [(expected / found.error) ** 2 for found, expected in pairs]
    return weighted_mean(ratios, weights, method)
