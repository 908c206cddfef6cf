import copy
import functools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.activations import Activation, as_activation
from phasescope.errors import InputError


def test_a_known_function_is_recognised_and_keeps_its_closed_form():
    assert as_activation(torch.erf).closed_form == ("erf", ())
    assert as_activation(nn.functional.gelu) is as_activation("gelu")


def test_a_users_function_is_named_and_searched_for_kinks():
    def bent(z):
        return torch.relu(z - 0.3) + 0.5 * torch.relu(-z - 2)

    activation = as_activation(bent)
    assert activation.name == "bent"
    assert activation.kinks == (-2.0, 0.3)
    assert activation.jumps == ()


def test_kinks_at_points_that_are_not_round_are_found_to_rounding():
    edge = math.pi / 3
    activation = as_activation(lambda z: torch.clamp(z, max=edge))
    assert activation.kinks == pytest.approx((edge,), rel=1e-15)


def test_jumps_of_the_second_derivative_and_of_the_function_are_found():
    assert as_activation(lambda z: torch.relu(z - 1) ** 2).kinks == (1.0,)
    stepped = as_activation(lambda z: torch.where(z > 0.7, z, 0.5 * z))
    assert stepped.kinks == stepped.jumps == (0.7,)


@pytest.mark.parametrize("function", [lambda z: z * torch.sigmoid(2 * z), lambda z: torch.sin(20 * z)])
def test_no_kinks_are_seen_in_smooth_functions(function):
    assert as_activation(function).kinks == ()


def test_overflow_is_no_kink():
    assert as_activation(lambda z: torch.log(1 + torch.exp(z))).kinks == ()


def test_of_many_kinks_those_nearest_to_zero_are_kept():
    stairs = as_activation(lambda z: torch.round(z * 4) / 4 + 0.1 * z)
    expected = [(k + 0.5) / 4 for k in range(-32, 32)]
    assert stairs.kinks == pytest.approx(expected, rel=1e-14)
    assert stairs.jumps == stairs.kinks


def test_declared_kinks_are_taken_and_sorted():
    activation = as_activation(lambda z: torch.where(z > 0.7, z, 0.5 * z), kinks=[3, 0.7])
    assert activation.kinks == (0.7, 3.0)
    assert activation.jumps == (0.7,)
    assert as_activation("tanh", kinks=()).kinks == ()


def test_a_kink_that_is_no_number_is_refused():
    with pytest.raises(InputError, match="not a finite number"):
        as_activation("relu", kinks=[math.inf])


def test_an_activation_passes_through():
    mine = Activation("mine", torch.tanh)
    assert as_activation(mine) is mine


class _Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.7))

    def forward(self, z):
        return torch.tanh(self.scale * z)


def test_a_users_module_is_copied_in_float64_and_left_as_it_was():
    module = _Learned()
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(module.state_dict())
    activation = as_activation(module)
    z = torch.tensor([0.3], dtype=torch.float64)
    expected = math.tanh(float(torch.tensor(1.7)) * 0.3)
    assert float(activation(z)) == pytest.approx(expected, rel=1e-15)
    assert calls == []
    assert module.scale.dtype == torch.float32
    assert module.scale.grad is None
    assert module.scale.requires_grad
    assert torch.equal(module.state_dict()["scale"], before["scale"])
    with torch.no_grad():
        module.scale.fill_(0.1)
    assert float(activation(z)) == pytest.approx(expected, rel=1e-15)


def test_prelu_of_one_slope_is_taken_and_of_many_refused():
    assert as_activation(nn.PReLU(init=0.5)).closed_form == ("leaky_relu", (0.5,))
    with pytest.raises(InputError, match="PReLU"):
        as_activation(nn.PReLU(num_parameters=3))


def test_the_argument_is_never_changed_by_an_in_place_function():
    activation = as_activation(lambda z: z.mul_(2))
    z = torch.ones(3, dtype=torch.float64)
    activation(z)
    activation.derivative(z)
    assert torch.equal(z, torch.ones(3, dtype=torch.float64))


def _detached(z):
    return torch.tanh(z.detach())


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (lambda z: torch.softmax(z, dim=0), "not elementwise"),
        (lambda z: z - z.mean(), "not elementwise"),
        (lambda z: z.sum(), "not elementwise"),
        (lambda z: z[:3], "not elementwise"),
        (lambda z: torch.log(z), "its value is nan at z = "),
        (lambda z: 1 / z, "its value is inf at z = 0"),
        (lambda z: np.tanh(z.numpy()), "not elementwise"),
        (lambda z: math.tanh(z), "ValueError|TypeError|RuntimeError"),
        (lambda z: z.float(), "returns torch.float32"),
        (lambda z: z + torch.rand_like(z), "other values when called again"),
        (_detached, "no dependence on z"),
        (lambda z: torch.from_numpy(np.tanh(z.detach().numpy())), "no dependence on z"),
        (lambda z: (z > 0).double(), "no dependence on z"),
        (lambda z: torch.where(z > 0, torch.sqrt(z.clamp(min=0)), 0 * z), "its derivative is nan"),
        (nn.Dropout(0.5), "other values when called again"),
        (nn.Linear(3, 3), "Linear"),
        (nn.BatchNorm1d(4), "BatchNorm1d"),
        (nn.RReLU(), "other values when called again"),
        (nn.Softmax(dim=0), "not elementwise"),
        (3.0, "3.0 is not an activation"),
    ],
)
def test_what_is_no_activation_is_refused_with_the_reason(spec, why):
    with pytest.raises(InputError, match=why):
        as_activation(spec)


def test_a_module_that_cannot_be_copied_is_refused():
    class Stubborn(nn.Module):
        def __deepcopy__(self, memo):
            raise RuntimeError("no copies of me")

    with pytest.raises(InputError, match="cannot be copied"):
        as_activation(Stubborn())


def test_a_function_that_torch_differentiates_once_only_says_so():
    once = as_activation(nn.functional.tanh)
    hard = Activation("hard", nn.functional.hardsigmoid)
    z = torch.zeros(1, dtype=torch.float64)
    assert float(once.derivative(z, 3)) == pytest.approx(-2)
    with pytest.raises(InputError, match="derivative number 2"):
        hard.derivative(z, 2)


def test_kinks_of_a_function_that_torch_differentiates_once_only_are_found():
    activation = as_activation(lambda z: nn.functional.hardsigmoid(z))
    assert activation.kinks == (-3.0, 3.0)
    assert activation.jumps == ()


def test_errors_are_one_line_and_partial_functions_keep_their_name():
    def steep(slope, z):
        return torch.tanh(slope * z)

    assert as_activation(functools.partial(steep, 3.0)).name == "steep"

    def failing(z):
        raise RuntimeError("first line.\nsecond line")

    with pytest.raises(InputError) as caught:
        as_activation(failing)
    assert "RuntimeError: first line." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_second_derivatives_of_abs_do_not_load_the_compiler():
    code = (
        "import sys, torch; from phasescope.activations import as_activation;"
        "a = as_activation(lambda z: z / (1 + z.abs()));"
        "a.derivative(torch.ones(2), 3);"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
