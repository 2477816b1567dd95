// The heat map, the box plots and the scatter plot of the runs that the filter leaves.

const MOST_ACROSS = 40; // groups of a heat map or of box plots
const MOST_WITH_TEXT = 16; // columns of a heat map whose cells hold numbers
const MOST_COLORS = 6;
const MANY = 1500; // dots that are drawn small
const WIDTH = 560;
const wordsOf = (name) => columns.get(name)?.words ?? name;
const textIn = (name, value) => metricText(columns.get(name).metric, value);

function nothing(place, text) {
  place.replaceChildren(element("p", { class: "soft" }, text));
}

// Heat map -------------------------------------------------------------------------------------------

function drawHeat(rows) {
  const place = find("#heat");
  const [metric, x, y] = [view["heat-metric"], view["heat-x"], view["heat-y"]];
  find("#heat-note").textContent = "";
  const measured = rows.filter((i) => isNumber(columns.get(metric)?.value(i)));
  if (!measured.length) return nothing(place, "No run that the filter leaves has this metric yet.");
  const across = groupsOf(x, measured, MOST_ACROSS);
  const down = groupsOf(y, measured, MOST_ACROSS);
  const columnOf = new Map(across.flatMap((group, index) => group.rows.map((i) => [i, index])));
  const cells = down.map((group) => {
    const parts = across.map(() => []);
    for (const i of group.rows) parts[columnOf.get(i)].push(columns.get(metric).value(i));
    return parts.map((values) => (values.length ? { values, mean: mean(values) } : null));
  });
  const [least, most] = extremes(cells.flat().filter(Boolean).map((cell) => cell.mean));
  const small = across.length > MOST_WITH_TEXT;
  const head = element("tr", {}, element("th", { scope: "col", class: "corner" }, y ? `${y} \\ ${x}` : x),
    ...across.map((group) => element("th", { scope: "col", title: group.name }, small ? shorten(group.short, 16) : group.name)));
  const body = cells.map((line, index) => element("tr", {}, element("th", { scope: "row" }, down[index].name),
    ...line.map((cell, column) => heatCell(cell, across[column], down[index], { metric, x, y, least, most, small }))));
  const title = `Mean ${wordsOf(metric)}${y ? ` by ${y} and ${x}` : x ? ` by ${x}` : ""}`;
  place.replaceChildren(element("table", { class: small ? "heat small" : "heat" }, element("caption", {}, title),
    element("thead", {}, head), element("tbody", {}, ...body)), rampKey(textIn(metric, least), textIn(metric, most)));
  const others = several.filter((name) => name !== x && name !== y);
  find("#heat-note").textContent = [
    `Each cell is the mean over ${others.length ? `the other options (${others.join(", ")})` : "its runs"}.`,
    small ? "Point at a cell to see its numbers." : `n is the number of its runs, of ${format(measured.length)} in all.`,
    across.concat(down).some((group) => group.only !== null) ? "Choose a cell to see its runs in the table." : "",
  ].join(" ");
}

function heatCell(cell, across, down, { metric, x, y, least, most, small }) {
  if (!cell) return element("td", { class: "empty" }, element("span", { class: "hidden" }, "no run"));
  const color = rampColor(most > least ? (cell.mean - least) / (most - least) : 0.5);
  const where = [[y, down], [x, across]].filter(([name]) => name);
  const range = extremes(cell.values).map((value) => textIn(metric, value)).join(" to ");
  const label = `${where.map(([name, group]) => `${name} ${group.name}`).join(", ")}: mean ${textIn(metric, cell.mean)}, from ${range}, ${count(cell.values.length, "run")}`;
  const choose = () => {
    for (const [name, group] of where) if (group.only !== null) view[`only:${name}`] = group.only;
    view.page = "1";
    update();
    find("#table").scrollIntoView({ block: "nearest" });
  };
  const button = element("button", { type: "button", title: label, "aria-label": label, onclick: choose },
    small ? null : element("span", {}, textIn(metric, cell.mean)), small ? null : element("small", {}, `n = ${format(cell.values.length)}`));
  return element("td", { style: `background:${cssColor(color)};color:${inkOn(color)}`, "data-mean": cell.mean, "data-count": cell.values.length }, button);
}

function rampKey(least, most) {
  const stops = RAMP.map(cssColor).join(",");
  return element("p", { class: "ramp" }, least, element("span", { style: `background:linear-gradient(to right,${stops})`, "aria-hidden": "true" }), most);
}

// Axes -----------------------------------------------------------------------------------------------

