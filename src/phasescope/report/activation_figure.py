"""One figure of an activation: kernel map, susceptibility ratio, phase diagram, survival over depth."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from phasescope import plotting
from phasescope.activations import Activation, as_activation
from phasescope.activations.resolve import Spec
from phasescope.errors import InputError
from phasescope.theory import CriticalPoint, MeanField, critical_point
from phasescope.theory.flow import EXPLODES, SETTLES, VANISHES, KernelFlow
from phasescope.theory.moments import mean_square_slope, second_moment_slope

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FATES = {
    VANISHES: ("vanishes", plotting.PHASE_COLOURS["vanishing"], "#e4dcf3"),
    SETTLES: ("settles", plotting.PHASE_COLOURS["critical"], "#d3eadf"),
    EXPLODES: ("explodes", plotting.PHASE_COLOURS["exploding"], "#f6d7d6"),
}
_GROWN, _SHRUNK = _FATES[EXPLODES][1], _FATES[VANISHES][1]
_SHOWN = (1e-4, 1e3)  # kernels of the map and of the phase diagram
_MARKS = {"unstable": ("none", "repels"), "half-stable": ("#ffffff", "from one side")}
_MOST_LAYERS = 10_000
_USUAL = ((1 / 3, "1/3 (torch)"), (1.0, "1 (Xavier)"), (2.0, "2 (He)"))


class _Shown(NamedTuple):
    """An activation with the variances at which it is drawn: the critical ones, or those that keep K = 1."""

    function: Activation
    point: CriticalPoint
    flow: KernelFlow
    C_W: float
    C_b: float


def activation_figure(activation: Spec) -> Figure:
    """Return four panels on whether and how an activation is critical, at infinite width.

    Kernel map ``K -> C_b + C_W <s^2>_K`` with its fixed points; ``chi_par/chi_perp`` over all K; what becomes
    of a first-layer kernel ``K_1`` at each ``C_W`` and the critical ``C_b``; and after how many layers it has
    grown or shrunk tenfold at the critical variances. Where nothing is critical, all is without bias, and
    ``C_W = 1/<s^2>_1``, which keeps K = 1, stands for the critical one.

    Parameters
    ----------
    activation : str, nn.Module, callable or Activation
        Elementwise nonlinearity.

    Raises
    ------
    InputError
        If the activation cannot be used, or its mean square is 0 or infinite for K of 1e-6 already.

    Notes
    -----
    Cost: about 0.5 s; some 2 s for periodic activations without a closed form. Save it inside
    ``phasescope.plotting.style()``.
    Sources: arXiv:2106.10165, ch. 5; arXiv:2408.02697.
    """
    function = as_activation(activation)
    point, flow = critical_point(function), KernelFlow(function)
    C_W, C_b = (1 / flow.square(1.0), 0.0) if point.C_W is None else (point.C_W, point.C_b or 0.0)
    shown = _Shown(function, point, flow, C_W, C_b)
    with plotting.style():
        figure = Figure(figsize=(9.6, 7.6), layout="constrained")
        upper, lower = figure.subplots(2, 2)
        _kernel_map(upper[0], shown)
        _ratio(upper[1], shown)
        _phases(lower[0], shown)
        _survival(lower[1], shown)
        figure.suptitle(_title(shown), x=0.01, ha="left", fontsize=11.5)
    return figure


def _title(shown: _Shown) -> str:
    point = shown.point
    if point.C_W is None:
        return f"{point.activation}: no critical initialisation"
    stability = {True: "", False: ", not stable", None: ""}[point.stable]
    kernel = ": any" if point.K is None else f" = {point.K:.6g}"
    return (
        f"{point.activation}: class {point.universality_class}{stability}, $C_W$ = {point.C_W:.6g}, "
        f"$C_b$ = {point.C_b:.6g}, $K^*${kernel}"
    )


def _kernel_map(axes: Axes, shown: _Shown) -> None:
    K = np.geomspace(*_SHOWN, 200)
    axes.plot(_SHOWN, _SHOWN, color=plotting.INK, linewidth=0.9, linestyle="--")
    others = _USUAL if shown.point.C_W is None else ((shown.C_W / 2, "half of it"), (2 * shown.C_W, "twice"))
    for shade, (C_W, name) in zip(("#9bb8d6", "#6b94c2", "#3f6ea6"), others, strict=False):
        axes.plot(K, _mapped(shown, K, C_W), color=shade, linewidth=1.1, label=f"$C_W$ = {name}")
    main = "critical $C_W$, $C_b$" if shown.point.C_W is not None else f"{shown.C_W:.4g}, keeps $K$ = 1"
    main = main if shown.point.C_W is not None else f"$C_W$ = {main}"
    axes.plot(K, _mapped(shown, K, shown.C_W), color=plotting.THEORY, linewidth=2.0, label=main)
    _fixed_points(axes, shown)
    axes.set(xscale="log", yscale="log", xlim=_SHOWN, ylim=_SHOWN, xlabel="kernel $K$ of a layer")
    axes.set(ylabel="of the next layer", title="Kernel map and the kernels that it keeps")
    axes.legend(loc="upper left")


def _mapped(shown: _Shown, K: np.ndarray, C_W: float) -> np.ndarray:
    # What lies far outside would upset the limits of the axes.
    return np.exp(np.clip(shown.flow.step(np.log(K), C_W, shown.C_b), -30, 30))


def _fixed_points(axes: Axes, shown: _Shown) -> None:
    if shown.function.jumps:
        return  # no susceptibility tells whether they attract
    points = MeanField(shown.function, shown.C_W, shown.C_b).fixed_points()
    if points and points[0].stability == "any":
        axes.text(0.97, 0.04, "every kernel stays", transform=axes.transAxes, ha="right")
        return
    named = set()
    for found in points:
        if not _SHOWN[0] <= found.K <= _SHOWN[1]:
            continue
        critical = bool(shown.point.K) and abs(found.K / (shown.point.K or 1) - 1) < 1e-3
        kind = "half-stable" if critical else found.stability
        face, words = _MARKS.get(kind, (plotting.INK, "attracts"))
        label = None if words in named else f"{words}: {found.K:.4g}"
        named.add(words)
        shape = "D" if kind == "half-stable" else "o"
        axes.plot(found.K, found.K, shape, ms=7, mfc=face, mec=plotting.INK, label=label, zorder=5)
    if points and points[0].K == 0:
        fate = "attracts" if points[0].attracting else "repels"
        axes.text(0.97, 0.04, f"$K$ = 0 {fate}", transform=axes.transAxes, ha="right")


def _ratio(axes: Axes, shown: _Shown) -> None:
    function = shown.function
    axes.set(xscale="log", xlim=(1e-6, 1e4), xlabel="kernel $K$", ylabel=r"$\chi_\parallel / \chi_\perp$")
    axes.set_title("Ratio of the susceptibilities, which has to be 1")
    axes.axhline(1.0, color=plotting.INK, linewidth=0.9, linestyle="--")
    rows = []
    kernels = () if function.jumps else np.geomspace(1e-6, 1e4, 81)
    for K in kernels:
        try:
            slope, steepness = second_moment_slope(function, K), mean_square_slope(function, K)
        except InputError:
            continue
        if steepness > 1e-200:
            rows.append((K, slope / steepness))
    if not rows:
        words = "infinite slope at a jump" if function.jumps else "flat: both are 0"
        axes.text(0.5, 0.6, words, transform=axes.transAxes, ha="center")
        return
    K, ratio = np.array(rows).T
    axes.plot(K, ratio, color=plotting.THEORY, linewidth=2.0)
    low, high = max(float(ratio.min()), -1.0), min(float(ratio.max()), 3.0)
    low, high = min(low, 1.0), max(high, 1.0)
    margin = max(0.1 * (high - low), 0.02)
    axes.set_ylim(low - margin, high + margin)
    if shown.point.K:
        axes.axvline(shown.point.K, color=plotting.INK, linewidth=0.9, linestyle=":")
        axes.plot(shown.point.K, 1.0, "D", ms=7, mfc="#ffffff", mec=plotting.INK, zorder=5)
        axes.annotate(
            f"$K^*$ = {shown.point.K:.4g}", (shown.point.K, 1.0), (6, 8), textcoords="offset points", zorder=6
        )
    elif shown.point.K == 0:
        below = float(ratio[-1]) > 1
        place = (8, -14 if below else 6)
        axes.annotate("1 as $K$ goes to $K^*$ = 0", (1e-6, 1.0), place, textcoords="offset points")


def _phases(axes: Axes, shown: _Shown) -> None:
    C_W = np.geomspace(shown.C_W / 10, 10 * shown.C_W, 201)
    growth, fates = shown.flow.growth(C_W, shown.C_b), shown.flow.fates(C_W, shown.C_b)
    K = np.exp(shown.flow.log_K)
    colours = ListedColormap([light for _, _, light in _FATES.values()])
    lowest, highest = min(K[0], _SHOWN[0]), 2 * max(K[-1], _SHOWN[1])
    edges = np.concatenate([[lowest], np.sqrt(K[1:] * K[:-1]), [K[-1], highest]])
    beyond = fates[:, -1:] if shown.flow.whole else np.full((len(C_W), 1), EXPLODES)
    filled = np.concatenate([fates, beyond], axis=1).T
    sides = C_W[0] * (C_W[1] / C_W[0]) ** (np.arange(len(C_W) + 1) - 0.5)
    axes.pcolormesh(sides, edges, filled, cmap=colours, vmin=-0.5, vmax=2.5, rasterized=True)
    # Where the growth falls with K the kernel kept attracts, where it rises it repels.
    repels = np.gradient(growth, axis=1) > 1e-12
    handles: list[object] = [
        Patch(facecolor=light, edgecolor=plotting.INK, linewidth=0.5, label=name)
        for fate, (name, _, light) in _FATES.items()
        if (fates == fate).mean() > 0.01
    ]
    for rising, style, name in ((True, "-", "kept, repels"), (False, "--", "kept, attracts")):
        part = np.ma.masked_where(repels != rising, growth).T
        signs = np.sign(part.filled(0.0))
        # Where no kernel differs from the others, as for ReLU, none is kept alone.
        if np.ptp(growth[0]) > 1e-9 and signs.min() < 0 < signs.max():
            axes.contour(C_W, K, part, levels=[0.0], colors=plotting.INK, linewidths=1.3, linestyles=style)
            handles += axes.plot([], [], style, color=plotting.INK, linewidth=1.3, label=name)
    if shown.point.C_W is not None:
        label = "critical $C_W$"
        handles.append(axes.axvline(shown.C_W, color=plotting.THEORY, linewidth=1.2, label=label))
        if shown.point.K:
            axes.plot(shown.C_W, shown.point.K, "D", ms=7, mfc="#ffffff", mec=plotting.INK, zorder=5)
    else:
        for each, name in _USUAL:
            if C_W[0] < each < C_W[-1]:
                axes.axvline(each, color=plotting.INK, linewidth=0.7, linestyle=":")
                axes.text(each, _SHOWN[1], f" {name.split(' ')[0]}", va="top", fontsize=8)
    axes.set(xscale="log", yscale="log", xlim=(C_W[0], C_W[-1]), ylim=_SHOWN, xlabel="$C_W$")
    bias = f"$C_b$ = {shown.C_b:.4g}"
    axes.set(ylabel="kernel $K_1$ of the first layer", title=f"What becomes of a kernel over depth, {bias}")
    axes.grid(False)
    axes.legend(handles=handles, loc="lower right", framealpha=0.8, frameon=True, edgecolor="none")


def _survival(axes: Axes, shown: _Shown) -> None:
    K1 = np.geomspace(1e-5, 1e3, 161)
    grown, shrunk = shown.flow.layers(K1, shown.C_W, shown.C_b, most=_MOST_LAYERS)
    never = np.isnan(grown) & np.isnan(shrunk)
    top = _MOST_LAYERS if never.sum() > 1 else np.nanmax([grown, shrunk])
    axes.set(xscale="log", yscale="log", xlim=(K1[0], K1[-1]), ylim=(0.8, max(1.5 * float(top), 100)))
    where = "critical $C_W$, $C_b$" if shown.point.C_W is not None else f"$C_W$ = {shown.C_W:.4g}, $C_b$ = 0"
    axes.set(xlabel=f"kernel $K_1$ of the first layer, at {where}", ylabel="layers")
    axes.set_title("Layers until the kernel has changed tenfold")
    for layers, colour, name in ((grown, _GROWN, "grown"), (shrunk, _SHRUNK, "shrunk")):
        if np.isfinite(layers).any():
            axes.plot(K1, layers, color=colour, linewidth=2.0, label=name)
    a1 = shown.point.a1
    if a1 is not None and abs(a1) > 1e-9:
        factor, words = (1.0, "1/(a_1 K_1)") if a1 > 0 else (9.0, "9/(|a_1| K_1)")
        axes.plot(K1, factor / (abs(a1) * K1), "--", color=plotting.INK, linewidth=1.0, label=f"${words}$")
        if a1 > 0:
            depths = np.array([10, 50])
            starts = 1 / (2 * a1 * depths)
            label = "$K_1 = 1/(2 a_1 L)$, $L$ = 10, 50"
            axes.plot(starts, depths, "o", ms=6, mfc="#ffffff", mec=plotting.INK, zorder=5, label=label)
    if never.all():
        words = f"no kernel changes tenfold\nin {_MOST_LAYERS} layers"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center")
    elif never.sum() > 1:
        highest = np.where(never, float(_MOST_LAYERS), math.nan)
        axes.plot(K1, highest, color=_FATES[SETTLES][1], linewidth=3.0, label=f"not in {_MOST_LAYERS}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
