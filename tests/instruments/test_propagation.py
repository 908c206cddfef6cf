"""Findings on networks whose phase is known, with numbers held against theory."""

from __future__ import annotations

import itertools
import json
import math
import re

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.activations import MRePU, RePU
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.instruments import SignalPropagation
from phasescope.instruments.propagation import findings as said
from phasescope.signal import Verdict
from phasescope.theory import overflow_depth
from reference.networks import normal_batch, plain_network
from synthetic_profile import RESIDUAL, synthetic_blocks, synthetic_profile

INSTRUMENT = SignalPropagation()


def findings(model, batch=None):
    return INSTRUMENT.findings(INSTRUMENT.measure(model, normal_batch() if batch is None else batch))


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} not in {text!r}"
    return float(found.group(1))


def read_margin(text: str) -> tuple[float, float]:
    found = re.search(r"ln chi = (\S+) ± (\S+) per layer", text)
    assert found, text
    return float(found.group(1)), float(found.group(2))


def test_ordered_relu_has_the_margin_and_the_cure_of_theory():
    # ReLU: chi_perp = C_W / 2 at every layer, so C_W = 1 has ln chi = -ln 2 and needs a factor sqrt(2).
    # A bias keeps the kernel at K* = C_b / (1 - C_W / 2), so the phase is ordered and not vanishing.
    found = findings(plain_network(nn.ReLU, 1.0, 0.05, width=400))
    first = found[0]
    assert first.sentence.startswith("Ordered: ")
    assert first.severity == "problem"
    margin, error = read_margin(first.evidence)
    assert abs(margin + math.log(2)) < 4 * max(error, 0.01)
    assert number(r"[Ss]cale the weights by (\S+),", first.action) == pytest.approx(math.sqrt(2), rel=0.02)
    assert "zero the biases" in first.action
    assert "C_W = 2, C_b = 0" in first.action
    assert "std=(2 / fan_in) ** 0.5" in first.action
    assert "phasescope.signal.critical_(model, batch)" in first.action


def test_an_ordered_network_is_told_how_many_layers_can_be_trained():
    # ReLU with C_W = 1: ln chi = -ln 2, so that six correlation lengths are 6/ln 2 = 8.7 layers.
    short, deep = (
        findings(plain_network(nn.ReLU, 1.0, 0.05, depth=depth, width=1000))[0].sentence for depth in (6, 20)
    )
    assert short.startswith("Ordered: ")
    assert short.endswith("but all 6 layers can be trained.")
    assert number(r"so about (\d+) of the 20 layers", deep) == pytest.approx(6 / math.log(2), abs=1)


def test_chaotic_tanh_has_the_growth_of_theory():
    # tanh, C_W = 4, C_b = 0: K* = 2.8495, chi_perp = C_W <sech^4> = 1.3838 (trapezoid rule).
    z = np.linspace(-14, 14, 200001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    K = 1.0
    for _ in range(200):
        K = 4 * np.trapezoid(np.tanh(math.sqrt(K) * z) ** 2 * density, z)
    chi = 4 * np.trapezoid(np.cosh(math.sqrt(K) * z) ** -4.0 * density, z)
    first = findings(plain_network(nn.Tanh, 4.0, depth=40, width=300))[0]
    assert first.sentence.startswith("Chaotic: ")
    margin, error = read_margin(first.evidence)
    assert abs(margin - math.log(chi)) < 4 * max(error, 0.02)
    assert number(r"by a factor e every (\S+) ±", first.sentence) == pytest.approx(
        1 / math.log(chi), rel=0.15
    )
    # Critical tanh has C_W = 1, and sqrt(1 / 4) = 0.5.
    assert number(r"[Ss]cale the weights by (\S+),", first.action) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("activation", "C_W"),
    [(nn.ReLU, 2.0), (nn.Tanh, 1.0), (nn.Identity, 1.0)],
    ids=["relu", "tanh", "linear"],
)
def test_critical_networks_are_healthy(activation, C_W):
    found = findings(plain_network(activation, C_W, width=400))
    kept = "small differences between inputs keep their size"
    told = rf"({kept}|the square of a small difference between inputs (grows|falls) [\d.]+-fold)"
    assert re.match(rf"Critical: over 1\d layers, {told}", found[0].sentence)
    assert [finding.severity for finding in found] == ["ok"] * len(found)
    assert found[0].action == ""
    margin, _ = read_margin(found[0].evidence)
    assert abs(margin) < 0.15


