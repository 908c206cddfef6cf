"""A series from a file is read right or refused with the line and what to pass; it is never other numbers."""

import csv
import gzip
import io
import os
import struct
import subprocess
import sys
import tempfile
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from phasescope.data import read_series
from phasescope.errors import InputError


def written(folder, content, name="x.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# fmt: off
READ = {
    "plain": ("1.5\n2.5\n-3e2\n", {}, [1.5, 2.5, -300]),
    "spaces around": ("  1.5 \n\t2.5\n", {}, [1.5, 2.5]),
    "comments": ("# a header\n\n1.5\n# more\n2.5\n", {}, [1.5, 2.5]),
    "one name": ("x\n1.5\n2.5\n", {}, [1.5, 2.5]),
    "blanks": ("0 1.5\n1   2.5\n2 -3e2\n", {"column": "2"}, [1.5, 2.5, -300]),
    "blanks and tabs": ("a \t b\n0 \t1.5\n1\t  2.5\n", {"column": "b"}, [1.5, 2.5]),
    "tabs": ("a\tb\n9\t1.5\n9\t2.5\n", {"column": "b"}, [1.5, 2.5]),
    "tabs and decimal commas": ("a\tb\n9\t1,5\n9\t2,5\n", {"column": "b"}, [1.5, 2.5]),
    "blanks and decimal commas": ("1,5 2,5\n1,7 2,8\n", {"column": 2}, [2.5, 2.8]),
    "comma and blank": ("1, 2\n3, 4\n", {"column": 2}, [2, 4]),
    "days": ('day;"my x"\nMon;1.5\nTue;2.5\n', {"column": "my x"}, [1.5, 2.5]),
    "the only numbers": ("2020-01-01,1.5\n2020-01-02,2.5\n", {}, [1.5, 2.5]),
    "times": ("2020-01-01 00:00,1.5\n2020-01-01 00:01,2.5\n", {}, [1.5, 2.5]),
    "numbers on top are values": ("2,1\n1.5,0\n2.5,0\n", {"column": "1"}, [2, 1.5, 2.5]),
    "numbers as names": ("1990,1991\n1.5,3\n2.5,4\n", {"column": "1991", "header": 1}, [3, 4]),
    "semicolons and decimal commas": ("x;y\n1,5;2\n2,5;3\n", {"column": "x"}, [1.5, 2.5]),
    "one column of decimal commas": ("x\n1,5\n2,7\n3\n", {}, [1.5, 2.7, 3]),
    "decimal comma asked for": ("1,5\n2,7\n", {"decimal": ","}, [1.5, 2.7]),
    "second column of two": ("1,5\n2,7\n", {"column": 2}, [5, 7]),
    "separator asked for": ("1,5\n2,7\n", {"column": 1, "separator": ","}, [1, 2]),
    "quoted thousands": (
        'x,y\n"1,234.5",1\n"999.5",2\n"1,234,567",3\n',
        {"column": "x"},
        [1234.5, 999.5, 1234567],
    ),
    "thousands of a column": ("x\n1,234.5\n999.5\n", {}, [1234.5, 999.5]),
    "thousands by the other column": ("x;y\n1.234;2,5\n2.345;3\n", {"column": "x"}, [1234, 2345]),
    "thousands asked for": ("1,234\n2,345\n", {"decimal": ".", "separator": "none"}, [1234, 2345]),
    "spaces as thousands": ("1 234\n2 345\n999\n-87.5\n", {}, [1234, 2345, 999, -87.5]),
    "no-break spaces": ("x\n1\u00a0234,5\n2\u202f345,5\n999,5\n", {}, [1234.5, 2345.5, 999.5]),
    "no-break spaces of Latin-1": (b"x\n1\xa0234,5\n999,5\n", {}, [1234.5, 999.5]),
    "apostrophes": ("1'234.5\n999.5\n1’000.5\n", {}, [1234.5, 999.5, 1000.5]),
    "minus signs": ("\u22121.5\n2.5\n", {}, [-1.5, 2.5]),
    "UTF-8 with its mark": ("\ufeffx,y\n1.5,0\n2.5,0\n", {"column": "x"}, [1.5, 2.5]),
    "UTF-16": ("x;y\r\n1.234,5;2\r\n2,75;3\r\n".encode("utf-16"), {"column": "x"}, [1234.5, 2.75]),
    "UTF-16, the other way": ("\ufeff1,5\r\n".encode("utf-16-be") * 1, {"decimal": ","}, [1.5]),
    "Latin-1 names": ("Größe\n1.5\n2.5\n".encode("latin-1"), {}, [1.5, 2.5]),
    "old line ends": (b"1.5\r2.5\r", {}, [1.5, 2.5]),
    "two rows of names": ("x,y\nms,mV\n1,2\n2,3\n", {"column": "y"}, [2, 3]),
    "a title": ("Device A\nof today\n\nx,y\n1,2\n2,3\n", {"column": "y"}, [2, 3]),
    "an index": (",x\n0,1.5\n1,2.5\n", {}, [1.5, 2.5]),
    "an index without names": (",0\n0,1.5\n1,2.5\n", {}, [1.5, 2.5]),
    "an index and two": (",x,y\n0,1.5,3\n1,2.5,4\n", {"column": "y"}, [3, 4]),
    "names of rows": ('"x" "y"\n"1" 0.5 3\n"2" 0.7 4\n', {"column": "x"}, [0.5, 0.7]),
    "a separator at the end": ("x,y\n1,2,\n3,4,\n", {"column": "x"}, [1, 3]),
    "a spreadsheet's hint": ("sep=;\nx;y\n1,5;2\n3;4,0\n", {"column": "x"}, [1.5, 3]),
    "blank lines at the end": ("1.5\n2.5\n\n \n", {}, [1.5, 2.5]),
    "empty rows at the end": ("x,y\n1.5,2\n2.5,2\n,\n,\n", {"column": "x"}, [1.5, 2.5]),
}


@pytest.mark.parametrize("case", READ)
def test_texts_are_read(tmp_path, case):
    content, options, expected = READ[case]
    found = read_series(written(tmp_path, content), **options)
    assert found.values.tolist() == expected
    assert found.values.dtype == np.float64


REFUSED = {
    "empty": ("", {}, ["x.csv is empty"]),
    "comments alone": ("# nothing\n\n", {}, ["is empty"]),
    "names alone": ("x\ny\n", {}, ["line 1", "'x' is not a number"]),
    "a word": ("x\n1\ntwo\n3\n", {}, ["line 3", "'two' is not a number"]),
    "a word in a table": ("x;y\n1;2\n3;4a\n", {"column": "y"}, ["line 3", "'4a' is not a number"]),
    "a fault on top": ("1_000\n2\n3\n", {}, ["line 1", "'1_000'", "--header"]),
    "a word on top": ("1,low\n2,5\n", {"column": 2}, ["line 1 has words and numbers", "--header 0"]),
    "one number or two": ("1,5\n2,7\n", {}, ["line 1", "'1,5'", "none --decimal , or --separator ,"]),
    "a word on top of two": ("low,1\n5,2\n6,3\n", {}, ["'low,1'", "one cell or as 2 cells"]),
    "one number or a short row": ("1,5\n2,7\n3\n", {}, ["'1,5' can be read as one cell or as 2 cells"]),
    "one number or two, by blanks": ("1 234\n2 345\n", {}, ["'1 234'", "none or --separator space"]),
    "two values in a line": ("812.5\n" * 30 + "812 123\n", {}, ["line 31", "'812 123'"]),
    "two values under a name": ("x\n" + "812.5\n" * 30 + "812 123\n", {}, ["line 32", "'812 123'"]),
    "two values far below": ("812\n" * 3000 + "1 123\n", {}, ["line 3001", "'1 123' is not a number"]),
    "thousands far below": ("812\n" * 3000 + "1,123\n", {}, ["line 3001", "'1,123' is not", "--decimal"]),
    "thousands or decimals": ("x;y\n1,234;2\n2,345;3\n", {"column": "x"}, ["line 2", "1234 or 1.234"]),
    "quoted thousands or decimals": ('x,y\n"1,234",2\n', {"column": "x"}, ["1234 or 1.234"]),
    "wrong groups": ('x;y\n"1,23.5";1\n2.5;1\n', {"column": "x"}, ["line 2", "'1,23.5' is not a number"]),
    "mixed marks": ("x;y\n1,5;1\n2.5;1\n", {"column": "x"}, ["is not a number"]),
    "a short row": ("x,y\n1,2\n3\n", {"column": "y"}, ["line 3 has 1 cell", "the others have 2"]),
    "a long row": ("x,y\n1,2\n3,4,5\n6,7\n", {"column": "y"}, ["line 3 has 3 cells"]),
    "a long row far below": ("1;2\n" * 3000 + "1;2;3\n", {"column": 1}, ["line 3001 has 3 cells"]),
    "a short header": ("x,y\n1.5,2,3\n3,4,4\n", {"column": "x"}, ["line 1 has 2 cells", "have 3"]),
    "an empty cell on top": (",1.5\n0.3,1.5\n1,2\n", {"column": 2}, ["line 1 begins with an empty"]),
    "a number as name": ("0\n1.5\n2.5\n", {}, ["line 1 has whole numbers", "--header 1"]),
    "numbers as names": ("1990,1991\n1.5,1.5\n2.5,2.5\n", {"column": "1991"}, ["line 1", "--header 1"]),
    "too much of a header": ("x\n1\n2\n", {"header": 3}, ["no row of values", "--header"]),
    "a cell of two lines": ('x,y\n1,"a\nb"\n3,4\n', {"column": "x"}, ["line 2", "quoted cell"]),
    "a quote left open": ('x,y\n1,"a\n2,3\n3,4\n', {"column": "x"}, ["line 2", "quoted cell"]),
    "several columns": ("t,x,y\n1,2,3\n1,2,3\n", {}, ["3 columns: t, x, y", "--column y"]),
    "no such name": ("t,x\n1,2\n1,2\n", {"column": "z\x1b[1m"}, ["--column z\\x1b[1m", "t, x"]),
    "no such number": ("t,x\n1,2\n1,2\n", {"column": "4"}, ["--column 4", "2 column(s)"]),
    "a name twice": ("x,x\n1,2\n3,4\n", {"column": "x"}, ["--column x", "x, x"]),
    "escapes in names": ("a\x1b[31m,b\n1,2\n1,3\n", {}, ["a\\x1b[31m, b"]),
    "zero bytes": (b"1\0\n2\0\n", {}, ["is no text"]),
    "cut UTF-16": ("1,5\n".encode("utf-16")[:-1], {}, ["cannot be read"]),
    "a workbook": (b"PK\x03\x04rest", {}, ["workbook", ".csv"]),
    "a decimal of its own": ("1\n", {"decimal": "x"}, ["decimal = 'x'"]),
    "a separator of two": ("1\n", {"separator": "::"}, ["separator = '::'"]),
    "a way of its own": ("1\n", {"gaps": "drop"}, ["gaps = 'drop'", "interpolate"]),
    "a negative header": ("1\n", {"header": -1}, ["header = -1"]),
    "an axis": ("1\n", {"axis": 0}, ["is a text"]),
}
# fmt: on


@pytest.mark.parametrize("case", REFUSED)
def test_texts_that_do_not_fit_are_refused_with_the_line_and_what_to_pass(tmp_path, case):
    content, options, words = REFUSED[case]
    with pytest.raises(InputError) as caught:
        read_series(written(tmp_path, content), **options)
    message = str(caught.value)
    assert [word for word in words if word not in message] == []
    assert message.isprintable()


@pytest.mark.parametrize("name", ["x.CSV", "x.tsv", "x.TXT", "x.dat", "x.rr", "x", "x.csv.gz", "x.GZ"])
def test_suffixes_of_text(tmp_path, name):
    content = b"x\n800\n812\n790\n"
    if name.lower().endswith("gz"):
        content = gzip.compress(content)
    assert read_series(written(tmp_path, content, name)).values.tolist() == [800, 812, 790]


def test_what_was_taken_is_one_sentence(tmp_path):
    content = '# by hand\n"a\x07";b\nms;mV\n1,5;2\nNA;3\n2,5;4\n'
    found = read_series(written(tmp_path, content), column=1, gaps="interpolate")
    assert found.taken == (
        "Taken: separated by ';', decimal comma, 2 rows of names, column 1 of 2 (a\\x07), "
        "1 comment left out, 3 values from line 4 to 6, 1 gap filled by straight lines."
    )
    assert found.name == "a\\x07"
    assert found.gaps == 1


MISSING = ["", "NA", "?", "nan", "#N/A", "-", "None", "inf", "-9999", "-9999.0", "off"]


@pytest.mark.parametrize("word", MISSING)
@pytest.mark.parametrize("table", [False, True])
def test_everything_that_stands_for_a_missing_value_is_a_gap(tmp_path, word, table):
    cells = ["1.5", word, "3.5", "4.5"]
    rows = [f"{step},{cell}" for step, cell in enumerate(cells)] if table else cells
    path = written(tmp_path, "\n".join(rows) + "\n")
    options = {"missing": ["-9999", "off"], "column": 2 if table else None}
    with pytest.raises(InputError, match=r"1 of 4 values are missing, first at line 2\. Pass --gaps longest"):
        read_series(path, **options)
    assert read_series(path, gaps="interpolate", **options).values.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert read_series(path, gaps="longest", **options).values.tolist() == [3.5, 4.5]


def test_a_first_row_with_a_gap_is_no_header(tmp_path):
    path = written(tmp_path, "day,x\nMon,NA\nTue,1.5\nWed,2.5\n")
    with pytest.raises(InputError, match="1 of 3 values are missing, first at line 2"):
        read_series(path, column="x")
    found = read_series(path, column="x", gaps="interpolate")
    assert found.values.tolist() == [1.5, 2.5]
    assert "1 gap at the ends cut off" in found.taken


def test_the_longest_stretch_names_its_lines(tmp_path):
    found = read_series(written(tmp_path, "1\n\n2\n?\n3\n4\n5\nnan\n-\n7\n"), gaps="longest")
    assert found.values.tolist() == [3, 4, 5]
    assert "3 values from line 5 to 7, the longest stretch without one of 4 gaps" in found.taken


def test_nothing_but_gaps_is_refused(tmp_path):
    with pytest.raises(InputError, match="all 2 values are missing"):
        read_series(written(tmp_path, "1,NA\n2,NA\n"), column=2, gaps="interpolate")


def test_a_repeated_value_far_from_all_others_is_pointed_out(tmp_path):
    values = np.random.default_rng(0).normal(20, 3, 200).round(2)
    np.save(tmp_path / "x.npy", values)
    assert read_series(tmp_path / "x.npy").notes == ()
    values[[50, 60]] = -9999
    values[[70, 80, 90]] = 9999
    np.save(tmp_path / "x.npy", values)
    low, high = read_series(tmp_path / "x.npy").notes
    assert low.startswith("-9999 occurs 2 times, first at step 51, far from all other values")
    assert high.startswith("9999 occurs 3 times, first at step 71")
    assert low.endswith("pass --missing -9999.")
    found = read_series(tmp_path / "x.npy", missing=[-9999, "9999"], gaps="interpolate")
    assert found.gaps == 5
    assert found.notes == ()


def test_three_digits_after_each_point_are_pointed_out(tmp_path):
    found = read_series(written(tmp_path, "1.234\n1.222\n"))
    assert found.values.tolist() == [1.234, 1.222]
    assert "--decimal ," in found.notes[0]
    assert read_series(written(tmp_path, "1.234\n0.998\n")).notes == ()
    with pytest.raises(InputError, match=r"line 1: '1\.234' is 1\.234 or 1234"):
        read_series(written(tmp_path, "1.234\n998\n"))


# Numbers as a table may show them: below 10^6, with up to 4 digits behind the mark.
NUMBERS = st.integers(-(10**9), 10**9).map(lambda n: n / 10_000)
MARKS = [".", ","]
SEPARATORS = [",", ";", "\t", " ", ""]


def shown(value, decimal, thousands, digits):
    text = f"{value:,.{digits}f}"
    return text.replace(",", "T").replace(".", decimal).replace("T", thousands)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=12),
    separator=st.sampled_from(SEPARATORS),
    decimal=st.sampled_from(MARKS),
    thousands=st.sampled_from(["", "", ",", ".", " ", "'", "\u00a0"]),
    digits=st.integers(0, 4),
    header=st.sampled_from(["none", "names", "two", "title"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_reads_back_as_the_same_numbers_or_is_refused(
    rows, separator, decimal, thousands, digits, header, quoting, encoding, end
):
    if thousands == decimal:
        thousands = ""
    width = 2 if separator else 1
    names = {"none": [], "names": [["alpha", "beta"]], "two": [["alpha", "beta"], ["ms", "mV"]]}
    head = names.get(header, [["Measured"], ["alpha", "beta"]])
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator or "\x1f", quoting=quoting, lineterminator=end)
    writer.writerows(row[:width] for row in head)
    writer.writerows([shown(v, decimal, thousands, digits) for v in row[:width]] for row in rows)
    expected = [round(row[-1 if separator else 0], digits) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), text.getvalue().encode(encoding))
        options = {"column": (2 if header == "none" else "beta") if separator else None}
        with_all = {"separator": separator or "none", "decimal": decimal, "header": len(head)}
        try:
            found = read_series(path, **options)
        except InputError:
            pass
        else:
            # Points before three digits each in all numbers are decimals, which a note says.
            assert found.values.tolist() == expected or "if they are thousands" in found.notes[0]
        assert read_series(path, **options, **with_all).values.tolist() == expected


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=15),
    separator=st.sampled_from([",", ";", "\t", " "]),
    digits=st.integers(0, 3),
    named=st.booleans(),
    fault=st.sampled_from(["dropped", "added", "joined", "word"]),
    data=st.data(),
)
def test_a_row_with_a_fault_is_never_read_as_numbers(rows, separator, digits, named, fault, data):
    decimal = "." if separator == "," else data.draw(st.sampled_from(MARKS))
    cells = [[shown(value, decimal, "", digits) for value in row] for row in rows]
    faulty = cells[data.draw(st.integers(0, len(rows) - 1))]
    column = data.draw(st.sampled_from([None, 1, 2]))
    if fault == "dropped":
        faulty.pop(data.draw(st.integers(0, 1)))
    elif fault == "added":
        faulty.insert(1, faulty[0])
    elif fault == "joined":
        faulty[:] = ["".join(faulty)]
    else:
        faulty[(column or 2) - 1] = "fault"
    lines = [separator.join(row) for row in ([["alpha", "beta"]] if named else []) + cells]
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "\n".join(lines) + "\n")
        with pytest.raises(InputError):
            read_series(path, column=column)


