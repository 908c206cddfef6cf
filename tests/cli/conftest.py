"""A user's files, and the command line run inside this process."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from phasescope.cli import main

MODELS = """
import torch
from torch import nn


def net():
    layers = []
    for _ in range(5):
        layers += [nn.Linear(16, 16), nn.Tanh()]
    return nn.Sequential(*layers)


def wide():
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


def with_batch():
    return net(), torch.randn(12, 16)


def batch():
    return torch.randn(12, 16)


def talkative():
    print("hello from the user's file")
    return with_batch()


def needs(width, depth=3):
    return nn.Linear(width, width)


def raises():
    return nn.Linear(-1, 3) if [][1] else None


def number():
    return 3


def triple():
    return net(), batch(), 1


def training():
    x = torch.randn(12, 16)
    data = x, torch.zeros(12, 16)
    return {"model": net(), "loss": nn.functional.mse_loss, "data": data, "optimizer": 0.1}


def asks():
    return {"model": net(), "batch": batch(), "property": lambda output: output[:, 0].mean()}


def asks_twice():
    first, second = (lambda output, k=k: output[:, k].mean() for k in (0, 1))
    return {"model": net(), "batch": batch(), "properties": {"first": first, "second": second}}


def with_loss():
    return net(), nn.functional.mse_loss, (torch.randn(12, 16), torch.zeros(12, 16))


def seeded(seed):
    torch.manual_seed(seed)
    return training()


def misspelt():
    return {"model": net(), "lose": nn.functional.mse_loss}


def without_model():
    return {"data": batch()}


def leaves():
    raise SystemExit("no licence")


def softplus_like(z):
    return torch.log1p(torch.exp(z))


def normalise(z):
    return z / z.norm()


def gives_nan(z):
    return torch.sqrt(z)


class Squash(nn.Module):
    def forward(self, z):
        return torch.tanh(z)


def make_squash():
    return Squash()


squash = Squash()
builtin = torch.tanh
_private = 1
"""


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The path of a file with factories; the working folder is its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "models.py"
    path.write_text(MODELS)
    return path


@pytest.fixture
def no_pictures(monkeypatch):
    """Pages without their pictures, for tests that look at none: drawing takes most of the time of a page."""
    for module in ("fate", "noise_page", "page", "rates_page", "study_page"):
        monkeypatch.setattr(f"phasescope.report.{module}.inline", lambda figure, prefix, label: [""])


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """A stream that says it is a terminal, and keeps what is written to it."""
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


@pytest.fixture
def phasescope(capsys, tmp_path, monkeypatch):
    """A function that runs a command and returns its code, stdout, stderr and parsed JSON."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        data = json.loads(out) if "--json" in words and code != 2 else None
        return SimpleNamespace(code=code, out=out, err=err, json=data)

    return run
