"""Draw critical weights and correct their scale on real data while the signal passes through."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from phasescope.signal.dataflow import Flow, Node, WeightCall
from phasescope.signal.initialisation import LayerInitialisation
from phasescope.signal.plan import Plan, Step
from phasescope.signal.recognise import Branch


class Setter:
    """Sets each layer of a plan the moment before it runs.

    Parameters
    ----------
    plan : Plan
        What to set.
    generator : torch.Generator
        Where the weights are drawn from, on the CPU.
    distribution : str
        "orthogonal" or "normal".
    """

    def __init__(self, plan: Plan, generator: torch.Generator, distribution: str) -> None:
        self._plan, self._generator, self._distribution = plan, generator, distribution
        self._rows: dict[int, LayerInitialisation] = {}
        self._before: dict[int, tuple[float, float]] = {}
        self.flow: Flow | None = None
        self._set: dict[int, tuple[float, float, float, float]] = {}

    def __call__(self, call: WeightCall) -> None:
        """Set the weights and biases of one layer, if the plan has it and it was not set before."""
        step = self._plan.steps.get(id(call.weight))
        if step is None or id(call.weight) in self._set:
            return
        fan = fan_in(call)
        before = fan * _mean_square(call.weight), _mean_square(call.bias)
        weight = self._draw(call) * math.sqrt(step.C_W / fan)
        gain = math.sqrt(self._factor(step, call, weight))
        weight = weight * gain
        bias = self._biases(step, call, weight)
        branch = self._branch_factor(step, call, weight, bias)
        call.weight.copy_(weight * branch)
        if call.bias is not None and bias is not None:
            call.bias.copy_(bias * branch)
        self._set[id(call.weight)] = (*before, gain * branch, _mean_square(call.bias))

    def rows(self, after: Flow) -> list[LayerInitialisation]:
        """Return one row for each layer that was set, with the kernels of both passes."""
        kernels = {id(call.weight): call.output for call in reversed(after.calls)}
        rows = []
        for key, (C_W, C_b, gain, bias) in self._set.items():
            step = self._plan.steps[key]
            layer = step.layer
            rows.append(
                LayerInitialisation(
                    layer.name,
                    layer.kind,
                    layer.activation.name if layer.activation else "",
                    step.universality_class,
                    C_W,
                    C_b,
                    step.C_W,
                    step.C_b,
                    gain,
                    bias,
                    _kernel(layer.call.output),
                    _kernel(kernels.get(key)),
                    step.rule,
                )
            )
        return rows

    def _draw(self, call: WeightCall) -> Tensor:
        # Unit second moment exactly, so that C_W is realised and not only expected.
        shape = call.weight.shape
        drawn = torch.randn(shape, generator=self._generator, dtype=torch.float64)
        if self._distribution == "orthogonal" and drawn.numel() > 1:
            flat = drawn.flatten(1)
            q, r = torch.linalg.qr(flat if flat.shape[0] >= flat.shape[1] else flat.T)
            # Signs of the diagonal make the distribution uniform over rotations.
            q = q * torch.sign(torch.diagonal(r))
            drawn = (q if flat.shape[0] >= flat.shape[1] else q.T).reshape(shape)
        drawn /= drawn.square().mean().sqrt()
        return drawn.to(call.weight)

    def _factor(self, step: Step, call: WeightCall, weight: Tensor) -> float:
        # Factor of C_W, measured on the batch.
        if step.holds == "chi_perp":
            return _inverse(float(self._spread(call, weight).double().mean()))
        z = call.run(call.input, weight, None).double().square()
        kernel = float(z.flatten(1).mean(1).max() if step.largest else z.mean())
        return _inverse(kernel / max(step.K - step.C_b, 1e-300))

    def _spread(self, call: WeightCall, weight: Tensor) -> Tensor:
        # Mean square of the layer's output over isotropic unit tangents at its root: sum_j W_ij^2 D_j^2.
        root = call.source.root
        assert root is not None
        assert root.value is not None
        _, slopes = call.source.slopes(root.value)
        return call.run(slopes.square(), weight.square(), None)

    def _biases(self, step: Step, call: WeightCall, weight: Tensor) -> Tensor | None:
        if call.bias is None:
            return None
        if step.C_b == 0:
            return torch.zeros_like(call.bias)
        drawn = torch.randn(call.bias.shape, generator=self._generator, dtype=torch.float64)
        kernel = float(call.run(call.input, weight, None).double().square().mean())
        # Never far from C_b: a kernel that the weights alone have spoilt is not for the biases to mend.
        variance = min(max(step.K - kernel, step.C_b / 4), 4 * step.C_b)
        return (drawn * math.sqrt(variance) / drawn.square().mean().sqrt()).to(call.bias)

    def _branch_factor(self, step: Step, call: WeightCall, weight: Tensor, bias: Tensor | None) -> float:
        branch = step.layer.branch
        if branch is None or step.layer.number not in branch.last:
            return 1.0
        z = call.run(call.input, weight, bias)
        allowed = self._stream_kernel(branch)
        if allowed is None:
            return 1 / math.sqrt(self._plan.branches)
        allowed /= self._plan.branches

        def added(scale: float) -> float:
            return float(_value(branch.side, z * scale).double().square().mean())

        if not added(1.0) > allowed:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if added(middle) <= allowed else (low, middle)
        return low

    def _stream_kernel(self, branch: Branch) -> float | None:
        # The signal that the branch is added to, in the pass under way; None where it is not there yet.
        planned = branch.stream.root
        assert planned is not None
        assert self.flow is not None
        number = next(i for i, root in enumerate(self._plan.flow.roots) if root is planned)
        if number >= len(self.flow.roots) or self.flow.roots[number].kind != planned.kind:
            return None
        value = self.flow.roots[number].value
        assert value is not None
        return float(_value(branch.stream, value).double().square().mean())


def fan_in(call: WeightCall) -> int:
    """Return the number of inputs that each output of the layer sums over."""
    shape = call.weight.shape
    if call.operation.startswith("conv_transpose"):
        return int(shape[0] * math.prod(shape[2:]))
    return int(math.prod(shape[1:]))


def _value(node: Node, root: Tensor) -> Tensor:
    return node.replay(root) if node.root is not node else root


def _kernel(node: Node | None) -> float:
    return math.nan if node is None or node.value is None else float(node.value.double().square().mean())


def _mean_square(tensor: Tensor | None) -> float:
    return math.nan if tensor is None else float(tensor.detach().double().square().mean())


def _inverse(value: float) -> float:
    return 1 / value if math.isfinite(value) and value > 0 else 1.0
