"""``phasescope dfa`` on files of every kind."""

import json
import re

import numpy as np
import pytest

from phasescope.cli.series import read_series
from phasescope.errors import InputError
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
    assert answer.json["verdict"] == "1/f"
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
    assert answer.out.startswith("memory.npy: 1500 values\nverdict: short memory\n")
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


@pytest.mark.parametrize(
    ("name", "text", "column"),
    [
        ("plain.txt", "1.5\n2.5\n-3e2\n", None),
        ("named.csv", "x\n1.5\n2.5\n-3e2\n", None),
        ("comments.txt", "# a header\n\n1.5\n2.5\n-3e2\n", None),
        ("blanks.txt", "0 1.5\n1   2.5\n2 -3e2\n", "2"),
        ("semicolons.csv", 'day;"my x"\nMon;1.5\nTue;2.5\nWed;-3e2\n', "my x"),
        ("tabs.txt", "a\tb\n9\t1.5\n9\t2.5\n9\t-3e2\n", "b"),
        ("dates.csv", "2020-01-01,1.5\n2020-01-02,2.5\n2020-01-03,-3e2\n", "2"),
        ("mark.csv", "\ufeffx,y\n1.5,0\n2.5,0\n-3e2,0\n", "x"),
        ("digits.csv", "2,1\n1.5,0\n2.5,0\n-3e2,0\n", None),
    ],
)
def test_layouts_of_text(tmp_path, name, text, column):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    if name == "digits.csv":
        # Numbers as names are numbers: all rows count.
        assert read_series(path, "1").tolist() == [2, 1.5, 2.5, -300]
    else:
        assert read_series(path, column).tolist() == [1.5, 2.5, -300]


def test_columns_of_an_array(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.arange(12).reshape(6, 2))
    assert read_series(path, "2").tolist() == [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize(
    ("name", "content", "column", "words"),
    [
        ("absent.csv", None, None, ["no file", "absent.csv"]),
        ("x.xls", "1\n", None, ["'.xls'", ".csv, .txt or .npy"]),
        ("empty.csv", "", None, ["empty.csv is empty"]),
        ("comments.txt", "# nothing\n\n", None, ["is empty"]),
        ("words.csv", "x\n1\ntwo\n3\n", None, ["line 3", "'two' is not a number"]),
        ("comma.csv", "x;y\n1,5;2\n2,5;3\n", "x", ["line 2", "'1,5'", "decimal point"]),
        ("gap.csv", "x,y\n1,2\n,3\n4,5\n", "x", ["1 of 3 values", "step 2"]),
        ("nan.txt", "1\nnan\n3\ninf\n", None, ["2 of 4 values", "step 2"]),
        ("ragged.csv", "x,y\n1,2\n3\n", "y", ["line 3", "no column 2"]),
        ("several.csv", "t,x,y\n1,2,3\n1,2,3\n", None, ["3 columns: t, x, y", "--column y"]),
        ("several.csv", "t,x,y\n1,2,3\n1,2,3\n", "z", ["--column z", "t, x, y"]),
        ("several.csv", "t,x,y\n1,2,3\n1,2,3\n", "4", ["--column 4", "3 column"]),
        ("twice.csv", "x,x\n1,2\n3,4\n", "x", ["--column x", "x, x"]),
        ("broken.npy", "not an array", None, ["broken.npy cannot be read"]),
        ("wide.npy", np.ones((1, 500)), None, ["(1, 500)", "one time step"]),
        ("many.npy", np.ones((50, 20)), None, ["20 columns: 1, 2,", "..."]),
        ("cube.npy", np.ones((5, 5, 5)), None, ["(5, 5, 5)"]),
        ("none.npy", np.empty((0, 2)), None, ["is empty"]),
        ("complex.npy", np.ones(50, dtype=complex), None, ["complex128"]),
        ("scalar.npy", np.array(3.0), None, ["shape ()"]),
    ],
)
def test_a_file_that_cannot_be_used(phasescope, tmp_path, name, content, column, words):
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_series(path, column)
    assert [word for word in words if word not in str(caught.value)] == []
    answer = phasescope("dfa", name, *(["--column", column] if column else []))
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "phasescope-dfa").exists()


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
    assert phasescope("dfa", "<b>&.npy").code == 0
    assert "<b>" not in (tmp_path / "phasescope-dfa" / "report.html").read_text()
