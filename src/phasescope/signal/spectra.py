"""Which directions of the input each layer keeps apart: singular values of its derivative, layer by layer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from phasescope.errors import InputError, MemoryLimitError
from phasescope.recording.batch import Batch, as_batch
from phasescope.recording.circumstances import circumstances
from phasescope.recording.layers import Layer
from phasescope.recording.memory import Tidy, default_limit, in_bytes, samples_that_fit
from phasescope.recording.modules import as_module
from phasescope.recording.tangents import See, Tangent, gaussian, push_nothing
from phasescope.recording.untouched import alone, quiet, untouched
from phasescope.results import Result
from phasescope.signal.measurement import Passes
from phasescope.theory import product_participation, slope_ratio

if TYPE_CHECKING:
    import xarray as xr

Array = NDArray[np.float64]

THRESHOLDS = (1e-1, 1e-2, 1e-3)  # of the largest singular value
FEWEST = 32  # inputs below which the dimension of the features is not determined
_GRAM32 = 1.19e-7  # rounding of float32, below which the rank of J^T J ends there
_EXACT = 1024  # directions of the input up to which all are pushed
_PROBES, _FEWEST_PROBES = 32, 8
_MOST_FEATURES = 512  # inputs
_COUPLED = (64, 4, 256)  # where inputs influence each other: inputs run, differentiated, directions pushed
_BUDGET = 2e11  # operations of all weight layers for the derivatives, and half as many for the features
_SHARE = 0.05  # of that for all directions: the products of what they become cost more than the passes
_TOGETHER = 2048  # copies of inputs in one pass
_ROUGH = 4  # times the results of all operations that a pass certainly stays below
_BLOCK = 1 << 21  # numbers turned to float64 at a time
_NOTHING = 1e-30  # largest singular value below which there is no signal
_DIRECTIONS, _ORDER = 5, 6  # streams of random numbers


@dataclass(frozen=True)
class Spectra(Result):
    """What ``spectra`` measured.

    Parameters
    ----------
    dataset : xarray.Dataset
        Every number, along the dimension ``layer``: rows of the stream, and the others with the reason why
        they were skipped.
    """

    dataset: xr.Dataset

    @property
    def notes(self) -> list[str]:
        """What was changed, sampled or not determined."""
        notes: list[str] = json.loads(self.dataset.attrs["notes"])
        return notes

    def __str__(self) -> str:
        shown = ("gain", "spread", "participation", "law", "deficit", "features")
        lines = [f"{'layer':<24}" + "".join(f"{name:>15}" for name in shown)]
        for index in np.flatnonzero(self.dataset["skipped"].values == ""):
            row = self.dataset.isel(layer=index)
            cells = [f"{float(row[name]):.4g}" if np.isfinite(row[name]) else "-" for name in shown]
            lines.append(f"{str(row['layer'].item())[-24:]:<24}" + "".join(f"{cell:>15}" for cell in cells))
        return "\n".join(lines)


@alone()
def spectra(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    snr: float = 100.0,
    samples: int = 8,
    probes: int | None = None,
    seed: int = 0,
    max_memory: int | float | str | None = None,
) -> Spectra:
    r"""Return how many directions of the input each layer keeps apart, linearised at real inputs.

    Rows are those of the stream of :func:`phasescope.signal.profile`. At each row and input, s are the
    k = min(inputs, units) singular values of the derivative J of the row by the input, and

    - ``gain`` is :math:`\sum s^2 / n`, n units;
    - ``spread`` is :math:`k \sum s^4 / (\sum s^2)^2 - 1`, 0 for an isometry;
    - ``participation`` is :math:`(\sum s^2)^2 / \sum s^4`, the number of directions kept apart;
    - ``rank`` counts the s above 0.1, 0.01 and 0.001 of the largest, ``rank_gram32`` those above
      :math:`\sqrt{1.19\cdot 10^{-7} d}` of it for d inputs, what float32 leaves of :math:`J^\top J`;
    - ``bits`` is :math:`\frac1k \sum \frac12 \log_2(1 + \mathrm{snr}\, s^2 / \langle s^2 \rangle)`: bits a
      direction of the linearised layer at equal power, ``deficit`` what they miss of an isometry;
    - ``features`` is the participation ratio of the covariance of the row over the inputs, without the bias
      of their number;
    - ``law`` is the participation of independent Gaussian weights in chains of ``nn.Linear`` and
      activations.

    Parameters
    ----------
    model : nn.Module or callable
        The model, trained or not, in float32 or float64.
    batch : tensor, tuple, list or mapping of tensors
        Inputs as the model takes them, samples along the first axis. 32 or more for ``features``.
    snr : float
        Power of the signal over that of the noise, for ``bits``.
    samples : int
        Number of inputs at which the model is differentiated, spread evenly over the batch.
    probes : int, optional
        Random directions at each input in place of all of them. By default all up to 1,024 numbers a sample,
        else 32, or as few as 8 where the model is large.
    seed : int
        Seed of the random directions, and of the pairs of inputs.
    max_memory : int or str, optional
        Memory that the measurement may take beyond model and batch, in bytes or as "512MB"; by default twice
        the weights, or 1 GB if that is more.

    Returns
    -------
    Spectra
        The dataset; ``X_error`` is one standard error over the inputs.

    Raises
    ------
    InputError
        If an argument is out of range, the model is in half precision or not callable, or the batch is empty,
        not finite or not accepted.
    MemoryLimitError
        If not even two copies of an input fit into `max_memory`.

    Notes
    -----
    With all directions the numbers are exact but for rounding: singular values below 1e-8 of the largest (in
    float32 below about 1e-6) are rounding. With random directions v, :math:`\langle |Jv|^2 \rangle` is
    :math:`\sum s^2` and pairs of them give :math:`\langle (Jv \cdot Jv')^2 \rangle = \sum s^4`; ``rank``,
    ``bits`` and ``deficit`` are then not determined. Token models are differentiated by their embedding, over
    the whole sequence. Where inputs influence each other, as with batch normalisation in training mode, J is
    the block of an input by itself. Dropout is off, and the model is left as it was, bit for bit.

    Cost: two forward passes of one input for each direction and differentiated input, all rows at once, and
    one of at most 512 inputs for the features. Of large models fewer inputs and directions are taken, and the
    notes say how many.

    References
    ----------
    Feng et al. 2022, arXiv:2206.06072 (rank over depth); Weng et al. 2022, arXiv:2212.01744 (channels);
    Pennington, Schoenholz and Ganguli 2017, arXiv:1711.04735 (isometry).

    Examples
    --------
    >>> import torch
    >>> layers = [torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(8, 8)) for _ in range(3)]
    >>> found = spectra(torch.nn.Sequential(*layers), torch.randn(4, 8)).dataset
    >>> [round(float(x), 3) for x in found["participation"] if x == x]
    [8.0, 8.0, 8.0]
    """
    for name, value, least in (("samples", samples, 1), ("probes", probes or 2, 2), ("seed", seed, 0)):
        if value < least or probes == 0:
            raise InputError(f"{name} is {value}.", f"Give a whole number from {least}.")
    if not (snr > 0 and math.isfinite(snr)):
        raise InputError(f"snr is {snr}.", "Give a number above 0.")
    module = as_module(model)
    inputs = as_batch(module, batch)
    reason = half_precision(module, inputs)
    if reason:
        raise InputError(f"{reason[0].upper()}{reason[1:]}.", "Pass model.float() and a batch in float32.")
    limit = default_limit(module) if max_memory is None else in_bytes(max_memory)
    with untouched(module):
        notes = [*inputs.notes, *quiet(module)]
        passes = Passes(module, inputs, seed=seed, probes=1)
        work = _Work(module, passes, snr=snr, samples=samples, probes=probes, seed=seed, limit=limit)
        work.differentiate()
        work.compare_inputs()
        return Spectra(_dataset(module, inputs, work, [*notes, *passes.notes, *work.notes]))


def half_precision(module: nn.Module, inputs: Batch) -> str:
    """Return why no spectra can be had where the numbers have half precision; "" elsewhere."""
    tensors = [*module.parameters(), *inputs.floats()]
    half = {t.dtype for t in tensors if t.dtype in (torch.float16, torch.bfloat16)}
    names = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in half))
    return f"the model or the batch is in {names}, too coarse for singular values" if half else ""


@dataclass
class _Found:
    """What is known of one row: numbers of each differentiated input, with their own errors from probes."""

    numbers: list[dict[str, Array]] = field(default_factory=list)
    grams: list[Array] = field(default_factory=list)  # of pairs of inputs, part by part
    squares: list[float] = field(default_factory=list)  # mean square of the row, part by part
    reason: str = "no tangent reaches it: cut off from the input"


class _Work:
    """All the passes of one measurement, and what they give of each row."""

    def __init__(
        self,
        model: nn.Module,
        passes: Passes,
        *,
        snr: float,
        samples: int,
        probes: int | None,
        seed: int,
        limit: float,
    ) -> None:
        self.model, self._passes, self.batch = model, passes, passes.batch
        self.snr, self.seed, self._limit = snr, seed, limit
        self.layers = passes.layers
        self.rows = [r for r in self.layers if not r.skipped and r.place == "stream" and r.chain <= 0]
        self.found = {row.name: _Found() for row in self.rows}
        self.notes: list[str] = []
        self._tidy = Tidy(limit)
        chains = passes.rows.chains
        self._entrance = chains[0] if chains else None
        self._entering = self._where_it_enters()
        self.inputs = sum(units for units, _ in self._entering)
        self._watched = [r for r in self.layers if r.name in self.found or (r.entry and not r.skipped)]
        self._operations = sum(map(_operations, self.layers))
        size = self.batch.size
        if passes.coupled:
            run, most, directions = _COUPLED
            self.batch = self.batch.take(0, run)
            most = min(samples, most, self.batch.size)
            self.exact = probes is None and self.inputs <= directions
            cost = 2 * self._operations * self.batch.size
            self.notes.append(
                "the inputs influence each other: measured is the effect of an input on itself, among "
                f"{self.batch.size}"
            )
        else:
            most = min(samples, size)
            self.exact = probes is None and self.inputs <= _EXACT
            cost = 2 * self._operations
        affordable = _BUDGET / max(cost, 1.0)
        if self.exact and _SHARE * affordable < min(2, most) * self.inputs:
            self.exact = False
        affordable *= _SHARE if self.exact else 1.0
        self.directions = self.inputs if self.exact else (probes or _PROBES)
        while probes is None and not self.exact and self.directions > _FEWEST_PROBES:
            if affordable >= min(2, most) * self.directions:
                break
            self.directions //= 2
        taken = max(1, min(most, int(affordable // max(self.directions, 1))))
        self.chosen = np.unique(np.linspace(0, self.batch.size - 1, taken).round().astype(int))
        if taken < min(samples, self.batch.size):
            self.notes.append(f"differentiated at {taken} of {min(samples, size)} inputs, to save time")

    def differentiate(self) -> None:
        """Push the directions through the model, and keep the numbers of each row and input."""
        if not self.rows or not self.inputs:
            return
        if not self._passes.pushes:
            for found in self.found.values():
                found.reason = "the model has no derivatives"
            return
        if self._passes.coupled:
            self._one_by_one()
            return
        together = self._together()
        if self.exact and together < self.directions:
            self.exact, self.directions = False, _PROBES
            self.notes.append("all directions together do not fit into max_memory")
            together = self._together()
        step, parts = max(1, min(together, _TOGETHER) // self.directions), 1
        if together < self.directions:
            parts = math.ceil(self.directions / max(together, 2))
        for start in range(0, len(self.chosen), step):
            self._push_copies(self.chosen[start : start + step], start, parts)

    def compare_inputs(self) -> None:
        """Run the batch and keep products of differences of pairs of inputs, for their dimension."""
        size = self.batch.size
        few = min(size, _MOST_FEATURES, max(FEWEST, int(0.5 * _BUDGET // max(self._operations, 1))))
        few = few // 2 * 2 if size > 1 else 1
        order = np.random.default_rng((self.seed, _ORDER)).permutation(size)[:few]

        def trial(samples: int) -> None:
            self._see_pairs(torch.arange(samples), keep=False)

        chunk = few
        rough = _ROUGH * few * (self._passes.rows.held + 2 * self.batch.nbytes() / size)
        if self.batch.cuttable and rough > self._limit:
            chunk = samples_that_fit(self.model, trial, few, self._limit)
        if self._passes.coupled and chunk < few:
            few = chunk
        for start in range(0, few, chunk):
            self._see_pairs(torch.from_numpy(order[start : min(start + chunk, few)]))
        if few < size // 2 * 2:
            self.notes.append(f"features are those of {few} of the {size} inputs")
        self.pairs = few // 2

    def _see_pairs(self, samples: Tensor, *, keep: bool = True) -> None:
        whole = not self.batch.cuttable
        batch = self.batch if whole else self.batch.pick(samples)
        size = batch.size

        def see(layer: Layer, argument: Any, output: Tensor, tangent: Any, second: Any) -> None:
            z = layer.samples(output, size)
            z = z[samples.to(z.device)] if whole else z
            even = len(z) // 2 * 2
            pairs = (z[0:even:2] - z[1:even:2]) / math.sqrt(2)
            gram, square = _gram(pairs), float(z.double().square().mean())
            self._tidy()
            if keep:
                self.found[layer.name].grams.append(gram.cpu().numpy())
                self.found[layer.name].squares.append(square)

        rows = [row for row in self._watched if row.name in self.found]
        push_nothing(self.model, rows, batch, None, lambda tensor, number: tensor, see)

    def _where_it_enters(self) -> list[tuple[int, int]]:
        """Return the size of each entering tensor for one sample, and its axis of the samples, in order."""
        if self._entrance is None:
            first = next((row for row in self.layers if not row.skipped), None)
            return [] if first is None else [(first.units, first.batch_axis)]
        floats = self.batch.floats()
        found = [(floats[i][0].numel(), 0) for i in sorted(self._entrance.floats)]
        inside = [row for row in self.layers if row.name in self._entrance.rows and not row.skipped]
        return found + [(row.units, row.batch_axis) for row in inside]

    def _together(self) -> int:
        """Return how many copies of an input can be pushed at once."""
        wanted = self.directions * len(self.chosen)
        room = self._limit - (32.0 * self.directions**2 if self.exact else 0.0)
        if room <= 0:
            return 0
        rough = _ROUGH * (self._passes.rows.held + 2 * self.batch.nbytes() / self.batch.size)
        if rough * min(wanted, _TOGETHER) <= room:
            return wanted

        def trial(copies: int) -> None:
            def see(layer: Layer, argument: Any, output: Tensor, tangent: Tensor | None, second: Any) -> None:
                if tangent is not None and layer.name in self.found:
                    _gram(layer.samples(tangent, copies))

            self._push(self.batch.pick(torch.zeros(copies, dtype=torch.int64)), self._tangent(0, copies), see)

        return samples_that_fit(self.model, trial, wanted, room)

    def _push(self, batch: Batch, tangent: Tangent, see: See) -> None:
        self._passes.push(self.model, self._watched, batch, self._entrance, tangent, see)

    def _push_copies(self, chosen: NDArray[np.int64], first: int, parts: int) -> None:
        """Push all directions at some inputs, each direction through a copy of its own."""
        count = len(chosen)
        size = math.ceil(self.directions / parts)
        grams: dict[str, list[Array]] = {name: [] for name in self.found}
        for start in range(0, self.directions, size):
            now = min(size, self.directions - start)
            copies = torch.from_numpy(np.repeat(chosen, now))
            place = first * self.directions + start

            def see(layer: Layer, argument: Any, output: Tensor, tangent: Tensor | None, second: Any) -> None:
                self._tidy()
                if tangent is None or layer.name not in self.found:
                    return
                pushed = layer.samples(tangent, count * now).reshape(count, now, -1)  # noqa: B023
                if self.exact:
                    self._keep_exact(layer, pushed)
                else:
                    grams[layer.name].append(_gram(pushed).cpu().numpy())

            self._push(self.batch.pick(copies), self._tangent(place, count * now), see)
        for row in self.rows:
            if grams[row.name]:
                self._keep_probed(row, _joined(grams[row.name]))

    def _one_by_one(self) -> None:
        """Push each direction at each input alone, through the batch as it is, and see that input alone."""
        width = sum(row.units for row in self.rows) * 8
        fit = int(0.5 * self._limit // max(width, 1))
        if self.directions > fit:
            self.exact, self.directions = False, min(_PROBES, fit)
        if self.directions < 2:
            raise MemoryLimitError(
                f"Two directions at all rows take {2 * width / 1e6:.1f} MB, more than max_memory = "
                f"{self._limit / 1e6:.1f} MB allows. Raise it, or pass smaller inputs."
            )
        size = self.batch.size
        for number, sample in enumerate(self.chosen):
            pushed: dict[str, list[Tensor]] = {name: [] for name in self.found}

            def see(layer: Layer, argument: Any, output: Tensor, tangent: Tensor | None, second: Any) -> None:
                if tangent is not None and layer.name in pushed:  # noqa: B023
                    pushed[layer.name].append(layer.samples(tangent, size)[sample].clone())  # noqa: B023

            for direction in range(self.directions):
                place = number * self.directions + direction
                self._push(self.batch.take(0, size), self._tangent(place, 1, int(sample)), see)
                self._tidy()
            for row in self.rows:
                if pushed[row.name]:
                    stacked = torch.stack(pushed[row.name])[None]
                    if self.exact:
                        self._keep_exact(row, stacked)
                    else:
                        self._keep_probed(row, _gram(stacked).cpu().numpy())

    def _tangent(self, first: int, copies: int, sample: int | None = None) -> Tangent:
        """Return the directions of these numbers, one a copy of an input; or one at a sample among others.

        Numbers run over the directions of one input after the other. All directions are those of single
        numbers; random ones are fixed by the seed and their number.
        """
        starts = np.cumsum([0, *(units for units, _ in self._entering)])

        def tangent(tensor: Tensor, number: int) -> Tensor:
            units, axis = self._entering[number]
            if self.exact:
                flat = tensor.new_zeros((copies, units))
                places = (first + np.arange(copies)) % self.inputs - starts[number]
                inside = np.flatnonzero((places >= 0) & (places < units))
                flat[torch.from_numpy(inside), torch.from_numpy(places[inside])] = 1.0
            else:
                seed = (self.seed, _DIRECTIONS, number)
                flat = gaussian(torch.Size((copies, units)), tensor, seed=seed, first=first)
            if sample is not None:
                line, flat = flat, tensor.new_zeros((tensor.shape[axis], units))
                flat[sample] = line[0]
            return flat.reshape(tensor.movedim(axis, 0).shape).movedim(0, axis).contiguous()

        return tangent

    def _keep_exact(self, row: Layer, pushed: Tensor) -> None:
        """Keep the numbers of a row, given J^T of each input: shape (inputs, directions, units)."""
        tall = pushed.shape[2] < pushed.shape[1]
        gram = _gram(pushed.transpose(1, 2) if tall else pushed).cpu()
        usable = gram.isfinite().all(dim=(1, 2))
        squares = torch.linalg.eigvalsh(torch.where(usable[:, None, None], gram, 0.0)).clamp(min=0).numpy()
        for each, finite in zip(squares, usable.tolist(), strict=True):
            largest = float(each.max())
            if not finite or largest < _NOTHING**2:
                self._refuse(row, finite)
                continue
            relative = each / largest
            mean, k = relative.mean(), len(each)
            participation = relative.sum() ** 2 / (relative**2).sum()
            bits = float(0.5 * np.log2(1 + self.snr * relative / mean).mean())
            above = [float((relative > t**2).sum()) for t in THRESHOLDS]
            self._keep(
                row,
                gain=float(each.sum()) / row.units,
                participation=participation,
                spread=k / participation - 1,
                bits=bits,
                deficit=0.5 * math.log2(1 + self.snr) - bits,
                rank=above,
                rank_gram32=float((relative > self.inputs * _GRAM32).sum()),
            )

    def _keep_probed(self, row: Layer, grams: Array) -> None:
        """Keep the numbers of a row, given the products of J v for pairs of random v: (inputs, v, v)."""
        k = min(self.inputs, row.units)
        for gram in grams:
            lengths = np.diagonal(gram)
            if not np.isfinite(lengths).all() or not lengths.max() >= _NOTHING**2:
                self._refuse(row, bool(np.isfinite(lengths).all()))
                continue
            participation, error = pair_participation(gram)
            self._keep(
                row,
                gain=(lengths.mean() / row.units, lengths.std(ddof=1) / math.sqrt(len(lengths)) / row.units),
                participation=(participation, error),
                spread=(k / participation - 1, k * error / participation**2),
            )

    def _keep(self, row: Layer, **numbers: Any) -> None:
        self.found[row.name].reason = ""
        self.found[row.name].numbers.append({name: np.array(value) for name, value in numbers.items()})

    def _refuse(self, row: Layer, finite: bool) -> None:
        found = self.found[row.name]
        if not found.numbers:
            found.reason = (
                "no signal: its derivative by the input is zero" if finite else "its derivative is not finite"
            )


def _operations(layer: Layer) -> float:
    """Return about how many multiplications and additions a weight layer does for one sample."""
    if layer.skipped or layer.entry:
        return 0.0
    matrix = max((p.numel() for p in layer.module.parameters() if p.ndim >= 2), default=0)
    weights = max(matrix, layer.parameters if layer.stands_alone else 0)
    return 2.0 * weights * max(1, layer.units // max(1, layer.shape[layer.unit_axis]))


def _gram(vectors: Tensor) -> Tensor:
    """Return the products of all pairs of vectors, in float64: (..., m, units) to (..., m, m)."""
    *outer, count, units = vectors.shape
    step = max(1, _BLOCK // max(1, count * math.prod(outer)))
    total = vectors.new_zeros((*outer, count, count), dtype=torch.float64)
    for start in range(0, units, step):
        block = vectors[..., start : start + step].double()
        total += block @ block.transpose(-1, -2)
    return total


def _joined(parts: Sequence[Array]) -> Array:
    """Return matrices (..., m, m) as blocks of one, NaN between the blocks."""
    sizes = [part.shape[-1] for part in parts]
    whole = np.full((*parts[0].shape[:-2], sum(sizes), sum(sizes)), np.nan)
    for part, end in zip(parts, np.cumsum(sizes), strict=True):
        here = slice(end - part.shape[-1], end)
        whole[..., here, here] = part
    return whole


def pair_participation(gram: Array) -> tuple[float, float]:
    """Return the participation of a covariance and its error, from products of independent vectors of mean 0.

    ``(tr C)^2 / tr C^2`` as the ratio of the means of ``|a|^2 |b|^2`` and ``(a b)^2`` over pairs of distinct
    vectors; pairs that are NaN are left out. The error is that of the jackknife of its logarithm.
    """
    scale = np.nanmax(np.abs(gram))
    gram = gram / scale if scale > 0 else gram
    known = np.isfinite(gram) & ~np.eye(len(gram), dtype=bool)
    lengths = np.diagonal(gram)
    above, below = np.where(known, np.outer(lengths, lengths), 0.0), np.where(known, gram**2, 0.0)
    total = below.sum()
    if len(gram) < 3 or not total > 0:
        return math.nan, math.nan
    ratio = above.sum() / total
    n = len(gram)
    left = total - 2 * below.sum(axis=1)
    if not (left > 0).all():
        return math.nan, math.nan
    rest = above.sum() - 2 * above.sum(axis=1)
    if not (rest > 0).all():
        return math.nan, math.nan
    without = np.log(rest / left)
    error = ratio * math.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    return float(ratio), float(error)


_NUMBERS = {  # name: (unit, what it is)
    "gain": ("1", "sum of s^2 over the units of the row"),
    "spread": ("1", "spread of s^2: mean s^4 over squared mean s^2, minus 1"),
    "participation": ("directions", "directions kept apart, (sum s^2)^2 / sum s^4"),
    "rank_gram32": ("directions", "singular values that float32 leaves in J^T J"),
    "bits": ("bit", "bits a direction at equal power, linearised"),
    "deficit": ("bit", "bits a direction lost to anisotropy at equal power"),
    "features": ("directions", "participation of the covariance over the inputs"),
}


def _dataset(module: nn.Module, inputs: Batch, work: _Work, notes: list[str]) -> xr.Dataset:
    """Return the dataset: one entry a row, measured or skipped."""
    import xarray as xr

    values = {row.name: _row(work, row) for row in work.rows}
    laws = _laws(work)
    skipped = [_reason(work, row, values) for row in work.layers]
    data: dict[str, Any] = {}

    def column(name: str, empty: Any = np.nan) -> np.ndarray:
        rows = [
            values.get(r.name, {}) if not reason else {}
            for r, reason in zip(work.layers, skipped, strict=True)
        ]
        return np.array([row.get(name, empty) for row in rows], dtype=np.float64)

    for name, (unit, what) in _NUMBERS.items():
        data[name] = ("layer", column(name), {"units": unit, "long_name": what})
        described = {"units": unit, "long_name": f"one standard error of: {what}"}
        data[f"{name}_error"] = ("layer", column(f"{name}_error"), described)
    none = np.full(len(THRESHOLDS), np.nan)
    what = "singular values above the threshold times the largest"
    for name, told in (("rank", what), ("rank_error", f"one standard error of: {what}")):
        described = {"units": "directions", "long_name": told}
        data[name] = (("layer", "threshold"), column(name, none), described)
    known = [r.name if not reason else "" for r, reason in zip(work.layers, skipped, strict=True)]
    law = np.array([laws.get(name, np.nan) for name in known])
    what = "participation of independent Gaussian weights of these widths and activations"
    data["law"] = ("layer", law, {"units": "directions", "long_name": what})
    coordinates = {
        "layer": [layer.name for layer in work.layers],
        "threshold": ("threshold", list(THRESHOLDS), {"units": "1", "long_name": "share of the largest"}),
        "kind": ("layer", [layer.kind for layer in work.layers]),
        "role": ("layer", [layer.role for layer in work.layers]),
        "place": ("layer", [layer.place for layer in work.layers]),
        "units": ("layer", [layer.units for layer in work.layers]),
        "directions": ("layer", [min(work.inputs, layer.units) for layer in work.layers]),
        "skipped": ("layer", skipped),
    }
    if work.rows and not work.exact:
        notes.append(
            f"{work.directions} random directions at each input in place of {work.inputs}: "
            "rank, bits and deficit are not determined"
        )
    if work.rows and work.pairs < FEWEST // 2:
        notes.append(f"features not determined: {2 * work.pairs} inputs, {FEWEST} are needed")
    attrs = {
        "instrument": "spectra",
        **circumstances(module, inputs, seed=work.seed),
        "snr": work.snr,
        "input_units": work.inputs,
        "differentiated": len(work.chosen),
        "pushed": work.directions,
        "exact": int(work.exact),
        "notes": json.dumps(list(dict.fromkeys(notes))),
        "citations": "feng2022 weng2022",
    }
    return xr.Dataset(data, coordinates, attrs)


def _row(work: _Work, row: Layer) -> dict[str, Any]:
    """Return the numbers of a row: means over the inputs with their errors."""
    found = work.found[row.name]
    made: dict[str, Any] = {}
    for name in found.numbers[0] if found.numbers else ():
        samples = np.array([numbers[name] for numbers in found.numbers])
        own = None
        if not work.exact:
            samples, own = samples[:, 0], samples[:, 1]
            usable = np.isfinite(samples)
            samples, own = samples[usable], own[usable]
        if not len(samples):
            continue
        n = len(samples)
        error = samples.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(samples.shape[1:], np.nan)
        if own is not None:  # of few inputs the spread may be small by chance
            error = np.fmax(error, math.sqrt(float((own**2).mean()) / n))
        made |= {name: samples.mean(axis=0), f"{name}_error": error}
    if found.grams and work.pairs >= FEWEST // 2:
        gram = _joined(found.grams)
        if np.isfinite(np.diagonal(gram)).all() and np.diagonal(gram).max() > 0:
            made["features"], made["features_error"] = pair_participation(gram)
    return made


def _reason(work: _Work, row: Layer, values: dict[str, dict[str, Any]]) -> str:
    """Return why a row was not measured; "" where it was."""
    if row.skipped:
        return row.skipped
    if row.name not in work.found:
        if row.place == "stream":
            return "on the way of another input: the spectra are those of the longest"
        return "beside the stream: each row of the stream holds what its branches do"
    if not work.inputs:
        return "no floating-point signal enters"
    known = any(np.isfinite(value).any() for value in values[row.name].values())
    return "" if known and work.found[row.name].numbers else (work.found[row.name].reason or "not determined")


def _laws(work: _Work) -> dict[str, float]:
    """Return the participation of independent weights by row, as far as linear layers and activations go."""
    widths, ratios, found = [work.inputs], list[float](), dict[str, float]()
    before = math.nan  # mean square of the row before
    for row in work.rows:
        squares = work.found[row.name].squares
        if type(row.module) is nn.Linear and row.at is None:
            if row.module.in_features != widths[-1] or row.units != row.module.out_features:
                break
            widths.append(row.units)
            ratios.append(1.0)
        elif row.role == "activation" and ratios and ratios[-1] == 1.0 and math.isfinite(before):
            try:
                ratios[-1] = slope_ratio(row.module, before)
            except InputError:
                break
        else:
            break
        found[row.name] = product_participation(widths, ratios)
        before = float(np.mean(squares)) if squares else math.nan
    return found
