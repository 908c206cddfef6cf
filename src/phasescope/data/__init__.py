"""Data sets: those bundled with scikit-learn, and official files in a folder that the user names."""

from phasescope.data.idx import fashion_mnist, mnist, read_idx
from phasescope.data.images import Images, cifar10, digits
from phasescope.data.imdb import Reviews, imdb

__all__ = ["Images", "Reviews", "cifar10", "digits", "fashion_mnist", "imdb", "mnist", "read_idx"]
