"""How a signal flows through a user's module: the torch operations of one pass, and what feeds what."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from phasescope.recording.batch import leaves, map_leaves


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WEIGHTS = _names("linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d")
_NORMS = _names("layer_norm batch_norm group_norm instance_norm rms_norm normalize")
_SHAPES = _names(
    """view reshape flatten unflatten permute transpose t swapaxes movedim squeeze unsqueeze contiguous clone
    detach to float double half bfloat16 type pad constant_pad_nd __get__ requires_grad_ identity
    dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout"""
)
_POOLS = _names(
    """mean avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool3d adaptive_avg_pool1d
    adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d amax interpolate
    lp_pool1d lp_pool2d"""
)
_SUMS = _names("add add_ sub sub_ rsub __radd__ __rsub__ __add__ __iadd__")
_CATS = _names("cat concat concatenate")
# Operations that mix the units of a layer: what comes out is no elementwise function of what went in.
_MIXING = _names(
    """softmax log_softmax matmul mm bmm einsum baddbmm addmm mv __matmul__ __rmatmul__ embedding
    embedding_bag bilinear scaled_dot_product_attention multi_head_attention_forward lstm gru rnn_tanh
    rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell cumsum sort topk roll flip __getitem__ chunk
    split unbind select narrow index_select gather glu sum norm fft fold unfold repeat expand stack"""
)


class Node:
    """One value of the forward pass.

    A node is either a *root* (an input, the output of a weight layer, of a normalisation, of a sum of two
    signals, of a concatenation, or of an operation that mixes units) or a function of exactly one root, or a
    constant, which has none.
    """

    def __init__(self, kind: str, name: str, value: Tensor | None = None) -> None:
        self.kind, self.name = kind, name
        self.value = value  # of a root or a constant
        self.terms: list[Node] = []  # what a root was made from
        # Of a function: how it is computed, from what, and whether a pooling lies between its root and it.
        self.call: Callable[..., Any] | None = None
        self.args: Any = ()
        self.kwargs: Any = {}
        self.pooled = False
        self._root: Node | None = None

    @property
    def is_root(self) -> bool:
        """Whether the node is its own root."""
        return self.kind not in ("function", "constant")

    @property
    def root(self) -> Node | None:
        """The one root that the node is a function of, itself included; None for a constant."""
        # Not an attribute: a node that held itself would keep the whole pass alive until garbage collection.
        return self if self.is_root else self._root

    def elementwise(self) -> list[str]:
        """Return the names of the operations since the root that change values, in no special order."""
        found: dict[int, Node] = {}
        waiting = [self]
        while waiting:
            node = waiting.pop()
            if node.is_root or node.root is None or id(node) in found:
                continue
            found[id(node)] = node
            waiting += leaves((node.args, node.kwargs), Node)
        return [n.name for n in found.values() if n.name not in _SHAPES and n.name not in _POOLS]

    def replay(self, value: Tensor, *, pointwise: bool = False) -> Tensor:
        """Return this node's value if its root had `value`, in the root's shape.

        With `pointwise`, changes of shape, pooling and dropout are left out, so that only the function of one
        number remains, and `value` may have any shape.
        """
        done: dict[int, Any] = {}

        def evaluate(node: Node) -> Any:
            if node.is_root:
                return value.clone()
            if node.root is None:
                return _constant(node.value, value)
            if id(node) not in done:
                skipped = pointwise and (node.name in _SHAPES or node.name in _POOLS)
                if skipped or "dropout" in node.name:
                    done[id(node)] = evaluate(next(leaves(node.args, Node)))
                else:
                    args, kwargs = map_leaves(evaluate, (node.args, node.kwargs), Node)
                    assert node.call is not None
                    done[id(node)] = node.call(*args, **kwargs)
            result = done[id(node)]
            # A copy, because the next operation may work in place.
            return result.clone() if isinstance(result, Tensor) else result

        result = evaluate(self)
        assert isinstance(result, Tensor)
        return result

    def push(self, value: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return this node's value where its root has `value`, and `tangent` pushed from the root to here."""
        with warnings.catch_warnings():
            # Torch's own forward-mode rules are loaded through the deprecated torch.jit.script.
            warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
            pair = torch.func.jvp(self.replay, (value,), (tangent,))
        return pair[0], pair[1]


@dataclass
class WeightCall:
    """One use of a weight layer: its operation, parameters, input and the node of its output."""

    operation: str
    weight: Tensor
    bias: Tensor | None
    input: Tensor
    source: Node
    run: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    output: Node | None = None


