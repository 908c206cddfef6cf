"""Collapse of Ising-like data with known exponents: time, error and honesty, beside fssa and jaxfss."""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np

from benchmarks.harness import Comparison, interleaved
from phasescope.scaling import collapse

SIZES = (8, 16, 32, 64)
T = np.linspace(2.1, 2.45, 15)
TRUTH = {"critical": 2.269185, "b": 1.0, "a": 0.125}
START = {"critical": 2.3, "b": 1.2, "a": 0.15}
DATA_SETS, JAX_DATA_SETS = 30, 5
JAX_STEPS, JAX_RATE = 20_000, 3e-3

Fit = dict[str, tuple[float, float]]


def _data(seed: int, relative: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors, shape (sizes, temperatures), of a magnetisation with a function of our own."""
    size = np.array(SIZES)[:, None]
    u = (T - TRUTH["critical"]) * size ** TRUTH["b"]
    exact = size ** -TRUTH["a"] * (1 + np.exp(1.5 * u)) ** -0.125 * (1 + 0.3 / (1 + u**2))
    noise = np.random.default_rng(seed).standard_normal(exact.shape)
    return exact * (1 + relative * noise), relative * exact


def _phasescope(y: np.ndarray, error: np.ndarray) -> Fit:
    start = {name: START[name] for name in ("critical", "b")}
    found = collapse([T] * len(SIZES), list(y), list(SIZES), errors=list(error), start=start).exponents
    return {name: (found[name].value, found[name].error) for name in TRUTH}


def _fssa() -> tuple[Callable[[np.ndarray, np.ndarray], Fit] | None, str]:
    """Return fssa's own search, and how it was got to import."""
    try:
        package = distribution("fssa")
    except PackageNotFoundError:
        return None, "fssa is not installed (pip install --no-deps fssa==0.7.6)."
    remark = f"fssa {package.version} imports as it is."
    try:
        module = importlib.import_module("fssa.fssa")
    except ImportError as error:
        remark = (
            f"fssa {package.version} installs but does not import ({error}): timed with SciPy's Nelder-Mead "
            "in place of its own copy and with the names that NumPy dropped put back."
        )
        module = _fssa_alone(package)

    def fit(y: np.ndarray, error: np.ndarray) -> Fit:
        nu, zeta = 1 / START["b"], -START["a"] / START["b"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = module.autoscale(list(SIZES), T, y, error, START["critical"], nu, zeta)
        b, ratio = 1 / found.nu, found.zeta / found.nu
        # Its errors are of nu and zeta; to first order, without their correlation.
        of_a = abs(ratio) * np.hypot(found.dzeta / found.zeta, found.dnu / found.nu)
        return {
            "critical": (found.rho, found.drho),
            "b": (b, found.dnu * b**2),
            "a": (-ratio, float(of_a)),
        }

    return fit, remark


def _fssa_alone(package: Any) -> types.ModuleType:
    from scipy.optimize import _optimize

    for name in [name for name in sys.modules if name.split(".")[0] == "fssa"]:
        del sys.modules[name]
    shell = types.ModuleType("fssa")
    shell.__path__ = [str(package.locate_file("fssa"))]
    search = types.ModuleType("fssa.optimize")

    def nelder_mead(
        function: Any, x0: Any, args: Any = (), xtol: float = 0, ftol: float = 0, **_: Any
    ) -> Any:
        return _optimize._minimize_neldermead(function, x0, args, xatol=xtol, fatol=ftol)

    search._minimize_neldermead = nelder_mead  # type: ignore[attr-defined]
    for name, builtin in (("int", int), ("bool", bool), ("float", float)):
        if not hasattr(np, name):
            setattr(np, name, builtin)
    sys.modules |= {"fssa": shell, "fssa.optimize": search}
    return importlib.import_module("fssa.fssa")


def _jaxfss() -> tuple[Callable[[np.ndarray, np.ndarray], Fit] | None, str]:
    """Return a fit by jaxfss's network and training loop."""
    try:
        import jax
        import jax.numpy as jnp
        import jaxfss
        import optax
    except ImportError as error:
        return None, f"jaxfss does not import ({error})."
    network = jaxfss.RationalMLP(features=[20, 20, 1])
    size = jnp.repeat(jnp.array(SIZES, dtype=float), len(T))[:, None]
    temperature = jnp.tile(T, len(SIZES))[:, None]

    def fit(y: np.ndarray, error: np.ndarray) -> Fit:
        data = jaxfss.CriticalData(
            size[:, 0], temperature[:, 0], jnp.array(y.ravel()), jnp.array(error.ravel())
        )

        def loss(parameters: Any) -> Any:
            critical, b, a = parameters["fss"]
            u = (data.temperature - critical) * data.system_size**b
            predicted = data.system_size**-a * network.apply(parameters["mlp"], u)
            return jaxfss.NLLLoss(data.observable, predicted, data.observable_var)

        begin = jnp.array(
            [float(data.bij_temperature.forward(jnp.array(START["critical"]))), START["b"], START["a"]]
        )
        weights = network.init(jax.random.PRNGKey(0), jnp.ones((1, 1)))
        found, _, _ = jaxfss.fit(loss, optax.adam(JAX_RATE), {"fss": begin, "mlp": weights}, JAX_STEPS)
        critical, b, a = (float(value) for value in found["fss"])
        critical = float(data.bij_temperature.inverse(jnp.array(critical)))
        return {"critical": (critical, np.nan), "b": (b, np.nan), "a": (a, np.nan)}

    return fit, f"jaxfss gives no errors; {JAX_STEPS} Adam steps, compilation included in its time."


def _row(name: str, fit: Callable[[np.ndarray, np.ndarray], Fit], count: int) -> dict[str, Any]:
    """Return root mean square deviations from the truth, and how often the stated errors cover it."""
    fits = [fit(*_data(seed)) for seed in range(count)]
    row: dict[str, Any] = {"contender": name, "data sets": count}
    covered = []
    for parameter, truth in TRUTH.items():
        off = np.array([found[parameter][0] - truth for found in fits])
        error = np.array([found[parameter][1] for found in fits])
        row[f"rms deviation, {parameter}"] = float(np.sqrt(np.mean(off**2)))
        covered.append(np.mean(np.abs(off) < error) if np.isfinite(error).any() else np.nan)
    row["truth within one stated error"] = "" if np.isnan(covered).any() else float(np.mean(covered))
    return row


def run() -> Comparison:
    """Return times of one collapse, and the deviations over many data sets."""
    comparison = Comparison("Collapse of 4 sizes with 15 temperatures each", "one collapse with errors")
    contenders: dict[str, Callable[[np.ndarray, np.ndarray], Fit]] = {"phasescope": _phasescope}
    for name, (fit, remark) in {"fssa": _fssa(), "jaxfss": _jaxfss()}.items():
        comparison.remarks.append(remark)
        if fit is not None:
            contenders[name] = fit
    data = _data(0)
    calls = {name: (lambda fit=fit: fit(*data)) for name, fit in contenders.items()}
    comparison.seconds, comparison.ratios = interleaved(calls, repeats=3)
    for name, fit in contenders.items():
        comparison.rows.append(_row(name, fit, JAX_DATA_SETS if name == "jaxfss" else DATA_SETS))
    comparison.remarks.append(
        "Known exponents, 1 % noise. A stated error should cover the truth in 68 % of data sets."
    )
    return comparison
