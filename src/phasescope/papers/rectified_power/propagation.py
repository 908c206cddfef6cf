"""Kernels and gradients against depth: networks of finite width beside the theory of infinitely wide ones.

The kernel of a layer is the mean square of its pre-activations. Networks of RePU carry ln of each layer's
scale apart, so that no kernel overflows. Others are lost once a pre-activation or its square is not finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import ndtr
from torch import Tensor

from phasescope import plotting, theory
from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.perceptrons import Networks, Start, carried, log_kernels
from phasescope.papers.rectified_power.shared import BOOK, PAPER, STUDY, over_seeds, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_INPUTS = 10  # numbers of the one input, each 1
_OVERFLOW = math.log(sys.float_info.max)  # ln of the largest float64
_TENFOLD, _FAR = math.log(10), math.log(1e10)  # of ln K: a kernel that is kept, and one that is lost
_SHOWN, _SPREAD = (1, 5, 10, 20, 30), 10  # layers of the table; at which the spread is held against its law
_DECADES = np.array([1e-4, 1e-2, 1.0, 1e2, 1e4])  # kernels at which susceptibilities are measured
_SMALL, _FOLLOWED = np.geomspace(3e-4, 1e-1, 10), 150  # K_1 of the survival curves; layers of networks
_MREPU = {f"mrepu{p}": p for p in (1, 2, 3)}
_A1 = {name: 3 * p * (2 * p - 1) for name, p in _MREPU.items()}


class Row(NamedTuple):
    """A start. K_1 is the variance of the first layer; `power` is the p of RePU_p and 0 for all others."""

    activation: str
    C_W: float
    K1: float
    C_b: float = 0.0

    @property
    def power(self) -> int:
        return int(self.activation[4:]) if self.activation.startswith("repu") else 0


_STARTS = {
    ("repu2", 1.0): (1.0, 0.5, theory.repu_unstable_kernel(2, 1.0)),
    ("repu2", 2.0): (2.0, theory.repu_unstable_kernel(2, 2.0)),
    ("repu3", 1.0): (0.5, 0.3, theory.repu_unstable_kernel(3, 1.0)),
    ("repu3", 2.0): (2.0, theory.repu_unstable_kernel(3, 2.0)),
    ("mrepu1", 1.0): (0.05, 0.005),
    ("mrepu2", 1.0): (1.0, 0.1, 0.01, 0.001),
    ("mrepu2", 0.9): (0.003,),
    ("mrepu3", 1.0): (0.01, 0.001, 1e-4),
    ("gelu", 2.0): (1.0,),
}
CONTROLS = (
    Row("relu", 2.0, 1.0),
    Row("tanh", 1.0, 1.0),
    Row("gelu", 1.98305826, 3.56155281, 0.17292239),
    Row("silu", 1.98800468, 14.32017362, 0.55514317),
)
# torch's default: weights and biases of variance 1/(3 fan-in), for 10 inputs and a width of 200.
DEFAULTS = tuple(Row(name, 1 / 3, 11 / 30, 1 / 600) for name in ("repu2", "repu3", "mrepu2"))
ROWS = (*(Row(*of, K1) for of, several in _STARTS.items() for K1 in several), *DEFAULTS, *CONTROLS)
# Those of MRePU at C_W = 1 whose kernel an infinitely wide network keeps for 30 layers, and the others.
KEPT, LOST = (
    [r for r in ROWS if r.activation in _MREPU and r.C_W == 1 and (r.K1 * _A1[r.activation] < 1 / 30) == kept]
    for kept in (True, False)
)
_ALL, _BELOW = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
MAPS = {  # phase diagrams: values of C_W and of K_1
    "repu2": (_ALL, np.geomspace(0.05, 10.0, 48)),
    "repu3": (_ALL, np.geomspace(0.05, 3.0, 48)),
    "mrepu1": (_BELOW, np.geomspace(4e-3, 6.0, 48)),
    "mrepu2": (_BELOW, np.geomspace(6e-4, 0.6, 48)),
}


class PropagationSettings(Settings):
    width: int = 200
    depth: int = 30
    networks: int = 60  # of each start
    mapped: int = 40  # of each phase diagram
    layers: int = 3000  # single layers, for the susceptibilities
    survivors: int = 20  # followed until their kernel has grown tenfold


QUICK = PropagationSettings(networks=12, mapped=12, layers=300, survivors=8)

_OF, _AT = ("network", "layer"), ("network", "place")
VARIABLES = {
    "kernel": Variable(_OF, "ln of the kernel; inf where the network is lost", optional=True),
    "own": Variable(_OF, "ln chi_perp of a layer's units, C_W times the mean of s'^2", optional=True),
    "excess": Variable(_OF, "ln growth of a squared gradient back through a layer, less own", optional=True),
    "grown": Variable(("network", "C_W_of_map", "K1"), "whether the last kernel is larger", optional=True),
    "parallel": Variable(_AT, "chi_par of one layer, measured, for C_W = 1", optional=True),
    "perpendicular": Variable(_AT, "chi_perp of one layer, measured, for C_W = 1", optional=True),
    "survival": Variable(_AT, "layers until the kernel has grown tenfold", optional=True),
    "lasting": Variable(("place",), "the same at infinite width", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return a task for each start and phase diagram, and for layers and survival of each activation."""
    s: PropagationSettings = config.propagation
    common = {"seed": config.seed, "width": s.width, "depth": s.depth}

    def task(kind: str, activation: str, networks: int, layers: float, row: int = -1) -> Task:
        known = {"kind": kind, "activation": activation, "networks": networks, "row": row}
        seconds = 0.3 + 1.2e-8 * s.width**2 * networks * layers
        return Task(STUDY, "propagation", known | common, seconds=seconds, memory=500_000_000)

    made = [task("depth", row.activation, s.networks, 3 * s.depth, at) for at, row in enumerate(ROWS)]
    made += [task("map", name, s.mapped, 15 * s.depth) for name in MAPS]
    made += [task("chi", name, s.layers, 2) for name in ("repu2", "repu3", *_MREPU)]
    return made + [task("survival", name, s.survivors, 2 * _FOLLOWED) for name in _MREPU]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what one task of its kind asks for, from some networks at a time."""
    known = dict(task.parameters)
    several = {"depth": _depth, "map": _map, "chi": _chi, "survival": _survival}[known["kind"]]
    at_once, made = 10 if known["kind"] in ("depth", "chi") else 1, []
    with np.errstate(all="ignore"), torch.no_grad():
        for first in range(0, known["networks"], at_once):
            seeds = range(task.seed + first, task.seed + min(first + at_once, known["networks"]))
            made.append(several(known, seeds, device))
    found: dict[str, Any] = {name: torch.cat([one[name] for one in made]).cpu().numpy() for name in made[0]}
    if known["kind"] == "survival":
        lasting = [theory.survival_depth(known["activation"], K1) for K1 in _SMALL]
        found["lasting"] = np.array(lasting, dtype=np.float64)
    return found


def networks_of(row: Row, width: int, depth: int, seeds: range, device: str) -> Networks:
    sizes, start = (_INPUTS, *[width] * depth), Start(row.C_W, row.C_b, row.K1)
    return Networks(sizes, as_activation(row.activation), start, seeds, dtype=torch.float64).to(device)


def _inputs(kernels: ArrayLike, device: str) -> Tensor:
    """Return inputs that have these kernels where the first layer has a variance of 1."""
    return torch.as_tensor(np.sqrt(kernels), device=device)[:, None].expand(-1, _INPUTS)


def _depth(known: dict[str, Any], seeds: range, device: str) -> dict[str, Tensor]:
    """Follow kernels forwards, and a random gradient back from the last layer."""
    row, own, excess = ROWS[known["row"]], [], []
    networks = networks_of(row, known["width"], known["depth"], seeds, device)
    layers = list(carried(networks, _inputs([1.0], device), row.power))
    v = _random(layers[-1][0], seeds)
    for (z, scale), w in zip(layers[-2::-1], reversed(networks.weights), strict=False):
        slope = as_activation(row.activation).derivative(z)
        mean = slope.square().mean(-1) * row.C_W
        v = slope * (v / v.norm(dim=-1, keepdim=True) @ w.mT)
        excess.append((v.square().sum(-1) / mean).log())
        own.append(mean.log() + 2 * max(row.power - 1, 0) * scale[..., 0])
    kernel = torch.cat(list(log_kernels(iter(layers))), 1)
    return {"kernel": kernel, "own": torch.cat(own[::-1], 1), "excess": torch.cat(excess[::-1], 1)}


def _random(like: Tensor, seeds: range) -> Tensor:
    generator = torch.Generator(like.device).manual_seed(seeds.start ^ 2**62)  # not that of the weights
    return torch.empty_like(like).normal_(generator=generator)


def infinitely_wide(row: Row, depth: int) -> np.ndarray:
    """Return ln of the kernels of an infinitely wide network; inf where they are beyond float64."""
    if row.power:
        return theory.repu_trajectory(row.power, row.K1, depth, C_W=row.C_W, C_b=row.C_b).numpy()
    field, found = theory.MeanField(row.activation, row.C_W, row.C_b), [row.K1]
    while len(found) < depth:
        try:
            found.append(field.kernel_map(found[-1]))
        except InputError:
            break
    return np.log(found + [math.inf] * (depth - len(found)))


def _map(known: dict[str, Any], seeds: range, device: str) -> dict[str, Tensor]:
    """Return whether the last kernel is above the first, (networks, C_W, K_1)."""
    variances, kernels = MAPS[known["activation"]]
    row, grown = Row(known["activation"], 1.0, 1.0), []
    networks = networks_of(row, known["width"], known["depth"], seeds, device)
    for C_W in variances:
        found = list(log_kernels(carried(networks, _inputs(kernels, device), row.power, C_W**0.5)))
        grown.append((found[-1] > found[0]).double())
    return {"grown": torch.stack(grown, 1)}


def _chi(known: dict[str, Any], seeds: range, device: str) -> dict[str, Tensor]:
    """Return how one layer answers a change along its input and one across it, at several kernels."""
    networks = networks_of(Row(known["activation"], 1.0, 1.0), known["width"], 2, seeds, device)
    z, _ = next(carried(networks, _inputs(_DECADES, device)))
    across = _random(z, seeds)
    across -= (across * z).sum(-1, keepdim=True) / z.square().sum(-1, keepdim=True) * z
    (value, slope), w = as_activation(known["activation"]).derivatives(z), networks.weights[1]
    along = ((value @ w) * (slope * z @ w)).mean(-1) / torch.as_tensor(_DECADES).to(device)
    response = (slope * across @ w).square().sum(-1) / across.square().sum(-1)
    return {"parallel": along, "perpendicular": response}


def _survival(known: dict[str, Any], seeds: range, device: str) -> dict[str, Tensor]:
    """Return after how many layers each kernel has grown tenfold; inf where it has not."""
    networks = networks_of(Row(known["activation"], 1.0, 1.0), known["width"], _FOLLOWED + 1, seeds, device)
    limit = torch.as_tensor(np.log(_SMALL) + _TENFOLD, device=device)
    above = torch.stack(
        [each > limit for each in log_kernels(carried(networks, _inputs(_SMALL, device)))],
        1,
    )
    return {"survival": torch.where(above.any(1), above.int().argmax(1).double(), torch.inf)}


@dataclass(frozen=True)
class Numbers:
    """What was measured, as arrays by the name of the variable, of each start and activation."""

    depth: dict[Row, dict[str, np.ndarray]]
    map: dict[str, dict[str, np.ndarray]]
    chi: dict[str, dict[str, np.ndarray]]
    survival: dict[str, dict[str, np.ndarray]]
    width: int

    def repu(self, p: int) -> dict[Row, dict[str, np.ndarray]]:
        """Return the starts of RePU_p without biases."""
        return {row: found for row, found in self.depth.items() if row.power == p and not row.C_b}


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    made: dict[str, dict[Any, Any]] = {kind: {} for kind in ("depth", "map", "chi", "survival")}
    for one in (data.isel(task=int(at)) for at in np.argsort(data["row"].values, kind="stable")):
        kind, found = str(one["kind"].values), {name: _filled(one[name].values) for name in VARIABLES}
        key = ROWS[int(one["row"])] if kind == "depth" else str(one["activation"].values)
        made[kind][key] = found
    for row, found in made["depth"].items():
        found["theory"] = infinitely_wide(row, found["kernel"].shape[1])
    return Numbers(**made, width=config.propagation.width)


def _filled(values: np.ndarray) -> np.ndarray:
    """Return an array without what pads it to the size of other tasks'."""
    there = np.argwhere(~np.isnan(values))
    return values[tuple(slice(0, end) for end in there.max(0) + 1)] if len(there) else values[:0]


