"""A user's module observed without a trace: its rows, its tangents, its inputs."""

from __future__ import annotations

from phasescope.recording.batch import Batch, as_batch, first_float
from phasescope.recording.forward import run
from phasescope.recording.layers import Layer, discover, watched
from phasescope.recording.tangents import pull_back, push_difference, push_double_backward, push_forward
from phasescope.recording.untouched import alone, untouched

__all__ = [
    "Batch",
    "Layer",
    "alone",
    "as_batch",
    "discover",
    "first_float",
    "pull_back",
    "push_difference",
    "push_double_backward",
    "push_forward",
    "run",
    "untouched",
    "watched",
]


def __dir__() -> list[str]:
    return list(__all__)
