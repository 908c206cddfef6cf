"""Whether training moved the features of a network or only what reads them out, from two checkpoints."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.recording.batch import Batch, as_batch, first_float, map_leaves, unpacked
from phasescope.recording.forward import fitting
from phasescope.recording.layers import Layer, discover, watched
from phasescope.recording.memory import default_limit, in_bytes, samples_that_fit
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result
from phasescope.theory.lazy import random_flips
from phasescope.training.empirical_kernel import (
    LARGEST,
    Kernels,
    Network,
    Parameters,
    Ratio,
    change_along,
    drift_between,
)

Array = NDArray[np.float64]
Checkpoint = nn.Module | Mapping[str, Tensor]
Loss = Callable[..., Any]

LAZY, RICH = 0.05, 0.3  # of the gap: a convention
_GATES = ("relu", "leakyrelu", "prelu", "rrelu", "leaky_relu")
_DRAWS = 5  # of the same movement in random directions
_ROUNDINGS = 100.0


@dataclass(frozen=True)
class LayerMovement(Result):
    """What training changed in one layer; :class:`LazyOrRich` holds one for each.

    Parameters
    ----------
    layer : Layer
        The row.
    skipped : str
        Why nothing was measured; empty where it was.
    moved : float
        ``|dW|/|W|`` over the layer's own parameters; NaN where it has none.
    features : Estimate
        ``|h_T - h_0|/|h_0|`` of the output, over inputs and units.
    features_null, features_null_sd : float
        The same where every parameter tensor moves as far in random directions: mean and spread over draws.
    coordinate : Estimate
        Root mean square of ``h_T - h_0`` over inputs and units, in the unit of the output.
    flips : Estimate
        Of a layer of ReLU gates: share of gates that are open at one checkpoint and closed at the other.
    flips_null, flips_null_sd : float
        The same for random directions.
    flips_law : float
        ``arctan(|dW|/|W|)/pi`` of the weights before the gates alone.
    slopes : Estimate
        Of a smooth activation: mean of ``|phi'_T - phi'_0|`` over that of ``|phi'_0|``.
    slopes_null, slopes_null_sd : float
        The same for random directions.
    """

    layer: Layer
    skipped: str
    moved: float
    features: Estimate
    features_null: float
    features_null_sd: float
    coordinate: Estimate
    flips: Estimate
    flips_null: float
    flips_null_sd: float
    flips_law: float
    slopes: Estimate
    slopes_null: float
    slopes_null_sd: float


@dataclass(frozen=True)
class PredictedLoss(Result):
    """The loss that the linearised network would have reached; :class:`LazyOrRich` holds one.

    Parameters
    ----------
    initial, trained : float
        Loss of both checkpoints on the batch.
    curve : array of shape (steps + 1,)
        Loss of the linearised network after each step; empty where it was not predicted.
    final : Estimate
        Its last entry, or why there is none. The error is half the distance to what the kernel of the
        trained network predicts: what the drift of the kernel can change.
    """

    initial: float
    trained: float
    curve: Array = field(repr=False)
    final: Estimate


@dataclass(frozen=True)
class LazyOrRich(Result):
    """How far training moved a network from its linearisation; :func:`lazy_or_rich` makes it.

    Parameters
    ----------
    verdict : {"lazy", "mixed", "rich", "not determined"}
        By convention: a gap below 0.05 is lazy, above 0.3 rich, each by two errors.
    reason : str
        Of the verdict.
    drift : Estimate
        ``|Theta_T - Theta_0|/|Theta_0|`` of the tangent kernel on the batch, Frobenius norms.
    gap : Estimate
        ``|f_T - f_0 - J_0 (theta_T - theta_0)|/|f_T - f_0|``: what the linearised network misses.
    distance : float
        ``|theta_T - theta_0|/|theta_0|`` over all parameters.
    layers : tuple of LayerMovement
        One a row of the network, in the order of the pass.
    eigenvalues : array of shape (inputs * outputs,)
        Of the initial kernel, ascending, in the unit of the squared output; empty where it was projected.
    inputs, outputs : int
        Size of the batch, and numbers that the network puts out for each input.
    exact : bool
        Whether the kernel has all inputs and outputs; else random projections of the outputs.
    loss : PredictedLoss or None
        Where a loss was given.
    notes : tuple of str
        What was changed or left out.
    """

    verdict: str
    reason: str
    drift: Estimate
    gap: Estimate
    distance: float
    layers: tuple[LayerMovement, ...] = field(repr=False)
    eigenvalues: Array = field(repr=False)
    inputs: int
    outputs: int
    exact: bool
    loss: PredictedLoss | None
    notes: tuple[str, ...] = ()

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "jacot2018 lee2019"

    def __str__(self) -> str:
        return f"{self.verdict}: gap {self.gap}; kernel drift {self.drift}"


@alone()
def lazy_or_rich(
    initial: Checkpoint,
    trained: nn.Module,
    batch: Any,
    *,
    loss: Loss | None = None,
    targets: Any = None,
    rate: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    max_memory: int | float | str | None = None,
) -> LazyOrRich:
    """Return whether training moved the features of a network, or stayed near its linearisation.

    Parameters
    ----------
    initial : nn.Module or mapping of str to Tensor
        The network before training, or its state dict.
    trained : nn.Module
        The network after it. It is run with both sets of parameters and left as it is.
    batch : tensor, sequence or mapping of tensors
        Inputs, N of them; labels beside them may serve as `targets`.
    loss : callable, optional
        ``loss(output, targets)`` or ``loss(output)``, averaged over the batch as in training.
    targets : tensor, optional
        What the loss compares the output with.
    rate, steps : float, int, optional
        Learning rate and number of steps of gradient descent. With both and a loss, the loss after each step
        is predicted from the initial kernel.
    seed : int
        Of the random directions and projections.
    max_memory : int, float or str, optional
        Bytes, or text such as "2GB"; twice the weights and at least 1 GB by default.

    Returns
    -------
    LazyOrRich
        Drift, gap, and what moved in each layer.

    Raises
    ------
    InputError
        If the checkpoints are not of one architecture, or hold NaN; the network has no parameters, or its
        output no axis of the inputs; the loss fails, or lacks targets, or `rate` comes without `steps`.
    MemoryLimitError
        If two gradients of the network, or a pass of two inputs, do not fit.

    Notes
    -----
    The network is run in evaluation mode, with the running statistics of the trained one at both ends. Frozen
    parameters count.

    For N inputs of C outputs with ``N C <= 512`` the kernel ``Theta = J J^T`` is exact. Above, 8 random
    projections of the outputs of at most 128 inputs estimate its Frobenius norm without bias. Errors are
    jackknife errors over inputs and projections; with one input there is none.

    The null moves every parameter tensor as far as training did, in random directions, 5 times. The predicted
    loss iterates ``f <- f - rate Theta_0 dL/df`` with the whole kernel: for the squared error each eigenvalue
    lambda of Theta_0 decays its component by ``1 - 2 rate lambda/(N C)`` in a step. It needs the exact
    kernel, and holds for gradient descent on this batch alone.

    Not determined: the gap where both checkpoints are equal, or their outputs to 100 roundings.

    Cost: 2 N' gradients of single inputs for N' rows of the kernel, more where they do not fit at once;
    about 10 passes over the batch. Memory: two blocks of rows of as many numbers as the network has
    parameters.

    Source: the tangent kernel: Jacot et al., arXiv:1806.07572; linearised networks: Lee et al.,
    arXiv:1902.06720; the exact model for tests: :func:`phasescope.theory.two_layer_linear`.

    Examples
    --------
    >>> import copy, torch
    >>> from torch import nn
    >>> from phasescope.training import lazy_or_rich
    >>> model = nn.Linear(4, 2)  # linear in its parameters: never rich
    >>> before = copy.deepcopy(model)
    >>> _ = nn.init.normal_(model.weight)
    >>> lazy_or_rich(before, model, torch.randn(8, 4)).verdict
    'lazy'
    """
    module = as_module(trained)
    if (rate is None) != (steps is None):
        raise InputError(
            "The learning rate and the number of steps belong together, and one is missing.",
            "Pass rate= and steps=, or neither.",
        )
    limit = float(default_limit(module) if max_memory is None else in_bytes(max_memory))
    with untouched(module):
        # Copies: a model may write to its weights while it runs.
        before, after = checkpoints(initial, module)
        before = {name: value.clone() for name, value in before.items()}
        module.eval()
        inputs = as_batch(module, batch, targets)
        asked = None if loss is None else _asked(loss, inputs)
        notes = quiet(module)
        for part in module.modules():
            if getattr(part, "inplace", False) is True:
                part.__dict__["inplace"] = False  # what an activation was given has to survive it
        inputs = fitting(module, inputs)
        rows = discover(module, inputs)
        wide = inputs.mapped(lambda tensor: _wide(tensor))
        buffers = {name: _wide(b) for name, b in module.named_buffers()}
        if any("running_" in name for name in buffers):
            notes.append("both checkpoints were run with the running statistics of the trained one")
        network = Network(module, buffers, wide, rows.output)
        sides = _Sides(module, network, rows.layers, before, after, wide, seed)
        outputs, gap, layers = sides.compared(limit)
        same = sides.distance == 0
        kernels = Kernels(network, wide, sides.axis, outputs, before, seed=seed)
        initial_kernel = kernels.at(before, limit)
        last_kernel = initial_kernel if same else kernels.at(after, limit)
        if same:
            drift = Estimate.not_determined("the two checkpoints are equal")
        elif not np.any(initial_kernel):
            drift = Estimate.not_determined("the initial kernel is zero")
        else:
            drift = drift_between(initial_kernel, last_kernel, projected=kernels.projections is not None)
        flat = initial_kernel.reshape(kernels.inputs * kernels.directions, -1)
        predicted = None
        if asked is not None:
            both = (flat, last_kernel.reshape(flat.shape))
            predicted = _predicted(sides, asked, both, kernels.exact, rate, steps)
    if not kernels.exact:
        said = f"{kernels.inputs} of {inputs.size} inputs"
        if kernels.projections is not None:
            said += f", with {kernels.directions} random projections of their {outputs} outputs"
        notes.append(f"the kernel was taken of {said}")
    verdict, reason = _verdict(gap)
    return LazyOrRich(
        verdict=verdict,
        reason=reason,
        drift=drift,
        gap=gap,
        distance=sides.distance,
        layers=layers,
        eigenvalues=np.asarray(np.linalg.eigvalsh(flat) if kernels.exact else (), dtype=np.float64),
        inputs=inputs.size,
        outputs=outputs,
        exact=kernels.exact,
        loss=predicted,
        notes=(*inputs.notes, *notes),
    )


def checkpoints(initial: Checkpoint | None, module: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the parameters of both checkpoints by name, at least in single precision."""
    if initial is None:
        raise InputError(
            "No initial checkpoint was given.", "Pass initial=, the model before training or its state dict."
        )
    if isinstance(initial, nn.Module):
        known: Mapping[str, Any] = as_module(initial).state_dict()
    elif isinstance(initial, Mapping):
        known = initial
    else:
        raise InputError(
            f"The initial checkpoint is {type(initial).__name__}.",
            "Pass a model or a state dict, such as torch.load(path).",
        )
    own = {name: p for name, p in module.named_parameters() if p.is_floating_point() and p.numel()}
    kind = getattr(module, "kind", type(module).__name__)
    if not own:
        raise InputError(f"{kind} has no parameters.", "Pass the model that was trained.")
    missing = [name for name in own if not isinstance(known.get(name), Tensor)]
    added = [name for name in known if name not in module.state_dict()]
    if missing or added:
        raise InputError(
            f"The checkpoints are of two architectures: {(missing or added)[0]} is in only one of them "
            f"({len(missing)} parameters missing in the initial one, {len(added)} in the trained one).",
            "Pass two checkpoints of one model.",
        )
    for name, p in own.items():
        if known[name].shape != p.shape:
            raise InputError(
                f"Parameter {name} has the shape {tuple(known[name].shape)} in the initial checkpoint and "
                f"{tuple(p.shape)} in the trained one.",
                "Pass two checkpoints of one model.",
            )
    before = {name: _wide(known[name].to(p.device, p.dtype)) for name, p in own.items()}
    after = {name: _wide(p) for name, p in own.items()}
    for which, side in (("initial", before), ("trained", after)):
        bad = [name for name, value in side.items() if not value.isfinite().all()]
        if bad:
            raise InputError(
                f"The {which} checkpoint holds NaN or infinity in {bad[0]}.",
                "Pass a checkpoint from before the weights overflowed.",
            )
    return before, after


