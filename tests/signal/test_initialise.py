"""critical_ sets what theory asks for, makes networks critical, and changes nothing else."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phasescope import data
from phasescope.activations import MRePU, RePU
from phasescope.errors import InputError, NoCriticalPointError
from phasescope.signal import critical_, profile

# Roberts, Yaida and Hanin (2022), chapter 5, and arXiv:2408.02697: C_W, C_b, K*.
THEORY = {
    "tanh": (nn.Tanh, 1.0, 0.0),
    "relu": (nn.ReLU, 2.0, 0.0),
    "gelu": (nn.GELU, 1.98305826, 0.17292239),
    "silu": (nn.SiLU, 1.98800468, 0.55514317),
    "mrepu2": (lambda: MRePU(2), 1.0, 0.0),
}
HALF_STABLE = {"gelu": 3.56155281, "silu": 14.32017362}


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return data.digits().standardised().flattened().x_train[:128]


def plain(activation, depth=50, width=256, inputs=64, *, norm=None, bias=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = []
        for number in range(depth - 1):
            layers += [nn.Linear(width if number else inputs, width, bias=bias)]
            layers += [norm(width)] if norm else []
            layers += [activation()]
        return nn.Sequential(*layers, nn.Linear(width, 10))


def chi_by_hand(model, x, activation) -> list[float]:
    """``mean_a mean_i sum_j W_ij^2 s'(z_j)^2`` of each layer but the first, for a plain stack."""
    found, slopes = [], None
    for layer in model:
        if isinstance(layer, nn.Linear):
            if slopes is not None:
                found.append(float((slopes.square() @ layer.weight.detach().square().T).mean()))
            x = layer(x).detach()
        else:
            z = x.detach().requires_grad_(True)
            x = activation(z)
            (slopes,) = torch.autograd.grad(x.sum(), z)
            x = x.detach()
    return found


@pytest.mark.parametrize("name", THEORY)
def test_deep_plain_networks_become_critical_on_digits(name, digits):
    kind, C_W, C_b = THEORY[name]
    depth = 50 if name == "tanh" else 25
    done = critical_(plain(kind, depth), digits[:16], seed=1)
    assert done.before.phase != "critical"
    assert done.after.phase == "critical"
    assert abs(done.after.margin.value) < 0.02
    assert len(done.rows) == depth
    for row in done.rows[1:]:
        assert (row.activation, row.skipped) == (name, "")
        assert float(row.C_W) == pytest.approx(C_W, rel=1e-8)
        assert row.C_b == pytest.approx(0.0 if row is done.rows[-1] else C_b, abs=1e-8)


@pytest.mark.parametrize("distribution", ["orthogonal", "normal"])
@pytest.mark.parametrize("name", THEORY)
def test_recorded_variances_are_those_of_the_weights(name, distribution, digits):
    kind, _, C_b = THEORY[name]
    model = plain(kind, depth=8)
    before = [layer.weight.detach().clone() for layer in model if isinstance(layer, nn.Linear)]
    done = critical_(model, digits, distribution=distribution, verify=False)
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    for row, layer, old in zip(done.rows, linear, before, strict=True):
        fan_in = layer.in_features
        assert fan_in * float(layer.weight.detach().var()) == pytest.approx(row.C_W * row.gain**2, rel=0.02)
        assert row.C_W_before == pytest.approx(fan_in * float(old.square().mean()), rel=1e-5)
        assert float(layer.bias.detach().square().mean()) == pytest.approx(row.bias_variance, rel=1e-5)
    if C_b:
        # The kernel at width 256 fluctuates by 2 to 4 % of K*, 20 to 60 % of C_b, which biases absorb.
        mean = sum(row.bias_variance for row in done.rows[1:-1]) / 6
        assert mean == pytest.approx(C_b, rel=0.35 if distribution == "orthogonal" else 0.8)
    if name != "tanh":
        # A fraction of 256 units fluctuates by 1/sqrt(256) = 6 %, its square root by 3 %; 4 sigma.
        assert all(abs(row.gain - 1) < 0.13 for row in done.rows[1:-1])


