"""Training as a dynamical system (arXiv:2404.05782, arXiv:2506.08523), as a study."""

from phasescope.papers.chaos.study import STUDY

__all__ = ["STUDY"]
