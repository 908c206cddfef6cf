"""Random networks with every weight drawn: slow, obvious, and what the fast sampler has to match."""

import math

import torch


def explicit_mlp(
    function,
    width,
    depth,
    networks,
    *,
    C_W,
    C_b,
    K1,
    distance=1.0,
    replicas=2,
    residual=0.0,
    layer_norm=False,
    seed=0,
):
    """Pre-activations of all layers, shape (networks, depth, replicas, width), and tangents of replica 0.

    The tangent vector u goes through the Jacobian of each layer by automatic differentiation; shape
    (networks, depth, width).
    """
    generator = torch.Generator().manual_seed(seed)
    normal = {"generator": generator, "dtype": torch.float64}

    def inner(h):
        if layer_norm:
            h = h - h.mean(-1, keepdim=True)
            h = h / h.square().mean(-1, keepdim=True).sqrt()
        return function(h)

    common = torch.randn(networks, 1, width, **normal)
    own = torch.randn(networks, replicas, width, **normal)
    if distance <= 1:
        h = math.sqrt(1 - distance) * common + math.sqrt(distance) * own
    else:
        assert replicas == 2
        c = 1 - distance
        h = torch.stack([own[:, 0], c * own[:, 0] + math.sqrt(1 - c * c) * own[:, 1]], dim=1)
    h = math.sqrt(K1) * h
    u = torch.randn(networks, width, **normal)
    signals, tangents = [h], [u]
    added = math.sqrt(1 - residual**2)
    for _ in range(depth - 1):
        W = math.sqrt(C_W / width) * torch.randn(networks, width, width, **normal)
        b = math.sqrt(C_b) * torch.randn(networks, 1, width, **normal)
        slope_times_u = _pushed(inner, h[:, 0], u)
        u = residual * u + added * (W @ slope_times_u[:, :, None])[:, :, 0]
        h = residual * h + added * (inner(h) @ W.mT + b)
        signals.append(h)
        tangents.append(u)
    return torch.stack(signals, 1), torch.stack(tangents, 1)


def _pushed(function, h, u):
    """Jacobian times u, as the derivative by v of u . (Jacobian transposed v)."""
    h, v = h.clone().requires_grad_(True), torch.zeros_like(h, requires_grad=True)
    (pulled,) = torch.autograd.grad(function(h), h, v, create_graph=True)
    (pushed,) = torch.autograd.grad(pulled, v, u)
    return pushed


def distances(signals):
    """1 - c of all pairs of replicas, shape (networks, depth, pairs), straight from the definition."""
    unit = signals / signals.norm(dim=-1, keepdim=True)
    replicas = signals.shape[2]
    pairs = [(a, b) for a in range(replicas) for b in range(a + 1, replicas)]
    return torch.stack([1 - (unit[:, :, a] * unit[:, :, b]).sum(-1) for a, b in pairs], dim=-1)
