r"""Whether convolutional networks on a ring or a torus have the transition of directed percolation.

Two windows are told apart: the paper's kind (few channels, some hundred layers, the mean over networks), and
what lies beyond it: other numbers of channels, later layers, deeper networks, the typical network. One
engine, a part for each dimension.

Each class is judged at the sigma_w that suit it: of all runs of neighbouring sigma_w, a collapse takes the
one whose middle lies nearest to the critical point that it finds.

Where small differences keep their size at C channels (derived here). A row that is the same at all sites
stays so. About it a difference of wave number k is multiplied by ``W(k) = sum_delta W_delta exp(i k delta)``.
Its entries have variance ``C_W/C`` at each k, but ``E W(k)^2 = f(2k) C_W/C`` and
``E W(0) W(k)* = f(k) C_W/C``, with f(k) the mean of ``exp(i k delta)`` over the kernel. In a fully connected
network f = 1, and the mean logarithm of a square grows by d0/n a layer (``theory.critical_line``). Two terms
of d0 change where \|f\| < 1:

* The amplitude of a channel has no preferred phase, so that its square is exponential: the fourth moment is
  2 instead of 3, and ``-(3 m4 - 1)/2`` becomes ``-(2 m4 - 1)/2``, with ``m4 = <phi'^4>/<phi'^2>^2``.
* A difference that points along the row itself is held back, which gives the term B of d0 (B < 0 for tanh).
  What lies along it is handed on by f(k): nothing where f(k) = 0, for a kernel of s sites at k = 2 pi/s.

There differences grow by ``(d0 + m4/2 - B)/C``, and ``C (sigma_w(C) - sigma_wc)`` tends to
``-(d0 + m4/2 - B)/gamma``. A ring of s sites has no other waves.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from phasescope import plotting
from phasescope.activations import Activation
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.exponent_zero import fit_exponents, in_inverse_width
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.scaling import UNIVERSALITY_CLASSES, Collapse, UniversalityClass, collapse
from phasescope.signal import sample_cnn
from phasescope.studies.claim import Check, Claim, Outcome
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task
from phasescope.theory import CriticalLinePoint, expectation

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

DISORDER, MEAN_FIELD = "temporal disorder", "mean field"
# Free exponents, and the same of two sigma_w fewer: what that changes counts as an error.
FREE, NARROWER = "free", "free, narrower"
_PAPER = "arXiv:2307.02284, collapse of convolutional networks"
_ASKED = "asked here"

# Seconds on one core: for one channel of one site and layer of two replicas, in one and two dimensions; of a
# tangent with local weights; and for one weight of a network.
_SHARED, _LOCAL, _WEIGHT = (7e-8, 1.3e-7), 2.4e-7, 2.2e-8
_BYTES = 400
_RESAMPLES = 200
# A smaller rho, as a logarithm, adds nothing to a mean.
_LOWEST = -690.0


class CnnSettings(Settings):
    """Sizes of a part about convolutional networks; the source names none of them."""

    kernel_size: int = 3
    # sigma_w: the critical one of infinite width plus these multiples of the shift that a fully connected
    # network of as many neurons as channels has
    shifts: tuple[float, ...]
    together: int = 7  # neighbouring sigma_w of one collapse
    # of every layer, ascending; and for each of them what is added to the shifts (nothing where empty), sites
    # along each dimension and tasks for each sigma_w
    channels: tuple[int, ...]
    offsets: tuple[float, ...] = ()
    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    batch: int = 16  # networks in a task
    depth: int = 600
    points: int = 30  # recorded layers, evenly spaced in the logarithm
    first: tuple[int, ...]  # layers from which decays are fitted
    few: int = 5  # channels of the paper's window, one of those above
    many: int = 10  # channels at which first layers are compared, one of those above
    # deep networks of few channels
    deep_size: int
    deep_depth: int
    deep_batches: int
    # how the typical network of few channels differs from the mean, at one of the shifts
    typical_shift: float
    typical_size: int
    typical_depth: int
    typical_batches: int
    # spread of growth of `many` channels against size, ascending
    fluctuation_shift: float
    fluctuation_sizes: tuple[int, ...]
    fluctuation_depth: int = 60
    fluctuation_batches: int
    # zero of the Lyapunov exponent: channels, C times the shift of sigma_w about uniform rows and on rows
    # that vary, layers in units of C, and sites of the rows that vary
    zero_channels: tuple[int, ...] = ()
    zero_uniform: tuple[float, ...] = (1.1, 1.7)
    zero_varying: tuple[float, ...] = (0.7, 1.3)
    zero_layers: int = 16
    zero_size: int = 24
    zero_uniform_batches: tuple[int, ...] = ()
    zero_varying_batches: tuple[int, ...] = ()


_RECORDED = ("network", "point")
VARIABLES = {
    "reference": shared.LINE,
    "uniform_shift": Variable((), "C times the shift of the zero about uniform rows, for many channels"),
    "recorded_layer": Variable(("point",), "layer", optional=True),
    "log_distance": Variable(_RECORDED, "ln of the site mean of 1 - c", optional=True),
    "typical_log_distance": Variable(_RECORDED, "site mean of ln(1 - c)", optional=True),
    "log_growth": Variable(_RECORDED, "ln |u|^2 of a tangent, relative to layer 1", optional=True),
}


def settings_of(config: Any, dimensions: int) -> CnnSettings:
    found: CnnSettings = getattr(config, f"cnn_{dimensions}d")
    return found


def tasks(config: Any, *, dimensions: int) -> list[Task]:
    """Return one task a batch of networks; one empty task where the activation has no critical line."""
    s = settings_of(config, dimensions)
    point = shared.point_or_none(config.activation, config.sigma_b)

    def batches(
        kind: str,
        channels: int,
        sigma_ws: Sequence[float],
        sizes: Sequence[int],
        layers: Sequence[int],
        count: int,
        *,
        weights: str = "shared",
        start: str = "homogeneous",
    ) -> Iterator[Task]:
        each = _LOCAL if weights == "local" else _SHARED[dimensions - 1]
        for sigma_w, size in itertools.product(sigma_ws, sizes):
            parameters = {
                "kind": kind,
                **identified(config.activation),
                "sigma_b": config.sigma_b,
                "sigma_w": sigma_w,
                "channels": channels,
                "kernel_size": s.kernel_size,
                "size": size,
                "layers": list(layers),
                "networks": s.batch,
                "weights": weights,
                "start": start,
                "seed": config.seed,
            }
            values = channels * size**dimensions
            drawn = channels**2 * s.kernel_size**dimensions if weights == "shared" else 0
            seconds = layers[-1] * (s.batch * (values * each + drawn * _WEIGHT) + 2e-4)
            memory = 200_000_000 + _BYTES * s.batch * (values + drawn)
            for replica in range(count):
                yield Task(STUDY, f"cnn-{dimensions}d", parameters, replica, seconds, memory)

    if point is None or not math.isfinite(point.d0 / point.gamma):
        return list(batches("none", 2, [0.0], [1], [1], 1))
    unit = -point.d0 / point.gamma

    def at(channels: int, *shifts: float) -> list[float]:
        return [point.sigma_w + shift * unit / channels for shift in shifts]

    usual = recorded_layers(s.depth, s.points)
    made: list[Task] = []
    offsets = s.offsets or (0.0,) * len(s.channels)
    for channels, offset, size, count in zip(s.channels, offsets, s.sizes, s.batches, strict=True):
        near = at(channels, *(shift + offset for shift in s.shifts))
        made += batches("decay", channels, near, [size], usual, count)
    deep = recorded_layers(s.deep_depth, s.points)
    made += batches("deep", s.few, at(s.few, *s.shifts), [s.deep_size], deep, s.deep_batches)
    long = recorded_layers(s.typical_depth, s.points)
    place = at(s.few, s.typical_shift)
    made += batches("typical", s.few, place, [s.typical_size], long, s.typical_batches)
    spread = at(s.many, s.fluctuation_shift), s.fluctuation_sizes, [s.fluctuation_depth]
    for weights in ("shared", "local"):
        kind = f"fluctuation-{weights}"
        made += batches(kind, s.many, *spread, s.fluctuation_batches, weights=weights)
    for index, channels in enumerate(s.zero_channels):
        layers = [s.zero_layers * channels // 4, s.zero_layers * channels]
        for kind, start, size, shifts, counts in (
            ("zero-uniform", "uniform", s.kernel_size, s.zero_uniform, s.zero_uniform_batches),
            ("zero-varying", "homogeneous", s.zero_size, s.zero_varying, s.zero_varying_batches),
        ):
            near = [point.sigma_w + shift / channels for shift in shifts]
            made += batches(kind, channels, near, [size], layers, counts[index], start=start)
    return made


def recorded_layers(depth: int, points: int) -> list[int]:
    """Return at most `points` layers from 1 to `depth`, evenly spaced in the logarithm."""
    layers: list[int] = np.unique(np.geomspace(1, depth, points).round().astype(int)).tolist()
    return layers


def measure(task: Task, device: str, *, dimensions: int) -> dict[str, Any]:
    """Return distances or growth of one batch of networks at the recorded layers."""
    known = task.parameters
    point = shared.point_of(known)
    about: dict[str, Any] = {"reference": shared.values(point), "uniform_shift": math.nan}
    if known["kind"] == "none" or point is None:
        return about
    about["uniform_shift"] = uniform_shift(activation_of(known), point)
    growth = known["kind"].startswith(("fluctuation", "zero"))
    sample = sample_cnn(
        activation_of(known),
        known["channels"],
        known["size"] if dimensions == 1 else (known["size"],) * 2,
        known["layers"][-1],
        known["sigma_w"] ** 2,
        known["sigma_b"] ** 2,
        kernel_size=known["kernel_size"],
        networks=known["networks"],
        seed=task.seed,
        start=known["start"],
        weights=known["weights"],
        replicas=1 if growth else 2,
        layers=known["layers"],
        tangent=growth,
        device=device,
    )
    return {
        **about,
        "recorded_layer": np.array(known["layers"], dtype=np.float64),
        **{name: sample[name].to_numpy() for name in VARIABLES if name in sample},
    }


def uniform_shift(function: Activation, point: CriticalLinePoint) -> float:
    """Return ``-(d0 + m4/2 - B)/gamma``, the limit of C times the shift of the zero about uniform rows.

    ``B = (<phi'^2 z^2>/(K <phi'^2>) - 1) C_W^2 <phi^2 phi'^2>/(K (1 - chi_q^2))``, as in d0.
    """

    def integrand(z: torch.Tensor) -> torch.Tensor:
        value, slope = (derivative.square() for derivative in function.derivatives(z, 1))
        return torch.stack([slope, slope * (z * z / point.K - 1), slope * slope, value * slope])

    slope, bent, fourth, product = expectation(integrand, point.K, kinks=function.kinks).tolist()
    along = bent / slope * point.C_W**2 * product / (point.K * (1 - point.chi_q**2))
    return float(-(point.d0 + fourth / slope**2 / 2 - along) / point.gamma)


@dataclass(frozen=True)
class Curves:
    """All networks of one ``sigma_w``, number of channels and size."""

    sigma_w: float  # standard deviation of the weights times sqrt(fan-in)
    layers: np.ndarray  # (points,): recorded layers
    values: Mapping[str, np.ndarray]  # (networks, points): what was recorded

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    @property
    def networks(self) -> int:
        return len(next(iter(self.values.values())))

    def log_mean(self) -> np.ndarray:
        """Return ``ln`` of the mean of rho over networks and sites."""
        logs = self["log_distance"]
        return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(len(logs)))


def collect(data: xr.Dataset, **parameters: Any) -> list[Curves]:
    """Return the curves of the tasks with these parameters, alike but for sigma_w, in its order."""
    tasks = chosen(data, **parameters)
    found = []
    for sigma_w in np.unique(tasks["sigma_w"].values):
        alike = chosen(tasks, sigma_w=sigma_w)
        layers = alike["recorded_layer"].values[0]
        points = np.isfinite(layers)
        present = np.arange(alike.sizes["network"]) < alike["networks"].values[:, None]
        values = {
            str(name): alike[name].transpose("task", "network", "point").values[present][:, points]
            for name in alike.data_vars
            if alike[name].dims == ("task", *_RECORDED)
        }
        found.append(Curves(float(sigma_w), layers[points], values))
    return found


def exponents_to_try(dimensions: int) -> dict[str, tuple[float, float]]:
    """Return delta and 1/nu_par of the classes in that many dimensions; NaN where they are free."""
    known = {
        name: (one.delta.value, 1 / one.nu_par.value)
        for name, one in UNIVERSALITY_CLASSES.items()
        if one.dimensions in (None, dimensions) and one.delta.determined and one.nu_par.determined
    }
    return {**known, FREE: (math.nan, math.nan), NARROWER: (math.nan, math.nan)}


def centred_collapse(
    curves: Sequence[Curves], first: float, last: float, exponents: tuple[float, float], together: int
) -> Collapse | None:
    """Return the collapse of mean distances between two layers at the sigma_w that suit these exponents.

    Of all runs of `together` neighbouring sigma_w it takes the one with the critical point that it finds
    nearest to its middle; where that lies at the rim of each, the one with the largest p. None where no
    curves can be collapsed.
    """
    together = min(together, len(curves))
    runs = [curves[i : i + together] for i in range(len(curves) - together + 1)] if together > 1 else []
    found = [(run, one) for run in runs if (one := _collapse(run, first, last, exponents, 20)) is not None]
    if not found:
        return None

    def suits(pair: tuple[Sequence[Curves], Collapse]) -> tuple[bool, float]:
        run, one = pair
        critical, sigma_w = one.exponents["critical"], [curve.sigma_w for curve in run]
        if critical.determined and not _off_centre(one):
            return True, -abs(critical.value - float(np.mean(sigma_w)))
        return False, one.p_value if math.isfinite(one.p_value) else -1.0

    return _collapse(max(found, key=suits)[0], first, last, exponents, _RESAMPLES)


def _collapse(
    curves: Sequence[Curves], first: float, last: float, exponents: tuple[float, float], resamples: int
) -> Collapse | None:
    x, y, size = [], [], []
    for curve in curves:
        kept = (curve.layers >= first) & (curve.layers <= last)
        x.append(curve.sigma_w)
        y.append(np.exp(np.maximum(curve["log_distance"][:, kept], _LOWEST)))
        size.append(curve.layers[kept])
    free = math.isnan(exponents[0])
    held = {} if free else {"a": exponents[0], "b": exponents[1]}
    # Not at one of the sampled sigma_w, where a search would begin in a narrow minimum.
    start = {"critical": x[0] + 0.46 * (x[-1] - x[0])} | ({"b": 0.6} if free else {})
    try:
        return collapse(x, y, size, fixed=held, start=start, resamples=resamples)
    except InputError:
        return None


@dataclass(frozen=True)
class Numbers:
    """What the data of a part say, before any verdict."""

    settings: CnnSettings
    dimensions: int
    missing: str  # why nothing can be said, if so
    tried: Mapping[str, tuple[float, float]]  # delta and 1/nu_par of the collapses, NaN where they are free
    window: Mapping[str, Collapse]  # by class: few channels, from the first layer on
    # by channels and first layer: directed percolation, temporal disorder, free
    swept: Mapping[tuple[int, int], Mapping[str, Collapse]]
    deep: Mapping[int, Mapping[str, Collapse]]  # the same of the deep networks, by last layer
    trend: Estimate  # d delta/d ln C
    drift: Estimate  # delta of the last first layer less that of the first one
    typical: Curves | None
    gap: Estimate  # mean of ln rho less ln of the mean, at the last layer
    # slope of the spread of growth against the number of sites, and the spreads, by weights
    spreads: Mapping[str, tuple[Estimate, np.ndarray]]
    uniform_shift: float  # the limit that theory has
    zeros: Mapping[str, list[Estimate]]  # C times the shift of the zero, by rows and channels

    @property
    def dp(self) -> UniversalityClass:
        """Directed percolation in that many dimensions."""
        return UNIVERSALITY_CLASSES[f"DP {self.dimensions}+1"]

    @property
    def from_layer(self) -> int:
        """The first layer of the paper's window."""
        return self.settings.first[0]

    def delta(self, channels: int, first: int) -> Estimate:
        """Return the free exponent of the decay."""
        return _exponent(self.swept.get((channels, first), {}), "a")


