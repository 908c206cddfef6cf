"""Draw critical weights and correct their scale on real data while the signal passes through."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from phasescope.signal.initialising.dataflow import Flow, Node, WeightCall
from phasescope.signal.initialising.initialisation import LayerInitialisation
from phasescope.signal.initialising.plan import Plan, Step
from phasescope.signal.initialising.recognise import Branch


class Setter:
    """Sets each layer of a plan the moment before it runs."""

    def __init__(self, plan: Plan, generator: torch.Generator, distribution: str) -> None:
        self._plan, self._generator, self._distribution = plan, generator, distribution
        self._set: dict[int, tuple[float, float, float, float]] = {}
        self._spreads: dict[int, Tensor] = {}
        self._normed: dict[str, list[float]] = {}

    def __call__(self, flow: Flow, call: WeightCall) -> None:
        """Set the weights and biases of one layer, if the plan has it and it was not set before."""
        step = self._plan.steps.get(id(call.weight))
        if step is not None and id(call.weight) not in self._set:
            self._set_layer(flow, call, step)
            self._look_at_norm(call, step)
        self._spreads[id(call)] = self._spread(flow, call, call.weight)

    def _set_layer(self, flow: Flow, call: WeightCall, step: Step) -> None:
        fan = fan_in(call)
        before = fan * _mean_square(call.weight), _mean_square(call.bias)
        weight = self._draw(call) * math.sqrt(step.C_W / fan)
        gain = math.sqrt(self._factor(flow, step, call, weight))
        weight = weight * gain
        bias = self._biases(step, call, weight)
        branch = self._branch_factor(flow, step, call, weight, bias)
        call.weight.copy_(weight * branch)
        if call.bias is not None and bias is not None:
            call.bias.copy_(bias * branch)
        self._set[id(call.weight)] = (*before, gain * branch, _mean_square(call.bias))

    def notes(self) -> list[str]:
        """Return what was seen on the way."""
        return [
            f"{name} behind a normalisation, {len(ratios)} layer(s): chi_perp = "
            f"{_geometric_mean(ratios):.3f} per layer, whatever the weights' scale; squared gradients grow "
            "by it each layer."
            for name, ratios in self._normed.items()
        ]

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

    def _look_at_norm(self, call: WeightCall, step: Step) -> None:
        # K <s'^2> / <s^2>: the factor by which differences grow through an activation behind a layer norm.
        root, activation = call.source.root, step.layer.activation
        if activation is None or root is None or root.kind != "norm" or root.name == "batch_norm":
            return
        assert root.value is not None
        h, slopes = call.source.push(root.value, torch.ones_like(root.value))
        ratio = _mean_square(slopes) * _mean_square(root.value) / _mean_square(h)
        self._normed.setdefault(activation.name, []).append(ratio)

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

    def _factor(self, flow: Flow, step: Step, call: WeightCall, weight: Tensor) -> float:
        # Factor of C_W, measured on the batch.
        if step.holds == "chi_perp":
            return _inverse(float(self._spread(flow, call, weight).double().mean()))
        z = call.run(call.input, weight, None).double().square()
        kernel = float(z.flatten(1).mean(1).max() if step.largest else z.mean())
        wanted = step.K - step.C_b
        if step.relative == "input":
            wanted = step.K * _mean_square(call.input)
        elif step.relative == "root":
            wanted = _kernel(call.source.root)
        return _inverse(kernel / wanted)

    def _spread(self, flow: Flow, call: WeightCall, weight: Tensor) -> Tensor:
        """Return the mean square of a small difference at each output unit, in units of that at the root.

        ``sum_j W_ij^2 D_j^2 v_j`` with the slopes D and the spread v at the root, whose mean is set to 1:
        what an expectation over independent weights of all layers below gives. Following v from layer to
        layer matters where units differ, as pixels near a zero-padded edge do.
        """
        root = call.source.root
        if root is None or root.value is None or not call.input.is_floating_point():
            return torch.ones_like(call.run(call.input, weight, None))
        v = self._spread_at(flow, root)
        _, tangent = call.source.push(root.value, (v / v.mean()).sqrt())
        return call.run(tangent.square(), weight.square(), None)

    def _spread_at(self, flow: Flow, root: Node) -> Tensor:
        assert root.value is not None
        if root.kind == "weight":
            call = next(call for call in flow.calls if call.output is root)
            return self._spreads[id(call)]
        total = torch.zeros_like(root.value)
        if root.kind != "sum":
            return total + 1
        if id(root) not in self._spreads:
            for term in root.terms:
                # Sides whose weights are independent add their mean squares.
                if term.root is not None:
                    total = total + _pushed(term, self._spread_at(flow, term.root))
            self._spreads[id(root)] = total
        return self._spreads[id(root)]

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

    def _branch_factor(
        self, flow: Flow, step: Step, call: WeightCall, weight: Tensor, bias: Tensor | None
    ) -> float:
        branch = step.layer.branch
        if branch is None or step.layer.number not in branch.last:
            return 1.0
        z = call.run(call.input, weight, bias)
        allowed = self._stream_kernel(flow, branch)
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

    def _stream_kernel(self, flow: Flow, branch: Branch) -> float | None:
        # The signal that the branch is added to, in the pass under way; None where it is not there yet.
        planned = branch.stream.root
        assert planned is not None
        number = next(i for i, root in enumerate(self._plan.flow.roots) if root is planned)
        if number >= len(flow.roots) or flow.roots[number].kind != planned.kind:
            return None
        value = flow.roots[number].value
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


def _pushed(node: Node, spread: Tensor) -> Tensor:
    root = node.root
    assert root is not None
    assert root.value is not None
    return spread if node.is_root else node.push(root.value, spread.sqrt())[1].square()


def _kernel(node: Node | None) -> float:
    return math.nan if node is None or node.value is None else float(node.value.double().square().mean())


def _geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def _mean_square(tensor: Tensor | None) -> float:
    return math.nan if tensor is None else float(tensor.detach().double().square().mean())


def _inverse(value: float) -> float:
    return 1 / value if math.isfinite(value) and value > 0 else 1.0
