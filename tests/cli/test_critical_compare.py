"""``phasescope critical --compare``: one table of several activations."""

import pytest


def rows(text):
    """The cells of a table's rows, by their first word or words."""
    table = text.split("\n\nRatio:")[0]
    found = {}
    for line in table.splitlines():
        head, *cells = [part for part in line.split("  ") if part.strip()] or [""]
        found.setdefault(head.strip(), []).extend(cell.strip() for cell in cells)
    return found


def test_the_table_has_the_known_numbers(phasescope, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    table = rows(phasescope("critical", "--compare", "relu,tanh,mrepu2,repu2").out)
    assert table["class"] == ["scale-invariant", "K*=0", "K*=0", "none"]
    assert table["C_W"] == ["2", "1", "1", "(0.66667)"]
    assert table["K*"] == ["any", "0", "0", "-"]
    assert table["a1"] == ["-", "-2", "18", "-"]
    assert table["b1"] == ["-", "-2", "22", "-"]
    assert table["nu"] == ["5", "0.66667", "4.6667", "-"]
    assert table["ratio, highest"][2:] == ["1.66667", "1.5"]
    assert table["chi_par"][3] == "2"
    assert table["chi_perp"][3] == "1.3333"
    # Tenfold from 0.01 after 7 layers for MRePU 2, and RePU 2 stands at the kernel that repels.
    assert table["K_1 = 0.01"] == ["never, settles", "451, vanishes", "7, explodes", "1, vanishes"]
    assert table["K_1 = 1"][3] == "never, repelled"


@pytest.mark.parametrize("columns", [60, 80])
def test_it_fits_the_terminal(phasescope, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = phasescope("critical", "--compare", "relu,tanh,sin,mrepu1,mrepu2,repu2,repu3").out
    assert max(map(len, out.splitlines())) <= columns
    blocks = [line for line in out.splitlines() if line.startswith("class")]
    assert len(blocks) == (3 if columns == 60 else 2)
    assert "No critical point: repu2, repu3." in out


def test_json_is_a_list_and_null_where_a_number_does_not_exist(phasescope):
    single = phasescope("critical", "repu2", "--json").json
    answer = phasescope("critical", "repu2", "--compare", "hardshrink,relu", "--json").json
    assert [each["activation"] for each in answer] == ["repu2", "hardshrink", "relu"]
    assert {key: answer[0][key] for key in single} == single
    assert answer[0]["used"] == {"C_W": pytest.approx(2 / 3), "C_b": 0.0}
    assert answer[0]["tenfold"]["1"] == {"layers": None, "fate": "repelled"}
    assert answer[1]["chi_perpendicular"] is None
    assert answer[1]["ratio_range"] is None
    assert answer[2]["nu"] == pytest.approx(5.0)


def test_functions_of_one_name_in_two_files_are_told_apart(phasescope, models):
    (models.parent / "other.py").write_text(models.read_text())
    out = phasescope("critical", "--compare", "models.py:softplus_like,other.py:softplus_like").out
    assert "models.py:softplus_like  other.py:softplus_like" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--compare", "gelu,gellu,tanh"], ["'gellu'", "gelu"]),
        (["--compare", "relu,swish,silu"], ["silu", "'swish' and 'silu'"]),
        (["relu", "--compare", "relu"], ["relu is named twice"]),
        (["--compare", "relu,models.py:normalise"], ["models.py:normalise", "elementwise"]),
        (["--compare", ""], ["names nothing"]),
        (["--compare", "relu,,tanh"], ["'relu,,tanh'", "empty name"]),
        (["--compare", "relu,tanh", "--plot", "a.png"], ["--plot draws one", "--compare"]),
        ([], ["No activation was named", "--compare"]),
        (["--compare", "relu", "--seed", "-1"], ["--seed -1"]),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(phasescope, models, words, said):
    answer = phasescope("critical", *words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("phasescope: ")
    assert answer.err.count("\n") == 1
    assert [word for word in said if word not in answer.err] == []
