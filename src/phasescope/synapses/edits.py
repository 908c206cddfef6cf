"""Change one property of an output while others stay: which change of the weights does the least damage.

The output at weights w is f(w). The change dw of the weights minimises

    1/(2 N) || P (f(w + dw) - f(w)) ||^2 + ridge/2 ||dw||^2

    with   phi(w + dw) = phi(w) + amount,   q(w + dw) = q(w)

for the moved properties phi and the kept ones q. P keeps the N numbers of the output that lie outside the
supports of the moved properties; where nothing is outside, it removes the directions d phi / d output. To
first order, with the maps J of all weights and the gradients g_phi, g_q as the rows of G, this is

    dw = H^-1 G' (G H^-1 G')^-1 (amount, 0),   H = J' P J / N + ridge.

One linear step is not enough where the network bends. So the problem is linearised again at each new w
(sequential quadratic programming): a step counts only if the real output confirms it, otherwise it is
halved; what the kept properties drifted is taken back in the next step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from phasescope.errors import InputError
from phasescope.results import Result
from phasescope.synapses.properties import Property
from phasescope.synapses.sensitivity import PictureSensitivity, Sensitivity

Method = Literal["programme", "gradient", "sparse", "pair", "single"]
Model = TypeVar("Model", bound=nn.Module)

_DENSE = 5000  # weights of a picture network up to which their Gram matrix is formed
_COLUMNS = 64  # maps of any other network that are held at a time
_HALVINGS = 10
_MORE = 4  # times `tries`, while no candidate gets there
_CORRECTIONS = 3
_SLACK = 0.02  # drift relative to the amount that weighs as much as the least damage without kept ones
_SETTLED = 0.02  # relative decrease of the cost below which further steps are not worth it
_EXCHANGES = 3  # rounds in which each picked weight may give way to a better one
_PARALLEL = 1e-6  # share of a gradient that must be left beside those of the other properties


@dataclass(frozen=True)
class Edit(Result):
    """A change of the weights, what it was asked to do and what it does; made by :func:`edit`.

    Parameters
    ----------
    difference : tensor, shape (size,)
        New weights minus old ones.
    before : tensor, shape (size,)
        The weights that were given.
    asked : dict of str to float
        By how much each property was to move.
    reached : dict of str to float
        By how much it does, in the real output of the new weights.
    kept : dict of str to tuple of float
        Value of each kept property before and after.
    damage : float
        Rms change against the original, over the numbers of the output that lie outside what was moved.
    complete : bool
        Every move is reached and every kept property is where it was, within the tolerances.
    chosen : tuple of int
        The weights that were picked by method "sparse", "pair" or "single"; empty for the others.
    steps : int
        Number of linearisations.
    method : str
        How it was found.
    notes : tuple of str
        What did not succeed, in words; empty otherwise.
    """

    difference: Tensor
    before: Tensor
    asked: dict[str, float]
    reached: dict[str, float]
    kept: dict[str, tuple[float, float]]
    damage: float
    complete: bool
    chosen: tuple[int, ...]
    steps: int
    method: Method
    notes: tuple[str, ...]
    _after: Tensor = field(repr=False)
    _names: tuple[str, ...] | None = field(repr=False)

    @property
    def weights(self) -> Tensor:
        """The new weights, shape (size,)."""
        return self._after

    def applied(self, model: Model) -> Model:
        """Return a copy of a model with the new weights; the model stays as it is.

        Parameters
        ----------
        model : PictureNet or nn.Module
            The one that the sensitivity was taken of.

        Raises
        ------
        InputError
            If its weights are not those from which the edit was found.
        """
        copied = copy.deepcopy(model)
        self.apply_(copied)
        return copied

    def apply_(self, model: nn.Module) -> None:
        """Write the new weights into a model; :meth:`undo_` brings back the old ones bit by bit.

        Parameters
        ----------
        model : PictureNet or nn.Module
            The one that the sensitivity was taken of.

        Raises
        ------
        InputError
            If its weights are not those from which the edit was found.
        """
        self._write(model, self.before, self._after)

    def undo_(self, model: nn.Module) -> None:
        """Write the old weights into a model in which the new ones are.

        Parameters
        ----------
        model : PictureNet or nn.Module
            One that :meth:`apply_` has changed.

        Raises
        ------
        InputError
            If its weights are not those of the edit.
        """
        self._write(model, self._after, self.before)

    def __str__(self) -> str:
        lines = [
            f"{name}: asked {asked:+.4g}, reached {self.reached[name]:+.4g}"
            for name, asked in self.asked.items()
        ]
        lines += [f"{name}: kept, {a:.6g} before and {b:.6g} after" for name, (a, b) in self.kept.items()]
        lines.append(f"damage elsewhere {self.damage:.3g}, {self.steps} steps, method {self.method}")
        return "\n".join([*lines, *self.notes])

    def _write(self, model: nn.Module, old: Tensor, new: Tensor) -> None:
        parameters = _parameters(model, self._names)
        ends = [0]
        for parameter in parameters:
            ends.append(ends[-1] + parameter.numel())
        if ends[-1] != len(new):
            raise InputError(
                f"The model has {ends[-1]} weights, the edit {len(new)}.", "Pass the model that was edited."
            )
        with torch.no_grad():
            for parameter, start, stop in zip(parameters, ends, ends[1:], strict=False):
                if not torch.equal(parameter.reshape(-1), old[start:stop].to(parameter)):
                    raise InputError(
                        "The weights of the model are not those that this edit starts from.",
                        "Take the edit of this model, or undo what was applied to it since.",
                    )
            for parameter, start, stop in zip(parameters, ends, ends[1:], strict=False):
                parameter.copy_(new[start:stop].to(parameter).reshape(parameter.shape))


def edit(
    sensitivity: Sensitivity,
    move: Mapping[Property, float],
    keep: Sequence[Property] | Mapping[Property, float] = (),
    *,
    method: Method = "programme",
    weights: Sequence[int] | Tensor | None = None,
    count: int = 10,
    elsewhere: Tensor | None = None,
    original: Sensitivity | None = None,
    ridge: float = 1e-5,
    steps: int = 30,
    tolerance: float = 1e-3,
    iterations: int = 40,
    tries: int = 5,
) -> Edit:
    """Return the change of the weights that moves some properties, keeps others and does little else.

    The methods are:

    * ``"programme"``: the least damage, as the formula at the top of the module has it, with
      ``ridge * mean(rms**2)`` in the place of its ridge (rms of the maps of the weights).
    * ``"gradient"``: the smallest change of the weights, ``||dw||``, whatever the damage. Its first step goes
      along the gradient, projected so that the kept properties stay.
    * ``"sparse"``: the programme on `count` weights, picked one after the other by what each takes off the
      least damage.
    * ``"pair"``: on the two weights with the least damage of all pairs, for one kept property
      ``dw = (q_t, -q_s)`` times a number: what one does to it, the other takes back. More kept properties
      than two weights can hold stay as nearly as they can.
    * ``"single"``: on the one weight with the least damage.

    Nothing given is changed. Where the amount cannot be reached, the result says so and how far it got.

    Parameters
    ----------
    sensitivity : Sensitivity
        Of the network.
    move : mapping of Property to float
        By how much each is to change.
    keep : sequence of Property, or mapping of Property to float
        What is to stay; a mapping gives the drift that is allowed, otherwise it is `tolerance` times the
        largest amount.
    method : {"programme", "gradient", "sparse", "pair", "single"}
        How the change is found.
    weights : sequence of int, optional
        Weights that may change; by default all.
    count : int
        Number of weights of method "sparse".
    elsewhere : tensor of bool, optional
        Where changes of the output are damage; of the shape of the output, or of its first dimensions:
        (height, width) for a picture. By default outside the supports of the moved properties.
    original : Sensitivity, optional
        Of the network before earlier edits: what the reported damage is measured against.
    ridge : float
        Weight of the size of the change, above 0.
    steps : int
        Largest number of linearisations. 1 takes the one linear step in full, unchecked.
    tolerance : float
        Relative to the amount: when a move counts as reached.
    iterations : int
        Conjugate gradients a step, where the Gram matrix of the maps is not formed: for any network but a
        picture network of at most 5000 weights.
    tries : int
        Methods "pair" and "single" carry out so many of the candidates that are best to first order, or up to
        4 times as many while none reaches its amounts, and return the one that is best in fact.

    Returns
    -------
    Edit
        With the change and what it really does.

    Raises
    ------
    InputError
        If nothing is moved; an amount, a property or its gradient is not finite; no weight changes a moved
        property; a kept property is parallel to a moved one; there are more properties than weights; a
        number of a weight, a count or a mask is out of range.

    Notes
    -----
    A step costs one backward pass for each property and either one Gram matrix or up to `iterations`
    products forward and back, whatever the number of properties. Methods "sparse", "pair" and "single" look
    at all weights of a picture network, elsewhere at the 64 with the largest ``|g| / rms``.

    Fails: the problem is not convex, so the least damage found is that of a neighbourhood; a far amount, or a
    network with steep units, can have a better answer elsewhere.

    Null-space and rank-one edits of language models use the same algebra on the keys of one layer
    (arXiv:2410.02355). The pair is the compensation of the article on synaptic ensembles.
    """
    number = {"sparse": count, "pair": 2, "single": 1}.get(method)
    task = _checked(sensitivity, move, keep, method, number, weights, elsewhere, ridge, tolerance, iterations)
    base = sensitivity if original is None else original
    if base.output.shape != sensitivity.output.shape:
        raise InputError(
            f"The original has an output of shape {tuple(base.output.shape)}, the network "
            f"{tuple(sensitivity.output.shape)}.",
            "Take both on the same points.",
        )
    if steps < 1 or tries < 1 or iterations < 1:
        raise InputError(
            f"steps={steps}, tries={tries}, iterations={iterations}.", "Use whole numbers from 1 on."
        )
    tasks = (
        [task] if number is None else _picked(task, method, number, tries if steps == 1 else _MORE * tries)
    )
    outcomes: list[tuple[_Task, _Outcome]] = []
    for each in tasks:
        outcomes.append((each, _solved(each, steps)))
        if len(outcomes) >= tries and not all(_rank(*one)[0] for one in outcomes):
            break
    task, outcome = min(outcomes, key=lambda one: _rank(*one))
    found, moved = outcome.found, len(task.moved)
    values = task.values(found)
    return Edit(
        difference=found.weights - sensitivity.weights,
        before=sensitivity.weights.clone(),
        asked=dict(zip(task.names, map(float, move.values()), strict=False)),
        reached=dict(zip(task.names, (values - task.start)[:moved].tolist(), strict=False)),
        kept={
            name: (float(a), float(b))
            for name, a, b in zip(task.names[moved:], task.start[moved:], values[moved:], strict=True)
        },
        damage=task.outside.rms(found.output - base.output),
        complete=task.complete(found),
        chosen=() if number is None else tuple(task.columns.tolist()),
        steps=outcome.steps,
        method=method,
        notes=_notes(task, outcome),
        _after=found.weights,
        _names=_parameter_names(sensitivity),
    )


@dataclass(frozen=True)
class _Outside:
    """What counts as damage in a change of the output: a mask of its shape, or all but some directions."""

    mask: Tensor | None
    directions: Tensor | None  # orthonormal, one a row
    count: int

    def part(self, change: Tensor) -> Tensor:
        """Return the damage in a change of the output, or in k of them."""
        if self.mask is not None:
            return change * self.mask
        assert self.directions is not None
        rows = change.reshape(-1, self.directions.shape[1])
        return (rows - (rows @ self.directions.T) @ self.directions).reshape(change.shape)

    def rms(self, change: Tensor) -> float:
        return math.sqrt(float(self.part(change).square().sum()) / self.count)

    def gram(self, at: Sensitivity, columns: Tensor) -> Tensor:
        """Return J' P J / N for some weights, in float64."""
        if len(columns) > _COLUMNS and isinstance(at, PictureSensitivity):
            full = self._of_picture(at)
            if full is not None:
                return full[columns][:, columns].double() / self.count
        maps = torch.stack([self.part(at.change(_unit(at, column))).reshape(-1) for column in columns])
        return (maps @ maps.T).double() / self.count

    def _of_picture(self, at: PictureSensitivity) -> Tensor | None:
        """Return J' P J of all weights, or None where the mask tells outputs of one pixel apart."""
        if self.mask is not None:
            pixels = self.mask[..., 0]
            same = torch.equal(self.mask, pixels[..., None].expand_as(self.mask))
            return at.gram(pixels) if same else None
        assert self.directions is not None
        seen = at.pulled_back(self.directions.reshape(-1, *at.output.shape))
        return at.gram() - seen.T @ seen


