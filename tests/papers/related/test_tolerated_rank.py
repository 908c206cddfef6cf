"""The part on tolerated rank: made ranks that order the test error or do not, and a tiny real run."""

from dataclasses import replace

import numpy as np

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.tolerated_rank import TOLERATED_RANK

SETTINGS = config(study=related.STUDY)
TINY = config(
    "tolerated_rank.networks=2",
    "tolerated_rank.noise=[0.0, 0.5, 1.0]",
    "tolerated_rank.steps=200",
    study=related.STUDY,
)


def ordered(task, device):
    """Ranks on the inputs that grow with the noise, and ranks of the weights that do not."""
    noise = task.parameters["noise"]
    wobble = 0.1 * np.random.default_rng(task.seed).standard_normal()
    return {
        "rank": np.array([13 + 16 * noise, 8 + 20 * noise, 8 + noise]),
        "weights": np.array([43 + np.sin(20 * noise), 43.0, 10.0]),
        "shuffled": np.array([30.0, 8 + 20 * noise + wobble, 8.0]),
        "untrained": np.array([30.0, 28.0, 9.0]),
        "training": 0.0,
        "error": 0.03 + 0.85 * noise,
    }


def turned_round(task, device):
    """Networks that need less rank the more random their labels are."""
    found = ordered(task, device)
    noise = task.parameters["noise"]
    wobble = 0.1 * np.random.default_rng(task.seed).standard_normal()
    found["rank"] = np.array([33 - 16 * noise, 28 - 20 * noise, 10 - noise])
    found["weights"] = np.array([40 + 5 * noise, 43.0, 10.0])
    found["shuffled"] = np.array([30.0 + wobble, 40.0 + wobble, 8.0])
    return found


def made(measure, directory):
    finished = studies.run(alone(replace(TOLERATED_RANK, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_ranks_that_grow_with_the_noise_agree(tmp_path):
    finished, found = made(ordered, tmp_path)
    assert {check.verdict for check in found.values()} == {"agrees"}
    assert found["order"].measured.value > 0.0999
    assert len(finished.analyses["tolerated-rank"].tables[0].rows) == 6
    assert min(draw(TOLERATED_RANK, finished.data["tolerated-rank"].to_dataset(), SETTINGS)) > 10_000


def test_ranks_that_fall_with_the_noise_disagree(tmp_path):
    _, found = made(turned_round, tmp_path)
    assert {check.verdict for check in found.values()} == {"disagrees"}


def test_a_tiny_run_finds_more_error_and_more_rank_with_random_labels(tmp_path):
    data, _, found = run(TOLERATED_RANK, TINY, tmp_path)
    clean, noisy = (data.isel(task=np.flatnonzero(data["noise"].values == noise)) for noise in (0.0, 1.0))
    assert float(clean["error"].max()) < 0.2 < 0.8 < float(noisy["error"].min())
    assert float(clean["rank"].sum("layer").max()) < float(noisy["rank"].sum("layer").min())
    assert len(found) == 6
