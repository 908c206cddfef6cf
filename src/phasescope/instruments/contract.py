"""What every instrument promises.

A third party adds an instrument in one file::

    import torch, xarray as xr
    from phasescope.instruments import Finding, Instrument

    class WeightNorms(Instrument):
        name = "weight_norms"
        title = "Norm of every weight"

        def applies(self, model, batch):
            return "" if list(model.parameters()) else "it has no parameters"

        def measure(self, model, batch, *, seed=0, max_memory=None):
            ...    # observe inside phasescope.recording.untouched(model), return an xarray Dataset

        def findings(self, dataset):
            return [Finding(sentence, evidence, action, "ok")]

        def figures(self, dataset):
            return {"norms": figure}    # matplotlib.figure.Figure objects, made without pyplot

and holds it to the same promises as the instruments of phasescope with
``phasescope.testing.check_instrument(WeightNorms())``. ``phasescope.inspect(model, batch,
instruments=[WeightNorms()])`` then runs it. A package that names the class under the entry point
``phasescope.instruments`` lets its users run it by name: ``instruments=["weight_norms"]``.

The dataset has one dimension that runs over *all* layers of the model, ``layer``, with the coordinates
``layer`` (unique names, module paths) and ``skipped`` (why a row was not measured; "" where it was). A value
that does not exist is NaN. Each variable has ``units`` and ``long_name``; ``X_error`` is one standard error
of ``X``. The attributes are strings and numbers (structured ones as JSON text), among them ``instrument``,
``model``, ``inputs``, ``seed``, ``dtype``, ``device``, ``versions``, ``mode``, ``notes`` and ``citations``
(keys of ``phasescope.citations.BIBTEX``, separated by spaces; ``phasescope.citations.register`` adds one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from phasescope.results import kept

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import nn

Severity = Literal["ok", "note", "warning", "problem"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Kind = Literal["broken", "phase", "units", "note"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@kept
@dataclass(frozen=True)
class Finding:
    """One thing that a measurement says: a sentence, the numbers behind it and what to do.

    Parameters
    ----------
    sentence : str
        One sentence in plain English that ends with a full stop.
    evidence : str
        The numbers behind it, with their errors.
    action : str
        What to do, with numbers to copy; empty only where nothing needs to be done.
    severity : {"ok", "note", "warning", "problem"}
        "problem": the network cannot be trained, or its output is wrong; "warning": it is likely to train
        badly; "note": worth knowing; "ok": healthy.
    kind : {"broken", "phase", "units", "note"}
        What it is about: "broken": NaN, overflow, divergence, or no signal at all; "phase": growth or decay
        over the depth, or over time; "units": units that are dead or saturated; "note": anything else.
        Warnings and problems are told in this order.

    Raises
    ------
    ValueError
        If `severity` or `kind` is none of the four.
    """

    sentence: str
    evidence: str
    action: str
    severity: Severity
    kind: Kind = "note"

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity {self.severity!r} is none of {', '.join(SEVERITIES)}")
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is none of {', '.join(KINDS)}")

    def to_dict(self) -> dict[str, str]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [self.sentence, f"({self.evidence})" if self.evidence else "", self.action]
        return " ".join(part for part in parts if part)


def importance(finding: Finding) -> tuple[bool, int, int]:
    """Return what findings are sorted by, the most important first.

    Warnings and problems come before notes and what is well. Among them what is broken comes first, then the
    phase, then the units, then anything else; within one kind a problem comes before a warning. Findings that
    are equal in all this keep their order.
    """
    rank = SEVERITIES.index(finding.severity)
    severe = rank >= SEVERITIES.index("warning")
    return not severe, KINDS.index(finding.kind), -rank if severe else 0


class Instrument(ABC):
    """Measures one thing about a user's model on a batch of its real input.

    An instrument keeps no state: the same model, batch and seed give the same dataset, bit for bit, and the
    findings and figures come from the dataset alone, so that a stored one can be read again later.

    Attributes
    ----------
    name : str
        Key under which ``inspect`` files the result: lower case letters, digits and underscores.
    title : str
        Heading for people.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        """Return "" if the instrument can measure this model, else the reason why not.

        Parameters
        ----------
        model : nn.Module or callable
            The user's model. It must not be run or changed here.
        batch : tensor, sequence or mapping of tensors
            What the model is called with.
        """

    @abstractmethod
    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        """Return the measurement; model, batch and every global state are left bit-identical.

        Parameters
        ----------
        model : nn.Module or callable
            The user's model.
        batch : tensor, sequence or mapping of tensors
            What the model is called with.
        seed : int
            Seed of every random choice.
        max_memory : int or None
            Bytes that the measurement may take beside the model and the batch.

        Raises
        ------
        phasescope.errors.InputError
            If the model or the batch cannot be used; the message says why and what to change.
        phasescope.errors.MemoryLimitError
            If `max_memory` is too small for even the smallest piece of the work.
        """

    @abstractmethod
    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        """Return what the dataset says, the most important first; never empty.

        Parameters
        ----------
        dataset : xr.Dataset
            What `measure` returned, now or in an earlier session.
        """

    @abstractmethod
    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        """Return matplotlib figures by name, the main one first, drawn without pyplot.

        Parameters
        ----------
        dataset : xr.Dataset
            What `measure` returned, now or in an earlier session.
        """

    def table(self, dataset: xr.Dataset) -> str:
        """Return the dataset as a plain text table of at most 100 columns; "" if the instrument has none.

        Parameters
        ----------
        dataset : xr.Dataset
            What `measure` returned, now or in an earlier session.
        """
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.title}>"
