"""What the loss of a model loses with single units of a layer: each held at a constant in turn."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.noise.dfa import plain
from phasescope.noise.record import record, sequence_rows
from phasescope.noise.streams import find_streams
from phasescope.recording.forward import run
from phasescope.recording.layers import watched
from phasescope.recording.modules import as_module
from phasescope.recording.sequences import Sequences, as_sequences
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result

Array = NDArray[np.float64]
Loss = Callable[[Any], Any]
_TRACK = re.compile(r"^(?:(?P<path>.+)\.)?(?P<track>l\d+(?:_reverse)?)$")


@dataclass(frozen=True)
class Ablation(Result):
    """What single units are worth; :func:`ablation` makes it.

    Parameters
    ----------
    layer, quantity : str
        What was held: "hidden" of a recurrent layer, "residual" of a block, "output" of any other.
    replace : str
        "mean" or "zero".
    units : array of int of shape (unit,)
        Which units.
    value : array of shape (unit,)
        What each was held at.
    baseline : Estimate
        Mean loss of the whole model; its error is NaN where the loss is one number.
    change, change_error : array of shape (unit,)
        Mean loss with the unit held less that without, and its standard error over sequences, which are the
        same with and without; NaN where the loss is one number.
    """

    layer: str
    quantity: str
    replace: str
    units: NDArray[np.int64] = field(repr=False)
    value: Array = field(repr=False)
    baseline: Estimate
    change: Array = field(repr=False)
    change_error: Array = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values; None in place of NaN."""
        names = ["layer", "quantity", "replace", "baseline", "units", "value", "change", "change_error"]
        return {name: plain(getattr(self, name)) for name in names}

    def __str__(self) -> str:
        place = int(np.argmax(self.change))
        most = Estimate(float(self.change[place]), float(self.change_error[place]), "", self.baseline.n)
        head = f"{self.layer} {self.quantity}: {len(self.units)} units held at their {self.replace} in turn, "
        if self.replace == "zero":
            head = head.replace("their zero", "zero")
        head += f"loss {self.baseline}; unit {self.units[place]} matters most, {most}"
        if not np.isfinite(self.change_error).all():
            return head
        sure = int((np.abs(self.change) > 3 * self.change_error).sum())
        return f"{head}; {sure} change it by more than 3 errors"


@alone()
def ablation(
    model: nn.Module,
    batch: Any,
    loss: Loss,
    *,
    layer: str,
    units: ArrayLike | None = None,
    replace: Literal["mean", "zero"] = "mean",
) -> Ablation:
    r"""Return by how much the loss changes when single units of a layer are held at a constant.

    Parameters
    ----------
    model : nn.Module
        The model, trained or not.
    batch : tensor, packed sequence, tuple, list or mapping of them
        Sequences as :func:`record` takes them.
    loss : callable
        From the model's output for the whole batch to losses of shape (sequence,), or to one number, which
        gives no errors. Lower is better.
    layer : str
        A name that :func:`record` gives: ``lstm.l0``, ``lstm.l1_reverse``, ``mlp.2``.
    units : array of int, optional
        Which units of the layer, as they are recorded; by default all.
    replace : {"mean", "zero"}
        Whether a unit is held at its mean over sequences and time, or at zero.

    Returns
    -------
    Ablation
        The loss of the whole model, and the change with each unit.

    Raises
    ------
    InputError
        If the layer or a unit does not exist, or the loss is neither one number nor one a sequence.

    Notes
    -----
    With :math:`\ell_s` the loss of sequence s, and :math:`\ell_s^{(j)}` that with unit j held,

    .. math:: \Delta_j = \frac1S \sum_s (\ell_s^{(j)} - \ell_s), \qquad
        \sigma_j^2 = \frac{1}{S (S - 1)} \sum_s (\ell_s^{(j)} - \ell_s - \Delta_j)^2

    In ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` the hidden state is held inside the recurrence too, from the
    initial state on: the gates of all units, the layer above and the output see the constant. In any other
    layer what it returns is replaced. The mean is over all recorded time steps, padding included unless
    the batch is packed. Dropout is off, and the model is left as it was, bit for bit.

    Fails: units that can stand in for each other are each worth little, however much they are worth together.

    Cost: that of :func:`record` for the layer, and a forward pass of the whole batch for each unit. Derived
    here.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False))
    >>> model[0].weight.data = torch.eye(2)
    >>> x = torch.zeros(3, 40, 2)
    >>> x[:, ::2, 0] = 1.0
    >>> found = ablation(model, x, lambda y: ((y - x) ** 2).mean(dim=(1, 2)), layer="0")
    >>> found.change.tolist(), found.value.tolist()
    ([0.125, 0.0], [0.5, 0.0])
    """
    if replace not in ("mean", "zero"):
        raise InputError(f"replace = {replace!r}.", 'Choose "mean" or "zero".')
    model = as_module(model)
    means, quantity = _means(model, batch, layer)
    chosen = _chosen(units, layer, len(means))
    value = means[chosen] if replace == "mean" else np.zeros(len(chosen))
    if not np.isfinite(value).all():
        odd = int(chosen[~np.isfinite(value)][0])
        raise InputError(f"Unit {odd} of {layer} has values that are not finite.", "Leave it out of units.")
    inputs = as_sequences(model, batch)
    with untouched(model, derivatives=False), torch.no_grad():
        quiet(model)
        before = _losses(loss, _run(model, inputs), inputs.size)
        hold = _holder(model, inputs, layer)
        after = [
            _losses(loss, hold(int(unit), float(constant)), inputs.size)
            for unit, constant in zip(chosen, value, strict=True)
        ]
    change = np.array([np.mean(one - before) for one in after])
    error = np.array([_standard_error(one - before) for one in after])
    baseline = Estimate(float(before.mean()), _standard_error(before), "mean over sequences", len(before))
    return Ablation(layer, quantity, replace, chosen, value, baseline, change, error)


