"""RePU, MRePU and their forms in any model: derivatives, transforms, compilers, half precision."""

import copy
import io
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

from phasescope.activations import LearnedMRePU, MRePU, RePU, Scaled, as_activation

MODULES = [
    RePU(1),  # as torch's ReLU it has slope 1 at NaN
    RePU(2),
    RePU(3),
    MRePU(1),
    MRePU(2),
    MRePU(3, 0.5),
    LearnedMRePU(1.5, 0.7),
    Scaled(MRePU(2), 0.3),
]
NAMES = [str(module).replace("\n", " ") for module in MODULES]
each = pytest.mark.parametrize("module", MODULES, ids=NAMES)
halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
SPECIAL = [math.nan, math.inf, -math.inf]


def double(module):
    return copy.deepcopy(module).double()


@each
def test_both_derivatives_are_those_of_finite_differences_away_from_the_kink(module):
    module = double(module)
    z = torch.tensor([-9.0, -4.1, -1.3, -0.4, 0.2, 1.7], dtype=torch.float64, requires_grad=True)
    variables = (z, *module.parameters())
    call = lambda z, *_: module(z)  # noqa: E731
    assert gradcheck(call, variables)
    assert gradgradcheck(call, variables)


@pytest.mark.parametrize(("module", "kink"), [(RePU(3), 0.0), (MRePU(3), -1.0), (MRePU(4, 0.5), -0.5)])
def test_both_derivatives_are_right_at_a_kink_of_the_third(module, kink):
    z = torch.full((2,), kink, dtype=torch.float64, requires_grad=True)
    assert gradcheck(module, z, atol=1e-4)
    assert gradgradcheck(module, z, atol=1e-4)


