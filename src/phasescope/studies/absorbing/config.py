"""What all parts of the study ``absorbing`` share: which activations, and at which bias."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from phasescope.activations import Activation, as_activation
from phasescope.studies.contract import Settings
from phasescope.theory import CriticalLinePoint, critical_line

STUDY = "absorbing"


class Common(Settings):
    """Settings that every part reads.

    Parameters
    ----------
    seed : int
        Enters every task's parameters, and so every task's seed.
    activation : str
        The one that single-activation parts follow: a name, or ``FILE.py:function`` of the user's own.
    compared : tuple of str
        Those it is compared with where universality is the question.
    sigma_b : float
        Standard deviation of the biases.
    mnist, fashion_mnist : str
        Folders of the user's own copies; empty to do without.
    """

    seed: int = 0
    activation: str = "tanh"
    compared: tuple[str, ...] = ("tanh", "erf", "sin")
    sigma_b: float = 0.3
    mnist: str = ""
    fashion_mnist: str = ""

    @property
    def activations(self) -> tuple[str, ...]:
        """The activation followed, then those it is compared with, each once."""
        return tuple(dict.fromkeys([self.activation, *self.compared]))


def identified(spec: str) -> dict[str, Any]:
    """Return the parameters by which a task knows an activation: its name and, of a file, its contents.

    Parameters
    ----------
    spec : str
        A name, or ``FILE.py:function``.
    """
    if ".py" not in spec:
        return {"activation": spec}
    path = Path(spec.partition(".py")[0] + ".py")
    return {"activation": spec, "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}


def resolved(spec: str) -> Activation:
    """Return the activation that `spec` names.

    Parameters
    ----------
    spec : str
        A name, or ``FILE.py:function``.
    """
    return as_activation(spec)


def line_point(spec: str, sigma_b: float) -> CriticalLinePoint:
    """Return the critical line's point of an activation.

    Parameters
    ----------
    spec : str
        A name, or ``FILE.py:function``.
    sigma_b : float
        Standard deviation of the biases.
    """
    return critical_line(resolved(spec), sigma_b)
