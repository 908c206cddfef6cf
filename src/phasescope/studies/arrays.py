"""The arrays of one task, in the shapes that its part promises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from phasescope.studies.part import Variable


def filled(
    variables: Mapping[str, Variable], lengths: Mapping[str, int], **arrays: Any
) -> dict[str, np.ndarray]:
    """One array for each variable: what is given, and NaN for what this kind of task does not measure."""
    made = {}
    for name, variable in variables.items():
        whole = np.full([lengths[dim] for dim in variable.dims], math.nan)
        if name in arrays:
            part = np.asarray(arrays[name], dtype=np.float64)
            whole[tuple(slice(size) for size in part.shape)] = part
        made[name] = whole
    return made
