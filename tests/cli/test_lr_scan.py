"""``phasescope lr-scan`` on files of a user's own."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

KEYS = {
    *("onset", "onset_error", "recommended_low", "recommended_high", "reason", "rates", "exponent"),
    *("exponent_error", "sharpness_ratio", "final_loss", "time_to_target", "failed_share", "page"),
}

TRAINING = """
import torch
from torch import nn

CURVATURES = torch.tensor([[2.0, 1.0]], dtype=torch.float64)


class Bowl(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, dtype=torch.float64) + 0.1 * torch.rand(2, dtype=torch.float64))

    def forward(self, x):
        return x * self.w


def half_square(output):
    return 0.5 * (output**2).sum()


def bowl(seed):
    print("hello from the user's file")
    return Bowl(), half_square, CURVATURES


def slow(seed):
    import pathlib, time
    def waiting(output):
        if not pathlib.Path("hurry").exists():
            time.sleep(0.01)
        return half_square(output)
    pathlib.Path("started").touch()
    return Bowl(), waiting, CURVATURES


def nothing():
    return bowl(0)


def raises(seed):
    return [][seed]


def pair(seed):
    return Bowl(), half_square


bowls = 3
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    path.write_text(TRAINING)
    return path


RATES = ("--rates", "0.1", "0.3", "0.7", "--target", "0.1")
SHORT = (*RATES, "--steps", "20", "--seeds", "1")


@pytest.mark.usefixtures("no_pictures")
def test_json_has_the_documented_keys_and_nothing_else_is_on_stdout(phasescope, training):
    answer = phasescope("lr-scan", "train.py:bowl", *RATES, "--steps", "20", "--seeds", "2", "--json")
    assert answer.code == 0
    assert answer.json.keys() >= KEYS
    assert answer.json["rates"] == [0.1, 0.3, 0.7]
    # curvatures 4 and 1: the edge is at 2/4
    assert answer.json["edge"] == pytest.approx(0.5, rel=1e-3)
    assert answer.json["onset"] == pytest.approx((1 + 1000 ** (1 / 20)) / 4, rel=0.06)
    assert answer.json["recommended_high"] == 0.3
    assert answer.json["failed_share"] == [0, 0, 1]
    assert answer.json["time_to_target"][2] is None
    assert "hello from the user's file" in answer.err
    assert "3 rates from 0.1 to 0.7, 2 initialisations of 20 steps" in answer.err
    assert re.search(r"At most \d+ runs, about \d+ s", answer.err)


def test_text_fits_the_terminal_and_says_what_the_page_says(phasescope, training, tmp_path):
    answer = phasescope("lr-scan", "train.py:bowl", *SHORT, "--out", "page")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith("train.py:bowl: learning rate ")
    assert max(map(len, lines)) <= 80
    assert sum(line.split()[:1] in (["0.1"], ["0.3"], ["0.7"]) for line in lines) == 3
    page = (tmp_path / "page" / "report.html").read_text()
    stored = json.loads((tmp_path / "page" / "report.json").read_text())
    assert stored.keys() >= KEYS - {"page"}
    assert lines[0].removeprefix("train.py:bowl: ") in page
    assert page.count("<svg") == 3
    assert "@article{danovski2024," in page
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


@pytest.mark.usefixtures("no_pictures")
def test_a_later_call_takes_what_is_there_and_gives_the_same_bytes(phasescope, training, tmp_path):
    assert phasescope("lr-scan", "train.py:bowl", *SHORT).code == 0
    page = (tmp_path / "phasescope-lr-scan" / "report.html").read_bytes()
    again = phasescope("lr-scan", "train.py:bowl", *SHORT)
    assert "All runs are there" in again.err or "are there, about" in again.err
    assert (tmp_path / "phasescope-lr-scan" / "report.html").read_bytes() == page
    assert len(list((tmp_path / "phasescope-lr-scan" / "runs").iterdir())) == 1


@pytest.mark.usefixtures("no_pictures")
def test_a_changed_file_or_length_is_another_scan(phasescope, training, tmp_path):
    words = ("lr-scan", "train.py:bowl", "--rates", "0.1", "--seeds", "1", "--steps")
    phasescope(*words, "4")
    phasescope(*words, "5")
    training.write_text(TRAINING + "\n# changed\n")
    phasescope(*words, "4")
    assert len(list((tmp_path / "phasescope-lr-scan" / "runs").iterdir())) == 3