def test_exploding_relu_grows_as_theory_says():
    # C_W = 6: K grows by 3 a layer, from 6 to 6 * 3^19.
    found = findings(plain_network(nn.ReLU, 6.0, width=400))
    first = found[0]
    assert first.sentence.startswith("Exploding: ")
    assert first.severity == "problem"
    start = number(r"from (\S+) to", first.sentence)
    end = number(r"to (\S+) over 19 layers", first.sentence)  # the read-out says nothing of the phase
    assert math.log(end / start) == pytest.approx(18 * math.log(3), rel=0.1)
    assert number(r"[Ss]cale the weights by (\S+),", first.action) == pytest.approx(
        math.sqrt(2 / 6), rel=0.02
    )
    gradient = next(finding for finding in found if finding.sentence.startswith("The gradient explodes"))
    # The second moment of the gradient grows by 3 a layer as well, its size by sqrt(3).
    assert number(r"it is (\S+) times", gradient.sentence) == pytest.approx(3**9.5, rel=0.5)


def test_repu_is_told_that_no_initialisation_helps():
    # p = 2: chi_par / chi_perp = (2p - 1) / p = 1.5 at every kernel.
    found = findings(plain_network(lambda: RePU(2), 1.0, depth=10))
    assert found[0].severity == "problem"
    assert found[0].sentence.startswith(("Exploding: ", "Vanishing: "))
    assert found[0].action.startswith("No initialisation makes repu2 critical: ")
    for help_offered in ("LayerNorm", "0.1", "densely", "tanh or GELU"):
        assert help_offered in found[0].action
    assert "1.5" in found[0].action
    assert "Scale the weights" not in found[0].action


def test_repu_overflow_names_the_layer():
    found = findings(plain_network(lambda: RePU(3), 2.0, depth=10))
    level = int(number(r"overflows at .* layer (\d+) of 10", found[0].sentence))
    # ln K_l = 3^(l - 1) ln(K_1 / K_dag): float32 ends at ln(3.4e38) = 88.7 per value, near layer 5.
    assert 3 <= level <= 7


def test_mrepu_is_told_its_first_kernel():
    # 1 / (2 a1 L) with a1 = 3 p (2 p - 1) = 18 for p = 2 and L = 12.
    found = findings(plain_network(lambda: MRePU(2), 0.3, depth=12))
    assert found[0].severity == "problem"
    assert number(r"first layer scaled so that K = (\S+)\.$", found[0].action) == pytest.approx(
        1 / (2 * 18 * 12), rel=1e-3
    )


def test_mrepu_with_critical_weights_is_told_to_scale_its_first_layer_alone():
    # K_1 = 1 at first; K = 1 / (2 a1 L) = 1 / 432 asks for the square root of it.
    first = findings(plain_network(lambda: MRePU(2), 1.0, depth=12, width=300))[0]
    assert first.sentence.startswith("Exploding: ")
    factor = number(r"Scale the first layer's weights by (\S+),", first.action)
    assert factor == pytest.approx(math.sqrt(1 / 432), rel=0.15)


def test_gelu_is_told_its_biases_and_kernel():
    # Half-stable point: C_W = 1.98305826, C_b = 0.17292239, K* = 3.56155281.
    found = findings(plain_network(nn.GELU, 1.0))
    assert "C_W = 1.983, C_b = 0.1729" in found[0].action
    assert f"nn.init.normal_(b, std={math.sqrt(0.17292239):.4g})" in found[0].action
    assert "K = 3.562" in found[0].action


def test_the_advice_makes_the_network_critical():
    """Do what the finding says, and measure again."""
    model = plain_network(nn.ReLU, 0.7, 0.02, width=300)
    action = findings(model)[0].action
    scale = number(r"[Ss]cale the weights by (\S+),", action)
    assert "zero the biases" in action
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(scale)
                layer.bias.zero_()
    assert findings(model)[0].sentence.startswith("Critical: ")


def test_an_unnamed_activation_gets_its_own_critical_point():
    class Bent(nn.Module):
        def forward(self, z):
            return 0.5 * z + torch.tanh(0.5 * z)

    # sigma'(0) = 1, so C_W = 1; scale sqrt(1 / 0.5).
    dataset = INSTRUMENT.measure(plain_network(Bent, 0.5), normal_batch())
    assert json.loads(dataset.attrs["weight_scale"])["point"]["C_W"] == pytest.approx(1.0, abs=1e-6)
    action = INSTRUMENT.findings(dataset)[0].action
    assert number(r"[Ss]cale the weights by (\S+),", action) == pytest.approx(math.sqrt(2), rel=0.02)


