"""LSTMs of many sizes that classify texts: their exponents against size, epoch, gate, and null.

The claims are those of arXiv:2301.08530 (Chaos 34, 081101): the inputs are white, h is near 1/f noise, which
the network makes by itself, gates have smaller exponents, and exponents fall where a network is larger than
its task. Each is held against what else makes an exponent: order of the words, no training, short memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from phasescope import plotting
from phasescope.estimate import Estimate
from phasescope.noise import expected_fluctuation
from phasescope.papers.noise.networks import (
    COMPARED,
    GATES,
    ORDERS,
    QUANTITIES,
    NetworkPart,
    Networks,
    draw_against_width,
    draw_over_white,
    draw_points,
    idle_are_white_claim,
    label_windows,
    little_used_claim,
    long_windows,
    network_task,
    null_claims,
    paired,
    rank_correlation,
    relaxations_check,
    share,
    text_source,
)
from phasescope.papers.noise.shared import over_networks, slopes, window_lengths
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, shades
from phasescope.studies.part import Panels, Settings, Table, chosen
from phasescope.sweep.task import Task

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

INPUT, HIDDEN, SPREAD = 0.002, 0.833, 0.132  # as summaries of the source quote them
_PAPER = "arXiv:2301.08530"
_TALK = f"{_PAPER}, abstract of v2; Chaos 34, 081101, abstract"
_INSIDE = f"{_PAPER}: 1/f noise in the activations, none in the inputs"
_MEANT = f"{_PAPER}, as what 1/f noise means"
_NO_TEXT = "The source's number is for IMDb, which was not at hand."
# Mean exponents of fMRI over 21 regions of the brain, at a task and at rest.
FMRI, _HE = (0.69, 0.83), "He, J. Neurosci. 31, 13786 (2011), fig. 7"
# Of the electric potential on the surface of the brain, below 70 Hz, and its error there.
POTENTIAL, _MILLER = (2.0, 0.4), "Miller et al., arXiv:0712.0846, abstract"
_LIKENESS = (
    "Exponents that are alike say nothing of a mechanism: a leaky integrator with a forget gate of 0.8 has "
    "such ones as well, and a word is no second."
)
_LONGEST_MEMORY = 0.98  # coefficient of an AR(1) process
_SMOOTH = 2.0  # a steeper beta is that of a smooth relaxation


class SizesSettings(Settings):
    """Sizes of the sweep over LSTMs."""

    units: tuple[int, ...] = (2, 4, 8, 16, 32)  # widths of the LSTM, ascending
    networks: int = 3  # networks of each width, that differ in their seeds alone; at least 3 for an error
    embeddings: tuple[int, ...] = ()  # further embedding sizes, at the width `embedded`, 3 networks of each
    embedded: int = 16  # one of `units`
    ablate_up_to: int = 8  # largest width at which every unit is ablated


QUICK = SizesSettings()
PAPER = SizesSettings(units=(4, 8, 16, 32, 64, 128), networks=6, embeddings=(128,), ablate_up_to=32)
_EMBEDDED = 3  # networks of each further embedding size


def tasks(config: Any) -> list[Task]:
    """Return one task a network, the largest first, so that no worker is left with one at the end."""
    settings: SizesSettings = config.sizes
    sizes = [(units, config.embedding, settings.networks) for units in settings.units]
    sizes += [(settings.embedded, embedding, _EMBEDDED) for embedding in settings.embeddings]
    networks = [(units, embedding, replica) for units, embedding, count in sizes for replica in range(count)]
    texts = text_source(config)
    most = max(*settings.units, *settings.embeddings, config.embedding)
    return [
        network_task(
            "sizes",
            config,
            replica,
            architecture="lstm",
            units=units,
            seconds=8 + config.epochs * texts["train"] * (2e-4 + 1.3e-6 * units + 6e-8 * units**2),
            embedding=embedding,
            most_units=most,
            ablate=units <= settings.ablate_up_to and embedding == config.embedding,
            **texts,
        )
        for units, embedding, replica in sorted(networks, reverse=True)
    ]


@dataclass(frozen=True)
class Numbers:
    """The networks whose embedding all widths share, and what the others tell of the embedding."""

    config: Any
    networks: Networks
    embedding_slope: Estimate

    @property
    def best(self) -> Networks:
        """The networks of the smallest width of the plateau."""
        return self.networks.best

    @cached_property
    def checks(self) -> list[Check]:
        """All claims, which one of the tables quotes."""
        return [
            *_headline_claims(self),
            *_internal_claims(self),
            *_capacity_claims(self),
            *_training_claims(self),
            *_input_claims(self),
            *_null_claims(self),
            *_order_claims(self),
            *_brain_claims(self),
            _rest_and_task(self),
            *_carried_claims(self),
            Claim(
                "embedding",
                "Change of beta of h for each doubling of the embedding, width "
                f"{self.config.sizes.embedded}.",
                _PAPER,
            ).equals(None, self.embedding_slope, note="The source's embedding size is not known here."),
        ]


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    networks = Networks(chosen(data, embedding=config.embedding))
    slope = _embedding_slope(Networks(chosen(data, units=config.sizes.embedded)))
    return Numbers(config, networks, slope)


def _embedding_slope(some: Networks) -> Estimate:
    embeddings = np.log2(some.data["embedding"].values.astype(float))
    if len(set(embeddings.tolist())) < 2:
        return Estimate.not_determined("one embedding size; name more with --set sizes.embeddings=[8,128]")
    beta, replicas = some.of("plain_beta"), some.data["replica"].values
    by_replica = [
        np.polyfit(embeddings[rows], beta[rows], 1)[0]
        for replica in sorted(set(replicas.tolist()))
        if len(rows := np.flatnonzero(replicas == replica)) > 1
    ]
    return over_networks(np.array(by_replica), "slope against log2(embedding)")


def claims(n: Numbers) -> list[Check]:
    """Return what holds against size, epoch, gates and nulls."""
    return n.checks


def _headline_claims(n: Numbers) -> list[Check]:
    real, width = bool(n.config.imdb), n.networks.plateau
    return [
        Claim("accuracy", "Test accuracy at the smallest width of the plateau.", _PAPER).equals(
            None,
            over_networks(n.best.accuracy),
            note=f"Width {width}. The source's accuracies are not known here.",
        ),
        Claim("input-white", "The embedded words that enter the LSTM are white noise.", _PAPER).equals(
            0.0,
            n.networks.mean("beta", quantity="input"),
            allowance=0.02,
            note=f"Summaries of the source quote {INPUT} with a spread of 0.116. Allowance 0.02.",
        ),
        _at_every_plateau(n, partial(_hidden, real=real)),
        _at_every_plateau(n, partial(_spread, real=real)),
        Claim(
            "units-differ",
            "The units of one network have different exponents, beyond what the estimator scatters.",
        ).positive(over_networks(n.best.of("between_units"), "sd between units")),
    ]


def _hidden(some: Networks, *, real: bool) -> Check:
    return Claim(
        "hidden", "At the smallest width of the plateau the units of h have beta = 0.833.", _PAPER
    ).equals(
        HIDDEN if real else None,
        some.mean("plain_beta"),
        allowance=0.17,
        resolution=0.2,
        note="Least squares as it is. Allowance 0.17: length and windows of the source are not known; 0.7 to "
        f"1.0 is what they leave open. {'' if real else _NO_TEXT}",
    )


def _spread(some: Networks, *, real: bool) -> Check:
    return Claim("hidden-spread", "Over units (and reviews) beta of h scatters by 0.132.", _PAPER).equals(
        SPREAD if real else None,
        over_networks(some.of("spread"), "over units and reviews"),
        allowance=0.05,
        resolution=0.05,
        note="Here over units and reviews together. Estimator noise alone scatters by "
        f"{some.mean('estimator')}: a spread of 0.132 would leave nothing for differences between "
        f"units. {'' if real else _NO_TEXT}",
    )


def _at_every_plateau(n: Numbers, check: Callable[[Networks], Check]) -> Check:
    """Return a check at the plateau, with a verdict only where all widths that may be it agree on one."""
    networks = n.networks
    by_width = {width: check(networks.at(width)) for width in networks.plateaus or [networks.plateau]}
    here = by_width.get(networks.plateau) or check(n.best)
    each = "; ".join(f"width {width}: {found.measured}, {found.verdict}" for width, found in by_width.items())
    rule = "Where the plateau begins is known as far as accuracies are; a verdict needs all these widths."
    if len({found.verdict for found in by_width.values()}) == 1:
        return replace(here, note=f"{rule} {each[:1].upper()}{each[1:]}. {here.note}")
    note = f"The verdict hangs on where the plateau begins, which the accuracies leave open: {each}. "
    return replace(here, verdict="not determined", note=note + here.note)


def _internal_claims(n: Numbers) -> list[Check]:
    hidden = n.best.of("plain_beta")
    made = []
    for quantity in (*GATES, "cell"):
        note = "beta(h) less that of the quantity, paired by network."
        if quantity == "cell":
            note += " Whether the source counts c_t as internal is not known."
        made.append(
            Claim(
                f"internal-{quantity.replace('_', '-')}",
                f"Internal before external: beta of the {quantity.replace('_', ' ')} is smaller than that of "
                "h.",
                _PAPER,
            ).positive(
                over_networks(hidden - n.best.of("plain_beta", quantity=quantity), "difference"), note=note
            )
        )
    gates, before = (
        np.mean([n.best.of("plain_beta", quantity=f"{gate}{ending}") for gate in GATES], axis=0)
        for ending in ("", "_preactivation")
    )
    saturation = Claim(
        "saturation", "Gates read lower because they saturate: what enters them has the exponent of h."
    ).equals(
        1.0,
        over_networks((before - gates) / (hidden - gates), "share of the difference"),
        allowance=0.25,
        resolution=0.25,
        note="Measured: by how much preactivations exceed gates, over by how much h does; 1 if "
        "saturation explains all, 0 if nothing. Allowance 0.25.",
    )
    return [*made, saturation]


def _capacity_claims(n: Numbers) -> list[Check]:
    networks, widest = n.networks, n.networks.widest
    return [
        Claim("falls-with-size", "The mean exponent of h falls as the network grows.", _TALK).positive(
            -networks.trend(networks.of("plain_beta")),
            note="Measured: fall of the mean over units for each doubling of the width, over all widths.",
        ),
        Claim("used-keep", "Units in use keep their exponent however large the network is.", _TALK).equals(
            0.0,
            networks.trend(n.networks.used),
            allowance=0.05,
            resolution=0.05,
            note="Measured: slope against log2(width) of the mean over units that move at least half as much "
            "as the busiest. Allowance 0.05 a doubling.",
        ),
        Claim(
            "used-above-all",
            f"At width {networks.largest}, units in use have larger exponents than all units together.",
            _TALK,
        ).positive(over_networks(widest.used - widest.of("beta"))),
        little_used_claim(networks, _TALK),
        Claim("idle", "The larger the network, the larger its share of idle units.", _TALK).positive(
            networks.trend(networks.of("idle_relative") / networks.units),
            note="Idle: moves less than 5 % of the busiest unit.",
        ),
        idle_are_white_claim(networks, _TALK),
        Claim(
            "ablation",
            "Units that move more matter more: holding them at their mean changes the test loss by more.",
        ).positive(
            over_networks(
                rank_correlation(np.abs(networks.of("ablation")), networks.of("unit_deviation")),
                "Spearman's correlation over units, networks with at least 8 units",
            )
        ),
    ]


def _training_claims(n: Numbers) -> list[Check]:
    kept = n.networks.of("best_epoch").astype(int)
    from_one = np.abs(n.networks.of("epoch_beta")[:, 1:] - 1)
    closest = (from_one.argmin(axis=1) == kept - 1).astype(float)
    epochs, best = n.best.of("epoch_beta"), n.best.of("best_epoch").astype(int)
    rise = epochs[np.arange(len(best)), best] - epochs[:, 0]
    return [
        Claim("rises-by-training", "Training raises the exponent of h.").positive(
            over_networks(rise, "difference to epoch 0")
        ),
        Claim(
            "closest-at-best-epoch",
            "The exponent is closest to 1 at the epoch of the best loss.",
            f"{_PAPER}: 1/f noise as a signature of optimal learning",
        ).positive(
            share(closest, np.ones_like(closest), "share of networks") - 1 / from_one.shape[1],
            note=f"Measured: share of networks less that by chance, 1/{from_one.shape[1]} epochs.",
        ),
    ]


def _input_claims(n: Numbers) -> list[Check]:
    words = n.best.of("plain_beta")
    known = np.where(words > 0.1, words, np.nan)

    def remaining(condition: str) -> np.ndarray:
        """Return beta under a condition over beta under the words, network by network."""
        return np.asarray(n.best.of("plain_beta", condition) / known)

    def kept(claim: Claim, condition: str, expected: float = 1.0) -> Check:
        return claim.equals(
            expected,
            over_networks(remaining(condition)),
            allowance=0.1,
            resolution=0.2,
            note="Measured: beta of h under this input over beta under the words, paired by network. "
            "Allowance 0.1.",
        )

    return [
        kept(
            Claim(
                "shuffled",
                "The network makes the noise: with shuffled words h keeps its exponent.",
                _INSIDE,
            ),
            "shuffled",
        ),
        kept(
            Claim(
                "noise-input",
                "The network makes the noise: with white Gaussian input of the same size h keeps its "
                "exponent.",
                _INSIDE,
            ),
            "noise",
        ),
        Claim(
            "not-language",
            "It is not the memory of language: the order of the words makes no part of the exponent.",
            "asked here",
        ).equals(
            0.0,
            over_networks(1 - remaining("shuffled")),
            allowance=0.1,
            resolution=0.1,
            note="Measured: the part of beta of h that shuffling takes away; 1 if the noise were the memory "
            "of language. Allowance 0.1.",
        ),
        kept(
            Claim("untrained", "An untrained network has no such exponent.", "asked here"), "untrained", 0.0
        ),
    ]


def _null_claims(n: Numbers) -> list[Check]:
    return [
        *null_claims(n.best, f"{_MEANT}; null derived here"),
        Claim("curvature", "The mean curve of ln F(n) of h is straight.", _MEANT).equals(
            0.0,
            n.best.mean("curvature"),
            allowance=0.02,
            resolution=0.03,
            note="Coefficient of (ln n)^2; an AR(1) with phi = 0.8 has -0.18. Allowance 0.02.",
        ),
    ]


def _order_claims(n: Numbers) -> list[Check]:
    """Return what more detrending changes: nothing for a power law, more for a memory inside the windows."""
    first = n.best.of("plain_beta")
    windows = window_lengths(*n.config.windows)
    return [
        Claim(
            f"order-{order}",
            f"Detrending of order {order} gives h the exponent of order 1, as it does for one power law.",
            f"{_MEANT}; asked here",
        ).equals(
            0.0,
            over_networks(detrended - first, "difference of exponents, least squares"),
            allowance=0.05,
            resolution=0.05,
            note="A memory of the exponent of order 1 that ends inside the windows, AR(1), reads "
            f"{_short_memory_shift(float(first.mean()), windows, order):.2f} more (exact). Allowance 0.05.",
        )
        for order, detrended in zip(ORDERS, n.best.of("order_beta").T, strict=True)
    ]


def _short_memory_shift(beta: float, windows: np.ndarray, order: int) -> float:
    """Return by how much more the AR(1) process of exponent `beta` at order 1 reads at another order."""
    lags = np.arange(windows[-1] + 1.0)

    def exponent(memory: float, order: int) -> float:
        exact, white = (
            expected_fluctuation(memory**lags, windows, order),
            expected_fluctuation(0.0**lags, windows, order),
        )
        flat = np.log(exact / white)
        return float(2 * slopes(flat, np.log(windows)))

    if not 0.0 < beta < exponent(_LONGEST_MEMORY, 1):
        return math.nan
    memory = brentq(lambda memory: exponent(memory, 1) - beta, 0.0, _LONGEST_MEMORY)
    return exponent(memory, order) - beta


def _brain_claims(n: Numbers) -> list[Check]:
    real = bool(n.config.imdb)
    return [_at_every_plateau(n, partial(check, real=real)) for check in (_fmri, _potentials)]


def _fmri(some: Networks, *, real: bool) -> Check:
    low, high = FMRI
    return Claim(
        "like-fmri",
        f"The exponent of h is that of human fMRI: {low} at a task to {high} at rest, over 21 regions.",
        f"{_PAPER}, abstract (some resemblance); numbers: {_HE}",
    ).equals(
        (low + high) / 2 if real else None,
        some.mean("plain_beta"),
        allowance=(high - low) / 2,
        resolution=0.1,
        note=f"Least squares. Expected: the middle; allowance: half the range. {_LIKENESS}",
    )


def _potentials(some: Networks, *, real: bool) -> Check:
    value, error = POTENTIAL
    by_quantity = {
        quantity: some.mean("plain_beta", quantity=quantity) for quantity in (*GATES, "cell", "hidden")
    }
    name, steepest = max(by_quantity.items(), key=lambda item: float(np.nan_to_num(item[1].value)))
    claim = Claim(
        "like-potentials",
        "An activation of the LSTM has an exponent above 1, as field potentials of the brain have.",
        f"arXiv:2301.08530v1, abstract (EEG as an analogy); {_HE}, abstract; {_MILLER}: {value} ± {error} "
        "below 70 Hz",
    )
    note = (
        f"Measured: the largest exponent of all quantities, that of the {name.replace('_', ' ')}, less 1. "
        f"{_LIKENESS}"
    )
    return claim.positive(steepest - 1, note=note) if real else claim.equals(None, steepest - 1)


def _rest_and_task(n: Numbers) -> Check:
    moving, rest = n.best.of("determined_share", "silence"), n.best.of("beta", "silence")
    # A state on its way to rest moves smoothly: steeper than a random walk, and no noise.
    noisy = (moving > 0.5) & (rest < _SMOOTH)
    measured = over_networks(np.where(noisy, rest - n.best.of("beta"), np.nan), "difference")
    if not measured.determined:
        relaxing = "" if moving.max() == 0 else ", the others fall smoothly to it"
        measured = Estimate.not_determined(
            f"with zero input {100 * (1 - moving.mean()):.0f} % of the series of h have no exponent, being "
            f"at rest or a transient towards it{relaxing}: nothing fluctuates"
        )
    return Claim(
        "rest-and-task",
        "At rest, with zero input after the words, beta is larger than during the task.",
        f"{_PAPER}, abstract of v1",
    ).positive(
        measured,
        note="What v1 means by rest is not known; zero input is the protocol of arXiv:2505.20030. A beta "
        "of 2 or more is taken for smooth relaxation.",
    )


def _carried_claims(n: Numbers) -> list[Check]:
    within, beyond = n.best.of("long_beta").T
    return [
        Claim(
            "long-continues",
            "With the state carried from review to review, the exponent goes on in longer windows.",
        ).equals(
            0.0,
            over_networks(beyond - within, "difference of exponents"),
            allowance=0.15,
            resolution=0.2,
            note="beta in windows longer than those of one review, less beta in those. Allowance 0.15.",
        ),
        Claim(
            "long-short-memory", "In these long series of the busiest units, short memory is excluded."
        ).more_than_chance(n.best.excluding("short memory", carried=True)),
        relaxations_check(
            Claim(
                "long-few-relaxations",
                "In these long series of the busiest units, two to four relaxation times are excluded.",
            ),
            n.best.excluding("a few relaxation times", carried=True),
        ),
        Claim(
            "long-straight", "In these long series of the busiest units, one power law is possible."
        ).more_than_chance(n.best.excluding("scaling noise", carried=True), wanted=False),
    ]


def tables(n: Numbers) -> list[Table]:
    columns = ["accuracy", "beta of h", "least squares", "in use", "shuffled", "noise", "untrained"]
    columns += ["participation / width", "idle"]
    by_width = []
    for width in n.networks.widths:
        some = n.networks.at(width)
        values = [
            some.accuracy,
            some.of("beta"),
            some.of("plain_beta"),
            some.used,
            *(some.of("beta", condition) for condition in ("shuffled", "noise", "untrained")),
            some.of("participation") / width,
            some.of("idle_relative"),
        ]
        by_width.append([str(width), *(str(over_networks(value)) for value in values)])
    by_quantity = [
        [
            quantity.replace("_", " "),
            *(str(n.networks.at(width).mean("beta", quantity=quantity)) for width in n.networks.widths),
        ]
        for quantity in ("input", *GATES, "cell", "hidden")
    ]
    return [
        _claims_table({check.id: check for check in n.checks}),
        _plateau_table(n.networks),
        Table("By width, over networks", ["width", *columns], by_width),
        Table("beta by quantity and width", ["quantity", *map(str, n.networks.widths)], by_quantity),
    ]


def _claims_table(checks: dict[str, Check]) -> Table:
    """Return the claims of arXiv:2301.08530 in three columns, with the numbers of this run in the third."""

    def said(id: str) -> str:
        return f"{checks[id].measured} ({checks[id].verdict})"

    rows = [
        [
            "The inputs are white: beta 0.002, spread 0.116.",
            "Length of the series, windows, estimator. White noise of 500 words scatters by 0.117 in windows "
            "of 10 to 125.",
            f"beta of the input {said('input-white')}.",
        ],
        [
            "h is near 1/f noise: beta 0.833, spread 0.132.",
            "Width, embedding, vocabulary, padding, optimiser and epochs; whether the spread is over "
            "neurons, reviews or both.",
            f"beta {said('hidden')}, spread {said('hidden-spread')}; the next table has every width that may "
            f"be meant. Series that exclude short memory: {said('short-memory')}; that exclude two to four "
            f"relaxation times: {said('few-relaxations')}; that exclude one power law: {said('straight')}. "
            f"Detrending of order 2 reads {said('order-2')} more, of order 3 {said('order-3')}. With the "
            f"state carried on, beta in longer windows is larger by {said('long-continues')}; there short "
            f"memory is excluded by {said('long-short-memory')}, two to four relaxation times by "
            f"{said('long-few-relaxations')}, one power law by {said('long-straight')}. In brackets, what "
            "becomes of the claim.",
        ],
        [
            "The noise is made inside the network: it is absent in the inputs.",
            "Whether it needs the order of the words, or training.",
            f"Of beta remain with shuffled words {said('shuffled')}, with white noise as input "
            f"{said('noise-input')}: the network makes it. Asked here: the order of the words makes "
            f"{said('not-language')} of it, and {said('untrained')} is there before training.",
        ],
        [
            "Internal activations have smaller exponents than external ones.",
            "Which quantities count as internal, and the sizes of the differences.",
            "beta(h) less that of: input gate "
            f"{said('internal-input-gate')}, forget gate {said('internal-forget-gate')}, output gate "
            f"{said('internal-output-gate')}, candidate {said('internal-candidate')}, cell "
            f"{said('internal-cell')}. Share of it that saturation explains: {said('saturation')}.",
        ],
        [
            "With more neurons than the task needs, exponents shift towards white noise, as many neurons "
            "show little fluctuation.",
            "The widths, and what counts as little fluctuation.",
            f"Fall for each doubling {said('falls-with-size')}; slope of the units in use "
            f"{said('used-keep')}; rank correlation of a unit's exponent with its movement "
            f"{said('idle-are-white')}.",
        ],
        [
            "1/f noise is a signature of optimal learning.",
            "Epochs and losses at which exponents were taken.",
            f"Rise by training {said('rises-by-training')}; share of networks whose exponent is closest to 1 "
            f"at the best epoch, beyond chance {said('closest-at-best-epoch')}.",
        ],
        [
            "Exponents are smaller in magnitude during a task than at rest (v1 alone).",
            "What rest is.",
            f"With zero input after the words: {said('rest-and-task')}.",
        ],
        [
            "The exponents resemble those of the brain: fMRI (abstract of v2), EEG as an analogy (v1).",
            f"Which ones. fMRI has {FMRI[0]} at a task and {FMRI[1]} at rest ({_HE}), field potentials "
            f"{POTENTIAL[0]} ± {POTENTIAL[1]} below 70 Hz ({_MILLER}).",
            f"beta of h against fMRI {said('like-fmri')}; the steepest activation against field potentials "
            f"{said('like-potentials')}. {_LIKENESS}",
        ],
    ]
    columns = ("the paper states", "its settings leave unknown", "what survives the nulls here")
    return Table("What is claimed, what is left open, what survives", columns, rows)


def _plateau_table(networks: Networks) -> Table:
    """Return, for each width, whether the plateau may begin there, and what the claims on h then say."""
    rows = []
    top = max(networks.widths, key=lambda width: float(networks.at(width).accuracy.mean()), default=0)
    for width in networks.widths:
        some = networks.at(width)
        behind = over_networks(paired(networks.at(top), some, lambda one: one.accuracy))
        place = "yes" if width in networks.plateaus else "no"
        place += ", the smallest within 0.015" if width == networks.plateau else ""
        numbers = [some.mean("plain_beta"), *map(over_networks, some.of("order_beta").T)]
        numbers += [some.mean("spread"), some.mean("estimator")]
        rows.append([str(width), str(behind), place, *map(str, numbers)])
    columns = ["width", "accuracy behind the best", "may begin the plateau", "beta of h, order 1"]
    columns += [f"order {order}" for order in ORDERS]
    return Table("Where the plateau begins", [*columns, "spread", "estimator noise"], rows)


def notes(n: Numbers) -> list[str]:
    """Return what was chosen here, and what errors are of."""
    config = n.config
    return [
        "Chosen here, as the source does not say: words are lower case, the "
        f"{config.vocabulary} most frequent of the training reviews are kept, all others are one; "
        f"reviews are cut after {config.words} words and never padded where a series is taken; "
        f"embedding of {config.embedding}, one LSTM in torch's own initialisation, a linear read-out "
        f"of its last state, cross entropy, Adam at {config.rate:g}, batches of {config.batch}, "
        f"{config.epochs} epochs, the weights of the epoch with the smallest validation loss.",
        "A series is one unit during one test review. Exponents are DFA1 by generalised least "
        f"squares in windows of {config.windows[0]} to {config.windows[1]} words; "
        "where the source's numbers are compared, by ordinary least squares, as most of the "
        "literature fits. The window range is an inference: white noise scatters by 0.117 in it, "
        "which is the source's spread for the inputs.",
        "Errors are over networks that differ in their seeds, not over reviews or units. Units in "
        "use are those that move at least half as much as the busiest one of their layer.",
    ]


def draw_exponent(axes: Axes, n: Numbers) -> None:
    both = {"all units": n.networks.of("beta"), "units in use": n.networks.used}
    draw_against_width(axes, n.networks, both, ("-", "-"))
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.axhline(1, color=plotting.INK, lw=0.8, ls=":")
    axes.set(title="Exponent", ylabel=r"$\beta$ of h")


def draw_units(axes: Axes, n: Numbers) -> None:
    widest = n.networks.widest
    both = widest.of("unit_deviation"), widest.of("unit_beta")
    for shade, deviation, beta in zip(shades(len(both[0])), *both, strict=True):
        axes.plot(deviation, beta, "o", ms=2.5, color=shade)
    axes.set(
        title=f"Units, width {n.networks.largest}",
        xlabel="deviation of a unit in time",
        ylabel=r"$\beta$ of the unit",
    )


def draw_use(axes: Axes, n: Numbers) -> None:
    names = {
        "participation ratio / width": "participation",
        "effective rank / width": "effective_rank",
        "idle share": "idle_relative",
    }
    shares = {label: n.networks.of(name) / n.networks.units for label, name in names.items()}
    draw_against_width(axes, n.networks, shares, ("-", "-", "-"))
    axes.set_title("Use")
    axes.set_ylim(bottom=0)


def draw_curves(axes: Axes, n: Numbers) -> None:
    windows = window_lengths(*n.config.windows)
    for colour, (condition, label) in zip(colours(len(COMPARED)), COMPARED.items(), strict=True):
        draw_over_white(axes, windows, n.best.of("fluctuation", condition), color=colour, label=label)
        if condition == "words":  # of the others few series are held against short memory
            draw_over_white(axes, windows, n.best.of("short_fluctuation"), "--", lw=1, color=colour)
    label_windows(axes, "words")
    axes.set_title("One review at a time")
    legend(axes)


def draw_carried(axes: Axes, n: Numbers) -> None:
    shortest, longest, _ = n.config.windows
    windows = long_windows(shortest, n.config.piece)
    draw_over_white(axes, windows, n.best.of("long_fluctuation"), color=colours(1)[0])
    label_windows(axes, "words")
    axes.axvline(longest, color=plotting.INK, lw=0.8, ls=":")
    axes.set_title("State carried on")


def draw_inputs(axes: Axes, n: Numbers) -> None:
    for colour, (condition, label) in zip(colours(len(COMPARED)), COMPARED.items(), strict=True):
        draw_points(axes, label, n.best.of("beta", condition), color=colour)
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(title="By input", ylabel=r"$\beta$ of h")
    axes.tick_params(axis="x", rotation=30)


def draw_quantities(axes: Axes, n: Numbers) -> None:
    drawn = ("input", "input_gate", "output_gate", "candidate", "forget_gate", "hidden", "cell")
    for position, quantity in enumerate(drawn):
        draw_points(axes, position, n.best.of("beta", quantity=quantity), color=plotting.MEASURED)
        if f"{quantity}_preactivation" in QUANTITIES:
            before = n.best.of("beta", quantity=f"{quantity}_preactivation")
            draw_points(axes, position + 0.2, before, color=plotting.THEORY, markerfacecolor="none")
    axes.set_xticks(range(len(drawn)), [quantity.replace("_", "\n") for quantity in drawn])
    axes.axhline(0, color=plotting.INK, lw=0.8)
    axes.set(title="By quantity", ylabel=r"$\beta$")


def draw_training(axes: Axes, n: Numbers) -> None:
    widths = n.networks.widths
    for shade, width in zip(shades(len(widths)), widths, strict=True):
        mean = n.networks.at(width).of("epoch_beta").mean(axis=0)
        axes.plot(range(len(mean)), mean, "o-", ms=3, color=shade, label=f"width {width}")
    axes.set(title="By training", xlabel="epoch", ylabel=r"$\beta$ of h")
    legend(axes, ncols=2)


def figures(n: Numbers) -> list[Panels]:
    return [
        Panels(
            "size",
            "Left: mean exponent of h against the width of the LSTM; points are networks, lines their means. "
            "All units together fall, those that move at least half as much as the busiest one do not. "
            f"Middle: each unit of the networks of width {n.networks.largest} against how much it moves. "
            "Right: share of the units that carry the movement.",
            [draw_exponent, draw_units, draw_use],
            size=(3.5, 3.1),
        ),
        Panels(
            "nulls",
            f"Width {n.networks.plateau}. Left: fluctuation functions of h, over the square root of n, in "
            "which white noise is flat; dashed, autoregressive processes fitted to single series. Middle: "
            "the state carried from review to review. Right: the exponent of h under each input.",
            [draw_curves, draw_carried, draw_inputs],
            size=(3.5, 3.1),
        ),
        Panels(
            "quantities",
            f"Left: exponents of everything inside the LSTM, width {n.networks.plateau}; open circles what "
            "enters the gate before it saturates. Right: exponent of h before training and after each "
            "epoch, one colour a width.",
            [draw_quantities, draw_training],
            size=(4.6, 3.1),
        ),
    ]


SIZES = NetworkPart(
    name="sizes",
    title="LSTMs that classify texts: exponents against size",
    presets={"quick": QUICK, "paper": PAPER},
    tasks=tasks,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    citations=("chong2023", "peng1994", "kantelhardt2001", "he2011", "miller2007"),
)
