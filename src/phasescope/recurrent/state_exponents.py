"""How a small change of a recurrent state grows through time, and the gradient backwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.batch import Batch
from phasescope.recording.forward import run
from phasescope.recording.layers import observed
from phasescope.recording.memory import default_limit, in_bytes, peak_bytes
from phasescope.recording.modules import as_module
from phasescope.recording.recurrent import OPERATORS, Linearised, RecurrentCall, State, one_thread
from phasescope.recording.sequences import Sequences, as_sequences, real_lengths
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result

Array = NDArray[np.float64]

_PROBES = 2  # random tangents and random cotangents of each sequence
_FORWARD, _BACKWARD = 1, 2  # streams of random numbers
_FEWEST = 4  # steps behind the transient that an exponent needs
_BLOCKS = 8  # parts of a single sequence, for the error
_TOLERANCE = 0.5 * math.log(10.0)  # a squared norm that changes by up to a factor 10 stays of order one
_FAINT = math.log(100.0)  # a gradient that has fallen by this is taken to be gone
_MARGIN = 0.8  # share of the memory that chunks are planned for
_CELLS = {f"{operator}_cell": operator for operator in OPERATORS}


@dataclass(frozen=True)
class LayerInTime(Result):
    """What the state of one recurrent layer and direction does in time.

    Parameters
    ----------
    name : str
        Path of the module and, for ``nn.RNN``, ``nn.GRU`` and ``nn.LSTM``, the layer as torch names its
        weights: ``lstm.l0``, ``lstm.l0_reverse``. A further series of calls adds ``" (call 2)"``.
    module : str
        Path of the module; empty for the model itself.
    kind : str
        Class name of the module.
    operator : str
        "lstm", "gru", "rnn_tanh" or "rnn_relu".
    units : int
        Number of units, before a projection of the hidden state.
    steps : int
        Time steps: the median over the sequences.
    exponent : Estimate
        Largest exponent of the state in one time step, a natural logarithm.
    memory : Estimate
        Time steps after which a perturbation has fallen by a factor e.
    reach : Estimate
        Time steps after which the gradient of the last step has fallen by a factor 100, going backwards.
    phase : str
        "vanishing", "critical", "chaotic" or "not determined".
    reason : str
        The numbers behind the phase, in one sentence.
    keep : float
        Mean forget gate of an LSTM or update gate of a GRU; NaN for others.
    perturbation, perturbation_error : array of shape (steps + 1,)
        Mean over the sequences of the logarithm of the norm of a random perturbation, against the number of
        steps since, and its standard error.
    gradient, gradient_error : array of shape (steps + 1,)
        The same of a random gradient with respect to the last state, against the number of steps before;
        twice it belongs to the squared norm.
    """

    name: str
    module: str
    kind: str
    operator: str
    units: int
    steps: int
    exponent: Estimate
    memory: Estimate
    reach: Estimate
    phase: str
    reason: str
    keep: float
    perturbation: Array = field(repr=False)
    perturbation_error: Array = field(repr=False)
    gradient: Array = field(repr=False)
    gradient_error: Array = field(repr=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}, {self.units} units): {self.phase}, {self.reason}"


@dataclass(frozen=True)
class ThroughTime(Result):
    """What ``through_time`` measured.

    Parameters
    ----------
    layers : tuple of LayerInTime
        Recurrent layers and directions, in the order of the calls.
    skipped : dict of str to str
        Recurrent modules that were not measured, by their paths, each with the reason.
    sequences : int
        Number of sequences.
    notes : tuple of str
        What was changed or guessed.
    citations : tuple of str
        Keys of ``phasescope.citations.BIBTEX``.
    """

    layers: tuple[LayerInTime, ...]
    skipped: dict[str, str]
    sequences: int
    notes: tuple[str, ...]
    citations: tuple[str, ...] = ("pascanu2013", "vogt2022", "engelken2023")

    def __str__(self) -> str:
        left_out = [f"{name} was skipped: {reason}" for name, reason in self.skipped.items()]
        return "\n".join([*map(str, self.layers), *left_out])


@alone()
def through_time(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    seed: int = 0,
    max_memory: int | float | str | None = None,
) -> ThroughTime:
    r"""Return how perturbations of each recurrent state grow in time, and gradients backwards in time.

    The state :math:`s_t` of a layer is its hidden state, for an LSTM with its cell state. On the layer's own
    input :math:`x_t`, as the model makes it from the batch, it follows :math:`s_t = F(s_{t-1}, x_t)`. With
    :math:`J_t = \partial s_t / \partial s_{t-1}` and random :math:`u_0`, :math:`v_T`,

    - a perturbation is :math:`u_t = J_t u_{t-1}`, and the state exponent is the mean of
      :math:`\ln(|u_t| / |u_{t-1}|)` over time steps and sequences. The first quarter of each sequence is left
      out, in which u turns into the direction that grows fastest;
    - a gradient is :math:`v_{t-1} = J_t^\top v_t`, where :math:`v_T` is a random gradient with respect to
      the last state. Its decay tells how far back training can assign credit.

    Layers are taken one by one: the input of a layer is held, so that paths through other layers do not
    count. An exponent below 0 means that the state forgets its start, above 0 that it is chaotic.

    Parameters
    ----------
    model : nn.Module or callable
        The model, trained or not, with ``nn.RNN``, ``nn.GRU``, ``nn.LSTM`` or their cells. A cell that is
        called step by step, or a module that is called piece by piece, is one series as long as each call
        takes the state that the call before returned.
    batch : tensor, packed sequence, tuple, list or mapping of them
        Sequences as the model takes them. Real ones: the exponent depends on them.
    seed : int
        Seed of the random perturbations and gradients.
    max_memory : int or str, optional
        Memory that the measurement may take beyond model and batch, in bytes or as "512MB"; by default twice
        the weights, or 1 GB if that is more. Sequences are run a few at a time where that is needed.

    Returns
    -------
    ThroughTime
        Exponent, memory, reach of the gradient, both curves and the phase, for each layer and direction.

    Raises
    ------
    InputError
        If the batch has no time axis or is not accepted, or the model calls no recurrent operator of torch.
    MemoryLimitError
        If not even one sequence fits into `max_memory`.

    Notes
    -----
    The phase is *critical* if the squared norm changes by at most a factor 10 over the sequence, error
    included; *vanishing* or *chaotic* if it changes by more and the exponent is two errors away from 0; else
    *not determined*. The error is one standard error over the sequences (of one sequence, over 8 parts in
    time), and with it half the difference between the two halves of the window. An exponent is not determined
    below 6 steps, and where a perturbation dies out exactly, as in ReLU networks without active units.

    Dropout is off; the model is left as it was, bit for bit. Steps of reversed directions count from the end
    of the sequence. Equal steps at the end of sequences that are not packed are taken as padding. Cost: one
    forward pass of the model, one more of each recurrent layer, and two matrix products of the state with
    the recurrent weights for each time step; nothing is differentiated twice.

    References
    ----------
    Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063 (gradient through time); Vogt et al. 2022,
    doi:10.3389/fams.2022.818799, and Engelken, Wolf and Abbott 2023, arXiv:2006.02427 (exponents of
    recurrent networks).

    Examples
    --------
    >>> import torch
    >>> lstm = torch.nn.LSTM(3, 8, batch_first=True)
    >>> found = through_time(lstm, torch.randn(16, 100, 3))
    >>> found.layers[0].phase
    'vanishing'
    """
    if seed < 0:
        raise InputError(f"seed is {seed}.", "Give a whole number from 0.")
    module = as_module(model)
    inputs = as_sequences(module, batch)
    limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
    lengths, guessed = real_lengths(inputs)
    notes = [*inputs.notes, *([guessed] if guessed else [])]
    if any(part.training for part in module.modules()):
        notes.append("the model was put in evaluation mode")
    found: dict[str, list[_Response]] = {}
    skipped: dict[str, str] = {}
    with untouched(module, derivatives=False), torch.no_grad():
        quiet(module)
        work = _Work(module, inputs, lengths, seed)
        chunk = work.chunk(limit)
        for start in range(0, inputs.size, chunk):
            responses, left_out = work.run(start, min(start + chunk, inputs.size))
            skipped |= left_out
            for response in responses:
                found.setdefault(response.name, []).append(response)
    if not found and not skipped:
        raise InputError(
            f"{type(module).__name__} calls no recurrent operator of torch.",
            "Pass a model with nn.RNN, nn.GRU, nn.LSTM or their cells.",
        )
    layers = tuple(_layer(parts) for parts in found.values())
    return ThroughTime(layers, skipped, inputs.size, tuple(notes))


@dataclass(frozen=True)
class _Response:
    """The response of one layer and direction on some sequences."""

    name: str
    module: str
    kind: str
    operator: str
    units: int
    lengths: NDArray[np.int64]  # (sequence,)
    growth: Array  # (lag, sequence): change of ln |u| in a step; NaN beyond the end
    back: Array  # the same of v, backwards from the last step
    keep: Array  # (sequence,)
    finite: bool  # whether all states are


class _Work:
    """A model and its sequences."""

    def __init__(self, module: nn.Module, inputs: Sequences, lengths: NDArray[np.int64], seed: int) -> None:
        self.module, self.inputs, self.lengths, self.seed = module, inputs, lengths, seed

    def chunk(self, limit: float) -> int:
        """Return how many sequences can be run at once, from a pass of one or two."""
        pair = min(2, self.inputs.size)
        seen: list[_Watch] = []
        peak = peak_bytes(self.module, lambda: seen.append(self._watched(0, pair))) / pair
        peak += max((one.bytes() for known in seen[0].series.values() for one in known), default=0) / pair
        if peak > limit:
            raise MemoryLimitError(
                f"One sequence takes {peak / 1e6:.1f} MB, more than max_memory = {limit / 1e6:.1f} MB. "
                "Raise max_memory, or pass shorter sequences."
            )
        return max(1, int(_MARGIN * limit / max(peak, 1.0)))

    def _watched(self, start: int, stop: int) -> _Watch:
        part: Batch = self.inputs.take(start, stop)
        watch = _Watch()
        with watch.paths(self.module), watch:
            run(self.module, part, self.inputs)
        return watch

    def run(self, start: int, stop: int) -> tuple[list[_Response], dict[str, str]]:
        """Return the responses on sequences `start` to `stop`, and what was skipped."""
        watch = self._watched(start, stop)
        whole = stop - start == self.inputs.size
        responses: list[_Response] = []
        skipped = {path: reason for path, reason in watch.skipped.items() if path not in watch.series}
        for path, series in watch.series.items():
            steady = [one for one in series if len(one.whole().x) > 1]
            if not steady:
                skipped[path] = (
                    "its state is changed by the model between two steps, or it was called for one step"
                )
            for number, one in enumerate(steady, start=1):
                call = one.whole()
                if not whole and call.x.shape[1] != stop - start:
                    raise InputError(
                        f"{path or type(self.module).__name__} sees {call.x.shape[1]} sequences where "
                        f"{stop - start} were passed.",
                        "Raise max_memory so that all sequences are run at once, or put them along axis 0.",
                    )
                suffix = f" (call {number})" if number > 1 else ""
                for response in self._responses(one, call, start, stop, suffix):
                    if not response.finite:
                        skipped[response.name] = "its states are NaN or infinite"
                    else:
                        responses.append(response)
        return responses, skipped

    def _responses(
        self, series: _Series, call: RecurrentCall, start: int, stop: int, suffix: str
    ) -> Iterator[_Response]:
        steps, size = call.x.shape[:2]
        if call.lengths is not None:
            lengths = call.lengths.numpy().astype(np.int64)
        elif (steps, size) == (self.inputs.steps, stop - start):
            lengths = self.lengths[start:stop]
        else:
            lengths = np.full(size, steps, dtype=np.int64)
        x = call.x
        for layer in range(call.layers):
            outputs = []
            for direction in range(call.directions):
                row = layer * call.directions + direction
                linear = call.linearised(row, x)
                outputs.append(linear.in_order(linear.hidden))
                # Padding that was not packed comes first where time is reversed.
                first = steps - lengths if direction and call.lengths is None else np.zeros_like(lengths)
                parts = [series.path] if series.path else []
                if not series.cell:
                    parts.append(f"l{layer}" + ("_reverse" if direction else ""))
                name = ".".join(parts) or series.kind
                seed = (self.seed, row)
                yield _Response(
                    f"{name}{suffix}",
                    series.path,
                    series.kind,
                    call.operator,
                    linear.states[-1].shape[-1],
                    lengths,
                    _aligned(_rates(linear, first, (*seed, _FORWARD), start, forward=True), first, lengths),
                    _aligned(
                        _rates(linear, first + lengths - 1, (*seed, _BACKWARD), start, forward=False),
                        first + lengths - 1,
                        lengths,
                        sign=-1,
                    ),
                    _kept(linear, first, lengths),
                    all(bool(state.isfinite().all()) for state in linear.states),
                )
            x = torch.cat(outputs, dim=-1)


def _rates(
    linear: Linearised, begins: NDArray[np.int64], seed: tuple[int, ...], first: int, *, forward: bool
) -> Array:
    """Return the change of the logarithm of the norm of random vectors in each step: (time, sequence).

    A vector begins at the time step `begins` of its sequence. The mean over the probes of each sequence is
    returned.
    """
    hidden = linear.hidden
    steps, size = hidden.shape[:2]
    random = [np.random.default_rng((*seed, first + i)) for i in range(size)]
    drawn = tuple(
        torch.from_numpy(np.stack([r.standard_normal((_PROBES, s.shape[-1])) for r in random], axis=1)).to(s)
        for s in linear.states
    )
    drawn = _scaled(drawn, _norm(drawn))
    state = tuple(torch.zeros_like(s) for s in drawn)
    norms = torch.empty(steps, _PROBES, size, dtype=hidden.dtype, device=hidden.device)
    entering = {int(step): torch.from_numpy(begins == step).to(hidden.device) for step in np.unique(begins)}
    with one_thread(linear.from_hidden.numel() * _PROBES * size):
        for step in range(steps) if forward else reversed(range(steps)):
            if step in entering:
                now = entering[step][:, None]
                state = tuple(torch.where(now, new, old) for new, old in zip(drawn, state, strict=True))
            state = linear.push(step, state) if forward else linear.pull(step, state)
            norms[step] = _norm(state)
            state = _scaled(state, norms[step])
    with np.errstate(divide="ignore"):
        rates: Array = np.log(norms.double().cpu().numpy()).mean(axis=1)
    return rates


def _norm(state: State) -> Tensor:
    norms = [torch.linalg.vector_norm(s, dim=-1) for s in state]
    return norms[0] if len(norms) == 1 else torch.hypot(*norms)


def _scaled(state: State, norm: Tensor) -> State:
    safe = norm.clamp_min(torch.finfo(norm.dtype).tiny)[..., None]
    return tuple(s.div_(safe) for s in state)


def _aligned(rates: Array, begins: NDArray[np.int64], lengths: NDArray[np.int64], sign: int = 1) -> Array:
    """Return rates (time, sequence) against the number of steps since the vectors began; NaN at the end."""
    lag = np.arange(len(rates))[:, None]
    place = np.clip(begins + sign * lag, 0, len(rates) - 1)
    return np.where(lag < lengths, np.take_along_axis(rates, place, axis=0), np.nan)


def _kept(linear: Linearised, first: NDArray[np.int64], lengths: NDArray[np.int64]) -> Array:
    if linear.keep is None:
        return np.full(len(lengths), np.nan)
    gate = linear.keep.mean(dim=-1).double().cpu().numpy()
    time = np.arange(len(gate))[:, None]
    inside = (time >= first) & (time < first + lengths)
    kept: Array = np.where(inside, gate, 0.0).sum(axis=0) / lengths
    return kept


@dataclass
class _Series:
    """Calls of one operator with the same weights, each of which goes on from the state of the last."""

    path: str
    kind: str
    cell: bool
    call: RecurrentCall
    pieces: list[Tensor]
    ends: State

    def bytes(self) -> int:
        """Return the memory that the response of a layer takes, counted from its tensors."""
        x = self.pieces[0]
        gates, units = self.call.weights[0][1].shape[0], self.call.states[-1].shape[-1]
        values = 2 * x.shape[-1] + 2 * self.call.directions * units + 4 * gates + 8 * units
        return len(self.pieces) * x.shape[0] * x.shape[1] * values * x.element_size()

    def whole(self) -> RecurrentCall:
        """Return all the calls as one."""
        return self.call if len(self.pieces) == 1 else replace(self.call, x=torch.cat(self.pieces))


class _Watch(TorchFunctionMode):
    """Sees every recurrent operator of a forward pass, and in which module it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.series: dict[str, list[_Series]] = {}
        self.skipped: dict[str, str] = {}
        self._running: list[tuple[str, nn.Module]] = []

    @contextmanager
    def paths(self, model: nn.Module) -> Iterator[None]:
        """Note, inside, which module is running."""
        modules = dict(model.named_modules())
        self._running.append(("", model))
        for path, module in modules.items():
            if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
                self.skipped[path] = "not called in forward"

        def before(path: str, args: tuple[Any, ...]) -> None:
            self._running.append((path, modules[path]))

        def after(path: str, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._running.pop()

        with observed(modules, after, before):
            yield

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in OPERATORS:
            self._see(RecurrentCall.of(name, args), tuple(result[1:]), cell=False)
        elif name in _CELLS and not kwargs:
            self._see(_call_of_cell(_CELLS[name], args), _ends_of_cell(result), cell=True)
        return result

    def _see(self, call: RecurrentCall, ends: State, *, cell: bool) -> None:
        path, module = self._running[-1]
        known = self.series.setdefault(path, [])
        for series in known:
            if call.lengths is None and call.directions == 1 and _goes_on(series, call):
                series.pieces.append(call.x)
                series.ends = ends
                return
        known.append(
            _Series(path, str(getattr(module, "kind", type(module).__name__)), cell, call, [call.x], ends)
        )


def _goes_on(series: _Series, call: RecurrentCall) -> bool:
    same = series.call.weights[0][1] is call.weights[0][1] and series.call.operator == call.operator
    return same and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(series.ends, call.states, strict=True)
    )


