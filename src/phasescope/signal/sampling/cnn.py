"""Finite convolutional networks at initialisation: how two inputs grow alike or apart, in depth and space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.signal.sampling.cnn_ensemble import Ensemble, Start, Weights, run

if TYPE_CHECKING:
    import xarray as xr


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
        Bytes for the networks computed at once, or text such as "2GiB"; never changes the result.

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
    ensemble = Ensemble.checked(
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
    found, recorded = run(ensemble, networks, depth, layers, max_memory)
    return _dataset(found, ensemble, recorded)


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
