// Draws the maps of units and points at the epoch that the slider chooses.
(() => {
  "use strict";
  const root = document.documentElement;
  const find = (selector, within = document) => within.querySelector(selector);
  const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];
  addEventListener("error", (event) => { root.dataset.error = event.message; });
  addEventListener("unhandledrejection", (event) => { root.dataset.error = String(event.reason); });

  const data = JSON.parse(find("#data").textContent);
  const NAMES = data.status.map((status) => status.name);
  const COLORS = data.status.map((status) => status.color);
  const MOST_CELLS = 128; // units of the largest layer that are drawn in a single column
  const slider = find("#epoch");
  const epochs = [...new Set(data.runs.flatMap((run) => (run ? run.epochs : [])))].sort((a, b) => a - b);
  const { count, format, percent, shorten, visible } = words;

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  // The index of the latest recorded epoch of a run that is not after the given epoch.
  function indexAt(run, epoch) {
    let index = 0;
    while (index + 1 < run.epochs.length && run.epochs[index + 1] <= epoch) index += 1;
    return index;
  }

  // The layout of a map: the size of a cell, and for every layer its first column and its number of columns.
  function layOut(run, kind, width, height, scale) {
    const layers = run.layers.length;
    const sizes = kind === "units" ? run.units : run.layers.map(() => run.points);
    const most = Math.max(...sizes);
    if (kind === "points" || most <= MOST_CELLS) {
      // Each layer is one column. With more layers than pixels, a width is a fraction of a pixel.
      const across = Math.min(44 * scale, width / layers);
      const cellWidth = across >= 2 ? Math.floor(across) : across;
      const tall = Math.min(24 * scale, Math.floor(height / most));
      const cellHeight = kind === "points" ? Math.max(scale > 1 ? 2 : 1, tall) : Math.max(2, tall);
      const starts = run.layers.map((_, layer) => layer);
      return { sizes, rows: most, cellWidth, cellHeight, starts, spans: starts.map(() => 1), columns: layers };
    }
    // Each layer takes several columns, which are filled from top to bottom.
    for (let cell = Math.floor(24 * scale); cell >= 1; cell -= 1) {
      const rows = Math.floor(height / cell);
      const spans = sizes.map((size) => Math.ceil(size / rows));
      const columns = spans.reduce((sum, span) => sum + span + 1, -1);
      if (columns * cell <= width) {
        let next = 0;
        const starts = spans.map((span) => { const start = next; next += span + 1; return start; });
        return { sizes, rows, cellWidth: cell, cellHeight: cell, starts, spans, columns, wrapped: true };
      }
    }
    const across = width / layers;
    const starts = run.layers.map((_, layer) => layer);
    return { sizes, rows: height, cellWidth: across, cellHeight: 1, starts, spans: starts.map(() => 1), columns: layers, shares: true };
  }

  class StatusMap {
    constructor(figure, run, codes) {
      this.figure = figure;
      this.kind = figure.dataset.kind;
      this.run = run;
      this.codes = codes;
      this.canvas = find("canvas", figure);
      this.firsts = [];
      let first = 0;
      for (const units of run.units) { this.firsts.push(first); first += units; }
      this.canvas.addEventListener("pointermove", (event) => this.showCell(event));
      this.canvas.addEventListener("pointerleave", () => { find(".readout", figure).textContent = ""; });
    }

    code(layer, row) {
      const run = this.run;
      const cell = this.kind === "units" ? this.firsts[layer] + row : row * run.layers.length + layer;
      return this.codes[cell * run.epochs.length + this.index];
    }

    draw(epoch) {
      const { canvas, run, kind } = this;
      this.index = indexAt(run, epoch);
      const scale = Math.max(1, Math.round(devicePixelRatio || 1));
      const style = getComputedStyle(root);
      const ink = style.getPropertyValue("--soft").trim();
      const paper = style.getPropertyValue("--map").trim();
      const fontSize = 12 * scale;
      const font = `${fontSize}px system-ui, "DejaVu Sans", sans-serif`;
      const pen = canvas.getContext("2d");
      pen.font = font;
      const labels = kind === "points" ? run.classes.map(([name]) => shorten(name, 12)) : [];
      const widest = Math.max(0, ...labels.map((label) => pen.measureText(label).width));
      const left = Math.ceil(Math.max(44 * scale, widest + 14 * scale));
      const full = Math.max(260 * scale, Math.floor((canvas.clientWidth || 900) * scale));
      const plan = layOut(run, kind, full - left - scale, (kind === "points" ? 480 : 420) * scale, scale);
      const bottom = 34 * scale;
      const height = Math.round(plan.rows * plan.cellHeight);
      canvas.width = full;
      canvas.height = height + bottom;
      canvas.style.height = `${canvas.height / scale}px`;
      this.plan = { ...plan, left, scale, height };
      const caption = plan.wrapped ? "Units: each block is a layer, from the input on the left, filled column by column"
        : plan.shares ? "Units: each column is a layer, divided by the shares of its units" : null;
      if (caption) find("figcaption", this.figure).textContent = caption;
      const gapAcross = plan.cellWidth >= 6 * scale ? scale : 0;
      const gapDown = plan.cellHeight >= 6 * scale ? scale : 0;
      const counts = [0, 0, 0];
      pen.fillStyle = paper;
      pen.fillRect(left, 0, Math.ceil(plan.columns * plan.cellWidth), height);
      const places = [[], [], []];
      for (let layer = 0; layer < run.layers.length; layer += 1) {
        const size = plan.sizes[layer];
        const x = left + plan.starts[layer] * plan.cellWidth;
        const inLayer = [0, 0, 0];
        for (let row = 0; row < size; row += 1) {
          const code = this.code(layer, row);
          inLayer[code] += 1;
          if (!plan.shares) places[code].push(x + Math.floor(row / plan.rows) * plan.cellWidth, (row % plan.rows) * plan.cellHeight);
        }
        if (plan.shares) {
          let top = height;
          inLayer.forEach((number, code) => {
            const tall = number ? Math.max(1, Math.round((number / size) * height)) : 0;
            pen.fillStyle = COLORS[code];
            pen.fillRect(x, top - tall, Math.max(1, plan.cellWidth), tall);
            top -= tall;
          });
        }
        inLayer.forEach((number, code) => { counts[code] += number; });
      }
      places.forEach((list, code) => {
        pen.fillStyle = COLORS[code];
        for (let i = 0; i < list.length; i += 2) {
          pen.fillRect(list[i], list[i + 1], Math.max(0.5, plan.cellWidth - gapAcross), plan.cellHeight - gapDown);
        }
      });
      pen.fillStyle = ink;
      pen.font = font;
      this.drawAxes(pen, labels, paper, fontSize);
      this.showCounts(counts);
    }

    drawAxes(pen, labels, paper, fontSize) {
      const { run, kind, plan } = this;
      const { left, scale, height } = plan;
      const ink = pen.fillStyle;
      pen.textBaseline = "alphabetic";
      pen.textAlign = "center";
      const room = pen.measureText("000").width + 8 * scale;
      let free = -Infinity; // where the next label may begin
      const layers = run.layers.length;
      // Every layer has a label if there is room, else every 5th, 10th and so on. Steps of 2 would give 1, 4, 6, ...
      const step = plan.wrapped ? 1 : [1, 5, 10, 20, 50, 100, 200, 500].find((n) => n * plan.cellWidth >= room) || 1000;
      for (let layer = 0; layer < layers; layer += 1) {
        const x = left + (plan.starts[layer] + plan.spans[layer] / 2) * plan.cellWidth;
        const wanted = layer === 0 || (layer + 1) % step === 0;
        if (wanted && x - room / 2 >= free) {
          pen.fillText(String(layer + 1), x, height + 14 * scale);
          free = x + room / 2 - 6 * scale;
        }
      }
      pen.textAlign = "left";
      pen.fillText("layer", left, height + 29 * scale);
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      const middle = (row) => Math.max(fontSize / 2, (row + 0.5) * plan.cellHeight);
      if (kind === "points" && labels.length) {
        let row = 0;
        let last = -Infinity;
        // Lines between many small classes would hide the classes.
        const apart = run.classes.length <= 40 && height / run.classes.length >= 8 * scale;
        run.classes.forEach(([, rows], index) => {
          if (index && apart) {
            pen.fillStyle = paper;
            pen.fillRect(left, row * plan.cellHeight - scale, plan.columns * plan.cellWidth, 2 * scale);
          }
          const y = Math.max(fontSize / 2, (row + rows / 2) * plan.cellHeight);
          pen.fillStyle = ink;
          if (y - last >= fontSize * 1.2) { pen.fillText(labels[index], left - 8 * scale, y); last = y; }
          row += rows;
        });
      } else if (plan.shares) {
        [[0, "100 %"], [0.5, "50 %"], [1, "0"]].forEach(([at, text]) => pen.fillText(text, left - 6 * scale, Math.min(Math.max(at * height, fontSize / 2), height - fontSize / 2)));
      } else if (!plan.wrapped) {
        const step = [1, 2, 5, 10, 20, 50, 100, 200].find((n) => n * plan.cellHeight >= fontSize * 1.6) || 500;
        for (let row = 0; row < plan.rows; row += step) pen.fillText(String(row), left - 8 * scale, middle(row));
      }
    }

    showCounts(counts) {
      const { run, kind, figure } = this;
      const epoch = format(run.epochs[this.index]);
      let text;
      if (kind === "units") {
        const total = counts[0] + counts[1] + counts[2];
        const shares = counts.map((number, code) => `${format(number)} ${NAMES[code]} (${percent(number / total)})`);
        text = `Epoch ${epoch}: of ${count(total, "unit")} ${shares.join(", ")}`;
      } else {
        let dead = 0;
        for (let point = 0; point < run.points; point += 1) {
          let layer = 0;
          while (layer < run.layers.length && this.code(layer, point) !== 0) layer += 1;
          if (layer < run.layers.length) dead += 1;
        }
        text = `Epoch ${epoch}: of ${count(run.points, "point")} ${format(dead)} dead in at least one layer (${percent(dead / run.points)})`;
      }
      find(".caption", figure).textContent = `${text}.`;
      this.canvas.setAttribute("aria-label", `Map of the status of all ${kind} in all layers. ${text}.`);
      this.canvas.dataset.counts = counts.join("/");
      this.canvas.dataset.epoch = run.epochs[this.index];
    }

    showCell(event) {
      const { run, kind, plan } = this;
      const readout = find(".readout", this.figure);
      const box = this.canvas.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) * plan.scale - plan.left) / plan.cellWidth);
      const line = Math.floor(((event.clientY - box.top) * plan.scale) / plan.cellHeight);
      const layer = plan.starts.findIndex((start, index) => column >= start && column < start + plan.spans[index]);
      const row = layer < 0 ? -1 : (column - plan.starts[layer]) * plan.rows + line;
      if (layer < 0 || line < 0 || line >= plan.rows || (!plan.shares && row >= plan.sizes[layer])) { readout.textContent = ""; return; }
      const where = `Layer ${layer + 1} (\u2068${visible(run.layers[layer])}\u2069)`;
      readout.textContent = plan.shares ? where : `${where}, ${kind === "units" ? "unit" : "row"} ${row}: ${NAMES[this.code(layer, row)]}`;
    }
  }

  const maps = [];

  function show() {
    const epoch = epochs[Number(slider.value)];
    slider.setAttribute("aria-valuetext", `epoch ${epoch}`);
    find("#at").textContent = format(epoch);
    for (const map of maps) map.draw(epoch);
    for (const line of findAll(".cursor")) {
      const { first, last, left, right } = line.dataset;
      const share = (epoch - first) / (last - first);
      const x = share >= 0 && share <= 1 ? Number(left) + share * (right - left) : -9;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    const run = data.single ? data.runs[0] : null;
    if (run) {
      const index = indexAt(run, epoch);
      const texts = Object.entries(run.metrics).filter(([, values]) => values[index] !== null);
      find("#metrics").textContent = texts.map(([name, values]) => `${name} ${values[index]}`).join(" · ");
    }
  }

  function goTo(epoch) {
    let best = 0;
    epochs.forEach((known, index) => { if (Math.abs(known - epoch) < Math.abs(epochs[best] - epoch)) best = index; });
    slider.value = best;
    show();
  }

  function followFragment() {
    const match = /epoch=(\d+)/.exec(location.hash);
    if (match) goTo(Number(match[1]));
  }

  let timer = null;
  function play() {
    const button = find("#play");
    const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; };
    if (timer !== null) { stop(); return; }
    if (Number(slider.value) >= epochs.length - 1) slider.value = 0;
    button.textContent = "Stop";
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      show();
      if (Number(slider.value) >= epochs.length - 1) stop();
    }, Math.max(60, Math.min(400, 8000 / epochs.length)));
  }

  async function start() {
    if (!slider || !epochs.length) { root.dataset.ready = "no maps"; return; }
    if (typeof DecompressionStream === "undefined") {
      find("#maps-note").textContent = "This browser is too old to draw the maps: it has no DecompressionStream.";
      return;
    }
    for (const figure of findAll(".map")) {
      const run = data.runs[Number(figure.dataset.run)];
      maps.push(new StatusMap(figure, run, await unpack(figure.dataset.kind === "units" ? run.unitCodes : run.pointCodes)));
    }
    slider.max = epochs.length - 1;
    slider.value = epochs.length - 1;
    find(".slider").hidden = epochs.length < 2;
    slider.addEventListener("input", show);
    find("#play").addEventListener("click", play);
    addEventListener("hashchange", followFragment);
    let waiting = false;
    const redraw = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; show(); });
    };
    addEventListener("resize", redraw);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("beforeprint", () => { root.classList.add("printing"); show(); });
    addEventListener("afterprint", () => { root.classList.remove("printing"); show(); });
    show();
    followFragment();
    root.dataset.ready = "maps";
  }

  const opened = []; // parts that are open only for printing
  addEventListener("beforeprint", () => {
    for (const part of findAll("details:not([open])")) { part.open = true; opened.push(part); }
  });
  addEventListener("afterprint", () => { for (const part of opened.splice(0)) part.open = false; });
  start();
})();
