"""Scans of learning rates: against the exact thresholds of quadratics, and what each input leads to."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from phasescope.errors import InputError
from phasescope.training import estimate_cost, range_test, scan_learning_rate

CURVATURES = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)


class Bowl(nn.Module):
    """Puts out the square roots of a quadratic with the given curvatures."""

    def __init__(self, seed, scale=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))
        self.scale = scale

    def forward(self, x):
        return x * self.scale * self.w


def bowl(seed, **more):
    given = {
        "model": Bowl(seed),
        "loss": lambda output: 0.5 * (output**2).sum(),
        "data": CURVATURES.sqrt()[None],
    }
    return given | more


def scan(factory=bowl, rates=(0.1, 0.4), **options):
    return scan_learning_rate(factory, rates, **{"seeds": (0, 1), "steps": 20, "compare": False} | options)


def net(seed, act=nn.Tanh, **more):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(3, 8), act(), nn.Linear(8, 3)).double()
    return {
        "model": model,
        "loss": nn.CrossEntropyLoss(),
        "data": (x[:30], y[:30]),
        "validation": (x[30:], y[30:]),
    } | more


@pytest.fixture(scope="module")
def quadratic():
    return scan(rates=(0.1, 0.2, 0.4, 0.53, 0.8), steps=100, target=1e-3)


def test_the_onset_on_a_quadratic_is_where_the_largest_curvature_multiplies_a_thousandfold(quadratic):
    # |1 - rate h|^steps * (share of a random direction along that curvature) = 1000, a little above 2 / h
    exact = (1 + 1000 ** (1 / 100)) / 4
    assert quadratic.onset.value == pytest.approx(exact, rel=0.02)
    assert quadratic.onset.value > 0.5
    assert 0 < quadratic.onset.error < 0.01
    assert quadratic.onset.n == 2


def test_the_edge_is_two_over_the_largest_curvature(quadratic):
    assert quadratic.edge.value == pytest.approx(0.5, rel=1e-4)
    for row in quadratic.rows:
        assert row.sharpness_start.value == pytest.approx(row.rate * 4 / 2, rel=1e-3)
        assert row.sharpness_ratio.value == pytest.approx(row.rate * 4 / 2, rel=0.03) or row.rate > 0.5


def test_the_exponent_tends_to_the_slowest_decaying_direction(quadratic):
    for row in quadratic.rows[:3]:
        slowest = max(abs(1 - row.rate * h) for h in CURVATURES.tolist())
        assert row.exponent.value == pytest.approx(math.log(slowest), abs=0.03)


def test_the_loss_of_a_quadratic_falls_below_the_edge_and_rises_above_it(quadratic):
    assert [row.rises.value for row in quadratic.rows[:3]] == [0, 0, 0]
    assert [row.rises.value > 0.9 for row in quadratic.rows[3:]] == [True, True]
    assert [row.verdicts for row in quadratic.rows] == [{"regular": 2}] * 3 + [
        {"chaotic": 2},
        {"diverged": 2},
    ]


def test_the_time_to_the_target_is_that_of_the_closed_form(quadratic):
    start = [Bowl(seed).w.detach() for seed in (0, 1)]
    for row in quadratic.rows[:3]:
        times = []
        for w in start:
            losses = [
                float(0.5 * (CURVATURES * (w * (1 - row.rate * CURVATURES) ** t) ** 2).sum())
                for t in range(101)
            ]
            times.append(next((t for t, loss in enumerate(losses) if loss <= 1e-3), math.inf))
        if math.inf in times:
            assert not row.time_to_target.determined
        else:
            assert row.time_to_target.value == np.mean(times)
    assert quadratic.rows[3].failed_share == 1
    assert not quadratic.rows[3].time_to_target.determined


def test_the_recommended_range_holds_the_fastest_rate_and_none_that_fails(quadratic):
    best = min((row for row in quadratic.rows if row.failed_share == 0), key=lambda r: r.time_to_target.value)
    assert quadratic.recommended_low.value <= best.rate <= quadratic.recommended_high.value < 0.5
    assert "both initialisations" in quadratic.reason
    assert "At 0.53, 100% of them do not reach it" in quadratic.reason


@pytest.mark.parametrize(
    ("optimizer", "threshold"),
    [
        (lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.5), 3.0),
        (lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.5, nesterov=True), 1.5),
        (lambda p, rate: torch.optim.SGD(p, lr=rate, weight_decay=0.5), 2.0 * 4 / 4.5),
    ],
    ids=["heavy ball", "nesterov", "weight decay"],
)
def test_the_edge_is_the_optimisers_own(optimizer, threshold):
    found = scan(lambda seed: bowl(seed, optimizer=optimizer), rates=[0.1, 1.0], seeds=[0], steps=60)
    assert found.edge.value == pytest.approx(threshold / 4, rel=1e-4)
    assert found.onset.value == pytest.approx(threshold / 4, rel=0.12)


def test_automatic_rates_span_the_onset_and_refine_the_fastest():
    found = scan(rates=None, steps=40, seeds=[3], target=1e-2)
    assert found.onset.determined
    assert found.rows[0].verdict == "regular"
    assert found.rows[-1].verdict != "regular"
    ratios = np.array(found.rates[1:]) / found.rates[:-1]
    assert ratios.max() == pytest.approx(2, rel=0.1)
    assert ratios.min() == pytest.approx(math.sqrt(2), rel=0.1)


def test_parameter_groups_keep_their_own_rates():
    def groups(parameters, rate):
        return torch.optim.SGD([{"params": parameters, "lr": rate / 10}], lr=1.0)

    found = scan(lambda seed: bowl(seed, optimizer=groups), rates=[1.0, 2.0], seeds=[0])
    assert found.edge.value == pytest.approx(5.0, rel=1e-4)


def test_a_schedule_is_followed_step_by_step():
    def halved_at(step):
        return lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [step], gamma=0.5)

    # twice the rate that is stable for 5 steps, and then for the rest the stable one
    found = scan(lambda seed: bowl(seed, scheduler=halved_at(5)), rates=[0.8, 0.9], seeds=[0], steps=100)
    row = found.rows[0]
    late = [ratio for step, ratio in zip(row.looks, row.sharpness, strict=True) if step >= 5]
    assert row.sharpness[0] == pytest.approx(1.6, rel=1e-3)
    assert late == pytest.approx([0.8] * len(late), rel=0.03)
    assert row.verdict == "regular"
    slow = [math.log(abs(1 - 0.8 * h)) * 5 + math.log(abs(1 - 0.4 * h)) * 95 for h in CURVATURES.tolist()]
    assert row.exponent.value == pytest.approx(max(slow) / 100, abs=0.03)


def test_accumulated_batches_make_one_step():
    halves = [(CURVATURES.sqrt()[None] * math.sqrt(c),) for c in (0.5, 1.5)]
    found = scan(lambda seed: bowl(seed, data=halves, accumulate=2), rates=[0.1, 0.2], seeds=[0])
    whole = scan(rates=[0.1, 0.2], seeds=[0])
    assert found.edge.value == pytest.approx(whole.edge.value, rel=1e-6)
    assert [row.final_loss.value for row in found.rows] == pytest.approx(
        [row.final_loss.value for row in whole.rows]
    )


class Saddle(nn.Module):
    """Starts on top of a double well, whose curvature is -1 there and 2 in the wells; 1/2 across."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[1e-5, 1.0]], dtype=torch.float64))

    def forward(self, x):
        return ((self.w[0, 0] ** 2 - 1) ** 2 + self.w[0, 1] ** 2) / 4 * x


