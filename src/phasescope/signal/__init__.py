"""Signal propagation through finite networks: a user's own module, layer by layer."""

from __future__ import annotations

from phasescope.signal.initialising.initialise import Initialisation, critical_
from phasescope.signal.profile import Profile, profile
from phasescope.signal.readout import (
    IndependenceDeficit,
    classification_dimension,
    independence_deficit,
)
from phasescope.signal.sampling.cnn import cnn_lyapunov_exponent, sample_cnn
from phasescope.signal.sampling.lyapunov import lyapunov_exponent
from phasescope.signal.sampling.mlp import sample_mlp
from phasescope.signal.spectra import Spectra, spectra
from phasescope.signal.tokens import tokens
from phasescope.signal.verdict import Verdict, verdict

__all__ = [
    "IndependenceDeficit",
    "Initialisation",
    "Profile",
    "Spectra",
    "Verdict",
    "classification_dimension",
    "cnn_lyapunov_exponent",
    "critical_",
    "independence_deficit",
    "lyapunov_exponent",
    "profile",
    "sample_cnn",
    "sample_mlp",
    "spectra",
    "tokens",
    "verdict",
]


def __dir__() -> list[str]:
    return list(__all__)
