"""Writes small inventories of other projects' pages, so that names of theirs are links without a network."""

from __future__ import annotations

import zlib
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "generated" / "inventories"
# Project, address, and for each name its kind and where it stands; $ is the name itself.
PROJECTS = {
    "python": (
        "https://docs.python.org/3/",
        {
            "pathlib.Path": "class library/pathlib.html#$",
            "concurrent.futures.Executor": "class library/concurrent.futures.html#$",
        },
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {"numpy.ndarray": "class reference/generated/numpy.ndarray.html#$"},
    ),
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        {
            "torch.Tensor": "class tensors.html#$",
            "torch.nn.Module": "class generated/torch.nn.Module.html#$",
            "torch.nn.TransformerEncoder": "class generated/torch.nn.TransformerEncoder.html#$",
            "torch.optim.Optimizer": "class optim.html#$",
            "torch.utils.data.DataLoader": "class data.html#$",
        },
    ),
    "xarray": (
        "https://docs.xarray.dev/en/stable/",
        {
            "xarray.Dataset": "class generated/xarray.Dataset.html#$",
            "xarray.DataTree": "class generated/xarray.DataTree.html#$",
        },
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        {"pandas.DataFrame": "class reference/api/pandas.DataFrame.html#$"},
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        {"matplotlib.figure.Figure": "class api/_as_gen/matplotlib.figure.Figure.html#$"},
    ),
}


def write() -> dict[str, tuple[str, str]]:
    """Write the inventories and return what intersphinx wants to know of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, (address, names) in PROJECTS.items():
        lines = []
        for name, place in names.items():
            kind, where = place.split()
            lines.append(f"{name} py:{kind} 1 {where} -")
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        path = FOLDER / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress("\n".join([*lines, ""]).encode()))
        mapping[project] = (address, str(path))
    return mapping
