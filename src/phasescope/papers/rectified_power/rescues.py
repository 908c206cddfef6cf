"""What rescues a rectified power: starts, norms, skips and optimisers in one table, beside theory.

Susceptibilities are those of what one layer hands to the next: the argument of the activation, or the
stream of a residual or dense network. chi_par is the growth of its square when all of it is scaled, chi_perp
that of a small difference at right angles to it, and so that of the gradients' second moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from phasescope import plotting
from phasescope.activations import as_activation
from phasescope.estimate import Estimate
from phasescope.papers.rectified_power import shared
from phasescope.papers.rectified_power.shared import (
    STUDY,
    Start,
    best_start,
    over_seeds,
    share,
    squared_error,
    xyz,
)
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
    """One row of the table."""

    name: str
    block: str = "plain"
    start: str = "C_W"  # or Xavier, default, best
    C_W: float = 1.0
    alpha: float = 0.0
    optimiser: type[torch.optim.Optimizer] = torch.optim.Adam
    clip: float | None = None
    penalty: float = 0.0


RESCUED = {
    "xavier": Rescue("Xavier", start="Xavier"),
    "he": Rescue("He", C_W=2.0),
    "default": Rescue("torch's default", start="default"),
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
    """Sizes of the table of rescues."""

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
    # For susceptibilities: networks, neurons in a layer, inputs.
    networks: int = 4
    wide: int = 200
    inputs: int = 12


_ALL_DEPTHS = (5, 10, 20, 50)
QUICK = RescuesSettings()
PAPER = RescuesSettings(
    depths=_ALL_DEPTHS, depths_repu3=_ALL_DEPTHS, control_depths=(5, 10, 20), steps=400, networks=8, wide=300
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
    ``h + alpha s(W h)``, a dense one the input and all outputs so far. All have `depth` activations.
    """

    def __init__(
        self,
        rescue: Rescue,
        spec: str,
        depth: int,
        width: int,
        seeds: Iterable[int],
        *,
        inputs: int = 3,
        largest: float = 1.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.activation, self.alpha, self.block = shared.module_of(spec), rescue.alpha, rescue.block
        self.skips, self.enters = rescue.block in ("residual", "dense"), rescue.block != "dense"
        layers = [(inputs, width), *[(width, width)] * (depth if self.skips else depth - 1)]
        if rescue.block == "dense":
            layers = [(inputs + width * layer, width) for layer in range(depth)]
        last = sum(outputs for _, outputs in layers) + inputs if rescue.block == "dense" else width
        start = start_of(rescue, spec, depth)
        drawn = [_drawn([*layers, (last, 1)], rescue.start, start, largest, seed) for seed in seeds]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for layer in zip(*drawn, strict=True):
            self.weights.append(nn.Parameter(torch.stack([w for w, _ in layer]).to(dtype)))
            self.biases.append(nn.Parameter(torch.stack([b for _, b in layer]).to(dtype)))
        self.steps = len(layers) - self.enters  # layers that hand a stream on to another
        self.momentum = 0.1
        self.running: dict[int, tuple[Tensor, Tensor]] = {}  # mean and variance of BatchNorm, by layer
        self.squares: list[Tensor] = []  # of the pre-activations in the last pass, for a penalty

    def enter(self, x: Tensor) -> Tensor:
        """Return the first stream, (networks, inputs, units), of inputs (inputs, n0)."""
        self.squares = []
        stream = x.expand(len(self.weights[0]), *x.shape)
        return self._normed(0, self._linear(0, stream)) if self.enters else stream

    def step(self, number: int, stream: Tensor) -> Tensor:
        """Return the stream that follows stream `number`, the first of which is 0."""
        number += self.enters
        if self.skips:
            made = self.activation(self._linear(number, stream))
            return stream + self.alpha * made if self.enters else torch.cat([stream, made], -1)
        return self._normed(number, self._linear(number, self._activated(stream)))

    def streams(self, stream: Tensor) -> list[Tensor]:
        """Return the first stream and all that follow."""
        made = [stream]
        for number in range(self.steps):
            made.append(self.step(number, made[-1]))
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs (networks, inputs, 1)."""
        stream = self.streams(self.enter(x))[-1]
        return torch.baddbmm(
            self.biases[-1], stream if self.skips else self._activated(stream), self.weights[-1]
        )

    def _linear(self, number: int, stream: Tensor) -> Tensor:
        z = torch.baddbmm(self.biases[number], stream, self.weights[number])
        self.squares.append(z.square().mean((-2, -1)))
        return z

    def _activated(self, z: Tensor) -> Tensor:
        h: Tensor = self.activation(z)
        return _unit(h, self.block) if self.block.endswith("after") else h

    def _normed(self, number: int, z: Tensor) -> Tensor:
        if self.block == "batch":
            mean, variance = z.mean(1, keepdim=True), z.var(1, keepdim=True, unbiased=False)
            seen = self.running.get(number, (torch.zeros_like(mean), torch.ones_like(variance)))
            if not self.training:
                mean, variance = seen
            elif self.momentum:
                new = (mean.detach(), variance.detach())
                m, v = (old + self.momentum * (now - old) for old, now in zip(seen, new, strict=True))
                self.running[number] = (m, v)
            return (z - mean) / (variance + _SMALL).sqrt()
        return _unit(z, self.block) if self.block.endswith("before") else z


def _unit(z: Tensor, block: str) -> Tensor:
    """Normalise over the neurons, as LayerNorm or RMSNorm without gain and shift."""
    if block.startswith("layer"):
        z = z - z.mean(-1, keepdim=True)
    return z / (z.square().mean(-1, keepdim=True) + _SMALL).sqrt()


def start_of(rescue: Rescue, spec: str, depth: int) -> Start:
    """Return the start of a rescue: streams of MRePU begin with the small kernel that it needs."""
    if rescue.start == "best":
        return best_start(spec, depth)[0]
    small = rescue.block in ("residual", "dense") and "mrepu" in spec
    C_W = 1 / 3 if rescue.start == "default" else rescue.C_W
    return Start(C_W, 0.0, best_start(spec, depth)[0].K1 if small else None)


def _drawn(
    shapes: list[tuple[int, int]], rule: str, start: Start, largest: float, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return weights (inputs, outputs) and biases (1, outputs) of each layer of one network, in float64."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    layers = []
    for number, (inputs, outputs) in enumerate(shapes):
        if rule == "default":
            w, b = (2 * torch.rand(n, outputs, generator=generator).double() - 1 for n in (inputs, 1))
            layers.append((w / math.sqrt(inputs), b / math.sqrt(inputs)))
            continue
        C_W, C_b = start.C_W, start.C_b
        if number == 0 and start.K1 is not None:
            C_b = min(C_b, start.K1)
            C_W = (start.K1 - C_b) / largest
        variance = 2 / (inputs + outputs) if rule == "Xavier" else C_W / inputs
        w = torch.randn(inputs, outputs, generator=generator, dtype=torch.float64)
        b = torch.randn(1, outputs, generator=generator, dtype=torch.float64)
        layers.append((w * math.sqrt(variance), b * math.sqrt(C_b)))
    return layers


def _depths(spec: str, s: RescuesSettings) -> tuple[int, ...]:
    return {"repu2": s.depths, "repu3": s.depths_repu3}.get(spec, s.control_depths)


def tasks(config: Any) -> list[Task]:
    """Return, row by row, what its layers do to differences, and how it trains."""
    s: RescuesSettings = config.rescues
    training = {name: getattr(s, name) for name in ("width", "growth", "points", "batch", "steps", "rate")}
    made = []
    for spec in (*REPU, *OTHERS):
        for key in RESCUED if spec in REPU else CONTROLS:
            known = {"activation": spec, "rescue": key, "seed": config.seed}
            if key not in GRADIENT:
                sizes = {"kind": "layers", "networks": s.networks, "wide": s.wide, "inputs": s.inputs}
                cost = s.networks * s.wide**2 * s.inputs * (1e-6 if "dense" in key else 7e-8)
                made.append(Task(STUDY, "rescues", known | sizes, seconds=cost, memory=600_000_000))
            fails = key in GRADIENT or (spec in REPU and key in ("he", "residual-1", "dense-1"))
            depths = _depths(spec, s)
            cost = 0.2 if fails else s.seeds * s.steps * sum(depths) * s.batch * 1.6e-6
            sizes = {"kind": "training", "networks": s.seeds, "depths": list(depths), **training}
            made.append(Task(STUDY, "rescues", known | sizes, seconds=cost, memory=400_000_000))
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return susceptibilities layer by layer, or how networks of each depth train on x y z."""
    known = task.parameters
    # The same networks, inputs and points for all rows.
    seeds = [1000 * known["seed"] + number for number in range(known["networks"])]
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
    networks = Rescued(rescue, known["activation"], depth, n, [seed], inputs=n, dtype=torch.float64)
    networks.requires_grad_(False).momentum = 1.0
    x = torch.randn(known["inputs"], n, generator=generator, dtype=torch.float64)
    stream = first = networks.enter(x / x.square().mean(-1, keepdim=True).sqrt())
    found: dict[str, list[float]] = {name: [] for name in OF_LAYERS if name != "backward"}
    for number in range(LAYERS):

        def after(v: Tensor, number: int = number) -> Tensor:
            return networks.step(number, v)

        beside = torch.randn(stream.shape, generator=generator, dtype=torch.float64)
        beside -= stream * (beside * stream).sum(-1, keepdim=True) / stream.square().sum(-1, keepdim=True)
        beside *= _SMALL * stream.norm(dim=-1, keepdim=True) / beside.norm(dim=-1, keepdim=True)
        turned = (after(stream + beside) - after(stream - beside)).square().sum(-1) / 4
        found["kernel"].append(float(stream.square().mean()))
        found["perpendicular"].append(float((turned / beside.square().sum(-1)).mean()))
        found["parallel"].append(_scaled(after, stream))
        following = after(stream)
        networks.eval()
        found["parallel_eval"].append(_scaled(after, stream))
        networks.train()
        stream = following
    last = torch.randn(stream.shape, generator=generator, dtype=torch.float64)
    streams = networks.streams(first.detach().requires_grad_())
    gradients = torch.autograd.grad(streams[-1], streams[:-1], last)
    growth = torch.stack([g.square().mean() for g in gradients]) / last.square().mean()
    return {name: np.array(values) for name, values in found.items()} | {"backward": growth.log().numpy()}


def _scaled(after: Callable[[Tensor], Tensor], stream: Tensor) -> float:
    """Return how much the square of what follows grows beside that of the stream, which is scaled."""
    above, below = (after(stream * (1 + e)).square().sum() for e in (_SMALL, -_SMALL))
    return float((above - below) / (4 * _SMALL * stream.square().sum()))


def _trained(known: Any, depth: int, seeds: list[int]) -> dict[str, np.ndarray]:
    """Return how networks of one depth start and end."""
    rescue, spec = RESCUED[known["rescue"]], known["activation"]
    (x, y), (test_x, test_y) = (
        tuple(each.float() for each in xyz(known["points"], known["seed"] + n)) for n in (0, 1)
    )
    width = known["growth"] if rescue.block == "dense" else known["width"]
    networks = Rescued(rescue, spec, depth, width, seeds, largest=shared.largest_of(x))
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

    batches = shared.minibatches(x, y, known["batch"], known["seed"])
    rate = known["rate"] * (10 if rescue.optimiser is torch.optim.SGD else 1)
    optimiser = rescue.optimiser(networks.parameters(), lr=rate)  # type: ignore[call-arg]
    course = shared.train(networks, batches, loss, optimiser, known["steps"], before=before, clip=rescue.clip)
    networks.momentum = 0.0  # BatchNorm takes the statistics of the test points, then those kept in training
    tests = []
    for training in (True, False):
        networks.train(training)
        with torch.no_grad():
            error = squared_error(networks(test_x), test_y).double().numpy()
        tests.append(np.where((course.failed >= 0) | ~np.isfinite(error), math.inf, error))
    return {
        "first": first[0].double().numpy(),
        "gradient": np.where(torch.isfinite(gradient), gradient, math.inf),
        "failed": course.failed.astype(float),
        "test": tests[1],
        "test_batch": tests[0],
    }


def susceptibilities(spec: str, rescue: Rescue) -> tuple[float, float]:
    """Return chi_par and chi_perp at infinite width: of every layer with a norm, else of the first."""
    field, start = MeanField(spec, 1.0), start_of(rescue, spec, LAYERS)
    if rescue.block not in ("plain", "residual", "dense"):
        centred = rescue.block in ("batch", "layer after")
        square = field.kernel_map(1.0) - centred * _mean(spec, lambda z, s, slope: s) ** 2
        return 0.0, field.chi_perpendicular(1.0) / square
    K = start.C_W if start.K1 is None else start.K1
    parallel, perpendicular = field.chi_parallel(K), field.chi_perpendicular(K)
    if rescue.block == "plain":
        return start.C_W * parallel, start.C_W * perpendicular
    # A residual stream starts with K, and meets weights of C_W; a dense one is the input, of square 1.
    share = rescue.alpha**2 * start.C_W if rescue.block == "residual" else K
    return 1 + share * parallel, 1 + share * perpendicular


def _mean(spec: str, of: Callable[[Tensor, Tensor, Tensor], Tensor]) -> float:
    """Return a mean over z of variance 1 of a function of z, s and s'."""
    a = as_activation(spec)
    return float(expectation(lambda z: of(z, a(z), a.derivative(z)), 1.0, kinks=a.kinks))


def _by_width(spec: str, width: int) -> float:
    """Return how far ``<s'^2>/<s^2>`` of a layer is from its limit, to first order in 1/width."""
    square, slope = _mean(spec, lambda z, s, d: s**2), _mean(spec, lambda z, s, d: d**2)
    scatter = _mean(spec, lambda z, s, d: s**4) / square**2
    together = _mean(spec, lambda z, s, d: (s * d) ** 2) / (square * slope)
    return abs(scatter - together) / width


def residual_squares(alpha: float, blocks: int) -> list[float]:
    """Return the square of RePU2's stream before each block, at infinite width and ``K_1 = C_W = 1``.

    ``q' = q + 2 alpha m <s> + alpha^2 <s^2>`` with ``<s> = q/2`` and ``<s^2> = 3 q^2/2``; the mean of the
    stream over its neurons grows as ``m' = m + alpha <s>``.
    """
    made, mean = [1.0], 0.0
    while len(made) < blocks:
        q = min(made[-1], 1e100)  # blown up long before
        made.append(q + alpha * mean * q + 1.5 * (alpha * q) ** 2)
        mean += alpha * q / 2
    return made


@dataclass(frozen=True)
class Numbers:
    """What was measured, by activation, rescue and depth, and the theory of the layers."""

    settings: RescuesSettings
    layers: dict[tuple[str, str], dict[str, np.ndarray]]
    theory: dict[tuple[str, str], tuple[float, float]]
    runs: dict[tuple[str, str, int], dict[str, np.ndarray]]

    def of_layers(self, name: str, spec: str, key: str) -> Estimate:
        """Return chi over networks: of all layers where a norm makes them alike, else of the first."""
        values = self.layers[spec, key][name]
        return over_seeds(values.mean(1) if key in NORMS else values[:, 0])

    def trained(self, spec: str, key: str, depth: int) -> np.ndarray:
        """Return which networks end below the limit."""
        return np.asarray(self.runs[spec, key, depth]["test"] < TRAINED)


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    layers, theory, runs = {}, {}, {}
    for index in range(data.sizes["task"]):
        one = data.isel(task=index)
        spec, key = str(one["activation"].values), str(one["rescue"].values)
        if one["kind"].values == "layers":
            layers[spec, key] = {name: one[name].values for name in OF_LAYERS}
            theory[spec, key] = susceptibilities(spec, RESCUED[key])
            continue
        for number, depth in enumerate(_depths(spec, config.rescues)):
            runs[spec, key, depth] = {name: one[name].values[number] for name in TRAINING}
    return Numbers(config.rescues, layers, theory, runs)


def claims(n: Numbers) -> list[Check]:
    return [*_claims_on_layers(n), *_claims_on_training(n)]


def _claims_on_layers(n: Numbers) -> list[Check]:
    """Return the checks of what layers do at the start."""
    made = []
    for key in ("layer-before", "layer-after"):
        for spec in (*REPU, "mrepu2"):
            expected, spread = n.theory[spec, key][1], _by_width(spec, n.settings.wide)
            note = f"<s'^2>/<s^2> at K = 1 (the variance of s below, after it); mean of {LAYERS} layers. "
            note += f"The scatter of layers of this width, {100 * spread:.1f} %, is allowed."
            claim = Claim(f"{key}-{spec}", f"{RESCUED[key].name} {spec}: chi_perp = {expected:.3f}, not 1.")
            found = n.of_layers("perpendicular", spec, key)
            made.append(claim.equals(expected, found, allowance=expected * spread, note=note))
    for spec in REPU:
        rate = n.theory[spec, "layer-before"][1]
        sentence = f"LayerNorm before {spec}: gradients grow {rate:.3f}^{LAYERS} = {rate**LAYERS:.3g}-fold."
        found = over_seeds(n.layers[spec, "layer-before"]["backward"][:, 0])
        spread = LAYERS * _by_width(spec, n.settings.wide)
        note = f"Logarithm of the second moment over {LAYERS} layers; {spread:.2g} are allowed for the width."
        expected = LAYERS * math.log(rate)
        made.append(Claim(f"growth-{spec}", sentence).equals(expected, found, allowance=spread, note=note))
    first, layers = n.theory["repu2", "batch-norm"][1], n.layers["repu2", "batch-norm"]
    above = over_seeds(layers["backward"][:, 0]) - LAYERS * math.log(first)
    note = (
        f"Logarithm, less that of {first:.3f}^{LAYERS}, which holds if all inputs of a batch keep one norm. "
    )
    note += "They do not: the deviation of one input is multiplied by p a layer. chi_perp is "
    chi = layers["perpendicular"]
    note += f"{chi[:, 0].mean():.2f} in the first layer, {chi.mean():.2f} in the mean."
    claim = Claim("growth-batch-norm", "BatchNorm before repu2: gradients grow faster than in theory.")
    made.append(claim.positive(above, note=note))
    worst = max(float(np.abs(n.layers[spec, key]["parallel"]).max()) for spec in REPU for key in NORMS)
    found = Estimate(worst, 0.0, "largest of all layers and networks", n.settings.networks)
    note = "LayerNorm and RMSNorm, before and after. The limit is for the 1e-5 that norms add to a variance."
    made.append(Claim("norms-parallel", "A norm makes chi_par of RePU zero.").below(1e-3, found, note=note))
    for p, spec in zip((2, 3), REPU, strict=True):
        sentence = f"BatchNorm with kept statistics: their relative error grows {p}-fold a layer of {spec}."
        found = over_seeds(n.layers[spec, "batch-norm"]["parallel_eval"].mean(1))
        note = "chi_par = p: exact for any weights, as s is homogeneous."
        claim = Claim(f"batch-norm-eval-{spec}", sentence)
        made.append(claim.equals(p, found, allowance=1e-3, note=note))
    squares = residual_squares(0.1, 60)
    blown = sum(q < 1e3 for q in squares)
    kernel = n.layers["repu2", "residual-0.1"]["kernel"][:, -1]
    note = f"ln of the square before block {LAYERS}, K_1 = C_W = 1. l* = 1/(alpha^2 g K_1) = {1 / 0.015:.0f} "
    note += f"layers is a bound: the mean of the stream ends it after {blown}. 20/width is allowed."
    claim = Claim("residual-growth", "A residual stream grows by its mean, beside alpha^2 <s^2> a block.")
    found, expected = over_seeds(np.log(kernel)), math.log(squares[LAYERS - 1])
    return [*made, claim.equals(expected, found, allowance=LAYERS / n.settings.wide, note=note)]


def all_do(claim: Claim, does: np.ndarray, note: str) -> Check:
    """Return the check of something that all networks do."""
    found = share(does)
    rule = f"{note} Agrees where all networks do, disagrees where at most half do.".strip()
    if does.all():
        return claim.found(1.0, found, "agrees", rule)
    return claim.found(1.0, found, "disagrees" if found.value <= 0.5 else "not determined", rule)


def _claims_on_training(n: Numbers) -> list[Check]:
    """Return the checks of what trains, for 10 layers where nothing else is said."""
    rule = f"A test error below {TRAINED:g} variances of the target after {n.settings.steps} steps."
    made = []
    for spec in REPU:
        does = np.concatenate([~n.trained(spec, key, 10) for key in INITIALISATIONS])
        claim = Claim(f"initialisations-{spec}", f"No initialisation trains {spec} in 10 layers.")
        made.append(all_do(claim, does, f"Xavier, He, torch's default, K_dag; the share fails. {rule}"))
    rows = [(spec, depth) for spec, key, depth in n.runs if key == "he"]
    plain = np.concatenate([n.runs[spec, "he", d]["first"] for spec, d in rows for _ in GRADIENT])
    other = np.concatenate([n.runs[spec, key, d]["first"] for spec, d in rows for key in GRADIENT])
    changed = int((~((plain == other) | (np.isnan(plain) & np.isnan(other)))).sum())
    claim = Claim("step-0", "The loss at step 0 does not depend on the optimiser, clipping or a penalty.")
    found = Estimate(float(changed), 0.0, "networks that differ", len(plain))
    made.append(claim.equals(0, found, note="To the last bit."))
    does = np.concatenate([n.runs[s, key, 10]["failed"] == 0 for s in REPU for key in ("he", *GRADIENT)])
    claim = Claim("gradients", "Nothing that acts on gradients rescues RePU: it fails at step 0.")
    made.append(all_do(claim, does, "Adam, RMSprop, clipping, a penalty on activations, from He's weights."))
    runs = [n.runs[spec, "batch-norm", 10] for spec in REPU]
    claim = Claim("batch-norm-runs", "With BatchNorm the loss of RePU stays finite in training.")
    made.append(all_do(claim, np.concatenate([run["failed"] < 0 for run in runs]), ""))
    claim = Claim("batch-norm-infinite", "In evaluation BatchNorm gives infinite or useless outputs.")
    useless = np.concatenate([~(run["test"] < 1e3) for run in runs])
    made.append(all_do(claim, useless, "A test error above 1000 variances of the target, or none."))
    ratio = np.log10(runs[0]["gradient"] / n.runs["repu2", "layer-before", 10]["gradient"])
    claim = Claim("batch-norm-gradient", "RePU2's first gradient is 100 times LayerNorm's, or more.")
    made.append(claim.positive(over_seeds(ratio) - 2, note="Decimal logarithm of the ratio, less 2."))
    for key in ADVISED:
        claim = Claim(
            f"advice-{key}", f"{RESCUED[key].name} trains RePU2 in 10 layers, as critical_ advises."
        )
        made.append(all_do(claim, n.trained("repu2", key, 10), rule))
    claim = Claim("advice-20", "The same three train RePU2 in 20 layers.")
    made.append(all_do(claim, np.concatenate([n.trained("repu2", key, 20) for key in ADVISED]), rule))
    for key in ("residual-1", "dense-1"):
        claim = Claim(f"{key}-fails", f"RePU2 with {RESCUED[key].name} does not train in 10 layers.")
        made.append(all_do(claim, ~n.trained("repu2", key, 10), f"The share fails. {rule}"))
    tests = {key: np.log10(n.runs["repu2", key, 10]["test"]) for key in RESCUED}
    second = min((key for key in tests if key != "dense-0.3"), key=lambda key: float(np.median(tests[key])))
    ahead = over_seeds(tests[second]) - over_seeds(tests["dense-0.3"])
    claim = Claim("dense-best", "Dense connections with C_W = 0.3 give RePU2 the smallest test error.")
    note = f"log10 of the test error of {RESCUED[second].name}, less that of dense. "
    note += "A dense layer adds half as many neurons as others have, so that weights are as many. With as "
    note += "many neurons, 800 steps of 256 points, dense was ahead: 1.6e-4 to 3.3e-4 (3 networks)."
    return [*made, claim.positive(ahead, note=note)]


def tables(n: Numbers) -> list[Table]:
    layers = []
    for (spec, key), (parallel, perpendicular) in n.theory.items():
        growth = np.nan_to_num(n.layers[spec, key]["backward"][:, 0], nan=math.inf) / math.log(10)
        cells = [
            spec,
            RESCUED[key].name,
            f"{parallel:.3g}",
            f"{n.of_layers('parallel', spec, key).value:.3g}",
        ]
        cells += [f"{perpendicular:.3f}", str(n.of_layers("perpendicular", spec, key))]
        layers.append([*cells, f"{np.median(growth):.3g}"])
    rows = []
    for (spec, key, depth), run in n.runs.items():
        failed = ", ".join(f"{step:.0f}" for step in run["failed"] if step >= 0)
        tests = [np.median(run[name]) for name in ("test", "test_batch")]
        finite = f"{np.isfinite(run['first']).sum()} of {len(run['first'])}"
        cells = [spec, RESCUED[key].name, f"{depth}", finite, f"{n.trained(spec, key, depth).sum()}"]
        cells += [f"{tests[0]:.2g}", f"{tests[1]:.2g}" if key == "batch-norm" else ""]
        rows.append([*cells, f"{np.median(run['gradient']):.2g}", failed])
    columns = ["activation", "rescue", "chi_par", "measured", "chi_perp", "measured"]
    columns += [f"log10 growth of gradients, {LAYERS} layers"]
    headings = ["activation", "rescue", "layers", "finite at step 0", "trained", "test error, median"]
    headings += ["with the test points' statistics", "first gradient", "steps of failure"]
    return [
        Table("What layers do to differences at the start", columns, layers),
        Table(f"Test error on x y z after {n.settings.steps} steps, in variances", headings, rows),
    ]


def notes(n: Numbers) -> list[str]:
    s = n.settings
    return [
        f"Chosen here: {s.points} points, batches of {s.batch}, {s.width} neurons a layer ({s.growth} in "
        f"dense ones), {s.seeds} networks; Adam and RMSprop at {s.rate:g}, SGD at {10 * s.rate:g}; clipping "
        "at 1, a penalty of 0.001 times the sum of mean squares; norms without gain and shift. A run that "
        "fails has an infinite test error, and medians include it.",
        "chi_par and chi_perp are those of the first layer, or of all layers where a norm makes them alike. "
        "Inputs have one norm and as many numbers as a layer has neurons.",
        "How deep a residual weight of 0.1 works depends on the first kernel. An infinitely wide stream is a "
        f"thousandfold after {sum(q < 1e3 for q in residual_squares(0.1, 60))} blocks for K_1 = C_W = 1, and "
        "after 10 for K_1 = C_W = 2 (He). So 20 layers that fail from larger weights, and 20 that train "
        "here, are no contradiction; deeper networks need a smaller weight than the advised 0.1.",
    ]


def draw_gradients(axes: Axes, n: Numbers) -> None:
    keys = ("batch-norm", "layer-after", "layer-before", "residual-0.1", "dense-0.3")
    layers = np.arange(LAYERS)
    for key, colour in zip(keys, colours(len(keys)), strict=True):
        found = np.median(n.layers["repu2", key]["backward"], 0) / math.log(10)
        axes.plot(layers + 1, found, "o", ms=3, color=colour, label=RESCUED[key].name)
        if key in NORMS:
            rate = math.log10(n.theory["repu2", key][1])
            axes.plot(layers + 1, (LAYERS - layers) * rate, color=colour, lw=1)
    axes.set(title="RePU2: gradients at the start", xlabel="layer", ylabel=r"$\log_{10}$ second moment")
    legend(axes, fontsize=7.5)


def draw_tests(axes: Axes, n: Numbers) -> None:
    keys = [key for key in RESCUED if key not in GRADIENT][::-1]
    for spec, colour, shift in zip(REPU, colours(2), (0.15, -0.15), strict=True):
        for place, key in enumerate(keys):
            tests = n.runs[spec, key, 10]["test"]
            seen = tests[tests < 3]
            axes.plot(seen, [place + shift] * len(seen), "o", ms=3, color=colour, alpha=0.8)
            axes.plot(
                [6] * (len(seen) < len(tests)), [place + shift] * (len(seen) < len(tests)), "x", color=colour
            )
        axes.plot([], [], "o", ms=3, color=colour, label=spec)
    axes.axvline(TRAINED, color=plotting.INK, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_yticks(range(len(keys)), [RESCUED[key].name for key in keys], fontsize=7)
    axes.set(title="Test error, 10 layers", xlabel="variances of the target (x: above 3 or none)")
    legend(axes, fontsize=7.5, loc="lower left")


def draw_depths(axes: Axes, n: Numbers) -> None:
    keys = ("layer-before", "layer-after", "residual-0.1", "dense-0.3")
    for number, (key, colour) in enumerate(zip(keys, colours(len(keys)), strict=True)):
        medians = np.array([np.median(n.runs["repu2", key, depth]["test"]) for depth in n.settings.depths])
        lost = np.array(n.settings.depths)[~(medians < 3)]
        axes.plot(n.settings.depths, np.where(medians < 3, medians, math.nan), "o-", ms=3, lw=1, color=colour)
        axes.plot(lost, [3 + number] * len(lost), "x", color=colour)
        axes.plot([], [], "o-", ms=3, color=colour, label=RESCUED[key].name)
    axes.axhline(TRAINED, color=plotting.INK, lw=0.8, ls=":")
    axes.set_yscale("log")
    axes.set_ylim(bottom=axes.get_ylim()[0] / 30)
    axes.set(title="RePU2 by depth (x: above 3 or none)", xlabel="layers", ylabel="test error, median")
    legend(axes, fontsize=7.5)


def figures(n: Numbers) -> list[Panels]:
    caption = (
        "Left: second moment of a random gradient from the last layer to the first, dots measured (median), "
        "lines chi_perp of LayerNorm to the power of the layers. Middle: test error of each network, with "
        "crosses where some are above 3 or failed. Right: median by depth. The dotted line is where training "
        "counts."
    )
    return [Panels("rescues", caption, [draw_gradients, draw_tests, draw_depths], size=(4.1, 3.5))]


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