def _exponent(made: Mapping[str, Collapse], name: str) -> Estimate:
    """Return a free exponent; its error holds what two sigma_w fewer would change."""
    free, narrower = made.get(FREE), made.get(NARROWER)
    reason = "too few curves for a collapse" if free is None else free.reason or _off_centre(free)
    if free is None or reason:
        return Estimate.not_determined(reason)
    found = free.exponents[name]
    if narrower is None or narrower.reason or _off_centre(narrower):
        return found
    return replace(found, error=math.hypot(found.error, narrower.exponents[name].value - found.value))


def _off_centre(one: Collapse) -> str:
    """Return what has to be said where the critical point lies at the rim of the sigma_w, or nothing."""
    critical, x = one.exponents["critical"], [curve.x[0] for curve in one.curves]
    if not critical.determined or x[1] <= critical.value <= x[-2]:
        return ""
    return f"the critical sigma_w, {critical.value:.3f}, lies at the rim of those sampled"


def numbers(data: xr.Dataset, config: Any, *, dimensions: int) -> Numbers:
    s = settings_of(config, dimensions)
    point = shared.named(data["reference"].values[0])
    tried = exponents_to_try(dimensions)
    few = {name: tried[name] for name in (f"DP {dimensions}+1", DISORDER, FREE, NARROWER)}

    def collapses(
        curves: Sequence[Curves], first: int, last: int, classes: Mapping[str, tuple[float, float]]
    ) -> dict[str, Collapse]:
        made = {
            name: centred_collapse(curves, first, last, exponents, s.together - 2 * (name == NARROWER))
            for name, exponents in classes.items()
        }
        return {name: one for name, one in made.items() if one is not None}

    decays = {channels: collect(data, kind="decay", channels=channels) for channels in s.channels}
    window = collapses(decays.get(s.few, []), s.first[0], s.depth, tried)
    swept = {
        (channels, first): {name: window[name] for name in few if name in window}
        if (channels, first) == (s.few, s.first[0])
        else collapses(curves, first, s.depth, few)
        for channels, curves in decays.items()
        for first in s.first
    }
    deep = collect(data, kind="deep")
    deltas = {key: _exponent(made, "a") for key, made in swept.items()}
    typical = next(iter(collect(data, kind="typical")), None)
    return Numbers(
        settings=s,
        dimensions=dimensions,
        missing=shared.missing(point, config.activation, config.sigma_b),
        tried=tried,
        window=window,
        swept=swept,
        deep={last: collapses(deep, s.first[0], last, few) for last in (s.depth, s.deep_depth)},
        trend=_trend({channels: deltas[channels, s.first[0]] for channels in s.channels}),
        drift=deltas[s.many, s.first[-1]] - deltas[s.many, s.first[0]],
        typical=typical,
        gap=_gap(typical),
        spreads={weights: _spread_of(data, weights, s, dimensions) for weights in ("shared", "local")},
        uniform_shift=float(data["uniform_shift"].values[0]),
        zeros={
            rows: [_zero(data, f"zero-{rows}", channels, point["sigma_w"]) for channels in s.zero_channels]
            for rows in ("uniform", "varying")
        },
    )