def boundary(name: str, C_W: float, width: int) -> tuple[float, float, float]:
    """Return ln K_1 between decay and explosion at infinite width, and its shift and spread to order 1/n.

    Near the fixed point ``ln K' = chi_par ln K + e``, with e of variance ``kappa/n`` and mean ``-kappa/2n``,
    ``kappa = <s^4>/<s^2>^2 - 1``. The boundary of one network lies off by ``-sum chi_par^(-l) e_l``.
    """
    s, K = as_activation(name), theory.unstable_kernel(name, C_W)
    fourth, square = theory.expectation(
        lambda z: torch.stack([s(z) ** 4, s(z) ** 2]), K, kinks=s.kinks
    ).tolist()
    chi, noise = theory.MeanField(name, C_W).chi_parallel(K), (fourth / square**2 - 1) / width
    return math.log(K), noise / (2 * (chi - 1)), math.sqrt(noise / (chi**2 - 1))


def edges(n: Numbers, name: str) -> dict[float, np.ndarray]:
    """Return ln K_1 from which on each network grows, by C_W; NaN where it is outside of the map."""
    variances, kernels = MAPS[name]
    log_K, grown = np.log(kernels), n.map[name]["grown"] > 0
    first = grown.argmax(2)
    between = np.where(first > 0, (log_K[first] + log_K[first - 1]) / 2, np.nan)
    return {C_W: between[:, at] for at, C_W in enumerate(variances)}


