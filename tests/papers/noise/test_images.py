"""LSTMs that read images, at a size that a test can afford, and series of images with known properties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from one_part import analysed, config, draw, run
from one_part import checks as by_id
from phasescope.citations import BIBTEX
from phasescope.data import digits
from phasescope.noise import population
from phasescope.papers import noise
from phasescope.papers.noise.images import IMAGES, READINGS, geometry
from phasescope.papers.noise.networks import CONDITIONS, QUANTITIES
from phasescope.papers.noise.sequences import image_set, shuffled_in_time
from phasescope.papers.noise.shared import window_lengths

pytestmark = [pytest.mark.usefixtures("coarse_errors"), pytest.mark.whole]

PERIOD = 8
SIZES = {"train": 50, "test": 40, "steps": 256, "series": 30, "stream": 64, "seed": 0}


SETTINGS = config(
    "images.units=[2,4,8]",
    "images.pixel_units=[4]",
    "images.networks=2",
    "images.train=80",
    "images.test=40",
    "images.digits_epochs=1",
    "images.series=4",
    "images.tests=1",
    "images.pieces=2",
    "images.piece=1024",
    study=noise.STUDY,
)


def tasks_by_rows(settings):
    return [task for task in IMAGES.tasks(settings) if task.parameters["source"] == "rows"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    # Pixels have windows and a long series of their own, which the rows can stand for.
    part = replace(IMAGES, tasks=tasks_by_rows)
    return run(part, SETTINGS, tmp_path_factory.mktemp("tasks"))[0]


def checks(data):
    found = analysed(IMAGES, data, SETTINGS).checks
    assert len({check.id for check in found}) == len(found)
    return by_id(found)


def place(condition, quantity):
    return slice(None), CONDITIONS.index(condition), QUANTITIES.index(quantity)


def test_a_series_is_one_image_after_the_other():
    rows, pixels = (image_set("", reading, pooled=1, **SIZES) for reading in READINGS)
    assert rows.series.shape == (30, 256, 8)
    assert pixels.series.shape == (30, 256, 1)
    images = digits().standardised().x_test.flatten(1)
    for drawn in (rows.series[3, 16:24].flatten(), pixels.series[3, 64:128].flatten()):
        assert (images == drawn).all(dim=1).sum() == 1
    # Read out in the same order, both say the same.
    torch.testing.assert_close(rows.test.sequences[5].flatten(), pixels.test.sequences[5].flatten())


def test_pooled_pixels_are_means_of_squares():
    whole, pooled = (image_set("", "rows", pooled=side, **SIZES) for side in (1, 2))
    image = whole.test.sequences[7].numpy()
    by_hand = [[image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(pooled.test.sequences[7].numpy(), by_hand, atol=1e-6)


def test_rows_have_the_period_of_an_image_and_shuffled_ones_are_white():
    series = image_set("", "rows", pooled=1, **SIZES).series
    mixed = shuffled_in_time(series, 3)
    torch.testing.assert_close(series.sort(dim=1).values, mixed.sort(dim=1).values, rtol=0, atol=0)
    assert not torch.equal(series, mixed)
    power = [
        np.abs(np.fft.rfft(values.numpy() - values.numpy().mean(axis=1, keepdims=True), axis=1)) ** 2
        for values in (series, mixed)
    ]
    ordered, random = (p.mean(axis=(0, 2)) for p in power)
    harmonics = np.arange(1, 4) * 256 // PERIOD
    # What all images have in common is a line at each multiple of 1/8 on what they do not share.
    beside = np.maximum(ordered[harmonics - 3], ordered[harmonics + 3])
    assert (ordered[harmonics] > 2 * beside).all()
    assert random[harmonics].max() < 2 * random[1:].mean()
    moving = series.std(dim=1).min(dim=0).values > 0
    found = population(mixed[:, :, moving].transpose(1, 2).numpy(), windows=[6, 9, 14, 21, 32], tests=0)
    assert abs(found.mean.value) < 4 * found.mean.error + 0.02


def test_windows_reach_from_a_part_of_an_image_to_several():
    for folder, periods in (("", (8, 64)), ("somewhere", (28, 49))):
        settings = SETTINGS.model_copy(update={"mnist": folder})
        for reading, period in zip(READINGS, periods, strict=True):
            read = geometry(settings, reading)
            windows = window_lengths(*read.windows)
            assert read.period == period
            assert len(windows) == read.windows[2]
            assert windows[0] < period
            assert windows[-1] >= 4 * period
            assert read.steps % period == 0
            assert read.steps >= 8 * windows[-1]
            assert sum(windows <= period) >= 2


def test_checks_and_figures_at_a_small_size(data):
    analysis = analysed(IMAGES, data, SETTINGS)
    found = checks(data)
    assert {id.split("-")[0] for id in found} == set(READINGS)
    assert {check.verdict for id, check in found.items() if id.startswith("pixels")} == {"not determined"}
    assert found["rows-shuffled-input-white"].verdict == "agrees"
    # An image has 8 rows that are alike, and the next image is another one.
    assert found["rows-bend"].measured.value > 0
    assert np.isfinite(data["long_beta"].values).all()
    assert all(len(row) == len(table.columns) for table in analysis.tables for row in table.rows)
    figures = IMAGES.figures(IMAGES.numbers(data, SETTINGS))
    assert [len(figure.draw) for figure in figures] == [3, 3]
    assert all(size > 10_000 for size in draw(IMAGES, data, SETTINGS))
    assert set(IMAGES.citations) <= set(BIBTEX)


def test_checks_keep_their_ids_where_all_networks_are_missing(data):
    found = checks(data.isel(task=[]))
    assert found.keys() == checks(data).keys()
    assert {check.verdict for check in found.values()} == {"not determined"}


def test_known_exponents_get_the_verdicts_that_they_deserve(data):
    changed = data.copy(deep=True)
    units, sign = data["units"].values, 1 - 2 * data["replica"].values
    noise = 0.001 * sign
    changed["test_accuracy"].values[:] = (0.9 + 0.001 * sign)[:, None]
    for name in ("beta", "plain_beta"):
        changed[name].values[place("words", "input")] = 0.5
        changed[name].values[place("untrained", "input")] = 0.5
        changed[name].values[place("words", "hidden")] = 1.4 - 0.1 * np.log2(units) + noise
        changed[name].values[place("untrained", "hidden")] = 0.6
        changed[name].values[place("shuffled", "input")] = 0.0
        changed[name].values[place("shuffled", "hidden")] = 0.3
    # Slope 1 within an image, 1/2 beyond it.
    windows = window_lengths(*geometry(SETTINGS, "rows").windows)
    curve = np.where(windows <= PERIOD, windows / PERIOD, np.sqrt(windows / PERIOD))
    changed["fluctuation"].values[place("words", "hidden")] = curve
    found = checks(changed)
    # All widths are on the plateau: the smallest, 2, has beta(h) = 1.3.
    assert found["rows-hidden-above-input"].measured.value == pytest.approx(0.8, abs=1e-9)
    assert found["rows-hidden-above-input"].verdict == "agrees"
    assert found["rows-trained"].measured.value == pytest.approx(0.7, abs=1e-9)
    assert found["rows-order"].measured.value == pytest.approx(0.5, abs=1e-9)
    assert found["rows-order"].verdict == "disagrees"
    assert found["rows-falls-with-size"].measured.value == pytest.approx(0.1, abs=1e-3)
    assert found["rows-falls-with-size"].verdict == "agrees"
    assert found["rows-bend"].measured.value == pytest.approx(1.0, abs=1e-6)


def test_a_task_is_the_same_whenever_it_is_measured(data):
    task = next(task for task in IMAGES.tasks(SETTINGS) if task.id == str(data["task_id"].values[-1]))
    again = IMAGES.measure(task, "cpu")
    for name, values in again.items():
        kept = np.array(data[name].values[-1])
        inside = tuple(map(slice, np.shape(values)))
        np.testing.assert_array_equal(values, kept[inside])
        # What is beyond belongs to wider networks.
        kept[inside] = np.nan
        assert np.isnan(kept).all()


def test_tasks_of_the_presets():
    for preset, folder in (("quick", ""), ("quick", "somewhere"), ("paper", "somewhere")):
        whole = noise.STUDY.presets[preset].model_copy(update={"mnist": folder})
        settings, tasks = whole.images, IMAGES.tasks(whole)
        assert len(tasks) == settings.networks * len((*settings.units, *settings.pixel_units))
        assert {task.parameters["train"] for task in tasks} == {settings.train if folder else 1437}
        assert len({task.seed for task in tasks}) == len(tasks)
        assert len({tuple(sorted(task.parameters)) for task in tasks}) == 1
        # Arrays of one part have one shape.
        assert len({task.parameters["most_units"] for task in tasks}) == 1
        assert len({task.parameters["epochs"] for task in tasks}) == 1
