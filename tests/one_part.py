"""One part of a study, run alone by the engine at sizes that a test can afford."""

import io

from phasescope import studies
from phasescope.papers import absorbing


def config(*changes, study=absorbing.STUDY):
    """The quick preset with changes."""
    return studies.changed(study.presets["quick"], changes)


def alone(part) -> studies.Study:
    """A study of nothing but that part."""
    return studies.Study(name="alone", title="One part", summary="", source="a test", parts=(part,))


def run(part, settings, directory):
    """The data, the analysis and the checks by id of a run that must not fail."""
    finished = studies.run(alone(part), settings, directory)
    assert not finished.failed, finished.failed
    return finished.data[part.name].to_dataset(), finished.analyses[part.name], checks(finished.checks)


def analysed(part, data, settings):
    """The analysis of data that may have been changed."""
    return part.analysis(part.numbers(data, settings))


def checks(made) -> dict:
    """The checks by what stands behind the name of the part."""
    return {check.id.partition("/")[2]: check for check in made}


def draw(part, data, settings) -> list[int]:
    """The size in bytes of each picture of the part, drawn as SVG."""
    sizes = []
    for picture in part.pictures(part.numbers(data, settings)):
        with io.BytesIO() as file:
            picture.figure.savefig(file, format="svg")
            sizes.append(len(file.getvalue()))
    return sizes
