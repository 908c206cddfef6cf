import functools
import json

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.scaling import CRITICAL_PROBABILITY, branching, directed_percolation, identify_class

TIMES = np.unique(np.geomspace(1, 1e4, 80).round())


@functools.cache
def percolation(shift=0.0, size=4096, steps=2000, seed=2, runs=64):
    runs = directed_percolation(CRITICAL_PROBABILITY[1, "bond"] + shift, size, steps, seed=seed, runs=runs)
    return runs.time.values, runs.density.values


def noisy(law, *, runs=64, scatter=0.01, seed=0):
    """Runs around a law whose noise lasts: a walk in ln t and white noise."""
    rng = np.random.default_rng(seed)
    steps = scatter * rng.standard_normal((2, runs, len(TIMES)))
    return law(TIMES) * np.exp(np.cumsum(steps[0], axis=1) / 2 + steps[1])


def test_critical_percolation_is_directed_percolation_and_nothing_else():
    report = identify_class(*percolation(), dimensions=1)
    assert report.verdict == "DP 1+1"
    assert report["mean field"].verdict == report["bounded KPZ 1+1"].verdict == "excluded"
    found = report["DP 1+1"].exponent
    assert abs(found.value - 0.159464) < 3 * found.error


def test_knowing_that_it_is_critical_sharpens_the_exponent():
    free = identify_class(*percolation(), dimensions=1)["DP 1+1"].exponent
    known = identify_class(*percolation(), dimensions=1, known_critical=True)["DP 1+1"].exponent
    assert known.error < free.error / 1.5
    assert abs(known.value - 0.159464) < 3 * known.error < 3 * 0.05 * 0.159464


@pytest.mark.parametrize("dimensions", [None, 1])
def test_branching_is_mean_field_and_told_apart_from_percolation(dimensions):
    runs = branching(0.5, 10**8, 1000, seed=50)
    report = identify_class(runs.time.values, runs.density.values, dimensions=dimensions)
    assert report["mean field"].verdict == "supported"
    assert report["DP 1+1"].verdict == "excluded"
    found = report["mean field"].exponent
    assert abs(found.value - 1) < 3 * found.error < 0.02


@pytest.mark.parametrize("shift", [-0.01, -0.003, 0.003, 0.01])
def test_percolation_off_criticality_is_no_class_and_excludes_not_its_own(shift):
    report = identify_class(*percolation(shift, seed=3), dimensions=1)
    assert report.verdict == "not determined"
    assert report["DP 1+1"].verdict == "not determined"
    assert "off criticality" in report.reason.lower()


@pytest.mark.parametrize("shift", [-0.005, -0.001, 0.001, 0.005])
def test_branching_off_criticality_is_no_class(shift):
    runs = branching(0.5 + shift, 10**8, 1000, seed=10)
    report = identify_class(runs.time.values, runs.density.values)
    assert report.verdict == "not determined"
    assert report["mean field"].verdict == "not determined"


@pytest.mark.parametrize(
    "law",
    [
        lambda t: np.exp(-t / 100),
        lambda t: np.exp(-t / 3000),
        lambda t: np.exp(-t / 1e5),
        lambda t: np.exp(-0.25 * t**0.2),
        lambda t: np.exp(-(t**0.1)),
        lambda t: np.exp(-0.01 * t**0.5),
        lambda t: 1 / np.log(t + 2),
        lambda t: t**-0.3,
        lambda t: t**-0.8,
        lambda t: t**-2.0,
        lambda t: np.exp(-t / 1000) / t,
        lambda t: t**-0.1 + 0.3 * t**-0.5,
        lambda t: 0.3 + 0.5 * t**-0.5,
        np.ones_like,
    ],
)
def test_other_laws_are_no_class(law):
    report = identify_class(TIMES, noisy(law))
    assert report.verdict == "not determined"
    assert not any(candidate.verdict == "supported" for candidate in report.candidates)