def test_growth_at_a_saddle_is_not_called_a_sharpness_that_rises():
    data = (torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    found = scan(lambda seed: (Saddle(), lambda out, y: out.sum(), data), (0.02, 0.2), seeds=[0], steps=100)
    assert found.edge.value == pytest.approx(4.0, rel=1e-3)
    assert found.onset.value < 0.2
    assert "comes from directions of negative curvature. It need not be chaos" in found.findings[0]


def test_a_network_that_dies_is_told_from_a_stable_one():
    def dying(seed):
        # inputs of about 10, all positive: one step at a high rate takes every unit below zero
        x = torch.rand(20, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 10 + 5
        model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 1)).double()
        with torch.no_grad():
            model[0].weight.abs_()
            model[2].weight.fill_(1.0)
        return {"model": model, "loss": nn.MSELoss(), "data": (x, x.mean(1, keepdim=True))}

    found = scan(dying, rates=[1e-7, 0.1, 0.3], seeds=[0, 1, 2], steps=20)
    assert found.rows[0].verdicts == {"regular": 3}
    assert found.rows[0].dead_units == 0
    for row in found.rows[1:]:
        assert row.verdicts == {"dead": 3}
        assert row.dead_units == 1
        assert row.failed_share == 1
        assert "3 of 3 die" in row.sentence
    assert any("looks stable" in said for said in found.findings)
    assert "3 of 3 networks die before they become chaotic" in found.onset.reason or found.onset.determined


