r"""Very high learning rates, exactly: the map that training becomes once all hidden units are saturated.

Units stuck at 0 or 1 for all flowers have no gradient of their own. With K of them at 1, all flowers have the
same outputs z, and a step moves the bias and each of the K weights of an output by ``eta (pi - softmax(z))``:

    z <- z - E (softmax(z) - pi),    E = eta (1 + K),

with pi the shares of the classes. The sum of z is conserved, so the exponents are those of two differences.
The fixed point has ``softmax(z) = pi``; differences there are multiplied by ``1 - E mu``, with mu the
eigenvalues of ``diag(pi) - pi pi^T``. Derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos import shared
from phasescope.papers.chaos.shared import STUDY, over_starts
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import Map, tangent_exponents

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RATE = 5.0
DISCARD = 500  # steps of the reduced map before its exponent is measured
SPREAD = 3.0  # standard deviation of its starts
PERIODS = 60  # steps whose period is looked for
CHUNK = 5  # networks of one task
# Exponents by flowers of the three classes and E, from an independent program with 200 starts.
KNOWN = {("35,42,43", 20.0): 0.314, ("35,42,43", 15.0): -0.019, ("42,36,42", 20.0): 0.175}
PERIODIC, PERIODIC_AT = "38,41,41", (12.0, 15.0, 20.0, 25.0, 30.0)  # period 3 at all these E
_FIXED = 5.0  # E below the first bifurcation
_CHAOTIC = 0.01  # 1/step
_RETURN = 0.01  # of u


class ReducedMapSettings(Settings):
    """Sizes of the reduced map's runs, and of those of the networks it is held against."""

    strengths: tuple[float, ...] = (3, 5, 5.9, 6.5, 8, 10, 12, 15, 20, 25, 30, 40)  # E
    starts: int = 200
    steps: int = 2000  # of the reduced map, after 500 that are left out
    networks: int = 20
    learnt: int = 4000  # steps of the networks before they are compared
    compared: int = 1000  # steps over which they are


QUICK = ReducedMapSettings(steps=1000, learnt=3000)
PAPER = ReducedMapSettings(
    strengths=(*np.arange(3, 41, 0.5).tolist(), 5.9), steps=10_000, networks=100, learnt=10_000
)

VARIABLES = {
    "exponent": Variable(("start",), "largest exponent of the reduced map", "1/step", optional=True),
    "period": Variable(("start",), "its period; 0 where there is none up to 12", optional=True),
    "stuck": Variable(("network",), "hidden units stuck at 1", optional=True),
    "saturated": Variable(("network",), "whether all units are saturated, and stay so", optional=True),
    "step_error": Variable(("network",), "relative error of the reduced map's step", optional=True),
    "full": Variable(("network",), "largest exponent of the network", "1/step", optional=True),
    "reduced": Variable(("network",), "that of the reduced map from the same state", "1/step", optional=True),
    "full_period": Variable(("network",), "period of the network's outputs", optional=True),
    "reduced_period": Variable(("network",), "period of the reduced map", optional=True),
}


