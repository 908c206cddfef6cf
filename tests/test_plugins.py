"""Instruments and studies of other packages: found by their metadata, imported when asked for."""

import json
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest
import torch
from torch import nn

from phasescope import studies
from phasescope.cli import main
from phasescope.errors import InputError
from phasescope.instruments import Symptoms, inspect
from phasescope.studies import registry

PLUGIN = Path(__file__).resolve().parent.parent / "examples" / "plugin"

INSTRUMENTS = """
from instruments.norms import OutputNorms
from phasescope.instruments import Symptoms


class Sizes(OutputNorms):
    name = "sizes"


sizes = Sizes()


class Abstract(OutputNorms):
    name = "abstract"

    def __init__(self, argument):
        pass


class Other(OutputNorms):
    name = "another_name"


class NoMeasurement(OutputNorms):
    name = "no_measurement"

    def measure(self, model, batch, **options):
        return {}


class NoFindings(OutputNorms):
    name = "no_findings"

    def findings(self, dataset):
        return []


class NoTable(OutputNorms):
    name = "no_table"

    def table(self, dataset):
        return None


class NoFigures(OutputNorms):
    name = "no_figures"

    def figures(self, dataset):
        return {"size": 3}


class NoCitation(OutputNorms):
    name = "no_citation"

    def measure(self, *args, **options):
        return super().measure(*args, **options).assign_attrs(citations="nobody1999")


class NoNotes(OutputNorms):
    name = "no_notes"

    def measure(self, *args, **options):
        return super().measure(*args, **options).assign_attrs(notes="not JSON")


class Fails(OutputNorms):
    name = "fails"

    def measure(self, model, batch, **options):
        raise ZeroDivisionError("no layers left")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that puts a distribution with a module and entry points onto the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(name, text, **groups):
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(text)
        info = site / f"{module}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = []
        for group, entries in groups.items():
            lines += [f"[phasescope.{group}]", *(f"{key} = {value}" for key, value in entries.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    yield add
    for path in site.glob("*.py"):
        sys.modules.pop(path.stem, None)


def model_and_batch():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)), torch.randn(12, 5)


def test_nothing_of_a_package_is_imported_unless_its_instrument_is_named(install):
    module = install("units", INSTRUMENTS, instruments={"sizes": "units:Sizes"})
    found = inspect(*model_and_batch())
    assert "sizes" not in found.datasets
    assert module not in sys.modules
    found = inspect(*model_and_batch(), instruments=["sizes"])
    assert list(found.datasets) == ["sizes"]
    assert module in sys.modules


@pytest.mark.parametrize("named", ["Sizes", "sizes", "sizes.__class__"])
def test_an_entry_point_names_a_class_an_instance_or_a_factory(install, named):
    install("units", INSTRUMENTS, instruments={"sizes": f"units:{named}"})
    found = inspect(*model_and_batch(), instruments=["symptoms", "sizes", "sizes"])
    assert list(found.datasets) == ["symptoms", "sizes"]


def test_a_name_of_ours_gives_the_instrument_with_loss_and_data():
    model, x = model_and_batch()
    found = inspect(
        model, None, loss=nn.functional.mse_loss, data=[(x, torch.zeros(12, 3))], instruments=["symptoms"]
    )
    assert list(found.datasets) == ["symptoms"]
    assert isinstance(found.instruments["symptoms"], Symptoms)
    assert not found.skipped


def test_one_of_ours_that_lacks_something_says_what():
    found = inspect(*model_and_batch(), instruments=["edges", "symptoms"])
    assert found.skipped == {"edges": "give loss, and data with inputs and targets"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("lost", "nowhere_at_all:Thing", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("gone", "units:Missing", "AttributeError: .*'Missing'"),
        ("abstract", "units:Abstract", "TypeError: .*argument"),
        ("wrong", "units:Other", "has the name 'another_name'"),
        ("text", "units:__name__", "it gives str, not a phasescope.instruments.Instrument"),
        ("no_measurement", "units:NoMeasurement", "KeyError|size"),
        ("no_findings", "units:NoFindings", r"findings\(\) gave no list of Finding"),
        ("no_table", "units:NoTable", r"table\(\) gave NoneType, not text"),
        ("no_figures", "units:NoFigures", r"figures\(\) gave no matplotlib figures"),
        ("no_citation", "units:NoCitation", "nobody1999"),
        ("no_notes", "units:NoNotes", "JSONDecodeError|Expecting value"),
        ("fails", "units:Fails", "no layers left"),
    ],
)
def test_a_broken_instrument_costs_itself_alone_and_is_named(install, name, value, said):
    install("units", INSTRUMENTS, instruments={name: value})
    found = inspect(*model_and_batch(), instruments=[name, "symptoms"])
    assert list(found.datasets) == ["symptoms"]
    assert [finding for finding in found.findings if "All layers" in finding.sentence] == []
    with pytest.raises(InputError, match=said):
        inspect(*model_and_batch(), instruments=[name])
    assert found.failed[name].startswith(f"units 1.2, entry point {name} = {value}: ")
    assert f"{name} failed: units 1.2" in str(found)


def test_a_package_that_leaves_the_process_is_told_like_any_other(install):
    install("quits", "raise SystemExit('no licence')", instruments={"quits": "quits:Thing"})
    found = inspect(*model_and_batch(), instruments=["quits", "symptoms"])
    assert "SystemExit: no licence" in found.failed["quits"]


def test_of_two_with_one_name_ours_is_taken_and_the_other_told(install):
    install("units", INSTRUMENTS, instruments={"symptoms": "units:Sizes", "sizes": "units:Sizes"})
    install("beside", INSTRUMENTS, instruments={"sizes": "beside:Sizes"})
    found = inspect(*model_and_batch(), instruments=["symptoms", "sizes"])
    assert isinstance(found.instruments["symptoms"], Symptoms)
    taken, other = ("units", "beside") if "units" in sys.modules else ("beside", "units")
    assert found.skipped == {
        "symptoms of units": "phasescope has one of that name",
        f"sizes of {other}": f"{taken} has one of that name",
    }
    assert other not in sys.modules


def test_an_unknown_name_lists_those_that_there_are_and_imports_none(install):
    module = install("units", INSTRUMENTS, instruments={"sizes": "units:Sizes"})
    with pytest.raises(InputError, match=r"no instrument 'size'\. Did you mean sizes\?.*propagation"):
        inspect(*model_and_batch(), instruments=["size"])
    with pytest.raises(InputError, match=r"no instrument 'x'\. There are: .*hysteresis.*sizes \(of units\)"):
        inspect(*model_and_batch(), instruments="x")
    assert module not in sys.modules


def test_the_command_runs_those_that_are_named(install, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Linear(5, 3), torch.randn(8, 5)\n"
    )
    install("units", INSTRUMENTS, instruments={"sizes": "units:Sizes", "lost": "nowhere_at_all:Thing"})
    words = ["inspect", "net.py:make", "--instrument", "sizes", "--instrument", "lost", "--json"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert list(content["inspections"][0]["instruments"]) == ["sizes"]
    assert "lost failed on make: units 1.2, entry point lost = nowhere_at_all:Thing" in err
    assert "nowhere_at_all" in Path(content["page"]).read_text()
    assert main(["inspect", "net.py:make", "--instrument", "size"]) == 2
    assert "Did you mean sizes?" in capsys.readouterr().err


STUDY = """
from dataclasses import replace

