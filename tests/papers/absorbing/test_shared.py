"""What the parts of the study share: a user's own activation, which must not change while a study runs."""

import math

import pytest

from one_part import config
from phasescope.activations import as_activation
from phasescope.errors import InputError
from phasescope.papers.absorbing import STUDY, shared
from phasescope.theory import critical_line


@pytest.mark.parametrize("part", STUDY.parts, ids=lambda part: part.name)
def test_a_file_that_changes_while_the_study_runs_is_refused(part, tmp_path):
    file = tmp_path / "own.py"
    file.write_text("import torch\n\n\ndef wave(z):\n    return torch.tanh(z)\n")
    tasks = [
        task
        for task in part.tasks(config(f"activation={file}:wave"))
        if task.parameters["activation"] == f"{file}:wave"
    ]
    assert tasks
    file.write_text(file.read_text() + "# edited\n")
    kinds = {task.parameters.get("kind"): task for task in tasks}
    for task in kinds.values():
        with pytest.raises(InputError, match=r"own\.py:wave has changed while the study was running"):
            part.measure(task, "cpu")


@pytest.mark.parametrize("growth", [-4.0, 4.0])
def test_off_the_line_by_a_given_growth(growth):
    point = critical_line("erf", 0.3)
    field = shared.off_line(as_activation("erf"), point, 10, growth)
    chi = field.fixed_point().chi_perpendicular
    assert 10 * math.log(chi) == pytest.approx(growth, abs=1e-3)
    assert (field.C_W > point.C_W) == (growth > 0)


def test_the_bias_of_a_kappa():
    # kappa of tanh at sigma_b = 0.1 and 1, from an independent quadrature.
    for sigma_b, kappa in ((0.1, 0.06009872), (1.0, 1.12392756)):
        point = shared.at_kappa("tanh", kappa)
        assert math.sqrt(point.C_b) == pytest.approx(sigma_b, rel=1e-6)
    assert shared.at_kappa("tanh", 50.0) is None
    assert shared.at_kappa("relu", 0.1) is None
