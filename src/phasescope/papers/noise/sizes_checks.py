"""Claims about LSTMs of many sizes: the exponents' size, where they are, and what they survive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.estimate import Estimate
from phasescope.papers.noise.averages import less, negated, of, over_networks
from phasescope.papers.noise.judging import more_than_chance, no_more_than_chance, positive
from phasescope.papers.noise.observation import QUANTITIES
from phasescope.papers.noise.sizes_numbers import (
    Widths,
    best_accuracy,
    of_units,
    rank_correlation,
    remaining,
    share,
    used,
    widths,
)
from phasescope.studies.check import Check, compare
from phasescope.studies.contract import Table

if TYPE_CHECKING:
    import xarray as xr

PAPER = "arXiv:2301.08530"
_TALK = "arXiv:2301.08530, abstract of v2; Chaos 34, 081101, abstract"
_HERE = "derived here"
INPUT, HIDDEN, SPREAD = 0.002, 0.833, 0.132  # as summaries of the source quote them
HIDDEN_PLACE = QUANTITIES.index("hidden")
GATES = ("input_gate", "forget_gate", "output_gate", "candidate")
_SMOOTH = 2.0
_NO_TEXT = "The source's number is for IMDb, which was not at hand."


def checks(data: xr.Dataset, config: Any) -> list[Check]:
    """Return the checks of the part."""
    found = widths(data, config)
    return [
        *_headline(found, bool(config.imdb)),
        *_internal(found),
        *_capacity(found),
        *_training(found),
        *_nulls(found, bool(config.imdb)),
        *_long(found),
        _embedding(data, config),
    ]


def _headline(found: Widths, real: bool) -> list[Check]:
    data = found.data
    spread = found.mean(of(data, "spread", "words", "hidden"), method="over units and reviews")
    estimator = found.mean(of(data, "estimator", "words", "hidden"))
    note = f"Width {found.plateau}, the smallest within 0.015 of the best accuracy; least squares as it is."
    return [
        compare(
            "sizes/accuracy",
            "Test accuracy at the smallest width of the plateau.",
            PAPER,
            None,
            found.mean(best_accuracy(data)),
            note=f"Width {found.plateau}. The source's accuracies are not known here.",
        ),
        compare(
            "sizes/input-white",
            "The embedded words that enter the LSTM are white noise.",
            PAPER,
            0.0,
            over_networks(of(data, "beta", "words", "input")),
            allowance=0.02,
            note=f"Summaries of the source quote {INPUT} with a spread of 0.116. Allowance 0.02.",
        ),
        compare(
            "sizes/hidden",
            "At the smallest width of the plateau the units of h have beta = 0.833.",
            PAPER,
            HIDDEN if real else None,
            found.mean(of(data, "plain_beta", "words", "hidden")),
            allowance=0.17,
            resolution=0.2,
            note=f"{note} Allowance 0.17: width, length and windows of the source are not known; 0.7 to 1.0 "
            f"is what they leave open. {'' if real else _NO_TEXT}",
        ),
        compare(
            "sizes/hidden-spread",
            "Over units (and reviews) beta of h scatters by 0.132.",
            PAPER,
            SPREAD if real else None,
            spread,
            allowance=0.05,
            resolution=0.05,
            note=f"Here over units and reviews together. Estimator noise alone scatters by {estimator}: a "
            f"spread of 0.132 would leave nothing for differences between units. {'' if real else _NO_TEXT}",
        ),
        positive(
            "sizes/units-differ",
            "The units of one network have different exponents, beyond what the estimator scatters.",
            _HERE,
            found.mean(of(data, "between_units", "words", "hidden"), method="sd between units"),
        ),
    ]


def _internal(found: Widths) -> list[Check]:
    data = found.data
    hidden = of(data, "plain_beta", "words", "hidden")
    made = []
    for quantity in (*GATES, "cell"):
        name = quantity.replace("_", " ")
        made.append(
            positive(
                f"sizes/internal-{quantity.replace('_', '-')}",
                f"Internal before external: beta of the {name} is smaller than that of h.",
                PAPER,
                found.mean(hidden - of(data, "plain_beta", "words", quantity), method="difference"),
                note="beta(h) less that of the quantity, paired by network."
                + (" Whether the source counts c_t as internal is not known." if name == "cell" else ""),
            )
        )
    gates = np.mean([of(data, "plain_beta", "words", gate) for gate in GATES], axis=0)
    before = np.mean([of(data, "plain_beta", "words", f"{gate}_preactivation") for gate in GATES], axis=0)
    made.append(
        compare(
            "sizes/saturation",
            "Gates read lower because they saturate: what enters them has the exponent of h.",
            _HERE,
            1.0,
            found.mean((before - gates) / (hidden - gates), method="share of the difference"),
            allowance=0.25,
            resolution=0.25,
            note="Measured: by how much preactivations exceed gates, over by how much h does; 1 if "
            "saturation explains all, 0 if nothing. Allowance 0.25.",
        )
    )
    return made


def _capacity(found: Widths) -> list[Check]:
    data = found.data
    beta = of(data, "plain_beta", "words", "hidden")
    units = found.units
    deviation, exponents = of_units(data, "unit_deviation"), of_units(data, "unit_beta")
    largest = found.widths[-1]
    apart = used(data) - of(data, "beta", "words", "hidden")
    place = data["participation"].values[:, HIDDEN_PLACE] / units
    idle = data["idle_relative"].values[:, HIDDEN_PLACE] / units
    importance = rank_correlation(data, np.abs(data["ablation"].values), deviation)
    return [
        positive(
            "sizes/falls-with-size",
            "The mean exponent of h falls as the network grows.",
            _TALK,
            negated(found.trend(beta)),
            note="Measured: fall of the mean over units for each doubling of the width, over all widths.",
        ),
        compare(
            "sizes/used-keep",
            "Units in use keep their exponent however large the network is.",
            _TALK,
            0.0,
            found.trend(used(data)),
            allowance=0.05,
            resolution=0.05,
            note="Measured: slope against log2(width) of the mean over units that move at least half as much "
            "as the busiest. Allowance 0.05 a doubling.",
        ),
        positive(
            "sizes/used-above-all",
            f"At width {largest}, units in use have larger exponents than all units together.",
            _TALK,
            found.mean(apart, largest),
        ),
        positive(
            "sizes/little-used",
            "The larger the network, the smaller the share of its units that carry the movement.",
            _TALK,
            negated(found.trend(place)),
            note="Measured: fall of the participation ratio over the width for each doubling.",
        ),
        positive(
            "sizes/idle",
            "The larger the network, the larger its share of idle units.",
            _TALK,
            found.trend(idle),
            note="Idle: moves less than 5 % of the busiest unit.",
        ),
        positive(
            "sizes/idle-are-white",
            "Within a layer, units that move less are whiter.",
            _TALK,
            found.mean(rank_correlation(data, exponents, deviation), largest),
            note=f"Spearman's correlation of a unit's beta with its deviation in time, width {largest}.",
        ),
        positive(
            "sizes/ablation",
            "Units that move more matter more: holding them at their mean changes the test loss by more.",
            _HERE,
            over_networks(importance, "Spearman's correlation over units, networks with at least 8 units"),
        ),
    ]


def _training(found: Widths) -> list[Check]:
    data = found.data
    best = data["best_epoch"].values.astype(int)
    rows = np.arange(len(best))
    epochs = data["epoch_beta"].values
    from_one = np.abs(epochs[:, 1:] - 1)
    at_best = (from_one.argmin(axis=1) == best - 1).astype(float)
    chance = 1 / from_one.shape[1]
    return [
        positive(
            "sizes/rises-by-training",
            "Training raises the exponent of h.",
            _HERE,
            found.mean(epochs[rows, best] - epochs[:, 0], method="difference to epoch 0"),
        ),
        positive(
            "sizes/closest-at-best-epoch",
            "The exponent is closest to 1 at the epoch of the best loss.",
            f"{PAPER}: 1/f noise as a signature of optimal learning",
            less(share(at_best, np.ones_like(at_best), "share of networks"), chance),
            note=f"Measured: share of networks less that by chance, 1/{from_one.shape[1]} epochs.",
        ),
    ]


def _nulls(found: Widths, real: bool) -> list[Check]:
    data = found.data
    tested, short, scaling = (
        found.at(of(data, name, "words", "hidden")) for name in ("tested", "beat_short", "beat_scaling")
    )
    note = "Measured: beta of h under this input over beta under the words, paired by network."
    return [
        compare(
            "sizes/shuffled",
            "Shuffled words take the exponent away: it comes from the order of the words.",
            f"{PAPER}, as a reading; null derived here",
            0.0 if real else 1.0,
            found.mean(remaining(data, "shuffled")),
            allowance=0.1,
            resolution=0.2,
            note=f"{note} 0: it is a property of language; 1: of the network. Allowance 0.1."
            + ("" if real else " Artificial words are independent: 1 is known."),
        ),
        compare(
            "sizes/noise-input",
            "White Gaussian input of the same size takes the exponent away.",
            _HERE,
            0.0,
            found.mean(remaining(data, "noise")),
            allowance=0.1,
            resolution=0.2,
            note=note,
        ),
        compare(
            "sizes/untrained",
            "An untrained network has no such exponent.",
            _HERE,
            0.0,
            found.mean(remaining(data, "untrained")),
            allowance=0.1,
            resolution=0.2,
            note=note,
        ),
        more_than_chance(
            "sizes/short-memory",
            "An autoregressive process fitted to the series does not explain its curve.",
            "arXiv:2301.08530, as what 1/f noise means; null derived here",
            share(short, tested, "share of series that exclude short memory"),
        ),
        no_more_than_chance(
            "sizes/straight",
            "The curves are those of scaling noise: one power law.",
            "arXiv:2301.08530, as what 1/f noise means; null derived here",
            share(scaling, tested, "share of series that exclude scaling noise"),
        ),
        compare(
            "sizes/curvature",
            "The mean curve of ln F(n) of h is straight.",
            "arXiv:2301.08530, as what 1/f noise means",
            0.0,
            found.mean(of(data, "curvature", "words", "hidden")),
            allowance=0.02,
            resolution=0.03,
            note="Coefficient of (ln n)^2; an AR(1) with phi = 0.8 has -0.18. Allowance 0.02.",
        ),
        _rest_and_task(found),
    ]


def _rest_and_task(found: Widths) -> Check:
    data = found.data
    moving, rest, words = (
        found.at(of(data, name, condition, "hidden"))
        for name, condition in (("determined_share", "silence"), ("beta", "silence"), ("beta", "words"))
    )
    # A state on its way to rest moves smoothly: steeper than a random walk, and no noise.
    noisy = (moving > 0.5) & (rest < _SMOOTH)
    measured = over_networks(np.where(noisy, rest - words, np.nan), "difference")
    if not measured.determined:
        measured = Estimate.not_determined(
            f"with zero input h is at rest in {100 * (1 - moving.mean()):.0f} % of the series and on its way "
            "to it in the others: nothing fluctuates"
        )
    return positive(
        "sizes/rest-and-task",
        "At rest, with zero input after the words, beta is larger than during the task.",
        f"{PAPER}, abstract of v1",
        measured,
        note="What v1 means by rest is not known; zero input is the protocol of arXiv:2505.20030. A beta "
        "of 2 or more is taken for smooth relaxation.",
    )


def _long(found: Widths) -> list[Check]:
    data = found.data
    beyond = data["long_beta"].values
    tested, short, scaling = (
        found.at(data[f"long_{name}"].values) for name in ("tested", "beat_short", "beat_scaling")
    )
    return [
        compare(
            "sizes/long-continues",
            "With the state carried from review to review, the exponent goes on in longer windows.",
            _HERE,
            0.0,
            found.mean(beyond[:, 1] - beyond[:, 0], method="difference of exponents"),
            allowance=0.15,
            resolution=0.2,
            note="beta in windows longer than those of one review, less beta in those. Allowance 0.15.",
        ),
        more_than_chance(
            "sizes/long-short-memory",
            "In these long series of the busiest units, short memory is excluded.",
            _HERE,
            share(short, tested, "share of series that exclude short memory"),
        ),
        no_more_than_chance(
            "sizes/long-straight",
            "In these long series of the busiest units, one power law is possible.",
            _HERE,
            share(scaling, tested, "share of series that exclude scaling noise"),
        ),
    ]


def _embedding(data: xr.Dataset, config: Any) -> Check:
    chosen = data.isel(task=np.flatnonzero(data["units"].values == config.sizes.embedded))
    embeddings = np.log2(chosen["embedding"].values.astype(float))
    beta = of(chosen, "plain_beta", "words", "hidden")
    slope = Estimate.not_determined("one embedding size; name more with --set sizes.embeddings=[8,128]")
    if len(set(embeddings.tolist())) > 1:
        by_replica = [
            np.polyfit(embeddings[rows], beta[rows], 1)[0]
            for replica in sorted(set(chosen["replica"].values.tolist()))
            if len(rows := np.flatnonzero(chosen["replica"].values == replica)) > 1
        ]
        slope = over_networks(np.array(by_replica), "slope against log2(embedding)")
    return compare(
        "sizes/embedding",
        f"Change of beta of h for each doubling of the embedding, width {config.sizes.embedded}.",
        PAPER,
        None,
        slope,
        note="The source's embedding size is not known here.",
    )


def tables(data: xr.Dataset, config: Any) -> list[Table]:
    """Return the numbers by width."""
    found = widths(data, config)
    columns = {
        "accuracy": best_accuracy(found.data),
        "beta of h": of(found.data, "beta", "words", "hidden"),
        "least squares": of(found.data, "plain_beta", "words", "hidden"),
        "in use": used(found.data),
        "shuffled": of(found.data, "beta", "shuffled", "hidden"),
        "noise": of(found.data, "beta", "noise", "hidden"),
        "untrained": of(found.data, "beta", "untrained", "hidden"),
        "participation / width": found.data["participation"].values[:, HIDDEN_PLACE] / found.units,
        "idle": found.data["idle_relative"].values[:, HIDDEN_PLACE],
    }
    rows = [
        [str(width), *(str(found.mean(values, width)) for values in columns.values())]
        for width in found.widths
    ]
    gates = ("input", *GATES, "cell", "hidden")
    by_gate = [
        [q.replace("_", " "), *(str(found.mean(of(found.data, "beta", "words", q), w)) for w in found.widths)]
        for q in gates
    ]
    return [
        Table("By width, over networks", ["width", *columns], rows),
        Table("beta by quantity and width", ["quantity", *map(str, found.widths)], by_gate),
    ]
