import itertools
import math

import numpy as np
import pytest
import xarray as xr

from one_part import analysed, checks, config, draw, run
from phasescope.errors import InputError
from phasescope.papers import absorbing
from phasescope.papers.absorbing.depth_width import DEPTH_WIDTH, width_of
from phasescope.papers.absorbing.shared import QUANTITIES

SETTINGS = config(
    "depth_width.parameters=20000,80000,320000,1280000",
    "depth_width.depths=2,3,4,6,8,12,16,24,32,48",
    "depth_width.networks=4",
)
# kappa, v, d0 of tanh at sigma_b = 0.3. Simulated paths of another program have kappa t f(t) = 0.583 at
# t = 1 and 0.354 at t = 2, so that half is lost at t = 1.3 and mu is 0.77.
POINT = {"kappa": 0.23349782, "v": 4.250, "d0": -1.854}
MU = 0.77


def synthetic(departure, kernel, settings=SETTINGS, seed=0):
    """Losses of infinite width, ``kernel(L)``, with ``departure(n/L, P)`` added to the logarithm."""
    random = np.random.default_rng(seed)
    rows = []
    for task in DEPTH_WIDTH.tasks(settings):
        known = task.parameters
        depth, count = known["depth"], known["parameters"]
        width = math.sqrt(count / depth)
        shape = (known["networks"], len(known["steps"]))
        noise = 0.003 * random.standard_normal(shape)
        loss = kernel(depth) * np.exp(departure(width / depth, count) + noise)
        rows.append((known, width, loss, np.full(shape[1], kernel(depth))))
    return xr.Dataset(
        {
            "reference": (("task", "quantity"), [[POINT.get(name, 1.0) for name in QUANTITIES]] * len(rows)),
            "width": ("task", [row[1] for row in rows]),
            "test_loss": (("task", "network", "time"), [row[2] for row in rows]),
            "accuracy": (("task", "network", "time"), [row[2] for row in rows]),
            "kernel_loss": (("task", "time"), [row[3] for row in rows]),
        },
        {name: ("task", [row[0][name] for row in rows]) for name in ("line", "parameters", "depth")},
    )


def found(departure, kernel):
    return checks(analysed(DEPTH_WIDTH, synthetic(departure, kernel), SETTINGS).checks)


def test_networks_that_need_a_fixed_ratio_of_width_to_depth():
    # The rise of 0.1 lies at n/L = 4 mu; where depth pays, the best depth follows P^(1/3).
    made = found(lambda ratio, count: 0.1 * (4 * MU / ratio) ** 2, lambda depth: 0.5 * depth**-0.2)
    assert {made[f"ratio-{line}"].verdict for line in ("one-kappa-L", "one-kappa")} == {"agrees"}
    needed = made["enough-one-kappa"]
    assert needed.measured.value == pytest.approx(4, rel=0.1)
    assert needed.verdict == "disagrees"
    assert made["optimum-one-kappa"].measured.value == pytest.approx(1 / 3, abs=0.06)
    assert made["optimum-one-kappa"].verdict == "agrees"
    assert made["parameters-one-kappa"].verdict == "agrees"
    assert made["operations-one-kappa"].verdict == "agrees"


def test_networks_for_which_depth_pays_beyond_the_width_of_signals():
    made = found(lambda ratio, count: 0.02 * MU / ratio, lambda depth: 0.5 / depth)
    assert made["parameters-one-kappa"].verdict == "disagrees"
    assert made["enough-one-kappa"].verdict in ("agrees", "not determined")


def test_a_rise_that_the_number_of_parameters_sets_is_told_apart():
    made = found(
        lambda ratio, count: 0.3 * math.log(2e6 / count) + 0.01 / ratio, lambda depth: 0.4 + 0.01 * depth
    )
    assert made["ratio-one-kappa"].verdict == "disagrees"
    assert made["optimum-one-kappa"].verdict == "not determined"


@pytest.mark.parametrize("depth", [2, 3, 20])
def test_a_width_gives_the_number_of_weights_and_biases(depth):
    width = width_of(50_000, depth, 64)
    ends = [64, *[width] * (depth - 1), 10]
    count = sum(fan_in * fan_out + fan_out for fan_in, fan_out in itertools.pairwise(ends))
    assert count == pytest.approx(50_000, rel=0.02)


def test_a_data_set_that_is_not_at_hand_is_refused():
    with pytest.raises(InputError, match="mnist=DIR"):
        DEPTH_WIDTH.tasks(config("depth_width.data_set=mnist"))


@pytest.mark.parametrize(("preset", "budget"), [("quick", 20), ("paper", 400)])
def test_presets_stay_within_their_budgets(preset, budget):
    tasks = DEPTH_WIDTH.tasks(absorbing.STUDY.presets[preset])
    assert len({task.id for task in tasks}) == len(tasks)
    assert sum(task.seconds for task in tasks) < budget


TINY = ("depth_width.parameters=1000,4000", "depth_width.train=40", "depth_width.test=60")


@pytest.mark.slow
def test_narrow_deep_networks_learn_less_than_wide_shallow_ones(tmp_path):
    settings = config("activation=erf", *TINY)
    data, _, made = run(DEPTH_WIDTH, settings, tmp_path)
    losses = data["test_loss"].values[..., -1].mean(axis=1)
    shallow, deep = (losses[data["depth"].values == depth].mean() for depth in (2, 16))
    assert deep > shallow + 0.1
    assert "P = 4000" in made["parameters-one-kappa"].note
    assert min(draw(DEPTH_WIDTH, data, settings)) > 2000


@pytest.mark.slow
def test_an_activation_without_kappa_says_so(tmp_path):
    settings = config("activation=relu", *TINY)
    data, _, made = run(DEPTH_WIDTH, settings, tmp_path)
    assert {check.verdict for check in made.values()} == {"not determined"}
    assert draw(DEPTH_WIDTH, data, settings)
