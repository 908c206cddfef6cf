"""Names of studies and of what is in them: each becomes a file, a group, an array or a setting."""

from __future__ import annotations

import re

from phasescope.errors import InputError

NAME = (r"[A-Za-z][A-Za-z0-9-]*", "letters, digits and dashes, first a letter")
STUDY = (r"[A-Za-z][A-Za-z0-9_-]*", "letters, digits and dashes or underscores, first a letter")
VARIABLE = (r"[^\W\d]\w*", "letters, digits and underscores, first no digit")


def check_name(what: str, name: object, form: tuple[str, str] = NAME) -> None:
    """Raise where a name is not of the form: a pattern, and the same in words."""
    pattern, words = form
    if not isinstance(name, str) or not re.fullmatch(pattern, name):
        raise InputError(f"{what} {name!r} has a name that cannot be stored.", f"Use {words}.")