def ratio(found: dict[str, np.ndarray], place: int) -> Estimate:
    """Return chi_par/chi_perp of single layers at one kernel."""
    along, across = found["parallel"][:, place], found["perpendicular"][:, place]
    centre = along.mean() / across.mean()
    return over_seeds(centre + (along - centre * across) / across.mean(), "ratio of means over layers")


def claims(n: Numbers) -> list[Check]:
    """Return what holds for RePU, for boundaries, for MRePU, and for the scale that each start keeps."""
    made = [check for p in (2, 3) for check in _repu_claims(n, p)]
    for name in MAPS:
        known = {C_W: boundary(name, C_W, n.width) for C_W in MAPS[name][0] if name[0] == "r" or C_W < 0.85}
        found = np.stack([edges(n, name)[C_W] - log_K for C_W, (log_K, _, _) in known.items()])
        shift, spread = (float(np.mean([each[k] for each in known.values()])) for k in (1, 2))
        apart = over_seeds(found.mean(0), "ln K_1 at a network's boundary, less that of infinite width")
        scatter = math.sqrt(np.nansum((found - apart.value) ** 2) / max(np.isfinite(found).sum(), 1))
        text = f"{name}: above K_{'dag' if name[0] == 'r' else 'u'}(C_W) networks explode, below they decay."
        note = f"Their boundaries scatter by {scatter:.2f}, {spread:.2f} expected."
        made.append(Claim(f"edge-{name}", text).equals(shift, apart, allowance=shift / 2, note=note))
    made += [check for name, p in _MREPU.items() for check in _mrepu_claims(n, name, p)]
    for key, (text, source, rows, keeps, most) in {
        "no-start-keeps": ("No start keeps RePU's kernel.", PAPER, [*n.repu(2), *n.repu(3)], False, _FAR),
        "controls-keep": ("Critical ReLU, tanh, GELU and SiLU keep it.", BOOK, CONTROLS, True, _FAR),
        "keeps-small": ("MRePU keeps its scale, from K_1 < 1/(a1 L).", PAPER, KEPT, True, _TENFOLD),
        "keeps-large": ("MRePU keeps its scale, from larger K_1.", PAPER, LOST, True, _TENFOLD),
    }.items():
        kernels = np.concatenate([n.depth[row]["kernel"] for row in rows])
        lost = ~(np.abs(kernels[:, -1] - kernels[:, 0]) < most)
        against = share(lost if keeps else ~lost, "share of networks against it")
        starts = ", ".join(f"{row.activation} from {row.K1:.3g}" for row in rows)
        note = f"Kept: within {math.exp(most):.0e} of the first; agrees 3 errors below 15 %. {starts}."
        made.append(Claim(key, text, source).below(0.15, against, note=note))
    return made