@dataclass(frozen=True)
class _Task:
    """An edit in the form of numbers: the moved properties first, then the kept ones."""

    sensitivity: Sensitivity
    outside: _Outside
    moved: tuple[Property, ...]
    kept: tuple[Property, ...]
    start: Tensor  # values of the properties
    targets: Tensor
    allowed: Tensor  # distance from the target that counts as none
    slack: Tensor  # and that which weighs as much as the least damage, where not all can be held
    columns: Tensor  # weights that may change
    energies: Tensor  # mean squares of their maps; 1 where damage does not count
    ridge: float
    iterations: int
    damages: bool  # False: the size of the change counts alone
    prices: Tensor | None = None  # of squared drifts of the kept, where the weights cannot hold them all

    @property
    def properties(self) -> tuple[Property, ...]:
        return (*self.moved, *self.kept)

    @property
    def names(self) -> tuple[str, ...]:
        return _numbered(self.properties)

    @property
    def held(self) -> int:
        """Number of properties, from the first on, that are constraints."""
        return len(self.moved) if self.prices is not None else len(self.properties)

    def values(self, at: Sensitivity) -> Tensor:
        with torch.no_grad():
            values = [float(prop.value(at.output)) for prop in self.properties]
        return torch.tensor(values, dtype=torch.float64)

    def complete(self, at: Sensitivity) -> bool:
        return bool(((self.targets - self.values(at)).abs() <= self.allowed).all())

    def merit(self, at: Sensitivity, fines: Tensor) -> float:
        misses = (self.targets - self.values(at))[: self.held].abs()
        return self.cost(at) + float(fines @ misses)

    def cost(self, at: Sensitivity) -> float:
        """Return half of what is made small: mean square damage, size of the change, priced drifts."""
        difference = at.weights - self.sensitivity.weights
        cost = self.ridge * float(difference.double().square().sum())
        if self.damages:
            cost += self.outside.rms(at.output - self.sensitivity.output) ** 2
        if self.prices is not None:
            drifts = (self.values(at) - self.targets)[self.held :]
            cost += float((self.prices * drifts.square()).sum())
        return cost / 2


