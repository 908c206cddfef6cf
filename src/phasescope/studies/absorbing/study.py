"""The study ``absorbing``: its configuration, its presets and its parts."""

from __future__ import annotations

from typing import Any

from phasescope.studies.absorbing import (
    config,
    decay,
    lyapunov,
    metric_factors,
    phase_diagram,
    tangent_kernel,
)
from phasescope.studies.contract import Study

_PARTS = {
    "phase_diagram": (phase_diagram, phase_diagram.PhaseDiagram),
    "lyapunov": (lyapunov, lyapunov.Lyapunov),
    "decay": (decay, decay.Decay),
    "metric_factors": (metric_factors, metric_factors.MetricFactors),
    "tangent_kernel": (tangent_kernel, tangent_kernel.TangentKernel),
}


class AbsorbingConfig(config.Common):
    """Configuration of the whole study: what all parts share, and the sizes of each."""

    phase_diagram: phase_diagram.PhaseDiagramSettings
    lyapunov: lyapunov.LyapunovSettings
    decay: decay.DecaySettings
    metric_factors: metric_factors.MetricFactorsSettings
    tangent_kernel: tangent_kernel.TangentKernelSettings


def _preset(name: str) -> AbsorbingConfig:
    sizes: dict[str, Any] = {field: getattr(module, name) for field, (module, _) in _PARTS.items()}
    return AbsorbingConfig(**sizes)


STUDY = Study(
    name=config.STUDY,
    title="Absorbing phase transitions in deep networks",
    summary="Signal propagation at initialisation as a phase transition: exponents, collapses, finite width.",
    source="arXiv:2307.02284",
    presets={"quick": _preset("QUICK"), "paper": _preset("PAPER")},
    parts=tuple(part() for _, part in _PARTS.values()),
    citations=("tamai2023",),
)
