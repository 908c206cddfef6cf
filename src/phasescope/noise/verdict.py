"""What kind of noise a series is, and what else would have looked like it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.noise.dfa import DFA, dfa, plain
from phasescope.noise.generators import phase_randomised, shuffled
from phasescope.noise.nulls import (
    EXCLUDED,
    PINK,
    Criterion,
    Kind,
    MemoryTest,
    RelaxationTest,
    check_copies,
    excluded_by,
    kind_of,
    memory_test,
)
from phasescope.noise.spectrum import PERIODIC, Lines, SpectralExponent, lines, multitaper
from phasescope.results import Result

Array = NDArray[np.float64]
_SURE = 1.96
_COPIES_OF_DATA = 50
_BLOCK = 2**20  # values of copies at a time
_EXACT = 1e-5  # of a period: an error below it is not printed
_ALMOST_ALL = 0.9999  # beside lines that carry so much, what is left is not judged


@dataclass(frozen=True)
class Verdict(Result):
    """A verdict on one series with everything that it rests on.

    Parameters
    ----------
    kind : str
        "white", "1/f" (beta from 0.5 to 1.5), "brown", "power law" (any other beta), "straight" (as 1/f noise
        or as a few relaxation times would be), "short memory", "crossover", "periodic" or "not determined".
    reason : str
        Why, in a sentence.
    fluctuations : DFA
        Of the series without its lines.
    test : MemoryTest or None
        Short memory against scaling; None where the series has no exponent.
    lines : Lines
        What is strictly periodic in the series; all else here is of the series without it.
    shuffled, phase_randomised : Estimate
        Mean alpha over copies of the series that keep its values, or its spectrum; the error is the standard
        deviation over copies, what one copy scatters.
    spectral : Estimate
        beta by multitaper over the frequencies of the windows, ``1/n``.
    difference : Estimate
        `spectral` minus ``2 alpha - 1``; zero for a power law.
    """

    kind: Kind
    reason: str
    fluctuations: DFA
    test: MemoryTest | None = field(repr=False)
    lines: Lines = field(repr=False)
    shuffled: Estimate
    phase_randomised: Estimate
    spectral: Estimate
    difference: Estimate

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return self.fluctuations.citations

    @property
    def alpha(self) -> Estimate:
        """The exponent of the fluctuation function."""
        return self.fluctuations.estimate()

    @property
    def beta(self) -> Estimate:
        """The exponent of the spectrum, ``2 alpha - 1``."""
        return 2 * self.alpha - 1

    @property
    def explanations(self) -> list[tuple[str, float, int]]:
        """Name, share of its series that look like this one, and how many series there were, of each null."""
        if self.test is None:
            return []
        scaling = f"scaling noise with alpha = {self.test.alpha:.2f}"
        short, copies = short_memory_name(self.test), self.test.copies
        few = self.test.relaxations
        numbers = (
            []
            if few is None
            else [(relaxations_name(number), float(p), few.copies) for number, p in enumerate(few.p, 2)]
        )
        return [
            (short, self.test.p_short, copies),
            ("the same, by its own curve alone", self.test.p_fit, copies),
            (scaling, self.test.p_scaling, copies),
            *numbers,
        ]

    @property
    def sentence(self) -> str:
        """The kind of noise, and why."""
        return f"{self.kind}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; None in place of NaN."""
        found = self.fluctuations
        beta = self.beta
        return {
            "alpha": plain(self.alpha.value),
            "alpha_error": plain(self.alpha.error),
            "beta": plain(beta.value),
            "beta_error": plain(beta.error),
            "crossover": bool(found.crossover),
            "verdict": self.kind,
            "reason": self.reason,
            "order": found.order,
            "length": found.length,
            "windows": plain(found.windows),
            "fluctuation": plain(found.fluctuation),
            "lines": [
                {"period": plain(one.value), "error": plain(one.error)} for one in self.lines.periods()
            ],
            "lines_share": plain(self.lines.total),
            "nulls": {
                "shuffled_alpha": plain(self.shuffled),
                "phase_randomised_alpha": plain(self.phase_randomised),
                "autoregressive": None if self.test is None else _test_dict(self.test),
                "relaxations": None if self.test is None else _relaxations_dict(self.test.relaxations),
            },
            "spectral_beta": plain(self.spectral),
            "spectral_difference": plain(self.difference),
        }

    def __str__(self) -> str:
        text = [f"verdict: {self.kind}", f"  {self.reason}"]
        if not self.alpha.determined:
            return "\n".join(text)
        if len(self.lines.share):
            text.append("  without its lines:")
        span = self.alpha.window or (math.nan, math.nan)
        text.append(f"  alpha              {self.alpha}   (windows of {span[0]:.0f} to {span[1]:.0f})")
        text.append(f"  beta               {self.beta}")
        text.append(f"  beta, multitaper   {self.spectral}")
        if self.test is None:
            return "\n".join(text)
        text.append(f"  alpha, shuffled    {self.shuffled}   (± over {self.shuffled.n} copies)")
        text.append(
            f"  random phases      {self.phase_randomised}   (± over {self.phase_randomised.n} copies)"
        )
        text.append("  what else would look like it         share of its series that does")
        text += [
            f"    {name:<36} {share(p, copies):<12} {'excluded' if p <= EXCLUDED else 'possible'}"
            for name, p, copies in self.explanations
        ]
        return "\n".join(text)


