"""The printed table: what a person reads on a terminal of 80 columns, or of 50."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.estimate import Estimate
from phasescope.signal import Verdict, profile
from phasescope.signal.table import coverage, folded_names, short_names, table
from synthetic_profile import RESIDUAL, synthetic_blocks, synthetic_profile

DECISION = Verdict(
    phase="critical",
    margin=Estimate(0.05, 0.02, "mean", 8),
    total=Estimate(0.4, 0.03, "sum", 8),
    growth="power",
    signal_depth=Estimate.not_determined("the distance stays of order one"),
    gradient_depth=Estimate(3.0, 0.1, "mean", 8),
    reason="squared differences grow 1.5-fold over 8 steps",
)


def printed(dataset, width):
    """The table between the two opening lines and the closing ones."""
    lines = table(dataset, DECISION, width=width).splitlines()
    return "\n".join(lines[lines.index("") + 1 : -1 - lines[::-1].index("")])


PLAIN = """
layer kind          K      1-c chi_perp chi_par sum grad²
---------------------------------------------------------
0     Linear        1      0.8        -       -     0.343
1     Tanh          1      0.8        -       -     0.343
2     Linear      0.9     0.56      0.7     0.9      0.49
3     Tanh        0.9     0.56        -       -      0.49
4     Linear     0.81    0.392      0.7       -       0.7
5     Tanh       0.81    0.392        -       -       0.7
6     Linear    0.729   0.2744      0.7     0.9         1
"""
PLAIN_AT_50 = """
layer        K      1-c chi_perp chi_par sum grad²
--------------------------------------------------
0            1      0.8        -       -     0.343
1            1      0.8        -       -     0.343
2          0.9     0.56      0.7     0.9      0.49
3          0.9     0.56        -       -      0.49
4         0.81    0.392      0.7       -       0.7
5         0.81    0.392        -       -       0.7
6        0.729   0.2744      0.7     0.9         1

left out at 50 columns: kind
"""
RESIDUAL_NET = """
layer              kind            K      1-c chi_perp chi_par share % sum grad²
--------------------------------------------------------------------------------
wte                Embeddi…        1      0.8        -       -       -      3.16
blocks.0 (sum)     sum         1.333      0.8    1.333   1.333      25      2.37
  blocks.0.linear1 Linear        0.2      0.7        -       -       -      3.16
  blocks.0.relu    ReLU          0.2      0.7        -       -       -      3.16
  blocks.0.linear2 Linear        0.2      0.7        -       -       -      3.16
blocks.1 (sum)     sum         1.778      0.8    1.333   1.333      25     1.778
  blocks.1.linear1 Linear        0.2      0.7        -       -       -      2.37
  blocks.1.relu    ReLU          0.2      0.7        -       -       -      2.37
  blocks.1.linear2 Linear        0.2      0.7        -       -       -      2.37
blocks.2 (sum)     sum          2.37      0.8    1.333   1.333      25     1.333
  blocks.2.linear1 Linear        0.2      0.7        -       -       -     1.778
  blocks.2.relu    ReLU          0.2      0.7        -       -       -     1.778
  blocks.2.linear2 Linear        0.2      0.7        -       -       -     1.778
ln_f               LayerNo…     2.37      0.8        -       -       -     1.333
lm_head            Linear       3.16      0.8    1.333   1.333       -         1
"""
RESIDUAL_AT_50 = """
layer               K      1-c chi_perp share %
-----------------------------------------------
wte                 1      0.8        -       -
…0 (sum)        1.333      0.8    1.333      25
  …0.linear1      0.2      0.7        -       -
  …0.relu         0.2      0.7        -       -
  …0.linear2      0.2      0.7        -       -
…1 (sum)        1.778      0.8    1.333      25
  …1.linear1      0.2      0.7        -       -
  …1.relu         0.2      0.7        -       -
  …1.linear2      0.2      0.7        -       -
