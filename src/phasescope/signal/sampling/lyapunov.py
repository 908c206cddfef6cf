"""The maximum Lyapunov exponent of random networks of finite width."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import digamma

from phasescope.activations import as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.signal.sampling.mlp_layers import Block, Ensemble, blocks, check_counts, check_seed
from phasescope.theory import MeanField

# A kernel off its fixed point by order 1/n comes back as chi_q^l; it is followed down to this factor.
_SETTLED = 1e-4
_LEAST_DISCARD, _MOST_DISCARD = 10, 1000
# Networks per fitted coefficient below which none is fitted.
_PER_COEFFICIENT = 10


def lyapunov_exponent(
    activation: Spec,
    width: int,
    C_W: float,
    C_b: float,
    *,
    networks: int = 100,
    depth: int = 1000,
    discard: int | None = None,
    seed: int = 0,
    kernel: float | None = None,
    residual: float = 0.0,
    layer_norm: bool = False,
    device: str = "cpu",
) -> Estimate:
    r"""Return the growth per layer of a small difference, :math:`\lambda = \langle \ln |u|\rangle / l`.

    u is a tangent vector carried through networks of finite width (:func:`phasescope.signal.sample_mlp`);
    :math:`\lambda` is half the mean of what :math:`\ln |u|^2` gains per layer after `discard` layers. Near
    the critical line :math:`2\lambda = \gamma(\sigma_w - \sigma_{wc}) + d_0/n`
    (:func:`phasescope.theory.critical_line`).

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.
    width : int
        Neurons in each layer.
    C_W, C_b : float
        Weight variance times fan-in, and bias variance.
    networks : int
        Independent networks; the error is taken over them.
    depth : int
        Layers of each, those discarded included.
    discard : int, optional
        Layers before the growth is counted; by default until the kernel has settled,
        ``ln(1e4)/|ln chi_q|`` layers at infinite width, at least 10 and at most half of `depth`.
    seed : int
        Seed; the same seed at other variances uses the same random numbers.
    kernel : float, optional
        Variance of the pre-activations of layer 1; by default the fixed point at infinite width.
    residual, layer_norm
        As for :func:`phasescope.signal.sample_mlp`.
    device : str
        Where torch computes.

    Returns
    -------
    Estimate
        Of lambda; n is the number of networks, the window the layers counted. Not determined where a tangent
        vector is cut off, as by layers of ReLU units that are all off.

    Raises
    ------
    InputError
        If an argument cannot be used, or the pre-activations overflow.

    Notes
    -----
    The lengths of the drawn vectors of normals fluctuate as ``chi^2_n``, whose mean logarithm is
    ``digamma(n/2) + ln(2/n)``. These known fluctuations are subtracted with coefficients fitted over the
    networks (control variates), from 20 networks on: for a linear network nothing is left, for tanh a third
    of the variance. At a given cost, many networks and few layers are as good as the reverse as long as the
    discarded layers are few; errors over fewer than 10 networks are rough. Cost as for
    :func:`phasescope.signal.sample_mlp` with two replicas. Source: arXiv:2307.02284, fig. 1, for the
    exponent; control variates derived here.
    """
    function = as_activation(activation)
    check_counts(depth=depth, networks=networks)
    check_seed(seed)
    ensemble = Ensemble(function, width, C_W, C_b, 1, True, residual, layer_norm)
    first = ensemble.first_kernel(kernel)
    if discard is None:
        discard = min(_transient(ensemble, first), depth // 2)
    if isinstance(discard, bool) or not 1 <= discard < depth:
        raise InputError(f"discard = {discard!r} of depth = {depth}.", f"Give 1..{depth - 1} layers.")
    parts = [
        _growth(block, discard, depth)
        for _, block in blocks(
            ensemble, networks, seed=seed, kernel=first, distance=1.0, watch=True, device=device
        )
    ]
    growth, chance = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return _estimate(growth, chance, (float(discard), float(depth)))


def _transient(ensemble: Ensemble, K: float) -> int:
    """Return the layers after which the kernel has forgotten where it started."""
    kept = ensemble.residual**2
    factor = kept
    if not ensemble.layer_norm:
        field = MeanField(ensemble.function, ensemble.C_W, ensemble.C_b)
        factor = kept + (1 - kept) * abs(field.chi_parallel(K))
    if not 0 < factor < 1:
        return _LEAST_DISCARD if factor == 0 else _MOST_DISCARD
    return min(max(math.ceil(math.log(_SETTLED) / math.log(factor)), _LEAST_DISCARD), _MOST_DISCARD)


def _growth(block: Block, discard: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Return of each network the mean growth of ln|u|^2 a layer, and of the rows that of ln chi^2_n/n.

    The latter as an excess over its expectation: it is what chance alone has added.
    """
    logs, chances = [], []
    for number in range(1, depth + 1):
        layer = block.advance(record=number >= discard, last=number == depth)
        if layer is not None and layer.chance is not None:
            logs.append(layer.log_tangent_square())
            chances.append(layer.chance.log())
    layers, n = depth - discard, block.ensemble.width
    growth = (logs[-1] - logs[0]) / layers
    chance = torch.stack(chances[1:]).mean(dim=0) - float(digamma(n / 2)) - math.log(2 / n)
    return growth.cpu().numpy(), chance.cpu().numpy()


def _estimate(growth: np.ndarray, chance: np.ndarray, window: tuple[float, float]) -> Estimate:
    networks = growth.size
    method = "half the mean growth of ln|u|^2 per layer"
    cut = int((~np.isfinite(growth)).sum())
    if cut:
        return Estimate.not_determined(
            f"the tangent vector is cut off in {cut} of {networks} networks", n=networks
        )
    if networks < 2:
        return Estimate.not_determined("one network has no error; at least 2 are needed", n=networks)
    coefficients = chance.shape[1]
    spent = 0
    if networks >= coefficients * _PER_COEFFICIENT:
        centred = chance - chance.mean(axis=0)
        slopes = np.linalg.lstsq(centred, growth - growth.mean(), rcond=None)[0]
        growth, spent = growth - chance @ slopes, coefficients
        method += ", control variates"
    deviation = growth - growth.mean()
    variance = float(deviation @ deviation) / (networks - 1 - spent)
    return Estimate(float(growth.mean()) / 2, math.sqrt(variance / networks) / 2, method, networks, window)