def _wide(tensor: Tensor) -> Tensor:
    """Return a tensor detached, half precision as single."""
    found = tensor.detach()
    if found.is_inference():
        found = found.clone()
    return found.float() if found.is_floating_point() and found.element_size() < 4 else found


def _norm(parts: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float(part.double().pow(2).sum()) for part in parts.values()))


class _Sides:
    """Both checkpoints of one network on one batch."""

    def __init__(
        self,
        module: nn.Module,
        network: Network,
        layers: list[Layer],
        before: dict[str, Tensor],
        after: dict[str, Tensor],
        batch: Batch,
        seed: int,
    ) -> None:
        self.module, self.network, self.layers, self.batch = module, network, layers, batch
        self.before, self.after = before, after
        self.step = {name: after[name] - value for name, value in before.items()}
        self.distance = _norm(self.step) / max(_norm(before), np.finfo(float).tiny)
        self.axis = network.axis(after)
        self._seed = seed

    def randomly(self, draw: int) -> dict[str, Tensor]:
        """Return the initial parameters, each tensor moved as far as training did in a random direction."""
        number = int(np.random.default_rng((self._seed, 2, draw)).integers(2**63))
        generator = torch.Generator().manual_seed(number)
        found = {}
        for name, value in self.before.items():
            drawn = torch.randn(value.shape, generator=generator, dtype=torch.float32).to(value)
            length = float(drawn.norm())
            found[name] = value + drawn * (float(self.step[name].norm()) / length if length else 0.0)
        return found

    def outputs(self, parameters: Parameters) -> Tensor:
        """Return the output for the whole batch as the module gives it."""
        with torch.no_grad():
            return self.network.raw(parameters, self.batch)

    def compared(self, limit: float) -> tuple[int, Estimate, tuple[LayerMovement, ...]]:
        """Return the outputs of an input, the gap, and what moved in each layer."""
        size = self.batch.size

        def trial(samples: int) -> None:
            part = self.batch.take(0, samples)
            self._part(part, _Sums())

        chunk = samples_that_fit(self.module, trial, size, limit, margin=0.3) if self.batch.cuttable else size
        sums = _Sums()
        outputs = 0
        for start in range(0, size, chunk):
            outputs = self._part(self.batch.take(start, min(start + chunk, size)), sums)
        method = f"{size} inputs"
        roundings = _ROUNDINGS * torch.finfo(next(iter(self.before.values())).dtype).eps
        change, output = sums.moved.sums
        if self.distance == 0:
            gap = Estimate.not_determined("the two checkpoints are equal", method=method, n=size)
        elif not change > roundings**2 * output:
            reason = f"the outputs of the two checkpoints are equal to {roundings:.1e}"
            gap = Estimate.not_determined(reason, method=method, n=size)
        else:
            gap = sums.missed.estimate(method, root=True)
        return outputs, gap, tuple(self._movements(sums))

    def _part(self, batch: Batch, sums: _Sums) -> int:
        """Add up what some inputs say, and return the number of outputs of an input."""
        start, along = change_along(
            lambda parameters: self.network.rows(parameters, batch, self.axis), self.before, self.step
        )
        with torch.no_grad():
            with watched(self.module, self.layers, sums.remember(batch.size)):
                self.network.raw(self.before, batch)
            with watched(self.module, self.layers, sums.compare(batch.size)):
                change = self.network.rows(self.after, batch, self.axis) - start
            for draw in range(_DRAWS):
                elsewhere = self.randomly(draw)  # its operations are not to be watched
                with watched(self.module, self.layers, sums.compare(batch.size, draw)):
                    self.network.raw(elsewhere, batch)
        squares = [each.double().pow(2).sum(1) for each in (start, change, change - along)]
        sums.moved.add(squares[1], squares[0])
        sums.missed.add(squares[2], squares[1])
        return start.shape[1]

    def _movements(self, sums: _Sums) -> list[LayerMovement]:
        found, ratio = [], math.nan
        names = {id(p): name for name, p in self.module.named_parameters()}
        for row in self.layers:
            inside = [] if row.stands_alone else list(row.module.parameters())
            own = [names[id(p)] for p in inside if id(p) in names and names[id(p)] in self.step]
            size = _norm({name: self.before[name] for name in own})
            moved = _norm({name: self.step[name] for name in own}) / size if size else math.nan
            weights = [name for name in own if self.before[name].ndim > 1]
            if weights and row.role == "weight":
                scale = _norm({name: self.before[name] for name in weights})
                ratio = _norm({name: self.step[name] for name in weights}) / scale if scale else math.nan
            found.append(sums.movement(row, moved, ratio))
        return found


