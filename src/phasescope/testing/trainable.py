"""Whether a model can be trained at all, as one assertion for a test of its owner's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from phasescope.errors import InputError
from phasescope.instruments import Finding, Inspection, SignalPropagation, Symptoms, inspect
from phasescope.instruments.rows import Row
from phasescope.signal.verdict import hidden_steps, verdict

if TYPE_CHECKING:
    import xarray as xr
    from torch import nn

_GENERIC = "Bring it to order one: call phasescope.signal.critical_(model, batch), or normalise the layers."


def assert_trainable(
    model: nn.Module | Callable[..., Any],
    batch: Any,
    *,
    loss: Callable[..., Any] | None = None,
    targets: Any = None,
    growth: float = 12.0,
    allow: Sequence[str] = (),
    seed: int = 0,
    max_memory: int | None = None,
) -> None:
    r"""Return nothing if a model can be trained from where it stands; else raise and say why not.

    For a test of one's own, under pytest or anything else; no plugin is needed. Two cheap instruments are
    run, :class:`phasescope.instruments.Symptoms` and :class:`phasescope.instruments.SignalPropagation`. It
    fails for

    - a mistake that is found: NaN, an input that does not reach the output, a softmax before a loss that has
      its own, inputs that are not scaled, layers that are copies of each other, biases that saturate units,
      BatchNorm on one input. Layers that are frozen or linear together, and an output far from the
      targets, can be trained, and pass;
    - a signal whose mean square :math:`K` dies or explodes over the hidden steps,
      :math:`|\ln (K_\mathrm{last} / K_\mathrm{first})| > g`;
    - a gradient that does so on its way back, :math:`|\ln (|\nabla_1|^2 / |\nabla_L|^2)| > g`, squared
      norms at the first step and at what enters the read-out;
    - a small difference between inputs that does so, :math:`|\sum \ln \chi_\perp| > g`.

    Each logarithm has to be beyond g by more than one of its standard errors, where it has one.

    Parameters
    ----------
    model : nn.Module or callable
        The model, as training begins with it. It is left bit-identical.
    batch : tensor, sequence or mapping of tensors
        What the model is called with, 16 inputs or more, scaled as in training; a tuple gives positional
        arguments, a mapping keyword arguments.
    loss : callable, optional
        The loss of training, of the output alone, or of output and `targets`. With it, what is wrong
        between output and loss is found too, and the gradient is the real one.
    targets : tensors, optional
        What `loss` compares the output with.
    growth : float
        The limit g, a natural logarithm of a ratio of squares. 12 is a factor 160,000 of squares, 400 of
        amplitudes.
    allow : sequence of str
        Findings whose sentence contains one of these texts do not count.
    seed : int
        Seed of the probes.
    max_memory : int, optional
        Bytes that the measurement may take beside the model and the batch.

    Raises
    ------
    AssertionError
        If the model cannot be trained as it stands, or an instrument failed on it. The message has a
        paragraph for each reason: where, which number, and what to do.
    InputError
        If `growth` is not positive, or no instrument can measure the model.

    Notes
    -----
    Where the limit comes from: networks train to a depth of about 6 correlation lengths, that is to a total
    of 6 (Schoenholz et al. 2017, section 5), by stochastic gradient descent; with momentum and Adam the
    boundary lies higher. Tried while this was written: perceptrons of 64 tanh or rectified units a layer, 5
    to 26 layers, on ten clusters of points, 300 steps, the best of three rates of gradient descent with
    momentum and of two of Adam, one seed each. All learned the task where the total lay between -9.9 and
    +9.3; gradient descent learned in part at -13 and failed from -14.3 on; Adam failed with tanh at -19.4
    and -28.4, and learned with ReLU at -23. 12 is twice 6, beyond which an inspection calls the phase a
    problem. Pass 6 to be strict, 18 for Adam.

    When it fails to tell: it looks at the start of training alone. A model that passes may still learn
    nothing, for want of information in the data or by a rate that is too large; one with fewer than three
    hidden steps has no phase, and its numbers say little. What no instrument can follow, such as layers
    behind a step that has no derivative, is not judged.

    Cost: about 25 forward-backward passes of the batch.

    References
    ----------
    Schoenholz, Gilmer, Ganguli and Sohl-Dickstein, Deep information propagation, 2017 (arXiv:1611.01232).

    Examples
    --------
    >>> import torch
    >>> from phasescope.testing import assert_trainable
    >>> def test_the_network_can_be_trained():
    ...     torch.manual_seed(0)
    ...     model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    ...     assert_trainable(model, torch.randn(16, 8))
    >>> test_the_network_can_be_trained()
    """
    if not growth > 0:
        raise InputError(f"growth is {growth}.", "Give a positive number, such as 12.")
    if isinstance(allow, str):
        raise InputError(f"allow is one text, {allow!r}.", f"Give a list of them: [{allow!r}].")
    asked = [Symptoms(loss, targets), SignalPropagation(loss, targets)]
    found = inspect(model, batch, instruments=asked, seed=seed, max_memory=max_memory)
    reasons = [*_broken(found, allow), *_dying(found, growth)]
    if not reasons:  # what an instrument could not do follows from what is broken, where something is
        reasons = [
            (f"The instrument {name} failed: {why.strip().splitlines()[0]}", "", "Mend what it names.")
            for name, why in found.failed.items()
        ]
    if reasons:
        raise AssertionError(_message(found.model, reasons))


_Reason = tuple[str, str, str]  # what is wrong and where, the numbers, what to do


def _broken(found: Inspection, allow: Sequence[str]) -> Iterator[_Reason]:
    """Yield what the instruments call broken."""
    for name in found.datasets:
        for finding in found.findings_of(name):
            allowed = any(text.casefold() in finding.sentence.casefold() for text in allow)
            if _counts(name, finding) and not allowed:
                yield finding.sentence, finding.evidence, finding.action


def _counts(instrument: str, finding: Finding) -> bool:
    """Whether a finding says that training cannot work; what is said of phase and units is for people."""
    if instrument == Symptoms.name and finding.severity == "warning":
        return finding.kind in ("broken", "units")
    return finding.severity == "problem" and (instrument == Symptoms.name or finding.kind == "broken")


def _dying(found: Inspection, growth: float) -> Iterator[_Reason]:
    """Yield which of signal, gradient and differences die or explode over the depth."""
    if SignalPropagation.name not in found.datasets:
        return
    dataset = found.datasets[SignalPropagation.name]
    cures = [f.action for f in found.findings_of(SignalPropagation.name) if f.kind == "phase" and f.action]
    cure = (cures or [_GENERIC])[0]
    for what, logarithm, error, where in _logarithms(dataset):
        if abs(logarithm) - error > growth:
            verb = "grows" if logarithm > 0 else "falls"
            size = f"its logarithm is {logarithm:+.1f}" + (f" ± {error:.1g}" if error else "")
            limit = f"the limit is {'+' if logarithm > 0 else '-'}{growth:g}"
            factor = f"1e{abs(logarithm) / math.log(10):.0f}"
            yield f"{what} {verb} by a factor {factor} {where}.", f"{size}, {limit}", cure
            cure = "The same."


def _logarithms(dataset: xr.Dataset) -> Iterator[tuple[str, float, float, str]]:
    """Yield the logarithm of each growth that could be measured, its error, and over what."""
    hidden = hidden_steps(dataset)
    kernel, names = hidden["kernel"].values, [str(name) for name in hidden["layer"].values]
    known = [i for i, value in enumerate(kernel) if 0 < value < math.inf]
    if len(known) > 1:
        first, last = known[0], known[-1]
        where = f"from {names[first]} to {names[last]}"
        yield "The signal's mean square", math.log(kernel[last] / kernel[first]), 0.0, where
    steps = Row.steps(dataset)
    stream = [
        row
        for row in Row.measured(dataset)
        if row.text("place") == "stream" and row["chain"] == 0 and 0 < row["gradient"] < math.inf
    ]
    if steps and steps[-1].text("layer") not in names:  # the read-out, which sets a scale alone
        stream = [row for row in stream if row.index < steps[-1].index]
    stream = [row for row in stream if row.index >= steps[0].index] if steps else []
    if len(stream) > 1:
        first_row, last_row = stream[0], stream[-1]
        errors = [row["gradient_error"] / row["gradient"] for row in (first_row, last_row)]
        where = f"on its way back from {last_row.text('layer')} to {first_row.text('layer')}"
        change = math.log(first_row["gradient"] / last_row["gradient"])
        yield "The squared gradient", change, math.hypot(*(e for e in errors if math.isfinite(e))), where
    total = verdict(dataset).total
    if total.determined and names:
        what = "The square of a small difference between inputs"
        yield what, total.value, total.error, f"from {names[0]} to {names[-1]}"


def _message(model: str, reasons: Sequence[_Reason]) -> str:
    count = "one reason" if len(reasons) == 1 else f"{len(reasons)} reasons"
    lines = [f"{model} cannot be trained as it stands, for {count}:"]
    for number, (sentence, evidence, action) in enumerate(reasons, start=1):
        lines += ["", f"{number}. {sentence}"]
        lines += [f"   measured: {evidence}"] if evidence else []
        lines += [f"   to do: {action}"] if action else []
    return "\n".join(lines)
