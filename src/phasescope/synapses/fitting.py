"""Training a picture network: Levenberg-Marquardt on the exact Jacobian, L-BFGS, Adam and Rprop.

All minimise the sum of squared differences E(w) = |f(w) - t|^2 over points and outputs; the RMSE is
sqrt(E / (points * outputs)). Gradients come from one backward sweep, without a graph of autograd.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import line_search
from torch import Tensor

from phasescope.data import Picture
from phasescope.errors import InputError
from phasescope.synapses.picture_net import PictureNet, Sweeps, grid
from phasescope.synapses.wiring import Wiring

Progress = Callable[[int, float], None]

_STEPS = {"lm": 100, "lbfgs": 1000, "adam": 10_000, "rprop": 3000}  # without a budget
_EVERY = {"lm": 1, "lbfgs": 5, "adam": 50, "rprop": 10}  # steps between two points of the curve
_CHUNK = 8192  # points whose values are in memory at a time
_HISTORY = 50  # pairs of L-BFGS


@dataclass(frozen=True)
class Fit:
    """A trained network, how it came about, and what continues it.

    Parameters
    ----------
    net : PictureNet
        The best one of the curve and the last one.
    rmse : float
        Its root mean squared error over all points and outputs.
    curve : array, shape (records, 3)
        Columns: step, RMSE, CPU seconds of this process since the fit began (continued fits add up).
    state : dict
        Tensors, numbers and strings that :func:`fit` takes to continue.
    method : str
        The method.
    notes : tuple of str
        Why it stopped before its budget, where it did.
    """

    net: PictureNet
    rmse: float
    curve: np.ndarray
    state: dict[str, Any]
    method: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        steps, _, seconds = self.curve[-1]
        return f"Fit({self.method}: RMSE {self.rmse:.4f} after {steps:.0f} steps, {seconds:.1f} CPU s)"


@dataclass(frozen=True)
class BestFit:
    """Fits of one picture from several starts.

    Parameters
    ----------
    best : Fit
        That of the lowest RMSE.
    fits : dict of int to Fit
        All of them, by seed.
    """

    best: Fit
    fits: dict[int, Fit]

    @property
    def rmse(self) -> dict[int, float]:
        """The RMSE of each seed."""
        return {seed: one.rmse for seed, one in self.fits.items()}


def fit(
    net: PictureNet,
    target: Picture | Tensor,
    *,
    points: Tensor | None = None,
    method: str = "lm",
    steps: int | None = None,
    seconds: float | None = None,
    state: Mapping[str, Any] | None = None,
    seed: int = 0,
    batch: int = 1024,
    rate: float = 0.01,
    horizon: int = 20_000,
    progress: Progress | None = None,
) -> Fit:
    """Return a new network trained from the weights of this one, which stays as it is.

    Parameters
    ----------
    net : PictureNet
        Where training starts.
    target : Picture or tensor
        Of shape (height, width, outputs), in [-1, 1]; with `points`, of shape (n, outputs).
    points : tensor, shape (n, inputs), optional
        Inputs of any kind, in place of the grid of a picture.
    method : str
        ``"lm"``, Levenberg-Marquardt: each step solves ``(J^T J + lambda D) d = -J^T (f - t)`` with the
        exact Jacobian and D the root of the diagonal of J^T J; lambda follows the gain ratio, and starts anew
        where no step lowers the error. ``"lbfgs"``: 50 pairs, strong Wolfe conditions. ``"adam"``:
        mini-batches, rate with cosine decay. ``"rprop"``: full batch.
    steps : int, optional
        Further steps: Jacobians of ``lm``, line searches of ``lbfgs``, updates of the others. By default as
        many as `seconds` allow, and without these 100, 1000, 10 000 or 3000, in the order of the methods.
    seconds : float, optional
        Further CPU seconds of this process.
    state : dict, optional
        ``fit(...).state`` of an earlier fit of the same target by the same method, to continue it; arrays in
        place of tensors will do, as read from a file. The result is bit-identical to one longer fit. The
        weights of `net`, `seed`, `batch`, `rate` and `horizon` are then those of the state.
    seed : int
        Order of Adam's mini-batches.
    batch : int
        Points in a mini-batch of Adam.
    rate : float
        First rate of Adam, and first step of Rprop.
    horizon : int
        Steps over which Adam's rate falls as a cosine, to 0.001 of the first; it stays there.
    progress : callable, optional
        Called with the step and the RMSE at each record of the curve.

    Raises
    ------
    InputError
        If the target does not fit the network or is not finite, the method is unknown, a number is out of
        range, the state is of another fit, or the error is no finite number at the start.

    Notes
    -----
    A step of ``lm`` costs one product of the maps with themselves, in float32 in chunks of points on the
    CPU (the error and the gradient are float64), and one Cholesky factor of the number of weights. ``lbfgs``
    works in float64 too, the others in the dtype of the network. Its line search is scipy's, its pairs are
    kept here: scipy's L-BFGS-B does not give them out, and without them no fit continues bit-identically.

    Sources: Marquardt, SIAM J. Appl. Math. 11, 431 (1963), with the damping of Nielsen (IMM-REP-1999-05); Liu
    and Nocedal, Math. Program. 45, 503 (1989); Kingma and Ba, arXiv:1412.6980; Riedmiller and Braun, ICNN
    (1993).
    """
    if method not in _METHODS:
        near = difflib.get_close_matches(method, _METHODS, 1) if isinstance(method, str) else []
        raise InputError(
            f"There is no method {method!r}.",
            f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(_METHODS)}.",
        )
    for name, number in (("steps", steps), ("batch", batch), ("horizon", horizon)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise InputError(f"{name}={number!r}.", "Use a whole number, at least 1.")
    for name, value in (("seconds", seconds), ("rate", rate)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name}={value!r}.", "Use a positive number.")
    problem = _problem(net, target, points, torch.float64 if method in ("lm", "lbfgs") else net.weights.dtype)
    label = f"{method} {problem.label}"
    if state is None:
        weights = net.weights.detach().to(problem.dtype).clone()
        loss = problem.loss(weights)
        if not math.isfinite(loss):
            raise InputError(f"The error of the network is {loss}.", "Start from other weights.")
        memory: dict[str, Any] = {
            "label": label,
            "weights": weights,
            "best": weights.clone(),
            "best_loss": loss,
            "curve": torch.tensor([[0, problem.rmse(loss), 0]], dtype=torch.float64),
            "step": 0,
            "seconds": 0.0,
            "seed": seed,
            "batch": min(batch, problem.count),
            "rate": rate,
            "horizon": horizon,
        }
    else:
        memory = _restored(state, label, problem)
    step = _METHODS[method]
    most = _STEPS[method] if steps is None and seconds is None else steps
    started, before = time.process_time(), memory["seconds"]
    notes: tuple[str, ...] = ()
    done, spent, records = 0, 0.0, [memory["curve"]]
    while (most is None or done < most) and (seconds is None or spent < seconds):
        why = step(problem, memory)
        if why:
            notes = (f"It stopped after {memory['step']} steps: {why}",)
            break
        memory["step"] += 1
        done += 1
        if memory["step"] % _EVERY[method] == 0:  # asking for the time takes longer than a small step
            loss = problem.loss(memory["weights"]) if "loss" not in memory else memory["loss"]
            spent = time.process_time() - started
            records.append(_record(memory["step"], problem.rmse(loss), before + spent))
            if loss < memory["best_loss"]:
                memory["best"], memory["best_loss"] = memory["weights"].clone(), loss
            if progress is not None:
                progress(memory["step"], problem.rmse(loss))
    memory["seconds"] = before + time.process_time() - started
    memory["curve"] = torch.cat(records)
    # The last weights count too, but leave no trace in the state: a fit in two parts equals one in one part.
    loss = problem.loss(memory["weights"])
    curve = memory["curve"].numpy()
    if curve[-1, 0] < memory["step"]:
        curve = np.vstack([curve, [memory["step"], problem.rmse(loss), memory["seconds"]]])
    last = loss < memory["best_loss"]
    best = PictureNet(
        net.wiring,
        memory["weights" if last else "best"],
        dtype=net.weights.dtype,
        device=net.weights.device,
    )
    least = problem.rmse(loss if last else memory["best_loss"])
    return Fit(best, least, curve, memory, method, notes)


def fit_best(
    picture: Picture | Tensor,
    *,
    wiring: Wiring | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    method: str = "lm",
    steps: int | None = None,
    seconds: float | None = None,
    dtype: torch.dtype = torch.float64,
    progress: Progress | None = None,
) -> BestFit:
    """Return fits of a picture from several initial weights, and the best of them.

    Parameters
    ----------
    picture : Picture or tensor
        As for :func:`fit`.
    wiring : Wiring, optional
        By default the thinned cascade.
    seeds : sequence of int
        Of the initial weights, and of Adam's mini-batches.
    method : str
        As for :func:`fit`.
    steps : int, optional
        For each seed.
    seconds : float, optional
        CPU seconds for each seed.
    dtype : torch.dtype
        Of the networks.
    progress : callable, optional
        Called with the step, counted over all seeds, and the RMSE of the fit at work.

    Raises
    ------
    InputError
        If no seed is given, or as for :func:`fit`.
    """
    if not seeds:
        raise InputError("No seed is given.", "Give at least one.")
    fits: dict[int, Fit] = {}
    before = 0
    for seed in seeds:

        def told(step: int, error: float, before: int = before) -> None:
            if progress is not None:
                progress(before + step, error)

        start = PictureNet(wiring, seed=seed, dtype=dtype)
        fits[seed] = fit(
            start, picture, method=method, steps=steps, seconds=seconds, seed=seed, progress=told
        )
        before += int(fits[seed].curve[-1, 0])
    return BestFit(min(fits.values(), key=lambda one: one.rmse), fits)


def rmse(net: PictureNet, target: Picture | Tensor, *, points: Tensor | None = None) -> float:
    """Return the root mean squared error of a network over all points and outputs.

    Parameters
    ----------
    net : PictureNet
        The network.
    target : Picture or tensor
        As for :func:`fit`.
    points : tensor, shape (n, inputs), optional
        As for :func:`fit`.
    """
    problem = _problem(net, target, points, net.weights.dtype)
    return problem.rmse(problem.loss(net.weights.detach()))


class _Problem:
    """The squared error of a network on points, its gradient, and J^T J, summed over chunks of points."""

    def __init__(self, net: PictureNet, points: Tensor, targets: Tensor, dtype: torch.dtype) -> None:
        self.net, self.dtype, self.count = net, dtype, len(points)
        self.points = points.to(net.weights.device, dtype)
        self.targets = targets.T.to(net.weights.device, dtype).contiguous()
        digest = hashlib.sha256(repr((net.wiring.inputs, net.wiring.sources, net.wiring.outputs)).encode())
        for array in (points, targets):
            digest.update(array.cpu().double().numpy().tobytes())
        self.label = f"{dtype} {digest.hexdigest()[:16]}"
        self.chunks = [slice(i, i + _CHUNK) for i in range(0, self.count, _CHUNK)]

    def rmse(self, loss: float) -> float:
        return math.sqrt(loss / self.targets.numel())

    def loss(self, weights: Tensor) -> float:
        return sum(
            float((Sweeps(self.net, self.points[c], weights).outputs - self.targets[:, c]).square().sum())
            for c in self.chunks
        )

    def gradient(self, weights: Tensor, rows: Tensor | None = None) -> tuple[float, Tensor]:
        """Return E and half its gradient, J^T (f - t), at all points or at some of them."""
        loss, gradient = 0.0, torch.zeros_like(weights)
        for c in self.chunks if rows is None else [rows]:
            sweeps = Sweeps(self.net, self.points[c], weights)
            residual = sweeps.outputs - self.targets[:, c]
            gradient += sweeps.pulled_back(residual)
            loss += float(residual.square().sum())
        return loss, gradient


def _problem(
    net: PictureNet, target: Picture | Tensor, points: Tensor | None, dtype: torch.dtype
) -> _Problem:
    outputs = len(net.wiring.outputs)
    values = target.values if isinstance(target, Picture) else torch.as_tensor(target)
    form = "(height, width, {})" if points is None else "(points, {})"
    if values.ndim != (3 if points is None else 2) or values.shape[-1] != outputs or not values.numel():
        raise InputError(
            f"The target has shape {tuple(values.shape)}.",
            f"The network has {outputs} outputs: use {form.format(outputs)}.",
        )
    if not torch.isfinite(values).all():
        raise InputError("The target has values that are not finite.", "Leave such points out.")
    if values.abs().max() > 1:
        raise InputError(
            f"The target reaches {values.abs().max().item():.4g}.",
            "The outputs are values of tanh: scale the target into [-1, 1].",
        )
    if points is None:
        if net.wiring.inputs != 2:
            raise InputError(
                f"The network has {net.wiring.inputs} inputs.",
                "A picture needs two, x and y; or give points.",
            )
        points = grid(*values.shape[:2])
    if points.shape != (values.reshape(-1, outputs).shape[0], net.wiring.inputs):
        raise InputError(
            f"The points have shape {tuple(points.shape)}.",
            f"Use ({len(values)}, {net.wiring.inputs}), one row for each row of the target.",
        )
    if not torch.isfinite(points).all():
        raise InputError("The points have values that are not finite.", "Leave such points out.")
    return _Problem(net, points, values.reshape(-1, outputs), dtype)


def _record(step: int, error: float, seconds: float) -> Tensor:
    return torch.tensor([[step, error, seconds]], dtype=torch.float64)


def _restored(state: Mapping[str, Any], label: str, problem: _Problem) -> dict[str, Any]:
    """Return a copy of a state, whose tensors may have become arrays."""
    memory: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            value = value.item() if value.ndim == 0 else torch.from_numpy(value)
        if isinstance(value, Tensor):
            # The curve stays where it is read; all else goes where the network is.
            value = value.clone() if key == "curve" else value.to(problem.net.weights.device, copy=True)
        memory[key] = value
    found = memory.get("label")
    if not isinstance(found, str) or not isinstance(memory.get("weights"), Tensor):
        raise InputError("This is no state of a fit.", "Give the state of a Fit.")
    if found != label:
        kinds = ("of the method {}", "of dtype {}", "of another wiring, picture or set of points")
        pairs = zip(kinds, found.split(" "), label.split(" "), strict=False)
        which = next(kind.format(old) for kind, old, new in pairs if old != new)
        raise InputError(f"The state is one {which}.", "Continue with what it was begun with.")
    if memory["weights"].shape != (problem.net.wiring.size,) or not torch.isfinite(memory["weights"]).all():
        raise InputError("The weights of the state are damaged.", "Begin anew.")
    return memory


def _levenberg_marquardt(problem: _Problem, memory: dict[str, Any]) -> str:
    """Make one step of lower error, or return why there is none."""
    weights = memory["weights"]
    loss, gradient = problem.gradient(weights)
    # float32 suffices for the direction; the error and the gradient decide whether a step is taken.
    gram = torch.zeros(len(weights), len(weights), dtype=torch.float64, device=weights.device)
    for c in problem.chunks:
        gram += Sweeps(problem.net, problem.points[c].float(), weights.float()).gram()
    diagonal = gram.diagonal()
    scale = (diagonal.mean() * diagonal).sqrt().clamp_min(1e-4 * float(diagonal.mean()))
    for damping in (memory.get("damping", 0.01), 0.01):
        growth = 2.0
        for _ in range(20):
            factor, failed = torch.linalg.cholesky_ex(gram + torch.diag(damping * scale))
            step = -torch.cholesky_solve(gradient[:, None], factor)[:, 0]
            new = math.inf if failed else problem.loss(weights + step)
            if new < loss:
                expected = -float(step @ (2 * gradient + gram @ step))
                gain = (loss - new) / expected
                memory["weights"], memory["loss"] = weights + step, new
                memory["damping"] = max(damping * max(0.2, 1 - (2 * gain - 1) ** 3), 1e-12)
                return ""
            damping *= growth
            growth *= 2
    return "no step lowers the error."


def _lbfgs(problem: _Problem, memory: dict[str, Any]) -> str:
    """Make one line search along the direction of the last pairs of steps and changes of the gradient."""
    like = memory["weights"]
    known: dict[bytes, tuple[float, NDArray[np.float64]]] = {}

    def evaluated(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        key = weights.tobytes()
        if key not in known:
            loss, gradient = problem.gradient(torch.from_numpy(weights).to(like))
            known[key] = loss, 2 * gradient.cpu().numpy()
        return known[key]

    functions = (lambda w: evaluated(w)[0], lambda w: evaluated(w)[1])
    weights = like.cpu().numpy()
    if "gradient" in memory:
        known[weights.tobytes()] = memory["loss"], memory["gradient"].cpu().numpy()
    loss, gradient = evaluated(weights)
    if np.abs(gradient).max() < 1e-100:
        return "the gradient is zero."
    moves = memory.get("moves", like.new_zeros(0, len(like))).cpu().numpy()
    bends = memory.get("bends", like.new_zeros(0, len(like))).cpu().numpy()
    for pairs in (len(moves), 0):  # where the pairs lead nowhere, they are dropped
        moves, bends = moves[:pairs], bends[:pairs]
        direction = _direction(gradient, moves, bends)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that no step was found
            length = line_search(*functions, weights, direction, gradient, loss, maxiter=25)[0]
        if length is not None:
            break
    else:
        return "no step along the gradient lowers the error."
    after = weights + length * direction
    new, slope = evaluated(after)
    memory["weights"], memory["loss"] = torch.from_numpy(after).to(like), new
    memory["gradient"] = torch.from_numpy(slope).to(like)
    move, bend = after - weights, slope - gradient
    if move @ bend > 0:  # rounding can spoil what the Wolfe conditions promise
        moves, bends = np.vstack([moves, move])[-_HISTORY:], np.vstack([bends, bend])[-_HISTORY:]
    memory["moves"], memory["bends"] = torch.from_numpy(moves).to(like), torch.from_numpy(bends).to(like)
    return ""


def _direction(
    gradient: NDArray[np.float64], moves: NDArray[np.float64], bends: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return minus the inverse Hessian of the pairs times the gradient, by the two loops of L-BFGS."""
    left: NDArray[np.float64] = -gradient
    if not len(moves):
        left /= np.abs(left).sum()
        return left
    products = np.einsum("in,in->i", moves, bends)
    parts = np.zeros(len(moves))
    for i in reversed(range(len(moves))):
        parts[i] = moves[i] @ left / products[i]
        left = left - parts[i] * bends[i]
    left = left * (products[-1] / (bends[-1] @ bends[-1]))
    for i in range(len(moves)):
        left = left + (parts[i] - bends[i] @ left / products[i]) * moves[i]
    return left


