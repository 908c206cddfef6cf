"""The stream of a network: what all information passes, on networks whose answer is worked out by hand."""

import math
import re
from functools import cache

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import ndtr
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from phasescope.recording import as_batch
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import quiet
from phasescope.signal import profile
from reference.cut_points import cut_points
from reference.propagation import perpendicular_tangents
from zoo import KNOWN, ZOO, every
from zoo.attention import GPT2
from zoo.plain import ResidualMLP, he_relu_as, linear_residual, mlp_as

# One of each kind of architecture; the others are slow.
FAST = {"mlp_matmul", "residual_mlp", "nerf", "vae", "coupling_flow", "max_norm", "resnet_v1", "gpt2"}
_STEPS = re.compile("Linear|Bilinear|linear|matmul|einsum|Conv.*|sum|cat|Embedding|LSTM.*|GRU")


def double(name):
    """A model of the zoo in float64 where it can be, and its batch."""
    model, batch = ZOO[name]()
    module = as_module(model)
    fitted = as_batch(module, batch)
    if name not in ("bf16", "plain_callable"):
        module.double()
        fitted = fitted.with_floats([tensor.double() for tensor in fitted.floats()])
    return model, module, fitted


def by_hand(name, **options):
    """The cut points of a model of the zoo by the slow search."""
    model, module, fitted = double(name)
    quiet(module)
    torch.manual_seed(0)
    return cut_points(model, fitted.args, fitted.kwargs, sources=KNOWN[name].sources, **options)


@cache
def measured(name):
    model, _, fitted = double(name)
    batch = fitted.kwargs or (fitted.args if len(fitted.args) > 1 else fitted.args[0])
    return profile(model, batch, theory=False, probes=1)


def stream(found):
    data = found.dataset
    return data.isel(layer=np.flatnonzero((data["place"] == "stream") & (data["chain"] == 0)))


def steps(found):
    rows = stream(found)
    return rows.isel(layer=np.flatnonzero(np.diff(rows["depth"].values, prepend=0)))


def across(z, u):
    """The mean square of the part of a tangent that is perpendicular to the values, for each sample."""
    z, u = z.flatten(1), u.flatten(1)
    return (u - (z * u).sum(1, keepdim=True) / (z * z).sum(1, keepdim=True) * z).square().mean(1)


@pytest.mark.parametrize("name", every(fast=FAST))
def test_cut_points_are_those_worked_out_by_hand(name):
    assert [point.kind for point in by_hand(name)] == KNOWN[name].stream.split()


# A loss has no row, sorted samples have one, and in "nan_masking" all behind a NaN counts as broken.
@pytest.mark.parametrize("name", every(fast=FAST, without={"only_loss", "packed_gru", "nan_masking"}))
def test_rows_of_the_stream_are_the_cut_points_of_a_slow_search(name):
    points = by_hand(name)
    kernels = np.array([float(point.numbers.double().square().mean()) for point in points])
    place = -1
    for kernel in stream(measured(name))["kernel"].values:
        later = np.flatnonzero(np.isclose(kernels[place + 1 :], kernel, rtol=1e-6))
        assert len(later)
        place += 1 + int(later[0])
    assert steps(measured(name)).sizes["layer"] == sum(bool(_STEPS.fullmatch(p.kind)) for p in points)


@pytest.mark.parametrize("name", every(fast=FAST))
def test_verdict_is_that_of_the_computation_by_hand(name):
    assert KNOWN[name].phase in ("", measured(name).verdict.phase)


@pytest.mark.parametrize("name", [name for name in every(fast=FAST) if KNOWN[name.values[0]].growth])
def test_growth_is_that_of_its_formula(name):
    draw = torch.Generator().manual_seed(0)

    def tangent(x):
        return torch.randn(x.shape, generator=draw, dtype=x.dtype)

    points = [point for point in by_hand(name, tangent=tangent) if _STEPS.fullmatch(point.kind)]
    if points[-1].kind in ("Linear", "linear"):  # the read-out sets a scale
        points.pop()
    first, last = (float(across(point.numbers, point.tangent).mean()) for point in (points[0], points[-1]))
    assert math.log(last / first) == pytest.approx(math.log(KNOWN[name].growth), abs=KNOWN[name].within)


# Not in float64, not differentiable, of one number a sample, without a step, of two inputs that are tokens.
_NO_JVP = {"bf16", "plain_callable", "nan_masking", "packed_gru", "siamese", "only_loss", "parameter_free"}
_NO_JVP |= {"t5", "seq2seq"}


@pytest.mark.parametrize("name", every(fast=FAST, without=_NO_JVP))
def test_ratios_multiply_to_the_growth_of_the_whole_network_measured_directly(name):
    _, module, fitted = double(name)
    quiet(module)
    entering, function = _from_signal(module, fitted, KNOWN[name].sources)
    tangents = [perpendicular_tangents(x, 0, 0, number) for number, x in enumerate(entering)]
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        output, pushed = torch.func.jvp(function, tuple(entering), tuple(tangents))
    wide = torch.cat([x.flatten(1) for x in entering], dim=1)
    growth = float((across(output, pushed) / wide.square().mean(1)).mean())
    rows, ratios = stream(measured(name)), steps(measured(name))
    assert float(rows["tangent"][-1]) == pytest.approx(growth, rel=1e-10)
    chi, tangent = ratios["chi_perpendicular"].values, ratios["tangent"].values
    begun = 1.0 if np.isfinite(chi[0]) else tangent[0]  # the input itself enters the first sum, or no sum
    assert np.nanprod(chi) == pytest.approx(tangent[-1] / begun, rel=1e-10)


