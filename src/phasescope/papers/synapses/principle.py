"""The principle: a property that a weak synapse moves spoils others first; its converse; and its limits.

The property is the mean colour of a window, and damage is the rms change outside. For each window the
synapses are ranked by their control |g|/D, with g the change of the property and D the damage for a unit of
weight. Then single synapses are really moved, by forward passes, until the property has changed by 0.05.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import spearmanr
from torch import Tensor

from phasescope import plotting
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.papers.synapses import shared
from phasescope.papers.synapses.shared import ARTICLE, KINDS, STUDY, over_networks
from phasescope.studies.claim import Check, Claim
from phasescope.studies.drawing import colours, legend, plain_ticks
from phasescope.studies.part import Panels, Part, Settings, Table, Variable
from phasescope.sweep.task import Task
from phasescope.synapses import ColourBalance, PictureSensitivity, Property, Tilt, Width, ensemble

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

GROUPS = ("best", "strongest", "elsewhere", "median", "weak")
_WORDS = {
    "best": "best control",
    "strongest": "strongest",
    "elsewhere": "best of a window elsewhere",
    "median": "median control",
    "weak": "weak, 10th percentile",
}
_SIDE = 3 / 16  # of a window, in units of the shorter side of the picture
_EFFECT = 0.05  # of the property, in colour units from -1 to 1
_CLOSE = 0.02  # of the effect: how closely it is met
_VISIBLE = 0.1  # rms change of the picture in the figures, upwards and downwards
_GREEN = 1
VIEWS = ("tilt", "width", "green", "both", "local", "all else")
_LARGEST = 30.0  # change of a weight that is still tried
_DEVIATES = 0.2  # of the linear effect: where the linear range ends
_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # of the linear range
_TOUCHED, _NEARLY_ALL = 0.1, 0.75  # a pixel is touched above this share of D; and what share of them is
_ALONE = 0.2  # a window that changes by less, in units of the rest, is left alone
# Damage for a linear effect of 0.05, best, median and 90th percentile: a trial with one network a picture.
_TRIAL = {"flower": (0.020, 0.51, 17.0), "china": (0.0024, 0.040, 6.9)}


class PrincipleSettings(Settings):
    """Sizes of the measurement."""

    regions: int = 24  # windows on a grid, about


QUICK = PrincipleSettings(regions=12)
PAPER = PrincipleSettings()

VARIABLES = {
    "linear": Variable(("kind", "region", "group"), f"damage for a linear effect of {_EFFECT}"),
    "damage": Variable(("kind", "region", "group"), f"damage when the property has moved by {_EFFECT}"),
    "reached": Variable(("kind", "region", "group"), "1 where the property moved so far, 0 where it did not"),
    "by_strength": Variable(("kind", "region"), "rank correlation of |g| and of control over all synapses"),
    "beyond": Variable(
        ("kind", "region", "pair", "multiple"), "damage per effect over its linear value, by multiples"
    ),
    "converse": Variable(("kind", "region"), "rms change in the window over that outside", optional=True),
    "broad": Variable(("kind",), "share of synapses that bend nearly all else, mean over windows"),
    "view": Variable(("which", "state", "y", "x", "channel"), "pictures of synapses", optional=True),
    "synapse": Variable(("which", "end"), "their numbers; the same twice where it is one", optional=True),
    "window": Variable(("y", "x"), "1 in the window of the local property", optional=True),
}


def tasks(config: Any) -> list[Task]:
    """Return one task a trained network, which brings its controls."""
    settings: PrincipleSettings = config.principle
    made = []
    for number, known in enumerate(shared.networks(config)):
        forward = 4e-4 + 5e-7 * known["longest"] ** 2
        seconds = shared.training_seconds(known) + len(KINDS) * settings.regions * 130 * forward
        made.append(
            Task(
                STUDY,
                "principle",
                {**known, "regions": settings.regions, "pictured": number == 0},
                seconds=seconds,
                memory=600_000_000,
            )
        )
    return made


def measure(task: Task, device: str) -> dict[str, Any]:
    """Return what single synapses of one network and of its controls do to windows and to the rest."""
    known = task.parameters
    made = shared.trained(known)
    masks = shared.windows(made.size, known["regions"], round(_SIDE * min(made.size)))
    rows = [_of_net(seen, masks) for seen in made.kinds(task.seed)]
    found: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return found | (_shown(made.sensitivity, masks) if known["pictured"] else {})


def _of_net(seen: PictureSensitivity, masks: Tensor) -> dict[str, Any]:
    g, damage, inside = strengths(seen, masks)
    control = g.abs() / damage
    ranked = control.argsort(dim=1, descending=True)
    count, synapses = control.shape
    chosen = {
        "best": ranked[:, 0],
        "strongest": g.abs().argmax(1),
        "elsewhere": ranked[:, 0].roll(count // 2),
        "median": ranked[:, synapses // 2],
        "weak": ranked[:, round(0.9 * synapses)],
    }
    picked = torch.stack([chosen[name] for name in GROUPS], 1)
    moved = [
        [_moved(seen, int(s), float(g[r, s]), masks[r]) for s in picked[r].tolist()] for r in range(count)
    ]
    broad = _broad(seen, masks, damage)
    quiet = torch.where(broad, inside / damage, torch.full_like(damage, math.inf))
    return {
        "linear": (_EFFECT / control.gather(1, picked)).numpy(),
        "damage": [[each[0] for each in row] for row in moved],
        "reached": [[each[1] for each in row] for row in moved],
        "by_strength": [float(spearmanr(a, b).statistic) for a, b in zip(g.abs(), control, strict=True)],
        "beyond": [
            [_beyond(seen, int(s), float(g[r, s]), float(damage[r, s]), masks[r]) for s in pair]
            for r, pair in enumerate(torch.stack([chosen["best"], chosen["median"]], 1).tolist())
        ],
        "converse": [
            _left_alone(seen, int(row.argmin()), float(damage[r, row.argmin()]), masks[r])
            if row.isfinite().any()
            else math.nan
            for r, row in enumerate(quiet)
        ],
        "broad": float(broad.double().mean()),
    }


def _broad(seen: PictureSensitivity, masks: Tensor, damage: Tensor) -> Tensor:
    """Return which synapses bend nearly all outside each mask, bool of shape (regions, synapses)."""
    fields = seen.sweeps.maps()[: damage.shape[1]].square().mean(1).sqrt()
    outside = ~masks.reshape(len(masks), 1, -1)
    touched = (fields[None] > _TOUCHED * damage[:, :, None]) & outside
    broad: Tensor = touched.sum(2) > _NEARLY_ALL * outside.sum(2)
    return broad


def strengths(seen: PictureSensitivity, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return g, damage and rms change inside for a unit of each synapse, shape (regions, synapses) each."""
    synapses = seen.net.wiring.synapses
    channels = seen.output.shape[-1]
    weights = masks.double() / (channels * masks.sum((1, 2)))[:, None, None]
    g = seen.pulled_back(weights[..., None].expand(*masks.shape, channels).contiguous())[:, :synapses]
    total, inside = seen.rms.square()[:synapses] * seen.output.numel(), seen.energy(masks)[:, :synapses]
    area = channels * masks.sum((1, 2))[:, None]
    # What is left by rounding of a map that vanishes outside is no damage of zero.
    outside = (total - inside).clamp(min=1e-14 * float(total.max()))
    return g, (outside / (seen.output.numel() - area)).sqrt(), (inside / area).sqrt()