def _call_of_cell(operator: str, args: tuple[Any, ...]) -> RecurrentCall:
    x, given, *weights = args
    states = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    kept = [weight for weight in weights if weight is not None]
    return RecurrentCall(
        operator, x[None], None, tuple(s[None] for s in states), [kept], len(kept) == 4, 1, 1, False
    )


def _ends_of_cell(result: Any) -> State:
    return tuple(s[None] for s in (result if isinstance(result, (list, tuple)) else (result,)))


def _layer(parts: list[_Response]) -> LayerInTime:
    """Return the measurement of a layer from its responses on all chunks of sequences."""
    first = parts[0]
    lengths = np.concatenate([part.lengths for part in parts])
    growth, back = (_joined([getattr(part, name) for part in parts]) for name in ("growth", "back"))
    steps = int(np.median(lengths))
    exponent = _exponent(growth, lengths)
    perturbation, perturbation_error = _curve(growth, steps)
    gradient, gradient_error = _curve(back, steps)
    memory = _fall(perturbation, perturbation_error, 1.0, "a perturbation", "1/e")
    reach = _fall(gradient, gradient_error, _FAINT, "the gradient", "1 %")
    phase, reason = _phase(exponent, steps)
    if phase == "not determined" and not exponent.determined and not math.isfinite(gradient[-1]):
        phase, reason = "vanishing", exponent.reason
    keep = np.concatenate([part.keep for part in parts])
    curves = (perturbation, perturbation_error, gradient, gradient_error)
    return LayerInTime(
        first.name,
        first.module,
        first.kind,
        first.operator,
        first.units,
        steps,
        exponent,
        memory,
        reach,
        phase,
        reason,
        float(keep.mean()),
        *(np.where(np.isfinite(curve), curve, np.nan) for curve in curves),
    )