// A scale from values to places in a drawing.
function scaleOf([least, greatest], from, to) {
  return (value) => from + ((value - least) / (greatest - least)) * (to - from);
}

function tickText(metric, value) {
  if (metric.share) return `${Number((100 * value).toPrecision(6))} %`;
  return Math.abs(value) < 1000 ? String(value) : format(value);
}

function axisAcross(name, ends, x, { left, right, top, base }) {
  const metric = columns.get(name).metric;
  const marks = ticks(ends[0], ends[1], 6).flatMap((value) => [
    element("svg:line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: base }),
    element("svg:text", { class: "tick", x: x(value), y: base + 15, "text-anchor": "middle" }, tickText(metric, value)),
  ]);
  return [...marks, element("svg:line", { class: "axis", x1: left, x2: right, y1: base, y2: base }),
    element("svg:text", { class: "tick", x: (left + right) / 2, y: base + 31, "text-anchor": "middle" }, wordsOf(name))];
}

// Box plots ------------------------------------------------------------------------------------------

function drawBoxes(rows) {
  const [metric, by] = [view["box-metric"], view["box-by"]];
  const place = find("#box");
  find("#box-details").hidden = true;
  const groups = groupsOf(by, rows.filter((i) => isNumber(columns.get(metric)?.value(i))), MOST_ACROSS).filter((group) => group.rows.length);
  if (!groups.length) return nothing(place, "No run that the filter leaves has this metric yet.");
  const boxes = groups.map((group) => ({ name: group.name, values: valuesOf(metric, group.rows) })).map((group) => ({ ...group, ...boxOf(group.values) }));
  const labels = boxes.map((box) => shorten(box.name, 24));
  const left = 16 + 7.2 * Math.max(4, ...labels.map((label) => [...label].length));
  const counts = boxes.map((box) => `n = ${format(box.count)}`);
  const [right, top, high] = [WIDTH - 14 - 7.2 * Math.max(...counts.map((text) => text.length)), 22, 26];
  const base = top + high * boxes.length;
  const ends = limits(boxes.flatMap((box) => [box.least, box.most]), columns.get(metric).metric.share);
  const x = scaleOf(ends, left, right);
  const parts = boxes.flatMap((box, index) => boxParts(box, labels[index], x, top + high * (index + 0.5), { left, right }));
  const alt = `Box plots of ${wordsOf(metric)}${by ? ` by ${by}` : ""}; the table below has the numbers.`;
  place.replaceChildren(element("svg:svg", { viewBox: `0 0 ${WIDTH} ${base + 36}`, role: "img", "aria-label": alt },
    element("svg:text", { class: "tick", x: left - 8, y: 14, "text-anchor": "end" }, shorten(by, 24)),
    ...axisAcross(metric, ends, x, { left, right, top, base }), ...parts));
  find("#box-table").replaceChildren(boxTable(boxes, metric, by));
  find("#box-details").hidden = false;
}

function boxParts(box, label, x, y, { left, right }) {
  const line = (a, b, name) => element("svg:line", { class: name, x1: x(a), x2: x(b), y1: y, y2: y });
  const cap = (value, half, name) => element("svg:line", { class: name, x1: x(value), x2: x(value), y1: y - half, y2: y + half });
  const few = box.count <= 60;
  const dots = few ? box.values : box.outside;
  const d = dots.map((value, index) => `M${x(value).toFixed(1)} ${(y + (few ? ((index * 7) % 9) - 4 : 0)).toFixed(1)}h0`).join("");
  return [
    element("svg:text", { class: "name", x: left - 8, y: y + 4, "text-anchor": "end" }, element("svg:title", {}, box.name), label),
    line(box.from, box.low, "whisker"), line(box.high, box.to, "whisker"), cap(box.from, 5, "whisker"), cap(box.to, 5, "whisker"),
    element("svg:rect", { class: "box", x: x(box.low), y: y - 8, width: Math.max(0.5, x(box.high) - x(box.low)), height: 16 }),
    element("svg:path", { class: "cloud", d: d || "M0 0" }), cap(box.middle, 8, "median"),
    element("svg:text", { class: "tick", x: right + 8, y: y + 4 }, `n = ${format(box.count)}`),
  ];
}

function boxTable(boxes, metric, by) {
  const names = ["runs", "mean", "std", "least", "quarter", "median", "three quarters", "most"];
  const line = (box) => [format(box.count), ...[box.mean, box.deviation, box.least, box.low, box.middle, box.high, box.most].map((value) => textIn(metric, value))];
  return element("table", {}, element("caption", {}, wordsOf(metric)),
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, by), ...names.map((name) => element("th", { scope: "col", class: "number" }, name)))),
    element("tbody", {}, ...boxes.map((box) => element("tr", {}, element("th", { scope: "row" }, box.name),
      ...line(box).map((text) => element("td", { class: "number" }, text))))));
}

