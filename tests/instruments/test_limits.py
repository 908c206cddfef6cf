"""Limits on an inspection: what each keeps to, what is undetermined, and what is refused."""

import json
import math

import pytest
import xarray as xr

from phasescope.errors import InputError
from phasescope.instruments import Finding, Inspection, Instrument, check, read_limits

LAYERS = ("first", "blocks.0", "blocks.1", "left_out")


class Made(Instrument):
    """Says what a dataset of known numbers was given to say."""

    name, title = "made", "Made"

    def applies(self, model, batch):
        return ""

    def measure(self, model, batch, *, seed=0, max_memory=None):
        raise NotImplementedError

    def findings(self, dataset):
        return [Finding(**each) for each in json.loads(dataset.attrs["found"])]

    def figures(self, dataset):
        return {}


def finding(sentence, severity):
    return {"sentence": sentence, "evidence": "", "action": "", "severity": severity}


def inspection(*found, skipped=None, failed=None):
    """An inspection of one instrument, whose numbers are round."""
    open_ = {"value": None, "error": None, "reason": "2 steps are too few"}
    data = {
        "size": ("layer", [1.0, 2.0, 4.0, math.nan]),
        "size_error": ("layer", [0.1, 0.5, 0.5, math.nan]),
        "partly": ("layer", [1.0, math.nan, 3.0, math.nan]),
        "curve": (("layer", "time"), [[0.0, 1.0]] * 4),
        "loss": ((), 0.25),
        "loss_error": ((), 0.1),
        "nothing": ((), math.nan),
        "huge": ("layer", [1.0, math.inf, 1.0, math.nan]),
        "at_lag": ("time", [5.0, 7.0]),
    }
    coordinates = {"layer": list(LAYERS), "skipped": ("layer", ["", "", "", "not called"]), "time": [10, 20]}
    verdict = {"phase": "ordered", "margin": {"value": -0.5, "error": 0.1}, "depth": open_}
    attrs = {
        "found": json.dumps(list(found)),
        "verdict": json.dumps(verdict),
        "inputs": 12,
        "mode": "train",
        "state": "not determined",
    }
    made = Made()
    return Inspection(
        label="net",
        model="Net",
        datasets={"made": xr.Dataset(data, coordinates, attrs)},
        findings=made.findings(xr.Dataset(attrs=attrs)),
        skipped=skipped or {},
        tables={},
        seconds=0.0,
        instruments={"made": made},
        failed=failed or {},
    )


def one(limits, **also):
    """The check of one limit on the made instrument, the one on the findings left out."""
    (found,) = check(inspection(), {"made": limits, **also})[1:]
    return found


@pytest.mark.parametrize(
    ("limits", "passed", "measured"),
    [
        ({"margin": [-1, 0]}, True, "-0.50 ± 0.10"),
        ({"margin": [-0.5, 0]}, True, "-0.50 ± 0.10"),  # a limit itself is allowed
        ({"margin": [-0.4, 0]}, False, "-0.50 ± 0.10"),
        ({"margin": {"min": -0.4, "errors": 1.5}}, True, "-0.50 ± 0.10"),
        ({"margin": {"min": -0.4, "errors": 0.5}}, False, "-0.50 ± 0.10"),
        ({"loss": {"max": 0.2}}, False, "0.25 ± 0.10"),
        ({"loss": {"max": 0.2, "errors": 1}}, True, "0.25 ± 0.10"),
        ({"inputs": {"min": 12}}, True, "12"),
        ({"inputs": {"max": 11, "errors": 100}}, False, "12"),  # without an error none is given away
        ({"size": {"max": 4}}, True, "1 to 4 at all 3 rows"),
        ({"size": {"max": 3}}, False, "4.00 ± 0.50 at blocks.1, 1 of 3 rows outside"),
        ({"size": {"max": 0.5}}, False, "4.00 ± 0.50 at blocks.1, 3 of 3 rows outside"),
        ({"size": {"max": 3, "errors": 2}}, True, "1 to 4 at all 3 rows"),
        ({"size": {"min": 2, "rows": "blocks.*"}}, True, "2 to 4 at all 2 rows"),
        ({"size": {"max": 1, "rows": ["first"]}}, True, "1.00 ± 0.10 at first"),
        ({"huge": {"min": 0, "max": 9}}, False, "inf at blocks.0, 1 of 3 rows outside"),
        ({"at_lag": {"max": 6}}, False, "7 at 20, 1 of 2 rows outside"),
        ({"phase": "ordered"}, True, "ordered"),
        ({"phase": ["critical", "chaotic"]}, False, "ordered"),
    ],
)
def test_a_limit_is_kept_or_not_by_the_value_and_its_error(limits, passed, measured):
    found = one(limits)
    assert (found.passed, found.measured) == (passed, measured)


@pytest.mark.parametrize(
    ("limits", "measured"),
    [
        ({"depth": {"min": 1}}, "not determined: 2 steps are too few"),
        ({"nothing": {"min": 1}}, "not determined: NaN"),
        ({"partly": {"min": 0}}, "not determined: NaN at blocks.0, 1 of 3 rows"),
        ({"size": {"min": 0, "rows": "left_out"}}, "not determined: not called at left_out"),
        ({"state": ["lazy"]}, "not determined"),
    ],
)
def test_what_is_not_determined_fails_unless_it_may_pass(limits, measured):
    found = one(limits)
    assert (found.passed, found.measured) == (False, measured)
    assert one({**limits, "undetermined": "pass"}).passed
    assert one(limits, undetermined="pass").passed
    assert not one({**limits, "undetermined": "fail"}, undetermined="pass").passed


