"""A user's module observed without a trace: its rows, its tangents, its inputs."""

from __future__ import annotations

from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.layers import Layer, discover
from phasescope.recording.tangents import pull_back, push_difference, push_forward
from phasescope.recording.untouched import untouched

__all__ = [
    "Batch",
    "Layer",
    "as_batch",
    "discover",
    "pull_back",
    "push_difference",
    "push_forward",
    "untouched",
]
