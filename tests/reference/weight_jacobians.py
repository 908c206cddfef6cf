"""The Jacobian of a module's output with respect to all its weights, one output number at a time."""

import torch


def jacobian(model, inputs, parameters=None):
    """The output, and J of shape (weights, *output), by one plain backward pass for each output number."""
    parameters = list(model.parameters()) if parameters is None else parameters
    output = model(inputs)
    rows = []
    for number in output.reshape(-1):
        gradients = torch.autograd.grad(number, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(gradients, parameters, strict=True)
        rows.append(
            torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in pairs])
        )
    return output.detach(), torch.stack(rows, 1).reshape(-1, *output.shape)
