import re
from types import SimpleNamespace

import pytest

from phasescope.citations import BIBTEX, citation, citation_keys, register
from phasescope.errors import InputError

ARXIV = {
    "poole2016": ("1606.05340", "Poole"),
    "schoenholz2017": ("1611.01232", "Schoenholz"),
    "roberts2022": ("2106.10165", "Roberts"),
    "kim2024repu": ("2408.02697", "Kim"),
    "tamai2023": ("2307.02284", "Tamai"),
    "mishkin2016": ("1511.06422", "Mishkin"),
}


@pytest.mark.parametrize("key", BIBTEX)
def test_every_entry_is_well_formed(key):
    entry = BIBTEX[key]
    assert re.match(rf"@\w+\{{{key},\n", entry)
    depth = 0
    for character in entry:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    fields = re.findall(r"^  (\w+) = \{", entry, flags=re.MULTILINE)
    assert {"title", "author"} <= set(fields)
    assert len(fields) == len(set(fields))
    assert entry.endswith("\n}")


@pytest.mark.parametrize(("key", "paper"), ARXIV.items())
def test_papers_are_the_ones_meant(key, paper):
    number, first_author = paper
    assert f"eprint = {{{number}}}" in BIBTEX[key]
    assert f"author = {{{first_author}, " in BIBTEX[key]


def test_keys_come_from_attributes_objects_and_collections():
    dataset = SimpleNamespace(attrs={"citations": "poole2016 schoenholz2017"})
    point = SimpleNamespace(citations=("roberts2022", "poole2016"))
    assert citation_keys(dataset) == ["poole2016", "schoenholz2017"]
    assert citation_keys(point) == ["roberts2022", "poole2016"]
    assert citation_keys(SimpleNamespace(dataset=dataset)) == ["poole2016", "schoenholz2017"]
    both = SimpleNamespace(
        datasets={"a": dataset, "b": SimpleNamespace(attrs={"citations": "poole2016 tamai2023"})}
    )
    assert citation_keys(both) == ["poole2016", "schoenholz2017", "tamai2023"]


def test_text_holds_each_entry_once_and_phasescope_itself():
    text = citation(SimpleNamespace(citations="poole2016 poole2016"))
    assert text.count("@inproceedings{poole2016,") == 1
    assert text.count("@software{phasescope,") == 1
    assert "schoenholz2017" not in text


def test_results_without_citations_are_refused():
    with pytest.raises(InputError, match="dict names no citations"):
        citation({})
    with pytest.raises(InputError, match=r"nobody1999.*poole2016"):
        citation(SimpleNamespace(citations="nobody1999"))


ENTRY = "@misc{units-doe2026,\n  title = {On {Units}},\n  author = {Doe, Jane},\n}"


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr("phasescope.citations.BIBTEX", dict(BIBTEX))


@pytest.mark.usefixtures("registry")
def test_an_entry_of_a_third_party_is_printed_like_ours():
    result = SimpleNamespace(citations="units-doe2026 poole2016")
    with pytest.raises(InputError, match=r"units-doe2026.*register"):
        citation(result)
    register("units-doe2026", ENTRY)
    register("units-doe2026", f"\n{ENTRY}\n")
    assert citation(result).startswith(f"{ENTRY}\n\n@inproceedings{{poole2016,")


@pytest.mark.usefixtures("registry")
def test_a_key_stands_for_one_text():
    register("units-doe2026", ENTRY)
    with pytest.raises(InputError, match="units-doe2026 is taken by another entry"):
        register("units-doe2026", ENTRY.replace("Jane", "John"))
    with pytest.raises(InputError, match="poole2016 is taken"):
        register("poole2016", ENTRY.replace("units-doe2026", "poole2016"))
    assert citation(SimpleNamespace(citations="units-doe2026")).startswith(ENTRY)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("two words", ENTRY, "'two words' is no key"),
        ("", ENTRY, "'' is no key"),
        ("other2026", ENTRY, "other2026 is not one BibTeX entry with that key"),
        ("units-doe2026", "Doe, On units", "not one BibTeX entry"),
        ("units-doe2026", ENTRY[:-1], "not one BibTeX entry"),
        ("units-doe2026", f"{ENTRY}\n{ENTRY}", "not one BibTeX entry"),
        ("units-doe2026", "@misc{units-doe2026, title = {On units}}", "has no author"),
        ("units-doe2026", "@misc{units-doe2026, year = {2026}}", "has no title and no author"),
    ],
)
@pytest.mark.usefixtures("registry")
def test_what_is_not_one_entry_is_refused(key, text, said):
    with pytest.raises(InputError, match=said):
        register(key, text)
    assert "units-doe2026" not in BIBTEX
