"""The coordinate check against closed forms, the table of the maximal-update parametrisation, and itself."""

import copy
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.training import coordinate_check

WIDTHS = (32, 64, 128, 256)
INPUTS, OUTPUTS = 6, 4
_random = torch.Generator().manual_seed(1)
X = torch.randn(16, INPUTS, generator=_random)
BATCH = (X, torch.randn(16, OUTPUTS, generator=_random))


def sgd(parameters, rate=1e-2):
    return torch.optim.SGD(parameters, lr=rate)


def adam(parameters, rate=1e-3):
    return torch.optim.Adam(parameters, lr=rate)


def standard(width, seed):
    """Torch's own initialisation: variance 1/(3 fan_in)."""
    hidden = (nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*hidden, nn.Linear(width, OUTPUTS))


def check(factory, optimizer=None, *, batch=BATCH, loss=None, widths=WIDTHS, seeds=6, steps=2, **rest):
    loss = loss or nn.MSELoss()
    return coordinate_check(
        factory, batch, loss, widths=widths, seeds=seeds, steps=steps, optimizer=optimizer, **rest
    )


def maximal(kind):
    """Table 3 of arXiv:2203.03466, written down by hand, with width 32 as its base."""

    def factory(width, seed):
        model, n = standard(width, seed), width / 32
        with torch.no_grad():
            model[4].weight.mul_(n**-0.5)
        vectors = [model[0].weight, model[0].bias, model[2].bias]  # one axis of the width
        groups = {
            "sgd": [(vectors, n), ([model[2].weight], 1), ([model[4].weight], 1 / n), ([model[4].bias], 1)],
            "adam": [([*vectors, model[4].bias], 1), ([model[2].weight, model[4].weight], 1 / n)],
        }[kind]
        rate = {"sgd": 1e-2, "adam": 1e-3}[kind]
        return model, [{"params": some, "lr": rate * factor} for some, factor in groups]

    return factory


@pytest.fixture(scope="module", params=[sgd, adam], ids=["sgd", "adam"])
def plain(request):
    return request.param, check(standard, request.param)


def test_one_step_of_a_linear_network_is_that_of_the_closed_form():
    drawn = {}

    def linear(width, seed):
        sizes = (INPUTS, width, width, OUTPUTS)
        layers = [nn.Linear(a, b, bias=False).double() for a, b in pairwise(sizes)]
        for layer in layers:
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        drawn.setdefault(width, []).append([layer.weight.detach().numpy().copy() for layer in layers])
        return nn.Sequential(*layers)

    rate, batch = 1e-2, tuple(each.double() for each in BATCH)
    found = check(linear, lambda p: sgd(p, rate), batch=batch, steps=1)
    x, y = (each.numpy() for each in batch)
    for place, width in enumerate(WIDTHS):
        for number, (A, B, C) in enumerate(drawn[width][:6]):
            f = x @ A.T @ B.T @ C.T
            chi = rate * 2 * (f - y) / y.size
            dC, dB, dA = chi.T @ (x @ A.T @ B.T), C.T @ chi.T @ (x @ A.T), B.T @ C.T @ chi.T @ x
            outputs = [x @ (A - dA).T]
            outputs.append(outputs[0] @ (B - dB).T)
            outputs.append(outputs[1] @ (C - dC).T)
            old = [x @ A.T, x @ A.T @ B.T, f]
            expected = [math.sqrt(np.mean((a - b) ** 2)) for a, b in zip(outputs, old, strict=True)]
            measured = [row.moves[0, place, number] for row in found.layers]
            assert measured == pytest.approx(expected, rel=1e-9)
            assert found.layers[1].starts[place, number] == pytest.approx(math.sqrt(np.mean(old[1] ** 2)))
    # Theory for the standard parametrisation and SGD: -1/2, 1/2, 1.
    slopes = [row.changes[0] for row in found.layers]
    for slope, known in zip(slopes, (-0.5, 0.5, 1.0), strict=True):
        assert abs(slope.value - known) < 3 * slope.error + 0.05
        assert slope.error < 0.15


def test_the_standard_parametrisation_is_flagged(plain):
    optimizer, found = plain
    assert not found.passes
    assert [row.name for row in found.layers] == ["0", "2", "4"]
    verdicts = [row.change_verdict for row in found.layers]
    assert verdicts == ["shrinking" if optimizer is sgd else "flat", "growing", "growing"]
    assert all(row.start_verdict == "flat" for row in found.layers[:2])
    known = (-0.5, 0.5) if optimizer is sgd else (0.0, 1.0)
    for row, exponent in zip(found.layers, known, strict=False):
        assert row.changes[0].value == pytest.approx(exponent, abs=0.15)
    assert "does not pass" in str(found)
    assert "the learning rate of 4.weight by (32/width)" in str(found)


def test_the_advice_is_the_published_table(plain):
    optimizer, found = plain
    starts = {each.name: each.start for each in found.advice}
    assert starts == {name: 0.5 if name == "4.weight" else 0.0 for name in starts}
    rates = {each.name: each.rate for each in found.advice}
    vector, hidden, readout = (-1, 0, 1) if optimizer is sgd else (0, 1, 1)
    assert rates == {
        **{"0.weight": vector, "0.bias": vector, "2.weight": hidden, "2.bias": vector},
        **{"4.weight": readout, "4.bias": 0},
    }


