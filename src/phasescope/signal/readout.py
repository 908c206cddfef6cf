"""What a read-out makes of a layer: directions that classes need, and logits that follow from others."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

Array = NDArray[np.float64]

_FEWEST = 32  # samples
_TIED = 1e-6  # relative difference below which two eigenvalues are one
_RIDGE = 1e-8  # of the largest eigenvalue, so that least squares has one answer
_FOLLOWS = 0.99  # share of the variance of a logit from which it follows from others


def classification_dimension(
    features: ArrayLike, targets: ArrayLike, *, keep: float = 0.95, seed: int = 0
) -> Estimate:
    r"""Return the fewest principal components of features that keep 95 % of the accuracy of all.

    Half of the samples, drawn at random, give the centred components and a linear read-out of each number of
    them by least squares on the classes; the other half gives the accuracy. Then the halves change places.

    Parameters
    ----------
    features : array of shape (samples, units)
        What a layer gives; further axes are flattened.
    targets : array of shape (samples,)
        Classes, as whole numbers.
    keep : float
        Share of the accuracy with all components that is to be kept.
    seed : int
        Seed of the halves.

    Returns
    -------
    Estimate
        Mean of the two numbers; its error is half their difference. Not determined with fewer than 32
        samples, where all components together are no better than the most frequent class, or where the
        eigenvalues on both sides of the cut are equal, so that the components are not unique.

    Raises
    ------
    InputError
        If the shapes do not fit, a feature is not finite, or there are fewer than two classes.

    Notes
    -----
    The read-out is the same for all numbers of components and not the network's own. Cost: one
    eigendecomposition of the features' covariance and one small product for each component.

    References
    ----------
    Feng et al. 2022, arXiv:2206.06072.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> y = np.arange(400) % 2
    >>> x = 0.3 * random.standard_normal((400, 20)) * np.linspace(1, 0.5, 20)
    >>> x[:, 3] += 2 * y
    >>> print(classification_dimension(x, y).value)
    1.0
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep is {keep}.", "Give a share above 0, at most 1.")
    x, y = _samples(features), np.asarray(torch.as_tensor(targets).cpu())
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise InputError(
            f"{len(x)} samples of features and targets of shape {y.shape} ({y.dtype}).",
            "Give one whole number, the class, for each sample.",
        )
    names, classes = np.unique(y, return_inverse=True)
    if len(names) < 2:
        raise InputError(f"The targets hold {len(names)} class.", "Give samples of at least two classes.")
    method = "principal components that keep the accuracy, two halves"
    if len(x) < _FEWEST:
        return Estimate.not_determined(f"{len(x)} samples, {_FEWEST} are needed", method=method, n=len(x))
    order = np.random.default_rng(seed).permutation(len(x))
    halves = order[: len(x) // 2], order[len(x) // 2 :]
    found = []
    for fit, held in (halves, halves[::-1]):
        number, reason = _components(x[fit], classes[fit], x[held], classes[held], len(names), keep)
        if reason:
            return Estimate.not_determined(reason, method=method, n=len(x))
        found.append(number)
    return Estimate(float(np.mean(found)), abs(found[0] - found[1]) / 2, method, len(x))


def _components(
    x: Array, y: NDArray[np.int64], x_held: Array, y_held: NDArray[np.int64], classes: int, keep: float
) -> tuple[int, str]:
    """Return the fewest components that keep the accuracy on the held half, or why there is none."""
    mean = x.mean(axis=0)
    _, singular, turned = np.linalg.svd(x - mean, full_matrices=False)
    values = singular**2
    inside = values > _RIDGE * values[0] if values[0] > 0 else np.zeros(len(values), dtype=bool)
    if not inside.any():
        return 0, "the features do not vary"
    values, turned = values[inside], turned[inside]
    wanted = np.eye(classes)[y]
    share = wanted.mean(axis=0)
    # Components are uncorrelated, so that least squares adds one at a time.
    weights = turned @ (x - mean).T @ (wanted - share) / values[:, None]
    scores, outputs = (x_held - mean) @ turned.T, np.tile(share, (len(x_held), 1))
    accuracy = []
    for component in range(len(values)):
        outputs = outputs + scores[:, component : component + 1] * weights[component]
        accuracy.append(float((outputs.argmax(axis=1) == y_held).mean()))
    guess = float((y_held == share.argmax()).mean())
    spread = math.sqrt(guess * (1 - guess) / len(y_held))
    if accuracy[-1] <= guess + 2 * spread:
        return 0, "all components together tell the classes no better than the most frequent one"
    number = 1 + int(np.argmax(np.array(accuracy) >= keep * accuracy[-1]))
    if number < len(values) and values[number - 1] - values[number] < _TIED * values[0]:
        return 0, f"eigenvalues {number} and {number + 1} are equal: the components are not unique"
    return number, ""


@dataclass(frozen=True)
class IndependenceDeficit(Result):
    """How well each logit follows from a few others.

    Parameters
    ----------
    predictors : array of shape (classes,)
        Fewest other logits that give 99 % of the variance of a logit on held-out samples; NaN where as many
        as were tried do not.
    r_squared : array of shape (classes, tried)
        Share of the held-out variance that 1, 2, ... other logits give.
    reason : str
        Why there are no numbers; empty where there are.
    trivial : str
        Why some logit must follow from others whatever the network has learned; empty where none must.
    """

    predictors: Array
    r_squared: Array = field(repr=False)
    reason: str = ""
    trivial: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"not determined: {self.reason}"
        found = np.isfinite(self.predictors)
        share = ", ".join(f"{value:.3f} from {n}" for n, value in enumerate(self.r_squared.mean(axis=0), 1))
        told = f"{int(found.sum())} of {len(found)} logits follow from others; mean share: {share}"
        return f"{told}; {self.trivial}" if self.trivial else told


def independence_deficit(logits: ArrayLike, *, most: int = 9, seed: int = 0) -> IndependenceDeficit:
    r"""Return how many other logits determine each logit, by orthogonal matching pursuit with an intercept.

    On one half of the samples, drawn at random, the logit that has the largest correlation with what is left
    is added, and all that were added are fitted by least squares. The other half gives
    :math:`R^2 = 1 - \sum (\hat z - z)^2 / \sum (z - \bar z)^2`.

    Parameters
    ----------
    logits : array of shape (samples, classes)
        The outputs of a classifier on real samples.
    most : int
        Largest number of other logits to try.
    seed : int
        Seed of the halves.

    Returns
    -------
    IndependenceDeficit
        Numbers of predictors and held-out shares of the variance. Without numbers with fewer than 32 samples
        or as few samples in a half as predictors.

    Raises
    ------
    InputError
        If the logits are no matrix of at least three classes, or not finite, or `most` is below 1.

    Notes
    -----
    A head with fewer features than classes makes logits that follow from others exactly; `trivial` says so.
    A logit that does not vary has NaN. Cost: `most` small least-squares problems a class.

    References
    ----------
    Feng et al. 2022, arXiv:2206.06072; they fit samples of one class without an intercept and with an L1
    penalty.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> z = random.standard_normal((200, 5))
    >>> z[:, 4] = z[:, 0] - 2 * z[:, 1] + 1
    >>> independence_deficit(z).predictors[4]
    np.float64(2.0)
    """
    z = np.asarray(torch.as_tensor(logits).detach().cpu().double())
    if z.ndim != 2 or z.shape[1] < 3 or most < 1:
        raise InputError(
            f"Logits of shape {z.shape}, up to {most} predictors.",
            "Give a matrix (samples, classes) of at least three classes, and at least one predictor.",
        )
    z = _samples(z)
    samples, classes = z.shape
    tried = min(most, classes - 1)
    shares, fewest = np.full((classes, tried), np.nan), np.full(classes, np.nan)
    if samples < _FEWEST or samples // 2 <= tried + 1:
        reason = f"{samples} samples, {max(_FEWEST, 2 * tried + 4)} are needed"
        return IndependenceDeficit(fewest, shares, reason)
    order = np.random.default_rng(seed).permutation(samples)
    fit, held = z[order[: samples // 2]], z[order[samples // 2 :]]
    mean = fit.mean(axis=0)
    fit, held = fit - mean, held - mean
    covariance = fit.T @ fit
    spread = np.sqrt(np.diagonal(covariance))
    varying = spread > 1e-12 * max(float(spread.max()), 1e-300)
    for target in np.flatnonzero(varying):
        added: list[int] = []
        rest = covariance[target]
        for number in range(tried):
            free = varying.copy()
            free[[*added, target]] = False
            if not free.any():
                shares[target, number:] = shares[target, number - 1] if number else np.nan
                break
            correlation = np.where(free, np.abs(rest) / np.where(varying, spread, 1.0), -1.0)
            added.append(int(correlation.argmax()))
            weights = np.linalg.lstsq(
                covariance[np.ix_(added, added)], covariance[added, target], rcond=1e-12
            )[0]
            rest = covariance[target] - weights @ covariance[added]
            missed = held[:, target] - held[:, added] @ weights
            around = held[:, target] - held[:, target].mean()
            shares[target, number] = 1 - (missed**2).sum() / max(float((around**2).sum()), 1e-300)
        enough = np.flatnonzero(shares[target] >= _FOLLOWS)
        fewest[target] = enough[0] + 1 if len(enough) else np.nan
    rank = int(np.linalg.matrix_rank(fit, tol=1e-6 * np.linalg.norm(fit, 2)))
    trivial = ""
    if rank < classes:
        trivial = (
            f"the logits span {rank} of {classes} directions, as where a head has fewer features than classes"
        )
    return IndependenceDeficit(fewest, shares, "", trivial)


def _samples(features: ArrayLike) -> Array:
    x = np.asarray(torch.as_tensor(features).detach().cpu().double())
    x = x.reshape(len(x), -1) if x.ndim else x.reshape(1, 1)
    if not x.size or not np.isfinite(x).all():
        raise InputError(
            f"Features of shape {x.shape}, {int((~np.isfinite(x)).sum())} of them NaN or infinite.",
            "Give finite numbers, one row for each sample.",
        )
    return x
