"""Edits of a trained classifier: 8s made to read 3, by ten ways to do it, as curves and not at one point.

A perceptron of 256 and 128 units learns the ten digits. The mean margin of 3 over 8 on some training 8s is
raised in equal steps. Success is the share of 8s that no edit has seen which read 3, damage the share of the
other digits of the test set that are no longer read as before the edit was right: accuracy lost. All ways
share the set of 8s and the steps; what differs is which weights move, and in what direction:

- the programme of ``edit``: the least change of the logits of kept samples;
- the gradient of all weights;
- rank one: the last layer by ``(e_3 - e_8) (C^-1 k)'``, with the mean key k of the 8s and the second moment
  C of the keys of the kept samples, as in arXiv:2202.05262;
- null space: the gradient of the last layer, projected on the directions that hold a hundredth of the energy
  of the kept keys, as in arXiv:2410.02355;
- the gradient of 30 weights only: those of the ensemble (the fewest with 90 % of the sum of g^2) with the
  best control ratio; those with the largest ``|g w|``, SNIP (``|w dL/dw|``, arXiv:1810.02340, L the
  cross-entropy of 3 on the 8s), optimal brain damage (``h w^2 / 2`` of the same loss, h from squared
  gradients of single samples), ``|w|``; and 30 drawn at random.

The first layer of a digit has many weights of dead pixels; magnitude may choose them, as it does in pruning.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.data import Images, digits, mnist
from phasescope.estimate import Estimate
from phasescope.papers.synapses.shared import STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.synapses import ClassMargin, ModuleSensitivity, edit, ensemble, module_sensitivity

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

FROM, TO = 8, 3
WIDTHS = (256, 128)
SELECTED = 30  # weights that a selector picks
SELECTORS = ("control", "|g w|", "SNIP", "OBD", "magnitude", "random")
METHODS = ("programme", "gradient", "rank one", "null space", *SELECTORS)
LEVELS = (0.3, 0.5, 0.7)  # of success, in the table
_SUCCESSES = np.round(np.arange(0.2, 0.95, 0.02), 2)
_FEWEST = 3  # networks of a comparison
_HIGHEST = 12.0  # mean margin of the last step
_ENERGY = 0.01  # of the kept keys, in the directions of the null space
_CORRECTIONS, _HALVINGS = 4, 6  # linearisations a step, and lengths of it that are tried
_NEAR = 0.02  # logits from the margin that is asked
_RIDGE = 1e-3  # of the second moment of the keys, relative to its mean
_SOURCE = "derived here"


class ClassifierEditsSettings(Settings):
    """Sizes of the measurement."""

    seeds: int = 10  # networks
    images: int = 10_000  # to train on; the digits have 1197
    epochs: int = 4  # of MNIST; the digits take as many steps
    edited: int = 100  # training 8s that are to read 3
    kept: int = 600  # training samples of other digits that are to stay
    test: int = 10_000  # images, of which the 8s measure success and the others damage
    steps: int = 9  # equal raises of the margin
    iterations: int = 15  # conjugate gradients of the programme


QUICK = ClassifierEditsSettings(images=6000, edited=60, kept=300, test=2000, steps=6, iterations=8)
PAPER = ClassifierEditsSettings()

VARIABLES = {
    "success": Variable(("method", "step"), "share of unseen 8s that read 3"),
    "accuracy": Variable(("method", "step"), "accuracy on the other digits"),
    "logits": Variable(("method", "step"), "rms change of the logits of the other digits"),
    "margin": Variable(("method", "step"), "mean margin of 3 over 8 on the 8s of the edit"),
    "trained": Variable((), "accuracy on the other digits before"),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a network."""
    settings: ClassifierEditsSettings = config.classifier_edits
    known = {
        "data_set": "mnist" if config.mnist else "digits",
        "folder": config.mnist,
        "seed": config.seed,
        **{name: getattr(settings, name) for name in ("images", "epochs", "edited", "kept", "test")},
        "steps": settings.steps,
        "iterations": settings.iterations,
    }
    pixels = 784 if config.mnist else 64
    weights = pixels * WIDTHS[0] + WIDTHS[0] * WIDTHS[1]
    samples = settings.images * settings.epochs + settings.steps * (settings.kept + settings.edited) * (
        6 * len(METHODS) + 12 * settings.iterations
    )
    seconds = 3 + samples * weights * 1.5e-10
    return [
        Task(STUDY, "classifier-edits", {"start": start, **known}, seconds=seconds, memory=1_500_000_000)
        for start in range(settings.seeds)
    ]