def verdict(
    x: ArrayLike,
    *,
    order: int = 1,
    windows: ArrayLike | None = None,
    criterion: Criterion = "bic",
    copies: int | None = None,
    seed: int = 0,
) -> Verdict:
    """Return what kind of noise a series is: white, 1/f, straight, brown, short memory, periodic, and so on.

    Parameters
    ----------
    x : array of shape (time,)
        The series, in any unit.
    order : {1, 2, 3}
        Of detrending.
    windows : array of int, optional
        Window lengths; as of :func:`phasescope.noise.dfa`.
    criterion : {"aic", "bic"}
        What chooses the order of the autoregressive process.
    copies : int, optional
        Simulated series behind each share, at least 40; by default 200, down to 60 for long series.
    seed : int
        Of the simulation.

    Notes
    -----
    First the spectrum is searched for :func:`phasescope.noise.lines`. Where they carry half of the variance
    or more, the series is periodic; where they carry less, they are taken out and stated. A series that
    oscillates in a narrow band of frequencies without a line is not determined.

    An explanation is excluded where one in 40 of its simulated series, or fewer, look so unlike it. The curve
    is straight where it is not flagged as a crossover and scaling noise is possible. Straight with short
    memory excluded: 1/f, or a power law of another beta, where two, three and four relaxation times are
    excluded too (:func:`phasescope.noise.relaxation_test`), and "straight" where they are not. Not straight:
    short memory where that is possible, also by its own curve alone, and a crossover where it is not. Both
    possible: not determined, unless beta is zero within its error and 0.5 is not (white), or that of a random
    walk with a memory longer than the longest window (brown).

    Fails: a short memory is whatever an autoregressive process of up to ``10 log10 N`` coefficients can do.
    Below some 200,000 values three or four relaxation times cannot be excluded by any test, so that 1/f noise
    of 4000 values is called "straight". "White" at N = 500 cannot tell beta = 0.3 from 0.

    Cost: that of :func:`phasescope.noise.memory_test`.

    Raises
    ------
    InputError
        If x is not one series of real numbers, or if there are too few copies.
    """
    series = np.asarray(x)
    if series.ndim != 1:
        raise InputError(f"x has shape {series.shape}.", "Give one series, of shape (time,).")
    check_copies(copies)
    found = dfa(series, order=order, windows=windows)
    periodic = lines(series)
    if len(periodic.share):
        series = periodic.rest
        found = dfa(series, order=order, windows=windows)
    said, stop = _of_lines(periodic)
    if stop:
        found = replace(found, alpha=np.asarray(math.nan), alpha_error=np.asarray(math.nan))
        found = replace(found, reason=np.asarray(stop), crossover=np.asarray(False))
    test = (
        memory_test(series, order=order, windows=found.windows, criterion=criterion, copies=copies, seed=seed)
        if not found.reason
        else None
    )
    kind, why = _judged(found, test) if not stop else ("not determined", "")
    if periodic.total >= PERIODIC and not periodic.drifting:
        why = f"{said} Without it: {kind}. {why}" if why else said
        kind = "periodic"
    else:
        why = f"{said} {why}".strip()
    if test is None:
        nothing = Estimate.not_determined(str(found.reason) or why)
        return Verdict(kind, why, found, None, periodic, nothing, nothing, nothing, nothing)
    scaled = series / np.abs(series).max()
    random = np.random.default_rng(seed + 1)
    # Frequencies above 1/n of the shortest window, or 0.25, are not seen by the fluctuation function.
    shortest, longest = int(found.windows[0]), int(found.windows[-1])
    spectrum = multitaper(scaled, frequencies=(1 / longest, min(1 / shortest, 0.25)))
    return Verdict(
        kind,
        why,
        found,
        test,
        periodic,
        _alpha_of(shuffled, scaled, found, random, "shuffled copies"),
        _alpha_of(phase_randomised, scaled, found, random, "random phases"),
        spectrum.estimate(),
        consistency(found, spectrum),
    )


