"""Power laws with their corrections, in logarithms, and least squares for many data at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from phasescope.scaling.log_data import Array

Correction = Literal["log", "power"]


@dataclass(frozen=True)
class PowerLawModel:
    """``ln y`` as a function of ``x`` and of a vector of parameters."""

    correction: Correction | None  # see :func:`phasescope.scaling.fit_power_law`
    exponent: float | None  # held at this value; None to fit it
    omega: float | None  # exponent of the power correction held at this value; None to fit it
    scale: float  # unit of x inside, so that all parameters are of order 1

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that are fitted, in order; ``ln A`` first, all in units of `scale`."""
        names = ["ln A"] + ([] if self.exponent is not None else ["exponent"])
        if self.correction == "log":
            names += ["b", "c"]
        elif self.correction == "power":
            names += ["b"] + ([] if self.omega is not None else ["omega"])
        return tuple(names)

    def start(self, x: Array, ln_y: Array) -> Array:
        """Return parameters of the plain power law that is nearest."""
        ln = np.log(x / self.scale)
        slope = np.polyfit(ln, ln_y, 1)[0] if self.exponent is None else self.exponent
        begin = {"ln A": float(np.mean(ln_y - slope * ln)), "exponent": slope, "b": 0.05, "c": 0.0}
        return np.array([begin.get(name, 1.0) for name in self.names])

    def evaluate(self, parameters: Array, x: Array) -> tuple[Array, Array]:
        """Return ``ln y`` (draws, points) and its derivatives (draws, points, parameters)."""
        ln = np.log(x / self.scale)
        held = dict(zip(self.names, parameters.T[:, :, None], strict=True))
        exponent = held.get("exponent", self.exponent)
        value = held["ln A"] + exponent * ln
        slopes = {"ln A": np.ones_like(value), "exponent": np.broadcast_to(ln, value.shape)}
        if self.correction == "log":
            factor = 1 + (held["b"] * ln + held["c"]) * self.scale / x
            safe = np.maximum(factor, 1e-3)
            value = value - np.log(safe)
            slopes["b"] = -(ln * self.scale / x) / safe
            slopes["c"] = -(self.scale / x) / safe
        elif self.correction == "power":
            omega = held["omega"] if self.omega is None else self.omega
            decay = np.exp(-omega * ln)
            safe = np.maximum(1 + held["b"] * decay, 1e-3)
            value = value + np.log(safe)
            slopes["b"] = decay / safe
            slopes["omega"] = -held["b"] * decay * ln / safe
        return value, np.stack([slopes[name] for name in self.names], axis=-1)


def least_squares(
    model: PowerLawModel, x: Array, ln_y: Array, unit: Array, start: Array, *, steps: int = 60
) -> tuple[Array, Array]:
    """Return the parameters of each draw, (draws, parameters), and chi^2, by damped Gauss-Newton steps.

    Shapes: `x` (points,), `ln_y` (draws, points), `unit` (points,), `start` (parameters,).
    """
    current = np.tile(start, (len(ln_y), 1))
    damping = np.full(len(ln_y), 1e-3)
    value, slopes = model.evaluate(current, x)
    chi2 = (((ln_y - value) / unit) ** 2).sum(axis=1)
    for _ in range(steps):
        residual, jacobian = (ln_y - value) / unit, slopes / unit[:, None]
        square = np.einsum("dpi,dpj->dij", jacobian, jacobian)
        pull = np.einsum("dpi,dp->di", jacobian, residual)
        diagonal = np.einsum("dii->di", square)
        ridge = (damping[:, None] * diagonal + 1e-14 * diagonal.max(axis=1, keepdims=True))[:, :, None]
        step = np.linalg.solve(square + ridge * np.eye(square.shape[-1]), pull[:, :, None])[:, :, 0]
        moved, moved_slopes = model.evaluate(current + step, x)
        trial = (((ln_y - moved) / unit) ** 2).sum(axis=1)
        better = trial <= chi2
        gained = np.where(better, chi2 - trial, 0.0)
        damping = np.where(better, damping / 10, damping * 10)
        current = np.where(better[:, None], current + step, current)
        value = np.where(better[:, None], moved, value)
        slopes = np.where(better[:, None, None], moved_slopes, slopes)
        chi2 = np.where(better, trial, chi2)
        if (better & (gained <= 1e-12 * (chi2 + 1e-30))).all() or (damping > 1e8).all():
            break
    return current, chi2
