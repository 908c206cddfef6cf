import math

import numpy as np
import pytest

from one_part import analysed, checks, config, draw, run
from phasescope.papers import chaos
from phasescope.papers.chaos.mnist import COUNTS, LIMIT_RATES, MNIST, RATES

SMALL = (
    "mnist_panels.steps=12",
    "mnist_panels.images=60",
    "mnist_panels.test=40",
    "mnist_panels.starts=3",
    "mnist_panels.copies=1",
    "mnist_panels.limit_starts=2",
    "mnist_panels.limit_steps=10",
)
# Read off figures 15 and 17 of arXiv:2404.05782.
DISTANCE = [2.6e-4, 1.0, 250, 1600, 6000, 11_000]
ACCURACY = [0.12, 0.2, 0.62, 0.80, 0.85, 0.25]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    settings = config(*SMALL, study=chaos.STUDY)
    return settings, *run(MNIST, settings, tmp_path_factory.mktemp("mnist"))


def papers_own(data):
    """The data as if they came from MNIST and showed what the figures show."""
    settings = config("mnist=DIR", "mnist_panels.steps=1000", "mnist_panels.images=5000", study=chaos.STUDY)
    changed = data.copy(deep=True).assign_coords(data_set=("task", ["mnist"] * data.sizes["task"]))
    steps = np.arange(changed.sizes["step"])
    begin = 64 * 794 * 0.5e-8
    for row in range(changed.sizes["task"]):
        rate = float(changed["rate"][row])
        if changed["kind"][row] == "all weights":
            place = RATES.index(rate)
            rise = np.geomspace(begin, DISTANCE[place], len(steps))
            changed["distance"].values[row, :, 0] = rise
            changed["accuracy"].values[row] = ACCURACY[place]
            loss = np.where(steps % 2, 2.0, 1.0) if rate == 5 else 30.0 - 0.1 * steps
            changed["loss"].values[row] = loss
        else:
            speed = 4.5 if rate >= 1 else 0.5
            for copy, count in enumerate(COUNTS):
                grown = count * 0.5e-8 * np.exp(speed * steps)
                changed["distance"].values[row, :, copy] = np.minimum(grown, 500)
    return settings, changed


def test_the_stand_in_is_not_taken_for_mnist(small):
    *_, found = small
    assert len(found) == 23
    numbers = [name for name in found if name.startswith(("distance-", "accuracy-"))]
    assert len(numbers) == 12
    for name in (*numbers, "loss-15", "limit-soon", "limit-speed"):
        assert found[name].verdict == "not determined"
        assert "digits" in found[name].measured.reason
    assert "digits" in found["sensitive"].claim


def test_kicks_start_at_half_their_size(small):
    _, data, _, found = small
    assert found["d0"].verdict == "agrees"
    single = data["distance"].values[data["kind"].values == "few weights"][:, 0]
    assert (single[:, 0] <= 1e-8).all()
    # 2^11 weights of a uniform perturbation: n eps/2 within 4 / sqrt(3 n).
    assert single[:, 11] == pytest.approx(2**11 * 0.5e-8, rel=4 / math.sqrt(3 * 2**11))
    biases_included = (64 * 65 + 650) * 0.5e-8
    first = data["distance"].values[data["kind"].values == "all weights"][:, 0, 0]
    assert abs(first.mean() / biases_included - 1) > 0.01


def test_what_the_figures_show_agrees(small):
    settings, changed = papers_own(small[1])
    found = checks(analysed(MNIST, changed, settings).checks)
    del found["d0"]  # that of the digits
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "agrees")


def test_another_distance_and_accuracy_disagree(small):
    settings, changed = papers_own(small[1])
    at_five = changed["rate"].values == 5.0
    changed["distance"].values[at_five] *= 10
    changed["accuracy"].values[at_five] = 0.3
    found = checks(analysed(MNIST, changed, settings).checks)
    assert found["distance-5"].verdict == found["accuracy-5"].verdict == "disagrees"
    assert found["distance-1"].verdict == "agrees"


def test_a_slow_rise_disagrees_with_the_limit(small):
    settings, changed = papers_own(small[1])
    steps = np.arange(changed.sizes["step"])
    for row in np.flatnonzero(changed["kind"].values == "few weights"):
        changed["distance"].values[row] = 1e-4 * np.exp(1.5 * steps)[:, None] * np.ones(len(COUNTS))
    found = checks(analysed(MNIST, changed, settings).checks)
    assert found["limit-speed"].verdict == found["limit-soon"].verdict == "disagrees"
    assert set(LIMIT_RATES) == set(changed["rate"].values[changed["kind"].values == "few weights"])


def test_figures_and_table(small):
    settings, data, analysis, _ = small
    assert [row[0] for row in analysis.tables[0].rows] == ["0.001", "0.01", "0.1", "1", "5", "15"]
    assert any("raw" in note for note in analysis.notes)
    assert min(draw(MNIST, data, settings)) > 20_000
