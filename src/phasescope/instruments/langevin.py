"""How many directions the data fix around trained weights, beside what the curvature alone says."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.rows import Column, Row
from phasescope.recording.batch import Batch, as_batch, leaves
from phasescope.recording.circumstances import circumstances
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone
from phasescope.signal.table import terminal_width

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from phasescope.training.langevin import LocalLearningCoefficient
    from phasescope.training.objective import Loss

_LOCALISATION = 100.0
_POINTS = 200  # of a trace
_NAME, _MOST_BARS = 24, 12
_WHAT_TO_DO = (  # words of a reason, and what to do about it
    ("samples", "Pass 32 samples or more, better all that the network was trained on."),
    ("curves downwards", "Train further, or raise localisation above the downward curvature."),
    ("gradient leads", "Train further at a lower learning rate, until the gradient is small."),
    ("losses below", "Train further: these weights are no minimum of the loss on this batch."),
    ("disagree", "Pass steps= with four times as many, or a larger localisation."),
    (
        "Metropolis",
        "Raise localisation, so that the chains stay near, and check that the loss is finite there.",
    ),
)


class LangevinProbe(Instrument):
    r"""Measures how many directions the data fix around trained weights: the local learning coefficient.

    Langevin chains explore the surroundings of the weights w* under ``n beta L + g |w - w*|^2/2``. The
    learning coefficient is :math:`\lambda = n\beta(\langle L\rangle - L(w^*))`, both on the batch; twice that
    counts the directions that the data fix. Beside it stands half the effective dimension,
    :math:`\frac12 \sum n\beta h/(n\beta h + g)` over the eigenvalues h of the Hessian, which is the same in a
    quadratic basin. Of each layer: its share of the fixed directions. The work is done by
    :func:`phasescope.training.langevin`.

    Parameters
    ----------
    loss : callable, optional
        ``loss(output, targets)``, the mean over samples.
    targets : tensor or mapping of tensors, optional
        What the loss compares the output with, one for each input of the batch.
    steps : int, optional
        Steps of each chain, at least 100; chosen from the slowest mode by default.
    chains : int
        Independent chains, at least 2.
    localisation : float, optional
        Strength g of the spring to the weights, above 0; 100 by default.

    Raises
    ------
    InputError
        If steps, chains or localisation are out of their range.

    Notes
    -----
    It applies to models with parameters, once loss and targets are given. Frozen parameters stay fixed,
    unless all are frozen. The number depends on g and on the parametrisation: compare checkpoints of one
    architecture on the same batch. It is no bound on the test error. There is no null: whether labels matter
    is told by a network trained on shuffled ones.

    Cost: chains times steps gradients of the batch, and the spectrum of the Hessian.

    References: Lau et al. 2023, arXiv:2308.12108; Suzuki 2020, arXiv:2007.05824.
    """

    name = "langevin"
    title = "Directions that the data fix"

    def __init__(
        self,
        loss: Loss | None = None,
        targets: Any = None,
        steps: int | None = None,
        chains: int = 4,
        localisation: float | None = None,
    ) -> None:
        g = _LOCALISATION if localisation is None else localisation
        if (steps is not None and steps < 100) or chains < 2 or not 0 < g < math.inf:
            raise InputError(
                f"steps = {steps}, chains = {chains} and localisation = {localisation}.",
                "Pass at least 100 steps, at least 2 chains and a localisation above 0.",
            )
        self.loss, self.targets, self.steps, self.chains, self.localisation = loss, targets, steps, chains, g

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        missing = [name for name, value in (("loss", self.loss), ("targets", self.targets)) if value is None]
        if missing:
            return f"{' and '.join(missing)} missing: give LangevinProbe(loss, targets)"
        try:
            module = as_module(model)
        except InputError as refused:
            return str(refused)
        if not any(p.is_floating_point() for p in module.parameters()):
            return f"{getattr(module, 'kind', type(module).__name__)} has no parameters to train"
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
        from phasescope.training.langevin import langevin

        module = as_module(model)
        with torch.inference_mode(False):
            inputs = as_batch(module, batch)
            notes = list(inputs.notes)
            if not any(p.requires_grad for p in module.parameters()):
                module = copy.deepcopy(module)
                for parameter in module.parameters():
                    parameter.requires_grad_(parameter.is_floating_point())
                notes.append("no parameter asks for a gradient: all were taken as trained")
            loss, data = self._training(inputs)
            found = langevin(
                module,
                loss,
                data,
                steps=self.steps,
                chains=self.chains,
                localisation=self.localisation,
                samples=inputs.size,
                seed=seed,
                max_memory=max_memory,
            )
        attrs = {
            "instrument": self.name,
            **circumstances(module, inputs, seed=seed),
            "citations": found.citations,
            "notes": json.dumps([*found.notes, *notes]),
        }
        return _dataset(module, found, attrs)

    def _training(self, inputs: Batch) -> tuple[Any, Any]:
        """Return loss and data as an objective takes them."""
        lengths = {len(each) for each in leaves(self.targets, torch.Tensor) if each.ndim}
        if lengths != {inputs.size}:
            raise InputError(
                f"The batch has {inputs.size} inputs, the targets {sorted(lengths)}.",
                "Pass one target for each input.",
            )
        plain = not inputs.kwargs and all(isinstance(each, torch.Tensor) for each in inputs.args)
        if plain and isinstance(self.targets, torch.Tensor):
            return self.loss, (*inputs.args, self.targets)
        loss = self.loss
        assert loss is not None

        def compared(model: Callable[..., Any], given: Mapping[str, Any]) -> Any:
            return loss(model(*given["args"], **given["kwargs"]), given["targets"])

        return compared, [{"args": inputs.args, "kwargs": inputs.kwargs, "targets": self.targets}]

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope import plotting

        with plotting.style():
            drawn, (left, right) = plotting.figure(2, panel_size=(4.4, 3.4))
            _draw_traces(left, dataset)
            _draw_layers(right, dataset)
        return {"langevin": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        room = min(_NAME, terminal_width() - 32)
        head = f"{'layer':<{room}}{'parameters':>12}{'fixed':>20}"
        lines = [f"{self.title}, by layer", "", head, "-" * len(head)]
        for row in Row.measured(dataset):
            fixed = str(row.estimate("fixed"))
            lines.append(f"{row.short_name(room):<{room}}{row['parameters']:>12.0f}{fixed:>20}")
        return "\n".join(lines)


CAPTIONS = {
    "langevin": (
        "Left: n beta (L - L(w*)) along each chain, the learning coefficient with its error, and half the "
        "effective dimension. Right: directions that the data fix in each layer, with one standard error."
    ),
}

COLUMNS = (
    Column("parameters", "parameters", "trained parameters of the layer"),
    Column("fixed", "fixed", "directions that the data fix among them"),
)
"""What a page shows of each row."""

_SCALARS = {  # name: what it is; those with an error
    "learning_coefficient": "local learning coefficient, n beta (<L> - L(w*))",
    "half_dimension": "half the effective dimension, 1/2 sum nb h/(nb h + g)",
    "excess": "learning coefficient less half the effective dimension",
    "uncorrected": "plain mean of n beta (L - L(w*)) over the draws",
}
_CHECKS = {
    "unequilibrated": "what the plain mean lacks since the draws begin early",
    "downhill": "what the gradient that is left takes from the plain mean",
    "acceptance": "share of steps that the Metropolis test accepted",
    "r_hat": "deviation of all draws over that within half chains",
}


def _dataset(module: nn.Module, found: LocalLearningCoefficient, attrs: dict[str, Any]) -> xr.Dataset:
    """Return the dataset: a row for each layer, numbers of the whole network, and the chains."""
    import xarray as xr

    good = found.value.determined
    names, fixed, errors, counts, skipped = _rows(module, found)
    data: dict[str, Any] = {
        "parameters": ("layer", counts, _described("trained parameters of the layer")),
        "fixed": ("layer", fixed, _described("directions that the data fix in the layer")),
        "fixed_error": ("layer", errors, _described("one standard error of fixed, at most")),
    }
    estimates = (found.value, found.half_dimension, found.excess, found.uncorrected)
    for (name, what), each in zip(_SCALARS.items(), estimates, strict=True):
        known = good or name == "half_dimension"
        data[name] = ((), each.value if known else math.nan, _described(what))
        data[f"{name}_error"] = (
            (),
            each.error if known else math.nan,
            _described(f"one standard error: {what}"),
        )
    for name, what in _CHECKS.items():
        data[name] = ((), float(getattr(found, name)), _described(what))
    steps = len(found.draws)
    places = np.linspace(0, max(steps - 1, 0), min(steps, _POINTS)).round().astype(int)
    rise = _described("n beta (L - L(w*)) at single steps")
    data["rise"] = (("chain", "draw"), found.draws[places].T, rise)
    coordinates = {
        "layer": names,
        "skipped": ("layer", skipped),
        "chain": np.arange(found.chains),
        "draw": ("draw", found.first + places, {"units": "steps", "long_name": "step of the chain"}),
    }
    own = {
        "reason": found.value.reason,
        "quadratic": "" if found.quadratic is None else str(found.quadratic),
        "samples": found.samples,
        "nb": found.nb,
        "localisation": found.localisation,
        "loss": found.loss,
        "step": found.step if math.isfinite(found.step) else 0.0,
        "steps": found.steps,
        "truncated": int(found.truncated),
        "size": found.size,
    }
    return xr.Dataset(data, coordinates, attrs | own)


def _described(what: str) -> dict[str, str]:
    return {"units": "1", "long_name": what}


def _rows(
    module: nn.Module, found: LocalLearningCoefficient
) -> tuple[list[str], list[float], list[float], list[float], list[str]]:
    """Return names, fixed directions with errors, numbers of parameters, and reasons of all layers."""
    owners: dict[str, list[str]] = {}
    sizes = {name: float(p.numel()) for name, p in module.named_parameters() if p.requires_grad}
    for name in sizes:
        owners.setdefault(name.rpartition(".")[0].partition(".parametrizations")[0], []).append(name)
    first = {id(p): name for name, p in module.named_parameters()}
    names, fixed, errors, counts, skipped = [], [], [], [], []
    for path, part in module.named_modules():
        inside = "parametrizations" in path.split(".")
        if inside or (path not in owners and any(True for _ in part.children())):
            continue
        own = owners.get(path, [])
        parts = [found.fixed[name] for name in own if name in found.fixed]
        if own:
            reason = found.value.reason
        else:
            shared = [first[id(p)] for p in part.parameters() if p.requires_grad]
            reason = f"its parameters are those of {shared[0]}" if shared else "it has no trained parameters"
        names.append(path or type(part).__name__)
        fixed.append(sum(each.value for each in parts) if not reason else math.nan)
        errors.append(sum(each.error for each in parts) if not reason else math.nan)
        counts.append(sum(sizes[name] for name in own))
        skipped.append(reason)
    return names, fixed, errors, counts, skipped


def _scalar(dataset: xr.Dataset, name: str) -> Estimate:
    value = float(dataset[name])
    if math.isnan(value):
        return Estimate.not_determined(str(dataset.attrs["reason"]))
    return Estimate(value, float(dataset[f"{name}_error"]), "", int(dataset.attrs["samples"]))


def _findings(dataset: xr.Dataset) -> list[Finding]:
    """Return how many directions are fixed and whether curvature tells them, then where they lie."""
    attrs, half = dataset.attrs, _scalar(dataset, "half_dimension")
    if attrs["reason"]:
        reason = str(attrs["reason"])
        action = next((what for words, what in _WHAT_TO_DO if words in reason), "Train further.")
        checks = [f"{attrs['samples']} samples", f"{attrs['size']} parameters"]
        checks += [
            f"{name} {float(dataset[name]):.3g}"
            for name in ("acceptance", "r_hat")
            if math.isfinite(float(dataset[name]))
        ]
        sentence = f"How many directions the data fix around these weights is not determined: {reason}."
        return [Finding(sentence, "; ".join(checks), action, "note")]
    found, excess = _scalar(dataset, "learning_coefficient"), _scalar(dataset, "excess")
    counted = f"The data fix about {2 * found} of {attrs['size']} directions around these weights"
    evidence = (
        f"learning coefficient {found}, half the effective dimension {half}; n beta {attrs['nb']:.4g}, "
        f"localisation {attrs['localisation']:g}, R-hat {float(dataset['r_hat']):.3f}"
    )
    compare = "Compare checkpoints of this architecture on the same batch and with the same localisation"
    if attrs["quadratic"] == "True":
        said = [
            Finding(f"{counted}, as the curvature alone says: the basin is quadratic.", evidence, "", "ok")
        ]
    else:
        way = "more" if excess.value > 0 else "fewer"
        sentence = (
            f"{counted}, {2 * abs(excess.value):.3g} {way} than the curvature says: no quadratic basin."
        )
        said = [
            Finding(
                sentence,
                f"{evidence}; difference {excess}",
                f"{compare}; do not use curvature alone.",
                "note",
            )
        ]
    rows = Row.measured(dataset)
    if len(rows) > 1:
        most = max(rows, key=lambda row: row["fixed"])
        sentence = f"Most of the fixed directions lie in {most.text('layer')}."
        numbers = "; ".join(f"{row.text('layer')} {row.estimate('fixed')}" for row in rows[:_MOST_BARS])
        said.append(Finding(sentence, numbers, "", "ok"))
    if attrs["truncated"]:
        sentence = f"The chains of {attrs['steps']} steps are too short for the slowest mode to settle."
        lack = f"on the quadratic part {-float(dataset['unequilibrated']):.3g} was added for it"
        said.append(Finding(sentence, lack, f"Pass steps={4 * attrs['steps']} to be sure.", "note"))
    return said


def _draw_traces(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    steps = dataset["draw"].values
    for trace in dataset["rise"].values:
        axes.plot(steps, trace, color=plotting.MEASURED, lw=0.6, alpha=0.5)
    found, half = _scalar(dataset, "learning_coefficient"), _scalar(dataset, "half_dimension")
    if found.determined:
        label = "learning coefficient"
        axes.axhline(found.value, color=plotting.INK, lw=1.2, label=label)
        ends = found.value - found.error, found.value + found.error
        axes.axhspan(*ends, color=plotting.INK, alpha=0.15, lw=0)
    if half.determined:
        label = "half the effective dimension"
        axes.axhline(half.value, color=plotting.THEORY, ls="--", label=label)
    axes.set(title="Chains", xlabel="step of the chain", ylabel=r"$n\beta\,(L - L(w^*))$")
    if found.determined or half.determined:
        axes.legend(loc="best")


def _draw_layers(axes: Axes, dataset: xr.Dataset) -> None:
    from phasescope import plotting

    rows = Row.measured(dataset)[:_MOST_BARS][::-1]
    places = np.arange(len(rows))
    values, errors = [row["fixed"] for row in rows], [row["fixed_error"] for row in rows]
    axes.barh(places, values, xerr=errors, color=plotting.MEASURED, height=0.6, ecolor=plotting.INK)
    axes.set_yticks(places, [row.short_name(16) for row in rows])
    axes.set(title="Where they lie", xlabel="directions that the data fix", ylabel="layer")
