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
    E.pack(picture), E.unpack(base64)   float32 bytes in base64, as explorer.py packs them -> Float64Array
    C.toJSON(name, original)        what PictureNet.from_dict reads; with the original picture in it, `phasescope explore FILE.json` shows it, too
    E.toBytes(picture, rgba, pixels)             floor(128 (v + 1)), the inverse of fromBytes; rgba Uint8ClampedArray(4 * pixels), alpha 255
    E.differenceBytes(a, b, rgba, pixels, gain)  128 + 127.5 gain (a - b), clipped
    E.activationBytes(row, rgba, pixels)         grey
    E.mapBytes(map, rgba, pixels, gain)          as differenceBytes of map and 0
    E.fromBytes(rgba, pixels) -> picture         (2 byte + 1) / 256 - 1, as Python reads a picture
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
        {unit, cover, strength (size), damage (size), control (size), lift (size), inside (size), total (size), rms (size), share (size), order Int32Array (weights by falling |g u|), effect (size) their parts of sum (g u)^2,
         share = along / (along + beside) in [0, 1]: what of a weight's whole effect is the property,
         sets: {one, weight, rms} of Int32Array, weights: the chosen set, units: Int32Array (neurons of the set, ascending), perUnit (units) share of sum (g u)^2 by target,
         runs: [{first, last}] consecutive weights, area: share of pixels inside}
    C.nulls(prop, {count = 200, regionsTried = 1, seed = 0}) ->
        {share (largest of one weight that counts), weight, carried, shares (at other places, sorted), p, corrected, low, median, high (5 %, 50 %, 95 %),
         certified (true, false, or null: not determined), verdict (sentences), reason (why other places are not known, or ""),
         rows: [{kind: "shift" | "contrast" | "random", observed, values, reached, count, p, low, median, high, reason}]}; all but whole pictures take 1 to 3 s
    C.linearRange(s, prop or null, tolerance = 0.2) -> {low, high, size}   weights between which the change is linear to 20 % (null prop: the picture's)
    C.programme({move, keep = [], damping}) -> {direction (size) for one unit of the property, damage a unit (rms outside the region), iterations}; solved columns are kept until a weight changes
    C.edit({move, amount, keep = [], damping, steps = 30, tolerance = 1e-3, polish = false}, original weights or null) ->
        {weights (size), asked, reached, kept: [{before, after}], damage, steps, complete, note}   real passes, re-linearised, backtracking; C stays as it is; damage against the original weights
    C.sparse({move, keep = [], count = 8, damping}) -> {direction (size), weights Int32Array, damage}     the programme with few weights, greedy
    C.compensation(s, t, move, keep) -> {direction (size) a unit of move, ratio, damage}     two synapses: keep stays to first order
    C.bestPair(move, keep) -> {first, second, unit, direction, ratio, damage}     the least damage among pairs in one neuron
    C.workingRange(unit) -> {low, high, freeLow, freeHigh}                   activation on the picture; if all it reads were free in (-1, 1)

DATA of the page, `JSON.parse` of #explorer-data (explorer.py): {title, name, height, width, net (dict), original (packed picture), fits: [{seed, rmse}],
    notes: [sentence], ready_made: [{key, title, text, net, height, width, points (packed, or null: x, y of the grid)}]}; outputs of a ready-made net are 1 (grey) or 3

