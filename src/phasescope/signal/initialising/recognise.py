"""Which activation feeds each weight layer of a user's module, and where residual branches begin and end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from phasescope.activations import Activation, as_activation
from phasescope.errors import InputError
from phasescope.recording.dataflow import Flow, Node, WeightCall

# Compared in this order with what the module computes; the first that agrees gives its name.
_CANDIDATES = (
    *("relu", "tanh", "gelu", "silu", "gelu_tanh", "leaky_relu", "elu", "selu", "celu", "mish", "softplus"),
    *("sigmoid", "softsign", "relu6", "hardtanh", "hardswish", "hardsigmoid", "erf", "sin", "cos", "arctan"),
    *("tanhshrink", "logsigmoid", "repu2", "repu3", "repu4", "mrepu1", "mrepu2", "mrepu3", "mrepu4"),
)


@dataclass
class Branch:
    """A residual branch: the sum it ends in, and its two terms."""

    total: Node
    side: Node
    stream: Node
    last: set[int]  # numbers of the weight layers that the end of the branch sees first


@dataclass
class Layer:
    """One weight layer as the signal meets it."""

    name: str  # module path
    kind: str  # class name
    call: WeightCall  # its first use
    activation: Activation | None  # between the root of its input and the layer; None for nothing
    follows: str  # where its input comes from: "input", "weight", "sum", "cat", "norm", "mixing", "constant"
    next: Activation | None = None  # what its output goes through before the next weight layer
    target: str = "output"  # where that goes: "layer", "norm", "sum", "cat", "output", or a mixing operation
    branch: Branch | None = None  # the residual branch it belongs to
    within: Activation | None = None  # what acts on parts of a concatenation that the layer takes
    tied: bool = False  # whether its weights also serve as an embedding
    readout: bool = False  # whether nothing but the output of the model takes its output
    problem: str = ""  # why its activation could not be recognised; empty where it was
    number: int = 0  # in the order of first use


def recognise(
    model: nn.Module, flow: Flow, activation: str | nn.Module | Callable[[Tensor], Tensor] | None = None
) -> list[Layer]:
    """Return the weight layers of `model` in the order of their first use, with what surrounds each.

    The operations between two weight layers are replayed as a function of one number and compared with the
    known activations to a part in 1e6; what agrees with none is used as it is. A given `activation` is taken
    for all of them.
    """
    owners = _owners(model)
    known = _Activations(None if activation is None else as_activation(activation))
    layers: list[Layer] = []
    seen: set[int] = set()
    for call in flow.calls:
        if id(call.weight) in seen or id(call.weight) not in owners:
            continue
        seen.add(id(call.weight))
        name, module = owners[id(call.weight)]
        root = call.source.root
        layer = Layer(name, type(module).__name__, call, None, root.kind if root else "constant")
        layer.tied = isinstance(module, nn.Embedding)
        layer.activation, layer.problem = known.of(call.source)
        layer.within = known.within(root)
        layer.number = len(layers)
        layers.append(layer)
    _look_ahead(layers, flow, known)
    _find_branches(layers, flow)
    return layers


def depth_of(flow: Flow) -> int:
    """Return the number of weight layers on the longest way from the input to the output."""
    depth: dict[int, int] = {}
    for root in flow.roots:
        below = [depth[id(term.root)] for term in root.terms if term.root is not None]
        depth[id(root)] = max(below, default=0) + (root.kind == "weight")
    return max(depth.values(), default=0)


class _Activations:
    """The activation between a node's root and the node, looked up once for each distinct function."""

    def __init__(self, given: Activation | None) -> None:
        self._given = given
        self._points = torch.linspace(-6, 6, 49, dtype=torch.float64) + 0.0123
        self._known: list[tuple[Activation, Tensor]] = []

    def of(self, node: Node) -> tuple[Activation | None, str]:
        names = node.elementwise()
        if node.root is None or not names:
            return None, ""
        values, problem = self._values(node, names)
        if values is not None and _proportional(values, self._points):
            # A constant factor, such as a residual weight, is no activation.
            return None, ""
        if self._given is not None:
            return self._given, ""
        return (None, problem) if values is None else self._identify(node, values, names)

    def _values(self, node: Node, names: list[str]) -> tuple[Tensor | None, str]:
        try:
            values = node.replay(self._points, pointwise=True).to(torch.float64)
        except Exception as error:
            return None, f"{'/'.join(names)} is not elementwise ({type(error).__name__})"
        if values.shape != self._points.shape:
            return None, f"{'/'.join(names)} is not elementwise"
        return values, ""

    def within(self, root: Node | None) -> Activation | None:
        """Return the first activation among the parts of a concatenation, nested ones included."""
        waiting = [root] if root is not None and root.kind == "cat" else []
        while waiting:
            for term in waiting.pop().terms:
                found = self.of(term)[0]
                if found is not None:
                    return found
                if term.root is not None and term.root.kind == "cat":
                    waiting.append(term.root)
        return None

    def _identify(self, node: Node, values: Tensor, names: list[str]) -> tuple[Activation | None, str]:
        for found, reference in self._known:
            if torch.allclose(values, reference, rtol=1e-6, atol=1e-7):
                return found, ""
        for name in _CANDIDATES:
            candidate = as_activation(name)
            if torch.allclose(values, candidate(self._points), rtol=1e-6, atol=1e-7):
                self._known.append((candidate, values))
                return candidate, ""

        def function(z: Tensor) -> Tensor:
            return node.replay(z, pointwise=True)

        function.__name__ = names[0].rstrip("_") if len(names) == 1 else "activation"
        try:
            found = as_activation(function)
        except InputError as error:
            return None, str(error)
        self._known.append((found, values))
        return found, ""


