from dataclasses import replace

import numpy as np
import pytest

from one_part import alone, analysed, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.edges import EDGES

SETTINGS = config(
    "edges.seeds=2", "edges.steps=30", "edges.samples=48", "edges.blocks=4", study=related.STUDY
)

COLOURED = ("channels", "vit")


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
    return {name: check.verdict for name, check in found.items() if name.split("-")[1] not in COLOURED}


def colour_folder(place):
    """Write made colour images where the loader looks for those of CIFAR-10."""
    random = np.random.default_rng(0)
    shapes = {"train": 80, "test": 60}
    arrays = {f"x_{n}": random.integers(0, 256, (k, 32, 32, 3), dtype=np.uint8) for n, k in shapes.items()}
    arrays |= {f"y_{n}": np.arange(k) % 10 for n, k in shapes.items()}
    np.savez(place / "cifar10_jpeg_10k_train_5k_test.npz", **arrays)


def test_a_tiny_run_gives_every_number_and_draws(tiny):
    data, analysis, found = tiny
    assert {name for name in found if name.split("-")[1] not in COLOURED} == {
        f"{name}-{kind}" for kind in ("blocks", "heads") for name in ("path", "first", "order")
    } | {f"second-{kind}-{data}" for kind in ("blocks", "heads") for data in ("training", "test")}
    assert data["change"].shape == (4, 2, 4)
    for name in ("change", "first", "second", "path", "random", "curve"):
        assert np.isfinite(data[name]).all()
    np.testing.assert_allclose(data["path"], data["change"], atol=0.03)
    assert len(analysis.notes) == 3
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


def test_networks_for_colour_images_are_not_determined_without_them(tiny):
    found = {name: each for name, each in tiny[2].items() if name.split("-")[1] in COLOURED}
    assert len(found) == 8
    assert {each.verdict for each in found.values()} == {"not determined"}
    assert found["path-vit"].measured.reason == "no folder of CIFAR-10 was named"
    named = studies.changed(SETTINGS, ["cifar10=somewhere"])
    found = checks(analysed(EDGES, tiny[0], named).checks)
    assert found["first-channels"].measured.reason == "measured at the preset paper"


@pytest.mark.parametrize("right", [True, False])
def test_networks_for_colour_images_are_judged_by_their_orders(tiny, tmp_path, right):
    named = studies.changed(SETTINGS, ["cifar10=somewhere", "edges.colour_seeds=4"])

    def measured(task, device):
        if task.parameters["kind"] not in COLOURED:
            return {name: tiny[0].isel(task=0)[name].values for name in EDGES.variables}
        random = np.random.default_rng(task.seed)
        change = np.exp(random.standard_normal((2, 12 if task.parameters["kind"] == "vit" else 40)))
        noise = np.exp(random.standard_normal(change.shape))
        orders = {"first": noise, "second": change, "path": change}
        if not right:
            orders = {"first": change, "second": -change, "path": noise}
        return {"change": change, **orders, "loss": np.ones(2), "accuracy": np.ones(2)}

    ran = studies.run(alone(replace(EDGES, measure=measured)), named, tmp_path, workers=1)
    assert not ran.failed, ran.failed
    found = {name: c for name, c in checks(ran.checks).items() if name.split("-")[1] in COLOURED}
    assert {check.verdict for check in found.values()} == {"agrees" if right else "disagrees"}
    assert len(ran.analyses["edges"].tables[0].rows) == 8


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "edges"), [("channels", 40), ("vit", 12)])
def test_a_network_for_colour_images_has_an_edge_a_channel_or_a_head(tmp_path, kind, edges):
    colour_folder(tmp_path)
    changes = ["edges.colour_seeds=1", "edges.colour_steps=2", "edges.colour_samples=32"]
    named = studies.changed(SETTINGS, [f"cifar10={tmp_path}", *changes])
    task = next(task for task in EDGES.tasks(named) if task.parameters["kind"] == kind)
    found = EDGES.measure(task, "cpu")
    assert found["change"].shape == (2, edges)
    np.testing.assert_allclose(found["path"], found["change"], atol=0.03)