@pytest.mark.parametrize("name", THEORY)
def test_each_layer_keeps_the_size_of_gradients_exactly(name, digits):
    kind, _, _ = THEORY[name]
    model = plain(kind, depth=10)
    critical_(model, digits, verify=False)
    chis = chi_by_hand(model, digits, kind())
    # Column norms of W and slopes are nearly independent, so the plain mean is 1 up to their correlation.
    assert chis[:-1] == pytest.approx([1.0] * 8, abs=0.02)
    assert float(model(digits).detach().square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_biases_bring_the_kernel_of_half_stable_networks_to_the_fixed_point(digits):
    for name, K in HALF_STABLE.items():
        done = critical_(plain(THEORY[name][0], depth=12), digits, verify=False)
        assert done.rows[0].K_after == pytest.approx(K, rel=1e-4)
        assert [row.K_after for row in done.rows[:-1]] == pytest.approx([K] * 11, rel=0.15)
        assert done.rows[-1].K_after == pytest.approx(1.0, rel=1e-4)


def test_first_kernel_of_mrepu_is_that_of_the_largest_input(digits):
    # 1/(2 a1 L) with a1 = 3p(2p - 1) = 18 for p = 2 and depth L.
    depth = 20
    model = plain(lambda: MRePU(2), depth=depth)
    done = critical_(model, digits, verify=False)
    kernels = model[0](digits).detach().square().mean(1)
    assert float(kernels.max()) == pytest.approx(1 / (2 * 18 * depth), rel=1e-5)
    assert done.rows[0].K_after == pytest.approx(float(kernels.mean()), rel=1e-5)
    assert float(kernels.mean()) < 0.8 * float(kernels.max())


def test_first_kernel_can_be_given(digits):
    model = plain(nn.Tanh, depth=5)
    critical_(model, digits, first_kernel=0.04, verify=False)
    assert float(model[0](digits).detach().square().mean()) == pytest.approx(0.04, rel=1e-5)


def test_orthogonal_weights_are_orthogonal_and_normal_ones_are_not(digits):
    for distribution, orthogonal in (("orthogonal", True), ("normal", False)):
        model = plain(nn.ReLU, depth=3)
        critical_(model, digits, distribution=distribution, verify=False)
        gram = model[2].weight @ model[2].weight.T
        gram = gram / gram.diagonal().mean()
        assert torch.allclose(gram, torch.eye(256), atol=1e-5) == orthogonal


class Functional(nn.Module):
    def __init__(self, function, depth=6, width=32):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.function(layer(x))
        return self.layers[-1](x)


@pytest.mark.parametrize(
    ("function", "name", "C_W"),
    [
        (F.relu, "relu", 2.0),
        (lambda z: F.relu_(z), "relu", 2.0),
        (lambda z: z * torch.sigmoid(z), "silu", 1.98800468),
        (lambda z: z * torch.relu(z + 1) ** 2, "mrepu2", 1.0),
        (lambda z: F.leaky_relu(z, 0.3), "leaky_relu", 2 / 1.09),
        (lambda z: torch.tanh(z) + 0.5 * torch.sin(z), "activation", 1 / 2.25),
        (lambda z: F.dropout(torch.erf(z).view(-1, 32), 0.5), "erf", math.pi / 4),
    ],
)
def test_activations_are_recognised_by_what_they_compute(function, name, C_W):
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    done = critical_(Functional(function), x, verify=False)
    assert [row.activation for row in done.rows] == ["", *[name] * 5]
    assert [row.C_W for row in done.rows[1:]] == pytest.approx([C_W] * 5, rel=1e-6)


def test_the_given_activation_replaces_what_is_recognised():
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    done = critical_(Functional(torch.tanh), x, activation="relu", verify=False)
    assert {row.activation for row in done.rows[1:]} == {"relu"}


def state(model):
    parts = {name: value.detach().clone() for name, value in model.state_dict().items()}
    return parts, [module.training for module in model.modules()], torch.random.get_rng_state()


def assert_same(one, other):
    assert one[1] == other[1]
    assert torch.equal(one[2], other[2])
    for name, value in one[0].items():
        assert torch.equal(value, other[0][name]), name


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: plain(lambda: RePU(2), depth=6, width=16), r"repu2 has no critical point.*1[.]5"),
        (lambda: plain(nn.Softplus, depth=6, width=16), "softplus has no critical point"),
        (lambda: plain(nn.GELU, depth=6, width=16, bias=False), "only with biases.*bias=True"),
    ],
)
def test_networks_without_a_critical_point_are_refused_unchanged(model, reason, digits):
    network = model()
    before = state(network)
    with pytest.raises(NoCriticalPointError, match=reason) as caught:
        critical_(network, digits)
    advice = (
        "a LayerNorm before each activation; residual blocks h + 0.1 f(h), up to some 20 layers, a smaller"
    )
    assert f"What helps: {advice} weight beyond; dense connections" in str(caught.value)
    assert_same(before, state(network))


