"""Directions of the input that each layer keeps apart, beside the same network with shuffled weights."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from phasescope.errors import InputError
from phasescope.instruments.contract import Finding, Instrument, Severity
from phasescope.instruments.rows import Column, Layout, Row, number, plain
from phasescope.recording.batch import as_batch
from phasescope.recording.modules import as_module
from phasescope.recording.untouched import alone, untouched

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHUFFLES, _FEW_SHUFFLES = 3, 2  # the latter where random directions stand for all of a large model
_LARGE = 1 << 20  # entries from which a tensor is drawn again instead of permuted
_LOST, _MORE = 0.5, 1.2  # of the participation that independent weights give
_ONE = 1.5  # directions below which a layer sees about one
_MANY = 8  # directions that a row needs for that to be said
_ISOMETRIC = 0.2  # share of the bits below which a deficit is not worth an action
_LAYOUT = Layout(
    {"participation": 18, "shuffled": 10, "law": 8, "deficit": 9, "rank 0.01": 10, "features": 14},
    ("law", "rank 0.01", "features", "deficit"),
    names=24,
    gap=1,
)


class JacobianSpectra(Instrument):
    r"""Measures how many directions of the input each layer keeps apart, linearised at real inputs.

    Of each row of the stream: gain, spread, participation :math:`(\sum s^2)^2/\sum s^4`, rank at four
    thresholds and bits a direction at equal power, s being the singular values of its derivative by the
    input; and the dimension of its features over the batch. Beside each number stands that of the same
    network with the entries of each weight tensor shuffled, and beside the participation the law for
    independent Gaussian weights where layers are linear ones and activations. The work is done by
    ``signal.spectra``.

    Parameters
    ----------
    snr : float
        Power of the signal over that of the noise, for the bits.
    samples : int
        Number of inputs at which the model is differentiated.
    probes : int, optional
        Random directions in place of all; by default where a sample has more than 1,024 numbers, or the
        model is large.

    Raises
    ------
    InputError
        If an argument is out of range.

    Notes
    -----
    Where a tensor has more than a million entries they are drawn from a normal distribution of the same mean
    and variance instead of shuffled. Cost: four measurements of ``signal.spectra``, three where the model is
    large.

    References: Feng et al. 2022, arXiv:2206.06072; Weng et al. 2022, arXiv:2212.01744.
    """

    name = "spectra"
    title = "Directions kept over depth"

    def __init__(self, snr: float = 100.0, samples: int = 8, probes: int | None = None) -> None:
        if not (snr > 0 and math.isfinite(snr)):
            raise InputError(f"snr is {snr}.", "Give a number above 0.")
        if samples < 1 or (probes is not None and probes < 2):
            raise InputError(f"samples is {samples}, probes {probes}.", "Give 1 sample, 2 probes or more.")
        self.snr, self.samples, self.probes = snr, samples, probes

    def applies(self, model: nn.Module | Callable[..., Any], batch: Any) -> str:
        from phasescope.signal.spectra import half_precision

        try:
            module = as_module(model)
            return half_precision(module, as_batch(module, batch))
        except InputError as refused:
            return str(refused)

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
        from phasescope.signal import spectra

        module = as_module(model)
        inputs = as_batch(module, batch)
        options: dict[str, Any] = {"snr": self.snr, "samples": self.samples, "probes": self.probes}
        options |= {"seed": seed, "max_memory": max_memory}
        found = spectra(module, inputs, **options)
        large = not found.dataset.attrs["exact"] and self.probes is None
        nulls = []
        for shuffle in range(_FEW_SHUFFLES if large else _SHUFFLES):
            with untouched(module):
                _shuffle(module, np.random.SeedSequence((seed, shuffle)).generate_state(1)[0])
                nulls.append(spectra(module, inputs, **options).dataset)
        return _with_nulls(found.dataset, nulls)

    def findings(self, dataset: xr.Dataset) -> list[Finding]:
        return _findings(dataset)

    def figures(self, dataset: xr.Dataset) -> dict[str, Figure]:
        from phasescope import plotting

        with plotting.style():
            drawn, (kept, lost) = plotting.figure(2, panel_size=(4.4, 3.4))
            _draw(kept, dataset, ("participation", "features"), "Directions kept", "directions")
            _draw(lost, dataset, ("deficit",), "Bits lost to unevenness", "bits a direction")
        return {"spectra": drawn}

    def table(self, dataset: xr.Dataset) -> str:
        return "\n".join(
            [f"{self.title}, of {dataset.attrs['input_units']} inputs", "", *_LAYOUT.lines(dataset, _cells)]
        )


def _cells(row: Row) -> dict[str, str]:
    """Return the texts of a line of the table by column."""
    return {
        "participation": number(row, "participation"),
        "shuffled": plain(row["participation_null"]),
        "law": plain(row["law"]),
        "deficit": plain(row["deficit"]),
        "rank 0.01": plain(row.array("rank")[1]),
        "features": number(row, "features"),
    }


CAPTIONS = {
    "spectra": (
        "Left: directions of the input that each row keeps apart, and the dimension of its features over the "
        "batch. Right: bits a direction that a row loses by treating directions unequally, at equal power. "
        "Grey: the same net "
        "with shuffled weights, mean and one standard deviation; dotted: the law of independent Gaussian "
        "weights. Linearised at the inputs; error bars, one standard error."
    ),
}

COLUMNS = (
    Column("gain", "gain", "sum of the squared singular values s^2 over the units of the row"),
    Column("participation", "participation", "directions kept apart, (sum s^2)^2 / sum s^4"),
    Column("participation_null", "shuffled", "the same with the entries of each weight tensor shuffled"),
    Column("law", "law", "the same for independent Gaussian weights"),
    Column(
        "deficit",
        "bits lost",
        "bits a direction lost as some directions pass better than others, at equal power",
    ),
    Column("features", "features", "participation of the covariance over the batch"),
)
"""What a page shows of each row."""


def _shuffle(module: nn.Module, seed: int) -> None:
    """Permute the entries of each weight tensor, tied ones once; large ones are drawn again instead."""
    generator = torch.Generator().manual_seed(int(seed))
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim < 2 or not weight.is_floating_point():
                continue
            flat = weight.detach().reshape(-1)
            if flat.numel() < _LARGE:
                order = torch.randperm(flat.numel(), generator=generator).to(flat.device)
                drawn = flat[order]
            else:
                drawn = torch.empty(flat.shape, dtype=flat.dtype).normal_(generator=generator)
                drawn = drawn.to(flat.device).mul_(flat.std()).add_(flat.mean())
            weight.copy_(drawn.reshape(weight.shape))


def _with_nulls(dataset: xr.Dataset, nulls: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the dataset with mean and standard deviation of each number over shuffled networks."""
    skipped = dataset["skipped"].values != ""
    made: dict[str, Any] = {}
    for name in [str(name) for name in dataset.data_vars if f"{name}_error" in dataset]:
        variable = dataset[name]
        draws = np.array([null[name].values for null in nulls])
        draws[:, skipped] = np.nan
        known = np.isfinite(draws).all(axis=0)
        mean = np.where(known, np.where(known, draws, 0.0).mean(axis=0), np.nan)
        spread = np.where(known, np.where(known, draws, 0.0).std(axis=0, ddof=1), np.nan)
        for key, values, what in (("null", mean, "mean"), ("null_sd", spread, "standard deviation")):
            long_name = f"{what} with shuffled weights: {variable.attrs['long_name']}"
            described = {"units": variable.attrs["units"], "long_name": long_name}
            made[f"{name}_{key}"] = (variable.dims, values, described)
    return dataset.assign(made).assign_attrs(shuffles=len(nulls))


