"""Pictures become colours in (-1, 1), whatever kind of file they come in; what cannot is refused in words."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from phasescope.data import picture
from phasescope.errors import InputError

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def save(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def as_colours(stored):
    return (2 * stored.astype(np.float64) + 1) / 256 - 1


def test_black_and_white_are_within_reach_of_tanh(tmp_path):
    array = np.zeros((2, 2, 3), dtype=np.uint8)
    array[0] = 255
    found = picture(save(tmp_path, Image.fromarray(array)))
    assert found.values[0].unique().tolist() == [1 - 1 / 256]
    assert found.values[1].unique().tolist() == [1 / 256 - 1]
    assert found.values.dtype == torch.float64
    assert found.notes == ()


def test_a_small_picture_stays_as_it_is(tmp_path):
    found = picture(save(tmp_path, Image.fromarray(COLOURS)))
    np.testing.assert_allclose(found.values, as_colours(COLOURS), atol=1e-15)
    assert (found.name, found.original, found.notes) == ("a.png", (6, 8), ())
    assert repr(found) == "Picture(a.png: 6 x 8, from 6 x 8)"


def test_samples_have_the_ratio_of_their_sides():
    for name, shape in (("flower", (64, 96, 3)), ("china", (64, 96, 3)), ("portrait", (96, 82, 3))):
        found = picture(name)
        assert found.values.shape == shape
        assert found.name == name
        assert found.values.abs().max() < 1
        assert "resized" in found.notes[0]


def test_resizing_takes_the_mean_over_areas(tmp_path):
    found = picture(save(tmp_path, Image.fromarray(COLOURS)), longest=4)
    means = as_colours(COLOURS).reshape(3, 2, 4, 2, 3).mean((1, 3))
    np.testing.assert_allclose(found.values, means, atol=1e-14)
    # 6 rows into 4: each new row holds one and a half old ones.
    uneven = picture(save(tmp_path, Image.fromarray(COLOURS)), height=4, width=8)
    first = (as_colours(COLOURS)[0] + as_colours(COLOURS)[1] / 2) / 1.5
    np.testing.assert_allclose(uneven.values[0], first, atol=1e-14)
    assert "from 6 x 8 to 4 x 8" in uneven.notes[0]


def test_the_mean_of_a_large_picture_survives_strip_by_strip():
    whole = as_colours(load_sample_image("flower.jpg"))
    found = picture("flower", height=7, width=10)
    np.testing.assert_allclose(found.values.mean((0, 1)), whole.mean((0, 1)), atol=1e-12)


def test_one_side_alone_keeps_the_ratio(tmp_path):
    path = save(tmp_path, Image.fromarray(COLOURS))
    assert picture(path, height=3).values.shape == (3, 4, 3)
    assert picture(path, width=16).values.shape == (12, 16, 3)


@pytest.mark.parametrize(
    ("mode", "name", "note"),
    [
        ("L", "a.png", "grey"),
        ("1", "a.png", "grey"),
        ("P", "a.gif", "palette"),
        ("CMYK", "a.jpg", "CMYK"),
        ("RGBA", "a.webp", None),
    ],
)
def test_other_modes_are_made_colour_and_said_so(tmp_path, mode, name, note):
    image = Image.fromarray(COLOURS).convert(mode)
    path = save(tmp_path, image, name)
    with Image.open(path) as stored:
        expected = as_colours(np.asarray(stored.convert("RGB")))
    found = picture(path)
    np.testing.assert_allclose(found.values, expected, atol=1e-14)
    assert (found.notes == ()) if note is None else (note in found.notes[0])


def test_transparency_is_put_on_white(tmp_path):
    array = np.zeros((2, 2, 4), dtype=np.uint8)
    array[..., 3] = [[0, 51], [255, 255]]
    found = picture(save(tmp_path, Image.fromarray(array)))
    # 51 of 255 cover a fifth: 0.8 of 255 shines through.
    np.testing.assert_allclose(found.values[0, :, 0], [255 / 256, (2 * 204 + 1) / 256 - 1], atol=1e-14)
    assert found.values[1].unique().tolist() == [1 / 256 - 1]
    assert "on white" in found.notes[-1]


def test_a_palette_with_a_transparent_colour_is_put_on_white(tmp_path):
    image = Image.new("P", (3, 2), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 0)
    found = picture(save(tmp_path, image, transparency=0))
    assert found.values[0, 0].tolist() == [255 / 256] * 3
    np.testing.assert_allclose(found.values[1, 1], as_colours(np.array([40, 50, 60])))


def test_sixteen_bits_keep_their_precision(tmp_path):
    array = np.array([[0, 1], [256, 65535]], dtype=np.uint16)
    found = picture(save(tmp_path, Image.fromarray(array)))
    np.testing.assert_allclose(found.values[..., 1], (2.0 * array + 1) / 65536 - 1, atol=1e-15)
    assert "16-bit" in found.notes[0]


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = picture(save(tmp_path, Image.fromarray(COLOURS), exif=exif))
    np.testing.assert_allclose(found.values, as_colours(np.rot90(COLOURS, -1)), atol=1e-15)
    assert "EXIF" in found.notes[0]
    assert found.original == (8, 6)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(np.roll(COLOURS, i, 0)).convert("P") for i in range(3)]
    path = save(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    found = picture(path)
    expected = as_colours(np.asarray(frames[0].convert("RGB")))
    np.testing.assert_allclose(found.values, expected, atol=1e-15)
    assert found.notes[0] == "The first of 3 frames is used."


def test_a_huge_picture_is_resized_and_said_so(tmp_path):
    image = Image.new("L", (900, 600), 10)
    image.paste(200, (0, 0, 450, 600))
    found = picture(save(tmp_path, image))
    assert found.values.shape == (64, 96, 3)
    np.testing.assert_allclose(found.values[:, :48], as_colours(np.array(200)), atol=1e-12)
    np.testing.assert_allclose(found.values[:, 48:], as_colours(np.array(10)), atol=1e-12)
    assert found.notes[-1] == "It is resized from 600 x 900 to 64 x 96 pixels."


def bomb() -> bytes:
    """Return a PNG of a few bytes that claims 50 000 x 50 000 pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    with pytest.raises(InputError, match=r"bomb\.png is too large.*Make it smaller"):
        picture(path)


