"""What the tangent kernel's values say about its law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import DATA_SETS, why_not
from phasescope.papers.absorbing.optimum import mean_place, minimum
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Table
from phasescope.studies.drawing import short
from phasescope.theory import tangent_ratio

if TYPE_CHECKING:
    import xarray as xr

_SOURCE = "derived here; control by kappa L as in arXiv:2307.02284"
# Columns of pairs: a grid of distances, nearly alike, unrelated, then those of fixed u.
ALIKE, UNRELATED, AT_ONE = -5, -4, -2


class Pairs(NamedTuple):
    """One point of the critical line: kappa, and distances and gaps of shape (depths, pairs)."""

    activation: str
    sigma_b: float
    kappa: float
    distance: np.ndarray
    gap: np.ndarray


def pairs(data: xr.Dataset) -> list[Pairs]:
    """Return what was followed for pairs of inputs, one entry a point of the critical line."""
    chosen = shared.of_kind(data, "pairs")
    return [
        Pairs(
            str(chosen["activation"].values[i]),
            float(chosen["sigma_b"].values[i]),
            shared.named(chosen["reference"].values[i])["kappa"],
            chosen["distance"].values[i],
            chosen["gap"].values[i],
        )
        for i in range(chosen.sizes["task"])
    ]


def images(data: xr.Dataset, name: str) -> tuple[np.ndarray, xr.Dataset]:
    """Return ln(kappa L), ascending, and the tasks of one data set in that order."""
    chosen = shared.of_kind(data, "data", data_set=name)
    kappa = chosen["reference"].values[:, shared.QUANTITIES.index("kappa")]
    place = np.log(kappa * chosen["data_depth"].values.astype(float))
    order = np.argsort(place)
    return place[order], chosen.isel(task=order)


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


def law_checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks of the law, its ends and its universality."""
    depths = config.tangent_kernel.depths
    known = pairs(data)
    own = [p for p in known if p.activation == config.activation]
    at_bias = min(own, key=lambda p: abs(math.log(p.sigma_b / config.sigma_b)))
    ends = [
        (
            "small-u",
            "For u -> 0 the ratio of off-diagonal to diagonal tangent kernel is 1 - u: rank one.",
            1.0,
            at_bias.gap[:, ALIKE] / (at_bias.kappa * at_bias.distance[:, ALIKE] * np.array(depths)),
            "Measured: (1 - R)/u at distances of 1e-12.",
        ),
        (
            "large-u",
            "For u -> infinity the ratio tends to 1/3 for all pairs: input-independent.",
            1 / 3,
            1 - at_bias.gap[:, UNRELATED],
            "Measured on unrelated inputs. The limit is that of arXiv:1912.13053.",
        ),
    ]
    checks = [
        compare(
            f"tangent-kernel/{name}", claim, _SOURCE, expected, _limit(at_bias, depths, values),
            resolution=0.01, note=note,
        )
        for name, claim, expected, values, note in ends
    ]  # fmt: skip
    limits = {}
    for spec in config.activations:
        group = [p for p in known if p.activation == spec]
        each = [_limit(p, depths, 1 - p.gap[:, AT_ONE]) for p in group]
        limits[spec] = [found for found in each if found.determined]
        nearest = min(group, key=lambda p: abs(math.log(p.sigma_b / config.sigma_b)))
        checks.append(
            compare(
                f"tangent-kernel/law-{short(spec)}",
                f"At u = kappa rho_0 L = 1 the ratio of {short(spec)} tends to R(1) = 7/12.",
                _SOURCE,
                float(tangent_ratio(1.0)),
                _limit(nearest, depths, 1 - nearest.gap[:, AT_ONE]),
                resolution=0.01,
            )
        )
    checks.append(_universality(limits))
    return checks


def _limit(point: Pairs, depths: Sequence[int], values: np.ndarray) -> Estimate:
    if not math.isfinite(point.kappa):
        return Estimate.not_determined(f"{short(point.activation)} has no critical line, or no kappa, here")
    return infinite_depth(depths, values)


def _universality(limits: dict[str, list[Estimate]]) -> Check:
    every = [found for group in limits.values() for found in group]
    measured = Estimate.not_determined("two points of the critical line are needed")
    if len(every) > 1:
        values = [found.value for found in every]
        error = math.hypot(*sorted(found.error for found in every)[-2:])
        method = "largest less smallest R(1), each extrapolated in depth"
        measured = Estimate(max(values) - min(values), error, method, len(every))
    return compare(
        "tangent-kernel/universality",
        "R(1) is the same for all activations and biases: its range is 0.",
        _SOURCE,
        0.0,
        measured,
        resolution=0.02,
    )


