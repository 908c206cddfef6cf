"""Whether a state remembers where it came from: a knob goes up and down, slower and slower."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.recording.recurrent import one_thread
from phasescope.results import Result

Array = NDArray[np.float64]
Verdict = Literal["bistable", "slow relaxation", "smooth", "not determined"]
_State = tuple[Tensor, ...]

_HELD = 8  # slowest dwells for which a state settles at first, and both branches are held in mid-loop
_SMALL = 0.01  # area, as a share of range times swing, that is no loop
_OPEN = 0.1  # gap at the first value, as a share of the largest, with which the loop is open
_MET, _LOST = 0.1, 0.5  # share of the gap that is left where the branches have met, or are about to
_STEADY = 0.9  # share that is left of the gap after 4 dwells
_RESTLESS = 0.25  # movement of a held state, as a share of the gap, that is more than rest
_SIGMAS = 3.0


@dataclass(frozen=True)
class HysteresisLoop(Result):
    """What ``hysteresis_loop`` measured.

    Parameters
    ----------
    values : array of shape (value,)
        Knob values, rising.
    dwells : tuple of int
        Steps spent at each value.
    up, down : array of shape (dwell, value, row, reading)
        Readings at the end of each dwell, on the way up and on the way down.
    areas : array of shape (dwell, row)
        Area between the two ways: root mean square over readings, integrated over the knob.
    area : Estimate
        Area in the limit of slow change.
    verdict : str
        "bistable", "slow relaxation", "smooth" or "not determined".
    reason : str
        The numbers behind the verdict, in one sentence.
    jump_up, jump_down : Estimate
        Knob values at which the state jumps, in the limit of slow change; not determined unless bistable.
    middle : float
        Knob value in mid-loop, at which both branches were held.
    kept : array of shape (9,)
        Distance between the two held branches after 0 to 8 of the slowest dwells.
    closed : bool
        Whether both ways agree at the first value; if not, the area is that of a part of the loop.
    """

    values: Array = field(repr=False)
    dwells: tuple[int, ...]
    up: Array = field(repr=False)
    down: Array = field(repr=False)
    areas: Array = field(repr=False)
    area: Estimate
    verdict: Verdict
    reason: str
    jump_up: Estimate
    jump_down: Estimate
    middle: float
    kept: Array = field(repr=False)
    closed: bool

    @property
    def width(self) -> Estimate:
        """Distance between the two jumps; not determined unless bistable."""
        return self.jump_up - self.jump_down

    @property
    def gap(self) -> Array:
        """Root mean square distance between the two ways, of shape (dwell, value, row)."""
        return _distance(self.up, self.down)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


def hysteresis_loop(
    step: Callable[[Any, Tensor], Any],
    state: Any,
    values: ArrayLike,
    *,
    dwells: Sequence[int] = (1, 2, 4, 8),
    read: Callable[[Any], Tensor] | None = None,
    kick: float = 1e-6,
    seed: int = 0,
) -> HysteresisLoop:
    r"""Return the loop that a state draws while a knob goes up and down, and whether it is a memory.

    The knob takes each of `values`, rising and then falling, and stays there for a number of steps, the
    dwell; the state is carried on throughout. With readings :math:`u_i` on the way up and :math:`w_i` on the
    way down, the area is :math:`A = \int \sqrt{\langle (u_i - w_i)^2 \rangle_i}\, dv`. A state that merely
    lags draws a loop as well, which closes as the dwell grows. So A is extrapolated from the two slowest
    dwells in :math:`d^{-2/3}`, the delay at a fold, and in :math:`d^{-1}`, that of a plain lag: the mean is
    the estimate, and the difference is part of its error.

    Parameters
    ----------
    step : callable
        ``step(state, value)`` returns the state one step later. `value` is a tensor of shape (rows, 1, ...),
        with as many axes as the first tensor of the state. Each row must go its own way: all dwells are run
        side by side as further rows.
    state : tensor or tuple of tensors
        Where the rows start, along the first axis: different initial states, seeds or patterns. The state
        may be anything, such as weights under a step of training.
    values : array of shape (value,)
        Knob values, rising, at least 3.
    dwells : sequence of int
        Steps at each value, rising, at least two.
    read : callable, optional
        ``read(state)`` returns the numbers that are compared, of shape (rows, ...); all of the state by
        default.
    kick : float
        Size of a fixed random change that is added to each state at each new value, so that a state that is
        at rest but unstable is left; 0 for none.
    seed : int
        Of the kicks.

    Returns
    -------
    HysteresisLoop
        Readings, areas, the area extrapolated, jumps and the verdict.

    Raises
    ------
    InputError
        If the values or dwells do not rise, or the state changes its shape.

    Notes
    -----
    *bistable*: the extrapolated area is more than 3 errors above 0, and in mid-loop, the knob held for 8 of
    the slowest dwells, the two states stay at rest and apart (at least half the gap is left, and 9/10 of what
    was left after half of the time). *slow relaxation*: the branches meet. *smooth*: even the fastest loop is
    below 1 % of the range of the knob times that of the state. Else *not determined*.

    The error of the area holds the difference of the two extrapolations, the scatter over rows, and the
    spacing of `values` at the jumps. Of two states that meet more slowly than the longest dwell times 50 this
    says bistable; a longer dwell tells. A chaotic or noisy state does not come to rest: not determined.

    Cost: ``(2 values + 16) * dwell`` calls of `step` for the slowest dwell, with rows times dwells as the
    batch. Memory: the readings, and the states of the slowest dwell.

    References
    ----------
    arXiv:2408.02326 (loops of curved networks); the exponent 2/3 is that of a swept fold, Jung, Gray, Roy and
    Mandel 1990, doi:10.1103/PhysRevLett.65.1873.

    Examples
    --------
    >>> import torch
    >>> def unit(h, bias):
    ...     return torch.tanh(2 * h + bias)
    >>> start = torch.zeros(1, 1, dtype=torch.float64)
    >>> loop = hysteresis_loop(unit, start, np.linspace(-1, 1, 201), dwells=(8, 16, 32))
    >>> loop.verdict
    'bistable'
    """
    knob, steps = _checked(values, dwells)
    start = _as_tuple(state)
    single = isinstance(state, Tensor)

    def advance(now: _State, value: Tensor) -> _State:
        after = _as_tuple(step(now[0] if single else now, value))
        if [t.shape for t in after] != [t.shape for t in now]:
            raise InputError(
                f"step turns a state of shape {[tuple(t.shape) for t in now]} into "
                f"{[tuple(t.shape) for t in after]}.",
                "Return a state like the one given.",
            )
        return after

    def reading(now: _State) -> Array:
        found = read(now[0] if single else now) if read else torch.cat([_flat(t) for t in now], dim=1)
        return _flat(found).detach().double().cpu().numpy()

    work = _Work(advance, reading, start, knob, steps, kick, seed)
    products = len(steps) * sum(t.numel() ** 2 // max(len(t), 1) for t in start)
    with one_thread(products):
        up, down = work.scan()
    areas = np.asarray(np.trapezoid(_distance(up, down), knob, axis=1))
    if not (np.isfinite(up).all() and np.isfinite(down).all()):
        reason = "the states are NaN or infinite"
        nothing, kept = Estimate.not_determined(reason), np.full(_HELD + 1, np.nan)
        rest = (nothing, nothing, math.nan, kept, False)
        return HysteresisLoop(knob, steps, up, down, areas, nothing, "not determined", reason, *rest)
    gap = _distance(up[-1], down[-1]).mean(axis=1)
    middle = int(np.searchsorted(np.cumsum(gap), gap.sum() / 2)) if gap.any() else len(knob) // 2
    with one_thread(products):
        kept, wander = work.hold(middle)
    area = _area(areas, up[-1], down[-1], knob, steps)
    readings = np.concatenate([up[-1], down[-1]])
    swing = float(np.sqrt((np.ptp(readings, axis=0) ** 2).mean(axis=-1)).mean())
    whole = float(knob[-1] - knob[0]) * swing
    verdict, reason = _verdict(area, float(areas[0].mean()), whole, kept, wander, float(knob[middle]))
    if verdict == "bistable":
        jumps = [_jump(branch, knob, steps) for branch in (up, down)]
    else:
        jumps = [Estimate.not_determined(f"no jump was proved: {verdict}")] * 2
    closed = bool(gap[0] <= _OPEN * gap.max())
    loop = (areas, area, verdict, reason, jumps[0], jumps[1], float(knob[middle]), kept, closed)
    return HysteresisLoop(knob, steps, up, down, *loop)


def _checked(values: ArrayLike, dwells: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    knob, steps = np.array(values, dtype=np.float64), tuple(int(d) for d in dwells)
    if knob.ndim != 1 or len(knob) < 3 or not np.isfinite(knob).all() or (np.diff(knob) <= 0).any():
        raise InputError(
            f"The knob has {knob.size} values that do not rise.", "Give at least 3 finite numbers, rising."
        )
    if len(steps) < 2 or steps[0] < 1 or any(a >= b for a, b in pairwise(steps)):
        raise InputError(f"dwells are {tuple(dwells)}.", "Give at least two whole numbers from 1, rising.")
    return knob, steps


def _as_tuple(state: Any) -> _State:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _flat(tensor: Tensor) -> Tensor:
    return tensor.reshape(len(tensor), -1)


def _distance(one: Array, other: Array) -> Array:
    """Return the root mean square over the last axis."""
    with np.errstate(invalid="ignore", over="ignore"):  # of states that are infinite
        return np.asarray(np.sqrt(np.square(one - other).mean(axis=-1)))


class _Work:
    """A state that is taken along the knob, all dwells side by side."""

    def __init__(
        self,
        advance: Callable[[_State, Tensor], _State],
        reading: Callable[[_State], Array],
        start: _State,
        knob: Array,
        dwells: tuple[int, ...],
        kick: float,
        seed: int,
    ) -> None:
        self.advance, self.reading, self.start = advance, reading, start
        self.path, self.dwells = np.concatenate([knob, knob[::-1]]), dwells
        self.rows = len(start[0])
        generator = torch.Generator().manual_seed(seed)
        self.kicks = kick != 0
        self.kick = tuple(
            kick * torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in start
        )
        self.slowest: list[_State] = []  # at the end of each dwell

    def scan(self) -> tuple[Array, Array]:
        """Return the readings on the way up and on the way down, of shape (dwell, value, row, reading)."""
        state = self.start
        for number in range(_HELD * self.dwells[-1]):
            if number % self.dwells[-1] == 0:
                state = self._kicked(state, [True])
            state = self.advance(state, self._column([self.path[0]]))
        # The slowest first: those that have arrived are then cut off the end.
        order, values, rows = self.dwells[::-1], len(self.path), self.rows
        state = tuple(t.repeat(len(order), *(1,) * (t.ndim - 1)) for t in state)
        readings: list[list[Array]] = [[] for _ in order]
        for number in range(values * order[0]):
            under_way = [dwell for dwell in order if number < values * dwell]
            if len(under_way) * rows < len(state[0]):
                state = tuple(t[: len(under_way) * rows] for t in state)
            state = self._kicked(state, [number % dwell == 0 for dwell in under_way])
            state = self.advance(state, self._column([self.path[number // dwell] for dwell in under_way]))
            ready = [number % dwell == dwell - 1 for dwell in under_way]
            if any(ready):
                now = self.reading(state)
            for place in np.flatnonzero(ready):
                readings[place].append(now[place * rows : (place + 1) * rows])
            if ready[0]:
                self.slowest.append(tuple(t[:rows].clone() for t in state))
        found, half = np.array(readings[::-1]), values // 2
        return found[:, :half], found[:, half:][:, ::-1]

    def hold(self, middle: int) -> tuple[Array, float]:
        """Return how far apart the branches stay at one value, and how much they still move, in the end."""
        ends = self.slowest[middle], self.slowest[-1 - middle]
        state = tuple(torch.cat(both) for both in zip(*ends, strict=True))
        dwell = self.dwells[-1]
        apart, late = [self._apart(self.reading(state))], []
        for number in range(_HELD * dwell):
            if number % dwell == 0:
                state = self._kicked(state, [True, True])
            state = self.advance(state, self._column([self.path[middle]] * 2))
            if number >= _HELD * dwell // 2:
                late.append(self.reading(state))
            if number % dwell == dwell - 1:
                apart.append(self._apart(self.reading(state)))
        return np.array(apart), float(np.sqrt(np.var(late, axis=0).mean()))

    def _apart(self, readings: Array) -> float:
        return float(_distance(readings[: self.rows], readings[self.rows :]).mean())

    def _kicked(self, state: _State, which: list[bool]) -> _State:
        if not self.kicks or not any(which):
            return state
        changed = []
        for tensor, kick in zip(state, self.kick, strict=True):
            mask = torch.tensor(which, device=kick.device).view(-1, *(1,) * kick.ndim)
            changed.append(tensor + (mask * kick).reshape(tensor.shape))
        return tuple(changed)

    def _column(self, values: Sequence[float]) -> Tensor:
        """Return the knob of each row, as many for each of `values` as there are rows at the start."""
        first = self.start[0]
        column = torch.from_numpy(np.repeat(np.array(values), self.rows)).to(first)
        return column.view(-1, *(1,) * (first.ndim - 1))


def _limit(over_dwells: Array, dwells: Sequence[int]) -> tuple[Array, Array, float]:
    """Return the limit of slow change, by how much the two powers differ, and the gain of random errors."""
    (faster, slower), ratio = over_dwells[-2:], dwells[-1] / dwells[-2]
    gains = [1 / (ratio**power - 1) for power in (2 / 3, 1.0)]
    gain = (gains[0] + gains[1]) / 2
    difference = slower - faster
    return slower + gain * difference, np.abs((gains[0] - gains[1]) * difference), math.hypot(1 + gain, gain)


def _scatter(rows: Array) -> float:
    return float(rows.std(ddof=1) / math.sqrt(len(rows))) if len(rows) > 1 else 0.0


def _area(areas: Array, up: Array, down: Array, knob: Array, dwells: tuple[int, ...]) -> Estimate:
    limits, spread, gain = _limit(areas, dwells)
    steps = [_distance(branch[1:], branch[:-1]) * np.diff(knob)[:, None] for branch in (up, down)]
    # A jump may lie anywhere in its step of the knob.
    grid = math.hypot(*(step.max(axis=0).mean() for step in steps)) / math.sqrt(12)
    error = math.hypot(float(spread.mean()), _scatter(limits), gain * grid)
    method = "mean of two extrapolations in the dwell; error: their difference, rows and spacing"
    return Estimate(float(limits.mean()), error, method, len(limits), (dwells[-2], dwells[-1]))


def _jump(branch: Array, knob: Array, dwells: tuple[int, ...]) -> Estimate:
    """Return where a branch jumps: the middle of the step of the knob in which it changes most."""
    size = _distance(branch[:, 1:], branch[:, :-1])
    places = ((knob[1:] + knob[:-1]) / 2)[size.argmax(axis=1)]
    limits, spread, gain = _limit(places, dwells)
    grid = float(np.diff(knob)[size[-1].argmax(axis=0)].mean()) / math.sqrt(12)
    error = math.hypot(float(spread.mean()), _scatter(limits), gain * grid)
    return Estimate(float(limits.mean()), error, "largest change, extrapolated in the dwell", len(limits))


def _verdict(
    area: Estimate, fastest: float, whole: float, kept: Array, wander: float, middle: float
) -> tuple[Verdict, str]:
    left = kept[-1] / kept[0] if kept[0] > 0 else 0.0
    held = f"with the knob held at {middle:.4g}, {100 * left:.0f} % of the gap is left after {_HELD} dwells"
    words = f"area {area} in the limit of slow change; {held}"
    if fastest <= _SMALL * whole:
        return "smooth", f"area {fastest:.3g} at the fastest dwell, below 1 % of {whole:.3g}"
    if left >= _MET and wander > _RESTLESS * kept[-1]:
        return "not determined", f"{words}, but the states do not come to rest"
    if left < _LOST:
        return "slow relaxation", words
    if kept[-1] < _STEADY * kept[_HELD // 2]:
        return "not determined", f"{words}, and it is still closing"
    if area.value > _SIGMAS * area.error:
        return "bistable", words
    return "not determined", f"{words}: both stay apart, but the area is within 3 errors of 0"
