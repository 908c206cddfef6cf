"""Sensitivity maps written out: one point, one unit, one synapse at a time."""

import math

import numpy as np


def values_at(wiring, weights, point):
    """Return the values of inputs and units at one point, each unit asked for what it reads."""
    found = {v: float(point[v]) for v in range(wiring.inputs)}
    starts = np.cumsum([0, *(len(row) for row in wiring.sources)])

    def value(v):
        if v not in found:
            i = v - wiring.inputs
            total = float(weights[wiring.synapses + i])
            for k, source in enumerate(wiring.sources[i]):
                total += float(weights[starts[i] + k]) * value(source)
            found[v] = math.tanh(total)
        return found[v]

    return [value(v) for v in range(wiring.inputs + wiring.units)]


def delta(wiring, weights, values, unit, output):
    """Return d (value of an output unit) / d z_unit, the sum over all ways from one to the other."""
    slope = 1 - values[wiring.inputs + unit] ** 2
    total = 1.0 if unit == output else 0.0
    synapse = 0
    for reader, row in enumerate(wiring.sources):
        for source in row:
            if source == wiring.inputs + unit:
                total += float(weights[synapse]) * delta(wiring, weights, values, reader, output)
            synapse += 1
    return slope * total


def maps(wiring, weights, points):
    """Return J, shape (size, outputs, points): delta of the target times the value that the synapse reads."""
    found = np.zeros((wiring.size, len(wiring.outputs), len(points)))
    for p, point in enumerate(points):
        values = values_at(wiring, weights, point)
        for c, output in enumerate(wiring.outputs):
            s = 0
            for unit, row in enumerate(wiring.sources):
                each = delta(wiring, weights, values, unit, output)
                for source in row:
                    found[s, c, p] = each * values[source]
                    s += 1
                found[wiring.synapses + unit, c, p] = each
    return found