class _Linear:
    """The problem to first order in the weights of one point."""

    def __init__(self, task: _Task, at: Sensitivity, damping: float = 0.0) -> None:
        self.task, self.at, self.columns = task, at, task.columns
        self.ridge = task.ridge + damping
        seeds = [prop.gradient(at.output) for prop in task.properties]
        done = task.outside.part(at.output - task.sensitivity.output) / task.outside.count
        rows = at.pulled_back(torch.stack([*seeds, done]))[:, task.columns].double()
        self.gradients = rows[:-1]
        difference = (at.weights - task.sensitivity.weights)[task.columns].double()
        self.slope = task.ridge * difference + (rows[-1] if task.damages else 0)
        if task.prices is not None:
            drifts = (task.values(at) - task.targets)[task.held :].to(rows)
            self.slope = self.slope + (task.prices.to(rows) * drifts) @ self.gradients[task.held :]

    @cached_property
    def hessian(self) -> Tensor:
        """J' P J / N and the ridge, with what drifts with a price add."""
        task, count = self.task, len(self.columns)
        total = self.ridge * torch.eye(count, dtype=torch.float64, device=self.gradients.device)
        if task.damages:
            total += task.outside.gram(self.at, self.columns)
        if task.prices is not None:
            rows = self.gradients[task.held :]
            total += (rows.T * task.prices.to(rows)) @ rows
        return total

    @property
    def exact(self) -> bool:
        """Whether H^-1 is at hand; products with H alone serve otherwise."""
        most = _DENSE if isinstance(self.at, PictureSensitivity) else _COLUMNS
        return len(self.columns) <= most or (not self.task.damages and self.task.prices is None)

    def solved(self, rows: Tensor) -> Tensor:
        """Return H^-1 of each row."""
        if not self.task.damages and self.task.prices is None:
            return rows / self.ridge
        factor = torch.linalg.cholesky(self.hessian)
        return torch.cholesky_solve(rows.T, factor).T

    def _product(self, row: Tensor) -> Tensor:
        at, outside = self.at, self.task.outside
        full = at.weights.new_zeros(at.size)
        full[self.columns] = row.to(full)
        back = at.pulled_back(outside.part(at.change(full)))[self.columns]
        return back.double() / outside.count + self.ridge * row

    @cached_property
    def _steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return H^-1 G', H^-1 of the slope, and the inverse of G H^-1 G', one property a row."""
        solved = self.solved(torch.cat([self.constraints, self.slope[None]]))
        return solved[:-1], solved[-1], _inverse(self.constraints, solved[:-1])

    @property
    def constraints(self) -> Tensor:
        return self.gradients[: self.task.held]

    def step(self, misses: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best step that removes the misses to first order, and the multipliers."""
        needed = misses[: self.task.held].to(self.slope)
        if not self.exact:
            return self._projected(needed, self.slope, self.task.iterations)
        across, free, inverse = self._steps
        multipliers = inverse @ (needed + self.constraints @ free)
        return multipliers @ across - free, multipliers

    def correction(self, misses: Tensor) -> Tensor:
        """Return the cheapest step that removes the misses to first order, whatever else there is to gain."""
        needed = misses[: self.task.held].to(self.slope)
        if not self.exact:
            return self._projected(needed, torch.zeros_like(self.slope), self.task.iterations // 4)[0]
        across, _, inverse = self._steps
        return inverse @ needed @ across

    def _projected(self, needed: Tensor, slope: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
        """Minimise d' H d / 2 + slope . d with G d = needed by projected conjugate gradients.

        H is taken times one vector an iteration, whatever the number of properties, and G d = needed holds
        after each: steps start from the smallest one that does, and directions are projected on G d = 0, both
        in the metric of the diagonal of H (Gould, Hribar and Nocedal 2001, algorithm 2.1).
        """
        diagonal = self.task.energies.to(slope) + self.ridge
        across = self.constraints / diagonal
        inverse = _inverse(self.constraints, across)
        multipliers = torch.zeros_like(needed)

        def project(left: Tensor) -> tuple[Tensor, Tensor]:
            # What the constraints carry is taken out of the residual itself, or rounding grows in it.
            nonlocal multipliers
            carried = inverse @ (across @ left)
            multipliers = multipliers + carried
            left = left - carried @ self.constraints
            return left, left / diagonal - inverse @ (across @ left) @ across

        solution = inverse @ needed @ across
        left, projected = project(self._product(solution) + slope)
        direction, size = -projected, left @ projected
        goal = 1e-24 * size
        for _ in range(iterations):
            if size <= goal:
                break
            image = self._product(direction)
            length = size / (direction @ image).clamp(min=1e-300)
            solution = solution + length * direction
            left, projected = project(left + length * image)
            before, size = size, left @ projected
            direction = size / before * direction - projected
        return solution, multipliers


def _inverse(constraints: Tensor, across: Tensor) -> Tensor:
    """Return the inverse of the small matrix of constraints times what they move."""
    matrix = constraints @ across.T
    scale = matrix.diagonal().clamp(min=1e-300).rsqrt()
    inverse: Tensor = torch.linalg.pinv(scale[:, None] * matrix * scale, rtol=1e-12)
    return scale[:, None] * inverse * scale


@dataclass(frozen=True)
class _Outcome:
    """Where a task ended."""

    found: Sensitivity
    steps: int
    stuck: bool


def _solved(task: _Task, steps: int) -> _Outcome:
    """Linearise, step, look at the real output, and again.

    Steps must lower cost + fines . |misses|, with fines above the multipliers (the exact penalty of
    sequential quadratic programming). Where only a short step does, the next ones get a damping: the change
    of the weights weighs more, the direction turns towards the gradient.
    """
    at = task.sensitivity
    if steps == 1:
        step, _ = _Linear(task, at).step(task.targets - task.start)
        return _Outcome(at.at(_moved(at, task.columns, step)), 1, False)
    damping, before = 0.0, math.inf
    fines = torch.zeros(task.held, dtype=torch.float64)
    for done in range(1, steps + 1):
        linear = _Linear(task, at, damping)
        misses = task.targets - task.values(at)
        step, multipliers = linear.step(misses)
        fines = torch.maximum(fines, 2 * multipliers.abs().cpu())
        slope = float(linear.slope @ step) - float(fines @ misses[: task.held].abs())
        cost, merit = task.cost(at), task.merit(at, fines)
        gained = before - cost if done > 2 else math.inf
        if min(-slope, gained) <= _SETTLED * cost or done == steps:
            met = _met(linear)
            if met is not None:
                return _Outcome(met, done, False)
        before, length, trial = cost, 1.0, None
        while trial is None and length > 2.0**-_HALVINGS:
            trial = _confirmed(
                linear, length * step, (1 - length) * misses, fines, merit + 1e-4 * length * slope
            )
            length /= 1 if trial is not None else 2
        if trial is not None:
            at = trial
        if length < 0.25:
            damping = max(10 * damping, 10 * task.ridge)
        elif length == 1:
            damping /= 10
        exhausted = damping > 1e6 * task.ridge or len(task.columns) == task.held
        if trial is None and exhausted:
            return _Outcome(at, done, True)
    return _Outcome(at, steps, False)


def _met(linear: _Linear) -> Sensitivity | None:
    """Return the network itself, or after a correction, if all moves are reached and what is held is kept."""
    task, at = linear.task, linear.at
    for _ in range(_CORRECTIONS):
        misses = task.targets - task.values(at)
        if (misses.abs() <= task.allowed)[: task.held].all():
            return at
        trial = _tried(at, _moved(at, task.columns, linear.correction(misses)))
        if trial is None:
            return None
        at = trial
    return None


def _confirmed(
    linear: _Linear, step: Tensor, left: Tensor, fines: Tensor, limit: float
) -> Sensitivity | None:
    """Return the network after a step if its merit is within the limit, else after one more correction.

    The correction takes back, at the least cost to first order, what properties are off from the misses
    that the step was to leave: without it the bending of the properties makes the steps short.
    """
    task, at = linear.task, linear.at
    trial = _tried(at, _moved(at, task.columns, step))
    if trial is None:
        return None
    off = task.targets - task.values(trial) - left
    better = _tried(at, _moved(at, task.columns, step + linear.correction(off)))
    found = [each for each in (trial, better) if each is not None]
    best = min(found, key=lambda each: task.merit(each, fines))
    return best if task.merit(best, fines) <= limit else None


def _tried(at: Sensitivity, weights: Tensor) -> Sensitivity | None:
    """Return the network at other weights, or None where its output is not finite."""
    if not torch.isfinite(weights).all():
        return None
    trial = at.at(weights)
    return trial if torch.isfinite(trial.output).all() else None


def _moved(at: Sensitivity, columns: Tensor, step: Tensor) -> Tensor:
    weights = at.weights.clone()
    weights[columns] += step.to(weights)
    return weights


def _unit(at: Sensitivity, column: Tensor) -> Tensor:
    one = torch.zeros_like(at.weights)
    one[column] = 1
    return one


def _picked(task: _Task, method: Method, number: int, tries: int) -> list[_Task]:
    """Return the task on the weights that are best to first order; for a pair or a single, several."""
    if max(len(task.columns), len(task.properties)) <= number:
        return [task]
    if method == "sparse":
        linear = _shortlist(task, 2 * number)
        return [_only(task, linear.columns[_greedy(linear, min(number, len(linear.columns)))])]
    moved = len(task.moved)
    linear = _shortlist(task, 0)
    damages = _of_pairs if method == "pair" else _of_singles
    if len(task.properties) > number:
        amounts = (task.targets - task.start)[:moved].to(linear.gradients)
        free = damages(linear.hessian, linear.gradients[:moved], amounts).min()
        task = replace(task, prices=float(free) / task.slack[moved:].square())
        linear = _shortlist(task, 0)
    rows, wanted = linear.gradients[: task.held], (task.targets - task.start)[: task.held]
    losses = damages(linear.hessian, rows, wanted.to(rows))
    best = torch.argsort(losses.reshape(-1))[:tries]
    best = best[torch.isfinite(losses.reshape(-1)[best])]
    if not len(best):
        raise InputError(
            f"No {'two weights' if method == 'pair' else 'weight'} can do this to first order.",
            "Allow more weights, or keep fewer properties.",
        )
    places = torch.stack(torch.unravel_index(best, losses.shape), dim=1)
    return [_only(task, linear.columns[place]) for place in places]


def _only(task: _Task, columns: Tensor) -> _Task:
    return replace(task, columns=columns, energies=task.energies[torch.isin(task.columns, columns)])


def _shortlist(task: _Task, least: int) -> _Linear:
    """Return the problem on all weights of a picture network, else on those of largest |g| / rms."""
    linear = _Linear(task, task.sensitivity)
    most = _DENSE if isinstance(task.sensitivity, PictureSensitivity) else max(_COLUMNS, least)
    if len(task.columns) <= most:
        return linear
    rms = task.energies.to(linear.gradients).sqrt()
    strengths = linear.gradients[: len(task.moved)].abs()
    shares = strengths / strengths.amax(1, keepdim=True) / rms.clamp(min=1e-12 * float(rms.max()))
    columns = task.columns[torch.topk(shares.amax(0), most).indices.sort().values]
    return _Linear(_only(task, columns), task.sensitivity)


def _of_singles(hessian: Tensor, rows: Tensor, wanted: Tensor) -> Tensor:
    """Return twice the cost of one weight alone that meets the one constraint, shape (n,)."""
    losses = wanted[0] ** 2 * hessian.diagonal() / rows[0].square()
    return torch.nan_to_num(losses, nan=torch.inf, posinf=torch.inf)


def _of_pairs(hessian: Tensor, rows: Tensor, wanted: Tensor) -> Tensor:
    """Return twice the cost of two weights s < t that meet one or two constraints, shape (n, n)."""
    own = hessian.diagonal()
    if len(rows) == 1:
        g = rows[0]
        across = g[:, None] ** 2 * own - 2 * g[:, None] * g * hessian + own[:, None] * g**2
        losses = wanted[0] ** 2 * (own[:, None] * own - hessian**2) / across
    else:
        (g, q), (d, e) = rows, wanted
        determinant = g[:, None] * q - q[:, None] * g
        first = (d * q - e * g)[None, :] / determinant
        second = (e * g - d * q)[:, None] / determinant
        losses = first**2 * own[:, None] + 2 * first * second * hessian + second**2 * own
    losses = torch.nan_to_num(losses, nan=torch.inf, posinf=torch.inf)
    return torch.where(torch.ones_like(losses, dtype=torch.bool).triu(1), losses, torch.inf)


def _greedy(linear: _Linear, count: int) -> Tensor:
    """Return the places of `count` weights: each takes most off the cost of those so far; then exchanges.

    With misses at the price V0 / slack^2, a set S costs at least V(S) = t' (E + G_S H_SS^-1 G_S')^-1 t,
    with E = slack^2 / V0 on the diagonal, t the amounts (0 for the kept) and V0 the cost of all weights.
    """
    task, hessian, rows = linear.task, linear.hessian, linear.gradients
    wanted = (task.targets - task.start).to(rows)
    matrix = rows @ torch.cholesky_solve(rows.T, torch.linalg.cholesky(hessian))
    least = wanted @ torch.linalg.pinv(matrix, hermitian=True) @ wanted
    slack = torch.diag(task.slack.to(rows).square() / least)

    def best_beside(chosen: list[int]) -> int:
        """Return the weight that takes most off V."""
        factor = torch.linalg.cholesky(hessian[chosen][:, chosen])
        across = torch.linalg.solve_triangular(factor, hessian[chosen], upper=False)
        seen = torch.linalg.solve_triangular(factor, rows[:, chosen].T, upper=False)
        left = rows - seen.T @ across
        inverse = torch.linalg.inv(slack + seen.T @ seen)
        own = (hessian.diagonal() - across.square().sum(0)).clamp(min=linear.ridge)
        gains = (wanted @ inverse @ left).square() / (own + (left * (inverse @ left)).sum(0))
        gains[chosen] = -1
        return int(gains.argmax())

    chosen: list[int] = []
    while len(chosen) < count:
        chosen.append(best_beside(chosen))
    for _ in range(_EXCHANGES):
        before = set(chosen)
        for place in list(chosen):
            others = [each for each in chosen if each != place]
            chosen = [*others, best_beside(others)]
        if set(chosen) == before:
            break
    return torch.tensor(sorted(chosen), device=rows.device)


def _rank(task: _Task, outcome: _Outcome) -> tuple[bool, float, float]:
    """Return what is smallest for the best outcome: moves missed, by how much, cost."""
    misses = ((task.targets - task.values(outcome.found)).abs() / task.allowed)[: task.held]
    missed = bool((misses > 1).any())
    return missed, float(misses.sum()) if missed else 0.0, task.cost(outcome.found)


def _notes(task: _Task, outcome: _Outcome) -> tuple[str, ...]:
    notes, values = [], task.values(outcome.found)
    why = (
        "no step of these weights brings it closer"
        if outcome.stuck
        else f"stopped after {outcome.steps} linearisation{'s' * (outcome.steps > 1)}"
    )
    for i, name in enumerate(task.names):
        if abs(task.targets[i] - values[i]) <= task.allowed[i]:
            continue
        if i < len(task.moved):
            asked, reached = task.targets[i] - task.start[i], values[i] - task.start[i]
            notes.append(f"{name}: asked {asked:+.4g}, reached {reached:+.4g}; {why}.")
        else:
            drift = values[i] - task.start[i]
            few = len(task.columns) < len(task.properties)
            notes.append(
                f"{name} was to stay and drifted by {drift:+.3g}"
                + (
                    f"; {len(task.columns)} weight{'s' * (len(task.columns) > 1)} cannot hold it."
                    if few
                    else f"; {why}."
                )
            )
    return tuple(notes)


def _checked(
    sensitivity: Sensitivity,
    move: Mapping[Property, float],
    keep: Sequence[Property] | Mapping[Property, float],
    method: Method,
    number: int | None,
    weights: Sequence[int] | Tensor | None,
    elsewhere: Tensor | None,
    ridge: float,
    tolerance: float,
    iterations: int,
) -> _Task:
    """Return the task, or say what is wrong with it."""
    if method not in get_args(Method):
        raise InputError(f"method={method!r} is unknown.", f"Use one of {', '.join(get_args(Method))}.")
    if not (0 < ridge < math.inf and 0 < tolerance < 1):
        raise InputError(f"ridge={ridge}, tolerance={tolerance}.", "Use positive numbers, tolerance below 1.")
    moved, kept = tuple(move), tuple(keep)
    _check_properties(moved, kept)
    for prop, amount in move.items():
        if not math.isfinite(amount) or amount == 0:
            fix = "Put it among the kept ones." if amount == 0 else "Give a finite amount."
            raise InputError(f"{prop.name} is to move by {amount}.", fix)
    columns = _columns(sensitivity, weights)
    _check_counts(len(columns), number, len(moved), 0 if method in ("pair", "single") else len(kept))
    output = sensitivity.output
    outside = _outside(output, moved, elsewhere)
    gradients = sensitivity.pulled_back(torch.stack([p.gradient(output) for p in (*moved, *kept)]))
    rows = gradients[:, columns].double()
    few = number is not None and method != "sparse" and len(moved) <= number < len(rows)
    _check_independent(rows[: len(moved)] if few else rows, moved, () if few else kept)
    amounts = torch.tensor([float(amount) for amount in move.values()], dtype=torch.float64)
    largest = amounts.abs().max()
    drifts = largest.expand(len(kept)) * tolerance
    slack = torch.cat([tolerance * amounts.abs(), largest.expand(len(kept)) * _SLACK])
    if isinstance(keep, Mapping):
        drifts = torch.tensor([float(drift) for drift in keep.values()], dtype=torch.float64)
        if not (drifts > 0).all() or not torch.isfinite(drifts).all():
            raise InputError(f"The allowed drifts are {drifts.tolist()}.", "Use positive numbers.")
        slack[len(moved) :] = drifts
    damages = method != "gradient"
    energies = sensitivity.rms[columns].double().square() if damages else torch.ones(len(columns))
    task = _Task(
        sensitivity=sensitivity,
        outside=outside,
        moved=moved,
        kept=kept,
        start=torch.zeros(0),
        targets=torch.zeros(0),
        allowed=torch.cat([tolerance * amounts.abs(), drifts]),
        slack=slack,
        columns=columns,
        energies=energies,
        ridge=ridge * float(energies.mean()) if damages else 1.0,
        iterations=iterations,
        damages=damages,
    )
    start = task.values(sensitivity)
    return replace(task, start=start, targets=start + torch.cat([amounts, torch.zeros(len(kept))]))


def _check_properties(moved: Sequence[Property], kept: Sequence[Property]) -> None:
    if not moved:
        raise InputError("Nothing is to be moved.", "Give move={property: amount}.")
    for prop in (*moved, *kept):
        if not isinstance(prop, Property):
            raise InputError(f"{prop!r} is no property.", "Use MeanColour, Custom or another Property.")
    for prop in moved:
        if any(prop is other for other in kept):
            raise InputError(f"{prop.name} is moved and kept.", "Name each property once.")


def _numbered(properties: Sequence[Property]) -> tuple[str, ...]:
    """Return the names of properties; of those that share one, all but the first are numbered."""
    names = [prop.name for prop in properties]
    before = [names[:i].count(name) for i, name in enumerate(names)]
    return tuple(
        f"{name} ({number + 1})" if number else name for name, number in zip(names, before, strict=True)
    )


def _columns(sensitivity: Sensitivity, weights: Sequence[int] | Tensor | None) -> Tensor:
    device = sensitivity.weights.device
    if weights is None:
        return torch.arange(sensitivity.size, device=device)
    columns = torch.as_tensor(weights, device=device)
    if columns.ndim != 1 or not len(columns) or columns.is_floating_point() or columns.dtype == torch.bool:
        raise InputError(f"weights={weights!r} are no weights.", "Give their numbers.")
    if int(columns.min()) < 0 or int(columns.max()) >= sensitivity.size:
        raise InputError(
            f"Weight {int(columns.min()) if int(columns.min()) < 0 else int(columns.max())} does not exist.",
            f"Weights run from 0 to {sensitivity.size - 1}.",
        )
    found: Tensor = torch.unique(columns)
    return found


def _outside(output: Tensor, moved: Sequence[Property], elsewhere: Tensor | None) -> _Outside:
    """Return where changes are damage; where nothing is outside, all but what moves the properties."""
    if elsewhere is not None:
        mask = _spread(elsewhere, output, "elsewhere")
        if not mask.any():
            raise InputError("elsewhere is empty.", "Mark where a change is damage, or leave it out.")
        return _Outside(mask, None, int(mask.sum()))
    supports = [(prop.name, prop.support(output)) for prop in moved]
    masks = [_spread(support, output, name) for name, support in supports if support is not None]
    if len(masks) == len(moved):
        outside = ~torch.stack(masks).any(0)
        if outside.any():
            return _Outside(outside, None, int(outside.sum()))
    rows = torch.stack([prop.gradient(output).reshape(-1) for prop in moved])
    _, sizes, basis = torch.linalg.svd(rows, full_matrices=False)
    return _Outside(None, basis[sizes > 1e-10 * sizes[0]], output.numel())


def _spread(mask: Tensor, output: Tensor, name: str) -> Tensor:
    """Return a mask over the first dimensions of the output in the output's shape."""
    if mask.dtype != torch.bool or mask.shape != output.shape[: mask.ndim]:
        raise InputError(
            f"{name}: the mask is {mask.dtype} of shape {tuple(mask.shape)}.",
            f"Use bool and the shape of the output, {tuple(output.shape)}, or of its first dimensions.",
        )
    return mask.to(output.device).reshape(*mask.shape, *[1] * (output.ndim - mask.ndim)).expand_as(output)


def _check_independent(rows: Tensor, moved: Sequence[Property], kept: Sequence[Property]) -> None:
    """Raise unless each moved property has a direction of its own among the gradients."""
    names = _numbered((*moved, *kept))
    sizes = rows.norm(dim=1)
    if not torch.isfinite(sizes).all():
        raise InputError(
            f"The gradient of {names[int((~torch.isfinite(sizes)).nonzero()[0])]} is not finite.",
            "Check the network and the property.",
        )
    for i in range(len(moved)):
        if sizes[i] == 0:
            raise InputError(f"No weight changes {names[i]} here.", "Move another property.")
        others = [j for j in range(len(names)) if j != i and sizes[j] > 0]
        units = rows[others] / sizes[others, None]
        own = rows[i] / sizes[i]
        _, spread, basis = torch.linalg.svd(units, full_matrices=False)
        basis = basis[spread > 1e-9 * spread.max()] if len(others) else basis
        if (own - (basis @ own) @ basis).norm() > _PARALLEL:
            continue
        nearest = int((units @ own).abs().argmax())
        alone = abs(float(units[nearest] @ own)) > 1 - _PARALLEL
        what = names[others[nearest]] if alone else f"together, {', '.join(names[j] for j in others)}"
        role = "Moved" if alone and others[nearest] < len(moved) else "Kept"
        raise InputError(
            f"{role} {what}: parallel to {names[i]}, to first order these weights cannot move one without "
            "the other.",
            "Leave one out, or allow more weights.",
        )


def _check_counts(columns: int, number: int | None, moved: int, kept: int) -> None:
    if number is not None and number < 1:
        raise InputError(f"count={number} weights.", "Allow at least one.")
    free = columns if number is None else min(number, columns)
    if free < moved + kept:
        raise InputError(
            f"{free} weight{'s' * (free > 1)} cannot hold {moved} moved and {kept} kept properties.",
            "Allow at least as many weights as properties.",
        )


def _parameter_names(sensitivity: Sensitivity) -> tuple[str, ...] | None:
    """Return the parameters whose numbers the weights are, in order; None for all that are trained."""
    if isinstance(sensitivity, PictureSensitivity):
        return ("weights",)
    pieces = getattr(sensitivity, "pieces", None)
    return None if pieces is None else tuple(piece.names[0] for piece in pieces)


def _parameters(model: nn.Module, names: tuple[str, ...] | None) -> list[nn.Parameter]:
    if names is None:
        return [parameter for parameter in model.parameters() if parameter.requires_grad]
    known = dict(model.named_parameters(remove_duplicate=False))
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"The model has no parameter {missing[0]}.", "Pass the model that was edited.")
    return [known[name] for name in names]
