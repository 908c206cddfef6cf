"""Burgers' equation by physics-informed networks with seven hidden layers, against an exact solution.

``u_t + u u_x = nu u_xx`` on x in [-1, 1], t in [0, 1], with ``u(0, x) = -sin(pi x)`` and ``u(t, +-1) = 0``.
The exact solution is that of Cole and Hopf, by quadrature. A network learns from the equation alone; its
derivatives travel forward with its values, layer by layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers import perceptrons
from phasescope.papers.perceptrons import Networks, Start
from phasescope.papers.rectified_power.shared import PAPER, STUDY, over_seeds, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

HIDDEN = 7  # layers, as in the paper
SHARP, SMOOTH = 0.01 / math.pi, 0.1  # viscosities: the usual problem, and an easier one as a control
FINITE = ("gelu", "silu", "tanh", "mrepu1", "mrepu2", "mrepu3", "relu")  # those that have a start
REPU = ("repu2", "repu3")
RUNS = [(SHARP, name) for name in FINITE + REPU] + [(SMOOTH, name) for name in FINITE]
NAMES = {"gelu": "GELU", "silu": "SiLU", "tanh": "tanh", "relu": "ReLU"}
NAMES |= {f"{kind.lower()}{p}": f"{kind} {p}" for kind in ("MRePU", "RePU") for p in (1, 2, 3)}
RATES = (2e-3, 8e-3)  # at the first step; they fall to 0 as half a cosine
WEIGHT = 10.0  # of the mean squares at the start and at the ends
LEARNT = 0.1  # relative error below which a network has learnt the solution
LOST = 0.6  # and above which it has learnt nothing
_INSIDE, _START, _EDGE = 128, 64, 32  # points of each step: of the equation, at t = 0, at the ends
_TIMES, _PLACES = np.linspace(0, 1, 21), np.linspace(-1, 1, 129)  # the grid on which the error is taken
_DEAD = 1e-6  # range of outputs below which they are the same everywhere
# Variances of weights; K_dag sets the kernel of the first layer as well.
STARTS = {"Xavier": 1.0, "He": 2.0, "C_W = 1/3": 1 / 3, "K_dag": 1.0}
BEGUN = [(name, start) for name in REPU for start in STARTS]


def solution(t: np.ndarray, x: np.ndarray, nu: float) -> np.ndarray:
    """Return the exact solution at times and places that broadcast, by the transformation of Cole and Hopf.

    ``u = -int sin(pi y) w dy / int w dy``, ``w = exp(-cos(pi y)/(2 pi nu) - (x - y)^2/(4 nu t))``. It is
    analytic and falls off on both sides, so that sums over an even grid converge exponentially.
    """
    t, x = np.broadcast_arrays(t, x)
    found, later = np.array(-np.sin(np.pi * x)), t > 0
    t, x = t[later][:, None], x[later][:, None]
    # |u| is at most 1, so that the largest weight lies within t of x; around it the Gaussian decides.
    y = x + (12 * np.sqrt(2 * nu * t) + t) * np.linspace(-1, 1, 1001)
    log_w = -np.cos(np.pi * y) / (2 * np.pi * nu) - (x - y) ** 2 / (4 * nu * t)
    weights = np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
    found[later] = -(np.sin(np.pi * y) * weights).sum(1)
    return found


@lru_cache(maxsize=2)
def _exact(nu: float) -> np.ndarray:
    return solution(_TIMES[:, None], _PLACES, nu)


def slopes(name: str, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return an activation and its first two derivatives; of a jump the value on the left."""
    if name == "tanh":
        h = torch.tanh(z)
        return h, 1 - h * h, 2 * h * (h * h - 1)
    if name == "gelu":
        density = torch.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        below = 0.5 + 0.5 * torch.erf(z / math.sqrt(2))
        return z * below, below + z * density, density * (2 - z * z)
    if name == "silu":
        s = torch.sigmoid(z)
        rise = s * (1 - s)
        return z * s, s + z * rise, rise * (2 + z * (1 - 2 * s))
    # Powers of y = max(z + shift, 0); NaN stays NaN.
    modified, p = name.startswith("mrepu"), 1 if name == "relu" else int(name[-1])
    y = torch.relu(z + 1 if modified else z)
    low = y ** (p - 1) if p > 1 else (y > 0).to(z)
    lower = torch.zeros_like(z) if p == 1 else p * (p - 1) * (y ** (p - 2) if p > 2 else (y > 0).to(z))
    if modified:
        return low * y * z, low * ((p + 1) * y - p), p * (p + 1) * low - lower
    return low * y, p * low, lower


