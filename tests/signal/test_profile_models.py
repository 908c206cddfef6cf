"""Every kind of module and of input: measured, or skipped with a reason."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from phasescope.signal import profile


def data_of(model, batch, **options):
    return profile(model, batch, theory=False, **options).dataset


def rows(data):
    return [str(name) for name in data["layer"].values]


def reason(data, name):
    return str(data["skipped"].sel(layer=name).item())


def value(data, column, name):
    return float(data[column].sel(layer=name))


def x8(samples=8, seed=0, dtype=torch.float32):
    return torch.randn(samples, 8, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 16, 2, batch_first=True, dropout=0.3)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        out, (h, _) = self.lstm(x)
        return self.head(out[:, -1]), h


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.places = nn.Embedding(12, 16)
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 50)

    def forward(self, input_ids, attention_mask=None):
        h = self.tokens(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        mask = None if attention_mask is None else attention_mask == 0
        return {"logits": self.head(self.encoder(h, src_key_padding_mask=mask))}


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.spare = nn.Linear(3, 3)

    def forward(self, x):
        for _ in range(4):
            x = torch.tanh(self.layer(x))
        return x


def test_shared_weights_give_a_row_for_each_call():
    data = data_of(Shared(), x8())
    names = ["layer", "layer (call 2)", "layer (call 3)", "layer (call 4)"]
    assert rows(data)[:8:2] == names
    assert rows(data)[1:8:2] == ["layer (tanh)", "layer (tanh 2)", "layer (tanh 3)", "layer (tanh 4)"]
    assert list(data["depth"].values) == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert reason(data, "spare") == "not called in forward"
    assert np.isnan(value(data, "kernel", "spare"))


def test_lstm_is_measured_at_its_first_output():
    model, x = Recurrent(), torch.randn(6, 5, 8)
    found = profile(model, x)
    data = found.dataset
    assert rows(data) == ["lstm", "lstm (getitem)", "head"]  # the last time step is a point of its own
    assert any("dropout" in note for note in found.notes)
    with torch.no_grad():
        out = model.eval().lstm(x)[0]
    assert value(data, "kernel", "lstm") == pytest.approx(float(out.square().mean()), rel=1e-5)
    assert np.isfinite(value(data, "chi_perpendicular", "head"))
    assert np.isfinite(value(data, "gradient", "lstm"))


@pytest.mark.parametrize("training", [True, False])
def test_transformer_on_token_ids(training):
    model = Tokens().train(training)
    ids = torch.randint(0, 50, (6, 12))
    data = data_of(model, {"input_ids": ids, "attention_mask": torch.ones(6, 12, dtype=torch.long)})
    assert "no axis that grows" in reason(data, "places")
    attention = "encoder.layers.0.self_attn"
    assert value(data, "kernel", attention) > 0
    assert "without being called" in reason(data, f"{attention}.out_proj")
    assert value(data, "chi_perpendicular", f"{attention} (sum)") > 0
    assert 0 < value(data, "share", f"{attention} (sum)") < 1
    assert value(data, "kernel", "encoder.layers.0.norm1") == pytest.approx(1.0, abs=1e-3)
    # Behind a normalisation of each token the response to a longer embedding has vanished.
    assert abs(np.nan_to_num(value(data, "chi_parallel", "encoder.layers.0.linear2 (sum)"))) < 100
    measured = data["skipped"].values == ""
    assert np.isfinite(data["kernel"].values[measured]).all()
    assert np.isfinite(data["gradient"].values[measured]).all()


def test_mapping_that_is_no_dict():
    from collections import UserDict

    model = Tokens().eval()
    ids = torch.randint(0, 50, (4, 12), generator=torch.Generator().manual_seed(0))
    one = data_of(model, {"input_ids": ids})
    two = data_of(model, UserDict(input_ids=ids))
    assert one.identical(two)


def test_plain_callable_is_one_row():
    data = data_of(torch.sin, x8())
    assert rows(data) == ["output"]
    assert data.attrs["model"] == "sin"
    assert value(data, "kernel", "output") == pytest.approx(float(x8().sin().square().mean()), rel=1e-6)


def test_module_without_children_is_its_own_row():
    assert rows(data_of(nn.Linear(8, 3), x8())) == ["output"]
    assert rows(data_of(nn.Softmax(dim=-1), x8())) == ["output"]


def test_in_place_activations_do_not_overwrite_what_was_measured():
    layers = [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)]
    plain = nn.Sequential(*layers)
    inplace = nn.Sequential(*[nn.ReLU(inplace=True) if isinstance(m, nn.ReLU) else m for m in layers])
    one, two = data_of(plain, x8()), data_of(inplace, x8())
    for name in one.data_vars:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-6, atol=1e-7)


def test_in_place_first_layer_leaves_the_batch_alone():
    x = x8()
    before = x.clone()
    data = data_of(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 4)), x)
    assert torch.equal(x, before)
    assert value(data, "kernel", "0") == pytest.approx(float(before.relu().square().mean()), rel=1e-6)


def test_dropout_is_off_and_noted():
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.5), nn.Linear(16, 4)).train()
    found = profile(model, x8())
    assert reason(found.dataset, "1") == "passes its input on unchanged"
    assert any("dropout was switched off" in note for note in found.notes)
    assert model[1].training


def norms():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU()
    )


def test_batch_normalisation_in_both_modes():
    x = torch.randn(8, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    model = norms()
    with torch.no_grad():
        expected = [float(z.square().mean()) for z in (model[:2](x), model.eval()[:2](x))]
    model.load_state_dict(norms().state_dict())
    train = data_of(model.train(), x)
    eval_ = data_of(model.eval(), x)
    assert value(train, "kernel", "1") == pytest.approx(1.0, rel=1e-4)
    assert (train.attrs["mode"], eval_.attrs["mode"]) == ("train", "eval")
    assert value(eval_, "kernel", "1") < 0.5  # running statistics are still those of nothing
    assert "kernel_eval_drift" not in train  # and nothing is held against them before the first batch
    for norm in (model[1], model[4]):
        norm.num_batches_tracked += 1
    train, eval_ = data_of(model.train(), x), data_of(model.eval(), x)
    drift = value(train, "kernel_eval_drift", "1")
    assert drift == pytest.approx(value(eval_, "kernel", "1") / value(train, "kernel", "1") - 1, rel=1e-4)
    assert drift == pytest.approx(value(eval_, "kernel_eval_drift", "1"), rel=1e-5)
    assert expected[0] == pytest.approx(1.0, rel=1e-4)


def test_no_drift_column_without_running_statistics():
    assert "kernel_eval_drift" not in data_of(nn.Linear(8, 8), x8())


def test_frozen_parameters_have_gradients_all_the_same():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    free = data_of(model, x8())
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert data_of(model, x8()).identical(free)
    assert np.isfinite(free["gradient"].values).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_single_precision(dtype):
    model = nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))
    single = data_of(model, x8(), seed=1)
    half = data_of(model.to(dtype), x8().to(dtype), seed=1)
    for name in ("kernel", "correlation", "chi_perpendicular", "gradient"):
        np.testing.assert_allclose(half[name], single[name], rtol=0.1, atol=0.02)


def test_dead_and_saturated_units():
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh())
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(8))
        model[0].bias.copy_(torch.tensor([-100.0, -100.0, 0, 0, 0, 0, 0, 0]))
        model[2].weight.zero_()
        model[2].bias.copy_(torch.tensor([3.0, -3.0, 0.1, 0, 0, 0, 0, 0]))
        model[2].weight.fill_diagonal_(1e-3)
    data = data_of(model, x8(32))
    assert value(data, "dead", "1") == 0.25
    assert value(data, "saturated", "3") == 0.25
    assert np.isnan(value(data, "saturated", "1"))
    assert np.isnan(value(data, "saturated", "2"))


def test_dead_channels_of_a_convolution():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[1] = -1e3
    assert value(data_of(model, torch.rand(6, 1, 6, 6)), "dead", "1") == 0.25


class Masked(nn.Module):
    """MRePU as it is often written: NaN compares false and becomes 0."""

    def forward(self, z):
        return torch.where(z > -1, z * (z + 1) ** 3, torch.zeros_like(z))


def test_overflow_that_a_mask_turns_into_zeros_does_not_read_as_healthy():
    layers = [module for _ in range(14) for module in (nn.Linear(16, 16), Masked())]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight, std=1.0)
    model = nn.Sequential(*layers)
    x = 3 * torch.randn(8, 16)
    with torch.no_grad():
        assert torch.isfinite(model(x)).all()  # the trap
    found = profile(model, x, theory=False)
    data = found.dataset
    assert np.isinf(data["kernel"].values[-10:]).all()
    assert (data["nonfinite"].values[-10:] == 1).all()
    assert found.verdict.phase == "exploding"
    assert any(note.startswith("masked: ") for note in found.notes)


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh() ** 2)


class OnceOnly(NoForwardMode):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 - x.tanh() ** 2)


class Custom(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function.apply(x)


@pytest.mark.parametrize(
    ("function", "way", "tolerance"),
    [(NoForwardMode, "double backward", 1e-5), (OnceOnly, "central differences", 2e-3)],
)
def test_models_without_forward_mode_derivatives(function, way, tolerance):
    linear = [nn.Linear(8, 8) for _ in range(3)]
    custom = nn.Sequential(linear[0], Custom(function), linear[1], Custom(function), linear[2])
    plain = nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2])
    found, expected = profile(custom, x8()), data_of(plain, x8())
    assert any(way in note for note in found.notes)
    for name in ("kernel", "chi_perpendicular", "chi_parallel", "gradient"):
        np.testing.assert_allclose(found.dataset[name], expected[name], rtol=tolerance)


class FailsBackward(OnceOnly):
    @staticmethod
    def backward(ctx, gradient):
        raise KeyError("no such slope")


def test_a_backward_pass_of_the_users_that_fails_costs_the_gradient_alone_and_shows_its_line():
    found = profile(nn.Sequential(nn.Linear(8, 8), Custom(FailsBackward), nn.Linear(8, 4)), x8())
    assert value(found.dataset, "chi_perpendicular", "2") > 0
    assert np.isnan(value(found.dataset, "gradient", "2"))
    note = next(note for note in found.notes if note.startswith("no gradients"))
    assert "KeyError: 'no such slope'" in note
    assert 'raise KeyError("no such slope")' in note


class WithPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.places, self.leave = nn.Linear(8, 6), Places(), nn.Linear(6, 3)

    def forward(self, x):
        return self.leave(OnceOnly.apply(self.enter(x) + self.places(len(x))))


class Places(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6))

    def forward(self, samples):
        return self.weight.expand(samples, 6) * 1.0


def test_central_differences_call_nothing_dead_that_takes_no_input_and_count_no_operation_of_their_own():
    found = profile(WithPositions(), x8())
    assert any("central differences" in note for note in found.notes)
    assert value(found.dataset, "dead", "places") == 0
    assert value(found.dataset, "tangent", "leave") > 0


class AddsZeros(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.leave = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.one(x)
        return self.leave(self.two(h) + torch.zeros_like(h))


def test_zeros_of_the_shape_of_a_signal_may_be_added_to_it():
    data = data_of(AddsZeros(), x8())
    assert value(data, "chi_perpendicular", "leave") > 0


class Stacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 6)), nn.Linear(3, 6)
        self.leave = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Linear(6, 3))

    def forward(self, x, y):
        images = [self.one(x).reshape(-1, 2, 3), self.two(y).reshape(-1, 2, 3)]
        return self.leave(torch.stack(images, dim=1))


def test_units_that_respond_to_another_input_alone_are_not_dead():
    data = data_of(Stacked(), (x8(), torch.randn(8, 3)))
    joint = data["kind"].values == "stack"
    assert joint.sum() == 1
    assert data["dead"].values[joint] == 0


class ThroughNumpy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return torch.from_numpy(np.tanh(self.layer(x).numpy()))


def test_model_that_leaves_torch_is_measured_without_gradients():
    found = profile(ThroughNumpy(), x8())
    assert value(found.dataset, "kernel", "layer") > 0
    assert np.isnan(value(found.dataset, "gradient", "layer"))
    assert any("no gradients" in note for note in found.notes)


class Quantised(nn.Module):
    """Gives gradients to nobody, as integer kernels do."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(self.first(x).detach().mul(127).round().div(127))