def test_a_law_of_a_class_is_recognised_through_noise():
    # What the other laws are refused for is not the noise.
    for exponent, name in ((0.159464, "DP 1+1"), (0.4505, "DP 2+1"), (1.184, "bounded KPZ 1+1")):
        assert identify_class(TIMES, noisy(lambda t, e=exponent: t**-e)).verdict == name


@pytest.mark.parametrize("strength", [0.01, 0.03, 0.1])
def test_noise_common_to_a_run_is_refused_however_well_its_mean_scales(strength):
    # The mean is t^-0.159464 by construction; the typical run decays exponentially.
    rng = np.random.default_rng(1)
    walk = np.cumsum(strength * rng.standard_normal((64, 10000)), axis=1)
    clock = np.arange(1, 10001.0)
    runs = clock**-0.159464 * np.exp(walk - strength**2 * clock / 2)
    report = identify_class(TIMES, runs[:, TIMES.astype(int) - 1])
    assert report.verdict == "not determined"
    assert any("mean and typical" in note for note in report.notes)


def logistic(drift, strength, runs, steps, seed):
    """Runs of ``d rho/dt = (drift + noise) rho - rho^2``, solved exactly from step to step, at 50 times.

    With the noise of a step applied first, ``1/rho' = 1/(rho e^w) + 1``.
    """
    rng = np.random.default_rng(seed)
    times = np.unique(np.geomspace(1, steps, 50).round().astype(int))
    logs, kept = np.zeros(runs), []
    for step in range(1, steps + 1):
        logs = logs + drift + strength * rng.standard_normal(runs)
        logs = logs - np.log1p(np.exp(logs))
        if step in times:
            kept.append(np.exp(logs))
    return times, np.stack(kept, axis=1)


def test_common_noise_is_temporal_disorder_and_nothing_else():
    times, density = logistic(0.0, 0.8, 3000, 1000, seed=2)
    report = identify_class(times, density, known_critical=True)
    assert report.verdict == "temporal disorder"
    assert report.reason.startswith("delta = ")
    found = report["temporal disorder"].exponent
    assert abs(found.value - 0.5) < 3 * found.error < 0.3
    assert "reflected random walk" in report["temporal disorder"].reason
    assert all(row.verdict == "excluded" for row in report.candidates[:4])
    assert all("mean and typical run part" in row.reason for row in report.candidates[:4])
    # E rho = sqrt(D/(2 pi t)) from the exponential functional of Brownian motion; some 100 runs carry it.
    late = times > 100
    expected = 0.8 / np.sqrt(2 * np.pi * times[late])
    assert np.log(density.mean(axis=0)[late] / expected).mean() == pytest.approx(0, abs=0.25)
    assert max(map(len, str(report).splitlines())) <= 80


@pytest.mark.parametrize("drift", [-0.05, 0.05])
def test_common_noise_off_its_critical_point_is_no_class(drift):
    report = identify_class(*logistic(drift, 0.55, 1000, 1000, seed=5))
    assert report.verdict == "not determined"


def test_the_first_sentence_says_what_decided():
    times, density = percolation()
    assert identify_class(times, density, dimensions=1).reason.startswith("delta = 0.1")
    short = identify_class(times[times < 60], density[:, times < 60])
    assert short.reason.startswith("Too short: t = 10 to 59")
    small = identify_class(*percolation(size=128, steps=4000), window=(100, 4000))
    assert small.reason.startswith("Cut at t = 132: from there on mean and typical run part")
    off = identify_class(*percolation(-0.01, seed=3), dimensions=1)
    assert "off criticality" in off.reason.split(".")[0]
    strange = identify_class(TIMES, noisy(lambda t: t**-2.0))
    assert strange.reason.startswith("None of the known classes fits")
    assert "The nearest is" in strange.reason


def test_a_small_system_is_cut_where_it_feels_its_size():
    report = identify_class(*percolation(size=128, steps=4000))
    assert report.verdict == "not determined"
    assert "finite size" in report.notes[0]
    # By t = 400 the correlation length t^(1/1.58) is a third of the 128 sites.
    assert report.window is None or report.window[1] < 400