def _findings(dataset: xr.Dataset) -> list[Finding]:
    """Return what the spectra say: where directions are lost, where there are more, and in bits."""
    rows = [row for row in Row.measured(dataset) if math.isfinite(row["participation"])]
    if not rows:
        reasons = sorted({str(reason) for reason in dataset["skipped"].values if reason})
        return [
            Finding(
                "Which directions the layers keep apart is not determined.",
                "; ".join(reasons[:2]) or "no participation",
                "Pass a model with layers between a floating-point signal and its output.",
                "note",
            )
        ]
    found = [_of_participation(dataset, rows), *_of_one_direction(rows), _of_bits(dataset, rows)]
    unknown = [note for note in json.loads(dataset.attrs["notes"]) if note.startswith("features not")]
    if unknown:
        found.append(
            Finding(
                "The dimension of the features over the batch is not determined.",
                unknown[0],
                "Pass a batch of 32 inputs or more; 256 give it to about 5 %.",
                "note",
            )
        )
    order = ("warning", "note", "ok")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _expected(row: Row) -> tuple[float, float, str]:
    """Return what independent weights give a row, its standard deviation, and which weights they are."""
    null = row["participation_null"]
    if math.isfinite(null):
        return null, row["participation_null_sd"], "shuffled weights"
    return row["law"], 0.0, "independent Gaussian weights"


