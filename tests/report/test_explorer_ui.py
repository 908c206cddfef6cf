"""What one does on the explorer page, in headless Chromium: drag, undo, paint, links, files, keys."""

import json
import re

import numpy as np
import pytest
import torch

from phasescope.report.explorer import ReadyMade, save_explorer
from phasescope.synapses import PictureNet, Wiring, thinned_cascade

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 16, 24
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of a small untrained network, with one small network beside it."""
    net = PictureNet(thinned_cascade(hidden=8, window=4, reach=3), gain=1.0, seed=3)
    original = net.paint(HEIGHT, WIDTH) * 0.9
    line = ReadyMade("line", EVIL, EVIL, PictureNet(Wiring(2, ((0, 1),), (0,)), [6.0, -3.0, 0.5]), 12, 12)
    path = tmp_path_factory.mktemp("explorer") / "page.html"
    save_explorer(net, original, path, title=EVIL, name=EVIL, ready_made=[line], notes=[EVIL], command=EVIL)
    return path


@pytest.fixture
def page(browser, address):
    """A function that opens the page without motion, or resets the one that is open."""

    def opened(link="", *, fresh=False, width=1280, scheme="light"):
        resize(browser, width)
        wanted = [("prefers-reduced-motion", "reduce"), ("prefers-color-scheme", scheme)]
        features = [{"name": name, "value": value} for name, value in wanted]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        if link or fresh or not browser.current_url.startswith(address.as_uri()):
            browser.get("about:blank")
            browser.get(address.as_uri() + link)
            assert browser.execute_script("return document.documentElement.dataset.ready") == "yes"
        else:
            browser.execute_script("document.getElementById('reset').click()")
        settle(browser)
        return browser

    browser.get_log("browser")
    yield opened
    assert browser.get_log("browser") == []


def resize(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def picture(browser):
    """Return the bytes of the network's picture, read off a copy."""
    script = """const c = document.getElementById('picture');
        const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', { willReadFrequently: true });
        copy.drawImage(c, 0, 0);
        return [...copy.getImageData(0, 0, c.width, c.height).data].join()"""
    return [int(byte) for byte in browser.execute_script(script).split(",")]


def rgba(painted):
    """Return the bytes of a picture of Python: v in (-1, 1) becomes floor(128 (v + 1))."""
    colours = torch.floor(128 * (painted + 1)).clamp(0, 255).int()
    return torch.nn.functional.pad(colours, (0, 1), value=255).flatten().tolist()


def slide(browser, selector, part):
    """Move a slider to a part of its range by its own events, and wait for the next frame."""
    script = """const s = document.querySelector(arguments[0]);
        s.value = Number(s.min) + arguments[1] * (s.max - s.min);
        for (const kind of ['input', 'change']) s.dispatchEvent(new Event(kind, { bubbles: true }));
        requestAnimationFrame(() => setTimeout(arguments[2], 30))"""
    browser.execute_async_script(script, selector, part)


def settle(browser):
    browser.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 30)))"
    )


def press(browser, name):
    """Press a button in the middle of the window, where nothing lies over it."""
    script = (
        "const b = document.getElementById(arguments[0]); b.scrollIntoView({ block: 'center' }); b.click()"
    )
    browser.execute_script(script, name)
    settle(browser)


def text(browser, name):
    return browser.execute_script("return document.getElementById(arguments[0]).textContent", name)


def link_of(browser):
    settle(browser)
    return browser.execute_script("return location.hash")