def _trend(deltas: Mapping[int, Estimate]) -> Estimate:
    """Return the slope of delta against the logarithm of the channels, from a weighted line."""
    known = {channels: delta for channels, delta in deltas.items() if delta.determined}
    if len(known) < 2:
        return Estimate.not_determined(f"delta is determined at {len(known)} of {len(deltas)} channels")
    weight = np.array([delta.error**-2 for delta in known.values()])
    x, y = np.log(list(known)), np.array([delta.value for delta in known.values()])
    x -= weight @ x / weight.sum()
    total = weight @ x**2
    return Estimate(float(weight @ (x * y) / total), float(total**-0.5), "weighted line in ln C", len(known))


def _gap(curve: Curves | None) -> Estimate:
    """Return the mean of ln rho less the ln of its mean at the last layer, by a jackknife over networks."""
    if curve is None:
        return Estimate.not_determined("no networks were sampled here")
    mean, typical = (curve[name][:, -1] for name in ("log_distance", "typical_log_distance"))
    count = len(mean)

    def gap(kept: np.ndarray) -> float:
        logs = mean[kept]
        return float(typical[kept].mean() - np.logaddexp.reduce(logs) + math.log(len(logs)))

    whole = np.arange(count)
    left_out = np.array([gap(np.delete(whole, one)) for one in whole])
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return Estimate(gap(whole), error, "jackknife over networks", count)