def _of_participation(dataset: xr.Dataset, rows: list[Row]) -> Finding:
    last = rows[-1]
    for row in rows:
        value, error = row["participation"], np.nan_to_num(row["participation_error"])
        expected, sd, which = _expected(row)
        beyond = 3 * math.hypot(error, sd)
        evidence = f"{row.text('layer')}: {number(row, 'participation')} directions of "
        evidence += f"{row['directions']:.0f}, {which} {expected:.3g} ± {sd:.1g}"
        if value < _LOST * expected and expected - value > beyond:
            return Finding(
                f"From {row.text('layer')} on, the network keeps fewer than half of the directions that "
                f"{which} keep: {value:.3g} against {expected:.3g}.",
                evidence,
                "If it trains badly, draw the weights anew with phasescope.signal.critical_ (orthogonal); if "
                "it is trained and accurate, the layers behind it can be narrower: measure tolerated ranks.",
                "note",
            )
        if value > _MORE * expected and value - expected > beyond:
            return Finding(
                f"From {row.text('layer')} on, the network keeps more directions than {which}: "
                f"{value:.3g} against {expected:.3g}.",
                evidence,
                "Nothing needs to be done. Training or an orthogonal start makes the map more even; among so "
                "many rows, and beside so few shuffled networks, chance can do it, too.",
                "note",
            )
    expected, sd, which = _expected(last)
    evidence = f"{last.text('layer')}: {number(last, 'participation')} directions of "
    taken, pushed = (int(dataset.attrs[name]) for name in ("differentiated", "pushed"))
    evidence += f"{last['directions']:.0f}, {taken} input{'s' * (taken > 1)}, {pushed} directions each"
    if not math.isfinite(expected):
        return Finding(
            f"The last row keeps {last['participation']:.3g} of {last['directions']:.0f} directions apart; "
            "what independent weights would keep is not determined.",
            evidence,
            "Compare with the same network at initialisation.",
            "note",
        )
    if 3 * math.hypot(np.nan_to_num(last["participation_error"]), sd) > (1 - _LOST) * expected:
        return Finding(
            f"Whether the network keeps as many directions as {which} is not determined within a factor "
            "of two.",
            f"{evidence}, {which} {expected:.3g} ± {sd:.1g}",
            f"Push more directions at more inputs: JacobianSpectra(samples={4 * taken}, probes=64).",
            "note",
        )
    return Finding(
        f"The network keeps about as many directions apart as {which}: {last['participation']:.3g} of "
        f"{last['directions']:.0f} at its last row, against {expected:.3g}.",
        f"{evidence}, {which} {expected:.3g} ± {sd:.1g}",
        "",
        "ok",
    )