…2 (sum)         2.37      0.8    1.333      25
  …2.linear1      0.2      0.7        -       -
  …2.relu         0.2      0.7        -       -
  …2.linear2      0.2      0.7        -       -
ln_f             2.37      0.8        -       -
lm_head          3.16      0.8    1.333       -

left out at 50 columns: kind, chi_par, sum grad²
"""
TRANSFORMER_NET = """
layer              kind            K      1-c chi_perp chi_par share % sum grad²
--------------------------------------------------------------------------------
wte                Embeddi…        1      0.8        -       -       -     1.476
h.0.attn (sum)     sum         1.016      0.8    1.016   1.016    1.55     1.453
  h.0.ln_1         LayerNo…      0.2      0.7        -       -       -     1.476
  h.0.attn.c_attn  Conv1D        0.2      0.7        -       -       -     1.476
  h.0.attn.c_proj  Conv1D        0.2      0.7        -       -       -     1.476
h.0 (sum)          sum         1.032      0.8    1.016   1.016    1.55     1.431
  h.0.ln_2         LayerNo…      0.2      0.7        -       -       -     1.453
  h.0.mlp.c_fc     Conv1D        0.2      0.7        -       -       -     1.453
  h.0.mlp.act      GELU          0.2      0.7        -       -       -     1.453
  h.0.mlp.c_proj   Conv1D        0.2      0.7        -       -       -     1.453
... 10 blocks alike: K 1.048 to 1.409, 1-c 0.8, chi_perp 1.016, chi_par 1.016,
  share % 1.55, sum grad² 1.048 to 1.409 ...
h.11.attn (sum)    sum         1.431      0.8    1.016   1.016    1.55     1.032
  h.11.ln_1        LayerNo…      0.2      0.7        -       -       -     1.048
  h.11.attn.c_attn Conv1D        0.2      0.7        -       -       -     1.048
  h.11.attn.c_proj Conv1D        0.2      0.7        -       -       -     1.048
h.11 (sum)         sum         1.453      0.8    1.016   1.016    1.55     1.016
  h.11.ln_2        LayerNo…      0.2      0.7        -       -       -     1.032
  h.11.mlp.c_fc    Conv1D        0.2      0.7        -       -       -     1.032
  h.11.mlp.act     GELU          0.2      0.7        -       -       -     1.032
  h.11.mlp.c_proj  Conv1D        0.2      0.7        -       -       -     1.032
ln_f               LayerNo…    1.453      0.8        -       -       -     1.016
lm_head            Linear      1.476      0.8    1.016   1.016       -         1
"""
TRANSFORMER_AT_50 = """
layer                  K      1-c chi_perp share %
--------------------------------------------------
wte                    1      0.8        -       -
h.0.attn (sum)     1.016      0.8    1.016    1.55
  h.0.ln_1           0.2      0.7        -       -
  h.0…c_attn         0.2      0.7        -       -
  h.0…c_proj         0.2      0.7        -       -
h.0 (sum)          1.032      0.8    1.016    1.55
  h.0.ln_2           0.2      0.7        -       -
  h.0.mlp.c_fc       0.2      0.7        -       -
  h.0.mlp.act        0.2      0.7        -       -
  …0.mlp.c_proj      0.2      0.7        -       -
... 10 blocks alike: K 1.048 to 1.409, 1-c 0.8,
  chi_perp 1.016, share % 1.55 ...
h.11.attn (sum)    1.431      0.8    1.016    1.55
  h.11.ln_1          0.2      0.7        -       -
  h.11…c_attn        0.2      0.7        -       -
  h.11…c_proj        0.2      0.7        -       -
h.11 (sum)         1.453      0.8    1.016    1.55
  h.11.ln_2          0.2      0.7        -       -
  h.11.mlp.c_fc      0.2      0.7        -       -
  h.11.mlp.act       0.2      0.7        -       -
  …11…c_proj         0.2      0.7        -       -