def _from_signal(module, fitted, sources):
    """Where the signal begins as numbers, and the first output for each sample as a function of these."""
    floats = fitted.floats()

    def first(output):
        tensors = [t for t in torch.utils._pytree.tree_leaves(output) if isinstance(t, torch.Tensor)]
        return next(t for t in tensors if t.ndim and len(t) % fitted.size == 0)

    def run(batch):
        torch.manual_seed(0)
        return first(module(*batch.args, **batch.kwargs))

    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training:
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    if floats:
        held = list(floats)

        def of_inputs(*given):
            # Copies, since a first layer may work in place.
            return run(fitted.with_floats([*(x.clone() for x in given), *held[len(sources) :]]))

        return floats[: len(sources)], of_inputs
    table = next(m for m in module.modules() if isinstance(m, nn.Embedding))
    places = next((getattr(module, name) for name in ("wpe", "positions") if hasattr(module, name)), None)
    ids = fitted.tensors()[0][1]
    constant = 0.0 if places is None else getattr(places, "weight", places).detach()[: ids.shape[1]]
    begun = table(ids).detach() + constant  # adding a constant makes no point of its own
    table.max_norm = None

    def of_embedded(given):
        handle = table.register_forward_hook(lambda *_: given - constant)
        try:
            return run(fitted)
        finally:
            handle.remove()

    return [begun], of_embedded


# x + a G x / sqrt(n), G standard normal. With g = G x / |x|, of n independent standard normal numbers,
# |y|^2 / |x|^2 = 1 + 2 a g_1 / sqrt(n) + a^2 |g|^2 / n: mean 1 + a^2, variance (4 a^2 + 2 a^4) / n. 16 inputs
# are nearly orthogonal and divide the variance by 16; the logarithms of L blocks add up.
@pytest.mark.parametrize("a", [0.2, 0.5, 1.0])
def test_a_linear_residual_network_grows_by_one_plus_a_squared_a_block(a):
    width, depth = 128, 8
    torch.manual_seed(0)
    model, x = linear_residual(a, width=width, depth=depth)
    rows = stream(profile(model, x, theory=False))
    rate, spread = math.log(1 + a**2), 4 * math.sqrt((4 * a**2 + 2 * a**4) / width / 16) / (1 + a**2)
    assert list(rows["kind"].values) == ["sum"] * depth
    np.testing.assert_allclose(np.log(rows["chi_perpendicular"]), rate, atol=spread)
    np.testing.assert_allclose(np.diff(np.log(rows["kernel"])), rate, atol=spread)
    total = math.log(float(rows["kernel"][-1]) / float(x.square().mean()))
    assert total == pytest.approx(depth * rate, abs=spread * math.sqrt(depth))
    # Of the sum, the branch brings a^2 of 1 + a^2.
    np.testing.assert_allclose(rows["share"], a**2 / (1 + a**2), atol=spread)


def test_the_more_blocks_add_the_further_a_linear_residual_network_is_from_critical():
    phases = []
    for a in (0.2, 0.6, 2.0):  # growth over ten blocks 1.5, 21 and 10^7; kernels as much
        torch.manual_seed(0)
        model, x = linear_residual(a, width=64, depth=10)
        phases.append(profile(model, x, theory=False).verdict.phase)
    assert phases == ["critical", "chaotic", "exploding"]


@pytest.mark.parametrize(
    ("spelling", "factor"),
    [("module", 0.1), ("module", 10.0), ("functional", 0.1), ("matmul", 0.1), ("nested", 0.1)],
)
def test_a_he_relu_network_is_critical_whatever_its_read_out_and_spelling(spelling, factor):
    torch.manual_seed(0)
    model, x = he_relu_as(spelling, read_out=factor)
    assert profile(model, x, theory=False).verdict.phase == "critical"


def test_spellings_of_one_function_give_one_verdict():
    verdicts = []
    for spelling in ("module", "functional", "matmul", "nested"):
        torch.manual_seed(0)
        model, x = mlp_as(spelling)
        verdicts.append(profile(model.double(), x.double(), theory=False).verdict)
    first = verdicts[0]
    for other in verdicts[1:]:
        assert (other.phase, other.growth, other.reason) == (first.phase, first.growth, first.reason)
        for name in ("margin", "total", "signal_depth", "gradient_depth"):
            mine, other_one = getattr(first, name), getattr(other, name)
            assert other_one.value == pytest.approx(mine.value, rel=1e-10, nan_ok=True)
            assert other_one.error == pytest.approx(mine.error, rel=1e-8, nan_ok=True)


