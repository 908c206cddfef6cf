"""What the recorder sees with instruments, where it writes, and that it never stops a run."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments import TrainingRecorder, read_record
from phasescope.instruments.training import recorder as recorder_file
from phasescope.instruments.training.looks import Looks
from phasescope.noise import fractional_gaussian_noise

LOSS = nn.functional.mse_loss


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.jsonl"


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    process_time = perf_counter


def scaled_rotations(gain: float, layers: int = 8, width: int = 16) -> nn.Sequential:
    """A linear network that stretches every difference by `gain` in each layer, read out by one more."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers))).double()
    random_numbers = np.random.default_rng(3)
    with torch.no_grad():
        for layer in model:
            turn = np.linalg.qr(random_numbers.standard_normal((width, width)))[0]
            layer.weight.copy_(torch.from_numpy(gain * turn))
    return model


def recorded(path, model, batch, measure, steps: int = 1, **options):
    recorder = TrainingRecorder(
        path, model, batch=batch, measure=measure, budget=None, **({"say": None} | options)
    )
    for _ in range(steps):
        recorder()
    recorder.close()
    return read_record(path)


@pytest.mark.parametrize("gain", [0.7, 1.5])
def test_the_margin_of_a_network_that_stretches_by_one_factor_is_twice_its_logarithm(path, gain):
    inputs = torch.randn(12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    record = recorded(path, scaled_rotations(gain), inputs, ["signal"])
    np.testing.assert_allclose(record["signal_margin"], 2 * math.log(gain), rtol=1e-9)
    np.testing.assert_allclose(record["signal_growth"], 2 * math.log(gain), rtol=1e-9)
    np.testing.assert_allclose(record["signal_margin_error"], 0.0, atol=1e-9)


def test_the_worst_growth_is_that_of_the_step_furthest_from_one(path):
    model = scaled_rotations(1.0)
    with torch.no_grad():
        model[4].weight *= 0.1
    inputs = torch.randn(12, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    record = recorded(path, model, inputs, ["signal"])
    np.testing.assert_allclose(record["signal_growth"], 2 * math.log(0.1), rtol=1e-9)


def test_a_network_too_shallow_for_a_growth_is_told_once(path):
    told: list[str] = []
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    record = recorded(path, model, torch.randn(8, 4), ["signal"], steps=3, say=told.append)
    assert len(told) == 1
    assert told[0].startswith("recorder at step 0: signal: ")
    assert "signal_growth" not in record


def test_a_symptom_that_comes_is_counted_and_named_once(path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3))
    told: list[str] = []
    recorder = TrainingRecorder(
        path, model, batch=torch.randn(16, 5), measure="symptoms", budget=None, say=told.append
    )
    recorder()
    with torch.no_grad():
        model[0].bias[:5] = 50.0  # of 8 units saturated
    recorder()
    with torch.no_grad():
        model[0].bias[:6] = 50.0
    recorder()
    recorder.close()
    record = read_record(path)
    assert list(record["symptoms"].values) == [0, 0, 1, 1]
    assert list(record["symptoms_new"].values) == [0, 0, 1, 0]
    assert len(told) == 1
    assert "saturate 5 of 8 units" in told[0]
    assert "step 2: The biases of 0" in record.attrs["notes"]


def fluctuating(hurst: float) -> torch.Tensor:
    return torch.from_numpy(fractional_gaussian_noise(hurst, 520, size=(16, 1), seed=2))


def test_the_exponent_of_noise_that_a_network_passes_on_is_that_of_its_input(path):
    model = nn.Sequential(nn.Conv1d(1, 3, 1, bias=False)).double()
    record = recorded(path, model, fluctuating(0.9), ["noise"])
    beta, error = record["noise_beta"].values, record["noise_beta_error"].values
    assert (np.abs(beta - 0.8) < 3 * error).all()
    assert (error < 0.15).all()


def test_noise_is_refused_with_the_reason_and_left_out_of_all(path):
    model, inputs = scaled_rotations(1.0), torch.randn(8, 16)
    with pytest.raises(InputError, match="no recurrent, attention or 1-d convolution layer"):
        TrainingRecorder(path, model, batch=inputs, measure=["noise"])
    with pytest.raises(InputError, match="symptoms needs batch"):
        TrainingRecorder(path, model, measure=["symptoms"])
    names = set(recorded(path, model, inputs, "all", loss=lambda output: output.square().mean()).data_vars)
    assert {"sharpness", "signal_margin", "symptoms"} <= names
    assert "noise_beta" not in names


class Convolutional(nn.Module):
    """Sequences to sequences, with buffers and random numbers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.second, self.third = nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1)
        self.drop, self.last = nn.Dropout(0.2), nn.Conv1d(4, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.norm(self.first(x)))
        x = torch.tanh(self.third(torch.tanh(self.second(x))))
        return self.last(self.drop(x))


def test_200_steps_with_all_jobs_are_bit_identical_and_stay_within_their_budget(path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(recorder_file, "time", clock)
    inputs = fluctuating(0.8)[:4, :, :200].float()
    targets = inputs.roll(1, dims=2)
    rows, overheads = [], []

    def train(record: bool):
        torch.manual_seed(4)
        np.random.seed(4)  # noqa: NPY002 (the state that a user's own code may draw from)
        random.seed(4)
        model = Convolutional()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        recorder = None
        if record:
            recorder = TrainingRecorder(
                path,
                model,
                loss=LOSS,
                batch=(inputs, targets),
                optimizer=optimizer,
                measure="all",
                log=lambda row, step: rows.append(row),
                say=None,
            )
            tried = recorder._tried

            def slow(job: str) -> dict[str, float]:
                clock.now += 0.02 if job == "exponent" else 0.1
                return tried(job)

            monkeypatch.setattr(recorder, "_tried", slow)
            for job in recorder._pace.runs:
                recorder._pace.expect(job, {"norms": 0.0, "exponent": 0.24}.get(job, 0.1))
        for _ in range(200):
            optimizer.zero_grad()
            loss = LOSS(model(inputs), targets)
            loss.backward()
            optimizer.step()
            clock.now += 1.0
            if recorder is not None:
                recorder(loss)
                overheads.append(recorder.overhead)
        if recorder is not None:
            assert all(runs > 0 for runs in recorder._pace.runs.values()), recorder.summary
            recorder.close()
        moments = [v for state in optimizer.state.values() for v in state.values()]
        tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters()), *moments]
        state = np.random.get_state()[1]  # noqa: NPY002
        return tensors, torch.get_rng_state(), state, random.getstate(), model.training

    plain, watched = train(False), train(True)
    assert all(torch.equal(one, other) for one, other in zip(plain[0], watched[0], strict=True))
    assert torch.equal(plain[1], watched[1])
    assert np.array_equal(plain[2], watched[2])
    assert plain[3:] == watched[3:]
    assert max(overheads) <= 0.05 + 1e-9
    assert overheads[-1] > 0.03
    jobs = {"path", "sharpness", "growth", "signal_growth", "symptoms", "noise_beta"}
    assert jobs <= {name for row in rows[1:] for name in row}


JOBS = {
    "sharpness": (TrainingRecorder, "_sharpness"),
    "exponent": (TrainingRecorder, "_growth"),
    "signal": (Looks, "_signal"),
    "symptoms": (Looks, "_symptoms"),
    "noise": (Looks, "_noise"),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("at", [1, 3])
def test_a_job_that_crashes_ends_alone(path, monkeypatch, job, at):
    calls, told = [], []

    def crash(self):
        calls.append(None)
        if len(calls) >= at:
            raise ZeroDivisionError("by a bug")
        return {"growth": 0.0} if self.__class__ is TrainingRecorder else ({"seen": 1.0}, "")

    monkeypatch.setattr(*JOBS[job], crash)
    model = Convolutional()
    inputs = fluctuating(0.8)[:2, :, :200].float()
    recorder = TrainingRecorder(
        path,
        model,
        loss=LOSS,
        batch=(inputs, inputs),
        optimizer=torch.optim.SGD(model.parameters(), 0.01),
        measure=["path", job],
        budget=None,
        say=told.append,
    )
    for _ in range(5):
        recorder(0.5)
    recorder.close()
    record = read_record(path)
    assert len(calls) == at
    assert told == [f"recorder at step {at - 1}: {job} was not measured from here on: by a bug"]
    assert "by a bug" in record.attrs["notes"]
    assert list(record["step"].values) == list(range(6))
    assert np.isfinite(record["path"].values).all()


def test_an_error_of_the_recorder_itself_ends_the_recording_and_not_the_training(path):
    told: list[str] = []
    recorder = TrainingRecorder(path, nn.Linear(2, 2), budget=None, say=told.append)
    recorder(0.5)
    recorder(torch.ones(3))  # no single number
    recorder(0.5)
    assert len(told) == 1
    assert told[0].endswith("recording ends")
    assert list(read_record(path)["step"].values) == [0, 1]


def test_a_stream_that_is_closed_stops_nothing(path):
    def closed(text: str) -> None:
        raise ValueError("I/O operation on closed file")

    recorder = TrainingRecorder(path, nn.Linear(2, 2), budget=None, say=closed)
    for _ in range(10):  # it speaks at step 10
        recorder()
    recorder.close()
    assert len(read_record(path)["step"]) == 11


class Tracker:
    """Keeps what it is given under one of the names that trackers of experiments have."""

    def __init__(self, method: str) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        setattr(self, method, getattr(self, f"_{method}"))

    def _add_scalar(self, name: str, value: float, global_step: int) -> None:
        self.rows.setdefault(global_step, {})[name] = value

    def _log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows[step] = metrics

    def _log(self, data: dict[str, float], step: int | None = None) -> None:
        self.rows[step] = data


@pytest.mark.parametrize("method", ["add_scalar", "log_metrics", "log"])
def test_each_kind_of_tracker_gets_the_numbers_of_every_line(path, method):
    tracker = Tracker(method)
    record = recorded(path, nn.Linear(2, 2), None, None, steps=3, log=tracker)
    assert list(tracker.rows) == [0, 1, 2, 3]
    for step, row in tracker.rows.items():
        at = record.sel(step=step)
        assert row == {f"phasescope/{name}": float(at[name]) for name in record if np.isfinite(at[name])}


def test_a_function_gets_the_names_of_the_file_and_numbers_of_the_user_as_well(path):
    rows: list[tuple[int, dict[str, float]]] = []
    tracker = Tracker("log")
    recorder = TrainingRecorder(
        path,
        nn.Linear(2, 2),
        measure=["displacement"],
        budget=None,
        say=None,
        log=[tracker, lambda row, step: rows.append((step, row))],
    )
    recorder(0.25)
    recorder.note(1, accuracy=0.75)
    recorder.close()
    assert [(step, {k: v for k, v in row.items() if k != "seconds"}) for step, row in rows] == [
        (0, {"displacement": 0.0}),
        (1, {"displacement": 0.0, "loss": 0.25}),
        (1, {"accuracy": 0.75}),
    ]
    assert tracker.rows[1] == {"phasescope/accuracy": 0.75}


def test_a_writer_that_fails_is_told_once_and_tried_again(path):
    told, calls, rows = [], [], []

    def failing(row: dict[str, float], step: int) -> None:
        calls.append(step)
        raise ConnectionError("the server is away")

    record = recorded(
        path,
        nn.Linear(2, 2),
        None,
        None,
        steps=4,
        say=told.append,
        log=[failing, lambda row, step: rows.append(step)],
    )
    assert calls == rows == [0, 1, 2, 3, 4]
    assert told == ["recorder at step 0: log, number 1, failed: ConnectionError: the server is away"]
    assert "the server is away" in record.attrs["notes"]
    assert list(record["step"].values) == [0, 1, 2, 3, 4]


def test_what_is_no_tracker_is_refused(path):
    with pytest.raises(InputError, match="log is a str"):
        TrainingRecorder(path, nn.Linear(2, 2), log="tensorboard")
    assert not path.exists()


class Trial:
    """As much of a trial of Optuna as is used: it gives up once a value is above 2."""

    def __init__(self) -> None:
        self.reported: list[tuple[float, int]] = []
        self.asked = 0

    def report(self, value: float, step: int) -> None:
        self.reported.append((value, step))

    def should_prune(self) -> bool:
        self.asked += 1
        return self.reported[-1][0] > 2.0


def test_a_trial_gets_each_value_once_and_says_when_to_stop(path):
    recorder = TrainingRecorder(path, nn.Linear(2, 2), measure=["path"], budget=None, say=None)
    trial, answers = Trial(), []
    assert not recorder.prune(trial, "loss")  # not yet known
    for loss in (1.0, None, 1.5, 3.0):
        recorder(loss)
        answers.append(recorder.prune(trial, "loss"))
    assert trial.reported == [(1.0, 1), (1.5, 3), (3.0, 4)]
    assert trial.asked == 3
    assert answers == [False, False, False, True]
    recorder.close()


def test_a_trial_that_fails_is_told_once_and_prunes_nothing(path):
    def lost(*_):
        raise OSError("the storage is away")

    told: list[str] = []
    recorder = TrainingRecorder(path, nn.Linear(2, 2), budget=None, say=told.append)
    for _ in range(3):
        recorder(1.0)
        assert recorder.prune(SimpleNamespace(report=lost), "loss") is False
    recorder.close()
    assert told == ["recorder at step 1: the trial failed: OSError: the storage is away"]
