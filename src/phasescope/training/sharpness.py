"""How curved a loss is, and how near that is to the edge of stability of the optimiser that moves on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.memory import in_bytes
from phasescope.results import Result
from phasescope.training.curvature import curvature
from phasescope.training.density import SpectralDensity, all_eigenvalues, exact_density, probed_density
from phasescope.training.lanczos import Product, Subspace, extreme_eigenvalues
from phasescope.training.maps import Map
from phasescope.training.objective import Objective

_LIMIT = 1e9  # bytes of vectors where the caller sets no limit, or what the fewest take
# A warm start holds more vectors than were asked for, each with a fraction of the share of the one before,
# so that an eigenvalue that overtakes is seen; and some of a random vector for those that come from nowhere.
_SPARE = 2
_FRACTION = 0.3
_RANDOM = 0.3


@dataclass(frozen=True)
class Sharpness(Result):
    """Eigenvalues of a Hessian beside the threshold of an optimiser; :func:`sharpness` makes it.

    Parameters
    ----------
    eigenvalues : tuple of Estimate
        The largest ones, largest first: algebraically, so that -1 is larger than -2. In the unit of the loss
        over that of the weights squared; of the preconditioned matrix for adaptive optimisers. The error is a
        bound by the residual, as :func:`sharpness` states.
    threshold : float or None
        The largest stable eigenvalue; None without an optimiser.
    ratio : Estimate
        First eigenvalue over `threshold`: above 1, steps along its direction grow.
    smallest : Estimate or None
        The smallest eigenvalue, where it was asked for.
    trace : Estimate or None
        Sum of all eigenvalues, where it was asked for.
    density : SpectralDensity or None
        Distribution of all eigenvalues, where it was asked for.
    loss : float
        The loss there.
    t : int
        The step, which chooses the batch and the learning rate.
    size : int
        Number of trained parameters.
    products : int
        Products with the Hessian that all of it took, each about 2 forward-backward passes.
    converged : bool
        Whether the errors are within the tolerance; else `max_products` came first.
    vectors : Tensor of shape (k + 2, size) or fewer rows
        The eigenvectors, of length 1, and those after them, which the next call may start from.
    """

    eigenvalues: tuple[Estimate, ...]
    threshold: float | None
    ratio: Estimate
    smallest: Estimate | None
    trace: Estimate | None
    density: SpectralDensity | None
    loss: float
    t: int
    size: int
    products: int
    converged: bool
    vectors: Tensor = field(repr=False)

    @property
    def top(self) -> Estimate:
        """The largest eigenvalue."""
        return self.eigenvalues[0]

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "cohen2021 cohen2022" + (" ghorbani2019" if self.density is not None else "")

    def __str__(self) -> str:
        text = f"sharpness {_short(self.top)}"
        if self.threshold is not None:
            text += f" = {_short(self.ratio)} of the threshold {self.threshold:.4g}"
        text += f" ({self.products} products)"
        return text if self.converged else f"{text}; not converged"


def sharpness(
    map_or_objective: Map | Objective,
    x: Tensor | None = None,
    *,
    k: int = 1,
    t: int = 0,
    tolerance: float = 1e-3,
    smallest: bool = False,
    density: bool = False,
    trace: bool = False,
    start: Sharpness | Tensor | None = None,
    block: int = 1,
    probes: int = 10,
    steps: int = 60,
    seed: int = 0,
    max_products: int = 300,
    max_memory: int | float | str | None = None,
) -> Sharpness:
    """Return the largest eigenvalues of the Hessian of a loss, and the threshold of stability beside them.

    Parameters
    ----------
    map_or_objective : TrainingMap or Objective
        A step of an optimiser, or a loss alone; the latter has no threshold.
    x : Tensor of shape (size,), optional
        Where: a state of the map with all that its optimiser remembers, or weights of the objective. The
        initial one by default.
    k : int
        Number of eigenvalues.
    t : int
        The step: chooses the batch, the learning rate of a schedule and the age of Adam's averages.
    tolerance : float
        Largest error, relative to each eigenvalue, or to `tolerance` times the largest in size of the
        spectrum where that is more; relative to the largest in size for the smallest eigenvalue.
    smallest : bool
        Also the smallest eigenvalue.
    density : bool
        Also the distribution of all: exact where ``size <= probes * steps``, else by stochastic Lanczos
        quadrature.
    trace : bool
        Also the sum of all.
    start : Sharpness or Tensor of shape (j, n), optional
        The result, or its `vectors`, of the last call nearby: a warm start.
    block : int
        Random vectors to start from. An eigenvalue that occurs m times is listed m times only if `block` is
        at least m, or all products are exhausted, as in small models.
    probes : int
        Random vectors for the density and the trace, at least 2.
    steps : int
        Products for each probe of the density.
    seed : int
        Of the random vectors; together with `t` it fixes them.
    max_products : int
        Products after which eigenvalues that have not converged are returned as they are.
    max_memory : int, float or str, optional
        Bytes of all vectors that are held, or text such as "2GB": 1 GB by default, or what ``2 k + 10``
        vectors take. With fewer vectors than products the method restarts from the best half of them.

    Returns
    -------
    Sharpness
        Eigenvalues, threshold, ratio, and what was asked for besides.

    Raises
    ------
    InputError
        If `k` is above the number of parameters; the loss or its second derivative is not finite; the state
        or the start has another shape; the map has no loss; Adam, AdamW or RMSprop have seen no gradient yet;
        the learning rate of this step is zero.
    MemoryLimitError
        If the fewest vectors do not fit into `max_memory`.

    Notes
    -----
    For an objective the matrix is the Hessian H. For a map it is ``A = P^(-1/2) (H + decay) P^(-1/2)``, P the
    diagonal that the optimiser divides the gradient by, held fixed (1 for gradient descent and momentum),
    `decay` the weight decay in the gradient. On a quadratic loss the step is stable while the largest
    eigenvalue is below

    * gradient descent, RMSprop: ``2 / rate``
    * heavy ball: ``(2 + 2 momentum) / rate / (1 - dampening)``
    * Nesterov: ``(2 + 2 momentum) / (1 + 2 momentum) / rate``
    * Adam: ``(2 + 2 beta1) / (1 - beta1) / rate``
    * AdamW: ``(2 - rate decay) (1 + beta1) / (1 - beta1) / rate``, as its decay shrinks the weights apart
      from the gradient.

    At each threshold a direction changes its sign from step to step, ``w' = -w``. So groups of parameters
    with rates, momenta and decays of their own share one threshold. With u the inverse of its own threshold
    for each parameter, the matrix is ``S^(1/2) (H + decay) S^(1/2)``, ``S = u / max(u) / p``, and the
    threshold ``1 / max(u)``.

    Lanczos' method with all vectors made orthogonal to each other. The error of an eigenvalue lambda with
    vector v of length 1 is ``r^2 / gap``, ``r = |A v - lambda v|`` the residual and `gap` the distance to the
    nearest other eigenvalue that was found, less that one's residual; or r itself where that is less. The
    method stops when errors are within `tolerance` and residuals within 5 times it. The trace is exact in the
    subspace that was searched and a mean over probes outside it.

    Fails: an eigenvector that is nearly orthogonal to the start is missed, and the one after it is listed in
    its place. For a random start that takes a component some 500 times below the mean, as one eigenvector in
    600 has; another `seed` shows it. After a warm start an eigenvalue can be missed that overtook the first
    since the last call: on a small network at the edge of stability one call in 150 was off by 1 % or more
    with 5 steps between calls, none with one step.

    Cost: a product takes about 2 forward-backward passes, less for recognised perceptrons. On a network with
    85 000 weights, to 1e-3: 8 to 12 products for the first eigenvalue, 13 to 16 for five (before training,
    where they lie close together, 14 and 26); from a warm start one step earlier 4 to 5 and 10 to 12. Memory:
    a vector a product, within `max_memory`.

    Source: Lanczos (1950); thick restart: Wu and Simon (2000); threshold: Cohen et al., arXiv:2103.00065 and,
    for adaptive methods, arXiv:2207.14484; density: Ghorbani et al., arXiv:1901.10159.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from phasescope.training import sharpness, training_map
    >>> model = nn.Linear(2, 1, bias=False)
    >>> x = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> step = training_map(model, nn.MSELoss(), (x, torch.ones(2, 1)), 0.1)
    >>> found = sharpness(step, k=2)
    >>> [round(each.value, 6) for each in found.eigenvalues], found.threshold, round(found.ratio.value, 6)
    ([9.0, 1.0], 20.0, 0.45)
    """
    _check(k, tolerance, block, probes, steps, max_products)
    here = curvature(map_or_objective, x, t)
    n = here.size
    if k > n:
        raise InputError(f"k is {k} and the model has {n} trained parameters.", f"Pass k of at most {n}.")
    product, threshold = here.preconditioned(t)
    rows = _rows(n, k, block, here.point.element_size(), max_memory, max_products)
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence((seed, t)).generate_state(1)[0]))

    def draw() -> Tensor:
        return torch.randn(n, generator=generator, dtype=torch.float64).to(here.point)

    starts = torch.stack([draw() for _ in range(min(block, n))])
    if start is not None:
        starts[0] = _warm(start, n, k).to(starts) + _RANDOM * starts[0] / starts[0].norm()
    found = extreme_eigenvalues(
        product,
        starts,
        k,
        smallest=smallest,
        tolerance=tolerance,
        most_products=max_products,
        rows=rows,
        draw=draw,
    )
    products = found.products
    method = "Lanczos, bound by the residual" + ("" if found.converged else ", not converged")
    estimates = [
        Estimate(float(value), float(error), method, found.products)
        for value, error in zip(found.values, found.errors, strict=True)
    ]
    total = None
    if trace:
        total, used = _trace(product, found, probes, generator)
        products += used
    distribution = None
    if density and n <= probes * steps:
        distribution = exact_density(all_eigenvalues(product, here.point))
        products += n
    elif density:
        distribution, used = probed_density(
            product, here.point, probes=probes, steps=steps, rows=rows, generator=generator
        )
        products += used
    return Sharpness(
        eigenvalues=tuple(estimates[:k]),
        threshold=threshold,
        ratio=Estimate.not_determined("an objective has no learning rate; pass a training_map")
        if threshold is None
        else estimates[0] / threshold,
        smallest=estimates[-1] if smallest else None,
        trace=total,
        density=distribution,
        loss=here.loss,
        t=t,
        size=n,
        products=products,
        converged=found.converged,
        vectors=found.vectors(k + _SPARE),
    )


def _check(k: int, tolerance: float, block: int, probes: int, steps: int, max_products: int) -> None:
    for name, value, least in (
        ("k", k, 1),
        ("block", block, 1),
        ("probes", probes, 2),
        ("steps", steps, 1),
        ("max_products", max_products, k),
    ):
        if value < least:
            raise InputError(f"{name} is {value}.", f"Pass at least {least}.")
    if not 0 < tolerance < 1:
        raise InputError(f"The tolerance is {tolerance!r}.", "Pass a number between 0 and 1, such as 1e-3.")


def _short(number: Estimate) -> str:
    return str(number) if number.error > 1e-6 * abs(number.value) else f"{number.value:.6g}"


def _rows(
    n: int, k: int, block: int, itemsize: int, max_memory: int | float | str | None, max_products: int
) -> int:
    """Return how many vectors may be held."""
    fewest = min(n, 2 * k + 10 + block)
    limit = max(_LIMIT, fewest * n * itemsize) if max_memory is None else in_bytes(max_memory)
    if fewest * n * itemsize > limit:
        raise MemoryLimitError(
            f"{fewest} vectors of {n} numbers take {fewest * n * itemsize / 1e6:.1f} MB, more than "
            f"max_memory = {limit / 1e6:.1f} MB. Ask for fewer eigenvalues, or raise max_memory."
        )
    return int(min(n, max(fewest, max_products), limit // (n * itemsize)))


def _warm(start: Sharpness | Tensor, n: int, k: int) -> Tensor:
    """Return one vector that holds the first k vectors in equal parts, and a little of those after them."""
    given = start.vectors if isinstance(start, Sharpness) else start.reshape(-1, start.shape[-1])
    if given.ndim != 2 or given.shape[1] != n or not bool(given.isfinite().all()):
        raise InputError(
            f"The start has shape {tuple(given.shape)}.",
            f"Pass the last result, or finite vectors of {n} numbers, in rows.",
        )
    shares = [_FRACTION ** max(0, place - k + 1) for place in range(len(given))]
    vector = torch.tensor(shares).to(given) @ given
    length = vector.norm()
    return vector / length if length > 0 else vector


def _trace(
    product: Product, found: Subspace, probes: int, generator: torch.Generator
) -> tuple[Estimate, int]:
    """Return the sum of all eigenvalues: known in the subspace, a mean over random directions outside it."""
    inside, (m, n) = float(found.values.sum()), found.basis.shape
    if m == n:
        return Estimate(inside, float(found.errors[0]), "all eigenvalues", n), 0
    samples = []
    for _ in range(probes):
        v = torch.randn(n, generator=generator, dtype=torch.float64).to(found.basis)
        v = v - (found.basis @ v) @ found.basis
        samples.append(inside + (n - m) * float(v @ product(v)) / float(v @ v))
    return Estimate.from_samples(samples, method="Lanczos subspace, and random probes outside"), probes