def test_pre_norm_grows_as_a_power_of_the_depth_and_post_norm_not():
    found = []
    for post_norm in (False, True):
        torch.manual_seed(0)
        model = ResidualMLP(64, 12, post_norm=post_norm)
        found.append(profile(model.double(), torch.randn(16, 12, dtype=torch.float64), theory=False).verdict)
    pre, post = found
    # K_l = 1 + l, so ln 13 over twelve blocks; behind a normalisation ln 2 at the last sum.
    assert (pre.phase, pre.growth) == ("critical", "power")
    assert pre.total.value == pytest.approx(math.log(13), abs=0.8)
    assert (post.phase, post.growth) == ("critical", "none")
    assert post.total.value == pytest.approx(math.log(2), abs=0.8)


class Normalised(nn.Module):
    """An entrance, then layers whose small weights are normalised at once, beside a shortcut or not."""

    def __init__(self, shortcut, width=32, depth=6):
        super().__init__()
        self.enter, self.shortcut = nn.Linear(8, width), shortcut
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        for i, layer in enumerate((self.enter, *self.layers)):
            nn.init.normal_(layer.weight, std=0.01 * (1 + i % 3))  # no scale of it reaches the output
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        x = self.enter(x)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(x + layer(x) if self.shortcut else layer(x))
        return x


def test_weights_that_are_normalised_at_once_set_no_scale():
    for shortcut in (True, False):
        torch.manual_seed(0)
        found = profile(Normalised(shortcut).double(), torch.randn(16, 8, dtype=torch.float64), theory=False)
        # Behind a linear layer that is normalised K is 1, and a small difference is as large as before.
        assert found.verdict.phase == "critical"
        assert found.verdict.total.value == pytest.approx(0, abs=0.5)


def gaussian_mean(function, variance):
    x, weight = hermegauss(80)
    return float((weight * function(math.sqrt(variance) * x)).sum() / weight.sum())


def gelu(x):
    return x * ndtr(x)


def slope_of_gelu(x):
    return ndtr(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def test_gpt2_at_its_own_initialisation():
    width, depth, length = 64, 4, 16
    torch.manual_seed(0)
    model = GPT2(width, depth, vocabulary=400).double()
    found = profile(model, torch.randint(0, 400, (16, length)), theory=False, probes=4)
    # A matrix of variance 0.0004 turns K = 1 into s; one that adds to the stream has 1 / 2L of it. Causal
    # attention at initialisation is a mean over the tokens so far, which are independent of each other.
    s, tokens = 0.0004 * width, float(np.mean(1 / np.arange(1, length + 1)))
    begun = kernel = 0.0008
    tangent = 1.0
    for _ in range(depth):
        size = kernel / (kernel + 1e-5)  # behind a LayerNorm with its eps
        added = size * s * tokens * s / (2 * depth)
        tangent *= 1 + added / kernel
        kernel += added
        size = kernel / (kernel + 1e-5)
        tangent *= (
            1 + 4 * s / (2 * depth) * gaussian_mean(lambda x: slope_of_gelu(x) ** 2, s * size) * s / kernel
        )
        kernel += 4 * s / (2 * depth) * gaussian_mean(lambda x: gelu(x) ** 2, s * size)
    assert kernel / begun == pytest.approx(1.51, abs=0.01)
    rows = stream(found)
    sums = rows.isel(layer=rows["kind"].values == "sum")
    # 16 tokens of 64 numbers, 16 times: what is random in the weights is a few percent.
    assert float(sums["kernel"][-1] / rows["kernel"][0]) == pytest.approx(kernel / begun, rel=0.06)
    assert float(sums["tangent"][-1] / rows["tangent"][0]) == pytest.approx(tangent, rel=0.06)
    # The last normalisation divides by the kernel and takes two directions of a token off; then the read-out.
    logits = tangent / (kernel + 1e-5) * (1 - 2 / width) * s
    assert float(rows["tangent"][-1] / rows["tangent"][0]) == pytest.approx(logits, rel=0.1)
    assert (found.verdict.phase, found.verdict.growth) == ("critical", "none")


@pytest.mark.slow
def test_the_scale_of_the_blocks_of_gpt2_is_seen():
    told = {}
    for factor in (0.3, 1.0, 5.0, 20.0):
        torch.manual_seed(0)
        model = GPT2(32, 6, 4).double()
        with torch.no_grad():
            for parameter in model.h.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(factor)
        told[factor] = profile(model, torch.randint(0, 60, (16, 12)), theory=False).verdict
    assert len({verdict.reason for verdict in told.values()}) == 4
    totals = [verdict.total.value for verdict in told.values()]
    assert totals == sorted(totals)
    assert [told[factor].phase for factor in (0.3, 1.0)] == ["critical", "critical"]
    # Where blocks bring far more than the embedding, the first ones bring the growth.
    assert [told[factor].phase for factor in (5.0, 20.0)] == ["uneven", "uneven"]


def test_a_vit_at_initialisation_keeps_its_signal():
    rows = stream(measured("vit"))
    sums = rows["kernel"].values[rows["kind"].values == "sum"]
    assert sums.max() / sums.min() < 1.01
    assert measured("vit").verdict.phase == "critical"
