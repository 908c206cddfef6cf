"""The numerics of the explorer page in headless Chromium, against the library, on the page of a file."""

import json

import numpy as np
import pytest
import torch

from phasescope.report import save_explorer
from phasescope.synapses import (
    Area,
    Centroid,
    ColourBalance,
    MeanColour,
    PictureNet,
    Region,
    RegionEnergy,
    Tilt,
    Width,
    edit,
    ensemble,
    nulls,
    sensitivity,
    thinned_cascade,
)

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 16, 24
MASK = np.zeros((HEIGHT, WIDTH), dtype=bool)
MASK[4:10, 8:17] = True
MASK[4, 8] = False
PROPERTIES = {
    "mean": (MeanColour(MASK), {}),
    "mean of red": (MeanColour(MASK, channel=0), {"kind": "mean", "channel": 0}),
    "balance": (ColourBalance(1, mask=MASK), {"channel": 1}),
    "energy": (RegionEnergy(MASK), {}),
    "area": (Area(mask=MASK, threshold=0.1), {"threshold": 0.1}),
    "centroid": (Centroid(mask=MASK, axis="y", softness=0.2), {"axis": "y", "softness": 0.2}),
    "tilt": (Tilt(mask=MASK, sign=-1), {"sign": -1}),
    "width": (Width(mask=MASK, axis="x", channel=2), {"axis": "x", "channel": 2}),
}


def in_page(kind, changes):
    return {"kind": kind, "mask": MASK.ravel().astype(int).tolist(), **changes}


@pytest.fixture(scope="module")
def net():
    return PictureNet(thinned_cascade(hidden=12, window=6, reach=4), gain=2.0, seed=1)


