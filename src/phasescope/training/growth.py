"""How far apart two trainings come that began with nearly the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.memory import in_bytes, peak_bytes
from phasescope.results import Result
from phasescope.training.maps import Map, TrainingMap

Array = NDArray[np.float64]

# The windows among which arXiv:2404.05782 chooses, as in the code of its authors.
_STARTS = tuple(range(0, 101, 5))
_LENGTHS = tuple(range(30, 101, 5))
_R_SQUARED, _SLOPE = 0.9, 0.05

_ROUNDINGS = 8.0  # smallest perturbation, in roundings of a typical weight
_CLEAR = 1e4  # perturbation, in the same unit, beside which roundings of a batch do not matter
_MOVED = 2.0  # ln of a change of the distance that is large enough to have an end
_VERDICT = math.log(10.0)
_LATE = 0.25  # share of the run, at its end, that the verdict and the plateau are read from
_LOOK = 64  # steps between two looks for NaN

_LIMIT = 1e9  # bytes taken at once where the caller sets no limit
_PLANNED = 0.5  # share of the limit that is planned for; the rest is scratch space inside operators
_CACHED = 8e6  # bytes beyond which more rows at once are no faster on a CPU
_FEWEST = 16  # rows that are worth taking at once even so

RULE = (
    "strong: the mean distance in the last quarter of the run is below a tenth of the first one; unstable: "
    "above ten times it; weak: between; not determined: two standard errors reach across a limit"
)


@dataclass(frozen=True)
class PerturbationGrowth(Result):
    """Distances between a run and copies that were kicked; :func:`perturbation_growth` makes it.

    Arrays and tuples have a leading axis over initialisations where `x` had one. Distances of weights carry
    the unit of the weights, and are means over copies.

    Parameters
    ----------
    start : int
        The step at which the copies were kicked.
    steps : int
        Steps that were followed.
    size : float
        Largest kick of a weight.
    l1 : array of shape (steps + 1,)
        Sum of absolute differences, biases included.
    l2 : array of shape (steps + 1,)
        Euclidean distance.
    copies : array of shape (M, steps + 1)
        `l1` of each copy.
    layers : dict of str to array of shape (steps + 1,)
        `l1` of each parameter.
    outputs : array of shape (steps + 1,) or None
        Root mean square of the difference of the networks' outputs; None where no inputs were given.
    matched : array of shape (steps + 1,) or None
        `l1` after the hidden units of each copy were permuted to fit those of the reference.
    loss : array of shape (steps + 1,)
        Loss of the run that was not kicked; NaN for a map without a loss.
    exponent : Estimate
        ``ln(mean d(tau) / mean d(0)) / tau`` in 1/step, to the step `tau` at which the distance comes within
        a factor e of its plateau (the last quarter of the run); `window` is (0, tau). To the end of the run
        where the plateau is within a factor e^2 of the first distance.
    fitted : Estimate
        Slope of a line through ``ln mean d`` in 1/step, in the window that fits a line best. Not determined
        where R^2 is at most 0.9 or the slope at most 0.05.
    r_squared : float or array
        Of the line in `fitted`.
    whole_run : Estimate
        ``ln(mean d(T) / mean d(0)) / T`` in 1/step, over all steps above rounding.
    growth : Estimate
        ``ln`` of the mean distance in the last quarter of the run over the first one.
    verdict : str
        "strong", "weak", "unstable", "not determined" or "diverged"; :attr:`rule` states how it is found.
    diverged : int or None
        The step at which a loss or a weight was no longer finite; None where all were.
    reference : Tensor of shape (size,)
        The state of the run that was not kicked, after the last step.
    notes : tuple of str
        What to know when the numbers are read.
    """

    start: int
    steps: int
    size: float
    l1: Array = field(repr=False)
    l2: Array = field(repr=False)
    copies: Array = field(repr=False)
    layers: dict[str, Array] = field(repr=False)
    outputs: Array | None = field(repr=False)
    matched: Array | None = field(repr=False)
    loss: Array = field(repr=False)
    exponent: Any
    fitted: Any
    r_squared: Any
    whole_run: Any
    growth: Any
    verdict: Any
    diverged: Any
    reference: Tensor = field(repr=False)
    notes: tuple[str, ...]

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "danovski2024"

    @property
    def kind(self) -> str:
        """What is tested: "orbital" stability (kicked before learning) or "dynamical" (kicked later)."""
        return "orbital" if self.start == 0 else "dynamical"

    @property
    def rule(self) -> str:
        """How the verdict is found."""
        return RULE

    def mean(self, name: str = "fitted") -> Estimate:
        """Return the mean of an exponent over initialisations, with its standard error over them.

        Parameters
        ----------
        name : str
            "exponent", "fitted" or "whole_run". Initialisations without a value are left out; `n` counts the
            others, and :meth:`kept` gives their share.
        """
        return Estimate.from_samples(self._determined(name), method=f"mean over initialisations of {name}")

    def kept(self, name: str = "fitted") -> float:
        """Return the share of initialisations that have a value.

        Parameters
        ----------
        name : str
            "exponent", "fitted" or "whole_run".
        """
        return len(self._determined(name)) / len(_listed(getattr(self, name)))

    def _determined(self, name: str) -> list[float]:
        return [each.value for each in _listed(getattr(self, name)) if each.determined]

    def __str__(self) -> str:
        head = f"{self.kind} stability over {self.steps} steps, kick {self.size:g}: "
        if not isinstance(self.verdict, tuple):
            return (
                f"{head}{self.verdict}; exponent {self.exponent}, best window {self.fitted}, "
                f"whole run {self.whole_run}"
            )
        counts = {each: self.verdict.count(each) for each in sorted(set(self.verdict))}
        return (
            head
            + ", ".join(f"{count} {each}" for each, count in counts.items())
            + (f" of {len(self.verdict)} initialisations; best window {self.mean()} ({self.kept():.0%} kept)")
        )


def perturbation_growth(
    map: Map,
    *,
    steps: int,
    copies: int = 20,
    size: float = 1e-8,
    x: Tensor | None = None,
    start: int = 0,
    inputs: Any = None,
    match: bool = False,
    seed: int = 0,
    max_memory: int | float | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PerturbationGrowth:
    """Return how far copies of a training run come apart that start with a small difference.

    Kicked before learning (``start=0``), this tests orbital stability; kicked in a learnt state, dynamical
    stability.

    Parameters
    ----------
    map : Map
        One step of training.
    steps : int
        Steps to follow.
    copies : int
        Copies, for each initialisation.
    size : float
        Each weight (parameters of two or more dimensions; not biases, nor what the optimiser remembers) is
        kicked by a uniform number in (-size, size), in the unit of the weights. With 0 all distances are
        exactly 0.
    x : Tensor of shape (size,) or (I, size), optional
        The state at step `start`, or one for each of `I` initialisations. By default the map's own start, run
        to step `start`.
    start : int
        The step at which the copies are kicked; also the step that the map counts from, for batches and
        schedules.
    inputs : tensor, tuple or mapping of tensors, optional
        What the network is called with, to compare outputs. Only for a map of training.
    match : bool
        Whether the hidden units of each copy are also matched to those of the reference, layer by layer,
        since two networks that differ by the order of hidden units are the same function. Only for
        ``nn.Sequential`` of ``nn.Linear`` and elementwise activations.
    seed : int
        Of the kicks. Those of initialisation `i` do not depend on how many there are.
    max_memory : int, float or str, optional
        Bytes, or text such as "2GB", that the copies advanced at once may take; 1 GB by default.
    progress : callable, optional
        ``progress(done, total)`` is called now and then, in units of one step of one chunk of copies.

    Returns
    -------
    PerturbationGrowth
        Distances, exponents and a verdict.

    Raises
    ------
    InputError
        If the kick is lost in the rounding of the weights, the state has another shape than the map's or is
        not finite, the loss is not finite at the first step, or matching meets a layer that it does not know.
    MemoryLimitError
        If one copy beside its reference does not fit into `max_memory`.

    Notes
    -----
    With ``d_j(t)`` the distance of copy `j`, the mean over copies comes before the logarithm:
    ``exponent = ln(mean_j d_j(tau) / mean_j d_j(0)) / tau`` (arXiv:2404.05782, eq. 4). `fitted` follows the
    code of its authors: a line through ``ln mean_j d_j(t)`` in windows of 30, 35 ... 100 steps that start at
    step 0, 5 ... 100, the window with the largest R^2. **Choosing the best window raises the number**, so
    `whole_run` stands beside it; it in turn is a lower bound where the distance saturates.

    The errors are jackknife errors over copies, with `tau` and the window held. They tell how much the
    directions of the kicks matter for this start and these steps; another initialisation differs more, and
    :meth:`PerturbationGrowth.mean` gives the error over initialisations.

    Reference and copies are advanced in one batch. In some models copies that are equal differ by rounding
    then, as if kicked by 1e-16 of a weight, since the arithmetic of a copy depends on its place in memory.
    This is tried beforehand; where it happens and the kick is below 1e4 roundings, the copies are advanced
    one by one instead, which takes longer. `notes` says so.

    It fails where the distance saturates within a few steps (lower `size`, or use :func:`tangent_exponents`,
    which never saturates) and where rounding dominates: float32 has a noise floor near 1e-5 in the distance.

    Cost: ``(copies + 1) steps`` gradients for each initialisation, taken in batches.
    """
    states, single = starting_states(map, x, start, steps)
    if copies < 1:
        raise InputError(f"copies = {copies}.", "Pass at least 1.")
    chosen = kicked(map)
    rounding = _checked_rounding(size, states[:, chosen])
    if inputs is not None and not isinstance(map, TrainingMap):
        raise InputError("This map has no network whose outputs could be compared.", "Leave inputs out.")
    matcher = _Matcher(map) if match else None

    rows = rows_at_once(
        lambda n: map.advance(states[:1].expand(n, -1).clone(), start),
        len(states) * (copies + 1),
        2,
        max_memory,
        states.device.type,
    )
    equal = _equal_rows(map, states[0].expand(rows, -1).clone(), start, inputs)
    one_by_one = not equal and size < _CLEAR * rounding
    notes = ["the best window is chosen after the fact, which raises its exponent: compare whole_run"]
    if not equal:
        notes.append(
            "equal copies differ by rounding when this model is advanced in a batch: "
            + ("copies were advanced one by one" if one_by_one else "far below the size of the kick")
        )
    together = max(1, rows // (copies + 1))  # initialisations
    share = min(copies, rows - 1)  # copies of each
    chunks = [
        (slice(i, i + together), slice(j, j + share))
        for i in range(0, len(states), together)
        for j in range(0, copies, share)
    ]
    curves = np.full((len(states), copies, steps + 1), np.nan)
    means: dict[str, Array] = {}
    loss = np.full((len(states), steps + 1), np.nan)
    final = torch.empty_like(states)
    generators = [np.random.default_rng([seed, i]) for i in range(len(states))]
    for number, (some, part) in enumerate(chunks):
        kicks = [
            generator.uniform(-size, size, (len(range(*part.indices(copies))), int(chosen.sum())))
            for generator in generators[some]
        ]
        pack = states[some, None].repeat(1, 1 + len(kicks[0]), 1)
        pack[:, 1:, chosen] += torch.as_tensor(np.stack(kicks)).to(pack)

        def report(done: int, before: int = number * steps) -> None:
            if progress is not None:
                progress(before + done, len(chunks) * steps)

        l1, sums, seen, last = _followed(map, pack, start, steps, inputs, matcher, one_by_one, report)
        curves[some, part] = l1
        for name, values in sums.items():
            means.setdefault(name, np.zeros_like(loss))[some] += values / copies
        loss[some], final[some] = seen, last
    return _result(map, states, single, start, size, curves, means, loss, final, notes)


def _checked_rounding(size: float, weights: Tensor) -> float:
    """Return the rounding of a typical weight; refuse a kick that is lost in it."""
    if not (math.isfinite(size) and size >= 0):
        raise InputError(f"size = {size!r}.", "Pass a positive number, such as 1e-8.")
    typical = float(weights.abs().mean())
    rounding = torch.finfo(weights.dtype).eps * typical
    least = _ROUNDINGS * rounding
    if 0 < size < least:
        raise InputError(
            f"A kick of size {size:g} is lost in the rounding of weights whose typical size is {typical:.2g} "
            f"in {str(weights.dtype).removeprefix('torch.')}.",
            f"Pass size={10 * least:.0e} or more, use float64, or use tangent_exponents, which has no size.",
        )
    return rounding


def _equal_rows(map: Map, pack: Tensor, start: int, inputs: Any) -> bool:
    """Return whether equal copies, advanced in one batch, stay equal to the bit."""
    made = [map.advance(pack, start)[0]]
    if inputs is not None and isinstance(map, TrainingMap):
        made.append(map.objective.outputs(map.weights_of(pack), inputs))
    return all(bool((each == each[:1]).all()) for each in made)


def _followed(
    map: Map,
    pack: Tensor,
    start: int,
    steps: int,
    inputs: Any,
    matcher: _Matcher | None,
    one_by_one: bool,
    report: Callable[[int], None],
) -> tuple[Array, dict[str, Array], Array, Tensor]:
    """Advance references and copies (i, 1 + m, N) together.

    Return L1 of each copy, sums over copies of the other distances, losses and last references.
    """
    starts, each, _ = pack.shape
    x = pack.reshape(starts * each, -1)
    names = [
        "l2",
        *map.slices,
        *(["outputs"] if inputs is not None else []),
        *(["matched"] if matcher else []),
    ]
    l1 = x.new_full((steps + 1, starts, each - 1), math.nan)
    sums = {name: x.new_full((steps + 1, starts), math.nan) for name in names}
    loss = x.new_full((steps + 1, starts), math.nan)
    for s in range(steps + 1):
        w = map.weights_of(x).view(starts, each, -1)
        difference = (w[:, 1:] - w[:, :1]).abs()
        l1[s] = difference.sum(-1)
        sums["l2"][s] = torch.linalg.vector_norm(difference, dim=-1).sum(-1)
        for name, place in map.slices.items():
            sums[name][s] = difference[..., place].sum((-2, -1))
        if inputs is not None and isinstance(map, TrainingMap):
            function = partial(map.objective.outputs, inputs=inputs)
            rows = map.weights_of(x)
            y = torch.stack([function(row.clone()) for row in rows]) if one_by_one else function(rows)
            y = y.reshape(starts, each, -1)
            sums["outputs"][s] = (y[:, 1:] - y[:, :1]).square().mean(-1).sqrt().sum(-1)
        if matcher:
            sums["matched"][s] = matcher.distances(w, l1[s]).sum(-1)
        if s < steps:
            if one_by_one:  # each in memory of its own
                pairs = [map.advance(row.clone(), start + s) for row in x]
                x, values = (torch.stack(part) for part in zip(*pairs, strict=True))
            else:
                x, values = map.advance(x, start + s)
            loss[s] = values.view(starts, each)[:, 0]
        if s % _LOOK == _LOOK - 1:
            report(s + 1)
            if not l1[s].isfinite().any():
                break
    else:
        loss[steps] = map.advance(x.view(starts, each, -1)[:, 0], start + steps)[1]
    report(steps)
    others = {name: values.double().cpu().numpy().T for name, values in sums.items()}
    curves = np.moveaxis(l1.double().cpu().numpy(), 0, -1)
    return curves, others, loss.double().cpu().numpy().T, x.view(starts, each, -1)[:, 0]


class _Matcher:
    """Permutes the hidden units of copies to fit those of a reference."""

    def __init__(self, map: Map) -> None:
        if not isinstance(map, TrainingMap):
            raise InputError("This map has no network whose units could be matched.", "Leave match out.")
        self._layers: list[tuple[slice, torch.Size, slice | None]] = []
        module = map.objective.module
        if not isinstance(module, nn.Sequential):
            raise InputError(
                f"Units of {type(module).__name__} cannot be matched.",
                "Pass match=False, or an nn.Sequential of nn.Linear and elementwise activations.",
            )
        for name, part in module.named_modules(remove_duplicate=False):
            if isinstance(part, (nn.Sequential, nn.Flatten, nn.Identity, *_ELEMENTWISE)):
                continue
            if not isinstance(part, nn.Linear):
                raise InputError(
                    f"Layer {name} ({type(part).__name__}) is neither linear nor an elementwise activation.",
                    "Pass match=False.",
                )
            own = [f"{name}.{key}" for key, _ in part.named_parameters()]
            fixed = [each for each in own if each not in map.slices]
            if fixed:
                raise InputError(
                    f"Parameter {fixed[0]} is not trained, so that its units cannot change places.",
                    "Pass match=False.",
                )
            bias = map.slices.get(f"{name}.bias")
            self._layers.append((map.slices[f"{name}.weight"], part.weight.shape, bias))
        if len(self._layers) < 2:
            raise InputError("The network has no hidden layer to match.", "Pass match=False.")

    def distances(self, w: Tensor, plain: Tensor) -> Tensor:
        """Return the L1 distance of each copy after matching, from weights (i, 1 + m, n)."""
        result = plain.clone()
        for i, family in enumerate(w):
            reference = self._unpacked(family[0])
            for j, copy in enumerate(family[1:]):
                if plain[i, j].isfinite() and plain[i, j] > 0:
                    result[i, j] = self._matched(reference, self._unpacked(copy), float(plain[i, j]))
        return result

    def _unpacked(self, w: Tensor) -> list[Array]:
        """Return for each layer the weights beside the bias, (out, in + 1)."""
        layers = []
        for place, shape, bias in self._layers:
            weight = w[place].view(shape)
            shift = w.new_zeros(shape[0]) if bias is None else w[bias]
            layers.append(torch.cat([weight, shift[:, None]], dim=1).double().cpu().numpy())
        return layers

    def _matched(self, reference: list[Array], copy: list[Array], plain: float) -> float:
        """Return the distance after matching layer by layer, again and again until nothing changes.

        A change is taken only where it lowers the distance, so that the result never exceeds the plain one.
        """
        best = plain
        improved = True
        while improved:
            improved = False
            for i in range(len(copy) - 1):
                into = np.abs(reference[i][:, None] - copy[i][None]).sum(-1)
                out = np.abs(reference[i + 1][:, :-1, None] - copy[i + 1][:, None, :-1]).sum(0)
                cost = into + out
                rows, order = linear_sum_assignment(cost)
                gain = np.trace(cost) - cost[rows, order].sum()
                if gain > 1e-12 * np.trace(cost) and best - gain < best:
                    copy[i] = copy[i][order]
                    copy[i + 1] = copy[i + 1][:, [*order, -1]]
                    best -= gain
                    improved = True
        return best


_ELEMENTWISE = (
    nn.Sigmoid,
    nn.Tanh,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.LogSigmoid,
    nn.Tanhshrink,
    nn.ReLU6,
)


def _result(
    map: Map,
    states: Tensor,
    single: bool,
    start: int,
    size: float,
    l1: Array,
    means: dict[str, Array],
    loss: Array,
    final: Tensor,
    notes: list[str],
) -> PerturbationGrowth:
    """Cut what came after a divergence, estimate the exponents, and give the verdict."""
    steps = l1.shape[-1] - 1
    broken = ~np.isfinite(l1).all(axis=1)
    if isinstance(map, TrainingMap) or np.isfinite(loss[:, 0]).any():  # other maps may have no loss
        broken |= ~np.isfinite(loss)
    broken = np.logical_or.accumulate(broken, axis=1)
    diverged = [int(each.argmax()) if each.any() else None for each in broken]
    if 0 in diverged:
        raise InputError(
            f"The loss at step {start} is not finite.", "Check the state, the data and the learning rate."
        )
    l1[np.broadcast_to(broken[:, None], l1.shape)] = np.nan
    for each in (*means.values(), loss):
        each[broken] = np.nan

    floor = 4 * torch.finfo(states.dtype).eps * map.weights_of(states).abs().sum(-1).double().cpu().numpy()
    found = [
        _exponents(curves[:, : steps + 1 if end is None else end], least, steps, end)
        for curves, least, end in zip(l1, floor, diverged, strict=True)
    ]
    if any(end is not None for end in diverged):
        first = min(end for end in diverged if end is not None)
        notes.append(f"{sum(end is not None for end in diverged)} run(s) diverged, the first at step {first}")

    def given(values: Any) -> Any:
        return values[0] if single else values

    def column(index: int) -> Any:
        return found[0][index] if single else tuple(each[index] for each in found)

    return PerturbationGrowth(
        start=start,
        steps=steps,
        size=size,
        l1=given(l1.mean(axis=1)),
        l2=given(means["l2"]),
        copies=given(l1),
        layers={name: given(means[name]) for name in map.slices},
        outputs=given(means["outputs"]) if "outputs" in means else None,
        matched=given(means["matched"]) if "matched" in means else None,
        loss=given(loss),
        exponent=column(0),
        fitted=column(1),
        r_squared=float(found[0][2]) if single else np.array([each[2] for each in found]),
        whole_run=column(3),
        growth=column(4),
        verdict=column(5),
        diverged=diverged[0] if single else tuple(diverged),
        reference=given(final),
        notes=tuple(notes),
    )


def _exponents(
    curves: Array, floor: float, steps: int, diverged: int | None
) -> tuple[Estimate, Estimate, float, Estimate, Estimate, str]:
    """Return exponent, fitted, R^2, whole run, growth and verdict of one start, from curves (M, T + 1)."""
    mean = curves.mean(axis=0)
    end = len(mean) - 1
    if not mean[0] > 0 or end < 1:
        reason = "all differences are 0" if end >= 1 else f"the run diverged at step {diverged}"
        nothing = Estimate.not_determined(reason, method="no growth measured", n=len(curves))
        verdict = "diverged" if diverged is not None else "not determined"
        return nothing, nothing, math.nan, nothing, nothing, verdict

    below = np.flatnonzero(mean <= floor)
    last = int(below[0]) if below.size and below[0] > 0 else end
    late = slice(min(end, math.ceil((1 - _LATE) * end)), end + 1)

    def growth(some: Array) -> float:
        return _log_ratio(some[:, late].mean(), some[:, 0].mean())

    def rate_to(t: int) -> Callable[[Array], float]:
        return lambda some: _log_ratio(some[:, t].mean(), some[:, 0].mean()) / t

    tau = _saturation(mean[: last + 1])
    grown = _estimate(curves, growth, "ln(mean d in the last quarter / mean d(0))", None)
    exponent = _estimate(curves, rate_to(tau), "ln(mean d(tau) / mean d(0)) / tau", (0.0, float(tau)))
    whole = _estimate(curves, rate_to(last), "ln(mean d(T) / mean d(0)) / T", (0.0, float(last)))
    fitted, r_squared = _fitted(curves[:, : last + 1])
    verdict = "diverged"
    if diverged is None:
        margin = 2 * grown.error if math.isfinite(grown.error) else 0.0
        verdict = "not determined"
        if grown.value - margin > _VERDICT:
            verdict = "unstable"
        elif grown.value + margin < -_VERDICT:
            verdict = "strong"
        elif abs(grown.value) + margin < _VERDICT:
            verdict = "weak"
    return exponent, fitted, r_squared, whole, grown, verdict


def _log_ratio(a: float, b: float) -> float:
    return math.log(a / b) if a > 0 else -math.inf


def _saturation(mean: Array) -> int:
    """Return the step at which a mean distance comes within a factor e of its plateau; else the last one."""
    y = np.log(mean)
    end = len(y) - 1
    plateau = y[math.ceil((1 - _LATE) * end) :].mean()
    if abs(plateau - y[0]) <= _MOVED:
        return end
    arrived = y >= plateau - 1 if plateau > y[0] else y <= plateau + 1
    return max(1, int(arrived.argmax()))


def _estimate(
    curves: Array, number: Callable[[Array], float], method: str, window: tuple[float, float] | None
) -> Estimate:
    """Return a number of all copies with its jackknife error over them."""
    value = number(curves)
    copies = len(curves)
    if copies < 2:
        return Estimate(value, math.nan, f"{method}; one copy, no error", copies, window)
    others = np.array([number(np.delete(curves, j, axis=0)) for j in range(copies)])
    spread = others - others.mean() if np.isfinite(others).all() else np.array([math.nan])
    error = math.sqrt((copies - 1) / copies * float((spread**2).sum()))
    return Estimate(value, error, f"{method}; jackknife over copies", copies, window)


def _fitted(curves: Array) -> tuple[Estimate, float]:
    """Return the slope in the window that fits a line best, with the protocol of arXiv:2404.05782."""
    method = "slope in the best of the windows of arXiv:2404.05782"
    y = np.log(curves.mean(axis=0))
    end = len(y) - 1
    windows = [(a, a + n) for a in _STARTS for n in _LENGTHS if a + n <= end]
    if not windows:
        reason = f"{end} steps are too few: the shortest window takes {_LENGTHS[0]}"
        return Estimate.not_determined(reason, method=method, n=len(curves)), math.nan
    best = max(windows, key=lambda window: _line(y, *window)[1])
    slope, r_squared = _line(y, *best)
    if not (r_squared > _R_SQUARED and slope > _SLOPE):
        reason = (
            f"the best window, steps {best[0]} to {best[1]}, has R^2 = {r_squared:.2f} and slope "
            f"{slope:.3f}; kept are R^2 > {_R_SQUARED} and slope > {_SLOPE}"
        )
        return Estimate.not_determined(reason, method=method, n=len(curves)), r_squared

    def in_best(some: Array) -> float:
        return _line(np.log(some.mean(axis=0)), *best)[0]

    return _estimate(curves, in_best, method, (float(best[0]), float(best[1]))), r_squared


def _line(y: Array, first: int, last: int) -> tuple[float, float]:
    """Return slope and R^2 of the line through steps `first` to `last`."""
    part = y[first : last + 1]
    t = np.arange(len(part)) - (len(part) - 1) / 2
    centred = part - part.mean()
    square = float(centred @ centred)
    if square <= 0:
        return 0.0, 0.0
    slope = float(t @ centred) / float(t @ t)
    return slope, slope**2 * float(t @ t) / square


def _listed(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


def starting_states(map: Map, x: Tensor | None, start: int, steps: int) -> tuple[Tensor, bool]:
    """Return the states (I, N) that a run starts from at step `start`, and whether there is one without axis.

    Without `x` the map runs from its own start to step `start`.
    """
    if steps < 1:
        raise InputError(f"steps = {steps}.", "Pass at least 1.")
    if start < 0:
        raise InputError(f"start = {start}.", "Pass a step from 0 upwards.")
    if x is None:
        state = map.initial
        for t in range(start):
            state = map.step(state, t)
        if not state.isfinite().all():
            raise InputError(
                f"The run from the map's own start has NaN or infinity within its first {start} steps.",
                "Lower the learning rate, or start earlier.",
            )
    else:
        state = x.detach().to(map.initial)
    if state.ndim not in (1, 2) or state.shape[-1] != map.size or state.numel() == 0:
        raise InputError(
            f"x has shape {tuple(state.shape)}; a state of this map has {map.size} entries.",
            f"Pass ({map.size},), or (I, {map.size}) for I initialisations; map.state(weights) makes one.",
        )
    if not state.isfinite().all():
        raise InputError("x has NaN or infinity.", "Pass a state that is finite.")
    return state.reshape(-1, map.size), state.ndim == 1


def kicked(map: Map) -> Tensor:
    """Return which entries of a state are perturbed: weights, not biases; all where none is a weight."""
    chosen = map.is_weight if bool(map.is_weight.any()) else torch.ones_like(map.is_weight)
    return torch.cat([chosen, chosen.new_zeros(map.size - map.weights)])


def rows_at_once(
    work: Callable[[int], Any], rows: int, fewest: int, max_memory: int | float | str | None, device: str
) -> int:
    """Return how many rows `work` takes at once: what fits the memory, on a CPU no more than its cache."""
    limit = _LIMIT if max_memory is None else in_bytes(max_memory)
    tried = min(max(2, fewest), rows)
    each = max(peak_bytes(nn.Module(), lambda: work(tried)), 1) / tried
    fit = int((_PLANNED if rows > fewest else 1.0) * limit / each)
    if fit < fewest:
        raise MemoryLimitError(
            f"{fewest} state(s) at once take {fewest * each / 1e6:.3g} MB, more than max_memory = "
            f"{limit / 1e6:.3g} MB leaves. Raise max_memory, or pass a smaller batch or model."
        )
    if device == "cpu":
        fit = min(fit, max(_FEWEST, fewest, int(_CACHED / each)))
    return min(rows, fit)