def _adam(problem: _Problem, memory: dict[str, Any]) -> str:
    """Make one update of Adam on the next mini-batch."""
    count, batch, done = problem.count, memory["batch"], memory["step"]
    first = memory.get("first", torch.zeros_like(memory["weights"]))
    second = memory.get("second", torch.zeros_like(memory["weights"]))
    # The order of an epoch follows from the seed and its number, so a state needs no generator.
    epoch, place = divmod(done, max(1, count // batch))
    if place == 0 or "order" not in memory:
        generator = torch.Generator().manual_seed(memory["seed"] * 1_000_003 + epoch)
        memory["order"] = torch.randperm(count, generator=generator).to(problem.points.device)
    rows = memory["order"][place * batch : (place + 1) * batch]
    gradient = problem.gradient(memory["weights"], rows)[1] / len(rows)
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient.square()
    part = min(1.0, done / memory["horizon"])
    rate = memory["rate"] * (0.001 + 0.999 * (1 + math.cos(math.pi * part)) / 2)
    unbiased = first / (1 - 0.9 ** (done + 1)), second / (1 - 0.999 ** (done + 1))
    memory["weights"] = memory["weights"] - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    memory["first"], memory["second"] = first, second
    return "" if torch.isfinite(memory["weights"]).all() else "the weights are not finite."


def _rprop(problem: _Problem, memory: dict[str, Any]) -> str:
    """Make one update by the signs of the gradient, without a step where the sign has changed."""
    loss, gradient = problem.gradient(memory["weights"])
    if loss < memory["best_loss"]:
        memory["best"], memory["best_loss"] = memory["weights"], loss
    before = memory.get("gradient", torch.zeros_like(gradient))
    sizes = memory.get("sizes", torch.full_like(gradient, memory["rate"]))
    agree = (gradient * before).sign()
    factors = torch.where(agree > 0, 1.2, torch.where(agree < 0, 0.5, 1.0)).to(sizes)
    memory["sizes"] = (sizes * factors).clamp(1e-9, 1.0)
    memory["gradient"] = torch.where(agree < 0, 0, gradient)
    memory["weights"] = memory["weights"] - memory["gradient"].sign() * memory["sizes"]
    return "" if math.isfinite(loss) else "the error is not finite."


_METHODS: dict[str, Callable[[_Problem, dict[str, Any]], str]] = {
    "lm": _levenberg_marquardt,
    "lbfgs": _lbfgs,
    "adam": _adam,
    "rprop": _rprop,
}
