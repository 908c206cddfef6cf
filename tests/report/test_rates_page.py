"""The page of a scan of learning rates, from numbers that were chosen for it."""

import json
import math
import re

import pytest

from phasescope.estimate import Estimate
from phasescope.report import rates_figure, render_rates, save_rates
from phasescope.training import LearningRateScan, RateRow, Suggestion

EVIL = "<script>alert(1)</script>"


def number(value, error=0.01):
    return Estimate(value, error, "chosen", 3)


def row(rate, *, late=0.5, verdicts=None, time=None, sentence="It trains."):
    return RateRow(
        rate=rate,
        exponent=number(0.1 * rate, 0.002),
        sharpness_start=number(4 * rate),
        sharpness_ratio=number(late),
        final_loss=number(0.2),
        rises=number(0.25),
        time_to_target=time or number(5 / rate, 2.0),
        failed_share=0.0 if time is None else 1 / 3,
        verdicts=verdicts or {"regular": 3},
        dead_units=0.0,
        sentence=sentence,
        looks=(0, 10, 20),
        sharpness=(4 * rate, 1.0, math.nan),
        growth=(0.0, 3.0, 9.0),
        growth_steps=(0, 10, 20),
    )


def scan(**changes):
    late = Estimate.not_determined("1 of 3 never reach 0.9 in 20 steps")
    given = {
        "onset": number(1.2, 0.1),
        "edge": number(0.5, 0.02),
        "recommended_low": number(0.5, 0.1),
        "recommended_high": number(1.0, 0.2),
        "reason": "Rates from 0.5 to 1 reach the target first.",
        "rows": (row(0.25), row(0.5), row(1.0), row(2.0, time=late, verdicts={"chaotic": 2, "dead": 1})),
        "target": 0.9,
        "score": "accuracy on validation data",
        "steps": 20,
        "seeds": (0, 1, 2),
        "suggestions": {"steepest point": Suggestion(number(0.1), late, 1 / 3)},
        "findings": ("Chaos sets in at 1.20 ± 0.10.", EVIL),
        "notes": ("dropout is off in drop",),
    }
    return LearningRateScan(**(given | changes))


def text_of(page):
    return " ".join(re.sub(r"<(?!=)[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)).split())


@pytest.fixture(scope="module")
def page():
    return render_rates(scan(), name="train.py:net", command="phasescope lr-scan train.py:net")


def test_the_recommendation_comes_first_then_the_picture_and_the_rates(page):
    assert "<h1>train.py:net: learning rate 0.5 to 1</h1>" in page
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert sections == ["picture", "findings", "rates", "range-test", "citations"]
    assert page.index("Rates from 0.5 to 1 reach the target first.") < page.index('id="picture"')
    assert page.count("<svg") == 3


def test_every_rate_has_a_line_and_a_sentence(page):
    lines = re.findall(r'<tr><th scope="row">([\d.]+)</th>', page)
    assert lines == ["0.25", "0.5", "1", "2"]
    said = text_of(page)
    assert said.count("It trains.") == 4
    assert "chaotic 2, dead 1" in said
    assert "33%" in said
    assert "1 of 3 never reach 0.9 in 20 steps" in said
    assert "The target is accuracy on validation data of 0.9." in said


def test_the_picture_shows_the_onset_and_the_recommended_range():
    figure = rates_figure(scan())
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Steps to the target",
        "Loss at the end",
        "Sharpness over the stability threshold",
        "Exponent of a small difference",
    ]
    for axes in figure.axes:
        assert axes.get_xscale() == "log"
        spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
        assert spans == [pytest.approx((0.5, 1.0), rel=0.04), pytest.approx((1.1, 1.3), rel=0.02)]
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert list(crosses[0].get_xdata()) == [2.0]


def test_nothing_of_the_user_becomes_markup_and_nothing_remote_is_named(page):
    assert EVIL not in page
    assert "&lt;script&gt;alert" in page
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 5


def test_both_files_are_written_and_say_the_same(tmp_path, page):
    path = save_rates(scan(), tmp_path, name="train.py:net", command="phasescope lr-scan train.py:net")
    assert path.read_text() == page
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["training"] == "train.py:net"
    assert stored["onset"] == 1.2
    assert stored["rates"] == [0.25, 0.5, 1.0, 2.0]
    assert stored["time_to_target"] == [20.0, 10.0, 5.0, None]
    assert stored["in_time"][0]["sharpness_ratio"] == [1.0, 1.0, None]
    assert stored["range_test"]["steepest point"]["reason"] == "1 of 3 never reach 0.9 in 20 steps"


def test_a_scan_that_found_nothing_has_a_page_too():
    none = Estimate.not_determined("the budget ended before the first run")
    numbers = dict.fromkeys(("onset", "edge", "recommended_low", "recommended_high"), none)
    empty = scan(**numbers, rows=(), suggestions={}, target=math.nan, reason="No rate is recommended.")
    page = render_rates(empty, name="x")
    assert "no learning rate recommended" in page
    assert "<svg" not in page
    unknown = render_rates(scan(**numbers, rows=(row(0.5),)), name="x")
    assert unknown.count("<svg") == 3
