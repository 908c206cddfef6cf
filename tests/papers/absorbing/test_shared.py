"""What the parts of the study share: a user's own activation, which must not change while a study runs."""

import pytest

from one_part import config
from phasescope.errors import InputError
from phasescope.papers.absorbing import STUDY


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
