"""The answer of ``phasescope study list``."""

from __future__ import annotations

import json
import textwrap

from phasescope import studies

_WIDTH = 80


def listing(*, as_json: bool) -> str:
    """Return name, summary, source, presets and parts of every study."""
    found = [studies.study(name) for name in studies.names()]
    if as_json:
        entries = [
            {
                "name": study.name,
                "title": study.title,
                "summary": study.summary,
                "source": study.source,
                "presets": list(study.presets),
                "parts": [part.name for part in study.parts],
            }
            for study in found
        ]
        return json.dumps(entries, indent=1, ensure_ascii=False)
    return "\n\n".join(_entry(study) for study in found)


def _entry(study: studies.Study) -> str:
    facts = {
        "source": study.source,
        "presets": ", ".join(study.presets),
        "parts": ", ".join(part.name for part in study.parts),
        "run": f"phasescope study run {study.name} --preset quick",
    }
    lines = [study.name, *textwrap.wrap(study.summary, _WIDTH, initial_indent="  ", subsequent_indent="  ")]
    for name, value in facts.items():
        lines += textwrap.wrap(
            value, _WIDTH, initial_indent=f"  {name:8} ", subsequent_indent=" " * 11, break_on_hyphens=False
        )
    return "\n".join(lines)
