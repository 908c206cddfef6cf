"""An LSTM trained on artificial texts whose statistics are known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from phasescope.noise import fractional_autocovariance, population
from phasescope.papers.noise.classifier import Classifier, built
from phasescope.papers.noise.ensemble import against_exact
from phasescope.papers.noise.pointwise import autocovariance_after
from phasescope.papers.noise.sequence_set import shuffled_in_time
from phasescope.papers.noise.texts import (
    CUE_SHARE,
    LEAN,
    PERSISTENCE,
    PERSISTENT_SHARE,
    SWING,
    cues,
    synthetic_set,
)
from phasescope.papers.noise.training import fit

STATES = ("words", "shuffled words", "untrained")
"""What a state is looked at under: the network as trained, with the words of each text shuffled, before."""


def network_on_texts(known: dict[str, Any], windows: np.ndarray, seed: int) -> dict[str, Any]:
    """Return what an LSTM shows before and after training, and what the cues in its texts show."""
    texts, weights, order, shuffle = np.random.SeedSequence(seed).generate_state(4).tolist()
    persistent = known["kind"] == "persistent"
    data = synthetic_set(
        persistent=persistent,
        train=known["train"],
        test=known["texts"],
        words=known["length"],
        series=known["texts"],
        stream=1,
        seed=texts,
    )
    network = built(weights, "lstm", known["units"], known["embedding"], data).eval()
    before = _beta(_states(network, data.series), windows)
    sizes = {name: known[name] for name in ("epochs", "rate", "batch")}
    history = fit(network, data, **sizes, seed=order, after_epoch=lambda epoch: None)
    mixed = shuffled_in_time(data.series, shuffle)
    after = [_beta(_states(network, words), windows) for words in (data.series, mixed)]
    spoken = cues(data.series).double().numpy()
    return {
        **against_exact(spoken, windows, cue_autocovariance(persistent, int(windows[-1]))),
        "state_beta": np.array([*after, before]),
        "input_beta": _beta(_embedded(network, data.series), windows),
        "accuracy": history.test_accuracy[history.best],
    }


def cue_autocovariance(persistent: bool, longest: int) -> np.ndarray:
    r"""Return the autocovariance of the cues as 1, -1, and 0 between them, at lags 0 to `longest`.

    Notes
    -----
    A cue comes with probability p, and its mean is m. With a steady lean m = 1/2: the variance is
    :math:`p - p^2 m^2`, and there is no memory. With a persistent one m is twice the lean, cut at 1 and -1:
    :math:`r(k) = p^2 r_m(k)`, and :math:`r(0) = p`. That the lean is given the sign of the class does not
    change this: a product of two of its values has none. Derived here.
    """
    if not persistent:
        steady = np.zeros(longest + 1)
        steady[0] = CUE_SHARE - (CUE_SHARE * 2 * LEAN) ** 2
        return steady
    correlations = fractional_autocovariance(PERSISTENCE, np.arange(longest + 1))
    found = PERSISTENT_SHARE**2 * autocovariance_after(
        lambda lean: np.clip(2 * SWING * lean, -1, 1), correlations
    )
    found[0] = PERSISTENT_SHARE
    return np.asarray(found)


def _beta(series: np.ndarray, windows: np.ndarray) -> float:
    return population(series, windows=windows, tests=0).mean.value


def _embedded(network: Classifier, words: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network.embedding(words).transpose(1, 2).numpy())


def _states(network: Classifier, words: Tensor) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network.body(network.embedding(words))[0].transpose(1, 2).numpy())
