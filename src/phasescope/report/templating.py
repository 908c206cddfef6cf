"""Templates of pages that hold all they need: style, script, and a policy that forbids anything else."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from phasescope import __version__
from phasescope.report.prose import prose, soft_error


def render_template(name: str, **values: Any) -> str:
    """Return the page that a template makes of `values`, every text in them escaped."""
    environment = Environment(
        loader=PackageLoader("phasescope.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": prose, "soft_error": soft_error}
    script = _part("report.js")
    return environment.get_template(name).render(
        **values,
        version=__version__,
        style=Markup(_part("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _part(name: str) -> str:
    return resources.files("phasescope.report").joinpath("templates", name).read_text(encoding="utf-8")
