"""Finite networks sampled exactly: given one layer, the next layer's pre-activations are iid Gaussian."""

import math

import torch


def log_kernels(function, width, depth, networks, *, C_W, C_b=0.0, K1, degree=1, seed=0):
    """ln K_l for l = 1..depth of `networks` random networks, shape (networks, depth).

    K_l is the variance of the pre-activations of layer l given the layers below. For a function that is
    homogeneous of the given degree at C_b = 0 the scale is carried in the logarithm and never overflows.
    """
    generator = torch.Generator().manual_seed(seed)
    log_K = torch.full((networks, depth), math.log(K1), dtype=torch.float64)
    for layer in range(1, depth):
        unit = torch.randn(networks, width, generator=generator, dtype=torch.float64)
        previous = log_K[:, layer - 1]
        if degree != 1:
            log_K[:, layer] = math.log(C_W) + degree * previous + function(unit).square().mean(1).log()
        else:
            z = unit * (previous / 2).exp().unsqueeze(1)
            log_K[:, layer] = (C_b + C_W * function(z).square().mean(1)).log()
    return log_K


def growth_of_differences(function, derivative, width, depth, networks, *, sigma_w, sigma_b, q, seed=0):
    """ln of the growth of a tangent vector's squared norm per layer, shape (networks, depth).

    The pre-activation h and the tangent u of every neuron are drawn from the bivariate Gaussian whose
    covariance is that of the layer below; u is rescaled to unit variance in every layer.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = {"generator": generator, "dtype": torch.float64}
    variance = torch.full((networks,), float(q), dtype=torch.float64)
    correlation = torch.zeros(networks, dtype=torch.float64)
    growth = torch.empty(networks, depth, dtype=torch.float64)
    for layer in range(depth):
        x = torch.randn(networks, width, **normal)
        y = torch.randn(networks, width, **normal)
        r = correlation.unsqueeze(1)
        h = variance.sqrt().unsqueeze(1) * x
        u = r * x + (1 - r * r).sqrt() * y
        phi, slope = function(h), derivative(h)
        spread = sigma_w**2 * (slope * u).square().mean(1)
        covariance = sigma_w**2 * (phi * slope * u).mean(1)
        variance = sigma_w**2 * phi.square().mean(1) + sigma_b**2
        correlation = covariance / (variance * spread).sqrt()
        growth[:, layer] = spread.log()
    return growth


def residual_mean_squares(function, width, depth, networks, *, C_W, C_b, K1, residual, seed=0):
    """Mean over neurons of z_l^2, shape (networks, depth), of z' = residual z + W sigma(z) + b.

    `C_W` and `C_b` are those of the plain network; the random part gets 1 - residual^2 of both.
    """
    generator = torch.Generator().manual_seed(seed)
    squares = torch.empty(networks, depth, dtype=torch.float64)
    z = math.sqrt(K1) * torch.randn(networks, width, generator=generator, dtype=torch.float64)
    for layer in range(depth):
        squares[:, layer] = z.square().mean(1)
        variance = (1 - residual**2) * (C_b + C_W * function(z).square().mean(1, keepdim=True))
        noise = torch.randn(networks, width, generator=generator, dtype=torch.float64)
        z = residual * z + variance.sqrt() * noise
    return squares
