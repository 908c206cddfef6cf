"""Checks of the dataset that an instrument returns."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from phasescope.testing.cases import Trial, require, require_same

_ATTRIBUTES = (
    "instrument",
    "model",
    "inputs",
    "seed",
    "dtype",
    "device",
    "versions",
    "mode",
    "notes",
    "citations",
)


def returns_a_dataset_over_layers(trial: Trial) -> None:
    """Check that `measure` returns an xarray Dataset whose dimension ``layer`` has unique names."""
    dataset = trial.dataset
    require(
        isinstance(dataset, xr.Dataset), f"measure returned {type(dataset).__name__}, not an xarray Dataset"
    )
    require("layer" in dataset.dims, f"no dimension 'layer', only {list(dataset.dims)}")
    require("layer" in dataset.coords, "no coordinate 'layer'")
    require("skipped" in dataset.coords, "no coordinate 'skipped'")
    names = [str(name) for name in dataset["layer"].values]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"layer names occur twice: {twice}")
    require(len(names) > 0, "no rows at all")


def accounts_for_every_layer(trial: Trial) -> None:
    """Check that rows measured plus rows skipped are all layers: each leaf module has a row, or several.

    What computes a parametrised weight is no layer. The name of a row is the path of the module, or goes on
    after it with a blank or a dot.
    """
    model, _ = trial.build()
    if not isinstance(model, nn.Module):
        return
    rows = [str(name) for name in trial.dataset["layer"].values]
    parts = [(name, list(module.children())) for name, module in model.named_modules()]
    leaves = [
        name for name, inside in parts if name and not inside and "parametrizations" not in name.split(".")
    ]
    missing = [
        leaf for leaf in leaves if not any(f"{row} ".startswith((f"{leaf} ", f"{leaf}.")) for row in rows)
    ]
    require(not missing, f"layers without a row, neither measured nor skipped: {missing}")


def skips_with_a_reason(trial: Trial) -> None:
    """Check that a row that holds no number says why, and a row that says why holds none.

    How many parameters belong to a row is known of every row and no measurement.
    """
    dataset = trial.dataset
    reasons = [str(reason) for reason in dataset["skipped"].values]
    measured = np.zeros(len(reasons), dtype=bool)
    for name, variable in dataset.data_vars.items():
        known = "theory" in str(name) or name == "parameters"
        if variable.dims == ("layer",) and variable.dtype.kind == "f" and not known:
            measured |= ~np.isnan(variable.values)
    for name, reason, has_number in zip(dataset["layer"].values, reasons, measured, strict=True):
        require(has_number or bool(reason.strip()), f"row {name!r} has neither a number nor a reason")
        require(not (has_number and reason), f"row {name!r} has numbers although it was skipped: {reason}")


def says_units_and_names(trial: Trial) -> None:
    """Check that every variable has ``units`` ("1" where there is none) and ``long_name``."""
    for name, variable in trial.dataset.data_vars.items():
        for key in ("units", "long_name"):
            value = variable.attrs.get(key)
            require(isinstance(value, str) and bool(value), f"variable {name!r} has no {key}")


def errors_belong_to_values(trial: Trial) -> None:
    """Check that ``X_error`` is not negative and exists only beside an ``X`` of the same dimensions."""
    dataset = trial.dataset
    for name in map(str, dataset.data_vars):
        if not name.endswith("_error"):
            continue
        owner = name.removesuffix("_error")
        require(owner in dataset, f"{name!r} has no variable {owner!r} beside it")
        require(dataset[name].dims == dataset[owner].dims, f"{name!r} and {owner!r} differ in dimensions")
        negative = dataset[name].values[dataset[name].values < 0]
        require(negative.size == 0, f"{name!r} has negative errors: {negative[:3]}")
        alone = np.isfinite(dataset[name].values) & np.isnan(dataset[owner].values)
        require(not alone.any(), f"{name!r} has errors where {owner!r} has no value")


def has_at_least_one_error(trial: Trial) -> None:
    """Check that some number comes with a finite error, or every row was skipped."""
    dataset = trial.dataset
    if all(str(reason) for reason in dataset["skipped"].values):
        return
    errors = [variable.values for name, variable in dataset.data_vars.items() if str(name).endswith("_error")]
    require(any(np.isfinite(values).any() for values in errors), "no variable has a finite error")


def says_how_it_was_measured(trial: Trial) -> None:
    """Check that the attributes say what was measured, on what, how, and with which versions."""
    attrs = trial.dataset.attrs
    missing = [key for key in _ATTRIBUTES if key not in attrs]
    require(not missing, f"attributes are missing: {missing}")
    name = trial.instrument.name
    require(attrs["instrument"] == name, f"attribute instrument is {attrs['instrument']!r}, not {name!r}")
    require(int(attrs["seed"]) == 0, f"attribute seed is {attrs['seed']!r} for seed 0")
    versions = json.loads(attrs["versions"])
    require("torch" in versions and "phasescope" in versions, f"versions name only {sorted(versions)}")
    notes = json.loads(attrs["notes"])
    require(isinstance(notes, list), f"notes hold {type(notes).__name__}, not a list")


def attributes_are_json(trial: Trial) -> None:
    """Check that every attribute can be written as JSON: strings, finite numbers, lists of them."""
    for where, attrs in _all_attributes(trial.dataset):
        for key, value in attrs.items():
            plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            try:
                json.dumps(plain, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise AssertionError(f"attribute {key!r} of {where} is not JSON: {error}") from None


def survives_netcdf(trial: Trial) -> None:
    """Check that the dataset survives a round trip through NetCDF-4, with no object dtype and no pickle."""
    dataset = trial.dataset
    loaded = trial.stored
    for name in [*dataset.coords, *dataset.data_vars]:
        require(name in loaded.variables, f"{name!r} was lost")
        stored, original = loaded[name].values, dataset[name].values
        if original.dtype.kind == "f":
            require(np.array_equal(stored, original, equal_nan=True), f"{name!r} changed")
        else:
            require(
                [str(x) for x in stored.ravel()] == [str(x) for x in original.ravel()], f"{name!r} changed"
            )
    for key, value in dataset.attrs.items():
        require(str(loaded.attrs.get(key)) == str(value), f"attribute {key!r} changed")


def measures_the_same_again(trial: Trial) -> None:
    """Check that the same model, batch and seed give the same dataset, bit for bit."""
    require_same(trial.dataset, trial.measure(), "a second measurement")


def follows_the_seed(trial: Trial) -> None:
    """Check that another seed is recorded, and gives the same rows."""
    other = trial.measure(seed=12345)
    require(int(other.attrs["seed"]) == 12345, f"attribute seed is {other.attrs['seed']!r} for seed 12345")
    rows = [str(name) for name in other["layer"].values]
    require(rows == [str(name) for name in trial.dataset["layer"].values], "another seed gives other rows")


def _all_attributes(dataset: xr.Dataset) -> list[tuple[str, dict[Any, Any]]]:
    own = [("the dataset", dict(dataset.attrs))]
    return own + [(repr(str(name)), dict(variable.attrs)) for name, variable in dataset.variables.items()]
