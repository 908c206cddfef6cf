from dataclasses import replace

import numpy as np
import pytest

from one_part import alone, analysed, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.rank import DEPTH, NETWORKS, RANK, SHOWN
from phasescope.studies import changed
from phasescope.theory import product_participation, product_rank_fraction

SETTINGS = config(
    "rank.width=12",
    "rank.linear_width=24",
    "rank.seeds=3",
    "rank.inputs=2",
    "rank.steps=2",
    study=related.STUDY,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(RANK, SETTINGS, tmp_path_factory.mktemp("rank"))


def made(data):
    """The data with numbers that follow the laws, and counts that never rise."""
    data = data.copy(deep=True)
    law = [product_participation([64, *[12] * depth], 2.0) for depth in range(1, DEPTH + 1)]
    data["participation"][:] = law
    shares = [product_rank_fraction(DEPTH, t) for t in (0.1, 0.01, 0.001)]
    data["rank"][:] = np.linspace(12, 1, DEPTH)[None, :, None]
    data["rank"][:, -1, :3] = 24 * np.array(shares)
    data["rises"][:] = 0
    return data


def colour_folder(place):
    """Write made colour images where the loader looks for those of CIFAR-10."""
    random = np.random.default_rng(0)
    shapes = {"train": 80, "test": 60}
    arrays = {f"x_{n}": random.integers(0, 256, (k, 32, 32, 3), dtype=np.uint8) for n, k in shapes.items()}
    arrays |= {f"y_{n}": np.arange(k) % 10 for n, k in shapes.items()}
    np.savez(place / "cifar10_jpeg_10k_train_5k_test.npz", **arrays)


def of_images(found):
    """The checks of the networks that need a folder."""
    return {name: each for name, each in checks(found).items() if set(name.split("-")) & set(NETWORKS)}


def of_digits(data):
    """The other checks, of changed data."""
    found = analysed(RANK, data, SETTINGS).checks
    return {name: check for name, check in checks(found).items() if name not in of_images(found)}


def test_a_tiny_run_gives_every_number(finished):
    data, analysis, found = finished
    assert {f"participation-{depth}" for depth in SHOWN} <= set(found)
    assert np.isfinite(data["participation"]).all()
    assert (data["rank"].values[..., 0] <= data["rank"].values[..., 2]).all()
    assert (data["participation"] <= 24).all()
    assert [len(table.rows) for table in analysis.tables] == [15, 3]
    assert min(draw(RANK, data, SETTINGS)) > 10_000


def test_numbers_that_follow_the_laws_agree(finished):
    found = of_digits(made(finished[0]))
    assert {check.verdict for check in found.values()} == {"agrees"}


def test_other_numbers_disagree(finished):
    data = made(finished[0])
    data["participation"] *= 1.3
    data["rank"][:] = np.linspace(1, 24, DEPTH)[None, :, None]
    data["rises"][0] = 0.1
    assert {check.verdict for check in of_digits(data).values()} == {"disagrees"}


def test_networks_whose_images_were_not_named_are_not_determined(finished):
    found = of_images(analysed(RANK, finished[0], SETTINGS).checks)
    assert len(found) == 12
    assert {check.verdict for check in found.values()} == {"not determined"}
    assert found["falls-cnn"].measured.reason == "no folder of CIFAR-10 was named"
    named = changed(SETTINGS, ["cifar10=somewhere"])
    assert of_images(analysed(RANK, finished[0], named).checks)["falls-vit"].measured.reason == (
        "measured at the preset paper"
    )


@pytest.mark.parametrize(("falls", "verdict"), [(True, "agrees"), (False, "disagrees")])
def test_networks_for_colour_images_are_judged_by_how_their_ranks_fall(finished, tmp_path, falls, verdict):
    named = changed(SETTINGS, ["cifar10=somewhere", "rank.colour_seeds=3"])

    def measured(task, device):
        if task.parameters["kind"] not in NETWORKS:
            return {name: finished[0].isel(task=0)[name].values for name in RANK.variables}
        fall = np.linspace(500.0, 100.0, 7)[:: 1 if falls else -1]
        fall = fall + np.random.default_rng(task.seed).random()
        rank, rises = np.repeat(fall[:, None], 4, axis=1), np.full(4, 0.0 if falls else 1.0)
        return {"participation": fall, "rank": rank, "rises": rises, "entering": 768}

    ran = studies.run(alone(replace(RANK, measure=measured)), named, tmp_path, workers=1)
    assert not ran.failed, ran.failed
    found = of_images(ran.checks)
    of_colours = {name: check.verdict for name, check in found.items() if "mnist" not in name}
    assert set(of_colours.values()) == {verdict}
    assert len(of_colours) == 8
    assert [len(table.rows) for table in ran.analyses["rank"].tables] == [23, 7]
    assert min(draw(RANK, ran.data["rank"].to_dataset(), named)) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_network_for_colour_images_is_measured_at_seven_layers(tmp_path, kind):
    colour_folder(tmp_path)
    changes = ["rank.colour_seeds=1", "rank.colour_inputs=1", "rank.steps=1"]
    named = changed(SETTINGS, [f"cifar10={tmp_path}", *changes])
    task = [task for task in RANK.tasks(named) if task.parameters["kind"] == kind][-1]
    found = RANK.measure(task, "cpu")
    assert found["rank"].shape == (7, 4)
    assert found["entering"] == 768
    assert found["rank"][0].max() <= 768
    assert (np.diff(found["participation"]) < 0).all()
