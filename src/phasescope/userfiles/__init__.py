"""Objects from a user's own Python files, named as ``FILE.py:name``; naming a file runs its code."""

from phasescope.userfiles.loading import call_factory, contents_hash, describe, load_object
from phasescope.userfiles.specs import functions_in, is_file_spec, labels_of, split

__all__ = [
    "call_factory",
    "contents_hash",
    "describe",
    "functions_in",
    "is_file_spec",
    "labels_of",
    "load_object",
    "split",
]
