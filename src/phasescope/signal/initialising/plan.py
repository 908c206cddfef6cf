"""What each weight layer of a network is to be set to, and why others are left alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from phasescope.activations import Activation
from phasescope.errors import NoCriticalPointError
from phasescope.recording.dataflow import Flow
from phasescope.signal.initialising.recognise import Layer, depth_of, recognise
from phasescope.theory.critical import CriticalPoint, critical_point
from phasescope.theory.marginal import first_layer_kernel

# The weight variance at which dense stacks of squared ReLU trained best in the studies of rectified powers.
_DENSE = 0.3
_BATCH_NORM = (
    "Batch normalisation: a change of one input also moves the statistics of the batch, so chi_perp exceeds "
    "that of the activation, and no scale of the weights alters it: see the verdict."
)


@dataclass
class Step:
    """What to do with one layer."""

    layer: Layer
    C_W: float = 1.0  # critical variance of the weights; 1 where the measured factor decides alone
    C_b: float = 0.0
    holds: str = "kernel"  # what the measured factor holds: "chi_perp" or "kernel"
    K: float = 1.0  # the kernel to be reached, by the measured factor or by the biases
    # What K is in units of: "" (nothing), "input" (mean square of the layer's input) or "root" (kernel of the
    # last signal before activation and pooling).
    relative: str = ""
    largest: bool = False  # whether the kernel is that of the input of largest norm and not the mean
    universality_class: str = ""  # of the activation that feeds the layer
    rule: str = ""  # what is held, in words


class Plan:
    """What is to be set, from one recorded forward pass, and what is left alone.

    `frozen` holds the ids of frozen weights; `branches` counts those on the stream. Raises where
    nothing can be set, or where an activation has no critical point and nothing else holds its kernel.
    """

    def __init__(
        self,
        model: nn.Module,
        flow: Flow,
        activation: str | nn.Module | Callable[[Tensor], Tensor] | None,
        first_kernel: float | None,
        frozen: set[int],
        branches: int,
    ) -> None:
        self.flow, self.depth = flow, depth_of(flow)
        self.steps: dict[int, Step] = {}  # by the id of the layer's weights
        self.skipped: list[tuple[str, str, str]] = []  # name, kind, and why it is left alone
        self._notes: list[str] = []
        self._points: dict[str, CriticalPoint] = {}
        self._hopeless: dict[str, str] = {}  # layers without a critical initialisation, and why
        self._first_kernel = first_kernel
        layers = recognise(model, flow, activation)
        self.branches = max(branches, len({id(layer.branch.total) for layer in layers if layer.branch}))
        for layer in layers:
            reason = _why_not(layer, frozen)
            if reason:
                self.skipped.append((layer.name, layer.kind, reason))
            else:
                self.steps[id(layer.call.weight)] = self._step(layer)
        if self._hopeless:
            raise NoCriticalPointError(_refusal(self._hopeless))
        self._skip_the_rest(model)

    @property
    def notes(self) -> tuple[str, ...]:
        """What one has to know about this network."""
        return tuple(dict.fromkeys(self._notes))

    @property
    def citations(self) -> tuple[str, ...]:
        """Keys of the papers behind the plan."""
        keys = [key for point in self._points.values() for key in point.citations]
        return tuple(dict.fromkeys(["roberts2022", *keys]))

    def _skip_the_rest(self, model: nn.Module) -> None:
        done = set(self.steps) | {id(step.layer.call.bias) for step in self.steps.values()}
        listed = {name for name, _, _ in self.skipped}
        for path, module in model.named_modules():
            own = [p for p in module._parameters.values() if p is not None]
            name = path or type(module).__name__
            if own and name not in listed and not any(id(p) in done for p in own):
                self.skipped.append((name, type(module).__name__, _why_kept(module)))

    def _point(self, activation: Activation) -> CriticalPoint:
        if activation.name not in self._points:
            self._points[activation.name] = critical_point(activation)
        return self._points[activation.name]

    def _step(self, layer: Layer) -> Step:
        if layer.follows in ("input", "norm"):
            return self._entrance(layer)
        if layer.activation is None:
            return self._linear(layer)
        point = self._point(layer.activation)
        if point.C_W is None or point.C_b is None:
            return self._without_point(layer, point)
        kind = point.universality_class
        if layer.readout:
            # Not a step of the recursion over depth: its scale multiplies every gradient alike.
            return Step(layer, point.C_W, universality_class=kind, rule="read-out kernel 1")
        if point.C_b > 0 and layer.call.bias is None:
            needs = f"{point.activation} is critical only with biases (C_b = {point.C_b:.4g})"
            self._hopeless[layer.name] = f"{needs}, and {layer.name} has none: give the layers bias=True."
        step = Step(layer, point.C_W, point.C_b, "chi_perp", universality_class=kind, rule="chi_perp = 1")
        if layer.call.source.pooled or layer.follows == "cat":
            # Averaging over places or parts spoils the slopes' independence; the kernel is still plain.
            step.holds, step.relative, step.rule = "kernel", "root", "kernel that before the pooling"
        if point.C_b > 0 and point.K:
            step.K, step.relative = point.K, ""
            step.rule += f", kernel {point.K:.4g} by the biases"
        return step

    def _linear(self, layer: Layer) -> Step:
        point = None if layer.within is None else self._point(layer.within)
        if layer.readout:
            return Step(layer, rule="read-out kernel 1")
        if point is None:
            return Step(layer, holds="chi_perp", rule="chi_perp = 1")
        if point.C_W is None:
            self._notes.append(
                f"{point.activation} has no critical point ({point.reason}) In dense connections C_W = "
                f"{_DENSE} keeps the kernel bounded; an input of much larger norm can still explode."
            )
            rule = f"kernel {_DENSE} of the input"
            return Step(layer, _DENSE, K=_DENSE, relative="input", rule=rule)
        return Step(layer, relative="input", rule="kernel that of the input")

    def _entrance(self, layer: Layer) -> Step:
        # The first layer, and those behind a normalisation, meet a signal of known size: they set the kernel.
        K, largest = self._kernel(layer)
        step = Step(layer, K=K, largest=largest, rule=f"{'largest kernel' if largest else 'kernel'} {K:.4g}")
        if layer.activation is not None:
            point = self._point(layer.activation)
            step.C_W, step.universality_class = point.C_W or 1.0, point.universality_class
            root = layer.call.source.root
            if root is not None and root.name == "batch_norm":
                self._notes.append(_BATCH_NORM)
        return step

    def _kernel(self, layer: Layer) -> tuple[float, bool]:
        # What the layer's output is to be, for what it goes through next; and whether for the largest input.
        if layer.follows == "input" and self._first_kernel is not None:
            return self._first_kernel, False
        if layer.next is None or layer.target == "norm":
            return 1.0, False
        point = self._point(layer.next)
        if point.universality_class == "half-stable" and point.K:
            return point.K, False
        if point.universality_class == "K*=0" and point.stable is False and point.a1:
            return first_layer_kernel(layer.next, self.depth), True
        return 1.0, False

    def _without_point(self, layer: Layer, point: CriticalPoint) -> Step:
        if layer.branch is None:
            self._hopeless[layer.name] = f"{point.activation} has no critical point: {point.reason}"
        else:
            self._notes.append(
                f"{point.activation} has no critical point ({point.reason}) It is used inside residual "
                "branches, whose scale was made small; an input of much larger norm than those of the batch "
                "can still explode."
            )
        return Step(layer, universality_class="none", rule="kernel 1")


def _why_not(layer: Layer, frozen: set[int]) -> str:
    if id(layer.call.weight) in frozen:
        return "its weights are frozen (requires_grad=False)"
    if layer.tied:
        return "its weights are also an embedding, whose rows are looked up and not summed"
    if layer.problem:
        return f"the activation before it is not recognised: {layer.problem}"
    if layer.follows == "mixing":
        root = layer.call.source.root
        return f"its input comes from {root.name if root else 'nowhere'}, whose scale theory does not give"
    if layer.follows == "constant":
        return "its input does not depend on the batch"
    if layer.target not in ("layer", "sum", "cat", "norm", "output"):
        return f"its output goes into {layer.target}, which is no elementwise activation"
    return ""


def _why_kept(module: nn.Module) -> str:
    name = type(module).__name__
    if "Norm" in name:
        return "a normalisation sets the kernel itself; its scale and shift are kept"
    if "Embedding" in name:
        return "rows are looked up, not summed, so there is no fan-in to scale by"
    if "Attention" in name:
        return "softmax attention is no elementwise activation"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return "the same weights act at every time step; the theory of depth does not apply"
    if "Parametriz" in name:
        return "the weight is computed from these parameters"
    if "NonDynamicallyQuantizable" in name:
        return "part of an attention layer"
    return "not reached as a linear or convolution layer in the forward pass"


def _refusal(hopeless: dict[str, str]) -> str:
    layers, reason = list(hopeless), next(iter(hopeless.values()))
    names = ", ".join(layers[:4]) + (f" and {len(layers) - 4} more" if len(layers) > 4 else "")
    return (
        f"No critical initialisation for {names}: {reason} Nothing was changed. What helps: a LayerNorm "
        "before each activation; residual blocks h + 0.1 f(h), up to some 20 layers, a smaller weight "
        "beyond; dense connections with C_W = 0.3; or another activation (MRePU in place of RePU, GELU in "
        "place of softplus). Squared ReLU in 10 layers on handwritten digits: 9 % of them read without, 95 "
        "to 98 % with any of the first three."
    )
