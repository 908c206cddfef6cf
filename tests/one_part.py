"""One part of the study of absorbing phase transitions, run by the engine at the smallest sizes."""

import io

from phasescope import studies
from phasescope.papers.absorbing import STUDY, AbsorbingConfig


def config(*changes: str) -> AbsorbingConfig:
    """The quick preset with changes."""
    return studies.changed(STUDY.presets["quick"], changes)


def alone(part) -> studies.Study:
    """A study of nothing but that part."""
    return studies.Study(
        name=STUDY.name,
        title=STUDY.title,
        summary=STUDY.summary,
        source=STUDY.source,
        presets=STUDY.presets,
        parts=(part,),
    )


def run(part, settings, directory):
    """The data, the analysis and the checks by id of a run that must not fail."""
    finished = studies.run(alone(part), settings, directory)
    assert not finished.failed, finished.failed
    return finished.data[part.name].to_dataset(), finished.analyses[part.name], checks(finished.checks)


def checks(made) -> dict:
    return {check.id.partition("/")[2]: check for check in made}


def draw(part, data, settings) -> list[int]:
    """The size in bytes of each picture of the part, drawn as SVG."""
    sizes = []
    for picture in part.figures(data, settings):
        with io.BytesIO() as file:
            picture.figure.savefig(file, format="svg")
            sizes.append(len(file.getvalue()))
    return sizes