def test_runs_that_are_exactly_proportional_have_an_exact_exponent():
    amplitudes = 1 + 1e-3 * np.random.default_rng(0).standard_normal((20, 1))
    report = identify_class(TIMES, amplitudes * TIMES**-0.159464)
    assert report.verdict == "DP 1+1"
    assert report["DP 1+1"].exponent.value == pytest.approx(0.159464, abs=1e-6)


def test_too_short_and_too_few_are_refused():
    times, density = percolation()
    short = identify_class(times[times < 60], density[:, times < 60])
    assert short.verdict == "not determined"
    assert "Too short" in short.reason
    few = identify_class(times, density[:5])
    assert few.verdict == "not determined"
    assert "5 runs are too few" in few.reason
    decade = identify_class(times[times <= 110], density[:, times <= 110], dimensions=1)
    assert decade.verdict == "not determined"


def test_a_window_is_kept_to():
    report = identify_class(*percolation(), dimensions=1, window=(20, 1000))
    assert report.window[0] >= 20
    assert report.window[1] <= 1000


def test_the_table_is_narrow_and_the_dictionary_is_json():
    for report in (
        identify_class(*percolation()),
        identify_class(*percolation(-0.01, seed=3)),
        identify_class(*percolation(size=128, steps=4000)),
    ):
        assert max(map(len, str(report).splitlines())) <= 80
        again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert [row["name"] for row in again["candidates"]] == [row.name for row in report.candidates]
        assert all(row["reason"] for row in again["candidates"])


def test_dimensions_choose_the_candidates():
    times, density = percolation()
    names = {None: 6, 1: 5, 2: 4}
    for dimensions, count in names.items():
        assert len(identify_class(times, density, dimensions=dimensions).candidates) == count
    assert "DP 1+1" not in str(identify_class(times, density, dimensions=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": TIMES[:-1]}, "density has shape"),
        ({"density": np.ones(len(TIMES))}, "density has shape"),
        ({"times": TIMES - 1}, "do not ascend"),
        ({"times": TIMES[::-1]}, "do not ascend"),
        ({"density": -np.ones((9, len(TIMES)))}, "negative"),
        ({"density": np.full((9, len(TIMES)), np.nan)}, "not finite"),
        ({"density": np.ones((9, len(TIMES))) + 0j}, "density is complex"),
        ({"density": np.full((9, len(TIMES)), 1e307)}, "largest density is 1e[+]307"),
        ({"dimensions": 3}, "dimensions = 3"),
        ({"start": "half"}, "start = 'half'"),
        ({"critical": 0.5}, "critical = 0.5"),
        ({"control": [0.1, 0.2]}, r"2 control value\(s\)"),
        ({"control": [0.1, 0.2, 0.3]}, "density has shape"),
        ({"control": [0.1, 0.2, 0.3], "critical": 0.5}, "critical = 0.5"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"times": TIMES, "density": np.ones((9, len(TIMES)))} | change
    with pytest.raises(InputError, match=message):
        identify_class(**arguments)


@pytest.mark.parametrize("critical", [None, 0.5])
def test_several_control_values_give_nu_par(critical):
    control = 0.5 + np.array([-4, -2, -1, 0, 1, 2, 4]) * 1e-3
    curves = [branching(p, 10**8, 1000, seed=50 + i) for i, p in enumerate(control)]
    report = identify_class(
        curves[0].time.values,
        np.stack([curve.density.values for curve in curves]),
        control=list(control),
        critical=critical,
    )
    assert report["mean field"].verdict == "supported"
    nu_par = report["mean field"].nu_par
    assert abs(nu_par.value - 1) < 3 * nu_par.error < 0.3
    assert max(map(len, str(report).splitlines())) <= 80
    if critical is None:
        where = report.collapse.exponents["critical"]
        assert where.value == pytest.approx(0.5, abs=1e-4)
