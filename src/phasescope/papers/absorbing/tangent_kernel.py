"""The neural tangent kernel on the critical line: a scaling law, its two ends, and what data make of it.

For inputs at a small distance rho_0 in the first layer the ratio ``Theta_ab/Theta_aa`` of off-diagonal to
diagonal tangent kernel depends on ``u = kappa rho_0 L`` alone (derived here; that kappa L is in control is
from arXiv:2307.02284): ``R(u)`` falls from 1, where the kernel has rank one, to 1/3, where it says nothing
of the inputs (arXiv:1912.13053). Pairs of inputs are followed through the exact recursion; over images, the
largest eigenvalue, the condition number and the difference between near and far pairs are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import DATA_SETS, INPUTS, USUAL, folders, subset, why_not
from phasescope.papers.absorbing.optimum import mean_place, minimum
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.theory import TangentGram, deep_tangent_ratio, tangent_kernel, tangent_ratio

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from phasescope.theory import CriticalLinePoint

_PAPER = "arXiv:2307.02284"
_LAW = f"derived here; control by kappa L as in {_PAPER}"
# What is followed at one depth: distances over six decades, two in place of u -> 0 and of u -> infinity with
# unrelated inputs, and those that give u at that depth; then the columns of some of them.
_DISTANCES = np.geomspace(1e-6, 1.0, 19)
_NEARLY_ALIKE, _UNRELATED = 1e-12, 1.0
_FIXED_U = (0.1, 1.0, 10.0)
_AT_NEARLY_ALIKE, _AT_UNRELATED, _AT_ONE = -5, -4, -2
_QUANTILES = (0.1, 0.5, 0.9)
# What is done to images: the usual inputs as they are and with all distances shrunk, then the other inputs.
_OTHERS = tuple(inputs for inputs in INPUTS if inputs != USUAL)
_DONE = {"raw": "as they are", "by pixel": "standardised pixel by pixel"}
# The law is for small distances and deep networks; these are shown with it.
_SMALL, _DEEP = 0.1, 100


class TangentKernelSettings(Settings):
    """Sizes of the study of the tangent kernel."""

    biases: tuple[float, ...] = (0.05, 0.3, 1.0)  # values of sigma_b along the critical line
    depths: tuple[int, ...] = (30, 100, 300, 1000)  # weight layers, ascending
    data_depth: int = 300  # weight layers of the kernels over data
    data_biases: tuple[float, float] = (2e-4, 1.0)  # smallest and largest sigma_b of those
    data_points: int = 13  # how many, evenly spaced in the logarithm
    images: int = 250  # of each Gram matrix
    replicas: int = 3  # disjoint sets of images
    # Data are looked at as they are, and with all distances multiplied by this, as a feature common to all
    # images makes them.
    shrinkage: float = 0.05


QUICK = TangentKernelSettings()
PAPER = TangentKernelSettings(
    depths=(30, 100, 300, 1000, 3000), data_depth=1000, data_points=17, images=500, replicas=5
)

_SETS = ("case", "subset")
VARIABLES = {
    "reference": shared.LINE,
    "odd": Variable((), "1 where the activation is an odd function"),
    "distance": Variable(("depth", "pair"), "1 - c of the pre-activations of the first layer", optional=True),
    "gap": Variable(("depth", "pair"), "1 - Theta_ab/Theta_aa", optional=True),
    "top": Variable(_SETS, "largest eigenvalue over the trace", optional=True),
    "condition": Variable(_SETS, "largest over smallest eigenvalue", optional=True),
    "predicted": Variable(_SETS, "top, from the deep limit of Theta_ab/Theta_aa", optional=True),
    "quantile_distance": Variable(
        (*_SETS, "quantile"), "quantiles of 1 - c in the first layer", optional=True
    ),
    "quantile_gap": Variable((*_SETS, "quantile"), "1 - Theta_ab/Theta_aa there", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a point of the critical line: for pairs of inputs, then for each data set."""
    s: TangentKernelSettings = config.tangent_kernel
    sizes = s.model_dump(mode="json", include={"depths", "data_depth", "images", "replicas", "shrinkage"})

    def task(kind: str, spec: str, sigma_b: float, seconds: float, name: str = "", folder: str = "") -> Task:
        known = {"kind": kind, **identified(spec), "sigma_b": float(sigma_b), "data_set": name}
        known |= {"folder": folder, "seed": config.seed, **sizes}
        memory = 1_300_000_000 if folder else 300_000_000
        return Task(STUDY, "tangent-kernel", known, seconds=seconds, memory=memory)

    of_pairs = 0.2 + 4e-4 * max(s.depths)
    of_images = 0.2 + 4e-4 * s.data_depth + 4 * s.replicas * (s.images / 1000) ** 2
    made = [task("pairs", spec, sigma_b, of_pairs) for spec in config.activations for sigma_b in s.biases]
    for name, folder in folders(config).items():
        for sigma_b in np.geomspace(*s.data_biases, s.data_points):
            made.append(task("data", config.activation, sigma_b, of_images, name, folder))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the tangent kernel at one point of the critical line: of pairs of inputs, or of images."""
    known = task.parameters
    point = shared.point_of(known)
    found = {"reference": shared.values(point), "odd": float(shared.is_odd(known["activation"]))}
    if point is None or not math.isfinite(point.kappa):
        return found
    return found | (_of_pairs(known, point) if known["kind"] == "pairs" else _of_images(known, point))


def _of_pairs(known: Mapping[str, Any], point: CriticalLinePoint) -> dict[str, Any]:
    function, depths = activation_of(known), known["depths"]
    extreme = [_NEARLY_ALIKE, _UNRELATED]
    fixed = [np.array(_FIXED_U) / (point.kappa * depth) for depth in depths]
    # A shallow network of small kappa has no inputs as far apart as u asks for.
    per_depth = np.array([np.concatenate([_DISTANCES, extreme, u]) for u in fixed])
    within = np.where(per_depth <= 1, per_depth, np.nan)
    kept = np.isfinite(within)
    # All distances at all depths in one recursion; each is needed at its own depth alone.
    found = tangent_kernel(function, point.C_W, point.C_b, depths, np.where(kept, within, 0.0), K=point.K)
    gap = found.gap[np.arange(len(depths)), np.arange(len(depths))]
    return {"distance": within, "gap": np.where(kept, gap, np.nan)}


def _of_images(known: Mapping[str, Any], point: CriticalLinePoint) -> dict[str, Any]:
    depth, count = known["data_depth"], known["replicas"]
    gram = TangentGram(activation_of(known), point.C_W, point.C_b, depth, K=point.K)
    nodes = np.concatenate([[0.0], np.geomspace(1e-6, 2, 400)])
    deep = deep_tangent_ratio(nodes, point.kappa * depth)

    def kernel(distances: np.ndarray) -> dict[str, Any]:
        rho = gram.first_layer(distances)
        pairs = distances[np.triu_indices(len(distances), 1)]
        at = gram.first_layer(np.quantile(pairs, _QUANTILES))
        top, condition = _spectrum(1 - gram.gap(depth, rho))
        predicted, _ = _spectrum(np.interp(rho, nodes, deep))
        return {
            "top": top,
            "condition": condition,
            "predicted": predicted,
            "quantile_distance": at,
            "quantile_gap": gram.gap(depth, at),
        }

    def sets(inputs: str) -> list[np.ndarray]:
        sizes = {"train": known["images"], "test": 1, "replicas": count}
        return [subset({**known, "inputs": inputs}, replica=i, **sizes).distances()[0] for i in range(count)]

    usual = sets(USUAL)
    cases = [usual, [known["shrinkage"] * distances for distances in usual], *map(sets, _OTHERS)]
    rows = [[kernel(distances) for distances in each] for each in cases]
    return {name: np.array([[each[name] for each in row] for row in rows]) for name in rows[0][0]}


def _spectrum(matrix: np.ndarray) -> tuple[float, float]:
    """Return the largest eigenvalue over the trace, and over the smallest eigenvalue."""
    values = np.linalg.eigvalsh(matrix)
    return float(values[-1] / values.sum()), float(values[-1] / values[0]) if values[0] > 0 else math.inf


class Pairs(NamedTuple):
    """Pairs of inputs at one point of the critical line, and limits of great depth."""

    activation: str
    sigma_b: float
    kappa: float
    # distance, gap: (depths, pairs)
    distance: np.ndarray
    gap: np.ndarray
    small_u: Estimate  # (1 - R)/u for u -> 0
    large_u: Estimate  # R for u -> infinity
    at_one: Estimate  # R(1)


class OverImages(NamedTuple):
    """What the kernels over one data set give, as means over sets of images."""

    top: Estimate
    rank_one: Estimate
    rank_one_alike: Estimate
    # of the other inputs, by name
    rank_one_of: dict[str, Estimate]
    distance_of: dict[str, Estimate]
    input_independent: Estimate
    peak: Estimate
    peak_of_law: Estimate


@dataclass(frozen=True)
class Numbers:
    """All that claims, tables and figures are made of."""

    activation: str  # the one that is followed
    settings: TangentKernelSettings
    odd: bool  # whether it is an odd function
    pairs: list[Pairs]  # of all activations and biases
    nearest: dict[str, Pairs]  # by activation, at the bias nearest to that of the study
    # by data set, none for one that is not at hand: tasks by growing place, which is ln(kappa L)
    images: dict[str, xr.Dataset]
    over_images: dict[str, OverImages]

    @property
    def depths(self) -> np.ndarray:
        return np.array(self.settings.depths)

    @property
    def with_kappa(self) -> list[Pairs]:
        return [point for point in self.pairs if math.isfinite(point.kappa)]

    @property
    def shown(self) -> dict[str, xr.Dataset]:
        return {name: found for name, found in self.images.items() if np.isfinite(found["place"]).any()}


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    settings: TangentKernelSettings = config.tangent_kernel
    followed = chosen(data, kind="pairs")
    pairs = [_pairs(followed.isel(task=i), settings.depths) for i in range(followed.sizes["task"])]
    nearest = {
        spec: min(
            (point for point in pairs if point.activation == spec),
            key=lambda point: abs(math.log(point.sigma_b / config.sigma_b)),
        )
        for spec in config.activations
    }
    odd = bool(chosen(followed, activation=config.activation)["odd"].values[0] == 1)
    images = {name: _images(data, name) for name in DATA_SETS}
    over = {name: _over_images(name, images[name], short(config.activation)) for name in DATA_SETS}
    return Numbers(config.activation, settings, odd, pairs, nearest, images, over)


def _pairs(task: xr.Dataset, depths: Sequence[int]) -> Pairs:
    activation, kappa = str(task["activation"].values), shared.named(task["reference"].values)["kappa"]
    distance, gap = task["distance"].values, task["gap"].values
    limits = [Estimate.not_determined(f"{short(activation)} has no critical line, or no kappa, here")] * 3
    if math.isfinite(kappa):
        u = kappa * distance[:, _AT_NEARLY_ALIKE] * np.array(depths)
        followed = gap[:, _AT_NEARLY_ALIKE] / u, 1 - gap[:, _AT_UNRELATED], 1 - gap[:, _AT_ONE]
        limits = [infinite_depth(depths, values) for values in followed]
    return Pairs(activation, float(task["sigma_b"].values), kappa, distance, gap, *limits)


def infinite_depth(depths: Sequence[int], values: np.ndarray) -> Estimate:
    """Return the limit of ``limit + (a ln L + b)/L`` through the three deepest networks."""
    layers = np.asarray(depths, dtype=np.float64)
    if layers.size < 4 or not np.isfinite(values[-4:]).all():
        return Estimate.not_determined("four depths are needed at which the distance is below 1")
    limits = []
    for last in (slice(-3, None), slice(-4, -1)):
        L = layers[last]
        basis = np.stack([np.ones(3), np.log(L) / L, 1 / L], axis=1)
        limits.append(float(np.linalg.solve(basis, values[last])[0]))
    error = max(abs(limits[0] - limits[1]), 1e-9)
    window = (float(layers[-4]), float(layers[-1]))
    return Estimate(limits[0], error, "extrapolated in depth with terms ln(L)/L and 1/L", 4, window)


def _images(data: xr.Dataset, name: str) -> xr.Dataset:
    found = chosen(data, kind="data", data_set=name)
    kappa = found["reference"].values[:, shared.QUANTITIES.index("kappa")]
    return found.assign(place=np.log(kappa * found["data_depth"])).sortby("place")


def _over_images(name: str, found: xr.Dataset, activation: str) -> OverImages:
    place = found["place"].values
    if not place.size or not np.isfinite(place).all():
        nothing = Estimate.not_determined(f"{activation} has no kappa" if place.size else why_not(name))
        by_inputs = dict.fromkeys(INPUTS, nothing)
        return OverImages(nothing, nothing, nothing, by_inputs, by_inputs, *[nothing] * 3)
    top, gap = found["top"].values, found["quantile_gap"].values
    deviation = top / found["predicted"].values - 1
    worst = np.unravel_index(np.argmax(np.abs(deviation.mean(axis=2))), deviation.shape[:2])
    fine = np.linspace(place[0], place[-1], 400)
    shrunk = np.log(found["quantile_distance"].values[:, 1])
    # ln(kappa rho_0 L) of near and far pairs, whose distances vary a little with the point of the line.
    near, far = (
        np.stack([fine + np.interp(fine, place, each) for each in shrunk[:, :, column].T], axis=1)
        for column in (0, 2)
    )
    mean = "mean over sets of images"
    cases = dict(zip((USUAL, "", *_OTHERS), range(top.shape[1]), strict=True))
    middle = found["quantile_distance"].values[0, ..., 1]
    return OverImages(
        Estimate.from_samples(deviation[worst], method="largest relative deviation"),
        Estimate.from_samples(top[0, 0], method=mean),
        Estimate.from_samples(top[0, 1], method=mean),
        {inputs: Estimate.from_samples(top[0, cases[inputs]], method=mean) for inputs in INPUTS},
        {inputs: Estimate.from_samples(middle[cases[inputs]], method=mean) for inputs in INPUTS},
        Estimate.from_samples(1 - gap[-1, 0, :, 1], method=mean),
        _peak(place, gap[:, 1, :, 2] - gap[:, 1, :, 0]),
        _peak(fine, tangent_ratio(np.exp(near)) - tangent_ratio(np.exp(far))),
    )


def _peak(place: np.ndarray, curves: np.ndarray) -> Estimate:
    """Return where curves of shape (points, sets of images) are highest."""
    value, error = mean_place([minimum(place, -curve) for curve in curves.T])
    if not math.isfinite(value):
        return Estimate.not_determined("the largest difference lies at an end of the range")
    return Estimate(value, error, "maximum of a spline, mean over sets of images", curves.shape[1])


def claims(n: Numbers) -> list[Check]:
    """Return the law, its ends and its universality, then the checks over each data set."""
    own = n.nearest[n.activation]
    ends = [
        Claim(
            "small-u",
            "For u -> 0 the ratio of off-diagonal to diagonal tangent kernel is 1 - u: rank one.",
            _LAW,
        ).equals(1.0, own.small_u, resolution=0.01, note="Measured: (1 - R)/u at distances of 1e-12."),
        Claim(
            "large-u",
            "For u -> infinity the ratio tends to 1/3 for all pairs: input-independent.",
            _LAW,
        ).equals(
            1 / 3,
            own.large_u,
            resolution=0.01,
            note="Measured on unrelated inputs. The limit is that of arXiv:1912.13053.",
        ),
    ]
    law = [
        Claim(
            f"law-{short(spec)}",
            f"At u = kappa rho_0 L = 1 the ratio of {short(spec)} tends to R(1) = 7/12.",
            _LAW,
        ).equals(float(tangent_ratio(1.0)), point.at_one, resolution=0.01)
        for spec, point in n.nearest.items()
    ]
    universality = Claim(
        "universality", "R(1) is the same for all activations and biases: its range is 0.", _LAW
    ).equals(0.0, _range([point.at_one for point in n.pairs]), resolution=0.02)
    over_images = [check for name in DATA_SETS for check in _claims_over(name, n)]
    return [*ends, *law, universality, *over_images]


def _range(limits: list[Estimate]) -> Estimate:
    known = [found for found in limits if found.determined]
    if len(known) < 2:
        return Estimate.not_determined("two points of the critical line are needed")
    values = [found.value for found in known]
    error = math.hypot(*sorted(found.error for found in known)[-2:])
    method = "largest less smallest R(1), each extrapolated in depth"
    return Estimate(max(values) - min(values), error, method, len(known))


def _claims_over(name: str, n: Numbers) -> list[Check]:
    found = n.over_images[name]
    return [
        Claim(
            f"top-{name}",
            f"The largest eigenvalue over {name} follows the deep limit of the ratio, whatever kappa L.",
        ).equals(
            0.0 if n.odd else None,
            found.top,
            allowance=0.05,
            note="Measured: the largest relative deviation of its share of the trace. Allowance 0.05: finite "
            "depth and bias.",
        ),
        Claim(
            f"rank-one-{name}", f"For kappa L -> 0 the tangent kernel over {name} is near rank one.", _PAPER
        ).equals(
            1.0,
            found.rank_one,
            allowance=0.1,
            note="Measured: the largest eigenvalue's share of the trace at the smallest kappa L, where the "
            "network is linear and the kernel 1 - rho_0 of the images. Allowance 0.1: what near means, "
            "chosen here.",
        ),
        Claim(
            f"rank-one-alike-{name}",
            f"For kappa L -> 0 the tangent kernel over {name} with all distances shrunk is near rank one.",
            f"asked here; near rank one as in {_PAPER}",
        ).equals(
            1.0 if n.odd else None,
            found.rank_one_alike,
            allowance=0.1,
            note="As above; the distances are those that a large feature common to all images leaves.",
        ),
        *[
            Claim(
                f"rank-one-{inputs.replace(' ', '-')}-{name}",
                f"For kappa L -> 0 the tangent kernel over {name}, {_DONE[inputs]}, is near rank one.",
                _PAPER,
            ).equals(
                1.0,
                found.rank_one_of[inputs],
                allowance=0.1,
                note=f"As above, with median distance {found.distance_of[inputs]} in place of "
                f"{found.distance_of[USUAL]} with the mean taken off. It depends on what is done "
                "to the images before training.",
            )
            for inputs in _OTHERS
        ],
        Claim(
            f"input-independent-{name}",
            f"For kappa L -> infinity all pairs of {name} have the ratio 1/3.",
            f"{_PAPER}; the value as in arXiv:1912.13053",
        ).equals(
            1 / 3,
            found.input_independent,
            allowance=0.01,
            note="Measured at the median distance and the largest kappa L. Allowance 0.01: the next order in "
            "1/(kappa L).",
        ),
        Claim(
            f"peak-{name}",
            f"Near and far pairs of {name}, all distances shrunk, are told apart best where R(u) says: at "
            "intermediate kappa L.",
        ).equals(
            found.peak_of_law.value,
            found.peak,
            allowance=0.2,
            note="Measured: ln(kappa L) where the ratio differs most between the quantiles 0.1 and 0.9 of "
            "the distance. For narrow distributions it is u = sqrt(7) - 2. Allowance 0.2: finite distances "
            "and bias.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    """Return the deviation from the law by depth, and eigenvalues of the images."""
    rows = []
    for point in n.with_kappa:
        law = tangent_ratio(point.kappa * point.distance * n.depths[:, None])
        deviation = np.where(point.distance <= _SMALL, np.abs(1 - point.gap - law), -np.inf).max(axis=1)
        place = [short(point.activation), f"{point.sigma_b:g}", f"{point.kappa:.4g}"]
        rows.append([*place, *(f"{worst:.4f}" for worst in deviation)])
    columns = ["activation", "sigma_b", "kappa", *(f"L = {depth}" for depth in n.depths)]
    made = [Table("Largest |R - R(u)| over distances up to 0.1, by depth", columns, rows)]
    for name, found in n.shown.items():
        top, condition = found["top"].values, found["condition"].values
        rows = [
            [
                f"{math.exp(x):.3g}",
                *(f"{values.mean():.3f}" for values in top[i]),
                *(f"{np.median(values):.2g}" for values in condition[i, :2]),
            ]
            for i, x in enumerate(found["place"].values)
        ]
        columns = ["kappa L", "largest eigenvalue / trace", "the same, distances shrunk"]
        columns += [f"the same, {_DONE[inputs]}" for inputs in _OTHERS]
        columns += ["condition number", "the same, distances shrunk"]
        made.append(Table(f"Tangent kernel over {name}", columns, rows))
    return made


def notes(n: Numbers) -> list[str]:
    return [
        "Depth counts weight layers; all weights and biases are trained, in the NTK parametrisation, and "
        "inputs have the norm that makes the first layer's kernel the fixed point. Chosen here: images less "
        "the mean of all intensities, each scaled to that norm.",
        "The law R(u) holds for rho_0 -> 0. At distances of order 1, as between images, what kappa L -> 0 "
        "leaves is the kernel of a linear network, 1 - rho_0; it is near rank one only where images are "
        "alike. Raw intensities, all positive, make images more alike than those less their mean; "
        "standardised pixel by pixel they are nearly orthogonal, and "
        "the kernel is far from rank one at any kappa L. "
        f"The second case has all distances times {n.settings.shrinkage:g}, as a large feature common "
        "to all images makes them.",
    ]


def draw_distances(axes: Axes, n: Numbers) -> None:
    """Draw the ratio against kappa L, one curve for each distance."""
    own = [point for point in n.with_kappa if point.activation == n.activation]
    columns = range(6, 19, 3)
    for column, shade in zip(columns if own else (), shades(len(columns) if own else 0), strict=True):
        x = np.concatenate([point.kappa * n.depths for point in own])
        y = np.concatenate([1 - point.gap[:, column] for point in own])
        order = np.argsort(x)
        label = rf"$\rho_0$ = {own[0].distance[0, column]:.0e}"
        axes.plot(x[order], y[order], "o-", ms=3.5, lw=1.0, color=shade, label=label)
    axes.set(title=f"Each distance its own curve ({short(n.activation)})", xlabel=r"$\kappa L$")
    _frame_ratio(axes)


def draw_law(axes: Axes, n: Numbers) -> None:
    """Draw the ratio of small distances and deep networks against u, and the law."""
    names = list(dict.fromkeys(point.activation for point in n.with_kappa))
    for name, colour in zip(names, colours(len(names)), strict=True):
        u, ratio = [], []
        for point in (point for point in n.with_kappa if point.activation == name):
            shown = (point.distance <= _SMALL) & (n.depths[:, None] >= _DEEP)
            u.append((point.kappa * point.distance * n.depths[:, None])[shown])
            ratio.append(1 - point.gap[shown])
        x, y = np.concatenate(u), np.concatenate(ratio)
        axes.plot(x, y, "o", ms=3, color=colour, alpha=0.7, label=short(name))
    grid = np.geomspace(1e-3, 1e3, 200)
    axes.plot(grid, tangent_ratio(grid), color=plotting.THEORY, label="R(u)", zorder=1)
    axes.set(title="One curve", xlabel=r"$u = \kappa \rho_0 L$")
    _frame_ratio(axes)
    axes.set_xlim(1e-3, 1e3)


def _frame_ratio(axes: Axes) -> None:
    axes.set(xscale="log", ylabel=r"$\Theta_{ab}/\Theta_{aa}$", ylim=(0.25, 1.05))
    axes.axhline(1 / 3, color=plotting.INK, lw=0.8, ls=":")
    legend(axes)


def draw_top(axes: Axes, n: Numbers) -> None:
    """Draw the largest eigenvalue's share of the trace, and the deep limit."""
    for x, case, marks in _cases(n):
        _draw_mean(axes, x, case["top"].values, **marks)
        axes.plot(x, case["predicted"].values.mean(axis=1), color=plotting.THEORY)
    axes.axhline(1 / 3, color=plotting.INK, lw=0.8, ls=":")
    _frame_images(axes, "Largest eigenvalue / trace")
    legend(axes)


