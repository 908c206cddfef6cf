"""A folder that came from anybody: nothing in it chooses what is imported, read or followed."""

import random
import shutil
import zlib
from dataclasses import replace

import h5py
import numpy as np
import pytest

import hostile_files
import toy_study
from phasescope import studies
from phasescope.activations import load_activation
from phasescope.errors import InputError
from phasescope.studies import results

GZIP = {"compression": "gzip", "fletcher32": True}


STUDY = replace(toy_study.STUDY, parts=(toy_study.MEAN,))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a finished run, and the run."""
    directory = tmp_path_factory.mktemp("made")
    return directory, studies.run(STUDY, STUDY.presets["quick"], directory)


@pytest.fixture
def folder(made, tmp_path):
    """A folder with the results alone."""
    shutil.copy(made[0] / "results.nc", tmp_path)
    return tmp_path


def external_storage(file):
    file["mean"].create_dataset("pulled", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def external_part(file):
    file["theirs"] = h5py.ExternalLink("/etc/other.h5", "/")


def external_array(file):
    file["mean/theirs"] = h5py.ExternalLink("/etc/other.h5", "/x")


def soft_part(file):
    file["theirs"] = h5py.SoftLink("/mean")


def soft_array(file):
    file["mean/theirs"] = h5py.SoftLink("/nowhere")


def virtual(file):
    layout = h5py.VirtualLayout((10,), "f8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (10,))
    file["mean"].create_virtual_dataset("theirs", layout)


def cycle(file):
    file["mean/loop"] = file["mean"]


def cycle_through_the_root(file):
    file["loop"] = file["/"]


def part_twice(file):
    file["again"] = file["mean"]


def array_twice(file):
    file["mean/again"] = file["mean/draw"]


def deep(file):
    group = file["mean"].id
    for _ in range(3000):
        group = h5py.h5g.create(group, b"g")


def array_in_the_root(file):
    file["x"] = 1.0


def stored_type(file):
    file["mean/kind"] = np.dtype("f8")


def references(file):
    file["mean"].create_dataset("it", data=file["mean"].ref, dtype=h5py.ref_dtype)


def regions(file):
    file["mean"].create_dataset("it", data=file["mean/draw"].regionref[:1], dtype=h5py.regionref_dtype)


def texts(file):
    file["mean"].create_dataset("it", data=["a" * 50], dtype=h5py.string_dtype())


def lists(file):
    file["mean"].create_dataset("it", (3,), h5py.vlen_dtype("f8"))


def fields(file):
    file["mean"].create_dataset("it", (3,), np.dtype("i4,f8"))


def opaque(file):
    file["mean"].create_dataset("it", (3,), np.dtype("V8"))


def zeros(file):
    file["mean"].create_dataset("it", (600_000_000,), "f8", chunks=(100_000,), **GZIP)


def zeros_without_chunks(file):
    file["mean"].create_dataset("it", (600_000_000,), "f8")


def endless_dimension(file):
    file["mean"].create_dataset("it", (2**50,), "f4").make_scale("it")


def many_small(file):
    for number in range(60):
        file["mean"].create_dataset(f"it{number}", (10_000_000,), "f8")


def many_chunks(file):
    file["mean"].create_dataset("it", (100_000_000,), "u1", chunks=(1,), **GZIP)


def large_chunk(file):
    file["mean"].create_dataset("it", (1,), "u1", maxshape=(None,), chunks=(2**32 - 2,))


def bomb(file):
    array = file["mean"].create_dataset("it", (80,), "f8", chunks=(80,), compression="gzip")
    array.id.write_direct_chunk((0,), zlib.compress(bytes(70_000_000), 1))


def checked_bomb(file):
    array = file["mean"].create_dataset("it", (80,), "f8", chunks=(80,), shuffle=True, **GZIP)
    array.id.write_direct_chunk((0,), zlib.compress(bytes(70_000_000), 1) + b"0000")


def other_packing(file):
    file["mean"].create_dataset("it", data=np.zeros(100), chunks=(10,), compression="lzf")


def pointing_attribute(file):
    file["mean"].attrs["it"] = file["mean"].ref


def listing_attribute(file):
    file["mean/draw"].attrs["it"] = np.array(["a", "b"], dtype=object)


def pretended_dimensions(file):
    file["mean"].attrs.create("DIMENSION_LIST", np.array(["a"] * 40, dtype=object), dtype=h5py.string_dtype())


def many_attributes(file):
    for number in range(300):
        file["mean"].attrs[f"it{number}"] = number


HOSTILE = {
    external_storage: "'pulled' has its values in another place or file",
    external_part: "'theirs', is a link to another place or file",
    external_array: "'theirs', is a link to another place or file",
    soft_part: "'theirs', is a link to another place or file",
    soft_array: "'theirs', is a link to another place or file",
    virtual: "'theirs' has its values in another place or file",
    cycle: "'loop', is a group within a group",
    cycle_through_the_root: "'loop', is .* under two names|'mean', is a group within a group",
    part_twice: "is there under two names",
    array_twice: "is there under two names",
    deep: "'g', is a group within a group",
    array_in_the_root: "'x', is a group within a group, or stands where none may",
    stored_type: "'kind', is a group within a group, or stands where none may",
    references: "'it' holds something else than numbers",
    regions: "'it' holds something else than numbers",
    texts: "'it' holds something else than numbers",
    lists: "'it' holds something else than numbers",
    fields: "'it' holds something else than numbers",
    opaque: "'it' holds something else than numbers",
    zeros: r"'it', it declares 4,800,\d{3},\d{3} bytes, and at most 4,000,000,000 are read",
    zeros_without_chunks: "'it', it declares 4,800,",
    endless_dimension: "'it', it declares 4,503,",
    many_small: "'it.*, it declares 4,",
    many_chunks: "'it' is divided into 100,000,000 chunks",
    large_chunk: "'it' is divided into 1 chunks of 4,294,967,294 bytes",
    bomb: "'it' has a chunk that unpacks to more than was declared",
    checked_bomb: "'it' has a chunk that unpacks to more than was declared",
    other_packing: "'it' is packed in a way that no study packs",
    pointing_attribute: "'mean' has the attribute 'it', which is neither text nor numbers",
    listing_attribute: "'draw' has the attribute 'it', which is neither text nor numbers",
    pretended_dimensions: "'mean' has the attribute 'DIMENSION_LIST', which is neither",
    many_attributes: "'mean' has more than 200 attributes",
}


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_what_no_study_writes_is_refused_before_it_is_read(folder, change):
    with h5py.File(folder / "results.nc", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=rf"results\.nc is refused\. .*({HOSTILE[change]})"):
        studies.load(folder, study=STUDY)


def without(name):
    def change(attributes):
        del attributes[name]

    return change


def with_(name, value):
    def change(attributes):
        attributes[name] = value

    return change


NESTED = "[" * 100_000
ROOT = {
    "no name": without("found_by"),
    "a number for a name": with_("found_by", 3),
    "no configuration": without("configuration"),
    "a configuration cut off": with_("configuration", "{"),
    "a nested configuration": with_("configuration", NESTED),
    "a listed configuration": with_("configuration", "[1]"),
    "no versions": without("versions"),
    "listed versions": with_("versions", "[1]"),
    "nested versions": with_("versions", NESTED),
    "no seed": without("seed"),
    "no device": without("device"),
    "a device that is a number": with_("device", 1.5),
}
NODE = {
    "no word of what is missing": without("missing"),
    "a number of what is missing": with_("missing", 7),
    "a list of what is missing": with_("missing", "[1]"),
    "something nested is missing": with_("missing", NESTED),
    "no reason of what is missing": with_("missing", '{"a": null}'),
    "an error that is a number": with_("error", 3),
}


@pytest.mark.parametrize(
    ("place", "change"),
    [*(("/", change) for change in ROOT.values()), *(("mean", change) for change in NODE.values())],
    ids=[*ROOT, *NODE],
)
def test_a_description_that_lacks_or_garbles_something_is_one_sentence(folder, place, change):
    with h5py.File(folder / "results.nc", "r+") as file:
        change(file[place].attrs)
    with pytest.raises(InputError, match=r"results\.nc was not written by a study: [\w.]+: "):
        studies.load(folder, study=STUDY)


CHANGED = {
    "a title": lambda file: file.attrs.modify("title", "Another"),
    "units": lambda file: file["mean/draw"].attrs.modify("units", "m"),
    "a value": lambda file: file["mean/draw"].write_direct(np.zeros((12, 40))),
    "a coordinate": lambda file: file["mean/centre"].write_direct(np.zeros(12)),
    "a name": lambda file: file.move("mean/draw", "mean/drawn"),
    "a part less": lambda file: file.pop("mean"),
    "an attribute more": lambda file: file["mean"].attrs.modify("note", "mine"),
    "no checksum": lambda file: file.attrs.pop("content_sha256"),
    "another checksum": lambda file: file.attrs.modify("content_sha256", "0" * 64),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_the_checksum_inside_shows_what_was_changed(folder, change):
    with h5py.File(folder / "results.nc", "r+") as file:
        change(file)
    with pytest.raises(InputError, match=r"results\.nc (is damaged: its content|cannot be read)"):
        studies.load(folder, study=STUDY)


def noticed_or_harmless(folder, trials):
    """Flip bits without the checksum beside: what is not noticed has changed nothing that is read."""
    content = (folder / "results.nc").read_bytes()
    whole, places = results.content_digest(results.receive(folder)), random.Random(2)
    noticed = 0
    for _ in range(trials):
        damaged = bytearray(content)
        damaged[places.randrange(len(content))] ^= 1 << places.randrange(8)
        (folder / "results.nc").write_bytes(damaged)
        try:
            assert results.content_digest(results.receive(folder)) == whole
        except InputError:
            noticed += 1
    assert noticed > trials / 5


def test_without_the_checksum_beside_it_a_flipped_bit_is_noticed_or_harmless(folder):
    noticed_or_harmless(folder, 12)


@pytest.mark.slow
def test_any_of_many_flipped_bits_is_noticed_or_harmless(folder):
    noticed_or_harmless(folder, 450)


def test_results_of_an_earlier_release_have_their_checksum_beside_them(made, folder):
    with h5py.File(folder / "results.nc", "r+") as file:
        del file.attrs["content_sha256"]
    digest = results._digest((folder / "results.nc").read_bytes())
    (folder / "results.nc.sha256").write_text(f"{digest}  results.nc\n")
    assert studies.load(folder, study=STUDY).checks_json() == made[1].checks_json()


@pytest.mark.parametrize("name", ["results.nc", "results.nc.sha256"])
@pytest.mark.parametrize("make", hostile_files.ALL)
def test_what_is_no_regular_file_is_refused_at_once(folder, name, make):
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    with pytest.raises(InputError, match=name):
        studies.load(folder, study=STUDY)


@pytest.mark.parametrize(
    "content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000), b"PK\3\4" + bytes(99)]
)
def test_what_only_begins_like_results_is_one_sentence(folder, content):
    (folder / "results.nc").write_bytes(content)
    with pytest.raises(InputError, match=r"results\.nc cannot be read"):
        studies.load(folder, study=STUDY)


def test_more_is_read_where_it_is_allowed_and_less_where_it_is_not(made, folder):
    assert studies.load(folder, study=STUDY, max_memory=1e6).checks == made[1].checks
    assert studies.load(folder, study=STUDY, max_memory="1TB").checks == made[1].checks
    with pytest.raises(InputError, match="at most 10,000 are read"):
        studies.load(folder, study=STUDY, max_memory=10_000)


EVIL = """
from pathlib import Path
Path(r"{marker}").touch()
STUDY = 3
def f(z):
    return z
