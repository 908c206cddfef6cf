"""The coordinate check: what some steps of training change in networks of growing width, and the mending."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.recording import first_float, untouched
from phasescope.recording.batch import map_leaves, unpacked
from phasescope.results import Result
from phasescope.training.objective import Loss, Objective, objective

Array = NDArray[np.float64]
Verdict = Literal["flat", "growing", "shrinking", "not determined"]

_HALFWAY = 0.25  # between the exponents 0 and 1/2: those of theory are multiples of 1/2
_SMALL = (
    1 / 8
)  # factor on the readout of the second measurement, so that gradients do not see its random output
_ROUNDINGS = 10  # a change of fewer roundings of the value is none


@dataclass(frozen=True)
class WidthRow(Result):
    """Size and change of what one layer puts out, against the width.

    Parameters
    ----------
    name : str
        Path of the layer in the model; ``"(output)"`` for what the model puts out, where no layer gives it.
    start : Estimate
        Slope ``d ln rms / d ln width`` of the output before training.
    changes : tuple of Estimate
        The same slope of the rms of what k steps change in it, for k = 1, 2, ...
    start_verdict : {"flat", "growing", "shrinking", "not determined"}
        Of `start`.
    change_verdict : {"flat", "growing", "shrinking", "not determined"}
        Of `changes` together: growing if it grows at any k, else shrinking if it shrinks at any, else that of
        the last k at which the layer has moved.
    starts : array of shape (widths, seeds)
        Measured rms before training.
    moves : array of shape (steps, widths, seeds)
        Measured rms of the change; NaN after a network has diverged.
    """

    name: str
    start: Estimate
    changes: tuple[Estimate, ...]
    start_verdict: Verdict
    change_verdict: Verdict
    starts: Array = field(repr=False)
    moves: Array = field(repr=False)


@dataclass(frozen=True)
class WidthAdvice(Result):
    """By which powers of ``base / width`` to multiply one parameter and its learning rate.

    Parameters
    ----------
    name : str
        Of the parameter, as ``model.named_parameters()`` has it.
    start : float
        Exponent of the factor on its initial values; 0 for none.
    rate : float
        Exponent of the factor on its learning rate; 0 for none.
    base : int
        The width at which nothing changes.
    start_slope : Estimate
        The measured slope behind `start`: of how much the layer amplifies its input, or the change of it.
    rate_slope : Estimate
        The measured slope behind `rate`: of the change that this parameter alone makes in its layer's output.
    """

    name: str
    start: float
    rate: float
    base: int
    start_slope: Estimate
    rate_slope: Estimate

    def __str__(self) -> str:
        parts = []
        if self.start:
            parts.append(f"the initial values of {self.name} by ({self._factor(self.start)}")
        if self.rate:
            parts.append(f"the learning rate of {self.name} by ({self._factor(self.rate)}")
        return "multiply " + ", and ".join(parts) if parts else f"leave {self.name} as it is"

    def _factor(self, exponent: float) -> str:
        ratio = f"{self.base}/width" if exponent > 0 else f"width/{self.base}"
        return f"{ratio})^{abs(exponent):g}" if abs(exponent) != 1 else f"{ratio})"


@dataclass(frozen=True)
class WidthCheck(Result):
    """What width does to the first steps of training; :func:`coordinate_check` makes it.

    Parameters
    ----------
    widths : tuple of int
        As passed.
    seeds, steps : int
        Networks of each width, and steps of training.
    layers : tuple of WidthRow
        In the order of the forward pass; the last is the output of the model.
    advice : tuple of WidthAdvice
        One for each trained parameter; most leave it as it is where the check passes.
    diverged : tuple of str
        Which widths stopped being finite, and when; empty if none.
    notes : tuple of str
        What was frozen in the copies, and what could not be measured.
    """

    widths: tuple[int, ...]
    seeds: int
    steps: int
    layers: tuple[WidthRow, ...]
    advice: tuple[WidthAdvice, ...]
    diverged: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """What is not flat, a phrase each; that the output shrinks before training is no problem."""
        found = list(self.diverged)
        for row in self.layers:
            last = row is self.layers[-1]
            small = not np.any(row.starts) or row.start.value + 2 * row.start.error < _HALFWAY
            if row.start_verdict != "flat" and not (last and small):
                found.append(f"{row.name} at the start: {row.start_verdict}")
            if row.change_verdict != "flat":
                found.append(f"change of {row.name}: {row.change_verdict}")
        return tuple(found)

    @property
    def passes(self) -> bool:
        """Whether all changes are flat, and all sizes at the start except that of a shrinking output."""
        return not self.problems

    def apply(self, model: nn.Module, optimizer: torch.optim.Optimizer, width: int) -> None:
        """Scale the initial values of a model and its learning rates, in place, as the advice says.

        Parameters
        ----------
        model : nn.Module
            An untrained network, as the factory makes it.
        optimizer : torch.optim.Optimizer
            That of its parameters, before the first step and before a scheduler is made for it.
        width : int
            Of this network.

        Raises
        ------
        InputError
            If the model lacks a parameter that the advice names.
        """
        _apply(self.advice, model, optimizer, width)

    def __str__(self) -> str:
        size = max(12, *(len(row.name) for row in self.layers))
        head = f"{'layer':<{size}}  {'at the start':<30}  {'change, 1 step':<17}  "
        lines = [head + f"change, {self.steps} step{'s' if self.steps > 1 else ''}"]
        for row in self.layers:
            cells = (f"{_short(row.start)} {row.start_verdict}", _short(row.changes[0]))
            last = f"{_short(row.changes[-1])} {row.change_verdict}"
            lines.append(f"{row.name:<{size}}  {cells[0]:<30}  {cells[1]:<17}  {last}")
        lines.append(f"slopes d ln rms / d ln width, widths {', '.join(map(str, self.widths))}")
        lines += self.diverged
        if self.passes:
            lines.append("passes: what a step changes does not depend on the width")
        else:
            lines.append("does not pass. " + "; ".join(self.problems[len(self.diverged) :]))
            lines += [str(each) for each in self.advice if each.start or each.rate]
            if any("not determined" in each for each in self.problems):
                lines.append("more seeds, or wider networks, determine more")
        lines += self.notes
        return "\n".join(line.rstrip() for line in lines)


def _short(slope: Estimate) -> str:
    return f"{slope.value:+.2f} ± {slope.error:.2f}" if slope.determined else "-"


def coordinate_check(
    factory: Callable[[int, int], Any],
    batch: Any,
    loss: Loss | None,
    *,
    widths: Sequence[int] = (64, 128, 256, 512),
    seeds: int = 8,
    steps: int = 5,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    seed: int = 0,
) -> WidthCheck:
    r"""Return how outputs of layers, and what training changes in them, scale with width, and how to mend it.

    Where a step changes the units of each layer by as much at any width, a learning rate that is good for a
    narrow network is good for a wide one.

    Parameters
    ----------
    factory : callable
        ``factory(width, seed)`` returns an untrained network; or the network and its optimiser; or the
        network and parameter groups with a learning rate each, from which `optimizer` makes one.
    batch : tuple, mapping or tensor
        One batch, ``(inputs, targets)`` as a rule, on which networks train and are compared.
    loss : callable or None
        As :func:`objective` takes it, for example ``torch.nn.CrossEntropyLoss()``.
    widths : sequence of int
        At least 2, in rising order; three doublings tell exponents well. The advice holds the first fixed.
    seeds : int
        Networks of each width, at least 2; each has a seed of its own.
    steps : int
        Of training, at least 1.
    optimizer : callable, optional
        ``optimizer(parameters)`` makes an optimiser; needed unless the factory returns one.
    seed : int
        The first of the seeds.

    Returns
    -------
    WidthCheck
        Slopes, verdicts, and advice; its ``print`` is a table.

    Raises
    ------
    InputError
        If a number is out of range, the factory returns something else, there is no optimiser, or networks of
        two widths differ in their layers; or as :func:`objective` does, with the width.

    Notes
    -----
    Measured is the root mean square over samples and units of what each layer with parameters puts out,

    .. math:: h_l, \qquad \Delta_k h_l = h_l(\theta_k) - h_l(\theta_0), \qquad
        \textrm{rms}\,\Delta_k h_l \propto n^{s}

    and s is fitted to the means over seeds of its logarithm, with weights from their scatter: half that of
    the width itself, half the mean of all. The error is that of the fit, larger where the means do not lie on
    a line. Exponents of theory are multiples of 1/2, so the border is 1/4: *flat* needs s within 2 errors of
    it on both sides, *growing* and *shrinking* need s beyond by 2 errors, all else is *not determined*.

    With variance 1/n and one rate (the standard parametrisation), a first step changes the input layer,
    hidden layers and the output of a perceptron by n^(-1/2), n^(1/2), n with SGD, and by n^0, n, n^(3/2) with
    Adam. With the maximal-update parametrisation all are flat, and the output before training shrinks as
    n^(-1/2), which is as it should be.

    The advice takes two measurements. A layer that amplifies its input by n^g, or the change of its input,
    has its initial weights multiplied by ``(base/width)^g``, for the larger g. From there one step is taken
    again, with a readout 8 times smaller, so that its random output adds no scatter. A parameter that alone
    changes the output of its layer by n^s has its rate multiplied by ``(base/width)^s``. Both exponents are
    those measured, to the nearest 1/2. For perceptrons this is table 3 of the source, for SGD and for Adam.

    It fails where a step is so large that networks saturate or diverge: widths that diverge are named, and
    slopes with them are not determined. Steps before tell more. Exponents of a narrow network lie below those
    of theory. The scores inside an attention layer are not seen, and weights that two layers share are left
    as they are at the start. Adam's epsilon must stay small beside gradients, which shrink with the width.
    Decoupled weight decay follows the rate.

    Cost: for each network about 2 steps + 4 passes and as many gradients as steps; up to twice that where a
    start is rescaled. Memory: inputs and outputs of all layers, twice.

    Source: Yang, Hu et al., arXiv:2203.03466, app. D (the check) and table 3 (the parametrisation); the
    exponents: Yang and Hu, arXiv:2011.14522.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> def factory(width, seed):
    ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 1))
    >>> _ = torch.manual_seed(0)
    >>> batch = torch.randn(8, 4), torch.randn(8, 1)
    >>> found = coordinate_check(
    ...     factory, batch, nn.MSELoss(), steps=1, optimizer=lambda p: torch.optim.SGD(p, lr=1e-3)
    ... )
    >>> found.layers[-1].change_verdict
    'growing'
    >>> print(found.advice[2])
    multiply the initial values of 2.weight by (64/width)^0.5, and the learning rate of 2.weight by (64/width)
    """
    sizes = tuple(int(width) for width in widths)
    if len(sizes) < 2 or sizes[0] < 1 or any(b <= a for a, b in pairwise(sizes)):
        raise InputError(f"The widths are {list(widths)}.", "Pass at least 2 whole numbers in rising order.")
    for name, number, least in (("seeds", seeds, 2), ("steps", steps, 1)):
        if number < least:
            raise InputError(f"{name} is {number}.", f"Pass at least {least}.")
    make = partial(_network, factory, optimizer)
    measure = partial(_measured, make, batch, loss, sizes, seeds, seed)
    runs, notes = measure(steps, (), ())
    diverged = _diverged(sizes, runs)
    first = runs[0][0]
    notes += tuple(
        f"{name} is used by several layers: what it needs at the start has to be a factor in forward"
        for name in first.owners
        if name in first.shared
    )
    layers = tuple(_row(name, sizes, runs, steps) for name in first.starts)
    if len(layers) > 1 and np.array_equal(layers[-1].starts, layers[-2].starts):
        layers = layers[:-1]  # the last layer gives the output of the model
    starts = _start_advice(sizes, runs)
    if any(each.start for each in starts):
        moved = next((k for k in range(steps) if _all_moved(runs, k)), 0)
        readout = [name for name, path in first.owners.items() if path == layers[-1].name]
        runs, _ = measure(moved + 1, starts, readout)
    advice = []
    for each in starts:
        alone = np.array([[run.alone[each.name] for run in row] for row in runs])
        slope = _slope(sizes, alone, "it does not move")
        advice.append(replace(each, rate=_exponent(slope) or 0.0, rate_slope=slope))
    return WidthCheck(sizes, seeds, steps, layers, tuple(advice), diverged, notes)


class _Run(NamedTuple):
    """What one network showed; rows by the path of a layer, the last is the model's own output."""

    starts: dict[str, float]
    moves: dict[str, list[float]]  # one for each step, NaN after the network diverged
    gains: dict[str, tuple[float, float]]  # of the input at the start, and of the first change of it
    alone: dict[str, float]  # by parameter: what its own first change does to the output of its layer
    owners: dict[str, str]  # by parameter: the layer that it belongs to
    shared: frozenset[str]  # parameters with two axes or more that several layers use
    weights: frozenset[str]  # and those that one layer alone uses
    diverged: int | None  # the step after which it was not finite


