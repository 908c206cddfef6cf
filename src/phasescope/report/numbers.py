"""Numbers as a page prints them."""

from __future__ import annotations

import math

_MOST_DECIMALS = 5  # an error further down is left out, together with the digits that it qualifies
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def measured(value: float, error: float = math.nan, *, digits: int = 4) -> str:
    """Return ``0.282 ± 0.011``, ``(3.2 ± 0.4)×10⁻⁹``, a number to `digits` digits, or ``–`` for none."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value).replace("inf", "∞").replace("-", "−")
    if not (math.isfinite(error) and error > 0):
        return _plain(value, digits)
    magnitude = max(abs(value), error)
    exponent = math.floor(math.log10(magnitude))
    if -3 < exponent < 5:
        decimals = max(0, 1 - math.floor(math.log10(error)))
        if decimals > _MOST_DECIMALS:
            return _plain(value, digits)
        return _minus(f"{value:.{decimals}f} ± {error:.{decimals}f}")
    scale = 10.0**exponent
    decimals = max(0, 1 - math.floor(math.log10(error / scale)))
    if decimals > _MOST_DECIMALS:
        return _plain(value, digits)
    mantissa = f"{value / scale:.{decimals}f} ± {error / scale:.{decimals}f}"
    return _minus(f"({mantissa}){_power(exponent)}")


def percent(fraction: float) -> str:
    """Return a fraction as ``0``, ``< 0.1 %`` or ``12.5 %``, and ``–`` for none."""
    if math.isnan(fraction):
        return "–"
    if fraction == 0:
        return "0"
    return "< 0.1 %" if fraction < 0.001 else f"{100 * fraction:.1f} %"


def _plain(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if -3 < exponent < 5:
        return _minus(f"{value:.{digits}g}")
    return _minus(f"{value / 10.0**exponent:.{digits - 1}g}{_power(exponent)}")


def _power(exponent: int) -> str:
    return f"×10{str(exponent).translate(_SUPERSCRIPTS)}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
