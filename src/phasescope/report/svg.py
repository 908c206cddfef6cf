"""Figures as inline SVG that follows the colours of the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from phasescope import plotting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]+)')
_HEAD = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_VIEW_BOX = re.compile(r'viewBox="[^"]+"')
_NOT_NEEDED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|(?<=<g) id=\"[^\"]*\"", re.DOTALL)
_UNTURNED = re.compile(r' transform="rotate\(-0 [^"]*"')
_FONT = re.compile(r" font-family: [^;]*;")


def inline(figure: Figure, prefix: str, label: str) -> Markup:
    """Return the figure as an ``<svg>`` element without addresses, with ids of its own and the page's ink.

    Parameters
    ----------
    figure : Figure
        Drawn in phasescope's style, text and axes in ``plotting.INK``.
    prefix : str
        Put before every id: matplotlib uses the same ids in each figure.
    label : str
        What a person who cannot see the figure is told.
    """
    text = plotting.svg(figure)
    for surplus in (_NOT_NEEDED, _UNTURNED, _FONT):
        text = surplus.sub("", text)
    text = _ID.sub(rf'id="{prefix}-\1"', text)
    text = _REFERENCE.sub(rf"\1{prefix}-\2", text)
    text = text.replace(plotting.INK, "currentColor").replace("xlink:href", "href")
    text = re.sub(r"\s*\n\s*", " ", text)
    view_box = _VIEW_BOX.search(text)
    head = f'<svg role="img" aria-label="{escape(label)}" {view_box[0] if view_box else ""}>'
    return Markup(_HEAD.sub(lambda match: head, text, count=1))