def test_no_rate_is_recommended_beyond_one_at_which_a_network_dies():
    known = {}
    rates = [0.1, 0.2, 0.4]
    options = {"rates": rates, "seeds": [0], "known": known, "target": 0.3, "steps": 20}
    assert scan(**options).recommended_high.value == 0.4
    # the loss at 0.4 is made to rise, so that the strides below it are made, and one of them to die
    key = "full seed=0 rate=0.4"
    known[key] = known[key] | {"final_loss": 1.0}
    stride = np.geomspace(0.2, 0.4, 7)[1]
    known[f"growth seed=0 rate={stride!r}".replace("np.float64(", "").replace(")", "")] = known[key] | {
        "dead": True
    }
    found = scan(**options)
    assert found.recommended_high.value == 0.2
    assert "At 0.2" in found.reason
    assert "a network dies" in found.reason


def test_divergence_names_step_and_rate():
    def cubic(seed):
        return bowl(seed, loss=lambda output: (output**4).sum())

    found = scan(cubic, rates=[1e-3, 10.0], steps=10)
    assert found.rows[-1].verdicts == {"diverged": 2}
    assert found.rows[-1].rate == 10.0
    assert "diverges in 2 of 2, at step" in found.rows[-1].sentence
    assert found.rows[-1].failed_share == 1
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_accuracy_on_validation_data_is_the_score_of_a_classifier():
    found = scan(net, rates=[0.5, 1.0], target=0.8, steps=60)
    assert found.score == "accuracy on validation data"
    setup = {}
    for seed in (0, 1):
        torch.manual_seed(seed)
        given = net(seed)
        model, (x, y), (vx, vy) = given["model"], given["data"], given["validation"]
        optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
        for step in range(61):
            with torch.no_grad():
                if (model(vx).argmax(1) == vy).double().mean() >= 0.8:
                    setup[seed] = step
                    break
            optimiser.zero_grad()
            given["loss"](model(x), y).backward()
            optimiser.step()
    assert found.rows[0].time_to_target.value == np.mean(list(setup.values()))


def test_the_default_target_is_most_of_the_way_to_the_best():
    found = scan(net, rates=[0.5, 1.0], steps=40)
    assert 0.3 < found.target < 1
    assert any(row.time_to_target.determined for row in found.rows)


def test_a_score_of_the_users_own_may_stand_for_validation_data():
    def largest(model):
        return -float(model(CURVATURES.sqrt()[None]).abs().max())

    found = scan(lambda seed: bowl(seed, validation=largest), rates=[0.1, 0.4], target=-0.2)
    assert found.score == "the factory's own score"
    assert found.rows[1].time_to_target.value > 0


def test_global_generators_and_the_users_model_stay_as_they_are():
    made = []

    def remembered(seed):
        given = net(seed)
        made.append((given["model"], [p.detach().clone() for p in given["model"].parameters()]))
        return given

    before = torch.get_rng_state()
    scan(remembered, rates=[0.1, 1.0], steps=10)
    assert torch.equal(torch.get_rng_state(), before)
    for model, weights in made:
        assert all(torch.equal(p, w) for p, w in zip(model.parameters(), weights, strict=True))
        assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_factory_draws_with_its_seed_even_from_the_global_generator():
    first, again = (scan(net, rates=[0.1, 1.0], steps=10) for _ in range(2))
    assert first.to_dict() == again.to_dict()
    other = scan(net, rates=[0.1, 1.0], steps=10, seeds=(5, 6))
    assert other.to_dict()["final_loss"] != first.to_dict()["final_loss"]


def test_a_shuffling_loader_is_read_in_one_order():
    x = torch.randn(24, 3)
    y = torch.arange(24) % 3

    def loaded(seed):
        data = torch.utils.data.TensorDataset(x, y)
        return net(seed, data=torch.utils.data.DataLoader(data, batch_size=8, shuffle=True))

    first, again = (scan(loaded, rates=[0.1, 1.0], steps=10) for _ in range(2))
    assert first.to_dict() == again.to_dict()
    assert any("3 batches" in note for note in first.notes)


