"""One step of training as a map of a flat state: weights, and what the optimiser remembers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from phasescope.errors import InputError
from phasescope.recording.modules import as_module
from phasescope.recording.tangents import load_forward_mode
from phasescope.training.objective import Loss, Objective, objective
from phasescope.training.rules import (
    Adam,
    AdamW,
    GradientDescent,
    HeavyBall,
    MomentumRMSprop,
    Nesterov,
    Number,
    RMSprop,
    Rule,
)

_ROWWISE = 2**20  # entries of the tangents above which they are moved one by one
_PIECE = 2**14  # entries that are then moved at once


class Map(ABC):
    """A map of a flat state in discrete time: what all instruments of training take.

    Attributes
    ----------
    size : int
        Length of a state.
    weights : int
        The first so many entries are the network's weights; the rest is what the optimiser remembers.
    initial : Tensor of shape (size,)
        The state at step 0.
    slices : dict of str to slice
        Place of each parameter among the weights, by name.
    is_weight : Tensor of bool, shape (weights,)
        True for entries of parameters with two or more dimensions.
    """

    size: int
    weights: int
    initial: Tensor
    slices: dict[str, slice]
    is_weight: Tensor

    @abstractmethod
    def advance(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Return the state after step `t`, and the loss before it.

        Parameters
        ----------
        x : Tensor of shape (size,) or (M, size)
            One state, or one for each of `M` copies.
        t : int
            The step.

        Returns
        -------
        state : Tensor of the shape of `x`
            One step later.
        loss : Tensor of shape () or (M,)
            NaN for a map without a loss.
        """

    @abstractmethod
    def tangent(
        self, x: Tensor, v: Tensor, t: int, *, overwrite: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the state after step `t`, what the step's derivative makes of `v`, and the loss before it.

        Parameters
        ----------
        x : Tensor of shape (size,) or (M, size)
            One state, or one for each of `M` copies.
        v : Tensor of shape (k, size) or (M, k, size)
            Small changes of the state.
        t : int
            The step.
        overwrite : bool
            Whether the result may take the place of `v`, which saves its memory.

        Returns
        -------
        state : Tensor of the shape of `x`
            One step later.
        changes : Tensor of the shape of `v`
            One step later.
        loss : Tensor of shape () or (M,)
            NaN for a map without a loss.
        """

    @abstractmethod
    def loss(self, x: Tensor, t: int = 0) -> Tensor:
        """Return the loss that step `t` sees; NaN for a map without one.

        Parameters
        ----------
        x : Tensor of shape (size,) or (M, size)
            One state, or one for each of `M` copies.
        t : int
            The step.
        """

    def step(self, x: Tensor, t: int) -> Tensor:
        """Return the state after step `t`.

        Parameters
        ----------
        x : Tensor of shape (size,) or (M, size)
            One state, or one for each of `M` copies.
        t : int
            The step.
        """
        return self.advance(x, t)[0]

    def weights_of(self, x: Tensor) -> Tensor:
        """Return the weights in a state, as a view.

        Parameters
        ----------
        x : Tensor of shape (..., size)
            States.
        """
        return x[..., : self.weights]


class TrainingMap(Map):
    """One step of an optimiser on a loss.

    Parameters
    ----------
    objective : Objective
        The loss.
    rule : Rule
        The optimiser's update.
    initial : Tensor of shape (size,), optional
        The state at step 0; by default the weights of the model, and zeros for what the optimiser remembers.
    """

    def __init__(self, objective: Objective, rule: Rule, initial: Tensor | None = None) -> None:
        self.objective, self.rule = objective, rule
        self.weights = objective.size
        self.size = len(rule.slots) * objective.size
        self.slices, self.is_weight = objective.slices, objective.is_weight
        self.initial = self.state(objective.initial) if initial is None else initial

    def state(self, w: Tensor) -> Tensor:
        """Return the state of a fresh optimiser with the given weights.

        Parameters
        ----------
        w : Tensor of shape (..., weights)
            Weights.
        """
        return torch.cat([w, w.new_zeros((*w.shape[:-1], self.size - self.weights))], dim=-1)

    def with_rate(self, rate: Number) -> TrainingMap:
        """Return the same map with another learning rate.

        Parameters
        ----------
        rate : float or Tensor of shape (weights,)
            The rate.
        """
        return TrainingMap(self.objective, replace(self.rule, rate=rate), self.initial)

    def parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the parts of a state, in the order of ``rule.slots``, as views.

        Parameters
        ----------
        x : Tensor of shape (..., size)
            States.
        """
        return torch.split(x, self.weights, dim=-1)

    def loss(self, x: Tensor, t: int = 0) -> Tensor:
        return self.objective.loss(self.weights_of(x), t)

    def advance(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        parts = self.parts(x)
        loss, gradient = self.objective.gradient(parts[0], t)
        return torch.cat(self.rule.step(parts, gradient, t), dim=-1), loss

    def tangent(
        self, x: Tensor, v: Tensor, t: int, *, overwrite: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        if x.ndim == 1 and v.numel() > _ROWWISE:
            return self._tangent_by_rows(x, v, t, overwrite=overwrite)
        parts = self.parts(x)
        changes = self.parts(v)
        loss, gradient, d_gradient = self.objective.products(parts[0], changes[0], t)
        wide = [each.unsqueeze(-2) for each in parts]
        moved = self.rule.tangent(wide, gradient.unsqueeze(-2), changes, d_gradient, t)
        return torch.cat(self.rule.step(parts, gradient, t), dim=-1), torch.cat(moved, dim=-1), loss

    def _tangent_by_rows(
        self, x: Tensor, v: Tensor, t: int, *, overwrite: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Move one change after the other, each in pieces, which holds few vectors beside the changes."""
        parts = self.parts(x)
        loss, gradient, product = self.objective.linearised(parts[0], t)
        pieces = [slice(i, i + _PIECE) for i in range(0, self.weights, _PIECE)]
        rules = [_restricted(self.rule, piece) for piece in pieces]
        out = v if overwrite else torch.empty_like(v)
        for row, target in zip(v, out, strict=True):
            changes, places = self.parts(row), self.parts(target)
            d_gradient = product(changes[0])
            for piece, rule in zip(pieces, rules, strict=True):
                here, d_here = [each[piece] for each in parts], [each[piece] for each in changes]
                moved = rule.tangent(here, gradient[piece], d_here, d_gradient[piece], t)
                for new, place in zip(moved, places, strict=True):
                    place[piece] = new
            del d_gradient
        del product
        state = torch.empty_like(x)
        for piece, rule in zip(pieces, rules, strict=True):
            moved = rule.step([each[piece] for each in parts], gradient[piece], t)
            for new, place in zip(moved, self.parts(state), strict=True):
                place[piece] = new
        return state, out, loss


def _restricted(rule: Rule, piece: slice) -> Rule:
    """Return a rule for some of the weights."""
    options = {each.name: getattr(rule, each.name) for each in fields(rule)}
    own: dict[str, Any] = {
        name: value[piece] for name, value in options.items() if isinstance(value, Tensor) and value.ndim
    }
    return replace(rule, **own)


class StepMap(Map):
    """Any pure function of a state and the step.

    Parameters
    ----------
    step : callable
        ``step(state, t)`` returns the next state, a tree of tensors of the same structure and shapes.
    state : tree of tensors
        The state at step 0: a tensor, or nested dicts, lists and tuples of floating-point tensors.
    loss : callable, optional
        ``loss(state, t)`` returns one number, which the map reports and does not use.

    Raises
    ------
    InputError
        If the state holds anything but floating-point tensors, or a step changes its structure, or two calls
        of `step` differ.
    """

    def __init__(
        self, step: Callable[[Any, int], Any], state: Any, loss: Callable[[Any, int], Any] | None = None
    ) -> None:
        leaves, self._tree = _pytree.tree_flatten(state)
        if not leaves or not all(isinstance(each, Tensor) and each.is_floating_point() for each in leaves):
            kinds = ", ".join(sorted({type(each).__name__ for each in leaves})) or "nothing"
            raise InputError(
                f"The state holds {kinds}.", "Pass a tree of floating-point tensors, such as a dict of them."
            )
        self._step, self._loss = step, loss
        self._shapes = [each.shape for each in leaves]
        self._sizes = [each.numel() for each in leaves]
        self.initial = torch.cat([each.detach().flatten() for each in leaves])
        self.size = self.weights = len(self.initial)
        paths = [
            _pytree.keystr(path).strip("[]'.") or "state"
            for path, _ in _pytree.tree_flatten_with_path(state)[0]
        ]
        starts = [sum(self._sizes[:i]) for i in range(len(leaves))]
        self.slices = {
            path: slice(start, start + size)
            for path, start, size in zip(paths, starts, self._sizes, strict=True)
        }
        self.is_weight = torch.cat(
            [torch.full((each.numel(),), each.ndim > 1, device=self.initial.device) for each in leaves]
        )
        first, second = self._flat_step(self.initial, 0), self._flat_step(self.initial, 0)
        if not torch.equal(first, second):
            raise InputError(
                "Two calls of the step from the same state differ.", "Draw its random numbers beforehand."
            )

    def tree(self, x: Tensor) -> Any:
        """Return a flat state in the structure of the user's own.

        Parameters
        ----------
        x : Tensor of shape (size,)
            A state.
        """
        leaves = [
            part.view(shape) for part, shape in zip(torch.split(x, self._sizes), self._shapes, strict=True)
        ]
        return _pytree.tree_unflatten(leaves, self._tree)

    def _flat_step(self, x: Tensor, t: int) -> Tensor:
        leaves, tree = _pytree.tree_flatten(self._step(self.tree(x), t))
        if tree != self._tree or [each.shape for each in leaves] != self._shapes:
            raise InputError(
                f"The step returns {[tuple(each.shape) for each in leaves]}, the state has "
                f"{[tuple(shape) for shape in self._shapes]}.",
                "Return the state with the same structure and shapes.",
            )
        return torch.cat([each.reshape(-1) for each in leaves])

    def loss(self, x: Tensor, t: int = 0) -> Tensor:
        function = self._loss
        if function is None:
            return x.new_full(x.shape[:-1], math.nan)
        with torch.no_grad():
            if x.ndim == 1:
                return torch.as_tensor(function(self.tree(x), t)).reshape(())
            values: Tensor = torch.func.vmap(lambda one: function(self.tree(one), t))(x)
        return values

    def advance(self, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            if x.ndim == 1:
                return self._flat_step(x, t), self.loss(x, t)
            moved = torch.func.vmap(lambda one: self._flat_step(one, t))(x)
        return moved, self.loss(x, t)

    def tangent(
        self, x: Tensor, v: Tensor, t: int, *, overwrite: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        def push(one: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
            def along(row: Tensor) -> Any:
                return torch.func.jvp(lambda s: self._flat_step(s, t), (one,), (row,))

            new, moved = torch.func.vmap(along)(changes)
            return new[0], moved

        load_forward_mode()
        with torch.no_grad():
            if x.ndim == 1:
                new, moved = push(x, v)
            else:
                new, moved = torch.func.vmap(push)(x, v)
        return new, moved, self.loss(x, t)


def step_map(
    step: Callable[[Any, int], Any], state: Any, *, loss: Callable[[Any, int], Any] | None = None
) -> StepMap:
    """Return any pure update rule as a map that the instruments of training take.

    Parameters
    ----------
    step : callable
        ``step(state, t)`` returns the next state. Without side effects, and made of torch operations that
        ``torch.func`` can differentiate and batch.
    state : tree of tensors
        The state at step 0: a tensor, or nested dicts, lists and tuples of floating-point tensors.
    loss : callable, optional
        ``loss(state, t)`` returns one number, which the map reports and does not use.

    Returns
    -------
    StepMap
        The map.

    Raises
    ------
    InputError
        If the state holds anything but floating-point tensors, or a step changes its structure, or two calls
        of `step` differ.

    Examples
    --------
    >>> import torch
    >>> logistic = step_map(lambda x, t: 4 * x * (1 - x), torch.tensor([0.3], dtype=torch.float64))
    >>> print(f"{logistic.step(logistic.initial, 0).item():.2f}")
    0.84
    """
    return StepMap(step, state, loss)


Optimizer = torch.optim.Optimizer | Callable[..., torch.optim.Optimizer] | float


def training_map(
    model: nn.Module,
    loss: Loss | None,
    data: Any,
    optimizer: Optimizer,
    *,
    dtype: torch.dtype | None = torch.float64,
    device: torch.device | str | None = None,
    accumulate: int = 1,
    schedule: Callable[[int], float] | None = None,
) -> TrainingMap:
    """Return one step of training as a map of the weights and of what the optimiser remembers.

    Parameters
    ----------
    model, loss, data, dtype, device, accumulate
        As in :func:`objective`.
    optimizer : torch.optim.Optimizer, callable or float
        An optimiser of the model's parameters, in whose groups and state the map starts; or a function that
        makes one from a list of parameters; or the rate of plain gradient descent. SGD (with momentum, also
        Nesterov's), RMSprop, Adam and AdamW.
    schedule : callable, optional
        ``schedule(t)`` multiplies all rates at step `t`.

    Returns
    -------
    TrainingMap
        The map; the model and the optimiser stay as they are.

    Raises
    ------
    InputError
        As in :func:`objective`; or if the optimiser, or one of its options, has no map here.

    Notes
    -----
    The steps are those of ``torch.optim``, to rounding. A parameter outside the optimiser is fixed.
    """
    module = as_module(model)
    if isinstance(optimizer, (int, float)):
        made = objective(model, loss, data, dtype=dtype, device=device, accumulate=accumulate)
        return TrainingMap(made, GradientDescent(checked_rate(optimizer), schedule=schedule))
    if not isinstance(optimizer, torch.optim.Optimizer):
        if not callable(optimizer):
            raise InputError(
                f"The optimizer is {optimizer!r}.",
                "Pass a torch.optim optimiser, a function that makes one, or a rate.",
            )
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer = optimizer(trained)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputError(
                f"The optimizer function returned {type(optimizer).__name__}.",
                "Return a torch.optim optimiser.",
            )
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = [[(p, names.get(id(p))) for p in group["params"]] for group in optimizer.param_groups]
    for group in groups:
        for parameter, name in group:
            if name is None:
                raise InputError(
                    f"The optimiser holds a parameter of shape {tuple(parameter.shape)} that "
                    f"{type(module).__name__} does not have.",
                    "Make the optimiser from the parameters of this model.",
                )
    held = [str(name) for group in groups for parameter, name in group if parameter.requires_grad]
    made = objective(
        model,
        loss,
        data,
        dtype=dtype,
        device=device,
        accumulate=accumulate,
        trained=held,
    )
    return map_now(made, module, optimizer, schedule)


def map_now(
    made: Objective,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float] | None = None,
) -> TrainingMap:
    """Return the map of an optimiser on a loss made before, from its memory and the weights of now."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    group_of = {names[id(p)]: group for group in optimizer.param_groups for p in group["params"]}
    rule = _rule_of(optimizer, {name: group_of[name] for name in made.slices}, made, schedule)
    remembered, age = _remembered(optimizer, module, made, rule)
    return TrainingMap(made, replace(rule, age=age), torch.cat([weights_now(made, module), *remembered]))


def weights_now(made: Objective, module: nn.Module) -> Tensor:
    """Return the present trained parameters of the user's module as a vector of the objective."""
    parameters = dict(module.named_parameters())
    return torch.cat([parameters[name].detach().to(made.initial).flatten() for name in made.slices])


def checked_rate(rate: float) -> float:
    """Return a learning rate, made sure to be finite and above 0."""
    if not (math.isfinite(rate) and rate > 0):
        raise InputError(f"The learning rate is {rate!r}.", "Pass a finite number above 0.")
    return float(rate)


def _rule_of(
    optimizer: torch.optim.Optimizer,
    group_of: Mapping[str, Mapping[str, Any]],
    made: Objective,
    schedule: Callable[[int], float] | None,
) -> Rule:
    """Return the rule of an optimiser, with vectors for what its groups have of their own."""
    kind = type(optimizer).__name__

    def option(key: str, pick: int | None = None) -> Number:
        values = {}
        for name, group in group_of.items():
            value = group[key] if pick is None else group[key][pick]
            values[name] = float(value)
        if len(set(values.values())) == 1:
            return next(iter(values.values()))
        vector = torch.empty_like(made.initial)
        for name, place in made.slices.items():
            vector[place] = values[name]
        return vector

    def refuse(*keys: str) -> None:
        for group in group_of.values():
            for key in keys:
                if group.get(key):
                    raise InputError(
                        f"{kind} with {key}={group[key]!r} has no map here.", f"Leave {key} at its default."
                    )

    def one(key: str) -> Any:
        values = {bool(group[key]) for group in group_of.values()}
        if len(values) > 1:
            raise InputError(
                f"The groups of {kind} differ in whether they have {key}.", f"Give all groups {key}, or none."
            )
        return values.pop()

    for group in group_of.values():
        checked_rate(float(group["lr"]))
    common: dict[str, Any] = {"rate": option("lr"), "schedule": schedule}
    refuse("maximize")
    if kind == "SGD":
        common["decay"] = option("weight_decay")
        if not one("momentum"):
            return GradientDescent(**common)
        if one("nesterov"):
            return Nesterov(**common, momentum=option("momentum"))
        return HeavyBall(**common, momentum=option("momentum"), dampening=option("dampening"))
    if kind == "RMSprop":
        refuse("centered")
        common |= {"decay": option("weight_decay"), "alpha": option("alpha"), "eps": option("eps")}
        return (
            MomentumRMSprop(**common, momentum=option("momentum")) if one("momentum") else RMSprop(**common)
        )
    if kind in ("Adam", "AdamW"):
        refuse("amsgrad")
        common |= {"beta1": option("betas", 0), "beta2": option("betas", 1), "eps": option("eps")}
        if kind == "AdamW" or one("decoupled_weight_decay"):
            return AdamW(**common, decoupled=option("weight_decay"))
        return Adam(**common, decay=option("weight_decay"))
    raise InputError(
        f"{kind} has no map here.",
        "Use SGD, RMSprop, Adam or AdamW, or write its update as step_map(step, state).",
    )


_REMEMBERED = {"velocity": "momentum_buffer", "square": "exp_avg_sq", "mean": "exp_avg"}


def _remembered(
    optimizer: torch.optim.Optimizer, module: nn.Module, made: Objective, rule: Rule
) -> tuple[list[Tensor], int]:
    """Return what an optimiser in the middle of training remembers, and the steps that it has made."""
    slots = [torch.zeros_like(made.initial) for _ in rule.slots[1:]]
    age = 0
    for name, parameter in module.named_parameters():
        state = optimizer.state.get(parameter)
        if name not in made.slices or not state:
            continue
        for slot, vector in zip(rule.slots[1:], slots, strict=True):
            key = "square_avg" if slot == "square" and "square_avg" in state else _REMEMBERED[slot]
            stored = state.get(key)
            if stored is not None:
                vector[made.slices[name]] = stored.detach().to(vector).flatten()
                age = max(age, 1)
        age = max(age, int(state.get("step", 0)))
    return slots, age
