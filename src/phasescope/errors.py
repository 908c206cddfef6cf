"""The few errors that users meet, and how text of strangers is made fit to print."""

import re

# Controls but tab and line break, separators of lines, overrides of direction, halves of characters.
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class PhasescopeError(Exception):
    """Base of every error that phasescope raises on purpose."""


class InputError(PhasescopeError, ValueError):
    """The input cannot be used; the message repeats it and says what to change.

    Parameters
    ----------
    what : str
        What was wrong, with the user's own input in it.
    fix : str
        What to do instead.
    """

    def __init__(self, what: str, fix: str = "") -> None:
        self.what = printable(what)
        self.fix = printable(fix)
        super().__init__(f"{self.what} {self.fix}".strip())


class NothingToMeasureError(InputError):
    """The model and its batch are sound and hold nothing of the kind that is measured.

    Parameters
    ----------
    what : str
        What is missing.
    fix : str
        What to pass instead.
    """


class NoCriticalPointError(PhasescopeError):
    """The network has no critical initialisation; the message gives the reason and what helps instead."""


class MemoryLimitError(PhasescopeError):
    """The work does not fit into the memory that ``max_memory`` allows."""


def printable(text: str) -> str:
    r"""Return text in which nothing steers a terminal: what could stands as an escape such as ``\x1b``.

    Names from files may hold any character. Line breaks and tabs stay.
    """
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), text)
