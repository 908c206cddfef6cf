"""Is the phase boundary necessary for training: ``gamma tau L`` scanned through it, and the role of gamma.

arXiv:2307.02284 says that the boundary is necessary, and not sufficient. Networks are trained on both sides
of it, ``chi_1^L = exp(y)``, at infinite width by the gradient flow of the tangent kernel and at finite width
by gradient descent. On the ordered side all pairs become alike and the kernel's small eigenvalues fall as
``exp(y)``, so that the time of training sets how far it works (derived here; arXiv:1912.13053 has the
condition number). On the chaotic side the kernel of different inputs vanishes next to that of equal ones, and
nothing learned of one image says anything of another.

``y = L ln chi_1`` is ``gamma tau L`` to leading order in ``tau = sigma_w - sigma_wc``. With a small bias that
order ends early: there chi_1 is linear in tau for ``|gamma tau|`` far below kappa only (derived here).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.absorbing import shared
from phasescope.papers.absorbing.image_subsets import folders, subset
from phasescope.papers.absorbing.kernel_regression import infinitely_wide
from phasescope.papers.absorbing.shared import STUDY, activation_of, identified
from phasescope.papers.absorbing.trained_networks import LARGEST_LOSS, seconds, trained
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades, short
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen, undetermined
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_PAPER = "arXiv:2307.02284"
_ASKED = f"asked here; gamma tau l as in {_PAPER}"
# Training works where the fall of the loss below that of outputs 0 is at least this share of the largest.
_WORKS = 0.5

Side = Literal["ordered", "chaotic"]
_SIDES: tuple[Side, Side] = ("ordered", "chaotic")


class BoundarySettings(Settings):
    """Sizes of the scan of trainings through the boundary."""

    data_set: str = "digits"  # or mnist, fashion-mnist, which need their folder
    growths: tuple[float, ...] = (-12, -10, -8, -6, -4, -2, 0, 1, 2, 3, 4, 6, 8)  # y = L ln chi_1, ascending
    depths: tuple[int, ...] = (10, 30, 100)  # weight layers, ascending; the last but one is the base case
    # that of networks, and the second of the cases that vary depth or time; activations are compared at the
    # last, where gamma tau is ln chi_1 for most of the window
    kappa_L: tuple[float, ...] = (1.0, 3.0, 10.0)
    further: tuple[str, ...] = ()  # activations besides those of the study
    train: int = 150  # training images of one repetition
    test: int = 200
    replicas: int = 2  # repetitions at infinite width; no two share an image
    steps: tuple[int, ...] = (100, 1000, 10000)  # training times of infinite width; checks look at the second
    # the same of networks, which are trained for the first of the times
    network_growths: tuple[float, ...] = (-6, -4, -2, 0, 2, 4, 6)
    network_depths: tuple[int, ...] = (10,)
    width: int = 64
    networks: int = 2


QUICK = BoundarySettings()
PAPER = BoundarySettings(
    growths=(*range(-14, 11),),
    depths=(30, 100, 300),
    further=("arctan", "softsign"),
    train=200,
    test=400,
    replicas=3,
    network_growths=(*range(-6, 7),),
    network_depths=(10, 20),
    width=128,
    networks=3,
)

VARIABLES = {
    "reference": shared.LINE,
    "tau": Variable((), "sigma_w less that of the critical line"),
    "loss": Variable(("repetition", "time"), "test loss over that of outputs 0", optional=True),
    "accuracy": Variable(("repetition", "time"), "share of test images classified right", optional=True),
}


class Case(NamedTuple):
    """Networks that are scanned through the boundary."""

    kind: str  # kernel, or networks
    activation: str
    depth: int
    kappa_L: float


def _cases(config: Any) -> list[Case]:
    s: BoundarySettings = config.boundary
    own, specs = config.activation, tuple(dict.fromkeys([*config.activations, *s.further]))
    base, product = _base_depth(s), s.kappa_L[1]
    made = [Case("kernel", own, depth, product) for depth in (*s.network_depths, *s.depths)]
    made += [Case("kernel", own, base, each) for each in s.kappa_L]
    made += [Case("kernel", spec, base, s.kappa_L[-1]) for spec in specs]
    made += [Case("networks", own, depth, product) for depth in s.network_depths]
    made += [Case("networks", spec, _base_depth_of_networks(s), product) for spec in specs]
    return list(dict.fromkeys(made))


def _base_depth(s: BoundarySettings) -> int:
    return s.depths[-2]


def _base_depth_of_networks(s: BoundarySettings) -> int:
    return s.network_depths[len(s.network_depths) // 2]


def tasks(config: Any) -> list[Task]:
    """Return one task a case and growth."""
    s: BoundarySettings = config.boundary
    folder = folders(config).get(s.data_set)
    if folder is None:
        raise InputError(
            f"boundary.data_set is {s.data_set!r}, which is not at hand.",
            f"Name its folder with --set {s.data_set.replace('-', '_')}=DIR, or use digits.",
        )
    sizes = s.model_dump(mode="json", include={"train", "test"})
    solve = 1e-9 * s.train**3 + 1e-6 * s.train * (s.train + s.test)
    made = []
    for case in _cases(config):
        known = {"kind": case.kind, **identified(case.activation), "depth": case.depth}
        known |= {"kappa_L": case.kappa_L, "data_set": s.data_set, "folder": folder, "seed": config.seed}
        if case.kind == "kernel":
            known |= {"width": 0, "repetitions": s.replicas, "steps": list(s.steps)}
            cost, growths = 0.05 + 4e-4 * case.depth + s.replicas * solve, s.growths
        else:
            known |= {"width": s.width, "repetitions": s.networks, "steps": [s.steps[0]]}
            weights = s.width**2 * (case.depth - 2) + 784 * s.width
            cost = 0.05 + s.networks * seconds(weights, case.depth, s.train, s.steps[0])
            growths = s.network_growths
        for growth in growths:
            parameters = {**known, "growth": float(growth), **sizes}
            made.append(Task(STUDY, "boundary", parameters, seconds=cost, memory=400_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return test losses at one growth; nothing where the activation has no point of that kappa."""
    known = task.parameters
    function, depth = activation_of(known), known["depth"]
    point = shared.at_kappa(known["activation"], known["kappa_L"] / depth)
    found = {"reference": shared.values(point), "tau": math.nan}
    field = shared.off_line(function, point, depth, known["growth"]) if point else None
    if point is None or field is None:
        return found
    found["tau"] = math.sqrt(field.C_W) - point.sigma_w
    place = (field.C_W, field.C_b, field.fixed_point(point.K).K)
    count, steps = known["repetitions"], known["steps"]
    sizes = {"train": known["train"], "test": known["test"]}
    if known["kind"] == "kernel":
        images = [subset(known, **sizes, replica=i, replicas=count) for i in range(count)]
        loss, accuracy = infinitely_wide(function, place, depth, images, steps)
        return {**found, "loss": loss, "accuracy": accuracy}
    images = [subset(known, **sizes, replica=0, replicas=2)]
    shape = {"width": known["width"], "depth": depth, "networks": count}
    after = trained(function, place, images[0], **shape, steps=steps, seed=task.seed, device=device)
    return {**found, "loss": after["test_loss"], "accuracy": after["accuracy"]}


