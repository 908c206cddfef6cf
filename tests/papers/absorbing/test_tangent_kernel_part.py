import numpy as np
import pytest

from one_part import config, draw, run
from phasescope.citations import BIBTEX
from phasescope.papers import absorbing
from phasescope.papers.absorbing.tangent_kernel import TANGENT_KERNEL, infinite_depth

TINY = (
    "tangent_kernel.biases=0.1,0.6",
    "tangent_kernel.depths=20,40,80,160",
    "tangent_kernel.data_depth=60",
    "tangent_kernel.data_biases=1e-3,2.0",
    "tangent_kernel.data_points=8",
    "tangent_kernel.images=30",
    "tangent_kernel.replicas=2",
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*TINY, "activation=erf", "compared=erf,sin")
    return settings, *run(TANGENT_KERNEL, settings, tmp_path_factory.mktemp("run"))


def test_checks_and_figures_at_a_small_size(small):
    settings, data, analysis, checks = small
    assert len(checks) == len(analysis.checks)
    # Exact limits of the law: 1, 1/3, R(1) = 7/12, whatever the activation.
    for name, exact in {"small-u": 1, "large-u": 1 / 3, "law-erf": 7 / 12, "law-sin": 7 / 12}.items():
        found = checks[name].measured
        assert abs(found.value - exact) < max(3 * found.error, 1e-6)
        assert found.error < 0.03
    # A linear network on digits is far from rank one; with all distances shrunk it is near.
    assert checks["rank-one-digits"].verdict == "disagrees"
    assert checks["rank-one-alike-digits"].verdict == "agrees"
    assert checks["input-independent-digits"].measured.value == pytest.approx(1 / 3, abs=0.01)
    assert "--set fashion_mnist=DIR" in checks["top-fashion-mnist"].measured.reason
    assert {check.verdict for check in analysis.checks if "mnist" in check.id} == {"not determined"}
    numbers = TANGENT_KERNEL.numbers(data, settings)
    assert [len(p.figure.axes) for p in TANGENT_KERNEL.pictures(numbers)] == [2, 3]
    assert set(TANGENT_KERNEL.citations) <= set(BIBTEX)


def test_the_largest_eigenvalue_is_that_of_the_deep_limit(small):
    _, data, _, _ = small
    images = data.isel(task=np.flatnonzero(data["kind"].values.astype(str) == "data"))
    # Depth 60 and the bias leave some per cent.
    np.testing.assert_allclose(images["top"].values, images["predicted"].values, rtol=0.05)
    # The trace is 1 for each image: the mean ratio bounds the largest eigenvalue's share from below.
    assert (images["top"].values > 1 / 30).all()


def test_an_activation_without_kappa_says_so(tmp_path):
    fewer = ("tangent_kernel.biases=0.3", "tangent_kernel.data_points=5")
    settings = config(*TINY, *fewer, "activation=relu", "compared=")
    data, _, checks = run(TANGENT_KERNEL, settings, tmp_path)
    assert {check.verdict for check in checks.values()} == {"not determined"}
    assert "no critical line" in checks["small-u"].measured.reason
    assert draw(TANGENT_KERNEL, data, settings)


def test_extrapolation_in_depth_is_exact_for_its_own_terms():
    depths = np.array([30, 100, 300, 1000])
    found = infinite_depth(depths, 0.4 + (2 * np.log(depths) - 1) / depths)
    assert found.value == pytest.approx(0.4, abs=1e-12)
    # A term of the next order is covered by the error.
    found = infinite_depth(depths, 0.4 + np.log(depths) / depths + 5 / depths**2)
    assert 0 < abs(found.value - 0.4) < 3 * found.error


@pytest.mark.parametrize(("preset", "budget"), [("quick", 30), ("paper", 120)])
def test_presets_stay_within_their_budgets(preset, budget):
    tasks = TANGENT_KERNEL.tasks(absorbing.STUDY.presets[preset])
    assert len({task.id for task in tasks}) == len(tasks)
    assert sum(task.seconds for task in tasks) < budget
    assert max(task.seconds for task in tasks) < 30