def _change(seen: PictureSensitivity, synapse: int, step: float) -> Tensor:
    weights = seen.weights.clone()
    weights[synapse] += step
    return seen.at(weights).output - seen.output


def _rms(change: Tensor, mask: Tensor) -> float:
    return float(change[mask].square().mean().sqrt())


def _moved(seen: PictureSensitivity, synapse: int, g: float, mask: Tensor) -> tuple[float, bool]:
    """Return the damage once the property has moved towards grey by :data:`_EFFECT`, and whether it did.

    The step is doubled until the effect is passed, then bisected. Where the largest step does not reach it,
    the largest damage on the way is returned: less than that of the effect, were it possible.
    """
    towards = -1.0 if float(seen.output[mask].mean()) > 0 else 1.0
    sign = math.copysign(1.0, towards * g)
    low, step = 0.0, min(_EFFECT / max(abs(g), 1e-12), _LARGEST)
    high, worst = math.inf, 0.0
    for _ in range(40):
        change = _change(seen, synapse, sign * step)
        effect, spoilt = towards * float(change[mask].mean()), _rms(change, ~mask)
        if abs(effect - _EFFECT) < _CLOSE * _EFFECT:
            return spoilt, True
        worst = max(worst, spoilt)
        if effect > _EFFECT:
            high = step
        else:
            low = step
        if low >= _LARGEST:
            break
        step = min(2 * step, _LARGEST) if math.isinf(high) else (low + high) / 2
    return worst, False


