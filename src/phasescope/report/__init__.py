"""Pages from what instruments return: `save` writes one HTML file and the same content as JSON."""

from phasescope.report.activation_figure import activation_figure
from phasescope.report.explorer import ReadyMade, render_explorer, save_explorer
from phasescope.report.fate import Fate, Training
from phasescope.report.noise_page import render_noise, save_noise
from phasescope.report.page import document, render, save
from phasescope.report.pictures import in_notebook, picture
from phasescope.report.rates_page import rates_figure, render_rates, save_rates
from phasescope.report.study_page import render_study, save_study
from phasescope.report.width_figure import width_figure
from phasescope.whole_files import check_writable

__all__ = [
    "Fate",
    "ReadyMade",
    "Training",
    "activation_figure",
    "check_writable",
    "document",
    "in_notebook",
    "picture",
    "rates_figure",
    "render",
    "render_explorer",
    "render_noise",
    "render_rates",
    "render_study",
    "save",
    "save_explorer",
    "save_noise",
    "save_rates",
    "save_study",
    "width_figure",
]


def __dir__() -> list[str]:
    return list(__all__)
