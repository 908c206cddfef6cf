"""Series that carry no exponent, and input that is of no use."""

import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from phasescope.errors import InputError, MemoryLimitError
from phasescope.noise import dfa

pytestmark = pytest.mark.usefixtures("coarse_errors")

LENGTH = 500
NOISE = np.random.default_rng(7).standard_normal(LENGTH)
TIME = np.linspace(-1, 1, LENGTH)


def with_value(value):
    x = NOISE.copy()
    x[3] = value
    return x


@pytest.mark.parametrize(
    ("x", "order", "reason"),
    [
        (with_value(np.nan), 1, "1 of 500 values are not finite"),
        (with_value(-np.inf), 1, "1 of 500 values are not finite"),
        (np.full(LENGTH, 3.3), 1, "constant"),
        (np.zeros(LENGTH), 1, "constant"),
        (1e6 + 5 * TIME, 2, "within rounding"),
        (3 + TIME - 4 * TIME**2, 3, "within rounding"),
        ((3 + TIME).astype(np.float32), 2, "within rounding"),
        ((3 + TIME).astype(np.float32).astype(np.float64), 2, "within rounding"),
        (np.sign(NOISE), 1, "only two values"),
        ((NOISE > 1).astype(int), 1, "only two values"),
        (NOISE > 0, 1, "only two values"),
        (np.tanh(18 + NOISE / 3), 1, "rounding"),
        (np.tanh((8.4 + NOISE / 5).astype(np.float32)), 1, "rounding"),
        (0.75 + 1e-8 * NOISE.astype(np.float32), 1, "rounding|constant|two values"),
        (1 + 1e-7 * np.round(NOISE), 1, ""),
        (np.sin(3 * TIME), 1, "take a higher order"),
        (np.sin(3 * TIME), 3, "the series is smooth"),
    ],
)
def test_a_series_without_exponent_says_why(x, order, reason):
    x = np.asarray(x)
    batch = np.stack([NOISE, np.asarray(x, dtype=x.dtype if x.dtype.kind == "f" else float), NOISE])
    alone = dfa(x, order=order)
    if not reason:
        assert alone.reason == ""
        return
    assert np.isnan(alone.alpha)
    assert np.isnan(alone.alpha_error)
    assert np.isnan(alone.beta)
    assert not alone.crossover
    assert alone.estimate().determined is False
    assert any(part in str(alone.reason) for part in reason.split("|"))
    among = dfa(batch, order=order)
    good = dfa(NOISE, order=order)
    assert among.reason.tolist()[::2] == ["", ""]
    assert np.isnan(among.alpha[1])
    np.testing.assert_allclose(among.alpha[::2], good.alpha, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_below_zero_the_sum_shows_the_exponent(order):
    rough = np.diff(np.random.default_rng(3).standard_normal(2001))
    found = dfa(rough, order=order)
    assert np.isnan(found.alpha)
    assert np.isnan(found.robust)
    assert str(found.reason).startswith("alpha is at 0, the smallest that DFA can show: sum the series first")
    # The difference of white noise has beta = -2, so alpha = -1/2.
    summed = dfa(rough.cumsum(), order=order)
    assert abs(summed.alpha - 1 + 0.5) < 2.58 * summed.alpha_error
    assert "sum the series first" in str(dfa(np.diff(rough), order=order).reason)


def test_masked_values_are_no_values():
    masked = np.ma.masked_array(NOISE, mask=np.arange(LENGTH) % 100 == 7)
    assert str(dfa(masked).reason) == "5 of 500 values are not finite"
    assert "500 of 500" in str(dfa(np.ma.masked_array(NOISE, mask=True)).reason)


@pytest.mark.parametrize("device", ["array", "tensor"])
def test_bad_series_leave_the_input_as_it_was(device):
    x = np.stack([NOISE, with_value(np.nan)])
    given = torch.from_numpy(x.copy()) if device == "tensor" else x.copy()
    dfa(given)
    np.testing.assert_array_equal(np.asarray(given), x)


def test_short_series_and_few_windows():
    short = dfa(np.stack([NOISE[:100], NOISE[:100]]))
    assert np.isnan(short.alpha).all()
    assert "100 values along the last axis are too short" in short.reason[0]
    tiny = dfa(NOISE[:6])
    assert "too short" in str(tiny.reason)
    assert tiny.fluctuation.shape == (0,)
    for windows in ([20], [20, 40]):
        few = dfa(NOISE, windows=windows)
        assert np.isnan(few.alpha)
        assert np.isfinite(few.fluctuation).all()
        assert "at least 3 needed" in str(few.reason)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_units(scale):
    assert dfa(scale * NOISE).alpha == pytest.approx(dfa(NOISE).alpha, abs=1e-10)


def test_the_range_of_floats_is_no_limit():
    x = 1.7e308 * (NOISE / np.abs(NOISE).max())
    assert dfa(x).alpha == pytest.approx(dfa(NOISE).alpha, abs=1e-10)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_idle_single_precision_units_and_live_ones_far_from_zero(kind):
    live = (5 + 1e-3 * NOISE).astype(np.float32)
    idle = (5 + 1e-7 * NOISE).astype(np.float32)
    found = dfa(kind(np.stack([live, idle])))
    assert found.reason[0] == ""
    assert np.isnan(found.alpha[1])


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ([], {}, "holds no series"),
        (1.0, {}, "holds no series"),
        (np.empty((0, 100)), {}, "holds no series"),
        (NOISE + 1j, {}, "no real numbers"),
        (torch.tensor([1j] * 100), {}, "no real numbers"),
        (["a", "b"], {}, "holds <U1, no real numbers"),
        (NOISE + 1j, {}, r"abs\(x\)"),
        (np.arange(500).astype("M8[s]"), {}, "holds datetime64.*not their times"),
        (np.arange(500).astype("m8[s]"), {}, "holds timedelta64.*unit of time"),
        (NOISE.astype(object), {}, r"objects \(float\).*dtype=float"),
        ([None, 1.0], {}, "objects"),
        (pd.Series(["1", "2"] * 250), {}, "holds (str|object).*dtype=float"),
        (pd.Series(pd.date_range("2020", periods=500)), {}, "holds datetime64"),
        (pd.Series(["a", "b"] * 250).astype("category"), {}, "holds category"),
        (xr.DataArray(NOISE.astype(object)), {}, "objects"),
        (xr.Dataset({"a": ("time", NOISE)}), {}, "xarray Dataset"),
        (torch.tensor(NOISE).to_sparse(), {}, "to_dense"),
        (torch.empty(500, device="meta"), {}, "without values"),
        ([[1.0, 2.0], [1.0]], {}, "different lengths"),
        (NOISE, {"order": 0}, "order = 0"),
        (NOISE, {"order": 4}, "order = 4"),
        (NOISE, {"order": True}, "order = True"),
        (NOISE, {"windows": []}, "windows = "),
        (NOISE, {"windows": [10.5, 20]}, "windows = "),
        (NOISE, {"windows": 20}, "windows = "),
        (NOISE, {"windows": [10, np.nan]}, "windows = "),
        (NOISE, {"windows": [2, 20]}, "A window of 2 values"),
        (NOISE, {"windows": [4, 20], "order": 3}, "A window of 4 values"),
        (NOISE, {"windows": [20, 501]}, "A window of 501 values"),
        (NOISE[:, None], {}, "Time is the last axis"),
        (np.zeros((500, 4)), {}, "Time is the last axis"),
    ],
)
def test_input_of_no_use_as_a_whole(x, options, message):
    with pytest.raises(InputError, match=message):
        dfa(x, **options)


