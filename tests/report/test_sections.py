"""A second instrument on the page: a section of its own with everything that it found."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from phasescope import inspect
from phasescope.report import document, render

pytestmark = pytest.mark.usefixtures("coarse_errors")


def pair():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(nn.RNN(2, 3, batch_first=True))
        return model, torch.randn(8, 180, 2)


@pytest.fixture(scope="module")
def inspection():
    return inspect(*pair(), label="small")


@pytest.fixture(scope="module")
def page(inspection):
    return render([inspection])


def section(page, name):
    return re.search(rf'<section id="{name}">.*?</section>', page, re.DOTALL)[0]


def test_it_stands_between_the_layers_and_what_was_skipped(page):
    assert re.findall(r'<section id="(\w+)"', page) == [
        "picture", "layers", "time", "symptoms", "spectra", "noise",
        "skipped", "actions", "method", "citations",
    ]  # fmt: skip


def test_it_has_findings_pictures_table_and_notes(inspection, page):
    own = section(page, "noise")
    assert "<h2>Noise of activations</h2>" in own
    found = inspection.findings_of("noise")
    assert own.count('<span class="said">') == len(found) > 0
    assert own.count("<svg role=") == 3
    assert "0.l0 hidden" in own
    assert "Measured on 8 sequences of 160 time steps, the first 20 steps of each left out." in own
    assert re.search(r"<dt>shuffled</dt><dd>β for the same sequences", own)


def test_the_other_sections_keep_to_signal_propagation(inspection, page):
    said = len(inspection.findings_of("propagation"))
    assert section(page, "actions").count('<span class="said">') == said
    assert "0.l0 hidden" not in section(page, "layers")
    assert section(page, "picture").count("<svg role=") == 3


def test_its_papers_are_cited(page):
    cited = section(page, "citations")
    for key in ("poole2016", "chong2023", "peng1994", "roy2007"):
        assert f"{{{key}," in cited


def test_networks_side_by_side_share_the_section(inspection):
    page = render([inspection, replace(inspection, label="again")])
    own = section(page, "noise")
    assert re.findall(r"<h3>(small|again)</h3>", own) == ["small", "again"]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert len(document([inspection])["inspections"][0]["instruments"]) == 5
