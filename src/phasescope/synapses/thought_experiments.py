"""Four tasks so small that the weights can be written down: which weights carry what is known exactly.

They are those of the article on synaptic ensembles, a popular version of a talk at Neuroinformatics-2015:
the side of a line, the comparison of two binary numbers, one band and two bands of one input.

What one moves in three of them is a border, a zero x of the output along a path. With u the sum that enters
the output unit, u(x, w) = 0 gives dx/dw = -(du/dw) / (du/dx): exact, and the same for the output tanh(u).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from torch import Tensor

from phasescope.errors import InputError
from phasescope.synapses.picture_net import PictureNet, Sweeps, grid
from phasescope.synapses.properties import Custom, Property
from phasescope.synapses.sensitivity import Sensitivity, sensitivity
from phasescope.synapses.wiring import Wiring

Places = NDArray[np.float64]

_SCANNED = 4001  # points of a path at which a change of sign is looked for


@dataclass(frozen=True)
class ThoughtExperiment:
    """A network with exact weights, its task, and the properties that belong to it.

    Parameters
    ----------
    name : str
        Of the task.
    net : PictureNet
        It solves the task.
    points : tensor, shape (n, inputs)
        The inputs of the task.
    targets : tensor, shape (n,)
        What the sign of the output must be there: -1, 0 or 1.
    sensitivity : Sensitivity
        How the weights change what the properties are read off.
    properties : tuple of Property
        Of ``sensitivity.output``.
    """

    name: str
    net: PictureNet
    points: Tensor
    targets: Tensor
    sensitivity: Sensitivity
    properties: tuple[Property, ...]

    def right(self, net: PictureNet | None = None) -> Tensor:
        """Return at which points the sign of the output is right, bool of shape (n,).

        Parameters
        ----------
        net : PictureNet, optional
            Another network for the same task; by default the one with exact weights.
        """
        with torch.no_grad():
            output = (self.net if net is None else net)(self.points)[:, 0]
        return torch.sign(output) == self.targets


class Border(Property):
    """Where a border lies: one number of the output of a :class:`BorderSensitivity`.

    Parameters
    ----------
    number : int
        From 1 on, in the order of the borders.
    """

    def __init__(self, number: int) -> None:
        self.number, self.name = number, f"border {number}"

    def value(self, picture: Tensor) -> Tensor:
        """Return its place along the path.

        Parameters
        ----------
        picture : tensor, shape (borders,)
            All places.
        """
        self._check(picture)
        return picture[self.number - 1]

    def support(self, picture: Tensor) -> Tensor:
        """Return True for this border alone: what other borders move is damage.

        Parameters
        ----------
        picture : tensor, shape (borders,)
            All places.
        """
        self._check(picture)
        return torch.arange(len(picture), device=picture.device) == self.number - 1

    def _check(self, picture: Tensor) -> None:
        if picture.ndim != 1 or not 1 <= self.number <= len(picture):
            raise InputError(
                f"There is no border {self.number} in an output of shape {tuple(picture.shape)}.",
                "Borders count from 1, in the order of a BorderSensitivity.",
            )


class BorderSensitivity(Sensitivity):
    """How each weight moves the borders of a network: the zeros of its first output along straight paths.

    ``d place / d w = -(df/dw) / (df/dx)``, with x along the path, at each root.

    Parameters
    ----------
    net : PictureNet
        The network; later changes of it are not seen.
    paths : array_like, shape (paths, 2, inputs), optional
        Start and end of each; by default from -1 to 1 of the one input.

    Attributes
    ----------
    output : tensor, shape (borders,)
        Place of each border, path by path, in the order of the path: the coordinate along its direction, for
        one input x itself. All are not a number where :meth:`at` finds more or fewer borders than before.

    Raises
    ------
    InputError
        If a path has no length or another shape, or there is no border.

    Notes
    -----
    Changes of sign are looked for at 4001 points a path, so two borders within one spacing are missed.
    """

    def __init__(self, net: PictureNet, paths: ArrayLike | None = None) -> None:
        given = np.asarray([[[-1.0], [1.0]]] if paths is None else paths, dtype=np.float64)
        inputs = net.wiring.inputs
        if given.ndim != 3 or given.shape[1:] != (2, inputs):
            raise InputError(
                f"The paths have shape {given.shape}.", f"Use (paths, 2, {inputs}): start and end of each."
            )
        if not (np.linalg.norm(given[:, 1] - given[:, 0], axis=1) > 0).all():
            raise InputError("A path starts where it ends.", "Give it a length.")
        roots = _roots(net, given)
        if not len(roots):
            raise InputError("The output has no zero on these paths.", "Choose paths that cross a border.")
        self._set(net, given, roots, roots)

    def _set(self, net: PictureNet, paths: Places, roots: list[_Root], known: Sequence[_Root]) -> None:
        self.net, self.paths = net.with_weights(net.weights), paths
        self.weights = self.net.weights.detach()
        same = [root.path for root in roots] == [root.path for root in known]
        self._roots = roots if same else list(known)
        places = torch.tensor([root.place for root in self._roots], dtype=torch.float64)
        self.output = places.to(self.weights) if same else torch.full_like(places.to(self.weights), torch.nan)

    @cached_property
    def jacobian(self) -> Tensor:
        """The derivative of each place in each weight, shape (borders, size)."""
        points = torch.tensor(np.array([root.point for root in self._roots])).to(self.weights)
        directions = torch.tensor(np.array([root.direction for root in self._roots])).to(self.weights)
        maps = Sweeps(self.net, points).maps()[:, 0].T
        leaf = points.clone().requires_grad_()
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(self.net(leaf)[:, 0].sum(), leaf)
        return -maps / (slopes * directions).sum(1, keepdim=True)

    def pulled_back(self, seeds: Tensor) -> Tensor:
        """Return the sum of seeds * d place / d w over the borders.

        Parameters
        ----------
        seeds : tensor, shape (borders,) or (k, borders)
        """
        return seeds.to(self.weights) @ self.jacobian

    def change(self, difference: Tensor) -> Tensor:
        """Return the shift of all borders to first order.

        Parameters
        ----------
        difference : tensor, shape (size,) or (k, size)
            Of the weights.
        """
        return difference.to(self.weights) @ self.jacobian.T

    def energy(self, masks: Tensor) -> Tensor:
        """Return for all weights the sum of (d place / d w)^2 over the borders of each mask.

        Parameters
        ----------
        masks : tensor, shape (borders,) or (k, borders)
            True where a border counts; numbers weigh it.
        """
        return masks.to(self.weights) @ self.jacobian.square()

    def at(self, weights: Tensor) -> BorderSensitivity:
        """Return the same for other weights.

        Parameters
        ----------
        weights : tensor, shape (size,)
        """
        moved = object.__new__(BorderSensitivity)
        net = self.net.with_weights(weights)
        moved._set(net, self.paths, _roots(net, self.paths), self._roots)
        return moved

    def name(self, weight: int) -> str:
        """Return what a weight is, in words.

        Parameters
        ----------
        weight : int
            Its number.
        """
        return self.net.wiring.name(weight)

    @property
    def rms(self) -> Tensor:
        """The rms shift of the borders for each weight, shape (size,)."""
        return self.jacobian.square().mean(0).sqrt()

    @property
    def groups(self) -> Tensor:
        """The unit that each weight enters, shape (size,)."""
        return torch.from_numpy(self.net.wiring.targets)


def line(slope: float = 0.5, sharpness: float = 4.0) -> ThoughtExperiment:
    """Return the network that tells the two sides of a line through the origin: one unit, two weights.

    The output is ``tanh(w_1 x + w_2 y)``, so the line has the slope ``-w_1 / w_2``. Its properties, read off
    the places at x = -0.5 and 0.5: the slope and the height of the line.

    Parameters
    ----------
    slope : float
        Of the line, between -1.9 and 1.9.
    sharpness : float
        The weight w_2; positive above the line.

    Raises
    ------
    InputError
        If one of them is out of range.
    """
    if not abs(slope) < 1.9 or not sharpness > 0:
        raise InputError(
            f"slope={slope}, sharpness={sharpness}.", "Use a slope within 1.9 and a positive sharpness."
        )
    net = PictureNet(Wiring(2, ((0, 1),), (0,)), [-slope * sharpness, sharpness, 0.0])
    borders = BorderSensitivity(net, [[[x, -1.0], [x, 1.0]] for x in (-0.5, 0.5)])
    points = grid(20, 20)
    return ThoughtExperiment(
        "line",
        net,
        points,
        torch.sign(points[:, 1] - slope * points[:, 0]),
        borders,
        (
            Custom(lambda places: places[1] - places[0], "slope"),
            Custom(lambda places: places.mean(), "height"),
        ),
    )


def comparison(bits: int = 4, *, units: int = 1) -> ThoughtExperiment:
    """Return the network that compares two binary numbers a and b: one unit, two independent ensembles.

    Inputs are the bits of a and then of b, the highest first, as -1/2 or 1/2. On one unit the weights are
    8, 4, 2, 1 and their negatives, and the sum is exactly a - b. On two units, one compares the upper half
    of the bits and one the lower half; an output unit reads them with weights 2 and 1.

    The two properties are the swing of each number: the output at its largest value minus that at its
    smallest, where all bits of the other number are 0, halfway. The sensitivity is taken at these four
    points.

    Parameters
    ----------
    bits : int
        Of each number, 1 to 8; at least 2 on two units.
    units : {1, 2}
        Units that compare.

    Raises
    ------
    InputError
        If one of them is out of range.
    """
    if not units <= bits <= 8 or units not in (1, 2):
        raise InputError(f"bits={bits}, units={units}.", "Use 1 or 2 units, and that many to 8 bits.")
    powers = [2.0 ** (bits - 1 - place) for place in range(bits)]
    if units == 1:
        wiring = Wiring(2 * bits, (tuple(range(2 * bits)),), (0,))
        weights = [*powers, *(-power for power in powers), 0.0]
    else:
        upper = bits // 2
        halves = (range(upper), range(upper, bits))
        rows = tuple(tuple(half) + tuple(bits + place for place in half) for half in halves)
        wiring = Wiring(2 * bits, (*rows, (2 * bits, 2 * bits + 1)), (2,))
        weights = [sign * powers[place] for half in halves for sign in (1, -1) for place in half]
        weights += [2.0, 1.0, 0.0, 0.0, 0.0]
    net = PictureNet(wiring, weights)
    points = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=2 * bits)), dtype=torch.float64)
    values = torch.tensor(powers, dtype=torch.float64)
    difference = points[:, :bits] @ values - points[:, bits:] @ values
    probes = torch.zeros(4, 2 * bits, dtype=torch.float64)
    probes[0, :bits], probes[1, :bits] = 0.5, -0.5
    probes[2, bits:], probes[3, bits:] = 0.5, -0.5
    properties = (_swing("number a", 0), _swing("number b", 2))
    return ThoughtExperiment(
        "comparison", net, points, torch.sign(difference), sensitivity(net, points=probes), properties
    )


def _swing(name: str, row: int) -> Property:
    """Return the output of one row minus that of the next."""
    support = np.isin(np.arange(4), (row, row + 1))[:, None]
    return Custom(lambda output: output[row, 0] - output[row + 1, 0], name, support)


def band(left: float = -0.4, right: float = 0.3, sharpness: float = 20.0) -> ThoughtExperiment:
    """Return the network that fires inside a band of its one input: three units, one property over all.

    The sum that enters the output is ``tanh(S (x - left)) - tanh(S (x - right)) - 1``. A single unit is
    monotone and cannot do it. The properties are the two borders.

    Parameters
    ----------
    left, right : float
        Ends of the band, in (-1, 1); the borders lie there up to ``exp(-2 S (right - left)) / S``.
    sharpness : float
        The weight S of both hidden units.

    Raises
    ------
    InputError
        If the ends are out of order, or the band is narrower than 2 / S.
    """
    if not (-1 < left < right < 1 and sharpness * (right - left) > 2):
        raise InputError(
            f"left={left}, right={right}, sharpness={sharpness}.",
            "Use -1 < left < right < 1 and a sharpness above 2 / (right - left).",
        )
    first, last = [sharpness, sharpness, 1.0, -1.0], [-sharpness * left, -sharpness * right, -1.0]
    net = PictureNet(Wiring(1, ((0,), (0,), (1, 2)), (2,)), [*first, *last])
    return _along_x("band", net, [left, right])


def two_bands() -> ThoughtExperiment:
    """Return the network of two bands: four units, borders that single units own and borders that none does.

    The sum that enters the output is ``v_1 tanh(200 (x - b_1)) - tanh(2 (x - 0.1)) + v_3 tanh(200 (x - b_3))
    + c`` with b_1 = -0.6, b_3 = 0.2, v_1 = 0.6, v_3 = 0.649321861, c = -0.487727706: positive between the
    borders -0.597755 and -0.2, and between 0.200669 and 0.6. Borders 1 and 3 belong to the steep units.
    Border 2 can only be moved alone by a co-ordinated change, such as
    v_3 by -0.0145360671 and c by +0.0145360671 for 0.02; either of them alone moves border 4 by 0.017 too.

    Weights: 0 to 2 the input into units 0 to 2, 3 to 5 the synapses v_1, -1, v_3 of the output unit, 6 to 8
    the biases of the hidden units, 9 the bias c.
    """
    weights = [200.0, 2.0, 200.0, 0.6, -1.0, 0.649321861, 120.0, -0.2, -40.0, -0.487727706]
    net = PictureNet(Wiring(1, ((0,), (0,), (0,), (1, 2, 3)), (3,)), weights)
    return _along_x("two bands", net, [-0.59775473, -0.2, 0.20066919, 0.6])


def _along_x(name: str, net: PictureNet, ends: Sequence[float]) -> ThoughtExperiment:
    """Return the experiment of bands with these borders, on points of which none lies at a border."""
    points = (2 * torch.arange(400, dtype=torch.float64)[:, None] + 1) / 400 - 1
    inside = (points > torch.tensor(ends, dtype=torch.float64)).sum(1) % 2
    return ThoughtExperiment(
        name,
        net,
        points,
        2.0 * inside.double() - 1,
        BorderSensitivity(net),
        tuple(Border(number + 1) for number in range(len(ends))),
    )


@dataclass(frozen=True)
class _Root:
    path: int
    place: float
    point: Places
    direction: Places


def _roots(net: PictureNet, paths: Places) -> list[_Root]:
    """Return all changes of sign of the first output on the paths, to the last bits."""
    roots: list[_Root] = []
    for number, (start, end) in enumerate(paths):
        length = float(np.linalg.norm(end - start))
        direction = (end - start) / length

        scanned = np.linspace(0, length, _SCANNED)
        values = _output(net, start, direction, scanned)
        signs = np.sign(values)
        # An exact zero counts with the point after it.
        signs[signs == 0] = np.roll(signs, -1)[signs == 0]
        for place in np.flatnonzero(signs[1:] * signs[:-1] < 0):
            low, high = scanned[place], scanned[place + 1]
            if values[place] == 0 or values[place + 1] == 0:
                along = low if values[place] == 0 else high
            else:
                along = brentq(
                    lambda t, start=start, direction=direction: _output(net, start, direction, np.array([t]))[
                        0
                    ],
                    low,
                    high,
                    xtol=1e-15,
                    rtol=4 * np.finfo(float).eps,
                )
            roots.append(
                _Root(number, float(start @ direction) + along, start + along * direction, direction)
            )
    return roots


def _output(net: PictureNet, start: Places, direction: Places, along: Places) -> Places:
    """Return the first output at places along a path."""
    points = torch.from_numpy(start + along[:, None] * direction)
    values: Places = Sweeps(net, points).outputs[0].cpu().double().numpy()
    return values
