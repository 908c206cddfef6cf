"""The study ``rectified_power``: an activation that cannot be critical, one that nearly is, and rescues."""

from __future__ import annotations

from phasescope.papers.rectified_power import (
    beyond,
    burgers,
    comparison,
    drift,
    functions,
    propagation,
    rescues,
)
from phasescope.papers.rectified_power.shared import STUDY as NAME
from phasescope.papers.rectified_power.shared import Common
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="Rectified powers, their modified form and their rescues",
    summary="RePU and MRePU from initialisation to trained networks: where they fail, and what helps.",
    source="arXiv:2408.02697",
    common={"quick": Common(), "paper": Common()},
    parts=(
        propagation.PROPAGATION,
        functions.FUNCTIONS,
        burgers.BURGERS,
        comparison.COMPARISON,
        rescues.RESCUES,
        drift.DRIFT,
        beyond.BEYOND,
    ),
    citations=("kim2024repu", "roberts2022"),
)
