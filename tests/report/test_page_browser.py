"""The real page in headless Chromium: what it shows, how it sorts, what it asks the network for."""

import json

import pytest

from phasescope.report import save

pytestmark = pytest.mark.browser

EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def show(show_page, tmp_path):
    """A function that saves inspections, opens their page at a width, and returns the browser."""
    return lambda inspections, *, width=1280, **options: show_page(
        save(inspections, tmp_path, **options), width=width
    )


@pytest.fixture(scope="module")
def page_of_three(tmp_path_factory, three):
    return save(three, tmp_path_factory.mktemp("three"), command="phasescope inspect")


def requested(browser):
    """Return the addresses that the page asked for, the page itself left out."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not (url.startswith("file:") and url.endswith("/report.html"))]


def cells(browser, number, what):
    """Return an attribute of every cell of one column, top to bottom."""
    script = (
        "return [...document.querySelectorAll('table.layers tbody tr')].map(row => row.cells[arguments[0]]"
    )
    return browser.execute_script(f"{script}.{what})", number)


def column(browser, number):
    return [float(value) for value in cells(browser, number, "dataset.value")]


def test_the_console_is_clean_and_nothing_is_asked_of_the_network(show_page, page_of_three):
    browser = show_page(page_of_three, width=1280)
    assert browser.get_log("browser") == []
    assert [url for url in requested(browser) if not url.startswith("data:")] == []


def test_the_picture_is_there(show_page, page_of_three):
    browser = show_page(page_of_three, width=1280)
    script = """return [...document.querySelectorAll('#picture svg[role=img]')].map(s => {
        const box = s.getBoundingClientRect();
        const marks = s.querySelectorAll('use').length;
        return [box.width, box.height, marks, s.getAttribute('aria-label').length]})"""
    pictures = browser.execute_script(script)
    assert len(pictures) >= 3
    for width, height, marks, label in pictures:
        assert width > 200
        assert height > 150
        assert marks >= 12  # one for each weight layer
        assert label > 20


def test_text_of_the_picture_follows_light_and_dark(show_page, page_of_three):
    browser = show_page(page_of_three, width=1280)
    script = "return getComputedStyle(document.querySelector('#picture svg text')).fill"
    colours = {}
    for scheme in ("light", "dark"):
        features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        colours[scheme] = sum(int(part) for part in browser.execute_script(script)[4:-1].split(","))
    assert colours["light"] < 150
    assert colours["dark"] > 600


def test_the_table_sorts_by_click_and_by_keyboard(show, inspection):
    from selenium.webdriver.common.keys import Keys

    browser = show([inspection(depth=8)])
    heads = browser.find_elements("css selector", "table.layers th[scope=col]")
    number = next(i for i, head in enumerate(heads) if head.text.startswith("gradient"))
    original = column(browser, number)
    assert original == sorted(original)
    assert heads[0].get_attribute("aria-sort") == "ascending"

    button = heads[number].find_element("tag name", "button")
    button.click()
    assert heads[number].get_attribute("aria-sort") == "ascending"
    assert heads[0].get_attribute("aria-sort") is None
    button.click()
    assert heads[number].get_attribute("aria-sort") == "descending"
    assert column(browser, number) == sorted(original, reverse=True)

    first = heads[0].find_element("tag name", "button")
    for key, order in ((Keys.ENTER, "ascending"), (Keys.SPACE, "descending")):
        first.send_keys(key)
        assert heads[0].get_attribute("aria-sort") == order
        rows = column(browser, 0)
        assert rows == sorted(rows, reverse=order == "descending")


def test_missing_numbers_stay_last_in_both_directions(show, inspection):
    alone = inspection(depth=4)
    alone.datasets["propagation"]["chi_parallel"][2] = float("nan")
    alone.datasets["propagation"]["chi_parallel"][4] = 7.0
    browser = show([alone])
    heads = browser.find_elements("css selector", "table.layers th[scope=col]")
    number = next(i for i, head in enumerate(heads) if head.text.startswith("χ∥"))
    button = heads[number].find_element("tag name", "button")
    for position in (-1, 0):
        button.click()
        texts = cells(browser, number, "textContent")
        assert texts[-1] == "–"
        known = [text for text in texts if text != "–"]
        assert len(known) == 2
        assert known[position].startswith("7.0")


def test_no_page_is_wider_than_the_screen(show, three, inspection):
    long = inspection("a" * 60, chi=0.9)
    browser = show([*three, long], width=360, command="phasescope inspect " + "x" * 300)
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    for width in (360, 390, 768, 1280):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_user_text_is_shown_and_not_run(show, inspection):
    browser = show([inspection(EVIL, model=EVIL), inspection("b")], command=EVIL)
    assert browser.title == "2 networks side by side: phasescope"
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return document.scripts.length") == 1
    assert EVIL in browser.find_element("tag name", "body").text
    assert browser.get_log("browser") == []


def test_without_javascript_everything_is_there_and_nothing_is_dead(show, browser, inspection):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        show([inspection(depth=6)])
        assert len(browser.find_elements("css selector", "table.layers tbody tr")) == 11
        assert browser.find_elements("tag name", "button") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_copying_hands_over_the_code(show, inspection):
    browser = show([inspection()])
    block = browser.find_element("css selector", "#actions pre.copy")
    button = block.find_element("tag name", "button")
    button.click()
    said = browser.execute_async_script("const done = arguments[0]; setTimeout(() => done(0), 100)")
    assert said == 0
    assert button.text in ("Copied", "Selected")


def test_print_opens_what_is_folded(show_page, page_of_three):
    browser = show_page(page_of_three, width=1280)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        tables = browser.find_elements("css selector", "details table")
        assert len(tables) == 3
        assert min(table.rect["height"] for table in tables) > 100
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