class _Sums:
    """Sums over inputs of what differs between two passes, layer by layer."""

    def __init__(self) -> None:
        self.moved, self.missed = Ratio(), Ratio()  # of the output
        self._before: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._ratios: dict[tuple[str, str, int], Ratio] = {}

    def remember(self, size: int) -> Callable[[Layer, tuple[Any, ...], Any], None]:
        """Keep outputs and slopes of the pass of the initial parameters."""
        self._before = {}

        def see(layer: Layer, args: tuple[Any, ...], output: Any) -> None:
            found = _seen(layer, args, output, size)
            if found is not None:
                self._before[layer.name] = found

        return see

    def compare(self, size: int, draw: int = -1) -> Callable[[Layer, tuple[Any, ...], Any], None]:
        """Add up what another pass has changed: that of the trained parameters, or a draw."""

        def see(layer: Layer, args: tuple[Any, ...], output: Any) -> None:
            found, known = _seen(layer, args, output, size), self._before.get(layer.name)
            if found is None or known is None or found[0].shape != known[0].shape:
                return

            def add(what: str, numerator: Tensor, denominator: Tensor) -> None:
                key = (layer.name, what, draw)
                self._ratios.setdefault(key, Ratio()).add(numerator, denominator)

            (h, slope), (h_0, slope_0) = found, known
            change = (h - h_0).double().pow(2)
            add("features", change.sum(1), h_0.double().pow(2).sum(1))
            add("coordinate", change.mean(1), torch.ones(size))
            if layer.kind.lower().strip("_") in _GATES:
                add("flips", ((h > 0) != (h_0 > 0)).double().mean(1), torch.ones(size))
            elif slope is not None and slope_0 is not None:
                add("slopes", (slope - slope_0).abs().mean(1), slope_0.abs().mean(1))

        return see

    def _of(self, layer: Layer, what: str, draw: int = -1) -> Estimate:
        known = self._ratios.get((layer.name, what, draw))
        if known is None:
            return Estimate.not_determined("not a layer of this kind")
        return known.estimate(f"{known.inputs} inputs", root=what in ("features", "coordinate"))

    def movement(self, layer: Layer, moved: float, ratio: float) -> LayerMovement:
        """Return what the sums say of one layer."""
        seen = (layer.name, "coordinate", -1) in self._ratios
        skipped = layer.skipped or ("" if seen else "it gave no output to compare")
        flips = self._of(layer, "flips")
        nulls = {
            what: [self._of(layer, what, draw).value for draw in range(_DRAWS)]
            for what in ("features", "flips", "slopes")
        }
        stats = {
            what: (float(np.mean(values)), float(np.std(values, ddof=1))) for what, values in nulls.items()
        }
        return LayerMovement(
            layer=layer,
            skipped=skipped,
            moved=math.nan if skipped else moved,
            features=self._of(layer, "features"),
            features_null=stats["features"][0],
            features_null_sd=stats["features"][1],
            coordinate=self._of(layer, "coordinate"),
            flips=flips,
            flips_null=stats["flips"][0],
            flips_null_sd=stats["flips"][1],
            flips_law=random_flips(ratio) if flips.determined and math.isfinite(ratio) else math.nan,
            slopes=self._of(layer, "slopes"),
            slopes_null=stats["slopes"][0],
            slopes_null_sd=stats["slopes"][1],
        )


