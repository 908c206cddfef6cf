"""Numbers as a page prints them, against hand-rounded ones."""

import math

import pytest

from phasescope.report.numbers import measured, percent


@pytest.mark.parametrize(
    ("value", "error", "printed"),
    [
        (0.28213, 0.01134, "0.282 ± 0.011"),
        (-0.28213, 0.01134, "−0.282 ± 0.011"),
        (3.214e-9, 4.2e-10, "(3.21 ± 0.42)×10⁻⁹"),
        (123456.0, 2345.0, "(1.235 ± 0.023)×10⁵"),
        (5795.0, 301.0, "5795 ± 301"),
        (0.001065, 0.00005, "(1.065 ± 0.050)×10⁻³"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (0.5, math.nan, "0.5"),
        (0.5, 0.0, "0.5"),
        (1.0, 1e-12, "1"),
        (6.6e-3, 1e-12, "6.6×10⁻³"),
        (2.5e-7, math.nan, "2.5×10⁻⁷"),
        (math.nan, 0.1, "–"),
        (math.inf, math.nan, "∞"),
        (-math.inf, math.nan, "−∞"),
        (0.0, math.nan, "0"),
    ],
)
def test_measured(value, error, printed):
    assert measured(value, error) == printed


@pytest.mark.parametrize(
    ("fraction", "printed"),
    [(0.0, "0"), (0.0004, "< 0.1 %"), (0.125, "12.5 %"), (1.0, "100.0 %"), (math.nan, "–")],
)
def test_percent(fraction, printed):
    assert percent(fraction) == printed
