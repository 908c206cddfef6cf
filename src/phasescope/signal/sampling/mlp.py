"""Random fully connected networks of finite width, sampled exactly in law."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.memory import in_bytes
from phasescope.signal.sampling.mlp_layers import (
    Ensemble,
    Layer,
    blocks,
    check_counts,
    check_seed,
    is_number,
    networks_at_once,
    tile_of,
)

if TYPE_CHECKING:
    import xarray as xr


def sample_mlp(
    activation: Spec,
    width: int,
    depth: int,
    C_W: float,
    C_b: float,
    *,
    networks: int = 1,
    seed: int = 0,
    replicas: int = 2,
    kernel: float | None = None,
    distance: float = 1.0,
    layers: Sequence[int] | None = None,
    residual: float = 0.0,
    layer_norm: bool = False,
    tangent: bool = False,
    device: str = "cpu",
    max_memory: int | float | str | None = None,
) -> xr.Dataset:
    r"""Return kernels and distances of replicas that pass through the same random networks, layer by layer.

    A network is :math:`h_{l+1} = W \phi(h_l) + b` with :math:`W_{ij} \sim N(0, C_W/n)` and
    :math:`b_i \sim N(0, C_b)`, fresh in each layer, n neurons each. Replicas are inputs to one network. No
    weights are drawn: given the activations of all replicas, the pre-activations of each neuron of the next
    layer are independent draws from :math:`N(0, S)` with
    :math:`S_{ab} = C_W\, \phi(h_a)\cdot\phi(h_b)/n + C_b`, which is exact for Gaussian weights at any width.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    width, depth : int
        Neurons in each layer, and number of layers of pre-activations.
    C_W, C_b : float
        Weight variance times fan-in, and bias variance.
    networks : int
        Number of independent networks.
    seed : int
        Seed; the same seed at other variances uses the same random numbers.
    replicas : int
        Number of inputs to each network.
    kernel : float, optional
        Variance of the pre-activations of layer 1; by default the fixed point of an infinitely wide network.
    distance : float
        Of every pair of replicas in layer 1, ``1 - c`` in (0, 2]: their pre-activations there are drawn with
        covariance ``kernel (1 - distance)``.
    layers : sequence of int, optional
        Layers to record, of 1..depth; by default all.
    residual : float
        Residual weight r in [0, 1): :math:`h' = r h + \sqrt{1 - r^2}\,(W \phi(h) + b)`, so that fixed points
        of the kernel stay where they are.
    layer_norm : bool
        Whether the activation sees pre-activations that are shifted and scaled to mean 0 and variance 1 over
        the neurons of the layer, without gain. What is recorded are the pre-activations before that.
    tangent : bool
        Whether to carry a tangent vector u along replica 0, isotropic in layer 1.
    device : str
        Where torch computes.
    max_memory : int or str, optional
        Refuse what takes more, in bytes or as "512MB". The result does not depend on it.

    Returns
    -------
    xarray.Dataset
        Dimensions ``network``, ``layer``, ``replica`` and, for more than two replicas, ``pair``.
        ``log_distance`` (network, [pair,] layer) is :math:`\ln(1 - c)`,
        :math:`c = h_a \cdot h_b/(|h_a||h_b|)`: not centred, right far below 1e-308, and ``-inf`` where the
        two coincide exactly. ``distance`` is its exponential. ``kernel`` (network, replica, layer) is the
        mean square of the pre-activations. ``log_growth`` (network, layer) is :math:`\ln |u_l|^2/|u_1|^2`.

    Notes
    -----
    An InputError is raised if an argument cannot be used or the pre-activations overflow, a MemoryLimitError
    if the work takes more than `max_memory`. Not covered: weights that are not Gaussian, and training.

    The time is proportional to ``networks * width * depth * replicas``: some 30 ns each on one core, a third
    of it for random numbers. Memory does not grow with the width, except with `residual`, `layer_norm`, ReLU
    without biases, or more than two replicas. Networks are drawn in blocks whose size depends on width and
    replicas alone, each from a generator of its own, so that the result depends on the arguments only.
    Source: the order parameter is eq. 20 of arXiv:2307.02284; the sampler is derived here.
    """
    function = as_activation(activation)
    ensemble = Ensemble(function, width, C_W, C_b, replicas, tangent, residual, layer_norm)
    check_counts(depth=depth, networks=networks)
    check_seed(seed)
    _check_distance(distance, replicas)
    recorded = _recorded(layers, depth)
    first = ensemble.first_kernel(kernel)
    _check_memory(max_memory, ensemble, networks, len(recorded), device)
    results = _Results(ensemble, networks, recorded)
    for part, block in blocks(ensemble, networks, seed=seed, kernel=first, distance=distance, device=device):
        for number in range(1, recorded[-1] + 1):
            wanted = number in results.places or (tangent and number == 1)
            layer = block.advance(record=wanted, last=number == recorded[-1])
            if layer is not None:
                results.take(part, layer)
    return results.dataset(
        {
            "activation": function.name,
            "width": width,
            "C_W": C_W,
            "C_b": C_b,
            "seed": seed,
            "residual": residual,
            "layer_norm": int(layer_norm),
            "first_kernel": first,
            "first_distance": distance,
        }
    )


def _check_distance(distance: float, replicas: int) -> None:
    if not is_number(distance) or not 0 < distance <= 2:
        raise InputError(f"distance = {distance!r}.", "It is 1 - c and lies in (0, 2].")
    if replicas > 2 and distance > replicas / (replicas - 1):
        raise InputError(
            f"distance = {distance:g} with {replicas} replicas: so many cannot all be that far apart.",
            f"Take at most {replicas / (replicas - 1):.4g}.",
        )


def _recorded(layers: Sequence[int] | None, depth: int) -> list[int]:
    if layers is None:
        return list(range(1, depth + 1))
    chosen = np.asarray(layers).ravel()
    if chosen.size == 0 or chosen.dtype.kind not in "iu" or chosen.min() < 1 or chosen.max() > depth:
        raise InputError(f"layers = {layers!r}.", f"Give whole numbers of 1..{depth}.")
    return [int(layer) for layer in np.unique(chosen)]


def _check_memory(
    limit: float | str | None, ensemble: Ensemble, networks: int, recorded: int, device: str
) -> None:
    if limit is None:
        return
    m, tile = ensemble.replicas, tile_of(ensemble, device)
    values = networks * recorded * (m + m * (m - 1) + ensemble.tangent)
    # Rows, images and noise, and as many temporary ones inside the activation.
    needed = 8 * (values + 8 * ensemble.rows * tile * networks_at_once(ensemble, device))
    if needed > in_bytes(limit):
        raise MemoryLimitError(
            f"{networks} networks of width {ensemble.width}, {recorded} layers recorded, take "
            f"{needed / 1e6:.1f} MB, more than max_memory = {in_bytes(limit) / 1e6:.1f} MB. "
            "Record fewer layers, sample fewer networks, or raise max_memory."
        )


class _Results:
    """What is kept of the recorded layers."""

    def __init__(self, ensemble: Ensemble, networks: int, recorded: list[int]) -> None:
        self.recorded = recorded
        self.places = {layer: place for place, layer in enumerate(recorded)}
        self.pairs = list(itertools.combinations(range(ensemble.replicas), 2))
        self.tangent = ensemble.tangent
        self.log_distance = np.empty((networks, len(self.pairs), len(recorded)))
        self.kernel = np.empty((networks, ensemble.replicas, len(recorded)))
        self.log_growth = np.empty((networks, len(recorded)))
        self.log_start = np.empty(networks)

    def take(self, networks: slice, layer: Layer) -> None:
        """Keep a layer if it is recorded; of layer 1 the tangent, which later ones are compared with."""
        place = self.places.get(layer.depth)
        if self.tangent:
            squares = layer.log_tangent_square().cpu().numpy()
            if layer.depth == 1:
                self.log_start[networks] = squares
            if place is not None:
                self.log_growth[networks, place] = squares - self.log_start[networks]
        if place is None:
            return
        self.kernel[networks, :, place] = layer.kernels().cpu().numpy()
        if self.pairs:
            self.log_distance[networks, :, place] = layer.log_distances().cpu().numpy()

    def dataset(self, attributes: dict[str, object]) -> xr.Dataset:
        import xarray as xr

        variables: dict[str, object] = {"kernel": (("network", "replica", "layer"), self.kernel)}
        if self.pairs:
            several = len(self.pairs) > 1
            dims = ("network", "pair", "layer") if several else ("network", "layer")
            values = self.log_distance if several else self.log_distance[:, 0]
            variables |= {"log_distance": (dims, values), "distance": (dims, np.exp(values))}
        if self.tangent:
            variables["log_growth"] = (("network", "layer"), self.log_growth)
        result = xr.Dataset(variables, {"layer": self.recorded}, attributes)
        if len(self.pairs) > 1:
            first, second = zip(*self.pairs, strict=True)
            result = result.assign_coords(first=("pair", list(first)), second=("pair", list(second)))
        for name, long_name in _LONG_NAMES.items():
            if name in result:
                result[name].attrs |= {"long_name": long_name, "units": "1"}
        result.attrs["notes"] = json.dumps(self._notes())
        return result

    def _notes(self) -> list[str]:
        notes = []
        unknown = int(np.isnan(self.log_distance).any(axis=(1, 2)).sum())
        if unknown:
            notes.append(
                f"log_distance is NaN in {unknown} network(s): one of the two vectors vanished, "
                "or they differ in length alone to within rounding"
            )
        if bool(np.isinf(self.kernel).any()):
            notes.append("kernel is infinite where it is beyond float64; distances are right there")
        if bool((self.kernel < _VANISHED).any()):
            notes.append(f"kernels below {_VANISHED:g} occur, where every signal has vanished")
        return notes


_VANISHED = 1e-290
_LONG_NAMES = {
    "kernel": "mean square of the pre-activations",
    "log_distance": "ln(1 - c) of two replicas",
    "distance": "1 - c of two replicas",
    "log_growth": "ln of the squared length of a tangent vector, relative to layer 1",
}
