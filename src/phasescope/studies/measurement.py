"""The measurement of one task, in a form that workers in other processes can be handed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from phasescope.errors import InputError
from phasescope.studies import registry
from phasescope.studies.contract import Part, Study
from phasescope.sweep import Task


@dataclass(frozen=True)
class Measurement:
    """Measures tasks of a study and makes sure of what comes back."""

    # A study that can be imported anywhere, or the name by which each process finds its own
    study: Study | str
    device: str  # where torch computes
    version: str = ""  # what ``registry.version`` said of the name when the run was started

    def __call__(self, task: Task) -> dict[str, np.ndarray]:
        """Return the arrays of a task, one for each of the part's variables."""
        part = self._study().part(task.part)
        return _checked(part, part.measure(task, self.device))

    def _study(self) -> Study:
        if isinstance(self.study, Study):
            return self.study
        if registry.version(self.study) != self.version:
            raise InputError(f"{self.study} has changed while it was running.", "Run the same command again.")
        return registry.study(self.study)


def _checked(part: Part, measured: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if set(measured) != set(part.variables):
        names = f"{', '.join(sorted(measured))}, not {', '.join(sorted(part.variables))}"
        raise TypeError(f"{part.name}: measure returned {names}")
    arrays = {name: np.asarray(value) for name, value in measured.items()}
    for name, variable in part.variables.items():
        if arrays[name].ndim != len(variable.dims) or arrays[name].dtype.kind not in "biuf":
            found = f"{arrays[name].dtype} of shape {arrays[name].shape}"
            raise TypeError(f"{part.name}: {name} is {found}, not numbers along {variable.dims}")
    return arrays
