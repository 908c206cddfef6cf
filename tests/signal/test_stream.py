"""The stream of a network: what all information passes, on networks whose answer is worked out by hand."""

import math
import re

import pytest
import torch

from phasescope.recording import as_batch
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import quiet
from reference.cut_points import cut_points
from zoo import KNOWN, ZOO, every

# One of each kind of architecture; the others are slow.
FAST = {"mlp_matmul", "residual_mlp", "nerf", "vae", "coupling_flow", "equilibrium"}
FAST |= {"resnet_v1", "densenet", "unet", "gpt2", "t5", "vit", "perceiver", "mamba", "cell_loop", "wavenet"}
_STEPS = re.compile("Linear|linear|matmul|Conv|sum|cat|Embedding")


def by_hand(name, **options):
    """The cut points of a model of the zoo, in float64, by the slow search."""
    model, batch = ZOO[name]()
    module = as_module(model)
    fitted = as_batch(module, batch)
    if any(parameter.dtype == torch.float32 for parameter in module.parameters()):
        quiet(module.double())
        fitted = fitted.with_floats([tensor.double() for tensor in fitted.floats()])
    torch.manual_seed(0)
    return cut_points(model, fitted.args, fitted.kwargs, source=KNOWN[name].source, **options)


@pytest.mark.parametrize("name", every(fast=FAST))
def test_cut_points_are_those_worked_out_by_hand(name):
    assert [point.kind for point in by_hand(name)] == KNOWN[name].stream.split()


@pytest.mark.parametrize("name", [name for name in ZOO if KNOWN[name].growth])
def test_growth_is_that_of_its_formula(name):
    draw = torch.Generator().manual_seed(0)

    def tangent(x):
        return torch.randn(x.shape, generator=draw, dtype=x.dtype)

    steps = [point for point in by_hand(name, tangent=tangent) if _STEPS.match(point.kind)]
    if steps[-1].kind in ("Linear", "linear"):  # the read-out sets a scale
        steps.pop()
    found = math.log(_across(steps[-1]) / _across(steps[0]))
    assert found == pytest.approx(math.log(KNOWN[name].growth), abs=KNOWN[name].within)


def _across(point):
    """The mean square of the part of a tangent that is perpendicular to the values."""
    z, u = point.numbers.flatten(1), point.tangent.flatten(1)
    return float((u - (z * u).sum(1, keepdim=True) / (z * z).sum(1, keepdim=True) * z).square().mean())