def fan_in(call: WeightCall) -> int:
    """Return the number of inputs that each output of the layer sums over."""
    shape = call.weight.shape
    if call.operation.startswith("conv_transpose"):
        return int(shape[0] * math.prod(shape[2:]))
    return int(math.prod(shape[1:]))


class Flow(TorchFunctionMode):
    """Records every torch operation inside its ``with`` block as nodes, without hooks.

    `before_weights` is called before each weight layer runs, and may change its weights in place.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        before_weights: Callable[[Flow, WeightCall], None] | None = None,
    ) -> None:
        super().__init__()
        self._before_weights = before_weights
        self._paused = False
        self._nodes: dict[int, Node] = {}
        self._alive: list[Tensor] = []
        self.roots: list[Node] = []
        self._constants = {id(t) for t in (*model.parameters(), *model.buffers())}
        self._parameters = {id(p) for p in model.parameters()}
        self.calls: list[WeightCall] = []
        for tensor in leaves(inputs, Tensor):
            self._remember(tensor, self._new_root("input", "input", [], tensor))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and record it."""
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        self._paused = True
        try:
            name = getattr(func, "__name__", "?")
            if name in _WEIGHTS:
                return self._weight_layer(name, func, args, kwargs)
            links = map_leaves(self._node_of, (args, kwargs))
            result = func(*args, **kwargs)
            self._record(name, func, args, links, result)
            return result
        finally:
            self._paused = False

    def _weight_layer(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        options = {key: value for key, value in kwargs.items() if key not in ("input", "weight", "bias")}

        def run(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            output: Tensor = func(h, weight, bias, *args[3:], **options)
            return output

        source = self._node_of(given["input"])
        call = WeightCall(name, given["weight"], given.get("bias"), given["input"], source, run)
        own = id(call.weight) in self._parameters
        if own and self._before_weights is not None:
            self._before_weights(self, call)
        result: Tensor = func(*args, **kwargs)
        terms = [source] if source.root is not None else []
        call.output = self._new_root("weight" if own else "mixing", name, terms, result)
        self._remember(result, call.output)
        if own:
            self.calls.append(call)
        return result

    def _record(self, name: str, func: Any, args: Any, links: Any, result: Any) -> None:
        sources = [node for node in leaves(links, Node) if node.root is not None]
        if name == "__setitem__":
            self._remember(args[0], self._new_root("mixing", name, sources, args[0]))
            return
        for output in leaves(result, Tensor):
            node = self._classify(name, func, links, sources, output, single=isinstance(result, Tensor))
            self._remember(output, node)

    def _classify(
        self, name: str, func: Any, links: Any, sources: list[Node], output: Tensor, *, single: bool
    ) -> Node:
        roots = {id(node.root) for node in sources}
        if not roots:
            return Node("constant", name, output)
        if name in _NORMS:
            node = self._new_root("norm", name, sources, output)
            node.args = links
            return node
        alike = len({source.pooled for source in sources}) == 1
        if len(roots) == 1 and single and alike and name not in _MIXING and name not in _CATS:
            node = Node("function", name)
            node.call, (node.args, node.kwargs) = func, links
            node._root = sources[0].root
            node.pooled = name in _POOLS or any(source.pooled for source in sources)
            return node
        kind = "sum" if name in _SUMS else "cat" if name in _CATS else "mixing"
        return self._new_root(kind, name, sources, output)

    def _new_root(self, kind: str, name: str, terms: list[Node], value: Tensor) -> Node:
        # A copy of what the theory looks at, because an activation may work in place.
        looked_at = kind in ("weight", "norm", "sum", "cat")
        node = Node(kind, name, value.detach().clone() if looked_at else value)
        node.terms = terms
        self.roots.append(node)
        return node

    def _remember(self, tensor: Tensor, node: Node) -> None:
        self._nodes[id(tensor)] = node
        self._alive.append(tensor)

    def _node_of(self, tensor: Tensor) -> Node:
        node = self._nodes.get(id(tensor))
        if node is None:
            if id(tensor) in self._constants:
                node = Node("constant", "parameter", tensor)
            else:
                # Made by code that this mode cannot see, such as a custom autograd function.
                node = self._new_root("mixing", "an operation that cannot be followed", [], tensor)
            self._remember(tensor, node)
        return node


def _constant(constant: Tensor | None, like: Tensor) -> Any:
    if constant is not None and constant.is_floating_point():
        return constant.detach().to(like.dtype)
    return constant
