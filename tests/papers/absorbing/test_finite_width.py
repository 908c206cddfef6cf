import math

import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers.absorbing.finite_width import FINITE_WIDTH
from phasescope.papers.absorbing.width_groups import Width, half_depth
from phasescope.theory import FiniteWidthScaling

pytestmark = pytest.mark.whole

SMALL = ("finite_width.effort=2e4", "finite_width.task_effort=2e4", "finite_width.widths=[50,100,200,400]")
KAPPA, V, D0 = 0.23349782, 4.250, -1.854
LAW = FiniteWidthScaling(KAPPA, V, D0 + V / 2)
IDS = {f"{name}-{kind}" for kind in ("mean", "typical") for name in ("quality", "quality-bare")}
IDS |= {f"exponent-{what}-{kind}" for kind in ("mean", "typical") for what in ("distance", "depth")}
IDS |= {f"{kind}-t{t}" for kind in ("mean", "typical") for t in ("0.2", "0.4", "1", "2")} | {"mu"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL)
    return settings, *run(FINITE_WIDTH, settings, tmp_path_factory.mktemp("finite-width"))


def following(data, *, correction=6.0, size=1.0, noise=0.15, seed=0):
    """The data with ``n^size rho = X(l/n) (1 + correction/n)``, the start of the exact map, and noise."""
    random = np.random.default_rng(seed)
    changed = data.copy(deep=True)
    for index, n in enumerate(data["width"].values):
        layer = data["layer"].values[index]
        known = np.isfinite(layer)
        t = layer[known] / n
        infinite = data["infinite"].values[index][known]
        start = 1 / (n * infinite[np.argmin(abs(t - 1))]) - KAPPA
        wiggle = noise * random.standard_normal((data.sizes["group"], known.sum()))
        wiggle *= math.sqrt(n / 50)
        factor = (1 + correction / n) * n**-size
        mean = LAW.mean(t) - start * LAW.onset(t)
        # Small t is beyond first order in the start, and is not looked at.
        mean = np.where(mean > 0, mean, LAW.mean(t))
        changed["mean"].values[index][:, known] = mean * factor * (1 + wiggle)
        typical = np.log(LAW.typical(t) * factor) - start * LAW.typical_onset(t)
        changed["mean_log"].values[index][:, known] = typical + wiggle
    return changed


def test_the_exact_law_is_recovered(small):
    settings, data, _, _ = small
    found = checks(analysed(FINITE_WIDTH, following(data), settings).checks)
    # Without its correction a collapse may or may not be told from chance at these errors.
    assert {found.pop(f"quality-bare-{kind}").verdict for kind in ("mean", "typical")} <= {
        "agrees",
        "disagrees",
    }
    assert {check.verdict for check in found.values()} == {"agrees"}
    # 20000 simulated paths of an independent program.
    assert found["mean-t1"].expected == pytest.approx(2.495, abs=4 * 0.026)
    assert found["mean-t2"].expected == pytest.approx(0.759, abs=4 * 0.013)


@pytest.mark.slow
def test_a_large_correction_is_not_hidden(small):
    settings, data, _, _ = small
    found = checks(analysed(FINITE_WIDTH, following(data, correction=60.0), settings).checks)
    assert found["quality-bare-typical"].verdict == "disagrees"
    assert found["quality-typical"].verdict == "agrees"
    assert found["typical-t1"].verdict == "agrees"


@pytest.mark.slow
def test_another_exponent_is_seen(small):
    settings, data, _, _ = small
    found = checks(analysed(FINITE_WIDTH, following(data, size=0.7, noise=0.03), settings).checks)
    assert found["exponent-distance-typical"].verdict == "disagrees"
    assert found["exponent-distance-typical"].measured.value == pytest.approx(0.7, abs=0.1)
    assert found["mean-t1"].verdict == "disagrees"


def test_every_check_is_there_at_any_size(small):
    settings, data, analysis, found = small
    assert set(found) == IDS
    # Some tens of networks cannot resolve a distance that few of them dominate.
    assert found["mean-t2"].verdict == "not determined"
    assert len(analysis.tables[0].rows) == 4
    assert min(draw(FINITE_WIDTH, data, settings)) > 2000


def test_an_activation_without_a_curvature(tmp_path):
    settings = config(*SMALL, "activation=relu")
    data, _, found = run(FINITE_WIDTH, settings, tmp_path)
    assert set(found) == IDS
    assert {check.verdict for check in found.values()} == {"not determined"}
    assert draw(FINITE_WIDTH, data, settings)


def test_half_depth_of_a_known_curve():
    t = np.geomspace(0.02, 3, 30)
    random = np.random.default_rng(3)
    infinite = 1 / (1 + 50 * t)
    groups = infinite * np.exp(-0.6 * t) * (1 + 0.05 * random.standard_normal((32, 30)))
    found = half_depth(Width(100, t * 100, infinite, groups), 0.5)
    assert found.value == pytest.approx(math.log(2) / 0.6, abs=4 * found.error)
    assert found.error < 0.05
    too_shallow = half_depth(Width(100, t[:15] * 100, infinite[:15], groups[:, :15]), 0.5)
    assert not too_shallow.determined