def _seen(layer: Layer, args: tuple[Any, ...], output: Any, size: int) -> tuple[Tensor, Tensor | None] | None:
    """Return the output of a layer as (inputs, units), and the slopes of a smooth activation."""
    tensor = first_float(unpacked(output))
    if tensor is None or not tensor.numel():
        return None
    h = layer.samples(tensor.detach(), size).clone()
    if layer.role != "activation" or layer.kind.lower().strip("_") in _GATES:
        return h, None
    z = first_float(args)
    if z is None or z.shape != tensor.shape:
        return h, None
    with torch.enable_grad():
        point = z.detach().clone().requires_grad_(True)
        try:
            (slope,) = torch.autograd.grad(_plain(layer.module, point).sum(), point)
        except Exception:  # whatever a user's activation does not accept a second time
            return h, None
    return h, layer.samples(slope, size)


def _plain(module: nn.Module, z: Tensor) -> Tensor:
    """Return what a module computes, without its hooks."""
    value = module.forward(z)
    if not isinstance(value, Tensor):
        raise TypeError("no tensor")
    return value


@dataclass(frozen=True)
class _Asked:
    """A loss as a function of the output alone."""

    loss: Loss
    targets: Any

    def __call__(self, output: Tensor) -> Tensor:
        targets = self.targets
        if isinstance(targets, Tensor) and targets.is_floating_point():
            targets = targets.to(output.dtype)  # some versions of torch refuse the gradient of a mixture
        try:
            value = self.loss(output) if targets is None else self.loss(output, targets)
        except Exception as error:
            raise InputError(
                f"The loss fails on the output: {error}.", "Pass loss(output, targets), and targets=."
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise InputError("The loss is not one number.", "Reduce it, for example with .mean().")
        return value.reshape(())


def _asked(loss: Loss, batch: Batch) -> _Asked:
    if batch.targets is None:
        try:
            inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).bind(None)
        except TypeError:
            raise InputError(
                "The loss takes targets, and none were given.", "Pass targets=, or (inputs, targets)."
            ) from None
        except ValueError:  # a builtin has no signature
            pass
    return _Asked(loss, map_leaves(_wide, batch.targets))


