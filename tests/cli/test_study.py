"""``phasescope study`` as a user types it."""

import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import toy_study
from phasescope.cli.study import size
from phasescope.cli.study_progress import display, duration
from phasescope.studies import PartPlan
from phasescope.sweep import Event

MAIN = "import sys; from phasescope.cli import main; sys.exit(main())"
RESULTS = ("results.nc", "results.nc.sha256", "checks.json", "report.html")


@pytest.fixture
def toy(tmp_path):
    shutil.copy(toy_study.__file__, tmp_path / "toy.py")
    return "toy.py:STUDY"


def contents(directory):
    return {name: (directory / name).read_bytes() for name in RESULTS}


def test_a_run_prints_the_plan_then_the_checks_and_leaves_the_files(phasescope, toy, tmp_path):
    answer = phasescope("study", "run", toy, "--out", "out")
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert lines[1].split() == ["mean", "12", "1", "s", "1", "MB"]
    assert lines[2].split() == ["square", "5", "1", "s"]
    assert lines[3] == "17 tasks left, about 1 s in this process."
    rows = [line.split() for line in answer.out.splitlines()]
    assert rows[0] == ["verdict", "check", "expected", "measured"]
    assert ["agrees", "sum", "30", "30"] in rows
    assert ["not", "determined", "undone", "1", "–"] in rows
    assert "Not determined:\nsquare/undone: too few squares.\n" in answer.out
    assert "Of 5 claims, 3 agree" in answer.out
    assert answer.out.splitlines()[-1] == "page: out/report.html"
    assert max(map(len, (answer.out + answer.err).splitlines())) <= 80
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*RESULTS, "run.json", "tasks"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["finished"]


@pytest.mark.usefixtures("no_pictures")
def test_json_is_all_there_is_on_stdout(phasescope, toy, tmp_path):
    answer = phasescope(
        "study", "run", toy, "--out", "out", "--json", "--seed", "2", "--set", "mean.networks=3"
    )
    assert answer.code == 0
    assert answer.json["configuration"]["seed"] == 2
    assert answer.json["configuration"]["mean"]["networks"] == 3
    assert answer.json["checks"] == json.loads((tmp_path / "out" / "checks.json").read_text())
    assert answer.json["failed"] == {}


@pytest.mark.slow
def test_two_workers_and_the_report_from_the_results_alone_give_the_same_bytes(phasescope, toy, tmp_path):
    assert phasescope("study", "run", toy, "--out", "one", "--workers", "1").code == 0
    assert phasescope("study", "run", toy, "--out", "two", "--workers", "2").code == 0
    first = contents(tmp_path / "one")
    assert contents(tmp_path / "two") == first
    for name in ("tasks", "run.json", "report.html", "checks.json"):
        path = tmp_path / "one" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    answer = phasescope("study", "report", "one", "--study", toy)
    assert answer.code == 0
    assert contents(tmp_path / "one") == first


def test_settings_in_several_forms_parts_and_a_plan_alone(phasescope, toy, tmp_path):
    words = ("--set", "seed=4", "mean.centres=1,3", "--set", "square.largest=2", "--plan", "--json")
    answer = phasescope("study", "run", toy, "--parts", "mean", "--preset", "paper", *words)
    assert answer.code == 0
    assert "60 tasks left" in answer.err
    assert "square" not in answer.err
    assert answer.json["mean"]["centres"] == [1.0, 3.0]
    assert answer.json["square"]["largest"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["toy.py"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "mean.netwrks=3"], ["mean.netwrks=3", "Did you mean mean.networks?"]),
        (["--set", "mean.networks=few"], ["mean.networks=few", "integer"]),
        (["--set", "seed"], ["'seed'", "key=value"]),
        (["--preset", "huge"], ["'huge'", "quick, paper"]),
        (["--parts", "mena"], ["'mena'", "mean, square"]),
        (["--workers", "0"], ["--workers 0"]),
        (["--device", "cuda:77"], ["--device cuda:77", "--device cpu"]),
        (["--out", "toy.py"], ["toy.py", "--out"]),
        pytest.param(["--scheduler", "tcp://127.0.0.1:9"], ["tcp://127.0.0.1:9"], marks=pytest.mark.whole),
    ],
)
def test_unusable_input_is_one_line_and_code_2(phasescope, toy, words, said):
    answer = phasescope("study", "run", toy, *words)
    assert answer.code == 2
    assert answer.out == ""
    last = answer.err.splitlines()[-1]
    assert last.startswith("phasescope: ")
    assert [text for text in said if text not in last] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "absorbin"], ["'absorbin'", "absorbing"]),
        (["run", "toy.py:NUMBER"], ["toy.py:NUMBER is an int"]),
        (["report", "nowhere"], ["nowhere/results.nc"]),
    ],
)
def test_what_is_not_there_is_named(phasescope, toy, words, said):
    answer = phasescope("study", *words)
    assert answer.code == 2
    assert [text for text in said if text not in answer.err] == []