@pytest.mark.parametrize(
    ("call", "error"), [(1, RuntimeError), (2, RuntimeError), *((n, KeyboardInterrupt) for n in (1, 2, 5, 9))]
)
def test_the_model_is_unchanged_when_it_is_interrupted(call, error, digits):
    class Interrupting(nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.body = plain(nn.ReLU, depth=3, width=16)

        def forward(self, x):
            Interrupting.calls += 1
            if Interrupting.calls == call:
                raise error("stop")
            return self.body(x)

    model = Interrupting()
    before = state(model)
    with pytest.raises((KeyboardInterrupt, InputError)):
        critical_(model, digits)
    assert Interrupting.calls in (call, call + 1)  # of a part that is refused the whole is tried
    assert_same(before, state(model))


def test_only_listed_weights_change_and_nothing_else():
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(64, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    ).train()
    model[6].weight.requires_grad_(False)
    model[4].weight.grad = torch.ones_like(model[4].weight)
    x = torch.randn(16, 64)
    kept = x.clone()
    before = state(model)
    done = critical_(model, x)
    after = state(model)
    changed = {name for name, value in before[0].items() if not torch.equal(value, after[0][name])}
    assert changed == {"0.weight", "0.bias", "4.weight", "4.bias"}
    assert {row.layer for row in done.set} == {"0", "4"}
    assert {row.layer: row.skipped for row in done.skipped}["6"].startswith("its weights are frozen")
    assert after[1] == before[1]
    assert torch.equal(after[2], before[2])
    assert torch.equal(x, kept)
    assert torch.equal(model[4].weight.grad, torch.ones(32, 32))
    assert not model[6].weight.requires_grad
    assert model[4].weight.requires_grad
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


def test_same_seed_gives_the_same_weights_and_another_seed_others(digits):
    weights = []
    for seed in (1, 1, 2):
        model = plain(nn.ReLU, depth=3, width=16)
        critical_(model, digits, seed=seed, verify=False)
        weights.append(model[2].weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class Residual(nn.Module):
    def __init__(self, activation, blocks=8, width=64, weight=1.0):
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 10)
        self.activation, self.weight = activation, weight
        self.blocks = nn.ModuleList(
            nn.Sequential(activation, nn.Linear(width, width), activation, nn.Linear(width, width))
            for _ in range(blocks)
        )

    def forward(self, x):
        h = self.first(x)
        for block in self.blocks:
            h = h + self.weight * block(h)
        return self.last(self.activation(h))


@torch.no_grad()
def streams(model, x):
    h = model.first(x)
    kernels = [float(h.square().mean())]
    for block in model.blocks:
        h = h + model.weight * block(h)
        kernels.append(float(h.square().mean()))
    return kernels


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Tanh()])
def test_residual_branches_add_one_part_of_the_stream_in_all(activation, digits):
    model = Residual(activation)
    done = critical_(model, digits)
    kernels = streams(model, digits)
    # Each of 8 independent branches adds 1/8 of the stream: (1 + 1/8)^8 = 2.57 up to correlations.
    assert 1.5 < kernels[-1] / kernels[0] < 4
    assert done.after.phase == "critical"
    gains = {row.layer: row.gain for row in done.rows}
    if not isinstance(activation, nn.Tanh):
        # At K_1 = 1 a tanh branch is smaller than its stream already.
        assert all(gains[f"blocks.{number}.3"] < 0.6 for number in range(8))


