"""The spectrum of a symmetric matrix that is known by its products alone: exact, or by random probes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result
from phasescope.training.lanczos import Product

Array = NDArray[np.float64]

_ROUNDINGS = 100.0  # of the largest eigenvalue: a remainder that is smaller counts as zero
_FAR = 1e8  # times the largest node: beyond, the added node of a rule carries no weight
_BLOCK = 2**20  # entries of the vectors that are multiplied at once
_WIDTH = 0.01  # of a peak, in units of the range of the spectrum


@dataclass(frozen=True)
class SpectralDensity(Result):
    """The distribution of the eigenvalues of a matrix.

    Parameters
    ----------
    size : int
        Number n of eigenvalues.
    exact : bool
        Whether `nodes` holds all eigenvalues; else each probe has a quadrature rule.
    nodes : tuple of array of shape (steps,)
        Eigenvalues, or for each probe the nodes of its rule, in the unit of the matrix, ascending.
    weights : tuple of array of shape (steps,)
        Share of the spectrum at each node; they sum to 1.
    diagonal, off_diagonal : tuple of array of shape (steps,)
        The tridiagonal matrix of each probe; the last entry of `off_diagonal` is what remains outside.
        Empty where `exact`.
    """

    size: int
    exact: bool
    nodes: tuple[Array, ...] = field(repr=False)
    weights: tuple[Array, ...] = field(repr=False)
    diagonal: tuple[Array, ...] = field(repr=False)
    off_diagonal: tuple[Array, ...] = field(repr=False)

    @property
    def citations(self) -> str:
        """Keys of the papers behind the method."""
        return "ghorbani2019"

    def share(self, low: float, high: float) -> Estimate:
        """Return the share of eigenvalues from `low` up to, but not including, `high`.

        Parameters
        ----------
        low, high : float
            Ends of the interval, in the unit of the matrix; infinite ones are allowed.

        Returns
        -------
        Estimate
            Between 0 and 1, exact where the spectrum is. Else the mean over probes; the error joins the
            standard error over probes and half the distance between the bounds that the rules leave: one node
            is put at each end, and its weight is what cannot be told to lie on either side (Gauss-Radau
            rule).
        """
        if self.exact:
            inside = float(np.mean((self.nodes[0] >= low) & (self.nodes[0] < high)))
            return Estimate(inside, 0.0, "all eigenvalues", self.size, (low, high))
        middle, half = [], []
        for d, e in zip(self.diagonal, self.off_diagonal, strict=True):
            (first, last), (start, end) = share_below(d, e, high), share_below(d, e, low)
            middle.append((first + last - start - end) / 2)
            half.append((last - first + end - start) / 2)
        over = Estimate.from_samples(middle)
        error = float(np.hypot(over.error, np.mean(half)))
        return Estimate(over.value, error, "stochastic Lanczos quadrature", len(middle), (low, high))

    def moment(self, power: int) -> Estimate:
        """Return the mean of a power of the eigenvalues, ``tr(A^power)/n``.

        Parameters
        ----------
        power : int
            At least 1. Quadrature is exact to powers of twice the number of steps, so the error is that over
            probes alone.
        """
        found = [float(w @ x**power) for x, w in zip(self.nodes, self.weights, strict=True)]
        if self.exact:
            return Estimate(found[0], 0.0, "all eigenvalues", self.size)
        return Estimate.from_samples(found, method="stochastic Lanczos quadrature")

    def curve(self, grid: ArrayLike | None = None, width: float | None = None) -> tuple[Array, Array, Array]:
        """Return the density on a grid, each eigenvalue drawn as a Gaussian peak.

        Parameters
        ----------
        grid : array of shape (points,), optional
            Where, in the unit of the matrix; 400 points over the whole range by default.
        width : float, optional
            Standard deviation of a peak in the unit of the matrix; a hundredth of the range by default.

        Returns
        -------
        grid, density, error : array of shape (points,)
            The density integrates to 1; its standard error is that over probes, zero where the spectrum is
            exact.
        """
        low, high = min(x[0] for x in self.nodes), max(x[-1] for x in self.nodes)
        extent = high - low if high > low else max(abs(high), 1.0)
        sigma = _WIDTH * extent if width is None else float(width)
        if not sigma > 0:
            raise InputError(f"The width of a peak is {sigma!r}.", "Pass a number above 0.")
        points = (
            np.linspace(low - 4 * sigma, high + 4 * sigma, 400) if grid is None else np.asarray(grid, float)
        )
        curves = np.array(
            [
                np.exp(-0.5 * ((points[:, None] - x) / sigma) ** 2) @ w / (np.sqrt(2 * np.pi) * sigma)
                for x, w in zip(self.nodes, self.weights, strict=True)
            ]
        )
        error = np.zeros(len(points)) if self.exact else curves.std(0, ddof=1) / np.sqrt(len(curves))
        return points, curves.mean(0), error

    def __str__(self) -> str:
        how = "exact" if self.exact else f"{len(self.nodes)} probes"
        low, high = min(x[0] for x in self.nodes), max(x[-1] for x in self.nodes)
        return f"{self.size} eigenvalues from {low:.4g} to {high:.4g}, {how}"


def all_eigenvalues(product: Product, like: torch.Tensor) -> Array:
    """Return all eigenvalues, ascending, from the products with the unit vectors."""
    n = len(like)
    block = max(1, _BLOCK // n)
    identity = torch.eye(n, dtype=like.dtype, device=like.device)
    matrix = torch.cat([product(part) for part in torch.split(identity, block)]).double()
    return np.asarray(torch.linalg.eigvalsh((matrix + matrix.T) / 2).cpu().numpy())


def exact_density(eigenvalues: Array) -> SpectralDensity:
    """Return the distribution of known eigenvalues."""
    n = len(eigenvalues)
    return SpectralDensity(n, True, (eigenvalues,), (np.full(n, 1 / n),), (), ())


def probed_density(
    product: Product, like: torch.Tensor, *, probes: int, steps: int, rows: int, generator: torch.Generator
) -> tuple[SpectralDensity, int]:
    """Return the distribution of eigenvalues by stochastic Lanczos quadrature, and the number of products.

    From a random vector v of length 1, ``v f(A) v^T`` has the expectation ``tr f(A)/n``. `steps` of Lanczos'
    method give the Gauss rule of that quadratic form. Vectors are made orthogonal to the last `rows` ones;
    where that is fewer than all, copies of converged nodes appear and share their weight.
    """
    n = len(like)
    diagonal, off_diagonal, nodes, weights = [], [], [], []
    products = 0
    for _ in range(probes):
        v = torch.randn(n, generator=generator, dtype=torch.float64).to(like)
        basis = like.new_empty((min(steps, rows, n), n))
        d, e = [], []
        scale = 0.0
        v = v / v.norm()
        for j in range(min(steps, n)):
            basis[j % len(basis)] = v
            kept = basis[: j + 1]
            image = product(v)
            products += 1
            d.append(float(v @ image))
            for _ in range(2):  # the second time takes away what rounding left
                image = image - (kept @ image) @ kept
            length = float(image.norm())
            scale = max(scale, abs(d[-1]), length)
            ended = length <= _ROUNDINGS * torch.finfo(v.dtype).eps * scale or j + 1 == n
            e.append(0.0 if ended else length)
            if ended:
                break
            v = image / length
        x, turned = eigh_tridiagonal(np.array(d), np.array(e[:-1]))
        diagonal.append(np.array(d))
        off_diagonal.append(np.array(e))
        nodes.append(x)
        weights.append(turned[0] ** 2)
    found = SpectralDensity(n, False, tuple(nodes), tuple(weights), tuple(diagonal), tuple(off_diagonal))
    return found, products


def share_below(diagonal: Array, off_diagonal: Array, end: float) -> tuple[float, float]:
    """Return bounds of the share of the spectral measure of one probe below `end`.

    The rule that has a node at `end` is exact to the same degree: with m steps the tridiagonal matrix T gets
    one row more, with ``end + b^2 [(T - end)^-1]_mm`` on its diagonal, b the last entry off it. What lies
    below is at least the weight of the nodes below `end`, and at most that of `end` more (Chebyshev, Markov,
    Stieltjes).
    """
    if np.isinf(end):
        return (0.0, 0.0) if end < 0 else (1.0, 1.0)
    b = off_diagonal[-1]
    x, turned = eigh_tridiagonal(diagonal, off_diagonal[:-1])
    scale = max(float(np.abs(x).max()), abs(end), np.finfo(float).tiny)
    gaps = np.where(x == end, np.finfo(float).eps * scale, x - end)
    added = end + b**2 * float((turned[-1] ** 2 / gaps).sum())
    if b > 0 and abs(added) < _FAR * scale:
        x, turned = eigh_tridiagonal(np.append(diagonal, added), off_diagonal)
        # The node nearest to `end` is the one that was put there.
        own = int(np.abs(x - end).argmin())
        weight = turned[0] ** 2
        return float(weight[:own].sum()), float(weight[: own + 1].sum())
    weight = turned[0] ** 2
    close = np.sqrt(np.finfo(float).eps) * scale
    if b == 0:
        below = float(weight[x < end].sum())
        return below, below
    return float(weight[x < end - close].sum()), float(weight[x < end + close].sum())