def test_a_compressed_bomb_is_refused_by_its_limit(tmp_path):
    path = tmp_path / "x.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(40):
            file.write((b"1.5" + b" " * 2**10 + b"\n") * 2**9)
    with pytest.raises(InputError, match=r"expands to more than 16 MiB.*unpack it"):
        read_series(path)


@pytest.mark.parametrize(
    "content", [b"\x1f\x8b\x08\x00rest", gzip.compress(b"1\n2\n", mtime=0)[:-6]], ids=["rest", "cut"]
)
def test_damaged_gzip_is_refused(tmp_path, content):
    with pytest.raises(InputError, match=r"x\.gz cannot be read"):
        read_series(written(tmp_path, content, "x.gz"))


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name, word in {
        "pipe.csv": "no regular file",
        "zero.csv": "no regular file",
        "folder.csv": "is a folder",
        "loop.csv": "cannot be read",
        "absent.csv": "no file",
        "a\0b": "cannot be read",
    }.items():
        with pytest.raises(InputError, match=word):
            read_series(tmp_path / name)


def test_a_line_without_end_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    with path.open("wb") as file:
        file.truncate(2**24 + 5)
        file.seek(0)
        file.write(b" " * 2**13)
    with pytest.raises(InputError, match="line 1 has more than"):
        read_series(path)


