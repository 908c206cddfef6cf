"""The convolutional parts at tiny sizes: every check is there, and numbers are taken as they should be."""

import math

import numpy as np
import pytest
import xarray as xr

from phasescope.estimate import Estimate
from phasescope.papers import absorbing
from phasescope.papers.absorbing.cnn import CNN_1D, CNN_2D
from phasescope.papers.absorbing.cnn.numbers import (
    Curves,
    at_control,
    collect,
    curvature_of,
    fluctuation_slope,
    resampled,
    slope_of,
    straightest,
    zero_of_growth,
)
from phasescope.papers.absorbing.cnn.sampling import recorded_layers
from phasescope.studies import Study, run

TINY = {
    "shifts": (0.1, 0.4, 0.7),
    "local_shifts": (-0.1, 0.0, 0.1),
    "seed_shifts": (0.2, 0.4),
    "channels": 4,
    "depth": 40,
    "first": 4,
    "discard": 10,
    "points": 12,
    "batch": 4,
    "batches": 2,
    "uniform_batches": 1,
    "local_size": 8,
    "local_depth": 30,
    "local_batches": 4,
    "fluctuation_sizes": (2, 4),
    "fluctuation_depth": 5,
    "fluctuation_batches": 1,
    "seed_size": 9,
    "seed_depth": 5,
    "seed_batches": 2,
    "sizes": (3, 6),
}
IDS = {
    "critical-point",
    "uniform-rows-stable",
    "tuned-point",
    "mean-decay",
    "tuned-decay",
    "typical-decay",
    "collapse-mean",
    "collapse-typical",
    "collapse-random-walk",
    "uniform-critical-point",
    "collapse-delta",
    "collapse-nu",
    "self-averaging-shared",
    "self-averaging-local",
    "local-critical-point",
    "local-decay",
    "local-class",
    "seed-mass",
    "seed-survival",
}


STUDY = Study("absorbing", "title", "summary", "source", (CNN_1D, CNN_2D))


def tiny(**common):
    quick = absorbing.STUDY.presets["quick"]
    own = {name: getattr(quick, name).model_copy(update=TINY) for name in ("cnn_1d", "cnn_2d")}
    return quick.model_copy(update=own | common)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run(STUDY, tiny(), tmp_path_factory.mktemp("tiny"))


def test_every_check_and_figure_is_there(done):
    assert done.failed == {}
    assert {check.id for check in done.checks} == {f"cnn-{d}d/{id}" for d in (1, 2) for id in IDS}
    for part in ("cnn-1d", "cnn-2d"):
        assert [picture.name for picture in done.pictures[part]] == [
            "decay",
            "exponent",
            "collapse",
            "control",
        ]
    expected = {check.id: check.expected for check in done.checks}
    # delta and 1/nu_par of directed percolation: Jensen 1999; Voigt and Ziff 1997.
    assert expected["cnn-1d/mean-decay"] == pytest.approx(0.27649 / 1.73385, rel=1e-4)
    assert expected["cnn-1d/collapse-nu"] == pytest.approx(1 / 1.73385, rel=1e-4)
    assert expected["cnn-2d/mean-decay"] == pytest.approx(0.4505)
    assert all(check.claim.endswith(".") for check in done.checks)


def test_tasks_measure_what_their_parameters_say(done):
    data = done.data["cnn-1d"].to_dataset()
    for size in (3, 6):
        curves = collect(data, kind="decay", size=size)
        assert len(curves) == 3
        assert all(curve.networks == 8 for curve in curves)
        assert curves[0].layers[-1] == 40
    local = collect(data, kind="local")
    assert all(curve.networks == 4 for curve in local)
    # tanh at sigma_b = 0.3: 1.39558 at infinite width, 1.854/(0.6044 n) above it at n neurons.
    shifts = (np.array([curve.sigma_w for curve in local]) - 1.39558) / (1.854 / 0.6044 / 4)
    np.testing.assert_allclose(shifts, TINY["local_shifts"], atol=1e-3)
    seeds = collect(data, kind="seed")
    assert np.isfinite(seeds[0]["log_mass"]).all()
    assert not np.isfinite(seeds[0]["log_growth"]).any()


def test_an_activation_without_a_critical_line_leaves_every_check_open(tmp_path):
    done = run(STUDY, tiny(activation="relu"), tmp_path, parts=["cnn-1d"])
    assert done.failed == {}
    assert {check.id for check in done.checks} == {f"cnn-1d/{id}" for id in IDS}
    assert {check.verdict for check in done.checks} == {"not determined"}