def draw_condition(axes: Axes, n: Numbers) -> None:
    for x, case, marks in _cases(n):
        _draw_mean(axes, x, case["condition"].values, **marks)
    axes.set_yscale("log")
    _frame_images(axes, "Condition number")


def draw_near_less_far(axes: Axes, n: Numbers) -> None:
    for x, case, marks in _cases(n):
        gaps = case["quantile_gap"].values
        _draw_mean(axes, x, gaps[:, :, 2] - gaps[:, :, 0], **{**marks, "ls": "-"})
    _frame_images(axes, "Near less far pairs")


def _cases(n: Numbers) -> Iterator[tuple[np.ndarray, xr.Dataset, dict[str, Any]]]:
    """Yield kappa L, tasks and marks of each data set: images as they are, then with distances shrunk."""
    for (name, found), colour in zip(n.shown.items(), colours(len(n.shown)), strict=True):
        for case, filled in enumerate((colour, "none")):
            marks: dict[str, Any] = {"ms": 4, "color": colour, "markerfacecolor": filled, "ls": "none"}
            marks["label"] = name if case == 0 else None
            yield np.exp(found["place"].values), found.isel(case=case), marks


def _draw_mean(axes: Axes, x: np.ndarray, values: np.ndarray, **options: Any) -> None:
    finite = np.where(np.isfinite(values), values, np.nan)
    axes.errorbar(x, finite.mean(axis=1), finite.std(axis=1), fmt="o", lw=0.8, **options)


def _frame_images(axes: Axes, title: str) -> None:
    axes.set(title=title, xlabel=r"$\kappa L$", xscale="log")


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "tangent-kernel-law",
            "Left: ratio of off-diagonal to diagonal tangent kernel against kappa L, one curve for each "
            "distance of the inputs. Right: the same numbers of all activations, biases, distances up to "
            "0.1 and depths from 100 against u = kappa rho_0 L, and the law R(u) with its ends 1 and 1/3.",
            [draw_distances, draw_law],
            (4.4, 3.3),
        ),
        Panels(
            "tangent-kernel-data",
            "Against kappa L, for images as they are (filled) and with all distances shrunk (open): the "
            "largest eigenvalue's share of the trace, the condition number, and the difference of "
            "Theta_ab/Theta_aa between near and far pairs (quantiles 0.1 and 0.9). Lines: the deep limit, "
            "the same for every odd activation.",
            [draw_top, draw_condition, draw_near_less_far],
        ),
    ]


TANGENT_KERNEL = Part(
    name="tangent-kernel",
    title="Neural tangent kernel",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("jacot2018", "xiao2020", "tamai2023"),
)
