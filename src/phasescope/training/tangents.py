"""Lyapunov exponents of training: the rates at which infinitely small differences grow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.training.growth import kicked, rows_at_once, starting_states
from phasescope.training.maps import Map, TrainingMap

Array = NDArray[np.float64]

_IN_PLACE = 2**20  # entries of the tangents above which they are made orthogonal one by one, in place
_ROUNDINGS = 4.0  # a direction shorter than so many roundings of the longest is lost
_FEWEST_BLOCKS = 8
_METHOD = "mean over steps; error from blocks of steps, the largest over block lengths"


@dataclass(frozen=True)
class TangentExponents(Result):
    """Lyapunov exponents over a stretch of training; :func:`tangent_exponents` makes it.

    Arrays and tuples have a leading axis over initialisations where `x` had one.

    Parameters
    ----------
    start : int
        The first step.
    steps : int
        Steps that were followed.
    exponents : tuple of k Estimate
        Mean growth of the leading directions over all steps in 1/step, largest first; ``-inf`` where a step
        shrank a direction below rounding, so that it is lost.
    local : array of shape (steps, k)
        Logarithm of the growth of each direction in each step; their mean is the exponent. NaN after a
        divergence.
    loss : array of shape (steps,)
        Loss before each step; NaN for a map without a loss.
    diverged : int or None
        The step at which the state or the loss was no longer finite; None where all were.
    state : Tensor of shape (size,)
        The state after the last step.
    vectors : Tensor of shape (k, size)
        The orthonormal directions after the last step.
    """

    start: int
    steps: int
    exponents: Any
    local: Array = field(repr=False)
    loss: Array = field(repr=False)
    diverged: Any
    state: Tensor = field(repr=False)
    vectors: Tensor = field(repr=False)

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "benettin1980"

    @property
    def running(self) -> Array:
        """Exponents over the first 1, 2, ... steps, of the shape of `local`."""
        count = np.arange(1, self.local.shape[-2] + 1, dtype=np.float64)[:, None]
        return np.asarray(np.cumsum(self.local, axis=-2) / count)

    def over(self, first: int, last: int | None = None) -> Any:
        """Return the exponents over some of the steps, as `exponents` has them over all.

        Parameters
        ----------
        first, last : int
            Steps from `first` up to, not including, `last`, counted from the start of the measurement;
            negative ones from its end. The end by default.
        """
        rows = range(*slice(first, last).indices(self.steps))
        if not rows:
            raise InputError(
                f"No step lies from {first} to {last} of {self.steps}.", "Choose a stretch inside the run."
            )
        if self.local.ndim == 2:
            return _estimates(self.local, rows.start, rows.stop, self.diverged)
        return tuple(
            _estimates(each, rows.start, rows.stop, end)
            for each, end in zip(self.local, self.diverged, strict=True)
        )

    def __str__(self) -> str:
        head = f"tangent exponents over {self.steps} steps, 1/step: "
        if self.local.ndim == 2:
            return head + ", ".join(str(each) for each in self.exponents)
        first = [each[0].value for each in self.exponents if each[0].determined]
        return f"{head}{Estimate.from_samples(first)} over {len(first)} initialisations"


def tangent_exponents(
    map: Map,
    *,
    steps: int,
    k: int = 1,
    x: Tensor | None = None,
    start: int = 0,
    every: int = 1,
    weights_only: bool = False,
    seed: int = 0,
    max_memory: int | float | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TangentExponents:
    """Return the leading Lyapunov exponents of a stretch of training.

    Parameters
    ----------
    map : Map
        One step of training.
    steps : int
        Steps to follow.
    k : int
        Exponents, from the largest; at most the length of a state.
    x : Tensor of shape (size,) or (I, size), optional
        The state at step `start`, or one for each of `I` initialisations. By default the map's own start, run
        to step `start`.
    start : int
        The first step, which the map counts from.
    every : int
        Steps between two orthogonalisations. Growth is then known for blocks of so many steps and spread
        evenly over them. More than 1 saves time for many directions and loses those that shrink by more than
        rounding within a block.
    weights_only : bool
        Whether the directions start among the weights alone, without biases and without what the optimiser
        remembers, as the kicks of :func:`perturbation_growth` do.
    seed : int
        Of the random directions at the start.
    max_memory : int, float or str, optional
        Bytes, or text such as "2GB", that the initialisations advanced at once may take; 1 GB by default.
    progress : callable, optional
        ``progress(done, total)`` is called now and then, in units of one step of one chunk of
        initialisations.

    Returns
    -------
    TangentExponents
        Exponents, and the growth in each step.

    Raises
    ------
    InputError
        If `k`, `every` or the shape of `x` does not fit, or the first step is not finite.
    MemoryLimitError
        If one initialisation does not fit into `max_memory`.

    Notes
    -----
    ``lambda_i = (1/T) sum_t ln R_ii(t)``, with ``J_t Q_t = Q_(t+1) R(t)`` and `J_t` the derivative of step
    `t` (Benettin et al., Meccanica 15, 21 (1980); Shimada and Nagashima, Prog. Theor. Phys. 61, 1605 (1979)).
    There is no perturbation size and no saturation; float32 serves as well as float64. The first exponent is
    the growth of a random direction: over `T` steps it lies below the largest possible growth by about
    ``ln(size) / (2 T)``.

    The errors come from means over blocks of steps (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989)),
    the largest over block lengths with at least 8 blocks, which allows for correlation in time. They tell how
    much another stretch of the same kind would differ, not another initialisation; training that is not
    stationary has no such stretch. Under 16 steps there is no error.

    A step that shrinks a direction to less than four roundings of the longest one loses it: its derivative is
    singular (momentum 0, or a learning rate of exactly one over a curvature) or nearly so (the first step of
    Adam, where a gradient is tiny). That exponent is ``-inf``, and `local` is ``-inf`` in this step; a new
    random direction takes its place, so that later stretches can be read with :meth:`TangentExponents.over`.

    Cost: a gradient and `k` Hessian products a step. Memory for one large network: `k` states for the
    directions and 3 to 5.5 more, beside the activations of a gradient.
    """
    states, single = starting_states(map, x, start, steps)
    if not 1 <= k <= map.size:
        raise InputError(f"k = {k}; a state of this map has {map.size} entries.", "Pass 1 up to that many.")
    if every < 1:
        raise InputError(f"every = {every}.", "Pass at least 1.")
    chosen = kicked(map) if weights_only else torch.ones(map.size, dtype=torch.bool, device=states.device)
    if k > int(chosen.sum()):
        raise InputError(
            f"k = {k} directions cannot start among {int(chosen.sum())} weights.", "Lower k, or weights_only."
        )

    rows = 1
    if len(states) > 1:
        rows = rows_at_once(
            lambda n: map.tangent(
                states[:1].expand(n, -1).clone(), states.new_ones(n, k, map.size), start, overwrite=True
            ),
            len(states),
            1,
            max_memory,
            states.device.type,
        )
    local = np.full((len(states), steps, k), np.nan)
    loss = np.full((len(states), steps), np.nan)
    ends, directions = [], []
    for i in range(0, len(states), rows):
        some = slice(i, i + rows)
        generators = [torch.Generator().manual_seed(_mixed(seed, j)) for j in range(len(states))[some]]

        def report(done: int, before: int = i // rows * steps) -> None:
            if progress is not None:
                progress(before + done, -(-len(states) // rows) * steps)

        local[some], loss[some], end, vectors = _followed(
            map, states[some], k, chosen, generators, start, steps, every, report
        )
        ends.append(end)
        directions.append(vectors)
    final, vectors = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (ends, directions))

    broken = np.isnan(local).any(axis=-1)
    if isinstance(map, TrainingMap) or np.isfinite(loss[:, 0]).any():  # other maps may have no loss
        broken |= ~np.isfinite(loss)
    broken = np.logical_or.accumulate(broken, axis=1)
    local[broken], loss[broken] = np.nan, np.nan
    diverged = [int(each.argmax()) if each.any() else None for each in broken]
    if 0 in diverged:
        raise InputError(
            f"The loss, the state or its derivative is not finite at step {start}.",
            "Check the state, the data and the learning rate.",
        )
    exponents = tuple(_estimates(each, 0, steps, step) for each, step in zip(local, diverged, strict=True))
    return TangentExponents(
        start=start,
        steps=steps,
        exponents=exponents[0] if single else exponents,
        local=local[0] if single else local,
        loss=loss[0] if single else loss,
        diverged=diverged[0] if single else tuple(diverged),
        state=final[0] if single else final,
        vectors=vectors[0] if single else vectors,
    )


def _mixed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _followed(
    map: Map,
    states: Tensor,
    k: int,
    chosen: Tensor,
    generators: list[torch.Generator],
    start: int,
    steps: int,
    every: int,
    report: Callable[[int], None],
) -> tuple[Array, Array, Tensor, Tensor]:
    """Carry `k` directions along each run (i, N); return local growth, losses, last states and directions."""
    alone = len(states) == 1
    v = states.new_empty((len(states), k, map.size))
    for rows, generator in zip(v, generators, strict=True):
        for row in rows:
            row.copy_(torch.randn(map.size, generator=generator, dtype=row.dtype))
            row.mul_(chosen)
    _orthonormalise(v, generators)
    local = states.new_full((steps, len(states), k), math.nan, dtype=torch.float64)
    loss = states.new_full((steps, len(states)), math.nan, dtype=torch.float64)
    x, since = states, 0
    for s in range(steps):
        if alone:  # one state without an axis takes less memory
            moved, rows, value = map.tangent(x[0], v[0], start + s, overwrite=True)
            x, v, value = moved[None], rows[None], value[None]
        else:
            x, v, value = map.tangent(x, v, start + s, overwrite=True)
        loss[s] = value
        if (s + 1 - since) == every or s == steps - 1:
            local[since : s + 1] = _orthonormalise(v, generators) / (s + 1 - since)
            since = s + 1
        if s % 64 == 63:
            report(s + 1)
            if local[since - 1].isnan().all():
                break
    report(steps)
    return np.moveaxis(local.cpu().numpy(), 0, 1), loss.cpu().numpy().T, x, v


def _orthonormalise(v: Tensor, generators: list[torch.Generator]) -> Tensor:
    """Make the rows of `v` (i, k, N) orthonormal in place; return the logarithms of what they were long.

    A row that is no longer than rounding once its share along earlier rows is taken out gives ``-inf``, and a
    random direction takes its place.
    """
    eps = torch.finfo(v.dtype).eps
    lost = _ROUNDINGS * eps * torch.linalg.vector_norm(v, dim=-1).amax(dim=-1, keepdim=True).double()
    lengths = torch.full_like(v[..., 0], math.nan, dtype=torch.float64)
    rest = lost[:, 0].isfinite().nonzero().flatten()  # a run that diverged stays NaN
    if v.shape[1] * v.shape[2] <= _IN_PLACE and len(rest):
        if v.shape[1] == 1:
            found = torch.linalg.vector_norm(v[rest], dim=-1, keepdim=True)
            q, found = v[rest] / found, found[..., 0].double()
        else:
            turned, r = torch.linalg.qr(v[rest].mT)
            q, found = turned.mT, r.diagonal(dim1=-2, dim2=-1).abs().double()
        good = (found > lost[rest]).all(dim=-1)
        v[rest[good]], lengths[rest[good]] = q[good], found[good]
        rest = rest[~good]
    for i in rest.tolist():
        for j, row in enumerate(v[i]):
            length = _reduced(v[i, :j], row)
            if length <= lost[i, 0]:
                length = 0.0
                row.copy_(torch.randn(len(row), generator=generators[i], dtype=row.dtype))
                _reduced(v[i, :j], row)
            lengths[i, j] = length
    return lengths.log()


def _reduced(before: Tensor, row: Tensor) -> float:
    """Take a row's share along orthonormal ones out of it, in place; return its length, and make it 1."""
    for _ in range(2 if len(before) else 0):
        row.sub_(before.mT @ (before @ row))
    length = torch.linalg.vector_norm(row)
    row.div_(length)
    return float(length)