@pytest.mark.parametrize("name", ["x.edf", "x.XLSX", "x.parquet", "x.h5"])
def test_other_kinds_say_how_to_convert_them(tmp_path, name):
    with pytest.raises(InputError, match=r"are not read\. Convert it: (numpy|pandas)"):
        read_series(written(tmp_path, b"0", name))


STORED = {
    "a row of one": (np.arange(5.0), {}, [0, 1, 2, 3, 4]),
    "two columns": (np.arange(12).reshape(6, 2), {"column": 2}, [1, 3, 5, 7, 9, 11]),
    "channels before time": (np.arange(12).reshape(2, 6), {"column": 2, "axis": 1}, [6, 7, 8, 9, 10, 11]),
    "counted from behind": (np.arange(12).reshape(2, 6), {"column": 2, "axis": -1}, [6, 7, 8, 9, 10, 11]),
    "first axis asked for": (np.arange(12).reshape(2, 6), {"column": 2, "axis": 0}, [1, 7]),
    "one row": (np.ones((1, 5)), {}, [1] * 5),
    "the other byte order": (np.arange(3, dtype=">i2"), {}, [0, 1, 2]),
    "half precision": (np.array([0.5, 2], np.float16), {}, [0.5, 2]),
    "long doubles": (np.array([0.5, 2], np.longdouble), {}, [0.5, 2]),
    "true and false": (np.array([True, False]), {}, [1, 0]),
}


