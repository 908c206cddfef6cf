import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from phasescope.activations import LearnedMRePU, MRePU, RePU, Scaled, as_activation
from phasescope.activations.names import _KNOWN
from phasescope.activations.resolve import find_kinks
from phasescope.errors import InputError

Z = torch.tensor([-40.0, -3.7, -1.2, -0.4, -1e-3, 1e-9, 0.2, 0.9, 2.3, 7.1, 25.0], dtype=torch.float64)
TORCH = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "logsigmoid": F.logsigmoid,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardshrink": F.hardshrink,
    "softshrink": F.softshrink,
    "erf": torch.erf,
    "sin": torch.sin,
    "arctan": torch.atan,
}


@pytest.mark.parametrize("name", TORCH)
def test_a_name_means_the_torch_function(name):
    torch.testing.assert_close(as_activation(name)(Z), TORCH[name](Z), rtol=1e-13, atol=1e-300)


def test_gelu_tanh_is_torchs_approximation():
    torch.testing.assert_close(
        as_activation("gelu_tanh")(Z[1:]), F.gelu(Z[1:], approximate="tanh"), rtol=1e-9, atol=1e-13
    )


def test_softplus_is_exact_where_torchs_own_jumps():
    z = torch.tensor([19.9999, 20.0001, 30.0], dtype=torch.float64)
    expected = [float(v) + math.log1p(math.exp(-float(v))) for v in z]
    assert as_activation("softplus")(z).tolist() == pytest.approx(expected, rel=1e-15)
    jump = as_activation("softplus")(z)[1] - as_activation("softplus")(z)[0]
    assert float(jump) == pytest.approx(2e-4, rel=1e-8)


def test_tanhshrink_keeps_its_digits_near_zero():
    z = torch.tensor([1e-8, 1e-4, 0.05, 0.0999, 0.1001, 2.0], dtype=torch.float64)
    # z^3/3 - 2 z^5/15 + ..., and plain numpy where nothing cancels.
    assert float(as_activation("tanhshrink")(z)[0]) == pytest.approx(1e-24 / 3, rel=1e-13)
    assert float(as_activation("tanhshrink")(z)[1]) == pytest.approx(1e-12 / 3 - 2e-20 / 15, rel=1e-13)
    longdouble = z.numpy().astype(np.longdouble)
    expected = (longdouble - np.tanh(longdouble)).astype(np.float64)
    np.testing.assert_allclose(as_activation("tanhshrink")(z)[2:], expected[2:], rtol=1e-13)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("nn.ReLU", "relu"),
        ("torch.nn.functional.leaky_relu", "leaky_relu"),
        ("LeakyReLU", "leaky_relu"),
        ("Swish", "silu"),
        ("Identity", "linear"),
        ("log_sigmoid", "logsigmoid"),
        ("LogSigmoid", "logsigmoid"),
        ("ReQU", "repu2"),
        ("MRePU2", "mrepu2"),
        ("atan", "arctan"),
    ],
)
def test_spellings(spelling, name):
    assert as_activation(spelling).name == name


def test_hardswish_is_not_swish():
    z = torch.tensor([1.0], dtype=torch.float64)
    assert float(as_activation("hardswish")(z)) == pytest.approx(4 / 6, rel=1e-15)
    assert float(as_activation("swish")(z)) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-15)


def test_rectified_powers_by_name():
    z = torch.tensor([-0.5, 1.5], dtype=torch.float64)
    assert as_activation("repu3")(z).tolist() == [0.0, 1.5**3]
    assert as_activation("mrepu2")(z).tolist() == [-0.5 * 0.25, 1.5 * 2.5**2]
    assert as_activation(RePU(3)).name == "repu3"
    assert as_activation(MRePU(2)).closed_form == ("mrepu", (2.0,))


@pytest.mark.parametrize("wrong", ["repu0", "mrepu-1", "RePU2.5", "mrepu_0", "repu100", "repu 02"])
def test_a_name_with_a_power_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match=f"'{wrong}': its power is not an integer from 1 to 99"):
        as_activation(wrong)


@pytest.mark.parametrize(
    ("module", "name", "kinks"),
    [
        (MRePU(2, 0.5), "mrepu2(shift=0.5)", (-0.5,)),
        (LearnedMRePU(1.5, 2.0), "mrepu(p=1.5, shift=2)", (-2.0,)),
        (Scaled(MRePU(2), 0.5), "mrepu2(s=0.5)", (-2.0,)),
        (Scaled(Scaled(MRePU(3, 2.0), 2.0), 0.25), "mrepu3(shift=2)(s=2)(s=0.25)", (-4.0,)),
        (Scaled(nn.Hardshrink(0.3), 0.5), "hardshrink(0.3)(s=0.5)", (-0.6, 0.6)),
        (Scaled(nn.LeakyReLU(0.2), 7.0), "leaky_relu(0.2)(s=7)", (0.0,)),
        (Scaled(F.gelu, 3.0), "gelu(s=3)", ()),
    ],
)
def test_rectified_powers_of_other_shape_and_scaled_activations(module, name, kinks):
    activation = as_activation(module)
    assert (activation.name, activation.kinks) == (name, pytest.approx(kinks, rel=1e-6))
    with torch.no_grad():
        torch.testing.assert_close(activation(Z), module.double()(Z), rtol=1e-13, atol=1e-300)


