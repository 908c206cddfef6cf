"""The page of a study, as text and in a browser."""

import re

import pytest

import toy_study
from phasescope import studies
from phasescope.report import render_study, save_study
from toy_study import EVIL


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("study")
    config = studies.changed(toy_study.STUDY.presets["paper"], [f"activation={EVIL}", "square.claimed=31"])
    return studies.run(toy_study.STUDY, config, directory)


@pytest.fixture(scope="module")
def page(run):
    return render_study(run)


def text_of(page):
    return " ".join(re.sub(r"<(?!=)[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)).split())


def test_the_claims_come_first_then_the_parts_then_how(page):
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert sections == ["claims", "part-mean", "part-square", "method", "citations"]
    assert page.index("<h1>What a toy study shows</h1>") < page.index("Of 5 claims, 2 agree, 1 disagrees")
    assert re.findall(r'<a href="#([\w-]+)"', page) == ["part-mean", "part-square"]


def test_every_check_is_in_the_table_and_in_its_part(page, run):
    verdicts = re.findall(r'<td class="verdict (\w+)">([\w ]+)</td>', page)
    assert verdicts == [
        ("ok", "agrees"),
        ("ok", "agrees"),
        ("problem", "disagrees"),
        ("warning", "not determined"),
        ("note", "no reference"),
    ]
    said = text_of(page)
    for check in run.checks:
        assert said.count(f"· {check.id} ") == 1
    assert "Not determined: too few squares." in said
    assert "Measured 30, expected 31 (exact, n = 5)." in said


def test_how_to_run_it_again_is_complete(page):
    command = re.search(r"<code>(phasescope study run .*?)</code>", page)[1]
    assert command.startswith("phasescope study run toy --preset paper --set &#39;activation=&lt;script&gt;")
    assert command.endswith("square.claimed=31.0")
    said = text_of(page)
    assert "@misc{tamai2023," in said
    assert "@inproceedings{poole2016," in said
    assert "mean.networks 30" in said
    assert re.search(r"Seed 0 Device cpu Threads of a task 1 Versions phasescope [\d.]+, python", said)


def test_text_of_the_user_is_escaped_and_nothing_remote_is_named(page):
    assert EVIL not in page
    assert page.count("<script>") == 1
    assert page.count("&lt;script&gt;") >= 8
    assert "http" not in page.replace("http-equiv", "")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 5


def test_parts_that_were_not_measured_are_named(tmp_path):
    config = toy_study.STUDY.presets["quick"]
    page = render_study(studies.run(toy_study.STUDY, config, tmp_path, parts=["square"]))
    assert "Not measured in this run: mean." in page
    assert "part-mean" not in page


def test_the_same_data_give_the_same_page_and_both_files_are_written(run, page, tmp_path):
    path = save_study(run, tmp_path / "new")
    assert path.read_text(encoding="utf-8") == page
    assert (path.parent / "checks.json").read_text(encoding="utf-8") == run.checks_json()
    assert len(page.encode()) < 200_000


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_the_screen_and_is_quiet(show_page, run, tmp_path, width):
    browser = show_page(save_study(run, tmp_path), width=width)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.title == "What a toy study shows: phasescope"
    assert browser.get_log("browser") == []
    assert EVIL in browser.find_element("id", "part-square").text
    verdicts = browser.find_elements("css selector", "td.verdict")
    assert [cell.text for cell in verdicts].count("agrees") == 2
    assert min(cell.rect["height"] for cell in verdicts) > 10
    pictures = browser.find_elements("css selector", "figure svg[role=img]")
    assert len(pictures) == 2
    assert min(picture.rect["width"] for picture in pictures) > 250
    browser.find_elements("css selector", "table.claims a")[1].click()
    top = browser.execute_script("return document.getElementById('part-square').getBoundingClientRect().top")
    assert abs(top) < browser.execute_script("return innerHeight")
