"""Power laws: exponent, amplitude and leading correction, on a window where the local slopes stand still."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.scaling.local_slopes import LocalSlopes, checked_abscissa, slopes_of
from phasescope.scaling.log_data import Array, LogData, Statistic, goodness, log_data

Correction = Literal["log", "power"]

_FEWEST_POINTS = 6
_DECADE = math.log(10) * (1 - 1e-9)
_DOUBTFUL = 0.01
_SPAN = math.sqrt(10)
# What a window is chosen by.
_MOST_ENDS = 16
_LEAST_P = 0.1
_MOST_BEND = 1.0
_LARGEST_CORRECTION = 1.0
# Draws that differ by less than this share agree: what is left is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PowerLawFit(Result):
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
        If `y` holds NaN, complex values or values that are not positive, shapes differ, `window` has no
        points, `exponent` or `omega` cannot be used, or the form is unknown.

    Notes
    -----
    Least squares of ``ln y`` with weights 1/error^2. Errors are half the 68 % interval of a bootstrap over
    networks, each a full refit, so correlated points count as they should. They grow by ``sqrt(quality)``
    where the p-value is below 0.01; and where the exponent of the upper two thirds of the window differs
    from the whole by more than chance, by what chance leaves of the difference. An error below 1e-12 is
    rounding and given as 0, as for networks that are exactly proportional. Not determined below a decade or
    6 points. Fails: corrections as slow as ``x^-1/2`` bend a curve too little to be seen and bias
    a plain fit (fit them with ``correction="power"``); heavy tails over few networks, where the bootstrap
    sees too little (take the typical value). Cost: some 30 ms. Source: derived here.
    """
    if correction not in (None, "log", "power"):
        raise InputError(f"correction = {correction!r}.", "Choose None, 'log' or 'power'.")
    if resamples < 20:
        raise InputError(f"resamples = {resamples}.", "Draw at least 20.")
    if exponent is not None and not math.isfinite(exponent):
        raise InputError(f"exponent = {exponent}.", "Give a finite number, or None to fit it.")
    if omega is not None and not (math.isfinite(omega) and omega > 0):
        raise InputError(f"omega = {omega}.", "Give a positive number, or None to fit it.")
    data = log_data(y, errors, statistic)
    ln_x = checked_abscissa(x, data)
    points = np.asarray(x, dtype=np.float64)
    law = _Law(correction, exponent, omega, 1.0)
    fewest = max(_FEWEST_POINTS, len(law.names) + 3)
    if window is None:
        inside, why = _longest_window(law, points, data, fewest)
    else:
        inside, why = _given_window(window, points, fewest)
    fit = partial(
        PowerLawFit,
        correction=correction,
        why=why,
        slopes=slopes_of(ln_x, data, _SPAN),
        x=points,
        y=np.exp(data.ln_y),
    )
    error = np.exp(data.ln_y) * data.relative if data.known else np.full_like(points, math.nan)
    fitted = np.full_like(points, math.nan)
    if inside is None:
        none = Estimate.not_determined(why, method="power-law fit", n=data.networks)
        return fit(
            none,
            none,
            coefficients={},
            window=None,
            quality=math.nan,
            p_value=math.nan,
            error=error,
            fitted=fitted,
        )
    here = points[inside]
    law = replace(law, scale=float(here[0]))
    rng = np.random.default_rng(seed)
    estimates, quality, p_value, ln_law = _fitted(law, here, data.at(inside), resamples, rng)
    with np.errstate(over="ignore"):
        fitted[inside] = np.exp(ln_law)
    return fit(
        estimates.pop("exponent"),
        estimates.pop("A"),
        coefficients=estimates,
        window=(float(here[0]), float(here[-1])),
        quality=quality,
        p_value=p_value,
        error=error,
        fitted=fitted,
    )


@dataclass(frozen=True)
class _Law:
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


def _least_squares(
    law: _Law, x: Array, ln_y: Array, unit: Array, start: Array, *, steps: int = 60
) -> tuple[Array, Array]:
    """Return the parameters of each draw, (draws, parameters), and chi^2, by damped Gauss-Newton steps.

    All draws of a bootstrap take their steps together; scipy's ``least_squares`` fits one at a time.
    Shapes: `x` (points,), `ln_y` (draws, points), `unit` (points,), `start` (parameters,).
    """
    current = np.tile(start, (len(ln_y), 1))
    damping = np.full(len(ln_y), 1e-3)
    value, slopes = law.evaluate(current, x)
    chi2 = (((ln_y - value) / unit) ** 2).sum(axis=1)
    for _ in range(steps):
        residual, jacobian = (ln_y - value) / unit, slopes / unit[:, None]
        square = np.einsum("dpi,dpj->dij", jacobian, jacobian)
        pull = np.einsum("dpi,dp->di", jacobian, residual)
        diagonal = np.einsum("dii->di", square)
        ridge = (damping[:, None] * diagonal + 1e-14 * diagonal.max(axis=1, keepdims=True))[:, :, None]
        step = np.linalg.solve(square + ridge * np.eye(square.shape[-1]), pull[:, :, None])[:, :, 0]
        moved, moved_slopes = law.evaluate(current + step, x)
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