def data_checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks over images, "not determined" for data sets that are not at hand."""
    odd = bool(shared.of_kind(data, "pairs", activation=config.activation)["odd"].values[0] == 1)
    checks = []
    for name in DATA_SETS:
        place, chosen = images(data, name)
        usable = place.size > 0 and bool(np.isfinite(place).all())
        absent = why_not(name) if place.size == 0 else f"{short(config.activation)} has no kappa"
        found = dict(_data_estimates(place, chosen)) if usable else {}
        for key, (claim, source, expected, allowance, note) in _DATA_CLAIMS.items():
            measured = found.get(key, Estimate.not_determined(absent))
            wanted = found["peak-law"].value if key == "peak" and usable else expected
            if key in ("top", "rank-one-alike") and not odd:
                wanted = None
            checks.append(
                compare(
                    f"tangent-kernel/{key}-{name}", claim.format(name=name), source, wanted, measured,
                    allowance=allowance, note=note,
                )
            )  # fmt: skip
    return checks


# Claim, source, expected, allowance, note.
_DATA_CLAIMS: dict[str, tuple[str, str, float | None, float, str]] = {
    "top": (
        "The largest eigenvalue over {name} follows the deep limit of the ratio, whatever kappa L.",
        "derived here",
        0.0,
        0.05,
        "Measured: the largest relative deviation of its share of the trace. Allowance 0.05: finite depth "
        "and bias.",
    ),
    "rank-one": (
        "For kappa L -> 0 the tangent kernel over {name} is near rank one.",
        "arXiv:2307.02284",
        1.0,
        0.1,
        "Measured: the largest eigenvalue's share of the trace at the smallest kappa L, where the network "
        "is linear and the kernel 1 - rho_0 of the images. Allowance 0.1: what near means, chosen here.",
    ),
    "rank-one-alike": (
        "For kappa L -> 0 the tangent kernel over {name} with all distances shrunk is near rank one.",
        "arXiv:2307.02284",
        1.0,
        0.1,
        "As above; the distances are those that a large feature common to all images leaves.",
    ),
    "input-independent": (
        "For kappa L -> infinity all pairs of {name} have the ratio 1/3.",
        "arXiv:2307.02284; the value as in arXiv:1912.13053",
        1 / 3,
        0.01,
        "Measured at the median distance and the largest kappa L. Allowance 0.01: the next order in "
        "1/(kappa L).",
    ),
    "peak": (
        "Near and far pairs of {name}, all distances shrunk, are told apart best where R(u) says: at "
        "intermediate kappa L.",
        "derived here",
        None,
        0.2,
        "Measured: ln(kappa L) where the ratio differs most between the quantiles 0.1 and 0.9 of the "
        "distance. For narrow distributions it is u = sqrt(7) - 2. Allowance 0.2: finite distances and bias.",
    ),
}  # fmt: skip


def _data_estimates(place: np.ndarray, chosen: xr.Dataset) -> list[tuple[str, Estimate]]:
    top, predicted = chosen["top"].values, chosen["predicted"].values
    deviation = top / predicted - 1
    worst = np.unravel_index(np.argmax(np.abs(deviation.mean(axis=2))), deviation.shape[:2])
    apart = np.diff(chosen["quantile_gap"].values[:, 1][:, :, [0, 2]], axis=2)[:, :, 0]
    place_of_peak = _peak(place, apart)
    distance = chosen["quantile_distance"].values[:, 1]
    fine = np.linspace(place[0], place[-1], 400)
    law = np.stack([_apart(fine, place, distance[:, i]) for i in range(distance.shape[1])], axis=1)
    return [
        ("top", Estimate.from_samples(deviation[worst], method="largest relative deviation")),
        ("rank-one", Estimate.from_samples(top[0, 0], method="mean over sets of images")),
        ("rank-one-alike", Estimate.from_samples(top[0, 1], method="mean over sets of images")),
        (
            "input-independent",
            Estimate.from_samples(
                1 - chosen["quantile_gap"].values[-1, 0, :, 1], method="mean over sets of images"
            ),
        ),
        ("peak", place_of_peak),
        ("peak-law", _peak(fine, law)),
    ]


def _apart(fine: np.ndarray, place: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return R(u) of near less that of far pairs, whose distances of shape (points, 3) vary a little."""
    near, far = (np.exp(fine + np.interp(fine, place, np.log(distance[:, i]))) for i in (0, 2))
    return np.asarray(tangent_ratio(near) - tangent_ratio(far))


def _peak(place: np.ndarray, curves: np.ndarray) -> Estimate:
    value, error = mean_place([minimum(place, -curve) for curve in curves.T])
    if not math.isfinite(value):
        return Estimate.not_determined("the largest difference lies at an end of the range")
    return Estimate(value, error, "maximum of a spline, mean over sets of images", curves.shape[1])


def tables(data: xr.Dataset, config: Any) -> list[Table]:
    """Return the deviation from the law by depth, and eigenvalues of the images."""
    depths = config.tangent_kernel.depths
    rows = []
    for point in pairs(data):
        if not math.isfinite(point.kappa):
            continue
        law = tangent_ratio(point.kappa * point.distance * np.array(depths)[:, None])
        within = point.distance <= 0.1
        worst = np.where(within, np.abs(1 - point.gap - law), -np.inf).max(axis=1)
        rows.append(
            [
                short(point.activation),
                f"{point.sigma_b:g}",
                f"{point.kappa:.4g}",
                *(f"{w:.4f}" for w in worst),
            ]
        )
    made = [
        Table(
            "Largest |R - R(u)| over distances up to 0.1, by depth",
            ["activation", "sigma_b", "kappa", *(f"L = {depth}" for depth in depths)],
            rows,
        )
    ]
    for name in DATA_SETS:
        place, chosen = images(data, name)
        if not np.isfinite(place).any():
            continue
        rows = [
            [
                f"{math.exp(x):.3g}",
                *(f"{chosen['top'].values[i, row].mean():.3f}" for row in (0, 1)),
                *(f"{np.median(chosen['condition'].values[i, row]):.2g}" for row in (0, 1)),
            ]
            for i, x in enumerate(place)
        ]
        columns = ["kappa L", "largest eigenvalue / trace", "the same, distances shrunk"]
        columns += ["condition number", "the same, distances shrunk"]
        made.append(Table(f"Tangent kernel over {name}", columns, rows))
    return made
