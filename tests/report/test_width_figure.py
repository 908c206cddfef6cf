"""The figure of a coordinate check: lines with the slopes that were measured, and nothing that diverged."""

import math

import numpy as np
import pytest

from phasescope.estimate import Estimate
from phasescope.report import width_figure
from phasescope.training import WidthCheck, WidthRow

WIDTHS = (32, 64, 128)


def row(name, start, change, last=math.nan):
    widths = np.array(WIDTHS, dtype=float)[:, None] * np.ones(2)
    slopes = [Estimate(start, 0.01, "made", 6), Estimate(change, 0.01, "made", 6)]
    moves = np.stack([widths**change, np.full_like(widths, last)])
    return WidthRow(
        name,
        slopes[0],
        (slopes[1], Estimate.not_determined("it is not finite")),
        "flat",
        "growing",
        widths**start,
        moves,
    )


def test_lines_follow_the_slopes_and_what_diverged_is_left_out():
    found = WidthCheck(WIDTHS, 2, 2, (row("in", 0.0, 0.5), row("out", 0.0, 1.0)), (), (), ())
    start, first, last = width_figure(found).axes
    assert last.get_title(loc="left") == "Change after 2 steps"
    names = [text.get_text() for text in first.get_legend().get_texts()]
    assert names == ["in: +0.50", "out: +1.00"]
    for line, slope in zip([c.lines[0] for c in first.containers], (0.5, 1.0), strict=True):
        x, y = (np.log(values) for values in line.get_data())
        assert np.polyfit(x, y, 1)[0] == pytest.approx(slope)
    assert len(start.containers) == 2
    assert not last.containers
    assert last.get_legend() is None
