"""Settings changed from text."""

import math

import pytest
from pydantic import Field

from phasescope.errors import InputError
from phasescope.studies import Settings, changed
from phasescope.studies.settings import differences


class Group(Settings):
    networks: int = Field(10, ge=1)
    widths: tuple[int, ...] = (10, 20)
    scale: float = 1.0


class Config(Settings):
    seed: int = 0
    activation: str = "tanh"
    compared: tuple[str, ...] = ("tanh",)
    flag: bool = False
    finite_width: Group = Group()


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("seed=7", "seed", 7),
        ("finite_width.networks=1e2", "finite_width.networks", 100),
        ("finite_width.widths=5,6", "finite_width.widths", (5, 6)),
        ("finite_width.widths=[5, 6]", "finite_width.widths", (5, 6)),
        ("finite_width.widths=5", "finite_width.widths", (5,)),
        ("finite_width.scale=inf", "finite_width.scale", math.inf),
        ("finite_width.scale = 2", "finite_width.scale", 2.0),
        ("activation=12", "activation", "12"),
        ("activation=own.py:f=g", "activation", "own.py:f=g"),
        ("compared=erf, sin", "compared", ("erf", "sin")),
        ("compared=", "compared", ()),
        ("flag=true", "flag", True),
        ("flag=yes", "flag", True),
    ],
)
def test_a_setting_takes_json_text_or_a_list(text, path, value):
    found = changed(Config(), [text])
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_several_changes_and_back_again():
    base = Config()
    config = changed(base, ["seed=3", "finite_width.widths=7", "finite_width.scale=0.5", "activation=sin"])
    assert (config.seed, config.finite_width) == (3, Group(widths=(7,), scale=0.5))
    assert base == Config()
    texts = differences(config, base)
    assert texts == ["seed=3", "activation=sin", "finite_width.widths=[7]", "finite_width.scale=0.5"]
    assert changed(base, texts) == config
    assert differences(base, base) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("finite_width.netwrks=1", r"finite_width\.netwrks=1.*Did you mean finite_width\.networks"),
        (
            "colour=2",
            r"colour=2: there is no setting 'colour'.*seed, activation, compared, flag, finite_width",
        ),
        ("finite_width.x=2", r"finite_width\.networks, finite_width\.widths, finite_width\.scale"),
        ("networks=3", r"networks=3.*Did you mean finite_width\.networks"),
        ("finite_width=3", r"finite_width=3: finite_width is a group.*finite_width\.networks"),
        ("flag.a.b=2", r"flag\.a\.b=2.*flag is no group"),
        ("finite_width.networks=0", r"finite_width\.networks=0.*greater than or equal to 1"),
        ("finite_width.networks=many", r"finite_width\.networks=many.*valid integer"),
        ("finite_width.networks=1.5", r"finite_width\.networks=1\.5.*integer"),
        ("seed", r"'seed' is not of the form key=value"),
        ("=3", "=3"),
    ],
)
def test_what_cannot_be_set_is_repeated_with_what_can(text, said):
    with pytest.raises(InputError, match=said):
        changed(Config(), [text])
