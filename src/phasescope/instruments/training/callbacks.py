"""The recorder as a callback of PyTorch Lightning and of Hugging Face's Trainer, imported when it is made."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from phasescope.errors import InputError
from phasescope.instruments.training.recorder import TrainingRecorder, on_stderr


def lightning_callback(
    path: Path | str,
    *,
    module: Callable[[Any], Any] | None = None,
    prune: tuple[Any, str] | None = None,
    **options: Any,
) -> Any:
    """Return a callback that records the training of a PyTorch Lightning ``Trainer``.

    Parameters
    ----------
    path : Path or str
        The file, as in :class:`TrainingRecorder`.
    module : callable, optional
        ``module(lightning_module)`` returns the network to record, such as ``lambda m: m.net``, which `loss`
        is called with; the whole LightningModule by default.
    prune : tuple of a trial and str, optional
        A trial of Optuna and the quantity that it is given, as in :meth:`TrainingRecorder.prune`. Once it
        says so the trainer is stopped, and the callback's attribute ``pruned`` is True.
    **options
        Of :class:`TrainingRecorder`. The optimiser is the trainer's first one.

    Returns
    -------
    lightning.pytorch.Callback
        For ``Trainer(callbacks=[...])``; its attribute ``recorder`` is there once training has begun.

    Raises
    ------
    InputError
        If neither lightning nor pytorch_lightning is installed.

    Notes
    -----
    A step is one of the optimiser, so that batches whose gradients are accumulated count as one. Only the
    process of rank 0 records. A run that goes on from a checkpoint goes on in its file. Whatever fails is
    told by `say` and does not stop the trainer, wrong options among it.
    """
    base = _imported("Callback", "lightning.pytorch", "pytorch_lightning", install="lightning")

    class RecorderCallback(base):  # type: ignore[misc, valid-type]
        recorder: TrainingRecorder | None = None
        pruned = False

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero:
                self.recorder = _begun(lambda: self._recorder(trainer, pl_module), options)

        def _recorder(self, trainer: Any, pl_module: Any) -> TrainingRecorder:
            network = pl_module if module is None else module(pl_module)
            own: dict[str, Any] = {"optimizer": trainer.optimizers[0] if trainer.optimizers else None}
            return TrainingRecorder(path, network, step=trainer.global_step, **(own | options))

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
        ) -> None:
            if self.recorder is not None and trainer.global_step > self.recorder.step:
                loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
                self.recorder(loss, step=trainer.global_step)
                if prune is not None and self.recorder.prune(*prune):
                    self.pruned = trainer.should_stop = True

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            _end(self.recorder)

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            _end(self.recorder)

    return RecorderCallback()


def transformers_callback(path: Path | str, *, prune: tuple[Any, str] | None = None, **options: Any) -> Any:
    """Return a callback that records the training of a Hugging Face ``Trainer``.

    Parameters
    ----------
    path : Path or str
        The file, as in :class:`TrainingRecorder`.
    prune : tuple of a trial and str, optional
        A trial of Optuna and the quantity that it is given, as in :meth:`TrainingRecorder.prune`. Once it
        says so the trainer is stopped, and the callback's attribute ``pruned`` is True.
    **options
        Of :class:`TrainingRecorder`; for sharpness and exponent a `batch` with labels, as the model takes it.
        Model and optimiser are the trainer's.

    Returns
    -------
    transformers.TrainerCallback
        For ``Trainer(callbacks=[...])``; its attribute ``recorder`` is there once training has begun.

    Raises
    ------
    InputError
        If transformers is not installed.

    Notes
    -----
    The trainer gives callbacks no loss of a step: that of its log (``logging_steps``) is written. Only the
    first process records. A run that goes on from a checkpoint goes on in its file. Whatever fails is told by
    `say` and does not stop the trainer, wrong options among it.
    """
    base = _imported("TrainerCallback", "transformers", install="transformers")

    class RecorderCallback(base):  # type: ignore[misc, valid-type]
        recorder: TrainingRecorder | None = None
        pruned = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                optimizer = kwargs.get("optimizer")
                own = {"optimizer": getattr(optimizer, "optimizer", optimizer)}  # accelerate wraps it
                given = {"step": state.global_step, **own, **options}
                self.recorder = _begun(lambda: TrainingRecorder(path, kwargs["model"], **given), options)

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            # Here the gradients are still there; the trainer counts the step after its end.
            if self.recorder is not None:
                self.recorder(step=state.global_step + 1)
                if prune is not None and self.recorder.prune(*prune):
                    self.pruned = control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if self.recorder is not None and logs and isinstance(logs.get("loss"), (int, float)):
                self.recorder.note(state.global_step, loss=logs["loss"])

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            _end(self.recorder)

    return RecorderCallback()


def _begun(make: Callable[[], TrainingRecorder], options: dict[str, Any]) -> TrainingRecorder | None:
    """Return the recorder, or None where it cannot be made: that is told, and the trainer goes on."""
    try:
        return make()
    except Exception as error:
        say = options.get("say", on_stderr)
        if say is not None:
            with suppress(Exception):
                say(f"the run is not recorded: {error}")
        return None


def _end(recorder: TrainingRecorder | None) -> None:
    if recorder is not None:
        recorder.close()


def _imported(name: str, *packages: str, install: str) -> Any:
    for package in packages:
        try:
            return getattr(importlib.import_module(package), name)
        except ImportError:
            continue
    raise InputError(f"{' and '.join(packages)} cannot be imported.", f"pip install {install}")