def _beyond(seen: PictureSensitivity, synapse: int, g: float, damage: float, mask: Tensor) -> list[float]:
    """Return damage per effect over its linear value |D/g|, at multiples of the linear range.

    The range is the largest step of a series of doublings at which the effect, upwards and downwards
    together, is within 20 % of the linear one.
    """

    def effect(step: float) -> tuple[float, float]:
        up, down = _change(seen, synapse, step), _change(seen, synapse, -step)
        spoilt = math.hypot(_rms(up, ~mask), _rms(down, ~mask)) / math.sqrt(2)
        return abs(float((up - down)[mask].mean())) / 2, spoilt

    step = 1e-4 * _EFFECT / max(abs(g), 1e-12)
    while 2 * step < _LARGEST:
        if abs(effect(2 * step)[0] / (2 * step * abs(g)) - 1) > _DEVIATES:
            break
        step *= 2
    found = [effect(multiple * step) for multiple in _MULTIPLES]
    return [(spoilt / max(moved, 1e-9)) * abs(g) / damage for moved, spoilt in found]


def _left_alone(seen: PictureSensitivity, synapse: int, damage: float, mask: Tensor) -> float:
    """Return the rms change of the window over that of the rest, when the rest has changed by 0.05."""
    step = _EFFECT / damage
    for _ in range(20):
        change = _change(seen, synapse, step)
        spoilt = _rms(change, ~mask)
        if abs(spoilt - _EFFECT) < 5 * _CLOSE * _EFFECT:
            break
        step *= min(2.0, max(0.5, _EFFECT / spoilt))
    return _rms(change, mask) / spoilt


def _shown(seen: PictureSensitivity, masks: Tensor) -> dict[str, Any]:
    """Return pictures of the article's synapses, as they are found by control in one network."""
    synapses = seen.net.wiring.synapses
    targets = seen.net.wiring.targets[:synapses]

    def control(prop: Property) -> np.ndarray:
        found = ensemble(seen, prop, units=("one",)).control
        assert found is not None
        return found[:synapses]

    around = _around_object(seen.output)
    try:
        tilt = int(control(Tilt(mask=around)).argmax())
        widths = control(Width("x", mask=around))
    except InputError:  # nothing bright, or as long as broad
        return {}
    beside = (targets == targets[tilt]) & (np.arange(synapses) != tilt)
    width = int(np.where(beside, widths, -1).argmax())
    colour = int(control(ColourBalance(_GREEN)).argmax())
    g, damage, inside = strengths(seen, masks)
    contrast = shared.contrast(seen.output, masks)
    rich = (contrast >= contrast.median())[:, None]
    place, local = np.unravel_index(int((rich * g.abs() / damage).argmax()), g.shape)
    quiet = torch.where(_broad(seen, masks, damage), inside / damage, torch.full_like(damage, math.inf))
    apart = int(quiet[place].argmin())
    chosen = ((tilt,), (width,), (colour,), (tilt, colour), (int(local),), (apart,))
    pictures = []
    for weights in chosen:
        step, sizes = _VISIBLE, [_VISIBLE / float(seen.rms[w]) for w in weights]
        for _ in range(12):
            scaled = torch.zeros(seen.size, dtype=seen.weights.dtype)
            scaled[list(weights)] = torch.tensor(sizes, dtype=scaled.dtype) * step / _VISIBLE
            lower, higher = (seen.at(seen.weights + sign * scaled).output for sign in (-1, 1))
            reached = float((higher - lower).square().mean().sqrt()) / 2
            step *= min(2.0, max(0.5, _VISIBLE / max(reached, 1e-6)))
        pictures.append(np.array([lower.numpy(), higher.numpy()]))
    numbers = [[weights[0], weights[-1]] for weights in chosen]
    return {"view": np.array(pictures), "synapse": np.array(numbers), "window": masks[place].double().numpy()}