def test_a_residual_weight_small_enough_is_left_to_do_its_work(digits):
    model = Residual(nn.ReLU(), weight=0.1)
    done = critical_(model, digits, verify=False)
    # 0.1^2 = 1/100 of the stream is less than 1/8, so the branches keep their critical scale.
    assert all(abs(row.gain - 1) < 0.35 for row in done.rows if row.layer.startswith("blocks"))
    assert streams(model, digits)[-1] < 1.5


def test_squared_relu_is_taken_inside_residual_branches_with_a_warning(digits):
    model = Residual(RePU(2), weight=0.1)
    with pytest.raises(NoCriticalPointError, match="last: repu2"):
        critical_(model, digits)
    model.activation = nn.Identity()
    done = critical_(model, digits)
    assert "repu2 has no critical point" in done.notes[0]
    assert streams(model, digits)[-1] < 4

    def body(h):
        for block in model.blocks:
            h = h + model.weight * block(h)
        return h

    h = model.first(digits).detach()
    _, tangent = torch.autograd.functional.jvp(body, h, torch.randn_like(h))
    assert 0.5 < float(tangent.square().mean()) < 4


class DenseNet(nn.Module):
    def __init__(self, activation, depth=6):
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(nn.Linear(64 + 32 * number, 32) for number in range(depth))
        self.last = nn.Linear(64 + 32 * depth, 10)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, self.activation(layer(x))], dim=1)
        return self.last(x)


def test_dense_connections_hold_the_kernel_of_squared_relu(digits):
    model = DenseNet(RePU(2))
    done = critical_(model, digits, verify=False)
    assert [row.C_W for row in done.rows[1:-1]] == [0.3] * 5
    x = digits
    with torch.no_grad():
        for layer in model.layers:
            z = layer(x)
            x = torch.cat([x, z.relu() ** 2], dim=1)
    assert float(z.square().mean()) == pytest.approx(0.3 * float(x[:, :-32].square().mean()), rel=1e-4)


def convolutional(activation, depth=12, channels=16, padding="zeros"):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, channels, 3, padding=1, padding_mode=padding), activation()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, padding_mode=padding), activation()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, 10))


@pytest.mark.parametrize(
    ("activation", "padding"),
    [(nn.ReLU, "zeros"), (nn.GELU, "zeros"), (nn.GELU, "circular"), (lambda: MRePU(2), "zeros")],
)
def test_convolutional_stacks_become_critical_with_zero_padding_too(activation, padding):
    images = data.digits().standardised().x_train[:32]
    done = critical_(convolutional(activation, padding=padding), images)
    assert done.before.phase != "critical"
    assert done.after.phase == "critical"
    assert abs(done.after.margin.value) < 0.06
    assert not done.skipped


def test_transposed_and_one_dimensional_convolutions_are_set():
    model = nn.Sequential(
        nn.Conv1d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose1d(8, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(16, 16, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 32, 3),
    )
    done = critical_(model, torch.randn(32, 4, 16))
    assert len(done.set) == 4
    assert all(0.3 < row.K_after < 3 for row in done.rows)


def test_squared_relu_behind_layer_norm_is_set_with_its_susceptibility(digits):
    # LayerNorm on pre-activations: chi_perp = K <s'^2>/<s^2> = (4/2) / (3/2) = 4/3 at K = 1, infinite width.
    model = plain(lambda: RePU(2), depth=10, norm=nn.LayerNorm)
    done = critical_(model, digits)
    assert "repu2 behind a normalisation, 9 layer(s): chi_perp = 1.3" in done.notes[0]
    assert math.exp(done.after.margin.value) == pytest.approx(4 / 3, rel=0.1)


def test_transformer_block_sets_its_feed_forward_part_and_says_why_not_the_rest():
    model = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=True)
    attention = model.self_attn.in_proj_weight.detach().clone()
    done = critical_(model, torch.randn(8, 5, 32), verify=False)
    assert {row.layer for row in done.set} == {"linear1", "linear2"}
    why = {row.layer: row.skipped for row in done.skipped}
    assert "softmax" in why["self_attn"]
    assert "normalisation" in why["norm1"]
    assert torch.equal(attention, model.self_attn.in_proj_weight)


