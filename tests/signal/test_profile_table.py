"""The printed table: what a person reads on a terminal of 80 columns."""

import torch
from torch import nn

from phasescope.signal import profile


def found(depth, name=None):
    model = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(8, 8), nn.Tanh())])
    if name is not None:
        model.register_module(name, nn.Linear(8, 8))
    return profile(model, torch.randn(6, 8), theory=False)


def test_fits_80_columns_even_with_long_names():
    long = "a_module_with_a_name_that_is_rather_long_for_a_terminal"
    assert max(map(len, str(found(3, long)).splitlines())) <= 80


def test_every_number_of_a_small_network_is_there():
    small = found(3)
    lines = str(small).splitlines()
    assert lines[0] == "Sequential: 216 parameters, 6 input(s), float32, train mode"
    head = lines[2].split()
    assert head == ["layer", "kind", "K", "c", "chi_perp", "chi_par", "gradient"]
    rows = [line.split() for line in lines[4:10]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row[1] for row in rows] == ["Linear", "Tanh"] * 3
    data = small.dataset
    assert rows[2][2] == f"{float(data['kernel'][2]):.4g}"
    assert rows[2][4] == f"{float(data['chi_perpendicular'][2]):.4g}"
    assert rows[1][4] == "-"


def test_long_networks_are_cut_in_the_middle():
    text = str(found(50))
    lines = text.splitlines()
    assert "... 60 rows ..." in text
    assert any(line.startswith("99 ") for line in lines)
    assert len(lines) < 60


def test_skipped_rows_and_the_verdict_stand_below():
    model = nn.Sequential(nn.Linear(8, 8))
    model.spare = nn.Linear(2, 2)
    model.forward = lambda x: model[0](x)
    text = str(profile(model, torch.randn(4, 8)))
    assert "skipped (1 of 2 rows):" in text
    assert "  spare: not called in forward" in text
    assert text.index("spare") < text.index("phase: not determined")
    assert "margin (mean ln chi_perp a layer): not determined" in text
