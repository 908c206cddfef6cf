"""Tables and notes of the convolutional parts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from phasescope.estimate import Estimate
from phasescope.papers.absorbing.cnn.curves import Curves
from phasescope.papers.absorbing.cnn.numbers import RANDOM_WALK, Numbers, class_exponents
from phasescope.scaling import Collapse
from phasescope.studies.contract import Table

if TYPE_CHECKING:
    from phasescope.papers.absorbing.cnn.part import CnnSettings


def tables(found: Numbers, settings: CnnSettings, dimensions: int) -> list[Table]:
    """Return the attempted collapses, the critical points by size, and how many rows stay rough."""
    collapses = [
        [
            name,
            f"{delta:.4g}",
            f"{rate:.4g}",
            *(_told(found.collapses.get(name))),
            *(_told(found.typical_collapses.get(name))),
        ]
        for name, (delta, rate) in {**class_exponents(dimensions), "free": (math.nan, math.nan)}.items()
    ]
    shares = [
        [f"{curve.sigma_w:.4f}", _mean_exponent(curve, settings.discard), str(found.rough[curve.sigma_w])]
        for curve in found.main
    ]
    return [
        Table(
            "Attempted collapses of l^delta rho against tau l^(1/nu_par), sigma_w tuned in each",
            [
                "class",
                "delta",
                "1/nu_par",
                "mean: quality",
                "p",
                "sigma_w",
                "typical: quality",
                "p",
                "sigma_w",
            ],
            collapses,
        ),
        Table(
            "Critical sigma_w against size, shared weights",
            ["sites along each dimension", "zero of the exponent"],
            [
                *([str(size), str(zero)] for size, zero in found.critical.items()),
                ["uniform rows", str(found.uniform_critical)],
            ],
        ),
        Table(
            f"Largest size after {settings.depth} layers",
            ["sigma_w", "exponent per layer", "share of networks whose sites still differ"],
            shares,
        ),
    ]


def _mean_exponent(curve: Curves, begin: float) -> str:
    return str(Estimate.from_samples(curve.exponents(begin)))


def _told(one: Collapse | None) -> tuple[str, str, str]:
    if one is None:
        return "-", "-", "-"
    critical = one.exponents["critical"]
    return f"{one.quality:.3g}", f"{one.p_value:.2g}", f"{critical.value:.4f}" if critical.determined else "-"


def notes(settings: CnnSettings, dimensions: int) -> list[str]:
    """Return what was chosen here and how to read it."""
    s = settings
    window = " x ".join([str(s.kernel_size)] * dimensions)
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
