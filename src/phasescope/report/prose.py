"""Sentences as HTML: code in a fixed-width face, and no line break inside a number with its error."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_CODE = re.compile(r"\b(?:phasescope|torch|nn)\.[\w.]+(?:\((?:[^()]|\([^()]*\))*\)(?: \*\* [\d.]+\))?)?")
_PRODUCT = re.compile(r" (±|=|×) ")
_ERROR = re.compile(r" ± [^)]*")


def prose(text: str) -> Markup:
    """Return escaped text with calls such as ``nn.init.zeros_(b)`` marked as code."""
    pieces = []
    end = 0
    for match in _CODE.finditer(text):
        pieces += [_unbroken(text[end : match.start()]), Markup("<code>{}</code>").format(match[0])]
        end = match.end()
    return Markup("").join([*pieces, _unbroken(text[end:])])


def soft_error(text: str) -> Markup:
    """Return a printed number with its error in a lighter ink."""
    match = _ERROR.search(text)
    if match is None:
        return escape(text)
    parts = (text[: match.start()], match[0], text[match.end() :])
    return Markup('{}<span class="error">{}</span>{}').format(*parts)


def _unbroken(text: str) -> Markup:
    return escape(_PRODUCT.sub("\u00a0\\1\u00a0", text))
