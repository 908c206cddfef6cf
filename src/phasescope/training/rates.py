"""How far a learning rate can go: exponent, sharpness, loss and time to a target at every rate."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.recording.batch import first_float, leaves, map_leaves
from phasescope.results import Result, kept
from phasescope.training.factory import Factory, Trial, trial
from phasescope.training.maps import TrainingMap
from phasescope.training.objective import Objective, objective
from phasescope.training.range_test import ramp, suggestions, together
from phasescope.training.sharpness import sharpness

Record = dict[str, Any]

_GROWN = math.log(1e3)  # growth of a small difference that counts as chaos
_BLOWN = 1e12  # times its start, where the loss counts as diverged
_FLAT = 1e-9  # spread of outputs over the inputs, relative to their size, below which they are constant
_STRIDE, _STRIDES = 1.13, 6  # smallest ratio of rates in the search upwards, and most steps of it
_BRACKET = 1.02  # ratio of rates at which the bisection ends
_SEARCH = 7  # runs that both take, about
_FIRST, _LATER = 1e-3, 0.05  # residuals of the sharpness; its error is of the order of their square
_LOOKS = 6  # times, beside the first steps, at which the sharpness is measured
_EARLY = (0, 1, 3, 10)
_CURVE = 100  # points of a stored curve
_LADDER = tuple(2.0**k for k in range(-2, 5))  # times the rate that the sharpness at the start allows
_ADAPTIVE = tuple(10 ** (k / 2) for k in range(-10, 1))  # where the start has no threshold
_EXTENSIONS = 6  # rates more, at either end, until the lowest is regular and the highest is not
_WAY = 0.9  # of the way from the start to the best score: the target, where none is given
_SLOWER = 0.25  # share of the best time that a recommended rate may be slower
_BEYOND = 10  # times the highest rate, where the ramp of the range test ends
_SMALLEST = 32  # inputs that a sub-batch keeps


@dataclass(frozen=True)
class ScanCost(Result):
    """What a scan will take.

    Parameters
    ----------
    seconds : float
        Expected time of the whole scan, from a few timed steps.
    runs : int
        Trainings that it consists of, at most.
    step : float
        Seconds of one step with its tangent.
    inputs : int or None
        Inputs of the fixed sub-batch on which tangents and sharpness are computed; None for the whole batch.
    rates : tuple of float
        The rates that it starts with.
    """

    seconds: float
    runs: int
    step: float
    inputs: int | None
    rates: tuple[float, ...]


@kept
@dataclass(frozen=True)
class RateRow:
    """What training at one rate does, over all initialisations.

    Parameters
    ----------
    rate : float
        The learning rate.
    exponent : Estimate
        Finite-time exponent of a small difference, per step: ln of its L1 growth over the run, over the
        number of steps.
    sharpness_start, sharpness_ratio : Estimate
        Largest curvature over the optimiser's own threshold, 1 at the edge of stability: at the first
        measured step, and the mean over the second half of the steps.
    final_loss : Estimate
        Loss over the last cycle of batches.
    rises : Estimate
        Share of steps after which the loss on the same batch is higher.
    time_to_target : Estimate
        Steps until the score first reaches the target.
    failed_share : float
        Share of the initialisations that diverge, die or do not reach the target; NaN without a target.
    verdicts : dict of str to int
        How many initialisations are "regular", "chaotic" (a small difference grows more than 1000-fold),
        "dead" (the outputs no longer depend on the inputs) or "diverged".
    dead_units : float
        Share of the inputs of linear and convolutional layers after the first that varied at the start and
        are constant at the end, mean over initialisations.
    sentence : str
        What happened: which limit was passed, when, and what followed.
    looks : tuple of int
        Steps at which the sharpness was measured.
    sharpness : tuple of float
        Its ratio to the threshold at `looks`, mean over initialisations; NaN after divergence.
    growth : tuple of float
        ln of the growth of a small difference at `growth_steps`, mean over initialisations.
    growth_steps : tuple of int
        Steps of `growth`.
    """

    rate: float
    exponent: Estimate
    sharpness_start: Estimate
    sharpness_ratio: Estimate
    final_loss: Estimate
    rises: Estimate
    time_to_target: Estimate
    failed_share: float
    verdicts: dict[str, int]
    dead_units: float
    sentence: str
    looks: tuple[int, ...] = field(repr=False)
    sharpness: tuple[float, ...] = field(repr=False)
    growth: tuple[float, ...] = field(repr=False)
    growth_steps: tuple[int, ...] = field(repr=False)

    @property
    def verdict(self) -> str:
        """That of most initialisations; the worse one of two as frequent."""
        return max(self.verdicts, key=lambda kind: (self.verdicts[kind], _WORSE.index(kind)))


_WORSE = ("regular", "chaotic", "dead", "diverged")


@dataclass(frozen=True)
class Suggestion(Result):
    """A rate that the plain range test suggests, and what training at it does.

    Parameters
    ----------
    rate : Estimate
        Mean over initialisations, or that they disagree.
    time_to_target : Estimate
        Steps to the target when each initialisation trains at its own suggestion.
    failed_share : float
        Share of the initialisations that do not reach the target.
    """

    rate: Estimate
    time_to_target: Estimate
    failed_share: float


@dataclass(frozen=True)
class LearningRateScan(Result):
    """How far the learning rate of a training can go, and which rates serve best.

    Parameters
    ----------
    onset : Estimate
        Onset of chaos: the smallest rate at which a small difference grows more than 1000-fold within the
        steps of the scan; its error is over initialisations.
    edge : Estimate
        The rate at which the sharpness at the start would meet the optimiser's threshold.
    recommended_low, recommended_high : Estimate
        Range of rates that reach the target fastest; the error is half of the distance to the next rate that
        was measured outside.
    reason : str
        Why this range, or why there is none.
    rows : tuple of RateRow
        What was measured at each rate, in their order.
    target : float
        Score to reach; NaN where there is none.
    score : str
        What is scored: accuracy or loss on validation data, or a score of the factory's own.
    steps : int
        Length of each training.
    seeds : tuple of int
        Initialisations.
    suggestions : dict of str to Suggestion
        What the plain range test says for the same number of gradient steps.
    findings : tuple of str
        Sentences: limits, order of events, comparison.
    notes : tuple of str
        What was frozen, replaced or left out.
    """

    onset: Estimate
    edge: Estimate
    recommended_low: Estimate
    recommended_high: Estimate
    reason: str
    rows: tuple[RateRow, ...]
    target: float
    score: str
    steps: int
    seeds: tuple[int, ...]
    suggestions: dict[str, Suggestion]
    findings: tuple[str, ...]
    notes: tuple[str, ...]

    citations = ("danovski2024", "jimenez2025", "cohen2021")

    @property
    def rates(self) -> tuple[float, ...]:
        """The rates of the rows."""
        return tuple(row.rate for row in self.rows)

    @property
    def headline(self) -> str:
        """The recommendation in a few words."""
        low, high = self.recommended_low, self.recommended_high
        if not low.determined:
            return "no learning rate recommended"
        return f"learning rate {low.value:g}" + (f" to {high.value:g}" if high.value > low.value else "")

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; None in place of NaN."""
        columns = ("exponent", "sharpness_start", "sharpness_ratio", "final_loss", "rises", "time_to_target")
        of_rates: dict[str, Any] = {}
        for name in columns:
            found = [getattr(row, name) for row in self.rows]
            of_rates[name] = [_plain(each.value) for each in found]
            of_rates[f"{name}_error"] = [_plain(each.error) for each in found]
        numbers = {
            name: getattr(self, name) for name in ("onset", "edge", "recommended_low", "recommended_high")
        }
        return {
            **{name: _plain(each.value) for name, each in numbers.items()},
            **{f"{name}_error": _plain(each.error) for name, each in numbers.items()},
            "reason": self.reason,
            "not_determined": {name: each.reason for name, each in numbers.items() if each.reason},
            "rates": list(self.rates),
            **of_rates,
            "failed_share": [_plain(row.failed_share) for row in self.rows],
            "verdicts": [row.verdicts for row in self.rows],
            "dead_units": [_plain(row.dead_units) for row in self.rows],
            "sentences": [row.sentence for row in self.rows],
            "in_time": [
                {
                    "steps": list(row.looks),
                    "sharpness_ratio": [_plain(value) for value in row.sharpness],
                    "growth_steps": list(row.growth_steps),
                    "growth": [_plain(value) for value in row.growth],
                }
                for row in self.rows
            ],
            "target": _plain(self.target),
            "score": self.score,
            "steps": self.steps,
            "seeds": list(self.seeds),
            "range_test": {
                name: {
                    "rate": _plain(each.rate.value),
                    "rate_error": _plain(each.rate.error),
                    "time_to_target": _plain(each.time_to_target.value),
                    "time_to_target_error": _plain(each.time_to_target.error),
                    "failed_share": _plain(each.failed_share),
                    "reason": each.rate.reason or each.time_to_target.reason,
                }
                for name, each in self.suggestions.items()
            },
            "findings": list(self.findings),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join([self.headline, self.reason, *self.findings])


def scan_learning_rate(
    factory: Factory,
    rates: Sequence[float] | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 200,
    budget: float | None = None,
    target: float | None = None,
    compare: bool = True,
    known: MutableMapping[str, Record] | None = None,
    progress: Callable[[str], None] | None = None,
    seed: int = 0,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
) -> LearningRateScan:
    """Return how training depends on its learning rate: onset of chaos, recommended range, and why.

    At every rate the user's training is run as it is, and beside it a small difference of the weights is
    followed by the tangent map.

    Parameters
    ----------
    factory : callable
        ``factory(seed)`` returns ``model, loss, data``, or a dictionary with these keys and optionally
        `optimizer` (a function of parameters and rate; SGD without momentum by default), `validation` (data
        like `data`, or a function of the model that returns a score of which more is better), `target` (the
        score to reach), `scheduler` (a function of the optimiser) and `accumulate` (batches a step). The
        global generators are seeded with `seed` while it runs.
    rates : sequence of float, optional
        Learning rates. By default, powers of two around the rate that the sharpness at the start allows, and
        on upwards until training fails; for Adam and RMSprop, 1e-5 to 1.
    seeds : sequence of int
        Initialisations.
    steps : int
        Steps of each training.
    budget : float, optional
        Seconds that the scan may take. What is missing then is told. If not even one initialisation fits,
        tangents and sharpness are computed on a fixed sub-batch of the first batch; training itself never.
    target : float, optional
        Score to reach, in place of the factory's. Accuracy counts for outputs with a score for each class,
        the loss otherwise. By default 90 % of the way from the mean at the start to the best mean at the end.
    compare : bool
        Whether to run the range test for as many gradient steps, and to train at what it suggests.
    known : mutable mapping, optional
        Finished runs by name; runs are looked up there and added, so that a scan can go on where it ended.
        Each is a dictionary of JSON values. A mapping holds for one factory, number of steps and `seed`.
    progress : callable, optional
        Called with a few words before each run.
    seed : int
        For the directions in which small differences start.
    dtype, device
        As in :func:`training_map`.

    Returns
    -------
    LearningRateScan
        Estimates at each rate, onset of chaos, recommended range.

    Raises
    ------
    InputError
        If a rate is not above 0, the factory returns something else, its loss is not finite or not
        deterministic at the start, or its optimiser has no map.

    Notes
    -----
    The onset is the smallest rate at which ``|d(t)| / |d(0)|`` exceeds 1000 for a step ``t <= steps``, where
    `d` is a tangent that starts in the weights at random and ``|d|`` its L1 norm over all parameters. It is
    sought upwards on the grid, in up to 6 strides between two rates where it appears or the loss at the end
    rises with the rate, then by bisection to 2 %. Growth is not monotone in the rate: the boundary is ragged,
    so that a finer search may find a lower rate, and far above it a network that dies shows none. On a
    quadratic loss of largest curvature `h`, gradient descent has its onset near
    ``(1 + 1000**(1/steps)) / h``, which tends to ``2 / h``.

    The recommended range holds the rates around the fastest that no initialisation fails at and that take at
    most 25 % more steps, or whose difference over the same initialisations is below two standard errors; it
    ends below the smallest rate at which the search for the onset has seen a network die or diverge. It
    rests on measured times alone: whether they are shortest near the onset depends on the network.

    Cost: rates times initialisations times steps, each 2 to 3 gradients; the search for the onset adds about
    7 shorter runs an initialisation, the sharpness about 60 gradients a run. The method is that of Danovski,
    Soriano and Lacasa (arXiv:2404.05782) with tangents in place of perturbed copies; the shortest time near
    the onset of chaos is the claim of arXiv:2506.08523.
    """
    runs = _Runs(
        factory, tuple(seeds), steps, budget, {} if known is None else known, progress, seed, dtype, device
    )
    grid = _checked(rates)
    _check_numbers(seeds, steps, budget, target)
    automatic = grid is None
    grid = _automatic(runs.trial(runs.seeds[0])) if grid is None else grid
    runs.plan(grid, compare=compare)
    limits: list[tuple[float, float, str]] = []
    spent = ""
    try:
        for number in runs.seeds:
            for rate in grid:
                runs.record("full", number, rate)
            if automatic and number == runs.seeds[0]:
                grid = _extended(runs, number, grid)
            limits.append(_limit(runs, number, grid))
        if automatic:
            for number in runs.seeds:
                for rate in _between(runs, grid, target):
                    runs.record("full", number, rate)
        if compare and len(grid) > 1:
            for number in runs.seeds:
                for rate in _suggested(runs, number, grid):
                    runs.record("plain", number, rate)
    except _SpentError as reached:
        spent = str(reached)
    return _summary(runs, grid, limits, target, compare=compare, spent=spent)


def estimate_cost(
    factory: Factory,
    rates: Sequence[float] | None = None,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 200,
    budget: float | None = None,
    compare: bool = True,
    known: MutableMapping[str, Record] | None = None,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
) -> ScanCost:
    """Return how long a scan with the same arguments will take, from a few timed steps.

    Parameters
    ----------
    factory, rates, seeds, steps, budget, compare, known, dtype, device
        As in :func:`scan_learning_rate`. What is among `known` is not counted, and the size of the sub-batch
        is kept there for the scan.

    Returns
    -------
    ScanCost
        Seconds, number of runs, size of the sub-batch.

    Raises
    ------
    InputError
        As in :func:`scan_learning_rate`.
    """
    runs = _Runs(factory, tuple(seeds), steps, budget, {} if known is None else known, None, 0, dtype, device)
    grid = _checked(rates)
    _check_numbers(seeds, steps, budget, None)
    return runs.plan(_automatic(runs.trial(runs.seeds[0])) if grid is None else grid, compare=compare)


def _checked(rates: Sequence[float] | None) -> list[float] | None:
    if rates is None:
        return None
    fix = "Pass finite numbers above 0, such as [0.01, 0.1, 1.0]."
    if isinstance(rates, int | float | str):
        raise InputError(f"rates is {rates!r}, not a list.", fix)
    values = [float(rate) for rate in rates]
    if not values:
        raise InputError("No learning rate was given.", fix)
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"The learning rate {value:g} cannot be used.", fix)
    return sorted(set(values))


