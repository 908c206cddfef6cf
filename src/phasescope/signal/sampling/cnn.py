"""Finite convolutional networks at initialisation: how two inputs grow alike or apart, in depth and space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError, MemoryLimitError
from phasescope.estimate import Estimate
from phasescope.recording.memory import Tidy, in_bytes
from phasescope.signal.sampling.cnn_layers import (
    LINEAR_BELOW,
    Block,
    Layers,
    LocalWeights,
    Normals,
    SharedWeights,
    State,
    Vectors,
    normals_bytes,
)
from phasescope.signal.sampling.differences import differences
from phasescope.theory import MeanField

if TYPE_CHECKING:
    import xarray as xr

Start = Literal["homogeneous", "uniform", "seed"]
Weights = Literal["shared", "local"]
# What fits into a processor's cache is fastest.
_DEFAULT_MEMORY = 8_000_000
_FILLED = 0.8  # share of max_memory; the rest is for freed blocks that the allocator keeps


def sample_cnn(
    activation: Spec,
    channels: int,
    size: int | tuple[int, int],
    depth: int,
    C_W: float,
    C_b: float,
    *,
    kernel_size: int = 3,
    networks: int = 1,
    seed: int = 0,
    start: Start = "homogeneous",
    weights: Weights = "shared",
    replicas: int = 2,
    kernel: float | None = None,
    distance: float = 1.0,
    layers: Sequence[int] | None = None,
    residual: float = 0.0,
    layer_norm: bool = False,
    tangent: bool = False,
    threshold: float = 0.01,
    device: str | torch.device = "cpu",
    max_memory: int | float | str | None = None,
) -> xr.Dataset:
    r"""Return the distance of two inputs layer by layer in random convolutional networks of finite size.

    .. math:: h'_c(x) = b_c + \sum_{c', \delta} W_{c c' \delta}\, s(h_{c'}(x + \delta)), \quad
              W \sim N(0, C_W/(\text{channels} \cdot \text{kernel sites})), \quad b \sim N(0, C_b)

    on a cyclic lattice in one or two dimensions, with fresh weights in every layer. Both replicas go through
    the same network. The distance of a site is ``rho = 1 - c``, c being the correlation
    ``h_1.h_2/(|h_1||h_2|)`` of its two channel vectors.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity s.
    channels : int
        Channels of every layer, at least 2.
    size : int or (int, int)
        Sites of the lattice, in one or two dimensions.
    depth : int
        Number of the last layer; layer 1 is the start.
    C_W, C_b : float
        Variance of the weights times their fan-in, and of the biases.
    kernel_size : int
        Odd; sites along each dimension. In two dimensions the kernel is a square.
    networks : int
        Independent draws of the weights.
    seed : int
        Network number i is the same whatever the other arguments about networks, chunks and layers.
    start : {"homogeneous", "uniform", "seed"}
        In layer 1 the replicas differ at every site; or so, with a first replica that is the same at all
        sites and with shared weights stays so; or at the one site at half the size only.
    weights : {"shared", "local"}
        The same weights at every site (a convolution), or independent ones with a bias for every site and
        channel (locally connected: a control without noise common to the sites), drawn exactly in law.
    replicas : int
        2, or 1 to follow only `kernel` and a tangent.
    kernel : float, optional
        Variance of the pre-activations in layer 1; by default the fixed point of infinitely many channels.
    distance : float
        ``1 - c`` of the distribution from which the replicas of layer 1 are drawn, in (0, 2], down to 1e-300.
    layers : sequence of int, optional
        Layers to record; all by default.
    residual : float
        Share r of the identity, in [0, 1): ``h' = r h + sqrt(1 - r^2) (W * s(h) + b)``, which keeps the
        kernel's fixed point.
    layer_norm : bool
        Whether the channels of each site are standardised before the activation.
    tangent : bool
        Whether to follow a random tangent, started where the replicas differ.
    threshold : float
        Of a seed start: share of the largest distance that makes a site active, and the largest distance
        above which a network counts as alive.
    device : str or torch.device
        Where to compute. The same seed gives other numbers on another device.
    max_memory : int or str, optional
        Memory for the work beside the result, in bytes or as text such as "2GiB", kept within a fifth; it
        says how many networks are computed at once and never changes the result.

    Returns
    -------
    xarray.Dataset
        Dimensions ``network``, ``layer``, ``replica``. ``log_distance`` is the log of the mean of rho over
        the sites, ``distance`` its exponential, ``typical_log_distance`` the mean of ln rho over the sites
        that differ, ``kernel`` the mean square of the pre-activations,
        ``log_site_variance`` the log of the share of it that differs between sites (first replica; rounding
        below -60): with shared weights a row that becomes uniform stays so. With `tangent`, ``log_growth`` is
        ``ln(|u_l|^2/|u_1|^2)``. Of a seed start also ``log_mass`` (log of the sum of rho), ``active_sites``,
        ``alive`` (0 or 1; its mean over networks is the survival probability) and ``square_spread``, the
        mean squared lattice distance from the seed weighted by rho.

    Notes
    -----
    An InputError is raised if an argument is out of its range or no finite kernel is found to start from, a
    MemoryLimitError if one network does not fit into `max_memory`.

    The difference e of the replicas is carried instead of the second one and scaled by a power of two when it
    is small (then it evolves as a tangent), so ``log_distance`` is right far below the smallest number. The
    sites of one network share the scale: a site whose e is below 1e-308 of the largest (1e-154 with local
    weights) counts as equal. Where the replicas are equal, as outside a seed's light cone, they stay equal
    exactly. Pre-activations that grow beyond 1e308 give NaN; they are not rescaled.

    Cost with shared weights: ``2 kinds channels kernel_sites`` multiplications and 15 to 40 ns for each site
    and channel; local weights draw two normal numbers for each instead.

    Sources: arXiv:2307.02284 for the model (its channels, kernel and lattice are not known); one bias a
    channel and the sampler of the local control are choices made here.
    """
    ensemble = Ensemble(
        activation,
        channels,
        size,
        C_W,
        C_b,
        kernel_size=kernel_size,
        seed=seed,
        start=start,
        weights=weights,
        replicas=replicas,
        kernel=kernel,
        distance=distance,
        residual=residual,
        layer_norm=layer_norm,
        tangent=tangent,
        threshold=threshold,
        device=device,
    )
    _whole("networks", networks, 1)
    recorded = _recorded(layers, _whole("depth", depth, 1))
    chunk = _chunk(ensemble, networks, len(recorded), max_memory)
    tidy = Tidy(math.inf if max_memory is None else in_bytes(max_memory))
    found: dict[str, np.ndarray] = {}
    for begin in range(0, networks, chunk):
        part = ensemble.run(range(begin, min(begin + chunk, networks)), recorded, tidy)
        for name, values in part.items():
            whole = found.setdefault(name, np.empty((networks, *values.shape[1:])))
            whole[begin : begin + len(values)] = values
    return _dataset(found, ensemble, recorded)


_LONG_NAMES = {
    "log_distance": "log of the site mean of rho = 1 - c",
    "distance": "site mean of rho = 1 - c",
    "typical_log_distance": "mean of ln rho over the sites that differ",
    "kernel": "mean square of the pre-activations",
    "log_site_variance": "log of the share of |h|^2 of the first replica that differs between sites",
    "log_growth": "log of the squared norm of a tangent, relative to layer 1",
    "log_mass": "log of the sum of rho over the sites",
    "active_sites": "sites whose rho is above the threshold times the largest",
    "alive": "whether the largest rho is above the threshold",
    "square_spread": "mean squared lattice distance from the seed, weighted by rho",
}


def _dataset(found: dict[str, np.ndarray], ensemble: Ensemble, recorded: list[int]) -> xr.Dataset:
    import xarray as xr

    if "log_distance" in found:
        found["distance"] = np.exp(found["log_distance"])
    variables = {}
    for name, values in found.items():
        dims = ("network", "replica", "layer") if name == "kernel" else ("network", "layer")
        variables[name] = (dims, values, {"long_name": _LONG_NAMES[name], "units": "1"})
    coords = {
        "network": np.arange(len(found["kernel"])),
        "layer": recorded,
        "replica": np.arange(ensemble.replicas),
    }
    return xr.Dataset(variables, coords, attrs=ensemble.describe())


def cnn_lyapunov_exponent(
    activation: Spec,
    channels: int,
    size: int | tuple[int, int],
    C_W: float,
    C_b: float,
    *,
    networks: int,
    depth: int,
    discard: int,
    kernel_size: int = 3,
    seed: int = 0,
    weights: Weights = "shared",
    kernel: float | None = None,
    residual: float = 0.0,
    layer_norm: bool = False,
    device: str | torch.device = "cpu",
    max_memory: int | float | str | None = None,
) -> Estimate:
    """Return the spatio-temporal Lyapunov exponent of a random convolutional network, per layer.

    ``(ln |u_depth|^2 - ln |u_discard|^2)/(2 (depth - discard))``, where u is a random tangent and the norm
    sums over channels and sites; averaged over the networks. Below zero two nearby inputs become equal in the
    typical network, above zero they separate.

    Parameters
    ----------
    activation, channels, size, C_W, C_b, kernel_size, seed, weights, kernel, residual, layer_norm, device, \
