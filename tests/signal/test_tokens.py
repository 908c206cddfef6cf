"""Tokens and attention against closed forms and a slow reference."""

import importlib
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope.errors import InputError, MemoryLimitError
from phasescope.signal import tokens
from reference import attention as reference

SEQUENCES, LENGTH, WIDTH, HEADS = 4, 6, 12, 3


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def causal(length):
    return torch.ones(length, length, dtype=torch.bool).tril()


class Attention(nn.Module):
    """Attention without a shortcut; `how` makes the output from queries, keys and values of each head."""

    def __init__(self, how, width=WIDTH, heads=HEADS, key_heads=None):
        super().__init__()
        self.how, self.heads, self.key_heads = how, heads, key_heads or heads
        size = width // heads
        generator = torch.Generator().manual_seed(5)
        shapes = [heads * size, self.key_heads * size, self.key_heads * size]
        self.maps = nn.ParameterList(
            [torch.randn(n, width, generator=generator, dtype=torch.float64) / width**0.5 for n in shapes]
        )

    def projected(self, x, memory):
        counts = (self.heads, self.key_heads, self.key_heads)
        sources = (x, memory, memory)
        parts = zip(sources, self.maps, counts, strict=True)
        return [F.linear(s, w).unflatten(-1, (n, -1)).transpose(1, 2) for s, w, n in parts]

    def forward(self, x, memory=None):
        out = self.how(*self.projected(x, x if memory is None else memory))
        return out.transpose(1, 2).flatten(2)


def eager(mask=None, hide=-math.inf):
    def attend(q, k, v):
        scores = q @ k.mT / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, hide)
        return F.dropout(scores.softmax(dim=-1), 0.1, training=False) @ v

    return attend


def fused(mask=None, **options):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, **options)


def folded(q, k, v):
    """Attention as ``bmm`` over sequences and heads together."""
    batch = q.shape[:2]
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    weights = torch.softmax(torch.bmm(q, k.mT) * q.shape[-1] ** -0.5, -1)
    return torch.bmm(weights, v).unflatten(0, batch)


def rows(dataset, quantity):
    return dataset.isel(layer=np.flatnonzero(dataset["quantity"].values == quantity))


def attending(dataset):
    return rows(dataset, "attention")


def expected(model, x, memory=None, visible=None):
    """Return (entropy, sink, passed) by head, mean over sequences."""
    with torch.no_grad():
        q, k, _ = model.projected(x, x if memory is None else memory)
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    logits = (q @ k.mT / q.shape[-1] ** 0.5).numpy()
    seen = np.ones(logits.shape[-2:], dtype=bool) if visible is None else visible.numpy()
    found = [[reference.head(matrix, seen) for matrix in sequence] for sequence in logits]
    return np.moveaxis(np.mean(found, axis=0), -1, 0)


