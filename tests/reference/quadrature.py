"""Slow and obvious Gaussian means: short fixed panels, no adaptivity, no closed form."""

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)


def _panels(breaks):
    edges = np.unique(np.asarray(breaks, dtype=float))
    half = np.diff(edges)[:, None] / 2
    centre = (edges[1:] + edges[:-1])[:, None] / 2
    return (centre + half * _NODES).ravel(), (half * _WEIGHTS).ravel()


def gaussian_mean(function, K, kinks=(), reach=13.0):
    """Return the mean of a numpy function over N(0, K)."""
    width = np.sqrt(K)
    breaks = list(width * np.linspace(-reach, reach, 131))
    octave = 2.0**-5
    while octave < reach * width:
        breaks += [octave, -octave, 1.5 * octave, -1.5 * octave]
        octave *= 2
    breaks += [k for k in kinks if abs(k) < reach * width]
    z, weight = _panels(breaks)
    return float((weight * np.exp(-(z**2) / (2 * K)) / np.sqrt(2 * np.pi * K)) @ function(z))


def pair_mean(function, K_aa, K_ab, K_bb, kinks=(), reach=11.0):
    """Return the mean of function(z_a) function(z_b): one row of panels for each node of the outer mean."""
    slope, rest = K_ab / K_aa, np.sqrt(K_bb - K_ab**2 / K_aa)
    width = np.sqrt(K_aa)
    bends = list(kinks) + [k / slope for k in kinks if slope]
    a, weight_a = _panels([*(width * np.linspace(-reach, reach, 45)), *bends])
    total = 0.0
    for z, weight in zip(a, weight_a, strict=True):
        centre = slope * z
        b, weight_b = _panels(
            [
                *(rest * np.linspace(-reach, reach, 23)),
                *(k - centre for k in kinks if abs(k - centre) < reach * rest),
            ]
        )
        density = np.exp(-(b**2) / (2 * rest**2)) / np.sqrt(2 * np.pi) / rest
        inner = (weight_b * density) @ function(centre + b)
        total += weight * np.exp(-(z**2) / (2 * K_aa)) / np.sqrt(2 * np.pi * K_aa) * function(z) * inner
    return float(total)


def smooth_pair_mean(function, K, c, points=161, reach=9.0):
    """Return the mean product at equal variances, by the trapezoid rule in 2 dimensions (smooth ones)."""
    x = np.linspace(-reach, reach, points)
    weight = np.exp(-(x**2) / 2) * (x[1] - x[0]) / np.sqrt(2 * np.pi)
    first = function(np.sqrt(K) * x)
    second = function(np.sqrt(K) * (c * x[:, None] + np.sqrt(max(0.0, 1 - c * c)) * x[None, :]))
    return float((weight * first) @ second @ weight)