// Scatter plot ---------------------------------------------------------------------------------------

function drawDots(rows) {
  const [across, up, by] = [view["dots-x"], view["dots-y"], view["dots-by"]];
  const place = find("#dots");
  find("#dots-note").textContent = "";
  const [xColumn, yColumn] = [columns.get(across), columns.get(up)];
  const known = xColumn && yColumn ? rows.filter((i) => isNumber(xColumn.value(i)) && isNumber(yColumn.value(i))) : [];
  if (!known.length) return nothing(place, "No run that the filter leaves has these metrics yet.");
  const frame = { left: 62, right: WIDTH - 14, top: 10, base: 290 };
  const [xEnds, yEnds] = [xColumn, yColumn].map((column) => limits(known.map(column.value), column.metric.share));
  const [x, y] = [scaleOf(xEnds, frame.left, frame.right), scaleOf(yEnds, frame.base, frame.top)];
  const groups = groupsOf(by, known, MOST_ACROSS).filter((group) => group.rows.length);
  const clouds = groups.map((group, index) => element("svg:path", {
    class: `dots${groups.length > MOST_COLORS ? "" : ` d${index}`}${known.length > MANY ? " many" : ""}`,
    style: groups.length > MOST_COLORS ? `stroke:${cssColor(rampColor(0.1 + 0.85 * group.place))}` : null,
    d: group.rows.map((i) => `M${x(xColumn.value(i)).toFixed(1)} ${y(yColumn.value(i)).toFixed(1)}h0`).join(""),
  }));
  const alt = `Scatter plot of ${wordsOf(up)} against ${wordsOf(across)} of ${count(known.length, "run")}${by ? `, colored by ${by}` : ""}.`;
  const ring = element("svg:circle", { class: "ring", r: 6, cx: -99, cy: -99 });
  const drawing = element("svg:svg", { viewBox: `0 0 ${WIDTH} 328`, role: "img", "aria-label": alt },
    ...axisAcross(across, xEnds, x, frame), ...axisUp(up, yEnds, y, frame), ...clouds, ring);
  place.replaceChildren(element("p", { class: "soft upward" }, wordsOf(up)), drawing, dotKeys(groups));
  followPointer(drawing, ring, known.map((i) => ({ i, x: x(xColumn.value(i)), y: y(yColumn.value(i)) })));
}

function axisUp(name, ends, y, { left, right }) {
  return ticks(ends[0], ends[1], 6).flatMap((value) => [
    element("svg:line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }),
    element("svg:text", { class: "tick", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(columns.get(name).metric, value)),
  ]);
}

function dotKeys(groups) {
  if (groups.length > MOST_COLORS) {
    const stops = [0.1, 0.3, 0.5, 0.7, 0.95].map((share) => cssColor(rampColor(share))).join(",");
    return element("p", { class: "ramp" }, groups[0].name, element("span", { style: `background:linear-gradient(to right,${stops})`, "aria-hidden": "true" }), groups[groups.length - 1].name);
  }
  return element("ul", { class: "keys" }, ...groups.map((group, index) => element("li", {},
    element("svg:svg", { class: "key", width: 12, height: 12, "aria-hidden": "true" }, element("svg:path", { class: `dots d${index}`, d: "M6 6h0" })), group.name)));
}

// Names the run nearest to the pointer. A click holds it, so that its link can be reached.
function followPointer(drawing, ring, dots) {
  let held = false;
  const note = find("#dots-note");
  const show = (event) => {
    const box = drawing.getBoundingClientRect();
    const scale = WIDTH / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = null;
    let least = 20 ** 2;
    for (const dot of dots) {
      const far = (dot.x - x) ** 2 + (dot.y - y) ** 2;
      if (far < least) { least = far; best = dot; }
    }
    ring.setAttribute("cx", best ? best.x : -99);
    ring.setAttribute("cy", best ? best.y : -99);
    note.replaceChildren(...(best ? [runLink(best.i), `: ${wordsOf(view["dots-y"])} ${columns.get(view["dots-y"]).text(best.i)}, ${wordsOf(view["dots-x"])} ${columns.get(view["dots-x"]).text(best.i)}`] : []));
    return best;
  };
  drawing.addEventListener("pointermove", (event) => { if (!held) show(event); });
  drawing.addEventListener("click", (event) => { held = show(event) !== null; });
}
