"""The claim of the follow-up (arXiv:2506.08523) that training is fastest at the onset of chaos.

Its baseline is 784-64-10, tanh, weights of variance 1, full-batch gradient descent, pixels from 0 to 1,
weights alone perturbed by 1e-8. Which accuracies count as acceptable, which data sets and which critical
rates it has are not known here: what is below was chosen here, and only the shape of the claim is tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.chaos.networks import EXPLODES, NAMES, Split, drawn, folders, images, perceptron
from phasescope.papers.chaos.shared import STUDY, over_starts, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.training import TrainingMap, objective, range_test, training_map

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

SOURCE = "arXiv:2506.08523"
RAMP = (1e-3, 10.0)  # of the range test, in 100 steps
MULTIPLES = (0.25, 0.5, 1.0, 2.0)  # of the onset, at which the time to the target is measured
_DOUBLINGS = 9  # of the lowest rate at most, in the search for the onset
_FEWEST = 3  # initialisations, to compare times to a target
_BEYOND = 1  # rates of the grid that are looked at beyond the onset


@dataclass(frozen=True)
class _Net:
    """A network: units of the hidden layers, activation, deviation of weights, weight decay."""

    hidden: tuple[int, ...] = (64,)
    activation: Callable[[], nn.Module] = nn.Tanh
    deviation: Callable[[int], float] = field(default=lambda inputs: 1.0)
    decay: float = 0.0
    what: str = ""


def _scaled(inputs: int) -> float:
    return 1 / math.sqrt(inputs)


NETS = {
    "tanh": _Net(what="64 tanh units, weights of variance 1"),
    "relu": _Net(activation=nn.ReLU, deviation=_scaled, what="64 ReLU units, weights of variance 1/n"),
    "sigmoid": _Net(activation=nn.Sigmoid, what="64 sigmoid units, weights of variance 1"),
    "deep": _Net((64, 64, 64), deviation=_scaled, what="three layers of 64 tanh units, variance 1/n"),
    "cnn": _Net((), nn.ReLU, _scaled, what="8 filters of 3 x 3, ReLU, means over 2 x 2, variance 1/n"),
    "decay": _Net(decay=1e-3, what="the tanh network with a weight decay of 0.001"),
}
NetName = Literal["tanh", "relu", "sigmoid", "deep", "cnn", "decay"]
FIRST: tuple[NetName, ...] = ("tanh", "relu", "sigmoid", "deep")  # networks of which all is asked
OTHERS: tuple[NetName, ...] = ("tanh", "relu")  # networks for MNIST and Fashion-MNIST


class FollowUpSettings(Settings):
    """Sizes of the comparison."""

    starts: int = 4  # initialisations
    images: int = 1437  # of digits for training; 360 others test
    steps: int = 200
    target: float = 0.9  # test accuracy that is acceptable
    lowest: float = 0.1  # rate at which the search for the onset begins; it doubles
    strides: int = 8  # to an octave, between the last rate of those that is calm and the first that is not
    nets: tuple[NetName, ...] = ("tanh", "relu", "sigmoid", "deep", "cnn", "decay")  # trained on the digits
    large_images: int = 2000  # of MNIST and Fashion-MNIST
    large_test: int = 1000
    large_target: float = 0.8
    large_starts: int = 2


QUICK = FollowUpSettings(
    starts=3,
    images=700,
    lowest=0.2,
    strides=6,
    nets=FIRST,
    large_images=500,
    large_test=300,
    large_starts=2,
)
PAPER_PRESET = FollowUpSettings()

VARIABLES = {
    "rates": Variable(("tried",), "learning rates, ascending"),
    "exponent": Variable(("tried",), "ln of the growth of a small difference over the run, a step", "1/step"),
    "grown": Variable(("tried",), "ln of the largest growth of a small difference, L1"),
    "time": Variable(("tried",), "steps to the target on test images; NaN where it is not reached"),
    "final": Variable(("tried",), "test accuracy at the end"),
    "onset": Variable((), "onset of chaos: the rate at which the largest growth is 1000"),
    "at_multiple": Variable(("multiple",), "steps to the target at multiples of the onset"),
    "suggested": Variable(("suggestion",), "rates of the range test: steepest fall, a tenth of the minimum"),
    "at_suggested": Variable(("suggestion",), "steps to the target at them"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a data set, network and initialisation."""
    settings: FollowUpSettings = config.follow_up
    made = []
    for name, folder in folders(config).items():
        large = name != "digits"
        known = {"data_set": name, "folder": folder, "steps": settings.steps, "lowest": settings.lowest}
        known |= {"strides": settings.strides, "seed": config.seed}
        count = settings.large_images if large else settings.images
        known |= {"images": count, "held_out": settings.large_test if large else 360}
        known |= {"target": settings.large_target if large else settings.target}
        runs = 8 + 0.6 * settings.strides
        gradients = runs * settings.steps * count * (2.2e-5 if large else 4.5e-6)
        for net in OTHERS if large else settings.nets:
            for start in range(settings.large_starts if large else settings.starts):
                parameters = {"net": net, "start": start, **known}
                seconds = 1 + gradients * (4 if net == "cnn" else 1 + 0.5 * len(NETS[net].hidden))
                made.append(Task(STUDY, "follow-up", parameters, seconds=seconds, memory=800_000_000))
    return sorted(made, key=lambda task: -task.seconds)


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what training does up to the onset of chaos, beyond it, and at what a range test suggests."""
    known = task.parameters
    data = images(known["data_set"], known["folder"], known["images"], known["held_out"], device)
    net = NETS[known["net"]]
    model = _model(net, data, known["start"], known["seed"])

    def step(rate: float) -> TrainingMap:
        return training_map(
            model,
            nn.functional.cross_entropy,
            (data.x, data.y),
            lambda parameters: torch.optim.SGD(parameters, lr=rate, weight_decay=net.decay),
            device=device,
        )

    runs: dict[float, _Run] = {}

    def run(rate: float, *, tangent: bool = True) -> _Run:
        if rate not in runs:
            runs[rate] = _trained(
                step(rate), data, known["steps"], known["target"], tangent=tangent, seed=task.seed
            )
        return runs[rate]

    # Upwards throughout: a network that dies at a high rate keeps differences small, and bisection would
    # take that for calm.
    grid = [known["lowest"] * 2**k for k in range(_DOUBLINGS + 1)]
    first = next((i for i, rate in enumerate(grid) if run(rate).grown > EXPLODES), None)
    onset = math.nan
    if first is not None and first > 0:
        low = grid[first - 1]
        for k in range(1, known["strides"] + 1):
            high = grid[first - 1] * 2 ** (k / known["strides"]) if k < known["strides"] else grid[first]
            if run(high).grown > EXPLODES:
                break
            low = high
        onset = math.sqrt(low * high)
        for rate in grid[first + 1 : first + 1 + _BEYOND]:
            run(rate)
    tried = sorted(runs)
    suggested = range_test(
        lambda seed: {"model": model, "loss": nn.functional.cross_entropy, "data": (data.x, data.y)},
        *RAMP,
        seeds=(0,),
        device=device,
    )
    pair = [suggested.steepest.value, suggested.tenth.value]

    def times(rates: list[float]) -> np.ndarray:
        return np.array(
            [run(rate, tangent=False).time if math.isfinite(rate) else math.nan for rate in rates]
        )

    return {
        "rates": np.array(tried),
        **{
            name: np.array([getattr(runs[rate], name) for rate in tried])
            for name in ("exponent", "grown", "time", "final")
        },
        "onset": onset,
        "at_multiple": times([onset * multiple for multiple in MULTIPLES]),
        "suggested": np.array(pair),
        "at_suggested": times(pair),
    }


def _model(net: _Net, data: Split, start: int, seed: int) -> nn.Module:
    """Return the network with the weights of an initialisation."""
    inputs, classes = data.x.shape[1], 10
    if net.hidden:
        model = perceptron((inputs, *net.hidden, classes), net.activation)
    else:
        side = math.isqrt(inputs)
        model = nn.Sequential(
            nn.Unflatten(1, (1, side, side)),
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8 * ((side - 2) // 2) ** 2, classes),
        ).double()
    model = model.to(data.x.device)
    w = drawn(objective(model, nn.functional.cross_entropy, (data.x, data.y)), [start], seed, net.deviation)
    nn.utils.vector_to_parameters(w[0], model.parameters())
    return model


@dataclass(frozen=True)
class _Run:
    exponent: float
    grown: float
    time: float
    final: float


def _trained(step: TrainingMap, data: Split, steps: int, target: float, *, tangent: bool, seed: int) -> _Run:
    """Train, look at the test images after each step, and carry one small difference of the weights along."""
    x = step.initial
    v = 2 * torch.rand(1, step.size, generator=torch.Generator().manual_seed(seed % 2**63)).to(x) - 1
    v = v * step.is_weight
    v /= v.abs().sum()
    growth, grown, time, accuracy = 0.0, 0.0, math.nan, 0.0
    for t in range(steps):
        if tangent:
            x, v, _ = step.tangent(x, v, t)
            size = float(v.abs().sum())
            growth += math.log(size) if size > 0 else -math.inf
            grown = max(grown, growth) if math.isfinite(size) else math.inf
            v = v / size
        else:
            x = step.step(x, t)
        accuracy = float((step.objective.outputs(x, data.x_test).argmax(-1) == data.y_test).double().mean())
        if math.isnan(time) and accuracy >= target:
            time = t + 1.0
        if not (bool(x.isfinite().all()) and (not tangent or math.isfinite(growth))):
            break
        if not tangent and not math.isnan(time):
            break
    return _Run(growth / steps if tangent else math.nan, grown, time, accuracy)


@dataclass(frozen=True)
class Numbers:
    """The runs by data set and network, one row a start."""

    cases: dict[tuple[str, str], xr.Dataset]
    steps: int

    def times(self, case: tuple[str, str], name: str) -> np.ndarray:
        """Return steps to the target; a run that does not reach it counts as its length."""
        found = np.asarray(self.cases[case][name].values, dtype=np.float64)
        return np.where(np.isnan(found), self.steps, found)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    pairs = dict.fromkeys(zip(data["data_set"].values.tolist(), data["net"].values.tolist(), strict=True))
    wanted = [(name, net) for name in NAMES for net in NETS if (name, net) in pairs]
    return Numbers(
        {(name, net): chosen(data, data_set=name, net=net).sortby("start") for name, net in wanted},
        config.follow_up.steps,
    )


def claims(n: Numbers) -> list[Check]:
    """Return the same claims for each data set and network."""
    return [check for case in _all_cases() for check in _case_claims(n, case)]


def _all_cases() -> list[tuple[str, str]]:
    return [(name, net) for name in NAMES for net in (NETS if name == "digits" else OTHERS)]


def _case_claims(n: Numbers, case: tuple[str, str]) -> list[Check]:
    name, net = case
    where = f"{'digits' if name == 'digits' else NAMES[name]}: {NETS[net].what}"
    prefix = net if name == "digits" else f"{name}-{net}"
    some = n.cases.get(case)
    found = _measured(n, case) if some is not None else {}

    def of(key: str) -> Estimate:
        return found.get(key, Estimate.not_determined(_why_not(case)))

    notes = _notes(n, case) if some is not None else dict.fromkeys(("onset", "time", "range"), "")
    made = [
        Claim(f"{prefix}-onset", f"Onset of chaos ({where}).", f"{SOURCE}; settings chosen here").equals(
            None, of("onset"), note=notes["onset"]
        ),
        Claim(
            f"{prefix}-learns",
            f"At some rate beyond the onset of chaos the network still learns ({where}).",
            SOURCE,
        ).below(
            0.5,
            of("fails"),
            note="Measured: share of starts that reach the target at no chaotic rate that was tried; "
            "agrees 3 errors below one half, disagrees 3 above.",
        ),
        Claim(
            f"{prefix}-slower-below", f"Half the onset takes longer to the target ({where}).", SOURCE
        ).positive(of("below"), note=notes["time"]),
        Claim(
            f"{prefix}-slower-above", f"Twice the onset takes longer to the target ({where}).", SOURCE
        ).positive(of("above"), note=notes["time"]),
        Claim(
            f"{prefix}-range-test",
            "The onset reaches the target sooner than the better of the range test's two suggestions "
            f"({where}).",
            f"asked of {SOURCE}; range test: arXiv:1506.01186",
        ).positive(of("range"), note=notes["range"]),
    ]
    if name == "digits" and net in FIRST:
        return made
    # Elsewhere those alone that the claim stands or falls with.
    return [check for check in made if check.id.endswith(("-slower-below", "-range-test"))]


def _why_not(case: tuple[str, str]) -> str:
    name, net = case
    if name == "digits":
        return f"this network is not among follow_up.nets of the run: --set follow_up.nets=tanh,{net}"
    return f"no {NAMES[name]} at hand: name the folder with --set {name.replace('-', '_')}=DIR"


def _measured(n: Numbers, case: tuple[str, str]) -> dict[str, Estimate]:
    some = n.cases[case]
    at = np.log(n.times(case, "at_multiple"))
    known = np.isfinite(some["onset"].values)
    _, half, one, double = (np.where(known, column, math.nan) for column in at.T)
    best = np.log(n.times(case, "at_suggested").min(1))
    beyond = (some["grown"].values > EXPLODES) & np.isfinite(some["rates"].values)
    reached = (beyond & np.isfinite(some["time"].values)).any(1)
    ratio = "ln of the ratio of times, mean over initialisations"
    return {
        "onset": over_starts(some["onset"].values),
        "fails": share(~reached[beyond.any(1)], "share of initialisations"),
        "below": _compared(half - one, ratio),
        "above": _compared(double - one, ratio),
        "range": _compared(np.where(known, best - one, math.nan), ratio),
    }


def _compared(differences: np.ndarray, method: str) -> Estimate:
    """Return the mean over initialisations; times are whole numbers, and two may agree by chance."""
    if np.isfinite(differences).sum() < _FEWEST:
        return Estimate.not_determined(
            f"fewer than {_FEWEST} initialisations have both times", method=method, n=len(differences)
        )
    return over_starts(differences, method)


def _notes(n: Numbers, case: tuple[str, str]) -> dict[str, str]:
    some = n.cases[case]
    onset = some["onset"].values
    lost = int(np.isnan(onset).sum())
    target = float(some["target"].values[0])
    one, half = (_listed(some["at_multiple"].values[:, i]) for i in (2, 1))
    return {
        "onset": f"The smallest rate at which a small difference grows a thousandfold within {n.steps} steps"
        + (f"; {lost} of {len(onset)} starts have none in the grid." if lost else "."),
        "time": f"Measured: ln of the ratio of steps to a test accuracy of {target:g}, paired by start; a "
        f"run that never gets there counts {n.steps}. Steps at the onset: {one}; at half of it: {half}.",
        "range": "Measured: ln of the ratio of steps, paired by start. The better of steepest fall "
        f"({_listed(some['at_suggested'].values[:, 0])} steps) and a tenth of the minimum "
        f"({_listed(some['at_suggested'].values[:, 1])}) is taken, as a user would have to.",
    }


def _listed(times: np.ndarray) -> str:
    return ", ".join("never" if math.isnan(t) else f"{t:.0f}" for t in times)


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (name, net), some in n.cases.items():
        at, suggested = some["at_multiple"].values, some["at_suggested"].values
        rows.append(
            [name, NETS[net].what, str(over_starts(some["onset"].values))]
            + [_listed(at[:, i]) for i in range(len(MULTIPLES))]
            + [
                f"{np.nanmedian(some['suggested'].values[:, i]):.2g}: {_listed(suggested[:, i])}"
                for i in (0, 1)
            ]
        )
    columns = ["data", "network", "onset", *(f"at {multiple:g} of it" for multiple in MULTIPLES)]
    columns += ["range test, steepest fall", "range test, a tenth of the minimum"]
    return [Table(f"Steps to the target, each start ({n.steps} at most)", columns, rows)]


def notes(n: Numbers) -> list[str]:
    targets = {name: float(some["target"].values[0]) for (name, _), some in n.cases.items()}
    sizes = {name: int(some["images"].values[0]) for (name, _), some in n.cases.items()}
    chosen_here = ", ".join(
        f"{NAMES[name]}: {sizes[name]} training images, target {target:g}" for name, target in targets.items()
    )
    return [
        f"Chosen here, as the follow-up's are not known: {chosen_here}; {n.steps} steps; chaos as a "
        "thousandfold growth of a small difference within them; rates double until there is one, then rise "
        "in small strides.",
        "The search goes upwards first. With ReLU a high rate kills all units; nothing grows then, and "
        "bisection alone would take that for calm.",
        "The range test ramps the rate from 0.001 to 10 within 100 steps, half the cost of one training.",
    ]


def draw_exponents(axes: Axes, n: Numbers) -> None:
    for (case, some), colour in zip(n.cases.items(), colours(len(n.cases)), strict=True):
        x = (some["rates"] / some["onset"]).values[0]
        known = np.isfinite(x)
        axes.plot(
            x[known], some["exponent"].values[0][known], "o-", ms=3, lw=1, color=colour, label=_label(case)
        )
    axes.axvline(1, color=plotting.THEORY, lw=1)
    axes.set(xscale="log", title="Exponent of one start", xlabel="rate / onset", ylabel="exponent, 1/step")
    legend(axes, fontsize=7)


def draw_times(axes: Axes, n: Numbers) -> None:
    for number, ((case, _), colour) in enumerate(zip(n.cases.items(), colours(len(n.cases)), strict=True)):
        times = n.times(case, "at_multiple")
        mean = np.exp(np.log(times).mean(0))
        x = np.array(MULTIPLES) * 1.03 ** (number - len(n.cases) / 2)
        axes.plot(x, mean, "-", lw=1, color=colour)
        for row in times:
            axes.plot(x, row, "o", ms=2.5, color=colour, alpha=0.6)
    axes.axvline(1, color=plotting.THEORY, lw=1)
    axes.axhline(n.steps, color=plotting.INK, lw=0.6, ls=":")
    axes.set(xscale="log", yscale="log", title="Steps to the target", xlabel="rate / onset", ylabel="steps")
    axes.set_xticks(MULTIPLES, [f"{multiple:g}" for multiple in MULTIPLES])
    axes.minorticks_off()


def draw_against_range_test(axes: Axes, n: Numbers) -> None:
    most = n.steps * 1.2
    for (case, _), colour in zip(n.cases.items(), colours(len(n.cases)), strict=True):
        best = n.times(case, "at_suggested").min(1)
        axes.plot(best, n.times(case, "at_multiple")[:, 2], "o", ms=4, color=colour, label=_label(case))
    axes.plot([1, most], [1, most], color=plotting.INK, lw=0.7)
    axes.set(xscale="log", yscale="log", title="Onset against range test", xlim=(3, most), ylim=(3, most))
    axes.set(xlabel="steps, better suggestion", ylabel="steps, at the onset")


def _label(case: tuple[str, str]) -> str:
    return case[1] if case[0] == "digits" else f"{case[0]}, {case[1]}"


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "onset",
            "Left: exponent against the learning rate over its onset of chaos. Middle: steps to the "
            "target, a dot a start, lines geometric means; the dotted line is the length of a run, where "
            "it is never reached. Right: a start below the line is faster at its onset than at the better "
            "suggestion of the range test.",
            [draw_exponents, draw_times, draw_against_range_test],
        )
    ]


FOLLOW_UP = Part(
    name="follow-up",
    title="Is training fastest at the onset of chaos?",
    presets={"quick": QUICK, "paper": PAPER_PRESET},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("tried",),
    citations=("jimenez2025",),
)
