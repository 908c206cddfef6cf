"""Inspections with chosen numbers, for what reads them, and a browser for their pages."""

import math
import os
import shutil
from importlib import util

import pytest

from phasescope.instruments import Finding, Inspection, SignalPropagation
from synthetic_profile import synthetic_profile


def make_inspection(label="net", *, depth=12, chi=0.7, phase="ordered", model="Sequential", **changes):
    dataset = synthetic_profile(depth, chi=chi, phase=phase, model=model, **changes)
    finding = Finding(
        f"The network is {phase}.",
        f"ln chi = {math.log(chi):.3f} ± 0.010",
        "Call phasescope.signal.critical_(model, batch).",
        "ok" if phase == "critical" else "problem",
    )
    return Inspection(
        label=label,
        model=model,
        datasets={"propagation": dataset},
        findings=[finding],
        skipped={"noise": "it needs a sequence of inputs"},
        tables={},
        seconds=1.25,
        instruments={"propagation": SignalPropagation()},
    )


@pytest.fixture
def inspection():
    """A function that makes one."""
    return make_inspection


@pytest.fixture(scope="session")
def three():
    """One ordered, one chaotic and one critical network."""
    return [
        make_inspection("small", chi=0.5, phase="ordered"),
        make_inspection("large", chi=2.0, phase="chaotic"),
        make_inspection("just right", chi=1.0, phase="critical"),
    ]


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium that logs its console and what it asks for."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver and util.find_spec("selenium")):
        reason = f"Chromium: {chromium}, chromedriver: {chromedriver}, selenium: {util.find_spec('selenium')}"
        pytest.fail(reason) if os.environ.get("PHASESCOPE_REQUIRE_BROWSER") == "1" else pytest.skip(reason)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture
def show_page(browser):
    """A function that opens a page at a width and returns the browser."""

    def opened(path, *, width):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(path.as_uri())
        return browser

    return opened
