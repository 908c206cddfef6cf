"""A frame of the explorer page beside a plain loop of the same counts in the same page; its programmes."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.harness import Comparison
from phasescope.data import picture
from phasescope.report import save_explorer
from phasescope.synapses import PictureNet, fit

TRAINING = 25  # steps of Levenberg-Marquardt on the flower, 64 x 96
PLAIN = "plain loop, tanh from exp"
CALLS = (
    PLAIN,
    "plain loop, Math.tanh",
    "the page: a synapse of the first unit moves",
    "the page: one before the outputs",
)

# A frame: the picture and its bytes. The plain loops make the same 2.8 M products and 0.23 M tanh.
FRAMES = """
const done = arguments[arguments.length - 1], rounds = arguments[0];
const E = phasescopeEngine(), data = JSON.parse(document.getElementById('explorer-data').textContent);
const C = E.canvas(data.net, data.height, data.width), W = C.wiring, P = C.pixels;
const bytes = new Uint8ClampedArray(4 * P);
const rows = Array.from({ length: W.inputs + W.units }, () => new Float64Array(P));
for (let v = 0; v < W.inputs; v++) rows[v].set(C.points.subarray(v * P, (v + 1) * P));
const plain = (tanh) => {
  for (const i of W.order) {
    const z = rows[W.inputs + i];
    z.fill(C.weights[W.synapses + i]);
    for (let s = W.first[i]; s < W.first[i + 1]; s++) {
      const w = C.weights[s], a = rows[W.reads[s]];
      for (let p = 0; p < P; p++) z[p] += w * a[p];
    }
    for (let p = 0; p < P; p++) z[p] = tanh(z[p]);
  }
};
const drag = (s) => { C.setWeight(s, C.weights[s] + 1e-6); E.toBytes(C.picture, bytes, P); };
const calls = [
  () => plain((x) => 1 - 2 / (Math.exp(2 * x) + 1)), () => plain(Math.tanh),
  () => drag(0), () => drag(W.synapses - 1),
];
const times = calls.map(() => []);
for (let k = 0; k < rounds + 5; k++) calls.forEach((call, n) => {
  const start = performance.now();
  call();
  if (k >= 5) times[n].push(performance.now() - start);
});
done(times);
"""

PROGRAMMES = """
const done = arguments[arguments.length - 1];
const E = phasescopeEngine(), data = JSON.parse(document.getElementById('explorer-data').textContent);
const A = E.assistant(data.net, data.height, data.width);
const mask = new Array(data.height * data.width).fill(0);
for (let i = 20; i < 35; i++) for (let j = 40; j < 60; j++) mask[i * data.width + j] = 1;
const move = { kind: 'mean', mask }, green = { kind: 'balance', channel: 1 };
const timed = async (method, args) => {
  const start = performance.now(), result = await A.call(method, args);
  return [performance.now() - start, result];
};
(async () => {
  await A.call('rms', []);
  const first = await timed('programme', [{ move, keep: [green, { kind: 'centroid', axis: 'x' }] }]);
  const later = await timed('programme', [{ move, keep: [green, { kind: 'area' }] }]);
  const edit = await timed('edit', [{ move, amount: 0.1, keep: [green] }]);
  const nulls = await timed('nulls', [{ kind: 'region', mask }, {}]);
  A.stop();
  done([
    ['first programme', first[0], `${first[1].iterations} conjugate gradients`],
    ['later one, another property kept', later[0], `${later[1].iterations} conjugate gradients`],
    ['edit, verified by real passes', edit[0],
      `${edit[1].steps} steps, reached ${edit[1].reached.toFixed(4)} of 0.1`],
    ['nulls of a region', nulls[0], `${nulls[1].rows[0].count} places`],
  ]);
})().catch((error) => done([[error.message, NaN, '']]));
"""


def run(*, rounds: int = 100) -> Comparison:
    comparison = Comparison("A frame of the explorer page at 96 x 64, 460 synapses", "one frame")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not (chromium and shutil.which("chromedriver") and find_spec("selenium")):
        comparison.remarks.append("Left out: Chromium, chromedriver or selenium is missing.")
        return comparison
    flower = picture("flower")
    net = fit(PictureNet(seed=0), flower, steps=TRAINING).net
    with tempfile.TemporaryDirectory() as folder:
        page = save_explorer(net, flower.values, Path(folder) / "page.html", title="flower", name="flower")
        times, programmes = _in_browser(chromium, page, rounds)
    comparison.seconds = {
        name: statistics.median(each) / 1e3 for name, each in zip(CALLS, times, strict=True)
    }
    comparison.ratios = {
        name: statistics.median(t / t0 for t, t0 in zip(each, times[0], strict=True))
        for name, each in zip(CALLS, times, strict=True)
    }
    comparison.rows = [
        {"in the worker": name, "seconds": milliseconds / 1e3, "remark": remark}
        for name, milliseconds, remark in programmes
    ]
    slowest = [f"{sorted(each)[int(0.95 * len(each))]:.1f} ms" for each in times]
    comparison.remarks += [
        f"95 % of the frames are below {', '.join(slowest)}, in the order of the table.",
        "Wall-clock time inside the page; other work on the machine adds to it.",
    ]
    return comparison


def _in_browser(chromium: str, page: Path, rounds: int) -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(300)
        driver.get(page.as_uri())
        return driver.execute_async_script(FRAMES, rounds), driver.execute_async_script(PROGRAMMES)
    finally:
        driver.quit()
