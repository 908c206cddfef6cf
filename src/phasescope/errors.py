"""The few errors that users meet."""


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
        self.what = what
        self.fix = fix
        super().__init__(f"{what} {fix}".strip())


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
