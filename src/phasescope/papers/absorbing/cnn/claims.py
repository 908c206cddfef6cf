"""What the convolutional parts hold against directed percolation and its rivals, with tables and notes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from phasescope.estimate import Estimate
from phasescope.papers.absorbing.cnn.numbers import FREE, RANDOM_WALK, Numbers
from phasescope.scaling import Collapse
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.part import Table

_PAPER = "arXiv:2307.02284, collapse of convolutional networks"
# A collapse is refused below this chance.
_DOUBTFUL = 0.01


def claims(n: Numbers) -> list[Check]:
    """Return the checks: critical points, decay, collapse, size, the local control, and seeds."""
    return [
        *_critical_claims(n),
        *_decay_claims(n),
        *_collapse_claims(n),
        *_size_claims(n),
        *_local_claims(n),
        *_seed_claims(n),
    ]


def _critical_claims(n: Numbers) -> list[Check]:
    return [
        Claim(
            "critical-point",
            "Small differences neither grow nor shrink at this sigma_w (shared weights, rows that vary).",
        ).equals(
            None,
            n.zero,
            note=f"{n.settings.sizes[-1]} sites along each dimension; the first half of the layers gives "
            f"{n.early}, the second {n.late}. The paper gives no number.",
        ),
        Claim(
            "uniform-critical-point",
            "Small differences about a row that is the same at all sites neither grow nor shrink at this "
            "sigma_w (shared weights).",
        ).equals(
            None,
            n.uniform_critical,
            note="Below it a network that has once become uniform stays so. The paper gives no number.",
        ),
        Claim(
            "uniform-rows-stable",
            "Where differences on rows that vary keep their size, uniform rows are stable, so that sites "
            "become alike, too, in one network after the other.",
        ).below(
            0.0,
            n.uniform_exponent,
            note="Agrees if the Lyapunov exponent about a uniform row is below 0 by 3 standard errors.",
        ),
        Claim(
            "tuned-point",
            "The sigma_w at which the ensemble mean looks most like a power law is the critical one.",
            _PAPER,
        ).equals(
            n.zero.value,
            _with_error_of(n.zero, n.tuned),
            note="The error holds that of the critical point.",
        ),
    ]


def _with_error_of(reference: Estimate, found: Estimate) -> Estimate:
    if found.determined and not reference.determined:
        return Estimate.not_determined(reference.reason)
    return replace(found, error=math.hypot(found.error, reference.error))


def _decay_claims(n: Numbers) -> list[Check]:
    delta = n.dp.delta.value
    resolution = _resolution(delta, 0.5)
    return [
        Claim(
            "mean-decay",
            "At the critical sigma_w the mean distance decays with the exponent of directed percolation.",
            _PAPER,
        ).equals(
            delta,
            -n.mean_slope,
            resolution=resolution,
            note="delta = beta/nu_par, over the last decade of layers. Agreement takes an error of at most "
            f"{resolution:.2g}, a third of what sets the two apart.",
        ),
        Claim(
            "tuned-decay",
            "With sigma_w tuned until the mean is straightest, its exponent is that of directed percolation.",
            _PAPER,
        ).equals(
            delta,
            -n.tuned_slope,
            resolution=resolution,
            note="The collapse of the paper tunes sigma_w; this repeats it on the ensemble mean.",
        ),
        Claim(
            "typical-decay",
            "At the critical sigma_w the typical distance decays as the mean does.",
            _PAPER,
        ).equals(
            0.0,
            n.gap,
            resolution=0.1,
            note="d<ln rho>/d ln l - d ln<rho>/d ln l over the last decade: 0 in a self-averaging system.",
        ),
    ]


def _resolution(exponent: float, rival: float) -> float:
    """Return the largest error that tells an exponent from its rival: a third of their distance."""
    return abs(exponent - rival) / 3


def _collapse_claims(n: Numbers) -> list[Check]:
    mean = n.collapses["mean"]
    with_dp = [
        _collapse_check(
            Claim(
                f"collapse-{statistic}",
                f"The {statistic} distances collapse with the exponents of directed percolation.",
                _PAPER,
            ),
            collapses,
            n.dp.name,
        )
        for statistic, collapses in n.collapses.items()
    ]
    random_walk = Claim(
        "collapse-random-walk",
        "The mean distances collapse as if all sites followed one random walk: delta = 1/2, nu_par = 2.",
    )
    free = [
        Claim(
            f"collapse-{label}",
            f"With free exponents the collapse of the means finds {symbol} of directed percolation.",
            _PAPER,
        ).equals(
            expected,
            _exponent(mean.get(FREE), key),
            resolution=_resolution(expected, 0.5),
            note="A free collapse is determined only where the curves overlap after rescaling.",
        )
        for label, symbol, key, expected in (
            ("delta", "beta/nu_par", "a", n.dp.delta.value),
            ("nu", "1/nu_par", "b", 1 / n.dp.nu_par.value),
        )
    ]
    return [*with_dp, _collapse_check(random_walk, mean, RANDOM_WALK), *free]


def _collapse_check(claim: Claim, collapses: Mapping[str, Collapse], name: str) -> Check:
    """Return whether the curves collapse with these exponents, and with no others that were tried."""
    tried = collapses.get(name)
    others = "; ".join(
        f"{label}: quality {one.quality:.3g}, p = {one.p_value:.2g}" for label, one in collapses.items()
    )
    if tried is None or not math.isfinite(tried.quality):
        nothing = Estimate.not_determined("too few curves for a collapse")
        return claim.found(1.0, nothing, "not determined", others)
    points = sum(len(curve.x) for curve in tried.curves)
    quality = Estimate(tried.quality, math.sqrt(2 / points), "quality of the collapse, sigma_w tuned", points)
    rivals = [one for label, one in collapses.items() if label not in (name, FREE)]
    alone = all(one.p_value <= _DOUBTFUL for one in rivals)
    verdict: Outcome = "agrees" if alone else "not determined"
    if tried.p_value <= _DOUBTFUL:
        verdict = "disagrees"
    note = (
        f"Agrees if p > {_DOUBTFUL:g} for these exponents alone, disagrees if p is below; 1 is what chance "
        f"leaves. {others}. {tried.reason}"
    )
    return claim.found(1.0, quality, verdict, note.strip())


def _exponent(free: Collapse | None, name: str) -> Estimate:
    if free is None:
        return Estimate.not_determined("too few curves for a collapse")
    return free.exponents[name] if free.determined else Estimate.not_determined(free.reason)


def _size_claims(n: Numbers) -> list[Check]:
    sentences = {
        "shared": "The growth of a difference is the sharper the larger the system, as in directed "
        "percolation (shared weights).",
        "local": "Without shared weights the growth of a difference is the sharper the larger the system.",
    }
    return [
        Claim(f"self-averaging-{weights}", sentence, "self-averaging of independent sites").equals(
            -0.5,
            n.spreads[weights][0],
            allowance=0.1,
            resolution=0.1,
            note="Slope of the spread over networks of ln |u|^2 against the number of sites; -1/2 for "
            "independent sites, 0 for noise common to all. Allowance 0.1 for small sizes.",
        )
        for weights, sentence in sentences.items()
    ]


def _local_claims(n: Numbers) -> list[Check]:
    delta = n.dp.delta.value
    rivals = "1 in mean field, 1.18 for bounded KPZ." if n.dimensions == 1 else "1 in mean field."
    return [
        Claim(
            "local-critical-point",
            "Small differences neither grow nor shrink at this sigma_w (independent weights at every site).",
        ).equals(None, n.local_critical, note="The locally connected control; the paper has none."),
        Claim(
            "local-decay",
            "Without shared weights the mean distance decays with the exponent of directed percolation.",
            "directed percolation, for noise that is independent between sites",
        ).equals(
            delta,
            -n.local_slope,
            resolution=_resolution(delta, 1.0),
            note=f"Over the last decade of layers; the typical distance: {-n.local_typical}. {rivals}",
        ),
        _class_check(n),
    ]


def _class_check(n: Numbers) -> Check:
    claim = Claim(
        "local-class",
        "The locally connected control belongs to directed percolation.",
        "scaling.identify_class",
    )
    delta, report = n.dp.delta.value, n.local_class
    if report is None:
        reason = "fewer than three sigma_w"
        return claim.found(delta, Estimate.not_determined(reason), "not determined", reason)
    verdicts: dict[str, Outcome] = {"supported": "agrees", "excluded": "disagrees"}
    candidate = report[n.dp.name]
    verdict = verdicts.get(candidate.verdict, "not determined")
    every = "; ".join(f"{c.name}: {c.verdict}" for c in report.candidates)
    return claim.found(delta, candidate.exponent, verdict, f"{report.reason} {every}".strip())


def _seed_claims(n: Numbers) -> list[Check]:
    theta, delta = n.dp.theta.value, n.dp.delta.value
    return [
        Claim(
            "seed-mass",
            "From a single site the mean mass of the difference grows with the exponent of directed "
            "percolation.",
            "directed percolation, mass of a seed",
        ).equals(
            theta,
            n.mass,
            resolution=_resolution(theta, 0.0),
            note="At the critical sigma_w of shared weights; the mean over networks.",
        ),
        Claim(
            "seed-survival",
            "A difference at a single site stays alive with the exponent of directed percolation.",
            "directed percolation, survival of a seed",
        ).equals(
            -delta,
            n.survival,
            resolution=_resolution(delta, 1.0),
            note="Alive: the largest distance of all sites is above 0.01. Differences never vanish exactly.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    """Return the attempted collapses, the critical points by size, and how many rows stay rough."""
    s = n.settings
    columns = ["class", "delta", "1/nu_par"]
    columns += ["mean: quality", "p", "sigma_w", "typical: quality", "p", "sigma_w"]
    collapses = [
        [name, f"{delta:.4g}", f"{rate:.4g}"]
        + [cell for collapses in n.collapses.values() for cell in _cells(collapses.get(name))]
        for name, (delta, rate) in n.tried.items()
    ]
    zeros = [[str(size), str(zero)] for size, zero in n.critical.items()]
    shares = [
        [f"{curve.sigma_w:.4f}", str(curve.exponent(s.discard)), str(n.rough[curve.sigma_w])]
        for curve in n.main
    ]
    return [
        Table(
            "Attempted collapses of l^delta rho against tau l^(1/nu_par), sigma_w tuned in each",
            columns,
            collapses,
        ),
        Table(
            "Critical sigma_w against size, shared weights",
            ["sites along each dimension", "zero of the exponent"],
            [*zeros, ["uniform rows", str(n.uniform_critical)]],
        ),
        Table(
            f"Largest size after {s.depth} layers",
            ["sigma_w", "exponent per layer", "share of networks whose sites still differ"],
            shares,
        ),
    ]


def _cells(one: Collapse | None) -> list[str]:
    if one is None:
        return ["-", "-", "-"]
    critical = one.exponents["critical"]
    place = f"{critical.value:.4f}" if critical.determined else "-"
    return [f"{one.quality:.3g}", f"{one.p_value:.2g}", place]


def notes(n: Numbers) -> list[str]:
    """Return what was chosen here and how to read it."""
    s = n.settings
    window = " x ".join([str(s.kernel_size)] * n.dimensions)
    return [
        f"Chosen here, because the paper does not say: {s.channels} channels, kernel {window}, cyclic "
        f"padding, one bias a channel, {s.batch * s.batches} networks for each sigma_w, and in the first "
        "layer independent pre-activations at every site and of both inputs. rho is 1 - c of the channel "
        "vectors at a site, not centred. Mean: over sites and networks; typical: the mean of ln rho.",
        "The sites of one network with shared weights are like replicas of each other: where inputs become "
        "alike, sites do, and about a uniform row the exponent is lower. So near the transition networks "
        "drop one after the other out of the state in which sites differ, and the zero of the exponent moves "
        "up with depth. The control with independent weights and biases at every site has no such row.",
        f"{RANDOM_WALK}: delta = 1/2 and nu_par = 2 (derived here) follow if one multiplicative noise acts "
        "on all sites; directed percolation assumes noise that is independent between sites.",
    ]
