"""Persistence of the graph that a network's weights make, from input to output, beside shuffled weights.

The connections are switched on one by one, the strongest first. What joins two parts of the graph is an edge
of the maximum spanning tree, and the persistence adds up how late these edges come.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

Array = NDArray[np.float64]
Variant = Literal["rank", "paper", "unscaled"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)

_BLOCK = 2**14  # entries of a collapsed matrix that are worked on at a time
_SWEEPS = 10_000
_EVEN = 1e-9  # of the logarithm of norms; below it single units are enough
_BALANCED, _NEARLY = 1e-14, 1e-6  # largest step of a logarithm that is left; in a null


@dataclass(frozen=True)
class Wiring:
    """The connections of one layer.

    Parameters
    ----------
    weight : array of shape (outputs, inputs / groups, ...)
        As torch stores those of a linear layer or a convolution; the taps of a kernel come last.
    groups : int
        Of a convolution: connections between two groups do not exist.

    Raises
    ------
    InputError
        If the weight has fewer than two axes, is empty or not finite, or does not divide into the groups.
    """

    weight: Array
    groups: int = 1

    def __post_init__(self) -> None:
        weight = np.asarray(self.weight, dtype=np.float64)
        object.__setattr__(self, "weight", weight)
        if weight.ndim < 2 or weight.size == 0:
            raise InputError(
                f"A layer's weight has the shape {weight.shape}.", "Pass (outputs, inputs, taps ...)."
            )
        if self.groups < 1 or weight.shape[0] % self.groups:
            raise InputError(f"{weight.shape[0]} outputs do not divide into {self.groups} groups.")
        if not np.isfinite(weight).all():
            bad = int((~np.isfinite(weight)).sum())
            raise InputError(f"{bad} of {weight.size} weights of a layer are NaN or infinite.")

    @property
    def shape(self) -> tuple[int, int]:
        """Number of inputs and of outputs."""
        return self.weight.shape[1] * self.groups, self.weight.shape[0]

    def edges(self, strength: Array) -> Array:
        """Return the strongest tap of each connection, 0 where there is none, shape (inputs, outputs).

        Parameters
        ----------
        strength : array of the shape of the weight
            Not negative.
        """
        outputs, inputs = self.weight.shape[0] // self.groups, self.weight.shape[1]
        taps = strength.reshape(self.groups, outputs, inputs, -1).max(axis=3)
        if self.groups == 1:
            return np.ascontiguousarray(taps[0].T)
        made = np.zeros((self.groups, inputs, self.groups, outputs))
        for group in range(self.groups):
            made[group, :, group] = taps[group].T
        return made.reshape(self.shape)


Layer = Wiring | ArrayLike


@dataclass(frozen=True)
class Persistence(Result):
    """What ``persistence`` found.

    Parameters
    ----------
    value : float
        The persistence, between 0 and 1.
    null : array of shape (shuffles,)
        The same of weights shuffled within each layer.
    variant : {"rank", "paper", "unscaled"}
        Which of the three.
    layers : tuple of Persistence
        Of a chain, what each of its layers gives alone; empty of a single layer.
    """

    value: float
    null: Array = field(repr=False)
    variant: Variant
    layers: tuple[Persistence, ...] = field(default=(), repr=False)

    @property
    def z(self) -> Estimate:
        """Standard deviations of the null between the value and the mean of the null."""
        n = len(self.null)
        spread = float(self.null.std(ddof=1)) if n > 1 else 0.0
        if spread <= 1e-12 * max(self.value, 1e-300):
            return Estimate.not_determined("shuffled weights all have the same persistence", n=n)
        z = (self.value - float(self.null.mean())) / spread
        return Estimate(z, math.sqrt(1 / n + z**2 / (2 * (n - 1))), f"against {n} shuffles", n)

    @property
    def explained(self) -> float:
        """Mean of the null over the value: what the distribution of the weights alone accounts for."""
        return float(self.null.mean()) / self.value if self.value and len(self.null) else math.nan

    def __str__(self) -> str:
        if not len(self.null):
            return f"{self.variant}: {self.value:.4g}"
        return f"{self.variant}: {self.value:.4g}, shuffled {self.null.mean():.4g}, z {self.z}"


def persistence(
    layers: Layer | Sequence[Layer | Sequence[Layer]],
    variant: Variant = "rank",
    *,
    balance: bool = False,
    shuffles: int = 99,
    seed: int = 0,
) -> Persistence:
    r"""Return the persistence of one layer, or of a chain from its first inputs to its last outputs.

    With the strength w of every connection between 0 and 1, a chain is collapsed to one matrix,
    :math:`S_{ij}` the strength of the weakest link of the best path from i to j. Over the edges e of the
    maximum spanning tree of the bipartite graph with the strengths S,

    .. math:: P_p = \Big(\frac1{|e|} \sum_e (1 - S_e)^p\Big)^{1/p} .

    - ``rank``: w is the rank of \|weight\| in its layer over the number of weights; p = 1. The shuffled value
      depends on the shapes alone, so that only the wiring counts.
    - ``paper``: weights with mean 0 and standard deviation 1 in each layer, divided by the largest of all,
      and S by its own largest; p = 2. As the code of the paper has it.
    - ``unscaled``: \|weight\| divided by the largest of all layers; p = 2.

    Parameters
    ----------
    layers : array or Wiring, or a sequence of these
        Weights as torch stores them, (outputs, inputs), with taps behind: a unit is a channel then, and the
        strongest tap counts. A sequence inside the sequence is a residual branch, whose input goes on beside
        it. A layer with k times as many inputs as the one before has outputs takes k in a row of each, as
        behind a ``Flatten``.
    variant : {"rank", "paper", "unscaled"}
        Which strengths.
    balance : bool
        Whether to measure :func:`balanced` weights, those of the null too; for chains of ReLU and the like.
    shuffles : int
        How often the weights are permuted within each layer, for the null; 0 for none.
    seed : int
        Of the permutations.

    Returns
    -------
    Persistence
        The value and its null.

    Raises
    ------
    InputError
        If layers do not fit together, all weights of one are equal (``paper``) or 0 (``unscaled``), or a
        chain with branches is to be balanced.

    Notes
    -----
    The value depends on how the weights are parametrised: units of a ReLU network can be rescaled without
    changing its function, which alone makes weights differ from their shuffles. Hence `balance`. There are
    then two nulls, each balanced again: shuffles of the weights as given (exact for weights drawn
    independently), and of the balanced ones (the same for all rescaled copies; on average 4 standard
    deviations too low for uniform weights, whose largest are nearly equal). The higher one counts. A trained
    network is often hardly beyond its shuffles in the variant ``paper``. Cost of a chain: the sum over
    layers of inputs of the first layer x units x units of the next, about 1 ns each, for each shuffle; of a
    tree, inputs x outputs.

    References
    ----------
    Girrbach, Christensen, Winther, Akata and Koepke 2023, arXiv:2307.10865; Rieck et al. 2019,
    arXiv:1812.09764.
    """
    if variant not in VARIANTS:
        raise InputError(f"The variant is {variant!r}.", f"Give one of {', '.join(VARIANTS)}.")
    if shuffles < 0:
        raise InputError(f"shuffles is {shuffles}.", "Give a whole number from 0.")
    chain: Sequence[Any] = [layers] if _is_layer(layers) else list(layers)  # type: ignore[arg-type]
    blocks: list[Wiring | list[Wiring]] = [
        [_wiring(one) for one in each] if _is_branch(each) else _wiring(each) for each in chain
    ]
    flat = list(_flat(blocks))
    if not flat:
        raise InputError("There is no layer.", "Pass the weights of at least one.")
    if balance and any(isinstance(block, list) for block in blocks):
        raise InputError("A chain with residual branches has no balanced weights.", "Pass balance=False.")
    own = balanced(flat) if balance else flat
    rng = np.random.default_rng(seed)
    value, each = _measured(blocks, _strengths(own, variant), variant)
    nulls = []
    for shuffled in [flat, own] if balance else [flat]:
        # To shuffle and to give each weight its strength commute, unless the units are rescaled between.
        given = [one.weight for one in shuffled] if balance else _strengths(flat, variant)
        drawn = ([_shuffled(one, rng) for one in given] for _ in range(shuffles))
        found = [_measured(blocks, _again(one, flat, variant) if balance else one, variant) for one in drawn]
        nulls.append(np.array([[deep, *parts] for deep, parts in found]).reshape(shuffles, 1 + len(each)))
    kept = [max((null[:, i] for null in nulls), key=_mean) for i in range(1 + len(each))]
    parts = [Persistence(one, null, variant) for one, null in zip(each, kept[1:], strict=True)]
    return Persistence(value, kept[0], variant, tuple(parts) if len(flat) > 1 else ())


def _again(weights: Sequence[Array], layers: Sequence[Wiring], variant: Variant) -> list[Array]:
    """Return the strengths of shuffled weights, balanced."""
    made = [Wiring(weight, one.groups) for weight, one in zip(weights, layers, strict=True)]
    return _strengths(_balanced(made, _NEARLY), variant)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def _is_layer(thing: object) -> bool:
    return isinstance(thing, (Wiring, np.ndarray)) or not isinstance(thing, Sequence)


def _is_branch(thing: object) -> bool:
    """Return whether an entry of a chain is a residual branch: a sequence of layers, not of numbers."""
    if not isinstance(thing, (list, tuple)) or not thing:
        return False
    return isinstance(thing[0], Wiring) or np.ndim(thing[0]) >= 2


def _wiring(layer: object) -> Wiring:
    return layer if isinstance(layer, Wiring) else Wiring(np.asarray(layer, dtype=np.float64))


def _flat(blocks: Sequence[Wiring | list[Wiring]]) -> Iterator[Wiring]:
    for block in blocks:
        yield from [block] if isinstance(block, Wiring) else block


def _strengths(layers: Sequence[Wiring], variant: Variant) -> list[Array]:
    """Return the strength of every weight, between 0 and 1."""
    if variant == "rank":
        return [(rankdata(np.abs(one.weight)) / one.weight.size).reshape(one.weight.shape) for one in layers]
    made = []
    for one in layers:
        weight = one.weight
        if variant == "paper":
            spread = float(weight.std())
            if not spread > 1e-12 * float(np.abs(weight).max()):
                raise InputError("All weights of a layer are equal: their standard deviation is 0.")
            weight = (weight - weight.mean()) / spread
        made.append(np.abs(weight))
    largest = max(float(one.max()) for one in made)
    if not largest > 0:
        raise InputError("All weights are 0.")
    return [one / largest for one in made]


def _shuffled(strength: Array, rng: np.random.Generator) -> Array:
    return rng.permutation(strength.ravel()).reshape(strength.shape)


def _measured(
    blocks: Sequence[Wiring | list[Wiring]], strengths: Sequence[Array], variant: Variant
) -> tuple[float, list[float]]:
    """Return the persistence of a chain and of each of its layers alone."""
    edges = [one.edges(strength) for one, strength in zip(_flat(blocks), strengths, strict=True)]
    each = [_persistence(one, variant, divide=variant != "rank") for one in edges]
    if len(edges) == 1 and isinstance(blocks[0], Wiring):
        return each[0], each
    rest = iter(edges)
    chain = [next(rest) if isinstance(block, Wiring) else [next(rest) for _ in block] for block in blocks]
    return _persistence(collapse(chain), variant, divide=variant == "paper"), each


def _persistence(strengths: Array, variant: Variant, *, divide: bool) -> float:
    tree = spanning_tree(strengths)
    late = 1.0 - (tree / tree[0] if divide and tree[0] > 0 else tree)
    return float(late.mean()) if variant == "rank" else math.sqrt(float(np.mean(late**2)))


def collapse(chain: Sequence[ArrayLike | Sequence[ArrayLike]]) -> Array:
    r"""Return the strength of the weakest link of the best path from each input to each output of a chain.

    .. math:: S_{ij} = \max_{k, l, \dots} \min(w^1_{ik}, w^2_{kl}, \dots, w^L_{\cdot j})

    Parameters
    ----------
    chain : sequence of array of shape (inputs, outputs)
        Strengths, not negative. A sequence inside the sequence is a residual branch: behind it counts the
        larger of what comes through it and what went in. A matrix with k times as many inputs as the one
        before has outputs takes k in a row of each.

    Returns
    -------
    array of shape (inputs of the first, outputs of the last)
        The strengths.

    Raises
    ------
    InputError
        If the shapes do not fit together.

    Notes
    -----
    Cost: inputs of the first layer x units x units of the next, summed over layers, in blocks that stay in
    the cache; memory, the matrices and what is returned. A chain that begins with a branch has as its
    beginning the identity, of strength 1.
    """
    collapsed: Array | None = None
    for block in chain:
        if not _is_branch(block):
            edges = np.asarray(block, dtype=np.float64)
            collapsed = edges if collapsed is None else _joined(collapsed, edges)
            continue
        branch = [np.asarray(edges, dtype=np.float64) for edges in block]  # type: ignore[union-attr]
        before = np.eye(len(branch[0])) if collapsed is None else collapsed
        collapsed = before
        for edges in branch:
            collapsed = _joined(collapsed, edges)
        if collapsed.shape != before.shape:
            raise InputError(
                f"A branch from {before.shape[1]} units gives {collapsed.shape[1]}.",
                "A residual branch gives as many as it takes.",
            )
        collapsed = np.maximum(collapsed, before)
    if collapsed is None:
        raise InputError("There is no layer.", "Pass the strengths of at least one.")
    return collapsed


def _joined(left: Array, right: Array) -> Array:
    """Return the max-min product of two matrices, the inputs of the second folded where they are more."""
    units = left.shape[1]
    if len(right) % units:
        raise InputError(
            f"A layer with {units} outputs is followed by one with {len(right)} inputs.",
            "Pass layers that follow each other.",
        )
    if len(right) != units:
        right = right.reshape(units, -1, right.shape[1]).max(axis=1)
    made = np.zeros((len(left), right.shape[1]))
    rows = max(1, _BLOCK // right.shape[1])
    scratch = np.empty((rows, right.shape[1]))
    for start in range(0, len(left), rows):
        part, into = left[start : start + rows], made[start : start + rows]
        room = scratch[: len(part)]
        for unit in range(units):
            np.minimum(part[:, unit, None], right[unit], out=room)
            np.maximum(into, room, out=into)
    return made


def spanning_tree(strengths: ArrayLike) -> Array:
    """Return the strengths of the edges of the maximum spanning tree of a bipartite graph, the largest first.

    Parameters
    ----------
    strengths : array of shape (inputs, outputs)
        Between 0 and 1, say; each input is connected with each output.

    Returns
    -------
    array of shape (inputs + outputs - 1,)
        ``1 - strengths`` are the persistences of the connected components, the one that never dies left out.

    Notes
    -----
    Each unit of the larger side brings its strongest edge, by which it hangs on one unit of the smaller side.
    Two units of the smaller side are then joined by the strongest second edge of what hangs on them, and
    Prim's algorithm finds the tree of those. Cost: inputs x outputs; memory, one copy of the matrix.
    """
    rows = np.asarray(strengths, dtype=np.float64)
    rows = rows if rows.shape[0] >= rows.shape[1] else rows.T
    few = rows.shape[1]
    host = rows.argmax(axis=1)
    hanging = np.take_along_axis(rows, host[:, None], axis=1)[:, 0]
    order = np.argsort(host, kind="stable")
    hosts, starts = np.unique(host[order], return_index=True)
    between = np.full((few, few), -1.0)
    between[hosts] = np.maximum.reduceat(rows[order], starts, axis=0)
    np.maximum(between, between.T.copy(), out=between)
    best, waiting = between[0].copy(), np.ones(few, dtype=bool)
    joining = np.empty(few - 1)
    best[0], waiting[0] = -1.0, False
    for number in range(few - 1):
        unit = int(best.argmax())
        joining[number] = best[unit]
        best[unit], waiting[unit] = -1.0, False
        np.maximum(best, between[unit], out=best, where=waiting)
    return np.sort(np.concatenate([hanging, joining]))[::-1]


def balanced(layers: Sequence[Layer]) -> list[Wiring]:
    """Return the weights of a chain with each unit's incoming and outgoing weights of equal norm.

    In a chain of positively homogeneous activations (ReLU, leaky ReLU, none; maxima and means over positions)
    the weights into a unit can be multiplied by any positive number and those out of it divided by it. All
    such copies of one network have the same balanced weights, to rounding, which compute the same function
    with biases multiplied like the weights into their unit.

    Parameters
    ----------
    layers : sequence of array or Wiring
        As in :func:`persistence`, without branches.

    Returns
    -------
    list of Wiring
        Of the same shapes. Units without incoming or without outgoing weights are left as they are.

    Raises
    ------
    InputError
        If layers do not fit together.

    Notes
    -----
    The balanced weights have the smallest sum of squares among all copies; all layers are given one norm, and
    each unit its best scale in turn, until none moves. Cost: a product of each layer's squared weights with a
    vector, a sweep; 10 to 100 sweeps.

    References
    ----------
    Neyshabur, Salakhutdinov and Srebro 2015, arXiv:1506.02617; Stock et al. 2019, arXiv:1902.10416.
    """
    return _balanced([_wiring(layer) for layer in layers], _BALANCED)


def _balanced(wirings: Sequence[Wiring], until: float) -> list[Wiring]:
    units = [one.shape[1] for one in wirings]
    for before, one in zip(units, wirings[1:], strict=False):
        if one.shape[0] % before:
            raise InputError(f"A layer with {before} outputs is followed by one with {one.shape[0]} inputs.")
    # Squared norms between units, (outputs, units before), and the squared scale of each unit.
    squares = []
    for number, one in enumerate(wirings):
        whole = _full(one)
        before = one.shape[0] if number == 0 else units[number - 1]
        squares.append(whole.reshape(whole.shape[0], before, -1).sum(axis=2))
    scale = [np.ones(wirings[0].shape[0]), *(np.ones(n) for n in units)]
    uncut = all((a.sum(axis=1) > 0).all() and (b.sum(axis=0) > 0).all() for a, b in pairwise(squares))
    for _ in range(_SWEEPS):
        if uncut:
            _even_out(squares, scale)
        moved = 0.0
        for number in range(len(wirings) - 1):
            incoming = squares[number] @ (1.0 / scale[number])
            outgoing = scale[number + 2] @ squares[number + 1]
            joined = (incoming > 0) & (outgoing > 0)
            new = scale[number + 1].copy()
            new[joined] = np.sqrt(outgoing[joined] / incoming[joined])
            moved = max(moved, float(np.abs(np.log(new / scale[number + 1])).max(initial=0.0)))
            scale[number + 1] = new
        if moved < until:
            break
    return [
        Wiring(_scaled(one, np.sqrt(scale[number]), np.sqrt(scale[number + 1])), one.groups)
        for number, one in enumerate(wirings)
    ]


def _even_out(squares: Sequence[Array], scale: list[Array]) -> None:
    """Give all layers the same norm, as they have once balanced: single units pass it on but slowly."""
    sides = zip(squares, pairwise(scale), strict=True)
    logs = np.array([math.log(float(after @ each @ (1.0 / before))) for each, (before, after) in sides])
    shift = np.cumsum(logs.mean() - logs[:-1])
    if np.abs(shift).max(initial=0.0) > _EVEN:
        for number, one in enumerate(shift, 1):
            scale[number] = scale[number] * math.exp(one)


def _full(one: Wiring) -> Array:
    """Return the squared weights summed over taps, (outputs, inputs), 0 between groups."""
    squared = (one.weight**2).reshape(*one.weight.shape[:2], -1).sum(axis=2)
    return Wiring(squared, one.groups).edges(squared).T


def _scaled(one: Wiring, before: Array, after: Array) -> Array:
    outputs, inputs = one.weight.shape[0] // one.groups, one.weight.shape[1]
    each = np.repeat(before, one.shape[0] // len(before)).reshape(one.groups, 1, inputs, 1)
    parts = one.weight.reshape(one.groups, outputs, inputs, -1)
    made = parts * after.reshape(one.groups, outputs, 1, 1) / each
    return np.asarray(made.reshape(one.weight.shape))