def _repu_claims(n: Numbers, p: int) -> list[Check]:
    rows, chi, name = n.repu(p), n.chi[f"repu{p}"], f"repu{p}"
    unstable = {row: theory.repu_unstable_kernel(p, row.C_W) for row in rows}
    apart = np.concatenate([found["kernel"] - math.log(unstable[row]) for row, found in rows.items()])
    dagger = [f for row, f in rows.items() if unstable[row] == row.K1]
    grown = np.concatenate([f["kernel"][:, -1] > f["kernel"][:, 0] for f in dagger])
    _, shift, spread = boundary(name, 1.0, n.width)
    noise, depth = 2 * (p - 1) * shift, apart.shape[1]  # noise: kappa/n
    last, far = min(_SPREAD, depth) - 1, depth // 3
    rest = np.concatenate([found["kernel"][:, last] - found["theory"][last] for found in rows.values()])
    steep = over_seeds(np.log(np.abs(apart[:, -1] / apart[:, far])) / (depth - 1 - far))
    law = math.hypot(theory.repu_log_kernel_std(p, n.width, last + 1), math.sqrt(2 / n.width))
    error = ((rest - rest.mean()) ** 2).std() / (2 * rest.std())
    std = Estimate(float(rest.std(ddof=1)), error / math.sqrt(len(rest)), "std over networks", len(rest))
    power = np.polyfit(np.log(_DECADES), np.log(chi["parallel"].mean(0)), 1)[0]
    theirs, summary = p * math.prod(range(1, 2 * p, 2)), f"a published summary of {PAPER}"
    both = (
        f"A misprint, or another normalisation: at K = C_W = 1, C_W p (2p-1)!!/2 K^(p-1) is {theirs / 2:g}. "
        f"Measured, it goes as K^{power:.3f}; theirs as K^{(p - 1) / 2:g}. Their ratio is the same."
    )
    biases = theory.repu_fixed_points(p, 1 / 3, 1 / 600).lower
    ended = np.abs(n.depth[DEFAULTS[p - 2]]["kernel"][:, -1] - math.log(biases))
    first = over_seeds(np.exp(np.concatenate([f["own"][:, 0] for f in dagger])), "first layers")
    backwards = over_seeds(np.concatenate([f["excess"] for f in rows.values()])[:, :far].mean(1))
    return [
        Claim(f"double-exponential-{name}", "|ln(K/K_dag)| grows p-fold a layer.", PAPER).equals(
            math.log(p), steep, allowance=0.01, note="ln of the growth; 0.01 allowed. Both sides, all starts."
        ),
        Claim(f"dagger-{name}", "From K_dag itself some networks explode, the others vanish.").equals(
            float(ndtr(-shift / spread)), share(grown), allowance=0.05, note="The share; 0.05 is allowed."
        ),
        Claim(f"spread-{name}", f"ln K_{last + 1} spreads by its law.").equals(
            law, std, note="Exact at every width; the last layer's own 2/n is added to the variance."
        ),
        Claim(f"ratio-{name}", "chi_par/chi_perp = (2p-1)/p: no start makes both 1.", PAPER).equals(
            (2 * p - 1) / p, ratio(chi, 2), allowance=2 * p / n.width, note="2p/n is allowed."
        ),
        Claim(f"published-{name}", "chi_par = C_W p (2p-1)!! K^((p-1)/2).", summary).equals(
            theirs, over_seeds(chi["parallel"][:, 2], "mean over layers"), note=both
        ),
        Claim(f"gradient-dagger-{name}", "At K_dag chi_perp = p^2/(2p-1): gradients grow.").equals(
            p**2 / (2 * p - 1), first
        ),
        Claim(f"gradient-far-{name}", "Far from the output they grow by (2p-1) chi_perp a layer.").equals(
            math.log(2 * p - 1), backwards, allowance=noise / 2, note="ln of it; kappa/2n is allowed."
        ),
        Claim(f"default-{name}", "torch's default leaves most networks their biases' kernel.").below(
            0.5, share(ended > _TENFOLD), note=f"Within tenfold of {biases:.3g}; 3 errors below a half."
        ),
    ]