BANDED = causal(LENGTH) & ~torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril(-3)
SPELLINGS = {
    "fused": (fused(), None),
    "fused, causal": (fused(is_causal=True), causal(LENGTH)),
    "fused, mask of booleans": (fused(causal(LENGTH)), causal(LENGTH)),
    "fused, mask of numbers": (
        fused(torch.zeros(LENGTH, LENGTH, dtype=torch.float64).masked_fill(~causal(LENGTH), -3e38)),
        causal(LENGTH),
    ),
    "fused, sliding window": (fused(BANDED), BANDED),
    "eager": (eager(), None),
    "eager, causal": (eager(causal(LENGTH)), causal(LENGTH)),
    "eager, mask of -10000": (eager(causal(LENGTH), -1e4), causal(LENGTH)),
    "eager, mask of -100": (eager(causal(LENGTH), -100.0), causal(LENGTH)),
    "bmm": (folded, None),
    "einsum": (
        lambda q, k, v: torch.einsum(
            "bhts,bhsd->bhtd", torch.einsum("bhtd,bhsd->bhts", q, k / 2).softmax(3), v
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_attention_gives_the_numbers_of_the_slow_reference(name):
    how, visible = SPELLINGS[name]
    model, x = Attention(how), normal(SEQUENCES, LENGTH, WIDTH)
    found = attending(tokens(model, x))
    assert list(found["layer"].values) == ["output (attention)"]
    for variable, values in zip(
        ("entropy", "sink", "passed"), expected(model, x, None, visible), strict=True
    ):
        np.testing.assert_allclose(found[f"head_{variable}"].values[0], values, rtol=1e-10)
        assert float(found[variable].values[0]) == pytest.approx(values.mean(), rel=1e-10)


@pytest.mark.parametrize("how", [fused(), eager()])
def test_logits_that_differ_by_hundreds_hide_no_keys(how):
    model, x = Attention(how), 20 * normal(SEQUENCES, LENGTH, WIDTH)
    found = attending(tokens(model, x))
    assert float(found["spread"][0]) > 100
    assert float(found["uniform"][0]) == pytest.approx(math.log(LENGTH))
    np.testing.assert_allclose(found["head_sink"].values[0], expected(model, x)[1], rtol=1e-10)


def test_grouped_queries_share_their_keys():
    model, x = Attention(fused(enable_gqa=True), 12, 4, 2), normal(SEQUENCES, LENGTH, 12)
    found = attending(tokens(model, x))
    np.testing.assert_allclose(found["head_entropy"].values[0], expected(model, x)[0], rtol=1e-10)


def test_keys_may_come_from_elsewhere():
    model = Attention(fused())
    x, memory = normal(SEQUENCES, LENGTH, WIDTH), normal(SEQUENCES, 9, WIDTH, seed=2)
    found = attending(tokens(model, (x, memory)))
    assert (float(found["tokens"][0]), float(found["keys"][0])) == (LENGTH, 9)
    np.testing.assert_allclose(found["head_passed"].values[0], expected(model, x, memory)[2], rtol=1e-10)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"bias": False, "add_bias_kv": True}, {"kdim": WIDTH, "add_zero_attn": True}]
)
def test_torchs_own_attention_gives_the_numbers_of_its_own_weights(batch_first, weights, options):
    torch.manual_seed(3)
    inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first, dtype=torch.float64, **options)
    mask = ~causal(LENGTH)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            x = x if batch_first else x.transpose(0, 1)
            return self.inner(x, x, x, need_weights=weights, attn_mask=mask)[0]

    x = normal(SEQUENCES, LENGTH, WIDTH)
    with torch.no_grad():
        y = x if batch_first else x.transpose(0, 1)
        p = inner(y, y, y, attn_mask=mask, average_attn_weights=False)[1].numpy()
    visible = np.ones(p.shape[-2:], dtype=bool)
    visible[:, :LENGTH] = causal(LENGTH).numpy()
    with np.errstate(divide="ignore"):
        numbers = [[reference.head(np.log(head), visible) for head in sequence] for sequence in p]
    found = attending(tokens(Model(), x))
    assert list(found["layer"].values) == ["inner (attention)"]  # beside the point of the stream
    entropy, sink, passed = np.moveaxis(np.mean(numbers, axis=0), -1, 0)
    np.testing.assert_allclose(found["head_entropy"].values[0], entropy, rtol=1e-9)
    np.testing.assert_allclose(found["head_sink"].values[0], sink, rtol=1e-9)
    np.testing.assert_allclose(found["head_passed"].values[0], passed, rtol=1e-9)


def test_padding_is_left_out_of_tokens_and_of_attention():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
            self.norm = nn.LayerNorm(WIDTH, dtype=torch.float64)

        def forward(self, x, attention_mask):
            y = self.norm(x)
            return x + self.inner(y, y, y, key_padding_mask=attention_mask == 0)[0]

    model, x = Padded(), normal(2, LENGTH, WIDTH)
    mask = torch.ones(2, LENGTH, dtype=torch.int64)
    mask[:, 4:] = 0
    padded = tokens(model, {"x": x, "attention_mask": mask})
    short = tokens(model, {"x": x[:, :4], "attention_mask": mask[:, :4]})
    for name in ("cosine", "rank", "entropy", "sink", "passed", "spread"):
        np.testing.assert_allclose(padded[name].values, short[name].values, rtol=1e-10)