def test_an_endless_loader_is_read_as_far_as_the_steps_go():
    def endless(seed):
        def batches():
            while True:
                yield CURVATURES.sqrt()[None]

        return bowl(seed, data=batches())

    assert len(scan(endless, rates=[0.1, 0.2], steps=5, seeds=[0]).rows) == 2


def test_what_is_known_is_not_run_again_and_gives_the_same_bytes():
    known, said = {}, []
    first = scan(net, rates=[0.1, 1.0], steps=10, known=known, compare=True)
    stored = json.loads(json.dumps(known))
    again = scan(net, rates=[0.1, 1.0], steps=10, known=stored, compare=True, progress=said.append)
    assert said == []
    assert again.to_dict() == first.to_dict()
    assert estimate_cost(net, [0.1, 1.0], seeds=(0, 1), steps=10, known=stored).runs < 20


def test_a_scan_goes_on_where_it_was_interrupted():
    known = {}

    def stop(words):
        if len(known) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(net, rates=[0.1, 1.0], steps=10, known=known, progress=stop)
    assert len(known) == 4
    resumed = scan(net, rates=[0.1, 1.0], steps=10, known=known)
    assert resumed.to_dict() == scan(net, rates=[0.1, 1.0], steps=10).to_dict()


def test_a_budget_that_is_too_small_leaves_what_it_allows_undetermined():
    found = scan(net, rates=[0.1, 1.0], steps=2000, budget=1e-6)
    assert found.rows == ()
    assert not found.onset.determined
    assert "budget" in found.onset.reason
    assert "No rate is recommended: the budget ended" in found.reason
    assert any("The budget of 1e-06 s was spent after 0 runs" in note for note in found.notes)
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_a_budget_that_ends_within_the_first_initialisation_recommends_nothing():
    known, rates = {}, [0.1, 0.2, 0.4]
    scan(rates=rates, known=known, seeds=[0])
    kept = {name: each for name, each in known.items() if "rate=0.4" not in name}
    found = scan(rates=rates, known=kept, seeds=[0], budget=1e-9)
    assert found.rates == (0.1, 0.2)
    assert "the budget ended before 1 of 3 rates were run once" in found.reason


