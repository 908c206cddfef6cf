"""
How far back does a recurrent network remember?
===============================================

Two numbers of an LSTM tell more than its loss: how long its state remembers, and how far back in time the
gradient of its last output reaches. Both follow from the exponent of its state.
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from phasescope import recurrent

# %%
# An LSTM as torch makes it reads 120 steps. A small change of its state falls by a factor e every other step.
# Whatever the task, the first gradient steps see a handful of inputs.

STEPS, UNITS = 120, 48
torch.manual_seed(0)
batch = torch.randn(16, STEPS, 8)
lstm = nn.LSTM(8, UNITS, batch_first=True)
found = recurrent.through_time(lstm, batch)
print(found)
print("gradient of the last step above 1 % for", found.layers[0].reach, "steps")

# %%
# The forget gate multiplies the cell state in each step. Its bias is 0 on average, so that the gate is near
# 1/2. With biases ln(u), u drawn evenly from 1 to the number of steps, units forget at rates that are spread
# over the sequence (Tallec and Ollivier 2018), and the gradient reaches all steps.

biases = {
    "torch's own": lambda bias: bias,
    "bias + 1": lambda bias: bias + 1,
    "ln u": lambda bias: torch.empty_like(bias).uniform_(1, STEPS - 1).log(),
}
curves = {}
for name, made in biases.items():
    torch.manual_seed(0)
    model = nn.LSTM(8, UNITS, batch_first=True)
    forget = slice(UNITS, 2 * UNITS)
    with torch.no_grad():
        model.bias_ih_l0[forget] = made(model.bias_ih_l0[forget])
    layer = recurrent.through_time(model, batch).layers[0]
    curves[name] = layer
    print(f"{name:<12} {layer.phase}: exponent {layer.exponent}, reach of the gradient: {layer.reach}")

# %%
# A plain tanh network has no gate. With random recurrent weights of gain g, small states grow by g in each
# step. Above g = 1 the network is chaotic without an input (Sompolinsky, Crisanti and Sommers 1988); an input
# calms it down.

gains = torch.linspace(0.5, 3.0, 9)
exponents = {0.0: [], 0.5: []}
for drive, values in exponents.items():
    for gain in gains:
        torch.manual_seed(1)
        rnn = nn.RNN(8, 100, batch_first=True, bias=False)
        nn.init.normal_(rnn.weight_hh_l0, std=float(gain) / math.sqrt(100))
        nn.init.normal_(rnn.weight_ih_l0, std=1.0)
        start = torch.randn(1, len(batch), 100)
        values.append(recurrent.through_time(rnn, (drive * batch, start)).layers[0].exponent)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name, layer in curves.items():
    axes[0].semilogy(range(STEPS + 1), [math.exp(value) for value in layer.gradient], label=name)
axes[0].axhline(0.01, color="0.5", ls=":")
axes[0].set(xlabel="steps before the last", ylabel="norm of the gradient", title="LSTM", ylim=(1e-8, 3))
axes[0].legend(frameon=False)
for drive, values in exponents.items():
    axes[1].errorbar(
        gains, [v.value for v in values], [v.error for v in values], fmt="o-", label=f"input x {drive:g}"
    )
axes[1].plot(gains, gains.log(), "k:", label="ln g")
axes[1].axhline(0, color="0.5", lw=0.8)
axes[1].set(xlabel="gain g", ylabel="exponent a step", title="tanh network of 100 units")
axes[1].legend(frameon=False)
figure.show()
