"""The recorder of training: numbers against slow references, a kill in the middle, budget, side effects."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments import TrainingRecorder, read_record, recorded_exponent
from phasescope.instruments.training import recorder as recorder_file
from phasescope.instruments.training.record import decode, encode
from phasescope.instruments.training.recorder import Pace

LOSS = nn.functional.cross_entropy


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(24, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(0, 3, (24,), generator=generator)


def flat(model: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy().copy()


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    inputs, targets = batch()
    optimizer.zero_grad()
    loss = LOSS(model(inputs), targets)
    loss.backward()
    optimizer.step()
    return loss


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_path_displacement_gradient_and_twin_are_those_of_the_stored_weights(path):
    model, twin = network(), network(seed=3)
    optimizers = [torch.optim.SGD(each.parameters(), 0.5) for each in (model, twin)]
    recorder = TrainingRecorder(path, model, twin=twin, budget=None, say=None)
    weights, others, gradients, losses = [flat(model)], [flat(twin)], [], []
    for _ in range(20):
        loss = step(model, optimizers[0])
        step(twin, optimizers[1])
        recorder(loss)
        weights.append(flat(model))
        others.append(flat(twin))
        gradients.append(np.linalg.norm(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy()))
        losses.append(loss.item())
    recorder.close()
    record = read_record(path)
    moved = np.linalg.norm(np.diff(weights, axis=0), axis=1)
    assert list(record["step"].values) == list(range(21))
    np.testing.assert_allclose(record["path"], np.concatenate([[0.0], np.cumsum(moved)]), rtol=1e-12)
    np.testing.assert_allclose(
        record["displacement"], np.linalg.norm(weights - weights[0], axis=1), rtol=1e-12
    )
    apart = np.array(weights) - np.array(others)
    np.testing.assert_allclose(record["distance"], np.linalg.norm(apart, axis=1), rtol=1e-12)
    np.testing.assert_allclose(record["distance_l1"], np.abs(apart).sum(1), rtol=1e-12)
    np.testing.assert_allclose(record["gradient"][1:], gradients, rtol=1e-12)
    np.testing.assert_allclose(record["loss"][1:], losses, rtol=1e-12)
    assert "lower bound" not in record["path"].attrs["long_name"]


def test_skipped_steps_make_the_path_a_labelled_lower_bound(path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 2.0)
    recorder = TrainingRecorder(path, model, budget=None, measure=["path"], say=None)
    weights = [flat(model)]
    for number in range(1, 13):
        step(model, optimizer)
        weights.append(flat(model))
        if number % 4 == 0:
            recorder(step=number)
    recorder.close()
    record = read_record(path)
    chords = np.linalg.norm(np.diff(weights[::4], axis=0), axis=1)
    np.testing.assert_allclose(record["path"].values[-1], chords.sum(), rtol=1e-12)
    assert chords.sum() < np.linalg.norm(np.diff(weights, axis=0), axis=1).sum()
    assert record["skipped"].values[-1] == 9
    assert record["path"].attrs["long_name"].startswith("lower bound")
    assert "over 9 steps" in record.attrs["notes"]


def linear_regression() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor], np.ndarray]:
    """A quadratic loss, and the eigenvalues of its constant Hessian."""
    inputs = torch.diag(torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64))
    model = nn.Linear(3, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -1.0, 0.5]]))
    return model, (inputs, torch.zeros(3, 1, dtype=torch.float64)), 2.0 * np.array([4.0, 1.0, 0.25]) / 3.0


def test_sharpness_and_exponent_of_a_quadratic_loss(path):
    model, data, eigenvalues = linear_regression()
    rate = 0.5
    optimizer = torch.optim.SGD(model.parameters(), rate)
    recorder = TrainingRecorder(
        path, model, loss=nn.functional.mse_loss, batch=data, optimizer=optimizer, budget=None, say=None
    )
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(data[0]), data[1]).backward()
        optimizer.step()
        recorder()
    recorder.close()
    record = read_record(path)
    np.testing.assert_allclose(record["sharpness"], eigenvalues.max(), rtol=1e-2)
    np.testing.assert_allclose(record["sharpness_ratio"], rate * eigenvalues.max() / 2.0, rtol=1e-2)
    exact = np.log(np.abs(1.0 - rate * eigenvalues)).max()
    late = recorded_exponent(record, first=40)
    assert late.value == pytest.approx(exact, abs=1e-6)
    assert late.window == (40.0, 60.0)
    assert record["growth"].values[-1] == pytest.approx(exact, abs=1e-9)


def test_sharpness_without_an_optimiser_has_no_threshold(path):
    model, data, eigenvalues = linear_regression()
    recorder = TrainingRecorder(
        path, model, loss=nn.functional.mse_loss, batch=data, measure=["sharpness"], budget=None, say=None
    )
    recorder()
    recorder.close()
    record = read_record(path)
    np.testing.assert_allclose(record["sharpness"], eigenvalues.max(), rtol=1e-2)
    assert "sharpness_ratio" not in record


def test_adam_has_a_sharpness_once_it_has_seen_a_gradient(path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    recorder = TrainingRecorder(
        path, model, loss=LOSS, batch=batch(), optimizer=optimizer, budget=None, say=None
    )
    for _ in range(4):
        recorder(step(model, optimizer))
    recorder.close()
    ratio = read_record(path)["sharpness_ratio"].values
    assert np.isnan(ratio[0])
    assert np.isfinite(ratio[1:]).all()


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam], ids=["SGD", "Adam"])
def test_training_with_and_without_the_recorder_is_the_same_bit_for_bit(path, make):
    def run(record: bool) -> tuple[np.ndarray, torch.Tensor, dict]:
        torch.manual_seed(5)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        optimizer = make(model.parameters(), 0.1)
        inputs, targets = batch()
        data = inputs.float(), targets
        recorder = None
        if record:
            recorder = TrainingRecorder(
                path, model, loss=LOSS, batch=data, optimizer=optimizer, budget=None, say=None
            )
        for _ in range(5):
            optimizer.zero_grad()
            loss = LOSS(model(data[0]), data[1])
            loss.backward()
            optimizer.step()
            if recorder is not None:
                recorder(loss)
        if recorder is not None:
            recorder.close()
        return flat(model), torch.get_rng_state(), {**model.state_dict(), "grad": model[0].weight.grad}

    (one, state, rest), (other, other_state, other_rest) = run(False), run(True)
    np.testing.assert_array_equal(one, other)
    assert torch.equal(state, other_state)
    assert all(torch.equal(rest[name], other_rest[name]) for name in rest)


def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(tmp_path):
    def train(name: str, pieces: list[int]) -> np.ndarray:
        model, path = network(), tmp_path / name
        optimizer = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
        for piece in pieces:
            recorder = TrainingRecorder(path, model, budget=None, say=None)
            for _ in range(piece):
                recorder(step(model, optimizer))
            recorder.close()
        record = read_record(path)
        return np.array([record[key].values for key in ("path", "displacement")])

    np.testing.assert_array_equal(train("whole", [12]), train("pieces", [5, 1, 6]))


def test_steps_taken_again_from_a_checkpoint_replace_those_recorded_before(path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    recorder = TrainingRecorder(path, model, budget=None, say=None)
    for number in range(1, 11):
        recorder(step(model, optimizer))
        if number == 6:
            saved = copy.deepcopy(model.state_dict())
    recorder.close()
    whole = read_record(path)
    model.load_state_dict(saved)
    with pytest.raises(InputError, match="not the model of that step"):
        TrainingRecorder(path, model, budget=None, say=None)
    recorder = TrainingRecorder(path, model, step=6, budget=None, say=None)
    for _ in range(2):
        recorder(step(model, optimizer))
    recorder.close()
    record = read_record(path)
    assert list(record["step"].values) == list(range(9))
    np.testing.assert_array_equal(record["path"], whole["path"][:9])
    assert list(record["session"].values) == [0] * 7 + [1] * 2


def test_another_model_is_not_appended_to_a_record(path):
    model = network()
    recorder = TrainingRecorder(path, model, budget=None, say=None)
    recorder(step(model, torch.optim.SGD(model.parameters(), 0.5)))
    recorder.close()
    with pytest.raises(InputError, match="75 trained parameters"):
        TrainingRecorder(path, nn.Linear(2, 2), say=None)
    with pytest.raises(InputError, match="displacement"):
        TrainingRecorder(path, network(seed=9), say=None)
    with pytest.raises(InputError, match="displacement"):
        TrainingRecorder(path, network(seed=9), step=0, say=None)


KILLED = """
    import os, signal, torch
    from phasescope.instruments import TrainingRecorder

    start, inputs, targets = torch.load({given!r}, weights_only=True)
    model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double()
    model.load_state_dict(start)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    recorder = TrainingRecorder({path!r}, model, budget=None, say=None)
    for number in range(1, 1000):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        recorder(loss)
        if number == 7:
            torch.save(model.state_dict(), {saved!r})
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_killed_run_is_read_up_to_its_last_step_and_resumes(path, tmp_path):
    given, saved = str(tmp_path / "given.pt"), str(tmp_path / "model.pt")
    torch.save((network().state_dict(), *batch()), given)
    code = textwrap.dedent(KILLED).format(given=given, path=str(path), saved=saved)
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list(read_record(path)["step"].values) == list(range(8))
    model = network()
    model.load_state_dict(torch.load(saved, weights_only=True))
    recorder = TrainingRecorder(path, model, budget=None, say=None)
    for _ in range(3):
        recorder(step(model, torch.optim.SGD(model.parameters(), 0.5)))
    recorder.close()
    whole, reference = tmp_path / "whole.jsonl", network()
    optimizer = torch.optim.SGD(reference.parameters(), 0.5)
    uninterrupted = TrainingRecorder(whole, reference, budget=None, say=None)
    for _ in range(10):
        uninterrupted(step(reference, optimizer))
    uninterrupted.close()
    np.testing.assert_array_equal(read_record(path)["path"], read_record(whole)["path"])


