"""The distance between two inputs at finite width: ``n rho`` against ``l/n`` at the critical point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.finite_width_analysis import AT, finite_width_checks, finite_width_table
from phasescope.papers.absorbing.finite_width_figure import collapse_figure, limits_figure
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.width_groups import GROUPS, PAIR, depths, grouped, networks_for
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

_RECORDS = 32


class FiniteWidthSettings(Settings):
    """Sizes of the measurement of ``n rho`` against ``l/n``."""

    widths: tuple[int, ...] = (50, 100, 200, 400)  # neurons n in each layer, ascending
    reach: float = 3.0  # greatest depth over width
    effort: float = 2.4e8  # neurons times layers times networks for each width
    task_effort: float = 6e7  # the same for one task
    # how far below infinite width's the mean distance is where the infinite-width flow is said to end
    fraction: float = 0.5


QUICK = FiniteWidthSettings()
PAPER = FiniteWidthSettings(widths=(50, 100, 200, 400, 800), effort=2e9, task_effort=2.5e8)


class FiniteWidth(Part):
    """Collapse of ``n rho`` against ``l/n``, beside the exact scaling function, and where it departs."""

    name = "finite-width"
    title = "Finite-width scaling"
    citations = ("tamai2023", "matsumoto2005")
    variables: ClassVar = {
        "reference": shared.LINE,
        "layer": Variable(("record",), "layers applied", "layer"),
        "mean": Variable(("group", "record"), "mean of 1 - c over a group of networks"),
        "mean_log": Variable(("group", "record"), "mean of ln(1 - c) over a group of networks"),
        "infinite": Variable(("record",), "1 - c at infinite width"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return tasks of some networks of one width."""
        settings: FiniteWidthSettings = config.finite_width
        point = shared.point_or_none(config.activation, config.sigma_b)
        common = {**identified(config.activation), "sigma_b": config.sigma_b, "seed": config.seed}
        common |= {"reach": settings.reach}
        if shared.missing(shared.named(shared.values(point)), config.activation, config.sigma_b, curved=True):
            # One task without a sample says so in the data.
            return [Task(STUDY, self.name, {**common, "width": 0, "networks": 0})]
        made = []
        for width in settings.widths:
            layers = math.ceil(settings.reach * width)
            networks = networks_for(min(settings.effort, settings.task_effort), width, layers)
            effort = networks * width * layers
            for replica in range(max(1, round(settings.effort / effort))):
                sizes = {"width": width, "networks": networks, **common}
                made.append(
                    Task(STUDY, self.name, sizes, replica, seconds=effort * PAIR + 0.1, memory=200_000_000)
                )
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return distances against depth, as means over groups of networks."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {"quantity": len(shared.QUANTITIES), "record": _RECORDS, "group": GROUPS}
        measured: dict[str, Any] = {"reference": shared.values(point)}
        if point is not None and known["width"]:
            layers = depths(known["width"], known["reach"], _RECORDS, AT)
            measured |= grouped(
                activation_of(known), point, known["width"], layers, known["networks"], task.seed, device
            )
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return the collapse, the limits beside the exact scaling function, and where the flow departs."""
        settings: FiniteWidthSettings = config.finite_width
        return Analysis(
            finite_width_checks(data, config),
            [finite_width_table(data, config)],
            [
                f"Chosen here: widths {', '.join(map(str, settings.widths))} at the critical point of "
                "infinite width, two unrelated inputs of equal norm, 1 - c without subtracting the mean.",
                "Derived here: X = n rho at l = t n obeys dX = (a X - kappa X^2) dt + sqrt(v) X dW, whose "
                "mean and typical value are known exactly (theory.finite_width_scaling). The first layers "
                "act as a start at 1/x0 = ((kappa - k3/kappa) ln n + const)/n, which makes corrections of "
                "order ln(n)/n; they are large at these widths and are part of every fit here.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the curves before and after the collapse, and the limits of infinite width."""
        first = (
            "Left: 1 - c against depth, by width, at the critical point of infinite width, mean over "
            "networks. Middle and right: n (1 - c) against l/n, mean and typical value, with the exact "
            "scaling functions, which the curves approach as corrections of order ln(n)/n die out."
        )
        second = (
            "n (1 - c) over the exact scaling function against 1/n at fixed l/n, mean (left) and typical "
            "(right), with the effect of the start taken out. The lines are series in 1/n; squares are "
            "their limits, which are 1 if the function is right."
        )
        pictures = [Picture("finite-width-collapse", collapse_figure(data, config), first)]
        return [*pictures, Picture("finite-width-limits", limits_figure(data, config), second)]