ln_f               1.453      0.8        -       -
lm_head            1.476      0.8    1.016       -

left out at 50 columns: kind, chi_par, sum grad²
"""


def plain():
    noisy = np.array([np.nan] * 4 + [2.0] + [np.nan] * 2)  # an error larger than its value
    return synthetic_profile(4, chi=0.7, kernel_growth=0.9, changes={"chi_parallel_error": noisy})


def residual():
    return synthetic_blocks(3, branches=RESIDUAL, name="blocks", share=0.25, chi=4 / 3)


def transformer():
    return synthetic_blocks(12, name="transformer.h", chi=1.0157, share=0.0155)


@pytest.mark.parametrize(
    ("network", "width", "text"),
    [
        (plain, 80, PLAIN),
        (plain, 50, PLAIN_AT_50),
        (residual, 80, RESIDUAL_NET),
        (residual, 50, RESIDUAL_AT_50),
        (transformer, 80, TRANSFORMER_NET),
        (transformer, 50, TRANSFORMER_AT_50),
    ],
)
def test_the_table_is_printed_so(network, width, text):
    assert printed(network(), width) == text.strip("\n")


def test_the_opening_and_closing_lines_are_printed_so():
    text = table(plain(), DECISION, width=80)
    assert text.startswith(
        "Sequential: 1,000 parameters, 16 inputs, float32, train mode\n"
        "Measured: all 7 rows, with all parameters.\n\n"
    )
    assert text.endswith(
        """

