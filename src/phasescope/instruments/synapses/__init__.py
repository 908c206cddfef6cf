"""Which weights carry a property of the output that the user names, and whether that is more than chance.

``measure`` computes, ``findings`` says what it means, ``figure`` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument
from phasescope.instruments.synapses import findings as said
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from phasescope.synapses import Property

    Asked = Property | Callable[[Tensor], Tensor]

HOW = (
    "give a property of the output: inspect(model, batch, property=...), or a factory that returns a "
    "dictionary with model, batch and property"
)


class SynapticEnsembles(Instrument):
    r"""Finds the weights that carry a property of the output, layer by layer, against null models.

    With :math:`g_s` the derivative of the property with respect to weight s, an ensemble is the fewest
    weights with 90 % of :math:`\sum_s (g_s u_s)^2`, for three units of change u: 1, the weight's own size
    :math:`|w_s|`, and the change that moves the whole output alike. Counted are its weights and the units
    that they enter; shares of layers are in the unit :math:`|w_s|`. Beside it stand networks with the weights
    of each parameter shuffled (how many weights would carry as much), random sets of weights, and the same
    property of other samples of the batch (whether any weight acts on these samples alone). The work is done
    by :func:`phasescope.synapses.module_sensitivity`, ``ensemble`` and ``nulls``.

    Parameters
    ----------
    properties : Property, callable, or mapping of str to these, optional
        A :class:`phasescope.synapses.Property`, such as ``ClassMargin(3, against=8, cases=...)``, or a
        function that returns one number from the output: the first floating-point tensor that the model
        returns. A mapping names several.

    Raises
    ------
    InputError
        If one of them is neither.

    Notes
    -----
    It applies to models with parameters once a property is given. Frozen parameters are left out, unless all
    are frozen. The model runs in evaluation mode. The dataset has a row for each layer and property.

    Cost: for each property about 4 passes forward and backward over the batch, 30 for shuffled networks, and
    40 to 80 for other samples. Memory: 8 times the weights and one part of the batch.

    References: the article on synaptic ensembles (2015), a popular version of a talk at
    Neuroinformatics-2015.
    """

    name = "synapses"
    title = "Which weights carry a property"

    def __init__(self, properties: Asked | Mapping[str, Asked] | None = None) -> None:
        given = properties if isinstance(properties, Mapping) else {"": properties}
        self.properties = {str(name): prop for name, prop in given.items() if prop is not None}
        for name, prop in self.properties.items():
            if not callable(prop) and not callable(getattr(prop, "value", None)):
                raise InputError(
                    f"The property {name or repr(prop)} is {type(prop).__name__}.",
                    "Give a Property of phasescope.synapses, or a function from the output to one number.",
                )

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        if not self.properties:
            return HOW
        try:
            module = as_module(model)
        except InputError as refused:
            return str(refused)
        if not any(p.is_floating_point() and p.numel() for p in module.parameters()):
            return f"{getattr(module, 'kind', type(module).__name__)} has no parameters"
        return ""

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
        from phasescope.instruments.synapses.measure import measured

        return measured(as_module(model), batch, self.properties, seed, max_memory)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return said.findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        # matplotlib takes half a second, which a table on the terminal need not wait for.
        from phasescope.instruments.synapses import figure

        return {"synapses": figure.figure(dataset)}

    def table(self, dataset: xr.Dataset) -> str:
        return said.table(dataset)
