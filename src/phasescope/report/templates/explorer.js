/* The explorer page: what one sees and does. The numerics are in explorer-engine.js. */
(() => {
  "use strict";

  // ---------------------------------------------------------------- 1. What the page holds
  const $ = (id) => document.getElementById(id);
  const E = phasescopeEngine();
  const DATA = JSON.parse($("explorer-data").textContent);
  const { height: HEIGHT, width: WIDTH } = DATA;
  const PIXELS = HEIGHT * WIDTH;
  const CALM = matchMedia("(prefers-reduced-motion: reduce)");
  const COLOURS = ["red", "green", "blue"];
  const PROPERTIES = [
    { kind: "mean", title: "brightness", digits: 3 },
    ...COLOURS.map((title, channel) => ({ kind: "balance", channel, title: `${title} balance`, digits: 3 })),
    { kind: "area", title: "area", digits: 3 },
    { kind: "centroid", axis: "x", title: "centre, x", digits: 3 },
    { kind: "centroid", axis: "y", title: "centre, y", digits: 3 },
    { kind: "width", axis: "x", title: "width", digits: 3 },
    { kind: "width", axis: "y", title: "height", digits: 3 },
    { kind: "tilt", title: "tilt", digits: 1, scale: 180 / Math.PI, unit: "°" },
  ];
  const SPAN = { mean: 0.2, balance: 0.2, area: 0.1, centroid: 0.15, width: 0.15, tilt: 0.35 };

  // C paints; three workers compute: what is wanted at once, nulls, edits. S is what undo, links and files are about.
  let C, quick, slow, solver;
  const S = { dict: DATA.net, original: E.unpack(DATA.original), mask: null, chosen: 0 };
  const view = { third: "change", tool: "brush", pointed: null, unitPointed: null };
  let trained, trainedPicture; // weights as they came, and their picture
  let found = null; // the ensemble on show

  // ---------------------------------------------------------------- 2. Small helpers
  const el = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };
  const svg = (name, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };
  const minus = (text) => text.replace("-", "−");
  const fixed = (x, digits = 3) => (Number.isFinite(x) ? minus(x.toFixed(digits)) : "–");
  const brief = (x) => (Number.isFinite(x) ? minus(String(Number(x.toPrecision(3)))) : "–");
  const percent = (x) => `${(100 * x).toFixed(x > 0 && x < 0.0995 ? 1 : 0)} %`;
  const say = (text) => { $("say").textContent = text; };
  const clamp = (x, low, high) => Math.min(high, Math.max(low, x));
  const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
  const quietly = (error) => { if (!error || !error.dropped) notice(error ? error.message : "This did not work."); };

  function notice(text) {
    $("notice").textContent = text;
    $("notice").hidden = !text;
  }

  const images = new WeakMap();
  // Fills a canvas of the picture's size with what `fill` writes into its bytes.
  function paint(canvas, fill) {
    if (!images.has(canvas)) {
      const context = canvas.getContext("2d");
      images.set(canvas, { context, image: context.createImageData(canvas.width, canvas.height) });
    }
    const { context, image } = images.get(canvas);
    fill(image.data);
    context.putImageData(image, 0, 0);
  }

  const showOriginal = () => paint($("original"), (bytes) => E.toBytes(S.original, bytes, PIXELS));

  // A power of two that makes a difference plain to see without clipping much of it.
  function gainOf(a, b) {
    let sum = 0;
    for (let i = 0; i < a.length; i++) sum += (b ? a[i] - b[i] : a[i]) ** 2;
    return sum > 0 ? clamp(2 ** Math.floor(Math.log2(0.4 / Math.sqrt(sum / a.length))), 2 ** -10, 64) : 1;
  }

  // ---------------------------------------------------------------- 3. One frame
  const waiting = new Map(); // weights that a drag has moved since the last frame
  let due = false, wholeChange = null;

  function request() {
    if (due) return;
    due = true;
    requestAnimationFrame(frame);
  }

  function flush() {
    if (wholeChange) C.setWeights(wholeChange);
    wholeChange = null;
    for (const [weight, value] of waiting) C.setWeight(weight, value);
    waiting.clear();
  }

  function frame() {
    due = false;
    flush();
    drawPictures();
    drawThumbs();
    showNumbers();
  }

  function drawPictures() {
    paint($("picture"), (bytes) => E.toBytes(C.picture, bytes, PIXELS));
    const from = view.third === "change" ? trainedPicture : S.original;
    const gain = view.third === "change" ? changeGain(from) : 1;
    paint($("difference"), (bytes) => E.differenceBytes(C.picture, from, bytes, PIXELS, gain));
    $("gain").textContent = brief(gain);
    if ($("mini").classList.contains("shown")) $("mini").getContext("2d").drawImage($("picture"), 0, 0);
  }

  // On a small screen the picture stays in a corner once it is scrolled away.
  function startMini() {
    new IntersectionObserver(([{ isIntersecting }]) => {
      $("mini").classList.toggle("shown", !isIntersecting);
      request();
    }).observe($("picture"));
  }

  // During a drag the gain only falls, and rises where it is far too small: a picture whose scale jumps cannot be read.
  let lastGain = Infinity;
  function changeGain(from) {
    const wanted = gainOf(C.picture, from);
    if (wanted < lastGain || wanted > 4 * lastGain) lastGain = wanted;
    return lastGain;
  }

  function showNumbers() {
    $("rmse").textContent = fixed(E.rmse(C.picture, S.original), 4);
    showWeight();
    showValues();
  }

  function moveWeight(weight, value) {
    waiting.set(weight, Math.fround(value));
    request();
  }

  function moveAll(weights) {
    wholeChange = Float64Array.from(weights, Math.fround);
    for (let i = 0; i < wholeChange.length; i++) if (weights[i] === trained[i]) wholeChange[i] = trained[i];
    waiting.clear();
    request();
  }

  // ---------------------------------------------------------------- 4. Undo, redo, reset
  const past = [], future = [];
  let before = null; // the state before a drag that is still going on

  const snapshot = () => {
    flush();
    return { ...S, mask: S.mask && S.mask.slice(), weights: C.weights.slice() };
  };
  function begin() {
    stopSwing();
    if (job) [job] = [null, commit()];
    before ??= snapshot();
  }

  function commit(text) {
    if (!before) return;
    const unchanged = same(before.weights, snapshot().weights) && before.mask === null === (S.mask === null)
      && (!S.mask || same(before.mask, S.mask)) && before.original === S.original && before.dict === S.dict;
    if (!unchanged) {
      past.push(before);
      if (past.length > 300) past.shift();
      future.length = 0;
      if (text) say(text);
    }
    before = null;
    settled();
  }

  function restore(state) {
    const other = state.dict !== S.dict;
    Object.assign(S, { dict: state.dict, original: state.original, mask: state.mask, chosen: state.chosen });
    if (other) load(state.dict);
    C.setWeights(state.weights);
    waiting.clear();
    wholeChange = null;
    showOriginal();
    $("where").value = S.mask ? "region" : "whole";
    choose(S.chosen);
    drawRegion();
    frame();
    settled();
  }

  function step(from, to, text) {
    stopSwing();
    if (job) [job] = [null, commit()];
    if (!from.length) return;
    to.push(snapshot());
    restore(from.pop());
    say(text);
  }

  function reset() {
    begin();
    moveAll(trained);
    S.mask = null;
    $("where").value = "whole";
    frame();
    drawRegion();
    setSlider();
    commit("Everything is as it was trained.");
  }

  // What follows a change that is complete: the ensemble, the arcs, the link, the buttons.
  function settled() {
    $("undo").disabled = !past.length;
    $("redo").disabled = !future.length;
    $("reset").disabled = same(C.weights, trained) && !S.mask;
    lastGain = Infinity;
    request();
    styleArcs();
    closeup();
    ranges.clear();
    askRange();
    resetSliders();
    findEnsemble();
    setTimeout(keepLink, 0);
  }

  // ---------------------------------------------------------------- 5. The chosen weight and its slider
  const isBias = (weight) => weight >= C.wiring.synapses;
  const ranges = new Map(); // linear ranges at the present other weights

  function choose(weight, { announce = false } = {}) {
    S.chosen = clamp(Math.round(weight) || 0, 0, C.wiring.size - 1);
    $("number").value = S.chosen;
    $("kind").textContent = isBias(S.chosen) ? "bias" : "synapse";
    $("way").textContent = wayOf(S.chosen);
    if (reach.weight !== S.chosen) Object.assign(reach, { weight: S.chosen, half: visible(S.chosen, 0.25) });
    setSlider();
    markChosen();
    closeup();
    askRange();
    if (announce) say(`${C.wiring.name(S.chosen)}, ${fixed(C.weights[S.chosen])}`);
  }

  const wayOf = (weight) => (isBias(weight) ? `of ${unitName(C.wiring.targets[weight])}`
    : `${sourceName(C.wiring.reads[weight])} → ${unitName(C.wiring.targets[weight])}`);
  const sourceName = (value) => (value < C.wiring.inputs ? `input ${"xy"[value]}` : unitName(value - C.wiring.inputs));
  function unitName(unit) {
    const output = C.wiring.outputs.indexOf(unit);
    return output < 0 ? `neuron ${unit}` : `neuron ${unit} (${COLOURS[output]})`;
  }

  const reach = { weight: -1, half: 1 };

  // The slider reaches well beyond the linear range, where other things move too.
  function setSlider(range = ranges.get(S.chosen)) {
    const home = trained[S.chosen], now = C.weights[S.chosen];
    const half = Math.max(reach.half, range ? 2 * Math.min(range.size, 3) : 0);
    const low = Math.min(home - half, now), high = Math.max(home + half, now), slider = $("slider");
    Object.assign(slider, { min: low, max: high, value: now });
    const place = (x) => `${clamp(100 * (x - low) / (high - low), 0, 100)}%`;
    slider.style.setProperty("--home", place(home));
    slider.style.setProperty("--low", range ? place(range.low) : "0%");
    slider.style.setProperty("--high", range ? place(range.high) : "0%");
    $("low").textContent = fixed(low);
    $("high").textContent = fixed(high);
    $("range-said").textContent = range && Number.isFinite(range.size)
      ? `shaded: ${$("about").value === "region" ? "the picture" : PROPERTIES[$("about").value].title} changes in proportion, ${fixed(range.low)} to ${fixed(range.high)}` : "";
    showWeight();
  }

  function showWeight() {
    const now = C.weights[S.chosen], home = trained[S.chosen];
    $("weight").textContent = fixed(now);
    $("home").textContent = now === home ? "as trained" : `trained ${fixed(home)}`;
    if (document.activeElement !== $("slider") || swing) $("slider").value = now;
    $("slider").setAttribute("aria-valuetext", fixed(now));
  }

  async function askRange() {
    const weight = S.chosen, at = C.weights.slice(), property = asked();
    at[weight] = trained[weight];
    try {
      const range = await quick.call("linearRange", [weight, property && property.kind !== "region" ? property : null], { weights: at, slot: "range" });
      ranges.set(weight, range);
      if (weight === S.chosen && !before) setSlider(range);
    } catch (error) { quietly(error); }
  }

  function startDial() {
    $("slider").addEventListener("input", () => { begin(); moveWeight(S.chosen, Number($("slider").value)); });
    $("slider").addEventListener("change", () => commit(`${C.wiring.name(S.chosen)} is ${fixed(C.weights[S.chosen])}`));
    $("number").addEventListener("change", () => { stopSwing(); choose(Number($("number").value)); });
    $("before").addEventListener("click", () => { stopSwing(); choose((S.chosen || C.wiring.size) - 1, { announce: true }); });
    $("after").addEventListener("click", () => { stopSwing(); choose((S.chosen + 1) % C.wiring.size, { announce: true }); });
    $("undo").addEventListener("click", () => step(past, future, "Undone."));
    $("redo").addEventListener("click", () => step(future, past, "Done again."));
    $("reset").addEventListener("click", reset);
    document.addEventListener("keydown", (event) => {
      if (!(event.ctrlKey || event.metaKey) || event.target.closest("textarea, input[type=number]")) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault();
      if (key === "y" || event.shiftKey) step(future, past, "Done again.");
      else step(past, future, "Undone.");
    });
  }

  // ---------------------------------------------------------------- 6. A gentle swing, and its end
  let swing = null;

  // Moves weights to and fro by `moves` ([weight, amount]) and puts them back; resolves when done or stopped.
  function swingBy(moves, { seconds = 2.6, turns = 1 } = {}) {
    stopSwing();
    if (CALM.matches) return Promise.resolve(leap(moves));
    const home = moves.map(([weight]) => C.weights[weight]), start = performance.now();
    return new Promise((resolve) => {
      swing = { moves, home, resolve };
      const tick = (now) => {
        if (!swing || swing.resolve !== resolve) return;
        const part = clamp((now - start) / (1000 * seconds), 0, 1);
        const height = part < 1 ? Math.sin(2 * Math.PI * turns * part) : 0;
        moves.forEach(([weight, amount], i) => waiting.set(weight, home[i] + amount * height));
        if (part >= 1) return stopSwing(true);
        request();
        requestAnimationFrame(tick);
      };
      requestAnimationFrame(tick);
    });
  }

  // Without motion the weights simply stand at the far end, until undone or until the tour goes on.
  function leap(moves) {
    begin();
    for (const [weight, amount] of moves) waiting.set(weight, Math.fround(C.weights[weight] + amount));
    frame();
    commit("");
    tour.left = past.length;
    return true;
  }

  function stopSwing(finished = false) {
    if (!swing) return;
    const { moves, home, resolve } = swing;
    swing = null;
    moves.forEach(([weight], i) => waiting.set(weight, home[i]));
    frame();
    resolve(finished);
  }

  // The amount of a weight at which the picture changes visibly: rms about `target`.
  function visible(weight, target = 0.09) {
    const scratch = new Float64Array(C.picture.length), here = C.weights[weight], map = C.map(weight);
    let amount = target * Math.sqrt(map.length / map.reduce((sum, x) => sum + x * x, 1e-300));
    for (let i = 0; i < 3; i++) {
      const change = E.rmse(C.pictureWith(weight, here + amount, scratch), C.picture);
      amount *= clamp(target / (change || 1e-300), 0.25, 4);
    }
    return Math.min(amount, 20);
  }

  // ---------------------------------------------------------------- 7. The drawing of the wiring
  const WIDE = 1200, TOP = 172, THUMB = 22, BELOW = 64, BARS = 34;
  const AXIS = TOP + THUMB / 2;
  let drawing = null;

  function buildWiring() {
    const w = C.wiring, count = w.inputs + w.units, stepX = WIDE / (count + 1.2);
    const place = new Float64Array(count);
    for (let v = 0; v < w.inputs; v++) place[v] = (v + 0.75) * stepX;
    const outputs = new Set(w.outputs);
    [...w.order].sort((a, b) => outputs.has(a) - outputs.has(b)).forEach((unit, i) => {
      place[w.inputs + unit] = (w.inputs + i + 1 + (outputs.has(unit) ? 0.4 : 0)) * stepX;
    });
    const height = TOP + THUMB + BELOW + BARS;
    const root = svg("svg", { viewBox: `0 0 ${WIDE} ${height}`, tabindex: 0, role: "application", "aria-roledescription": "drawing of the wiring" });
    drawing = { root, place, stepX, height, arcs: arcsOf(place), paths: [], units: [], bars: [], biases: [] };
    for (const arc of drawing.arcs) drawing.paths.push(root.appendChild(svg("path", { d: arc.d, class: "arc" })));
    for (let unit = 0; unit < w.units; unit++) addUnit(unit, outputs.has(unit));
    for (let v = 0; v < w.inputs; v++) root.append(svg("text", { x: place[v], y: TOP + THUMB + 12 }, "xy"[v] ?? String(v)));
    const old = $("drawing").querySelector("svg");
    if (old) old.remove();
    $("drawing").prepend(root);
    listenWiring(root);
    sizeThumbs();
  }

  function addUnit(unit, isOutput) {
    const { root, place, stepX } = drawing, x = place[C.wiring.inputs + unit], half = stepX * 0.46;
    drawing.units.push(root.appendChild(svg("rect", { x: x - half, y: TOP, width: 2 * half, height: THUMB, rx: 2, class: "unit" })));
    drawing.bars.push(root.appendChild(svg("rect", { x: x - half, y: drawing.height, width: 2 * half, height: 0, class: "bar" })));
    const name = isOutput ? "RGB"[C.wiring.outputs.indexOf(unit)] ?? "" : String(unit);
    root.append(svg("text", { x, y: TOP + THUMB + 12 }, name));
  }

  // Synapses between neurons above, those from the inputs below; half ellipses from source to target.
  function arcsOf(place) {
    const w = C.wiring, spans = [1, 1], arcs = [];
    for (let s = 0; s < w.synapses; s++) {
      const below = w.reads[s] < w.inputs;
      const from = place[w.reads[s]], to = place[w.inputs + w.targets[s]];
      arcs.push({ below, centre: (from + to) / 2, rx: Math.abs(to - from) / 2, sweep: to > from ? 1 : 0, from, to });
      spans[Number(below)] = Math.max(spans[Number(below)], Math.abs(to - from) / 2);
    }
    for (const arc of arcs) {
      const room = arc.below ? BELOW - 14 : TOP - 6, widest = spans[Number(arc.below)];
      arc.ry = Math.max(5, widest > room ? arc.rx * room / widest : arc.rx);
      arc.y = arc.below ? TOP + THUMB + 14 : TOP - 1;
      const sweep = arc.below ? 1 - arc.sweep : arc.sweep;
      arc.d = `M${arc.from.toFixed(1)} ${arc.y}A${arc.rx.toFixed(1)} ${arc.ry.toFixed(1)} 0 0 ${sweep} ${arc.to.toFixed(1)} ${arc.y}`;
    }
    return arcs;
  }

  function styleArcs() {
    const w = C.weights, strength = new Float64Array(C.wiring.synapses);
    let largest = 0;
    for (let s = 0; s < strength.length; s++) largest = Math.max(largest, strength[s] = Math.abs(w[s]));
    drawing.paths.forEach((path, s) => {
      const part = Math.sqrt(strength[s] / (largest || 1));
      path.style.strokeWidth = `${(0.4 + 2 * part).toFixed(2)}px`;
      path.style.strokeOpacity = (0.1 + 0.6 * part).toFixed(2);
      path.classList.toggle("minus", w[s] < 0);
    });
  }

  function markChosen() {
    if (!drawing) return;
    drawing.paths.forEach((path, s) => path.classList.toggle("chosen", s === S.chosen));
    if (!isBias(S.chosen)) drawing.root.append(drawing.paths[S.chosen]);
    const unit = C.wiring.targets[S.chosen];
    drawing.units.forEach((rect, i) => rect.classList.toggle("chosen", i === unit));
    drawing.root.setAttribute("aria-label", `Wiring, ${C.wiring.units} neurons and ${C.wiring.synapses} synapses. `
      + `Chosen: ${C.wiring.name(S.chosen)}. Left and right arrows: other synapses of this neuron; up and down: other neurons.`);
  }

  // Small pictures of what each unit does, in place of the dots of the usual drawing.
  const small = { rows: 0, columns: 0, image: null, buffer: document.createElement("canvas") };
  function sizeThumbs() {
    const canvas = $("thumbs"), scale = Math.min(2, devicePixelRatio || 1);
    canvas.style.top = `${100 * TOP / drawing.height}%`;
    canvas.style.height = `${100 * THUMB / drawing.height}%`;
    canvas.width = Math.round(WIDE * scale);
    canvas.height = Math.round(THUMB * scale);
    const skip = Math.max(1, Math.round(Math.min(HEIGHT / 24, WIDTH / 36)));
    small.rows = Math.ceil(HEIGHT / skip);
    small.columns = Math.ceil(WIDTH / skip);
    small.skip = skip;
    Object.assign(small.buffer, { width: small.columns, height: small.rows });
    small.image = small.buffer.getContext("2d").createImageData(small.columns, small.rows);
  }

  function drawThumbs() {
    const canvas = $("thumbs"), context = canvas.getContext("2d"), scale = canvas.width / WIDE, w = C.wiring;
    const half = drawing.stepX * 0.46;
    for (let v = 0; v < w.inputs + w.units; v++) {
      fillThumb(v);
      small.buffer.getContext("2d").putImageData(small.image, 0, 0);
      context.drawImage(small.buffer, (drawing.place[v] - half) * scale, 0, 2 * half * scale, canvas.height);
    }
  }

  function fillThumb(value) {
    const { rows, columns, skip, image } = small, unit = value - C.wiring.inputs, bytes = image.data;
    const row = unit < 0 ? null : C.activation(unit), tint = C.wiring.outputs.indexOf(unit);
    for (let i = 0, k = 0; i < rows; i++) for (let j = 0; j < columns; j++, k += 4) {
      const a = row ? row[i * skip * WIDTH + j * skip] : value === 0 ? 2 * j / columns - 1 : 1 - 2 * i / rows;
      const byte = 127.5 * (a + 1);
      for (let c = 0; c < 3; c++) bytes[k + c] = tint < 0 || c === tint ? byte : byte * 0.25;
      bytes[k + 3] = 255;
    }
  }

  function listenWiring(root) {
    const at = (event) => {
      const box = root.getBoundingClientRect();
      return [(event.clientX - box.left) * WIDE / box.width, (event.clientY - box.top) * drawing.height / box.height];
    };
    root.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(...at(event)); });
    root.addEventListener("pointerleave", () => point(-1e3, -1e3));
    root.addEventListener("click", (event) => {
      point(...at(event));
      if (view.unitPointed !== null) choose(C.wiring.synapses + view.unitPointed, { announce: true });
      else if (view.pointed !== null) choose(view.pointed, { announce: true });
    });
    root.addEventListener("keydown", walkWiring);
  }

  // Finds the unit or the arc next to a point, and shows its maps.
  function point(x, y) {
    let unit = null, nearest = null, best = 9;
    if (y > TOP - 2 && y < TOP + THUMB + 14) {
      for (let i = 0; i < C.wiring.units; i++) if (Math.abs(drawing.place[C.wiring.inputs + i] - x) < drawing.stepX / 2) unit = i;
    }
    if (unit === null) drawing.arcs.forEach((arc, s) => {
      if (arc.below ? y < arc.y : y > arc.y) return;
      const X = (x - arc.centre) / arc.rx, Y = (y - arc.y) / arc.ry;
      const distance = Math.abs(X * X + Y * Y - 1) / (2 * Math.hypot(X / arc.rx, Y / arc.ry) || 1);
      if (distance < best && lit(s)) [best, nearest] = [distance, s];
    });
    if (nearest === view.pointed && unit === view.unitPointed) return;
    if (view.pointed !== null) drawing.paths[view.pointed].classList.remove("pointed");
    [view.pointed, view.unitPointed] = [nearest, unit];
    if (nearest !== null) drawing.paths[nearest].classList.add("pointed");
    closeup();
  }

  const lit = (weight) => !drawing.root.classList.contains("lit") || drawing.paths[weight].classList.contains("in");

  function walkWiring(event) {
    const w = C.wiring, unit = w.targets[S.chosen], go = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    let to = null;
    if (go) to = (S.chosen + go + w.size) % w.size;
    const place = [...w.order].indexOf(unit), next = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (next) to = w.first[w.order[(place + next + w.units) % w.units]];
    if (event.key === "Home") to = 0;
    if (event.key === "End") to = w.synapses - 1;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); $("slider").focus(); return; }
    if (to === null) return;
    event.preventDefault();
    choose(to, { announce: true });
  }

  // ---------------------------------------------------------------- 8. Maps of one neuron and one synapse
  let closeupDue = false;
  function closeup() {
    if (closeupDue) return;
    closeupDue = true;
    requestAnimationFrame(() => { closeupDue = false; drawCloseup(); });
  }

  function drawCloseup() {
    const weight = view.pointed ?? (view.unitPointed === null ? S.chosen : C.wiring.synapses + view.unitPointed);
    const unit = C.wiring.targets[weight], map = C.map(weight), gain = gainOf(map);
    paint($("activation"), (bytes) => E.activationBytes(C.activation(unit), bytes, PIXELS));
    const { low, high, freeLow, freeHigh } = C.workingRange(unit);
    const free = low - freeLow < 0.01 && freeHigh - high < 0.01 ? "its whole range"
      : `free inputs could give ${fixed(freeLow, 2)} to ${fixed(freeHigh, 2)}`;
    caption("activation", `${unitName(unit)}: ${fixed(low, 2)} to ${fixed(high, 2)}, ${free}`);
    paint($("map"), (bytes) => E.mapBytes(map, bytes, PIXELS, gain));
    caption("map", `${isBias(weight) ? "bias" : `synapse ${weight}`}: what it changes`);
    clearTimeout(restDue);
    if (weight === S.chosen) drawLowerHigher(weight);
    else restDue = setTimeout(() => drawLowerHigher(weight), 120);
  }

  // Both sides of a weight, as far away as makes the change plain to see.
  let restDue = 0;
  function drawLowerHigher(weight) {
    const size = visible(weight, 0.08), seen = C.perturb(weight, size), wide = gainOf(seen.difference);
    paint($("lower"), (bytes) => E.toBytes(seen.lower, bytes, PIXELS));
    paint($("higher"), (bytes) => E.toBytes(seen.higher, bytes, PIXELS));
    paint($("between"), (bytes) => E.mapBytes(seen.difference, bytes, PIXELS, wide));
    caption("lower", `lower: ${fixed(C.weights[weight] - size)}`);
    caption("higher", `higher: ${fixed(C.weights[weight] + size)}`);
    $("between").setAttribute("aria-label", "Difference of the pictures at the higher and the lower weight");
  }

  function caption(name, text) {
    $(`${name}-said`).textContent = text;
    $(name).setAttribute("aria-label", text);
  }

  // ---------------------------------------------------------------- 9. A region to paint
  const brush = { x: Math.floor(WIDTH / 2), y: Math.floor(HEIGHT / 2), radius: Math.max(1, Math.round(Math.min(HEIGHT, WIDTH) / 16)), shown: false };
  let stroke = null;

  function startRegion() {
    const layer = $("region-layer");
    layer.addEventListener("pointerdown", (event) => {
      layer.setPointerCapture(event.pointerId);
      begin();
      brush.shown = false;
      stroke = { start: pixelAt(event), last: pixelAt(event), kept: S.mask && S.mask.slice() };
      dab(stroke.last, stroke.last);
    });
    layer.addEventListener("pointermove", (event) => { if (stroke) dab(stroke.last, stroke.last = pixelAt(event)); });
    for (const end of ["pointerup", "pointercancel"]) layer.addEventListener(end, () => { if (stroke) endStroke(); });
    layer.addEventListener("keydown", paintByKey);
    layer.addEventListener("blur", () => { brush.shown = false; drawRegion(); });
    $("clear").addEventListener("click", clearRegion);
    for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => {
      view.tool = button.dataset.tool;
      press("[data-tool]", button);
    });
    for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => {
      view.third = button.dataset.view;
      press("[data-view]", button);
      request();
    });
    new ResizeObserver(drawRegion).observe(layer);
  }

  function press(all, chosen) {
    for (const button of document.querySelectorAll(all)) button.setAttribute("aria-pressed", button === chosen);
  }

  function pixelAt(event) {
    const box = $("region-layer").getBoundingClientRect();
    return [Math.floor((event.clientX - box.left) * WIDTH / box.width), Math.floor((event.clientY - box.top) * HEIGHT / box.height)];
  }

  // Paints from one pixel to another with the tool in hand.
  function dab([x0, y0], [x1, y1]) {
    if (view.tool === "rectangle") return dabRectangle(stroke.start, [x1, y1]);
    S.mask ??= new Uint8Array(PIXELS);
    const steps = Math.max(1, Math.abs(x1 - x0), Math.abs(y1 - y0));
    for (let i = 0; i <= steps; i++) disc(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps, view.tool !== "eraser");
    drawRegion();
  }

  function disc(x, y, inside) {
    const r = brush.radius;
    for (let i = Math.max(0, Math.ceil(y - r)); i <= Math.min(HEIGHT - 1, y + r); i++) {
      for (let j = Math.max(0, Math.ceil(x - r)); j <= Math.min(WIDTH - 1, x + r); j++) {
        if ((i - y) ** 2 + (j - x) ** 2 <= r * r) S.mask[i * WIDTH + j] = Number(inside);
      }
    }
  }

  function dabRectangle([x0, y0], [x1, y1]) {
    S.mask = stroke.kept ? stroke.kept.slice() : new Uint8Array(PIXELS);
    const [left, right] = [x0, x1].map((x) => clamp(x, 0, WIDTH - 1)).sort((a, b) => a - b);
    const [top, bottom] = [y0, y1].map((y) => clamp(y, 0, HEIGHT - 1)).sort((a, b) => a - b);
    for (let i = top; i <= bottom; i++) S.mask.fill(1, i * WIDTH + left, i * WIDTH + right + 1);
    drawRegion();
  }

  function endStroke() {
    stroke = null;
    if (S.mask && !S.mask.includes(1)) S.mask = null;
    useRegion();
  }

  function useRegion() {
    if (S.mask) {
      $("about").value = "region";
      $("where").value = "region";
    } else $("where").value = "whole";
    drawRegion();
    request();
    commit(S.mask ? `The region has ${S.mask.reduce((a, b) => a + b, 0)} pixels.` : "No region.");
  }

  function clearRegion() {
    begin();
    S.mask = null;
    useRegion();
  }

  function paintByKey(event) {
    const shift = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const dabs = { " ": true, Enter: true, Backspace: false, Delete: false };
    if (event.key === "Escape") clearRegion();
    else if (shift) {
      brush.x = clamp(brush.x + shift[0] * brush.radius, 0, WIDTH - 1);
      brush.y = clamp(brush.y + shift[1] * brush.radius, 0, HEIGHT - 1);
    } else if (event.key in dabs) {
      begin();
      S.mask ??= new Uint8Array(PIXELS);
      disc(brush.x, brush.y, dabs[event.key]);
      endStroke();
    } else return;
    event.preventDefault();
    brush.shown = true;
    drawRegion();
  }

  // The region as an outline, so that the picture inside stays as it is.
  function drawRegion() {
    const layer = $("region-layer"), box = layer.getBoundingClientRect(), scale = Math.min(3, devicePixelRatio || 1);
    layer.width = Math.max(1, Math.round(box.width * scale));
    layer.height = Math.max(1, Math.round(box.height * scale));
    const context = layer.getContext("2d"), a = layer.width / WIDTH, b = layer.height / HEIGHT;
    if (S.mask) outline(context, a, b, scale);
    if (brush.shown) {
      context.lineWidth = 1.5 * scale;
      for (const [colour, extra] of [["#000", 1], ["#fff", 0]]) {
        context.strokeStyle = colour;
        context.beginPath();
        context.ellipse((brush.x + 0.5) * a, (brush.y + 0.5) * b, brush.radius * a + extra * scale, brush.radius * b + extra * scale, 0, 0, 7);
        context.stroke();
      }
    }
  }

  function outline(context, a, b, scale) {
    const inside = (i, j) => i >= 0 && j >= 0 && i < HEIGHT && j < WIDTH && S.mask[i * WIDTH + j] === 1;
    const path = new Path2D();
    for (let i = 0; i < HEIGHT; i++) for (let j = 0; j < WIDTH; j++) {
      if (!inside(i, j)) continue;
      const line = (x0, y0, x1, y1) => { path.moveTo(x0 * a, y0 * b); path.lineTo(x1 * a, y1 * b); };
      if (!inside(i - 1, j)) line(j, i, j + 1, i);
      if (!inside(i + 1, j)) line(j, i + 1, j + 1, i + 1);
      if (!inside(i, j - 1)) line(j, i, j, i + 1);
      if (!inside(i, j + 1)) line(j + 1, i, j + 1, i + 1);
    }
    context.lineCap = "round";
    for (const [colour, wide] of [["rgb(0 0 0 / 0.7)", 4], ["#fff", 1.8]]) {
      context.strokeStyle = colour;
      context.lineWidth = wide * scale;
      context.stroke(path);
    }
  }

  // ---------------------------------------------------------------- 10. Its ensemble and the band of the nulls
  const withRegion = (property, mask) => ({
    kind: property.kind, channel: property.channel ?? null, axis: property.axis ?? null, mask,
    threshold: 0, softness: 0.1, sign: Number($("sign").value), name: property.title,
  });

  function asked() {
    if ($("about").value === "region") return S.mask && { kind: "region", mask: S.mask, name: "the painted region" };
    const property = PROPERTIES[Number($("about").value)];
    return withRegion(property, $("where").value === "region" ? S.mask : null);
  }

  async function findEnsemble() {
    const property = asked();
    if (!property) return showNone();
    const weights = C.weights.slice();
    try {
      const result = await quick.call("ensemble", [property, { cover: 0.9, unit: $("unit").value }], { weights, slot: "ensemble" });
      if (!same(weights, C.weights)) return;
      showEnsemble(result, property);
      $("band").replaceChildren();
      $("band-said").textContent = "";
      $("verdict").className = "verdict";
      $("verdict").textContent = "Comparing with the same shape elsewhere …";
      compare(property, weights, result);
    } catch (error) {
      if (!error.dropped) { showNone(); $("ensemble-said").textContent = error.message; }
    }
  }

  async function compare(property, weights, result) {
    const regionsTried = triedFor(property), count = clamp(20 * regionsTried, 200, 2000); // below 20 a region no p can be small enough
    try {
      const nulls = await slow.call("nulls", [property, { count, regionsTried, seed: 0 }], { weights });
      if (found === result) showNulls(nulls, result);
    } catch (error) {
      if (!error.dropped && found === result) $("verdict").textContent = error.message;
    }
  }

  // How many regions a verdict must answer for: all that were painted, or all among which the tour chose.
  const painted = new Set(), searched = new Map();
  function triedFor({ mask }) {
    if (!mask) return 1;
    const key = packRegion();
    if (searched.has(key)) return searched.get(key);
    return painted.add(key).size;
  }

  function showNone() {
    found = null;
    $("ensemble-found").hidden = true;
    $("ensemble-said").textContent = "Paint a region on the network's picture: the synapses that hold it light up.";
    $("bars-said").textContent = "";
    drawing.root.classList.remove("lit");
    for (const node of [...drawing.paths, ...drawing.units]) node.classList.remove("in");
    for (const bar of drawing.bars) bar.setAttribute("height", 0);
  }

  function showEnsemble(result, property) {
    found = result;
    const set = new Set(result.weights), w = C.wiring;
    drawing.root.classList.add("lit");
    const effect = result.effect, most = result.weights.reduce((a, s) => Math.max(a, effect[s]), 0) || 1;
    drawing.paths.forEach((path, s) => {
      path.classList.toggle("in", set.has(s));
      path.style.setProperty("--part", Math.sqrt(effect[s] / most).toFixed(3));
    });
    drawing.units.forEach((unit, i) => unit.classList.toggle("in", set.has(w.synapses + i)));
    const tallest = Math.max(...result.perUnit) || 1;
    drawing.bars.forEach((bar, i) => {
      const height = (BARS - 4) * result.perUnit[i] / tallest;
      bar.setAttribute("height", height);
      bar.setAttribute("y", drawing.height - height);
    });
    markChosen();
    const sizes = ["one", "weight", "rms"].map((unit) => result.sets[unit].length);
    $("ensemble-said").textContent = `${set.size} of ${w.size} weights hold ${percent(result.cover)} of ${property.name}; they enter `
      + `${result.units.length} of ${w.units} neurons. Counted per unit of weight, per share of the weight and per equal change of the picture: ${sizes.join(", ")}.`;
    $("bars-said").textContent = "Lit: the ensemble. Bars: each neuron's part of it.";
    $("ensemble-found").hidden = false;
    showRatios(result);
    $("runs").textContent = `${result.runs.map((run) => (run.first === run.last ? run.first : `${run.first}–${run.last}`) + ` (${unitsOf(run)})`).join(", ")}. In brackets: the neurons that they enter.`;
  }

  function unitsOf({ first, last }) {
    const from = C.wiring.targets[first], to = C.wiring.targets[last];
    return from === to ? from : `${from}–${to}`;
  }

  function showRatios(result) {
    const strongest = [...result.order.slice(0, 60)].sort((a, b) => result.control[b] - result.control[a]).slice(0, 8);
    const rows = strongest.map((weight) => {
      const button = el("button", { type: "button", textContent: isBias(weight) ? `bias of neuron ${C.wiring.targets[weight]}` : `${weight}: ${wayOf(weight)}` });
      button.addEventListener("click", () => choose(weight, { announce: true }));
      const bar = el("span", { className: "share" });
      bar.style.width = `${(4 * clamp(result.share[weight], 0, 1)).toFixed(2)}em`;
      return el("tr", {}, el("td", {}, button), el("td", { textContent: brief(result.control[weight]) }),
        el("td", {}, bar, percent(result.share[weight])), el("td", { textContent: brief(result.lift[weight]) }));
    });
    $("ratios").tBodies[0].replaceChildren(...rows);
  }

  function showNulls(nulls, result) {
    $("verdict").textContent = nulls.verdict.replace(/ -> /g, " → ").replace(/unit (?=\d)/g, "neuron ");
    $("verdict").className = `verdict${nulls.certified ? " certified" : ""}`;
    const band = $("band");
    band.replaceChildren();
    if (!nulls.shares || !nulls.shares.length) { $("band-said").textContent = nulls.reason ?? ""; return; }
    band.append(bandDrawing(nulls));
    $("band-said").textContent = `Best share of a single weight: ${percent(nulls.share)} here, bold. Thin lines: the same shape at `
      + `${nulls.shares.length} other places, the middle ${percent(nulls.median)}, the band 5 to 95 % of them. It covers ${percent(result.area)} of the picture.`;
  }

  function bandDrawing(nulls) {
    const wide = 520, x = (share) => 4 + (wide - 8) * clamp(share, 0, 1);
    const root = svg("svg", { viewBox: `0 0 ${wide} 52`, role: "img", "aria-label": `Share ${percent(nulls.share)}; at other places ${percent(nulls.low)} to ${percent(nulls.high)}` });
    const line = (at, y1, y2, width, colour, opacity = 1) => svg("line", { x1: x(at), x2: x(at), y1, y2, stroke: `var(${colour})`, "stroke-width": width, "stroke-opacity": opacity });
    root.append(svg("rect", { x: x(nulls.low), width: Math.max(1, x(nulls.high) - x(nulls.low)), y: 6, height: 24, fill: "var(--rule)", "fill-opacity": 0.6 }));
    for (const share of nulls.shares) root.append(line(share, 10, 26, 1, "--soft", 0.35));
    root.append(line(nulls.median, 6, 30, 2, "--soft"), line(nulls.share, 1, 35, 4, nulls.certified ? "--ok" : "--ink"));
    for (const mark of [0, 0.5, 1]) root.append(svg("text", { x: x(mark), y: 48, "text-anchor": ["start", "middle", "end"][2 * mark] }, percent(mark)));
    return root;
  }

  function startEnsemble() {
    $("about").append(el("option", { value: "region", textContent: "everything inside the region" }),
      ...PROPERTIES.map((property, i) => el("option", { value: i, textContent: property.title })));
    for (const id of ["about", "unit"]) $(id).addEventListener("change", settled);
    for (const id of ["where", "sign"]) $(id).addEventListener("change", () => {
      if ($("where").value === "region" && !S.mask) {
        $("where").value = "whole";
        $("edit-said").textContent = "Paint a region first.";
      }
      request();
      settled();
    });
  }

  // ---------------------------------------------------------------- 11. Properties: hold some, move one
  const rows = [];
  let job = null; // the property that is being moved: its weights and value at the start

  const propertyAt = (i) => withRegion(PROPERTIES[i], $("where").value === "region" ? S.mask : null);
  const shown = (i, value) => fixed(value * (PROPERTIES[i].scale ?? 1), PROPERTIES[i].digits) + (PROPERTIES[i].unit ?? "");

  function startProperties() {
    PROPERTIES.forEach((property, i) => {
      const lock = el("input", { type: "checkbox", ariaLabel: `Hold ${property.title}` });
      const slider = el("input", { type: "range", min: -1, max: 1, step: "any", value: 0, ariaLabel: `Move ${property.title}` });
      slider.style.setProperty("--home", "50%");
      const value = el("td");
      rows.push({ lock, slider, value });
      $("values").tBodies[0].append(el("tr", {}, el("td", {}, lock), el("th", { scope: "row", textContent: property.title }), value, el("td", {}, slider)));
      slider.addEventListener("input", () => dragProperty(i));
      slider.addEventListener("change", () => endProperty(i));
      lock.addEventListener("change", () => { rows[i].slider.disabled = lock.checked; });
    });
  }

  function showValues() {
    rows.forEach((row, i) => {
      const value = C.value(propertyAt(i));
      row.value.textContent = shown(i, value);
      if (!job || job.i !== i) row.slider.setAttribute("aria-valuetext", shown(i, value));
    });
  }

  function resetSliders() {
    if (!job) for (const row of rows) row.slider.value = 0;
  }

  // While the slider moves, the linear answer is shown; when it rests, the worker finds the true one.
  function dragProperty(i) {
    if (!job || job.i !== i || job.ended) startJob(i);
    job.amount = Number(rows[i].slider.value) * SPAN[PROPERTIES[i].kind];
    rows[i].slider.setAttribute("aria-valuetext", shown(i, job.start + job.amount));
    preview(job);
  }

  function preview(mine) {
    if (!mine.direction) return;
    moveAll(mine.weights.map((w, s) => w + mine.amount * mine.direction[s]));
    frame();
    sayEdit({ note: mine.ended && mine.how === "all" ? "Checking …" : mine.note });
  }

  function startJob(i) {
    begin();
    const move = propertyAt(i), keep = rows.flatMap((row, k) => (row.lock.checked && k !== i ? [propertyAt(k)] : []));
    const mine = job = { i, move, keep, how: $("how").value, weights: C.weights.slice(), start: C.value(move), amount: 0, ended: false };
    if (mine.how === "pair" && keep.length !== 1) return refuse(mine, new Error("A pair of weights holds one property: tick exactly one."));
    const [method, args] = directionCall(mine);
    $("edit-said").textContent = "Solving …";
    solver.call(method, args, { weights: mine.weights, slot: "direction" }).then((result) => {
      if (job !== mine) return;
      mine.direction = result.direction;
      mine.note = noteOf(method, result);
      preview(mine);
      if (mine.ended && mine.how !== "all") finish(mine);
    }).catch((error) => refuse(mine, error));
  }

  function directionCall({ how, move, keep }) {
    if (how === "pair") return ["bestPair", [move, keep[0]]];
    return how === "sparse" ? ["sparse", [{ move, keep, count: Math.max(8, keep.length + 2) }]] : ["programme", [{ move, keep }]];
  }

  function noteOf(method, result) {
    if (method === "bestPair") return `By ${C.wiring.name(result.first)} and ${C.wiring.name(result.second)}.`;
    if (method === "sparse") return `By ${result.weights.length} weights: ${[...result.weights].join(", ")}.`;
    return "";
  }

  function solve(mine) {
    const { move, amount, keep, weights } = mine;
    solver.call("edit", [{ move, amount, keep }, trained], { weights, slot: "edit" }).then((result) => {
      if (job !== mine) return;
      moveAll(result.weights);
      frame();
      sayEdit(result);
      finish(mine);
    }).catch((error) => refuse(mine, error));
  }

  function refuse(mine, error) {
    if (error.dropped || job !== mine) return;
    moveAll(mine.weights);
    frame();
    finish(mine);
    $("edit-said").textContent = error.message;
  }

  function sayEdit({ damage, note, kept }) {
    const { i, move, start, keep, amount } = job, reached = C.value(move) - start;
    const worst = kept && kept.length ? Math.max(...kept.map((each) => Math.abs(each.after - each.before))) : null;
    const hurt = damage ?? damageOutside(move);
    $("edit-said").textContent = `${PROPERTIES[i].title}: asked ${shown(i, amount)}, reached ${shown(i, reached)}. `
      + `${move.mask ? "The rest of the picture" : "The picture"} changed by ${fixed(hurt, 4)} (rms, from the trained network).`
      + (keep.length ? ` Held: ${keep.map((each) => each.name).join(", ")}${worst === null ? "" : `, to ${brief(worst)}`}.` : "") + (note ? ` ${note}` : "");
  }

  function damageOutside(move) {
    let sum = 0, count = 0;
    for (let c = 0; c < C.channels; c++) for (let p = 0; p < PIXELS; p++) {
      if (move.mask && move.mask[p]) continue;
      sum += (C.picture[c * PIXELS + p] - trainedPicture[c * PIXELS + p]) ** 2;
      count++;
    }
    return Math.sqrt(sum / Math.max(1, count));
  }

  function endProperty(i) {
    if (!job || job.i !== i) return;
    job.ended = true;
    if (job.how === "all") solve(job);
    else if (job.direction) finish(job);
  }

  function finish(mine) {
    if (job !== mine) return;
    frame();
    job = null;
    commit($("edit-said").textContent);
  }

  // ---------------------------------------------------------------- 12. The tour
  const whole = (kind, more = {}) => ({ kind, mask: null, channel: null, axis: null, threshold: 0, softness: 0.1, sign: 1, name: kind, ...more });
  const TILT = whole("tilt"), WIDE_X = whole("width", { axis: "x" }), GREEN = whole("balance", { channel: 1, name: "green balance" });
  const tour = {}; // what the steps found, for the weights they were found at
  const STEPS = [
    ["Tilt", tourTilt], ["Width", tourWidth], ["Colour", tourColour], ["Both", tourBoth],
    ["A place", tourPlace], ["Compensation", tourCompensation], ["All but the place", tourConverse],
  ];
  const turned = (a, b) => ((b - a + 2.5 * Math.PI) % Math.PI) - Math.PI / 2; // an axis, so modulo 180°
  const degrees = (radians) => `${fixed(radians * 180 / Math.PI, 1)}°`;

  function startTour() {
    const buttons = STEPS.map(([title, act], i) => {
      const button = el("button", { type: "button", textContent: `${i + 1} ${title}` });
      button.addEventListener("click", async () => {
        stopSwing();
        if (tour.left && tour.left === past.length) step(past, future, "");
        delete tour.left;
        for (const other of buttons) other.removeAttribute("aria-current");
        button.setAttribute("aria-current", "step");
        $("tour-said").textContent = "Looking …";
        try { await act(); } catch (error) { quietly(error); $("tour-said").textContent = ""; }
      });
      return button;
    });
    $("tour-steps").append(el("span", { className: "aside", textContent: "Tour" }), ...buttons);
  }

  const told = (text) => { $("tour-said").textContent = text; };

  // The synapse that moves a property most for the damage it does, among those that move it at all.
  async function strongest(property, allowed = () => true) {
    const result = await quick.call("ensemble", [property, { unit: "rms" }], { weights: C.weights, slot: `tour ${property.kind}` });
    const rms = C.rms(), effect = (s) => Math.abs(result.strength[s]) / (rms[s] || Infinity);
    let largest = 0, best = -1;
    for (let s = 0; s < C.wiring.synapses; s++) if (allowed(s)) largest = Math.max(largest, effect(s));
    for (let s = 0; s < C.wiring.synapses; s++) {
      if (allowed(s) && effect(s) > 0.25 * largest && (best < 0 || result.control[s] > result.control[best])) best = s;
    }
    return { weight: best, control: best < 0 ? 0 : result.control[best], strength: best < 0 ? 0 : result.strength[best] };
  }

  // Values of properties with weights moved; the network is put back.
  function valuesWith(moves, properties) {
    const home = moves.map(([weight]) => C.weights[weight]);
    moves.forEach(([weight, amount], i) => C.setWeight(weight, home[i] + amount));
    const values = properties.map((property) => C.value(property));
    moves.forEach(([weight], i) => C.setWeight(weight, home[i]));
    return values;
  }

  // Shows one synapse at work, and tells from where to where a property goes.
  async function present(property, weight, words) {
    const amount = visible(weight);
    const [low] = valuesWith([[weight, -amount]], [property]), [high] = valuesWith([[weight, amount]], [property]);
    choose(weight);
    told(words(low, high, C.value(property)));
    await swingBy([[weight, amount]], { turns: 1 });
    return { weight, amount };
  }

  async function tourTilt() {
    const best = await strongest(TILT);
    tour.tilt = best.weight;
    if (best.weight < 0) return told("No synapse tilts this picture.");
    await present(TILT, best.weight, (low, high) => (Math.abs(turned(low, high)) < Math.PI / 180
      ? `None found: the best synapse, ${best.weight}, turns the bright parts by only ${degrees(Math.abs(turned(low, high)))}.`
      : `A property of the whole: synapse ${best.weight} turns the bright parts by ${degrees(turned(low, high))}, from ${degrees(low)} to ${degrees(high)}.`));
  }

  async function tourWidth() {
    if (tour.tilt === undefined) tour.tilt = (await strongest(TILT)).weight;
    const unit = C.wiring.targets[tour.tilt];
    const best = await strongest(WIDE_X, (s) => s !== tour.tilt && C.wiring.targets[s] === unit);
    if (best.weight < 0) return told(`Neuron ${unit} has no second synapse.`);
    tour.width = best.weight;
    await present(WIDE_X, best.weight, (low, high) => `Same neuron, another job: synapse ${best.weight} enters neuron ${unit}, too, and takes the width from ${fixed(low)} to ${fixed(high)}`
      + `${Math.abs(high - low) < 0.01 ? ": next to nothing, so this neuron does not show it" : ""}.`);
  }

  async function tourColour() {
    const best = await strongest(GREEN);
    if (best.weight < 0) return told("No synapse moves the green balance.");
    tour.colour = best.weight;
    await present(GREEN, best.weight, (low, high) => `Colour: synapse ${best.weight} takes the green balance from ${fixed(low)} to ${fixed(high)}.`);
  }

  async function tourBoth() {
    if (tour.tilt === undefined) tour.tilt = (await strongest(TILT)).weight;
    if (tour.colour === undefined) tour.colour = (await strongest(GREEN)).weight;
    const moves = [[tour.tilt, visible(tour.tilt, 0.06)], [tour.colour, visible(tour.colour, 0.06)]];
    const [tilt, green] = valuesWith(moves, [TILT, GREEN]);
    choose(tour.tilt);
    told(`Both at once, ${tour.tilt} and ${tour.colour}: tilt changes by ${degrees(turned(C.value(TILT), tilt))}, green balance by ${fixed(green - C.value(GREEN))}. A mixture is no single property.`);
    await swingBy(moves);
  }

  // Tiles in which one synapse puts most of its energy, weighted so that a tile with hardly any does not win.
  async function findPlace() {
    const size = Math.max(3, Math.round(Math.min(HEIGHT, WIDTH) / 5)), tiles = [];
    for (let top = 0; top + size <= HEIGHT; top += Math.ceil(size / 2)) for (let left = 0; left + size <= WIDTH; left += Math.ceil(size / 2)) {
      const mask = new Uint8Array(PIXELS), middle = (size - 1) / 2;
      for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) {
        if (Math.hypot(i - middle, j - middle) <= size / 2) mask[(top + i) * WIDTH + left + j] = 1;
      }
      tiles.push(mask);
    }
    const total = C.energies(null), all = total.reduce((a, b) => a + b, 0);
    let best = { score: -1 };
    for (const mask of tiles) {
      const inside = C.energies(mask), sum = inside.reduce((a, b) => a + b, 0);
      for (let s = 0; s < C.wiring.synapses; s++) {
        if (sum < 0.2 * all / tiles.length || inside[s] < 0.05 * sum / C.wiring.size) continue;
        const share = inside[s] / (total[s] || 1);
        if (share > best.score) best = { score: share, mask, weight: s };
      }
      await new Promise((resolve) => setTimeout(resolve));
    }
    return { ...best, tried: tiles.length };
  }

  async function tourPlace() {
    begin();
    let weight;
    if (!S.mask) {
      const place = await findPlace();
      if (!place.mask) { before = null; return told("None found: no place has a synapse to itself."); }
      S.mask = place.mask;
      searched.set(packRegion(), place.tried);
    }
    useRegion();
    const result = await quick.call("ensemble", [{ kind: "region", mask: S.mask }, { unit: "rms" }], { weights: C.weights, slot: "tour place" });
    weight = [...result.weights].reduce((a, b) => (result.share[b] > result.share[a] ? b : a));
    told(`A place: ${result.weights.length} of ${C.wiring.size} weights into ${result.units.length} neurons hold it. ${isBias(weight) ? "Bias" : "Synapse"} ${weight} puts ${percent(result.share[weight])} of its effect on these ${percent(result.area)} of the picture.`);
    choose(weight);
    await swingBy([[weight, visible(weight, 0.05)]]);
  }

  async function tourCompensation() {
    if (!S.mask) await tourPlace();
    told("Looking for two synapses that cancel elsewhere …");
    const move = withRegion(PROPERTIES[0], S.mask), keep = withRegion(PROPERTIES[7], null);
    const pair = await quick.call("bestPair", [move, keep], { weights: C.weights, slot: "tour pair" });
    const { first, second, direction } = pair;
    const unit = 0.1;
    const moves = [first, second].map((s) => [s, direction[s] * unit]);
    const changes = [[moves[0]], [moves[1]], moves].map((each) => valuesWith(each, [move, keep]));
    const now = [C.value(move), C.value(keep)];
    choose(first);
    const cell = (i) => `${fixed(changes[i][0] - now[0])} and ${fixed(changes[i][1] - now[1], 4)}`;
    told(`Synapses ${first} and ${second} of neuron ${C.wiring.targets[first]}. Brightness of the place and width of the whole change by ${cell(0)} with the first, ${cell(1)} with the second, ${cell(2)} with both.`);
    await swingBy(moves);
  }

  async function tourConverse() {
    if (!S.mask) await tourPlace();
    const total = C.energies(null), inside = C.energies(S.mask), area = S.mask.reduce((a, b) => a + b, 0) / PIXELS;
    const ranked = [...total.keys()].filter((s) => s < C.wiring.synapses).sort((a, b) => total[b] - total[a]).slice(0, Math.ceil(C.wiring.synapses / 4));
    const part = (s) => Math.sqrt((inside[s] / area) / ((total[s] - inside[s]) / (1 - area) || 1));
    const best = ranked.reduce((a, b) => (part(b) < part(a) ? b : a));
    choose(best);
    told(part(best) > 0.2 ? `None found: of the strongest synapses, ${best} spares the place most, and still moves it ${percent(part(best))} as much as the rest.`
      : `The converse: synapse ${best} bends the rest and moves the place by ${percent(part(best))} of that.`);
    await swingBy([[best, visible(best, 0.12)]]);
  }

  // ---------------------------------------------------------------- 13. Small networks that one can read
  function startReady() {
    const panels = [];
    for (const each of DATA.ready_made) {
      try { panels.push(readyPanel(each)); } catch (error) { quietly(error); }
    }
    $("ready").append(...panels);
    $("experiments").hidden = !panels.length;
  }

  function readyPanel(each) {
    const points = each.points ? E.unpack(each.points) : undefined;
    const net = E.canvas(each.net, each.height, each.width, points), start = net.weights.slice();
    const said = el("p", { className: "said" });
    const drawn = each.height === 1 ? curveOf(each, net, points) : pictureOf(each, net);
    if (each.height > 1) drawn.node.addEventListener("pointermove", (event) => { said.textContent = readyAt(each, net, event); });
    drawn.node.addEventListener("pointerleave", () => { said.textContent = readySaid(each, net, points); });
    const sliders = readySliders(each, net, start, () => { drawn.draw(); said.textContent = readySaid(each, net, points); });
    drawn.draw();
    said.textContent = readySaid(each, net, points);
    return el("article", {}, el("h3", { textContent: each.title }), el("p", { textContent: each.text }), drawn.node, said, sliders);
  }

  function pictureOf(each, net) {
    const node = el("canvas", { width: each.width, height: each.height });
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", each.title);
    const fill = net.channels === 3 ? (bytes) => E.toBytes(net.picture, bytes, net.pixels) : (bytes) => E.activationBytes(net.picture, bytes, net.pixels);
    return { node, draw: () => paint(node, fill) };
  }

  function curveOf(each, net, points) {
    const wide = 300, high = 130, now = svg("path"), was = svg("path", { class: "was" });
    const x = (p) => (points ? (points[p] + 1) / 2 : (p + 0.5) / net.pixels) * wide;
    const path = () => Array.from(net.picture.subarray(0, net.pixels), (u, p) => `${p ? "L" : "M"}${x(p).toFixed(1)} ${((1 - u) * (high / 2 - 5) + 5).toFixed(1)}`).join("");
    const node = svg("svg", { viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": each.title }, svg("line", { x1: 0, x2: wide, y1: high / 2, y2: high / 2 }), was, now);
    was.setAttribute("d", path());
    return { node, draw: () => now.setAttribute("d", path()) };
  }

  // One slider a weight; where the text names a pair that moves together, one for it first.
  function readySliders(each, net, start, changed) {
    const box = el("div"), together = each.together.map(({ title, shares }) => ({ title, direction: shares, span: 0.15 }));
    const single = [...start.keys()].filter((s) => start[s] !== 0).slice(0, 10).map((s) => ({ title: readyName(net, s), direction: { [s]: 1 }, span: 0.5 }));
    const inputs = [];
    for (const { title, direction, span } of [...together, ...single]) {
      const size = (span * Math.max(...Object.keys(direction).map((s) => Math.abs(start[s])))) || 1;
      const input = el("input", { type: "range", min: -size, max: size, step: "any", value: 0, ariaLabel: title }), shownAt = el("output");
      input.style.setProperty("--home", "50%");
      const first = Number(Object.keys(direction)[0]);
      const show = () => { shownAt.textContent = brief(net.weights[first]); };
      inputs.push({ input, direction, show });
      input.addEventListener("input", () => {
        const moved = start.slice();
        for (const other of inputs) for (const [s, part] of Object.entries(other.direction)) moved[s] += part * Number(other.input.value);
        net.setWeights(moved);
        for (const other of inputs) other.show();
        changed();
      });
      show();
      box.append(el("label", {}, el("span", { textContent: title }), input, shownAt));
    }
    const back = el("button", { type: "button", textContent: "Back" });
    back.addEventListener("click", () => {
      for (const { input } of inputs) input.value = 0;
      net.setWeights(start);
      for (const { show } of inputs) show();
      changed();
    });
    box.append(back);
    return box;
  }

  const readyName = (net, s) => net.wiring.name(s).replace(/^synapse \d+: /, "").replace("unit", "neuron").replace(/ -> (unit )?/, " → ");

  function readyAt(each, net, event) {
    const box = event.target.getBoundingClientRect();
    const column = clamp(Math.floor((event.clientX - box.left) * each.width / box.width), 0, each.width - 1);
    const row = clamp(Math.floor((event.clientY - box.top) * each.height / box.height), 0, each.height - 1);
    return `Row ${row}, column ${column}: the output is ${fixed(net.picture[row * each.width + column])}.`;
  }

  // Where the output changes sign, or how much of the picture is positive.
  function readySaid(each, net, points) {
    const u = net.picture;
    if (each.height > 1) {
      let positive = 0;
      for (let p = 0; p < net.pixels; p++) positive += u[p] > 0;
      return `Positive on ${percent(positive / net.pixels)} of the cases.`;
    }
    const borders = [];
    for (let p = 1; p < net.pixels; p++) if (u[p - 1] > 0 !== u[p] > 0) {
      const x = (q) => (points ? points[q] : (2 * q + 1) / net.pixels - 1), part = u[p - 1] / (u[p - 1] - u[p]);
      borders.push(fixed(x(p - 1) + part * (x(p) - x(p - 1))));
    }
    return borders.length ? `Borders at ${borders.join(", ")}.` : "No border.";
  }

  // ---------------------------------------------------------------- 14. A link that carries the state
  const BAD_LINK = "This link is damaged or of another page. Nothing was changed.";
  const toText = (bytes) => btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join("")).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const fromText = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));

  // A short name of the network a link belongs to.
  function mark(weights) {
    let hash = 2166136261;
    for (const byte of new Uint8Array(Float64Array.from(weights).buffer)) hash = Math.imul(hash ^ byte, 16777619) >>> 0;
    return hash.toString(36);
  }

  // Changed weights: 2 bytes for the number, 4 or 8 for the value, whichever holds it exactly.
  function packWeights() {
    const changed = [...trained.keys()].filter((s) => C.weights[s] !== trained[s]);
    if (!changed.length) return "";
    const wide = changed.every((s) => Math.fround(C.weights[s]) === C.weights[s]) ? 4 : 8;
    const bytes = new Uint8Array(1 + changed.length * (2 + wide)), data = new DataView(bytes.buffer);
    bytes[0] = wide;
    changed.forEach((s, i) => {
      const at = 1 + i * (2 + wide);
      data.setUint16(at, s, true);
      if (wide === 4) data.setFloat32(at + 2, C.weights[s], true); else data.setFloat64(at + 2, C.weights[s], true);
    });
    return toText(bytes);
  }

  function unpackWeights(text) {
    const weights = trained.slice();
    if (!text) return weights;
    const bytes = fromText(text), data = new DataView(bytes.buffer), wide = bytes[0];
    if ((wide !== 4 && wide !== 8) || (bytes.length - 1) % (2 + wide)) throw new Error(BAD_LINK);
    for (let at = 1; at < bytes.length; at += 2 + wide) {
      const s = data.getUint16(at, true), value = wide === 4 ? data.getFloat32(at + 2, true) : data.getFloat64(at + 2, true);
      if (s >= weights.length || !Number.isFinite(value) || Math.abs(value) > 1e6) throw new Error(BAD_LINK);
      weights[s] = value;
    }
    return weights;
  }

  // The region: lengths of runs outside, inside, outside, ... in base 128.
  function packRegion() {
    if (!S.mask) return "";
    const bytes = [];
    for (let p = 0, inside = 0; p < PIXELS; inside = 1 - inside) {
      let length = 0;
      while (p < PIXELS && S.mask[p] === inside) { p++; length++; }
      for (; length > 127; length >>>= 7) bytes.push(128 | (length & 127));
      bytes.push(length);
    }
    return toText(bytes);
  }

  function unpackRegion(text) {
    if (!text) return null;
    const mask = new Uint8Array(PIXELS);
    let p = 0, inside = 0, length = 0, shift = 0;
    for (const byte of fromText(text)) {
      length += (byte & 127) * 2 ** shift;
      shift += 7;
      if (byte > 127) continue;
      if (p + length > PIXELS) throw new Error(BAD_LINK);
      mask.fill(inside, p, p += length);
      [inside, length, shift] = [1 - inside, 0, 0];
    }
    if (p !== PIXELS || !mask.includes(1)) throw new Error(BAD_LINK);
    return mask;
  }

  function linkText() {
    const unlessUsual = (value, usual) => (value === usual ? "" : value);
    const parts = {
      n: mark(trained), s: S.chosen, w: packWeights(), r: packRegion(), v: view.third === "error" ? "e" : "",
      u: unlessUsual($("unit").value, "rms"), a: unlessUsual($("about").value, "region"),
    };
    return Object.entries(parts).filter(([, value]) => value !== "").map(([key, value]) => `${key}=${value}`).join("&");
  }

  function readLink(text) {
    if (text.length > 200000) throw new Error(BAD_LINK);
    const parts = new Map();
    for (const piece of text.split("&")) {
      const match = /^([nswrvua])=([\w-]+)$/.exec(piece);
      if (!match || parts.has(match[1])) throw new Error(BAD_LINK);
      parts.set(match[1], match[2]);
    }
    if (parts.get("n") !== mark(trained)) throw new Error("This link belongs to another network. Nothing was changed.");
    const chosen = Number(parts.get("s") ?? 0), unit = parts.get("u") ?? "rms", about = parts.get("a") ?? "region";
    if (!/^\d+$/.test(parts.get("s") ?? "0") || chosen >= C.wiring.size || !["rms", "one", "weight"].includes(unit)) throw new Error(BAD_LINK);
    if (about !== "region" && !(/^\d+$/.test(about) && Number(about) < PROPERTIES.length)) throw new Error(BAD_LINK);
    const third = { undefined: "change", e: "error" }[parts.get("v")];
    if (!third) throw new Error(BAD_LINK);
    let weights, mask;
    try { [weights, mask] = [unpackWeights(parts.get("w")), unpackRegion(parts.get("r"))]; } catch { throw new Error(BAD_LINK); }
    return { weights, mask, chosen, unit, about, third };
  }

  function useLink(text) {
    const state = readLink(text); // throws before anything is changed
    begin();
    Object.assign(S, { mask: state.mask, chosen: state.chosen });
    view.third = state.third;
    press("[data-view]", document.querySelector(`[data-view=${state.third}]`));
    Object.assign($("unit"), { value: state.unit });
    Object.assign($("about"), { value: state.about });
    $("where").value = state.mask ? "region" : "whole";
    C.setWeights(state.weights);
    choose(state.chosen);
    drawRegion();
    frame();
    commit("The state of the link is here.");
  }

  let written = "";
  function keepLink() {
    if (S.dict !== DATA.net || swing) return;
    const text = same(C.weights, trained) && !S.mask ? "" : linkText();
    if (text === written) return;
    written = text;
    try { history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search); } catch { /* a browser may forbid it for files */ }
  }

  function followHash() {
    const text = location.hash.slice(1);
    if (!text || text === written) return;
    try { useLink(text); notice(""); } catch (error) { notice(error.message); }
  }

  // ---------------------------------------------------------------- 15. Files, and the same in Python
  function download(name, blob) {
    const link = el("a", { href: URL.createObjectURL(blob), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const fileName = () => DATA.name.replace(/[^\w-]+/g, "-").replace(/^-+|-+$/g, "") || "network";

  function saveWeights() {
    flush();
    download(`${fileName()}-network.json`, new Blob([JSON.stringify(C.toJSON(DATA.name, S.original))], { type: "application/json" }));
  }

  function savePicture() {
    flush();
    frame();
    $("picture").toBlob((blob) => download(`${fileName()}.png`, blob));
  }

  // Takes the text of a weights file; throws before anything is changed.
  function useWeights(text) {
    if (text.length > 5e6) throw new Error("This file is too large for a network. Nothing was changed.");
    let dict;
    try { dict = JSON.parse(text); } catch { throw new Error("This is not JSON. Nothing was changed."); }
    let read, wired;
    try {
      read = E.checkNetwork(dict);
      wired = E.wiring(dict);
    } catch (error) { throw new Error(`${error.message} Nothing was changed.`); }
    if (wired.inputs !== 2 || wired.outputs.length !== 3) throw new Error("The page paints networks with 2 inputs and 3 outputs. Nothing was changed.");
    if (wired.units > 400 || wired.size > 20000) throw new Error("The network is too large for this page. Nothing was changed.");
    const original = originalIn(dict);
    begin();
    if (original) S.original = original;
    showOriginal();
    if (wiringText(wired) === wiringText(C.wiring)) C.setWeights(Float64Array.from(read.weights));
    else {
      S.dict = dict;
      load(dict);
    }
    choose(Math.min(S.chosen, C.wiring.size - 1));
    frame();
    commit("The weights are here.");
  }

  const wiringText = ({ sources, outputs }) => JSON.stringify([sources.map((row) => Array.from(row)), Array.from(outputs)]);

  // The original that a weights file carries, if it has the size of this page.
  function originalIn({ picture }) {
    if (!picture || picture.height !== HEIGHT || picture.width !== WIDTH) return null;
    let original;
    try { original = E.unpack(picture.original); } catch { original = []; }
    if (original.length !== 3 * PIXELS || !original.every((v) => Math.abs(v) <= 1)) throw new Error("The original in this file is damaged. Nothing was changed.");
    return original;
  }

  async function usePicture(file) {
    let bitmap;
    try { bitmap = await createImageBitmap(file); } catch { throw new Error("This is no picture that the browser can read. Nothing was changed."); }
    const canvas = el("canvas", { width: WIDTH, height: HEIGHT }), context = canvas.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.imageSmoothingQuality = "high";
    const scale = Math.max(WIDTH / bitmap.width, HEIGHT / bitmap.height), w = bitmap.width * scale, h = bitmap.height * scale;
    context.drawImage(bitmap, (WIDTH - w) / 2, (HEIGHT - h) / 2, w, h);
    begin();
    S.original = E.fromBytes(context.getImageData(0, 0, WIDTH, HEIGHT).data, PIXELS);
    showOriginal();
    frame();
    commit(`A new original of ${bitmap.width} × ${bitmap.height} pixels, resized to ${WIDTH} × ${HEIGHT}. The network was not trained on it.`);
  }

  async function openFile(file) {
    if (file.size > 5e7) throw new Error("This file is too large. Nothing was changed.");
    if (/^image\//.test(file.type)) await usePicture(file); else useWeights(await file.text());
    notice("");
  }

  function pythonText() {
    flush();
    const changed = [...trained.keys()].filter((s) => C.weights[s] !== trained[s]), few = changed.length <= 24;
    const names = S.mask ? "PictureNet, Region, ensemble, sensitivity" : "PictureNet";
    const edits = few ? changed.map((s) => `weights[${s}] = ${C.weights[s]}  # ${C.wiring.name(s)}, trained ${trained[s]}`) : [
      `numbers = [${changed.join(", ")}]`,
      `weights[numbers] = torch.tensor([${changed.map((s) => C.weights[s]).join(", ")}], dtype=torch.float64)`,
    ];
    return [
      "import json", "", ...S.mask || !few ? ["import torch", ""] : [], `from phasescope.synapses import ${names}`, "",
      `with open("${fileName()}-network.json") as file:  # "Save weights" on the page`,
      "    net = PictureNet.from_dict(json.load(file))", "weights = net.weights.detach().clone()", ...edits,
      "net = net.with_weights(weights)", `picture = net.paint(${HEIGHT}, ${WIDTH})`,
      ...S.mask ? [...regionInPython(), `found = ensemble(sensitivity(net, ${HEIGHT}, ${WIDTH}), Region(mask))`] : [],
    ].join("\n");
  }

  function regionInPython() {
    const runs = [];
    for (let p = 0; p < PIXELS; p++) if (S.mask[p]) {
      const start = p;
      while (p + 1 < PIXELS && S.mask[p + 1]) p++;
      runs.push(`(${start}, ${p + 1})`);
    }
    return [
      `mask = torch.zeros(${HEIGHT} * ${WIDTH}, dtype=torch.bool)`, `for start, stop in [${runs.join(", ")}]:`,
      "    mask[start:stop] = True", `mask = mask.reshape(${HEIGHT}, ${WIDTH})`,
    ];
  }

  async function copy(button, text) {
    const name = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      $("python").hidden = false;
      $("python").firstChild.textContent = text;
      getSelection().selectAllChildren($("python"));
      button.textContent = "Selected below";
    }
    setTimeout(() => { button.textContent = name; }, 1500);
  }

  function startFiles() {
    $("copy-link").addEventListener("click", () => (S.dict === DATA.net ? copy($("copy-link"), `${location.href.split("#")[0]}#${linkText()}`)
      : notice("A link carries changes of the page's own network. Save the weights of this one instead.")));
    $("copy-python").addEventListener("click", () => {
      $("python").hidden = false;
      $("python").firstChild.textContent = pythonText();
      copy($("copy-python"), pythonText());
    });
    $("save-json").addEventListener("click", saveWeights);
    $("save-png").addEventListener("click", savePicture);
    $("open").addEventListener("change", async () => {
      const [file] = $("open").files;
      $("open").value = "";
      try { if (file) await openFile(file); } catch (error) { notice(error.message); }
    });
    $("paste").addEventListener("click", () => {
      const text = $("pasted").value.trim();
      try {
        if (/^[{[]/.test(text)) useWeights(text); else useLink(text.slice(text.indexOf("#") + 1));
        notice("");
      } catch (error) { notice(error.message); }
    });
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      try { if (event.dataTransfer.files.length) await openFile(event.dataTransfer.files[0]); } catch (error) { notice(error.message); }
    });
  }

  // ---------------------------------------------------------------- 16. Start
  function load(dict) {
    for (const old of [quick, slow, solver]) if (old) old.stop();
    C = E.canvas(dict, HEIGHT, WIDTH);
    [quick, slow, solver] = [0, 0, 0].map(() => E.assistant(dict, HEIGHT, WIDTH));
    trained = C.weights.slice();
    trainedPicture = C.picture.slice();
    ranges.clear();
    for (const key of Object.keys(tour)) delete tour[key];
    $("number").max = C.wiring.size - 1;
    $("count").textContent = C.wiring.synapses;
    buildWiring();
  }

  function tellFacts() {
    const facts = [
      `${C.wiring.units} neurons (tanh), ${C.wiring.synapses} synapses, ${C.wiring.units} biases; ${WIDTH} × ${HEIGHT} pixels; double precision.`,
      "Colours lie between −1 and 1. The difference is grey where nothing changed, and brighter or darker by as much as its gain says.",
      "Control ratio: how far a weight moves what is asked, over how far it moves the rest. Lift: its energy inside, over the area inside.",
      "The verdict compares the region with the same shape put elsewhere. Which neurons share an ensemble is in part a fact of the wiring: synapses into one neuron have similar maps.",
      ...DATA.fits.length > 1 ? [`Trained ${DATA.fits.length} times; RMSE ${DATA.fits.map((fit) => `${fixed(fit.rmse, 4)} (seed ${fit.seed})`).join(", ")}. The best is shown.`] : [],
      ...DATA.notes,
    ];
    $("facts").append(...facts.map((text) => el("li", { textContent: text })));
  }

  // The weight to begin with: of all hidden ones that which moves a shape most for the change of the picture.
  function firstChoice() {
    const rms = C.rms(), outputs = new Set(C.wiring.outputs);
    let best = 0, largest = 0;
    for (const property of PROPERTIES.filter(({ kind }) => kind === "centroid" || kind === "width")) {
      const g = C.gradient(withRegion(property, null)).weights;
      for (let s = 0; s < C.wiring.synapses; s++) {
        const effect = outputs.has(C.wiring.targets[s]) ? 0 : Math.abs(g[s]) / (rms[s] || Infinity);
        if (effect > largest) [best, largest] = [s, effect];
      }
    }
    return best;
  }

  function start() {
    document.documentElement.style.setProperty("--ratio", WIDTH / HEIGHT);
    load(S.dict);
    showOriginal();
    startDial();
    startMini();
    startRegion();
    startEnsemble();
    startProperties();
    startTour();
    startReady();
    startFiles();
    tellFacts();
    choose(firstChoice());
    drawRegion();
    frame();
    settled();
    addEventListener("hashchange", followHash);
    followHash();
    const touched = () => stopSwing();
    for (const kind of ["pointerdown", "keydown", "wheel"]) addEventListener(kind, touched, { once: true, capture: true, passive: true });
    if (!location.hash && !CALM.matches) setTimeout(() => { if (!before && !past.length) swingBy([[S.chosen, visible(S.chosen, 0.1)]], { seconds: 3.2 }); }, 700);
    document.documentElement.dataset.ready = "yes";
  }

  start();
})();