@dataclass(frozen=True)
class Scan:
    """One case, scanned through the boundary; arrays by growth."""

    gamma: float
    growth: np.ndarray  # y = L ln chi_1, ascending
    tau: np.ndarray  # sigma_w - sigma_wc
    loss: np.ndarray  # (growths, repetitions, times)

    def gain(self, time: int) -> np.ndarray:
        """Return the fall of the loss below that of outputs 0, (growths, repetitions)."""
        return np.asarray(1 - np.minimum(self.loss[..., time], LARGEST_LOSS))

    def edge(self, side: Side, time: int, x: np.ndarray) -> Estimate:
        """Return the abscissa at which training stops to work, a mean over repetitions.

        Monotone cubics run through the gains; half of what straight lines change counts as their error.
        """
        if self.growth.size < 5:
            return Estimate.not_determined("the activation has no critical point of that kappa")
        places = [_crossing(x, gains, side) for gains in self.gain(time).T]
        if not np.isfinite(places).all():
            return Estimate.not_determined(f"training works up to the {side} end of the scan")
        smooth, straight = np.transpose(places)
        found = Estimate.from_samples(smooth, method="half of the largest fall of the loss")
        if not found.determined:
            return found
        return replace(found, error=math.hypot(found.error, abs((smooth - straight).mean()) / 2))

    def rise(self, side: Side, time: int) -> Estimate:
        """Return ln(loss) at an end of the scan less that at its best point."""
        if not self.growth.size:
            return Estimate.not_determined("the activation has no critical point of that kappa")
        losses = np.log(np.minimum(self.loss[..., time], LARGEST_LOSS))
        end = losses[0 if side == "ordered" else -1]
        return Estimate.from_samples(end - losses.min(axis=0), method="ln of loss over the lowest")


