"""Where recorded rows go beside the file: trackers of experiments, known by their methods, never imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from phasescope.errors import InputError

Writer = Callable[[dict[str, float], int], object]
_GROUP = "phasescope/"  # keeps the rows together in a tracker, apart from the user's own numbers


def as_writers(log: Any) -> list[Writer]:
    """Return a function of a row and its step for each tracker or function in `log`."""
    if log is None:
        return []
    if isinstance(log, (list, tuple)):
        return [writer for each in log for writer in as_writers(each)]
    if callable(getattr(log, "add_scalar", None)):
        return [_tensorboard(log)]
    if callable(getattr(log, "log_metrics", None)):
        return [lambda row, step: log.log_metrics(_grouped(row), step=step)]  # MLflow, loggers of Lightning
    if callable(getattr(log, "log", None)):
        return [lambda row, step: log.log(_grouped(row), step)]  # a run of W&B
    if callable(log):
        return [log]
    raise InputError(
        f"log is a {type(log).__name__}, which has none of the methods log, log_metrics and add_scalar.",
        "Pass a SummaryWriter of TensorBoard, a run of W&B, the module mlflow or a function (row, step).",
    )


def _tensorboard(writer: Any) -> Writer:
    def write(row: dict[str, float], step: int) -> None:
        for name, value in _grouped(row).items():
            writer.add_scalar(name, value, step)

    return write


def _grouped(row: dict[str, float]) -> dict[str, float]:
    return {f"{_GROUP}{name}": value for name, value in row.items()}
