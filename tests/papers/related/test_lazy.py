from dataclasses import replace

import numpy as np
import pytest

from one_part import alone, checks, config, draw, run
from phasescope import studies
from phasescope.papers import related
from phasescope.papers.related.lazy import LAZY

SETTINGS = config("lazy.seeds=4", study=related.STUDY)


def law(power=-0.5, off=0.2, excess=1.5, bound=100.0):
    """Flips that fall with a power of the width, and losses that the spectrum predicts to a factor."""

    def measure(task, device):
        random = np.random.default_rng(task.seed)
        widths = np.tile(np.array(task.parameters["widths"], dtype=float), (2, 1))
        noise = np.exp(0.03 * random.standard_normal(widths.shape))
        flips = 0.5 * widths**power * noise
        seen = 1e-4 * noise
        return {
            "flips": flips,
            "at_random": flips / excess * np.exp(0.02 * random.standard_normal(widths.shape)),
            "law": flips / excess,
            "gap": 1 / widths,
            "drift": 1 / widths,
            "seen": seen,
            "whole": seen * np.exp(off * np.sqrt(64 / widths)),
            "smallest": bound * seen * noise,
        }

    return measure


def analysed(measure, directory):
    finished = studies.run(alone(replace(LAZY, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_lazy_networks_of_the_expected_power_agree_with_all_claims(tmp_path):
    finished, found = analysed(law(), tmp_path)
    assert {check.verdict for check in found.values()} == {"agrees"}
    assert found["flips-slope"].measured.value == pytest.approx(-0.5, abs=0.03)
    assert found["loss-whole"].measured.value == pytest.approx(0.2, abs=1e-9)
    data = finished.data["lazy"].to_dataset()
    assert min(draw(LAZY, data, SETTINGS)) > 15_000
    assert len(finished.analyses["lazy"].tables[0].rows) == 10


def test_each_claim_fails_where_the_data_say_otherwise(tmp_path):
    _, found = analysed(law(power=-0.2, off=3.0, excess=0.7, bound=2.0), tmp_path)
    assert {check.verdict for check in found.values()} == {"disagrees"}


def test_a_small_run_flips_more_gates_than_chance_and_predicts_the_loss(tmp_path):
    small = config(
        "lazy.widths=[64,256]",
        "lazy.inputs=8",
        "lazy.horizons=[20,40]",
        "lazy.seeds=2",
        study=related.STUDY,
    )
    data, _, found = run(LAZY, small, tmp_path)
    assert data["flips"].shape == (2, 2, 2)
    assert (data["seen"].values[:, 1] < data["seen"].values[:, 0]).all()
    assert found["flips-excess"].measured.value > 0
    assert found["loss-wide"].measured.value < 1