def test_a_small_budget_takes_tangents_on_a_part_of_the_batch_and_trains_on_all_of_it():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    data = (x, (x[:, 0] > 0).long())
    known = {}
    cost = estimate_cost(
        lambda seed: net(seed, data=data), [0.1, 1.0], seeds=[0], steps=20, budget=1e-6, known=known
    )
    assert cost.inputs == 32
    part = scan(lambda seed: net(seed, data=data), rates=[0.1, 1.0], seeds=[0], steps=20, known=known)
    whole = scan(lambda seed: net(seed, data=data), rates=[0.1, 1.0], seeds=[0], steps=20)
    assert any("32 fixed inputs" in note for note in part.notes)
    losses = [[row.final_loss.value for row in found.rows] for found in (part, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert part.rows[0].exponent.value != whole.rows[0].exponent.value


def test_the_range_test_on_a_quadratic_stops_at_its_edge():
    found = range_test(bowl, 1e-3, 10.0, seeds=(0, 1, 2), steps=200)
    assert found.rates[0] == pytest.approx(1e-3)
    assert found.rates[-1] == pytest.approx(10.0)
    last = [found.rates[np.isfinite(curve)][-1] for curve in found.losses]
    # the smoothed loss answers late, here by the factor of 1e4 that it has fallen
    assert all(0.5 < rate < 5 for rate in last)
    assert found.steepest.value < 0.5
    lowest = [found.rates[np.nanargmin(curve)] / 10 for curve in found.losses]
    assert found.tenth.value == pytest.approx(np.mean(lowest))


def test_a_range_test_whose_ramps_disagree_is_not_determined():
    def scattered(seed):
        return bowl(seed, model=Bowl(seed, scale=10.0**seed))

    found = range_test(scattered, 1e-6, 10.0, seeds=(0, 1, 2), steps=100)
    assert not found.steepest.determined
    assert "3 initialisations suggest rates from" in found.steepest.reason
    flat = range_test(
        lambda seed: bowl(seed, loss=lambda out: (out**2).sum() * 1e-30 + 1), 1e-3, 1.0, steps=20
    )
    assert "falls nowhere in 3 of 3 ramps" in flat.tenth.reason


def test_the_comparison_says_how_long_training_at_the_suggestion_takes():
    found = scan(rates=(0.1, 0.2), compare=True, target=1e-6)
    assert set(found.suggestions) == {"steepest point", "minimum / 10"}
    for each in found.suggestions.values():
        assert each.failed_share == 1
        assert "2 of 2 never reach 1e-06 in 20 steps" in each.time_to_target.reason
    assert sum(said.startswith("The range test") for said in found.findings) == 2


# What cannot be used, or leads to no number


def test_a_grid_of_one_recommends_nothing():
    found = scan(rates=[0.2], target=0.1)
    assert not found.recommended_low.determined
    assert "a single rate, 0.2, has nothing to be compared with" in found.reason
    assert "regular within 20 steps at all rates up to 0.2; scan higher ones" in found.onset.reason


@pytest.mark.parametrize(
    ("rates", "words"),
    [((0.8, 0.9), "lowest rate, 0.8, is not regular in 2 of 2"), ((0.1, 0.2), "at all rates up to 0.2")],
)
def test_an_onset_outside_the_grid_is_not_determined(rates, words):
    found = scan(rates=rates)
    assert not found.onset.determined
    assert words in found.onset.reason
    assert any(words in said for said in found.findings)


def test_a_target_that_is_never_reached_recommends_nothing():
    found = scan(target=1e-300)
    assert not found.recommended_high.determined
    assert "no rate brings all initialisations to" in found.reason
    assert all(row.failed_share == 1 for row in found.rows)
    assert "2 of 2 never reach" in found.rows[0].time_to_target.reason


def test_a_score_that_never_improves_gives_no_target():
    found = scan(lambda seed: bowl(seed, validation=lambda model: 1.0))
    assert math.isnan(found.target)
    assert "is better after 20 steps than at the start" in found.reason


class Noisy(Bowl):
    def forward(self, x):
        return super().forward(x) + torch.randn(3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rates": [0.0, 0.1]}, "The learning rate 0 cannot"),
        ({"rates": [-0.1]}, "The learning rate -0.1 cannot"),
        ({"rates": [math.nan]}, "The learning rate nan cannot"),
        ({"rates": []}, "No learning rate"),
        ({"rates": 0.1}, "rates is 0.1, not a list"),
        ({"seeds": []}, "seeds is []"),
        ({"seeds": [1, 1]}, "seeds is [1, 1]"),
        ({"steps": 1}, "1 steps are no training"),
        ({"budget": 0}, "The budget is 0 seconds"),
        ({"target": math.inf}, "The target is inf"),
        ({"factory": 3}, "The factory is 3"),
        ({"factory": lambda: bowl(0)}, "does not take one argument, the seed"),
        ({"factory": lambda seed: Bowl(seed)}, "The factory returned Bowl"),
        ({"factory": lambda seed: (Bowl(seed), None)}, "The factory returned a tuple of 2"),
        ({"factory": lambda seed: {"model": Bowl(seed)}}, "lacks loss, data"),
        ({"factory": lambda seed: bowl(seed, optimiser=1)}, "has optimiser"),
        ({"factory": lambda seed: bowl(seed, model=3)}, "model is int, not a torch.nn.Module"),
        ({"factory": lambda seed: bowl(seed, loss=3)}, "The loss is 3"),
        ({"factory": lambda seed: bowl(seed, target="x")}, "target is 'x'"),
        ({"factory": lambda seed: bowl(seed, accumulate=0)}, "accumulate is 0"),
        (
            {"factory": lambda seed: bowl(seed, optimizer=torch.optim.SGD(Bowl(0).parameters(), lr=1))},
            "optimizer is SGD",
        ),
        ({"factory": lambda seed: bowl(seed, optimizer=lambda p, rate: 3)}, "optimizer returned int"),
        (
            {"factory": lambda seed: bowl(seed, optimizer=lambda p, rate: torch.optim.Adagrad(p, lr=rate))},
            "Adagrad has no map here",
        ),
        ({"factory": lambda seed: bowl(seed, scheduler=lambda o: 3)}, "scheduler returned int"),
        (
            {
                "factory": lambda seed: bowl(
                    seed, scheduler=lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o)
                )
            },
            "scheduler returned ReduceLROnPlateau",
        ),
        (
            {
                "factory": lambda seed: bowl(
                    seed,
                    optimizer=lambda p, rate: torch.optim.SGD(p, lr=rate, momentum=0.9),
                    scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=30),
                )
            },
            "OneCycleLR changes the momentum",
        ),
        (
            {
                "factory": lambda seed: bowl(
                    seed,
                    scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(
                        o, 0.1, total_steps=10, cycle_momentum=False
                    ),
                )
            },
            "OneCycleLR ends after",
        ),
        ({"factory": lambda seed: bowl(seed, loss=lambda out: out)}, "The loss has shape"),
        ({"factory": lambda seed: bowl(seed, loss=lambda out: out.sum() * math.nan)}, "at the start is nan"),
        ({"factory": lambda seed: bowl(seed, model=Noisy(seed))}, "not deterministic"),
    ],
)
def test_what_cannot_be_used_is_told(options, words):
    with pytest.raises(InputError) as caught:
        scan(**options)
    assert words in str(caught.value)
    assert caught.value.fix


