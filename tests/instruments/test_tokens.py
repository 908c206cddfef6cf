"""Tokens and attention as an instrument: what it says of networks whose state is known."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phasescope import inspect
from phasescope.citations import citation
from phasescope.errors import InputError
from phasescope.instruments import TokensAndAttention
from phasescope.report.layer_table import layer_table
from phasescope.testing import CHECKS, Case, check_instrument

TOKENS = TokensAndAttention()
WIDTH, HEADS = 16, 4


def words(sequences=6, length=12, seed=2):
    return torch.randint(0, 30, (sequences, length), generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    def __init__(self, shortcut, norm):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.shortcut, self.place = shortcut, norm

    def attention(self, x):
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

    def forward(self, x):
        branch = self.attention(self.norm(x) if self.place == "pre" else x)
        total = self.shortcut * x + branch if self.shortcut else branch
        return self.norm(total) if self.place == "post" else total


class Language(nn.Module):
    """A causal language model of attention blocks, with queries and keys `gain` times as large."""

    def __init__(self, blocks=3, gain=1.0, shortcut=1.0, norm="pre", seed=4):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.table = nn.Embedding(30, WIDTH)
            self.blocks = nn.ModuleList(Block(shortcut, norm) for _ in range(blocks))
            self.read = nn.Linear(WIDTH, 30)
        with torch.no_grad():
            for block in self.blocks:
                block.qkv.weight[: 2 * WIDTH] *= gain
                block.qkv.bias[: 2 * WIDTH] *= gain

    def forward(self, input_ids):
        x = self.table(input_ids)
        for block in self.blocks:
            x = block(x)
        return self.read(x)


def masked():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(30, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, input_ids, attention_mask):
            x = self.table(input_ids)
            return x + self.attention(x, x, x, key_padding_mask=attention_mask == 0)[0]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Masked()
    mask = torch.ones(6, 5, dtype=torch.int64)
    mask[2, 3:] = 0
    return model, {"input_ids": words(6, 5), "attention_mask": mask}


def encoder():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    return model, torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(1))


def said(model, batch=None):
    return TOKENS.findings(TOKENS.measure(model, words() if batch is None else batch))


def test_models_without_attention_are_refused_with_the_reason():
    passed = check_instrument(TOKENS)
    assert set(passed) == {
        "answers_whether_it_applies",
        "refuses_with_its_reason",
        "refuses_what_is_no_model",
    }
    with pytest.raises(InputError, match="named after attention"):
        TOKENS.measure(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.randn(4, 4))


def test_attention_is_found_by_the_name_of_a_class_or_of_the_maps_of_queries():
    assert TOKENS.applies(nn.TransformerEncoderLayer(8, 2), None) == ""
    assert TOKENS.applies(Language(), None) == ""
    assert TOKENS.applies(nn.LSTM(4, 4), None)


def test_the_contract_holds():
    few = [
        name for name in CHECKS if name.split("_")[0] in ("returns", "accounts", "skips", "says", "errors")
    ]
    few += ["attributes_are_json", "survives_netcdf", "leaves_no_trace", "draws_figures", "cites_its_sources"]
    assert check_instrument(TOKENS, [Case("masked", masked)], only=few)


@pytest.mark.slow
@pytest.mark.parametrize("case", [masked, encoder, lambda: (Language(), words())])
def test_the_whole_contract_holds(case):
    assert check_instrument(TOKENS, [Case("case", case)], fast=False)


def test_a_healthy_network_is_called_so():
    found = said(Language())
    assert [finding.severity for finding in found] == ["ok", "ok"]
    assert "stay apart" in found[0].sentence + found[1].sentence
    assert any("heads look at many keys" in finding.sentence for finding in found)


def test_large_queries_and_keys_are_told_with_the_factor_that_cures_them():
    """Logits are bilinear in queries and keys: times the factor named each, they spread by 1."""
    model = Language(blocks=1, gain=20.0)
    low = next(finding for finding in said(model) if "look at few keys" in finding.sentence)
    assert low.severity in ("warning", "problem")
    assert "4 of 4 heads" in low.sentence
    factor = float(low.action.split(" by ")[1].split(" each")[0])
    cured = TOKENS.measure(Language(blocks=1, gain=20.0 * factor), words())
    assert float(np.nanmedian(cured["head_spread"])) == pytest.approx(1, rel=0.05)


def test_attention_without_shortcuts_makes_tokens_alike():
    collapse = said(Language(blocks=6, shortcut=0.0, norm="none"))[0]
    assert collapse.severity in ("warning", "problem")
    assert "become alike" in collapse.sentence
    assert "shortcut" in collapse.action


@pytest.mark.parametrize(("norm", "words_of_norm"), [("post", True), ("pre", False)])
def test_collapse_with_shortcuts_is_cured_by_the_scale_of_branches(norm, words_of_norm):
    collapse = said(Language(blocks=9, shortcut=0.2, norm=norm))[0]
    assert "become alike" in collapse.sentence
    assert "1/sqrt(L) = 0.33, L = 9 branches" in collapse.action
    assert ("pre-norm" in collapse.action) is words_of_norm


def test_tokens_that_enter_alike_are_told_apart_from_those_that_become_alike():
    model = Language()
    with torch.no_grad():
        model.table.weight += 30.0
    assert "alike from the start" in said(model)[0].sentence


def test_a_head_with_a_sink_is_named_with_its_token():
    """One head's keys meet its queries in the first word alone, which then takes all attention."""
    model, batch = Language(blocks=1, norm="none"), words()
    batch[:, 0], size = 0, WIDTH // HEADS
    batch[:, 1:].clamp_(min=1)
    with torch.no_grad():
        model.table.weight[:, 0] = 0.0
        model.table.weight[0] = 0.0
        model.table.weight[0, 0] = 1.0
        block = model.blocks[0]
        head = slice(2 * size, 3 * size)
        block.qkv.weight[head] = 0.0
        block.qkv.bias[head] = 1.0
        block.qkv.weight[WIDTH + head.start : WIDTH + head.stop] = 0.0
        block.qkv.weight[WIDTH + head.start : WIDTH + head.stop, 0] = 50.0
    sink = next(finding for finding in said(model, batch) if "beyond its even share" in finding.sentence)
    assert sink.severity == "note"
    expected = 1 - sum(1 / t for t in range(1, 13)) / 12  # all attention, less an even share of it
    assert f"blocks.0, head 2, {100 * expected:.0f} % to token 0" in sink.sentence.replace(" (attention)", "")


