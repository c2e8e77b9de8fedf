"use strict";
// The viewer: which case, plane, slice and overlays are shown, and every way to change that.

const MAIN_PIXELS = 900;
const SIDE_PIXELS = 320;
const STEP_OF_PAGE = 10;
const WHEEL_PER_SLICE = 40;
const UNITS = { entropy: " bit", disagreement: " or more", spread: " or more", correction: " logits or more" };

function startViewer(index) {
  const cases = index.cases.filter((one) => one.number !== null);
  const at = (id) => document.getElementById(id);
  if (!cases.length) {
    at("stage").replaceWith(make("p", { text: "This page holds no volumes to look through." }));
    return { open() {} };
  }
  const colours = new Map(index.labels.map((one) => [one.label, one.colour]));
  const colourOf = (label) => colours.get(label) || OTHER_LABEL;
  const state = {
    current: 0, data: null, volumes: {}, position: [0, 0, 0], plane: "axial", channel: null, opacity: 0.45,
    shown: new Set(["truth", "prediction", "scan"]), turn: 0,
  };

  async function open(number, focus) {
    const turn = (state.turn += 1);
    state.current = (number + cases.length) % cases.length;
    const entry = cases[state.current];
    at("case").value = String(state.current);
    at("rank").textContent = `${state.current + 1} of ${cases.length}`;
    at("message").textContent = "";
    at("stage").setAttribute("aria-busy", "true");
    if (focus) {
      at("viewer").scrollIntoView({ block: "start" });
      at("main").focus({ preventScroll: true });
    }
    try {
      const data = await openCase(entry.number);
      const volumes = await decodeShown(data);
      if (turn !== state.turn) return; // another case was opened meanwhile
      Object.assign(state, { data, volumes, position: [...(data.start || [0, 0, 0])] });
      fillControls();
      describeCase(entry);
      render();
    } catch (error) {
      if (turn === state.turn) at("message").textContent = `${entry.name} cannot be shown: ${error.message}`;
    } finally {
      if (turn === state.turn) at("stage").removeAttribute("aria-busy");
    }
  }

  // Truth and prediction always (the difference needs both), maps and scans when they are looked at.
  async function decodeShown(data) {
    const scans = data.names("image");
    const channel = scans.includes(state.channel) ? state.channel : scans[0];
    const volumes = { truth: await data.layer("truth"), prediction: await data.layer("prediction") };
    volumes.scan = channel === undefined ? null : await data.layer("image", channel);
    for (const name of data.names("map")) if (state.shown.has(name)) volumes[name] = await data.layer("map", name);
    return volumes;
  }

  async function refresh() {
    const data = state.data;
    if (!data) return;
    const volumes = await decodeShown(data);
    if (data !== state.data) return;
    state.volumes = volumes;
    render();
  }

  function overlaysOf(data) {
    const labels = ["truth", "prediction"].filter((kind) => data.names(kind).length);
    return [...labels, ...(labels.length === 2 ? ["difference"] : []), ...data.names("map")];
  }

  function fillControls() {
    const { data } = state;
    const scans = data.names("image");
    if (!scans.includes(state.channel)) state.channel = scans[0] || null;
    at("channel").replaceChildren(...scans.map((name) => make("option", { value: name, text: name })));
    at("channel").value = state.channel || "";
    at("channel").disabled = !scans.length;
    const boxes = overlaysOf(data).map((name) => {
      const box = make("input", { type: "checkbox", id: `show-${name}`, checked: state.shown.has(name) });
      box.addEventListener("change", () => toggle(name, box.checked));
      return make("label", null, box, name);
    });
    at("overlays").replaceChildren(make("legend", { text: "Overlays" }), ...boxes);
  }

  function toggle(name, wanted) {
    if (wanted === undefined ? !state.shown.has(name) : wanted) state.shown.add(name);
    else state.shown.delete(name);
    const box = at(`show-${name}`);
    if (box) box.checked = state.shown.has(name);
    refresh();
  }

  function differenceAt(index) {
    const [truth, prediction] = [state.volumes.truth[index], state.volumes.prediction[index]];
    if (truth === prediction) return null;
    return prediction === 0 ? 0 : truth === 0 ? 1 : 2;
  }

  function viewOf(target) {
    const { data, volumes, shown, opacity } = state;
    const stronger = Math.sqrt(opacity); // thin rims and faint maps must be seen
    const view = { shape: data.shape, spacing: data.spacing, position: state.position, target, fills: [], lines: [] };
    view.scan = shown.has("scan") ? volumes.scan : null;
    const seen = ["truth", "prediction"].filter((kind) => volumes[kind] && shown.has(kind));
    const rgbs = new Map();
    const rgbOf = (label) => {
      if (!rgbs.has(label)) rgbs.set(label, [...rgb(colourOf(label)), 1]);
      return rgbs.get(label);
    };
    if (seen.length) {
      const filled = volumes[seen[0]];
      view.fills.push({ opacity, pixels: (i) => (filled[i] ? rgbOf(filled[i]) : null) });
    }
    if (seen.length === 2) view.lines.push({ labels: volumes.prediction, colours: colourOf });
    if (shown.has("difference") && volumes.truth && volumes.prediction) {
      const pixels = DIFFERENCES.map((one) => [...rgb(one.colour), 1]);
      view.fills.push({
        opacity: stronger,
        pixels: (i) => { const kind = differenceAt(i); return kind === null ? null : pixels[kind]; },
      });
    }
    for (const name of data.names("map")) {
      const values = shown.has(name) ? volumes[name] : null;
      if (!values) continue;
      const pixel = (value) => (value < FAINTEST ? null : [...RAMP_TABLE[value], Math.sqrt(value / 255)]);
      view.fills.push({ opacity: stronger, pixels: (i) => pixel(values[i]) });
    }
    return view;
  }

  function render() {
    const { data, plane } = state;
    if (!data || !data.shape) {
      for (const id of ["main", "second", "third"]) at(id).width = at(id).height = 1;
      at("where").textContent = "";
      return;
    }
    const axis = PLANES[plane].axis;
    const [size, slice] = [data.shape[axis], state.position[axis]];
    Object.assign(at("slice"), { max: String(size - 1), value: String(slice) });
    at("plane").value = plane;
    at("where").textContent = `${plane} slice ${slice + 1} of ${size}`;
    at("main").setAttribute("aria-label", `${cases[state.current].name}, ${plane} slice ${slice + 1} of ${size}`);
    drawSlice(at("main"), viewOf(MAIN_PIXELS), plane);
    drawMarks(at("main"), plane);
    const others = Object.keys(PLANES).filter((name) => name !== plane);
    ["second", "third"].forEach((id, number) => {
      const view = viewOf(SIDE_PIXELS);
      at(id).dataset.plane = others[number];
      drawSlice(at(id), view, others[number]);
      drawPosition(at(id), view, others[number], plane);
    });
    drawLegend();
    at("viewer").dataset.drawn = `${cases[state.current].name} ${plane} ${slice}`;
  }

  function drawLegend() {
    const { volumes, shown, data } = state;
    const swatch = (colour, text) => {
      const mark = make("i");
      mark.style.background = colour;
      return make("li", null, mark, text);
    };
    const rows = [];
    const seen = ["truth", "prediction"].filter((kind) => volumes[kind] && shown.has(kind));
    if (seen.length) rows.push(...index.labels.map((one) => swatch(one.colour, one.name)));
    if (seen.length === 2) rows.push(make("li", { text: "truth is filled, prediction is outlined" }));
    if (shown.has("difference") && volumes.truth && volumes.prediction) {
      rows.push(...DIFFERENCES.map((one) => swatch(one.colour, one.name)));
    }
    for (const name of data.names("map").filter((one) => shown.has(one))) {
      const stops = RAMP.map((stop) => `rgb(${stop.slice(1).join(" ")}) ${(stop[0] / 255) * 100}%`);
      const line = swatch(`linear-gradient(to right, ${stops.join(", ")})`, `${name}, 0 to ${topOf(name)}${UNITS[name] || ""}`);
      line.firstChild.className = "ramp";
      rows.push(line);
    }
    at("legend").replaceChildren(make("ul", null, ...rows));
  }

  function topOf(name) {
    return index.maps.find((one) => one.name === name).top;
  }

  function describeCase(entry) {
    at("case-scores").replaceChildren(...index.evaluations.map((evaluation) => scoresOfCase(evaluation, entry.name)));
    at("notes").replaceChildren(...entry.notes.map((note) => make("li", { text: note })));
    const { data } = state;
    const size = (values) => values.map((value) => Number(value.toFixed(2))).reverse().join(" \u00d7 ");
    const coarse = data.shape && data.steps.some((step) => step > 1);
    at("coding").textContent = !data.shape ? "" : [
      `Scan: ${size(data.scan.shape)} voxels of ${size(data.scan.spacing)} mm, cut to the head.`,
      coarse ? `Shown down-sampled, at ${size(data.spacing)} mm: masks by every block's middle voxel, small parts may be lost.`
        : "Shown voxel by voxel; masks are exact,",
      coarse ? `Scans and maps by block means, compressed with loss (quality ${data.quality} of 100).`
        : `scans and maps compressed with loss (quality ${data.quality} of 100).`,
      data.names("map").length ? "Maps: the largest value over the regions." : "",
    ].join(" ");
  }

  function move(steps) {
    if (!state.data || !state.data.shape) return;
    const axis = PLANES[state.plane].axis;
    state.position[axis] = Math.max(0, Math.min(state.data.shape[axis] - 1, state.position[axis] + steps));
    render();
  }

  function choosePlane(name) {
    state.plane = name;
    render();
  }

  function readUnder(event) {
    const { data, volumes } = state;
    if (!data || !data.shape) return;
    const [z, y, x] = pointed(event, at("main"), state.plane);
    const voxel = (z * data.shape[1] + y) * data.shape[2] + x;
    const known = new Map([[0, "none"], ...index.labels.map((one) => [one.label, one.name])]);
    const said = ["truth", "prediction"].filter((kind) => volumes[kind]).map((kind) => {
      const label = volumes[kind][voxel];
      return `${kind}: ${known.get(label) || `label ${label}`}`;
    });
    for (const name of data.names("map").filter((one) => volumes[one])) {
      said.push(`${name}: ${((volumes[name][voxel] / 255) * topOf(name)).toFixed(2)}`);
    }
    at("under").textContent = said.join("   ");
  }

  function pointed(event, canvas, plane) {
    const box = canvas.getBoundingClientRect();
    const view = { shape: state.data.shape, position: state.position };
    return voxelAt(view, plane, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  const KEYS = {
    ArrowUp: () => move(1), ArrowDown: () => move(-1), PageUp: () => move(STEP_OF_PAGE), PageDown: () => move(-STEP_OF_PAGE),
    Home: () => move(-Infinity), End: () => move(Infinity),
    ArrowLeft: () => open(state.current - 1), ArrowRight: () => open(state.current + 1),
    a: () => choosePlane("axial"), c: () => choosePlane("coronal"), s: () => choosePlane("sagittal"),
    t: () => toggle("truth"), p: () => toggle("prediction"), d: () => toggle("difference"), i: () => toggle("scan"),
    m: () => nextMap(),
  };

  // None, then each map alone, then none again.
  function nextMap() {
    if (!state.data) return;
    const names = state.data.names("map");
    const now = names.findIndex((name) => state.shown.has(name));
    names.forEach((name, number) => toggle(name, number === now + 1));
  }

  function listen() {
    at("previous").addEventListener("click", () => open(state.current - 1));
    at("next").addEventListener("click", () => open(state.current + 1));
    at("case").addEventListener("change", () => open(Number(at("case").value)));
    at("plane").addEventListener("change", () => choosePlane(at("plane").value));
    at("channel").addEventListener("change", () => { state.channel = at("channel").value; refresh(); });
    at("opacity").addEventListener("input", () => { state.opacity = at("opacity").value / 100; render(); });
    at("slice").addEventListener("input", () => move(Number(at("slice").value) - state.position[PLANES[state.plane].axis]));
    at("viewer").addEventListener("keydown", (event) => {
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const own = /^(INPUT|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox";
      if (own || event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS)) return;
      event.preventDefault();
      KEYS[key]();
    });
    let wheeled = 0;
    at("main").addEventListener("wheel", (event) => {
      event.preventDefault();
      wheeled += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_PER_SLICE;
      const steps = Math.trunc(wheeled / WHEEL_PER_SLICE);
      wheeled -= steps * WHEEL_PER_SLICE;
      if (steps) move(-steps);
    }, { passive: false });
    at("main").addEventListener("pointermove", readUnder);
    at("main").addEventListener("pointerleave", () => { at("under").textContent = ""; });
    at("main").addEventListener("click", (event) => {
      if (!state.data || !state.data.shape) return;
      state.position = pointed(event, at("main"), state.plane);
      render();
    });
    for (const id of ["second", "third"]) {
      at(id).addEventListener("click", (event) => {
        if (!state.data || !state.data.shape) return;
        state.position = pointed(event, at(id), at(id).dataset.plane);
        choosePlane(at(id).dataset.plane);
      });
    }
  }

  at("case").replaceChildren(...cases.map((one, number) => make("option", { value: String(number), text: one.name })));
  if (!pixelsCanBeRead()) at("message").textContent = "This browser hides pixels from pages: scans and maps may show as noise.";
  listen();
  open(0, false);
  return { open: (name) => open(cases.findIndex((one) => one.name === name), true) };
}