def _given_window(window: tuple[float, float], x: Array, fewest: int) -> tuple[NDArray[np.bool_] | None, str]:
    low, high = window
    inside = (x >= low * (1 - 1e-9)) & (x <= high * (1 + 1e-9))
    if not inside.any():
        raise InputError(
            f"window = ({low:g}, {high:g}) holds none of the points from {x[0]:g} to {x[-1]:g}.",
            "Choose it among them.",
        )
    if inside.sum() < fewest:
        return None, f"{int(inside.sum())} points in the window, at least {fewest} needed"
    if math.log(x[inside][-1] / x[inside][0]) < _DECADE:
        return None, f"x from {x[inside][0]:.4g} to {x[inside][-1]:.4g} is less than a decade"
    return inside, "as given"


def _longest_window(law: _Law, x: Array, data: LogData, fewest: int) -> tuple[NDArray[np.bool_] | None, str]:
    """Return which points to fit, and why; None where no window of a decade and `fewest` points will do."""
    length = math.log(x[-1] / x[0])
    if len(x) < fewest:
        return None, f"{len(x)} points, at least {fewest} needed"
    if length < _DECADE:
        return None, f"x from {x[0]:.4g} to {x[-1]:.4g} is less than a decade"
    windows = _windows(x, fewest)
    for tried, (first, last) in enumerate(windows):
        inside = slice(first, last + 1)
        if _stands_still(law, x[inside], data.at(inside)):
            if tried == 0:
                return np.ones(len(x), dtype=bool), "all points; the local slopes show no drift"
            low = _beyond(x, first, last, fewest) if first else x[first]
            return (x >= low) & (x <= x[last]), (
                f"of {len(windows)} windows the longest along which the local slopes show no drift is "
                f"{x[first]:.4g} to {x[last]:.4g}"
                + ("; its lower part, where one may hide, is left out" if low > x[first] else "")
            )
    return None, f"the local slopes drift in all of {len(windows)} windows of a decade or more"


def _windows(x: Array, fewest: int) -> list[tuple[int, int]]:
    """Return first and last index of the windows to try, the longest first."""
    # Evenly spread in ln x, as layers one by one are not.
    marks = np.geomspace(x[0], x[-1], min(len(x), _MOST_ENDS))
    ends = np.unique(np.abs(np.log(x)[:, None] - np.log(marks)).argmin(axis=0))
    found = [
        (int(first), int(last))
        for first in ends
        for last in ends
        if last - first + 1 >= fewest and math.log(x[last] / x[first]) >= _DECADE
    ]
    return sorted(found, key=lambda pair: -math.log(x[pair[1]] / x[pair[0]])) or [(0, len(x) - 1)]


def _beyond(x: Array, first: int, last: int, fewest: int) -> float:
    """Return the x above which a drift too small to be seen from `first` on is smaller than chance.

    At the beginning of the longest window a correction is just hidden by the errors, and it biases the fit by
    more than them; a third of the window further up it is mostly gone.
    """
    length = math.log(x[last] / x[first])
    low = min(x[first] * math.exp(length / 3), x[last] * math.exp(-_DECADE), x[last + 1 - fewest])
    return float(max(low, x[first]))


def _stands_still(law: _Law, x: Array, data: LogData) -> bool:
    """Return whether the data show no curvature beyond the law, and scatter about it as chance would have."""
    law = replace(law, scale=float(x[0]))
    best, _ = _least_squares(law, x, data.ln_y[None], data.relative, law.start(x, data.ln_y))
    if _correction_at_start(law, best[0]) > _LARGEST_CORRECTION:
        return False
    value, slopes = law.evaluate(best, x)
    residual = (data.ln_y - value[0]) / data.relative
    jacobian = slopes[0] / data.relative[:, None]
    basis, _ = np.linalg.qr(jacobian)
    # A parabola finds bends anywhere; a term like 1/x those of a correction that dies out.
    for shape in (np.log(x / math.sqrt(x[0] * x[-1])) ** 2, x[0] / x):
        bend = shape / data.relative
        bend = bend - basis @ (basis.T @ bend)
        size = float(bend @ bend)
        if size <= 1e-12 * float(shape @ shape):
            continue
        found = float(bend @ residual) / size
        if data.known:
            pull = bend / size / data.relative
            error = data.error_of(pull)
        else:
            rest = residual - found * bend
            error = math.sqrt(float(rest @ rest) / max(1, len(x) - jacobian.shape[1] - 1) / size)
        if abs(found) > _MOST_BEND * error:
            return False
    return not data.known or _chance(residual, jacobian, data) >= _LEAST_P


