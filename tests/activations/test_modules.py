import math
import re

import pytest
import torch

from phasescope.activations import LearnedMRePU, MRePU, RePU, Scaled
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


@pytest.mark.parametrize("shift", [0.25, 3.0])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_shift_moves_the_zero_and_the_minimum(p, shift):
    z = torch.tensor([-7.0, -shift, 1.0, math.inf, -math.inf], dtype=torch.float64)
    expected = [0.0, 0.0, (1 + shift) ** p, math.inf, 0.0]
    assert MRePU(p, shift)(z).tolist() == pytest.approx(expected, rel=1e-14)
    at_minimum = torch.tensor(-shift / (p + 1), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(MRePU(p, shift)(at_minimum), at_minimum)
    assert slope.item() == pytest.approx(0, abs=1e-14)


def test_a_shift_of_one_is_the_form_of_the_paper_bit_by_bit():
    z = torch.linspace(-3, 3, 1001)
    for p in (1, 2, 3):
        inside = torch.maximum(z, torch.tensor(-1.0))
        assert torch.equal(MRePU(p)(z), inside * (inside + 1.0) ** p)


@pytest.mark.parametrize("p", [1.0001, 1.5, 2.0, 3.0])
def test_the_learned_unit_starts_as_told_and_has_finite_gradients_of_two_orders_everywhere(p):
    module = LearnedMRePU(p, shift=0.5).double()
    assert float(module.p.detach()) == pytest.approx(p, rel=1e-6)
    assert float(module.shift.detach()) == pytest.approx(0.5, rel=1e-6)
    edge = -module.shift.detach()
    z = torch.stack([edge, edge + 1e-16, edge - 1e-16, edge * 2, -edge, edge * 0])
    z = torch.cat([z, torch.tensor([-1e30, 3.0], dtype=torch.float64)]).requires_grad_()
    with torch.no_grad():
        expected = torch.where(z > edge, z * (z - edge).clamp(min=0) ** module.p, 0.0)
    torch.testing.assert_close(module(z), expected)
    variables = (z, *module.parameters())
    first = torch.autograd.grad(module(z).sum(), variables, create_graph=True)
    second = torch.autograd.grad(sum(g.sum() for g in first), variables)
    assert all(g.isfinite().all() for g in (*first, *second))
    assert first[0][[0, 2, 3, 6]].tolist() == [0.0] * 4
    assert float(first[1].detach()) != 0


def test_the_learned_unit_of_integer_power_is_the_fixed_one():
    z = torch.linspace(-2, 2, 101, dtype=torch.float64)
    torch.testing.assert_close(LearnedMRePU(3.0, 0.7)(z), MRePU(3, 0.7)(z), rtol=1e-5, atol=1e-6)
    assert LearnedMRePU()(torch.tensor([math.nan, math.inf, -math.inf])).tolist()[1:] == [math.inf, 0.0]
    assert LearnedMRePU()(torch.tensor(math.nan)).isnan()


def test_the_learned_unit_finds_power_and_shift_of_data():
    z = torch.linspace(-1.5, 1.5, 301)
    wanted = MRePU(3, 0.6)(z)
    module = LearnedMRePU()
    optimiser = torch.optim.LBFGS(module.parameters(), max_iter=100)

    def loss():
        optimiser.zero_grad()
        value = (module(z) - wanted).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    assert float(module.p.detach()) == pytest.approx(3, abs=0.02)
    assert float(module.shift.detach()) == pytest.approx(0.6, abs=0.01)


def test_a_scaled_activation_is_sigma_of_sz_over_s():
    z = torch.tensor([-2.0, 0.3, 1.0], dtype=torch.float64)
    torch.testing.assert_close(Scaled(MRePU(2), 0.1)(z), z * (0.1 * z + 1) ** 2)
    torch.testing.assert_close(Scaled(torch.tanh, 2.0)(z), torch.tanh(2 * z) / 2)
    assert Scaled(LearnedMRePU(), 0.5).state_dict().keys() == {"activation.raw_p", "activation.raw_shift"}


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf, "1", True])
def test_a_shift_or_a_scale_that_is_no_positive_number_is_refused(wrong):
    with pytest.raises(InputError, match=re.escape(f"MRePU(2, shift={wrong!r}): the shift")):
        MRePU(2, shift=wrong)
    with pytest.raises(InputError, match=re.escape(f"shift={wrong!r}): the shift")):
        LearnedMRePU(shift=wrong)
    with pytest.raises(InputError, match=re.escape(f"RePU(p=2), {wrong!r}): the scale")):
        Scaled(RePU(2), wrong)


@pytest.mark.parametrize("wrong", [1.0, 0.5, math.nan, math.inf, "2", True])
def test_a_learned_power_of_one_or_less_is_refused(wrong):
    with pytest.raises(InputError, match=re.escape(f"LearnedMRePU(p={wrong!r}, shift=1.0): the power")):
        LearnedMRePU(wrong)


def test_only_what_can_be_called_is_scaled():
    with pytest.raises(InputError, match=r"Scaled\('tanh', 2.0\): the activation is neither"):
        Scaled("tanh", 2.0)


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (RePU(3), "RePU(p=3)"),
        (MRePU(1), "MRePU(p=1)"),
        (MRePU(2, 0.5), "MRePU(p=2, shift=0.5)"),
        (LearnedMRePU(), "LearnedMRePU(p=2, shift=1)"),
    ],
)
def test_repr_names_power_and_shift(module, text):
    assert repr(module) == text
