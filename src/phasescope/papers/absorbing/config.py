"""What all parts of the study ``absorbing`` share: which activations, and at which bias."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from phasescope.activations import Activation, load_activation
from phasescope.errors import InputError
from phasescope.studies.contract import StudySettings
from phasescope.theory import CriticalLinePoint, critical_line
from phasescope.userfiles import contents_hash, is_file_spec

STUDY = "absorbing"


class Common(StudySettings):
    """Settings that every part reads."""

    # the one that single-activation parts follow: a name, or ``FILE.py:function`` of the user's own
    activation: str = "tanh"
    # those it is compared with where universality is the question
    compared: tuple[str, ...] = ("tanh", "erf", "sin")
    sigma_b: float = 0.3  # standard deviation of the biases
    # mnist, fashion_mnist: folders of the user's own copies; empty to do without
    mnist: str = ""
    fashion_mnist: str = ""

    @property
    def activations(self) -> tuple[str, ...]:
        """The activation followed, then those it is compared with, each once."""
        return tuple(dict.fromkeys([self.activation, *self.compared]))


def identified(spec: str) -> dict[str, Any]:
    """Return the parameters by which a task knows an activation: its name and, of a file, its contents."""
    if not is_file_spec(spec):
        return {"activation": spec}
    return {"activation": spec, "file_sha256": contents_hash(spec)}


def resolved(spec: str) -> Activation:
    """Return the activation that `spec` names; a file is read again when its contents have changed."""
    return _loaded(**identified(spec))


def activation_of(parameters: Mapping[str, Any]) -> Activation:
    """Return the activation of a task, made sure to be the one that the task was planned with."""
    spec = str(parameters["activation"])
    known = {key: parameters[key] for key in ("activation", "file_sha256") if key in parameters}
    if identified(spec) != known:
        raise InputError(f"{spec} has changed while the study was running.", "Run the same command again.")
    return _loaded(**known)


@lru_cache(maxsize=64)
def _loaded(activation: str, file_sha256: str = "") -> Activation:
    """Return the activation; the hash is what tells one version of a file from the next."""
    return load_activation(activation)


def line_point(spec: str, sigma_b: float) -> CriticalLinePoint:
    """Return the critical line's point of an activation."""
    return _on_the_line(sigma_b, **identified(spec))


@lru_cache(maxsize=256)
def _on_the_line(sigma_b: float, activation: str, file_sha256: str = "") -> CriticalLinePoint:
    """Return the point; every task of a part asks for it again."""
    return critical_line(_loaded(activation, file_sha256), sigma_b)
