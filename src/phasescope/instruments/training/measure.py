"""The measurement: a stretch of training on a copy, its sharpness, and the growth of differences in it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.instruments.training.given import Given
from phasescope.recording.circumstances import circumstances
from phasescope.recording.memory import default_limit, peak_bytes
from phasescope.recording.untouched import untouched
from phasescope.training.maps import TrainingMap, training_map
from phasescope.training.objective import Objective, objective
from phasescope.training.sharpness import Sharpness, sharpness
from phasescope.training.tangents import TangentExponents, tangent_exponents

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]

_DOUBLE = 5_000_000  # parameters up to which a copy computes in float64
_VECTORS, _STATES = 12, 8  # vectors of weights that an eigenvalue takes at least; states beside them
_LEAST_LIMIT = 2e9
_TOLERANCE = 1e-3
_BLOCKS = 10  # of steps, for the error of a mean over them


@dataclass
class _Run:
    """What a stretch of training gave."""

    loss: Array  # (steps,) before each step
    points: list[tuple[int, Sharpness]]  # steps at which the sharpness was measured
    moved: Array  # (steps, layers) relative size of each update
    path: Tensor  # (n,) sum of absolute updates of each weight
    displaced: Tensor  # (n,) absolute difference between its last and its first value
    diverged: int | None  # first step whose loss is not finite


def measured(user: Given, steps: int, points: int, seed: int, max_memory: int | None) -> xr.Dataset:
    """Return the dataset of the instrument; the user's model is copied and not touched."""
    with torch.inference_mode(False):
        made = _made(user)
        loss = made.objective if isinstance(made, TrainingMap) else made
        with untouched(loss.module):
            options: dict[str, Any] = {
                "tolerance": _TOLERANCE,
                "seed": seed,
                "max_memory": _room(made, loss, user.module, max_memory),
            }
            layers = _layers(loss)
            if not isinstance(made, TrainingMap):
                return _dataset(user, loss, layers, [(0, sharpness(made, **options))], seed)
            run = _followed(made, layers, steps, points, options)
            growth = None
            if run.loss.size:
                growth = tangent_exponents(
                    made, steps=run.loss.size, weights_only=bool(made.is_weight.any()), seed=seed
                )
            return _dataset(user, loss, layers, run.points, seed, made=made, run=run, growth=growth)


def _made(user: Given) -> TrainingMap | Objective:
    size = sum(p.numel() for p in user.module.parameters() if p.requires_grad)
    dtype = torch.float64 if size <= _DOUBLE else None
    if user.optimizer is None:
        return objective(user.module, user.loss, user.data, dtype=dtype)
    return training_map(user.module, user.loss, user.data, user.optimizer, dtype=dtype)


def _room(made: TrainingMap | Objective, loss: Objective, module: nn.Module, max_memory: int | None) -> float:
    """Return the bytes left for the vectors of the iteration; refuse where they and a product do not fit."""

    def one_product() -> None:
        _, gradient, product = loss.linearised(loss.initial)
        product(gradient)

    limit = max(_LEAST_LIMIT, default_limit(module)) if max_memory is None else float(max_memory)
    length = made.size if isinstance(made, TrainingMap) else loss.size
    used = peak_bytes(loss.module, one_product) + _STATES * length * loss.initial.element_size()
    needed = used + _VECTORS * loss.size * loss.initial.element_size()
    if needed > limit:
        raise MemoryLimitError(
            f"The Hessian of {loss.size} parameters on this batch takes {needed / 1e6:.0f} MB, more than "
            f"max_memory = {limit / 1e6:.0f} MB. Raise max_memory, or pass smaller batches in data."
        )
    return limit - used


def _layers(loss: Objective) -> dict[str, list[slice]]:
    """Return the places of the parameters of each layer, a parameter of the model itself by its own name."""
    found: dict[str, list[slice]] = {}
    for name, place in loss.slices.items():
        found.setdefault(name.rpartition(".")[0] or name, []).append(place)
    return found


