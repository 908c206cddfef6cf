"""Everything that the commands print goes through here."""

from __future__ import annotations

import sys
from typing import TextIO

from phasescope.errors import printable


def say(text: str, stream: TextIO | None = None) -> None:
    """Print text on `stream`, stderr by default, whatever characters it holds and the stream can take."""
    target = sys.stderr if stream is None else stream
    encoding = getattr(target, "encoding", None) or "utf-8"
    shown = printable(text).encode(encoding, errors="backslashreplace").decode(encoding)
    print(shown, file=target, flush=True)
