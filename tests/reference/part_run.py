"""A part of a study, run alone at sizes that a test can afford."""

from pydantic import create_model

from phasescope.papers.absorbing.shared import Common
from phasescope.studies.contract import from_class
from phasescope.studies.results import collect
from phasescope.sweep import Store, run


def configuration(field, settings, **common):
    """The study's configuration with this one part in it."""
    return create_model("Alone", __base__=Common, **{field: (type(settings), settings)})(**common)


def measured(part, config, directory):
    """The dataset of the part, by the engine's own way: tasks, files, one dataset."""
    tasks = part.tasks(config)
    outcome = run(tasks, lambda task: part.measure(task, "cpu"), directory)
    assert not outcome.failed, outcome.failed
    return collect(from_class(part), tasks, Store(directory), {})