def _crossing(x: np.ndarray, gains: np.ndarray, side: Side) -> tuple[float, float]:
    """Return where a monotone cubic and a straight line pass the share of the largest gain on one side."""
    best = int(np.argmax(gains))
    goal = _WORKS * gains[best]
    order = slice(best, None, -1) if side == "ordered" else slice(best, None)
    outwards, at = gains[order], x[order]
    beyond = np.flatnonzero(outwards < goal)
    if not beyond.size or goal <= 0:
        return math.nan, math.nan
    low, high = sorted((beyond[0] - 1, beyond[0]))
    line = at[low] + (at[high] - at[low]) * (outwards[low] - goal) / (outwards[low] - outwards[high])
    roots = PchipInterpolator(x, gains).solve(goal, extrapolate=False)
    inside = roots[(roots >= min(at[low], at[high])) & (roots <= max(at[low], at[high]))]
    return (float(inside[0]) if inside.size else float(line)), float(line)


@dataclass(frozen=True)
class Numbers:
    """All that claims, tables and figures are made of."""

    settings: BoundarySettings
    activation: str
    scans: Mapping[Case, Scan]
    missing: str  # why nothing can be said, if so

    @property
    def base(self) -> Case:
        """The case that others are variants of."""
        return Case("kernel", self.activation, _base_depth(self.settings), self.settings.kappa_L[1])

    @property
    def time(self) -> int:
        """The training time of infinite width that checks look at."""
        return 1

    def edge(self, case: Case, side: Side, time: int, *, unit: str = "y") -> Estimate:
        """Return an edge in the unit y = L ln chi_1, gamma tau L, or tau."""
        scan = self.scans[case]
        x = {"y": scan.growth, "gamma tau L": scan.gamma * scan.tau * case.depth, "tau": scan.tau}[unit]
        return scan.edge(side, time, x)

    def distance(self, case: Case, side: Side, time: int, *, unit: str = "y") -> Estimate:
        """Return how far from the critical line an edge is."""
        edge = self.edge(case, side, time, unit=unit)
        return -edge if side == "ordered" else edge

    def window(self, case: Case, time: int, *, unit: str = "tau") -> Estimate:
        """Return the distance of the two edges."""
        low, high = (self.edge(case, side, time, unit=unit) for side in _SIDES)
        return high - low

    def varied(self, kind: str, what: str) -> list[Case]:
        """Return the cases of a kind that differ from the base case in one thing, ascending in it."""
        s = self.settings
        first = self.base
        if kind == "networks":
            first = Case(kind, self.activation, _base_depth_of_networks(s), s.kappa_L[1])
        elif what == "activation":
            first = self.base._replace(kappa_L=s.kappa_L[-1])
        wanted = [
            case
            for case in self.scans
            if case._replace(**{what: getattr(first, what)}) == first
            and (kind, what) == (case.kind, what)
            and not (kind == "kernel" and what == "depth" and case.depth not in s.depths)
        ]
        return sorted(wanted, key=lambda case: (getattr(case, what), case.activation))


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    scans = {}
    for case in _cases(config):
        found = chosen(data, **case._asdict()).sortby("growth")
        found = found.isel(task=np.isfinite(found["tau"].values))
        repetitions, times = _counts(case, config.boundary)
        loss = found["loss"].values[:, :repetitions, :times] if "loss" in found else np.empty((0, 1, 1))
        gamma = shared.named(found["reference"].values[0])["gamma"] if found.sizes["task"] else math.nan
        scans[case] = Scan(gamma, found["growth"].values, found["tau"].values, loss)
    made = Numbers(config.boundary, config.activation, scans, "")
    if scans[made.base].growth.size:
        return made
    product = config.boundary.kappa_L[1]
    return replace(made, missing=f"{short(config.activation)} has no critical point of kappa L = {product:g}")


