"""Inspections with chosen numbers, for what reads them."""

import math

import pytest

from phasescope.instruments import Finding, Inspection, SignalPropagation
from synthetic_profile import synthetic_profile


def make_inspection(label="net", *, depth=12, chi=0.7, phase="ordered", model="Sequential", **changes):
    dataset = synthetic_profile(depth, chi=chi, phase=phase, model=model, **changes)
    finding = Finding(
        f"The network is {phase}.",
        f"ln chi = {math.log(chi):.3f} ± 0.010",
        "Call phasescope.signal.critical_(model, batch).",
        "ok" if phase == "critical" else "problem",
    )
    return Inspection(
        label=label,
        model=model,
        datasets={"propagation": dataset},
        findings=[finding],
        skipped={"noise": "it needs a sequence of inputs"},
        tables={},
        seconds=1.25,
        instruments={"propagation": SignalPropagation()},
    )


@pytest.fixture
def inspection():
    """A function that makes one."""
    return make_inspection


@pytest.fixture
def three():
    """One ordered, one chaotic and one critical network."""
    return [
        make_inspection("small", chi=0.5, phase="ordered"),
        make_inspection("large", chi=2.0, phase="chaotic"),
        make_inspection("just right", chi=1.0, phase="critical"),
    ]
