import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import alone, checks, config, draw
from phasescope import studies
from phasescope.activations import MRePU
from phasescope.papers import rectified_power
from phasescope.papers.perceptrons import Networks, Start, best_start, largest_of
from phasescope.papers.rectified_power import beyond
from phasescope.papers.rectified_power.beyond import BEYOND, FIXED, LEARNED, SCALED
from phasescope.sweep.task import Task

SETTINGS = config(study=rectified_power.STUDY)
BAD = {"ReLU", "RePU 2, LayerNorm"}  # methods that learn nothing in the made data


def law(task, device):
    """Made data: GELU and tanh are best, learning helps by a tenth, Adam does as predicted."""
    known, random = task.parameters, np.random.default_rng(task.seed)
    depth, method, seeds = known["depth"], known["method"], known["seeds"]
    noise = np.exp(0.02 * random.standard_normal(seeds))
    if known["kind"] == "ladder":
        return {"lasting": np.full(seeds, 2e-3 if method == FIXED else 8e-3)}
    if known["kind"] == "step":
        return {"seen": 0.01 / depth * noise, "predicted": np.full(seeds, 0.01 / depth)}
    error = {"GELU": 0.02, "tanh": 0.02, FIXED: 0.1, LEARNED: 0.09}.get(method, 0.5) * noise
    if method in BAD:
        error = np.where(np.arange(seeds) == 1, math.inf, 0.01)
    made = {"error": error, "valid": 1.1 * error, "best_rate": 1e-3}
    layers = np.ones((seeds, depth - 1))
    return made | ({"power": 2.1 * layers, "shift": 0.9 * layers} if method == LEARNED else {})


def analysed(measure, directory):
    """The run and the checks of the part where the measurement is replaced."""
    finished = studies.run(alone(replace(BEYOND, measure=measure)), SETTINGS, directory, workers=1)
    assert not finished.failed, finished.failed
    return finished, checks(finished.checks)


def test_made_data_are_told_as_they_were_made(tmp_path):
    finished, found = analysed(law, tmp_path)
    assert {check.verdict for check in found.values()} == {"agrees"}
    assert found["scaled-lasts-10"].measured.value == pytest.approx(math.log(4))
    assert found["learned-helps-xyz-10"].measured.value == pytest.approx(math.log(10 / 9), abs=0.03)
    rows = [row for row in finished.analyses["beyond"].tables[0].rows if row[:2] == ["xyz", "20"]]
    assert {row[2] for row in rows if row[-1]} == {"GELU", "tanh"}
    assert [row[4:6] for row in rows if row[2] == "ReLU"] == [["0.01", "0.17"]]
    data = finished.data["beyond"].to_dataset()
    assert min(draw(BEYOND, data, SETTINGS)) > 10_000


def test_claims_that_fail_in_made_data_disagree(tmp_path):
    def other(task, device):
        made, known = law(task, device), task.parameters
        if known["kind"] == "step":
            made["seen"] = made["seen"] / 2
        if known["kind"] == "ladder" and known["method"] == SCALED:
            made["lasting"] = made["lasting"] / 16
        if known["kind"] == "table" and known["method"] == "GELU":
            # It learns where it is chosen, and diverges once where it is confirmed.
            made["valid"] = made["valid"] / 10
            made["error"][-1] = math.inf
        if known["kind"] == "table" and known["method"] == LEARNED:
            made["error"] = 2 * made["error"]
        return made

    _, found = analysed(other, tmp_path)
    assert {check.verdict for check in found.values()} == {"disagrees"}


@pytest.mark.slow
def test_nothing_is_recommended_where_nothing_learns(tmp_path):
    def nothing(task, device):
        made = law(task, device)
        if task.parameters["kind"] == "table":
            made["error"] = np.full_like(made["error"], 0.95)
        return made

    _, found = analysed(nothing, tmp_path)
    assert found["recommended-digits-50"].verdict == "not determined"
    assert found["learned-helps-xyz-10"].verdict == "not determined"