def _counts(case: Case, s: BoundarySettings) -> tuple[int, int]:
    return (s.replicas, len(s.steps)) if case.kind == "kernel" else (s.networks, 1)


def claims(n: Numbers) -> list[Check]:
    """Return the checks of infinite width, then those of networks."""
    made = [check for side in _SIDES for check in _claims_of(n, side)]
    made += [_gamma_claim(n, "kernel", n.time, side) for side in _SIDES]
    made += [check for side in _SIDES for check in _claims_of_networks(n, side)]
    made += [_networks_depth_claim(n), *(_gamma_claim(n, "networks", 0, side) for side in _SIDES)]
    return undetermined(made, n.missing)


def _claims_of(n: Numbers, side: Side) -> list[Check]:
    t, steps = n.time, n.settings.steps
    edges = {unit: n.edge(n.base, side, t, unit=unit) for unit in ("y", "gamma tau L")}
    depth = [
        (case.depth, n.distance(case, side, t, unit="gamma tau L")) for case in n.varied("kernel", "depth")
    ]
    per_layer = [(L, edge / L) for L, edge in depth]
    by_bias = {
        unit: [n.distance(case, side, t, unit=unit) for case in n.varied("kernel", "kappa_L")]
        for unit in ("gamma tau L", "y")
    }
    times = [(time, n.distance(n.base, side, index)) for index, time in enumerate(steps)]
    moved = {
        "ordered": "moves out by ln t, t the time of training",
        "chaotic": "does not move with the time of training",
    }[side]
    slope = _slope([math.log(time) for time, _ in times], [edge for _, edge in times])
    return [
        replace(
            Claim(
                f"necessary-{side}",
                f"Infinite width: far off the critical line on the {side} side the test loss is larger.",
                _PAPER,
            ).positive(
                n.scans[n.base].rise(side, t),
                note=f"Measured: ln(loss) at y = {_end(n.settings.growths, side):g} less the lowest. "
                f"Training works as far as y = {edges['y']}, gamma tau L = {edges['gamma tau L']}: half "
                "of the largest fall of the loss is left there.",
            )
        ),
        Claim(
            f"depth-{side}",
            f"Infinite width: at one kappa L the {side} edge in gamma tau falls as L^-a with a = 1.",
            _ASKED,
        ).equals(
            1.0,
            -_power(per_layer),
            allowance=0.05,
            resolution=0.1,
            note="Edges in gamma tau L by depth: "
            + ", ".join(f"{edge} (L = {L})" for L, edge in depth)
            + ". Allowance 0.05: the next order in 1/L.",
        ),
        Claim(
            f"bias-{side}",
            f"Infinite width: at one depth the {side} edge lies at the same gamma tau L for all biases.",
            _ASKED,
        ).equals(
            0.0,
            _spread(by_bias["gamma tau L"]),
            allowance=0.1,
            note=f"kappa L = {', '.join(f'{each:g}' for each in n.settings.kappa_L)}. Measured: ln of the "
            f"largest over the smallest edge; in L ln chi_1 it is {_spread(by_bias['y'])}. Allowance 0.1. "
            "Two variables are in control, kappa L beside gamma tau L; and gamma tau is ln chi_1 only far "
            "below kappa.",
        ),
        Claim(f"time-{side}", f"Infinite width: the {side} edge in L ln chi_1 {moved}.").equals(
            1.0 if side == "ordered" else 0.0,
            slope,
            allowance=0.2,
            resolution=0.2,
            note=f"Measured: slope of the edge's distance against ln t, t = {', '.join(map(str, steps))}. "
            "Allowance 0.2: terms of relative order 1/ln t.",
        ),
    ]


