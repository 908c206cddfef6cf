"""Whether training moved the features of a network or only its read-out, from two checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.rows import Column, Layout, Row, number, plain
from phasescope.recording.batch import as_batch
from phasescope.recording.circumstances import circumstances
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.training.lazy import Checkpoint, LazyOrRich, Loss

_POINTS = 256  # of the predicted loss
_LAYOUT = Layout(
    {"moved": 9, "features": 18, "null": 9, "gates or slopes": 19, "null ": 9}, ("null ", "null")
)
_FACTOR = 2.0  # within which a loss counts as predicted, unless its error is larger
_BEYOND = 3.0  # spreads of the null, and errors, by which a number is more than random movement


class LazyTraining(Instrument):
    r"""Measures how far training moved a network from its linearisation, from two checkpoints.

    Of the whole network: the gap :math:`|f_T - f_0 - J_0(\theta_T-\theta_0)|/|f_T - f_0|`, the drift of the
    tangent kernel :math:`|\Theta_T-\Theta_0|/|\Theta_0|`, and, with a loss and a learning rate, the loss that
    the initial kernel predicts. Of each layer: the relative change of its output and weights, and the gates
    that flipped or the change of the slope, beside the same movement in random directions. The work is done
    by ``training.lazy_or_rich``.

    Parameters
    ----------
    initial : nn.Module or mapping of str to Tensor, optional
        The model before training, or its state dict; without it the instrument does not apply.
    targets : tensor, optional
        What the loss compares the output with; labels beside the inputs by default.
    loss : callable, optional
        ``loss(output, targets)`` or ``loss(output)``, averaged over the batch.
    rate, steps : float, int, optional
        Learning rate and number of steps of the gradient descent that led from one to the other.

    Notes
    -----
    It applies to models with parameters, of the same names and shapes at both checkpoints. The dataset has a
    row for each layer and scalars of the whole network; ``long_name`` says what they are. Lazy is a gap below
    0.05 and rich one above 0.3, by convention. Cost: as ``training.lazy_or_rich``.

    References: Jacot et al. 2018, arXiv:1806.07572; Lee et al. 2019, arXiv:1902.06720; Yaida 2022,
    arXiv:2210.04909; Noy et al. 2021, arXiv:2101.04243.
    """

    name = "lazy_or_rich"
    title = "Lazy or rich training"

    def __init__(
        self,
        initial: Checkpoint | None = None,
        targets: Any = None,
        loss: Loss | None = None,
        rate: float | None = None,
        steps: int | None = None,
    ) -> None:
        self.initial, self.targets, self.loss = initial, targets, loss
        self.rate, self.steps = rate, steps

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        from phasescope.training.lazy import checkpoints

        if self.loss is None and self.targets is not None:
            return "targets were given without a loss: pass loss= beside targets="
        try:
            checkpoints(self.initial, as_module(model))
        except InputError as refused:
            return str(refused)
        return ""

    @alone()
    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        from phasescope.training.lazy import lazy_or_rich

        module = as_module(model)
        assert self.initial is not None
        found = lazy_or_rich(
            self.initial,
            module,
            batch,
            loss=self.loss,
            targets=self.targets,
            rate=self.rate,
            steps=self.steps,
            seed=seed,
            max_memory=max_memory,
        )
        attrs = {
            "instrument": self.name,
            **circumstances(module, as_batch(module, batch), seed=seed),
            "citations": f"{found.citations} yaida2022 noy2021",
            "notes": json.dumps(list(found.notes)),
            "verdict": found.verdict,
            "reason": found.reason,
            "outputs": found.outputs,
            "drift_reason": found.drift.reason,
            "predicted_reason": "no loss was given" if found.loss is None else found.loss.final.reason,
        }
        return _dataset(found, attrs)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        predicted = bool(np.isfinite(dataset["predicted_curve"].values).any())
        with plotting.style():
            drawn, axes = plotting.figure(2 + predicted, panel_size=(3.9, 3.4))
            _draw_layers(axes[0], dataset, "features", "Change of the output of layers")
            _draw_layers(axes[1], dataset, "gates", "Gates that flipped, or change of the slope")
            if predicted:
                _draw_loss(axes[2], dataset)
        return {"lazy_or_rich": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        whole = f"gap {_scalar(dataset, 'gap')}, drift {_scalar(dataset, 'drift')}"
        return "\n".join(
            [f"{self.title}: {dataset.attrs['verdict']}", whole[:100], "", *_LAYOUT.lines(dataset, _cells)]
        )


def _cells(row: Row) -> dict[str, str]:
    """Return the texts of a line of the table by column."""
    kind = _kind(row)
    return {
        "moved": plain(row["moved"]),
        "features": number(row, "features"),
        "null": plain(row["features_null"]),
        "gates or slopes": number(row, kind) if kind else "-",
        "null ": plain(row[f"{kind}_null"]) if kind else "-",
    }


CAPTIONS = {
    "lazy_or_rich": (
        "Left: relative change of the output of each layer between the checkpoints. Next: share of ReLU "
        "gates that flipped, or relative change of the slope of a smooth activation. Crosses: the same "
        "movement of every tensor in random directions, with its spread. Right, where a loss was given: what "
        "the initial tangent kernel predicts, beside the loss of the trained network."
    ),
}

COLUMNS = (
    Column("moved", "|dW|/|W|", "relative change of the layer's own parameters"),
    Column("features", "features", "relative change of the layer's output"),
    Column("features_null", "at random", "the same for movement in random directions"),
    Column("flips", "flips", "share of ReLU gates that flipped", fraction=True),
    Column("flips_null", "at random", "the same for movement in random directions", fraction=True),
    Column("slopes", "slopes", "relative change of the slope of a smooth activation"),
)
"""What a page shows of each row."""

_VARIABLES = {  # name: (unit, what it is)
    "moved": ("1", "|dW|/|W| of the layer's own parameters, exact"),
    "features": ("1", "|h_T - h_0|/|h_0| of the layer's output"),
    "coordinate": ("unit of the output", "root mean square of h_T - h_0"),
    "flips": ("1", "share of ReLU gates that are open at one checkpoint only"),
    "flips_law": ("1", "arctan(|dW|/|W|)/pi of the weights before the gates"),
    "slopes": ("1", "mean change of the activation's slope over its mean size"),
}
_SCALARS = {
    "gap": ("1", "|f_T - f_0 - J_0 (theta_T - theta_0)|/|f_T - f_0|"),
    "drift": ("1", "|Theta_T - Theta_0|/|Theta_0| of the tangent kernel"),
    "distance": ("1", "|theta_T - theta_0|/|theta_0| of all parameters, exact"),
    "loss_initial": ("unit of the loss", "loss before training on the batch"),
    "loss_trained": ("unit of the loss", "loss after training on the batch"),
    "loss_predicted": ("unit of the loss", "loss that gradient descent of the linearised network reaches"),
}


def _dataset(found: LazyOrRich, attrs: dict[str, Any]) -> xr.Dataset:
    import xarray as xr

    data: dict[str, Any] = {}

    def put(name: str, dims: tuple[str, ...], values: Any, about: tuple[str, str], prefix: str = "") -> None:
        described = {"units": about[0], "long_name": f"{prefix}{about[1]}"}
        data[name] = (dims, np.asarray(values, dtype=np.float64), described)

    def of_layers(name: str, part: str = "") -> list[float]:
        values = [math.nan if row.skipped else getattr(row, name) for row in found.layers]
        return [getattr(value, part) if isinstance(value, Estimate) else value for value in values]

    for name, about in _VARIABLES.items():
        put(name, ("layer",), of_layers(name, "value"), about)
        if name in ("moved", "flips_law"):
            continue
        put(f"{name}_error", ("layer",), of_layers(name, "error"), about, "one standard error of: ")
        if name != "coordinate":
            put(f"{name}_null", ("layer",), of_layers(f"{name}_null"), about, "random directions: ")
            spread = of_layers(f"{name}_null_sd")
            put(f"{name}_null_sd", ("layer",), spread, about, "spread over draws of random directions: ")
    loss = found.loss
    final = Estimate.not_determined("no loss") if loss is None else loss.final
    scalars = {
        "gap": found.gap,
        "drift": found.drift,
        "distance": found.distance,
        "loss_initial": math.nan if loss is None else loss.initial,
        "loss_trained": math.nan if loss is None else loss.trained,
        "loss_predicted": final,
    }
    for name, value in scalars.items():
        if isinstance(value, Estimate):
            put(name, (), value.value, _SCALARS[name])
            put(f"{name}_error", (), value.error, _SCALARS[name], "one standard error of: ")
        else:
            put(name, (), value, _SCALARS[name])
    curve = np.full(1, np.nan) if loss is None or not len(loss.curve) else loss.curve
    kept = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), _POINTS)).round().astype(np.int64))
    about = ("unit of the loss", "loss of the linearised network after each step")
    put("predicted_curve", ("step",), curve[kept], about)
    about = ("squared output", "eigenvalues of the initial tangent kernel on the batch, ascending")
    spectrum = found.eigenvalues if found.exact else np.full(1, np.nan)
    put("eigenvalues", ("mode",), spectrum, about)
    coordinates = {
        "layer": [row.layer.name for row in found.layers],
        "step": ("step", kept, {"units": "steps", "long_name": "step of gradient descent"}),
        "kind": ("layer", [row.layer.kind for row in found.layers]),
        "role": ("layer", [row.layer.role for row in found.layers]),
        "skipped": ("layer", [row.skipped for row in found.layers]),
    }
    return xr.Dataset(data, coordinates, attrs)


def _findings(dataset: xr.Dataset) -> list[Finding]:
    attrs, gap = dataset.attrs, _scalar(dataset, "gap")
    drift = _scalar(dataset, "drift")
    evidence = f"gap {gap}; kernel drift {drift}; weights moved {plain(float(dataset['distance']))} of |W|"
    verdict = attrs["verdict"]
    if verdict == "not determined" and not gap.determined:
        sentence = "Whether training was lazy or rich is not determined."
        action = (
            "Keep a copy of the model before training, copy.deepcopy(model), and pass that as initial="
            if "checkpoints are equal" in attrs["reason"]
            else "Pass inputs on which the outputs of the checkpoints differ, or train in double precision"
        )
        found = [Finding(sentence, attrs["reason"], f"{action}.", "note")]
    elif verdict == "not determined":
        sentence = f"Whether training was lazy or rich is not determined: {attrs['reason']}."
        found = [Finding(sentence, evidence, "Pass more inputs.", "note")]
    elif verdict == "lazy":
        sentence = (
            "Training was lazy: the network linearised at the start gives all but "
            f"{100 * gap.value:.2g} % of the change of its output."
        )
        action = (
            "For training that moves features, multiply the output by 1/sqrt(n), n the width of its last "
            "hidden layer, and the learning rate by n, or start from smaller weights; then measure again."
        )
        found = [Finding(sentence, evidence, action, "note")]
    elif verdict == "rich":
        sentence = (
            f"Training was rich: {100 * gap.value:.3g} % of the change of the output is not that of the "
            "linearised network."
        )
        found = [Finding(sentence, evidence, "", "ok")]
    else:
        sentence = (
            "Training was between lazy and rich: the linearised network misses "
            f"{100 * gap.value:.2g} % of the change of the output."
        )
        action = (
            "Nothing has to change. Richer: multiply the output by 1/sqrt(n) and the learning rate by n, n "
            "the width. Lazier: the other way round, or train a wider network."
        )
        found = [Finding(sentence, evidence, action, "note")]
    if not (verdict == "not determined" and not gap.determined):
        found += _of_layers(dataset)
    return found + _of_loss(dataset)


def _of_layers(dataset: xr.Dataset) -> list[Finding]:
    """Return whether gates or slopes changed more than random movement of the same size would do."""
    rows = [row for row in Row.measured(dataset) if _kind(row)]
    if not rows:
        return []
    more = [row for row in rows if _excess(row) > _BEYOND]
    kept = max(more or rows, key=lambda row: row[_kind(row)])
    kind = _kind(kept)
    what = "gates flipped" if kind == "flips" else "of the slope changed"
    null = Estimate(kept[f"{kind}_null"], kept[f"{kind}_null_sd"], "random directions", 5)
    evidence = f"{kept.text('layer')}: {100 * kept[kind]:.3g} % {what}, at random {100 * null} %"
    if kind == "flips" and math.isfinite(kept["flips_law"]):
        evidence += f", arctan law {100 * kept['flips_law']:.3g} %"
    if not more:
        sentence = (
            f"No layer of {len(rows)} changed its gates or slopes more than weights that move as far in "
            "random directions."
        )
        action = "Read the change of the gates as noise of the movement, not as features that were learnt."
        return [Finding(sentence, evidence, action, "note")]
    sentence = (
        f"Training changed the gates or slopes of {len(more)} of {len(rows)} layers more than weights that "
        f"move as far in random directions, most in {kept.text('layer')}."
    )
    return [Finding(sentence, evidence, "", "ok")]


def _excess(row: Row) -> float:
    kind = _kind(row)
    error = math.hypot(np.nan_to_num(row[f"{kind}_error"]), np.nan_to_num(row[f"{kind}_null_sd"]))
    return (row[kind] - row[f"{kind}_null"]) / error if error > 0 else 0.0


def _of_loss(dataset: xr.Dataset) -> list[Finding]:
    trained, predicted = float(dataset["loss_trained"]), _scalar(dataset, "loss_predicted")
    reason = dataset.attrs["predicted_reason"]
    if math.isnan(trained) or reason == "no learning rate and number of steps were given":
        return []
    if reason:
        return [
            Finding(
                "The loss of the linearised network is not determined.",
                reason,
                "Pass a smaller batch, or the rate and steps of plain gradient descent on it.",
                "note",
            )
        ]
    seen = f"seen {trained:.4g}, predicted {predicted}, before training {float(dataset['loss_initial']):.4g}"
    near = trained <= _FACTOR * predicted.value and predicted.value <= _FACTOR * trained
    if near or abs(trained - predicted.value) <= _BEYOND * predicted.error:
        sentence = (
            f"The initial tangent kernel predicts the loss that was reached, to a factor of {_FACTOR:g}."
        )
        return [Finding(sentence, seen, "", "ok")]
    side = "lower" if trained < predicted.value else "higher"
    return [
        Finding(
            f"Training reached a {side} loss than the initial tangent kernel predicts.",
            seen,
            "Trust the kernel only for gradient descent on this very batch at this rate; else the movement "
            "of features made the difference.",
            "note",
        )
    ]


def _kind(row: Row) -> str:
    return next((kind for kind in ("flips", "slopes") if math.isfinite(row[kind])), "")


def _scalar(dataset: xr.Dataset, name: str) -> Estimate:
    value, error = float(dataset[name]), float(dataset[f"{name}_error"])
    reasons = {"gap": "reason", "drift": "drift_reason", "loss_predicted": "predicted_reason"}
    if math.isnan(value):
        return Estimate.not_determined(str(dataset.attrs[reasons[name]]) or "not measured")
    return Estimate(value, error, str(dataset[name].attrs["long_name"]), int(dataset.attrs["inputs"]))


def _draw_layers(axes: Axes, dataset: xr.Dataset, what: str, title: str) -> None:
    """Draw one number of each layer over the order of the pass, and its null."""
    from phasescope import plotting

    rows = Row.measured(dataset)
    if what == "gates":
        rows = [row for row in rows if _kind(row)]
    kinds = [what if what == "features" else _kind(row) for row in rows]
    pairs = list(zip(rows, kinds, strict=True))
    places = np.arange(len(rows))
    values = np.array([row[kind] for row, kind in pairs])
    errors = np.nan_to_num([row[f"{kind}_error"] for row, kind in pairs])
    nulls = np.array([row[f"{kind}_null"] for row, kind in pairs])
    spreads = np.nan_to_num([row[f"{kind}_null_sd"] for row, kind in pairs])
    axes.errorbar(places, values, errors, fmt="o", ms=4, color=plotting.MEASURED, label="trained")
    axes.errorbar(places, nulls, spreads, fmt="x", ms=5, color=plotting.THEORY, label="random directions")
    axes.set(title=title, ylabel="relative change", xlabel="layer", ylim=(0, None))
    shown = places[:: max(1, len(places) // 8)]
    axes.set_xticks(shown, [rows[place].short_name(14) for place in shown], rotation=45, ha="right")
    if rows:
        axes.legend(loc="best")


def _draw_loss(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    curve = dataset["predicted_curve"]
    axes.plot(dataset["step"].values, curve.values, color=plotting.THEORY, label="initial kernel")
    seen = [float(dataset[name]) for name in ("loss_initial", "loss_trained")]
    axes.plot(dataset["step"].values[[0, -1]], seen, "o", color=plotting.MEASURED, label="seen")
    positive = min(float(curve.min()), *seen) > 0
    axes.set(title="Loss", xlabel="step", ylabel="loss", yscale="log" if positive else "linear")
    axes.legend(loc="best")