max_memory
        As for :func:`sample_cnn`.
    networks : int
        Independent draws of the weights; the error comes from the spread between them.
    depth : int
        Number of the last layer.
    discard : int
        Layer from which on growth counts; let kernel and tangent settle, some ``size**(3/2)`` layers for
        local weights.

    Returns
    -------
    Estimate
        In 1/layer, with the standard error over networks.

    Raises
    ------
    InputError
        If an argument is out of its range.

    Notes
    -----
    At finite size this is the exponent of that size. Cost: half of :func:`sample_cnn`.
    """
    if not 1 <= discard < depth:
        raise InputError(
            f"discard = {discard} with depth = {depth}.", "Give a layer from 1 that lies before the last."
        )
    sample = sample_cnn(
        activation,
        channels,
        size,
        depth,
        C_W,
        C_b,
        kernel_size=kernel_size,
        networks=networks,
        seed=seed,
        weights=weights,
        replicas=1,
        kernel=kernel,
        layers=(discard, depth),
        residual=residual,
        layer_norm=layer_norm,
        tangent=True,
        device=device,
        max_memory=max_memory,
    )
    growth = np.diff(sample["log_growth"].to_numpy(), axis=1)[:, 0]
    return Estimate.from_samples(growth / (2 * (depth - discard)), method="mean over networks")


@dataclass
class Ensemble:
    """What every chunk of networks needs to know: the arguments of :func:`sample_cnn`, checked."""

    activation: Spec
    channels: int
    size: int | tuple[int, int]
    C_W: float
    C_b: float
    kernel_size: int = 3
    seed: int = 0
    start: Start = "homogeneous"
    weights: Weights = "shared"
    replicas: int = 2
    kernel: float | None = None
    distance: float = 1.0
    residual: float = 0.0
    layer_norm: bool = False
    tangent: bool = False
    threshold: float = 0.01
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        if self.kernel_size % 2 == 0:
            raise InputError(f"kernel_size = {self.kernel_size}.", "Use an odd one, which has a middle.")
        if self.replicas == 1 and not self.tangent:
            raise InputError("replicas = 1 without a tangent.", "Use replicas=2, or tangent=True.")
        if not 0 <= self.residual < 1:
            raise InputError(
                f"residual = {self.residual}.", "Give the share of the identity, from 0 to below 1."
            )
        if not 0 < self.threshold < 1:
            raise InputError(f"threshold = {self.threshold}.", "Give a distance between 0 and 1.")
        if not 0 < self.distance <= 2:
            raise InputError(f"distance = {self.distance}.", "Give 1 - c of the first layer, in (0, 2].")
        rule = differences(as_activation(self.activation))
        self.block = Block(rule, float(self.residual), bool(self.layer_norm))
        self.C_W, self.C_b = _variance("C_W", self.C_W, positive=True), _variance("C_b", self.C_b)
        self.channels = _whole("channels", self.channels, 2)
        self.sites = _sites(self.size)
        self.kernel_size = _whole("kernel_size", self.kernel_size, 1)
        self.first_kernel = _first_kernel(self.block, self.C_W, self.C_b, self.kernel)
        _one_of("start", self.start, get_args(Start))
        _one_of("weights", self.weights, get_args(Weights))
        _one_of("replicas", self.replicas, (1, 2))
        self.distance, self.threshold = float(self.distance), float(self.threshold)
        self.seed = _whole("seed", self.seed, 0)

    def describe(self) -> dict[str, Any]:
        """Return the description as attributes of a dataset."""
        return {
            "activation": self.block.rule.activation.name,
            "channels": self.channels,
            "size": list(self.sites),
            "kernel_size": self.kernel_size,
            "padding": "cyclic",
            "C_W": self.C_W,
            "C_b": self.C_b,
            "first_kernel": self.first_kernel,
            "first_distance": self.distance,
            "start": self.start,
            "weights": self.weights,
            "residual": self.block.residual,
            "layer_norm": int(self.block.layer_norm),
            "threshold": self.threshold,
            "seed": self.seed,
        }

    def bytes_each(self, recorded: int) -> int:
        """Return the memory that one network takes at its peak, with so many recorded layers.

        That is inside a layer, where pre-activations, activations one by one and together, and the next
        layer's pre-activations exist beside what the weights need.
        """
        kinds, reach = self.replicas + self.tangent, self.kernel_size // 2
        window = int(self.kernel_size ** len(self.sites))
        field = self.channels * math.prod(self.sites)
        numbers = (4 * kinds + 1) * field
        if self.block.layer_norm:
            numbers += (kinds + 3) * field
        if self.weights == "shared":
            wide = self.channels * math.prod(length + 2 * reach for length in self.sites)
            numbers += (window + 2) * kinds * wide
            drawn = normals_bytes(self.channels * (self.channels * window + 1))
        else:
            numbers += ((1 + self.tangent) * kinds + 1) * field
            drawn = normals_bytes(self.replicas * field) + (normals_bytes(field) if self.tangent else 0)
        return drawn + 8 * (numbers + 2 * len(_LONG_NAMES) * recorded)

    def layers(self, networks: range) -> Layers:
        """Return the layers of these networks, from the second on."""
        normals = Normals(self.seed, networks, 1, self.device)
        if self.weights == "shared":
            return SharedWeights(normals, self.kernel_size, self.C_W, self.C_b)
        extra = Normals(self.seed, networks, 3, self.device) if self.tangent else None
        return LocalWeights(normals, extra, self.kernel_size, self.C_W, self.C_b)

    def first(self, networks: range) -> State:
        """Return the pre-activations of the first layer."""
        shape = (len(networks), self.channels, *self.sites)
        normals = Normals(self.seed, networks, 0, self.device)
        z = normals.draw(math.prod(shape[1:])).reshape(shape)
        if self.start == "uniform":
            z = z[(...,) + (slice(0, 1),) * len(self.sites)].expand(shape)
        scale, d = math.sqrt(self.first_kernel), self.distance
        shift = torch.zeros(shape[0], dtype=torch.float64, device=self.device)
        difference = tangent = None
        if self.replicas == 2:
            other = normals.draw(math.prod(shape[1:])).reshape(shape)
            step = self._placed(scale * (math.sqrt(d * (2 - d)) * other - d * z))
            difference = Vectors(step, shift).rescaled(above=LINEAR_BELOW)
        if self.tangent:
            u = Normals(self.seed, networks, 2, self.device).draw(math.prod(shape[1:])).reshape(shape)
            tangent = Vectors(self._placed(u), shift).rescaled()
        return State(scale * z, difference, tangent)

    def _placed(self, values: Tensor) -> Tensor:
        if self.start != "seed":
            return values
        middle = torch.zeros(self.sites, dtype=torch.bool, device=self.device)
        middle[tuple(length // 2 for length in self.sites)] = True
        return torch.where(middle, values, 0.0)

    @torch.no_grad()
    def run(self, networks: range, recorded: list[int], tidy: Tidy) -> dict[str, np.ndarray]:
        """Return the recorded numbers of these networks, networks first and layers last."""
        step = self.layers(networks)
        state = self.first(networks)
        origin = None if state.tangent is None else state.tangent.log_square()
        wanted = set(recorded)
        rows: list[dict[str, Tensor]] = []
        for layer in range(1, recorded[-1] + 1):
            if layer > 1:
                state = self.block.advance(state, step)
                tidy()
            if layer in wanted:
                row = self.measure(state)
                if origin is not None:
                    row["log_growth"] = row["log_growth"] - origin
                rows.append(row)
        return {name: torch.stack([row[name] for row in rows], dim=-1).cpu().numpy() for name in rows[0]}

    def measure(self, state: State) -> dict[str, Tensor]:
        """Return the numbers of one recorded layer, networks first."""
        found = {"kernel": _kernels(state), "log_site_variance": _log_site_variance(state.h)}
        if state.difference is not None:
            logs = _site_log_distances(state.h, state.difference)
            found |= _averages(logs)
            if self.start == "seed":
                found |= _spreading(logs, self.threshold)
        if state.tangent is not None:
            found["log_growth"] = state.tangent.log_square()
        return found


def _whole(name: str, value: int, least: int) -> int:
    """Return `value` if it is a whole number from `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} = {value!r}.", f"Give a whole number from {least}.")
    return int(value)


def _recorded(layers: Sequence[int] | None, depth: int) -> list[int]:
    if layers is None:
        return list(range(1, depth + 1))
    recorded = sorted({int(layer) for layer in layers})
    if not recorded or recorded[0] < 1 or recorded[-1] > depth:
        raise InputError(f"layers = {list(layers)!r}.", f"Name layers from 1 to depth = {depth}.")
    return recorded


def _chunk(ensemble: Ensemble, networks: int, recorded: int, max_memory: int | float | str | None) -> int:
    each = ensemble.bytes_each(recorded)
    if max_memory is None:
        return min(networks, max(1, _DEFAULT_MEMORY // each))
    limit = in_bytes(max_memory)
    if each > limit:
        raise MemoryLimitError(
            f"One network of {ensemble.channels} channels on {ensemble.sites} sites is {each / 1e6:.4g} MB, "
            f"max_memory is {limit / 1e6:.4g} MB."
        )
    return min(networks, max(1, int(_FILLED * limit) // each))


def _variance(name: str, value: float, *, positive: bool = False) -> float:
    if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
        raise InputError(f"{name} = {value} is no variance.", f"Use {name} {'>' if positive else '>='} 0.")
    return float(value)


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{name} = {value!r}.", f"Use one of {', '.join(map(repr, allowed))}.")


def _sites(size: int | tuple[int, int]) -> tuple[int, ...]:
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,)
    if len(sizes) not in (1, 2):
        raise InputError(f"size = {size!r}.", "Give the sites of a lattice: L, or (L, L).")
    return tuple(_whole("size", length, 1) for length in sizes)


def _first_kernel(block: Block, C_W: float, C_b: float, kernel: float | None) -> float:
    if kernel is not None:
        return _variance("kernel", kernel, positive=True)
    field = MeanField(block.rule.activation, C_W, C_b)
    fixed = field.kernel_map(1.0) if block.layer_norm else field.fixed_point().K
    if not 0 < fixed < math.inf:
        raise InputError(
            f"{field!r} drives the kernel to {fixed:g}, from where no network can start.",
            "Name the kernel of the first layer, as in kernel=1.0.",
        )
    return fixed


def _site_log_distances(h: Tensor, difference: Vectors) -> Tensor:
    r"""Return ``ln(1 - c)`` of every site, c being the correlation of the two channel vectors.

    With the part of the difference perpendicular to h, ``1 - c^2 = |e_perp|^2/|h + e|^2``, so that nothing is
    lost however small the difference e. Where a vector vanishes, c counts as 0, or 1 if both do. Minus
    infinity where the replicas are equal.
    """
    e = difference.values
    largest = e.abs().amax(dim=1)
    unit = torch.where(largest > 0, largest, 1.0)
    direction = e / unit.unsqueeze(1)
    square = h.square().sum(dim=1)
    along = (h * direction).sum(dim=1) / torch.where(square > 0, square, 1.0)
    across = (direction - along.unsqueeze(1) * h).square().sum(dim=1)
    second = h + difference.true()
    second_square = second.square().sum(dim=1)
    c = (h * second).sum(dim=1) / (square * second_square).sqrt()
    c = torch.where((square > 0) & (second_square > 0), c, 0.0)
    shift = difference.shift.reshape(-1, *[1] * (largest.ndim - 1)) * math.log(2)
    near = across.log() + 2 * (unit.log() + shift) - second_square.log() - torch.log1p(c)
    logs = torch.where(c > 0.5, near, torch.log1p(-c))
    return torch.where(largest > 0, logs, -math.inf)


def _averages(logs: Tensor) -> dict[str, Tensor]:
    """Return mean and typical distance of every network as logarithms."""
    flat = logs.flatten(1)
    differing = flat > -math.inf
    return {
        "log_distance": torch.logsumexp(flat, dim=1) - math.log(flat.shape[1]),
        # 0/0 where no site differs: the mean over no sites.
        "typical_log_distance": torch.where(differing, flat, 0.0).sum(dim=1) / differing.sum(dim=1),
    }


def _spreading(logs: Tensor, threshold: float) -> dict[str, Tensor]:
    """Return how far and how strongly a difference has spread from the site at half the size."""
    flat = logs.flatten(1)
    largest = flat.amax(dim=1, keepdim=True)
    weights = torch.where(largest > -math.inf, (flat - largest).exp(), 0.0)
    squares = _squared_offsets(logs).to(flat).flatten()
    return {
        "log_mass": torch.logsumexp(flat, dim=1),
        "active_sites": (weights > threshold).sum(dim=1).to(torch.float64),
        "alive": (largest[:, 0] > math.log(threshold)).to(torch.float64),
        "square_spread": (weights * squares).sum(dim=1) / weights.sum(dim=1),
    }


def _kernels(state: State) -> Tensor:
    """Return the mean square of the pre-activations, shape (networks, replicas)."""
    replicas = [state.h]
    if state.difference is not None:
        replicas.append(state.h + state.difference.true())
    return torch.stack([replica.flatten(1).square().mean(dim=1) for replica in replicas], dim=1)


def _log_site_variance(h: Tensor) -> Tensor:
    """Return the log of the share of ``|h|^2`` that differs between sites, shape (networks,)."""
    rows = h.flatten(2)
    varying = (rows - rows.mean(dim=2, keepdim=True)).square().sum(dim=(1, 2))
    return (varying / rows.square().sum(dim=(1, 2))).log()


def _squared_offsets(logs: Tensor) -> Tensor:
    """Return the squared cyclic distance of every site from the one at half the size."""
    total = torch.zeros(logs.shape[1:], dtype=torch.float64)
    for axis, length in enumerate(logs.shape[1:]):
        offset = (torch.arange(length, dtype=torch.float64) - length // 2).abs()
        offset = torch.minimum(offset, length - offset)
        total += (offset**2).reshape(-1, *[1] * (logs.ndim - 2 - axis))
    return total