@pytest.mark.parametrize(
    ("module", "kink"),
    [(RePU(1), 0.0), (RePU(2), 0.0), (MRePU(1), -1.0), (MRePU(2), -1.0), (MRePU(2, 3.0), -3.0)],
)
def test_where_a_derivative_jumps_it_is_that_from_the_left_zero(module, kink):
    z = torch.tensor(kink, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(module(z), z, create_graph=True)
    (second,) = torch.autograd.grad(first, z, materialize_grads=True)
    assert (first.item(), second.item()) == (0.0, 0.0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@each
def test_forward_mode_vmap_and_functional_call_agree_with_reverse_mode(module):
    module = double(module)
    z = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(3, 4)
    v = torch.cos(z)
    parameters = dict(module.named_parameters())

    def call(z):
        return torch.func.functional_call(module, parameters, (z,))

    value, tangent = torch.func.jvp(call, (z,), (v,))
    slope = torch.func.vmap(torch.func.vmap(torch.func.grad(call)))(z)
    torch.testing.assert_close(value, module(z))
    torch.testing.assert_close(tangent, slope * v)
    # The curvature along v, forward over reverse and reverse over reverse.
    point = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(point).square().sum(), point, create_graph=True)
    (expected,) = torch.autograd.grad(gradient, point, v)
    squares = torch.func.grad(lambda z: call(z).square().sum())
    torch.testing.assert_close(torch.func.jvp(squares, (z,), (v,))[1], expected)


@halves
@each
def test_half_precision_gives_the_exact_value_to_a_few_units_in_the_last_place(module, dtype):
    half = copy.deepcopy(module).to(dtype)
    near = torch.logspace(-3, 4.5, 3001, dtype=torch.float64)
    z = torch.cat([near, -near]).to(dtype)
    exact = double(half)
    if isinstance(half, LearnedMRePU):
        # Half precision rounds the two parameters as well; the exact value is meant at the rounded ones.
        p, shift = half.p.detach().double(), half.shift.detach().double()
        exact = lambda z: torch.where(z > -shift, z * (z + shift).clamp(min=0) ** p, 0.0)  # noqa: E731
    with torch.no_grad():
        expected, found = exact(z.double()), half(z)
    assert found.dtype == dtype
    fits = expected.to(dtype).isfinite()
    assert torch.equal(found.isfinite(), fits)
    assert (~fits).any() == (dtype == torch.float16 and float(expected.max()) > 65504)
    size = expected.abs()
    if isinstance(half, Scaled):
        # Rounding s z moves the value by |z sigma'(s z)| times that rounding: relatively much near the kink.
        size = torch.maximum(size, (z.double() * as_activation(half).derivative(z)).abs())
    least = torch.finfo(dtype).smallest_normal
    unit = size.clamp(min=least).log2().floor().exp2() * torch.finfo(dtype).eps
    assert float(((found.double() - expected).abs() / unit)[fits].max()) < 5
    special = half(torch.tensor(SPECIAL, dtype=dtype)).tolist()
    assert math.isnan(special[0])
    assert special[1:] == [math.inf, 0.0]


@halves
@each
def test_gradients_in_half_precision_are_finite_and_show_nan(module, dtype):
    half = copy.deepcopy(module).to(dtype)
    z = torch.tensor([math.nan, -5.0, -1.0, -0.5, 0.0, 0.5, 2.0], dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(half(z).sum(), z)
    wide = z.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(double(half)(wide).sum(), wide)
    assert slope[0].isnan() or module is MODULES[0]
    torch.testing.assert_close(slope[1:].double(), expected[1:], rtol=0.05, atol=0.01)


class Together(nn.Module):
    """All of them, each on its own row, so that what compiles or exports runs once."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(copy.deepcopy(MODULES))

    def forward(self, z):
        return torch.stack([part(row) for part, row in zip(self.parts, z.unbind(), strict=True)])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # of torch's compiler
def test_compiled_in_one_graph_values_gradients_and_nan_stay(dtype):
    plain = Together().to(dtype)
    torch._dynamo.reset()
    compiled = torch.compile(plain, fullgraph=True)
    z = torch.cat([torch.linspace(-3, 3, 61), torch.tensor(SPECIAL)]).to(dtype)
    values, slopes = [], []
    for call in (compiled, plain):
        point = z.expand(len(MODULES), -1).clone().requires_grad_()
        values.append(call(point))
        slopes.append(torch.autograd.grad(values[-1].sum(), point)[0])
    rounding = {"rtol": 8 * torch.finfo(dtype).eps, "atol": 8 * torch.finfo(dtype).eps}
    torch.testing.assert_close(*values, equal_nan=True, **rounding)
    torch.testing.assert_close(*slopes, equal_nan=True, **rounding)
    assert values[0][:, -3].isnan().all()
    assert slopes[0][1:, -3].isnan().all()  # RePU(1) as torch's ReLU has slope 1 there


def exported(model, inputs, batch_dimension=0):
    pytest.importorskip("onnxscript", reason="needs onnx and onnxscript, of the extra dev")
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra dev")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        batch = ({batch_dimension: torch.export.Dim("batch")},)
        program = torch.onnx.export(model, (inputs,), dynamo=True, verbose=False, dynamic_shapes=batch)
    buffer = io.BytesIO()
    program.save(buffer)
    session = onnxruntime.InferenceSession(buffer.getvalue())
    (name,) = (each.name for each in session.get_inputs())
    return lambda z: session.run(None, {name: z.numpy()})[0]


@pytest.mark.slow
def test_exported_to_onnx_values_and_nan_are_those_of_torch():
    together = Together()
    run = exported(together, torch.randn(len(MODULES), 5), batch_dimension=1)
    z = torch.tensor([*SPECIAL, -1.0, -0.7, -0.5, 0.0, 1e-3, 2.0, 30.0, -5.0, 0.3, -9.0, 1.0, 1e9, 1.0])
    z = z.repeat(len(MODULES), 1)
    with torch.no_grad():
        expected = together(z).numpy()
    np.testing.assert_allclose(run(z), expected, rtol=1e-6)
    assert np.isnan(run(z)[:, 0]).all()


@pytest.mark.slow
def test_a_network_exported_to_onnx_shows_that_it_overflowed():
    torch.manual_seed(0)
    layers = [nn.Linear(4, 16), MRePU(2), *(part for _ in range(7) for part in (nn.Linear(16, 16), MRePU(2)))]
    model = nn.Sequential(*layers, nn.Linear(16, 1)).eval()
    run = exported(model, torch.randn(3, 4))
    small = 0.1 * torch.randn(5, 4)
    with torch.no_grad():
        np.testing.assert_allclose(run(small), model(small).numpy(), rtol=1e-4, atol=1e-6)
        assert not model(1e6 * small).isfinite().any()
    assert not np.isfinite(run(1e6 * small)).any()