def test_uniform_attention_makes_all_tokens_equal_in_one_layer():
    found = tokens(
        Attention(lambda q, k, v: F.scaled_dot_product_attention(0 * q, k, v)), normal(3, 8, WIDTH)
    )
    assert rows(found, "tokens")["cosine"].values == pytest.approx([1], abs=1e-12)
    assert rows(found, "tokens")["rank"].values == pytest.approx([1], abs=1e-12)
    assert attending(found)["entropy"].values == pytest.approx([1], abs=1e-12)
    assert attending(found)["passed"].values == pytest.approx([1], abs=1e-12)
    assert attending(found)["sink"].values == pytest.approx([0], abs=1e-12)


def test_causal_uniform_attention_over_eight_tokens_passes_on_1_890019_directions():
    model = Attention(lambda q, k, v: F.scaled_dot_product_attention(0 * q, k, v, is_causal=True))
    found = attending(tokens(model, normal(3, 8, WIDTH)))
    assert found["passed"].values == pytest.approx([1.890019], abs=5e-7)
    assert found["entropy"].values == pytest.approx([1], abs=1e-12)
    assert found["uniform"].values == pytest.approx([math.log(math.factorial(8)) / 8], abs=1e-12)


def test_the_layer_passes_on_so_many_directions_times_the_width_of_orthogonal_maps():
    rotation = torch.linalg.qr(normal(4, 4))[0]
    averages = causal(8).double() / torch.arange(1, 9)[:, None]
    jacobian = torch.func.jacrev(lambda x: averages @ x @ rotation)(normal(8, 4)).reshape(32, 32)
    s = torch.linalg.svdvals(jacobian)
    assert float((s**2).sum() ** 2 / (s**4).sum()) == pytest.approx(4 * 1.890019, abs=4e-6)


def test_attention_of_each_token_to_itself_passes_everything_on():
    def itself(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, 300 * torch.eye(8, dtype=torch.float64))

    found = attending(tokens(Attention(itself), normal(3, 8, WIDTH)))
    assert found["entropy"].values == pytest.approx([0], abs=1e-12)
    assert found["passed"].values == pytest.approx([8], abs=1e-10)


def test_a_token_that_takes_all_attention_is_a_sink():
    bias = torch.zeros(8, dtype=torch.float64)
    bias[2] = 300.0
    found = attending(tokens(Attention(fused(bias.expand(8, 8))), normal(3, 8, WIDTH)))
    assert found["sink"].values == pytest.approx([1 - 1 / 8], abs=1e-12)
    assert list(found["head_sink_position"].values[0]) == [2] * HEADS


def test_gaussian_logits_lose_half_their_variance_of_entropy():
    """The random energy model: H = ln n - sigma^2/2, to order sigma^2/n."""
    sigma, keys = 0.8, 400
    noise = sigma * normal(2, 1, keys, keys)
    model = Attention(lambda q, k, v: F.scaled_dot_product_attention(0 * q, k, v, noise[: len(q)]), 4, 1)
    found = attending(tokens(model, normal(2, keys, 4)))
    assert float(found["entropy"][0]) == pytest.approx(1 - sigma**2 / (2 * math.log(keys)), abs=2e-3)
    assert float(found["spread"][0]) == pytest.approx(sigma, rel=0.01)


@pytest.mark.parametrize("width", [5, 40])
def test_tokens_are_compared_as_in_the_slow_reference(width):
    x = normal(SEQUENCES, 9, width) + 0.5
    found = tokens(lambda y: 2 * y, x)
    each = np.array([reference.alike(sequence) for sequence in x.numpy()])
    for name, values in zip(("cosine", "rank"), each.T, strict=True):
        assert found[name].values == pytest.approx([values.mean()], rel=1e-10)
        assert found[f"{name}_error"].values == pytest.approx(
            [values.std(ddof=1) / SEQUENCES**0.5], rel=1e-10
        )


