"""
Write a study of your own
=========================

A study is a configuration and parts; a part is tasks, the measurement of one, the analysis of all, and
figures. phasescope then plans, runs, resumes, stores and reports it, on one core or on a cluster. This one
has a claim with a known answer: in a deep linear network of width n whose weights have variance 1/n, the
signal is lost at a rate of about 1/n a layer, however carefully the variance is chosen.
"""

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.special import digamma

from phasescope import Estimate, plotting, report, studies
from phasescope.studies import Analysis, Part, Picture, Settings, Study, Variable, compare
from phasescope.sweep import Task


class DriftSettings(Settings):
    """All sizes; each can be changed on the command line with ``--set``."""

    seed: int = 0
    widths: tuple[int, ...] = (4, 8, 16, 32)
    depth: int = 200
    networks: int = 64


def exact(width):
    """Return the mean of ln(chi^2_n / n): what one layer does to ln |h|^2."""
    return float(digamma(width / 2) - np.log(width / 2))


class Drift(Part):
    """How fast a signal is lost in a linear network of finite width."""

    name = "drift"
    title = "Loss of the signal in deep linear networks"
    variables: ClassVar = {"log_norm": Variable(("layer",), "ln |h|^2 relative to the input")}

    def tasks(self, config):
        # A task's file and seed are named after its parameters, so everything that matters is among them.
        sizes = {"depth": config.depth, "seed": config.seed}
        return [
            Task("linear", self.name, {"width": width, **sizes}, replica, seconds=width**2 * 1e-5)
            for width in config.widths
            for replica in range(config.networks)
        ]

    def measure(self, task, device):
        random = np.random.default_rng(task.seed)
        width = task.parameters["width"]
        h, total, log_norm = np.ones(width) / width**0.5, 0.0, []
        for _ in range(task.parameters["depth"]):
            h = random.normal(0.0, width**-0.5, (width, width)) @ h
            size = float(h @ h)
            h, total = h / size**0.5, total + np.log(size)
            log_norm.append(total)
        return {"log_norm": np.array(log_norm)}

    def analyse(self, data, config):
        checks = []
        for width in config.widths:
            last = data["log_norm"][data["width"].values == width].isel(layer=-1)
            drift = Estimate.from_samples(last.values / config.depth, method="mean over networks")
            claim = f"At width {width} ln |h|^2 changes by psi(n/2) - ln(n/2) a layer."
            checks.append(compare(f"drift/n{width}", claim, "chi-squared law", exact(width), drift))
        return Analysis(checks, notes=["The input is one unit vector; any other gives the same law."])

    def figures(self, data, config):
        widths = np.array(config.widths)
        drift = data["log_norm"].isel(layer=-1) / config.depth
        with plotting.style():
            figure, (axes,) = plotting.figure(1)
            axes.plot(1 / data["width"], drift, "o", ms=3, color=plotting.MEASURED, label="networks")
            axes.plot(1 / widths, [exact(width) for width in widths], color=plotting.THEORY, label="exact")
            axes.set(xlabel="1 / width", ylabel="change of ln |h|$^2$ a layer")
            axes.legend()
        caption = "Each dot is one network of random weights. The line is the exact mean, about -1/n."
        return [Picture("drift", figure, caption)]


STUDY = Study(
    name="linear",
    title="Deep linear networks lose their signal",
    summary="How the loss of the signal depends on the width.",
    source="the law of chi-squared",
    presets={"quick": DriftSettings(), "paper": DriftSettings(depth=2000, networks=500)},
    parts=(Drift(),),
)

# %%
# From the command line this is ``phasescope study run write_a_study.py:STUDY --out DIR``. In Python:

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        run = studies.run(STUDY, STUDY.presets["quick"], directory)
        page = report.save_study(run, directory)
        print(sorted(path.name for path in Path(directory).iterdir()), page.stat().st_size, "bytes")
    for check in run.checks:
        print(f"{check.verdict}: {check.claim} {check.measured}, expected {check.expected:.4f}")
    print(run.sentence)

# %%
# The data are an ``xarray`` dataset, with the parameters as coordinates.

if __name__ == "__main__":
    print(run.data["drift"]["log_norm"].groupby("width").mean("task").isel(layer=-1).values / 200)
    figure = run.pictures["drift"][0].figure
    figure
