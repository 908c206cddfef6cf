"""Draws docs/_static/explorer.png: the first screen of the explorer page, in headless Chromium.

Needs Chromium, chromedriver and selenium. ``python docs/make_explorer_picture.py [NETWORK.json]``
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from phasescope.data import picture
from phasescope.report.explorer import save_explorer
from phasescope.synapses import PictureNet

ROOT = Path(__file__).resolve().parent
PICTURE = ROOT / "_static" / "explorer.png"
WIDTH, HEIGHT, SCALE = 1240, 860, 1.25
LARGEST = 300_000  # bytes

# A synapse is moved, and a region painted whose ensemble is lit.
ACT = "document.querySelectorAll('#tour-steps button')[4].click()"
MOVE = """
const fire = (node, kind) => node.dispatchEvent(new Event(kind, { bubbles: true }));
const number = document.getElementById("number"), slider = document.getElementById("slider");
document.getElementById("undo").click();
number.value = arguments[0];
fire(number, "change");
slider.value = Number(slider.min) + 0.66 * (slider.max - slider.min);
fire(slider, "input");
fire(slider, "change");
"""


def driver() -> webdriver.Chrome:
    """Return a browser without motion, of the size of the picture."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or ""))
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    wanted = [("prefers-reduced-motion", "reduce"), ("prefers-color-scheme", "light")]
    features = [{"name": name, "value": value} for name, value in wanted]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    return browser


def screen(page: Path) -> Image.Image:
    """Return the first screen with a synapse moved and an ensemble lit."""
    browser = driver()
    try:
        browser.get(page.as_uri())
        first = browser.execute_script("return document.getElementById('number').value")
        browser.execute_script(ACT)
        lit = "return /of its effect/.test(document.getElementById('tour-said').textContent)"
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(lit))
        browser.execute_script(MOVE, first)
        WebDriverWait(browser, 60).until(
            lambda b: b.execute_script("return document.querySelectorAll('.arc.in').length > 0")
        )
        browser.execute_async_script("setTimeout(arguments[0], 1500)")
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    finally:
        browser.quit()
    return Image.open(io.BytesIO(base64.b64decode(shot))).convert("RGB")


def main() -> None:
    """Write the picture, with as many colours as its size allows."""
    network = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "flower-network.json"
    net = PictureNet.from_dict(json.loads(network.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "flower.html"
        original = picture("flower").values
        save_explorer(net, original, page, title="flower: phasescope", name="flower")
        shown = screen(page)
    for colours in (256, 192, 128, 96, 64):
        shown.quantize(colours, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
        if PICTURE.stat().st_size <= LARGEST:
            return
    raise SystemExit(f"{PICTURE} is larger than {LARGEST} bytes.")


if __name__ == "__main__":
    main()