@pytest.mark.parametrize("case", STORED)
def test_stored_arrays_are_read(tmp_path, case):
    stored, options, expected = STORED[case]
    np.save(tmp_path / "x.npy", stored)
    found = read_series(tmp_path / "x.npy", **options).values
    assert found.tolist() == expected
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("stored", "options", "words"),
    [
        (np.ones((8, 500)), {"column": 3}, ["(8, 500)", "--axis 1", "--axis 0"]),
        (np.ones((50, 20)), {}, ["20 columns: 1, 2,", "...", "--axis"]),
        (np.ones((50, 2)), {"column": "3"}, ["--column 3", "2 column(s)"]),
        (np.ones((50, 2)), {"axis": 2}, ["--axis 2", "(50, 2)"]),
        (np.ones((5, 5, 5)), {}, ["(5, 5, 5)"]),
        (np.empty((0, 2)), {}, ["is empty"]),
        (np.ones(5, dtype=complex), {}, ["complex128"]),
        (np.array(3.0), {}, ["shape ()"]),
        (np.array([{}], dtype=object), {}, ["x.npy cannot be read"]),
        (np.array([1.0, np.nan, np.inf, 4]), {}, ["2 of 4 values are missing, first at step 2"]),
        (np.ones(5), {"decimal": ","}, ["is no text"]),
    ],
)
def test_stored_arrays_that_do_not_fit_are_refused(tmp_path, stored, options, words):
    np.save(tmp_path / "x.npy", stored, allow_pickle=True)
    with pytest.raises(InputError) as caught:
        read_series(tmp_path / "x.npy", **options)
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(10))
    content = (tmp_path / "x.npy").read_bytes().replace(b"(10,), }", b"(10000000000000,), }")
    content = content.replace(b" " * 12 + b"\n", b"\n", 1)
    for suffix in ("npy", "npz"):
        path = tmp_path / f"y.{suffix}"
        if suffix == "npz":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("x.npy", content)
        else:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read|not what its header says"):
            read_series(path)


