"""1/f noise in the activations of LSTMs (arXiv:2301.08530), as a study."""

from phasescope.papers.noise.study import STUDY

__all__ = ["STUDY"]
