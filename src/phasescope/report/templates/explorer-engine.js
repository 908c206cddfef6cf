/* The numerics of the explorer: a picture network on a grid of pixels, its maps, ensembles, nulls and edits.

No DOM. `phasescopeEngine()` returns the functions below; it needs nothing outside itself, so that its own source
text makes the worker. The page, a worker and node (`require`) all use this file.

PICTURES are Float64Array(channels * pixels), channel after channel: `picture[c * pixels + p]`, pixel
`p = row * width + column`, rows from the top, values in (-1, 1). MASKS are Uint8Array(pixels), 1 inside.
WEIGHTS are numbered as in Python: synapses by target and then source (0 .. synapses - 1), then one bias a unit.
All arrays are Float64Array unless another type is named. Errors are `Error` with a plain sentence as message.

    const E = phasescopeEngine();
    E.checkNetwork(dict)            throws unless dict is what PictureNet.to_dict() writes; returns {inputs, sources, outputs, weights}
    E.wiring(dict)                  -> W: {inputs, units, synapses, size, sources, outputs, order (unit numbers), targets Int32Array(size),
                                       reads Int32Array(synapses), first Int32Array(units + 1) (synapses of unit i: first[i] .. first[i + 1] - 1),
                                       stepsToOutput Int32Array(units), name(weight) as Python's Wiring.name, downstream(unit) -> units that a
                                       change of this unit reaches, itself first}
    E.tanh(x)                       by exp; |error| < 4e-16 relative to 1

    const C = E.canvas(dict, height, width)         a network that paints; nothing below allocates while dragging
    C.wiring, C.weights, C.height, C.width, C.pixels, C.channels
    C.picture                       the present picture; the same array all the time, rewritten in place
    C.setWeight(s, value)           recomputes only what is downstream; returns C.picture
    C.setWeights(array)             recomputes all
    C.activation(unit)              view (pixels) of the unit's values
    C.version                       counts changes of weights
    C.pictureWith(s, value, out)    the picture with one weight moved, into out; C itself stays
    C.pictureOf(weights, out)       the same for all weights
    E.canvas(dict, height, width, points)   the same on other inputs: points (inputs * pixels), input after input
    E.unpack(base64)                float32 bytes in base64, as explorer.py packs them -> Float64Array
    C.toJSON()                      what PictureNet.from_dict reads (dict of to_dict)
    E.toBytes(picture, rgba, pixels)             (-1, 1) -> 0 .. 255, round half up, clipped; rgba Uint8ClampedArray(4 * pixels), alpha 255
    E.differenceBytes(a, b, rgba, pixels, gain)  128 + 127.5 * gain * (a - b), clipped
    E.activationBytes(row, rgba, pixels)         grey
    E.mapBytes(map, rgba, pixels, gain)          as differenceBytes of map and 0
    E.fromBytes(rgba, pixels) -> picture         2 * byte / 255 - 1, as Python reads a PNG
    E.rmse(a, b)

    C.map(s, out)                   exact d picture / d w_s, (channels * pixels)
    C.perturb(s, size) -> {lower, higher, difference, size}     pictures at w - size, w + size; difference = higher - lower
    C.energies(mask or null) -> (size)           sum over the mask's pixels and the channels of J^2
    C.rms() -> (size)                            rms of each map over the picture
    C.pulledBack(seeds, out) ; C.pushed(change, out)            J^T seeds (size); J change (channels * pixels)

PROPERTIES are plain objects {kind, mask, channel, axis, threshold, softness, sign, name}:
    kind "region" (no value: everything inside the mask), "mean" (channel null: all), "balance" (channel), "energy" (mean square in the mask), "area", "centroid" (axis "x" | "y"), "tilt" (radians), "width" (axis).
    mask null: the whole picture. Defaults: channel null, threshold 0, softness 0.1, sign 1 (bright objects), -1 dark ones.
    E.PROPERTIES                    [{kind, title, needs: ["mask"?, "channel"?, "axis"?], unit, span: sensible half width of a slider}]
    C.value(prop) -> number (NaN for "region")
    C.gradient(prop) -> {value, seeds (channels * pixels), weights (size)}   d value / d picture and d value / d w

    C.ensemble(prop, {cover = 0.9, unit = "rms" | "one" | "weight"}) ->
        {unit, cover, strength (size), damage (size), control (size), lift (size), inside (size), total (size), share (size), order Int32Array (weights by falling strength in the unit),
         sets: {one, weight, rms} of Int32Array, weights: the chosen set, units: Int32Array (neurons of the set, ascending), perUnit (units) share of sum (g u)^2 by target,
         best: {weight, share, lift}, runs: [{first, last, target}], area: share of pixels inside}
    C.nulls(prop, {count = 200, regionsTried = 1, seed = 0}) ->
        {share, weight, shares (count, sorted), p, corrected, low, median, high (5 %, 50 %, 95 %), certified, verdict (a sentence), reason}
    C.linearRange(s, prop or null, tolerance = 0.2) -> {low, high}   weights between which the change is linear to 20 % (null prop: the picture's)
    C.programme({move, keep = [], mask = move's support, damping}) -> {direction (size), per unit of the property; predicted damage; iterations; cached}
    C.edit({move, amount, keep = [], damping, step}, original weights or null) ->
        {weights (size), asked, reached, kept: [{before, after}], damage, steps, complete, note}   real passes, re-linearised, backtracking
    C.compensation(s, t, move, keep) -> {direction (size), ratio, move: effect a unit, note}       two synapses: keep stays to first order
    C.bestPair(move, keep) -> {first, second, direction, ...}                                      the least damage among pairs in one neuron

DATA of the page, `JSON.parse` of #explorer-data (explorer.py): {title, name, height, width, net (dict), original (packed picture), fits: [{seed, rmse}],
    notes: [sentence], ready_made: [{key, title, text, net, height, width, points (packed, or null: x, y of the grid)}]}; outputs of a ready-made net are 1 (grey) or 3

WORKER (page only): the same calls away from the page's thread, each answered by a Promise; the newest request of a `slot` drops older ones
    const A = E.assistant(dict, height, width)
    A.call(method, args array, {weights = C.weights, slot = method, progress}) -> Promise of what C.method returns; rejects with Error; `dropped` is true on
                                    the error of a request that a newer one in its slot has replaced
    A.local                         true where no worker could be started and the work is done on the page's own thread
    A.stop()
*/
function phasescopeEngine() {
  "use strict";
  return {};
}
if (typeof module !== "undefined") module.exports = phasescopeEngine;