def recorded(path: Path, steps: int = 5) -> nn.Module:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    recorder = TrainingRecorder(path, model, budget=None, say=None)
    for _ in range(steps):
        recorder(step(model, optimizer))
    recorder.close()
    return model


def test_a_last_line_that_was_cut_off_is_left_out_and_appended_behind(path):
    model = recorded(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    record = read_record(path)
    assert list(record["step"].values) == list(range(5))
    assert "not complete" in record.attrs["notes"]
    recorder = TrainingRecorder(path, model, step=5, budget=None, say=None)
    recorder(step(model, torch.optim.SGD(model.parameters(), 0.5)))
    recorder.close()
    assert list(read_record(path)["step"].values) == list(range(7))
    assert "damaged" in read_record(path).attrs["notes"]


def test_a_line_with_one_digit_changed_is_left_out(path):
    recorded(path)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace('"step": 2', '"step": 9')
    path.write_text("\n".join(lines) + "\n")
    record = read_record(path)
    assert list(record["step"].values) == [0, 1, 3, 4, 5]
    assert "line 4 is damaged" in record.attrs["notes"]


def test_every_line_is_json_of_its_own(path):
    recorded(path)
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [0, 0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1.5, 3, "text", None])
def test_lines_survive_their_file(value):
    line = encode({"step": 3, "x": value})
    expected = None if isinstance(value, float) and not math.isfinite(value) else value
    assert decode(line[:-1])["x"] == expected
    assert decode(line[:-2]) is None