def _claims_of_networks(n: Numbers, side: Side) -> list[Check]:
    s = n.settings
    first = Case("networks", n.activation, _base_depth_of_networks(s), s.kappa_L[1])
    edge, kernel = n.edge(first, side, 0), n.edge(first._replace(kind="kernel"), side, 0)
    return [
        Claim(
            f"networks-necessary-{side}",
            f"Trained networks: far off the critical line on the {side} side the test loss is larger.",
            _PAPER,
        ).positive(
            n.scans[first].rise(side, 0),
            note=f"Measured: ln(loss) at y = {_end(s.network_growths, side):g} less the lowest; "
            f"L = {first.depth}, n = {s.width}, {s.steps[0]} steps. Training works as far as y = {edge}.",
        ),
        Claim(
            f"networks-edge-{side}",
            f"Trained networks stop to learn on the {side} side where infinitely wide ones do.",
            "asked here",
        ).equals(
            0.0,
            edge - kernel,
            allowance=0.5,
            resolution=0.5,
            note=f"Measured: edge in L ln chi_1 less that of infinite width, {kernel}, after the same time. "
            "Allowance 0.5; the finite width moves the transition by -d0 L/n = "
            f"{_transition_shift(n, first):.2g}.",
        ),
    ]


def _end(growths: Sequence[float], side: Side) -> float:
    return growths[0 if side == "ordered" else -1]


def _transition_shift(n: Numbers, case: Case) -> float:
    point = shared.at_kappa(case.activation, case.kappa_L / case.depth)
    return -point.d0 * case.depth / n.settings.width if point else math.nan


def _networks_depth_claim(n: Numbers) -> Check:
    found = [(case.depth, n.window(case, 0, unit="y") / case.depth) for case in n.varied("networks", "depth")]
    widths = ", ".join(f"{window * depth} (L = {depth})" for depth, window in found)
    return Claim(
        "networks-depth",
        "Trained networks: at one kappa L the window in ln chi_1 between both edges shrinks as L^-a, a = 1.",
        _ASKED,
    ).equals(
        1.0,
        -_power(found),
        allowance=0.1,
        resolution=0.15,
        note=f"n = {n.settings.width}. Windows in L ln chi_1: {widths}. Allowance 0.1: shallow networks, and "
        "width that does not grow with depth.",
    )


def _gamma_claim(n: Numbers, kind: str, time: int, side: Side) -> Check:
    cases = n.varied(kind, "activation")
    all_edges = [(case, n.distance(case, side, time, unit="tau")) for case in cases]
    edges = [(case, edge) for case, edge in all_edges if edge.determined]
    a, window = Estimate.not_determined("three activations with an edge in the scan are needed"), ""
    if len(edges) >= 3:
        a = -_power([(n.scans[case].gamma, edge) for case, edge in edges])
        growths = _spread([n.distance(case, side, time) for case, _ in edges])
        whole = [(n.scans[case].gamma, n.window(case, time)) for case, _ in edges]
        window = f" ln of the largest over the smallest edge in L ln chi_1: {growths}."
        window += f" The distance of both edges: a = {-_power(whole)}."
    listed = ", ".join(
        f"{short(case.activation)} {edge} (gamma {n.scans[case].gamma:.3f})" for case, edge in edges
    )
    who, id = ("Infinite width", "gamma") if kind == "kernel" else ("Trained networks", "networks-gamma")
    return Claim(
        f"{id}-{side}",
        f"{who}: at one kappa L and depth the {side} edge in tau scales with the activation as gamma^-a, "
        "a = 1.",
        _ASKED,
    ).equals(
        1.0,
        a,
        allowance=0.1,
        resolution=0.15,
        note=f"Edges: {listed}. Allowance 0.1: the next order in tau.{window} Where activations agree in "
        "L ln chi_1 and not in gamma tau L, it is chi_1 that is not linear in tau over the window.",
    )