def with_derivatives(networks: Networks, name: str, points: Tensor) -> tuple[Tensor, ...]:
    """Return u, u_t, u_x, u_xx for inputs (t, x): (networks, points). All pass a layer in one product."""
    first, second = torch.eye(2).to(points)
    rows = [points, first.expand_as(points), second.expand_as(points), torch.zeros_like(points)]
    h = torch.cat(rows).expand(len(networks), -1, -1)
    layers = list(zip(networks.weights, networks.biases, strict=True))
    for w, b in layers[:-1]:
        z, z_t, z_x, z_xx = torch.bmm(h, w).chunk(4, 1)
        s, slope, bend = slopes(name, z + b)
        h = torch.cat([s, slope * z_t, slope * z_x, bend * z_x * z_x + slope * z_xx], 1)
    u, u_t, u_x, u_xx = torch.bmm(h, layers[-1][0])[..., 0].chunk(4, 1)
    return u + layers[-1][1][..., 0], u_t, u_x, u_xx


class _Physics(torch.nn.Module):
    """The mean squares that a solution makes zero, and the points (2 t - 1, x) at which they are asked."""

    def __init__(self, known: Any, start: Start, device: str) -> None:
        super().__init__()
        self.name, self.nu, self.seed, self.device = known["activation"], known["nu"], known["seed"], device
        sizes = [2] + [known["width"]] * HIDDEN + [1]
        seeds = [7919 * number + known["seed"] for number in range(known["networks"])]
        self.networks = Networks(sizes, perceptrons.module_of(self.name), start, seeds).to(device)

    def batches(self, step: int) -> tuple[Tensor, Tensor]:
        """Return points inside, at the start and at the ends, drawn anew at each step; twice: no target."""
        generator = torch.Generator().manual_seed((1_000_003 * self.seed + step) % 2**63)
        points = 2 * torch.rand(_INSIDE + _START + _EDGE, 2, generator=generator) - 1
        points[_INSIDE:-_EDGE, 0] = -1
        points[-_EDGE:, 1] = points[-_EDGE:, 1].sign()
        points = points.to(self.device)
        return points, points

    def forward(self, points: Tensor) -> Tensor:
        """Return mean squares of the equation, the start and the ends, (networks, 3)."""
        u, u_t, u_x, u_xx = with_derivatives(self.networks, self.name, points[:_INSIDE])
        outer = self.networks(points[_INSIDE:])[..., 0]
        begun = outer[:, :_START] + torch.sin(math.pi * points[_INSIDE:-_EDGE, 1])
        terms = (2 * u_t + u * u_x - self.nu * u_xx, begun, outer[:, _START:])
        return torch.stack([term.square().mean(1) for term in terms], 1)


def _total(terms: Tensor, _: Tensor) -> Tensor:
    return (terms[:, 0] + WEIGHT * terms[:, 1:].sum(1)).cpu()


class BurgersSettings(Settings):
    """Sizes of the runs."""

    width: int = 24
    networks: int = 4  # seeds that are trained
    steps: int = 3600  # of Adam, for each rate
    control: int = 800  # the same at the easier viscosity
    begun: int = 200  # networks of which only the start is looked at


QUICK = BurgersSettings(networks=3, steps=350, control=350, begun=50)