def _mrepu_claims(n: Numbers, name: str, p: int) -> list[Check]:
    a1, field, first = _A1[name], theory.MeanField(name, 1.0), _SMALL[0]
    lasting, networks = n.survival[name]["lasting"], np.minimum(n.survival[name]["survival"], _FOLLOWED)
    near = (lasting >= 4) & (lasting <= 20)
    kept = [n.depth[row] for row in KEPT if row.activation == name]
    growth = over_seeds(np.concatenate([found["own"] + found["excess"] for found in kept]).mean(1))

    def rate(of: Callable[[float], float], K: float = 1e-5) -> Estimate:
        value = 2 * (of(K) - 1) / K - (of(2 * K) - 1) / (2 * K)  # the next order in K drops out
        return Estimate(value, 1e-5 * value, "quadrature at K = 1e-5 and 2e-5", 1)

    ratios = over_seeds(np.log(networks / lasting)[:, near].mean(1), "ln of survival, less infinite width's")
    exact = {K: field.chi_parallel(K) / field.chi_perpendicular(K) for K in _DECADES}
    flow = Estimate(lasting[0] * a1 * first, a1 * first, "infinite width; error: one layer", 1)
    return [
        Claim(f"a1-{name}", "K* = 0 with a1 = 3p(2p-1) > 0: marginally unstable.", BOOK).equals(
            a1, rate(lambda K: field.kernel_map(K) / K), note="C_W = 1. The paper files it under K* = 0."
        ),
        Claim(f"b1-{name}", "chi_perp = 1 + b1 K with b1 = p(7p-3).", BOOK).equals(
            p * (7 * p - 3), rate(field.chi_perpendicular)
        ),
        *[
            Claim(f"ratio-{name}-{K:g}", f"chi_par/chi_perp at K = {K:g}, above 1 at K > 0.", PAPER).equals(
                exact[K], ratio(n.chi[name], k), allowance=2 * (p + 1) / n.width, note="2(p+1)/n is allowed."
            )
            for k, K in enumerate(_DECADES)
        ],
        Claim(f"survival-flow-{name}", "The kernel is tenfold after 0.9/(a1 K_1) layers.").equals(
            0.9, flow, allowance=4 * a1 * first, note=f"K_1 = {first:g}; four layers more are allowed."
        ),
        Claim(f"survival-networks-{name}", "Networks survive as long, for 4 to 20 layers.").equals(
            0.0, ratios, allowance=0.2, resolution=0.2, note="Mean of ln of the ratio; 0.2 is allowed."
        ),
        Claim(f"gradient-{name}", "MRePU of small K_1 keeps gradients: chi_perp is about 1.", PAPER).equals(
            0.0, growth, allowance=0.1, note="Mean ln growth of the square a layer; 0.1 allowed."
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for row, found in n.depth.items():
        kernel, over = found["kernel"], found["kernel"] > _OVERFLOW
        shown = [layer for layer in _SHOWN if layer <= kernel.shape[1]]
        first = [int(line.argmax()) + 1 for line in over if line.any()]
        pairs = [(np.median(kernel[:, k - 1]), found["theory"][k - 1]) for k in shown]
        cells = [f"{median / _TENFOLD:.4g} ({wide / _TENFOLD:.4g})" for median, wide in pairs]
        lost = f"{len(first)} of {len(over)}" + (f", layer {np.median(first):g}" if first else "")
        rows.append([row.activation, f"{row.C_W:.3g}, {row.C_b:.3g}, {row.K1:.3g}", *cells, lost])
    columns = ["activation", "C_W, C_b, K_1", *[f"layer {k}" for k in shown], "overflow, first (median)"]
    return [Table("log10 of the median kernel (at infinite width)", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        f"Chosen here: width {n.width}, depth, one input of |x|^2 = {_INPUTS}, starts and seeds; the paper's "
        "are not known to us. torch's default stands for normal weights and biases of its variances.",
        "The paper reports no correction of finite width for RePU. Derived here to order 1/n: a layer adds "
        "to ln K noise of variance kappa/n and mean -kappa/2n, kappa = <s^4>/<s^2>^2 - 1. So boundaries lie "
        "kappa/(2n(chi_par-1)) higher, and from K_dag fewer than half explode. Claims allow the next order. "
        "The part of a gradient along the input, 1/n of it at the output, grows by p chi_par = (2p-1) "
        "chi_perp a layer: it rules after ln n/ln(2p-1) layers.",
        "The paper says that MRePU keeps its scale; from which K_1, and for how many layers, is asked here.",
        "Overflow is asked of pre-activations and their mean square, not of what the activation returns: one "
        "written with a comparison can turn NaN into 0, and a lost network then shows a kernel of 0.",
    ]


def draw_kernels(axes: Axes, n: Numbers, name: str) -> None:
    rows = [row for row in n.depth if row.activation == name and not row.C_b and row.C_W in (1, 2)]
    for row, colour in zip(rows, colours(len(rows)), strict=True):
        kernel, wide = (n.depth[row][key].T / _TENFOLD for key in ("kernel", "theory"))
        layers, label = np.arange(1, len(wide) + 1), f"$C_W$ = {row.C_W:g}, $K_1$ = {row.K1:.3g}"
        axes.plot(layers, kernel[:, :12], color=colour, lw=0.5, alpha=0.5)
        axes.plot(layers, wide, "--", color=colour, label=label)
    axes.set_yscale("symlog", linthresh=10)
    axes.set(title=f"Kernels of {name}", xlabel="layer", ylabel=r"$\log_{10} K$")
    legend(axes, fontsize=7)


def draw_gradients(axes: Axes, n: Numbers) -> None:
    for p, colour in zip((2, 3), colours(2), strict=True):
        excess = np.concatenate([found["excess"] for found in n.repu(p).values()])
        back, grown = np.arange(1, excess.shape[1] + 1), np.median(np.cumsum(excess[:, ::-1], 1), 0)
        axes.plot(back, grown, "o", ms=3, color=colour, label=f"RePU_{p}")
        axes.plot(back, grown[-1] + math.log(2 * p - 1) * (back - back[-1]), "--", color=colour, lw=1)
    axes.axhline(0, color=plotting.THEORY, lw=1, label=r"$\chi_\perp$ alone")
    axes.set(title="Gradients", xlabel="layers from the output", ylabel="ln of the ratio", ylim=(-3, None))
    legend(axes)


def draw_spread(axes: Axes, n: Numbers) -> None:
    for p, colour in zip((2, 3), colours(2), strict=True):
        rest = np.concatenate([found["kernel"] - found["theory"] for found in n.repu(p).values()])
        layers = range(2, min(_SPREAD, rest.shape[1]) + 1)
        axes.plot(layers, rest[:, 1 : layers.stop - 1].std(0), "o", ms=4, color=colour, label=f"RePU_{p}")
        axes.plot(layers, [theory.repu_log_kernel_std(p, n.width, k) for k in layers], color=colour, lw=1)
    axes.set(title="Spread over networks", xlabel="layer", ylabel=r"std of $\ln K$", yscale="log")
    legend(axes)


def draw_survival(axes: Axes, n: Numbers) -> None:
    for (name, found), colour in zip(n.survival.items(), colours(3), strict=True):
        axes.plot(_SMALL, np.median(found["survival"], 0), "o", ms=4, color=colour, label=name)
        axes.plot(_SMALL, found["lasting"], color=colour, lw=1)
        axes.plot(_SMALL, 1 / (_A1[name] * _SMALL), ":", color=colour, lw=1)
    axes.axhline(_FOLLOWED, color=plotting.INK, lw=0.8)
    axes.set(title="Survival", xlabel="$K_1$", ylabel="layers", xscale="log", yscale="log", ylim=(1, 2e3))
    legend(axes)


def draw_map(axes: Axes, n: Numbers, name: str) -> None:
    variances, kernels = MAPS[name]
    shares = n.map[name]["grown"].mean(0).T
    axes.pcolormesh(variances, kernels, shares, cmap="coolwarm", vmin=0, vmax=1, alpha=0.7, rasterized=True)
    line = np.linspace(variances[0], variances[-1] if name[0] == "r" else 0.995, 20)
    axes.plot(line, [theory.unstable_kernel(name, float(C_W)) for C_W in line], color=plotting.INK)
    axes.set(title=f"Fate of {name}", xlabel="$C_W$", ylabel="$K_1$", yscale="log", ylim=kernels[[0, -1]])


def figures(n: Numbers) -> list[Panels]:
    kernels = "Networks (thin) and infinite width (dashed). RePU's kernels leave K_dag on either side."
    finite = (
        "Squared gradients of RePU over the product of chi_perp, medians (dashed: growth by 2p-1); spread of "
        "ln K and its law; layers until K of MRePU is tenfold, in networks (dots, as far as the black line), "
        "at infinite width (lines) and as 1/(a1 K_1) (dotted)."
    )
    maps = [partial(draw_map, name=name) for name in MAPS if name != "repu3"]
    return [
        Panels("kernels", kernels, [partial(draw_kernels, name=name) for name in ("repu2", "mrepu2")]),
        Panels("finite-width", finite, [draw_gradients, draw_spread, draw_survival]),
        Panels("phases", "Share of networks that explode: blue none, red all. Line: K_dag or K_u.", maps),
    ]


PROPAGATION = Part(
    name="propagation",
    title="Kernels and gradients against depth",
    presets={"quick": QUICK, "paper": PropagationSettings()},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("network", "layer", "place", "C_W_of_map"),
    citations=("kim2024repu", "roberts2022"),
)