def _power(points: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Return the exponent of a power law; its error counts the scatter about it."""
    return _slope([math.log(x) for x, _ in points], [_log(found) for _, found in points])


def _log(found: Estimate) -> Estimate:
    if not found.determined or found.value <= 0:
        return found if not found.determined else Estimate.not_determined("it is not positive")
    return replace(found, value=math.log(found.value), error=found.error / found.value)


def _slope(x: Sequence[float], y: Sequence[Estimate]) -> Estimate:
    """Return the slope of a straight line; the error is the larger of scatter and the points' own."""
    for each in y:
        if not each.determined:
            return each
    centred = np.array(x) - np.mean(x)
    square = float(centred @ centred)
    if len(y) < 2 or square == 0:
        return Estimate.not_determined("two points are needed")
    values, errors = np.array([each.value for each in y]), np.array([each.error for each in y])
    slope = float(centred @ values) / square
    own = math.sqrt(float((centred**2) @ errors**2)) / square
    rest = values - values.mean() - slope * centred
    scatter = math.sqrt(float(rest @ rest) / (len(y) - 2) / square) if len(y) > 2 else 0.0
    return Estimate(slope, max(own, scatter), "least squares", len(y))


def _spread(found: Sequence[Estimate]) -> Estimate:
    """Return ln of the largest over the smallest."""
    logs = [_log(each) for each in found]
    for each in logs:
        if not each.determined:
            return each
    low, high = (pick(logs, key=lambda each: each.value) for pick in (min, max))
    return replace(high - low, method="ln of the largest over the smallest")


def tables(n: Numbers) -> list[Table]:
    """Return both edges of every case and training time."""
    rows = []
    for case, scan in n.scans.items():
        for time in range(_counts(case, n.settings)[1]):
            edges = [
                str(n.edge(case, side, time, unit=unit)) for unit in ("y", "gamma tau L") for side in _SIDES
            ]
            who = "infinite" if case.kind == "kernel" else f"{n.settings.width}"
            place = [short(case.activation), who, f"{case.depth}", f"{case.kappa_L:g}", f"{scan.gamma:.4g}"]
            rows.append([*place, f"{n.settings.steps[time]}", *edges])
    columns = ["activation", "width", "L", "kappa L", "gamma", "steps"]
    columns += [f"{side} edge in {unit}" for unit in ("L ln chi_1", "gamma tau L") for side in _SIDES]
    return [Table("Where training stops to work", columns, rows)]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.train} training images of {s.data_set}, square loss, NTK parametrisation, outputs "
        "less those at initialisation, time in steps of the rate 1/largest eigenvalue of the tangent kernel. "
        f"Training works where the loss falls below that of outputs 0 by at least {_WORKS:.0%} of the "
        "largest fall in the scan; another share moves the edges, not how they scale.",
        "tau = sigma_w - sigma_wc at fixed sigma_b, moved until chi_1^L = exp(y). Biases are those at which "
        "the critical point has the wanted kappa L.",
        "The boundary is necessary within a factor that the time of training sets: on the ordered side "
        "longer training reaches further by ln t, on the chaotic side no time helps.",
    ]


def draw_depths(axes: Axes, n: Numbers) -> None:
    cases = n.varied("kernel", "depth")
    for case, shade in zip(cases, shades(len(cases)), strict=True):
        _curve(axes, n, case, n.time, n.scans[case].growth, shade, f"L = {case.depth}")
    _frame(axes, r"$L\,\ln\chi_1$", f"Infinite width, {n.settings.steps[n.time]} steps")


