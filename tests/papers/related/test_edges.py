import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers import related
from phasescope.papers.related.edges import EDGES

SETTINGS = config(
    "edges.seeds=2", "edges.steps=30", "edges.samples=48", "edges.blocks=4", study=related.STUDY
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return run(EDGES, SETTINGS, tmp_path_factory.mktemp("edges"))


def made(data, second, first, path, *, greedy):
    """The data of a run with changes in place of those that were measured, and as good as said."""
    data = data.copy(deep=True)
    networks, edges = data.sizes["task"], data.sizes["edge"]
    random = np.random.default_rng(0)
    change = np.exp(random.standard_normal((networks, 2, edges)))
    noise = random.standard_normal((networks, 2, edges))
    data["change"][:] = change
    for name, level in (("second", second), ("first", first), ("path", path)):
        data[name][:] = change if level else noise
    removed = np.arange(data.sizes["removed"])
    data["random"][:] = removed + 0.1 * random.standard_normal((2, 20, len(removed)))
    data["curve"][:] = removed * (0.1 if greedy else 2.0)
    return data


def verdicts(data):
    found = checks(analysed(EDGES, data, SETTINGS).checks)
    return {name: check.verdict for name, check in found.items()}


def test_a_tiny_run_gives_every_number_and_draws(tiny):
    data, analysis, found = tiny
    assert set(found) == {
        f"{name}-{kind}" for kind in ("blocks", "heads") for name in ("path", "first", "order")
    } | {f"second-{kind}-{data}" for kind in ("blocks", "heads") for data in ("training", "test")}
    assert data["change"].shape == (4, 2, 4)
    for name in ("change", "first", "second", "path", "random", "curve"):
        assert np.isfinite(data[name]).all()
    np.testing.assert_allclose(data["path"], data["change"], atol=0.03)
    assert len(analysis.notes) == 2
    assert min(draw(EDGES, data, SETTINGS)) > 1000


def test_claims_agree_where_orders_are_perfect(tiny):
    found = verdicts(made(tiny[0], True, False, True, greedy=True))
    assert {verdict for name, verdict in found.items() if not name.startswith("first")} == {"agrees"}


def test_claims_disagree_where_they_are_wrong(tiny):
    found = verdicts(made(tiny[0], False, True, False, greedy=False))
    wrong = [name for name in found if name.startswith(("order", "path"))]
    assert {found[name] for name in wrong} <= {"disagrees", "not determined"}
    assert found["order-blocks"] == "disagrees"
    assert "agrees" not in {found[name] for name in found if not name.startswith("order")}