def _predicted(
    sides: _Sides,
    loss: _Asked,
    kernels: tuple[Array, Array],
    exact: bool,
    rate: float | None,
    steps: int | None,
) -> PredictedLoss:
    start, end = sides.outputs(sides.before), sides.outputs(sides.after)
    with torch.no_grad():
        initial, trained = float(loss(start)), float(loss(end))
    none = np.empty(0)
    reason = ""
    if rate is None or steps is None:
        reason = "no learning rate and number of steps were given"
    elif not exact:
        reason = f"the kernel was not taken whole: all inputs have {start.numel()} outputs, over {LARGEST}"
    if rate is None or steps is None or reason:
        return PredictedLoss(initial, trained, none, Estimate.not_determined(reason))
    curves = [_descended(start, loss, kernel, rate, steps, sides) for kernel in kernels]
    if not np.isfinite(curves[0][-1]):
        largest = float(np.linalg.eigvalsh(kernels[0])[-1])
        reason = f"the linearised network diverges at rate {rate:g}; its largest eigenvalue is {largest:.3g}"
        return PredictedLoss(initial, trained, none, Estimate.not_determined(reason))
    error = abs(curves[1][-1] - curves[0][-1]) / 2
    final = Estimate(float(curves[0][-1]), float(error), "linearised gradient descent", len(start))
    return PredictedLoss(initial, trained, curves[0], final)