def wait_for(browser, condition, seconds=10):
    """Wait until an expression of the page is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds, poll_frequency=0.05).until(
        lambda b: b.execute_script(f"return Boolean({condition})")
    )


def paste(browser, words):
    """Hand a text to the page by its text box, and return what it says."""
    browser.execute_script("document.getElementById('pasted').value = arguments[0]", words)
    press(browser, "paste")
    hidden = browser.execute_script("return document.getElementById('notice').hidden")
    return "" if hidden else text(browser, "notice")


def test_dragging_a_synapse_changes_the_picture_and_undo_restores_it_exactly(page):
    browser = page()
    before, error = picture(browser), text(browser, "rmse")
    slide(browser, "#slider", 0.95)
    moved = picture(browser)
    assert np.abs(np.subtract(moved, before)).max() > 10
    assert text(browser, "rmse") != error
    press(browser, "undo")
    assert picture(browser) == before
    assert text(browser, "rmse") == error
    press(browser, "redo")
    assert picture(browser) == moved
    press(browser, "reset")
    assert picture(browser) == before
    assert link_of(browser) == ""


def test_copied_python_paints_the_same_bytes_and_finds_the_same_ensemble(
    page, address, tmp_path, monkeypatch
):
    browser = page()
    slide(browser, "#slider", 0.8)
    paint_by_keys(browser)
    wait_for(browser, "document.querySelectorAll('.arc.in').length")
    browser.execute_script("document.getElementById('copy-python').click()")
    code = text(browser, "python")
    data = json.loads(address.read_text().split('id="explorer-data">')[1].split("</script>")[0])
    name = re.search(r'open\("([^"]+)"', code)[1]
    (tmp_path / name).write_text(json.dumps(data["net"]))
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code, found)
    assert picture(browser) == rgba(found["picture"])
    lit = "return document.querySelectorAll('.arc.in, .unit.in').length"
    assert browser.execute_script(lit) == len(found["found"].sets["rms"])


def test_a_link_carries_weights_region_and_selection(page):
    browser = page()
    slide(browser, "#slider", 0.9)
    browser.execute_script("document.getElementById('number').value = 7")
    browser.execute_script("document.getElementById('number').dispatchEvent(new Event('change'))")
    slide(browser, "#slider", 0.2)
    paint_by_keys(browser)
    link, seen, said = link_of(browser), picture(browser), text(browser, "weight")
    assert len(link) < 200
    page(link)
    settle(browser)
    assert picture(browser) == seen
    assert text(browser, "weight") == said
    assert browser.execute_script("return document.getElementById('number').value") == "7"
    assert link_of(browser) == link


def paint_by_keys(browser):
    from selenium.webdriver.common.keys import Keys

    layer = browser.find_element("id", "region-layer")
    layer.send_keys(Keys.ARROW_LEFT, Keys.SPACE, Keys.ARROW_UP, Keys.SPACE)
    settle(browser)


def test_a_hostile_link_is_refused_and_nothing_is_changed(page):
    browser = page()
    slide(browser, "#slider", 0.9)
    paint_by_keys(browser)
    link, before = link_of(browser), picture(browser)
    for evil in ("#" + EVIL, "#w=AAAA", "#s=7&s=8", "#n=1&constructor=1", "#" + "A" * 300000):
        assert "Nothing was changed" in paste(browser, evil), evil[:40]
    parts = dict(piece.split("=") for piece in link[1:].split("&"))
    broken = [
        {"w": parts["w"][:-3]},
        {"w": "BP__AACAfw"},  # weight 65535
        {"w": "BAAAAADAfw"},  # weight 0 becomes NaN
        {"r": "_____w8"},  # far more pixels than there are
        {"s": "99999"},
        {"s": "__proto__"},
        {"u": "toString"},
        {"a": "99"},
        {"n": "0"},
    ]
    for change in broken:
        said = paste(browser, "#" + "&".join(f"{k}={v}" for k, v in (parts | change).items()))
        assert "Nothing was changed" in said, change
    assert (picture(browser), link_of(browser)) == (before, link)
    assert browser.title == EVIL
    assert paste(browser, link) == ""


def test_broken_or_hostile_weights_are_refused_and_nothing_is_changed(page):
    browser = page(fresh=True)
    before = picture(browser)
    small = PictureNet(thinned_cascade(hidden=4, window=2, reach=2)).to_dict()
    for words in (
        "{",
        "[]",
        '{"kind": "picture-net"}',
        json.dumps({"kind": EVIL, "weights": [EVIL]}),
        json.dumps(PictureNet(Wiring(2, ((0, 1),), (0,))).to_dict()),
        json.dumps(small | {"weights": [1.0]}),
        json.dumps(small | {"weights": [None] * len(small["weights"])}),
        json.dumps(small | {"picture": {"height": HEIGHT, "width": WIDTH, "original": "AAAA"}}),
        json.dumps(small).replace("[0, 1]", '["__proto__", 1]', 1),
    ):
        assert "Nothing was changed" in paste(browser, words), words
    assert picture(browser) == before
    assert browser.execute_script("return document.getElementById('undo').disabled")


def test_weights_of_another_wiring_are_shown_and_undone(page):
    browser = page()
    before = picture(browser)
    other = PictureNet(thinned_cascade(hidden=4, window=2, reach=2), seed=1)
    assert paste(browser, json.dumps(other.to_dict())) == ""
    assert picture(browser) == rgba(other.paint(HEIGHT, WIDTH))
    arcs = "return document.querySelectorAll('#drawing .arc').length"
    assert browser.execute_script(arcs) == other.wiring.synapses
    press(browser, "undo")
    assert picture(browser) == before


def test_a_painted_region_lights_up_its_ensemble(page):
    browser = page()
    assert browser.execute_script("return document.querySelectorAll('.arc.in').length") == 0
    paint_by_keys(browser)
    wait_for(browser, "document.querySelectorAll('.arc.in').length")
    wait_for(browser, "!document.getElementById('verdict').textContent.endsWith('…')")
    assert "weights hold 90 %" in text(browser, "ensemble-said")
    browser.execute_script("document.querySelector('#ratios button').click()")
    chosen = browser.execute_script("return document.getElementById('number').value")
    assert text(browser, "ratios").count(chosen) > 0
    press(browser, "clear")
    wait_for(browser, "!document.querySelectorAll('.arc.in').length")


def test_a_property_moves_and_a_locked_one_stays(page):
    browser = page()
    browser.execute_script("document.querySelectorAll('#values input[type=checkbox]')[1].click()")
    script = "return [...document.querySelectorAll('#values tbody td:nth-child(3)')].map(v => v.textContent)"
    before = browser.execute_script(script)
    slide(browser, "#values tbody tr:first-child input[type=range]", 0.6)
    wait_for(browser, "/to \\S+\\.$/.test(document.getElementById('edit-said').textContent)")
    after = browser.execute_script(script)
    moved = [
        float(a.replace("−", "-")) - float(b.replace("−", "-"))
        for a, b in zip(after[:2], before[:2], strict=True)
    ]
    assert moved[0] == pytest.approx(0.04, abs=2e-3)
    assert moved[1] == pytest.approx(0, abs=2e-3)


def test_keys_alone_move_a_synapse_and_choose_another(page):
    from selenium.webdriver.common.keys import Keys

    browser = page()
    before = picture(browser)
    browser.find_element("id", "slider").send_keys(*[Keys.ARROW_RIGHT] * 12)
    settle(browser)
    assert picture(browser) != before
    browser.find_element("tag name", "body").send_keys(Keys.CONTROL, "z")
    drawing = browser.find_element("css selector", "#drawing svg")
    chosen = browser.execute_script("return document.getElementById('number').value")
    drawing.send_keys(Keys.ARROW_RIGHT)
    settle(browser)
    assert browser.execute_script("return Number(document.getElementById('number').value)") == int(chosen) + 1
    assert "Chosen: synapse" in drawing.get_attribute("aria-label")


def test_everything_that_acts_has_a_name_and_can_be_reached(page):
    browser = page()
    script = """
        const acting = 'button, input, select, textarea, summary, [role=img], [role=application]';
        return [...document.querySelectorAll(acting)]
        .filter(e => !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.textContent.trim()
            && e.offsetParent !== null).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.execute_script(script) == []
    assert (
        browser.execute_script(
            'return document.querySelectorAll(\'[tabindex]:not([tabindex="0"]):not([tabindex="-1"])\').length'
        )
        == 0
    )


