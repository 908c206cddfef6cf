"""Rectified power units and their initialisation (arXiv:2408.02697), as a study."""

from phasescope.papers.rectified_power.study import STUDY

__all__ = ["STUDY"]