@dataclass(frozen=True)
class _Bench:
    """A trained network, what is edited, and what it is judged by."""

    model: nn.Sequential
    batch: Tensor  # the edited 8s, then the kept samples
    seen: ModuleSensitivity
    edited: int
    margin: ClassMargin
    unseen: Tensor
    others: Tensor
    labels: Tensor

    def judged(self, weights: Tensor) -> dict[str, float]:
        """Return what a change of the weights does."""
        model = self.seen.with_weights(weights)
        with torch.no_grad():
            logits, before = model(self.others), self.model(self.others)
            return {
                "success": float((model(self.unseen).argmax(1) == TO).double().mean()),
                "accuracy": float((logits.argmax(1) == self.labels).double().mean()),
                "logits": float((logits - before).square().mean().sqrt()),
                "margin": self.seen.at(weights).value(self.margin),
            }


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return the curve of each method on one network."""
    known = task.parameters
    bench = _bench(known, device)
    start = bench.seen.value(bench.margin)
    targets = np.linspace(start, _HIGHEST, known["steps"] + 1)[1:]
    rows = [
        [bench.judged(weights) for weights in _path(bench, method, targets, known, task.seed)]
        for method in METHODS
    ]
    before = bench.judged(bench.seen.weights)
    found: dict[str, Any] = {
        name: np.array([[before[name], *(point[name] for point in row)] for row in rows]) for name in before
    }
    return {**found, "trained": before["accuracy"]}


def _bench(known: Any, device: str) -> _Bench:
    images = _images(known)
    model = _trained(images, known, device)
    x, y = images.x_train.to(device), images.y_train.to(device)
    own, rest = torch.nonzero(y == FROM)[:, 0], torch.nonzero(y != FROM)[:, 0]
    own, rest = own[: min(known["edited"], len(own) // 2)], rest[: known["kept"]]
    batch = x[torch.cat([own, rest])]
    unseen = images.y_test == FROM
    return _Bench(
        model,
        batch,
        module_sensitivity(model, batch, seed=int(known["start"])),
        len(own),
        ClassMargin(TO, against=FROM, cases=range(len(own))),
        images.x_test[unseen].to(device),
        images.x_test[~unseen].to(device),
        images.y_test[~unseen].to(device),
    )


def _images(known: Any) -> Images:
    if known["data_set"] == "digits":
        return digits(test=600).standardised().flattened()
    found = mnist(known["folder"]).standardised().flattened()
    count, test = known["images"], known["test"]
    return Images(
        found.x_train[:count], found.y_train[:count], found.x_test[:test], found.y_test[:test], "mnist"
    )


def _trained(images: Images, known: Any, device: str) -> nn.Sequential:
    """Return the network after so many epochs of Adam in batches of 128."""
    generator = torch.Generator().manual_seed(1000 * known["seed"] + known["start"])
    sizes = (images.x_train.shape[1], *WIDTHS, 10)
    layers: list[nn.Module] = []
    for inputs, units in itertools.pairwise(sizes):
        layer = nn.Linear(inputs, units)
        with torch.no_grad():
            layer.weight.normal_(0, (2 / inputs) ** 0.5, generator=generator)
            layer.bias.zero_()
        layers += [layer, nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    x, y = images.x_train.to(device), images.y_train.to(device)
    steps = known["epochs"] * (known["images"] // 128)
    order = torch.cat([torch.randperm(len(y), generator=generator) for _ in range(1 + steps * 128 // len(y))])
    for rows in order[: steps * 128].reshape(steps, 128).to(device):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def _path(bench: _Bench, method: str, targets: np.ndarray, known: Any, seed: int) -> list[Tensor]:
    """Return the weights at each mean margin."""
    seen = bench.seen
    if method == "programme":
        return _programme(bench, targets, known["iterations"])
    if method in ("rank one", "null space"):
        return _last_layer(bench, method, targets)
    mask = torch.ones_like(seen.weights)
    if method in SELECTORS:
        chosen = _scores(bench, method, seed).topk(SELECTED).indices
        mask = torch.zeros_like(seen.weights)
        mask[chosen] = 1
    return _walked(seen, bench.margin, mask, targets)


def _walked(seen: ModuleSensitivity, margin: ClassMargin, mask: Tensor, targets: np.ndarray) -> list[Tensor]:
    """Follow the gradient of some weights from one mean margin to the next, as far as it leads."""
    path, at, value = [], seen, seen.value(margin)
    for target in targets:
        for _ in range(_CORRECTIONS):
            gradient = at.gradient(margin) * mask
            step = gradient * ((target - value) / max(float(gradient.square().sum()), 1e-30))
            for halving in range(_HALVINGS):
                trial = at.weights + step / 2**halving
                if not trial.isfinite().all():
                    continue
                there = at.at(trial)
                found = there.value(margin)
                if abs(target - found) < abs(target - value):
                    at, value = there, found
                    break
            if abs(target - value) < _NEAR:
                break
        path.append(at.weights)
    return path


def _programme(bench: _Bench, targets: np.ndarray, iterations: int) -> list[Tensor]:
    path, at = [], bench.seen
    for target in targets:
        amount = float(target) - at.value(bench.margin)
        found = edit(
            at, {bench.margin: amount}, original=bench.seen, steps=3, tolerance=0.02, iterations=iterations
        )
        at = at.at(found.weights)
        path.append(at.weights)
    return path


def _last_layer(bench: _Bench, method: str, targets: np.ndarray) -> list[Tensor]:
    """Move the last layer along one direction; its logits, and so the margin, are linear in it."""
    seen = bench.seen
    with torch.no_grad():
        keys = bench.model[:-1](bench.batch).double()
    own, kept = keys[: bench.edited], keys[bench.edited :]
    moment = kept.T @ kept / len(kept)
    k = own.mean(0)
    if method == "rank one":
        ridge = _RIDGE * moment.diagonal().mean() * torch.eye(len(moment)).to(moment)
        row = torch.linalg.solve(moment + ridge, k)
    else:
        energies, basis = torch.linalg.eigh(moment)
        small = basis[:, energies.clamp(min=0).cumsum(0) <= _ENERGY * energies.sum()]
        row = small @ (small.T @ k)
    piece = next(piece for piece in seen.pieces if piece.shape == (10, WIDTHS[-1]))
    direction = torch.zeros(piece.shape, dtype=torch.float64, device=row.device)
    direction[TO], direction[FROM] = row, -row
    step = torch.zeros_like(seen.weights)
    step[piece.start : piece.stop] = direction.reshape(-1).to(step)
    start, gain = seen.value(bench.margin), float(seen.gradient(bench.margin) @ step)
    return [seen.weights + step * ((float(target) - start) / gain) for target in targets]


def _scores(bench: _Bench, method: str, seed: int) -> Tensor:
    """Return by what a selector ranks the weights."""
    seen, weights = bench.seen, bench.seen.weights
    if method == "control":
        found = ensemble(seen, bench.margin, units=["one"])
        scores = torch.zeros_like(weights)
        members = torch.from_numpy(found.sets["one"])
        scores[members] = torch.from_numpy(found.control).to(weights)[members]
        return scores
    if method == "|g w|":
        return (seen.gradient(bench.margin) * weights).abs()
    if method == "magnitude":
        return weights.abs()
    if method == "random":
        return torch.rand(seen.size, generator=torch.Generator().manual_seed(seed % 2**63)).to(weights)
    gradients = torch.stack([_loss_gradient(bench, sample[None]) for sample in bench.batch[: bench.edited]])
    if method == "SNIP":
        return (gradients.mean(0) * weights).abs()
    return gradients.square().mean(0) * weights.square() / 2


def _loss_gradient(bench: _Bench, sample: Tensor) -> Tensor:
    """Return the gradient of the cross-entropy of reading the sample as 3."""
    loss = nn.functional.cross_entropy(bench.model(sample), torch.tensor([TO], device=sample.device))
    gradients = torch.autograd.grad(loss, list(bench.model.parameters()))
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


@dataclass(frozen=True)
class Numbers:
    """The curves by method, and damage at equal success."""

    data: xr.Dataset
    name: str  # of the images
    lost: dict[
        str, np.ndarray
    ]  # (networks, successes) accuracy lost where success reaches each of _SUCCESSES

    def ahead(self, one: str, other: str) -> Estimate:
        """Return how much more accuracy the other loses, mean over the success that both reach."""
        more = self.lost[other] - self.lost[one]
        means = np.array([row[np.isfinite(row)].mean() for row in more if np.isfinite(row).any()])
        if len(means) < _FEWEST:
            return Estimate.not_determined(
                f"{_SUCCESSES[0]:g} of the 8s read 3 by both {one} and {other} in {len(means)} of "
                f"{len(more)} networks, {_FEWEST} are needed"
            )
        return over_networks(means)

    def at(self, method: str, level: float) -> Estimate:
        """Return the accuracy lost at a success, in points."""
        place = int(np.argmin(np.abs(_SUCCESSES - level)))
        return over_networks(100 * self.lost[method][:, place])


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    lost = {}
    for number, method in enumerate(METHODS):
        success = data["success"].values[:, number]
        change = data["trained"].values[:, None] - data["accuracy"].values[:, number]
        lost[method] = np.array([_at_success(*pair) for pair in zip(success, change, strict=True)])
    return Numbers(data, str(data["data_set"].values[0]), lost)


def _at_success(success: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Return the accuracy lost where success first reaches each of _SUCCESSES; NaN where it never does."""
    found = np.full(len(_SUCCESSES), np.nan)
    for place, level in enumerate(_SUCCESSES):
        reached = np.flatnonzero(success >= level)
        if len(reached) and reached[0] > 0:
            after = int(reached[0])
            low, high = success[after - 1], success[after]
            share = (level - low) / (high - low)
            found[place] = lost[after - 1] + share * (lost[after] - lost[after - 1])
    return found