def test_rows_that_the_input_does_not_reach_have_no_tangent():
    found = profile(Quantised(), x8())
    data = found.dataset
    assert any("no tangent reaches 3 rows, first first" in note for note in found.notes)
    assert np.isfinite(data["kernel"].values).all()
    assert np.isnan(value(data, "chi_perpendicular", "last"))
    assert np.isnan(data["gradient"].values).all()


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.choose, self.none, self.last = nn.Linear(8, 8), Index(), Nothing(), nn.Linear(8, 2)
        self.table = nn.ParameterList([nn.Parameter(torch.zeros(2))])

    def forward(self, x):
        h = self.first(x)
        self.choose(h)
        self.none(h)
        return self.last(h)


class Index(nn.Module):
    def forward(self, x):
        return x.argmax(dim=1)


class Nothing(nn.Module):
    def forward(self, x):
        return None


def test_rows_that_cannot_be_measured_say_why():
    data = data_of(Odd(), x8())
    assert sorted(rows(data)) == ["choose", "first", "last", "none", "table"]
    assert "int64" in reason(data, "choose")
    assert "None" in reason(data, "none")
    assert "container" in reason(data, "table")
    measured = data["skipped"].values == ""
    assert int(measured.sum()) == 2
    assert np.isnan(data["kernel"].values[~measured]).all()


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(8, 6)

    def forward(self, x):
        return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)