def test_numbers_of_the_user_join_their_step(path):
    model = network()
    recorder = TrainingRecorder(path, model, budget=None, say=None)
    recorder(0.5)
    recorder.note(1, accuracy=0.75)
    recorder.close()
    record = read_record(path)
    assert record["accuracy"].sel(step=1) == 0.75
    assert record["loss"].sel(step=1) == 0.5


def test_lines_thin_out_in_long_runs_while_the_path_goes_on(path, monkeypatch):
    monkeypatch.setattr(recorder_file, "_THIN", 10)
    model = network()
    recorder = TrainingRecorder(path, model, budget=None, measure=["path"], say=None)
    for _ in range(100):
        with torch.no_grad():
            model[0].bias[0] += 1.0
        recorder()
    recorder.close()
    record = read_record(path)
    steps = record["step"].values
    assert list(steps[:11]) == list(range(11))
    assert set(np.diff(steps[steps >= 40])) <= {5, 6, 7, 8, 9, 10}
    np.testing.assert_allclose(record["path"], steps, rtol=1e-12)


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    process_time = perf_counter


def test_what_is_spent_stays_within_the_budget(path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(recorder_file, "time", clock)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = TrainingRecorder(
        path, model, loss=LOSS, batch=batch(), optimizer=optimizer, budget=0.05, say=None
    )
    costs = {"_norms": 0.1, "_sharpness": 20.0, "_growth": 3.0}
    for name, seconds in costs.items():
        plain = getattr(recorder, name)

        def slow(plain=plain, seconds=seconds):
            clock.now += seconds
            return plain()

        monkeypatch.setattr(recorder, name, slow)
    for job, seconds in (("norms", 0.1), ("sharpness", 20.0), ("exponent", 36.0)):
        recorder._pace.expect(job, seconds)
    overheads = []
    for _ in range(4000):
        clock.now += 1.0
        recorder()
        overheads.append(recorder.overhead)
    recorder.close()
    assert max(overheads) <= 0.05 + 1e-9
    assert overheads[-1] > 0.035
    record = read_record(path)
    gaps = np.diff(record["step"].values[np.isfinite(record["path"].values)])
    assert set(gaps) <= {4, 5}  # half of 0.05 s a step, less a tenth, pays 0.1 s in 4.4 steps
    growths = record["step"].values[np.isfinite(record["growth"].values)]
    assert {len(run) for run in np.split(growths, np.flatnonzero(np.diff(growths) > 1) + 1)} == {10}
    assert "path, displacement, gradient every 4.4 steps" in recorder.summary
    assert "5 % allowed" in recorder.summary


def test_a_budget_without_a_use_for_one_job_goes_to_the_others():
    pace = Pace(0.1, ["norms", "sharpness"])
    pace.expect("norms", 0.01)
    pace.expect("sharpness", 1.0)
    ran = {"norms": 0, "sharpness": 0}
    for _ in range(1000):
        pace.earn(1.0)
        for job, seconds in (("norms", 0.01), ("sharpness", 1.0)):
            if pace.due(job):
                ran[job] += 1
                pace.spend(job, seconds)
    assert ran["norms"] == 1000
    assert 78 <= ran["sharpness"] <= 80  # 0.08 s a step are left for it


def test_intervals_and_cost_are_told(path):
    told = []
    model = network()
    recorder = TrainingRecorder(path, model, budget=None, say=told.append)
    for _ in range(100):
        recorder()
    recorder.close()
    assert len(told) == 2
    assert told[1].startswith("recorder at step 100: path, displacement, gradient at every step; cost ")


def test_a_measurement_that_fails_ends_and_the_training_goes_on(path):
    told = []
    model, data, _ = linear_regression()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = TrainingRecorder(
        path,
        model,
        loss=nn.functional.mse_loss,
        batch=data,
        optimizer=optimizer,
        budget=None,
        say=told.append,
    )
    for number in range(4):
        if number == 2:
            with torch.no_grad():
                model.weight[0, 0] = math.inf
        recorder()
    recorder.close()
    record = read_record(path)
    assert list(record["step"].values) == [0, 1, 2, 3, 4]
    assert np.isnan(record["path"].values[-1])
    assert "was not measured from here on" in record.attrs["notes"]
    assert any("was not measured from here on" in sentence for sentence in told)


def test_a_full_disk_ends_the_recording_and_not_the_training(path, monkeypatch):
    told = []
    recorder = TrainingRecorder(path, network(), budget=None, say=told.append)
    recorder()

    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    recorder()
    recorder()
    assert len(told) == 1
    assert "No space left on device" in told[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": ["speed"]}, "measure names 'speed'"),
        ({"measure": ["distance"]}, "distance needs twin"),
        ({"measure": ["exponent"]}, "exponent needs batch and optimizer"),
        ({"measure": ["sharpness"]}, "sharpness needs batch"),
        ({"budget": 0}, "budget = 0"),
        ({"budget": 5}, "budget = 5"),
        ({"twin": nn.Linear(2, 2)}, "The twin has 6 trained parameters"),
    ],
)
def test_arguments_that_do_not_fit_are_named(path, options, message):
    with pytest.raises(InputError, match=message):
        TrainingRecorder(path, network(), **options)
    assert not path.exists()


