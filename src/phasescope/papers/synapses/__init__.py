"""Synaptic ensembles, the claims of an article of 2015 with the controls that it lacks, as a study."""

from phasescope.papers.synapses.study import STUDY

__all__ = ["STUDY"]