@pytest.fixture(scope="module")
def sensed(net):
    return sensitivity(net, HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def page(browser, net, tmp_path_factory):
    """The page, opened offline from a file, with a canvas C of its own for the tests."""
    path = tmp_path_factory.mktemp("engine") / "page.html"
    save_explorer(net, 0.9 * net.paint(HEIGHT, WIDTH), path, title="t", name="n", ready_made=[])
    browser.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    browser.execute_script("""
        window.E = phasescopeEngine();
        window.data = JSON.parse(document.getElementById('explorer-data').textContent);
        window.C = E.canvas(data.net, data.height, data.width);
        window.plain = (x) => JSON.parse(JSON.stringify(x,
            (_, v) => ArrayBuffer.isView(v) ? Array.from(v) : v));
        window.A = E.assistant(data.net, data.height, data.width);""")
    yield browser
    offline |= {"offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", offline)


def value(page, expression, *arguments):
    return page.execute_script(f"const given = arguments; return plain({expression});", *arguments)


def in_worker(page, method, *arguments):
    """Return what the worker answers, or its error."""
    return page.execute_async_script(
        "const done = arguments[2]; A.call(arguments[0], arguments[1])"
        ".then((x) => done(plain(x)), (e) => done({ error: e.message }))",
        method,
        list(arguments),
    )


def planar(picture):
    return np.asarray(picture.movedim(-1, 0)).ravel()


def test_pixels_are_those_of_python(page, net):
    expected = planar(net.paint(HEIGHT, WIDTH))
    assert np.abs(np.array(value(page, "C.picture")) - expected).max() < 1e-12
    stored = value(page, "E.toBytes(C.picture, new Uint8ClampedArray(4 * C.pixels), C.pixels)")
    colours = np.array(stored).reshape(-1, 4)[:, :3].T.ravel()
    assert np.abs(colours - np.clip(np.floor(128 * (expected + 1)), 0, 255)).max() <= 1
    assert np.mean(colours == np.floor(128 * (expected + 1))) > 0.99


@pytest.mark.parametrize("weight", [0, 25, -1])
def test_one_moved_weight_gives_the_picture_of_a_whole_pass_and_comes_back(page, net, weight):
    number = range(net.wiring.size)[weight]
    weights = net.weights.detach().clone()
    weights[number] += 0.3
    moved, back = page.execute_script(
        """const s = arguments[0], before = C.weights[s];
        const moved = Array.from(C.setWeight(s, before + 0.3));
        return [moved, Array.from(C.setWeight(s, before))];""",
        number,
    )
    assert np.abs(np.array(moved) - planar(net.with_weights(weights).paint(HEIGHT, WIDTH))).max() < 1e-12
    assert np.abs(np.array(back) - planar(net.paint(HEIGHT, WIDTH))).max() < 1e-12


def test_maps_and_energies_are_those_of_python(page, sensed, net):
    for weight in (0, 30, net.wiring.size - 1):
        expected = planar(sensed.maps([weight])[0])
        assert np.array(value(page, "C.map(given[0])", weight)) == pytest.approx(expected, abs=1e-10)
    found = value(page, "C.energies(Uint8Array.from(given[0]))", in_page("", {})["mask"])
    assert found == pytest.approx(sensed.energy(torch.from_numpy(MASK)).tolist(), rel=1e-9)


@pytest.mark.parametrize("name", PROPERTIES)
def test_values_and_gradients_of_properties_are_those_of_python(page, sensed, name):
    prop, changes = PROPERTIES[name]
    found = value(page, "C.gradient(given[0])", in_page(name, changes))
    assert found["value"] == pytest.approx(sensed.value(prop), rel=1e-9)
    expected = sensed.gradient(prop).numpy()
    assert np.array(found["weights"]) == pytest.approx(expected, abs=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["region", "mean"])
def test_a_painted_ensemble_is_that_of_python(page, sensed, kind):
    expected = ensemble(sensed, Region(MASK) if kind == "region" else MeanColour(MASK))
    found = in_worker(page, "ensemble", in_page(kind, {}))
    for unit, chosen in expected.sets.items():
        assert found["sets"][unit] == chosen.tolist()
    for key in ("strength", "damage", "control", "lift", "share"):
        assert found[key] == pytest.approx(getattr(expected, key).tolist(), rel=1e-6, abs=1e-12), key
    assert [[run["first"], run["last"]] for run in found["runs"]] == expected.runs().found.tolist()


def test_the_null_of_all_other_places_is_that_of_python(page, sensed):
    # With all places asked for, nothing is left to chance but the random sets.
    expected = nulls(sensed, Region(MASK), kinds=("shift", "contrast", "random"), count=200)
    found = in_worker(page, "nulls", in_page("region", {}), {"count": 200})
    for kind in ("shift", "contrast"):
        row, null = next(row for row in found["rows"] if row["kind"] == kind), expected.of(kind)
        assert np.array(row["values"]) == pytest.approx(np.sort(null.values), rel=1e-6)
        assert row["p"] == pytest.approx(null.p.value)
        assert (row["low"], row["median"], row["high"]) == pytest.approx(null.band, rel=1e-6)
    assert found["weights"] == expected.weights.tolist()
    assert found["certified"] == expected.certified
    assert found["carried"] == pytest.approx(expected.carried)
    assert found["verdict"].split(".")[0] == expected.verdict.split(".")[0]


KEEP = [ColourBalance(1, name="green"), Area(name="area")]
KEEP_IN_PAGE = [{"kind": "balance", "channel": 1}, {"kind": "area"}]


@pytest.mark.parametrize("region", [True, False])
def test_the_programme_is_the_one_linear_step_of_python(page, sensed, region):
    move = MeanColour(MASK if region else None)
    asked = in_page("mean", {}) if region else {"kind": "mean"}
    expected = edit(sensed, {move: 0.05}, KEEP, steps=1).difference.numpy()
    found = in_worker(page, "programme", {"move": asked, "keep": KEEP_IN_PAGE})
    assert 0.05 * np.array(found["direction"]) == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


def test_an_edit_holds_in_real_passes_of_python_and_spoils_no_more_than_its_edit(page, sensed):
    move, keep = MeanColour(MASK), ColourBalance(1)
    request = {"move": in_page("mean", {}), "amount": 0.05, "keep": KEEP_IN_PAGE[:1], "polish": True}
    found = in_worker(page, "edit", request)
    assert found["complete"]
    after = sensed.at(torch.tensor(found["weights"], dtype=torch.float64))
    assert after.value(move) - sensed.value(move) == pytest.approx(0.05, rel=1e-3)
    assert found["reached"] == pytest.approx(after.value(move) - sensed.value(move), rel=1e-9)
    assert found["kept"][0] == pytest.approx({"before": sensed.value(keep), "after": after.value(keep)})
    assert after.value(keep) == pytest.approx(sensed.value(keep), abs=5e-5)
    spoiled = (after.output - sensed.output)[~torch.from_numpy(MASK)].square().mean().sqrt()
    assert found["damage"] == pytest.approx(float(spoiled), rel=1e-9)
    assert found["damage"] < 1.05 * edit(sensed, {move: 0.05}, [keep]).damage
    assert np.array(value(page, "C.weights")) == pytest.approx(sensed.weights.numpy(), abs=0)


def test_two_weights_of_one_neuron_part_two_properties(page, sensed):
    move, keep = in_page("mean", {}), {"kind": "balance", "channel": 1}
    pair = in_worker(page, "bestPair", move, keep)
    direction = np.array(pair["direction"])
    assert set(np.flatnonzero(direction)) == {pair["first"], pair["second"]}
    assert sensed.gradient(MeanColour(MASK)).numpy() @ direction == pytest.approx(1)
    assert sensed.gradient(ColourBalance(1)).numpy() @ direction == pytest.approx(0, abs=1e-9)
    assert sensed.net.wiring.targets[pair["first"]] == sensed.net.wiring.targets[pair["second"]]
    outside = sensed.change(torch.from_numpy(direction))[~torch.from_numpy(MASK)]
    assert pair["damage"] == pytest.approx(float(outside.square().mean().sqrt()))


def test_what_cannot_be_done_is_said_and_the_worker_goes_on(page):
    empty = {"kind": "mean", "mask": [0] * (HEIGHT * WIDTH)}
    assert "empty" in in_worker(page, "ensemble", empty)["error"]
    move = in_page("mean", {})
    assert "cannot be kept" in in_worker(page, "programme", {"move": move, "keep": [move]})["error"]
    assert "no noise" in in_worker(page, "noise")["error"]
    assert in_worker(page, "rms")[0] > 0
    assert value(page, "A.local") is False


def test_what_is_exported_is_read_back_by_python_with_its_picture(page, net):
    exported = value(page, "C.toJSON('a name', E.unpack(data.original))")
    read = PictureNet.from_dict(json.loads(json.dumps(exported)))
    assert read.weights.tolist() == net.weights.tolist()
    assert exported["picture"]["original"] == value(page, "data.original")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"inputs": -1},
        {"inputs": 2.5},
        {"sources": [[0]]},
        {"outputs": [0, 0, 1]},
        {"outputs": {"length": 3}},
        {"weights": ["1"]},
        {"weights": None},
    ],
)
def test_a_damaged_network_is_refused(page, change):
    script = "try { E.wiring({ ...data.net, ...arguments[0] }); return ''; } catch (e) { return e.message; }"
    assert len(page.execute_script(script, change)) > 10


def test_a_wiring_with_a_cycle_is_refused(page):
    looped = {
        "kind": "picture-net",
        "inputs": 1,
        "sources": [[0, 2], [1]],
        "outputs": [1],
        "weights": [1] * 5,
    }
    script = "try { E.wiring(arguments[0]); return ''; } catch (e) { return e.message; }"
    assert "cycle" in page.execute_script(script, looped | {"weights": [1] * 5})


def test_the_console_is_clean_and_nothing_is_asked_of_the_network(page):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.get_log("browser") == []
