"""The comparison of two binary numbers: which training methods learn it, on one neuron and on two.

Inputs are the bits of two numbers of 4 bits, the target is the sign of their difference. One unit with the
weights 8, 4, 2, 1 and their negatives is right for all 240 unequal pairs. Methods start from the same 20
random weights. All of the article's thought experiments are checked besides, with exact weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.papers.synapses.shared import ARTICLE, STUDY, over_networks, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable, chosen
from phasescope.sweep.task import Task
from phasescope.synapses import PictureNet, Wiring, ensemble, fit, full_cascade, layers
from phasescope.synapses.picture_net import Sweeps
from phasescope.synapses.thought_experiments import (
    ThoughtExperiment,
    band,
    comparison,
    line,
    two_bands,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_BITS = 4
_PAIRS = 2 ** (2 * _BITS)
_FEW = _PAIRS // 4  # pairs that are shown, where not all are
_TARGET = 0.9  # of a unit, for the larger and minus that for the smaller number
METHODS = {"lm": 60, "lbfgs": 150, "rprop": 200, "adam": 300}  # with steps
_ADAM = 0.1  # its rate
DESCENTS = {"descent, rate 1": 1.0, "descent, rate 0.1": 0.1, "descent, rate 0.01": 0.01}
SLOW = ("descent, rate 0.01", "adam, rate 0.01")
_PASSES = 30  # of plain descent over all pairs, in batches of _BATCH
_BATCH = 16
NETS = ("one", "two", "halves")
_WORDS = {"one": "one neuron", "two": "two neurons", "halves": "two neurons, a half of the bits each"}
_FAILS = 0.2  # share of starts that fail from which on a method is said not to learn
_SHIFT, _PAIR = 0.02, 0.0145360671  # of border 2 of the two bands, and the change of v_3 and -c that makes it
_EXACT = ("slope", "right", "zeros", "own a", "own b", "band", "borders", "moved", "others", "alone", "hebb")


class ComparisonSettings(Settings):
    """Sizes of the measurement."""

    starts: int = 20  # random weights that each method begins from


QUICK = ComparisonSettings()
PAPER = ComparisonSettings()

VARIABLES = {
    "right": Variable(("start_number",), "share of the unequal pairs that are right", optional=True),
    "weights": Variable(
        ("start_number", "bit"), "synapses of the one neuron over the mean of the highest two", optional=True
    ),
    "exact": Variable(("quantity",), "what networks with exact weights do", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network, method and number of pairs that are shown, and one of exact weights."""
    settings: ComparisonSettings = config.comparison
    common = {"starts": settings.starts, "seed": config.seed}

    def task(net: str, method: str, pairs: int) -> Task:
        parameters = {"net": net, "method": method, "pairs": pairs, **common}
        return Task(STUDY, "comparison", parameters, seconds=0.15 * settings.starts)

    made = [task(net, method, pairs) for net in NETS for method in METHODS for pairs in (_PAIRS, _FEW)]
    made += [task(net, method, _PAIRS) for net in NETS[:2] for method in (*DESCENTS, SLOW[1])]
    return [*made, task("exact", "", 0)]


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return how many pairs trained networks get right, or what exact ones do."""
    known = task.parameters
    if known["net"] == "exact":
        return {"exact": _exact()}
    experiment = comparison(_BITS)
    unequal = experiment.targets != 0
    right, weights = [], []
    for start in range(known["starts"]):
        seed = 1000 * known["seed"] + start
        order = torch.randperm(_PAIRS, generator=torch.Generator().manual_seed(seed))[: known["pairs"]]
        net = PictureNet(wiring(known["net"]), seed=seed)
        found = _trained(net, experiment, order, known["method"], seed)
        right.append(float(experiment.right(found)[unequal].double().mean()))
        weights.append(found.weights.detach()[: 2 * _BITS].numpy())
    made: dict[str, Any] = {"right": np.array(right)}
    if known["net"] == "one":
        scaled = np.array(weights)
        highest = (scaled[:, 0] - scaled[:, _BITS]) / 2
        made["weights"] = scaled / np.abs(highest)[:, None]
    return made


def wiring(net: str) -> Wiring:
    """Return one neuron, two of which the second reads all, or two that read half of the bits each."""
    if net == "one":
        return layers(2 * _BITS, 1)
    if net == "two":
        return full_cascade(2, 2 * _BITS, 1)
    half = _BITS // 2
    lower = (*range(half, _BITS), *range(_BITS + half, 2 * _BITS))
    upper = (*range(half), *range(_BITS, _BITS + half))
    return Wiring(2 * _BITS, (lower, (*upper, 2 * _BITS)), (1,))


def _trained(
    net: PictureNet, experiment: ThoughtExperiment, shown: Tensor, method: str, seed: int
) -> PictureNet:
    points, targets = experiment.points[shown], _TARGET * experiment.targets[shown, None]
    if method in DESCENTS:
        return _descended(net, points, targets, DESCENTS[method], seed)
    name, _, rate = method.partition(", rate ")
    steps = METHODS[name]
    made = fit(
        net,
        targets,
        points=points,
        method=name,
        steps=steps,
        seed=seed,
        batch=64,
        rate=float(rate or _ADAM) if name == "adam" else 0.01,
        horizon=steps,
    )
    return made.net


def _descended(net: PictureNet, points: Tensor, targets: Tensor, rate: float, seed: int) -> PictureNet:
    """Return the network after plain descent of half the squared error, in random batches."""
    generator = torch.Generator().manual_seed(seed)
    weights = net.weights.detach().clone()
    for _ in range(_PASSES):
        order = torch.randperm(len(points), generator=generator)
        for first in range(0, len(points), _BATCH):
            rows = order[first : first + _BATCH]
            sweeps = Sweeps(net, points[rows], weights)
            weights -= rate * sweeps.pulled_back(sweeps.outputs - targets[rows].T) / len(rows)
    return net.with_weights(weights)


def _exact() -> list[float]:
    """Return numbers of the thought experiments, in the order of _EXACT."""
    straight, compared, inside, double = line(0.5), comparison(_BITS), band(), two_bands()
    places = straight.sensitivity.output
    outputs = compared.net(compared.points)[:, 0].detach()
    unequal = compared.targets != 0
    own = []
    for prop, synapses in zip(compared.properties, (slice(0, _BITS), slice(_BITS, 2 * _BITS)), strict=True):
        strength = ensemble(compared.sensitivity, prop, units=("one",)).strength
        own.append(float((strength[synapses] ** 2).sum() / (strength**2).sum()))
    borders = double.sensitivity.output
    known = torch.tensor([-0.597754730, -0.2, 0.200669190, 0.6], dtype=torch.float64)
    pair, alone = double.sensitivity.weights.clone(), double.sensitivity.weights.clone()
    pair[5] -= _PAIR
    pair[9] += _PAIR
    alone[9] += _PAIR
    shifted = double.sensitivity.at(pair).output - borders
    spoilt = double.sensitivity.at(alone).output - borders
    # Hebb's rule: the mean of target times input.
    hebb = (compared.targets[:, None] * compared.points).mean(0)
    powers = torch.tensor([2.0**k for k in reversed(range(_BITS))], dtype=torch.float64)
    return [
        float(places[1] - places[0]) - 0.5,
        float(compared.right()[unequal].sum()),
        float((outputs[~unequal] == 0).sum()),
        *own,
        float(inside.right().double().mean()),
        float((borders - known).abs().max()),
        float(shifted[1]),
        float(shifted[[0, 2, 3]].abs().max()),
        float(spoilt[3].abs()),
        float((hebb / hebb[_BITS - 1] - torch.cat([powers, -powers])).abs().max()),
    ]


@dataclass(frozen=True)
class Numbers:
    """Shares of right pairs by network, method and pairs shown, one number a start."""

    right: dict[tuple[str, str, int], np.ndarray]
    weights: dict[str, np.ndarray]  # of one neuron shown all pairs, by method
    exact: dict[str, float]

    def success(self, net: str, method: str, pairs: int = _PAIRS) -> Estimate:
        """Return the share of starts that get all pairs right."""
        return share(self.right[net, method, pairs] == 1.0, "share of starts")


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    trained = data.isel(task=np.flatnonzero(data["net"].values != "exact"))
    keys = zip(*(trained[name].values.tolist() for name in ("net", "method", "pairs")), strict=True)
    right = dict(zip(keys, trained["right"].values, strict=True))
    one = chosen(data, net="one", pairs=_PAIRS)
    exact = chosen(data, net="exact")["exact"].values[0]
    return Numbers(
        right,
        dict(zip(one["method"].values.tolist(), one["weights"].values, strict=True)),
        dict(zip(_EXACT, exact.tolist(), strict=True)),
    )


def claims(n: Numbers) -> list[Check]:
    """Return which methods learn, then what exact weights do."""
    return [*_learning_claims(n), *_exact_claims(n)]


def _listed(n: Numbers, net: str, methods: Any, pairs: int = _PAIRS) -> str:
    return ", ".join(f"{method} {100 * n.success(net, method, pairs).value:.0f} %" for method in methods)


def _learning_claims(n: Numbers) -> list[Check]:
    rule = f"Agrees 3 errors below {1 - _FAILS:g}, disagrees 3 above."
    made = []
    for net in ("one", "two"):
        worst = min((n.success(net, method) for method in METHODS), key=lambda found: found.value)
        made.append(
            Claim(
                f"not-every-{net}",
                f"Not every training method learns the comparison of two binary numbers on {_WORDS[net]}.",
                ARTICLE,
            ).below(
                1 - _FAILS,
                worst,
                note="Measured: share of starts that the worst method gets right for all 240 unequal pairs: "
                f"{_listed(n, net, METHODS)}. {rule}",
            )
        )
    slow = max((n.success("one", method) for method in SLOW), key=lambda found: found.value)
    few = np.mean([n.right["one", method, _FEW] - n.right["two", method, _FEW] for method in METHODS], axis=0)
    halves = np.mean(
        [n.right["one", method, _FEW] - n.right["halves", method, _FEW] for method in METHODS], axis=0
    )
    shares = [n.success("one", method, _FEW) for method in METHODS]
    best, least = max(shares, key=lambda s: s.value), min(shares, key=lambda s: s.value)
    return [
        *made,
        Claim(
            "not-every-slow",
            f"A method that moves slowly does not learn it in {_PASSES} passes over all pairs, or "
            f"{METHODS['adam']} steps.",
            f"{ARTICLE}, which names no method",
        ).below(
            1 - _FAILS,
            slow,
            note=f"One neuron: {_listed(n, 'one', SLOW)}, the larger one measured; with larger rates the "
            "same "
            f"methods learn: {_listed(n, 'one', (*DESCENTS, 'adam'))}. {rule} What fails is the number of "
            "steps.",
        ),
        Claim(
            "few-pairs",
            f"From a quarter of the pairs some methods learn the comparison more often than others, on "
            f"{_WORDS['one']}.",
            "asked here",
        ).positive(
            best - least,
            note=f"Measured: largest less smallest share of starts, {_listed(n, 'one', METHODS, _FEW)}.",
        ),
        Claim(
            "two-complicate",
            "Splitting the comparison over two neurons makes it harder to learn.",
            ARTICLE,
        ).positive(
            over_networks(few, "mean over starts"),
            note=f"Shown {_FEW} of {_PAIRS} pairs. Measured: share of right pairs on one neuron less that on "
            "two of which the second reads all bits and the first; mean over methods, same pairs.",
        ),
        Claim(
            "halves-complicate",
            "The same, with half of the bits of both numbers for each of the two.",
            ARTICLE,
        ).positive(
            over_networks(halves, "mean over starts"),
            note=f"As before. With all pairs: {_listed(n, 'halves', METHODS)}.",
        ),
    ]


def _exact_claims(n: Numbers) -> list[Check]:
    def of(name: str, error: float = 0.0) -> Estimate:
        return Estimate(n.exact[name], error, "exact weights", 1)

    where = f"{ARTICLE}, thought experiment"
    return [
        Claim(
            "line",
            "One neuron tells the sides of a line, and the ratio of its two weights is the slope.",
            f"{where} 1",
        ).equals(0.0, of("slope"), allowance=1e-9, note="Measured: slope of the border less -w_1/w_2."),
        Claim(
            "exact",
            "One neuron with the weights 8, 4, 2, 1 and their negatives compares two numbers of 4 bits.",
            f"{where} 2",
        ).equals(
            240.0,
            of("right"),
            note=f"Right of 240 unequal pairs; of the 16 equal ones {n.exact['zeros']:.0f} give exactly 0.",
        ),
        Claim("two-ensembles", "One neuron holds two independent ensembles.", f"{where} 2").equals(
            1.0,
            of("own a") * 0.5 + of("own b") * 0.5,
            allowance=1e-12,
            note="Measured: share of the squared strengths of each number that its own four synapses have.",
        ),
        Claim(
            "band", "Three neurons fire in a band of one input, one property over all of them.", f"{where} 3"
        ).equals(1.0, of("band"), note="Measured: share of 400 points at which the sign is right."),
        Claim("two-bands", "Four neurons fire in two bands.", f"{where} 4").equals(
            0.0, of("borders"), allowance=1e-7, note="Largest distance of a border from its place."
        ),
        Claim(
            "border-pair",
            "An inner border is moved alone by a co-ordinated change of several weights.",
            f"{where} 4",
        ).equals(
            _SHIFT,
            of("moved"),
            allowance=3e-4,
            note=f"v_3 lower and c higher by {_PAIR}: the other borders move by {n.exact['others']:.1g} at "
            f"most. With c alone border 4 moves by {n.exact['alone']:.3f}, too.",
        ),
        Claim(
            "hebb",
            "One pass of Hebb's rule over all pairs finds the weights 8, 4, 2, 1 and their negatives.",
            "derived here",
        ).equals(
            0.0,
            of("hebb"),
            allowance=1e-9,
            note="The mean of target times input. Over all b the mean sign of a - b is (2 a - 15)/16, which "
            "is linear in the bits of a.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for (net, method, pairs), right in n.right.items():
        rows.append(
            [_WORDS[net], method, f"{pairs}", str(n.success(net, method, pairs)), f"{right.mean():.4f}"]
        )
    columns = ["network", "method", "pairs shown", "starts with all right", "mean share of right pairs"]
    return [Table("Comparison of two numbers of 4 bits", columns, rows)]


def notes(n: Numbers) -> list[str]:
    steps = ", ".join(f"{method} {count}" for method, count in METHODS.items())
    return [
        f"Steps: {steps} (rate {_ADAM:g}); plain descent {_PASSES} passes in batches of {_BATCH}. The "
        "article does not say "
        "which methods failed, nor with how many examples. Targets are 0.9, 0 for equal numbers, and -0.9. A "
        "success is the right sign of all 240 unequal pairs, shown or not.",
    ]


def draw_success(axes: Axes, n: Numbers) -> None:
    methods = [*METHODS, *DESCENTS, SLOW[1]]
    cases = [("one", _PAIRS), ("two", _PAIRS), ("one", _FEW), ("two", _FEW)]
    palette = (plotting.MEASURED, colours(2)[1])
    for k, (net, pairs) in enumerate(cases):
        known = [j for j, method in enumerate(methods) if (net, method, pairs) in n.right]
        found = [n.success(net, methods[j], pairs).value for j in known]
        alpha = 1.0 if pairs == _PAIRS else 0.45
        label = f"{_WORDS[net]}, {'all' if pairs == _PAIRS else 'a quarter'}"
        axes.barh(
            np.array(known) + 0.2 * (k - 1.5), found, 0.18, label=label, color=palette[k % 2], alpha=alpha
        )
    axes.set_yticks(range(len(methods)), methods, fontsize=8)
    axes.invert_yaxis()
    axes.set(title="Starts with all pairs right", xlabel="share", xlim=(0, 1.02))
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.4, -0.17), ncols=2)


def draw_weights(axes: Axes, n: Numbers) -> None:
    places = np.arange(2 * _BITS)
    for (method, rows), colour in zip(n.weights.items(), colours(len(n.weights)), strict=True):
        axes.plot(places, 8 * np.median(rows, 0), "o-", ms=3.5, lw=0.9, color=colour, label=method)
    powers = [2.0**k for k in reversed(range(_BITS))]
    axes.plot(places, [*powers, *(-power for power in powers)], "k_", ms=14, mew=1.2)
    axes.set_xticks(places, [f"{name}{k}" for name in "ab" for k in (8, 4, 2, 1)])
    axes.set(title="One neuron, median weights", ylabel="weight, the highest bit as 8")
    legend(axes, fontsize=7)


def draw_pairs(axes: Axes, n: Numbers) -> None:
    for k, net in enumerate(NETS):
        for j, (method, colour) in enumerate(zip(METHODS, colours(len(METHODS)), strict=True)):
            right = n.right[net, method, _FEW]
            place = k + 0.17 * (j - 1.5)
            axes.plot(np.full(len(right), place), right, "o", ms=2.5, color=colour, alpha=0.4)
            axes.plot(place, right.mean(), "_", ms=9, mew=2, color=colour, label=method if k == 0 else None)
    axes.set_xticks(range(len(NETS)), ["one\nneuron", "two", "two, half\nof the bits each"], fontsize=8)
    axes.set(title=f"Shown {_FEW} of {_PAIRS} pairs", ylabel="share of right pairs")
    legend(axes, fontsize=7)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: share of random starts from which a method gets all unequal pairs right, shown all pairs or a "
        "quarter of them. Middle: weights that methods find on one neuron; dashes: 8, 4, 2, 1. Right: share "
        "of right pairs when a quarter is shown, a dot a start."
    )
    return [Panels("comparison", caption, [draw_success, draw_weights, draw_pairs], size=(3.9, 3.3))]


COMPARISON = Part(
    name="comparison",
    title="Learning to compare two binary numbers",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("ensembles2015",),
)