def test_the_untrained_network_stands_beside():
    dataset = TOKENS.measure(Language(gain=20.0), words())
    assert float(dataset["entropy_untrained"].max()) > 0.9 > float(dataset["entropy"].max())
    assert "entropy of attention" in dataset["entropy_untrained"].attrs["long_name"]


def test_a_network_that_cannot_be_drawn_again_is_measured_without_it():
    model = Language()
    model.scale = nn.Parameter(torch.ones(3))
    dataset = TOKENS.measure(model, words())
    assert "cosine_untrained" not in dataset
    assert any("scale" in note for note in json.loads(dataset.attrs["notes"]))
    assert TOKENS.findings(dataset)
    assert TOKENS.figures(dataset)["tokens"].axes


def test_tables_fit_narrow_and_wide_terminals(monkeypatch):
    monkeypatch.setattr("phasescope.instruments.tokens._MOST_LINES", 4)
    dataset = TOKENS.measure(Language(blocks=6), words())
    for width in (50, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = TOKENS.table(dataset).splitlines()
        assert max(map(len, lines)) <= width
        assert any(line.startswith("... ") for line in lines)


def test_inspect_measures_it_by_default_and_the_page_has_its_columns():
    inspection = inspect(Language(), words())
    assert "tokens" in inspection.datasets
    shown = layer_table(inspection.datasets["tokens"], most_rows=100)
    assert {"cosine", "rank", "entropy", "sink"} <= {column.heading for column in shown.columns}
    assert "dong2021" in citation(inspection)
    assert math.isfinite(float(inspection.datasets["tokens"]["entropy"].max()))
