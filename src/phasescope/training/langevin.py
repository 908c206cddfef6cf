"""How many directions the data fix around trained weights: the local learning coefficient.

Beside each chain on the loss runs one on its quadratic part, with the same noise. What step size, finite time
and chance do to that one is known exactly, so that only the difference of the two has to be sampled. A
Metropolis test of each step of the chains on the loss leaves them without a bias of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.batch import leaves
from phasescope.recording.memory import in_bytes, peak_bytes
from phasescope.recording.untouched import untouched
from phasescope.results import Result
from phasescope.theory.langevin import quadratic_shares
from phasescope.training.density import SpectralDensity, all_eigenvalues, exact_density, probed_density
from phasescope.training.lanczos import Product
from phasescope.training.objective import Loss, Objective, objective

Array = NDArray[np.float64]

_LIMIT = 1e9  # bytes where the caller sets no limit
_EXACT, _MATRICES = 2000, 4  # parameters up to which all eigenvalues are found, and the matrices that takes
_PROBES, _PRODUCTS = 10, 80  # random vectors beyond, and products with each
_GLANCE, _GLANCED = 2, 24  # the same of the glance that comes before
_ROWS = 64  # of the Hessian that are found at once
_VECTORS = 6  # of the length of the weights that each chain takes
_STABLE = 0.2  # step times largest curvature at first: few steps are then rejected
_LEAST, _SETTLED, _LENGTH, _MOST = 400, 3.0, 20.0, 4000  # steps; two of them in times of the slowest mode
_WATCHED, _GOOD, _USABLE = 50, 0.9, 0.8  # steps between looks at the acceptance, and what it has to be
_HALVINGS = 12
_AGREE = 1.05  # R-hat up to which chains agree
_FEWEST = 32  # samples
_HELD = 0.5  # share of the localisation that downward curvature may take away
_DOWNHILL = 0.1  # share of half the dimension, or of 1, that the gradient may take away
_SIGMAS = 3.0


@dataclass(frozen=True)
class LocalLearningCoefficient(Result):
    """How many directions the data fix around a minimum; :func:`langevin` makes it.

    Parameters
    ----------
    value : Estimate
        The local learning coefficient, ``nb (<L> - L(w*))`` in equilibrium at vanishing step; or the reason
        why it is not determined.
    half_dimension : Estimate
        ``1/2 sum nb h / (nb h + g)`` over the eigenvalues h of the Hessian: what `value` is on a quadratic.
    uncorrected : Estimate
        The plain mean of ``nb (L - L(w*))`` over the draws.
    excess : Estimate
        `value` less `half_dimension`: 0 in a quadratic basin. Its error is smaller than those of the two,
        since chance moves both alike.
    unequilibrated : float
        What it lacks, on the quadratic part, since the draws begin before the slowest mode has settled.
    downhill : float
        What the gradient that is left at w* takes from it, on the quadratic part; 0 at a minimum.
    coupling : float
        Share of the quadratic chain's fluctuation that was taken off the draws, from 0 to 1.
    acceptance : float
        Share of the steps that the Metropolis test accepted.
    r_hat : float
        Deviation of the draws over that within half chains, about 1 where chains agree. Between half chains
        what counts is the spread of what is averaged, after the coupling.
    fixed : dict of str to Estimate
        Directions that the data fix among the entries of each parameter, ``<(w - w*) nb grad L>``; they sum
        to about twice `value`. Empty where the chains did not run.
    draws : array of shape (draws, chains)
        ``nb (L - L(w*))`` of the kept steps.
    first : int
        Step of the first draw.
    step : float
        Step size, in the unit of the weights squared.
    steps, chains, samples, size : int
        Steps of each chain, chains, samples n of the data, trained parameters.
    nb, localisation, loss : float
        Samples times inverse temperature; the strength g of the spring to w*; L(w*).
    curvature : tuple of float
        Smallest and largest eigenvalue of the Hessian that were found.
    truncated : bool
        Whether the chains are too short for the slowest mode to settle.
    exact : bool
        Whether all eigenvalues were found.
    gradients : int
        Gradients and Hessian products of one copy of the network that it took.
    notes : tuple of str
        What was frozen or changed in the copy.
    """

    value: Estimate
    half_dimension: Estimate
    uncorrected: Estimate
    excess: Estimate
    unequilibrated: float
    downhill: float
    coupling: float
    acceptance: float
    r_hat: float
    fixed: dict[str, Estimate] = field(repr=False)
    draws: Array = field(repr=False)
    first: int
    step: float
    steps: int
    chains: int
    samples: int
    size: int
    nb: float
    localisation: float
    loss: float
    curvature: tuple[float, float]
    truncated: bool
    exact: bool
    gradients: int
    notes: tuple[str, ...] = ()

    @property
    def quadratic(self) -> bool | None:
        """Whether value and half the dimension agree within 3 errors; None where not determined."""
        if not self.value.determined:
            return None
        floor = 1e-6 * max(abs(self.half_dimension.value), 1.0)
        return abs(self.excess.value) <= _SIGMAS * self.excess.error + floor

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "suzuki2020 ghorbani2019"

    def __str__(self) -> str:
        return f"{self.value} (half the effective dimension {self.half_dimension}) of {self.size} parameters"


def langevin(
    model: nn.Module | Objective,
    loss: Loss | None = None,
    data: Any = None,
    *,
    steps: int | None = None,
    chains: int = 4,
    localisation: float = 100.0,
    beta: float | None = None,
    samples: int | None = None,
    seed: int = 0,
    max_memory: int | float | str | None = None,
    device: torch.device | str | None = None,
) -> LocalLearningCoefficient:
    r"""Return the local learning coefficient of trained weights: half the directions that the data fix.

    Parameters
    ----------
    model : nn.Module or Objective
        The trained network; or what :func:`objective` returned, and then neither loss nor data.
    loss : callable, optional
        As :func:`objective` takes it; the mean over samples, not their sum.
    data : tuple, mapping, tensor, list of these, or iterable, optional
        As :func:`objective` takes them. The loss is the mean over all batches, at each step and for L(w*).
    steps : int, optional
        Steps of each chain, at least 100. By default 20 times the slowest mode's time, from 400 to 4000.
    chains : int
        Independent chains, at least 2, advanced side by side.
    localisation : float
        Strength g of the spring to w*, above 0, in one over the unit of the weights squared: directions that
        the loss does not see spread by ``g^(-1/2)``.
    beta : float, optional
        Inverse temperature; ``1/ln n`` for n samples by default.
    samples : int, optional
        Number n of samples; by default the length of the first axis of the data.
    seed : int
        Of the noise.
    max_memory : int, float or str, optional
        Bytes, or text such as "2GB"; 1 GB by default.
    device : str or torch.device, optional
        Where it computes; the model's own by default.

    Returns
    -------
    LocalLearningCoefficient
        The number, half the effective dimension beside it, what was corrected, and what was checked.

    Raises
    ------
    InputError
        If an argument is out of its range, or :func:`objective` refuses model, loss or data.
    MemoryLimitError
        If chains and gradients do not fit into `max_memory`.

    Notes
    -----
    Each chain starts at w* and moves by :math:`\delta w = -\frac{\epsilon}{2} (n\beta \nabla L + g (w - w^*))
    + \sqrt{\epsilon}\, \xi`. The number is :math:`n\beta (\langle L\rangle - L(w^*))`, both losses on the
    same data. On a quadratic loss the mean is known at any step and time, see
    :func:`phasescope.theory.quadratic_learning_coefficient`. So a chain on the quadratic part, with the same
    noise, runs beside each; the difference is averaged, as far as it fluctuates less than the draws, and the
    known mean is added. The approach to equilibrium and the gradient that is left at w* are thereby removed,
    as far as the loss is quadratic; a Metropolis test of each step removes the step's own bias on any loss.
    The step is 0.2 over the largest ``nb h + g``, halved until at least 90 % pass. The error is that of the
    mean over correlated draws of all chains, joined by the error over probes where not all eigenvalues are
    found.

    Not determined: fewer than 32 samples; a loss that curves downwards by more than half of what g holds; a
    gradient that takes away more than a tenth of half the dimension; chains that disagree (R-hat > 1.05);
    acceptance below 0.8. The number depends on g, at a degenerate minimum as a logarithm, and on the
    parametrisation: compare checkpoints of one architecture with the same g and data. It is no bound on the
    test error.

    Cost: n Hessian products and ``chains * steps`` gradients for up to 2000 parameters; beyond, 800 products,
    and one more for each gradient. A product takes about 2 gradients. Memory: 6 vectors of weights for each
    chain.

    Source: Lau et al., arXiv:2308.12108, for the number; Langevin training as in arXiv:2007.05824; quadrature
    of the spectrum: Ghorbani et al., arXiv:1901.10159. The coupled quadratic chain is derived here.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from phasescope.training import langevin
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> fit = nn.Linear(3, 1, bias=False)
    >>> _ = nn.init.zeros_(fit.weight)
    >>> found = langevin(fit, nn.MSELoss(), (x, torch.zeros(64, 1)), localisation=1e-4)
    >>> print(f"{2 * found.value.value:.0f}")  # directions that the data fix
    3
    """
    _check(steps, chains, localisation, beta)
    with torch.inference_mode(False):
        made = _made(model, loss, data, device)
        with untouched(made.module):
            n = samples if samples is not None else _samples(made)
            nb = n * beta if beta is not None else n / math.log(max(n, 2))
            return _measured(made, n, nb, steps, chains, float(localisation), seed, max_memory)


def _check(steps: int | None, chains: int, localisation: float, beta: float | None) -> None:
    if steps is not None and steps < 100:
        raise InputError(f"steps is {steps}.", "Pass at least 100.")
    if chains < 2:
        raise InputError(f"chains is {chains}.", "Pass at least 2, since one cannot disagree with itself.")
    if not 0 < localisation < math.inf:
        raise InputError(f"The localisation is {localisation!r}.", "Pass a number above 0, such as 100.")
    if beta is not None and not 0 < beta < math.inf:
        raise InputError(f"beta is {beta!r}.", "Pass a number above 0, or leave it out for 1/ln n.")


def _made(model: nn.Module | Objective, loss: Loss | None, data: Any, device: Any) -> Objective:
    """Return the mean loss over all batches as one step."""
    if isinstance(model, Objective):
        if model.batches > 1:
            raise InputError(
                f"The objective has {model.batches} batches.", "Pass accumulate=, so that they make one step."
            )
        return model
    made = objective(model, loss, data, device=device)
    if made.batches > 1:
        made = objective(model, loss, made.data, device=device, accumulate=made.batches)
    return made


def _samples(made: Objective) -> int:
    return sum(len(next(leaves(batch, Tensor))) for batch in made.data)


def _measured(
    made: Objective,
    n: int,
    nb: float,
    steps: int | None,
    chains: int,
    g: float,
    seed: int,
    max_memory: int | float | str | None,
) -> LocalLearningCoefficient:
    limit = _LIMIT if max_memory is None else in_bytes(max_memory)
    star, size = made.initial, made.size
    left = limit - _needed(made, chains, limit)
    loss, gradient, product = made.linearised(star)
    spectrum, product, products = _spectrum(product, star, seed, left, nb, g)
    h = np.concatenate(spectrum.nodes)
    low, high = float(h.min()), float(h.max())
    common: dict[str, Any] = {
        "chains": chains,
        "samples": n,
        "size": size,
        "nb": nb,
        "localisation": g,
        "loss": float(loss),
        "curvature": (low, high),
        "exact": spectrum.exact,
        "notes": made.notes,
    }
    reason = ""
    if n < _FEWEST:
        reason = f"{n} samples, at least {_FEWEST} needed"
    elif nb * low + g < _HELD * g:
        reason = (
            f"no minimum: the loss curves downwards by {-low:.3g}, and the localisation holds {g / nb:.3g}"
        )
    elif not math.isfinite(high):
        reason = "the curvature of the loss is not finite"
    if reason:
        return _without_chains(reason, products, common)

    half = _total(spectrum, lambda h: quadratic_shares(h, nb, g))
    step, slowest, count = _STABLE / (nb * high + g), nb * low + g, products
    for halving in range(_HALVINGS + 1):
        slow = 1 / (step * slowest)  # steps in which the slowest mode's variance settles
        total = steps if steps is not None else int(min(max(_LENGTH * slow, _LEAST), _MOST))
        first = min(math.ceil(_SETTLED * slow), total // 2)
        walk = _Walk(made, product, gradient, float(loss), nb, g, step, chains, seed)
        done = walk.run(total, first, demanding=halving < _HALVINGS)
        count += walk.taken * (chains if spectrum.exact else 2 * chains + 1)
        if done:
            break
        step /= 2
    common |= {"step": step, "steps": total, "first": first, "truncated": _SETTLED * slow > first}
    return _averaged(walk, spectrum, half, (first, total), made, {**common, "gradients": count})


def _needed(made: Objective, chains: int, limit: float) -> float:
    """Return the bytes of chains and gradients; refuse where they do not fit."""

    def work() -> None:
        rows = made.initial.expand(chains, -1)
        made.gradient(rows.clone())
        made.linearised(made.initial)[2](rows)

    vectors: float = _VECTORS * (chains + 1) * made.size * made.initial.element_size()
    if vectors <= limit:
        vectors += peak_bytes(made.module, work)
    if vectors > limit:
        raise MemoryLimitError(
            f"{chains} chains of {made.size} parameters take {vectors / 1e6:.3g} MB, more than max_memory = "
            f"{limit / 1e6:.3g} MB. Raise max_memory, or pass fewer chains or samples."
        )
    return vectors


def _spectrum(
    product: Product, star: Tensor, seed: int, left: float, nb: float, g: float
) -> tuple[SpectralDensity, Product, int]:
    """Return the eigenvalues, the cheapest product with the Hessian, and the products that were taken.

    Where a glance shows that the loss curves downwards by too much, the glance is returned: no chain follows.
    """
    size, length = len(star), len(star) * star.element_size()
    if size <= _EXACT and _MATRICES * size * length <= left:
        identity = torch.eye(size, dtype=star.dtype, device=star.device)
        matrix = torch.cat([product(rows) for rows in torch.split(identity, _ROWS)])

        def dense(v: Tensor) -> Tensor:
            return v @ matrix

        return exact_density(all_eigenvalues(dense, star)), dense, size
    taken = 0
    for probes, steps in ((_GLANCE, _GLANCED), (_PROBES, _PRODUCTS)):
        density, products = probed_density(
            product,
            star,
            probes=probes,
            steps=steps,
            rows=max(2, int(left // length)),
            generator=torch.Generator().manual_seed(seed),
        )
        taken += products
        if nb * float(np.concatenate(density.nodes).min()) + g < _HELD * g:
            break
    return density, product, taken


def _total(spectrum: SpectralDensity, function: Callable[[Array], Array]) -> Estimate:
    """Return the sum of a function over all eigenvalues."""
    found = [
        spectrum.size * float(w @ function(x)) for x, w in zip(spectrum.nodes, spectrum.weights, strict=True)
    ]
    if spectrum.exact:
        return Estimate(found[0], 0.0, "all eigenvalues", spectrum.size)
    return Estimate.from_samples(found, method="stochastic Lanczos quadrature")


class _Walk:
    """Chains on the loss and, with the same noise, on its quadratic part; the last of those has none.

    The one without noise is driven by the gradient at w*, and shows how far downhill that leads.
    """

    def __init__(
        self,
        made: Objective,
        product: Product,
        gradient: Tensor,
        loss: float,
        nb: float,
        g: float,
        step: float,
        chains: int,
        seed: int,
    ) -> None:
        self._made, self._product, self._gradient, self._loss = made, product, gradient, loss
        self._nb, self._g, self._step, self._chains = nb, g, step, chains
        self._generator = torch.Generator().manual_seed(seed)
        self.taken = 0
        self.accepted: list[float] = []
        self.rows: dict[str, list[Array]] = {"loss": [], "quadratic": [], "fixed": [], "downhill": []}

    def run(self, total: int, first: int, *, demanding: bool) -> bool:
        """Take all steps, or stop where too few would be accepted; return whether all were taken."""
        made, nb, g, step = self._made, self._nb, self._g, self._step
        star = made.initial
        x = torch.zeros(self._chains, made.size, dtype=star.dtype, device=star.device)
        y = torch.zeros(self._chains + 1, made.size, dtype=star.dtype, device=star.device)
        image = torch.zeros_like(y)  # H y
        force = (nb * self._gradient).expand_as(x)
        energy = x.new_zeros(self._chains)
        for t in range(1, total + 1):
            noise = torch.randn(x.shape, generator=self._generator, dtype=torch.float64).to(x)
            moved = x - step / 2 * force + math.sqrt(step) * noise
            y = y - step / 2 * (nb * image + g * y)
            y[:-1] += math.sqrt(step) * noise
            y[-1] -= step / 2 * nb * self._gradient
            loss, gradient = made.gradient(star + moved)
            image = self._product(y)
            self.taken += 1
            new_force = nb * gradient + g * moved
            new_energy = nb * (loss - self._loss) + g / 2 * (moved**2).sum(1)
            back = ((x - moved + step / 2 * new_force) ** 2).sum(1) / (2 * step)
            odds = (energy - new_energy + (noise**2).sum(1) / 2 - back).clamp(max=0).exp()
            passed = torch.rand(len(x), generator=self._generator, dtype=torch.float64).to(x) < odds
            kept = passed[:, None]
            x, force = torch.where(kept, moved, x), torch.where(kept, new_force, force)
            energy = torch.where(passed, new_energy, energy)
            self.accepted.append(float(passed.double().mean()))
            if t >= first:
                path, flat = y[-1], image[-1]
                downhill = nb * float(self._gradient @ path + path @ flat / 2)
                rise = energy - g / 2 * (x**2).sum(1)
                self.rows["loss"].append(rise.double().cpu().numpy())
                self.rows["quadratic"].append((nb / 2 * (y * image)[:-1].sum(1)).double().cpu().numpy())
                self.rows["downhill"].append(np.array(downhill))
                pull = x * (force - g * x)
                parts = [pull[:, place].sum(1) for place in made.slices.values()]
                self.rows["fixed"].append(torch.stack(parts, 1).double().cpu().numpy())
            watched = demanding and (t % _WATCHED == 0 or t == total)
            if watched and np.mean(self.accepted[-_WATCHED:]) < _GOOD:
                return False
        return True


def _averaged(
    walk: _Walk,
    spectrum: SpectralDensity,
    half: Estimate,
    window: tuple[int, int],
    made: Objective,
    common: Mapping[str, Any],
) -> LocalLearningCoefficient:
    """Return the result from the draws of the chains and the known mean of the quadratic ones."""
    nb, g, step = common["nb"], common["localisation"], common["step"]
    rows = {name: np.array(values) for name, values in walk.rows.items()}
    raw, quadratic, downhill = rows["loss"], rows["quadratic"], float(rows["downhill"].mean())
    draws = (window[0], window[1] + 1)

    c = _coupling(raw, quadratic)

    def seen(h: Array) -> Array:
        return quadratic_shares(h, nb, g, step=step, draws=draws)

    def lacking(h: Array) -> Array:
        settled = quadratic_shares(h, nb, g, step=step)
        return np.asarray((settled - seen(h)) * (1 - step * (nb * h + g) / 4))

    value, error, n = _mean(raw - c * quadratic)
    value -= downhill
    known = _total(spectrum, lambda h: lacking(h) + c * seen(h))
    beyond = _total(spectrum, lambda h: lacking(h) + c * seen(h) - quadratic_shares(h, nb, g))
    found = Estimate(value + known.value, math.hypot(error, known.error), "coupled chains", n)
    excess = Estimate(value + beyond.value, math.hypot(error, beyond.error), "coupled chains", n)
    unequilibrated = -_total(spectrum, lacking).value
    acceptance, r_hat = float(np.mean(walk.accepted)), _r_hat(raw, raw - c * quadratic)
    reached = half.value + unequilibrated
    factor = half.value / reached if reached > 0 else 1.0
    fixed = {
        name: Estimate(*_scaled(_mean(rows["fixed"][:, :, number]), factor))
        for number, name in enumerate(made.slices)
    }
    plain = _mean(raw)
    reason = ""
    if acceptance < _USABLE:
        reason = f"the Metropolis test accepted {100 * acceptance:.0f} % of the steps, below 80 %"
    elif not r_hat <= _AGREE:
        reason = f"the chains disagree: R-hat {r_hat:.3f} is above {_AGREE}"
    elif downhill < -_DOWNHILL * max(half.value, 1.0):
        reason = f"no minimum: the gradient leads {-downhill:.3g} downhill within reach of the chains"
    elif found.value < -_SIGMAS * found.error:
        reason = f"no minimum: the chains find losses below that of the weights, by {-found.value:.3g}"
    nothing = Estimate.not_determined(reason, method="coupled chains", n=n)
    return LocalLearningCoefficient(
        value=nothing if reason else found,
        half_dimension=half,
        uncorrected=Estimate(plain[0], plain[1], "mean over chains", plain[2]),
        excess=nothing if reason else excess,
        unequilibrated=unequilibrated,
        downhill=downhill,
        coupling=c,
        acceptance=acceptance,
        r_hat=r_hat,
        fixed=fixed,
        draws=raw,
        **common,
    )


def _without_chains(reason: str, count: int, common: Mapping[str, Any]) -> LocalLearningCoefficient:
    nothing = Estimate.not_determined(reason)
    return LocalLearningCoefficient(
        value=nothing,
        half_dimension=nothing,
        uncorrected=nothing,
        excess=nothing,
        unequilibrated=math.nan,
        downhill=math.nan,
        coupling=0.0,
        acceptance=math.nan,
        r_hat=math.nan,
        fixed={},
        draws=np.empty((0, common["chains"])),
        first=0,
        step=math.nan,
        steps=0,
        truncated=False,
        gradients=count,
        **common,
    )


def _coupling(raw: Array, quadratic: Array) -> float:
    """Return the share of the quadratic draws that leaves the least spread when taken off."""
    centred = quadratic - quadratic.mean()
    spread = float((centred**2).mean())
    if not spread > 0:
        return 0.0
    return float(np.clip((centred * (raw - raw.mean())).mean() / spread, 0.0, 1.0))


def _scaled(found: tuple[float, float, int], factor: float) -> tuple[float, float, str, int]:
    return found[0] * factor, found[1] * factor, "mean over chains", found[2]


def _mean(draws: Array) -> tuple[float, float, int]:
    """Return the mean of correlated draws (steps, chains), its standard error, and independent draws.

    The autocorrelation of all chains together, spread between chains included, is summed over pairs of lags
    while they stay positive and fall (Geyer 1992; Vehtari et al. 2021).
    """
    length = len(draws)
    centred = draws - draws.mean(0)
    padded = np.fft.rfft(centred, 2 * length, axis=0)
    covariance = np.fft.irfft(np.abs(padded) ** 2, axis=0)[:length].mean(1) / length
    within = covariance[0] * length / (length - 1)
    between = float(draws.mean(0).var(ddof=1))
    total = covariance[0] + between
    if not total > 0:
        return float(draws.mean()), 0.0, draws.size
    correlation = 1 - (within - covariance) / total
    pairs = correlation[: length // 2 * 2].reshape(-1, 2).sum(1)
    ends = np.flatnonzero(pairs <= 0)
    kept = np.minimum.accumulate(pairs[: ends[0] if ends.size else len(pairs)])
    time = max(2 * float(kept.sum()) - 1, 1 / math.log10(max(draws.size, 10)))
    independent = max(draws.size / time, 1.0)
    return float(draws.mean()), math.sqrt(total / independent), int(independent)


def _r_hat(draws: Array, averaged: Array) -> float:
    """Return the split R-hat, where what is averaged is spread between chains less than the draws are."""
    half = len(draws) // 2

    def halves(rows: Array) -> Array:
        return np.concatenate([rows[:half], rows[-half:]], axis=1)

    within = float(halves(draws).var(0, ddof=1).mean())
    between = float(halves(averaged).mean(0).var(ddof=1))
    return math.sqrt((half - 1) / half + between / within) if within > 0 else 1.0
