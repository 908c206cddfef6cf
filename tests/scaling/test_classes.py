import math

import pytest

from phasescope.citations import BIBTEX
from phasescope.scaling import UNIVERSALITY_CLASSES


@pytest.mark.parametrize("known", UNIVERSALITY_CLASSES.values(), ids=lambda known: known.name)
def test_scaling_relations_hold_within_the_errors(known):
    beta, nu_par, nu_perp = known.beta, known.nu_par, known.nu_perp
    if not (beta.determined and nu_par.determined):
        assert known.delta.reason
        return
    delta = beta.value / nu_par.value
    delta_error = delta * math.hypot(beta.error / beta.value, nu_par.error / nu_par.value)
    assert known.delta.value == pytest.approx(
        delta, abs=3 * math.hypot(delta_error, known.delta.error) + 1e-12
    )
    if not nu_perp.determined:
        assert known.z.reason
        return
    z = nu_par.value / nu_perp.value
    z_error = z * math.hypot(nu_par.error / nu_par.value, nu_perp.error / nu_perp.value)
    assert known.z.value == pytest.approx(z, abs=3 * math.hypot(z_error, known.z.error) + 1e-12)


@pytest.mark.parametrize("name", ["DP 1+1", "DP 2+1"])
def test_hyperscaling_of_directed_percolation(name):
    # theta = d/z - 2 delta; the upper critical dimension 4 gives mean field its 0 = 4/2 - 2.
    known = UNIVERSALITY_CLASSES[name]
    expected = known.dimensions / known.z.value - 2 * known.delta.value
    error = math.hypot(known.dimensions * known.z.error / known.z.value**2, 2 * known.delta.error)
    assert known.theta.value == pytest.approx(expected, abs=3 * math.hypot(error, known.theta.error))


def test_every_source_can_be_cited():
    for known in UNIVERSALITY_CLASSES.values():
        assert set(known.citations.split()) <= set(BIBTEX)