import toy_study

STUDY = replace(toy_study.STUDY, name="toys")
"""


def test_a_study_of_another_package_is_found_by_its_name(install):
    module = install("shelf", STUDY, studies={"toys": "shelf:STUDY", "noise": "shelf:STUDY"})
    assert registry.names_of_others() == ["toys"]
    assert "toys" not in studies.names()
    assert module not in sys.modules
    assert studies.study("toys").title == "What a toy study shows"
    assert registry.version("toys") == "shelf 1.2, entry point toys = shelf:STUDY"
    assert studies.study("noise").name == "noise"
    assert registry.hidden() == [
        "shelf 1.2, entry point noise = shelf:STUDY: not used, as phasescope has a study of that name."
    ]
    with pytest.raises(InputError, match="Did you mean toys"):
        studies.study("toyz")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("shelf:toy_study", "is a module, not a phasescope.studies.Study"),
        ("shelf:STUDY", "its study has the name 'toys'"),
        ("nowhere_at_all:STUDY", "No module named"),
    ],
)
def test_what_is_no_study_is_refused_with_the_name_of_the_package(install, value, said):
    install("shelf", STUDY, studies={"dolls": value})
    with pytest.raises(InputError, match=rf"shelf 1\.2, entry point dolls = {value}: .*{said}"):
        studies.study("dolls")


def test_the_list_and_a_run_have_the_studies_of_other_packages(install, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    install("shelf", STUDY, studies={"toys": "shelf:STUDY", "lost": "nowhere_at_all:STUDY"})
    assert main(["study", "list"]) == 0
    out, err = capsys.readouterr()
    assert "phasescope study run toys --preset quick" in out
    assert "phasescope study run absorbing --preset quick" in out
    assert err.startswith(
        "phasescope: shelf 1.2, entry point lost = nowhere_at_all:STUDY: ModuleNotFoundError"
    )
    assert main(["study", "run", "toys", "--workers", "1", "--out", "out"]) == 0
    capsys.readouterr()
    assert main(["study", "report", "out"]) == 2
    assert "is of the study 'toys', which is not one of phasescope's" in capsys.readouterr().err
    assert main(["study", "report", "out", "--study", "toys"]) == 0


@pytest.mark.slow
def test_the_template_can_be_built_installed_and_run(tmp_path):
    pytest.importorskip("hatchling", reason="building a wheel offline needs hatchling")
    where = tmp_path / "environment"
    venv.create(where, with_pip=False)
    python = next(where.glob("bin/python")) if (where / "bin").exists() else where / "Scripts" / "python.exe"
    purelib = said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    # What this environment holds, behind what is installed into the fresh one.
    Path(purelib, "beneath.pth").write_text("\n".join(path for path in sys.path if Path(path).is_dir()))
    pip = ["-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    said(sys.executable, *pip, "wheel", *offline, "--wheel-dir", tmp_path, PLUGIN)
    (wheel,) = tmp_path.glob("phasescope_zeros-*.whl")
    said(python, *pip, "install", *offline, wheel)
    assert purelib in said(
        python, "-c", "import phasescope_zeros; print(phasescope_zeros.__file__)", cwd=tmp_path
    )
    (tmp_path / "net.py").write_text(
        textwrap.dedent("""
            import torch
            from torch import nn

            def make():
                model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU())
                with torch.no_grad():
                    model[0].weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [-1, 0], [-1, 0]]))
                return model, torch.tensor([[1.0, 0], [2, 1]])
        """)
    )
    answer = said(
        python, "-m", "phasescope", "inspect", "net.py:make", "--instrument", "zeros", "--json", cwd=tmp_path
    )
    (found,) = json.loads(answer)["inspections"]
    assert found["instruments"]["zeros"]["variables"]["zeros"]["values"] == [0.0, 0.75]
    assert "2 passed" in said(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN, cwd=tmp_path)


def said(*words, cwd=None):
    """What a command prints, once it has ended well."""
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
