"""Writes the tables that pages include, from the stored results of the examples and the benchmarks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
TABLES = DOCS / "tables"


def list_table(columns: list[str], rows: list[list[str]]) -> str:
    """Return a table in reStructuredText; a bar in a cell is a bar and no markup."""
    cells = "\n".join(
        f"   {'* -' if index == 0 else '  -'} {cell}".replace("|", "\\|")
        for row in [columns, *rows]
        for index, cell in enumerate(row)
    )
    return f".. list-table::\n   :header-rows: 1\n\n{cells}\n"


def trainability() -> str:
    """Return the stored comparison of initialisations, one table a data set."""
    script = DOCS.parent / "examples" / "trainability.py"
    run = subprocess.run([sys.executable, str(script), "--table"], capture_output=True, text=True, check=True)
    parts = []
    for block in run.stdout.strip().split("\n\n"):
        title, *lines = block.splitlines()
        parts.append(f"{title}\n")
        if lines:
            columns, *rows = (re.split(r"\s{2,}", line.strip()) for line in lines)
            parts.append(list_table(["activation", *(f"``{column}``" for column in columns)], rows))
    return "\n".join(parts)


def benchmarks() -> str:
    """Return every benchmark of the stored run."""
    stored = json.loads((DOCS.parent / "benchmarks" / "results" / "benchmarks.json").read_text())
    machine = ", ".join(f"{key} {value}" for key, value in stored["machine"].items())
    return f"Measured on: {machine}.\n\n" + "\n".join(map(_benchmark, stored["results"].values()))


def _benchmark(result: dict[str, Any]) -> str:
    parts = [result["title"], "-" * len(result["title"]), ""]
    ratios = result["ratios"]
    rows = [[name, f"{s:.3g} s", f"{ratios[name]:.3g}"] for name, s in result["seconds"].items()]
    parts.append(list_table(["contender", "median time", "ratio to the first"], rows))
    if result["rows"]:
        columns = list(dict.fromkeys(key for row in result["rows"] for key in row))
        parts.append(list_table(columns, [[_cell(row.get(c)) for c in columns] for row in result["rows"]]))
    parts += [f"* {remark}" for remark in result["remarks"]]
    return "\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write() -> None:
    """Write all tables."""
    TABLES.mkdir(exist_ok=True)
    (TABLES / "trainability.rst").write_text(trainability())
    (TABLES / "benchmarks.rst").write_text(benchmarks())