_OUTPUT = "(output)"


def _measured(
    make: Callable[[int, int], tuple[nn.Module, torch.optim.Optimizer]],
    batch: Any,
    loss: Loss | None,
    widths: Sequence[int],
    seeds: int,
    seed: int,
    steps: int,
    starts: Sequence[WidthAdvice],
    small: Sequence[str],
) -> tuple[list[list[_Run]], tuple[str, ...]]:
    """Train all networks, from rescaled starts if there is advice, and return what each showed, by width.

    The parameters that `small` names are made small at all widths alike.
    """
    runs: list[list[_Run]] = []
    notes: tuple[str, ...] = ()
    for place, width in enumerate(widths):
        runs.append([])
        for number in range(seed + place * seeds, seed + (place + 1) * seeds):
            module, optimizer = make(width, number)
            _apply(starts, module, optimizer, width)
            with torch.no_grad():
                for name in small:
                    module.get_parameter(name).mul_(_SMALL)
            try:
                made = objective(module, loss, batch, dtype=None)
            except InputError as error:
                raise InputError(
                    f"At width {width}, seed {number}: {error}", "Mend the network of that width."
                ) from error
            notes = made.notes
            runs[-1].append(_trained(made, module, optimizer, steps))
            if runs[-1][-1].owners.keys() != runs[0][0].owners.keys() or (
                runs[-1][-1].starts.keys() != runs[0][0].starts.keys()
            ):
                raise InputError(
                    f"Networks of width {widths[0]} and {width} differ in their layers.",
                    "Let the factory change the width alone.",
                )
    return runs, notes