def test_embedding_tied_to_the_output_is_left_alone():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(12, 16)
            self.hidden = nn.Linear(16, 16)
            self.norm = nn.LayerNorm(16)
            self.head = nn.Linear(16, 12, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids):
            return self.head(F.relu(self.hidden(self.norm(self.tokens(ids)))))

    model = Tied()
    kept = model.tokens.weight.detach().clone()
    done = critical_(model, torch.arange(12).reshape(6, 2), verify=False)
    assert [row.layer for row in done.set] == ["hidden"]
    assert "embedding" in done.skipped[0].skipped
    assert torch.equal(kept, model.tokens.weight)


def accuracy_after_training(model, steps=300, rate=3e-4):
    images = data.digits().standardised().flattened()
    optimiser = torch.optim.Adam(model.parameters(), rate)
    order = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(images.y_train), (128,), generator=order)
        loss = F.cross_entropy(model(images.x_train[chosen]), images.y_train[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return float((model(images.x_test).argmax(1) == images.y_test).double().mean())


@pytest.mark.slow
def test_what_the_refusal_recommends_does_help_squared_relu(digits):
    kind = lambda: RePU(2)  # noqa: E731
    # Guessing gives 10 %; 360 test images make one standard error at 95 % 1.1 %.
    assert accuracy_after_training(plain(kind, depth=10, width=64)) < 0.2
    rescued = {
        "LayerNorm": plain(kind, depth=10, width=64, norm=nn.LayerNorm),
        "residual": Residual(RePU(2), blocks=4, weight=0.1),
        "dense": DenseNet(RePU(2), depth=9),
    }
    rescued["residual"].last = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 10))
    for name, model in rescued.items():
        critical_(model, digits, verify=False)
        assert accuracy_after_training(model) > 0.9, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distribution": "uniform"}, "distribution='uniform'"),
        ({"first_kernel": -1.0}, r"first_kernel=-1\.0"),
        ({"first_kernel": math.nan}, "first_kernel=nan"),
        ({"activation": "rellu"}, "rellu"),
    ],
)
def test_bad_arguments_are_named(arguments, message, digits):
    with pytest.raises(InputError, match=message):
        critical_(plain(nn.ReLU, depth=3, width=8), digits, **arguments)


def test_unusable_models_and_batches_are_named(digits):
    with pytest.raises(InputError, match="not a torch module"):
        critical_(torch.relu, digits)
    with pytest.raises(InputError, match="No layer of LSTM can be set"):
        critical_(nn.LSTM(8, 8), torch.randn(4, 5, 8))
    with pytest.raises(InputError, match="does not accept the batch"):
        critical_(plain(nn.ReLU, depth=3, width=8), torch.randn(4, 9))
    with pytest.raises(InputError, match="empty"):
        critical_(plain(nn.ReLU, depth=3, width=8), torch.randn(0, 64))


def test_report_fits_a_terminal_and_is_json_ready(digits):
    done = critical_(plain(nn.GELU, depth=50, width=16), digits[:8])
    text = str(done)
    assert max(map(len, text.splitlines())) <= 100
    assert "37 more rows" in text
    assert "1.983" in text
    plainly = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert len(plainly["rows"]) == 50
    assert plainly["after"]["phase"] == done.after.phase
    assert plainly["rows"][1]["C_b"] == pytest.approx(0.17292239, abs=1e-8)
    assert "roberts2022" in done.citations


def test_verdicts_are_those_of_profiles_before_and_after(digits):
    model = plain(nn.ReLU, depth=6, width=32)
    before = profile(model, digits).verdict
    done = critical_(model, digits)
    after = profile(model, digits).verdict
    assert (done.before.phase, done.after.phase) == (before.phase, after.phase)
    assert done.before.margin.value == pytest.approx(before.margin.value)
    assert done.after.margin.value == pytest.approx(after.margin.value)


class Attending(nn.Module):
    """Pre-normalised attention and a gated layer, neither of which theory sets, on a stream of its own."""

    def __init__(self, blocks=3, width=16):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 * blocks))
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(width, 2, batch_first=True) for _ in range(blocks)
        )
        self.gates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, x):
        for i, attention in enumerate(self.attention):
            y = self.norms[2 * i](x)
            x = x + attention(y, y, y, need_weights=False)[0]
            gate, value = self.gates[i](self.norms[2 * i + 1](x)).chunk(2, dim=-1)
            x = x + self.down[i](torch.sigmoid(gate) * value)
        return x


