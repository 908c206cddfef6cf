"""Kernels and gradients against depth: known answers, an independent simulation, and claims on made data."""

import math

import numpy as np
import pytest
import torch

from one_part import analysed, checks, config, draw, run
from phasescope import theory
from phasescope.papers import perceptrons, rectified_power
from phasescope.papers.rectified_power import propagation
from phasescope.papers.rectified_power.propagation import MAPS, PROPAGATION, ROWS, Row
from phasescope.sweep.task import Task

pytestmark = pytest.mark.whole

TINY = config(
    "propagation.width=40",
    "propagation.depth=12",
    "propagation.networks=4",
    "propagation.mapped=3",
    "propagation.layers=60",
    "propagation.survivors=3",
    study=rectified_power.STUDY,
)
LOG10 = math.log(10)


def measured(kind, activation, networks, row=-1, width=200, depth=30):
    known = {"kind": kind, "activation": activation, "networks": networks, "row": row, "seed": 5}
    task = Task("rectified_power", "propagation", known | {"width": width, "depth": depth})
    return propagation.measure(task, "cpu")


def place(name, C_W, K1):
    """The start with those variances."""
    return next(
        i for i, r in enumerate(ROWS) if (r.activation, r.C_W) == (name, C_W) and abs(r.K1 / K1 - 1) < 2e-3
    )


def carried_kernels(activation, K1, power, networks=3, depth=6):
    made = propagation.networks_of(Row(activation, 1.0, 1.0), 50, depth, range(networks), "cpu")
    with torch.no_grad(), np.errstate(all="ignore"):
        layers = list(
            perceptrons.log_kernels(perceptrons.carried(made, propagation._inputs([K1], "cpu"), power))
        )
    return made, torch.cat(layers, 1)


def test_the_scale_that_is_carried_apart_changes_no_kernel():
    made, kernels = carried_kernels("repu2", 0.7, 2)
    x = math.sqrt(0.7) * torch.ones(1, 10, dtype=torch.float64)
    plain = torch.cat([z.square().mean(-1) for z in made.preactivations(x)], 1).detach()
    assert torch.allclose(kernels, plain.log(), rtol=1e-12)


def test_a_kernel_beyond_float64_is_known_for_repu_from_its_homogeneity():
    _, near = carried_kernels("repu3", 0.5, 3, depth=12)
    _, far = carried_kernels("repu3", 5.0, 3, depth=12)
    powers = 3.0 ** torch.arange(12, dtype=torch.float64)
    assert torch.allclose(far, near + powers * LOG10, rtol=1e-12)
    assert float(far[0, -1]) > 1e5


def test_torchs_default_for_repu_is_what_plain_networks_with_biases_show():
    row = place("repu2", 1 / 3, 1 / 3 + 1 / 30)
    networks = propagation.networks_of(ROWS[row], 200, 8, range(3), "cpu")
    with torch.no_grad():
        found = torch.cat(
            list(
                perceptrons.log_kernels(perceptrons.carried(networks, propagation._inputs([1.0], "cpu"), 2))
            ),
            1,
        )
    plain = networks.preactivations(torch.ones(1, 10, dtype=torch.float64))
    assert torch.allclose(found, torch.cat([z.square().mean(-1).log() for z in plain], 1), rtol=1e-10)


def test_an_activation_that_masks_nan_does_not_hide_a_lost_network():
    def masked(z):
        return torch.where(z > -1, z * (z + 1) ** 3, 0.0)

    made = propagation.networks_of(Row("mrepu3", 1.0, 1.0), 50, 12, range(2), "cpu")
    made.activation = masked
    with torch.no_grad():
        layers = list(perceptrons.carried(made, propagation._inputs([1.0], "cpu")))
        kernels = torch.cat(list(perceptrons.log_kernels(iter(layers))), 1)
    assert float(layers[-1][0].square().sum()) == 0  # what a look at the last layer shows
    assert bool((kernels[:, -1] == torch.inf).all())
    assert float(kernels[:, 0].abs().max()) < 1


