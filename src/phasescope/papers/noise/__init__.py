"""1/f noise in the activations of sequence models (arXiv:2301.08530)."""

from phasescope.papers.noise.study import STUDY, NoiseConfig

__all__ = ["STUDY", "NoiseConfig"]
