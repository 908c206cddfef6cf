"""A user's type checker: it knows every public name, and tells of a misspelt one."""

import importlib
import subprocess
import sys
from pathlib import Path

import phasescope

ROOT = Path(phasescope.__file__).parents[2]


def names() -> list[str]:
    found = []
    for name in phasescope.__all__:
        if name == "__version__":
            continue
        found.append(f"phasescope.{name}")
        home = importlib.import_module(f"phasescope.{name}") if name in phasescope._ROOMS else None
        found += [f"phasescope.{name}.{inner}" for inner in getattr(home, "__all__", ())]
    return found


def test_a_strict_checker_passes_on_every_public_name_and_tells_of_a_misspelt_one(tmp_path):
    rooms = sorted(phasescope._ROOMS)
    script = tmp_path / "script.py"
    head = ["import phasescope", *(f"import phasescope.{room}" for room in rooms), ""]
    used = [f"name_{number} = {name}" for number, name in enumerate(names())]
    call = 'found = phasescope.inspect(print, None, max_memory="512MB").to_dataframe("noise")'
    wrong = ["phasescope.inspekt", "phasescope.signal.profil", "phasescope.papers.absorbin"]
    script.write_text("\n".join([*head, *used, call, *wrong, ""]), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), str(script)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    lines = [line for line in told.splitlines() if "error:" in line]
    first = len(head) + len(used) + 2
    assert [int(line.split(":")[1]) for line in lines] == [first, first + 1, first + 2], told
    assert all("has no attribute" in line for line in lines)