def _correction_at_start(law: _Law, parameters: Array) -> float:
    """Return the size of the fitted correction at the first point, whose square is left out of the law."""
    leading = {"log": "c", "power": "b"}.get(law.correction or "")
    return 0.0 if leading is None else abs(float(parameters[law.names.index(leading)]))


def _chance(residual: Array, jacobian: Array, data: LogData) -> float:
    return goodness(residual, jacobian, data.factor / data.relative, data.networks)[1]


def _fitted(
    law: _Law, x: Array, data: LogData, resamples: int, rng: np.random.Generator
) -> tuple[dict[str, Estimate], float, float, Array]:
    """Return the parameters in the user's units, quality, p-value, and ``ln y`` of the law at `x`."""
    best, chi2 = _least_squares(law, x, data.ln_y[None], data.relative, law.start(x, data.ln_y))
    if not data.known:
        scatter = math.sqrt(float(chi2[0]) / (len(x) - len(law.names)))
        data = replace(data, relative=np.full(len(x), max(scatter, 1e-15)))
    value, jacobian = law.evaluate(best, x)
    quality, p_value = math.nan, math.nan
    if data.known:
        unit = data.relative
        quality, p_value = goodness(
            (data.ln_y - value[0]) / unit,
            jacobian[0] / unit[:, None],
            data.factor / unit,
            data.networks,
        )
    drawn = data.resampled(resamples, rng)
    draws, _ = _least_squares(law, x, drawn, data.relative, best[0], steps=12)
    inflation = math.sqrt(max(1.0, quality)) if p_value < _DOUBTFUL else 1.0
    drift = _drift(law, x, data, drawn, best[0], draws)
    span = (float(x[0]), float(x[-1]))
    method = f"least squares, {data.statistic}, " + ("bootstrap" if data.networks else "known errors")
    method = method if data.known else "least squares, errors from scatter"
    with np.errstate(over="ignore", invalid="ignore"):
        physical, physical_draws = _physical(law, best), _physical(law, draws)
    estimates = {}
    for key, found in physical.items():
        best_found = float(found[0])
        error = math.hypot(_spread(physical_draws[key]) * inflation, drift if key == "exponent" else 0.0)
        if error < _ROUNDING * (abs(best_found) if key == "A" else max(1.0, abs(best_found))):
            error = 0.0
        estimates[key] = (
            Estimate(best_found, error, method, data.networks or len(x), span)
            if math.isfinite(best_found) and math.isfinite(error)
            else Estimate.not_determined("beyond the range of numbers", method=method, n=data.networks)
        )
    if law.exponent is not None:
        estimates["exponent"] = Estimate(float(law.exponent), 0.0, "held fixed", 0, span)
    return estimates, quality, p_value, value[0]


def _spread(draws: Array) -> float:
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(draws, [0.158655, 0.841345])
        return float(high - low) / 2


def _physical(law: _Law, parameters: Array) -> dict[str, Array]:
    """Return amplitude, exponent and coefficients in the user's unit of x, one entry a draw."""
    held = dict(zip(law.names, parameters.T, strict=True))
    scale, exponent = law.scale, held.get("exponent", law.exponent)
    found = {"A": np.exp(held["ln A"]) * scale ** -np.asarray(exponent, dtype=np.float64)}
    if "exponent" in held:
        found["exponent"] = held["exponent"]
    if law.correction == "log":
        found["b"] = scale * held["b"]
        found["c"] = scale * (held["c"] - held["b"] * math.log(scale))
    elif law.correction == "power":
        omega = held.get("omega", law.omega)
        found["b"] = held["b"] * scale ** np.asarray(omega, dtype=np.float64)
        if "omega" in held:
            found["omega"] = held["omega"]
    return found


def _drift(law: _Law, x: Array, data: LogData, drawn: Array, best: Array, draws: Array) -> float:
    """Return by how much the exponent depends on where the window begins, chance taken off."""
    ln_x = np.log(x)
    upper = ln_x >= ln_x[0] + (ln_x[-1] - ln_x[0]) / 3
    if "exponent" not in law.names or upper.sum() < len(law.names) + 2:
        return 0.0
    index = law.names.index("exponent")
    both = np.concatenate([data.ln_y[None], drawn])[:, upper]
    refit, _ = _least_squares(law, x[upper], both, data.relative[upper], best, steps=20)
    shift = refit[0, index] - best[index]
    chance = _spread(refit[1:, index] - draws[:, index])
    return math.sqrt(shift**2 - chance**2) if abs(shift) > chance else 0.0