class ReducedMap(Map):
    """The map of ``u = (z_0 - z_2, z_1 - z_2)``."""

    def __init__(self, shares: np.ndarray, strength: float) -> None:
        self.shares = torch.as_tensor(shares, dtype=torch.float64)
        self.strength = strength
        self.size = self.weights = 2
        self.initial = torch.tensor([1.0, 0.0], dtype=torch.float64)
        self.slices = {"u": slice(0, 2)}
        self.is_weight = torch.ones(2, dtype=torch.bool)

    def _logs(self, x: Tensor) -> Tensor:
        z = torch.cat([x, torch.zeros_like(x[..., :1])], dim=-1)
        return torch.log_softmax(z, dim=-1)

    def loss(self, x: Tensor, t: int = 0) -> Tensor:
        return -(self.shares * self._logs(x)).sum(-1)

    def advance(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        pull = self._logs(x).exp() - self.shares
        return x - self.strength * (pull[..., :2] - pull[..., 2:]), self.loss(x)

    def tangent(
        self, x: Tensor, v: Tensor, t: int, *, overwrite: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        after, loss = self.advance(x, t)
        p = self._logs(x).exp().unsqueeze(-2)
        wide = torch.cat([v, torch.zeros_like(v[..., :1])], dim=-1)
        turned = p * (wide - (p * wide).sum(-1, keepdim=True))
        return after, v - self.strength * (turned[..., :2] - turned[..., 2:]), loss


def flowers_of(split: int) -> str:
    """Return the numbers of training flowers of each class, as tasks carry them."""
    return ",".join(f"{count:.0f}" for count in shared.TRAIN * shared.iris(split).shares)


def shares_of(flowers: str) -> np.ndarray:
    """Return the shares of the classes."""
    counts = np.array(flowers.split(","), dtype=np.float64)
    return np.asarray(counts / counts.sum())


def tasks(config: Any) -> list[Task]:
    """Return the reduced map of each set of shares at each E, and some networks each."""
    settings: ReducedMapSettings = config.reduced_map
    own = flowers_of(config.split)
    runs = {(own, float(strength)) for strength in (*settings.strengths, _FIXED)}
    runs |= set(KNOWN) | {(PERIODIC, strength) for strength in PERIODIC_AT}
    made = []
    for flowers, strength in sorted(runs):
        known = {"kind": "reduced", "flowers": flowers, "strength": strength}
        known |= {"starts": settings.starts, "steps": settings.steps, "seed": config.seed}
        known |= {"first_start": 0, "learnt": 0, "split": 0}
        made.append(Task(STUDY, "reduced-map", known, seconds=settings.steps * 2e-4))
    for numbers in shared.chunks(settings.networks, CHUNK):
        known = {"kind": "network", "flowers": own, "strength": 0.0, "starts": CHUNK}
        known |= {"steps": settings.compared, "seed": config.seed, "first_start": numbers.start}
        known |= {"learnt": settings.learnt, "split": config.split}
        seconds = CHUNK * (settings.learnt * shared.STEP + settings.compared * shared.TANGENT)
        made.append(Task(STUDY, "reduced-map", known, seconds=seconds))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return exponents and periods of the reduced map, or of some networks beside it."""
    known = task.parameters
    if known["kind"] == "network":
        return _networks(task, device)
    step = ReducedMap(shares_of(known["flowers"]), known["strength"])
    x = torch.from_numpy(np.random.default_rng(task.seed).normal(0, SPREAD, (known["starts"], 3)))
    x = x[:, :2] - x[:, 2:]
    for t in range(DISCARD):
        x = step.step(x, t)
    found = tangent_exponents(step, steps=known["steps"], x=x, seed=task.seed)
    x, orbit = found.state, []
    for t in range(PERIODS):
        orbit.append(x)
        x = step.step(x, t)
    return {
        "exponent": np.array([each[0].value for each in found.exponents]),
        "period": _periods(torch.stack(orbit)),
    }


def _networks(task: Task, device: str) -> dict[str, Any]:
    known = task.parameters
    data, step = shared.iris(known["split"]), shared.iris_map(known["split"], RATE, device)
    numbers = range(known["first_start"], known["first_start"] + known["starts"])
    x = shared.starts(known["seed"], numbers, device)
    flowers = data.x.to(x.device)
    for t in range(known["learnt"]):
        x = step.step(x, t)
    stuck, moving = shared.saturation(x, flowers)
    found = tangent_exponents(
        step, steps=known["steps"], x=x, start=known["learnt"], weights_only=True, seed=task.seed
    )
    stuck_after, moving_after = shared.saturation(found.state, flowers)
    still = ~moving.any(-1) & ~moving_after.any(-1) & (stuck == stuck_after).all(-1)
    before = _differences(shared.outputs(x, flowers))
    after = _differences(shared.outputs(step.step(x, known["learnt"]), flowers))
    orbit, reduced_orbit, w = [], [], found.state
    for t in range(PERIODS):
        orbit.append(_differences(shared.outputs(w, flowers)))
        w = step.step(w, t)
    errors, exponents = [], []
    for i, each in enumerate(before):
        reduced = ReducedMap(data.shares, RATE * (1 + int(stuck[i].sum())))
        error = (reduced.step(each, 0) - after[i]).norm() / (after[i] - each).norm().clamp(min=1e-6)
        alike = tangent_exponents(reduced, steps=known["steps"], x=each, seed=task.seed)
        errors.append(float(error))
        exponents.append(alike.exponents[0].value)
        states = [alike.state]
        for t in range(1, PERIODS):
            states.append(reduced.step(states[-1], t))
        reduced_orbit.append(torch.stack(states))
    return {
        "stuck": stuck.sum(-1).double().cpu().numpy(),
        "saturated": still.double().cpu().numpy(),
        "step_error": np.array(errors),
        "full": np.array([each[0].value for each in found.exponents]),
        "reduced": np.array(exponents),
        "full_period": _periods(torch.stack(orbit)),
        "reduced_period": _periods(torch.stack(reduced_orbit, dim=1)),
    }


def _differences(outputs: Tensor) -> Tensor:
    """Return u of each network, from outputs that hardly depend on the flower."""
    z = outputs.mean(-2).cpu()
    return z[:, :2] - z[:, 2:]


def _periods(orbit: Tensor) -> np.ndarray:
    """Return after how many steps each orbit (steps, orbits, 2) is back to 0.01; 0 if after none up to 12."""
    found = np.zeros(orbit.shape[1])
    for k in range(12, 0, -1):
        apart = (orbit[k:] - orbit[:-k]).abs().amax(dim=(0, 2)).cpu().numpy()
        found[apart < _RETURN] = k
    return found


@dataclass(frozen=True)
class Numbers:
    """Exponents and periods of the reduced map by flowers and E; networks, one an entry."""

    own: str
    exponents: dict[tuple[str, float], np.ndarray]
    periods: dict[tuple[str, float], np.ndarray]
    networks: dict[str, np.ndarray]

    @property
    def strengths(self) -> list[float]:
        """Values of E at the study's own split."""
        return [strength for flowers, strength in self.exponents if flowers == self.own]

    @property
    def compared(self) -> np.ndarray:
        """Which networks the reduced map applies to: all units saturated, before and after."""
        return np.asarray(self.networks["saturated"] > 0.5)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    maps, networks = chosen(data, kind="reduced"), chosen(data, kind="network")
    keys = list(zip(maps["flowers"].values.tolist(), maps["strength"].values.tolist(), strict=True))
    names = [name for name, variable in VARIABLES.items() if variable.dims == ("network",)]
    return Numbers(
        flowers_of(config.split),
        dict(zip(keys, maps["exponent"].values, strict=True)),
        dict(zip(keys, maps["period"].values, strict=True)),
        {name: networks[name].values.ravel() for name in names},
    )


def fixed_point_exponent(shares: np.ndarray, strength: float) -> float:
    """Return the exponent at the fixed point, ``ln max |1 - E mu|`` over the two directions that matter."""
    mu = np.linalg.eigvalsh(np.diag(shares) - np.outer(shares, shares))[1:]
    return math.log(np.abs(1 - strength * mu).max())


def bifurcation(shares: np.ndarray) -> float:
    """Return the E above which the fixed point gives way to period 2."""
    return 2 / float(np.linalg.eigvalsh(np.diag(shares) - np.outer(shares, shares))[-1])


def claims(n: Numbers) -> list[Check]:
    """Return what the reduced map does, and that the networks do the same."""
    shares = shares_of(n.own)
    made = [
        Claim(
            "fixed-point", f"At E = {_FIXED:g} the exponent is ln max |1 - E mu|, that of the fixed point."
        ).equals(
            fixed_point_exponent(shares, _FIXED),
            _median(n.exponents[n.own, _FIXED]),
            allowance=1e-3,
            note="Shares of this split. Allowance 0.001: what is left of the approach.",
        ),
        _bifurcation_claim(n, bifurcation(shares)),
    ]
    made += [
        Claim(
            f"exponent-{flowers.replace(',', '-')}-{strength:g}",
            f"With {flowers} flowers of the classes, the exponent at E = {strength:g} is {expected:g} a "
            "step.",
            "independent program",
        ).equals(
            expected,
            _median(n.exponents[flowers, strength]),
            allowance=0.01,
            note="Median over 200 starts. Allowance 0.01: other starts, and a finite run.",
        )
        for (flowers, strength), expected in KNOWN.items()
    ]
    periodic = np.array([(n.periods[PERIODIC, e] == 3).mean() for e in PERIODIC_AT])
    made.append(
        Claim(
            "period-3",
            f"With {PERIODIC} flowers the map has period 3 for all E from 12 to 30: chaos hangs on the "
            "shares.",
            "independent program",
        ).equals(
            1.0,
            Estimate(float(periodic.min()), 0.0, "smallest share of starts over E", len(periodic)),
            allowance=0.1,
            note="Allowance 0.1: starts that are still on their way.",
        )
    )
    return [*made, *_network_claims(n)]


def _bifurcation_claim(n: Numbers, threshold: float) -> Check:
    expected = {e: 1 if e < threshold else 2 for e in n.strengths if e < 1.4 * threshold}
    shares = [float((n.periods[n.own, e] == period).mean()) for e, period in expected.items()]
    smallest = Estimate.not_determined("E has to lie on both sides of it")
    if set(expected.values()) == {1, 2}:
        smallest = Estimate(min(shares), 0.0, "smallest share of starts over E", len(shares))
    return Claim(
        "bifurcation", f"The fixed point gives way to period 2 at E = {threshold:.2f} = 2 / mu."
    ).equals(
        1.0,
        smallest,
        allowance=0.05,
        note="Measured: smallest share of starts at rest below it, and of starts with period 2 up to 1.4 "
        "times it.",
    )


def _network_claims(n: Numbers) -> list[Check]:
    some = n.compared
    full, reduced = n.networks["full"][some], n.networks["reduced"][some]
    same = n.networks["full_period"][some] == n.networks["reduced_period"][some]
    chaotic = reduced > _CHAOTIC
    return [
        Claim("saturated", "At rate 5 all hidden units of most networks saturate in the end.").positive(
            shared.share(some) - 0.5,
            note=f"Measured: share of {len(some)} networks, less one half.",
        ),
        Claim("step", "Then a step of the network is a step of the reduced map.").below(
            -2.0,
            over_starts(np.log10(n.networks["step_error"][some] + 1e-16), "log10, over networks"),
            note="Measured: log10 of the relative error of one step. Agrees 3 errors below -2.",
        ),
        Claim("network-exponent", "A network has the exponent of the reduced map from its own state.").equals(
            0.0,
            # The network's directions of zero growth bound its exponent from below.
            over_starts(full - np.maximum(reduced, 0.0), "network less reduced map, over networks"),
            allowance=0.01,
            resolution=0.02,
            note=f"Of {int(some.sum())} networks, {int(chaotic.sum())} are chaotic by the reduced map. "
            "Allowance 0.01: the direction at the start.",
        ),
        Claim("network-period", "A network has the period of the reduced map.").positive(
            shared.share(same) - 0.5, note="Measured: share of networks with the same period, less one half."
        ),
    ]


def _median(samples: np.ndarray) -> Estimate:
    """Return the median over starts; the error is that of the median of normal numbers."""
    error = 1.2533 * 1.4826 * np.median(np.abs(samples - np.median(samples))) / math.sqrt(len(samples))
    return Estimate(float(np.median(samples)), float(error), "median over starts", len(samples))


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (flowers, strength), found in n.exponents.items():
        periods = n.periods[flowers, strength].astype(int)
        common = np.bincount(periods).argmax()
        rows.append(
            [
                flowers,
                f"{strength:g}",
                f"{np.median(found):.3f}",
                f"{(found > _CHAOTIC).mean():.2f}",
                f"{common or 'none'} ({(periods == common).mean():.2f})",
            ]
        )
    some = [
        [
            str(i),
            f"{n.networks['stuck'][i]:.0f}",
            f"{RATE * (1 + n.networks['stuck'][i]):g}",
            "yes" if n.compared[i] else "no",
            *(f"{n.networks[name][i]:.3f}" for name in ("full", "reduced")),
            *(f"{n.networks[name][i]:.0f}" for name in ("full_period", "reduced_period")),
        ]
        for i in range(min(20, len(n.compared)))
    ]
    heads = ("exponent", "reduced", "period", "reduced")
    return [
        Table(
            "The reduced map", ("flowers", "E", "median exponent", "share positive", "commonest period"), rows
        ),
        Table("Networks at rate 5", ("start", "K", "E", "saturated", *heads), some),
    ]


def notes(n: Numbers) -> list[str]:
    return [
        f"The training part has {n.own} flowers of the classes. Exponents depend on these shares, so "
        "another split of Iris has chaos at another rate.",
        "Exponents of the reduced map are transverse to the direction in which nothing changes; negative "
        "ones are cycles. A network has directions of zero growth besides, so its largest exponent is at "
        "least about 0.",
    ]


def draw_exponents(axes: Axes, n: Numbers) -> None:
    strengths = sorted(n.strengths)
    found = [n.exponents[n.own, e] for e in strengths]
    axes.plot(np.repeat(strengths, len(found[0])), np.ravel(found), ".", ms=1.5, color=plotting.MEASURED)
    medians = [np.median(each) for each in found]
    axes.plot(strengths, medians, "-", lw=1, color=plotting.MEASURED, label="median")
    some = n.compared
    axes.plot(
        RATE * (1 + n.networks["stuck"][some]),
        n.networks["full"][some],
        "o",
        ms=5,
        mfc="none",
        color=plotting.THEORY,
        label="networks",
    )
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(xlabel="E", ylabel="largest exponent, 1/step", ylim=(-0.6, 0.5), title=f"Flowers {n.own}")
    legend(axes, loc="lower right")


def draw_periods(axes: Axes, n: Numbers) -> None:
    strengths = sorted(n.strengths)
    named = {1: "at rest", 2: "2", 3: "3", 0: "none"}
    bottom = np.zeros(len(strengths))
    for (period, name), colour in zip(named.items(), colours(4), strict=True):
        share = np.array([(n.periods[n.own, e] == period).mean() for e in strengths])
        axes.bar(range(len(strengths)), share, 0.9, bottom, color=colour, label=name)
        bottom += share
    few = range(0, len(strengths), max(1, len(strengths) // 6))
    axes.set_xticks(list(few), [f"{strengths[i]:g}" for i in few])
    axes.set(xlabel="E", ylabel="share of starts", title="Periods", ylim=(0, 1.25))
    legend(axes, loc="upper left", ncol=4, columnspacing=0.8)


def draw_networks(axes: Axes, n: Numbers) -> None:
    some = n.compared
    axes.plot(n.networks["reduced"][some], n.networks["full"][some], "o", ms=4, color=plotting.MEASURED)
    ends = [-0.3, 0.0, 0.4]
    axes.plot(ends, np.maximum(ends, 0.0), color=plotting.THEORY, lw=1, label="the larger of it and 0")
    axes.set(xlabel="exponent of the reduced map", ylabel="exponent of the network")
    axes.set_title("Networks at rate 5")
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "reduced",
            "Left: largest exponent of the reduced map against E, one dot a start; circles are networks "
            "of 83 parameters at rate 5, at their own E. Middle: periods of the reduced map. Right: "
            "exponents of these networks against those of the reduced map from the same state.",
            [draw_exponents, draw_periods, draw_networks],
        )
    ]


REDUCED_MAP = Part(
    name="reduced-map",
    title="Very high rates, exactly: the reduced map",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("danovski2024",),
)