def task(kind, **known):
    blank = {"kind": kind, "steps": 0, "seeds": 2, "seed": 0, "rates": "", "target": "xyz", "method": FIXED}
    return Task("rectified_power", "beyond", blank | {"depth": 5} | known)


def test_the_rate_seen_is_that_of_torchs_adam(monkeypatch):
    monkeypatch.setattr(beyond, "_WIDE", 32)
    seen = beyond.measure(task("step"), "cpu")["seen"]
    x, y = (each[:128].double() for each in beyond._data("xyz")[0])

    def kernels(rate):
        start = best_start("mrepu2", 5)[0]
        sizes = [3, 32, 32, 32, 32, 1]
        networks = Networks(sizes, MRePU(2), start, [0, 7919], largest=largest_of(x), dtype=torch.float64)
        before = networks.preactivations(x)[-2].square().mean(-1).amax(-1)
        adam = torch.optim.Adam(networks.parameters(), lr=rate)
        torch.autograd.backward((networks(x) - y).square().mean((1, 2)).sum())
        adam.step()
        return (networks.preactivations(x)[-2].square().mean(-1).amax(-1) / before).tolist()

    for number in range(2):
        assert kernels(0.99 * seen[number])[number] < 10 < kernels(1.01 * seen[number])[number]


def test_learned_networks_begin_as_fixed_ones_and_have_their_own_powers():
    sizes, start, x = [3, 8, 8, 1], Start(1.0, 0.0, 0.1), torch.randn(5, 3)
    fixed = Networks(sizes, MRePU(2), start, [0, 1])
    learned = beyond.Formed("learned", sizes, MRePU(2), start, [0, 1])
    before = learned(x).detach()
    torch.testing.assert_close(before, fixed(x).detach(), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        learned.learned[1].raw_p[0] += 1
    after = learned(x)
    assert torch.equal(after[1], before[1])
    assert not torch.equal(after[0], before[0])
    torch.autograd.backward(after.sum())
    assert all(p.grad.isfinite().all() for p in learned.parameters())
    assert len(list(learned.parameters())) == 6 + 4


def test_forms_are_what_their_names_say():
    sizes, start, x = [3, 8, 8, 8, 1], Start(1.0), torch.randn(5, 3)
    square = lambda z: torch.relu(z) ** 2  # noqa: E731
    for form in ("residual", "norm"):
        networks = beyond.Formed(form, sizes, square, start, [4])
        h = x @ networks.weights[0][0]
        h = h if form == "residual" else square(nn.functional.layer_norm(h, (8,)))
        for w in networks.weights[1:-1]:
            z = h @ w[0]
            h = h + 0.1 * square(z) if form == "residual" else square(nn.functional.layer_norm(z, (8,)))
        torch.testing.assert_close(networks(x)[0], h @ networks.weights[-1][0])


def test_the_scaled_form_is_the_plain_one_at_a_small_kernel():
    x = torch.linspace(-1, 1, 30, dtype=torch.float64).view(10, 3)
    plain, scaled = (
        Networks([3, *[64] * 10, 1], *beyond._begun(method, 10), [5], largest=1.0, dtype=torch.float64)(x)
        for method in (FIXED, SCALED)
    )
    torch.testing.assert_close(plain, scaled / math.sqrt(2 * 18 * 10), rtol=1e-12, atol=0)


def test_rates_are_chosen_by_the_first_half():
    entry = beyond.measure(task("table", rates="1e-05 0.003", seeds=2, steps=30, method="GELU"), "cpu")
    assert entry["best_rate"] == 0.003
    assert (entry["error"] < 1.0).all()
    diverged = beyond.measure(task("ladder", steps=2, depth=10), "cpu")["lasting"]
    assert (diverged < beyond.LADDER[-1]).all()
