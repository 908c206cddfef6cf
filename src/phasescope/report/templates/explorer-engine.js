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

  // ---------------------------------------------------------------- the wiring

  const MOST_UNITS = 1000;
  const MOST_SYNAPSES = 50000;

  function refuse(what) {
    throw new Error(what);
  }

  function checkNetwork(dict) {
    if (dict === null || typeof dict !== "object" || dict.kind !== "picture-net") {
      refuse("This is no network of phasescope: it needs the key kind with picture-net.");
    }
    const whole = (v, low, high, what) => {
      if (!Number.isInteger(v) || v < low || v >= high) refuse(`The network is damaged: ${what}.`);
      return v;
    };
    const inputs = whole(dict.inputs, 1, 1000, "inputs is no number of inputs");
    if (!Array.isArray(dict.sources) || dict.sources.length < 1 || dict.sources.length > MOST_UNITS) {
      refuse(`The network is damaged: sources must list 1 to ${MOST_UNITS} units.`);
    }
    const units = dict.sources.length;
    const sources = dict.sources.map((row, i) => {
      if (!Array.isArray(row) || row.length < 1 || row.length > inputs + units) refuse(`Unit ${i} reads nothing that exists.`);
      row.forEach((v, k) => {
        whole(v, 0, inputs + units, `unit ${i} reads a value that does not exist`);
        if (k > 0 && v <= row[k - 1]) refuse(`The sources of unit ${i} are not ascending.`);
      });
      return Array.from(row);
    });
    if (!Array.isArray(dict.outputs) || dict.outputs.length < 1 || dict.outputs.length > units) {
      refuse("The network is damaged: outputs is no list of units.");
    }
    const outputs = dict.outputs.map((i) => whole(i, 0, units, "an output is no unit"));
    if (new Set(outputs).size < outputs.length) refuse("The network is damaged: an output stands twice.");
    const synapses = sources.reduce((sum, row) => sum + row.length, 0);
    if (synapses > MOST_SYNAPSES) refuse(`The network has ${synapses} synapses; the page takes ${MOST_SYNAPSES}.`);
    if (!(Array.isArray(dict.weights) || dict.weights instanceof Float64Array) || dict.weights.length !== synapses + units) {
      refuse(`The network needs ${synapses + units} weights.`);
    }
    for (let s = 0; s < dict.weights.length; s++) {
      if (typeof dict.weights[s] !== "number" || !Number.isFinite(dict.weights[s])) refuse(`Weight ${s} is no finite number.`);
    }
    return { inputs, sources, outputs, weights: Float64Array.from(dict.weights) };
  }

  function wiring(dict) {
    const { inputs, sources, outputs } = checkNetwork(dict);
    const units = sources.length;
    const first = new Int32Array(units + 1);
    for (let i = 0; i < units; i++) first[i + 1] = first[i] + sources[i].length;
    const synapses = first[units];
    const targets = new Int32Array(synapses + units);
    const reads = new Int32Array(synapses);
    for (let i = 0; i < units; i++) {
      sources[i].forEach((v, k) => {
        targets[first[i] + k] = i;
        reads[first[i] + k] = v;
      });
      targets[synapses + i] = i;
    }
    const readers = Array.from({ length: units }, () => []); // synapses that read each unit
    for (let s = 0; s < synapses; s++) if (reads[s] >= inputs) readers[reads[s] - inputs].push(s);

    // Each unit after all that it reads, the lowest number first.
    const waiting = sources.map((row) => row.filter((v) => v >= inputs).length);
    const order = [];
    const ready = [];
    for (let i = 0; i < units; i++) if (!waiting[i]) ready.push(i);
    while (ready.length) {
      let at = 0;
      for (let k = 1; k < ready.length; k++) if (ready[k] < ready[at]) at = k;
      const i = ready.splice(at, 1)[0];
      order.push(i);
      for (const s of readers[i]) if (--waiting[targets[s]] === 0) ready.push(targets[s]);
    }
    if (order.length < units) refuse("The wiring has a cycle.");
    const place = new Int32Array(units);
    order.forEach((i, k) => (place[i] = k));

    const stepsToOutput = new Int32Array(units).fill(-1);
    let front = outputs.slice();
    for (let count = 0; front.length; count++) {
      for (const i of front) stepsToOutput[i] = count;
      const next = new Set();
      for (const i of front) for (const v of sources[i]) if (v >= inputs && stepsToOutput[v - inputs] < 0) next.add(v - inputs);
      front = [...next];
    }
    const lost = stepsToOutput.indexOf(-1);
    if (lost >= 0) refuse(`Unit ${lost} reaches no output.`);

    const reached = new Map();
    const downstream = (unit) => {
      if (!reached.has(unit)) {
        const seen = new Uint8Array(units);
        const stack = [unit];
        seen[unit] = 1;
        while (stack.length) for (const s of readers[stack.pop()]) if (!seen[targets[s]]) { seen[targets[s]] = 1; stack.push(targets[s]); }
        reached.set(unit, Int32Array.from(order.filter((i) => seen[i])));
      }
      return reached.get(unit);
    };
    const valueName = (v) => (v >= inputs ? `unit ${v - inputs}` : `input ${inputs === 2 ? "xy"[v] : v}`);
    const name = (s) =>
      s >= synapses ? `bias of unit ${targets[s]}` : `synapse ${s}: ${valueName(reads[s])} -> unit ${targets[s]}`;
    return {
      inputs, units, synapses, size: synapses + units, sources, outputs, order: Int32Array.from(order), place,
      targets, reads, first, readers, stepsToOutput, downstream, name,
    };
  }

  // ---------------------------------------------------------------- numbers and pixels

  /* 1 - 2 / (e^2x + 1): saturates at -1 and 1, where e^2x is 0 or infinite. */
  function tanh(x) {
    return 1 - 2 / (Math.exp(2 * x) + 1);
  }

  function toBytes(picture, rgba, pixels) {
    const grey = picture.length === pixels;
    for (let p = 0; p < pixels; p++) {
      for (let c = 0; c < 3; c++) rgba[4 * p + c] = Math.floor(127.5 * (picture[grey ? p : c * pixels + p] + 1) + 0.5);
      rgba[4 * p + 3] = 255;
    }
    return rgba;
  }

  function fromBytes(rgba, pixels) {
    const picture = new Float64Array(3 * pixels);
    for (let c = 0; c < 3; c++) for (let p = 0; p < pixels; p++) picture[c * pixels + p] = (2 * rgba[4 * p + c]) / 255 - 1;
    return picture;
  }

  function differenceBytes(a, b, rgba, pixels, gain = 1) {
    const grey = a.length === pixels;
    for (let p = 0; p < pixels; p++) {
      for (let c = 0; c < 3; c++) {
        const q = grey ? p : c * pixels + p;
        rgba[4 * p + c] = Math.floor(127.5 * (1 + gain * (a[q] - (b === null ? 0 : b[q]))) + 0.5);
      }
      rgba[4 * p + 3] = 255;
    }
    return rgba;
  }

  function mapBytes(map, rgba, pixels, gain = 1) {
    return differenceBytes(map, null, rgba, pixels, gain);
  }

  function activationBytes(row, rgba, pixels) {
    for (let p = 0; p < pixels; p++) {
      rgba[4 * p] = rgba[4 * p + 1] = rgba[4 * p + 2] = Math.floor(127.5 * (row[p] + 1) + 0.5);
      rgba[4 * p + 3] = 255;
    }
    return rgba;
  }

  function rmse(a, b) {
    let sum = 0;
    for (let q = 0; q < a.length; q++) sum += (a[q] - b[q]) * (a[q] - b[q]);
    return Math.sqrt(sum / a.length);
  }

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length >> 2 }, (_, k) => view.getFloat32(4 * k, true));
  }

  /* Centres of the pixels: x to the right, y upwards, all x and then all y. */
  function grid(height, width) {
    const points = new Float64Array(2 * height * width);
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        points[i * width + j] = (2 * j + 1) / width - 1;
        points[(height + i) * width + j] = 1 - (2 * i + 1) / height;
      }
    }
    return points;
  }

  // ---------------------------------------------------------------- a network on pixels

  const BLOCK = 256; // pixels that are worked on together: their rows stay in the cache

  function canvas(dict, height, width, points = null) {
    const W = wiring(dict);
    const { inputs, units, synapses, size, outputs, order, targets, reads, first, readers } = W;
    const P = height * width;
    if (!(Number.isInteger(P) && P > 0 && P <= 1 << 20)) refuse(`A picture of ${height} x ${width} cannot be shown.`);
    const at = points === null ? grid(height, width) : Float64Array.from(points);
    if (at.length !== inputs * P) refuse(`The network has ${inputs} inputs, the picture gives ${at.length / P}.`);
    const channels = outputs.length;
    const weights = checkNetwork(dict).weights;
    const picture = new Float64Array(channels * P);
    // Rows of inputs, of units, and of the same units in another state.
    const values = new Float64Array((inputs + 2 * units) * P);
    values.set(at);
    const own = Int32Array.from({ length: inputs + units }, (_, v) => v * P);
    const other = Int32Array.from(own); // of pictureWith: rows that differ stand behind
    const spare = Int32Array.from({ length: units }, (_, i) => (inputs + units + i) * P);

    function forward(which, row, w) {
      const v = values;
      for (let start = 0; start < P; start += BLOCK) {
        const length = Math.min(BLOCK, P - start);
        for (let k = 0; k < which.length; k++) {
          const i = which[k];
          const z = row[inputs + i] + start;
          const end = z + length;
          v.fill(w[synapses + i], z, end);
          let s = first[i];
          const last = first[i + 1];
          for (; s + 4 <= last; s += 4) {
            const w0 = w[s], w1 = w[s + 1], w2 = w[s + 2], w3 = w[s + 3];
            let a = row[reads[s]] + start, b = row[reads[s + 1]] + start, c = row[reads[s + 2]] + start, d = row[reads[s + 3]] + start;
            for (let q = z; q < end; q++) v[q] += w0 * v[a++] + w1 * v[b++] + w2 * v[c++] + w3 * v[d++];
          }
          for (; s < last; s++) {
            const w0 = w[s];
            let a = row[reads[s]] + start;
            for (let q = z; q < end; q++) v[q] += w0 * v[a++];
          }
          for (let q = z; q < end; q++) v[q] = 1 - 2 / (Math.exp(2 * v[q]) + 1);
        }
      }
    }

    function copyOut(row, out) {
      for (let c = 0; c < channels; c++) {
        const start = row[inputs + outputs[c]];
        for (let p = 0, q = c * P; p < P; p++, q++) out[q] = values[start + p];
      }
      return out;
    }

    const C = { wiring: W, weights, height, width, pixels: P, channels, picture, points: at, version: 0 };
    let cache = {};

    function changed() {
      C.version++;
      cache = {};
      return copyOut(own, picture);
    }

    C.setWeight = (s, value) => {
      if (!Number.isFinite(value)) refuse(`Weight ${s} cannot be ${value}.`);
      if (weights[s] === value) return picture;
      weights[s] = value;
      forward(W.downstream(targets[s]), own, weights);
      return changed();
    };

    C.setWeights = (given) => {
      if (given.length !== size) refuse(`The network needs ${size} weights.`);
      let same = C.version > 0;
      for (let s = 0; s < size; s++) {
        if (!Number.isFinite(given[s])) refuse(`Weight ${s} is no finite number.`);
        same = same && given[s] === weights[s];
      }
      if (same) return picture;
      weights.set(given);
      forward(order, own, weights);
      return changed();
    };

    C.activation = (unit) => values.subarray(own[inputs + unit], own[inputs + unit] + P);

    C.pictureWith = (s, value, out = new Float64Array(channels * P)) => {
      const which = W.downstream(targets[s]);
      other.set(own);
      for (let k = 0; k < which.length; k++) other[inputs + which[k]] = spare[which[k]];
      const kept = weights[s];
      weights[s] = value;
      forward(which, other, weights);
      weights[s] = kept;
      return copyOut(other, out);
    };

    C.pictureOf = (given, out = new Float64Array(channels * P)) => {
      other.set(own);
      for (let i = 0; i < units; i++) other[inputs + i] = spare[i];
      forward(order, other, given);
      return copyOut(other, out);
    };

    C.toJSON = () => ({
      kind: "picture-net", version: 1, inputs, sources: W.sources, outputs: Array.from(outputs), weights: Array.from(weights),
    });

    // ------------------------------------------------------------ maps

    /* Derivative of sum(seeds * picture) in z of each unit, into rows of `out`; `from` and `to` bound the pixels. */
    function backward(seeds, out, offset, from, to, stride, shift) {
      const v = values;
      for (let k = units - 1; k >= 0; k--) {
        const i = order[k];
        const z = offset + i * stride + from - shift;
        const end = z + to - from;
        const channel = outputs.indexOf(i);
        if (channel >= 0 && seeds !== null) for (let q = z, p = channel * P + from; q < end; q++, p++) out[q] = seeds[p];
        else if (seeds !== null) out.fill(0, z, end);
        const list = readers[i];
        let n = 0;
        for (; n + 4 <= list.length; n += 4) {
          const s0 = list[n], s1 = list[n + 1], s2 = list[n + 2], s3 = list[n + 3];
          const w0 = weights[s0], w1 = weights[s1], w2 = weights[s2], w3 = weights[s3];
          const base = offset + from - shift;
          let a = base + targets[s0] * stride, b = base + targets[s1] * stride, c = base + targets[s2] * stride, d = base + targets[s3] * stride;
          for (let q = z; q < end; q++) out[q] += w0 * out[a++] + w1 * out[b++] + w2 * out[c++] + w3 * out[d++];
        }
        for (; n < list.length; n++) {
          const w0 = weights[list[n]];
          let a = offset + from - shift + targets[list[n]] * stride;
          for (let q = z; q < end; q++) out[q] += w0 * out[a++];
        }
        for (let q = z, a = own[inputs + i] + from; q < end; q++, a++) out[q] *= 1 - v[a] * v[a];
      }
    }

    /* Deltas of every channel, (channels * units * P), kept until a weight changes. */
    let deltaStore = null;
    let seedStore = null;
    function deltas() {
      if (cache.deltas) return cache.deltas;
      deltaStore = deltaStore || new Float64Array(channels * units * P);
      seedStore = seedStore || new Float64Array(channels * P);
      for (let c = 0; c < channels; c++) {
        seedStore.fill(0).fill(1, c * P, (c + 1) * P);
        for (let start = 0; start < P; start += BLOCK) {
          backward(seedStore, deltaStore, c * units * P, start, Math.min(P, start + BLOCK), P, 0);
        }
      }
      cache.deltas = deltaStore;
      return deltaStore;
    }

    C.map = (s, out = new Float64Array(channels * P)) => {
      const d = deltas();
      const i = targets[s];
      for (let c = 0; c < channels; c++) {
        const start = (c * units + i) * P;
        if (s >= synapses) for (let p = 0; p < P; p++) out[c * P + p] = d[start + p];
        else for (let p = 0, a = own[reads[s]]; p < P; p++, a++) out[c * P + p] = d[start + p] * values[a];
      }
      return out;
    };

    C.perturb = (s, step) => {
      const lower = C.pictureWith(s, weights[s] - step);
      const higher = C.pictureWith(s, weights[s] + step);
      return { lower, higher, difference: higher.map((value, q) => value - lower[q]), size: step };
    };

    /* Sum of delta^2 over the channels, (units * P). */
    let squareStore = null;
    function squares() {
      if (cache.squares) return cache.squares;
      const d = deltas();
      const length = units * P;
      squareStore = squareStore || new Float64Array(length);
      for (let q = 0; q < length; q++) squareStore[q] = d[q] * d[q];
      for (let c = 1; c < channels; c++) for (let q = 0, k = c * length; q < length; q++, k++) squareStore[q] += d[k] * d[k];
      cache.squares = squareStore;
      return squareStore;
    }

    function pixelsOf(mask) {
      if (mask.length !== P) refuse(`The region has ${mask.length} pixels, the picture ${P}.`);
      const list = [];
      for (let p = 0; p < P; p++) if (mask[p]) list.push(p);
      return Int32Array.from(list);
    }

    /* Sum of J^2 over listed pixels and all channels. */
    function energiesAt(list, out) {
      const sq = squares();
      const v = values;
      const n = list.length;
      out.fill(0);
      const row = new Float64Array(n);
      for (let i = 0; i < units; i++) {
        let bias = 0;
        for (let k = 0; k < n; k++) bias += row[k] = sq[i * P + list[k]];
        out[synapses + i] = bias;
        for (let s = first[i]; s < first[i + 1]; s++) {
          const a = own[reads[s]];
          let sum = 0;
          for (let k = 0; k < n; k++) {
            const x = v[a + list[k]];
            sum += row[k] * x * x;
          }
          out[s] = sum;
        }
      }
      return out;
    }

    const everywhere = Int32Array.from({ length: P }, (_, p) => p);
    C.energies = (mask = null) => {
      if (mask !== null) return energiesAt(pixelsOf(mask), new Float64Array(size));
      if (!cache.total) cache.total = energiesAt(everywhere, new Float64Array(size));
      return Float64Array.from(cache.total);
    };

    C.rms = () => C.energies().map((energy) => Math.sqrt(energy / (channels * P)));

    // Rows of one block of pixels: tangents and deltas of the units.
    const tangent = new Float64Array(units * BLOCK);
    const delta = new Float64Array(units * BLOCK);

    function pushBlock(change, from, to) {
      const v = values;
      const t = tangent;
      for (let k = 0; k < units; k++) {
        const i = order[k];
        const z = i * BLOCK;
        const end = z + to - from;
        t.fill(change[synapses + i], z, end);
        for (let s = first[i]; s < first[i + 1]; s++) {
          const c0 = change[s];
          let a = own[reads[s]] + from;
          if (reads[s] < inputs) {
            if (c0 !== 0) for (let q = z; q < end; q++) t[q] += c0 * v[a++];
            continue;
          }
          const w0 = weights[s];
          let b = (reads[s] - inputs) * BLOCK;
          if (c0 === 0) for (let q = z; q < end; q++) t[q] += w0 * t[b++];
          else for (let q = z; q < end; q++) t[q] += c0 * v[a++] + w0 * t[b++];
        }
        for (let q = z, a = own[inputs + i] + from; q < end; q++, a++) t[q] *= 1 - v[a] * v[a];
      }
    }

    /* Add sum of delta * value over the block to `out`. */
    function gatherBlock(from, to, out) {
      const v = values;
      const d = delta;
      const n = to - from;
      for (let i = 0; i < units; i++) {
        const z = i * BLOCK;
        const end = z + n;
        let bias = 0;
        for (let q = z; q < end; q++) bias += d[q];
        out[synapses + i] += bias;
        let s = first[i];
        const last = first[i + 1];
        for (; s + 4 <= last; s += 4) {
          let a = own[reads[s]] + from, b = own[reads[s + 1]] + from, c = own[reads[s + 2]] + from, e = own[reads[s + 3]] + from;
          let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
          for (let q = z; q < end; q++) {
            const x = d[q];
            s0 += x * v[a++]; s1 += x * v[b++]; s2 += x * v[c++]; s3 += x * v[e++];
          }
          out[s] += s0; out[s + 1] += s1; out[s + 2] += s2; out[s + 3] += s3;
        }
        for (; s < last; s++) {
          let a = own[reads[s]] + from;
          let sum = 0;
          for (let q = z; q < end; q++) sum += d[q] * v[a++];
          out[s] += sum;
        }
      }
    }

    C.pulledBack = (seeds, out = new Float64Array(size)) => {
      out.fill(0);
      for (let from = 0; from < P; from += BLOCK) {
        const to = Math.min(P, from + BLOCK);
        backward(seeds, delta, 0, from, to, BLOCK, from);
        gatherBlock(from, to, out);
      }
      return out;
    };

    C.pushed = (change, out = new Float64Array(channels * P)) => {
      for (let from = 0; from < P; from += BLOCK) {
        const to = Math.min(P, from + BLOCK);
        pushBlock(change, from, to);
        for (let c = 0; c < channels; c++) {
          for (let p = from, q = outputs[c] * BLOCK; p < to; p++, q++) out[c * P + p] = tangent[q];
        }
      }
      return out;
    };

    C.setWeights(weights);
    return C;
  }

  return {
    checkNetwork, wiring, tanh, toBytes, fromBytes, differenceBytes, mapBytes, activationBytes, rmse, unpack, grid, canvas,
  };
}
if (typeof module !== "undefined") module.exports = phasescopeEngine;
