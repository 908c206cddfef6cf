"""The promises that every instrument keeps, as checks that anyone can run on an instrument of their own.

>>> from phasescope.instruments import SignalPropagation
>>> from phasescope.testing import Case, check_instrument, linear_network
>>> passed = check_instrument(SignalPropagation(), [Case("linear", linear_network)])
>>> len(passed) >= 20
True
"""

from phasescope.testing.cases import Case, linear_network
from phasescope.testing.suite import CHECKS, check_instrument

__all__ = ["CHECKS", "Case", "check_instrument", "linear_network"]
