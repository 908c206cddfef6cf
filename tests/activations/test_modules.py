import math

import pytest
import torch

from phasescope.activations import MRePU, RePU
from phasescope.errors import InputError


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_repu_is_the_power_of_the_positive_part(p):
    z = torch.tensor([-2.0, -0.5, 0.0, 0.5, 3.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.0, 0.0, 0.5**p, 3.0**p], dtype=torch.float64)
    torch.testing.assert_close(RePU(p)(z), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_mrepu_values_and_its_minimum(p):
    z = torch.tensor([-3.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(MRePU(p)(z), torch.tensor([0.0, 0.0, 2.0**p], dtype=torch.float64))
    at_minimum = torch.tensor(-1 / (p + 1), dtype=torch.float64, requires_grad=True)
    value = MRePU(p)(at_minimum)
    assert value.item() == pytest.approx(-(1 / (p + 1)) * (p / (p + 1)) ** p, rel=1e-14)
    value.backward()
    assert at_minimum.grad.item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("module", [RePU(2), MRePU(1), MRePU(2)])
def test_nan_and_infinity_are_passed_on_and_minus_infinity_gives_zero(module):
    out = module(torch.tensor([math.nan, math.inf, -math.inf, -1e30]))
    assert out[0].isnan()
    assert out[1] == math.inf
    assert (out[2:] == 0).all()


def test_mrepu_gradient_of_nan_is_nan_and_of_the_flat_side_zero():
    z = torch.tensor([math.nan, -5.0, 0.0], requires_grad=True)
    MRePU(2)(z).sum().backward()
    assert z.grad[0].isnan()
    assert z.grad[1:].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", [RePU, MRePU])
@pytest.mark.parametrize("p", [0, -1, 1.5, "2", True])
def test_a_power_that_is_no_positive_integer_is_refused(kind, p):
    with pytest.raises(InputError, match=rf"{kind.__name__}\(p={p!r}\)"):
        kind(p)


@pytest.mark.parametrize(("module", "text"), [(RePU(3), "RePU(p=3)"), (MRePU(1), "MRePU(p=1)")])
def test_repr_names_the_power(module, text):
    assert repr(module) == text