def _check_numbers(seeds: Sequence[int], steps: int, budget: float | None, target: float | None) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds is {list(seeds)}.", "Pass one or more different whole numbers.")
    if steps < 2:
        raise InputError(f"{steps} steps are no training.", "Pass steps=2 or more.")
    if budget is not None and not budget > 0:
        raise InputError(f"The budget is {budget!r} seconds.", "Pass a number above 0.")
    if target is not None and not math.isfinite(target):
        raise InputError(f"The target is {target!r}.", "Pass a finite number.")


def _automatic(first: Trial) -> list[float]:
    """Return powers of two around what the sharpness at the start allows; decades for adaptive rules."""
    ratio = _ratio(first.map(1.0), first.map(1.0).initial, 0, None)[0]
    if not (math.isfinite(ratio) and ratio > 0):
        return [_rounded(rate) for rate in _ADAPTIVE]
    return [_rounded(step / ratio) for step in _LADDER]


def _extended(runs: _Runs, number: int, grid: list[float]) -> list[float]:
    """Return the grid with rates below, until training is regular, and above, until it is not."""
    for end, factor, wanted in ((0, 0.5, True), (-1, 2.0, False)):
        for _ in range(_EXTENSIONS):
            if (_kind(runs.record("full", number, grid[end])) == "regular") == wanted:
                break
            grid = sorted([*grid, _rounded(factor * grid[end])])
            runs.record("full", number, grid[end])
    return grid


