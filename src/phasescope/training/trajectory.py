"""A training run as one network that moves: how far, how straight, and when it comes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.memory import in_bytes
from phasescope.results import Result
from phasescope.training.growth import starting_states
from phasescope.training.maps import Map, StepMap, TrainingMap

Array = NDArray[np.float64]

_SNAPSHOTS = 200
_LIMIT = 1e9  # bytes of snapshots that are kept where the caller sets no limit
_BLOCK = 2**22  # entries of the snapshots that are compared at once


@dataclass(frozen=True)
class Trajectory(Result):
    """The path of a network through training; :func:`trajectory` makes it.

    Lengths are in the unit of the weights, and those of whole networks are sums over weights and biases.

    Parameters
    ----------
    start : int
        The first step.
    steps : int
        Steps that were followed.
    displacement : array of shape (n,)
        ``|w(T) - w(0)|`` of each weight.
    path : array of shape (n,)
        ``sum_t |w(t + 1) - w(t)|`` of each weight.
    displaced : array of shape (steps + 1,)
        ``|w(t) - w(0)|`` of the whole network.
    travelled : array of shape (steps + 1,)
        Path length of the whole network up to each step.
    loss : array of shape (steps,)
        Loss before each step; NaN for a map without a loss.
    times : array of int of shape (S,)
        Steps, counted from the start of the run, at which the network was kept.
    networks : Tensor of shape (S, n)
        The weights at these steps.
    strength : dict of str to array of shape (S,)
        Sum of absolute values of each parameter at these steps.
    into : dict of str to array of shape (S, out)
        Strength of each neuron: the sum of the absolute weights that lead into it. For each parameter of two
        or more dimensions, of which the first counts the neurons.
    out_of : dict of str to array of shape (S, in)
        Sum of the absolute weights that lead out of each neuron of the layer before.
    diverged : int or None
        The step at which a weight or the loss was no longer finite, and before which everything here ends;
        None where all were.
    slices : dict of str to slice
        Place of each parameter in `displacement`, `path` and `networks`.
    """

    start: int
    steps: int
    displacement: Array = field(repr=False)
    path: Array = field(repr=False)
    displaced: Array = field(repr=False)
    travelled: Array = field(repr=False)
    loss: Array = field(repr=False)
    times: NDArray[np.int64] = field(repr=False)
    networks: Tensor = field(repr=False)
    strength: dict[str, Array] = field(repr=False)
    into: dict[str, Array] = field(repr=False)
    out_of: dict[str, Array] = field(repr=False)
    diverged: int | None
    slices: dict[str, slice] = field(repr=False)

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "danovski2024"

    @property
    def straightness(self) -> float:
        """Displacement over path length of the whole network: 1 for monotone weights, 0 for a closed loop."""
        moved = float(self.path.sum())
        return float(self.displacement.sum()) / moved if moved > 0 else math.nan

    @property
    def straightness_of_weights(self) -> Array:
        """Displacement over path length of each weight, (n,); NaN for one that never moved."""
        moved = self.path > 0
        ratio = np.full_like(self.path, np.nan)
        np.divide(self.displacement, self.path, out=ratio, where=moved)
        return ratio

    def distances(self, norm: float = 1.0) -> Array:
        """Return how far apart the kept networks are, as :func:`recurrence` takes it.

        Parameters
        ----------
        norm : float
            1 for the sum of absolute differences, 2 for the Euclidean distance, any ``p >= 1``.

        Returns
        -------
        array of shape (S, S)
            In the unit of the weights; exactly symmetric, and 0 on the diagonal.
        """
        if not 1 <= norm < math.inf:
            raise InputError(f"norm = {norm!r}.", "Pass a finite number of at least 1, such as 1 or 2.")
        total = self.networks.new_zeros((len(self.times), len(self.times)), dtype=torch.float64)
        for block in torch.split(self.networks, max(1, _BLOCK // len(self.times)), dim=1):
            for row, place in zip(block, total, strict=True):  # differences, so that equal networks give 0
                place += (block - row).abs().pow(norm).sum(-1) if norm != 1 else (block - row).abs().sum(-1)
        distance = total.cpu().numpy() ** (1 / norm)
        return np.asarray((distance + distance.T) / 2)

    def autocorrelation(self, lags: int | None = None) -> Array:
        """Return the autocorrelation of the whole network in time.

        Parameters
        ----------
        lags : int, optional
            Largest lag, in units of the spacing of `times`; half of the kept networks by default.

        Returns
        -------
        array of shape (lags + 1,)
            ``C(l) = mean_s (w(s) - m).(w(s + l) - m) / mean_s |w(s) - m|^2``, `m` the mean of the kept
            networks; 1 at lag 0, NaN for a network that never moved.

        Raises
        ------
        InputError
            If the kept networks are not evenly spaced, or `lags` is out of range.

        Notes
        -----
        A period shows as peaks at its multiples; a drift, as a slow decline that crosses zero, since the mean
        is that of the stretch itself.
        """
        count = len(self.times)
        wanted = count // 2 if lags is None else lags
        if not 0 <= wanted < count:
            raise InputError(f"lags = {lags} with {count} kept networks.", f"Pass 0 to {count - 1}.")
        if len(set(np.diff(self.times).tolist())) > 1:
            raise InputError("The kept networks are not evenly spaced.", "Pass evenly spaced times.")
        gram = self.networks.new_zeros((count, count), dtype=torch.float64)
        for block in torch.split(self.networks, max(1, _BLOCK // count), dim=1):
            centred = block.double() - block.double().mean(0)
            gram += centred @ centred.mT
        products = gram.cpu().numpy()
        variance = np.trace(products) / count
        if not variance > 0:
            return np.full(wanted + 1, np.nan)
        return np.array([np.diagonal(products, lag).mean() / variance for lag in range(wanted + 1)])

    def __str__(self) -> str:
        end = "" if self.diverged is None else f", diverged at step {self.diverged}"
        return (
            f"trajectory over {self.steps} steps{end}: path {self.path.sum():.4g}, displacement "
            f"{self.displacement.sum():.4g}, straightness {self.straightness:.3f}"
        )


def trajectory(
    map: Map,
    *,
    steps: int,
    x: Tensor | None = None,
    start: int = 0,
    times: Sequence[int] | None = None,
    max_memory: int | float | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Return how a network moves during training: path, displacement, strengths, and the networks on the way.

    Parameters
    ----------
    map : Map
        One step of training.
    steps : int
        Steps to follow.
    x : Tensor of shape (size,), optional
        The state at step `start`. By default the map's own start, run to step `start`.
    start : int
        The first step, which the map counts from.
    times : sequence of int, optional
        Steps, counted from the start of the run (0 to `steps`), at which the network is kept. By default
        evenly spaced, at most 200 and as many as `max_memory` allows.
    max_memory : int, float or str, optional
        Bytes, or text such as "2GB", that the kept networks may take; 1 GB by default.
    progress : callable, optional
        ``progress(done, total)`` is called now and then, in steps.

    Returns
    -------
    Trajectory
        The path and what lies on it.

    Raises
    ------
    InputError
        If `x` is not one finite state of the map, `times` lie outside the run, or the first step is not
        finite.
    MemoryLimitError
        If the networks at `times`, or two of them, do not fit into `max_memory`.

    Notes
    -----
    ``straightness = sum_i |w_i(T) - w_i(0)| / sum_i sum_t |w_i(t + 1) - w_i(t)|``. A weight that drifts has
    displacement in proportion to its path; one that walks at random has less (arXiv:2404.05782, section 3).

    Cost: one gradient a step. Memory: the kept networks and five more vectors, whatever `steps` is.
    """
    states, single = starting_states(map, x, start, steps)
    if not single:
        raise InputError(f"x holds {len(states)} states.", "Pass one; call once for each initialisation.")
    state = states[0]
    kept = _times(map, steps, times, max_memory)
    places = {t: i for i, t in enumerate(kept)}

    first = map.weights_of(state).clone()
    before, path = first, torch.zeros_like(first)
    networks = first.new_empty((len(kept), map.weights))
    displaced, travelled = np.full(steps + 1, np.nan), np.full(steps + 1, np.nan)
    loss = np.full(steps, np.nan)
    displaced[0] = travelled[0] = 0.0
    if 0 in places:
        networks[places[0]] = first
    has_loss = isinstance(map, TrainingMap) or bool(map.loss(map.initial, 0).isfinite())
    diverged = None
    for s in range(steps):
        state, value = map.advance(state, start + s)
        w = map.weights_of(state)
        if has_loss and not value.isfinite():
            diverged = s
            break
        loss[s] = float(value)
        moved = (w - before).abs()
        if not moved.isfinite().all():
            diverged = s + 1
            break
        path += moved
        travelled[s + 1] = travelled[s] + float(moved.sum())
        displaced[s + 1] = float((w - first).abs().sum())
        if s + 1 in places:
            networks[places[s + 1]] = w
        before = w.clone()  # a view would keep the whole state alive
        if progress is not None and (s % 64 == 63 or s == steps - 1):
            progress(s + 1, steps)
    if diverged == 0:
        raise InputError(
            f"The loss at step {start} is not finite.", "Check the state, the data and the learning rate."
        )
    if diverged is not None:
        kept = [t for t in kept if t < diverged]
        networks = networks[: len(kept)]
    strength, into, out_of = _strengths(map, networks)
    return Trajectory(
        start=start,
        steps=steps,
        displacement=(before - first).abs().double().cpu().numpy(),
        path=path.double().cpu().numpy(),
        displaced=displaced,
        travelled=travelled,
        loss=loss,
        times=np.array(kept, dtype=np.int64),
        networks=networks,
        strength=strength,
        into=into,
        out_of=out_of,
        diverged=diverged,
        slices=map.slices,
    )


