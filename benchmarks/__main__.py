"""`python -m benchmarks [NAME ...] [--out DIR]`: runs the benchmarks, prints tables, writes one JSON file."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
from pathlib import Path

BENCHMARKS = (
    "critical_points",
    "quadrature",
    "inspect_cost",
    "sampler",
    "convolution",
    "percolation",
    "collapse",
    "engine",
    "dfa",
    "recording",
    "recorder",
    "series",
    "ensembles",
    "tangents",
    "sharpness",
    "synapse_ensembles",
    "explorer_frame",
    "edits",
    "picture_maps",
    "picture_training",
    "rectified_powers",
    "jacobian_spectra",
    "weight_structure",
    "tangent_drift",
    "hysteresis",
    "langevin",
    "edges",
)
THREADS = 2


def _show(comparison: object, console: object) -> None:
    from rich.table import Table

    table = Table(title=comparison.title)
    for column in ("contender", "median seconds", "ratio to the first"):
        table.add_column(column)
    for name, seconds in comparison.seconds.items():
        table.add_row(name, f"{seconds:.4g}", f"{comparison.ratios[name]:.3g}")
    console.print(table)
    if comparison.rows:
        detail = Table()
        columns = list(dict.fromkeys(key for row in comparison.rows for key in row))
        for column in columns:
            detail.add_column(column)
        for row in comparison.rows:
            cells = (row.get(column, "") for column in columns)
            detail.add_row(
                *(f"{c:.4g}" if isinstance(c, float) else str("" if c is None else c) for c in cells)
            )
        console.print(detail)
    for remark in comparison.remarks:
        console.print(f"- {remark}", markup=False)
    console.print()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=BENCHMARKS, help=f"any of {', '.join(BENCHMARKS)}")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    import torch
    from rich.console import Console

    torch.set_num_threads(THREADS)
    console = Console(width=150)
    results = {}
    for name in arguments.names:
        comparison = importlib.import_module(f"benchmarks.{name}").run()
        _show(comparison, console)
        results[name] = dataclasses.asdict(comparison)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "benchmarks.json"
    if path.exists():  # what did not run now stays, in the order of the list
        results = json.loads(path.read_text())["results"] | results
    results = {name: results[name] for name in BENCHMARKS if name in results}
    path.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
