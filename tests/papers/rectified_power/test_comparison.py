"""Activations on data: what is read, how networks start, how a rate is chosen, what follows from scores."""

import math
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from one_part import analysed, checks, config, draw, run
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers import rectified_power
from phasescope.papers.rectified_power import comparison, protocol

PART = comparison.COMPARISON
TINY = ("depth=3", "width=8", "train=512", "test=100", "rates=0.001,0.01", "scan_steps=4", "steps=6")


def settings(*changes, tiny=True):
    sizes = [f"comparison.{each}" for each in TINY] if tiny else []
    return config(*sizes, *changes, study=rectified_power.STUDY)


def parameters(*changes, **more):
    known = dict(PART.tasks(settings("task=digits", *changes))[0].parameters)
    return known | more


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "factor = torch.tensor([2.0], dtype=torch.float64)\n"
        "def doubled(z):\n    return factor * torch.tanh(z)\n"
        "def inplace(z):\n    return z.relu_()\n"
        "def flat(z):\n    return 0 * z + 1\n"
        "def normed(z):\n    return z / z.norm()\n"
    )
    return path


def test_a_list_of_ones_own_is_measured_and_ranked(tmp_path, own):
    changed = settings(f"activations=tanh,{own}:doubled,TANH", "task=xyz")
    data, analysis, made = run(PART, changed, tmp_path / "out")
    assert data["activation"].values.tolist() == ["tanh", f"{own.resolve()}:doubled"]
    assert {row[0] for row in analysis.tables[0].rows} == {"tanh", "doubled"}
    assert made["xyz-mrepu2-relu"].measured.reason == "mrepu2 is not among the activations"
    assert made["digits-best"].measured.reason == "only task=xyz was asked for"
    assert made["xyz-best"].measured.determined
    assert len(made) == 4 * len(comparison.KINDS)
    assert min(draw(PART, data, changed)) > 10_000