def test_a_picture_just_above_the_limit_is_refused_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    with pytest.raises(InputError, match="too large"):
        picture(save(tmp_path, Image.fromarray(COLOURS)))


def test_damaged_files_are_refused(tmp_path):
    good = save(tmp_path, Image.fromarray(np.tile(COLOURS, (20, 20, 1))), "good.jpg").read_bytes()
    for name, content in (
        ("empty.png", b""),
        ("text.png", b"not a picture"),
        ("half.jpg", good[: len(good) // 2]),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} cannot be read as a picture.*PNG, JPEG"):
            picture(tmp_path / name)


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="no regular file"):
        picture(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a folder"):
        picture(tmp_path)
    with pytest.raises(InputError, match="There is no file"):
        picture(tmp_path / "nothing.png")
    with pytest.raises(InputError, match=r"Did you mean flower\?"):
        picture("flowr")


def test_nothing_to_see_is_said(tmp_path):
    with pytest.raises(InputError, match="1 x 1 pixels"):
        picture(save(tmp_path, Image.new("RGB", (1, 1))))
    with pytest.raises(InputError, match="one colour everywhere"):
        picture(save(tmp_path, Image.new("RGB", (5, 5), (3, 4, 5))))
    with pytest.raises(InputError, match="one colour everywhere, once on white"):
        picture(save(tmp_path, Image.new("RGBA", (5, 5), (3, 4, 5, 0))))
    with pytest.raises(InputError, match="32-bit numbers"):
        picture(save(tmp_path, Image.new("F", (5, 5), 0.5), "a.tiff"))


@pytest.mark.parametrize("size", [{"longest": 1}, {"longest": 9.5}, {"height": 0}, {"width": True}])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(InputError, match="is no size"):
        picture("flower", **size)


def test_too_large_results_are_refused():
    with pytest.raises(InputError, match="too large"):
        picture("flower", height=100_000)
