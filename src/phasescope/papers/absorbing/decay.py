"""How the difference between two inputs decays with depth: below, at and above the critical point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.decay_analysis import decay_checks, decay_table
from phasescope.papers.absorbing.decay_figure import decay_figure, exponents_figure
from phasescope.papers.absorbing.iterates import distances, growth_rate, spaced_layers
from phasescope.papers.absorbing.shared import STUDY, identified, resolved
from phasescope.signal import sample_mlp
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

_RECORDS = 120
# Depths in units of 1/(gamma |tau|): of the exact map, and of networks below and above the transition.
_MAP_REACH, _ORDERED_REACH, _CHAOTIC_REACH = 24.0, 12.0, 24.0
# Seconds for one neuron of one layer of a pair of replicas, and for one iterate of the exact map.
_PAIR, _ITERATE = 1e-7, 1.5e-5


class DecaySettings(Settings):
    """Sizes of the measurement of decays; ``tau = sigma_w - sigma_wc`` on both sides of the transition."""

    map_layers: int = 100_000  # layers of the exact map at the critical point
    # ``gamma |tau|`` at which the exact map is iterated, besides the networks'
    map_rates: tuple[float, ...] = (0.0006, 0.0012, 0.002, 0.003, 0.004, 0.006)
    # ``gamma |tau|`` at which finite networks are sampled
    rates: tuple[float, ...] = (0.012, 0.02, 0.03, 0.05, 0.08, 0.12)
    # width, networks, repeats: of the networks beside the critical point: neurons, networks of a task, tasks
    width: int = 1000
    networks: int = 16
    repeats: int = 1
    # critical_width, critical_depth, critical_repeats: the same at the critical point, with the depth far
    # below the width
    critical_width: int = 5000
    critical_depth: int = 100
    critical_repeats: int = 10


QUICK = DecaySettings()
PAPER = DecaySettings(width=4000, repeats=2, critical_width=20_000, critical_repeats=20)


class Decay(Part):
    """Exponential, critical and saturating decay of ``rho = 1 - c``, with their exponents and scales."""

    name = "decay"
    title = "Decay with depth"
    citations = ("schoenholz2017", "tamai2023")
    variables: ClassVar = {
        "reference": shared.LINE,
        "rate": Variable((), "ln chi_1 at infinite width", "1/layer"),
        "layer": Variable(("record",), "layers applied", "layer"),
        "log_distance": Variable(("network", "record"), "ln(1 - c); of the exact map, network 0 alone"),
        "network_rate": Variable(("network",), "growth of ln(1 - c) over the second half", "1/layer"),
        "plateau": Variable(("network",), "mean of 1 - c over the last two thirds of the layers"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a distance from the critical point, for the exact map and for networks."""
        settings: DecaySettings = config.decay
        point = shared.point_or_none(config.activation, config.sigma_b)
        common = {**identified(config.activation), "sigma_b": config.sigma_b, "seed": config.seed}

        def task(kind: str, rate: float, depth: int, width: int = 0, replica: int = 0) -> Task:
            tau = rate / point.gamma if point else 0.0
            sizes = {"kind": kind, "gamma_tau": rate, "tau": tau, "depth": depth, "width": width}
            sizes |= {"networks": settings.networks}
            seconds = depth * (_ITERATE + width * settings.networks * _PAIR)
            return Task(STUDY, self.name, sizes | common, replica, seconds=seconds, memory=300_000_000)

        known = shared.named(shared.values(point))
        if shared.missing(known, config.activation, config.sigma_b, curved=True):
            # One task without a sample says so in the data.
            return [task("none", 0.0, 0)]
        made = [task("map", 0.0, settings.map_layers)]
        for rate in _signed([*settings.map_rates, *settings.rates]):
            made.append(task("map", rate, math.ceil(_MAP_REACH / abs(rate))))
        for replica in range(settings.critical_repeats):
            made.append(task("networks", 0.0, settings.critical_depth, settings.critical_width, replica))
        for rate in _signed(settings.rates):
            layers = math.ceil((_CHAOTIC_REACH if rate > 0 else _ORDERED_REACH) / abs(rate))
            made += [
                task("networks", rate, layers, settings.width, replica) for replica in range(settings.repeats)
            ]
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return the distance against depth: the exact map's, or of some networks."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {"quantity": len(shared.QUANTITIES), "record": _RECORDS, "network": known["networks"]}
        measured: dict[str, Any] = {"reference": shared.values(point)}
        if point is not None and known["kind"] == "map":
            measured |= _exact(task, point.sigma_w + known["tau"])
        elif point is not None and known["kind"] == "networks":
            measured |= _sampled(task, point.sigma_w + known["tau"], point.K, device)
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return rates, plateaus, exponents and the logarithmic correction."""
        settings: DecaySettings = config.decay
        return Analysis(
            decay_checks(data, config),
            [decay_table(data, config)],
            [
                "Chosen here: tau = sigma_w - sigma_wc, not divided by sigma_wc; two unrelated inputs of "
                "equal norm at the kernel's fixed point; 1 - c without subtracting the mean over neurons; "
                f"widths {settings.critical_width} at the critical point and {settings.width} beside it.",
                "Finite width shifts the growth rate by d0/n, hence the plateau by d0/(kappa n), and the "
                "mean distance at the critical point by the factor 1 + (d0/2 + v/12) l/n. These leading "
                "orders, derived here, are taken out of what networks show before it is compared.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the three kinds of decay, and plateau and correlation depth against tau."""
        first = (
            "Left: 1 - c of two inputs against depth on the ordered side, at the critical point and on the "
            "chaotic side: the exact infinite-width map (lines) and finite networks (points), which fall "
            "faster where they are not much wider than deep. Right: at the critical point kappa l (1 - c) "
            "tends to 1, slowly, because of a logarithm."
        )
        second = (
            "Left: the plateau on the chaotic side against tau; networks follow the exact fixed point, which "
            "becomes gamma tau/kappa. Right: depth over which differences decay on the ordered side."
        )
        return [
            Picture("decay", decay_figure(data, config), first),
            Picture("decay-exponents", exponents_figure(data, config), second),
        ]


def _signed(rates: Sequence[float]) -> list[float]:
    sizes = sorted(set(rates))
    return [-rate for rate in sizes] + sizes


def _exact(task: Task, sigma_w: float) -> dict[str, Any]:
    known = task.parameters
    layers = spaced_layers(1, known["depth"], _RECORDS)
    found = distances(resolved(known["activation"]), sigma_w, known["sigma_b"], layers)
    return {"rate": found.rate, "layer": layers, "log_distance": np.log(found.rho)[None, :]}


def _sampled(task: Task, sigma_w: float, kernel: float, device: str) -> dict[str, Any]:
    known = task.parameters
    function = resolved(known["activation"])
    # Layer 1 of a sample is the start, to which no layer has been applied yet.
    depth = known["depth"] + 1
    sample = sample_mlp(
        function,
        known["width"],
        depth,
        sigma_w**2,
        known["sigma_b"] ** 2,
        networks=known["networks"],
        seed=task.seed,
        kernel=kernel if known["tau"] == 0 else None,
        device=device,
    )
    log_distance = sample["log_distance"].values
    recorded = spaced_layers(1, depth - 1, _RECORDS)
    half, third = depth // 2, depth // 3
    return {
        "rate": growth_rate(function, sigma_w, known["sigma_b"]),
        "layer": recorded,
        "log_distance": log_distance[:, recorded],
        "network_rate": (log_distance[:, -1] - log_distance[:, half]) / (depth - 1 - half),
        "plateau": np.exp(log_distance[:, third:]).mean(axis=1),
    }
