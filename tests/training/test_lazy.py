import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.theory import random_flips, two_layer_linear
from phasescope.training import lazy_or_rich
from phasescope.training.drift_scaling import drift_scaling
from reference import tangent_kernels


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(module, seed=0, scale=1.0):
    """The module in double precision, every parameter Gaussian with variance 1/fan-in."""
    module = module.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            fan = p[0].numel() if p.ndim > 1 else 1
            p.normal_(0, scale / math.sqrt(fan), generator=generator)
    return module


def moved(module, size, seed=1):
    """A copy with every parameter moved at random."""
    other = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in other.parameters():
            p += size * torch.randn(p.shape, generator=generator, dtype=p.dtype) * p.std(correction=0)
    return other


def mlp(act=nn.Tanh, outputs=3, width=12):
    layers = [nn.Linear(6, width), act(), nn.Linear(width, width), act(), nn.Linear(width, outputs)]
    return drawn(nn.Sequential(*layers))


class TwoLayerLinear(nn.Module):
    def __init__(self, a, w, s):
        super().__init__()
        self.a, self.w = nn.Parameter(torch.tensor(a)), nn.Parameter(torch.tensor(w))
        self.scale = len(a) ** (-(1 + s) / 2)

    def forward(self, x):
        return self.scale * x * (self.a @ self.w)