def draw_biases(axes: Axes, n: Numbers) -> None:
    cases = n.varied("kernel", "kappa_L")
    for case, colour in zip(cases, colours(len(cases)), strict=True):
        scan, label = n.scans[case], rf"$\kappa L$ = {case.kappa_L:g}"
        _curve(axes, n, case, n.time, scan.gamma * scan.tau * case.depth, colour, label)
    _frame(axes, r"$\gamma\tau L$", f"By bias, L = {n.base.depth}")


def draw_times(axes: Axes, n: Numbers) -> None:
    for time, shade in enumerate(shades(len(n.settings.steps))):
        label = f"{n.settings.steps[time]} steps"
        _curve(axes, n, n.base, time, n.scans[n.base].growth, shade, label)
    _frame(axes, r"$L\,\ln\chi_1$", "By time of training")


def draw_networks(axes: Axes, n: Numbers) -> None:
    cases = n.varied("networks", "depth")
    for case, shade in zip(cases, shades(len(cases)), strict=True):
        _curve(axes, n, case, 0, n.scans[case].growth, shade, f"L = {case.depth}")
    wide = Case("kernel", n.activation, _base_depth_of_networks(n.settings), n.settings.kappa_L[1])
    scan = n.scans[wide]
    if scan.growth.size:
        mean = scan.loss[..., 0].mean(axis=1)
        axes.plot(scan.growth, mean, color=plotting.THEORY, label=f"infinite width, L = {wide.depth}")
    _frame(axes, r"$L\,\ln\chi_1$", f"Networks, n = {n.settings.width}")


def draw_tau(axes: Axes, n: Numbers) -> None:
    _by_activation(axes, n, lambda scan: scan.tau)
    _frame(axes, r"$\tau$", f"Infinite width, L = {n.base.depth}")


def draw_gamma_tau(axes: Axes, n: Numbers) -> None:
    _by_activation(axes, n, lambda scan: scan.gamma * scan.tau * n.base.depth)
    _frame(axes, r"$\gamma\tau L$", "In units of gamma")


def _by_activation(axes: Axes, n: Numbers, x: Callable[[Scan], np.ndarray]) -> None:
    cases = n.varied("kernel", "activation")
    for case, colour in zip(cases, colours(len(cases)), strict=True):
        _curve(axes, n, case, n.time, x(n.scans[case]), colour, short(case.activation))


def _curve(axes: Axes, n: Numbers, case: Case, time: int, x: np.ndarray, colour: Any, label: str) -> None:
    scan = n.scans[case]
    if not scan.growth.size:
        return
    losses = np.minimum(scan.loss[..., time], LARGEST_LOSS)
    error = losses.std(axis=1) / max(1, losses.shape[1] - 1) ** 0.5
    axes.errorbar(x, losses.mean(axis=1), error, fmt="o-", ms=3, lw=1.1, color=colour, label=label)


def _frame(axes: Axes, xlabel: str, title: str) -> None:
    axes.axvline(0, color=plotting.INK, lw=0.8, ls=":")
    axes.set(title=title, xlabel=xlabel, ylabel="test loss", ylim=(0, 1.3))
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "boundary",
            "Test loss against the distance from the critical line (0, dotted), ordered phase on the left of "
            "it. From left to right: infinite width at one kappa L, by depth; at one depth, by bias; by time "
            "of training; trained networks of one width.",
            [draw_depths, draw_biases, draw_times, draw_networks],
            (3.2, 3.0),
        ),
        Panels(
            "gamma",
            "Test loss of activations with different gamma at one kappa L and depth: against tau, and "
            "against gamma tau L.",
            [draw_tau, draw_gamma_tau],
            (4.2, 3.1),
        ),
    ]


BOUNDARY = Part(
    name="boundary",
    title="Training through the phase boundary",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("repetition", "time"),
    citations=("jacot2018", "xiao2020", "tamai2023"),
)
