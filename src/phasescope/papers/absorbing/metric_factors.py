"""One curve for all smooth activations, once depth and distance are measured in their own units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.iterates import distances, growth_rate
from phasescope.papers.absorbing.metric_analysis import metric_checks, metric_table
from phasescope.papers.absorbing.metric_figure import metric_figure
from phasescope.papers.absorbing.shared import STUDY, identified, resolved
from phasescope.signal import sample_mlp
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr

_LEAST, _MOST, _DEPTHS = 0.1, 6.0, 24
# Networks are followed up to this depth, in units of 1/(gamma |tau|): beyond, few carry the mean.
_NETWORKS_MOST = 4.0
_PAIR, _ITERATE = 1e-7, 1.5e-5


class MetricFactorsSettings(Settings):
    """Sizes of the collapse."""

    # smooth activations besides those of the whole study: arctan is odd like the others, cos is even
    also: tuple[str, ...] = ("arctan", "cos")
    # ``gamma |tau|`` of the exact map, descending, on both sides of the transition
    rates: tuple[float, ...] = (0.1, 0.03, 0.02, 0.01, 0.005, 0.0025, 0.00125, 0.0006, 0.0003)
    sampled_rates: tuple[float, ...] = (0.1, 0.03)  # those of them at which finite networks are sampled too
    # width, networks, repeats: neurons in each layer, networks of a task, tasks for each activation and tau
    width: int = 4000
    networks: int = 40
    repeats: int = 1


QUICK = MetricFactorsSettings()
PAPER = MetricFactorsSettings(width=16_000, repeats=3)


class MetricFactors(Part):
    """Collapse of ``kappa l rho`` against ``gamma tau l`` for several activations."""

    name = "metric-factors"
    title = "Metric factors: one curve for all activations"
    citations = ("tamai2023",)
    variables: ClassVar = {
        "reference": shared.LINE,
        "map_rate": Variable(("distance",), "ln chi_1 of the exact map", "1/layer"),
        "map_tau": Variable(("distance",), "sigma_w - sigma_wc of the exact map"),
        "map_layer": Variable(("distance", "depth"), "layers applied by the exact map", "layer"),
        "map_log_distance": Variable(("distance", "depth"), "ln(1 - c) of the exact map"),
        "rate": Variable((), "ln chi_1 of the networks' sigma_w", "1/layer"),
        "layer": Variable(("depth",), "layers applied by the networks", "layer"),
        "log_distance": Variable(("network", "depth"), "ln(1 - c) of networks"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task an activation for the exact map, and one for each of its networks' tau."""
        settings: MetricFactorsSettings = config.metric_factors
        made = []
        for spec in followed(config):
            common = {**identified(spec), "sigma_b": config.sigma_b, "seed": config.seed}
            common |= {"rates": list(settings.rates), "networks": settings.networks}
            layers = 2 * _MOST * sum(1 / rate for rate in settings.rates)
            parameters = {"kind": "map", "gamma_tau": 0.0, "width": 0, **common}
            made.append(Task(STUDY, self.name, parameters, seconds=layers * _ITERATE, memory=200_000_000))
            known = shared.named(shared.values(shared.point_or_none(spec, config.sigma_b)))
            if shared.missing(known, spec, config.sigma_b, curved=True):
                continue
            for rate in (sign * r for r in settings.sampled_rates for sign in (-1, 1)):
                parameters = {"kind": "networks", "gamma_tau": rate, "width": settings.width, **common}
                seconds = settings.width * settings.networks * _NETWORKS_MOST / abs(rate) * _PAIR
                made += [
                    Task(STUDY, self.name, parameters, replica, seconds=seconds, memory=300_000_000)
                    for replica in range(settings.repeats)
                ]
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return distances against depth on both sides of the transition: the exact map's, or of networks."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {"quantity": len(shared.QUANTITIES), "depth": _DEPTHS, "network": known["networks"]}
        lengths["distance"] = 2 * len(known["rates"])
        reference = shared.values(point)
        measured: dict[str, Any] = {"reference": reference}
        if not shared.missing(shared.named(reference), known["activation"], known["sigma_b"], curved=True):
            assert point is not None
            if known["kind"] == "map":
                measured |= _exact(task, point.sigma_w, point.gamma)
            else:
                measured |= _sampled(task, point.sigma_w, point.gamma, device)
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return how far each activation is from the common curve, and how that vanishes."""
        settings: MetricFactorsSettings = config.metric_factors
        return Analysis(
            metric_checks(data, config, followed(config)),
            [metric_table(data, followed(config))],
            [
                f"Chosen here: besides {', '.join(config.activations)} also {', '.join(settings.also)}, "
                "smooth and with a critical line at this bias; erf is erf(x); tau = sigma_w - sigma_wc; "
                f"two unrelated inputs at the kernel's fixed point; networks of width {settings.width}.",
                "The extrapolation uses (ln chi_1) l in place of gamma tau l, which removes a correction "
                "that has nothing to do with the decay. What is left is of order tau ln(1/tau), with a "
                "coefficient derived here from the logarithmic correction at the critical point.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the curves before and after, and what is left as tau vanishes."""
        caption = (
            "Left: 1 - c against depth for several activations and distances from the critical point. "
            "Middle: the same in units of each activation's own kappa and gamma, exact map (lines) and "
            "finite networks (points), on the curve y/(1 - exp(-y)) once the start is forgotten. Right: "
            "largest relative deviation from it for 0.5 < |y| < 6; it vanishes with tau."
        )
        return [Picture("metric-factors", metric_figure(data, followed(config)), caption)]


def followed(config: Any) -> tuple[str, ...]:
    """Return the activations of the collapse, each once."""
    return tuple(dict.fromkeys([*config.activations, *config.metric_factors.also]))


def _depths(rate: float) -> np.ndarray:
    return np.maximum(1, np.round(np.geomspace(_LEAST, _MOST, _DEPTHS) / rate)).astype(np.int64)


def _exact(task: Task, sigma_w: float, gamma: float) -> dict[str, Any]:
    known = task.parameters
    function = resolved(known["activation"])
    rates, taus, layers, logs = [], [], [], []
    for gamma_tau in (sign * r for sign in (-1, 1) for r in known["rates"]):
        tau = gamma_tau / gamma
        depths = _depths(abs(gamma_tau))
        found = distances(function, sigma_w + tau, known["sigma_b"], depths)
        rates.append(found.rate)
        taus.append(tau)
        layers.append(depths)
        logs.append(np.log(found.rho))
    return {
        "map_rate": np.array(rates),
        "map_tau": np.array(taus),
        "map_layer": np.stack(layers),
        "map_log_distance": np.stack(logs),
    }


def _sampled(task: Task, sigma_w: float, gamma: float, device: str) -> dict[str, Any]:
    known = task.parameters
    function = resolved(known["activation"])
    shifted = sigma_w + known["gamma_tau"] / gamma
    layers = np.unique(_depths(abs(known["gamma_tau"])))
    layers = layers[layers <= _NETWORKS_MOST / abs(known["gamma_tau"])]
    sample = sample_mlp(
        function,
        known["width"],
        # Layer 1 of a sample is the start, to which no layer has been applied yet.
        int(layers[-1]) + 1,
        shifted**2,
        known["sigma_b"] ** 2,
        networks=known["networks"],
        seed=task.seed,
        layers=[int(layer) + 1 for layer in layers],
        device=device,
    )
    return {
        "rate": growth_rate(function, shifted, known["sigma_b"]),
        "layer": layers,
        "log_distance": sample["log_distance"].values,
    }
