"""The study ``synapses``: which weights carry a property of the output, and what the article says of them."""

from __future__ import annotations

from phasescope.papers.synapses import (
    capacity,
    classifier_edits,
    comparison,
    compensation,
    maps_of_synapses,
    principle,
    shared_properties,
    single_units,
    trainers,
)
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
        principle.PRINCIPLE,
        compensation.COMPENSATION,
        single_units.SINGLE_UNITS,
        capacity.CAPACITY,
        comparison.COMPARISON,
        trainers.TRAINERS,
        classifier_edits.CLASSIFIER_EDITS,
    ),
    citations=("ensembles2015", "szegedy2014", "kumar2025"),
)
