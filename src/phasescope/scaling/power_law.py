"""Power laws: exponent, amplitude and leading correction, on a window where the local slopes stand still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.scaling.local_slopes import LocalSlopes, checked_abscissa, slopes_of
from phasescope.scaling.log_data import Array, LogData, Statistic, goodness, log_data
from phasescope.scaling.power_law_model import Correction, PowerLawModel, least_squares
from phasescope.scaling.window import choose_window

FEWEST_POINTS = 6
DECADE = math.log(10) * (1 - 1e-9)
_DOUBTFUL = 0.01
_SPAN = math.sqrt(10)


@dataclass(frozen=True)
class PowerLawFit:
    """A fitted power law; :func:`fit_power_law` makes it.

    Parameters
    ----------
    exponent, amplitude : Estimate
        ``y = amplitude x^exponent`` where the correction is small; a decay has a negative exponent.
    correction : {"log", "power"} or None
        Its form.
    coefficients : mapping of str to Estimate
        Of the correction: ``b`` and ``c``, or ``b`` and ``omega``.
    window : tuple of float or None
        First and last x of the fit.
    why : str
        How the window came about, or why there is no fit.
    quality : float
        Squared residuals over what chance leads one to expect, the correlations of points included; NaN
        where no errors are known.
    p_value : float
        Chance of a larger `quality` if the law holds.
    slopes : LocalSlopes
        Of all points, not only of the window.
    x, y, error : arrays of shape (points,)
        The data: mean or typical value with its standard error, NaN where none is known.
    fitted : array of shape (points,)
        The law at `x`; NaN where nothing was fitted.
    """

    exponent: Estimate
    amplitude: Estimate
    correction: Correction | None
    coefficients: Mapping[str, Estimate]
    window: tuple[float, float] | None
    why: str
    quality: float
    p_value: float
    slopes: LocalSlopes
    x: Array = field(repr=False)
    y: Array = field(repr=False)
    error: Array = field(repr=False)
    fitted: Array = field(repr=False)

    @property
    def determined(self) -> bool:
        """Whether there is a fit."""
        return self.exponent.determined

    def __str__(self) -> str:
        if not self.determined:
            return f"power law not determined: {self.why}"
        assert self.window is not None
        form = {
            None: "y = A x^e",
            "log": "y = A x^e / (1 + (b ln x + c)/x)",
            "power": "y = A x^e (1 + b x^-omega)",
        }
        lines = [
            f"{form[self.correction]}   e = {self.exponent}   A = {self.amplitude}",
            f"  window {self.window[0]:.4g} to {self.window[1]:.4g}: {self.why}",
        ]
        if self.coefficients:
            lines.append("  " + "   ".join(f"{key} = {value}" for key, value in self.coefficients.items()))
        if math.isfinite(self.quality):
            lines.append(f"  quality {self.quality:.2f} (1 is chance), p = {self.p_value:.2g}")
        return "\n".join(lines)


def fit_power_law(
    x: ArrayLike,
    y: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    window: tuple[float, float] | None = None,
    correction: Correction | None = None,
    exponent: float | None = None,
    omega: float | None = 1.0,
    statistic: Statistic = "mean",
    resamples: int = 400,
    seed: int = 0,
) -> PowerLawFit:
    """Return the power law that data follow, with errors, local slopes and the window of the fit.

    Parameters
    ----------
    x : array of shape (points,)
        Positive and ascending.
    y : array of shape (points,) or (networks, points)
        Positive. Rows are independent networks; the points of one network may depend on each other.
    errors : array of shape (points,) or None
        Standard errors of independent points; without them and without networks, errors come from the
        scatter about the fit.
    window : tuple of float or None
        Smallest and largest x to fit. None chooses the longest window of at least a decade along which the
        data show no curvature beyond the law, fit it with a p-value of at least 0.1, and have a correction of
        at most 1 at the first point: its square is left out.
    correction : {"log", "power"} or None
        None: ``y = A x^e``. "log": ``y = A x^e / (1 + (b ln x + c)/x)``, the form of a critical network:
        ``1/rho = kappa l + (kappa - k3/kappa) ln l + const``. "power": ``y = A x^e (1 + b x^-omega)``.
    exponent : float or None
        Held at this value; None to fit it.
    omega : float or None
        Of the power correction; None to fit it, which takes very precise data.
    statistic : {"mean", "typical"}
        ``mean y``, or ``exp mean ln y``, which rare networks do not dominate.
    resamples : int
        Bootstrap draws.
    seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        If `y` holds NaN or values that are not positive, shapes differ, `window` has no points, or the form
        is unknown.

    Notes
    -----
    Least squares of ``ln y`` with weights 1/error^2. Errors are half the 68 % interval of a bootstrap over
    networks, each a full refit, so correlated points count as they should. They grow by ``sqrt(quality)``
    where the p-value is below 0.01; and where the exponent of the upper two thirds of the window differs
    from the whole by more than chance, by what chance leaves of the difference. Not determined below a
    decade or 6 points. Fails: corrections as slow as ``x^-1/2`` bend a curve too little to be seen and bias
    a plain fit (fit them with ``correction="power"``); heavy tails over few networks, where the bootstrap
    sees too little (take the typical value). Cost: some 30 ms. Source: derived here.
    """
    if correction not in (None, "log", "power"):
        raise InputError(f"correction = {correction!r}.", "Choose None, 'log' or 'power'.")
    if resamples < 20:
        raise InputError(f"resamples = {resamples}.", "Draw at least 20.")
    data = log_data(y, errors, statistic)
    ln_x = checked_abscissa(x, data)
    points = np.asarray(x, dtype=np.float64)
    slopes = slopes_of(ln_x, data, _SPAN)
    model = PowerLawModel(correction, exponent, omega, 1.0)
    fewest = max(FEWEST_POINTS, len(model.names) + 3)
    if window is None:
        inside, why = choose_window(model, points, data, fewest, DECADE)
    else:
        inside, why = _given(window, points, fewest)
    shared = (correction, slopes, points, np.exp(data.ln_y), np.exp(data.ln_y) * data.relative)
    if inside is None:
        return _not_determined(why, data, *shared)
    return _fit(model, inside, why, data, resamples, np.random.default_rng(seed), *shared)


def _given(window: tuple[float, float], x: Array, fewest: int) -> tuple[NDArray[np.bool_] | None, str]:
    low, high = window
    inside = (x >= low * (1 - 1e-9)) & (x <= high * (1 + 1e-9))
    if not inside.any():
        raise InputError(
            f"window = ({low:g}, {high:g}) holds none of the points from {x[0]:g} to {x[-1]:g}.",
            "Choose it among them.",
        )
    if inside.sum() < fewest:
        return None, f"{int(inside.sum())} points in the window, at least {fewest} needed"
    if math.log(x[inside][-1] / x[inside][0]) < DECADE:
        return None, f"x from {x[inside][0]:.4g} to {x[inside][-1]:.4g} is less than a decade"
    return inside, "as given"


def _not_determined(
    why: str,
    data: LogData,
    correction: Correction | None,
    slopes: LocalSlopes,
    x: Array,
    y: Array,
    error: Array,
) -> PowerLawFit:
    none = Estimate.not_determined(why, method="power-law fit", n=data.networks)
    empty = np.full_like(x, math.nan)
    return PowerLawFit(none, none, correction, {}, None, why, math.nan, math.nan, slopes, x, y, error, empty)


def _fit(
    model: PowerLawModel,
    inside: NDArray[np.bool_],
    why: str,
    data: LogData,
    resamples: int,
    rng: np.random.Generator,
    correction: Correction | None,
    slopes: LocalSlopes,
    x: Array,
    y: Array,
    error: Array,
) -> PowerLawFit:
    here, part = x[inside], data.at(inside)
    model = replace(model, scale=float(here[0]))
    best, chi2 = least_squares(model, here, part.ln_y[None], part.relative, model.start(here, part.ln_y))
    if not part.known:
        scatter = math.sqrt(float(chi2[0]) / (len(here) - len(model.names)))
        part = replace(part, relative=np.full(len(here), max(scatter, 1e-15)))
        error = np.full_like(error, math.nan)
    value, jacobian = model.evaluate(best, here)
    quality, p_value = math.nan, math.nan
    if part.known:
        unit = part.relative
        quality, p_value = goodness(
            (part.ln_y - value[0]) / unit,
            jacobian[0] / unit[:, None],
            part.covariance() / np.outer(unit, unit),
            part.networks,
        )
    drawn = part.resampled(resamples, rng)
    draws, _ = least_squares(model, here, drawn, part.relative, best[0], steps=12)
    inflation = math.sqrt(max(1.0, quality)) if p_value < _DOUBTFUL else 1.0
    drift = _drift(model, here, part, drawn, best[0], draws)
    span = (float(here[0]), float(here[-1]))
    method = f"least squares, {part.statistic}, " + ("bootstrap" if part.networks else "known errors")
    method = method if part.known else "least squares, errors from scatter"
    names = model.names
    physical, physical_draws = _physical(model, best), _physical(model, draws)
    estimates = {
        key: Estimate(
            float(physical[key][0]),
            math.hypot(_spread(physical_draws[key]) * inflation, drift if key == "exponent" else 0.0),
            method,
            part.networks or len(here),
            span,
        )
        for key in physical
    }
    if "exponent" not in names:
        estimates["exponent"] = Estimate(float(model.exponent or 0.0), 0.0, "held fixed", 0, span)
    fitted = np.full_like(x, math.nan)
    fitted[inside] = np.exp(value[0])
    rest = {key: value for key, value in estimates.items() if key not in ("exponent", "A")}
    return PowerLawFit(
        estimates["exponent"], estimates["A"], correction, rest, span, why, quality, p_value, slopes,
        x, y, error, fitted,
    )  # fmt: skip


def _spread(draws: Array) -> float:
    low, high = np.quantile(draws, [0.158655, 0.841345])
    return float(high - low) / 2


def _physical(model: PowerLawModel, parameters: Array) -> dict[str, Array]:
    """Return amplitude, exponent and coefficients in the user's unit of x, one entry a draw."""
    held = dict(zip(model.names, parameters.T, strict=True))
    scale, exponent = model.scale, held.get("exponent", model.exponent)
    found = {"A": np.exp(held["ln A"]) * scale ** -np.asarray(exponent, dtype=np.float64)}
    if "exponent" in held:
        found["exponent"] = held["exponent"]
    if model.correction == "log":
        found["b"] = scale * held["b"]
        found["c"] = scale * (held["c"] - held["b"] * math.log(scale))
    elif model.correction == "power":
        omega = held.get("omega", model.omega)
        found["b"] = held["b"] * scale ** np.asarray(omega, dtype=np.float64)
        if "omega" in held:
            found["omega"] = held["omega"]
    return found


def _drift(model: PowerLawModel, x: Array, data: LogData, drawn: Array, best: Array, draws: Array) -> float:
    """Return by how much the exponent depends on where the window begins, chance taken off."""
    ln_x = np.log(x)
    upper = ln_x >= ln_x[0] + (ln_x[-1] - ln_x[0]) / 3
    if "exponent" not in model.names or upper.sum() < len(model.names) + 2:
        return 0.0
    index = model.names.index("exponent")
    both = np.concatenate([data.ln_y[None], drawn])[:, upper]
    refit, _ = least_squares(model, x[upper], both, data.relative[upper], best, steps=20)
    shift = refit[0, index] - best[index]
    chance = _spread(refit[1:, index] - draws[:, index])
    return math.sqrt(shift**2 - chance**2) if abs(shift) > chance else 0.0
