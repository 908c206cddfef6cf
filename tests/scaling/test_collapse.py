import math

import numpy as np
import pytest

from phasescope.citations import BIBTEX
from phasescope.errors import InputError
from phasescope.scaling import collapse
from reference.houdayer_hartmann import quality, scaled

SIZES = (50, 100, 200, 400)


def finite_width(seed, *, relative=0.02, correction=0.0, sizes=SIZES, exponent=1.0, points=20):
    """``n^-1 f(l/n)`` with ``f(t) = 1/(t + t^2)``, a correction ``exp(c/n)`` and normal noise."""
    random = np.random.default_rng(seed)
    curves = {"x": [], "y": [], "size": list(sizes), "errors": []}
    for n in sizes:
        t = np.geomspace(0.1, 3, points)
        exact = n**-exponent / (t + t**2) * math.exp(correction / n)
        curves["x"].append(t * n)
        curves["y"].append(exact * (1 + relative * random.standard_normal(points)))
        curves["errors"].append(relative * exact)
    return curves


def ising(seed, *, relative=0.01, points=15):
    """A magnetisation with the exponents of the two-dimensional Ising model and a function of our own."""
    random = np.random.default_rng(seed)
    curves = {"x": [], "y": [], "size": [8, 16, 32, 64], "errors": []}
    for size in curves["size"]:
        T = np.linspace(2.1, 2.45, points)
        u = (T - 2.269185) * size
        exact = size**-0.125 * (1 + np.exp(1.5 * u)) ** -0.125 * (1 + 0.3 / (1 + u**2))
        curves["x"].append(T)
        curves["y"].append(exact * (1 + relative * random.standard_normal(points)))
        curves["errors"].append(relative * exact)
    return curves


def depths(seed, *, networks=40, delta=0.159, nu=1.734):
    """``l^-delta F(tau l^(1/nu))`` along l, a curve for each tau; logarithms of networks walk at random."""
    random = np.random.default_rng(seed)
    layers = np.geomspace(10, 3000, 25)
    curves = {"x": [], "y": [], "size": []}
    for tau in (-0.03, -0.01, -0.003, 0.0, 0.003, 0.01, 0.03):
        u = tau * layers ** (1 / nu)
        exact = layers**-delta * (u + np.sqrt(u * u + 1)) ** 0.277
        steps = 0.03 * random.standard_normal((networks, layers.size))
        curves["x"].append(1.5 + tau)
        curves["size"].append(layers)
        curves["y"].append(exact * np.exp(np.cumsum(steps, axis=1)))
    return curves


def assert_found(result, **truth):
    for name, value in truth.items():
        found = result.exponents[name]
        assert found.value == pytest.approx(value, abs=4 * found.error), name


def test_finite_width_scaling():
    result = collapse(**finite_width(0))
    assert_found(result, a=1.0, b=-1.0)
    assert result.exponents["a"].error < 0.05
    assert 0.6 < result.quality < 1.5
    assert result.p_value > 0.01
    assert result.overlap > 0.9
    t = result.master_x
    inside = (t > 0.12) & (t < 2.5)
    assert result.master_y[inside] == pytest.approx((1 / (t + t**2))[inside], rel=0.1)


def test_before_and_after_are_side_by_side():
    curves = finite_width(0)
    result = collapse(**curves, fixed={"a": 1.0, "b": -1.0})
    for curve, x, y, n in zip(result.curves, curves["x"], curves["y"], SIZES, strict=True):
        assert curve.x == pytest.approx(x)
        assert curve.y == pytest.approx(y, rel=1e-3)
        assert curve.scaled_x == pytest.approx(x / n)
        assert curve.scaled_y == pytest.approx(curve.y * n)
        assert curve.corrected_y == pytest.approx(curve.scaled_y)
    assert result.exponents["a"].error == 0
    assert "(held)" in str(result)


def test_competing_exponents_on_equal_footing():
    curves = finite_width(0)
    right = collapse(**curves, fixed={"a": 1.0, "b": -1.0})
    wrong = collapse(**curves, fixed={"a": 0.8, "b": -1.0})
    assert right.quality < 1.5 < 20 < wrong.quality
    assert right.p_value > 0.01 > wrong.p_value
    assert any("do not collapse" in note for note in wrong.notes)


