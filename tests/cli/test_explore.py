"""``phasescope explore`` on small pictures."""

import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phasescope.cli import main
from phasescope.synapses import PictureNet, full_cascade, rmse, thinned_cascade

SHORT = ("--size", "10", "--seeds", "2", "--steps", "3")
FILES = ("explorer.html", "network.json", "original.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a small picture file, a finished run on it, and what the run said."""
    folder = tmp_path_factory.mktemp("trained")
    rows, columns = np.mgrid[:12, :18]
    colours = np.stack([14 * columns, 20 * rows, 7 * (rows + columns)], axis=-1)
    Image.fromarray(colours.astype(np.uint8)).save(folder / "photo.png")
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(["explore", "photo.png", *SHORT, "--json"])
    assert code == 0
    return folder, json.loads(out.getvalue()), err.getvalue()


@pytest.fixture
def photo(trained, tmp_path, monkeypatch):
    """The picture file in the working folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(trained[0] / "photo.png", tmp_path))


@pytest.fixture
def done(trained, photo, tmp_path):
    """A copy of the finished run: its answer and its folder."""
    return trained[1], Path(
        shutil.copytree(trained[0] / "phasescope-explore", tmp_path / "phasescope-explore")
    )


def page_data(folder):
    return json.loads(
        re.search(r'<script [^>]*id="explorer-data">(.*?)</script>', (folder / "explorer.html").read_text())[
            1
        ]
    )


def test_the_best_of_all_seeds_is_shown_and_all_are_reported(done):
    answer, folder = done
    fits = {each["seed"]: each["rmse"] for each in answer["fits"]}
    assert sorted(fits) == [0, 1]
    assert answer["rmse"] == min(fits.values()) == fits[answer["seed"]]
    assert (answer["height"], answer["width"], answer["picture"]) == (7, 10, "photo.png")
    assert [each["steps"] for each in answer["fits"]] == [3, 3]
    net = PictureNet.from_dict(json.loads((folder / "network.json").read_text()))
    data = page_data(folder)
    assert PictureNet.from_dict(data["net"]).weights.tolist() == net.weights.tolist()
    assert [each["rmse"] for each in data["fits"]] == [fits[0], fits[1]]
    with Image.open(folder / "original.png") as image:
        stored = np.asarray(image)
    assert stored.shape == (7, 10, 3)
    # Bytes of the file are within half a step of what the networks learned.
    original = np.frombuffer(base64.b64decode(data["original"]), "<f4").reshape(3, 7, 10)
    assert np.abs((2.0 * stored + 1) / 256 - 1 - original.transpose(1, 2, 0)).max() <= 1 / 128


def test_text_says_what_was_found_and_what_it_costs(phasescope, done, trained):
    answer = phasescope("explore", "photo.png", *SHORT)
    first = answer.out.splitlines()[0]
    assert re.fullmatch(r"photo\.png: RMSE [\d.]+ with seed \d, the best of 2 \([\d.]+ with seed \d\)", first)
    assert "It is resized from 12 x 18 to 7 x 10 pixels." in answer.out
    assert re.search(r"2 networks of 497 weights, on 7 x 10 pixels, 3 steps of lm each: about ", trained[2])
    assert "2 of them begun" in answer.err


def test_the_same_call_again_changes_no_byte(phasescope, done):
    _, folder = done
    before = {name: (folder / name).read_bytes() for name in FILES}
    assert phasescope("explore", "photo.png", *SHORT, "--json").code == 0
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_training_goes_on_to_the_bytes_of_one_longer_call(phasescope, done, tmp_path):
    _, folder = done
    longer = [*SHORT[:-1], "5"]
    assert phasescope("explore", "photo.png", *longer).code == 0
    assert phasescope("explore", "photo.png", *longer, "--out", "fresh").code == 0
    for name in ("network.json", "original.png"):
        assert (folder / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_run_is_shown_again_with_the_same_page(phasescope, done):
    answer, folder = done
    before = page_data(folder)
    again = phasescope("explore", "phasescope-explore", "--json")
    assert again.code == 0
    assert again.json["rmse"] == answer["rmse"]
    assert again.json["page"] == answer["page"]
    assert page_data(folder) == before


def test_an_exported_network_is_shown_with_its_picture(phasescope, done, tmp_path):
    _, folder = done
    data = page_data(folder)
    picture = {"name": "<b>bold</b>", "height": 7, "width": 10, "original": data["original"]}
    (tmp_path / "mine.json").write_text(json.dumps({**data["net"], "picture": picture}))
    answer = phasescope("explore", "mine.json", "--out", "shown", "--json")
    assert answer.code == 0
    shown = page_data(tmp_path / "shown")
    assert (shown["original"], shown["net"]) == (data["original"], data["net"])
    assert "<b>" not in (tmp_path / "shown" / "explorer.html").read_text()


def test_a_network_without_a_picture_is_compared_with_its_own(phasescope, tmp_path):
    net = PictureNet(thinned_cascade(hidden=3, window=2, reach=2), seed=1)
    (tmp_path / "net.json").write_text(json.dumps(net.to_dict()))
    answer = phasescope("explore", "net.json", "--size", "12", "--json")
    assert answer.code == 0
    assert (answer.json["height"], answer.json["width"]) == (8, 12)
    assert answer.json["rmse"] == pytest.approx(0, abs=1e-12)
    assert answer.json["rmse"] == pytest.approx(rmse(net, net.paint(8, 12)), abs=1e-12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.png"], ["no file nothing.png"]),
        (["flowr"], ["flower"]),
        (["broken.png"], ["broken.png cannot be read"]),
        (["photo.png", "--size", "3"], ["--size 3"]),
        (["photo.png", "--seeds", "0"], ["--seeds 0"]),
        (["photo.png", "--seed", "-1"], ["--seed -1"]),
        (["photo.png", "--steps", "0"], ["--steps 0"]),
        (["photo.png", "--seconds", "0"], ["--seconds 0"]),
        (["photo.png", "--method", "sgd"], ["sgd", "lm, lbfgs"]),
        (["photo.png", "--out", "photo.png"], ["photo.png"]),
        (["empty"], ["empty", "network.json"]),
        (["missing.json"], ["missing.json"]),
        (["zeros.json"], ["no file zeros.json"]),
    ],
)
def test_what_cannot_be_used_is_one_line_and_nothing_is_written(phasescope, photo, tmp_path, words, said):
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:60])
    (tmp_path / "empty").mkdir()
    (tmp_path / "zeros.json").symlink_to("/dev/zero")
    answer = phasescope("explore", *words)
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.splitlines()) == 1
    assert [word for word in said if word not in answer.err] == []
    assert not (tmp_path / "phasescope-explore" / "explorer.html").exists()


@pytest.mark.parametrize("name", ["network.json", "training"])
def test_a_damaged_run_is_refused(phasescope, done, name):
    _, folder = done
    path = (
        folder / name
        if name == "network.json"
        else max(folder.glob("training/*"), key=lambda p: b"pict" in p.read_bytes()[:400])
    )
    whole = path.read_bytes()
    # One digit of the last weight, or one bit of the last colour.
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    (folder / "explorer.html").unlink()
    answer = phasescope("explore", "phasescope-explore")
    assert answer.code == 2
    assert "damaged" in answer.err
    assert not (folder / "explorer.html").exists()


def test_training_options_are_refused_for_a_run(phasescope, done):
    answer = phasescope("explore", "phasescope-explore", "--steps", "9")
    assert answer.code == 2
    assert "--steps" in answer.err


def test_a_damaged_checkpoint_is_said_and_trained_anew(phasescope, done):
    _, folder = done
    before = {name: (folder / name).read_bytes() for name in FILES}
    checkpoint = next(p for p in folder.glob("training/*") if b'"part":"fit"' in p.read_bytes())
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    answer = phasescope("explore", "photo.png", *SHORT, "--json")
    assert answer.code == 0
    assert "is trained anew" in answer.err
    assert {name: (folder / name).read_bytes() for name in FILES} == before


HOSTILE = {
    "no JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "another kind": '{"kind": "other"}',
    "not finite": None,
    "text for weights": None,
    "a cycle": None,
    "one output": None,
    "a picture that is no base64": None,
    "a picture of another size": None,
    "a picture beyond the range": None,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_weights_are_refused(phasescope, tmp_path, what):
    net = PictureNet(thinned_cascade(hidden=3, window=2, reach=2), seed=1).to_dict()
    picture = {"name": "n", "height": 1, "width": 1, "original": "AAAAAAAAAAAAAAAA"}
    changes = {
        "not finite": {"weights": [float("nan"), *net["weights"][1:]]},
        "text for weights": {"weights": ["1"] * len(net["weights"])},
        "a cycle": {"sources": [[0, 1, 3], [0, 1, 2], *net["sources"][2:]]},
        "one output": PictureNet(full_cascade(3, 2, 1), seed=0).to_dict(),
        "a picture that is no base64": {"picture": {**picture, "original": "<script>"}},
        "a picture of another size": {"picture": {**picture, "height": 3, "width": 3}},
        "a picture beyond the range": {
            "picture": {**picture, "height": 2, "width": 2, "original": "AAAAQ" * 12 + "AAAA"}
        },
    }
    text = HOSTILE[what] or json.dumps({**net, **changes[what]})
    (tmp_path / "net.json").write_text(text)
    answer = phasescope("explore", "net.json")
    assert (answer.code, answer.out) == (2, "")
    assert "net.json" in answer.err
    assert "unexpected" not in answer.err
    assert not (tmp_path / "phasescope-explore").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_training_goes_on_to_the_same_bytes(phasescope, photo, tmp_path, how):
    words = ["explore", "photo.png", "--size", "18", "--seeds", "2", "--steps", "1500", "--method", "lbfgs"]
    command = [sys.executable, "-c", "import sys; from phasescope.cli import main; sys.exit(main())"]
    running = subprocess.Popen([*command, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    training = tmp_path / "phasescope-explore" / "training"
    deadline = time.monotonic() + 120
    while len(list(training.glob("*.task"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(list(training.glob("*.task"))) >= 2
    running.send_signal(how)
    _, err = running.communicate(timeout=120)
    if how == signal.SIGINT:
        assert running.returncode == 130
        assert "the same command goes on from there" in err.splitlines()[-1]
    assert phasescope(*words).code == 0
    assert phasescope(*words, "--out", "fresh").code == 0
    for name in ("network.json", "original.png"):
        assert (tmp_path / "phasescope-explore" / name).read_bytes() == (
            tmp_path / "fresh" / name
        ).read_bytes()
