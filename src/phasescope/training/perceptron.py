"""Multilayer perceptrons in closed form: losses, gradients and Hessian products of many copies at once.

A chain of linear layers and elementwise activations needs no graph. Forward pass, backward pass, and the
derivatives of both along a direction (Pearlmutter 1994) are products of matrices over all copies; what does
not depend on the direction is computed once for all directions.

Axes are (copies, units, samples), with k directions (copies, units, k, samples).

Equal copies get equal bits, so that a perturbation of zero stays zero. Two things would break this:

- BLAS kernels differ in their last bits between a block that starts at a multiple of 16 bytes and one that
  does not. So samples are filled up to a multiple of four, with some that count nothing, and blocks of
  weights are aligned.
- The vectorised sigmoid, GELU, SiLU, softplus and ELU of torch differ from the scalar forms that it uses for
  the last few numbers of a tensor. So activations are made of exp, tanh, erf, expm1 and log1p, which do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phasescope.activations import MRePU, RePU

# Bytes of activations of the copies that are advanced together: what fits a core's cache, or fills a GPU.
_CACHE, _GPU = 2**21, 2**28
_KEPT = 2**24  # bytes of freed memory that the process keeps
_ALIGNED = 4  # samples; 16 bytes in float32

# Yields an activation and its first and second derivative, each computed when it is asked for; ends after the
# first derivative where the second is zero. It may overwrite its argument: fresh memory costs more than exp.
Curve = Callable[[Tensor], Iterator[Tensor]]
# Returns the losses (copies,), their derivative by the outputs, and the second derivative as a map of
# tangents (copies, outputs, k, samples).
Turn = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor], tuple[Tensor, Tensor, Turn]]


@dataclass(frozen=True)
class _Linear:
    """A linear layer: which pieces of the vector are its trained parameters, and what is fixed."""

    inputs: int
    outputs: int
    weight: int | None
    bias: int | None
    fixed_weight: Tensor
    fixed_bias: Tensor | None


@dataclass(frozen=True)
class _Batch:
    x: Tensor  # what enters the first trained layer, (inputs, samples filled up)
    loss: Loss


@dataclass
class _LinearPass:
    layer: _Linear
    entering: Tensor  # (copies, inputs, samples)
    matrix: Tensor  # (copies, outputs, inputs)
    delta: Tensor | None = None  # derivative of the loss by the output, (copies, outputs, samples)


@dataclass
class _CurvePass:
    slope: Tensor  # (copies, units, samples), as all
    second: Tensor | None = None
    bend: Tensor | None = None  # `second` times the derivative of the loss by the output


class Perceptron:
    """The loss of a recognised multilayer perceptron on fixed batches; :func:`recognise` makes it."""

    def __init__(
        self,
        sizes: Sequence[int],
        fixed: Sequence[Callable[[Tensor], Tensor]],
        stages: Sequence[_Linear | Curve],
        *,
        log_softmax: bool,
    ) -> None:
        self.log_softmax = log_softmax
        self.batches: list[_Batch] = []
        self._sizes, self._fixed, self._stages = list(sizes), fixed, stages
        layers = [stage for stage in stages if isinstance(stage, _Linear)]
        self.inputs, self.classes = layers[0].inputs, layers[-1].outputs
        self._units = sum(layer.outputs for layer in layers)

    def loss(self, w: Tensor, t: int = 0) -> Tensor:
        """Return the loss of step `t`: () for one vector, (M,) for M of them."""
        batch = self._batch(t)
        (losses,) = self._swept(batch.x, lambda rows: (batch.loss(self._forward(rows, batch.x, 0)[0])[0],), w)
        return losses

    def gradient(self, w: Tensor, t: int = 0) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient, of the shape of `w`."""
        batch = self._batch(t)
        losses, gradient = self._swept(batch.x, lambda rows: self._pass(rows, batch, 1)[:2], w)
        return losses, gradient

    def linearised(self, w: Tensor, t: int = 0) -> tuple[Tensor, Tensor, Turn]:
        """Return loss and gradient of one vector, and its Hessian's product with (n,) or (k, n)."""
        with torch.no_grad():
            losses, gradient, along = self._pass(w[None], self._batch(t), 2)

        def product(v: Tensor) -> Tensor:
            with torch.no_grad():
                return along(v.reshape(1, -1, v.shape[-1])).view(v.shape)

        return losses[0], gradient[0], product

    def products(self, w: Tensor, v: Tensor, t: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, gradient, and the Hessian times `v`: (k, n), or (M, k, n) for M vectors `w`."""
        batch = self._batch(t)

        def every(rows: Tensor, directions: Tensor) -> tuple[Tensor, ...]:
            losses, gradient, along = self._pass(rows, batch, 2)
            return losses, gradient, along(directions)

        losses, gradient, turned = self._swept(batch.x, every, w, v)
        return losses, gradient, turned

    def outputs(self, w: Tensor, inputs: Tensor) -> Tensor:
        """Return the network's output, (samples, outputs) or (M, samples, outputs)."""
        x = _filled(self.entering(inputs))

        def every(rows: Tensor) -> tuple[Tensor]:
            found = self._forward(rows, x, 0)[0]
            found = torch.log_softmax(found, 1) if self.log_softmax else found
            return (found[..., : len(inputs)].mT.contiguous(),)

        (found,) = self._swept(x, every, w)
        return found

    def entering(self, inputs: Tensor) -> Tensor:
        """Return what enters the first trained layer, (samples, units)."""
        with torch.no_grad():
            for function in self._fixed:
                inputs = function(inputs)
        return inputs

    def _batch(self, t: int) -> _Batch:
        return self.batches[t % len(self.batches)]

    def _swept(
        self, x: Tensor, function: Callable[..., tuple[Tensor, ...]], w: Tensor, *others: Tensor
    ) -> tuple[Tensor, ...]:
        """Return what `function` makes of all copies, computed for as many at a time as fit the cache.

        The parts have equal length, and the last begins within the one before where that is needed: the
        length decides on the kernel and so on the last bits, which must be the same for equal copies.
        """
        with torch.no_grad():
            if w.ndim == 1:
                return tuple(found[0] for found in function(w[None], *(other[None] for other in others)))
            most = max(1, self._room(x) // self._units)
            count = max(1, -(-len(w) // most))
            length = -(-len(w) // count)
            found = []
            for end in (*range(length, len(w), length), len(w)):
                part = slice(end - length, end)
                found.append(function(w[part], *(other[part] for other in others)))
            last = length - (count * length - len(w))
            if count > 1:
                found[-1] = tuple(each[-last:] for each in found[-1])
            return found[0] if count == 1 else tuple(torch.cat(each) for each in zip(*found, strict=True))

    def _room(self, x: Tensor) -> int:
        """Return how many units fit the memory that one sweep may take."""
        return (_GPU if x.is_cuda else _CACHE) // (x.shape[1] * x.element_size())

    def _pass(self, w: Tensor, batch: _Batch, order: int) -> tuple[Tensor, Tensor, Turn]:
        """Return losses, gradient, and for order 2 the map of directions (copies, k, n) to products."""
        outputs, kept = self._forward(w, batch.x, order)
        losses, delta, turn = batch.loss(outputs)
        return losses, _backward(kept, delta, len(self._sizes)), partial(self._along, kept, turn)

    def _forward(self, w: Tensor, x: Tensor, order: int) -> tuple[Tensor, list[_LinearPass | _CurvePass]]:
        """Return the output, and what the derivatives up to `order` need."""
        pieces, copies = torch.split(w, self._sizes, 1), len(w)
        h = x.expand(copies, *x.shape)
        kept: list[_LinearPass | _CurvePass] = []
        for stage in self._stages:
            if not isinstance(stage, _Linear):
                h, *derivatives = islice(stage(h), order + 1)
                if order:
                    kept.append(_CurvePass(*derivatives))
                continue
            if stage.weight is None:
                matrix = stage.fixed_weight.expand(copies, -1, -1)
            else:
                matrix = _aligned(pieces[stage.weight].view(copies, stage.outputs, stage.inputs))
            kept.append(_LinearPass(stage, h, matrix))
            bias = stage.fixed_bias if stage.bias is None else pieces[stage.bias]
            h = torch.bmm(matrix, h) if bias is None else torch.baddbmm(bias.unsqueeze(-1), matrix, h)
        return h, kept

    def _along(self, kept: Sequence[_LinearPass | _CurvePass], turn: Turn, v: Tensor) -> Tensor:
        """Return the Hessian times each direction, as many directions at a time as fit the cache."""
        first = kept[0]
        assert isinstance(first, _LinearPass)
        most = max(1, self._room(first.entering[0]) // (self._units * len(v)))
        found = [_products(kept, turn, part, self._sizes) for part in torch.split(v, most, 1)]
        return found[0] if len(found) == 1 else torch.cat(found, 1)


def _aligned(blocks: Tensor) -> Tensor:
    """Return a copy in which each block of the first axis begins at a multiple of 16 bytes."""
    size, whole = math.prod(blocks.shape[1:]), 16 // blocks.element_size()
    if size % whole == 0:
        return blocks.clone(memory_format=torch.contiguous_format)
    room = blocks.new_empty(len(blocks), size + -size % whole)
    return room[:, :size].view(blocks.shape).copy_(blocks)


def _backward(kept: Sequence[_LinearPass | _CurvePass], delta: Tensor, pieces: int) -> Tensor:
    """Return the gradient, and leave in `kept` what the directions need of this pass."""
    gradient: list[Tensor] = [delta] * pieces
    for i in reversed(range(len(kept))):
        here = kept[i]
        if isinstance(here, _CurvePass):
            if here.second is not None:
                here.bend = here.second * delta
            delta = delta.mul_(here.slope)
            continue
        here.delta = delta
        if here.layer.weight is not None:
            gradient[here.layer.weight] = torch.bmm(delta, here.entering.mT).flatten(1)
        if here.layer.bias is not None:
            gradient[here.layer.bias] = delta.sum(-1)
        if i:
            delta = torch.bmm(here.matrix.mT, delta)
    return torch.cat(gradient, 1)


def _products(kept: Sequence[_LinearPass | _CurvePass], turn: Turn, v: Tensor, sizes: list[int]) -> Tensor:
    """Return the derivative of the gradient along directions `v` (copies, k, n).

    With h' the tangent of what enters a layer, and d' that of the delta:
    z' = W h' + V h + c, d' <- W^T d' + V^T d, and for the weights the derivative of d h^T, d' h^T + d h'^T.
    Through an activation s: h' = s'(z) z', and d' <- s'(z) d' + s''(z) z' d.
    """
    copies, k, _ = v.shape
    pieces = torch.split(v, sizes, 2)
    tangents: list[Tensor | None] = []
    tangent: Tensor | None = None  # of the data, which do not move
    for here in kept:
        tangents.append(tangent)
        if isinstance(here, _CurvePass):
            assert tangent is not None
            tangent = here.slope[:, :, None] * tangent
            continue
        layer, moved = here.layer, None
        if layer.weight is not None:
            block = pieces[layer.weight].view(copies, k, layer.outputs, layer.inputs).transpose(1, 2)
            moved = torch.bmm(_aligned(block).flatten(1, 2), here.entering)
            moved = moved.view(copies, layer.outputs, -1)
        if tangent is not None:
            flat = tangent.flatten(2)
            moved = torch.bmm(here.matrix, flat) if moved is None else moved.baddbmm_(here.matrix, flat)
        shape = (copies, layer.outputs, k, here.entering.shape[-1])
        tangent = v.new_zeros(shape) if moved is None else moved.view(shape)
        if layer.bias is not None:
            tangent += pieces[layer.bias].mT[..., None]
    assert tangent is not None
    change, turned = turn(tangent), [v] * len(sizes)
    for i in reversed(range(len(kept))):
        here, entered = kept[i], tangents[i]
        if isinstance(here, _CurvePass):
            change = change.mul_(here.slope[:, :, None])
            if here.bend is not None:
                assert entered is not None
                change.addcmul_(here.bend[:, :, None], entered)
            continue
        layer, delta = here.layer, here.delta
        assert delta is not None
        if layer.bias is not None:
            turned[layer.bias] = change.sum(-1).mT
        if layer.weight is not None:
            block = torch.bmm(change.flatten(1, 2), here.entering.mT)
            block = block.view(copies, layer.outputs, k, layer.inputs).transpose(1, 2)
            if entered is not None:
                second = torch.bmm(entered.flatten(1, 2), delta.mT)
                block.add_(second.view(copies, layer.inputs, k, layer.outputs).permute(0, 2, 3, 1))
                del second
            turned[layer.weight] = block.flatten(2)
        if i:
            back = torch.bmm(here.matrix.mT, change.flatten(2)).view(copies, layer.inputs * k, -1)
            if layer.weight is not None:
                block = pieces[layer.weight].view(copies, k, layer.outputs, layer.inputs).permute(0, 3, 1, 2)
                back.baddbmm_(_aligned(block).flatten(1, 2), delta)
            change = back.view(copies, layer.inputs, k, -1)
    return torch.cat(turned, 2)


# --- recognition -------------------------------------------------------------------------------------------


def recognise(
    module: nn.Module, names: Sequence[str], loss: object, batches: Sequence[tuple[Tensor, Tensor]]
) -> Perceptron | None:
    """Return the closed form of a loss as a function of the parameters `names`, or None if there is none.

    `module` has the dtype and device of the vector; a first value of the loss is compared with its own.
    """
    kind = _kind(loss)
    chain = _chain(module)
    parameters = dict(module.named_parameters())
    dtypes = {parameter.dtype for parameter in parameters.values()}
    if kind is None or chain is None or dtypes not in ({torch.float64}, {torch.float32}):
        return None
    places = {id(parameters[name]): i for i, name in enumerate(names)}
    made = _perceptron(chain, places, [parameters[name].numel() for name in names])
    if made is None:
        return None
    name, options = kind
    if made.log_softmax != (name == "nll"):
        return None
    for inputs, target in batches:
        prepared = _prepared(made, name, options, inputs, target)
        if prepared is None:
            return None
        made.batches.append(prepared)
    with torch.no_grad():
        initial = torch.cat([parameters[name].flatten() for name in names])
        inputs, target = batches[0]
        own = loss(module(inputs), target)  # type: ignore[operator]
    # A block of this size, freed and never written to, makes glibc keep as much for reuse. Else each step
    # gives its memory back and faults it in again, which takes as long as the arithmetic.
    block = torch.empty(_KEPT, dtype=torch.uint8)
    del block
    close = torch.isclose(made.loss(initial), own, rtol=1e4 * torch.finfo(initial.dtype).eps)
    return made if bool(close) else None


def _chain(module: nn.Module) -> list[nn.Module] | None:
    """Return the modules that are called one after the other, or None if that is not all that happens."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    if any(hooks) or "forward" in module.__dict__:
        return None
    if type(module).forward is not nn.Sequential.forward:
        return [module]
    chain: list[nn.Module] = []
    for child in module._modules.values():  # children() would leave out repeated ones
        assert child is not None
        inner = _chain(child)
        if inner is None:
            return None
        chain += inner
    return chain


def _perceptron(
    chain: Sequence[nn.Module], places: Mapping[int, int], sizes: Sequence[int]
) -> Perceptron | None:
    """Return the perceptron without data, or None where a module is not known."""
    chain = [each for each in chain if not _does_nothing(each)]
    log_softmax = bool(chain) and type(chain[-1]) is nn.LogSoftmax and chain[-1].dim in (1, -1)
    fixed: list[Callable[[Tensor], Tensor]] = []
    stages: list[_Linear | Curve] = []
    seen: list[int] = []
    for each in chain[:-1] if log_softmax else chain:
        if type(each) is nn.Flatten and (each.start_dim, each.end_dim) == (1, -1):
            if not stages:
                fixed.append(each)
        elif type(each) is nn.Linear:
            own = [id(parameter) for parameter in each.parameters() if id(parameter) in places]
            seen += own
            if not stages and not own:
                fixed.append(each)
                continue
            bias = each.bias
            stages.append(
                _Linear(
                    each.in_features,
                    each.out_features,
                    places.get(id(each.weight)),
                    None if bias is None else places.get(id(bias)),
                    each.weight.detach(),
                    None if bias is None else bias.detach(),
                )
            )
        elif type(each) in _CURVES:
            curve = _CURVES[type(each)](each)
            if stages:
                stages.append(curve)
            else:
                fixed.append(partial(_value, curve))
        else:
            return None
    if len(seen) != len(places) or len(set(seen)) != len(seen):  # a parameter elsewhere, or used twice
        return None
    return Perceptron(sizes, fixed, stages, log_softmax=log_softmax)


def _does_nothing(module: nn.Module) -> bool:
    idle = type(module) is nn.Dropout and (not module.training or module.p == 0)
    return idle or type(module) is nn.Identity


def _prepared(
    made: Perceptron, name: str, options: Mapping[str, Any], inputs: Tensor, target: Tensor
) -> _Batch | None:
    """Return a batch as the passes take it, or None where its tensors are not those of a perceptron."""
    if (
        not isinstance(inputs, Tensor)
        or not isinstance(target, Tensor)
        or inputs.ndim < 2
        or len(inputs) == 0
    ):
        return None
    with torch.no_grad():
        x = made.entering(inputs)
        if x.ndim != 2 or x.shape[1] != made.inputs:
            return None
        loss = _BUILDERS[name](target, len(inputs), made.classes, x.dtype, options)
    return None if loss is None else _Batch(_filled(x), loss)


def _filled(rows: Tensor) -> Tensor:
    """Return samples (samples, units) as columns, the last repeated up to an aligned number."""
    if len(rows) % _ALIGNED:
        rows = torch.cat([rows, rows[-1:].expand(-len(rows) % _ALIGNED, -1)])
    # Where rows are few, columns make faster products; a large batch is not held twice.
    return rows.mT.contiguous() if rows.numel() < 2**20 else rows.mT


def _columns(rows: Tensor) -> Tensor:
    """Return weights of samples (samples, units) as columns, with zeros for the samples that fill up."""
    return F.pad(rows.mT, (0, -len(rows) % _ALIGNED)).contiguous()


# --- losses: sums over units and samples, whatever the reduction is being part of the constants ------------


def _kind(loss: object) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the options of a known loss."""
    options: dict[str, Any] = {"weight": None, "reduction": "mean"}
    for name, (kind, plain, extra) in _LOSSES.items():
        if isinstance(loss, nn.Module) and type(loss).forward is kind.forward and _chain(loss):
            options |= {key: getattr(loss, key) for key in (*options, *extra) if hasattr(loss, key)}
        elif isinstance(loss, partial) and loss.func is plain and not loss.args:
            options |= extra | loss.keywords
        elif loss is plain:
            options |= extra
        else:
            continue
        known = options.keys() <= {"weight", "reduction", *extra} and options["reduction"] in ("mean", "sum")
        return (name, options) if known else None
    return None


def _classified(
    target: Tensor, samples: int, classes: int, dtype: torch.dtype, options: Mapping[str, Any]
) -> Loss | None:
    """Return the cross-entropy with the distribution that each sample is compared with."""
    smoothing, weight = options.get("label_smoothing", 0.0), options["weight"]
    weight = torch.ones(classes, dtype=dtype, device=target.device) if weight is None else weight
    if target.dtype == torch.int64 and target.shape == (samples,):
        kept = target != options["ignore_index"]
        inside = target.where(kept, 0)
        if not bool(((inside >= 0) & (inside < classes)).all()):
            return None
        weights = kept[:, None] * weight
        chosen = F.one_hot(inside, classes) * weights
        norm = chosen.sum()
        distribution = (1 - smoothing) * chosen + smoothing / classes * weights
    elif target.is_floating_point() and target.shape == (samples, classes):
        norm = weight.new_tensor(samples)
        distribution = ((1 - smoothing) * target + smoothing / classes) * weight
    else:
        return None
    if options["reduction"] == "mean":
        distribution = distribution / norm
    columns = _columns(distribution.to(dtype))
    return partial(_cross_entropy, minus=-columns, total=columns.sum(0))


def _cross_entropy(z: Tensor, minus: Tensor, total: Tensor) -> tuple[Tensor, Tensor, Turn]:
    """Take the target distribution times -1, and its sum over classes."""
    logarithm = torch.log_softmax(z, 1)
    p = logarithm.exp()

    def turn(moved: Tensor) -> Tensor:
        mean = (p[:, :, None] * moved).sum(1, keepdim=True)
        return (moved - mean).mul_((total * p)[:, :, None])

    return (minus * logarithm).sum((1, 2)), torch.addcmul(minus, total, p), turn


def _squares(
    target: Tensor, samples: int, outputs: int, dtype: torch.dtype, options: Mapping[str, Any]
) -> Loss | None:
    if target.dtype != dtype or target.shape != (samples, outputs) or options["weight"] is not None:
        return None
    scale = 1 / target.numel() if options["reduction"] == "mean" else 1.0
    counted = _columns(torch.full_like(target, scale))
    return partial(_squared_error, target=_columns(target), counted=counted)


def _squared_error(z: Tensor, target: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Turn]:
    error = z - target
    slope = 2 * counted * error
    return (slope * error).sum((1, 2)) / 2, slope, lambda moved: moved * (2 * counted)[:, None]


def _binaries(
    target: Tensor, samples: int, outputs: int, dtype: torch.dtype, options: Mapping[str, Any]
) -> Loss | None:
    if target.dtype != dtype or target.shape != (samples, outputs):
        return None
    one = target.new_ones(())
    weight, positive = (one if options[key] is None else options[key] for key in ("weight", "pos_weight"))
    try:
        weight, positive = weight.expand_as(target), positive.expand_as(target)
    except RuntimeError:
        return None
    scale = weight / target.numel() if options["reduction"] == "mean" else weight
    return partial(
        _binary_cross_entropy,
        off=_columns(scale * (1 - target)),
        on=_columns(scale * (1 + (positive - 1) * target)),
    )


def _binary_cross_entropy(z: Tensor, off: Tensor, on: Tensor) -> tuple[Tensor, Tensor, Turn]:
    """Return ``off z + on log(1 + exp(-z))``, summed, with its derivatives."""
    missing = _logistic(-z)
    second = on * missing * (1 - missing)
    losses = (off * z - on * F.logsigmoid(z)).sum((1, 2))
    return losses, off - on * missing, lambda moved: moved * second[:, :, None]


_LOSSES: dict[str, tuple[type[nn.Module], object, dict[str, Any]]] = {
    "cross-entropy": (nn.CrossEntropyLoss, F.cross_entropy, {"ignore_index": -100, "label_smoothing": 0.0}),
    "nll": (nn.NLLLoss, F.nll_loss, {"ignore_index": -100}),
    "squares": (nn.MSELoss, F.mse_loss, {}),
    "binary": (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, {"pos_weight": None}),
}
_BUILDERS: dict[str, Callable[[Tensor, int, int, torch.dtype, Mapping[str, Any]], Loss | None]] = {
    "cross-entropy": _classified,
    "nll": _classified,
    "squares": _squares,
    "binary": _binaries,
}


# --- activations -------------------------------------------------------------------------------------------


def _value(curve: Curve, z: Tensor) -> Tensor:
    return next(curve(z.clone()))


def _logistic(z: Tensor) -> Tensor:
    return torch.exp(-z).add_(1).reciprocal_()


def _sigmoid(z: Tensor) -> Iterator[Tensor]:
    # In one thread, copies of whole pairs of vectors of 64 bytes leave no end to torch's own, faster sigmoid.
    whole = z[0].numel() * z.element_size() % 128 == 0 and torch.get_num_threads() == 1
    a = z.sigmoid_() if whole or z.is_cuda else z.neg_().exp_().add_(1).reciprocal_()
    yield a
    slope = (1 - a).mul_(a)
    yield slope
    yield (1 - 2 * a).mul_(slope)


def _tanh(z: Tensor) -> Iterator[Tensor]:
    a = z.tanh_()
    yield a
    slope = (a * a).neg_().add_(1)
    yield slope
    yield (-2 * a).mul_(slope)


def _tanhshrink(z: Tensor) -> Iterator[Tensor]:
    a = torch.tanh(z)
    yield z - a
    yield a * a
    yield 2 * a * (1 - a * a)


def _leaky_relu(z: Tensor, slope: float) -> Iterator[Tensor]:
    yield torch.where(z > 0, z, slope * z)
    on = (z > 0).to(z.dtype)
    yield on + slope * (1 - on)


def _hardtanh(z: Tensor, low: float, high: float) -> Iterator[Tensor]:
    yield z.clamp(low, high)
    yield ((z > low) & (z < high)).to(z.dtype)


def _exponential(z: Tensor, scale: float, alpha: float, rate: float) -> Iterator[Tensor]:
    """Yield ``scale z`` above zero and ``scale alpha (exp(rate z) - 1)`` below: ELU, CELU, SELU."""
    below = z.clamp(max=0.0)
    yield torch.where(z > 0, scale * z, scale * alpha * torch.expm1(rate * below))
    slope = scale * alpha * rate * torch.exp(rate * below)
    yield torch.where(z > 0, scale, slope)
    yield torch.where(z > 0, 0.0, rate * slope)


def _gelu(z: Tensor) -> Iterator[Tensor]:
    cumulated = 0.5 * (1 + torch.erf(z * math.sqrt(0.5)))
    yield z * cumulated
    near = z.clamp(-40, 40)  # the density is zero beyond, and its product with an overflow would be NaN
    density = torch.exp(-near * near / 2) / math.sqrt(2 * math.pi)
    yield cumulated + near * density
    yield density * (2 - near * near)


def _gelu_tanh(z: Tensor) -> Iterator[Tensor]:
    near = z.clamp(-40, 40)
    rate, cube = math.sqrt(2 / math.pi), 0.044715
    a = torch.tanh(rate * (near + cube * near * near * near))
    yield 0.5 * z * (1 + a)
    first, second = rate * (1 + 3 * cube * near * near), 6 * rate * cube * near
    slope = 1 - a * a
    yield 0.5 * (1 + a) + 0.5 * near * slope * first
    yield slope * (first + near * (0.5 * second - a * first * first))


def _silu(z: Tensor) -> Iterator[Tensor]:
    a = _logistic(z)
    yield z * a
    rest = 1 - a
    yield a * (1 + z * rest)
    yield a * rest * (2 + z * (1 - 2 * a))


def _mish(z: Tensor) -> Iterator[Tensor]:
    a = torch.tanh(-F.logsigmoid(-z))
    yield z * a
    s, rest = _logistic(z), 1 - a * a
    yield a + z * s * rest
    yield s * rest * (2 + z * (1 - s - 2 * a * s))


def _softplus(z: Tensor, beta: float, threshold: float) -> Iterator[Tensor]:
    linear = beta * z > threshold
    yield torch.where(linear, z, torch.log1p(torch.exp((beta * z).clamp(max=threshold))) / beta)
    a = _logistic(beta * z)
    yield torch.where(linear, 1.0, a)
    yield torch.where(linear, 0.0, beta * a * (1 - a))


def _log_sigmoid(z: Tensor) -> Iterator[Tensor]:
    yield F.logsigmoid(z)
    rest = _logistic(-z)
    yield rest
    yield rest * (rest - 1)


def _softsign(z: Tensor) -> Iterator[Tensor]:
    room = 1 + z.abs()
    yield z / room
    yield 1 / (room * room)
    yield -2 * z.sign() / (room * room * room)


def _rectified_power(z: Tensor, p: int) -> Iterator[Tensor]:
    a, on = torch.relu(z), (z > 0).to(z.dtype)
    yield _power(a, p)
    yield p * _power(a, p - 1) * on
    if p > 1:
        yield p * (p - 1) * _power(a, p - 2) * on


def _modified_rectified_power(z: Tensor, p: int, shift: float) -> Iterator[Tensor]:
    on = (z > -shift).to(z.dtype)
    a = F.threshold(z, -shift, -shift)
    yield a * _power(a + shift, p)
    yield on * (_power(a + shift, p) + p * a * _power(a + shift, p - 1))
    second = 2 * p * _power(a + shift, p - 1)
    yield on * (second if p == 1 else second + p * (p - 1) * a * _power(a + shift, p - 2))


def _power(z: Tensor, p: int) -> Tensor:
    """Return ``z^p`` by products, since torch's own differs in its last bit at the end of a tensor."""
    return math.prod([z] * p, start=torch.ones_like(z))


_SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)
_CURVES: dict[type[nn.Module], Callable[[Any], Curve]] = {
    nn.Sigmoid: lambda module: _sigmoid,
    nn.Tanh: lambda module: _tanh,
    nn.Tanhshrink: lambda module: _tanhshrink,
    nn.ReLU: lambda module: partial(_rectified_power, p=1),
    nn.LeakyReLU: lambda module: partial(_leaky_relu, slope=module.negative_slope),
    nn.Hardtanh: lambda module: partial(_hardtanh, low=module.min_val, high=module.max_val),
    nn.ReLU6: lambda module: partial(_hardtanh, low=0.0, high=6.0),
    nn.ELU: lambda module: partial(_exponential, scale=1.0, alpha=module.alpha, rate=1.0),
    nn.CELU: lambda module: partial(_exponential, scale=1.0, alpha=module.alpha, rate=1 / module.alpha),
    nn.SELU: lambda module: partial(_exponential, scale=_SELU[0], alpha=_SELU[1], rate=1.0),
    nn.GELU: lambda module: _gelu if module.approximate == "none" else _gelu_tanh,
    nn.SiLU: lambda module: _silu,
    nn.Mish: lambda module: _mish,
    nn.Softplus: lambda module: partial(_softplus, beta=module.beta, threshold=module.threshold),
    nn.LogSigmoid: lambda module: _log_sigmoid,
    nn.Softsign: lambda module: _softsign,
    RePU: lambda module: partial(_rectified_power, p=module.p),
    MRePU: lambda module: partial(_modified_rectified_power, p=module.p, shift=module.shift),
}
