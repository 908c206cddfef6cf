"""Rescues of a rectified power against the table of theory, plain torch and made data."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import config, draw, run
from phasescope.papers import rectified_power
from phasescope.papers.rectified_power import rescues
from phasescope.papers.rectified_power.rescues import RESCUED, RESCUES, Rescued
from phasescope.papers.rectified_power.shared import xyz

TINY = config(
    *(
        "rescues.depths=[10,20]",
        "rescues.steps=3",
        "rescues.width=8",
        "rescues.growth=4",
        "rescues.points=32",
    ),
    *("rescues.batch=16", "rescues.networks=2", "rescues.wide=16", "rescues.inputs=4"),
    study=rectified_power.STUDY,
)


@pytest.mark.slow
def test_a_tiny_run_has_all_rows_claims_and_figures(tmp_path):
    data, analysis, found = run(RESCUES, TINY, tmp_path)
    assert found["step-0"].verdict == "agrees"
    assert found["step-0"].measured.value == 0
    assert found["batch-norm-eval-repu2"].verdict == "agrees"
    assert found["norms-parallel"].measured.value < 0.02  # 16 neurons can be nearly alike
    assert len(analysis.tables[0].rows) == 2 * 17 + 3 * 6
    assert all(len(row) == len(analysis.tables[0].columns) for row in analysis.tables[0].rows)
    assert min(draw(RESCUES, data, TINY)) > 15_000


@pytest.mark.parametrize(
    ("spec", "before", "after"),
    [
        ("relu", 1.0, 1.467),
        ("gelu", 1.072, 1.319),
        ("repu2", 4 / 3, 1.6),
        ("repu3", 1.8, 1.967),
        ("mrepu2", 1.438, 1.677),
    ],
)
def test_norms_leave_the_perpendicular_susceptibility_of_their_activation(spec, before, after):
    for key, expected in (("layer-before", before), ("rms-after", before), ("layer-after", after)):
        parallel, perpendicular = rescues.susceptibilities(spec, RESCUED[key])
        assert parallel == 0
        assert perpendicular == pytest.approx(expected, abs=6e-4)


def test_without_a_norm_the_first_layer_has_the_closed_forms():
    # RePU2 at kernel K: chi_par = 3 C_W K, chi_perp = 2 C_W K.
    assert rescues.susceptibilities("repu2", RESCUED["xavier"]) == pytest.approx((3, 2))
    assert rescues.susceptibilities("repu2", RESCUED["he"]) == pytest.approx((12, 8))
    assert rescues.susceptibilities("repu2", RESCUED["best"]) == pytest.approx((2, 4 / 3))
    assert rescues.susceptibilities("repu2", RESCUED["residual-0.1"]) == pytest.approx((1.03, 1.02))
    assert rescues.susceptibilities("repu2", RESCUED["dense-0.3"]) == pytest.approx((1.27, 1.18))


def test_a_residual_stream_blows_up_long_before_the_formula_without_its_mean():
    squares = rescues.residual_squares(0.1, 60)
    assert squares[:2] == pytest.approx([1, 1.015])
    assert squares[2] == pytest.approx(1.015 + 0.1 * 0.05 * 1.015 + 0.015 * 1.015**2)
    assert sum(q < 1e3 for q in squares) == 29
    assert 1 / 0.015 > 60


@pytest.mark.parametrize("key", ["layer-before", "layer-after", "batch-norm", "residual-0.1", "dense-0.3"])
def test_rescued_networks_are_those_of_plain_torch(key):
    rescue = RESCUED[key]
    networks = Rescued(rescue, "gelu", (3, 8, 3), [0, 1])
    x = xyz(16, 0)[0]
    s, norm = nn.functional.gelu, nn.LayerNorm(8, elementwise_affine=False)
    batch = [nn.BatchNorm1d(8, affine=False).double() for _ in range(3)]

    def plain(w, b):
        h = x
        if key == "dense-0.3":
            for number in range(3):
                h = torch.cat([h, s(h @ w[number] + b[number])], -1)
        elif key == "residual-0.1":
            h = h @ w[0] + b[0]
            for number in (1, 2, 3):
                h = h + 0.1 * s(h @ w[number] + b[number])
        else:
            for number in range(3):
                z = h @ w[number] + b[number]
                z = norm(z) if key == "layer-before" else batch[number](z) if key == "batch-norm" else z
                h = norm(s(z)) if key == "layer-after" else s(z)
        return h @ w[-1] + b[-1]

    w, b = [each[1] for each in networks.weights], [each[1] for each in networks.biases]
    assert torch.allclose(networks(x)[1], plain(w, b), rtol=1e-10)
    if key == "batch-norm":  # what was kept of that pass; torch keeps the unbiased variance
        mean, variance = networks.running[2]
        assert torch.allclose(mean[1, 0], batch[2].running_mean)
        assert torch.allclose((variance[1, 0] - 0.9) * 16 / 15 + 0.9, batch[2].running_var)


def test_starts_have_their_variances():
    for key, expected in (("xavier", 1.0), ("he", 2.0), ("default", 1 / 3)):
        networks = Rescued(RESCUED[key], "repu2", (3, 300, 3), [0])
        assert float(networks.weights[1].detach().var() * 300) == pytest.approx(expected, rel=0.02)
    networks = Rescued(RESCUED["xavier"], "repu2", (3, 300, 3), [0])
    assert float(networks.weights[0].detach().var()) == pytest.approx(2 / 303, rel=0.1)


def measured(**changes):
    """Numbers of a made study: rows as the table of rescues has them, with changes for single ones."""
    runs = {}
    for spec in rescues.REPU:
        for key in RESCUED:
            lost = key in ("he", "residual-1", "dense-1", *rescues.GRADIENT)
            test = {"dense-0.3": 1e-4}.get(key, 1.0 if key in rescues.INITIALISATIONS else 1e-2)
            test = math.inf if lost or key == "batch-norm" else test
            row = {
                "first": math.nan if lost else 1.0,
                "gradient": 1e5 if key == "batch-norm" else 50.0,
                "failed": 0.0 if lost else -1.0,
                "test": test,
                "test_batch": 1.0,
            }
            row |= changes.get(key.replace("-", "_").replace(".", "_"), {})
            for depth in (10, 20):
                runs[spec, key, depth] = {
                    name: value * np.array([1.0, 1.01, 0.99]) if name != "failed" else np.full(3, value)
                    for name, value in row.items()
                }
    n = rescues.Numbers(SimpleNamespace(steps=200), {}, {}, runs)
    return {check.id: check.verdict for check in rescues._claims_on_training(n)}


def test_the_known_table_agrees_with_every_claim():
    assert set(measured().values()) == {"agrees"}


@pytest.mark.parametrize(
    ("key", "change", "claim", "verdict"),
    [
        ("xavier", {"test": 0.01}, "initialisations-repu2", "not determined"),
        ("penalty", {"first": 1.0}, "step-0", "disagrees"),
        ("batch_norm", {"gradient": 60.0}, "batch-norm-gradient", "disagrees"),
        ("batch_norm", {"test": 0.1}, "batch-norm-infinite", "disagrees"),
        ("residual_0_1", {"test": 2.0}, "advice-residual-0.1", "disagrees"),
        ("residual_1", {"test": 0.1}, "residual-1-fails", "disagrees"),
        ("rms_after", {"test": 1e-6}, "dense-best", "disagrees"),
    ],
)
def test_other_results_break_the_claim_that_they_contradict(key, change, claim, verdict):
    assert measured(**{key: change})[claim] == verdict
