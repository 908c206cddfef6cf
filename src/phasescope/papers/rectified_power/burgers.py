"""Burgers' equation by physics-informed networks with seven hidden layers, against an exact solution.

``u_t + u u_x = nu u_xx`` on x in [-1, 1], t in [0, 1], with ``u(0, x) = -sin(pi x)`` and ``u(t, +-1) = 0``.
The exact solution is that of Cole and Hopf, by quadrature. A network learns from the equation alone; its
derivatives travel forward with its values, layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.rectified_power.shared import (
    PAPER,
    STUDY,
    Networks,
    Start,
    best_start,
    largest_of,
    module_of,
    over_seeds,
    share,
    train,
)
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.theory import repu_unstable_kernel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

HIDDEN = 7  # layers, as in the paper
SHARP, SMOOTH = 0.01 / math.pi, 0.1  # viscosities: the usual problem, and an easier one as a control
ACTIVATIONS = ("gelu", "silu", "tanh", "mrepu1", "mrepu2", "mrepu3", "relu", "repu2", "repu3")
RATES = (1e-3, 3e-3)
_POINTS, _START, _EDGE = 256, 64, 32  # at which equation, start and ends are asked, drawn anew at each step
_TIMES, _PLACES = 21, 129  # of the grid on which the error is taken


def solution(t: np.ndarray, x: np.ndarray, nu: float) -> np.ndarray:
    """Return the exact solution at times and places of one shape, by the transformation of Cole and Hopf.

    ``u = -int sin(pi y) w dy / int w dy``, ``w = exp(-cos(pi y)/(2 pi nu) - (x - y)^2/(4 nu t))``. It is
    analytic and falls off on both sides, so that sums over an even grid converge exponentially.
    """
    t, x = np.broadcast_arrays(t, x)
    found = np.array(-np.sin(np.pi * x))
    later = t > 0
    width = 12 * np.sqrt(2 * nu * t[later])
    # The weights peak within one half-wave of x, 1 at most, and fall off beyond as the Gaussian does.
    reach = (width + 1.2)[:, None]
    y = x[later][:, None] + reach * np.linspace(-1, 1, 3001)
    log_w = (
        -np.cos(np.pi * y) / (2 * np.pi * nu) - (x[later][:, None] - y) ** 2 / (4 * nu * t[later])[:, None]
    )
    share_of = np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
    found[later] = -(np.sin(np.pi * y) * share_of).sum(1)
    return found


def slopes(name: str) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Return a function that gives an activation and its first two derivatives, by formulas."""
    p = int(name[-1]) if name[-1].isdigit() else 0
    if name.startswith("mrepu"):

        def modified(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            y = torch.maximum(z, z.new_tensor(-1.0)) + 1
            inside = (z > -1).to(z)
            low = y ** (p - 1)
            first = low * ((p + 1) * y - p) * inside
            second = p * (p + 1) * low - (p * (p - 1) * y ** (p - 2) if p > 1 else 0.0)
            return low * y * (y - 1), first, second * inside

        return modified
    if name.startswith("repu") or name == "relu":
        p = p or 1

        def rectified(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            y, inside = torch.relu(z), (z > 0).to(z)
            second = p * (p - 1) * y ** (p - 2) * inside if p > 1 else torch.zeros_like(z)
            return y**p, p * y ** (p - 1) * inside, second

        return rectified
    return {"tanh": _tanh, "gelu": _gelu, "silu": _silu}[name]


def _tanh(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h = torch.tanh(z)
    first = 1 - h * h
    return h, first, -2 * h * first


def _gelu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(z)
    return z * below, below + z * density, density * (2 - z * z)


def _silu(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = torch.sigmoid(z)
    slope = s * (1 - s)
    return z * s, s + z * slope, slope * (2 + z * (1 - 2 * s))


def with_derivatives(networks: Networks, activation: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Return u, u_t, u_x and u_xx of each network at points (t, x), shape (networks, points) each."""
    count = len(x)
    # Four rows for each point: the value and its derivatives by t, by x, and twice by x.
    zero = torch.zeros_like(x)
    by_t, by_x = zero.clone(), zero.clone()
    by_t[:, 0], by_x[:, 1] = 1.0, 1.0
    h = torch.cat([x, by_t, by_x, zero]).expand(len(networks), -1, -1)
    for number, (w, b) in enumerate(zip(networks.weights, networks.biases, strict=True)):
        z = torch.bmm(h, w)
        value, z_t, z_x, z_xx = torch.split(z, count, 1)
        value = value + b
        if number + 1 == len(networks.weights):
            return value[..., 0], z_t[..., 0], z_x[..., 0], z_xx[..., 0]
        s, first, second = activation(value)
        h = torch.cat([s, first * z_t, first * z_x, second * z_x * z_x + first * z_xx], 1)
    raise AssertionError("a network without layers")


class _Physics(torch.nn.Module):
    """The three mean squares that a solution makes zero, and points at which they are asked."""

    def __init__(self, networks: Networks, activation: Any, nu: float, seed: int, device: str) -> None:
        super().__init__()
        self.networks, self.slopes = networks, activation
        self.nu, self.seed, self.device = nu, seed, device

    def batches(self, step: int) -> tuple[Tensor, Tensor]:
        """Return points (2 t - 1, x): inside, at the start, at the ends; drawn anew at each step."""
        generator = torch.Generator().manual_seed((1_000_003 * self.seed + step) % 2**63)
        points = 2 * torch.rand(_POINTS + _START + _EDGE, 2, generator=generator) - 1
        points[_POINTS : _POINTS + _START, 0] = -1
        points[_POINTS + _START :, 1] = points[_POINTS + _START :, 1].sign()
        return points.to(self.device), points

    def equation(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residual u_t + u u_x - nu u_xx, and u_xx, of each network at each point."""
        u, u_t, u_x, u_xx = with_derivatives(self.networks, self.slopes, points)
        return 2 * u_t + u * u_x - self.nu * u_xx, u_xx

    def forward(self, points: Tensor) -> Tensor:
        inside, start, ends = torch.split(points, [_POINTS, _START, _EDGE])
        outputs = self.networks(torch.cat([start, ends]))[..., 0]
        begun = outputs[:, :_START] + torch.sin(math.pi * start[:, 1])
        terms = [self.equation(inside)[0], begun, outputs[:, _START:]]
        return torch.stack([each.square().mean(1) for each in terms], 1)


def _all_terms(terms: Tensor, targets: Tensor) -> Tensor:
    return terms.sum(1)


class BurgersSettings(Settings):
    """Sizes of the runs."""

    width: int = 24
    seeds: int = 5
    steps: int = 3000  # of Adam, for each rate
    control: int = 1000  # steps at the easier viscosity
    begun: int = 200  # networks of which only the start is looked at


QUICK = BurgersSettings(seeds=3, steps=400, control=350, begun=50)
PAPER_PRESET = BurgersSettings()

VARIABLES = {
    "error": Variable(
        ("network",), "relative L2 error against the exact solution; inf: failed", optional=True
    ),
    "loss": Variable(("network", "moment"), "loss of the batch", optional=True),
    "step_of_loss": Variable(("moment",), "step at which the loss was taken", optional=True),
    "terms": Variable(("network", "term"), "equation, start, ends: mean squares at the end", optional=True),
    "failed": Variable(("network",), "first step with a loss that is not finite; -1 for none", optional=True),
    "shown": Variable(("time", "place"), "solution of the network with the lowest error", optional=True),
    "viscous": Variable(("network",), "largest |u_xx| at the start of training", optional=True),
    "broken": Variable(("network",), "whether the loss is not finite before any step", optional=True),
    "dead": Variable(("network",), "whether the output is the same everywhere", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task for each viscosity, activation and rate, and one for each start of RePU."""
    s: BurgersSettings = config.burgers

    def task(kind: str, name: str, seconds: float, **more: Any) -> Task:
        blank = {"nu": 0.0, "rate": 0.0, "steps": 0, "start": "", "seeds": s.seeds}
        known = {"kind": kind, "activation": name, "width": s.width, "seed": config.seed} | blank | more
        return Task(STUDY, "burgers", known, seconds=seconds, memory=400_000_000)

    made = [
        task("train", name, 1 + (6e-3 + 1e-3 * s.seeds) * steps, nu=nu, rate=rate, steps=steps)
        for nu, steps in ((SHARP, s.steps), (SMOOTH, s.control))
        for name in ACTIVATIONS
        for rate in RATES
    ]
    made += [task("start", f"repu{p}", 2.0, start=start, seeds=s.begun) for p in (2, 3) for start in STARTS]
    return sorted(made, key=lambda each: -each.seconds)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Train networks with all seeds, and return their course and what they found."""
    known = dict(task.parameters)
    if known["kind"] == "start":
        return _begins(known, device)
    name, nu = known["activation"], known["nu"]
    start, _ = best_start(name, HIDDEN + 1)
    corners = torch.tensor([[1.0, 1.0]])
    seeds = [7919 * number + known["seed"] for number in range(known["seeds"])]
    sizes = [2] + [known["width"]] * HIDDEN + [1]
    networks = Networks(sizes, module_of(name), start, seeds, largest=largest_of(corners)).to(device)
    physics = _Physics(networks, slopes(name), nu, known["seed"], device)
    first = physics.equation(physics.batches(0)[0][:_POINTS])[1]
    course = train(
        physics,
        physics.batches,
        _all_terms,
        torch.optim.Adam(networks.parameters(), known["rate"]),
        known["steps"],
        every=max(1, known["steps"] // 50),
    )
    t, x = np.meshgrid(np.linspace(0, 1, _TIMES), np.linspace(-1, 1, _PLACES), indexing="ij")
    points = torch.from_numpy(np.stack([2 * t.ravel() - 1, x.ravel()], 1)).float().to(device)
    with torch.no_grad():
        found = networks(points)[..., 0].double().cpu().numpy().reshape(-1, *t.shape)
        terms = physics(physics.batches(known["steps"])[0]).double().cpu().numpy()
    exact = _grid(nu)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.sqrt(((found - exact) ** 2).mean((1, 2)) / (exact**2).mean())
    error = np.where((course.failed >= 0) | ~np.isfinite(error), math.inf, error)
    best = int(np.argmin(error))
    return {
        "error": error,
        "loss": course.loss,
        "step_of_loss": course.steps,
        "terms": terms,
        "failed": course.failed,
        "shown": found[best] if math.isfinite(error[best]) else np.full(t.shape, math.nan),
        "viscous": first.abs().amax(1).detach().double().cpu().numpy(),
    }


@lru_cache(maxsize=2)
def _grid(nu: float) -> np.ndarray:
    t, x = np.meshgrid(np.linspace(0, 1, _TIMES), np.linspace(-1, 1, _PLACES), indexing="ij")
    return solution(t, x, nu)


def _begins(known: dict[str, Any], device: str) -> dict[str, Any]:
    """Return which networks have a loss that is not finite before the first step, for one start."""
    start = STARTS[known["start"]](int(known["activation"][-1]))
    seeds = [104_729 * number + known["seed"] for number in range(known["seeds"])]
    sizes = [2] + [known["width"]] * HIDDEN + [1]
    networks = Networks(sizes, module_of(known["activation"]), start, seeds).to(device)
    physics = _Physics(networks, slopes(known["activation"]), SHARP, known["seed"], device)
    with torch.no_grad():
        terms = physics(physics.batches(0)[0])
        outputs = networks(physics.batches(0)[0])[..., 0]
    vanished = outputs.std(1) < 1e-20
    return {
        "broken": (~terms.isfinite().all(1)).double().cpu().numpy(),
        "dead": vanished.double().cpu().numpy(),
    }


# Variances of weights, and of the first layer for the largest input, |x|^2/2 = 1.
STARTS: dict[str, Callable[[int], Start]] = {
    "Xavier": lambda p: Start(1.0),
    "He": lambda p: Start(2.0),
    "C_W = 1/3": lambda p: Start(1 / 3),
    "K_dag": lambda p: Start(1.0, 0.0, repu_unstable_kernel(p, 1.0)),
}


@dataclass(frozen=True)
class Runs:
    """An activation at its best rate, chosen by the loss at the end."""

    rate: float
    error: np.ndarray  # (networks,)
    loss: np.ndarray
    step: np.ndarray
    terms: np.ndarray
    failed: np.ndarray
    shown: np.ndarray
    viscous: np.ndarray

    @property
    def log_error(self) -> np.ndarray:
        """Base-10 logarithms; those of networks that failed count as an error of 1."""
        return np.asarray(np.log10(np.minimum(self.error, 1.0)))


@dataclass(frozen=True)
class Numbers:
    """Runs by viscosity and activation, and shares of broken starts."""

    runs: dict[tuple[float, str], Runs]
    broken: dict[tuple[str, str], np.ndarray]
    dead: dict[tuple[str, str], np.ndarray]
    settings: Any


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    runs = {}
    for nu in (SHARP, SMOOTH):
        for name in ACTIVATIONS:
            found = [_run(chosen(data, kind="train", activation=name, nu=nu, rate=rate)) for rate in RATES]
            finite = [np.where(np.isfinite(run.loss[:, -1]), run.loss[:, -1], np.inf) for run in found]
            runs[nu, name] = found[int(np.argmin([np.median(each) for each in finite]))]
    begun = chosen(data, kind="start")
    keys = list(zip(begun["activation"].values, begun["start"].values, strict=True))
    return Numbers(
        runs,
        {(str(a), str(b)): row for (a, b), row in zip(keys, begun["broken"].values, strict=True)},
        {(str(a), str(b)): row for (a, b), row in zip(keys, begun["dead"].values, strict=True)},
        config.burgers,
    )


def _run(data: xr.Dataset) -> Runs:
    one = data.isel(task=0)
    networks = int(one["seeds"].item())
    steps = one["step_of_loss"].values
    known = np.isfinite(steps)
    return Runs(
        float(one["rate"].item()),
        one["error"].values[:networks],
        one["loss"].values[:networks, known],
        steps[known],
        one["terms"].values[:networks],
        one["failed"].values[:networks],
        one["shown"].values,
        one["viscous"].values[:networks],
    )


def claims(n: Numbers) -> list[Check]:
    """Return the order of the paper, what RePU and ReLU cannot do, and the control."""
    sharp = {name: n.runs[SHARP, name] for name in ACTIVATIONS}
    smooth = {name: n.runs[SMOOTH, name] for name in ACTIVATIONS}

    def ahead(id: str, better: str, worse: str, source: str, known: dict[str, Runs]) -> Check:
        nu = "0.01/pi" if known is sharp else "0.1"
        gain = known[worse].log_error - known[better].log_error
        return Claim(
            id,
            f"A network with {_shown(better)} comes closer to the solution than one with {_shown(worse)}.",
            source,
        ).positive(
            over_seeds(gain, "log10 of the ratio of errors, paired by seed"),
            note=f"Measured at nu = {nu}: log10 of the ratio of relative L2 errors, same seeds; medians "
            f"{np.median(known[better].error):.3g} and {np.median(known[worse].error):.3g}.",
        )

    made = [
        ahead("gelu-mrepu", "gelu", "mrepu2", PAPER, sharp),
        ahead("mrepu-relu", "mrepu2", "relu", PAPER, sharp),
        ahead("gelu-mrepu-smooth", "gelu", "mrepu2", "derived here", smooth),
        ahead("mrepu-relu-smooth", "mrepu2", "relu", "derived here", smooth),
    ]
    for p in (2, 3):
        for start in ("He", "K_dag"):
            broken = n.broken[f"repu{p}", start]
            made.append(
                Claim(
                    f"repu{p}-begins-{start}",
                    f"RePU {p} with seven hidden layers fails at step 0 when it starts at {start}.",
                ).equals(
                    1.0,
                    share(broken > 0, "share of networks"),
                    note="Measured: share of networks whose loss is not finite in float32 before any step. "
                    "At K_dag the others have kernels that seven layers have not yet carried out of range.",
                )
            )
        run = sharp[f"repu{p}"]
        made.append(
            Claim(f"repu{p}-learns", f"RePU {p} does not learn the solution, whichever rate.").equals(
                1.0,
                share(run.error > _LEARNT, "share of networks"),
                note=f"Measured: share of networks that fail or end with a relative error above {_LEARNT:g}.",
            )
        )
    flat = sharp["relu"].viscous
    made += [
        Claim(
            "relu-flat", "A ReLU network has no second derivative: u_xx is exactly 0, so it never meets nu."
        ).equals(
            0.0,
            Estimate(float(flat.max()), 0.0, "largest |u_xx| at the points of the first step", flat.size),
            note="Exact. The equation that a ReLU network solves is u_t + u u_x = 0, without viscosity.",
        ),
        Claim(
            "relu-control",
            "Even where viscosity smooths all (nu = 0.1), ReLU stays far from the solution.",
        ).positive(
            over_seeds(smooth["relu"].error - _LEARNT / 2),
            note=f"Measured: relative error less {_LEARNT / 2:g}.",
        ),
    ]
    made += [
        Claim(
            f"control-{name}",
            f"At nu = 0.1 a network with {_shown(name)} learns the solution within these steps.",
        ).below(
            0.1,
            over_seeds(smooth[name].error),
            note="Measured: relative error. Agrees 3 errors below 10 %. So what fails at nu = 0.01/pi is the "
            "front, not the training as such.",
        )
        for name in ("gelu", "tanh", "mrepu2")
    ]
    return made


_LEARNT = 0.6  # relative error above which nothing of the front has been learnt


def _shown(name: str) -> str:
    return {"gelu": "GELU", "relu": "ReLU", "silu": "SiLU"}.get(
        name, name.replace("mrepu", "MRePU ").replace("repu", "RePU ") if "mrepu" in name else name
    )


def tables(n: Numbers) -> list[Table]:
    rows = []
    for name in ACTIVATIONS:
        for nu in (SHARP, SMOOTH):
            run = n.runs[nu, name]
            failures = [f"{int(step)}" for step in run.failed if step >= 0]
            rows.append(
                [
                    name,
                    f"{nu:.3g}",
                    f"{run.rate:g}",
                    " ".join(f"{error:.3g}" for error in run.error),
                    " / ".join(f"{value:.2g}" for value in np.median(run.terms, 0)),
                    ", ".join(failures) or "none",
                ]
            )
    starts = [
        [name, start, f"{100 * row.mean():.0f} %", f"{100 * n.dead[name, start].mean():.0f} %", f"{len(row)}"]
        for (name, start), row in n.broken.items()
    ]
    return [
        Table(
            "Relative L2 error at the better of two rates",
            [
                "activation",
                "nu",
                "rate",
                "errors, by seed",
                "mean squares: equation / start / ends",
                "failed at step",
            ],
            rows,
        ),
        Table(
            "RePU before the first step, seven hidden layers, float32",
            ["activation", "start", "loss not finite", "output the same everywhere", "networks"],
            starts,
        ),
    ]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        "Of the paper seven hidden layers and the order GELU, MRePU, ReLU are known here, the latter from a "
        f"published summary. Chosen here: nu, {s.width} units, Adam, {s.steps} steps ({s.control} at nu = "
        f"0.1), {_POINTS} + {_START} + {_EDGE} points drawn anew at each step, the sum of three mean squares "
        f"as the loss, rates {' and '.join(f'{rate:g}' for rate in RATES)}, of which the lower loss at the "
        "end decides, never the error.",
        "At nu = 0.01/pi the solution has a front whose slope reaches -152 at t = 0.51. So few steps do not "
        "resolve it with any activation; errors there compare how far each has come.",
        "MRePU 1 has a second derivative that jumps by 2 at z = -1, so u_xx jumps, too. MRePU 2 is the first "
        "of its family with a continuous u_xx.",
    ]


def draw_solution(axes: Axes, n: Numbers) -> None:
    _sections(axes, n, SHARP)
    axes.set(title="nu = 0.01/pi, t = 0.5", xlabel="x", ylabel="u")
    legend(axes, fontsize=7)


def draw_control(axes: Axes, n: Numbers) -> None:
    _sections(axes, n, SMOOTH)
    axes.set(title="nu = 0.1, t = 0.5", xlabel="x")


def _sections(axes: Axes, n: Numbers, nu: float) -> None:
    x, middle = np.linspace(-1, 1, _PLACES), _TIMES // 2
    axes.plot(x, _grid(nu)[middle], color=plotting.THEORY, lw=2.4, label="exact")
    names = ("gelu", "tanh", "mrepu2", "relu", "repu2")
    for name, colour in zip(names, colours(len(names)), strict=True):
        axes.plot(x, n.runs[nu, name].shown[middle], color=colour, lw=1, label=name)


def draw_errors(axes: Axes, n: Numbers) -> None:
    for nu, marker, colour in ((SHARP, "o", plotting.MEASURED), (SMOOTH, "s", colours(2)[1])):
        for place, name in enumerate(ACTIVATIONS):
            error = n.runs[nu, name].error
            finite = np.isfinite(error)
            axes.plot(np.full(finite.sum(), place), error[finite], marker, ms=3.5, color=colour, alpha=0.8)
            axes.plot(np.full((~finite).sum(), place), np.full((~finite).sum(), 2.0), "x", ms=5, color=colour)
        axes.plot([], [], marker, color=colour, label="nu = 0.01/pi" if nu == SHARP else "nu = 0.1")
    axes.set_yscale("log")
    axes.set_xticks(range(len(ACTIVATIONS)), ACTIVATIONS, rotation=60)
    axes.set(title="Error of each network", ylabel="relative L2 error")
    legend(axes, fontsize=7, loc="lower right")


def draw_losses(axes: Axes, n: Numbers) -> None:
    names = ("gelu", "tanh", "mrepu2", "relu", "repu2")
    for name, colour in zip(names, colours(len(names)), strict=True):
        run = n.runs[SMOOTH, name]
        for number, loss in enumerate(run.loss):
            axes.plot(run.step, loss, color=colour, lw=0.9, label=name if number == 0 else None)
    axes.set(yscale="log", title="Loss, nu = 0.1", xlabel="step", ylim=(1e-4, 1e2))
    legend(axes, fontsize=7)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "solution",
            "The exact solution at t = 0.5, and the best network of each activation.",
            [draw_solution, draw_control],
            share_y=True,
        ),
        Panels(
            "errors",
            "Left: relative L2 error of each network; crosses failed. Right: losses by step.",
            [draw_errors, draw_losses],
        ),
    ]


BURGERS = Part(
    name="burgers",
    title="Burgers' equation",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("network", "moment"),
    citations=("kim2024repu",),
)