def _around_object(picture: Tensor) -> Tensor:
    """Return the pixels of the largest bright object and a margin around it, bool."""
    labels, count = ndimage.label(picture.mean(-1).numpy() > 0)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    if not count:
        return torch.ones(picture.shape[:2], dtype=torch.bool)
    margin = max(1, min(picture.shape[:2]) // 16)
    return torch.from_numpy(ndimage.binary_dilation(labels == 1 + sizes.argmax(), iterations=margin))


@dataclass(frozen=True)
class Numbers:
    """Medians over windows, one row a network."""

    pictures: list[str]  # of each network
    linear: np.ndarray  # (networks, kinds, groups), base-10 logarithms, as the next
    damage: np.ndarray
    reached: np.ndarray  # (networks, kinds, groups), shares of windows
    by_strength: np.ndarray  # (networks, kinds)
    beyond: np.ndarray  # (networks, kinds, pair, multiples), base-10 logarithms
    converse: np.ndarray  # (networks, kinds), base-10 logarithms
    none: np.ndarray  # (networks, kinds), share of windows without any broad synapse
    broad: np.ndarray  # (networks, kinds)
    view: np.ndarray  # (which, state, y, x, channel)
    synapse: np.ndarray  # (which, end)
    window: np.ndarray  # (y, x)

    def gap(self, larger: str, smaller: str, kind: str = "trained") -> np.ndarray:
        """Return by how many decades one group does more damage than another, for each network."""
        rows = self.damage[:, KINDS.index(kind)]
        return np.asarray(rows[:, GROUPS.index(larger)] - rows[:, GROUPS.index(smaller)])


def numbers(data: xr.Dataset, config: Any) -> Numbers:
    return Numbers(
        [str(name) for name in data["picture"].values],
        medians(np.log10(data["linear"].values), 2),
        medians(np.log10(data["damage"].values), 2),
        np.asarray(np.nanmean(data["reached"].values, axis=2)),
        medians(data["by_strength"].values, 2),
        medians(np.log10(data["beyond"].values), 2),
        medians(np.log10(data["converse"].values), 2),
        np.asarray(
            np.isnan(data["converse"].values).mean(axis=2) - np.isnan(data["by_strength"].values).mean(axis=2)
        ),
        data["broad"].values,
        cropped(data["view"].values[0], 2),
        data["synapse"].values[0].astype(int),
        cropped(data["window"].values[0], 0),
    )


def cropped(pictures: np.ndarray, axis: int) -> np.ndarray:
    """Return pictures without the rows and columns, from an axis on, in which all is missing."""
    for along in (axis, axis + 1):
        others = tuple(k for k in range(pictures.ndim) if k != along)
        pictures = pictures.compress(np.isfinite(pictures).any(others), axis=along)
    return pictures


def medians(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the median over an axis, numbers that are missing left out; NaN where all are."""
    rest = np.moveaxis(values, axis, -1)
    flat = rest.reshape(-1, rest.shape[-1])
    made = [np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else math.nan for row in flat]
    return np.array(made).reshape(rest.shape[:-1])


def claims(n: Numbers) -> list[Check]:
    """Return the principle with its controls, then the converse, then the range."""
    return [*_principle_claims(n), *_converse_claims(n), *_range_claims(n)]


def _decades(samples: np.ndarray) -> Estimate:
    return over_networks(samples, "mean over networks of decades, medians over windows")


def _told(n: Numbers, kind: str) -> str:
    values = 10 ** np.median(n.damage[:, KINDS.index(kind)], axis=0)
    return ", ".join(f"{name} {value:.2g}" for name, value in zip(GROUPS, values, strict=True))


def _principle_claims(n: Numbers) -> list[Check]:
    window = f"Really moved by {_EFFECT}; damage is the rms change outside the window, in decades."
    reached = n.reached[:, 0].mean(0)
    return [
        Claim(
            "median-best",
            "A property that a median synapse moves spoils more of the rest than one that a synapse of its "
            "ensemble moves as far.",
            ARTICLE,
        ).positive(
            _decades(n.gap("median", "best")),
            note=f"{window} Typical damage: {_told(n, 'trained')}. To first order the best by control is "
            "best by construction; that it holds for real changes is not.",
        ),
        Claim("weak-median", "A weak synapse spoils more still.", ARTICLE).positive(
            _decades(n.gap("weak", "median")),
            note=f"{window} Only {100 * reached[-1]:.0f} % of weak and {100 * reached[-2]:.0f} % of median "
            f"synapses ever move the property so far, by changes of up to {_LARGEST:g}; the others count "
            "with the largest damage on the way, which is less than the truth.",
        ),
        Claim(
            "median-strongest",
            "Strength alone tells: the synapse that moves a property most for a unit of weight spoils less "
            "at equal effect than a median one.",
            ARTICLE,
        ).positive(
            _decades(n.gap("median", "strongest")),
            note=f"{window} Nothing in this is by construction: the strongest is chosen by |g| alone. Rank "
            f"correlation of |g| with control over all synapses: {over_networks(n.by_strength[:, 0])}.",
        ),
        Claim(
            "elsewhere",
            "An ensemble belongs to its place: the best synapse of a window elsewhere spoils more.",
            "derived here",
        ).positive(_decades(n.gap("elsewhere", "best")), note=window),
        Claim(
            "learned",
            "Learning makes the principle: the gap between median and best is larger than in a network that "
            "has learned nothing.",
            "asked here: the article has no control",
        ).positive(
            _decades(n.gap("median", "best") - n.gap("median", "best", "untrained")),
            note=f"{window} Untrained: {_told(n, 'untrained')}.",
        ),
        Claim(
            "best-learned",
            "The best synapse of a trained network spoils less than that of one that has learned nothing.",
            "asked here: the article has no control",
        ).positive(
            _decades(n.damage[:, 1, 0] - n.damage[:, 0, 0]),
            note=window,
        ),
        Claim(
            "best-placed",
            "The best synapse of a trained network spoils less than that of the same weights at other "
            "places.",
            "asked here: the article has no control",
        ).positive(
            _decades(n.damage[:, 2, 0] - n.damage[:, 0, 0]),
            note=f"{window} Permuted: {_told(n, 'permuted')}. Permuted weights saturate units: maps become "
            "small and narrow.",
        ),
    ]


def _converse_claims(n: Numbers) -> list[Check]:
    rule = (
        f"Bends nearly all else: more than {100 * _NEARLY_ALL:g} % of the pixels outside change by more than "
        f"{_TOUCHED:g} of their rms. Measured: base-10 logarithm of the change in the window over that "
        f"outside, which really is {_EFFECT}, for the synapse of this kind that leaves the window most alone."
    )
    shares = 100 * n.broad.mean(0)
    return [
        Claim(
            "converse",
            "Some synapse bends nearly all else and leaves the property alone.",
            f"{ARTICLE}, synapse 28",
        ).below(
            math.log10(_ALONE),
            _decades(n.converse[:, 0]),
            note=f"{rule} Agrees 3 errors below a fifth. {shares[0]:.0f} % of synapses bend nearly all else; "
            f"{100 * n.none[:, 0].mean():.0f} % of windows have none.",
        ),
        Claim(
            "converse-chance",
            "It leaves the property more alone than chance does in a network that has learned nothing.",
            "asked here: the article has no control",
        ).positive(
            _decades(n.converse[:, 1] - n.converse[:, 0]),
            note=f"Untrained: {_decades(n.converse[:, 1])} decades, and {shares[1]:.0f} % of synapses bend "
            f"nearly all else; permuted: {shares[2]:.1f} %. With more of them one is quiet by chance.",
        ),
    ]


def _range_claims(n: Numbers) -> list[Check]:
    far = n.beyond[:, :, :, -1]
    return [
        Claim(
            "range",
            f"Far beyond its working range, at {_MULTIPLES[-1]:g} times its linear range, a synapse moves "
            "other things, too.",
            f"{ARTICLE}, synapse 0",
        ).positive(
            _decades(far[:, 0, 0]),
            note="Measured: damage per effect of the best synapse, in decades above its linear value. The "
            "linear range ends where the effect differs from the linear one by 20 %.",
        ),
        Claim(
            "range-chosen",
            "That is more than what any synapse does: a chosen one has more to lose.",
            "asked here: the article has no control",
        ).positive(
            _decades(far[:, 0, 0] - far[:, 0, 1]),
            note=f"Less that of a median synapse, {_decades(far[:, 0, 1])}; of the best in an untrained "
            f"network it is {_decades(far[:, 1, 0])}.",
        ),
    ]


def tables(n: Numbers) -> list[Table]:
    rows = []
    for picture in dict.fromkeys(n.pictures):
        own = np.array([name == picture for name in n.pictures])
        for k, kind in enumerate(KINDS):
            linear, real = 10 ** np.median(n.linear[own, k], 0), 10 ** np.median(n.damage[own, k], 0)
            reached = n.reached[own, k].mean(0)
            trial = _TRIAL.get(picture, ()) if kind == "trained" else ()
            rows.append(
                [picture, kind]
                + [f"{linear[GROUPS.index(name)]:.2g}" for name in ("best", "median", "weak")]
                + [" ".join(f"{value:g}" for value in trial)]
                + [f"{value:.2g} ({100 * part:.0f} %)" for value, part in zip(real, reached, strict=True)]
            )
    columns = ["picture", "network", "best, linear", "median, linear", "weak, linear", "the trial's three"]
    columns += [f"{_WORDS[name]} (reached)" for name in GROUPS]
    return [Table(f"Damage when a property has moved by {_EFFECT}", columns, rows)]


def notes(n: Numbers) -> list[str]:
    return [
        f"Properties are mean colours of windows of {_SIDE:g} of the shorter side, on an even grid; synapses "
        "alone are ranked, biases are not. The linear columns are what a linear extrapolation says, which "
        "may "
        "exceed what a picture can change at all; the others are forward passes. The trial: one network a "
        "picture at 64 x 96, 200 windows of 12 x 12, biases among the weights.",
    ]


def draw_damage(axes: Axes, n: Numbers) -> None:
    places = np.arange(len(GROUPS))
    for k, (kind, colour) in enumerate(zip(KINDS, (plotting.MEASURED, *colours(3)[1:]), strict=True)):
        for row in n.damage[:, k]:
            axes.plot(places + 0.16 * (k - 1), 10**row, "o", ms=3, color=colour, alpha=0.5)
        middle = 10 ** np.median(n.damage[:, k], 0)
        axes.plot(places + 0.16 * (k - 1), middle, "_", ms=11, mew=2, color=colour, label=kind)
    axes.set_yscale("log")
    axes.set_xticks(places, ["best", "strongest", "best\nelsewhere", "median", "weak"], fontsize=8)
    axes.set(title=f"Damage when moved by {_EFFECT}", ylabel="rms change outside")
    legend(axes)


def draw_range(axes: Axes, n: Numbers) -> None:
    styles = {("trained", 0): "o-", ("trained", 1): "s--", ("untrained", 0): "o-"}
    shown = zip(styles.items(), (plotting.MEASURED, plotting.MEASURED, colours(2)[1]), strict=True)
    for ((kind, which), style), colour in shown:
        rows = n.beyond[:, KINDS.index(kind), which]
        label = f"{kind}, {('best', 'median')[which]}"
        axes.plot(_MULTIPLES, 10 ** np.median(rows, 0), style, ms=3.5, color=colour, label=label)
    axes.axhline(1, color=plotting.INK, lw=0.8)
    axes.axvline(1, color=plotting.INK, lw=0.8, ls=":")
    axes.set(xscale="log", yscale="log", title="Beyond the linear range", xlabel="change / linear range")
    axes.set_ylabel("damage per effect / linear value")
    plain_ticks(axes)
    legend(axes)


def draw_converse(axes: Axes, n: Numbers) -> None:
    for k, (kind, colour) in enumerate(zip(KINDS, (plotting.MEASURED, *colours(3)[1:]), strict=True)):
        axes.plot(100 * n.broad[:, k], 10 ** n.converse[:, k], "o", ms=4.5, color=colour, label=kind)
    axes.axhline(_ALONE, color=plotting.THEORY, lw=1)
    axes.set(yscale="log", title="The converse", xlabel="% of synapses that bend nearly all else")
    axes.set_ylabel("change in the window / outside")
    legend(axes)


def draw_view(axes: Axes, n: Any, *, pictures: np.ndarray, title: str) -> None:
    """Draw a picture with weights lower, with weights higher, and the difference, below each other."""
    lower, higher = pictures
    difference = (higher - lower) / max(float(np.abs(higher - lower).max()), 1e-12)
    gap = np.ones((max(1, len(lower) // 24), *lower.shape[1:]))
    axes.imshow((np.concatenate([lower, gap, higher, gap, difference]).clip(-1, 1) + 1) / 2)
    axes.set_axis_off()
    axes.set_title(title)


def draw_window(axes: Axes, n: Numbers) -> None:
    middle = n.view[0].mean(0)
    dimmed = np.where(n.window[..., None] > 0, middle, 0.35 * (middle + 1) - 1)
    axes.imshow((dimmed.clip(-1, 1) + 1) / 2)
    axes.set_axis_off()
    axes.set_title("the window")


def figures(n: Numbers) -> list[Panels]:
    caption = (
        f"Left: damage when single synapses have moved the mean colour of a window by {_EFFECT}; a dot is a "
        "network, its median over windows. Middle: damage per effect as the change of weight grows beyond "
        "the range in which the effect is linear. Right: the synapse that bends nearly all else and leaves a "
        "window most alone."
    )
    made = [Panels("principle", caption, [draw_damage, draw_range, draw_converse])]
    if n.view.size:
        names = [_words(pair) for pair in n.synapse]
        shown = [
            partial(draw_view, pictures=pictures, title=f"{title}: {name}")
            for title, name, pictures in zip(VIEWS, names, n.view, strict=True)
        ]
        made += [
            Panels(
                "global",
                "Synapses of the first network, found by their control. From above: the picture with the "
                f"weight lower, higher, and the difference. Tilt of the largest bright object: {names[0]}; "
                "its width: "
                f"{names[1]} of the same neuron; green against the other colours: {names[2]}; the first and "
                f"the third together, which is no single property. Each moves the picture by "
                f"{_VISIBLE:g} rms.",
                shown[:4],
                size=(2.5, 4.6),
            ),
            Panels(
                "local",
                f"Left: of the windows of more than median contrast the one whose best synapse, {names[4]}, "
                "has the best control, and that synapse. "
                f"Right: {names[5]}, which bends nearly all else and leaves this window most alone.",
                [draw_window, *shown[4:]],
                size=(2.9, 4.6),
            ),
        ]
    return made


def _words(pair: np.ndarray) -> str:
    return f"{pair[0]}" if pair[0] == pair[1] else f"{pair[0]} and {pair[1]}"


PRINCIPLE = Part(
    name="principle",
    title="Weak synapses spoil other properties first",
    presets={"quick": QUICK, "paper": PAPER},
    variables=VARIABLES,
    tasks=tasks,
    measure=measure,
    numbers=numbers,
    claims=claims,
    tables=tables,
    notes=notes,
    figures=figures,
    ragged=("region", "y", "x"),
    citations=("ensembles2015",),
)
