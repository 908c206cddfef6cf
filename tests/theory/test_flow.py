"""The tabulated kernel map, held against the means and the theory that go without a table."""

import math

import numpy as np
import pytest
import torch

from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.theory import survival_depth, unstable_kernel
from phasescope.theory.flow import EXPLODES, SETTLES, VANISHES, KernelFlow
from phasescope.theory.moments import second_moment


@pytest.mark.parametrize("name", ["gelu", "tanh", "sin", "mrepu2", "selu"])
def test_between_its_rows_the_table_has_the_mean_itself(name):
    flow, activation = KernelFlow(name), as_activation(name)
    for K in (3.1e-6, 2.3e-3, 0.037, 0.71, 3.3, 1234.5):
        assert flow.square(K) == pytest.approx(second_moment(activation, K), rel=1e-6)


@pytest.mark.parametrize("K1", [0.1, 0.01, 1e-3])
def test_layers_until_tenfold_are_those_of_the_map_without_a_table(K1):
    grown, shrunk = KernelFlow("mrepu2").layers(K1, 1.0, 0.0)
    assert grown[0] == survival_depth("mrepu2", K1)
    assert np.isnan(shrunk[0])


def test_a_kernel_of_tanh_shrinks_as_the_flow_says():
    # K' = K - 2 K^2, so that K(l) = K_1/(1 + 2 K_1 l) is a tenth after 9/(2 K_1) layers.
    grown, shrunk = KernelFlow("tanh").layers([1e-3, 1e-2], 1.0, 0.0)
    assert np.isnan(grown).all()
    assert shrunk == pytest.approx([4500, 450], rel=0.01)


def test_repu_doubles_its_distance_in_the_logarithm():
    # ln(K_l/K_dag) = 2^(l-1) ln(K_1/K_dag), and K_dag = 1 at C_W = 2/3: tenfold from 1.1 after 5 maps.
    start = math.log(1.1)
    expected = next(n for n in range(1, 20) if (2**n - 1) * start > math.log(10))
    grown, shrunk = KernelFlow("repu2").layers([1.1, 1 / 1.1, 1.0], 2 / 3, 0.0)
    assert [grown[0], shrunk[1]] == [expected, expected]
    assert np.isnan([grown[2], shrunk[2]]).all()


@pytest.mark.parametrize("C_W", [0.3, 0.5, 0.9])
def test_explosion_begins_at_the_unstable_kernel(C_W):
    boundary = unstable_kernel("mrepu2", C_W)
    flow = KernelFlow("mrepu2")
    fates = flow.fates(np.array([C_W]), 0.0)[0]
    assert set(fates[np.exp(flow.log_K) < boundary]) == {VANISHES}
    assert set(fates[np.exp(flow.log_K) > boundary]) == {EXPLODES}


def test_fates_of_relu_tanh_and_sigmoid():
    assert [KernelFlow("relu").fate(1.0, C_W, 0.0) for C_W in (1.9, 2.0, 2.1)] == [
        VANISHES,
        SETTLES,
        EXPLODES,
    ]
    assert [KernelFlow("tanh").fate(1.0, C_W, 0.0) for C_W in (0.9, 1.0, 1.1)] == [
        VANISHES,
        VANISHES,
        SETTLES,
    ]
    assert KernelFlow("sigmoid").fate(1e-4, 1.0, 0.0) == SETTLES


def test_what_overflows_explodes_and_what_is_zero_is_refused():
    steep = KernelFlow(lambda z: torch.exp(z * z / 8))  # its mean square is infinite from K = 2 on
    assert not steep.whole
    assert steep.layers(3.0, 1.0, 0.0)[0][0] == 1
    with pytest.raises(InputError, match="no mean square"):
        KernelFlow(lambda z: 0.0 * z)