def _spread_of(
    data: xr.Dataset, weights: str, s: CnnSettings, dimensions: int
) -> tuple[Estimate, np.ndarray]:
    groups = [
        (size, curves[0]["log_growth"][:, -1])
        for size in s.fluctuation_sizes
        if (curves := collect(data, kind=f"fluctuation-{weights}", size=size))
    ]
    if len(groups) < 2:
        nothing = np.full((2, len(s.fluctuation_sizes)), math.nan)
        return Estimate.not_determined("no networks were sampled here"), nothing
    sites = [size**dimensions for size, _ in groups]
    return fluctuation_slope(sites, [growth for _, growth in groups], seed=9)


def fluctuation_slope(
    sites: Sequence[int], growths: Sequence[np.ndarray], seed: int
) -> tuple[Estimate, np.ndarray]:
    """Return ``d ln s/d ln N``, s being the spread of ln growth over networks, N the sites; and each s.

    The spreads are of shape (2, sizes): values and errors, from a bootstrap over networks.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((1 + _RESAMPLES, len(sites)))
    for column, growth in enumerate(growths):
        drawn[0, column] = growth.std(ddof=1)
        again = rng.integers(0, len(growth), (_RESAMPLES, len(growth)))
        drawn[1:, column] = growth[again].std(axis=1, ddof=1)
    offset = np.log(np.asarray(sites, dtype=float))
    offset -= offset.mean()
    # A bootstrap sample of one network many times has no spread.
    slopes = np.log(np.where(drawn > 0, drawn, math.nan)) @ offset / (offset @ offset)
    error = float(np.nanstd(slopes[1:], ddof=1))
    method = "straight line in logarithms, bootstrap over networks"
    slope = Estimate(float(slopes[0]), error, method, len(growths[0]))
    return slope, np.stack([drawn[0], drawn[1:].std(axis=0, ddof=1)])


def _zero(data: xr.Dataset, kind: str, channels: int, critical: float) -> Estimate:
    """Return C times the shift of the ``sigma_w`` at which the mean exponent of tangents changes sign."""
    curves = collect(data, kind=kind, channels=channels)
    if not curves:
        return Estimate.not_determined("no networks were sampled here")
    found = []
    for curve in curves:
        (first, last), growth = curve.layers, curve["log_growth"]
        found.append(Estimate.from_samples((growth[:, 1] - growth[:, 0]) / (2 * (last - first))))
    shifts = channels * (np.array([curve.sigma_w for curve in curves]) - critical)
    values, errors = np.array([[one.value, one.error] for one in found]).T
    return fit_exponents(shifts, values, errors, 0.0, degree=1).zero


def claims(n: Numbers) -> list[Check]:
    """Return the checks in the paper's window, then beyond it."""
    return undetermined([*_window_claims(n), *_beyond_claims(n), *_zero_claims(n)], n.missing)


