"""Transformers and their relatives, rebuilt small."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.inputs import INPUTS
from zoo.known import Known, with_batch

WORDS, LENGTH = 60, 12


def words(length: int = LENGTH) -> Tensor:
    return torch.randint(0, WORDS, (INPUTS, length))


class SelfAttention(nn.Module):
    """One matrix for queries, keys and values, fused attention, one matrix out."""

    def __init__(self, width: int, heads: int, *, causal: bool, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.act(self.up(x)))


class PreNormBlock(nn.Module):
    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT2(nn.Module):
    """Learned positions, pre-norm blocks, tied read-out; weights of 0.02, smaller where a block adds."""

    def __init__(self, width: int = 32, depth: int = 3, heads: int = 4, *, vocabulary: int = WORDS) -> None:
        super().__init__()
        self.wte = nn.Embedding(vocabulary, width)
        self.wpe = nn.Embedding(64, width)
        self.h = nn.ModuleList(PreNormBlock(width, heads, causal=True) for _ in range(depth))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "norm" not in name and "ln_f" not in name:
                added = name.endswith(("attn.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * depth) if added else 0.02)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-6))


class GroupedQueryAttention(nn.Module):
    """Four heads of queries share two of keys and values; positions turn pairs of numbers."""

    def __init__(self, width: int, heads: int = 4, shared: int = 2) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, shared * self.size, bias=False)
        self.v_proj = nn.Linear(width, shared * self.size, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        steps = torch.arange(length, dtype=x.dtype, device=x.device)
        powers = torch.arange(0, self.size, 2, dtype=x.dtype, device=x.device) / self.size
        angle = torch.cat([steps[:, None] / 10000**powers] * 2, dim=-1)

        def turned(z: Tensor) -> Tensor:
            first, second = z.chunk(2, dim=-1)
            return z * angle.cos() + torch.cat([-second, first], dim=-1) * angle.sin()

        q = turned(self.q_proj(x).view(batch, length, self.heads, self.size).transpose(1, 2))
        k = turned(self.k_proj(x).view(batch, length, self.shared, self.size).transpose(1, 2))
        v = self.v_proj(x).view(batch, length, self.shared, self.size).transpose(1, 2)
        k, v = (z.repeat_interleave(self.heads // self.shared, dim=1) for z in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, length, width))


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class LlamaBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_norm = RMSNorm(width)
        self.self_attn = GroupedQueryAttention(width)
        self.post_norm = RMSNorm(width)
        self.mlp = SwiGLU(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_norm(x))
        return x + self.mlp(self.post_norm(x))


class Llama(nn.Module):
    def __init__(self, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, width)
        self.layers = nn.ModuleList(LlamaBlock(width) for _ in range(depth))
        self.norm = RMSNorm(width)
        self.lm_head = nn.Linear(width, WORDS, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(self.norm(x))


class T5Attention(nn.Module):
    """Attention without a scale, with a learned number for each distance."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.bias = nn.Embedding(31, heads)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        other = x if memory is None else memory
        q, k, v = (
            f(z).view(len(z), z.shape[1], self.heads, -1).transpose(1, 2)
            for f, z in ((self.q, x), (self.k, other), (self.v, other))
        )
        apart = torch.arange(x.shape[1])[:, None] - torch.arange(other.shape[1])
        scores = q @ k.transpose(-1, -2) + self.bias(apart.clamp(-15, 15) + 15).permute(2, 0, 1)
        if self.causal:
            scores = scores.masked_fill(apart < 0, -torch.inf)
        y = torch.softmax(scores, dim=-1) @ v
        return self.o(y.transpose(1, 2).reshape(x.shape))


class T5Layer(nn.Module):
    def __init__(self, width: int, *, decoder: bool) -> None:
        super().__init__()
        self.norm1, self.attention = RMSNorm(width), T5Attention(width, 4, causal=decoder)
        if decoder:
            self.norm2, self.cross = RMSNorm(width), T5Attention(width, 4, causal=False)
        self.norm3 = RMSNorm(width)
        self.wi, self.wo = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.norm1(x))
        if memory is not None:
            x = x + self.cross(self.norm2(x), memory)
        return x + self.wo(F.relu(self.wi(self.norm3(x))))


class T5(nn.Module):
    """Encoder and decoder: two inputs, one embedding for both."""

    def __init__(self, width: int = 24, depth: int = 2) -> None:
        super().__init__()
        self.shared = nn.Embedding(WORDS, width)
        self.encoder = nn.ModuleList(T5Layer(width, decoder=False) for _ in range(depth))
        self.encoder_norm = RMSNorm(width)
        self.decoder = nn.ModuleList(T5Layer(width, decoder=True) for _ in range(depth))
        self.decoder_norm = RMSNorm(width)
        self.lm_head = nn.Linear(width, WORDS, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and name != "shared.weight":
                nn.init.normal_(parameter, std=(width * (width if name.endswith("q.weight") else 1)) ** -0.5)

    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        memory = self.shared(input_ids)
        for layer in self.encoder:
            memory = layer(memory)
        memory = self.encoder_norm(memory)
        x = self.shared(decoder_input_ids)
        for layer in self.decoder:
            x = layer(x, memory)
        return self.lm_head(self.decoder_norm(x))


class PostNormBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = MLP(width, 2 * width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0])
        return self.norm2(x + self.mlp(x))


