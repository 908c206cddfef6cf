"""Data sets, pictures and series: those bundled with libraries, and files that the user names."""

from phasescope.data.idx import fashion_mnist, mnist, read_idx
from phasescope.data.images import Images, cifar10, digits
from phasescope.data.imdb import Reviews, imdb
from phasescope.data.pictures import Picture, picture
from phasescope.data.series import Series, read_series
from phasescope.data.text import Characters, characters

__all__ = [
    "Characters",
    "Images",
    "Picture",
    "Reviews",
    "Series",
    "characters",
    "cifar10",
    "digits",
    "fashion_mnist",
    "imdb",
    "mnist",
    "picture",
    "read_idx",
    "read_series",
]


def __dir__() -> list[str]:
    return list(__all__)
