"""The study ``absorbing``: its configuration, its presets and its parts."""

from __future__ import annotations

from typing import Any

from phasescope.papers.absorbing import (
    config,
    decay,
    finite_training,
    finite_width,
    generalisation,
    lyapunov,
    metric_factors,
    phase_diagram,
    tangent_kernel,
    width_cost,
)
from phasescope.papers.absorbing.cnn import cnn_1d, cnn_2d
from phasescope.studies.contract import Study

_PARTS = {
    "phase_diagram": (phase_diagram, phase_diagram.PhaseDiagram),
    "lyapunov": (lyapunov, lyapunov.Lyapunov),
    "decay": (decay, decay.Decay),
    "metric_factors": (metric_factors, metric_factors.MetricFactors),
    "finite_width": (finite_width, finite_width.FiniteWidth),
    "width_cost": (width_cost, width_cost.WidthCost),
    "cnn_1d": (cnn_1d, cnn_1d.Cnn1d),
    "cnn_2d": (cnn_2d, cnn_2d.Cnn2d),
    "tangent_kernel": (tangent_kernel, tangent_kernel.TangentKernel),
    "generalisation": (generalisation, generalisation.Generalisation),
    "finite_training": (finite_training, finite_training.FiniteTraining),
}


class AbsorbingConfig(config.Common):
    """Configuration of the whole study: what all parts share, and the sizes of each."""

    phase_diagram: phase_diagram.PhaseDiagramSettings
    lyapunov: lyapunov.LyapunovSettings
    decay: decay.DecaySettings
    metric_factors: metric_factors.MetricFactorsSettings
    finite_width: finite_width.FiniteWidthSettings
    width_cost: width_cost.WidthCostSettings
    cnn_1d: cnn_1d.Cnn1dSettings
    cnn_2d: cnn_2d.Cnn2dSettings
    tangent_kernel: tangent_kernel.TangentKernelSettings
    generalisation: generalisation.GeneralisationSettings
    finite_training: finite_training.FiniteTrainingSettings


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
