"""The phase of a network and the depths that its signal and gradient survive, from a profile's dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result

if TYPE_CHECKING:
    import xarray as xr

# A squared length changes by order one if its logarithm changes by at most this much over the network.
_TOLERANCE = math.log(10.0)
_FEW = 3  # steps needed for a verdict
_MANY = 8  # rates from which the first half, in which the kernel settles, is left out
_FEW_RATES = 6  # rates needed to tell a power of the depth from an exponential
_FEW_POINTS = 4  # steps needed for a depth scale with an error
_SLOWING = 0.6  # share of the early rate below which the late one speaks for a power law
_ROUNDING = 1e-12  # distance below which single precision decides
_IDLE = 0.01  # share of the stream below which a branch changes next to nothing
_MOST_LEADERS = 3  # steps that may bring the growth of a whole network by themselves
_BETTER = 6.0  # 2 ln of the likelihood ratio from which the second constant of a power law is worth it


@dataclass(frozen=True)
class Verdict(Result):
    """Which phase a network is in, and how deep it can be.

    Parameters
    ----------
    phase : str
        "ordered", "critical", "chaotic", "exploding", "vanishing", "uneven" or "not determined".
    margin : Estimate
        Mean of ``ln chi_perpendicular`` per step, 0 at criticality; in its `window` of depths.
    total : Estimate
        Sum of ``ln chi_perpendicular`` over the hidden steps; its error is that over the inputs.
    growth : str
        How squared differences change with depth: "none" (by less than a factor 10), "power", "exponential"
        or "not determined".
    signal_depth : Estimate
        Number of steps over which the distance between inputs falls by e.
    gradient_depth : Estimate
        Number of steps over which the squared gradient changes by e.
    reason : str
        The numbers behind the phase, in one sentence.
    """

    phase: str
    margin: Estimate
    total: Estimate
    growth: str
    signal_depth: Estimate
    gradient_depth: Estimate
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return {
            "phase": self.phase,
            "margin": self.margin.to_dict(),
            "total": self.total.to_dict(),
            "growth": self.growth,
            "signal_depth": self.signal_depth.to_dict(),
            "gradient_depth": self.gradient_depth.to_dict(),
            "reason": self.reason,
        }

    def __str__(self) -> str:
        return f"{self.phase}: {self.reason}"


def verdict(dataset: xr.Dataset, chain: int = 0) -> Verdict:
    """Return the verdict on a profiled network, read from its stream alone.

    A network of finite depth is critical if what is of order one stays so down to its last step. Steps are
    the weight layers, the sums and the concatenations on the stream. Let ``L`` be the number of ratios of
    successive hidden steps, ``G`` the sum of ``ln chi_perpendicular`` over them and the margin ``m`` its
    mean. The read-out (a last weight layer behind anything else) sets a scale and no phase: it is left out.
    From 8 ratios on, ``m`` is the mean over the second half, because the kernel takes some steps to settle.

    Weights whose result is normalised at once set no scale: such a step is read behind the normalisation, and
    so is a sum that is normalised before the next one adds to it.

    - *exploding*: a unit is NaN or infinite, or the kernel grows exponentially: by more than a factor 100
      over the network, and by as much at the rate of the second half of the steps;
    - *vanishing*: the kernel shrinks in the same way, or reaches 0, or no difference passes a step;
    - *critical*: ``|G|`` with two of its errors is at most ln 10, so that squared differences and gradients
      stay of order one, and the scatter of the steps leaves the sum of L rates uncertain by no more than
      that; or the rates fall off as ``p / (l + l0)``, which is growth as a power of the depth and fits better
      than one rate; or ``m`` is within two standard errors of 0 while its error is small on that scale;
    - *uneven*: at most 3 steps, and no more than a quarter of them, bring more than half of ``|G|`` and more
      than ln 10, and the others together no more than ln 10;
    - *ordered* (``m < 0``): inputs become indistinguishable and gradients vanish;
    - *chaotic* (``m > 0``): nearby inputs separate and gradients explode;
    - *not determined*: fewer than 3 hidden steps were measured, no tangent could be followed, or the steps
      differ too much for a rate.

    Parameters
    ----------
    dataset : xarray.Dataset
        The dataset of a profile.
    chain : int
        Which chain of inputs, where a network has several: 0 is the longest.

    Raises
    ------
    InputError
        If it is no dataset, such as the profile itself.

    References
    ----------
    Schoenholz et al. 2017, arXiv:1611.01232 (depth scales); Yang and Schoenholz 2017, arXiv:1712.08969
    (residual networks grow as a power of the depth); Roberts, Yaida and Hanin 2022, arXiv:2106.10165.
    """
    if not hasattr(dataset, "data_vars"):
        inside = hasattr(dataset, "dataset")
        raise InputError(
            f"The dataset is a {type(dataset).__name__}.",
            "Give its dataset: verdict(profile.dataset)." if inside else "Give the dataset of a profile.",
        )
    hidden = hidden_steps(dataset, chain)
    measured = hidden.sizes["layer"]
    rates = _Rates.of(hidden)
    broken, cut = _broken(dataset), _cut(hidden)
    margin = _margin(rates, measured, cut)
    total = _total(rates, margin, broken or cut)
    growth = _growth(rates, total, margin)
    if broken:
        phase, reason = "exploding", broken
    elif cut:
        phase, reason = "vanishing", cut
    else:
        phase, reason = _phase(dataset, hidden, measured, rates, margin, total, growth)
    return Verdict(
        phase,
        margin,
        total,
        growth,
        _depth_scale(hidden, "distance", "the distance 1-c between inputs", above=_ROUNDING, only_decay=True),
        _depth_scale(hidden, "gradient", "the squared gradient"),
        reason,
    )


def hidden_steps(dataset: xr.Dataset, chain: int = 0) -> xr.Dataset:
    """Return the steps of a chain, the read-out left out, each as the verdict reads it."""
    on_stream = (dataset["place"].values == "stream") & (dataset["chain"].values == chain)
    stream = np.flatnonzero(on_stream)
    depth = dataset["depth"].values[stream]
    steps = stream[np.diff(depth, prepend=0) > 0]
    roles = dataset["role"].values
    if (
        len(steps) > 1
        and roles[steps[-1]] == "weight"
        and (roles[stream[stream < steps[-1]]] != "weight").any()
    ):
        nothing_behind = stream[-1] == steps[-1] or (roles[stream[stream > steps[-1]]] == "other").all()
        steps = steps[:-1] if nothing_behind else steps
    names = ("kernel", "chi_perpendicular", "chi_perpendicular_error", "tangent", "tangent_error")
    columns = dataset[[name for name in (*names, "distance", "gradient") if name in dataset]]
    hidden = columns.isel(layer=steps).astype(np.float64)
    settled = _settled(stream, steps, roles)
    if (settled != steps).any() and "tangent" in dataset:
        own, tangent = hidden["tangent"].values.copy(), dataset["tangent"].values[settled]
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = tangent / own  # of the normalisation
        factor = gain.copy()
        factor[1:] /= gain[:-1]
        first = int((settled != steps).argmax())
        if first and roles[steps[first]] == "sum":
            factor[first] = 1.0  # the first normalisation makes of any scale the same
        elif first == 1:
            factor[first] = np.nan  # and so does that of the first weights behind an entrance
        factor[1:][settled[1:] == settled[:-1]] = np.nan
        for name in map(str, columns):
            if name.startswith("chi"):
                hidden[name].values[:] *= factor
            else:
                hidden[name].values[:] = dataset[name].values[settled]
    return hidden


def _settled(stream: np.ndarray, steps: np.ndarray, roles: np.ndarray) -> np.ndarray:
    """Return the row at which each hidden step is read: its own, or that of the normalisation behind it.

    Weights that a normalisation follows set no scale, nor does a sum that the next one adds to as normalised.
    """
    settled = steps.copy()
    for i, step in enumerate(steps):
        last = i + 1 == len(steps)
        end = len(roles) if last else steps[i + 1]
        norms = [row for row in stream if step < row < end and roles[row] == "norm"]
        before = [k for k in range(i) if roles[steps[k]] == "weight"]
        if roles[step] == "weight":
            # A normalisation before the read-out alone says nothing of the steps.
            counts = not last or (before and settled[before[-1]] != steps[before[-1]])
        else:
            counts = not last and roles[steps[i + 1]] == "sum"
        if norms and counts:
            settled[i] = norms[-1]
    for i in range(1, len(steps) - 1):
        meets = roles[steps[i]] == "weight" and roles[steps[i + 1]] == "sum"
        if meets and settled[i] == steps[i] and settled[i + 1] != steps[i + 1]:
            settled[i] = settled[i + 1]  # weights that enter a sum which is normalised: one step with it
    return settled


@dataclass(frozen=True)
class _Rates:
    """``ln chi_perpendicular`` of the hidden steps that have one."""

    logs: np.ndarray
    errors: np.ndarray  # over the inputs
    depth: np.ndarray
    names: list[str]
    total_error: float  # of the sum, over the inputs

    @classmethod
    def of(cls, hidden: xr.Dataset) -> _Rates:
        chi, error = hidden["chi_perpendicular"].values, hidden["chi_perpendicular_error"].values
        good = np.isfinite(chi) & (chi > 0)
        names = [str(name) for name in hidden["layer"].values[good]]
        depth = hidden["depth"].values[good]
        errors = np.nan_to_num(error[good] / chi[good])
        total = math.hypot(*errors)
        if "tangent" in hidden and good.any():
            # The sum of the logarithms is that of the last tangent less that of the first.
            ends = np.flatnonzero(good)[[0, -1]] - [1, 0]
            ends = ends[ends >= 0]
            values, spread = hidden["tangent"].values[ends], hidden["tangent_error"].values[ends]
            total = math.hypot(*np.nan_to_num(spread / values))
        return cls(np.log(chi[good]), errors, depth, names, total)

    @property
    def count(self) -> int:
        return len(self.logs)


def _broken(dataset: xr.Dataset) -> str:
    """Return where the first units that are NaN or infinite are; "" if there are none."""
    rows = np.flatnonzero(np.nan_to_num(dataset["nonfinite"].values) > 0)
    if not len(rows):
        return ""
    return f"{dataset['layer'].values[rows[0]]} is the first row with NaN or infinite units"


def _cut(hidden: xr.Dataset) -> str:
    """Return from which step on nothing of the input is left; "" if there is none."""
    names, kernel = hidden["layer"].values, hidden["kernel"].values
    dark = np.flatnonzero(kernel == 0)
    if len(dark) and len(kernel) >= _FEW:
        return f"the kernel is 0 from {names[dark[0]]} on"
    cut = np.flatnonzero(hidden["chi_perpendicular"].values == 0)
    return f"nothing of a small difference between inputs reaches {names[cut[0]]}" if len(cut) else ""


def _margin(rates: _Rates, measured: int, cut: str) -> Estimate:
    method, n = "mean ln chi_perpendicular per step", rates.count
    if cut:
        return Estimate.not_determined(cut, method=method, n=n)
    if measured == 0:
        reason = "no step on the way from the input to the output could be followed"
        return Estimate.not_determined(reason, method=method, n=n)
    if measured < _FEW:
        reason = (
            f"{measured} {'step' if measured == 1 else 'steps'} before the read-out, at least {_FEW} needed"
        )
        return Estimate.not_determined(reason, method=method, n=n)
    if n == 0:
        reason = "no random tangent could be followed from one step of the stream to the next"
        return Estimate.not_determined(reason, method=method, n=n)
    late = slice(n // 2 if n >= _MANY else 0, None)
    used, depth, inputs = rates.logs[late], rates.depth[late], rates.errors[late]
    error = math.hypot(_error_of_mean(used), math.hypot(*inputs) / len(used))
    return Estimate(float(used.mean()), error, method, len(used), (float(depth[0]), float(depth[-1])))


def _total(rates: _Rates, margin: Estimate, lost: str) -> Estimate:
    method = "sum of ln chi_perpendicular over the hidden steps"
    if rates.count == 0 or lost:
        return Estimate.not_determined(lost or margin.reason, method=method, n=rates.count)
    window = (float(rates.depth[0]), float(rates.depth[-1]))
    return Estimate(float(rates.logs.sum()), rates.total_error, method, rates.count, window)


def _growth(rates: _Rates, total: Estimate, margin: Estimate) -> str:
    if not total.determined:
        return "not determined"
    if abs(total.value) + 2 * total.error <= _TOLERANCE:
        return "none"
    if rates.count >= _FEW_RATES and _falls_off(rates.logs) and _slows(rates):
        return "power"
    steady = margin.determined and abs(margin.value) > 2 * margin.error
    return "exponential" if steady and rates.count >= _FEW_RATES else "not determined"


def _slows(rates: _Rates) -> bool:
    """Return whether the rate of the second half, over all steps, would change nothing by a factor 10."""
    return abs(float(rates.logs[rates.count // 2 :].mean())) * rates.count <= _TOLERANCE


def _falls_off(logs: np.ndarray) -> bool:
    """Return whether ``p / (l + l0)`` fits the rates better than one rate for all steps."""
    n = len(logs)
    steps = np.arange(1, n + 1)
    constant = float(((logs - logs.mean()) ** 2).sum())
    best = constant
    for offset in np.geomspace(0.1, 2.0 * n, 40):
        shape = 1.0 / (steps + offset)
        size = float(logs @ shape / (shape @ shape))
        if size * logs.sum() > 0:
            best = min(best, float(((logs - size * shape) ** 2).sum()))
    floor = 1e-12 * float((logs**2).sum())
    return n * math.log((constant + floor) / (best + floor)) > _BETTER


def _phase(
    dataset: xr.Dataset,
    hidden: xr.Dataset,
    measured: int,
    rates: _Rates,
    margin: Estimate,
    total: Estimate,
    growth: str,
) -> tuple[str, str]:
    changed = _kernel_growth(hidden) if measured >= _FEW else None
    if changed is not None:
        return changed
    n = rates.count
    of_all = "" if n == 0 else f"over {n} {'step' if n == 1 else 'steps'}"
    factor = f"a squared difference of nearby inputs changes by a factor {_factor(total.value)} {of_all}"
    if not margin.determined:
        return "not determined", margin.reason if n == 0 else f"{margin.reason}; {factor}"
    scatter = margin.error * n
    if growth == "none" and scatter <= _TOLERANCE:
        return "critical", f"{factor}{_near_identity(dataset, hidden)}"
    leaders = _leaders(rates, total.value)
    if leaders:
        named = rates.names[leaders[0]]
        bring = f"{named} alone brings" if len(leaders) == 1 else f"{len(leaders)}, {named} first, bring"
        return "uneven", f"{factor}, of which {bring} a factor {_factor(float(rates.logs[leaders].sum()))}"
    if growth == "power":
        return "critical", f"{factor}, as a power of the depth and not exponentially"
    if abs(margin.value) <= 2 * margin.error or growth == "none":
        if scatter <= _TOLERANCE:
            return "critical", f"{factor}, at a rate within two standard errors of 0"
        return "not determined", f"{factor}, but steps differ too much for a rate (margin {margin})"
    return ("ordered" if margin.value < 0 else "chaotic"), factor


def _near_identity(dataset: xr.Dataset, hidden: xr.Dataset) -> str:
    """Say so where every branch along the steps brings next to nothing to the stream."""
    if "share" not in dataset:
        return ""
    names = [str(name) for name in hidden["layer"].values]
    shares = dataset["share"].sel(layer=names).values
    shares = shares[np.isfinite(shares)]
    if not len(shares) or shares.max() >= _IDLE:
        return ""
    return f"; no branch brings more than {100 * shares.max():.2g} % of the stream, nearly the identity"


def _leaders(rates: _Rates, total: float) -> list[int]:
    """Return the few steps without which the growth would be of order one, the largest first, if any."""
    if abs(total) <= _TOLERANCE:
        return []
    largest = np.argsort(-rates.logs * np.sign(total))
    for count in range(1, min(_MOST_LEADERS, rates.count // 4) + 1):
        brought = float(rates.logs[largest[:count]].sum())
        if abs(total - brought) <= _TOLERANCE < abs(brought) and abs(brought) > abs(total) / 2:
            return [int(i) for i in largest[:count]]
    return []


def _factor(log: float) -> str:
    return f"{math.exp(log):.2g}" if abs(log) < 600 else f"1e{log / math.log(10):+.0f}"


def _kernel_growth(hidden: xr.Dataset) -> tuple[str, str] | None:
    kernel = hidden["kernel"].values
    finite = kernel[np.isfinite(kernel)]
    if len(finite) < 2:
        return None
    logs = np.log(finite)
    steps = len(logs) - 1
    half = steps // 2
    total = float(logs[-1] - logs[0])
    late = float(logs[-1] - logs[half]) / (steps - half) * steps
    if min(abs(total), abs(late)) <= 2 * _TOLERANCE or total * late < 0:
        return None
    word = "exploding" if total > 0 else "vanishing"
    return word, f"the kernel changes by a factor {_factor(total)} over {len(logs)} steps"


def _depth_scale(
    hidden: xr.Dataset, name: str, what: str, *, above: float = 0.0, only_decay: bool = False
) -> Estimate:
    """Return the depth scale ``xi``, in steps, of a quantity that changes as ``exp(+-depth / xi)``.

    The rate is the mean change of the logarithm per step, over the second half of the steps where there are
    8 rates or more. Not determined where the quantity changes by less than a factor 10 over the steps
    measured, or ever more slowly, as a power of the depth does on the critical line: then it survives all the
    steps there are.
    """
    depth, values = hidden["depth"].values, hidden[name].values
    keep = np.isfinite(values) & (values > above)
    depth, logs = depth[keep], np.log(values[keep])
    method, n = "mean change of the logarithm per step", len(logs)

    def open_(reason: str) -> Estimate:
        return Estimate.not_determined(reason, method=method, n=n)

    if n == 0:
        return open_(f"{what} was not measured")
    if n < _FEW_POINTS:
        return open_(f"{n} hidden {'step' if n == 1 else 'steps'}, at least {_FEW_POINTS} are needed")
    rates = np.diff(logs) / np.diff(depth)
    half = len(rates) // 2
    start = half if len(rates) >= _MANY else 0
    rate, error = float(rates[start:].mean()), _error_of_mean(rates[start:])
    total = float(logs[-1] - logs[0])
    if only_decay and total > _TOLERANCE:
        return open_(f"{what} does not decay")
    early, late = float(rates[:half].mean()), float(rates[half:].mean())
    steady = min(abs(total), abs(rate) * len(rates)) <= _TOLERANCE or abs(rate) <= 2 * error
    if abs(total) > _TOLERANCE and late * early > 0 and abs(late) < _SLOWING * abs(early):
        return open_(f"{what} changes ever more slowly, not exponentially, over the {n} steps measured")
    if steady or (only_decay and rate > 0):
        return open_(f"{what} stays of order one over the {n} steps measured")
    window = (float(depth[start]), float(depth[-1]))
    return Estimate(1.0 / abs(rate), error / rate**2, method, len(rates) - start, window)


def _error_of_mean(series: np.ndarray) -> float:
    """Return the standard error of the mean over successive steps (Newey and West, two lags).

    Steps of different kinds, such as attention and feed-forward sums, alternate, and alternation averages out
    faster than independent scatter does.
    """
    n = len(series)
    if n < 2:
        return 0.0
    x = series - series.mean()
    lags = (2 / 3, 1 / 3) if n >= 6 else ()
    variance = float((x**2).sum())
    variance += 2 * sum(w * float((x[lag:] * x[:-lag]).sum()) for lag, w in enumerate(lags, start=1))
    return math.sqrt(max(variance, 0.0) / (n - 1) / n)
