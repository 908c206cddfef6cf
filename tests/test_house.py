"""Rules of the whole source tree, read from the files themselves."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import phasescope

SOURCE = Path(phasescope.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ARGUMENTS = {("weights_only", False), ("allow_pickle", True)}


def _loads_code(module: str, alias: str | None) -> bool:
    # The plain name is needed to catch pickle.UnpicklingError, which torch.load raises on refusing a file.
    return module.split(".")[0] in FORBIDDEN_MODULES and (module != "pickle" or alias is not None)


def broken_rules(tree: ast.AST) -> list[str]:
    """Ways in which a file could run code that it loads."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if _loads_code(alias.name, alias.asname)]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            found.append(str(node.module))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            found += [] if node.attr == "UnpicklingError" else [f"pickle.{node.attr}"]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in FORBIDDEN_CALLS or name in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}:
                found.append(name)
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in FORBIDDEN_ARGUMENTS or keyword.arg == "pickle_module":
                    found.append(f"{name}({keyword.arg}={value})")
            if name == "torch.load" and not any(k.arg == "weights_only" for k in node.keywords):
                found.append("torch.load without weights_only=True")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_executes_what_it_loads(path):
    assert broken_rules(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle as p",
        "pickle.load(f)",
        "pickle.Unpickler(f)",
        "from pickle import loads",
        "import dill",
        "from joblib import load",
        "eval('1')",
        "exec(text)",
        "yaml.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f)",
        "np.load(f, allow_pickle=True)",
        "torch.load(f, weights_only=True, pickle_module=dill)",
    ],
)
def test_the_rule_sees_every_forbidden_form(code):
    assert broken_rules(ast.parse(code))


def test_the_rule_lets_a_refusal_be_caught():
    code = "import pickle\ntry: x = torch.load(f, weights_only=True)\nexcept pickle.UnpicklingError: pass"
    assert broken_rules(ast.parse(code)) == []


def test_importing_phasescope_imports_nothing_heavy():
    code = (
        "import sys, phasescope; "
        "heavy = {'torch', 'numpy', 'scipy', 'xarray', 'matplotlib', 'rich', 'sklearn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", phasescope.__all__)
def test_public_names_resolve(name):
    assert getattr(phasescope, name) is not None
    assert name in dir(phasescope)


@pytest.mark.slow
def test_papers_are_imported_on_first_use():
    code = (
        "import phasescope; print(phasescope.papers.absorbing.STUDY.name, phasescope.papers.noise.STUDY.name)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["absorbing", "noise"]


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        phasescope.no_such_thing  # noqa: B018 - the access itself is under test
    with pytest.raises(AttributeError, match="no attribute 'no_such_paper'"):
        phasescope.papers.no_such_paper  # noqa: B018 - the access itself is under test


MODULES = [
    info.name
    for info in pkgutil.walk_packages([str(SOURCE)], prefix="phasescope.")
    if not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_and_their_names_resolve(name):
    module = importlib.import_module(name)
    missing = [public for public in getattr(module, "__all__", []) if not hasattr(module, public)]
    assert missing == []
    assert module.__doc__


WITH_EXAMPLES = [path for path in FILES if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples_in_docstrings_print_what_they_say(path):
    parts = [part for part in path.relative_to(SOURCE).with_suffix("").parts if part != "__init__"]
    tried = doctest.testmod(importlib.import_module(".".join(["phasescope", *parts])))
    assert tried.attempted > 0
    assert tried.failed == 0


def test_the_contributors_page_names_files_and_folders_that_are_there():
    page = (SOURCE.parents[1] / "docs" / "contributing.rst").read_text(encoding="utf-8")
    named = re.findall(r"``([a-z_]+/[\w/]*?[a-z_]+(?:\.py)?)/?``", page)
    assert len(named) > 8
    missing = [
        name for name in named if not any((root / name).exists() for root in (SOURCE, *SOURCE.parents[:2]))
    ]
    assert missing == []