def test_dead_relu_units_are_found():
    model = plain_network(nn.ReLU, 2.0, depth=4, width=100)
    with torch.no_grad():
        model[2].bias[:80] = -1e3
    dead = next(finding for finding in findings(model) if "respond to no input" in finding.sentence)
    assert "3 (ReLU), layer 2" in dead.sentence
    assert number(r"(\S+) % of the units", dead.sentence) >= 80
    assert dead.severity == "warning"


def test_a_network_whose_units_are_all_dead_says_so_first():
    model = plain_network(nn.ReLU, 2.0, depth=5, width=50)
    with torch.no_grad():
        model[4].bias.fill_(-1e3)
    first, *others = findings(model)
    assert first.sentence == (
        "The output does not depend on the input: all units of 5 (ReLU), layer 3 of 5, are dead."
    )
    assert (first.severity, first.kind) == ("problem", "broken")
    assert not any("respond to no input" in other.sentence for other in others)


def test_nan_in_a_weight_is_not_called_an_overflow():
    model = plain_network(nn.Tanh, 1.0, depth=5, width=50)
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    first = findings(model)[0]
    assert first.sentence == (
        "Broken: 4 (Linear), layer 3 of 5, gives NaN or infinity, though its input is of ordinary size."
    )
    assert "NaN in the weights" in first.action
    with torch.no_grad():
        model[0].weight[0, 0] = math.nan
    assert findings(model)[0].sentence == "Broken: the first row, 0 (Linear), already gives NaN or infinity."


