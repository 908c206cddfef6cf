"""Results as objects: one line in a prompt, a table, a figure, a file."""

import dataclasses
import importlib
import io
import json
import pickle
import subprocess
import sys
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import phasescope
from phasescope import results
from phasescope.errors import InputError
from phasescope.estimate import Estimate
from phasescope.results import Result, load

ROOMS = [importlib.import_module(f"phasescope.{room}") for room in results._ROOMS]
KINDS = sorted(name for name, kind in results._KEPT.items() if issubclass(kind, Result))


def chain(depth: int = 4) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(depth)]
    for layer in layers:
        nn.init.normal_(layer[0].weight, std=0.25, generator=generator)
        nn.init.zeros_(layer[0].bias)
    return nn.Sequential(*layers).double()


def inputs() -> torch.Tensor:
    return torch.randn(32, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(scope="module")
def inspection():
    names = phasescope.instruments
    asked = [names.SignalPropagation(), names.Symptoms(), names.WeightStructure(shuffles=19)]
    return phasescope.inspect(chain(), inputs(), instruments=asked)


@pytest.fixture(scope="module")
def many(inspection):
    """Return one result of many kinds, made as a user makes them."""
    rng = np.random.default_rng(0)
    x = np.geomspace(1, 100, 12)
    noise, scaling, theory = phasescope.noise, phasescope.scaling, phasescope.theory
    series = noise.fractional_gaussian_noise(0.8, 512, seed=0)
    curves = [(np.linspace(-1, 1, 9), size) for size in (10, 20, 40)]
    return {
        "inspection": inspection,
        "profile": phasescope.signal.profile(chain(), inputs()),
        "dfa": noise.dfa(series),
        "noise verdict": noise.verdict(series, seed=0),
        "power law": scaling.fit_power_law(x, 2 * x**-0.5, errors=0.01 * x**-0.5),
        "collapse": scaling.collapse(
            [x for x, _ in curves],
            [np.exp(x * n) * (1 + 0.01 * rng.standard_normal(x.size)) for x, n in curves],
            [n for _, n in curves],
            errors=[0.01 * np.exp(x * n) for x, n in curves],
            fixed={"a": 0.0},
        ),
        "critical point": theory.critical_point("tanh"),
        "critical line": theory.critical_line("tanh", 0.2),
        "fixed point": theory.MeanField("tanh", 1.5, 0.1).fixed_point(),
        "phase": theory.MeanField("tanh", 1.5, 0.1).phase(),
    }


def same(one, other) -> bool:
    """Tell whether two values are the same bit by bit, kinds included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        equal = one.dtype == other.dtype and one.shape == other.shape
        return equal and (
            list(map(repr, one.ravel())) == list(map(repr, other.ravel()))
            if one.dtype.kind == "O"
            else one.tobytes() == other.tobytes()
        )
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, xr.Dataset):
        return one.identical(other) and all(same(one[n].values, other[n].values) for n in one.variables)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    return repr(one) == repr(other)


def test_a_saved_result_is_the_same_bit_by_bit(many, tmp_path):
    for name, result in many.items():
        path = result.save(tmp_path / name)
        back = load(path)
        assert type(back) is type(result)
        if name != "inspection":
            assert same(back, result), name
        assert str(back) == str(result)
        back.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes(), name


def test_a_loaded_inspection_draws_and_tells_what_it_told(inspection, tmp_path):
    back = load(inspection.save(tmp_path / "inspection.phasescope"))
    assert back.datasets["propagation"].identical(inspection.datasets["propagation"])
    assert back.findings == inspection.findings
    assert [list(drawn) for drawn in back.figures().values()] == [
        list(drawn) for drawn in inspection.figures().values()
    ]
    assert back.to_dict() == inspection.to_dict()


def test_another_process_reads_it(many, tmp_path):
    path = many["dfa"].save(tmp_path / "series")
    code = f"import phasescope; found = phasescope.load({str(path)!r}); print(repr(found))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == repr(many["dfa"])


def test_the_repr_is_one_short_line(many):
    for name, result in many.items():
        assert "\n" not in repr(result), name
        assert len(repr(result)) < 220, name
    deep = phasescope.signal.profile(chain(60), inputs())
    assert len(repr(deep)) < 220
    assert deep.verdict.phase in repr(deep)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_result_has_the_short_repr(name):
    kind = results._KEPT[name]
    assert kind.__repr__ is Result.__repr__
    assert {f.name for f in dataclasses.fields(kind)}.isdisjoint({"sentence", "plot", "save", "to_dataframe"})


def test_a_dataclass_without_words_tells_its_numbers_and_the_shapes_of_its_arrays():
    found = phasescope.theory.MeanField("tanh", 1.5, 0.1).fixed_point()
    assert repr(found).startswith("<FixedPoint: ")
    assert f"{found.K:.4g}" in repr(found)


def test_a_notebook_shows_it_escaped_in_the_colours_of_the_notebook(many):
    for name in ("inspection", "profile", "dfa", "collapse", "phase"):
        page = many[name]._repr_html_()
        assert page.startswith('<div class="phasescope">'), name
        assert page.count("<div") == page.count("</div>")
        assert "<script" not in page
        assert "http" not in page.replace("http://www.w3.org", "")
    model = chain()
    label = "<img src=x onerror=alert(1)>"
    asked = [phasescope.instruments.Symptoms()]
    told = phasescope.inspect(model, inputs(), label=label, instruments=asked)._repr_html_()
    assert "<img" not in told
    assert "&lt;img" in told


def test_what_has_curves_is_drawn(many):
    for name in ("inspection", "profile", "dfa", "noise verdict", "power law", "collapse", "critical point"):
        assert many[name].plot().axes, name


def test_what_has_no_curve_says_so(many):
    with pytest.raises(InputError, match="no curve"):
        many["phase"].plot()


def test_tables_hold_the_numbers(many):
    profile = many["profile"]
    frame = profile.to_dataframe()
    assert len(frame) == profile.dataset.sizes["layer"]
    np.testing.assert_array_equal(frame["kernel"], profile.dataset["kernel"])
    dfa = many["dfa"]
    frame = dfa.to_dataframe()
    np.testing.assert_array_equal(frame["windows"], dfa.windows)
    np.testing.assert_array_equal(frame["fluctuation"], dfa.fluctuation)
    frame = many["collapse"].to_dataframe()
    assert len(frame) == 27
    assert set(frame["curve"]) == {0, 1, 2}
    point = many["critical point"].to_dataframe()
    assert point["C_W"].tolist() == [1.0]
    told = many["inspection"].to_dataframe()
    assert len(told) == len(many["inspection"].findings)
    numbers = many["inspection"].to_dataframe("weights")
    assert len(numbers) == many["inspection"].datasets["weights"].sizes["layer"]


def test_estimates_have_two_columns():
    @dataclass(frozen=True)
    class Made(Result):
        slope: Estimate
        others: dict[str, Estimate]

    one, none = Estimate(1.5, 0.25, "fit", 9), Estimate.not_determined("too few")
    frame = Made(one, {"a": none}).to_dataframe()
    assert frame["slope"].tolist() == [1.5]
    assert frame["slope_error"].tolist() == [0.25]
    assert frame["others_a"].isna().all()


def test_an_instrument_that_did_not_measure_is_named(inspection):
    with pytest.raises(InputError, match="'noise' has not measured"):
        inspection.to_dataframe("noise")
    with pytest.raises(InputError, match="'noise' has not measured"):
        inspection.plot("noise")


def test_what_no_file_can_keep_is_told_and_leaves_no_file(tmp_path):
    @dataclass(frozen=True)
    class Held(Result):
        function: object

    with pytest.raises(InputError, match="a function, which no file can keep"):
        Held(lambda: 0).save(tmp_path / "held")
    deep: list[object] = []
    deep.append(deep)
    with pytest.raises(InputError, match="inside each other"):
        Held(deep).save(tmp_path / "held")
    assert not (tmp_path / "held").exists()


def test_awkward_values_come_back_as_they_were(tmp_path):
    value = {
        "floats": (float("nan"), float("inf"), -0.0, 1e-320, 0.1),
        3: [True, None, "ü", {"x"}],
        ("a", 1): np.float32(0.1),
        "letters": np.array(["one", "three"]),
        "objects": np.array([["a", None], [1.5, "b"]], dtype=object),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "empty": np.zeros((0, 3)),
        "estimate": Estimate(1.0, 0.1, "fit", 3, (0.5, 2.0)),
    }
    found = phasescope.signal.Initialisation.__new__(phasescope.signal.Initialisation)
    for f in dataclasses.fields(found):
        object.__setattr__(found, f.name, value)
    content = results._packed(found)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {item.filename: archive.read(item) for item in archive.infolist()}
    described = json.loads(files.pop("result.json"))["result"]
    back = results._Reader(files)._pairs(described[2])
    assert all(same(one, value) for one in back.values())


class Trap:
    def __reduce__(self):
        return (print, ("executed",))


def packed(tree: object, files: dict[str, bytes], *, comment: bytes | None = None) -> bytes:
    import hashlib

    text = json.dumps(tree).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("result.json", text)
        for name, data in files.items():
            archive.writestr(name, data)
        archive.comment = comment or hashlib.sha256(text).hexdigest().encode()
    return target.getvalue()


def hostile() -> dict[str, bytes]:
    import hashlib

    trap = io.BytesIO()
    np.save(trap, np.array([Trap()], dtype=object), allow_pickle=True)
    data = trap.getvalue()
    marks = {"0.npy": hashlib.sha256(data).hexdigest()}
    good = {"format": 1, "arrays": {}, "result": ["object", "theory.Phase", []]}
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("result.json", b"0" * 10**6)
    return {
        "a pickle": pickle.dumps(Trap()),
        "a pickle in an array": packed(
            good | {"arrays": marks, "result": ["array", "0.npy"]}, {"0.npy": data}
        ),
        "a class of another package": packed(good | {"result": ["object", "os.system", []]}, {}),
        "a private class": packed(good | {"result": ["object", "sweep.Store", []]}, {}),
        "a module that runs": packed(good | {"result": ["object", "__main__.X", []]}, {}),
        "another kind of value": packed(good | {"result": ["call", "print"]}, {}),
        "no result": packed(good | {"result": ["list", [1]]}, {}),
        "fields that are not there": packed(good, {}),
        "a wrong checksum": packed(good, {}, comment=b"0" * 64),
        "a later format": packed(good | {"format": 2}, {}),
        "no tree": packed([], {}),
        "deep lists": packed(good | {"result": nested(3000)}, {}),
        "compressed": compressed.getvalue(),
        "cut": packed(good, {})[:-30],
        "nothing": b"",
        "text": b"result",
    }


def nested(depth: int) -> object:
    text = '["list", [' * 300 + "1" + "]]" * 300
    made = json.loads(text)
    for _ in range(depth // 300 - 1):
        made = ["list", [made]]
    return made


@pytest.mark.parametrize("name", hostile())
def test_a_file_that_is_no_result_is_refused_and_nothing_of_it_runs(name, tmp_path, capsys):
    path = tmp_path / "file"
    path.write_bytes(hostile()[name])
    with pytest.raises(InputError):
        load(path)
    assert "executed" not in capsys.readouterr().out


def test_a_changed_bit_is_found(many, tmp_path):
    path = many["dfa"].save(tmp_path / "series")
    content = bytearray(path.read_bytes())
    for place in range(60, len(content), 997):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        try:
            back = load(path)
        except InputError:
            continue
        # Names and dates of the archive itself carry nothing of the result.
        assert same(back, many["dfa"])


def test_a_class_is_no_model():
    with pytest.raises(InputError, match=r"Make one first: Identity\(\.\.\.\)"):
        phasescope.inspect(nn.Identity, inputs())
    with pytest.raises(InputError, match="class Identity"):
        phasescope.signal.profile(nn.Identity, inputs())


def test_a_profile_is_no_dataset():
    profile = phasescope.signal.profile(chain(), inputs())
    with pytest.raises(InputError, match=r"verdict\(profile\.dataset\)"):
        phasescope.signal.verdict(profile)


def test_memory_is_told_in_words():
    asked = [phasescope.instruments.SignalPropagation()]
    one = phasescope.inspect(chain(), inputs(), instruments=asked, max_memory="512MB")
    other = phasescope.inspect(chain(), inputs(), instruments=asked, max_memory=512_000_000)
    assert one.to_dict()["findings"] == other.to_dict()["findings"]
    with pytest.raises(InputError, match="max_memory is 'much'"):
        phasescope.inspect(chain(), inputs(), instruments=asked, max_memory="much")


@pytest.mark.parametrize("room", [phasescope, *ROOMS], ids=lambda room: room.__name__)
def test_dir_lists_the_documented_names_alone(room):
    assert dir(room) == sorted(room.__all__)
    assert all(hasattr(room, name) for name in room.__all__)
