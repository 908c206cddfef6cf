"""How many directions in the space of weights a loss does not see: those of its manifold of minima."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.recording.memory import in_bytes
from phasescope.results import Result
from phasescope.training.curvature import curvature
from phasescope.training.density import SpectralDensity, all_eigenvalues, exact_density, probed_density
from phasescope.training.maps import Map
from phasescope.training.objective import Objective

Array = NDArray[np.float64]

_LIMIT = 1e9  # bytes where the caller sets no limit
_MATRICES = 4  # of n x n numbers that the exact spectrum takes at once


@dataclass(frozen=True)
class FlatDirections(Result):
    """Numbers of flat, rising and falling directions of a loss; :func:`flat_directions` makes it.

    Parameters
    ----------
    flat : Estimate
        Directions whose multiplier lies within `tolerance` of 1.
    rising : Estimate
        Directions along which the loss curves upwards by more.
    falling : Estimate
        Directions along which it curves downwards by more. The three sum to `size`.
    tolerance : float
        As passed.
    size : int
        Number n of trained parameters.
    exact : bool
        Whether all eigenvalues were found, so that the errors are zero.
    density : SpectralDensity
        Distribution of ``1 - multiplier`` for a map, of the curvature for an objective.
    t : int
        The step.
    products : int
        Products with the Hessian that it took.
    """

    flat: Estimate
    rising: Estimate
    falling: Estimate
    tolerance: float
    size: int
    exact: bool
    density: SpectralDensity = field(repr=False)
    t: int
    products: int

    @property
    def share(self) -> Estimate:
        """Share of directions that are flat."""
        return self.flat / self.size

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "danovski2024" if self.exact else "danovski2024 ghorbani2019"

    def __str__(self) -> str:
        return (
            f"{self.flat} of {self.size} directions flat to {self.tolerance:g}; "
            f"rising: {self.rising}, falling: {self.falling}"
        )


def flat_directions(
    map_or_objective: Map | Objective,
    x: Tensor | None = None,
    *,
    t: int = 0,
    tolerance: float = 1e-3,
    largest_exact: int = 2000,
    probes: int = 10,
    steps: int = 100,
    seed: int = 0,
    max_memory: int | float | str | None = None,
) -> FlatDirections:
    """Return how many directions of the weights one step of training leaves as they are.

    Parameters
    ----------
    map_or_objective : TrainingMap or Objective
        A step of an optimiser, or a loss alone.
    x : Tensor of shape (size,), optional
        Where: a state of the map, or weights of the objective; the initial one by default.
    t : int
        The step: chooses the batch, the learning rate of a schedule and the age of Adam's averages.
    tolerance : float
        For a map, largest distance of a flat direction's multiplier from 1, without a unit; for an objective,
        largest absolute curvature, in the unit of the loss over that of the weights squared.
    largest_exact : int
        Parameters up to which all eigenvalues are computed; above, they are counted by random probes.
    probes : int
        Random vectors, at least 2.
    steps : int
        Products for each of them.
    seed : int
        Of the random vectors.
    max_memory : int, float or str, optional
        Bytes of all vectors and matrices, or text such as "2GB"; 1 GB by default. Where the exact spectrum
        does not fit, directions are counted by probes.

    Returns
    -------
    FlatDirections
        Three numbers with errors, which are zero where the spectrum is exact.

    Raises
    ------
    InputError
        If `tolerance` is not above 0; the loss or its second derivative is not finite; the state has another
        shape; the map has no loss; Adam, AdamW or RMSprop have seen no gradient yet.

    Notes
    -----
    Slow directions of the optimiser have the multiplier ``1 - rate (h / p + decay)``, h an eigenvalue of the
    Hessian, p the preconditioner held fixed, decay the weight decay. Momentum makes them faster by ``(1 -
    dampening) / (1 - momentum)``, to first order in the rate. Flat are those with ``|1 - multiplier| <
    tolerance``: the loss changes them by less than that share in a step. Near a minimum they are the
    directions of the manifold on which training has come to rest.

    Above `largest_exact`, the number is n times the share of the spectrum within the tolerance by stochastic
    Lanczos quadrature, see :meth:`SpectralDensity.share`: its error joins that over probes and what `steps`
    products cannot tell to lie on either side of the tolerance. A tolerance far below the range of the
    spectrum over `steps` squared is not resolved, and the error says so.

    Cost: n products where exact, in blocks, and an eigenvalue problem of size n; else ``probes * steps``
    products. A product takes about 2 forward-backward passes.

    Source: the flat manifold of trained networks: Danovski et al., arXiv:2404.05782; quadrature: Ghorbani et
    al., arXiv:1901.10159.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from phasescope.training import flat_directions, objective
    >>> x, y = torch.randn(3, 8), torch.randn(3, 1)  # 3 examples hold 3 of 8 weights
    >>> print(flat_directions(objective(nn.Linear(8, 1, bias=False), nn.MSELoss(), (x, y)), tolerance=1e-9))
    5 of 8 directions flat to 1e-09; rising: 3, falling: 0
    """
    if not 0 < tolerance < np.inf:
        raise InputError(f"The tolerance is {tolerance!r}.", "Pass a number above 0, such as 1e-3.")
    for name, value, least in (("probes", probes, 2), ("steps", steps, 1)):
        if value < least:
            raise InputError(f"{name} is {value}.", f"Pass at least {least}.")
    here = curvature(map_or_objective, x, t)
    product, n = here.slow_motion(t), here.size
    limit = _LIMIT if max_memory is None else in_bytes(max_memory)
    bytes_each = n * here.point.element_size()
    if n <= largest_exact and _MATRICES * n * bytes_each <= limit:
        density, products = exact_density(all_eigenvalues(product, here.point)), n
    else:
        density, products = probed_density(
            product,
            here.point,
            probes=probes,
            steps=steps,
            rows=max(2, int(limit // bytes_each)),
            generator=torch.Generator().manual_seed(seed),
        )
    flat, rising, falling = (
        _number(density, low, high)
        for low, high in ((-tolerance, tolerance), (tolerance, np.inf), (-np.inf, -tolerance))
    )
    return FlatDirections(
        flat=flat,
        rising=rising,
        falling=falling,
        tolerance=float(tolerance),
        size=n,
        exact=density.exact,
        density=density,
        t=t,
        products=products,
    )


def _number(density: SpectralDensity, low: float, high: float) -> Estimate:
    found = density.share(low, high) * density.size
    return replace(found, value=float(round(found.value))) if density.exact else found