def _times(
    map: Map, steps: int, times: Sequence[int] | None, max_memory: int | float | str | None
) -> list[int]:
    limit = _LIMIT if max_memory is None else in_bytes(max_memory)
    each = map.weights * map.initial.element_size()
    if times is None:
        most = min(_SNAPSHOTS, int(limit / each))
        if most >= 2:
            return list(range(0, steps + 1, -(-steps // (most - 1))))
        kept = [0, steps]
    else:
        kept = sorted({int(t) for t in times})
        if not kept or kept[0] < 0 or kept[-1] > steps:
            raise InputError(
                f"times = {list(times)[:5]} of a run of {steps} steps.", f"Pass steps from 0 to {steps}."
            )
    if len(kept) * each > limit:
        raise MemoryLimitError(
            f"{len(kept)} networks take {len(kept) * each / 1e6:.3g} MB, more than max_memory = "
            f"{limit / 1e6:.3g} MB. Raise max_memory, or pass fewer times."
        )
    return kept


def _strengths(map: Map, networks: Tensor) -> tuple[dict[str, Array], dict[str, Array], dict[str, Array]]:
    """Return sums of absolute weights: of each parameter, into each neuron, and out of each."""
    strength, into, out_of = {}, {}, {}
    shapes = _shapes(map)
    for name, place in map.slices.items():
        size = networks[:, place].abs().double()
        strength[name] = size.sum(-1).cpu().numpy()
        if len(shapes[name]) > 1:
            table = size.reshape(len(networks), *shapes[name][:2], -1).sum(-1)
            into[name] = table.sum(2).cpu().numpy()
            out_of[name] = table.sum(1).cpu().numpy()
    return strength, into, out_of


def _shapes(map: Map) -> dict[str, torch.Size]:
    if isinstance(map, TrainingMap):
        return map.objective.shapes
    if isinstance(map, StepMap):
        leaves = _pytree.tree_leaves(map.tree(map.initial))
        return dict(zip(map.slices, (each.shape for each in leaves), strict=True))
    return {name: torch.Size([place.stop - place.start]) for name, place in map.slices.items()}
