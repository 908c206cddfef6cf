"""Fluctuations of activations in time: exponents with honest errors, and the nulls that imitate them."""

from __future__ import annotations

from phasescope.noise.ablation import Ablation, ablation
from phasescope.noise.dfa import DFA, dfa
from phasescope.noise.fluctuation import expected_fluctuation
from phasescope.noise.generators import (
    arfima,
    arfima_autocovariance,
    autoregressive,
    autoregressive_autocovariance,
    coloured_noise,
    fractional_autocovariance,
    fractional_gaussian_noise,
    phase_randomised,
    shuffled,
)
from phasescope.noise.nulls import (
    AutoregressiveFit,
    MemoryTest,
    RelaxationTest,
    fit_autoregressive,
    memory_test,
    relaxation_test,
)
from phasescope.noise.population import Population, population
from phasescope.noise.record import Recording, record
from phasescope.noise.reinitialised import reinitialised
from phasescope.noise.spectrum import Lines, SpectralExponent, lines, local_whittle, multitaper, welch
from phasescope.noise.utilisation import Utilisation, utilisation
from phasescope.noise.verdict import Verdict, consistency, verdict

__all__ = [
    "DFA",
    "Ablation",
    "AutoregressiveFit",
    "Lines",
    "MemoryTest",
    "Population",
    "Recording",
    "RelaxationTest",
    "SpectralExponent",
    "Utilisation",
    "Verdict",
    "ablation",
    "arfima",
    "arfima_autocovariance",
    "autoregressive",
    "autoregressive_autocovariance",
    "coloured_noise",
    "consistency",
    "dfa",
    "expected_fluctuation",
    "fit_autoregressive",
    "fractional_autocovariance",
    "fractional_gaussian_noise",
    "lines",
    "local_whittle",
    "memory_test",
    "multitaper",
    "phase_randomised",
    "population",
    "record",
    "reinitialised",
    "relaxation_test",
    "shuffled",
    "utilisation",
    "verdict",
    "welch",
]


def __dir__() -> list[str]:
    return list(__all__)
