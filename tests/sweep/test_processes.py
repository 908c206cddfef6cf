"""Worker processes: the same bytes, deaths told, interruptions prompt, one run a folder."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from phasescope.errors import InputError
from phasescope.sweep import Store, run
from sweep_tasks import contents, dies_on_three, measure, tasks

TESTS = Path(__file__).parents[1]


@pytest.fixture
def started():
    """A function that starts a sweep as a process of its own; whatever is left of it is ended."""
    running = []

    def start(directory, count, sleep, workers):
        process = subprocess.Popen(
            [sys.executable, "-m", "sweep_tasks", str(directory), str(count), str(sleep), str(workers)],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def await_line(process, line):
    for shown in process.stdout:
        if shown.strip() == line:
            return
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("workers", [2, 4])
def test_the_same_bytes_from_any_number_of_workers_in_any_order(tmp_path, workers):
    work = tasks(40)
    run(work, measure, tmp_path / "one")
    random.Random(workers).shuffle(work)
    outcome = run(work, measure, tmp_path / "many", workers=workers)
    assert (outcome.computed, outcome.failed) == (40, {})
    assert len(contents(tmp_path / "one")) == 40
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_a_task_that_ends_its_worker_is_named_and_the_others_are_computed(tmp_path):
    work = tasks(8)
    events = []
    outcome = run(work, dies_on_three, tmp_path, workers=2, listener=events.append)
    assert outcome.failed == {work[3].id: "its worker process died; was there enough memory?"}
    assert outcome.computed == 7
    assert len(contents(tmp_path)) == 7
    [died] = [event for event in events if event.kind == "died"]
    assert work[3].id in died.message
    assert sorted(event.task.parameters["number"] for event in events if event.kind == "done") == [
        *range(3),
        *range(4, 8),
    ]
    assert not list(tmp_path.glob("*.part"))


def test_a_worker_that_dies_by_accident_costs_no_task(tmp_path):
    work = tasks(6, dies_unless=str(tmp_path / "died"))
    outcome = run(work, dies_on_three, tmp_path / "out", workers=2)
    assert (outcome.computed, outcome.failed) == (6, {})


def test_what_cannot_be_sent_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot be started: .*pickle") as raised:
        run(tasks(2), lambda task: {}, tmp_path, workers=2)
    assert "module" in raised.value.fix


def test_a_script_without_a_main_guard_is_told_what_it_lacks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from sweep_tasks import measure, tasks\nfrom phasescope.sweep import run\n"
        f"run(tasks(2), measure, {str(tmp_path / 'out')!r}, workers=2)\n"
    )
    shown = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 1
    assert "__name__ == '__main__'" in shown.stderr.splitlines()[-1]


@pytest.mark.parametrize("workers", [0, 2])
def test_interruption_ends_promptly_and_keeps_what_is_done(tmp_path, started, workers):
    for task in tasks(3, 60.0):
        Store(tmp_path).write(task, measure_now(task))
    process = started(tmp_path, 6, 60.0, max(workers, 1))
    await_line(process, "survey")
    children = spawned(process.pid, workers)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not any(child.is_running() for child in children)
    assert len(contents(tmp_path)) == 3
    assert {path.name for path in tmp_path.glob(".*")} == {".lock"}


def test_a_second_run_in_the_same_folder_is_refused_until_the_first_has_ended(tmp_path, started):
    process = started(tmp_path, 2, 60.0, 1)
    await_line(process, "survey")
    with pytest.raises(InputError, match=f"Another run is at work in .*: process {process.pid} on "):
        run(tasks(2), measure, tmp_path)
    process.kill()
    process.wait()
    assert run(tasks(2), measure, tmp_path).computed == 2


def measure_now(task):
    return {"done": measure(tasks(1)[0])["values"]}


def spawned(pid, count):
    """The worker processes of a run, once all have been started."""
    parent = psutil.Process(pid)
    while True:
        found = [child for child in parent.children() if "spawn_main" in " ".join(child.cmdline())]
        if len(found) == count:
            return found
