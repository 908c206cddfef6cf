"""The page and its JSON, read as text."""

import json
import re
from importlib import resources

import numpy as np
import pytest

from json_schema import violations
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.report import Fate, Training, document, render, save
from phasescope.report.layer_table import layer_table
from synthetic_profile import synthetic_blocks

SCHEMA = json.loads(resources.files("phasescope.report").joinpath("schema.json").read_text())


def make_training(labels):
    curves = np.array([[2.3, 1.0], [2.3, np.nan]])
    fates = [
        Fate(label, np.array([0, 10]), curves, np.full((2, 2), 0.5), Estimate(0.5, 0.01, "mean", 2))
        for label in labels
    ]
    return Training(fates, "Each was trained for 10 steps.", 0.1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, three):
    """The folder of three networks and their training, and the path that was returned."""
    folder = tmp_path_factory.mktemp("saved") / "new"
    training = make_training(["small", "large", "just right"])
    return folder, save(three, folder, training=training, command="phasescope inspect")


@pytest.fixture(scope="module")
def page(saved):
    return saved[1].read_text(encoding="utf-8")


def test_both_files_are_written_and_the_page_is_returned(saved, page):
    folder, path = saved
    assert path == folder / "report.html"
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "report.json"]
    assert page.startswith("<!doctype html>")


def test_the_json_keeps_to_its_schema(saved):
    content = json.loads((saved[0] / "report.json").read_text(encoding="utf-8"))
    assert violations(content, SCHEMA) == []
    assert content["version"] == 1
    assert content["training"]["fates"][0]["loss"][1] == [2.3, None]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.update(version=2),
        lambda content: content.pop("sentence"),
        lambda content: content["inspections"].clear(),
        lambda content: content["inspections"][0]["findings"][0].update(severity="bad"),
        lambda content: content["inspections"][0]["instruments"]["propagation"]["coords"].pop("skipped"),
    ],
)
def test_the_schema_catches_damage(three, damage):
    content = document(three)
    damage(content)
    assert violations(content, SCHEMA) != []


def test_every_key_of_the_json_is_described(three):
    content = document(three, make_training(["small", "large", "just right"]))
    definitions = SCHEMA["$defs"]
    assert set(content) <= set(SCHEMA["properties"])
    assert set(content["inspections"][0]) <= set(definitions["inspection"]["properties"])
    assert set(content["training"]["fates"][0]) <= set(definitions["fate"]["properties"])


def test_sections_come_in_the_promised_order(three):
    page = render(three)
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections == ["picture", "layers", "skipped", "actions", "method", "citations"]
    assert page.index("<h1>") < page.index("What differs") < page.index('id="picture"')


def test_a_single_network_opens_with_its_sentence_and_has_no_comparison(inspection):
    page = render([inspection()])
    assert re.search(
        r"<h1>The network is ordered; call <code>phasescope.signal.critical_\(model, batch\)</code>.</h1>",
        page,
    )
    assert "What differs" not in page
    assert "it needs a sequence of inputs" in page


def test_no_remote_address_and_a_policy_that_forbids_them(page):
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)


def test_ids_are_unique_on_the_page(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 10


def test_user_text_is_escaped_everywhere(inspection):
    evil = "<script>alert(1)</script>"
    changed = inspection(f"{evil} $x_1$", model=evil)
    changed.datasets["propagation"] = changed.datasets["propagation"].assign_coords(
        kind=("layer", [evil] * changed.datasets["propagation"].sizes["layer"])
    )
    other = inspection("b", chi=1.0, phase="critical")
    page = render([changed, other], command=f"phasescope inspect {evil}")
    assert evil not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<script>") == 1


def test_a_huge_network_stays_under_a_megabyte_and_says_what_is_cut(inspection):
    page = render([inspection(depth=1500, chi=0.999, phase="critical")])
    assert len(page.encode()) < 1_000_000
    assert re.search(
        r"Measured: all 2999 rows, with all parameters\. The first \d+ are shown; all are in report.json",
        page,
    )


def test_the_table_has_all_measured_rows_and_the_skipped_by_reason(inspection):
    dataset = inspection(depth=3).datasets["propagation"]
    reasons = ["", "not called", "", "not called", ""]
    dataset = dataset.assign_coords(skipped=("layer", reasons))
    dataset["kernel"][1] = np.nan
    table = layer_table(dataset, most_rows=100)
    assert [(row.number, row.layer) for row in table.rows] == [(1, "0"), (2, "2"), (3, "4")]
    assert (table.measured, table.total, table.cut) == (3, 5, 0)
    assert table.skipped == {"not called": ["1", "3"]}
    assert "dead" in table.absent


def test_branches_stand_below_the_sum_where_they_end_and_chains_have_a_column():
    dataset = synthetic_blocks(1)
    table = layer_table(dataset, most_rows=100)
    assert [(row.layer, row.branch) for row in table.rows[:5]] == [
        ("wte", False), ("h.0.attn (sum)", False), ("h.0.ln_1", True), ("h.0.attn.c_attn", True),
        ("h.0.attn.c_proj", True),
    ]  # fmt: skip
    assert {row.chain for row in table.rows} == {""}
    two = json.dumps([{"input": "a"}, {"input": "b"}])
    chain = np.array([0] * 5 + [1] * (dataset.sizes["layer"] - 5))
    chain[[1, 2, 3]] = -1  # of branches
    table = layer_table(dataset.assign_coords(chain=("layer", chain)).assign_attrs(chains=two), most_rows=4)
    assert [row.chain for row in table.rows] == ["a"] * 4


def test_theory_that_is_not_drawn_is_said(inspection):
    reason = "0.b (LayerNorm) is not a layer that the theory covers"
    silent = inspection(theory=False)
    silent.datasets["propagation"].attrs["theory"] = json.dumps({"recognised": False, "reason": reason})
    page = render([silent])
    assert "<dt>theory beside the measurement</dt>" in page
    assert reason in page
    assert "theory beside the measurement" not in render([inspection()])


def test_nothing_to_report_is_refused(tmp_path):
    with pytest.raises(InputError, match="no inspection"):
        save([], tmp_path)


def test_the_recipe_has_the_numbers_of_the_activation(inspection):
    scale = {"activation": "relu", "layers": 10, "C_W": 1 / 3, "C_b": 0.001}
    page = render([inspection(weight_scale=json.dumps(scale))])
    assert "critical for relu: C_W = 2, C_b = 0" in page
    assert "std=1.41421 / fan_in**0.5" in page
    assert "nn.init.zeros_(layer.bias)" in page
