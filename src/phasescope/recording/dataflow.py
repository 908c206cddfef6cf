"""How a signal flows through a user's module: the torch operations of one pass, and what feeds what."""

from __future__ import annotations

import math
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from phasescope.recording.batch import is_plain, leaves, map_leaves
from phasescope.recording.recurrent import OPERATORS


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
# Operations that take no more than the shape of a signal.
_FRESH = _names(
    """new_tensor new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like rand_like
    randn_like randint_like"""
)
# Operations that only shift or stretch a signal where what else they take is constant.
_AFFINE = _SUMS | _names(
    "mul mul_ __mul__ __rmul__ __imul__ div div_ true_divide __truediv__ __itruediv__ neg"
)


class Address(NamedTuple):
    """Where an operation stands in a pass: the innermost module, which call of it, and which call there."""

    path: str
    call: int
    operation: str
    number: int
    output: int = 0  # which of the floating-point tensors that it returns


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
        # Of every value: what it was made from, when, where, of which inputs and with which parameters.
        self.sources: list[Node] = []
        self.index = -1
        self.address: Address | None = None
        self.inputs: frozenset[str] = frozenset()
        self.parameters: frozenset[int] = frozenset()  # ids
        self.matrix = False  # whether one of these has two axes or more
        self.shape: tuple[int, ...] = ()
        self.floating = True

    @property
    def is_root(self) -> bool:
        """Whether the node is its own root."""
        return self.kind not in ("function", "constant")

    @property
    def root(self) -> Node | None:
        """The one root that the node is a function of, itself included; None for a constant."""
        # Not an attribute: a node that held itself would keep the whole pass alive until garbage collection.
        return self if self.is_root else self._root

    @property
    def same_as(self) -> Node:
        """The earliest value that this one is up to its shape, a constant shift and a constant factor."""
        node = self
        while node.kind == "function" and (node.name in _SHAPES or node._affine()):
            if not node.sources[0].floating:
                break
            node = node.sources[0]
        return node

    @property
    def unchanged(self) -> Node:
        """The earliest value that this one is up to its shape."""
        node = self
        while node.kind == "function" and node.name in _SHAPES and node.sources[0].floating:
            node = node.sources[0]
        return node

    @property
    def is_step(self) -> bool:
        """Whether the value is that of a weight layer, or of signals that meet: what depth is counted in."""
        meets = self.kind == "sum" or (self.kind == "cat" and len(self.sources) > 1)
        return meets or self.kind == "weight" or (self.kind == "mixing" and self.matrix)

    def _affine(self) -> bool:
        if self.name not in _AFFINE or len(self.sources) != 1:
            return False
        first = isinstance(self.args, tuple) and bool(self.args) and self.args[0] is self.sources[0]
        return first or "div" not in self.name

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
    """Records every torch operation inside its ``with`` block as nodes.

    `inputs` are named tensors. With `values`, what the theory of initialisation looks at is kept; without,
    the pass takes no more memory than one without a record. `before_weights` is called before each weight
    layer runs, and may change its weights in place. `enter` and `leave` tell which module is running.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Iterable[tuple[str, Tensor]],
        before_weights: Callable[[Flow, WeightCall], None] | None = None,
        *,
        values: bool = True,
    ) -> None:
        super().__init__()
        self._before_weights = before_weights
        self._values = values
        self._paused = False
        self._known: dict[int, _Known] = {}
        self._written: dict[int, Node] = {}  # by storage: what was last written into it
        self.made = _Made()
        self.held = 0  # bytes of all results
        self.nodes: list[Node] = []  # of everything that depends on an input, in order
        self.roots: list[Node] = []
        parameters = list(model.parameters())
        self._constants = {id(t) for t in (*parameters, *model.buffers())}
        self._own = {id(p) for p in parameters}
        self._parameters = {id(p): p.ndim >= 2 for p in parameters}
        self.calls: list[WeightCall] = []
        self._running: list[tuple[str, int]] = [("", 1)]
        self._entered: Counter[str] = Counter()
        self._counted: Counter[tuple[str, int, str]] = Counter()
        for name, tensor in inputs:
            node = self._new_root("input", "input", [], tensor)
            node.inputs = frozenset([name])
            self._remember(tensor, node)

    def enter(self, path: str) -> int:
        """Note that a module begins to run, and return which call of it that is."""
        self._entered[path] += 1
        self._running.append((path, self._entered[path]))
        return self._entered[path]

    def leave(self) -> None:
        """Note that the module that runs ends."""
        self._running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and record it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "?")
        if self._paused:
            return func(*args, **kwargs)
        self._paused = True
        try:
            if name in _WEIGHTS:
                return self._weight_layer(name, func, args, kwargs)
            links = map_leaves(self._node_of, (args, kwargs))
            # Thousands of operators run inside a recurrent one, none of which gives a value of the model's.
            result = self.made.whole(func, args, kwargs) if name in OPERATORS else func(*args, **kwargs)
            self._record(name, func, args, links, result)
            return result
        finally:
            self._paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take no notice, inside, of what is run."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    def made_by_module(self, tensor: Tensor, args: Any) -> Node | None:
        """Return the value that a module gave, made of what it took where no known operation made it."""
        node = self.node_of(tensor)
        if node is None and id(tensor) not in self._constants:
            taken = [known for known in map(self.node_of, leaves(args, Tensor)) if known is not None]
            terms = [known for known in taken if known.root is not None]
            node = self._new_root("mixing", "an operation that cannot be followed", terms, tensor)
            self._note(node, "unseen", taken, tensor)
            self._remember(tensor, node)
        return node

    def node_of(self, tensor: Tensor) -> Node | None:
        """Return the value that a tensor is, or None for one that no operation of the pass made."""
        known = self._known.get(id(tensor))
        if known is None or known.tensor() is not tensor:
            return None
        if known.version != _version(tensor):
            return self._written.get(_storage(tensor), known.node)
        return known.node

    def _weight_layer(self, name: str, func: Any, args: Any, kwargs: Any) -> Tensor:
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        options = {key: value for key, value in kwargs.items() if key not in ("input", "weight", "bias")}

        def run(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            output: Tensor = func(h, weight, bias, *args[3:], **options)
            return output

        links = map_leaves(self._node_of, (args, kwargs))
        source = self._node_of(given["input"])
        keep = given["input"] if self._values or given["input"].is_nested else given["input"].detach()[:0]
        call = WeightCall(name, given["weight"], given.get("bias"), keep, source, run)
        own = id(call.weight) in self._own
        if own and self._before_weights is not None:
            self._before_weights(self, call)
        result: Tensor = func(*args, **kwargs)
        terms = [source] if source.root is not None else []
        call.output = self._new_root("weight" if own else "mixing", name, terms, result)
        self._note(call.output, name, links, result)
        self._remember(result, call.output)
        self._counted[(*self._running[-1], name)] += 1
        if own:
            self.calls.append(call)
        return result

    def _record(self, name: str, func: Any, args: Any, links: Any, result: Any) -> None:
        sources = [node for node in leaves(links, Node) if node.root is not None]
        if name == "__setitem__":
            node = self._new_root("mixing", name, sources, args[0])
            self._note(node, name, links, args[0])
            self._remember(args[0], node, written=True)
            self._counted[(*self._running[-1], name)] += 1
            return
        single = isinstance(result, Tensor)
        floats = 0
        for output in leaves(result, Tensor):
            node = self._classify(name, func, links, sources, output, single=single)
            self._note(node, name, links, output, floats)
            floats += output.is_floating_point() and is_plain(output)
            if name not in _SHAPES and is_plain(output):
                self.held += output.numel() * output.element_size()
            written = bool(args) and output is args[0]
            self._remember(output, node, written=written)
        self._counted[(*self._running[-1], name)] += 1

    def _note(self, node: Node, name: str, links: Any, output: Tensor, number: int = 0) -> None:
        used = list(leaves(links, Node))
        node.parameters = frozenset().union(*(u.parameters for u in used if u.root is None))
        node.matrix = any(self._parameters[key] for key in node.parameters)
        if node.root is None:
            return
        path, call = self._running[-1]
        fresh = name in _FRESH
        node.sources = [] if fresh else list(dict.fromkeys(u for u in used if u.root is not None))
        node.inputs = node.inputs.union(*(source.inputs for source in node.sources))
        node.address = Address(path, call, name, self._counted[path, call, name] + 1, number)
        node.shape, node.floating = _shape(output), output.is_floating_point() and is_plain(output)
        if node.index < 0:
            node.index = len(self.nodes)
            self.nodes.append(node)

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
        if name == "__getitem__" and math.prod(sources[0].shape) == output.numel():
            name = "view"  # all that there is, as x[:, :] takes it
        mixes = name in _MIXING or name in _CATS
        if len(roots) == 1 and single and alike and not mixes and _fits(name, sources, output):
            node = Node("function", name)
            node.call, (node.args, node.kwargs) = func, links
            node._root = sources[0].root
            node.pooled = name in _POOLS or any(source.pooled for source in sources)
            return node
        kind = "sum" if name in _SUMS and len(roots) > 1 else "cat" if name in _CATS else "mixing"
        return self._new_root(kind, name, sources, output)

    def _new_root(self, kind: str, name: str, terms: list[Node], value: Tensor) -> Node:
        # A copy of what the theory looks at, because an activation may work in place.
        looked_at = kind in ("weight", "norm", "sum", "cat")
        kept = None if not self._values else value.detach().clone() if looked_at else value
        node = Node(kind, name, kept)
        node.terms = terms
        node.index, node.shape = len(self.nodes), _shape(value)
        node.floating = value.is_floating_point() and is_plain(value)
        self.nodes.append(node)
        self.roots.append(node)
        return node

    def _remember(self, tensor: Tensor, node: Node, *, written: bool = False) -> None:
        # A weak reference, so that nothing is kept alive; it tells whether an address was used again.
        reference = (lambda: tensor) if self._values else weakref.ref(tensor)
        self._known[id(tensor)] = _Known(reference, node, _version(tensor))
        if written:
            self._written[_storage(tensor)] = node

    def _node_of(self, tensor: Tensor) -> Node:
        node = self.node_of(tensor)
        if node is None:
            if id(tensor) in self._constants or not self.made.knows(tensor):
                node = Node("constant", "parameter", tensor)
                self._parameters.setdefault(id(tensor), tensor.is_floating_point() and tensor.ndim >= 2)
                node.parameters = frozenset([id(tensor)])
            else:
                # Made by code that this mode cannot see, such as an operator of another language.
                before = self.nodes[-1:]
                node = self._new_root("mixing", "an operation that cannot be followed", before, tensor)
                self._note(node, "unseen", before, tensor)
            self._remember(tensor, node)
        return node


class _Known(NamedTuple):
    tensor: Callable[[], Tensor | None]
    node: Node
    version: int


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Knows which tensors came into being inside its ``with`` block; all others were there before."""

    supports_higher_order_operators = True  # such as flex attention

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: dict[int, weakref.ref[Tensor]] = {}

    def knows(self, tensor: Tensor) -> bool:
        """Return whether an operator returned the tensor."""
        reference = self._known.get(id(tensor))
        return reference is not None and reference() is tensor

    def whole(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation of which only the result is of interest."""
        with _disable_current_modes():
            return self._noted(func(*args, **kwargs))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self._noted(func(*args, **(kwargs or {})))

    def _noted(self, result: Any) -> Any:
        for tensor in leaves(result, Tensor):
            self._known[id(tensor)] = weakref.ref(tensor)
        return result


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return () if tensor.is_nested else tuple(tensor.shape)


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else int(tensor._version)


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # tensors without memory of their own, such as sparse ones
        return id(tensor)


def _fits(name: str, sources: list[Node], output: Tensor) -> bool:
    """Return whether the output can be a function of each number of its source, or a change of its shape."""
    if name in _POOLS or name in _FRESH or "pad" in name:
        return True
    return any(math.prod(source.shape) == math.prod(_shape(output)) for source in sources)


def _constant(constant: Tensor | None, like: Tensor) -> Any:
    if constant is not None and constant.is_floating_point():
        return constant.detach().to(like.dtype)
    return constant
