"""The critical decay ``1/rho = kappa l + c ln l + const``, fitted with some of the three held."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from phasescope.estimate import Estimate

TERMS = ("kappa", "log", "const", "log/l", "1/l")


def fit_inverse(
    layers: np.ndarray, rho: np.ndarray, weights: np.ndarray, held: Mapping[str, float], terms: int = 3
) -> dict[str, float]:
    """Return the coefficients of ``1/rho = kappa l + log ln l + const (+ ln l/l + 1/l)`` by least squares.

    Shapes: `layers` and `rho` (layers,), `weights` (layers,).
    """
    log = np.log(layers)
    columns = dict(zip(TERMS, (layers, log, np.ones_like(log), log / layers, 1 / layers), strict=True))
    rest = 1 / rho - sum(value * columns[name] for name, value in held.items())
    free = [name for name in TERMS[:terms] if name not in held]
    # A relative error of rho is the same relative error of 1/rho.
    scale = rho * weights
    basis = np.stack([columns[name] for name in free], axis=1) * scale[:, None]
    best = np.linalg.lstsq(basis, rest * scale, rcond=None)[0]
    return dict(zip(free, map(float, best), strict=True))


def from_map(layers: np.ndarray, rho: np.ndarray, name: str) -> Estimate:
    """Return a coefficient of the exact map's iterates, with terms up to 1/l in the fit.

    The error is the larger of two changes: over the upper half of the window, with and without the terms
    ``ln l/l`` and ``1/l``.

    Shapes: `layers` and `rho` (layers,).
    """
    equal = np.ones_like(rho)
    best = fit_inverse(layers, rho, equal, {}, 5)[name]
    upper = layers >= np.sqrt(layers[0] * layers[-1])
    again = fit_inverse(layers[upper], rho[upper], equal[upper], {}, 5)[name]
    plain = fit_inverse(layers[upper], rho[upper], equal[upper], {}, 3)[name]
    error = max(abs(again - best), abs(plain - best))
    window = (float(layers[0]), float(layers[-1]))
    return Estimate(best, error, "fit of 1/rho with its logarithm to the exact map", int(layers.size), window)


def from_networks(
    layers: np.ndarray,
    rho: np.ndarray,
    exact: np.ndarray,
    name: str,
    held: Mapping[str, float],
    *,
    seed: int = 0,
    resamples: int = 400,
) -> tuple[Estimate, float]:
    """Return a coefficient of the mean distance over networks, and what the same fit gives for the exact map.

    Shapes: `layers` (layers,), `rho` (networks, layers), `exact` (layers,).
    """
    networks = rho.shape[0]
    if networks < 8:
        return Estimate.not_determined(f"{networks} networks are too few for an error", n=networks), 0.0
    mean = rho.mean(axis=0)
    weights = mean / rho.std(axis=0, ddof=1)
    best = fit_inverse(layers, mean, weights, held, 5)[name]
    random = np.random.default_rng(seed)
    drawn = [
        fit_inverse(layers, rho[random.integers(0, networks, networks)].mean(axis=0), weights, held, 5)[name]
        for _ in range(resamples)
    ]
    window = (float(layers[0]), float(layers[-1]))
    method = "fit of 1/rho with its logarithm, bootstrap over networks"
    estimate = Estimate(best, float(np.std(drawn, ddof=1)), method, networks, window)
    return estimate, fit_inverse(layers, exact, weights, held, 5)[name]