def _descended(start: Tensor, loss: _Asked, kernel: Array, rate: float, steps: int, sides: _Sides) -> Array:
    """Return the loss after each step of ``f <- f - rate Theta dL/df``."""
    theta = torch.from_numpy(kernel).to(start.device, torch.float64)
    output = start.detach().double()
    moved = output.movedim(sides.axis, 0).shape
    curve = []
    for step in range(steps + 1):
        with torch.enable_grad():
            point = output.requires_grad_(True)
            value = loss(point)
            if step == steps or not value.isfinite():
                curve.append(float(value.detach()))
                break
            (slope,) = torch.autograd.grad(value, point)
        curve.append(float(value.detach()))
        change = theta @ slope.movedim(sides.axis, 0).reshape(-1)
        output = (output - rate * change.reshape(moved).movedim(0, sides.axis)).detach()
    return np.array(curve)


def _verdict(gap: Estimate) -> tuple[str, str]:
    if not gap.determined:
        return "not determined", gap.reason
    spread = 0.0 if math.isnan(gap.error) else 2 * gap.error
    low, high = gap.value - spread, gap.value + spread
    if high < LAZY:
        return "lazy", f"the gap {gap} is below {LAZY:g}"
    if low > RICH:
        return "rich", f"the gap {gap} is above {RICH:g}"
    if low >= LAZY and high <= RICH:
        return "mixed", f"the gap {gap} is between {LAZY:g} and {RICH:g}"
    limit = LAZY if low < LAZY else RICH
    return "not determined", f"the gap {gap} lies on both sides of {limit:g} within two errors"
