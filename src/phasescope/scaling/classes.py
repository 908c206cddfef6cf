"""The universality classes that data are compared with, and where their exponents come from."""

from __future__ import annotations

from dataclasses import dataclass

from phasescope.estimate import Estimate
from phasescope.results import Result


@dataclass(frozen=True)
class UniversalityClass(Result):
    """Critical exponents of one class of absorbing phase transitions.

    At the critical point the density decays as ``t^-delta`` from a homogeneous start, and the mean mass of
    a single seed grows as ``t^theta``; near it ``rho = t^-delta F(tau t^(1/nu_par))``, the stationary density
    is ``tau^beta``, and in a system of size L everything depends on ``t/L^z``.

    Parameters
    ----------
    name : str
        Short name.
    dimensions : int or None
        Dimensions of space in which it occurs; None where it does not depend on them.
    beta, nu_par, nu_perp, delta, z : Estimate
        Exponents with the errors that the source gives; 0 where they are exact. Not determined, with the
        reason, where the class has no such number.
    theta : Estimate
        Mass of a seed; likewise.
    source : str
        Where the numbers come from.
    citations : str
        Keys of the papers.
    logarithms : bool
        Whether the leading correction to ``t^-delta`` is ``ln t/t``, as in mean field.
    common_noise : bool
        Whether one noise acts on all sites of a run, so that runs part however large they are.
    """

    name: str
    dimensions: int | None
    beta: Estimate
    nu_par: Estimate
    nu_perp: Estimate
    delta: Estimate
    z: Estimate
    theta: Estimate
    source: str
    citations: str
    logarithms: bool = False
    common_noise: bool = False


def _exact(value: float) -> Estimate:
    return Estimate(value, 0.0, "exact", 0)


def _literature(value: float, error: float) -> Estimate:
    return Estimate(value, error, "literature", 0)


_MEAN_FIELD = UniversalityClass(
    "mean field",
    None,
    beta=_exact(1.0),
    nu_par=_exact(1.0),
    nu_perp=_exact(0.5),
    delta=_exact(1.0),
    z=_exact(2.0),
    theta=_exact(0.0),
    source="exact: d rho/dt = tau rho - rho^2 with diffusion",
    citations="hinrichsen2000",
    logarithms=True,
)

_DP_1 = UniversalityClass(
    "DP 1+1",
    1,
    beta=_literature(0.276486, 8e-6),
    nu_par=_literature(1.733847, 6e-6),
    nu_perp=_literature(1.096854, 4e-6),
    delta=_literature(0.159464, 6e-6),
    z=_literature(1.580745, 1e-5),
    theta=_literature(0.313686, 8e-6),
    source="series to order 171: Jensen, J. Phys. A 32, 5233 (1999)",
    citations="jensen1999",
)

_DP_2 = UniversalityClass(
    "DP 2+1",
    2,
    beta=_literature(0.5834, 0.0030),
    nu_par=_literature(1.2950, 0.0060),
    nu_perp=_literature(0.7333, 0.0075),
    delta=_literature(0.4505, 0.0010),
    z=_literature(1.7660, 0.0016),
    theta=_literature(0.2295, 0.0010),
    source="simulation: Voigt and Ziff, PRE 56, R6241 (1997)",
    citations="voigt1997",
)

_BOUNDED_KPZ = UniversalityClass(
    "bounded KPZ 1+1",
    1,
    beta=_literature(1.776, 0.015),
    nu_par=_exact(1.5),
    nu_perp=_exact(1.0),
    delta=_literature(1.184, 0.010),
    z=_exact(1.5),
    theta=Estimate.not_determined("the noise vanishes with the density, so a seed has no mass of its own"),
    source="simulation of MN1: Kissinger et al., J. Stat. Mech. P06002 (2005); nu_par, z exact by KPZ",
    citations="kissinger2005",
)

_ONE_SITE = "all sites of a run share one factor: no length grows with time"

_TEMPORAL_DISORDER = UniversalityClass(
    "temporal disorder",
    None,
    beta=_exact(1.0),
    nu_par=_exact(2.0),
    nu_perp=Estimate.not_determined(_ONE_SITE),
    delta=_exact(0.5),
    z=Estimate.not_determined(_ONE_SITE),
    theta=Estimate.not_determined(
        "the mean mass of a seed grows exponentially where the typical one stands still"
    ),
    source="exact: d rho/dt = (tau + common noise) rho - rho^2; Vojta and Hoyos, EPL 112, 30002 (2015)",
    citations="vojta2015",
    common_noise=True,
)

_SLOWER = "the mean decays as 1/ln t, slower than any power of t"

_INFINITE_NOISE = UniversalityClass(
    "infinite noise",
    None,
    beta=Estimate.not_determined("not compared here"),
    nu_par=Estimate.not_determined(
        "the decay is logarithmic: the time scale grows faster than any power of 1/tau"
    ),
    nu_perp=Estimate.not_determined("not compared here"),
    delta=Estimate.not_determined(_SLOWER),
    z=Estimate.not_determined("not compared here"),
    theta=Estimate.not_determined(_SLOWER + ", and a seed has no power law of its own"),
    source="common noise on sites that spread: Barghathi, Vojta and Hoyos, PRE 94, 022111 (2016)",
    citations="vojta2015 barghathi2016",
    common_noise=True,
)

UNIVERSALITY_CLASSES: dict[str, UniversalityClass] = {
    known.name: known
    for known in (_MEAN_FIELD, _DP_1, _DP_2, _BOUNDED_KPZ, _TEMPORAL_DISORDER, _INFINITE_NOISE)
}
"""Every class that :func:`identify_class` knows, by name."""