def consistency(fluctuations: DFA, spectrum: SpectralExponent, index: int | tuple[int, ...] = ()) -> Estimate:
    """Return by how much the beta of a spectrum exceeds ``2 alpha - 1``, which is zero for a power law.

    Parameters
    ----------
    fluctuations : DFA
        From :func:`phasescope.noise.dfa`.
    spectrum : SpectralExponent
        From :func:`multitaper`, :func:`welch` or :func:`local_whittle` of the same series.
    index : int or tuple of int
        Which series of the batch.

    Notes
    -----
    The errors are added as if independent. They are not, so the error of the difference is too large rather
    than too small. The relation holds for ``0 < alpha < order + 1``.
    """
    beta = spectrum.estimate(index)
    difference = 1 - 2 * fluctuations.estimate(index) + beta
    if not difference.determined:
        return Estimate.not_determined(difference.reason)
    return replace(difference, method=f"{spectrum.method} less DFA", window=beta.window)


def short_memory_name(test: MemoryTest) -> str:
    """Return what the short memory is called: its order, and how long it is."""
    if not test.fit.order:
        return "white noise"
    if test.memory > test.length:
        return f"AR({test.fit.order}) with a memory beyond the series"
    return f"AR({test.fit.order}) with a memory of {test.memory:.3g} steps"


def relaxations_name(number: int) -> str:
    """Return what so many relaxation times are called."""
    return f"{('two', 'three', 'four')[number - 2]} relaxation times"


def share(p: float, copies: int) -> str:
    """Return a share of simulated series, ``(1 + count)/(copies + 1)``, in percent, or that none was."""
    return f"none of {copies}" if p * (copies + 1) < 1.5 else f"{100 * p:.0f} %"


def _of_lines(found: Lines) -> tuple[str, str]:
    """Return what is said of the lines of a series, and why nothing else is judged, or nothing."""
    periods = found.periods()
    if found.drifting:
        why = f"{len(found.share)} lines of no common period: a frequency that changes in time"
        return f"The spectrum has {why}.", why
    texts = [f"{one.value:.6g}" if one.error < _EXACT * one.value else str(one) for one in periods]
    names = " and ".join([", ".join(texts[:-1]), texts[-1]] if texts[1:] else texts)
    what = f"period{'s' if periods[1:] else ''} {names}"
    percent = f"{100 * found.total:.3g} % of the variance"
    if found.total >= PERIODIC:
        stop = "" if found.total < _ALMOST_ALL else f"nothing is left beside {what}"
        return f"{what[:1].upper()}{what[1:]}: {percent}.", stop
    if found.band is not None:
        shortest, longest = (f"{value:.3g}" for value in found.band)
        why = f"most of the variance lies at periods of {shortest} to {longest} steps"
        return (
            f"M{why[1:]}, and next to nothing at longer and at shorter ones: an oscillation that drifts or "
            "dies out, not a noise that scales or forgets."
        ), why
    line = "Lines of" if periods[1:] else "A line of"
    carries = "carry" if periods[1:] else "carries"
    return (
        f"{line} {what} {carries} {percent} and {'were' if periods[1:] else 'was'} taken out."
        if periods
        else ""
    ), ""


