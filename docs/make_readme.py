"""Renews what the README prints; ``--check`` only compares, and fails where it is stale."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

import phasescope

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DEPTH, WIDTH = 30, 128


def network(sigma_w: float, sigma_b: float, *, seed: int) -> nn.Module:
    """Return a deep tanh network in float64 with the given weight and bias scales."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for layer in range(DEPTH):
        linear = nn.Linear(64 if layer == 0 else WIDTH, WIDTH, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.normal_(0, sigma_w / linear.in_features**0.5, generator=generator)
            linear.bias.normal_(0, sigma_b, generator=generator)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10, dtype=torch.float64))


def digits() -> torch.Tensor:
    """Return 64 standardised handwritten digits."""
    return torch.as_tensor(phasescope.data.digits().x_train[:64], dtype=torch.float64).flatten(1)


def command(*words: str) -> str:
    """Return what a phasescope command prints."""
    run = subprocess.run(
        [sys.executable, "-m", "phasescope", *words], capture_output=True, text=True, check=True
    )
    return run.stdout.rstrip()


def outputs() -> dict[str, str]:
    """Return each generated block of the README."""
    return {
        "inspect": f"```\n{phasescope.inspect(network(0.9, 0.05, seed=0), digits())}\n```",
        "critical gelu": f"```\n{command('critical', 'gelu')}\n```",
        "critical repu2": f"```\n{command('critical', 'repu2')}\n```",
    }


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


if __name__ == "__main__":
    main()
