import math

import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers.absorbing.width_cost import WIDTH_COST

pytestmark = pytest.mark.whole

SMALL = (
    "width_cost.growth_effort=1e4",
    "width_cost.flow_effort=1e4",
    "width_cost.growth_widths=[20,40]",
    "width_cost.flow_widths=[20,40,80]",
    "width_cost.sigma_bs=[0.1,1.0]",
    "width_cost.flow_sigma_bs=[0.3,1.0]",
)
# v at sigma_b = 0.1 and 1, independent quadrature.
V = {"tanh": (3.65, 6.84), "erf": (3.62, 7.01), "sin": (3.39, 3.48)}
IDS = {f"{quantity}{what}-{name}" for quantity in ("v", "mu") for what in ("", "-slope") for name in V}
IDS |= {"larger-kappa-larger-mu", "sin-variance", "sin-flow"}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL)
    return settings, *run(WIDTH_COST, settings, tmp_path_factory.mktemp("width-cost"))


def following(data, *, steeper=1.0, noise=0.05, seed=0):
    """The data with ``n Var/segment = v (1 + 3/n)``, and half of the distance lost at ``l = (n + 3)/mu``."""
    random = np.random.default_rng(seed)
    changed = data.copy(deep=True)
    groups = data.sizes["group"]
    for index in range(data.sizes["task"]):
        here = data.isel(task=index)
        n = float(here["width"])
        if str(here["kind"].values) == "growth":
            low, high = V[str(here["activation"].values)]
            v = (low if float(here["sigma_b"]) < 0.5 else high) * (1 + 3 / n)
            total = v * float(here["segment"]) / n
            changed["growth"].values[index] = -0.1
            # 0.8 of it within a segment and 0.1 on either side.
            changed["growth_square"].values[index] = 0.01 + total * (
                0.8 + noise * random.standard_normal(groups)
            )
            changed["growth_product"].values[index] = 0.01 + 0.1 * total
        elif str(here["kind"].values) == "flow":
            mu = MU[str(here["activation"].values), float(here["sigma_b"])] * steeper
            lost = np.exp(-math.log(2) * mu * here["layer"].values / (n + 3))
            wiggle = 1 + noise * random.standard_normal((groups, lost.size))
            changed["mean"].values[index] = here["infinite"].values * lost * wiggle
    return changed


# n/L at half of infinite width's distance; 100000 simulated paths of dX agree with each within 2 %.
MU = {("tanh", 0.3): 0.771, ("erf", 0.3): 0.795, ("sin", 0.3): 0.655}
MU |= {("tanh", 1.0): 1.468, ("erf", 1.0): 1.527, ("sin", 1.0): 0.795}


def test_known_variances_and_ratios_are_recovered(small):
    settings, data, _, _ = small
    found = checks(analysed(WIDTH_COST, following(data), settings).checks)
    verdicts = {name: check.verdict for name, check in found.items()}
    # In theory mu of sin grows with kappa, if little.
    assert verdicts == {name: "disagrees" if name == "sin-flow" else "agrees" for name in IDS}
    assert found["v-tanh"].measured.value == pytest.approx(1, abs=4 * found["v-tanh"].measured.error)
    assert found["sin-variance"].expected == pytest.approx(3.48 / 3.39, abs=0.005)


def test_a_wrong_width_is_seen(small):
    settings, data, _, _ = small
    found = checks(analysed(WIDTH_COST, following(data, steeper=1.5), settings).checks)
    assert {found[f"mu-{name}"].verdict for name in V} == {"disagrees"}
    assert found["mu-sin"].measured.value == pytest.approx(1.5, abs=0.1)


def test_every_check_is_there_at_any_size(small):
    settings, data, analysis, found = small
    assert set(found) == IDS
    assert len(analysis.tables[0].rows) == 9
    assert min(draw(WIDTH_COST, data, settings)) > 2000


def test_an_activation_without_a_curvature(tmp_path):
    settings = config(*SMALL, "activation=relu", 'compared=["relu"]')
    data, _, found = run(WIDTH_COST, settings, tmp_path)
    assert found["mu-relu"].verdict == "not determined"
    assert found["sin-variance"].verdict == "not determined"
    assert draw(WIDTH_COST, data, settings)
