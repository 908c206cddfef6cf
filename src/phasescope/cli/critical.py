"""The steps of ``phasescope critical``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phasescope.activations import Activation, load_activation
from phasescope.cli.critical_comparison import Compared, compared, unbroken
from phasescope.cli.progress import progress
from phasescope.cli.targets import seed_everything
from phasescope.errors import InputError
from phasescope.theory import (
    CriticalPoint,
    alternatives,
    critical_point,
    first_layer_kernel,
    overflow_depth,
)
from phasescope.userfiles import is_file_spec
from phasescope.whole_files import check_writable, write_whole

if TYPE_CHECKING:
    from phasescope.cli.commands import Critical

_WIDTH = 80
_LABEL = 15
_FORMATS = (".png", ".svg", ".pdf")
_DEPTHS = (10, 50)
# Where float16 is looked at: kernels that explode do so within a few layers.
_MOST_LAYERS = 100


def run(words: Critical) -> tuple[str, int]:
    """Return the critical point of an activation, or a table of several, and the exit code."""
    seed_everything(words.seed)
    if words.compare is not None:
        if words.plot is not None:
            raise InputError(
                "--plot draws one activation, and --compare was given.",
                "Call phasescope critical NAME --plot FILE for each.",
            )
        return compared(_points(words), as_json=words.json), 0
    if words.activation is None:
        raise InputError(
            "No activation was named.", "Write phasescope critical NAME, or --compare NAME,NAME,..."
        )
    if words.plot is not None:
        _check_plot(words.plot)
    activation, point = _loaded(words.activation)
    answer = as_dict(point, activation)
    if words.plot is not None:
        _draw(activation, words.plot)
        answer["plot"] = str(words.plot)
    if words.json:
        return json.dumps(answer, indent=2, allow_nan=False), 0
    return _as_text(answer), 0


def _loaded(spec: str) -> tuple[Activation, CriticalPoint]:
    """Return the activation that the user named, and its critical point."""
    activation = load_activation(spec)
    try:
        return activation, critical_point(activation)
    except InputError as error:
        raise InputError(f"{spec}: {error.what}" if is_file_spec(spec) else error.what, error.fix) from error


def _points(words: Critical) -> list[Compared]:
    """Return what there is of each activation that is to be compared."""
    specs = [spec.strip() for spec in (words.compare or "").split(",")]
    if not all(specs):
        raise InputError(
            f"--compare {words.compare!r} has an empty name." if any(specs) else "--compare names nothing.",
            "Give names separated by commas, such as --compare gelu,tanh,FILE.py:function.",
        )
    if words.activation is not None:
        specs.insert(0, words.activation)
    found: dict[tuple[str, str], str] = {}
    made = []
    for spec in specs:
        activation, point = _loaded(spec)
        # Functions of one name in two files differ; 'silu' and 'swish' do not.
        identity = (
            str(Path(spec.rpartition(":")[0]).resolve()) if is_file_spec(spec) else "",
            point.activation,
        )
        if identity in found:
            also = "twice" if spec == found[identity] else f"as {found[identity]!r} and {spec!r}"
            raise InputError(f"{point.activation} is named {also}.", "Name each activation once.")
        found[identity] = spec
        made.append(Compared(spec, activation, point, as_dict(point, activation)))
    names = [each.point.activation for each in made]
    return [
        each if names.count(each.point.activation) > 1 else each._replace(label=each.point.activation)
        for each in made
    ]


def as_dict(point: CriticalPoint, activation: Activation) -> dict[str, Any]:
    """Return the answer under its documented keys; ``None`` where a number does not exist."""
    numbers = {key: _finite(getattr(point, key)) for key in ("C_W", "C_b", "K", "a1", "b1")}
    none = point.universality_class == "none"
    repels = point.stable is False and point.a1 is not None and point.a1 > 0
    kernels = {str(depth): first_layer_kernel(activation, depth) for depth in _DEPTHS if repels}
    return {
        "activation": point.activation,
        "universality_class": point.universality_class,
        "stable": point.stable,
        **numbers,
        "reason": point.reason,
        "instead": "\n".join(alternatives(activation)) if none else None,
        "first_layer_kernel": kernels or None,
        "float16": _half_precision(point, activation, [1.0, *kernels.values()][:2]),
    }


def _half_precision(
    point: CriticalPoint, activation: Activation, kernels: list[float]
) -> list[dict[str, float]] | None:
    """Return where float16 overflows, with C_W = 1 where nothing is critical; None if nowhere."""
    if activation.jumps or point.stable:
        return None
    C_W, C_b = (1.0, 0.0) if point.C_W is None else (point.C_W, point.C_b or 0.0)
    found = []
    for K1 in kernels:
        layer = overflow_depth(activation, K1, C_W=C_W, C_b=C_b, most_layers=_MOST_LAYERS)
        if layer is not None:
            found.append({"K1": K1, "C_W": C_W, "layer": layer})
    return found or None


def _as_text(answer: dict[str, Any]) -> str:
    """Return a few lines: class, initialisation with numbers to copy, kernel, coefficients, reason."""
    stability = {True: ", stable", False: ", not stable", None: ""}[answer["stable"]]
    if answer["universality_class"] == "none":
        lines = [f"{answer['activation']}: no critical initialisation"]
    else:
        lines = [f"{answer['activation']}: class {answer['universality_class']}{stability}"]
        lines += _initialisation(answer)
    lines += _entry("why", answer["reason"])
    for number, text in enumerate((answer["instead"] or "").splitlines()):
        lines += _entry("" if number else "instead", text)
    if answer["float16"] is not None:
        places = ", ".join(f"in layer {at['layer']} with K_1 = {at['K1']:.3g}" for at in answer["float16"])
        weights = f"C_W = {answer['float16'][0]['C_W']:.4g}"
        lines += _entry("float16", f"overflows {places} ({weights}, width 128, 128 inputs).")
    if "plot" in answer:
        lines += ["", f"plot: {answer['plot']}"]
    return "\n".join(lines)


def _initialisation(answer: dict[str, Any]) -> list[str]:
    """Return what to set, with the lines of code, and what follows from it."""
    weight, bias = answer["C_W"], answer["C_b"]
    code = " " * _LABEL + "nn.init."
    lines = [
        f"  initialise   C_W = {weight:.10g}, C_b = {bias:.10g}",
        f"{code}normal_(layer.weight, std={math.sqrt(weight):.8g} / layer.in_features**0.5)",
        f"{code}normal_(layer.bias, std={math.sqrt(bias):.8g})" if bias else f"{code}zeros_(layer.bias)",
    ]
    kernels = answer["first_layer_kernel"]
    if kernels is not None:
        few, many = _DEPTHS
        lines += _entry(
            "first layer",
            f"K_1 = {kernels[str(few)]:.3g} for {few} layers, {kernels[str(many)]:.3g} for {many}: with "
            "K_1 = 1/(2 a1 L) the kernel of the largest input at most doubles in L layers, and explodes when "
            f"they are two to three times as many. For {few} layers, with norm that of the largest input:",
        )
        lines.append(f"{code}normal_(first.weight, std={math.sqrt(kernels[str(few)]):.4g} / norm)")
    kernel = "any: it keeps the value it starts with" if answer["K"] is None else f"{answer['K']:.10g}"
    lines.append(f"  kernel K*    {kernel}")
    if answer["a1"] is not None:
        second = "" if answer["b1"] is None else f", b1 = {answer['b1']:.8g}"
        lines.append(f"  near K*      a1 = {answer['a1']:.8g}{second}")
    return lines


def _entry(label: str, text: str) -> list[str]:
    first = f"  {label}".ljust(_LABEL)
    return unbroken(text, _WIDTH, first, " " * _LABEL)


def _check_plot(path: Path) -> None:
    """Raise before anything is computed where the figure could not be written."""
    if path.suffix.lower() not in _FORMATS:
        kind = f"ends in {path.suffix!r}" if path.suffix else "has no ending"
        raise InputError(f"--plot {path} {kind}.", f"Use one of {', '.join(_FORMATS)}.")
    if not path.parent.is_dir():
        raise InputError(
            f"--plot {path}: there is no folder {path.parent}.", "Make it, or name another file."
        )
    try:
        check_writable(path.parent, path.name)
    except InputError as error:
        raise InputError(f"--plot: {error.what}", "Name another file.") from error


def _draw(activation: Activation, path: Path) -> None:
    from io import BytesIO

    from phasescope import plotting
    from phasescope.report import activation_figure

    kind = path.suffix.lower()[1:]
    undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    content = BytesIO()
    with progress(2) as step:
        step(f"{activation.name}: kernels over variances and depth")
        figure = activation_figure(activation)
        step(f"{activation.name}: drawing {path.name}")
        with plotting.style():
            figure.savefig(
                content, format=kind, dpi=150, facecolor="white", transparent=False, metadata=undated
            )
    try:
        write_whole(path, content.getvalue())
    except InputError as error:
        raise InputError(f"--plot: {error.what}", "Name another file.") from error


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