def test_a_gradient_is_that_of_autograd():
    row = place("mrepu2", 1.0, 0.01)
    known = {"row": row, "width": 30, "depth": 5}
    with torch.no_grad():
        found = propagation._depth(known, range(7, 9), "cpu")
    networks = propagation.networks_of(ROWS[row], 30, 5, range(7, 9), "cpu")
    networks.activation = networks.activation.function  # as torch differentiates it
    layers = networks.preactivations(torch.ones(1, 10, dtype=torch.float64))
    v = propagation._random(layers[-1], range(7, 9))
    (first,) = torch.autograd.grad((layers[-1] * v).sum(), layers[0])
    growth = (first.square().sum(-1) / v.square().sum(-1)).log()[:, 0]
    assert torch.allclose((found["own"] + found["excess"]).sum(1), growth, rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "C_W", "log10"),
    [("repu2", 1.0, 90), ("mrepu2", 1.0, 0.623), ("gelu", 2.0, -1.27)],
)
def test_infinitely_wide_kernels_at_layer_10(name, C_W, log10):
    K1 = {"repu2": 1.0, "mrepu2": 0.01, "gelu": 1.0}[name]
    found = propagation.infinitely_wide(ROWS[place(name, C_W, K1)], 30)
    assert found[9] / LOG10 == pytest.approx(log10, abs=0.02)
    assert math.isinf(found[29]) == (name == "mrepu2")


def test_boundaries_of_infinite_width_are_those_of_the_table():
    table = {("repu2", 1.0): 0.6667, ("repu3", 1.0): 0.3651, ("repu2", 2.0): 0.3333}
    table |= {
        ("mrepu1", 0.8): 0.0834,
        ("mrepu1", 0.3): 0.881,
        ("mrepu2", 0.5): 0.0532,
        ("mrepu2", 0.3): 0.118,
    }
    for (name, C_W), K in table.items():
        assert math.exp(propagation.boundary(name, C_W, 200)[0]) == pytest.approx(K, rel=0.01)
    # RePU: chi_par = p, kappa = 67/3 for p = 2.
    _, shift, spread = propagation.boundary("repu2", 1.0, 200)
    assert shift == pytest.approx(67 / 3 / 400)
    assert spread == pytest.approx(math.sqrt(67 / 3 / 200 / 3))


def test_a_boundary_is_read_between_the_last_decay_and_the_first_growth():
    variances, kernels = MAPS["repu2"]
    grown = np.zeros((2, len(variances), len(kernels)))
    grown[0, :, 20:] = 1
    found = propagation.edges(propagation.Numbers({}, {"repu2": {"grown": grown}}, {}, {}, 200), "repu2")
    assert found[1.0][0] == pytest.approx(np.log(kernels[19:21]).mean())
    assert math.isnan(found[1.0][1])  # never grows within the map


def test_a_layer_answers_along_and_across_its_input_as_closed_forms_say():
    found = measured("chi", "repu2", 60)
    for place_, K in ((1, 1e-2), (2, 1.0)):
        along, across = theory.repu_susceptibilities(2, K, 1.0)
        for name, expected in (("parallel", along), ("perpendicular", across)):
            values = found[name][:, place_]
            error = values.std() / math.sqrt(len(values))
            assert values.mean() == pytest.approx(expected, abs=4 * error + 0.02 * expected)


def test_a_tiny_study_draws_and_says_the_same_things(tmp_path):
    data, analysis, found = run(PROPAGATION, TINY, tmp_path)
    assert found["published-repu2"].verdict == "disagrees"
    assert found["published-repu2"].measured.value == pytest.approx(3.0, rel=0.3)
    assert found["double-exponential-repu2"].verdict == "agrees"
    assert found["keeps-large"].verdict == "disagrees"
    assert found["a1-mrepu3"].measured.value == pytest.approx(45, rel=1e-5)
    assert len(analysis.tables[0].rows) == len(ROWS)
    sizes = draw(PROPAGATION, data, TINY)
    assert len(sizes) == 3
    assert min(sizes) > 15_000

    # Kernels that stay where they begin contradict RePU's claims, and MRePU then keeps its scale.
    still = data.copy(deep=True)
    still["kernel"] = still["kernel"].where(still["kernel"].isnull(), 0.1)
    told = checks(analysed(PROPAGATION, still, TINY).checks)
    assert told["no-start-keeps"].verdict == "disagrees"
    assert told["keeps-large"].verdict == "agrees"


