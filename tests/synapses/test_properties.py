"""Properties of pictures whose numbers are known beforehand."""

import math

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.synapses import (
    Area,
    BorderShift,
    Centroid,
    ColourBalance,
    Custom,
    MeanColour,
    Region,
    RegionEnergy,
    Tilt,
    Width,
    grid,
)

HEIGHT, WIDTH = 12, 16


def axes(height, width):
    return grid(height, width).T.reshape(2, height, width)


def seen_as(occupancy, softness=0.1):
    """Return the grey picture whose soft occupancy, at threshold 0, is the given one."""
    return (softness * torch.logit(occupancy.double())).unsqueeze(-1).expand(*occupancy.shape, 3)


def bell(height, width, at=(0.0, 0.0), long=0.15, short=0.08, angle=0.0):
    """Return an elongated bell: sums of it over a fine grid equal integrals to rounding."""
    x, y = axes(height, width)
    x, y = x - at[0], y - at[1]
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return 0.9 * torch.exp(-((along / long) ** 2 + (across / short) ** 2) / 2).clamp(min=1e-15)


def patch(rows=slice(3, 7), columns=slice(2, 9)):
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture(scope="module")
def picture():
    x, y = axes(HEIGHT, WIDTH)
    return torch.stack([torch.tanh(3 * x + y), torch.sin(2 * x - 3 * y), 0.4 * x * y - 0.3], dim=-1)


def test_colours_of_a_flat_patch_are_its_own():
    picture = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.float64)
    picture[patch()] = torch.tensor([0.5, -0.25, 0.75], dtype=torch.float64)
    assert float(MeanColour(patch()).value(picture)) == pytest.approx(1 / 3)
    assert float(MeanColour(patch(), 1).value(picture)) == pytest.approx(-0.25)
    assert float(ColourBalance(1, patch()).value(picture)) == pytest.approx(-0.25 - (0.5 + 0.75) / 2)
    assert float(RegionEnergy(patch()).value(picture)) == pytest.approx((0.25 + 0.0625 + 0.5625) / 3)
    assert float(MeanColour().value(picture)) == pytest.approx(1 / 3 * 28 / (HEIGHT * WIDTH))
    assert [prop.name for prop in (MeanColour(channel=0), ColourBalance(2))] == ["mean red", "blue balance"]


def test_area_is_the_share_of_bright_pixels_and_dark_ones_are_the_rest():
    picture = torch.full((HEIGHT, WIDTH, 3), -0.8, dtype=torch.float64)
    picture[patch()] = 0.8
    share = 28 / (HEIGHT * WIDTH)
    assert float(Area(softness=0.02).value(picture)) == pytest.approx(share, abs=1e-12)
    assert float(Area(softness=0.02, sign=-1).value(picture)) == pytest.approx(1 - share, abs=1e-12)
    half = patch(slice(3, 5))
    assert float(Area(mask=half, softness=0.02).value(picture)) == pytest.approx(share / 2, abs=1e-12)
    assert float(Area(threshold=0.8).value(picture)) == pytest.approx(share / 2, rel=1e-5)


@pytest.mark.parametrize("angle", [-1.2, -0.4, 0.0, 0.3, 1.5])
def test_a_turned_bar_is_tilted_by_its_angle(angle):
    picture = seen_as(bell(60, 60, angle=angle))
    assert float(Tilt().value(picture)) == pytest.approx(angle, abs=1e-7)


def test_centroid_and_width_follow_the_object():
    picture = seen_as(bell(60, 80, at=(0.15, -0.3), long=0.14, short=0.09))
    assert float(Centroid("x").value(picture)) == pytest.approx(0.15, abs=1e-7)
    assert float(Centroid("y").value(picture)) == pytest.approx(-0.3, abs=1e-7)
    assert float(Width("x").value(picture)) == pytest.approx(0.28, abs=1e-6)
    assert float(Width("y").value(picture)) == pytest.approx(0.18, abs=1e-6)


