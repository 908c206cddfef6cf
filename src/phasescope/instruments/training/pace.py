"""How often measurements may be made, so that together they take a share of the time of the user's steps."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Sequence

_FIRST_SHARE = 0.5  # of the budget, for the first job where there are several
_PLANNED = 0.9  # of the budget; the rest is for what a call cannot see of itself
_RECENT = 7  # runs whose median is expected: one that was interrupted by other processes does not count


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