def test_variables_of_an_archive_by_name_and_number(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, rate=250.0, words=np.array(["a"]), a=np.arange(4), b=np.arange(12).reshape(6, 2))
    assert read_series(path, column="a").values.tolist() == [0, 1, 2, 3]
    assert read_series(path, column=1).values.tolist() == [0, 1, 2, 3]
    assert read_series(path, column="b:2").values.tolist() == [1, 3, 5, 7, 9, 11]
    assert "variable b" in read_series(path, column="b:2").taken
    with pytest.raises(InputError, match=r"2 variables: a, b\. Choose one"):
        read_series(path)
    with pytest.raises(InputError, match="variable b, has 2 columns"):
        read_series(path, column="b")
    np.savez_compressed(path, anything=np.arange(5))
    found = read_series(path)
    assert found.values.tolist() == [0, 1, 2, 3, 4]
    assert found.name == "anything"


def test_an_archive_that_expands_beyond_the_limit_is_refused_from_its_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr("phasescope.data.series._LARGEST", 2**20)
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros(2**18))
    savemat(tmp_path / "x.mat", {"x": np.zeros(2**18)}, do_compression=True)
    for name in ("x.npz", "x.mat"):
        with pytest.raises(InputError, match="the limit is"):
            read_series(tmp_path / name)


