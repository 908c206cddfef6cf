"""Nine works related to the absorbing transition, each asked of trained networks, as a study."""

from phasescope.papers.related.study import STUDY

__all__ = ["STUDY"]