def _window_claims(n: Numbers) -> list[Check]:
    s, dp = n.settings, n.dp
    layers = f"layers {n.from_layer} to {s.depth}"
    where = f"In the paper's kind of window ({s.few} channels, {layers}, mean over networks)"
    rivals = {
        "disorder": (DISORDER, "as if one noise acted on all sites: delta = 1/2, nu_par = 2"),
        "mean-field": (MEAN_FIELD, "with the exponents of mean field"),
    }
    return [
        collapse_check(
            Claim(
                "window-collapse",
                f"{where} the distances collapse with the exponents of directed percolation.",
                _PAPER,
            ),
            n.window,
            dp.name,
        ),
        *[
            Claim(
                f"window-{label}",
                f"{where} the collapse with free exponents finds {symbol} of directed percolation.",
                _PAPER,
            ).equals(
                expected,
                _exponent(n.window, key),
                resolution=abs(expected - 0.5) / 3 if label == "delta" else 0.1,
                note=f"{told}{_told(n.window)}",
            )
            for label, symbol, key, expected, told in (
                (
                    "delta",
                    "delta = beta/nu_par",
                    "a",
                    dp.delta.value,
                    "Agreement takes an error of a third of the distance to 1/2 of temporal disorder. ",
                ),
                ("nu", "1/nu_par", "b", 1 / dp.nu_par.value, "Agreement takes an error of at most 0.1. "),
            )
        ],
        *[
            collapse_check(
                Claim(f"window-{label}", f"{where} the distances collapse {sentence}.", _ASKED),
                n.window,
                name,
            )
            for label, (name, sentence) in rivals.items()
        ],
    ]


def _told(collapses: Mapping[str, Collapse]) -> str:
    """Return p and the visible distance of each collapse."""
    return "; ".join(
        f"{name}: {one.verdict}, p = {one.p_value:.2g}, rms {one.rms:.2g} % of rho"
        for name, one in collapses.items()
        if name != NARROWER
    )


def collapse_check(claim: Claim, collapses: Mapping[str, Collapse], name: str) -> Check:
    """Return whether the curves collapse with these exponents, and with no others that were tried."""
    tried, told = collapses.get(name), _told(collapses)
    reason = "too few curves for a collapse" if tried is None else tried.reason
    if tried is None or not math.isfinite(tried.p_value):
        return claim.found(1.0, Estimate.not_determined(reason), "not determined", told)
    points, rim = sum(len(curve.x) for curve in tried.curves), _off_centre(tried)
    quality = Estimate(tried.quality, math.nan, "squared distance over its expectation", points)
    others = [one for label, one in collapses.items() if label not in (name, FREE, NARROWER)]
    verdict: Outcome = "not determined"
    if tried.verdict in ("refused", "holds roughly"):
        verdict = "disagrees"
    elif tried.verdict == "holds" and not rim and not any(one.verdict == "holds" for one in others):
        verdict = "agrees"
    note = (
        "Measured: squared distance over its expectation. Agrees where the collapse holds, with p at least "
        "0.01 and rms at most 10 %, with these exponents alone and its critical sigma_w among those sampled; "
        f"disagrees where p is smaller. {told}."
    )
    return claim.found(1.0, quality, verdict, f"{note} Here {rim}." if rim else note)


