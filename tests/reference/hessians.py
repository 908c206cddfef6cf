"""Hessians and linear maps of optimisers as their definitions read: dense matrices, one entry a weight."""

import numpy as np
import torch


def hessian(model, loss, data):
    """Second derivative of ``loss(model(x), y)`` by all trained parameters, in their order, in float64."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    shapes = [dict(model.named_parameters())[name].shape for name in names]
    point = torch.cat([dict(model.named_parameters())[name].detach().double().flatten() for name in names])
    x, y = (each.double() if each.is_floating_point() else each for each in data)

    def value(w):
        parts = w.split([shape.numel() for shape in shapes])
        named = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return loss(torch.func.functional_call(model, named, (x,)), y)

    return torch.autograd.functional.hessian(value, point).numpy()


def step_matrix(kind, hessian, *, rate, decay=0.0, momentum=0.0, dampening=0.0, p=1.0, decoupled=0.0):
    """The linear map (weights, memory) -> (weights, memory) of a step on ``w hessian w / 2``.

    `rate`, `decay`, `momentum`, `dampening`, `p` and `decoupled` are numbers or one for each weight; `p` is
    what the gradient is divided by, held fixed; `momentum` is the first beta of Adam.
    """
    n = len(hessian)

    def diagonal(number):
        return np.diag(np.broadcast_to(np.asarray(number, dtype=float), n))

    one, zero = np.eye(n), np.zeros((n, n))
    gradient = hessian + diagonal(decay)
    rate, beta, p = diagonal(rate), diagonal(momentum), np.linalg.inv(diagonal(p))
    if kind == "descent":
        return one - rate @ p @ gradient
    if kind == "heavy ball":
        memory = np.hstack([(one - diagonal(dampening)) @ p @ gradient, beta])
        return np.vstack([np.hstack([one, zero]) - rate @ memory, memory])
    if kind == "nesterov":
        memory = np.hstack([gradient, beta])
        return np.vstack([np.hstack([one - rate @ gradient, zero]) - rate @ beta @ memory, memory])
    if kind == "adam":
        memory = np.hstack([(one - beta) @ gradient, beta])
        kept = one - rate @ diagonal(decoupled)
        return np.vstack([np.hstack([kept, zero]) - rate @ p @ memory, memory])
    raise ValueError(kind)


def spectral_radius(matrix):
    return np.abs(np.linalg.eigvals(matrix)).max()
