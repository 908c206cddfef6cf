"""A recorder for a training loop of the user's own: one call a step, within a share of the loop's time."""

from __future__ import annotations

import io
import math
import statistics
import sys
import time
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import phasescope
from phasescope.errors import InputError
from phasescope.instruments.activation_noise.sequences import no_series
from phasescope.instruments.training.looks import LOOKS, Looks
from phasescope.instruments.training.record import FORMAT, Appender, Lines, read_lines
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import untouched
from phasescope.regular_files import read_regular
from phasescope.training.maps import map_now, training_map, weights_now
from phasescope.training.objective import Objective, objective
from phasescope.training.sharpness import Sharpness, sharpness
from phasescope.whole_files import os_errors_told, write_whole

_Writer = Callable[[dict[str, float], int], object]
_GROUP = "phasescope/"  # keeps the rows together in a tracker, apart from the user's own numbers

MEASURES = ("path", "displacement", "distance", "gradient", "sharpness", "exponent", *LOOKS)
_USUAL = MEASURES[:6]
_BURST, _ALIGNING = 10, 2  # steps in a row of which a growth is recorded, and those before it
_WARM = 0.5  # of the time that the first sharpness takes, which has no vectors to start from
_TOLERANCE = 1e-2  # relative residual of the sharpness
_THIN = 10_000  # a line at every step up to this one, at every second up to twice as many, and so on
_TOLD_AT = {10**k for k in range(1, 12)}
_SAME = 1e-3  # displacements that differ by less, relative, belong to the same step
_FIRST_SHARE = 0.5  # of the budget, for the first job where there are several
_PLANNED = 0.9  # of the budget; the rest is for what a call cannot see of itself
_RECENT = 7  # runs whose median is expected: one that was interrupted by other processes does not count


def on_stderr(text: str) -> None:
    """Print a sentence where it does not mix with results."""
    print(text, file=sys.stderr)