def test_a_model_without_trained_parameters_is_refused(path):
    with pytest.raises(InputError, match="no parameter that is trained"):
        TrainingRecorder(path, network().requires_grad_(False))


def test_an_optimiser_without_a_map_is_named(path):
    model = network()
    with pytest.raises(InputError, match="Adagrad"):
        TrainingRecorder(
            path, model, loss=LOSS, batch=batch(), optimizer=torch.optim.Adagrad(model.parameters())
        )


def test_what_is_no_record_is_refused(path):
    with pytest.raises(InputError, match="There is no "):
        read_record(path)
    path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="is a device"):
        read_record(path)
    path.unlink()
    path.write_text("a text\n")
    with pytest.raises(InputError, match="no record of a training run"):
        read_record(path)
    with pytest.raises(InputError, match="no record of a training run"):
        TrainingRecorder(path, network())


def test_a_lost_file_of_start_weights_is_named(path):
    model = recorded(path)
    path.with_name("run.jsonl.start.npy").unlink()
    with pytest.raises(InputError, match="missing or damaged"):
        TrainingRecorder(path, model)


def test_too_few_steps_have_no_exponent(path):
    model, data, _ = linear_regression()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    recorder = TrainingRecorder(
        path, model, loss=nn.functional.mse_loss, batch=data, optimizer=optimizer, budget=None, say=None
    )
    for _ in range(3):
        recorder()
    recorder.close()
    assert not recorded_exponent(read_record(path)).determined
    recorded(path.with_name("other.jsonl"))
    with pytest.raises(InputError, match="no exponent"):
        recorded_exponent(read_record(path.with_name("other.jsonl")))