def _beyond_claims(n: Numbers) -> list[Check]:
    s, delta = n.settings, n.dp.delta.value
    resolution = abs(delta - 0.5) / 3 if n.dimensions == 1 else 0.1
    deepest = n.deep[s.deep_depth]
    before = _told(n.deep[s.depth])
    depth = collapse_check(
        Claim(
            "beyond-depth",
            f"In deeper networks ({s.deep_depth} layers, {s.few} channels) the distances still collapse with "
            "the exponents of directed percolation.",
            _ASKED,
        ),
        deepest,
        n.dp.name,
    )
    channels = [
        Claim(
            f"beyond-channels-{count}",
            f"Networks with {count} channels decay with delta of directed percolation (free collapse, layers "
            f"{n.from_layer} to {s.depth}).",
            _ASKED,
        ).equals(
            delta,
            n.delta(count, n.from_layer),
            resolution=resolution,
            note=_told(n.swept.get((count, n.from_layer), {})),
        )
        for count in s.channels
        if count != s.few
    ]
    self_averaging = {
        "shared": "The growth of a difference is the sharper the larger the system (shared weights).",
        "local": "Control with independent weights at every site: the growth of a difference is the sharper "
        "the larger the system.",
    }
    return [
        Claim(
            "beyond-channels",
            "Delta does not depend on the number of channels, as in one universality class.",
            _ASKED,
        ).equals(0.0, n.trend, resolution=0.05, note="Slope of delta against ln C, weighted."),
        *channels,
        Claim(
            "beyond-first-layer",
            f"With {s.many} channels delta does not depend on the layer from which it is fitted "
            f"({s.first[-1]} against {s.first[0]}).",
            _ASKED,
        ).equals(
            0.0,
            n.drift,
            resolution=0.1,
            note="Both use the later layers, so that the error of their difference is too large rather than "
            "too small.",
        ),
        replace(depth, note=f"{depth.note} The same networks to layer {s.depth}: {before}."),
        Claim(
            "beyond-typical",
            f"The typical network keeps its difference as the mean does ({s.few} channels, "
            f"{s.typical_size} sites along each dimension, layer {s.typical_depth}).",
            _ASKED,
        ).equals(
            0.0,
            n.gap,
            allowance=1.0,
            resolution=1.0,
            note="Mean of ln rho less ln of mean rho, 0 in a system that averages over its sites; a factor "
            "of e is allowed.",
        ),
        *[
            Claim(f"self-averaging-{weights}", sentence, "self-averaging of independent sites").equals(
                -0.5,
                n.spreads[weights][0],
                allowance=0.1,
                resolution=0.1,
                note="Slope of the spread over networks of ln |u|^2 against the number of sites; -1/2 for "
                "independent sites, 0 for noise common to all. Allowance 0.1 for small sizes.",
            )
            for weights, sentence in self_averaging.items()
        ],
    ]