class TrainingRecorder:
    r"""Records how a training run moves through the space of weights, one call a step.

    .. code-block:: python

        recorder = TrainingRecorder("run.jsonl", model, loss=loss_fn, batch=(x, y), optimizer=optimizer)
        for inputs, targets in loader:
            ...
            optimizer.step()
            recorder(loss)

    A call takes the loss of the step, a number or a tensor without axes, which may be left out; and
    ``step=``, the steps made so far, this one included, where it is not one more than at the last call. Each
    step gives, as far as it was asked for and is due:

    * ``path``: the path length :math:`\sum_t |w_t - w_{t-1}|_2` of the trained parameters. Over steps that
      were left out the straight line is taken, so that it is then a lower bound; ``skipped`` counts them.
    * ``displacement``: :math:`|w_t - w_0|_2`, `w_0` the weights at the start of the first session.
    * ``distance``, ``distance_l1``: to the parameters of `twin`, in the L2 and the L1 norm.
    * ``gradient``: L2 norm of the gradient in ``.grad``, as the optimiser saw it last; call before
      ``zero_grad()``.
    * ``sharpness``: largest eigenvalue of the Hessian on `batch`, or of the preconditioned one for adaptive
      optimisers, its residual as ``sharpness_error``, and ``sharpness_ratio``, the sharpness over the
      threshold of the optimiser at its present rate (:func:`phasescope.training.sharpness`).
    * ``growth``: logarithm of the growth of one small difference in the next step. A tangent vector of
      weights and optimiser state is carried along by the derivative of the optimiser's step at the user's own
      states, with the Hessian on `batch`. Its mean over steps is a finite-time Lyapunov exponent of the run:
      exact where the training takes `batch` at each step and every step is recorded; else one of the same
      states without the noise of mini-batches. It is recorded in bursts of 10 steps in a row; two steps
      before each turn the vector into its direction.

    Three more look at the model on `batch`, in the mode that it is in, and have to be asked for in `measure`:

    * ``signal``: ``signal_margin``, the mean of :math:`\ln \chi_\perp` per step of depth, 0 at criticality,
      with its error, and ``signal_growth``, the :math:`\ln \chi_\perp` that is furthest from 0
      (:func:`phasescope.signal.profile`).
    * ``symptoms``: their number, and as ``symptoms_new`` that of those not seen before in this session, which
      `say` and the notes of the file name (:class:`Symptoms`).
    * ``noise``: ``noise_beta``, the exponent of the spectrum :math:`f^{-\beta}` of the states along time,
      with its error: the mean over at most 128 units of each hidden state, cell and residual stream, or of
      the outputs of layers where there are none (:func:`phasescope.noise.population`).

    Parameters
    ----------
    path : Path or str
        The file; one that is there is continued.
    model : nn.Module
        The model in training. It is only read.
    loss : callable, optional
        As in :func:`phasescope.training.objective`; None takes ``output.loss``.
    batch : tuple, mapping or tensor, optional
        The fixed batch for sharpness, exponent, signal, symptoms and noise: inputs and targets. A quarter of
        a training batch is enough to follow the sharpness; noise takes sequences of at least 160 steps.
    optimizer : torch.optim.Optimizer, optional
        The optimiser in use, for its threshold and for the exponent; it is only read.
    budget : float or None
        Share of the time of the user's own steps that may be spent: 0.05 for 5 %. Each measurement waits
        until the time for it is saved. None measures everything at each step. What is measured at the start,
        before the first step, is not counted.
    measure : sequence of str or "all", optional
        Any of "path", "displacement", "distance", "gradient", "sharpness", "exponent", "signal", "symptoms",
        "noise"; by default those of the first six that the other arguments allow. "all" takes what they allow
        of the nine.
    twin : nn.Module, optional
        A second model that the same loop trains beside the first, such as a copy that was started with a
        small kick.
    seed : int
        Of the first tangent vector, the first vector of the iteration for the sharpness, and the tangents of
        the signal.
    step : int, optional
        Steps that the model has made already; by default 0, and for a file that is continued its last one.
    say : callable or None
        Called with a sentence on the intervals at steps 10, 100, 1000, ..., on new symptoms, and on what
        could not be measured; prints on stderr by default.
    log : object, callable or list of them, optional
        Gets the numbers of each line that is written, too: a ``SummaryWriter`` of TensorBoard (``add_scalar``
        for each number), the module ``mlflow`` or a logger of Lightning (``log_metrics(row, step=step)``), a
        run of W&B (``log(row, step)``), which all see names such as ``phasescope/sharpness``; or a function
        ``(row, step)``, which sees them as they are in the file.

    Raises
    ------
    InputError
        If the arguments do not fit each other, or the file cannot be written or is no record; if a file is
        to be continued and the model is not that of its last step.

    Notes
    -----
    The model, its gradients, the optimiser and all random states stay bit-identical; a failure of a
    measurement ends that measurement with a note in the file, not the training. An error of `log` is told
    once, and the next row is tried again; any other error in a call ends the recording.

    Memory: two copies of the trained parameters (the first weights and the last), and for sharpness and
    exponent a copy of the model, the tangent, and up to 30 vectors while the sharpness is computed. Signal,
    symptoms and noise take at most twice the weights, or 1 GB if that is more, while they run.

    Disk: beside the file lies ``PATH.start.npy`` with the weights at the start. A line of about 200 bytes is
    written for every step that was measured up to step 10 000, for every second up to 20 000, and so on;
    path lengths go on in between. A line is in the hands of the operating system before the call returns.

    Cost: path and displacement take about 10 % of a step of a small MLP with batches of 128, so that at 5 %
    they are measured at every second or third step. On `batch`, signal takes about 9 forward and 2 backward
    passes, symptoms one of each, and noise six forward passes and an analysis of each unit. On the CPU, time
    is that of the processor, so that other processes do not count.

    Examples
    --------
    >>> import tempfile, torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> path = Path(tempfile.mkdtemp()) / "run.jsonl"
    >>> recorder = TrainingRecorder(path, model, budget=None, say=None)
    >>> for _ in range(3):
    ...     _ = model.weight.data.add_(1.0)
    ...     recorder()
    >>> recorder.close()
    >>> from phasescope.instruments import read_record
    >>> print(read_record(path)["path"].values.round(3))
    [0.    1.414 2.828 4.243]
    """

    def __init__(
        self,
        path: Path | str,
        model: nn.Module,
        *,
        loss: Callable[..., Any] | None = None,
        batch: Any = None,
        optimizer: torch.optim.Optimizer | None = None,
        budget: float | None = 0.05,
        measure: Sequence[str] | None = None,
        twin: nn.Module | None = None,
        seed: int = 0,
        step: int | None = None,
        say: Callable[[str], object] | None = on_stderr,
        log: Any = None,
    ) -> None:
        if budget is not None and not 0 < budget < 1:
            raise InputError(f"budget = {budget!r}.", "Pass a share such as 0.05, or None for no limit.")
        self.path = Path(path)
        self._module, self._optimizer, self._say, self._seed = as_module(model), optimizer, say, seed
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        if not self._parameters:
            raise InputError(
                f"{type(self._module).__name__} has no parameter that is trained.",
                "Set requires_grad to True before the recorder is made.",
            )
        self._twin = [] if twin is None else _trained_as(twin, self._parameters)
        self._measured = _chosen(measure, self._module, batch=batch, optimizer=optimizer, twin=twin)
        self._writers = _as_writers(log)
        self._told: set[str] = set()  # what is told once
        self._latest: dict[str, tuple[int, float]] = {}  # numbers by name, with their steps
        self._reported: dict[str, int] = {}  # steps of the last numbers that a trial was given
        self._objective: Objective | None = None
        self._tangent = torch.empty(0)
        self._curved: Sharpness | None = None  # the last one, which the next starts from
        if self._measured & {"sharpness", "exponent"}:
            self._prepare(loss, batch)
        looked = any(look in self._measured for look in LOOKS)
        self._looks = Looks(self._module, batch, loss, seed) if looked else None
        expensive = [job for job in ("sharpness", "exponent", *LOOKS) if job in self._measured]
        self._pace = Pace(budget, ["norms", *expensive])
        self._burst = 0  # steps left of the present burst
        self._in_a_row, self._carried = (
            0,
            -1,
        )  # steps without a gap that the tangent was carried, the last one
        self._path, self._skipped, self._seconds = 0.0, 0, 0.0
        self.step = step or 0
        self._start: list[Tensor] = []
        with os_errors_told(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            known = self.path.exists() and self.path.stat().st_size > 0
            mark = self._continued(read_lines(self.path), step) if known else self._started()
            self._file: Appender | None = Appender(self.path)
            self._file.append(self._header(budget, mark))
        self._first = self._covered = self._next_line = self.step
        self._last = [p.detach().clone() for p in self._parameters] if "path" in self._measured else []
        self._first_line()
        self._began, self._left = time.perf_counter(), self._now()

    def __call__(self, loss: Tensor | float | None = None, *, step: int | None = None) -> None:
        """Record a step that was made since the last call, with its loss."""
        now = self._now()
        self._pace.earn(now - self._left)
        self.step = self.step + 1 if step is None else step
        due = [job for job in self._pace.runs if self._pace.due(job) or (job == "exponent" and self._burst)]
        if due and self._file is not None:
            if self._parameters[0].is_cuda:
                torch.cuda.synchronize(self._parameters[0].device)  # until here it is the user's own step
                self._pace.earn(self._now() - now)
                now = self._now()
            try:
                now = self._record(due, loss, now)
            except Exception as error:  # the training goes on, whatever happens here
                self._tell(f"recorder at step {self.step}: {_named(error)}; recording ends")
                self.close()
        self._left = self._now()
        self._pace.spend("norms", self._left - now, runs=0)

    def note(self, step: int, **values: float) -> None:
        """Write numbers of the user's own to a step, such as a validation loss.

        Parameters
        ----------
        step : int
            The step that they belong to.
        **values : float
            The numbers by name.
        """
        self._write({"step": step, **{name: float(value) for name, value in values.items()}})

    def prune(self, trial: Any, quantity: str) -> bool:
        """Report the newest value of a quantity to a trial of Optuna, and return whether to end the run.

        The trial is asked only where the quantity has been recorded at a later step than that of the last
        report. An error of the trial is told once, and the run goes on.

        Parameters
        ----------
        trial : optuna.Trial
            Anything with ``report(value, step)`` and ``should_prune()``.
        quantity : str
            A name of the file, such as "loss" or "sharpness_ratio", or of :meth:`note`. Smaller is better
            where the study minimises.

        Returns
        -------
        bool
            Whether the trial says so; then raise ``optuna.TrialPruned``.
        """
        step, value = self._latest.get(quantity, (-1, math.nan))
        if step <= self._reported.get(quantity, -1):
            return False
        self._reported[quantity] = step

        def ask() -> Any:
            trial.report(value, step)
            return trial.should_prune()

        return bool(self._attempt("the trial", ask))

    def close(self) -> None:
        """Close the file; a later call records nothing."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def overhead(self) -> float:
        """Time spent on recording over the time of the user's own steps, so far."""
        return self._pace.overhead

    @property
    def summary(self) -> str:
        """One sentence on how often each quantity has been measured, and what it cost."""
        norms = ", ".join(name for name in MEASURES[:4] if name in self._measured) or "loss"
        parts = []
        for job, runs in self._pace.runs.items():
            name = norms if job == "norms" else job
            every = (self.step - self._first) / runs if runs else math.inf
            if not runs:
                parts.append(f"{name} not yet")
            elif every < 1.05:
                parts.append(f"{name} at every step")
            elif job == "exponent":
                parts.append(f"{name} in {_BURST} of every {(_ALIGNING + _BURST) * every:.0f} steps")
            else:
                parts.append(f"{name} every {every:.{1 if every < 10 else 0}f} steps")
        allowed = "" if self._pace.budget is None else f", {100 * self._pace.budget:g} % allowed"
        cost = f"cost {100 * self.overhead:.2g} % of the steps{allowed}"
        return f"recorder at step {self.step}: {'; '.join(parts)}; {cost}"

    def _prepare(self, loss: Callable[..., Any] | None, batch: Any) -> None:
        """Make the copy of the model that sharpness and exponent are computed on."""
        low = self._parameters[0].dtype in (torch.float16, torch.bfloat16)
        dtype = torch.float32 if low else None
        if self._optimizer is None:
            self._objective = objective(self._module, loss, batch, dtype=dtype)
            return
        made = training_map(self._module, loss, batch, self._optimizer, dtype=dtype)
        self._objective = made.objective
        if "exponent" in self._measured:
            generator = torch.Generator().manual_seed(self._seed)
            first = torch.randn(made.weights, generator=generator, dtype=torch.float64)
            self._tangent = made.state((first / first.norm()).to(made.initial))

    def _started(self) -> int | None:
        """Keep the weights of the start beside a new file, and return their checksum."""
        if "displacement" not in self._measured:
            return None
        self._start = [p.detach().clone() for p in self._parameters]
        flat = torch.cat([p.flatten() for p in self._start]).cpu()
        content = io.BytesIO()
        np.save(content, (flat.float() if flat.itemsize < 4 else flat).numpy(), allow_pickle=False)
        write_whole(self._start_path, content.getvalue())
        return zlib.crc32(content.getvalue())

    def _continued(self, found: Lines, step: int | None) -> int | None:
        """Go on where a file ends, or at an earlier step that the model was taken back to."""
        header, number = found.headers[0], sum(p.numel() for p in self._parameters)
        if header["parameters"] != number:
            raise InputError(
                f"{self.path} records {header['parameters']} trained parameters, and the model has {number}.",
                "Name another file for this model.",
            )
        lines = {header["step"]: {"path": 0.0, "displacement": 0.0}} | found.steps
        latest = max(at for at in lines if step is None or at <= step or at == header["step"])
        last = lines[latest]
        self.step = latest if step is None else step
        self._path = float(last.get("path") or 0.0)
        self._skipped = int(last.get("skipped") or 0) + max(0, self.step - latest)
        self._seconds = float(last.get("seconds") or 0.0)
        if "displacement" in self._measured:
            self._read_start(header["start"])
        then = lines.get(self.step, {}).get("displacement")
        if self._start and then is not None:
            now = _norm(_differences([p.detach() for p in self._parameters], self._start))
            if abs(now - then) > _SAME * max(now, then):
                raise InputError(
                    f"{self.path} has a displacement of {then:.4g} at step {self.step}, and the model one of "
                    f"{now:.4g}: it is not the model of that step.",
                    "Pass step= with the number of steps that the model has made, or name another file.",
                )
        mark: int | None = header["start"]
        return mark

    @property
    def _start_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.start.npy")

    def _read_start(self, mark: int | None) -> None:
        content = read_regular(self._start_path) if self._start_path.exists() else b""
        if zlib.crc32(content) != mark:
            raise InputError(
                f"{self._start_path}, the weights at the start, is missing or damaged.",
                "Name another file, or leave the displacement out of measure=.",
            )
        flat = torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False))
        pieces = torch.split(flat, [p.numel() for p in self._parameters])
        self._start = [piece.view(p.shape).to(p) for piece, p in zip(pieces, self._parameters, strict=True)]

    def _header(self, budget: float | None, mark: int | None) -> dict[str, Any]:
        first = self._parameters[0]
        return {
            "record": FORMAT,
            "step": self.step,
            "model": type(self._module).__name__,
            "parameters": sum(p.numel() for p in self._parameters),
            "dtype": str(first.dtype).removeprefix("torch."),
            "device": str(first.device),
            "measured": [name for name in MEASURES if name in self._measured],
            "budget": budget,
            "seed": self._seed,
            "start": mark,
            "notes": list(self._objective.notes) if self._objective is not None else [],
            "phasescope": phasescope.__version__,
            "torch": str(torch.__version__),
        }

    def _first_line(self) -> None:
        """Measure once before the first step, which also tells how long each job takes."""
        values: dict[str, Any] = {}
        for job in list(self._pace.runs):
            began = self._now()
            values |= self._norms() if job == "norms" else self._tried(job)
            parts = {"exponent": _ALIGNING + _BURST, "sharpness": _WARM}.get(job, 1)
            self._pace.expect(job, parts * (self._now() - began))
        self._burst = 0
        self._write({"step": self.step, "seconds": self._seconds, **values})

    def _record(self, due: Sequence[str], loss: Tensor | float | None, began: float) -> float:
        """Measure what is due, write a line, and return the time up to which it has been paid for."""
        values: dict[str, Any] = {}
        for job in [job for job in due if job != "norms"]:
            values |= self._tried(job)
            now = self._now()
            self._pace.spend(job, now - began, parts=_ALIGNING + _BURST if job == "exponent" else 1)
            began = now
        if values or ("norms" in due and self.step >= self._next_line):
            self._next_line = self.step + 1 + self.step // _THIN
            if loss is not None:
                values["loss"] = float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
            values |= self._norms() if "norms" in due else {}
            seconds = self._seconds + time.perf_counter() - self._began
            self._write({"step": self.step, "seconds": round(seconds, 6), **values})
        elif "norms" in due:
            self._norms()
        now = self._now()
        self._pace.spend("norms", now - began, runs="norms" in due)
        if self.step - self._first in _TOLD_AT:
            self._tell(self.summary)
        return now

    def _tried(self, job: str) -> dict[str, float]:
        """Return what a job measures; one that fails is not run again."""
        try:
            if job not in LOOKS:
                return self._on_the_copy(job)
            assert self._looks is not None
            numbers, text = self._looks.take(job)
        except Exception as error:  # whatever a user's model does once it has diverged
            self._pace.drop(job)
            numbers, text = {}, f"{job} was not measured from here on: {error}"
        if text:
            self._write({"step": self.step, "note": text})
            self._tell(f"recorder at step {self.step}: {text}")
        return numbers

    def _on_the_copy(self, job: str) -> dict[str, float]:
        assert self._objective is not None
        with untouched(self._objective.module):
            return self._sharpness() if job == "sharpness" else self._growth()

    def _now(self) -> float:
        """Return the time of the processor, where that is what computes: other processes do not count."""
        return time.process_time() if self._parameters[0].device.type == "cpu" else time.perf_counter()

    def _norms(self) -> dict[str, float]:
        """Return what is read off the weights and gradients, and go on with the path."""
        values: dict[str, float] = {}
        with torch.no_grad():
            if "path" in self._measured:
                self._path += _norm(_differences(self._parameters, self._last))
                self._skipped += max(0, self.step - self._covered - 1)
                self._covered = self.step
                for last, parameter in zip(self._last, self._parameters, strict=True):
                    last.copy_(parameter)
                values |= {"path": self._path, "skipped": self._skipped}
            if "displacement" in self._measured:
                values["displacement"] = _norm(_differences(self._parameters, self._start))
            if "distance" in self._measured:
                apart = _differences(self._parameters, self._twin)
                values |= {"distance": _norm(apart), "distance_l1": _norm(apart, order=1)}
            if "gradient" in self._measured:
                gradients = [p.grad for p in self._parameters if p.grad is not None]
                values |= {"gradient": _norm(gradients)} if gradients else {}
        return values

    def _sharpness(self) -> dict[str, float]:
        assert self._objective is not None
        options: dict[str, Any] = {"tolerance": _TOLERANCE, "start": self._curved, "seed": self._seed}
        if self._optimizer is None:
            weights = weights_now(self._objective, self._module)
            self._curved = sharpness(self._objective, weights, **options)
            return {"sharpness": self._curved.top.value, "sharpness_error": self._curved.top.error}
        now = map_now(self._objective, self._module, self._optimizer)
        if (
            "square" in now.rule.slots and now.rule.age == 0
        ):  # nothing to divide by yet; tells how long it takes
            sharpness(self._objective, now.weights_of(now.initial), **options)
            return {}
        self._curved = sharpness(now, now.initial, **options)
        return {
            "sharpness": self._curved.top.value,
            "sharpness_error": self._curved.top.error,
            "sharpness_ratio": self._curved.ratio.value,
        }

    def _growth(self) -> dict[str, float]:
        """Carry the tangent through the step that comes next, and return the logarithm of its growth."""
        assert self._objective is not None
        assert self._optimizer is not None
        now = map_now(self._objective, self._module, self._optimizer)
        _, moved, _ = now.tangent(now.initial, self._tangent[None], 0, overwrite=True)
        length = float(moved.double().norm())
        if not (math.isfinite(length) and length > 0):
            raise InputError(f"a small difference has grown by a factor of {length} in one step.")
        self._tangent = moved[0] / length
        self._in_a_row = self._in_a_row + 1 if self._carried == self.step - 1 else 1
        self._carried = self.step
        self._burst = (self._burst or _ALIGNING + _BURST) - 1
        return {"growth": math.log(length)} if self._in_a_row > _ALIGNING else {}

    def _write(self, values: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.append(values)
        except OSError as error:
            self._tell(
                f"recorder at step {self.step}: {self.path} cannot be written ({error}); recording ends"
            )
            self.close()
        step = values["step"]
        row = {
            name: float(value)
            for name, value in values.items()
            if name != "step" and isinstance(value, (int, float))
        }
        if row:
            self._latest |= {name: (step, value) for name, value in row.items()}
            for number, writer in enumerate(self._writers, start=1):
                what = f"log, number {number}," if len(self._writers) > 1 else "log"
                self._attempt(what, partial(writer, dict(row), step))

    def _attempt(self, what: str, act: Callable[[], Any]) -> Any:
        """Return what `act` returns; None if it fails, of which the first time is told."""
        try:
            return act()
        except Exception as error:
            if what not in self._told:
                self._told.add(what)
                note = f"{what} failed: {_named(error)}"
                self._write({"step": self.step, "note": note})
                self._tell(f"recorder at step {self.step}: {note}")
            return None

    def _tell(self, sentence: str) -> None:
        with suppress(Exception):  # such as a stream that is closed
            if self._say is not None:
                self._say(sentence)


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _chosen(
    measure: Sequence[str] | None, module: nn.Module, *, batch: Any, optimizer: Any, twin: Any
) -> set[str]:
    """Return what is measured; refuse what lacks an argument."""
    needed = {
        "distance": ["twin"] if twin is None else [],
        **dict.fromkeys(("sharpness", *LOOKS), ["batch"] if batch is None else []),
        "exponent": [name for name, given in (("batch", batch), ("optimizer", optimizer)) if given is None],
    }
    if measure is None:
        return {name for name in _USUAL if not needed.get(name)}
    silent = (
        no_series(module, batch) if batch is not None and (measure == "all" or "noise" in measure) else ""
    )
    if measure == "all":
        allowed = {name for name in MEASURES if not needed.get(name)}
        return allowed - {"noise"} if silent else allowed
    measure = [measure] if isinstance(measure, str) else measure
    unknown = [name for name in measure if name not in MEASURES]
    if unknown:
        raise InputError(f"measure names {unknown[0]!r}.", f"Choose from {', '.join(MEASURES)}.")
    for name in measure:
        if needed.get(name):
            raise InputError(f"{name} needs {' and '.join(needed[name])}.", f"Pass {needed[name][0]}=.")
    if silent:
        raise InputError(f"noise cannot be recorded: {silent}.", "Leave it out of measure=.")
    return set(measure)


def _trained_as(twin: nn.Module, parameters: Sequence[Tensor]) -> list[Tensor]:
    found = [p for p in as_module(twin).parameters() if p.requires_grad]
    if [p.shape for p in found] != [p.shape for p in parameters]:
        raise InputError(
            f"The twin has {sum(p.numel() for p in found)} trained parameters, not of the model's shapes.",
            "Make it with copy.deepcopy(model).",
        )
    return list(found)


def _differences(one: Sequence[Tensor], other: Sequence[Tensor]) -> list[Tensor]:
    return [a - b for a, b in zip(one, other, strict=True)]


def _norm(parts: Sequence[Tensor], *, order: float = 2) -> float:
    dense = [part.coalesce().values() if part.is_sparse else part for part in parts]
    norms = torch.stack([torch.linalg.vector_norm(part, order) for part in dense])
    return float(torch.linalg.vector_norm(norms.double(), order))


class Pace:
    """Saves for each measurement from the time that the user's own steps take.

    Each second of the user's own steps brings `budget` seconds, half of them for the first job and the rest
    for the others; what a job does not need goes to the next. A job is due once as much is saved as the
    median of its last runs took, and at most twice as much is saved. Without a budget, each is always due.
    """

    def __init__(self, budget: float | None, jobs: Sequence[str]) -> None:
        self.budget = budget
        self.own = self.spent = 0.0  # seconds of the user's steps, and of everything that was measured
        self.runs = dict.fromkeys(jobs, 0)
        self._expected = dict.fromkeys(jobs, 0.0)
        self._recent: dict[str, deque[float]] = {job: deque(maxlen=_RECENT) for job in jobs}
        self._saved = dict.fromkeys(jobs, 0.0)
        others = len(jobs) - 1
        shares = [_FIRST_SHARE if others else 1.0, *[(1.0 - _FIRST_SHARE) / max(others, 1)] * others]
        self._shares = dict(zip(jobs, shares, strict=True))

    def expect(self, job: str, seconds: float) -> None:
        """Take a run of a job to last so long."""
        self._expected[job] = seconds

    def earn(self, seconds: float) -> None:
        """Save from a step of the user's own that took so long."""
        self.own += seconds
        if self.budget is None:
            return
        income = left = _PLANNED * self.budget * seconds
        for job, share in self._shares.items():
            left -= self._save(job, share * income)
        for job in self._shares:
            left -= self._save(job, left)

    def _save(self, job: str, most: float) -> float:
        saved = max(0.0, min(2.0 * self._expected[job] - self._saved[job], most))
        self._saved[job] += saved
        return saved

    def due(self, job: str) -> bool:
        """Return whether a job may run now."""
        return job in self.runs and (self.budget is None or self._saved[job] >= self._expected[job])

    def spend(self, job: str, seconds: float, *, parts: int = 1, runs: int = 1) -> None:
        """Charge a job for one of the `parts` of a run, from which the length of the next run is expected."""
        self.spent += seconds
        if job in self.runs:  # what was dropped has cost as well
            self.runs[job] += runs
            self._saved[job] -= seconds
            if runs:
                self._recent[job].append(parts * seconds)
                self._expected[job] = statistics.median(self._recent[job])

    def drop(self, job: str) -> None:
        """Run a job no more."""
        del self.runs[job], self._shares[job]

    @property
    def overhead(self) -> float:
        """What was measured took this share of the time of the user's own steps."""
        return self.spent / self.own if self.own > 0 else 0.0


# Trackers of experiments, known by their methods, never imported


def _as_writers(log: Any) -> list[_Writer]:
    """Return a function of a row and its step for each tracker or function in `log`."""
    if log is None:
        return []
    if isinstance(log, (list, tuple)):
        return [writer for each in log for writer in _as_writers(each)]
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


def _tensorboard(writer: Any) -> _Writer:
    def write(row: dict[str, float], step: int) -> None:
        for name, value in _grouped(row).items():
            writer.add_scalar(name, value, step)

    return write


def _grouped(row: dict[str, float]) -> dict[str, float]:
    return {f"{_GROUP}{name}": value for name, value in row.items()}