def test_the_reference_prefers_the_same_exponents():
    curves = finite_width(1, points=60)
    result = collapse(**curves)
    a, b = (result.exponents[name] for name in ("a", "b"))
    # In logarithms straight lines between points follow f closely.
    logs = [
        (np.log(u), np.log(v), e / v)
        for u, v, e in scaled(curves["x"], curves["y"], SIZES, curves["errors"], a.value, b.value)
    ]
    at_best = quality(logs)
    assert at_best == pytest.approx(result.quality, abs=0.35)

    def reference(shift_a, shift_b):
        values = scaled(
            curves["x"], curves["y"], SIZES, curves["errors"], a.value + shift_a, b.value + shift_b
        )
        return quality([(np.log(u), np.log(v), e / v) for u, v, e in values])

    # The two exponents are nearly tied together along one direction; across it the minimum is sharp.
    for shift in (-10, 10):
        assert reference(shift * a.error, 0.0) > at_best + 1
        assert reference(0.0, shift * b.error) > at_best + 1


def test_units_and_the_order_of_curves_do_not_matter():
    curves = finite_width(2)
    here = collapse(**curves)
    order = [2, 0, 3, 1]
    there = collapse(
        [5 * curves["x"][i] for i in order],
        [7 * curves["y"][i] for i in order],
        [3 * SIZES[i] for i in order],
        errors=[7 * curves["errors"][i] for i in order],
    )
    for name in ("a", "b"):
        assert there.exponents[name].value == pytest.approx(here.exponents[name].value, abs=1e-5)
    assert there.quality == pytest.approx(here.quality, rel=1e-5)
    # The bootstrap draws other numbers for curves in another order.
    assert there.exponents["a"].error == pytest.approx(here.exponents["a"].error, rel=0.3)


def test_the_ising_point():
    result = collapse(**ising(0), start={"critical": 2.3, "b": 1.2})
    assert_found(result, a=0.125, b=1.0, critical=2.269185)
    assert result.exponents["critical"].error < 3e-3
    assert result.p_value > 0.01


def test_curves_along_the_depth():
    result = collapse(**depths(0), start={"critical": 1.501, "b": 0.5}, statistic="typical")
    assert_found(result, a=0.159, b=1 / 1.734, critical=1.5)
    assert result.p_value > 0.01
    mean_field = collapse(**depths(0), fixed={"critical": 1.5, "a": 1.0, "b": 1.0}, statistic="typical")
    assert mean_field.quality > 100


def test_corrections():
    curves = finite_width(3, correction=-8.0, relative=2e-3)
    bare = collapse(**curves)
    corrected = collapse(**curves, correction="constant")
    assert bare.p_value < 0.01 < corrected.p_value
    assert abs(bare.exponents["a"].value - 1) > 5 * abs(corrected.exponents["a"].value - 1)
    assert_found(corrected, a=1.0, b=-1.0)
    assert_found(corrected, c=-8.0)
    after = collapse(**curves, fixed={"a": 1.0, "b": -1.0}, correction="function")
    assert after.p_value > 0.01
    curve = after.curves[0]
    assert curve.corrected_y == pytest.approx(1 / (curve.scaled_x + curve.scaled_x**2), rel=0.1)


def test_freedom_that_hides_the_exponents_shows_in_their_errors():
    # With any b, f(x) exp(g(x)/n) can follow curves that change little from size to size.
    result = collapse(**finite_width(3, relative=0.05), correction="function")
    assert not result.determined or result.exponents["b"].error > 0.15


def test_precise_data_between_coarse_points():
    result = collapse(**finite_width(4, relative=1e-7, points=9))
    assert result.interpolation > 1e-6
    assert_found(result, a=1.0, b=-1.0)
    assert result.quality < 3


def test_curves_that_do_not_overlap():
    curves = finite_width(0)
    apart = [x[:6] * 100.0**index for index, x in enumerate(curves["x"])]
    result = collapse(
        apart,
        [y[:6] for y in curves["y"]],
        SIZES,
        errors=[e[:6] for e in curves["errors"]],
        fixed={"b": -1.0},
    )
    assert not result.determined
    assert "within the reach" in result.exponents["a"].reason
    assert math.isnan(result.quality)


@pytest.mark.parametrize("seed", range(4))
def test_a_straight_line_leaves_a_and_b_tied(seed):
    x = [np.geomspace(0.1, 3, 12) * n for n in SIZES]
    y = [u**-0.5 for u in x]
    random = np.random.default_rng(seed)
    errors = [0.02 * v for v in y]
    noisy = [v + e * random.standard_normal(v.size) for v, e in zip(y, errors, strict=True)]
    result = collapse(x, noisy, SIZES, errors=errors)
    assert not result.determined
    assert "no feature" in result.reason