def test_the_tour_finds_its_synapses_or_says_that_there_is_none(page):
    browser = page()
    steps = browser.execute_script("return document.querySelectorAll('#tour-steps button').length")
    assert steps == 7
    for step in range(steps):
        browser.execute_script("document.getElementById('tour-said').textContent = ''")
        browser.execute_script("document.querySelectorAll('#tour-steps button')[arguments[0]].click()", step)
        wait_for(browser, "!/^(|Look.*)$/.test(document.getElementById('tour-said').textContent)")
        assert any(sign.isdigit() for sign in text(browser, "tour-said"))
    assert browser.execute_script("return document.getElementById('notice').hidden")


def test_no_width_of_screen_scrolls_sideways(page):
    browser = page(width=360)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    paint_by_keys(browser)
    browser.execute_script("document.getElementById('copy-python').click()")
    for width in (360, 390, 768, 1280):
        resize(browser, width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_texts_stand_out_in_light_and_dark(page):
    script = """const luminance = (c) => { const p = c.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= 255;
            return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
            return 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2]; };
        const ground = (e) => { for (; e; e = e.parentElement) {
            const c = getComputedStyle(e).backgroundColor;
            if (!/, 0\\)$/.test(c) && c !== 'transparent') return c; } return 'rgb(255, 255, 255)'; };
        return [...document.querySelectorAll('p, figcaption, button:not(:disabled), th, td, label, h1, h2')]
            .filter(e => e.offsetParent && e.textContent.trim()).map(e => {
                const a = luminance(getComputedStyle(e).color), b = luminance(ground(e));
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); })"""
    for scheme in ("light", "dark"):
        contrasts = page(scheme=scheme).execute_script(script)
        assert len(contrasts) > 50
        assert min(contrasts) > 4.5


def test_texts_of_the_user_are_shown_and_not_run(page):
    browser = page()
    assert browser.title == EVIL
    assert browser.execute_script("return document.images.length") == 0
    assert EVIL in browser.execute_script("return document.body.textContent")