def _means(model: nn.Module, batch: Any, layer: str) -> tuple[Array, str]:
    """Return the mean of each unit of a layer over sequences and time, and the quantity that it is of."""
    try:
        recorded = record(model, batch, layers=[layer])
    except InputError as refused:
        if "layers names" not in refused.what:
            raise
        known = ", ".join(record(model, batch).layers)
        raise InputError(f"layer = {layer!r} cannot be held.", f"Choose one of: {known}.") from refused
    quantity = next((q for q in ("hidden", "residual", "output") if (layer, q) in recorded), "")
    if not quantity:
        raise InputError(
            f"layer = {layer!r} is several layers.", f"Choose one of: {', '.join(recorded.layers)}."
        )
    values = recorded[layer, quantity]
    sums = np.zeros(values.shape[1])
    steps = 0
    for length, sequence in zip(recorded.lengths, values, strict=True):
        sums += sequence[:, :length].sum(axis=1, dtype=np.float64)
        steps += min(int(length), sequence.shape[1])
    return sums / steps, quantity


def _chosen(units: ArrayLike | None, layer: str, size: int) -> NDArray[np.int64]:
    if units is None:
        return np.arange(size)
    chosen = np.atleast_1d(np.asarray(units))
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise InputError(f"units = {units!r}.", "Give a list of numbers of units.")
    if chosen.min() < 0 or chosen.max() >= size:
        raise InputError(
            f"units run from {chosen.min()} to {chosen.max()}, and {layer} has {size}.",
            f"Give numbers from 0 to {size - 1}.",
        )
    return chosen.astype(np.int64)


def _losses(loss: Loss, output: Any, size: int) -> Array:
    """Return losses of shape (sequence,), or of shape (1,) where the loss is one number."""
    found = loss(output)
    values = found.detach().double().cpu().numpy() if isinstance(found, Tensor) else np.asarray(found, float)
    if values.shape not in ((), (size,)):
        raise InputError(
            f"The loss has shape {values.shape}, for {size} sequences.",
            "Return one value for each sequence, or one number.",
        )
    return values.reshape(-1).astype(np.float64)


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _run(model: nn.Module, inputs: Sequences) -> Any:
    # On a copy of the batch, which a model may change.
    return run(model, inputs.take(0, inputs.size), inputs)


