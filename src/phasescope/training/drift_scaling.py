"""How far training moves networks of several widths and depths: power laws with errors over seeds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.training.lazy import lazy_or_rich

Array = NDArray[np.float64]

_FLAT, _SHARP = 0.05, 0.03  # largest slope, and largest error, of a coordinate that does not change


@dataclass(frozen=True)
class PowerLaw(Result):
    """``ln y = constant + width ln n + depth ln L``, fitted for each seed; the errors are over seeds.

    Parameters
    ----------
    constant, width, depth : Estimate
        Not determined where all widths, or all depths, are equal.
    """

    constant: Estimate
    width: Estimate
    depth: Estimate

    def __str__(self) -> str:
        return f"width {self.width}, depth {self.depth}"


@dataclass(frozen=True)
class CoordinateSlope(Result):
    """Whether training moves the units of a layer by as much at each width.

    Parameters
    ----------
    slope : Estimate
        Of ``ln rms(h_T - h_0)`` against the logarithm of the width.
    verdict : {"flat", "grows", "shrinks", "not determined"}
        Flat needs a slope within 0.05 of zero and an error below 0.03; the others, a slope two errors beyond
        0.05.
    """

    slope: Estimate
    verdict: Literal["flat", "grows", "shrinks", "not determined"]


@dataclass(frozen=True)
class DriftScaling(Result):
    """What width and depth do to the movement of training; :func:`drift_scaling` makes it.

    Parameters
    ----------
    widths, depths : tuple of int
        As passed.
    drift, gap, flips : PowerLaw
        Of the drift of the tangent kernel, the gap to the linearised network and the share of gates that
        flipped, the mean over layers of gates.
    coordinates : dict of str to CoordinateSlope
        By the name of a layer, of those that networks of all depths have.
    drifts, gaps, shares : array of shape (widths, depths, seeds)
        The measured values; NaN where not determined.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    drift: PowerLaw
    gap: PowerLaw
    flips: PowerLaw
    coordinates: dict[str, CoordinateSlope]
    drifts: Array = field(repr=False)
    gaps: Array = field(repr=False)
    shares: Array = field(repr=False)

    def __str__(self) -> str:
        return f"drift: {self.drift}; gap: {self.gap}"


