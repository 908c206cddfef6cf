import numpy as np
import pytest

from phasescope.citations import BIBTEX
from phasescope.papers.absorbing.tangent_kernel import PAPER, QUICK, TangentKernel, TangentKernelSettings
from phasescope.papers.absorbing.tangent_kernel_checks import infinite_depth
from reference.part_run import configuration, measured

TINY = TangentKernelSettings(
    biases=(0.1, 0.6),
    depths=(20, 40, 80, 160),
    data_depth=60,
    data_biases=(1e-3, 2.0),
    data_points=8,
    images=30,
    replicas=2,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = configuration("tangent_kernel", TINY, activation="erf", compared=("erf", "sin"))
    return config, measured(TangentKernel(), config, tmp_path_factory.mktemp("tasks"))


def test_checks_and_figures_at_a_small_size(run):
    config, data = run
    analysis = TangentKernel().analyse(data, config)
    checks = {check.id.removeprefix("tangent-kernel/"): check for check in analysis.checks}
    assert len(checks) == len(analysis.checks)
    # Exact limits of the law: 1, 1/3, R(1) = 7/12, whatever the activation.
    for name, exact in {"small-u": 1, "large-u": 1 / 3, "law-erf": 7 / 12, "law-sin": 7 / 12}.items():
        measured = checks[name].measured
        assert abs(measured.value - exact) < max(3 * measured.error, 1e-6)
        assert measured.error < 0.03
    # A linear network on digits is far from rank one; with all distances shrunk it is near.
    assert checks["rank-one-digits"].verdict == "disagrees"
    assert checks["rank-one-alike-digits"].verdict == "agrees"
    assert checks["input-independent-digits"].measured.value == pytest.approx(1 / 3, abs=0.01)
    assert "--set fashion_mnist=DIR" in checks["top-fashion-mnist"].measured.reason
    assert {check.verdict for check in analysis.checks if "mnist" in check.id} == {"not determined"}
    assert [len(p.figure.axes) for p in TangentKernel().figures(data, config)] == [2, 3]
    assert set(TangentKernel.citations) <= set(BIBTEX)


def test_the_largest_eigenvalue_is_that_of_the_deep_limit(run):
    _, data = run
    images = data.isel(task=np.flatnonzero(data["kind"].values.astype(str) == "data"))
    # Depth 60 and the bias leave some per cent.
    np.testing.assert_allclose(images["top"].values, images["predicted"].values, rtol=0.05)
    # The trace is 1 for each image: the mean ratio bounds the largest eigenvalue's share from below.
    assert (images["top"].values > 1 / 30).all()


def test_an_activation_without_kappa_says_so(tmp_path):
    small = TINY.model_copy(update={"biases": (0.3,), "data_points": 5})
    config = configuration("tangent_kernel", small, activation="relu", compared=())
    data = measured(TangentKernel(), config, tmp_path)
    analysis = TangentKernel().analyse(data, config)
    assert {check.verdict for check in analysis.checks} == {"not determined"}
    assert "no critical line" in analysis.checks[0].measured.reason
    TangentKernel().figures(data, config)


def test_extrapolation_in_depth_is_exact_for_its_own_terms():
    depths = np.array([30, 100, 300, 1000])
    found = infinite_depth(depths, 0.4 + (2 * np.log(depths) - 1) / depths)
    assert found.value == pytest.approx(0.4, abs=1e-12)
    # A term of the next order is covered by the error.
    found = infinite_depth(depths, 0.4 + np.log(depths) / depths + 5 / depths**2)
    assert 0 < abs(found.value - 0.4) < 3 * found.error


@pytest.mark.parametrize(("settings", "budget"), [(QUICK, 30), (PAPER, 120)])
def test_presets_stay_within_their_budgets(settings, budget):
    tasks = TangentKernel().tasks(configuration("tangent_kernel", settings))
    assert len({task.id for task in tasks}) == len(tasks)
    assert sum(task.seconds for task in tasks) < budget
    assert max(task.seconds for task in tasks) < 30
