"""What is released: the wheel and the source archive are complete, and what stands beside them is in step."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import phasescope
from phasescope.citations import BIBTEX

SOURCE = Path(phasescope.__file__).parent
ROOT = SOURCE.parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGE = sorted(
    path.relative_to(SOURCE.parent).as_posix()
    for path in SOURCE.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
)
NEEDED_TO_RUN = [
    "report/schema.json",
    "report/templates/report.html.j2",
    "report/templates/explorer.js",
    "py.typed",
]


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


# The archives


def test_the_wheel_holds_every_file_of_the_package_and_no_other():
    wheel = pytest.importorskip("hatchling.builders.wheel", reason="hatchling is not installed")
    files = wheel.WheelBuilder(str(ROOT)).recurse_included_files()
    held = sorted(Path(file.distribution_path).as_posix() for file in files)
    assert held == PACKAGE
    assert {f"phasescope/{name}" for name in NEEDED_TO_RUN} <= set(held)


def test_the_source_archive_holds_what_builds_tests_and_documents_it():
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="hatchling is not installed")
    files = sdist.SdistBuilder(str(ROOT)).recurse_included_files()
    held = {Path(file.distribution_path).as_posix() for file in files}
    assert {f"src/{name}" for name in PACKAGE} <= held
    beside = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    named = (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CITATION.cff",
        "Makefile",
        "docs/index.rst",
    )
    assert beside | {*named, "pyproject.toml", "constraints.txt", "constraints-lowest.txt"} <= held
    assert not [name for name in held if name.startswith((".venv", "dist/", "docs/_build")) or ".pyc" in name]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Build both, the wheel from what the source archive unpacks to."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    folder = tmp_path_factory.mktemp("archives")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run([*build, "--target", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / source.name.removesuffix(".tar.gz")
    subprocess.run([*build, "--target", "wheel"], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return unpacked, wheel


@pytest.mark.slow
def test_the_wheel_of_the_source_archive_holds_the_package_and_its_metadata(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        names = wheel.namelist()
        assert sorted(name for name in names if name.startswith("phasescope/")) == PACKAGE
        about = f"phasescope-{phasescope.__version__}.dist-info"
        assert f"{about}/licenses/LICENSE" in names
        assert "phasescope = phasescope.cli:main" in wheel.read(f"{about}/entry_points.txt").decode()
        metadata = wheel.read(f"{about}/METADATA").decode()
    assert "Requires-Python: >=3.11" in metadata
    assert "Provides-Extra: safetensors" in metadata


@pytest.mark.slow
def test_the_installed_wheel_runs_the_demo_outside_the_repository(archives, tmp_path):
    """In an environment of its own, which sees the dependencies of this one but not its phasescope."""
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    python = fresh / ("Scripts" if os.name == "nt" else "bin") / "python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words):
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    installed = Path(run(str(python), "-c", asked).strip())
    # Of a path that a .pth file names the .pth files are not read, such as that of an editable install.
    (installed / "dependencies.pth").write_text(run(sys.executable, "-c", asked), encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index"]
    run(*pip, "--no-deps", str(archives[1]))
    place = Path(run(str(python), "-c", "import phasescope; print(phasescope.__file__)").strip())
    assert place.is_relative_to(installed)
    command = str(python.parent / "phasescope")
    assert run(command, "--version").strip() == f"phasescope {phasescope.__version__}"
    shown = json.loads(run(command, "demo", "--quick", "--json", "--out", "tour"))
    assert len(shown["inspections"]) == 3
    page = (tmp_path / "tour" / "report.html").read_text(encoding="utf-8")
    assert 'id="training"' in page
    assert str(ROOT) not in page


# The lowest versions


def bounds():
    """Return the lower bound of each dependency, and of each extra that users install."""
    groups = [
        PROJECT["dependencies"],
        *(PROJECT["optional-dependencies"][e] for e in ("cluster", "fast", "safetensors")),
    ]
    found = {}
    for words in (word for group in groups for word in group):
        name, bound = re.fullmatch(r"([\w-]+)>=([\d.]+)", words).groups()
        found[normal(name)] = bound
    return found


def pins(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pinned}


def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed():
    lowest = pins("constraints-lowest.txt")
    wrong = {
        name: (bound, lowest.get(name))
        for name, bound in bounds().items()
        if not f"{lowest.get(name)}.".startswith(f"{bound}.")
    }
    assert wrong == {}
    # pandas comes with xarray, whose lowest version fails with the newest.
    assert set(lowest) - set(bounds()) == {"pandas"}


def test_the_versions_that_are_tested_together_are_allowed():
    def parts(version):
        return [int(part) for part in re.findall(r"\d+", version)]

    chosen = pins("constraints.txt")
    missing = {name for name in bounds() if name not in chosen}
    assert missing == set()
    assert [name for name, bound in bounds().items() if parts(chosen[name]) < parts(bound)] == []


# What stands beside them


def test_the_version_is_the_same_everywhere():
    assert PROJECT["version"] == phasescope.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", changes, flags=re.MULTILINE)
    assert headings[0].startswith(f"{phasescope.__version__},")


def test_the_citation_names_the_project_as_it_is_and_works_that_it_knows():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(known)  # what the format requires
    assert known["cff-version"] == "1.2.0"
    assert known["title"] == PROJECT["name"]
    assert known["version"] == phasescope.__version__
    assert known["license"] == PROJECT["license"]
    assert [author["name"] for author in known["authors"]] == [each["name"] for each in PROJECT["authors"]]
    assert len(known["references"]) == 5
    bibtex = BIBTEX.values()
    for work in known["references"]:
        assert {"type", "title", "authors"} <= set(work)  # and of a reference
        (number,) = [each["value"] for each in work["identifiers"]]
        (entry,) = [each for each in bibtex if f"eprint = {{{number.removeprefix('arXiv:')}}}" in each]
        flat = re.sub(r"\s+", " ", re.sub(r"[{}$\\]", "", entry)).replace("'e", "é").replace("'a", "á")
        assert work["title"] in flat
        for author in work["authors"]:
            assert f"{author['family-names']}, {author['given-names']}" in flat


def test_the_five_steps_of_a_contribution_lead_to_the_page():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(re.findall(r"^\d\. ", text, flags=re.MULTILINE)) == 5
    assert "docs/contributing.rst" in text
    assert (ROOT / "docs" / "contributing.rst").exists()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)", text)) <= set(targets)
