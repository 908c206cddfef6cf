"""``phasescope dfa`` on files of every kind."""

import json
import re

import numpy as np
import pytest

from phasescope.noise import autoregressive, dfa, fractional_gaussian_noise

pytestmark = pytest.mark.usefixtures("coarse_errors")

KEYS = {"alpha", "alpha_error", "beta", "crossover", "verdict", "windows", "fluctuation"}
SERIES = fractional_gaussian_noise(0.9, 1500, seed=1)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(
        "time,signal\n" + "".join(f"{step},{value!r}\n" for step, value in enumerate(SERIES.tolist()))
    )
    return path


@pytest.mark.usefixtures("no_pictures")
def test_json_has_the_documented_keys_and_the_numbers_of_the_library(phasescope, table):
    answer = phasescope("dfa", table, "--column", "signal", "--json")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.json.keys() >= KEYS
    # 1500 values do not tell 1/f noise from a few relaxation times.
    assert answer.json["verdict"] == "straight"
    expected = dfa(SERIES)
    assert answer.json["alpha"] == pytest.approx(float(expected.alpha))
    assert answer.json["beta"] == pytest.approx(2 * float(expected.alpha) - 1)
    np.testing.assert_allclose(answer.json["fluctuation"], expected.fluctuation)
    assert answer.json["windows"] == expected.windows.tolist()
    assert answer.json["crossover"] is False


def test_text_and_page_say_the_same(phasescope, tmp_path):
    np.save(tmp_path / "memory.npy", autoregressive([0.8], 1500, seed=2))
    answer = phasescope("dfa", "memory.npy", "--order", "2", "--out", "page")
    assert answer.code == 0
    assert answer.out.startswith(
        "memory.npy: 1500 values\nTaken: 1500 values from step 1 to 1500, no gaps.\nverdict: short memory\n"
    )
    assert max(map(len, answer.out.splitlines())) <= 80
    page = (tmp_path / "page" / "report.html").read_text()
    stored = json.loads((tmp_path / "page" / "report.json").read_text())
    assert stored.keys() >= KEYS
    assert stored["order"] == 2
    assert "<h1>memory.npy: short memory</h1>" in page
    assert page.count("<svg") == 2
    assert "@article{peng1994," in page
    assert len(re.findall(r"<tr><td>\d+</td>", page)) == len(stored["windows"])
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)


def test_the_same_command_gives_the_same_bytes(phasescope, tmp_path):
    np.save(tmp_path / "x.npy", SERIES[:300])
    pages = []
    for _ in range(2):
        assert phasescope("dfa", "x.npy", "--seed", "3", "--out", "page").code == 0
        pages.append((tmp_path / "page" / "report.html").read_bytes())
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("values", "word"), [(np.ones(500), "constant"), (SERIES[:50], "short"), (np.tile([0, 1], 300), "two")]
)
def test_a_series_without_an_exponent_is_not_determined(phasescope, tmp_path, values, word):
    np.save(tmp_path / "x.npy", values)
    answer = phasescope("dfa", "x.npy", "--json")
    assert answer.code == 0
    assert answer.json["verdict"] == "not determined"
    assert answer.json["alpha"] is None
    assert word in answer.json["reason"].lower()
    text = phasescope("dfa", "x.npy").out
    assert "verdict: not determined" in text
    assert "<svg" not in (tmp_path / "phasescope-dfa" / "report.html").read_text()


@pytest.mark.parametrize("content", [b"x\n1\ntwo\n3\n", b"", b"1,5\n2,7\n", b"1\n\n2\n"])
def test_a_file_that_cannot_be_used_is_one_line_and_writes_nothing(phasescope, tmp_path, content):
    (tmp_path / "x.csv").write_bytes(content)
    answer = phasescope("dfa", "x.csv")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("phasescope: x.csv")
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "phasescope-dfa").exists()


@pytest.mark.usefixtures("no_pictures")
def test_json_writes_no_folder_unless_it_is_named(phasescope, tmp_path, table):
    answer = phasescope("dfa", table, "--column", "signal", "--json", "--quick")
    assert "page" not in answer.json
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv"]
    answer = phasescope("dfa", table, "--column", "signal", "--json", "--quick", "--out", "here")
    assert answer.json["page"] == "here/report.html"
    assert (tmp_path / "here" / "report.json").is_file()


