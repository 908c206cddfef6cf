"""Trackers of experiments themselves: rows arrive there, and training stays as it is."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.instruments import TrainingRecorder, read_record

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # of these packages
]


def trained(
    path: Path | None, log: Any = None, stop: Callable[[TrainingRecorder], bool] | None = None
) -> list[Any]:
    """Return the weights and random states after 20 steps, recorded where there is a path."""
    torch.manual_seed(1)
    random.seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    inputs = torch.linspace(-2, 2, 32).view(8, 4)
    recorder = None
    if path is not None:
        recorder = TrainingRecorder(
            path, model, batch=inputs, measure=["path", "symptoms"], budget=None, say=None, log=log
        )
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder(loss)
            if stop is not None and stop(recorder):
                break
    if recorder is not None:
        recorder.close()
    return [*model.state_dict().values(), torch.get_rng_state(), torch.tensor(random.getstate()[1])]


def assert_same(path: Path, log: Any) -> np.ndarray:
    """Check that training is the same with a tracker, and return the recorded path lengths."""
    pairs = zip(trained(None), trained(path, log), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    record = read_record(path)
    assert "failed" not in record.attrs["notes"]
    return record["path"].values


def test_tensorboard_shows_each_row(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "runs") as writer:
        lengths = assert_same(tmp_path / "run.jsonl", writer)
    events = EventAccumulator(str(tmp_path / "runs")).Reload()
    assert "phasescope/symptoms" in events.Tags()["scalars"]
    scalars = events.Scalars("phasescope/path")
    assert [event.step for event in scalars] == list(range(21))
    np.testing.assert_allclose([event.value for event in scalars], lengths, rtol=1e-6)


def test_wandb_shows_each_row_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", project="phasescope", dir=tmp_path) as run:
        lengths = assert_same(tmp_path / "run.jsonl", run)
        assert run.step == 20
        run.log({"mine": 1.0}, step=21)  # a step is shown once the next one begins
        assert run.summary["phasescope/path"] == pytest.approx(lengths[-1])


def test_mlflow_shows_each_row(tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    mlflow.set_experiment("phasescope")
    with mlflow.start_run() as run:
        lengths = assert_same(tmp_path / "run.jsonl", mlflow)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "phasescope/path")
    assert [metric.step for metric in history] == list(range(21))
    np.testing.assert_allclose([metric.value for metric in history], lengths)


def test_optuna_prunes_the_run_that_is_beyond_its_threshold(tmp_path):
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        def stop(recorder: TrainingRecorder) -> bool:
            return recorder.prune(trial, "path")

        path = tmp_path / f"{trial.number}.jsonl"
        trained(path, stop=stop)
        record = read_record(path)
        if record["step"].values[-1] < 20:
            raise optuna.TrialPruned
        return float(record["path"].values[-1])

    half = assert_same(tmp_path / "whole.jsonl", None)
    pruner = optuna.pruners.ThresholdPruner(upper=float(half[10]) + 1e-9)
    study = optuna.create_study(pruner=pruner)
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.state == optuna.trial.TrialState.PRUNED
    assert max(trial.intermediate_values) == 11
    np.testing.assert_allclose(list(trial.intermediate_values.values()), half[1:12])
