"""
Write a study of your own
=========================

A study is a list of parts; a part is data with functions: settings, tasks, the measurement of one, the
numbers of all, and the claims and figures made of them. phasescope then plans, runs, resumes, stores and
reports it, on one core or on a cluster. This one has a claim with a known answer: in a deep linear network of
width n whose weights have variance 1/n, the signal is lost at a rate of about 1/n a layer, however carefully
the variance is chosen.
"""

import tempfile
from pathlib import Path

import numpy as np
from scipy.special import digamma

from phasescope import Estimate, plotting, report, studies
from phasescope.studies import Claim, Panels, Part, Settings, Study, Variable
from phasescope.sweep import Task


class DriftSettings(Settings):
    widths: tuple[int, ...] = (4, 8, 16, 32)  # each can be changed: --set drift.widths=4,8
    depth: int = 200
    networks: int = 64


def tasks(config):
    # A task's file and seed are named after its parameters, so everything that matters is among them.
    sizes = {"depth": config.drift.depth, "seed": config.seed}
    return [
        Task("linear", "drift", {"width": width, **sizes}, replica, seconds=width**2 * 1e-5)
        for width in config.drift.widths
        for replica in range(config.drift.networks)
    ]


def measure(task, device):
    random = np.random.default_rng(task.seed)
    width = task.parameters["width"]
    h, total, log_norm = np.ones(width) / width**0.5, 0.0, []
    for _ in range(task.parameters["depth"]):
        h = random.normal(0.0, width**-0.5, (width, width)) @ h
        size = float(h @ h)
        h, total = h / size**0.5, total + np.log(size)
        log_norm.append(total)
    return {"log_norm": np.array(log_norm)}


def exact(width):
    """Return the mean of ln(chi^2_n / n): what one layer does to ln |h|^2."""
    return digamma(width / 2) - np.log(width / 2)


def numbers(data, config):
    """Return the change of ln |h|^2 a layer of each network, by width."""
    drift = data["log_norm"].isel(layer=-1) / config.drift.depth
    return {width: drift.values[data["width"].values == width] for width in config.drift.widths}


def claims(drift):
    return [
        Claim(
            f"n{width}",
            f"At width {width} ln |h|^2 changes by psi(n/2) - ln(n/2) a layer.",
            "chi-squared law",
        ).equals(float(exact(width)), Estimate.from_samples(found, method="mean over networks"))
        for width, found in drift.items()
    ]


def notes(drift):
    return ["The input is one unit vector; any other gives the same law."]


def draw_drift(axes, drift):
    widths = np.array(list(drift))
    for width, found in drift.items():
        label = "networks" if width == widths[0] else None
        axes.plot(np.full(len(found), 1 / width), found, "o", ms=3, color=plotting.MEASURED, label=label)
    axes.plot(1 / widths, exact(widths), color=plotting.THEORY, label="exact")
    axes.set(xlabel="1 / width", ylabel="change of ln |h|$^2$ a layer")
    axes.legend()


def figures(drift):
    caption = "Each dot is one network of random weights. The line is the exact mean, about -1/n."
    return [Panels("drift", caption, [draw_drift])]


DRIFT = Part(
    name="drift",
    title="Loss of the signal in deep linear networks",
    presets={"quick": DriftSettings(), "paper": DriftSettings(depth=2000, networks=500)},
    variables={"log_norm": Variable(("layer",), "ln |h|^2 relative to the input")},
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    notes=notes,
    figures=figures,
)

STUDY = Study(
    name="linear",
    title="Deep linear networks lose their signal",
    summary="How the loss of the signal depends on the width.",
    source="the law of chi-squared",
    parts=(DRIFT,),
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
