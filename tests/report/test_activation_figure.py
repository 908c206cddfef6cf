"""The figure of an activation: what its lines say, on activations whose answer is known."""

import math

import numpy as np
import pytest
import torch

from phasescope.report import activation_figure


def named(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def own(z):
    return torch.where(z > 0, z * z / (1 + z), 0.2 * z)


def test_mrepu_explodes_above_its_line_and_survives_as_the_flow_says():
    kernels, ratio, phases, survival = activation_figure("mrepu2").axes
    assert "critical $C_W$, $C_b$" in named(kernels)
    assert any("repels" in text.get_text() for text in kernels.texts)
    values = ratio.get_lines()[1].get_ydata()
    assert [values[0], values[-1]] == pytest.approx([1.0, 5 / 3], abs=1e-3)
    assert {text.get_text() for text in phases.get_legend().get_texts()} == {
        *("vanishes", "explodes", "kept, repels", "critical $C_W$")
    }
    K1, layers = named(survival)["grown"].get_data()
    assert np.interp(1e-3, K1, layers) == pytest.approx(53, abs=2)
    guide = named(survival)["$1/(a_1 K_1)$"]
    assert guide.get_ydata() * guide.get_xdata() == pytest.approx(1 / 18)


def test_gelu_has_its_point_in_three_panels():
    kernels, ratio, phases, _ = activation_figure("gelu").axes
    assert {"attracts: 3.035", "from one side: 3.562"} <= set(named(kernels))
    for axes in (ratio, phases):
        marks = [line for line in axes.get_lines() if line.get_marker() == "D"]
        assert len(marks) == 1
    assert "1.98306" in kernels.figure.get_suptitle()


def test_without_a_point_usual_weights_are_drawn_and_those_that_keep_one():
    kernels, ratio, phases, survival = activation_figure("repu2").axes
    names = set(named(kernels))
    assert {"$C_W$ = 1/3 (torch)", "$C_W$ = 2 (He)", "$C_W$ = 0.6667, keeps $K$ = 1", "repels: 1"} <= names
    assert ratio.get_lines()[1].get_ydata() == pytest.approx(1.5)
    assert "critical" not in str([text.get_text() for text in phases.get_legend().get_texts()])
    assert {"grown", "shrunk"} <= set(named(survival))
    assert "no critical initialisation" in kernels.figure.get_suptitle()


def test_relu_keeps_every_kernel():
    kernels, _, _, survival = activation_figure("relu").axes
    assert any("every kernel stays" in text.get_text() for text in kernels.texts)
    assert any("no kernel changes tenfold" in text.get_text() for text in survival.texts)


def test_a_jump_is_said_in_the_place_of_the_ratio():
    ratio = activation_figure("hardshrink").axes[1]
    assert [text.get_text() for text in ratio.texts] == ["infinite slope at a jump"]


@pytest.mark.parametrize("function", ["selu", "cos", own, "softplus"], ids=["selu", "cos", "own", "softplus"])
def test_the_axes_of_others_are_finite(function):
    figure = activation_figure(function)
    limits = [limit for axes in figure.axes for limit in (*axes.get_xlim(), *axes.get_ylim())]
    assert all(map(math.isfinite, limits))
    assert len(figure.axes) == 4


def test_what_explodes_at_a_finite_kernel_is_coloured_to_the_top():
    phases = activation_figure(lambda z: torch.exp(z * z / 8)).axes[2]
    mesh = phases.collections[0]
    assert mesh.get_array().reshape(-1, 201)[-1].tolist() == [2] * 201
