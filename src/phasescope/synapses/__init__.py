"""Synaptic ensembles: which weights carry a property of the output, and how to change it alone."""

from __future__ import annotations

from phasescope.synapses.atlas import Atlas, atlas
from phasescope.synapses.classifiers import CalibrationError, ClassMargin, Logit, NextTokenMargin
from phasescope.synapses.edges import EdgeGates, edges
from phasescope.synapses.edits import Edit, edit
from phasescope.synapses.ensembles import Ensemble, Runs, ensemble, selectivity
from phasescope.synapses.fitting import BestFit, Fit, fit, fit_best, rmse
from phasescope.synapses.maps import (
    LinearRange,
    Perturbation,
    WorkingRange,
    activation_maps,
    linear_range,
    perturb,
    working_range,
)
from phasescope.synapses.modules import ModuleSensitivity, module_sensitivity
from phasescope.synapses.nulls import Null, Nulls, nulls
from phasescope.synapses.picture_net import PictureNet, grid
from phasescope.synapses.properties import (
    Area,
    BorderShift,
    Centroid,
    ColourBalance,
    Custom,
    MeanColour,
    Property,
    Region,
    RegionEnergy,
    Tilt,
    Width,
)
from phasescope.synapses.sensitivity import PictureSensitivity, Sensitivity, sensitivity
from phasescope.synapses.thought_experiments import (
    Border,
    BorderSensitivity,
    ThoughtExperiment,
    band,
    comparison,
    line,
    two_bands,
)
from phasescope.synapses.wiring import Wiring, full_cascade, layers, thinned_cascade

__all__ = [
    "Area",
    "Atlas",
    "BestFit",
    "Border",
    "BorderSensitivity",
    "BorderShift",
    "CalibrationError",
    "Centroid",
    "ClassMargin",
    "ColourBalance",
    "Custom",
    "EdgeGates",
    "Edit",
    "Ensemble",
    "Fit",
    "LinearRange",
    "Logit",
    "MeanColour",
    "ModuleSensitivity",
    "NextTokenMargin",
    "Null",
    "Nulls",
    "Perturbation",
    "PictureNet",
    "PictureSensitivity",
    "Property",
    "Region",
    "RegionEnergy",
    "Runs",
    "Sensitivity",
    "ThoughtExperiment",
    "Tilt",
    "Width",
    "Wiring",
    "WorkingRange",
    "activation_maps",
    "atlas",
    "band",
    "comparison",
    "edges",
    "edit",
    "ensemble",
    "fit",
    "fit_best",
    "full_cascade",
    "grid",
    "layers",
    "line",
    "linear_range",
    "module_sensitivity",
    "nulls",
    "perturb",
    "rmse",
    "selectivity",
    "sensitivity",
    "thinned_cascade",
    "two_bands",
    "working_range",
]


def __dir__() -> list[str]:
    return list(__all__)