def test_archives_execute_nothing_and_damage_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="no array of real numbers"):
        read_series(path)
    for name in ("x.npz", "x.mat", "x.wav", "x.npy"):
        with pytest.raises(InputError, match="cannot be read"):
            read_series(written(tmp_path, b"PK\x03\x04 cut", name))


@pytest.mark.parametrize("packed", [False, True])
def test_variables_of_matlab(tmp_path, packed):
    path = tmp_path / "x.mat"
    x = np.array([1.5, 2.5, 3.5])
    savemat(path, {"fs": 250.0, "x": x, "y": np.arange(8).reshape(4, 2), "s": "text"}, do_compression=packed)
    assert read_series(path, column="x").values.tolist() == x.tolist()
    assert read_series(path, column="y:1").values.tolist() == [0, 2, 4, 6]
    with pytest.raises(InputError, match="2 variables: x, y"):
        read_series(path)


def test_version_7_3_of_matlab_says_how_to_convert_it(tmp_path):
    content = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" + bytes(400)
    with pytest.raises(InputError, match=r"version 7\.3.*-v7"):
        read_series(written(tmp_path, content, "x.mat"))


@pytest.mark.parametrize("width", [1, 2, 3])
def test_recordings_of_sound(tmp_path, width):
    path = tmp_path / "x.wav"
    samples = [3, -4, 5, 100]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(width)
        file.setframerate(8000)
        centre = 128 if width == 1 else 0
        for sample in samples:
            for channel in (sample, 1):
                file.writeframes((channel + centre).to_bytes(width, "little", signed=width > 1))
    found = read_series(path, column=1)
    scale = {1: 1, 2: 1, 3: 256}[width]  # 24 bits are kept in the upper three of four bytes
    assert found.values.tolist() == [sample * scale + centre for sample in samples]
    assert "8000 samples a second" in found.taken


@pytest.mark.slow
def test_two_million_lines_take_less_than_150_mb(tmp_path):
    values = np.random.default_rng(0).normal(size=2_000_000)
    np.savetxt(tmp_path / "x.csv", values, fmt="%.6f")
    code = (
        "import resource, sys\n"
        "from phasescope.data import read_series\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "found = read_series(sys.argv[1])\n"
        "print(len(found.values), (peak() - before) / 1024)\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "x.csv")]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    length, megabytes = shown.split()
    assert length == "2000000"
    assert float(megabytes) < 150
