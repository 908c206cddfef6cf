"""What the convolutional parts hold against directed percolation and its rivals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from phasescope.estimate import Estimate
from phasescope.papers.absorbing.cnn.numbers import RANDOM_WALK, Numbers, numbers
from phasescope.papers.absorbing.cnn.tables import notes, tables
from phasescope.scaling import UNIVERSALITY_CLASSES, Collapse, UniversalityClass
from phasescope.studies.check import Check, Outcome, compare
from phasescope.studies.contract import Analysis

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.papers.absorbing.cnn.part import CnnSettings

PAPER = "arXiv:2307.02284, collapse of convolutional networks"
HERE = "derived here"
# A collapse is refused below this chance.
_DOUBTFUL = 0.01


def directed_percolation(dimensions: int) -> UniversalityClass:
    """Return directed percolation in that many dimensions.

    Parameters
    ----------
    dimensions : int
        Of the lattice.
    """
    return UNIVERSALITY_CLASSES[f"DP {dimensions}+1"]


def analyse(data: xr.Dataset, settings: CnnSettings, part: str, dimensions: int) -> Analysis:
    """Return the checks, tables and notes of one dimension."""
    found = numbers(data, settings, dimensions)
    dp = directed_percolation(dimensions)
    checks = [
        *_critical_checks(found, settings, part),
        *_decay_checks(found, part, dp),
        *_collapse_checks(found, part, dp),
        *_size_checks(found, part),
        *_local_checks(found, part, dp),
        *_seed_checks(found, part, dp),
    ]
    return Analysis(checks, tables(found, settings, dimensions), notes(settings, dimensions))


def _critical_checks(found: Numbers, settings: CnnSettings, part: str) -> list[Check]:
    size = settings.sizes[-1]
    zero = found.critical[size]
    exponent = found.uniform_exponent
    stable = _sign(exponent, negative=True)
    return [
        compare(
            f"{part}/critical-point",
            "Small differences neither grow nor shrink at this sigma_w (shared weights, rows that vary).",
            HERE,
            None,
            zero,
            note=f"{size} sites along each dimension; the first half of the layers gives {found.early}, the "
            f"second {found.late}. The paper gives no number.",
        ),
        compare(
            f"{part}/uniform-critical-point",
            "Small differences about a row that is the same at all sites neither grow nor shrink at this "
            "sigma_w (shared weights).",
            HERE,
            None,
            found.uniform_critical,
            note="Below it a network that has once become uniform stays so. The paper gives no number.",
        ),
        Check(
            f"{part}/uniform-rows-stable",
            "Where differences on rows that vary keep their size, uniform rows are stable, so that sites "
            "become alike, too, in one network after the other.",
            HERE,
            None,
            exponent,
            stable,
            "Agrees if the Lyapunov exponent about a uniform row is below 0 by 3 standard errors.",
        ),
        compare(
            f"{part}/tuned-point",
            "The sigma_w at which the ensemble mean looks most like a power law is the critical one.",
            PAPER,
            zero.value if zero.determined else None,
            _difference_in_error(found.tuned, zero),
            note="The error holds that of the critical point.",
        ),
    ]


def _decay_checks(found: Numbers, part: str, dp: UniversalityClass) -> list[Check]:
    delta = dp.delta.value
    resolution = _resolution(delta, 0.5)
    sharp = f"Agreement takes an error of at most {resolution:.2g}, a third of what sets the two apart."
    return [
        compare(
            f"{part}/mean-decay",
            "At the critical sigma_w the mean distance decays with the exponent of directed percolation.",
            PAPER,
            delta,
            _decay(found.mean_slope),
            resolution=resolution,
            note="delta = beta/nu_par, over the last decade of layers. " + sharp,
        ),
        compare(
            f"{part}/tuned-decay",
            "With sigma_w tuned until the mean is straightest, its exponent is that of directed percolation.",
            PAPER,
            delta,
            _decay(found.tuned_slope),
            resolution=resolution,
            note="The collapse of the paper tunes sigma_w; this repeats it on the ensemble mean.",
        ),
        compare(
            f"{part}/typical-decay",
            "At the critical sigma_w the typical distance decays as the mean does.",
            PAPER,
            0.0,
            found.gap,
            resolution=0.1,
            note="d<ln rho>/d ln l - d ln<rho>/d ln l over the last decade: 0 in a self-averaging system.",
        ),
    ]


def _collapse_checks(found: Numbers, part: str, dp: UniversalityClass) -> list[Check]:
    free = found.collapses.get("free")
    return [
        _collapse_check(
            f"{part}/collapse-mean",
            "The mean distances collapse with the exponents of directed percolation.",
            found.collapses,
            dp.name,
        ),
        _collapse_check(
            f"{part}/collapse-typical",
            "The typical distances collapse with the exponents of directed percolation.",
            found.typical_collapses,
            dp.name,
        ),
        _collapse_check(
            f"{part}/collapse-random-walk",
            "The mean distances collapse as if all sites followed one random walk: delta = 1/2, nu_par = 2.",
            found.collapses,
            RANDOM_WALK,
            source=HERE,
        ),
        *(
            compare(
                f"{part}/collapse-{label}",
                f"With free exponents the collapse of the means finds {symbol} of directed percolation.",
                PAPER,
                expected,
                _exponent(free, key),
                resolution=_resolution(expected, 0.5),
                note="A free collapse is determined only where the curves overlap after rescaling.",
            )
            for label, symbol, key, expected in (
                ("delta", "beta/nu_par", "a", dp.delta.value),
                ("nu", "1/nu_par", "b", 1 / dp.nu_par.value),
            )
        ),
    ]


def _collapse_check(
    id: str, claim: str, collapses: Mapping[str, Collapse], name: str, *, source: str = PAPER
) -> Check:
    tried = collapses.get(name)
    others = "; ".join(
        f"{label}: quality {one.quality:.3g}, p = {one.p_value:.2g}" for label, one in collapses.items()
    )
    if tried is None or not math.isfinite(tried.quality):
        measured = Estimate.not_determined("too few curves for a collapse")
        return Check(id, claim, source, 1.0, measured, "not determined", others)
    points = sum(len(curve.x) for curve in tried.curves)
    measured = Estimate(
        tried.quality, math.sqrt(2 / points), "quality of the collapse, sigma_w tuned", points
    )
    rivals = [one for label, one in collapses.items() if label not in (name, "free")]
    alone = all(one.p_value <= _DOUBTFUL for one in rivals)
    verdict: Outcome = "agrees" if alone else "not determined"
    if tried.p_value <= _DOUBTFUL:
        verdict = "disagrees"
    note = (
        f"Agrees if p > {_DOUBTFUL:g} for these exponents alone, disagrees if p is below; 1 is what chance "
        f"leaves. {others}."
    )
    return Check(id, claim, source, 1.0, measured, verdict, f"{note} {tried.reason}".strip())


def _size_checks(found: Numbers, part: str) -> list[Check]:
    claims = {
        "shared": "The growth of a difference is the sharper the larger the system, as in directed "
        "percolation (shared weights).",
        "local": "Without shared weights the growth of a difference is the sharper the larger the system.",
    }
    return [
        compare(
            f"{part}/self-averaging-{weights}",
            claim,
            "self-averaging of independent sites",
            -0.5,
            found.spreads[weights][0],
            allowance=0.1,
            resolution=0.1,
            note="Slope of the spread over networks of ln |u|^2 against the number of sites; -1/2 for "
            "independent sites, 0 for noise common to all. Allowance 0.1 for small sizes.",
        )
        for weights, claim in claims.items()
    ]


def _local_checks(found: Numbers, part: str, dp: UniversalityClass) -> list[Check]:
    report = found.local_class
    reason = "fewer than three sigma_w" if report is None else report.reason
    candidate = None if report is None else report[dp.name]
    verdicts: dict[str, Outcome] = {"supported": "agrees", "excluded": "disagrees"}
    verdict = "not determined" if candidate is None else verdicts.get(candidate.verdict, "not determined")
    numbers_ = "" if report is None else "; ".join(f"{c.name}: {c.verdict}" for c in report.candidates)
    return [
        compare(
            f"{part}/local-critical-point",
            "Small differences neither grow nor shrink at this sigma_w (independent weights at every site).",
            HERE,
            None,
            found.local_critical,
            note="The locally connected control; the paper has none.",
        ),
        compare(
            f"{part}/local-decay",
            "Without shared weights the mean distance decays with the exponent of directed percolation.",
            "directed percolation, for noise that is independent between sites",
            dp.delta.value,
            _decay(found.local_slope),
            resolution=_resolution(dp.delta.value, 1.0),
            note=f"Over the last decade of layers; the typical distance: {_decay(found.local_typical)}. "
            + ("1 in mean field, 1.18 for bounded KPZ." if dp.dimensions == 1 else "1 in mean field."),
        ),
        Check(
            f"{part}/local-class",
            "The locally connected control belongs to directed percolation.",
            "scaling.identify_class",
            dp.delta.value,
            Estimate.not_determined(reason) if candidate is None else candidate.exponent,
            verdict,
            f"{reason} {numbers_}".strip(),
        ),
    ]


def _seed_checks(found: Numbers, part: str, dp: UniversalityClass) -> list[Check]:
    return [
        compare(
            f"{part}/seed-mass",
            "From a single site the mean mass of the difference grows with the exponent of directed "
            "percolation.",
            "directed percolation, mass of a seed",
            dp.theta.value,
            found.mass,
            resolution=_resolution(dp.theta.value, 0.0),
            note="At the critical sigma_w of shared weights; the mean over networks.",
        ),
        compare(
            f"{part}/seed-survival",
            "A difference at a single site stays alive with the exponent of directed percolation.",
            "directed percolation, survival of a seed",
            -dp.delta.value,
            found.survival,
            resolution=_resolution(dp.delta.value, 1.0),
            note="Alive: the largest distance of all sites is above 0.01. Differences never vanish exactly.",
        ),
    ]


def _sign(value: Estimate, *, negative: bool) -> Outcome:
    if not value.determined or abs(value.value) <= 3 * value.error:
        return "not determined"
    return "agrees" if (value.value < 0) == negative else "disagrees"


def _resolution(exponent: float, rival: float) -> float:
    """Return the largest error that tells an exponent from its rival: a third of their distance."""
    return abs(exponent - rival) / 3


def _decay(slope: Estimate) -> Estimate:
    """Return the exponent of a decay, positive where y falls."""
    if not slope.determined:
        return slope
    return Estimate(-slope.value, slope.error, slope.method, slope.n, slope.window)


def _difference_in_error(value: Estimate, reference: Estimate) -> Estimate:
    if not (value.determined and reference.determined):
        return value if not value.determined else Estimate.not_determined(reference.reason)
    return Estimate(value.value, math.hypot(value.error, reference.error), value.method, value.n)


def _exponent(free: Collapse | None, name: str) -> Estimate:
    if free is None:
        return Estimate.not_determined("too few curves for a collapse")
    if not free.determined:
        return Estimate.not_determined(free.reason)
    return free.exponents[name]
