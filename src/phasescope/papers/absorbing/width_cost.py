"""What a larger kappa costs in width, along the critical line of several activations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.finite_width_analysis import law_of
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.width_cost_analysis import width_cost_checks, width_cost_table
from phasescope.papers.absorbing.width_cost_figure import width_cost_figure
from phasescope.papers.absorbing.width_groups import GROUPS, PAIR, depths, grouped, networks_for
from phasescope.signal import sample_mlp
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.theory import CriticalLinePoint

_RECORDS = 24
_SEGMENTS = 20
# Seconds for one neuron of one layer with a tangent vector.
_TANGENT = 6e-8


class WidthCostSettings(Settings):
    """Sizes of the measurement of v and mu along the critical line."""

    sigma_bs: tuple[float, ...] = (0.05, 0.1, 0.3, 0.5, 1.0)  # biases at which v is measured
    growth_widths: tuple[int, ...] = (50, 100)  # widths for v, which is extrapolated in 1/n
    growth_effort: float = 1.4e7  # neurons times layers times networks for each v and width
    # biases at which mu is measured: not so small that ``1/kappa`` is as deep as networks are wide
    flow_sigma_bs: tuple[float, ...] = (0.3, 0.5, 1.0)
    flow_widths: tuple[int, ...] = (50, 100, 200)  # widths for mu, which is extrapolated in 1/n
    flow_effort: float = 1.7e7  # the same effort for each mu and width
    task_effort: float = 3e7  # the same for one task
    # how far below infinite width's the mean distance is where the infinite-width flow is said to end
    fraction: float = 0.5


QUICK = WidthCostSettings()
PAPER = WidthCostSettings(
    growth_widths=(50, 100, 200),
    growth_effort=1.2e8,
    flow_widths=(50, 100, 200, 400),
    flow_effort=1.7e8,
    task_effort=1.8e8,
)


class WidthCost(Part):
    """The variance v of growth and the width-to-depth ratio mu, against kappa along the critical line."""

    name = "width-cost"
    title = "The width that a larger kappa costs"
    citations = ("tamai2023", "matsumoto2005")
    variables: ClassVar = {
        "reference": shared.LINE,
        "growth": Variable(("group",), "mean growth of ln |u|^2 over a segment of layers"),
        "growth_square": Variable(("group",), "mean square of the same"),
        "growth_product": Variable(("group",), "mean product of the same over neighbouring segments"),
        "layer": Variable(("record",), "layers applied", "layer"),
        "mean": Variable(("group", "record"), "mean of 1 - c over a group of networks"),
        "infinite": Variable(("record",), "1 - c at infinite width"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return tasks of some networks each: tangent vectors for v, pairs of inputs for mu."""
        settings: WidthCostSettings = config.width_cost
        made = []
        for activation in config.activations:
            for sigma_b in dict.fromkeys([*settings.sigma_bs, *settings.flow_sigma_bs]):
                common = {**identified(activation), "sigma_b": sigma_b, "seed": config.seed}
                point = shared.point_or_none(activation, sigma_b)
                # One task without a sample says in the data that there is no such point.
                made.append(Task(STUDY, self.name, _sizes("point", common), seconds=0.1))
                if point is None:
                    continue
                if sigma_b in settings.sigma_bs:
                    made += [
                        task for n in settings.growth_widths for task in _growth(point, n, settings, common)
                    ]
                law = law_of(shared.named(shared.values(point)))
                if sigma_b in settings.flow_sigma_bs and math.isfinite(point.kappa) and law.a < law.v / 3:
                    reach = 2 * law.departure(settings.fraction)
                    for n in settings.flow_widths:
                        made += _flow(n, reach, settings, common)
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return moments of the growth of tangent vectors, or distances against depth."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {"quantity": len(shared.QUANTITIES), "record": _RECORDS, "group": GROUPS}
        measured: dict[str, Any] = {"reference": shared.values(point)}
        if point is not None and known["kind"] == "growth":
            measured |= _growth_moments(task, point, device)
        elif point is not None and known["kind"] == "flow":
            layers = depths(known["width"], known["reach"], _RECORDS, ())
            found = grouped(
                activation_of(known), point, known["width"], layers, known["networks"], task.seed, device
            )
            measured |= {name: found[name] for name in ("layer", "mean", "infinite")}
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return v and mu beside theory, and how they change with kappa."""
        notes = [
            "v: n times the variance per layer of ln |u|^2 of a tangent vector u, over segments of layers "
            "and their neighbours, extrapolated in 1/n. mu: n/L at the depth where the mean distance is "
            f"{config.width_cost.fraction:.0%} below that of infinite width, extrapolated likewise. Both "
            "definitions, the biases and the widths were chosen here.",
        ]
        return Analysis(width_cost_checks(data, config), [width_cost_table(data, config)], notes)

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return v and mu against kappa."""
        caption = (
            "Along the critical line, from small to large bias: n times the variance per layer of the growth "
            "of small differences (left) and the width per layer that keeps the distance above half of that "
            "at infinite width (right), against kappa. Lines are theory at infinite width. For sin the "
            "variance is flat and the width grows least."
        )
        return [Picture("width-cost", width_cost_figure(data, config), caption)]