@pytest.mark.usefixtures("no_pictures")
def test_a_failed_task_and_a_failed_analysis_are_code_1_and_named(phasescope, toy):
    answer = phasescope("study", "run", toy, "--out", "a", "--set", "square.fails=3")
    assert answer.code == 1
    assert "ArithmeticError: no square of 3 today" in answer.err
    assert "square/complete: 1 of 5 tasks are missing" in answer.out
    assert "agrees          centre-2" in answer.out
    again = phasescope("study", "report", "a", "--study", toy, "--json")
    assert again.code == 1
    assert list(again.json["failed"]) == ["square"]
    answer = phasescope("study", "run", toy, "--out", "b", "--set", "square.analysis=no luck")
    assert answer.code == 1
    assert "failed: square: the analysis failed with ValueError: no luck" in answer.err


@pytest.mark.usefixtures("no_pictures")
def test_a_claim_that_disagrees_is_a_result_unless_asked(phasescope, toy):
    words = ("study", "run", toy, "--out", "a", "--set", "square.claimed=31")
    answer = phasescope(*words)
    assert answer.code == 0
    assert "disagrees" in answer.out
    assert phasescope(*words, "--check").code == 1
    assert phasescope("study", "report", "a", "--study", toy, "--check").code == 1


@pytest.mark.usefixtures("no_pictures")
def test_damaged_and_foreign_files_are_named_and_damaged_results_refused(phasescope, toy, tmp_path):
    words = ("study", "run", toy, "--out", "out")
    assert phasescope(*words).code == 0
    before = contents(tmp_path / "out")
    task = sorted((tmp_path / "out" / "tasks").glob("*.task"))[3]
    task.write_bytes(task.read_bytes()[:-1])
    (tmp_path / "out" / "tasks" / "notes.txt").write_text("mine")
    answer = phasescope(*words)
    assert answer.code == 0
    assert task.name in answer.err
    assert "notes.txt" in answer.err
    assert "1 task left" in answer.err
    assert contents(tmp_path / "out") == before
    (tmp_path / "out" / "results.nc").write_bytes(before["results.nc"][:-9])
    answer = phasescope("study", "report", "out")
    assert answer.code == 2
    assert "out/results.nc is damaged" in answer.err
    assert phasescope(*words).code == 0
    assert contents(tmp_path / "out") == before


@pytest.mark.usefixtures("no_pictures")
def test_a_report_goes_where_one_can_write_and_runs_no_file_that_the_results_name(phasescope, toy, tmp_path):
    assert phasescope("study", "run", toy, "--out", "received").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "received").iterdir() if path.is_file()}
    answer = phasescope("study", "report", "received", "--out", "mine")
    assert answer.code == 2
    assert answer.err.count("\n") == 1
    assert "of the study 'toy.py:STUDY', which is not one of phasescope's" in answer.err
    assert "--study FILE.py:NAME" in answer.err
    answer = phasescope("study", "report", "received", "--out", "mine", "--study", toy, "--json")
    assert answer.code == 0
    assert (answer.json["results"], answer.json["page"]) == ("received/results.nc", "mine/report.html")
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {"report.html", "checks.json"}
    assert {path: path.read_bytes() for path in before} == before
    for name in ("checks.json", "report.html"):
        assert (tmp_path / "mine" / name).read_bytes() == before[tmp_path / "received" / name]
    answer = phasescope("study", "report", "received", "--study", toy, "--max-memory", "1KB")
    assert answer.code == 2
    assert "at most 1,000 are read" in answer.err
    assert phasescope("study", "report", "received", "--study", toy, "--out", "toy.py").code == 2


