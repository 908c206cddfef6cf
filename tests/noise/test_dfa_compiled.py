"""The compiled kernel beside matrix products and the definition, with numba and without."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from phasescope.noise import dfa, fluctuation
from phasescope.noise.fluctuation import LANES, scaled_fluctuations, worthwhile
from phasescope.noise.generators import coloured_noise
from reference.dfa import fluctuation as by_definition

pytestmark = pytest.mark.usefixtures("coarse_errors")

LENGTH = 600
WINDOWS = np.unique(np.geomspace(5, 75, 12).round().astype(int))


@pytest.fixture(autouse=True)
def _afresh():
    fluctuation._compiled.cache_clear()
    yield
    fluctuation._compiled.cache_clear()


@pytest.fixture(params=["interpreted", "compiled"])
def kernel(request, monkeypatch):
    """The function that is compiled, as Python runs it; and as machine code where numba is installed."""
    if request.param == "compiled":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(fluctuation, "_compiled", lambda: fluctuation._residuals_in_lanes)
    return partial(scaled_fluctuations, compiled=True)


def batch():
    """Noises and a bad series of every kind, so many that they fill lanes and leave a rest."""
    random = np.random.default_rng(3)
    x = np.concatenate([coloured_noise(beta, LENGTH, size=150, seed=1) for beta in (0.0, 2.0)])
    x = x[random.permutation(len(x))]
    x[5, 17], x[60, 0] = np.nan, np.inf
    x[100] = 3.3
    x[101] = np.sign(x[101])
    x[102] = np.linspace(-1, 1, LENGTH)
    x[103] = np.tanh(18 + x[103] / 3)
    x[104] *= 1e300
    x[105] = 1e9 + x[105]
    return x


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(fluctuation, "_WORTHWHILE", 2**20)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(("both_ends", "overlap"), [(False, False), (True, False), (True, True)])
def test_it_fits_a_polynomial_in_every_window(kernel, order, both_ends, overlap):
    x = np.random.default_rng(0).standard_normal((LANES + 1, 47))
    x[1] = x[1].cumsum()
    x[LANES] += 300 * np.linspace(-1, 1, 47)  # a profile that is nearly a parabola in short windows
    windows = np.array([5, 6, 8, 13, 47])
    options = {"both_ends": both_ends, "overlap": overlap}
    centre, scale = x.mean(axis=1), np.ptp(x, axis=1)
    found, highest, share = kernel(x, centre, scale, windows, order, **options)
    for row in (0, 1, LANES):
        expected = by_definition(x[row], windows, order, **options) / scale[row]
        np.testing.assert_allclose(found[row], expected, rtol=1e-12)
    same, as_high, as_shared = scaled_fluctuations(x, centre, scale, windows, order, **options)
    np.testing.assert_allclose(found, same, rtol=1e-12)
    np.testing.assert_allclose(highest, as_high, rtol=1e-12)
    np.testing.assert_allclose(share, as_shared, rtol=1e-6)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.usefixtures("small_is_large")
def test_a_large_batch_is_measured_alike_with_and_without_it(monkeypatch, order):
    pytest.importorskip("numba")
    x, called = batch(), []

    def counted(*args, compiled, **options):
        called.append(len(args[0]) if compiled else 0)
        return scaled_fluctuations(*args, compiled=compiled, **options)

    monkeypatch.setattr(sys.modules["phasescope.noise.dfa"], "scaled_fluctuations", counted)
    fast = dfa(x, order=order, windows=WINDOWS)
    assert sum(called) == len(x)
    monkeypatch.setitem(sys.modules, "numba", None)
    fluctuation._compiled.cache_clear()
    slow = dfa(x, order=order, windows=WINDOWS)
    assert sum(called) == len(x)
    assert fast.reason.tolist() == slow.reason.tolist()
    good = slow.reason == ""
    assert good.sum() > 250
    np.testing.assert_allclose(fast.fluctuation[good], slow.fluctuation[good], rtol=1e-12)
    np.testing.assert_allclose(fast.alpha, slow.alpha, rtol=0, atol=1e-12)
    np.testing.assert_allclose(fast.curvature[good], slow.curvature[good], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(fast.alpha_error, slow.alpha_error)


@pytest.mark.usefixtures("small_is_large")
def test_arrays_of_any_layout():
    x = np.random.default_rng(2).standard_normal((200, LENGTH))
    expected = dfa(x, windows=WINDOWS).fluctuation
    locked, shifted = x.copy(), np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64)
    locked.flags.writeable = False
    for same in (locked, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], shifted.reshape(x.shape)):
        np.testing.assert_allclose(dfa(same, windows=WINDOWS).fluctuation, expected, rtol=1e-12)


def test_long_series_keep_their_digits():
    pytest.importorskip("numba")
    x = np.random.default_rng(1).standard_normal((33, 65536))
    windows = np.array([64, 700, 8192])
    centre, options = x.mean(axis=1), {"both_ends": True, "overlap": False}
    found, _, _ = scaled_fluctuations(x, centre, np.ones(33), windows, 1, compiled=True, **options)
    np.testing.assert_allclose(found[32], by_definition(x[32], windows, 1, **options), rtol=1e-12)


@pytest.mark.usefixtures("small_is_large")
def test_neither_threads_nor_company_change_anything(monkeypatch):
    pytest.importorskip("numba")
    x = batch()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    one = dfa(x, windows=WINDOWS).fluctuation
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    np.testing.assert_array_equal(dfa(x, windows=WINDOWS).fluctuation, one)
    np.testing.assert_array_equal(dfa(x[::-1], windows=WINDOWS).fluctuation[::-1], one)


@pytest.mark.slow
def test_numba_is_loaded_for_large_batches_only():
    program = (
        "import sys; import numpy as np; from phasescope.noise import dfa;"
        "x = np.random.default_rng(0).standard_normal((20, 400)); dfa(x);"
        "sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert not worthwhile(1, 2**17, 300)
    assert not worthwhile(1000, 400, 16)
    assert not worthwhile(8, 2**20, 16)


def test_without_numba_there_is_no_compiled_kernel(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not worthwhile(1000, 4096, 16)


def test_folders_that_cannot_be_written_to_are_no_obstacle(monkeypatch):
    numba, tried = pytest.importorskip("numba"), []

    def njit(signature, nogil, cache=False):
        tried.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(numba, "njit", njit)
    assert worthwhile(1000, 4096, 16)
    assert tried == [True, False]
