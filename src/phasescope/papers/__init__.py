"""Papers, each reproduced as a study, such as ``papers.absorbing.STUDY``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phasescope.papers import absorbing as absorbing
    from phasescope.papers import chaos as chaos
    from phasescope.papers import noise as noise
    from phasescope.papers import rectified_power as rectified_power
    from phasescope.papers import related as related
    from phasescope.papers import synapses as synapses

__all__ = ["absorbing", "chaos", "noise", "rectified_power", "related", "synapses"]


if not TYPE_CHECKING:  # a type checker knows every name by itself, and tells of a misspelt one

    def __getattr__(name: str) -> Any:
        if name in __all__:
            return importlib.import_module(f"phasescope.papers.{name}")
        raise AttributeError(f"module 'phasescope.papers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