def _estimates(local: Array, first: int, last: int, diverged: int | None) -> tuple[Estimate, ...]:
    if diverged is not None:
        last = min(last, diverged)
        if last <= first:
            reason = f"the run diverged at step {diverged}"
            return tuple(Estimate.not_determined(reason, method=_METHOD) for _ in local.T)
    window = (float(first), float(last))
    return tuple(_mean(series[first:last], window) for series in local.T)


def _mean(series: Array, window: tuple[float, float]) -> Estimate:
    """Return the mean of a correlated series; the error is the largest over block lengths 1, 2, 4 ..."""
    value = float(series.mean())
    if not math.isfinite(value):
        return Estimate(
            value, 0.0, "the direction is lost: a step shrank it below rounding", len(series), window
        )
    errors = []
    blocks = series
    while len(blocks) >= _FEWEST_BLOCKS:
        errors.append(float(blocks.std(ddof=1)) / math.sqrt(len(blocks)))
        half = len(blocks) // 2
        blocks = blocks[: 2 * half].reshape(half, 2).mean(axis=1)
    if len(errors) < 2:
        method = f"mean over {len(series)} steps, too few for an error"
        return Estimate(value, math.nan, method, len(series), window)
    return Estimate(value, max(errors), _METHOD, len(series), window)
