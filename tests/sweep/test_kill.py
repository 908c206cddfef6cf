"""`kill -9` at any moment, then the same again: nothing is lost but what was under way."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from phasescope.sweep import run
from sweep_tasks import contents, measure, tasks

TESTS = Path(__file__).parents[1]
COUNT, SLEEP, WORKERS = 60, 0.02, 2


def start(directory, log):
    return subprocess.Popen(
        [sys.executable, "-m", "sweep_tasks", str(directory), str(COUNT), str(SLEEP), str(WORKERS)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "SWEEP_LOG": str(log)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_until(condition, seconds=30.0):
    """Wait for what has to happen; how long it takes is not under test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def workers_of(process):
    try:
        children = psutil.Process(process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def alive(worker):
    try:
        return worker.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill_parent(process, log, delay):
    """Kill once a further task has begun and `delay` has passed; every worker must follow."""
    begun = starts(log)
    wait_until(lambda: starts(log) > begun or process.poll() is not None)
    time.sleep(delay)
    workers = workers_of(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(alive(worker) for worker in workers))


def kill_worker(process, log, delay):
    """Kill one worker; the run itself has to go on to the end."""
    begun = starts(log)
    wait_until(lambda: starts(log) > begun or process.poll() is not None)
    time.sleep(delay)
    for worker in workers_of(process)[:1]:
        worker.kill()
    assert process.wait(timeout=60) == 0


def starts(log):
    return log.read_text().count("\n") if log.exists() else 0


def fresh(directory, keep):
    """Take all but `keep` files away, so that a finished sweep can be killed again."""
    for path in sorted(directory.glob("*.task"))[keep:]:
        path.unlink()


def killed_and_resumed(tmp_path, kills, kinds):
    directory, log, draw = tmp_path / "killed", tmp_path / "log", random.Random(2)
    work = tasks(COUNT, SLEEP, estimated=SLEEP)
    run(work, measure, tmp_path / "whole")
    removed = 0
    for number in range(kills):
        if directory.exists() and len(contents(directory)) > COUNT - 20:
            removed += len(contents(directory)) - 10
            fresh(directory, 10)
        kinds[number % len(kinds)](start(directory, log), log, draw.uniform(0, 0.2))
    outcome = run(work, measure, directory)
    assert outcome.failed == {}
    assert outcome.damaged == {}
    assert contents(directory) == contents(tmp_path / "whole")
    assert not list(directory.glob(".*.part"))
    begun_again = starts(log) + outcome.computed - COUNT - removed
    assert 0 <= begun_again <= WORKERS * kills


def test_a_killed_run_resumes_with_at_most_one_task_a_worker_again(tmp_path):
    killed_and_resumed(tmp_path, 3, [kill_parent])


@pytest.mark.slow
def test_a_killed_worker_costs_at_most_one_task_a_worker(tmp_path):
    killed_and_resumed(tmp_path, 2, [kill_worker])


@pytest.mark.slow
def test_fifty_kills(tmp_path):
    killed_and_resumed(tmp_path, 50, [kill_parent, kill_parent, kill_parent, kill_parent, kill_worker])