@pytest.mark.usefixtures("no_pictures")
def test_a_damaged_run_is_made_again(phasescope, training, tmp_path):
    phasescope("lr-scan", "train.py:bowl", *SHORT)
    before = (tmp_path / "phasescope-lr-scan" / "report.json").read_bytes()
    kept = sorted((tmp_path / "phasescope-lr-scan" / "runs").glob("*/*.json"))
    whole = kept[1].read_bytes()
    kept[0].unlink()
    os.mkfifo(kept[0])
    kept[1].write_bytes(whole.replace(b'"run"', b'"Run"'))
    answer = phasescope("lr-scan", "train.py:bowl", *SHORT)
    assert answer.code == 0
    assert answer.err.count("is damaged; that run is made again") == 2
    assert kept[1].read_bytes() == whole
    assert (tmp_path / "phasescope-lr-scan" / "report.json").read_bytes() == before


@pytest.mark.usefixtures("no_pictures")
def test_a_budget_is_kept_and_told(phasescope, training):
    answer = phasescope("lr-scan", "train.py:bowl", *SHORT, "--budget", "0.000001", "--json")
    assert answer.code == 0
    assert answer.json["onset"] is None
    assert "budget" in answer.json["not_determined"]["onset"]
    assert "the budget is 1 s" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.py:bowl", "--rates", "0"], ["learning rate 0"]),
        (["train.py:bowl", "--rates", "-0.1"], ["learning rate -0.1"]),
        (["train.py:bowl", "--low", "0.1"], ["--low 0.1 stands alone", "--high"]),
        (["train.py:bowl", "--low", "1", "--high", "0.1"], ["--low 1 --high 0.1"]),
        (["train.py:bowl", "--low", "1e-30", "--high", "1"], ["factors of two"]),
        (["train.py:bowl", "--rates", "1", "--low", "1", "--high", "2"], ["--rates and --low"]),
        (["train.py:bowl", "--seeds", "0"], ["--seeds 0"]),
        (["train.py:bowl", "--seed", "-1"], ["--seed -1"]),
        (["train.py:bowl", "--steps", "1"], ["1 steps are no training"]),
        (["train.py:bowl", "--budget", "0"], ["budget is 0"]),
        (["train.py:bowl", "--device", "nowhere"], ["--device nowhere"]),
        (["train.py:bowl", "--out", "train.py"], ["train.py"]),
        (["train.py:bowll"], ["'bowll'", "bowl"]),
        (["trian.py:bowl"], ["no file trian.py", "train.py"]),
        (["train.py:bowls"], ["train.py:bowls is an int", "function"]),
        (["train.py:nothing"], ["nothing does not take one argument, the seed"]),
        (["train.py:raises"], ["train.py:raises failed", "IndexError", "train.py, line"]),
        (["train.py:pair"], ["The factory returned a tuple of 2", "model, loss, data"]),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(phasescope, training, tmp_path, words, said):
    answer = phasescope("lr-scan", *words)
    assert answer.code == 2
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if "hello from" not in line]
    assert len(lines) == 1
    assert [word for word in said if word not in lines[0]] == []
    assert not (tmp_path / "phasescope-lr-scan" / "report.html").exists()


@pytest.mark.usefixtures("no_pictures")
def test_low_and_high_span_factors_of_two(phasescope, training):
    words = ("--low", "0.05", "--high", "0.4", "--steps", "5", "--seeds", "1", "--json")
    assert phasescope("lr-scan", "train.py:bowl", *words).json["rates"] == [0.05, 0.1, 0.2, 0.4]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_leaves_what_is_done_and_the_same_command_goes_on(phasescope, training, tmp_path):
    command = [sys.executable, "-c", "import sys; from phasescope.cli import main; sys.exit(main())"]
    words = ["lr-scan", "train.py:slow", "--rates", "0.1", "0.2", "--steps", "4", "--seeds", "2", "--json"]
    running = subprocess.Popen(
        [*command, *words], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = tmp_path / "phasescope-lr-scan" / "runs"
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert out == ""
    assert "the same command goes on from there" in err.splitlines()[-1]
    before = {path: path.read_bytes() for path in folder.glob("*/*.json")}
    assert len(before) >= 2
    (tmp_path / "hurry").touch()
    resumed, fresh = phasescope(*words).json, phasescope(*words, "--out", "fresh").json
    assert {path: path.read_bytes() for path in before} == before
    assert resumed | {"page": ""} == fresh | {"page": ""}