"""


@pytest.fixture
def evil(tmp_path):
    """A file that leaves a mark when it is imported, and the mark."""
    marker = tmp_path / "imported"
    path = tmp_path / "evil.py"
    path.write_text(EVIL.format(marker=marker))
    return path, marker


@pytest.mark.parametrize("name", ["{evil}:STUDY", "toy", "phasescope.papers.noise:STUDY"])
def test_the_file_names_no_study_but_those_of_phasescope(folder, evil, name):
    path, marker = evil
    with h5py.File(folder / "results.nc", "r+") as file:
        file.attrs["found_by"] = name.format(evil=path)
        del file.attrs["content_sha256"]
    tree = results._opened((folder / "results.nc").read_bytes(), folder)
    results.write(tree, folder)
    with pytest.raises(
        InputError, match=r"not one of phasescope's\. Naming a file runs its code.*--study FILE\.py:NAME"
    ):
        studies.load(folder)
    assert not marker.exists()


def numbers_of_an_activation(data, config):
    return load_activation(config.activation)


def test_stored_settings_name_no_file_to_import(tmp_path, evil, quick):
    path, marker = evil
    part = replace(toy_study.MEAN, numbers=numbers_of_an_activation)
    study = studies.Study("toy", "t", "s", "x", (part,), common=toy_study.STUDY.common)
    config = studies.changed(study.presets["quick"], [f"activation={path}:f"])
    studies.run(study, config, tmp_path / "out")
    assert marker.exists()
    marker.unlink()
    loaded = studies.load(tmp_path / "out", study=study)
    assert f"{path} is not imported: " in loaded.failed["mean"]
    assert not marker.exists()
