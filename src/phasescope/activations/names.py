"""The activations known by name, and what is known of each: function, kinks, closed form."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phasescope.activations.activation import Activation
from phasescope.activations.modules import MRePU, RePU
from phasescope.errors import InputError

# Taylor coefficients of (z - tanh z)/z^3 in z^2.
_TANHSHRINK = (1 / 3, -2 / 15, 17 / 315, -62 / 2835, 1382 / 155925, -21844 / 6081075, 929569 / 638512875)


def softplus(z: Tensor) -> Tensor:
    """Return ``log(1 + e^z)`` without the jump of 2e-9 that ``F.softplus`` has where it turns linear."""
    return -F.logsigmoid(-z)


def tanhshrink(z: Tensor) -> Tensor:
    """Return ``z - tanh(z)`` to full relative precision, by its series where the two terms cancel."""
    small = torch.clamp(z, -0.1, 0.1)
    square = small * small
    series = torch.zeros_like(z)
    for coefficient in reversed(_TANHSHRINK):
        series = coefficient + square * series
    return torch.where(z.abs() < 0.1, small * square * series, z - torch.tanh(z))


def hardsigmoid(z: Tensor) -> Tensor:
    """Return ``min(max(z/6 + 1/2, 0), 1)``, differentiable as often as wanted."""
    return torch.clamp(z / 6 + 0.5, 0.0, 1.0)


def softsign(z: Tensor) -> Tensor:
    """Return ``z/(1 + |z|)`` without ``abs``, whose second derivative makes torch load its compiler (2 s)."""
    positive, negative = torch.relu(z), torch.clamp(z, max=0.0)
    return positive / (1 + positive) + negative / (1 - negative)


def gelu_tanh(z: Tensor) -> Tensor:
    """Return GELU in its tanh approximation; torch's own has a third derivative that is NaN at -30."""
    return z * torch.sigmoid(math.sqrt(8 / math.pi) * (z + 0.044715 * z**3))


def mish(z: Tensor) -> Tensor:
    """Return ``z tanh(softplus(z))``; torch's own has a second derivative that is NaN beyond 709."""
    return z * torch.tanh(softplus(z))


def _identity(z: Tensor) -> Tensor:
    # Not z itself: a result must never alias its argument.
    return z * 1.0


_KNOWN = {
    known.name: known
    for known in (
        Activation("linear", _identity, closed_form=("leaky_relu", (1.0,))),
        Activation("relu", torch.relu, (0.0,), closed_form=("leaky_relu", (0.0,))),
        Activation("leaky_relu", F.leaky_relu, (0.0,), closed_form=("leaky_relu", (0.01,))),
        Activation("prelu", lambda z: F.leaky_relu(z, 0.25), (0.0,), closed_form=("leaky_relu", (0.25,))),
        Activation("relu6", F.relu6, (0.0, 6.0)),
        Activation("elu", F.elu, (0.0,)),
        Activation("celu", F.celu, (0.0,)),
        Activation("selu", F.selu, (0.0,)),
        Activation("gelu", F.gelu),
        Activation("gelu_tanh", gelu_tanh),
        Activation("silu", F.silu),
        Activation("mish", mish),
        Activation("softplus", softplus),
        Activation("logsigmoid", F.logsigmoid),
        Activation("sigmoid", torch.sigmoid),
        Activation("tanh", torch.tanh),
        Activation("tanhshrink", tanhshrink),
        Activation("softsign", softsign, (0.0,)),
        Activation("hardtanh", F.hardtanh, (-1.0, 1.0)),
        Activation("hardsigmoid", hardsigmoid, (-3.0, 3.0)),
        Activation("hardswish", F.hardswish, (-3.0, 3.0)),
        Activation("hardshrink", F.hardshrink, (-0.5, 0.5), (-0.5, 0.5)),
        Activation("softshrink", F.softshrink, (-0.5, 0.5)),
        Activation("erf", torch.erf, closed_form=("erf", ())),
        Activation("sin", torch.sin, closed_form=("sin", ())),
        Activation("cos", torch.cos, closed_form=("cos", ())),
        Activation("arctan", torch.atan),
    )
}
_ALIASES = {"identity": "linear", "swish": "silu", "atan": "arctan", "quickswish": "silu"}
_ALIASES |= {"requ": "repu2", "recu": "repu3"}
_SQUASHED = {name.replace("_", ""): name for name in _KNOWN}

_REFUSED = {
    "softmax": "mixes the units of a layer, so it is not a function of one pre-activation",
    "glu": "multiplies one half of its inputs by the other, so it is not a function of one pre-activation",
    "threshold": "needs its two settings",
    "rrelu": "draws random slopes while training",
    "dropout": "is random and no activation",
}
_REFUSED |= dict.fromkeys(("softmin", "logsoftmax", "softmax2d", "gumbelsoftmax"), _REFUSED["softmax"])
_REFUSED |= dict.fromkeys(
    ("alphadropout", "featurealphadropout", "dropout1d", "dropout2d"), _REFUSED["dropout"]
)
_INSTEAD = {
    "threshold": "Pass the module, for example torch.nn.Threshold(0.1, 0.0).",
    "rrelu": "Pass torch.nn.RReLU().eval(), which is a leaky ReLU.",
}

_FUNCTIONS: dict[Callable[[Tensor], Tensor], str] = {
    **{known.function: name for name, known in _KNOWN.items()},
    F.relu: "relu",
    F.tanh: "tanh",
    torch.arctan: "arctan",
    F.sigmoid: "sigmoid",
    F.softplus: "softplus",
    F.tanhshrink: "tanhshrink",
    F.softsign: "softsign",
    F.hardsigmoid: "hardsigmoid",
    torch.selu: "selu",
    torch.celu: "celu",
    F.mish: "mish",
    torch.special.erf: "erf",
    torch.special.expit: "sigmoid",
}


