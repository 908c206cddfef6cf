"""Directed percolation without space: every site draws its parents at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from phasescope.errors import InputError
from phasescope.scaling.percolation import Start, density_dataset, is_probability, is_whole, recorded_times

# Numbers of active sites are binomial draws in 64 bits.
_LARGEST_SIZE = 10**18


def branching(
    p: float,
    size: int,
    steps: int,
    *,
    parents: int = 2,
    runs: int = 64,
    seed: int = 0,
    start: Start = "full",
    times: Sequence[int] | None = None,
) -> xr.Dataset:
    """Return density, mass and survival of bond percolation with random parents, the solved mean-field case.

    Every site draws `parents` sites of the row before, with repetition, and is active if at least one bond,
    open with probability `p`, leads to it from an active one. Given N active of `size` sites, the next N is
    binomial with probability ``f(N/size)``, ``f(x) = 1 - (1 - p x)^parents``. From all sites the density
    follows ``x -> f(x)``, with ``x ~ 2/((1 - 1/parents) t)`` at the critical ``p = 1/parents``. A seed is a
    branching process with Poisson offspring of mean ``m = parents p``: its mean mass is ``m^t``, and it
    survives with probability ``s -> 1 - exp(-m s)``. Both hold for `size` to infinity.

    Parameters
    ----------
    p : float
        Probability of an open bond.
    size : int
        Sites.
    steps : int
        Rows after the first.
    parents : int
        Sites drawn by each site, at least 2.
    runs : int
        Independent runs.
    seed : int
        The same seed gives the same runs.
    start : {"full", "seed"}
        All sites active, or one.
    times : sequence of int, optional
        Rows to record, increasing and from 0 to `steps`; by default about 20 a decade, from 1 on.

    Returns
    -------
    xr.Dataset
        ``mass``, ``density`` and ``survival`` with dimensions ``run`` and ``time``, as
        :func:`directed_percolation` returns them; without space there is no ``spread``.

    Raises
    ------
    InputError
        If an argument is outside its range.

    Notes
    -----
    Fluctuations show once the density nears ``size^(-1/2)``. Cost: one binomial number a row and run, 0.1 us.
    Source: derived here; Harris, The Theory of Branching Processes (1963), for the branching process.
    """
    if not is_probability(p):
        raise InputError(f"p = {p}.", "Give a probability between 0 and 1.")
    if not is_whole(parents) or parents < 2:
        raise InputError(
            f"parents = {parents}.", "Give a whole number; with fewer than 2 parents activity never spreads."
        )
    for name, value in (("size", size), ("steps", steps), ("runs", runs)):
        if not is_whole(value) or value < 1:
            raise InputError(f"{name} = {value}.", "Give a whole number, at least 1.")
    if size > _LARGEST_SIZE:
        raise InputError(f"size = {size}.", f"Give at most {_LARGEST_SIZE:.0e} sites.")
    if not is_whole(seed) or seed < 0:
        raise InputError(f"seed = {seed}.", "Give a whole number, not negative.")
    if start not in ("full", "seed"):
        raise InputError(f"start = {start!r}.", 'Use "full" or "seed".')
    recorded = recorded_times(times, steps)
    generator = np.random.default_rng(seed)
    active = np.full(runs, size if start == "full" else 1, dtype=np.int64)
    mass = np.empty((runs, recorded.size), dtype=np.int64)
    row = 0
    for column, target in enumerate(recorded):
        for _ in range(row, int(target)):
            active = generator.binomial(size, _next_density(active / size, p, parents))
        row = int(target)
        mass[:, column] = active
    attributes: dict[str, object] = {
        "p": p,
        "size": size,
        "parents": parents,
        "start": start,
        "seed": seed,
        "critical": 1 / parents,
    }
    return density_dataset(mass, recorded, size, attributes)


def _next_density(density: NDArray[np.float64], p: float, parents: int) -> NDArray[np.float64]:
    if p == 1:
        # log1p(-1) is -inf, which is right but warns.
        return np.asarray(1 - (1 - density) ** parents)
    return np.asarray(-np.expm1(parents * np.log1p(-p * density)))