@pytest.mark.parametrize(
    ("dtype", "ends"),
    [(torch.float16, "65504"), (torch.bfloat16, "3.3895e+38"), (torch.float32, "3.4028e+38")],
    ids=str,
)
@pytest.mark.parametrize(("activation", "name"), [(lambda: RePU(2), "repu2"), (lambda: MRePU(2), "mrepu2")])
def test_an_overflow_is_named_with_its_layer_and_the_largest_number(activation, name, dtype, ends):
    depth, width, K1 = 12, 100, 3.0
    model, batch = plain_network(activation, 1.0, depth=depth, width=width), normal_batch()
    with torch.no_grad():
        model[0].weight.mul_(math.sqrt(K1))
    model, batch = model.to(dtype), batch.to(dtype)
    values = itertools.accumulate(model, lambda h, layer: layer(h), initial=batch)
    first = [bool(h.isfinite().all()) for h in values].index(False) - 1
    found = findings(model, batch)[0]
    where = f"{first} ({type(model[first]).__name__}), layer {first // 2 + 1} of {depth}"
    precision = str(dtype).removeprefix("torch.")
    assert found.sentence == (
        f"Exploding: the signal overflows at {where}, in {precision}, which ends at {ends}."
    )
    # The layer is the one that theory says, within one, for the input of largest norm.
    largest = K1 * float(batch.double().square().mean(1).max())
    count = {"width": width, "inputs": len(batch)}
    expected = overflow_depth(name, largest, dtype, C_W=1.0, **count)
    assert abs(first // 2 + 1 - expected) <= 1


def test_nan_in_a_weight_of_half_precision_is_not_called_an_overflow_but_the_range_is_told():
    model = plain_network(nn.Tanh, 1.0, depth=5, width=50).half()
    with torch.no_grad():
        model[4].weight[0, 0] = math.nan
    first = findings(model, normal_batch().half())[0]
    assert first.sentence.startswith("Broken: 4 (Linear), layer 3 of 5")
    assert "NaN in the weights" in first.action
    assert "numbers above 65504, where float16 ends" in first.action


def test_saturated_units_are_found():
    model = plain_network(nn.Tanh, 1.0, depth=4, width=100)
    with torch.no_grad():
        model[2].weight.mul_(100)
    found = findings(model)
    saturated = next(finding for finding in found if "are saturated" in finding.sentence)
    assert "3 (Tanh), layer 2" in saturated.sentence


def test_hidden_overflow_is_uncovered():
    class Masked(nn.Module):
        def forward(self, z):
            return torch.where(z > -1, z * (z + 1) ** 2, torch.zeros_like(z))

    found = findings(plain_network(Masked, 3.0, depth=12))
    assert found[0].sentence.startswith("Exploding: ")
    hidden = next(finding for finding in found if finding.sentence.startswith("An overflow is hidden"))
    assert hidden.severity == "problem"
    assert "torch.where" in hidden.action


def test_batch_normalisation_that_differs_in_eval_mode_is_found():
    model = nn.Sequential(nn.Linear(8, 50), nn.BatchNorm1d(50), nn.ReLU(), nn.Linear(50, 50)).train()
    batch = 30 * normal_batch(32, 8)
    assert not any("eval mode" in finding.sentence for finding in findings(model, batch))  # no batch tracked
    model[1].num_batches_tracked += 1
    drift = next(finding for finding in findings(model, batch) if "eval mode" in finding.sentence)
    # Running statistics of mean 0 and variance 1 pass the raw pre-activation on in eval mode. The layer with
    # the largest ratio is told.
    with torch.no_grad():
        raw = model[0](batch)
        pairs = [(raw, nn.functional.batch_norm(raw, None, None, training=True))]
        for layer in model[2:]:
            pairs.append(tuple(layer(z) for z in pairs[-1]))
        expected = max(float(a.square().mean() / b.square().mean()) for a, b in pairs)
    assert number(r"is (\S+) times as large", drift.sentence) == pytest.approx(expected, rel=0.01)


def test_collapse_of_correlations_names_the_layer():
    dataset = synthetic_profile(30, chi=0.5)
    collapse = next(f for f in INSTRUMENT.findings(dataset) if "indistinguishable" in f.sentence)
    # 0.8 * 0.5^(l - 1) < 0.001 from l = 11 on.
    assert "layer 11 of 30" in collapse.sentence


def test_too_few_layers_are_not_determined():
    found = findings(nn.Linear(6, 3), normal_batch(16, 6))
    assert found[0].sentence == "A phase needs at least 3 layers before the read-out, and there is 1."
    assert "more inputs" not in found[0].action
    assert found[0].severity == "note"


def not_known() -> Estimate:
    return Estimate.not_determined("nothing to fit")


def stream_verdict(
    phase: str, total: float, *, steps: int, growth: str = "none", reason: str = ""
) -> Verdict:
    return Verdict(
        phase=phase,
        margin=Estimate(total / steps, 0.001, "mean", steps),
        total=Estimate(total, 0.05, "sum", steps, (2.0, steps + 1.0)),
        growth=growth,
        signal_depth=not_known(),
        gradient_depth=not_known(),
        reason=reason,
    )


def test_two_steps_are_told_what_a_phase_needs_and_how_much_they_grow():
    # Two layers with chi = 1.9: the square grows 1.9-fold from the first to the last.
    dataset = synthetic_profile(3, chi=1.9)  # the third is the read-out
    found = said.findings(dataset, stream_verdict("not determined", math.log(1.9), steps=1))
    assert found[0].sentence == (
        "A phase needs at least 3 layers before the read-out, and there are 2: between them the square of "
        "a small difference between inputs grows 1.9-fold."
    )
    assert "more inputs" not in found[0].action


def test_a_residual_stream_tells_its_growth_as_a_power():
    dataset = synthetic_blocks(12, chi=1.0157)
    decision = stream_verdict("critical", 24 * math.log(1.0157), steps=24, growth="power")
    first = said.findings(dataset, decision)[0]
    # 1.0157^24 = 1.4535.
    assert first.sentence == (
        "Critical: over 24 steps, the square of a small difference between inputs grows 1.45-fold, as a "
        "power of the depth."
    )


def test_small_differences_that_keep_their_size_are_said_to():
    first = said.findings(synthetic_blocks(12, chi=1.0), stream_verdict("critical", 0.0, steps=24))[0]
    assert first.sentence == "Critical: over 24 steps, small differences between inputs keep their size."


def test_a_stream_that_grows_is_told_the_scale_of_its_branches():
    # Branches of share 1/2 double the signal each; scaled by 1/sqrt(8), eight of them add 8/8 = 1 to it.
    dataset = synthetic_blocks(8, branches=RESIDUAL, chi=2.0, share=0.5)
    first = said.findings(dataset, stream_verdict("exploding", 8 * math.log(2), steps=8))[0]
    assert first.sentence.startswith("Exploding: the signal's mean square grows from 1 to 256 over 9 steps")
    assert number(r"each branch by ([\d.]+):", first.action) == pytest.approx(8**-0.5, rel=0.02)


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        (0.5, None),
        (0.004, "Of 4 branches 4 bring less than 1 % of their sum, least at h.0 (sum)."),
        (0.0, "4 of 4 branches are 0, so that their blocks pass the stream on unchanged."),
        (
            0.998,
            "At 4 of 4 sums the shortcut brings less than 1 % of the sum; the branch brings the rest.",
        ),
    ],
)
def test_branches_that_hardly_contribute_or_drown_the_stream_are_found(share, sentence):
    dataset = synthetic_blocks(4, branches=RESIDUAL, chi=1.0, share=share)
    found = said.findings(dataset, stream_verdict("critical", 0.0, steps=5))
    others = [finding.sentence for finding in found if finding.kind != "phase"]
    assert others == ([] if sentence is None else [sentence])