def _network(
    factory: Callable[[int, int], Any],
    optimizer: Callable[[Any], torch.optim.Optimizer] | None,
    width: int,
    seed: int,
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return a copy of what the factory makes, with the global generators seeded, and its optimiser."""
    with untouched(nn.Identity()):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's factory may well use the global generator
        torch.manual_seed(seed)
        returned = factory(width, seed)
    module, given = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"The factory returned {type(returned).__name__}.",
            "Return a module, (module, optimiser), or (module, parameter groups).",
        )
    if isinstance(given, torch.optim.Optimizer):
        twin, made = copy.deepcopy((module, given))
        return twin, made
    if optimizer is None:
        raise InputError(
            "There is no optimiser.", "Pass optimizer=lambda p: torch.optim.SGD(p, lr=...), or return one."
        )
    if given is None:
        twin = copy.deepcopy(module)
        return twin, optimizer(twin.parameters())
    listed = list(given) if isinstance(given, Iterable) else []
    if not listed or not all(isinstance(group, Mapping) for group in listed):
        raise InputError(
            f"The factory returned a module and {type(given).__name__}.",
            "Return an optimiser, or a list of parameter groups, beside the module.",
        )
    groups = []
    for group in listed:
        own = group["params"]
        groups.append({**group, "params": [own] if isinstance(own, Tensor) else list(own)})
    twin, groups = copy.deepcopy((module, groups))
    return twin, optimizer(groups)


class _Call(NamedTuple):
    """One call of a layer, with copies of what it was given and of what it put out."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Tensor


def _trained(made: Objective, module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> _Run:
    """Train one network and measure it; the frozen copy in `made` keeps the parameters of the start."""
    trained = [(name, p) for name, p in module.named_parameters() if name in made.slices]
    before = _calls(made, made.initial, [name for name, _ in made.module.named_modules()])
    owners = {name: _owner(name, before) for name, _ in trained}
    before = {path: calls for path, calls in before.items() if path in {*owners.values(), ""}}
    users = [id(p) for part in made.module.modules() for p in part._parameters.values() if p is not None]
    matrices = [(name, users.count(id(p)) > 1) for name, p in made.module.named_parameters() if p.ndim > 1]
    shared, weights = (frozenset(name for name, many in matrices if many is kind) for kind in (True, False))
    starts = {path or _OUTPUT: _rms([call.output for call in calls]) for path, calls in before.items()}
    moves = {name: [math.nan] * steps for name in starts}
    gains = dict.fromkeys(starts, (math.nan, math.nan))
    alone = dict.fromkeys(owners, 0.0)
    w, diverged = made.initial, None
    for step in range(steps):
        _, gradient = made.gradient(w)
        for name, parameter in trained:
            parameter.grad = gradient[made.slices[name]].view_as(parameter).clone()
        optimizer.step()
        w = torch.cat([parameter.detach().flatten() for _, parameter in trained])
        after = _calls(made, w, list(before))
        found = {path: _difference(before[path], [call.output for call in after[path]]) for path in before}
        if not (all(map(math.isfinite, found.values())) and bool(w.isfinite().all())):
            diverged = step + 1
            break
        for path, moved in found.items():
            moves[path or _OUTPUT][step] = moved
        if step == 0:
            gains = {path or _OUTPUT: _gains(made, path, before[path], after[path]) for path in before}
        now = made.named(w)
        for name, path in owners.items():
            if alone[name] == 0:
                changed = {name[len(path) + bool(path) :]: now[name]}
                alone[name] = _difference(before[path], _again(made, path, before[path], changed))
    return _Run(starts, moves, gains, alone, owners, shared, weights, diverged)


def _calls(made: Objective, w: Tensor, paths: Sequence[str]) -> dict[str, list[_Call]]:
    """Return all calls of some modules in one pass, in the order in which they end."""
    found: dict[str, list[_Call]] = {}

    def note(path: str, part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        tensor = first_float(unpacked(output))
        if tensor is not None:
            kept = (map_leaves(_kept, args), map_leaves(_kept, kwargs))
            found.setdefault(path, []).append(_Call(*kept, tensor.detach().clone()))

    handles = [
        made.module.get_submodule(path).register_forward_hook(partial(note, path), with_kwargs=True)
        for path in paths
    ]
    try:
        made.run(w)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _kept(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def _owner(name: str, called: Mapping[str, object]) -> str:
    """Return the innermost module around a parameter that is called."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        if path in called:
            return path
    return ""


def _again(
    made: Objective, path: str, calls: Sequence[_Call], parameters: Mapping[str, Tensor]
) -> list[Tensor]:
    """Return what a layer of the start puts out at the same calls, with some other parameters."""
    layer, outputs = made.module.get_submodule(path), []
    with torch.no_grad():
        for call in calls:
            given = (map_leaves(_kept, call.args), map_leaves(_kept, call.kwargs))
            output = first_float(unpacked(torch.func.functional_call(layer, dict(parameters), *given)))
            assert output is not None  # the first pass has shown one
            outputs.append(output)
    return outputs


def _gains(
    made: Objective, path: str, before: Sequence[_Call], after: Sequence[_Call]
) -> tuple[float, float]:
    """Return how much a layer of the start amplifies its input, and how much the change of its input."""
    inputs = [first_float((call.args, call.kwargs)) for call in before]
    moved = [first_float((call.args, call.kwargs)) for call in after]
    given = [x for x in inputs if x is not None]
    size = _rms([call.output for call in before])
    if not given or len(given) < len(inputs):  # tokens: the size of the output itself
        return size, math.nan
    change = _difference([_Call((), {}, x) for x in given], [x for x in moved if x is not None])
    passed = _difference(before, _again(made, path, after, {}))
    scale = _rms(given)
    return size / scale if scale else math.nan, passed / change if change else math.nan


def _rms(tensors: Sequence[Tensor]) -> float:
    total = sum(float(each.double().square().sum()) for each in tensors)
    return math.sqrt(total / max(1, sum(each.numel() for each in tensors)))


def _difference(calls: Sequence[_Call], outputs: Sequence[Tensor]) -> float:
    """Return the rms of the change since some calls; 0 where it is no more than rounding."""
    change = _rms([new - call.output for call, new in zip(calls, outputs, strict=True)])
    scale = _rms([call.output for call in calls])
    return 0.0 if change <= _ROUNDINGS * torch.finfo(calls[0].output.dtype).eps * scale else change


def _all_moved(runs: list[list[_Run]], step: int) -> bool:
    return all(move[step] > 0 for row in runs for run in row for move in run.moves.values())


def _diverged(widths: Sequence[int], runs: list[list[_Run]]) -> tuple[str, ...]:
    found = []
    for width, row in zip(widths, runs, strict=True):
        when = [run.diverged for run in row if run.diverged is not None]
        if when:
            found.append(
                f"width {width}: {len(when)} of {len(row)} networks not finite, first after step {min(when)}"
            )
    return tuple(found)


def _row(name: str, widths: Sequence[int], runs: list[list[_Run]], steps: int) -> WidthRow:
    starts = np.array([[run.starts[name] for run in row] for row in runs])
    moves = np.array([[[run.moves[name][k] for run in row] for row in runs] for k in range(steps)])
    start = _slope(widths, starts, "it is zero")
    changes = tuple(_slope(widths, moves[k], "it does not move") for k in range(steps))
    verdicts = [_verdict(each) for each, move in zip(changes, moves, strict=True) if np.any(move != 0)]
    worst: tuple[Verdict, ...] = ("growing", "shrinking")
    change = next(
        (each for each in worst if each in verdicts), verdicts[-1] if verdicts else "not determined"
    )
    return WidthRow(name, start, changes, _verdict(start), change, starts, moves)


def _slope(widths: Sequence[int], values: Array, zero: str) -> Estimate:
    """Return ``d ln value / d ln width`` of the means over seeds, weighted by their scatter."""
    seeds = values.shape[1]
    for bad, reason in ((~np.isfinite(values), "it is not finite"), (values == 0, zero)):
        if bad.any():
            at = [str(width) for width, row in zip(widths, bad, strict=True) if row.any()]
            return Estimate.not_determined(f"{reason} at width {', '.join(at)}")
    logs, x = np.log(values), np.log(np.asarray(widths, dtype=np.float64))
    own = logs.var(axis=1, ddof=1) / seeds
    # Few seeds may agree by chance: half the weight comes from the scatter at all widths.
    weights = 1 / np.maximum((own + own.mean()) / 2, 1e-20)
    y, middle = logs.mean(axis=1), np.average(x, weights=weights)
    spread = float((weights * (x - middle) ** 2).sum())
    slope = float((weights * (x - middle) * y).sum()) / spread
    rest = y - np.average(y, weights=weights) - slope * (x - middle)
    freedom = len(x) - 2
    excess = float((weights * rest**2).sum()) / freedom if freedom else 1.0
    error = math.sqrt(max(1.0, excess) / spread)
    method = f"weighted fit over {len(x)} widths of {seeds} networks"
    return Estimate(slope, error, method, values.size, (float(widths[0]), float(widths[-1])))


def _verdict(slope: Estimate) -> Verdict:
    if not slope.determined:
        return "not determined"
    low, high = slope.value - 2 * slope.error, slope.value + 2 * slope.error
    if low > _HALFWAY:
        return "growing"
    if high < -_HALFWAY:
        return "shrinking"
    return "flat" if low > -_HALFWAY and high < _HALFWAY else "not determined"


def _exponent(slope: Estimate) -> float | None:
    """Return the multiple of 1/2 that is nearest, or None where it is not determined."""
    kind = _verdict(slope)
    if kind == "not determined":
        return None
    return 0.0 if kind == "flat" else math.copysign(max(0.5, round(2 * abs(slope.value)) / 2), slope.value)


def _start_advice(widths: Sequence[int], runs: list[list[_Run]]) -> list[WidthAdvice]:
    """Return for each parameter the exponent of the factor on its initial values."""
    unmeasured = Estimate.not_determined("not a weight of one layer alone")
    found = []
    for name, path in runs[0][0].owners.items():
        slope, exponent = unmeasured, 0.0
        if name in runs[0][0].weights:
            gains = np.array([[run.gains[path or _OUTPUT] for run in row] for row in runs])
            still, moved = (_slope(widths, gains[..., i], "it is zero") for i in (0, 1))
            inputs_move = bool(np.isfinite(gains[..., 1]).any())
            if inputs_move and moved.determined and (not still.determined or moved.value > still.value):
                slope = moved
            else:
                slope = still
            exponent = _exponent(slope) or 0.0
            if exponent < 0 and inputs_move and _exponent(moved) is None:
                exponent = 0.0  # a readout may be small at the start, if it passes on what moves
        found.append(WidthAdvice(name, exponent, 0.0, widths[0], slope, unmeasured))
    return found


def _apply(
    advice: Sequence[WidthAdvice], model: nn.Module, optimizer: torch.optim.Optimizer, width: int
) -> None:
    """Scale initial values and rates, in place."""
    parameters = dict(model.named_parameters())
    missing = [each.name for each in advice if each.name not in parameters]
    if missing:
        raise InputError(
            f"The model has no parameter {missing[0]}.", "Pass a model of the factory that was checked."
        )
    factors: dict[int, float] = {}
    with torch.no_grad():
        for each in advice:
            ratio = each.base / width
            parameters[each.name].mul_(ratio**each.start)
            factors[id(parameters[each.name])] = ratio**each.rate
    groups: dict[tuple[int, float], dict[str, Any]] = {}
    for place, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            factor = factors.get(id(parameter), 1.0)
            new = groups.setdefault((place, factor), {**group, "params": [], "lr": group["lr"] * factor})
            new["params"].append(parameter)
    optimizer.param_groups[:] = list(groups.values())