def test_what_is_outside_fails_though_the_undetermined_may_pass():
    found = one({"partly": {"max": 2, "undetermined": "pass"}})
    assert (found.passed, found.measured) == (False, "3 at blocks.1, 1 of 3 rows outside")
    assert one({"partly": {"max": 3, "undetermined": "pass"}}).measured == "1 to 3 at 2 of 3 rows"


@pytest.mark.parametrize(
    ("limits", "passed"),
    [
        (None, [True]),
        ({"severity": "warning"}, [True]),
        ({"severity": "note"}, [False]),
        ({"made": {"severity": "note"}}, [True, False]),
        ({"severity": "note", "made": {"allow": ["DIM light"]}}, [True, True]),
        ({"severity": "note", "made": {"allow": ["dark"]}}, [True, False]),
        ({"severity": "note", "made": {"severity": "warning"}}, [True, True]),
    ],
)
def test_the_worst_finding_decides(limits, passed):
    found = inspection(finding("All is well.", "ok"), finding("A dim light.", "warning"))
    checks = check(found, limits)
    assert [each.passed for each in checks] == passed
    if not all(passed):
        failed = next(each for each in checks if not each.passed)
        assert (failed.measured, failed.limit) == ("warning: A dim light", "note at worst")


def test_a_problem_fails_without_any_limit():
    (found,) = check(inspection(finding("It burns.", "problem")), None)
    assert str(found) == "FAILED  findings: problem: It burns (limit: warning at worst)"


def test_limits_on_an_instrument_that_was_skipped_are_undetermined():
    found = inspection(skipped={"tokens": "there is no attention\nat all"})
    limits = {"tokens": {"severity": "ok", "anything": [0, 1], "word": "good"}}
    checks = check(found, limits)[1:]
    assert {each.name: each.passed for each in checks} == dict.fromkeys(
        ["findings", "anything", "word"], False
    )
    assert checks[0].measured == "not determined: there is no attention"
    assert all(each.passed for each in check(found, {"undetermined": "pass", **limits}))


def test_an_instrument_that_failed_is_a_check_that_fails():
    first, rest = check(inspection(failed={"noise": "ValueError: no\nTraceback"}), {"undetermined": "pass"})
    assert str(first) == "FAILED  noise.measured: failed: ValueError: no (limit: must not fail)"
    assert rest.passed


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"mad": {}}, r"no instrument 'mad'.*Did you mean made\? There are: made;"),
        ({"made": {"sise": [0, 1]}}, r"made has no 'sise'. Did you mean size\? .*margin, .*inputs, .*size"),
        ({"made": {"severty": "note"}}, r"made has no 'severty'. Did you mean severity\?"),
        ({"severty": "note"}, "severty: 'note' is neither a setting nor a table; settings are severity"),
        ({"made": {"size": {"most": 1}}}, "no setting made.size.most; there are: min, max, errors, rows"),
        ({"made": {"size": {"max": 1, "rows": "blocks.7"}}}, r"no row is called 'blocks.7'.*blocks.0"),
        ({"made": {"loss": {"max": 1, "rows": "x"}}}, "loss is one number and has no rows"),
        ({"made": {"inputs": {"max": 1, "rows": "x"}}}, "inputs is one number and has no rows"),
        ({"made": {"curve": [0, 1]}}, "has the dimensions layer, time"),
        ({"made": {"phase": [0, 1]}}, "phase is a word, here 'ordered'"),
        ({"made": {"size": ["small"]}}, "size is a number"),
        ({"made": {"size": 3}}, "3 is no limit: write"),
        ({"made": {"size": [1, 0]}}, "no number lies between min = 1 and max = 0"),
        ({"made": {"size": {"max": math.nan}}}, "no number lies between"),
        ({"made": {"size": {"rows": "first"}}}, "a limit needs min, max or both"),
        ({"made": {"size": {"max": "1"}}}, "made.size.max: Input should be a valid number"),
        ({"made": {"size": {"max": True}}}, "made.size.max: Input should be a valid number"),
        ({"made": {"size": {"max": 1, "errors": -1}}}, "made.size.errors"),
        ({"made": {"size": {"max": 1, "undetermined": "maybe"}}}, "'fail' or 'pass'"),
        ({"severity": "bad"}, "severity: Input should be 'ok', 'note', 'warning' or 'problem'"),
        ({"made": {"allow": "dim"}}, "made.allow"),
        ([], "limits holds no table"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_what_there_is(limits, said):
    with pytest.raises(InputError, match=said):
        check(inspection(), limits)


def test_toml_and_json_say_the_same(tmp_path):
    limits = {"severity": "note", "made": {"phase": ["ordered"], "size": {"max": 4.0, "errors": 2}}}
    (tmp_path / "limits.json").write_text(json.dumps(limits))
    (tmp_path / "limits.toml").write_text(
        'severity = "note"\n[made]\nphase = ["ordered"]\nsize = {max = 4.0, errors = 2}\n'
    )
    assert read_limits(tmp_path / "limits.json") == read_limits(str(tmp_path / "limits.toml"))
    assert read_limits(tmp_path / "limits.toml") == read_limits(limits)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.toml", "[made", "is no TOML"),
        ("a.json", "{", "is no JSON"),
        ("a.json", "[" * 100_000, "is no JSON"),
        ("a.json", "[1]", "holds no table"),
        ("a.toml", "severity = 3", "a.toml: severity"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_limits(tmp_path / name)
    with pytest.raises(InputError, match="no_such"):
        read_limits(tmp_path / "no_such.toml")


def test_a_check_is_ready_for_json():
    found = one({"margin": [-1, 0]})
    assert json.loads(json.dumps(found.to_dict())) == {
        "label": "net",
        "instrument": "made",
        "name": "margin",
        "passed": True,
        "measured": "-0.50 ± 0.10",
        "limit": "-1 to 0",
    }
