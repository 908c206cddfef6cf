"""The steps of ``phasescope explore``."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from phasescope import report
from phasescope.cli.progress import Step, progress
from phasescope.cli.study_progress import duration
from phasescope.cli.terminal import say
from phasescope.data import picture
from phasescope.errors import InputError
from phasescope.regular_files import read_regular
from phasescope.sweep import DamagedTaskError, Store, Task, write_together
from phasescope.synapses import PictureNet, fit, rmse

if TYPE_CHECKING:
    from phasescope.cli.commands import Explore

_STEPS = {"lm": 100, "lbfgs": 500, "adam": 10_000, "rprop": 3000}  # without --steps and --seconds
_SLICE = 2.0  # CPU seconds between two checkpoints
_LARGEST = 256  # pixels along a side: beyond it a page of 3 MB and a frame of 20 ms are out of reach
_AGAIN = "Run phasescope explore on the picture again."
_EXPORT = "Export it from the page again, or name the folder of a run."
_LONGEST_FILE = 1 << 26  # bytes of JSON


@dataclass(frozen=True)
class _Trained:
    """One network of a run."""

    seed: int
    net: PictureNet
    rmse: float
    steps: int
    seconds: float
    notes: tuple[str, ...]


def run(words: Explore, command: str) -> tuple[str, int]:
    """Train on a picture or read a run, write the page, and return what to print and the exit code."""
    source = Path(words.source)
    if source.is_dir():
        found = _read_run(source)
        out = source if words.out is None else words.out
    elif source.suffix.lower() == ".json":
        found = _read_network(source, words.size)
        out = Path("phasescope-explore") if words.out is None else words.out
    else:
        return _trained(words, command)
    if words.steps is not None or words.seconds is not None:
        raise InputError(
            "--steps and --seconds train, and a run is only read.",
            "Leave them out, or name the picture: its training then goes on.",
        )
    report.check_writable(out)
    return _answer(words, out, found, command)


def _trained(words: Explore, command: str) -> tuple[str, int]:
    _check(words)
    out = Path("phasescope-explore") if words.out is None else words.out
    shown = picture(words.source, longest=words.size)
    report.check_writable(out)
    height, width = shown.values.shape[:2]
    digest = hashlib.sha256(shown.values.numpy().tobytes()).hexdigest()
    store = Store(out / "training")
    try:
        store.write(_picture_task(shown.name, digest), {"values": shown.values.numpy()})
        nets = _train_all(words, shown.values, digest, store)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped with Ctrl-C; what is trained so far is in {store.directory}, and the same command "
            "goes on from there."
        ) from None
    best = min(nets, key=lambda each: each.rmse)
    notes = [*shown.notes, *(f"Seed {each.seed}: {note}" for each in nets for note in each.notes)]
    content = {
        **best.net.to_dict(),
        "picture": {"name": shown.name, "sha256": digest, "height": height, "width": width},
        "method": words.method,
        "seed": best.seed,
        "fits": [{"seed": each.seed, "rmse": each.rmse, "steps": each.steps} for each in nets],
        "notes": notes,
    }
    content["sha256"] = _checksum(content)
    text = json.dumps(content, indent=1, allow_nan=False)
    write_together(out, {"network.json": text + "\n", "original.png": _png(shown.values)})
    found = _Found(best.net, shown.values, shown.name, content["fits"], best.seed, words.method, notes)
    return _answer(words, out, found, command, {each.seed: each.seconds for each in nets})


def _check(words: Explore) -> None:
    if not 0 <= words.seed < 2**32:
        raise InputError(f"--seed {words.seed} is out of range.", "Use a whole number from 0 to 4294967295.")
    if words.seeds < 1:
        raise InputError(f"--seeds {words.seeds} trains nothing.", "Use 1 or more.")
    if not 4 <= words.size <= _LARGEST:
        raise InputError(f"--size {words.size} is out of range.", f"Use 4 to {_LARGEST} pixels.")
    if words.method not in _STEPS:
        raise InputError(f"There is no --method {words.method}.", f"Use one of {', '.join(_STEPS)}.")
    if words.steps is not None and words.steps < 1:
        raise InputError(f"--steps {words.steps} are no training.", "Use 1 or more.")
    if words.seconds is not None and not 0 < words.seconds < float("inf"):
        raise InputError(f"--seconds {words.seconds:g} is no time.", "Use a number above 0.")


def _picture_task(name: str, digest: str) -> Task:
    return Task("explore", "picture", {"name": name, "sha256": digest})


def _train_all(words: Explore, values: Tensor, digest: str, store: Store) -> list[_Trained]:
    """Train every seed from its last checkpoint on."""
    tasks = [
        Task("explore", "fit", {"picture": digest, "method": words.method}, replica=words.seed + k)
        for k in range(words.seeds)
    ]
    kept = [_checkpoint(store, task) for task in tasks]
    steps = words.steps
    if steps is None and words.seconds is None:
        steps = _STEPS[words.method]
    _tell_cost(words, values, steps, kept)
    done: list[_Trained] = []
    with progress(100 * len(tasks)) as step:
        for task, start in zip(tasks, kept, strict=True):
            told = _Told(step, task.replica, steps, words.seconds)
            done.append(_train(task, start, words.method, values, steps, words.seconds, store, told))
            say(f"seed {task.replica}: RMSE {done[-1].rmse:.4f} after {done[-1].steps} steps")
    return done


class _Told:
    """Turns steps and seconds of one seed into hundredths of the progress bar."""

    def __init__(self, step: Step, seed: int, steps: int | None, seconds: float | None) -> None:
        self.step, self.seed, self.steps, self.seconds = step, seed, steps, seconds
        self.count, self.before = 0, -time.process_time()

    def go_on(self, seconds: float) -> None:
        """Take note that training goes on, after so many seconds so far."""
        self.before = seconds - time.process_time()

    def __call__(self, steps: int, error: float) -> None:
        spent = self.before + time.process_time()
        parts = [steps / self.steps if self.steps else 0.0, spent / self.seconds if self.seconds else 0.0]
        while self.count < min(1.0, max(parts)) * 100:
            self.count += 1
            self.step(f"seed {self.seed}: RMSE {error:.4f}")


def _train(
    task: Task,
    kept: Mapping[str, np.ndarray] | None,
    method: str,
    values: Tensor,
    steps: int | None,
    seconds: float | None,
    store: Store,
    told: _Told,
) -> _Trained:
    """Train one seed in slices, each of which ends in a checkpoint."""
    seed = task.replica
    state = None if kept is None else {key[6:]: kept[key] for key in kept if key.startswith("state.")}
    now = _Trained(seed, PictureNet(seed=seed), float("inf"), 0, 0.0, ())
    if kept is not None:
        now = _resumed(seed, kept)
    # A note means that training has come to its end.
    while (
        not now.notes and (steps is None or now.steps < steps) and (seconds is None or now.seconds < seconds)
    ):
        told.go_on(now.seconds)
        made = fit(
            PictureNet(seed=seed),
            values,
            method=method,
            steps=None if steps is None else steps - now.steps,
            seconds=_SLICE if seconds is None else min(_SLICE, seconds - now.seconds),
            state=state,
            seed=seed,
            progress=told,
        )
        state = made.state
        now = _Trained(
            seed, made.net, made.rmse, int(made.state["step"]), float(made.state["seconds"]), made.notes
        )
        arrays = {f"state.{key}": np.asarray(value) for key, value in state.items()}
        arrays |= {
            "weights": made.net.weights.detach().numpy(),
            "rmse": np.asarray(made.rmse),
            "notes": np.array(made.notes, dtype=np.str_),
        }
        store.write(task, arrays)
    told.go_on(seconds or 0.0)
    told(steps or 0, now.rmse)
    return now


def _resumed(seed: int, kept: Mapping[str, np.ndarray]) -> _Trained:
    return _Trained(
        seed,
        PictureNet(weights=kept["weights"]),
        float(kept["rmse"]),
        int(kept["state.step"]),
        float(kept["state.seconds"]),
        tuple(str(note) for note in kept["notes"]),
    )


def _checkpoint(store: Store, task: Task) -> dict[str, np.ndarray] | None:
    """Return what was kept of a seed; nothing if there is none, or it is damaged, which is said."""
    if not store.path(task).exists():
        return None
    try:
        return store.read(task)
    except DamagedTaskError as error:
        say(f"{error}; seed {task.replica} is trained anew.")
        return None


def _tell_cost(
    words: Explore, values: Tensor, steps: int | None, kept: Sequence[Mapping[str, np.ndarray] | None]
) -> None:
    """Say what will be trained, and how long it may take by the time of one step."""
    height, width = values.shape[:2]
    there = sum(each is not None for each in kept)
    before = f", {there} of them begun" if there else ""
    of = f"of {PictureNet().wiring.size} weights{before}, on {height} x {width} pixels"
    counted = f"{words.seeds} network{'s' if words.seeds > 1 else ''} {of}"
    if words.seconds is not None:
        say(f"{counted}: at most {duration(words.seconds * words.seeds)}.")
        return
    assert steps is not None
    started = time.process_time()
    fit(PictureNet(seed=words.seed), values, method=words.method, steps=1, seed=words.seed)
    each = time.process_time() - started
    left = sum(steps - (0 if one is None else min(steps, int(one["state.step"]))) for one in kept)
    say(f"{counted}, {steps} steps of {words.method} each: about {duration(each * left)}.")


@dataclass(frozen=True)
class _Found:
    """What the page shows."""

    net: PictureNet
    original: Tensor
    name: str
    fits: list[dict[str, Any]]
    seed: int | None
    method: str | None
    notes: list[str]


def _read_run(directory: Path) -> _Found:
    """Read the folder of an earlier call; refuse what is not as it was written."""
    path = directory / "network.json"
    if not path.exists():
        raise InputError(f"{directory} holds no network.json: it is no run of phasescope explore.", _AGAIN)
    content = _json(path)
    if not isinstance(content, dict) or content.get("sha256") != _checksum(content):
        raise InputError(
            f"{path} is damaged or was changed.", f"{_AGAIN} Or copy the file and name the copy."
        )
    net = _net(content, path)
    try:
        name, digest = content["picture"]["name"], content["picture"]["sha256"]
        values = Store(directory / "training").read(_picture_task(name, digest))["values"]
    except (DamagedTaskError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The picture of {directory} is damaged: {error}.", _AGAIN) from error
    return _Found(
        net,
        torch.from_numpy(values),
        name,
        content["fits"],
        content["seed"],
        content["method"],
        list(content["notes"]),
    )


def _read_network(path: Path, size: int) -> _Found:
    """Read weights that the page, or :meth:`PictureNet.to_dict`, wrote; nothing in them is trusted."""
    if not path.is_file():
        raise InputError(f"There is no file {path}.", "Name a picture, a run or an exported network.")
    content = _json(path)
    net = _net(content, path)
    if net.wiring.inputs != 2 or len(net.wiring.outputs) != 3:
        raise InputError(
            f"The network of {path} has {net.wiring.inputs} inputs and {len(net.wiring.outputs)} outputs.",
            "The page paints networks with inputs x, y and outputs R, G, B.",
        )
    given = content.get("picture")
    if given is None:
        note = f"{path.name} holds no picture: the network is compared with what it paints now."
        values = net.paint(max(4, 2 * size // 3), size)
        return _Found(net, values, path.stem, [], None, None, [note])
    try:
        height, width = (_side(given[key]) for key in ("height", "width"))
        stored = base64.b64decode(given["original"], validate=True)
        values = torch.from_numpy(np.frombuffer(stored, "<f4").astype(np.float64))
        values = values.reshape(3, height, width).permute(1, 2, 0)
        name = str(given.get("name", path.stem))[:200]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, binascii.Error) as error:
        raise InputError(f"The picture in {path} is damaged: {error}.", _EXPORT) from error
    if not (values.abs() <= 1).all():
        raise InputError(f"The picture in {path} has colours outside [-1, 1].", _EXPORT)
    return _Found(net, values, name, [], None, None, [])


def _side(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= 1024:
        raise ValueError(f"{value!r} is no size")
    return value


def _json(path: Path) -> Any:
    try:
        return json.loads(read_regular(path, _LONGEST_FILE), parse_constant=_refused_constant)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}.", _EXPORT) from error


def _refused_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, and numbers must be finite")


def _net(content: Any, path: Path) -> PictureNet:
    try:
        return PictureNet.from_dict(content)
    except (InputError, ValueError, OverflowError, RuntimeError) as error:
        raise InputError(f"{path}: {error}", _EXPORT) from error


def _answer(
    words: Explore,
    out: Path,
    found: _Found,
    command: str,
    seconds: Mapping[int, float] | None = None,
) -> tuple[str, int]:
    """Write the page; return what to print."""
    height, width = found.original.shape[:2]
    page = report.save_explorer(
        found.net,
        found.original,
        out / "explorer.html",
        title=f"{found.name}: phasescope",
        name=found.name,
        fits=[(each["seed"], each["rmse"]) for each in found.fits],
        notes=found.notes,
        command=command,
    )
    error = rmse(found.net, found.original)
    if words.json:
        fits = [{**each, **({"seconds": seconds[each["seed"]]} if seconds else {})} for each in found.fits]
        content = {
            "picture": found.name,
            "height": height,
            "width": width,
            "method": found.method,
            "rmse": error,
            "seed": found.seed,
            "fits": fits,
            "notes": found.notes,
            "page": str(page),
        }
        return json.dumps(content, indent=1, allow_nan=False), 0
    others = [
        f"{each['rmse']:.4f} with seed {each['seed']}" for each in found.fits if each["seed"] != found.seed
    ]
    chosen = f" with seed {found.seed}" if found.seed is not None else ""
    best = f", the best of {len(found.fits)} ({', '.join(others)})" if others else ""
    lines = [f"{found.name}: RMSE {error:.4f}{chosen}{best}", *found.notes]
    return "\n".join([*lines, "", f"page: {page}"]), 0


def _png(values: Tensor) -> bytes:
    """Return the picture with 8 bits a colour."""
    from PIL import Image

    stored = ((values + 1) * 128).floor().clamp(0, 255).to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(stored).save(file, "PNG")
    return file.getvalue()


def _checksum(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
