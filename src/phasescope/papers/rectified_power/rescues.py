"""What rescues a rectified power: starts, norms, skips and optimisers in one table, beside theory.

Susceptibilities are those of what one layer hands to the next: the argument of the activation, or the
stream of a residual or dense network. chi_par is the growth of its square when all of it is scaled, chi_perp
that of a small difference at right angles to it, and so that of the gradients' second moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope.activations import as_activation
from phasescope.estimate import Estimate
from phasescope.papers import perceptrons
from phasescope.papers.perceptrons import Start, squared_error
from phasescope.papers.rectified_power import shared
from phasescope.papers.rectified_power.shared import STUDY, over_seeds, share
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.theory import MeanField, expectation

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

LAYERS = 20  # over which susceptibilities are followed
TRAINED = 0.5  # a test error below it counts; the target has variance 1
_SMALL = 1e-5  # a difference beside the stream; and what norms add to a variance, as in torch


@dataclass(frozen=True)
class Rescue:
    name: str
    block: str = "plain"
    start: str = ""  # Xavier, default, best; else C_W
    C_W: float = 1.0
    alpha: float = 0.0
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    clip: float | None = None
    penalty: float = 0.0


RESCUED = {
    "xavier": Rescue("Xavier", start="Xavier"),
    "he": Rescue("He", C_W=2.0),
    "default": Rescue("torch's default", start="default", C_W=1 / 3),
    "best": Rescue("K_dag, or critical", start="best"),
    "batch-norm": Rescue("BatchNorm before", "batch"),
    "layer-before": Rescue("LayerNorm before", "layer before"),
    "layer-after": Rescue("LayerNorm after", "layer after"),
    "rms-before": Rescue("RMSNorm before", "rms before"),
    "rms-after": Rescue("RMSNorm after", "rms after"),
    "residual-1": Rescue("residual, weight 1", "residual", alpha=1.0),
    "residual-0.1": Rescue("residual, weight 0.1", "residual", alpha=0.1),
    "dense-1": Rescue("dense, C_W = 1", "dense"),
    "dense-0.3": Rescue("dense, C_W = 0.3", "dense", C_W=0.3),
    "rmsprop": Rescue("RMSprop, He", C_W=2.0, optimiser=torch.optim.RMSprop),
    "sgd-clip": Rescue("SGD, clipped, He", C_W=2.0, optimiser=torch.optim.SGD, clip=1.0),
    "adam-clip": Rescue("Adam, clipped, He", C_W=2.0, clip=1.0),
    "penalty": Rescue("penalty on activations, He", C_W=2.0, penalty=1e-3),
}
INITIALISATIONS = ("xavier", "he", "default", "best")
GRADIENT = ("rmsprop", "sgd-clip", "adam-clip", "penalty")
NORMS = ("layer-before", "layer-after", "rms-before", "rms-after")
ADVISED = ("layer-before", "residual-0.1", "dense-0.3")  # by phasescope.signal.critical_, where it refuses
CONTROLS = ("best", "batch-norm", "layer-before", "layer-after", "residual-0.1", "dense-0.3")
REPU, OTHERS = ("repu2", "repu3"), ("mrepu2", "relu", "gelu")


class RescuesSettings(Settings):
    depths: tuple[int, ...] = (10, 20)  # hidden layers of RePU2; 10 and 20 have claims
    depths_repu3: tuple[int, ...] = (10,)  # 10 has claims
    control_depths: tuple[int, ...] = (10,)  # of the other activations
    seeds: int = 3
    width: int = 64
    growth: int = 32  # neurons that a dense layer adds; 10 layers then have as many weights as others
    points: int = 1024
    batch: int = 128
    steps: int = 200
    rate: float = 1e-3  # of Adam and RMSprop; SGD has ten times as much
    networks: int = 4  # whose susceptibilities are measured
    wide: int = 200  # neurons in each of their layers
    inputs: int = 12


QUICK, _ALL = RescuesSettings(), (5, 10, 20, 50)
PAPER = RescuesSettings(
    depths=_ALL, depths_repu3=_ALL, control_depths=(5, 10, 20), steps=400, networks=8, wide=300, inputs=24
)

TRAINING = {
    "first": "loss of the first batch, without a penalty",
    "gradient": "norm of the first gradient",
    "failed": "first step at which the loss is not finite; -1 where none",
    "test": "test error in evaluation; the target has variance 1",
    "test_batch": "test error with the statistics of the test points, for BatchNorm",
}
OF_LAYERS = {
    "kernel": "mean square of what the layer hands on",
    "parallel": "chi_par",
    "perpendicular": "chi_perp",
    "parallel_eval": "chi_par where BatchNorm keeps the statistics of the batch",
    "backward": "ln of the growth of the gradient's second moment from the last layer to this one",
}
VARIABLES = {name: Variable(("depth", "network"), long, optional=True) for name, long in TRAINING.items()}
VARIABLES |= {name: Variable(("member", "layer"), long, optional=True) for name, long in OF_LAYERS.items()}


class Rescued(nn.Module):
    """Networks with one rescue, each with its seed, side by side; each layer hands a stream to the next.

    A plain or normalised network hands on the argument of the activation, a residual one
    ``h + alpha s(W h)``, a dense one the input and all outputs so far. `sizes`: inputs, neurons, activations.
    """

    def __init__(
        self, rescue: Rescue, spec: str, sizes: tuple[int, int, int], seeds: list[int], largest: float = 1.0
    ) -> None:
        super().__init__()
        inputs, width, depth = sizes
        self.activation, self.alpha, self.block = perceptrons.module_of(spec), rescue.alpha, rescue.block
        self.skips, self.enters = rescue.block in ("residual", "dense"), rescue.block != "dense"
        shapes = [(inputs, width), *[(width, width)] * (depth if self.skips else depth - 1), (width, 1)]
        if rescue.block == "dense":
            shapes = [(inputs + width * n, width if n < depth else 1) for n in range(depth + 1)]
        self.weights, self.biases = perceptrons.parameters(
            shapes, start_of(rescue, spec, depth), seeds, largest
        )
        self.steps = len(shapes) - 1 - self.enters  # layers that hand a stream on to another
        self.momentum = 0.1
        self.running: dict[int, Tensor] = {}  # mean and variance of BatchNorm, by layer
        self.squares: list[Tensor] = []  # of the pre-activations in the last pass, for a penalty

    def streams(self, x: Tensor) -> list[Tensor]:
        """Return each stream, (networks, inputs, units), of inputs (inputs, n0)."""
        self.squares = []
        stream = x.expand(len(self.weights[0]), *x.shape)
        made = [self._normed(0, self._linear(0, stream)) if self.enters else stream]
        for number in range(self.steps):
            made.append(self.step(number, made[-1]))
        return made

    def step(self, number: int, stream: Tensor) -> Tensor:
        """Return the stream that follows stream `number`, the first of which is 0."""
        number += self.enters
        if self.skips:
            made = self.activation(self._linear(number, stream))
            return stream + self.alpha * made if self.enters else torch.cat([stream, made], -1)
        return self._normed(number, self._linear(number, self._activated(stream)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.streams(x)[-1]
        return torch.baddbmm(self.biases[-1], h if self.skips else self._activated(h), self.weights[-1])

    def _linear(self, number: int, stream: Tensor) -> Tensor:
        z = torch.baddbmm(self.biases[number], stream, self.weights[number])
        self.squares.append(z.square().mean((-2, -1)))
        return z

    def _activated(self, z: Tensor) -> Tensor:
        h: Tensor = self.activation(z)
        return self._unit(h) if self.block.endswith("after") else h

    def _normed(self, number: int, z: Tensor) -> Tensor:
        if self.block != "batch":
            return self._unit(z) if self.block.endswith("before") else z
        batch = torch.stack([z.mean(1, keepdim=True), z.var(1, keepdim=True, unbiased=False)])
        kept = self.running.get(number, batch.new_tensor([0.0, 1.0]).view(2, 1, 1, 1))
        if self.training:
            self.running[number] = kept + self.momentum * (batch.detach() - kept)
        mean, variance = (batch if self.training else kept).unbind()
        return (z - mean) / (variance + _SMALL).sqrt()

    def _unit(self, z: Tensor) -> Tensor:
        """Normalise over the neurons, as LayerNorm or RMSNorm without gain and shift."""
        if self.block.startswith("layer"):
            z = z - z.mean(-1, keepdim=True)
        return z / (z.square().mean(-1, keepdim=True) + _SMALL).sqrt()


def start_of(rescue: Rescue, spec: str, depth: int) -> Start:
    best = perceptrons.best_start(spec, depth)[0]
    if rescue.start == "best":
        return best
    small = rescue.block in ("residual", "dense") and "mrepu" in spec  # streams of MRePU need a small kernel
    return Start(rescue.C_W, 0.0, best.K1 if small else None, rescue.start)


def tasks(config: Any) -> list[Task]:
    """Return, row by row, what its layers do to differences, and how it trains."""
    s: RescuesSettings = config.rescues
    layers = {"kind": "layers", "networks": s.networks, "wide": s.wide, "inputs": s.inputs}
    sizes = {name: getattr(s, name) for name in ("width", "growth", "points", "batch", "steps", "rate")}
    made = []
    for spec in (*REPU, *OTHERS):
        depths = list({"repu2": s.depths, "repu3": s.depths_repu3}.get(spec, s.control_depths))
        training = {"kind": "training", "networks": s.seeds, "depths": depths, **sizes}
        for key in RESCUED if spec in REPU else CONTROLS:
            known = {"activation": spec, "rescue": key, "seed": config.seed}
            if key not in GRADIENT:
                cost = s.networks * s.wide**2 * s.inputs * (1e-6 if "dense" in key else 7e-8)
                made.append(Task(STUDY, "rescues", known | layers, seconds=cost, memory=600_000_000))
            fails = key in GRADIENT or (spec in REPU and key in ("he", "residual-1", "dense-1"))
            cost = 0.2 if fails else s.seeds * s.steps * sum(depths) * s.batch * 1.6e-6
            made.append(Task(STUDY, "rescues", known | training, seconds=cost, memory=400_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return susceptibilities layer by layer, or how networks of each depth train on x y z."""
    known = task.parameters
    seeds = [1000 * known["seed"] + number for number in range(known["networks"])]  # the same for all rows
    if known["kind"] == "layers":
        made = [_layers(known, seed) for seed in seeds]
    else:
        made = [_trained(known, depth, seeds) for depth in known["depths"]]
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def _layers(known: Any, seed: int) -> dict[str, np.ndarray]:
    """Return kernel, susceptibilities and backward growth of each layer of one wide network."""
    rescue, n = RESCUED[known["rescue"]], known["wide"]
    generator = torch.Generator().manual_seed(seed)
    depth = LAYERS if rescue.block in ("residual", "dense") else LAYERS + 1
    networks = Rescued(rescue, known["activation"], (n, n, depth), [seed])
    networks.requires_grad_(False).momentum = 1.0
    x = torch.randn(known["inputs"], n, generator=generator, dtype=torch.float64)
    streams = networks.streams((x / x.square().mean(-1, keepdim=True).sqrt()).requires_grad_())
    found: dict[str, list[Tensor]] = {name: [] for name in OF_LAYERS}
    for number, stream in enumerate(each.detach() for each in streams[:-1]):
        after, square = partial(networks.step, number), stream.square().sum((-2, -1))
        found["kernel"].append(stream.square().mean())
        lengths = _SMALL * stream.norm(dim=-1, keepdim=True)
        found["perpendicular"].append(perceptrons.turned(after, stream, lengths, generator))
        found["parallel"].append(perceptrons.scaled(after, stream, square, _SMALL))
        after(stream)  # BatchNorm keeps the statistics of this pass
        networks.eval()
        found["parallel_eval"].append(perceptrons.scaled(after, stream, square, _SMALL))
        networks.train()
    last = torch.randn(streams[-1].shape, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad(streams[-1], streams[:-1], last)
    found["backward"] = [(g.square().mean() / last.square().mean()).log() for g in gradients]
    return {name: torch.stack(values).flatten().numpy() for name, values in found.items()}


def _trained(known: Any, depth: int, seeds: list[int]) -> dict[str, np.ndarray]:
    """Return how networks of one depth start and end."""
    rescue, spec = RESCUED[known["rescue"]], known["activation"]
    pairs = [shared.xyz(known["points"], known["seed"] + number) for number in (0, 1)]
    x, y, test_x, test_y = (each.float() for pair in pairs for each in pair)
    width = known["growth"] if rescue.block == "dense" else known["width"]
    networks = Rescued(rescue, spec, (3, width, depth), seeds, perceptrons.largest_of(x)).float()
    first: list[Tensor] = []
    gradient = torch.full((len(seeds),), math.inf)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        value = squared_error(outputs, targets)
        first.append(value.detach())
        return value + rescue.penalty * sum(networks.squares) if rescue.penalty else value

    def before(step: int) -> None:
        if step == 1:
            squares = [p.grad.flatten(1).square().sum(1) for p in networks.parameters() if p.grad is not None]
            gradient.copy_(torch.stack(squares).sum(0).sqrt())

    batches = perceptrons.minibatches(x, y, known["batch"], known["seed"])
    rate = known["rate"] * (10 if rescue.optimiser is torch.optim.SGD else 1)
    optimiser = rescue.optimiser(networks.parameters(), lr=rate)
    course = perceptrons.train(
        networks, batches, loss, optimiser, known["steps"], before=before, clip=rescue.clip
    )
    tests = []
    for training in (False, True):  # BatchNorm takes the statistics kept in training, then the test points'
        with torch.no_grad():
            error = squared_error(networks.train(training)(test_x), test_y).double().numpy()
        tests.append(np.where((course.failed >= 0) | ~np.isfinite(error), math.inf, error))
    size = np.where(torch.isfinite(gradient), gradient, math.inf)
    made = (first[0].double().numpy(), size, course.failed.astype(float), *tests)
    return dict(zip(TRAINING, made, strict=True))


def susceptibilities(spec: str, rescue: Rescue) -> tuple[float, float]:
    """Return chi_par and chi_perp at infinite width: of every layer with a norm, else of the first."""
    field, start = MeanField(spec, 1.0), start_of(rescue, spec, LAYERS)
    if rescue.block not in ("plain", "residual", "dense"):
        centred = rescue.block in ("batch", "layer after")
        square = field.kernel_map(1.0) - centred * _mean_of(spec, lambda z, s, slope: s) ** 2
        return 0.0, field.chi_perpendicular(1.0) / square
    K = start.C_W if start.K1 is None else start.K1
    # A residual stream starts with K, and meets weights of C_W; a dense one is the input, of square 1.
    rules = {"plain": (0, start.C_W), "residual": (1, rescue.alpha**2 * start.C_W), "dense": (1, K)}
    kept, factor = rules[rescue.block]
    return kept + factor * field.chi_parallel(K), kept + factor * field.chi_perpendicular(K)


def _mean_of(spec: str, of: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
    """Return a mean over z of variance 1 of a function of z, s and s'."""
    a = as_activation(spec)
    return float(expectation(lambda z: of(z, a(z), a.derivative(z)), 1.0, kinks=a.kinks))


def _by_width(spec: str, width: int) -> float:
    """Return how far ``<s'^2>/<s^2>`` of a layer is from its limit, to first order in 1/width."""
    square, slope = _mean_of(spec, lambda z, s, d: s**2), _mean_of(spec, lambda z, s, d: d**2)
    scatter = _mean_of(spec, lambda z, s, d: s**4) / square**2
    together = _mean_of(spec, lambda z, s, d: (s * d) ** 2) / (square * slope)
    return abs(scatter - together) / width


def residual_squares(alpha: float, blocks: int) -> list[float]:
    """Return the square of RePU2's stream before each block, at infinite width and ``K_1 = C_W = 1``."""
    # q' = q + 2 alpha m <s> + alpha^2 <s^2> with <s> = q/2, <s^2> = 3 q^2/2, and the mean m' = m + alpha <s>.
    made, mean = [1.0], 0.0
    while len(made) < blocks:
        q = min(made[-1], 1e100)  # blown up long before
        made.append(q + alpha * mean * q + 1.5 * (alpha * q) ** 2)
        mean += alpha * q / 2
    return made


@dataclass(frozen=True)
class Numbers:
    settings: RescuesSettings
    layers: dict[tuple[str, str], dict[str, np.ndarray]]
    theory: dict[tuple[str, str], tuple[float, float]]
    runs: dict[tuple[str, str, int], dict[str, np.ndarray]]  # by activation, rescue and depth

    def of_layers(self, name: str, spec: str, key: str) -> Estimate:
        """Return a mean over networks: of all layers where a norm makes them alike, else of the first."""
        values = self.layers[spec, key][name]
        return over_seeds(values.mean(1) if key in NORMS else values[:, 0])

    def of_runs(self, name: str, specs: Iterable[str], keys: Iterable[str], depth: int = 10) -> np.ndarray:
        return np.concatenate([self.runs[spec, key, depth][name] for spec in specs for key in keys])

    def trained(self, spec: str, *keys: str, depth: int = 10) -> np.ndarray:
        return np.asarray(self.of_runs("test", [spec], keys, depth) < TRAINED)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    layers, theory, runs = {}, {}, {}
    for index, task in enumerate(tasks(config)):
        known, one = task.parameters, data.isel(task=index)
        spec, key = known["activation"], known["rescue"]
        if known["kind"] == "layers":
            layers[spec, key] = {name: one[name].values for name in OF_LAYERS}
            theory[spec, key] = susceptibilities(spec, RESCUED[key])
        for number, depth in enumerate(known.get("depths", ())):
            runs[spec, key, depth] = {name: one[name].values[number] for name in TRAINING}
    return Numbers(config.rescues, layers, theory, runs)


def claims(n: Numbers) -> list[Check]:
    """Return the checks of what layers do at the start, then those of training."""
    made = []
    for spec in (*REPU, "mrepu2"):
        for key in ("layer-before", "layer-after"):
            expected, spread = n.theory[spec, key][1], _by_width(spec, n.settings.wide)
            note = f"<s'^2>/<s^2> at K = 1 (the variance of s below, after it); mean of {LAYERS} layers. "
            note += f"The scatter of layers of this width, {100 * spread:.1f} %, is allowed."
            claim = Claim(f"{key}-{spec}", f"{RESCUED[key].name} {spec}: chi_perp = {expected:.3f}, not 1.")
            found = n.of_layers("perpendicular", spec, key)
            made.append(claim.equals(expected, found, allowance=expected * spread, note=note))
    for p, spec in zip((2, 3), REPU, strict=True):
        rate, spread = n.theory[spec, "layer-before"][1], LAYERS * _by_width(spec, n.settings.wide)
        sentence = f"LayerNorm before {spec}: gradients grow {rate:.3f}^{LAYERS} = {rate**LAYERS:.3g}-fold."
        note = f"Logarithm of the second moment over {LAYERS} layers; {spread:.2g} are allowed for the width."
        claim = Claim(f"growth-{spec}", sentence)
        found = over_seeds(n.layers[spec, "layer-before"]["backward"][:, 0])
        made.append(claim.equals(LAYERS * math.log(rate), found, allowance=spread, note=note))
        sentence = f"BatchNorm with kept statistics: their relative error grows {p}-fold a layer of {spec}."
        found = over_seeds(n.layers[spec, "batch-norm"]["parallel_eval"].mean(1))
        claim = Claim(f"batch-norm-eval-{spec}", sentence)
        made.append(claim.equals(p, found, allowance=1e-3, note="chi_par = p, as s is homogeneous."))
    rate, layers = n.theory["repu2", "batch-norm"][1], n.layers["repu2", "batch-norm"]
    chi, found = layers["perpendicular"], over_seeds(layers["backward"][:, 0]) - LAYERS * math.log(rate)
    note = f"Logarithm, less that of {rate:.3f}^{LAYERS} for inputs of one norm. Deviations grow p-fold a "
    note += f"layer: chi_perp is {chi[:, 0].mean():.2f} in the first, {chi.mean():.2f} in the mean."
    claim = Claim("growth-batch-norm", "BatchNorm before repu2: gradients grow faster than in theory.")
    made.append(claim.positive(found, note=note))
    worst = max(float(np.abs(n.layers[spec, key]["parallel"]).max()) for spec in REPU for key in NORMS)
    found = Estimate(worst, 0.0, "largest of all layers and networks", n.settings.networks)
    note = "LayerNorm and RMSNorm, before and after. The limit is for the 1e-5 that norms add to a variance."
    made.append(Claim("norms-parallel", "A norm makes chi_par of RePU zero.").below(1e-3, found, note=note))
    squares = residual_squares(0.1, 60)
    note = f"ln of the square before block {LAYERS}, K_1 = C_W = 1; {LAYERS}/width is allowed. l* = "
    note += "1/(alpha^2 g K_1) = 67 layers is a bound: the mean of the stream ends it after "
    note += f"{sum(q < 1e3 for q in squares)}, for He's K_1 = C_W = 2 after 10. Deeper needs less than 0.1."
    claim = Claim("residual-growth", "A residual stream grows by its mean, beside alpha^2 <s^2> a block.")
    expected, allowance = math.log(squares[LAYERS - 1]), LAYERS / n.settings.wide
    found = over_seeds(np.log(n.layers["repu2", "residual-0.1"]["kernel"][:, -1]))
    return [*made, claim.equals(expected, found, allowance=allowance, note=note), *_claims_on_training(n)]


def _claims_on_training(n: Numbers) -> list[Check]:
    """Return the checks of what trains, for 10 layers where nothing else is said."""
    made = []
    rule = f"A test error below {TRAINED:g} variances of the target after {n.settings.steps} steps."
    fails, batch = f"The share fails. {rule}", partial(n.of_runs, specs=REPU, keys=["batch-norm"])

    def networks(name: str, sentence: str, does: np.ndarray, note: str = rule) -> None:
        made.append(Claim(name, sentence).of_all(share(does), note=note))

    for spec in REPU:
        does, note = ~n.trained(spec, *INITIALISATIONS), f"Xavier, He, torch's default, K_dag. {fails}"
        networks(f"initialisations-{spec}", f"No initialisation trains {spec} in 10 layers.", does, note)
    pairs = [(spec, key, depth) for spec, start, depth in n.runs if start == "he" for key in GRADIENT]
    plain = np.concatenate([n.runs[spec, "he", depth]["first"] for spec, _, depth in pairs])
    other = np.concatenate([n.runs[pair]["first"] for pair in pairs])
    changed = (~np.isclose(plain, other, rtol=0, atol=0, equal_nan=True)).sum()
    claim = Claim("step-0", "The loss at step 0 does not depend on the optimiser, clipping or a penalty.")
    differ = Estimate(float(changed), 0.0, "networks that differ", len(plain))
    made.append(claim.equals(0, differ, note="To the last bit."))
    does = n.of_runs("failed", REPU, ("he", *GRADIENT)) == 0
    note = "Adam, RMSprop, clipping, a penalty on activations, from He's weights."
    networks("gradients", "Nothing that acts on gradients rescues RePU: it fails at step 0.", does, note)
    networks("batch-norm-runs", "With BatchNorm the loss of RePU stays finite.", batch("failed") < 0, "")
    note = "A test error above 1000 variances of the target, or none. With the statistics of the test points "
    note += f"the median is {np.median(batch('test_batch')):.2g}."
    sentence = "In evaluation BatchNorm gives infinite or useless outputs."
    networks("batch-norm-infinite", sentence, ~(batch("test") < 1e3), note)
    first = [n.runs["repu2", key, 10]["gradient"] for key in ("batch-norm", "layer-before")]
    claim = Claim("batch-norm-gradient", "RePU2's first gradient is 100 times LayerNorm's, or more.")
    ratio = over_seeds(np.log10(first[0] / first[1]))
    made.append(claim.positive(ratio - 2, note="Decimal logarithm of the ratio, less 2."))
    for key in ADVISED:
        networks(f"advice-{key}", f"{RESCUED[key].name} trains RePU2 in 10 layers.", n.trained("repu2", key))
    networks("advice-20", "Those advised train RePU2 in 20 layers.", n.trained("repu2", *ADVISED, depth=20))
    for key in ("residual-1", "dense-1"):
        sentence = f"RePU2 with {RESCUED[key].name} does not train in 10 layers."
        networks(f"{key}-fails", sentence, ~n.trained("repu2", key), fails)
    tests = {key: np.log10(n.runs["repu2", key, 10]["test"]) for key in RESCUED}
    dense = over_seeds(tests.pop("dense-0.3"))
    second = min(tests, key=lambda key: float(np.median(tests[key])))
    claim = Claim("dense-best", "Dense connections with C_W = 0.3 give RePU2 the smallest test error.")
    note = f"log10 of the test error of {RESCUED[second].name}, less that of dense, with as many weights. "
    note += "With as many neurons, 800 steps of 256 points, dense led: 1.6e-4 to 3.3e-4 (3 networks)."
    return [*made, claim.positive(over_seeds(tests[second]) - dense, note=note)]


def tables(n: Numbers) -> list[Table]:
    depths = sorted({depth for _, _, depth in n.runs})
    columns = ["activation", "rescue", "chi_par", "measured", "chi_perp", "measured"]
    columns += [f"log10 growth of gradients, {LAYERS} layers", *(f"{depth} layers" for depth in depths)]
    rows = []
    for spec, key in dict.fromkeys((spec, key) for spec, key, _ in n.runs):
        same = (spec, "he" if key in GRADIENT else key)  # the network with the same weights
        chi, backward = n.theory[same], n.layers[same]["backward"][:, 0] / math.log(10)
        found = [n.of_layers(name, *same) for name in ("parallel", "perpendicular")]
        cells = [f"{chi[0]:.3g}", f"{found[0].value:.3g}", f"{chi[1]:.3f}", str(found[1])]
        cells.append(f"{np.median(np.nan_to_num(backward, nan=math.inf)):.3g}")
        for depth in depths:
            run = n.runs.get((spec, key, depth))
            cells.append(f"{np.median(run['test']):.2g} ({(run['test'] < TRAINED).sum()})" if run else "")
        rows.append([spec, RESCUED[key].name, *cells])
    return [Table("Layers at the start, then test errors (and how many networks train)", columns, rows)]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.points} points, batches of {s.batch}, {s.steps} steps, {s.width} neurons a layer "
        f"({s.growth} in dense ones), {s.seeds} networks; Adam and RMSprop at {s.rate:g}, SGD at "
        f"{10 * s.rate:g}; clipping at 1, a penalty of 0.001 times the sum of mean squares; norms without "
        "gain and shift. Test errors are medians, in variances of the target; failed runs count as infinite.",
        "chi_par and chi_perp: first layer, or all layers where a norm makes them alike; inputs of one norm.",
    ]


def draw_gradients(axes: Axes, n: Numbers) -> None:
    keys = ("batch-norm", "layer-after", "layer-before", "residual-0.1", "dense-0.3")
    layers = np.arange(LAYERS)
    for key, colour in zip(keys, colours(len(keys)), strict=True):
        found = np.median(n.layers["repu2", key]["backward"], 0) / math.log(10)
        axes.plot(layers + 1, found, "o", ms=3, color=colour, label=RESCUED[key].name)
        if key in NORMS:
            theory = (LAYERS - layers) * math.log10(n.theory["repu2", key][1])
            axes.plot(layers + 1, theory, color=colour, lw=1)
    axes.set(title="RePU2: gradients at the start", xlabel="layer", ylabel=r"$\log_{10}$ second moment")
    legend(axes, fontsize=7.5)


def figures(n: Numbers) -> list[Panels]:
    caption = "Second moment of a random gradient sent back from the last layer: dots measured (median), "
    caption += "lines chi_perp of LayerNorm to the power of the layers."
    return [Panels("rescues", caption, [draw_gradients], size=(5.5, 3.5))]


RESCUES = Part(
    name="rescues",
    title="What rescues RePU",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("depth",),
    citations=("kim2024repu", "roberts2022"),
)