def test_other_chains_get_a_sentence_each():
    dataset = synthetic_blocks(2)
    chains = [
        {"input": "decoder_input_ids", "steps": 6, "verdict": {}},
        {"input": "input_ids", "steps": 5, "verdict": {"phase": "chaotic", "reason": "it grows 900-fold"}},
        {"input": "mask", "steps": 1, "verdict": {"phase": "not determined", "reason": "1 step is too few"}},
    ]
    dataset = dataset.assign_attrs(chains=json.dumps(chains))
    sentences = [f.sentence for f in said.findings(dataset, stream_verdict("critical", 0.1, steps=5))]
    assert "The chain from input_ids is chaotic: it grows 900-fold." in sentences
    assert "The phase of the chain from mask is not determined: 1 step is too few." in sentences


def test_inputs_that_are_alike_from_the_start_are_not_the_networks_fault():
    dataset = synthetic_profile(6)
    dataset["distance"].values[:] = 1e-5
    found = said.findings(dataset, stream_verdict("critical", 0.1, steps=5))
    assert any(f.sentence.startswith("The inputs are hardly different from the start") for f in found)
    assert not any("become indistinguishable" in f.sentence for f in found)


def test_what_cannot_be_called_is_refused_with_its_name():
    reason = INSTRUMENT.applies("resnet18", normal_batch())
    assert "str" in reason
    with pytest.raises(InputError, match=re.escape(reason)):
        INSTRUMENT.measure("resnet18", normal_batch())


@pytest.mark.parametrize("depth", [1, 2, 3, 200])
@pytest.mark.parametrize("chi", [0.3, 1.0, 1.7])
def test_figures_are_readable_at_any_depth(depth, chi):
    dataset = synthetic_profile(depth, chi=chi)
    drawn = INSTRUMENT.figures(dataset)["propagation"]
    assert [axes.get_title(loc="left") for axes in drawn.axes] == [
        "Signal size",
        "Difference between inputs",
        "Gradient",
    ]
    distance = drawn.axes[1]
    points = 2 * depth - 1
    shown = sum(
        len(line.get_xdata()) for line in distance.lines if line.get_marker() not in ("None", "", "_")
    )
    assert shown >= (points if depth <= 40 else depth - 1)
    assert distance.get_yscale() == "log"
    low, high = distance.get_ylim()
    assert low <= dataset["distance"].min()
    assert high >= dataset["distance"].max()
    ticks = [tick for tick in drawn.axes[0].get_xticks() if 0.5 <= tick <= depth + 0.5]
    assert 1 <= len(ticks) <= 9
    assert all(float(tick).is_integer() for tick in ticks)


def test_branches_are_bars_of_their_share_and_not_points_of_the_stream():
    dataset = synthetic_blocks(3)
    drawn = INSTRUMENT.figures(dataset)["propagation"]
    assert [axes.get_title(loc="left") for axes in drawn.axes][-1] == "Share of each branch"
    assert [bar.get_height() for bar in drawn.axes[-1].patches] == [0.05] * 6
    points = sum(
        len(line.get_xdata()) for line in drawn.axes[0].lines if line.get_marker() not in ("None", "", "_")
    )
    assert points == 1 + 6 + 2  # embedding, sums, norm and read-out


def test_figures_survive_zeros_infinities_and_nothing_at_all():
    rows = 2 * 6 - 1
    broken = np.array([1.0, 1.0, 0.0, np.inf, np.nan, *[np.nan] * (rows - 5)])
    dataset = synthetic_profile(6, changes={"kernel": broken, "gradient": np.full(rows, np.nan)})
    dataset["nonfinite"].values[3:] = 1.0
    figures = INSTRUMENT.figures(dataset)
    assert set(figures) == {"propagation", "units"}
    for drawn in figures.values():
        drawn.canvas.draw()


def test_theory_is_drawn_where_it_exists_and_only_there():
    with_theory = INSTRUMENT.figures(synthetic_profile(10))["propagation"]
    without = INSTRUMENT.figures(synthetic_profile(10, theory=False))["propagation"]
    assert [line.get_label() for line in with_theory.axes[0].lines].count("theory") == 1
    assert [line.get_label() for line in without.axes[0].lines].count("theory") == 0
