"""The docstring law: what a user can call documents every parameter, everything else has no sections.

Public is what ``docs/api.rst`` lists, what a room exports, and the methods of exported classes.
"""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString

import phasescope

SOURCE = Path(phasescope.__file__).parent
LISTED = re.findall(
    r"^   ((?:\w+\.)*\w+)$", (SOURCE.parents[1] / "docs" / "api.rst").read_text(encoding="utf-8"), re.M
)
SECTION = re.compile(r"^\s*(Parameters|Returns|Yields|Raises|Attributes)\n\s*---", re.M)


def public(name):
    found = phasescope
    for part in name.split("."):
        found = getattr(found, part)
    return found


def documented(thing) -> set[str]:
    doc = NumpyDocString(inspect.getdoc(thing) or "")
    entries = doc["Parameters"] + doc["Other Parameters"]
    return {name.strip().lstrip("*") for entry in entries for name in entry.name.split(",")}


def parameters(thing) -> set[str]:
    names = inspect.signature(thing).parameters
    return {name for name in names if name not in {"self", "cls"} and not name.startswith("_")}


@pytest.mark.parametrize("name", LISTED)
def test_what_a_user_can_call_documents_every_parameter(name):
    thing = public(name)
    assert inspect.getdoc(thing)
    takes_none = inspect.isclass(thing) and (inspect.isabstract(thing) or issubclass(thing, Exception))
    if callable(thing) and not takes_none:
        assert parameters(thing) <= documented(thing)


@pytest.mark.parametrize("name", [name for name in LISTED if inspect.isclass(public(name))])
def test_methods_of_public_classes_document_every_parameter(name):
    thing = public(name)
    fields = {
        "forward",
        *getattr(thing, "__dataclass_fields__", ()),
    }
    methods = {
        key: value
        for key, value in vars(thing).items()
        if inspect.isfunction(value) and not key.startswith("_") and key not in fields
    }
    assert [key for key, value in methods.items() if not inspect.getdoc(getattr(thing, key))] == []
    assert {key: parameters(value) - documented(getattr(thing, key)) for key, value in methods.items()} == {
        key: set() for key in methods
    }


@cache
def exported() -> set[str]:
    """The last parts of all public names, as ``docs/api.rst`` and the rooms give them."""
    names = {name.rpartition(".")[2] for name in LISTED}
    for path in SOURCE.glob("*/__init__.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("phasescope"):
                names |= {alias.name for alias in node.names}
    return names


def internals_with_sections(tree: ast.AST, names: set[str]) -> list[str]:
    found = []

    def visit(node, is_public):
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            named = not child.name.startswith("_")
            inside = named and (is_public if isinstance(node, ast.ClassDef) else child.name in names)
            if not inside and SECTION.search(ast.get_docstring(child) or ""):
                found.append(child.name)
            visit(child, inside)

    visit(tree, False)
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_internals_speak_in_a_sentence(path):
    assert internals_with_sections(ast.parse(path.read_text(encoding="utf-8")), exported()) == []


def test_the_rule_sees_sections_of_internals_alone():
    section = '"""Return it.\n\n    Parameters\n    ----------\n    x : int\n        It.\n    """'
    code = f"def helper(x):\n    {section}\ndef shown(x):\n    {section}\ndef _shown(x):\n    {section}"
    assert internals_with_sections(ast.parse(code), {"shown"}) == ["helper", "_shown"]
