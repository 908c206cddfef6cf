"""RePU and MRePU beside the obvious expressions and GELU: time and bytes of value and both derivatives."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor import metrics
from torch._inductor.compile_fx import inductor_metrics_log
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.harness import Comparison, interleaved
from phasescope.activations import LearnedMRePU, MRePU, RePU

Function = Callable[[Tensor], Tensor]
GELU = "torch GELU"
MODULES = (RePU(2), RePU(3), MRePU(1), MRePU(2), MRePU(3), LearnedMRePU(2.0))


def _obvious(module: nn.Module) -> dict[str, Function]:
    """Return what one would write without this package, by torch.where and by clamp."""
    if isinstance(module, LearnedMRePU):
        return {}
    p = module.p
    if isinstance(module, RePU):
        return {
            "where": lambda z: torch.where(z > 0, z**p, 0.0),
            "clamp": lambda z: z.clamp(min=0) ** p,
        }
    return {
        "where": lambda z: torch.where(z > -1, z * (z + 1) ** p, 0.0),
        "clamp": lambda z: z * (z + 1).clamp(min=0) ** p,
    }


class _Bytes(TorchDispatchMode):
    """Counts what operations read and write: all of their tensors, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = tree_leaves((args, kwargs, out))
            self.count += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return out


class Stages:
    """One activation on one vector of numbers: its value, gradient and the gradient of that."""

    def __init__(self, function: Function, size: int) -> None:
        self.function = function
        self.z = torch.randn(size, generator=torch.Generator().manual_seed(0)).requires_grad_()
        self.v = torch.cos(self.z.detach())
        self.value = function(self.z)

    def forward(self) -> Tensor:
        return self.function(self.z)

    def backward(self, *, create_graph: bool = False) -> Tensor:
        """Run back over the stored graph."""
        (slope,) = torch.autograd.grad(
            self.value, self.z, self.v, retain_graph=True, create_graph=create_graph
        )
        return slope

    def twice(self) -> Callable[[], Tensor]:
        slope = self.backward(create_graph=True)
        return lambda: torch.autograd.grad(slope, self.z, self.v, retain_graph=True)[0]

    def bytes(self) -> tuple[float, float]:
        """Return bytes of value and gradient over the floor: read z, write; read z and a gradient, write."""
        counts = []
        for call, tensors in ((self.forward, 2), (self.backward, 3)):
            with _Bytes() as counted:
                call()
            counts.append(counted.count / (tensors * self.z.nbytes))
        return counts[0], counts[1]


def _silent(record: logging.LogRecord) -> bool:
    return False


def _compiled(function: Function, size: int) -> tuple[Stages, float]:
    """Return it compiled, and the bytes that its two kernels move over the floor of both."""
    # The compiler counts bytes where its log asks for them, and not for kernels from its cache.
    inductor_metrics_log.setLevel(logging.INFO)
    inductor_metrics_log.addFilter(_silent)
    torch._dynamo.reset()
    metrics.reset()
    with inductor_config.patch(force_disable_caches=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stages = Stages(torch.compile(function, fullgraph=True), size)
        stages.backward()
    return stages, metrics.num_bytes_accessed / (5 * stages.z.nbytes)


def _step(activation: Function, width: int, batch: int) -> Callable[[], Any]:
    """Return one step of gradient descent of a perceptron with three hidden layers."""
    torch.manual_seed(0)
    layers = [nn.Linear(width, width) for _ in range(4)]
    for layer in layers:
        nn.init.normal_(layer.weight, 0.0, 0.1 / width**0.5)
    optimiser = torch.optim.SGD([p for layer in layers for p in layer.parameters()], lr=1e-3)
    x, y = torch.randn(batch, width), torch.randn(batch, width)

    def step() -> None:
        h = x
        for layer in layers[:-1]:
            h = activation(layer(h))
        loss = (layers[-1](h) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def run(width: int = 256, batch: int = 256, repeats: int = 21) -> Comparison:
    """Return the time of a training step with each, and of each derivative alone beside its bytes."""
    threads, size = torch.get_num_threads(), batch * width
    torch.set_num_threads(1)
    comparison = Comparison(
        f"RePU and MRePU: a training step of a perceptron, 4 layers of {width}, {batch} inputs", "one step"
    )
    eager: dict[str, Function] = {GELU: F.gelu}
    for module in MODULES:
        eager[str(module)] = module
        eager |= {f"{module} by {how}": call for how, call in _obvious(module).items()}
    timed = partial(interleaved, repeats=repeats, clock=time.process_time)
    steps = {name: _step(call, width, batch) for name, call in eager.items()}
    comparison.seconds, comparison.ratios = timed(steps)
    modes: dict[str, dict[str, Stages]] = {"eager": {n: Stages(call, size) for n, call in eager.items()}}
    moved = {("eager", name): stages.bytes() for name, stages in modes["eager"].items()}
    fused: dict[str, float] = {}
    with functorch_config.patch(donated_buffer=False):  # a stored graph is run again and again
        modes["compiled"] = {}
        for name in [GELU, *map(str, MODULES), "RePU(p=2) by where", "MRePU(p=2) by where"]:
            modes["compiled"][name], fused[name] = _compiled(eager[name], size)
        for mode, stages in modes.items():
            times = {
                "value": timed({name: each.forward for name, each in stages.items()}),
                "gradient": timed({name: each.backward for name, each in stages.items()}),
            }
            if mode == "eager":  # torch compiles no gradient of a gradient
                twice = {name: each.twice() for name, each in stages.items()}
                times["gradient of it"] = timed(twice)
            for name in stages:
                row: dict[str, Any] = {"activation": name, "mode": mode}
                for what, (seconds, ratios) in times.items():
                    row[f"{what}, ms"] = 1e3 * seconds[name]
                    row[f"{what} / GELU"] = ratios[name]
                if mode == "eager":
                    row["bytes of value / floor"], row["bytes of gradient / floor"] = moved[mode, name]
                else:
                    row["bytes of both / floor"] = fused[name]
                comparison.rows.append(row)
    torch.set_num_threads(threads)
    comparison.remarks += [
        f"One thread, CPU seconds; below, {size:,} numbers in float32. Ratios are medians over {repeats} "
        "interleaved rounds, each to GELU in the same mode.",
        "The floor of the bytes: z is read and the value written; z and a gradient are read and one is "
        "written. Eager: all operands of all operations; compiled: as the compiler counts.",
        "`where` turns NaN into 0, and its gradient is NaN where the branch not taken overflows; `clamp` "
        "gives NaN at minus infinity for MRePU. The modules do neither.",
    ]
    return comparison
