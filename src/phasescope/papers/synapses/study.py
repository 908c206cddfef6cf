"""The study ``synapses``: which weights carry a property of the output, and what the article says of them."""

from __future__ import annotations

from phasescope.papers.synapses import capacity, maps_of_synapses, shared_properties
from phasescope.papers.synapses.shared import STUDY as NAME
from phasescope.papers.synapses.shared import Common
from phasescope.studies.part import Study

STUDY = Study(
    name=NAME,
    title="Synaptic ensembles",
    summary="Which synapses carry a property of a painted picture, claim by claim, against null models.",
    source="the article on synaptic ensembles (2015); arXiv:1312.6199; arXiv:2505.11581",
    common={
        "quick": Common(seeds=2, longest=48, steps=60),
        "paper": Common(),
    },
    parts=(
        maps_of_synapses.MAPS_OF_SYNAPSES,
        shared_properties.SHARED_PROPERTIES,
        capacity.CAPACITY,
    ),
    citations=("ensembles2015", "szegedy2014", "kumar2025"),
)
