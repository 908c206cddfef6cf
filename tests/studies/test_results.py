"""The one checked file of a study."""

import json
import random

import h5py
import numpy as np
import pytest
import xarray as xr

from phasescope.errors import InputError
from phasescope.studies import results


def test_the_dataset_is_laid_out_as_promised(finished, toy):
    _, run = finished
    mean, square = (run.data[name].to_dataset() for name in ("mean", "square"))
    tasks = toy.parts[0].tasks(run.config)
    assert mean["draw"].dims == ("task", "sample")
    assert mean["draw"].shape == (12, 40)
    assert mean["draw"].attrs == {"long_name": "normal draws around the centre", "units": "1"}
    assert list(mean["centre"].values) == [task.parameters["centre"] for task in tasks]
    assert list(mean["replica"].values) == [task.replica for task in tasks]
    assert list(mean["task_id"].values) == [task.id for task in tasks]
    assert square["square"].dims == ("task",)
    assert square["square"].attrs["units"] == "m^2"
    assert list(square["square"].values) == [0, 1, 4, 9, 16]
    assert [json.loads(text) for text in square["shape"].values] == [[1, 2]] * 5
    assert square["odd"].dtype == bool
    assert square["label"].dtype.kind == "U"


def test_the_root_says_what_the_numbers_depend_on_and_nothing_of_the_run(finished):
    _, run = finished
    attrs = run.data.attrs
    assert json.loads(attrs["configuration"]) == run.config.model_dump(mode="json")
    assert set(json.loads(attrs["versions"])) == {
        "phasescope", "python", "torch", "numpy", "scipy", "xarray", "numba"
    }  # fmt: skip
    assert (attrs["study"], attrs["device"], attrs["threads"], attrs["seed"]) == ("toy", "cpu", 1, 0)
    assert attrs["citations"] == "tamai2023 poole2016"
    assert not {"wall_seconds", "workers", "started"} & set(attrs)


def test_every_variable_is_compressed_and_has_a_checksum(finished):
    directory, _ = finished
    seen = []

    def look(name, thing):
        if isinstance(thing, h5py.Dataset) and not thing.attrs.get("NAME", b"").startswith(
            b"This is a netCDF"
        ):
            seen.append(name)
            assert thing.compression == "gzip", name
            assert thing.fletcher32, name

    with h5py.File(directory / "results.nc") as file:
        file.visititems(look)
    assert {"mean/draw", "mean/centre", "square/label", "square/square"} <= set(seen)


def test_any_flipped_bit_is_noticed_and_the_file_named(finished, tmp_path):
    content = (finished[0] / "results.nc").read_bytes()
    (tmp_path / "results.nc.sha256").write_bytes((finished[0] / "results.nc.sha256").read_bytes())
    places = random.Random(0)
    for _ in range(20):
        damaged = bytearray(content)
        damaged[places.randrange(len(content))] ^= 1 << places.randrange(8)
        (tmp_path / "results.nc").write_bytes(damaged)
        with pytest.raises(InputError, match=r"results\.nc is damaged"):
            results.receive(tmp_path)
    (tmp_path / "results.nc").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"results\.nc is damaged"):
        results.receive(tmp_path)


def test_without_its_sha256_the_file_is_read_and_garbage_is_refused(finished, tmp_path):
    (tmp_path / "results.nc").write_bytes((finished[0] / "results.nc").read_bytes())
    assert set(results.receive(tmp_path).children) == {"mean", "square"}
    (tmp_path / "results.nc").write_bytes(b"not a netCDF file at all")
    with pytest.raises(InputError, match=r"results\.nc cannot be read"):
        results.receive(tmp_path)
    (tmp_path / "results.nc").unlink()
    with pytest.raises(InputError, match=r"There is no .*results\.nc"):
        results.receive(tmp_path)


def test_what_is_written_comes_back_bit_for_bit(tmp_path):
    part = xr.Dataset(
        {
            "x": (("task", "k"), np.array([[1.0, np.nan, -0.0], [np.inf, 5e-324, 1e300]]), {"units": "m"}),
            "flag": ("task", np.array([True, False])),
            "x y": ("task", np.array([2**62, -1])),
            "none": (("task", "nothing"), np.zeros((2, 0))),
        },
        coords={"name": ("task", np.array(["sin(√x)", ""]))},
        attrs={"missing": "{}"},
    )
    tree = xr.DataTree.from_dict({"x": part, "empty": xr.Dataset(attrs={"missing": '{"a": "b"}'})})
    results.write(tree, tmp_path)
    back = results.read(tmp_path)
    assert back["x"].to_dataset().identical(part)
    assert back["x"]["x"].values.tobytes() == part["x"].values.tobytes()
    assert back["empty"].attrs == {"missing": '{"a": "b"}'}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.nc", "results.nc.sha256"]
