"""Data sets: those bundled with scikit-learn, and official files in a folder that the user names."""

from phasescope.data.cifar10 import cifar10
from phasescope.data.digits import digits
from phasescope.data.idx import fashion_mnist, mnist, read_idx
from phasescope.data.images import Images
from phasescope.data.imdb import imdb
from phasescope.data.reviews import Reviews

__all__ = ["Images", "Reviews", "cifar10", "digits", "fashion_mnist", "imdb", "mnist", "read_idx"]
