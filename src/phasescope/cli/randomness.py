"""The global generators, which only a user's own file may draw from."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch, so that a user's factory gives the same network again."""
    from phasescope.errors import InputError

    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range.", "Use a whole number from 0 to 4294967295.")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - a user's file may well use the global generator
    torch.manual_seed(seed)