def _judged(found: DFA, test: MemoryTest | None) -> tuple[Kind, str]:
    """Return the kind of noise, and why."""
    if test is None:
        reason = str(found.reason) or "no autoregressive process imitates the series"
        return "not determined", f"{reason[:1].upper()}{reason[1:]}."
    beta = 2 * found.estimate() - 1
    bent = bool(found.crossover)
    longest = int(found.windows[-1])
    kind = kind_of(beta, _SURE, test.memory, longest, bent=bent, excluded=excluded_by(test))
    short = short_memory_name(test)
    how = "The curve is bent" if bent else "Scaling noise does not look like it"
    few = _few(test.relaxations)
    reasons: dict[Kind, str] = {
        "white": f"beta = {beta} is zero within its error.",
        "crossover": f"{how}, and {short} does not explain it either: there is no one exponent.",
        "short memory": f"{how}, and {short} explains it: beta = {beta} describes these windows only.",
        "brown": f"beta = {beta} is that of a random walk within its error.",
        "not determined": (
            f"beta = {beta}, but {short} explains the curve as well: a longer series would tell."
        ),
        "straight": f"The curve is straight with beta = {beta}, and {short} does not explain it, but {few}.",
        "1/f": (
            f"The curve is straight with beta = {beta}, and neither {short} nor two to four relaxation times "
            "explain it."
        ),
        "power law": (
            f"The curve is straight, and neither {short} nor two to four relaxation times explain it, but "
            f"beta = {beta} is not that of 1/f noise ({PINK[0]} to {PINK[1]})."
        ),
    }
    return kind, reasons[kind]


def _few(test: RelaxationTest | None) -> str:
    """Return what the fewest relaxation times that are not excluded say of a straight curve."""
    if test is None or not len(test.times):
        return "the series is too short to tell 1/f noise from a few relaxation times"
    steps = [f"{time:.2g}" if time < 10 else f"{time:.0f}" for time in test.times]
    name = f"{relaxations_name(len(steps))} ({', '.join(steps[:-1])} and {steps[-1]} steps)"
    if test.p_scaling <= EXCLUDED:
        return f"{name} describe the spectrum better than one exponent"
    return f"{name} would look the same: only a longer series tells"


def _alpha_of(
    surrogate: Callable[..., Array], series: Array, found: DFA, random: np.random.Generator, method: str
) -> Estimate:
    """Return mean and scatter of the exponents of copies, made a few at a time."""
    most = max(1, _BLOCK // found.length)
    blocks = [min(most, _COPIES_OF_DATA - start) for start in range(0, _COPIES_OF_DATA, most)]
    alpha = np.concatenate(
        [
            dfa(surrogate(series, copies=count, seed=random), order=found.order, windows=found.windows).alpha
            for count in blocks
        ]
    )
    alpha = alpha[np.isfinite(alpha)]
    if alpha.size < 2:
        return Estimate.not_determined("the copies have no exponent", method=method)
    return Estimate(float(alpha.mean()), float(alpha.std(ddof=1)), f"{method}, their scatter", alpha.size)


def _test_dict(test: MemoryTest) -> dict[str, Any]:
    return {
        "order": test.fit.order,
        "coefficients": plain(test.fit.coefficients),
        "memory": plain(test.memory),
        "p_short_memory": test.p_short,
        "p_fit": test.p_fit,
        "p_scaling": test.p_scaling,
        "copies": test.copies,
        "expected_fluctuation": plain(test.short_memory),
    }


def _relaxations_dict(test: RelaxationTest | None) -> dict[str, Any] | None:
    return (
        None
        if test is None
        else {
            "times": plain(test.times),
            "shares": plain(test.shares),
            "gain": plain(test.gain),
            "p": plain(test.p),
            "p_scaling": plain(test.p_scaling),
            "copies": test.copies,
            "excluded": test.excluded,
        }
    )