WORKER (page only): the same calls away from the page's thread, each answered by a Promise; the newest request of a `slot` drops older ones
    const A = E.assistant(dict, height, width)
    A.call(method, args array, {weights, slot = method}) -> (give C.weights; without them the worker's last ones) Promise of what C.method returns; rejects with Error; `dropped` is true on
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
      for (let c = 0; c < 3; c++) rgba[4 * p + c] = Math.floor(128 * (picture[grey ? p : c * pixels + p] + 1));
      rgba[4 * p + 3] = 255;
    }
    return rgba;
  }

  function fromBytes(rgba, pixels) {
    const picture = new Float64Array(3 * pixels);
    for (let c = 0; c < 3; c++) for (let p = 0; p < pixels; p++) picture[c * pixels + p] = (2 * rgba[4 * p + c] + 1) / 256 - 1;
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
      rgba[4 * p] = rgba[4 * p + 1] = rgba[4 * p + 2] = Math.floor(128 * (row[p] + 1));
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

  /* float32 bytes in base64, which unpack and `phasescope explore` read. */
  function pack(picture) {
    const view = new DataView(new ArrayBuffer(4 * picture.length));
    picture.forEach((value, k) => view.setFloat32(4 * k, value, true));
    let text = "";
    for (let k = 0; k < view.byteLength; k++) text += String.fromCharCode(view.getUint8(k));
    return btoa(text);
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

    C.toJSON = (name = "", original = null) => ({
      ...(original === null ? {} : { picture: { name, height, width, original: pack(original) } }),
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

    /* out = J^T (keep * (J change)): pixels with keep 0 do not count. `along`, if given, takes |keep * J change|^2. */
    const masked = new Float64Array(channels * P);
    function normalProduct(change, keepPixels, out) {
      let along = 0;
      out.fill(0);
      for (let from = 0; from < P; from += BLOCK) {
        const to = Math.min(P, from + BLOCK);
        pushBlock(change, from, to);
        for (let c = 0; c < channels; c++) {
          for (let p = from, q = outputs[c] * BLOCK, m = c * P + from; p < to; p++, q++, m++) {
            const x = keepPixels[p] * tangent[q];
            masked[m] = x;
            along += x * x;
          }
        }
        backward(masked, delta, 0, from, to, BLOCK, from);
        gatherBlock(from, to, out);
      }
      return along;
    }

    // ------------------------------------------------------------ properties

    const xs = new Float64Array(P);
    const ys = new Float64Array(P);
    {
      const centres = grid(height, width);
      xs.set(centres.subarray(0, P));
      ys.set(centres.subarray(P));
    }

    /* Value of a property of a picture, and its derivative in the picture into `seeds` where that is given. */
    function evaluate(prop, f, seeds) {
      const mask = prop.mask || null;
      if (mask !== null && mask.length !== P) refuse(`The region has ${mask.length} pixels, the picture ${P}.`);
      const channel = prop.channel === undefined ? null : prop.channel;
      if (channel !== null && !(Number.isInteger(channel) && channel >= 0 && channel < channels)) refuse(`There is no channel ${channel}.`);
      if (seeds) seeds.fill(0);
      let inside = P;
      if (mask !== null) {
        inside = 0;
        for (let p = 0; p < P; p++) inside += mask[p] ? 1 : 0;
        if (inside === 0) refuse("The region is empty: paint some pixels.");
      }
      const part = (c, factor) => {
        let sum = 0;
        for (let p = 0, q = c * P; p < P; p++, q++) {
          if (mask !== null && !mask[p]) continue;
          sum += f[q];
          if (seeds) seeds[q] += factor;
        }
        return factor * sum;
      };
      if (prop.kind === "region") return NaN;
      if (prop.kind === "mean") {
        if (channel !== null) return part(channel, 1 / inside);
        let sum = 0;
        for (let c = 0; c < channels; c++) sum += part(c, 1 / (inside * channels));
        return sum;
      }
      if (prop.kind === "balance") {
        if (channel === null || channels < 2) refuse("Colour balance needs a channel, and a picture with others.");
        let sum = 0;
        for (let c = 0; c < channels; c++) sum += part(c, (c === channel ? 1 : -1 / (channels - 1)) / inside);
        return sum;
      }
      if (prop.kind === "energy") {
        const norm = 1 / (inside * channels);
        let sum = 0;
        for (let c = 0; c < channels; c++) {
          for (let p = 0, q = c * P; p < P; p++, q++) {
            if (mask !== null && !mask[p]) continue;
            sum += f[q] * f[q];
            if (seeds) seeds[q] = 2 * norm * f[q];
          }
        }
        return norm * sum;
      }
      return moments(prop, f, seeds, mask, channel);
    }

    const occupied = new Float64Array(P);
    const slope = new Float64Array(P);
    function moments(prop, f, seeds, mask, channel) {
      const threshold = prop.threshold === undefined ? 0 : prop.threshold;
      const softness = prop.softness === undefined ? 0.1 : prop.softness;
      const sign = prop.sign === undefined ? 1 : prop.sign;
      if (!(softness > 0) || !Number.isFinite(threshold)) refuse("Softness must be above 0, and the threshold a number.");
      const m = occupied;
      let M = 0, X = 0, Y = 0;
      for (let p = 0; p < P; p++) {
        if (mask !== null && !mask[p]) { m[p] = 0; slope[p] = 0; continue; }
        let s = 0;
        if (channel !== null) s = f[channel * P + p];
        else { for (let c = 0; c < channels; c++) s += f[c * P + p]; s /= channels; }
        const value = 0.5 + 0.5 * tanh((0.5 * sign * (s - threshold)) / softness);
        m[p] = value;
        M += value; X += value * xs[p]; Y += value * ys[p];
      }
      if (!(M > 0)) refuse("Nothing in the region passes the threshold.");
      const x0 = X / M, y0 = Y / M;
      let value;
      let mu20 = 0, mu11 = 0, mu02 = 0;
      if (prop.kind === "tilt" || prop.kind === "width") {
        for (let p = 0; p < P; p++) {
          const dx = xs[p] - x0, dy = ys[p] - y0;
          mu20 += m[p] * dx * dx; mu11 += m[p] * dx * dy; mu02 += m[p] * dy * dy;
        }
        mu20 /= M; mu11 /= M; mu02 /= M;
      }
      const vertical = prop.axis === "y";
      const A = 2 * mu11, B = mu20 - mu02;
      if (prop.kind === "area") value = M / P;
      else if (prop.kind === "centroid") value = vertical ? y0 : x0;
      else if (prop.kind === "tilt") value = 0.5 * Math.atan2(A, B);
      else if (prop.kind === "width") value = 2 * Math.sqrt(vertical ? mu02 : mu20);
      else refuse(`There is no property of the kind ${prop.kind}.`);
      if (!seeds) return value;
      for (let p = 0; p < P; p++) {
        if (m[p] === 0) continue;
        const dx = xs[p] - x0, dy = ys[p] - y0;
        let d;
        if (prop.kind === "area") d = 1 / P;
        else if (prop.kind === "centroid") d = (vertical ? dy : dx) / M;
        else if (prop.kind === "width") d = ((vertical ? dy * dy - mu02 : dx * dx - mu20) / M) / Math.sqrt(vertical ? mu02 : mu20);
        else {
          const dA = (2 * (dx * dy - mu11)) / M, dB = (dx * dx - mu20 - dy * dy + mu02) / M;
          d = (0.5 * (B * dA - A * dB)) / (A * A + B * B);
        }
        d *= (sign * m[p] * (1 - m[p])) / softness;
        if (channel !== null) seeds[channel * P + p] = d;
        else for (let c = 0; c < channels; c++) seeds[c * P + p] = d / channels;
      }
      return value;
    }

    C.value = (prop, f = picture) => evaluate(prop, f, null);

    C.gradient = (prop) => {
      if (prop.kind === "region") refuse("A region alone has no value: choose a property of it.");
      const seeds = new Float64Array(channels * P);
      const value = evaluate(prop, picture, seeds);
      const g = C.pulledBack(seeds);
      if (!Number.isFinite(value) || !g.every(Number.isFinite)) refuse(`The property ${prop.name || prop.kind} has no finite gradient here.`);
      return { value, seeds, weights: g };
    };

    // ------------------------------------------------------------ the programme

    /* Cholesky factor of about J^T keep J + damping, from a sample of pixels: it makes the conjugate gradients short. */
    function preconditioner(keepPixels, damping, count) {
      const sq = squares();
      const chance = new Float64Array(P);
      let kept = 0, sum = 0;
      for (let p = 0; p < P; p++) {
        if (!keepPixels[p]) continue;
        kept++;
        for (let i = 0; i < units; i++) chance[p] += sq[i * P + p];
        sum += chance[p];
      }
      const list = [], weight = [];
      if (kept <= count) for (let p = 0; p < P; p++) { if (keepPixels[p]) { list.push(p); weight.push(1); } }
      else {
        // Half of the chance is the same for all pixels, half goes with the energy of their maps.
        let reached = 0, next = 0.5;
        for (let p = 0; p < P; p++) {
          if (!keepPixels[p]) continue;
          const share = count * (0.5 / kept + (sum > 0 ? (0.5 * chance[p]) / sum : 0.5 / kept));
          reached += share;
          let hits = 0;
          for (; next <= reached; next++) hits++;
          if (hits) { list.push(p); weight.push(hits / share); }
        }
      }
      const n = list.length;
      const G = new Float64Array(size * size);
      const d = deltas();
      const rows = new Float64Array((inputs + units + 1) * n); // values at the sample, and 1 for the biases
      for (let v = 0; v < inputs + units; v++) for (let k = 0; k < n; k++) rows[v * n + k] = values[own[v] + list[k]];
      rows.fill(1, (inputs + units) * n);
      const D = new Float64Array(channels * units * n);
      for (let r = 0; r < channels * units; r++) for (let k = 0; k < n; k++) D[r * n + k] = d[r * P + list[k]];
      const both = new Float64Array(n), left = new Float64Array(n), right = new Float64Array(n);
      const members = Array.from({ length: units }, (_, i) => {
        const own = [];
        for (let s = first[i]; s < first[i + 1]; s++) own.push([s, reads[s] * n]);
        own.push([synapses + i, (inputs + units) * n]);
        return own;
      });
      for (let i = 0; i < units; i++) {
        for (let j = 0; j <= i; j++) {
          both.fill(0);
          for (let c = 0; c < channels; c++) {
            for (let k = 0, a = (c * units + i) * n, b = (c * units + j) * n; k < n; k++, a++, b++) both[k] += D[a] * D[b];
          }
          for (let k = 0; k < n; k++) both[k] *= weight[k];
          // Two weights of i against four of j at a time.
          const one = members[i], many = members[j];
          for (let m = 0; m < one.length; m += 2) {
            const s = one[m][0], second = one[Math.min(m + 1, one.length - 1)], u = second[0];
            for (let k = 0, a = one[m][1], b = second[1]; k < n; k++) { left[k] = both[k] * rows[a++]; right[k] = both[k] * rows[b++]; }
            for (let t = 0; t < many.length; t += 4) {
              const last = many.length - 1;
              const m0 = many[t], m1 = many[Math.min(t + 1, last)], m2 = many[Math.min(t + 2, last)], m3 = many[Math.min(t + 3, last)];
              let b0 = m0[1], b1 = m1[1], b2 = m2[1], b3 = m3[1];
              let s0 = 0, s1 = 0, s2 = 0, s3 = 0, u0 = 0, u1 = 0, u2 = 0, u3 = 0;
              for (let k = 0; k < n; k++) {
                const x = left[k], y = right[k];
                const r0 = rows[b0++], r1 = rows[b1++], r2 = rows[b2++], r3 = rows[b3++];
                s0 += x * r0; s1 += x * r1; s2 += x * r2; s3 += x * r3;
                u0 += y * r0; u1 += y * r1; u2 += y * r2; u3 += y * r3;
              }
              G[s * size + m0[0]] = s0; G[s * size + m1[0]] = s1; G[s * size + m2[0]] = s2; G[s * size + m3[0]] = s3;
              G[u * size + m0[0]] = u0; G[u * size + m1[0]] = u1; G[u * size + m2[0]] = u2; G[u * size + m3[0]] = u3;
            }
          }
        }
      }
      for (let s = 0; s < size; s++) {
        for (let t = 0; t < s; t++) {
          const value = targets[s] >= targets[t] ? G[s * size + t] : G[t * size + s];
          G[s * size + t] = G[t * size + s] = value;
        }
        G[s * size + s] += damping;
      }
      return cholesky(G, size);
    }

    /* Where a change is damage: outside the region of the moved property, 1 for each such pixel; or, where nothing is
       outside, all that is not along the derivative of the property. `count` numbers of the picture are looked at. */
    function outsideOf(move) {
      const keepPixels = new Float64Array(P).fill(1);
      let left = P;
      if (move.mask) for (let p = 0; p < P; p++) if (move.mask[p]) { keepPixels[p] = 0; left--; }
      if (left > 0 && left < P) return { keepPixels, count: left * channels, along: null, key: hashOf(keepPixels) };
      keepPixels.fill(1);
      const { seeds } = C.gradient(move);
      const norm = Math.sqrt(dot(seeds, seeds));
      return { keepPixels, count: P * channels, along: norm > 0 ? seeds.map((x) => x / norm) : null, key: `whole ${keyOf(move)}` };
    }

    /* The damage in a change of the picture, in place. */
    function damaging(outside, change) {
      const { keepPixels, along } = outside;
      if (along) {
        const part = dot(change, along);
        for (let q = 0; q < change.length; q++) change[q] -= part * along[q];
      } else for (let c = 0; c < channels; c++) for (let p = 0, q = c * P; p < P; p++, q++) change[q] *= keepPixels[p];
      return change;
    }

    function rmsOutside(outside, change) {
      damaging(outside, change);
      return Math.sqrt(dot(change, change) / outside.count);
    }

    function meanSquare() {
      const total = C.energies();
      let mean = 0;
      for (let s = 0; s < size; s++) mean += total[s] / (size * channels * P);
      return Math.max(mean, 1e-300);
    }

    /* What solves (J^T P J + lambda) x = g. */
    function solver(outside, lambda) {
      return {
        lambda, outside, iterations: 0, solved: new Map(),
        drop: outside.along ? C.pulledBack(outside.along) : null, // J^T P J = J^T J - drop drop^T
        factor: preconditioner(outside.keepPixels, lambda, SAMPLE),
      };
    }

    /* By preconditioned conjugate gradients on products with J and its transpose. */
    function solve(made, g, tolerance = 1e-9, most = 400) {
      const x = new Float64Array(size), r = Float64Array.from(g), z = new Float64Array(size), Ap = new Float64Array(size);
      substitute(made.factor, size, r, z);
      const p = Float64Array.from(z);
      let rz = dot(r, z);
      const start = rz;
      let k = 0;
      for (; k < most && rz > tolerance * tolerance * start; k++) {
        normalProduct(p, made.outside.keepPixels, Ap);
        const part = made.drop ? dot(made.drop, p) : 0;
        for (let s = 0; s < size; s++) Ap[s] += made.lambda * p[s] - (made.drop ? part * made.drop[s] : 0);
        const alpha = rz / dot(p, Ap);
        for (let s = 0; s < size; s++) { x[s] += alpha * p[s]; r[s] -= alpha * Ap[s]; }
        substitute(made.factor, size, r, z);
        const next = dot(r, z);
        const beta = next / rz;
        for (let s = 0; s < size; s++) p[s] = z[s] + beta * p[s];
        rz = next;
      }
      made.iterations += k;
      return x;
    }

    function solved(made, prop, g) {
      const key = keyOf(prop);
      if (!made.solved.has(key)) made.solved.set(key, solve(made, g));
      return made.solved.get(key);
    }

    function touches(prop, g, what) {
      if (!(dot(g, g) > 0)) refuse(`No weight changes the ${what} property ${nameOf(prop)}.`);
    }

    /* The y of rows . y = right hand side; refuses where one row is nearly a combination of the others. */
    function small(matrix, right, props) {
      const n = right.length;
      const M = matrix.map((row, i) => row.map((value, j) => value / Math.sqrt(matrix[i][i] * matrix[j][j])));
      const b = right.map((value, i) => value / Math.sqrt(matrix[i][i]));
      for (let k = 0; k < n; k++) {
        if (!(M[k][k] > 1e-10)) refuse(`${nameOf(props[k])} cannot be kept: no weight moves ${nameOf(props[0])} without it.`);
        for (let i = k + 1; i < n; i++) {
          const factor = M[i][k] / M[k][k];
          for (let j = k; j < n; j++) M[i][j] -= factor * M[k][j];
          b[i] -= factor * b[k];
        }
      }
      for (let k = n - 1; k >= 0; k--) {
        for (let j = k + 1; j < n; j++) b[k] -= M[k][j] * b[j];
        b[k] /= M[k][k];
      }
      return b.map((value, i) => value / Math.sqrt(matrix[i][i]));
    }

    /* Least damage to first order: direction with g_move . direction = 1 and g_kept . direction = 0. */
    C.programme = ({ move, keep = [], damping = DAMPING }) => {
      if (!(damping > 0)) refuse("The damping must be above 0.");
      if (keep.length + 1 > size) refuse(`There are ${keep.length + 1} properties and ${size} weights.`);
      const all = [move, ...keep];
      const slopes = all.map((prop) => C.gradient(prop).weights);
      touches(move, slopes[0], "moved");
      const props = all.filter((_, k) => dot(slopes[k], slopes[k]) > 0); // what no weight moves, stays
      const rows = slopes.filter((g) => dot(g, g) > 0);
      const outside = outsideOf(move);
      cache.solvers = cache.solvers || new Map();
      const key = `${outside.key} ${damping}`;
      if (!cache.solvers.has(key)) cache.solvers.set(key, solver(outside, damping * meanSquare() * outside.count));
      const made = cache.solvers.get(key);
      const before = made.iterations;
      const columns = rows.map((g, k) => solved(made, props[k], g));
      const y = small(rows.map((g) => columns.map((x) => dot(g, x))), rows.map((_, k) => (k === 0 ? 1 : 0)), props);
      const direction = new Float64Array(size);
      columns.forEach((x, k) => { for (let s = 0; s < size; s++) direction[s] += y[k] * x[s]; });
      return { direction, damage: rmsOutside(outside, C.pushed(direction)), iterations: made.iterations - before };
    };

    /* The change asked for, by real passes: sequential quadratic programming with an exact penalty, as Python's edit. */
    C.edit = ({ move, amount, keep = [], damping = DAMPING, steps = 30, tolerance = 1e-3, polish = false }, original = null) => {
      if (!Number.isFinite(amount)) refuse("The amount must be a number.");
      if (!(damping > 0)) refuse("The damping must be above 0.");
      const w0 = Float64Array.from(weights), f0 = Float64Array.from(picture);
      const base = original === null ? f0 : C.pictureOf(original);
      const all = [move, ...keep];
      const first = all.map((prop) => C.gradient(prop));
      touches(move, first[0].weights, "moved");
      const outside = outsideOf(move);
      const ridge = damping * meanSquare();
      const lengths = first.map(({ weights: g }) => Math.sqrt(dot(g, g)));
      const values = first.map(({ value }) => value);
      const targets = values.map((value, k) => (k === 0 ? value + amount : value));
      const allowed = lengths.map((length) => (tolerance * Math.abs(amount) * length) / lengths[0]);
      const misses = () => targets.map((value, k) => value - C.value(all[k]));
      const within = (list) => list.every((miss, k) => Math.abs(miss) <= allowed[k]);
      const change = new Float64Array(channels * P);
      const cost = () => {
        let sum = 0;
        for (let s = 0; s < size; s++) sum += (weights[s] - w0[s]) * (weights[s] - w0[s]);
        for (let q = 0; q < change.length; q++) change[q] = picture[q] - f0[q];
        return 0.5 * (ridge * sum + rmsOutside(outside, change) ** 2);
      };
      const merit = (fines) => cost() + misses().reduce((sum, miss, k) => sum + fines[k] * Math.abs(miss), 0);
      const fines = all.map(() => 0);
      let extra = 0, done = 0, stuck = false;
      try {
        while (done < steps) {
          if (!polish && done > 0 && within(misses())) break; // polish: until the damage falls no more
          done++;
          const rows = all.map((prop) => C.gradient(prop).weights);
          const made = solver(outside, (ridge + extra) * outside.count);
          for (let q = 0; q < change.length; q++) change[q] = picture[q] - f0[q];
          const slope = C.pulledBack(damaging(outside, change));
          for (let s = 0; s < size; s++) slope[s] = slope[s] / outside.count + ridge * (weights[s] - w0[s]);
          const held = all.map((_, k) => k).filter((k) => dot(rows[k], rows[k]) > 0);
          const across = held.map((k) => solve(made, rows[k], 1e-6).map((x) => x * outside.count));
          const free = done === 1 ? new Float64Array(size) : solve(made, slope, 1e-6).map((x) => x * outside.count);
          const miss = misses();
          const matrix = held.map((k) => across.map((x) => dot(rows[k], x)));
          const toward = (wanted) => small(matrix, held.map((k) => wanted[k]), held.map((k) => all[k]));
          const y = toward(miss.map((value, k) => value + dot(rows[k], free)));
          const step = free.map((x) => -x);
          y.forEach((value, k) => { for (let s = 0; s < size; s++) step[s] += value * across[k][s]; });
          held.forEach((k, n) => (fines[k] = Math.max(fines[k], 2 * Math.abs(y[n]))));
          const fall = dot(slope, step) - miss.reduce((sum, value, k) => sum + fines[k] * Math.abs(value), 0);
          if (within(miss) && -fall <= 1e-2 * cost()) break;
          const before = merit(fines), here = Float64Array.from(weights);
          let length = 1, accepted = false;
          for (; length > 1 / 1024; length /= 2) {
            const limit = before + 1e-4 * length * fall;
            C.setWeights(here.map((value, s) => value + length * step[s]));
            // What bends is taken back at the least cost; without that, steps would be short.
            const off = misses().map((value, k) => value - (1 - length) * miss[k]);
            const plain = merit(fines), there = Float64Array.from(weights);
            const back = toward(off);
            C.setWeights(there.map((value, s) => value + back.reduce((sum, x, k) => sum + x * across[k][s], 0)));
            if (merit(fines) > plain) C.setWeights(there);
            accepted = merit(fines) <= limit;
            if (accepted) break;
          }
          if (!accepted) C.setWeights(here);
          if (length < 0.25) extra = Math.max(10 * extra, 10 * ridge);
          else if (length === 1) extra /= 10;
          if (!accepted && extra > 1e6 * ridge) { stuck = true; break; }
        }
        const miss = misses(), complete = within(miss);
        const damage = rmsOutside(outside, picture.map((value, q) => value - base[q]));
        return {
          weights: Float64Array.from(weights), asked: amount, reached: amount - miss[0],
          kept: keep.map((_, k) => ({ before: values[k + 1], after: values[k + 1] - miss[k + 1] })),
          damage, steps: done, complete,
          note: complete ? "" : stuck ? "No smaller step comes nearer." : `Not all is reached after ${done} steps.`,
        };
      } finally {
        C.setWeights(w0);
      }
    };

    // ------------------------------------------------------------ two synapses, one synapse, one neuron

    /* What one does to the kept property the other takes back: direction (q_t, -q_s), one unit of the moved property. */
    C.compensation = (s, t, move, keep) => {
      if (s === t) refuse("Choose two different weights.");
      const g = C.gradient(move).weights, q = C.gradient(keep).weights;
      const effect = g[s] * q[t] - g[t] * q[s];
      if (!(Math.abs(effect) > 1e-12 * Math.sqrt((g[s] * g[s] + g[t] * g[t]) * (q[s] * q[s] + q[t] * q[t])))) {
        refuse("These two weights move both properties in the same proportion: they cannot part them.");
      }
      const direction = new Float64Array(size);
      direction[s] = q[t] / effect;
      direction[t] = -q[s] / effect;
      const damage = rmsOutside(outsideOf(move), C.pushed(direction));
      return { direction, ratio: direction[t] / direction[s], damage };
    };

    /* The pair of weights of one neuron that moves one property, keeps the other and does the least damage. */
    C.bestPair = (move, keep) => {
      const g = C.gradient(move).weights, q = C.gradient(keep).weights;
      const { keepPixels } = outsideOf(move);
      const sq = squares();
      const list = [];
      for (let p = 0; p < P; p++) if (keepPixels[p]) list.push(p);
      const n = list.length;
      const row = new Float64Array(n);
      let best = null;
      for (let i = 0; i < units; i++) {
        const members = [];
        for (let s = first[i]; s < first[i + 1]; s++) members.push([s, own[reads[s]]]);
        members.push([synapses + i, -1]);
        const value = (a, p) => (a < 0 ? 1 : values[a + p]);
        const cross = (a, b) => {
          let sum = 0;
          for (let k = 0; k < n; k++) sum += row[k] * value(a, list[k]) * value(b, list[k]);
          return sum;
        };
        for (let k = 0; k < n; k++) row[k] = sq[i * P + list[k]];
        const energy = members.map(([, a]) => cross(a, a));
        for (let k = 0; k < members.length; k++) {
          for (let l = 0; l < k; l++) {
            const s = members[k][0], t = members[l][0];
            const effect = g[s] * q[t] - g[t] * q[s];
            if (!(Math.abs(effect) > 1e-9 * Math.sqrt((g[s] * g[s] + g[t] * g[t]) * (q[s] * q[s] + q[t] * q[t])))) continue;
            const a = q[t] / effect, b = -q[s] / effect;
            const damage = Math.sqrt(Math.max(0, a * a * energy[k] + b * b * energy[l] + 2 * a * b * cross(members[k][1], members[l][1])) / (n * channels));
            if (best === null || damage < best.damage) best = { first: s, second: t, unit: i, a, b, damage };
          }
        }
      }
      if (best === null) refuse("No two weights of one neuron part these properties.");
      const direction = new Float64Array(size);
      direction[best.first] = best.a;
      direction[best.second] = best.b;
      return { first: best.first, second: best.second, unit: best.unit, direction, ratio: best.b / best.a, damage: best.damage };
    };

    /* What each unit's sum z takes on the picture, against what inputs in (-1, 1) chosen freely could give it. */
    C.workingRange = (unit) => {
      const a = C.activation(unit);
      let low = Infinity, high = -Infinity, free = 0;
      for (let p = 0; p < P; p++) { low = Math.min(low, a[p]); high = Math.max(high, a[p]); }
      for (let s = first[unit]; s < first[unit + 1]; s++) free += Math.abs(weights[s]);
      const b = weights[synapses + unit];
      return { low, high, freeLow: tanh(b - free), freeHigh: tanh(b + free) };
    };

    // ------------------------------------------------------------ ensembles and their nulls

    /* Of the energy of each map: along the property (for a region: all inside), and beside it, which is damage.
       share = along / (along + beside). Python: synapses/ensembles.py. */
    function effects(prop) {
      const total = C.energies();
      const list = prop.mask ? pixelsOf(prop.mask) : everywhere;
      if (list.length === 0) refuse("The region is empty: paint some pixels.");
      const inside = prop.mask ? energiesAt(list, new Float64Array(size)) : total;
      const left = P - list.length;
      let strength, along;
      if (prop.kind === "region") {
        strength = inside.map(Math.sqrt);
        along = inside;
      } else {
        const toward = C.gradient(prop);
        const norm = dot(toward.seeds, toward.seeds);
        strength = toward.weights;
        along = strength.map((g) => (g * g) / norm);
      }
      const beside = new Float64Array(size), share = new Float64Array(size);
      for (let s = 0; s < size; s++) {
        if (left > 0) beside[s] = Math.max(0, total[s] - inside[s]);
        else beside[s] = prop.kind === "region" ? 0 : Math.max(0, total[s] - along[s]);
        share[s] = along[s] + beside[s] > 0 ? along[s] / (along[s] + beside[s]) : 0;
      }
      return { strength, along, beside, share, inside, total, counted: (left > 0 ? left : P) * channels, area: list.length / P };
    }

    const FLOOR = 1e-3; // in the unit 1 / rms a weight counts if its strength is this share of the largest

    C.ensemble = (prop, { cover = 0.9, unit = "rms" } = {}) => {
      if (!(cover > 0 && cover <= 1)) refuse("The share to cover must lie in (0, 1].");
      const found = effects(prop);
      const { strength, beside, share, inside, total, counted, area } = found;
      const damage = beside.map((energy) => Math.sqrt(energy / counted));
      const control = strength.map((g, s) => (damage[s] > 0 ? Math.abs(g) / damage[s] : g === 0 ? 0 : Infinity));
      const lift = inside.map((energy, s) => (total[s] > 0 ? energy / (total[s] * area) : 0));
      const rms = total.map((energy) => Math.sqrt(energy / (channels * P)));
      let largest = 0;
      for (let s = 0; s < size; s++) largest = Math.max(largest, Math.abs(strength[s]));
      if (!(largest > 0)) refuse(`No weight changes ${nameOf(prop)}.`);
      const scales = {
        one: new Float64Array(size).fill(1),
        weight: weights.map(Math.abs),
        rms: rms.map((value, s) => (value > 0 && Math.abs(strength[s]) >= FLOOR * largest ? 1 / value : 0)),
      };
      const sets = {};
      let order = null, effect = null;
      for (const kind of Object.keys(scales)) {
        const scaled = strength.map((g, s) => Math.abs(g) * scales[kind][s]);
        const falling = Int32Array.from(scaled.keys()).sort((a, b) => scaled[b] - scaled[a] || a - b);
        const whole = dot(scaled, scaled);
        let sum = 0, n = 0;
        while (n < size && sum < cover * whole * (1 - 1e-12)) sum += scaled[falling[n]] * scaled[falling[n++]];
        sets[kind] = falling.slice(0, n);
        if (kind === unit) { order = falling; effect = scaled.map((value) => (whole > 0 ? (value * value) / whole : 0)); }
      }
      if (order === null) refuse(`The unit ${unit} is none of one, weight, rms.`);
      const chosen = sets[unit];
      const perUnit = new Float64Array(units);
      for (let s = 0; s < size; s++) perUnit[targets[s]] += effect[s];
      const runs = [];
      for (const s of Int32Array.from(chosen).sort()) {
        const run = runs[runs.length - 1];
        if (run && run.last === s - 1) run.last = s;
        else runs.push({ first: s, last: s });
      }
      return {
        unit, cover, strength, damage, control, lift, inside, total, share, rms, order, effect, sets, weights: chosen, runs, perUnit,
        units: Int32Array.from(new Set(Array.from(chosen, (s) => targets[s]))).sort(), area,
      };
    };

    /* All places of a region's shape that lie wholly inside the picture, row by row. */
    function placesOf(mask) {
      let top = height, bottom = -1, left = width, right = -1;
      for (let p = 0; p < P; p++) {
        if (!mask[p]) continue;
        const i = Math.floor(p / width), j = p % width;
        top = Math.min(top, i); bottom = Math.max(bottom, i); left = Math.min(left, j); right = Math.max(right, j);
      }
      const across = width - (right - left), down = height - (bottom - top);
      const shape = pixelsOf(mask).map((p) => p - top * width - left);
      const shift = (place) => Math.floor(place / across) * width + (place % across);
      return {
        count: across * down, own: top * across + left, shape,
        pixels: (place) => shape.map((p) => p + shift(place)),
        overlap: (place) => {
          const by = shift(place);
          let sum = 0;
          for (let k = 0; k < shape.length; k++) sum += mask[shape[k] + by] ? 1 : 0;
          return sum / shape.length;
        },
        contrast: (place) => {
          const by = shift(place), n = shape.length;
          let variance = 0;
          for (let c = 0; c < channels; c++) {
            let mean = 0, square = 0;
            for (let k = 0; k < n; k++) mean += picture[c * P + shape[k] + by] / n;
            for (let k = 0; k < n; k++) square += (picture[c * P + shape[k] + by] - mean) ** 2;
            variance += square / n / channels;
          }
          return Math.sqrt(variance);
        },
      };
    }

    /* along and beside at each place that has the property. */
    function atPlaces(prop, places, chosen) {
      const total = C.energies();
      const found = [];
      for (const place of chosen) {
        const list = places.pixels(place);
        const inside = energiesAt(list, new Float64Array(size));
        let along = inside;
        if (prop.kind !== "region") {
          const mask = new Uint8Array(P);
          for (const p of list) mask[p] = 1;
          try {
            const { seeds, weights: g } = C.gradient({ ...prop, mask });
            const norm = Math.max(dot(seeds, seeds), 1e-300);
            along = g.map((x) => (x * x) / norm);
          } catch (error) {
            continue; // there is no such thing there
          }
        }
        found.push({ along, beside: total.map((energy, s) => Math.max(0, energy - inside[s])) });
      }
      return found;
    }

    /* Largest share of one weight, that of the k best together, and which they are; a weight counts from the floor on. */
    function bestShares({ along, beside }, floor, k) {
      const share = along.map((a, s) => (a >= floor && a > 0 ? a / (a + beside[s]) : 0));
      const order = Int32Array.from(share.keys()).sort((a, b) => share[b] - share[a] || a - b).slice(0, k).filter((s) => share[s] > 0);
      return { one: order.length ? share[order[0]] : 0, few: together(order, along, beside), chosen: order };
    }

    function together(set, along, beside) {
      let part = 0, whole = 0;
      for (const s of set) { part += along[s]; whole += along[s] + beside[s]; }
      return whole > 0 ? part / whole : 0;
    }

    /* As many weights that enter as many units, with as many each; the units with most first, as fewest are large enough. */
    function sameUnits(set, random) {
      const members = Array.from({ length: units }, () => []);
      for (let s = 0; s < size; s++) members[targets[s]].push(s);
      const counts = new Map();
      for (const s of set) counts.set(targets[s], (counts.get(targets[s]) || 0) + 1);
      const free = new Set(members.keys());
      const chosen = [];
      for (const needed of [...counts.values()].sort((a, b) => b - a)) {
        const able = [...free].filter((i) => members[i].length >= needed);
        const i = able[Math.floor(random() * able.length)];
        free.delete(i);
        chosen.push(...drawn(members[i], needed, random));
      }
      return chosen;
    }

    /* Whether a region has weights of its own, against other places and random sets: Python's nulls, synapses/nulls.py. */
    C.nulls = (prop, { count = 200, k = 10, level = 0.05, regionsTried = 1, seed = 0 } = {}) => {
      const here = effects(prop);
      if (!here.along.some((a) => a > 0)) refuse(`No weight changes ${nameOf(prop)}.`);
      const random = randomNumbers(seed);
      let reason = "", places = null, apart = [];
      if (here.area >= 1) reason = "it is about the whole picture and cannot be put elsewhere";
      else {
        places = placesOf(prop.mask);
        for (let place = 0; place < places.count; place++) if (places.overlap(place) <= 0.5) apart.push(place);
        if (apart.length < 19) reason = `${apart.length} of ${places.count} places overlap the region by less than half, 19 are needed`;
      }
      let shifted = [], alike = [];
      if (!reason) {
        const others = Array.from({ length: places.count }, (_, place) => place).filter((place) => place !== places.own);
        shifted = atPlaces(prop, places, drawn(others, Math.min(count, others.length), random));
        const contrast = new Map(apart.map((place) => [place, places.contrast(place)]));
        const own = places.contrast(places.own);
        apart.sort((a, b) => contrast.get(a) - contrast.get(b) || a - b);
        const pool = Math.min(Math.max(40, Math.floor(0.1 * apart.length)), apart.length);
        const middle = apart.filter((place) => contrast.get(place) < own).length;
        const start = Math.min(Math.max(middle - Math.floor(pool / 2), 0), apart.length - pool);
        alike = atPlaces(prop, places, drawn(apart.slice(start, start + pool), Math.min(count, pool), random));
      }
      let largest = 0;
      for (const { along } of [here, ...shifted, ...alike]) for (let s = 0; s < size; s++) largest = Math.max(largest, along[s]);
      const floor = FLOOR * FLOOR * largest;
      const best = bestShares(here, floor, k);
      const row = (kind, observed, values, why) => {
        const sorted = Float64Array.from(values).sort();
        const n = sorted.length;
        const reached = sorted.filter((value) => value >= observed).length;
        const at = (q) => {
          const place = q * (n - 1), low = Math.floor(place);
          return n ? sorted[low] + (place - low) * (sorted[Math.min(low + 1, n - 1)] - sorted[low]) : NaN;
        };
        const unknown = why || (n ? "" : "the property exists at no other place");
        return { kind, observed, values: sorted, reached, count: n, p: unknown ? NaN : (1 + reached) / (1 + n), low: at(0.05), median: at(0.5), high: at(0.95), reason: unknown };
      };
      const rows = [
        row("shift", best.one, shifted.map((place) => bestShares(place, floor, 1).one), reason),
        row("contrast", best.one, alike.map((place) => bestShares(place, floor, 1).one), reason),
      ];
      const n = best.chosen.length;
      if (n) {
        const all = Array.from({ length: size }, (_, s) => s);
        const sets = (draw) => Array.from({ length: count }, () => together(draw(), here.along, here.beside));
        rows.push(row("random", best.few, sets(() => drawn(all, n, random)), ""));
        rows.push(row("random", best.few, sets(() => sameUnits(best.chosen, random)), ""));
      }
      const corrected = (p) => (p < 1 ? -Math.expm1(regionsTried * Math.log1p(-p)) : 1);
      const shift = rows[0];
      const sum = here.along.reduce((total, a) => total + a, 0);
      const found = {
        share: best.one, weight: n ? best.chosen[0] : -1, weights: best.chosen, carried: n ? here.along[best.chosen[0]] / sum : 0,
        shares: shift.values, p: shift.p, corrected: corrected(shift.p), low: shift.low, median: shift.median, high: shift.high, rows, reason,
      };
      return { ...found, ...verdict(found, level, regionsTried, corrected) };
    };

    function verdict({ weight, share, carried, rows }, level, tried, corrected) {
      if (weight < 0) return { certified: false, verdict: "Not certified: no weight that counts changes the property here." };
      const number = (x) => String(Number(x.toPrecision(2)));
      const names = { shift: "other places", contrast: "places of equal contrast", random: "random sets" };
      const named = (list) => [...new Set(list.map((row) => names[row.kind]))].join(" and ");
      const compared = rows.filter((row) => row.kind !== "random" && !row.reason).map((row) => `${row.reached} of ${row.count} ${names[row.kind]} reach that`);
      const best = `The best weight (${W.name(weight)}) has the share ${share.toFixed(2)} and carries ${number(100 * carried)} % of what all weights do to it.`;
      const told = ` ${best}${compared.length ? ` ${compared.join("; ")}.` : ""}`;
      const lost = rows.filter((row) => row.p > level);
      if (lost.length) return { certified: false, verdict: `Not certified against ${named(lost)}.${told}` };
      const unknown = rows.find((row) => row.reason);
      if (unknown) return { certified: null, verdict: `Not determined against ${named([unknown])}: ${unknown.reason}.${told}` };
      const p = corrected(rows[0].p), smallest = corrected(1 / (1 + rows[0].count));
      const regions = tried === 1 ? "1 region" : `${tried} regions`;
      if (p <= level) return { certified: true, verdict: `Certified, p = ${number(p)} after ${regions} tried.${told}` };
      if (smallest > level) {
        const needed = Math.ceil(-1 / Math.expm1(Math.log1p(-level) / tried) - 1);
        return {
          certified: null,
          verdict: `Not determined: only ${rows[0].count} places, whose smallest p after ${regions} tried is ${number(smallest)}; at least ${needed} are needed.${told}`,
        };
      }
      return { certified: false, verdict: `Not certified after ${regions} tried, p = ${number(p)}.${told}` };
    }

    /* Largest change to either side over which the effect of a weight stays linear to `tolerance`, as Python's linear_range. */
    C.linearRange = (s, prop = null, tolerance = 0.2) => {
      const J = C.map(s);
      const g = prop === null ? 0 : C.gradient(prop).weights[s];
      const a = new Float64Array(channels * P), b = new Float64Array(channels * P);
      const norm = prop === null ? Math.sqrt(dot(J, J)) : Math.abs(g);
      if (!(norm > 0)) return { low: -Infinity, high: Infinity, size: Infinity };
      const off = (d) => {
        C.pictureWith(s, weights[s] + d, a);
        C.pictureWith(s, weights[s] - d, b);
        if (prop !== null) return Math.abs((evaluate(prop, a, null) - evaluate(prop, b, null)) / (2 * d) - g) / norm;
        let sum = 0;
        for (let q = 0; q < a.length; q++) { const x = (a[q] - b[q]) / (2 * d) - J[q]; sum += x * x; }
        return Math.sqrt(sum) / norm;
      };
      let low = 0, high = 0.05;
      while (high > 1e-6 && off(high) > tolerance) high /= 4;
      if (high > 1e-6) {
        for (low = high, high *= 2; high < 100 && off(high) <= tolerance; high *= 2) low = high;
        if (high >= 100) low = high = 100;
        while (high > 1.01 * low) {
          const middle = Math.sqrt(low * high);
          if (off(middle) <= tolerance) low = middle;
          else high = middle;
        }
      }
      return { low: weights[s] - low, high: weights[s] + low, size: low };
    };

    // ------------------------------------------------------------ few weights

    /* As the programme, with `count` weights: each next one lessens damage and misses most; then least damage among them. */
    C.sparse = ({ move, keep = [], count = 8, damping = DAMPING }) => {
      const props = [move, ...keep], rows = props.map((prop) => C.gradient(prop).weights);
      rows.forEach((g, k) => touches(props[k], g, k ? "kept" : "moved"));
      if (!(count > keep.length && count <= size)) refuse(`${count} weights cannot move one property and keep ${keep.length}.`);
      const outside = outsideOf(move), lambda = damping * meanSquare() * outside.count;
      const drop = outside.along ? C.pulledBack(outside.along) : new Float64Array(size);
      const list = Array.from(outside.keepPixels.keys()).filter((p) => outside.keepPixels[p]);
      const harm = energiesAt(list, new Float64Array(size)).map((e, s) => Math.max(0, e - drop[s] * drop[s]) + lambda);
      // A miss costs its square times this: a hundred times the least damage of one weight, in units of the moved property.
      const least = harm.reduce((low, e, s) => (rows[0][s] === 0 ? low : Math.min(low, e / (rows[0][s] * rows[0][s]))), Infinity);
      const weigh = rows.map((g) => (100 * least * dot(rows[0], rows[0])) / dot(g, g));
      const chosen = [], maps = [], gram = [];
      const direction = new Float64Array(size), back = new Float64Array(size);
      while (chosen.length < count) {
        const next = nextWeight(chosen, rows, weigh, harm, direction, back);
        if (next < 0) break;
        const map = damaging(outside, C.map(next));
        chosen.push(next);
        maps.push(map);
        gram.push(maps.map((other) => dot(other, map)));
        const x = leastSquares(gram, chosen, rows, weigh, lambda);
        chosen.forEach((s, k) => { direction[s] = x[k]; });
        if (chosen.length === count) break;
        normalProduct(direction, outside.keepPixels, back);
        const part = dot(drop, direction);
        for (let s = 0; s < size; s++) back[s] -= part * drop[s];
      }
      const factor = cholesky(dense(gram, lambda), chosen.length);
      const picked = rows.map((g) => Float64Array.from(chosen, (s) => g[s]));
      const columns = picked.map((g) => substitute(factor, chosen.length, g, new Float64Array(chosen.length)));
      const y = small(picked.map((g) => columns.map((x) => dot(g, x))), rows.map((_, k) => (k === 0 ? 1 : 0)), props);
      chosen.forEach((s, l) => { direction[s] = columns.reduce((sum, x, k) => sum + y[k] * x[l], 0); });
      return { direction, weights: Int32Array.from(chosen), damage: rmsOutside(outside, C.pushed(direction)) };
    };

    /* The weight that lessens damage and misses most, or -1. */
    function nextWeight(chosen, rows, weigh, harm, direction, back) {
      const miss = rows.map((g, k) => (k === 0 ? 1 : 0) - dot(g, direction));
      let best = -1, gain = 0;
      for (let s = 0; s < size; s++) {
        if (chosen.includes(s)) continue;
        let slope = -back[s], curve = harm[s];
        rows.forEach((g, k) => { slope += weigh[k] * g[s] * miss[k]; curve += weigh[k] * g[s] * g[s]; });
        if ((slope * slope) / curve > gain) [best, gain] = [s, (slope * slope) / curve];
      }
      return best;
    }

    function dense(gram, lambda) {
      const n = gram.length, M = new Float64Array(n * n);
      for (let k = 0; k < n; k++) for (let l = 0; l <= k; l++) M[k * n + l] = M[l * n + k] = gram[k][l] + (k === l ? lambda : 0);
      return M;
    }

    /* Changes of the chosen weights with the least damage and weighed misses. */
    function leastSquares(gram, chosen, rows, weigh, lambda) {
      const n = chosen.length, M = dense(gram, lambda);
      rows.forEach((g, r) => chosen.forEach((s, k) => chosen.forEach((u, l) => { M[k * n + l] += weigh[r] * g[s] * g[u]; })));
      return substitute(cholesky(M, n), n, chosen.map((s) => weigh[0] * rows[0][s]), new Float64Array(n));
    }

    C.setWeights(weights);
    return C;
  }

  // ---------------------------------------------------------------- algebra

  const SAMPLE = 4096; // most pixels of which the preconditioner is made
  const DAMPING = 1e-5; // of the programme, as in Python's edit: ridge / mean(rms^2)

  function dot(a, b) {
    let sum = 0;
    for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
    return sum;
  }

  /* Lower factor in place, row by row. */
  function cholesky(A, n) {
    for (let i = 0; i < n; i++) {
      const a = i * n;
      for (let j = 0; j <= i; j++) {
        const b = j * n;
        let s0 = A[a + j], s1 = 0, s2 = 0, s3 = 0;
        let k = 0;
        for (; k + 4 <= j; k += 4) {
          s0 -= A[a + k] * A[b + k]; s1 -= A[a + k + 1] * A[b + k + 1];
          s2 -= A[a + k + 2] * A[b + k + 2]; s3 -= A[a + k + 3] * A[b + k + 3];
        }
        for (; k < j; k++) s0 -= A[a + k] * A[b + k];
        const sum = s0 + s1 + (s2 + s3);
        if (j < i) A[a + j] = sum / A[b + j];
        else if (sum > 0) A[a + j] = Math.sqrt(sum);
        else refuse("The programme has no solution here: the maps of the weights are too alike. Raise the damping.");
      }
    }
    return A;
  }

  function substitute(L, n, b, x) {
    for (let i = 0; i < n; i++) {
      let sum = b[i];
      for (let k = 0, a = i * n; k < i; k++, a++) sum -= L[a] * x[k];
      x[i] = sum / L[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      const value = (x[i] /= L[i * n + i]);
      for (let k = 0, a = i * n; k < i; k++, a++) x[k] -= L[a] * value;
    }
    return x;
  }

  /* Numbers in [0, 1) that follow from a seed (mulberry32). */
  function randomNumbers(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  /* So many of a list, without replacement. */
  function drawn(list, count, random) {
    const left = Array.from(list);
    for (let k = 0; k < count; k++) {
      const other = k + Math.floor(random() * (left.length - k));
      [left[k], left[other]] = [left[other], left[k]];
    }
    return left.slice(0, count);
  }

  function hashOf(array) {
    let hash = 2166136261;
    for (let k = 0; k < array.length; k++) hash = Math.imul(hash ^ array[k], 16777619);
    return `${array.length}:${hash >>> 0}`;
  }

  function keyOf(prop) {
    return JSON.stringify({ ...prop, name: "", mask: prop.mask ? hashOf(prop.mask) : null });
  }

  function nameOf(prop) {
    return prop.name || prop.kind;
  }

  const PROPERTIES = [
    { kind: "mean", title: "Mean colour", needs: ["mask", "channel"], unit: "", span: 0.3 },
    { kind: "balance", title: "Colour balance", needs: ["mask", "channel"], unit: "", span: 0.3 },
    { kind: "energy", title: "Region energy", needs: ["mask"], unit: "", span: 0.2 },
    { kind: "area", title: "Area of bright parts", needs: ["mask", "objects"], unit: "of the picture", span: 0.05 },
    { kind: "centroid", title: "Centre", needs: ["mask", "axis", "objects"], unit: "", span: 0.1 },
    { kind: "tilt", title: "Tilt", needs: ["mask", "objects"], unit: "rad", span: 0.2 },
    { kind: "width", title: "Width", needs: ["mask", "axis", "objects"], unit: "", span: 0.1 },
    { kind: "region", title: "Everything in the region", needs: ["mask"], unit: "", span: 0 },
  ];

  // ---------------------------------------------------------------- away from the page's thread

  /* What runs in the worker: one network, told which weights to use with every request. */
  function serve(C, { method, args, weights }) {
    if (typeof C[method] !== "function") refuse(`There is no ${method}.`);
    if (weights) C.setWeights(weights);
    return C[method](...args);
  }

  function assistant(dict, height, width, points = null) {
    const plain = { ...dict, weights: Array.from(dict.weights) };
    let worker = null, home = null, current = null, number = 0, stopped = false;
    const waiting = [];
    const A = { local: false };

    function answer(done, failed, result) {
      const job = current;
      current = null;
      if (job) (failed ? job.reject(Object.assign(new Error(failed), { dropped: false })) : job.resolve(result));
      next();
    }

    function workHere() {
      A.local = true;
      worker = null;
      if (current) { waiting.unshift(current); current = null; }
      next();
    }

    function next() {
      if (current || stopped || !waiting.length) return;
      current = waiting.shift();
      const { method, args, weights } = current;
      current.number = ++number;
      if (worker) worker.postMessage({ number, method, args, weights });
      else {
        setTimeout(() => {
          try {
            home = home || canvas(plain, height, width, points);
            const result = serve(home, { method, args, weights });
            answer(true, null, result);
          } catch (error) {
            answer(true, error.message);
          }
        }, 0);
      }
    }

    A.call = (method, args = [], { weights = null, slot = method } = {}) =>
      new Promise((resolve, reject) => {
        for (let k = waiting.length - 1; k >= 0; k--) {
          if (waiting[k].slot !== slot) continue;
          waiting[k].reject(Object.assign(new Error("A newer request took its place."), { dropped: true }));
          waiting.splice(k, 1);
        }
        waiting.push({ method, args, weights: weights ? Float64Array.from(weights) : null, slot, resolve, reject });
        next();
      });

    A.stop = () => {
      stopped = true;
      if (worker) worker.terminate();
      for (const job of [current, ...waiting]) if (job) job.reject(Object.assign(new Error("Stopped."), { dropped: true }));
      waiting.length = 0;
      current = null;
    };

    try {
      const source = `"use strict";
const E = (${phasescopeEngine})();
let C = null;
onmessage = ({ data }) => {
  if (data.start) { C = E.canvas(...data.start); postMessage({ ready: true }); return; }
  try { postMessage({ number: data.number, result: E.serve(C, data) }); }
  catch (error) { postMessage({ number: data.number, error: error.message }); }
};`;
      const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      worker = new Worker(address);
      worker.onmessage = ({ data }) => {
        if (data.ready) URL.revokeObjectURL(address);
        else if (current && data.number === current.number) answer(true, data.error, data.result);
      };
      worker.onerror = workHere;
      worker.postMessage({ start: [plain, height, width, points] });
    } catch (error) {
      workHere();
    }
    return A;
  }

  return {
    checkNetwork, wiring, tanh, toBytes, fromBytes, differenceBytes, mapBytes, activationBytes, rmse, pack, unpack, grid, canvas,
    PROPERTIES, serve, assistant,
  };
}
if (typeof module !== "undefined") module.exports = phasescopeEngine;
