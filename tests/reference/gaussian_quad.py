"""Slow, obvious Gaussian means by scipy's adaptive quadrature, split at the kinks."""

import itertools
import math

from scipy.integrate import quad


def mean(integrand, K, kinks=()):
    """E[integrand(z)] for z ~ N(0, K) and a scalar integrand."""
    scale = math.sqrt(K)
    reach = 13.0
    inside = sorted(k / scale for k in kinks if abs(k / scale) < reach)
    edges = sorted({-reach, *(float(e) for e in range(-12, 13, 2)), *inside, reach})

    def weighted(x):
        return integrand(scale * x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    pieces = (
        quad(weighted, a, b, epsabs=1e-15, epsrel=1e-12, limit=200)[0] for a, b in itertools.pairwise(edges)
    )
    return math.fsum(pieces)


def kernel_derivative(function, K, kinks=()):
    """d<sigma^2>/dK from the derivative of the Gaussian density, so that no derivative of sigma is needed."""
    return mean(lambda z: function(z) ** 2 * (z * z - K), K, kinks) / (2 * K * K)