def test_what_an_inspection_reads_of_the_same_factory_is_no_obstacle():
    more = {"batch": torch.ones(3), "property": lambda output: output.sum(), "properties": {}}
    found = [
        scan_learning_rate(lambda seed, kept=kept: bowl(seed, **kept), rates=[0.1], seeds=[0], steps=5)
        for kept in ({}, more)
    ]
    assert found[0].rows[0].final_loss == found[1].rows[0].final_loss


@pytest.mark.parametrize(("low", "high", "steps"), [(0, 1, 50), (1, 1, 50), (0.1, math.inf, 50), (0.1, 1, 9)])
def test_a_ramp_that_does_not_rise_is_refused(low, high, steps):
    with pytest.raises(InputError):
        range_test(bowl, low, high, steps=steps)


# Digits, against numbers of an independent run


def digits(act, scale):
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = torch.tensor(images[order] / 16), torch.tensor(labels[order])

    def factory(seed):
        draw = np.random.default_rng(2000 + seed)
        model = nn.Sequential(nn.Linear(64, 64), act(), nn.Linear(64, 10)).double()
        with torch.no_grad():
            for layer in (model[0], model[2]):
                layer.weight.copy_(torch.tensor(draw.standard_normal(layer.weight.shape) * scale))
                layer.bias.zero_()
        return {
            "model": model,
            "loss": nn.CrossEntropyLoss(),
            "data": (x[:1400], y[:1400]),
            "validation": (x[1400:], y[1400:]),
            "target": 0.9,
        }

    return factory


@pytest.mark.slow
def test_the_onset_of_a_tanh_network_on_digits_is_far_above_its_sharpness_at_the_start():
    found = scan(digits(nn.Tanh, 1.0), rates=[0.22, 0.45, 0.89, 1.78, 3.56], seeds=range(4), steps=201)
    assert abs(found.onset.value - 1.78) < 2 * math.hypot(found.onset.error, 0.11)
    assert found.edge.value == pytest.approx(0.34, abs=0.03)
    assert "times higher" in found.findings[0]
    # independent run: steps to 90 % at the onset 34 23 25 17, at twice that 162 and more, half never
    times = {row.rate: row.time_to_target for row in found.rows}
    assert times[1.78].value == pytest.approx(np.mean([34, 23, 25, 17]), abs=3)
    assert times[0.89].value > times[1.78].value
    assert found.rows[-1].failed_share >= 0.5
    assert found.recommended_low.value <= 1.78 <= found.recommended_high.value


@pytest.mark.slow
def test_the_fastest_rate_of_a_relu_network_on_digits_is_below_its_onset():
    found = scan(digits(nn.ReLU, 1 / 8), rates=[0.37, 0.75, 1.49, 2.98, 11.9], seeds=range(4), steps=201)
    assert abs(found.onset.value - 1.49) < 2 * math.hypot(found.onset.error, 0.07)
    assert found.recommended_high.value < found.onset.value
    assert "dead" in found.rows[-1].verdicts
    assert found.rows[-1].failed_share == 1
