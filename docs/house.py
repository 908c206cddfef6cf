"""Draws the house from the imports of the source: floors as rows, rooms as boxes, imports as arrows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent
SOURCE = DOCS.parent / "src" / "phasescope"
INK, BOX, LINE = "#33373d", "#e8eef7", "#2f80c9"


def floors() -> list[list[str]]:
    """Return the rooms of every floor, top floor first, as the contract of import-linter names them."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip().removeprefix("phasescope.") for room in layer.split("|")] for layer in layers]


def size(room: str) -> str:
    """Return how many files and lines of Python a room has."""
    place = SOURCE / room
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
    return f"{len(files)} file{'s' if len(files) > 1 else ''}, {lines:,} lines"


def arrows(rooms: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of rooms of which the first imports from the second."""
    graph = grimp.build_graph("phasescope", exclude_type_checking_imports=True, cache_dir=None)
    inside = {room: f"phasescope.{room}" for room in rooms}
    return [
        (one, other)
        for one in rooms
        for other in rooms
        if one != other
        and graph.direct_import_exists(importer=inside[one], imported=inside[other], as_packages=True)
    ]


def draw(axes: Axes) -> None:
    """Draw floors, rooms and imports; those from the ground floor, which all rooms use, are left out."""
    levels = floors()
    widest = max(map(len, levels))
    place = {}
    for row, rooms in enumerate(levels):
        step = widest / len(rooms)
        aside = 0.8 * (-1) ** row if len(rooms) == 1 else 0.0  # so that arrows pass beside single rooms
        for column, room in enumerate(rooms):
            place[room] = ((column + 0.5) * step + aside, 2.0 * (len(levels) - 1 - row))
    for one, other in arrows(list(place)):
        if other in levels[-1]:
            continue
        (x0, y0), (x1, y1) = place[one], place[other]
        style = {"arrowstyle": "-|>", "color": LINE, "alpha": 0.45, "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x1, y1 + 0.45), (x0, y0 - 0.45), arrowprops=style)
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.35", "fc": BOX, "ec": INK, "lw": 0.8}
        axes.text(x, y, f"{room}\n{size(room)}", ha="center", va="center", fontsize=7.5, color=INK, bbox=box)
    for height in range(len(levels) - 1):
        axes.axhline(2.0 * height + 1.0, color=INK, lw=0.4, ls=":", alpha=0.5)
    axes.set(xlim=(0, widest), ylim=(-0.8, 2.0 * len(levels) - 1.2))
    axes.set_axis_off()


def write() -> None:
    """Write the picture that the contributor's page shows."""
    figure = Figure(figsize=(8.8, 8.6), layout="constrained")
    draw(figure.subplots())
    (DOCS / "tables").mkdir(exist_ok=True)
    figure.savefig(DOCS / "tables" / "house.png", dpi=140, facecolor="white")


if __name__ == "__main__":
    write()