def _joined(parts: list[Array]) -> Array:
    longest = max(len(part) for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, longest - len(part)), (0, 0)), constant_values=np.nan) for part in parts], axis=1
    )


def _curve(rates: Array, steps: int) -> tuple[Array, Array]:
    """Return mean and standard error over the sequences of the summed rates, from 0 to `steps` steps."""
    start = np.zeros((1, rates.shape[1]))
    with np.errstate(invalid="ignore"):
        sums = np.cumsum(np.concatenate([start, rates[:steps]]), axis=0)
        counts = (~np.isnan(sums)).sum(axis=1)
        mean = np.nansum(sums, axis=1) / np.maximum(counts, 1)
        squares = np.nansum((sums - mean[:, None]) ** 2, axis=1)
        error = np.sqrt(squares / np.maximum(counts - 1, 1) / np.maximum(counts, 1))
    return mean, np.where((counts > 1) & np.isfinite(mean), error, np.nan)


def _exponent(rates: Array, lengths: NDArray[np.int64]) -> Estimate:
    """Return the mean rate behind the first quarter of each sequence, with its error."""
    method = "mean growth of ln |u| a step behind the first quarter of each sequence"
    usable = np.flatnonzero(lengths - lengths // 4 >= _FEWEST)
    if not usable.size:
        reason = f"{int(lengths.max())} time steps are too few: at least 6 are needed"
        return Estimate.not_determined(reason, method=method)
    series = [rates[length // 4 : length, row] for row, length in zip(usable, lengths[usable], strict=True)]
    died = [row for row, one in zip(usable, series, strict=True) if np.isneginf(one).any()]
    if died:
        lag = int(np.median([np.flatnonzero(np.isneginf(rates[:, row]))[0] + 1 for row in died]))
        reason = f"a perturbation is exactly 0 after {lag} steps in {len(died)} of {len(lengths)} sequences"
        return Estimate.not_determined(reason, method=method, n=len(usable))
    means = np.array([one.mean() for one in series])
    if not np.isfinite(means).all():
        return Estimate.not_determined("the states are NaN or infinite", method=method, n=len(usable))
    parts = (
        means
        if len(means) > 1
        else np.array([b.mean() for b in np.array_split(series[0], min(_BLOCKS, len(series[0])))])
    )
    scatter = float(parts.std(ddof=1)) / math.sqrt(len(parts))
    halves = np.array([[half.mean() for half in np.array_split(one, 2)] for one in series]).mean(axis=0)
    error = math.hypot(scatter, 0.5 * float(halves[1] - halves[0]))
    longest = int(lengths[usable].max())
    return Estimate(float(means.mean()), error, method, len(usable), (longest // 4, longest))


def _fall(curve: Array, error: Array, by: float, what: str, share: str) -> Estimate:
    """Return after how many steps a curve has fallen by a natural logarithm, interpolated."""
    method = f"steps until {what} is below {share}"
    crossing = _crossing(curve, -by)
    if math.isnan(crossing):
        return Estimate.not_determined(
            f"{what} stays above {share} over {len(curve) - 1} steps", method=method
        )
    bars = np.nan_to_num(error)
    early, late = _crossing(curve - bars, -by), _crossing(curve + bars, -by)
    spread = (late if math.isfinite(late) else len(curve) - 1) - (early if math.isfinite(early) else crossing)
    return Estimate(crossing, max(0.5 * spread, 0.0), method, len(curve) - 1)


def _crossing(curve: Array, level: float) -> float:
    below = np.flatnonzero(curve < level)
    if not below.size:
        return math.nan
    last = int(below[0])
    before, after = curve[last - 1], curve[last]
    return last - 1 + float((before - level) / (before - after)) if math.isfinite(after) else float(last)


def _phase(exponent: Estimate, steps: int) -> tuple[str, str]:
    if not exponent.determined:
        return "not determined", exponent.reason
    value, error = exponent.value, exponent.error
    words = f"exponent {exponent} a step over {steps} steps"
    if (abs(value) + error) * steps <= _TOLERANCE:
        return "critical", words
    if abs(value) > 2 * error and abs(value) * steps > _TOLERANCE:
        return ("vanishing" if value < 0 else "chaotic"), words
    return "not determined", f"{words}: the error leaves the sign or the size open"