def _zero_claims(n: Numbers) -> list[Check]:
    counts = n.settings.zero_channels
    if not counts:
        return []
    uniform, varying = (in_inverse_width(counts, n.zeros[rows], 1).limit for rows in ("uniform", "varying"))
    sizes = ", ".join(map(str, counts))
    return [
        Claim(
            "zero-uniform",
            "About rows that are the same at all sites, C times the shift of the zero of the Lyapunov "
            "exponent tends to -(d0 + m4/2 - B)/gamma.",
        ).equals(
            n.uniform_shift,
            uniform,
            resolution=0.1 * n.uniform_shift,
            note=f"C = {sizes}, straight line in 1/C. m4/2 and B are what the phase of a wave changes in the "
            "d0 of a fully connected network.",
        ),
        Claim(
            "zero-varying",
            "On rows that vary the zero lies below that about uniform rows.",
            _ASKED,
        ).below(
            n.uniform_shift,
            varying,
            note=f"C times the shift at C = {sizes}, straight line in 1/C, after {n.settings.zero_layers} C "
            "layers. Between the two zeros networks fall into uniform rows one after the other, so that the "
            "measured zero rises with depth. Agrees 3 errors below.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    """Return the collapses in the paper's window and beyond it, and the zeros by channels."""
    s, dp = n.settings, n.dp.name
    columns = ["class", "delta", "1/nu_par", "collapse", "p", "rms, % of rho", "sigma_w"]
    window = [[name, *_tried(n, name), *_cells(n.window.get(name))] for name in n.tried if name != NARROWER]
    swept = [
        [f"{channels}", f"{first}", f"{s.depth}", *_row(made, dp)]
        for (channels, first), made in n.swept.items()
    ]
    swept += [
        [f"{s.few}, deep", f"{n.from_layer}", f"{last}", *_row(made, dp)] for last, made in n.deep.items()
    ]
    found = [
        Table(
            f"Collapses in the paper's kind of window: {s.few} channels, layers {n.from_layer} to {s.depth}",
            columns,
            window,
        ),
        Table(
            "Free exponents, and collapses with those of a class",
            [
                *["channels", "from layer", "to", "delta", "1/nu_par", "free: p", "rms, %"],
                *[f"{dp}: p", "rms, %", f"{DISORDER}: p", "rms, %"],
            ],
            swept,
        ),
    ]
    if s.zero_channels:
        zeros = zip(s.zero_channels, n.zeros["uniform"], n.zeros["varying"], strict=True)
        rows = [[f"{channels}", str(uniform), str(varying)] for channels, uniform, varying in zeros]
        rows.append(["infinitely many, theory", f"{n.uniform_shift:.4f}", "-"])
        found.append(
            Table(
                "Zero of the Lyapunov exponent: C times the shift of sigma_w",
                ["channels C", "uniform rows", "rows that vary"],
                rows,
            )
        )
    return found


def _tried(n: Numbers, name: str) -> list[str]:
    if name == FREE:
        return [str(_exponent(n.window, key)) for key in ("a", "b")]
    return [f"{value:.4g}" for value in n.tried[name]]


def _cells(one: Collapse | None) -> list[str]:
    if one is None:
        return ["-", "-", "-", "-"]
    critical = one.exponents["critical"]
    place = f"{critical.value:.4f}" if critical.determined else "-"
    return [one.verdict, f"{one.p_value:.2g}", f"{one.rms:.2g}", place]


def _row(made: Mapping[str, Collapse], dp: str) -> list[str]:
    found = [_exponent(made, key) for key in ("a", "b")]
    exponents = [str(one) if one.determined else "-" for one in found]
    return exponents + [cell for name in (FREE, dp, DISORDER) for cell in _cells(made.get(name))[1:3]]


def notes(n: Numbers) -> list[str]:
    """Return what was chosen here and how to read it."""
    s = n.settings
    window = " x ".join([str(s.kernel_size)] * n.dimensions)
    return [
        "Chosen here, because the paper does not say: channels, sites, layers, kernel "
        f"{window}, cyclic padding, one bias a channel, and in the first layer independent pre-activations "
        "at every site and of both inputs. rho is 1 - c of the channel vectors at a site, not centred, "
        "averaged over sites and networks. Sampled: "
        + "; ".join(
            f"{channels} channels, {size} sites along each dimension, {count * s.batch} networks"
            for channels, size, count in zip(s.channels, s.sizes, s.batches, strict=True)
        )
        + f" for each of {len(s.shifts)} sigma_w.",
        f"A collapse takes {s.together} neighbouring sigma_w: of all such runs the one whose middle lies "
        "nearest to the critical point that it finds, so that each class is judged at the sigma_w that suit "
        "it.",
        "The error of a free exponent holds what two sigma_w fewer change.",
        f"{DISORDER}: delta = 1/2 and nu_par = 2 follow if one multiplicative noise acts on all sites, as a "
        "kernel does that all sites share; directed percolation assumes noise that is independent between "
        "sites.",
    ]


def figures(n: Numbers) -> list[Panels]:
    """Return the paper's window, what lies beyond, and depth; none where nothing was sampled."""
    if not n.window:
        return []
    s, dp = n.settings, n.dp.name
    zeros = [draw_zeros] if s.zero_channels else []
    return [
        Panels(
            "window",
            f"In the paper's kind of window: {s.few} channels, {s.depth} layers, mean over networks. Left: "
            "as measured. Then rescaled with the exponents of a class, each at the sigma_w that suit it; p "
            "is the chance of curves so far apart if they do collapse, per cent their distance from the "
            "common one.",
            [
                draw_measured,
                *[partial(draw_collapsed, made=n.window, name=name) for name in (dp, DISORDER, MEAN_FIELD)],
            ],
        ),
        Panels(
            "beyond",
            "Beyond it. Left: exponent of the decay against the number of channels, from fits that begin at "
            f"three layers. Then: mean and typical distance of {s.few} channels; spread over networks of "
            "ln |u|^2, where noise that is independent between sites averages out along the dashed line."
            + (" Right: C times the shift of the zero of the Lyapunov exponent." if zeros else ""),
            [draw_delta, draw_typical, draw_spread, *zeros],
        ),
        Panels(
            "depth",
            f"Collapses with the exponents of {dp} and with free ones, of the same networks with {s.few} "
            f"channels, to layer {s.depth} and to layer {s.deep_depth}.",
            [
                partial(draw_collapsed, made=made, name=name, place=f"to layer {last}")
                for last, made in n.deep.items()
                for name in (dp, FREE)
            ],
        ),
    ]


def draw_measured(axes: Axes, n: Numbers) -> None:
    """Draw the means of the paper's window."""
    one = n.window.get(n.dp.name) or next(iter(n.window.values()))
    for curve, colour in zip(one.curves, shades(len(one.curves)), strict=True):
        axes.loglog(curve.size, curve.y, "o-", ms=2, lw=1, color=colour, label=f"{curve.x[0]:.3f}")
    span = np.array([n.from_layer, n.settings.depth], dtype=float)
    axes.loglog(span, 0.9 * (span / span[0]) ** -n.dp.delta.value, "--", color=plotting.THEORY)
    legend(axes, fontsize=7, title=r"$\sigma_w$", loc="lower left")
    axes.set(title="Mean, as measured", xlabel="layer l", ylabel=r"$\rho$")


def draw_collapsed(
    axes: Axes, n: Numbers, *, made: Mapping[str, Collapse], name: str, place: str = ""
) -> None:
    """Draw a collapse with the exponents of one class."""
    one, title = made.get(name), f"{name} {place}".strip()
    if one is not None:
        for curve, colour in zip(one.curves, shades(len(one.curves)), strict=True):
            axes.plot(curve.scaled_x, curve.scaled_y, "o-", ms=2, lw=1, color=colour)
        title = f"{title}: p = {one.p_value:.1g}, {one.rms:.0f} %"
    axes.set_yscale("log")
    axes.set_xlabel(r"$\tau\, l^{1/\nu_\parallel}$")
    axes.set_ylabel(r"$l^{\delta} \rho$")
    axes.set_title(title, fontsize="medium")


def draw_delta(axes: Axes, n: Numbers) -> None:
    """Draw delta against the number of channels, by first layer."""
    s = n.settings
    for index, (first, colour) in enumerate(zip(s.first, colours(len(s.first)), strict=True)):
        found = [
            (channels, delta) for channels in s.channels if (delta := n.delta(channels, first)).determined
        ]
        # Beside each other, where the errors would cover one another.
        x = [channels * (1 + 0.04 * (index - 1)) for channels, _ in found]
        y, error = [delta.value for _, delta in found], [delta.error for _, delta in found]
        axes.errorbar(x, y, error, fmt="o-", ms=4, lw=0.8, color=colour, label=f"from layer {first}")
    axes.axhline(n.dp.delta.value, ls="--", color=plotting.THEORY, label=n.dp.name)
    axes.axhline(0.5, ls=":", color=plotting.THEORY, label=DISORDER)
    axes.set(title="Decay of the mean", xlabel="channels C", ylabel=r"$\delta$, free", xscale="log")
    axes.set_xticks(s.channels, [str(channels) for channels in s.channels])
    axes.minorticks_off()
    legend(axes, fontsize=7)


def draw_typical(axes: Axes, n: Numbers) -> None:
    """Draw the mean and the typical distance of the largest system."""
    if n.typical is not None:
        one, colour = n.typical, colours(2)
        axes.semilogx(one.layers, one.log_mean(), "o-", ms=3, color=plotting.MEASURED, label="ln of the mean")
        typical = one["typical_log_distance"]
        error = typical.std(axis=0, ddof=1) / math.sqrt(one.networks)
        axes.errorbar(
            one.layers, typical.mean(axis=0), error, fmt="o-", ms=3, color=colour[1], label="mean of ln"
        )
    size = " x ".join([str(n.settings.typical_size)] * n.dimensions)
    axes.set(title=f"Typical network, {size} sites", xlabel="layer l", ylabel=r"ln $\rho$")
    legend(axes, fontsize=7, loc="lower left")


def draw_spread(axes: Axes, n: Numbers) -> None:
    """Draw the spread of growth over networks against the number of sites."""
    sites = np.array(n.settings.fluctuation_sizes, dtype=float) ** n.dimensions
    for (weights, (slope, (value, error))), colour in zip(n.spreads.items(), colours(2), strict=True):
        axes.errorbar(sites, value, error, fmt="o-", ms=3, color=colour, label=f"{weights}, {slope}")
    line = n.spreads["local"][1][0, 0] * (sites / sites[0]) ** -0.5
    axes.plot(sites, line, "--", color=plotting.THEORY, label="slope -1/2")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set(title="Spread of ln growth over networks", xlabel="sites")
    legend(axes, fontsize=7)


def draw_zeros(axes: Axes, n: Numbers) -> None:
    """Draw C times the shift of the zero against 1/C."""
    for (rows, found), colour in zip(n.zeros.items(), colours(2), strict=True):
        known = [
            (1 / c, one) for c, one in zip(n.settings.zero_channels, found, strict=True) if one.determined
        ]
        x, y, error = [x for x, _ in known], [one.value for _, one in known], [one.error for _, one in known]
        axes.errorbar(x, y, error, fmt="o", ms=4, color=colour, label=f"{rows} rows")
    axes.axhline(n.uniform_shift, ls="--", color=plotting.THEORY, label=f"theory, {n.uniform_shift:.3f}")
    axes.set_xlim(left=0)
    axes.set(title="Zero of the exponent", xlabel="1/C", ylabel=r"$C\,(\sigma_w(C) - \sigma_{wc})$")
    legend(axes, fontsize=7)


def _part(dimensions: int, title: str, quick: CnnSettings, **paper: Any) -> Part:
    own: dict[str, Callable[..., Any]] = {
        "tasks": partial(tasks, dimensions=dimensions),
        "measure": partial(measure, dimensions=dimensions),
        "numbers": partial(numbers, dimensions=dimensions),
    }
    return Part(
        name=f"cnn-{dimensions}d",
        title=title,
        presets={"quick": quick, "paper": CnnSettings(**{**quick.model_dump(), **paper})},
        variables=VARIABLES,
        claims=claims,
        tables=tables,
        notes=notes,
        figures=figures,
        ragged=_RECORDED,
        citations=("tamai2023",),
        **own,
    )


CNN_1D = _part(
    1,
    "Convolutional networks in one dimension",
    CnnSettings(
        shifts=(0.25, 0.39, 0.53, 0.67, 0.81, 0.95),
        together=5,
        channels=(3, 5, 7, 10, 20),
        offsets=(0.4, 0.0, 0.0, 0.0, -0.2),
        sizes=(32, 32, 32, 32, 32),
        batches=(3, 3, 3, 2, 1),
        points=16,
        first=(10, 30),
        deep_size=32,
        deep_depth=1500,
        deep_batches=2,
        typical_shift=0.66,
        typical_size=256,
        typical_depth=1000,
        typical_batches=1,
        fluctuation_shift=0.33,
        fluctuation_sizes=(8, 32, 128, 512),
        fluctuation_batches=2,
        zero_channels=(10, 20, 40),
        zero_uniform_batches=(4, 2, 1),
        zero_varying_batches=(2, 1, 1),
    ),
    shifts=(0.25, 0.33, 0.41, 0.49, 0.57, 0.65, 0.73, 0.81, 0.89, 0.97),
    together=7,
    sizes=(64, 128, 64, 64, 64),
    batch=32,
    batches=(6, 9, 6, 6, 3),
    points=30,
    first=(10, 30, 100),
    deep_size=64,
    deep_depth=3000,
    deep_batches=3,
    typical_size=512,
    typical_depth=2000,
    typical_batches=2,
    fluctuation_sizes=(32, 128, 512, 2048),
    fluctuation_batches=3,
    zero_channels=(20, 40, 80),
    zero_uniform_batches=(24, 8, 3),
    zero_varying_batches=(8, 3, 1),
)

CNN_2D = _part(
    2,
    "Convolutional networks in two dimensions",
    CnnSettings(
        shifts=(0.12, 0.25, 0.38, 0.51, 0.64, 0.77),
        together=5,
        channels=(5, 10),
        sizes=(8, 8),
        batches=(3, 2),
        points=16,
        depth=400,
        first=(10, 30),
        deep_size=6,
        deep_depth=1200,
        deep_batches=1,
        typical_shift=0.35,
        typical_size=12,
        typical_depth=600,
        typical_batches=1,
        fluctuation_shift=0.15,
        fluctuation_sizes=(4, 8, 16),
        fluctuation_depth=40,
        fluctuation_batches=2,
    ),
    shifts=(0.12, 0.19, 0.26, 0.33, 0.40, 0.47, 0.54, 0.61, 0.68, 0.75),
    together=7,
    sizes=(12, 12),
    batch=32,
    batches=(4, 2),
    points=30,
    depth=600,
    first=(10, 30, 100),
    deep_size=8,
    deep_depth=3000,
    deep_batches=1,
    typical_size=24,
    typical_depth=2000,
    typical_batches=1,
    fluctuation_sizes=(4, 8, 16),
    fluctuation_batches=3,
)