def test_after_the_advice_the_check_passes(plain):
    optimizer, found = plain

    def mended(width, seed):
        model = standard(width, seed)
        made = optimizer(model.parameters())
        found.apply(model, made, width)
        return model, made

    again = check(mended, seed=1000)
    assert again.passes, str(again)
    assert again.layers[-1].start_verdict != "growing"
    assert "passes" in str(again)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_the_maximal_update_parametrisation_passes(kind):
    found = check(maximal(kind), {"sgd": sgd, "adam": adam}[kind], seed=500)
    assert found.passes, str(found)
    assert {(each.start, each.rate) for each in found.advice} == {(0.0, 0.0)}
    assert found.layers[-1].start.value == pytest.approx(-0.5, abs=0.2)


def test_a_readout_of_zeros_passes_although_the_first_step_moves_nothing_before_it():
    def factory(width, seed):
        model, groups = maximal("adam")(width, seed)
        nn.init.zeros_(model[4].weight)
        nn.init.zeros_(model[4].bias)
        return model, groups

    found = check(factory, adam, seeds=3)
    assert not found.layers[1].changes[0].determined
    assert found.passes, str(found)
    assert all(not each.start for each in found.advice)


def test_weights_of_variance_one_are_to_be_scaled_at_the_start():
    def factory(width, seed):
        model = standard(width, seed)
        nn.init.normal_(model[2].weight)
        return model

    found = check(factory, adam, seeds=3, steps=1)
    assert found.layers[1].start_verdict == "growing"
    advice = {each.name: each for each in found.advice}
    assert (advice["2.weight"].start, advice["0.weight"].start, advice["4.weight"].start) == (0.5, 0, 0.5)
    assert advice["2.weight"].start_slope.value == pytest.approx(0.5, abs=0.1)


def test_widths_that_diverge_are_named():
    found = check(standard, lambda p: sgd(p, 30.0), widths=(8, 512), seeds=2, steps=8)
    assert not found.passes
    assert any("width 512: 2 of 2 networks not finite" in each for each in found.diverged)
    assert "not finite at width" in found.layers[-1].changes[-1].reason
    assert "width 512" in str(found)
    assert found.layers[-1].change_verdict == "growing"  # from the steps before


def test_what_is_not_finite_at_the_start_is_refused_with_its_width():
    def factory(width, seed):
        model = standard(width, seed)
        if width > 100:
            nn.init.constant_(model[2].weight, math.nan)
        return model

    with pytest.raises(InputError, match="At width 128"):
        check(factory, sgd, seeds=2)


def test_the_users_network_optimiser_and_random_state_are_left_alone():
    kept = {width: standard(width, 0) for width in (16, 32)}
    optimizers = {width: adam(model.parameters()) for width, model in kept.items()}
    before = copy.deepcopy({width: model.state_dict() for width, model in kept.items()})
    state = torch.get_rng_state()
    found = check(lambda width, seed: (kept[width], optimizers[width]), widths=(16, 32), seeds=2)
    assert torch.equal(torch.get_rng_state(), state)
    for width, model in kept.items():
        assert all(torch.equal(value, before[width][name]) for name, value in model.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert len(optimizers[width].param_groups) == 1
        assert not optimizers[width].state
    assert np.ptp(found.layers[0].moves[0, 0]) == 0  # the same network twice


class Tokens(nn.Module):
    """Embedding, attention, norm and a readout that shares the embedding's weights."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Embedding(7, width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.mix = nn.MultiheadAttention(width, 2, batch_first=True, dropout=0.1)
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, 7, bias=False)
        self.read.weight = self.embed.weight

    def forward(self, tokens):
        h = self.embed(tokens)
        return self.read(self.norm(h + self.mix(h, h, h)[0])).flatten(0, 1)


def test_tokens_attention_and_shared_weights_are_measured():
    tokens, targets = torch.randint(0, 7, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    found = check(
        lambda width, seed: Tokens(width),
        adam,
        batch=(tokens, targets.flatten()),
        loss=nn.CrossEntropyLoss(),
        widths=(16, 32, 64),
        seeds=2,
    )
    assert [row.name for row in found.layers] == ["embed", "mix", "norm", "(output)"]
    assert found.layers[-1].change_verdict == "growing"
    advice = {each.name: each for each in found.advice}
    assert {"embed.weight", "mix.in_proj_weight", "mix.out_proj.weight", "norm.weight"} <= set(advice)
    assert advice["embed.weight"].start == 0
    assert any("embed.weight is used by several layers" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"widths": (64,)}, "at least 2 whole numbers"),
        ({"widths": (64, 32)}, "rising order"),
        ({"seeds": 1}, "seeds is 1"),
        ({"steps": 0}, "steps is 0"),
        ({"optimizer": None}, "no optimiser"),
        ({"factory": lambda width, seed: width}, "returned int"),
        ({"factory": lambda width, seed: (nn.Linear(6, 4), 3)}, "a module and int"),
        (
            {
                "factory": lambda w, s: nn.Sequential(
                    *(nn.Linear(6, 6) for _ in range(w // 16)), nn.Linear(6, 4)
                )
            },
            "differ in their layers",
        ),
    ],
)
def test_wrong_arguments_are_told(change, words):
    given = {"factory": standard, "optimizer": sgd, "widths": (16, 32), "seeds": 2, "steps": 1} | change
    with pytest.raises(InputError, match=words):
        check(given.pop("factory"), given.pop("optimizer"), **given)


def test_advice_is_refused_by_another_model(plain):
    _, found = plain
    model = nn.Linear(3, 2)
    with pytest.raises(InputError, match=r"no parameter 0\.weight"):
        found.apply(model, sgd(model.parameters()), 64)
