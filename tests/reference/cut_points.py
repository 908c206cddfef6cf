"""The cut points of a pass the slow way: take a value away and look for a way from input to output.

Every call of a torch function is an operation, seen through a ``TorchFunctionMode``; its tensors are
numbered, those of the input first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.autograd.forward_ad as forward_ad
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

# One word for every spelling of an operation.
_WORDS = {
    word: name
    for name, words in {
        "add": "__add__ __radd__ add_ __iadd__ sub __sub__ rsub __rsub__",
        "mul": "__mul__ __rmul__ mul_ __imul__",
        "matmul": "__matmul__ __rmatmul__",
        "pow": "__pow__",
        "cat": "concat concatenate",
        "getitem": "__getitem__",
    }.items()
    for word in words.split()
}


@dataclass
class Value:
    """A tensor of the pass: its operation, which values it was made from, and in which calls."""

    kind: str
    made_from: list[int]
    numbers: Tensor
    tangent: Tensor | None
    calls: list[Call]
    itself: Tensor  # held, so that its address is not used again


@dataclass(eq=False)
class Call:
    """A call of a module that has begun; whether others were called inside it."""

    module: nn.Module
    model: nn.Module
    calls_others: bool = False

    @property
    def is_row(self) -> bool:
        """Whether only its output counts: a module of torch, or one inside the model, that calls no other."""
        ready_made = type(self.module).__module__.startswith("torch.nn")
        return not self.calls_others and (self.module is not self.model or ready_made)


@dataclass
class CutPoint:
    """A cut point: class of its module or name of its operation, its numbers and their tangent."""

    kind: str
    numbers: Tensor
    tangent: Tensor | None


@dataclass
class _Watch(TorchFunctionMode):
    values: list[Value] = field(default_factory=list)
    number: dict[int, int] = field(default_factory=dict)
    begun: list[Call] = field(default_factory=list)
    paused: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def add(self, kind: str, made_from: list[int], tensor: Tensor) -> None:
        self.number[id(tensor)] = len(self.values)
        numbers, tangent = (None if t is None else t.detach().clone() for t in forward_ad.unpack_dual(tensor))
        assert numbers is not None
        self.values.append(Value(kind, made_from, numbers, tangent, list(self.begun), tensor))

    def known(self, thing: Any) -> list[int]:
        return sorted({self.number[id(t)] for t in tree_leaves(thing) if id(t) in self.number})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.paused:
            return func(*args, **(kwargs or {}))
        made_from = self.known((args, kwargs))
        given = {id(t): t._version for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "?")
        kind = _WORDS.get(name, name)
        if kind == "add" and len(made_from) > 1:
            kind = "sum"
        if kind == "cat" and len(made_from) == 1:
            kind = "extend"
        for tensor in tree_leaves((args[:1], result)):
            # New, or written to. What comes from no input is a constant and no value.
            if made_from and isinstance(tensor, Tensor) and given.get(id(tensor)) != tensor._version:
                given[id(tensor)] = tensor._version
                self.add(kind, made_from, tensor)
        return result


def cut_points(
    model: Any,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    sources: tuple[int, ...] = (0,),
    tangent: Callable[[Tensor], Tensor] | None = None,
) -> list[CutPoint]:
    """Return the cut points between tensors of the input and the first output for each sample.

    What changes only shape or order is no point, nor is what happens inside a module that calls no other.
    A tangent enters at a floating-point input, or else where modules turn integers into numbers.
    """
    entering = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
    integers = not entering[sources[0]].is_floating_point()
    watch = _Watch()
    named: dict[int, str] = {}

    def before(module: nn.Module, _: Any) -> None:
        for outer in watch.begun:
            outer.calls_others = True
        watch.begun.append(Call(module, model))

    def after(module: nn.Module, given: Any, output: Any) -> Any:
        call = watch.begun.pop()
        if tangent and integers and call.is_row and watch.known(given) == [0]:
            number, watch.paused = watch.number.pop(id(output)), True
            output = forward_ad.make_dual(output, tangent(output))
            watch.values[number].tangent = forward_ad.unpack_dual(output).tangent
            watch.number[id(output)], watch.values[number].itself = number, output
            watch.paused = False
        for number in watch.known(output):
            if call.is_row and call in watch.values[number].calls:
                named[number] = type(module).__name__.removeprefix("Parametrized")
        return output

    handles = []
    for path, module in model.named_modules() if isinstance(model, nn.Module) else ():
        if "parametrizations" not in path.split("."):
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    with (
        warnings.catch_warnings()
    ):  # torch loads its forward-mode rules in a way that it has deprecated itself
        warnings.filterwarnings("ignore", "`torch.jit.script`", DeprecationWarning)
        torch.func.jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))
    try:
        # Fused attention has no forward mode.
        with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            duals = {}
            for source in sources:
                tensor = entering[source]
                if tangent and not integers:
                    duals[id(tensor)] = forward_ad.make_dual(tensor, tangent(tensor))
                watch.add("input", [], duals.get(id(tensor), tensor))
            args, kwargs = tree_map(lambda t: duals.get(id(t), t), (args, kwargs or {}))
            with watch:
                output = model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()

    values, tensors = watch.values, [t for t in tree_leaves(output) if isinstance(t, Tensor)]
    per_sample = [t for t in tensors if t.ndim and len(t) % len(entering[sources[0]]) == 0] or tensors
    goal = watch.number[id(per_sample[0])]
    points, last = [], values[0].numbers
    for number, value in enumerate(values):
        on_the_way = value.kind != "input" and _way(values, number) and not _way(values, goal, without=number)
        row_ends_here = number in named or not any(call.is_row for call in value.calls)
        if on_the_way and row_ends_here and not _same_numbers(last, value.numbers):
            points.append(CutPoint(named.get(number, value.kind), value.numbers, value.tangent))
            last = value.numbers
    return points


def _way(values: list[Value], goal: int, *, without: int | None = None) -> bool:
    """Whether a way leads from the input to the goal."""
    waiting, seen = [goal], set()
    while waiting:
        number = waiting.pop()
        if values[number].kind == "input":
            return True
        if number != without and number not in seen:
            seen.add(number)
            waiting += values[number].made_from
    return False


def _same_numbers(a: Tensor, b: Tensor) -> bool:
    """Whether one is the other in another shape or order."""
    if a.numel() != b.numel() or not a.is_floating_point():
        return False
    return torch.equal(a.flatten().double().sort()[0], b.flatten().double().sort()[0])