def test_a_sharp_bar_has_its_length_over_root_three():
    picture = torch.full((10, 100, 3), -1.0, dtype=torch.float64)
    picture[4:6, 20:70] = 1.0
    # Fifty pixels of size 0.02: their centres spread like a uniform density but for 1 / 50^2.
    expected = 2 * math.sqrt((1.0**2 - 0.02**2) / 12)
    assert float(Width("x", softness=0.02).value(picture)) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(1 / math.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("direction", [0.0, 0.7, math.pi / 2, 2.5])
@pytest.mark.parametrize("shift", [0.05, -0.2])
def test_a_half_plane_of_constant_slope_moves_by_its_shift(direction, shift):
    x, y = axes(HEIGHT, WIDTH)
    along = x * math.cos(direction) + y * math.sin(direction)
    before, after = ((1.7 * (along - s)).unsqueeze(-1).expand(-1, -1, 3) for s in (0.0, shift))
    prop = BorderShift(before)
    assert float(prop.value(before)) == 0
    assert float(prop.value(after)) == pytest.approx(shift, rel=1e-12)


def test_the_gradient_of_a_border_is_minus_one_over_its_slope_shared_among_its_pixels():
    x, _ = axes(4, 6)
    before = torch.stack([2 * x, 2 * x], dim=-1)
    gradient = BorderShift(before, patch_of(4, 6, rows=slice(1, 3))).gradient(before)
    expected = torch.zeros(4, 6, 2, dtype=torch.float64)
    expected[1:3, 2:4] = -1 / 2 / 4 / 2  # slope 2, four border pixels, two channels
    assert torch.allclose(gradient, expected, atol=1e-15)


def test_a_growing_disc_moves_its_border_outwards():
    x, y = axes(48, 48)
    before, after = (
        torch.tanh(4 * (r - (x.square() + y.square()).sqrt())).unsqueeze(-1) for r in (0.5, 0.51)
    )
    # Bright inside: outwards is away from the bright side, so the shift is negative.
    assert float(BorderShift(before).value(after)) == pytest.approx(-0.01, rel=0.02)


def patch_of(height, width, rows):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[rows] = True
    return mask


EVERY = [
    MeanColour(patch()),
    MeanColour(patch(), 2),
    MeanColour(),
    ColourBalance(0, patch()),
    RegionEnergy(patch()),
    Area(mask=patch(), channel=0, sign=-1),
    Area(softness=0.3),
    Centroid("x", mask=patch(slice(1, 10))),
    Centroid("y", channel=1),
    Tilt(mask=patch(slice(1, 10))),
    Width("x"),
    Width("y", threshold=0.2),
    Custom(lambda picture: picture[2, 3].prod(), "product"),
    Custom(lambda picture, mask: picture[mask].square().sum(), "squares", patch(), masked=True),
]


@pytest.mark.parametrize("prop", EVERY, ids=lambda prop: prop.name)
def test_gradients_equal_differences(prop, picture):
    gradient = prop.gradient(picture)
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(picture.shape, generator=generator, dtype=torch.float64)
    step = 1e-5
    higher, lower = (float(prop.value(picture + sign * step * direction)) for sign in (1, -1))
    expected = (higher - lower) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("prop", EVERY, ids=lambda prop: prop.name)
def test_what_happens_outside_the_support_does_not_matter(prop, picture):
    support = prop.support(picture)
    if support is None:
        assert prop.elsewhere(patch()) is None
        return
    other = picture.clone()
    other[~support] += 0.3
    assert float(prop.value(other)) == float(prop.value(picture))
    assert not prop.gradient(picture)[~support].any()


@pytest.mark.parametrize("prop", [p for p in EVERY if p.support(torch.zeros(HEIGHT, WIDTH, 3)) is not None])
def test_a_property_put_elsewhere_is_the_same_property_there(prop, picture):
    moved = torch.roll(picture, (2, 3), (0, 1))
    there = prop.elsewhere(torch.roll(prop.support(picture), (2, 3), (0, 1)))
    ahead = {"x": 3 * 2 / WIDTH, "y": -2 * 2 / HEIGHT}
    change = ahead[prop.axis] if isinstance(prop, Centroid) else 0
    assert float(there.value(moved)) == pytest.approx(float(prop.value(picture)) + change, rel=1e-12)
    assert there.name == prop.name


def test_a_border_put_elsewhere_is_read_from_the_reference_there(picture):
    x, _ = axes(HEIGHT, WIDTH)
    prop = BorderShift(x.unsqueeze(-1), patch(slice(0, 3), slice(0, 16)))
    there = prop.elsewhere(patch(slice(5, 8), slice(0, 16)))
    assert torch.equal(there.gradient(prop.reference).roll(-5, 0), prop.gradient(prop.reference))
    assert prop.elsewhere(patch(slice(0, 3), slice(0, 4))) is None


def test_a_region_has_pixels_and_no_value(picture):
    region = Region(np.asarray(patch()).astype(int), "wing")
    assert torch.equal(region.support(picture), patch())
    with pytest.raises(InputError, match="wing has no value"):
        region.gradient(picture)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Region(np.zeros((HEIGHT, WIDTH), bool)), "empty"),
        (lambda: MeanColour(np.ones(5)), r"shape \(5,\)"),
        (lambda: Area(mask=np.full((2, 2), 0.5)), "other than 0 and 1"),
        (lambda: Area(softness=0), "softness=0"),
        (lambda: Tilt(sign=0), "sign=0"),
        (lambda: Width("z"), "axis='z'"),
        (lambda: Custom(torch.mean, masked=True), "takes a mask"),
        (lambda: BorderShift(torch.ones(4, 4, 3)), "crosses 0.0 nowhere in the picture"),
        (lambda: BorderShift(torch.ones(4, 4)), "A picture is"),
    ],
)
def test_what_cannot_be_a_property_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("prop", "message"),
    [
        (MeanColour(np.ones((3, 3))), r"mask has shape \(3, 3\), the picture \(12, 16\)"),
        (MeanColour(channel=3), "channel=3"),
        (Custom(lambda picture: picture.sum(-1)), r"gives \(12, 16\)"),
        (Custom(lambda picture: 3.0), "gives float"),
        (Custom(lambda picture: picture.sum().detach()), "no gradient"),
        (Custom(lambda picture: picture.sum() * math.nan), "is nan"),
        (Custom(lambda picture: (picture - picture).abs().sum().sqrt()), "no finite gradient"),
        (BorderShift(torch.linspace(-1, 1, 9).expand(9, 9).unsqueeze(-1)), r"shape \(12, 16, 3\)"),
        (Tilt(mask=patch(slice(0, 1), slice(0, 1))), "as long as broad"),
    ],
)
def test_properties_that_a_picture_does_not_have_are_refused(prop, message):
    with pytest.raises(InputError, match=message):
        prop.gradient(torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.float64))


def test_a_balance_needs_two_channels():
    with pytest.raises(InputError, match="one channel"):
        ColourBalance(0).gradient(torch.zeros(3, 3, 1))