def _of_one_direction(rows: list[Row]) -> list[Finding]:
    """Return the first row that sees about one direction of many, if one does."""
    for row in rows:
        value, error = row["participation"], np.nan_to_num(row["participation_error"])
        if row["directions"] >= _MANY and value + 3 * error < _ONE:
            return [
                Finding(
                    f"From {row.text('layer')} on, the network sees about one direction of its input: "
                    f"{value:.3g} of {row['directions']:.0f}.",
                    f"{row.text('layer')}: participation {number(row, 'participation')}, "
                    f"spread {row['spread']:.3g}",
                    "Use fewer layers or shortcuts; draw the weights anew with phasescope.signal.critical_, "
                    "or scale the branches of L blocks by 1/sqrt(L).",
                    "warning",
                    "phase",
                )
            ]
    return []


def _of_bits(dataset: xr.Dataset, rows: list[Row]) -> Finding:
    full = 0.5 * math.log2(1 + float(dataset.attrs["snr"]))
    known = [row for row in rows if math.isfinite(row["deficit"])]
    if not known:
        return Finding(
            "How many bits the layers lose by treating directions unequally is not determined.",
            f"{dataset.attrs['pushed']} random directions stand for {dataset.attrs['input_units']}",
            "Measure with smaller inputs, up to 1,024 numbers a sample, or more max_memory.",
            "note",
        )
    row = max(known, key=lambda each: each["deficit"])
    evidence = f"signal to noise {dataset.attrs['snr']:g}; {row.text('layer')}: {number(row, 'deficit')} "
    evidence += f"bits a direction, shuffled weights {plain(row['deficit_null'])}"
    sentence = (
        f"Small differences lose up to {row['deficit']:.2g} of {full:.3g} bits a direction on their way to "
        f"{row.text('layer')}, because some directions pass better than others."
    )
    severity: Severity = "ok" if row["deficit"] < _ISOMETRIC * full else "note"
    action = (
        "For a more even map draw orthogonal weights with phasescope.signal.critical_, or scale the branches "
        "of L residual blocks by 1/sqrt(L). Whether the network trains is for its phase to tell."
    )
    return Finding(sentence, evidence, "" if severity == "ok" else action, severity)


def _draw(axes: Axes, dataset: xr.Dataset, names: Sequence[str], title: str, label: str) -> None:
    """Draw numbers by row, beside those of shuffled weights."""
    from phasescope import plotting

    rows = Row.measured(dataset)
    place = np.arange(1, len(rows) + 1)
    labels = {"participation": "derivative", "features": "features", "deficit": "measured"}
    for name, colour in zip(names, (plotting.MEASURED, plotting.PHASE_COLOURS["critical"]), strict=False):
        value = np.array([row[name] for row in rows])
        error = np.nan_to_num([row[f"{name}_error"] for row in rows])
        axes.errorbar(place, value, error, fmt="o-", ms=3.5, color=colour, label=labels[name])
    null = np.array([row[f"{names[0]}_null"] for row in rows])
    sd = np.array([row[f"{names[0]}_null_sd"] for row in rows])
    grey = plotting.PHASE_COLOURS["not determined"]
    axes.plot(place, null, color=grey, label="shuffled weights")
    axes.fill_between(place, null - sd, null + sd, color=grey, alpha=0.25, lw=0)
    if names[0] == "participation":
        law = np.array([row["law"] for row in rows])
        if np.isfinite(law).any():
            axes.plot(place, law, ":", color=plotting.THEORY, label="Gaussian law")
        shown = np.concatenate([[row[name] for row in rows] for name in names])
        if (shown[np.isfinite(shown)] > 0).all():
            axes.set_yscale("log")
    axes.set(title=title, xlabel="row of the stream", ylabel=label)
    axes.legend(loc="best")
