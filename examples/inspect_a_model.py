"""
Inspect a model you did not write
=================================

PyTorch's own transformer encoder, at initialisation: how do signals and gradients travel, what was measured,
what was skipped?
"""

import torch
from torch import nn

import phasescope

torch.manual_seed(0)
layer = nn.TransformerEncoderLayer(d_model=64, nhead=4, dim_feedforward=256, batch_first=True)
model = nn.TransformerEncoder(layer, num_layers=6, enable_nested_tensor=False)
batch = torch.randn(16, 12, 64)

inspection = phasescope.inspect(model, batch)
print(inspection)

# %%
# The findings say what to do, each with its evidence.

for finding in inspection.findings:
    print(
        f"[{finding.severity}] {finding.sentence}\n    evidence: {finding.evidence}\n    do: {finding.action}"
    )

# %%
# The picture. Layer normalisation keeps the kernel in place; residual connections carry the gradient.

instrument = phasescope.instruments.SignalPropagation()
figure = instrument.figures(inspection.datasets["propagation"])["propagation"]
figure

# %%
# The measurement is an ``xarray.Dataset`` with units and errors.

print(inspection.datasets["propagation"])

# %%
# Which works to cite:

print(phasescope.citation(inspection))
