"""A real Dask scheduler and two workers, each a process of its own on this machine."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import phasescope
from phasescope.errors import InputError
from phasescope.sweep import Store, run
from sweep_tasks import contents, fails_on_odd_numbers, measure, sees_threads, tasks

TESTS = Path(__file__).parents[1]


class Cluster:
    """Starts and ends the processes."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.file = folder / "scheduler.json"

    def start(self, module, *options):
        with (self.folder / f"log{len(self.processes)}").open("w") as log:
            command = [sys.executable, "-m", f"distributed.cli.{module}", "--host", "127.0.0.1"]
            paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
            self.processes.append(
                subprocess.Popen(
                    [*command, "--no-dashboard", "--scheduler-file", str(self.file), *options],
                    env=environment,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                )
            )

    def start_scheduler(self):
        self.start("dask_scheduler", "--port", "0")
        end = time.monotonic() + 60
        while True:
            assert time.monotonic() < end
            try:
                return json.loads(self.file.read_text())["address"]
            except (OSError, ValueError):
                time.sleep(0.05)

    def start_worker(self):
        self.start("dask_worker", "--no-nanny", "--nthreads", "1", "--memory-limit", "0")

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        found = cluster.start_scheduler()
        for _ in range(2):
            cluster.start_worker()
        yield found
    finally:
        cluster.stop()


def test_the_same_bytes_as_in_this_process(tmp_path, address):
    work = tasks(40)
    run(work, measure, tmp_path / "here")
    outcome = run(work[::-1], measure, tmp_path / "there", scheduler=address)
    assert (outcome.computed, outcome.failed) == (40, {})
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    outcome = run(work, measure, tmp_path / "there", scheduler=address)
    assert (outcome.reused, outcome.computed) == (40, 0)


def test_a_task_that_raises_is_told_and_the_others_go_on(tmp_path, address):
    work = tasks(6)
    outcome = run(work, fails_on_odd_numbers, tmp_path, scheduler=address)
    assert outcome.computed == 3
    assert outcome.failed[work[5].id].startswith("ValueError: number 5 is odd (sweep_tasks.py, line ")


def test_tasks_see_one_thread(tmp_path, address):
    work = tasks(1)
    run(work, sees_threads, tmp_path, scheduler=address)
    seen = Store(tmp_path).read(work[0])
    assert seen["torch"] == 1
    assert set(seen["libraries"]) == {1}


def test_workers_of_another_release_are_refused(tmp_path, address, monkeypatch):
    monkeypatch.setattr(phasescope, "__version__", "99.0")
    with pytest.raises(InputError, match=r"A worker has phasescope [\d.]+, and this is 99\.0"):
        run(tasks(1), measure, tmp_path, scheduler=address)


def test_a_cluster_without_workers_is_waited_for_and_a_lost_one_is_told(tmp_path):
    cluster = Cluster(tmp_path)
    events = []

    def listen(event):
        events.append(event.kind)
        if event.kind == "waiting":
            cluster.start_worker()
        if event.kind == "done" and cluster.processes[0].poll() is None:
            cluster.processes[0].kill()

    try:
        address = cluster.start_scheduler()
        with pytest.raises(InputError, match=f"computed by the workers of {address}"):
            run(tasks(200, 0.1), measure, tmp_path / "out", scheduler=address, listener=listen)
    finally:
        cluster.stop()
    assert events[:3] == ["survey", "waiting", "done"]
    assert len(contents(tmp_path / "out")) == events.count("done")


@pytest.mark.parametrize("bad", ["nonsense", "127.0.0.1:port", "bla://127.0.0.1:8786"])
def test_what_is_no_address_is_refused(tmp_path, bad):
    with pytest.raises(InputError, match=f"No Dask scheduler answers at {bad}"):
        run(tasks(1), measure, tmp_path, scheduler=bad)


def test_a_scheduler_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("phasescope.sweep.executors._PATIENCE", 0.3)
    with pytest.raises(InputError, match="No Dask scheduler answers at tcp:") as raised:
        run(tasks(1), measure, tmp_path, scheduler="tcp://127.0.0.1:9")
    assert "dask scheduler" in raised.value.fix


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    found = importlib.import_module

    def absent(name):
        if name == "distributed":
            raise ModuleNotFoundError("No module named 'distributed'", name=name)
        return found(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(InputError, match="needs the package distributed") as raised:
        run(tasks(1), measure, tmp_path, scheduler="tcp://127.0.0.1:9")
    assert "phasescope[cluster]" in raised.value.fix