def _followed(
    made: TrainingMap, layers: dict[str, list[slice]], steps: int, points: int, options: dict[str, Any]
) -> _Run:
    """Train the copy, and measure the sharpness on the way."""
    fresh = "square" in made.rule.slots and made.rule.age == 0  # the first step divides by its own gradient
    at = set(np.linspace(int(fresh), steps, points).round().astype(int).tolist())
    x = made.initial
    w = made.weights_of(x)
    first, path = w, torch.zeros_like(w)
    losses: list[float] = []
    moved: list[list[float]] = []
    found: list[tuple[int, Sharpness]] = []
    diverged: int | None = None
    for t in range(steps + 1):
        if t in at:
            found.append((t, sharpness(made, x, t=t, start=found[-1][1] if found else None, **options)))
        if t == steps:
            break
        after, loss = made.advance(x, t)
        if not (loss.isfinite() and after.isfinite().all()):
            diverged = t
            break
        update = made.weights_of(after) - w
        path += update.abs()
        moved.append([_relative(update, w, places) for places in layers.values()])
        losses.append(float(loss))
        x, w = after, made.weights_of(after)
    return _Run(np.array(losses), found, np.array(moved).reshape(len(losses), len(layers)), path,
                (w - first).abs(), diverged)  # fmt: skip


def _relative(update: Tensor, w: Tensor, places: list[slice]) -> float:
    size = math.hypot(*(float(w[place].norm()) for place in places))
    change = math.hypot(*(float(update[place].norm()) for place in places))
    return change / size if size > 0 else math.nan


def _dataset(
    user: Given,
    loss: Objective,
    layers: dict[str, list[slice]],
    points: list[tuple[int, Sharpness]],
    seed: int,
    *,
    made: TrainingMap | None = None,
    run: _Run | None = None,
    growth: TangentExponents | None = None,
) -> xr.Dataset:
    """Return the dataset: a row for each layer, a value for each step, and one for each point of the run."""
    import xarray as xr

    rows = _rows(user.module, loss, layers)
    per_layer = {
        "weights": [float(sum(place.stop - place.start for place in places)) for places in layers.values()],
    }
    if points:
        per_layer["curvature"] = _shares(points[-1][1].vectors[0], layers)
    columns: dict[str, Any] = {}
    if run is not None and made is not None:
        moved = run.moved
        per_layer |= {
            "update": moved.mean(0).tolist() if len(moved) else [math.nan] * len(layers),
            "update_error": _errors(moved).tolist(),
            "straightness": [
                _ratio(
                    sum(float(run.displaced[p].sum()) for p in places),
                    sum(float(run.path[p].sum()) for p in places),
                )
                for places in layers.values()
            ],
        }
        local = np.full(len(run.loss), math.nan)
        if growth is not None:
            per_layer["growth"] = _shares(made.weights_of(growth.vectors[0]), layers)
            local = growth.local[:, 0]
        columns |= {"loss": ("step", run.loss), "local_exponent": ("step", local)}
    names = list(rows)
    for name, values in per_layer.items():
        known = dict(zip(layers, values, strict=True))
        columns[name] = ("layer", np.array([known.get(row, math.nan) for row in names]))
    for name, numbers in _series(points).items():
        columns[name] = ("point", numbers)
    exponent = Estimate.not_determined("no steps") if growth is None else growth.exponents[0]
    columns |= {"exponent": ((), exponent.value), "exponent_error": ((), exponent.error)}
    described = {name: (dims, values, _described(name)) for name, (dims, values) in columns.items()}
    coordinates: dict[str, Any] = {
        "layer": names,
        "skipped": ("layer", list(rows.values())),
        "point": [step for step, _ in points],
    }
    if run is not None:
        coordinates["step"] = np.arange(len(run.loss))
    return xr.Dataset(described, coordinates, _attributes(user, loss, points, seed, made, run, exponent))


def _rows(module: nn.Module, loss: Objective, layers: dict[str, list[slice]]) -> dict[str, str]:
    """Return the name of each row in the order of the modules, and why a layer has no numbers."""
    own = {id(parameter): name for name, parameter in module.named_parameters()}
    rows = {name: "" for name in layers if name in loss.slices}
    for name, part in module.named_modules():
        if name in layers:
            rows[name] = ""
        elif name and not list(part.children()):
            parameters = list(part.parameters(recurse=False))
            elsewhere = [own[id(p)] for p in parameters if own[id(p)] in loss.slices]
            if not parameters:
                rows[name] = "no parameters"
            elif elsewhere:
                rows[name] = f"shares its parameters with {elsewhere[0].rpartition('.')[0] or elsewhere[0]}"
            elif not any(p.requires_grad for p in parameters):
                rows[name] = "frozen: its parameters ask for no gradient"
            else:
                rows[name] = "not among the parameters of the optimiser"
    return rows


