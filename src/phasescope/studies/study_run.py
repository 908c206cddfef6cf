"""A study that was run or loaded: its data, what they say, and the same as ``checks.json``."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from phasescope.studies.circumstances import citation_keys
from phasescope.studies.claim import OUTCOMES, Check, Outcome
from phasescope.studies.part import Analysis, Picture, Study, StudySettings
from phasescope.studies.settings import differences

if TYPE_CHECKING:
    import xarray as xr

    from phasescope import sweep

_TOLD: dict[Outcome, tuple[str, str]] = {
    "agrees": ("agrees", "agree"),
    "disagrees": ("disagrees", "disagree"),
    "not determined": ("is not determined", "are not determined"),
    "no reference": ("has no number to compare with", "have no number to compare with"),
}


@dataclass(frozen=True)
class StudyRun:
    """A study with its data and what they say.

    Parameters
    ----------
    study : Study
        Which one.
    name : str
        What it is found by: its name, or ``FILE.py:NAME``.
    config : Settings
        What was measured.
    data : DataTree
        One node a part; the attributes of the root say what the numbers depend on: configuration, versions,
        device, threads, seed.
    analyses : dict of str to Analysis
        By part, in the order of the study.
    pictures : dict of str to list of Picture
        Likewise.
    failed : dict of str to str
        Parts without complete data, analysis or figures, and why.
    outcome : Outcome or None
        What the sweep did; None for a study that was loaded.
    """

    study: Study
    name: str
    config: StudySettings
    data: xr.DataTree
    analyses: dict[str, Analysis]
    pictures: dict[str, list[Picture]]
    failed: dict[str, str]
    outcome: sweep.Outcome | None = None

    @property
    def title(self) -> str:
        """The study's title, with what its configuration adds."""
        return ": ".join(filter(None, [self.study.title, self.config.subtitle]))

    @property
    def checks(self) -> list[Check]:
        """Every check, part by part."""
        return [check for analysis in self.analyses.values() for check in analysis.checks]

    @property
    def citations(self) -> list[str]:
        """Keys of the papers behind it, for :func:`phasescope.citation`."""
        return citation_keys(self.study, list(self.analyses))

    @property
    def sentence(self) -> str:
        """How many claims agree, disagree or are not determined, in one sentence."""
        return told([check.verdict for check in self.checks])

    @property
    def again(self) -> str:
        """The command that runs the same study with the same configuration."""
        changes = {preset: differences(self.config, base) for preset, base in self.study.presets.items()}
        preset = min(changes, key=lambda each: len(changes[each]))
        words = ["phasescope", "study", "run", self.name, "--preset", preset]
        if self.data.attrs["device"] != "cpu":
            words += ["--device", self.data.attrs["device"]]
        return shlex.join([*words, *(["--set", *changes[preset]] if changes[preset] else [])])

    def checks_json(self) -> str:
        """Return the content of ``checks.json``: a list of objects, one a check."""
        entries = [check.to_dict() for check in self.checks]
        return json.dumps(entries, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def told(verdicts: Sequence[Outcome]) -> str:
    """Return how many of the verdicts are which, in one sentence."""
    counts = Counter(verdicts)
    total = sum(counts.values())
    if not total:
        return "No claim was checked."
    said = [f"{counts[each]} {_TOLD[each][counts[each] > 1]}" for each in OUTCOMES if counts[each]]
    return f"Of {total} claim{'s' if total > 1 else ''}, {_join(said)}."


def _join(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
