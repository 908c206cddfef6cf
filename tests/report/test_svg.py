"""Figures as inline SVG."""

import re
from xml.etree import ElementTree

import pytest

from phasescope import plotting
from phasescope.report.svg import inline


def make_figure(panels):
    with plotting.style():
        figure, axes = plotting.figure(panels)
        for number, each in enumerate(axes):
            each.plot([1, 2, 3], [1, 10, 100], "o", color=plotting.MEASURED)
            each.set_title(f"panel {number}")
            each.set_ylabel("<b> & co")
    return figure


def test_one_axes_gives_one_element_and_several_in_a_row_one_each():
    assert len(inline(make_figure(1), "a", "x")) == 1
    elements = inline(make_figure(3), "a", "x")
    assert len(elements) == 3
    for number, element in enumerate(elements):
        shown = [word for word in ("panel 0", "panel 1", "panel 2") if word in element]
        assert shown == ["panel 0", "panel 1", "panel 2"][number : number + 1]
        assert f'aria-label="x (panel {number})"' in element


@pytest.mark.parametrize("panels", [1, 3])
def test_the_same_figure_gives_the_same_bytes_again_and_stays_whole(panels):
    figure = make_figure(panels)
    figure.suptitle("all of them")
    assert inline(figure, "a", "x") == inline(figure, "a", "x")
    assert all(artist.get_visible() for artist in [*figure.axes, *figure.texts])


def test_panels_of_one_figure_have_the_same_size():
    sizes = {
        re.search(r'viewBox="0 0 ([\d.]+ [\d.]+)"', element)[1] for element in inline(make_figure(3), "a", "")
    }
    assert len(sizes) == 1


def test_axes_below_each_other_stay_together():
    with plotting.style():
        figure, _ = plotting.figure(1)
        figure.clear()
        figure.subplots(2, 1)
    assert len(inline(figure, "a", "x")) == 1


def test_ids_are_unique_between_figures_and_every_reference_is_kept():
    elements = [*inline(make_figure(2), "a", "x"), *inline(make_figure(1), "b", "x")]
    ids = [name for element in elements for name in re.findall(r'\bid="([^"]+)"', element)]
    assert len(ids) == len(set(ids)) > 0
    for element in elements:
        own = set(re.findall(r'\bid="([^"]+)"', element))
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', element)) <= own


def test_no_address_no_ink_no_style_sheet_and_well_formed():
    element = inline(make_figure(1), "a", 'a "quoted" <label>')[0]
    assert "http" not in element
    assert plotting.INK not in element
    assert "currentColor" in element
    assert "<style" not in element
    parsed = ElementTree.fromstring(element)
    assert parsed.get("aria-label") == 'a "quoted" <label>'
    assert parsed.get("role") == "img"
    assert "<b> & co" in [text.text for text in parsed.iter("text")]


def test_very_many_markers_become_an_image():
    with plotting.style():
        figure, (axes,) = plotting.figure(1)
        axes.plot(range(5000), range(5000), "o", color=plotting.MEASURED)
        axes.plot([0, 5000], [0, 0], color=plotting.INK)
    element = inline(figure, "a", "x")[0]
    assert 'href="data:image/png;base64,' in element
    assert len(element) < 100_000
    assert "http" not in element


@pytest.mark.parametrize("panels", [1, 3])
def test_the_same_figure_gives_the_same_bytes(panels):
    assert inline(make_figure(panels), "a", "x") == inline(make_figure(panels), "a", "x")