def slow_study(tmp_path):
    """A copy of the toy study whose tasks last long enough to be interrupted."""
    text = Path(toy_study.__file__).read_text()
    heading = "def mean_measure(task, device):\n"
    slowly = "    import time\n\n    time.sleep(0.2)\n"
    assert heading in text
    text = text.replace(heading, heading + slowly)
    (tmp_path / "slow.py").write_text(text)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("presses", [1, 2, 5])
def test_ctrl_c_is_one_line_however_often_and_the_same_command_resumes(tmp_path, presses):
    slow_study(tmp_path)
    command = [sys.executable, "-c", MAIN, "study", "run", "slow.py:STUDY", "--out", "out"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command, cwd=tmp_path, **streams)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("out/tasks/*.task"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    for _ in range(presses):
        running.send_signal(signal.SIGINT)
        time.sleep(0.3)  # the later ones come while the process ends
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert out == ""
    said = "phasescope: stopped with Ctrl-C; what is finished is in out, and the same command resumes it."
    assert err.splitlines()[-1] == said
    assert "Traceback" not in err
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/tasks/*.task")}
    assert len(kept) >= 2
    assert not json.loads((tmp_path / "out" / "run.json").read_text())["finished"]
    done = subprocess.run(command, cwd=tmp_path, check=False, **streams)
    assert done.returncode == 0
    assert f"{17 - len(kept)} tasks left" in done.stderr
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("out/tasks/*.task")}
    assert {name: after[name] for name in kept} == kept


def make_plans():
    parts = toy_study.STUDY.parts
    config = toy_study.STUDY.presets["quick"]
    return [PartPlan(part, tuple(part.tasks(config)), tuple(part.tasks(config))) for part in parts]


def events(plans):
    tasks = [task for plan in plans for task in plan.tasks]
    for number, task in enumerate(tasks[:-1]):
        left = 60.0 * (len(tasks) - number - 1)
        yield Event("done", task, seconds=60.0, done=number + 1, total=len(tasks), remaining=left)
    yield Event("failed", tasks[-1], "no square of [4] today", 1.0, len(tasks) - 1, len(tasks), 0.0)


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (20, 5), (1, 1)])
def test_the_bars_live_in_any_terminal(columns, rows, screen, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(rows))
    plans = make_plans()
    with display(plans, 2, screen) as shown:
        for event in events(plans):
            shown.tell(event)
        shown.analyse("mean")
    text = screen.getvalue()
    if columns == 80:
        assert "no square of [4] today" in text
        assert "mean" in text
    assert text


def test_lines_elsewhere_only_tell_trouble_and_the_pace(monkeypatch):
    plans, stream = make_plans(), io.StringIO()
    clock = iter(range(0, 100_000, 40))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with display(plans, 2, stream) as shown:
        for event in events(plans):
            shown.tell(event)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("1 of 17 tasks, about ")
    assert lines[-2].startswith("failed: square task ")
    assert lines[-2].endswith(": no square of [4] today")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals")
def test_a_real_terminal_ends_with_the_table_alone(toy, tmp_path):
    leader, follower = pty.openpty()
    command = [sys.executable, "-c", MAIN, "study", "run", toy, "--out", "out", "--workers", "1"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=follower, stdout=subprocess.PIPE, text=True)
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    out, _ = running.communicate(timeout=60)
    os.close(leader)
    assert running.returncode == 0
    assert b"17 of 17 tasks" in seen
    assert "Of 5 claims" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(("seconds", "text"), [(0.01, "1 s"), (40, "40 s"), (600, "10 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, ""), (10, "1 MB"), (3e8, "300 MB"), (2.5e9, "2.5 GB")])
def test_sizes(count, text):
    assert size(count) == text
