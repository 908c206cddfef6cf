import sys
import xml.etree.ElementTree as ET
from io import StringIO

import matplotlib
import pytest
from matplotlib.figure import Figure

from phasescope import plotting

COLOURS = {"measured": plotting.MEASURED, "theory": plotting.THEORY} | plotting.PHASE_COLOURS


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", COLOURS)
@pytest.mark.parametrize("page", ["#ffffff", "#121214"])
def test_colours_stand_out_on_light_and_dark_pages(name, page):
    assert contrast(COLOURS[name], page) >= 3


def test_no_colour_is_the_ink():
    assert plotting.INK not in COLOURS.values()


def test_style_is_undone_also_after_an_error():
    before = dict(matplotlib.rcParams)
    with plotting.style():
        assert matplotlib.rcParams["text.color"] == plotting.INK
    assert dict(matplotlib.rcParams) == before
    with pytest.raises(KeyError), plotting.style():
        matplotlib.rcParams["no such setting"]
    assert dict(matplotlib.rcParams) == before


def test_figures_do_not_touch_pyplot():
    with plotting.style():
        drawn, panels = plotting.figure(3)
    assert isinstance(drawn, Figure)
    assert len(panels) == 3
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def drawn_line() -> Figure:
    with plotting.style():
        drawn, (axes,) = plotting.figure(1)
        axes.plot([1, 2], [3, 4], color=plotting.MEASURED)
        axes.set_xlabel("layer & <depth>")
        axes.set_ylabel("K")
    return drawn


def rendered(drawn: Figure) -> str:
    buffer = StringIO()
    with plotting.style():
        drawn.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def test_figures_are_transparent_with_text_in_ink():
    text = rendered(drawn_line())
    assert ET.fromstring(text).tag.endswith("svg")
    assert "layer &amp; &lt;depth&gt;" in text
    assert f"fill: {plotting.INK}" in text
    assert f"stroke: {plotting.MEASURED}" in text
    assert "#000000" not in text
    assert "#ffffff" not in text


def test_figures_render_to_the_same_bytes_every_time():
    assert rendered(drawn_line()) == rendered(drawn_line())