def drift_scaling(
    factory: Callable[[int, int, int], nn.Module],
    widths: Sequence[int],
    depths: Sequence[int],
    train: Callable[[nn.Module, int, int, int], object],
    batch: Any,
    *,
    seeds: int = 4,
    seed: int = 0,
    max_memory: int | float | str | None = None,
) -> DriftScaling:
    """Return how drift, gap and flips of trained networks scale with width and depth.

    Parameters
    ----------
    factory : callable
        ``factory(width, depth, seed)`` returns an untrained network.
    widths, depths : sequence of int
        All pairs are trained.
    train : callable
        ``train(model, width, depth, seed)`` trains that network in place, with the learning rate that belongs
        to its size. Training to the same loss, rather than for as many steps, keeps sizes comparable.
    batch : tensor, sequence or mapping of tensors
        Inputs on which kernels and outputs are compared.
    seeds : int
        Networks of each size, at least 2.
    seed : int
        The first of the seeds.
    max_memory : int, float or str, optional
        As :func:`lazy_or_rich` takes it.

    Returns
    -------
    DriftScaling
        Power laws ``ln y = a + b ln n + c ln L``, and a slope of what each layer moved.

    Raises
    ------
    InputError
        If there are fewer than 2 seeds, or a width or depth is below 1.

    Notes
    -----
    The expected exponents of the drift are b = -(1-s) and c = 1 while ``L n^(s-1)`` is small, for smooth
    activations. Gates of ReLU that flip add noise of ``n^(-1/2-(1-s)/4)`` (derived here). It leads where
    ``sqrt(share of flips / n)`` exceeds the rest of the drift: there expect -3/4 at s = 0, not -1.

    Each seed gives one fit; the error is the standard error over seeds, itself uncertain for few of them.
    Cost: all trainings, and one ``lazy_or_rich`` each.

    Source: the family of scalings: Yaida, arXiv:2210.04909; the check of coordinates: Yang et al.,
    arXiv:2203.03466.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> def network(width, depth, seed):
    ...     torch.manual_seed(seed)
    ...     return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))
    >>> def train(model, width, depth, seed):
    ...     with torch.no_grad():
    ...         model[0].weight += 1 / width
    >>> found = drift_scaling(network, [16, 64], [1], train, torch.randn(6, 2), seeds=2)
    >>> found.drift.width.value < 0
    True
    """
    if seeds < 2:
        raise InputError(f"seeds is {seeds}.", "Pass at least 2, for an error.")
    for name, sizes in (("width", widths), ("depth", depths)):
        if not len(sizes) or min(sizes) < 1:
            raise InputError(f"The {name}s are {list(sizes)}.", "Pass numbers of at least 1.")
    shape = (len(widths), len(depths), seeds)
    drifts, gaps, shares = (np.full(shape, np.nan) for _ in range(3))
    moved: dict[str, Array] = {}
    for place in np.ndindex(shape):
        width, depth, number = widths[place[0]], depths[place[1]], seed + place[2]
        model = factory(width, depth, number)
        before = copy.deepcopy(model.state_dict())
        train(model, width, depth, number)
        found = lazy_or_rich(before, model, batch, seed=number, max_memory=max_memory)
        drifts[place], gaps[place] = found.drift.value, found.gap.value
        flips = [layer.flips.value for layer in found.layers if layer.flips.determined]
        shares[place] = np.mean(flips) if flips else np.nan
        for layer in found.layers:
            if layer.coordinate.determined:
                moved.setdefault(layer.layer.name, np.full(shape, np.nan))[place] = layer.coordinate.value
    coordinates = {
        name: _check(_law(widths, depths, values).width)
        for name, values in moved.items()
        if np.isfinite(values).all()
    }
    laws = [_law(widths, depths, values) for values in (drifts, gaps, shares)]
    return DriftScaling(
        tuple(widths), tuple(depths), laws[0], laws[1], laws[2], coordinates, drifts, gaps, shares
    )


def _law(widths: Sequence[int], depths: Sequence[int], values: Array) -> PowerLaw:
    n, length = np.meshgrid(np.log(widths), np.log(depths), indexing="ij")
    columns = {"constant": np.ones(n.size), "width": n.ravel(), "depth": length.ravel()}
    varying = [name for name, column in columns.items() if name == "constant" or np.ptp(column) > 0]
    matrix = np.stack([columns[name] for name in varying], 1)
    usable = np.isfinite(values) & (values > 0)
    found = {
        name: Estimate.not_determined(f"all {name}s are equal") for name in columns if name not in varying
    }
    if not usable.all():
        reason = f"{int((~usable).sum())} of {values.size} networks have no value above zero"
        return PowerLaw(*(found.get(name, Estimate.not_determined(reason)) for name in columns))
    fits = np.linalg.lstsq(matrix, np.log(values).reshape(-1, values.shape[2]), rcond=None)[0]
    method = f"fit over {n.size} sizes, mean over seeds"
    found |= {name: Estimate.from_samples(fits[i], method=method) for i, name in enumerate(varying)}
    return PowerLaw(*(found[name] for name in columns))


def _check(slope: Estimate) -> CoordinateSlope:
    if not slope.determined:
        return CoordinateSlope(slope, "not determined")
    if abs(slope.value) < _FLAT and slope.error < _SHARP:
        return CoordinateSlope(slope, "flat")
    if abs(slope.value) - 2 * slope.error > _FLAT:
        return CoordinateSlope(slope, "grows" if math.copysign(1, slope.value) > 0 else "shrinks")
    return CoordinateSlope(slope, "not determined")