class BERT(nn.Module):
    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, width)
        self.positions = nn.Embedding(32, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(PostNormBlock(width) for _ in range(depth))
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 3)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.norm(self.words(input_ids) + self.positions(places))
        for layer in self.layers:
            x = layer(x, attention_mask == 0)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class ViT(nn.Module):
    def __init__(self, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 17, width))
        self.blocks = nn.ModuleList(PreNormBlock(width, 4, causal=False) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        for name, parameter in self.named_parameters():
            if parameter.ndim in (2, 3):
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.patches(pictures).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.across = nn.LayerNorm(width), MLP(tokens, 2 * tokens)
        self.norm2, self.within = nn.LayerNorm(width), MLP(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


class Mixer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, stride=4)
        self.blocks = nn.Sequential(MixerBlock(16, width), MixerBlock(16, width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.patches(pictures).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(dim=1))


class LinearAttention(nn.Module):
    """Attention as a product of feature maps: no softmax, no matrix of scores."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k = F.elu(self.q(h)) + 1, F.elu(self.k(h)) + 1
        state = torch.einsum("btd,bte->bde", k, self.v(h))
        weight = torch.einsum("btd,bd->bt", q, k.sum(dim=1))
        return x + self.out(torch.einsum("btd,bde->bte", q, state) / weight.unsqueeze(-1))


class Perceiver(nn.Module):
    """A few latents read a long input once and think about it."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(5, width))
        self.q, self.kv, self.out = nn.Linear(width, width), nn.Linear(6, 2 * width), nn.Linear(width, width)
        self.blocks = nn.ModuleList(PreNormBlock(width, 4, causal=False) for _ in range(2))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        k, v = self.kv(x).chunk(2, dim=-1)
        q = self.q(self.latents).expand(len(x), -1, -1)
        latents = self.latents + self.out(F.scaled_dot_product_attention(q, k, v))
        for block in self.blocks:
            latents = block(latents)
        return self.head(latents.mean(dim=1))


class MaxNormBag(nn.Module):
    """Its forward pass rescales rows of the embedding that are too long."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, 24, max_norm=1.0)
        self.hidden = nn.Linear(24, 24)
        self.head = nn.Linear(24, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(torch.relu(self.hidden(self.words(ids).mean(dim=1))))


def _pictures() -> Tensor:
    return torch.randn(INPUTS, 3, 16, 16)


def _masked() -> dict[str, Tensor]:
    mask = torch.ones(INPUTS, LENGTH, dtype=torch.long)
    mask[1::2, -3:] = 0
    return {"input_ids": words(), "attention_mask": mask}


MODELS = {
    # A matrix gives s = 0.0004 d = 0.0128. Values have K = s, their causal means over i + 1 tokens
    # s / (i + 1): attention adds (s / 2 L) s <1 / (i + 1)> = 0.7e-5, the MLP 4 (s / 2 L) <gelu^2> = 2.8e-5,
    # with <gelu^2> = 0.0033. Three blocks: 13 % of the 0.0008 of the embeddings.
    "gpt2": Known(
        with_batch(GPT2, words), "Embedding add " + 6 * "sum " + "LayerNorm Linear", "critical", 1.13, 0.06
    ),
    # As for GPT-2, with K = 0.0004 and all weights alike: s^2 <1 / (i + 1)> = 4.2e-5 for attention; the gated
    # units have s^2 / 4, times 3 s: 2e-6. Two blocks: 1.22.
    "llama": Known(
        with_batch(Llama, words), "Embedding " + 4 * "sum " + "RMSNorm Linear", "critical", 1.22, 0.15
    ),
    # The decoder's chain. The encoder's own: Embedding sum sum sum sum RMSNorm, then the last crossing.
    "t5": Known(
        with_batch(T5, lambda: {"input_ids": words(10), "decoder_input_ids": words(6)}),
        "Embedding " + 6 * "sum " + "RMSNorm Linear",
        sources=(1,),
    ),
    # s = 0.0004 d = 0.0128 behind a matrix: a branch adds s^2 to K = 1. Only the pooler does something, a
    # factor s, and it is no read-out, since a tanh follows.
    "bert": Known(
        with_batch(BERT, _masked),
        "Embedding add LayerNorm " + 3 * "sum LayerNorm sum LayerNorm " + "getitem Linear tanh Linear",
        "uneven",
    ),
    # The patches have K = 48 / (3 * 48) = 1/3, branches s^2 or less: the stream keeps its K. One token of
    # 17 is no part of the picture.
    "vit": Known(
        with_batch(ViT, _pictures),
        "Conv2d extend add " + 6 * "sum " + "LayerNorm getitem Linear",
        "critical",
        16 / 17,
        0.02,
    ),
    "mixer": Known(
        with_batch(Mixer, _pictures), "Conv2d " + 4 * "sum " + "LayerNorm mean Linear", "critical"
    ),
    "linear_attention": Known(
        with_batch(
            lambda: nn.Sequential(
                nn.Linear(6, 24),
                LinearAttention(24),
                LinearAttention(24),
                LinearAttention(24),
                nn.Linear(24, 6),
            ),
            lambda: torch.randn(INPUTS, LENGTH, 6),
        ),
        "Linear sum sum sum Linear",
        "critical",
    ),
    # Keys and values are two ways from their common product. Attention takes the mean over 20 tokens, and the
    # matrix behind it, of variance 1/(3n), brings it to 1/60 in one step; branches do little.
    "perceiver": Known(
        with_batch(Perceiver, lambda: torch.randn(INPUTS, 20, 6)),
        "Linear scaled_dot_product_attention Linear add " + 4 * "sum " + "mean Linear",
        "uneven",
    ),
    "max_norm": Known(with_batch(MaxNormBag, words), "Embedding mean Linear relu Linear"),
}
