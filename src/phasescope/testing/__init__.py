"""Checks for the tests of others: of an instrument of one's own, and of a model.

The promises that every instrument keeps are checks that anyone can run on an instrument of their own:

>>> from phasescope.instruments import SignalPropagation
>>> from phasescope.testing import Case, check_instrument, linear_network
>>> passed = check_instrument(SignalPropagation(), [Case("linear", linear_network)])
>>> len(passed) >= 20
True

Each file of checks holds those of one kind, one function a promise. `assert_trainable` is for models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import isfunction
from types import ModuleType

from phasescope.instruments.contract import Instrument
from phasescope.testing import dataset_checks, input_checks, result_checks, trace_checks
from phasescope.testing.cases import Case, Trial, default_cases, linear_network
from phasescope.testing.trainable import assert_trainable

__all__ = ["CHECKS", "Case", "assert_trainable", "check_instrument", "linear_network"]


def _checks(module: ModuleType) -> dict[str, Callable[[Trial], None]]:
    """Return the checks of a file in the order of its text: its functions without an underscore."""
    own = {name: thing for name, thing in vars(module).items() if isfunction(thing) and name[0] != "_"}
    return {name: thing for name, thing in own.items() if thing.__module__ == module.__name__}


CHECKS = _checks(dataset_checks) | _checks(trace_checks) | _checks(input_checks) | _checks(result_checks)
_SLOW = ("peak_memory_stays_under_the_limit",)
_OF_REFUSED = ("answers_whether_it_applies", "refuses_with_its_reason", "refuses_what_is_no_model")


def check_instrument(
    instrument: Instrument,
    cases: Iterable[Case] | None = None,
    *,
    fast: bool = True,
    only: Iterable[str] | None = None,
) -> list[str]:
    """Return the names of the checks that the instrument passed, once for each case.

    An instrument may refuse a case: then ``applies`` gives the reason, ``measure`` raises ``InputError`` with
    the same reason, it leaves no trace, and the other checks do not apply.

    Parameters
    ----------
    instrument : Instrument
        The instrument to hold against its promises.
    cases : iterable of Case, optional
        Models and batches; a small set of several kinds by default.
    fast : bool
        Leave out the checks that take seconds rather than milliseconds.
    only : iterable of str, optional
        Names of the checks to run; all of `CHECKS` by default.

    Notes
    -----
    The first broken promise raises ``AssertionError``, which names the check, the instrument and the case.
    """
    names = list(CHECKS) if only is None else list(only)
    if fast:
        names = [name for name in names if name not in _SLOW]
    passed = []
    for case in default_cases() if cases is None else cases:
        trial = Trial(instrument, case)
        for name in names:
            if trial.refusal and name not in _OF_REFUSED:
                continue
            _run(name, trial)
            passed.append(name)
    return passed


def _run(name: str, trial: Trial) -> None:
    where = f"{name}: {type(trial.instrument).__name__} on {trial.case.name!r}"
    try:
        CHECKS[name](trial)
    except AssertionError as broken:
        raise AssertionError(f"{where}: {broken}") from None
    except Exception as error:
        raise AssertionError(f"{where}: raised {type(error).__name__}: {error}") from error


def __dir__() -> list[str]:
    return list(__all__)