def claims(n: Numbers) -> list[Check]:
    """Return who loses less accuracy at equal success."""
    on = "On MNIST" if n.name == "mnist" else "On the digits of scikit-learn"
    rule = (
        "Measured: accuracy on other digits that the second loses less that of the first, mean over the "
        f"shares of unseen 8s that read 3, from {_SUCCESSES[0]:g} to the highest that both reach, and over "
        "the networks where both do."
    )

    def less(key: str, one: str, other: str, words: str) -> Check:
        claim = Claim(key, f"{on}, at equal success, {words}.", _SOURCE)
        return claim.positive(n.ahead(one, other), note=rule)

    return [
        less(
            "programme-gradient", "programme", "gradient", "the programme does less damage than the gradient"
        ),
        less(
            "programme-rank-one",
            "programme",
            "rank one",
            "the programme on all weights does less damage than a rank-one edit of the last layer",
        ),
        less(
            "programme-null-space",
            "programme",
            "null space",
            "the programme on all weights does less damage than a null-space edit of the last layer",
        ),
        less(
            "ensemble-random",
            "control",
            "random",
            f"the {SELECTED} weights of the best control do less damage than {SELECTED} at random",
        ),
        less(
            "ensemble-magnitude",
            "control",
            "magnitude",
            f"the {SELECTED} weights of the best control do less damage than the {SELECTED} largest",
        ),
        less(
            "ensemble-strength",
            "control",
            "|g w|",
            f"the {SELECTED} weights of the best control do less damage than those of the largest |g w|",
        ),
        less(
            "ensemble-snip",
            "control",
            "SNIP",
            f"the {SELECTED} weights of the best control do less damage than those that SNIP selects",
        ),
        less(
            "ensemble-obd",
            "control",
            "OBD",
            f"the {SELECTED} weights of the best control do less damage than those of optimal brain damage",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for number, method in enumerate(METHODS):
        best = over_networks(100 * np.nanmax(n.data["success"].values[:, number], axis=1))
        rows.append([method, *(_shown(n.at(method, level)) for level in LEVELS), _shown(best)])
    columns = ["edit", *(f"lost at {100 * level:g} % success" for level in LEVELS), "highest success"]
    before = over_networks(100 * n.data["trained"].values)
    title = f"Accuracy on other digits lost, in points; {_shown(before)} % before"
    return [Table(title, columns, rows)]


def _shown(estimate: Estimate) -> str:
    return str(estimate) if estimate.determined else "not reached"


def notes(n: Numbers) -> list[str]:
    where = "" if n.name == "mnist" else "Measured on the digits of scikit-learn: name MNIST with mnist=DIR. "
    found = {method: n.at(method, LEVELS[0]) for method in METHODS}
    ranking = sorted((m for m in METHODS if found[m].determined), key=lambda m: found[m].value)
    first = f"From the least damage to the most at {100 * LEVELS[0]:g} % success: {', '.join(ranking)}. "
    return [
        f"{where}{first if ranking else ''}Success is a share of unseen 8s, damage the accuracy lost on all "
        "other digits of the test set. It can be negative: 3s that were read as 8 read 3 after the edit. "
        f"{SELECTED} weights, the margin of the last step and the sizes of the sets were chosen here."
    ]


def draw_edits(axes: Axes, n: Numbers) -> None:
    _curves(axes, n, [method for method in METHODS if method not in SELECTORS])
    axes.set(title="All weights, or the last layer")


def draw_selectors(axes: Axes, n: Numbers) -> None:
    _curves(axes, n, list(SELECTORS))
    axes.set(title=f"{SELECTED} weights")


def _curves(axes: Axes, n: Numbers, methods: list[str]) -> None:
    for method, colour in zip(methods, colours(len(methods)), strict=True):
        number = METHODS.index(method)
        success = 100 * n.data["success"].values[:, number]
        lost = 100 * (n.data["trained"].values[:, None] - n.data["accuracy"].values[:, number])
        for start in range(len(success)):
            axes.plot(success[start], lost[start], color=colour, lw=0.6, alpha=0.5)
        axes.plot(success.mean(0), lost.mean(0), "o-", ms=3, color=colour, label=method)
    axes.axhline(0, color=plotting.INK, lw=0.8, ls=":")
    axes.set(xlabel="unseen 8s that read 3, %", ylabel="accuracy on other digits lost, points", xlim=(0, 100))
    legend(axes)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Damage against success as the mean margin of 3 over 8 is raised, each point one step; thin lines "
        "are single networks. Left: edits of all weights and of the last layer. Right: the gradient of 30 "
        "weights, by what selects them. Lower is better."
    )
    return [Panels("classifier-edits", caption, [draw_edits, draw_selectors], size=(4.2, 3.4), share_y=True)]


CLASSIFIER_EDITS = Part(
    name="classifier-edits",
    title="Edits of a classifier",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("ensembles2015", "meng2022", "fang2025", "lee2019", "lecun1990"),
)