phase: critical (squared differences grow 1.5-fold over 8 steps)
margin (mean ln chi_perp per step): 0.050 ± 0.020
total growth (ln of it): 0.400 ± 0.030, as a power of the depth
signal depth (steps): not determined: the distance stays of order one
gradient depth (steps): 3.00 ± 0.10"""
    )


def found(depth, name=None):
    model = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(8, 8), nn.Tanh())])
    if name is not None:
        model.register_module(name, nn.Linear(8, 8))
    return profile(model, torch.randn(6, 8), theory=False)


@pytest.mark.parametrize("width", [50, 64, 80])
@pytest.mark.parametrize("depth", [3, 30])
def test_fits_the_terminal_even_with_long_names(width, depth, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    long = "a_module_with_a_name_that_is_rather_long_for_a_terminal"
    assert max(map(len, str(found(depth, long)).splitlines())) <= width


def test_every_number_of_a_small_network_is_there():
    small = found(3)
    lines = table(small.dataset, small.verdict, width=80).splitlines()
    assert lines[0] == "Sequential: 216 parameters, 6 inputs, float32, train mode"
    assert lines[3].split() == ["layer", "kind", "K", "1-c", "chi_perp", "chi_par", "sum", "grad²"]
    rows = [line.split() for line in lines[5:11]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row[1] for row in rows] == ["Linear", "Tanh"] * 3
    data = small.dataset
    assert rows[2][2] == f"{float(data['kernel'][2]):.4g}"
    assert rows[2][4] == f"{float(data['chi_perpendicular'][2]):.4g}"
    assert rows[1][4] == "-"


def test_a_row_that_is_broken_or_dead_is_not_folded_away():
    dataset = transformer()
    names = list(dataset["layer"].values)
    dataset["nonfinite"].values[names.index("transformer.h.5.mlp.act")] = 0.5
    text = printed(dataset, 80)
    assert "h.5.mlp.act" in text
    assert "... 3 blocks alike" in text  # 0 to 4 without the first and the last
    assert "... 4 blocks alike" in text  # 6 to 11


def test_networks_that_do_not_repeat_lose_their_branches_then_their_middle():
    names = [f"layer_{'abcdefgh'[i % 8]}{i}" for i in range(59)]
    text = printed(synthetic_profile(30).assign_coords(layer=names), 80)
    assert "... 19 rows ..." in text
    assert "layer_c58" in text


def test_chains_of_other_inputs_have_a_heading_and_a_line_of_their_own():
    dataset = synthetic_blocks(2)
    chain = np.zeros(dataset.sizes["layer"], dtype=int)
    chain[:10] = 1
    chains = [
        {"input": "decoder_input_ids", "steps": 3, "verdict": {}},
        {"input": "input_ids", "steps": 3, "verdict": {"phase": "ordered", "reason": "it falls 9-fold"}},
    ]
    dataset = dataset.assign_coords(chain=("layer", chain)).assign_attrs(chains=json.dumps(chains))
    text = table(dataset, DECISION, width=80)
    assert text.index("chain from decoder_input_ids:") < text.index("lm_head")
    assert text.index("lm_head") < text.index("chain from input_ids:") < text.index("wte ")
    assert text.splitlines()[-1] == "chain from input_ids (3 steps): ordered (it falls 9-fold)"


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ((30, 30, 50, 50), "Measured: all 30 rows, with all parameters."),
        ((26, 30, 991, 1000), "Measured: 26 of 30 rows, with 99.1 % of the parameters."),
        ((26, 30, 99_999, 100_000), "Measured: 26 of 30 rows, with 99.9 % of the parameters."),
        ((2, 2, 0, 0), "Measured: all 2 rows; there are no parameters."),
    ],
)
def test_one_sentence_tells_how_much_was_measured(found, sentence):
    stored = dict(zip(("rows", "of", "parameters", "of_parameters"), found, strict=True))
    assert coverage(synthetic_profile(2, coverage=json.dumps(stored))) == sentence


def test_names_are_cut_where_they_agree_and_stay_different():
    names = ["transformer.wte", "lm_head"]
    for i in (0, 11):
        names += [f"transformer.h.{i}.attn.{part}" for part in ("c_attn", "c_proj")]
        names += [f"transformer.h.{i}.mlp.c_proj", f"transformer.h.{i} (sum)"]
    assert short_names(names, [40] * len(names)) == names
    at_16 = short_names(names, [16] * len(names))
    assert at_16[:6] == [
        "wte",
        "lm_head",
        "h.0.attn.c_attn",
        "h.0.attn.c_proj",
        "h.0.mlp.c_proj",
        "h.0 (sum)",
    ]
    assert short_names(names, [13] * len(names))[2:4] == ["h.0…c_attn", "h.0…c_proj"]
    for width in (10, 13, 16, 20):
        short = short_names(names, [width] * len(names))
        assert len(set(short)) == len(names)
        assert max(map(len, short)) <= width


def test_names_of_one_part_keep_what_differs():
    long = "a_module_with_a_name_that_is_rather_long"
    short = short_names([long, f"{long}_2", "b" + long[1:]], [20] * 3)
    assert len(set(short)) == 3
    assert max(map(len, short)) == 20


def test_skipped_rows_are_told_by_reason_and_count():
    names = [f"h.{i}.attn.dropout" for i in range(12)]
    assert folded_names(["spare"]) == "spare"
    assert folded_names(["spare", "other"]) == "spare, other"
    assert folded_names(names) == "h.*.attn.dropout (12 rows)"
    assert folded_names([*names, "act", "act (call 2)"]) == "h.*.attn.dropout, act (14 rows)"
    assert folded_names(list("abcdef"), most=4) == "a, b, c, d and 2 more (6 rows)"


def test_skipped_rows_and_the_verdict_stand_below():
    model = nn.Sequential(nn.Linear(8, 8))
    model.spare = nn.Linear(2, 2)
    model.forward = lambda x: model[0](x)
    text = str(profile(model, torch.randn(4, 8)))
    assert "Measured: 1 of 2 rows, with 92.3 % of the parameters." in text  # 72 of 78
    assert "skipped (1 of 2 rows):" in text
    assert "  spare: not called in forward" in text
    assert text.index("spare") < text.index("phase: not determined")
    assert "margin (mean ln chi_perp per step): not determined" in text
