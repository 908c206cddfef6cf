"""Templates of pages that hold all they need, and how numbers and sentences stand in them.

A page brings its own style and script, and a policy that forbids anything else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from phasescope import __version__

_CODE = re.compile(r"\b(?:phasescope|torch|nn)\.[\w.]+(?:\((?:[^()]|\([^()]*\))*\)(?: \*\* [\d.]+\))?)?")
_PRODUCT = re.compile(r" (±|=|×) ")
_ERROR = re.compile(r" ± [^)]*")


def render_template(
    name: str,
    *,
    styles: tuple[str, ...] = ("report.css",),
    scripts: tuple[str, ...] = ("report.js",),
    **values: Any,
) -> str:
    """Return the page that a template makes of `values`, every text in them escaped."""
    environment = Environment(
        loader=PackageLoader("phasescope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "soft_error": soft_error}
    script = "\n".join(map(_part, scripts))
    return environment.get_template(name).render(
        **values,
        version=__version__,
        style=Markup("\n".join(map(_part, styles))),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _part(name: str) -> str:
    return resources.files("phasescope.report").joinpath("templates", name).read_text(encoding="utf-8")


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