def test_every_task_of_the_presets_lasts_from_a_tenth_of_a_second_to_a_minute():
    for preset, budgets in {"quick": (80, 50), "paper": (1500, 1500)}.items():
        for part, budget in zip((CNN_1D, CNN_2D), budgets, strict=True):
            seconds = [task.seconds for task in part.tasks(absorbing.STUDY.presets[preset])]
            assert sum(seconds) < budget
            assert max(seconds) < 60


def walkers(sigma_w, drift, *, networks=200, seed=0):
    """Networks whose ln rho falls as -drift ln l, and whose tangents keep their size at 1.5."""
    rng = np.random.default_rng(seed)
    layers = recorded_layers(1000, 20).astype(float)
    logs = -drift * np.log(layers) + 0.3 * rng.standard_normal((networks, 1))
    growth = 2 * (sigma_w - 1.5) * layers + 0.1 * rng.standard_normal((networks, 1)) * layers
    return Curves(
        sigma_w, layers, {"log_distance": logs, "typical_log_distance": logs - 0.5, "log_growth": growth}
    )


def test_zero_slope_and_interpolation_of_known_curves():
    curves = [walkers(s, d, seed=k) for k, (s, d) in enumerate([(1.4, 0.6), (1.5, 0.4), (1.6, 0.2)])]
    zero = zero_of_growth(curves, 10)
    assert abs(zero.value - 1.5) < 4 * zero.error
    # The mean of three errors of 0.1/2/sqrt(200), at a slope of 1.
    assert 0.001 < zero.error < 0.006
    drawn = resampled(curves, [slope_of(10), slope_of(10, statistic="typical")], 0)
    slope = at_control(curves, drawn[0], Estimate(1.55, 0.0, "", 1), 0, "")
    assert slope.value == pytest.approx(-0.3)
    shifted = at_control(curves, drawn[1], Estimate(1.5, 0.05, "", 1), 0, "")
    # The slope changes by 2 for each unit of sigma_w.
    assert shifted.value == pytest.approx(-0.4)
    assert shifted.error == pytest.approx(0.1, rel=0.2)


def test_the_straightest_mean_lies_between_two_that_bend():
    curves = []
    for k, sigma_w in enumerate((1.4, 1.5, 1.6)):
        straight = walkers(sigma_w, 0.5, seed=k)
        bend = 0.1 * (sigma_w - 1.47) * np.log(straight.layers) ** 2
        curves.append(
            Curves(
                sigma_w, straight.layers, {"log_distance": straight["log_distance"] + bend, **{
                    name: straight[name] for name in ("typical_log_distance", "log_growth")
                }},
            )
        )  # fmt: skip
    drawn = resampled(curves, [curvature_of(1), slope_of(1)], 0)
    tuned, slope = straightest(curves, drawn[0], drawn[1])
    assert tuned.value == pytest.approx(1.47, abs=1e-6)
    assert slope.value == pytest.approx(-0.5, abs=1e-6)
    level = [walkers(s, 0.5, seed=1) for s in (1.4, 1.5)]
    bent = resampled([Curves(c.sigma_w, c.layers, {**c.values, "log_distance": c["log_distance"] - np.log(
        c.layers) ** 2}) for c in level], [curvature_of(1)], 0)  # fmt: skip
    assert not straightest(level, bent[0], bent[0])[0].determined


def test_the_spread_of_independent_sites_falls_with_their_root():
    rng = np.random.default_rng(3)
    layers = np.array([1.0, 10.0])
    groups = []
    for sites in (4, 16, 64):
        growth = np.stack([np.zeros(400), rng.standard_normal(400) / math.sqrt(sites)], axis=1)
        groups.append(Curves(1.5, layers, {"log_growth": growth, "log_distance": growth}))
    slope, spread = fluctuation_slope(groups, (4, 16, 64), 0)
    assert abs(slope.value + 0.5) < 4 * slope.error
    # The standard deviation of a normal sample of 400 has an error of 1/sqrt(800).
    assert spread[1] / spread[0] == pytest.approx(1 / math.sqrt(800), rel=0.3)


def test_padding_is_left_out():
    data = xr.Dataset(
        {
            "recorded_layer": (("task", "point"), [[1.0, 5.0, math.nan]]),
            "log_distance": (
                ("task", "network", "point"),
                [[[0.0, -1.0, math.nan], [0.0, -2.0, math.nan], [math.nan] * 3]],
            ),
        },
        coords={"kind": ("task", ["decay"]), "sigma_w": ("task", [1.5]), "networks": ("task", [2])},
    )
    (curve,) = collect(data, kind="decay")
    assert curve.layers.tolist() == [1.0, 5.0]
    assert curve["log_distance"].tolist() == [[0.0, -1.0], [0.0, -2.0]]