def _sizes(kind: str, common: dict[str, Any], **sizes: Any) -> dict[str, Any]:
    empty = {"width": 0, "networks": 0, "discard": 0, "segment": 0, "reach": 0.0}
    return {"kind": kind, **empty, **sizes, **common}


def _growth(
    point: CriticalLinePoint, width: int, settings: WidthCostSettings, common: dict[str, Any]
) -> list[Task]:
    memory = -1 / math.log(max(0.01, abs(point.chi_q)))
    discard, segment = max(10, math.ceil(9 * memory)), max(10, math.ceil(6 * memory))
    layers = discard + _SEGMENTS * segment
    networks = networks_for(min(settings.growth_effort, settings.task_effort), width, layers)
    effort = networks * width * layers
    sizes = _sizes("growth", common, width=width, networks=networks, discard=discard, segment=segment)
    return [
        Task(STUDY, "width-cost", sizes, replica, seconds=effort * _TANGENT + 0.1, memory=200_000_000)
        for replica in range(max(1, round(settings.growth_effort / effort)))
    ]


def _flow(width: int, reach: float, settings: WidthCostSettings, common: dict[str, Any]) -> list[Task]:
    layers = math.ceil(reach * width)
    networks = networks_for(min(settings.flow_effort, settings.task_effort), width, layers)
    effort = networks * width * layers
    sizes = _sizes("flow", common, width=width, networks=networks, reach=round(reach, 6))
    return [
        Task(STUDY, "width-cost", sizes, replica, seconds=effort * PAIR + 0.1, memory=200_000_000)
        for replica in range(max(1, round(settings.flow_effort / effort)))
    ]


def _growth_moments(task: Task, point: CriticalLinePoint, device: str) -> dict[str, np.ndarray]:
    known = task.parameters
    ends = known["discard"] + known["segment"] * np.arange(_SEGMENTS + 1)
    sample = sample_mlp(
        activation_of(known),
        known["width"],
        int(ends[-1]),
        point.C_W,
        point.C_b,
        networks=known["networks"],
        seed=task.seed,
        replicas=1,
        kernel=point.K,
        layers=[int(end) for end in ends],
        tangent=True,
        device=device,
    )
    growth = np.diff(sample["log_growth"].values, axis=1).reshape(GROUPS, -1, _SEGMENTS)
    return {
        "growth": growth.mean(axis=(1, 2)),
        "growth_square": (growth**2).mean(axis=(1, 2)),
        "growth_product": (growth[:, :, 1:] * growth[:, :, :-1]).mean(axis=(1, 2)),
    }
