"""The page on which one plays with a picture network: one file, in which the network itself runs."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from phasescope.errors import InputError
from phasescope.report.templating import render_template
from phasescope.synapses import PictureNet
from phasescope.synapses.thought_experiments import band, comparison, line, two_bands
from phasescope.whole_files import write_whole


@dataclass(frozen=True)
class ReadyMade:
    """A network that the page offers beside the main one.

    Parameters
    ----------
    key : str
        Short, in letters and hyphens; part of links.
    title : str
        For people.
    text : str
        What there is to see, in a sentence or two.
    net : PictureNet
        Of one output, shown grey, or of three.
    height, width : int
        Size of its picture.
    points : ndarray, shape (height * width, net.wiring.inputs), optional
        Its inputs at each pixel, row by row; by default those of :func:`phasescope.synapses.grid`.
    together : dict of str to dict of int to float
        Weights that one slider moves together: what it is called, and the share of each weight by its number.
    """

    key: str
    title: str
    text: str
    net: PictureNet
    height: int
    width: int
    points: np.ndarray | None = None
    together: dict[str, dict[int, float]] = field(default_factory=dict)


def render_explorer(
    net: PictureNet,
    picture: torch.Tensor | np.ndarray,
    *,
    title: str,
    name: str,
    ready_made: Sequence[ReadyMade] | None = None,
    fits: Sequence[tuple[int, float]] = (),
    notes: Sequence[str] = (),
    command: str = "",
) -> str:
    """Return the page as HTML that needs no other file, no server and no network.

    The page holds the wiring, the weights in full precision and the original in single precision; pictures,
    maps, ensembles, nulls and edits are computed in it, in double precision.

    Parameters
    ----------
    net : PictureNet
        With inputs x, y and outputs R, G, B.
    picture : tensor or array, shape (height, width, 3)
        What the network was trained on, in [-1, 1].
    title : str
        Of the page.
    name : str
        What the picture is called.
    ready_made : sequence of ReadyMade, optional
        Further networks; by default the four thought experiments.
    fits : sequence of (int, float)
        Seed and RMSE of every network that was trained, the chosen one among them.
    notes : sequence of str
        What happened to the picture or in training, one sentence each.
    command : str
        The command line, printed on the page.

    Raises
    ------
    InputError
        If the network has other inputs or outputs, or the picture another shape or a number that is not
        finite.
    """
    original = torch.as_tensor(picture).detach().cpu().double().numpy()
    if original.ndim != 3 or original.shape[2] != 3 or 0 in original.shape:
        raise InputError(f"The picture has shape {original.shape}.", "Use (height, width, 3).")
    if not np.isfinite(original).all():
        raise InputError("The picture holds numbers that are not finite.", "Use values in [-1, 1].")
    if net.wiring.inputs != 2 or len(net.wiring.outputs) != 3:
        raise InputError(
            f"The network has {net.wiring.inputs} inputs and {len(net.wiring.outputs)} outputs.",
            "The page paints networks with inputs x, y and outputs R, G, B.",
        )
    height, width, _ = original.shape
    offered = _thought_experiments() if ready_made is None else ready_made
    data = {
        "title": title,
        "name": name,
        "height": height,
        "width": width,
        "net": net.to_dict(),
        "original": _packed(original.reshape(-1, 3).T),
        "fits": [{"seed": int(seed), "rmse": float(rmse)} for seed, rmse in fits],
        "notes": list(notes),
        "ready_made": [_offered(each) for each in offered],
    }
    return render_template(
        "explorer.html.j2",
        styles=("report.css", "explorer.css"),
        scripts=("explorer-engine.js", "explorer.js"),
        title=title,
        picture_name=name,
        height=height,
        width=width,
        data=_embedded(data),
        command=command,
    )


def save_explorer(
    net: PictureNet,
    picture: torch.Tensor | np.ndarray,
    path: Path | str,
    *,
    title: str,
    name: str,
    ready_made: Sequence[ReadyMade] | None = None,
    fits: Sequence[tuple[int, float]] = (),
    notes: Sequence[str] = (),
    command: str = "",
) -> Path:
    """Write the page of :func:`render_explorer` to `path`, whole or not at all, and return the path.

    Parameters
    ----------
    net : PictureNet
        With inputs x, y and outputs R, G, B.
    picture : tensor or array, shape (height, width, 3)
        What the network was trained on, in [-1, 1].
    path : Path or str
        Of the HTML file; its folder is made where it does not exist.
    title : str
        Of the page.
    name : str
        What the picture is called.
    ready_made : sequence of ReadyMade, optional
        Further networks; by default the four thought experiments.
    fits : sequence of (int, float)
        Seed and RMSE of every network that was trained, the chosen one among them.
    notes : sequence of str
        What happened to the picture or in training, one sentence each.
    command : str
        The command line, printed on the page.

    Raises
    ------
    InputError
        As for :func:`render_explorer`, or if the file cannot be written.
    """
    page = render_explorer(
        net, picture, title=title, name=name, ready_made=ready_made, fits=fits, notes=notes, command=command
    )
    write_whole(Path(path), page)
    return Path(path)


def _thought_experiments() -> list[ReadyMade]:
    numbers, one, two = comparison(), band(), two_bands()
    return [
        ReadyMade(
            "line",
            "Which side of a line",
            "One neuron, two synapses: their ratio is the slope.",
            line().net,
            64,
            64,
        ),
        ReadyMade(
            "comparison",
            "Two numbers of four bits",
            "Row a, column b. One neuron tells which is larger: four synapses read a with 8, 4, 2, 1, four "
            "read b with the negatives. Two ensembles in one neuron.",
            numbers.net,
            16,
            16,
            numbers.points.numpy(),
            {
                "all four of a": {0: 1.0, 1: 0.5, 2: 0.25, 3: 0.125},
                "all four of b": {4: 1.0, 5: 0.5, 6: 0.25, 7: 0.125},
            },
        ),
        ReadyMade(
            "band",
            "Inside a band",
            "One neuron rises or falls, so it cannot. Three can: one property, several neurons.",
            one.net,
            1,
            len(one.points),
            one.points.numpy(),
        ),
        ReadyMade(
            "two-bands",
            "Two bands",
            "Borders 1 and 3 belong to one neuron each. Border 2 moves alone only if two weights move "
            "together.",
            two.net,
            1,
            len(two.points),
            two.points.numpy(),
            {"border 2 alone": {5: -1.0, 9: 1.0}, "border 4 alone": {5: 1.0, 9: 1.0}},
        ),
    ]


def _offered(each: ReadyMade) -> dict[str, Any]:
    return {
        "key": each.key,
        "title": each.title,
        "text": each.text,
        "net": each.net.to_dict(),
        "height": each.height,
        "width": each.width,
        "points": None if each.points is None else _packed(np.asarray(each.points).T),
        "together": [{"title": title, "shares": shares} for title, shares in each.together.items()],
    }


def _packed(rows: np.ndarray) -> str:
    """Return float32 little-endian bytes, row after row, in base64."""
    return base64.b64encode(np.ascontiguousarray(rows, dtype="<f4").tobytes()).decode()


def _embedded(data: dict[str, Any]) -> Markup:
    """Return JSON that can stand in a script element, whatever texts it holds."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    # Nothing of markup is left: neither an end tag nor a comment can begin without "<".
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
