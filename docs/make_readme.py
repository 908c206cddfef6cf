"""Renews what the README prints; ``--check`` only compares, and fails where it is stale."""

from __future__ import annotations

import io
import os
import re
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
from torch import nn

import phasescope
from phasescope import noise, plotting
from phasescope.cli import main as main_of_phasescope
from phasescope.signal.table import wrapped

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURE = ROOT / "docs" / "_static" / "phases.png"
ACTIVATION = ROOT / "docs" / "_static" / "activation.png"
RATES = ROOT / "docs" / "_static" / "rates.png"
os.environ["COLUMNS"] = "80"  # the width of the printed tables, whatever the terminal
WIDTH = 128
PHASES = {"ordered": (0.9, 0.05), "critical": (1.0, 0.0), "chaotic": (1.6, 0.05)}


def network(depth: int, sigma_w: float, sigma_b: float, *, seed: int) -> nn.Module:
    """Return a deep tanh network in float64 with the given weight and bias scales."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for layer in range(depth):
        linear = nn.Linear(64 if layer == 0 else WIDTH, WIDTH, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.normal_(0, sigma_w / linear.in_features**0.5, generator=generator)
            linear.bias.normal_(0, sigma_b, generator=generator)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def digits() -> torch.Tensor:
    """Return 64 standardised handwritten digits."""
    return torch.as_tensor(phasescope.data.digits().x_train[:64], dtype=torch.float64).flatten(1)


def command(*words: str) -> str:
    """Return what a phasescope command prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        code = main_of_phasescope(list(words))
    if code:
        raise SystemExit(f"phasescope {' '.join(words)} ended with {code}")
    return printed.getvalue().rstrip()


def stored_table() -> str:
    """Return the stored comparison of initialisations."""
    printed, words = io.StringIO(), sys.argv
    sys.argv = ["trainability.py", "--table"]
    try:
        with redirect_stdout(printed):
            runpy.run_path(str(ROOT / "examples" / "trainability.py"), run_name="__main__")
    finally:
        sys.argv = words
    return printed.getvalue().strip()


def _short(found: phasescope.instruments.Inspection) -> str:
    return "\n".join([found.tables["propagation"], "", *wrapped(found.sentence)])


def outputs() -> dict[str, str]:
    """Return each generated block of the README."""
    return {
        "inspect": f"```\n{_short(phasescope.inspect(network(10, 0.58, 0.05, seed=0), digits()))}\n```",
        "critical gelu": f"```\n{command('critical', 'gelu')}\n```",
        "trainability": f"```\n{stored_table()}\n```",
        "critical repu2": f"```\n{command('critical', 'repu2')}\n```",
        "critical compare": f"```\n{command('critical', '--compare', 'gelu,tanh,mrepu2,repu2')}\n```",
        "noise": f"```\n{noise.verdict(noise.autoregressive([0.8], 500, seed=2))}\n```",
    }


def draw_picture() -> None:
    """Draw the same 30-layer network in its three phases."""
    with plotting.style():
        figure, axes = plotting.figure(3, panel_size=(3.4, 2.9))
        for phase, (sigma_w, sigma_b) in PHASES.items():
            data = phasescope.signal.profile(network(30, sigma_w, sigma_b, seed=0), digits()).dataset
            rows = data.isel(layer=np.flatnonzero(data["role"].values == "weight"))
            colour = plotting.PHASE_COLOURS[phase]
            for panel, name in zip(axes, ("kernel", "distance", "gradient"), strict=True):
                theory = {"kernel": rows["kernel_theory"], "distance": 1 - rows["correlation_theory"]}
                line = theory.get(name, rows["gradient_theory"])
                panel.semilogy(rows["depth"], rows[name], "o", ms=3.5, color=colour, label=phase)
                panel.semilogy(rows["depth"], line, color=colour, lw=1.2)
        titles = ("Signal size $K$", "Difference between two inputs $1-c$", "Gradient")
        for panel, title in zip(axes, titles, strict=True):
            panel.set(title=title, xlabel="layer")
        axes[0].legend()
        figure.savefig(PICTURE, dpi=130, facecolor="white", transparent=False)


def draw_rates() -> None:
    """Draw the scan of learning rates that the example makes."""
    example = runpy.run_path(str(ROOT / "examples" / "choose_a_learning_rate.py"))
    with plotting.style():
        example["figure"].savefig(RATES, dpi=110, facecolor="white", transparent=False)


def draw_activation() -> None:
    """Draw what `phasescope critical mrepu2 --plot` does."""
    figure = phasescope.report.activation_figure("mrepu2")
    with plotting.style():
        figure.savefig(ACTIVATION, dpi=90, facecolor="white", transparent=False)


def rendered(text: str) -> str:
    """Return the README with its generated blocks renewed."""
    for name, block in outputs().items():
        pattern = rf"(<!-- output: {name} -->\n).*?(<!-- end -->)"
        text, found = re.subn(pattern, lambda m, b=block: m[1] + b + "\n" + m[2], text, flags=re.DOTALL)
        if found != 1:
            raise SystemExit(f"README.md has {found} blocks named {name!r}; it needs exactly one")
    return text


def main() -> None:
    """Write the README, or compare it with what it should be."""
    current = README.read_text()
    renewed = rendered(current)
    if "--check" in sys.argv:
        raise SystemExit(0 if renewed == current else "README.md is stale: run `make readme`")
    README.write_text(renewed)
    draw_picture()
    draw_activation()
    draw_rates()


if __name__ == "__main__":
    main()