def _between(runs: _Runs, grid: Sequence[float], target: float | None) -> list[float]:
    """Return the middles of the steps to both sides of the fastest rate."""
    setup = runs.trial(runs.seeds[0])
    coarse = {rate: runs.full[rate] for rate in grid}
    goal = _target(coarse, setup, target)
    times = {
        rate: float(np.mean([_reached(record, goal, setup) for record in records.values()]))
        for rate, records in coarse.items()
    }
    best = min(times, key=lambda rate: times[rate])
    if not math.isfinite(times[best]):
        return []
    place = grid.index(best)
    return [
        _rounded(math.sqrt(best * other))
        for other in [*grid[max(place - 1, 0) : place], *grid[place + 1 : place + 2]]
    ]


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


# One training at one rate


def _train(
    setup: Trial,
    rate: float,
    *,
    inputs: int | None,
    seed: int,
    tangents: bool = True,
    looks: bool = True,
    until_grown: bool = False,
) -> Record:
    """Train, follow a small difference beside it, and look at sharpness and score now and then."""
    made, steps = setup.map(rate), setup.steps
    small = made.objective if inputs is None else _sub_batch(setup, made, inputs)
    every = max(1, steps // 200)
    when = _look_steps(steps) if looks and tangents else []
    generator = torch.Generator().manual_seed(seed * 1_000_003 + setup.seed)
    x = made.initial
    v = torch.zeros(1, made.size, dtype=x.dtype)
    v[:, : made.weights] = torch.randn(1, made.weights, generator=generator, dtype=torch.float64).to(v)
    v = v.to(x.device)
    unit = _log_size(made, v)
    offset, growth, losses = 0.0, [0.0], []
    ratios: list[float] = []
    scores: list[tuple[int, float]] = []
    start = None
    diverged: int | None = None
    varied = _spread(made.objective, x)
    for t in range(steps):
        if t in when:
            value, start = _ratio(TrainingMap(small, made.rule, x), x, t, start)
            ratios.append(value)
        if looks and t % every == 0:
            scores.append((t, setup.score.of(made.weights_of(x))))
        if tangents:
            x, v, loss = _advance(made, small, x, v, t)
        else:
            x, loss = made.advance(x, t)
        losses.append(float(loss))
        size = float(v.norm())
        if not (math.isfinite(losses[-1]) and math.isfinite(size) and size > 0) or _blown(losses):
            diverged = t
            break
        v, offset = v / size, offset + math.log(size)
        growth.append(offset + _log_size(made, v) - unit)
        if until_grown and growth[-1] > _GROWN:
            break
    if diverged is None and looks:
        scores.append((steps, setup.score.of(made.weights_of(x))))
        losses.append(float(made.loss(x, steps)))
        if not math.isfinite(losses[-1]) or _blown(losses):
            diverged = steps
    dead, dead_units = (False, 0.0) if diverged is not None else _died(made.objective, x, varied)
    cycle = made.objective.batches
    risen = [b > a for a, b in zip(losses, losses[cycle:], strict=False)]
    last = len(growth) - 1
    kept = sorted({round(k * last / _CURVE) for k in range(_CURVE + 1)})
    return {
        "grown": next((t for t, value in enumerate(growth) if value > _GROWN), None),
        "exponent": _plain(growth[-1] / last if last else math.nan),
        "growth_steps": kept,
        "growth": [_plain(growth[t]) for t in kept],
        "final_loss": _plain(float(np.mean(losses[-cycle:]))),
        "rises": _plain(float(np.mean(risen)) if risen else math.nan),
        "diverged": diverged,
        "dead": dead,
        "dead_units": dead_units,
        "looks": when,
        "sharpness": [_plain(value) for value in ratios + [math.nan] * (len(when) - len(ratios))],
        "score_steps": [t for t, _ in scores],
        "scores": [_plain(value) for _, value in scores],
    }


def _look_steps(steps: int) -> list[int]:
    return sorted(
        {t for t in _EARLY if t < steps} | {round(k * (steps - 1) / _LOOKS) for k in range(1, _LOOKS + 1)}
    )


def _advance(
    made: TrainingMap, small: Objective, x: Tensor, v: Tensor, t: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return state, change and loss, with the curvature that acts on the change taken from `small`."""
    if small is made.objective:
        return made.tangent(x, v, t, overwrite=True)
    parts, changes = made.parts(x), made.parts(v[0])
    loss, gradient = made.objective.gradient(parts[0], t)
    _, _, product = small.linearised(parts[0])
    moved = made.rule.tangent(parts, gradient, changes, product(changes[0]), t)
    return torch.cat(made.rule.step(parts, gradient, t)), torch.cat(moved)[None], loss


def _sub_batch(setup: Trial, made: TrainingMap, inputs: int) -> Objective:
    batch = made.objective.data[0]
    size = _batch_size(batch)
    part = map_leaves(lambda leaf: leaf[:inputs] if leaf.ndim and len(leaf) == size else leaf, batch)
    return objective(
        setup.model,
        made.objective.loss_function,
        iter([part]),
        dtype=made.objective.dtype,
        device=made.objective.device,
        trained=list(made.slices),
    )


def _batch_size(batch: Any) -> int:
    first = next(leaves(batch, Tensor), None)
    return len(first) if first is not None and first.ndim else 1


def _log_size(made: TrainingMap, v: Tensor) -> float:
    total = made.weights_of(v).abs().sum()
    return float(total.clamp(min=torch.finfo(v.dtype).tiny).log())


def _blown(losses: Sequence[float]) -> bool:
    return abs(losses[-1]) > _BLOWN * (1 + abs(losses[0]))


def _ratio(made: TrainingMap, x: Tensor, t: int, start: Tensor | None) -> tuple[float, Tensor | None]:
    """Return the largest curvature over the optimiser's threshold, and its direction."""
    try:
        tolerance = _FIRST if start is None else _LATER
        found = sharpness(made, x, t=t, start=start, tolerance=tolerance, max_products=60)
    except InputError:  # no gradient seen yet, a rate of zero, or a curvature that is not finite
        return math.nan, None
    return found.ratio.value, found.vectors


def _spread(made: Objective, x: Tensor) -> tuple[bool, dict[str, Tensor]]:
    """Return whether the outputs vary over the first batch, and by how much the inputs of each layer do."""
    inside: dict[str, Tensor] = {}
    outputs: list[Tensor | None] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def hook(part: nn.Module, args: tuple[Any, ...]) -> None:
            given = args[0]
            axis = 1 if isinstance(part, nn.modules.conv._ConvNd) and given.ndim > 1 else -1
            rows = given.movedim(axis, -1).reshape(-1, given.shape[axis])
            inside[name] = rows.amax(0) - rows.amin(0)

        return hook

    handles = [made.module.register_forward_hook(lambda part, args, out: outputs.append(first_float(out)))]
    handles += [
        part.register_forward_pre_hook(note(name))
        for name, part in made.module.named_modules()
        if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd))
    ]
    try:
        made.run(x[: made.size])
    finally:
        for handle in handles:
            handle.remove()
    out = outputs[0] if outputs else None
    if out is None or out.ndim == 0 or len(out) < 2:
        return True, inside
    return bool((out.amax(0) - out.amin(0)).max() > _FLAT * out.abs().max()), inside


