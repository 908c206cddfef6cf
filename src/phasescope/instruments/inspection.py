"""All instruments that apply to a model, side by side."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from phasescope.citations import citation_keys
from phasescope.errors import InputError, NothingToMeasureError, PhasescopeError
from phasescope.instruments.activation_noise import ActivationNoise
from phasescope.instruments.contract import Finding, Instrument, importance
from phasescope.instruments.edges import RemovableEdges
from phasescope.instruments.hysteresis import Hysteresis
from phasescope.instruments.langevin import LangevinProbe
from phasescope.instruments.lazy import LazyTraining
from phasescope.instruments.named import Choice, choose
from phasescope.instruments.propagation import SignalPropagation
from phasescope.instruments.spectra import JacobianSpectra
from phasescope.instruments.symptoms import Symptoms
from phasescope.instruments.synapses import SynapticEnsembles
from phasescope.instruments.through_time import GradientThroughTime
from phasescope.instruments.tokens import TokensAndAttention
from phasescope.instruments.training import TrainingStability
from phasescope.instruments.training.given import first_of
from phasescope.instruments.weights import WeightStructure
from phasescope.recording.forward import in_users_words
from phasescope.recording.memory import in_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone
from phasescope.results import Result, columns_of_dataset
from phasescope.signal.table import wrapped

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor

    from phasescope.instruments.synapses import Asked
    from phasescope.training.maps import Optimizer
    from phasescope.training.objective import Loss

VERSION = 1
_OURS: tuple[type[Instrument], ...] = (
    GradientThroughTime,
    SignalPropagation,
    Symptoms,
    JacobianSpectra,
    WeightStructure,
    TokensAndAttention,
    ActivationNoise,
    TrainingStability,
    RemovableEdges,
    LangevinProbe,
    LazyTraining,
    Hysteresis,
    SynapticEnsembles,
)
_NEEDS = {
    RemovableEdges.name: "give loss, and data with inputs and targets",
    LangevinProbe.name: "give loss, and data with inputs and targets",
    LazyTraining.name: "give the model before training, or a checkpoint of it, as initial",
    SynapticEnsembles.name: "give a property of the output",
}
_PROBED = 20_000  # parameters up to which Langevin chains take seconds rather than minutes


@dataclass(frozen=True)
class Inspection(Result):
    """What the instruments found out about one model.

    Parameters
    ----------
    label : str
        Name of the model for people: the user's own, or the class name.
    model : str
        Class name of the model.
    datasets : dict of str to xr.Dataset
        The measurement of each instrument that applied, by the instrument's name.
    findings : list of Finding
        What the measurements say, the instruments in the order in which they ran.
    skipped : dict of str to str
        Instruments that do not apply, each with the reason.
    tables : dict of str to str
        The measurements as plain text tables, where the instrument prints one.
    seconds : float
        Wall time.
    instruments : dict of str to Instrument
        Those that measured, by name; they draw the figures.
    failed : dict of str to str
        Instruments that began to measure and raised an error, each with the error.
    """

    label: str
    model: str
    datasets: dict[str, xr.Dataset]
    findings: list[Finding]
    skipped: dict[str, str]
    tables: dict[str, str]
    seconds: float
    instruments: dict[str, Instrument] = field(default_factory=dict, repr=False)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The one line a person can act on: the most important finding and the first thing to do about it.

        Warnings and problems come before what is well; among them what is broken, an instrument that failed
        included, then the phase, then dead units, then the rest.
        """
        failed = [
            Finding(f"The instrument {name} failed: {_first_line(reason)}.", "", "", "problem", "broken")
            for name, reason in self.failed.items()
        ]
        if not self.findings and not failed:
            return "Nothing was measured."
        worst = min([*self.findings, *failed], key=importance)
        if not worst.action:
            return worst.sentence
        first = worst.action.split(". ")[0].rstrip(".")
        return f"{worst.sentence.rstrip('.')}; {first[0].lower()}{first[1:]}."

    def plot(self, instrument: str | None = None) -> Figure:
        """Return the first figure of one instrument.

        Parameters
        ----------
        instrument : str, optional
            Its name; by default the first that draws one, which is signal propagation where it applies.

        Raises
        ------
        InputError
            If it did not measure, or draws nothing.
        """
        names = sorted(self.instruments, key=lambda name: name != SignalPropagation.name)
        if instrument is not None and instrument not in names:
            raise InputError(
                f"The instrument {instrument!r} has not measured {self.label}.",
                f"Name one of {', '.join(names) or 'those that did'}.",
            )
        for name in names if instrument is None else [instrument]:
            for drawn in self.figures_of(name).values():
                return drawn
        raise InputError(
            f"{instrument or 'No instrument'} draws nothing of {self.label}.", "Print it instead."
        )

    def to_dataframe(self, instrument: str | None = None) -> pd.DataFrame:
        """Return the numbers as a table of pandas.

        Parameters
        ----------
        instrument : str, optional
            Its name. The table then has one row a layer (or what else it measures along) and one column a
            number. Without it there is one row for each finding: instrument, severity, sentence, evidence
            and action.

        Raises
        ------
        InputError
            If it did not measure.
        """
        import pandas as pd

        if instrument is None:
            told = [
                {"instrument": name} | finding.to_dict()
                for name in self.instruments
                for finding in self.findings_of(name)
            ]
            return pd.DataFrame(told, columns=["instrument", *(f.name for f in fields(Finding))])
        if instrument not in self.datasets:
            raise InputError(
                f"The instrument {instrument!r} has not measured {self.label}.",
                f"Name one of {', '.join(self.datasets)}.",
            )
        return pd.DataFrame(columns_of_dataset(self.datasets[instrument]))

    def figures(self) -> dict[str, dict[str, Figure]]:
        """Return the figures of each instrument that measured, by the instrument's name and their own."""
        return {name: self.figures_of(name) for name in self.instruments}

    def figures_of(self, name: str) -> dict[str, Figure]:
        """Return the figures of one instrument that measured, by their names.

        Parameters
        ----------
        name : str
            Of the instrument.
        """
        return self.instruments[name].figures(self.datasets[name])

    def findings_of(self, name: str) -> list[Finding]:
        """Return the findings of one instrument that measured.

        Parameters
        ----------
        name : str
            Of the instrument.
        """
        return self.instruments[name].findings(self.datasets[name])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values, with a schema ``version``; ``None`` in place of ``nan``."""
        return {
            "version": VERSION,
            "label": self.label,
            "model": self.model,
            "sentence": self.sentence,
            "seconds": self.seconds,
            "findings": [finding.to_dict() for finding in self.findings],
            "skipped": dict(self.skipped),
            "failed": dict(self.failed),
            "instruments": {name: _dataset_to_dict(data) for name, data in self.datasets.items()},
        }

    def _values(self) -> dict[str, Any]:
        return super()._values() | {"instruments": list(self.instruments)}

    @classmethod
    def _of_values(cls, values: dict[str, Any]) -> Inspection:
        """Return the inspection with new instruments, which draw what theirs has measured."""
        ours = {kind.name: kind for kind in _OURS}
        known = {name: ours[name]() for name in values["instruments"] if name in ours}
        return cls(**(values | {"instruments": known}))

    def __str__(self) -> str:
        heading = [] if self.label == self.model else [self.label]
        lines = [*heading, "\n\n".join(self.tables.values()), ""]
        left_out = [f"{name} was skipped: {reason}" for name, reason in self.skipped.items()]
        left_out += [f"{name} failed: {reason}" for name, reason in self.failed.items()]
        lines += [line for text in left_out for line in wrapped(text)]
        lines += [""] if left_out else []
        return "\n".join([*lines, self.sentence])


def inspect(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    loss: Loss | None = None,
    data: Any = None,
    optimizer: Optimizer | None = None,
    property: Asked | Mapping[str, Asked] | None = None,
    initial: nn.Module | Mapping[str, Tensor] | None = None,
    instruments: Sequence[Instrument | str] | None = None,
    seed: int = 0,
    max_memory: float | str | None = None,
    label: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Inspection:
    """Return what all instruments that apply find out about a model on a batch of its real input.

    The model, the batch and every global state are left bit-identical. An instrument that fails does not stop
    the others: its error is kept in ``failed``.

    Parameters
    ----------
    model : nn.Module or callable
        The user's model, at initialisation or trained, in train or eval mode.
    batch : tensor, sequence or mapping of tensors
        What the model is called with; a tuple gives positional arguments, a mapping keyword arguments. The
        first axis of each tensor counts the inputs; 16 to 256 of them are enough. None takes the inputs of
        the first batch of `data`.
    loss : callable, optional
        The loss of training, as in :func:`phasescope.training.objective`. With it, or with `data`, the
        stability of training is measured too, and the gradient of the layers is the real one where the loss
        is of the output alone or `batch` is that of `data`.
    data : batch, list of batches or iterable, optional
        What training goes over, inputs and targets; `batch` by default.
    optimizer : torch.optim.Optimizer, callable or float, optional
        The optimiser, a function that makes one from a list of parameters, or the rate of gradient descent.
    property : Property, callable, or mapping of str to these, optional
        A number read off the output, as for :class:`phasescope.instruments.SynapticEnsembles`. With it, the
        weights that carry it are found, too.
    initial : nn.Module or mapping of str to Tensor, optional
        The model before training, or its state dict. With it, whether training moved the features is
        measured, too.
    instruments : sequence of Instrument or str, optional
        Which ones, in place of all of phasescope's that apply. A name stands for one of phasescope's, which
        then uses `loss`, `data`, `optimizer`, `property` and `initial`, or for the one that an installed
        package brings under the entry point ``phasescope.instruments``. Naming it imports that package;
        without a name none is imported. Where two have the same name, phasescope's own is taken, and
        ``skipped`` says so.
    seed : int
        Seed of every random choice.
    max_memory : float or str, optional
        What a measurement may take beside the model and the batch: bytes, or text such as "512MB".
    label : str, optional
        Name of the model for people; its class name by default.
    progress : callable, optional
        Called with what is being done and the fraction that is done, from 0 to 1.

    Raises
    ------
    InputError
        If no instrument could measure the model; the message gives each reason. If a name in `instruments` is
        that of none; the message lists those that there are.

    Notes
    -----
    Signal propagation costs about 20 forward-backward passes of the same batch. Of recurrent layers, memory
    and gradient through time cost a few forward passes. Where there is attention, tokens and heads cost 10 to
    25 forward passes. The noise of activations is measured for sequence models with sequences of at least 160
    time steps, in 5 to 40 s on one core. The stability of training costs some 600 gradients of a batch of
    `data`. Spectra cost 10 to 300 passes, and the structure of the weights 20 spanning trees of each layer:
    seconds. With loss and targets each residual branch and head is removed once, and Langevin chains of
    perceptrons of up to 20,000 parameters take some 10,000 gradients. The weights behind a property cost some
    100 passes forward and backward.
    """
    start = time.perf_counter()
    limit = None if max_memory is None else in_bytes(max_memory)
    if isinstance(model, type):
        as_module(model)  # says how to make one
    inputs, targets = None, None
    if data is not None and (batch is None or loss is not None):
        try:
            inputs, targets = first_of(data)
        except InputError:
            if batch is None:
                raise  # else the stability of training says what is wrong with the data
    batch = inputs if batch is None else batch
    # Of inputs beside the data no targets are known.
    known = batch is inputs and targets is not None
    of_output = (loss, targets) if data is None or known else (None, None)
    ours: list[Instrument] = [
        GradientThroughTime(),
        SignalPropagation(*of_output),
        Symptoms(*of_output),
        JacobianSpectra(samples=4),
        WeightStructure(shuffles=19),
        TokensAndAttention(),
        ActivationNoise(),
        TrainingStability(loss, data, optimizer),
    ]
    skipped: dict[str, str] = {}
    instruments = [instruments] if isinstance(instruments, str) else instruments
    named = {each for each in instruments or () if isinstance(each, str)}
    if loss is not None and targets is not None:
        ours.append(RemovableEdges(loss, targets))
        slow = _slow_to_probe(model)
        if not slow or LangevinProbe.name in named:
            ours.append(LangevinProbe(loss, targets))
        elif instruments is None:
            skipped[LangevinProbe.name] = (
                f"chains of {slow} take minutes: ask for them with instruments=[LangevinProbe(loss, targets)]"
            )
    if initial is not None:
        ours.append(LazyTraining(initial))  # a loss says more only with the rate of the training
    if property is not None:
        ours.append(SynapticEnsembles(property))
    choice = Choice(ours) if instruments is None else choose(instruments, [*ours, Hysteresis()], _NEEDS)
    chosen = choice.instruments
    skipped |= choice.skipped
    model_name = _model_name(model)
    datasets: dict[str, xr.Dataset] = {}
    findings: list[Finding] = []
    tables: dict[str, str] = {}
    failed = {name: str(error) for name, error in choice.failed.items()}
    errors: list[Exception] = [*choice.failed.values()]
    used: dict[str, Instrument] = {}
    for position, instrument in enumerate(chosen):
        if progress is not None:
            progress(instrument.title, position / len(chosen))
        own = any(instrument is each for each in ours)
        of_data = own and isinstance(instrument, LangevinProbe | RemovableEdges)
        given = inputs if of_data else batch
        try:
            with alone():
                reason = instrument.applies(model, given)
                if reason:
                    skipped[instrument.name] = reason
                    continue
                dataset = instrument.measure(model, given, seed=seed, max_memory=limit)
            found = instrument.findings(dataset)
            table = instrument.table(dataset)
            if instrument.name in choice.origins:
                _hold(instrument, dataset, found, table)
            # A mistake that is named comes before what it leads to.
            findings = [*found, *findings] if isinstance(instrument, Symptoms) else [*findings, *found]
            tables[instrument.name] = table
            datasets[instrument.name] = dataset
            used[instrument.name] = instrument
        except NothingToMeasureError as nothing:  # known only once the model has run
            skipped[instrument.name] = str(nothing)
            errors.append(nothing)
        except Exception as error:  # one instrument's failure must not cost the others' results
            known = isinstance(error, PhasescopeError)
            said = str(error) if known else in_users_words(error)
            origin = choice.origins.get(instrument.name)
            failed[instrument.name] = said if origin is None else f"{origin}: {said}"
            errors.append(error)
    if not datasets:
        named_by_package = bool(choice.origins or choice.failed)
        if errors and (instruments is None or (len(chosen) == 1 and not named_by_package)):
            raise errors[0]
        reasons = "; ".join(f"{n}: {why.rstrip('.')}" for n, why in (skipped | failed).items())
        reasons = reasons or "none was given"
        cause = errors[0] if errors else None
        raise InputError(f"No instrument could measure {model_name}: {reasons}.") from cause
    if any(finding.severity == "problem" and finding.kind == "broken" for finding in findings):
        # What is broken has no phase to be praised for.
        findings = [f for f in findings if (f.severity, f.kind) != ("ok", "phase")]
    if progress is not None:
        progress("done", 1.0)
    return Inspection(
        label=label or model_name,
        model=model_name,
        datasets=datasets,
        findings=findings,
        skipped=skipped,
        tables=tables,
        seconds=time.perf_counter() - start,
        instruments=used,
        failed=failed,
    )


def _hold(instrument: Instrument, dataset: xr.Dataset, findings: Sequence[Finding], table: str) -> None:
    """Raise where what another package returned would break the page that shows it."""
    if not {"layer", "skipped"} <= set(dataset.coords) or dataset.attrs.get("instrument") != instrument.name:
        raise TypeError("measure() gave no dataset of this instrument with the coordinates layer and skipped")
    for key, kind in (("notes", list), ("versions", dict)):
        if not isinstance(json.loads(dataset.attrs[key]), kind):
            raise TypeError(f"the attribute {key} of the dataset is not the JSON text of a {kind.__name__}")
    if not findings or not all(isinstance(finding, Finding) for finding in findings):
        raise TypeError("findings() gave no list of Finding")
    if not isinstance(table, str):
        raise TypeError(f"table() gave {type(table).__name__}, not text")
    citation_keys(dataset)
    json.dumps(_dataset_to_dict(dataset), allow_nan=False)
    if not all(hasattr(figure, "savefig") for figure in instrument.figures(dataset).values()):
        raise TypeError("figures() gave no matplotlib figures")


def _slow_to_probe(model: object) -> str:
    """Return what makes thousands of gradients of a model take minutes, or ""."""
    if not isinstance(model, nn.Module):
        return ""
    size = sum(p.numel() for p in model.parameters())
    if size > _PROBED:
        return f"{size:,} parameters"
    costly = (nn.modules.conv._ConvNd, nn.RNNBase, nn.MultiheadAttention)
    return next((type(part).__name__ for part in model.modules() if isinstance(part, costly)), "")


def _first_line(reason: str) -> str:
    return reason.strip().splitlines()[0].rstrip(".") if reason.strip() else "no reason was given"


def _model_name(model: object) -> str:
    own = getattr(model, "__name__", None)
    return own if isinstance(own, str) else type(model).__name__


def _dataset_to_dict(dataset: xr.Dataset) -> dict[str, Any]:
    return {
        "attrs": {key: _plain(value) for key, value in dataset.attrs.items()},
        "coords": {str(name): _plain(coord.values) for name, coord in dataset.coords.items()},
        "variables": {
            str(name): {
                "units": variable.attrs.get("units", ""),
                "long_name": variable.attrs.get("long_name", ""),
                "dims": list(variable.dims),
                "values": _plain(variable.values),
            }
            for name, variable in dataset.data_vars.items()
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
