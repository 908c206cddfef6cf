"""The page of a picture network as a file: its data, its size, what is escaped."""

import base64
import json
import re

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.report import ReadyMade, render_explorer, save_explorer
from phasescope.synapses import PictureNet, Wiring, thinned_cascade

EVIL = "</script><script>alert(1)</script><!--\u2028'\"&amp;"


def page(**changes):
    net = PictureNet(thinned_cascade(hidden=8, window=4, reach=3), seed=3)
    words = {"title": "A title", "name": "a name", "ready_made": [], **changes}
    return render_explorer(net, net.paint(6, 9), **words)


def data_of(text):
    return json.loads(
        re.search(r'<script type="application/json" id="explorer-data">(.*?)</script>', text)[1]
    )


def test_weights_are_there_to_the_last_bit_and_the_original_in_single_precision():
    net, original = PictureNet(seed=5), np.random.default_rng(0).uniform(-1, 1, (4, 7, 3))
    data = data_of(render_explorer(net, original, title="t", name="n", fits=[(3, 0.125)], ready_made=[]))
    read = PictureNet.from_dict(data["net"])
    assert read.weights.tolist() == net.weights.tolist()
    assert read.wiring == net.wiring
    stored = np.frombuffer(base64.b64decode(data["original"]), "<f4")
    assert stored.tolist() == original.transpose(2, 0, 1).astype(np.float32).ravel().tolist()
    assert (data["height"], data["width"], data["fits"]) == (4, 7, [{"seed": 3, "rmse": 0.125}])


def test_the_page_of_the_default_network_is_below_3_megabytes(tmp_path):
    path = save_explorer(
        PictureNet(), np.zeros((64, 96, 3)), tmp_path / "x" / "page.html", title="t", name="n"
    )
    assert path.stat().st_size < 3e6
    assert [each["key"] for each in data_of(path.read_text())["ready_made"]] == [
        *("line", "comparison", "band", "two-bands")
    ]


def test_nothing_remote_is_named_and_the_policy_forbids_it():
    text = page()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["worker-src"] == "blob:"
    assert {word for rule in rules.values() for word in rule.split()} <= {
        *("'none'", "'unsafe-inline'", "data:", "blob:"),
        *rules["script-src"].split(),
    }
    # Names of XML dialects are no addresses.
    assert re.findall(r"https?://(?!www\.w3\.org/)[^\s\"'`)]*", text) == []


@pytest.mark.parametrize("field", ["title", "name", "command"])
def test_text_of_a_user_ends_no_element(field):
    text = page(**{field: EVIL})
    plain = page(**{field: "harmless"})
    assert text.count("<script") == plain.count("<script")
    assert text.count("<!--") == plain.count("<!--")
    if field != "command":
        assert data_of(text)[field] == EVIL


def test_text_of_notes_and_ready_made_networks_ends_no_element():
    line = ReadyMade("line", EVIL, EVIL, PictureNet(Wiring(2, ((0, 1),), (0,)), [1.0, 2.0, 0.0]), 3, 4)
    data = data_of(page(ready_made=[line], notes=[EVIL]))
    assert (data["notes"], data["ready_made"][0]["title"]) == ([EVIL], EVIL)


@pytest.mark.parametrize(
    ("net", "shape", "said"),
    [
        (PictureNet(), (4, 5), "shape"),
        (PictureNet(), (0, 5, 3), "shape"),
        (PictureNet(Wiring(1, ((0,),), (0,)), [1.0, 0.0]), (4, 5, 3), "1 inputs and 1 outputs"),
    ],
)
def test_what_cannot_be_shown_is_refused(net, shape, said):
    with pytest.raises(InputError, match=said):
        render_explorer(net, np.zeros(shape), title="t", name="n")


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="not finite"):
        render_explorer(PictureNet(), np.full((4, 5, 3), np.nan), title="t", name="n")
