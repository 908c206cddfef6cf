"""
Do tokens stay apart, and where do heads look?
==============================================

Two things can be wrong with a transformer before it is trained. Its tokens may become alike, so that
nothing is left to attend to. And its heads may look at one key each, so that hardly a gradient reaches
queries and keys. Both are seen in one pass.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from phasescope import instruments, signal

# %%
# A small causal language model. `shortcut` is the weight of the stream beside each branch, `gain` scales the
# queries and keys.

WIDTH, HEADS, WORDS, BLOCKS = 64, 4, 100, 12


class Block(nn.Module):
    def __init__(self, shortcut: float, gain: float) -> None:
        super().__init__()
        self.shortcut, self.gain = shortcut, gain
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        heads = F.scaled_dot_product_attention(self.gain * q, self.gain * k, v, is_causal=True)
        return self.out(heads.transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shortcut * x + self.attention(self.norms[0](x))
        return self.shortcut * x + self.mlp(self.norms[1](x))


class Language(nn.Module):
    def __init__(self, shortcut: float = 1.0, gain: float = 1.0) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block(shortcut, gain) for _ in range(BLOCKS))
        self.read = nn.Linear(WIDTH, WORDS)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.table(words)
        for block in self.blocks:
            x = block(x)
        return self.read(x)


def made(**options: float) -> Language:
    torch.manual_seed(0)
    return Language(**options)


words = torch.randint(0, WORDS, (16, 32), generator=torch.Generator().manual_seed(1))
networks = {
    "shortcuts": made(),
    "hardly any shortcut": made(shortcut=0.1),
    "queries and keys times 10": made(gain=10.0),
}

# %%
# The instrument says what was found and what to do, each network beside a copy with its parameters drawn
# again. :func:`phasescope.inspect` runs it wherever there is attention.

instrument = instruments.TokensAndAttention()
for name, network in networks.items():
    print(name)
    for finding in instrument.findings(instrument.measure(network, words)):
        print(f"  [{finding.severity}] {finding}")

# %%
# The numbers are in :func:`phasescope.signal.tokens`. Left, how alike two tokens of a sequence are along the
# stream. Right, the entropy of each head over that of uniform attention against the spread of its logits. The
# line is what Gaussian logits of that spread give; they condense on few keys where it meets zero.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for (name, network), colour in zip(networks.items(), ("tab:blue", "tab:red", "tab:green"), strict=True):
    found = signal.tokens(network, words)
    stream = found.isel(layer=np.flatnonzero(found["role"] == "sum"))
    axes[0].errorbar(stream["depth"], stream["cosine"], yerr=stream["cosine_error"], color=colour, label=name)
    axes[1].semilogx(
        found["head_spread"].values.ravel(), found["head_entropy"].values.ravel(), "o", color=colour
    )
spread = np.geomspace(0.05, 60, 200)
uniform = float(found["uniform"].max())  # mean of ln t over 32 tokens
axes[1].plot(spread, np.maximum(1 - spread**2 / (2 * uniform), 0), color="0.4")
axes[0].set(xlabel="depth of the stream", ylabel="mean cosine between tokens")
axes[1].set(
    xlabel="standard deviation of logits", ylabel="entropy of attention / uniform", ylim=(-0.03, 1.05)
)
axes[0].legend(frameon=False)
figure.show()
