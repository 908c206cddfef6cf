"""Figures as inline SVG that follows the colours of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from phasescope import plotting

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]+)')
_HEAD = re.compile(r".*?<svg\b[^>]*>", re.DOTALL)
_VIEW_BOX = re.compile(r'viewBox="\S+ \S+ (\S+) \S+"')
_NOT_NEEDED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|(?<=<g) id=\"[^\"]*\"", re.DOTALL)
_UNTURNED = re.compile(r' transform="rotate\(-0 [^"]*"')
_FONT = re.compile(r" font-family: [^;]*;")
_MARGIN = 0.04  # inches around a panel
_CROWD, _FEW, _DPI = 1000, 50, 200
_ENLARGED = 1.33  # at most, in CSS pixels a point


def inline(figure: Figure, prefix: str, label: str) -> list[Markup]:
    """Return the figure as ``<svg>`` elements without addresses, with ids of their own and the page's ink.

    Axes with very many markers hold them as an embedded image. A figure of several axes in one row gives one
    element for each, all of the same size, so that a page can put them below each other where it is narrow.
    """
    _rasterise_crowds(figure)
    _lay_out(figure)
    boxes = _panel_boxes(figure)
    if not boxes:
        return [_element(_draw(figure, None), prefix, label)]
    elements = []
    for position, (axes, box) in enumerate(zip(figure.axes, boxes, strict=True)):
        title = axes.get_title(loc="left") or f"part {position + 1}"
        with _alone(figure, axes):
            drawn = _draw(figure, box)
        elements.append(_element(drawn, f"{prefix}-{position}", f"{label} ({title})"))
    return elements


@contextmanager
def _alone(figure: Figure, axes: Axes) -> Iterator[None]:
    """Hide everything of the figure but one axes, inside the ``with`` block."""
    others: list[Artist] = [artist for artist in [*figure.axes, *figure.texts] if artist is not axes]
    shown = [artist for artist in others if artist.get_visible()]
    for artist in shown:
        artist.set_visible(False)
    try:
        yield
    finally:
        for artist in shown:
            artist.set_visible(True)


def _lay_out(figure: Figure) -> None:
    """Arrange the figure once: arranging it again would move it a little, and so change every byte."""
    engine = figure.get_layout_engine()
    if engine is not None:
        with plotting.style():
            engine.execute(figure)
        figure.set_layout_engine("none")


def _panel_boxes(figure: Figure) -> list[Bbox]:
    """Return the part of the figure that each axes takes, in inches; none unless they stand in one row."""
    from matplotlib.transforms import Bbox

    places = [axes.get_subplotspec() for axes in figure.axes]
    rows = {place.rowspan.start if place is not None else None for place in places}
    if len(places) < 2 or len(rows) > 1 or None in rows:
        return []
    tight = [axes.get_tightbbox() for axes in figure.axes]
    known = [box for box in tight if box is not None]
    if len(known) < len(tight):
        return []
    width = max(box.width for box in known)
    low, high = min(box.y0 for box in known), max(box.y1 for box in known)
    return [
        Bbox.from_extents(box.x1 - width, low, box.x1, high)
        .transformed(figure.dpi_scale_trans.inverted())
        .padded(_MARGIN)
        for box in known
    ]


def _rasterise_crowds(figure: Figure) -> None:
    """Turn the markers of axes with very many of them into an image, which takes fewer bytes."""
    for axes in figure.axes:
        sizes: list[tuple[Artist, int]] = [(line, len(np.asarray(line.get_xdata()))) for line in axes.lines]
        sizes += [(group, len(group.get_paths())) for group in axes.collections]
        if sum(size for _, size in sizes) > _CROWD:
            for artist, size in sizes:
                artist.set_rasterized(size > _FEW)


def _draw(figure: Figure, box: Bbox | None) -> str:
    buffer = StringIO()
    with plotting.style():
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None}, bbox_inches=box, dpi=_DPI
        )
    return buffer.getvalue()


def _element(text: str, prefix: str, label: str) -> Markup:
    for surplus in (_NOT_NEEDED, _UNTURNED, _FONT):
        text = surplus.sub("", text)
    text = _ID.sub(rf'id="{prefix}-\1"', text)
    text = _REFERENCE.sub(rf"\1{prefix}-\2", text)
    text = text.replace(plotting.INK, "currentColor").replace("xlink:href", "href")
    text = re.sub(r"\s*\n\s*", " ", text)
    view_box = _VIEW_BOX.search(text)
    assert view_box is not None
    widest = f"max-width: {_ENLARGED * float(view_box[1]):.0f}px"
    head = f'<svg role="img" aria-label="{escape(label)}" {view_box[0]} style="{widest}">'
    return Markup(_HEAD.sub(lambda match: head, text, count=1))
