"""The neural tangent kernel on the critical line: a scaling law, its two ends, and what data make of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import folders, subset
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.tangent_kernel_checks import data_checks, law_checks, tables
from phasescope.papers.absorbing.tangent_kernel_figure import data_figure, law_figure
from phasescope.studies.arrays import filled
from phasescope.studies.contract import Analysis, Part, Picture, Settings, Variable
from phasescope.sweep.task import Task
from phasescope.theory import TangentGram, deep_tangent_ratio, tangent_kernel

if TYPE_CHECKING:
    import xarray as xr

    from phasescope.theory import CriticalLinePoint

# What is followed at one depth: distances over six decades, then those that give u at that depth.
DISTANCES = np.geomspace(1e-6, 1.0, 19)
FIXED_U = (0.1, 1.0, 10.0)
# In place of u -> 0, and of u -> infinity with unrelated inputs.
_NEARLY_ALIKE, _UNRELATED = 1e-12, 1.0
PAIRS = DISTANCES.size + 2 + len(FIXED_U)
QUANTILES = (0.1, 0.5, 0.9)


class TangentKernelSettings(Settings):
    """Sizes of the study of the tangent kernel."""

    biases: tuple[float, ...] = (0.05, 0.3, 1.0)  # values of ``sigma_b`` along the critical line
    depths: tuple[int, ...] = (30, 100, 300, 1000)  # weight layers, ascending
    data_depth: int = 300  # weight layers of the kernels over data
    data_biases: tuple[float, float] = (2e-4, 1.0)  # smallest and largest ``sigma_b`` of those
    data_points: int = 13  # how many, evenly spaced in the logarithm
    images: int = 250  # images of each Gram matrix
    replicas: int = 3  # disjoint sets of images
    # data are looked at as they are, and with all distances multiplied by this, as a feature common to all
    # images makes them
    shrinkage: float = 0.05


QUICK = TangentKernelSettings()
PAPER = TangentKernelSettings(
    depths=(30, 100, 300, 1000, 3000), data_depth=1000, data_points=17, images=500, replicas=5
)


class TangentKernel(Part):
    """The ratio of off-diagonal to diagonal tangent kernel against ``u = kappa rho_0 L``, and over data."""

    name = "tangent-kernel"
    title = "Neural tangent kernel"
    citations = ("jacot2018", "xiao2020", "tamai2023")
    variables: ClassVar = {
        "reference": shared.LINE,
        "odd": Variable((), "1 where the activation is an odd function"),
        "distance": Variable(("depth", "pair"), "1 - c of the pre-activations of the first layer"),
        "gap": Variable(("depth", "pair"), "1 - Theta_ab/Theta_aa"),
        "top": Variable(("case", "subset"), "largest eigenvalue over the trace"),
        "condition": Variable(("case", "subset"), "largest over smallest eigenvalue"),
        "predicted": Variable(("case", "subset"), "top, from the deep limit of Theta_ab/Theta_aa"),
        "quantile_distance": Variable(
            ("case", "subset", "quantile"), "quantiles of 1 - c in the first layer"
        ),
        "quantile_gap": Variable(("case", "subset", "quantile"), "1 - Theta_ab/Theta_aa there"),
    }

    def tasks(self, config: Any) -> list[Task]:
        """Return one task a point of the critical line: for pairs of inputs, then for each data set."""
        settings: TangentKernelSettings = config.tangent_kernel
        sizes = settings.model_dump(
            mode="json", include={"depths", "data_depth", "images", "replicas", "shrinkage"}
        )
        made = []

        def add(kind: str, spec: str, sigma_b: float, name: str, folder: str, seconds: float) -> None:
            known = {"kind": kind, **identified(spec), "sigma_b": float(sigma_b), "data_set": name}
            known |= {"folder": folder, "seed": config.seed, **sizes}
            memory = 900_000_000 if folder else 300_000_000
            made.append(Task(STUDY, self.name, known, seconds=seconds, memory=memory))

        for spec in config.activations:
            for sigma_b in settings.biases:
                add("pairs", spec, sigma_b, "", "", 0.2 + 4e-4 * max(settings.depths))
        for name, folder in folders(config).items():
            for sigma_b in np.geomspace(*settings.data_biases, settings.data_points):
                work = 2 * settings.replicas * (settings.images / 1000) ** 2
                add("data", config.activation, sigma_b, name, folder, 0.2 + 4e-4 * settings.data_depth + work)
        return made

    def measure(self, task: Task, device: str) -> dict[str, np.ndarray]:
        """Return the tangent kernel at one point of the critical line: of pairs of inputs, or of images."""
        known = task.parameters
        point = shared.point_or_none(known["activation"], known["sigma_b"])
        lengths = {
            "quantity": len(shared.QUANTITIES),
            "depth": len(known["depths"]),
            "pair": PAIRS,
            "case": 2,
            "subset": known["replicas"],
            "quantile": len(QUANTILES),
        }
        measured: dict[str, Any] = {"reference": shared.values(point)}
        measured["odd"] = float(shared.is_odd(known["activation"]))
        if point is not None and math.isfinite(point.kappa):
            measured |= (_of_pairs if known["kind"] == "pairs" else _of_images)(task, point)
        return filled(self.variables, lengths, **measured)

    def analyse(self, data: xr.Dataset, config: Any) -> Analysis:
        """Return the law, its ends and its universality, and eigenvalues over data."""
        settings: TangentKernelSettings = config.tangent_kernel
        return Analysis(
            [*law_checks(data, config), *data_checks(data, config)],
            tables(data, config),
            [
                "Depth counts weight layers; all weights and biases are trained, in the NTK "
                "parametrisation, and inputs have the norm that makes the first layer's kernel the fixed "
                "point. Chosen here: images less the mean of all intensities, each scaled to that norm.",
                "The law R(u) holds for rho_0 -> 0. At distances of order 1, as between images, what kappa "
                "L -> 0 leaves is the kernel of a linear network, 1 - rho_0; it is near rank one only "
                f"where images are alike. The second case has all distances times {settings.shrinkage:g}, "
                "as a large feature common to all images makes them.",
            ],
        )

    def figures(self, data: xr.Dataset, config: Any) -> list[Picture]:
        """Return the collapse of the ratio, and what data make of it."""
        law = (
            "Left: ratio of off-diagonal to diagonal tangent kernel against kappa L, one curve for each "
            "distance of the inputs. Right: the same numbers of all activations, biases, distances up to "
            "0.1 and depths from 100 against u = kappa rho_0 L, and the law R(u) with its ends 1 and 1/3."
        )
        over = (
            "Against kappa L, for images as they are (filled) and with all distances shrunk (open): the "
            "largest eigenvalue's share of the trace, the condition number, and the difference of "
            "Theta_ab/Theta_aa between near and far pairs (quantiles 0.1 and 0.9). Lines: the deep limit, "
            "the same for every odd activation."
        )
        return [
            Picture("tangent-kernel-law", law_figure(data, config), law),
            Picture("tangent-kernel-data", data_figure(data, config), over),
        ]


def _of_pairs(task: Task, point: CriticalLinePoint) -> dict[str, Any]:
    known = task.parameters
    function, depths = activation_of(known), known["depths"]
    extreme = [_NEARLY_ALIKE, _UNRELATED]
    fixed = [np.array(FIXED_U) / (point.kappa * depth) for depth in depths]
    # A shallow network of small kappa has no inputs as far apart as u asks for.
    per_depth = np.array([np.concatenate([DISTANCES, extreme, u]) for u in fixed])
    within = np.where(per_depth <= 1, per_depth, np.nan)
    kept = np.isfinite(within)
    # All distances at all depths in one recursion; each is needed at its own depth alone.
    found = tangent_kernel(function, point.C_W, point.C_b, depths, np.where(kept, within, 0.0), K=point.K)
    gap = found.gap[np.arange(len(depths)), np.arange(len(depths))]
    return {"distance": within, "gap": np.where(kept, gap, np.nan)}


def _of_images(task: Task, point: CriticalLinePoint) -> dict[str, Any]:
    known = task.parameters
    depth, count = known["data_depth"], known["replicas"]
    gram = TangentGram(activation_of(known), point.C_W, point.C_b, depth, K=point.K)
    names = ("top", "condition", "predicted")
    found = {name: np.full((2, count), np.nan) for name in names}
    quantiles = {
        name: np.full((2, count, len(QUANTILES)), np.nan) for name in ("quantile_distance", "quantile_gap")
    }
    nodes = np.concatenate([[0.0], np.geomspace(1e-6, 2, 400)])
    deep = deep_tangent_ratio(nodes, point.kappa * depth)
    for replica in range(count):
        images = subset(
            known["data_set"],
            known["folder"],
            train=known["images"],
            test=1,
            replica=replica,
            replicas=count,
            seed=known["seed"],
        )
        whole = images.distances()[0]
        pairs = whole[np.triu_indices(len(whole), 1)]
        for row, factor in enumerate((1.0, known["shrinkage"])):
            rho = gram.first_layer(factor * whole)
            found["top"][row, replica], found["condition"][row, replica] = _spectrum(1 - gram.gap(depth, rho))
            found["predicted"][row, replica] = _spectrum(np.interp(rho, nodes, deep))[0]
            at = gram.first_layer(np.quantile(factor * pairs, QUANTILES))
            quantiles["quantile_distance"][row, replica] = at
            quantiles["quantile_gap"][row, replica] = gram.gap(depth, at)
    return found | quantiles


def _spectrum(matrix: np.ndarray) -> tuple[float, float]:
    values = np.linalg.eigvalsh(matrix)
    return float(values[-1] / values.sum()), float(values[-1] / values[0]) if values[0] > 0 else math.inf