def test_tokens_with_one_cosine_have_the_rank_of_the_closed_form():
    count, c = 7, 0.3
    axes = torch.eye(count + 1, dtype=torch.float64)
    x = c**0.5 * axes[0] + (1 - c) ** 0.5 * axes[1:]
    found = tokens(lambda y: 2 * y, x.expand(3, -1, -1))
    assert found["cosine"].values == pytest.approx([c], abs=1e-12)
    assert found["rank"].values == pytest.approx([count / (1 + (count - 1) * c**2)], abs=1e-12)
    assert found["cosine_error"].values == pytest.approx([0], abs=1e-12)


class LinearAttention(nn.Module):
    """Attention whose softmax is over features, so that no query has probabilities."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        keys = self.key(x).softmax(dim=1)
        return self.query(x).softmax(dim=-1) @ (keys.mT @ self.value(x))


def test_attention_without_probabilities_is_skipped_with_the_reason():
    found = tokens(nn.Sequential(LinearAttention()), normal(3, LENGTH, WIDTH).float())
    assert "attention" not in found["quantity"].values
    reason = dict(zip(found["layer"].values, found["skipped"].values, strict=True))["0"]
    assert "cannot be looked into" in reason


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_flex_attention_is_skipped_with_the_reason_and_its_tokens_are_measured():
    from torch.nn.attention.flex_attention import flex_attention

    class FlexAttention(Attention):
        pass

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = FlexAttention(torch.compile(flex_attention, fullgraph=True))

        def forward(self, x):
            return x + self.inner(x)

    found = tokens(Block(), normal(3, 8, WIDTH))
    assert rows(found, "tokens").sizes["layer"] == 1
    reasons = dict(zip(found["layer"].values, found["skipped"].values, strict=True))
    assert "cannot be looked into" in reasons["inner"]


def test_attention_in_windows_is_averaged_over_the_windows_of_a_sequence():
    model = Attention(fused())

    def windowed(x):
        return model(x.reshape(-1, 4, WIDTH)).reshape(x.shape)

    x = normal(3, 8, WIDTH)
    found = attending(tokens(windowed, x))
    parts = [expected(model, part.reshape(2, 4, WIDTH)) for part in x]
    np.testing.assert_allclose(found["head_entropy"].values[0], np.mean(parts, axis=0)[0], rtol=1e-10)
    assert found["keys"].values == [4]


def test_small_pieces_and_little_memory_give_the_same_numbers(monkeypatch):
    model, x = Attention(fused(is_causal=True), 16, 4), normal(8, 20, 16)
    whole = tokens(model, x)
    little = tokens(model, x, max_memory=150_000)
    monkeypatch.setattr(importlib.import_module("phasescope.signal.tokens"), "_PIECE", 150)
    pieces = tokens(model, x)
    for name, values in whole.data_vars.items():
        np.testing.assert_allclose(little[name].values, values.values, rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(pieces[name].values, values.values, rtol=1e-9, err_msg=name)
    with pytest.raises(MemoryLimitError):
        tokens(model, x, max_memory=1000)


def test_a_sequence_of_one_token_and_a_batch_without_values_are_no_tokens():
    single = tokens(nn.Linear(4, 4), normal(3, 1, 4).float())
    assert "no tokens" in str(single["skipped"].values[0])
    with pytest.raises(InputError, match="empty"):
        tokens(nn.Linear(4, 4), torch.zeros(0, 5, 4))


def test_infinite_tokens_are_named():
    found = tokens(lambda x: x / 0, normal(3, LENGTH, WIDTH))
    assert list(found["skipped"].values) == ["its values are NaN or infinite"]


def test_the_stream_of_a_transformer_has_its_sums_and_each_attention_its_heads():
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, norm_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    found = tokens(model, normal(LENGTH, 4, WIDTH).float())  # (token, sequence, feature)
    assert found.attrs["inputs"] == 4
    assert list(attending(found)["layer"].values) == ["layers.0.self_attn", "layers.1.self_attn"]
    assert list(rows(found, "tokens")["tokens"].values) == [LENGTH] * 4
    assert list(rows(found, "tokens")["role"].values) == ["sum"] * 4
    assert found.sizes["head"] == HEADS
