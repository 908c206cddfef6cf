"""What is whole is kept, the rest is computed, and everything is told."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.sweep import Store, run
from sweep_tasks import contents, fails_on_odd_numbers, large, measure, tasks


def test_every_task_gets_its_file_and_the_second_run_finds_them(tmp_path):
    work = tasks(5)
    outcome = run(work, measure, tmp_path / "new")
    assert (outcome.total, outcome.reused, outcome.computed, outcome.failed) == (5, 0, 5, {})
    for task in work:
        found = Store(tmp_path / "new").read(task)
        np.testing.assert_array_equal(found["values"], measure(task)["values"])
    before = contents(tmp_path / "new")
    outcome = run(work, measure, tmp_path / "new")
    assert (outcome.reused, outcome.computed) == (5, 0)
    assert contents(tmp_path / "new") == before


def test_more_tasks_are_added_to_those_there(tmp_path):
    run(tasks(3), measure, tmp_path)
    outcome = run(tasks(5), measure, tmp_path)
    assert (outcome.total, outcome.reused, outcome.computed) == (5, 3, 2)
    outcome = run(tasks(2), measure, tmp_path)
    assert (outcome.total, outcome.reused, outcome.foreign) == (2, 2, [])


def test_the_listener_hears_everything_in_order(tmp_path):
    work = tasks(3)
    run(work[:2], measure, tmp_path)
    Store(tmp_path).path(work[1]).write_bytes(b"spoilt")
    (tmp_path / "notes.txt").write_text("mine")
    events = []
    run(work, measure, tmp_path, listener=events.append)
    assert [event.kind for event in events] == ["damaged", "foreign", "survey", "done", "done"]
    assert events[0].task == work[1]
    assert "no task file" in events[0].message
    assert "notes.txt" in events[1].message
    assert [(event.done, event.total) for event in events[2:]] == [(1, 3), (2, 3), (3, 3)]
    assert events[2].remaining == pytest.approx(0.2)
    assert events[-1].remaining == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_raises_is_told_and_the_others_go_on(tmp_path, workers):
    work = tasks(6)
    events = []
    outcome = run(work, fails_on_odd_numbers, tmp_path, workers=workers, listener=events.append)
    assert outcome.computed == 3
    assert set(outcome.failed) == {task.id for task in work if task.parameters["number"] % 2}
    assert outcome.failed[work[1].id].startswith("ValueError: number 1 is odd (sweep_tasks.py, line ")
    assert {event.task.id for event in events if event.kind == "failed"} == set(outcome.failed)
    outcome = run(work, measure, tmp_path)
    assert (outcome.reused, outcome.computed, outcome.failed) == (3, 3, {})


@pytest.mark.parametrize("answer", [None, {"a": np.array([object()])}, [1, 2]])
def test_a_measurement_that_returns_something_else_fails(tmp_path, answer):
    outcome = run(tasks(1), lambda task: answer, tmp_path)
    [message] = outcome.failed.values()
    assert message.startswith(("AttributeError", "TypeError"))


def damage(draw, directory, work):
    """Spoil one file in one of seven ways; return its task and whether it leaves a damaged file."""
    store, task = Store(directory), draw.choice(work)
    path = store.path(task)
    data = bytearray(path.read_bytes())
    way = draw.choice(["flip", "flip", "flip", "cut", "missing", "foreign", "swapped", "emptied"])
    if way == "missing":
        path.unlink()
        return task, False
    if way == "flip":
        bit = draw.randrange(8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
    elif way == "cut":
        del data[draw.randrange(len(data)) :]
    elif way == "foreign":
        data = draw.randbytes(len(data))
    elif way == "swapped":
        data = store.path(draw.choice([other for other in work if other != task])).read_bytes()
    else:
        data = b""
    path.write_bytes(data)
    return task, True


def held_against_damage(directory, trials):
    work = tasks(6)
    run(work, measure, directory)
    whole, draw = contents(directory), random.Random(1)
    for _ in range(trials):
        task, left = damage(draw, directory, work)
        events = []
        outcome = run(work, measure, directory, listener=events.append)
        assert (outcome.reused, outcome.computed) == (5, 1)
        assert list(outcome.damaged) == ([task.id] if left else [])
        assert [event.task for event in events if event.kind == "done"] == [task]
        assert contents(directory) == whole


def test_every_damage_is_noticed_and_only_that_task_recomputed(tmp_path):
    held_against_damage(tmp_path, 60)


@pytest.mark.slow
def test_a_thousand_damages_are_noticed(tmp_path):
    held_against_damage(tmp_path, 1000)


def test_leftovers_of_killed_runs_are_removed_and_nothing_else(tmp_path):
    run(tasks(1), measure, tmp_path)
    (tmp_path / f".{tasks(1)[0].id}.task.0123456789ab.part").write_text("half")
    (tmp_path / ".mine.part").write_text("kept")
    run(tasks(1), measure, tmp_path)
    assert {path.name for path in tmp_path.glob(".*")} == {".lock", ".mine.part"}


LIMITED = """
import resource, sys
from sweep_tasks import large, tasks
from phasescope.errors import InputError
from phasescope.sweep import run
if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    try:
        run(tasks(4), large, sys.argv[1], workers=int(sys.argv[2]))
    except InputError as error:
        print(error)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_run_with_its_name(tmp_path, workers):
    """A limit on file sizes fails in the same place as a full disk; real and the same in worker processes."""
    script = tmp_path / "limited.py"
    script.write_text(LIMITED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    shown = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out"), str(workers)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stderr == ""
    assert f"The disk of {tmp_path / 'out'} is full" in shown.stdout
    assert "Free some space" in shown.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "manifest.json"}
    assert run(tasks(4), large, tmp_path / "out").computed == 4


@pytest.mark.parametrize("directory", ["/proc/phasescope", "/dev/null/below"])
def test_a_folder_that_nobody_can_write_is_refused(directory):
    with pytest.raises(InputError, match=r"/(proc|dev).* cannot be") as raised:
        run(tasks(1), measure, directory)
    assert "--out" in raised.value.fix


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(InputError, match="workers=0"):
        run(tasks(1), measure, tmp_path, workers=0)


def test_importing_the_room_imports_no_torch():
    code = "import sys, phasescope.sweep; print({'torch', 'distributed', 'xarray'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
