"""The study at its quick preset, with errors from as many simulated series as everywhere else."""

import pytest

from one_part import config, run
from phasescope.papers import noise
from phasescope.papers.noise.controls import CONTROLS


@pytest.mark.slow
def test_all_known_answers_are_found(tmp_path):
    _, _, found = run(CONTROLS, config(study=noise.STUDY), tmp_path)
    assert {id for id, check in found.items() if check.verdict != "agrees"} == set()