@pytest.mark.parametrize(("n", "s", "verdict"), [(16, 0, "lazy"), (64, 0.5, "lazy"), (64, 1, "mixed")])
def test_the_two_layer_linear_model_gives_its_exact_drift_and_gap(n, s, verdict):
    exact = two_layer_linear(n, s)
    start = np.ones(n), np.tile([1.0, -1.0], n // 2)
    sides = [TwoLayerLinear(*pair, s) for pair in (start, exact.weights(*start))]
    found = lazy_or_rich(*sides, torch.ones(1, 1, dtype=torch.float64))
    assert found.drift.value == pytest.approx(exact.drift, rel=1e-10)
    assert found.gap.value == pytest.approx(exact.gap, rel=1e-10)
    assert found.verdict == verdict
    assert math.isnan(found.drift.error)  # one input has no spread


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.tied, self.leave = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        h = self.enter(x)
        h = h + torch.relu(self.norm(self.tied(h)))
        return self.leave(h + torch.relu(self.tied(h)))


class Shared(nn.Module):
    """Two modules with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.leave = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.leave(torch.tanh(self.second(torch.tanh(self.first(x)))))


@pytest.mark.parametrize(
    "module",
    [
        mlp(),
        mlp(nn.ReLU),
        drawn(Residual()),
        drawn(Shared()),
        drawn(nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 3, 2), nn.GELU(), nn.Flatten())),
    ],
    ids=["tanh", "relu", "residual", "tied", "convolution"],
)
def test_drift_and_gap_are_those_of_whole_jacobians(module):
    after, x = moved(module, 0.1), normal(9, 6, seed=3)
    found = lazy_or_rich(module, after, x)
    quiet = copy.deepcopy(after).eval()
    sides = [{name: p.detach() for name, p in side.named_parameters()} for side in (module, after)]
    assert found.drift.value == pytest.approx(tangent_kernels.drift(quiet, *sides, x), rel=1e-9)
    assert found.gap.value == pytest.approx(tangent_kernels.gap(quiet, *sides, x), rel=1e-9)
    kernel = tangent_kernels.kernel(quiet, sides[0], x).reshape(len(found.eigenvalues), -1)
    assert found.eigenvalues == pytest.approx(torch.linalg.eigvalsh(kernel).numpy(), abs=1e-9)


def test_little_memory_takes_the_kernel_in_blocks_with_the_same_answer():
    module = drawn(nn.Sequential(nn.Linear(6, 100), nn.Tanh(), nn.Linear(100, 100), nn.Linear(100, 3)))
    after, x = moved(module, 0.1), normal(7, 6)
    whole = lazy_or_rich(module, after, x)
    size = 8 * sum(p.numel() for p in module.parameters())
    blocks = lazy_or_rich(module, after, x, max_memory=14 * size)
    assert blocks.drift.value == pytest.approx(whole.drift.value, rel=1e-10)
    with pytest.raises(MemoryLimitError):
        lazy_or_rich(module, after, x, max_memory=size)


def test_projections_find_the_drift_of_the_whole_kernel_within_their_error():
    module = mlp(outputs=40)
    after, x = moved(module, 0.2), normal(14, 6, seed=4)
    sides = [{name: p.detach() for name, p in side.named_parameters()} for side in (module, after)]
    exact = tangent_kernels.drift(after, *sides, x)
    found = [lazy_or_rich(module, after, x, seed=seed) for seed in range(6)]
    values = np.array([each.drift.value for each in found])
    spread = values.std(ddof=1)
    assert not found[0].exact
    assert "random projections" in found[0].notes[-1]
    assert values.mean() == pytest.approx(exact, abs=4 * spread / math.sqrt(6))
    assert 0.3 * spread < np.mean([each.drift.error for each in found]) < 10 * spread


def test_gates_flip_as_the_arctangent_says_where_the_weights_move_at_random():
    module = drawn(nn.Sequential(nn.Linear(50, 400, bias=False), nn.ReLU(), nn.Linear(400, 1)))
    x = normal(64, 50)
    gates = lazy_or_rich(module, moved(module, 0.5), x).layers[1]
    assert gates.flips_law == pytest.approx(random_flips(0.5), rel=0.02)
    assert gates.flips.value == pytest.approx(gates.flips_law, abs=4 * gates.flips.error)
    assert gates.flips_null == pytest.approx(gates.flips_law, abs=0.01)
    # A shift of all weights along one direction that the inputs share flips more gates.
    shifted, along = copy.deepcopy(module), x + 3
    with torch.no_grad():
        shifted[0].weight += 0.5 * module[0].weight.std()
    aligned = lazy_or_rich(module, shifted, along).layers[1]
    assert aligned.flips.value > aligned.flips_null + 10 * aligned.flips_null_sd


def test_slopes_of_a_smooth_activation_are_compared_unit_by_unit():
    module, x = mlp(), normal(8, 6)
    after = moved(module, 0.3)
    row = lazy_or_rich(module, after, x).layers[1]
    slopes = [1 - torch.tanh(side[0](x)).detach() ** 2 for side in (module, after)]
    assert row.slopes.value == pytest.approx(float((slopes[1] - slopes[0]).abs().mean() / slopes[0].mean()))
    assert not row.flips.determined
    assert row.moved != row.moved  # it has no parameters


def test_the_predicted_loss_is_the_sum_over_the_whole_spectrum():
    module, x, y = mlp(outputs=2), normal(10, 6), normal(10, 2, seed=5)
    after = moved(module, 1e-3)
    rate, steps = 0.05, 40
    found = lazy_or_rich(module, after, x, loss=nn.MSELoss(), targets=y, rate=rate, steps=steps)
    before = {name: p.detach() for name, p in module.named_parameters()}
    kernel = tangent_kernels.kernel(module, before, x).reshape(20, 20)
    values, vectors = torch.linalg.eigh(kernel)
    parts = vectors.T @ (module(x) - y).detach().flatten()
    times = torch.arange(steps + 1)[:, None]
    expected = ((1 - 2 * rate * values / 20) ** (2 * times) * parts**2).sum(1) / 20
    assert found.loss.curve == pytest.approx(expected.numpy(), rel=1e-9)
    assert found.loss.initial == pytest.approx(float(expected[0]), rel=1e-9)


def test_a_wide_network_trains_as_its_kernel_predicts():
    torch.manual_seed(0)
    n, x, y = 1024, normal(12, 6) / math.sqrt(6), normal(12, 1, seed=7)
    model = nn.Sequential(nn.Linear(6, n, bias=False), nn.Tanh(), nn.Linear(n, 1, bias=False)).double()
    nn.init.normal_(model[0].weight)
    nn.init.normal_(model[2].weight, std=1 / math.sqrt(n))
    before = copy.deepcopy(model.state_dict())
    optimiser = torch.optim.SGD(model.parameters(), lr=2 / n)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimiser.step()
    loss = nn.functional.mse_loss
    found = lazy_or_rich(before, model, x, loss=loss, targets=y, rate=2 / n, steps=60)
    assert found.loss.final.value == pytest.approx(found.loss.trained, rel=0.1)
    assert found.verdict in ("lazy", "mixed")


def test_what_cannot_be_predicted_says_why():
    module, x = mlp(), normal(6, 6)
    after = moved(module, 0.1)
    assert "no learning rate" in lazy_or_rich(module, after, x, loss=torch.mean).loss.final.reason
    y = normal(6, 3)
    wild = lazy_or_rich(module, after, x, loss=nn.MSELoss(), targets=y, rate=1e4, steps=500)
    assert "diverges at rate 10000" in wild.loss.final.reason
    large = mlp(outputs=200)
    many = lazy_or_rich(large, moved(large, 0.1), x, loss=torch.mean, rate=0.1, steps=3)
    assert "not taken whole" in many.loss.final.reason


def test_equal_checkpoints_and_equal_outputs_are_not_determined():
    module, x = mlp(nn.ReLU), normal(6, 6)
    same = lazy_or_rich(copy.deepcopy(module), module, x)
    assert same.verdict == "not determined"
    assert same.reason == "the two checkpoints are equal"
    assert not same.drift.determined
    # Rescaled ReLU units: other weights, the same function.
    scaled = copy.deepcopy(module)
    with torch.no_grad():
        scaled[0].weight *= 2
        scaled[0].bias *= 2
        scaled[2].weight /= 2
    found = lazy_or_rich(module, scaled, x)
    assert "outputs of the two checkpoints are equal" in found.reason
    assert found.drift.determined


@pytest.mark.parametrize(
    ("initial", "options", "reason"),
    [
        (None, {}, "No initial checkpoint"),
        (3, {}, "checkpoint is int"),
        (mlp(width=13), {}, r"shape \(13, 6\) in the initial checkpoint and \(12, 6\)"),
        (nn.Linear(6, 3).double(), {}, "two architectures"),
        (mlp(), {"loss": nn.MSELoss()}, "takes targets"),
        (mlp(), {"rate": 0.1}, "rate= and steps="),
        (mlp(), {"loss": lambda f: f, "rate": 0.1, "steps": 2}, "not one number"),
    ],
)
def test_input_that_cannot_be_used_is_refused_with_the_reason(initial, options, reason):
    with pytest.raises(InputError, match=reason):
        lazy_or_rich(initial, mlp(), normal(4, 6), **options)


def test_nan_weights_are_refused_by_name():
    spoiled = mlp()
    with torch.no_grad():
        spoiled[2].weight[0, 0] = math.nan
    with pytest.raises(InputError, match=r"trained checkpoint holds NaN or infinity in 2\.weight"):
        lazy_or_rich(mlp(), spoiled, normal(4, 6))


def test_a_loss_as_output_is_refused():
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 1)

        def forward(self, x):
            return self.inner(x).mean()

    with pytest.raises(InputError, match="no axis of the inputs"):
        lazy_or_rich(Loss(), Loss(), torch.randn(4, 6))


def test_half_precision_is_measured_in_single():
    module = mlp().to(torch.bfloat16)
    found = lazy_or_rich(module, moved(module, 0.5), torch.randn(6, 6, dtype=torch.bfloat16))
    assert found.gap.determined
    assert found.drift.value > 0


def test_a_layer_of_one_unit_has_its_row():
    module = mlp(nn.ReLU, width=1)
    found = lazy_or_rich(module, moved(module, 0.3), normal(12, 6))
    assert [row.skipped for row in found.layers] == [""] * 5


def test_the_model_stays_bit_identical():
    module = drawn(Residual())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    lazy_or_rich(moved(module, 0.1), module, normal(8, 6))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)


def _family(width, depth, seed):
    """Read-outs of width^-(1+s)/2 with s = 1/2 for a linear network of one hidden layer, from output zero."""
    start = np.ones(width), np.tile([1.0, -1.0], width // 2)
    return TwoLayerLinear(*start, 0.5)


def _to_one(model, width, depth, seed):
    start = model.a.detach().numpy(), model.w.detach().numpy()
    a, w = two_layer_linear(width, 0.5, 1 + 0.01 * seed).weights(*start)
    with torch.no_grad():
        model.a.copy_(torch.from_numpy(a))
        model.w.copy_(torch.from_numpy(w))


def test_the_drift_of_the_exact_family_scales_as_its_exponent_says():
    x = torch.ones(2, 1, dtype=torch.float64)
    found = drift_scaling(_family, [256, 1024, 4096], [1], _to_one, x, seeds=3)
    assert found.drift.width.value == pytest.approx(-0.5, abs=0.02)
    assert found.gap.width.value == pytest.approx(-0.5, abs=0.02)
    assert found.drift.depth.reason == "all depths are equal"
    assert not found.flips.width.determined
    # The output moves by one at each width: flat.
    (check,) = found.coordinates.values()
    assert check.verdict == "flat"
    assert check.slope.value == pytest.approx(0, abs=1e-9)


def test_depth_enters_the_fit_beside_width_and_coordinates_that_grow_are_named():
    def network(width, depth, seed):
        module = nn.Sequential(*[nn.Linear(4, 4, bias=False) for _ in range(depth)])
        return drawn(module, seed)

    def train(model, width, depth, seed):
        with torch.no_grad():
            model[0].weight *= 1 + 0.01 * width * depth**2

    found = drift_scaling(network, [1, 2, 4], [2, 4], train, normal(5, 4), seeds=3)
    row = found.coordinates["0"]
    assert row.verdict == "grows"
    assert row.slope.value == pytest.approx(1, abs=1e-9)
    assert found.drift.depth.determined
    assert found.drifts.shape == (3, 2, 3)


def test_scaling_refuses_one_seed_and_no_width():
    with pytest.raises(InputError, match="seeds is 1"):
        drift_scaling(_family, [4], [1], _to_one, normal(2, 1), seeds=1)
    with pytest.raises(InputError, match="widths are"):
        drift_scaling(_family, [], [1], _to_one, normal(2, 1))
