"""The steps of ``phasescope inspect``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from phasescope import report
from phasescope.cli.progress import progress
from phasescope.cli.targets import Target, fit_to, load_batch, load_targets, seed_everything
from phasescope.cli.terminal import say
from phasescope.errors import InputError
from phasescope.instruments import Check, Inspection, inspect, read_limits
from phasescope.instruments import check as kept
from phasescope.instruments.training.given import first_of
from phasescope.recording.batch import is_plain, leaves
from phasescope.recording.memory import in_bytes


def run(
    specs: Sequence[str],
    *,
    data: str | None,
    instruments: Sequence[str] = (),
    out: Path,
    max_memory: str | None,
    check: Sequence[str] | None,
    as_json: bool,
    seed: int,
    command: str,
) -> tuple[str, int]:
    """Inspect every target, write the report, and return what to print and the exit code."""
    if not specs:
        raise InputError("No target was given.", "Name one: phasescope inspect model.py:make_model.")
    report.check_writable(out)
    limit = memory_bytes(max_memory)
    limits = None if check is None else read_limits(_file_of_limits(check))
    seed_everything(seed)
    batch = None if data is None else load_batch(data)
    inspections = []
    first: dict[str, dict[str, Tensor]] = {}  # the first checkpoint of each factory
    with progress(len(specs)) as step:
        for target in load_targets(specs, seed=seed):
            step(f"inspecting {target.label}")
            given = _batch_for(target, batch)
            if batch is None and target.batch is None:
                given = None  # the first of the data, with its targets
            asked = {"loss": target.loss, "data": target.data, "optimizer": target.optimizer}
            asked |= {"property": target.property, "instruments": instruments or None}
            if target.restored in first:
                asked["initial"] = first[target.restored]
            elif target.restored:
                first[target.restored] = {k: v.clone() for k, v in target.model.state_dict().items()}
            found = inspect(target.model, given, **asked, seed=seed, max_memory=limit, label=target.label)
            _note(found, target.notes)
            inspections.append(found)
    checks = [] if limits is None else [each for found in inspections for each in kept(found, limits)]
    page = report.save(inspections, out, command=command)
    failed = [(each, name, why) for each in inspections for name, why in each.failed.items()]
    for each, name, why in failed:
        say(f"phasescope: {name} failed on {each.label}: {' '.join(why.split())}")
    ill = any(not each.passed for each in checks)
    answer = _answer(inspections, None if limits is None else checks, page, as_json=as_json)
    return answer, int(ill or bool(failed))


def _file_of_limits(words: Sequence[str]) -> Path | None:
    """Return the file that follows --check, if any; a target there would be taken for one."""
    for word in words:
        if not word.lower().endswith((".toml", ".json")):
            raise InputError(
                f"--check {word}: a file of limits ends in .toml or .json.", "Name targets before."
            )
    if len(words) > 1:
        raise InputError(f"--check takes one file of limits, not {len(words)}.", "Put them into one.")
    return Path(words[0]) if words else None


def _note(inspection: Inspection, notes: Sequence[str]) -> None:
    """Say on stderr and in the page what was changed before the measurement."""
    for note in notes:
        say(f"phasescope: {inspection.label}: {note}")
    for dataset in list(inspection.datasets.values())[:1]:
        dataset.attrs["notes"] = json.dumps([*notes, *json.loads(dataset.attrs.get("notes", "[]"))])


def memory_bytes(text: str | None) -> int | None:
    """Return a size such as ``500MB`` or ``2GiB`` in bytes."""
    try:
        return None if text is None else in_bytes(text)
    except InputError:
        raise InputError(f"--max-memory {text} is not a size.", "Write it like 500MB or 2GB.") from None


def _batch_for(target: Target, batch: object) -> object:
    chosen = target.batch if batch is None else fit_to(batch, target.model)
    if chosen is None and target.data is not None:
        chosen, _ = first_of(target.data)
    if chosen is None:
        raise InputError(
            f"{target.label} came without data.",
            "Return (model, batch) from the factory, or name a file: --data batch.pt.",
        )
    _refuse_identical(chosen)
    return chosen


def _refuse_identical(batch: object) -> None:
    tensors = [tensor for tensor in leaves(batch, torch.Tensor) if tensor.ndim and is_plain(tensor)]
    sizes = {len(tensor) for tensor in tensors}
    if len(sizes) == 1 and min(sizes) > 1 and all(torch.equal(t, t[:1].expand_as(t)) for t in tensors):
        raise InputError(
            f"All {min(sizes)} inputs of the batch are identical, and have no difference to follow.",
            "Pass real inputs that differ from each other.",
        )


def _answer(
    inspections: Sequence[Inspection], checks: Sequence[Check] | None, page: Path, *, as_json: bool
) -> str:
    content = report.document(inspections)
    if as_json:
        asked = {} if checks is None else {"checks": [each.to_dict() for each in checks]}
        return json.dumps({**content, **asked, "page": str(page)}, indent=1, allow_nan=False)
    parts = [str(inspection) for inspection in inspections]
    if len(inspections) > 1:
        parts.append(content["sentence"])
    several = len({each.label for each in checks or ()}) > 1
    lines = [f"{each.label}: {each}" if several else str(each) for each in checks or ()]
    return "\n\n".join([*parts, *(["\n".join(lines)] if lines else []), f"page: {page}"])