def test_a_learned_activation_is_taken_as_it_is_now():
    module = LearnedMRePU(1.5, 2.0)
    before = as_activation(module)
    with torch.no_grad():
        module.raw_shift.fill_(0.0)
    assert before.kinks == pytest.approx((-2.0,), rel=1e-6)
    assert as_activation(module).kinks == pytest.approx((-math.log(2),), rel=1e-6)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("gelo", "gelu"), ("tahn", "tanh"), ("sotfplus", "softplus"), ("leakyrelu2", "leaky_relu")],
)
def test_an_unknown_name_gets_the_nearest(wrong, near):
    with pytest.raises(InputError, match=f"(?s)Unknown activation '{wrong}'.*{near}"):
        as_activation(wrong)


def test_a_name_like_nothing_gets_the_list():
    with pytest.raises(InputError, match="Known names: linear, relu"):
        as_activation("zzzzzz")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("softmax", "mixes the units"),
        ("GLU", "multiplies one half"),
        ("threshold", "needs its two settings"),
        ("rrelu", "random slopes"),
        ("dropout", "random"),
        ("conv2d", "not as an elementwise activation"),
        ("repu0", "not an integer from 1 to 99"),
    ],
)
def test_a_name_that_is_no_elementwise_function_is_refused_with_the_reason(name, why):
    with pytest.raises(InputError, match=why):
        as_activation(name)


@pytest.mark.parametrize("name", _KNOWN)
def test_kinks_of_the_table_are_those_that_a_search_finds(name):
    activation = as_activation(name)
    assert find_kinks(activation) == (activation.kinks, activation.jumps)


@pytest.mark.parametrize("name", [*_KNOWN, "repu2", "repu3", "mrepu1", "mrepu2", "mrepu3"])
def test_derivatives_up_to_the_third_are_right_and_finite_far_out(name):
    activation = as_activation(name)
    far = torch.tensor([-1e6, -800.0, -40.0, 40.0, 800.0, 1e6], dtype=torch.float64)
    z = torch.tensor([-4.31, -1.37, -0.31, 0.27, 1.13, 2.71], dtype=torch.float64)
    # Five-point differences of the derivative below; no kink lies within the stencil.
    h = 1e-3
    for order in (1, 2, 3):
        assert torch.isfinite(activation.derivative(far, order)).all()
        below = [activation.derivative(z + k * h, order - 1) for k in (-2, -1, 1, 2)]
        difference = (below[0] - 8 * below[1] + 8 * below[2] - below[3]) / (12 * h)
        torch.testing.assert_close(activation.derivative(z, order), difference, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("module", "function", "kinks"),
    [
        (nn.LeakyReLU(0.2), lambda z: F.leaky_relu(z, 0.2), (0.0,)),
        (nn.ELU(0.5), lambda z: F.elu(z, 0.5), (0.0,)),
        (nn.CELU(2.0), lambda z: F.celu(z, 2.0), (0.0,)),
        (nn.Hardtanh(-2, 0.5), lambda z: F.hardtanh(z, -2, 0.5), (-2.0, 0.5)),
        (nn.Softshrink(0.1), lambda z: F.softshrink(z, 0.1), (-0.1, 0.1)),
        (nn.Hardshrink(0.3), lambda z: F.hardshrink(z, 0.3), (-0.3, 0.3)),
        (nn.ReLU(inplace=True), F.relu, (0.0,)),
        (nn.RReLU(0.1, 0.3).eval(), lambda z: F.leaky_relu(z, 0.2), (0.0,)),
        (nn.Threshold(0.1, -1.0), lambda z: F.threshold(z, 0.1, -1.0), (0.1,)),
        (nn.SiLU(), F.silu, ()),
        (nn.Identity(), lambda z: z, ()),
        (nn.Softplus(beta=2.0), lambda z: torch.log1p(torch.exp(2 * z)) / 2, ()),
    ],
)
def test_a_module_keeps_its_settings(module, function, kinks):
    activation = as_activation(module)
    torch.testing.assert_close(activation(Z), function(Z), rtol=1e-9, atol=1e-13)
    assert activation.kinks == kinks


def test_gelu_of_the_other_approximation_is_another_activation():
    z = torch.tensor([1.0], dtype=torch.float64)
    gap = float(as_activation(nn.GELU())(z) - as_activation(nn.GELU(approximate="tanh"))(z))
    assert abs(gap) > 1e-5