@pytest.mark.usefixtures("no_pictures")
def test_what_was_taken_is_said_in_text_page_and_json(phasescope, tmp_path):
    rows = "".join(f"{1000 + value:.3f};-9999\n".replace(".", ",") for value in SERIES.tolist())
    (tmp_path / "x.CSV").write_text("a;b\nms;mV\n-9999;1\n-9999;1\n" + rows)
    words = ("dfa", "x.CSV", "--column", "a", "--quick")
    said = (
        "separated by ';', decimal comma, 2 rows of names, column 1 of 2 (a), 1502 values from line 3 to 1504"
    )
    answer = phasescope(*words, "--json")
    assert said in answer.json["taken"]
    assert answer.json["gaps"] == 0
    assert "-9999 occurs 2 times" in answer.json["notes"][0]
    text = phasescope(*words)
    assert said in " ".join(text.out.split())
    assert "Note: -9999 occurs 2 times" in text.out
    assert max(map(len, text.out.splitlines())) <= 80
    page = (tmp_path / "phasescope-dfa" / "report.html").read_text()
    assert "decimal comma, 2 rows of names" in page
    answer = phasescope(*words, "--json", "--missing", "-9999", "?", "--gaps", "longest", "--decimal", ",")
    assert answer.json["gaps"] == 2
    assert answer.json["length"] == 1500
    assert answer.json["alpha"] == pytest.approx(float(dfa(SERIES).alpha), abs=1e-3)


def test_quick_gives_the_exponents_without_a_verdict(phasescope, table):
    answer = phasescope("dfa", table, "--column", "signal", "--quick", "--json")
    assert answer.json["alpha"] == pytest.approx(float(dfa(SERIES).alpha))
    assert answer.json["spectral_beta"]["value"] is None
    assert answer.json["verdict"] == "not determined"
    assert answer.json["nulls"]["autoregressive"] is None
    assert "--quick leaves out" in answer.json["reason"]
    assert "share of its series" not in phasescope("dfa", table, "--column", "signal", "--quick").out


def test_integrate_measures_the_sum_of_a_series_that_dfa_cannot_show(phasescope, tmp_path):
    # The difference of white noise has alpha = -1/2, its sum is white noise again.
    np.save(tmp_path / "x.npy", np.diff(np.random.default_rng(1).normal(size=2001)))
    answer = phasescope("dfa", "x.npy", "--integrate", "--quick", "--json")
    assert abs(answer.json["alpha"] - 0.5) < 3 * answer.json["alpha_error"]
    assert answer.json["integrated"] is True
    assert "lower by 1" in answer.json["notes"][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--order", "4"], "--order 4"),
        (["--seed", "-1"], "--seed -1"),
        (["--out", "x.npy"], "x.npy"),
    ],
)
def test_options_that_cannot_be_used(phasescope, tmp_path, words, said):
    np.save(tmp_path / "x.npy", SERIES[:300])
    answer = phasescope("dfa", "x.npy", *words)
    assert answer.code == 2
    assert said in answer.err


@pytest.mark.usefixtures("no_pictures")
def test_a_name_cannot_write_into_the_page(phasescope, tmp_path):
    np.save(tmp_path / "<b>&.npy", SERIES[:300])
    assert phasescope("dfa", "<b>&.npy", "--quick").code == 0
    assert "<b>" not in (tmp_path / "phasescope-dfa" / "report.html").read_text()


def test_the_time_of_a_long_series_is_told_before_it_is_taken(phasescope, tmp_path, monkeypatch):
    from phasescope.cli import dfa as module

    monkeypatch.setattr(module, "_LONG", 300)
    np.savetxt(tmp_path / "x.csv", SERIES[:301])
    assert "301 values and their nulls: about 1 s; --quick" in phasescope("dfa", "x.csv", "--json").err
    assert phasescope("dfa", "x.csv", "--json", "--quick").err == ""
