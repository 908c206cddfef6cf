"""Checks of what an instrument accepts and what it refuses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from phasescope.errors import InputError, MemoryLimitError
from phasescope.instruments.contract import Instrument
from phasescope.recording.batch import leaves
from phasescope.testing.cases import Trial, map_tensors, require, require_same
from phasescope.testing.resident import in_fresh_process, resident_peak

_PLENTY = 8 * 2**30
# The batch is repeated until a measurement takes so much; what is fixed, such as theory's own, is then small.
_LARGE = 64 * 2**20


def answers_whether_it_applies(trial: Trial) -> None:
    """Check that `applies` returns "" or a reason, gives the same answer again and does not run the model."""
    model, batch = trial.build()
    answer = trial.instrument.applies(model, batch)
    require(isinstance(answer, str), f"applies returned {type(answer).__name__}, not a string")
    require(answer == trial.refusal, "applies answers differently the second time")
    require(answer == answer.strip(), f"applies returned a reason with blanks around it: {answer!r}")


def refuses_with_its_reason(trial: Trial) -> None:
    """Check that where `applies` gives a reason, `measure` raises ``InputError`` with that reason."""
    if not trial.refusal:
        return
    try:
        trial.measure()
    except InputError as error:
        require(trial.refusal in str(error), f"measure says {error}, applies says {trial.refusal}")
        return
    require(False, f"measure runs although applies says {trial.refusal!r}")


def refuses_what_is_no_model(trial: Trial) -> None:
    """Check that `applies` gives a reason for something that cannot be called."""
    _, batch = trial.build()
    answer: object = trial.instrument.applies(42, batch)  # type: ignore[arg-type]
    require(
        isinstance(answer, str) and bool(answer), "applies has nothing against a model that is the number 42"
    )


def refuses_an_empty_batch(trial: Trial) -> None:
    """Check that a batch without inputs raises ``InputError`` or is refused by `applies`."""
    _must_refuse(trial, lambda tensor: tensor[:0], "an empty batch")


def refuses_nan_in_the_batch(trial: Trial) -> None:
    """Check that a batch with NaN raises ``InputError`` that says so."""
    _, batch = trial.build()
    if any(tensor.is_floating_point() for tensor in leaves(batch, Tensor)):
        message = _must_refuse(trial, _with_nan, "a batch with NaN")
        words = ("nan", "finite")
        require(any(word in message.lower() for word in words), f"the refusal does not name NaN: {message}")


def accepts_a_read_only_batch(trial: Trial) -> None:
    """Check that arrays that are not writable are read, not written, and give the same numbers."""
    model, batch = trial.build()
    if any(tensor.dtype == torch.bfloat16 for tensor in leaves(batch, Tensor)):
        return
    arrays: list[np.ndarray] = []

    def read_only(tensor: Tensor) -> Tensor:
        array = tensor.numpy().copy()
        array.flags.writeable = False
        arrays.append(array)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return torch.from_numpy(array)

    locked = map_tensors(read_only, batch)
    before = [array.tobytes() for array in arrays]
    dataset = trial.instrument.measure(model, locked)
    require(before == [array.tobytes() for array in arrays], "a read-only batch was written to")
    require_same(trial.dataset, dataset, "a read-only batch")


def measures_without_gradient_mode(trial: Trial) -> None:
    """Check that under ``torch.no_grad()`` and ``torch.inference_mode()`` the numbers are the same."""
    reference = trial.dataset
    model, batch = trial.build()
    with torch.no_grad():
        dataset = trial.instrument.measure(model, batch)
    require_same(reference, dataset, "a measurement under no_grad")
    with torch.inference_mode():
        dataset = trial.instrument.measure(model, batch)
    require_same(reference, dataset, "a measurement under inference_mode")


def does_not_depend_on_the_order_of_inputs(trial: Trial) -> None:
    """Check that inputs in another order give the same values within 6 standard errors."""
    model, batch = trial.build()
    reversed_batch = map_tensors(lambda tensor: tensor.flip(0), batch)
    other = trial.instrument.measure(model, reversed_batch)
    for name in map(str, trial.dataset.data_vars):
        if f"{name}_error" not in trial.dataset:
            continue
        keys = (name, f"{name}_error")
        rows_of = trial.dataset["layer"].broadcast_like(trial.dataset[name]).values.ravel()
        columns = np.stack([data[key].values.ravel() for key in keys for data in (trial.dataset, other)])
        rows = np.flatnonzero(np.isfinite(columns).all(axis=0))
        one, two, error, other_error = columns[:, rows]
        allowed = 6 * np.hypot(error, other_error) + 1e-4 * np.maximum(np.abs(one), np.abs(two)) + 1e-12
        far = np.flatnonzero(np.abs(one - two) > allowed)
        if far.size:
            at = far[0]
            where = f"{name!r} at {rows_of[rows[at]]!r}"
            require(False, f"{where}: {one[at]:.6g} against {two[at]:.6g} in another order")


def keeps_the_structure_of_the_batch(trial: Trial) -> None:
    """Check that mappings, lists and tuples are the same objects with the same entries afterwards."""
    model, batch = trial.build()
    before = _structure(batch)
    trial.instrument.measure(model, batch)
    require(_structure(batch) == before, "the structure of the batch changed")


def respects_max_memory(trial: Trial) -> None:
    """Check that a generous limit changes nothing; one byte raises ``MemoryLimitError`` or ``InputError``."""
    require_same(trial.dataset, trial.measure(max_memory=_PLENTY), "a measurement with a generous max_memory")
    try:
        trial.measure(max_memory=1)
    except (MemoryLimitError, InputError) as error:
        require(bool(str(error)), "the refusal of max_memory=1 says nothing")
        return
    require(False, "max_memory=1 was ignored")


def peak_memory_stays_under_the_limit(trial: Trial) -> None:
    """Check that resident memory rises by less than 1.2 times ``max_memory``, in a process of its own.

    The batch is repeated until a measurement without a limit is large, and the limit is half of that. An
    instrument or a factory that cannot be sent to a new process is measured in this one.
    """
    what = (trial.instrument, trial.case.factory)
    repeats, unlimited = in_fresh_process(_enlarged, *what)
    if unlimited < _LARGE:
        return  # it takes no more however large the batch is
    limit = math.ceil(unlimited / 2)
    peak = in_fresh_process(_peak_with, *what, repeats, limit)
    require(peak <= 1.2 * limit, f"took {peak / 2**20:.1f} MiB with max_memory={limit / 2**20:.1f} MiB")


def _repeated(batch: Any, times: int) -> Any:
    return map_tensors(lambda tensor: tensor.repeat(times, *[1] * (tensor.ndim - 1)), batch)


def _enlarged(instrument: Instrument, factory: Callable[[], tuple[Any, Any]]) -> tuple[int, int]:
    """Return how often the batch is repeated to make a measurement large, and how many bytes that takes."""
    model, batch = factory()

    def peak(repeats: int) -> int:
        large = _repeated(batch, repeats)
        return _peak_bytes(lambda: instrument.measure(model, large, max_memory=_PLENTY))

    repeats, unlimited, before = 1, 0, -1
    while before < unlimited < _LARGE:
        repeats *= 4
        unlimited, before = peak(repeats), unlimited
    return repeats, unlimited


def _peak_with(
    instrument: Instrument, factory: Callable[[], tuple[Any, Any]], repeats: int, limit: int
) -> int:
    """Return how far resident memory rises under a limit; 0 where the limit is refused."""
    model, batch = factory()
    instrument.measure(model, batch)
    large = _repeated(batch, repeats)
    try:
        return resident_peak(lambda: instrument.measure(model, large, max_memory=limit))
    except MemoryLimitError:
        return 0


def _with_nan(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    spoiled = tensor.detach().clone()
    spoiled.view(spoiled.shape[0], -1)[0, 0] = math.nan
    return spoiled


def _must_refuse(trial: Trial, change: Callable[[Tensor], Tensor], what: str) -> str:
    model, batch = trial.build()
    spoiled: Any = map_tensors(change, batch)
    reason = trial.instrument.applies(model, spoiled)
    if reason:
        return reason
    try:
        trial.instrument.measure(model, spoiled)
    except InputError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{what} raises {type(error).__name__}, not InputError: {error}") from error
    raise AssertionError(f"{what} was accepted")


def _structure(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return id(batch), [(key, _structure(value)) for key, value in batch.items()]
    if isinstance(batch, list | tuple):
        return id(batch), [_structure(value) for value in batch]
    return id(batch)


def _peak_bytes(work: Callable[[], object]) -> int:
    """Return the peak of bytes that `work` takes from torch's CPU allocator, beside what was taken before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        work()
    profiler = recorded.profiler
    results = profiler.kineto_results if profiler is not None else None
    events = [] if results is None else results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    live = peak = 0
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return peak
