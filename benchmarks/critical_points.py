"""Critical points of ten activations: phasescope beside AnyInit, and where each leads over 50 layers."""

from __future__ import annotations

import anyinit

from benchmarks.harness import Comparison, interleaved
from phasescope.theory import MeanField, critical_point

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "gelu", "silu", "elu", "hardswish", "softplus", "selu", "relu2")
DEPTH = 50
SPELLED_HERE = {"relu2": "repu2"}


def _fate(activation: str, C_W: float, C_b: float, K: float) -> dict[str, float]:
    """Kernel and gradient after 50 infinitely wide layers, starting at the kernel that the tool aims for."""
    field = MeanField(activation, C_W, C_b)
    gradient = 1.0
    kernel = K
    for _ in range(DEPTH):
        if not 1e-30 < kernel < 1e30:
            return {"kernel": kernel, "gradient": float("nan")}
        gradient *= float(field.chi_perpendicular(kernel))
        kernel = float(field.kernel_map(kernel))
    return {"kernel": kernel, "gradient": gradient}


def _row(name: str) -> dict[str, object]:
    here = SPELLED_HERE.get(name, name)
    point = critical_point(here)
    peer = anyinit.activation_profile(name)
    target = peer.gain**2 if peer.diagnostics.sigma_star is not None else 1.0
    theirs = _fate(here, peer.gain**2, 0.0, target)
    row: dict[str, object] = {
        "activation": name,
        "phasescope class": point.universality_class,
        "phasescope C_W": point.C_W,
        "phasescope C_b": point.C_b,
        "AnyInit C_W": peer.gain**2,
        "AnyInit verdict": peer.diagnostics.verdict,
        f"AnyInit gradient gain over {DEPTH} layers": theirs["gradient"],
        f"AnyInit kernel after {DEPTH} layers": theirs["kernel"],
    }
    if point.universality_class != "none":
        # At K* = 0 the kernel that a network of this depth really starts from is small, not zero.
        start = (
            point.K if point.K else (1.0 if point.universality_class == "scale-invariant" else 1.0 / DEPTH)
        )
        ours = _fate(here, point.C_W, point.C_b, start)
        row[f"phasescope gradient gain over {DEPTH} layers"] = ours["gradient"]
        row[f"phasescope kernel after {DEPTH} layers"] = ours["kernel"]
    return row


def run() -> Comparison:
    """Return the table of initialisations and the time both tools take for all ten activations."""
    comparison = Comparison("Critical points of ten activations", "ten activations")
    comparison.rows = [_row(name) for name in ACTIVATIONS]
    contenders = {
        "AnyInit": lambda: [_fresh_profile(name) for name in ACTIVATIONS],
        "phasescope": lambda: [critical_point(SPELLED_HERE.get(name, name)) for name in ACTIVATIONS],
    }
    comparison.seconds, comparison.ratios = interleaved(contenders, repeats=5)
    comparison.remarks = [
        "AnyInit solves one scale per layer for E[sigma^2] = 1 with biases at zero: it cannot place a "
        "bias variance, so the half-stable points of GELU and SiLU are out of its reach, and it calls tanh "
        "infeasible.",
        "It holds the kernel, not the gradient: its column shows by how much the second moment of the "
        "gradient grows or shrinks over 50 layers at its own point (1 is critical).",
        "The times are not for the same work: phasescope also scans for half-stable points, classifies, and "
        "gives a1, b1 and the reason where there is no critical point.",
    ]
    return comparison


def _fresh_profile(name: str) -> object:
    """AnyInit caches profiles by name; a renamed registration makes it work anew."""
    function = anyinit.BUILTIN_ACTIVATIONS[name]
    anyinit.register_activation(lambda x: function(x), name="benchmark_fresh", overwrite=True)
    profile = anyinit.activation_profile("benchmark_fresh")
    anyinit.unregister_activation("benchmark_fresh")
    return profile.diagnostics
