"""Set a user's network to criticality, in place, and say what was set."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.dataflow import Flow, Node, WeightCall, fan_in
from phasescope.recording.forward import run
from phasescope.recording.layers import Layer, discover, watched
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result
from phasescope.signal.initialising.plan import Plan, Step
from phasescope.signal.initialising.recognise import Branch
from phasescope.signal.profile import profile
from phasescope.signal.verdict import Verdict

Distribution = Literal["orthogonal", "normal"]


@alone()
def critical_(
    model: nn.Module,
    batch: Any,
    *,
    seed: int = 0,
    activation: str | nn.Module | Callable[[Tensor], Tensor] | None = None,
    distribution: Distribution = "orthogonal",
    first_kernel: float | None = None,
    verify: bool = True,
    max_memory: int | float | str | None = None,
) -> Initialisation:
    """Return what was set, layer by layer, after giving `model` new critical weights in place.

    Each weight layer that is fed by an activation gets weights of second moment ``C_W / fan_in`` and biases
    of variance ``C_b``, the activation's critical point. Then the batch is run once, and on the way each
    layer's scale is corrected for finite width, padding and real data:

    * weights by the factor that makes ``chi_perp = sum_j W_ij^2 s'(z_j)^2 v_j``, averaged over units i and
      inputs, equal to 1, where v is the mean square of a small difference at unit j, carried along from the
      first layer and set to 1 on average: differences between inputs, and gradients, keep their size;
    * biases, where ``C_b > 0``, to the second moment that brings the kernel to ``K*``.

    The weights are never rescaled to hold the kernel. That is what unit-variance schemes do (LSUV), and where
    ``chi_par != chi_perp`` or K* = 0 it buys a constant kernel with gradients that vanish or explode.

    The first layer sets the kernel ``K_1``: ``K*`` for the half-stable class, 1 for the scale-invariant and
    the stable K* = 0 class, and ``1/(2 a1 L)`` for the input of largest norm where K* = 0 repels (depth L,
    MRePU). The read-out, no step of the recursion over depth, gets kernel 1 and no bias: the loss sees
    outputs of order one, and the layers below need not move far. After pooling the measured factor holds the
    kernel, whose theory is plain there. The last layer of each of B residual branches is scaled down until
    the branch adds at most 1/B of the stream's kernel. Branches that are not set layer by layer, such as
    those of attention or of a normalisation, are scaled in the same way on the stream, their last layer as a
    whole; a note names those that no weights scale.

    Parameters
    ----------
    model : nn.Module
        Plain, residual, dense or convolutional stack; changed in place, weights and biases of the listed
        layers only. Frozen layers are left alone.
    batch : tensor, tuple, list or mapping of tensors
        Real input, as the model takes it; 64 to 256 samples are enough.
    seed : int
        Seed of the new weights.
    activation : str, module or callable, optional
        Taken for every activation in the model, where it cannot be recognised.
    distribution : {"orthogonal", "normal"}
        Rows or columns of the weight matrix orthogonal, or entries independent. Orthogonal weights fluctuate
        less from layer to layer. In short runs of 50 layers on the digits, one seed each, they mostly read
        as many or more digits; one tanh setting was better with normal weights.
    first_kernel : float, optional
        ``K_1`` in place of the class's own.
    verify : bool
        Whether to profile the model before and after.
    max_memory : int, float or str, optional
        Memory that the verification may take; see :func:`phasescope.signal.profile`.

    Returns
    -------
    Initialisation
        The rows that were set and skipped, with the verdicts before and after.

    Raises
    ------
    InputError
        If an argument is unusable or the model has no layer that can be set.

    Notes
    -----
    Fails with `NoCriticalPointError` where an activation has no critical point (RePU, softplus) and neither a
    normalisation nor a residual branch holds its kernel. On any failure, Ctrl-C included, the model is
    bit-identical to what it was. Random states, gradients, modes and buffers stay as they are.
    Cost: two forward passes that keep every intermediate value, and two profiles.
    Source: arXiv:2106.10165, ch. 5; arXiv:2408.02697 for MRePU; arXiv:1511.06422 (LSUV) for the contrast.
    """
    if distribution not in ("orthogonal", "normal"):
        raise InputError(f"distribution={distribution!r}.", 'Use "orthogonal" or "normal".')
    if first_kernel is not None and not (math.isfinite(first_kernel) and first_kernel > 0):
        raise InputError(f"first_kernel={first_kernel!r}.", "Give a positive kernel.")
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{model!r} is not a torch module.", "Pass the nn.Module whose weights are to be set."
        )
    fitted = as_batch(model, batch)
    generator = torch.Generator().manual_seed(seed)
    frozen = {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    saved = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    try:
        with untouched(model, parameters=False), torch.no_grad():
            quiet(model)
            layers = discover(model, fitted).layers
            branches = Counter(layer.chain for layer in layers if _is_fed_by_a_branch(layer))
            most = max(branches.values(), default=0)
            plan = Plan(model, _run(model, fitted), activation, first_kernel, frozen, most)
            setter = _Setter(plan, generator, distribution)
            after = _run(model, fitted, setter)
            scaled = _scale_branches(model, fitted, layers, branches, frozen)
            rows = _with_scaled(setter.rows(_run(model, fitted) if scaled.rows else after), scaled.rows)
        if not rows and not branches:
            raise InputError(_nothing_set(model, plan), _WHAT_IS_SET)
        before_verdict = after_verdict = None
        if verify:
            after_verdict = profile(model, batch, seed=seed, max_memory=max_memory, theory=False).verdict
            new = _swap(saved)
            before_verdict = profile(model, batch, seed=seed, max_memory=max_memory, theory=False).verdict
            _swap(new)
    except BaseException:
        _swap(saved)
        raise
    known = {row.layer for row in rows}
    skipped = [
        LayerInitialisation(name, kind, skipped=reason)
        for name, kind, reason in plan.skipped
        if name not in known
    ]
    unchanged = [] if rows or scaled.notes() else [_nothing_to_scale(most)]
    return Initialisation(
        type(model).__name__,
        (*rows, *skipped),
        max(plan.depth, sum(layer.step and layer.chain == 0 for layer in layers)),
        distribution,
        seed,
        before_verdict,
        after_verdict,
        (*unchanged, *plan.notes, *setter.notes(), *scaled.notes(), *_left_alone(model, skipped)),
        plan.citations,
    )


_WHAT_IS_SET = (
    "critical_ sets linear and convolution layers that are fed by the input, an activation or a "
    "normalisation, and scales the last layer of residual branches."
)


def _nothing_to_scale(most: int) -> str:
    part = "it" if most == 1 else f"1/{most} of it"
    return (
        f"nothing was changed: no branch brings more to the stream than {part}, and no layer is set otherwise"
    )


def _nothing_set(model: nn.Module, plan: Plan) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, _, reason in plan.skipped[:3])
    return f"No layer of {type(model).__name__} can be set ({reasons or 'it has no weight layers'})."


def _left_alone(model: nn.Module, skipped: list[LayerInitialisation]) -> list[str]:
    """Say what layers with weights that were not set mean for the result."""
    sizes: dict[str, int] = {}
    counted: set[int] = set()  # a tied weight counts once
    for path, module in model.named_modules():
        own = [p for p in module._parameters.values() if p is not None and id(p) not in counted]
        counted |= {id(p) for p in own}
        sizes[path or type(model).__name__] = sum(p.numel() for p in own)
    kept = [row for row in skipped if "normalisation sets" not in row.skipped and sizes.get(row.layer)]
    total = sum(p.numel() for p in model.parameters())
    held = sum(sizes[row.layer] for row in kept)
    if not kept or not total:
        return []
    keep = "layer keeps" if len(kept) == 1 else "layers keep"
    return [
        f"{len(kept)} {keep} the weights that the model came with ({100 * held / total:.3g} % of the "
        "parameters): the verdict after is that of the network with them, and what lies inside their "
        "branches was not made critical."
    ]


def _is_fed_by_a_branch(layer: Layer) -> bool:
    return layer.branch is not None and layer.place == "stream"


_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SLACK = 1 + 1e-5  # factor on what a branch may bring: rounding of the passes before


def _last_map(module: nn.Module | None) -> list[nn.Parameter]:
    """Return the parameters that the output of a module is proportional to; none where they are not known."""
    if module is None:
        return []
    if isinstance(module, nn.MultiheadAttention):
        return list(module.out_proj.parameters())
    own = list(module.parameters())
    return own if isinstance(module, _NORMS) or sum(parameter.ndim > 1 for parameter in own) == 1 else []


@dataclass
class _Scaled:
    """The last layers of branches that were scaled down, and the branches for which there is none."""

    rows: dict[str, LayerInitialisation] = field(default_factory=dict)
    beyond: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        if not self.beyond:
            return []
        first = f"1 branch brings more than that, at {self.beyond[0]}"
        several = f"{len(self.beyond)} branches bring more than that, first at {self.beyond[0]}"
        return [
            "A branch may bring at most 1/B of the mean square of the stream, B being the number of "
            f"branches. {several if self.beyond[1:] else first}: no trainable weights give its output in "
            "proportion, so it was left as it is."
        ]


def _scale_branches(
    model: nn.Module, batch: Batch, layers: list[Layer], branches: Counter[int], frozen: set[int]
) -> _Scaled:
    """Scale down the last layers of those residual branches that still bring too much to the stream.

    A branch adds at most 1/B of the mean square of the stream, B being the number of branches on its chain.
    One pass, in which each sum is corrected before the next block sees it.
    """
    modules = dict(model.named_modules())
    scaled = _Scaled()

    def correct(layer: Layer, args: tuple[Any, ...], output: Any) -> Any:
        second = torch.broadcast_to(args[1], output.shape)
        other = output + second if "sub" in layer.kind else output - second
        branch, stream = (second, other) if layer.branch == 1 else (other, second)
        sign = -1.0 if layer.branch == 1 and "sub" in layer.kind else 1.0
        before, allowed = _mean_square(branch), _mean_square(stream) / branches[layer.chain]
        if not before > _SLACK * allowed > 0:
            return None
        name = layer.ends_with
        module = modules.get(name)
        own = _last_map(module)
        if module is None or not own or any(id(parameter) in frozen for parameter in own):
            scaled.beyond.append(layer.name)
            return None
        factor = math.sqrt(allowed / before)
        plain = isinstance(module, _PLAIN)
        second_moment = _mean_square(module.weight) * module.weight[0].numel() if plain else math.nan
        for parameter in own:
            parameter.mul_(factor)
        row = LayerInitialisation(
            name,
            type(module).__name__,
            C_W_before=second_moment,
            C_W=second_moment * factor**2,
            gain=factor,
            K_before=before,
            K_after=allowed,
            rule=f"branch adds 1/{branches[layer.chain]} of the stream",
        )
        first = scaled.rows.get(name)  # a module may give several branches
        scaled.rows[name] = (
            row if first is None else replace(first, C_W=row.C_W, gain=first.gain * factor, K_after=allowed)
        )
        return stream + sign * factor * branch

    sums = [layer for layer in layers if _is_fed_by_a_branch(layer)]
    inputs = batch.take(0, batch.size)
    with watched(model, sums, correct):
        run(model, inputs)
    return scaled


def _with_scaled(
    rows: list[LayerInitialisation], scaled: dict[str, LayerInitialisation]
) -> list[LayerInitialisation]:
    """Return the rows of all layers that were set or scaled; a layer that was both has one."""
    drawn = {row.layer for row in rows}
    both = [
        replace(row, gain=row.gain * scaled[row.layer].gain) if row.layer in scaled else row for row in rows
    ]
    return [*both, *(row for name, row in scaled.items() if name not in drawn)]


def _run(model: nn.Module, batch: Batch, setter: _Setter | None = None) -> Flow:
    inputs = batch.take(0, batch.size)
    flow = Flow(model, inputs.tensors(), setter)
    with flow:
        run(model, inputs)
    return flow


def _swap(values: dict[nn.Parameter, Tensor]) -> dict[nn.Parameter, Tensor]:
    # Write the values, and return those that were there.
    old = {parameter: parameter.detach().clone() for parameter in values}
    with torch.no_grad():
        for parameter, value in values.items():
            parameter.copy_(value)
    return old


@dataclass(frozen=True)
class LayerInitialisation(Result):
    """What was done to one layer."""

    layer: str  # module path
    kind: str  # class name
    activation: str = ""  # what is applied to the layer's input before its weights act; empty for nothing
    universality_class: str = ""  # class of that activation; empty where it does not matter
    C_W_before: float = math.nan  # second moment of the weights times fan-in, as it was
    C_b_before: float = math.nan  # second moment of the biases, as it was
    C_W: float = math.nan  # variances that theory asks for
    C_b: float = math.nan
    gain: float = math.nan  # measured factor on the weights' standard deviation sqrt(C_W / fan_in)
    bias_variance: float = math.nan  # second moment of the biases as set
    K_before: float = math.nan  # mean square of the layer's output over the batch
    K_after: float = math.nan
    rule: str = ""  # what the measured factor holds
    skipped: str = ""  # why the layer was left alone; empty where it was set


@dataclass(frozen=True)
class Initialisation(Result):
    """What ``critical_`` set, layer by layer, with the network's verdict before and after.

    Parameters
    ----------
    model : str
        Class of the model.
    rows : tuple of LayerInitialisation
        Every layer that owns parameters, set or skipped.
    depth : int
        Weight layers on the longest way through the model, or steps of its stream if those are more.
    distribution : str
        "orthogonal" or "normal".
    seed : int
        Seed of the weights.
    before, after : Verdict or None
        What :func:`phasescope.signal.profile` says; None without verification.
    notes : tuple of str
        What one has to know about this network.
    citations : tuple of str
        Keys of the papers behind it.
    """

    model: str
    rows: tuple[LayerInitialisation, ...]
    depth: int
    distribution: str
    seed: int
    before: Verdict | None
    after: Verdict | None
    notes: tuple[str, ...]
    citations: tuple[str, ...]

    @property
    def set(self) -> tuple[LayerInitialisation, ...]:
        """The layers that were set."""
        return tuple(row for row in self.rows if not row.skipped)

    @property
    def skipped(self) -> tuple[LayerInitialisation, ...]:
        """The layers that were left alone."""
        return tuple(row for row in self.rows if row.skipped)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; ``None`` in place of NaN and infinity."""
        plain: dict[str, Any] = _json_ready(dataclasses.asdict(self))
        for key, verdict in (("before", self.before), ("after", self.after)):
            plain[key] = None if verdict is None else verdict.to_dict()
        return plain

    def __str__(self) -> str:
        lines = [
            f"{self.model}: {len(self.set)} of {len(self.rows)} layers set, depth {self.depth}, "
            f"{self.distribution} weights, seed {self.seed}"
        ]
        lines += [_HEADER, *_shortened([_line(row) for row in self.set])]
        reasons: dict[str, list[LayerInitialisation]] = {}
        for row in self.skipped:
            reasons.setdefault(row.skipped, []).append(row)
        for reason, rows in reasons.items():
            others = "" if len(rows) == 1 else f" and {len(rows) - 1} more"
            lines.append(f"  {rows[0].layer} ({rows[0].kind}){others} left alone: {reason}")
        for name, verdict in (("before", self.before), ("after", self.after)):
            if verdict is not None:
                lines.append(f"{name + ':':8}{verdict.phase}, ln chi_perp per step {verdict.margin}")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