def test_samples_are_found_along_another_axis():
    model, x = TimeFirst(), torch.randn(4, 7, 8)
    data = data_of(model, x)
    with torch.no_grad():
        out = model(x)
    spread = out.square().mean(dim=(1, 2)).double().numpy()
    assert value(data, "kernel_error", "rnn") == pytest.approx(spread.std(ddof=1) / 2, rel=1e-4)


def test_inputs_that_influence_each_other_are_noted():
    layer = nn.TransformerEncoderLayer(8, 2, 16)  # expects time first
    assert any("influence" in note for note in profile(layer.eval(), torch.randn(5, 7, 8)).notes)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert not any("influence" in note for note in profile(layer.eval(), torch.randn(5, 7, 8)).notes)


class Sampling(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        mean = self.inner(x)
        return self.outer(mean + torch.randn_like(mean))


def test_noise_in_forward_is_held_fixed_and_noted():
    model = Sampling()
    notes = profile(model, x8(), theory=False).notes
    assert any("random numbers" in note for note in notes)
    assert not any("influence" in note for note in notes)
    first, second = (data_of(model, x8()) for _ in range(2))
    assert first.identical(second)


class Growing(nn.Module):
    """Calls its layer four times for a few samples and twice for many."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        for _ in range(4 if len(x) < 4 else 2):
            x = torch.tanh(self.layer(x))
        return x


def test_calls_that_depend_on_the_data_are_skipped_with_the_reason():
    data = data_of(Growing(), x8())
    assert [name for name in rows(data) if "tanh" not in name] == [
        "layer",
        "layer (call 2)",
        "layer (call 3)",
        "layer (call 4)",
    ]
    assert reason(data, "layer (call 2)") == ""
    assert "depends on the data" in reason(data, "layer (call 3)")
    assert "depends on the data" in reason(data, "layer (call 4)")


def test_weight_normalised_layer_is_one_row():
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU())
    data = data_of(model, x8())
    assert rows(data) == ["0", "1"]
    assert str(data["role"].values[0]) == "weight"


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.b(checkpoint(self.a, x, use_reentrant=False))


def test_checkpointed_parts_are_seen_once():
    data = data_of(Checkpointed(), x8())
    assert rows(data) == ["a", "b"]
    assert np.isfinite(data["gradient"].values).all()


def test_compiled_model_is_measured_as_what_it_wraps():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    expected = data_of(model, x8())
    assert data_of(torch.compile(model, backend="eager"), x8()).identical(expected)


def test_one_input_leaves_the_correlation_open():
    found = profile(nn.Sequential(nn.Linear(8, 8), nn.Tanh()), x8(1))
    assert np.isnan(found.dataset["correlation"].values).all()
    assert np.isnan(found.dataset["kernel_error"].values).all()
    assert np.isfinite(found.dataset["kernel"].values).all()
    assert any("one input" in note for note in found.notes)


def test_identical_inputs_are_said_and_left_out():
    x = x8(6)
    x[1] = x[0]
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    some = profile(model, x)
    assert any("1 of 3 pairs" in note for note in some.notes)
    with torch.no_grad():
        expected = 1 - F.cosine_similarity(model[0](x[2::2]), model[0](x[3::2])).mean()
    assert value(some.dataset, "distance", "0") == pytest.approx(float(expected), rel=1e-4)
    every = profile(model, torch.ones(4, 8))
    assert np.isnan(every.dataset["correlation"].values).all()
    assert any("identical" in note for note in every.notes)


def test_roles_and_attributes():
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.GELU(), nn.Identity(), Masked())
    data = data_of(model, x8(), seed=7)
    assert list(data["role"].values) == ["weight", "norm", "activation", "other", "activation"]
    assert list(data["kind"].values) == ["Linear", "LayerNorm", "GELU", "Identity", "Masked"]
    assert data.attrs["instrument"] == "propagation"
    assert (data.attrs["model"], data.attrs["parameters"]) == ("Sequential", 8 * 8 + 8 + 16)
    assert (data.attrs["inputs"], data.attrs["seed"], data.attrs["dtype"]) == (8, 7, "float32")
    assert json.loads(data.attrs["versions"])["torch"] == torch.__version__
    for variable in data.data_vars.values():
        assert variable.dtype == np.float64
        assert variable.attrs["units"]
        assert variable.attrs["long_name"]


def test_same_seed_same_numbers_other_seed_other_tangents():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    assert data_of(model, x8(), seed=1).identical(data_of(model, x8(), seed=1))
    assert not data_of(model, x8(), seed=1)["gradient"].equals(data_of(model, x8(), seed=2)["gradient"])


def test_dataset_survives_a_file(tmp_path):
    import xarray as xr

    data = profile(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), x8()).dataset
    data.to_netcdf(tmp_path / "profile.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "profile.nc", engine="h5netcdf") as back:
        xr.testing.assert_identical(back.load(), data)