# Medians of log10 K at layers 5, 10, 20, 30 of 20 networks, from another program, and how many overflow.
REFERENCE = {
    ("repu2", 1.0, 1.0): ((2.24, 81), 19),
    ("repu2", 1.0, 0.5): ((-2.57, -73), 3),
    ("repu2", 1.0, 2 / 3): ((-0.57, -9.1), 9),
    ("repu2", 2.0, 1 / 3): ((-0.89, -9.4), 9),
    ("repu3", 1.0, 0.5): ((6.5,), 17),
    ("repu3", 1.0, 0.3): ((-11.5,), None),
    ("repu3", 1.0, 0.3651): ((-4.57,), 7),
    ("mrepu1", 1.0, 0.05): ((-1.097, -0.456), 20),
    ("mrepu2", 1.0, 1.0): ((50.8,), 20),
    ("mrepu2", 1.0, 0.1): ((7.8,), 20),
    ("mrepu2", 1.0, 0.01): ((-1.747, -0.44), 20),
    ("mrepu2", 1.0, 0.001): ((-3.03, -2.94, -2.93, -2.87), 0),
    ("mrepu2", 0.9, 0.003): ((None, None, None, -3.74), 0),
    ("mrepu3", 1.0, 0.01): ((-0.714,), 20),
    ("mrepu3", 1.0, 0.001): ((-3.0, -2.82, -2.51, -1.97), 7),
    ("mrepu3", 1.0, 1e-4): ((None, None, None, -4.0), 0),
    ("relu", 2.0, 1.0): ((-0.018, 0.0, -0.076, -0.328), 0),
    ("tanh", 1.0, 1.0): ((-0.907, -1.25, -1.57, -1.82), 0),
    ("gelu", 1.98305826, 3.56155281): ((0.544, 0.477, 0.491, 0.531), 0),
    ("gelu", 2.0, 1.0): ((-0.357, -1.456, -4.4, -7.4), 0),
    ("silu", 1.98800468, 14.32017362): ((1.14, 1.07, 1.11, 1.13), 0),
}


def against_the_reference(key, networks):
    medians, overflows = REFERENCE[key]
    kernel = measured("depth", key[0], networks, place(*key))["kernel"]
    for layer, expected in zip((5, 10, 20, 30), medians, strict=False):
        if expected is None:
            continue
        values = kernel[:, layer - 1] / LOG10
        # Standard errors of two medians; the spread from quantiles, as far networks are infinitely far.
        low, high = np.quantile(values, [0.16, 0.84], method="nearest")
        error = 1.25 * (high - low) / 2 * math.sqrt(1 / networks + 1 / 20)
        assert np.median(values) == pytest.approx(expected, abs=4 * error + 0.02), (key, layer)
    if overflows is not None:
        share, theirs = (kernel > propagation._OVERFLOW).any(1).mean(), overflows / 20
        middle = (share * networks + overflows) / (networks + 20)
        error = math.sqrt(max(middle * (1 - middle), 0.02) * (1 / networks + 1 / 20))
        assert share == pytest.approx(theirs, abs=3.5 * error), key


@pytest.mark.parametrize("key", [("repu2", 1.0, 2 / 3), ("mrepu3", 1.0, 0.001)])
def test_networks_behave_as_in_an_independent_simulation(key):
    against_the_reference(key, 12)


@pytest.mark.slow
@pytest.mark.parametrize("key", REFERENCE)
def test_every_start_behaves_as_in_an_independent_simulation(key):
    against_the_reference(key, 30)


def test_survival_at_infinite_width_is_that_of_the_table():
    table = {
        ("mrepu1", 0.1): 5,
        ("mrepu1", 0.01): 33,
        ("mrepu2", 0.1): 2,
        ("mrepu2", 0.01): 7,
        ("mrepu2", 1e-3): 53,
    }
    for (name, K1), layers in table.items():
        assert theory.survival_depth(name, K1) == layers


@pytest.mark.slow
def test_networks_survive_as_long_as_infinitely_wide_ones():
    found = measured("survival", "mrepu2", 12)
    at = int(np.argmin(np.abs(propagation._SMALL - 1e-2)))
    assert np.median(found["survival"][:, at]) == pytest.approx(found["lasting"][at], abs=1)
    assert found["lasting"][-1] == 2  # K_1 = 0.1


@pytest.mark.slow
def test_ln_k_of_repu2_spreads_by_its_law_within_20_percent():
    kernel = measured("depth", "repu2", 200, place("repu2", 1.0, 1.0), depth=10)["kernel"]
    assert kernel[:, -1].std() / LOG10 == pytest.approx(48.4, rel=0.2)
