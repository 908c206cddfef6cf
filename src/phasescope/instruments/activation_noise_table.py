"""The noise of activations as a plain text table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phasescope.instruments.activation_noise_names import estimate, short_name

if TYPE_CHECKING:
    import xarray as xr

_NAME = 34


def activation_noise_table(dataset: xr.Dataset) -> str:
    """Return one line for each measured quantity, at most 100 columns wide."""
    attrs = dataset.attrs
    head = (
        f"Noise of activations: {attrs['inputs']} sequence(s), series of {attrs['length']} steps; beta of "
        "f^-beta"
    )
    columns = (
        f"{'':<{_NAME}} {'units':>5} {'idle':>5}  {'beta':<15} {'spread':>6} {'noise':>6} {'AR':>6}  kind"
    )
    lines = [head, columns]
    for row in np.flatnonzero(dataset["skipped"].values == ""):
        lines.append(_line(dataset, int(row)))
    lines.append(
        "spread: of beta over units and sequences; noise: by the estimator alone; AR: series tested that"
    )
    lines.append("short memory does not explain")
    return "\n".join(lines)


def _line(dataset: xr.Dataset, row: int) -> str:
    value = {
        name: float(dataset[name].values[row]) for name in ("units", "idle", "spread", "estimator", "tested")
    }
    beta = estimate(dataset, "beta", row)
    tested = (
        f"{int(dataset['beat_short'].values[row])}/{int(value['tested'])}" if value["tested"] > 0 else "-"
    )
    exponent = str(beta) if beta.determined else "-"
    return (
        f"{short_name(str(dataset['layer'].values[row]), _NAME):<{_NAME}} {int(value['units']):>5} "
        f"{100 * value['idle']:>4.0f}%  {exponent:<15} {_number(value['spread']):>6} "
        f"{_number(value['estimator']):>6} {tested:>6}  {dataset['kind'].values[row]}"
    )


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"
