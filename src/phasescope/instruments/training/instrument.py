"""The instrument of ``inspect``: how stable training is, here and now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.training import findings as said
from phasescope.instruments.training.given import given, refusal
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import nn

    from phasescope.training.maps import Optimizer
    from phasescope.training.objective import Loss


class TrainingStability(Instrument):
    r"""Measures how stable training is: sharpness against the optimiser's own threshold, and chaos.

    A copy of the model is trained for some steps. Measured are the sharpness over the threshold of the
    optimiser at the start, at the end and in between; the largest Lyapunov exponent of the run, which is the
    rate at which a small difference of weights and optimiser state grows; and layer by layer where the
    sharpest direction and the growing difference sit, and how the weights move. The findings are a verdict
    (stable, at the edge of stability, beyond it, chaotic, diverging) and a rate to use.

    Parameters
    ----------
    loss : callable, optional
        As in :func:`phasescope.training.objective`; None takes ``output.loss`` where data are given.
    data : batch, list of batches or iterable, optional
        As in :func:`phasescope.training.objective`, of which at most 8 batches are used. Without data, the
        batch of the inspection is used, and `loss` is called with the output alone, or with output and batch.
    optimizer : torch.optim.Optimizer, callable or float, optional
        As in :func:`phasescope.training.training_map`. Without it, the sharpness alone is measured.
    steps : int
        Steps of training.
    points : int
        Steps at which the sharpness is measured, the first and the last among them.

    Notes
    -----
    It applies to models with parameters once loss or data are given. Models of up to 5 million parameters are
    measured in float64, larger ones in their own type. The findings hold for the batches that were used.

    Cost: about 4.5 gradients of a batch a step, and 10 to 30 for each point; some 600 in all. Memory: one
    Hessian product, 8 states of the optimiser, and at least 12 vectors of weights.

    References: Cohen et al. 2021 (arXiv:2103.00065), Danovski, Soriano and Lacasa 2024 (arXiv:2404.05782);
    the work is done by ``phasescope.training``.
    """

    name = "stability"
    title = "Stability of training"

    def __init__(
        self,
        loss: Loss | None = None,
        data: Any = None,
        optimizer: Optimizer | None = None,
        *,
        steps: int = 100,
        points: int = 6,
    ) -> None:
        if steps < 1 or not 2 <= points <= steps + 1:
            raise InputError(
                f"steps = {steps} and points = {points}.", "Pass at least 1 step and 2 to steps + 1 points."
            )
        self.loss, self.data, self.optimizer, self.steps, self.points = loss, data, optimizer, steps, points

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        return refusal(model, self.loss, self.data)

    @alone()
    def measure(
        self,
        model: nn.Module | Callable[..., Any],
        batch: Any,
        *,
        seed: int = 0,
        max_memory: int | None = None,
    ) -> xr.Dataset:
        reason = self.applies(model, batch)
        if reason:
            raise InputError(reason)
        from phasescope.instruments.training.measure import measured

        user = given(model, batch, self.loss, self.data, self.optimizer)
        return measured(user, self.steps, self.points, seed, max_memory)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return said.findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope.instruments.training import figure

        where = {"curvature": figure.curvature(dataset)}
        return {"stability": figure.stability(dataset), **where} if "loss" in dataset else where

    def table(self, dataset: xr.Dataset) -> str:
        return said.table(dataset)
