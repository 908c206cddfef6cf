"""Gates on edges the slow, obvious way: one forward pass an edge with a hook, and whole Hessians."""

import torch


def ablated(model, paths, loss, x, y):
    """The change of the loss with the output of each module in turn set to 0, one forward pass each."""
    with torch.no_grad():
        whole = loss(model(x), y).item()
        found = []
        for path in paths:
            handle = model.get_submodule(path).register_forward_hook(lambda *call: torch.zeros_like(call[2]))
            found.append(loss(model(x), y).item() - whole)
            handle.remove()
    return found


def derivatives(model, paths, loss, x, y):
    """The gradient and the whole Hessian of the loss by gates on the outputs of modules, at 1."""

    def of(gates):
        handles = [
            model.get_submodule(path).register_forward_hook(lambda _, args, out, gate=gate: out * gate)
            for path, gate in zip(paths, gates, strict=True)
        ]
        try:
            return loss(model(x), y)
        finally:
            for handle in handles:
                handle.remove()

    ones = torch.ones(len(paths), dtype=x.dtype)
    return torch.autograd.functional.jacobian(of, ones), torch.autograd.functional.hessian(of, ones)