def by_name(name: str) -> Activation:
    """Return the activation that `name` stands for, in any capitals, underscores and prefix or none."""
    squashed = re.sub(
        r"[\s_\-()]", "", re.sub(r"^(torch\.)?(nn\.functional\.|nn\.|F\.)", "", name.strip())
    ).lower()
    squashed = _ALIASES.get(squashed, squashed)
    if squashed in _SQUASHED:
        return _KNOWN[_SQUASHED[squashed]]
    power = re.fullmatch(r"(m?)repu([\d.]+)", squashed)
    if power:
        if not re.fullmatch(r"[1-9]\d?", power[2]) or re.search(r"-\s*\d", name):
            raise InputError(
                f"Activation {name!r}: its power is not an integer from 1 to 99.", "Use 'repu2' or 'mrepu2'."
            )
        return rectified_power(MRePU(int(power[2])) if power[1] else RePU(int(power[2])))
    if squashed in _REFUSED:
        raise InputError(
            f"Activation {name!r}: it {_REFUSED[squashed]}.",
            _INSTEAD.get(squashed, "Name an elementwise activation such as 'gelu'."),
        )
    torch_names = {n.replace("_", "").lower() for n in (*dir(nn), *dir(F), *dir(torch))}
    if squashed in torch_names:
        raise InputError(
            f"Activation {name!r}: torch has it, but not as an elementwise activation without settings.",
            "Pass the function or the module itself to measure it anyway.",
        )
    near = difflib.get_close_matches(
        squashed, [*_SQUASHED, *_ALIASES, "repu2", "repu3", "mrepu1", "mrepu2"], 3, 0.5
    )
    names = ", ".join(_SQUASHED.get(n, n) for n in near) or ", ".join(_KNOWN)
    raise InputError(f"Unknown activation {name!r}.", f"{'Nearest' if near else 'Known'} names: {names}.")


def by_function(function: Callable[[Tensor], Tensor]) -> Activation | None:
    """Return the named activation that `function` is, or None."""
    try:
        name = _FUNCTIONS.get(function)
    except TypeError:
        return None
    return None if name is None else _KNOWN[name]


def rectified_power(module: RePU | MRePU) -> Activation:
    """Return the activation of a RePU or MRePU module."""
    p = module.p
    if isinstance(module, MRePU):
        # The (p - 1)-th derivative is the last continuous one, so p >= 3 leaves the first two smooth.
        shift = module.shift
        if shift == 1:
            return Activation(f"mrepu{p}", module, (-1.0,), closed_form=("mrepu", (float(p),)))
        return Activation(
            f"mrepu{p}(shift={shift:g})", module, (-shift,), closed_form=("mrepu", (float(p), shift))
        )
    return Activation(f"repu{p}", module, (0.0,), closed_form=("repu", (float(p),)))


def by_module(module: nn.Module) -> Activation | None:
    """Return what is known of an activation module with its own settings; None where kinks must be found."""
    if isinstance(module, (RePU, MRePU)):
        return rectified_power(module)
    return _torch_module(module)


def _torch_module(module: Any) -> Activation | None:
    kind = type(module)
    if kind is nn.PReLU:
        if module.weight.numel() > 1:
            raise InputError(
                f"PReLU with {module.weight.numel()} slopes is as many activations.",
                "Pass torch.nn.LeakyReLU(slope) for one of them.",
            )
        return _leaky(float(module.weight.detach()))
    if kind is nn.LeakyReLU:
        return _leaky(module.negative_slope)
    if kind is nn.RReLU and not module.training:
        return _leaky((module.lower + module.upper) / 2)
    if kind is nn.GELU:
        return _KNOWN["gelu" if module.approximate == "none" else "gelu_tanh"]
    if kind is nn.Softplus:
        beta = float(module.beta)
        return (
            Activation(f"softplus(beta={beta:g})", lambda z: softplus(beta * z) / beta) if beta != 1 else None
        )
    if kind in (nn.ELU, nn.CELU):
        scaled = F.elu if kind is nn.ELU else F.celu
        alpha = float(module.alpha)
        return Activation(f"{kind.__name__.lower()}(alpha={alpha:g})", lambda z: scaled(z, alpha), (0.0,))
    if kind is nn.Hardtanh:
        low, high = float(module.min_val), float(module.max_val)
        return Activation(f"hardtanh({low:g}, {high:g})", lambda z: F.hardtanh(z, low, high), (low, high))
    if kind in (nn.Softshrink, nn.Hardshrink):
        edge = float(module.lambd)
        shrink = F.softshrink if kind is nn.Softshrink else F.hardshrink
        jumps = (-edge, edge) if kind is nn.Hardshrink else ()
        return Activation(
            f"{kind.__name__.lower()}({edge:g})", lambda z: shrink(z, edge), (-edge, edge), jumps
        )
    if kind.__module__.startswith("torch.nn.modules.activation"):
        return _KNOWN.get(_SQUASHED.get(kind.__name__.lower(), ""))
    return _KNOWN["linear"] if kind is nn.Identity else None


def _leaky(slope: float) -> Activation:
    return Activation(
        f"leaky_relu({slope:g})",
        lambda z: F.leaky_relu(z, slope),
        () if slope == 1 else (0.0,),
        closed_form=("leaky_relu", (slope,)),
    )