def _proportional(values: Tensor, points: Tensor) -> bool:
    return torch.allclose(values, values[0] / points[0] * points, rtol=1e-6, atol=1e-12)


def _owners(model: nn.Module) -> dict[int, tuple[str, nn.Module]]:
    owners: dict[int, tuple[str, nn.Module]] = {}
    for path, module in model.named_modules():
        for own, parameter in module._parameters.items():
            if parameter is not None:
                name = path if own == "weight" else f"{path}.{own}".lstrip(".")
                if id(parameter) not in owners or isinstance(module, nn.Embedding):
                    owners[id(parameter)] = (name or type(module).__name__, module)
    return owners


def _look_ahead(layers: list[Layer], flow: Flow, known: _Activations) -> None:
    consumers: dict[int, list[tuple[str, Node]]] = {}
    for call in flow.calls:
        consumers.setdefault(id(call.source.root), []).append(("layer", call.source))
    for root in flow.roots:
        if root.kind != "weight":
            for term in root.terms:
                what = root.kind if root.kind in ("norm", "sum", "cat") else root.name
                consumers.setdefault(id(term.root), []).append((what, term))
    sums = {id(term.root): root for root in flow.roots if root.kind in ("sum", "cat") for term in root.terms}
    for layer in layers:
        output: Node | None = layer.call.output
        layer.readout = id(output) not in consumers
        while output is not None:
            found = consumers.get(id(output), [])
            acted = [(what, known.of(node)[0]) for what, node in found]
            layer.next = next((act for _, act in acted if act is not None), None)
            layer.target = next((what for what, act in acted if act is layer.next), "output")
            # A sum passes the signal on: what acts on the sum acts on the layer's output.
            passed_on = found and layer.next is None and layer.target in ("sum", "cat")
            output = sums.get(id(output)) if passed_on else None


def _find_branches(layers: list[Layer], flow: Flow) -> None:
    above: dict[int, set[int]] = {}
    numbers = {id(layer.call.output): layer.number for layer in layers}
    for root in flow.roots:
        found = {numbers[id(root)]} if id(root) in numbers else set()
        for term in root.terms:
            found |= above.get(id(term.root), set())
        above[id(root)] = found
    for root in flow.roots:
        if root.kind != "sum" or len(root.terms) != 2:
            continue
        first, second = root.terms
        one, two = above[id(first.root)], above[id(second.root)]
        if len(one - two) == len(two - one):
            continue  # two signals that meet, not a branch and its shortcut
        side, stream = (first, second) if len(one - two) > len(two - one) else (second, first)
        branch = Branch(root, side, stream, _last(side, numbers))
        for layer in layers:
            if layer.number in above[id(side.root)] - above[id(stream.root)]:
                layer.branch = branch


def _last(side: Node, numbers: dict[int, int]) -> set[int]:
    # The weight layers that the end of the branch sees first; none where a normalisation stands between.
    found: set[int] = set()
    waiting = [side]
    while waiting:
        root = waiting.pop().root
        if root is None:
            continue
        if id(root) in numbers:
            found.add(numbers[id(root)])
        elif root.kind in ("sum", "cat"):
            waiting += root.terms
    return found
