"""The study ``related``: what nine related works claim, measured with the instruments of phasescope."""

from __future__ import annotations

from phasescope.papers.related import (
    channel,
    deficit,
    edges,
    explosive,
    langevin,
    lazy,
    persistence,
    rank,
    scaling,
    tolerated_rank,
)
from phasescope.papers.related.shared import STUDY as NAME
from phasescope.papers.related.shared import Common
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="Nine related works, asked of trained networks",
    summary="Directions kept over depth, structure of weights, lazy training, memory, and what can go.",
    source="nine works, named beside each claim",
    common={"quick": Common(), "paper": Common()},
    parts=(
        channel.CHANNEL,
        rank.RANK,
        deficit.DEFICIT,
        scaling.SCALING,
        lazy.LAZY,
        persistence.PERSISTENCE,
        tolerated_rank.TOLERATED_RANK,
        explosive.EXPLOSIVE,
        langevin.LANGEVIN,
        edges.EDGES,
    ),
)