def test_points_of_no_use_are_counted():
    curves = finite_width(0)
    curves["errors"][0][:3] = curves["y"][0][:3]
    result = collapse(**curves)
    assert result.notes == ("3 points with relative errors above 0.5 are left out.",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": [50, 100, 200]}, "size has 3 entries for 4 curves"),
        ({"size": [-50, 100, 200, 400]}, r"size\[0\] is not positive"),
        ({"errors": None}, "neither networks nor errors"),
        ({"fixed": {"nu": 1.0}}, "'nu' in fixed"),
        ({"fixed": {"a": 1.0}, "start": {"a": 1.0}}, "'a' in fixed"),
        ({"fixed": {"omega": 1.0}}, "'omega' in fixed"),
        ({"correction": "cubic"}, "correction"),
        ({"resamples": 3}, "resamples"),
    ],
)
def test_unusable_arguments(change, told):
    with pytest.raises(InputError, match=told):
        collapse(**{**finite_width(0), **change})


@pytest.mark.parametrize(
    ("value", "told"), [(math.nan, "not finite"), (-1.0, "not positive"), (0.0, "not positive")]
)
def test_unusable_values(value, told):
    curves = finite_width(0)
    curves["y"][1][4] = value
    with pytest.raises(InputError, match=rf"y\[1\].*{told}"):
        collapse(**curves)


def test_one_curve():
    curves = finite_width(0, sizes=(50,))
    with pytest.raises(InputError, match="1 curve"):
        collapse(**curves)


def test_a_correction_needs_three_sizes():
    with pytest.raises(InputError, match="2 size"):
        collapse(**finite_width(0, sizes=(50, 100)), correction="constant")


@pytest.mark.parametrize(("delta", "nu"), [(0.159, 1.734), (0.5, 2.0)])
def test_answers_from_every_start_agree(delta, nu):
    # 1.49, 1.5 and 1.51 are sampled: there a search sticks.
    curves = depths(0)
    found = [
        collapse(
            **curves,
            fixed={"a": delta, "b": 1 / nu},
            start={"critical": place},
            statistic="typical",
            resamples=20,
        )
        for place in (1.47, 1.49, 1.497, 1.5, 1.503, 1.51)
    ]
    places = [result.exponents["critical"].value for result in found]
    assert np.ptp(places) < 1e-5
    assert np.ptp([result.quality for result in found]) < 1e-4 * found[0].quality
    if delta == 0.159:
        assert_found(found[0], critical=1.5)
        assert found[0].verdict == "holds"
    else:
        assert found[0].verdict == "refused"


def test_free_exponents_do_not_depend_on_the_start():
    starts = [(1.49, 0.3), (1.51, 0.9)]
    found = [
        collapse(**depths(1), start={"critical": place, "b": b}, statistic="typical", resamples=20)
        for place, b in starts
    ]
    for name in ("a", "b", "critical"):
        values = [result.exponents[name].value for result in found]
        assert np.ptp(values) < 0.1 * found[0].exponents[name].error


def test_a_critical_value_at_the_end_of_the_search_is_told():
    result = collapse(
        **depths(0), fixed={"a": 0.5, "b": 0.5}, start={"critical": 1.5}, statistic="typical", resamples=20
    )
    assert result.exponents["critical"].value == pytest.approx(1.45)  # one spacing of 0.02 below 1.47
    assert any("the end of where it was looked for" in note for note in result.notes)


@pytest.mark.parametrize(("points", "relative"), [(6, 0.01), (12, 0.1), (30, 0.01)])
def test_random_curves_do_not_collapse(points, relative):
    random = np.random.default_rng(points)
    curves = np.exp(random.standard_normal((5, points)))
    result = collapse(
        [np.linspace(1, 3, points)] * 5,
        list(curves),
        [10, 20, 40, 80, 160],
        errors=list(relative * curves),
        resamples=20,
    )
    assert result.p_value < 0.01
    assert result.verdict == "refused"
    # The spread of ln y is 1, less what a and the spline can follow.
    assert 40 < result.rms < 120
    assert any("not smooth within their errors" in note for note in result.notes)


def test_errors_that_are_stated_too_small_are_no_interpolation():
    # Noise of three times the errors: quality 9, however the spline is chosen.
    curves = finite_width(0, relative=0.06)
    curves["errors"] = [error / 3 for error in curves["errors"]]
    result = collapse(**curves, fixed={"a": 1.0, "b": -1.0}, resamples=20)
    assert result.p_value < 0.01
    assert 5 < result.quality < 13
    assert result.verdict == "holds roughly"


