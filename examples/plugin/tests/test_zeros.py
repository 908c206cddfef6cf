import pytest
import torch
from phasescope_zeros import Zeros
from torch import nn

import phasescope
from phasescope.testing import check_instrument


def test_it_keeps_the_promises_of_every_instrument():
    assert len(check_instrument(Zeros())) > 100


def test_a_known_answer():
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]))
    found = phasescope.inspect(model, torch.tensor([[1.0, 0.0], [2.0, 1.0]]), instruments=["zeros"])
    assert found.datasets["zeros"]["zeros"].values == pytest.approx([0.0, 0.75])
    assert "Deep Sparse Rectifier" in phasescope.citation(found)