def _died(made: Objective, w: Tensor, varied: tuple[bool, dict[str, Tensor]]) -> tuple[bool, float]:
    """Return whether the outputs have become constant, and the share of units that have."""
    varies, inside = _spread(made, w)
    lost = total = 0
    for name, before in list(varied[1].items())[1:]:  # the first layer sees the data
        if name in inside:
            alive = before > 0
            total += int(alive.sum())
            lost += int((alive & (inside[name] <= _FLAT * before)).sum())
    return varied[0] and _batch_size(made.data[0]) > 1 and not varies, lost / total if total else 0.0


def _kind(record: Record) -> str:
    if record["diverged"] is not None:
        return "diverged"
    if record["dead"]:
        return "dead"
    return "regular" if record["grown"] is None else "chaotic"


# All trainings of a scan


class _SpentError(Exception):
    """The budget is spent."""


class _Runs:
    """The runs of one scan: looked up where known, made within the budget otherwise."""

    def __init__(
        self,
        factory: Factory,
        seeds: tuple[int, ...],
        steps: int,
        budget: float | None,
        known: MutableMapping[str, Record],
        progress: Callable[[str], None] | None,
        seed: int,
        dtype: torch.dtype | None,
        device: torch.device | str | None,
    ) -> None:
        self.factory, self.seeds, self.steps, self.budget, self.known = factory, seeds, steps, budget, known
        self._progress, self._seed, self._dtype, self._device = progress, seed, dtype, device
        self._start = time.monotonic()
        self._expected: dict[str, float] = {}
        self._latest: Trial | None = None
        self.inputs: int | None = None
        self.grid: list[float] = []
        self.full: dict[float, dict[int, Record]] = {}  # what is there, by rate and seed
        self.count = 0

    def trial(self, number: int) -> Trial:
        """Return what the factory gives for a seed; the latest is kept."""
        if self._latest is None or self._latest.seed != number:
            self._latest = None
            self._latest = trial(
                self.factory, number, steps=self.steps, dtype=self._dtype, device=self._device
            )
        return self._latest

    def plan(self, grid: list[float], *, compare: bool) -> ScanCost:
        """Time a few steps, choose a sub-batch if the budget asks for one, and return what is left."""
        self.grid = grid
        setup = self.trial(self.seeds[0])
        made = setup.map(grid[len(grid) // 2])
        size = _batch_size(made.objective.data[0])
        self._time(setup, made, made.objective)
        if "sub-batch" in self.known:
            self.inputs = self.known["sub-batch"]["inputs"]
        else:
            one = len(grid) * self._expected["full"] + _SEARCH * self._expected["growth"]
            plain = len(grid) * self._expected["plain"]
            if self.budget is not None and one > self.budget and size > _SMALLEST:
                share = max(0.0, self.budget - plain) / (one - plain) if one > plain else 1.0
                self.inputs = max(_SMALLEST, int(size * share))
                self.inputs = None if self.inputs >= size else self.inputs
            self.known["sub-batch"] = {"inputs": self.inputs}
        if self.inputs is not None:
            self._time(setup, made, _sub_batch(setup, made, self.inputs))
        kinds = Counter({"full": len(grid), "growth": _SEARCH})
        if compare and len(grid) > 1:
            kinds.update({"ramp": 1, "plain": 2})
        runs = len(self.seeds) * sum(kinds.values())
        seconds = len(self.seeds) * sum(self._expected[kind] * count for kind, count in kinds.items())
        for name in list(self.known):
            kind = name.split()[0]
            if kind in kinds:
                runs, seconds = runs - 1, seconds - self._expected[kind]
        return ScanCost(max(seconds, 0.0), max(runs, 0), self._step, self.inputs, tuple(grid))

    def _time(self, setup: Trial, made: TrainingMap, small: Objective) -> None:
        """Measure a step with and without tangents, a score and a look at the sharpness."""
        x, v = made.initial, torch.ones_like(made.initial)[None]

        def seconds(work: Callable[[], object], times: int = 3) -> float:
            work()
            found = []
            for _ in range(times):
                start = time.perf_counter()
                work()
                found.append(time.perf_counter() - start)
            return float(np.median(found))

        gradient = seconds(lambda: made.advance(x, 0))
        self._step = seconds(lambda: _advance(made, small, x, v.clone(), 0))
        score = seconds(lambda: setup.score.of(made.weights_of(x)), 1)
        look = seconds(lambda: _ratio(TrainingMap(small, made.rule, x), x, 1, None), 1)
        scored = self.steps // max(1, self.steps // 200) * score
        looks = len(_look_steps(self.steps)) * look
        self._expected = {
            "full": self.steps * self._step + scored + looks,
            "growth": 0.7 * self.steps * self._step,
            "plain": self.steps * gradient + scored,
            "ramp": len(self.grid) * self.steps * gradient,
        }

    def record(self, kind: str, number: int, rate: float) -> Record:
        """Return one run, made now unless it is known."""
        name = f"{kind} seed={number} rate={rate!r}"
        if kind == "ramp":
            name += f" to={self.grid[-1]!r} rates={len(self.grid)}"
        if self.inputs is not None and kind in ("full", "growth"):
            name += f" inputs={self.inputs}"
        if name in self.known:
            return self._noted(kind, number, rate, self.known[name])
        if self.budget is not None:
            passed = time.monotonic() - self._start
            if passed + self._expected[kind] > self.budget:
                raise _SpentError(f"The budget of {self.budget:g} s was spent after {self.count} runs")
        if self._progress is not None:
            self._progress(f"{_WORDS[kind]}, rate {rate:.4g}, initialisation {number}")
        setup = self.trial(number)
        try:
            if kind == "ramp":
                found = self._ramp(setup)
            else:
                found = _train(
                    setup,
                    rate,
                    inputs=self.inputs,
                    seed=self._seed,
                    tangents=kind != "plain",
                    looks=kind != "growth",
                    until_grown=kind == "growth",
                )
        except InputError as error:
            raise InputError(f"Rate {rate:.4g}, seed {number}: {error.what}", error.fix) from error
        self.known[name] = found
        self.count += 1
        return self._noted(kind, number, rate, found)

    def _noted(self, kind: str, number: int, rate: float, found: Record) -> Record:
        if kind == "full":
            self.full.setdefault(rate, {})[number] = found
        return found

    def _ramp(self, setup: Trial) -> Record:
        steps = max(10, len(self.grid) * self.steps)
        low, high = self.grid[0], _BEYOND * self.grid[-1]
        steepest, tenth = suggestions(np.geomspace(low, high, steps), ramp(setup, low, high, steps))
        return {"steepest": _plain(steepest), "tenth": _plain(tenth)}


_WORDS = {"full": "training", "growth": "onset", "plain": "training", "ramp": "range test"}


def _limit(runs: _Runs, number: int, grid: Sequence[float]) -> tuple[float, float, str]:
    """Return the rates between which training stops being regular, and what it becomes there.

    Upwards on the grid, upwards in small strides, then by bisection: the boundary is ragged, and growth may
    be absent again above it. So the strides are also made where the loss at the end rises with the rate.
    """
    records = [runs.record("full", number, rate) for rate in grid]
    low, high, kind = grid[-1], math.nan, ""
    if _kind(records[0]) != "regular":
        return math.nan, grid[0], _kind(records[0])
    for below, above, at_low, at_high in zip(grid, grid[1:], records, records[1:], strict=False):
        bad = _kind(at_high) != "regular"
        if bad or _number(at_high["final_loss"]) > _number(at_low["final_loss"]):
            low, high, kind = below, above if bad else math.nan, _kind(at_high)
            strides = min(_STRIDES, math.ceil(math.log(above / below) / math.log(_STRIDE)))
            for rate in np.geomspace(below, above, strides + 1)[1:-1].tolist():
                found = _kind(runs.record("growth", number, rate))
                if found != "regular":
                    high, kind = rate, found
                    break
                low = rate
            if math.isfinite(high):
                break
    if math.isnan(high):
        return grid[-1], high, kind
    while high / low > _BRACKET:
        middle = math.sqrt(low * high)
        found = _kind(runs.record("growth", number, middle))
        if found == "regular":
            low = middle
        else:
            high, kind = middle, found
    return low, high, kind


def _suggested(runs: _Runs, number: int, grid: Sequence[float]) -> list[float]:
    """Return what the range test suggests to one initialisation."""
    runs.grid = list(grid)
    found = runs.record("ramp", number, grid[0])
    return [rate for rate in (found["steepest"], found["tenth"]) if rate is not None]


# What the runs say


def _summary(
    runs: _Runs,
    grid: Sequence[float],
    limits: Sequence[tuple[float, float, str]],
    target: float | None,
    *,
    compare: bool,
    spent: str,
) -> LearningRateScan:
    setup = runs.trial(runs.seeds[0])
    of_rates = dict(sorted(runs.full.items()))
    goal = _target(of_rates, setup, target)
    rows = tuple(_row(rate, records, goal, setup, runs.steps) for rate, records in of_rates.items())
    onset = _onset(limits, grid, runs)
    edge = _edge(of_rates)
    missing = sum(runs.seeds[0] not in of_rates.get(rate, {}) for rate in grid)
    failing = [(high, kind) for _, high, kind in limits if kind in ("dead", "diverged")]
    ceiling = min(failing, default=(math.inf, ""))
    low, high, reason = _recommended(rows, of_rates, goal, setup, runs.steps, missing, ceiling)
    suggested = _compared(runs, grid, goal, setup) if compare and len(grid) > 1 and not spent else {}
    notes = list(setup.objective.notes)
    if not setup.score.held:
        notes.append(f"the factory gives no validation data, so the {setup.score.name} stands for them")
    if runs.inputs is not None:
        notes.append(
            f"tangents and sharpness are those of {runs.inputs} fixed inputs, training is that of all"
        )
    if runs.inputs is None and setup.objective.batches > 1:
        notes.append(f"the {setup.objective.batches} batches repeat in the same order")
    if spent:
        notes.append(f"{spent} of training; a larger budget goes on from there")
    return LearningRateScan(
        onset=onset,
        edge=edge,
        recommended_low=low,
        recommended_high=high,
        reason=reason,
        rows=rows,
        target=goal,
        score=setup.score.name,
        steps=runs.steps,
        seeds=runs.seeds,
        suggestions=suggested,
        findings=tuple(_findings(rows, onset, edge, suggested, runs.inputs)),
        notes=tuple(notes),
    )


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _mean(values: Sequence[float], method: str) -> Estimate:
    """Return the mean over initialisations; of one, the value without an error."""
    if not values:
        return Estimate.not_determined("it was measured for no initialisation")
    if len(values) == 1 and math.isfinite(values[0]):
        return Estimate(values[0], math.nan, f"{method}, one initialisation, which has no error", 1)
    return Estimate.from_samples(values, method=f"{method}, mean over initialisations")


def _target(of_rates: dict[float, dict[int, Record]], setup: Trial, target: float | None) -> float:
    """Return the score to reach: the user's, or most of the way from the start to the best end."""
    if target is not None:
        return target
    if setup.target is not None:
        return setup.target
    sign = 1.0 if setup.score.higher else -1.0
    starts, ends = [], []
    for records in of_rates.values():
        scores = [[sign * _number(value) for value in record["scores"]] for record in records.values()]
        starts += [each[0] for each in scores]
        if all(record["diverged"] is None for record in records.values()):
            ends.append(float(np.mean([each[-1] for each in scores])))
    ends = [value for value in ends if math.isfinite(value)]
    if not ends or not max(ends) > np.mean(starts):
        return math.nan
    first = float(np.mean(starts))
    return sign * float(f"{first + _WAY * (max(ends) - first):.3g}")


def _reached(record: Record, goal: float, setup: Trial) -> float:
    """Return the first step whose score is as good as the target; infinity for never."""
    sign = 1.0 if setup.score.higher else -1.0
    pairs = zip(record["score_steps"], record["scores"], strict=True)
    return next((float(t) for t, value in pairs if sign * (_number(value) - goal) >= 0), math.inf)


def _time(times: Sequence[float], goal: float, setup: Trial, steps: int) -> Estimate:
    if math.isnan(goal):
        return Estimate.not_determined("there is no target: no rate improves the score")
    late = sum(math.isinf(each) for each in times)
    if late:
        return Estimate.not_determined(
            f"{late} of {len(times)} never reach {goal:.4g} in {steps} steps",
            n=len(times) - late,
        )
    return _mean(times, "steps to the target")


def _row(rate: float, records: dict[int, Record], goal: float, setup: Trial, steps: int) -> RateRow:
    found = list(records.values())
    kinds = Counter(_kind(record) for record in found)
    times = [_reached(record, goal, setup) for record in found]
    failed = [
        _kind(record) in ("diverged", "dead") or math.isinf(at)
        for record, at in zip(found, times, strict=True)
    ]
    looks = found[0]["looks"]
    ratios = np.array([[_number(value) for value in record["sharpness"]] for record in found])
    first = [next((r for r in row if math.isfinite(r)), math.nan) for row in ratios.tolist()]
    late = ratios[:, np.array(looks) >= steps / 2]
    curves = max((record["growth_steps"] for record in found), key=lambda each: each[-1])
    growth = [
        np.interp(
            curves,
            record["growth_steps"],
            [_number(value) for value in record["growth"]],
            right=math.nan,
        )
        for record in found
    ]
    row = RateRow(
        rate=rate,
        exponent=_mean([_number(record["exponent"]) for record in found], "ln of tangent growth over steps"),
        sharpness_start=_mean(first, "curvature over threshold at the start"),
        sharpness_ratio=_mean(
            late.mean(1).tolist() if late.size else [], "curvature over threshold in the second half"
        ),
        final_loss=_mean([_number(record["final_loss"]) for record in found], "last cycle of batches"),
        rises=_mean([_number(record["rises"]) for record in found], "share of steps"),
        time_to_target=_time(times, goal, setup, steps),
        failed_share=math.nan if math.isnan(goal) else sum(failed) / len(failed),
        verdicts=dict(kinds),
        dead_units=float(np.mean([record["dead_units"] for record in found])),
        sentence="",
        looks=tuple(looks),
        sharpness=tuple(_column_means(ratios)),
        growth=tuple(_column_means(np.array(growth))),
        growth_steps=tuple(curves),
    )
    return replace(row, sentence=_sentence(row, found, times))


def _column_means(rows: np.ndarray) -> list[float]:
    """Return means over the rows that are finite; NaN where none is."""
    there = np.isfinite(rows)
    counts = there.sum(0)
    sums = np.where(there, rows, 0.0).sum(0)
    return [float(total / count) if count else math.nan for total, count in zip(sums, counts, strict=True)]


def _sentence(row: RateRow, found: Sequence[Record], times: Sequence[float]) -> str:
    """Say which limit was passed, when, and what followed."""
    parts = []
    start, late = row.sharpness_start, row.sharpness_ratio
    above = [t for t, ratio in zip(row.looks, row.sharpness, strict=True) if ratio > 1]
    if start.determined:
        text = f"the sharpness starts at {start.value:.2g} times the threshold"
        if above and start.value <= 1:
            text += f", passes it by step {above[0]}"
        elif above and above[-1] < row.looks[-1]:
            text += f", is below it after step {above[-1]}"
        parts.append(text + (f" and averages {late.value:.2g} in the second half" if late.determined else ""))
    n = len(found)
    grown = [record["grown"] for record in found if record["grown"] is not None]
    if grown:
        parts.append(f"a small difference grows 1000-fold in {_of(len(grown), n)}, {_at(grown)}")
    if row.rises.determined and row.rises.value > 0.005:
        parts.append(f"the loss rises on {100 * row.rises.value:.0f} % of the steps")
    blown = [record["diverged"] for record in found if record["diverged"] is not None]
    if blown:
        parts.append(f"the loss diverges in {_of(len(blown), n)}, {_at(blown)}")
    dead = sum(_kind(record) == "dead" for record in found)
    if dead:
        parts.append(
            f"{_of(dead, n)} {'die' if n > 1 else 'dies'}: the outputs end the same for all inputs, and "
            f"{100 * row.dead_units:.0f} % of the units are constant"
        )
    if row.time_to_target.determined:
        parts.append(f"the target is reached after {row.time_to_target} steps")
    elif not math.isnan(row.failed_share) and any(math.isinf(at) for at in times):
        reached = [at for at in times if math.isfinite(at)]
        parts.append(f"the target is reached by {len(reached)} of {n}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else "Nothing happens."


def _of(count: int, total: int) -> str:
    return f"{count} of {total}" if total > 1 else "the only run"


def _at(steps: Sequence[int]) -> str:
    low, high = min(steps), max(steps)
    return f"at step {low}" if low == high else f"at steps {low} to {high}"


def _onset(limits: Sequence[tuple[float, float, str]], grid: Sequence[float], runs: _Runs) -> Estimate:
    """Return the mean of the rates at which the initialisations become chaotic, or why there is none."""
    within = f"within {runs.steps} steps"
    if not limits:
        return Estimate.not_determined("the budget ended before one initialisation was scanned")
    n = len(limits)
    below = sum(math.isnan(low) for low, _, _ in limits)
    above = sum(math.isnan(high) for _, high, _ in limits)
    dying = [(low, high) for low, high, kind in limits if kind == "dead"]
    if below:
        return Estimate.not_determined(
            f"the lowest rate, {grid[0]:g}, is not regular in {below} of {n} initialisations; scan lower",
            n=n - below,
        )
    if above:
        return Estimate.not_determined(
            f"{above} of {n} initialisations are regular {within} at all rates up to {grid[-1]:g}; "
            "scan higher ones",
            n=n - above,
        )
    if dying:
        return Estimate.not_determined(
            f"{len(dying)} of {n} networks die before they become chaotic, at rate "
            f"{min(math.sqrt(low * high) for low, high in dying):.3g}",
            n=n - len(dying),
        )
    values = [math.sqrt(low * high) for low, high, _ in limits]
    half = float(np.mean([(high - low) / 2 for low, high, _ in limits]))
    on = "" if runs.inputs is None else f" on {runs.inputs} inputs"
    method = f"smallest rate at which a tangent grows 1000-fold {within}{on}"
    if n == 1:
        return Estimate(values[0], half, f"{method}; one initialisation, error of the bisection alone", 1)
    found = Estimate.from_samples(values, method=f"{method}, mean over initialisations")
    return Estimate(found.value, math.hypot(found.error, half / math.sqrt(n)), found.method, n)


def _edge(of_rates: dict[float, dict[int, Record]]) -> Estimate:
    """Return the rate at which the sharpness at step 0 would meet the threshold."""
    edges: dict[int, float] = {}
    for rate, records in of_rates.items():
        for number, record in records.items():
            ratio = _number(record["sharpness"][0]) if record["sharpness"] else math.nan
            if number not in edges and ratio > 0:
                edges[number] = rate / ratio
    if not edges:
        return Estimate.not_determined(
            "the optimiser has no threshold at step 0, or the curvature is not positive"
        )
    return _mean(list(edges.values()), "rate whose threshold the sharpness at the start meets")


def _recommended(
    rows: Sequence[RateRow],
    of_rates: dict[float, dict[int, Record]],
    goal: float,
    setup: Trial,
    steps: int,
    missing: int,
    ceiling: tuple[float, str],
) -> tuple[Estimate, Estimate, str]:
    """Return the range of rates around the fastest that are about as fast, and why, in words."""

    def none(reason: str) -> tuple[Estimate, Estimate, str]:
        said = Estimate.not_determined(reason)
        return said, said, f"No rate is recommended: {reason}."

    if not rows:
        return none("the budget ended before the first run")
    if missing:
        return none(f"the budget ended before {missing} of {missing + len(rows)} rates were run once")
    if math.isnan(goal):
        return none(f"at no rate the {setup.score.name} is better after {steps} steps than at the start")
    aim = f"{setup.score.name} {'of' if setup.score.higher else 'down to'} {goal:.4g}"
    good = [row for row in rows if row.failed_share == 0 and row.time_to_target.determined]
    if not good:
        best = min(rows, key=lambda row: row.failed_share)
        return none(
            f"no rate brings all initialisations to {aim} within {steps} steps; the best, {best.rate:g}, "
            f"brings {1 - best.failed_share:.0%} of them there"
        )
    limit = f"at {ceiling[0]:.2g} a network {_ENDS.get(ceiling[1], '')}"
    good = [row for row in good if row.rate < ceiling[0]]
    if not good:
        return none(f"the rates that reach {aim} are too high: {limit}")
    if len(rows) == 1:
        return none(
            f"a single rate, {rows[0].rate:g}, has nothing to be compared with; it reaches {aim} after "
            f"{rows[0].time_to_target} steps"
        )
    best = min(good, key=lambda row: row.time_to_target.value)

    def as_fast(row: RateRow) -> bool:
        if row not in good:
            return False
        common = of_rates[row.rate].keys() & of_rates[best.rate].keys()
        gaps = [
            _reached(of_rates[row.rate][number], goal, setup)
            - _reached(of_rates[best.rate][number], goal, setup)
            for number in sorted(common)
        ]
        fastest = best.time_to_target.value
        noise = 2 * float(np.std(gaps, ddof=1)) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
        return float(np.mean(gaps)) <= min(max(_SLOWER * fastest, noise), fastest)

    first = last = rows.index(best)
    while first > 0 and as_fast(rows[first - 1]):
        first -= 1
    while last + 1 < len(rows) and as_fast(rows[last + 1]):
        last += 1
    below, above = rows[first - 1] if first else None, rows[last + 1] if last + 1 < len(rows) else None
    times = [row.time_to_target.value for row in rows[first : last + 1]]
    span = (
        f"{min(times):.0f} to {max(times):.0f}"
        if round(min(times)) < round(max(times))
        else f"{times[0]:.0f}"
    )
    count = len(of_rates[best.rate])
    everyone = {1: "the only initialisation", 2: "both initialisations"}.get(
        count, f"all {count} initialisations"
    )
    named = (
        f"Rates from {rows[first].rate:g} to {rows[last].rate:g} bring"
        if first < last
        else f"Rate {best.rate:g} brings"
    )
    said = [f"{named} {everyone} to {aim} in {span} steps"]
    if first < last:
        said[0] += f", fastest at {best.rate:g}"
    said.append(_neighbour(below, "lower", rows[0].rate))
    inner = rows[first].rate, rows[last].rate
    end = min(above.rate if above else math.inf, ceiling[0])
    if above is None or above.rate <= ceiling[0]:
        said.append(_neighbour(above, "higher", rows[-1].rate))
    else:
        said.append(limit[:1].upper() + limit[1:])
    gap_low = (inner[0] - below.rate) / 2 if below else math.nan
    gap_high = (end - inner[1]) / 2 if math.isfinite(end) else math.nan
    method = "measured time to the target; error from the spacing of the rates"
    return (
        Estimate(inner[0], gap_low, method, count),
        Estimate(inner[1], gap_high, method, count),
        ". ".join(said) + ".",
    )


_ENDS = {"dead": "dies", "diverged": "diverges"}


def _neighbour(row: RateRow | None, side: str, end: float) -> str:
    """Say why the range ends where it does."""
    if row is None:
        return f"No {side} rate than {end:g} was tried"
    if row.failed_share:
        worst = [kind for kind in ("diverged", "dead") if kind in row.verdicts]
        how = {"diverged": " diverge", "dead": " die"}[worst[0]] if worst else " do not reach it"
        return f"At {row.rate:g}, {row.failed_share:.0%} of them{how}"
    return f"At {row.rate:g} it takes {row.time_to_target} steps"


def _compared(runs: _Runs, grid: Sequence[float], goal: float, setup: Trial) -> dict[str, Suggestion]:
    """Return what the range test suggests, and how long training at it takes."""
    found = {}
    for name, key in (("steepest point", "steepest"), ("minimum / 10", "tenth")):
        rates = {number: runs.record("ramp", number, grid[0])[key] for number in runs.seeds}
        times = [
            math.inf if rate is None else _reached(runs.record("plain", number, rate), goal, setup)
            for number, rate in rates.items()
        ]
        found[name] = Suggestion(
            rate=together([_number(rate) for rate in rates.values()]),
            time_to_target=_time(times, goal, setup, runs.steps),
            failed_share=math.nan if math.isnan(goal) else sum(map(math.isinf, times)) / len(times),
        )
    return found


def _early_growth(rows: Sequence[RateRow], onset: float) -> str:
    """Say why differences grow at a rate that the sharpness at the start allows, as far as is known."""
    row = min(rows, key=lambda row: abs(math.log(row.rate / onset)))
    highest = max((value for value in row.sharpness if math.isfinite(value)), default=math.nan)
    if highest >= 1:
        return f"in training the sharpness rises, at rate {row.rate:g} to {highest:.2g} times the threshold."
    if math.isfinite(highest):
        return (
            f"the sharpness stays below the threshold, at rate {row.rate:g} at {highest:.2g} times it, "
            "so the growth comes from directions of negative curvature. It need not be chaos: ask for more "
            "steps."
        )
    return "the sharpness was not measured there."


def _findings(
    rows: Sequence[RateRow],
    onset: Estimate,
    edge: Estimate,
    suggested: dict[str, Suggestion],
    inputs: int | None,
) -> list[str]:
    """Return sentences on the limits and their order, dead networks, and the range test."""
    said: list[str] = []
    sets_in = "chaos sets in" if inputs is None else f"on {inputs} inputs, small differences grow 1000-fold"
    begins = sets_in[0].upper() + sets_in[1:]
    if onset.determined and edge.determined:
        factor = onset.value / edge.value
        if factor > 1.25:
            near = max(
                (row for row in rows if row.rate <= onset.value), key=lambda row: row.rate, default=None
            )
            why = ""
            if near is not None and near.sharpness_ratio.determined and near.sharpness_start.determined:
                why = (
                    f": at rate {near.rate:g} the sharpness falls from {near.sharpness_start.value:.2g} to "
                    f"{near.sharpness_ratio.value:.2g} times the threshold while training begins"
                )
            said.append(
                f"The sharpness at the start allows rates up to {edge}; {sets_in} {factor:.1f} times "
                f"higher, at {onset}{why}."
            )
        elif factor < 0.8:
            said.append(
                f"{begins} at {onset}, below the rate of {edge} that the sharpness at the start allows: "
                f"{_early_growth(rows, onset.value)}"
            )
        else:
            said.append(
                f"{begins} at {onset}, where the sharpness at the start meets the threshold ({edge})."
            )
    elif onset.determined:
        said.append(f"{begins} at {onset}.")
    else:
        said.append(f"The onset of chaos is not determined: {onset.reason}.")
    dead = [row.rate for row in rows if "dead" in row.verdicts]
    if dead:
        said.append(
            f"Networks die at {', '.join(f'{rate:g}' for rate in dead)}: a dead network shows no growth and "
            "looks stable, and learns nothing."
        )
    chaotic = [row for row in rows if row.verdict == "chaotic" and row.failed_share == 0]
    if chaotic:
        said.append(
            "Chaos alone does not spoil training here: all initialisations reach the target at "
            f"{', '.join(f'{row.rate:g}' for row in chaotic)}."
        )
    for name, each in suggested.items():
        rate = f"{each.rate}" if each.rate.determined else f"nothing definite ({each.rate.reason})"
        then = (
            f"the target takes {each.time_to_target} steps"
            if each.time_to_target.determined
            else each.time_to_target.reason
        )
        said.append(f"The range test, {name}, suggests {rate}; there {then}.")
    return said