def _holder(model: nn.Module, inputs: Sequences, layer: str) -> Callable[[int, float], Any]:
    """Return a function from unit and value to the output of the model with the unit held."""
    named = _TRACK.match(layer)
    module = dict(model.named_modules()).get(named["path"] or "") if named else None
    if named and isinstance(module, nn.RNNBase):
        clamped = _Clamped(module, named["track"])

        def hold_state(unit: int, value: float) -> Any:
            # An attribute of the object goes before the method of its class; ``untouched`` takes it away.
            vars(module)["forward"] = clamped.forward(unit, value)
            return _run(model, inputs)

        return hold_state
    streams = find_streams(model, sequence_rows(model, inputs), inputs.steps, False)
    rows = [row for row in streams.rows if row.name == layer or row.path == layer in streams.stepped]
    if not rows:
        raise InputError(
            f"layer = {layer!r} is one call of a recurrent module among several.",
            "Pass a model that calls it once.",
        )

    def hold_output(unit: int, value: float) -> Any:
        with watched(model, rows, lambda row, args, output: streams.replaced(row, output, unit, value)):
            return _run(model, inputs)

    return hold_output


class _Clamped:
    """A stand-in for a recurrent module, whose ``forward`` keeps one unit of one layer at a value.

    The module itself never changes. `track` is layer and direction as torch names weights: ``l1_reverse``.

    Notes
    -----
    A state h_j that is constant enters the gates of its own layer as ``U[:, j] h_j`` and those of the next
    layer as ``W[:, j] h_j``: both columns go into the biases, exactly. What leaves the module, outputs and
    last states, holds the value as well. The cell state of the unit, which then acts on nothing, is left.
    """

    def __init__(self, module: nn.RNNBase, track: str) -> None:
        kind: Any = {"LSTM": nn.LSTM, "GRU": nn.GRU}.get(module.mode, nn.RNN)
        if type(module).forward is not kind.forward:
            raise InputError(
                f"{type(module).__name__} has a forward pass of its own.",
                f"Use nn.{kind.__name__} itself, or a module around it.",
            )
        options: dict[str, Any] = {"proj_size": module.proj_size} if module.mode == "LSTM" else {}
        if kind is nn.RNN:
            options["nonlinearity"] = module.mode.removeprefix("RNN_").lower()
        self.module = module
        self.stand_in: nn.RNNBase = kind(
            module.input_size,
            module.hidden_size,
            num_layers=module.num_layers,
            batch_first=module.batch_first,
            bidirectional=module.bidirectional,
            device=module.weight_ih_l0.device,
            dtype=module.weight_ih_l0.dtype,
            **options,
        ).eval()
        self.layer = int(track.removesuffix("_reverse").removeprefix("l"))
        self.reverse = track.endswith("_reverse")
        self.track = track
        self.width = module.proj_size or module.hidden_size

    def forward(self, unit: int, value: float) -> Callable[..., Any]:
        """Return the forward pass with a unit of the track at a value, initial state included.

        It holds until the next call.
        """
        for name, parameter in self.stand_in.named_parameters():
            own = getattr(self.module, name, None)
            parameter.data.copy_(own.data) if own is not None else parameter.data.zero_()
        self._hold(self.track, "hh", unit, value)
        place = unit + self.reverse * self.width
        last = self.layer == self.module.num_layers - 1
        if not last:
            for direction in ("", "_reverse")[: 1 + self.module.bidirectional]:
                self._hold(f"l{self.layer + 1}{direction}", "ih", place, value)
        row = self.layer * (1 + self.module.bidirectional) + self.reverse

        def run(*args: Any, **kwargs: Any) -> Any:
            output, state = self.stand_in(*args, **kwargs)
            states = tuple(part.clone() for part in (state if isinstance(state, tuple) else (state,)))
            states[0][row, ..., unit] = value
            if last:
                values = output.data if isinstance(output, PackedSequence) else output
                values[..., place] = value
            return output, states if isinstance(state, tuple) else states[0]

        return run

    def _hold(self, suffix: str, which: str, column: int, value: float) -> None:
        weight: Tensor = getattr(self.stand_in, f"weight_{which}_{suffix}").data
        bias: Tensor = getattr(self.stand_in, f"bias_{which}_{suffix}").data
        torch.add(bias, weight[:, column], alpha=value, out=bias)
        weight[:, column] = 0.0