def _shares(vector: Tensor, layers: dict[str, list[slice]]) -> list[float]:
    """Return the share of the squared length of a vector that lies in each layer."""
    squared = vector.double().square()
    total = float(squared.sum())
    return [_ratio(sum(float(squared[p].sum()) for p in places), total) for places in layers.values()]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan


def _errors(moved: Array) -> Array:
    """Return standard errors of the mean over steps, from blocks of a tenth of them."""
    if len(moved) < 2 * _BLOCKS:
        return np.full(moved.shape[1], math.nan)
    means = np.array([block.mean(0) for block in np.array_split(moved, _BLOCKS)])
    return np.asarray(means.std(0, ddof=1) / math.sqrt(_BLOCKS))


def _series(points: list[tuple[int, Sharpness]]) -> dict[str, Array]:
    found: dict[str, list[float]] = {
        name: [] for name in ("sharpness", "sharpness_error", "ratio", "ratio_error")
    }
    for _, there in points:
        largest, ratio = there.top, there.ratio
        found["sharpness"].append(largest.value)
        found["sharpness_error"].append(largest.error)
        found["ratio"].append(ratio.value)
        found["ratio_error"].append(ratio.error)
    return {name: np.array(values, dtype=np.float64) for name, values in found.items()}


def _attributes(
    user: Given,
    loss: Objective,
    points: list[tuple[int, Sharpness]],
    seed: int,
    made: TrainingMap | None,
    run: _Run | None,
    exponent: Estimate,
) -> dict[str, Any]:
    notes = [*user.notes, *loss.notes]
    if run is None:
        notes.append("without an optimiser, the sharpness alone was measured")
    else:
        notes.append(
            f"a copy was trained for {len(run.loss)} steps in {str(loss.dtype).removeprefix('torch.')}"
        )
    known: dict[str, float] = {}
    if made is not None:
        numbers = {"rate": made.rule.rate_at(0), "threshold": points[-1][1].threshold if points else None}
        known = {
            name: float(value) for name, value in numbers.items() if value is not None and np.size(value) == 1
        }
    return {
        **circumstances(user.module, user.batch, seed=seed),
        **{name: value for name, value in known.items() if math.isfinite(value)},
        "instrument": "stability",
        "trained": loss.size,
        "batches": loss.batches,
        "optimizer": "" if made is None else _RULES[type(made.rule).__name__],
        "diverged": -1 if run is None or run.diverged is None else run.diverged,
        "exponent_reason": exponent.reason,
        "notes": json.dumps(notes),
        "citations": "cohen2021 danovski2024",
    }


_RULES = {
    "GradientDescent": "gradient descent",
    "HeavyBall": "SGD with momentum",
    "Nesterov": "SGD with Nesterov momentum",
    "RMSprop": "RMSprop",
    "MomentumRMSprop": "RMSprop with momentum",
    "Adam": "Adam",
    "AdamW": "AdamW",
}
_NAMES = {  # unit and name; an error is called NAME_error
    "weights": ("1", "number of trained parameters"),
    "curvature": ("1", "share of the sharpest direction that lies in the layer, at the end of the run"),
    "growth": ("1", "share of the fastest growing difference that lies in the layer, at the end of the run"),
    "update": ("1", "size of a step over the size of the weights, mean over the run"),
    "straightness": ("1", "displacement over path length of the weights, sums of absolute values"),
    "loss": ("1", "loss before each step"),
    "local_exponent": ("1/step", "logarithm of the growth of a small difference in each step"),
    "exponent": ("1/step", "largest Lyapunov exponent over the run"),
    "sharpness": ("1", "largest eigenvalue of the (preconditioned) Hessian"),
    "ratio": ("1", "sharpness over the threshold of the optimiser"),
}
_ERROR = "one standard error, or the residual of an eigenvalue, of: "


def _described(name: str) -> dict[str, str]:
    unit, title = _NAMES[name.removesuffix("_error")]
    return {"units": unit, "long_name": f"{_ERROR}{title}" if name.endswith("_error") else title}