VARIABLES = {
    "error": Variable(("network",), "relative L2 error; inf where it failed", optional=True),
    "final": Variable(("network",), "loss of the last batch; inf where it failed", optional=True),
    "terms": Variable(("network", "term"), "mean squares: equation, start, ends", optional=True),
    "failed": Variable(("network",), "first step with a loss that is not finite; -1: none", optional=True),
    "loss": Variable(("network", "moment"), "loss of the batch", optional=True),
    "moments": Variable(("moment",), "step at which the loss was taken", optional=True),
    "shown": Variable(("time", "place"), "solution of the network with the lowest loss", optional=True),
    "bend": Variable(("network",), "largest |u_xx| after training", optional=True),
    "broken": Variable(("start_of",), "1 where the loss is not finite before any step", optional=True),
    "dead": Variable(("start_of",), "1 where the output is the same everywhere", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each viscosity, activation and rate, and one for each start of RePU."""
    s: BurgersSettings = config.burgers

    def task(kind: str, name: str, seconds: float, **more: Any) -> Task:
        blank = {"nu": SHARP, "rate": 0.0, "steps": 0, "start": "", "networks": s.networks}
        known = {"kind": kind, "activation": name, "width": s.width, "seed": config.seed} | blank | more
        return Task(STUDY, "burgers", known, seconds=seconds, memory=400_000_000)

    made = []
    for nu, name in RUNS:
        steps = s.steps if nu == SHARP else s.control
        cost = 1e-3 * (4 + s.networks) * steps
        made += [task("train", name, cost, nu=nu, rate=rate, steps=steps) for rate in RATES]
    return made + [task("start", name, 1.0, start=start, networks=s.begun) for name, start in BEGUN]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Train networks with all seeds and return how far they came, or look at their start alone."""
    known = task.parameters
    if known["kind"] == "start":
        return _begun(known, device)
    physics = _Physics(known, perceptrons.best_start(known["activation"], HIDDEN + 1)[0], device)
    optimiser = torch.optim.Adam(physics.parameters(), known["rate"], fused=True)
    steps, exact = known["steps"], _exact(known["nu"])

    def fall(step: int) -> None:
        optimiser.param_groups[0]["lr"] = known["rate"] * (1 + math.cos(math.pi * step / steps)) / 2

    every = max(1, steps // 60)
    course = perceptrons.train(physics, physics.batches, _total, optimiser, steps, every=every, before=fall)
    t, x = np.meshgrid(2 * _TIMES - 1, _PLACES, indexing="ij")
    grid = torch.from_numpy(np.stack([t.ravel(), x.ravel()], 1)).float().to(device)
    with torch.no_grad():
        found = physics.networks(grid)[..., 0].double().cpu().numpy().reshape(-1, *t.shape)
        points = physics.batches(steps)[0]
        terms = physics(points).double().cpu().numpy()
        u_xx = with_derivatives(physics.networks, physics.name, points)[3].double().cpu().numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(((found - exact) ** 2).mean((1, 2)) / (exact**2).mean())
    good = (course.failed < 0) & np.isfinite(error)
    final = np.where(good, course.loss[:, -1], math.inf)
    shown = found[np.argmin(final)] if good.any() else np.full(t.shape, math.nan)
    ends = {"error": np.where(good, error, math.inf), "final": final, "failed": course.failed}
    ends |= {"terms": np.where(np.isfinite(terms), terms, math.inf), "bend": np.abs(u_xx).max(1)}
    return ends | {"loss": course.loss, "moments": course.steps, "shown": shown}


def _begun(known: Any, device: str) -> dict[str, Any]:
    """Return which networks are lost before the first step, from one start."""
    best = perceptrons.best_start(known["activation"], HIDDEN + 1)[0]
    physics = _Physics(known, best if known["start"] == "K_dag" else Start(STARTS[known["start"]]), device)
    points, _ = physics.batches(0)
    with torch.no_grad():
        loss, outputs = _total(physics(points), points), physics.networks(points)[..., 0].cpu()
    spread = outputs.amax(1) - outputs.amin(1)
    return {"broken": (~loss.isfinite()).double().numpy(), "dead": (spread < _DEAD).double().numpy()}


@dataclass(frozen=True)
class Numbers:
    """Activations at their better rates by viscosity and name, and starts of RePU by name and start."""

    runs: dict[tuple[float, str], xr.Dataset]
    begun: dict[tuple[str, str], xr.Dataset]
    settings: BurgersSettings

    def error(self, nu: float, name: str) -> np.ndarray:
        """Return relative L2 errors, one a network; 1 where it failed."""
        error = self.runs[nu, name]["error"].values
        return np.where(np.isfinite(error), error, 1.0)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    runs = {}
    for nu, name in RUNS:
        tried = chosen(data, kind="train", nu=nu, activation=name)
        runs[nu, name] = tried.isel(task=int(np.argmin(np.median(tried["final"].values, 1))))
    begun = {key: chosen(data, kind="start", activation=key[0], start=key[1]).isel(task=0) for key in BEGUN}
    return Numbers(runs, begun, config.burgers)


def claims(n: Numbers) -> list[Check]:
    """Return the paper's order, what becomes of RePU, what ReLU cannot see, and the control."""
    made = []
    for nu, where, behind, source in (
        (SHARP, "0.01/pi", "", PAPER),
        (SMOOTH, "0.1", "-control", "derived here"),
    ):
        for better, worse in (("gelu", "mrepu2"), ("mrepu2", "relu")):
            left, right = n.error(nu, better), n.error(nu, worse)
            note = f"log10 of the ratio of errors; medians {np.median(left):.3g} and {np.median(right):.3g}."
            sentence = f"{NAMES[better]} comes closer to the solution than {NAMES[worse]} at nu = {where}."
            gain = over_seeds(np.log10(right / left), "mean over seeds, paired")
            made.append(Claim(f"{better}-{worse}{behind}", sentence, source).positive(gain, note=note))
    for name in REPU:
        made += _lost(n, name)
    bend = np.concatenate([n.runs[nu, "relu"]["bend"].values for nu in (SHARP, SMOOTH)])
    flat = Estimate(float(bend.max()), 0.0, "largest |u_xx| after training", bend.size)
    made += [
        Claim("relu-flat", "A ReLU network has u_xx = 0 exactly: nu has no part in what it learns.").equals(
            0.0, flat, note="To all digits. Its loss is that of u_t + u u_x = 0, whatever nu."
        ),
        Claim("relu-control", "At nu = 0.1, where the solution is smooth, ReLU stays far from it.").positive(
            over_seeds(n.error(SMOOTH, "relu") - LEARNT), note=f"Relative error less {LEARNT:g}."
        ),
    ]
    note = f"Relative error, below {LEARNT:g} by 3 errors. A network that failed counts as 1."
    for name in ("gelu", "silu", "tanh", "mrepu2", "mrepu3"):
        learns = Claim(f"control-{name}", f"At nu = 0.1 a network with {NAMES[name]} learns the solution.")
        made.append(learns.below(LEARNT, over_seeds(n.error(SMOOTH, name)), note=note))
    return made


def _lost(n: Numbers, name: str) -> list[Check]:
    """Return the checks of one RePU: before the first step from three starts, and after training."""

    def all_of(id: str, sentence: str, lost: np.ndarray, rule: str) -> Check:
        claim, found = Claim(f"{name}-{id}", f"{NAMES[name]} {sentence}."), share(lost)
        note = f"Share of networks {rule}. A share below 0.8 is no agreement, however few the networks."
        return claim.equals(1.0, found, resolution=math.inf if found.value >= 0.8 else 0.0, note=note)

    broken = {start: n.begun[name, start]["broken"].values > 0 for start in STARTS}
    dead = {start: n.begun[name, start]["dead"].values > 0 for start in STARTS}
    third, useless = dead["C_W = 1/3"], n.error(SHARP, name) > LOST
    either = share(broken["K_dag"] | dead["K_dag"]) - 0.5
    most = f"Most networks with {NAMES[name]} are lost at step 0 even from K_dag."
    shares = f"{broken['K_dag'].mean():.2f} have no finite loss, {dead['K_dag'].mean():.2f} one output."
    return [
        all_of("He", "fails at step 0 from He's start", broken["He"], "without a finite loss, in float32"),
        all_of("third", "is dead from C_W = 1/3, torch's default", third, f"with outputs within {_DEAD:g}"),
        all_of("learns", "learns nothing, from K_dag", useless, f"that fail or keep errors above {LOST:g}"),
        Claim(f"{name}-K_dag", most).positive(either, note=f"Share less 1/2; {shares}"),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (nu, name), run in n.runs.items():
        errors = " ".join(f"{error:.3f}" for error in run["error"].values)
        terms = " / ".join(f"{term:.1e}" for term in np.median(run["terms"].values, 0))
        failed = ", ".join(f"{step:.0f}" for step in run["failed"].values if step >= 0)
        rows.append([NAMES[name], f"{nu:.3g}", f"{run['rate'].item():g}", errors, terms, failed or "none"])
    starts = [
        [NAMES[name], start, *(f"{100 * one[what].values.mean():.0f} %" for what in ("broken", "dead"))]
        for (name, start), one in n.begun.items()
    ]
    title = "Errors by seed at the better rate, and median mean squares at the end"
    columns = ["activation", "nu", "rate", "relative L2 errors", "equation / start / ends", "failed at step"]
    begun = ["activation", "start", "loss not finite", "output the same everywhere"]
    return [Table(title, columns, rows), Table("RePU before the first step", begun, starts)]


def notes(n: Numbers) -> list[str]:
    medians = {name: float(np.median(n.error(SHARP, name))) for name in FINITE}
    s, best = n.settings, min(medians, key=lambda name: medians[name])
    return [
        "Known of the paper: seven hidden layers and, from a published summary, the order GELU, MRePU, ReLU. "
        f"Chosen here: nu = 0.01/pi, MRePU 2 for MRePU, {s.width} units, each activation's best start, "
        f"{s.networks} seeds, Adam for {s.steps} steps ({s.control} at nu = 0.1), {_INSIDE} + {_START} + "
        f"{_EDGE} new points a step, weight {WEIGHT:g} of start and ends, and rates "
        f"{' and '.join(f'{rate:g}' for rate in RATES)} that fall to 0. The lower median loss at the end "
        "chooses the rate; errors have no part in it.",
        "At nu = 0.01/pi the slope of the front reaches -152 at t = 0.51. The lowest median error there is "
        f"{medians[best]:.2g}, of {NAMES[best]}.",
        "MRePU p is C^(p-1) at z = -1. The slope of MRePU 1 jumps there from 0 to -1: its u_xx has point "
        "masses that sampled points miss, so its loss sees only a part of the viscosity. The second "
        "derivative of MRePU 2 jumps from 0 to -2, and u_xx with it; that of MRePU 3 is continuous.",
    ]


def draw_sections(axes: Axes, n: Numbers, name: str) -> None:
    at, shown = range(0, len(_TIMES), 5), n.runs[SHARP, name]["shown"].values
    for row, colour in zip(at, shades(len(at)), strict=True):
        axes.plot(_PLACES, shown[row], color=colour, lw=1.3, label=f"t = {_TIMES[row]:g}")
        axes.plot(_PLACES, _exact(SHARP)[row], ":", color=plotting.INK, lw=0.9)
    axes.set(title=NAMES[name], xlabel="x", ylabel="u(t, x)", ylim=(-1.3, 1.3))
    legend(axes, fontsize=7, loc="lower left")


def draw_losses(axes: Axes, n: Numbers, nu: float) -> None:
    for name, colour in zip(FINITE, colours(len(FINITE)), strict=True):
        run = n.runs[nu, name]
        loss = np.where(np.isfinite(run["loss"].values), run["loss"].values, math.inf)
        axes.plot(run["moments"].values, np.median(loss, 0), color=colour, lw=1.1, label=NAMES[name])
    where = "0.01/pi" if nu == SHARP else "0.1"
    axes.set(yscale="log", title=f"Loss, nu = {where}", xlabel="step", ylabel="median over seeds")
    legend(axes, fontsize=6, ncols=2)


def draw_errors(axes: Axes, n: Numbers) -> None:
    names = FINITE + REPU
    for (nu, name), run in n.runs.items():
        colour, label = (plotting.MEASURED, "0.01/pi") if nu == SHARP else (colours(2)[1], "0.1")
        place, error = names.index(name), run["error"].values
        label = "" if place else f"nu = {label}"
        axes.plot([place] * len(error), error, "o", ms=3.5, color=colour, alpha=0.8, label=label)
        if np.isinf(error).any():
            axes.plot(place, 2.0, "x", ms=5, color=colour)
    axes.set(yscale="log", title="Error of each network", ylabel="relative L2 error")
    axes.set_xticks(range(len(names)), [NAMES[name] for name in names], rotation=60)
    legend(axes, fontsize=7)


def figures(n: Numbers) -> list[Panels]:
    rows = (("gelu", "silu", "tanh", "relu"), ("mrepu1", "mrepu2", "mrepu3"))
    known, modified = ([partial(draw_sections, name=name) for name in names] for names in rows)
    losses = [partial(draw_losses, nu=nu) for nu in (SHARP, SMOOTH)]
    sections = "Networks with the lowest loss at nu = 0.01/pi, and the exact solution (dotted)."
    caption = "Losses at the better rate, and errors of all networks. A cross: some networks failed."
    return [
        Panels("solutions", sections, known, (2.7, 2.9), share_y=True),
        Panels("modified", sections, modified, (2.7, 2.9), share_y=True),
        Panels("errors", caption, [*losses, draw_errors]),
    ]


BURGERS = Part(
    name="burgers",
    title="Burgers' equation",
    presets={"quick": QUICK, "paper": BurgersSettings()},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("moment",),
    citations=("kim2024repu",),
)