def test_the_rms_is_the_scatter_of_all_points_in_per_cent():
    curves = finite_width(0, relative=0.03, points=60)
    result = collapse(**curves, fixed={"a": 1.0, "b": -1.0}, resamples=20)
    assert result.rms == pytest.approx(3, rel=0.1)
    assert result.rms_errors == pytest.approx(3, rel=0.05)
    shifted = collapse(**curves, fixed={"a": 0.8, "b": -1.0}, resamples=20)
    # y n^0.8 lies at n^-0.2 about the common curve, with the spread of 0.2 ln n, and some of that is noise.
    spread = 20 * np.std(np.log(SIZES))
    assert shifted.rms == pytest.approx(math.hypot(spread, 3), rel=0.15)
    assert f"rms {shifted.rms:.2g} % of y" in shifted.sentence
    assert f"rms {shifted.rms:.2g} % of y" in str(shifted)
    assert shifted.verdict == "refused"


def test_large_errors_leave_a_collapse_open():
    curves = finite_width(1, relative=0.2, points=60)
    result = collapse(**curves, fixed={"a": 1.0, "b": -1.0}, resamples=20)
    assert result.p_value > 0.01
    assert result.verdict == "not determined"
    assert "too large to tell" in result.sentence


@pytest.mark.parametrize("seed", range(4))
def test_precise_curves_that_collapse_are_not_refused(seed):
    # With 1e-4 the splines have to be as fine for the common curve as for the curves alone.
    result = collapse(**finite_width(seed, relative=1e-4), fixed={"a": 1.0, "b": -1.0}, resamples=20)
    assert result.p_value > 0.01


def test_curves_of_one_size_tell_no_exponents():
    curves = finite_width(0)
    with pytest.raises(InputError, match="All 4 curves have the one size 50"):
        collapse(curves["x"], curves["y"], [50] * 4, errors=curves["errors"])


def test_networks_that_are_exactly_proportional_collapse_like_others():
    random = np.random.default_rng(0)
    t = np.geomspace(0.1, 3, 12)
    y = [np.exp(0.1 * random.standard_normal((8, 1))) / (t + t**2) / n for n in SIZES]
    result = collapse([t * n for n in SIZES], y, SIZES, resamples=20)
    assert_found(result, a=1.0)
    # Amplitudes say nothing of b, which only the search leaves open.
    assert result.exponents["b"].value == pytest.approx(-1, abs=1e-7)
    assert result.p_value > 0.01


def test_complex_curves_are_refused():
    curves = finite_width(0)
    curves["y"][1] = curves["y"][1] + 0j
    with pytest.raises(InputError, match=r"y\[1\] is complex"):
        collapse(**curves)
    curves = finite_width(0)
    curves["x"][2] = curves["x"][2] + 0j
    with pytest.raises(InputError, match=r"x\[2\] is complex"):
        collapse(**curves)


def test_citation():
    assert "houdayer2004" in BIBTEX


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["finite width", "precise", "corrected", "ising", "networks"])
def test_errors_cover_the_truth(kind):
    truth = {"a": 1.0, "b": -1.0}
    hits, qualities, trials = dict.fromkeys(truth, 0), [], 120
    for seed in range(trials):
        if kind == "ising":
            truth = {"a": 0.125, "b": 1.0, "critical": 2.269185}
            result = collapse(**ising(seed), start={"critical": 2.3, "b": 1.2}, resamples=80)
        elif kind == "networks":
            truth = {"a": 0.159, "b": 1 / 1.734, "critical": 1.5}
            start = {"critical": 1.501, "b": 0.5}
            result = collapse(**depths(seed), start=start, statistic="typical", resamples=80)
        elif kind == "corrected":
            curves = finite_width(seed, correction=-4.0)
            result = collapse(**curves, correction="constant", resamples=80)
        else:
            relative = 1e-5 if kind == "precise" else 0.02
            result = collapse(**finite_width(seed, relative=relative), resamples=80)
        qualities.append(result.quality)
        for name, value in truth.items():
            found = result.exponents[name]
            hits[name] = hits.get(name, 0) + (found.determined and abs(found.value - value) < found.error)
    for name in truth:
        # 68 % within four standard errors.
        assert 0.51 < hits[name] / trials < 0.85, (name, hits[name] / trials)
    assert np.mean(qualities) == pytest.approx(1, abs=0.25)