def test_branches_that_theory_does_not_set_are_scaled_on_the_stream():
    torch.manual_seed(0)
    model, x = Attending(), torch.randn(16, 5, 16)
    with torch.no_grad():
        for parameter in model.down.parameters():
            parameter.mul_(20)
        for attention in model.attention:
            attention.out_proj.weight.mul_(20)
    done = critical_(model, x)
    with torch.no_grad():
        for i, attention in enumerate(model.attention):
            for branch in (
                attention(*[model.norms[2 * i](x)] * 3, need_weights=False)[0],
                None,
            ):
                if branch is None:
                    gate, value = model.gates[i](model.norms[2 * i + 1](x)).chunk(2, dim=-1)
                    branch = model.down[i](torch.sigmoid(gate) * value)
                # Six branches, each of which may add a sixth of the stream.
                assert float(branch.square().mean() / x.square().mean()) <= 1 / 6 * (1 + 1e-5)
                x = x + branch
    scaled = [row.layer for row in done.set if row.rule == "branch adds 1/6 of the stream"]
    assert {"attention.0", "down.2"} <= set(scaled)
    assert any("keep the weights that the model came with" in note for note in done.notes)


class Normalised(nn.Module):
    """Branches that end in a normalisation, or all in one module."""

    def __init__(self, blocks=5, width=32, *, affine=True, shared=False):
        super().__init__()
        self.first, self.last = nn.Linear(8, width), nn.Linear(width, 3)
        made = [
            nn.Sequential(
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.BatchNorm1d(width, affine=affine) if not shared else nn.Identity(),
            )
            for _ in range(1 if shared else blocks)
        ]
        self.blocks = nn.ModuleList(made * blocks if shared else made)

    def forward(self, x):
        return self.last(self.stream(x)[-1][0].relu())

    def stream(self, x):
        h, found = self.first(x), []
        for block in self.blocks:
            branch = block(h)
            found.append((h + branch, branch, h))
            h = h + branch
        return found


def parts(model, x):
    with torch.no_grad():
        return [float(branch.square().mean() / h.square().mean()) for _, branch, h in model.stream(x)]


@pytest.mark.parametrize("shared", [False, True])
def test_a_branch_that_ends_in_a_normalisation_or_is_used_again_brings_its_part_at_most(shared):
    torch.manual_seed(0)
    model, x = Normalised(shared=shared), torch.randn(64, 8)
    critical_(model, x, verify=False)
    assert max(parts(model, x)) <= 1 / 5 * (1 + 1e-3)


def test_branches_that_no_weights_scale_are_counted_in_a_note():
    torch.manual_seed(0)
    model, x = Normalised(affine=False), torch.randn(64, 8)
    done = critical_(model, x, verify=False)
    beyond = sum(part > 1 / 5 for part in parts(model, x))
    note = next(note for note in done.notes if "at most 1/B" in note)
    assert beyond > 1
    assert f"{beyond} branches bring more than that, first at blocks.0 (sum)" in note


def test_all_branches_of_the_stream_are_counted_where_theory_sets_only_some():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(16, 2, 32, norm_first=True, batch_first=True) for _ in range(2)]
    model, x = nn.Sequential(*layers, nn.Linear(16, 4)).eval(), torch.randn(16, 5, 16)
    critical_(model, x, verify=False)
    with torch.no_grad():
        for layer in layers:
            x = x + layer._sa_block(layer.norm1(x), None, None)
            branch = layer._ff_block(layer.norm2(x))
            assert float(branch.square().mean() / x.square().mean()) <= 1 / 4 * (1 + 1e-3)
            x = x + branch


def test_small_branches_that_theory_does_not_set_are_left_as_they_are_and_that_is_said():
    torch.manual_seed(0)
    model, x = Attending(), torch.randn(16, 5, 16)
    with torch.no_grad():
        for module in (*model.down, *(attention.out_proj for attention in model.attention)):
            module.weight.mul_(0.01)
            module.bias.zero_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = critical_(model, x)
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed
    assert not done.set
    assert done.notes[0].startswith("nothing was changed: no branch brings more to the stream than 1/6")
