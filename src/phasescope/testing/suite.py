"""The suite itself: every check, on every case."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from phasescope.instruments.contract import Instrument
from phasescope.testing import dataset_checks, input_checks, result_checks, trace_checks
from phasescope.testing.cases import Case, default_cases
from phasescope.testing.trial import Trial

CHECKS: dict[str, Callable[[Trial], None]] = {
    check.__name__: check
    for module in (dataset_checks, trace_checks, input_checks, result_checks)
    for check in module.CHECKS
}
_SLOW = ("peak_memory_stays_under_the_limit",)


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
            if trial.refusal and name not in input_checks.FOR_REFUSED:
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