_HEADER = f"{'layer':<18} {'fed by':<10} {'C_W':>14} {'C_b':>14} {'gain':>6} {'K before':>9} {'K after':>9}"


def _line(row: LayerInitialisation) -> str:
    weights = f"{row.C_W_before:.3g} > {row.C_W:.4g}"
    biases = f"{row.C_b_before:.3g} > {row.C_b:.3g}"
    numbers = f"{row.gain:>6.3f} {row.K_before:>9.3g} {row.K_after:>9.3g}"
    return f"{row.layer[-18:]:<18} {(row.activation or '-')[:10]:<10} {weights:>14} {biases:>14} {numbers}"


def _shortened(lines: list[str]) -> list[str]:
    # The middle of a deep stack repeats itself; to_dict() has every row.
    if len(lines) <= 16:
        return lines
    return [*lines[:7], f"... {len(lines) - 13} more rows in .rows ...", *lines[-6:]]


def _json_ready(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_ready(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class _Setter:
    """Sets each layer of a plan the moment before it runs."""

    def __init__(self, plan: Plan, generator: torch.Generator, distribution: str) -> None:
        self._plan, self._generator, self._distribution = plan, generator, distribution
        self._rows: dict[int, LayerInitialisation] = {}
        self._spreads: dict[int, Tensor] = {}
        self._normed: dict[str, list[float]] = {}

    def __call__(self, flow: Flow, call: WeightCall) -> None:
        """Set the weights and biases of one layer, if the plan has it and it was not set before."""
        step = self._plan.steps.get(id(call.weight))
        if step is not None and id(call.weight) not in self._rows:
            self._set_layer(flow, call, step)
            self._look_at_norm(call, step)
        self._spreads[id(call)] = self._spread(flow, call, call.weight)

    def _set_layer(self, flow: Flow, call: WeightCall, step: Step) -> None:
        layer, fan = step.layer, fan_in(call)
        row = LayerInitialisation(
            layer.name,
            layer.kind,
            activation=layer.activation.name if layer.activation else "",
            universality_class=step.universality_class,
            C_W_before=fan * _mean_square(call.weight),
            C_b_before=_mean_square(call.bias),
            C_W=step.C_W,
            C_b=step.C_b,
            K_before=_kernel(layer.call.output),
            rule=step.rule,
        )
        weight = self._draw(call) * math.sqrt(step.C_W / fan)
        gain = math.sqrt(self._factor(flow, step, call, weight))
        weight = weight * gain
        bias = self._biases(step, call, weight)
        branch = self._branch_factor(flow, step, call, weight, bias)
        call.weight.copy_(weight * branch)
        if call.bias is not None and bias is not None:
            call.bias.copy_(bias * branch)
        self._rows[id(call.weight)] = replace(row, gain=gain * branch, bias_variance=_mean_square(call.bias))

    def notes(self) -> list[str]:
        """Return what was seen on the way."""
        return [
            f"{name} behind a normalisation, {len(ratios)} layer(s): chi_perp = "
            f"{statistics.geometric_mean(ratios):.3f} per layer, whatever the weights' scale; squared "
            "gradients grow by it each layer."
            for name, ratios in self._normed.items()
        ]

    def rows(self, after: Flow) -> list[LayerInitialisation]:
        """Return one row for each layer that was set, given the pass that set them."""
        outputs = {id(call.weight): call.output for call in reversed(after.calls)}
        return [replace(row, K_after=_kernel(outputs.get(key))) for key, row in self._rows.items()]

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
        drawn = torch.empty(call.weight.shape, dtype=torch.float64)
        if self._distribution == "orthogonal":
            nn.init.orthogonal_(drawn, generator=self._generator)
        else:
            nn.init.normal_(drawn, generator=self._generator)
        # Unit second moment exactly, so that C_W is realised and not only expected.
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
            return _mean_square(branch.side.replay(z * scale))

        if not added(1.0) > allowed:
            return 1.0
        # Bisection from below, for any activation at the end of the branch: `low` is always allowed.
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
        return _mean_square(branch.stream.replay(value))


def _pushed(node: Node, spread: Tensor) -> Tensor:
    root = node.root
    assert root is not None
    assert root.value is not None
    return spread if node.is_root else node.push(root.value, spread.sqrt())[1].square()


def _kernel(node: Node | None) -> float:
    return _mean_square(None if node is None else node.value)


def _mean_square(tensor: Tensor | None) -> float:
    return math.nan if tensor is None else float(tensor.detach().double().square().mean())


def _inverse(value: float) -> float:
    return 1 / value if math.isfinite(value) and value > 0 else 1.0
