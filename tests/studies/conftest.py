"""The toy study, run once a worker for tests that only look."""

import pytest

from phasescope import studies
from toy_study import STUDY


@pytest.fixture(scope="session")
def toy():
    return STUDY


@pytest.fixture
def quick(toy):
    """A function that returns the quick configuration with changes."""
    return lambda *changes: studies.changed(toy.presets["quick"], changes)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, toy):
    """The folder of a finished run, and the run."""
    directory = tmp_path_factory.mktemp("toy") / "out"
    return directory, studies.run(toy, toy.presets["quick"], directory)
