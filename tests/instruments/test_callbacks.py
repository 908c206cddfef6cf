"""The recorder inside Lightning and transformers: with stand-ins, and with these where they are installed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments import lightning_callback, read_record, transformers_callback


def package(monkeypatch, name: str, **contents: object) -> None:
    """Put a stand-in for a package where it is imported from."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:depth]), ModuleType(".".join(parts[:depth])))
    for key, value in contents.items():
        setattr(sys.modules[name], key, value)


def absent(monkeypatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


class Wrapped(nn.Module):
    """A LightningModule in small: a network among other things."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)


def one_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = network(torch.ones(3, 4)).square().mean()
    loss.backward()
    optimizer.step()
    return loss


def test_lightning_records_each_step_of_the_optimiser(monkeypatch, tmp_path):
    package(monkeypatch, "lightning.pytorch", Callback=type("Callback", (), {}))
    module = Wrapped()
    optimizer = torch.optim.SGD(module.net.parameters(), 0.1)
    trainer = SimpleNamespace(global_step=0, is_global_zero=True, optimizers=[optimizer])
    path = tmp_path / "run.jsonl"
    callback = lightning_callback(path, module=lambda m: m.net, budget=None, say=None)
    callback.on_train_start(trainer, module)
    losses = []
    for number in range(6):
        if number % 2 == 0:  # gradients of two batches are accumulated
            loss = module.net(torch.ones(3, 4)).square().mean()
        else:
            loss = one_step(module.net, optimizer)
            losses.append(loss.item())
            trainer.global_step += 1
        callback.on_train_batch_end(trainer, module, {"loss": loss}, None, number)
    callback.on_train_end(trainer, module)
    record = read_record(path)
    assert list(record["step"].values) == [0, 1, 2, 3]
    np.testing.assert_allclose(record["loss"].values[1:], losses, rtol=1e-6)
    assert (np.diff(record["path"].values) > 0).all()


def test_only_the_first_process_of_lightning_records(monkeypatch, tmp_path):
    package(monkeypatch, "lightning.pytorch", Callback=type("Callback", (), {}))
    trainer = SimpleNamespace(global_step=0, is_global_zero=False, optimizers=[])
    callback = lightning_callback(tmp_path / "run.jsonl")
    callback.on_train_start(trainer, Wrapped())
    trainer.global_step = 1
    callback.on_train_batch_end(trainer, Wrapped(), torch.tensor(1.0), None, 0)
    callback.on_exception(trainer, Wrapped(), KeyboardInterrupt())
    assert list(tmp_path.iterdir()) == []


def test_transformers_records_each_step_and_the_loss_of_its_log(monkeypatch, tmp_path):
    package(monkeypatch, "transformers", TrainerCallback=type("TrainerCallback", (), {}))
    network = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    path = tmp_path / "run.jsonl"
    callback = transformers_callback(path, budget=None, say=None)
    wrapped = SimpleNamespace(optimizer=optimizer)  # as accelerate does it
    callback.on_train_begin(None, state, None, model=network, optimizer=wrapped)
    for _ in range(3):
        one_step(network, optimizer)
        callback.on_optimizer_step(None, state, None)
        state.global_step += 1
        callback.on_log(None, state, None, logs={"loss": 0.5 / state.global_step})
    callback.on_train_end(None, state, None)
    record = read_record(path)
    assert list(record["step"].values) == [0, 1, 2, 3]
    np.testing.assert_allclose(record["loss"].values[1:], [0.5, 0.25, 1 / 6])
    assert np.isfinite(record["gradient"].values[1:]).all()


def test_packages_that_are_absent_are_named(monkeypatch, tmp_path):
    absent(monkeypatch, "lightning", "lightning.pytorch", "pytorch_lightning", "transformers")
    with pytest.raises(InputError, match=r"lightning\.pytorch and pytorch_lightning cannot be imported"):
        lightning_callback(tmp_path / "run.jsonl")
    with pytest.raises(InputError, match="pip install transformers"):
        transformers_callback(tmp_path / "run.jsonl")


class Trial:
    """As much of a trial of Optuna as is used: it gives up at the second report."""

    def __init__(self) -> None:
        self.reported: list[int] = []

    def report(self, value: float, step: int) -> None:
        self.reported.append(step)

    def should_prune(self) -> bool:
        return len(self.reported) == 2


def test_a_trial_that_prunes_stops_either_trainer(monkeypatch, tmp_path):
    package(monkeypatch, "lightning.pytorch", Callback=type("Callback", (), {}))
    package(monkeypatch, "transformers", TrainerCallback=type("TrainerCallback", (), {}))
    options = {"budget": None, "say": None, "measure": ["path"]}
    trainer = SimpleNamespace(global_step=0, is_global_zero=True, optimizers=[], should_stop=False)
    callback = lightning_callback(tmp_path / "one.jsonl", prune=(Trial(), "path"), **options)
    callback.on_train_start(trainer, Wrapped())
    stopped = []
    for trainer.global_step in (1, 2):
        callback.on_train_batch_end(trainer, Wrapped(), None, None, 0)
        stopped.append((trainer.should_stop, callback.pruned))
    assert stopped == [(False, False), (True, True)]
    control = SimpleNamespace(should_training_stop=False)
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    callback = transformers_callback(tmp_path / "other.jsonl", prune=(Trial(), "path"), **options)
    callback.on_train_begin(None, state, control, model=nn.Linear(2, 2))
    stopped = []
    for state.global_step in (0, 1):
        callback.on_optimizer_step(None, state, control)
        stopped.append((control.should_training_stop, callback.pruned))
    assert stopped == [(False, False), (True, True)]


def test_a_recorder_that_cannot_be_made_is_told_and_stops_neither_trainer(monkeypatch, tmp_path):
    package(monkeypatch, "lightning.pytorch", Callback=type("Callback", (), {}))
    package(monkeypatch, "transformers", TrainerCallback=type("TrainerCallback", (), {}))
    told: list[str] = []
    trainer = SimpleNamespace(global_step=0, is_global_zero=True, optimizers=[])
    callback = lightning_callback(tmp_path / "run.jsonl", budget=5, say=told.append)
    callback.on_train_start(trainer, Wrapped())
    trainer.global_step = 1
    callback.on_train_batch_end(trainer, Wrapped(), None, None, 0)
    callback.on_train_end(trainer, Wrapped())
    state = SimpleNamespace(global_step=0, is_world_process_zero=True)
    callback = transformers_callback(tmp_path / "run.jsonl", log=3, say=told.append)
    callback.on_train_begin(None, state, None, model=nn.Linear(2, 2))
    callback.on_optimizer_step(None, state, None)
    callback.on_log(None, state, None, logs={"loss": 1.0})
    callback.on_train_end(None, state, None)
    assert [sentence[:32] for sentence in told] == [
        "the run is not recorded: budget ",
        "the run is not recorded: log is ",
    ]
    assert list(tmp_path.iterdir()) == []


def crashing(row: dict[str, float], step: int) -> None:
    raise ConnectionError("the server is away")


def everything(**rest: object) -> dict[str, object]:
    """Options that record all, under a budget so wide that each job runs, with a writer that always fails."""
    return {"measure": "all", "budget": 0.5, "log": crashing, **rest}


def assert_recorded(path, told: list[str]) -> None:
    record = read_record(path)
    assert record["step"].values[[0, -1]].tolist() == [0, 200]
    for name in ("loss", "gradient", "path", "sharpness_ratio", "signal_growth", "symptoms"):
        assert np.isfinite(record[name].values).any(), name
    assert [sentence for sentence in told if "failed" in sentence] == [
        "recorder at step 0: log failed: ConnectionError: the server is away"
    ]
    assert not any("ends" in sentence or "not measured" in sentence for sentence in told), told


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of these packages
def test_the_trainer_of_lightning_gives_the_same_weights_with_and_without(tmp_path):
    pytorch = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Regression(pytorch.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                *(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 4)),
                *(nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)),
            )

        def training_step(self, batch, number):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 0.01)

    path, told = tmp_path / "run.jsonl", []

    def trained(record: bool):
        torch.manual_seed(3)
        data = torch.utils.data.TensorDataset(torch.randn(160, 4))
        loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
        module, callbacks = Regression(), []
        if record:
            options = {
                "batch": torch.linspace(-2, 2, 32).view(8, 4),
                "loss": lambda output: output.square().mean(),
            }
            callbacks = [
                lightning_callback(path, module=lambda m: m.net, say=told.append, **everything(**options))
            ]
        trainer = pytorch.Trainer(
            max_epochs=5,
            callbacks=callbacks,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
        assert trainer.global_step == 200
        return [*module.state_dict().values(), torch.get_rng_state()]

    assert all(torch.equal(one, other) for one, other in zip(trained(False), trained(True), strict=True))
    assert_recorded(path, told)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of these packages
def test_the_trainer_of_transformers_gives_the_same_weights_with_and_without(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    tokens = torch.randint(0, 20, (16, 6), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    path, told = tmp_path / "run.jsonl", []

    def trained(record: bool):
        torch.manual_seed(3)
        shape = {"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 20, "n_positions": 16}
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
        batch = {"input_ids": tokens[:4], "labels": tokens[:4]}
        callback = transformers_callback(path, say=told.append, **everything(batch=batch))
        arguments = transformers.TrainingArguments(
            str(tmp_path / "out"),
            max_steps=200,
            logging_steps=10,
            report_to=[],
            save_strategy="no",
            per_device_train_batch_size=4,
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=data, callbacks=[callback] if record else []
        )
        trainer.train()
        return [*model.state_dict().values(), torch.get_rng_state()]

    assert all(torch.equal(one, other) for one, other in zip(trained(False), trained(True), strict=True))
    assert_recorded(path, told)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of these packages
def test_the_trainer_of_lightning_itself(tmp_path):
    pytorch = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")

    class Regression(pytorch.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(4, 2)

        def training_step(self, batch, number):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(24, 4)), batch_size=4)
    path = tmp_path / "run.jsonl"
    options = {"batch": torch.randn(8, 4), "loss": lambda output: output.square().mean()}
    callback = lightning_callback(path, module=lambda m: m.net, budget=None, say=None, **options)
    trainer = pytorch.Trainer(
        max_epochs=1,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Regression(), loader)
    record = read_record(path)
    assert list(record["step"].values) == list(range(7))
    for name in ("loss", "gradient", "path", "sharpness", "growth"):
        assert np.isfinite(record[name].values[3:]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of these packages
def test_the_trainer_of_transformers_itself(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 20, "n_positions": 16}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
    tokens = torch.randint(0, 20, (16, 6))
    data = [{"input_ids": row, "labels": row} for row in tokens]
    path = tmp_path / "run.jsonl"
    batch = {"input_ids": tokens[:4], "labels": tokens[:4]}
    callback = transformers_callback(path, batch=batch, budget=None, say=None)
    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"),
        max_steps=6,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        per_device_train_batch_size=4,
        use_cpu=True,
        disable_tqdm=True,
    )
    transformers.Trainer(model=model, args=arguments, train_dataset=data, callbacks=[callback]).train()
    record = read_record(path)
    assert list(record["step"].values) == list(range(7))
    for name in ("loss", "gradient", "path", "sharpness_ratio", "growth"):
        assert np.isfinite(record[name].values[3:]).all()