def test_a_file_that_was_edited_is_measured_anew(own):
    changed = settings(f"activations={own}:doubled", "task=xyz")
    before = PART.tasks(changed)[0]
    own.write_text(own.read_text().replace("2.0", "3.0"))
    assert PART.tasks(changed)[0].id != before.id
    with pytest.raises(InputError, match="has changed while the study was running"):
        PART.measure(before, "cpu")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("activations=gelu,mishh", "Unknown activation 'mishh'"),
        ("activations=softmax", "not a function of one pre-activation"),
        ("activations={own}:normed", "mine.py:normed.* is not elementwise"),
        ("activations={own}:absent", "defines no 'absent'"),
        ("activations={own}:flat", "flat has the slope 0 everywhere"),
        ("task=mnits", "task=mnits is no task of this study. There are: digits, mnist"),
        ("task=mnist", "task=mnist has no data. Name them with --set mnist=DIR"),
        ("cifar10=/nowhere", "cifar10=/nowhere is no folder"),
        ("text=/nowhere", "text=/nowhere is no file or folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_measured(own, change, told):
    with pytest.raises(InputError, match=told):
        PART.tasks(settings(change.format(own=own)))


def test_an_activation_from_a_file_keeps_the_precision_and_its_argument(own):
    z = torch.tensor([-1.0, 0.5])
    (doubled, inplace) = (
        protocol.function_of({"activation": f"{own}:{name}", "file_sha256": ""})
        for name in ("doubled", "inplace")
    )
    assert doubled(z).dtype == torch.float32
    assert doubled(z).tolist() == pytest.approx((2 * torch.tanh(z)).tolist())
    assert inplace(z).tolist() == [0.0, 0.5]
    assert z.tolist() == [-1.0, 0.5]


# Made scores: the gain of every network of an activation over a guess, the same on all tasks.
GAINS = {"mrepu2": (0.80, 0.81, 0.82), "repu2": (math.nan, -0.05, 0.02), "relu": (0.85, 0.851, 0.852)}
GUESS = {"text": 2.9, "xyz": 0.0, "digits": 0.1}


def made(task, device):
    known = task.parameters
    gain = np.array(GAINS.get(known["activation"], (0.4, 0.41, 0.42)))
    guess = GUESS[known["data_set"]]
    return {
        "score": guess + gain if known["data_set"] == "digits" else guess - gain,
        "failed": np.where(np.isfinite(gain), -1, 3),
        "loss": np.geomspace(1, 0.1, 18).reshape(3, 6),
        "guess": guess,
        "chosen_rate": known["rates"][0],
        "recommended": 1.0,
        "scan_failed": np.array([0, 1]),
        "scan_loss": np.ones(2),
        "onset": math.nan,
        "onset_error": math.nan,
    }


@pytest.fixture(scope="module")
def made_data(tmp_path_factory):
    return run(replace(PART, measure=made), settings(), tmp_path_factory.mktemp("made"))[0]


@pytest.fixture
def analysis_of(made_data):
    def analysis(**scores):
        data = made_data.copy(deep=True)
        for name, score in scores.items():
            data["score"][(data["activation"] == name) & (data["data_set"] == "digits")] = np.array(score)
        found = analysed(PART, data, settings())
        return found, checks(found.checks)

    return analysis


def test_claims_follow_the_scores_and_divergence_counts_as_the_guess(analysis_of):
    analysis, found = analysis_of()
    for name in ("digits", "text", "xyz"):  # of the last two less is better
        assert found[f"{name}-mrepu2-repu2"].verdict == "agrees"
        # The gains of RePU2: 0 where it diverged, 0 where it is worse than the guess, 0.02.
        assert found[f"{name}-mrepu2-repu2"].measured.value == pytest.approx(0.81 - 0.02 / 3)
        assert found[f"{name}-mrepu2-relu"].verdict == "disagrees"
        assert found[f"{name}-mrepu2-trains"].verdict == "agrees"
        assert found[f"{name}-best"].verdict == "agrees"
        assert "Best: relu" in found[f"{name}-best"].note
    rows = {row[0]: row for row in analysis.tables[0].rows}
    assert next(iter(rows)) == "relu"
    assert rows["repu2"][5] == "1 of 3, from step 3"
    assert rows["relu"][3] == "0.01"  # the second of two rates is the first at which one fails
    assert rows["relu"][6].startswith("0.951")


def test_what_is_equal_within_errors_cannot_be_told_apart(analysis_of):
    _, found = analysis_of(relu=(0.90, 0.95, 0.91), gelu=(0.91, 0.96, 0.90))
    assert found["digits-best"].verdict == "not determined"
    assert "cannot be told from relu" in found["digits-best"].note


def test_an_activation_that_gains_little_is_not_called_trained(analysis_of):
    _, found = analysis_of(mrepu2=(0.30, 0.31, 0.32))
    assert found["digits-mrepu2-trains"].verdict == "disagrees"


def test_a_task_without_its_folder_is_left_out_and_says_which_setting(analysis_of):
    analysis, found = analysis_of()
    reason = "no mnist at hand: name the folder with --set mnist=DIR"
    assert found["mnist-best"].measured.reason == found["mnist-mrepu2-relu"].measured.reason == reason
    assert f"mnist: {reason}." in analysis.notes


def scan(times, low, high, losses, diverged):
    rows = [
        SimpleNamespace(
            rate=rate,
            time_to_target=Estimate(t, 0.1, "", 2),
            final_loss=Estimate(loss, 0.1, "", 2),
            verdicts={"diverged": count},
        )
        for rate, t, loss, count in zip((1e-4, 1e-3, 1e-2), times, losses, diverged, strict=True)
    ]
    limits = [Estimate(x, 0.1, "", 2) if x else Estimate.not_determined("none") for x in (low, high)]
    return SimpleNamespace(rows=rows, recommended_low=limits[0], recommended_high=limits[1])


def test_the_fastest_recommended_rate_is_taken_or_the_lowest_loss_of_those_that_hold():
    assert protocol.best_rate(scan((30, 20, 10), 1e-4, 1e-3, (1, 1, 1), (0, 0, 1))) == 1e-3
    assert protocol.best_rate(scan((9, 9, 9), 0, 0, (0.5, 0.9, 0.1), (0, 0, 1))) == 1e-4
    assert protocol.best_rate(scan((9, 9, 9), 0, 0, (math.nan, 5.0, 9.0), (1, 1, 1))) == 1e-3


def test_networks_that_do_not_begin_are_counted_and_not_scanned():
    # From ten times K_dag RePU3 overflows; one network was asked for, and four were tried.
    known = parameters("activations=repu3", depth=12, K1=3.65)
    found = PART.measure(SimpleNamespace(parameters=known), "cpu")
    assert found["scan_failed"].tolist() == [4, 4]
    assert found["chosen_rate"] == 0.001
    assert found["failed"].tolist() == [0] * 4
    assert np.isnan(found["score"]).all()


def test_the_guess_of_a_text_is_the_entropy_of_its_characters():
    data = protocol.load("text", "", 600, 200)
    counts = Counter(data.y.tolist())
    total = sum(counts.values()) + data.outputs
    expected = -np.mean([math.log((counts[c] + 1) / total) for c in data.test[1].tolist()])
    guess = data.guess.double().expand(1, 200, -1)
    assert float(protocol.scores(guess, data.test[1], "text")) == pytest.approx(expected, rel=1e-6)
    assert 2.5 < expected < 3.5  # nats; uniform over 41 would be 3.71


def test_scores_are_those_of_single_networks():
    torch.manual_seed(0)
    outputs, classes = torch.randn(2, 50, 4), torch.randint(4, (50,))
    found = protocol.scores(outputs, classes, "digits")
    nats = protocol.scores(outputs, classes, "text")
    for number in range(2):
        hits = (outputs[number].argmax(1) == classes).double().mean()
        assert float(found[number]) == float(hits)
        assert float(nats[number]) == pytest.approx(
            float(nn.functional.cross_entropy(outputs[number], classes))
        )
    outputs[1, 3, 2] = math.inf
    assert protocol.scores(outputs, classes, "digits").isnan().tolist() == [False, True]


def test_perceptrons_begin_with_the_kernel_of_their_start():
    known = parameters("activations=mrepu2", width=4000, depth=2)
    data = protocol.load("digits", "", 512, 100)
    model = protocol.network(known, nn.Identity(), data, 3)
    kernels = model[0](data.x).detach().square().mean(1)
    assert float(kernels.max()) == pytest.approx(known["K1"], rel=0.1)
    assert known["K1"] == pytest.approx(1 / (2 * 18 * 3))  # a_1 = 18, three layers


def test_the_residual_network_is_its_formula():
    known = {"channels": 5, "residual": 0.3, "depth": 4, "C_W": 2.0, "C_b": 0.1, "K1": 0.7}
    start = protocol.Start(2.0, 0.1, 0.7)
    model = protocol.Residual(known, nn.Tanh(), start, 4.0).draw(0)
    x = torch.randn(2, 3, 16, 16)
    h = nn.functional.conv2d(x, model.stem.weight, model.stem.bias, stride=2, padding=1)
    for block in model.blocks:
        h = h + 0.3 * torch.tanh(nn.functional.conv2d(h, block.weight, block.bias, padding=1))
    expected = h.mean((2, 3)) @ model.head.weight.T + model.head.bias
    assert torch.allclose(model(x), expected, atol=1e-6)
    wide = protocol.Residual(known | {"channels": 200}, nn.Tanh(), start, 4.0).draw(0)
    assert float(wide.blocks[0].weight.detach().var()) * 200 * 9 == pytest.approx(2.0, rel=0.02)
    assert float(wide.stem.weight.detach().var()) * 27 == pytest.approx((0.7 - 0.1) / 4, rel=0.05)