WHOLE = np.random.default_rng(8).integers(-100, 100, LENGTH)


@pytest.mark.parametrize(
    ("same", "exact"),
    [
        (lambda x: x.astype(np.longdouble), True),
        (lambda x: x.astype(">f8"), True),
        (lambda x: x.astype(">i4"), True),
        (lambda x: x.astype(np.int8), True),
        (lambda x: (x + 100).astype(np.uint8), True),
        (lambda x: (x.astype(np.int64) + 2**40).astype(np.uint64), True),
        (lambda x: x.astype(np.float16), True),
        (lambda x: np.repeat(x, 3)[::3], True),
        (lambda x: x[::-1].copy()[::-1], True),
        (lambda x: np.asfortranarray(np.stack([x, x]))[0], True),
        (lambda x: x.tolist(), True),
        (lambda x: memoryview(x), True),
        (lambda x: np.ma.masked_array(x), True),
        (lambda x: pd.Series(x, index=range(LENGTH, 0, -1)), True),
        (lambda x: pd.Series(x).astype("Int64"), True),
        (lambda x: xr.DataArray(x, dims="time"), True),
        (lambda x: torch.tensor(x, dtype=torch.int16), True),
        (lambda x: torch.tensor(x, dtype=torch.bfloat16), False),
        (lambda x: x + 0.001 * np.arange(LENGTH).astype(np.float16), False),
    ],
)
def test_real_numbers_of_any_format_and_layout(same, exact):
    expected = dfa(WHOLE.astype(float))
    found = dfa(same(WHOLE))
    assert found.alpha == pytest.approx(expected.alpha, abs=1e-9 if exact else 0.02)
    assert found.reason == ""


def test_truth_values_are_two_numbers():
    assert str(dfa(pd.Series(NOISE > 0)).reason) == "only two values"


def test_missing_values_of_a_table_are_no_values():
    table = pd.Series(WHOLE).astype("Int64")
    table[[4, 7]] = pd.NA
    assert str(dfa(table).reason) == "2 of 500 values are not finite"


def test_values_beyond_double_precision_are_not_finite():
    x = NOISE.astype(np.longdouble)
    x[3] = np.longdouble(10) ** 400
    if np.isfinite(x[3]):
        assert str(dfa(x).reason) == "1 of 500 values are not finite"


def test_arrays_of_other_libraries_are_refused_by_name():
    class Series:
        __module__ = "polars.series.series"

        def __array__(self, *_, **__):
            return NOISE

    with pytest.raises(InputError, match=r"x is a polars Series.*to_numpy"):
        dfa(Series())


@pytest.mark.parametrize("length", [2**12, pytest.param(2**19, marks=pytest.mark.slow)])
def test_memory_stays_within_the_limit(length):
    x = np.random.default_rng(0).standard_normal(length)
    x[777] += 1e3  # the place is looked for as well
    needed = 12e6 + 64 * max(length, 2**16)
    tracemalloc.start()
    found = dfa(x, max_memory=needed)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < needed
    assert found.carrier.tolist() == [777, 777]
    with pytest.raises(MemoryLimitError, match="max_memory"):
        dfa(x, max_memory=needed - 1e6)
    with pytest.raises(InputError, match="max_memory"):
        dfa(x, max_memory="much")


def test_lanes_are_left_where_memory_is_short():
    module = sys.modules["phasescope.noise.dfa"]
    x = np.zeros((100, 2**16))
    assert module._within(None, x, True) == (True, torch.get_num_threads())
    assert module._within(12e6 + 256 * 2**16, x, True) == (True, 1)
    assert module._within(12e6 + 255 * 2**16, x, True)[0] is False
    assert module._within(12e6 + 256 * 2**16, x.astype(np.float32), True)[0] is False
